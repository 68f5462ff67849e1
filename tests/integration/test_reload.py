"""Hot reload torture: a webhook is saved again and again under load, every other
version broken. No event may see two versions, and the log must name the right one.
TUMA_RELOADS sets how many (300; the long run is 10000)."""
import hashlib
import json
import os
import random
import signal
import threading
import time

from harness import Workspace, check, equal, main, until

RELOADS = int(os.environ.get("TUMA_RELOADS", "300"))
SEED = int(os.environ.get("TUMA_SEED", "1"))

GOOD = """local V = %(v)d
local hook = { on = { "call.completed" }, request = { url = "%(url)s/r?v=%(v)d",
  body = [=[{"id":"[CALL_ID]","template":%(v)d,"tag":[VERSION]}]=] } }
function hook.filter(event) return event.CALL_ID ~= nil end
function hook.tags(event) return { VERSION = V } end
function hook.transform(event, request) request.body:set("transform", V) end
hook.tests = { { name = "all of one version", event = { CALL_ID = "c1" },
  expect = { url = "%(url)s/r?v=%(expect)d", body = { template = %(v)d, tag = %(v)d, transform = %(v)d } } } }
return hook
"""
FAILING = "its own tests fail"
BROKEN = [
    FAILING,
    "return {",
    "local hook = { on = { 'call.completed' } request = 1 }",
    "error('no')",
    "return 7",
    "return { on = 'call.completed', request = { url = 'nonsense' } }",
    "while true do end",
    "",
]


def resident(pid):
    """Bytes resident in a process and its script processes."""
    pids, total = [pid], 0
    for line in os.popen(f"pgrep -P {pid}").read().split():
        pids.append(int(line))
    for one in pids:
        try:
            total += int(open(f"/proc/{one}/statm").read().split()[1]) * os.sysconf("SC_PAGESIZE")
        except OSError:
            pass  # it was just replaced
    return total


class Load:
    """Posts events until told to stop; remembers the accepted ids."""

    def __init__(self, engine):
        self.engine, self.ids, self.ended = engine, [], threading.Event()
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self):
        number = 0
        while not self.ended.is_set():
            batch = [{"id": f"e{number + i}", "type": "call.completed", "tags": {"CALL_ID": f"c{number + i}"}} for i in range(5)]
            status, answer, _ = self.engine.post(batch)
            check(status in (200, 202, 207), f"post: {status} {answer}")
            self.ids += [one["id"] for one in batch]
            number += 5
            time.sleep(0.01)

    def stop(self):
        self.ended.set()
        self.thread.join()
        return self.ids


def good(number, url, expect=None):
    return GOOD % {"v": number, "url": url, "expect": number if expect is None else expect}


def save(w, rng, number, url, versions):
    """Every other version is broken; saved in one of the ways that editors have."""
    text = good(number, url) if number % 2 == 0 else rng.choice(BROKEN)
    if text is FAILING:
        text = good(number, url, expect=number + 1)
    if number % 2 == 0:
        versions[hashlib.sha256(text.encode()).hexdigest()[:16]] = number
    path = w.scripts / "hot.lua"
    if rng.random() < 0.5:
        w.hook("hot", text)
    else:
        path.write_text(text)


def log_versions(w):
    """Delivery rows by event id, read in pages."""
    rows, before = {}, None
    while True:
        more = w.tuma("log", "--json", "--limit", "1000", *(["--before", str(before)] if before else []))
        check(more.returncode == 0, more.stderr)
        page = [json.loads(line) for line in more.stdout.splitlines()]
        if not page:
            return rows
        for row in page:
            rows.setdefault(row["event"], []).append(row)
        before = min(row["id"] for row in page)


def version(w, name):
    out = w.tuma("scripts", "--json")
    check(out.returncode == 0, f"tuma scripts: {out.stderr}")
    return next((row.get("version") for row in json.loads(out.stdout)["scripts"] if row["name"] == name), None)


def test_no_event_sees_two_versions():
    rng, versions = random.Random(SEED), {}
    with Workspace() as w:
        sink = w.sink()
        save(w, rng, 0, sink.url, versions)
        engine = w.engine()
        load, marks = Load(engine), []
        for number in range(1, RELOADS + 1):
            save(w, rng, number, sink.url, versions)
            time.sleep(0.02 + rng.random() * 0.03)
            if number in (RELOADS // 2, RELOADS):
                marks.append(resident(engine.process.process.pid))
        ids = load.stop()
        until(lambda: not engine.log("--state", "pending"), 60, "everything sent")
        seen, used = {}, set()
        for request in sink.requests():
            body = json.loads(request["body"])
            in_url = int(request["target"].split("v=")[1])
            equal({in_url, body["template"], body["tag"], body["transform"]}, {in_url}, f"versions in {body['id']}")
            seen.setdefault("e" + body["id"][1:], []).append(in_url)
            used.add(in_url)
        rows = log_versions(w)
        for event_id in ids:
            equal(len(seen.get(event_id, [])), 1, f"requests for {event_id}")
            equal([row["state"] for row in rows[event_id]], ["delivered"], f"state of {event_id}")
            equal(versions[rows[event_id][0]["version"]], seen[event_id][0], f"logged version of {event_id}")
        check(len(used) > (1 if os.environ.get("TUMA_SANITIZED") else 3), f"only versions {used} were ever used")
        check(os.environ.get("TUMA_SANITIZED") or marks[1] < marks[0] * 1.15 + 8e6, f"resident bytes grew over half of the reloads: {marks}")
        text = engine.process.text()
        check("hot.lua:" in text, "broken versions are told with file and line")
        if os.environ.get("TUMA_RELOADS"):
            print(f"# {RELOADS} reloads, {len(ids)} events, {len(used)} versions seen, resident {marks[0] / 1e6:.1f} MB at half, {marks[1] / 1e6:.1f} MB at the end")


def test_the_last_version_wins():
    """After a burst of saves the last one runs."""
    with Workspace() as w:
        sink, versions = w.sink(), {}
        w.hook("hot", good(0, sink.url))
        engine = w.engine()
        for number in range(1, 41):
            (w.scripts / "hot.lua").write_text(good(number, sink.url))
        digest = hashlib.sha256(good(40, sink.url).encode()).hexdigest()[:16]
        until(lambda: version(w, "hot") == digest, what="version 40")
        engine.post({"type": "call.completed", "tags": {"CALL_ID": "c1"}})
        equal(sink.wait(1)[0]["target"], "/r?v=40")


def test_a_shared_file_reloads_its_users():
    with Workspace() as w:
        sink = w.sink()
        (w.scripts / "lib").mkdir()
        (w.scripts / "lib" / "grade.lua").write_text("return function(event) return 'old' end")
        w.hook("user", f"""local grade = require "lib.grade"
local hook = {{ on = "call.completed", request = {{ url = "{sink.url}/[GRADE]" }} }}
function hook.tags(event) return {{ GRADE = grade(event) }} end
return hook""")
        engine = w.engine()
        event = {"type": "call.completed", "tags": {"CALL_ID": "c1"}}
        engine.post(event)
        equal(sink.wait(1)[0]["target"], "/old")
        before = version(w, "user")
        (w.scripts / "lib" / "grade.lua").write_text("return function(event) return 'new' end")
        until(lambda: version(w, "user") != before, what="another version")
        engine.post(event)
        equal(sink.wait(2)[1]["target"], "/new")


TESTED = """local hook = { on = "call.completed", request = { url = "%(url)s/%(v)s" } }
hook.tests = {
  { name = "goes there", event = { CALL_ID = "c1" }, expect = { url = "%(url)s/%(wanted)s" } },
}
return hook"""


def error(w, name):
    out = w.tuma("scripts", "--json")
    return next((row.get("error") for row in json.loads(out.stdout)["scripts"] if row["name"] == name), None)


def test_failing_tests_keep_a_saved_version_out():
    with Workspace() as w:
        sink = w.sink()
        w.hook("gated", TESTED % {"url": sink.url, "v": "one", "wanted": "one"})
        engine = w.engine()
        before = version(w, "gated")
        w.hook("gated", TESTED % {"url": sink.url, "v": "two", "wanted": "one"})
        told = until(lambda: error(w, "gated"), what="the failure is told")
        check("gated.lua:3: test" in told and "goes there" in told, told)
        check(version(w, "gated") == before, "the version before it goes on")
        check("gated.lua:3: test" in engine.process.text(), "the failure is in the log")
        engine.post({"type": "call.completed", "tags": {"CALL_ID": "c1"}})
        equal(sink.wait(1)[0]["target"], "/one")
        w.hook("gated", TESTED % {"url": sink.url, "v": "two", "wanted": "two"})
        until(lambda: version(w, "gated") != before and not error(w, "gated"), what="the mended version")
        engine.post({"type": "call.completed", "tags": {"CALL_ID": "c2"}})
        equal(sink.wait(2)[1]["target"], "/two")


def test_tests_can_be_left_to_their_author():
    with Workspace() as w:
        sink = w.sink()
        w.hook("free", TESTED % {"url": sink.url, "v": "one", "wanted": "one"})
        w.engine("--no-script-tests")
        before = version(w, "free")
        w.hook("free", TESTED % {"url": sink.url, "v": "two", "wanted": "one"})
        until(lambda: version(w, "free") != before, what="the version whose tests fail")


def test_an_edit_lets_go_what_the_old_version_had_in_hand():
    """The old version's answer, an error, comes after the edit."""
    with Workspace() as w:
        sink = w.sink()
        text = """local hook = { on = "call.completed", request = { url = "%s/[CALL_ID]" } }
function hook.filter(event) if event.CALL_ID ~= "first" then %s end end
return hook"""
        w.hook("late", text % (sink.url, "error('no')"))
        engine = w.engine("--workers", "1", "--script-kill-ms", "10000")
        before = version(w, "late")
        engine.post({"type": "call.completed", "tags": {"CALL_ID": "first"}})
        sink.wait(1)
        script = int(os.popen(f"pgrep -P {engine.process.process.pid} -f '__sandbox calls$'").read())
        os.kill(script, signal.SIGSTOP)
        engine.post({"type": "call.completed", "tags": {"CALL_ID": "second"}})
        time.sleep(0.3)  # it is in hand
        w.hook("late", text % (sink.url, "return true"))
        until(lambda: version(w, "late") != before, what="the edit")
        time.sleep(0.3)  # the journal has heard of it
        os.kill(script, signal.SIGCONT)
        equal(sink.wait(2)[1]["target"], "/second")


if __name__ == "__main__":
    main(globals())
