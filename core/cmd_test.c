// tuma test: hook.tests and NAME_test.lua files, for people or as TAP.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <uv.h>

#include "cli.h"
#include "commands.h"
#include "json.h"
#include "tryout.h"

struct test {
    struct config config;
    struct tryout *tryout;
    bool tap, watch, json;
    unsigned passed, failed;
};

static void indent(const char *prefix, struct slice text) {
    while (text.n) {
        size_t end = slice_find(text, '\n');
        printf("%s%.*s\n", prefix, (int)end, text.p);
        text = slice_from(text, end + 1);
    }
}

static void print_test(struct test *t, struct slice hook, struct slice name, bool ok,
                       struct slice message) {
    ok ? t->passed++ : t->failed++;
    if (t->json) {
        struct buf out;
        buf_init(&out, 1024 * 1024);
        buf_add(&out, S("{\"webhook\":"));
        buf_json(&out, hook);
        buf_add(&out, S(",\"name\":"));
        buf_json(&out, name);
        buf_printf(&out, ",\"ok\":%s,\"message\":", ok ? "true" : "false");
        buf_json(&out, message);
        buf_add(&out, S("}\n"));
        cli_print(&out);
        buf_deinit(&out);
    } else if (t->tap) {
        printf("%sok %u - %.*s: %.*s\n", ok ? "" : "not ", t->passed + t->failed, SLICE_FMT(hook),
               SLICE_FMT(name));
        if (!ok) indent("# ", message);
    } else {
        bool fancy = cli_fancy(1);
        printf("%s%s%s %.*s: %.*s\n", fancy ? (ok ? "\033[32m" : "\033[31m") : "",
               ok ? "ok  " : "FAIL", fancy ? "\033[0m" : "", SLICE_FMT(hook), SLICE_FMT(name));
        if (!ok) indent("     ", message);
    }
}

static void print_report(struct test *t, struct slice hook, struct slice report,
                         struct arena *arena) {
    struct json test, tests = { 0 };
    if (json_check(report, (struct json_limits){ .depth_max = 32 }, NULL) == OK)
        tests = json_get(json_root(report), "tests");
    if (tests.type != JSON_ARRAY) {
        print_test(t, hook, S("tests run"), false, report);
        return;
    }
    for (size_t at = 0; json_next(tests, &at, NULL, &test);)
        print_test(t, hook, json_text(json_get(test, "name"), arena),
                   json_get(test, "ok").type == JSON_TRUE,
                   json_get(test, "message").type == JSON_STRING
                       ? json_text(json_get(test, "message"), arena)
                       : slice("", 0));
}

struct findings {
    struct test *test;
    struct slice hook;
};

static void on_finding(void *user, const struct hook_finding *f) {
    struct findings *to = user;
    char text[400];
    snprintf(text, sizeof text, "%u:%u: %s", f->line, f->column, f->text);
    if (f->error) print_test(to->test, to->hook, S("loads"), false, slice_str(text));
}

static void test_file(void *user, const char *path) {
    struct test *t = user;
    char beside[4200], file[4200];
    size_t n = 0;
    struct fail fail = { 0 };
    struct arena arena;
    struct slice report = { 0 };
    // The tests of a webhook may be named in its stead.
    bool tests = slice_ends(slice_str(path), S("_test.lua"));
    size_t suffix = tests                                    ? 9
                    : slice_ends(slice_str(path), S(".lua")) ? 4
                                                             : 0,
           stem = strlen(path) - suffix;
    snprintf(file, sizeof file, "%.*s.lua", (int)stem, path);
    if (tests) path = file;
    struct findings findings = { t, cli_stem(path) };
    struct hook *hook = tryout_load(t->tryout, path, on_finding, &findings);
    if (!hook) return;
    snprintf(beside, sizeof beside, "%.*s_test.lua", (int)stem, path);
    char *source = cli_read_file(beside, 1024 * 1024, &n, &fail);
    arena_init(&arena, 16 * 1024 * 1024);
    if (hook->tests.n || source) {
        tryout_test(t->tryout, hook, slice(source, n), &arena, &report);
        print_report(t, hook->name, report, &arena);
    }
    free(source);
    arena_deinit(&arena);
    hook_unref(hook);
}

static int run_once(struct test *t, const char *path) {
    struct fail fail = { 0 };
    t->passed = t->failed = 0;
    t->tryout = tryout_open(&t->config, &fail);
    if (!t->tryout) return cli_fail(EXIT_STORE, &fail);
    enum err err = tryout_each_file(&t->config, path, test_file, t, &fail);
    tryout_close(t->tryout);
    if (err != OK) return cli_fail(EXIT_USAGE, &fail);
    if (t->tap) printf("1..%u\n", t->passed + t->failed);
    if (!t->tap && !t->json) printf("%u passed, %u failed\n", t->passed, t->failed);
    fflush(stdout);
    return t->failed ? EXIT_FINDINGS : EXIT_OK;
}

// --- Watch mode: again after each change, until a signal ends it ---

// Directories are watched, never files: most editors put a new file in the old one's place.
// The one above is for a directory that is a symbolic link and is pointed elsewhere.
enum { FILES, LIB, ABOVE, WATCHES };

struct watch {
    struct test *test;
    const char *path;
    char dirs[WATCHES][4400];
    uv_fs_event_t events[WATCHES];
    uv_timer_t settle; // editors write in several steps
};

static void on_settled(uv_timer_t *timer);

static void on_changed(uv_fs_event_t *event, const char *name, int events, int status) {
    struct watch *w = event->data;
    (void)events;
    bool above = event == &w->events[ABOVE];
    const char *slash = strrchr(w->dirs[FILES], '/');
    if (above && (!name || strcmp(name, slash ? slash + 1 : w->dirs[FILES]) != 0)) return;
    if (status == 0) uv_timer_start(&w->settle, on_settled, 50, 0);
}

// Anew after each run: what a name leads to may be another directory by then.
static int watch_all(struct watch *w) {
    int rc = 0;
    for (int i = 0; i < WATCHES; i++) {
        uv_fs_event_stop(&w->events[i]);
        int started = uv_fs_event_start(&w->events[i], on_changed, w->dirs[i], 0);
        if (i == FILES) rc = started; // the others may not be there
    }
    return rc;
}

static void on_settled(uv_timer_t *timer) {
    struct watch *w = timer->data;
    watch_all(w);
    if (!w->test->tap && !w->test->json) putchar('\n');
    run_once(w->test, w->path);
}

static void parent_of(const char *path, char *out, size_t size) {
    const char *slash = strrchr(path, '/');
    int n = slash ? (int)(slash - path) : 0;
    snprintf(out, size, "%.*s", slash ? (n ? n : 1) : 1, slash ? path : ".");
}

static void name_dirs(struct watch *w) {
    struct stat st;
    char file[4400];
    const struct config *config = &w->test->config;
    snprintf(file, sizeof file, "%s", w->path);
    if (stat(file, &st) != 0) tryout_path(config, w->path, file, sizeof file);
    if (stat(file, &st) == 0 && S_ISDIR(st.st_mode))
        snprintf(w->dirs[FILES], sizeof *w->dirs, "%.*s",
                 (int)(strlen(file) - (slice_ends(slice_str(file), S("/")) && file[1])), file);
    else
        parent_of(file, w->dirs[FILES], sizeof *w->dirs);
    snprintf(w->dirs[LIB], sizeof *w->dirs, "%.4000s/lib", config->scripts);
    parent_of(w->dirs[FILES], w->dirs[ABOVE], sizeof *w->dirs);
}

static int watch(struct test *t, const char *path) {
    static uv_loop_t loop;
    static struct watch w;
    w.test = t;
    w.path = path;
    name_dirs(&w);
    if (uv_loop_init(&loop)) return cli_say(EXIT_FINDINGS, "no memory for an event loop");
    uv_timer_init(&loop, &w.settle);
    w.settle.data = &w;
    for (int i = 0; i < WATCHES; i++) {
        uv_fs_event_init(&loop, &w.events[i]);
        w.events[i].data = &w;
    }
    int rc = watch_all(&w);
    if (rc != 0) return cli_say(EXIT_USAGE, "%s: %s", w.dirs[FILES], uv_strerror(rc));
    return uv_run(&loop, UV_RUN_DEFAULT);
}

int cmd_test(int argc, char **argv) {
    static struct test t;
    const struct cli_flag flags[] = {
        { "tap", NULL, "TAP output", CLI_SWITCH, &t.tap },
        { "json", NULL, "one JSON object a test", CLI_SWITCH, &t.json },
        { "watch", NULL, "run again after each change, until interrupted", CLI_SWITCH, &t.watch }
    };
    const struct cli_command command = {
        .name = "test",
        .usage = "[PATH|NAME] [--tap|--json] [--watch]",
        .flags = flags,
        .flags_count = 3,
        .settings = true,
        .summary =
            "Runs hook.tests and NAME_test.lua: event in, requests, tags and verdict out. Nothing is sent."
    };
    char **rest;
    int count, status = cli_parse(&command, &t.config, argc, argv, &rest, &count);
    if (status >= 0) return status;
    if (count > 1) return cli_say(EXIT_USAGE, "test takes one PATH or NAME");
    const char *path = count ? rest[0] : t.config.scripts;
    status = run_once(&t, path);
    if (t.watch && status <= EXIT_FINDINGS) status = watch(&t, path);
    config_deinit(&t.config);
    return status;
}
