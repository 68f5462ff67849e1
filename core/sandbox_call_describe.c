// A hook's table as JSON, for the engine that never sees Lua values. Strict where
// lua-cjson is not: whole numbers stay whole, keys come sorted, text must be UTF-8,
// and what JSON cannot say is an error with its path instead of a surprise.
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "catalog.h"
#include "sandbox_call.h"
#include "utf8.h"

enum { DEPTH_MAX = 32, KEYS_MAX = 4096, PATH_MAX_BYTES = 200 };

struct describe {
    lua_State *L;
    struct buf *out;
    char path[PATH_MAX_BYTES];
    size_t path_n;
    int depth;
};

static void put_value(struct describe *d, int index);

static void refuse(struct describe *d, const char *why) {
    luaL_error(d->L, "%s %s", d->path, why);
}

// Adds a step to the path; returns the length to leave with.
static size_t entered(struct describe *d, int n) {
    size_t before = d->path_n, room = sizeof d->path - before;
    if (n > 0) d->path_n += (size_t)n < room ? (size_t)n : room - 1;
    return before;
}

static size_t enter_member(struct describe *d, const char *name) {
    return entered(d, snprintf(d->path + d->path_n, sizeof d->path - d->path_n, ".%s", name));
}

static size_t enter_item(struct describe *d, size_t number) {
    return entered(d, snprintf(d->path + d->path_n, sizeof d->path - d->path_n, "[%zu]", number));
}

static void leave(struct describe *d, size_t before) {
    d->path_n = before;
    d->path[before] = '\0';
}

static void put_number(struct describe *d, double number) {
    if (!isfinite(number)) refuse(d, "is not a finite number");
    if (number == floor(number) && fabs(number) < 1e15) {
        buf_printf(d->out, "%.0f", number);
        return;
    }
    char text[32];
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, number);
        if (strtod(text, NULL) == number) break;
    }
    buf_add(d->out, slice_str(text));
}

static void put_string(struct describe *d, int index) {
    size_t n;
    const char *text = lua_tolstring(d->L, index, &n);
    if (utf8_check(slice(text, n)) != n) refuse(d, "is not UTF-8 text");
    buf_json(d->out, slice(text, n));
}

// How many entries the table at `index` has, and whether they are just 1 … n.
static size_t count_entries(struct describe *d, int index, bool *list) {
    lua_State *L = d->L;
    size_t count = 0, n = lua_objlen(L, index);
    *list = n > 0;
    for (lua_pushnil(L); lua_next(L, index); lua_pop(L, 1)) {
        count++;
        double key = lua_type(L, -2) == LUA_TNUMBER ? lua_tonumber(L, -2) : 0;
        if (!(key >= 1 && key <= (double)n && key == floor(key))) *list = false;
        if (count > KEYS_MAX) refuse(d, "has too many entries");
    }
    return count;
}

static void put_list(struct describe *d, int index, size_t count) {
    buf_byte(d->out, '[');
    for (size_t i = 1; i <= count; i++) {
        if (i > 1) buf_byte(d->out, ',');
        size_t before = enter_item(d, i);
        lua_rawgeti(d->L, index, (int)i);
        put_value(d, lua_gettop(d->L));
        lua_pop(d->L, 1);
        leave(d, before);
    }
    buf_byte(d->out, ']');
}

static int compare_keys(const void *a, const void *b) {
    const struct slice *x = a, *y = b;
    int order = memcmp(x->p, y->p, x->n < y->n ? x->n : y->n);
    return order ? order : (x->n > y->n) - (x->n < y->n);
}

// The keys, sorted, in a userdata that is left on the stack. They stay where they
// are: the table that holds them is on the stack too.
static struct slice *sorted_keys(struct describe *d, int index, size_t count) {
    lua_State *L = d->L;
    struct slice *keys = lua_newuserdata(L, (count + 1) * sizeof *keys);
    size_t n = 0;
    for (lua_pushnil(L); lua_next(L, index); lua_pop(L, 1)) {
        if (lua_type(L, -2) != LUA_TSTRING) refuse(d, "mixes list items and names, or has holes");
        keys[n].p = lua_tolstring(L, -2, &keys[n].n);
        if (utf8_check(keys[n]) != keys[n].n) refuse(d, "has a name that is not UTF-8 text");
        n++;
    }
    qsort(keys, n, sizeof *keys, compare_keys);
    return keys;
}

static bool is_stage(struct slice name) {
    for (size_t i = 0; i < SANDBOX_STAGES; i++)
        if (slice_eq(name, slice_str(sandbox_stage_names[i]))) return true;
    return false;
}

// The function on top of the stack stands under a name that is no stage's.
static void refuse_function(struct describe *d, struct slice name) {
    struct slice stages[SANDBOX_STAGES];
    lua_Debug at;
    for (size_t i = 0; i < SANDBOX_STAGES; i++) stages[i] = slice_str(sandbox_stage_names[i]);
    struct slice near = suggest(stages, SANDBOX_STAGES, name);
    lua_pushvalue(d->L, -1);
    lua_getinfo(d->L, ">S", &at);
    const char *choice = near.n ? near.p : "filter, tags, transform, response or exhausted";
    if (at.linedefined > 0)
        luaL_error(d->L, "%s:%d: %s is a function, and there is no such stage; did you mean %s?",
                   at.short_src, at.linedefined, d->path, choice);
    luaL_error(d->L, "%s is a function, and there is no such stage; did you mean %s?", d->path,
               choice);
}

// Members of the table at `index`; true when at least one was written.
static bool put_members(struct describe *d, int index, bool top) {
    bool list, any = false;
    size_t count = count_entries(d, index, &list);
    struct slice *keys = sorted_keys(d, index, count);
    for (size_t i = 0; i < count; i++) {
        size_t before = enter_member(d, keys[i].p);
        lua_pushlstring(d->L, keys[i].p, keys[i].n);
        lua_rawget(d->L, index);
        bool function = lua_isfunction(d->L, -1);
        if (top && is_stage(keys[i])) {
            if (!function) refuse(d, "must be a function");
        } else if (top && function) {
            refuse_function(d, keys[i]);
        } else {
            if (any) buf_byte(d->out, ',');
            any = true;
            buf_json(d->out, keys[i]);
            buf_byte(d->out, ':');
            put_value(d, lua_gettop(d->L));
        }
        lua_pop(d->L, 1);
        leave(d, before);
    }
    lua_pop(d->L, 1);
    return any;
}

static void put_table(struct describe *d, int index) {
    if (++d->depth > DEPTH_MAX) refuse(d, "is nested too deeply, or contains itself");
    luaL_checkstack(d->L, 8, "too deeply nested");
    sandbox_poll(d->L);
    bool list;
    size_t count = count_entries(d, index, &list);
    if (list) {
        put_list(d, index, count);
    } else {
        buf_byte(d->out, '{');
        put_members(d, index, false);
        buf_byte(d->out, '}');
    }
    d->depth--;
}

static void put_value(struct describe *d, int index) {
    switch (lua_type(d->L, index)) {
    case LUA_TBOOLEAN: buf_add(d->out, lua_toboolean(d->L, index) ? S("true") : S("false")); break;
    case LUA_TNUMBER: put_number(d, lua_tonumber(d->L, index)); break;
    case LUA_TSTRING: put_string(d, index); break;
    case LUA_TTABLE: put_table(d, index); break;
    case LUA_TLIGHTUSERDATA: buf_add(d->out, S("null")); break; // json.null
    default: luaL_error(d->L, "%s is a %s", d->path, luaL_typename(d->L, index));
    }
    if (d->out->failed) luaL_error(d->L, "%s is too large", d->path);
}

static void put_stages(struct describe *d, int index) {
    bool any = false;
    buf_add(d->out, S("\"stages\":["));
    for (size_t i = 0; i < SANDBOX_STAGES; i++) {
        lua_pushstring(d->L, sandbox_stage_names[i]);
        lua_rawget(d->L, index);
        if (lua_isfunction(d->L, -1)) {
            if (any) buf_byte(d->out, ',');
            any = true;
            buf_json(d->out, slice_str(sandbox_stage_names[i]));
        }
        lua_pop(d->L, 1);
    }
    buf_byte(d->out, ']');
}

void sandbox_describe(lua_State *L, int index, bool stages, struct buf *out) {
    struct describe d = { .L = L, .out = out, .path = "hook", .path_n = 4 };
    if (!stages) {
        d.path_n = (size_t)snprintf(d.path, sizeof d.path, "tests");
        put_value(&d, index);
        return;
    }
    lua_pushliteral(L, "stages");
    lua_rawget(L, index);
    if (!lua_isnil(L, -1)) luaL_error(L, "hook.stages is not a setting");
    lua_pop(L, 1);
    buf_byte(out, '{');
    if (put_members(&d, index, true)) buf_byte(out, ',');
    put_stages(&d, index);
    buf_byte(out, '}');
    if (out->failed) luaL_error(L, "the hook's table is too large");
}
