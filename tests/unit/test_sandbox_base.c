// The globals of a script: what is kept, what is replaced, and that nothing of it
// spins past the budget, recurses past the depth, or reaches outside.
#include "check.h"
#include "script_state.h"

static void open_base(lua_State *L, void *user) {
    (void)user;
    sandbox_open_base(L);
}

static struct sandbox *start(void) {
    static bool ticking;
    if (!ticking) ticking = sandbox_clock_start();
    struct sandbox *sandbox = sandbox_new(STATE_MEMORY);
    CHECK_INT(sandbox_protect(sandbox, open_base, NULL, 1000).end, SANDBOX_DONE);
    return sandbox;
}

static void what_reaches_out_is_gone(void) {
    struct sandbox *sandbox = start();
    static const char *const names[] = {
        "load",      "loadstring",   "loadfile",   "dofile",         "require",
        "module",    "package",      "io",         "debug",          "ffi",
        "jit",       "newproxy",     "gcinfo",     "collectgarbage", "getfenv",
        "setfenv",   "os.execute",   "os.exit",    "os.remove",      "os.rename",
        "os.getenv", "os.setlocale", "os.tmpname", "table.foreach",  "table.foreachi",
    };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char chunk[64];
        snprintf(chunk, sizeof chunk, "return %s", names[i]);
        CHECK_TEXT(state_do(sandbox, chunk), "nil");
    }
    sandbox_free(sandbox);
}

static void protected_calls_answer_as_usual(void) {
    struct sandbox *sandbox = start();
    static const struct state_case cases[] = {
        { "return pcall(function(a, b) return a + b, 'x' end, 2, 3)", "true 5 x" },
        { "return pcall(error, {1})", "false table" },
        { "return pcall(error, 'm', 0)", "false m" },
        { "pcall()", "! bad argument #1 to 'pcall'" },
        { "return pcall(nil)", "false attempt to call a nil value" },
        { "return xpcall(function(...) return ... end, print, 1, 2)", "true 1 2" },
        { "return xpcall(error, function(m) return m .. '!' end, 'm', 0)", "false m!" },
        { "return xpcall(error, error, 'm')", "false error in error handling" },
        { "return pcall(pcall, error, 'm')", "true false m" },
        { "return select('#', pcall(error))", "2" },
        { "return tostring(nil), tostring(1.5), tostring(true), tostring('s')", "nil 1.5 true s" },
        { "return tostring({}), tostring(print or next)", "table function" },
        { "return tostring(setmetatable({}, {__tostring = function() return 'me' end}))", "me" },
        { "return tostring(setmetatable({}, {__tostring = function() return {} end}))",
          "! must return a string" },
    };
    STATE_CHECK(sandbox, cases);
    sandbox_free(sandbox);
}

static void nesting_on_the_c_stack_ends(void) {
    struct sandbox *sandbox = start();
    static const struct state_case cases[] = {
        { "return tostring(setmetatable({}, {__tostring = tostring}))", "! C stack overflow" },
        { "local t = {} for i = 1, 300 do t[i] = pcall end return pcall(unpack(t)) ~= nil",
          "true" },
        { "local function g() return coroutine.wrap(g)() end g()", "! C stack overflow" },
        { "local function g() return (select(2, coroutine.resume(coroutine.create(g)))) end return g()",
          "t.lua:1: C stack overflow" },
        { "local function s() table.sort({1, 2}, s) end s()", "! C stack overflow" },
        { "local m = {} m.__lt = function(a, b) table.sort({a, b}) end "
          "table.sort({setmetatable({}, m), setmetatable({}, m)})",
          "! C stack overflow" },
        { "return (pcall(os.time, setmetatable({}, {__index = os.time})))", "false" },
        { "local function f() return f() + 1 end f()", "! stack overflow" },
        { "local function f() return pcall(f) end return (f())", "true" },
        { "return 'alive'", "alive" },
    };
    STATE_CHECK(sandbox, cases);
    CHECK_INT(sandbox->c_depth, 0);
    sandbox_free(sandbox);
}

static void the_budget_ends_every_loop(void) {
    struct sandbox *sandbox = start();
    static const char *const loops[] = {
        "while true do end",
        "while true do pcall(function() while true do end end) end",
        "local function loop() while true do end end xpcall(loop, loop)",
        "local function loop() while true do end end xpcall(error, loop)",
        "while true do pcall(coroutine.wrap(function() while true do end end)) end",
        "local function f() return f() end f()",
        "while true do pcall(pcall, error) end",
        "tostring(setmetatable({}, {__tostring = function() while true do end end}))",
        "table.sort({1, 2, 3}, function() while true do end end)",
        "local m = {__lt = function() while true do end end} "
        "table.sort({setmetatable({}, m), setmetatable({}, m)})",
        "local t = {} for i = 1, 300000 do t[i] = i end while true do table.insert(t, 1, 0) end",
        "local t = {} for i = 1, 300000 do t[i] = -i end while true do table.sort(t) end",
        "table.move({1, 2, 3}, 1, 2^31, 2)",
        "local s = 'x' for i = 1, 20 do s = s .. s end local a, b = s .. 1, s .. 2 while a < b do end",
        "local s, t = 'x', {} for i = 1, 20 do s = s .. s end for i = 1, 6 do t[i] = s .. -i end "
        "while true do table.sort(t, nil) t[1], t[6] = t[6], t[1] end",
    };
    for (size_t i = 0; i < sizeof loops / sizeof *loops; i++) {
        struct slice got = state_do(sandbox, loops[i]);
        CHECK(slice_ends(got, S("CPU budget exceeded")));
        CHECK_INT(state_result.end, SANDBOX_OVER_BUDGET);
        CHECK_TEXT(state_do(sandbox, "return 'next'"), "next");
    }
    sandbox_free(sandbox);
}

static void memory_ends_and_comes_back(void) {
    struct sandbox *sandbox = start();
    size_t before = sandbox->memory;
    static const struct state_case cases[] = {
        { "local t = {} for i = 1, 1e9 do t[i] = {} end", "! not enough memory" },
        { "local s = 'x' while true do s = s .. s end", "! not enough memory" },
        { "local ok, m = pcall(function() local s = 'x' while true do s = s .. s end end) "
          "local t = {} for i = 1, 1e5 do t[i] = i end return ok, m, #t",
          "false not enough memory 100000" },
    };
    STATE_CHECK(sandbox, cases);
    state_do(sandbox, "local t = {} for i = 1, 1e9 do t[i] = {} end");
    CHECK(sandbox->memory < before + 64 * 1024);
    sandbox_free(sandbox);
}

static void coroutines_work(void) {
    struct sandbox *sandbox = start();
    static const struct state_case cases[] = {
        { "local f = coroutine.wrap(function(a) local b = coroutine.yield(a + 1) return b * 2 end) "
          "return f(1), f(10)",
          "2 20" },
        { "local co = coroutine.create(function() error('x', 0) end) "
          "local ok, m = coroutine.resume(co) return ok, m, coroutine.status(co)",
          "false x dead" },
        { "local co = coroutine.create(function() end) coroutine.resume(co) "
          "return coroutine.resume(co)",
          "false cannot resume dead coroutine" },
        { "local co co = coroutine.create(function() return coroutine.resume(co) end) "
          "return coroutine.resume(co)",
          "true false cannot resume running coroutine" },
        { "local co co = coroutine.create(function() return coroutine.wrap(function() "
          "return coroutine.resume(co) end)() end) return coroutine.resume(co)",
          "true false cannot resume normal coroutine" },
        { "coroutine.create(next)", "! Lua function expected" },
        { "coroutine.wrap(function() error({}) end)()", "! error object is a table value" },
        { "coroutine.yield(1)", "! attempt to yield" },
        { "return coroutine.resume(coroutine.create(function() pcall(coroutine.yield) return 1 end))",
          "true 1" },
        { "local n = 0 for v in coroutine.wrap(function() for i = 1, 1000 do coroutine.yield(i) end "
          "end) do n = n + v end return n",
          "500500" },
    };
    STATE_CHECK(sandbox, cases);
    CHECK_INT(sandbox->c_depth, 0);
    sandbox_free(sandbox);
}

static void tables_are_sorted_and_filled(void) {
    struct sandbox *sandbox = start();
    static const struct state_case cases[] = {
        { "local t = {3, 1, 2} table.sort(t) return unpack(t)", "1 2 3" },
        { "local t = {} table.sort(t) return #t", "0" },
        { "local t = {'b', 'a', 'c', 'aa'} table.sort(t) return unpack(t)", "a aa b c" },
        { "local t = {3, 1, 2} table.sort(t, function(a, b) return a > b end) return unpack(t)",
          "3 2 1" },
        { "table.sort({1, 'a'})", "! attempt to compare" },
        { "table.sort({1, 2, 3}, function() error('own', 0) end)", "! own" },
        { "table.sort({3, 2, 1, 5}, function() return true end) return 'ends'", "ends" },
        { "for n = 0, 200 do local t = {} for i = 1, n do t[i] = math.random(50) end table.sort(t) "
          "for i = 2, n do assert(t[i - 1] <= t[i]) end end return 'sorted'",
          "sorted" },
        { "local t = {1, 2} table.insert(t, 3) table.insert(t, 1, 0) table.insert(t, 5, 9) "
          "return unpack(t)",
          "0 1 2 3 9" },
        { "table.insert({1, 2, 3}, -2^31 + 1, 0)", "! position out of bounds" },
        { "table.insert({1, 2, 3}, 5, 0)", "! position out of bounds" },
        { "table.insert({1, 2, 3}, 0/0, 0)", "! position out of bounds" },
        { "table.insert({})", "! wrong number of arguments" },
        { "return table.concat({1, 'b', 3}, '-'), table.remove({7, 8}), #table.move({1, 2}, 1, 2, 3)",
          "1-b-3 8 4" },
    };
    STATE_CHECK(sandbox, cases);
    sandbox_free(sandbox);
}

static void time_is_utc(void) {
    setenv("TZ", "America/New_York", 1);
    struct sandbox *sandbox = start();
    static const struct state_case cases[] = {
        { "return os.time{year = 2026, month = 11, day = 24}", "1795521600" },
        { "return os.time{year = 2026, month = 13, day = 0, hour = 0}", "1798675200" },
        { "return os.time{year = 1970, month = 1, day = 1, hour = 0}", "0" },
        { "return os.date('%Y-%m-%d %H:%M:%S', 1795521600)", "2026-11-24 12:00:00" },
        { "return os.date('!%H', 3600), os.date('%Z', 0)", "01 UTC" },
        { "local t = os.date('*t', 86399) return t.hour, t.min, t.sec, t.yday, t.isdst",
          "23 59 59 1 false" },
        { "os.date('%Q')", "! invalid conversion" },
        { "return os.date('%c|%x|%X|%j|%I%p|%u%w|%%|%A %B|%e', 951782400 + 13 * 3600)",
          "Tue Feb 29 13:00:00 2000|02/29/00|13:00:00|060|01PM|22|%|Tuesday February|29" },
        { "os.date('%')", "! invalid conversion" },
        { "os.date('                                                                      ')",
          "! too long" },
        { "os.date('%Y', 1e300)", "! out of bounds" },
        { "os.date('%Y', 0/0)", "! out of bounds" },
        { "os.time{year = 2026}", "! field 'month' missing" },
        { "os.time{year = 1e300, month = 1, day = 1}", "! out of bounds" },
        { "return os.difftime(5, 3), type(os.clock()), os.time() > 1.7e9", "2 number true" },
    };
    STATE_CHECK(sandbox, cases);
    sandbox_free(sandbox);
    unsetenv("TZ");
}

static void seal(lua_State *L, void *user) {
    (void)user;
    sandbox_seal_globals(L);
}

static void globals_are_strict_once_sealed(void) {
    struct sandbox *sandbox = start();
    CHECK_TEXT(state_do(sandbox, "helper = 1 return nothing"), "nil");
    sandbox_protect(sandbox, seal, NULL, 100);
    static const struct state_case cases[] = {
        { "return helper", "1" },
        { "return nothing", "! t.lua:1: undefined global 'nothing'" },
        { "other = 1", "! t.lua:1: assignment to undefined global 'other'" },
        { "helper = 2 return helper", "2" },
        { "setmetatable(_G, nil)", "! cannot change a protected metatable" },
        { "return getmetatable(_G)", "false" },
        { "return load", "! undefined global 'load'" },
    };
    STATE_CHECK(sandbox, cases);
    sandbox_free(sandbox);
}

static void random_numbers_differ_between_states(void) {
    struct sandbox *a = start(), *b = start();
    char first[64];
    struct slice got = state_do(a, "return math.random()");
    memcpy(first, got.p, got.n);
    CHECK(!slice_eq(slice(first, got.n), state_do(b, "return math.random()")));
    sandbox_free(a);
    sandbox_free(b);
}

static void open_stock_string(lua_State *L, void *user) {
    (void)user;
    lua_pushcfunction(L, luaopen_string);
    lua_pushliteral(L, LUA_STRLIBNAME);
    lua_call(L, 1, 0);
}

// Short lists of one type and all others are sorted by different means.
static void lists_of_any_size_and_type_are_sorted(void) {
    struct sandbox *sandbox = start();
    static const char *const makes[] = { "i * 7919 % 1009 - 500.5", "'k' .. i * 7919 % 1009",
                                         "('x'):rep(i % 3) .. string.char(i % 256)",
                                         "setmetatable({i * 7919 % 1009}, m)" };
    CHECK_INT(sandbox_protect(sandbox, open_stock_string, NULL, 1000).end, SANDBOX_DONE);
    for (size_t i = 0; i < sizeof makes / sizeof *makes; i++) {
        char chunk[512];
        snprintf(
            chunk, sizeof chunk,
            "local m = {__lt = function(a, b) return a[1] < b[1] end} "
            "for _, n in ipairs{0, 1, 2, 3, 100, 9000} do local t, seen = {}, {} "
            "for i = 1, n do t[i] = %s seen[t[i]] = (seen[t[i]] or 0) + 1 end table.sort(t) "
            "for i = 1, n do assert(i == 1 or not (t[i] < t[i - 1])) seen[t[i]] = seen[t[i]] - 1 end "
            "for _, left in pairs(seen) do assert(left == 0) end end return 'ok'",
            makes[i]);
        CHECK_TEXT(state_do(sandbox, chunk), "ok");
    }
    static const struct state_case odd[] = {
        { "local t = {3, 1, 'x'} table.sort(t)", "! attempt to compare" },
        { "local t = {'b', 'a', 2} table.sort(t)", "! attempt to compare" },
        { "local t = {3, 0/0, 1, 2} table.sort(t) return #t", "4" },
    };
    STATE_CHECK(sandbox, odd);
    sandbox_free(sandbox);
}

static const struct check_case cases[] = {
    { "what reaches out is gone", what_reaches_out_is_gone },
    { "protected calls answer as usual", protected_calls_answer_as_usual },
    { "nesting on the C stack ends", nesting_on_the_c_stack_ends },
    { "the budget ends every loop", the_budget_ends_every_loop },
    { "memory ends and comes back", memory_ends_and_comes_back },
    { "coroutines work", coroutines_work },
    { "tables are sorted and filled", tables_are_sorted_and_filled },
    { "time is UTC", time_is_utc },
    { "globals are strict once sealed", globals_are_strict_once_sealed },
    { "random numbers differ between states", random_numbers_differ_between_states },
    { "lists of any size and type are sorted", lists_of_any_size_and_type_are_sorted },
};
CHECK_MAIN(cases)
