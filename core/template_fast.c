// The fast loop: one tag after the other into a JSON body or a URL, with room
// for all literals and short values set aside before it starts. Short values
// that need no escaping, the usual case, cost one vector load, one comparison
// and one store; everything unusual is left to the caller.
#include "escape.h"
#include "escape_inner.h"
#include "template_inner.h"

// True when the output has room for a value of n bytes beside what was set aside.
static inline bool fits(const struct fast_run *run, const char *to, size_t n) {
    return n <= VALUE_FAST_MAX ||
           (size_t)(run->end - to) >= ESCAPE_JSON_GROWTH * n + run->t->room + ESCAPE_SLACK;
}

// Kinds whose bytes are the value's text; they are next to each other.
static inline bool is_plain(const struct tag_value *v) {
    return v->kind >= TAG_STRING && v->kind <= TAG_FALSE;
}

static inline bool may_lack(const struct fast_run *run, const struct op *op) {
    return run->lacking && op->lack == LACK_TEXT;
}

static const struct op *run_portable(struct fast_run *run, const struct op *op) {
    const struct template *t = run->t;
    const struct op *end = t->ops + t->ops_count;
    for (; op < end && op->kind <= OP_URL; op++) {
        const struct tag_value *v = &run->values[op->tag];
        struct slice text = slice(v->p, v->n);
        bool safe = op->kind == OP_QUOTED && (v->flags & TAG_JSON_SAFE);
        bool lacks = v->kind == TAG_ABSENT && may_lack(run, op);
        if (lacks) text = slice(t->blob + op->text_at, op->text_n);
        if (!lacks &&
            (!is_plain(v) || (!safe && (v->flags & TAG_ESCAPED)) || !fits(run, run->to, v->n)))
            break;
        memcpy(run->to, t->blob + op->literal_at, op->literal_n);
        run->to += op->literal_n;
        if (safe || lacks) {
            if (text.n) memcpy(run->to, text.p, text.n);
            run->to += text.n;
        } else if (op->kind == OP_QUOTED) {
            run->to = escape_portable.json(run->to, text, &run->bad_utf8);
        } else {
            run->to = escape_portable.url(run->to, text);
        }
    }
    return op;
}

const struct op *template_run_fast(struct fast_run *run, const struct op *op) {
    return run_portable(run, op);
}
