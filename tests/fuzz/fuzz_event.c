// Events: what is taken is JSON to cJSON too, and its tags are the members that
// cJSON finds, the last of a name winning. Names known or not, wherever in a
// block the bytes lie, read portably or not, and after a restore: always the
// same event.
#include "escape.h"
#include "event.h"
#include "oracle.h"

enum { RECEIVED = 1764011510 };

// What the tags must be: our own walk over the tree that cJSON made.
static void compare_tag(struct event *event, const cJSON *tags, const cJSON *member) {
    char upper[TAG_NAME_MAX], other[TAG_NAME_MAX];
    size_t n, other_n;
    MUST(tag_name_from_key(slice_str(member->string), upper, &n));
    for (const cJSON *later = member->next; later; later = later->next)
        if (tag_name_from_key(slice_str(later->string), other, &other_n) &&
            slice_eq(slice(upper, n), slice(other, other_n)))
            return;
    struct tag_value v = tag_set_get_name(&event->tags, slice(upper, n));
    (void)tags;
    switch (member->type) {
    case cJSON_NULL: MUST(v.kind == TAG_NULL); break;
    case cJSON_True: MUST(v.kind == TAG_TRUE); break;
    case cJSON_False: MUST(v.kind == TAG_FALSE); break;
    case cJSON_Number: MUST(v.kind == TAG_NUMBER && json_is_number(slice(v.p, v.n))); break;
    case cJSON_String:
        MUST(v.kind == TAG_STRING);
        MUST(oracle_same_text(tag_value_text(v, &event->arena), member->valuestring));
        break;
    default:
        MUST(v.kind == TAG_JSON &&
             json_check(slice(v.p, v.n), (struct json_limits){ 0 }, NULL) == OK);
    }
}

static bool has_long_number(struct slice text) {
    size_t run = 0;
    for (size_t i = 0; i < text.n; i++) {
        bool in = text.p[i] && strchr("0123456789+-.eE", text.p[i]);
        run = in ? run + 1 : 0;
        if (run > 60) return true;
    }
    return false;
}

static void compare_with_oracle(struct event *event) {
    if (has_long_number(event->json)) return;
    cJSON *tags = oracle_parse(event->json.p, event->json.n);
    MUST(tags && tags->type == cJSON_Object);
    for (const cJSON *member = tags->child; member; member = member->next)
        compare_tag(event, tags, member);
    oracle_free(tags);
}

struct both {
    struct event *other;
    size_t count;
    bool intern;
};

static bool same_tag(void *user, struct slice name, struct tag_value value) {
    struct both *both = user;
    struct tag_value other = tag_set_get_name(&both->other->tags, name);
    MUST(other.kind == value.kind);
    MUST(slice_eq(tag_value_text(value, &both->other->arena),
                  tag_value_text(other, &both->other->arena)));
    if (both->intern && tag_count() < 500) tag_intern(name);
    both->count++;
    return true;
}

static void same_event(struct event *a, struct event *b, bool intern) {
    struct both there = { b, 0, intern }, back = { a, 0, false };
    MUST(b);
    MUST(slice_eq(a->type, b->type) && slice_eq(a->org, b->org) && slice_eq(a->trace, b->trace));
    MUST(a->time_ms == b->time_ms && slice_eq(a->json, b->json));
    MUST(!a->id_given || slice_eq(a->id, b->id));
    tag_set_each(&a->tags, same_tag, &there);
    tag_set_each(&b->tags, same_tag, &back);
    MUST(there.count == back.count);
}

static void check_taken(struct slice text, struct event *event) {
    MUST(json_check(text, (struct json_limits){ 0 }, NULL) == OK);
    MUST(event_type_valid(event->type) && event_id_valid(event->id));
    compare_with_oracle(event);
    struct event *restored = event_restore(event->id, event->type, event->org, event->time_ms,
                                           event->trace, event->json, NULL);
    same_event(event, restored, true);
    MUST(slice_eq(event->id, restored->id));
    event_unref(restored);
    char *moved = malloc(text.n + 37);
    memset(moved, ' ', 37);
    memcpy(moved + 37, text.p, text.n);
    struct fail fail;
    escape_force_portable(true);
    struct event *again = event_read(slice(moved, text.n + 37), RECEIVED, &fail);
    escape_force_portable(false);
    free(moved);
    if (again || text.n + 37 <= EVENT_BYTES_MAX) same_event(event, again, false);
    event_unref(again);
}

static bool check_item(void *user, struct slice json, size_t offset) {
    struct slice *body = user;
    MUST(json.n && offset + json.n <= body->n && json.p == body->p + offset);
    return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    oracle_load();
    char *copy = malloc(size ? size : 1);
    memcpy(copy, data, size);
    struct slice text = slice(copy, size);
    struct fail fail = { 0 };
    struct event *event = event_read(text, RECEIVED, &fail);
    if (event) {
        check_taken(text, event);
    } else {
        bool syntax = !strcmp(fail.type, "invalid_json") || !strcmp(fail.type, "invalid_utf8");
        MUST(fail.type[0] && fail.at <= size);
        if (syntax) MUST(json_check(text, (struct json_limits){ 0 }, NULL) != OK);
    }
    event_unref(event);
    event_split(text, EVENT_LAYOUT_JSON, check_item, &text, &fail);
    event_split(text, EVENT_LAYOUT_NDJSON, check_item, &text, &fail);
    struct event_attributes attributes = { .type = S("a.b") };
    event_unref(event_read_binary(&attributes, text, RECEIVED, &fail));
    free(copy);
    return 0;
}
