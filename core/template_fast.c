// The fast loop: one tag after the other into a JSON body or a URL, with room
// for all literals and short values set aside before it starts. A short value
// that needs no escaping, the usual case, costs one vector load, one comparison
// and one store; what is unusual takes a longer way in the same loop or is left
// to the caller. Literals and values are copied in whole vectors; what a copy
// writes too much is overwritten by the next.
#include "escape.h"
#include "escape_inner.h"
#include "template_inner.h"

// Kinds whose bytes are the value's text; they are next to each other.
static inline bool is_plain(const struct tag_value *v) {
    return v->kind >= TAG_STRING && v->kind <= TAG_FALSE;
}

// True when the output has room for a value of n bytes beside what was set aside.
static inline bool fits(const struct fast_run *run, const char *to, size_t n) {
    return n <= VALUE_FAST_MAX ||
           (size_t)(run->end - to) >= ESCAPE_JSON_GROWTH * n + run->t->room + ESCAPE_SLACK;
}

// What goes out for a tag the event lacks, unless somebody wants to know of it.
static inline bool may_lack(const struct fast_run *run, const struct op *op) {
    return run->lacking && op->lack == LACK_TEXT;
}

static size_t run_portable(struct fast_run *run, size_t i, size_t end) {
    const struct template *t = run->t;
    for (; i < end; i++) {
        const struct op *op = &t->ops[i];
        const struct tag_value *v = &run->values[op->tag];
        struct slice text = slice(v->p, v->n);
        bool copies = op->kind == OP_QUOTED && (v->flags & TAG_JSON_SAFE) && is_plain(v);
        if (op->kind == OP_HEADER)
            copies = is_plain(v) && !(v->flags & TAG_ESCAPED) &&
                     escape_portable.header_span(text) == text.n;
        if (v->kind == TAG_ABSENT && may_lack(run, op)) {
            text = slice(t->blob + op->text_at, op->text_n);
            copies = true;
        } else if ((!copies && (v->flags || !is_plain(v) || op->kind == OP_HEADER)) ||
                   !fits(run, run->to, v->n)) {
            break;
        }
        memcpy(run->to, t->blob + op->literal_at, op->literal_n);
        run->to += op->literal_n;
        if (copies) {
            if (text.n) memcpy(run->to, text.p, text.n);
            run->to += text.n;
        } else if (op->kind == OP_QUOTED) {
            run->to = escape_portable.json(run->to, text, &run->bad_utf8);
        } else {
            run->to = escape_portable.url(run->to, text);
        }
    }
    if (i == t->ops_count) {
        memcpy(run->to, t->blob + t->tail_at, t->blob_n - t->tail_at);
        run->to += t->blob_n - t->tail_at;
    }
    return i;
}

#if defined(__x86_64__)
#define LIKELY(x) __builtin_expect(!!(x), 1)

ESCAPE_AVX2_INLINE void copy32(char *to, const char *from) {
    _mm256_storeu_si256((__m256i *)to, _mm256_loadu_si256((const __m256i *)from));
}

// Copies n bytes that have BLOB_SLACK readable bytes behind them. Not by memcpy,
// whose string instruction is slow for a few kilobytes at odd addresses.
ESCAPE_AVX2_INLINE char *copy_blob(char *to, const char *from, size_t n) {
    copy32(to, from);
    for (size_t i = 32; i < n; i += 64) {
        copy32(to + i, from + i);
        copy32(to + i + 32, from + i + 32);
    }
    return to + n;
}

// The same for what may be long: many stores that each touch two cache lines
// would cost more than loads that do.
ESCAPE_AVX2_INLINE char *copy_tail(char *to, const char *from, size_t n) {
    copy32(to, from);
    for (size_t i = 32 - ((uintptr_t)to & 31); i < n; i += 64) {
        copy32(to + i, from + i);
        copy32(to + i + 32, from + i + 32);
    }
    return to + n;
}

// Copies a value, whose bytes may end with its page. Too much in one go costs
// less than a branch that goes either way.
ESCAPE_AVX2_INLINE char *copy_value(char *to, const char *from, size_t n) {
    if (n <= 32) {
        if (n) _mm256_storeu_si256((__m256i *)to, escape_load_upto32(from, n));
    } else if (n <= 256 && escape_same_page(from, 256)) {
#pragma GCC unroll 8
        for (size_t i = 0; i < 256; i += 32) copy32(to + i, from + i);
    } else {
        for (size_t i = 0; i + 32 < n; i += 32) copy32(to + i, from + i);
        copy32(to + n - 32, from + n - 32);
    }
    return to + n;
}

ESCAPE_AVX2_INLINE bool is_safe(const struct tag_value *v) {
    return (v->flags & TAG_JSON_SAFE) && is_plain(v);
}

// A short string without escapes: flags, kind and length looked at in one go.
static inline bool is_short_string(const struct tag_value *v) {
    uint64_t is;
    memcpy(&is, &v->n, sizeof is);
    is &= ~((uint64_t)TAG_JSON_SAFE << 48);
    return is - ((uint64_t)TAG_STRING << 32) - 1 <= 31;
}

// One value of the JSON loop that is no short plain string; NULL when the caller
// must see to it.
ESCAPE_AVX2_INLINE char *put_quoted(struct fast_run *run, const struct fast_op *op,
                                    const struct tag_value *v, char *to) {
    if (is_safe(v) && fits(run, to, v->n)) return copy_value(to, v->p, v->n);
    if (is_plain(v) && !v->flags && fits(run, to, v->n))
        return escape_avx2.json(to, slice(v->p, v->n), &run->bad_utf8);
    const struct op *full = &run->t->ops[op - run->t->fast];
    if (v->kind != TAG_ABSENT || !may_lack(run, full)) return NULL;
    return copy_blob(to, run->t->blob + full->text_at, full->text_n);
}

// What the JSON loop meets beside short plain strings, as long as there is no
// such one again. The first literal is written. Returns the next op, or NULL when the
// caller must see to the one in run->stopped.
static __attribute__((noinline)) ESCAPE_AVX2 const struct fast_op *
put_unusual(struct fast_run *run, const struct fast_op *op, const struct fast_op *end) {
    const struct tag_value *v = &run->values[op->tag];
    char *after = run->to + op->literal_n;
    for (;;) {
        char *to = put_quoted(run, op, v, after);
        if (!to) {
            run->stopped = op;
            return NULL;
        }
        run->to = to;
        if (++op == end) return op;
        v = &run->values[op->tag];
        if (is_short_string(v)) return op;
        after = copy_blob(to, run->t->blob + op->literal_at, op->literal_n);
    }
}

// Behind the last op comes the tail.
ESCAPE_AVX2_INLINE size_t finish(struct fast_run *run, char *to, size_t i) {
    const struct template *t = run->t;
    if (i == t->ops_count) to = copy_tail(to, t->blob + t->tail_at, t->blob_n - t->tail_at);
    run->to = to;
    return i;
}

// Writes short strings that need no escaping; stops at the first other op, whose
// literal is already written behind *to.
ESCAPE_AVX2_INLINE const struct fast_op *run_plain(const struct template *t,
                                                   const struct tag_value *values,
                                                   const struct fast_op *op,
                                                   const struct fast_op *end, char **to) {
    const struct escape_marks marks = escape_marks;
    const char *blob = t->blob;
    char *at = *to;
    for (; op < end; op++) {
        const struct tag_value *v = &values[op->tag];
        const char *p = v->p;
        uint64_t is; // flags, kind and length, in one look
        memcpy(&is, &v->n, sizeof is);
        is &= ~((uint64_t)TAG_JSON_SAFE << 48); // what is looked at below is safe all the same
        char *after = copy_blob(at, blob + op->literal_at, op->literal_n);
        uint64_t last = is - ((uint64_t)TAG_STRING << 32) - 1; // byte of a string
        if (last > 31 || !escape_same_page(p, 32)) break;
        __m256i text = _mm256_loadu_si256((const __m256i *)p);
        if (_bzhi_u32(escape_json_mask_ascii(text, marks), (uint32_t)is)) break;
        _mm256_storeu_si256((__m256i *)after, text);
        at = after + last + 1;
    }
    *to = at;
    return op;
}

ESCAPE_AVX2_INLINE size_t run_json(struct fast_run *run, size_t i, size_t end) {
    const struct template *t = run->t;
    const struct fast_op *op = t->fast + i, *last = t->fast + end;
    for (;;) {
        op = run_plain(t, run->values, op, last, &run->to);
        if (op == last) break;
        const struct fast_op *next = put_unusual(run, op, last);
        op = next ? next : run->stopped;
        if (!next) break;
    }
    return finish(run, run->to, (size_t)(op - t->fast));
}

ESCAPE_AVX2_INLINE size_t run_url(struct fast_run *run, size_t i, size_t end) {
    const struct fast_op *ops = run->t->fast;
    const char *blob = run->t->blob;
    char *to = run->to;
    for (; i < end; i++) {
        struct fast_op op = ops[i];
        const struct tag_value *v = &run->values[op.tag];
        char *at = copy_blob(to, blob + op.literal_at, op.literal_n);
        if (LIKELY(is_plain(v) && !(v->flags & TAG_ESCAPED) && fits(run, at, v->n))) {
            to = escape_avx2.url(at, slice(v->p, v->n));
            continue;
        }
        const struct op *full = &run->t->ops[i];
        if (v->kind != TAG_ABSENT || !may_lack(run, full)) break;
        to = copy_blob(at, blob + full->text_at, full->text_n);
    }
    return finish(run, to, i);
}

// A header's value without control bytes goes out as it is; NULL for any other.
ESCAPE_AVX2_INLINE char *put_header(struct fast_run *run, const struct tag_value *v, char *to) {
    if (!is_plain(v) || (v->flags & TAG_ESCAPED) || !fits(run, to, v->n)) return NULL;
    if (v->n > 32) {
        size_t span = escape_avx2.header_span(slice(v->p, v->n));
        return span == v->n ? copy_value(to, v->p, v->n) : NULL;
    }
    __m256i text = escape_load_upto32(v->p, v->n);
    if (_bzhi_u32(escape_header_mask(text), v->n)) return NULL;
    _mm256_storeu_si256((__m256i *)to, text);
    return to + v->n;
}

ESCAPE_AVX2_INLINE size_t run_header(struct fast_run *run, size_t i, size_t end) {
    const struct template *t = run->t;
    char *to = run->to;
    for (; i < end; i++) {
        const struct op *op = &t->ops[i];
        const struct tag_value *v = &run->values[op->tag];
        char *at = copy_blob(to, t->blob + op->literal_at, op->literal_n);
        char *after = put_header(run, v, at);
        if (!after && v->kind == TAG_ABSENT && may_lack(run, op))
            after = copy_blob(at, t->blob + op->text_at, op->text_n);
        if (!after) break;
        to = after;
    }
    return finish(run, to, i);
}

static ESCAPE_AVX2 size_t run_avx2(struct fast_run *run, size_t i, size_t end) {
    switch (run->t->place) {
    case TEMPLATE_URL: return run_url(run, i, end);
    case TEMPLATE_HEADER: return run_header(run, i, end);
    default: return run_json(run, i, end);
    }
}
#endif

size_t template_run_fast(struct fast_run *run, size_t from) {
    size_t end = from + run->t->ops[from].fast;
#if defined(__x86_64__)
    if (escape == &escape_avx2) return run_avx2(run, from, end);
#endif
    return run_portable(run, from, end);
}

// A whole render without a renderer, in a function that everything is inlined
// into, since for a small template the calls would cost as much as the work.
#define DEFINE_RENDER(name, target, run_ops)                                                       \
    static __attribute__((noinline)) target enum err name(                                         \
        const struct template *t, const struct tag_set *tags, struct buf *out,                     \
        struct template_notes *notes, bool *omitted, struct fail *fail) {                          \
        if (out->capacity - out->n < t->room + ESCAPE_SLACK && !template_room(out, t->room))       \
            return template_render_any(t, tags, out, notes, omitted, fail);                        \
        struct fast_run run = { .t = t,                                                            \
                                .values = tags->values,                                            \
                                .to = out->p + out->n,                                             \
                                .end = out->p + out->capacity,                                     \
                                .lacking = !notes };                                               \
        if (run_ops(&run, 0, t->ops_count) != t->ops_count)                                        \
            return template_render_any(t, tags, out, notes, omitted, fail);                        \
        size_t n = (size_t)(run.to - out->p);                                                      \
        if (t->place == TEMPLATE_HEADER)                                                           \
            while (n > out->n && out->p[n - 1] == ' ') n--;                                        \
        if (n > out->max || out->failed)                                                           \
            return template_render_any(t, tags, out, notes, omitted, fail);                        \
        out->n = n;                                                                                \
        if (notes && run.bad_utf8) notes->bad_utf8 = true;                                         \
        return OK;                                                                                 \
    }

DEFINE_RENDER(render_portable, , run_portable)
#if defined(__x86_64__)
DEFINE_RENDER(render_url, ESCAPE_AVX2, run_url)
DEFINE_RENDER(render_header, ESCAPE_AVX2, run_header)

// What most bodies are, short plain strings, in a loop that has little to set up.
// NULL when that was all; else the op it stopped at, with out->n in front of it.
ESCAPE_AVX2_INLINE const struct fast_op *
json_plain(const struct template *t, const struct tag_value *values, struct buf *out) {
    const struct fast_op *end = t->fast + t->ops_count;
    char *to = out->p + out->n;
    const struct fast_op *op = run_plain(t, values, t->fast, end, &to);
    if (op == end) to = copy_tail(to, t->blob + t->tail_at, t->blob_n - t->tail_at);
    out->n = (size_t)(to - out->p);
    return op == end ? NULL : op;
}

// The rest of a body, from `op` on; false when it is not for the fast loop.
static __attribute__((noinline)) ESCAPE_AVX2 bool
json_rest(const struct template *t, const struct tag_value *values, struct buf *out,
          struct template_notes *notes, const struct fast_op *op) {
    struct fast_run run = { .t = t,
                            .values = values,
                            .to = out->p + out->n,
                            .end = out->p + out->capacity,
                            .lacking = !notes };
    if (run_json(&run, (size_t)(op - t->fast), t->ops_count) != t->ops_count) return false;
    out->n = (size_t)(run.to - out->p);
    if (notes && run.bad_utf8) notes->bad_utf8 = true;
    return true;
}

static __attribute__((noinline)) ESCAPE_AVX2 enum err
render_json(const struct template *t, const struct tag_set *tags, struct buf *out,
            struct template_notes *notes, bool *omitted, struct fail *fail) {
    size_t start = out->n;
    bool room = out->capacity - start >= t->room + ESCAPE_SLACK || template_room(out, t->room);
    if (room && !out->failed) {
        const struct fast_op *op = json_plain(t, tags->values, out);
        bool done = !op || json_rest(t, tags->values, out, notes, op);
        if (done && out->n <= out->max) return OK;
        out->n = start;
    }
    return template_render_any(t, tags, out, notes, omitted, fail);
}
#endif

enum err template_render(const struct template *t, const struct tag_set *tags, struct buf *out,
                         struct template_notes *notes, bool *omitted, struct fail *fail) {
    if (!t->only_fast || tags->count < t->tags_limit)
        return template_render_any(t, tags, out, notes, omitted, fail);
#if defined(__x86_64__)
    if (escape == &escape_avx2) switch (t->place) {
        case TEMPLATE_URL: return render_url(t, tags, out, notes, omitted, fail);
        case TEMPLATE_HEADER: return render_header(t, tags, out, notes, omitted, fail);
        default: return render_json(t, tags, out, notes, omitted, fail);
        }
#endif
    return render_portable(t, tags, out, notes, omitted, fail);
}
