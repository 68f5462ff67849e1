"""Events in, requests out: the main way through the engine, black box."""
import json
import signal
import time

from harness import Receiver, Workspace, check, equal, main, until

HOOK = """return { on = { "call.completed" }, request = { url = "%s/crm?c=[CALL_ID]", body = [=[{"id":"[CALL_ID]","d":[DURATION]}]=] }, %s }"""


def event(n, **more):
    return {"id": f"e{n}", "type": "call.completed", "tags": {"CALL_ID": f"c{n}", "DURATION": n}, **more}


def test_an_event_becomes_a_request():
    with Workspace() as w:
        sink = w.sink()
        w.hook("crm", HOOK % (sink.url, ""))
        engine = w.engine()
        status, answer, _ = engine.post(event(1))
        equal((status, answer["id"]), (202, "e1"))
        got = sink.wait(1)[0]
        equal((got["method"], got["target"], got["body"]), ("POST", "/crm?c=c1", '{"id":"c1","d":1}'))
        headers = {k.lower(): v for k, v in got["headers"]}
        equal(headers["content-type"], "application/json")
        check(headers["webhook-id"].startswith("msg_") and headers["webhook-timestamp"].isdigit(), f"standard headers: {headers}")
        until(lambda: engine.states() == {"delivered": 1}, what="delivered in the log")


def test_the_same_id_again_sends_nothing():
    with Workspace() as w:
        sink = w.sink()
        w.hook("crm", HOOK % (sink.url, ""))
        engine = w.engine()
        equal(engine.post(event(1))[0], 202)
        equal(engine.post(event(1))[0], 200)
        equal(engine.post({**event(1), "tags": {"CALL_ID": "other"}})[0], 409)
        sink.wait(1)
        time.sleep(0.3)
        equal(len(sink.requests()), 1)


def test_a_failing_endpoint_gets_the_same_bytes_again():
    with Workspace() as w:
        sink = w.sink("--fail-first", "2")
        w.hook("crm", HOOK % (sink.url, "retry = { 0.1, 0.1, 0.1 }"))
        engine = w.engine()
        engine.post(event(1))
        got = sink.wait(3)
        until(lambda: engine.states() == {"delivered": 1}, what="delivered")
        equal(len({r["body"] for r in got}), 1)
        equal(len({dict(r["headers"])["webhook-id"] for r in got}), 1)
        row = engine.log()[0]
        shown = json.loads(w.tuma("show", str(row["id"]), "--json").stdout)
        equal([a["status"] for a in shown["attempts"]], [503, 503, 200])


def test_a_delivery_that_never_works_is_a_dead_letter_and_can_be_sent_again():
    with Workspace() as w:
        sink = w.sink("--fail-first", "2")
        w.hook("crm", HOOK % (sink.url, "retry = { 0.1 }"))
        engine = w.engine()
        engine.post(event(1))
        until(lambda: engine.states() == {"exhausted": 1}, what="exhausted")
        row = engine.log("--state", "exhausted")[0]
        out = w.tuma("redeliver", str(row["id"]))
        equal(out.returncode, 0, out.stderr)
        until(lambda: engine.states() == {"delivered": 1}, what="delivered after all")


def test_kill_9_loses_nothing_that_was_acknowledged():
    with Workspace() as w:
        sink = w.sink("--latency", "30")
        w.hook("crm", HOOK % (sink.url, "concurrency = 4"))
        engine = w.engine()
        acked = [n for n in range(60) if engine.post(event(n))[0] == 202]
        engine.process.kill()
        engine = w.engine()
        until(lambda: engine.states() == {"delivered": len(acked)}, 30, "all delivered after the restart")
        equal({r["body"] for r in sink.requests()}, {'{"id":"c%d","d":%d}' % (n, n) for n in acked})


def test_a_stop_is_clean_and_a_start_goes_on():
    with Workspace() as w:
        sink = w.sink("--latency", "20")
        w.hook("crm", HOOK % (sink.url, "concurrency = 2"))
        engine = w.engine()
        for n in range(40):
            engine.post(event(n))
        equal(engine.process.stop(), 0)
        engine = w.engine()
        until(lambda: engine.states() == {"delivered": 40}, 30, "all delivered")
        equal(len(sink.requests()), 40, "nothing was sent twice")


def test_batches_say_what_became_of_each_item():
    with Workspace() as w:
        sink = w.sink()
        w.hook("crm", HOOK % (sink.url, ""))
        engine = w.engine()
        status, answer, _ = engine.post([event(1), {"type": "BAD", "tags": {}}, event(2)])
        equal(status, 207)
        equal([r["status"] for r in answer["results"]], [202, 400, 202])
        lines = "\n".join(json.dumps(event(n)) for n in (3, 4))
        status, answer, _ = engine.request("POST", "/v1/events", lines, {"Content-Type": "application/x-ndjson"})
        equal((status, len(answer["results"])), (202, 2))
        sink.wait(4)


def test_cloudevents_in_three_shapes():
    with Workspace() as w:
        sink = w.sink()
        w.hook("crm", HOOK % (sink.url, ""))
        engine = w.engine()
        one = {"specversion": "1.0", "id": "ce1", "source": "/calls", "type": "call.completed", "data": {"CALL_ID": "s", "DURATION": 1}}
        equal(engine.request("POST", "/v1/events", one, {"Content-Type": "application/cloudevents+json"})[0], 202)
        equal(engine.request("POST", "/v1/events", [{**one, "id": "ce2"}], {"Content-Type": "application/cloudevents-batch+json"})[0], 202)
        binary = {"ce-specversion": "1.0", "ce-id": "ce3", "ce-source": "/calls", "ce-type": "call.completed", "Content-Type": "application/json"}
        equal(engine.request("POST", "/v1/events", {"CALL_ID": "b", "DURATION": 2}, binary)[0], 202)
        equal(sorted(r["body"] for r in sink.wait(3)), ['{"id":"b","d":2}', '{"id":"s","d":1}', '{"id":"s","d":1}'])


def test_bad_input_names_its_place():
    with Workspace() as w:
        engine = w.engine()
        status, problem, headers = engine.post('{"type":"call.completed","tags":{"A":01}}')
        equal((status, headers["content-type"]), (400, "application/problem+json"))
        check(problem["type"] and problem["status"] == 400 and "offset" in problem, f"problem: {problem}")
        equal(engine.request("POST", "/v1/events", "x", {"Content-Type": "text/plain"})[0], 415)
        equal(engine.post({"type": "call.completed", "tags": {"A": "x" * 270_000}})[0], 413)
        equal(engine.request("GET", "/nowhere")[0], 404)
        status, _, headers = engine.request("PUT", "/v1/events", {})
        equal((status, "POST" in headers["allow"]), (405, True))
        equal(engine.request("GET", "/healthz")[0], 200)
        equal(engine.request("GET", "/readyz")[0], 200)


def test_410_disables_and_one_command_resumes():
    gone = [True]
    with Workspace() as w, Receiver(lambda request: 410 if gone else 200) as r:
        w.hook("crm", HOOK % (r.url, ""))
        engine = w.engine()
        engine.post(event(1))
        until(lambda: engine.states() == {"parked": 1}, what="parked")
        equal(engine.post(event(2))[0], 202)
        until(lambda: engine.states() == {"parked": 2}, what="the next one parked too")
        equal(len(r.requests), 1, "a disabled webhook sends nothing")
        gone.clear()
        out = w.tuma("scripts", "resume", "crm")
        equal(out.returncode, 0, out.stderr)
        until(lambda: engine.states() == {"delivered": 2}, what="both delivered")


def test_run_delivers_a_file_and_a_second_run_skips_it():
    with Workspace() as w:
        sink = w.sink()
        w.hook("crm", HOOK % (sink.url, ""))
        (w.path / "day.ndjson").write_text("".join(json.dumps({"type": "call.completed", "tags": {"CALL_ID": f"c{n}", "DURATION": n}}) + "\n" for n in range(300)))
        out = w.tuma("run", "day.ndjson", "--allow-private")
        equal(out.returncode, 0, out.stderr + out.stdout)
        equal(len(sink.requests()), 300)
        out = w.tuma("run", "day.ndjson", "--allow-private")
        equal(out.returncode, 0, out.stderr)
        check("300 known already" in out.stdout, out.stdout)
        equal(len(sink.requests()), 300)
        out = w.tuma("run", "-", "--allow-private", stdin='{"type":"call.completed","tags":{"CALL_ID":"x","DURATION":1}}\n{broken\n')
        equal(out.returncode, 1)
        check("-:2:2: " in out.stderr, out.stderr)
        equal(len(sink.requests()), 301)


def test_a_run_does_not_wait_for_an_endpoint_that_is_left_alone():
    with Workspace() as w:
        sink = w.sink("--status", "503")
        w.hook("crm", HOOK % (sink.url, ""))
        out = w.tuma("run", "-", "--wait", "1s", "--allow-private", stdin="".join(json.dumps(event(n)) + "\n" for n in range(40)), seconds=30)
        equal(out.returncode, 1, out.stderr)
        check(" 40 pending" in out.stdout, out.stdout)


def test_two_engines_on_one_store_do_not_start():
    with Workspace() as w:
        w.engine()
        out = w.tuma("serve", "--listen", "127.0.0.1:0")
        equal(out.returncode, 4)
        check("another engine" in out.stderr, out.stderr)


def test_an_interrupted_run_goes_on():
    with Workspace() as w:
        sink = w.sink("--latency", "20")
        w.hook("crm", HOOK % (sink.url, "concurrency = 2"))
        path = w.path / "day.ndjson"
        path.write_text("".join(json.dumps(event(n)) + "\n" for n in range(200)))
        run = w.start(["run", str(path), *w.settings(), "--allow-private"], None, "run")
        sink.wait(10)
        run.stop(signal.SIGINT)
        out = w.tuma("run", str(path), "--allow-private")
        equal(out.returncode, 0, out.stdout + out.stderr)
        equal({r["body"] for r in sink.requests()}, {'{"id":"c%d","d":%d}' % (n, n) for n in range(200)})


if __name__ == "__main__":
    main(globals())
