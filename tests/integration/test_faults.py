"""The fault proxy's seven toxics: what each does to plain sockets, and an
engine behind each that loses nothing and doubles nothing unexplained."""
import collections
import json
import pathlib
import socket
import subprocess
import sys
import threading

from harness import ROOT, Workspace, check, equal, main, until

SEED = 20261124


class Proxy:
    def __init__(self, upstream, *toxics, seed=SEED):
        command = [sys.executable, str(ROOT / "tests/faults/proxy.py"), "--upstream", str(upstream), "--seed", str(seed)]
        for toxic in toxics:
            command += ["--toxic", toxic]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.port = int(self.process.stdout.readline().split()[1])

    def say(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        equal(self.process.stdout.readline().strip(), "ok", line)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.wait(10)
        self.process.stdout.close()


class Echo:
    """Sends back what it gets, until the end of the stream."""

    def __init__(self):
        self.server = socket.create_server(("127.0.0.1", 0))
        self.port = self.server.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                sock, _ = self.server.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(sock,), daemon=True).start()

    @staticmethod
    def serve(sock):
        try:
            with sock:
                while data := sock.recv(65536):
                    sock.sendall(data)
        except OSError:
            pass

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.server.close()


def exchange(port, data):
    """What comes back of `data` until the end, and whether the end was clean."""
    got = b""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=20) as sock:
            sock.sendall(data)
            sock.shutdown(socket.SHUT_WR)
            while piece := sock.recv(65536):
                got += piece
        return got, True
    except OSError:
        return got, False


DATA = bytes(range(256)) * 8


def toxics_that_keep_the_bytes(*names):
    with Echo() as echo:
        for name in names:
            with Proxy(echo.port, name) as proxy:
                equal(exchange(proxy.port, DATA), (DATA, True), name)


def test_without_toxics_everything_passes():
    with Echo() as echo, Proxy(echo.port) as proxy:
        equal(exchange(proxy.port, DATA), (DATA, True))


def test_latency_bandwidth_slicer_and_slow_close_keep_the_bytes():
    toxics_that_keep_the_bytes("latency:latency=20,jitter=20", "bandwidth:rate=100", "slicer:average_size=64,delay=10,stream=both",
                               "slow_close:delay=50")


def test_down_cuts_old_and_new_connections():
    with Echo() as echo, Proxy(echo.port) as proxy:
        with socket.create_connection(("127.0.0.1", proxy.port), timeout=20) as sock:
            sock.sendall(b"x")
            equal(sock.recv(1), b"x")
            proxy.say("add down")
            try:
                equal(sock.recv(1), b"", "an end")
            except ConnectionError:
                pass
        equal(exchange(proxy.port, DATA)[0], b"")
        proxy.say("remove down")
        equal(exchange(proxy.port, DATA), (DATA, True))


def test_limit_data_passes_so_many_bytes():
    with Echo() as echo, Proxy(echo.port, "limit_data:bytes=100,stream=up") as proxy:
        got, _ = exchange(proxy.port, DATA)
        check(DATA.startswith(got) and len(got) <= 100, f"{len(got)} bytes")


def test_timeout_passes_nothing_and_cuts():
    with Echo() as echo, Proxy(echo.port, "timeout:timeout=50") as proxy:
        got, _ = exchange(proxy.port, DATA)
        equal(got, b"")


def test_the_same_seed_gives_the_same_chances():
    def hits(seed):
        with Echo() as echo, Proxy(echo.port, "limit_data:bytes=10,toxicity=0.5", seed=seed) as proxy:
            return [len(exchange(proxy.port, DATA)[0]) <= 10 for _ in range(16)]

    first = hits(SEED)
    equal(hits(SEED), first)
    check(True in first and False in first, "about half are hit")


# Each makes deliveries fail or crawl; then it is taken away.
ENGINE_TOXICS = [
    "latency:latency=30,jitter=30,stream=both",
    "down",
    "bandwidth:rate=20,stream=both",
    "slow_close:delay=300,stream=both",
    "timeout:timeout=60,toxicity=0.7",
    "slicer:average_size=20,size_variation=10,delay=200,stream=both",
    "limit_data:bytes=60,toxicity=0.7",
]

HOOK = """return { on = { "call.completed" }, request = { url = "http://127.0.0.1:%d/crm", body = [=[{"id":"[CALL_ID]"}]=] },
  timeout = 2, concurrency = 8, retry = { 0.1, 0.1, 0.1, 0.2, 0.2, 0.5, 0.5, 1, 1, 1, 1, 1, 1, 1, 1, 1 } }"""


def run_engine_behind(toxic):
    count = 40
    with Workspace() as w:
        sink = w.sink()
        with Proxy(sink.port, toxic) as proxy:
            w.hook("crm", HOOK % proxy.port)
            engine = w.engine()
            for n in range(count):
                engine.post({"id": f"e{n}", "type": "call.completed", "tags": {"CALL_ID": f"c{n}"}})
            until(lambda: sum(row["attempts"] for row in engine.log("--limit", "100")) >= 5, 20, "attempts under " + toxic)
            proxy.say("clear")
            until(lambda: engine.states() == {"delivered": count}, 40, f"all delivered after {toxic}")
            rows = engine.log("--limit", "100")
        arrived = collections.Counter(json.loads(r["body"])["id"] for r in sink.requests())
        equal(sorted(arrived), sorted(f"c{n}" for n in range(count)), "every event arrived under " + toxic)
        attempts = sum(row["attempts"] for row in rows)
        check(sum(arrived.values()) <= attempts, f"{toxic}: {sum(arrived.values())} arrived, {attempts} attempts in the log")


def test_an_engine_behind_each_toxic_loses_nothing():
    print(f"# seed {SEED}")
    for toxic in ENGINE_TOXICS:
        run_engine_behind(toxic)


if __name__ == "__main__":
    main(globals())
