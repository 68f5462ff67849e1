// From text to ops: what all places have in common. Each place's own walk
// (template_json.c, template_form.c, template_text.c) finds the positions; here
// a placeholder becomes an op, with everything about it that does not depend on
// an event worked out: the text for a lacking value in the escaping of its
// spot, the markers of secrets, the output room that rendering sets aside.
#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "escape.h"
#include "json.h"
#include "template_inner.h"

bool builder_fail(struct builder *b, size_t at, const char *type, const char *format, ...) {
    char text[sizeof b->fail->text];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    fail_set(b->fail, ERR_INPUT, at, type, "%s", text);
    return false;
}

static bool no_memory(struct builder *b) {
    fail_set(b->fail, ERR_NOMEM, 0, "no_memory", "out of memory");
    return false;
}

bool builder_literal(struct builder *b, struct slice bytes) {
    return buf_add(&b->blob, bytes) || no_memory(b);
}

bool builder_copy(struct builder *b, size_t at) {
    assert(at >= b->copied);
    if (!builder_literal(b, slice(b->text.p + b->copied, at - b->copied))) return false;
    b->copied = at;
    return true;
}

// Appends `op`, which takes the literal in the making.
static bool add_op(struct builder *b, struct op op, size_t literal_end) {
    op.literal_at = (uint32_t)b->literal_start;
    op.literal_n = (uint32_t)(literal_end - b->literal_start);
    b->literal_start = b->blob.n;
    return buf_add(&b->ops, slice((const char *)&op, sizeof op)) || no_memory(b);
}

// An op whose own text goes into the blob behind its literal.
static bool add_op_text(struct builder *b, struct op op, struct slice text) {
    size_t literal_end = b->blob.n;
    op.text_at = (uint32_t)literal_end;
    op.text_n = (uint32_t)text.n;
    return builder_literal(b, text) && add_op(b, op, literal_end);
}

static size_t ops_count(const struct builder *b) {
    return b->ops.n / sizeof(struct op);
}

bool builder_open(struct builder *b, struct slice lead) {
    return b->missing != MISSING_OMIT || add_op_text(b, (struct op){ .kind = OP_OPEN }, lead);
}

bool builder_item(struct builder *b, struct slice separator, size_t *item) {
    *item = ops_count(b);
    if (b->missing != MISSING_OMIT) return builder_literal(b, separator);
    return add_op_text(b, (struct op){ .kind = OP_ITEM }, separator);
}

bool builder_item_end(struct builder *b, size_t item) {
    if (b->missing != MISSING_OMIT) return true;
    ((struct op *)(void *)b->ops.p)[item].index = (uint32_t)ops_count(b);
    return add_op(b, (struct op){ .kind = OP_ITEM_END }, b->blob.n);
}

bool builder_close(struct builder *b) {
    return b->missing != MISSING_OMIT || add_op(b, (struct op){ .kind = OP_CLOSE }, b->blob.n);
}

static void *arena_copy(struct builder *b, const void *bytes, size_t n) {
    void *copy = arena_alloc(&b->t->arena, n + 1);
    if (!copy)
        no_memory(b);
    else if (n)
        memcpy(copy, bytes, n);
    return copy;
}

// The default between its quotes as the text it means.
static bool read_default(struct builder *b, const struct written *w, struct slice raw,
                         struct slice *out) {
    char *p = arena_copy(b, raw.p, raw.n);
    if (!p) return false;
    size_t n = raw.n, kept = 0;
    if (w->json_escaped) n = json_unescape(raw, p);
    for (size_t i = 0; i < n; i++) {
        if (p[i] == '\\' && i + 1 < n && (p[i + 1] == '"' || p[i + 1] == '\\')) i++;
        p[kept++] = p[i];
    }
    *out = slice(p, kept);
    return true;
}

static bool compile_formats(struct builder *b, const struct written_alternative *from,
                            struct alternative *to) {
    to->formats = arena_zalloc(&b->t->arena, from->formats_count + 1, sizeof *to->formats);
    if (!to->formats) return no_memory(b);
    to->formats_count = from->formats_count;
    for (unsigned i = 0; i < from->formats_count; i++) {
        struct format_text text = from->formats[i];
        struct format *f = &to->formats[i];
        if (format_compile(&text, f, b->fail)) {
            if (b->fail) b->fail->at = (size_t)(text.name.p - b->text.p);
            return false;
        }
        char *args = arena_copy(b, f->args.p, f->args.n);
        if (!args) return false;
        f->args.p = args;
        to->skips_escaping = to->skips_escaping || format_skips_escaping(f);
        to->raw = to->raw || format_is_raw(f);
    }
    return true;
}

static bool add_use(struct builder *b, struct slice name, bool secret, bool has_default) {
    char *copy = arena_copy(b, name.p, name.n);
    if (!copy) return false;
    struct use use = { .name = slice(copy, name.n),
                       .at = (size_t)(name.p - b->text.p),
                       .secret = secret,
                       .has_default = has_default };
    return buf_add(&b->uses, slice((const char *)&use, sizeof use)) || no_memory(b);
}

static bool compile_alternative(struct builder *b, const struct written *w, unsigned i,
                                struct alternative *to) {
    const struct written_alternative *from = &w->alternatives[i];
    if (!from->name.n) {
        to->tag = TAG_NONE;
        return read_default(b, w, from->text, &to->text);
    }
    to->tag = tag_intern(from->name);
    if (to->tag == TAG_NONE && tag_count() < TAG_IDS_MAX) return no_memory(b);
    if (to->tag == TAG_NONE)
        return builder_fail(b, (size_t)(from->name.p - b->text.p), "too_many_tags",
                            "there are more than %d tag names", TAG_IDS_MAX);
    if (to->tag >= b->t->tags_limit) b->t->tags_limit = (uint16_t)(to->tag + 1);
    return compile_formats(b, from, to) && add_use(b, from->name, false, i + 1 < w->count);
}

static bool add_hole(struct builder *b, const struct written *w, uint32_t *index,
                     struct alternative **first) {
    struct hole hole = { .count = w->count };
    hole.alternatives = arena_zalloc(&b->t->arena, w->count, sizeof *hole.alternatives);
    if (!hole.alternatives) return no_memory(b);
    for (unsigned i = 0; i < w->count; i++)
        if (!compile_alternative(b, w, i, &hole.alternatives[i])) return false;
    *index = (uint32_t)(b->holes.n / sizeof hole);
    *first = hole.alternatives;
    return buf_add(&b->holes, slice((const char *)&hole, sizeof hole)) || no_memory(b);
}

// A placeholder's own text in the escaping of `spot`. Written with \" it is the
// inside of a JSON string already.
static bool escape_source(struct builder *b, enum spot spot, struct slice source, bool json_escaped,
                          struct buf *out) {
    char *plain = malloc(source.n + 1);
    char *to = buf_reserve(out, ESCAPE_JSON_GROWTH * source.n + ESCAPE_SLACK);
    bool flag = false, cleaned = false;
    if (!plain || !to) {
        free(plain);
        return no_memory(b);
    }
    struct slice text = source;
    if (json_escaped) text = slice(plain, json_unescape(source, plain));
    switch (spot) {
    case SPOT_QUOTED:
    case SPOT_BARE: out->n += (size_t)(escape->json(to, text, &flag) - to); break;
    case SPOT_URL: out->n += (size_t)(escape->url(to, text) - to); break;
    case SPOT_FORM: out->n += (size_t)(escape->form(to, text) - to); break;
    case SPOT_HEADER: out->n += (size_t)(escape_header(to, text, &flag, &cleaned) - to); break;
    case SPOT_RAW:
        for (size_t i = 0; i < text.n; i++) {
            if (!text.p[i]) out->p[out->n++] = 0;
            out->p[out->n++] = text.p[i];
        }
        break;
    }
    free(plain);
    return true;
}

// What a lacking value becomes under the policy.
static bool lacking_text(struct builder *b, enum spot spot, struct slice source, bool json_escaped,
                         struct buf *out) {
    bool bare = spot == SPOT_BARE;
    if (b->missing == MISSING_KEEP) {
        if (bare) buf_byte(out, '"');
        if (!escape_source(b, spot, source, json_escaped, out)) return false;
        if (bare) buf_byte(out, '"');
    } else if (bare) {
        buf_add(out, b->missing == MISSING_NULL ? S("null") : S("\"\""));
    }
    return !out->failed || no_memory(b);
}

static enum lack lack_of(enum template_missing missing) {
    return missing == MISSING_OMIT ? LACK_OMIT : missing == MISSING_FAIL ? LACK_FAIL : LACK_TEXT;
}

static enum op_kind kind_of(enum spot spot, const struct alternative *first, uint32_t count) {
    if (count > 1 || first->formats_count) return OP_VALUE;
    switch (spot) {
    case SPOT_QUOTED: return OP_QUOTED;
    case SPOT_URL: return OP_URL;
    case SPOT_HEADER: return OP_HEADER;
    default: return OP_VALUE;
    }
}

static bool add_value(struct builder *b, enum spot spot, const struct written *w) {
    struct alternative *first;
    struct op op = { .spot = (uint8_t)spot, .lack = (uint8_t)lack_of(b->missing) };
    if (!add_hole(b, w, &op.index, &first)) return false;
    op.tag = first->tag;
    op.kind = (uint8_t)kind_of(spot, first, w->count);
    for (unsigned i = 0; i < w->count; i++)
        if (first[i].skips_escaping && (spot == SPOT_QUOTED || spot == SPOT_BARE))
            b->t->checks_json = true;
    struct buf text;
    buf_init(&text, 8 * TEMPLATE_BYTES_MAX);
    bool good = lacking_text(b, spot, slice(b->text.p + b->at, w->n), w->json_escaped, &text) &&
                add_op_text(b, op, buf_slice(&text));
    buf_deinit(&text);
    return good;
}

// NUL 'S' MODE NAME NUL, see request.h.
static bool add_secret(struct builder *b, enum spot spot, struct slice name) {
    static const char modes[] = { [SPOT_QUOTED] = 'j', [SPOT_BARE] = 'J',   [SPOT_URL] = 'u',
                                  [SPOT_FORM] = 'f',   [SPOT_HEADER] = 'h', [SPOT_RAW] = 'r' };
    char head[3] = { 0, 'S', modes[spot] };
    return builder_literal(b, slice(head, 3)) && builder_literal(b, name) &&
           builder_literal(b, slice("", 1)) && add_use(b, name, true, false);
}

// [!X] is the text [X].
static bool add_quoted(struct builder *b, enum spot spot, const struct written *w) {
    char *text = malloc(w->n);
    struct buf out;
    buf_init(&out, 8 * TEMPLATE_BYTES_MAX);
    if (!text) return no_memory(b);
    text[0] = '[';
    memcpy(text + 1, b->text.p + b->at + 2, w->n - 2);
    // Literal text of a URL or form stays as it is.
    bool verbatim = (spot == SPOT_URL || spot == SPOT_FORM) && !b->encodes_literals;
    bool good = verbatim ? builder_literal(b, slice(text, w->n - 1))
                         : escape_source(b, spot, slice(text, w->n - 1), w->json_escaped, &out) &&
                               builder_literal(b, buf_slice(&out));
    free(text);
    buf_deinit(&out);
    return good;
}

// [ATTEMPT] in a header is known only when the request is sent.
static bool is_attempt_marker(enum spot spot, const struct written *w) {
    return spot == SPOT_HEADER && w->count == 1 && !w->alternatives[0].formats_count &&
           slice_eq(w->alternatives[0].name, S("ATTEMPT"));
}

static bool add_placeholder(struct builder *b, enum spot spot, const struct written *w) {
    if (w->kind == WRITTEN_QUOTED) return add_quoted(b, spot, w);
    if (++b->placeholders > TEMPLATE_PLACEHOLDERS_MAX) {
        fail_set(b->fail, ERR_LIMIT, b->at, "too_many_placeholders",
                 "a template has at most %d placeholders", TEMPLATE_PLACEHOLDERS_MAX);
        return false;
    }
    if (w->kind == WRITTEN_SECRET) return add_secret(b, spot, w->name);
    if (!is_attempt_marker(spot, w)) return add_value(b, spot, w);
    return builder_literal(b, slice("\0A", 3)) && add_use(b, w->alternatives[0].name, false, false);
}

bool builder_placeholder(struct builder *b, enum spot spot, bool *taken) {
    struct written w;
    *taken = false;
    if (written_read(b->text, b->at, b->in_string, &w, b->fail)) return false;
    if (w.kind == WRITTEN_LITERAL) return true;
    if (w.kind == WRITTEN_QUOTED && spot == SPOT_BARE)
        return builder_fail(b, b->at, "invalid_json", "literal text must stand in quotes in JSON");
    if (!add_placeholder(b, spot, &w)) return false;
    b->at += w.n;
    b->copied = b->at;
    *taken = true;
    return true;
}

static bool compile_place(struct builder *b) {
    switch (b->t->place) {
    case TEMPLATE_URL: return compile_url(b);
    case TEMPLATE_HEADER: return compile_header(b);
    case TEMPLATE_JSON: return compile_json(b);
    case TEMPLATE_FORM: return compile_form(b);
    default: return compile_raw(b);
    }
}

// Fills what the fast loop reads.
static bool find_fast_runs(struct builder *b) {
    struct template *t = b->t;
    t->fast = arena_zalloc(&t->arena, t->ops_count + 1, sizeof *t->fast);
    if (!t->fast) return no_memory(b);
    uint32_t run = 0;
    for (size_t i = t->ops_count; i-- > 0;) {
        struct op *op = &t->ops[i];
        run = op->kind <= OP_HEADER && op->literal_n <= UINT16_MAX ? run + 1 : 0;
        op->fast = run;
        t->fast[i] = (struct fast_op){ op->literal_at, (uint16_t)op->literal_n, op->tag };
    }
    t->only_fast = run == t->ops_count;
    return true;
}

// Moves the finished arrays into the template.
static bool finish(struct builder *b) {
    struct template *t = b->t;
    if (t->place == TEMPLATE_HEADER && !b->ops.n)
        while (b->blob.n && b->blob.p[b->blob.n - 1] == ' ') b->blob.n--;
    t->tail_at = b->literal_start;
    t->blob_n = b->blob.n;
    t->ops_count = ops_count(b);
    t->uses_count = b->uses.n / sizeof(struct use);
    t->blob = arena_zalloc(&t->arena, 1, b->blob.n + BLOB_SLACK);
    if (!t->blob) return no_memory(b);
    if (b->blob.n) memcpy(t->blob, b->blob.p, b->blob.n);
    t->ops = arena_copy(b, b->ops.p, b->ops.n);
    t->holes = arena_copy(b, b->holes.p, b->holes.n);
    t->uses = arena_copy(b, b->uses.p, b->uses.n);
    t->room = b->blob.n + t->ops_count * OP_ROOM + BLOB_SLACK;
    t->literal = !t->uses_count && slice_eq(slice(t->blob, t->blob_n), t->text);
    return t->ops && t->holes && t->uses && find_fast_runs(b);
}

static bool build(struct builder *b) {
    buf_init(&b->blob, 16 * TEMPLATE_BYTES_MAX);
    buf_init(&b->ops, SIZE_MAX / 2);
    buf_init(&b->holes, SIZE_MAX / 2);
    buf_init(&b->uses, SIZE_MAX / 2);
    bool good = compile_place(b) && finish(b);
    buf_deinit(&b->blob);
    buf_deinit(&b->ops);
    buf_deinit(&b->holes);
    buf_deinit(&b->uses);
    return good;
}

struct template *template_compile(struct slice text, const struct template_opts *opts,
                                  struct fail *fail) {
    if (text.n > TEMPLATE_BYTES_MAX) {
        fail_set(fail, ERR_LIMIT, TEMPLATE_BYTES_MAX, "template_too_large",
                 "a template has at most %d bytes", TEMPLATE_BYTES_MAX);
        return NULL;
    }
    struct template *t = calloc(1, sizeof *t);
    struct builder b = { .t = t, .missing = opts->missing, .fail = fail };
    if (!t) {
        no_memory(&b);
        return NULL;
    }
    arena_init(&t->arena, SIZE_MAX / 2);
    t->place = opts->place;
    t->text = arena_dup(&t->arena, text);
    b.text = t->text;
    if (t->text.p ? build(&b) : no_memory(&b)) return t;
    if (fail) fail_place(fail, text.p, text.n);
    template_free(t);
    return NULL;
}

void template_free(struct template *t) {
    if (!t) return;
    arena_deinit(&t->arena);
    free(t);
}

bool template_is_literal(const struct template *t) {
    return t->literal;
}

void template_each_use(const struct template *t,
                       void (*one)(void *user, const struct template_use *use), void *user) {
    struct template_use use = { .line = 1 };
    size_t line_start = 0, at = 0;
    for (size_t i = 0; i < t->uses_count; i++) {
        for (; at < t->uses[i].at; at++) {
            if (t->text.p[at] != '\n') continue;
            use.line++;
            line_start = at + 1;
        }
        use.name = t->uses[i].name;
        use.at = at;
        use.column = (unsigned)(at - line_start) + 1;
        use.secret = t->uses[i].secret;
        use.has_default = t->uses[i].has_default;
        one(user, &use);
    }
}
