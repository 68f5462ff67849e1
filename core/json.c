// The strict checker. A loop with one bit per open container instead of
// recursion, so hostile depth costs neither stack nor time; every byte is
// looked at once. Rejected: accepting what lenient readers accept (comments,
// NaN, trailing commas, lone surrogates), because two readers that disagree on
// a text are how payloads get smuggled.
#include "json.h"

#include <assert.h>

#include "json_scan.h"
#include "utf8.h"

void json_scan_init(struct json_scan *scan, struct slice text, struct json_limits limits) {
    unsigned depth = limits.depth_max;
    *scan = (struct json_scan){
        .start = text.p,
        .p = text.p,
        .end = text.n ? text.p + text.n : text.p,
        .depth_max = depth == 0 || depth > JSON_DEPTH_CAP ? JSON_DEPTH_CAP : depth,
        .values_left = limits.values_max ? limits.values_max : SIZE_MAX,
        .keys_left = SIZE_MAX,
    };
}

bool json_scan_refuse(struct json_scan *scan, enum err code, const char *type,
                      const char *problem) {
    scan->code = code;
    scan->type = type;
    scan->problem = problem;
    return false;
}

static bool refuse(struct json_scan *scan, const char *problem) {
    return json_scan_refuse(scan, ERR_INPUT, "invalid_json",
                            scan->p < scan->end ? problem : "the text ends too early");
}

enum err json_scan_fail(const struct json_scan *scan, struct fail *fail) {
    assert(scan->code);
    size_t at = (size_t)(scan->p - scan->start);
    if (fail) json_pointer(slice(scan->start, (size_t)(scan->end - scan->start)), at, fail);
    return fail_set(fail, scan->code, at, scan->type, "%s (byte %zu)", scan->problem, at);
}

static int hex_digit(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

// The four hex digits behind "\u" at `p`, or -1. Stops at `end`.
static int32_t hex4(const char *p, const char *end) {
    int32_t value = 0;
    if (end - p < 4) return -1;
    for (int i = 0; i < 4; i++) {
        int digit = hex_digit(p[i]);
        if (digit < 0) return -1;
        value = value << 4 | digit;
    }
    return value;
}

static bool scan_unicode(struct json_scan *scan) {
    const char *p = scan->p; // at the backslash
    int32_t first = hex4(p + 2, scan->end);
    if (first < 0) return refuse(scan, "\\u needs four hexadecimal digits");
    scan->p = p + 6;
    if (first < 0xD800 || first > 0xDFFF) return true;
    bool low_follows = first <= 0xDBFF && scan->end - scan->p >= 6 && p[6] == '\\' && p[7] == 'u';
    int32_t second = low_follows ? hex4(p + 8, scan->end) : -1;
    if (second < 0xDC00 || second > 0xDFFF) {
        scan->p = p;
        return json_scan_refuse(scan, ERR_INPUT, "invalid_utf8",
                                "a surrogate escape without its other half");
    }
    scan->p = p + 12;
    return true;
}

static bool scan_escape(struct json_scan *scan) {
    if (scan->end - scan->p < 2) {
        scan->p = scan->end;
        return refuse(scan, "");
    }
    if (scan->p[1] == 'u') return scan_unicode(scan);
    if (!scan->p[1] || !strchr("\"\\/bfnrt", scan->p[1]))
        return refuse(scan, "there is no such escape");
    scan->p += 2;
    return true;
}

// At a byte that ends plain content but does not close the string.
static bool scan_special(struct json_scan *scan) {
    if (*scan->p == '\\') return scan_escape(scan);
    if ((unsigned char)*scan->p < 0x20)
        return refuse(scan, "a control byte inside a string must be escaped");
    size_t n = utf8_sequence(slice(scan->p, (size_t)(scan->end - scan->p)));
    if (!n) return json_scan_refuse(scan, ERR_INPUT, "invalid_utf8", "this is not UTF-8");
    scan->p += n;
    return true;
}

bool json_scan_string(struct json_scan *scan, struct slice *content, bool *escaped) {
    const char *first = scan->p;
    *escaped = false;
    for (;;) {
        scan->p = json_skip_plain(scan->p, scan->end);
        if (scan->p == scan->end) return refuse(scan, "");
        if (*scan->p == '"') break;
        *escaped |= *scan->p == '\\';
        if (!scan_special(scan)) return false;
    }
    *content = slice(first, (size_t)(scan->p - first));
    scan->p++;
    return true;
}

static bool skip_digits(struct json_scan *scan) {
    const char *first = scan->p;
    while (scan->p < scan->end && *scan->p >= '0' && *scan->p <= '9') scan->p++;
    return scan->p > first;
}

static bool next_is(const struct json_scan *scan, const char *any_of) {
    return scan->p < scan->end && *scan->p && strchr(any_of, *scan->p);
}

bool json_scan_number(struct json_scan *scan) {
    if (next_is(scan, "-")) scan->p++;
    if (next_is(scan, "0")) {
        scan->p++;
        if (next_is(scan, "0123456789")) return refuse(scan, "a number has no leading zero");
    } else if (!skip_digits(scan)) {
        return refuse(scan, "a digit belongs here");
    }
    if (next_is(scan, ".")) {
        scan->p++;
        if (!skip_digits(scan)) return refuse(scan, "a digit belongs behind the point");
    }
    if (next_is(scan, "eE")) {
        scan->p++;
        if (next_is(scan, "+-")) scan->p++;
        if (!skip_digits(scan)) return refuse(scan, "a digit belongs in the exponent");
    }
    return true;
}

static bool scan_literal(struct json_scan *scan, struct slice word) {
    for (size_t i = 0; i < word.n; i++, scan->p++)
        if (scan->p == scan->end || *scan->p != word.p[i])
            return refuse(scan, "only true, false and null are words in JSON");
    return true;
}

static bool scan_scalar(struct json_scan *scan) {
    struct slice content;
    bool escaped;
    if (scan->p == scan->end) return refuse(scan, "");
    switch (*scan->p) {
    case '"': scan->p++; return json_scan_string(scan, &content, &escaped);
    case 't': return scan_literal(scan, S("true"));
    case 'f': return scan_literal(scan, S("false"));
    case 'n': return scan_literal(scan, S("null"));
    default: break;
    }
    bool digit = *scan->p >= '0' && *scan->p <= '9';
    return digit || *scan->p == '-' ? json_scan_number(scan) : refuse(scan, "a value belongs here");
}

// A member's key and colon.
static bool scan_key(struct json_scan *scan) {
    struct slice key;
    bool escaped;
    if (scan->p == scan->end || *scan->p != '"') return refuse(scan, "a quoted key belongs here");
    if (!scan->keys_left)
        return json_scan_refuse(scan, ERR_LIMIT, "too_many_keys", "too many object members");
    scan->keys_left--;
    scan->p++;
    if (!json_scan_string(scan, &key, &escaped)) return false;
    scan->p = json_skip_blanks(scan->p, scan->end);
    if (scan->p == scan->end || *scan->p != ':') return refuse(scan, "a colon belongs here");
    scan->p = json_skip_blanks(scan->p + 1, scan->end);
    return true;
}

// Which of the open containers are objects: one bit each.
struct levels {
    unsigned depth;
    uint64_t objects[JSON_DEPTH_CAP / 64];
};

static bool in_object(const struct levels *levels) {
    unsigned at = levels->depth - 1;
    return levels->objects[at / 64] >> (at % 64) & 1;
}

static bool push(struct json_scan *scan, struct levels *levels, bool object) {
    if (levels->depth >= scan->depth_max)
        return json_scan_refuse(scan, ERR_LIMIT, "too_deep", "objects and arrays nest too deeply");
    uint64_t bit = (uint64_t)1 << (levels->depth % 64);
    uint64_t *word = &levels->objects[levels->depth / 64];
    *word = object ? *word | bit : *word & ~bit;
    levels->depth++;
    scan->p = json_skip_blanks(scan->p + 1, scan->end);
    return true;
}

// Behind a value: closes what ends here. Leaves the scan at the next value, or
// with no level open behind the last one.
static bool scan_after_value(struct json_scan *scan, struct levels *levels) {
    while (levels->depth) {
        bool object = in_object(levels);
        scan->p = json_skip_blanks(scan->p, scan->end);
        if (scan->p == scan->end) return refuse(scan, "");
        if (*scan->p == ',') {
            scan->p = json_skip_blanks(scan->p + 1, scan->end);
            return object ? scan_key(scan) : true;
        }
        if (*scan->p != (object ? '}' : ']'))
            return refuse(scan, object ? "a comma or } belongs here" : "a comma or ] belongs here");
        scan->p++;
        levels->depth--;
    }
    return true;
}

// Steps into the container at the scan; *empty when it closes at once.
static bool scan_open(struct json_scan *scan, struct levels *levels, bool *empty) {
    bool object = *scan->p == '{';
    if (!push(scan, levels, object)) return false;
    *empty = scan->p < scan->end && *scan->p == (object ? '}' : ']');
    if (*empty) {
        scan->p++;
        levels->depth--;
        return true;
    }
    return object ? scan_key(scan) : true;
}

bool json_scan_value(struct json_scan *scan) {
    struct levels levels;
    levels.depth = 0;
    do {
        if (!scan->values_left)
            return json_scan_refuse(scan, ERR_LIMIT, "too_many_values", "too many values");
        scan->values_left--;
        if (scan->p < scan->end && (*scan->p == '{' || *scan->p == '[')) {
            bool empty;
            if (!scan_open(scan, &levels, &empty)) return false;
            if (!empty) continue;
        } else if (!scan_scalar(scan)) {
            return false;
        }
        if (!scan_after_value(scan, &levels)) return false;
    } while (levels.depth);
    return true;
}

static bool scan_text(struct json_scan *scan) {
    if (slice_starts(slice(scan->p, (size_t)(scan->end - scan->p)), S("\xEF\xBB\xBF")))
        return refuse(scan, "a byte order mark is not JSON");
    scan->p = json_skip_blanks(scan->p, scan->end);
    if (!json_scan_value(scan)) return false;
    scan->p = json_skip_blanks(scan->p, scan->end);
    return scan->p == scan->end || refuse(scan, "nothing may follow the value");
}

enum err json_check(struct slice text, struct json_limits limits, struct fail *fail) {
    struct json_scan scan;
    json_scan_init(&scan, text, limits);
    return scan_text(&scan) ? OK : json_scan_fail(&scan, fail);
}
