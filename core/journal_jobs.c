// Jobs out and outcomes in. A first attempt carries the event that is in
// memory; later ones are read from the store, where the rendered request lies.
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "journal_inner.h"
#include "log.h"

// --- Pages from the store ---

struct page {
    struct dispatch_queue *queue;
    size_t rows;
    int64_t now_ns;
};

static void on_due(void *user, const struct store_due *due) {
    struct page *page = user;
    struct dispatch_item item = {
        .delivery = due->delivery,
        .due_ms = due->due_ms,
        .created_ms = due->created_ms,
        .attempts = due->attempts,
        .replay = due->replay,
        .order_key = due->order_key,
    };
    page->rows++;
    dispatch_fetched(page->queue, &item, page->now_ns);
}

void jobs_fetch(struct journal *j) {
    struct dispatch_fetch fetch;
    struct fail fail = { 0 };
    for (int i = 0; i < PAGES_A_TURN && dispatch_wants(j->dispatch, &fetch); i++) {
        struct page page = { .queue = fetch.queue, .now_ns = journal_now_ns(j) };
        enum err err =
            store_fetch_due(j->store, dispatch_queue_hook(fetch.queue), fetch.after_due_ms,
                            fetch.after_delivery, fetch.limit, on_due, &page, &fail);
        if (err == ERR_IO) {
            journal_fail(j, &fail);
            return;
        }
        if (err)
            dispatch_fetch_failed(fetch.queue, page.now_ns);
        else
            dispatch_fetch_done(fetch.queue, page.rows, fetch.limit, page.now_ns);
    }
}

// --- Starting ---

static size_t choose_worker(const struct journal *j, const struct hook *hook) {
    size_t least = 0;
    if (hook->stages) return (size_t)(map_hash(hook->name) % j->opts.workers_count);
    for (size_t i = 1; i < j->opts.workers_count; i++)
        if (j->load[i] < j->load[least]) least = i;
    return least;
}

static void send_job(struct journal *j, struct job *job) {
    job->worker = choose_worker(j, job->hook);
    job->message.kind = MESSAGE_JOB;
    j->load[job->worker]++;
    j->out++;
    list_push(&j->outgoing[job->worker], &job->message.link);
}

void jobs_flush(struct journal *j) {
    for (size_t i = 0; i < j->opts.workers_count; i++)
        inbox_send_list(j->opts.workers[i], &j->outgoing[i]);
}

void job_came_back(struct journal *j, struct job *job) {
    assert(j->load[job->worker] && j->out);
    j->load[job->worker]--;
    j->out--;
}

// Reads event and request; on failure the verdict says what is to become of it.
static enum err load_job(struct journal *j, struct job *job, struct fail *fail) {
    struct store_job stored = { 0 };
    enum err err = store_load_job(j->store, job->delivery, &job->arena, &stored, fail);
    if (err) return err;
    job->event = event_restore(stored.event_id, stored.type, stored.org, stored.time_ms,
                               stored.trace, stored.tags_json, fail);
    job->packed = stored.request;
    return job->event ? OK : fail->code;
}

// A job that cannot even start comes back at once.
static void bounce(struct journal *j, struct job *job, enum err err, const struct fail *fail) {
    if (err == ERR_IO) {
        journal_fail(j, fail);
        job_free(job);
        return;
    }
    bool damaged = err == ERR_INPUT || err == ERR_LIMIT;
    job->verdict = damaged ? VERDICT_PARK : VERDICT_LOCAL;
    job->reason = arena_printf(&job->arena, "%s: %s", fail->type, fail->text);
    job->gone = err == ERR_NOTFOUND;
    if (damaged)
        log_line(LOG_ERROR, "delivery parked", "delivery", job->webhook_id, "error", fail->text,
                 NULL);
    job->message.kind = MESSAGE_OUTCOME;
    list_push(&j->waiting, &job->message.link);
}

static struct job *make_job(struct journal *j, struct dispatch_entry *entry) {
    struct webhook *w = dispatch_queue_user(entry->queue);
    struct payload *payload = entry->payload;
    struct job *job =
        job_new(&j->inbox, payload ? payload->hook : w->hook, payload ? payload->event : NULL);
    if (!job) return NULL;
    struct slice uid = store_uid(j->store);
    snprintf(job->webhook_id, sizeof job->webhook_id, "msg_%.*s%lld", SLICE_FMT(uid),
             (long long)entry->delivery);
    job->entry = entry;
    job->delivery = entry->delivery;
    job->epoch = store_epoch(j->store);
    job->attempt = entry->attempts + 1;
    job->doubted = entry->doubted;
    job->stamp = w->stamp;
    return job;
}

static void start_entry(struct journal *j, struct dispatch_entry *entry) {
    struct fail fail = { 0 };
    struct job *job = make_job(j, entry);
    if (!job) {
        int64_t now_ns = journal_now_ns(j);
        dispatch_done(entry,
                      &(struct dispatch_result){ .due_ms = ns_to_ms(now_ns) + FULL_RETRY_MS,
                                                 .stored_due_ms = entry->due_ms,
                                                 .attempts = entry->attempts },
                      now_ns);
        return;
    }
    enum err err = job->event ? OK : load_job(j, job, &fail);
    if (err)
        bounce(j, job, err, &fail);
    else
        send_job(j, job);
}

void jobs_start(struct journal *j) {
    int64_t now_ns = journal_now_ns(j), end_ns = now_ns + STARTS_MS * 1000000ll;
    for (int i = 0; i < STARTS_A_TURN && !j->failed && journal_now_ns(j) < end_ns; i++) {
        struct dispatch_entry *entry = dispatch_next(j->dispatch, now_ns);
        if (!entry) return;
        start_entry(j, entry);
    }
}

// --- Outcomes: plan ---

static void note_pending(void *user, const struct store_due *due) {
    int64_t *delivery = user;
    if (due->delivery == *delivery) *delivery = 0;
}

// Rows of this webhook were moved while the job was out: was this one among them?
static enum err still_pending(struct journal *j, const struct job *job, bool *pending,
                              struct fail *fail) {
    const struct dispatch_entry *entry = job->entry;
    const struct webhook *w = dispatch_queue_user(entry->queue);
    int64_t delivery = job->delivery;
    *pending = true;
    if (job->stamp == w->stamp) return OK;
    enum err err = store_fetch_due(j->store, w->number, entry->due_ms, delivery - 1, 1,
                                   note_pending, &delivery, fail);
    *pending = delivery == 0;
    return err;
}

static struct slice reason_of(const struct job *job, enum delivery_state state) {
    if (job->reason.n) return job->reason;
    if (state == DELIVERY_EXHAUSTED || state == DELIVERY_PARKED)
        return slice_str(job->record.error);
    return slice(NULL, 0);
}

static enum err settle(struct journal *j, struct batch *batch, const struct outcome *o,
                       struct fail *fail) {
    const struct job *job = o->job;
    const struct dispatch_entry *entry = job->entry;
    const struct ruling *r = &o->ruling;
    bool again = r->state == DELIVERY_PENDING;
    struct store_settle settle = {
        .delivery = job->delivery,
        .state = r->state,
        .attempts = r->attempts,
        .due_ms = r->unchanged ? entry->due_ms : r->due_ms, // ours to wait, not the schedule's
        .reason = again ? slice(NULL, 0) : reason_of(job, r->state),
        .version = job->request.n ? job->hook->version : slice(NULL, 0),
        .request = job->request,
        .unresolved = job->unresolved,
        .attempt = job->attempted ? &job->record : NULL,
        .now_ms = batch->wall_ms,
    };
    enum err err = store_settle(j->store, &settle, fail);
    if (err != ERR_NOTFOUND) return err;
    log_line(LOG_WARN, "settled delivery is gone", "delivery", job->webhook_id, NULL);
    return OK;
}

// Further deliveries are due when their source was: so they stand beside it in
// the order that a restart reads back.
static enum err add_more(struct journal *j, struct batch *batch, struct outcome *o,
                         struct fail *fail) {
    const struct job *job = o->job;
    const struct dispatch_entry *entry = job->entry;
    if (!job->more_count) return OK;
    o->more = arena_zalloc(&batch->arena, job->more_count, sizeof *o->more);
    if (!o->more) return fail_set(fail, ERR_NOMEM, 0, "no_memory", "no memory for a fan-out");
    enum err err = OK;
    for (o->more_count = 0; o->more_count < job->more_count && !err; o->more_count += !err)
        err = store_add_delivery(j->store, job->delivery, job->more[o->more_count], entry->due_ms,
                                 &o->more[o->more_count], fail);
    if (err != ERR_LIMIT && err != ERR_NOTFOUND) return err;
    log_line(LOG_ERROR, "fan-out cut short", "delivery", job->webhook_id, "error", fail->text,
             NULL);
    return OK;
}

static enum err store_changes(struct journal *j, const struct job *job, struct fail *fail) {
    return job->changes ? store_put_kv(j->store, job->hook->name, job->changes, fail) : OK;
}

static void disable(struct journal *j, struct batch *batch, struct webhook *w,
                    const struct job *job, struct slice reason) {
    if (w->status.state != HOOK_ACTIVE && w->status.state != HOOK_PAUSED) return;
    webhook_set_state(j, w, HOOK_DISABLED, reason, job->hook->version);
    raise_webhook(j, batch, "webhook.disabled", w, job->hook);
}

// An edit came while the job was out.
static bool is_outdated(const struct webhook *w, const struct job *job) {
    return w->hook && !slice_eq(w->hook->version, job->hook->version);
}

static void quarantine(struct journal *j, struct batch *batch, struct webhook *w,
                       const struct job *job) {
    if (w->status.state != HOOK_ACTIVE || is_outdated(w, job)) return;
    struct slice why = job->reason.n ? job->reason : S("its script was stopped twice");
    webhook_set_state(j, w, HOOK_QUARANTINED, why, job->hook->version);
    raise_webhook(j, batch, "script.quarantined", w, job->hook);
}

// The count matters until it opens the breaker and may disable, then only the end of the run.
static bool is_news(const struct webhook *w, const struct job *job, enum health health,
                    bool was_failing) {
    uint32_t failures = w->status.failing.failures;
    if (health == HEALTH_GOOD) return was_failing;
    return failures <= FAILURES_TOLD || failures <= job->hook->breaker.threshold;
}

// What a later start needs to know of the rate.
static void note_attempt(struct journal *j, struct webhook *w, const struct job *job) {
    if (!job->attempted || !job->hook->rate.per_ms) return;
    webhook_touch(j, w);
    if (job->record.started_ms > w->status.attempt_ms)
        w->status.attempt_ms = job->record.started_ms;
    w->dirty = true;
}

static void judge_webhook(struct journal *j, struct batch *batch, struct webhook *w,
                          const struct outcome *o) {
    const struct job *job = o->job;
    bool was_failing = w->status.failing.since_ms != 0;
    if (o->ruling.health != HEALTH_UNKNOWN) {
        webhook_touch(j, w);
        bool long_enough = failing_note(&w->status.failing, o->ruling.health, batch->now_ms);
        w->dirty = w->dirty || is_news(w, job, o->ruling.health, was_failing);
        if (long_enough) disable(j, batch, w, job, S("nothing but failures for 120 hours"));
    }
    if (o->ruling.disable) disable(j, batch, w, job, S("the endpoint answered 410 Gone"));
    if (job->quarantine) quarantine(j, batch, w, job);
}

static bool nothing_to_store(const struct outcome *o) {
    const struct job *job = o->job;
    return o->ruling.unchanged && !job->request.n && !job->more_count && !job->changes;
}

static void rule_job(struct journal *j, struct batch *batch, struct webhook *w, struct outcome *o) {
    const struct job *job = o->job;
    enum hook_state state = w->status.state;
    o->ruling = rule(&(struct ruling_case){
        .verdict = job->verdict,
        .attempt = job->attempt,
        .attempted = job->attempted,
        .status = job->record.status,
        .retry_after_ms = job->retry_after_ms,
        .retry = &job->hook->retry,
        .held = state == HOOK_DISABLED || state == HOOK_REMOVED,
        .now_ms = batch->now_ms,
        .random = journal_random(j),
    });
    // An edit let go what its script's errors had parked; this one was in hand meanwhile.
    if (!is_outdated(w, job) || o->ruling.state != DELIVERY_PARKED || !webhook_accepts(w) ||
        !slice_starts(job->reason, S("script_error:")))
        return;
    o->ruling.state = DELIVERY_PENDING;
    o->ruling.due_ms = batch->now_ms;
}

static enum err plan_told(struct journal *j, struct batch *batch, struct outcome *o,
                          struct fail *fail) {
    struct webhook *w = webhook_find(j, o->job->hook->name);
    if (w && o->job->quarantine) quarantine(j, batch, w, o->job);
    return store_changes(j, o->job, fail);
}

enum err outcome_plan(struct journal *j, struct batch *batch, struct outcome *o,
                      struct fail *fail) {
    struct job *job = o->job;
    if (job->tell_exhausted) return plan_told(j, batch, o, fail);
    struct webhook *w = dispatch_queue_user(((struct dispatch_entry *)job->entry)->queue);
    o->more_count = 0;
    note_attempt(j, w, job);
    rule_job(j, batch, w, o);
    enum err err = still_pending(j, job, &o->was_pending, fail);
    // Dropped or parked by a person while it was out: only the truth of a
    // receipt stands above that.
    bool undecided = o->ruling.state == DELIVERY_PENDING || o->ruling.state == DELIVERY_PARKED;
    o->moot = job->gone || (!o->was_pending && undecided);
    if (err) return err;
    if (o->moot) return store_changes(j, job, fail); // its script ran all the same
    judge_webhook(j, batch, w, o);
    if (nothing_to_store(o)) return OK;
    err = settle(j, batch, o, fail);
    if (!err) err = add_more(j, batch, o, fail);
    if (!err) err = store_changes(j, job, fail);
    if (!err && o->ruling.state == DELIVERY_EXHAUSTED) raise_exhausted(j, batch, job);
    return err;
}

// --- Outcomes: apply ---

static void count_settled(struct journal *j, struct webhook *w, const struct outcome *o) {
    if (!o->was_pending || o->moot || o->ruling.state == DELIVERY_PENDING) return;
    w->pending -= w->pending > 0;
    j->pending -= j->pending > 0;
}

// The last first: each goes right behind its source.
static void apply_more(struct journal *j, struct webhook *w, const struct outcome *o,
                       int64_t now_ns) {
    struct dispatch_entry *entry = o->job->entry;
    for (size_t i = o->more_count; i > 0; i--) {
        struct dispatch_item item = { .delivery = o->more[i - 1],
                                      .due_ms = entry->due_ms,
                                      .created_ms = ns_to_ms(now_ns) };
        dispatch_add_behind(entry, &item, now_ns);
        w->pending++, j->pending++;
    }
    if (o->more_count && !webhook_accepts(w)) moves_park(j, w);
}

// The hook that wants to know runs once more, with nothing to send.
static bool tell(struct journal *j, const struct outcome *o) {
    struct job *job = o->job;
    if (o->moot || o->ruling.state != DELIVERY_EXHAUSTED || j->stopping) return false;
    if (!(job->hook->stages & HOOK_EXHAUSTED)) return false;
    job->tell_exhausted = true;
    job->entry = NULL;
    job->changes = NULL;
    job->quarantine = false;
    send_job(j, job);
    return true;
}

void outcome_apply(struct journal *j, struct outcome *o) {
    struct job *job = o->job;
    if (job->tell_exhausted) {
        job_free(job);
        return;
    }
    struct dispatch_entry *entry = job->entry;
    struct webhook *w = dispatch_queue_user(entry->queue);
    int64_t now_ns = journal_now_ns(j);
    bool again = o->ruling.state == DELIVERY_PENDING && !o->moot;
    if (!nothing_to_store(o) || is_outdated(w, job)) { // what comes next is in the store
        payload_forget(j, entry->payload);
        entry->payload = NULL;
    }
    apply_more(j, w, o, now_ns);
    count_settled(j, w, o);
    dispatch_done(entry,
                  &(struct dispatch_result){
                      .settled = !again,
                      .due_ms = o->ruling.due_ms,
                      .stored_due_ms = o->ruling.unchanged ? entry->due_ms : o->ruling.due_ms,
                      .attempts = o->ruling.attempts,
                      .health = o->ruling.health,
                      .hold_ms = o->ruling.hold_ms,
                  },
                  now_ns);
    // The row may have been put back meanwhile and passed over because it was out.
    if (o->moot) dispatch_queue_more(w->queue, 0, 1, false, now_ns);
    if (!tell(j, o)) job_free(job);
}
