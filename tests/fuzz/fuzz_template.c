// Differential fuzzing of templates: a template and values made from the input
// are rendered by the engine, portable and AVX2, and by the byte-wise reference
// below, which knows nothing of ops and blobs: it walks the text each time. Then
// what the language promises of every output is checked on its own.
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "buf.h"
#include "format.h"
#include "json.h"
#include "template.h"
#include "utf8.h"

#define REQUIRE(condition)                                                                         \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%d: not true: %s\n", __LINE__, #condition);                           \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

enum { TAGS = 6, OUT_MAX = 1 << 16 };
static const char *const tag_names[TAGS] = { "A", "B", "CC", "D_1", "EMPTY", "LONG_NAME_OF_A_TAG" };

// ---- the input

struct input {
    struct slice bytes;
};

static unsigned draw(struct input *in, unsigned below) {
    if (!in->bytes.n) return 0;
    unsigned byte = (unsigned char)in->bytes.p[0];
    in->bytes = slice_from(in->bytes, 1);
    return byte % below;
}

struct given {
    bool present[TAGS];
    struct slice text[TAGS]; // the value itself
    uint16_t kind[TAGS];
};

static void take_values(struct input *in, struct given *g, struct tag_set *set) {
    for (int i = 0; i < TAGS; i++) {
        size_t n = draw(in, 4) ? draw(in, 40) : draw(in, 256) * 20;
        n = n < in->bytes.n ? n : in->bytes.n;
        g->text[i] = slice(in->bytes.p, n);
        in->bytes = slice_from(in->bytes, n);
        unsigned how = draw(in, 8);
        g->present[i] = how != 0;
        if (!how) continue;
        struct tag_value v = tag_text(g->text[i]);
        if (how == 1) {
            v = (struct tag_value){ .p = "null", .n = 4, .kind = TAG_NULL };
            g->text[i] = S("");
        } else if (how == 2 && utf8_check(g->text[i]) == n) {
            struct buf escaped;
            buf_init(&escaped, SIZE_MAX / 2);
            buf_json(&escaped, g->text[i]);
            struct slice kept = arena_dup(set->arena, slice(escaped.p + 1, escaped.n - 2));
            buf_deinit(&escaped);
            v = tag_text(kept);
            v.flags = TAG_ESCAPED | TAG_JSON_SAFE;
        }
        g->kind[i] = v.kind;
        tag_set_put(set, slice_str(tag_names[i]), v);
    }
}

// ---- a template from the input: any text, or one made by grammar

static void make_parts(struct input *in, struct buf *to, bool json) {
    static const char *const parts[] = {
        "[A]",
        "[B]",
        "[CC]",
        "[D_1]",
        "[EMPTY]",
        "[LONG_NAME_OF_A_TAG]",
        "[NONE]",
        "text",
        " ",
        "x=1",
        "[A|B]",
        "[NONE|CC]",
        "[NONE|\"d f\"]",
        "[EMPTY|D_1|\"[A]\"]",
        "[A:upper]",
        "[B:digits|CC:trim]",
        "[!A]",
        "[!NONE|B]",
        "[",
        "]",
        "[lower]",
        "[A B]",
        "[SECRET:K]",
        "[A|\"]\"]",
        "[ATTEMPT]",
        "[CC:substr(1,3)]",
        "[B:b64]",
        "[D_1:json]",
        "[A:raw]",
        "a long literal text of more than 32 bytes, plain",
        "\xC3\xA9",
        "&",
        "?",
        "#",
        "/",
        "[[A]]",
        "[A][B]",
    };
    for (unsigned i = draw(in, 5); i > 0; i--) {
        const char *part = parts[draw(in, sizeof parts / sizeof parts[0])];
        buf_add(to, json && strchr(part, '"') ? S("[A|B|CC]") : slice_str(part));
    }
}

static void make_json(struct input *in, struct buf *to, int depth) {
    static const char *const bare[] = { "[A]",          "[B]",       "[CC]",         "[NONE]",
                                        "[EMPTY|NONE]", "[A|\"x\"]", "true",         "null",
                                        "1.50",         "[]",        "[D_1:digits]", "[A:json]" };
    static const char *const blanks[] = { "", " ", "\n", "" };
    unsigned kind = draw(in, depth > 3 ? 2 : 4);
    buf_add(to, slice_str(blanks[draw(in, 4)]));
    if (kind == 0) buf_add(to, slice_str(bare[draw(in, sizeof bare / sizeof bare[0])]));
    if (kind == 1) {
        buf_byte(to, '"');
        make_parts(in, to, true);
        buf_byte(to, '"');
    }
    if (kind >= 2) {
        buf_byte(to, kind == 2 ? '{' : '[');
        for (unsigned i = 0, n = draw(in, 4); i < n; i++) {
            if (i) buf_byte(to, ',');
            if (kind == 2) {
                buf_add(to, slice_str(blanks[draw(in, 4)]));
                buf_byte(to, '"');
                make_parts(in, to, true);
                buf_add(to, S("\":"));
            }
            make_json(in, to, depth + 1);
        }
        buf_byte(to, kind == 2 ? '}' : ']');
    }
    buf_add(to, slice_str(blanks[draw(in, 4)]));
}

static void make_template(struct input *in, enum template_place place, struct buf *to) {
    bool grammar = draw(in, 8) != 0;
    if (place == TEMPLATE_URL) buf_add(to, draw(in, 2) ? S("https://h:1/") : S("http://[::1]?"));
    if (!grammar) {
        size_t n = draw(in, 256);
        n = n < in->bytes.n ? n : in->bytes.n;
        buf_add(to, slice(in->bytes.p, n));
        in->bytes = slice_from(in->bytes, n);
    } else if (place == TEMPLATE_JSON)
        make_json(in, to, 0);
    else {
        for (int i = 0; i < 4; i++) make_parts(in, to, false);
    }
}

// ---- the reference: one placeholder

struct reference {
    struct slice text;
    size_t at;
    enum template_place place;
    enum template_missing missing;
    const struct given *given;
    struct buf *out;
    bool in_string; // of a JSON template
    bool dropped;   // a tag lacked under omit
    bool failed;    // a tag lacked under fail
};

static char peek(const struct reference *r, size_t at) {
    return at < r->text.n ? r->text.p[at] : 0;
}

static size_t name_at(const struct reference *r, size_t at) {
    size_t n = 0;
    while (at + n < r->text.n &&
           strchr(n ? "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_" : "ABCDEFGHIJKLMNOPQRSTUVWXYZ",
                  peek(r, at + n)) &&
           peek(r, at + n))
        n++;
    return n <= 64 ? n : 0;
}

// One alternative's value: from the tags, or the default in quotes.
struct value {
    struct slice text;
    bool found, null, skips, raw;
};

static struct value tag_value_of(const struct reference *r, struct slice name) {
    for (int i = 0; i < TAGS; i++)
        if (slice_eq(name, slice_str(tag_names[i])) && r->given->present[i])
            return (struct value){ .text = r->given->text[i],
                                   .found = true,
                                   .null = r->given->kind[i] == TAG_NULL };
    return (struct value){ .text = S("") };
}

static struct format_scratch scratch;
static char copies[16][OUT_MAX];
static unsigned copies_count;

static void apply(struct value *v, struct slice one) {
    struct format_text text;
    struct format f;
    REQUIRE(format_scan(one, &text) == one.n && !format_compile(&text, &f, NULL));
    struct format_value value = { v->text, v->null ? TAG_NULL : TAG_STRING };
    if (!v->found) return;
    REQUIRE(!format_apply(&f, 1, &value, &scratch));
    char *copy = copies[copies_count++ % 16];
    REQUIRE(value.text.n <= OUT_MAX);
    if (value.text.n) memcpy(copy, value.text.p, value.text.n);
    v->text = slice(copy, value.text.n);
    v->null = v->null && value.kind == TAG_NULL;
    v->skips = v->skips || format_skips_escaping(&f);
    v->raw = v->raw || format_is_raw(&f);
}

// Reads the placeholder at r->at. Returns its length, or 0 for literal text.
static size_t placeholder(struct reference *r, bool *literal, struct slice *secret,
                          struct value *out) {
    size_t at = r->at + 1;
    *literal = peek(r, at) == '!';
    at += *literal;
    *secret = S("");
    *out = (struct value){ .text = S("") };
    if (slice_starts(slice_from(r->text, at), S("SECRET:")) && name_at(r, at + 7)) {
        *secret = slice(r->text.p + at + 7, name_at(r, at + 7));
        at += 7 + secret->n;
        return peek(r, at) == ']' ? at + 1 - r->at : 0;
    }
    for (bool chain = false;;) {
        size_t n = name_at(r, at);
        bool escaped = r->in_string && peek(r, at) == '\\' && peek(r, at + 1) == '"';
        if (chain && (peek(r, at) == '"' || escaped)) {
            static char text[OUT_MAX];
            size_t kept = 0;
            REQUIRE(!escaped); // the grammar makes none; unit tests cover it
            for (at++; at < r->text.n && peek(r, at) != '"'; at++) {
                if (peek(r, at) == '\\' && (peek(r, at + 1) == '"' || peek(r, at + 1) == '\\'))
                    at++;
                text[kept++] = peek(r, at);
            }
            if (!out->found || !out->text.n)
                *out = (struct value){ .text = slice(text, kept), .found = true };
            at++;
            return peek(r, at) == ']' ? at + 1 - r->at : 0;
        }
        if (!n) return 0;
        struct value v = tag_value_of(r, slice(r->text.p + at, n));
        at += n;
        while (peek(r, at) == ':') {
            struct format_text text;
            size_t length = format_scan(slice_from(r->text, at + 1), &text);
            if (!length) return 0;
            apply(&v, slice(r->text.p + at + 1, length));
            at += 1 + length;
        }
        if ((chain || peek(r, at) == '|') && !v.text.n) v.found = false;
        if (!out->found) *out = v;
        if (peek(r, at) == ']') return at + 1 - r->at;
        if (peek(r, at) != '|') return 0;
        chain = true;
        at++;
    }
}

// ---- the reference: writing

static void put(struct reference *r, struct slice s) {
    buf_add(r->out, s);
}

static bool plain_in(struct reference *r, unsigned char c, bool raw) {
    const char *more = raw                         ? "-._~%:/?#[]@!$&'()*+,;="
                       : r->place == TEMPLATE_FORM ? "*-._"
                                                   : "-._~";
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
           (c && strchr(more, c));
}

// In headers a control byte is written as \x01 until the end, when runs are known.
static void put_value(struct reference *r, struct slice s, bool raw) {
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        if (r->place == TEMPLATE_RAW)
            put(r, c ? slice(s.p + i, 1) : slice("\0\0", 2));
        else if (r->place == TEMPLATE_HEADER)
            buf_byte(r->out, (c < 0x20 && c != '\t') || c == 0x7F ? 1 : (char)c);
        else if (plain_in(r, c, raw))
            buf_byte(r->out, (char)c);
        else if (r->place == TEMPLATE_FORM && c == ' ' && !raw)
            buf_byte(r->out, '+');
        else
            buf_printf(r->out, "%%%02X", c);
    }
}

static void put_json(struct reference *r, struct slice s) {
    struct buf quoted;
    buf_init(&quoted, SIZE_MAX / 2);
    buf_json(&quoted, s);
    put(r, r->in_string ? slice(quoted.p + 1, quoted.n - 2) : buf_slice(&quoted));
    buf_deinit(&quoted);
}

static bool scalar(struct slice s) {
    return slice_eq(s, S("true")) || slice_eq(s, S("false")) || slice_eq(s, S("null")) ||
           json_is_number(s);
}

static void put_lack(struct reference *r, struct slice source) {
    bool bare = r->place == TEMPLATE_JSON && !r->in_string;
    if (r->missing == MISSING_FAIL) r->failed = true;
    if (r->missing == MISSING_OMIT) r->dropped = true;
    if (r->missing == MISSING_KEEP && r->place == TEMPLATE_JSON) put_json(r, source);
    if (r->missing == MISSING_KEEP && r->place != TEMPLATE_JSON) put_value(r, source, false);
    if (bare && r->missing == MISSING_NULL) put(r, S("null"));
    if (bare && (r->missing == MISSING_EMPTY || r->missing == MISSING_OMIT)) put(r, S("\"\""));
}

static void put_secret(struct reference *r, struct slice name) {
    char mode = r->place == TEMPLATE_URL      ? 'u'
                : r->place == TEMPLATE_HEADER ? 'h'
                : r->place == TEMPLATE_FORM   ? 'f'
                : r->place == TEMPLATE_RAW    ? 'r'
                : r->in_string                ? 'j'
                                              : 'J';
    put(r, slice("\0S", 2));
    buf_byte(r->out, mode);
    put(r, name);
    buf_byte(r->out, 0);
}

static void put_found(struct reference *r, const struct value *v) {
    if (r->place != TEMPLATE_JSON)
        put_value(r, v->text, v->raw && (r->place == TEMPLATE_URL || r->place == TEMPLATE_FORM));
    else if (v->skips)
        put(r, v->text);
    else if (!r->in_string && (v->null || scalar(v->text)))
        put(r, v->null ? S("null") : v->text);
    else
        put_json(r, v->text);
}

// Takes what is at r->at: a placeholder, or one literal byte.
static void take(struct reference *r) {
    bool literal = false;
    struct slice secret;
    struct value v;
    size_t n = peek(r, r->at) == '[' ? placeholder(r, &literal, &secret, &v) : 0;
    struct slice source = slice(r->text.p + r->at, n ? n : 1);
    r->at += source.n;
    if (!n) {
        put(r, source);
        if (!source.p[0] && r->place == TEMPLATE_RAW) put(r, source);
    } else if (literal) {
        char *text = copies[copies_count++ % 16];
        text[0] = '[';
        memcpy(text + 1, source.p + 2, source.n - 2);
        if (r->place == TEMPLATE_JSON)
            put_json(r, slice(text, source.n - 1));
        else
            put(r, slice(text, source.n - 1));
    } else if (secret.n) {
        put_secret(r, secret);
    } else if (r->place == TEMPLATE_HEADER && slice_eq(source, S("[ATTEMPT]"))) {
        put(r, slice("\0A", 3));
    } else if (v.found) {
        put_found(r, &v);
    } else {
        put_lack(r, source);
    }
}

// ---- the reference: whole texts, with what omit drops

static void blanks(struct reference *r) {
    while (peek(r, r->at) && strchr(" \t\r\n", peek(r, r->at)))
        put(r, slice(r->text.p + r->at++, 1));
}

static void string(struct reference *r) {
    put(r, slice(r->text.p + r->at++, 1));
    r->in_string = true;
    while (peek(r, r->at) != '"') {
        if (peek(r, r->at) == '\\') put(r, slice(r->text.p + r->at++, 1));
        take(r);
    }
    r->in_string = false;
    put(r, slice(r->text.p + r->at++, 1));
}

static void value(struct reference *r);

// An object or array: each item goes out with the separator in front of it, or
// not at all when a tag directly in it lacked.
static void container(struct reference *r, char end) {
    put(r, slice(r->text.p + r->at++, 1));
    blanks(r);
    bool any = false, outer = r->dropped;
    size_t separator = r->at;
    while (peek(r, r->at) != end) {
        size_t start = r->out->n;
        if (any) put(r, slice(r->text.p + separator, r->at - separator));
        r->dropped = false;
        if (end == '}') {
            string(r);
            blanks(r);
            put(r, slice(r->text.p + r->at++, 1));
            blanks(r);
        }
        value(r);
        if (r->dropped) r->out->n = start;
        any = any || !r->dropped;
        separator = r->at;
        size_t before = r->out->n;
        blanks(r);
        if (peek(r, r->at) != ',') continue;
        r->at++;
        blanks(r);
        r->out->n = before; // it is the next item's
    }
    r->dropped = outer;
    put(r, slice(r->text.p + r->at++, 1));
}

static void value(struct reference *r) {
    size_t at = r->at;
    if (peek(r, at) == '"') {
        string(r);
    } else if (peek(r, at) == '{') {
        container(r, '}');
    } else if (peek(r, at) == '[') {
        bool literal;
        struct slice secret;
        struct value v;
        if (placeholder(r, &literal, &secret, &v))
            take(r);
        else
            container(r, ']');
    } else {
        while (peek(r, r->at) && !strchr(",]} \t\r\n", peek(r, r->at)))
            put(r, slice(r->text.p + r->at++, 1));
    }
}

static void fields(struct reference *r, char end, struct slice lead) {
    bool any = false, more = true;
    while (more) {
        size_t start = r->out->n;
        put(r, any ? S("&") : lead);
        r->dropped = false;
        while (r->at < r->text.n && peek(r, r->at) != '&' && peek(r, r->at) != end) take(r);
        if (r->dropped) r->out->n = start;
        any = any || !r->dropped;
        more = r->at < r->text.n && peek(r, r->at) == '&';
        r->at += more;
    }
}

static void url(struct reference *r) {
    size_t scheme = slice_starts(r->text, S("https")) ? 8 : 7;
    while (r->at < r->text.n && (r->at < scheme || !strchr("/?#", peek(r, r->at))))
        put(r, slice(r->text.p + r->at++, 1));
    while (r->at < r->text.n && !strchr("?#", peek(r, r->at))) take(r);
    if (peek(r, r->at) == '?') {
        r->at++;
        fields(r, '#', S("?"));
    }
    while (r->at < r->text.n) take(r);
}

static void finish_header(struct buf *out) {
    size_t kept = 0;
    for (size_t i = 0; i < out->n; i++)
        if (out->p[i] != 1 || !i || out->p[i - 1] != 1) out->p[kept++] = out->p[i];
    out->n = kept;
    for (size_t i = 0; i < out->n; i++)
        if (out->p[i] == 1) out->p[i] = ' ';
    while (out->n && out->p[out->n - 1] == ' ') out->n--;
}

static void render_reference(struct reference *r) {
    if (r->place == TEMPLATE_JSON) {
        blanks(r);
        value(r);
        blanks(r);
    } else if (r->place == TEMPLATE_URL) {
        url(r);
    } else if (r->place == TEMPLATE_FORM) {
        fields(r, 0, S(""));
    } else {
        while (r->at < r->text.n) take(r);
    }
    if (r->place == TEMPLATE_HEADER) finish_header(r->out);
}

// ---- what holds of every output

// The output without markers; a marker becomes a digit.
static void unmark(struct slice s, struct buf *to) {
    while (s.n) {
        size_t n = slice_find(s, 0);
        buf_add(to, slice(s.p, n));
        s = slice_from(s, n);
        if (!s.n) break;
        buf_byte(to, '0');
        s = slice_from(s, slice_find(slice_from(s, 1), 0) + 2);
    }
}

static void check_promises(enum template_place place, struct slice text, struct slice out) {
    struct buf clean;
    struct fail fail;
    buf_init(&clean, SIZE_MAX / 2);
    unmark(out, &clean);
    if (place == TEMPLATE_JSON)
        REQUIRE(!json_check(buf_slice(&clean), (struct json_limits){ .depth_max = 1000 }, &fail));
    if (place == TEMPLATE_HEADER)
        for (size_t i = 0; i < clean.n; i++) REQUIRE(clean.p[i] != '\r' && clean.p[i] != '\n');
    if (place == TEMPLATE_URL) {
        size_t n = slice_starts(text, S("https")) ? 8 : 7;
        while (n < text.n && !strchr("/?#", text.p[n])) n++;
        REQUIRE(out.n >= n && slice_eq(slice(out.p, n), slice(text.p, n)));
        REQUIRE(out.n == n || strchr("/?#", out.p[n]));
    }
    buf_deinit(&clean);
}

// A leaf that is one tag parses to the value (U+FFFD for what is not UTF-8).
static void check_leaves(const struct given *g, const struct tag_set *set) {
    static struct template *leaf;
    struct fail fail;
    if (!leaf)
        leaf = template_compile(S("{\"a\":\"[A]\",\"b\":[A]}"),
                                &(struct template_opts){ TEMPLATE_JSON, MISSING_FAIL }, &fail);
    struct arena arena;
    struct buf out, want;
    arena_init(&arena, SIZE_MAX / 2);
    buf_init(&out, RENDER_BYTES_MAX);
    buf_init(&want, RENDER_BYTES_MAX);
    REQUIRE(template_render(leaf, set, &out, NULL, NULL, &fail) ==
            (g->present[0] ? OK : ERR_INPUT));
    if (g->present[0]) {
        REQUIRE(!json_check(buf_slice(&out), (struct json_limits){ .depth_max = 2 }, &fail));
        for (size_t i = 0; i < g->text[0].n;) {
            size_t n = utf8_sequence(slice_from(g->text[0], i));
            buf_add(&want, n ? slice(g->text[0].p + i, n) : S("\xEF\xBF\xBD"));
            i += n ? n : 1;
        }
        REQUIRE(slice_eq(json_text(json_get(json_root(buf_slice(&out)), "a"), &arena),
                         buf_slice(&want)));
        if (g->kind[0] != TAG_NULL)
            REQUIRE(slice_eq(json_text(json_get(json_root(buf_slice(&out)), "b"), &arena),
                             buf_slice(&want)));
    }
    arena_deinit(&arena);
    buf_deinit(&out);
    buf_deinit(&want);
}

// ---- one input

static void compare(const struct template *t, struct reference *r, const struct tag_set *set) {
    struct buf out;
    struct fail fail = { 0 };
    bool omitted = false;
    render_reference(r);
    buf_init(&out, RENDER_BYTES_MAX);
    for (int simd = 0; simd < 2; simd++) {
        template_use_simd(simd ? SIMD_AVX2 : SIMD_PORTABLE);
        buf_clear(&out);
        struct template_notes notes = { .arena = set->arena };
        enum err err = template_render(t, set, &out, simd ? &notes : NULL, &omitted, &fail);
        if (r->failed) {
            REQUIRE(err == ERR_INPUT);
            continue;
        }
        if (err == ERR_INPUT && strcmp(fail.type, "invalid_body") == 0) continue;
        REQUIRE(err == OK);
        if (!slice_eq(buf_slice(&out), buf_slice(r->out)))
            fprintf(stderr, "template %.*s\nours     %.*s\nreference %.*s\n", SLICE_FMT(r->text),
                    SLICE_FMT(buf_slice(&out)), SLICE_FMT(buf_slice(r->out)));
        REQUIRE(slice_eq(buf_slice(&out), buf_slice(r->out)));
        check_promises(r->place, r->text, buf_slice(&out));
    }
    buf_deinit(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct input in = { slice((const char *)data, size) };
    struct template_opts opts = { (enum template_place)draw(&in, 5),
                                  (enum template_missing)draw(&in, 5) };
    struct arena arena;
    struct tag_set set;
    struct given given = { 0 };
    struct buf text, want;
    struct fail fail = { 0 };
    if (size > 4096) return 0;
    for (int i = 0; i < TAGS; i++) tag_intern(slice_str(tag_names[i]));
    arena_init(&arena, 1 << 26);
    REQUIRE(tag_set_init(&set, &arena));
    buf_init(&text, OUT_MAX);
    buf_init(&want, SIZE_MAX / 2);
    make_template(&in, opts.place, &text);
    take_values(&in, &given, &set);
    check_leaves(&given, &set);
    struct template *t = template_compile(buf_slice(&text), &opts, &fail);
    struct slice first = slice_trim(buf_slice(&text));
    // The reference leaves forms written as JSON and quotes written \" to the unit tests.
    bool skip = (opts.place == TEMPLATE_FORM && first.n && strchr("{\r\n", first.p[0])) ||
                (opts.place == TEMPLATE_JSON && slice_find(buf_slice(&text), '\\') < text.n);
    if (t && !skip) {
        struct reference r = { .text = buf_slice(&text),
                               .place = opts.place,
                               .missing = opts.missing,
                               .given = &given,
                               .out = &want };
        compare(t, &r, &set);
    }
    template_free(t);
    buf_deinit(&text);
    buf_deinit(&want);
    arena_deinit(&arena);
    return 0;
}
