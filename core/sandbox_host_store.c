// store: the webhook's keys. A call sees its own writes at once; the engine and
// this process's copy get them only when the call went well, so an error half-way
// leaves nothing behind and a second try starts from the same state.
#include <math.h>
#include <stdlib.h>

#include "clock.h"
#include "sandbox.h"
#include "sandbox_host_inner.h"
#include "sandbox_kv.h"
#include "sandbox_marker.h"

enum { TTL_MAX_S = 3650 * 24 * 3600 };

static struct slice check_key(lua_State *L) {
    struct slice key = sandbox_check_slice(L, 1);
    host_refuse_load(L, "store");
    if (!key.n || key.n > SANDBOX_KV_KEY_MAX)
        luaL_error(L, "store: a key has 1 to %d bytes", SANDBOX_KV_KEY_MAX);
    return key;
}

// A lifetime in seconds at `arg` → wall time when it ends; 0: never.
static int64_t check_ttl(lua_State *L, int arg) {
    if (lua_isnoneornil(L, arg)) return 0;
    lua_Number seconds = luaL_checknumber(L, arg);
    luaL_argcheck(L, seconds > 0 && seconds <= TTL_MAX_S, arg, "ttl is seconds, up to ten years");
    return clock_wall_ms() + (int64_t)ceil(seconds * 1000);
}

static struct script_kv *find_change(struct sandbox *sandbox, struct slice key) {
    for (struct script_kv *change = sandbox->changes; change; change = change->next)
        if (slice_eq(change->key, key)) return change;
    return NULL;
}

// The value as this call sees it; p is NULL when there is none.
static struct slice current(struct sandbox *sandbox, struct slice key, int64_t *expires_ms) {
    const struct script_kv *change = find_change(sandbox, key);
    if (!change)
        return sandbox->kv ? sandbox_kv_get(sandbox->kv, key, clock_wall_ms(), expires_ms)
                           : slice(NULL, 0);
    *expires_ms = change->expires_ms;
    if (change->expires_ms && change->expires_ms <= clock_wall_ms()) return slice(NULL, 0);
    return change->value.n ? change->value : slice(NULL, 0);
}

// Bytes in use once all changes of this call were made.
static size_t bytes_after(struct sandbox *sandbox) {
    size_t bytes = sandbox->kv ? sandbox_kv_bytes(sandbox->kv) : 0;
    for (struct script_kv *change = sandbox->changes; change; change = change->next) {
        // 0: an expired entry still takes its room
        struct slice old =
            sandbox->kv ? sandbox_kv_get(sandbox->kv, change->key, 0, NULL) : slice(NULL, 0);
        if (old.p) bytes -= sandbox_kv_cost(change->key, old);
        if (change->value.n) bytes += sandbox_kv_cost(change->key, change->value);
    }
    return bytes;
}

static struct script_kv *add_change(lua_State *L, struct slice key) {
    struct sandbox *sandbox = sandbox_of(L);
    struct script_kv *change = find_change(sandbox, key);
    if (change) return change;
    if (sandbox->changes_count >= SANDBOX_KV_CHANGES_MAX)
        luaL_error(L, "store: one call may change %d keys", SANDBOX_KV_CHANGES_MAX);
    change = sandbox_keep_bytes(L, sizeof *change);
    *change = (struct script_kv){ .key = sandbox_keep(L, key), .next = sandbox->changes };
    sandbox->changes = change;
    sandbox->changes_count++;
    return change;
}

// Records a write (an empty value deletes), unless the store would grow too large.
static void write_key(lua_State *L, struct slice key, struct slice value, int64_t expires_ms) {
    struct sandbox *sandbox = sandbox_of(L);
    if (value.n > SANDBOX_KV_VALUE_MAX)
        luaL_error(L, "store: a value has at most %d bytes as JSON", SANDBOX_KV_VALUE_MAX);
    struct slice kept = value.n ? sandbox_keep(L, value) : slice(NULL, 0);
    struct script_kv *change = add_change(L, key);
    struct slice before = change->value;
    change->value = kept;
    if (value.n && bytes_after(sandbox) > SANDBOX_KV_BYTES_MAX) {
        if (sandbox->kv) sandbox_kv_purge(sandbox->kv, clock_wall_ms());
        if (bytes_after(sandbox) > SANDBOX_KV_BYTES_MAX) {
            change->value = before;
            luaL_error(L, "store: full (%d bytes): delete keys or give them a ttl",
                       SANDBOX_KV_BYTES_MAX);
        }
    }
    change->expires_ms = value.n ? expires_ms : 0;
}

static bool is_number(struct slice json) {
    return json.n && (json.p[0] == '-' || (json.p[0] >= '0' && json.p[0] <= '9'));
}

static lua_Number number_of(struct slice json) {
    char text[40];
    size_t n = json.n < sizeof text - 1 ? json.n : sizeof text - 1;
    memcpy(text, json.p, n);
    text[n] = '\0';
    return strtod(text, NULL);
}

static int store_get(lua_State *L) {
    int64_t expires_ms = 0;
    struct slice value = current(sandbox_of(L), check_key(L), &expires_ms);
    if (!value.p)
        lua_pushnil(L);
    else if (is_number(value)) // json.decode would give a string for one past 2^53
        lua_pushnumber(L, number_of(value));
    else
        sandbox_json_decode(L, value);
    return 1;
}

static int store_set(lua_State *L) {
    struct slice key = check_key(L), value = { NULL, 0 };
    int64_t expires_ms = check_ttl(L, 3);
    if (!lua_isnoneornil(L, 2)) {
        sandbox_json_encode(L, 2);
        value.p = lua_tolstring(L, -1, &value.n);
    }
    write_key(L, key, value, expires_ms);
    return 0;
}

// store.incr(key, by, ttl): the ttl counts from the key's first increment, which
// makes "so many in a window" one line.
static int store_incr(lua_State *L) {
    struct slice key = check_key(L);
    lua_Number by = luaL_optnumber(L, 2, 1);
    int64_t fresh_ms = check_ttl(L, 3), expires_ms = 0;
    struct slice value = current(sandbox_of(L), key, &expires_ms);
    if (value.p && !is_number(value))
        return luaL_error(L, "store.incr: '%s' holds no number", key.p);
    lua_pushnumber(L, (value.p ? number_of(value) : 0) + by);
    sandbox_json_encode(L, -1);
    struct slice text;
    text.p = lua_tolstring(L, -1, &text.n);
    write_key(L, key, text, value.p ? expires_ms : fresh_ms);
    lua_pop(L, 1);
    return 1;
}

static int store_delete(lua_State *L) {
    struct slice key = check_key(L);
    int64_t expires_ms;
    bool there = current(sandbox_of(L), key, &expires_ms).p != NULL;
    if (there) write_key(L, key, slice(NULL, 0), 0);
    lua_pushboolean(L, there);
    return 1;
}

void host_open_store(lua_State *L) {
    static const struct sandbox_function own[] = { { "get", store_get },
                                                   { "set", store_set },
                                                   { "incr", store_incr },
                                                   { "delete", store_delete } };
    host_set_module(L, "store", own, sizeof own / sizeof *own);
}
