// tuma check: templates, settings, script syntax and hook.tests, each finding
// as file:line:column: error|warning: text.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "commands.h"
#include "json.h"
#include "tryout.h"

struct check {
    struct config config;
    struct tryout *tryout;
    bool json, no_tests, any;
    const char *file;
    unsigned errors, warnings, files;
};

static void print_finding(struct check *c, bool error, unsigned line, unsigned column,
                          struct slice text) {
    error ? c->errors++ : c->warnings++;
    if (!c->json) {
        printf("%s:%u:%u: %s: %.*s\n", c->file, line, column, error ? "error" : "warning",
               SLICE_FMT(text));
        return;
    }
    struct buf out;
    buf_init(&out, 64 * 1024);
    buf_printf(&out, "%s\n{\"file\":", c->any ? "," : "");
    buf_json(&out, slice_str(c->file));
    buf_printf(&out, ",\"line\":%u,\"column\":%u,\"severity\":\"%s\",\"text\":", line, column,
               error ? "error" : "warning");
    buf_json(&out, text);
    buf_byte(&out, '}');
    cli_print(&out);
    buf_deinit(&out);
    c->any = true;
}

static void on_finding(void *user, const struct hook_finding *f) {
    print_finding(user, f->error, f->line, f->column, slice_str(f->text));
}

// A failed test is an error where its name stands: {"tests":[{"name","ok","message"}]}.
static void report_tests(struct check *c, const struct hook *hook, struct slice report,
                         struct arena *arena) {
    struct json test, tests = json_get(json_root(report), "tests");
    if (json_check(report, (struct json_limits){ .depth_max = 32 }, NULL) != OK ||
        tests.type != JSON_ARRAY) {
        print_finding(c, true, 1, 1, arena_printf(arena, "tests: %.*s", SLICE_FMT(report)));
        return;
    }
    for (size_t at = 0; json_next(tests, &at, NULL, &test);) {
        if (json_get(test, "ok").type == JSON_TRUE) continue;
        struct slice name = json_text(json_get(test, "name"), arena),
                     message = json_text(json_get(test, "message"), arena);
        print_finding(
            c, true, hook_test_line(hook, name), 1,
            arena_printf(arena, "test \"%.*s\": %.*s", SLICE_FMT(name), SLICE_FMT(message)));
    }
}

static void check_file(void *user, const char *path) {
    struct check *c = user;
    struct arena arena;
    struct slice report;
    c->file = path;
    c->files++;
    struct hook *hook = tryout_load(c->tryout, path, on_finding, c);
    if (!hook) return;
    arena_init(&arena, 16 * 1024 * 1024);
    if (hook->tests.n && !c->no_tests &&
        !tryout_test(c->tryout, hook, slice("", 0), &arena, &report))
        report_tests(c, hook, report, &arena);
    arena_deinit(&arena);
    hook_unref(hook);
}

int cmd_check(int argc, char **argv) {
    static struct check c;
    const struct cli_flag flags[] = {
        { "json", NULL, "findings as a JSON array", CLI_SWITCH, &c.json },
        { "no-tests", NULL, "leave hook.tests out", CLI_SWITCH, &c.no_tests }
    };
    const struct cli_command command = {
        .name = "check",
        .usage = "[PATH|NAME…] [--json]",
        .flags = flags,
        .flags_count = 2,
        .settings = true,
        .summary =
            "Finds mistakes in webhooks: Lua syntax, settings, templates, unknown tags, failing hook.tests.",
        .details =
            "A NAME is a file's in the scripts directory, which is looked at when none is given. Exit\nstatus 1 when there is an error; warnings alone are fine."
    };
    char **rest;
    int count, status = cli_parse(&command, &c.config, argc, argv, &rest, &count);
    if (status >= 0) return status;
    struct fail fail = { 0 };
    c.tryout = tryout_open(&c.config, &fail);
    if (!c.tryout) return cli_fail(EXIT_STORE, &fail);
    const char *all[] = { c.config.scripts };
    const char *const *paths = count ? (const char *const *)rest : all;
    if (c.json) fputs("[", stdout);
    for (int i = 0; i < (count ? count : 1) && status < 0; i++)
        if (tryout_each_file(&c.config, paths[i], check_file, &c, &fail) != OK)
            status = cli_fail(EXIT_USAGE, &fail);
    if (c.json) puts("\n]");
    tryout_close(c.tryout);
    config_deinit(&c.config);
    if (status >= 0) return status;
    if (!c.json)
        printf("%u file%s checked: %u error%s, %u warning%s\n", c.files, c.files == 1 ? "" : "s",
               c.errors, c.errors == 1 ? "" : "s", c.warnings, c.warnings == 1 ? "" : "s");
    return c.errors ? EXIT_FINDINGS : EXIT_OK;
}
