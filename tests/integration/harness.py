"""Black-box tests of the real binary: an engine and a sink on loopback, in a
directory of their own. Tests are functions; `main` runs them as TAP.

    from harness import Engine, Sink, Workspace, check, main
"""
import http.client
import http.server
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
TUMA = os.environ.get("TUMA", str(ROOT / "build" / "tuma"))
sys.path.insert(0, str(ROOT / "tests"))
os.environ.setdefault("TUMA_RESERVE_BYTES", "8388608")  # a nearly full disk is no reason for tests to fail


class Failed(Exception):
    pass


def check(condition, text):
    if not condition:
        raise Failed(text)


def equal(got, want, what=""):
    check(got == want, f"{what}: got {got!r}, wanted {want!r}")


def until(condition, seconds=10, what="condition"):
    """Waits for a condition; the limit is only there so that a broken test ends."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.02)
    raise Failed(f"{what} did not come true within {seconds} s")


class Process:
    """A program whose output goes to a file."""

    def __init__(self, arguments, log, env=None, ready=None, stdin=None):
        self.log = pathlib.Path(log)
        self.out = open(self.log, "w")
        self.process = subprocess.Popen([TUMA, *arguments], stdout=self.out, stderr=subprocess.STDOUT, stdin=stdin or subprocess.DEVNULL,
                                        env=dict(os.environ, **(env or {})))
        self.match = until(lambda: self.find(ready), 20, f"tuma {arguments[0]} ready") if ready else None

    def find(self, pattern):
        found = re.search(pattern, self.log.read_text(errors="replace"))
        if not found and self.process.poll() is not None:
            raise Failed(f"ended with {self.process.returncode}: {self.log.read_text(errors='replace')[-2000:]}")
        return found

    def text(self):
        return self.log.read_text(errors="replace")

    def stop(self, number=signal.SIGTERM, seconds=30):
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise Failed(f"did not stop: {self.text()[-2000:]}")
        finally:
            self.out.close()

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.out.close()


class Workspace:
    """A directory with scripts and data; removes itself and ends what it started."""

    def __init__(self):
        self.path = pathlib.Path(tempfile.mkdtemp(prefix="tuma-test-"))
        self.scripts = self.path / "scripts"
        self.data = self.path / "data"
        self.scripts.mkdir()
        self.started = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in reversed(self.started):
            if process.process.poll() is None:
                process.kill()
        shutil.rmtree(self.path, ignore_errors=True)

    def hook(self, name, text):
        """Writes a webhook as editors do: aside, then renamed."""
        aside = self.scripts / f".{name}.new"
        aside.write_text(text)
        aside.rename(self.scripts / f"{name}.lua")

    def settings(self):
        return ["--data", str(self.data), "--scripts", str(self.scripts), "--ballast-bytes", "0"]

    def tuma(self, *arguments, stdin=None, env=None, seconds=60):
        return subprocess.run([TUMA, *arguments, *self.settings()], input=stdin, capture_output=True, text=True,
                              env=dict(os.environ, **(env or {})), timeout=seconds, cwd=self.path)

    def start(self, arguments, ready, name, env=None):
        process = Process(arguments, self.path / f"{name}-{len(self.started)}.out", env, ready)
        self.started.append(process)
        return process

    def sink(self, *flags):
        return Sink(self, flags)

    def engine(self, *flags, env=None):
        return Engine(self, flags, env)


class Sink:
    def __init__(self, workspace, flags):
        self.log = workspace.path / f"sink-{len(workspace.started)}.jsonl"
        self.process = workspace.start(["sink", "--port", "0", "--log", str(self.log), "--bodies", *flags], r"127\.0\.0\.1:(\d+)", "sink")
        self.port = int(self.process.match.group(1))
        self.url = f"http://127.0.0.1:{self.port}"

    def requests(self):
        if not self.log.exists():
            return []
        lines = self.log.read_text().split("\n")
        return [json.loads(line) for line in lines[:-1]]

    def wait(self, count, seconds=20):
        return until(lambda: len(self.requests()) >= count and self.requests(), seconds, f"{count} requests at the sink")


class Receiver:
    """An HTTP receiver whose answers a test decides: `answer(request)` returns
    (status, headers, body) or only a status."""

    def __init__(self, answer=lambda request: 200, context=None):
        self.requests, self.answer, self.lock = [], answer, threading.Lock()
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_one(self):
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                request = {"method": self.command, "target": self.path, "body": body, "headers": {k.lower(): v for k, v in self.headers.items()}, "at": time.monotonic()}
                with outer.lock:
                    outer.requests.append(request)
                    request["number"] = len(outer.requests)
                got = outer.answer(request)
                status, headers, content = (got, {}, b"") if isinstance(got, int) else got
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = handle_one

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        if context:
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.port = self.server.server_address[1]
        self.url = f"{'https' if context else 'http'}://127.0.0.1:{self.port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()

    def wait(self, count, seconds=20):
        return until(lambda: len(self.requests) >= count and list(self.requests), seconds, f"{count} requests at the receiver")


class Engine:
    def __init__(self, workspace, flags, env=None):
        self.workspace = workspace
        self.process = workspace.start(["serve", *workspace.settings(), "--listen", "127.0.0.1:0", "--allow-private", "--log-format", "json", *flags],
                                       r'"listening".*"port":"(\d+)"', "engine", env)
        self.port = int(self.process.match.group(1))

    def request(self, method, path, body=None, headers=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        if body is not None and not isinstance(body, (bytes, str)):
            body = json.dumps(body)
        if isinstance(body, str):
            body = body.encode()
        base = {"Content-Type": "application/json"} if body is not None else {}
        connection.request(method, path, body, {**base, **(headers or {})})
        answer = connection.getresponse()
        raw = answer.read()
        connection.close()
        try:
            document = json.loads(raw) if raw else None
        except ValueError:
            document = raw
        return answer.status, document, dict((k.lower(), v) for k, v in answer.getheaders())

    def post(self, event, **headers):
        return self.request("POST", "/v1/events", event, headers or None)

    def log(self, *flags):
        out = self.workspace.tuma("log", "--json", "--limit", "1000", *flags)
        check(out.returncode == 0, f"tuma log: {out.stderr}")
        return [json.loads(line) for line in out.stdout.splitlines()]

    def states(self):
        counts = {}
        for row in self.log():
            counts[row["state"]] = counts.get(row["state"], 0) + 1
        return counts


def main(namespace):
    """Runs every test_* function of the caller, in order of definition, as TAP."""
    tests = [(name, f) for name, f in namespace.items() if name.startswith("test_") and callable(f)]
    failed = 0
    for number, (name, function) in enumerate(tests, 1):
        title = (function.__doc__ or name[5:].replace("_", " ")).strip().split("\n")[0]
        try:
            function()
            print(f"ok {number} - {title}", flush=True)
        except Exception as problem:  # any of them fails this one test only
            failed += 1
            detail = str(problem) if isinstance(problem, Failed) else traceback.format_exc()
            print(f"not ok {number} - {title}\n# " + detail.replace("\n", "\n# "), flush=True)
    print(f"1..{len(tests)}")
    sys.exit(1 if failed else 0)
