"""The benchmarks, a hundredth of each: they run to their end, every figure stands beside its
baseline, and what they cannot measure is said. The figures themselves say nothing here."""
import json
import os
import subprocess
import sys

from harness import ROOT, TUMA, Workspace, check, equal, main

SANITIZED = bool(os.environ.get("TUMA_SANITIZED"))  # no CPU budgets there


def bench(w, *arguments):
    return subprocess.run([TUMA, "bench", *arguments, "--quick"], capture_output=True, text=True, timeout=100, cwd=w.path)


def figures(w, *arguments):
    """The JSON object; the table is there too."""
    if not SANITIZED:
        table = bench(w, *arguments)
        equal(table.returncode, 0, table.stderr)
        check(any(c.isdigit() for c in table.stdout), table.stdout)
    done = bench(w, *arguments, "--json")
    equal(done.returncode, 0, done.stderr)
    return json.loads(done.stdout)


def positive(*values):
    check(all(v > 0 for v in values), values)


def refuses(w, text, *arguments):
    done = bench(w, *arguments)
    check(done.returncode not in (0, -6, -11) and text in done.stderr, f"{arguments}: {done.returncode} {done.stderr!r}")


def works(w):
    subprocess.run([sys.executable, ROOT / "bench/works.py", w.path / "works"], check=True, capture_output=True)
    return w.path / "works"


def test_templates_and_events():
    with Workspace() as w:
        data = works(w)
        got = figures(w, "template", "--works", str(data / "works.bin"))["works"]
        equal(sorted(got), ["A", "B", "C", "D", "E", "F", "F_raw"])
        positive(*[v[key] for v in got.values() for key in ("ns", "memcpy_ns", "ratio", "bytes")])
        got = figures(w, "events", "--event", str(data / "event.json"))["event"]
        positive(got["read_ratio"], got["request_ratio"], got["tags"])
        refuses(w, "cannot read", "template", "--works", str(w.path / "none"))
        refuses(w, "cannot read", "events", "--event", str(w.path / "none"))
        wanted = data / "out/ref.A"
        wanted.write_bytes(b"x" + wanted.read_bytes()[1:])
        refuses(w, "wrong output of A", "template", "--works", str(data / "works.bin"))
        whole = (data / "works.bin").read_bytes()
        for size in (4, 40, len(whole) // 2):
            (w.path / "cut.bin").write_bytes(whole[:size])
            refuses(w, "tuma: bench template: ", "template", "--works", str(w.path / "cut.bin"))
        (w.path / "event.json").write_text("{")
        refuses(w, "tuma: bench events: ", "events", "--event", str(w.path / "event.json"))


def test_the_store():
    with Workspace() as w:
        got = figures(w, "store", "--dir", str(w.path))
        equal([c["batch"] for c in got["cycles"]], [1, 8, 64, 256, 1000])
        positive(got["fdatasync_per_s"], got["start"]["pending"], *[c["ratio_to_fdatasync"] for c in got["cycles"]])
        equal([p.name for p in w.path.glob("tuma-bench-*")], [], "left behind")
        refuses(w, "cannot be made", "store", "--dir", str(w.path / "none"))


def test_scripts():
    if SANITIZED:
        return
    with Workspace() as w:
        got = figures(w, "scripts")
        positive(*[work[key] for work in got["works"].values() for key in ("ns", "bare_ns", "ratio", "inside_ns", "round_trip_ns")])
        positive(got["hooks"]["rss_bytes"], got["hooks"]["cold_filters_per_second"])


def test_the_courier():
    with Workspace() as w:
        sink = w.sink()
        positive(*figures(w, "courier", "--url", sink.url + "/")["courier"].values())
        refuses(w, "a request failed", "courier", "--url", f"{sink.url}/status/500")
        refuses(w, "a request failed", "courier", "--url", "http://127.0.0.1:1/")
        refuses(w, "takes one of", "everything")


if __name__ == "__main__":
    main(globals())
