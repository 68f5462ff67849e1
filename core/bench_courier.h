// `tuma bench courier`: how many requests a second one courier sends, alone on one thread.
#ifndef TUMA_BENCH_COURIER_H
#define TUMA_BENCH_COURIER_H

#include <stdbool.h>

// Sends POSTs of work A's size to `url`, which is on loopback or a private address, for a few
// seconds. Prints a line, or one JSON object. Returns 0, or 1 when the courier cannot
// start or a request was not answered with 2xx (told on stderr).
int bench_courier(const char *url, bool json_out, bool quick);

#endif
