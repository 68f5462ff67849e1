"""What a receiver sees of a restart: the engine is killed with work in hand, and
started again at once."""
import http.client
import json
import socket
import sqlite3
import threading
import time

from harness import Receiver, Workspace, check, equal, main, until


def hook(url, rest):
    return f'return {{ on = "call.*", {rest}, request = {{ url = "{url}/x", body = "[CALL_ID]" }} }}'


def post(engine, first, count):
    events = [{"id": f"e{n}", "type": "call.completed", "tags": {"call_id": str(n)}} for n in range(first, first + count)]
    code, document, _ = engine.post(events)
    check(code == 202, f"{code} {document}")


def status(workspace):
    connection = http.client.HTTPConnection("localhost", timeout=30)
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.connect(str(workspace.data / "control.sock"))
    connection.request("GET", "/v1/status")
    document = json.loads(connection.getresponse().read())
    connection.close()
    return document


def most_in(arrivals, seconds):
    """The fullest window of so many seconds."""
    return max(sum(start <= at <= start + seconds for at in arrivals) for start in arrivals)


def test_a_rate_holds_over_kill_9():
    """a rate holds for the receiver over kill -9 and restart"""
    rate, burst, late = 2, 8, 1.5  # a second and a half of delay may push that many more together
    with Workspace() as w, Receiver() as receiver:
        w.hook("paced", hook(receiver.url, f'rate = "{rate}/s burst {burst}", concurrency = 20'))
        for life in range(3):
            engine = w.engine()
            post(engine, 100 * life, 12)
            until(lambda: len(receiver.requests) > 2 * life + (burst if life == 0 else 0), 20, "something sent in this life")
            engine.process.kill()
        arrivals = [request["at"] for request in receiver.requests]
        for seconds in (1, 2, 4, 8, 16):
            most, allowed = most_in(arrivals, seconds), rate * (seconds + late) + burst
            check(most <= allowed, f"{most} in {seconds} s, {allowed} allowed: {[round(at - arrivals[0], 2) for at in arrivals]}")


def test_a_burst_that_is_settled_is_not_had_again():
    """a burst that was delivered whole is not had again after kill -9"""
    with Workspace() as w, Receiver() as receiver:
        w.hook("paced", hook(receiver.url, 'rate = "6/m burst 5"'))
        engine = w.engine()
        post(engine, 0, 5)
        until(lambda: engine.states().get("delivered") == 5, 20, "five delivered")
        engine.process.kill()
        engine = w.engine()
        post(engine, 100, 5)
        time.sleep(1)
        check(len(receiver.requests) <= 6, f"{len(receiver.requests)} arrived, five and the next token's are allowed")


def test_dead_endpoints_are_probed_not_hammered():
    """dead endpoints are probed after a restart, not hammered, and a healthy one has its own"""
    with Workspace() as w, Receiver(lambda request: 500 if request["target"].startswith("/dead") else 200) as receiver:
        for n in range(20):
            w.hook(f"dead{n}", hook(f"{receiver.url}/dead{n}", 'retry = { 0.1, 600 }, breaker = { failures = 3, cooldown = 600, cooldown_max = 600 }, concurrency = 1'))
        w.hook("well", hook(f"{receiver.url}/well", "concurrency = 4"))
        engine = w.engine()
        post(engine, 0, 20)

        def opened():
            hooks = status(w)["webhooks"]
            return all(h["breaker"] == "open" and h["failures"] >= 3 for h in hooks if h["name"].startswith("dead"))

        until(opened, 30, "open breakers")
        until(lambda: sum(r["target"].startswith("/well") for r in receiver.requests) == 20, 20, "the healthy one's")
        engine.process.kill()
        before = len(receiver.requests)
        engine = w.engine()
        post(engine, 100, 20)
        until(lambda: sum(r["target"].startswith("/well") for r in list(receiver.requests)) == 40, 20, "the healthy one's")
        check(opened(), "a breaker is not open")
        dead = sum(r["target"].startswith("/dead") for r in list(receiver.requests)[before:])
        check(dead <= 5, f"{dead} attempts on 20 dead endpoints, a probe each in ten minutes is allowed")


def test_a_large_store_is_checked_after_kill_9():
    """a store too large to be checked at the start is checked beside the work, and what is damaged is not sent"""
    with Workspace() as w, Receiver() as receiver:
        w.hook("a", hook(receiver.url, "concurrency = 4"))
        w.hook("kept", hook(receiver.url, 'rate = "1/h"'))  # all but one stay in the store
        engine = w.engine()
        equal(status(w)["check"], {"state": "none", "deliveries": 0, "damaged": 0})
        filler = "x" * 60000
        for n in range(0, 1200, 4):
            events = [{"id": f"e{i}", "type": "call.completed", "tags": {"call_id": str(i), "note": filler}} for i in range(n, n + 4)]
            equal(engine.post(events)[0], 202)
        engine.process.kill()
        database = sqlite3.connect(w.data / "tuma.db")
        database.execute("UPDATE event SET tags = '{}' WHERE id = 'e1100'")
        database.commit()
        database.close()
        check((w.data / "tuma.db").stat().st_size > 64 << 20, "the store is not large enough for this test")
        engine = w.engine()
        found = until(lambda: status(w)["check"]["state"] == "done" and status(w)["check"], 60, "the check's end")
        equal((found["deliveries"], found["damaged"]), (2400, 2))  # one event, two webhooks
        text = engine.process.text()
        check("the store is damaged" in text and "store checked after an unclean stop" in text, text[-2000:])
        engine.post({"id": "last", "type": "call.completed", "tags": {"call_id": "last"}})
        until(lambda: any(b"last" in r["body"] for r in list(receiver.requests)), 20, "a delivery beside the damage")


def test_what_a_script_counted_is_not_lost():
    """a script's counter misses no delivery over kill -9, and counts again only what was in hand"""
    hangs, seen = threading.Event(), []

    def answer(request):
        seen.append(json.loads(request["body"]))
        if seen[-1]["id"] == "0":
            hangs.wait(30)
        return 200

    with Workspace() as w, Receiver(answer) as receiver:
        w.hook("count", 'return { on = "call.*", concurrency = 4, tags = function() return { COUNT = store.incr("n") } end,'
               f' request = {{ url = "{receiver.url}/x", body = [=[{{"id": "[CALL_ID]", "count": [COUNT]}}]=] }} }}')
        engine = w.engine()
        for n in range(3):  # the first stays in hand
            post(engine, n, 1)
            until(lambda: len(seen) == n + 1, 20, "a request")
        until(lambda: engine.states().get("delivered") == 2, 20, "two delivered")
        engine.process.kill()
        hangs.set()
        engine = w.engine()
        until(lambda: engine.states().get("delivered") == 3, 20, "three delivered")
        post(engine, 3, 1)
        last = until(lambda: [r["count"] for r in list(seen) if r["id"] == "3"], 20, "the last one")[0]
        check(last in (4, 5), f"{last} counted of 4 deliveries, one of them in hand at the kill: {seen}")


if __name__ == "__main__":
    main(globals())
