// The pool: what callers see, and the loop's handles that move it. Calls and tasks
// only gather while callbacks run; they are sent once before the loop sleeps, so a
// burst of them shares its system calls.
#include "script.h"

#include <stdio.h>
#include <stdlib.h>

#include "script_inner.h"

enum { LOOKS_PER_LIMIT = 5, START_AGAIN_MS = 100 };

static bool has_work(const struct script_process *process) {
    return process->running && process->sent_count;
}

static void on_watchdog(uv_timer_t *timer) {
    struct script_pool *pool = timer->data;
    bool any = false;
    for (int lane = 0; lane < LANES; lane++) {
        struct script_process *process = pool->lanes[lane];
        if (!process || !has_work(process)) continue;
        any = true;
        script_process_watch(process);
    }
    if (!any) uv_timer_stop(timer); // an idle engine is never woken
}

static void send_all(struct script_pool *pool) {
    script_queue_send(pool, LANE_FAST);
    script_queue_send(pool, LANE_SLOW);
    if (!list_empty(&pool->tasks)) {
        struct script_process *process = script_queue_process(pool, LANE_FILES);
        if (process) script_task_send(process);
    }
}

static void on_prepare(uv_prepare_t *prepare) {
    struct script_pool *pool = prepare->data;
    uv_prepare_stop(prepare);
    send_all(pool);
    bool any = false;
    for (int lane = 0; lane < LANES; lane++)
        any = any || (pool->lanes[lane] && has_work(pool->lanes[lane]));
    uint64_t every = (uint64_t)(pool->opts.hard_ms / LOOKS_PER_LIMIT) + 1;
    if (any && !uv_is_active((uv_handle_t *)&pool->watchdog))
        uv_timer_start(&pool->watchdog, on_watchdog, every, every);
}

static void on_again(uv_timer_t *timer) {
    script_pool_kick(timer->data);
}

void script_pool_later(struct script_pool *pool) {
    if (!pool->closing) uv_timer_start(&pool->again, on_again, START_AGAIN_MS, 0);
}

void script_pool_kick(struct script_pool *pool) {
    if (!pool->closing) uv_prepare_start(&pool->prepare, on_prepare);
}

struct script_pool *script_pool_new(uv_loop_t *loop, const struct script_opts *opts,
                                    struct fail *fail) {
    struct script_pool *pool = calloc(1, sizeof *pool);
    if (!pool) {
        fail_set(fail, ERR_NOMEM, 0, "no_memory", "no memory for the script pool");
        return NULL;
    }
    pool->loop = loop;
    pool->opts = *opts;
    list_init(&pool->processes);
    list_init(&pool->tasks);
    for (int lane = 0; lane < LANES; lane++) list_init(&pool->turns[lane]);
    map_init(&pool->queues);
    uv_prepare_init(loop, &pool->prepare);
    uv_timer_init(loop, &pool->watchdog);
    uv_timer_init(loop, &pool->again);
    pool->prepare.data = pool->watchdog.data = pool->again.data = pool;
    pool->handles = 3;
    // an idle pool does not keep its loop alive; a process with work does
    uv_unref((uv_handle_t *)&pool->watchdog);
    return pool;
}

// --- answers without a process ---

void script_call_set(struct script_call *call, enum script_outcome outcome, const char *stage,
                     const char *text) {
    call->outcome = outcome;
    call->requests = NULL;
    call->requests_count = 0;
    call->changes = NULL;
    call->verdict_given = false;
    call->retry_after_ms = -1;
    call->error_stage = slice_str(stage);
    call->error = arena_dup(call->arena, slice_str(text));
    if (!call->error.p) call->error = slice("", 0);
}

void script_call_fail(struct script_call *call, enum script_outcome outcome, const char *stage,
                      const char *text) {
    script_call_set(call, outcome, stage, text);
    call->done(call);
}

void script_call(struct script_pool *pool, struct script_call *call) {
    call->quarantine = false;
    script_queue_add(pool, call);
}

// --- the end ---

static void queue_free(struct script_queue *queue) {
    script_store_free(queue);
    free(queue);
}

void script_pool_release(struct script_pool *pool) {
    if (--pool->handles) return;
    size_t at = 0;
    struct map_entry *entry;
    while ((entry = map_next(&pool->queues, &at)) != NULL) queue_free(entry->value);
    map_deinit(&pool->queues);
    void (*closed)(void *user) = pool->closed;
    void *user = pool->closed_user;
    free(pool);
    closed(user);
}

static void on_handle_closed(uv_handle_t *handle) {
    script_pool_release(handle->data);
}

static void answer_gone(struct list *calls) {
    struct list *link;
    while ((link = list_pop(calls)) != NULL)
        script_call_fail(list_item(link, struct script_call, link), SCRIPT_GONE, "pool",
                         "the script pool was closed");
}

static void end_process(struct script_process *process) {
    struct list *link;
    answer_gone(&process->sent);
    while ((link = list_pop(&process->tasks)) != NULL) list_push(&process->pool->tasks, link);
    process->sent_count = 0;
    if (process->running) script_process_kill(process, "the pool was closed");
}

void script_pool_close(struct script_pool *pool, void (*closed)(void *user), void *user) {
    pool->closing = true;
    pool->closed = closed;
    pool->closed_user = user;
    for (struct list *link = pool->processes.next; link != &pool->processes; link = link->next)
        end_process(list_item(link, struct script_process, link));
    script_task_fail_all(pool, "the script pool was closed");
    size_t at = 0;
    struct map_entry *entry;
    while ((entry = map_next(&pool->queues, &at)) != NULL) {
        struct script_queue *queue = entry->value;
        answer_gone(&queue->bounced);
        answer_gone(&queue->waiting);
    }
    uv_close((uv_handle_t *)&pool->prepare, on_handle_closed);
    uv_close((uv_handle_t *)&pool->watchdog, on_handle_closed);
    uv_close((uv_handle_t *)&pool->again, on_handle_closed);
}
