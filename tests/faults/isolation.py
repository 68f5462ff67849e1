#!/usr/bin/env python3
"""Who suffers when somebody misbehaves? (R30-R40, R50)

    tests/faults/isolation.py [--only R30,R50] [--seconds 6] [--rounds 2] [--rate 100] [--seed N] [--defect] [--json]

Ten healthy webhooks get events at a fixed rate, far below what the engine can
do. Phases alternate: in A the trouble's share of the events goes to well
webhooks, in B to those in trouble. Compared is the time from the client's send
to the sink's log line, of events for webhooks that are healthy in both.
`--defect` takes the protection away that the experiment is about; the rig must
then report a violation. Every experiment prints one line; exit status 1 when
one failed (with --defect: when one did not).
"""
import argparse
import json
import os
import re
import signal
import socket
import sys
import threading
import time

from rig import (Arrivals, Hostile, Names, Poster, Store, Workspace, event, hook, paced, percentile, process, random, refused_port, status, until,
                 webhook)

HEALTHY = 10
QUICK_RETRY = "retry = { 1, 1, 2, 2, 4, 4, 8, 8 }, "
COUNT = "function hook.tags(event) return { N = #event.CALL_ID } end"


class Ratio:
    """Interleaved phases and what they say."""
    org = None

    def __init__(self, options, w, sink, engine):
        self.o, self.w, self.engine, self.arrivals = options, w, engine, Arrivals(sink)
        self.random = random.Random(options.seed)
        self.latency, self.cpu, self.missing, self.refused = {"A": [], "B": []}, {"A": 0, "B": 0}, 0, 0
        self.witness = []

    def phase(self, kind, round_, to, measured):
        pid = self.engine.process.process.pid
        before = process(pid)["cpu_s"]
        sent, refused = paced(self.engine.port, f"{kind}{round_}", self.o.rate, self.o.seconds, to, self.org)
        self.cpu[kind] += process(pid)["cpu_s"] - before
        names = [n for n, (_, t) in sent.items() if t in measured]
        end = time.monotonic() + self.o.patience
        while time.monotonic() < end and not all(n in self.arrivals.read() for n in names):
            time.sleep(0.05)
        self.refused += refused
        self.missing += sum(n not in self.arrivals.first for n in names)
        skip = {n for n in names if int(n.split("_")[1]) < self.o.rate // 4}  # connections are made
        self.latency[kind] += [(self.arrivals.first[n] - sent[n][0]) / 1e6 for n in names if n in self.arrivals.first and n not in skip]

    def run(self, troubled, trouble=None, witness=None, measured=None, settle=None, org=None):
        """`troubled`: name in place of the k-th healthy one during B, or {}."""
        self.org = org
        well = [f"h{k}" for k in range(HEALTHY)]
        measured = measured or {name for k, name in enumerate(well) if k not in troubled}
        for name in list(troubled.values()) + well:  # both kinds once: code and caches are warm
            Poster(self.engine.port).send(event(f"warm_{name}", name, org))
        time.sleep(0.5)
        for round_ in range(self.o.rounds):
            self.phase("A", round_, lambda n: well[n % HEALTHY], measured)
            stop = threading.Event()
            beside = threading.Thread(target=trouble, args=(stop, round_), daemon=True) if trouble else None
            if beside:
                beside.start()
            self.phase("B", round_, lambda n: troubled.get(n % HEALTHY, well[n % HEALTHY]), measured)
            stop.set()
            if beside:
                beside.join()
            if witness:
                self.witness.append(witness())
            if settle:
                settle()
        return self.result()

    def result(self):
        a, b = percentile(self.latency["A"], 0.99), percentile(self.latency["B"], 0.99)
        doubled = sum(n > 1 for n in self.arrivals.count.values())
        return {"p99_a_ms": round(a, 2), "p99_b_ms": round(b, 2), "p50_a_ms": round(percentile(self.latency["A"], 0.5), 2),
                "p50_b_ms": round(percentile(self.latency["B"], 0.5), 2), "ratio": round(b / a, 2) if a else 0, "measured": len(self.latency["B"]),
                "missing": self.missing, "refused": self.refused, "doubled": doubled, "cpu_ratio": round(self.cpu["B"] / max(self.cpu["A"], 0.01), 2),
                **turns(self.w.data)}


def turns(data):
    """R36: the loops' turns, by the clock without the disk's part and by the processor's time; and the disk's longest wait."""
    of = status(data)
    most = {kind: {loop: max(l[kind] for l in of["loops"] if l["loop"] == loop) for loop in ("api", "journal", "worker")}
            for kind in ("max_ms", "p999_ms", "cpu_max_ms", "cpu_p999_ms")}
    return {"turns": most, "disk_ms": of["longest_disk_ms"]}


def healthy(w, sink, more="", functions="", host=None):
    for k in range(HEALTHY):
        w.hook(f"h{k}", hook(f"h{k}", host(k) if host else sink.url, more, functions))


def limit(result, factor, plus_ms):
    """The bound of reliability.md: a factor of the baseline or so many ms above it."""
    result["bound_ms"] = round(max(factor * result["p99_a_ms"], result["p99_a_ms"] + plus_ms), 2)
    result["within"] = result["p99_b_ms"] <= result["bound_ms"]
    result["ok"] = not (result["missing"] or result["refused"] or result["doubled"])
    return result


# --- Endpoints in trouble (R30-R34) ---

SQUEEZE = ["--in-flight", "1"]  # the defect: nothing is left beside one that hangs


def bad_endpoints(o, targets, factor, plus_ms, tls=False):
    """`targets`: position → URL maker of the hostile receiver."""
    more = "retry = { 1, 2, 4, 8 }, breaker = false, timeout = 60, concurrency = 1000, " if o.defect else QUICK_RETRY
    with Workspace() as w, Hostile(w.path if tls else None) as hostile:
        sink = w.sink()
        healthy(w, sink)
        for k, url in targets.items():
            w.hook(f"x{k}", hook(f"x{k}", "URL", more).replace('"URL/x%d"' % k, '"%s"' % url(hostile.ports)))
        engine = w.engine(*(SQUEEZE if o.defect else []))
        ratio = Ratio(o, w, sink, engine)
        result = ratio.run({k: f"x{k}" for k in targets}, witness=lambda: status(w.data)["in_flight"])
        result["held_open"] = ratio.witness  # attempts that hung while every healthy one was made
        return limit(result, factor, plus_ms)


def at(path, port="http", scheme="http"):
    return lambda ports: f"{scheme}://127.0.0.1:{ports[port]}{path}"


def r30(o):
    """one of ten hangs"""
    result = bad_endpoints(o, {0: at("/hang")}, 1.10, 5)
    result["ok"] = result["ok"] and min(result["held_open"]) >= 1
    return result


def r31(o):
    """five of ten hang"""
    result = bad_endpoints(o, {k: at("/hang") for k in range(0, 10, 2)}, 1.25, 10)
    result["ok"] = result["ok"] and min(result["held_open"]) >= 5
    return result


def r32(o):
    """nine of ten: hang, RST, close, slow-loris, endless body and headers, TLS stall"""
    rows = ["/hang", "/s2reset", "/s2close", "/s19", "/s20", "/s4chunked", "/s5", "/s11"]
    targets = {k: at(path) for k, path in enumerate(rows)}
    targets[8] = at("/in", "tls_stall", "https")
    return bad_endpoints(o, targets, 1.5, 20, tls=True)


def r33(o):
    """1,000 dead endpoints"""
    retry = "retry = { " + "0.1, " * 60 + "}, breaker = " + ("false, " if o.defect else "{ failures = 5, cooldown = 30 }, ")
    keep, port = refused_port()
    with keep, Workspace() as w:
        sink = w.sink()
        healthy(w, sink)
        for n in range(o.dead):
            text = hook(f"d{n}", f"http://127.0.{1 + n // 250}.{1 + n % 250}:{port}", retry)
            w.hook(f"d{n}", text.replace(f'TO = "d{n}"', 'TO = "dead"') if o.fan else text)
        engine = w.engine()

        def trouble(stop, round_):  # one a second for all of them; or as many events as the healthy ones get, to one after the other
            poster, start, n, rate = Poster(engine.port), time.monotonic(), 0, 1 if o.fan else o.rate
            while not stop.wait(max(0, start + n / rate - time.monotonic())):
                poster.send(event(f"dead{round_}_{n}", "dead" if o.fan else f"d{n % o.dead}"))
                n += 1

        result = Ratio(o, w, sink, engine).run({}, trouble)
        with Store(w.data) as store:
            attempts = "SELECT count(*) AS n FROM attempt a JOIN delivery d ON d.number = a.delivery JOIN hook h ON h.number = d.hook WHERE h.name GLOB 'd*'"
            result["attempts"] = store.one(attempts)
            result["most_by_one"] = store.one(f"SELECT coalesce(max(n), 0) FROM ({attempts} GROUP BY d.hook)")
        limit(result, 2, 0)
        result["ok"] = result["ok"] and 0 < result["most_by_one"] <= 5 + 8 + 3  # to the threshold, what was in flight then, probes
        return result


def r34(o):
    """50 names with silent DNS; half of the healthy ones are names too, good for a second"""
    with Workspace() as w:
        sink, names = w.sink(), Names()
        healthy(w, sink, host=lambda k: f"http://n{k}.ok.test:{sink.port}" if k % 2 else sink.url)
        for n in range(50):
            w.hook(f"d{n}", hook(f"d{n}", f"http://d{n}.silent.test:{sink.port}", QUICK_RETRY + ("timeout = 60, breaker = false, concurrency = 1000, " if o.defect else ""))
                   .replace(f'TO = "d{n}"', 'TO = "dead"'))
        engine = w.engine("--dns", f"127.0.0.1:{names.port}", *(SQUEEZE if o.defect else []))

        def trouble(stop, round_):
            poster, n = Poster(engine.port), 0
            while not stop.wait(0.5):
                poster.send(event(f"dead{round_}_{n}", "dead"))
                n += 1

        ratio = Ratio(o, w, sink, engine)
        result = ratio.run({}, trouble, measured={f"h{k}" for k in range(0, HEALTHY, 2)})  # names' look-ups are part of the others' time
        result["unanswered_queries"] = names.ignored
        until(lambda: all(ratio.arrivals.read().get(f"warm_h{k}") for k in range(HEALTHY)), 10, "healthy names are reached")
        limit(result, 1.10, 5)
        with Store(w.data) as store:
            result["names"] = store.of_hook("h[13579]")
        result["ok"] = result["ok"] and names.ignored > 0 and not result["names"]["exhausted"]
        return result


# --- Bursts and storms (R35, R37, R38) ---

def r35(o):
    """one organization bursts"""
    with Workspace() as w:
        sink, other = w.sink(), w.sink()
        healthy(w, sink, 'org = "small", ')
        w.hook("big", hook("big", other.url, 'org = "big", concurrency = 64, '))
        engine = w.engine()
        to, target, org = ("h0", "h1", "small") if o.defect else ("big", "big", "big")  # the defect: the burst stands in the same queues

        def trouble(_, round_):
            poster, count = Poster(engine.port), o.burst // o.rounds
            for start in range(0, count, 500):
                poster.send([event(f"burst{round_}_{n}", to if n % 2 else target, org) for n in range(start, min(start + 500, count))])

        def settle():
            until(lambda: status(w.data)["pending"] == 0, 120, "the burst is worked off")

        measured = {"h0", "h1"} if o.defect else None
        result = limit(Ratio(o, w, sink, engine).run({}, trouble, measured=measured, settle=settle, org="small"), 1.5, 0)
        with Store(w.data) as store:
            result["big"] = store.of_hook("big")["delivered"]
        result["ok"] = result["ok"] and (o.defect or result["big"] == o.burst // o.rounds * o.rounds)
        return result


def r36(o):
    """everything at once: fan-outs, bursts of large requests, hanging endpoints, edits, a removed webhook with a backlog, lists"""
    with Workspace() as w, Hostile() as hostile:
        sink, count, fan = w.sink(), int(o.seconds * o.rounds * 1500), 20
        healthy(w, sink, "concurrency = 64, ")
        for k in range(fan):
            w.hook(f"f{k}", hook(f"f{k}", sink.url, "concurrency = 64, ").replace(f'TO = "f{k}"', 'TO = "all"'))
        for k in range(5):
            w.hook(f"x{k}", hook(f"x{k}", "URL", QUICK_RETRY).replace(f'"URL/x{k}"', f'"http://127.0.0.1:{hostile.ports["http"]}/hang"'))
        backlog = hook("gone", sink.url, 'rate = "1/s", ')
        w.hook("gone", backlog)
        engine = w.engine()
        stop, acked, lock = threading.Event(), [0], threading.Lock()

        def burst(kind, each, to, n):
            poster = Poster(engine.port)
            for start in range(0, n, each):
                if stop.is_set():
                    break
                if poster.send([event(f"{kind}{start + i}", to(start + i)) for i in range(each)])[0] == 202:
                    with lock:
                        acked[0] += each

        def disturb():
            n = 0
            while not stop.wait(0.3):
                n += 1
                w.hook(f"h{n % HEALTHY}", hook(f"h{n % HEALTHY}", sink.url, f"concurrency = 64, timeout = {10 + n % 50}, "))
                status(w.data)
                w.tuma("log", "--json", "--limit", "1000")
                if o.defect:  # the defect: a process that stands still is what the monitor must see
                    engine.process.process.send_signal(signal.SIGSTOP)
                    time.sleep(0.3)
                    engine.process.process.send_signal(signal.SIGCONT)
                if n == 8:
                    (w.scripts / "gone.lua").unlink()

        threads = [threading.Thread(target=burst, args=a, daemon=True) for a in (
            ("all", 100, lambda n: "all", count // 20), ("big", 1000, lambda n: f"h{n % HEALTHY}", count * 2), ("hang", 10, lambda n: f"x{n % 5}", count // 10),
            ("gone", 1000, lambda n: "gone", count))]
        beside = threading.Thread(target=disturb, daemon=True)
        for t in (*threads, beside):
            t.start()
        for t in threads:
            t.join()
        time.sleep(o.seconds)
        stop.set()
        beside.join()
        result = turns(w.data)
        within = all(v <= 50 for v in result["turns"]["cpu_max_ms"].values()) and all(v <= 10 for v in result["turns"]["cpu_p999_ms"].values())
        stood = max(result["turns"]["max_ms"].values())
        return {"acked": acked[0], **result, "within": within, "ok": within and not (o.defect and stood > 250)}


def r37(o):
    """ingest at several times what the receiver takes, a small backlog"""
    backlog, capacity = 500, 100
    with Workspace() as w:
        sink = w.sink()
        w.hook("h0", hook("h0", sink.url, f'rate = "{capacity}/s burst 1", '))
        engine = w.engine("--backlog", str(backlog * 1000 if o.defect else backlog))
        pid, acked, answers, rss, stop = engine.process.process.pid, [], {}, [], threading.Event()
        retry_after, times, lock = [], [], threading.Lock()

        def client(k):
            poster, n = Poster(engine.port), 0
            while not stop.is_set():
                names = [f"o{k}_{n}_{i}" for i in range(25)]
                started = time.monotonic()
                code, headers = poster.send([event(name, "h0") for name in names])
                with lock:
                    answers[code] = answers.get(code, 0) + 1
                    if code == 202:
                        acked.extend(names)
                        times.append(1000 * (time.monotonic() - started))
                    elif code == 429:
                        retry_after.append(headers.get("retry-after", ""))
                n += 1
                time.sleep(25 / (2 * capacity))  # three of them: six times what is taken, less what posting takes

        clients = [threading.Thread(target=client, args=(k,), daemon=True) for k in range(3)]
        for c in clients:
            c.start()
        end, most = time.monotonic() + max(5, o.seconds * o.rounds), 0
        while time.monotonic() < end:
            time.sleep(0.25)
            rss.append(process(pid)["rss_mib"])
            most = max(most, status(w.data)["pending"])
        stop.set()
        for c in clients:
            c.join()
        w.hook("h0", hook("h0", sink.url, "concurrency = 64, "))  # let it go, or the rest takes as long as it says
        until(lambda: status(w.data)["pending"] == 0, 120, "the backlog is delivered")
        arrivals = Arrivals(sink)
        arrivals.read()
        lost, doubled = sum(n not in arrivals.first for n in acked), sum(n > 1 for n in arrivals.count.values())
        clean = set(answers) <= {202, 429, 503} and all(re.fullmatch(r"\d+", r) and int(r) > 0 for r in retry_after)
        return {"answers": {str(k): v for k, v in answers.items()}, "acked": len(acked), "lost": lost, "doubled": doubled, "most_pending": most,
                "p99_ack_ms": round(percentile(times, 0.99), 1), "rss_mib": [round(rss[0], 1), round(max(rss), 1)], "within": max(rss) < 256,
                "ok": clean and bool(retry_after) and not lost and not doubled and most <= backlog + 200}


def r38(o):
    """all endpoints are down, then come back"""
    down, count, bucket_s = o.down or max(25, 2 * o.seconds), o.endpoints, 2  # what is normal is known after half a minute
    breaker = "breaker = false, " if o.defect else "breaker = { failures = 5, cooldown = 1, cooldown_max = 1 }, "
    with Workspace() as w:
        keep, port = refused_port()
        for k in range(count):
            w.hook(f"h{k}", hook(f"h{k}", f"http://127.0.0.1:{port}", "retry = { base = 1, factor = 1.5, max = 3, attempts = 60 }, " + breaker))
        engine = w.engine()
        first, refused = paced(engine.port, "down", o.rate, down, lambda n: f"h{n % count}")
        keep.close()
        sink = w.sink("--port", str(port))
        opened = time.monotonic_ns()
        fresh, again = paced(engine.port, "up", o.rate, down, lambda n: f"h{n % count}")
        arrivals = Arrivals(sink)
        until(lambda: len(arrivals.read()) >= len(first) + len(fresh), 120 + down, "the backlog is worked off")
        sent, buckets, backlog_ended = {**first, **fresh}, {}, 0
        for name, t in arrivals.first.items():
            key = (sent[name][1], (t - opened) // (bucket_s * 10**9))
            buckets[key] = buckets.get(key, 0) + 1
            if name.startswith("down"):
                backlog_ended = max(backlog_ended, t - opened)
        late = [(arrivals.first[n] - t) / 1e6 for n, (t, _) in fresh.items() if t > opened + 2 * 10**9]
        normal, most = bucket_s * o.rate / count, max(buckets.values())
        within = most <= 2 * normal + 1  # one may fall on the edge between two buckets
        return {"down_s": down, "endpoints": count, "backlog": len(first), "refused": refused + again, "peak": round(most / normal, 2), "most": most,
                "recovered_s": round(backlog_ended / 1e9, 1), "fresh_p99_ms": round(percentile(late, 0.99), 1),
                "doubled": sum(n > 1 for n in arrivals.count.values()), "within": within, "ok": not refused and not again and within}


# --- Slow clients and stopping (R39, R40) ---

class SlowClients:
    """Connections that send a byte of a request's head every half second."""

    def __init__(self, port, count, whole):
        self.open, self.cut, self.stop, self.whole = [], 0, threading.Event(), whole
        for _ in range(count):
            s = socket.create_connection(("127.0.0.1", port))
            s.setblocking(False)
            self.open.append(s)
        self.count = count
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        text, n = b"POST /v1/events HTTP/1.1\r\nHost: x\r\nX-Slow: " + b"x" * 4000, 0
        while not self.stop.wait(0.5):
            for s in list(self.open):
                try:
                    s.send(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n" if self.whole else text[n:n + 1])
                    if not s.recv(4096):
                        raise ConnectionError
                except BlockingIOError:
                    continue
                except OSError:
                    self.cut += 1
                    self.open.remove(s)
                    s.close()
                    continue
                if not self.whole:  # an answer: 408, then the end
                    self.cut += 1
                    self.open.remove(s)
                    s.close()
            n += 1

    def end(self):
        self.stop.set()
        self.thread.join()
        for s in self.open:
            s.close()


def r39(o):
    """slow-loris ingest clients beside healthy ones"""
    with Workspace() as w:
        sink = w.sink()
        healthy(w, sink)
        engine = w.engine()
        cut = []

        def trouble(stop, _):
            slow = SlowClients(engine.port, o.slow, o.defect)
            stop.wait()
            deadline = time.monotonic() + 15  # the engine's patience, and then some
            while time.monotonic() < deadline and slow.cut < slow.count:
                time.sleep(0.2)
            slow.end()
            cut.append(slow.cut)

        before = process(engine.process.process.pid)
        result = limit(Ratio(o, w, sink, engine).run({}, trouble), 1.2, 0)
        after = process(engine.process.process.pid)
        result.update(cut=cut, rss_mib=[round(before["rss_mib"], 1), round(after["rss_mib"], 1)])
        result["ok"] = result["ok"] and all(c == o.slow for c in cut)
        return result


def r40(o):
    """SIGTERM with attempts under way"""
    stops = 3 * o.rounds
    with Workspace() as w:
        sink = w.sink("--latency", "150")
        healthy(w, sink, "retry = { 0.2, 0.5, 1, 1, 2, 2 }, ")
        rng, exits, took, acked = random.Random(o.seed), [], [], set()
        for n in range(stops):
            engine = w.engine()
            done, k = threading.Event(), 0

            def client(engine=engine, done=done, n=n):
                poster, i = Poster(engine.port), 0
                while not done.is_set():
                    if poster.send(event(f"s{n}_{i}", f"h{i % HEALTHY}"))[0] == 202:
                        acked.add(f"s{n}_{i}")
                    i += 1
                    time.sleep(1 / o.rate)

            thread = threading.Thread(target=client, daemon=True)
            thread.start()
            time.sleep(rng.uniform(0.4, 1.2))
            started = time.monotonic()
            exits.append(engine.process.stop(signal.SIGKILL if o.defect else signal.SIGTERM))
            took.append(round(time.monotonic() - started, 2))
            done.set()
            thread.join()
        w.engine()
        until(lambda: status(w.data)["pending"] == 0, 60, "what was left is delivered")
        arrivals = Arrivals(sink)
        arrivals.read()
        lost, doubled = sum(n not in arrivals.first for n in acked), sum(n > 1 for n in arrivals.count.values())
        return {"stops": stops, "exits": sorted(set(exits)), "took_s": max(took), "acked": len(acked), "lost": lost, "doubled": doubled,
                "within": max(took) <= 10, "ok": not any(exits) and not lost and not doubled}


# --- Scripts (R50) ---

MISBEHAVIOURS = {
    "loop": "function hook.filter(event) while true do end end",
    "loop in pcall": "function hook.filter(event) while true do pcall(function() while true do end end) end end",
    "pattern": 'function hook.filter(event) return string.find(string.rep("a", 200000), string.rep("a*", 30) .. "b") ~= nil end',
    "memory": "function hook.filter(event) local t = {} for i = 1, 1e9 do t[i] = { i } end return true end",
    "string": 'function hook.filter(event) local s = "x" while true do s = s .. s end end',
    "error": 'function hook.filter(event) error(string.rep("x", 100000)) end',
    "recursion": "function hook.filter(event) local function f() return f() + 1 end return f() end",
    "log": 'function hook.filter(event) for i = 1, 1e9 do log.info("flood " .. i) end return true end',
}
ORDINARY = {"error"}  # ends as an error of the script's own, which never quarantines


def lanes(pid):
    """CPU seconds of the engine's script processes: what runs among the others' calls, and what runs aside."""
    used = {}
    for child in os.popen(f"pgrep -P {pid}").read().split():
        try:
            lane = open(f"/proc/{child}/cmdline").read().split("\0")[2]
            used[lane] = round(used.get(lane, 0) + process(child)["cpu_s"], 2)
        except (OSError, IndexError):
            pass  # it was just replaced
    return used


def r50(o):
    """a script that misbehaves, a hundred events a second"""
    kinds = {}
    for kind, functions in MISBEHAVIOURS.items():
        if o.kinds and kind not in o.kinds:
            continue
        with Workspace() as w:
            sink = w.sink()
            healthy(w, sink, functions=COUNT)
            w.hook("x", hook("x", sink.url, functions=functions))
            engine = w.engine(*(["--script-cpu-ms", "10000", "--script-kill-ms", "60000"] if o.defect else []))
            count = [0]

            def trouble(stop, round_, engine=engine, count=count):
                poster, start, n = Poster(engine.port), time.monotonic(), 0
                while not stop.wait(max(0, start + n / 100 - time.monotonic())):
                    n += poster.send(event(f"x{round_}_{n}", "x"))[0] == 202
                count[0] += n

            result = limit(Ratio(o, w, sink, engine).run({}, trouble), 1.25, 0)
            with Store(w.data) as store:
                result["script"] = {k: v for k, v in store.of_hook("x").items() if v}
            wanted = "active" if kind in ORDINARY else "quarantined"
            if not o.defect:
                until(lambda: webhook(w.data, "x")["state"] == wanted, 10, f"the webhook is {wanted}")
            result["state"] = webhook(w.data, "x")["state"]
            result["script_cpu_s"] = lanes(engine.process.process.pid)
            result["ok"] = result["ok"] and sum(result["script"].values()) == count[0] and not result["script"].get("delivered")
            kinds[kind] = result
            if o.verbose:
                print(f"#   {kind}: {json.dumps(result)}", flush=True)
    return {"kinds": kinds, "ok": all(r["ok"] for r in kinds.values()), "within": all(r["within"] for r in kinds.values()),
            "ratio": max(r["ratio"] for r in kinds.values())}


EXPERIMENTS = {"R30": r30, "R31": r31, "R32": r32, "R33": r33, "R34": r34, "R35": r35, "R36": r36, "R37": r37, "R38": r38, "R39": r39, "R40": r40, "R50": r50}


def arguments(**more):
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--only", default=",".join(EXPERIMENTS))
    p.add_argument("--seconds", type=float, default=6, help="of a phase")
    p.add_argument("--rounds", type=int, default=2)
    p.add_argument("--rate", type=float, default=100, help="events a second, over the ten")
    p.add_argument("--seed", type=int, default=int(time.time()))
    p.add_argument("--patience", type=float, default=20, help="seconds until a healthy delivery counts as missing")
    p.add_argument("--dead", type=int, default=1000)
    p.add_argument("--fan", action="store_true", help="R33: one event a second for all the dead ones")
    p.add_argument("--burst", type=int, default=50000)
    p.add_argument("--slow", type=int, default=300)
    p.add_argument("--endpoints", type=int, default=10, help="of R38")
    p.add_argument("--down", type=float, default=0, help="seconds, of R38")
    p.add_argument("--kinds", action="append", help="of R50")
    p.add_argument("--defect", action="store_true")
    p.add_argument("--json", dest="verbose", action="store_true", help="everything that was measured")
    p.set_defaults(**more)
    return p


def harmed(result):
    """The control's harm is one no noise explains: a broken promise, or five times the bound."""
    each = result.get("kinds", {"": result}).values()
    return any(not r["ok"] or r.get("p99_b_ms", 0) > 5 * r.get("bound_ms", 1) for r in each)


def main():
    o = arguments().parse_args()
    bad = 0
    for name in o.only.split(","):
        result = EXPERIMENTS[name](o)
        good = harmed(result) if o.defect else result["ok"]
        bad += not good
        word = ("harm shown" if good else "NO HARM") if o.defect else ("ok" if good else "FAILED") + ("" if result["within"] else ", above the bound")
        print(f"{name} {EXPERIMENTS[name].__doc__}, seed {o.seed}: {word} {json.dumps(result)}", flush=True)
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
