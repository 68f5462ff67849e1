// The thread: its loop, what wakes it, and the order of its work. It sleeps
// without a timer unless something is due; while it writes, the next batch
// gathers in the inbox, so the disk's own speed makes the batches.
#include "journal.h"

#include <assert.h>
#include <stdlib.h>

#include "clock.h"
#include "id.h"
#include "journal_inner.h"
#include "log.h"

enum { RECORD_MS = 2000 }; // at the end, for what the workers gave back

// Jobs that outlive their journal still hold its inbox, closed, to answer to.
static struct list tombstones = { &tombstones, &tombstones };
static pthread_mutex_t tombstones_lock = PTHREAD_MUTEX_INITIALIZER;

int64_t journal_now_ns(const struct journal *j) {
    return j->anchor_wall_ns + (clock_mono_ns() - j->anchor_mono_ns);
}

uint64_t journal_random(struct journal *j) {
    j->random ^= j->random << 13;
    j->random ^= j->random >> 7;
    j->random ^= j->random << 17;
    return j->random;
}

void journal_fail(struct journal *j, const struct fail *fail) {
    if (j->failed) return;
    j->failed = true;
    log_line(LOG_ERROR, "store failed, nothing is acknowledged any more", "error", fail->text,
             NULL);
    if (j->opts.failed) j->opts.failed(j->opts.failed_user, fail);
}

// --- One turn ---

static bool is_due(const struct journal *j, int64_t now_ns) {
    return !j->stopping && !j->failed && dispatch_wake_ns(j->dispatch) <= now_ns;
}

static bool batch_is_due(const struct journal *j, int64_t now_ns) {
    return !list_empty(&j->waiting) && (j->failed || now_ns >= j->full_until_ns);
}

static int64_t wake_ns(const struct journal *j) {
    int64_t wake = housekeeping_wake_ns(j);
    int64_t due = j->stopping || j->failed ? INT64_MAX : dispatch_wake_ns(j->dispatch);
    if (due < wake) wake = due;
    if (!list_empty(&j->waiting) && j->full_until_ns < wake) wake = j->full_until_ns;
    if (j->stopping && j->stop_by_ns < wake) wake = j->stop_by_ns;
    return wake;
}

static void on_work(uv_idle_t *work);

static void on_timer(uv_timer_t *timer) {
    struct journal *j = timer->data;
    uv_idle_start(&j->work, on_work);
}

static void sleep_until_due(struct journal *j, int64_t now_ns) {
    int64_t wake = wake_ns(j);
    uv_idle_stop(&j->work);
    uv_timer_stop(&j->timer);
    if (wake == INT64_MAX) return;
    uint64_t in_ms = wake <= now_ns ? 0 : (uint64_t)(wake - now_ns + 999999) / 1000000;
    uv_update_time(&j->loop);
    uv_timer_start(&j->timer, on_timer, in_ms, 0);
}

static void close_loop(struct journal *j) {
    if (j->closed) return;
    j->closed = true;
    commands_close(j);
    moves_close(j);
    inbox_close(&j->inbox);
    pulse_stop(&j->pulse);
    uv_close((uv_handle_t *)&j->work, NULL);
    uv_close((uv_handle_t *)&j->timer, NULL);
}

// Nothing is in hand any more, or it took too long. In the end the workers have stopped: what is
// out will not come back.
static bool stop_is_done(const struct journal *j, int64_t now_ns) {
    if (!j->stopping) return false;
    if (now_ns >= j->stop_by_ns || j->failed) return true;
    return list_empty(&j->waiting) && (j->ending || !j->out);
}

static void tell_drained(struct journal *j) {
    if (!j->drain_told) uv_sem_post(&j->drained);
    j->drain_told = true;
    j->stop_by_ns = INT64_MAX;
}

// What stands beside the batches, a bounded step of each; true when there is more.
static bool rest(struct journal *j) {
    if (j->failed || journal_checkpoint(j)) return !j->failed;
    if (j->stopping) return false;
    bool more = moves_step(j);
    jobs_fetch(j);
    jobs_start(j);
    return more;
}

// A batch or the rest, by turns: together they would keep others waiting.
static bool turn(struct journal *j, int64_t now_ns) {
    bool batch = batch_is_due(j, now_ns) && !j->rest_due, more = true;
    if (batch)
        batch_run(j);
    else
        more = rest(j);
    j->rest_due = batch;
    jobs_flush(j);
    commands_check_idle(j);
    return more;
}

static void on_work(uv_idle_t *work) {
    struct journal *j = work->data;
    int64_t begun_ns = journal_now_ns(j);
    bool more = turn(j, begun_ns);
    int64_t now_ns = journal_now_ns(j);
    if (now_ns - begun_ns > j->longest_turn_ns) j->longest_turn_ns = now_ns - begun_ns;
    if (stop_is_done(j, now_ns)) {
        tell_drained(j);
        if (j->ending) {
            close_loop(j);
            return;
        }
    }
    if (more || batch_is_due(j, now_ns) || is_due(j, now_ns)) return;
    if (!j->failed && !j->stopping && housekeeping_step(j)) return;
    sleep_until_due(j, now_ns);
}

static void begin_stop(struct journal *j, const struct message *message) {
    bool ending = message == &j->stop;
    int64_t ms = ending ? RECORD_MS : j->drain_ms;
    j->stopping = true;
    j->ending = j->ending || ending;
    j->stop_by_ns = journal_now_ns(j) + ms * 1000000;
}

static void on_messages(void *user, struct list *messages) {
    struct journal *j = user;
    for (struct list *link; (link = list_pop(messages));) {
        struct message *message = list_item(link, struct message, link);
        if (message->kind == MESSAGE_STOP) {
            begin_stop(j, message);
            continue;
        }
        if (message->kind == MESSAGE_OUTCOME)
            job_came_back(j, list_item(link, struct job, message.link));
        list_push(&j->waiting, link);
    }
    uv_idle_start(&j->work, on_work);
}

// --- Start and stop ---

static void run(void *user) {
    struct journal *j = user;
    uv_idle_start(&j->work, on_work);
    uv_run(&j->loop, UV_RUN_DEFAULT);
    store_close(j->store);
    j->store = NULL;
}

static void discard_waiting(struct journal *j) {
    for (struct list *link; (link = list_pop(&j->waiting));)
        message_discard(list_item(link, struct message, link));
    for (size_t i = 0; j->outgoing && i < j->opts.workers_count; i++)
        for (struct list *link; (link = list_pop(&j->outgoing[i]));)
            message_discard(list_item(link, struct message, link));
}

// Everything but the struct itself.
static void deinit(struct journal *j) {
    discard_waiting(j);
    dispatch_free(j->dispatch);
    webhooks_free(j);
    hook_set_unref(j->hooks);
    free(j->load);
    free(j->outgoing);
    uv_sem_destroy(&j->drained);
}

static void init_clock(struct journal *j) {
    j->anchor_mono_ns = clock_mono_ns();
    j->anchor_wall_ns = clock_wall_ms() * 1000000;
    id_random(&j->random, sizeof j->random);
    j->random |= 1;
}

static enum err init_memory(struct journal *j, struct fail *fail) {
    size_t workers = j->opts.workers_count;
    assert(workers);
    j->load = calloc(workers, sizeof *j->load);
    j->outgoing = calloc(workers, sizeof *j->outgoing);
    j->dispatch = dispatch_new(&(struct dispatch_opts){ .in_flight_max = j->opts.in_flight_max,
                                                        .window = WINDOW,
                                                        .window_total = WINDOW_TOTAL,
                                                        .keys_max = KEYS_MAX,
                                                        .forget = payload_forget,
                                                        .user = j });
    if (!j->load || !j->outgoing || !j->dispatch)
        return fail_set(fail, ERR_NOMEM, 0, "no_memory", "no memory for the journal");
    for (size_t i = 0; i < workers; i++) list_init(&j->outgoing[i]);
    return OK;
}

static enum err init_loop(struct journal *j, struct fail *fail) {
    int rc = uv_loop_init(&j->loop);
    if (rc) return fail_set(fail, ERR_IO, 0, "no_loop", "uv_loop_init: %s", uv_strerror(rc));
    uv_idle_init(&j->loop, &j->work);
    uv_timer_init(&j->loop, &j->timer);
    j->work.data = j->timer.data = j;
    rc = inbox_init(&j->inbox, &j->loop, on_messages, message_discard, j);
    if (!rc) {
        pulse_start(&j->pulse, &j->loop, "journal");
        return OK;
    }
    uv_close((uv_handle_t *)&j->work, NULL);
    uv_close((uv_handle_t *)&j->timer, NULL);
    uv_run(&j->loop, UV_RUN_DEFAULT);
    uv_loop_close(&j->loop);
    return fail_set(fail, ERR_IO, 0, "no_inbox", "uv_async_init: %s", uv_strerror(rc));
}

static struct journal *journal_new(const struct journal_opts *opts) {
    struct journal *j = calloc(1, sizeof *j);
    if (!j || uv_sem_init(&j->drained, 0)) {
        free(j);
        return NULL;
    }
    j->opts = *opts;
    if (!j->opts.in_flight_max) j->opts.in_flight_max = 1024;
    if (!j->opts.backlog_max) j->opts.backlog_max = 5000000;
    j->store = opts->store;
    map_init(&j->webhooks);
    list_init(&j->all);
    list_init(&j->touched);
    list_init(&j->waiting);
    list_init(&j->moves);
    list_init(&j->idle_waiters);
    list_init(&j->tombstone);
    list_init(&j->drain.link);
    list_init(&j->stop.link);
    j->drain.kind = j->stop.kind = MESSAGE_STOP;
    j->full_until_ns = INT64_MIN;
    init_clock(j);
    return j;
}

static void end_loop(struct journal *j) {
    close_loop(j);
    uv_run(&j->loop, UV_RUN_DEFAULT);
    uv_loop_close(&j->loop);
}

struct journal *journal_start(const struct journal_opts *opts, struct fail *fail) {
    struct journal *j = journal_new(opts);
    if (!j) {
        fail_set(fail, ERR_NOMEM, 0, "no_memory", "no memory for the journal");
        return NULL;
    }
    if (init_memory(j, fail) || init_loop(j, fail)) {
        deinit(j);
        free(j);
        return NULL;
    }
    if (webhooks_load(j, fail) == OK && webhooks_change(j, hook_set_ref(opts->hooks), fail) == OK) {
        int rc = uv_thread_create(&j->thread, run, j);
        if (!rc) return j;
        fail_set(fail, ERR_IO, 0, "no_thread", "uv_thread_create: %s", uv_strerror(rc));
    }
    end_loop(j);
    deinit(j);
    free(j);
    return NULL;
}

struct inbox *journal_inbox(struct journal *journal) {
    return &journal->inbox;
}

void journal_drain(struct journal *j, int64_t drain_ms) {
    if (!j) return;
    j->drain_ms = drain_ms;
    inbox_send(&j->inbox, &j->drain);
    uv_sem_wait(&j->drained);
}

void journal_stop(struct journal *j) {
    if (!j) return;
    inbox_send(&j->inbox, &j->stop);
    uv_thread_join(&j->thread);
    uv_loop_close(&j->loop);
    bool awaited = j->out > 0;
    deinit(j);
    if (!awaited) {
        free(j);
        return;
    }
    pthread_mutex_lock(&tombstones_lock);
    list_push(&tombstones, &j->tombstone);
    pthread_mutex_unlock(&tombstones_lock);
}
