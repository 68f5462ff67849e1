// Writing values safely where they land: JSON strings, URLs, forms, headers.
// Two implementations give the same bytes: portable C, and AVX2 where the CPU
// has it, chosen once at program start.
//
// Every writer stores past its end in whole vectors, so `to` must have room for
// GROWTH * s.n + ESCAPE_SLACK bytes; the end of the text is returned.
#ifndef TUMA_ESCAPE_H
#define TUMA_ESCAPE_H

#include <stdbool.h>
#include <stdint.h>

#include "slice.h"

enum {
    ESCAPE_JSON_GROWTH = 6,
    ESCAPE_URL_GROWTH = 3,
    ESCAPE_HEADER_GROWTH = 1,
    ESCAPE_SLACK = 64,
};

struct escapers {
    // The inside of a JSON string (RFC 8259 section 7). A byte that is not part
    // of well-formed UTF-8 becomes U+FFFD and sets *bad_utf8, which is never cleared.
    char *(*json)(char *to, struct slice s, bool *bad_utf8);
    // RFC 3986: unreserved bytes stay, all others become %XX.
    char *(*url)(char *to, struct slice s);
    // application/x-www-form-urlencoded as in the URL standard: a space is '+'.
    char *(*form)(char *to, struct slice s);
    // Length of the part of `s` in front of the first control byte (TAB is none).
    size_t (*header_span)(struct slice s);
    // Copies `s` to `to`, with 64 zero bytes behind it, and says where runs of plain
    // text end: one bit a byte, the first byte's in the lowest bit of marks[0], set
    // for quotes, backslashes, control bytes and all that is not ASCII. Whole
    // blocks of 64 bytes are marked, s.n / 64 + 1 of them, to end in the zeroes.
    void (*copy_marked)(char *to, struct slice s, unsigned char *marks);
};

// The escapers in use.
extern const struct escapers *escape;
extern const struct escapers escape_portable;
#if defined(__x86_64__)
extern const struct escapers escape_avx2; // call only when escape_has_avx2()
#endif
bool escape_has_avx2(void);
// Chooses the portable (true) or the best (false) ones; not while others run.
void escape_force_portable(bool portable);

// A header's value: a run of control bytes becomes one space. *run says whether
// the text so far ends in such a space, so that a run may go on from one value
// to the next; *cleaned is set when there was one.
char *escape_header(char *to, struct slice s, bool *run, bool *cleaned);
// What a `raw` formatter may put into a URL or form: printable ASCII that RFC
// 3986 allows somewhere, and '%', stay; all others become %XX.
char *escape_url_raw(char *to, struct slice s);

#endif
