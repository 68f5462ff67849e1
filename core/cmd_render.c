// tuma render: the request a webhook would send for an event. Nothing is sent.
#include <stdio.h>
#include <stdlib.h>

#include "cli.h"
#include "clock.h"
#include "commands.h"
#include "tryout.h"

static void print_text(const struct request *r, struct arena *arena) {
    printf("%.*s %.*s\n", SLICE_FMT(r->method), SLICE_FMT(request_mask(r->url, arena)));
    for (size_t i = 0; i < r->headers_count; i++)
        printf("%.*s: %.*s\n", SLICE_FMT(r->headers[i].name),
               SLICE_FMT(request_mask(r->headers[i].value, arena)));
    struct slice body = request_mask(r->body, arena);
    putchar('\n');
    fwrite(body.p, 1, body.n, stdout);
    if (body.n && body.p[body.n - 1] != '\n') putchar('\n');
}

static int print_result(const struct tryout_result *r, const char *path, bool json,
                        struct arena *arena) {
    struct buf out;
    bool failed = r->outcome != SCRIPT_OK && r->outcome != SCRIPT_FILTERED;
    if (json) {
        buf_init(&out, 32 * 1024 * 1024);
        tryout_json(r, arena, &out);
        cli_print(&out);
        putchar('\n');
        buf_deinit(&out);
        return failed ? EXIT_FINDINGS : EXIT_OK;
    }
    if (failed) return cli_say(EXIT_FINDINGS, "%s: %.*s", path, SLICE_FMT(r->error));
    if (r->outcome == SCRIPT_FILTERED)
        printf("filtered%s%.*s\n", r->reason.n ? ": " : "", SLICE_FMT(r->reason));
    for (size_t i = 0; i < r->requests_count; i++) {
        if (i) puts("\n---\n");
        print_text(&r->requests[i], arena);
    }
    if (r->unresolved.n) fprintf(stderr, "tags without a value: %.*s\n", SLICE_FMT(r->unresolved));
    return EXIT_OK;
}

static struct event *read_event(const char *path, struct fail *fail) {
    size_t n;
    char *text = cli_read_file(path, EVENT_BYTES_MAX, &n, fail);
    if (!text) return NULL;
    struct event *event = event_read(slice(text, n), clock_wall_ms(), fail);
    if (!event) {
        fail_place(fail, text, n);
        struct fail told = *fail;
        fail_set(fail, told.code, told.at, told.type, "%.80s:%u:%u: %.120s%s%s", path, told.line,
                 told.column, told.text, told.path[0] ? " at " : "", told.path);
    }
    free(text);
    return event;
}

// A webhook that does not listen to the event says so, as a filter would.
static int render(struct config *config, const char *path, struct event *event, bool json) {
    struct fail fail = { 0 };
    struct arena arena;
    struct tryout_result result = {
        .outcome = SCRIPT_FILTERED,
        .reason = S("the webhook does not listen to this event (on, org, when)")
    };
    struct tryout *tryout = tryout_open(config, &fail);
    if (!tryout) return cli_fail(EXIT_STORE, &fail);
    struct hook *hook = tryout_load(tryout, path, tryout_print_finding, (void *)(uintptr_t)path);
    int status = EXIT_FINDINGS;
    arena_init(&arena, 128 * 1024 * 1024);
    if (hook) {
        if (hook_wants(hook, event)) tryout_render(tryout, hook, event, &arena, &result);
        status = print_result(&result, path, json, &arena);
    }
    arena_deinit(&arena);
    hook_unref(hook);
    tryout_close(tryout);
    return status;
}

int cmd_render(int argc, char **argv) {
    static struct config config;
    const char *file = NULL;
    bool json = false;
    const struct cli_flag flags[] = {
        { "event", "FILE", "the event, as POST /v1/events takes it (-: standard input)", CLI_TEXT,
          &file },
        { "json", NULL, "the request as a JSON object", CLI_SWITCH, &json }
    };
    const struct cli_command command = {
        .name = "render",
        .usage = "HOOK --event FILE [--json]",
        .flags = flags,
        .flags_count = 2,
        .settings = true,
        .summary = "Shows the request that a webhook would send for an event. Nothing is sent.",
        .details =
            "HOOK is a name in the scripts directory or the path of a Lua file. Secrets show\nas [SECRET:NAME]."
    };
    char **rest, path[4096];
    int count, status = cli_parse(&command, &config, argc, argv, &rest, &count);
    if (status >= 0) return status;
    if (count != 1 || !file) return cli_say(EXIT_USAGE, "render takes one HOOK and --event FILE");
    struct fail fail = { 0 };
    struct event *event = read_event(file, &fail);
    if (!event) return cli_fail(EXIT_USAGE, &fail);
    tryout_path(&config, rest[0], path, sizeof path);
    status = render(&config, path, event, json);
    event_unref(event);
    config_deinit(&config);
    return status;
}
