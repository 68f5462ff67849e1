// Using a webhook: matching an event, filling in the engine's own tags, rendering
// the request. hook_build.c and its neighbours make one from its description.
#include "hook.h"

#include <stdlib.h>

#include "hook_inner.h"

struct hook *hook_ref(struct hook *hook) {
    atomic_fetch_add_explicit(&hook->refs, 1, memory_order_relaxed);
    return hook;
}

void hook_unref(struct hook *hook) {
    if (!hook || atomic_fetch_sub_explicit(&hook->refs, 1, memory_order_acq_rel) != 1) return;
    template_free(hook->url);
    template_free(hook->body);
    template_free(hook->order_by);
    for (size_t i = 0; i < hook->headers_count; i++) template_free(hook->headers[i].value);
    arena_deinit(&hook->arena);
    free(hook);
}

bool hook_wants(const struct hook *hook, const struct event *event) {
    if (hook->org.n && !slice_eq(hook->org, event->org)) return false;
    bool listens = false;
    for (size_t i = 0; i < hook->on_count && !listens; i++)
        listens = event_type_matches(hook->on[i], event->type);
    return listens && hook_when_holds(hook->when, event);
}

bool hook_tags(const struct hook *hook, const struct event *event, struct arena *arena,
               struct tag_set *tags) {
    return tag_set_copy(tags, &event->tags, arena) &&
           tag_set_put(tags, S("EVENT"), tag_text(event->type)) &&
           tag_set_put(tags, S("EVENT_ID"), tag_text(event->id)) &&
           tag_set_put(tags, S("WEBHOOK_ID"), tag_text(hook->name)) &&
           tag_set_put(tags, S("ATTEMPT"), tag_text(S("1")));
}

// One template into the arena, through a scratch buffer that lives for the call.
static enum err render_part(const struct template *t, const struct tag_set *tags,
                            struct arena *arena, size_t max, struct template_notes *notes,
                            bool *omitted, struct slice *out, struct fail *fail) {
    struct buf buf;
    buf_init(&buf, max);
    enum err err = template_render(t, tags, &buf, notes, omitted, fail);
    if (err == OK) {
        *out = arena_dup(arena, buf_slice(&buf));
        if (!out->p) err = fail_set(fail, ERR_NOMEM, 0, "no_memory", "no memory for the request");
    }
    buf_deinit(&buf);
    return err;
}

static enum err render_headers(const struct hook *hook, const struct tag_set *tags,
                               struct arena *arena, struct request *request,
                               struct template_notes *notes, struct fail *fail) {
    request->headers = arena_zalloc(arena, hook->headers_count + 1, sizeof *request->headers);
    if (!request->headers)
        return fail_set(fail, ERR_NOMEM, 0, "no_memory", "no memory for the headers");
    bool typed = false;
    for (size_t i = 0; i < hook->headers_count; i++) {
        struct header *header = &request->headers[request->headers_count];
        bool omitted = false;
        header->name = hook->headers[i].name;
        enum err err = render_part(hook->headers[i].value, tags, arena, REQUEST_HEADER_BYTES_MAX,
                                   notes, &omitted, &header->value, fail);
        if (err != OK) {
            fail_path(fail, "header %.*s", SLICE_FMT(header->name));
            return err;
        }
        if (omitted) continue;
        typed = typed || slice_ieq(header->name, S("content-type"));
        request->headers_count++;
    }
    if (!typed && hook->content_type.n)
        request->headers[request->headers_count++] =
            (struct header){ S("Content-Type"), hook->content_type };
    return OK;
}

enum err hook_render(const struct hook *hook, const struct tag_set *tags, struct arena *arena,
                     struct request *request, struct template_notes *notes, struct fail *fail) {
    *request = (struct request){ .method = hook->method };
    enum err err =
        render_part(hook->url, tags, arena, REQUEST_URL_MAX, notes, NULL, &request->url, fail);
    if (err != OK) {
        fail_path(fail, "url");
        return err;
    }
    err = render_headers(hook, tags, arena, request, notes, fail);
    if (err != OK) return err;
    if (hook->body) {
        request->has_body = true;
        err = render_part(hook->body, tags, arena, REQUEST_BODY_MAX, notes, NULL, &request->body,
                          fail);
        if (err != OK) fail_path(fail, "body");
    }
    return err == OK ? request_check(request, hook->url_authority, fail) : err;
}

unsigned hook_test_line(const struct hook *hook, struct slice name) {
    struct slice source = hook->source;
    const char *hit = source.p;
    unsigned line = 1;
    while (name.n && (hit = memmem(hit, source.n - (size_t)(hit - source.p), name.p, name.n))) {
        const char *end = hit + name.n;
        bool quoted = hit > source.p && end < source.p + source.n && strchr("\"'", hit[-1]) &&
                      hit[-1] == *end;
        if (quoted) {
            for (const char *p = source.p; p < hit; p++) line += *p == '\n';
            return line;
        }
        hit++;
    }
    return line;
}
