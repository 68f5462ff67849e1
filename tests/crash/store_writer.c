// The workload of the store's crash rig, and its oracle.
//
//   store_writer run DIR RUN SEED BATCHES [--normal] [--ack-early] [--ballast] [--long-log]
//   store_writer check [--trusting] DIR...
//
// `run` writes group commits of events and outcomes that follow from SEED, and
// tells on standard output what it is about to commit and what is committed:
//   B events settled     announced: the next commit will hold this much
//   A events settled     acknowledged: the commit returned OK
//   F type               the store refused; after storage_full the batch is tried again
// Events are numbered from 0 and settled in that order, so two numbers say it all.
//
// `check` reopens each directory as a restarted engine would and prints one JSON
// line: what stands in the store by run, the first thing that is not as written,
// and whether bytes came out that nobody put in. With --trusting it takes the tags
// as they lie in the database, past the row's checksum: the defect for a control.
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "store.h"

enum { EVENTS_MAX = 200000, RUNS_MAX = 64, TEXT_MAX = 4096, CHECKPOINT = 256 * 1024 };

static uint64_t seed;

static unsigned pick(unsigned below) {
    seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
    return (unsigned)(seed >> 33) % below;
}

// The bytes that belong to an id: the same in `run` and in `check`.
static struct slice text_of(const char *what, const char *id, char out[TEXT_MAX]) {
    uint32_t hash = 2166136261u;
    for (const char *p = id; *p; p++) hash = (hash ^ (unsigned char)*p) * 16777619u;
    int n = snprintf(out, TEXT_MAX, "{\"%s\":\"%s\",\"pad\":\"", what, id);
    for (uint32_t pad = hash % 1500; pad--; hash = hash * 1664525u + 1013904223u)
        out[n++] = (char)('a' + (hash >> 24) % 26);
    return slice(out, (size_t)(n + snprintf(out + n, 8, "\"}")));
}

// --- run ---

struct run {
    struct store *store;
    int number;
    bool ack_early;
    int64_t hooks[2];
    int64_t deliveries[EVENTS_MAX]; // of hook 0, by event
    size_t stored, settled;
};

static void say(const char *what, size_t events, size_t settled) {
    char line[64];
    int n = snprintf(line, sizeof line, "%s %zu %zu\n", what, events, settled);
    if (write(1, line, (size_t)n) != n) _exit(9);
}

static void say_failure(const struct fail *fail) {
    char line[400];
    int n = snprintf(line, sizeof line, "F %s %s\n", fail->type, fail->text);
    if (write(1, line, (size_t)n) != n) _exit(9);
}

static enum err put_event(struct run *run, size_t at, struct fail *fail) {
    char id[40], tags[TEXT_MAX];
    snprintf(id, sizeof id, "r%d-%zu", run->number, at);
    struct event event = { .id = slice_str(id), .type = S("call.completed"), .org = S("acme") };
    event.json = text_of("tags", id, tags);
    struct store_target targets[2] = { { .hook = run->hooks[0], .version = S("v1"), .due_ms = 1 },
                                       { .hook = run->hooks[1], .version = S("v1"), .due_ms = 2 } };
    enum store_put result;
    int64_t number;
    enum err err = store_put_event(run->store, &event, targets, 2, &result, &number, fail);
    if (!err && result != STORE_NEW) _exit(8);
    run->deliveries[at] = targets[0].delivery;
    return err;
}

static enum err settle_event(struct run *run, size_t at, struct fail *fail) {
    char id[40], request[TEXT_MAX];
    snprintf(id, sizeof id, "r%d-%zu", run->number, at);
    struct attempt attempt = { .number = 1, .started_ms = 1, .status = 200 };
    attempt.response_body = S("ok");
    struct store_settle settle = { .delivery = run->deliveries[at],
                                   .state = DELIVERY_DELIVERED,
                                   .attempts = 1,
                                   .attempt = &attempt };
    settle.request = text_of("request", id, request);
    return store_settle(run->store, &settle, fail);
}

static enum err batch(struct run *run, size_t events, size_t settled, struct fail *fail) {
    enum err err = store_begin(run->store, fail);
    if (err) return err;
    for (size_t i = run->stored; i < events && !err; i++) err = put_event(run, i, fail);
    for (size_t i = run->settled; i < settled && !err; i++) err = settle_event(run, i, fail);
    if (run->ack_early) say("A", events, settled);
    if (!err) return store_commit(run->store, fail);
    store_rollback(run->store);
    return err;
}

// Commits one batch; while the disk is full, again and again.
static enum err batch_until_done(struct run *run, struct fail *fail) {
    size_t events = run->stored + 1 + pick(20);
    size_t settled = run->settled + pick((unsigned)(run->stored - run->settled) + 1);
    say("B", events, settled);
    enum err err = batch(run, events, settled, fail);
    for (int tries = 0; err == ERR_FULL && tries < 100; tries++) {
        say_failure(fail);
        err = batch(run, events, settled, fail);
    }
    if (err) return err;
    run->stored = events;
    run->settled = settled;
    say("A", events, settled);
    err = store_checkpoint(run->store);
    if (err == ERR_IO) return store_begin(run->store, fail); // says what broke
    return OK;
}

// On the full day: released ballast must be room enough to settle what is there.
static enum err settle_on_ballast(struct run *run, struct fail *fail) {
    enum err err = store_ballast_release(run->store);
    while (!err && run->settled < run->stored) {
        size_t settled = run->settled + 20 < run->stored ? run->settled + 20 : run->stored;
        say("B", run->stored, settled);
        err = batch(run, run->stored, settled, fail);
        if (err) break;
        run->settled = settled;
        say("A", run->stored, run->settled);
    }
    return err;
}

static enum err start(struct run *run, const struct store_opts *opts, struct fail *fail) {
    run->store = store_open(opts, fail);
    if (!run->store) return fail->code;
    enum err err = store_begin(run->store, fail);
    if (!err) err = store_hook_number(run->store, S("a"), &run->hooks[0], fail);
    if (!err) err = store_hook_number(run->store, S("b"), &run->hooks[1], fail);
    return err ? err : store_commit(run->store, fail);
}

static int command_run(int count, char **words) {
    static struct run run;
    struct fail fail = { .code = OK };
    struct store_opts opts = { .dir = words[2], .create = true, .checkpoint_bytes = CHECKPOINT };
    for (int i = 6; i < count; i++) {
        opts.sync_normal |= strcmp(words[i], "--normal") == 0;
        if (strcmp(words[i], "--ballast") == 0) opts.ballast_bytes = 4 << 20;
        if (strcmp(words[i], "--long-log") == 0) opts.checkpoint_bytes = 0;
        run.ack_early |= strcmp(words[i], "--ack-early") == 0;
    }
    run.number = atoi(words[3]);
    seed = strtoull(words[4], NULL, 10) * 2654435761u + 88172645463325252u;
    enum err err = start(&run, &opts, &fail);
    for (long left = atol(words[5]); left > 0 && !err && run.stored + 64 < EVENTS_MAX; left--)
        err = batch_until_done(&run, &fail);
    if (err) say_failure(&fail);
    if (err == ERR_FULL && opts.ballast_bytes) {
        err = settle_on_ballast(&run, &fail);
        if (err) say_failure(&fail);
    }
    store_close(run.store);
    return err == OK ? 0 : err == ERR_IO ? 3 : 4;
}

// --- check ---

struct tally {
    size_t events, last_event, settled, last_settled; // last: number + 1
};

struct check {
    struct store *store;
    struct store_reader *reader;
    struct tally runs[RUNS_MAX];
    size_t deliveries;
    sqlite3_stmt *raw; // past the checksums
    bool altered;
    char wrong[300];
};

static void note_wrong(struct check *check, const char *id, const char *what) {
    if (check->wrong[0]) return;
    snprintf(check->wrong, sizeof check->wrong, "%s: %s", id, what);
    for (char *p = check->wrong; *p; p++) // a damaged id is no JSON
        if (*p < ' ' || *p == '"' || *p == '\\' || *p == 127) *p = '?';
}

static bool count_attempt(void *user, const struct attempt *a) {
    (void)a;
    ++*(int *)user;
    return true;
}

static bool raw_tags_fit(struct check *check, const char *id) {
    char text[TEXT_MAX];
    struct slice want = text_of("tags", id, text);
    sqlite3_bind_text(check->raw, 1, id, -1, SQLITE_STATIC);
    bool fits = sqlite3_step(check->raw) != SQLITE_ROW ||
                slice_eq(want, slice(sqlite3_column_blob(check->raw, 0),
                                     (size_t)sqlite3_column_bytes(check->raw, 0)));
    sqlite3_reset(check->raw);
    return fits;
}

static const char *compare_job(struct check *check, int64_t delivery, const char *id, bool done) {
    char text[TEXT_MAX];
    struct arena arena;
    struct store_job job;
    struct fail fail;
    const char *wrong = NULL;
    int attempts = 0;
    arena_init(&arena, 1 << 20);
    if (store_load_job(check->store, delivery, &arena, &job, &fail) != OK)
        wrong = "does not load";
    else if (!slice_eq(job.tags_json, text_of("tags", id, text)))
        wrong = "altered tags";
    else if (done && !slice_eq(job.request, text_of("request", id, text)))
        wrong = "altered request";
    else if (store_reader_attempts(check->reader, delivery, count_attempt, &attempts, &fail) != OK)
        wrong = "attempts do not load";
    else if (attempts != done)
        wrong = "attempts do not fit the state";
    arena_deinit(&arena);
    return wrong;
}

static bool loads(struct check *check, int64_t delivery) {
    struct arena arena;
    struct store_job job;
    arena_init(&arena, 1 << 20);
    bool fine = store_load_job(check->store, delivery, &arena, &job, NULL) == OK;
    arena_deinit(&arena);
    return fine;
}

static bool see(void *user, const struct store_delivery *d) {
    struct check *check = user;
    char id[40];
    int run = 0;
    size_t number = 0;
    snprintf(id, sizeof id, "%.*s", SLICE_FMT(d->event_id));
    check->deliveries++;
    if (sscanf(id, "r%d-%zu", &run, &number) != 2 || run < 0 || run >= RUNS_MAX) {
        note_wrong(check, id, "an id nobody wrote");
        check->altered |= loads(check, d->delivery);
        return true;
    }
    bool done = d->state == DELIVERY_DELIVERED, first = slice_eq(d->hook, S("a"));
    const char *wrong = compare_job(check, d->delivery, id, done);
    check->altered |= wrong && strncmp(wrong, "altered", 7) == 0;
    if (check->raw) check->altered |= !raw_tags_fit(check, id);
    if (!first && d->state != DELIVERY_PENDING) wrong = "settled by nobody";
    if (wrong) note_wrong(check, id, wrong);
    struct tally *tally = &check->runs[run];
    if (first) tally->events++;
    if (first && number >= tally->last_event) tally->last_event = number + 1;
    if (first && done) tally->settled++;
    if (first && done && number >= tally->last_settled) tally->last_settled = number + 1;
    return true;
}

static void check_integrity(struct check *check, const char *dir) {
    char path[1200];
    sqlite3 *db = NULL;
    sqlite3_stmt *stmt = NULL;
    snprintf(path, sizeof path, "%s/tuma.db", dir);
    sqlite3_open(path, &db);
    sqlite3_prepare_v2(db, "PRAGMA integrity_check", -1, &stmt, NULL);
    if (sqlite3_step(stmt) != SQLITE_ROW ||
        strcmp((const char *)sqlite3_column_text(stmt, 0), "ok"))
        note_wrong(check, "integrity_check", sqlite3_errmsg(db));
    sqlite3_finalize(stmt);
    sqlite3_close(db);
}

static void check_rows(struct check *check) {
    struct fail fail;
    uint64_t events = 0;
    if (store_reader_list(check->reader, &(struct store_filter){ .hook = 0 }, EVENTS_MAX * 2, see,
                          check, NULL, &fail) != OK)
        note_wrong(check, "list", fail.text);
    store_reader_event_count(check->reader, &events, &fail);
    if (events * 2 != check->deliveries) note_wrong(check, "events", "without their deliveries");
}

static void print_runs(struct check *check) {
    const char *comma = "";
    printf(",\"runs\":{");
    for (int i = 0; i < RUNS_MAX; i++) {
        struct tally *t = &check->runs[i];
        if (t->events != t->last_event) note_wrong(check, "events", "not in one piece");
        if (t->settled != t->last_settled) note_wrong(check, "settled", "not in one piece");
        if (t->events) printf("%s\"%d\":[%zu,%zu]", comma, i, t->events, t->settled), comma = ",";
    }
    printf("},\"altered\":%s,\"wrong\":\"%s\"}\n", check->altered ? "true" : "false", check->wrong);
}

static sqlite3 *open_raw(struct check *check, const char *dir) {
    char path[1200];
    sqlite3 *db = NULL;
    snprintf(path, sizeof path, "%s/tuma.db", dir);
    sqlite3_open(path, &db);
    sqlite3_prepare_v2(db, "SELECT tags FROM event WHERE id = ?", -1, &check->raw, NULL);
    return db;
}

static void check_one(const char *dir, bool trusting) {
    static struct check check;
    struct fail fail = { .code = OK };
    memset(&check, 0, sizeof check);
    sqlite3 *raw = NULL;
    struct store_opts opts = { .dir = dir, .create = true, .checkpoint_bytes = CHECKPOINT };
    check.store = store_open(&opts, &fail);
    if (check.store) check.reader = store_reader_open(dir, &fail);
    printf("{\"opened\":%s,\"type\":\"%s\"", check.reader ? "true" : "false", fail.type);
    if (check.reader && trusting) raw = open_raw(&check, dir);
    if (check.reader) check_rows(&check);
    sqlite3_finalize(check.raw);
    sqlite3_close(raw);
    store_reader_close(check.reader);
    store_close(check.store);
    if (check.reader) check_integrity(&check, dir);
    print_runs(&check);
    fflush(stdout);
}

int main(int count, char **words) {
    if (count >= 6 && strcmp(words[1], "run") == 0) return command_run(count, words);
    if (count < 3 || strcmp(words[1], "check") != 0) {
        fprintf(stderr,
                "usage: store_writer run DIR RUN SEED BATCHES | check [--trusting] DIR...\n");
        return 2;
    }
    bool trusting = strcmp(words[2], "--trusting") == 0;
    for (int i = 2 + trusting; i < count; i++) check_one(words[i], trusting);
    return 0;
}
