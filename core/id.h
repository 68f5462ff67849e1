// Identifiers: time-ordered (RFC 9562 UUIDv7 layout) so that index pages fill
// in order, and only [A-Za-z0-9_] (Standard Webhooks 1.0: no dot).
#ifndef TUMA_ID_H
#define TUMA_ID_H

#include "slice.h"

enum { ID_TEXT = 40 };

// Writes `prefix` + '_' + 26 Crockford base32 characters of a fresh UUIDv7 and
// a NUL. The prefix has at most 8 characters. Ids of one process rise strictly
// even within a millisecond or when the wall clock steps back. Thread-safe.
struct slice id_new(const char *prefix, char out[ID_TEXT]);

// Fills `out` from the kernel's random source; aborts when there is none.
void id_random(void *out, size_t n);

#endif
