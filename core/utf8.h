// UTF-8 by the letter of RFC 3629: no overlong forms, no surrogates, nothing
// above U+10FFFF.
#ifndef TUMA_UTF8_H
#define TUMA_UTF8_H

#include <stdint.h>

#include "slice.h"

// Length in bytes (1-4) of the well-formed sequence at the start of `s`; 0
// when there is none.
static inline size_t utf8_sequence(struct slice s) {
    if (!s.n) return 0;
    const unsigned char *p = (const unsigned char *)s.p;
    if (p[0] < 0x80) return 1;
    if (p[0] < 0xC2 || p[0] > 0xF4 || s.n < 2) return 0;
    unsigned low = p[0] == 0xE0 ? 0xA0 : p[0] == 0xF0 ? 0x90 : 0x80;
    unsigned high = p[0] == 0xED ? 0x9F : p[0] == 0xF4 ? 0x8F : 0xBF;
    if (p[1] < low || p[1] > high) return 0;
    size_t n = p[0] < 0xE0 ? 2 : p[0] < 0xF0 ? 3 : 4;
    if (s.n < n) return 0;
    for (size_t i = 2; i < n; i++)
        if ((p[i] & 0xC0) != 0x80) return 0;
    return n;
}

// Offset of the first byte that is not part of well-formed UTF-8; s.n when all is.
static inline size_t utf8_check(struct slice s) {
    for (size_t i = 0; i < s.n;) {
        size_t n = utf8_sequence(slice(s.p + i, s.n - i));
        if (!n) return i;
        i += n;
    }
    return s.n;
}

// Writes code point `c` (at most 0x10FFFF, no surrogate) to `out`; returns 1-4.
static inline size_t utf8_encode(uint32_t c, char out[4]) {
    if (c < 0x80) {
        out[0] = (char)c;
        return 1;
    }
    size_t n = c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    static const unsigned char lead[] = { 0, 0, 0xC0, 0xE0, 0xF0 };
    for (size_t i = n - 1; i > 0; i--) {
        out[i] = (char)(0x80 | (c & 0x3F));
        c >>= 6;
    }
    out[0] = (char)(lead[n] | c);
    return n;
}

#endif
