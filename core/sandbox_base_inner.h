// Parts of sandbox_base: each replaces or adds functions of one global table.
#ifndef TUMA_SANDBOX_BASE_INNER_H
#define TUMA_SANDBOX_BASE_INNER_H

#include <lua.h>

void base_open_coroutine(lua_State *L);
void base_open_table(lua_State *L);
void base_open_os(lua_State *L);

#endif
