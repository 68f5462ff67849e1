// Parts of sandbox_host: each leaves its module's table as a global.
#ifndef TUMA_SANDBOX_HOST_INNER_H
#define TUMA_SANDBOX_HOST_INNER_H

#include <lua.h>

#include "sandbox_text.h"

void host_open_bytes(lua_State *L); // hash, base64
void host_open_url(lua_State *L);
void host_open_log(lua_State *L); // log, print
void host_open_phone(lua_State *L);
void host_open_store(lua_State *L);
void host_open_time(lua_State *L);

// Makes a table of functions the global `name`.
void host_set_module(lua_State *L, const char *name, const struct sandbox_function *functions,
                     size_t count);
// Raises while the file is being loaded: nothing it does then may have an effect.
void host_refuse_load(lua_State *L, const char *what);

#endif
