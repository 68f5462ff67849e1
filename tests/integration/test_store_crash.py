"""The short mode of the store's crash rig: see tests/crash/store.py."""
import pathlib
import subprocess
import sys

RIG = pathlib.Path(__file__).resolve().parent.parent / "crash" / "store.py"

if __name__ == "__main__":
    sys.exit(subprocess.run([sys.executable, str(RIG), "--short", "--tap"]).returncode)
