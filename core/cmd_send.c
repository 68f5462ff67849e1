// tuma send: the events of a file or pipe, posted to a running engine in
// batches. Lines go as NDJSON, so a broken one harms no other; the elements of
// an array go as arrays. What the engine refuses for now (429, 503) is sent again.
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "arena.h"
#include "cli.h"
#include "client.h"
#include "commands.h"
#include "event.h"
#include "json.h"

enum {
    BATCH = 500,
    BATCH_BYTES = 2 * 1024 * 1024,
    DOCUMENT_MAX = 256 * 1024 * 1024,
    ANSWER_MAX = 8 * 1024 * 1024,
    PATIENCE_S = 60, // of refusals in a row
};

struct send {
    struct client *client;
    const char *path;
    struct buf batch, answer;
    uint64_t places[BATCH]; // line or element number of each item in the batch
    size_t count;
    bool array; // the batch is a JSON array, else NDJSON
    uint64_t stored, known, refused;
    struct cli_progress progress;
    int status; // EXIT_OK to go on
};

static void complain(struct send *s, uint64_t place, struct slice text) {
    s->refused++;
    fprintf(stderr, "%s:%llu: %.*s\n", s->path, (unsigned long long)place, SLICE_FMT(text));
}

// --- answers ---

static void take_result(struct send *s, struct json result, uint64_t place, struct arena *arena) {
    int64_t status = 0;
    json_int(json_get(result, "status"), &status);
    if (status == 202)
        s->stored++;
    else if (status == 200)
        s->known++;
    else
        complain(s, place, json_text(json_get(json_get(result, "problem"), "detail"), arena));
}

static void take_results(struct send *s) {
    struct slice text = buf_slice(&s->answer);
    struct json result;
    struct arena arena;
    arena_init(&arena, ANSWER_MAX);
    size_t i = 0, at = 0;
    if (json_check(text, (struct json_limits){ .depth_max = 8 }, NULL) == OK) {
        struct json results = json_get(json_root(text), "results");
        while (i < s->count && json_next(results, &at, NULL, &result))
            take_result(s, result, s->places[i++], &arena);
    }
    for (; i < s->count; i++) complain(s, s->places[i], S("the engine's answer does not say"));
    arena_deinit(&arena);
}

// Refusals that promise that nothing was stored.
static bool worth_another_try(int http, struct slice answer) {
    static const char *const types[] = { "overloaded", "storage_full", "not_ready",
                                         "too_many_connections" };
    for (size_t i = 0; (http == 429 || http == 503) && i < sizeof types / sizeof *types; i++)
        if (memmem(answer.p, answer.n, types[i], strlen(types[i]))) return true;
    return false;
}

// --- sending ---

static void flush(struct send *s) {
    if (!s->count || s->status != EXIT_OK) return;
    if (s->batch.failed) fail_no_memory("a batch of events");
    struct fail fail = { 0 };
    int http = 0;
    if (s->array) buf_byte(&s->batch, ']');
    const char *type = s->array ? "application/json" : "application/x-ndjson";
    enum err err = OK;
    for (int waited = 0; waited <= PATIENCE_S; waited++) {
        if (waited) sleep(1);
        err = client_request(s->client, "POST", "/v1/events", type, buf_slice(&s->batch), &http,
                             &s->answer, &fail);
        if (err != OK || !worth_another_try(http, buf_slice(&s->answer))) break;
    }
    if (err == OK && (http == 202 || http == 207)) {
        take_results(s);
    } else {
        if (err == OK) client_problem(http, buf_slice(&s->answer), &fail);
        s->status = cli_fail(EXIT_ENGINE, &fail);
    }
    cli_progress_show(&s->progress, s->stored + s->known);
    buf_clear(&s->batch);
    s->count = 0;
}

static void add(struct send *s, struct slice json, uint64_t place) {
    if (json.n > EVENT_BYTES_MAX) {
        complain(s, place, S("an event is at most 256 KiB of JSON"));
        return;
    }
    if (s->count == BATCH || s->batch.n + json.n > BATCH_BYTES) flush(s);
    if (s->array) buf_byte(&s->batch, s->count ? ',' : '[');
    buf_add(&s->batch, json);
    if (!s->array) buf_byte(&s->batch, '\n');
    s->places[s->count++] = place;
}

// --- reading ---

static bool is_blank(char c) {
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static struct slice trim(struct slice s) {
    while (s.n && is_blank(s.p[0])) s = slice_from(s, 1);
    while (s.n && is_blank(s.p[s.n - 1])) s.n--;
    return s;
}

// The rest of the input is one JSON document: an array, or an event on several lines.
static void send_document(struct send *s, FILE *file, struct slice head) {
    struct buf whole;
    struct fail fail = { 0 };
    struct json element;
    char chunk[65536];
    size_t at = 0;
    buf_init(&whole, DOCUMENT_MAX);
    buf_add(&whole, head);
    for (size_t n; (n = fread(chunk, 1, sizeof chunk, file)) > 0;) buf_add(&whole, slice(chunk, n));
    struct slice text = buf_slice(&whole);
    s->array = true;
    if (whole.failed)
        s->status = cli_say(EXIT_USAGE, whole.no_memory
                                            ? "no memory for the JSON array; NDJSON needs less"
                                            : "a JSON array of more than 256 MiB; NDJSON has no "
                                              "such limit");
    else if (json_check(text, (struct json_limits){ .depth_max = EVENT_DEPTH_MAX + 1 }, &fail) !=
             OK) {
        fail_place(&fail, text.p, text.n);
        complain(s, fail.line, slice_str(fail.text));
    } else if (json_root(text).type != JSON_ARRAY)
        add(s, json_root(text).raw, 1);
    else
        for (uint64_t n = 1;
             s->status == EXIT_OK && json_next(json_root(text), &at, NULL, &element); n++)
            add(s, element.raw, n);
    flush(s);
    buf_deinit(&whole);
}

static bool starts_document(struct slice text, uint64_t line) {
    const struct json_limits limits = { .depth_max = EVENT_DEPTH_MAX };
    return text.p[0] == '[' ||
           (line == 1 && text.p[0] == '{' && json_check(text, limits, NULL) != OK);
}

static void send_lines(struct send *s, FILE *file) {
    char *line = NULL;
    size_t capacity = 0;
    uint64_t number = 0;
    ssize_t n = 0;
    while (s->status == EXIT_OK && (n = getline(&line, &capacity, file)) >= 0) {
        struct slice text = trim(slice(line, (size_t)n));
        number++;
        if (!text.n) continue;
        if (!s->count && !s->stored && !s->known && starts_document(text, number)) {
            send_document(s, file, slice(line, (size_t)n));
            break;
        }
        add(s, text, number);
    }
    if (n < 0 && !feof(file))
        s->status = cli_say(EXIT_USAGE, "%s: reading stopped: %s", s->path, strerror(errno));
    free(line);
    flush(s);
}

static int send_file(struct send *s, bool json) {
    FILE *file = strcmp(s->path, "-") == 0 ? stdin : fopen(s->path, "re");
    if (!file) return cli_say(EXIT_USAGE, "%s: %s", s->path, strerror(errno));
    cli_progress_start(&s->progress, "sending", 0);
    buf_init(&s->batch, BATCH_BYTES + EVENT_BYTES_MAX + BATCH);
    buf_init(&s->answer, ANSWER_MAX);
    send_lines(s, file);
    cli_progress_end(&s->progress);
    buf_deinit(&s->batch);
    buf_deinit(&s->answer);
    if (file != stdin) fclose(file);
    printf(json ? "{\"stored\":%llu,\"known\":%llu,\"refused\":%llu}\n"
                : "%llu events stored, %llu known already, %llu refused\n",
           (unsigned long long)s->stored, (unsigned long long)s->known,
           (unsigned long long)s->refused);
    return s->status != EXIT_OK ? s->status : s->refused ? EXIT_FINDINGS : EXIT_OK;
}

// From a file or the environment: arguments can be read by everybody on the machine.
static int read_token(const char *path, char **token) {
    struct fail fail = { 0 };
    size_t n = 0;
    const char *from_environment = getenv("TUMA_TOKEN");
    *token = path               ? cli_read_file(path, 4096, &n, &fail)
             : from_environment ? strdup(from_environment)
                                : NULL;
    if (path && !*token) return cli_fail(EXIT_USAGE, &fail);
    if (*token) (*token)[strcspn(*token, " \r\n")] = '\0';
    return -1;
}

int cmd_send(int argc, char **argv) {
    static struct config config;
    static struct send s;
    const char *url = NULL, *token_file = NULL;
    bool json = false;
    const struct cli_flag flags[] = {
        { "url", "URL", "the engine's address; default: the control socket in the data directory",
          CLI_TEXT, &url },
        { "token-file", "FILE", "a file with the bearer token; else the variable TUMA_TOKEN",
          CLI_TEXT, &token_file },
        { "json", NULL, "the summary as JSON", CLI_SWITCH, &json },
    };
    const struct cli_command command = {
        .name = "send",
        .usage = "FILE|- [--url URL]",
        .flags = flags,
        .flags_count = sizeof flags / sizeof *flags,
        .settings = true,
        .summary = "Posts the events of a file or pipe to a running engine.",
        .details =
            "Reads one event a line, or a JSON array. Exit status 1 when an event was refused."
    };
    char **rest, *token = NULL;
    int count, status = cli_parse(&command, &config, argc, argv, &rest, &count);
    if (status >= 0) return status;
    struct fail fail = { 0 };
    if (count != 1) return cli_say(EXIT_USAGE, "send takes one file, or - for standard input");
    status = read_token(token_file, &token);
    if (status >= 0) return status;
    s = (struct send){ .path = rest[0] };
    s.client = client_open(&config, url, token, &fail);
    status = s.client ? send_file(&s, json) : cli_fail(EXIT_ENGINE, &fail);
    client_close(s.client);
    if (token) explicit_bzero(token, strlen(token));
    free(token);
    config_deinit(&config);
    return status;
}
