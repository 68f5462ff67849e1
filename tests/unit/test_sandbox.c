// A state's budget, cap and outermost call. The libraries are not there yet, so
// scripts here use LuaJIT's own, or none.
#include "sandbox.h"

#include <malloc.h>
#include <sys/resource.h>

#include "check.h"

enum { MEMORY = 2 * 1024 * 1024, BUDGET_MS = 20 };

static const char *chunk; // what run_chunk runs

static void run_chunk(lua_State *L, void *user) {
    (void)user;
    if (luaL_loadbufferx(L, chunk, strlen(chunk), "@scripts/x.lua", "t") != 0) lua_error(L);
    sandbox_call(L, 0, 0);
}

static void open_stock(lua_State *L, void *user) {
    (void)user;
    lua_pushcfunction(L, luaopen_base);
    lua_call(L, 0, 0);
    lua_pushcfunction(L, luaopen_string);
    lua_call(L, 0, 0);
}

static struct sandbox_result run(struct sandbox *sandbox, const char *text) {
    chunk = text;
    return sandbox_protect(sandbox, run_chunk, NULL, BUDGET_MS);
}

static struct sandbox *stock_sandbox(void) {
    struct sandbox *sandbox = sandbox_new(MEMORY);
    CHECK(sandbox != NULL);
    CHECK_INT(sandbox_protect(sandbox, open_stock, NULL, BUDGET_MS).end, SANDBOX_DONE);
    return sandbox;
}

static void an_error_names_its_place_and_callers(void) {
    struct sandbox *sandbox = stock_sandbox();
    struct sandbox_result result =
        run(sandbox, "local function inner() error('no') end\nlocal function outer()\n  inner()\n"
                     "end\nouter()\n");
    CHECK_INT(result.end, SANDBOX_RAISED);
    CHECK_TEXT(result.text, "scripts/x.lua:1: no");
    char trace[1024];
    snprintf(trace, sizeof trace, "%.*s", SLICE_FMT(result.traceback));
    CHECK(strstr(trace, "\tscripts/x.lua:1: in function 'inner'\n"));
    CHECK(strstr(trace, "\tscripts/x.lua:3: in function 'outer'\n"));
    CHECK(strstr(trace, "\tscripts/x.lua:5: in main chunk\n"));
    sandbox_free(sandbox);
}

static void an_error_that_is_no_string_is_named_by_type(void) {
    struct sandbox *sandbox = stock_sandbox();
    CHECK_TEXT(run(sandbox, "error({code = 7})").text, "error object is a table value");
    CHECK_TEXT(run(sandbox, "error(nil)").text, "error object is a nil value");
    struct sandbox_result result = run(sandbox, "error(('x'):rep(100000), 0)");
    CHECK_INT(result.text.n, SANDBOX_ERROR_MAX);
    sandbox_free(sandbox);
}

static void a_deep_traceback_is_cut_in_the_middle(void) {
    struct sandbox *sandbox = stock_sandbox();
    struct sandbox_result result =
        run(sandbox,
            "local function f(n) if n == 0 then error('deep') end f(n - 1) return 1 end f(500)");
    CHECK_INT(result.end, SANDBOX_RAISED);
    CHECK(result.traceback.n > 100 && result.traceback.n < 2000);
    CHECK(memmem(result.traceback.p, result.traceback.n, "\t...\n", 5));
    sandbox_free(sandbox);
}

#if !defined(__SANITIZE_THREAD__) // it delivers signals only when the program calls something
static void check_over(const char *text) {
    struct sandbox *sandbox = stock_sandbox();
    struct sandbox_result result = run(sandbox, text);
    CHECK_INT(result.end, SANDBOX_OVER_BUDGET);
    CHECK(slice_starts(result.text, S("scripts/x.lua:")) &&
          slice_ends(result.text, S(": CPU budget exceeded")));
    CHECK(result.cpu_ns >= BUDGET_MS * 1000000 / 2);
    CHECK_INT(run(sandbox, "local x = 1 for i = 1, 1000 do x = x + i end").end, SANDBOX_DONE);
    sandbox_free(sandbox);
}

static void a_loop_is_stopped_and_the_state_goes_on(void) {
    check_over("while true do end");
    check_over("::a:: goto a");
    check_over("local function f() return f() end f()");
}

static void pcall_cannot_swallow_the_budget(void) {
    check_over("while true do pcall(function() while true do end end) end");
    check_over("local t = setmetatable({}, {__index = function() while true do end end})\n"
               "while true do pcall(function() return t.x end) end");
    check_over(
        "local co = coroutine.wrap(function() while true do pcall(coroutine.yield) end end)\n"
        "while true do co() end");
}
#endif

static void memory_is_capped_and_given_back(void) {
    struct sandbox *sandbox = stock_sandbox();
    size_t before = sandbox->memory;
    static const char *const hungry[] = {
        "local t = {} for i = 1, 1e9 do t[i] = {} end",
        "local s = 'x' while true do s = s .. s end",
        "local t = {} for i = 1, 1e9 do t['k' .. i] = i end",
    };
    for (size_t i = 0; i < sizeof hungry / sizeof *hungry; i++) {
        struct sandbox_result result =
            sandbox->memory ? run(sandbox, hungry[i]) : (struct sandbox_result){ 0 };
        CHECK(result.end == SANDBOX_OUT_OF_MEMORY || result.end == SANDBOX_OVER_BUDGET);
        CHECK(sandbox->memory_peak <= MEMORY);
    }
    CHECK_TEXT(run(sandbox, "local s = ('x'):rep(1e9)").text, "not enough memory");
    CHECK(sandbox->memory < before + 64 * 1024);
    CHECK_INT(run(sandbox, "local ok = pcall(string.rep, 'x', 1e9) assert(not ok)").end,
              SANDBOX_DONE);
    sandbox_free(sandbox);
}

// Lua's own accounting must end at nothing: whatever is left was lost.
static void a_closed_state_leaves_nothing(void) {
    struct sandbox *sandbox = stock_sandbox();
    run(sandbox, "t = {} for i = 1, 1000 do t[i] = ('y'):rep(i) end");
    lua_State *L = sandbox->L;
    sandbox->L = NULL;
    lua_close(L);
    CHECK_INT(sandbox->memory, 0);
    sandbox_free(sandbox);
}

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
static void a_state_is_not_begun_without_memory(void) {
    struct rlimit before, none;
    CHECK(!sandbox_starved() && getrlimit(RLIMIT_AS, &before) == 0);
    none = (struct rlimit){ 1, before.rlim_max };
    malloc_trim(0); // what was freed is no room
    setrlimit(RLIMIT_AS, &none);
    struct sandbox *sandbox = sandbox_new(MEMORY);
    setrlimit(RLIMIT_AS, &before);
    CHECK(!sandbox && sandbox_starved());
    sandbox_free(sandbox);
    sandbox_free(stock_sandbox());
}
#endif

static void stack_overflows_are_errors(void) {
    struct sandbox *sandbox = sandbox_new(64 * 1024 * 1024);
    CHECK_INT(sandbox_protect(sandbox, open_stock, NULL, BUDGET_MS).end, SANDBOX_DONE);
    struct sandbox_result result = run(sandbox, "local function f() return f() + 1 end f()");
    CHECK_INT(result.end, SANDBOX_OUT_OF_STACK);
    CHECK(memmem(result.text.p, result.text.n, "stack overflow", 14));
    CHECK_INT(run(sandbox, "local x = 1").end, SANDBOX_DONE);
    sandbox_free(sandbox);
}

static int call_back(lua_State *L) {
    lua_pushvalue(L, 1);
    sandbox_call(L, 0, 0);
    return 0;
}

static void open_call_back(lua_State *L, void *user) {
    (void)user;
    lua_pushcfunction(L, call_back);
    lua_setglobal(L, "call_back");
}

static void nested_c_calls_end_before_the_stack_does(void) {
    struct sandbox *sandbox = stock_sandbox();
    sandbox_protect(sandbox, open_call_back, NULL, BUDGET_MS);
    struct sandbox_result result = run(sandbox, "local function f() call_back(f) end f()");
    CHECK_INT(result.end, SANDBOX_OUT_OF_STACK);
    CHECK(memmem(result.text.p, result.text.n, "C stack overflow", 16));
    CHECK_INT(run(sandbox, "call_back(function() end)").end, SANDBOX_DONE);
    sandbox_free(sandbox);
}

static const struct check_case cases[] = {
    { "an error names its place and callers", an_error_names_its_place_and_callers },
    { "an error that is no string is named by type", an_error_that_is_no_string_is_named_by_type },
    { "a deep traceback is cut in the middle", a_deep_traceback_is_cut_in_the_middle },
#if !defined(__SANITIZE_THREAD__)
    { "a loop is stopped and the state goes on", a_loop_is_stopped_and_the_state_goes_on },
    { "pcall cannot swallow the budget", pcall_cannot_swallow_the_budget },
#endif
    { "memory is capped and given back", memory_is_capped_and_given_back },
    { "a closed state leaves nothing", a_closed_state_leaves_nothing },
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
    { "a state is not begun without memory", a_state_is_not_begun_without_memory },
#endif
    { "stack overflows are errors", stack_overflows_are_errors },
    { "nested C calls end before the stack does", nested_c_calls_end_before_the_stack_does },
};

int main(void) {
    if (!sandbox_clock_start()) {
        perror("sandbox_clock_start");
        return 1;
    }
    return check_run(cases, sizeof cases / sizeof *cases);
}
