// Reads one placeholder by form. What does not have the form is literal text,
// so the reader gives up at the first byte that cannot belong to one: no byte
// is looked at more than a fixed number of times, "[[[[…" included.
#include "template_inner.h"

static char byte_at(struct slice text, size_t at) {
    return at < text.n ? text.p[at] : 0;
}

// Takes a tag name at *at; empty when there is none or it is too long.
static struct slice take_name(struct slice text, size_t *at) {
    size_t n = 0;
    while (*at + n < text.n && n <= TAG_NAME_MAX) {
        char c = text.p[*at + n];
        bool first = c >= 'A' && c <= 'Z', later = (c >= '0' && c <= '9') || c == '_';
        if (!first && !(n && later)) break;
        n++;
    }
    if (n > TAG_NAME_MAX) n = 0;
    struct slice name = slice(text.p + *at, n);
    *at += n;
    return name;
}

// A quote at `at`, as it is or as \" of a JSON string; its length or 0.
static size_t quote_at(struct slice text, size_t at, bool json_escaped) {
    if (!json_escaped) return byte_at(text, at) == '"';
    return byte_at(text, at) == '\\' && byte_at(text, at + 1) == '"' ? 2 : 0;
}

// Where the default that starts at `at` ends: at its closing quote, or at the
// text's end when it has none. A backslash protects a quote and itself; in a
// JSON string every backslash is doubled and every quote has one more.
static size_t default_end(struct slice text, size_t at, bool json_escaped) {
    while (at < text.n && !quote_at(text, at, json_escaped)) {
        char c = text.p[at];
        if (json_escaped && c == '"') return text.n;
        if (c != '\\') {
            at++;
        } else if (!json_escaped) {
            char next = byte_at(text, at + 1);
            at += next == '"' || next == '\\' ? 2 : 1;
        } else {
            bool protects = byte_at(text, at + 1) == '\\' && byte_at(text, at + 2) == '\\';
            at += protects ? 4 : 2;
        }
    }
    return at < text.n ? at : text.n;
}

// Takes the quoted default at *at. False when it has no end.
static bool take_default(struct slice text, size_t *at, struct written *out) {
    size_t quote = quote_at(text, *at, out->json_escaped);
    size_t from = *at + quote, end = default_end(text, from, out->json_escaped);
    if (end == text.n) return false;
    out->alternatives[out->count++] =
        (struct written_alternative){ .text = slice(text.p + from, end - from) };
    *at = end + quote;
    return true;
}

static enum err too_many(size_t at, struct fail *fail) {
    return fail_set(fail, ERR_LIMIT, at, "placeholder_too_long",
                    "a placeholder has at most %d alternatives and %d formatters each",
                    TEMPLATE_ALTERNATIVES_MAX, TEMPLATE_FORMATS_MAX);
}

// Takes NAME:formatter:… at *at. *form becomes false when it is no such thing.
static enum err take_tag(struct slice text, size_t *at, struct written *out, bool *form,
                         struct fail *fail) {
    struct slice name = take_name(text, at);
    *form = name.n > 0;
    if (!*form) return OK;
    struct written_alternative *a = &out->alternatives[out->count++];
    a->name = name;
    a->formats_count = 0;
    while (byte_at(text, *at) == ':') {
        if (a->formats_count == TEMPLATE_FORMATS_MAX) return too_many(*at, fail);
        size_t n = format_scan(slice_from(text, *at + 1), &a->formats[a->formats_count++]);
        *form = n > 0;
        if (!n) return OK;
        *at += 1 + n;
    }
    return OK;
}

// Takes all alternatives up to the closing bracket, which *at then names.
static enum err take_chain(struct slice text, size_t *at, bool in_json, struct written *out,
                           bool *form, struct fail *fail) {
    for (;;) {
        enum err err = take_tag(text, at, out, form, fail);
        if (err || !*form || byte_at(text, *at) != '|') break;
        (*at)++;
        if (out->count == TEMPLATE_ALTERNATIVES_MAX) return too_many(*at, fail);
        out->json_escaped = in_json && quote_at(text, *at, true);
        if (!quote_at(text, *at, out->json_escaped)) continue;
        *form = take_default(text, at, out);
        break;
    }
    *form = *form && byte_at(text, *at) == ']';
    return OK;
}

// [SECRET:NAME], NAME in capitals; [SECRET:lower] is a tag with a formatter.
static bool is_secret(struct slice text, size_t at) {
    char next = byte_at(text, at + 7);
    return slice_starts(slice_from(text, at), S("SECRET:")) && next >= 'A' && next <= 'Z';
}

static enum err read_secret(struct slice text, size_t open, struct written *out,
                            struct fail *fail) {
    size_t at = open + 8;
    out->name = take_name(text, &at);
    char next = byte_at(text, at);
    if (out->name.n && (next == ':' || next == '|'))
        return fail_set(fail, ERR_INPUT, at, "bad_secret", "a secret stands alone: [SECRET:%.*s]",
                        SLICE_FMT(out->name));
    if (!out->name.n || next != ']') return OK;
    out->kind = WRITTEN_SECRET;
    out->n = at + 1 - open;
    return OK;
}

enum err written_read(struct slice text, size_t at, bool in_json, struct written *out,
                      struct fail *fail) {
    out->kind = WRITTEN_LITERAL;
    out->count = 0;
    out->n = 0;
    out->json_escaped = false;
    bool form = true, quoted = byte_at(text, at + 1) == '!';
    if (!quoted && is_secret(text, at + 1)) return read_secret(text, at, out, fail);
    size_t end = at + 1 + quoted;
    if (quoted && is_secret(text, end)) {
        enum err err = read_secret(text, at + 1, out, fail);
        if (err || out->kind == WRITTEN_LITERAL) return err;
        out->kind = WRITTEN_QUOTED;
        out->n++;
        return OK;
    }
    enum err err = take_chain(text, &end, in_json, out, &form, fail);
    // A mistake in what turns out to be literal text is none.
    if (err || !form) return err;
    out->kind = quoted ? WRITTEN_QUOTED : WRITTEN_TAGS;
    out->n = end + 1 - at;
    return OK;
}
