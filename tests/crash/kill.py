#!/usr/bin/env python3
"""kill -9 at random moments, a verifying receiver and an oracle (R1, R24).

    tests/crash/kill.py [--kills 8] [--seed N] [--rate 400]

Clients post events and write down what was acknowledged before they go on; the
engine is killed and started again; three webhooks listen to every event: a
quick one, a slow one, one whose receiver fails now and then. In the end:

  lost         acknowledged, and some webhook's request never arrived
  altered      arrived with other bytes than were due
  unexplained  arrived more often than the store's log and the kills explain
  law          acked × webhooks = delivered + exhausted + parked + filtered + dropped + pending

`--defect ack-early` plants what the rig must catch: the client counts events as
acknowledged that the engine never answered.
"""
import argparse
import collections
import http.client
import json
import os
import pathlib
import random
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "integration"))
from harness import Failed, Workspace, until  # noqa: E402

HOOKS = {"quick": "", "slow": "/latency/40", "shaky": "/flaky/5"}
CONCURRENCY = 8
SOURCE = """return { on = { "call.completed" }, concurrency = %d, retry = { 0.05, 0.1, 0.2, 0.4, 0.8, 1, 1, 1, 1, 1 }, breaker = false,
  request = { url = "%s%s?w=%s", body = [=[{"id":"[CALL_ID]","pad":"[PAD]"}]=] } }"""


class Client(threading.Thread):
    """Posts one event after another; a failed post is tried again with the same id, as clients do."""

    def __init__(self, rig, number):
        super().__init__(daemon=True)
        self.rig, self.number, self.acked, self.random = rig, number, [], random.Random(rig.seed * 1000 + number)

    def run(self):
        count = 0
        while not self.rig.done.is_set():
            name = f"k{self.number}_{count}"
            count += 1
            event = {"id": name, "type": "call.completed", "tags": {"CALL_ID": name, "PAD": "x" * self.random.randint(0, 300)}}
            while not self.rig.done.is_set():
                status = self.post(event)
                if status in (200, 202) or (self.rig.defect and status is None):
                    self.acked.append(event)
                    break
                time.sleep(0.01)
            time.sleep(self.random.expovariate(self.rig.rate / self.rig.clients_count))

    def post(self, event):
        try:
            connection = http.client.HTTPConnection("127.0.0.1", self.rig.port, timeout=5)
            connection.request("POST", "/v1/events", json.dumps(event), {"Content-Type": "application/json"})
            status = connection.getresponse().status
            connection.close()
            return status
        except OSError:
            return None
        except http.client.HTTPException:
            return None


class Rig:
    def __init__(self, workspace, options):
        self.w, self.seed, self.rate, self.kills = workspace, options.seed, options.rate, options.kills
        self.defect = options.defect == "ack-early"
        self.random = random.Random(options.seed)
        self.done = threading.Event()
        self.clients_count = 6
        self.port = 0

    def run(self):
        self.sink = self.w.sink()
        for name, path in HOOKS.items():
            self.w.hook(name, SOURCE % (CONCURRENCY, self.sink.url, path, name))
        engine = self.w.engine("--in-flight", "64")
        self.port = engine.port
        clients = [Client(self, n) for n in range(self.clients_count)]
        for c in clients:
            c.start()
        for _ in range(self.kills):
            time.sleep(self.random.uniform(0.15, 1.0))
            self.port = 0
            engine.process.kill()
            engine = self.w.engine("--in-flight", "64")
            self.port = engine.port
        time.sleep(0.5)
        self.done.set()
        for c in clients:
            c.join(10)
        self.acked = {e["id"]: e for c in clients for e in c.acked}
        until(lambda: self.pending(engine) == 0, 120, "everything settled")
        return self.judge(engine)

    def pending(self, engine):
        return len(engine.log("--state", "pending"))

    def rows(self):
        rows, before = [], None
        while True:
            flags = ["--before", str(before)] if before else []
            page = [json.loads(line) for line in self.w.tuma("log", "--json", "--limit", "500", *flags).stdout.splitlines()]
            if not page:
                return rows
            rows += page
            before = page[-1]["id"]

    def judge(self, engine):
        rows = self.rows()
        arrived, bodies = collections.Counter(), {}
        for r in self.sink.requests():
            hook = r["target"].split("w=")[1]
            arrived[dict((k.lower(), v) for k, v in r["headers"])["webhook-id"]] += 1
            bodies.setdefault((hook, json.loads(r["body"])["id"]), set()).add(r["body"])
        lost = altered = 0
        for name, event in self.acked.items():
            due = json.dumps({"id": name, "pad": event["tags"]["PAD"]}, separators=(",", ":"))
            for hook in HOOKS:
                got = bodies.get((hook, name))
                lost += not got
                altered += bool(got) and got != {due}
        attempts = {row["id"]: row["attempts"] for row in rows}
        extra = {w: n - attempts.get(int(w[12:]), 0) for w, n in arrived.items()}
        hidden = sum(n for n in extra.values() if n > 0)
        unexplained = sum(1 for n in extra.values() if n > self.kills) + max(0, hidden - self.kills * CONCURRENCY * len(HOOKS))
        per_event = collections.Counter(row["event"] for row in rows)
        law = sum(1 for name in self.acked if per_event[name] != len(HOOKS))
        states = collections.Counter(row["state"] for row in rows)
        return {"acked": len(self.acked), "received": sum(arrived.values()), "lost": lost, "altered": altered, "unexplained": unexplained,
                "law": law, "repeated": hidden, "states": dict(states)}


def main():
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--kills", type=int, default=8)
    options.add_argument("--seed", type=int, default=int(time.time()))
    options.add_argument("--rate", type=float, default=400)
    options.add_argument("--defect", choices=["none", "ack-early"], default="none")
    options.add_argument("--build", help="unused; the binary comes from $TUMA")
    options = options.parse_args()
    with Workspace() as w:
        result = Rig(w, options).run()
    bad = result["lost"] + result["altered"] + result["unexplained"] + result["law"]
    print(f"seed {options.seed}, {options.kills} kills: {json.dumps(result)}")
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
