// `tuma bench scripts`: a script in the sandbox beside the same script in a bare
// LuaJIT interpreter with cjson, and what ten thousand of them weigh.
#ifndef TUMA_BENCH_SCRIPTS_H
#define TUMA_BENCH_SCRIPTS_H

#include <stdbool.h>

// Prints a table or one JSON object. Takes some seconds. Returns 0, or 1 when a script did
// not do what it should (told on stderr).
int bench_scripts(bool json_out, bool quick);

#endif
