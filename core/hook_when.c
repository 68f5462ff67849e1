// The `when` conditions of a webhook: decided in C, before any Lua is entered.
//
//   when = { CONVERTED = "true", DURATION = { ">=", 30 }, STATE = { "in", "CA", "NV" } }
//
// All must hold. A tag that the event lacks meets only "absent", "!=" and "not in".
#include <math.h>
#include <stdlib.h>

#include "hook_inner.h"

enum operator{
    IS,
    IS_NOT,
    LESS,
    LESS_EQUAL,
    MORE,
    MORE_EQUAL,
    IN,
    NOT_IN,
    STARTS,
    ENDS,
    CONTAINS,
    PRESENT,
    ABSENT,
    OPERATORS
};

static const struct slice operator_names[OPERATORS] = {
    [IS] = { "=", 1 },
    [IS_NOT] = { "!=", 2 },
    [LESS] = { "<", 1 },
    [LESS_EQUAL] = { "<=", 2 },
    [MORE] = { ">", 1 },
    [MORE_EQUAL] = { ">=", 2 },
    [IN] = { "in", 2 },
    [NOT_IN] = { "not in", 6 },
    [STARTS] = { "starts", 6 },
    [ENDS] = { "ends", 4 },
    [CONTAINS] = { "contains", 8 },
    [PRESENT] = { "present", 7 },
    [ABSENT] = { "absent", 6 },
};

// Every event has EVENT and its like, though they are not among its tags.
enum source { OF_TAGS, OF_TYPE, OF_ID, FIXED };

struct hook_condition {
    uint16_t tag;
    enum source source;
    struct slice fixed;
    enum operator operator;
    struct slice *values;
    size_t values_count;
    double number; // values[0] as a number, NaN when it is none
    struct hook_condition *next;
};

static double to_number(struct slice text) {
    char copy[64], *end;
    if (!text.n || text.n >= sizeof copy || !json_is_number(text)) return NAN;
    memcpy(copy, text.p, text.n);
    copy[text.n] = '\0';
    double number = strtod(copy, &end);
    return *end ? NAN : number;
}

static bool orders(enum operator operator, double left, double right) {
    if (isnan(left) || isnan(right)) return false;
    switch (operator) {
    case LESS: return left < right;
    case LESS_EQUAL: return left <= right;
    case MORE: return left > right;
    default: return left >= right;
    }
}

static bool meets(enum operator operator, struct slice text, struct slice value) {
    switch (operator) {
    case STARTS: return slice_starts(text, value);
    case ENDS: return slice_ends(text, value);
    case CONTAINS: return memmem(text.p, text.n, value.p, value.n) != NULL;
    default: return slice_eq(text, value);
    }
}

static bool meets_any(const struct hook_condition *c, struct slice text) {
    for (size_t i = 0; i < c->values_count; i++)
        if (meets(c->operator, text, c->values[i])) return true;
    return false;
}

static bool value_holds(const struct hook_condition *c, struct slice text) {
    switch (c->operator) {
    case IS:
    case IN:
    case STARTS:
    case ENDS:
    case CONTAINS: return meets_any(c, text);
    case IS_NOT:
    case NOT_IN: return !meets_any(c, text);
    case PRESENT: return true;
    case ABSENT: return false;
    default: return orders(c->operator, to_number(text), c->number);
    }
}

static bool condition_holds(const struct hook_condition *c, const struct event *event) {
    if (c->source == FIXED) return value_holds(c, c->fixed);
    if (c->source != OF_TAGS) return value_holds(c, c->source == OF_ID ? event->id : event->type);
    struct tag_value value = tag_set_get(&event->tags, c->tag);
    if (value.kind == TAG_ABSENT)
        return c->operator== ABSENT || c->operator== IS_NOT || c->operator== NOT_IN;
    // On the stack: this cannot report a failed allocation, and answering no would lose the event.
    char room[EVENT_BYTES_MAX];
    struct slice text = slice(value.p ? value.p : "", value.n);
    if (value.kind == TAG_NULL)
        text = S("");
    else if (value.flags & TAG_ESCAPED)
        text = slice(room, json_unescape(text, room));
    return value_holds(c, text);
}

bool hook_when_holds(const struct hook_condition *when, const struct event *event) {
    for (; when; when = when->next)
        if (!condition_holds(when, event)) return false;
    return true;
}

static bool read_operator(struct hook_build *b, struct hook_condition *c, struct slice tag,
                          struct slice name) {
    if (slice_eq(name, S("=="))) name = S("=");
    if (slice_eq(name, S("~="))) name = S("!=");
    for (int i = 0; i < OPERATORS; i++) {
        if (!slice_eq(name, operator_names[i])) continue;
        c->operator=(enum operator) i;
        return true;
    }
    hook_report(
        b, true, tag, 0, "bad_when",
        "when.%.*s: no operator \"%.*s\"; there are = != < <= > >= in \"not in\" starts ends "
        "contains present absent",
        SLICE_FMT(tag), SLICE_FMT(name));
    return false;
}

static void check_values(struct hook_build *b, struct hook_condition *c, struct slice tag) {
    bool none = c->operator== PRESENT || c->operator== ABSENT;
    bool one = c->operator>= LESS && c->operator<= MORE_EQUAL;
    if (none ? c->values_count != 0 : c->values_count == 0 || (one && c->values_count != 1))
        hook_report(b, true, tag, 0, "bad_when", "when.%.*s: \"%.*s\" takes %s", SLICE_FMT(tag),
                    SLICE_FMT(operator_names[c->operator]),
                    none ? "no value" : one ? "one value" : "at least one value");
    c->number = c->values_count ? to_number(c->values[0]) : NAN;
    if (one && c->values_count == 1 && isnan(c->number))
        hook_report(b, true, tag, 0, "bad_when", "when.%.*s: \"%.*s\" compares with a number, not with \"%.*s\"",
                    SLICE_FMT(tag), SLICE_FMT(operator_names[c->operator]), SLICE_FMT(c->values[0]));
}

static void read_list(struct hook_build *b, struct hook_condition *c, struct slice tag,
                      struct json list) {
    size_t at = 0, count = 0;
    struct json item;
    while (json_next(list, &at, NULL, &item)) count++;
    c->values = arena_zalloc(&b->hook->arena, count + 1, sizeof *c->values);
    if (!c->values) return;
    at = 0;
    for (size_t i = 0; json_next(list, &at, NULL, &item); i++) {
        struct slice text = json_text(item, &b->hook->arena);
        if (i == 0 && item.type != JSON_STRING)
            hook_report(b, true, tag, 0, "bad_when", "when.%.*s: a list starts with its operator",
                        SLICE_FMT(tag));
        else if (i == 0)
            read_operator(b, c, tag, text);
        else
            c->values[c->values_count++] = text;
    }
    check_values(b, c, tag);
}

// The engine's own tags come before an event's, as they do in a template.
static void read_source(struct hook_build *b, struct hook_condition *c, struct slice tag) {
    c->tag = tag_intern(tag);
    if (c->tag == TAG_NONE && tag_count() == TAG_IDS_MAX)
        hook_report(b, true, tag, 0, "too_many_tags", "there are more than %d tag names",
                    TAG_IDS_MAX);
    else if (c->tag == TAG_NONE)
        b->hook->arena.no_memory = true; // as if the name lay there
    if (slice_eq(tag, S("EVENT"))) c->source = OF_TYPE;
    if (slice_eq(tag, S("EVENT_ID"))) c->source = OF_ID;
    bool name = slice_eq(tag, S("WEBHOOK_ID"));
    if (!name && !slice_eq(tag, S("ATTEMPT"))) return;
    c->source = FIXED;
    c->fixed = name ? b->hook->name : S("1"); // conditions are for the first attempt
}

static void read_condition(struct hook_build *b, struct slice tag, struct json value) {
    struct hook_condition *c = arena_zalloc(&b->hook->arena, 1, sizeof *c);
    if (!c) return;
    read_source(b, c, tag);
    if (value.type == JSON_ARRAY) {
        read_list(b, c, tag, value);
    } else if (value.type == JSON_OBJECT || value.type == JSON_NULL) {
        hook_report(b, true, tag, 0, "bad_when", "when.%.*s: a value or { operator, value }",
                    SLICE_FMT(tag));
    } else {
        c->operator= IS;
        c->values = arena_zalloc(&b->hook->arena, 1, sizeof *c->values);
        if (c->values) c->values[c->values_count++] = json_text(value, &b->hook->arena);
    }
    c->next = b->hook->when;
    b->hook->when = c;
}

void hook_read_when(struct hook_build *b, struct json when) {
    if (when.type == JSON_NONE) return;
    if (when.type != JSON_OBJECT && when.raw.n > 2) { // an empty Lua table may come as []
        hook_report_key(b, "when", "when is a table of TAG = condition");
        return;
    }
    size_t at = 0;
    struct slice key;
    struct json value;
    while (when.type == JSON_OBJECT && json_next(when, &at, &key, &value)) {
        if (tag_name_valid(key))
            read_condition(b, key, value);
        else
            hook_report(b, true, key, 0, "bad_when", "when.%.*s: not a tag name", SLICE_FMT(key));
    }
}
