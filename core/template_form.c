// Form bodies, in the two ways people write them: the body itself, a=[A]&b=[B],
// or a JSON object of name to template, which becomes one.
#include <stdlib.h>

#include "escape.h"
#include "json.h"
#include "template_inner.h"

static char here(const struct builder *b) {
    return b->at < b->text.n ? b->text.p[b->at] : 0;
}

static bool wanted(struct builder *b, const char *what) {
    return builder_fail(b, b->at, "invalid_json", "expected %s", what);
}

// A literal piece of a JSON string, as form text.
static bool encode_piece(struct builder *b, struct slice raw) {
    if (!raw.n) return true;
    char *text = malloc(raw.n);
    char *to = buf_reserve(&b->blob, ESCAPE_URL_GROWTH * raw.n + ESCAPE_SLACK);
    if (text && to)
        b->blob.n += (size_t)(escape->form(to, slice(text, json_unescape(raw, text))) - to);
    free(text);
    if (text && to) return true;
    fail_set(b->fail, ERR_NOMEM, 0, "no_memory", "out of memory");
    return false;
}

static bool walk_field_value(struct builder *b) {
    bool taken = false;
    struct slice raw;
    if (here(b) == '"') return json_walk_string(b, SPOT_FORM, encode_piece);
    b->copied = b->at;
    if (here(b) == '[' && !builder_placeholder(b, SPOT_FORM, &taken)) return false;
    if (taken) return true;
    if (here(b) == '[' || here(b) == '{')
        return builder_fail(b, b->at, "invalid_form", "a form field's value is a text");
    if (!json_walk_scalar(b, &raw)) return false;
    return slice_eq(raw, S("null")) || encode_piece(b, raw);
}

static bool walk_field(struct builder *b) {
    if (here(b) != '"') return wanted(b, "a field's name in quotes");
    if (!json_walk_string(b, SPOT_FORM, encode_piece)) return false;
    json_walk_blanks(b);
    if (here(b) != ':') return wanted(b, "':'");
    b->at++;
    json_walk_blanks(b);
    return builder_literal(b, S("=")) && walk_field_value(b);
}

static bool walk_fields(struct builder *b) {
    for (struct slice separator = S("");; separator = S("&")) {
        size_t item;
        if (!builder_item(b, separator, &item) || !walk_field(b) || !builder_item_end(b, item))
            return false;
        json_walk_blanks(b);
        if (here(b) == '}') return true;
        if (here(b) != ',') return wanted(b, "',' or '}'");
        b->at++;
        json_walk_blanks(b);
    }
}

static bool compile_object(struct builder *b) {
    b->encodes_literals = true;
    b->at++;
    json_walk_blanks(b);
    if (here(b) != '}' && (!builder_open(b, S("")) || !walk_fields(b) || !builder_close(b)))
        return false;
    b->at++;
    json_walk_blanks(b);
    b->copied = b->at;
    return b->at == b->text.n || wanted(b, "the end of the text");
}

bool compile_form(struct builder *b) {
    size_t start = b->at;
    json_walk_blanks(b);
    if (here(b) == '{') return compile_object(b);
    b->at = start;
    for (size_t i = 0; i < b->text.n; i++)
        if (!b->text.p[i]) return builder_fail(b, i, "invalid_form", "a form has no NUL byte");
    return compile_fields(b, SPOT_FORM, 0, S(""));
}
