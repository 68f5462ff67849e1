#!/usr/bin/env python3
"""Hours of mixed faults, watched (R60).

    tests/crash/soak.py --minutes N [--rate 100] [--seed N] [--out bench/soak] [--every 5]

Healthy webhooks beside one that hangs, one that resets, one that fails, one
whose script errs, one whose script filters; a script is saved again and again.
Every few seconds: memory, threads, descriptors of the engine, the size of the
WAL, p99 from a client's send to the sink, and the conservation law

    acked × webhooks = pending + delivered + exhausted + parked + filtered + dropped

written to OUT.csv and, in the end, plotted to OUT.svg. Fails when the law breaks,
a healthy delivery is missing, memory or the WAL passes its bound, or descriptors,
threads or (after ten minutes) memory go on growing.
`--defect count` counts one event too many as acknowledged, `--defect leak` opens
a connection to the engine at every sample and keeps it: either must fail.
"""
import argparse
import csv
import os
import pathlib
import socket
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "faults"))
from rig import Arrivals, Hostile, Paced, Store, Workspace, hook, percentile, process, random, until  # noqa: E402

COLUMNS = ["seconds", "rss_mib", "threads", "fds", "wal_mib", "p99_ms", "acked", "pending", "delivered", "exhausted", "parked", "filtered", "dropped", "law"]
PLOTTED = ["rss_mib", "threads", "fds", "wal_mib", "p99_ms", "pending"]
RSS_MAX_MIB, WARM_S = 160, 600
SLOPE_S = 20  # a slope needs a stretch: one connection more in 3 s would be 20 a minute
QUICK = "retry = { 0.5, 1, 2 }, timeout = 3, "


def write_hooks(w, sink, broken, hostile, revision):
    """Every webhook takes every event, so the law needs no bookkeeping of who got what."""
    bad = f"http://127.0.0.1:{hostile.ports['http']}"
    hooks = {f"h{k}": (sink.url, "", f"-- {revision}\nfunction hook.tags(event) return {{ N = #event.CALL_ID }} end" if k % 2 else "") for k in range(4)}
    hooks["hangs"] = (bad + "/hang", QUICK, "")
    hooks["resets"] = (bad + "/s2reset", QUICK, "")
    hooks["fails"] = (broken.url, QUICK + "breaker = false, ", "")  # these run out of attempts, the others wait for ever
    hooks["endless"] = (bad + "/s5", QUICK, "")
    hooks["errs"] = (sink.url, 'on_script_error = "drop", ', "function hook.filter(event) error('no') end")
    hooks["filters"] = (sink.url, "", "function hook.filter(event) return false end")
    for name, (url, more, functions) in hooks.items():
        text = hook(name, url, more, functions).replace(f'when = {{ TO = "{name}" }}, ', "")
        if name in ("hangs", "resets", "endless"):
            text = text.replace(f"/{name}\"", '"')
        w.hook(name, text)
    return len(hooks)


class Soak:
    def __init__(self, options, w, hostile):
        self.o, self.w, self.hostile, self.random = options, w, hostile, random.Random(options.seed)
        self.sink, self.fails = w.sink(), w.sink("--status", "503")
        self.hooks = write_hooks(w, self.sink, self.fails, hostile, 0)
        self.engine = w.engine()
        self.arrivals, self.rows, self.broken, self.kept, self.seen = Arrivals(self.sink), [], 0, [], {}
        self.clients = []

    def acked(self):
        return sum(len(c.acked) for c in self.clients) + (self.o.defect == "count")

    def law(self, store):
        """The counts between two readings of what was acknowledged: an event on its way may be in one only."""
        low = self.acked()
        states = store.states()
        high = self.acked() + len(self.clients)
        total = sum(states.values())
        return states, low * self.hooks <= total <= high * self.hooks

    def p99(self):
        sent = {n: at for c in self.clients for n, (at, _) in list(c.sent.items())}
        news = [(self.arrivals.first[n] - at) / 1e6 for n, at in sent.items() if n in self.arrivals.first and n not in self.seen]
        self.seen.update(dict.fromkeys(self.arrivals.read()))
        return percentile(news, 0.99) if news else 0

    def sample(self, store, started):
        p, (states, holds) = process(self.engine.process.process.pid), self.law(store)
        wal = self.w.data / "tuma.db-wal"
        self.arrivals.read()
        row = {"seconds": round(time.monotonic() - started, 1), "rss_mib": round(p["rss_mib"], 2), "threads": p["threads"], "fds": p["fds"],
               "wal_mib": round(wal.stat().st_size / 2**20, 2) if wal.exists() else 0, "p99_ms": round(self.p99(), 2), "acked": self.acked(), **states,
               "law": "holds" if holds else "broken"}
        self.broken += not holds
        self.rows.append(row)

    def run(self):
        seconds, started, revision = self.o.minutes * 60, time.monotonic(), 0
        self.clients = [Paced(self.engine.port, f"s{k}", self.o.rate / 2, seconds, lambda n: "all") for k in range(2)]
        for c in self.clients:
            c.start()
        with Store(self.w.data) as store, open(f"{self.o.out}.csv", "w", newline="", encoding="ascii") as f:
            table = csv.DictWriter(f, COLUMNS)
            table.writeheader()
            while any(c.is_alive() for c in self.clients):
                time.sleep(self.o.every)
                if self.random.random() < 0.5:
                    revision += 1
                    write_hooks(self.w, self.sink, self.fails, self.hostile, revision)
                if self.o.defect == "leak":
                    self.kept.append(socket.create_connection(("127.0.0.1", self.engine.port)))
                self.sample(store, started)
                table.writerow(self.rows[-1])
                f.flush()
            return self.judge(store)

    def judge(self, store):
        acked = [n for c in self.clients for n in c.acked]
        until(lambda: store.of_hook("h?")["pending"] == 0, 60, "healthy webhooks have nothing left")
        self.arrivals.read()
        steady = self.rows[len(self.rows) // 3:]
        slopes = {c: round(slope(steady, c) * 60, 3) for c in ("rss_mib", "threads", "fds")}
        _, holds = self.law(store)
        findings = [f"{self.broken} samples broke the law"] if self.broken or not holds else []
        lost = sum(self.arrivals.count.get(n, 0) < 4 for n in acked)
        findings += [f"{lost} healthy deliveries missing"] if lost else []
        findings += ["healthy deliveries doubled"] if any(n > 4 for n in self.arrivals.count.values()) else []
        most = max(r["rss_mib"] for r in self.rows)
        # A sanitizer's shadow and quarantine are resident too, and larger than the engine.
        judged = not os.environ.get("TUMA_SANITIZED")
        findings += [f"{most} MiB of memory"] if judged and most > RSS_MAX_MIB else []
        findings += [f"WAL of {max(r['wal_mib'] for r in self.rows)} MiB"] if max(r["wal_mib"] for r in self.rows) > 64 else []
        # Connections come and go by tens with hanging receivers; a leak only ever grows. Memory
        # grows with the store until the page cache is full, so its slope counts from then on.
        warm = self.rows[-1]["seconds"] >= 2 * WARM_S
        if warm:
            slopes["rss_mib"] = round(slope([r for r in self.rows if r["seconds"] >= WARM_S], "rss_mib") * 60, 3)
        findings += [f"{c} grows: {slopes[c]} a minute" for c, limit in (("rss_mib", 0.5), ("threads", 0.5), ("fds", 8))
                     if slopes[c] > limit and (warm if c == "rss_mib" else self.rows[-1]["seconds"] >= SLOPE_S)]
        return slopes, len(acked), findings


def slope(rows, column):
    """Least squares, a second."""
    n = len(rows)
    if n < 2:
        return 0
    x, y = [r["seconds"] for r in rows], [r[column] for r in rows]
    mx, my = sum(x) / n, sum(y) / n
    return sum((a - mx) * (b - my) for a, b in zip(x, y)) / (sum((a - mx) ** 2 for a in x) or 1)


def plot(rows, path, title):
    """One small panel a column, same time axis."""
    width, height, left = 760, 90, 70
    end = max(r["seconds"] for r in rows) or 1
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{width + left + 20}" height="{(height + 30) * len(PLOTTED) + 50}" '
           f'font-family="sans-serif" font-size="12"><rect width="100%" height="100%" fill="white"/><text x="{left}" y="20">{title}</text>']
    for n, column in enumerate(PLOTTED):
        top, most = 40 + n * (height + 30), max(max(r[column] for r in rows) * 1.1, 1)
        points = " ".join(f"{left + r['seconds'] / end * width:.1f},{top + height - r[column] / most * height:.1f}" for r in rows)
        out.append(f'<rect x="{left}" y="{top}" width="{width}" height="{height}" fill="none" stroke="#ccc"/>'
                   f'<text x="{left - 6}" y="{top + 10}" text-anchor="end">{most:.0f}</text><text x="{left - 6}" y="{top + height}" text-anchor="end">0</text>'
                   f'<text x="{left + 6}" y="{top + 14}" fill="#555">{column}</text><polyline points="{points}" fill="none" stroke="#06c" stroke-width="1.5"/>')
    out.append(f'<text x="{left + width}" y="{40 + len(PLOTTED) * (height + 30) - 12}" text-anchor="end">{end:.0f} s</text></svg>')
    pathlib.Path(path).write_text("\n".join(out) + "\n", encoding="utf-8")


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--minutes", type=float, default=5)
    p.add_argument("--rate", type=float, default=60)
    p.add_argument("--every", type=float, default=3)
    p.add_argument("--seed", type=int, default=int(time.time()))
    p.add_argument("--out", default="soak")
    p.add_argument("--defect", choices=["count", "leak"])
    o = p.parse_args()
    with Workspace() as w, Hostile() as hostile:
        soak = Soak(o, w, hostile)
        slopes, acked, findings = soak.run()
        plot(soak.rows, f"{o.out}.svg", f"soak: {o.minutes:g} minutes of mixed faults, {o.rate:g} events a second x {soak.hooks} webhooks, seed {o.seed}")
        last = soak.rows[-1]
    print(f"seed {o.seed}, {o.minutes:g} minutes: {acked} acknowledged, {len(soak.rows)} samples, slopes a minute {slopes}, last {last}")
    for finding in findings:
        print("finding:", finding)
    sys.exit(1 if findings else 0)


if __name__ == "__main__":
    main()
