// Owning events: one allocation holds the event, its text and its tag table,
// and dies with the last reference. What is not in the text (unescaped copies,
// tags that no template knows) goes to the same arena.
#include "event.h"

#include <assert.h>

#include "event_inner.h"

// Room for the largest event, its table with every id in use, and its extras.
enum { ARENA_MAX = 2 * 1024 * 1024 };

static size_t align16(size_t n) {
    return (n + 15) & ~(size_t)15;
}

struct event *event_new(struct slice text, struct slice *copy) {
    struct arena arena;
    arena_init(&arena, ARENA_MAX);
    size_t count = tag_count(), values = count * sizeof(struct tag_value);
    size_t head = align16(sizeof(struct event)), body = align16(text.n + EVENT_PADDING);
    char *block = text.n < ARENA_MAX ? arena_alloc(&arena, head + values + body) : NULL;
    if (!block) {
        arena_deinit(&arena);
        return NULL;
    }
    memset(block, 0, head + values);
    char *to = block + head + values;
    if (text.n) memcpy(to, text.p, text.n);
    memset(to + text.n, 0, EVENT_PADDING);
    struct event *event = (struct event *)(void *)block;
    event->arena = arena;
    event->tags.arena = &event->arena;
    event->tags.values = (struct tag_value *)(void *)(block + head);
    event->tags.count = (uint16_t)count;
    atomic_init(&event->refs, 1);
    *copy = slice(to, text.n);
    return event;
}

struct event *event_ref(struct event *event) {
    unsigned before = atomic_fetch_add_explicit(&event->refs, 1, memory_order_relaxed);
    assert(before > 0);
    (void)before;
    return event;
}

void event_unref(struct event *event) {
    if (!event) return;
    // The last one to let go must see what the others wrote before they did.
    unsigned before = atomic_fetch_sub_explicit(&event->refs, 1, memory_order_acq_rel);
    assert(before > 0);
    if (before != 1) return;
    struct arena arena = event->arena; // the event itself lies in it
    arena_deinit(&arena);
}

static bool is_lower(char c) {
    return c >= 'a' && c <= 'z';
}

static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

bool event_type_valid(struct slice type) {
    if (type.n > EVENT_TYPE_MAX) return false;
    bool starts = true; // a segment starts here
    size_t dots = 0;
    for (size_t i = 0; i < type.n; i++) {
        char c = type.p[i];
        if (starts && !is_lower(c)) return false;
        starts = c == '.';
        dots += starts;
        if (!starts && !is_lower(c) && !is_digit(c) && c != '_') return false;
    }
    return dots && !starts;
}

bool event_id_valid(struct slice id) {
    if (!id.n || id.n > EVENT_ID_MAX) return false;
    for (size_t i = 0; i < id.n; i++) {
        char c = id.p[i], lower = c | 0x20;
        if (!is_lower(lower) && !is_digit(c) && c != '_' && c != '-') return false;
    }
    return true;
}

bool event_type_matches(struct slice pattern, struct slice type) {
    if (slice_eq(pattern, S("*"))) return true;
    if (!slice_ends(pattern, S(".*"))) return slice_eq(pattern, type);
    struct slice front = slice(pattern.p, pattern.n - 1); // with its dot
    return type.n > front.n && slice_starts(type, front);
}

static bool is_hex(struct slice s) {
    for (size_t i = 0; i < s.n; i++)
        if (!is_digit(s.p[i]) && (s.p[i] < 'a' || s.p[i] > 'f')) return false;
    return true;
}

static bool is_zero(struct slice s) {
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] != '0') return false;
    return true;
}

// Version 00 of https://www.w3.org/TR/trace-context/: 00-TRACE-PARENT-FLAGS.
bool event_trace_valid(struct slice trace) {
    if (trace.n != 55 || !slice_starts(trace, S("00-"))) return false;
    struct slice id = slice(trace.p + 3, 32), parent = slice(trace.p + 36, 16);
    struct slice flags = slice(trace.p + 53, 2);
    return trace.p[35] == '-' && trace.p[52] == '-' && is_hex(id) && is_hex(parent) &&
           is_hex(flags) && !is_zero(id) && !is_zero(parent);
}
