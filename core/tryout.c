// One script pool on a private loop; every verb starts a call and turns the
// loop until its answer is there.
#include "tryout.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <uv.h>

#include "cli.h"
#include "log.h"
#include "secrets.h"

struct tryout {
    const struct config *config;
    uv_loop_t loop;
    struct script_pool *pool;
    struct secrets *secrets;
    char lib_dir[4400]; // of the file that was loaded last
    bool done;          // the answer that the loop is turned for
};

static void on_log(void *user, struct slice hook, struct slice event_id, int level,
                   struct slice line) {
    (void)user, (void)event_id;
    static const char *const names[] = { "debug", "info", "warn", "error" };
    fprintf(stderr, "%.*s: log.%s: %.*s\n", SLICE_FMT(hook), names[level & 3], SLICE_FMT(line));
}

struct tryout *tryout_open(const struct config *config, struct fail *fail) {
    struct tryout *t = calloc(1, sizeof *t);
    if (!t) {
        fail_set(fail, ERR_NOMEM, 0, "no_memory", "no memory");
        return NULL;
    }
    t->config = config;
    if (uv_loop_init(&t->loop)) {
        free(t);
        fail_set(fail, ERR_NOMEM, 0, "no_memory", "no memory for an event loop");
        return NULL;
    }
    t->secrets = secrets_open(config->data, config->secrets_key, fail);
    if (!t->secrets) {
        uv_loop_close(&t->loop);
        free(t);
        return NULL;
    }
    t->pool = script_pool_new(&t->loop,
                              &(struct script_opts){ .program = "/proc/self/exe",
                                                     .soft_ms = (int64_t)config->script_cpu_ms,
                                                     .hard_ms = (int64_t)config->script_kill_ms,
                                                     .load_ms = (int64_t)config->script_load_ms,
                                                     .memory_max = (size_t)config->script_memory,
                                                     .lib_dir = t->lib_dir,
                                                     .secret = secrets_get,
                                                     .secret_user = t->secrets,
                                                     .log = on_log },
                              fail);
    if (t->pool) return t;
    secrets_close(t->secrets);
    uv_loop_close(&t->loop);
    free(t);
    return NULL;
}

static void turn(struct tryout *t) {
    while (!t->done && uv_run(&t->loop, UV_RUN_ONCE)) continue;
    t->done = false;
}

static void on_closed(void *user) {
    (void)user;
}

void tryout_close(struct tryout *t) {
    script_pool_close(t->pool, on_closed, t);
    uv_run(&t->loop, UV_RUN_DEFAULT);
    uv_loop_close(&t->loop);
    secrets_close(t->secrets);
    free(t);
}

// --- Load ---

struct load {
    struct tryout *tryout;
    struct hook_input input;
    hook_finding_fn *found;
    void *user;
    struct hook *hook;
};

static void report(struct load *load, unsigned line, const char *text) {
    struct hook_finding finding = { .error = true, .line = line ? line : 1, .column = 1 };
    // The message names the place itself, the child's with its line; the finding does too.
    char place[2][4200];
    snprintf(place[0], sizeof *place, "%.*s:%u: ", SLICE_FMT(load->input.file), line);
    snprintf(place[1], sizeof *place, "%.*s: ", SLICE_FMT(load->input.file));
    for (size_t i = 0; i < 2; i++)
        if (strncmp(text, place[i], strlen(place[i])) == 0) text += strlen(place[i]);
    snprintf(finding.text, sizeof finding.text, "%s", text);
    if (load->found) load->found(load->user, &finding);
}

static void on_loaded(void *user, const struct script_loaded *loaded) {
    struct load *load = user;
    struct fail fail = { 0 };
    load->tryout->done = true;
    if (!loaded->ok) {
        report(load, loaded->line, loaded->error);
        return;
    }
    load->input.description = loaded->description;
    load->input.version = loaded->version;
    load->input.source = loaded->source; // with the shared files it uses
    load->hook = hook_new(&load->input, load->found, load->user, &fail);
    if (fail.code == ERR_NOMEM) report(load, 0, fail.text); // no finding of the file's
}

// Shared files stand beside the webhook, or else in the scripts directory.
static void find_lib_dir(struct tryout *t, const char *path) {
    const char *slash = strrchr(path, '/');
    snprintf(t->lib_dir, sizeof t->lib_dir, "%.*slib", slash ? (int)(slash - path) + 1 : 0, path);
    if (access(t->lib_dir, F_OK) != 0)
        snprintf(t->lib_dir, sizeof t->lib_dir, "%s/lib", t->config->scripts);
}

static struct hook *load_text(struct load *load, struct slice source) {
    struct tryout *t = load->tryout;
    find_lib_dir(t, load->input.file.p);
    load->input.source = source;
    script_load(t->pool, load->input.name, load->input.file, source, on_loaded, load);
    turn(t);
    return load->hook;
}

static struct load load_of(struct tryout *t, const char *path, hook_finding_fn *found, void *user) {
    return (struct load){ .tryout = t,
                          .found = found,
                          .user = user,
                          .input = { .name = cli_stem(path),
                                     .file = slice_str(path),
                                     .catalog = t->config->catalog,
                                     .guard = &t->config->guard } };
}

struct hook *tryout_load_text(struct tryout *t, const char *path, struct slice source,
                              hook_finding_fn *found, void *user) {
    struct load load = load_of(t, path, found, user);
    return load_text(&load, source);
}

struct hook *tryout_load(struct tryout *t, const char *path, hook_finding_fn *found, void *user) {
    struct fail fail = { 0 };
    size_t n = 0;
    struct load load = load_of(t, path, found, user);
    // The script's own limit is told by the child.
    char *source = cli_read_file(path, 4 * 1024 * 1024, &n, &fail);
    if (!source) {
        report(&load, 0, fail.text);
        return NULL;
    }
    struct hook *hook = load_text(&load, slice(source, n));
    free(source);
    return hook;
}

struct table {
    struct tryout *tryout;
    struct arena *arena;
    struct slice json;
    struct fail *fail;
};

static void on_table(void *user, const struct script_loaded *loaded) {
    struct table *table = user;
    table->tryout->done = true;
    if (loaded->ok)
        table->json = arena_dup(table->arena, loaded->description);
    else
        fail_set(table->fail, ERR_INPUT, 0, "script", "%s", loaded->error);
}

enum err tryout_table(struct tryout *t, struct slice source, struct arena *arena,
                      struct slice *json, struct fail *fail) {
    struct table table = { .tryout = t, .arena = arena, .fail = fail };
    script_load(t->pool, S("table"), S("table.lua"), source, on_table, &table);
    turn(t);
    *json = table.json;
    return json->p ? OK : ERR_INPUT;
}

// --- Render ---

static void on_rendered(struct script_call *call) {
    struct tryout *t = call->user;
    t->done = true;
}

static void render_plainly(struct hook *hook, struct event *event, struct arena *arena,
                           struct tryout_result *r) {
    struct template_notes notes = { .arena = arena };
    struct tag_set tags;
    struct fail fail = { 0 };
    r->requests = arena_zalloc(arena, 1, sizeof *r->requests);
    bool fine = r->requests && hook_tags(hook, event, arena, &tags) &&
                hook_render(hook, &tags, arena, r->requests, &notes, &fail) == OK;
    r->outcome = fine ? SCRIPT_OK : SCRIPT_RENDER_ERROR;
    r->requests_count = fine;
    if (!fine)
        r->error = arena_printf(arena, "%s%s%s", fail.path, fail.path[0] ? ": " : "", fail.text);
    r->unresolved = template_notes_text(&notes);
}

void tryout_render(struct tryout *t, struct hook *hook, struct event *event, struct arena *arena,
                   struct tryout_result *r) {
    *r = (struct tryout_result){ 0 };
    if (!(hook->stages & HOOK_REQUEST_STAGES)) {
        render_plainly(hook, event, arena, r);
        return;
    }
    struct script_call call = { .kind = SCRIPT_REQUEST,
                                .hook = hook,
                                .event = event,
                                .delivery_id = S("msg_tryout"),
                                .attempt = 1,
                                .arena = arena,
                                .retry_after_ms = -1,
                                .done = on_rendered,
                                .user = t };
    list_init(&call.link);
    script_call(t->pool, &call);
    turn(t);
    *r = (struct tryout_result){ .outcome = call.outcome,
                                 .requests = call.requests,
                                 .requests_count = call.requests_count,
                                 .unresolved = call.unresolved,
                                 .reason = call.reason,
                                 .error = call.error,
                                 .cpu_ns = call.cpu_ns };
}

// --- Tests ---

struct test_run {
    struct tryout *tryout;
    struct arena *arena;
    struct slice report;
    bool ok;
};

static void on_tested(void *user, bool ok, struct slice report_json) {
    struct test_run *run = user;
    run->ok = ok;
    run->report = arena_dup(run->arena, report_json);
    run->tryout->done = true;
}

bool tryout_test(struct tryout *t, struct hook *hook, struct slice source, struct arena *arena,
                 struct slice *report_json) {
    struct test_run run = { .tryout = t, .arena = arena };
    script_test(t->pool, hook, source, on_tested, &run);
    turn(t);
    *report_json = run.report;
    return run.ok;
}

bool tryout_profile(struct tryout *t, struct hook *hook, struct slice events_json,
                    struct arena *arena, struct slice *report_json) {
    struct test_run run = { .tryout = t, .arena = arena };
    script_profile(t->pool, hook, events_json, on_tested, &run);
    turn(t);
    *report_json = run.report;
    return run.ok;
}
