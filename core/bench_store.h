// `tuma bench store`: how many events a second the store takes through their
// whole life, beside what the disk itself can do.
#ifndef TUMA_BENCH_STORE_H
#define TUMA_BENCH_STORE_H

#include <stdbool.h>

// Works in a fresh directory under `dir` and removes it. Prints a table, or one
// JSON object. Returns 0, or 1 when the store said no (told on stderr).
int bench_store(const char *dir, bool json_out, bool quick);

#endif
