// Changes are cuts in the text: copy what is in front, write the new value,
// copy what is behind. No tree is built, so nothing can be lost on the way
// through one. The cost of a change is one walk along the path and one copy.
#include "patch.h"

#include "json_scan.h"
#include "utf8.h"

struct step {
    bool is_index;
    size_t index;     // from 1
    struct slice key; // as it is, no escapes
    size_t end;       // of the step in the path
};

struct path {
    struct slice text;
    struct step steps[PATCH_STEPS_MAX];
    size_t count;
    char keys[PATCH_PATH_MAX]; // unescaped keys of the ["…"] form
    size_t keys_n;
};

static enum err bad_path(struct fail *fail, const struct path *path, size_t at,
                         const char *problem) {
    fail_path(fail, "%.*s", SLICE_FMT(path->text));
    return fail_set(fail, ERR_INPUT, at, "bad_path", "\"%.*s\": %s (byte %zu)",
                    SLICE_FMT(path->text), problem, at);
}

// The digits of an index at `at`; returns the offset behind them.
static size_t take_index(struct slice text, size_t at, size_t *index) {
    *index = 0;
    for (; at < text.n && text.p[at] >= '0' && text.p[at] <= '9' && *index < 100000000; at++)
        *index = *index * 10 + (size_t)(text.p[at] - '0');
    return at;
}

// What stands between brackets; *at is behind the opening one, and behind the closing one after.
static enum err take_bracket(struct path *path, size_t *at, struct step *step, struct fail *fail) {
    struct slice text = path->text;
    struct json_scan scan;
    struct slice raw;
    bool escaped;
    step->is_index = *at == text.n || text.p[*at] != '"';
    if (step->is_index) {
        *at = take_index(text, *at, &step->index);
        if (!step->index) return bad_path(fail, path, *at, "an index belongs here, counted from 1");
    } else {
        json_scan_init(&scan, slice_from(text, *at + 1), (struct json_limits){ 0 });
        if (!json_scan_string(&scan, &raw, &escaped))
            return bad_path(fail, path, *at, "this is no JSON string");
        char *key = path->keys + path->keys_n;
        step->key = slice(key, json_unescape(raw, key));
        path->keys_n += step->key.n;
        *at += raw.n + 2;
    }
    if (*at == text.n || text.p[*at] != ']') return bad_path(fail, path, *at, "a ] belongs here");
    ++*at;
    return OK;
}

static enum err take_name(struct path *path, size_t *at, struct step *step, struct fail *fail) {
    struct slice text = path->text;
    size_t first = *at;
    while (*at < text.n && (unsigned char)text.p[*at] >= 0x20 && !strchr(".[]\"", text.p[*at]))
        ++*at;
    step->key = slice(text.p + first, *at - first);
    return step->key.n ? OK : bad_path(fail, path, *at, "a name belongs here");
}

static enum err parse_path(struct path *path, struct slice text, struct fail *fail) {
    path->text = text;
    path->count = path->keys_n = 0;
    if (text.n > PATCH_PATH_MAX || utf8_check(text) != text.n) {
        fail_path(fail, "%s", "");
        return fail_set(fail, ERR_INPUT, 0, "bad_path", "a path is at most %d bytes of UTF-8",
                        PATCH_PATH_MAX);
    }
    for (size_t at = 0; at < text.n;) {
        if (path->count == PATCH_STEPS_MAX) return bad_path(fail, path, at, "too many steps");
        struct step *step = &path->steps[path->count++];
        *step = (struct step){ .is_index = false };
        bool bracket = text.p[at] == '[';
        if (at && !bracket && text.p[at++] != '.')
            return bad_path(fail, path, at - 1, "a dot or bracket belongs here");
        if (bracket) at++;
        enum err err =
            bracket ? take_bracket(path, &at, step, fail) : take_name(path, &at, step, fail);
        if (err) return err;
        step->end = at;
    }
    return OK;
}

static bool is_step(const struct step *step, struct slice key, size_t index) {
    return step->is_index ? index == step->index : json_key_is(key, step->key);
}

// The child that a step names; of a key's several members the last. JSON_NONE
// when there is none or the container is of the wrong kind. *count is how many
// children there are.
static struct json child_of(struct json container, const struct step *step, size_t *count) {
    struct json found = { .type = JSON_NONE }, value;
    struct slice key;
    *count = 0;
    if (container.type != (step->is_index ? JSON_ARRAY : JSON_OBJECT)) return found;
    for (size_t at = 0; json_next(container, &at, &key, &value);) {
        ++*count;
        if (is_step(step, key, *count)) found = value;
    }
    return found;
}

// Goes down the path as far as there are values; returns the last one, and in
// *depth how many steps that were.
static struct json descend(struct slice text, const struct path *path, size_t *depth,
                           size_t *count) {
    struct json value = json_root(text);
    for (*depth = 0; *depth < path->count; ++*depth) {
        struct json child = child_of(value, &path->steps[*depth], count);
        if (child.type == JSON_NONE) break;
        value = child;
    }
    return value;
}

enum err patch_get(struct slice text, struct slice path_text, struct json *value,
                   struct fail *fail) {
    struct path path;
    size_t depth, count;
    *value = (struct json){ .type = JSON_NONE };
    enum err err = parse_path(&path, path_text, fail);
    if (err) return err;
    struct json last = descend(text, &path, &depth, &count);
    if (depth == path.count) *value = last;
    return OK;
}

static enum err refuse_step(struct fail *fail, const struct path *path, size_t depth,
                            const char *type, const char *problem) {
    struct slice shown = slice(path->text.p, depth ? path->steps[depth - 1].end : 0);
    fail_path(fail, "%.*s", SLICE_FMT(shown));
    return fail_set(fail, ERR_INPUT, 0, type, "%s%.*s%s %s", shown.n ? "\"" : "the JSON",
                    SLICE_FMT(shown), shown.n ? "\"" : "", problem);
}

// Can the steps from `depth` on be made in `value`, which has `count` children?
static enum err check_new(const struct path *path, struct json value, size_t depth, size_t count,
                          struct fail *fail) {
    const struct step *step = &path->steps[depth];
    bool null = value.type == JSON_NULL;
    if (!null && step->is_index && value.type != JSON_ARRAY)
        return refuse_step(fail, path, depth, "not_an_array", "is no array");
    if (!null && !step->is_index && value.type != JSON_OBJECT)
        return refuse_step(fail, path, depth, "not_an_object", "is no object");
    for (size_t i = depth; i < path->count; i++) {
        size_t next = i == depth && !null ? count + 1 : 1;
        if (path->steps[i].is_index && path->steps[i].index != next)
            return refuse_step(fail, path, i + 1, "out_of_range", "is past the end of its array");
    }
    return OK;
}

static void add_range(struct buf *out, const char *from, const char *to) {
    buf_add(out, slice(from, (size_t)(to - from)));
}

// The value, in the containers of the steps from `depth` on.
static void add_nested(struct buf *out, const struct path *path, size_t depth, struct slice json) {
    for (size_t i = depth; i < path->count; i++) {
        buf_byte(out, path->steps[i].is_index ? '[' : '{');
        if (path->steps[i].is_index) continue;
        buf_json(out, path->steps[i].key);
        buf_byte(out, ':');
    }
    buf_add(out, json);
    for (size_t i = path->count; i > depth; i--)
        buf_byte(out, path->steps[i - 1].is_index ? ']' : '}');
}

// How the children of a container are set apart: what stands in front of the
// last one, and between its key and value.
struct style {
    struct slice gap, colon;
    const char *end; // behind the last child, or behind the opening bracket
    bool empty;
};

enum { GAP_MAX = 64 };

static struct style style_of(struct json container) {
    struct style style = { .end = container.raw.p + 1, .colon = S(":"), .empty = true };
    struct json value;
    struct slice key;
    for (size_t at = 0; json_next(container, &at, &key, &value);) {
        const char *first = key.p ? key.p - 1 : value.raw.p;
        style.gap = slice(style.end, (size_t)(first - style.end));
        const char *behind = key.p ? key.p + key.n + 1 : NULL;
        if (behind) style.colon = slice(behind, (size_t)(value.raw.p - behind));
        style.end = value.raw.p + value.raw.n;
        style.empty = false;
        if (style.gap.n > GAP_MAX) style.gap = S(",");
        if (style.colon.n > GAP_MAX) style.colon = S(":");
    }
    return style;
}

static void add_child(struct buf *out, const struct path *path, size_t depth,
                      const struct style *style, struct slice json) {
    const struct step *step = &path->steps[depth];
    if (!style->empty && slice_find(style->gap, ',') == style->gap.n) buf_byte(out, ',');
    if (!style->empty) buf_add(out, style->gap);
    if (!step->is_index) {
        buf_json(out, step->key);
        buf_add(out, style->colon);
    }
    add_nested(out, path, depth + 1, json);
}

static enum err check_room(const struct buf *out, struct fail *fail) {
    if (!out->failed) return OK;
    fail_path(fail, "%s", "");
    return fail_set(fail, ERR_LIMIT, 0, "too_large", "the JSON would be longer than %zu bytes",
                    out->max);
}

enum err patch_set(struct slice text, struct slice path_text, struct slice json, struct buf *out,
                   struct fail *fail) {
    struct path path;
    size_t depth, count = 0;
    enum err err = parse_path(&path, path_text, fail);
    unsigned depth_max = PATCH_DEPTH_MAX - (unsigned)path.count;
    if (!err) err = json_check(json, (struct json_limits){ .depth_max = depth_max }, fail);
    if (err) return err;
    struct json value = descend(text, &path, &depth, &count);
    if (depth < path.count) err = check_new(&path, value, depth, count, fail);
    if (err) return err;
    json = json_root(json).raw;
    const char *end = text.p + text.n, *first = value.raw.p, *last = first + value.raw.n;
    if (depth == path.count || value.type == JSON_NULL) {
        add_range(out, text.p, first);
        add_nested(out, &path, depth, json);
    } else {
        struct style style = style_of(value);
        last = style.end;
        add_range(out, text.p, last);
        add_child(out, &path, depth, &style, json);
    }
    add_range(out, last, end);
    return check_room(out, fail);
}

// Copies the container's part of the text without the children that the step names.
static bool add_without(struct buf *out, struct slice text, struct json container,
                        const struct step *step) {
    const char *open = container.raw.p + 1, *last = open;
    struct slice key, first_gap = { NULL, 0 };
    struct json value;
    bool kept = false, found = false;
    add_range(out, text.p, open);
    size_t index = 0;
    for (size_t at = 0; json_next(container, &at, &key, &value);) {
        const char *first = key.p ? key.p - 1 : value.raw.p;
        struct slice gap = slice(last, (size_t)(first - last));
        if (++index == 1) first_gap = gap;
        last = value.raw.p + value.raw.n;
        if (is_step(step, key, index)) {
            found = true;
            continue;
        }
        buf_add(out, kept ? gap : first_gap); // a gap in front of a later child has its comma
        add_range(out, first, last);
        kept = true;
    }
    add_range(out, last, text.p + text.n);
    return found;
}

enum err patch_delete(struct slice text, struct slice path_text, struct buf *out, bool *found,
                      struct fail *fail) {
    struct path path;
    size_t depth, count;
    bool ignored;
    if (!found) found = &ignored;
    *found = false;
    enum err err = parse_path(&path, path_text, fail);
    if (err) return err;
    if (!path.count) return bad_path(fail, &path, 0, "the whole JSON cannot be deleted");
    const struct step *step = &path.steps[--path.count];
    struct json parent = descend(text, &path, &depth, &count);
    bool fits = parent.type == (step->is_index ? JSON_ARRAY : JSON_OBJECT);
    if (depth == path.count && fits)
        *found = add_without(out, text, parent, step);
    else
        buf_add(out, text);
    return check_room(out, fail);
}
