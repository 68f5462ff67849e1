// A job's way through a worker:
//
//   worker_receive → start_task → [script: filter, tags, render, transform] or render
//     → worker_send (worker_send.c) → transfer → [script: response] → worker_finish
//
// Every step ends by starting the next or by finishing; a task is in one place only.
#include "worker.h"

#include <stdio.h>
#include <stdlib.h>

#include "clock.h"
#include "log.h"
#include "worker_inner.h"

enum { STARTS_A_TURN = 24, STARTS_MS = 2 }; // sockets that are ready come in between

// A retry sends the stored request, so a request that cannot be stored is not sent.
static enum err keep_request(struct job *job, const struct request *request, struct slice *to) {
    struct buf packed;
    buf_init(&packed, REQUEST_BODY_MAX + REQUEST_URL_MAX + REQUEST_HEADER_BYTES_MAX * 2 + 65536);
    request_pack(request, &packed);
    bool full = !packed.failed && arena_is_full(&job->arena, packed.n);
    *to = packed.failed ? slice(NULL, 0) : arena_dup(&job->arena, buf_slice(&packed));
    buf_deinit(&packed);
    return to->p ? OK : full ? ERR_LIMIT : ERR_NOMEM;
}

static void stop_with(struct task *task, enum verdict verdict, struct slice reason) {
    task->job->verdict = verdict;
    task->job->reason = arena_dup(&task->job->arena, reason);
    worker_finish(task);
}

// The request of a webhook without request stages, or of one whose script
// failed and that says on_script_error = "send".
static void render_plainly(struct task *task) {
    struct job *job = task->job;
    struct template_notes notes = { .arena = &job->arena };
    struct tag_set tags;
    struct fail fail = { 0 };
    enum err err = hook_tags(job->hook, job->event, &job->arena, &tags)
                       ? hook_render(job->hook, &tags, &job->arena, &task->request, &notes, &fail)
                       : fail_set(&fail, ERR_NOMEM, 0, "no_memory", "no memory for the tags");
    job->unresolved = template_notes_text(&notes);
    if (err == OK) err = keep_request(job, &task->request, &job->request);
    if (err != OK) {
        stop_with(task, err == ERR_NOMEM ? VERDICT_LOCAL : VERDICT_PARK,
                  arena_printf(&job->arena, "%s: %s%s%s", fail.type, fail.path,
                               fail.path[0] ? ": " : "", fail.text));
        return;
    }
    worker_send(task);
}

static void settle_changes(struct task *task) {
    struct job *job = task->job;
    script_settle(task->worker->scripts, job->hook->name, &job->changes, &job->arena);
}

static void take_requests(struct task *task) {
    struct script_call *call = &task->call;
    struct job *job = task->job;
    if (!call->requests_count) {
        stop_with(task, VERDICT_FILTERED, S("transform returned no request"));
        return;
    }
    bool hidden = true;
    for (size_t i = 0; i < call->requests_count && hidden; i++)
        hidden = worker_hide_secrets(task, &call->requests[i]);
    task->request = call->requests[0];
    job->more = arena_zalloc(&job->arena, call->requests_count, sizeof *job->more);
    enum err err =
        job->more && hidden ? keep_request(job, &task->request, &job->request) : ERR_NOMEM;
    for (size_t i = 1; !err && i < call->requests_count; i++)
        err = keep_request(job, &call->requests[i], &job->more[i - 1]);
    if (err) {
        job->request = slice(NULL, 0);
        settle_changes(task);
        job->changes = NULL; // the stages will run again
        stop_with(task, err == ERR_NOMEM ? VERDICT_LOCAL : VERDICT_PARK,
                  S("the requests of this call cannot be kept"));
        return;
    }
    job->more_count = call->requests_count - 1;
    worker_send(task);
}

// Logs the first error of a script, the tenth, the hundredth; each delivery records its own.
static void say_error(struct task *task) {
    const struct script_call *call = &task->call;
    worker_blot_script(task);
    uint64_t met = call->outcome == SCRIPT_ERROR ? script_note_error(call) : 0;
    if (!met) return;
    char name[80], version[24], stage[16], event[EVENT_ID_MAX + 1], figures[3][24], error[4400];
    snprintf(name, sizeof name, "%.*s", SLICE_FMT(call->hook->name));
    snprintf(version, sizeof version, "%.*s", SLICE_FMT(call->hook->version));
    snprintf(stage, sizeof stage, "%.*s", SLICE_FMT(call->error_stage));
    snprintf(event, sizeof event, "%.*s", SLICE_FMT(call->event->id));
    snprintf(error, sizeof error, "%.*s", SLICE_FMT(call->error));
    snprintf(figures[0], sizeof *figures, "%llu", (unsigned long long)met);
    snprintf(figures[1], sizeof *figures, "%.3f", (double)call->cpu_ns / 1e6);
    snprintf(figures[2], sizeof *figures, "%zu", call->memory_peak);
    log_line(LOG_ERROR, "script failed", "webhook", name, "version", version, "stage", stage,
             "event", event, "times", figures[0], "cpu_ms", figures[1], "memory_peak", figures[2],
             "error", error, NULL);
}

static void script_failed(struct task *task) {
    struct job *job = task->job;
    struct script_call *call = &task->call;
    struct slice reason = arena_printf(&job->arena, "script_error: %.*s: %.*s",
                                       SLICE_FMT(call->error_stage), SLICE_FMT(call->error));
    if (job->hook->on_script_error == HOOK_SEND)
        render_plainly(task);
    else
        stop_with(task, job->hook->on_script_error == HOOK_DROP ? VERDICT_DROP : VERDICT_PARK,
                  reason);
}

static void on_request_made(struct script_call *call) {
    struct task *task = call->user;
    struct job *job = task->job;
    say_error(task);
    job->unresolved = call->unresolved;
    job->changes = call->changes;
    job->quarantine = call->quarantine;
    switch (call->outcome) {
    case SCRIPT_OK: take_requests(task); break;
    case SCRIPT_FILTERED: stop_with(task, VERDICT_FILTERED, call->reason); break;
    case SCRIPT_ERROR: script_failed(task); break;
    case SCRIPT_RENDER_ERROR: stop_with(task, VERDICT_PARK, call->error); break;
    case SCRIPT_GONE: stop_with(task, VERDICT_LOCAL, S("shutdown")); break;
    }
}

static void call_script(struct task *task, enum script_call_kind kind,
                        void (*done)(struct script_call *call)) {
    struct job *job = task->job;
    task->call = (struct script_call){
        .kind = kind,
        .hook = job->hook,
        .event = job->event,
        .delivery_id = slice_str(job->webhook_id),
        .attempt = job->attempt,
        .response = kind == SCRIPT_RESPONSE ? &job->record : NULL,
        .arena = &job->arena,
        .retry_after_ms = -1,
        .done = done,
        .user = task,
    };
    list_init(&task->call.link);
    script_call(task->worker->scripts, &task->call);
}

static void on_exhausted_told(struct script_call *call) {
    struct task *task = call->user;
    say_error(task);
    task->job->changes = call->changes;
    task->job->quarantine = call->quarantine;
    worker_finish(task);
}

static void on_response_judged(struct script_call *call) {
    struct task *task = call->user;
    struct job *job = task->job;
    say_error(task);
    for (struct script_kv **tail = &job->changes; call->changes; tail = &(*tail)->next) {
        if (*tail) continue; // what the request stages wrote comes first
        *tail = call->changes;
        break;
    }
    if (call->outcome == SCRIPT_OK && call->verdict_given) {
        job->verdict = job->record.verdict = call->verdict;
        if (call->verdict == VERDICT_RETRY && call->retry_after_ms >= 0)
            job->retry_after_ms = call->retry_after_ms;
        job->reason = call->reason;
    }
    job->quarantine = job->quarantine || call->quarantine;
    worker_finish(task);
}

static void on_transfer_done(struct transfer *transfer) {
    struct task *task = transfer->user;
    struct job *job = task->job;
    job->record = transfer->attempt;
    job->verdict = transfer->attempt.verdict;
    job->retry_after_ms = transfer->attempt.retry_after_ms;
    job->attempted = job->verdict != VERDICT_LOCAL;
    worker_blot_echo(task);
    if (transfer->attempt.status == 401) worker_oauth_forget(task);
    if (transfer->attempt.status && (job->hook->stages & HOOK_RESPONSE))
        call_script(task, SCRIPT_RESPONSE, on_response_judged);
    else
        worker_finish(task);
}

static void start_task(struct worker *worker, struct job *job) {
    struct task *task = arena_zalloc(&job->arena, 1, sizeof *task);
    job->retry_after_ms = -1;
    worker->tasks++;
    if (!task) {
        job->verdict = VERDICT_LOCAL;
        job->message.kind = MESSAGE_OUTCOME;
        worker->tasks--;
        inbox_send(job->reply, &job->message);
        return;
    }
    task->worker = worker;
    task->job = job;
    task->transfer.done = on_transfer_done;
    task->transfer.user = task;
    list_init(&task->waiting);
    if (worker->stopping)
        stop_with(task, VERDICT_LOCAL, S("shutdown"));
    else if (job->tell_exhausted)
        call_script(task, SCRIPT_EXHAUSTED, on_exhausted_told);
    else if (job->packed.n && request_unpack(job->packed, &task->request, &job->arena))
        worker_send(task);
    else if (job->packed.n)
        stop_with(task, VERDICT_PARK, S("corrupt_row: the stored request cannot be read"));
    else if (job->hook->stages & HOOK_REQUEST_STAGES)
        call_script(task, SCRIPT_REQUEST, on_request_made);
    else
        render_plainly(task);
}

void worker_finish(struct task *task) {
    struct job *job = task->job;
    settle_changes(task);
    task->worker->tasks--;
    job->message.kind = MESSAGE_OUTCOME;
    inbox_send(job->reply, &job->message);
}

// --- The thread ---

static void part_closed(void *user) {
    struct worker *worker = user;
    if (--worker->parts_open) return;
    inbox_close(&worker->inbox);
    pulse_stop(&worker->pulse);
}

static void on_more(uv_idle_t *more);

static void receive_job(struct worker *worker, struct job *job) {
    list_push(job->doubted ? &worker->doubted : &worker->jobs, &job->message.link);
}

// One in four is for an endpoint in doubt, while there are others.
static struct list *next_job(struct worker *worker, int started) {
    bool doubted = started % 4 == 3;
    struct list *link = list_pop(doubted ? &worker->doubted : &worker->jobs);
    return link ? link : list_pop(doubted ? &worker->jobs : &worker->doubted);
}

// As many as fit in a turn: rendering and sending a thousand takes long, and
// answers would wait meanwhile. Time alone is no bound, because curl connects and
// writes later, for all that were added at once.
static void start_jobs(struct worker *worker) {
    int64_t end_ns = clock_mono_ns() + STARTS_MS * 1000000ll;
    struct list *link;
    for (int i = 0; worker->stopping || (i < STARTS_A_TURN && clock_mono_ns() < end_ns); i++) {
        if (!(link = next_job(worker, i))) break;
        start_task(worker, list_item(link, struct job, message.link));
    }
    if (list_empty(&worker->jobs) && list_empty(&worker->doubted))
        uv_idle_stop(&worker->more);
    else
        uv_idle_start(&worker->more, on_more);
}

static void on_more(uv_idle_t *more) {
    start_jobs(more->data);
}

// The courier's look-ups end before their resolver does, and its jobs before the scripts that
// settle what they wrote.
static void courier_done(void *user) {
    struct worker *worker = user;
    resolver_close(worker->resolver, part_closed, worker);
    script_pool_close(worker->scripts, part_closed, worker);
    part_closed(worker);
}

static void begin_stop(struct worker *worker) {
    if (worker->stopping) return;
    worker->stopping = true;
    worker->parts_open = 3;
    start_jobs(worker); // they come back at once
    uv_close((uv_handle_t *)&worker->more, NULL);
    courier_close(worker->courier, courier_done, worker);
}

static void worker_receive(void *user, struct list *messages) {
    struct worker *worker = user;
    for (struct list *link; (link = list_pop(messages));) {
        struct message *message = list_item(link, struct message, link);
        if (message->kind == MESSAGE_JOB)
            receive_job(worker, list_item(link, struct job, message.link));
        else if (message->kind == MESSAGE_STOP)
            begin_stop(worker);
        else
            message_discard(message);
    }
    if (worker->stopping || !uv_is_active((uv_handle_t *)&worker->more)) start_jobs(worker);
}

static void load_kv(void *user, struct slice hook,
                    void (*each)(void *to, const struct script_kv *kv), void *to) {
    struct worker *worker = user;
    struct fail fail = { 0 };
    if (!worker->reader) worker->reader = store_reader_open(worker->opts.store_dir, &fail);
    if (worker->reader) store_reader_kv(worker->reader, hook, clock_wall_ms(), each, to, &fail);
    if (fail.code != OK)
        log_line(LOG_WARN, "cannot read a script's store", "error", fail.text, NULL);
}

static void run(void *user) {
    struct worker *worker = user;
    uv_run(&worker->loop, UV_RUN_DEFAULT);
}

static enum err open_parts(struct worker *worker, struct fail *fail) {
    const struct worker_opts *o = &worker->opts;
    worker->resolver =
        resolver_new(&worker->loop, &(struct resolver_opts){ .servers = o->dns_servers }, fail);
    if (!worker->resolver) return fail->code;
    worker->courier = courier_new(&worker->loop,
                                  &(struct courier_opts){ .guard = o->guard,
                                                          .resolver = worker->resolver,
                                                          .ca_file = o->ca_file,
                                                          .user_agent = o->user_agent,
                                                          .http2 = o->http2 },
                                  fail);
    if (!worker->courier) return fail->code;
    struct script_opts script = o->script;
    script.kv_load = load_kv;
    script.kv_user = worker;
    worker->scripts = script_pool_new(&worker->loop, &script, fail);
    return worker->scripts ? OK : fail->code;
}

struct worker *worker_start(const struct worker_opts *opts, struct fail *fail) {
    struct worker *worker = calloc(1, sizeof *worker);
    if (!worker) {
        fail_set(fail, ERR_NOMEM, 0, "no_memory", "no memory for a worker");
        return NULL;
    }
    worker->opts = *opts;
    map_init(&worker->tokens);
    if (uv_loop_init(&worker->loop)) {
        free(worker);
        fail_set(fail, ERR_NOMEM, 0, "no_memory", "no memory for a worker's loop");
        return NULL;
    }
    list_init(&worker->jobs);
    list_init(&worker->doubted);
    uv_idle_init(&worker->loop, &worker->more);
    worker->more.data = worker;
    // A worker that cannot be made ends the start of the process, so nothing is unwound here.
    if (inbox_init(&worker->inbox, &worker->loop, worker_receive, message_discard, worker) != 0 ||
        open_parts(worker, fail) != OK) {
        if (fail->code == OK)
            fail_set(fail, ERR_IO, 0, "no_worker", "cannot start a worker's loop");
        return NULL;
    }
    pulse_start(&worker->pulse, &worker->loop, "worker");
    if (uv_thread_create(&worker->thread, run, worker) != 0) {
        fail_set(fail, ERR_IO, 0, "no_thread", "cannot start a worker's thread");
        return NULL;
    }
    return worker;
}

struct inbox *worker_inbox(struct worker *worker) {
    return &worker->inbox;
}

void worker_stop(struct worker *worker) {
    list_init(&worker->stop.link);
    worker->stop.kind = MESSAGE_STOP;
    inbox_send(&worker->inbox, &worker->stop);
    uv_thread_join(&worker->thread);
    worker_oauth_close(worker);
    uv_loop_close(&worker->loop);
    store_reader_close(worker->reader);
    free(worker);
}
