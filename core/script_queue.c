// Whose turn it is. Each webhook has a queue; queues take turns, one call a turn. What
// waits inside a process cannot be taken back, so it is bounded by the time that it is
// likely to need: a webhook with slow calls gets few out there at a time, and nobody's
// call stands behind more than a few milliseconds of others' work.
//
// Lanes. A call that needs a good part of its budgets is not finished in the fast process:
// it comes back unrun, and its webhook goes on in the slow one until it has behaved for a
// while. It moves when nothing of it is out there, so its calls stay in order, and its
// versions leave the old process with it.
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "clock.h"
#include "log.h"
#include "script_inner.h"

enum {
    PROCESS_SENT_MAX = 256,
    QUEUE_SENT_MAX = 64,
    PROCESS_SENT_NS = 3 * 1000 * 1000,
    QUEUE_SENT_NS = 1000 * 1000,
    ESTIMATE_FIRST_NS = 1000 * 1000, // of a webhook that nothing is known about: one at a time
    ESTIMATE_MIN_NS = 1000,
    STRIKES_MAX = 2,
    FAILED_STARTS_MAX = 3,
    RETRY_START_MS = 100,
    SLOW_SHARE = 4, // of the soft budget and the memory, as in sandbox_main.c
    PROBATION_MIN = 64,
    PROBATION_MAX = 4096,
};

struct script_queue *script_queue_of(struct script_pool *pool, struct slice name) {
    struct script_queue *queue = map_get(&pool->queues, name);
    if (queue) return queue;
    queue = calloc(1, sizeof *queue);
    if (!queue) return NULL;
    snprintf(queue->name, sizeof queue->name, "%.*s", SLICE_FMT(name));
    queue->counters = script_counters_of(name);
    queue->estimate_ns = ESTIMATE_FIRST_NS;
    list_init(&queue->turn);
    list_init(&queue->waiting);
    list_init(&queue->bounced);
    queue->probation = PROBATION_MIN;
    list_init(&queue->versions);
    list_init(&queue->writes);
    map_init(&queue->writes_by_key);
    if (map_put(&pool->queues, slice_str(queue->name), queue)) return queue;
    free(queue);
    return NULL;
}

// --- turns ---

static struct script_call *first_of(const struct script_queue *queue) {
    return list_empty(&queue->waiting) ? NULL
                                       : list_item(queue->waiting.next, struct script_call, link);
}

static bool has_room(const struct script_queue *queue) {
    if (queue->wanted != queue->lane) return false;
    return queue->sent == 0 ||
           (queue->sent < QUEUE_SENT_MAX && queue->sent_ns + queue->estimate_ns <= QUEUE_SENT_NS);
}

static void settle_lane(struct script_pool *pool, struct script_queue *queue) {
    if (queue->sent) return;
    while (!list_empty(&queue->bounced)) {
        struct list *last = queue->bounced.prev;
        list_remove(last);
        list_push_front(&queue->waiting, last);
    }
    if (queue->lane == queue->wanted) return;
    if (pool->lanes[queue->lane]) script_version_drop_all(pool->lanes[queue->lane], queue);
    list_remove(&queue->turn);
    queue->lane = queue->wanted;
    queue->behaved = 0;
}

static void take_turn(struct script_pool *pool, struct script_queue *queue) {
    settle_lane(pool, queue);
    if (list_empty(&queue->waiting) || list_linked(&queue->turn) || !has_room(queue)) return;
    list_push(&pool->turns[queue->lane], &queue->turn);
}

// Held events wait in the store, and are let go by a person; those of other policies keep
// coming, so the pool itself has to leave the script alone.
static bool is_barred(const struct script_queue *queue, const struct hook *hook) {
    return hook->on_script_error != HOOK_HOLD &&
           script_conduct_is_barred(&queue->conduct, hook->version, clock_mono_ns());
}

void script_queue_add(struct script_pool *pool, struct script_call *call) {
    struct script_queue *queue = script_queue_of(pool, call->hook->name);
    call->queue = queue;
    call->serial = ++pool->serial;
    call->strikes = 0;
    list_init(&call->link);
    if (!queue || pool->closing) {
        script_call_fail(call, SCRIPT_GONE, "pool", "the script pool is closed or out of memory");
        return;
    }
    if (is_barred(queue, call->hook)) {
        script_call_fail(call, SCRIPT_ERROR, "process",
                         "the script is in quarantine: it used up its budgets too often");
        return;
    }
    list_push(&queue->waiting, &call->link);
    take_turn(pool, queue);
    script_pool_kick(pool);
}

// --- sending ---

static bool is_full(const struct script_process *process) {
    return process->alone || process->sent_count >= PROCESS_SENT_MAX ||
           (process->sent_count && process->sent_ns >= PROCESS_SENT_NS);
}

static void send_call(struct script_process *process, struct script_queue *queue,
                      struct script_call *call) {
    struct script_version *version = script_version_need(process, call->hook, queue, call->serial);
    if (!version) {
        script_call_fail(call, SCRIPT_GONE, "pool", "no memory to load the script");
        return;
    }
    const struct event *event = call->event;
    struct wire_call wire = { .serial = call->serial,
                              .hook = version->number,
                              .kind = call->kind,
                              .event_id = event->id,
                              .event_type = event->type,
                              .event_org = event->org,
                              .event_trace = event->trace,
                              .event_json = event->json,
                              .event_time_ms = event->time_ms,
                              .delivery_id = call->delivery_id,
                              .attempt = call->attempt,
                              .has_response = call->response != NULL };
    if (call->response) wire.response = *call->response;
    wire_put_call(&process->out, &wire);
    call->estimate_ns = queue->estimate_ns;
    list_push(&process->sent, &call->link);
    process->sent_count++;
    process->sent_ns += call->estimate_ns;
    queue->sent++;
    queue->sent_ns += call->estimate_ns;
    version->sent++;
    if (call->strikes) process->alone = call;
}

static void start_failed(struct script_pool *pool, enum script_lane lane, const char *text) {
    log_line(LOG_ERROR, "script process does not start", "error", text, NULL);
    pool->failed_starts[lane] = 0;
    pool->not_before_ns[lane] = clock_mono_ns() + (int64_t)RETRY_START_MS * 1000000;
    script_pool_later(pool); // also wakes a caller that turns the loop until its answer is there
    if (lane == LANE_FILES)
        script_task_fail_all(pool, text);
    else
        script_queue_fail_all(pool, lane, text);
}

// The lane's process, started when there is none; NULL when it cannot be just now.
struct script_process *script_queue_process(struct script_pool *pool, enum script_lane lane) {
    if (pool->lanes[lane]) return pool->lanes[lane];
    struct fail fail = { .text = "it ends before it answers" };
    if (pool->failed_starts[lane] < FAILED_STARTS_MAX &&
        clock_mono_ns() < pool->not_before_ns[lane])
        return script_pool_later(pool), NULL;
    if (pool->failed_starts[lane] < FAILED_STARTS_MAX) {
        struct script_process *process = script_process_start(pool, lane, &fail);
        if (process) return process;
    }
    start_failed(pool, lane, fail.text);
    return NULL;
}

void script_queue_send(struct script_pool *pool, enum script_lane lane) {
    struct list *turns = &pool->turns[lane];
    if (list_empty(turns)) return;
    struct script_process *process = script_queue_process(pool, lane);
    while (process && process->running && !list_empty(turns) && !is_full(process)) {
        struct script_queue *queue = list_item(turns->next, struct script_queue, turn);
        struct script_call *call = first_of(queue);
        if (call && call->strikes && process->sent_count) break; // it is to run alone
        list_remove(&queue->turn);
        if (!call) continue;
        list_remove(&call->link);
        send_call(process, queue, call);
        take_turn(pool, queue);
    }
    if (process) script_process_flush(process);
}

// --- answers ---

static void quarantine(struct script_call *call) {
    call->quarantine = true;
    script_conduct_bar(&call->queue->conduct, call->hook->version, clock_mono_ns());
}

static bool needs_much(const struct script_pool *pool, const struct wire_done *done) {
    return done->over_budget || done->cpu_ns > pool->opts.soft_ms * 1000000 / SLOW_SHARE ||
           done->memory_peak > pool->opts.memory_max / SLOW_SHARE;
}

static void judge_lane(struct script_pool *pool, struct script_queue *queue,
                       const struct wire_done *done) {
    queue->estimate_ns += (done->cpu_ns - queue->estimate_ns) / 8;
    if (queue->estimate_ns < ESTIMATE_MIN_NS) queue->estimate_ns = ESTIMATE_MIN_NS;
    if (queue->lane == LANE_FAST) {
        if (done->slow) queue->wanted = LANE_SLOW;
        return;
    }
    queue->behaved = needs_much(pool, done) ? 0 : queue->behaved + 1;
    if (queue->behaved < queue->probation) return;
    queue->wanted = LANE_FAST;
    if (queue->probation < PROBATION_MAX) queue->probation *= 2;
}

static void take_back(struct script_process *process, struct script_call *call) {
    struct script_queue *queue = call->queue;
    struct script_version *version = script_version_find(process, call->hook);
    list_remove(&call->link);
    process->sent_count--;
    process->sent_ns -= call->estimate_ns;
    if (process->alone == call) process->alone = NULL;
    queue->sent--;
    queue->sent_ns -= call->estimate_ns;
    if (version) version->sent--;
}

static void fill_in(struct script_call *call, const struct wire_done *done) {
    call->outcome = done->outcome;
    call->requests = done->requests;
    call->requests_count = done->requests_count;
    call->unresolved = done->unresolved;
    call->reason = done->reason;
    call->error = done->error;
    call->error_stage = done->error_stage;
    call->verdict = done->verdict;
    call->verdict_given = done->verdict_given;
    call->retry_after_ms = done->retry_after_ms;
    call->changes = done->changes;
    call->cpu_ns = done->cpu_ns;
    call->memory_peak = done->memory_peak;
}

// The child has checked what it sends; a child that a script has taken over has not.
static void check_again(struct script_call *call) {
    struct fail fail = { 0 };
    for (size_t i = 0; call->outcome == SCRIPT_OK && i < call->requests_count; i++) {
        const struct request *request = &call->requests[i];
        if (request_check(request, wire_authority(call->hook, request->url), &fail) != OK)
            script_call_set(call, SCRIPT_ERROR, "transform", fail.text);
    }
}

static bool read_answer(struct script_call *call, struct slice body, struct wire_done *done) {
    struct slice kept = arena_dup(call->arena, body);
    if (!kept.p) {
        bool full = arena_is_full(call->arena, body.n);
        script_call_set(call, full ? SCRIPT_ERROR : SCRIPT_GONE, "result",
                        full ? "the result is too large for its delivery" : "no memory");
        return true;
    }
    if (!wire_take_done(kept, done, call->arena)) return false;
    fill_in(call, done);
    check_again(call);
    return true;
}

void script_queue_done(struct script_process *process, struct slice body) {
    struct script_pool *pool = process->pool;
    struct slice head = body;
    uint64_t serial = take_u64(&head);
    struct script_call *call =
        list_empty(&process->sent) ? NULL : list_item(process->sent.next, struct script_call, link);
    struct wire_done done = { .serial = 0 };
    if (!call || call->serial != serial || !read_answer(call, body, &done)) {
        script_process_kill(process, "an answer that makes no sense");
        return;
    }
    struct script_queue *queue = call->queue;
    struct script_version *version = script_version_find(process, call->hook);
    if (version) script_version_told(process, version, done.memory);
    take_back(process, call);
    if (done.bounced) {
        list_push(&queue->bounced, &call->link);
        queue->wanted = LANE_SLOW;
        take_turn(pool, queue);
        return;
    }
    script_store_keep(queue, call->changes, pool->opts.kv_load != NULL);
    script_counters_add(queue->counters, call, done.over_budget);
    judge_lane(pool, queue, &done);
    bool strike = done.over_budget || done.exhausted;
    if (script_conduct_note(&queue->conduct, strike, clock_mono_ns())) quarantine(call);
    take_turn(pool, queue);
    call->done(call);
}

static void pass_line(const struct script_opts *o, const struct script_call *call,
                      const struct wire_log *log) {
    uint64_t dropped;
    char text[64];
    if (!script_conduct_may_log(&call->queue->conduct, clock_mono_ns(), &dropped)) return;
    if (dropped) {
        int n =
            snprintf(text, sizeof text, "too many log lines: %" PRIu64 " were dropped", dropped);
        o->log(o->log_user, call->hook->name, call->event->id, LOG_WARN, slice(text, (size_t)n));
    }
    o->log(o->log_user, call->hook->name, call->event->id, log->level, log->line);
}

void script_queue_log(struct script_process *process, struct slice body) {
    struct wire_log log;
    const struct script_opts *o = &process->pool->opts;
    if (!wire_take_log(body, &log)) {
        script_process_kill(process, "a log line that makes no sense");
        return;
    }
    for (struct list *link = process->sent.next; o->log && link != &process->sent;
         link = link->next) {
        const struct script_call *call = list_item(link, struct script_call, link);
        if (call->serial != log.serial) continue;
        pass_line(o, call, &log);
        return;
    }
}

// --- death ---

static void give_up(struct script_process *process, struct script_call *call) {
    char text[256];
    struct slice file = call->hook->file;
    snprintf(text, sizeof text, "%.*s: the script ended its process twice: %s",
             (int)(file.n < 100 ? file.n : 100), file.p, script_process_epitaph(process));
    quarantine(call);
    script_call_set(call, SCRIPT_ERROR, "process", text);
    script_counters_add(call->queue->counters, call, false);
    call->done(call);
}

static void strike(struct script_process *process, struct script_call *call) {
    process->answered = true; // it started well enough for this call to end it
    script_counters_kill(call->queue->counters);
    call->queue->wanted = LANE_SLOW;
    call->strikes++;
}

// From the last to the first, so that each goes back to the head of its queue.
void script_queue_bury(struct script_process *process) {
    struct script_pool *pool = process->pool;
    uint64_t beat = atomic_load_explicit(&process->beat->serial, memory_order_relaxed);
    struct script_call *hopeless = NULL;
    // a script cannot end its process of itself: who exits is out of memory
    bool by_script = process->killed_for || process->exit_signal;
    script_version_drop_all(process, NULL);
    while (!list_empty(&process->sent)) {
        struct script_call *call = list_item(process->sent.prev, struct script_call, link);
        struct script_queue *queue = call->queue;
        take_back(process, call);
        if (by_script && call->serial == (beat & ~WIRE_BEAT_LOAD)) strike(process, call);
        if (call->strikes >= STRIKES_MAX)
            hopeless = call;
        else
            list_push_front(&queue->waiting, &call->link);
        take_turn(pool, queue);
    }
    if (hopeless) give_up(process, hopeless);
}

void script_queue_fail_all(struct script_pool *pool, enum script_lane lane, const char *text) {
    struct list *turns = &pool->turns[lane], *link;
    while ((link = list_pop(turns)) != NULL) {
        struct script_queue *queue = list_item(link, struct script_queue, turn);
        struct list *first;
        while ((first = list_pop(&queue->waiting)) != NULL)
            script_call_fail(list_item(first, struct script_call, link), SCRIPT_GONE, "process",
                             text);
    }
}
