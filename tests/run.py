#!/usr/bin/env python3
"""Runs every test: unit programs (TAP), then the integration scripts (TAP too).

    tests/run.py --build build [--only PATTERN] [--jobs 2]

Each program runs in its own process with a time limit. Output of what failed is
shown; the last line reads "N passed, N failed".
"""
import argparse
import concurrent.futures
import os
import pathlib
import re
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent


# ThreadSanitizer holds signals back until a call that may block, so a CPU budget never strikes
# under it. What tests budgets has one thread anyway and runs under AddressSanitizer.
NOT_UNDER_TSAN = {"test_hostile", "test_sandbox", "test_sandbox_base", "test_sandbox_host", "test_sandbox_json",
                  "test_sandbox_string", "test_script", "test_script_hostile", "test_scripts"}


def programs(build):
    unit = [[str(build / "tests" / p.stem)] for p in sorted((ROOT / "tests/unit").glob("*.c"))]
    scripts = [[sys.executable, str(p)] for p in sorted((ROOT / "tests/integration").glob("test_*.py"))]
    skip = NOT_UNDER_TSAN if build.name.endswith("-thread") else set()
    return [c for c in unit + scripts if pathlib.Path(c[-1]).stem not in skip]


def run(command, build, seconds):
    env = dict(os.environ, TUMA=str(build / "tuma"), BUILD=str(build), PYTHONDONTWRITEBYTECODE="1",
               TUMA_SANITIZED="1" if build.name.endswith(("-address", "-thread")) else "")
    start = time.monotonic()
    try:
        done = subprocess.run(command, env=env, cwd=ROOT, capture_output=True, text=True,
                              errors="replace", timeout=seconds)
        out, status = done.stdout + done.stderr, done.returncode
    except subprocess.TimeoutExpired as late:
        text = late.stdout or b""
        out = (text.decode(errors="replace") if isinstance(text, bytes) else text) + "\n# time limit"
        status = "time limit"
    return out, status, time.monotonic() - start


def tally(out, status):
    passed = len(re.findall(r"^ok \d+", out, re.M))
    failed = len(re.findall(r"^not ok \d+", out, re.M))
    planned = sum(map(int, re.findall(r"^1\.\.(\d+)$", out, re.M)))  # a program may run its cases twice
    if status != 0 and not failed:
        failed = 1  # it died: a crash, a sanitizer report, the time limit
    elif not planned or planned != passed + failed:
        failed += 1  # it stopped early without saying so
    return passed, failed


def main():
    options = argparse.ArgumentParser()
    options.add_argument("--build", default="build")
    options.add_argument("--only", default="")
    options.add_argument("--jobs", type=int, default=os.cpu_count() or 2)
    options.add_argument("--seconds", type=int, default=240)
    options = options.parse_args()
    build = (ROOT / options.build).resolve()
    chosen = [c for c in programs(build) if options.only in c[-1]]
    passed = failed = 0
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        runs = {pool.submit(run, c, build, options.seconds): c for c in chosen}
        for future in concurrent.futures.as_completed(runs):
            out, status, seconds = future.result()
            good, bad = tally(out, status)
            passed, failed = passed + good, failed + bad
            name = os.path.basename(runs[future][-1])
            print(f"{'FAIL' if bad else 'ok  '} {name}: {good} passed, {bad} failed ({seconds:.1f} s)", flush=True)
            if bad:
                print(out[-6000:], f"# exit status: {status}", sep="\n", flush=True)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
