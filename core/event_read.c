// The envelope: from the bytes a client sent to an event. Members may come in
// any order, so what kind of event it is shows only at the end; the tags are
// read into the table where they stand all the same, and read anew only when
// that was the wrong object.
#include <stdio.h>

#include "buf.h"
#include "event_inner.h"
#include "id.h"
#include "json.h"

enum member {
    ID,
    TYPE,
    ORG,
    TIME,
    TRACE,
    TAGS,
    SPECVERSION,
    DATA,
    DATA_BASE64,
    TRACEPARENT,
    MEMBERS
};
struct envelope {
    struct json_scan scan;
    struct event_text text; // what is scanned
    struct event *event;
    unsigned seen, plain;          // one bit a member: it is there; it is a string without escapes
    struct slice members[MEMBERS]; // the source texts of those that were seen
    const char *in_table;          // the object that the tag table was filled from
    struct slice unknown;          // the first key that is no member of a native event
    int64_t received_ms;
    size_t keys_max, members_count;
};

static bool refuse_at(struct envelope *e, const char *p, enum err code, const char *type,
                      const char *problem) {
    e->scan.p = p;
    return json_scan_refuse(&e->scan, code, type, problem);
}

static bool no_memory(struct envelope *e) {
    return json_scan_refuse(&e->scan, ERR_NOMEM, "no_memory", "no memory for an event");
}

// Names the unknown member and what was probably meant.
static void explain_unknown(const struct envelope *e, struct fail *fail) {
    static const char *const members[] = { "id", "type", "org", "time", "trace", "tags" };
    static const char meant_tags[] = " data payload body properties attributes ";
    static const char meant_time[] = " timestamp datetime created_at ";
    const char *meant = NULL;
    char padded[40];
    snprintf(padded, sizeof padded, " %.*s ", (int)(e->unknown.n < 30 ? e->unknown.n : 30),
             e->unknown.p);
    for (unsigned i = 0; i < sizeof members / sizeof *members; i++)
        if (slice_ieq(e->unknown, slice_str(members[i]))) meant = members[i];
    if (!meant && strstr(meant_tags, padded)) meant = "tags";
    if (!meant && strstr(meant_time, padded)) meant = "time";
    int shown = (int)(e->unknown.n < 64 ? e->unknown.n : 64);
    if (meant)
        fail_set(fail, fail->code, fail->at, "unknown_member",
                 "\"%.*s\" is no member of an event; did you mean \"%s\"?", shown, e->unknown.p,
                 meant);
    else
        fail_set(fail, fail->code, fail->at, "unknown_member",
                 "\"%.*s\" is no member of an event; a value of your own belongs into \"tags\"",
                 shown, e->unknown.p);
}

static struct event *give_up(struct envelope *e, struct fail *fail) {
    json_scan_fail(&e->scan, fail);
    const char *p = e->scan.p, *end = e->scan.end;
    // A tag with a bad key is named by that key, though the fault is before its end.
    if (fail && p < end && *p == '"' && !strcmp(e->scan.type, "bad_tags")) {
        const char *behind = json_string_end(p + 1, end) + 1;
        json_pointer(slice(e->scan.start, (size_t)(end - e->scan.start)),
                     (size_t)(behind - e->scan.start), fail);
    }
    if (fail && !strcmp(e->scan.type, "unknown_member")) explain_unknown(e, fail);
    event_unref(e->event);
    return NULL;
}

static struct event *refuse_outright(struct fail *fail, enum err code, const char *type,
                                     const char *problem) {
    fail_path(fail, "%s", "");
    fail_set(fail, code, 0, type, "%s", problem);
    return NULL;
}

// Starts an envelope over a copy of `text`; false with fail when there is no
// memory. (Field by field: the members need no zeroing, and it would show.)
static bool envelope_init(struct envelope *e, struct slice text, int64_t received_ms,
                          struct fail *fail) {
    e->event = event_new(text, &e->text);
    if (!e->event) return refuse_outright(fail, ERR_NOMEM, "no_memory", "no memory for an event");
    json_scan_init(&e->scan, slice(e->text.p, text.n),
                   (struct json_limits){ .depth_max = EVENT_DEPTH_MAX });
    e->seen = e->plain = 0;
    e->in_table = NULL;
    e->unknown = slice(NULL, 0);
    e->received_ms = received_ms;
    e->keys_max = EVENT_KEYS_MAX;
    e->members_count = 0;
    return true;
}

// A member's source text; p is NULL when it is not there.
static inline struct slice member_raw(const struct envelope *e, enum member member) {
    return e->seen >> member & 1 ? e->members[member] : slice(NULL, 0);
}

// The object at the scan, into the table.
static bool read_tags(struct envelope *e) {
    if (e->in_table) tag_set_clear(&e->event->tags);
    e->in_table = e->scan.p;
    e->scan.keys_left = e->keys_max;
    bool good = event_scan_tags(&e->scan, &e->text, &e->event->tags);
    e->scan.depth_max = EVENT_DEPTH_MAX - 1;
    return good;
}

// (Compilers make plain comparisons of a memcmp of known length.)
static enum member member_of(struct slice key, bool escaped) {
    char name[72]; // the longest name, all of it as \u escapes
    if (escaped && key.n > sizeof name) return MEMBERS;
    if (escaped) key = slice(name, json_unescape(key, name));
    const char *p = key.p;
    switch (key.n) {
    case 2: return memcmp(p, "id", 2) == 0 ? ID : MEMBERS;
    case 3: return memcmp(p, "org", 3) == 0 ? ORG : MEMBERS;
    case 4:
        if (memcmp(p, "type", 4) == 0) return TYPE;
        if (memcmp(p, "tags", 4) == 0) return TAGS;
        if (memcmp(p, "time", 4) == 0) return TIME;
        return memcmp(p, "data", 4) == 0 ? DATA : MEMBERS;
    case 5: return memcmp(p, "trace", 5) == 0 ? TRACE : MEMBERS;
    case 11:
        if (memcmp(p, "specversion", 11) == 0) return SPECVERSION;
        if (memcmp(p, "data_base64", 11) == 0) return DATA_BASE64;
        return memcmp(p, "traceparent", 11) == 0 ? TRACEPARENT : MEMBERS;
    default: return MEMBERS;
    }
}

static const char *refuse_syntax(struct envelope *e, const char *p, const char *problem) {
    bool early = p >= e->scan.end;
    refuse_at(e, p, ERR_INPUT, "invalid_json", early ? "the text ends too early" : problem);
    return NULL;
}

// The string at the quote `p`, when it is all plain ASCII: its content. Returns
// the byte behind it, or NULL for any other string.
static inline const char *read_plain(const struct envelope *e, const char *p,
                                     struct slice *content) {
    const char *first = p + 1;
    const char *last = e->text.p + event_plain_end(e->text.marks, (size_t)(first - e->text.p));
    *content = slice(first, (size_t)(last - first));
    return *last == '"' ? last + 1 : NULL;
}

// A member's key, at its opening quote. Returns the byte behind it, or NULL.
static inline const char *read_key(struct envelope *e, const char *p, struct slice *key,
                                   enum member *member) {
    bool escaped;
    const char *behind = read_plain(e, p, key);
    if (behind) {
        *member = member_of(*key, false);
        return behind;
    }
    e->scan.p = p + 1;
    if (!json_scan_string(&e->scan, key, &escaped)) return NULL;
    *member = member_of(*key, escaped);
    return e->scan.p;
}

// A member's value, at its first byte. Returns the byte behind it, or NULL.
static inline const char *read_value(struct envelope *e, const char *p, enum member member) {
    struct slice content;
    unsigned bit = 1u << member;
    e->plain &= ~bit;
    const char *behind = *p == '"' ? read_plain(e, p, &content) : NULL;
    if (behind) {
        e->plain |= bit;
        return behind;
    }
    e->scan.p = p;
    // Only the first one: clearing the table for every further one would cost
    // a hostile sender little and us much.
    bool tags = (member == TAGS || member == DATA) && !e->in_table && *p == '{';
    return (tags ? read_tags(e) : json_scan_value(&e->scan)) ? e->scan.p : NULL;
}

// One member, from where its key should start. Returns the byte behind it, or NULL.
static const char *read_member(struct envelope *e, const char *p) {
    struct slice key;
    enum member member;
    if (*p != '"') return refuse_syntax(e, p, "a quoted key belongs here");
    if (e->members_count++ == EVENT_KEYS_MAX) {
        refuse_at(e, p, ERR_LIMIT, "too_many_keys", "an event has too many members");
        return NULL;
    }
    p = read_key(e, p, &key, &member);
    if (!p) return NULL;
    p = event_skip_blanks(p);
    if (*p != ':') return refuse_syntax(e, p, "a colon belongs here");
    const char *first = event_skip_blanks(p + 1);
    p = read_value(e, first, member);
    if (!p) return NULL;
    if (member < MEMBERS) {
        e->members[member] = slice(first, (size_t)(p - first));
        e->seen |= 1u << member;
    }
    if (member > TAGS && !e->unknown.p) e->unknown = key;
    return p;
}

// All members, from the object's opening brace on, and what may follow the object.
static bool read_members(struct envelope *e, const char *p) {
    e->scan.depth_max = EVENT_DEPTH_MAX - 1;
    e->scan.keys_left = EVENT_KEYS_MAX;
    p = event_skip_blanks(p + 1);
    if (*p != '}') {
        for (;;) {
            p = read_member(e, p);
            if (!p) return false;
            p = event_skip_blanks(p);
            if (*p != ',') break;
            p = event_skip_blanks(p + 1);
        }
        if (*p != '}') return refuse_syntax(e, p, "a comma or } belongs here");
    }
    p = event_skip_blanks(p + 1);
    e->scan.p = p;
    return p == e->scan.end || refuse_syntax(e, p, "nothing may follow the event");
}

// A member that is no plain string, as text.
static __attribute__((noinline)) bool odd_member_text(struct envelope *e, struct slice raw,
                                                      bool number, const char *type,
                                                      struct slice *text) {
    if (slice_eq(raw, S("null"))) return true;
    if (number && raw.p[0] != '"' && json_is_number(raw)) {
        *text = raw;
        return true;
    }
    if (raw.p[0] != '"')
        return refuse_at(e, raw.p, ERR_INPUT, type,
                         number ? "this must be a string or a number" : "this must be a string");
    *text = json_text((struct json){ JSON_STRING, raw }, &e->event->arena);
    return text->p || no_memory(e);
}

// A member as text; p stays NULL when it is absent or null. `number` says
// whether a number will do.
static inline bool member_text(struct envelope *e, enum member member, bool number,
                               const char *type, struct slice *text) {
    struct slice raw = member_raw(e, member);
    *text = slice(NULL, 0);
    if (!raw.p) return true;
    if (!(e->plain >> member & 1)) return odd_member_text(e, raw, number, type, text);
    *text = slice(raw.p + 1, raw.n - 2);
    return true;
}

static bool take_type(struct envelope *e, struct slice type, const char *at) {
    if (!type.p) return refuse_at(e, at, ERR_INPUT, "missing_type", "an event needs a type");
    if (!event_type_valid(type))
        return refuse_at(e, at, ERR_INPUT, "bad_type",
                         "an event type is two or more segments of a-z, 0-9 and _, each starting "
                         "with a letter, joined by dots, at most 128 bytes: call.completed");
    e->event->type = type;
    return true;
}

static bool take_id(struct envelope *e, struct slice id, const char *at) {
    e->event->id_given = id.p != NULL;
    if (id.p) {
        e->event->id = id;
        return event_id_valid(id) ||
               refuse_at(e, at, ERR_INPUT, "bad_id", "an id is 1 to 128 letters, digits, _ and -");
    }
    char fresh[ID_TEXT];
    e->event->id = arena_dup(&e->event->arena, id_new("evt", fresh));
    return e->event->id.p || no_memory(e);
}

enum { ORG_MAX = 128 };

static bool org_valid(struct slice org) {
    for (size_t i = 0; i < org.n; i++)
        if ((unsigned char)org.p[i] < 0x20 || org.p[i] == 0x7F) return false;
    return org.n <= ORG_MAX;
}

// The organization, or else what the tag ORG_ID says, when that can be one.
static bool take_org(struct envelope *e, struct slice org, const char *at) {
    if (org.p) {
        e->event->org = org;
        return org_valid(org) || refuse_at(e, at, ERR_INPUT, "bad_org",
                                           "an org is at most 128 bytes without control bytes");
    }
    struct tag_value tag = event_known(&e->event->tags, KNOWN_ORG_ID);
    if (tag.kind != TAG_STRING && tag.kind != TAG_NUMBER) return true;
    org = tag_value_text(tag, &e->event->arena);
    if (!org.p) return no_memory(e);
    if (org_valid(org)) e->event->org = org;
    return true;
}

// Is a text that clock_parse took what clock_format makes of it?
static bool time_is_canonical(struct slice text) {
    return text.n == 24 && text.p[10] == 'T' && text.p[19] == '.' && text.p[23] == 'Z' &&
           text.p[17] < '6';
}

// Writes the time, as it was given, into the tags that the store keeps: the
// store's time_ms cannot give it back.
static bool splice_timestamp(struct envelope *e, struct slice time) {
    struct event *event = e->event;
    struct buf text;
    buf_init(&text, EVENT_BYTES_MAX + 1024);
    struct slice tags = event->json;
    bool empty = json_skip_blanks(tags.p + 1, tags.p + tags.n) == tags.p + tags.n - 1;
    buf_add(&text, S("{\"EVENT_TIMESTAMP\":"));
    buf_json(&text, time);
    buf_add(&text, empty ? S("") : S(","));
    buf_add(&text, slice_from(tags, 1));
    event->json = text.failed ? slice(NULL, 0) : arena_dup(&event->arena, buf_slice(&text));
    buf_deinit(&text);
    return event->json.p || no_memory(e);
}

static bool take_time(struct envelope *e, struct slice time, bool number, const char *at) {
    struct event *event = e->event;
    event->time_ms = e->received_ms;
    if (time.n > EVENT_TIME_TEXT_MAX)
        return refuse_at(e, at, ERR_INPUT, "bad_time", "a time is at most 64 bytes");
    // What is no time is kept as data; it never moves the schedule.
    bool good = time.n && event_time_parse(time, number, &event->time_ms);
    bool shown = time.n && !(good && number);
    bool carried = event_known(&event->tags, KNOWN_EVENT_TIMESTAMP).kind != TAG_ABSENT;
    if (shown && !carried && !(good && time_is_canonical(time)) && !splice_timestamp(e, time))
        return false;
    return event_derive(event, shown ? time : slice(NULL, 0)) || no_memory(e);
}

static bool take_trace(struct envelope *e) {
    struct slice trace;
    for (enum member m = TRACE; m <= TRACEPARENT; m += TRACEPARENT - TRACE) {
        if (!member_text(e, m, false, "bad_trace", &trace)) return false;
        // A malformed traceparent is ignored: https://www.w3.org/TR/trace-context/ 3.2
        if (trace.p && event_trace_valid(trace)) e->event->trace = trace;
    }
    return true;
}

static bool take_members(struct envelope *e) {
    struct slice type, id, org, time;
    const char *type_at = member_raw(e, TYPE).p, *time_at = member_raw(e, TIME).p;
    if (!member_text(e, TYPE, false, "bad_type", &type)) return false;
    if (!take_type(e, type, type_at ? type_at : e->scan.start)) return false;
    if (!member_text(e, ID, false, "bad_id", &id)) return false;
    if (!take_id(e, id, member_raw(e, ID).p)) return false;
    if (!member_text(e, ORG, true, "bad_org", &org)) return false;
    if (!take_org(e, org, member_raw(e, ORG).p)) return false;
    if (!member_text(e, TIME, true, "bad_time", &time)) return false;
    return take_time(e, time, time.p && *time_at != '"', time_at) && take_trace(e);
}

static bool check_cloud(struct envelope *e) {
    struct slice version;
    const char *version_at = member_raw(e, SPECVERSION).p;
    const char *base64_at = member_raw(e, DATA_BASE64).p;
    if (!member_text(e, SPECVERSION, false, "bad_specversion", &version)) return false;
    if (!slice_eq(version, S("1.0")))
        return refuse_at(e, version_at, ERR_INPUT, "bad_specversion",
                         "only CloudEvents 1.0 is understood");
    if (base64_at)
        return refuse_at(e, base64_at, ERR_INPUT, "bad_tags",
                         "send the tags as a JSON object in data, not as data_base64");
    return true;
}

// A native event has the members of its form and no other.
static bool check_native(struct envelope *e) {
    return !e->unknown.p || refuse_at(e, e->unknown.p + e->unknown.n + 1, ERR_INPUT,
                                      "unknown_member", "this is no member of an event");
}

// The tags: the table filled from the object that counts, and from no other.
static bool settle_tags(struct envelope *e, struct slice raw) {
    bool none = !raw.p || slice_eq(raw, S("null"));
    if (!none && *raw.p != '{')
        return refuse_at(e, raw.p, ERR_INPUT, "bad_tags", "the tags must be a JSON object");
    e->event->json = none ? S("{}") : raw;
    if (e->in_table == (none ? NULL : raw.p)) return true;
    if (none) {
        tag_set_clear(&e->event->tags);
        return true;
    }
    e->scan.p = raw.p;
    return read_tags(e);
}

static bool read_event(struct envelope *e, const char *p) {
    if (!read_members(e, p)) return false;
    bool cloud = e->seen >> SPECVERSION & 1;
    if (!(cloud ? check_cloud(e) : check_native(e))) return false;
    return settle_tags(e, member_raw(e, cloud ? DATA : TAGS)) && take_members(e);
}

struct event *event_read(struct slice json, int64_t received_ms, struct fail *fail) {
    struct envelope e;
    if (json.n > EVENT_BYTES_MAX)
        return refuse_outright(fail, ERR_LIMIT, "too_large", "an event is at most 256 KiB of JSON");
    if (!envelope_init(&e, json, received_ms, fail)) return NULL;
    const char *first = event_skip_blanks(e.scan.p);
    if (*first == '{') {
        if (read_event(&e, first)) return e.event;
    } else if (json_check(json, (struct json_limits){ .depth_max = EVENT_DEPTH_MAX }, fail)) {
        event_unref(e.event);
        return NULL;
    } else {
        refuse_at(&e, first, ERR_INPUT, "bad_event", "an event must be a JSON object");
    }
    give_up(&e, fail);
    if (fail && !strcmp(fail->type, "missing_type")) fail_path(fail, "/type");
    return NULL;
}

// The whole text as one tags object.
static bool read_bare_tags(struct envelope *e) {
    const char *first = e->scan.p = event_skip_blanks(e->scan.p);
    if (first == e->scan.end) {
        e->event->json = S("{}");
        return true;
    }
    if (*first != '{')
        return json_scan_value(&e->scan) &&
               refuse_at(e, first, ERR_INPUT, "bad_tags", "the tags must be a JSON object");
    if (!read_tags(e)) return false;
    e->event->json = slice(first, (size_t)(e->scan.p - first));
    const char *p = event_skip_blanks(e->scan.p);
    return p == e->scan.end || refuse_syntax(e, p, "nothing may follow the tags");
}

static bool keep(struct envelope *e, struct slice from, struct slice *to) {
    *to = slice(NULL, 0);
    if (!from.p) return true;
    *to = arena_dup(&e->event->arena, from);
    return to->p || no_memory(e);
}

static bool read_binary(struct envelope *e, const struct event_attributes *attributes) {
    struct slice type, id, org, time;
    const char *at = e->scan.start;
    if (!keep(e, attributes->type, &type) || !keep(e, attributes->id, &id)) return false;
    if (!keep(e, attributes->org, &org) || !keep(e, attributes->time, &time)) return false;
    return read_bare_tags(e) && take_type(e, type, at) && take_id(e, id, at) &&
           take_org(e, org, at) && take_time(e, time, false, at);
}

struct event *event_read_binary(const struct event_attributes *attributes, struct slice data,
                                int64_t received_ms, struct fail *fail) {
    static const char *const headers[][2] = { { "missing_type", "ce-type" },
                                              { "bad_type", "ce-type" },
                                              { "bad_id", "ce-id" },
                                              { "bad_org", "ce-org" },
                                              { "bad_time", "ce-time" } };
    struct envelope e;
    if (data.n > EVENT_BYTES_MAX)
        return refuse_outright(fail, ERR_LIMIT, "too_large", "an event is at most 256 KiB of JSON");
    if (!envelope_init(&e, data, received_ms, fail)) return NULL;
    if (read_binary(&e, attributes)) return e.event;
    give_up(&e, fail);
    for (size_t i = 0; fail && i < sizeof headers / sizeof *headers; i++)
        if (!strcmp(fail->type, headers[i][0])) fail_path(fail, "%s", headers[i][1]);
    return NULL;
}

struct event *event_restore(struct slice id, struct slice type, struct slice org, int64_t time_ms,
                            struct slice trace, struct slice tags_json, struct fail *fail) {
    struct envelope e;
    if (!envelope_init(&e, tags_json, time_ms, fail)) return NULL;
    struct event *event = e.event;
    event->time_ms = time_ms;
    e.keys_max++; // EVENT_TIMESTAMP may have been spliced in
    bool good = keep(&e, id, &event->id) && keep(&e, type, &event->type) &&
                keep(&e, org, &event->org) && keep(&e, trace, &event->trace) && read_bare_tags(&e);
    if (!good) return give_up(&e, fail);
    if (!event_derive(event, slice(NULL, 0))) {
        no_memory(&e);
        return give_up(&e, fail);
    }
    return event;
}
