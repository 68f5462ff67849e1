// Owning events: one allocation holds the event, its text and its tag table,
// and dies with the last reference. What is not in the text (unescaped copies,
// tags that no template knows) goes to the same arena.
#include "event.h"

#include <assert.h>

#include "escape.h"
#include "event_inner.h"

// Room for the largest event, its table with every id in use, and its extras.
enum { ARENA_MAX = 2 * 1024 * 1024 };

static size_t align16(size_t n) {
    return (n + 15) & ~(size_t)15;
}

struct event *event_new(struct slice text, struct event_text *copy) {
    struct arena arena;
    arena_init(&arena, ARENA_MAX);
    size_t count = tag_count(), values = count * sizeof(struct tag_value);
    size_t head = align16(sizeof(struct event)), body = align16(text.n + EVENT_PADDING);
    size_t blocks = text.n / 64 + 1, marks = 8 * (blocks + 1); // a word may be read at any mark
    bool fits = text.n < ARENA_MAX;
    char *block = fits ? arena_alloc(&arena, head + values + body + marks) : NULL;
    if (!block) {
        arena_deinit(&arena);
        return NULL;
    }
    memset(block, 0, head + values);
    char *to = block + head + values;
    unsigned char *mark = (unsigned char *)to + body;
    escape->copy_marked(to, text, mark);
    memset(mark + 8 * blocks, 0xFF, 8);
    struct event *event = (struct event *)(void *)block;
    event->arena = arena;
    event->tags.arena = &event->arena;
    event->tags.values = (struct tag_value *)(void *)(block + head);
    event->tags.count = (uint16_t)count;
    atomic_init(&event->refs, 1);
    *copy = (struct event_text){ to, mark };
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

// What a segment of a type, and an id, may have behind its first byte.
enum { IN_TYPE = 1, IN_ID = 2 };
static const unsigned char classes[256] = {
    ['a' ... 'z'] = IN_TYPE | IN_ID, ['A' ... 'Z'] = IN_ID, ['0' ... '9'] = IN_TYPE | IN_ID,
    ['_'] = IN_TYPE | IN_ID,         ['-'] = IN_ID,
};

// The first byte at or after `i` that is not of the class.
static size_t skip_class(struct slice s, size_t i, unsigned char class) {
    while (i < s.n && classes[(unsigned char)s.p[i]] & class) i++;
    return i;
}

bool event_type_valid(struct slice type) {
    if (type.n > EVENT_TYPE_MAX) return false;
    size_t i = 0, segments = 0;
    while (i < type.n && is_lower(type.p[i])) {
        i = skip_class(type, i, IN_TYPE);
        segments++;
        if (i == type.n) return segments > 1;
        if (type.p[i++] != '.') return false;
    }
    return false;
}

bool event_id_valid(struct slice id) {
    return id.n && id.n <= EVENT_ID_MAX && skip_class(id, 0, IN_ID) == id.n;
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
