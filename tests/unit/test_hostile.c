// Every file of tests/hostile, in a process of its own, on the sandbox as the
// script process uses it. A case that takes its process along fails alone.
// floor: sandbox_call
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"
#include "hook.h"
#include "hostile_plan.h"
#include "sandbox_call.h"
#include "sandbox_kv.h"

enum { MEMORY = 16 * 1024 * 1024, LOAD_MS = 500, WALL_S = 60, STACK_BYTES = 256 * 1024 };
enum { LATE_MS = 250 };         // past the budget a script process is killed
enum { KEPT_MAX = 192 * 1024 }; // what a plan may leave in its state, once tidied

static const char *outcome_name(const struct wire_done *done) {
    switch (done->outcome) {
    case SCRIPT_OK: return "ok";
    case SCRIPT_FILTERED: return "filtered";
    case SCRIPT_ERROR: return "error";
    default: return "render error";
    }
}

static bool as_expected(struct slice expect, const struct wire_done *done) {
    struct slice part;
    bool error = done->outcome == SCRIPT_ERROR;
    bool budget = error && holds(done->error, S("CPU budget exceeded"));
    if (slice_eq(expect, S("ok")))
        return done->outcome == SCRIPT_OK || done->outcome == SCRIPT_FILTERED;
    if (slice_eq(expect, S("budget"))) return budget;
    if (slice_eq(expect, S("memory")))
        return budget || (error && holds(done->error, S("not enough memory")));
    if (take_line(expect, S("error:"), &part)) return error && holds(done->error, part);
    if (take_line(expect, S("filtered:"), &part))
        return done->outcome == SCRIPT_FILTERED && holds(done->reason, part);
    return slice_eq(expect, S("filtered")) && done->outcome == SCRIPT_FILTERED;
}

static bool run_event(struct sandbox_script *script, struct slice json, struct slice expect,
                      struct slice body, int soft_ms) {
    struct fail fail = { 0 };
    struct event *event = event_read(json, 0, &fail);
    struct arena arena;
    struct wire_call call = { .kind = SCRIPT_REQUEST };
    struct wire_done done;
    arena_init(&arena, MEMORY);
    sandbox_script_run(script, &call, event, &arena, soft_ms, &done);
    bool good = as_expected(expect, &done);
    if (good && body.n) good = done.requests_count == 1 && slice_eq(done.requests[0].body, body);
    if (done.over_budget && done.cpu_ns > (int64_t)(soft_ms + LATE_MS) * 1000000) good = false;
    if (!good)
        printf("# wanted %.*s, got %s after %lld ms: %.*s\n", SLICE_FMT(expect),
               outcome_name(&done), (long long)done.cpu_ns / 1000000, SLICE_FMT(done.error));
    if (done.error.n > SANDBOX_ERROR_MAX + 256) good = false;
    arena_deinit(&arena);
    event_unref(event);
    return good;
}

// Is what the state holds back where it was? LuaJIT's table of strings halves at most once
// in a collection.
static bool gave_back(struct sandbox *sandbox, size_t before) {
    for (int i = 0; i < 12; i++) sandbox_tidy(sandbox);
    bool good = sandbox->memory <= before + KEPT_MAX;
    if (!good) printf("# %zu bytes before, %zu after\n", before, sandbox->memory);
    return good;
}

static bool run_plan(struct sandbox_script *script, const struct plan *plan) {
    size_t before = script->sandbox->memory;
    bool good = true;
    for (int i = 0; i < plan->repeat; i++) {
        for (size_t k = 0; k < plan->events_count; k++) {
            bool last = k + 1 == plan->events_count;
            good &= run_event(script, plan->events[k], last ? plan->expect : S("ok"),
                              last ? plan->body : slice(NULL, 0), plan->soft_ms);
        }
        good &= run_event(script, slice_str(calm_event), S("ok"), slice(NULL, 0), SOFT_MS);
    }
    return gave_back(script->sandbox, before) && good;
}

static void drop_log(struct sandbox *sandbox, int level, struct slice line) {
    (void)level;
    if (sandbox->log_lines > SANDBOX_LOG_LINES + 1 || line.n > SANDBOX_LOG_LINE_MAX) abort();
}

// Loads twice, as the engine does: to learn what the file is, and to run it.
static bool run_source(struct slice source, const struct plan *plan) {
    struct buf description;
    buf_init(&description, 1 << 20);
    struct sandbox_problem problem = { .text = "" };
    struct sandbox_script_opts opts = { .file = S("hostile.lua"),
                                        .source = source,
                                        .memory_max = MEMORY,
                                        .load_ms = LOAD_MS,
                                        .log = drop_log };
    struct sandbox_script *script = sandbox_script_new(&opts, &description, &problem);
    struct slice part;
    if (take_line(plan->expect, S("load-error:"), &part)) {
        bool refused = !script && holds(slice_str(problem.text), part);
        if (!refused) printf("# loaded, or refused with: %s\n", problem.text);
        return refused;
    }
    sandbox_script_free(script);
    if (!script) {
        printf("# %s\n", problem.text);
        return false;
    }
    struct fail fail = { 0 };
    struct hook_input input = { .name = S("hostile"),
                                .file = S("hostile.lua"),
                                .source = source,
                                .version = S("0000000000000000"),
                                .description = buf_slice(&description) };
    struct hook *hook = hook_new(&input, NULL, NULL, &fail);
    if (!hook) {
        printf("# %s\n", fail.text);
        return false;
    }
    opts.hook = hook;
    opts.kv = sandbox_kv_new();
    script = sandbox_script_new(&opts, NULL, &problem);
    if (!script) printf("# %s\n", problem.text);
    bool good = script && run_plan(script, plan);
    sandbox_script_free(script);
    sandbox_kv_free(opts.kv);
    hook_unref(hook);
    buf_deinit(&description);
    return good;
}

// The guards on C nesting must hold on a stack far smaller than a script process
// has. Sanitizers need more for themselves.
static void shrink_stack(void) {
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
    setrlimit(RLIMIT_STACK, &(struct rlimit){ STACK_BYTES, STACK_BYTES });
#endif
}

static int run_child(const char *path) {
    shrink_stack();
    struct slice text = read_whole(path);
    struct plan plan = read_plan(text);
    sandbox_clock_start();
    alarm(WALL_S);
    bool good = run_source(plan.make.n ? make_source(plan.make) : text, &plan);
    fflush(stdout);
    return good ? 0 : 1;
}

static void run_file(const char *path) {
    struct plan plan = read_plan(read_whole(path));
    if (plan.skip) return;
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) _exit(run_child(path));
    int status = -1;
    waitpid(child, &status, 0);
    if (!WIFEXITED(status) || WEXITSTATUS(status))
        printf("# %s: status %x\n", path, (unsigned)status);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

int main(void) {
    int failed = 0;
    list_files();
    for (size_t i = 0; i < paths_count; i++) {
        check_failures = 0;
        run_file(paths[i]);
        printf("%s %zu - %s\n", check_failures ? "not ok" : "ok", i + 1, paths[i] + sizeof folder);
        failed += check_failures != 0;
    }
    printf("1..%zu\n", paths_count);
    return failed != 0 || paths_count == 0;
}
