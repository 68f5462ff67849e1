// json.encode and json.decode: exact numbers, stable order, guarded size.
#include "check.h"
#include "sandbox_marker.h"
#include "script_state.h"

static void open_json(lua_State *L, void *user) {
    (void)user;
    static const lua_CFunction stock[] = { luaopen_base, luaopen_table, luaopen_string };
    for (size_t i = 0; i < 3; i++) {
        lua_pushcfunction(L, stock[i]);
        lua_call(L, 0, 0);
    }
    lua_settop(L, 0);
    sandbox_marker_init(sandbox_of(L));
    sandbox_open_json(L);
}

static struct sandbox *start(void) {
    static bool ticking;
    if (!ticking) ticking = sandbox_clock_start();
    struct sandbox *sandbox = sandbox_new(STATE_MEMORY);
    CHECK_INT(sandbox_protect(sandbox, open_json, NULL, 1000).end, SANDBOX_DONE);
    return sandbox;
}

static void values_become_json(void) {
    struct sandbox *sandbox = start();
    static const struct state_case cases[] = {
        { "return json.encode{1, 'two', true, json.null, {}}", "[1,\"two\",true,null,{}]" },
        { "return json.encode{b = 1, a = {c = {1.5}}, [''] = 0}",
          "{\"\":0,\"a\":{\"c\":[1.5]},\"b\":1}" },
        { "return json.encode(json.array()), json.encode(json.array{}), json.encode{}",
          "[] [] {}" },
        { "return json.encode(nil), json.encode(false)", "null false" },
        { "return json.encode(123456789012345), json.encode(-9007199254740992)",
          "123456789012345 -9007199254740992" },
        { "return json.encode(0), json.encode(-0/1), json.encode(-7), json.encode(10), json.encode(1e15)",
          "0 -0 -7 10 1000000000000000" },
        { "return json.encode(0.1), json.encode(0.30000000000000004), json.encode(1e300)",
          "0.1 0.30000000000000004 1e+300" },
        { "return json.encode('a\"\\\\/\\n\\1\\127\\0')", "\"a\\\"\\\\/\\n\\u0001\x7f\\u0000\"" },
        { "return json.encode('\xC3\xA9\xFF')", "\"\xC3\xA9\xEF\xBF\xBD\"" },
        { "json.encode(0/0)", "! NaN is no JSON number" },
        { "json.encode(1/0)", "! infinity is no JSON number" },
        { "json.encode{1, 2, a = 3}", "! both named and numbered" },
        { "json.encode{1, nil, 3}", "! has holes" },
        { "json.encode{[5] = 1}", "! has holes" },
        { "json.encode{[1.5] = 1}", "! has holes" },
        { "json.encode{[true] = 1}", "! a boolean cannot be a key" },
        { "json.encode(print)", "! a function cannot be encoded" },
        { "json.encode()", "! value expected" },
        { "local t = {} for i = 1, 100 do t['k' .. i] = i end return #json.encode(t)", "885" },
    };
    STATE_CHECK(sandbox, cases);
    sandbox_free(sandbox);
}

static void json_becomes_values(void) {
    struct sandbox *sandbox = start();
    static const struct state_case cases[] = {
        { "local v = json.decode('{\"a\":[1,{\"b\":\"c\\\\n\\\\u00e9\"}],\"t\":true,\"n\":null}') "
          "return v.a[1], v.a[2].b, v.t, v.n == json.null",
          "1 c\n\xC3\xA9 true true" },
        { "return json.decode('9007199254740993'), json.decode('-123456789012345678')",
          "9007199254740993 -123456789012345678" },
        { "return type(json.decode('9007199254740993')), type(json.decode('9007199254740991'))",
          "string number" },
        { "return json.encode(json.decode('123456789012345'))", "123456789012345" },
        { "return json.decode('1e999'), json.decode('0.25'), json.decode('-0'), json.decode('1E2')",
          "1e999 0.25 -0 100" },
        { "return json.encode(json.decode(' [ ] ')), json.encode(json.decode('{ }'))", "[] {}" },
        { "return json.encode(json.decode('{\"a\" : [ 1 , [ ] , { } ] }'))", "{\"a\":[1,[],{}]}" },
        { "return json.decode('{\"a\":1,\"a\":2}').a", "2" },
        { "return json.decode('\"x\"'), json.decode(' true ')", "x true" },
        { "json.decode('{\"a\":}')", "! t.lua:1: bad JSON: " },
        { "json.decode('')", "! bad JSON: " },
        { "json.decode('0x10')", "! bad JSON" },
        { "json.decode('nan')", "! bad JSON" },
        { "json.decode('007')", "! bad JSON" },
        { "json.decode('[1,]')", "! bad JSON" },
        { "json.decode('\"\xFF\"')", "! bad JSON" },
        { "json.decode({})", "! string expected" },
        { "return pcall(json.decode, '[')", "false bad JSON: the text ends too early (byte 1)" },
    };
    STATE_CHECK(sandbox, cases);
    sandbox_free(sandbox);
}

static void sizes_are_guarded(void) {
    struct sandbox *sandbox = start();
    static const struct state_case cases[] = {
        { "local a = {} for i = 1, 40 do a = {a, a} end json.encode(a)",
          "! more than 50000 values" },
        { "local a = {} a.a = a json.encode(a)", "! nested deeper than 64" },
        { "json.decode(('['):rep(100000))", "! bad JSON" },
        { "json.decode(('['):rep(65) .. (']'):rep(65))", "! bad JSON" },
        { "return #json.decode(('['):rep(64) .. (']'):rep(64))", "1" },
        { "json.encode(('x'):rep(2^20))", "! result too large" },
        { "json.decode('\"' .. ('x'):rep(2^20) .. '\"')", "! over 1048576 bytes" },
        { "json.decode('[' .. ('1,'):rep(50000) .. '1]')", "! bad JSON" },
        { "local t = {} for i = 1, 60000 do t[i] = i end json.encode(t)", "! more than 50000" },
        { "local t, k = {}, ('k'):rep(100000) for i = 1, 20 do t[k .. i] = i end json.encode(t)",
          "! over 1048576 bytes" },
        { "local s = json.encode(json.decode('[' .. ('1,'):rep(40000) .. '1]')) return #s",
          "80003" },
    };
    STATE_CHECK(sandbox, cases);
    state_do(sandbox,
             "local s = '[' .. ('1,'):rep(40000) .. '1]' while true do json.decode(s) end");
    CHECK_INT(state_result.end, SANDBOX_OVER_BUDGET);
    state_do(sandbox, "local t = json.decode('[' .. ('1,'):rep(40000) .. '1]') "
                      "while true do json.encode(t) end");
    CHECK_INT(state_result.end, SANDBOX_OVER_BUDGET);
    sandbox_free(sandbox);
}

static void running_out_of_memory_leaks_nothing(void) {
    struct sandbox *sandbox = start();
    for (int i = 0; i < 20; i++)
        CHECK_TEXT(state_do(sandbox,
                            "local s = '[' .. ('{\"a\":{}},'):rep(16000) .. '1]' local keep = {} "
                            "for i = 1, 100 do keep[i] = json.decode(s) end"),
                   "! not enough memory");
    CHECK(sandbox->memory < 256 * 1024);
    sandbox_free(sandbox);
}

static const struct check_case cases[] = {
    { "values become JSON", values_become_json },
    { "JSON becomes values", json_becomes_values },
    { "sizes are guarded", sizes_are_guarded },
    { "running out of memory leaks nothing", running_out_of_memory_leaks_nothing },
};
CHECK_MAIN(cases)
