// Values as text, without addresses and without calling Lua unguarded.
#ifndef TUMA_SANDBOX_TEXT_H
#define TUMA_SANDBOX_TEXT_H

#include <lua.h>

#include "slice.h"

// What tostring does: pushes the text of the value at `index`. Calls its
// __tostring through sandbox_call; a table, function or userdata without one is
// just its type's name, since an address would tell a script about the process.
void sandbox_push_text(lua_State *L, int index);

// What os.date makes of Unix seconds: pushes a text, or a table for "*t". Raises for
// a format over 64 bytes or with a conversion that strftime of the C locale lacks.
void sandbox_push_date(lua_State *L, double when, struct slice format);

// The string argument at `arg`, or the usual argument error.
struct slice sandbox_check_slice(lua_State *L, int arg);
static inline void sandbox_push_slice(lua_State *L, struct slice s) {
    lua_pushlstring(L, s.p ? s.p : "", s.n);
}

// The index that still names the same slot after pushes.
static inline int sandbox_absolute(lua_State *L, int index) {
    return index < 0 && index > LUA_REGISTRYINDEX ? lua_gettop(L) + index + 1 : index;
}

// Sets functions as fields of the table on top. A closed table of names, so
// that the API test can compare it with lua/api.lua.
struct sandbox_function {
    const char *name;
    lua_CFunction call;
};
void sandbox_set_functions(lua_State *L, const struct sandbox_function *functions, size_t count);

#endif
