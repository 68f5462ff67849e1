// Coroutines that count on the C stack: every resume is a C call, so a chain of
// them must end at the same depth as other nesting. Only Lua functions become
// coroutines; a C function inside one could be suspended half-way.
#include "sandbox.h"
#include "sandbox_base_inner.h"
#include "sandbox_text.h"

static lua_State *check_thread(lua_State *L) {
    lua_State *co = lua_tothread(L, 1);
    luaL_argcheck(L, co, 1, "coroutine expected");
    return co;
}

static int coroutine_create(lua_State *L) {
    luaL_argcheck(L, lua_isfunction(L, 1) && !lua_iscfunction(L, 1), 1, "Lua function expected");
    lua_State *co = lua_newthread(L);
    lua_pushvalue(L, 1);
    lua_xmove(L, co, 1);
    return 1;
}

// Why `co` cannot be resumed, or NULL.
static const char *not_resumable(lua_State *L, lua_State *co) {
    lua_Debug frame;
    if (L == co) return "cannot resume running coroutine";
    if (lua_status(co) == LUA_YIELD) return NULL;
    if (lua_status(co) != 0) return "cannot resume dead coroutine";
    if (lua_getstack(co, 0, &frame)) return "cannot resume normal coroutine";
    return lua_gettop(co) ? NULL : "cannot resume dead coroutine";
}

struct room {
    lua_State *co;
    int n;
};

static int make_room(lua_State *L) {
    const struct room *room = lua_touserdata(L, 1);
    lua_pushboolean(L, lua_checkstack(room->co, room->n));
    return 1;
}

// Is there room for `n` values more on the stack of `co`? A stack that cannot grow
// raises in its own coroutine, and whoever catches that here would take a value of ours
// for the message. A few values nearly always fit.
static bool has_room(lua_State *L, lua_State *co, int n) {
    enum { FEW = 4 };
    struct room room = { co, n };
    if (n <= FEW) return lua_checkstack(co, n) != 0;
    lua_pushcfunction(L, make_room);
    lua_pushlightuserdata(L, &room);
    bool there = lua_pcall(L, 1, 1, 0) == 0 && lua_toboolean(L, -1);
    lua_pop(L, 1);
    return there;
}

// Resumes `co` with the top `nargs` values of L and leaves its results or the
// error on L. Returns how many results there are, or -1.
static int resume(lua_State *L, lua_State *co, int nargs) {
    const char *why = not_resumable(L, co);
    struct sandbox *sandbox = sandbox_of(L);
    if (!why && !has_room(L, co, nargs + 1)) why = "too many arguments to resume";
    if (why) {
        lua_pushstring(L, why);
        return -1;
    }
    if (sandbox->c_depth >= SANDBOX_C_DEPTH_MAX) luaL_error(L, "C stack overflow");
    int depth = sandbox->c_depth++;
    lua_xmove(L, co, nargs);
    int status = lua_resume(co, nargs);
    sandbox->c_depth = depth;
    if (status && status != LUA_YIELD) {
        lua_xmove(co, L, 1);
        if (sandbox->over) lua_error(L);
        return -1;
    }
    int results = lua_gettop(co);
    luaL_checkstack(L, results + 1, "too many results to resume");
    lua_xmove(co, L, results);
    return results;
}

static int coroutine_resume(lua_State *L) {
    lua_State *co = check_thread(L);
    int results = resume(L, co, lua_gettop(L) - 1);
    lua_pushboolean(L, results >= 0);
    int count = results < 0 ? 1 : results;
    lua_insert(L, -count - 1);
    return count + 1;
}

static int wrapped(lua_State *L) {
    lua_State *co = lua_tothread(L, lua_upvalueindex(1));
    int results = resume(L, co, lua_gettop(L));
    if (results < 0) return lua_error(L);
    return results;
}

static int coroutine_wrap(lua_State *L) {
    coroutine_create(L);
    lua_pushcclosure(L, wrapped, 1);
    return 1;
}

void base_open_coroutine(lua_State *L) {
    static const struct sandbox_function own[] = { { "create", coroutine_create },
                                                   { "resume", coroutine_resume },
                                                   { "wrap", coroutine_wrap } };
    lua_getglobal(L, "coroutine");
    sandbox_set_functions(L, own, sizeof own / sizeof *own);
    lua_pop(L, 1);
}
