// `tuma bench template`: the standard works A-F, each against memcpy of its own
// output in the same interleaved loop.
#ifndef TUMA_BENCH_TEMPLATE_H
#define TUMA_BENCH_TEMPLATE_H

#include <stdbool.h>

// Reads the works from `works_bin_path` (bench/works.py makes it) and, when it
// is there, the wanted outputs from out/ref.X beside it. Prints a table, or
// {"works":{"A":{"ns":…,"memcpy_ns":…,"ratio":…,"bytes":…},…}}. Takes a few seconds. Returns 0, or
// 1 when the works cannot be read or an output is not the wanted one.
int bench_template(const char *works_bin_path, bool json_out, bool quick);

#endif
