// Three measurements on one disk in one run, so that their ratios mean something:
// the disk's bare fdatasync, the full cycle (event, delivery, attempt with its
// request) in group commits of growing size, and a start with many pending
// deliveries. The full cycle runs as the journal does it: a batch of new events
// and the outcomes of the batch before in one commit, then a checkpoint.
#include "bench_store.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "clock.h"
#include "store.h"

enum {
    PENDING = 1000000,
    PENDING_QUICK = 2000,
    BATCH_MAX = 1000,
    CURVE = 5,
};
static const size_t curve[CURVE] = { 1, 8, 64, 256, 1000 };
static const int64_t measure_ns = 2000000000, measure_quick_ns = 10000000;

static const char tags[] =
    "{\"call_id\":\"CA5a1f0c6e2b9d4f7a\",\"from\":\"+14155550132\",\"to\":\"+14155550199\","
    "\"direction\":\"inbound\",\"duration\":182,\"talk_time\":161,\"campaign\":\"spring-24\","
    "\"publisher\":\"acme-media\",\"buyer\":\"north\",\"city\":\"San Francisco\",\"state\":\"CA\","
    "\"zip\":\"94107\",\"recording_url\":\"https://rec.example.com/CA5a1f0c6e2b9d4f7a.mp3\","
    "\"revenue\":\"12.50\",\"payout\":\"9.00\",\"lead_type\":\"solar\",\"hangup_by\":\"caller\"}";
static const char request[] =
    "POST https://crm.example.com/hooks/calls\ncontent-type: application/json\n\n"
    "{\"id\":\"CA5a1f0c6e2b9d4f7a\",\"from\":\"+14155550132\",\"to\":\"+14155550199\",\"seconds\":182,"
    "\"campaign\":\"spring-24\",\"recording\":\"https://rec.example.com/CA5a1f0c6e2b9d4f7a.mp3\"}";

struct run {
    int64_t measure_ns;
    size_t pending; // deliveries at the start that is measured
    struct store *store;
    struct fail fail;
    int64_t hook;
    struct store_target waiting[BATCH_MAX]; // stored by the last batch, not settled yet
    size_t waiting_count;
    size_t events; // so far; ids rise as ours do
};

struct figures {
    double syncs;                       // fdatasync a second, 8 KB appended each
    double cycles[CURVE];               // full cycles a second by batch
    double load;                        // events a second while filling, batches of 1000
    double open_ms, hooks_ms, first_ms; // of a start with PENDING deliveries
    double bytes_a_cycle;
};

static double seconds_since(int64_t start_ns) {
    return (double)(clock_mono_ns() - start_ns) / 1e9;
}

// --- Directories ---

static void remove_directory(const char *dir) {
    DIR *d = opendir(dir);
    char path[1400];
    for (struct dirent *e; d && (e = readdir(d));) {
        snprintf(path, sizeof path, "%s/%s", dir, e->d_name);
        if (e->d_name[0] != '.') unlink(path);
    }
    if (d) closedir(d);
    rmdir(dir);
}

// --- The disk alone ---

static double measure_syncs(const char *dir, int64_t ns) {
    char path[1200], block[8192];
    snprintf(path, sizeof path, "%s/sync", dir);
    memset(block, 'x', sizeof block);
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    size_t count = 0;
    int64_t start = clock_mono_ns();
    while (fd >= 0 && clock_mono_ns() - start < ns) {
        if (write(fd, block, sizeof block) != (ssize_t)sizeof block || fdatasync(fd) != 0) break;
        count++;
    }
    double seconds = seconds_since(start);
    if (fd >= 0) close(fd);
    unlink(path);
    return (double)count / seconds;
}

// --- The full cycle ---

static enum err put_batch(struct run *run, size_t batch) {
    enum err err = OK;
    for (size_t i = 0; i < batch && !err; i++) {
        char id[40];
        snprintf(id, sizeof id, "evt_01hz6q8z3m%016zx", run->events++);
        struct event event = { .id = slice_str(id),
                               .type = S("call.completed"),
                               .org = S("acme"),
                               .time_ms = clock_wall_ms(),
                               .json = S(tags) };
        enum store_put result;
        int64_t number;
        run->waiting[i] = (struct store_target){ .hook = run->hook,
                                                 .version = S("3f9a1c0b7d21"),
                                                 .due_ms = event.time_ms };
        err =
            store_put_event(run->store, &event, &run->waiting[i], 1, &result, &number, &run->fail);
    }
    return err;
}

static enum err settle_batch(struct run *run) {
    const struct attempt attempt = {
        .number = 1,
        .started_ms = clock_wall_ms(),
        .status = 200,
        .verdict = VERDICT_DELIVERED,
        .dns_us = 0,
        .connect_us = 0,
        .tls_us = -1,
        .first_byte_us = 2100,
        .total_us = 2300,
        .retry_after_ms = -1,
        .sent_headers = S(
            "webhook-timestamp: 1716000000\nwebhook-signature: v1,K5oZfzN95Z9UVu1EsfQmfVNQhnkZ2pj9o9NDN/H/pI4=\n"),
        .response_headers = S("content-type: text/plain\ncontent-length: 2\n"),
        .response_body = S("ok"),
    };
    enum err err = OK;
    for (size_t i = 0; i < run->waiting_count && !err; i++) {
        struct store_settle settle = { .delivery = run->waiting[i].delivery,
                                       .state = DELIVERY_DELIVERED,
                                       .attempts = 1,
                                       .request = S(request),
                                       .attempt = &attempt,
                                       .now_ms = attempt.started_ms };
        err = store_settle(run->store, &settle, &run->fail);
    }
    run->waiting_count = 0;
    return err;
}

// One group commit: outcomes of the batch before, and `batch` new events.
static enum err cycle(struct run *run, size_t batch) {
    enum err err = store_begin(run->store, &run->fail);
    if (err) return err;
    err = settle_batch(run);
    if (!err) err = put_batch(run, batch);
    if (err) {
        store_rollback(run->store);
        return err;
    }
    run->waiting_count = batch;
    err = store_commit(run->store, &run->fail);
    return err ? err : store_checkpoint(run->store);
}

static enum err measure_cycles(struct run *run, size_t batch, double *a_second) {
    enum err err = cycle(run, batch); // fills the pipeline, warms the cache
    size_t done = 0;
    int64_t start = clock_mono_ns();
    while (!err && clock_mono_ns() - start < run->measure_ns) {
        err = cycle(run, batch);
        done += batch;
    }
    *a_second = (double)done / seconds_since(start);
    return err ? err : cycle(run, 0);
}

static enum err measure_curve(struct run *run, struct figures *figures) {
    enum err err = OK;
    uint64_t before = 0;
    for (size_t i = 0; i < CURVE && !err; i++) {
        before = store_bytes(run->store);
        err = measure_cycles(run, curve[i], &figures->cycles[i]);
    }
    double last = figures->cycles[CURVE - 1] * (double)run->measure_ns / 1e9;
    figures->bytes_a_cycle = (double)(store_bytes(run->store) - before) / last;
    return err;
}

// --- The start ---

static enum err fill(struct run *run, struct figures *figures) {
    enum err err = OK;
    int64_t start = clock_mono_ns();
    for (size_t done = 0; done < run->pending && !err; done += BATCH_MAX) {
        err = store_begin(run->store, &run->fail);
        if (!err) err = put_batch(run, BATCH_MAX);
        if (!err) err = store_commit(run->store, &run->fail);
        if (!err) err = store_checkpoint(run->store);
    }
    figures->load = (double)run->pending / seconds_since(start);
    return err;
}

static void add_pending(void *user, int64_t hook, struct slice name, uint64_t count,
                        int64_t first_due_ms) {
    (void)hook, (void)name, (void)first_due_ms;
    *(uint64_t *)user += count;
}

static void keep_first(void *user, const struct store_due *due) {
    *(int64_t *)user = due->delivery;
}

// What a journal does until its first job is in a worker's hands.
static enum err measure_start(struct run *run, const char *dir, struct figures *figures) {
    uint64_t pending = 0;
    int64_t first = 0, start = clock_mono_ns();
    struct arena arena;
    struct store_job job;
    arena_init(&arena, 1 << 20);
    run->store = store_open(&(struct store_opts){ .dir = dir }, &run->fail);
    if (!run->store) return run->fail.code;
    figures->open_ms = seconds_since(start) * 1e3;
    enum err err = store_pending_hooks(run->store, add_pending, &pending, &run->fail);
    figures->hooks_ms = seconds_since(start) * 1e3 - figures->open_ms;
    if (!err) err = store_fetch_due(run->store, run->hook, 0, 0, 1, keep_first, &first, &run->fail);
    if (!err) err = store_load_job(run->store, first, &arena, &job, &run->fail);
    figures->first_ms = seconds_since(start) * 1e3;
    arena_deinit(&arena);
    if (!err && pending < run->pending)
        err = fail_set(&run->fail, ERR_NOT_NOW, 0, "bench", "only %llu of %zu pending came back",
                       (unsigned long long)pending, run->pending);
    return err;
}

// --- All of it ---

static enum err measure(struct run *run, const char *dir, struct figures *figures) {
    figures->syncs = measure_syncs(dir, run->measure_ns / 2);
    run->store = store_open(&(struct store_opts){ .dir = dir, .create = true }, &run->fail);
    if (!run->store) return run->fail.code;
    enum err err = store_begin(run->store, &run->fail);
    if (!err) err = store_hook_number(run->store, S("crm"), &run->hook, &run->fail);
    if (!err) err = store_commit(run->store, &run->fail);
    if (!err) err = measure_curve(run, figures);
    if (!err) err = fill(run, figures);
    store_close(run->store);
    run->store = NULL;
    return err ? err : measure_start(run, dir, figures);
}

static void print_table(const struct figures *f, size_t pending) {
    printf("fdatasync of 8 KB          %10.0f a second\n", f->syncs);
    for (size_t i = 0; i < CURVE; i++)
        printf("full cycle, batch %-6zu   %10.0f a second   %6.2f x batch 1   %6.2f x fdatasync\n",
               curve[i], f->cycles[i], f->cycles[i] / f->cycles[0], f->cycles[i] / f->syncs);
    printf("events in, batch 1000      %10.0f a second\n", f->load);
    printf("on disk                    %10.0f bytes a cycle\n", f->bytes_a_cycle);
    printf("start with %zu pending: open %.0f ms, count %.0f ms, first job at %.0f ms\n", pending,
           f->open_ms, f->hooks_ms, f->first_ms);
}

static void print_json(const struct figures *f, size_t pending) {
    printf("{\"fdatasync_per_s\":%.0f,\"cycles\":[", f->syncs);
    for (size_t i = 0; i < CURVE; i++)
        printf(
            "%s{\"batch\":%zu,\"per_s\":%.0f,\"ratio_to_batch_1\":%.2f,\"ratio_to_fdatasync\":%.2f}",
            i ? "," : "", curve[i], f->cycles[i], f->cycles[i] / f->cycles[0],
            f->cycles[i] / f->syncs);
    printf("],\"events_in_per_s\":%.0f,\"bytes_a_cycle\":%.0f,\"start\":{\"pending\":%zu,"
           "\"open_ms\":%.1f,\"count_ms\":%.1f,\"first_job_ms\":%.1f}}\n",
           f->load, f->bytes_a_cycle, pending, f->open_ms, f->hooks_ms, f->first_ms);
}

int bench_store(const char *dir, bool json_out, bool quick) {
    struct run *run = calloc(1, sizeof *run);
    struct figures figures = { .syncs = 0 };
    char own[1100];
    snprintf(own, sizeof own, "%s/tuma-bench-%d", dir, (int)getpid());
    if (!run || mkdir(own, 0700) != 0) {
        fprintf(stderr, "tuma bench: %s: cannot be made\n", own);
        free(run);
        return 1;
    }
    run->measure_ns = quick ? measure_quick_ns : measure_ns;
    run->pending = quick ? PENDING_QUICK : PENDING;
    enum err err = measure(run, own, &figures);
    store_close(run->store);
    remove_directory(own);
    if (err)
        fprintf(stderr, "tuma bench: %s: %s\n", run->fail.type, run->fail.text);
    else if (json_out)
        print_json(&figures, run->pending);
    else
        print_table(&figures, run->pending);
    free(run);
    return err ? 1 : 0;
}
