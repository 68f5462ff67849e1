// The two clocks. Timers and durations use the monotonic one; only what people
// or receivers read (ids, log times, webhook-timestamp) uses wall time.
#ifndef TUMA_CLOCK_H
#define TUMA_CLOCK_H

#include <stddef.h>
#include <stdint.h>

#include "slice.h"

// Nanoseconds of CLOCK_MONOTONIC.
int64_t clock_mono_ns(void);
// Milliseconds since the Unix epoch (CLOCK_REALTIME).
int64_t clock_wall_ms(void);
// CPU time of the calling thread in nanoseconds.
int64_t clock_cpu_ns(void);

// Writes `wall_ms` as RFC 3339 with milliseconds in UTC ("2026-11-24T19:11:50.123Z")
// and returns its length. `out` needs CLOCK_TEXT bytes; NUL-terminated.
enum { CLOCK_TEXT = 32 };
size_t clock_format(int64_t wall_ms, char out[CLOCK_TEXT]);

// Reads RFC 3339 (section 5.6: date-time with 'T', 't' or a space, any
// fraction, 'Z' or an offset). Returns false on anything else; *wall_ms then
// stays as it was.
bool clock_parse(struct slice text, int64_t *wall_ms);

// Days since 1970-01-01 of a proleptic Gregorian date, and the way back.
int64_t clock_days(int64_t year, unsigned month, unsigned day);
void clock_date(int64_t days, int64_t *year, unsigned *month, unsigned *day);

#endif
