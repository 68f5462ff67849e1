// tuma diff: an edited webhook over stored events, beside the one that runs.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "commands.h"
#include "store.h"
#include "tryout.h"

struct diff {
    struct config config;
    struct tryout *tryout;
    struct hook *before, *after; // before NULL: the webhook is new
    unsigned events, same, changed;
};

static void add_side(const struct tryout_result *r, struct arena *arena, struct buf *out) {
    if (r->outcome == SCRIPT_FILTERED)
        buf_printf(out, "filtered%s%.*s\n", r->reason.n ? ": " : "", SLICE_FMT(r->reason));
    else if (r->outcome != SCRIPT_OK)
        buf_printf(out, "error: %.*s\n", SLICE_FMT(r->error));
    for (size_t i = 0; i < r->requests_count; i++) {
        const struct request *q = &r->requests[i];
        buf_printf(out, "%.*s %.*s\n", SLICE_FMT(q->method),
                   SLICE_FMT(request_mask(q->url, arena)));
        for (size_t h = 0; h < q->headers_count; h++)
            buf_printf(out, "%.*s: %.*s\n", SLICE_FMT(q->headers[h].name),
                       SLICE_FMT(request_mask(q->headers[h].value, arena)));
        if (q->has_body) buf_printf(out, "\n%.*s\n", SLICE_FMT(request_mask(q->body, arena)));
    }
}

// The longest common subsequence of lines, small enough for requests: both
// sides are cut at LINES_MAX lines.
enum { LINES_MAX = 400 };

static size_t split(struct slice text, struct slice lines[LINES_MAX]) {
    size_t n = 0;
    while (text.n && n < LINES_MAX) {
        size_t end = slice_find(text, '\n');
        lines[n++] = slice(text.p, end);
        text = slice_from(text, end + 1);
    }
    return n;
}

static void print_line(char mark, struct slice line, bool fancy) {
    const char *colour = !fancy || mark == ' ' ? "" : mark == '-' ? "\033[31m" : "\033[32m";
    printf("  %s%c %.*s%s\n", colour, mark, SLICE_FMT(line), *colour ? "\033[0m" : "");
}

static void print_diff(struct slice before, struct slice after) {
    static struct slice a[LINES_MAX], b[LINES_MAX];
    static unsigned short common[LINES_MAX + 1][LINES_MAX + 1];
    size_t n = split(before, a), m = split(after, b), i = 0, k = 0;
    bool fancy = cli_fancy(1);
    for (size_t x = n + 1; x-- > 0;)
        for (size_t y = m + 1; y-- > 0;)
            common[x][y] = x == n || y == m       ? 0
                           : slice_eq(a[x], b[y]) ? (unsigned short)(common[x + 1][y + 1] + 1)
                           : common[x + 1][y] > common[x][y + 1] ? common[x + 1][y]
                                                                 : common[x][y + 1];
    while (i < n || k < m) {
        if (i < n && k < m && slice_eq(a[i], b[k]))
            print_line(' ', a[i], fancy), i++, k++;
        else if (i < n && (k == m || common[i + 1][k] >= common[i][k + 1]))
            print_line('-', a[i++], fancy);
        else
            print_line('+', b[k++], fancy);
    }
}

static void render_side(struct diff *d, struct hook *hook, struct event *event, struct arena *arena,
                        struct buf *out) {
    struct tryout_result result = { .outcome = SCRIPT_FILTERED,
                                    .reason = hook ? S("does not listen to it")
                                                   : S("no such webhook yet") };
    if (hook && hook_wants(hook, event)) tryout_render(d->tryout, hook, event, arena, &result);
    add_side(&result, arena, out);
}

static bool on_event(void *user, struct event *event) {
    struct diff *d = user;
    struct arena arena;
    struct buf before, after;
    if (!(d->before && hook_wants(d->before, event)) && !hook_wants(d->after, event)) return true;
    arena_init(&arena, 64 * 1024 * 1024);
    buf_init(&before, 8 * 1024 * 1024);
    buf_init(&after, 8 * 1024 * 1024);
    render_side(d, d->before, event, &arena, &before);
    render_side(d, d->after, event, &arena, &after);
    d->events++;
    if (slice_eq(buf_slice(&before), buf_slice(&after))) {
        d->same++;
    } else {
        d->changed++;
        printf("%.*s %.*s\n", SLICE_FMT(event->id), SLICE_FMT(event->type));
        print_diff(buf_slice(&before), buf_slice(&after));
    }
    buf_deinit(&before);
    buf_deinit(&after);
    arena_deinit(&arena);
    return true;
}

static int compare(struct diff *d, int64_t last) {
    struct fail fail = { 0 };
    struct store_reader *reader = store_reader_open(d->config.data, &fail);
    if (!reader) return cli_fail(EXIT_STORE, &fail);
    enum err err = store_reader_events(reader, (size_t)last, on_event, d, &fail);
    store_reader_close(reader);
    if (err != OK) return cli_fail(EXIT_STORE, &fail);
    printf("%u event%s: %u the same, %u changed\n", d->events, d->events == 1 ? "" : "s", d->same,
           d->changed);
    return d->changed ? EXIT_FINDINGS : EXIT_OK;
}

static int diff(struct diff *d, const char *edited, const char *running, int64_t last) {
    struct fail fail = { 0 };
    d->tryout = tryout_open(&d->config, &fail);
    if (!d->tryout) return cli_fail(EXIT_STORE, &fail);
    d->after = tryout_load(d->tryout, edited, tryout_print_finding, (void *)(uintptr_t)edited);
    d->before =
        running ? tryout_load(d->tryout, running, tryout_print_finding, (void *)(uintptr_t)running)
                : NULL;
    int status = d->after ? compare(d, last) : EXIT_FINDINGS;
    hook_unref(d->before);
    hook_unref(d->after);
    tryout_close(d->tryout);
    return status;
}

int cmd_diff(int argc, char **argv) {
    static struct diff d;
    int64_t last = 100;
    const char *with = NULL;
    const struct cli_flag flags[] = {
        { "last", "N", "how many stored events to go back (100)", CLI_INT, &last },
        { "with", "FILE", "the version to compare with (SCRIPTS/NAME.lua)", CLI_TEXT, &with }
    };
    const struct cli_command command = {
        .name = "diff",
        .usage = "FILE [--last N] [--with FILE]",
        .flags = flags,
        .flags_count = 2,
        .settings = true,
        .summary =
            "Runs an edited webhook over the last stored events beside the active one, before it goes live.",
        .details =
            "FILE is the edited version; it is compared with the file of the same name in the\n"
            "scripts directory. Each event whose request or filter changes is shown; exit status\n1 when one did."
    };
    char **rest, running[4096];
    int count, status = cli_parse(&command, &d.config, argc, argv, &rest, &count);
    if (status >= 0) return status;
    if (count != 1 || last < 1 || last > 1000000)
        return cli_say(EXIT_USAGE, "diff takes one FILE, and --last from 1 to 1000000");
    struct slice name = cli_stem(rest[0]);
    snprintf(running, sizeof running, "%s/%.*s.lua", d.config.scripts, SLICE_FMT(name));
    FILE *there = fopen(with ? with : running, "re");
    if (there) fclose(there);
    status = diff(&d, rest[0], there ? (with ? with : running) : NULL, last);
    config_deinit(&d.config);
    return status;
}
