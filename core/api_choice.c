// Which deliveries a request selects: the same names in a query string and in a
// JSON filter. Everything becomes bound values of a store_filter; nothing here
// ever becomes SQL text.
#include <stddef.h>

#include "api_inner.h"
#include "clock.h"
#include "json.h"

enum { TEXT_MAX = 256 };

static bool bad(struct fail *fail, struct slice name, const char *text) {
    if (!name.n) name = S("query");
    fail_set(fail, ERR_INPUT, 0, "bad_parameter", "%.*s: %s", SLICE_FMT(name), text);
    fail_path(fail, "%.*s", SLICE_FMT(name));
    return false;
}

static bool read_number(struct slice text, int64_t min, int64_t max, int64_t *out) {
    int64_t n = 0;
    if (!text.n || text.n > 18) return false;
    for (size_t i = 0; i < text.n; i++) {
        if (text.p[i] < '0' || text.p[i] > '9') return false;
        n = n * 10 + (text.p[i] - '0');
    }
    *out = n;
    return n >= min && n <= max;
}

static bool read_states(struct slice text, unsigned *states) {
    for (bool more = true; more;) {
        size_t comma = slice_find(text, ','), i = 0;
        struct slice name = slice(text.p, comma);
        while (i < DELIVERY_STATES && !slice_eq(name, slice_str(delivery_state_names[i]))) i++;
        if (i == DELIVERY_STATES) return false;
        *states |= 1u << i;
        more = comma < text.n;
        text = slice_from(text, comma + 1);
    }
    return true;
}

static bool read_time(struct slice text, int64_t *ms) {
    return read_number(text, 0, INT64_MAX, ms) || clock_parse(text, ms);
}

// One setting; `value` must live as long as the choice.
static bool set(struct choice *choice, bool paging, struct slice name, struct slice value,
                struct fail *fail) {
    struct store_filter *filter = &choice->filter;
    const struct {
        struct slice name;
        struct slice *to;
    } texts[] = { { S("webhook"), &choice->webhook },
                  { S("event"), &filter->event_id },
                  { S("type"), &filter->type },
                  { S("org"), &filter->org },
                  { S("text"), &filter->text } };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        if (!slice_eq(name, texts[i].name)) continue;
        *texts[i].to = value;
        return value.n <= TEXT_MAX || bad(fail, name, "too long");
    }
    if (slice_eq(name, S("state")))
        return read_states(value, &filter->states) ||
               bad(fail, name, "pending, delivered, exhausted, parked, filtered or dropped");
    if (slice_eq(name, S("from")) || slice_eq(name, S("from_ms")))
        return read_time(value, &filter->from_ms) || bad(fail, name, "no time");
    if (slice_eq(name, S("to")) || slice_eq(name, S("to_ms")))
        return read_time(value, &filter->to_ms) || bad(fail, name, "no time");
    if (paging && slice_eq(name, S("limit")))
        return read_number(value, 1, LIST_MAX, &choice->limit) || bad(fail, name, "1 to 500");
    if (paging && slice_eq(name, S("cursor")))
        return read_number(value, 1, INT64_MAX, &filter->before_delivery) ||
               bad(fail, name, "no cursor of this list");
    bad(fail, name, "unknown");
    fail_set(fail, ERR_INPUT, 0, "unknown_parameter", "there is no such parameter");
    return false;
}

// Undoes form encoding; p is NULL on a broken escape, a NUL or no memory.
static struct slice decode(struct slice raw, struct arena *arena) {
    char *out = arena_alloc(arena, raw.n + 1);
    size_t n = 0;
    for (size_t i = 0; out && i < raw.n; i++) {
        char c = raw.p[i] == '+' ? ' ' : raw.p[i];
        if (c == '%') {
            static const char digits[] = "00112233445566778899aAbBcCdDeEfF";
            const char *high = i + 2 < raw.n && raw.p[i + 1] ? strchr(digits, raw.p[i + 1]) : NULL;
            const char *low = high && raw.p[i + 2] ? strchr(digits, raw.p[i + 2]) : NULL;
            if (!low) return slice(NULL, 0);
            c = (char)((high - digits) / 2 * 16 + (low - digits) / 2);
            i += 2;
        }
        if (!c) return slice(NULL, 0);
        out[n++] = c;
    }
    return slice(out, out ? n : 0);
}

bool choice_from_query(struct choice *choice, struct slice query, struct arena *arena,
                       struct fail *fail) {
    *choice = (struct choice){ .limit = LIST_DEFAULT };
    while (query.n) {
        size_t end = slice_find(query, '&');
        struct slice pair = slice(query.p, end);
        size_t equals = slice_find(pair, '=');
        struct slice name = decode(slice(pair.p, equals), arena);
        struct slice value = decode(slice_from(pair, equals + 1), arena);
        if (!name.p || !value.p) return bad(fail, S("query"), "a broken escape");
        if (pair.n && !set(choice, true, name, value, fail)) return false;
        query = slice_from(query, end + 1);
    }
    return true;
}

bool choice_from_json(struct choice *choice, struct slice body, struct arena *arena,
                      struct fail *fail) {
    *choice = (struct choice){ .limit = LIST_MAX };
    if (!body.n) return true;
    if (json_check(body, (struct json_limits){ .depth_max = 4, .values_max = 64 }, fail) != OK)
        return false;
    struct json root = json_root(body), value;
    struct slice key;
    if (root.type != JSON_OBJECT) return bad(fail, S("filter"), "an object belongs here");
    for (size_t at = 0; json_next(root, &at, &key, &value);) {
        if (value.type != JSON_STRING && value.type != JSON_NUMBER)
            return bad(fail, key, "text or a number belongs here");
        struct slice text = json_text(value, arena);
        if (!text.p) return bad(fail, key, "out of memory");
        if (!set(choice, false, key, text, fail)) return false;
    }
    return true;
}
