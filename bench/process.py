#!/usr/bin/env python3
"""What the binary as a whole does: start, rest, events end to end, the courier against wrk.

usage: process.py --tuma BINARY [--events 30000] [--rounds 5]

Prints JSON. Each ratio is the median over rounds in which both sides took turns.
"""
import argparse
import json
import os
import pathlib
import re
import resource
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
IDLE_SECONDS = 5
WRK_CONNECTIONS = 64  # as many as `tuma bench courier` keeps
HOOK = """return {{
  on = {{ "call.completed" }},{functions}
  request = {{ url = "{url}/calls?id=[CALL_ID]", body = [=[{{"id": "[CALL_ID]", "from": "[FROM]", "seconds": [DURATION], "score": "[SCORE|"0"]"}}]=] }},
}}
"""
FUNCTIONS = """
  filter = function(event) return event.CALLER_STATE ~= "NV", "Nevada" end,
  tags = function(event) return { SCORE = math.floor(event:number("DURATION") / 10) } end,"""
WRK_POST = """wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.headers["Authorization"] = "Bearer 0123456789abcdef"
wrk.body = string.rep("x", 204)
"""


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def until_listening(port, process):
    start = time.monotonic()
    while time.monotonic() - start < 20 and process.poll() is None:
        with socket.socket() as s:
            if s.connect_ex(("127.0.0.1", port)) == 0:
                return (time.monotonic() - start) * 1e3
        time.sleep(0.0005)
    sys.exit("process.py: tuma did not listen")


class Serving:
    """A process that listens, ended with the block."""

    def __init__(self, *command):
        self.port = free_port()
        self.process = subprocess.Popen([str(c).format(port=self.port) for c in command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def __enter__(self):
        self.started_ms = until_listening(self.port, self.process)
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()


def serve(tuma, folder):
    return Serving(tuma, "serve", "--listen", "127.0.0.1:{port}", "--data", folder / "data", "--scripts", folder / "scripts", "--ballast-bytes", "0")


def sink(tuma):
    return Serving(tuma, "sink", "--port", "{port}")


def family(pid):
    """The engine and its script processes, which its worker threads started."""
    children = [c for task in pathlib.Path(f"/proc/{pid}/task").iterdir() for c in (task / "children").read_text().split()]
    return [pid, *map(int, children)]


def resident_mb(pid):
    return int(re.search(r"VmRSS:\s+(\d+)", pathlib.Path(f"/proc/{pid}/status").read_text())[1]) / 1024


def switches(pid):
    """How often its threads were put to work so far."""
    tasks = [t for p in family(pid) for t in pathlib.Path(f"/proc/{p}/task").iterdir()]
    return sum(int(n) for t in tasks for n in re.findall(r"voluntary_ctxt_switches:\s+(\d+)", (t / "status").read_text()))


def at_rest(tuma, rounds):
    starts = []
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as name:
            folder = pathlib.Path(name)
            (folder / "scripts").mkdir()
            with serve(tuma, folder) as engine:
                starts.append(engine.started_ms)
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        (folder / "scripts").mkdir()
        with serve(tuma, folder) as engine:
            time.sleep(1)
            before = switches(engine.process.pid)
            time.sleep(IDLE_SECONDS)
            return {"start_ms": round(statistics.median(starts), 1), "resident_mb": [round(resident_mb(p), 1) for p in family(engine.process.pid)],
                    f"wake_ups_in_{IDLE_SECONDS}_s": switches(engine.process.pid) - before}


def write_events(path, count):
    with open(path, "w") as out:
        for n in range(count):
            tags = {"CALL_ID": f"call_{n}", "FROM": "+13105559876", "CALLER_STATE": "CA", "DURATION": n % 600}
            out.write(json.dumps({"type": "call.completed", "id": f"e{n}", "tags": tags}) + "\n")


def run_day(tuma, folder, url, functions, events):
    """Deliveries a second of `tuma run`, and a CPU second."""
    (folder / "scripts").mkdir(exist_ok=True)
    (folder / "scripts/h.lua").write_text(HOOK.format(url=url, functions=functions))
    shutil.rmtree(folder / "data", ignore_errors=True)
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    subprocess.run([tuma, "run", folder / "day.ndjson", "--data", folder / "data", "--scripts", folder / "scripts", "--allow-private", "--allow-http",
                    "--ballast-bytes", "0", "--log-level", "off"], check=True, stdout=subprocess.DEVNULL)
    wall, after = time.monotonic() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return events / wall, events / cpu


def end_to_end(tuma, events, rounds):
    with tempfile.TemporaryDirectory() as name, sink(tuma) as receiver:
        folder, url = pathlib.Path(name), f"http://127.0.0.1:{receiver.port}"
        write_events(folder / "day.ndjson", events)
        turns = [(run_day(tuma, folder, url, "", events), run_day(tuma, folder, url, FUNCTIONS, events)) for _ in range(rounds)]
    median = statistics.median
    return {"events": events, "deliveries_a_second": round(median(plain[0] for plain, _ in turns)),
            "with_script_a_second": round(median(script[0] for _, script in turns)),
            "script_ratio_a_cpu_second": round(median(script[1] / plain[1] for plain, script in turns), 2)}


def courier(tuma, rounds):
    if not shutil.which("wrk"):
        print("process.py: wrk is not installed, the courier is left out", file=sys.stderr)
        return None
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as post, sink(tuma) as receiver:
        post.write(WRK_POST)
        post.flush()
        url, turns = f"http://127.0.0.1:{receiver.port}/", []
        for _ in range(rounds):
            out = subprocess.run(["wrk", "-t1", f"-c{WRK_CONNECTIONS}", "-d3", "-s", post.name, url], check=True, capture_output=True, text=True).stdout
            wrk = float(re.search(r"Requests/sec:\s+([\d.]+)", out)[1])
            ours = json.loads(subprocess.run([tuma, "bench", "courier", "--url", url, "--json"], check=True, capture_output=True).stdout)["courier"]
            turns.append((wrk, ours["requests_a_second"], ours["cpu_us"]))
    return {"wrk_a_second": round(statistics.median(t[0] for t in turns)), "courier_a_second": round(statistics.median(t[1] for t in turns)),
            "courier_cpu_us": round(statistics.median(t[2] for t in turns), 1), "ratio": round(statistics.median(t[1] / t[0] for t in turns), 2)}


def main():
    parser = argparse.ArgumentParser(description="Measures the binary as a whole.")
    parser.add_argument("--tuma", required=True)
    parser.add_argument("--events", type=int, default=30000)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    tuma = os.path.abspath(args.tuma)
    print(json.dumps({"at_rest": at_rest(tuma, args.rounds), "end_to_end": end_to_end(tuma, args.events, args.rounds), "courier": courier(tuma, args.rounds)}, indent=1))


if __name__ == "__main__":
    main()
