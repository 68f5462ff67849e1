// Wires the actors together, and starts and stops them in order. Start: store,
// workers, registry; with the first hook set, journal; then the API becomes ready.
// Stop is the reverse, so that no actor sends to one that is gone.
#include "engine.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api.h"
#include "courier.h"
#include "journal.h"
#include "log.h"
#include "pulse.h"
#include "registry.h"
#include "secrets.h"
#include "store.h"
#include "worker.h"

enum {
    WORKERS_MAX = 64,
    AGAIN_MS = 100,
    CHECK_AFTER_MS = 1000,      // the start comes first
    CHECK_EVERY_MS = 10,        // a step of it takes one or less
    CHECKPOINT_BYTES = 8 << 20, // copied back in one turn of the journal: a few milliseconds
};

struct engine {
    struct engine_opts opts;
    uv_loop_t *loop;
    struct secrets *secrets;
    struct store *store; // until the journal takes it over
    struct worker *workers[WORKERS_MAX];
    struct inbox *inboxes[WORKERS_MAX];
    size_t workers_count;
    struct registry *registry;
    struct journal *journal;
    struct api *api;
    struct hook_set *hooks;
    struct pulse pulse;
    uv_timer_t again; // the journal has not heard of `hooks`, for want of memory
    uv_timer_t check_timer;
    struct store_check *check; // of a store that was not stopped cleanly; else NULL
    uv_async_t trouble;        // the journal's thread says that the store is gone
    struct fail fail;
    char lib_dir[4096], socket_path[4096];
    bool ready; // all webhooks were looked at once
    bool stopping;
};

static void script_logs(void *user, struct slice hook, struct slice event_id, int level,
                        struct slice line) {
    char name[72], event[160], text[2200];
    struct engine *engine = user;
    snprintf(name, sizeof name, "%.*s", SLICE_FMT(hook));
    snprintf(event, sizeof event, "%.*s", SLICE_FMT(event_id));
    snprintf(text, sizeof text, "%.*s", SLICE_FMT(line));
    secrets_blot(engine->secrets, text);
    log_line((enum log_level)level, text, "webhook", name, "event", event, NULL);
}

static struct script_opts script_opts(struct engine *engine) {
    const struct config *c = engine->opts.config;
    return (struct script_opts){ .program = "/proc/self/exe",
                                 .soft_ms = (int64_t)c->script_cpu_ms,
                                 .hard_ms = (int64_t)c->script_kill_ms,
                                 .load_ms = (int64_t)c->script_load_ms,
                                 .memory_max = (size_t)c->script_memory,
                                 .lib_dir = engine->lib_dir,
                                 .secret = secrets_get,
                                 .secret_user = engine->secrets,
                                 .log = script_logs,
                                 .log_user = engine };
}

static enum err start_workers(struct engine *engine, struct fail *fail) {
    const struct config *c = engine->opts.config;
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    size_t count = c->workers ? (size_t)c->workers : cores > 0 ? (size_t)cores : 1;
    if (count > WORKERS_MAX) count = WORKERS_MAX;
    struct worker_opts opts = { .guard = &c->guard,
                                .script = script_opts(engine),
                                .store_dir = c->data,
                                .dns_servers = c->dns,
                                .ca_file = c->ca_file,
                                .user_agent = "tuma/" TUMA_VERSION,
                                .http2 = c->http2,
                                .secret = secrets_get,
                                .secret_user = engine->secrets };
    for (; engine->workers_count < count; engine->workers_count++) {
        struct worker *worker = worker_start(&opts, fail);
        if (!worker) return fail->code;
        engine->workers[engine->workers_count] = worker;
        engine->inboxes[engine->workers_count] = worker_inbox(worker);
    }
    return OK;
}

// Runs on the journal's thread.
static void on_journal_failed(void *user, const struct fail *fail) {
    struct engine *engine = user;
    engine->fail = *fail;
    uv_async_send(&engine->trouble);
}

static void on_trouble(uv_async_t *async) {
    struct engine *engine = async->data;
    log_line(LOG_ERROR, "the store cannot be used any more", "error", engine->fail.text, NULL);
    engine_stop(engine);
}

static void end_check(struct engine *engine) {
    uv_timer_stop(&engine->check_timer);
    store_check_end(engine->check);
    engine->check = NULL;
}

static void on_check(uv_timer_t *timer) {
    struct engine *engine = timer->data;
    if (!store_check_step(engine->check)) end_check(engine);
}

static void start_check(struct engine *engine) {
    struct fail fail = { 0 };
    engine->check = store_check_start(engine->opts.config->data, &fail);
    if (engine->check)
        uv_timer_start(&engine->check_timer, on_check, CHECK_AFTER_MS, CHECK_EVERY_MS);
    else
        log_line(LOG_WARN, "store not checked after an unclean stop", "error", fail.text, NULL);
}

static enum err start_journal(struct engine *engine) {
    const struct config *c = engine->opts.config;
    if (store_is_unchecked(engine->store)) start_check(engine);
    engine->journal = journal_start(
        &(struct journal_opts){ .store = engine->store,
                                .hooks = engine->hooks,
                                .workers = engine->inboxes,
                                .workers_count = engine->workers_count,
                                .in_flight_max = (unsigned)c->in_flight,
                                .backlog_max = (uint64_t)c->backlog,
                                .retention_ms = (int64_t)(c->retention_days * 86400000),
                                .retention_bytes = (uint64_t)c->retention_bytes,
                                .failed = on_journal_failed,
                                .failed_user = engine },
        &engine->fail);
    if (!engine->journal) return engine->fail.code;
    engine->store = NULL;
    return OK;
}

static enum err start_api(struct engine *engine) {
    const struct config *c = engine->opts.config;
    bool loopback =
        !strcmp(c->host, "127.0.0.1") || !strcmp(c->host, "::1") || !strcmp(c->host, "localhost");
    // Loopback needs no token, so only these names may be used: a web page could rebind its own
    // name to this address.
    const char *hosts = loopback ? "localhost,127.0.0.1,[::1]" : NULL;
    if (!engine->opts.api) return OK;
    engine->api = api_new(engine->loop,
                          &(struct api_opts){ .host = c->host,
                                              .port = c->port,
                                              .socket_path = engine->socket_path,
                                              .token_required = c->require_token || !loopback,
                                              .store_dir = c->data,
                                              .journal = journal_inbox(engine->journal),
                                              .allowed_hosts = hosts,
                                              .registry = engine->registry },
                          &engine->fail);
    return engine->api ? OK : engine->fail.code;
}

static void tell_journal(struct engine *engine);

static void on_again(uv_timer_t *timer) {
    tell_journal(timer->data);
}

static void tell_journal(struct engine *engine) {
    if (engine->stopping) return;
    struct message *message = hooks_message_new(engine->hooks);
    if (message)
        inbox_send(journal_inbox(engine->journal), message);
    else
        uv_timer_start(&engine->again, on_again, AGAIN_MS, 0);
}

// Deliveries go on with the webhooks that are there; an event that came before its webhook
// would miss it, so events are taken once all were looked at.
static void say_ready(struct engine *engine) {
    if (engine->ready) return;
    engine->ready = registry_is_whole(engine->registry);
    if (!engine->ready) {
        log_line(LOG_WARN, "some webhooks cannot be loaded yet: events are refused until then",
                 NULL);
        return;
    }
    if (engine->api) api_set_ready(engine->api, true);
    if (engine->opts.ready) engine->opts.ready(engine->opts.user, engine);
}

static void on_hooks_changed(void *user, struct hook_set *set) {
    struct engine *engine = user;
    bool first = !engine->hooks;
    hook_set_unref(engine->hooks);
    engine->hooks = hook_set_ref(set);
    if (engine->stopping) return;
    if (first) {
        if (start_journal(engine) != OK || start_api(engine) != OK) {
            engine_stop(engine);
            return;
        }
    } else {
        tell_journal(engine);
    }
    if (engine->api) api_set_hooks(engine->api, set);
    say_ready(engine);
}

static enum err open_parts(struct engine *engine, struct fail *fail) {
    const struct config *c = engine->opts.config;
    engine->store = store_open(&(struct store_opts){ .dir = c->data,
                                                     .create = true,
                                                     .ballast_bytes = (size_t)c->ballast_bytes,
                                                     .reserve_bytes = (uint64_t)c->reserve_bytes,
                                                     .checkpoint_bytes = CHECKPOINT_BYTES },
                               fail);
    if (!engine->store) return fail->code;
    engine->secrets = secrets_open(c->data, c->secrets_key, fail);
    if (!engine->secrets) return fail->code;
    enum err err = start_workers(engine, fail);
    if (err != OK) return err;
    engine->registry = registry_new(engine->loop,
                                    &(struct registry_opts){ .scripts_dir = c->scripts,
                                                             .catalog = c->catalog,
                                                             .guard = &c->guard,
                                                             .script = script_opts(engine),
                                                             .watch = engine->opts.watch,
                                                             .run_tests = c->script_tests,
                                                             .changed = on_hooks_changed,
                                                             .user = engine },
                                    fail);
    return engine->registry ? OK : fail->code;
}

// libuv aborts when a loop cannot grow its table of descriptors. No other allocation of its
// that matters here goes through this function.
static void *grow_or_leave(void *old, size_t n) {
    void *p = realloc(old, n);
    if (!p && n) fail_no_memory("the event loop");
    return p;
}

struct engine *engine_start(uv_loop_t *loop, const struct engine_opts *opts, struct fail *fail) {
    struct engine *engine = calloc(1, sizeof *engine);
    if (!engine) {
        fail_set(fail, ERR_NOMEM, 0, "no_memory", "no memory for the engine");
        return NULL;
    }
    engine->opts = *opts;
    engine->loop = loop;
    snprintf(engine->lib_dir, sizeof engine->lib_dir, "%s/lib", opts->config->scripts);
    snprintf(engine->socket_path, sizeof engine->socket_path, "%s/control.sock",
             opts->config->data);
    secrets_protect_memory();
    uv_replace_allocator(malloc, grow_or_leave, calloc, free);
    if (courier_global_init(fail) != OK) return NULL;
    uv_async_init(loop, &engine->trouble, on_trouble);
    uv_timer_init(loop, &engine->again);
    uv_timer_init(loop, &engine->check_timer);
    engine->trouble.data = engine->again.data = engine->check_timer.data = engine;
    pulse_start(&engine->pulse, loop, "api");
    // The process ends when a part cannot be opened, so only the store's lock is released.
    if (open_parts(engine, fail) == OK) return engine;
    if (engine->store) store_close(engine->store);
    return NULL;
}

// --- Stop: api, journal's jobs, workers, journal, registry ---

static void on_trouble_closed(uv_handle_t *handle) {
    struct engine *engine = handle->data;
    if (engine->opts.stopped) engine->opts.stopped(engine->opts.user, &engine->fail);
}

static void on_registry_closed(void *user) {
    struct engine *engine = user;
    hook_set_unref(engine->hooks);
    engine->hooks = NULL;
    secrets_close(engine->secrets);
    pulse_stop(&engine->pulse);
    uv_close((uv_handle_t *)&engine->again, NULL);
    uv_close((uv_handle_t *)&engine->check_timer, NULL);
    uv_close((uv_handle_t *)&engine->trouble, on_trouble_closed);
}

static void on_api_closed(void *user) {
    struct engine *engine = user;
    journal_drain(engine->journal, (int64_t)(engine->opts.config->drain_s * 1000));
    for (size_t i = 0; i < engine->workers_count; i++) worker_stop(engine->workers[i]);
    journal_stop(engine->journal);
    if (engine->store) store_close(engine->store);
    registry_close(engine->registry, on_registry_closed, engine);
}

void engine_stop(struct engine *engine) {
    if (engine->stopping) return;
    engine->stopping = true;
    end_check(engine);
    if (engine->api)
        api_close(engine->api, (int64_t)(engine->opts.config->drain_s * 1000), on_api_closed,
                  engine);
    else
        on_api_closed(engine);
}

void engine_reload(struct engine *engine) {
    struct fail fail = { 0 };
    if (engine->stopping) return;
    if (secrets_reload(engine->secrets, &fail) != OK)
        log_line(LOG_ERROR, "secrets not read again", "error", fail.text, NULL);
    registry_scan(engine->registry);
}

struct inbox *engine_journal(struct engine *engine) {
    return journal_inbox(engine->journal);
}

struct hook_set *engine_hooks(struct engine *engine) {
    return engine->hooks;
}

int engine_port(const struct engine *engine) {
    return engine->api ? api_port(engine->api) : 0;
}

void engine_free(struct engine *engine) {
    free(engine);
}
