// The child side: what runs inside a script process. One lua_State a webhook
// version, made of checked functions only, each call under a CPU budget and a
// memory cap. Nothing here ever runs in the process that owns the store.
#ifndef TUMA_SANDBOX_H
#define TUMA_SANDBOX_H

#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>
#include <stdbool.h>
#include <stdint.h>

#include "arena.h"
#include "event.h"
#include "hook.h"
#include "model.h"
#include "slice.h"

enum {
    SANDBOX_C_DEPTH_MAX = 180, // C functions that call Lua, nested (scripting.md)
    SANDBOX_POLL_STEPS = 1024, // a C loop polls the budget this often
    SANDBOX_SOURCE_MAX = 256 * 1024,
    SANDBOX_STRING_MAX = 8 * 1024 * 1024, // what string.rep may make
    SANDBOX_ERROR_MAX = 4 * 1024,
    SANDBOX_KV_BYTES_MAX = 1024 * 1024, // a webhook's store, keys and values
    SANDBOX_KV_KEY_MAX = 256,
    SANDBOX_KV_VALUE_MAX = 64 * 1024,
};

// One webhook's state. Found from a lua_State by sandbox_of.
struct sandbox {
    lua_State *L;
    struct hook *hook;                      // NULL while its file is being loaded
    size_t memory, memory_peak, memory_max; // counted by the allocator
    int c_depth;                            // C functions that called Lua, now
    bool over;    // the budget is used up: sticky until the outermost call returns
    bool loading; // top level of the file runs: store, secret and the like are refused

    // The call that runs now; all of it is gone when it returns.
    struct arena *arena; // results live here
    const struct event *event;
    uint64_t call_serial;      // userdata made under another serial are stale
    struct script_kv *changes; // store writes of this call, newest first
    unsigned log_lines;        // written by this call
    void *kv;                  // struct sandbox_kv: the webhook's store, owned by this process
    void *host;                // what sandbox.c keeps besides
};

struct sandbox *sandbox_of(lua_State *L);

// Raises "CPU budget exceeded" (with the file:line of the running Lua function)
// when the budget is used up. Every C function that loops calls it once in
// SANDBOX_POLL_STEPS steps.
void sandbox_poll(lua_State *L);
// Around every call from C into Lua, metamethods included: raises "C stack
// overflow" past SANDBOX_C_DEPTH_MAX. sandbox_call is lua_call between both;
// the depth is put right when an error passes through (checked pcall restores it).
void sandbox_call(lua_State *L, int nargs, int nresults);

// The libraries. Each opener leaves the stack as it was and sets globals or
// fields of existing tables. They run inside a protected call.
void sandbox_open_base(
    lua_State *L); // base, coroutine, table, math, os, bit: kept, replaced, removed
void sandbox_open_string(lua_State *L); // string.*, with checked pattern functions
void sandbox_open_host(lua_State *L);   // json log store hash base64 url phone time secret; require
void sandbox_open_event(lua_State *L);  // the event and request views

// JSON with guards, shared by the `json` module and the views. Encodes the value at
// `index` (≤ 50,000 values, depth ≤ 64, ≤ 1 MiB) onto the stack as a string, or raises.
void sandbox_json_encode(lua_State *L, int index);
// Decodes `text` onto the stack, or raises "…: bad JSON at byte N: …".
void sandbox_json_decode(lua_State *L, struct slice text);

#endif
