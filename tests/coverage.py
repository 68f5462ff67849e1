#!/usr/bin/env python3
"""What the tests executed of core/: a line per file, worst first, and the total.

    tests/coverage.py BUILD [--least 96] [--least-branches 85]

BUILD was made by `make coverage` and holds the counters of every process that ran,
script processes and killed ones too: they lie in mapped files. Exits 1 when fewer
lines or branches than the least, in percent, were executed.
"""
import argparse
import json
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent


def summaries(build):
    profile = build / "tests.profdata"
    subprocess.run(["llvm-profdata", "merge", "-o", profile, *(build / "profile").glob("*.profraw")], check=True)
    out = subprocess.run(["llvm-cov", "export", "-summary-only", f"-instr-profile={profile}", build / "tuma"],
                         check=True, capture_output=True, text=True).stdout
    files = {pathlib.Path(f["filename"]): f["summary"] for f in json.loads(out)["data"][0]["files"]}
    return {path.name: s for path, s in files.items() if path.parent == ROOT / "core"}


def row(name, lines, branches):
    def percent(part):
        return 100 * part["covered"] / part["count"] if part["count"] else 100
    print(f"{name:30} {lines['covered']:6}/{lines['count']:<6} {percent(lines):6.1f} %   {percent(branches):6.1f} %")
    return percent(lines), percent(branches)


def main():
    options = argparse.ArgumentParser()
    options.add_argument("build", type=pathlib.Path)
    options.add_argument("--least", type=float, default=96)
    options.add_argument("--least-branches", type=float, default=85)
    options = options.parse_args()
    files = summaries(options.build.resolve())
    total = {kind: {key: sum(s[kind][key] for s in files.values()) for key in ("count", "covered")}
             for kind in ("lines", "branches")}
    print(f"{'core/':30} {'lines':>9} {'executed':>14} {'branches':>10}")
    for name, s in sorted(files.items(), key=lambda f: f[1]["lines"]["percent"]):
        row(name, s["lines"], s["branches"])
    lines, branches = row("total", total["lines"], total["branches"])
    if lines < options.least or branches < options.least_branches:
        sys.exit(f"{lines:.1f} % of the lines and {branches:.1f} % of the branches were executed; "
                 f"{options.least:g} % and {options.least_branches:g} % are the least")


if __name__ == "__main__":
    main()
