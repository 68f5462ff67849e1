// Between the files of the event module: event.c owns events, event_read.c
// reads the envelope, event_tags.c the tags (the hot path), event_derive.c
// fills in what the engine derives.
#ifndef TUMA_EVENT_INNER_H
#define TUMA_EVENT_INNER_H

#include "event.h"
#include "json_scan.h"

enum {
    EVENT_TIME_TEXT_MAX = 64,
    // Zero bytes kept behind an event's text: the tag reader looks at whole
    // 64-byte blocks and stops at any control byte.
    EVENT_PADDING = 64,
};

// An event that owns a padded copy of `text`, whose tag set is empty and whose
// other fields are zero; *copy is that text. NULL on no memory.
struct event *event_new(struct slice text, struct slice *copy);

// Reads the object at scan->p, which lies in a padded copy (event_new), into
// `tags`; stands behind it then. scan->keys_left bounds its keys.
bool event_scan_tags(struct json_scan *scan, struct tag_set *tags);

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
