#!/bin/sh
# Every benchmark once, as tables: `bench/run.sh BUILD/tuma`. The figures that
# count stand in RESULTS.md with machine, commit and date.
set -eu
cd "$(dirname "$0")/.."
tuma=$1
data=${O:-build}/bench
python3 bench/works.py "$data"
echo "commit $(git rev-parse --short HEAD 2>/dev/null || echo unknown), $(date -u +%F), $(nproc) cores, $(sed -n 's/^model name.*: //p' /proc/cpuinfo | head -n 1)"
"$tuma" bench template --works "$data/works.bin"
python3 bench/peers.py --tuma "$tuma" --works "$data"
"$tuma" bench events --event "$data/event.json"
"$tuma" bench scripts
"$tuma" bench store --dir "${TMPDIR:-/tmp}"
python3 bench/process.py --tuma "$tuma"
