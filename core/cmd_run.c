// tuma run: the events of a file or pipe, delivered with the same engine as
// serve. A thread reads and parses, so that a slow pipe never holds the loop:
//
//   reader thread: line → event → intake ──> loop ──> journal ──> loop: counts
//   loop: all read and answered → WAIT_IDLE → summary → engine_stop
//
// Events without an id get one made of the file's line, so that a second run
// over the same file goes on where the first one stopped.
#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <uv.h>

#include "cli.h"
#include "clock.h"
#include "commands.h"
#include "engine.h"
#include "json.h"
#include "message.h"
#include "sign.h"
#include "store.h"

enum { BATCH = 256, BATCHES_OUT = 8, ARRAY_BYTES_MAX = 256 * 1024 * 1024 };

struct run {
    struct config config;
    uv_loop_t loop;
    uv_signal_t signals[2];
    uv_timer_t again; // after an overload answer, or for want of memory
    struct inbox inbox;
    struct engine *engine;
    int64_t wait_ms;
    bool json;
    struct cli_progress progress;

    // The reader's thread.
    uv_thread_t reader;
    FILE *file;
    const char *path;
    struct hook_set *hooks;
    struct intake *intake;
    uint64_t line;
    uv_sem_t window; // batches that may be under way
    atomic_bool stop, all_read;
    struct message finished;
    atomic_uint batches_out;
    atomic_ullong bad;

    // The loop's thread.
    struct list held; // intakes to send again
    uint64_t stored, known, conflicts, refused;
    bool interrupted, waiting;
    int status;
};

// --- The reader's thread ---

static void complain(struct run *r, uint64_t line, const struct fail *fail) {
    atomic_fetch_add(&r->bad, 1);
    fprintf(stderr, "%s:%llu:%zu: %s%s%s\n", r->path, (unsigned long long)line, fail->at + 1,
            fail->text, fail->path[0] ? " at " : "", fail->path);
}

static void flush(struct run *r) {
    if (!r->intake) return;
    struct intake *intake = r->intake;
    r->intake = NULL;
    atomic_fetch_add(&r->batches_out, 1);
    inbox_send(&r->inbox, &intake->message);
}

// An id for an event that has none: the same line of the same text, the same id.
static void name_event(struct event *event, struct slice json, uint64_t line) {
    uint8_t digest[32];
    char hex[33] = "";
    if (event->id_given) return;
    struct slice text =
        arena_printf(&event->arena, "%llu\n%.*s", (unsigned long long)line, SLICE_FMT(json));
    if (!text.p) return;
    hash_sha256(text, digest);
    hex_encode(digest, 16, hex);
    struct slice id = arena_printf(&event->arena, "run_%s", hex);
    if (id.p) event->id = id;
}

static void take_event(struct run *r, struct slice json, uint64_t line) {
    struct fail fail = { 0 };
    struct event *event = event_read(json, clock_wall_ms(), &fail);
    if (!event) {
        complain(r, line, &fail);
        return;
    }
    name_event(event, json, line);
    if (!r->intake) {
        uv_sem_wait(&r->window);
        r->intake = intake_new(&r->inbox, BATCH);
        if (!r->intake) uv_sem_post(&r->window);
    }
    if (!r->intake || !intake_add(r->intake, event, r->hooks)) {
        event_unref(event);
        fail_set(&fail, ERR_NOMEM, 0, "no_memory", "no memory for the event");
        complain(r, line, &fail);
        return;
    }
    if (r->intake->count == BATCH) flush(r);
}

static bool blank(struct slice s) {
    while (s.n && (s.p[0] == ' ' || s.p[0] == '\t' || s.p[0] == '\r' || s.p[0] == '\n'))
        s = slice_from(s, 1);
    return s.n == 0;
}

// Everything that is left of the input behind `head`, or NULL when it is too large.
static char *read_rest(struct run *r, struct slice head, size_t *n) {
    struct buf whole;
    char chunk[65536];
    buf_init(&whole, ARRAY_BYTES_MAX);
    buf_add(&whole, head);
    for (size_t got; (got = fread(chunk, 1, sizeof chunk, r->file)) > 0;)
        buf_add(&whole, slice(chunk, got));
    *n = whole.n;
    if (!whole.failed) return whole.p;
    buf_deinit(&whole);
    return NULL;
}

// The input is one JSON document: an array of events, or one event on several lines.
static void read_document(struct run *r, struct slice head) {
    size_t n, at = 0;
    struct fail fail = { 0 };
    struct json element;
    char *text = read_rest(r, head, &n);
    if (!text)
        fail_set(&fail, ERR_LIMIT, 0, "too_large",
                 "a JSON array of more than 256 MiB; NDJSON has no such limit");
    else if (json_check(slice(text, n), (struct json_limits){ .depth_max = EVENT_DEPTH_MAX + 1 },
                        &fail) == OK &&
             json_root(slice(text, n)).type == JSON_ARRAY)
        for (uint64_t number = 1;
             !r->stop && json_next(json_root(slice(text, n)), &at, NULL, &element); number++)
            take_event(r, element.raw, number);
    else if (fail.code == OK)
        take_event(r, slice(text, n), 1);
    if (fail.code != OK) {
        if (text) fail_place(&fail, text, n);
        fail.at = fail.column ? fail.column - 1 : 0;
        complain(r, fail.line ? fail.line : 1, &fail);
    }
    free(text);
}

static void read_events(void *user) {
    struct run *r = user;
    char *line = NULL;
    size_t capacity = 0;
    ssize_t n = 0;
    while (!r->stop && (n = getline(&line, &capacity, r->file)) >= 0) {
        struct slice text = slice(line, (size_t)n);
        r->line++;
        if (blank(text)) continue;
        struct slice start = text;
        while (start.p[0] == ' ' || start.p[0] == '\t') start = slice_from(start, 1);
        bool document =
            start.p[0] == '[' ||
            (start.p[0] == '{' && r->line == 1 &&
             json_check(text, (struct json_limits){ .depth_max = EVENT_DEPTH_MAX }, NULL) != OK);
        if (document) {
            read_document(r, text);
            break;
        }
        while (text.n && (text.p[text.n - 1] == '\n' || text.p[text.n - 1] == '\r')) text.n--;
        take_event(r, text, r->line);
    }
    if (n < 0 && !feof(r->file)) {
        struct fail fail = { 0 };
        fail_set(&fail, ERR_IO, 0, "read", "reading stopped: %s", strerror(errno));
        complain(r, r->line + 1, &fail);
    }
    free(line);
    flush(r);
    atomic_store(&r->all_read, true);
    list_init(&r->finished.link);
    r->finished.kind = MESSAGE_STOP; // wakes the loop
    inbox_send(&r->inbox, &r->finished);
}

// --- The loop's thread ---

static void wait_when_done(struct run *r);

static void try_again(uv_timer_t *timer) {
    struct run *r = timer->data;
    for (struct list *l; (l = list_pop(&r->held));)
        inbox_send(engine_journal(r->engine), list_item(l, struct message, link));
    wait_when_done(r);
}

static void later(struct run *r) {
    if (!uv_is_active((uv_handle_t *)&r->again)) uv_timer_start(&r->again, try_again, 100, 0);
}

static void take_answer(struct run *r, struct intake *intake) {
    bool overload = false;
    for (size_t i = 0; i < intake->count; i++)
        overload = overload || intake->items[i].result == INTAKE_OVERLOAD;
    if (overload && !r->stop) {
        list_push(&r->held, &intake->message.link);
        intake->message.kind = MESSAGE_INTAKE;
        later(r);
        return;
    }
    for (size_t i = 0; i < intake->count; i++) {
        switch (intake->items[i].result) {
        case INTAKE_STORED: r->stored++; break;
        case INTAKE_DUPLICATE: r->known++; break;
        case INTAKE_CONFLICT: r->conflicts++; break;
        default: r->refused++;
        }
    }
    cli_progress_show(&r->progress, r->stored + r->known);
    intake_free(intake);
    atomic_fetch_sub(&r->batches_out, 1);
    uv_sem_post(&r->window);
}

static void wait_when_done(struct run *r) {
    if (r->waiting || r->stop || !r->all_read || r->batches_out) return;
    struct command *wait = command_new(&r->inbox, COMMAND_WAIT_IDLE);
    if (!wait) {
        later(r);
        return;
    }
    wait->wait_ms = r->wait_ms;
    r->waiting = true;
    inbox_send(engine_journal(r->engine), &wait->message);
}

static void run_receive(void *user, struct list *messages) {
    struct run *r = user;
    for (struct list *link; (link = list_pop(messages));) {
        struct message *message = list_item(link, struct message, link);
        if (message->kind == MESSAGE_INTAKE && !r->stop) {
            inbox_send(engine_journal(r->engine),
                       message); // by way of the loop, which knows when to stop
        } else if (message->kind == MESSAGE_ACCEPTED) {
            take_answer(r, list_item(message, struct intake, message));
        } else if (message->kind == MESSAGE_ANSWER) {
            command_free(list_item(message, struct command, message));
            engine_stop(r->engine);
        } else {
            message_discard(message);
        }
    }
    wait_when_done(r);
}

static void on_ready(void *user, struct engine *engine) {
    struct run *r = user;
    r->hooks = hook_set_ref(engine_hooks(engine));
    r->engine = engine;
    if (uv_thread_create(&r->reader, read_events, r) == 0) return;
    r->status = cli_say(EXIT_STORE, "no thread to read with");
    engine_stop(engine);
}

static void stop_reading(struct run *r) {
    atomic_store(&r->stop, true);
    for (int i = 0; i < BATCHES_OUT; i++) uv_sem_post(&r->window);
}

static void on_stopped(void *user, const struct fail *fail) {
    struct run *r = user;
    if (fail->code != OK) r->status = cli_fail(EXIT_STORE, fail);
    for (int i = 0; i < 2; i++) uv_close((uv_handle_t *)&r->signals[i], NULL);
    uv_close((uv_handle_t *)&r->again, NULL);
    for (struct list *l; (l = list_pop(&r->held));)
        message_discard(list_item(l, struct message, link));
    inbox_close(&r->inbox);
}

static void on_signal(uv_signal_t *handle, int number) {
    struct run *r = handle->data;
    (void)number;
    r->interrupted = true;
    stop_reading(r);
    engine_stop(r->engine);
}

// --- The summary ---

struct row {
    char name[72];
    uint64_t counts[DELIVERY_STATES];
};

struct table {
    struct row *rows;
    size_t count;
};

static void on_count(void *user, struct slice hook, enum delivery_state state, uint64_t count) {
    struct table *t = user;
    size_t i = 0;
    while (i < t->count && !slice_eq(slice_str(t->rows[i].name), hook)) i++;
    if (i == t->count) {
        struct row *rows = realloc(t->rows, (t->count + 1) * sizeof *rows);
        if (!rows) fail_no_memory("the summary");
        t->rows = rows;
        rows[t->count] = (struct row){ 0 };
        snprintf(rows[t->count++].name, sizeof rows->name, "%.*s", SLICE_FMT(hook));
    }
    t->rows[i].counts[state] += count;
}

static void print_row(const struct row *row, const uint64_t *before, bool json) {
    static const enum delivery_state order[DELIVERY_STATES] = {
        DELIVERY_DELIVERED, DELIVERY_FILTERED, DELIVERY_EXHAUSTED,
        DELIVERY_PARKED,    DELIVERY_DROPPED,  DELIVERY_PENDING,
    };
    if (json)
        printf("{\"webhook\":\"%s\"", row->name);
    else
        printf("%-24s", row->name);
    for (int i = 0; i < DELIVERY_STATES; i++) {
        bool waits = order[i] == DELIVERY_PENDING; // told whole, whoever left it
        uint64_t earlier = before && !waits ? before[order[i]] : 0;
        uint64_t now = row->counts[order[i]];
        unsigned long long change = now > earlier ? now - earlier : 0;
        if (json)
            printf(",\"%s\":%llu", delivery_state_names[order[i]], change);
        else
            printf(" %9llu %s", change, delivery_state_names[order[i]]);
    }
    puts(json ? "}" : "");
}

// By webhook, what this run changed: the counts now less those before. True when nothing failed.
static bool summarize(struct run *r, const struct table *before) {
    struct fail fail = { 0 };
    struct table now = { 0 };
    bool clean = true;
    struct store_reader *reader = store_reader_open(r->config.data, &fail);
    if (reader) store_reader_counts(reader, on_count, &now, &fail);
    store_reader_close(reader);
    if (fail.code != OK) {
        free(now.rows);
        r->status = cli_fail(EXIT_STORE, &fail);
        return false;
    }
    for (size_t i = 0; i < now.count; i++) {
        const struct row *row = &now.rows[i], *old = NULL;
        for (size_t k = 0; k < before->count; k++)
            if (!strcmp(before->rows[k].name, row->name)) old = &before->rows[k];
        print_row(row, old ? old->counts : NULL, r->json);
        clean = clean && row->counts[DELIVERY_PENDING] == 0 &&
                row->counts[DELIVERY_EXHAUSTED] <= (old ? old->counts[DELIVERY_EXHAUSTED] : 0) &&
                row->counts[DELIVERY_PARKED] <= (old ? old->counts[DELIVERY_PARKED] : 0);
    }
    if (!r->json)
        printf(
            "%llu events stored, %llu known already, %llu conflicts, %llu refused, %llu broken\n",
            (unsigned long long)r->stored, (unsigned long long)r->known,
            (unsigned long long)r->conflicts, (unsigned long long)r->refused,
            (unsigned long long)r->bad);
    free(now.rows);
    return clean && !r->conflicts && !r->refused && !r->bad;
}

static struct table count_before(struct run *r) {
    struct table table = { 0 };
    struct store_reader *reader =
        store_reader_open(r->config.data, NULL); // no store yet: nothing to count
    if (reader) store_reader_counts(reader, on_count, &table, NULL);
    store_reader_close(reader);
    return table;
}

static bool prepare(struct run *r) {
    if (uv_loop_init(&r->loop)) return false;
    uv_timer_init(&r->loop, &r->again);
    r->again.data = r;
    list_init(&r->held);
    uv_sem_init(&r->window, BATCHES_OUT);
    if (inbox_init(&r->inbox, &r->loop, run_receive, message_discard, r)) return false;
    for (int i = 0; i < 2; i++) {
        uv_signal_init(&r->loop, &r->signals[i]);
        r->signals[i].data = r;
        uv_signal_start(&r->signals[i], on_signal, i ? SIGTERM : SIGINT);
    }
    return true;
}

int cmd_run(int argc, char **argv) {
    static struct run r = { .wait_ms = 30000 };
    const struct cli_flag flags[] = {
        { "wait", "TIME", "wait for retries that are due within this time (30s)", CLI_SECONDS,
          &r.wait_ms },
        { "json", NULL, "the summary as one JSON object a webhook", CLI_SWITCH, &r.json }
    };
    const struct cli_command command = {
        .name = "run",
        .usage = "FILE|- [--wait TIME]",
        .flags = flags,
        .flags_count = 2,
        .settings = true,
        .summary =
            "Reads events (NDJSON, or a JSON array) from a file or pipe, delivers them, and prints a summary by webhook.",
        .details =
            "Exit status 0 only when nothing failed and nothing waits. A second run goes on\n"
            "with what is pending, and skips events it has seen."
    };
    char **rest;
    int count, status = cli_parse(&command, &r.config, argc, argv, &rest, &count);
    if (status >= 0) return status;
    if (count != 1) return cli_say(EXIT_USAGE, "run takes one FILE, or - for standard input");
    r.path = rest[0];
    r.file = strcmp(r.path, "-") ? fopen(r.path, "re") : stdin;
    if (!r.file) return cli_say(EXIT_USAGE, "%s: %s", r.path, strerror(errno));
    struct fail fail = { 0 };
    struct table before = count_before(&r);
    if (!prepare(&r)) return cli_say(EXIT_STORE, "no memory for an event loop");
    cli_progress_start(&r.progress, "events", 0);
    r.engine = engine_start(
        &r.loop,
        &(struct engine_opts){
            .config = &r.config, .ready = on_ready, .stopped = on_stopped, .user = &r },
        &fail);
    if (!r.engine) return cli_fail(EXIT_STORE, &fail);
    uv_run(&r.loop, UV_RUN_DEFAULT);
    cli_progress_end(&r.progress);
    if (r.all_read) { // else it may hang in a read of a pipe; the process ends anyway
        uv_thread_join(&r.reader);
        hook_set_unref(r.hooks);
    }
    bool clean = summarize(&r, &before);
    free(before.rows);
    fflush(stdout);
    if (r.status) return r.status;
    return clean && !r.interrupted ? EXIT_OK : EXIT_FINDINGS;
}
