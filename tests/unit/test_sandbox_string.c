// string.*: the pattern functions answer what stock LuaJIT answers, over fixed
// cases and over random patterns; and none of them outlives the budget.
#include "check.h"
#include "script_state.h"

static void open_strings(lua_State *L, void *user) {
    (void)user;
    lua_pushcfunction(L, luaopen_base);
    lua_call(L, 0, 0);
    sandbox_open_string(L);
}

static struct sandbox *start(void) {
    static bool ticking;
    if (!ticking) ticking = sandbox_clock_start();
    struct sandbox *sandbox = sandbox_new(STATE_MEMORY);
    CHECK_INT(sandbox_protect(sandbox, open_strings, NULL, 1000).end, SANDBOX_DONE);
    return sandbox;
}

static void patterns_find_match_and_replace(void) {
    struct sandbox *sandbox = start();
    static const struct state_case cases[] = {
        { "return ('hello'):find('l')", "3 3" },
        { "return ('hello'):find('l', -1)", "nil" },
        { "return ('a.b'):find('.', 1, true), ('a.b'):find('%.')", "2 2 2" },
        { "return (''):find(''), ('abc'):find('', 10), ('abc'):find('', 4)", "1 4 4 3" },
        { "return ('key = value'):match('^(%w+)%s*=%s*(%w+)$')", "key value" },
        { "return ('2026-11-24'):match('(%d+)-(%d+)-(%d+)')", "2026 11 24" },
        { "return ('abc'):match('()b()')", "2 3" },
        { "return ('THE (quick) fox'):find('%((%a+)%)')", "5 11 quick" },
        { "return ('f(a(b)c)d'):match('%b()')", "(a(b)c)" },
        { "return ('THE (quick) fox'):gsub('%f[%a]%a+', 'w')", "w (w) w 3" },
        { "return ('x=1, y=2'):gsub('(%w)=(%w)', '%2=%1')", "1=x, 2=y 2" },
        { "return ('abc'):gsub('', '-')", "-a-b-c- 4" },
        { "return ('abc'):gsub('%w', '%0%0', 2)", "aabbc 2" },
        { "return ('hello world'):gsub('o', {o = 0})", "hell0 w0rld 2" },
        { "return ('abc'):gsub('%w', function(c) if c == 'b' then return 'B' end end)", "aBc 3" },
        { "return ('aXb'):gsub('%u', false)", "! string/function/table expected" },
        { "return ('aXb'):gsub('%u', function() return {} end)", "! invalid replacement value" },
        { "return ('^a'):match('^^a'), ('aa'):gsub('^a', 'b')", "^a ba 1" },
        { "return ('a$b'):match('a$b'), ('ab'):match('b$')", "a$b b" },
        { "return ('abab'):match('(ab)%1')", "ab" },
        { "return ('[x]'):match('[]]'), ('a-b'):match('[a%-]+'), ('-'):match('[a-]')", "] a- -" },
        { "return ('a\\0b'):find('%z'), ('a\\0b'):find('\\0'), #('a\\0b'):match('.+')", "2 2 3" },
        { "local n = 0 for k, v in ('a=1,b=2'):gmatch('(%w)=(%w)') do n = n + v end return n",
          "3" },
        { "local t = '' for w in ('one two'):gmatch('%a*') do t = t .. '<' .. w .. '>' end return t",
          "<one><><two><>" },
        { "return ('x'):rep(3), ('x'):rep(3, '-'), ('x'):rep(0), ('x'):rep(-5), (''):rep(1e9)",
          "xxx x-x-x   " },
        { "return ('%5.1f|%d|%s|%q|%%|%x'):format(3.14159, 42, 'x', 'a\\nb', 255)",
          "  3.1|42|x|\"a\\\nb\"|%|ff" },
        { "return ('%s %s %s'):format({}, true, nil)", "table true nil" },
        { "return ('%-5s|%s'):format(1, setmetatable({}, {__tostring = function() return 'me' end}))",
          "1    |me" },
        { "return ('%p'):format({})", "! invalid option '%p'" },
        { "return ('%5p'):format({})", "! invalid option '%p'" },
        { "(' %s'):format()", "! bad argument #2" },
        { "return ('x'):upper(), ('abc'):sub(2), ('abc'):reverse(), ('abc'):byte(1, -1)",
          "X bc cba 97 98 99" },
        { "return string.dump, string.gfind", "nil nil" },
        { "return getmetatable('')", "false" },
        { "getmetatable('').__index = 1", "! attempt to index a boolean value" },
    };
    STATE_CHECK(sandbox, cases);
    sandbox_free(sandbox);
}

static void malformed_patterns_are_named(void) {
    struct sandbox *sandbox = start();
    static const struct state_case cases[] = {
        { "(''):match('%')", "! malformed pattern (ends with '%')" },
        { "(''):match('[a')", "! malformed pattern (missing ']')" },
        { "(''):match('[]')", "! malformed pattern (missing ']')" },
        { "(''):match('[^]')", "! malformed pattern (missing ']')" },
        { "(''):match('[a%')", "! malformed pattern (missing ']')" },
        { "(''):match('%f')", "! missing '[' after '%f' in pattern" },
        { "(''):match('%b')", "! unbalanced pattern" },
        { "(''):match('%bx')", "! unbalanced pattern" },
        { "(''):match('(')", "! unfinished capture" },
        { "(''):match(')')", "! invalid pattern capture" },
        { "(''):match('%1')", "! invalid capture index" },
        { "(''):match('(%1)')", "! invalid capture index" },
        { "(''):match(('()'):rep(33))", "! too many captures" },
        { "('x'):gsub('x', '%2')", "! invalid capture index" },
        { "('x'):gsub('x', '%')", "! invalid use of '%'" },
        { "('x'):rep(200):match(('x?'):rep(200))", "! pattern too complex" },
        { "string.rep('x', 1e10)", "! resulting string too large" },
        { "string.rep('', 1e9, 'abc')", "! resulting string too large" },
        { "string.rep('x', 1e300)", "! resulting string too large" },
        { "return ('x'):rep(0/0)", "" },
        { "return #('x'):rep(4 * 1024 * 1024)", "4194304" },
    };
    STATE_CHECK(sandbox, cases);
    sandbox_free(sandbox);
}

static void no_search_outlives_the_budget(void) {
    struct sandbox *sandbox = start();
    static const char *const loops[] = {
        "('a'):rep(40):find(('a-'):rep(30) .. 'b')",
        "local s = (' '):rep(20000) .. 'x' for i = 1, 50 do s:match('^(.-)%s*$') end",
        "for i = 1, 1e9 do ('x'):rep(100000):find('y*y*y*y*y*z') end",
        "(('('):rep(50000)):gsub('%b()', '')",
        "local s = ('ab'):rep(100000) while true do s:gsub('b', 'c') end",
        "local s = ('ab'):rep(100000) s:gsub('b', function() while true do end end)",
        "local s = ('ab'):rep(10) s:gsub('b', setmetatable({}, {__index = function() while true do "
        "end end}))",
        "string.format('%s', setmetatable({}, {__tostring = function() while true do end end}))",
        "for w in ('x'):rep(100000):gmatch('x*x*x*x*x*y') do end",
        "local s = ('x'):rep(100000) s:match('(.*).-%1%1%1y')",
        "local s = ('x'):rep(1000000) .. 'y' while true do s:find('y', 1, true) end",
    };
    for (size_t i = 0; i < sizeof loops / sizeof *loops; i++) {
        struct slice got = state_do(sandbox, loops[i]);
        if (!slice_ends(got, S("CPU budget exceeded")))
            printf("# %s: %.*s\n", loops[i], SLICE_FMT(got));
        CHECK_INT(state_result.end, SANDBOX_OVER_BUDGET);
        CHECK_TEXT(state_do(sandbox, "return 'next'"), "next");
    }
    sandbox_free(sandbox);
}

static void a_long_needle_takes_linear_time(void) {
    struct sandbox *sandbox = start();
    CHECK_TEXT(state_do(sandbox, "local half = ('a'):rep(2^20) "
                                 "return ('a'):rep(2^21):find(half .. 'b', 1, true)"),
               "nil");
    sandbox_free(sandbox);
}

static void callbacks_end_at_the_depth(void) {
    struct sandbox *sandbox = start();
    static const struct state_case cases[] = {
        { "local function f(s) return (s:gsub('.', f)) end f('x')", "! C stack overflow" },
        { "local t = setmetatable({}, {}) "
          "local function f(_, s) return (s:gsub('.', t)) end "
          "t = setmetatable(t, {__index = f}) f(t, 'x')",
          "! C stack overflow" },
        { "local t t = setmetatable({}, {__tostring = function() return ('%s'):format(t) end}) "
          "return ('%s'):format(t)",
          "! C stack overflow" },
    };
    STATE_CHECK(sandbox, cases);
    sandbox_free(sandbox);
}

// --- against the stock library ---

static unsigned random_state = 7;
static unsigned random_below(unsigned n) {
    random_state = random_state * 1103515245u + 12345u;
    return (random_state >> 16) % n;
}

static struct slice random_text(char *out, const char *const *pieces, unsigned count,
                                unsigned most) {
    size_t n = 0;
    for (unsigned i = random_below(most + 1); i > 0; i--) {
        const char *piece = pieces[random_below(count)];
        memcpy(out + n, piece, strlen(piece));
        n += strlen(piece);
    }
    return slice(out, n);
}

// Calls string.NAME(source, pattern[, replacement]) and writes all results, or "error".
static size_t call_string(lua_State *L, const char *name, struct slice source, struct slice pattern,
                          struct slice replacement, char *out, size_t room) {
    lua_settop(L, 0);
    lua_getglobal(L, "string");
    lua_getfield(L, 1, name);
    lua_remove(L, 1);
    lua_pushlstring(L, source.p, source.n);
    lua_pushlstring(L, pattern.p, pattern.n);
    if (replacement.p) lua_pushlstring(L, replacement.p, replacement.n);
    if (lua_pcall(L, replacement.p ? 3 : 2, LUA_MULTRET, 0))
        return (size_t)snprintf(out, room, "error");
    size_t n = 0;
    for (int i = 1; i <= lua_gettop(L); i++) {
        const char *text = lua_isnil(L, i) ? "nil" : lua_tostring(L, i);
        n += (size_t)snprintf(out + n, room - n, "<%s>", text ? text : "?");
    }
    return n;
}

static const char gmatch_all[] =
    "function string.all(s, p) local t, n = {}, 0 for a, b in s:gmatch(p) do n = n + 1 "
    "t[n] = tostring(a) .. ':' .. tostring(b) if n == 50 then break end end "
    "return table.concat(t, ',') end";

static void random_patterns_answer_as_stock(void) {
    static const char *const letters[] = { "a", "b", "c", "1", " ", "-", "A", "(", ")", "]" };
    static const char *const items[] = {
        "a",  "b",    ".",    "%a",    "%d",    "%s",   "%w",   "%l",    "%u",     "%x",
        "%p", "[ab]", "[^a]", "[a-c]", "[%w-]", "[]a]", "*",    "+",     "-",      "?",
        "(",  ")",    "()",   "$",     "^",     "%1",   "%b()", "%f[a]", "%f[%W]", "%A",
        "%S", "%%",   "[%]]", "c",     "1",     "%-",   "[a-]", "%(",    "%)",
    };
    static const char *const replacements[] = { "x", "%0", "%1", "%%", "%2", "-" };
    static const char *const names[] = { "find", "match", "gsub", "all" };
    struct sandbox *sandbox = start();
    lua_State *stock = luaL_newstate(), *own = sandbox->L;
    luaL_openlibs(stock);
    CHECK_INT(luaL_dostring(stock, gmatch_all), 0);
    int top = lua_gettop(own); // sandbox_protect's own slots: put back at the end
    lua_State *L = lua_newthread(own);
    lua_pushcfunction(L, luaopen_table);
    lua_call(L, 0, 0);
    CHECK_INT(luaL_dostring(L, gmatch_all), 0);
    unsigned compared = 0;
    for (int i = 0; i < 200000; i++) {
        char a[128], b[128], c[32], got[2048], want[2048];
        struct slice source = random_text(a, letters, 10, 12);
        struct slice pattern = random_text(b, items, sizeof items / sizeof *items, 6);
        const char *name = names[random_below(4)];
        struct slice replacement = slice(NULL, 0);
        if (!strcmp(name, "gsub")) replacement = random_text(c, replacements, 6, 3);
        size_t got_n = call_string(L, name, source, pattern, replacement, got, sizeof got);
        size_t want_n = call_string(stock, name, source, pattern, replacement, want, sizeof want);
        compared += want_n != 5;
        if (slice_eq(slice(got, got_n), slice(want, want_n))) continue;
        printf("# %s('%.*s', '%.*s', '%.*s')\n", name, SLICE_FMT(source), SLICE_FMT(pattern),
               SLICE_FMT(replacement));
        CHECK_SLICE(slice(got, got_n), slice(want, want_n));
        if (check_failures > 20) break;
    }
    CHECK(compared > 50000);
    lua_settop(own, top);
    lua_close(stock);
    sandbox_free(sandbox);
}

static const struct check_case cases[] = {
    { "patterns find, match and replace", patterns_find_match_and_replace },
    { "malformed patterns are named", malformed_patterns_are_named },
    { "no search outlives the budget", no_search_outlives_the_budget },
    { "a long needle takes linear time", a_long_needle_takes_linear_time },
    { "callbacks end at the depth", callbacks_end_at_the_depth },
    { "random patterns answer as stock", random_patterns_answer_as_stock },
};
CHECK_MAIN(cases)
