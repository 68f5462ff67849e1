// tuma sink: a receiver for demos and tests. Every request is logged, with one
// write, before its answer can leave: so whatever the engine saw answered is in
// the log even when both are killed. Knobs are flags; a path can override them
// for its requests ("/latency/200/status/503/x").
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <uv.h>

#include "buf.h"
#include "cli.h"
#include "clock.h"
#include "commands.h"
#include "list.h"
#include "server.h"
#include "sign.h"
#include "utf8.h"

enum { LINE_BYTES_MAX = 32 << 20, FAIL_STATUS = 503 };

struct sink {
    uv_loop_t loop;
    uv_signal_t term, interrupt;
    struct server *server;
    struct config config; // unused settings of the command line
    int64_t port, status, latency_ms, fail_percent, fail_first, seed;
    bool hang, bodies;
    const char *log_path, *host;
    int log; // -1: none
    struct buf line;
    struct list waiting; // answers that wait for their time, or for ever
    uint64_t received, random;
};

// What one request gets.
struct plan {
    int64_t status, latency_ms;
    bool hang;
};

// An answer that is not due yet.
struct pending {
    struct list link;
    uv_timer_t timer;
    struct exchange *exchange;
    int status;
};

// --- Log ---

static void add_headers(struct buf *line, const struct exchange *x) {
    buf_add(line, S(",\"headers\":["));
    for (size_t i = 0; i < x->headers_count; i++) {
        buf_add(line, i ? S(",[") : S("["));
        buf_json(line, x->headers[i].name);
        buf_byte(line, ',');
        buf_json(line, x->headers[i].value);
        buf_byte(line, ']');
    }
    buf_byte(line, ']');
}

static void add_body(struct buf *line, struct slice body) {
    if (utf8_check(body) == body.n) {
        buf_add(line, S(",\"body\":"));
        buf_json(line, body);
        return;
    }
    buf_add(line, S(",\"body_base64\":\""));
    char *to = buf_reserve(line, 4 * ((body.n + 2) / 3));
    if (to) line->n += base64_encode((const uint8_t *)body.p, body.n, to);
    buf_byte(line, '"');
}

static void write_log(struct sink *sink, const struct exchange *x) {
    struct buf *line = &sink->line;
    uint8_t hash[32];
    char hex[64], time[CLOCK_TEXT];
    if (sink->log < 0) return;
    hash_sha256(x->body, hash);
    hex_encode(hash, sizeof hash, hex);
    clock_format(clock_wall_ms(), time);
    buf_clear(line);
    buf_printf(line, "{\"time\":\"%s\",\"mono_ns\":%lld,\"method\":", time,
               (long long)clock_mono_ns());
    buf_json(line, x->method);
    buf_add(line, S(",\"target\":"));
    buf_json(line, x->target);
    buf_add(line, S(",\"id\":"));
    buf_json(line, exchange_header(x, "webhook-id", NULL));
    buf_printf(line, ",\"sha256\":\"%.64s\"", hex);
    add_headers(line, x);
    if (sink->bodies) add_body(line, x->body);
    buf_add(line, S("}\n"));
    if (line->failed || write(sink->log, line->p, line->n) != (ssize_t)line->n) {
        fprintf(stderr, "tuma: cannot write %s\n", sink->log_path);
        exit(EXIT_FINDINGS); // a log with holes proves nothing
    }
}

// --- Answers ---

static void answer(struct exchange *x, int status) {
    static const struct header type = { { "Content-Type", 12 }, { "application/json", 16 } };
    char text[32];
    int n = snprintf(text, sizeof text, "{\"status\":%d}", status);
    bool has_body = status != 204 && status != 304;
    server_reply(x, status, &type, has_body, has_body ? slice(text, (size_t)n) : slice("", 0));
}

static void on_pending_closed(uv_handle_t *handle) {
    free(handle->data);
}

static void release(struct pending *p, int status) {
    list_remove(&p->link);
    answer(p->exchange, status);
    uv_close((uv_handle_t *)&p->timer, on_pending_closed);
}

static void on_due(uv_timer_t *timer) {
    struct pending *p = timer->data;
    release(p, p->status);
}

static void answer_later(struct sink *sink, struct exchange *x, const struct plan *plan) {
    struct pending *p = calloc(1, sizeof *p);
    if (!p) {
        answer(x, FAIL_STATUS);
        return;
    }
    p->exchange = x;
    p->status = (int)plan->status;
    uv_timer_init(&sink->loop, &p->timer);
    p->timer.data = p;
    if (!plan->hang) uv_timer_start(&p->timer, on_due, (uint64_t)plan->latency_ms, 0);
    list_push(&sink->waiting, &p->link);
}

// Reads "/NUMBER" off the front.
static bool take_number(struct slice *path, int64_t *number) {
    size_t n = 0;
    int64_t value = 0;
    if (!slice_starts(*path, S("/"))) return false;
    struct slice rest = slice_from(*path, 1);
    while (n < rest.n && n < 9 && rest.p[n] >= '0' && rest.p[n] <= '9')
        value = value * 10 + (rest.p[n++] - '0');
    if (n == 0 || (n < rest.n && rest.p[n] != '/')) return false;
    *path = slice_from(rest, n);
    *number = value;
    return true;
}

static bool take_word(struct slice *path, struct slice word) {
    if (!slice_starts(*path, word)) return false;
    struct slice rest = slice_from(*path, word.n);
    if (rest.n && rest.p[0] != '/') return false;
    *path = rest;
    return true;
}

static void read_overrides(struct slice path, struct plan *plan) {
    for (;;) {
        struct slice rest = path;
        if (take_word(&rest, S("/hang")))
            plan->hang = true;
        else if (!(take_word(&rest, S("/status")) && take_number(&rest, &plan->status)) &&
                 !((rest = path, take_word(&rest, S("/latency"))) &&
                   take_number(&rest, &plan->latency_ms)))
            return;
        path = rest;
    }
}

// xorshift64: the same failures for the same seed.
static bool fails_by_chance(struct sink *sink) {
    uint64_t x = sink->random;
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    sink->random = x;
    return (int64_t)(x % 100) < sink->fail_percent;
}

static void on_request(void *user, struct exchange *x) {
    struct sink *sink = user;
    struct plan plan = { sink->status, sink->latency_ms, sink->hang };
    write_log(sink, x);
    bool first = (int64_t)sink->received++ < sink->fail_first;
    if (first || (sink->fail_percent && fails_by_chance(sink))) plan.status = FAIL_STATUS;
    read_overrides(x->path, &plan);
    if (plan.status < 200 || plan.status > 599) plan.status = 200;
    if (plan.hang || plan.latency_ms > 0)
        answer_later(sink, x, &plan);
    else
        answer(x, (int)plan.status);
}

// --- Start and end ---

static void on_closed(void *user) {
    struct sink *sink = user;
    uv_close((uv_handle_t *)&sink->term, NULL);
    uv_close((uv_handle_t *)&sink->interrupt, NULL);
}

static void on_signal(uv_signal_t *handle, int number) {
    (void)number;
    struct sink *sink = handle->data;
    if (!sink->server) return;
    server_close(sink->server, 0, on_closed, sink);
    sink->server = NULL;
    while (!list_empty(&sink->waiting))
        release(list_item(sink->waiting.next, struct pending, link), FAIL_STATUS);
}

static bool open_log(struct sink *sink) {
    sink->log = -1;
    if (!sink->log_path) return true;
    sink->log = open(sink->log_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    return sink->log >= 0;
}

static int run(struct sink *sink) {
    struct server_opts opts = { .any_path = true,
                                .host = sink->host,
                                .port = (int)sink->port,
                                .on_request = on_request,
                                .user = sink };
    struct fail fail = { 0 };
    if (!open_log(sink)) return cli_say(EXIT_USAGE, "cannot open %s", sink->log_path);
    if (uv_loop_init(&sink->loop)) return cli_say(EXIT_USAGE, "no memory for an event loop");
    sink->server = server_new(&sink->loop, &opts, &fail);
    if (!sink->server) return cli_fail(EXIT_USAGE, &fail);
    uv_signal_init(&sink->loop, &sink->term);
    uv_signal_init(&sink->loop, &sink->interrupt);
    sink->term.data = sink->interrupt.data = sink;
    uv_signal_start(&sink->term, on_signal, SIGTERM);
    uv_signal_start(&sink->interrupt, on_signal, SIGINT);
    printf("listening on http://%s:%d\n", sink->host, server_port(sink->server));
    fflush(stdout);
    uv_run(&sink->loop, UV_RUN_DEFAULT);
    uv_loop_close(&sink->loop);
    if (sink->log >= 0) close(sink->log);
    buf_deinit(&sink->line);
    printf("%llu requests\n", (unsigned long long)sink->received);
    return EXIT_OK;
}

int cmd_sink(int argc, char **argv) {
    static struct sink sink = { .host = "127.0.0.1", .status = 200, .seed = 1 };
    const struct cli_flag flags[] = {
        { "host", "ADDRESS", "address to listen on (127.0.0.1)", CLI_TEXT, &sink.host },
        { "port", "N", "port; 0 takes a free one, which is printed (0)", CLI_INT, &sink.port },
        { "status", "CODE", "answer with this status (200)", CLI_INT, &sink.status },
        { "latency", "MS", "answer after so many milliseconds", CLI_INT, &sink.latency_ms },
        { "fail", "PERCENT", "answer so many with 503, at random", CLI_INT, &sink.fail_percent },
        { "fail-first", "N", "answer the first N with 503", CLI_INT, &sink.fail_first },
        { "seed", "N", "seed of --fail (1)", CLI_INT, &sink.seed },
        { "hang", NULL, "never answer", CLI_SWITCH, &sink.hang },
        { "log", "FILE", "append one JSON line for each request", CLI_TEXT, &sink.log_path },
        { "bodies", NULL, "with the bodies", CLI_SWITCH, &sink.bodies },
    };
    const struct cli_command command = {
        .name = "sink",
        .usage = "[--port N] [--log FILE] [KNOBS]",
        .flags = flags,
        .flags_count = sizeof flags / sizeof *flags,
        .summary = "Receives webhooks, for demos and tests.",
        .details =
            "A path overrides the knobs for its requests: /status/503, /latency/200 and /hang,\nalso one after the other, with anything behind them. SIGTERM ends it."
    };
    char **rest;
    int count, status = cli_parse(&command, &sink.config, argc, argv, &rest, &count);
    if (status >= 0) return status;
    if (count) return cli_say(EXIT_USAGE, "sink takes no arguments, only flags");
    sink.random = (uint64_t)sink.seed * 0x9E3779B97F4A7C15u | 1;
    buf_init(&sink.line, LINE_BYTES_MAX);
    list_init(&sink.waiting);
    return run(&sink);
}
