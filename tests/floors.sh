#!/bin/sh
# Checks that every file in core/ includes only from floors below its own
# (core/FLOORS). A module is one file pair x.c/x.h, or a family: x_part.c and
# x_inner.h belong to the longest module name in the list that starts theirs.
#
#   floors.sh                check
#   floors.sh below NAME     the files (stems) that a unit test of NAME links: its
#                            own family and all lower floors. A test that is named
#                            after no module says `// floor: NAME` in its first lines.
set -eu
cd "$(dirname "$0")/.."

common='
    function module_of(stem,   name) {
        for (name = stem; name != ""; )
            if (name in floor) return name
            else if (!sub(/_[a-z0-9]*$/, "", name)) return ""
        return ""
    }
    function stem_of(path) {
        sub(/.*\//, "", path); sub(/\.[ch]$/, "", path)
        return path
    }
    FILENAME == "core/FLOORS" {
        sub(/#.*/, "")
        if (NF) { level++; for (i = 1; i <= NF; i++) floor[$i] = level }
        next
    }'

if [ "${1:-}" = below ]; then
    name=$2
    said=$(sed -n 's|^// floor: ||p' "tests/unit/test_$name.c" 2>/dev/null | head -n 1)
    ls core/*.c | awk -v want="${said:-$name}" "$common"'
        { stem = stem_of($0); own = module_of(stem)
          if (own == want || own != "" && floor[own] < floor[want]) print stem }' core/FLOORS -
    exit
fi

awk "$common"'
    FNR == 1 {
        stem = stem_of(FILENAME); own = module_of(stem)
        if (own == "") { print FILENAME ": no module of core/FLOORS"; bad = 1 }
        files++
    }
    match($0, /^#include "[a-z0-9_]+\.h"/) {
        name = $2; gsub(/"/, "", name); sub(/\.h$/, "", name)
        other = module_of(name)
        if (own == "" || other == own) next
        if (other == "") { print FILENAME ":" FNR ": includes unknown module " name; bad = 1 }
        else if (floor[other] >= floor[own]) {
            print FILENAME ":" FNR ": " own " (floor " floor[own] ") includes " other " (floor " floor[other] ")"
            bad = 1
        }
    }
    END { if (bad) exit 1; print "floors: " files " files, no include points up" }
' core/FLOORS core/*.[ch]
