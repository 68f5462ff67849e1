// How a webhook's script behaves, over all its calls of a pool. Two things add up here.
//
// Strikes: a call that used up its CPU budget, its memory or its stack. Each costs others a few
// milliseconds however it ends, so that a script that does little else must not go on: it
// is put in quarantine. An error that the script raised itself is none, however often.
//
// Lines: what it logs passes a bucket, since the log's reader and disk are everybody's.
//
// Time is a parameter, so a test can tell it.
#include "script_inner.h"

#include <stdio.h>
#include <string.h>

enum {
    STRIKES_MAX = 10, // at least every other call, within the window
    LINES_A_SECOND = 200,
    LINES_BURST = 1000,
};
static const int64_t second_ns = 1000ll * 1000 * 1000;
static const int64_t window_ns = 60 * second_ns;

bool script_conduct_note(struct script_conduct *conduct, bool strike, int64_t now_ns) {
    if (!conduct->calls || now_ns - conduct->window_start_ns > window_ns) {
        conduct->window_start_ns = now_ns;
        conduct->calls = conduct->strikes = 0;
    }
    conduct->calls++;
    conduct->strikes += strike;
    if (conduct->strikes < STRIKES_MAX || 2 * conduct->strikes < conduct->calls) return false;
    conduct->calls = conduct->strikes = 0;
    return true;
}

void script_conduct_bar(struct script_conduct *conduct, struct slice version, int64_t now_ns) {
    snprintf(conduct->barred, sizeof conduct->barred, "%.*s", SLICE_FMT(version));
    conduct->barred_until_ns = now_ns + window_ns;
}

bool script_conduct_is_barred(const struct script_conduct *conduct, struct slice version,
                              int64_t now_ns) {
    return now_ns < conduct->barred_until_ns && slice_eq(version, slice_str(conduct->barred));
}

bool script_conduct_may_log(struct script_conduct *conduct, int64_t now_ns, uint64_t *dropped) {
    int64_t line_ns = second_ns / LINES_A_SECOND;
    int64_t full_ns = now_ns - LINES_BURST * line_ns;
    if (conduct->lines_ns < full_ns) conduct->lines_ns = full_ns;
    *dropped = 0;
    if (conduct->lines_ns + line_ns > now_ns) {
        conduct->lines_dropped++;
        return false;
    }
    conduct->lines_ns += line_ns;
    *dropped = conduct->lines_dropped;
    conduct->lines_dropped = 0;
    return true;
}
