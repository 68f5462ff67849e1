"""Scripts in the running engine: what a bad one does to itself and not to others,
what a script process may do, what the commands tell."""
import json
import os
import random
import re
import signal
import threading
import time

from harness import Receiver, Workspace, check, equal, main, until

GOOD = """local hook = { on = { "call.completed" }, request = { url = "%(url)s/%(name)s", body = [=[{"id":"[CALL_ID]","n":[N]}]=] } }
function hook.tags(event) return { N = #event.CALL_ID } end
return hook
"""
LOOP = """local hook = { on = { "call.completed" }, %(more)s request = { url = "%(url)s/loop", body = [=[{"id":"[CALL_ID]"}]=] } }
function hook.filter(event)
  while true do end
end
return hook
"""


def event(n, **more):
    return {"id": f"e{n}", "type": "call.completed", "tags": {"CALL_ID": f"c{n}", **more}}


def children(engine):
    """Script processes by lane."""
    found = {}
    for line in os.popen(f"pgrep -a -P {engine.process.process.pid}").read().splitlines():
        pid, *words = line.split()
        if "__sandbox" in words:
            found.setdefault(words[-1], []).append(int(pid))
    return found


def paths(sink):
    counts = {}
    for request in sink.requests():
        counts[request["target"]] = counts.get(request["target"], 0) + 1
    return counts


def quarantined(engine, name):
    """How often the engine said so."""
    return len(re.findall(f'"webhook state","webhook":"{name}","state":"quarantined"', engine.process.text()))


def test_a_runaway_holds_its_own_deliveries_and_nobody_elses():
    with Workspace() as w:
        sink = w.sink()
        w.hook("good", GOOD % {"url": sink.url, "name": "good"})
        w.hook("loop", LOOP % {"url": sink.url, "more": ""})
        engine = w.engine()
        for n in range(60):
            equal(engine.post(event(n))[0], 202, "post")
        until(lambda: paths(sink).get("/good") == 60, 60, "all of the good one's")
        until(lambda: quarantined(engine, "loop"), 60, "quarantine")
        equal(paths(sink), {"/good": 60})
        check({row["state"] for row in engine.log("--webhook", "loop")} <= {"parked", "pending"}, "held, not lost")
        reasons = {row["reason"] for row in engine.log("--webhook", "loop")}
        check(any("loop.lua:3: CPU budget exceeded" in reason for reason in reasons), f"reasons: {reasons}")
        time.sleep(0.5)  # what was in hand when it was quarantined ends under the old version
        w.hook("loop", GOOD % {"url": sink.url, "name": "loop"})  # an edit lifts it
        until(lambda: paths(sink).get("/loop") == 60, 60, "the held ones go out after the edit")


def test_release_lets_a_quarantined_webhook_try_again():
    with Workspace() as w:
        sink = w.sink()
        w.hook("loop", LOOP % {"url": sink.url, "more": ""})
        engine = w.engine()
        for n in range(20):
            engine.post(event(n))
        until(lambda: quarantined(engine, "loop") == 1, 60, "quarantine")
        out = w.tuma("scripts").stdout
        check(re.search(r"^loop .* quarantined filter\n    script_error: filter: .*loop.lua:3: CPU budget exceeded$", out, re.M), out)
        out = w.tuma("scripts", "release", "loop")
        equal((out.returncode, out.stderr), (0, ""), "release")
        until(lambda: quarantined(engine, "loop") == 2, 60, "it tried, and was quarantined again")
        equal(sink.requests(), [])


def test_on_script_error_sends_or_drops():
    with Workspace() as w:
        sink = w.sink()
        w.hook("sends", LOOP % {"url": sink.url, "more": 'on_script_error = "send",'})
        w.hook("drops", LOOP % {"url": sink.url, "more": 'on_script_error = "drop",'})
        engine = w.engine()
        engine.post(event(1))
        sink.wait(1)
        until(lambda: sorted(row["state"] for row in engine.log()) == ["delivered", "dropped"], what="both settled")


def test_killed_script_processes_lose_and_double_nothing():
    rng = random.Random(1)
    with Workspace() as w:
        sink = w.sink()
        w.hook("good", GOOD % {"url": sink.url, "name": "good"})
        engine = w.engine()
        for n in range(200):
            equal(engine.post(event(n))[0], 202, "post")
            if n % 10 == 9:
                pids = children(engine).get("calls", [])
                if pids:
                    os.kill(rng.choice(pids), signal.SIGKILL)
        until(lambda: engine.states() == {"delivered": 200}, 60, "all delivered")
        ids = [json.loads(request["body"])["id"] for request in sink.requests()]
        equal(sorted(ids), sorted(f"c{n}" for n in range(200)), "each once")


def test_a_script_process_has_given_up_its_rights():
    with Workspace() as w:
        sink = w.sink()
        w.hook("good", GOOD % {"url": sink.url, "name": "good"})
        engine = w.engine()
        engine.post(event(1))
        sink.wait(1)
        pids = [pid for lane in children(engine).values() for pid in lane]
        check(pids, "there are script processes")
        for pid in pids:
            status = dict(line.split(":", 1) for line in open(f"/proc/{pid}/status").read().splitlines() if ":" in line)
            equal(status["NoNewPrivs"].strip(), "1", "no new privileges")
            equal(status["Seccomp"].strip(), "2", "a filter of system calls")
            limits = open(f"/proc/{pid}/limits").read()
            check(re.search(r"Max core file size +0 +0 ", limits) and re.search(r"Max open files +5 +5 ", limits), limits)
            if os.geteuid() == 0:  # the process is not dumpable, so only root may look
                equal(sorted(os.listdir(f"/proc/{pid}/fd")), ["0", "1", "2", "3", "4"], "descriptors")
                equal(open(f"/proc/{pid}/environ").read().rstrip("\0"), "TZ=UTC", "environment")
        engine.process.kill()
        until(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in pids), what="they die with the engine")


def test_a_store_survives_a_restart():
    with Workspace() as w:
        sink = w.sink()
        w.hook("count", f"""local hook = {{ on = "call.completed", request = {{ url = "{sink.url}/[N]" }} }}
function hook.tags(event) return {{ N = store.incr("calls") }} end
return hook""")
        engine = w.engine()
        for n in range(3):
            engine.post(event(n))
            sink.wait(n + 1)
        until(lambda: '"calls":{"value":3}' in w.tuma("scripts", "show", "count", "--json").stdout.replace(" ", ""), what="shown by scripts show")
        equal(engine.process.stop(), 0, "stop")
        engine = w.engine()
        engine.post(event(9))
        equal([request["target"] for request in sink.wait(4)], ["/1", "/2", "/3", "/4"])


def test_a_count_is_kept_in_whatever_order_deliveries_end():
    held = threading.Event()
    with Workspace() as w, Receiver(lambda request: (request["target"] in ("/1", "/21") and held.wait(30), 200)[1]) as receiver:
        w.hook("count", f"""local hook = {{ on = "call.completed", concurrency = 8, retry = {{ 0.1 }}, request = {{ url = "{receiver.url}/[N]" }} }}
function hook.tags(event) return {{ N = store.incr("n") }} end
return hook""")
        engine = w.engine()
        equal(engine.request("POST", "/v1/events", [event(n) for n in range(20)])[0], 202)
        until(lambda: engine.states().get("delivered") == 19, what="all but the first")
        held.set()
        until(lambda: engine.states().get("delivered") == 20, what="the first, as the last")
        engine.process.stop()
        held.clear()
        engine = w.engine("--drain-s", "1")  # and when the engine ends in between, with one in hand
        equal(engine.request("POST", "/v1/events", [event(n) for n in range(20, 25)])[0], 202)
        until(lambda: engine.states().get("delivered") == 24, what="all but the one that hangs")
        equal(engine.process.stop(), 0, "stop")
        held.set()
        engine = w.engine()
        engine.post(event(25))
        until(lambda: engine.states().get("delivered") == 26, what="all")
        equal(sorted({int(r["target"][1:]) for r in receiver.requests}), list(range(1, 27)), "counts")


def test_a_full_store_is_said_and_shown_and_keeps_what_it_has():
    with Workspace() as w:
        sink = w.sink()
        text = """local hook = { on = "call.completed", request = { url = "%s/%s/[N]" } }
function hook.tags(event)
  store.set("k" .. event.CALL_ID, ("x"):rep(60000))
  store.set("brief", { a = 1 }, 3600)
  return { N = store.incr("n") }
end
return hook"""
        w.hook("hoard", text % (sink.url, "a"))
        engine = w.engine()
        for n in range(20):
            engine.post(event(n))
        until(lambda: engine.states() == {"delivered": 17, "parked": 3}, what="17 values fill a megabyte")
        reason = engine.log("--state", "parked")[0]["reason"]
        check("hoard.lua:3: store: full (1048576 bytes): delete keys or give them a ttl" in reason, reason)
        shown = w.tuma("scripts", "show", "hoard").stdout
        check(f'  kc1 = "{"x" * 199}… (60002 bytes)\n' in shown and '  brief = {"a":1}  until 2' in shown, shown)
        check("  19 keys, 996" in shown, shown)
        w.hook("hoard", (text % (sink.url, "b")).replace('store.set("k"', 'store.delete("k"').replace(', ("x"):rep(60000)', ""))
        until(lambda: engine.states() == {"delivered": 20}, what="an edit lets the rest go")
        equal({r["target"] for r in sink.requests()} & {"/b/18", "/b/19", "/b/20"}, {"/b/18", "/b/19", "/b/20"}, "keys outlive an edit")
        w.hook("plain", f"""return {{ on = "call.completed", request = {{ url = "{sink.url}/plain" }} }}""")
        out = w.tuma("scripts", "profile", "plain", "--allow-private")
        equal((out.returncode, "plain.lua has no filter, tags or transform to profile" in out.stderr), (1, True), out.stderr)


def test_the_commands_tell_what_scripts_do():
    with Workspace() as w:
        sink = w.sink()
        w.hook("good", GOOD % {"url": sink.url, "name": "good"})
        w.hook("bad", "return {")
        w.hook("fails", GOOD.replace("#event.CALL_ID", "#event.NOTHING") % {"url": sink.url, "name": "fails"})
        engine = w.engine()
        for n in range(5):
            engine.post(event(n))
        sink.wait(5)
        until(lambda: len(engine.log("--webhook", "fails", "--state", "parked")) == 5, what="errors")
        out = w.tuma("scripts")
        equal(out.returncode, 1, "a broken script is a finding")
        check("bad.lua:1:" in out.stdout and "tags" in out.stdout, out.stdout)
        rows = {row["name"]: row for row in json.loads(w.tuma("scripts", "top", "--json").stdout)["scripts"]}
        equal((rows["good"]["calls"], rows["good"]["errors"]), (5, 0), "good")
        equal((rows["fails"]["errors"], rows["fails"]["last_error_count"]), (5, 5), "fails")
        check("fails.lua:2:" in rows["fails"]["last_error"], rows["fails"]["last_error"])
        check("good" in w.tuma("scripts", "top").stdout, "top")
        profile = w.tuma("scripts", "profile", "good", "--last", "5", "--allow-private")
        check("good.lua:2: function hook.tags" in profile.stdout, profile.stdout + profile.stderr)
        w.hook("loop", LOOP % {"url": sink.url, "more": ""})
        profile = w.tuma("scripts", "profile", "loop", "--last", "5", "--allow-private", "--script-cpu-ms", "5")
        check(re.search(r"^(\d+) calls?, \1 ended by an error: .*loop.lua:3: CPU budget exceeded\n", profile.stdout), profile.stdout)
        check(re.search(r" 100.0 % .*loop.lua:3: while true do end\n", profile.stdout), profile.stdout)


def test_a_scripts_error_is_told_whole_once_and_without_secrets():
    with Workspace() as w:
        sink = w.sink()
        w.hook("leak", f"""local hook = {{ on = "call.completed", secrets = {{ "KEY" }}, request = {{ url = "{sink.url}/" }} }}
local function check(event) error("the key is " .. secret.get("KEY") .. ", not " .. event.CALL_ID:sub(1, 1)) end
function hook.transform(event) check(event) end
return hook""")
        w.hook("judge", f"""local hook = {{ on = "call.completed", request = {{ url = "{sink.url}/" }} }}
function hook.response(event, response) return response.nothing + 1 end
return hook""")
        engine = w.engine(env={"TUMA_SECRET_KEY": "sesame-open-the-door"})
        for n in range(12):
            engine.post(event(n))
        until(lambda: engine.states() == {"parked": 12, "delivered": 12}, what="all settled")
        lines = [json.loads(line) for line in engine.process.text().splitlines() if '"script failed"' in line]
        told = {name: [line for line in lines if line["webhook"] == name] for name in ("leak", "judge")}
        for name, stage, place in (("leak", "transform", "leak.lua:2: the key is ****"), ("judge", "response", "judge.lua:2: ")):
            equal([line["times"] for line in told[name]], ["1", "10"], "counted, not repeated")
            first = told[name][0]
            equal((first["stage"], len(first["version"]), first["event"][0]), (stage, 16, "e"), "what failed")
            check(place in first["error"] and "stack traceback:" in first["error"], first["error"])
            check(float(first["cpu_ms"]) > 0 and int(first["memory_peak"]) > 0, first)
            row = json.loads(w.tuma("scripts", "show", name, "--json").stdout)["script"]
            equal((row["last_error_count"], row["last_error_stage"], row["last_error_version"]), (12, stage, first["version"]), "kept")
            shown = w.tuma("scripts", "show", name).stdout
            check(f"last error   12 times; version {first['version']}, stage {stage}, event e" in shown, shown)
        everything = engine.process.text() + w.tuma("scripts", "--json").stdout + w.tuma("log", "--json").stdout
        check("sesame" not in everything, "the secret is told nowhere")
        row = w.tuma("log", "--state", "parked", "--limit", "1").stdout
        equal((row.count("\n"), "traceback" in row), (1, False), "a line a delivery")
        shown = w.tuma("show", row.split()[0]).stdout
        check("(parked)\n" in shown and "reason    script_error: transform: " in shown and "          stack traceback:" in shown, shown)


def test_the_list_tells_states_and_an_unknown_name_is_said():
    with Workspace() as w:
        w.hook("good", GOOD % {"url": "http://127.0.0.1:9999", "name": "good"})
        w.engine()
        out = w.tuma("scripts", "pause", "good")
        equal((out.stdout, out.stderr), ("good is paused\n", ""), "pause")
        out = w.tuma("scripts").stdout
        check(re.search(r"^good +[0-9a-f]{16} paused +tags\n    paused on request$", out, re.M), out)
        check("state        paused\n" in w.tuma("scripts", "show", "good").stdout, "show")
        for verb in ("show", "release", "pause"):
            out = w.tuma("scripts", verb, "nope")
            equal((out.returncode, out.stderr), (1, 'tuma: no webhook "nope" is known; tuma scripts lists them\n'), verb)


def test_a_removed_file_parks_what_was_pending():
    with Workspace() as w:
        sink = w.sink("--fail-first", "1000")
        w.hook("good", GOOD % {"url": sink.url, "name": "good"})
        engine = w.engine()
        engine.post(event(1))
        sink.wait(1)
        (w.scripts / "good.lua").unlink()
        until(lambda: engine.states() == {"parked": 1}, what="parked")
        engine.post(event(2))
        time.sleep(0.3)
        equal(len(engine.log()), 1, "no delivery for an event after it")


if __name__ == "__main__":
    main(globals())
