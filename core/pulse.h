// How long the turns of an event loop take: from the moment the kernel says that
// something happened until the loop asks again. Whoever has to do with a loop
// waits that long for his own turn, so this is what a stall is (reliability
// R36). Two measures: what went by on the clock, and the processor's time, which
// leaves out what other programs on the machine took meanwhile. Every loop of
// the process may have one; all are told together.
#ifndef TUMA_PULSE_H
#define TUMA_PULSE_H

#include <stdatomic.h>
#include <stdint.h>
#include <uv.h>

#include "buf.h"
#include "list.h"

enum { PULSE_BUCKETS = 80 };

// Durations; written by the loop's thread, read by any.
struct pulse_tally {
    atomic_ullong buckets[PULSE_BUCKETS];
    atomic_llong longest_ns;
};

struct pulse {
    uv_prepare_t before; // the loop is about to ask
    uv_check_t after;    // what the kernel said has been handled
    const char *name;
    int64_t begun_ns, excused_ns; // of this turn
    int64_t looked_ns, cpu_ns;    // the processor's clock, and when it was read
    struct pulse_tally clock, cpu;
    struct list link;
};

// Embedded in the loop's owner, on the loop's thread or before it runs. `name`
// is a literal. Does not keep the loop alive.
void pulse_start(struct pulse *pulse, uv_loop_t *loop, const char *name);
// On the loop's thread, before its end; the memory is needed until the loop is closed.
void pulse_stop(struct pulse *pulse);
// So much of this turn was waiting for the disk, which is counted elsewhere.
void pulse_excuse(struct pulse *pulse, int64_t ns);

// A duration that 99.9 % of the turns stay below, to a quarter of an octave; 0 without turns.
int64_t pulse_p999_ns(const struct pulse_tally *tally);
// Appends a JSON array with an object a loop, in the order they started. Any thread.
void pulse_write_all(struct buf *out);

#endif
