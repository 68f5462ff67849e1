"""Memory that runs out: the short run of tests/crash/memory.py in every process, and its
two controls, which must be caught."""
import os
import subprocess
import sys

from harness import ROOT, check, main

SEED = os.environ.get("TUMA_SEED", "20261125")
POINTS = os.environ.get("TUMA_POINTS", "14")


def rig(*flags):
    return subprocess.Popen([sys.executable, str(ROOT / "tests/crash/memory.py"), "--seed", SEED, *flags], stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT, text=True)


# All at once: they mostly wait.
SANITIZED = bool(os.environ.get("TUMA_SANITIZED"))  # their allocators cannot be preloaded over
RUNS = {} if SANITIZED else {place: rig("--only", place, "--points", POINTS) for place in ("start", "work", "script", "run")}
CONTROLS = {} if SANITIZED else {"crash": rig("--only", "work", "--points", "3", "--defect", "wild"),
                                 "lost": rig("--only", "work", "--points", "4", "--every", "1", "--defect", "ack-early")}


def whole(place):
    if SANITIZED:
        return
    out = RUNS[place].communicate(timeout=200)[0]
    print("# " + out.strip().split("\n")[-1])
    check(RUNS[place].returncode == 0, out[-4000:])


def caught(kind):
    if SANITIZED:
        return
    out = CONTROLS[kind].communicate(timeout=200)[0]
    check(CONTROLS[kind].returncode == 1 and f'"{kind}": ' in out, out[-2000:])


def test_an_engine_that_starts_without_memory():
    whole("start")


def test_an_engine_at_work_without_memory_loses_nothing_acknowledged():
    whole("work")


def test_script_processes_without_memory():
    whole("script")


def test_tuma_run_without_memory_says_so():
    whole("run")


def test_a_pointer_that_nobody_checked_is_caught():
    caught("crash")


def test_an_early_acknowledgement_is_caught():
    caught("lost")


if __name__ == "__main__":
    main(globals())
