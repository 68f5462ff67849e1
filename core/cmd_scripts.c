// tuma scripts: what the running engine knows of its webhooks' scripts.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "arena.h"
#include "cli.h"
#include "client.h"
#include "clock.h"
#include "cmd_scripts_inner.h"
#include "commands.h"
#include "json.h"
#include "store.h"

enum { ANSWER_MAX = 64 * 1024 * 1024, ROWS_MAX = 100 * 1000, VALUE_SHOWN = 200 };

struct scripts {
    struct config config;
    struct arena arena;
    struct buf answer;
    struct json *rows;
    size_t count;
    bool json;
};

static struct slice text_of(struct scripts *s, struct json row, const char *key) {
    struct json value = json_get(row, key);
    return value.type == JSON_NONE ? S("") : json_text(value, &s->arena);
}

static double number_of(struct json row, const char *key) {
    double number = 0;
    json_double(json_get(row, key), &number);
    return number;
}

static int no_such_webhook(const char *name) {
    return cli_say(EXIT_FINDINGS, "no webhook \"%s\" is known; tuma scripts lists them", name);
}

// -1 to go on, else the exit status. `name`: the webhook that the path is about, or NULL.
static int ask(struct scripts *s, const char *method, const char *path, const char *name) {
    struct fail fail = { 0 };
    int status = 0;
    struct client *client = client_open(&s->config, NULL, NULL, &fail);
    if (!client) return cli_fail(EXIT_ENGINE, &fail);
    enum err err =
        client_request(client, method, path, NULL, slice("", 0), &status, &s->answer, &fail);
    client_close(client);
    if (err == OK && status / 100 == 2) return -1;
    if (err == OK && status == 404 && name) return no_such_webhook(name);
    if (err == OK) client_problem(status, buf_slice(&s->answer), &fail);
    return cli_fail(EXIT_ENGINE, &fail);
}

static int read_rows(struct scripts *s) {
    int status = ask(s, "GET", "/v1/scripts", NULL);
    if (status >= 0) return status;
    struct json list = json_get(json_root(buf_slice(&s->answer)), "scripts"), row;
    s->rows = arena_zalloc(&s->arena, ROWS_MAX, sizeof *s->rows);
    for (size_t at = 0; s->rows && s->count < ROWS_MAX && json_next(list, &at, NULL, &row);)
        s->rows[s->count++] = row;
    return -1;
}

// --- list ---

static int by_name(const void *a, const void *b) {
    struct slice x = json_get(*(const struct json *)a, "name").raw,
                 y = json_get(*(const struct json *)b, "name").raw;
    int order = memcmp(x.p, y.p, x.n < y.n ? x.n : y.n);
    return order ? order : (x.n > y.n) - (x.n < y.n);
}

static void stages_text(struct json row, char *text, size_t room) {
    struct json list = json_get(row, "stages"), stage;
    size_t n = 0;
    *text = '\0';
    for (size_t at = 0; json_next(list, &at, NULL, &stage) && n < room;)
        n += (size_t)snprintf(text + n, room - n, "%s%.*s", n ? "," : "", (int)stage.raw.n - 2,
                              stage.raw.p + 1);
}

static void print_indented(struct slice text) {
    for (size_t end; text.n; text = slice_from(text, end + 1)) {
        end = slice_find(text, '\n');
        printf("    %.*s\n", (int)end, text.p);
    }
}

static int list(struct scripts *s) {
    int status = read_rows(s);
    if (status >= 0) return status;
    bool broken = false;
    qsort(s->rows, s->count, sizeof *s->rows, by_name);
    for (size_t i = 0; i < s->count; i++) {
        char stages[80];
        struct json row = s->rows[i];
        struct slice error = text_of(s, row, "error"), version = text_of(s, row, "version"),
                     reason = text_of(s, row, "reason");
        stages_text(row, stages, sizeof stages);
        printf("%-24.*s %-16.*s %-11.*s %s\n", SLICE_FMT(text_of(s, row, "name")),
               SLICE_FMT(version.n ? version : S("-")), SLICE_FMT(text_of(s, row, "state")),
               *stages ? stages : "-");
        if (!error.n) error = slice(reason.p, slice_find(reason, '\n'));
        print_indented(error);
        broken = broken || json_get(row, "error").type == JSON_STRING;
    }
    return broken ? EXIT_FINDINGS : EXIT_OK;
}

// --- show ---

struct keys {
    struct scripts *scripts;
    size_t count, bytes;
};

// A value of 64 KB is cut; --json has it whole.
static void print_pair(const struct script_kv *kv, const char *until) {
    size_t n = kv->value.n;
    if (n > VALUE_SHOWN)
        for (n = VALUE_SHOWN; ((unsigned char)kv->value.p[n] & 0xC0) == 0x80;) n--;
    printf("  %.*s = %.*s", SLICE_FMT(kv->key), (int)n, kv->value.p);
    if (n < kv->value.n) printf("… (%zu bytes)", kv->value.n);
    printf("%s%s\n", *until ? "  until " : "", until);
}

static void print_key(void *to, const struct script_kv *kv) {
    struct keys *keys = to;
    char time[CLOCK_TEXT] = "";
    if (kv->expires_ms) clock_format(kv->expires_ms, time);
    keys->bytes += kv->key.n + kv->value.n;
    if (!keys->scripts->json)
        print_pair(kv, time);
    else {
        struct buf out;
        buf_init(&out, ANSWER_MAX);
        buf_byte(&out, keys->count ? ',' : ' ');
        buf_json(&out, kv->key);
        buf_printf(&out, ":{\"value\":%.*s%s%s%s}", SLICE_FMT(kv->value),
                   *time ? ",\"expires\":\"" : "", time, *time ? "\"" : "");
        cli_print(&out);
        buf_deinit(&out);
    }
    keys->count++;
}

static void print_keys(struct scripts *s, struct slice name) {
    struct fail fail = { 0 };
    struct keys keys = { .scripts = s };
    struct store_reader *reader = store_reader_open(s->config.data, &fail);
    if (!reader) return;
    if (!s->json) puts("store");
    store_reader_kv(reader, name, clock_wall_ms(), print_key, &keys, &fail);
    store_reader_close(reader);
    if (!s->json)
        printf("  %zu key%s, %.1f KB\n", keys.count, keys.count == 1 ? "" : "s",
               (double)keys.bytes / 1024);
}

static const struct json *find_row(struct scripts *s, const char *name) {
    for (size_t i = 0; i < s->count; i++)
        if (slice_eq(text_of(s, s->rows[i], "name"), slice_str(name))) return &s->rows[i];
    return NULL;
}

static void print_last_error(struct scripts *s, struct json row) {
    double times = number_of(row, "last_error_count");
    printf("last error   %.0f time%s; version %.*s, stage %.*s, event %.*s, %.*s, cpu %.3f ms, "
           "memory %.0f KB\n",
           times, times == 1 ? "" : "s", SLICE_FMT(text_of(s, row, "last_error_version")),
           SLICE_FMT(text_of(s, row, "last_error_stage")),
           SLICE_FMT(text_of(s, row, "last_error_event")),
           SLICE_FMT(text_of(s, row, "last_error_at")), number_of(row, "last_error_cpu_ms"),
           number_of(row, "last_error_memory_peak") / 1024);
    print_indented(text_of(s, row, "last_error"));
}

static void print_row(struct scripts *s, struct json row) {
    static const struct {
        const char *key, *label;
    } lines[] = { { "file", "file" },         { "state", "state" },     { "reason", "reason" },
                  { "since", "since" },       { "version", "version" }, { "loaded", "loaded" },
                  { "error", "error" },       { "calls", "calls" },     { "errors", "errors" },
                  { "timeouts", "timeouts" }, { "kills", "kills" },     { "cpu_ms", "cpu ms" } };
    char stages[80];
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        struct slice value = text_of(s, row, lines[i].key);
        if (!strcmp(lines[i].key, "reason")) value.n = slice_find(value, '\n'); // not its traceback
        if (value.n) printf("%-12s %.*s\n", lines[i].label, SLICE_FMT(value));
    }
    stages_text(row, stages, sizeof stages);
    printf("%-12s %s\n", "stages", *stages ? stages : "none");
    if (number_of(row, "memory_peak") > 0)
        printf("%-12s %.0f KB\n", "peak memory", number_of(row, "memory_peak") / 1024);
    if (text_of(s, row, "last_error").n) print_last_error(s, row);
}

static int show(struct scripts *s, const char *name) {
    int status = read_rows(s);
    if (status >= 0) return status;
    const struct json *row = find_row(s, name);
    if (!row) return no_such_webhook(name);
    if (s->json)
        printf("{\"script\":%.*s,\"store\":{", SLICE_FMT(row->raw));
    else
        print_row(s, *row);
    print_keys(s, slice_str(name));
    if (s->json) puts("}}");
    return EXIT_OK;
}

// --- top ---

static int by_cpu(const void *a, const void *b) {
    double x = number_of(*(const struct json *)a, "cpu_ms"),
           y = number_of(*(const struct json *)b, "cpu_ms");
    return (x < y) - (x > y);
}

static int top(struct scripts *s) {
    int status = read_rows(s);
    if (status >= 0) return status;
    qsort(s->rows, s->count, sizeof *s->rows, by_cpu);
    printf("%-24s %10s %8s %9s %6s %11s %9s %9s\n", "webhook", "calls", "errors", "time-outs",
           "kills", "cpu ms", "us/call", "peak KB");
    for (size_t i = 0; i < s->count; i++) {
        struct json row = s->rows[i];
        double calls = number_of(row, "calls"), cpu_ms = number_of(row, "cpu_ms");
        if (calls == 0 && number_of(row, "kills") == 0) continue;
        printf("%-24.*s %10.0f %8.0f %9.0f %6.0f %11.1f %9.1f %9.0f\n",
               SLICE_FMT(text_of(s, row, "name")), calls, number_of(row, "errors"),
               number_of(row, "timeouts"), number_of(row, "kills"), cpu_ms,
               calls > 0 ? cpu_ms * 1000 / calls : 0, number_of(row, "memory_peak") / 1024);
    }
    return EXIT_OK;
}

// The verbs that change how a webhook is run, as the API names them.
static const struct {
    const char *verb, *done;
} operations[] = { { "pause", "paused" },
                   { "resume", "active" },
                   { "release", "released" },
                   { "disable", "disabled" } };

static int operate(struct scripts *s, const char *name, size_t which) {
    char path[160];
    snprintf(path, sizeof path, "/v1/webhooks/%.64s/%s", name, operations[which].verb);
    int status = ask(s, "POST", path, name);
    if (status >= 0) return status;
    if (s->json)
        printf("%.*s\n", SLICE_FMT(buf_slice(&s->answer)));
    else
        printf("%s is %s\n", name, operations[which].done);
    return EXIT_OK;
}

static int print_answer(struct scripts *s) {
    int status = ask(s, "GET", "/v1/scripts", NULL);
    if (status >= 0) return status;
    printf("%.*s\n", SLICE_FMT(buf_slice(&s->answer)));
    return EXIT_OK;
}

static int run(struct scripts *s, int count, char **rest, const char *event, int64_t last) {
    const char *verb = count ? rest[0] : "list";
    if (count <= 1 && (!strcmp(verb, "list") || !strcmp(verb, "top")))
        return s->json ? print_answer(s) : !strcmp(verb, "top") ? top(s) : list(s);
    if (count == 2 && !strcmp(verb, "show")) return show(s, rest[1]);
    for (size_t i = 0; count == 2 && i < sizeof operations / sizeof *operations; i++)
        if (!strcmp(verb, operations[i].verb)) return operate(s, rest[1], i);
    if (count == 2 && !strcmp(verb, "profile"))
        return scripts_profile(&s->config, rest[1], event, last, s->json);
    return cli_say(
        EXIT_USAGE,
        "scripts takes nothing, top, show, profile, pause, resume, disable or release NAME");
}

int cmd_scripts(int argc, char **argv) {
    static struct scripts s;
    const char *event = NULL;
    int64_t last = 100;
    const struct cli_flag flags[] = {
        { "json", NULL, "JSON instead of a table", CLI_SWITCH, &s.json },
        { "event", "FILE", "profile: run this event, not stored ones", CLI_TEXT, &event },
        { "last", "N", "profile: how many stored events to go back (100)", CLI_INT, &last },
    };
    const struct cli_command command = {
        .name = "scripts",
        .usage = "[top | show NAME | profile NAME | pause|resume|disable|release NAME] [--json]",
        .flags = flags,
        .flags_count = 3,
        .settings = true,
        .summary =
            "Shows the scripts of a running engine: versions, errors, counters, stored keys.",
        .details =
            "Without a word it lists every script; exit status 1 when one is broken. top orders by\n"
            "CPU time. profile runs the file over stored events for a second, apart from the\n"
            "engine, and shows where the time goes. pause holds a webhook's deliveries, disable\n"
            "parks them; resume (for quarantined ones also: release) lets them go."
    };
    char **rest;
    int count, status = cli_parse(&command, &s.config, argc, argv, &rest, &count);
    if (status >= 0) return status;
    arena_init(&s.arena, ANSWER_MAX);
    buf_init(&s.answer, ANSWER_MAX);
    status = run(&s, count, rest, event, last);
    buf_deinit(&s.answer);
    arena_deinit(&s.arena);
    config_deinit(&s.config);
    return status;
}
