// A slice borrows bytes it does not own. Not NUL-terminated; p may be NULL
// only when n is 0. Every byte core takes and returns slices.
#ifndef TUMA_SLICE_H
#define TUMA_SLICE_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

struct slice {
    const char *p;
    size_t n;
};

// A slice over a string literal (the terminating NUL is left out).
#define S(lit) ((struct slice){ (lit), sizeof(lit) - 1 })
// For printf: "%.*s" takes SLICE_FMT(s). Cuts at INT_MAX, which no limit here reaches.
#define SLICE_FMT(s) (int)(s).n, (s).p

static inline struct slice slice(const char *p, size_t n) {
    return (struct slice){ p, n };
}

static inline struct slice slice_str(const char *text) {
    return (struct slice){ text, text ? strlen(text) : 0 };
}

static inline bool slice_eq(struct slice a, struct slice b) {
    return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

static inline bool slice_starts(struct slice s, struct slice prefix) {
    return s.n >= prefix.n && slice_eq(slice(s.p, prefix.n), prefix);
}

static inline bool slice_ends(struct slice s, struct slice suffix) {
    return s.n >= suffix.n && slice_eq(slice(s.p + (s.n - suffix.n), suffix.n), suffix);
}

// ASCII case-insensitive equality: header names, hex, schemes (RFC 9110 section 5.1).
static inline bool slice_ieq(struct slice a, struct slice b) {
    if (a.n != b.n) return false;
    for (size_t i = 0; i < a.n; i++) {
        unsigned char x = (unsigned char)a.p[i], y = (unsigned char)b.p[i];
        if (x >= 'A' && x <= 'Z') x |= 0x20;
        if (y >= 'A' && y <= 'Z') y |= 0x20;
        if (x != y) return false;
    }
    return true;
}

// The part of `s` from byte `from` on; empty when `from` is past the end.
static inline struct slice slice_from(struct slice s, size_t from) {
    return from >= s.n ? slice(s.p ? s.p + s.n : NULL, 0) : slice(s.p + from, s.n - from);
}

// Index of the first `byte`, or s.n when there is none.
static inline size_t slice_find(struct slice s, char byte) {
    const char *hit = s.n ? memchr(s.p, byte, s.n) : NULL;
    return hit ? (size_t)(hit - s.p) : s.n;
}

// `s` without leading and trailing spaces and tabs.
static inline struct slice slice_trim(struct slice s) {
    while (s.n && (s.p[0] == ' ' || s.p[0] == '\t')) s.p++, s.n--;
    while (s.n && (s.p[s.n - 1] == ' ' || s.p[s.n - 1] == '\t')) s.n--;
    return s;
}

#endif
