"""Memory that runs out: the short run of tests/crash/memory.py in every process, each place
that allocates once, and the rig's two controls, which must be caught."""
import http.client
import json
import os
import pathlib
import socket
import subprocess
import sys

from harness import ROOT, Workspace, check, equal, main, until

sys.path.insert(0, str(ROOT / "tests/crash"))
import memory  # noqa: E402

SEED = os.environ.get("TUMA_SEED", "20261125")
POINTS = os.environ.get("TUMA_POINTS", "14")
WAIT = 300
PLACES = os.environ.get("TUMA_PLACES", "").split()  # half a minute each: `make coverage` does it


def rig(*flags):
    return subprocess.Popen([sys.executable, str(ROOT / "tests/crash/memory.py"), "--seed", SEED, *flags], stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT, text=True)


# All at once: they mostly wait.
SANITIZED = bool(os.environ.get("TUMA_SANITIZED"))  # their allocators cannot be preloaded over
RUNS = {} if SANITIZED else {place: rig("--only", place, "--points", POINTS) for place in ("start", "work", "script", "run")}
RUNS |= {} if SANITIZED else {f"each {place}": rig("--only", place, "--places") for place in PLACES}
CONTROLS = {} if SANITIZED else {"crash": rig("--only", "work", "--points", "3", "--defect", "wild"),
                                 "lost": rig("--only", "work", "--points", "4", "--every", "1", "--defect", "ack-early")}


def whole(place):
    if SANITIZED:
        return
    out = RUNS[place].communicate(timeout=WAIT)[0]
    print("# " + out.strip().split("\n")[-1])
    check(RUNS[place].returncode == 0, out[-4000:])


def caught(kind):
    if SANITIZED:
        return
    out = CONTROLS[kind].communicate(timeout=WAIT)[0]
    check(CONTROLS[kind].returncode == 1 and f'"{kind}": ' in out, out[-2000:])


def test_an_engine_that_starts_without_memory():
    whole("start")


def test_an_engine_at_work_without_memory_loses_nothing_acknowledged():
    whole("work")


def test_script_processes_without_memory():
    whole("script")


def test_tuma_run_without_memory_says_so():
    whole("run")


def test_each_place_that_allocates_fails_once():
    for place in PLACES:
        whole(f"each {place}")


def test_a_pointer_that_nobody_checked_is_caught():
    caught("crash")


def test_an_early_acknowledgement_is_caught():
    caught("lost")


def ask(w, method, path, body=None):
    """Over the control socket: the port is told when the engine takes events."""
    connection = http.client.HTTPConnection("localhost", timeout=30)
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.connect(str(w.data / "control.sock"))
    connection.request(method, path, body, {"Content-Type": "application/json"} if body else {})
    answer = connection.getresponse()
    document = json.loads(answer.read())
    connection.close()
    return answer.status, document, answer.getheader("Retry-After")


def test_events_wait_until_every_webhook_was_looked_at():
    if SANITIZED:
        return
    with Workspace() as w:
        sink, event = w.sink(), json.dumps({"id": "e1", "type": "call.completed", "tags": {"CALL_ID": "1"}})
        w.hook("late", f'return {{ on = "call.*", request = {{ url = "{sink.url}/x", body = "[CALL_ID]" }} }}')
        library = memory.build(pathlib.Path(os.environ.get("BUILD", ROOT / "build")).resolve() / "crash")
        memory.Fault(w.path / "fault")
        scripts = memory.Fault(w.path / "fault.script")
        scripts.arm(1, 1)  # no script process gets anything
        engine = w.start(["serve", *w.settings(), "--listen", "127.0.0.1:0", "--allow-private"], "cannot be loaded yet", "engine",
                         {"LD_PRELOAD": str(library), "FAILMALLOC": str(w.path / "fault")})
        status, problem, again = ask(w, "POST", "/v1/events", event)
        equal((status, problem["type"], again), (503, "urn:tuma:problem:not_ready", "1"))
        equal(ask(w, "GET", "/readyz")[0], 503)
        check("listening" not in engine.text(), engine.text())
        scripts.disarm()
        until(lambda: ask(w, "GET", "/readyz")[0] == 200, 30, "readiness")
        equal(ask(w, "POST", "/v1/events", event)[0], 202)
        sink.wait(1)


if __name__ == "__main__":
    main(globals())
