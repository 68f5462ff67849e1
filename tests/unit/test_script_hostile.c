// Every file of tests/hostile through real script processes, with an innocent webhook
// beside it: the file must end as its head says, and the innocent one must be answered
// well in any case. This program is its own script process.
// floor: script
#include <ctype.h>
#include <signal.h>

#include "check.h"
#include "hostile_plan.h"
#include "script.h"

enum { MEMORY = 16 * 1024 * 1024, ARENA_MAX = 16 * 1024 * 1024, TEXT_ROOM = 8192 };

static uv_loop_t loop;
static struct script_pool *pool;

static void open_pool(int soft_ms) {
    struct fail fail = { .text = "" };
    uv_loop_init(&loop);
    pool = script_pool_new(&loop,
                           &(struct script_opts){ .program = "/proc/self/exe",
                                                  .soft_ms = soft_ms,
                                                  .hard_ms = 250 + soft_ms,
                                                  .load_ms = 500,
                                                  .memory_max = MEMORY },
                           &fail);
    CHECK(pool != NULL);
}

static void on_closed(void *user) {
    (void)user;
}

static void close_pool(void) {
    script_pool_close(pool, on_closed, NULL);
    uv_run(&loop, UV_RUN_DEFAULT);
    CHECK_INT(uv_loop_close(&loop), 0);
}

struct loading {
    bool done;
    const char *name;
    struct hook *hook;
    char error[TEXT_ROOM];
};

static void on_loaded(void *user, const struct script_loaded *loaded) {
    struct loading *loading = user;
    struct fail fail = { .text = "" };
    loading->done = true;
    snprintf(loading->error, sizeof loading->error, "%s", loaded->error);
    if (!loaded->ok) return;
    loading->hook = hook_new(&(struct hook_input){ .name = slice_str(loading->name),
                                                   .file = S("hostile.lua"),
                                                   .source = loaded->source,
                                                   .version = loaded->version,
                                                   .description = loaded->description },
                             NULL, NULL, &fail);
    snprintf(loading->error, sizeof loading->error, "%s", fail.text);
}

static struct hook *load(const char *name, struct slice source, char error[TEXT_ROOM]) {
    struct loading loading = { .name = name };
    script_load(pool, slice_str(name), S("hostile.lua"), source, on_loaded, &loading);
    while (!loading.done) uv_run(&loop, UV_RUN_ONCE);
    memcpy(error, loading.error, TEXT_ROOM);
    return loading.hook;
}

struct calling {
    struct script_call call;
    struct arena arena;
    struct event *event;
    bool done;
};

static void on_called(struct script_call *call) {
    ((struct calling *)call->user)->done = true;
}

static void start(struct calling *calling, struct hook *hook, struct slice event_json) {
    struct fail fail = { .text = "" };
    calling->done = false;
    calling->event = event_read(event_json, 0, &fail);
    arena_init(&calling->arena, ARENA_MAX);
    calling->call = (struct script_call){ .kind = SCRIPT_REQUEST,
                                          .hook = hook,
                                          .event = calling->event,
                                          .arena = &calling->arena,
                                          .done = on_called,
                                          .user = calling };
    script_call(pool, &calling->call);
}

static void wait_for(struct calling *calling) {
    while (!calling->done) uv_run(&loop, UV_RUN_ONCE);
}

static void end(struct calling *calling) {
    event_unref(calling->event);
    arena_deinit(&calling->arena);
}

static bool ended_as(struct slice expect, const struct script_call *call) {
    struct slice part;
    bool error = call->outcome == SCRIPT_ERROR;
    bool budget = error && holds(call->error, S("CPU budget exceeded"));
    if (slice_eq(expect, S("ok")))
        return call->outcome == SCRIPT_OK || call->outcome == SCRIPT_FILTERED;
    if (slice_eq(expect, S("budget"))) return budget;
    if (slice_eq(expect, S("memory"))) return budget || (error && holds(call->error, S("memory")));
    if (slice_eq(expect, S("killed"))) return call->quarantine && call->strikes == 2;
    if (take_line(expect, S("error:"), &part)) return error && holds(call->error, part);
    if (take_line(expect, S("filtered:"), &part))
        return call->outcome == SCRIPT_FILTERED && holds(call->reason, part);
    return slice_eq(expect, S("filtered")) && call->outcome == SCRIPT_FILTERED;
}

// One event for the script, with one for the innocent webhook before and after it.
static void run_event(struct hook *hook, struct hook *innocent, struct slice json,
                      struct slice expect) {
    struct calling before, bad, after;
    start(&before, innocent, slice_str(plain_event));
    start(&bad, hook, json);
    start(&after, innocent, slice_str(plain_event));
    wait_for(&before);
    wait_for(&bad);
    wait_for(&after);
    CHECK_INT(before.call.outcome, SCRIPT_OK);
    CHECK_INT(after.call.outcome, SCRIPT_OK);
    CHECK_INT(before.call.strikes + after.call.strikes, 0);
    if (!ended_as(expect, &bad.call))
        printf("# wanted %.*s, got outcome %d: %.*s\n", SLICE_FMT(expect), bad.call.outcome,
               SLICE_FMT(bad.call.error));
    CHECK(ended_as(expect, &bad.call));
    end(&before);
    end(&bad);
    end(&after);
}

static void name_of(const char *path, char name[64]) {
    size_t n = 0;
    for (const char *p = path + sizeof folder; *p && *p != '.' && n < 63; p++)
        name[n++] = isalnum((unsigned char)*p) ? (char)tolower((unsigned char)*p) : '-';
    name[n] = '\0';
}

static void run_file(const char *path, struct hook *innocent) {
    struct slice text = read_whole(path), part;
    struct plan plan = read_plan(text);
    char name[64], error[TEXT_ROOM];
    name_of(path, name);
    struct slice source = plan.make.n ? make_source(plan.make) : text;
    struct hook *hook = load(name, source, error);
    if (plan.make.n && source.n > 64) free((char *)(uintptr_t)source.p);
    if (take_line(plan.expect, S("load-error:"), &part)) {
        if (hook || !holds(slice_str(error), part)) printf("# loaded, or: %s\n", error);
        CHECK(!hook && holds(slice_str(error), part));
        hook_unref(hook);
        return;
    }
    if (!hook) printf("# %s\n", error);
    CHECK(hook != NULL);
    for (size_t i = 0; hook && i < plan.events_count; i++)
        run_event(hook, innocent, plan.events[i],
                  i + 1 == plan.events_count ? plan.expect : S("ok"));
    if (hook && !slice_eq(plan.expect, S("killed")))
        run_event(hook, innocent, slice_str(calm_event), S("ok"));
    hook_unref(hook);
}

// Files with a budget of their own get a pool of their own.
static void run_in_pool(const char *path, int soft_ms) {
    char error[TEXT_ROOM];
    open_pool(soft_ms);
    struct hook *innocent =
        load("innocent",
             S("return { on = 'call.*', request = { method = 'GET', url = 'https://h.example/' }, "
               "filter = function(event) return event.CALL_ID ~= nil end }"),
             error);
    if (!innocent) printf("# %s\n", error);
    CHECK(innocent != NULL);
    if (innocent) run_file(path, innocent);
    hook_unref(innocent);
    close_pool();
}

int main(int argc, char **argv) {
    if (argc > 1 && strcmp(argv[1], "__sandbox") == 0) return sandbox_main(argc, argv);
    int failed = 0, number = 0;
    signal(SIGPIPE, SIG_IGN);
    list_files();
    for (size_t i = 0; i < paths_count; i++) {
        struct plan plan = read_plan(read_whole(paths[i]));
#if defined(__SANITIZE_THREAD__) // delivers the budget's signal only when the program calls
                                 // something
        if (holds(plan.expect, S("budget")) || slice_eq(plan.expect, S("memory"))) continue;
#endif
        check_failures = 0;
        run_in_pool(paths[i], plan.soft_ms);
        printf("%s %d - %s\n", check_failures ? "not ok" : "ok", ++number,
               paths[i] + sizeof folder);
        failed += check_failures != 0;
    }
    printf("1..%d\n", number);
    return failed != 0 || number == 0;
}
