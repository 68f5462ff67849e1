// Tests of a webhook: each event goes through the stages as a delivery would, with a
// store of its own, and lua/test.lua compares what came out with what is expected. The
// judge runs in a second state: a script under test cannot touch it.
#include <stdio.h>
#include <stdlib.h>

#include "clock.h"
#include "embedded.h"
#include "json.h"
#include "sandbox_main_inner.h"

enum {
    TEST_ARENA_MAX = 32 * 1024 * 1024,
    JUDGE_MEMORY_MAX = 64 * 1024 * 1024,
    JUDGE_MS = 1000,
    EVENT_TEXT_MAX = 2 * EVENT_BYTES_MAX,
    TEXT_MAX_BYTES = 16 * 1024 * 1024,
};

struct test {
    struct sandbox_held *held;
    const struct wire_hello *limits;
    int64_t budget_ms, started_ns; // of CPU time, for all of them
    struct sandbox *judge;
    int judge_ref;
    struct arena arena; // of one test
    struct json one;
    size_t passed, failed;
    struct slice actual; // what came of it, as JSON
    struct buf message;  // what the judge said
};

// --- the judge ---

static void open_judge(lua_State *L, void *user) {
    struct test *t = user;
    struct slice source = embedded_lua("test");
    sandbox_open_base(L);
    sandbox_open_string(L);
    sandbox_open_json(L);
    if (luaL_loadbufferx(L, source.p, source.n, "@test.lua", "t") != 0) lua_error(L);
    sandbox_call(L, 0, 1);
    t->judge_ref = luaL_ref(L, LUA_REGISTRYINDEX);
}

static void ask_judge(lua_State *L, void *user) {
    struct test *t = user;
    lua_rawgeti(L, LUA_REGISTRYINDEX, t->judge_ref);
    sandbox_json_decode(L, t->one.raw);
    sandbox_json_decode(L, t->actual);
    sandbox_call(L, 2, 1);
    size_t n;
    const char *text = lua_tolstring(L, -1, &n);
    buf_add(&t->message, slice(text, text ? n : 0));
}

// --- the event of a test ---

static bool is_attribute(struct slice key) {
    return slice_eq(key, S("type")) || slice_eq(key, S("id")) || slice_eq(key, S("org")) ||
           slice_eq(key, S("time"));
}

static void put_members(struct buf *out, struct json object, bool attributes, bool *any) {
    size_t at = 0;
    struct slice key;
    struct json value;
    while (object.type == JSON_OBJECT && json_next(object, &at, &key, &value)) {
        if (is_attribute(key) != attributes || slice_eq(key, S("tags"))) continue;
        if (*any) buf_byte(out, ',');
        *any = true;
        buf_byte(out, '"');
        buf_add(out, key);
        buf_add(out, S("\":"));
        buf_add(out, value.raw);
    }
}

// {type, NAME = value, …} as a test writes it becomes {"type", "tags": {…}}. Without a
// type it is the first one that the webhook listens to.
static void put_event(struct test *t, struct buf *out) {
    struct json event = json_get(t->one, "event");
    const struct hook *hook = t->held->hook;
    bool any = false;
    buf_byte(out, '{');
    put_members(out, event, true, &any);
    if (json_get(event, "type").type == JSON_NONE && hook->on_count) {
        if (any) buf_byte(out, ',');
        buf_add(out, S("\"type\":"));
        buf_json(out, hook->on[0]);
        any = true;
    }
    if (any) buf_byte(out, ',');
    buf_add(out, S("\"tags\":{"));
    any = false;
    put_members(out, event, false, &any);
    put_members(out, json_get(event, "tags"), false, &any);
    buf_add(out, S("}}"));
}

static struct event *read_event(struct test *t, struct fail *fail) {
    struct buf text;
    buf_init(&text, EVENT_TEXT_MAX);
    put_event(t, &text);
    struct event *event = event_read(buf_slice(&text), clock_wall_ms(), fail);
    buf_deinit(&text);
    return event;
}

static void read_response(struct test *t, struct attempt *attempt) {
    struct json response = json_get(t->one, "response"), name_and_value;
    struct json headers = json_get(response, "headers");
    struct slice key, lines = { "", 0 };
    int64_t status = 0;
    json_int(json_get(response, "status"), &status);
    for (size_t at = 0;
         headers.type == JSON_OBJECT && json_next(headers, &at, &key, &name_and_value);)
        lines = arena_printf(&t->arena, "%.*s%.*s: %.*s\n", SLICE_FMT(lines), SLICE_FMT(key),
                             SLICE_FMT(json_text(name_and_value, &t->arena)));
    struct json body = json_get(response, "body");
    *attempt = (struct attempt){ .number = 1,
                                 .started_ms = clock_wall_ms(),
                                 .status = (int)status,
                                 .verdict = status / 100 == 2 ? VERDICT_DELIVERED : VERDICT_RETRY,
                                 .response_headers = lines,
                                 .retry_after_ms = -1 };
    if (body.type != JSON_NONE) attempt->response_body = json_text(body, &t->arena);
}

// --- what came of it ---

static void put_text(struct buf *out, const char *name, struct slice text) {
    buf_printf(out, ",\"%s\":", name);
    buf_json(out, text);
}

static void put_request(struct test *t, struct buf *out, const struct request *request) {
    buf_add(out, S("{\"method\":"));
    buf_json(out, request->method);
    put_text(out, "url", request_mask(request->url, &t->arena));
    buf_add(out, S(",\"headers\":["));
    for (size_t i = 0; i < request->headers_count; i++) {
        buf_add(out, i ? S(",[") : S("["));
        buf_json(out, request->headers[i].name);
        buf_byte(out, ',');
        buf_json(out, request_mask(request->headers[i].value, &t->arena));
        buf_byte(out, ']');
    }
    buf_byte(out, ']');
    if (request->has_body) put_text(out, "body", request_mask(request->body, &t->arena));
    buf_byte(out, '}');
}

static void put_names(struct buf *out, struct slice names) {
    buf_add(out, S(",\"unresolved\":["));
    for (bool any = false; names.n; any = true) {
        size_t n = slice_find(names, ',');
        if (any) buf_byte(out, ',');
        buf_json(out, slice(names.p, n));
        names = slice_from(names, n + 1);
    }
    buf_byte(out, ']');
}

static void put_actual(struct test *t, struct buf *out, const struct wire_done *done) {
    static const char *const outcomes[] = { "ok", "filtered", "error", "render_error", "error" };
    static const char *const verdicts[] = {
        [VERDICT_DELIVERED] = "delivered", [VERDICT_RETRY] = "retry", [VERDICT_FAIL] = "fail"
    };
    buf_printf(out, "{\"outcome\":\"%s\"", outcomes[done->outcome]);
    if (done->reason.n) put_text(out, "reason", done->reason);
    if (done->error.n) put_text(out, "error", done->error);
    if (done->verdict_given) buf_printf(out, ",\"verdict\":\"%s\"", verdicts[done->verdict]);
    if (done->retry_after_ms >= 0)
        buf_printf(out, ",\"retry_after\":%g", (double)done->retry_after_ms / 1000);
    put_names(out, done->unresolved);
    buf_add(out, S(",\"requests\":["));
    for (size_t i = 0; i < done->requests_count; i++) {
        if (i) buf_byte(out, ',');
        put_request(t, out, &done->requests[i]);
    }
    buf_add(out, S("]}"));
}

// A test's store: what it says is there before the event comes.
static struct sandbox_kv *test_store(struct test *t) {
    struct sandbox_kv *kv = sandbox_kv_new();
    struct json store = json_get(t->one, "store"), value;
    struct slice key;
    size_t at = 0;
    while (kv && store.type == JSON_OBJECT && json_next(store, &at, &key, &value))
        sandbox_kv_put(kv, key, value.raw, 0);
    return kv;
}

// The test whose stages run: a sandbox's functions know only their state.
static struct test *running;

// A test's own secrets; one that it does not give has its name for a value, so that tests
// need no real one and show none.
static bool test_secret(struct sandbox *sandbox, struct slice name, struct slice *value) {
    struct json secrets = json_get(running->one, "secrets"), given;
    struct slice key;
    size_t at = 0;
    (void)sandbox;
    *value = name;
    while (secrets.type == JSON_OBJECT && json_next(secrets, &at, &key, &given))
        if (slice_eq(key, name)) *value = json_text(given, &running->arena);
    return true;
}

static void run_stages(struct test *t, const struct event *event, struct wire_done *done) {
    struct sandbox *sandbox = t->held->script->sandbox;
    struct wire_call call = { .attempt = 1, .delivery_id = S("msg_test") };
    struct sandbox_kv *kv = sandbox->kv, *own = test_store(t);
    bool (*secret)(struct sandbox *, struct slice, struct slice *) = sandbox->secret;
    call.has_response = json_get(t->one, "response").type == JSON_OBJECT;
    if (call.has_response) {
        call.kind = SCRIPT_RESPONSE;
        read_response(t, &call.response);
    }
    sandbox->kv = own;
    sandbox->secret = test_secret;
    running = t;
    sandbox_script_run(t->held->script, &call, event, &t->arena, t->limits->soft_ms, done);
    sandbox->kv = kv;
    sandbox->secret = secret;
    running = NULL;
    sandbox_kv_free(own);
}

static void run_event(struct test *t, struct wire_done *done) {
    struct fail fail = { .text = "" };
    struct event *event = read_event(t, &fail);
    *done = (struct wire_done){ .outcome = SCRIPT_ERROR, .retry_after_ms = -1 };
    if (!event) {
        done->error = arena_printf(&t->arena, "the test's event: %s", fail.text);
    } else if (!hook_wants(t->held->hook, event)) {
        done->outcome = SCRIPT_FILTERED;
        done->reason = S("the webhook does not listen to this event (on, org, when)");
    } else {
        run_stages(t, event, done);
    }
    event_unref(event);
}

// --- the report ---

static void judge_one(struct test *t) {
    struct wire_done done;
    struct buf actual;
    run_event(t, &done);
    buf_init(&actual, TEXT_MAX_BYTES);
    put_actual(t, &actual, &done);
    t->actual = buf_slice(&actual);
    struct sandbox_result result = sandbox_protect(t->judge, ask_judge, t, JUDGE_MS);
    if (result.end != SANDBOX_DONE) buf_add(&t->message, result.text);
    buf_deinit(&actual);
}

static bool report_one(struct test *t, size_t number, struct buf *report) {
    char unnamed[32];
    snprintf(unnamed, sizeof unnamed, "test %zu", number);
    arena_init(&t->arena, TEST_ARENA_MAX);
    buf_clear(&t->message);
    judge_one(t);
    struct json name = json_get(t->one, "name");
    buf_add(report, number > 1 ? S(",{\"name\":") : S("{\"name\":"));
    buf_json(report, name.type == JSON_STRING ? json_text(name, &t->arena) : slice_str(unnamed));
    buf_printf(report, ",\"ok\":%s", t->message.n ? "false" : "true");
    put_text(report, "message", buf_slice(&t->message));
    buf_byte(report, '}');
    arena_deinit(&t->arena);
    return t->message.n == 0;
}

static void report_trouble(struct buf *report, const char *text) {
    buf_clear(report);
    buf_add(report, S("{\"tests\":[{\"name\":\"tests run\",\"ok\":false"));
    put_text(report, "message", slice_str(text));
    buf_add(report, S("}],\"passed\":0,\"failed\":1}"));
}

static bool took_too_long(const struct test *t) {
    return t->budget_ms && clock_cpu_ns() - t->started_ns > t->budget_ms * 1000000;
}

static bool run_list(struct test *t, struct slice tests, struct buf *report) {
    struct json list = json_root(tests);
    for (size_t at = 0; list.type == JSON_ARRAY && json_next(list, &at, NULL, &t->one);) {
        report_one(t, t->passed + t->failed + 1, report) ? t->passed++ : t->failed++;
        if (!took_too_long(t)) continue;
        char text[100];
        snprintf(text, sizeof text, "they need more than %lld ms of CPU time",
                 (long long)t->budget_ms);
        report_trouble(report, text);
        return false;
    }
    return true;
}

// hook.tests, then those of the file beside it.
static bool run_all(struct test *t, struct slice tests, struct slice more, struct buf *report) {
    buf_add(report, S("{\"tests\":["));
    if (!run_list(t, tests, report) || !run_list(t, more, report)) return false;
    buf_printf(report, "],\"passed\":%zu,\"failed\":%zu}", t->passed, t->failed);
    return t->failed == 0 && !report->failed;
}

// The tests of a *_test.lua file: the list that it returns.
static bool tests_of_file(const struct wire_test *test, const struct wire_hello *limits,
                          struct buf *tests, struct sandbox_problem *problem) {
    struct sandbox_script *script =
        sandbox_script_new(&(struct sandbox_script_opts){ .file = test->file,
                                                          .source = test->source,
                                                          .memory_max = limits->memory_max,
                                                          .load_ms = limits->load_ms,
                                                          .is_test = true },
                           tests, problem);
    sandbox_script_free(script);
    return script != NULL;
}

static bool open_and_run(struct test *t, struct slice tests, struct slice more,
                         struct buf *report) {
    t->judge = sandbox_new(JUDGE_MEMORY_MAX);
    struct sandbox_result result = { .end = SANDBOX_OUT_OF_MEMORY, .text = S("no memory") };
    if (t->judge) result = sandbox_protect(t->judge, open_judge, t, JUDGE_MS);
    bool ok = result.end == SANDBOX_DONE;
    char text[256];
    snprintf(text, sizeof text, "%.*s", SLICE_FMT(result.text));
    if (ok)
        ok = run_all(t, tests, more, report);
    else
        report_trouble(report, text);
    sandbox_free(t->judge);
    return ok;
}

void sandbox_test(struct sandbox_held *held, const struct wire_test *test,
                  const struct wire_hello *limits, struct buf *report, bool *ok) {
    struct test t = {
        .held = held, .limits = limits, .budget_ms = test->budget_ms, .started_ns = clock_cpu_ns()
    };
    struct sandbox_problem problem = { .text = "" };
    struct buf tests;
    buf_init(&tests, TEXT_MAX_BYTES);
    buf_init(&t.message, TEXT_MAX_BYTES);
    *ok = false;
    if (!held->script) {
        snprintf(problem.text, sizeof problem.text, "%.*s", SLICE_FMT(held->problem));
        report_trouble(report, problem.text);
    } else if (test->source.n && !tests_of_file(test, limits, &tests, &problem)) {
        report_trouble(report, problem.text);
    } else {
        *ok = open_and_run(&t, test->tests, buf_slice(&tests), report);
    }
    buf_deinit(&t.message);
    buf_deinit(&tests);
}
