// Cutting a request body into events without reading them: only strings and
// brackets are followed, so a broken element harms no other one.
#include "event_inner.h"

// Behind the string whose opening quote is at `p`, or NULL when it does not end.
static const char *skip_string(const char *p, const char *end) {
    for (p++; (p = json_skip_plain(p, end)) < end; p++) {
        if (*p == '"') return p + 1;
        if (*p == '\\' && p + 1 < end) p++;
    }
    return NULL;
}

// The comma or bracket that ends the array element at `p`; NULL when none does.
static const char *skip_element(const char *p, const char *end) {
    size_t depth = 0;
    while (p < end) {
        if (!depth && (*p == ',' || *p == ']')) return p;
        if (*p == '"') {
            p = skip_string(p, end);
            if (!p) return NULL;
            continue;
        }
        if (*p == '{' || *p == '[') depth++;
        if (depth && (*p == '}' || *p == ']')) depth--;
        p++;
    }
    return NULL;
}

struct items {
    struct slice list[EVENT_BATCH_MAX];
    size_t count;
};

static enum err too_many(struct fail *fail, size_t at) {
    fail_path(fail, "/%d", EVENT_BATCH_MAX);
    return fail_set(fail, ERR_LIMIT, at, "too_many_events", "a request holds at most %d events",
                    EVENT_BATCH_MAX);
}

static enum err broken(struct fail *fail, size_t at, size_t index, const char *problem) {
    fail_path(fail, "/%zu", index);
    return fail_set(fail, ERR_INPUT, at, "invalid_json", "%s (byte %zu)", problem, at);
}

static enum err split_array(struct slice body, const char *p, struct items *items,
                            struct fail *fail) {
    const char *end = body.p + body.n;
    p = json_skip_blanks(p + 1, end);
    bool more = p == end || *p != ']';
    while (more) {
        const char *last = skip_element(p, end);
        if (!last) return broken(fail, body.n, items->count, "the array of events does not end");
        if (items->count == EVENT_BATCH_MAX) return too_many(fail, (size_t)(p - body.p));
        struct slice item = slice(p, (size_t)(last - p));
        while (item.n && json_is_blank(item.p[item.n - 1])) item.n--;
        if (!item.n)
            return broken(fail, (size_t)(last - body.p), items->count, "an event belongs here");
        items->list[items->count++] = item;
        more = *last == ',';
        p = more ? json_skip_blanks(last + 1, end) : last;
    }
    p = json_skip_blanks(p + 1, end);
    if (p == end) return OK;
    fail_path(fail, "%s", "");
    return fail_set(fail, ERR_INPUT, (size_t)(p - body.p), "invalid_json",
                    "nothing may follow the array of events (byte %zu)", (size_t)(p - body.p));
}

static enum err split_lines(struct slice body, struct items *items, struct fail *fail) {
    for (size_t at = 0; at < body.n;) {
        struct slice rest = slice_from(body, at);
        struct slice line = slice(rest.p, slice_find(rest, '\n'));
        size_t start = at;
        at += line.n + 1;
        while (line.n && json_is_blank(*line.p)) line = slice_from(line, 1), start++;
        while (line.n && json_is_blank(line.p[line.n - 1])) line.n--;
        if (!line.n) continue;
        if (items->count == EVENT_BATCH_MAX) return too_many(fail, start);
        items->list[items->count++] = line;
    }
    return OK;
}

static enum err split_body(struct slice body, struct items *items, struct fail *fail) {
    const char *end = body.p + body.n, *p = json_skip_blanks(body.p, end);
    if (p == end) {
        fail_path(fail, "%s", "");
        return fail_set(fail, ERR_INPUT, 0, "invalid_json", "the body is empty");
    }
    if (*p == '[') return split_array(body, p, items, fail);
    while (json_is_blank(end[-1])) end--;
    items->list[items->count++] = slice(p, (size_t)(end - p));
    return OK;
}

enum err event_split(struct slice body, enum event_layout layout,
                     bool (*item)(void *user, struct slice json, size_t offset), void *user,
                     struct fail *fail) {
    struct items items;
    items.count = 0;
    if (!body.p) body = S("");
    enum err err = layout == EVENT_LAYOUT_NDJSON ? split_lines(body, &items, fail)
                                                 : split_body(body, &items, fail);
    for (size_t i = 0; !err && i < items.count; i++)
        if (!item(user, items.list[i], (size_t)(items.list[i].p - body.p))) break;
    return err;
}
