// An event as the platform posted it: identity, type, time and tags. Read from
// JSON in one pass by the engine's own strict reader; immutable afterwards, so
// several threads may share it by reference count.
#ifndef TUMA_EVENT_H
#define TUMA_EVENT_H

#include <stdatomic.h>
#include <stdint.h>

#include "arena.h"
#include "fail.h"
#include "slice.h"
#include "tag.h"

enum {
    EVENT_BYTES_MAX = 256 * 1024, // reliability E18: one event's JSON
    EVENT_DEPTH_MAX = 32,
    EVENT_KEYS_MAX = 1024,
    EVENT_VALUE_MAX = 64 * 1024,
    EVENT_BATCH_MAX = 1000, // events in one request (A13)
    EVENT_TYPE_MAX = 128,
    EVENT_ID_MAX = 128,
};

struct event {
    atomic_uint refs;
    struct arena arena;  // owns everything below
    struct slice id;     // the client's, or ours ("evt_…")
    struct slice type;   // [a-z][a-z0-9_]* segments joined by single dots
    struct slice org;    // empty: none
    int64_t time_ms;     // wall clock; the event's own time, else when it was received
    struct slice trace;  // W3C traceparent of the ingest request, or empty
    struct slice json;   // the tags object as it came, byte for byte: what the store keeps. A
                         // time that time_ms cannot give back is put in front as EVENT_TIMESTAMP
    struct tag_set tags; // with the derived tags filled in
    bool id_given;       // the client chose the id
    uint8_t hops;        // webhook-hop of the ingest request (U26)
};

// Reads one event {"id"?, "type", "org"?, "time"?, "trace"?, "tags"?} or a
// structured CloudEvent 1.0 (has "specversion"; `data` is the tags, `org` and
// `traceparent` are read, other extension attributes ignored). Strict RFC 8259,
// valid UTF-8, duplicate keys: the last wins; null is as good as absent.
//
// id: string by event_id_valid, else ours. type: by event_type_valid. org: string
// or number; when it is missing, the tag ORG_ID. time: RFC 3339, or a number of
// Unix seconds (from 1e11 on milliseconds); any other text is kept as data, as
// the tag EVENT_TIMESTAMP, and time_ms is `received_ms`. trace: a W3C
// traceparent; a malformed one is ignored.
//
// Returns an owned event (one reference), or NULL with fail filled: at, path
// (JSON pointer) and type: invalid_json, invalid_utf8, bad_event, missing_type,
// bad_type, bad_id, bad_org, bad_time, bad_trace, bad_tags, bad_specversion,
// unknown_member (ERR_INPUT); too_large, too_deep, too_many_keys (ERR_LIMIT);
// no_memory. Allocates once for most events; thread-safe.
struct event *event_read(struct slice json, int64_t received_ms, struct fail *fail);

// A CloudEvent in binary mode: attributes came as ce-* headers (percent-decoded;
// p is NULL where there was none), `data` is the body: the tags, or nothing.
// fail->path names the header when an attribute is wrong.
struct event_attributes {
    struct slice id, type, org, time;
};
struct event *event_read_binary(const struct event_attributes *attributes, struct slice data,
                                int64_t received_ms, struct fail *fail);

// An event from its stored columns; `tags_json` is what event->json was. Gives the
// same values as the first reading. Everything is copied.
struct event *event_restore(struct slice id, struct slice type, struct slice org, int64_t time_ms,
                            struct slice trace, struct slice tags_json, struct fail *fail);

// Splits a body of one event, an array of events, or NDJSON into item slices
// without copying. Calls `item` for each, in order; stops when it returns
// false. Fails as a whole (ERR_INPUT/ERR_LIMIT) only when the outer array
// itself is broken or too long; a broken element comes as its own slice.
// In NDJSON every non-empty line is an item, broken or not. `offset` is where
// the item starts in the body.
enum event_layout { EVENT_LAYOUT_JSON, EVENT_LAYOUT_NDJSON };
enum err event_split(struct slice body, enum event_layout layout,
                     bool (*item)(void *user, struct slice json, size_t offset), void *user,
                     struct fail *fail);

struct event *event_ref(struct event *event);
void event_unref(struct event *event); // NULL is fine

// A well-formed event type: two or more segments [a-z][a-z0-9_]* with a dot
// between them, at most 128 bytes (reliability E21).
bool event_type_valid(struct slice type);
// [A-Za-z0-9_-]{1,128}
bool event_id_valid(struct slice id);
// "call.*" matches "call.completed" and "call.x.y"; "*" matches all; else equality.
bool event_type_matches(struct slice pattern, struct slice type);

#endif
