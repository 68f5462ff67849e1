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
#include "request.h"
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
    SANDBOX_KV_CHANGES_MAX = 256, // keys one call may change
    SANDBOX_LOG_LINES = 100,      // a call
    SANDBOX_LOG_LINE_MAX = 2 * 1024,
    SANDBOX_REFS = 16,
};

struct sandbox_kv;      // sandbox_kv.h
struct sandbox_request; // sandbox_event.c

// One webhook's state. Found from a lua_State by sandbox_of.
struct sandbox {
    lua_State *L;
    struct hook *hook;                      // NULL while its file is being loaded
    size_t memory, memory_peak, memory_max; // counted by the allocator
    int c_depth;                            // C functions that called Lua, now
    volatile bool over; // the budget is used up: sticky until the outermost call returns
    bool loading;       // top level of the file runs: store, secret and the like are refused

    // The call that runs now; all of it is gone when it returns.
    struct arena *arena; // results live here
    const struct event *event;
    uint64_t call_serial;      // userdata made under another serial are stale
    struct script_kv *changes; // store writes of this call, one a key: apply with
                               // sandbox_kv_apply when the call went well, else forget
    unsigned changes_count;
    unsigned log_lines; // written by this call
    struct sandbox_request
        *request;          // what sandbox_push_request made: the base of transform's result
    struct sandbox_kv *kv; // the webhook's store, this process's copy; NULL: there is none
    uint64_t seed;         // random, set before the libraries are opened

    // The way out, filled in by sandbox.c; each may be NULL.
    // A secret's value; only for names of hook->script_secrets. False: unknown or not granted.
    bool (*secret)(struct sandbox *sandbox, struct slice name, struct slice *value);
    // A line the script logged (enum log_level); at most SANDBOX_LOG_LINES a call.
    void (*log)(struct sandbox *sandbox, int level, struct slice line);
    // The source of scripts/lib/NAME.lua, for require "lib.NAME". Valid until it returns to Lua.
    bool (*lib)(struct sandbox *sandbox, struct slice name, struct slice *source);
    void *host;       // whoever made the sandbox: what the functions above need
    size_t collected; // bytes in use after the last full collection
    void (*body)(lua_State *L, void *user); // what sandbox_protect runs
    void *body_user;

    int refs[SANDBOX_REFS]; // registry references of the libraries (sandbox_ref.h)
    char nonce[17];         // stands in every secret's marker that Lua sees
};

// A state without libraries, its memory counted and capped; open them inside
// sandbox_protect. NULL on no memory. sandbox_free takes NULL.
struct sandbox *sandbox_new(size_t memory_max);
void sandbox_free(struct sandbox *sandbox);
// True once the system had no memory for a script that was within its own limit: what went
// wrong then was not the script's doing.
bool sandbox_starved(void);
struct sandbox *sandbox_of(lua_State *L);

// Starts this thread's budget clock: a timer on its own CPU time, so an idle
// process is never woken. Without it budgets are not enforced. Once a process.
bool sandbox_clock_start(void);

enum sandbox_end {
    SANDBOX_DONE,
    SANDBOX_RAISED,
    SANDBOX_OVER_BUDGET,
    SANDBOX_OUT_OF_MEMORY,
    SANDBOX_OUT_OF_STACK,
};
struct sandbox_result {
    enum sandbox_end end;
    struct slice text; // what was raised, "file:line: text"; valid until the next sandbox_protect
    struct slice traceback; // "\tfile:line: in function 'name'" lines, or empty
    int64_t cpu_ns;
};
// The outermost call: runs `body` on an empty stack, protected, within `budget_ms`
// of CPU time. Every error ends here, whatever the script caught before. The
// state is fit for the next call in any case.
struct sandbox_result sandbox_protect(struct sandbox *sandbox,
                                      void (*body)(lua_State *L, void *user), void *user,
                                      int64_t budget_ms);
// A full collection, between calls.
void sandbox_tidy(struct sandbox *sandbox);

// Raises "CPU budget exceeded" (with the file:line of the running Lua function)
// when the budget is used up. Every C function that loops calls it once in
// SANDBOX_POLL_STEPS steps.
void sandbox_poll(lua_State *L);
// Around every call from C into Lua, metamethods included: raises "C stack
// overflow" past SANDBOX_C_DEPTH_MAX. sandbox_call is lua_call between both;
// the depth is put right when an error passes through (checked pcall restores it).
void sandbox_call(lua_State *L, int nargs, int nresults);

// The libraries. Each opener leaves the stack as it was and sets globals or
// fields of existing tables. They run inside a protected call, in this order:
// base first. The state has no libraries before.
void sandbox_open_base(lua_State *L);   // base, coroutine, table, math, os, bit; print
void sandbox_open_string(lua_State *L); // string.*, with checked pattern functions
void sandbox_open_json(lua_State *L);   // json
void sandbox_open_host(lua_State *L);   // log store hash base64 url phone time secret; require
void sandbox_open_event(lua_State *L);  // the event, request and response views
// From here on an undefined global raises and none can be added: call it when
// the file's top level has run.
void sandbox_seal_globals(lua_State *L);

// The values that stages get. Each pushes one value that belongs to the call
// that runs now (sandbox->call_serial) and raises "… used outside of its hook"
// under any other serial. `event` is sandbox->event and must be set.
void sandbox_push_event(lua_State *L);
// A view of `request` (borrowed for the call); it becomes sandbox->request.
// sandbox->hook tells the body's format.
void sandbox_push_request(lua_State *L, const struct request *request);
void sandbox_push_response(lua_State *L, const struct attempt *attempt);
// {id, attempts, webhook, status, error_type, error, response}; `last` may be NULL.
void sandbox_push_delivery(lua_State *L, struct slice id, uint32_t attempts,
                           const struct attempt *last);
// Reads one request that transform left at `index` back into sandbox->arena: nil
// is sandbox->request as the hook changed it, a request view is itself, a table
// with any of method, url, query, headers, body is sandbox->request with those
// replaced (headers: those named are set, false removes one). Raises when it is none of these.
// Types and bytes only: whether the request may be sent is for request_check.
void sandbox_read_request(lua_State *L, int index, struct request *request);
// The same for transform's whole result: nil, one request, or a list of
// requests (which may be empty).
void sandbox_read_requests(lua_State *L, int index, struct request **requests, size_t *count);

// The text of what error() threw, at `index`, without calling into Lua: strings
// as they are (cut at SANDBOX_ERROR_MAX), else "error object is a TYPE value".
struct slice sandbox_error_text(lua_State *L, int index);

// JSON with guards, shared by the `json` module and the views. Encodes the value at
// `index` (≤ 50,000 values, depth ≤ 64, ≤ 1 MiB) onto the stack as a string, or raises.
void sandbox_json_encode(lua_State *L, int index);
// Decodes `text` onto the stack, or raises "…: bad JSON: … (byte N)".
void sandbox_json_decode(lua_State *L, struct slice text);

#endif
