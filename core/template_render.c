// Rendering: once over the ops. Runs of plain values go through the fast loop
// (template_fast.c); everything else is done here, one op at a time.
//
// The output buffer is grown beyond its maximum by a bounded amount so that
// writers may store whole vectors and whole chunks; whether the text itself
// fits is looked at after each step. A value is written in chunks, so a small
// template with huge values stops at the limit instead of filling the memory.
#include <assert.h>
#include <stdlib.h>

#include "escape.h"
#include "json.h"
#include "template_inner.h"

enum { CHUNK = 4096, BODY_DEPTH_MAX = 1000 };

struct level {
    const struct op *open, *item;
    size_t item_start; // in the output, in front of the item's separator
    bool any;          // an item of this container is in the output
};

struct renderer {
    const struct template *t;
    const struct tag_set *tags;
    struct buf *out;
    size_t start; // of this render in the output
    struct template_notes *notes;
    struct fail *fail;
    struct format_scratch scratch;
    struct buf plain;     // a value with its JSON escapes undone
    struct level *levels; // TEMPLATE_DEPTH_MAX + 1, the containers around this op
    unsigned depth;
    bool omitted;
    bool coerced, cleaned, bad_utf8;
    bool header_run; // the header so far ends in the space of a control run
};

char *template_room(struct buf *out, size_t n) {
    size_t need = out->n + n + ESCAPE_SLACK;
    if (need > out->capacity) {
        size_t capacity = out->capacity * 2 > need ? out->capacity * 2 : need;
        char *p = realloc(out->p, capacity);
        if (!p) return NULL;
        out->p = p;
        out->capacity = capacity;
    }
    return out->p + out->n;
}

static enum err no_memory(struct renderer *r) {
    return fail_set(r->fail, ERR_NOMEM, 0, "no_memory", "out of memory");
}

static enum err too_large(struct renderer *r) {
    return fail_set(r->fail, ERR_LIMIT, 0, "render_too_large",
                    "the rendered text is longer than %zu bytes", r->out->max);
}

static enum err invalid_body(struct renderer *r, size_t at, const char *why) {
    return fail_set(r->fail, ERR_INPUT, at, "invalid_body",
                    "a raw or json formatter broke the JSON body: %s", why);
}

static enum err put(struct renderer *r, struct slice s) {
    if (!s.n) return OK;
    char *to = template_room(r->out, s.n);
    if (!to) return no_memory(r);
    memcpy(to, s.p, s.n);
    r->out->n += s.n;
    return r->out->n > r->out->max ? too_large(r) : OK;
}

static enum err put_blob(struct renderer *r, uint32_t at, uint32_t n) {
    return put(r, slice(r->t->blob + at, n));
}

// A value that was found, ready for its spot.
struct found {
    struct slice text;
    uint16_t kind;
    bool safe; // text is the inside of a JSON string
    bool skips_escaping, raw;
};

static char *double_nuls(char *to, struct slice s) {
    for (size_t i = 0; i < s.n; i++) {
        if (!s.p[i]) *to++ = 0;
        *to++ = s.p[i];
    }
    return to;
}

static char *escape_to(struct renderer *r, enum spot spot, char *to, struct slice s) {
    switch (spot) {
    case SPOT_QUOTED:
    case SPOT_BARE: return escape->json(to, s, &r->bad_utf8);
    case SPOT_URL: return escape->url(to, s);
    case SPOT_FORM: return escape->form(to, s);
    case SPOT_HEADER: return escape_header(to, s, &r->header_run, &r->cleaned);
    default: return double_nuls(to, s);
    }
}

// Length of the first chunk of `s`: it does not end inside a UTF-8 sequence.
static size_t chunk_of(struct slice s) {
    if (s.n <= CHUNK) return s.n;
    for (size_t n = CHUNK; n > CHUNK - 4; n--)
        if (((unsigned char)s.p[n] & 0xC0) != 0x80) return n;
    return CHUNK;
}

static enum err put_escaped(struct renderer *r, enum spot spot, struct slice s, bool url_raw) {
    while (s.n) {
        size_t n = chunk_of(s);
        char *to = template_room(r->out, ESCAPE_JSON_GROWTH * n);
        if (!to) return no_memory(r);
        char *end =
            url_raw ? escape_url_raw(to, slice(s.p, n)) : escape_to(r, spot, to, slice(s.p, n));
        r->out->n += (size_t)(end - to);
        if (r->out->n > r->out->max) return too_large(r);
        s = slice_from(s, n);
    }
    return OK;
}

// The text of a value, its JSON escapes undone; p is NULL on no memory.
static struct slice plain_text(struct renderer *r, struct tag_value v) {
    if (v.kind == TAG_NULL) return S("");
    if (!(v.flags & TAG_ESCAPED)) return slice(v.p ? v.p : "", v.n);
    r->plain.n = 0;
    r->plain.max = SIZE_MAX / 2;
    char *to = buf_reserve(&r->plain, v.n + 1);
    return to ? slice(to, json_unescape(slice(v.p, v.n), to)) : slice(NULL, 0);
}

static enum err format_value(struct renderer *r, const struct alternative *a, struct tag_value v,
                             struct found *f) {
    struct format_value value = { plain_text(r, v), v.kind };
    if (!value.text.p) return no_memory(r);
    enum err err = format_apply(a->formats, a->formats_count, &value, &r->scratch);
    if (err) return err == ERR_LIMIT ? too_large(r) : no_memory(r);
    *f = (struct found){
        .text = value.text, .kind = value.kind, .skips_escaping = a->skips_escaping, .raw = a->raw
    };
    return OK;
}

// The value of one alternative. Inside JSON quotes a value that came escaped may
// stay so.
static enum err take_value(struct renderer *r, enum spot spot, const struct alternative *a,
                           struct tag_value v, struct found *f) {
    if (a->formats_count) return format_value(r, a, v, f);
    bool safe = spot == SPOT_QUOTED && (v.flags & TAG_JSON_SAFE) && v.kind != TAG_NULL;
    *f = (struct found){ .kind = v.kind, .safe = safe };
    f->text = safe ? slice(v.p ? v.p : "", v.n) : plain_text(r, v);
    return f->text.p ? OK : no_memory(r);
}

// The first alternative that has a value (in a chain: a non-empty one).
static enum err find_value(struct renderer *r, const struct op *op, struct found *f, bool *has) {
    const struct hole *hole = &r->t->holes[op->index];
    *has = false;
    for (uint32_t i = 0; i < hole->count && !*has; i++) {
        const struct alternative *a = &hole->alternatives[i];
        if (a->tag == TAG_NONE) {
            *f = (struct found){ .text = a->text, .kind = TAG_STRING };
            *has = true;
            continue;
        }
        struct tag_value v = tag_set_get(r->tags, a->tag);
        if (v.kind == TAG_ABSENT) continue;
        enum err err = take_value(r, (enum spot)op->spot, a, v, f);
        if (err) return err;
        *has = hole->count == 1 || f->text.n > 0;
    }
    return OK;
}

static bool is_scalar(struct slice text) {
    return slice_eq(text, S("true")) || slice_eq(text, S("false")) || slice_eq(text, S("null")) ||
           json_is_number(text);
}

static enum err put_bare(struct renderer *r, const struct found *f) {
    if (f->kind == TAG_NULL) return put(r, S("null"));
    if (is_scalar(f->text)) return put(r, f->text);
    r->coerced = true;
    enum err err = put(r, S("\""));
    if (!err) err = put_escaped(r, SPOT_BARE, f->text, false);
    return err ? err : put(r, S("\""));
}

// A NUL would pass for a marker. Another control byte breaks the body as well, unless what holds
// it is dropped.
static enum err put_unescaped(struct renderer *r, struct slice text) {
    size_t from = r->out->n;
    enum err err = put(r, text);
    for (; from < r->out->n; from++)
        if (!r->out->p[from]) r->out->p[from] = 1;
    return err;
}

static enum err put_found(struct renderer *r, enum spot spot, const struct found *f) {
    bool json = spot == SPOT_QUOTED || spot == SPOT_BARE;
    if (json && f->skips_escaping) return put_unescaped(r, f->text);
    if (f->safe) return put(r, f->text);
    if (spot == SPOT_BARE) return put_bare(r, f);
    return put_escaped(r, spot, f->text, f->raw && (spot == SPOT_URL || spot == SPOT_FORM));
}

static enum err note_name(struct renderer *r, struct slice name) {
    struct template_name **end = &r->notes->unresolved;
    for (; *end; end = &(*end)->next)
        if (slice_eq((*end)->name, name)) return OK;
    struct template_name *added = arena_alloc(r->notes->arena, sizeof *added);
    if (!added) return no_memory(r);
    *added = (struct template_name){ .name = name };
    *end = added;
    return OK;
}

static enum err note_lacking(struct renderer *r, const struct op *op) {
    const struct hole *hole = &r->t->holes[op->index];
    enum err err = OK;
    for (uint32_t i = 0; i < hole->count && r->notes && !err; i++)
        err = note_name(r, tag_name(hole->alternatives[i].tag));
    return err;
}

// The rest of an item that is dropped: its tags without a value are named too.
static enum err note_dropped(struct renderer *r, const struct op *op, const struct op *end) {
    enum err err = OK;
    for (; op < end && r->notes && !err; op++) {
        struct found found;
        bool has = true;
        if (op->kind <= OP_VALUE) err = find_value(r, op, &found, &has);
        if (!err && !has) err = note_lacking(r, op);
    }
    return err;
}

// Nothing had a value: does what the policy says and names the next op.
static enum err lack(struct renderer *r, const struct op *op, const struct op **next) {
    enum err err = note_lacking(r, op);
    if (err) return err;
    if (op->lack == LACK_FAIL)
        return fail_set(r->fail, ERR_INPUT, 0, "missing_tag", "the event has no value for [%.*s]",
                        SLICE_FMT(tag_name(op->tag)));
    if (op->lack == LACK_OMIT && r->depth) {
        const struct level *level = &r->levels[r->depth - 1];
        r->out->n = level->item_start;
        *next = &r->t->ops[level->item->index] + 1;
        return note_dropped(r, op + 1, *next);
    }
    r->omitted = r->omitted || op->lack == LACK_OMIT;
    if (op->text_n) r->header_run = false;
    return put_blob(r, op->text_at, op->text_n);
}

static enum err put_value(struct renderer *r, const struct op *op, const struct op **next) {
    struct found found = { 0 };
    bool has;
    enum err err = find_value(r, op, &found, &has);
    if (err) return err;
    return has ? put_found(r, (enum spot)op->spot, &found) : lack(r, op, next);
}

static enum err start_item(struct renderer *r, const struct op *op) {
    struct level *level = &r->levels[r->depth - 1];
    level->item = op;
    level->item_start = r->out->n;
    const struct op *before = level->any ? op : level->open;
    return put_blob(r, before->text_at, before->text_n);
}

// Does one op and names the next, which is not always the following one.
static enum err step(struct renderer *r, const struct op *op, const struct op **next) {
    *next = op + 1;
    if (op->literal_n) r->header_run = false;
    enum err err = put_blob(r, op->literal_at, op->literal_n);
    if (err) return err;
    switch (op->kind) {
    case OP_OPEN:
        assert(r->depth <= TEMPLATE_DEPTH_MAX);
        r->levels[r->depth++] = (struct level){ .open = op };
        return OK;
    case OP_ITEM: return start_item(r, op);
    case OP_ITEM_END: r->levels[r->depth - 1].any = true; return OK;
    case OP_CLOSE: r->depth--; return OK;
    default: return put_value(r, op, next);
    }
}

// Lets the fast loop do what it can from *op on.
static enum err run_fast(struct renderer *r, const struct op **op) {
    struct fast_run run = { .t = r->t, .values = r->tags->values, .lacking = !r->notes };
    run.to = template_room(r->out, r->t->room);
    if (!run.to) return no_memory(r);
    run.end = r->out->p + r->out->capacity;
    *op = r->t->ops + template_run_fast(&run, (size_t)(*op - r->t->ops));
    if (run.to > r->out->p + r->out->n) r->header_run = false;
    r->out->n = (size_t)(run.to - r->out->p);
    r->bad_utf8 = r->bad_utf8 || run.bad_utf8;
    return r->out->n > r->out->max ? too_large(r) : OK;
}

static enum err run_ops(struct renderer *r) {
    const struct op *op = r->t->ops, *end = op + r->t->ops_count;
    bool fast = r->tags->count >= r->t->tags_limit;
    while (op < end) {
        enum err err = OK;
        if (fast && op->fast) {
            err = run_fast(r, &op);
            if (op == end) return err; // with the tail
        }
        if (!err) err = step(r, op, &op);
        if (err) return err;
    }
    return put(r, slice(r->t->blob + r->t->tail_at, r->t->blob_n - r->t->tail_at));
}

// The body with a JSON value in place of each secret's marker, as it will parse.
static bool add_unmarked(struct buf *to, struct slice body) {
    while (body.n) {
        size_t n = slice_find(body, 0);
        buf_add(to, slice(body.p, n));
        body = slice_from(body, n);
        if (!body.n) break;
        buf_byte(to, '0'); // good inside quotes and bare
        body = slice_from(body, 1 + slice_find(slice_from(body, 1), 0) + 1);
    }
    return !to->failed;
}

static enum err check_body(struct renderer *r) {
    struct slice body = slice(r->out->p + r->start, r->out->n - r->start);
    struct buf unmarked;
    struct fail fail = { 0 };
    buf_init(&unmarked, body.n);
    enum err err = no_memory(r);
    if (add_unmarked(&unmarked, body))
        err = json_check(buf_slice(&unmarked), (struct json_limits){ .depth_max = BODY_DEPTH_MAX },
                         &fail);
    if (err == ERR_INPUT || err == ERR_LIMIT) err = invalid_body(r, fail.at, fail.text);
    buf_deinit(&unmarked);
    return err;
}

static enum err render(struct renderer *r) {
    enum err err = run_ops(r);
    if (err) return err;
    struct buf *out = r->out;
    if (r->t->place == TEMPLATE_HEADER)
        while (out->n > r->start && out->p[out->n - 1] == ' ') out->n--;
    return r->t->checks_json ? check_body(r) : OK;
}

static void tell(const struct renderer *r, struct template_notes *notes, bool *omitted) {
    if (notes) {
        notes->coerced = notes->coerced || r->coerced;
        notes->sanitized = notes->sanitized || r->cleaned;
        notes->bad_utf8 = notes->bad_utf8 || r->bad_utf8;
    }
    if (omitted && r->omitted) *omitted = true;
}

enum err template_render_any(const struct template *t, const struct tag_set *tags, struct buf *out,
                             struct template_notes *notes, bool *omitted, struct fail *fail) {
    struct level levels[TEMPLATE_DEPTH_MAX + 1];
    struct renderer r = { .t = t,
                          .tags = tags,
                          .out = out,
                          .start = out->n,
                          .notes = notes,
                          .fail = fail,
                          .levels = levels };
    enum err err = out->failed ? too_large(&r) : render(&r);
    if (err)
        out->n = r.start;
    else
        tell(&r, notes, omitted);
    buf_deinit(&r.plain);
    for (int i = 0; i < 2; i++) buf_deinit(&r.scratch.turns[i]);
    return err;
}

void template_use_simd(enum template_simd which) {
    escape_force_portable(which == SIMD_PORTABLE);
}

struct slice template_notes_text(const struct template_notes *notes) {
    size_t n = 0, at = 0;
    for (const struct template_name *u = notes->unresolved; u; u = u->next) n += u->name.n + 1;
    char *text = arena_alloc(notes->arena, n + 1);
    for (const struct template_name *u = notes->unresolved; text && u; u = u->next) {
        if (at) text[at++] = ',';
        memcpy(text + at, u->name.p, u->name.n);
        at += u->name.n;
    }
    return slice(text, text ? at : 0);
}
