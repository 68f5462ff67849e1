"""The kill -9 rig, short: nothing lost, every repetition explained; and its
control, which must be caught."""
import os
import subprocess
import sys

from harness import ROOT, check, main


def rig(*flags):
    return subprocess.run([sys.executable, str(ROOT / "tests/crash/kill.py"), *flags], capture_output=True, text=True, timeout=220)


def test_kill_9_at_random_moments_loses_nothing():
    kills = os.environ.get("TUMA_KILLS", "6")
    done = rig("--kills", kills)
    print("# " + done.stdout.strip())
    check(done.returncode == 0, done.stdout + done.stderr[-3000:])


def test_the_planted_defect_is_caught():
    done = rig("--kills", "3", "--defect", "ack-early", "--seed", "7")
    print("# " + done.stdout.strip())
    check(done.returncode == 1 and '"lost": 0' not in done.stdout, "acknowledging early must show as loss: " + done.stdout + done.stderr[-2000:])


if __name__ == "__main__":
    main(globals())
