// Templates that are not JSON: URLs, headers, raw bodies, and the fields of a
// query or form. Their literal text goes out byte for byte.
#include "template_inner.h"

static bool is_control(char c) {
    return (unsigned char)c < 0x20 || c == 0x7F;
}

// Said now: the bytes from `from` on go out as they stand, and no request with them is sent.
static bool refuse_bad_literal(struct builder *b, enum spot spot, size_t from) {
    for (; spot == SPOT_URL && from < b->at; from++) {
        if (b->text.p[from] == ' ')
            return builder_fail(b, from, "bad_url", "a space in the URL; write %%20");
        if (b->text.p[from] == '\\')
            return builder_fail(b, from, "bad_url",
                                "a backslash in the URL is read differently by different parsers");
    }
    return true;
}

// Walks to the first byte of `ends` or the text's end, taking placeholders.
static bool walk_until(struct builder *b, enum spot spot, const char *ends) {
    while (b->at < b->text.n) {
        char c = b->text.p[b->at];
        if (c && strchr(ends, c)) break;
        bool taken = false;
        size_t from = b->at;
        if (c == '[' && !(builder_copy(b, b->at) && builder_placeholder(b, spot, &taken)))
            return false;
        if (!taken) b->at++;
        bool literal = !taken || b->text.p[from + 1] == '!';
        if (literal && !refuse_bad_literal(b, spot, from)) return false;
    }
    return builder_copy(b, b->at);
}

bool compile_fields(struct builder *b, enum spot spot, char end, struct slice lead) {
    char ends[3] = { '&', end, 0 };
    if (!builder_open(b, lead)) return false;
    for (struct slice separator = S("");; separator = S("&")) {
        size_t item;
        if (!builder_item(b, separator, &item) || !walk_until(b, spot, ends) ||
            !builder_item_end(b, item))
            return false;
        if (b->at == b->text.n || b->text.p[b->at] != '&') break;
        b->copied = ++b->at;
    }
    return builder_close(b);
}

bool compile_raw(struct builder *b) {
    while (b->at < b->text.n) {
        bool taken = false;
        char c = b->text.p[b->at];
        if (c == '[' && !(builder_copy(b, b->at) && builder_placeholder(b, SPOT_RAW, &taken)))
            return false;
        if (taken) continue;
        b->at++;
        // A NUL starts a marker in what is rendered, so a literal one is doubled.
        if (!c && !(builder_copy(b, b->at) && builder_literal(b, slice("", 1)))) return false;
    }
    return builder_copy(b, b->at);
}

static bool refuse_controls(struct builder *b, const char *type, const char *what) {
    for (size_t i = 0; i < b->text.n; i++)
        if (is_control(b->text.p[i]) && !(b->text.p[i] == '\t' && b->t->place == TEMPLATE_HEADER))
            return builder_fail(b, i, type, "a %s has no control bytes", what);
    return true;
}

bool compile_header(struct builder *b) {
    return refuse_controls(b, "bad_header_value", "header value") && walk_until(b, SPOT_HEADER, "");
}

static bool refuse_host_placeholder(struct builder *b, size_t at) {
    return builder_fail(b, at, "placeholder_in_host",
                        "no placeholder may stand in a URL's scheme, host or port");
}

// True when text that is not literal starts at `at`; mistakes in it show later.
static bool placeholder_at(struct builder *b, size_t at) {
    struct written w;
    if (b->text.p[at] != '[') return false;
    return written_read(b->text, at, false, &w, NULL) || w.kind != WRITTEN_LITERAL;
}

// Finds the end of "http(s)://authority"; everything in it must be literal.
static bool read_authority(struct builder *b, size_t *end) {
    struct slice t = b->text;
    size_t scheme = 0;
    if (t.n >= 8 && slice_ieq(slice(t.p, 8), S("https://"))) scheme = 8;
    if (t.n >= 7 && slice_ieq(slice(t.p, 7), S("http://"))) scheme = 7;
    for (*end = scheme; *end < t.n && !strchr("/?#", t.p[*end]); (*end)++) {
        if (placeholder_at(b, *end)) return refuse_host_placeholder(b, *end);
        if (t.p[*end] == ' ' || t.p[*end] == '\\')
            return builder_fail(b, *end, "bad_url", "a host has no spaces and backslashes");
    }
    if (!scheme)
        return builder_fail(b, 0, "bad_url", "a URL starts with http:// or https:// and a host");
    return *end > scheme || builder_fail(b, scheme, "bad_url", "the URL has no host");
}

// A secret belongs into the query: paths end up in logs of every hop.
static bool refuse_secrets(struct builder *b, size_t uses_from) {
    const struct use *uses = (const struct use *)(const void *)b->uses.p;
    for (size_t i = uses_from; i < b->uses.n / sizeof *uses; i++)
        if (uses[i].secret)
            return builder_fail(b, uses[i].at, "bad_secret",
                                "in a URL a secret may stand in the query only");
    return true;
}

bool compile_url(struct builder *b) {
    size_t host_end;
    if (!refuse_controls(b, "bad_url", "URL") || !read_authority(b, &host_end)) return false;
    b->at = host_end;
    if (!walk_until(b, SPOT_URL, "?#") || !refuse_secrets(b, 0)) return false;
    if (b->at < b->text.n && b->text.p[b->at] == '?') {
        // Under `omit` the '?' goes when no parameter is left.
        b->copied = b->missing == MISSING_OMIT ? b->at + 1 : b->at;
        b->at++;
        if (!builder_copy(b, b->at) || !compile_fields(b, SPOT_URL, '#', S("?"))) return false;
    }
    size_t uses = b->uses.n / sizeof(struct use);
    return walk_until(b, SPOT_URL, "") && refuse_secrets(b, uses);
}
