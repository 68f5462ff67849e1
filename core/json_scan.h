// The strict reader's innermost steps, shared by json_check and by the event
// reader, which goes through an event's bytes once and keeps no tree. A scan
// stands at a byte; each step moves it on or leaves it at the byte that is wrong.
#ifndef TUMA_JSON_SCAN_H
#define TUMA_JSON_SCAN_H

#include <stdbool.h>
#include <stdint.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

#include "fail.h"
#include "slice.h"

enum { JSON_DEPTH_CAP = 1024 }; // open containers, whatever a caller asks for

struct json_scan {
    const char *start, *p, *end;
    unsigned depth_max;  // at most JSON_DEPTH_CAP
    size_t values_left;  // SIZE_MAX: no limit; keys do not count
    size_t keys_left;    // object members, nested ones too
    enum err code;       // set when a step returned false
    const char *type;    // its stable word: invalid_json, invalid_utf8, too_deep, …
    const char *problem; // for people, without a place
};

struct json_limits;
void json_scan_init(struct json_scan *scan, struct slice text, struct json_limits limits);
// Writes the scan's failure to `fail` (may be NULL), with the offset and the
// JSON pointer of the place; returns its code.
enum err json_scan_fail(const struct json_scan *scan, struct fail *fail);
// Marks the scan as failed where it stands; returns false.
bool json_scan_refuse(struct json_scan *scan, enum err code, const char *type, const char *problem);

// From the byte behind an opening quote to the byte behind the closing one.
// *content is what lies between, *escaped tells of backslashes in it.
bool json_scan_string(struct json_scan *scan, struct slice *content, bool *escaped);
bool json_scan_number(struct json_scan *scan);
// One value of any kind, from its first byte to the byte behind its last.
bool json_scan_value(struct json_scan *scan);

// The closing quote of the string whose content starts at `p`, or `end`.
const char *json_string_end(const char *p, const char *end);
// Undoes the escape at in.p[0]; returns how many bytes it took, *n how many it made.
size_t json_undo_escape(struct slice in, char *out, size_t *n);

static inline bool json_is_blank(char c) {
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static inline const char *json_skip_blanks(const char *p, const char *end) {
    while (p < end && json_is_blank(*p)) p++;
    return p;
}

// Does this byte end a run of plain string content: a quote, a backslash, a
// control byte, or the start of something that is not ASCII?
static inline bool json_is_special(char c) {
    return (signed char)c < 0x20 || c == '"' || c == '\\';
}

// The first special byte at or after `p`, or `end`.
static inline const char *json_skip_plain(const char *p, const char *end) {
#ifdef __SSE2__
    const __m128i quote = _mm_set1_epi8('"'), slash = _mm_set1_epi8('\\');
    const __m128i space = _mm_set1_epi8(0x20);
    for (; end - p >= 16; p += 16) {
        __m128i v = _mm_loadu_si128((const __m128i *)(const void *)p);
        // A signed compare finds control bytes and bytes from 0x80 on at once.
        __m128i hit = _mm_or_si128(_mm_cmplt_epi8(v, space), _mm_cmpeq_epi8(v, quote));
        unsigned mask = (unsigned)_mm_movemask_epi8(_mm_or_si128(hit, _mm_cmpeq_epi8(v, slash)));
        if (mask) return p + __builtin_ctz(mask);
    }
#endif
    while (p < end && !json_is_special(*p)) p++;
    return p;
}

#endif
