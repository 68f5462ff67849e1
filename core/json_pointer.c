// Where in a text a byte is, as a JSON pointer. Found again from the start when
// an error needs it, so that readers need not keep a trail while all is well.
#include "json.h"
#include "json_scan.h"
#include "utf8.h"

enum { LEVELS_MAX = 32 };

struct level {
    bool object, in_key; // in_key: its next string is a key
    size_t index;
    struct slice key; // p is NULL before the first one
};

struct trail {
    size_t depth;
    struct level levels[LEVELS_MAX];
};

static const char *trail_string(struct level *level, const char *p, const char *end) {
    const char *last = json_string_end(p + 1, end);
    bool is_key = level && level->object && level->in_key;
    if (is_key && last < end) {
        level->key = slice(p + 1, (size_t)(last - p) - 1);
        level->in_key = false;
    }
    return last < end ? last + 1 : end;
}

static void trail_byte(struct trail *trail, struct level *level, char c) {
    if (c == '{' || c == '[') {
        if (trail->depth < LEVELS_MAX)
            trail->levels[trail->depth] = (struct level){ .object = c == '{', .in_key = c == '{' };
        trail->depth++;
    } else if (c == '}' || c == ']') {
        if (trail->depth) trail->depth--;
    } else if (c == ',' && level) {
        level->in_key = level->object;
        level->index++;
        level->key = slice(NULL, 0);
    }
}

static void trail_follow(struct trail *trail, const char *p, const char *end) {
    trail->depth = 0;
    while (p < end) {
        bool known = trail->depth && trail->depth <= LEVELS_MAX;
        struct level *level = known ? &trail->levels[trail->depth - 1] : NULL;
        if (*p == '"')
            p = trail_string(level, p, end);
        else
            trail_byte(trail, level, *p++);
    }
}

struct pointer {
    char *out;
    size_t n, max;
};

static bool pointer_add(struct pointer *to, struct slice s) {
    if (to->n + s.n > to->max) return false;
    memcpy(to->out + to->n, s.p, s.n);
    to->n += s.n;
    return true;
}

// One reference token (RFC 6901 section 3) of a raw key. Writes whole
// characters only; false when the rest did not fit.
static bool pointer_add_key(struct pointer *to, struct slice raw) {
    while (raw.n) {
        char made[4];
        size_t n, used;
        if (raw.p[0] == '\\') {
            used = json_undo_escape(raw, made, &n);
        } else {
            n = used = utf8_sequence(raw);
            if (!n) return false;
            memcpy(made, raw.p, n);
        }
        struct slice c = slice(made, n);
        if (*made == '~') c = S("~0");
        if (*made == '/') c = S("~1");
        if (!*made) c = S("\xEF\xBF\xBD"); // paths are C strings
        if (!pointer_add(to, c)) return false;
        raw = slice_from(raw, used);
    }
    return true;
}

static bool pointer_add_index(struct pointer *to, size_t index) {
    char digits[24];
    size_t n = sizeof digits;
    do digits[--n] = (char)('0' + index % 10);
    while (index /= 10);
    return pointer_add(to, slice(digits + n, sizeof digits - n));
}

void json_pointer(struct slice text, size_t at, struct fail *fail) {
    if (!fail) return;
    struct trail trail;
    trail_follow(&trail, text.p, text.p + (at < text.n ? at : text.n));
    struct pointer to = { .out = fail->path, .max = sizeof fail->path - 1 };
    for (size_t i = 0; i < trail.depth && i < LEVELS_MAX; i++) {
        const struct level *level = &trail.levels[i];
        if (level->object && !level->key.p) break;
        if (!pointer_add(&to, S("/"))) break;
        if (!(level->object ? pointer_add_key(&to, level->key)
                            : pointer_add_index(&to, level->index)))
            break;
    }
    fail->path[to.n] = '\0';
}
