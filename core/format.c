// The table of formatters, their arguments, and the ones that work on bytes.
// A chain alternates between two scratch buffers, so each formatter reads one
// and writes the other.
#include "format.h"

#include <stdio.h>

#include "escape.h"
#include "format_inner.h"
#include "sign.h"
#include "utf8.h"

enum op {
    UPPER,
    LOWER,
    TRIM,
    DIGITS,
    NOPLUS,
    E164,
    INT,
    ROUND,
    DATE,
    UNIX,
    SHA256,
    B64,
    URLENC,
    JSON,
    RAW,
    SUBSTR,
    MAP,
};

static const char *const names[] = {
    [UPPER] = "upper",   [LOWER] = "lower", [TRIM] = "trim",     [DIGITS] = "digits",
    [NOPLUS] = "noplus", [E164] = "e164",   [INT] = "int",       [ROUND] = "round",
    [DATE] = "date",     [UNIX] = "unix",   [SHA256] = "sha256", [B64] = "b64",
    [URLENC] = "urlenc", [JSON] = "json",   [RAW] = "raw",       [SUBSTR] = "substr",
    [MAP] = "map",
};

enum { ROUND_PLACES_MAX = 12, SUBSTR_MAX = 1 << 20 };

static bool name_byte(char c, bool first) {
    return (c >= 'a' && c <= 'z') || (!first && c >= '0' && c <= '9');
}

static bool arg_byte(char c) {
    return (unsigned char)c >= 0x20 && c != 0x7F && !strchr("[]()\"\\", c);
}

size_t format_scan(struct slice text, struct format_text *out) {
    size_t n = 0;
    while (n < text.n && name_byte(text.p[n], n == 0)) n++;
    if (!n) return 0;
    *out = (struct format_text){ .name = slice(text.p, n) };
    if (n == text.n || text.p[n] != '(') return n;
    size_t end = n + 1;
    while (end < text.n && arg_byte(text.p[end])) end++;
    if (end == text.n || text.p[end] != ')') return 0;
    out->has_args = true;
    out->args = slice(text.p + n + 1, end - n - 1);
    return end + 1;
}

// A decimal integer of at most seven digits, blanks around it allowed.
static bool read_int(struct slice text, int32_t *out) {
    text = slice_trim(text);
    bool negative = text.n && text.p[0] == '-';
    if (negative) text = slice_from(text, 1);
    if (!text.n || text.n > 7) return false;
    int32_t value = 0;
    for (size_t i = 0; i < text.n; i++) {
        if (text.p[i] < '0' || text.p[i] > '9') return false;
        value = value * 10 + (text.p[i] - '0');
    }
    *out = negative ? -value : value;
    return true;
}

static bool substr_args(struct format *f) {
    size_t comma = slice_find(f->args, ',');
    f->n = SUBSTR_MAX;
    if (!read_int(slice(f->args.p, comma), &f->i)) return false;
    return comma == f->args.n || (read_int(slice_from(f->args, comma + 1), &f->n) && f->n >= 0);
}

// Takes the next KEY=VALUE from *pairs; false when it has no '='.
static bool next_pair(struct slice *pairs, struct slice *key, struct slice *value) {
    size_t end = slice_find(*pairs, ',');
    struct slice pair = slice(pairs->p, end);
    size_t equals = slice_find(pair, '=');
    *pairs = slice_from(*pairs, end + 1);
    *key = slice_trim(slice(pair.p, equals));
    *value = slice_trim(slice_from(pair, equals + 1));
    return equals < pair.n;
}

static bool map_args(struct format *f) {
    struct slice pairs = f->args, key, value;
    if (!pairs.n) return false;
    while (pairs.n)
        if (!next_pair(&pairs, &key, &value)) return false;
    return true;
}

// What is wrong with the arguments, or NULL.
static const char *check_args(struct format *f, bool has_args) {
    switch (f->op) {
    case ROUND:
        if (has_args && read_int(f->args, &f->n) && f->n >= 0 && f->n <= ROUND_PLACES_MAX)
            return NULL;
        return "round(n) takes a number of places from 0 to 12";
    case DATE:
        return has_args && format_time_layout_valid(f->args)
                   ? NULL
                   : "date(fmt) takes a format such as %Y-%m-%dT%H:%M:%SZ";
    case SUBSTR:
        return has_args && substr_args(f) ? NULL : "substr(i,n) takes a start and a length";
    case MAP: return has_args && map_args(f) ? NULL : "map(a=b,c=d) takes pairs";
    default: return has_args ? "takes no arguments" : NULL;
    }
}

enum err format_compile(const struct format_text *text, struct format *out, struct fail *fail) {
    for (uint8_t op = 0; op < sizeof names / sizeof names[0]; op++) {
        if (!slice_eq(text->name, slice_str(names[op]))) continue;
        *out = (struct format){ .op = op, .args = text->args };
        const char *wrong = check_args(out, text->has_args);
        return wrong ? fail_set(fail, ERR_INPUT, 0, "bad_formatter", "%s: %s", names[op], wrong)
                     : OK;
    }
    return fail_set(fail, ERR_INPUT, 0, "unknown_formatter", "there is no formatter \"%.*s\"",
                    SLICE_FMT(text->name));
}

bool format_skips_escaping(const struct format *format) {
    return format->op == JSON || format->op == RAW;
}

bool format_is_raw(const struct format *format) {
    return format->op == RAW;
}

static void change_case(struct slice text, char first, struct buf *out) {
    char *to = buf_reserve(out, text.n + 1);
    if (!to) return;
    for (size_t i = 0; i < text.n; i++) {
        char c = text.p[i];
        to[i] = c >= first && c <= first + 25 ? (char)(c ^ 0x20) : c;
    }
    out->n += text.n;
}

static void keep_digits(struct slice text, struct buf *out) {
    for (size_t i = 0; i < text.n; i++)
        if (text.p[i] >= '0' && text.p[i] <= '9') buf_byte(out, text.p[i]);
}

static struct slice trim(struct slice s) {
    while (s.n && strchr(" \t\n\v\f\r", s.p[0]) && s.p[0]) s.p++, s.n--;
    while (s.n && strchr(" \t\n\v\f\r", s.p[s.n - 1]) && s.p[s.n - 1]) s.n--;
    return s;
}

// Bytes of the first `points` code points; a byte outside UTF-8 counts as one.
static size_t bytes_of(struct slice s, int64_t points) {
    size_t at = 0;
    for (; points > 0 && at < s.n; points--) {
        size_t n = utf8_sequence(slice_from(s, at));
        at += n ? n : 1;
    }
    return at;
}

static struct slice substr(const struct format *f, struct slice s) {
    int64_t from = f->i;
    if (from < 0) {
        int64_t count = 0;
        for (size_t at = 0; at < s.n; count++) at += bytes_of(slice_from(s, at), 1);
        from = count + from < 0 ? 0 : count + from;
    }
    s = slice_from(s, bytes_of(s, from));
    return slice(s.p, bytes_of(s, f->n));
}

static struct slice mapped(const struct format *f, struct slice s) {
    struct slice pairs = f->args, key, value;
    while (pairs.n)
        if (next_pair(&pairs, &key, &value) && slice_eq(key, s)) return value;
    return s;
}

static void add_sha256(struct slice text, struct buf *out) {
    uint8_t digest[32];
    char hex[64];
    hash_sha256(text, digest);
    hex_encode(digest, sizeof digest, hex);
    buf_add(out, slice(hex, sizeof hex));
}

static void add_base64(struct slice text, struct buf *out) {
    char *to = buf_reserve(out, 4 * ((text.n + 2) / 3) + 1);
    if (to) out->n += base64_encode((const uint8_t *)text.p, text.n, to);
}

static void add_urlenc(struct slice text, struct buf *out) {
    char *to = buf_reserve(out, ESCAPE_URL_GROWTH * text.n + ESCAPE_SLACK);
    if (to) out->n += (size_t)(escape->url(to, text) - to);
}

static void add_json(const struct format_value *v, struct buf *out) {
    if (v->kind == TAG_NULL)
        buf_add(out, S("null"));
    else if (v->kind == TAG_STRING)
        buf_json(out, v->text);
    else
        buf_add(out, v->text);
}

// The formatters whose result is part of what is there already.
static bool apply_in_place(const struct format *f, struct format_value *v) {
    switch (f->op) {
    case RAW: return true;
    case TRIM: v->text = trim(v->text); return true;
    case NOPLUS: v->text = slice_from(v->text, v->text.n && v->text.p[0] == '+'); return true;
    case SUBSTR: v->text = substr(f, v->text); return true;
    case MAP: v->text = mapped(f, v->text); return true;
    default: return false;
    }
}

// Writes the result to `out`; false when the value stays as it is.
static bool apply_to(const struct format *f, const struct format_value *v, struct buf *out) {
    switch (f->op) {
    case UPPER: return change_case(v->text, 'a', out), true;
    case LOWER: return change_case(v->text, 'A', out), true;
    case DIGITS: return keep_digits(v->text, out), true;
    case E164: return format_e164(v->text, out);
    case INT: return format_number_int(v->text, out);
    case ROUND: return format_number_round(v->text, f->n, out);
    case DATE: return format_time_date(v->text, f->args, out);
    case UNIX: return format_time_unix(v->text, out);
    case SHA256: return add_sha256(v->text, out), true;
    case B64: return add_base64(v->text, out), true;
    case URLENC: return add_urlenc(v->text, out), true;
    default: return add_json(v, out), true;
    }
}

enum err format_apply(const struct format *formats, size_t count, struct format_value *value,
                      struct format_scratch *scratch) {
    unsigned turn = 0;
    for (size_t i = 0; i < count; i++) {
        const struct format *f = &formats[i];
        if (value->text.n > FORMAT_INPUT_MAX) return ERR_LIMIT;
        if (!apply_in_place(f, value)) {
            struct buf *out = &scratch->turns[turn];
            // More than any formatter makes of the longest input.
            out->max = 16 * FORMAT_INPUT_MAX;
            buf_clear(out);
            if (!apply_to(f, value, out)) continue;
            turn ^= 1;
            if (out->failed) return ERR_NOMEM;
            value->text = slice(out->p ? out->p : "", out->n);
        }
        bool still_null = value->kind == TAG_NULL && !value->text.n;
        if (f->op != RAW && !still_null) value->kind = TAG_STRING;
    }
    return OK;
}
