#!/usr/bin/env python3
"""Runs the standard works A-F in the peers of Debian's packages: Go fasttemplate, LuaJIT, node.

Prints nanoseconds a render as JSON: {"peers": {PEER: {WORK: ns}}}. With --tuma it
runs `tuma bench template` before and after, and adds "tuma" and "times": how many times faster
(the geometric mean over the works, and each). Every peer checks its output
against the wanted one before it is timed.

usage: peers.py [--works DIR] [--tuma BINARY]
"""
import argparse
import json
import math
import os
import shutil
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))


def run(command, **more):
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True, **more)
    return json.loads(done.stdout)


def run_go(works):
    with tempfile.TemporaryDirectory() as folder:
        env = dict(os.environ, GO111MODULE="off", GOPATH="/usr/share/gocode", GOFLAGS="", GOCACHE=folder + "/cache")
        binary = folder + "/fasttemplate"
        source = os.path.join(HERE, "peers/fasttemplate.go")
        subprocess.run(["go", "build", "-o", binary, source], env=env, cwd=folder, check=True)
        return run([binary, works], env=dict(os.environ, GOMAXPROCS="1"))


def run_peers(works):
    peers = {}
    for name, command in (("luajit", ["luajit", os.path.join(HERE, "peers/luajit.lua"), works]),
                          ("node", ["node", os.path.join(HERE, "peers/node.js"), works])):
        if shutil.which(name):
            peers.update(run(command))
        else:
            print(f"peers.py: {name} is not installed, left out", file=sys.stderr)
    if shutil.which("go") and os.path.isdir("/usr/share/gocode/src/github.com/valyala/fasttemplate"):
        peers.update(run_go(works))
    else:
        print("peers.py: Go or fasttemplate is not installed, left out", file=sys.stderr)
    return peers


def run_tuma(binary, works):
    figures = run([binary, "bench", "template", "--json", "--works", works + "/works.bin"])["works"]
    return {name: work["ns"] for name, work in figures.items()}


def compare(peers, ours):
    times = {}
    for peer, figures in peers.items():
        each = {work: ns / ours[work] for work, ns in figures.items() if work in ours}
        mean = math.exp(sum(map(math.log, each.values())) / len(each))
        times[peer] = {"mean": round(mean, 1), **{work: round(x, 1) for work, x in each.items()}}
    return times


def main():
    parser = argparse.ArgumentParser(description="Runs the standard works in the peers.")
    parser.add_argument("--works", default=os.path.join(HERE, "data"))
    parser.add_argument("--tuma")
    args = parser.parse_args()
    works = os.path.abspath(args.works)
    before = run_tuma(args.tuma, works) if args.tuma else {}
    peers = run_peers(works)
    result = {"peers": {p: {w: round(ns, 1) for w, ns in f.items()} for p, f in peers.items()}}
    if args.tuma:
        after = run_tuma(args.tuma, works)
        result["tuma"] = {work: (before[work] + after[work]) / 2 for work in before}
        result["times"] = compare(peers, result["tuma"])
    json.dump(result, sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    main()
