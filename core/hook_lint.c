// Warnings when a webhook is saved: unknown tags, tags that its events never
// carry, unknown event types, duplicate keys (hook_lint_keys.c), unknown names in
// functions
// (sandbox_call_lint.c). All warnings: the platform may add tags and events.
#include "hook_inner.h"

enum { LINT_ARENA_MAX = 8 * 1024 * 1024 };

struct lint {
    struct hook_build *build;
    struct slice text; // the template's source, to find its place in the file
};

// A name that the script itself writes somewhere outside of a placeholder is
// taken for one that its tags stage computes.
static bool script_computes(const struct hook *hook, struct slice name) {
    if (!(hook->stages & HOOK_TAGS)) return false;
    struct slice rest = hook->source;
    while (rest.n) {
        const char *hit = memmem(rest.p, rest.n, name.p, name.n);
        if (!hit) return false;
        char before = hit > hook->source.p ? hit[-1] : '\n';
        if (before != '[' && before != '|' && before != '_' && !(before >= 'A' && before <= 'Z'))
            return true;
        rest = slice_from(rest, (size_t)(hit - rest.p) + name.n);
    }
    return false;
}

static bool carried_by_any(const struct hook_build *b, const struct catalog_tag *tag) {
    for (size_t i = 0; i < b->hook->on_count; i++)
        if (catalog_tag_on(b->input->catalog, tag, b->hook->on[i])) return true;
    return false;
}

// `name` stands at `at` in `text`, which is in the file.
static void lint_name(struct hook_build *b, struct slice text, size_t at, struct slice name) {
    const struct catalog_tag *tag = catalog_find_tag(b->input->catalog, name);
    if (!tag && !script_computes(b->hook, name)) {
        struct slice near = catalog_suggest_tag(b->input->catalog, name);
        hook_report(b, false, text, at, "unknown_tag", "no tag [%.*s] is known%s%.*s%s",
                    SLICE_FMT(name), near.n ? "; did you mean [" : "", SLICE_FMT(near),
                    near.n ? "]?" : "");
    } else if (tag && !carried_by_any(b, tag)) {
        hook_report(b, false, text, at, "tag_not_carried", "[%.*s] is never carried by %.*s%s",
                    SLICE_FMT(name), SLICE_FMT(b->hook->on[0]),
                    b->hook->on_count > 1 ? " and the others" : "");
    }
}

static void on_use(void *user, const struct template_use *use) {
    struct lint *lint = user;
    if (!use->secret) lint_name(lint->build, lint->text, use->at, use->name);
}

// A mistyped name in a condition would keep the webhook silent.
static void lint_when(struct hook_build *b) {
    struct json condition, when = json_get(json_root(b->hook->description), "when");
    struct slice name;
    size_t at = 0;
    while (when.type == JSON_OBJECT && json_next(when, &at, &name, &condition))
        lint_name(b, name, 0, name);
}

static void lint_template(struct hook_build *b, const struct template *t, struct slice text) {
    if (t && text.p) template_each_use(t, on_use, &(struct lint){ b, text });
}

static void lint_events(struct hook_build *b) {
    for (size_t i = 0; i < b->hook->on_count; i++) {
        struct slice type = b->hook->on[i];
        if (slice_ends(type, S("*")) || catalog_find_event(b->input->catalog, type)) continue;
        struct slice near = catalog_suggest_event(b->input->catalog, type);
        hook_report(b, false, type, 0, "unknown_event", "no event %.*s is known%s%.*s%s",
                    SLICE_FMT(type), near.n ? "; did you mean " : "", SLICE_FMT(near),
                    near.n ? "?" : "");
    }
}

static void lint_request(struct hook_build *b, struct arena *texts) {
    struct json request = json_get(json_root(b->hook->description), "request");
    struct slice body = S("");
    if (b->hook->body) body = json_text(json_get(request, "body"), texts);
    if (b->hook->body && b->hook->format == HOOK_JSON) hook_lint_keys(b, body);
    if (!b->input->catalog) return;
    lint_template(b, b->hook->url, json_text(json_get(request, "url"), texts));
    lint_template(b, b->hook->body, body);
    for (size_t i = 0; i < b->hook->headers_count; i++) {
        struct slice name = b->hook->headers[i].name;
        struct slice value = json_text(json_get(json_get(request, "headers"), name.p), texts);
        lint_template(b, b->hook->headers[i].value, value);
    }
}

// What the script process found in the functions: its texts, and tags that they read.
static void lint_script(struct hook_build *b, struct arena *texts) {
    struct json remark, remarks = json_get(json_root(b->hook->description), "remarks");
    const struct catalog *catalog = b->input->catalog;
    for (size_t n = 0; json_next(remarks, &n, NULL, &remark);) {
        int64_t at = 0;
        struct slice tag = json_text(json_get(remark, "tag"), texts);
        json_int(json_get(remark, "at"), &at);
        struct slice place = slice_from(b->input->source, at > 0 ? (size_t)at : 0);
        if (!tag.n) {
            hook_report(b, false, place, 0, "unknown_name", "%.*s",
                        SLICE_FMT(json_text(json_get(remark, "text"), texts)));
        } else if (catalog && !catalog_find_tag(catalog, tag)) {
            struct slice near = catalog_suggest_tag(catalog, tag);
            hook_report(b, false, place, 0, "unknown_tag", "no tag %.*s is known%s%.*s%s",
                        SLICE_FMT(tag), near.n ? "; did you mean " : "", SLICE_FMT(near),
                        near.n ? "?" : "");
        }
    }
}

void hook_lint(struct hook_build *b) {
    struct arena texts; // which the hook need not keep
    arena_init(&texts, LINT_ARENA_MAX);
    if (b->input->catalog) lint_events(b);
    if (b->input->catalog) lint_when(b);
    lint_request(b, &texts);
    lint_script(b, &texts);
    arena_deinit(&texts);
}
