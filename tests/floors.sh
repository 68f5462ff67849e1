#!/bin/sh
# Checks that every file in core/ includes only from floors below its own
# (core/FLOORS), and that every file has a floor. `floors.sh below MODULE`
# lists the modules on lower floors instead.
set -eu
cd "$(dirname "$0")/.."

awk_floor='
    FILENAME == "core/FLOORS" {
        sub(/#.*/, "")
        if (NF) { level++; for (i = 1; i <= NF; i++) floor[$i] = level }
        next
    }'

if [ "${1:-}" = below ]; then
    exec awk -v want="$2" "$awk_floor"'
        END { for (m in floor) if (floor[m] < floor[want]) print m }' core/FLOORS
fi

awk "$awk_floor"'
    FNR == 1 {
        module = FILENAME
        sub(/.*\//, "", module); sub(/\.[ch]$/, "", module)
        if (!(module in floor)) { print FILENAME ": not in core/FLOORS"; bad = 1 }
        files++
    }
    match($0, /^#include "[a-z0-9_]+\.h"/) {
        name = $2; gsub(/"/, "", name); sub(/\.h$/, "", name)
        if (name == module) next
        if (!(name in floor)) { print FILENAME ":" FNR ": includes unknown module " name; bad = 1 }
        else if (floor[name] >= floor[module]) {
            print FILENAME ":" FNR ": " module " (floor " floor[module] ") includes " name " (floor " floor[name] ")"
            bad = 1
        }
    }
    END { if (bad) exit 1; print "floors: " files " files, no include points up" }
' core/FLOORS core/*.[ch]
