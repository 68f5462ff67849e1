// JSON templates: a strict walk of RFC 8259 in which a placeholder may stand
// for a value or for part of a string. A template that passes is JSON whatever
// the values are, since values are escaped inside quotes and typed outside.
#include "json.h"
#include "template_inner.h"
#include "utf8.h"

static char here(const struct builder *b) {
    return b->at < b->text.n ? b->text.p[b->at] : 0;
}

static bool wanted(struct builder *b, const char *what) {
    return builder_fail(b, b->at, "invalid_json",
                        b->at < b->text.n ? "expected %s" : "expected %s, the text ends", what);
}

void json_walk_blanks(struct builder *b) {
    while (b->at < b->text.n && strchr(" \t\n\r", b->text.p[b->at]) && b->text.p[b->at]) b->at++;
}

static int hex_digit(char c) {
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

// The code unit of \uXXXX at `at`, or -1.
static int unicode_escape(struct slice text, size_t at) {
    if (!slice_starts(slice_from(text, at), S("\\u")) || text.n - at < 6) return -1;
    int unit = 0;
    for (size_t i = at + 2; i < at + 6; i++) {
        int digit = hex_digit(text.p[i]);
        if (digit < 0) return -1;
        unit = unit * 16 + digit;
    }
    return unit;
}

// Length of the escape at `at`, a surrogate pair being one; 0 when it is none.
static size_t escape_length(struct slice text, size_t at) {
    if (at + 1 < text.n && text.p[at + 1] && strchr("\"\\/bfnrt", text.p[at + 1])) return 2;
    int unit = unicode_escape(text, at);
    if (unit < 0 || (unit >= 0xDC00 && unit <= 0xDFFF)) return 0;
    if (unit < 0xD800 || unit > 0xDBFF) return 6;
    int low = unicode_escape(text, at + 6);
    return low >= 0xDC00 && low <= 0xDFFF ? 12 : 0;
}

// Steps over one literal character of a string.
static bool walk_character(struct builder *b) {
    unsigned char c = (unsigned char)here(b);
    size_t n = c == '\\'  ? escape_length(b->text, b->at)
               : c < 0x20 ? 0
                          : utf8_sequence(slice_from(b->text, b->at));
    if (!n && c == '\\') return builder_fail(b, b->at, "invalid_json", "this is no JSON escape");
    if (!n && c < 0x20)
        return builder_fail(b, b->at, "invalid_json", "a control byte must be escaped in a string");
    if (!n) return builder_fail(b, b->at, "invalid_utf8", "the text is not UTF-8");
    b->at += n;
    return true;
}

bool json_walk_string(struct builder *b, enum spot spot,
                      bool (*literal)(struct builder *b, struct slice raw)) {
    size_t piece = ++b->at;
    b->in_string = true;
    while (b->at < b->text.n && b->text.p[b->at] != '"') {
        if (b->text.p[b->at] == '[') {
            bool taken;
            if (!literal(b, slice(b->text.p + piece, b->at - piece)) ||
                !builder_placeholder(b, spot, &taken))
                return false;
            piece = b->at;
            if (taken) continue;
        }
        if (!walk_character(b)) return false;
    }
    b->in_string = false;
    if (b->at >= b->text.n) return wanted(b, "the string's closing quote");
    if (!literal(b, slice(b->text.p + piece, b->at - piece))) return false;
    b->at++;
    return true;
}

bool json_walk_scalar(struct builder *b, struct slice *raw) {
    size_t n = 0;
    while (b->at + n < b->text.n &&
           strchr("+-.0123456789abcdefghijklmnopqrstuvwxyzE", b->text.p[b->at + n]) &&
           b->text.p[b->at + n])
        n++;
    *raw = slice(b->text.p + b->at, n);
    if (!slice_eq(*raw, S("true")) && !slice_eq(*raw, S("false")) && !slice_eq(*raw, S("null")) &&
        !json_is_number(*raw))
        return wanted(b, "a value");
    b->at += n;
    return true;
}

// In a JSON body the literal pieces go out as they stand.
static bool copy_piece(struct builder *b, struct slice raw) {
    return builder_copy(b, (size_t)(raw.p - b->text.p) + raw.n);
}

static bool walk_value(struct builder *b);

// After an item: ',' with what stands around it becomes the next one's
// separator, `end` ends the container.
static bool next_item(struct builder *b, char end, size_t from, struct slice *separator,
                      bool *more) {
    json_walk_blanks(b);
    *more = here(b) == ',';
    if (!*more && (here(b) != end || b->at >= b->text.n))
        return wanted(b, end == ']' ? "',' or ']'" : "',' or '}'");
    if (!*more) return true;
    b->at++;
    json_walk_blanks(b);
    *separator = slice(b->text.p + from, b->at - from);
    b->copied = b->at;
    return true;
}

static bool walk_member(struct builder *b) {
    if (here(b) != '"') return wanted(b, "a key in quotes");
    if (!json_walk_string(b, SPOT_QUOTED, copy_piece)) return false;
    json_walk_blanks(b);
    if (here(b) != ':') return wanted(b, "':'");
    b->at++;
    json_walk_blanks(b);
    return walk_value(b);
}

static bool walk_items(struct builder *b, char end, bool (*walk_one)(struct builder *b)) {
    struct slice separator = S("");
    bool more = true;
    while (more) {
        size_t item, from;
        if (!builder_item(b, separator, &item) || !walk_one(b) || !builder_copy(b, b->at) ||
            !builder_item_end(b, item))
            return false;
        from = b->at;
        if (!next_item(b, end, from, &separator, &more)) return false;
    }
    return true;
}

static bool walk_container(struct builder *b, char end, bool (*walk_one)(struct builder *b)) {
    if (++b->depth > TEMPLATE_DEPTH_MAX)
        return builder_fail(b, b->at, "too_deep", "JSON is nested more than %d deep",
                            TEMPLATE_DEPTH_MAX);
    b->at++;
    json_walk_blanks(b);
    if (here(b) != end || b->at >= b->text.n) {
        if (!builder_copy(b, b->at) || !builder_open(b, S("")) || !walk_items(b, end, walk_one) ||
            !builder_close(b))
            return false;
    }
    b->at++;
    b->depth--;
    return true;
}

static bool walk_value(struct builder *b) {
    bool taken = false;
    struct slice scalar;
    switch (here(b)) {
    case '"': return json_walk_string(b, SPOT_QUOTED, copy_piece);
    case '{': return walk_container(b, '}', walk_member);
    case '[':
        if (!builder_copy(b, b->at) || !builder_placeholder(b, SPOT_BARE, &taken)) return false;
        return taken || walk_container(b, ']', walk_value);
    default: return json_walk_scalar(b, &scalar);
    }
}

bool compile_json(struct builder *b) {
    json_walk_blanks(b);
    if (!walk_value(b)) return false;
    json_walk_blanks(b);
    return b->at == b->text.n ? builder_copy(b, b->at) : wanted(b, "the end of the text");
}
