// Duplicate keys in one object of a JSON body (C7): valid JSON, but receivers
// disagree on which of the two counts, hence a warning. The template has already
// compiled, so this walk may be lenient: it only has to tell strings,
// placeholders and brackets apart.
#include <stdlib.h>

#include "hook_inner.h"
#include "map.h"

enum { KEYS_ARENA_MAX = 4 << 20, DEPTH_MAX = 128 };

struct walk {
    struct hook_build *build;
    struct slice text;
    size_t at;
    bool *tag_at;             // a placeholder's name starts here
    unsigned open[DEPTH_MAX]; // objects by number; 0: an array
    unsigned depth, objects;
    bool key_next;
    struct map seen; // object number and unescaped key
    struct arena arena;
};

static void on_use(void *user, const struct template_use *use) {
    struct walk *w = user;
    if (use->at < w->text.n) w->tag_at[use->at] = true;
}

// A placeholder is [NAME…] or [!NAME…], a secret [SECRET:NAME…].
static bool placeholder_here(const struct walk *w) {
    struct slice rest = slice_from(w->text, w->at + 1);
    if (w->text.p[w->at] != '[' || !rest.n) return false;
    size_t name = w->at + 1 + (rest.p[0] == '!');
    if (slice_starts(slice_from(w->text, name), S("SECRET:"))) return true;
    return name < w->text.n && w->tag_at[name];
}

// Past the ']' that ends it; one inside the quotes of a default does not.
static void skip_placeholder(struct walk *w) {
    bool quoted = false;
    for (w->at++; w->at < w->text.n; w->at++) {
        char c = w->text.p[w->at];
        if (c == '"') quoted = !quoted;
        if (c == ']' && !quoted) break;
    }
    w->at++;
}

static struct slice skip_string(struct walk *w) {
    size_t from = ++w->at;
    while (w->at < w->text.n && w->text.p[w->at] != '"') {
        if (placeholder_here(w))
            skip_placeholder(w);
        else
            w->at += w->text.p[w->at] == '\\' ? 2 : 1;
    }
    struct slice raw = slice(w->text.p + from, w->at - from);
    w->at++;
    return raw;
}

static void note_key(struct walk *w, struct slice raw) {
    unsigned object = w->open[w->depth];
    char *name = arena_alloc(&w->arena, sizeof object + raw.n + 1);
    if (!name) return;
    memcpy(name, &object, sizeof object);
    struct slice key = slice(name, sizeof object + json_unescape(raw, name + sizeof object));
    if (map_get(&w->seen, key))
        hook_report(w->build, false, w->text, (size_t)(raw.p - w->text.p), "duplicate_key",
                    "the key \"%.*s\" stands twice in one object", SLICE_FMT(raw));
    else
        map_put(&w->seen, key, name);
}

static void open_container(struct walk *w, bool object) {
    if (w->depth + 1 == DEPTH_MAX) return;
    w->open[++w->depth] = object ? ++w->objects : 0;
    w->key_next = object;
}

static void step(struct walk *w) {
    char c = w->text.p[w->at];
    if (c == '"') {
        struct slice raw = skip_string(w);
        if (w->key_next) note_key(w, raw);
        w->key_next = false;
    } else if (placeholder_here(w)) {
        skip_placeholder(w);
    } else {
        if (c == '{' || c == '[') open_container(w, c == '{');
        if ((c == '}' || c == ']') && w->depth) w->depth--, w->key_next = false;
        if (c == ',') w->key_next = w->open[w->depth] != 0;
        w->at++;
    }
}

void hook_lint_keys(struct hook_build *b, struct slice text) {
    if (!text.n) return;
    struct walk w = { .build = b, .text = text, .tag_at = calloc(text.n, sizeof(bool)) };
    if (!w.tag_at) return; // a warning less
    map_init(&w.seen);
    arena_init(&w.arena, KEYS_ARENA_MAX);
    template_each_use(b->hook->body, on_use, &w);
    while (w.at < text.n) step(&w);
    arena_deinit(&w.arena);
    map_deinit(&w.seen);
    free(w.tag_at);
}
