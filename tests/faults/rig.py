"""What the isolation, overload and soak rigs share: an engine with healthy
webhooks, paced clients that note when they sent what, receivers that misbehave,
and the store's own counts."""
import http.client
import json
import os
import pathlib
import random
import socket
import sqlite3
import subprocess
import sys
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "integration"))
from harness import Workspace, until  # noqa: E402

STATES = ("pending", "delivered", "exhausted", "parked", "filtered", "dropped")
HOOK = """local hook = {{ on = {{ "call.completed" }}, when = {{ TO = "{name}" }}, {more}
  request = {{ url = "{url}/{name}", body = [=[{{"id":"[CALL_ID]"}}]=] }} }}
{functions}
return hook
"""


def hook(name, url, more="", functions=""):
    """A webhook that takes the events addressed to it (tag TO)."""
    return HOOK.format(name=name, url=url, more=more, functions=functions)


def event(name, to, org=None, **tags):
    return {**({"org": org} if org else {}), "id": name, "type": "call.completed", "tags": {"CALL_ID": name, "TO": to, **tags}}


class Hostile:
    """hostile.py as a process; ports by name."""

    def __init__(self, tls=None):
        command = [sys.executable, str(HERE / "hostile.py"), *(["--tls", str(tls)] if tls else [])]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.ports = {}
        for line in self.process.stdout:
            if line.strip() == "ready":
                break
            name, port = line.split()
            self.ports[name] = int(port)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()


class Names(threading.Thread):
    """A DNS server: *.ok.test is 127.0.0.1 for a second, every other name gets silence."""

    def __init__(self):
        super().__init__(daemon=True)
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.port, self.ignored = self.socket.getsockname()[1], 0
        self.start()

    def run(self):
        while True:
            query, client = self.socket.recvfrom(2048)
            end = query.index(0, 12)
            if not query[:end].endswith(b"\2ok\4test"):
                self.ignored += 1
                continue
            wants_a = query[end + 1:end + 3] == b"\0\1"
            answer = b"\xc0\x0c\0\1\0\1\0\0\0\1\0\4\x7f\0\0\1" if wants_a else b""
            self.socket.sendto(query[:2] + b"\x81\x80\0\1\0" + bytes([wants_a]) + b"\0\0\0\0" + query[12:end + 5] + answer, client)


def refused_port():
    """A port that nobody listens on and nobody else gets: bound, never listening."""
    s = socket.socket()
    s.bind(("127.0.0.1", 0))
    return s, s.getsockname()[1]


class Poster:
    """One keep-alive connection to the engine."""

    def __init__(self, port):
        self.port, self.connection = port, None

    def send(self, body):
        """(status, headers); (None, {}) when the connection broke."""
        try:
            if not self.connection:
                self.connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
                self.connection.connect()
                self.connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.connection.request("POST", "/v1/events", json.dumps(body), {"Content-Type": "application/json"})
            answer = self.connection.getresponse()
            answer.read()
            return answer.status, dict((k.lower(), v) for k, v in answer.getheaders())
        except (OSError, http.client.HTTPException):
            self.close()
            return None, {}

    def close(self):
        if self.connection:
            self.connection.close()
        self.connection = None


class Paced(threading.Thread):
    """Posts `rate` events a second; `to(n)` says to whom. Late ones are sent at once, none is left out."""

    def __init__(self, port, prefix, rate, seconds, to, org=None):
        super().__init__(daemon=True)
        self.poster, self.prefix, self.gap, self.count, self.to, self.org = Poster(port), prefix, 1 / rate, int(rate * seconds), to, org
        self.sent, self.acked, self.refused = {}, [], 0  # sent: id → (mono_ns, to)

    def run(self):
        start = time.monotonic()
        for n in range(self.count):
            wait = start + n * self.gap - time.monotonic()
            if wait > 0:
                time.sleep(wait)
            name, to = f"{self.prefix}_{n}", self.to(n)
            self.sent[name] = (time.monotonic_ns(), to)
            status, _ = self.poster.send(event(name, to, self.org))
            if status in (200, 202):
                self.acked.append(name)
            else:
                self.refused += 1
        self.poster.close()


def paced(port, prefix, rate, seconds, to, org=None, threads=2):
    """Runs that many clients to their end: what was sent, by id."""
    clients = [Paced(port, f"{prefix}{k}", rate / threads, seconds, lambda n, k=k: to(n * threads + k), org) for k in range(threads)]
    for c in clients:
        c.start()
    for c in clients:
        c.join()
    return {name: at for c in clients for name, at in c.sent.items()}, sum(c.refused for c in clients)


class Arrivals:
    """The sink's log, read on from where it was read to last."""

    def __init__(self, sink):
        self.path, self.offset, self.rest, self.first, self.count = sink.log, 0, b"", {}, {}

    def read(self):
        if self.path.exists():
            with open(self.path, "rb") as f:
                f.seek(self.offset)
                data = f.read()
            self.offset += len(data)
            lines = (self.rest + data).split(b"\n")
            self.rest = lines.pop()
            for line in lines:
                row = json.loads(line)
                name = json.loads(row["body"])["id"]
                self.first.setdefault(name, row["mono_ns"])
                self.count[name] = self.count.get(name, 0) + 1
        return self.first


def percentile(values, share):
    values = sorted(values)
    return values[min(len(values) - 1, int(share * len(values)))] if values else float("nan")


def status(data):
    """The engine's own view, over its control socket."""
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(20)
        s.connect(str(data / "control.sock"))
        s.sendall(b"GET /v1/status HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        raw = b""
        while piece := s.recv(65536):
            raw += piece
    head, body = raw.split(b"\r\n\r\n", 1)
    return json.loads(body)


def webhook(data, name):
    return next(w for w in status(data)["webhooks"] if w["name"] == name)


class Store:
    """Reads the store beside the engine: one snapshot an answer."""

    def __init__(self, data):
        self.db = sqlite3.connect(f"file:{data / 'tuma.db'}?mode=ro", uri=True, timeout=20, check_same_thread=False)

    def states(self, where="1"):
        counts = dict.fromkeys(STATES, 0)
        for number, count in self.db.execute(f"SELECT state, count(*) FROM delivery WHERE {where} GROUP BY state"):
            counts[STATES[number]] = count
        return counts

    def of_hook(self, pattern):
        return self.states(f"hook IN (SELECT number FROM hook WHERE name GLOB '{pattern}')")

    def one(self, sql):
        return self.db.execute(sql).fetchone()[0]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.db.close()


def process(pid):
    """Memory (MiB), threads, descriptors and CPU seconds of a process."""
    fields = dict(line.split(":", 1) for line in open(f"/proc/{pid}/status", encoding="ascii").read().splitlines() if ":" in line)
    stat = open(f"/proc/{pid}/stat", encoding="ascii").read().rsplit(")", 1)[1].split()
    return {"rss_mib": int(fields["VmRSS"].split()[0]) / 1024, "threads": int(fields["Threads"]), "fds": len(os.listdir(f"/proc/{pid}/fd")),
            "cpu_s": (int(stat[11]) + int(stat[12])) / os.sysconf("SC_CLK_TCK")}


__all__ = ["Arrivals", "Hostile", "Names", "Paced", "Poster", "Store", "Workspace", "event", "hook", "paced", "percentile", "process", "random",
           "refused_port", "status", "until", "webhook"]
