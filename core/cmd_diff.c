// tuma diff: an edited webhook over stored events, beside the one that runs. Either side has a
// script process, and so stored keys, of its own; both start without any.
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli.h"
#include "client.h"
#include "cmd_diff_inner.h"
#include "commands.h"
#include "json.h"
#include "store.h"

enum { LAST_MAX = 100 * 1000 };

struct side {
    struct tryout *tryout;
    struct hook *hook; // NULL before: the webhook is new
};

struct diff {
    struct config config;
    struct side before, after;
    struct event **events; // newest first
    size_t count, last;
    unsigned same, changed, failed;
    bool json;
};

// --- one event ---

static bool wanted(const struct side *side, const struct event *event) {
    return side->hook && hook_wants(side->hook, event);
}

static void run_side(const struct side *side, struct event *event, struct arena *arena,
                     struct tryout_result *result) {
    *result = (struct tryout_result){ .outcome = SCRIPT_FILTERED,
                                      .reason = side->hook ? S("does not listen to it")
                                                           : S("no such webhook yet") };
    if (wanted(side, event)) tryout_render(side->tryout, side->hook, event, arena, result);
}

struct texts {
    struct buf before, after;
};

static bool texts_differ(const struct tryout_result *before, const struct tryout_result *after,
                         bool spread, struct arena *arena, struct texts *texts) {
    texts->before.n = texts->after.n = 0;
    diff_add_side(before, spread, arena, &texts->before);
    diff_add_side(after, spread, arena, &texts->after);
    return !slice_eq(buf_slice(&texts->before), buf_slice(&texts->after));
}

static void print_json(const struct event *event, bool changed, const struct tryout_result *before,
                       const struct tryout_result *after, struct arena *arena, struct buf *out) {
    out->n = 0;
    buf_add(out, S("{\"event\":"));
    buf_json(out, event->id);
    buf_add(out, S(",\"type\":"));
    buf_json(out, event->type);
    buf_printf(out, ",\"changed\":%s,\"before\":", changed ? "true" : "false");
    tryout_json(before, arena, out);
    buf_add(out, S(",\"after\":"));
    tryout_json(after, arena, out);
    buf_add(out, S("}\n"));
    cli_print(out);
}

static void compare(struct diff *d, struct event *event) {
    struct arena arena;
    struct tryout_result before, after;
    struct texts texts;
    arena_init(&arena, 64 * 1024 * 1024);
    buf_init(&texts.before, 32 * 1024 * 1024);
    buf_init(&texts.after, 32 * 1024 * 1024);
    run_side(&d->before, event, &arena, &before);
    run_side(&d->after, event, &arena, &after);
    bool changed = texts_differ(&before, &after, false, &arena, &texts);
    changed ? d->changed++ : d->same++;
    d->failed += after.outcome != SCRIPT_OK && after.outcome != SCRIPT_FILTERED;
    if (d->json) {
        print_json(event, changed, &before, &after, &arena, &texts.before);
    } else if (changed) {
        // Bodies that differ in nothing but space are shown as they are.
        if (!texts_differ(&before, &after, true, &arena, &texts))
            texts_differ(&before, &after, false, &arena, &texts);
        printf("%.*s %.*s\n", SLICE_FMT(event->id), SLICE_FMT(event->type));
        diff_print(buf_slice(&texts.before), buf_slice(&texts.after));
    }
    buf_deinit(&texts.before);
    buf_deinit(&texts.after);
    arena_deinit(&arena);
}

// --- all of them ---

static bool keep_event(void *user, struct event *event) {
    struct diff *d = user;
    if (wanted(&d->before, event) || wanted(&d->after, event))
        d->events[d->count++] = event_ref(event);
    return true;
}

// Scripts see the events in the order in which they came.
static int compare_all(struct diff *d, struct store_reader *reader) {
    struct fail fail = { 0 };
    d->events = calloc(d->last, sizeof(struct event *));
    if (!d->events) return cli_say(EXIT_FINDINGS, "no memory for the events");
    enum err err = store_reader_events(reader, d->last, keep_event, d, &fail);
    for (size_t i = d->count; i-- > 0; event_unref(d->events[i]))
        if (err == OK) compare(d, d->events[i]);
    free(d->events);
    if (err != OK) return cli_fail(EXIT_STORE, &fail);
    if (!d->json && !d->count)
        printf("none of the last %zu events is for this webhook\n", d->last);
    else if (!d->json)
        printf("%zu event%s: %u the same, %u changed, %u with an error\n", d->count,
               d->count == 1 ? "" : "s", d->same, d->changed, d->failed);
    return d->changed ? EXIT_FINDINGS : EXIT_OK;
}

// --- which two ---

static void print_error(void *user, const struct hook_finding *finding) {
    if (finding->error) tryout_print_finding(user, finding);
}

static bool is_version(const char *text) {
    return strlen(text) == 16 && strspn(text, "0123456789abcdef") == 16;
}

// A version that the store keeps, with the shared files as they are now.
static int load_version(struct diff *d, struct store_reader *reader, const char *file,
                        const char *version) {
    struct fail fail = { 0 };
    struct arena arena;
    struct slice name, source;
    arena_init(&arena, 4 * 1024 * 1024);
    int status = -1;
    if (store_reader_source(reader, slice_str(version), &arena, &name, &source, &fail) != OK)
        status = cli_fail(EXIT_USAGE, &fail);
    else
        d->before.hook = tryout_load_text(d->before.tryout, file, wire_source_main(source),
                                          print_error, (void *)(uintptr_t)version);
    arena_deinit(&arena);
    return status;
}

static void find_version(struct slice answer, struct slice name, char version[17]) {
    struct json row, rows = json_get(json_root(answer), "webhooks");
    struct arena arena;
    arena_init(&arena, 1024 * 1024);
    for (size_t at = 0; json_next(rows, &at, NULL, &row);)
        if (slice_eq(json_text(json_get(row, "name"), &arena), name))
            snprintf(version, 17, "%.*s", SLICE_FMT(json_text(json_get(row, "version"), &arena)));
    arena_deinit(&arena);
}

// The version that the engine runs; false when it runs none, or there is no engine.
static bool running_version(const struct config *config, struct slice name, char version[17]) {
    struct fail fail = { 0 };
    struct buf answer;
    int status = 0;
    struct client *client = client_open(config, NULL, NULL, &fail);
    *version = '\0';
    if (!client) return false;
    buf_init(&answer, 64 * 1024 * 1024);
    enum err err =
        client_request(client, "GET", "/v1/webhooks", NULL, slice("", 0), &status, &answer, &fail);
    if (err == OK && status == 200) find_version(buf_slice(&answer), name, version);
    buf_deinit(&answer);
    client_close(client);
    return is_version(version);
}

static bool same_file(const char *a, const char *b) {
    struct stat x, y;
    return stat(a, &x) == 0 && stat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

static int load_before(struct diff *d, struct store_reader *reader, const char *edited,
                       const char *with) {
    char running[4096], version[17];
    struct slice name = cli_stem(edited);
    snprintf(running, sizeof running, "%s/%.*s.lua", d->config.scripts, SLICE_FMT(name));
    bool in_place = !with && same_file(edited, running);
    if (in_place && (!running_version(&d->config, name, version) ||
                     slice_eq(slice_str(version), d->after.hook->version)))
        return cli_say(EXIT_USAGE, "%s is %s: name what to compare it with, --with FILE or VERSION",
                       edited, *version ? "the version that runs" : "in place, and no engine runs");
    if (in_place) with = version;
    if (with && is_version(with)) {
        int status = load_version(d, reader, edited, with);
        if (status >= 0) return status;
    } else if (with || access(running, F_OK) == 0) {
        const char *file = with ? with : running;
        d->before.hook = tryout_load(d->before.tryout, file, print_error, (void *)(uintptr_t)file);
    } else {
        return -1;
    }
    return d->before.hook ? -1 : EXIT_FINDINGS;
}

static int run(struct diff *d, const char *edited, const char *with) {
    struct fail fail = { 0 };
    int status = EXIT_FINDINGS;
    struct store_reader *reader = store_reader_open(d->config.data, &fail);
    if (!reader) return cli_fail(EXIT_STORE, &fail);
    d->before.tryout = tryout_open(&d->config, &fail);
    d->after.tryout = d->before.tryout ? tryout_open(&d->config, &fail) : NULL;
    if (d->after.tryout) {
        d->after.hook =
            tryout_load(d->after.tryout, edited, tryout_print_finding, (void *)(uintptr_t)edited);
        if (d->after.hook) status = load_before(d, reader, edited, with);
        if (status < 0) status = compare_all(d, reader);
    } else {
        status = cli_fail(EXIT_STORE, &fail);
    }
    hook_unref(d->before.hook);
    hook_unref(d->after.hook);
    if (d->after.tryout) tryout_close(d->after.tryout);
    if (d->before.tryout) tryout_close(d->before.tryout);
    store_reader_close(reader);
    return status;
}

int cmd_diff(int argc, char **argv) {
    static struct diff d;
    int64_t last = 100;
    const char *with = NULL;
    const struct cli_flag flags[] = {
        { "last", "N", "how many stored events to go back (100)", CLI_INT, &last },
        { "with", "FILE|VERSION", "what to compare with (SCRIPTS/NAME.lua)", CLI_TEXT, &with },
        { "json", NULL, "one JSON object an event", CLI_SWITCH, &d.json }
    };
    const struct cli_command command = {
        .name = "diff",
        .usage = "HOOK [--last N] [--with FILE|VERSION] [--json]",
        .flags = flags,
        .flags_count = 3,
        .settings = true,
        .summary =
            "Runs an edited webhook over the last stored events beside the active one, before it goes live.",
        .details =
            "HOOK is the path of the edited file, compared with the file of the same name in the\n"
            "scripts directory; or a name there, compared with the version that runs. Each event\n"
            "whose request or filter changes is shown; exit status 1 when one did. Scripts start\n"
            "with an empty store. A VERSION is one that the store keeps (tuma log --json)."
    };
    char **rest, edited[4096];
    int count, status = cli_parse(&command, &d.config, argc, argv, &rest, &count);
    if (status >= 0) return status;
    if (count != 1 || last < 1 || last > LAST_MAX)
        return cli_say(EXIT_USAGE, "diff takes one HOOK, and --last from 1 to 100000");
    d.last = (size_t)last;
    tryout_path(&d.config, rest[0], edited, sizeof edited);
    if (access(edited, R_OK) != 0) status = cli_say(EXIT_USAGE, "%s: %s", edited, strerror(errno));
    if (with && !is_version(with) && access(with, R_OK) != 0)
        status = cli_say(EXIT_USAGE, "%s: %s", with, strerror(errno));
    if (status < 0) status = run(&d, edited, with);
    config_deinit(&d.config);
    return status;
}
