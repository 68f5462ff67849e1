// From a description to a webhook. The description is the table that the Lua
// file returned, as JSON, functions left out and their names in "stages":
//
//   {"on":["call.completed"], "org":"acme", "when":{…}, "request":{"method","format","url",
//    "headers":{…},"body":"…"}, "timeout":10, "retry":"standard", …, "stages":["filter"],
//    "tests":[…], "remarks":[…]}
//
// Construction goes on after an error, so that one `tuma check` names them all.
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hook_inner.h"

enum { HOOK_ARENA_MAX = 8 * 1024 * 1024, HOOK_PATTERNS_MAX = 64 };

static void report(struct hook_build *b, struct hook_finding *finding, const char *type) {
    if (strcmp(type, "no_memory") == 0) b->no_memory = true;
    if (finding->error && !b->bad) {
        b->bad = true;
        fail_set(b->fail, ERR_INPUT, 0, type, "%.*s:%u:%u: %s", SLICE_FMT(b->input->file),
                 finding->line, finding->column, finding->text);
        if (b->fail) b->fail->line = finding->line, b->fail->column = finding->column;
    }
    if (b->found) b->found(b->user, finding);
}

static void locate(struct hook_finding *finding, struct slice source, const char *hit, size_t at) {
    struct fail place = { .at = (size_t)(hit - source.p) + at };
    fail_place(&place, source.p, source.n);
    finding->line = place.line;
    finding->column = place.column;
}

void hook_report(struct hook_build *b, bool error, struct slice needle, size_t at, const char *type,
                 const char *format, ...) {
    struct hook_finding finding = { .error = error, .line = 1, .column = 1 };
    va_list args;
    va_start(args, format);
    vsnprintf(finding.text, sizeof finding.text, format, args);
    va_end(args);
    struct slice source = b->input->source;
    const char *hit = needle.n && source.n ? memmem(source.p, source.n, needle.p, needle.n) : NULL;
    if (hit) locate(&finding, source, hit, at <= needle.n ? at : 0);
    report(b, &finding, type);
}

static bool is_word_byte(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

// Where `key` stands as a word before an equals sign, or NULL.
static const char *find_key(struct slice source, struct slice key) {
    for (size_t from = 0; from < source.n;) {
        const char *hit = memmem(source.p + from, source.n - from, key.p, key.n);
        if (!hit) return NULL;
        size_t start = (size_t)(hit - source.p), end = start + key.n;
        struct slice rest = slice_trim(slice_from(source, end));
        bool whole = (start == 0 || !is_word_byte(hit[-1])) && rest.n &&
                     (rest.p[0] == '=' || rest.p[0] == '(');
        if (whole) return hit;
        from = end;
    }
    return NULL;
}

void hook_report_key(struct hook_build *b, const char *key, const char *format, ...) {
    struct hook_finding finding = { .error = true, .line = 1, .column = 1 };
    va_list args;
    va_start(args, format);
    vsnprintf(finding.text, sizeof finding.text, format, args);
    va_end(args);
    const char *hit = find_key(b->input->source, slice_str(key));
    if (hit) locate(&finding, b->input->source, hit, 0);
    report(b, &finding, "bad_setting");
}

struct slice hook_read_text(struct hook_build *b, struct json object, const char *key,
                            struct slice otherwise) {
    struct json value = json_get(object, key);
    if (value.type == JSON_NONE) return otherwise;
    if (value.type != JSON_STRING) {
        hook_report_key(b, key, "%s is a string", key);
        return otherwise;
    }
    return arena_dup(&b->hook->arena, json_text(value, &b->hook->arena));
}

size_t hook_read_texts(struct hook_build *b, struct json value, const char *key,
                       struct slice **out) {
    struct arena *arena = &b->hook->arena;
    struct slice single;
    if (value.type == JSON_STRING) {
        *out = arena_alloc(arena, sizeof **out);
        single = arena_dup(arena, json_text(value, arena));
        if (!*out || !single.p) return 0;
        (*out)[0] = single;
        return 1;
    }
    if (value.type != JSON_ARRAY) {
        if (value.type != JSON_NONE && value.raw.n > 2)
            hook_report_key(b, key, "%s is a list of strings", key);
        return 0;
    }
    size_t at = 0, count = 0, n = 0;
    struct json item;
    while (json_next(value, &at, NULL, &item)) count++;
    *out = arena_zalloc(arena, count + 1, sizeof **out);
    at = 0;
    while (*out && json_next(value, &at, NULL, &item)) {
        if (item.type == JSON_STRING)
            (*out)[n++] = arena_dup(arena, json_text(item, arena));
        else
            hook_report_key(b, key, "%s is a list of strings", key);
    }
    return n;
}

double hook_read_number(struct hook_build *b, struct json object, const char *key, double min,
                        double max, double otherwise) {
    struct json value = json_get(object, key);
    double number;
    if (value.type == JSON_NONE) return otherwise;
    if (value.type == JSON_NUMBER && json_double(value, &number) && number >= min && number <= max)
        return number;
    hook_report_key(b, key, "%s is a number from %g to %g", key, min, max);
    return otherwise;
}

void hook_check_keys(struct hook_build *b, struct json object, const char *where,
                     const struct slice *known, size_t known_count) {
    size_t at = 0;
    struct slice key;
    struct json value;
    while (object.type == JSON_OBJECT && json_next(object, &at, &key, &value)) {
        bool fine = false;
        for (size_t i = 0; i < known_count && !fine; i++) fine = slice_eq(known[i], key);
        if (fine) continue;
        struct slice near = suggest(known, known_count, key);
        struct slice name = arena_dup(&b->hook->arena, key);
        hook_report_key(b, name.p ? name.p : "", "%s has no setting \"%.*s\"%s%.*s%s", where,
                        SLICE_FMT(key), near.n ? "; did you mean \"" : "", SLICE_FMT(near),
                        near.n ? "\"?" : "");
    }
}

// What a webhook may say at its top level.
static void check_top_keys(struct hook_build *b, struct json root) {
    static const char *const names[] = {
        "on",      "org",         "when",        "request",  "timeout",         "connect_timeout",
        "retry",   "rate",        "concurrency", "order_by", "on_script_error", "missing",
        "secrets", "sign",        "auth",        "breaker",  "tests",           "stages",
        "enabled", "description", "remarks"
    };
    struct slice known[sizeof names / sizeof *names];
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) known[i] = slice_str(names[i]);
    hook_check_keys(b, root, "a webhook", known, sizeof names / sizeof *names);
}

static void read_patterns(struct hook_build *b, struct json root) {
    struct hook *hook = b->hook;
    hook->on_count = hook_read_texts(b, json_get(root, "on"), "on", &hook->on);
    if (!hook->on_count) hook_report_key(b, "on", "on names at least one event type");
    if (hook->on_count > HOOK_PATTERNS_MAX)
        hook_report_key(b, "on", "on names at most %d types", HOOK_PATTERNS_MAX);
    for (size_t i = 0; i < hook->on_count; i++) {
        struct slice pattern = hook->on[i], stem = pattern;
        if (slice_ends(stem, S(".*"))) stem.n -= 2;
        bool fine = slice_eq(pattern, S("*")) || event_type_valid(pattern) ||
                    (stem.n < pattern.n && stem.n &&
                     event_type_valid(arena_printf(&hook->arena, "%.*s.x", SLICE_FMT(stem))));
        if (!fine)
            hook_report(b, true, pattern, 0, "bad_event_type",
                        "\"%.*s\" is no event type and no pattern like \"call.*\"",
                        SLICE_FMT(pattern));
    }
}

static void read_stages(struct hook_build *b, struct json root) {
    static const struct {
        struct slice name;
        enum hook_stage stage;
    } stages[] = {
        { { "filter", 6 }, HOOK_FILTER },       { { "tags", 4 }, HOOK_TAGS },
        { { "transform", 9 }, HOOK_TRANSFORM }, { { "response", 8 }, HOOK_RESPONSE },
        { { "exhausted", 9 }, HOOK_EXHAUSTED },
    };
    struct slice *names;
    size_t count = hook_read_texts(b, json_get(root, "stages"), "stages", &names);
    for (size_t i = 0; i < count; i++)
        for (size_t k = 0; k < sizeof stages / sizeof *stages; k++)
            if (slice_eq(names[i], stages[k].name)) b->hook->stages |= stages[k].stage;
}

static void read_description(struct hook_build *b) {
    struct slice text = b->hook->description;
    struct fail fail = { 0 };
    if (json_check(text, (struct json_limits){ .depth_max = 32 }, &fail) != OK ||
        json_root(text).type != JSON_OBJECT) {
        hook_report(b, true, slice("", 0), 0, "bad_description",
                    "the file returns no webhook table: %s", fail.text);
        return;
    }
    struct json root = json_root(text);
    check_top_keys(b, root);
    read_patterns(b, root);
    b->hook->org = hook_read_text(b, root, "org", slice("", 0));
    read_stages(b, root);
    hook_read_when(b, json_get(root, "when"));
    hook_read_policy(b, root);
    hook_read_request(b, json_get(root, "request"));
    hook_read_security(b, root);
    struct json tests = json_get(root, "tests");
    if (tests.type == JSON_ARRAY) b->hook->tests = tests.raw;
}

static bool copy_input(struct hook *hook, const struct hook_input *input) {
    struct slice *const to[] = { &hook->name, &hook->file, &hook->version, &hook->source,
                                 &hook->description };
    const struct slice from[] = { input->name, input->file, input->version, input->source,
                                  input->description };
    for (size_t i = 0; i < sizeof to / sizeof *to; i++) {
        *to[i] = arena_dup(&hook->arena, from[i]);
        if (!to[i]->p) return false;
    }
    return true;
}

static bool name_valid(struct slice name) {
    if (!name.n || name.n > 64) return false;
    for (size_t i = 0; i < name.n; i++) {
        char c = name.p[i];
        bool inner = c == '_' || c == '-';
        if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || (inner && i > 0))) return false;
    }
    return true;
}

struct hook *hook_new(const struct hook_input *input, hook_finding_fn *found, void *user,
                      struct fail *fail) {
    struct hook *hook = calloc(1, sizeof *hook);
    if (!hook) {
        fail_set(fail, ERR_NOMEM, 0, "no_memory", "no memory for a webhook");
        return NULL;
    }
    atomic_init(&hook->refs, 1);
    arena_init(&hook->arena, HOOK_ARENA_MAX);
    struct hook_build b = {
        .input = input, .hook = hook, .found = found, .user = user, .fail = fail
    };
    if (!copy_input(hook, input)) {
        fail_set(fail, ERR_NOMEM, 0, "no_memory", "no memory for a webhook");
        b.bad = true;
    } else if (!name_valid(hook->name)) {
        hook_report(
            &b, true, slice("", 0), 0, "bad_name",
            "\"%.*s\": a webhook's name is 1 to 64 of a-z 0-9 _ -, starting with a letter or digit",
            SLICE_FMT(hook->name));
    } else {
        read_description(&b);
        if (!b.bad) hook_lint(&b);
    }
    // A part that could not be allocated looks like one left out: a signature, a condition.
    if (b.no_memory || hook->arena.no_memory) {
        b.bad = true;
        fail_set(fail, ERR_NOMEM, 0, "no_memory", "no memory for a webhook");
    }
    if (!b.bad) return hook;
    hook_unref(hook);
    return NULL;
}
