// The walking half: what callers do with a text that json_check has passed.
// Nothing here trusts that it did with more than wrong answers: every step is
// bounded by the text.
#include <math.h>
#include <stdlib.h>

#include "json.h"
#include "json_scan.h"
#include "utf8.h"

const char *json_string_end(const char *p, const char *end) {
    for (; p < end && *p != '"'; p++)
        if (*p == '\\' && p + 1 < end) p++;
    return p;
}

// Behind the string whose opening quote is at `p`.
static const char *skip_string(const char *p, const char *end) {
    p = json_string_end(p + 1, end);
    return p < end ? p + 1 : end;
}

static const char *skip_container(const char *p, const char *end) {
    size_t depth = 0;
    while (p < end) {
        if (*p == '"') {
            p = skip_string(p, end);
            continue;
        }
        if (*p == '{' || *p == '[') depth++;
        if (*p == '}' || *p == ']') depth--;
        p++;
        if (!depth) break;
    }
    return p;
}

static const char *skip_value(const char *p, const char *end) {
    if (p < end && *p == '"') return skip_string(p, end);
    if (p < end && (*p == '{' || *p == '[')) return skip_container(p, end);
    while (p < end && !json_is_blank(*p) && *p != ',' && *p != '}' && *p != ']') p++;
    return p;
}

static enum json_type type_of(char first) {
    switch (first) {
    case 'n': return JSON_NULL;
    case 'f': return JSON_FALSE;
    case 't': return JSON_TRUE;
    case '"': return JSON_STRING;
    case '[': return JSON_ARRAY;
    case '{': return JSON_OBJECT;
    default: return JSON_NUMBER;
    }
}

static struct json value_at(const char *p, const char *end) {
    if (p == end) return (struct json){ .type = JSON_NONE };
    return (struct json){ type_of(*p), slice(p, (size_t)(skip_value(p, end) - p)) };
}

struct json json_root(struct slice text) {
    if (!text.n) return (struct json){ .type = JSON_NONE };
    return value_at(json_skip_blanks(text.p, text.p + text.n), text.p + text.n);
}

static const char *skip_key(const char *p, const char *end, struct slice *key) {
    const char *last = json_string_end(p + 1, end);
    if (key) *key = slice(p + 1, (size_t)(last - p) - 1);
    p = json_skip_blanks(last < end ? last + 1 : end, end);
    if (p < end) p++; // the colon
    return json_skip_blanks(p, end);
}

bool json_next(struct json container, size_t *at, struct slice *key, struct json *value) {
    bool object = container.type == JSON_OBJECT;
    if ((!object && container.type != JSON_ARRAY) || *at >= container.raw.n) return false;
    const char *end = container.raw.p + container.raw.n;
    const char *p = json_skip_blanks(container.raw.p + (*at ? *at : 1), end);
    if (p < end && *at && *p == ',') p = json_skip_blanks(p + 1, end);
    if (p == end || *p == '}' || *p == ']') {
        *at = container.raw.n;
        return false;
    }
    if (object) {
        p = skip_key(p, end, key);
    } else if (key) {
        *key = slice(NULL, 0);
    }
    *value = value_at(p, end);
    *at = value->type == JSON_NONE ? container.raw.n
                                   : (size_t)(value->raw.p + value->raw.n - container.raw.p);
    return value->type != JSON_NONE;
}

static unsigned hex4(const char *p) {
    unsigned value = 0;
    for (int i = 0; i < 4; i++) {
        unsigned c = (unsigned char)p[i];
        value = value << 4 | (c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10);
    }
    return value & 0xFFFF;
}

size_t json_undo_escape(struct slice in, char *out, size_t *n) {
    static const char from[] = "bfnrt", to[] = "\b\f\n\r\t";
    *n = 1;
    if (in.n < 2) {
        *out = '\\';
        return in.n;
    }
    if (in.p[1] != 'u' || in.n < 6) {
        const char *hit = in.p[1] ? strchr(from, in.p[1]) : NULL;
        *out = hit ? to[hit - from] : in.p[1];
        return 2;
    }
    uint32_t c = hex4(in.p + 2);
    size_t used = 6;
    if (c >= 0xD800 && c <= 0xDBFF && in.n >= 12) {
        c = 0x10000 + ((c & 0x3FF) << 10) + (hex4(in.p + 8) & 0x3FF);
        used = 12;
    }
    *n = utf8_encode(c, out);
    return used;
}

size_t json_unescape(struct slice raw, char *out) {
    size_t n = 0;
    while (raw.n) {
        size_t plain = slice_find(raw, '\\');
        if (plain) memmove(out + n, raw.p, plain);
        n += plain;
        raw = slice_from(raw, plain);
        if (!raw.n) break;
        size_t made;
        raw = slice_from(raw, json_undo_escape(raw, out + n, &made));
        n += made;
    }
    return n;
}

bool json_key_is(struct slice raw, struct slice key) {
    if (slice_find(raw, '\\') == raw.n) return slice_eq(raw, key);
    for (;;) {
        size_t plain = slice_find(raw, '\\');
        if (!slice_starts(key, slice(raw.p, plain))) return false;
        raw = slice_from(raw, plain);
        key = slice_from(key, plain);
        if (!raw.n) return !key.n;
        char out[4];
        size_t made;
        raw = slice_from(raw, json_undo_escape(raw, out, &made));
        if (!slice_starts(key, slice(out, made))) return false;
        key = slice_from(key, made);
    }
}

struct json json_get(struct json object, const char *key) {
    struct json found = { .type = JSON_NONE }, value;
    if (object.type != JSON_OBJECT) return found;
    struct slice name, wanted = slice_str(key);
    for (size_t at = 0; json_next(object, &at, &name, &value);)
        if (json_key_is(name, wanted)) found = value;
    return found;
}

struct slice json_text(struct json value, struct arena *arena) {
    if (value.type != JSON_STRING) return value.raw.p ? value.raw : slice("", 0);
    struct slice content = slice(value.raw.p + 1, value.raw.n >= 2 ? value.raw.n - 2 : 0);
    if (slice_find(content, '\\') == content.n) return content;
    char *out = arena_alloc(arena, content.n);
    return out ? slice(out, json_unescape(content, out)) : slice(NULL, 0);
}

bool json_is_number(struct slice text) {
    struct json_scan scan;
    json_scan_init(&scan, text, (struct json_limits){ 0 });
    return json_scan_number(&scan) && scan.p == scan.end;
}

bool json_int(struct json value, int64_t *out) {
    if (value.type != JSON_NUMBER || !json_is_number(value.raw)) return false;
    bool negative = value.raw.p[0] == '-';
    struct slice digits = slice_from(value.raw, negative);
    uint64_t limit = negative ? (uint64_t)1 << 63 : INT64_MAX, sum = 0;
    for (size_t i = 0; i < digits.n; i++) {
        if (digits.p[i] < '0' || digits.p[i] > '9') return false;
        uint64_t digit = (uint64_t)(digits.p[i] - '0');
        if (sum > (limit - digit) / 10) return false;
        sum = sum * 10 + digit;
    }
    *out = negative ? (int64_t)(0 - sum) : (int64_t)sum;
    return true;
}

bool json_double(struct json value, double *out) {
    char few[128], *text = few;
    if (value.type != JSON_NUMBER || !json_is_number(value.raw)) return false;
    // strtod wants a NUL behind the digits, and the value is in the midst of its text.
    if (value.raw.n >= sizeof few && !(text = malloc(value.raw.n + 1))) return false;
    memcpy(text, value.raw.p, value.raw.n);
    text[value.raw.n] = '\0';
    double number = strtod(text, NULL);
    if (text != few) free(text);
    if (isinf(number)) return false;
    *out = number;
    return true;
}
