#!/usr/bin/env python3
"""Makes the standard works A-F: works.bin, works.json, event.json and the wanted outputs out/ref.*.

The works are a standard shared with other implementations, so their generator
is run as it is, in a folder of its own, and what it makes is moved to DIR.

usage: works.py [--generator FILE] [DIR]       (DIR: bench/data)
"""
import argparse
import os
import shutil
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))


def main():
    parser = argparse.ArgumentParser(description="Makes the standard works A-F.")
    parser.add_argument("--generator", default=os.path.join(HERE, "../../shared/bench/gen_works.py"))
    parser.add_argument("dir", nargs="?", default=os.path.join(HERE, "data"))
    args = parser.parse_args()
    generator = os.path.abspath(args.generator)
    if not os.path.exists(generator):
        sys.exit(f"works.py: there is no generator at {generator}; name one with --generator")
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, generator], cwd=folder, check=True, stdout=subprocess.DEVNULL)
        shutil.copytree(folder, args.dir, dirs_exist_ok=True)


if __name__ == "__main__":
    main()
