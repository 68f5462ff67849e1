// Between the files of the event module: event.c owns events, event_read.c
// reads the envelope, event_tags.c the tags (the hot path), event_derive.c
// fills in what the engine derives.
#ifndef TUMA_EVENT_INNER_H
#define TUMA_EVENT_INNER_H

#include <endian.h>
#include <string.h>

#include "event.h"
#include "json_scan.h"

enum {
    EVENT_TIME_TEXT_MAX = 64,
    // Kept behind an event's text, to the end of a block and one more: at least 64
    // zero bytes, for readers who look at many bytes at once or stop at a control byte.
    EVENT_PADDING = 128,
};

// An event's text, in a padded copy that the event owns, and where plain text
// ends in it (escape.h's marks; the padding is marked too).
struct event_text {
    const char *p;
    const unsigned char *marks;
};

// The marks from byte `at` on, that one's in the lowest bit: at least 57 of them.
static inline uint64_t event_marks_at(const unsigned char *marks, size_t at) {
    uint64_t word;
    memcpy(&word, marks + (at >> 3), sizeof word);
    return le64toh(word) >> (at & 7);
}

// The lowest mark's number, 64 when there is none.
static inline unsigned event_first_mark(uint64_t word) {
    return word ? (unsigned)__builtin_ctzll(word) : 64;
}

// Where the first marked byte at or after `at` is, at most the text's length.
static inline size_t event_plain_end(const unsigned char *marks, size_t at) {
    for (;; at += 64 - (at & 7)) {
        uint64_t word = event_marks_at(marks, at);
        if (word) return at + event_first_mark(word);
    }
}

// The text has a padding, so blanks end in it at the latest.
static inline const char *event_skip_blanks(const char *p) {
    while (json_is_blank(*p)) p++;
    return p;
}

// An event that owns a copy of `text`, whose tag set is empty and whose other
// fields are zero; *copy is that text. NULL on no memory.
struct event *event_new(struct slice text, struct event_text *copy);

// Reads the object at scan->p, which lies in `text`, into `tags`; stands behind
// it then. scan->keys_left bounds its keys.
bool event_scan_tags(struct json_scan *scan, const struct event_text *text, struct tag_set *tags);

// Tags that the engine itself reads or fills in.
enum event_known {
    KNOWN_ORG_ID,
    KNOWN_FROM,
    KNOWN_CALLER_ID,
    KNOWN_CALLER_ID_NO_PLUS,
    KNOWN_CALLER_ID_NUMERIC,
    KNOWN_PAYOUT,
    KNOWN_PAYOUT_NUMERIC,
    KNOWN_CONFIGURED_PUBLISHER_PAYOUT,
    KNOWN_CONFIGURED_PUBLISHER_PAYOUT_NUMERIC,
    KNOWN_CONFIGURED_BUYER_REVENUE,
    KNOWN_CONFIGURED_BUYER_REVENUE_NUMERIC,
    KNOWN_LANDING_PAGE,
    KNOWN_LANDING_PAGE_DOMAIN,
    KNOWN_LANDING_PAGE_PATH,
    KNOWN_EVENT_TIMESTAMP,
    KNOWN_COUNT
};
struct tag_value event_known(const struct tag_set *tags, enum event_known tag);

// Fills in the derived tags that the set lacks. EVENT_TIMESTAMP becomes `time`,
// or time_ms as text when `time` is empty. False on no memory.
bool event_derive(struct event *event, struct slice time);

// What a `time` member says, in *time_ms; false when that is no time of the
// years 0 to 9999. Text is RFC 3339; a number is in Unix seconds, from
// 1e11 on in milliseconds.
bool event_time_parse(struct slice text, bool number, int64_t *time_ms);

// A W3C traceparent by its grammar.
bool event_trace_valid(struct slice trace);

#endif
