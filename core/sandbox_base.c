// The globals of a script: stock LuaJIT's where they are harmless, our own where
// stock ones can spin, recurse on the C stack or swallow the budget error, and
// nil where they reach out of the state. scripting.md has the measured reasons.
#include "sandbox_base_inner.h"

#include "sandbox.h"
#include "sandbox_text.h"

// One level deeper on the C stack for as long as Lua runs below.
static struct sandbox *enter(lua_State *L) {
    struct sandbox *sandbox = sandbox_of(L);
    if (sandbox->c_depth >= SANDBOX_C_DEPTH_MAX) luaL_error(L, "C stack overflow");
    sandbox->c_depth++;
    return sandbox;
}

// lua_pcall that no script can hide behind: while the budget is used up the
// error goes on. Restores the C depth that the error jumped over.
static int call_protected(lua_State *L, int nargs) {
    struct sandbox *sandbox = enter(L);
    int depth = sandbox->c_depth - 1;
    int status = lua_pcall(L, nargs, LUA_MULTRET, 0);
    sandbox->c_depth = depth;
    if (status && sandbox->over) lua_error(L);
    // LuaJIT has no emergency collection: without this the next allocation may
    // fail again although most of the heap is garbage.
    if (status == LUA_ERRMEM) lua_gc(L, LUA_GCCOLLECT, 0);
    return status;
}

static int base_pcall(lua_State *L) {
    luaL_checkany(L, 1);
    int status = call_protected(L, lua_gettop(L) - 1);
    luaL_checkstack(L, 1, "too many results");
    lua_pushboolean(L, !status);
    lua_insert(L, 1);
    return lua_gettop(L);
}

// The handler runs after unwinding, as an ordinary call: it can be interrupted,
// and finds the whole stack free. There is no debug library that would miss it.
static int base_xpcall(lua_State *L) {
    luaL_checkany(L, 2);
    lua_pushvalue(L, 2);
    lua_insert(L, 1); // handler, f, handler, args
    lua_remove(L, 3); // handler, f, args
    int status = call_protected(L, lua_gettop(L) - 2);
    if (status) { // handler, error
        lua_pushvalue(L, 1);
        lua_insert(L, 2);
        if (call_protected(L, 1)) {
            lua_settop(L, 1);
            lua_pushliteral(L, "error in error handling");
        }
    }
    lua_pushboolean(L, !status);
    lua_replace(L, 1);
    return lua_gettop(L);
}

static int base_tostring(lua_State *L) {
    luaL_checkany(L, 1);
    sandbox_push_text(L, 1);
    return 1;
}

// pairs also walks our views, which say how by __pairs; their metatables cannot
// be reached by scripts, so nothing of a script runs here.
static int base_pairs(lua_State *L) {
    if (lua_type(L, 1) == LUA_TUSERDATA && luaL_getmetafield(L, 1, "__pairs")) {
        lua_pushvalue(L, 1);
        lua_call(L, 1, 3);
        return 3;
    }
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_pushvalue(L, 1);
    lua_pushnil(L);
    return 3;
}

static int missing_global(lua_State *L) {
    return luaL_error(L, "undefined global '%s'",
                      lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : "?");
}

static int refused_global(lua_State *L) {
    return luaL_error(L, "assignment to undefined global '%s': declare it with local",
                      lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : "?");
}

void sandbox_seal_globals(lua_State *L) {
    lua_createtable(L, 0, 3);
    lua_pushcfunction(L, missing_global);
    lua_setfield(L, -2, "__index");
    lua_pushcfunction(L, refused_global);
    lua_setfield(L, -2, "__newindex");
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
    lua_setmetatable(L, LUA_GLOBALSINDEX);
}

static void open_stock(lua_State *L, lua_CFunction open, const char *name) {
    lua_pushcfunction(L, open);
    lua_pushstring(L, name);
    lua_call(L, 1, 0);
}

static void clear_fields(lua_State *L, const char *const *names) {
    for (; *names; names++) {
        lua_pushnil(L);
        lua_setfield(L, -2, *names);
    }
}

static void open_globals(lua_State *L) {
    static const char *const gone[] = { "load",    "loadstring", "loadfile", "dofile",
                                        "require", "module",     "newproxy", "collectgarbage",
                                        "gcinfo",  "getfenv",    "setfenv",  NULL };
    static const struct sandbox_function own[] = { { "pcall", base_pcall },
                                                   { "xpcall", base_xpcall },
                                                   { "tostring", base_tostring } };
    lua_pushvalue(L, LUA_GLOBALSINDEX);
    clear_fields(L, gone);
    sandbox_set_functions(L, own, sizeof own / sizeof *own);
    lua_getfield(L, -1, "next");
    lua_pushcclosure(L, base_pairs, 1);
    lua_setfield(L, -2, "pairs");
    lua_pop(L, 1);
}

// Numbers differ from state to state and start to start, unless the script seeds.
static void seed_random(lua_State *L) {
    lua_getglobal(L, "math");
    lua_getfield(L, -1, "randomseed");
    lua_pushnumber(L, (lua_Number)(sandbox_of(L)->seed >> 11));
    lua_call(L, 1, 0);
    lua_pop(L, 1);
}

void sandbox_open_base(lua_State *L) {
    open_stock(L, luaopen_base, "");
    open_stock(L, luaopen_table, LUA_TABLIBNAME);
    open_stock(L, luaopen_math, LUA_MATHLIBNAME);
    open_stock(L, luaopen_bit, LUA_BITLIBNAME);
    open_globals(L);
    base_open_coroutine(L);
    base_open_table(L);
    base_open_os(L);
    seed_random(L);
}
