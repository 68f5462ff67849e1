// See the header.
#include "sandbox_text.h"

#include "sandbox.h"

void sandbox_push_text(lua_State *L, int index) {
    index = sandbox_absolute(L, index);
    luaL_checkstack(L, 4, "too many nested calls");
    if (luaL_getmetafield(L, index, "__tostring")) {
        lua_pushvalue(L, index);
        sandbox_call(L, 1, 1);
        if (!lua_isstring(L, -1)) luaL_error(L, "'__tostring' must return a string");
        return;
    }
    switch (lua_type(L, index)) {
    case LUA_TNUMBER:
    case LUA_TSTRING:
        lua_pushvalue(L, index);
        lua_tostring(L, -1);
        break;
    case LUA_TBOOLEAN: lua_pushstring(L, lua_toboolean(L, index) ? "true" : "false"); break;
    case LUA_TLIGHTUSERDATA: lua_pushliteral(L, "null"); break;
    default: lua_pushstring(L, luaL_typename(L, index));
    }
}

struct slice sandbox_check_slice(lua_State *L, int arg) {
    size_t n;
    const char *p = luaL_checklstring(L, arg, &n);
    return slice(p, n);
}

void sandbox_set_functions(lua_State *L, const struct sandbox_function *functions, size_t count) {
    for (size_t i = 0; i < count; i++) {
        lua_pushcfunction(L, functions[i].call);
        lua_setfield(L, -2, functions[i].name);
    }
}
