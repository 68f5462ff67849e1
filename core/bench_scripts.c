// The script benchmark. Sandbox and bare interpreter do the same work from the event's
// JSON to the final body, in rounds that take turns, so that both meet the same machine;
// figures are medians. The bare side is what one would write with LuaJIT and cjson:
// decode the event, run the functions, fill the body's placeholders with gsub, decode,
// change and encode it.
#include "bench_scripts.h"

#include <luajit.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "clock.h"
#include "log.h"
#include "sandbox_call.h"
#include "script.h"

enum { ROUNDS = 61, ROUND_NS = 2 * 1000 * 1000, MEMORY = 16 << 20, MANY = 10000, COLD = 20000 };

// What a quick run does of all that: one of so many.
enum { QUICK = 100 };
static unsigned share = 1;

int luaopen_cjson(lua_State *L);

struct work {
    const char *name, *stages;
    bool filter_only;
    // figures, in nanoseconds a call
    double sandbox, inside, bare, trip, pipelined;
};

static const char event_json[] =
    "{\"CALL_ID\":\"c-4711-0815\",\"CALLER_ID\":\"+14155550123\",\"CALLER_ID_NO_PLUS\":\"14155550123\","
    "\"CALLER_STATE\":\"CA\",\"CALLER_CITY\":\"Oakland\",\"DURATION\":\"93\",\"CONVERTED\":\"true\","
    "\"CAMPAIGN\":\"Home services\",\"TARGET\":\"Acme Roofing\",\"PUBLISHER\":\"pub-77\","
    "\"REVENUE\":\"35.00\",\"PAYOUT\":\"22.50\",\"STARTED_AT\":\"2026-11-24T19:11:50Z\",\"ATTEMPTS\":2}";

static const char hook_head[] =
    "local hook = { on = 'call.completed', request = { method = 'POST', format = 'json', "
    "url = 'https://crm.example/calls', body = [==[";
static const char body_head[] =
    "{\"call_id\":\"[CALL_ID]\",\"caller\":\"[CALLER_ID]\",\"duration\":[DURATION],\"score\":[LEAD_SCORE],"
    "\"grade\":\"[GRADE]\",\"region\":\"[REGION]\",\"lead\":{\"phone\":\"\",\"source\":\"calls\"},\"items\":[";

static const char filter_stages[] =
    "function hook.filter(event) return event.CALLER_STATE ~= 'CA' and event.DURATION ~= '0' end\n";
static const char full_stages[] =
    "function hook.filter(event) return event.CALLER_STATE ~= 'NV' and event.DURATION ~= '0' end\n"
    "function hook.tags(event)\n"
    "  local d = tonumber(event.DURATION)\n"
    "  return { LEAD_SCORE = math.floor(d / 10), GRADE = d > 60 and 'A' or 'B', REGION = 'US-' .. event.CALLER_STATE }\n"
    "end\n";
static const char sandbox_change[] =
    "function hook.transform(event, request) request.body:set('lead.phone', event.CALLER_ID_NO_PLUS) end\n";
static const char bare_change[] =
    "function hook.transform(event, body)\n"
    "  local data = cjson.decode(body) data.lead.phone = event.CALLER_ID_NO_PLUS return cjson.encode(data)\n"
    "end\n";
static const char bare_driver[] =
    "local event = cjson.decode(text)\n"
    "if not hook.filter(event) then return nil end\n"
    "local tags = hook.tags(event)\n"
    "local body = hook.request.body:gsub('%[([A-Z][A-Z0-9_]*)%]', function(name)\n"
    "  local value = tags[name] or event[name] return value and tostring(value) end)\n"
    "return hook.transform(event, body)\n";

static struct work works[] = {
    { .name = "filter", .stages = filter_stages, .filter_only = true },
    { .name = "full", .stages = full_stages },
};
enum { WORKS = sizeof works / sizeof *works };

static int fail_with(const char *what, const char *text) {
    fprintf(stderr, "tuma: bench scripts: %s: %s\n", what, text);
    return 1;
}

// A body of about 1 KB.
static void put_source(struct buf *out, const struct work *work, const char *change,
                       unsigned salt) {
    buf_add(out, slice_str(hook_head));
    buf_add(out, slice_str(body_head));
    for (unsigned i = 0; i < 17; i++)
        buf_printf(out, "%s{\"id\":%u,\"name\":\"item number %u\",\"price\":%u.5}", i ? "," : "",
                   salt + i, i, 10 + i);
    buf_printf(out, "]}]==] } }\n%s%sreturn hook\n", work->stages, work->filter_only ? "" : change);
}

// --- the sandbox ---

struct subject {
    struct buf source, description;
    struct hook *hook;
    struct sandbox_script *script;
};

static bool subject_open(struct subject *s, const struct work *work, unsigned salt) {
    struct sandbox_problem problem = { .text = "" };
    struct fail fail = { .text = "" };
    char name[32];
    int n = snprintf(name, sizeof name, "bench-%u", salt);
    buf_init(&s->source, 1 << 20);
    buf_init(&s->description, 1 << 20);
    put_source(&s->source, work, sandbox_change, salt);
    struct sandbox_script_opts opts = { .file = S("scripts/bench.lua"),
                                        .source = buf_slice(&s->source),
                                        .memory_max = MEMORY,
                                        .load_ms = 500 };
    struct sandbox_script *look = sandbox_script_new(&opts, &s->description, &problem);
    sandbox_script_free(look);
    s->hook = hook_new(&(struct hook_input){ .name = slice(name, (size_t)n),
                                             .file = opts.file,
                                             .source = opts.source,
                                             .version = S("0000000000000000"),
                                             .description = buf_slice(&s->description) },
                       NULL, NULL, &fail);
    if (!look || !s->hook) return fail_with(work->name, look ? fail.text : problem.text), false;
    opts.hook = s->hook;
    opts.source = s->hook->source;
    s->script = sandbox_script_new(&opts, NULL, &problem);
    buf_deinit(&s->source);
    buf_deinit(&s->description);
    return s->script || (fail_with(work->name, problem.text), false);
}

static void subject_close(struct subject *s) {
    sandbox_script_free(s->script);
    hook_unref(s->hook);
}

static struct event *read_event(void) {
    struct fail fail = { .text = "" };
    return event_restore(S("evt_1"), S("call.completed"), S(""), 0, S(""), slice_str(event_json),
                         &fail);
}

static enum script_outcome run_once(struct subject *s, const struct event *event,
                                    struct slice *body) {
    static const struct wire_call call = { .kind = SCRIPT_REQUEST };
    struct arena arena;
    struct wire_done done;
    arena_init(&arena, 16 << 20);
    sandbox_script_run(s->script, &call, event, &arena, 20, &done);
    if (done.outcome == SCRIPT_ERROR) fail_with("sandbox", done.error.p ? done.error.p : "?");
    if (body && done.requests_count) body->n = done.requests[0].body.n;
    arena_deinit(&arena);
    return done.outcome;
}

// Nanoseconds a call over `count` calls; with `whole`, the event is read each time, as a
// script process does.
static double time_sandbox(struct subject *s, unsigned count, bool whole) {
    struct event *event = read_event();
    int64_t start = clock_mono_ns();
    for (unsigned i = 0; i < count; i++) {
        struct event *own = whole ? read_event() : event;
        run_once(s, own, NULL);
        if (whole) event_unref(own);
    }
    double ns = (double)(clock_mono_ns() - start) / count;
    event_unref(event);
    return ns;
}

// --- the bare interpreter ---

static lua_State *bare_open(const struct work *work) {
    struct buf source;
    buf_init(&source, 1 << 20);
    lua_State *L = luaL_newstate();
    luaL_openlibs(L);
    luaJIT_setmode(L, 0, LUAJIT_MODE_ENGINE | LUAJIT_MODE_OFF);
    lua_pushcfunction(L, luaopen_cjson);
    lua_call(L, 0, 1);
    lua_setglobal(L, "cjson");
    put_source(&source, work, bare_change, 1);
    buf_byte(&source, '\0');
    bool fine = luaL_loadstring(L, source.p) == 0 && lua_pcall(L, 0, 1, 0) == 0;
    lua_setglobal(L, "hook");
    buf_deinit(&source);
    buf_init(&source, 4096);
    buf_printf(&source, "local text = ...\n%s",
               work->filter_only ? "return hook.filter(cjson.decode(text))" : bare_driver);
    buf_byte(&source, '\0');
    fine = fine && luaL_loadstring(L, source.p) == 0; // stays at index 1
    buf_deinit(&source);
    if (fine) return L;
    fail_with("bare interpreter", lua_tostring(L, -1));
    lua_close(L);
    return NULL;
}

static bool bare_once(lua_State *L, size_t *body_n) {
    lua_pushvalue(L, 1);
    lua_pushlstring(L, event_json, sizeof event_json - 1);
    if (lua_pcall(L, 1, 1, 0) != 0) return fail_with("bare", lua_tostring(L, -1)), false;
    if (body_n) *body_n = lua_objlen(L, -1);
    lua_pop(L, 1);
    return true;
}

static double time_bare(lua_State *L, unsigned count) {
    int64_t start = clock_mono_ns();
    for (unsigned i = 0; i < count; i++) bare_once(L, NULL);
    return (double)(clock_mono_ns() - start) / count;
}

// --- rounds ---

static int compare_doubles(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *values) {
    qsort(values, ROUNDS, sizeof *values, compare_doubles);
    return values[ROUNDS / 2];
}

static unsigned calls_a_round(double ns) {
    return (unsigned)(ROUND_NS / share / ns) + 1;
}

static bool same_work(struct subject *s, lua_State *L, const struct work *work) {
    struct event *event = read_event();
    struct slice body = { "", 0 };
    size_t bare_n = 0;
    enum script_outcome outcome = run_once(s, event, &body);
    bool fine = bare_once(L, &bare_n) &&
                outcome == (work->filter_only ? SCRIPT_FILTERED : SCRIPT_OK) &&
                (work->filter_only || (body.n > 900 && bare_n > 900));
    event_unref(event);
    return fine;
}

static int measure(struct work *work) {
    static double sandbox[ROUNDS], inside[ROUNDS], bare[ROUNDS];
    struct subject s = { .hook = NULL };
    if (!subject_open(&s, work, 1)) return 1;
    lua_State *L = bare_open(work);
    if (!L || !same_work(&s, L, work)) return fail_with(work->name, "the two sides differ");
    unsigned n = calls_a_round(time_sandbox(&s, 1000, true)), m = calls_a_round(time_bare(L, 1000));
    for (int i = 0; i < ROUNDS; i++) {
        sandbox[i] = time_sandbox(&s, n, true);
        bare[i] = time_bare(L, m);
        inside[i] = time_sandbox(&s, n, false);
    }
    work->sandbox = median(sandbox);
    work->bare = median(bare);
    work->inside = median(inside);
    subject_close(&s);
    lua_close(L);
    return 0;
}

// --- to a script process and back ---

struct trips {
    struct script_pool *pool;
    struct event *event;
    struct hook *hook;
    unsigned left, open;
    struct trip {
        struct script_call call;
        struct arena arena;
        struct trips *trips;
    } slots[64];
};

static void on_back(struct script_call *call);

static void go(struct trip *trip) {
    trip->trips->left--;
    trip->trips->open++;
    arena_init(&trip->arena, 16 << 20);
    trip->call = (struct script_call){ .kind = SCRIPT_REQUEST,
                                       .hook = trip->trips->hook,
                                       .event = trip->trips->event,
                                       .arena = &trip->arena,
                                       .done = on_back,
                                       .user = trip };
    script_call(trip->trips->pool, &trip->call);
}

static void on_back(struct script_call *call) {
    struct trip *trip = call->user;
    arena_deinit(&trip->arena);
    trip->trips->open--;
    if (trip->trips->left) go(trip);
}

static double time_trips(uv_loop_t *loop, struct trips *trips, unsigned count, unsigned slots) {
    int64_t start = clock_mono_ns();
    trips->left = count;
    for (unsigned i = 0; i < slots; i++) {
        trips->slots[i].trips = trips;
        go(&trips->slots[i]);
    }
    while (trips->open) uv_run(loop, UV_RUN_ONCE);
    return (double)(clock_mono_ns() - start) / count;
}

static void on_closed(void *user) {
    (void)user;
}

static int measure_trips(struct work *work) {
    static struct trips trips;
    static uv_loop_t loop;
    struct fail fail = { .text = "" };
    struct subject s = { .hook = NULL };
    uv_loop_init(&loop);
    trips.pool = script_pool_new(&loop,
                                 &(struct script_opts){ .program = "/proc/self/exe",
                                                        .soft_ms = 20,
                                                        .hard_ms = 250,
                                                        .load_ms = 500,
                                                        .memory_max = MEMORY },
                                 &fail);
    if (!trips.pool || !subject_open(&s, work, 1)) return fail_with("pool", fail.text);
    trips.event = read_event();
    trips.hook = s.hook;
    time_trips(&loop, &trips, 1000, 1);
    work->trip = time_trips(&loop, &trips, 5000 / share, 1);
    time_trips(&loop, &trips, 1000, 64);
    work->pipelined = time_trips(&loop, &trips, 50000 / share, 64);
    script_pool_close(trips.pool, on_closed, NULL);
    uv_run(&loop, UV_RUN_DEFAULT);
    uv_loop_close(&loop);
    event_unref(trips.event);
    subject_close(&s);
    return 0;
}

// --- ten thousand ---

struct crowd {
    double bytes, cold_per_second;
};

static size_t resident_bytes(void) {
    unsigned long size, resident = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    if (!f || fscanf(f, "%lu %lu", &size, &resident) != 2) resident = 0;
    if (f) fclose(f);
    return (size_t)resident * (size_t)sysconf(_SC_PAGESIZE);
}

static struct crowd gather_crowd(void) {
    static struct subject subjects[MANY];
    struct crowd crowd = { 0, 0 };
    size_t before = resident_bytes();
    unsigned many = MANY / share, cold = COLD / share;
    for (unsigned i = 0; i < many; i++)
        if (!subject_open(&subjects[i], &works[0], i)) return crowd;
    crowd.bytes = (double)(resident_bytes() - before);
    uint32_t random = 1;
    int64_t start = clock_mono_ns();
    for (unsigned i = 0; i < cold; i++) {
        random = random * 1664525 + 1013904223;
        struct event *event = read_event();
        run_once(&subjects[(random >> 8) % many], event, NULL);
        event_unref(event);
    }
    crowd.cold_per_second = cold * 1e9 / (double)(clock_mono_ns() - start);
    return crowd;
}

// In a process of its own, so that the figure is theirs alone.
static struct crowd measure_crowd(void) {
    int ends[2];
    struct crowd crowd = { 0, 0 };
    if (pipe(ends) != 0) return crowd;
    pid_t pid = fork();
    if (pid == 0) {
        crowd = gather_crowd();
        _exit(write(ends[1], &crowd, sizeof crowd) != sizeof crowd);
    }
    close(ends[1]);
    if (pid < 0 || read(ends[0], &crowd, sizeof crowd) != sizeof crowd)
        crowd = (struct crowd){ 0, 0 };
    close(ends[0]);
    waitpid(pid, NULL, 0);
    return crowd;
}

// --- the report ---

static void print_json(const struct crowd *crowd) {
    printf("{\"works\":{");
    for (int i = 0; i < WORKS; i++) {
        const struct work *w = &works[i];
        printf("%s\"%s\":{\"ns\":%.0f,\"bare_ns\":%.0f,\"ratio\":%.2f,\"inside_ns\":%.0f,"
               "\"round_trip_ns\":%.0f,\"pipelined_ns\":%.0f}",
               i ? "," : "", w->name, w->sandbox, w->bare, w->sandbox / w->bare, w->inside, w->trip,
               w->pipelined);
    }
    printf("},\"hooks\":{\"count\":%u,\"rss_bytes\":%.0f,\"cold_filters_per_second\":%.0f}}\n",
           MANY / share, crowd->bytes, crowd->cold_per_second);
}

static void print_table(const struct crowd *crowd) {
    puts(
        "ns a call          sandbox   bare LuaJIT+cjson   ratio   without reading the event   round trip   pipelined");
    for (int i = 0; i < WORKS; i++) {
        const struct work *w = &works[i];
        printf("%-16s %9.0f %19.0f %7.2f %27.0f %12.0f %11.0f\n", w->name, w->sandbox, w->bare,
               w->sandbox / w->bare, w->inside, w->trip, w->pipelined);
    }
    printf("filter: two tags; full: filter, 3 tags, 1 KB of JSON rendered and one value changed\n"
           "%u webhooks with a filter: %.0f MB resident, %.0f decisions a second on cold states\n",
           MANY / share, crowd->bytes / 1e6, crowd->cold_per_second);
}

int bench_scripts(bool json_out, bool quick) {
    share = quick ? QUICK : 1;
    log_init(LOG_OFF, false);
    struct crowd crowd = measure_crowd();
    if (crowd.bytes <= 0) return fail_with("many webhooks", "they do not load");
    // this process's clock; the script processes start their own
    if (!sandbox_clock_start()) return fail_with("clock", "no timer on CPU time");
    for (int i = 0; i < WORKS; i++)
        if (measure(&works[i]) || measure_trips(&works[i])) return 1;
    json_out ? print_json(&crowd) : print_table(&crowd);
    return 0;
}
