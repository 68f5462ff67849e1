// One call through a script's stages. A request goes
//
//   filter → tags → render (C) → transform → check (C)
//
// in one protected call: a stage that raises, loops or eats the memory ends it, and
// which stage that was is told. What a script returns is checked for its type, and
// what it made passes the same checks as what a template made.
#include <ctype.h>
#include <math.h>
#include <stdio.h>

#include "sandbox_call.h"
#include "sandbox_kv.h"

enum { FILTER, TAGS, TRANSFORM, RESPONSE, EXHAUSTED, NO_STAGE };

struct run {
    struct sandbox_script *script;
    const struct wire_call *call;
    const struct event *event;
    struct arena *arena;
    struct wire_done *done;
    int stage; // the one that runs, for the error report
};

static bool begin_stage(lua_State *L, struct run *run, int stage) {
    int ref = run->script->stages[stage];
    if (ref == LUA_NOREF) return false;
    run->stage = stage;
    lua_rawgeti(L, LUA_REGISTRYINDEX, ref);
    sandbox_push_event(L);
    return true;
}

// Raises "file:line: stage …" with the line where the stage's function starts: what
// is wrong is what it returned, and no line of it runs any more.
static void refuse(lua_State *L, struct run *run, const char *format, const char *detail) {
    lua_Debug at;
    lua_rawgeti(L, LUA_REGISTRYINDEX, run->script->stages[run->stage]);
    lua_getinfo(L, ">S", &at);
    lua_pushfstring(L, "%s:%d: %s ", at.short_src, at.linedefined, sandbox_stage_names[run->stage]);
    lua_pushfstring(L, format, detail);
    lua_concat(L, 2);
    lua_error(L);
}

static struct slice kept_text(lua_State *L, struct run *run, int index) {
    size_t n;
    const char *text = lua_tolstring(L, index, &n);
    struct slice kept =
        arena_dup(run->arena, slice(text, n < SANDBOX_ERROR_MAX ? n : SANDBOX_ERROR_MAX));
    if (!kept.p) luaL_error(L, "no memory for the result");
    return kept;
}

// --- filter ---

static bool run_filter(lua_State *L, struct run *run) {
    if (!begin_stage(L, run, FILTER)) return true;
    sandbox_call(L, 1, 2);
    int type = lua_type(L, -2);
    if (type != LUA_TBOOLEAN && type != LUA_TNIL)
        refuse(L, run, "must return true, false or nil, and returned a %s", lua_typename(L, type));
    bool pass = type == LUA_TNIL || lua_toboolean(L, -2);
    if (!pass) {
        run->done->outcome = SCRIPT_FILTERED;
        if (lua_type(L, -1) == LUA_TSTRING) run->done->reason = kept_text(L, run, -1);
    }
    lua_pop(L, 2);
    return pass;
}

// --- tags ---

static struct slice number_text(lua_State *L, struct run *run, double number) {
    if (!isfinite(number)) refuse(L, run, "returned a number that is not finite%s", "");
    if (number == floor(number) && fabs(number) < 1e15)
        return arena_printf(run->arena, "%.0f", number);
    return arena_printf(run->arena, "%.14g", number);
}

static struct tag_value tag_from(lua_State *L, struct run *run, int index) {
    struct slice text;
    enum tag_kind kind;
    switch (lua_type(L, index)) {
    case LUA_TSTRING: {
        size_t n;
        const char *p = lua_tolstring(L, index, &n);
        if (n > EVENT_VALUE_MAX) refuse(L, run, "returned a value of more than 64 KB%s", "");
        text = arena_dup(run->arena, slice(p, n));
        kind = TAG_STRING;
        break;
    }
    case LUA_TNUMBER:
        text = number_text(L, run, lua_tonumber(L, index));
        kind = TAG_NUMBER;
        break;
    case LUA_TBOOLEAN:
        text = lua_toboolean(L, index) ? S("true") : S("false");
        kind = lua_toboolean(L, index) ? TAG_TRUE : TAG_FALSE;
        break;
    case LUA_TLIGHTUSERDATA: // json.null
        text = S("null");
        kind = TAG_NULL;
        break;
    case LUA_TTABLE:
        sandbox_json_encode(L, index);
        text = arena_dup(run->arena, slice(lua_tostring(L, -1), lua_objlen(L, -1)));
        lua_pop(L, 1);
        kind = TAG_JSON;
        break;
    default:
        refuse(L, run, "returned a tag that is a %s", luaL_typename(L, index));
        return (struct tag_value){ 0 };
    }
    if (!text.p) luaL_error(L, "no memory for the tags");
    return (struct tag_value){ .p = text.p, .n = (uint32_t)text.n, .kind = (uint16_t)kind };
}

static void put_tag(lua_State *L, struct run *run, struct tag_set *tags) {
    char name[TAG_NAME_MAX];
    size_t n = 0;
    if (lua_type(L, -2) != LUA_TSTRING)
        refuse(L, run, "returned a table with a %s for a name", luaL_typename(L, -2));
    struct slice key = slice(lua_tostring(L, -2), lua_objlen(L, -2));
    if (!tag_name_from_key(key, name, &n))
        refuse(L, run, "returned \"%s\", which is no tag name", key.p);
    struct slice kept = arena_dup(run->arena, slice(name, n));
    if (!kept.p || !tag_set_put(tags, kept, tag_from(L, run, lua_gettop(L))))
        luaL_error(L, "no memory for the tags");
}

static void run_tags(lua_State *L, struct run *run, struct tag_set *tags) {
    if (!begin_stage(L, run, TAGS)) return;
    sandbox_call(L, 1, 1);
    if (lua_istable(L, -1))
        for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1)) put_tag(L, run, tags);
    else if (!lua_isnil(L, -1))
        refuse(L, run, "must return a table or nil, and returned a %s", luaL_typename(L, -1));
    lua_pop(L, 1);
}

// --- render and transform ---

static bool render(struct run *run, const struct tag_set *tags, struct request *request) {
    struct template_notes notes = { .arena = run->arena };
    struct fail fail = { 0 };
    run->stage = NO_STAGE;
    if (hook_render(run->script->sandbox->hook, tags, run->arena, request, &notes, &fail) != OK) {
        run->done->outcome = SCRIPT_RENDER_ERROR;
        run->done->error =
            arena_printf(run->arena, "%s%s%s", fail.path, *fail.path ? ": " : "", fail.text);
        run->done->error_stage = S("render");
        return false;
    }
    run->done->unresolved = template_notes_text(&notes);
    return true;
}

static void check_requests(lua_State *L, struct run *run) {
    struct wire_done *done = run->done;
    if (done->requests_count > WIRE_REQUESTS_MAX)
        refuse(L, run, "returned more than %s requests", "100");
    for (size_t i = 0; i < done->requests_count; i++) {
        struct fail fail = { 0 };
        struct slice like = wire_authority(run->script->sandbox->hook, done->requests[i].url);
        if (request_check(&done->requests[i], like, &fail) == OK) continue;
        refuse(L, run, "made a request that may not be sent: %s", fail.text);
    }
}

static void run_transform(lua_State *L, struct run *run, struct request *request) {
    struct wire_done *done = run->done;
    done->requests = request;
    done->requests_count = 1;
    if (!begin_stage(L, run, TRANSFORM)) return;
    sandbox_push_request(L, request);
    sandbox_call(L, 2, 1);
    sandbox_read_requests(L, -1, &done->requests, &done->requests_count);
    check_requests(L, run);
    lua_pop(L, 1);
    if (done->requests_count) return;
    done->outcome = SCRIPT_FILTERED;
    done->reason = S("transform returned no request");
}

static void run_request(lua_State *L, struct run *run) {
    struct tag_set tags;
    if (!run_filter(L, run)) return;
    struct request *request = arena_zalloc(run->arena, 1, sizeof *request);
    if (!request || !hook_tags(run->script->sandbox->hook, run->event, run->arena, &tags))
        luaL_error(L, "no memory for the request");
    run_tags(L, run, &tags);
    if (render(run, &tags, request)) run_transform(L, run, request);
}

// --- response and exhausted ---

static void read_retry(lua_State *L, struct run *run) {
    run->done->verdict = VERDICT_RETRY;
    if (lua_isnil(L, -1)) return;
    double seconds = lua_type(L, -1) == LUA_TNUMBER ? lua_tonumber(L, -1) : -1;
    if (!(seconds >= 0 && seconds <= 30.0 * 24 * 3600))
        refuse(L, run, "must give the seconds of a retry as a number from 0 to 30 days%s", "");
    run->done->retry_after_ms = (int64_t)(seconds * 1000);
}

static void run_response(lua_State *L, struct run *run) {
    if (!begin_stage(L, run, RESPONSE)) return;
    sandbox_push_response(L, &run->call->response);
    sandbox_call(L, 2, 2);
    if (lua_isnil(L, -2)) return;
    if (lua_type(L, -2) != LUA_TSTRING)
        refuse(L, run, "must return nil, \"delivered\", \"retry\" or \"fail\", and returned a %s",
               luaL_typename(L, -2));
    struct slice word = slice(lua_tostring(L, -2), lua_objlen(L, -2));
    run->done->verdict_given = true;
    if (slice_eq(word, S("retry"))) {
        read_retry(L, run);
        return;
    }
    if (slice_eq(word, S("delivered")))
        run->done->verdict = VERDICT_DELIVERED;
    else if (slice_eq(word, S("fail")))
        run->done->verdict = VERDICT_FAIL;
    else
        refuse(L, run, "must return nil, \"delivered\", \"retry\" or \"fail\", and returned \"%s\"",
               word.p);
    if (lua_type(L, -1) == LUA_TSTRING) run->done->reason = kept_text(L, run, -1);
}

static void run_exhausted(lua_State *L, struct run *run) {
    if (!begin_stage(L, run, EXHAUSTED)) return;
    sandbox_push_delivery(L, run->call->delivery_id, run->call->attempt,
                          run->call->has_response ? &run->call->response : NULL);
    sandbox_call(L, 2, 0);
}

// --- the call ---

static void run_call(lua_State *L, void *user) {
    struct run *run = user;
    switch (run->call->kind) {
    case SCRIPT_REQUEST: run_request(L, run); break;
    case SCRIPT_RESPONSE: run_response(L, run); break;
    case SCRIPT_EXHAUSTED: run_exhausted(L, run); break;
    }
}

// Nothing of a call that went wrong stays, its store writes least of all.
static void report_error(struct run *run, const struct sandbox_result *result) {
    struct wire_done *done = run->done;
    *done = (struct wire_done){ .serial = done->serial,
                                .outcome = SCRIPT_ERROR,
                                .over_budget = result->end == SANDBOX_OVER_BUDGET,
                                .exhausted = result->end >= SANDBOX_OUT_OF_MEMORY,
                                .retry_after_ms = -1 };
    done->error = sandbox_call_error(run->script, result, run->arena);
    done->error_stage =
        run->stage == NO_STAGE ? S("call") : slice_str(sandbox_stage_names[run->stage]);
}

static void begin_call(struct sandbox *sandbox, const struct event *event, struct arena *arena) {
    sandbox->arena = arena;
    sandbox->event = event;
    sandbox->call_serial++;
    sandbox->changes = NULL;
    sandbox->changes_count = 0;
    sandbox->log_lines = 0;
    sandbox->request = NULL;
    sandbox->memory_peak = sandbox->memory;
}

void sandbox_script_run(struct sandbox_script *script, const struct wire_call *call,
                        const struct event *event, struct arena *arena, int64_t soft_ms,
                        struct wire_done *done) {
    struct sandbox *sandbox = script->sandbox;
    struct run run = { script, call, event, arena, done, NO_STAGE };
    *done = (struct wire_done){ .serial = call->serial, .retry_after_ms = -1 };
    begin_call(sandbox, event, arena);
    struct sandbox_result result = sandbox_protect(sandbox, run_call, &run, soft_ms);
    if (result.end != SANDBOX_DONE) {
        report_error(&run, &result);
    } else if (done->outcome != SCRIPT_RENDER_ERROR) {
        done->changes = sandbox->changes;
        if (sandbox->kv) sandbox_kv_apply(sandbox->kv, sandbox->changes);
    }
    done->cpu_ns = result.cpu_ns;
    done->memory = sandbox->memory;
    done->memory_peak = sandbox->memory_peak;
    sandbox->call_serial++; // views the script kept are stale from here on
    sandbox->arena = NULL;
    sandbox->event = NULL;
    sandbox->changes = NULL;
    sandbox->request = NULL;
}
