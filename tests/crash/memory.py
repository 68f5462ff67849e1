#!/usr/bin/env python3
"""Memory that runs out at the N-th allocation (R9), in every process tuma has.

    tests/crash/memory.py [--points 60] [--seed N] [--only start,work,script,run] [--at N --every N | --places]
                          [--defect ack-early|wild] [--build DIR]

A preloaded library (failmalloc.c) lets the N-th allocation fail: that one, or it
and all behind it, or every seventh from it on. N is drawn evenly from what a run
without a fault counts. Where:

  start   `tuma serve`, from its first allocation on
  work    the same, from the moment it listens: events come in, scripts run, requests go out
  script  its script processes
  run     `tuma run` over a file of events
  commands  the other commands, one after the other (with --places only)

With --places each place that allocates (by the innermost calls of tuma's own code) fails
once instead, in as many processes as it takes until a process meets no place that had
no turn yet.

The process may refuse (any status that is no signal), answer 503, drop connections. Bad is:

  crash        it, or a script process, ended by a signal of its own making
  hung         it neither ends nor answers, or does not end when told to
  mute         memory is back, and it does not take an event, or goes without a word
  lost         an acknowledged event is not delivered, once an engine without faults has run on the store
  unkept       `tuma run` ends with 0, and not everything it was given is delivered
  altered      a request arrived with other bytes than were due
  wrong        a command ended with 0 and said something else than it should
  broken       the store fails integrity_check

`--defect ack-early` takes events for acknowledged that were not; `wild` lets a failed
allocation return a pointer to nowhere. Both must be found.
"""
import argparse
import collections
import contextlib
import http.client
import json
import mmap
import os
import pathlib
import random
import sqlite3
import struct
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "integration"))
from harness import ROOT, TUMA, Failed, Workspace, until  # noqa: E402

EVENTS = 8       # a point
PER_STORE = 20   # points on one store, before an engine without faults looks at it
WAIT = 20        # seconds, only for what has gone wrong
DROUGHT = 1.5    # seconds until the memory is back where a process waits for it
PATIENCE = 1     # seconds a client without memory worries waits for its answer
EVERY = (0, 1, 7)
STORED = (200, 202)  # just now, or when the answer was too late for the client
SWEEP_MAX = 400  # processes until no new place may be met
STATE_BYTES = 64 * 1024  # at least sizeof (struct state)
ARMED, AT, EACH, WILD, COUNT, STRUCK, BY_PLACE = range(7)

RETRY = "retry = { 0.05, 0.1, 0.2, 0.4, 0.8, 1, 1, 1, 1, 1 }, breaker = false"
HOOKS = {
    "plain": """return { on = { "call.completed" }, %s, request = { url = "%s/?w=plain",
      headers = { Authorization = "Bearer [SECRET:TOKEN]" }, body = [=[{"id":"[CALL_ID]","pad":"[PAD|"none"]"}]=] } }""",
    "scripted": """return { on = { "call.completed" }, %s, request = { url = "%s/?w=scripted", body = [=[{"id":"[CALL_ID]","more":"[MORE]"}]=] },
      filter = function(event) return event.CALL_ID ~= "" end,
      tags = function(event) return { MORE = string.rep(event.CALL_ID, 3) } end,
      transform = function(event, request) request.headers["X-Call"] = event.CALL_ID return request end }""",
}


def build(where):
    """The library, compiled when it is older than its source."""
    source, target = ROOT / "tests/crash/failmalloc.c", where / "failmalloc.so"
    where.mkdir(parents=True, exist_ok=True)
    if not target.exists() or source.stat().st_mtime > target.stat().st_mtime:
        fresh = where / f"failmalloc.{os.getpid()}"  # other rigs may be building it too
        subprocess.run([*os.environ.get("CC", "cc").split(), "-std=c11", "-O1", "-g", "-D_GNU_SOURCE", "-shared", "-fPIC", "-o", fresh,
                        source, "-ldl"], check=True)
        fresh.rename(target)
    return target


class Fault:
    """The file that a process of its own maps: see struct state in failmalloc.c."""

    def __init__(self, path):
        path.write_bytes(bytes(STATE_BYTES))
        self.file = open(path, "r+b")
        self.map = mmap.mmap(self.file.fileno(), STATE_BYTES)
        self.by_place = False

    def put(self, field, value):
        struct.pack_into("Q", self.map, 8 * field, value)

    def get(self, field):
        return struct.unpack_from("Q", self.map, 8 * field)[0]

    def arm(self, at, every, wild=False):
        for field, value in ((AT, at), (EACH, every), (WILD, wild), (COUNT, 0), (STRUCK, 0), (BY_PLACE, self.by_place), (ARMED, 1)):
            self.put(field, value)

    def disarm(self):
        self.put(ARMED, 0)


class Rig:
    def __init__(self, workspace, options):
        self.w, self.options, self.random = workspace, options, random.Random(options.seed)
        library = build(pathlib.Path(options.build).resolve() / "crash")
        self.parent, self.script = Fault(workspace.path / "fault"), Fault(workspace.path / "fault.script")
        self.env = {"LD_PRELOAD": str(library), "FAILMALLOC": str(workspace.path / "fault")}
        self.sink = workspace.sink()
        self.secrets()
        for name, text in HOOKS.items():
            workspace.hook(name, text % (RETRY, self.sink.url))
        self.acked, self.points, self.acked_total, self.struck, self.refused, self.seen = [], 0, 0, 0, 0, 0
        self.bad = collections.Counter()
        self.said = {}

    def secrets(self):
        done = subprocess.run([TUMA, "secret", "set", "TOKEN", *self.w.settings()], input="sesame", capture_output=True, text=True)
        if done.returncode:
            raise Failed(done.stderr)

    def complain(self, kind, text, log=""):
        self.bad[kind] += 1
        print(f"{kind}: {text}\n  " + log.strip()[-3000:].replace("\n", "\n  "), flush=True)

    # --- one point ---

    def serve(self):
        arguments = ["serve", *self.w.settings(), "--listen", "127.0.0.1:0", "--allow-private", "--log-format", "json", "--workers", "1"]
        return self.w.start(arguments, None, "engine", self.env)

    def listens(self, process):
        """The port; 0 when it ended instead."""
        start = time.monotonic()
        while time.monotonic() < start + WAIT:
            if time.monotonic() > start + DROUGHT:
                self.parent.disarm(), self.script.disarm()  # it waits for its scripts
            with contextlib.suppress(Failed):
                found = process.find(r'"listening".*"port":"(\d+)"')
                if found:
                    return int(found.group(1))
            if process.process.poll() is not None:
                return 0
            time.sleep(0.005)
        raise Failed("hung")

    def post(self, port, name):
        event = {"id": name, "type": "call.completed", "tags": {"CALL_ID": name}}
        try:
            with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)) as connection:
                connection.request("POST", "/v1/events", json.dumps(event), {"Content-Type": "application/json"})
                status = connection.getresponse().status
        except (OSError, http.client.HTTPException):  # a dropped connection, half an answer
            status = None
        if status in STORED or self.options.defect == "ack-early":
            self.acked.append(name)
        return status

    def work(self, process, port, label):
        """Events, then the memory is back, and one more must get through."""
        for i in range(EVENTS):
            status = self.post(port, f"{label}_{i}")
            self.refused += status not in STORED
            if status is None:
                break  # it may answer nobody until the memory is back
        time.sleep(0.05)  # deliveries under way meet the fault too
        self.parent.disarm(), self.script.disarm()
        end = time.monotonic() + WAIT
        while process.process.poll() is None and self.post(port, f"{label}_after") not in STORED:
            if time.monotonic() > end:
                raise Failed("mute")
            time.sleep(0.02)

    def point_serve(self, where, at, every, label):
        wild = self.options.defect == "wild"
        if where == "start":
            self.parent.arm(at, every, wild)
        if where == "script":
            self.script.arm(at, every, wild)
        process = self.serve()
        try:
            port = self.listens(process)
            if port:
                if where == "work":
                    self.parent.arm(at, every, wild)
                self.work(process, port, label)
            self.parent.disarm(), self.script.disarm()
            status = process.stop(seconds=WAIT)
        except Failed as failed:
            self.parent.disarm(), self.script.disarm()
            kind = str(failed) if str(failed) in ("hung", "mute") else "hung"
            self.complain(kind, label, process.text())
            process.kill()
            return
        self.judge(label, status, process.text())

    def judge(self, label, status, log):
        self.struck += self.parent.get(STRUCK) + self.script.get(STRUCK) > 0
        if status < 0 or "it crashed" in log:
            self.complain("crash", f"{label} ended with {status}", log)
        elif status and not log.strip():
            self.complain("mute", f"{label} ended with {status} and no word")

    def point_run(self, at, every, label):
        names = [f"{label}_{i}" for i in range(EVENTS)]
        path = self.w.path / "events.ndjson"
        path.write_text("".join(json.dumps({"id": n, "type": "call.completed", "tags": {"CALL_ID": n}}) + "\n" for n in names))
        self.parent.arm(at, every, self.options.defect == "wild")
        done = subprocess.Popen([TUMA, "run", str(path), *self.w.settings(), "--allow-private", "--workers", "1", "--wait", "10s"],
                                env=dict(os.environ, **self.env), stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            done.wait(DROUGHT)  # without memory it goes on trying
        self.parent.disarm()
        try:
            out = done.communicate(timeout=WAIT)[0].decode(errors="replace")
        except subprocess.TimeoutExpired:
            self.complain("hung", label)
            done.kill()
            done.communicate()
            return
        if done.returncode == 0:
            self.acked += names
            missing = self.missing(names)
            if missing:
                self.complain("unkept", f"{label}: {missing}", out)
        self.judge(label, done.returncode, out)

    def count(self, where, label="count"):
        """Allocations of a run without a fault, on a store that is there."""
        for fault in (self.parent, self.script):
            fault.arm(1 << 62, 0)
        if where == "run":
            self.point_run(1 << 62, 0, f"{label}_run")
        else:
            self.point_serve(where, 1 << 62, 0, f"{label}_{where}")
        return (self.script if where == "script" else self.parent).get(COUNT)

    # --- each place once ---

    def sweep(self, where, fault, point):
        """`point(label)` until nothing new fails."""
        fault.by_place = True
        for number in range(SWEEP_MAX):
            point(f"{where}_place_{number}")
            self.points += 1
            if fault.get(STRUCK) == 0:
                break
        else:
            self.complain("hung", f"{where}: {SWEEP_MAX} processes, and still new places")
        fault.by_place = False

    def sweep_places(self, where):
        if where == "commands":
            for name, (arguments, stdin, fixed) in self.commands().items():
                self.sweep(name, self.parent, lambda label, a=arguments, i=stdin, f=fixed: self.point_command(a, i, f, label))
        elif where == "run":
            self.sweep(where, self.parent, lambda label: self.point_run(1, 0, label))
        else:
            self.sweep(where, self.script if where == "script" else self.parent, lambda label: self.point_serve(where, 1, 0, label))

    def commands(self):
        """Name: (arguments, input, whether it says the same every time). A store with deliveries and an engine are there."""
        engine = self.w.engine("--workers", "1")
        for i in range(3):
            engine.post({"id": f"cmd_{i}", "type": "call.completed", "tags": {"CALL_ID": f"cmd_{i}"}})
        until(lambda: engine.states() == {"delivered": 6}, WAIT, "the commands' deliveries")
        delivery = str(engine.log()[0]["id"])
        one = self.w.path / "one.json"
        one.write_text('{"id":"one","type":"call.completed","tags":{"CALL_ID":"one"}}')
        scripted = str(self.w.scripts / "scripted.lua")
        return {
            "check": (["check", "--allow-private", "--json"], None, True),
            "test": (["test", "--allow-private"], None, True),
            "render": (["render", "scripted", "--event", str(one), "--json", "--allow-private"], None, True),
            "profile": (["scripts", "profile", "scripted", "--last", "3", "--allow-private"], None, False),
            "log": (["log", "--json"], None, True),
            "show": (["show", delivery], None, True),
            "events": (["events"], None, True),
            "secret": (["secret", "list"], None, True),
            "secret_set": (["secret", "set", "TOKEN"], "sesame", True),
            "token": (["token", "create", "--label", "x"], None, False),
            "tokens": (["token", "list"], None, False),
            "scripts": (["scripts", "show", "scripted", "--json"], None, False),
            "send": (["send", str(one)], None, False),
            "redeliver": (["redeliver", delivery], None, False),
            "new": (["new", "--editor"], None, False),
            "check_one": (["check", scripted, "--allow-private"], None, True),
        }

    def point_command(self, arguments, stdin, fixed, label):
        def once(env):
            return subprocess.run([TUMA, *arguments, *self.w.settings()], input=stdin or "", capture_output=True, text=True,
                                  env=dict(os.environ, **env), timeout=WAIT, cwd=self.w.path)
        key = tuple(arguments)
        if key not in self.said:
            self.said[key] = once({})
            if self.said[key].returncode:
                raise Failed(f"{label}: {self.said[key].stdout}{self.said[key].stderr}")
        self.parent.arm(1, 0, self.options.defect == "wild")
        try:
            done = once(self.env)
        except subprocess.TimeoutExpired:
            self.complain("hung", label)
            return
        finally:
            self.parent.disarm()
        if done.returncode == 0 and fixed and done.stdout != self.said[key].stdout:
            self.complain("wrong", f"{label}: {done.stdout[:1000]}\nnot {self.said[key].stdout[:1000]}", done.stderr)
        self.judge(label, done.returncode, done.stdout + done.stderr)

    # --- a store, after some points ---

    def is_due(self, r):
        hook, parts = r["target"].partition("w=")[2], r["body"].split('"')
        name = parts[3] if len(parts) > 3 else ""
        body = {"plain": f'{{"id":"{name}","pad":"none"}}', "scripted": f'{{"id":"{name}","more":"{name * 3}"}}'}.get(hook)
        headers = {k.lower(): v for k, v in r["headers"]}
        extra = headers.get("authorization") == "Bearer sesame" if hook == "plain" else headers.get("x-call") == name
        return r["target"] == f"/?w={hook}" and r["body"] == body and extra

    def missing(self, names):
        got = collections.defaultdict(set)
        requests = self.sink.requests()
        for r in requests[self.seen:]:
            if not self.is_due(r):
                self.complain("altered", f"{r['method']} {r['target']}: {r['body'][:200]!r}")
        self.seen = len(requests)
        for r in requests:
            got[r["target"].partition("w=")[2]].add(r["body"].split('"')[3])
        return [(hook, n) for n in names for hook in HOOKS if n not in got[hook]]

    def look(self):
        """An engine without faults delivers what is left; then nothing may be missing."""
        engine = self.w.engine("--workers", "1")
        with contextlib.suppress(Failed):
            until(lambda: not engine.log("--state", "pending"), WAIT, "everything settled")
        missing = self.missing(self.acked)
        if missing:
            rows = [r for r in engine.log() if (r["webhook"], r["event"]) in missing]
            self.complain("lost", f"{len(missing)} of {len(self.acked)}: {missing[:5]}", json.dumps(rows[:3]))
        engine.process.stop()
        with contextlib.closing(sqlite3.connect(next(self.w.data.glob("*.db")))) as store:
            verdict = store.execute("PRAGMA integrity_check").fetchone()[0]
        if verdict != "ok":
            self.complain("broken", verdict)
        self.acked_total += len(self.acked)
        self.acked = []

    def fresh(self):
        self.look()
        for path in self.w.data.glob("tuma.db*"):
            path.unlink()

    def run(self):
        places = self.options.only.split(",")
        if self.options.places:
            for where in places:
                self.sweep_places(where)
            self.look()
            return {"points": self.points, "struck": self.struck, "acked": self.acked_total, "refused": self.refused, **self.bad}
        self.count(places[0], "first")
        counts = {where: self.count(where) for where in places}
        print("allocations:", json.dumps(counts), flush=True)
        if not all(counts.values()):
            raise Failed("the library is not loaded: nothing is counted")
        for number in range(self.options.points):
            where = places[number % len(places)]
            at = self.options.at or self.random.randint(1, counts[where])
            every = EVERY[self.random.randrange(3)] if self.options.every < 0 else self.options.every
            label = f"{where}_{at}_{every}_{number}"
            if where == "run":
                self.point_run(at, every, label)
            else:
                self.point_serve(where, at, every, label)
            self.points += 1
            if self.points % PER_STORE == 0:
                self.fresh()
        self.look()
        return {"points": self.points, "struck": self.struck, "acked": self.acked_total, "refused": self.refused, **self.bad}


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--points", type=int, default=60)
    options.add_argument("--seed", type=int, default=int(time.time()))
    options.add_argument("--only", default="start,work,script,run")
    options.add_argument("--places", action="store_true")
    options.add_argument("--at", type=int, default=0)
    options.add_argument("--every", type=int, default=-1)
    options.add_argument("--defect", choices=["none", "ack-early", "wild"], default="none")
    options.add_argument("--build", default=str(pathlib.Path(TUMA).parent))
    options = options.parse_args()
    with Workspace() as w:
        rig = Rig(w, options)
        result = rig.run()
    print(f"seed {options.seed}: {json.dumps(result)}")
    sys.exit(1 if rig.bad else 0)


if __name__ == "__main__":
    main()
