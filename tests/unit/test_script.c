// Script processes for real: this program is its own child. Runaways, crashes, lanes,
// strikes, stores, files that crash the compiler.
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "check.h"
#include "clock.h"
#include "log.h"
#include "script.h"

enum { SOFT_MS = 20, HARD_MS = 150, MEMORY = 4 * 1024 * 1024 };

static uv_loop_t loop;
static struct script_pool *pool;
static char lib_dir[64];
static char logged[256];
static int lines;              // logged
static struct script_kv *disk; // what kv_load finds

static void each_on_disk(void *user, struct slice hook,
                         void (*each)(void *to, const struct script_kv *kv), void *to) {
    (void)user, (void)hook;
    for (const struct script_kv *kv = disk; kv; kv = kv->next) each(to, kv);
}

static bool give_secret(void *user, struct slice name, struct slice *value) {
    (void)user;
    *value = slice_eq(name, S("CRM_TOKEN")) ? S("s3cret") : slice("", 0);
    return value->n != 0;
}

static void on_log(void *user, struct slice hook, struct slice event_id, int level,
                   struct slice line) {
    (void)user, (void)level;
    lines++;
    snprintf(logged, sizeof logged, "%.*s %.*s %.*s", SLICE_FMT(hook), SLICE_FMT(event_id),
             SLICE_FMT(line));
}

static const char *program = "/proc/self/exe";

static void open_pool(void) {
    struct fail fail = { 0 };
    CHECK_INT(uv_loop_init(&loop), 0);
    pool = script_pool_new(&loop,
                           &(struct script_opts){ .program = program,
                                                  .soft_ms = SOFT_MS,
                                                  .hard_ms = HARD_MS,
                                                  .load_ms = 500,
                                                  .memory_max = MEMORY,
                                                  .lib_dir = lib_dir,
                                                  .secret = give_secret,
                                                  .kv_load = each_on_disk,
                                                  .log = on_log },
                           &fail);
    CHECK(pool != NULL);
}

static void on_pool_closed(void *user) {
    *(bool *)user = true;
}

static void close_pool(void) {
    bool closed = false;
    script_pool_close(pool, on_pool_closed, &closed);
    uv_run(&loop, UV_RUN_DEFAULT);
    CHECK(closed);
    CHECK_INT(uv_loop_close(&loop), 0);
}

// --- one file, one call ---

struct loading {
    bool done, passing;
    struct slice name;
    struct hook *hook;
    char error[4400];
    unsigned line;
    char libs[128];
};

static void on_loaded(void *user, const struct script_loaded *loaded) {
    struct loading *loading = user;
    struct fail fail = { .text = "" };
    loading->done = true;
    loading->passing = loaded->passing;
    snprintf(loading->error, sizeof loading->error, "%s", loaded->error);
    snprintf(loading->libs, sizeof loading->libs, "%.*s", SLICE_FMT(loaded->libs));
    loading->line = loaded->line;
    if (!loaded->ok) return;
    loading->hook = hook_new(&(struct hook_input){ .name = loading->name,
                                                   .file = S("scripts/x.lua"),
                                                   .source = loaded->source,
                                                   .version = loaded->version,
                                                   .description = loaded->description },
                             NULL, NULL, &fail);
    snprintf(loading->error, sizeof loading->error, "%s", fail.text);
}

static struct loading load(const char *name, struct slice source) {
    struct loading loading = { .name = slice_str(name) };
    script_load(pool, loading.name, S("scripts/x.lua"), source, on_loaded, &loading);
    while (!loading.done) uv_run(&loop, UV_RUN_ONCE);
    return loading;
}

#define HEAD                                                                                               \
    "local hook = { on = { 'call.*' }, request = { method = 'POST', format = 'json', "                     \
    "url = 'https://crm.example/c?id=[CALL_ID]', body = '{\"id\": \"[CALL_ID]\", \"score\": [SCORE]}' }, " \
    "secrets = { 'CRM_TOKEN' } }\n"

static struct hook *hook_of(const char *name, const char *stages) {
    char source[8192];
    snprintf(source, sizeof source, HEAD "%s\nreturn hook", stages);
    struct loading loading = load(name, slice_str(source));
    if (!loading.hook) printf("# %s: %s\n", name, loading.error);
    CHECK(loading.hook != NULL);
    return loading.hook;
}

static struct event *event_of(int number) {
    char json[200];
    struct fail fail = { .text = "" };
    snprintf(
        json, sizeof json,
        "{\"id\":\"evt_%d\",\"type\":\"call.completed\",\"tags\":{\"CALL_ID\":\"c%d\",\"DURATION\":\"%d\"}}",
        number, number, number);
    struct event *event = event_read(slice_str(json), 0, &fail);
    if (!event) printf("# %s\n", fail.text);
    return event;
}

struct calling {
    struct script_call call;
    struct arena arena;
    bool done;
    int order; // of the answers
};
static int answers;

static void on_called(struct script_call *call) {
    struct calling *calling = call->user;
    calling->done = true;
    calling->order = ++answers;
}

static void start(struct calling *calling, struct hook *hook, int number) {
    memset(calling, 0, sizeof *calling);
    arena_init(&calling->arena, 4 * 1024 * 1024);
    calling->call = (struct script_call){ .kind = SCRIPT_REQUEST,
                                          .hook = hook,
                                          .event = event_of(number),
                                          .delivery_id = S("msg_1"),
                                          .attempt = 1,
                                          .arena = &calling->arena,
                                          .done = on_called,
                                          .user = calling };
    script_call(pool, &calling->call);
}

static void wait_for(struct calling *calling) {
    while (!calling->done) uv_run(&loop, UV_RUN_ONCE);
}

static void end(struct calling *calling) {
    event_unref((struct event *)(uintptr_t)calling->call.event);
    arena_deinit(&calling->arena);
}

static bool has(struct slice text, const char *part) {
    return text.n && memmem(text.p, text.n, part, strlen(part)) != NULL;
}

static enum script_outcome outcome_of(struct hook *hook, int number, char *error, size_t room) {
    struct calling calling;
    start(&calling, hook, number);
    wait_for(&calling);
    snprintf(error, room, "%.*s", SLICE_FMT(calling.call.error));
    enum script_outcome outcome = calling.call.outcome;
    end(&calling);
    return outcome;
}

static pid_t child_pid(const char *lane) {
    char command[128], line[32] = "";
    snprintf(command, sizeof command, "pgrep -P %d -f '__sandbox %s$'", (int)getpid(), lane);
    FILE *ps = popen(command, "r");
    if (ps && fgets(line, sizeof line, ps) == NULL) *line = '\0';
    if (ps) pclose(ps);
    pid_t pid = (pid_t)atoi(line);
    if (pid <= 0) abort(); // a kill(0, …) would stop this program and whoever runs it
    return pid;
}

// --- tests ---

static void a_call_goes_through_all_stages(void) {
    struct calling calling;
    open_pool();
    struct hook *hook = hook_of(
        "crm",
        "function hook.filter(event) return event:number('DURATION') >= 30, 'short' end\n"
        "function hook.tags(event) return { SCORE = math.floor(event:number('DURATION') / 10) } end\n"
        "function hook.transform(event, request) request.body:set('who', secret.get('CRM_TOKEN')) log.info('made') end\n");
    start(&calling, hook, 45);
    wait_for(&calling);
    CHECK_INT(calling.call.outcome, SCRIPT_OK);
    CHECK_INT(calling.call.requests_count, 1);
    if (calling.call.outcome == SCRIPT_OK) {
        CHECK_TEXT(calling.call.requests[0].url, "https://crm.example/c?id=c45");
        CHECK(has(calling.call.requests[0].body, "\"id\": \"c45\", \"score\": 4"));
    } else
        CHECK_TEXT(calling.call.error, "");
    CHECK(calling.call.cpu_ns > 0);
    CHECK(strstr(logged, "crm evt_45 ") && strstr(logged, "made"));
    end(&calling);
    start(&calling, hook, 12);
    wait_for(&calling);
    CHECK_INT(calling.call.outcome, SCRIPT_FILTERED);
    CHECK_TEXT(calling.call.reason, "short");
    end(&calling);
    hook_unref(hook);
    close_pool();
}

static void an_error_names_stage_and_place(void) {
    char error[4400];
    struct calling calling;
    open_pool();
    struct hook *hook = hook_of("bad", "function hook.tags(event)\n  return nil .. 'x'\nend");
    start(&calling, hook, 1);
    wait_for(&calling);
    CHECK_INT(calling.call.outcome, SCRIPT_ERROR);
    CHECK_TEXT(calling.call.error_stage, "tags");
    snprintf(error, sizeof error, "%.*s", SLICE_FMT(calling.call.error));
    CHECK(slice_starts(slice_str(error), S("scripts/x.lua:3: attempt to concatenate")));
    CHECK(strstr(error, "stack traceback:"));
    end(&calling);
    hook_unref(hook);
    close_pool();
}

static void wrong_results_are_errors_with_a_place(void) {
    static const char *const stages[][2] = {
        { "function hook.filter() return 1 end", "filter must return true, false or nil" },
        { "function hook.tags() return 7 end", "tags must return a table" },
        { "function hook.tags() return { SCORE = print } end", "tag that is a function" },
        { "function hook.tags() return { ['no tag'] = 1 } end", "no tag name" },
        { "function hook.tags() return { SCORE = 0/0 } end", "not finite" },
        { "function hook.transform(e, r) r.url = 'https://evil.example' .. ':' .. 80 .. '/' end",
          "may not be sent" },
        { "function hook.filter() coroutine.yield(1) end", "scripts/x.lua" },
    };
    open_pool();
    for (size_t i = 0; i < sizeof stages / sizeof *stages; i++) {
        char error[4400];
        struct hook *hook = hook_of("w", stages[i][0]);
        CHECK_INT(outcome_of(hook, 1, error, sizeof error), SCRIPT_ERROR);
        if (!strstr(error, stages[i][1])) printf("# %s\n# gave %s\n", stages[i][0], error);
        CHECK(strstr(error, stages[i][1]));
        CHECK(slice_starts(slice_str(error), S("scripts/x.lua")));
        hook_unref(hook);
    }
    close_pool();
}

static void answers_keep_their_order(void) {
    enum { CALLS = 300 };
    static struct calling calls[CALLS];
    open_pool();
    struct hook *hook = hook_of("many", "function hook.filter() return true end");
    answers = 0;
    for (int i = 0; i < CALLS; i++) start(&calls[i], hook, i);
    for (int i = 0; i < CALLS; i++) wait_for(&calls[i]);
    for (int i = 0; i < CALLS; i++) {
        CHECK_INT(calls[i].order, i + 1);
        CHECK_INT(calls[i].call.outcome, SCRIPT_OK);
        end(&calls[i]);
    }
    hook_unref(hook);
    close_pool();
}

// Somebody's flood is there first; one call of another webhook gets its turn all the same.
static void a_flood_lets_others_have_their_turn(void) {
    enum { FLOOD = 200 };
    static struct calling flood[FLOOD];
    struct calling one;
    open_pool();
    struct hook *busy = hook_of(
        "busy",
        "function hook.filter() local x = 0 for i = 1, 100000 do x = x + i end return x > 0 end");
    struct hook *calm = hook_of("calm", "function hook.filter() return true end");
    answers = 0;
    for (int i = 0; i < FLOOD; i++) start(&flood[i], busy, i);
    start(&one, calm, 1);
    wait_for(&one);
    CHECK_INT(one.call.outcome, SCRIPT_OK);
    CHECK(one.order < FLOOD / 4);
    for (int i = 0; i < FLOOD; i++) {
        wait_for(&flood[i]);
        end(&flood[i]);
    }
    end(&one);
    hook_unref(busy);
    hook_unref(calm);
    close_pool();
}

static void a_fan_out_gives_several_requests(void) {
    struct calling calling;
    open_pool();
    struct hook *hook = hook_of(
        "fan",
        "function hook.transform(event, request)\n"
        "  return { { url = 'https://crm.example/a' }, { url = 'https://other.example/b?' .. event.CALL_ID } }\nend");
    start(&calling, hook, 1);
    wait_for(&calling);
    CHECK_INT(calling.call.outcome, SCRIPT_OK);
    CHECK_INT(calling.call.requests_count, 2);
    if (calling.call.requests_count == 2)
        CHECK_TEXT(calling.call.requests[1].url, "https://other.example/b?c1");
    end(&calling);
    hook_unref(hook);
    close_pool();
}

#if !defined(__SANITIZE_THREAD__)
static void a_runaway_is_stopped_and_runs_the_next_event(void) {
    char error[4400];
    open_pool();
    struct hook *hook =
        hook_of("loop", "function hook.filter(event)\n"
                        "  if event.DURATION == '1' then while true do end end\nend");
    CHECK_INT(outcome_of(hook, 1, error, sizeof error), SCRIPT_ERROR);
    CHECK(slice_starts(slice_str(error), S("scripts/x.lua:3: CPU budget exceeded")));
    CHECK_INT(outcome_of(hook, 2, error, sizeof error), SCRIPT_OK);
    hook_unref(hook);
    close_pool();
}

// Many are in the process when one of them loops; they come back, move with their
// webhook to the slow lane, and are answered in their order.
static void calls_behind_a_runaway_move_and_keep_their_order(void) {
    enum { CALLS = 200, BAD = 150 };
    static struct calling calls[CALLS];
    char text[32];
    open_pool();
    snprintf(text, sizeof text, "'%d'", BAD);
    char stages[256];
    snprintf(stages, sizeof stages,
             "function hook.filter(event) if event.DURATION == %s then while true do end end end",
             text);
    struct hook *hook = hook_of("turns", stages);
    answers = 0;
    for (int round = 0; round < 2; round++) {
        int from = round ? CALLS / 2 : 0;
        for (int i = from; i < from + CALLS / 2; i++) start(&calls[i], hook, i);
        for (int i = from; i < from + CALLS / 2; i++) wait_for(&calls[i]);
    }
    for (int i = 0; i < CALLS; i++) {
        CHECK_INT(calls[i].order, i + 1);
        CHECK_INT(calls[i].call.outcome, i == BAD ? SCRIPT_ERROR : SCRIPT_OK);
        end(&calls[i]);
    }
    CHECK(child_pid("slow") > 0);
    hook_unref(hook);
    close_pool();
}

static void time_outs_without_end_quarantine(void) {
    bool quarantine = false;
    open_pool();
    struct hook *hook = hook_of("loops", "function hook.filter(event) while true do end end");
    for (int i = 0; i < 12 && !quarantine; i++) {
        struct calling calling;
        start(&calling, hook, i);
        wait_for(&calling);
        CHECK_INT(calling.call.outcome, SCRIPT_ERROR);
        quarantine = calling.call.quarantine;
        CHECK(!quarantine || i > 0);
        end(&calling);
    }
    CHECK(quarantine);
    hook_unref(hook);
    close_pool();
}
#endif

static void too_much_memory_is_an_error(void) {
    char error[4400];
    open_pool();
    struct hook *hook = hook_of(
        "hog",
        "function hook.filter(event)\n"
        "  if event.DURATION == '1' then local s = 'x' while true do s = s .. s end end\nend");
    CHECK_INT(outcome_of(hook, 1, error, sizeof error), SCRIPT_ERROR);
    CHECK(strstr(error, "not enough memory") || strstr(error, "CPU budget exceeded"));
    CHECK_INT(outcome_of(hook, 2, error, sizeof error), SCRIPT_OK);
    hook_unref(hook);
    close_pool();
}

static bool is_stopped_within(struct hook *hook, int calls, const char *error) {
    bool quarantine = false;
    for (int i = 0; i < calls && !quarantine; i++) {
        struct calling calling;
        start(&calling, hook, i);
        wait_for(&calling);
        CHECK_INT(calling.call.outcome, SCRIPT_ERROR);
        CHECK(has(calling.call.error, error));
        quarantine = calling.call.quarantine;
        end(&calling);
    }
    return quarantine;
}

static void hunger_without_end_quarantines(void) {
    open_pool();
    struct hook *hook =
        hook_of("hungry", "function hook.filter(event) return ('x'):rep(8000000) == '' end");
    CHECK(is_stopped_within(hook, 12, "not enough memory"));
    hook_unref(hook);
    close_pool();
}

static void recursion_without_end_quarantines(void) {
    open_pool();
    struct hook *hook = hook_of("recurses", "local function f() return f() + 1 end\n"
                                            "function hook.filter(event) return f() == 0 end");
    CHECK(is_stopped_within(hook, 12, "stack overflow"));
    hook_unref(hook);
    close_pool();
}

static void errors_of_its_own_never_quarantine(void) {
    open_pool();
    struct hook *raises = hook_of("raises", "function hook.filter(event) error('no') end");
    struct hook *nils = hook_of("nils", "function hook.filter(event) return event.X.y end");
    CHECK(!is_stopped_within(raises, 100, "no"));
    CHECK(!is_stopped_within(nils, 100, "attempt to index"));
    hook_unref(raises);
    hook_unref(nils);
    close_pool();
}

// Nobody holds its events, so the pool itself leaves it alone, until it is edited.
static void a_dropping_webhook_in_quarantine_is_not_run(void) {
    char error[4400];
    open_pool();
    const char *stages = "hook.on_script_error = 'drop'\n"
                         "function hook.filter(event) return ('x'):rep(8000000) == '' end";
    struct hook *hook = hook_of("hungry", stages);
    CHECK(is_stopped_within(hook, 12, "not enough memory"));
    for (int i = 0; i < 3; i++) {
        CHECK_INT(outcome_of(hook, i, error, sizeof error), SCRIPT_ERROR);
        CHECK(strstr(error, "quarantine"));
    }
    struct hook *edited = hook_of("hungry", "hook.on_script_error = 'drop'");
    CHECK_INT(outcome_of(edited, 1, error, sizeof error), SCRIPT_OK);
    hook_unref(hook);
    hook_unref(edited);
    close_pool();
}

// More than the fast process gives, less than the script may have: it is run again, and
// what it logged on its first way is not told twice.
static void a_call_that_needs_much_runs_whole_in_the_slow_lane(void) {
    char error[4400];
    open_pool();
    lines = 0;
    struct hook *hook = hook_of("large", "function hook.filter(event)\n"
                                         "  log.info('once')\n"
                                         "  return #('x'):rep(2000000) == 2000000\nend");
    CHECK_INT(outcome_of(hook, 1, error, sizeof error), SCRIPT_OK);
    CHECK_INT(lines, 1);
    CHECK(child_pid("slow") > 0);
    hook_unref(hook);
    close_pool();
}

static void a_state_that_holds_much_loads_in_the_slow_lane(void) {
    char error[4400];
    open_pool();
    struct hook *hook = hook_of("table", "local big = ('x'):rep(2000000)\n"
                                         "function hook.filter(event) return #big > 0 end");
    CHECK_INT(outcome_of(hook, 1, error, sizeof error), SCRIPT_OK);
    CHECK(child_pid("slow") > 0);
    hook_unref(hook);
    close_pool();
}

// --- death ---

static void a_stopped_process_is_replaced_and_its_calls_run_again(void) {
    enum { CALLS = 20 };
    static struct calling calls[CALLS];
    open_pool();
    struct hook *hook = hook_of("kept", "function hook.filter() return true end");
    start(&calls[0], hook, 0);
    wait_for(&calls[0]);
    end(&calls[0]);
    pid_t first = child_pid("calls");
    CHECK(first > 0);
    kill(first, SIGSTOP);
    for (int i = 0; i < CALLS; i++) start(&calls[i], hook, i);
    uv_run(&loop, UV_RUN_NOWAIT);
    kill(first, SIGKILL);
    for (int i = 0; i < CALLS; i++) wait_for(&calls[i]);
    for (int i = 0; i < CALLS; i++) {
        CHECK_INT(calls[i].call.outcome, SCRIPT_OK);
        CHECK(!calls[i].call.quarantine);
        end(&calls[i]);
    }
    hook_unref(hook);
    close_pool();
}

// This LuaJIT's compiler ends the process on this text (LuaJIT#1033).
static void a_text_that_crashes_the_compiler_is_refused(void) {
    open_pool();
    struct loading loading = load("crash", S("local _ for _ in (nil):foo() do end"));
    CHECK(!loading.hook);
    if (!strstr(loading.error, "crashed")) printf("# %s\n", loading.error);
    CHECK(strstr(loading.error, "scripts/x.lua:1: ") && strstr(loading.error, "crashed"));
    struct hook *hook = hook_of("fine", "");
    hook_unref(hook);
    close_pool();
}

// A hook made by hand, past the check that its file would not pass: its calls are the
// suspects of two dead processes.
static void a_second_strike_quarantines_and_spares_the_others(void) {
    enum { CALLS = 10 };
    static struct calling calls[CALLS];
    struct calling suspect;
    struct fail fail = { .text = "" };
    open_pool();
    struct hook *good = hook_of("good", "function hook.filter() return true end");
    struct hook *bad =
        hook_new(&(struct hook_input){ .name = S("bad"),
                                       .file = S("scripts/bad.lua"),
                                       .source = S("local _ for _ in (nil):foo() do end"),
                                       .version = S("0123456789abcdef"),
                                       .description = good->description },
                 NULL, NULL, &fail);
    CHECK(bad != NULL);
    for (int i = 0; i < CALLS / 2; i++) start(&calls[i], good, i);
    start(&suspect, bad, 1);
    for (int i = CALLS / 2; i < CALLS; i++) start(&calls[i], good, i);
    wait_for(&suspect);
    CHECK_INT(suspect.call.outcome, SCRIPT_ERROR);
    CHECK(suspect.call.quarantine);
    CHECK_INT(suspect.call.strikes, 2);
    CHECK(has(suspect.call.error, "twice") && has(suspect.call.error, "crashed"));
    for (int i = 0; i < CALLS; i++) {
        wait_for(&calls[i]);
        CHECK_INT(calls[i].call.outcome, SCRIPT_OK);
        CHECK_INT(calls[i].call.strikes, 0);
        end(&calls[i]);
    }
    end(&suspect);
    hook_unref(good);
    hook_unref(bad);
    close_pool();
}

static void a_closed_pool_answers_what_is_open(void) {
    struct calling calls[3];
    open_pool();
    struct hook *hook = hook_of("open", "function hook.filter() return true end");
    for (int i = 0; i < 3; i++) start(&calls[i], hook, i);
    close_pool();
    for (int i = 0; i < 3; i++) {
        CHECK(calls[i].done);
        CHECK_INT(calls[i].call.outcome, SCRIPT_GONE);
        end(&calls[i]);
    }
    hook_unref(hook);
}

// It is not there, or it ends before it answers: no call waits for ever.
static void a_process_that_does_not_start_is_told(void) {
    static const char *const programs[] = { "/nonexistent/tuma", "/bin/false" };
    char error[4400];
    open_pool();
    struct hook *hook = hook_of("waits", "function hook.filter() return true end");
    close_pool();
    for (size_t i = 0; i < sizeof programs / sizeof *programs; i++) {
        program = programs[i];
        open_pool();
        CHECK_INT(outcome_of(hook, 1, error, sizeof error), SCRIPT_GONE);
        CHECK(*error);
        CHECK(*load("x", S("return {}")).error);
        close_pool();
    }
    program = "/proc/self/exe";
    hook_unref(hook);
}

// Who exits closes its socket before its status is known, and is killed for that: here one
// that goes no further. No file is to blame for it, so the registry tries again.
static void a_process_that_hangs_up_is_no_fault_of_its_file(void) {
    static const char text[] = "#!/bin/sh\nexec 3>&-\nexec sleep 60\n";
    char path[96];
    snprintf(path, sizeof path, "%.64s/hangs_up", lib_dir);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0700);
    CHECK(fd >= 0 && write(fd, text, sizeof text - 1) == (ssize_t)sizeof text - 1);
    close(fd);
    program = path;
    open_pool();
    struct loading loading = load("x", S("return {}"));
    CHECK(*loading.error && loading.passing);
    close_pool();
    program = "/proc/self/exe";
    unlink(path);
}

// --- stores, libs, tests ---

static void a_store_survives_its_process(void) {
    static struct script_kv on_disk = { .key = S("base"), .value = S("40") };
    char error[4400];
    disk = &on_disk;
    open_pool();
    struct hook *hook = hook_of(
        "count", "function hook.tags() return { SCORE = store.incr('n') + store.get('base') } end");
    for (int i = 1; i <= 3; i++) {
        struct calling calling;
        char want[32];
        start(&calling, hook, i);
        wait_for(&calling);
        snprintf(want, sizeof want, "\"score\": %d}", 40 + i);
        CHECK_INT(calling.call.outcome, SCRIPT_OK);
        if (calling.call.outcome == SCRIPT_OK) CHECK(has(calling.call.requests[0].body, want));
        CHECK(calling.call.changes && slice_eq(calling.call.changes->key, S("n")));
        end(&calling);
        kill(child_pid("calls"), SIGKILL);
        for (int j = 0; j < 3; j++) uv_run(&loop, UV_RUN_NOWAIT);
    }
    // a call that fails leaves no trace
    struct hook *fails =
        hook_of("count", "function hook.filter() store.set('n', 1000) error('no') end");
    CHECK_INT(outcome_of(fails, 9, error, sizeof error), SCRIPT_ERROR);
    struct hook *reads = hook_of(
        "count",
        "function hook.filter() return store.get('n') == 3, 'n is ' .. tostring(store.get('n')) end");
    CHECK_INT(outcome_of(reads, 9, error, sizeof error), SCRIPT_OK);
    hook_unref(hook);
    hook_unref(fails);
    hook_unref(reads);
    close_pool();
    disk = NULL;
}

// The first call's delivery ends last; its 1 must not be stored over the other's 2.
static void what_settles_late_takes_the_newest_value_along(void) {
    struct calling first, second;
    struct script_kv on_disk = { .key = S("other"), .value = S("1") };
    disk = &on_disk;
    open_pool();
    struct hook *hook = hook_of("late", "function hook.tags()\n"
                                        "  if store.get('other') then store.delete('other') end\n"
                                        "  return { N = store.incr('n') }\nend");
    start(&first, hook, 1);
    wait_for(&first);
    start(&second, hook, 2);
    wait_for(&second);
    script_settle(pool, S("late"), &second.call.changes, second.call.arena);
    script_settle(pool, S("late"), &first.call.changes, first.call.arena);
    int seen = 0;
    for (const struct script_kv *kv = first.call.changes; kv; kv = kv->next, seen++)
        CHECK(slice_eq(kv->value, slice_eq(kv->key, S("n")) ? S("2") : S("")));
    CHECK_INT(seen, 2);
    script_settle(pool, S("nobody"), &first.call.changes, first.call.arena);
    end(&first);
    end(&second);
    hook_unref(hook);
    close_pool();
    disk = NULL;
}

static void write_lib(const char *name, const char *text) {
    char path[128];
    snprintf(path, sizeof path, "%s/%s.lua", lib_dir, name);
    FILE *file = fopen(path, "w");
    CHECK(file != NULL);
    if (file) fputs(text, file), fclose(file);
}

static void shared_files_travel_with_the_version(void) {
    char error[4400];
    write_lib("outer", "local inner = require 'lib.inner'\nreturn { n = inner.n + 1 }");
    write_lib("inner", "return { n = 41 }");
    open_pool();
    const char *source = HEAD "local outer = require \"lib.outer\"\n"
                              "function hook.filter() return outer.n == 42 end return hook";
    struct loading first = load("libs", slice_str(source));
    CHECK(first.hook != NULL);
    if (!first.hook) printf("# %s\n", first.error);
    CHECK(strcmp(first.libs, "outer\ninner") == 0);
    write_lib("inner", "return { n = 0 }");
    struct loading second = load("libs", slice_str(source));
    CHECK(first.hook && second.hook && !slice_eq(first.hook->version, second.hook->version));
    CHECK_INT(outcome_of(first.hook, 1, error, sizeof error), SCRIPT_OK);
    CHECK_INT(outcome_of(second.hook, 1, error, sizeof error), SCRIPT_FILTERED);
    CHECK_INT(outcome_of(first.hook, 1, error, sizeof error), SCRIPT_OK);
    hook_unref(first.hook);
    hook_unref(second.hook);
    close_pool();
}

static void bad_files_are_told_with_place_and_hint(void) {
    static const struct {
        const char *source, *error;
        unsigned line;
    } files[] = {
        { "local x = 1 // 2", "use math.floor", 1 },
        { "\nlocal x = 1 & 2", "use bit.band", 2 },
        { "local x <const> = 1", "use a plain local", 1 },
        { "return 7", "must return its hook table, and returned number", 1 },
        { "local t = {}", "returned nothing", 1 },
        { "\33LJ\2", "compiled Lua", 1 },
        { "return { on = 'x.y', filtre = function() end }", "no such stage", 0 },
        { "return { filter = 1 }", "hook.filter must be a function", 0 },
        { "return { request = { body = print } }", "hook.request.body is a function", 0 },
        { "store.set('a', 1) return {}", "scripts/x.lua:1", 1 },
        { "local t = {} t.t = t return { tests = t }", "contains itself", 0 },
    };
    open_pool();
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        struct loading loading = load("x", slice_str(files[i].source));
        CHECK(!loading.hook);
        if (!strstr(loading.error, files[i].error))
            printf("# %s\n# gave %s\n", files[i].source, loading.error);
        CHECK(strstr(loading.error, files[i].error));
        if (files[i].line) CHECK_INT(loading.line, files[i].line);
    }
    static char large[300 * 1024];
    memset(large, ' ', sizeof large);
    CHECK(strstr(load("x", slice(large, sizeof large)).error, "larger than 256 KB"));
    CHECK(strstr(load("x", slice("x = 1\0", 6)).error, "NUL"));
#if !defined(__SANITIZE_THREAD__)
    CHECK(strstr(load("x", S("while true do end")).error, "CPU budget exceeded"));
#endif
    close_pool();
}

struct testing {
    bool done, ok;
    char report[8192];
};

static void on_tested(void *user, bool ok, struct slice report) {
    struct testing *testing = user;
    testing->done = true;
    testing->ok = ok;
    snprintf(testing->report, sizeof testing->report, "%.*s", SLICE_FMT(report));
}

static struct testing test(struct hook *hook, const char *source) {
    struct testing testing = { .done = false };
    script_test(pool, hook, slice_str(source), on_tested, &testing);
    while (!testing.done) uv_run(&loop, UV_RUN_ONCE);
    return testing;
}

static void tests_of_a_hook_pass_and_fail_readably(void) {
    open_pool();
    struct hook *hook = hook_of(
        "tested",
        "function hook.filter(e) return e:number('DURATION') >= 30, 'short' end\n"
        "function hook.tags(e) return { SCORE = 7 } end\n"
        "function hook.response(e, r) if r.status == 409 then return 'delivered' end end\n"
        "hook.tests = {\n"
        "  { name = 'short', event = { type = 'call.completed', DURATION = '12' }, expect = 'filtered' },\n"
        "  { name = 'sent', event = { type = 'call.completed', DURATION = '40', CALL_ID = 'c1' },\n"
        "    expect = { method = 'POST', url = 'https://crm.example/c?id=c1', body = { id = 'c1', score = 7 } } },\n"
        "  { name = 'conflict', event = { DURATION = '40', type = 'call.completed' }, response = { status = 409 }, expect = 'delivered' },\n"
        "}");
    struct testing passed = test(hook, "");
    if (!passed.ok) printf("# %s\n", passed.report);
    CHECK(passed.ok && strstr(passed.report, "\"passed\":3,\"failed\":0"));
    struct testing failed = test(
        hook,
        "return { { name = 'wrong', event = { type = 'call.completed', DURATION = '40', CALL_ID = 'c2' }, "
        "expect = { body = { id = 'c3' } } } }");
    CHECK(!failed.ok && strstr(failed.report, "\"failed\":1"));
    CHECK(strstr(failed.report, "body.id") && strstr(failed.report, "c3") &&
          strstr(failed.report, "c2"));
    struct testing broken = test(hook, "return {{");
    CHECK(!broken.ok && strstr(broken.report, "x_test.lua:1:"));
    hook_unref(hook);
    close_pool();
}

static const struct check_case cases[] = {
    { "a call goes through all stages", a_call_goes_through_all_stages },
    { "an error names stage and place", an_error_names_stage_and_place },
    { "wrong results are errors with a place", wrong_results_are_errors_with_a_place },
    { "answers keep their order", answers_keep_their_order },
    { "a flood lets others have their turn", a_flood_lets_others_have_their_turn },
    { "a fan-out gives several requests", a_fan_out_gives_several_requests },
#if !defined(__SANITIZE_THREAD__) // it delivers signals only when the program calls something
    { "a runaway is stopped and runs the next event",
      a_runaway_is_stopped_and_runs_the_next_event },
    { "calls behind a runaway move and keep their order",
      calls_behind_a_runaway_move_and_keep_their_order },
    { "time-outs without end quarantine", time_outs_without_end_quarantine },
#endif
    { "too much memory is an error", too_much_memory_is_an_error },
    { "hunger without end quarantines", hunger_without_end_quarantines },
    { "recursion without end quarantines", recursion_without_end_quarantines },
    { "errors of its own never quarantine", errors_of_its_own_never_quarantine },
    { "a dropping webhook in quarantine is not run", a_dropping_webhook_in_quarantine_is_not_run },
    { "a call that needs much runs whole in the slow lane",
      a_call_that_needs_much_runs_whole_in_the_slow_lane },
    { "a state that holds much loads in the slow lane",
      a_state_that_holds_much_loads_in_the_slow_lane },
    { "a stopped process is replaced and its calls run again",
      a_stopped_process_is_replaced_and_its_calls_run_again },
    { "a text that crashes the compiler is refused", a_text_that_crashes_the_compiler_is_refused },
    { "a second strike quarantines and spares the others",
      a_second_strike_quarantines_and_spares_the_others },
    { "a closed pool answers what is open", a_closed_pool_answers_what_is_open },
    { "a process that does not start is told", a_process_that_does_not_start_is_told },
    { "a process that hangs up is no fault of its file",
      a_process_that_hangs_up_is_no_fault_of_its_file },
    { "a store survives its process", a_store_survives_its_process },
    { "what settles late takes the newest value along",
      what_settles_late_takes_the_newest_value_along },
    { "shared files travel with the version", shared_files_travel_with_the_version },
    { "bad files are told with place and hint", bad_files_are_told_with_place_and_hint },
    { "tests of a hook pass and fail readably", tests_of_a_hook_pass_and_fail_readably },
};

int main(int argc, char **argv) {
    if (argc > 1 && strcmp(argv[1], "__sandbox") == 0) return sandbox_main(argc, argv);
    signal(SIGPIPE, SIG_IGN);
    log_init(LOG_OFF, false);
    snprintf(lib_dir, sizeof lib_dir, "/tmp/tuma-test-script.%d", (int)getpid());
    mkdir(lib_dir, 0700);
    int status = check_run(cases, sizeof cases / sizeof *cases);
    char command[96];
    snprintf(command, sizeof command, "rm -r '%s'", lib_dir);
    return system(command) != 0 || status;
}
