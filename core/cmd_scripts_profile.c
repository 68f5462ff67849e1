// tuma scripts profile: stored events through the webhook's file, in a script process
// of this command's own; the engine is not asked.
#include <stdio.h>
#include <stdlib.h>

#include "cli.h"
#include "cmd_scripts_inner.h"
#include "json.h"
#include "store.h"
#include "tryout.h"

enum { EVENTS_BYTES_MAX = 24 * 1024 * 1024, REPORT_MAX = 4 * 1024 * 1024, SOURCE_MAX = 256 * 1024 };

struct events {
    struct hook *hook;
    struct buf json;
    size_t count;
};

static bool add_event(void *user, struct event *event) {
    struct events *events = user;
    if (!hook_wants(events->hook, event)) return true;
    buf_add(&events->json, events->count++ ? S(",{\"id\":") : S("[{\"id\":"));
    buf_json(&events->json, event->id);
    buf_add(&events->json, S(",\"type\":"));
    buf_json(&events->json, event->type);
    if (event->org.n) {
        buf_add(&events->json, S(",\"org\":"));
        buf_json(&events->json, event->org);
    }
    buf_add(&events->json, S(",\"tags\":"));
    buf_add(&events->json, event->json);
    buf_byte(&events->json, '}');
    return !events->json.failed;
}

static int stored_events(const struct config *config, int64_t last, struct events *events) {
    struct fail fail = { 0 };
    struct store_reader *reader = store_reader_open(config->data, &fail);
    if (!reader) return cli_fail(EXIT_STORE, &fail);
    enum err err = store_reader_events(reader, (size_t)last, add_event, events, &fail);
    store_reader_close(reader);
    if (err != OK) return cli_fail(EXIT_STORE, &fail);
    if (!events->count)
        return cli_say(EXIT_FINDINGS,
                       "none of the last %lld events is for this webhook; try --event FILE",
                       (long long)last);
    buf_byte(&events->json, ']');
    return -1;
}

static int one_event(const char *path, struct events *events) {
    struct fail fail = { 0 };
    size_t n;
    char *text = cli_read_file(path, EVENT_BYTES_MAX, &n, &fail);
    if (!text) return cli_fail(EXIT_USAGE, &fail);
    buf_byte(&events->json, '[');
    buf_add(&events->json, slice(text, n));
    buf_byte(&events->json, ']');
    free(text);
    if (json_check(buf_slice(&events->json), (struct json_limits){ .depth_max = 64 }, &fail) == OK)
        return -1;
    return cli_say(EXIT_USAGE, "%s: %s", path, fail.text);
}

// Line `number` of the script, for the eye.
static struct slice line_text(struct slice source, int64_t number) {
    while (number > 1 && source.n) {
        source = slice_from(source, slice_find(source, '\n') + 1);
        number--;
    }
    return slice_trim(slice(source.p, slice_find(source, '\n')));
}

static void print_report(struct slice report, struct slice source, struct arena *arena) {
    struct json root = json_root(report), line;
    int64_t calls = 1, errors = 0, all = 0;
    json_int(json_get(root, "calls"), &calls);
    for (size_t at = 0; json_next(json_get(root, "lines"), &at, NULL, &line);) {
        int64_t ns = 0;
        json_int(json_get(line, "ns"), &ns);
        all += ns;
    }
    json_int(json_get(root, "errors"), &errors);
    printf("%lld call%s", (long long)calls, calls == 1 ? "" : "s");
    if (errors)
        printf(", %lld ended by an error: %.*s", (long long)errors,
               SLICE_FMT(json_text(json_get(root, "error"), arena)));
    printf("\n   share   ns/call   hits/call  line\n");
    for (size_t at = 0; json_next(json_get(root, "lines"), &at, NULL, &line);) {
        int64_t ns = 0, hits = 0, number = 0;
        struct slice file = json_text(json_get(line, "file"), arena);
        json_int(json_get(line, "ns"), &ns);
        json_int(json_get(line, "hits"), &hits);
        json_int(json_get(line, "line"), &number);
        struct slice text =
            slice_starts(file, S("lib/")) ? slice("", 0) : line_text(source, number);
        printf("%6.1f %%  %8.0f  %10.2f  %.*s:%lld: %.*s\n",
               all ? 100.0 * (double)ns / (double)all : 0, (double)ns / (double)calls,
               (double)hits / (double)calls, SLICE_FMT(file), (long long)number,
               (int)(text.n < 80 ? text.n : 80), text.p);
    }
}

static int profile(const struct config *config, struct tryout *tryout, struct hook *hook,
                   const char *event_path, int64_t last, bool json) {
    struct events events = { .hook = hook };
    struct arena arena;
    struct slice report;
    buf_init(&events.json, EVENTS_BYTES_MAX);
    arena_init(&arena, REPORT_MAX);
    int status = event_path ? one_event(event_path, &events) : stored_events(config, last, &events);
    if (status < 0) {
        bool ok = tryout_profile(tryout, hook, buf_slice(&events.json), &arena, &report);
        if (json)
            printf("%.*s\n", SLICE_FMT(report));
        else if (ok)
            print_report(report, hook->source, &arena);
        status =
            ok ? EXIT_OK : cli_say(EXIT_FINDINGS, "the script did not run for any of the events");
    }
    arena_deinit(&arena);
    buf_deinit(&events.json);
    return status;
}

int scripts_profile(const struct config *config, const char *name, const char *event_path,
                    int64_t last, bool json) {
    struct fail fail = { 0 };
    char path[4300];
    if (last < 1 || last > 100000) return cli_say(EXIT_USAGE, "--last is from 1 to 100000");
    struct tryout *tryout = tryout_open(config, &fail);
    if (!tryout) return cli_fail(EXIT_STORE, &fail);
    tryout_path(config, name, path, sizeof path);
    struct hook *hook = tryout_load(tryout, path, tryout_print_finding, path);
    int status = EXIT_FINDINGS;
    if (hook && !(hook->stages & HOOK_REQUEST_STAGES))
        cli_say(status, "%s has no filter, tags or transform to profile", path);
    else if (hook)
        status = profile(config, tryout, hook, event_path, last, json);
    hook_unref(hook);
    tryout_close(tryout);
    return status;
}
