// Lua as a data language. The file is trusted, but a slip in it must not hang
// or fill the engine: instructions are counted, memory is capped, the compiler
// to machine code stays off. Everything that may raise runs inside one
// protected call; what must be freed after an error belongs to the state.
#include "luadata.h"

#include <lauxlib.h>
#include <lua.h>
#include <luajit.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "utf8.h"

enum { STEPS_AT_ONCE = 1000, ROOM = 32 * 1024 };

struct run {
    struct slice source;
    const char *name;
    struct buf *out;
    struct fail *fail;
    size_t memory;
    long steps;
    bool slow, starved;
    // LuaJIT does not survive a lua_newstate that gets no memory half way, so what that
    // takes (12 KB) lies here.
    char *room;
    size_t room_n;
    bool opened;
    // The way to the value that is being written.
    const void *tables[LUADATA_DEPTH_MAX];
    size_t depth;
    char path[sizeof((struct fail *)0)->path];
    size_t path_n;
};

static bool in_room(const struct run *run, const void *p) {
    return (uintptr_t)p - (uintptr_t)run->room < ROOM;
}

static void *take_room(struct run *run, size_t n) {
    size_t whole = (n + 15) & ~(size_t)15;
    if (run->opened || whole > ROOM - run->room_n) return NULL;
    run->room_n += whole;
    return run->room + run->room_n - whole;
}

// As realloc, whether the block lies in the room or not.
static void *move_block(struct run *run, void *old, size_t old_n, size_t n) {
    bool roomy = in_room(run, old);
    if (roomy && n <= old_n) return old;
    void *p = !old || roomy ? take_room(run, n) : NULL;
    if (!p) p = realloc(roomy ? NULL : old, n);
    if (p && roomy) memcpy(p, old, old_n);
    return p;
}

static void *allocate(void *user, void *old, size_t old_n, size_t n) {
    struct run *run = user;
    if (!old) old_n = 0;
    if (n > old_n && n - old_n > LUADATA_MEMORY_MAX - run->memory) {
        run->starved = true;
        return NULL;
    }
    if (!n) {
        if (!in_room(run, old)) free(old);
        run->memory -= old_n;
        return NULL;
    }
    void *p = move_block(run, old, old_n, n);
    if (p) run->memory += n - old_n;
    run->starved = run->starved || !p;
    return p;
}

static struct run *run_of(lua_State *L) {
    void *user;
    lua_getallocf(L, &user);
    return user;
}

static void on_count(lua_State *L, lua_Debug *debug) {
    struct run *run = run_of(L);
    run->steps += STEPS_AT_ONCE;
    if (run->steps < LUADATA_STEPS_MAX) return;
    run->slow = true;
    lua_getinfo(L, "Sl", debug);
    lua_pushfstring(L, "%s:%d: this runs too long for a data file", debug->short_src,
                    debug->currentline);
    lua_error(L);
}

// Raises the error that a value cannot be data; the path says which one.
static int refuse_value(lua_State *L, const char *problem) {
    struct run *run = run_of(L);
    fail_path(run->fail, "%s", run->path);
    fail_set(run->fail, ERR_INPUT, 0, "bad_value", "%s: %s%s%s", run->name, run->path,
             run->path_n ? " " : "the result ", problem);
    lua_pushnil(L); // tells it from errors with a message
    return lua_error(L);
}

// Both put their part behind the path and return how long it was before.
static size_t enter_index(struct run *run, size_t index) {
    size_t before = run->path_n;
    int n = snprintf(run->path + before, sizeof run->path - before, "[%zu]", index);
    if (n > 0 && (size_t)n < sizeof run->path - before) run->path_n += (size_t)n;
    return before;
}

static size_t enter_key(struct run *run, struct slice key) {
    size_t before = run->path_n;
    int n = snprintf(run->path + before, sizeof run->path - before, "%s%.*s", before ? "." : "",
                     SLICE_FMT(key));
    if (n > 0 && (size_t)n < sizeof run->path - before) run->path_n += (size_t)n;
    return before;
}

static void leave(struct run *run, size_t before) {
    run->path_n = before;
    run->path[before] = '\0';
}

static void write_number(lua_State *L, double number) {
    struct buf *out = run_of(L)->out;
    if (!isfinite(number)) refuse_value(L, "is no finite number");
    if (number == floor(number) && fabs(number) <= 9007199254740992.0) {
        buf_printf(out, "%lld", (long long)number);
        return;
    }
    char text[32];
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, number);
        if (strtod(text, NULL) == number) break;
    }
    buf_add(out, slice_str(text));
}

static void write_string(lua_State *L, struct slice text) {
    if (utf8_check(text) != text.n) refuse_value(L, "is not UTF-8");
    buf_json(run_of(L)->out, text);
}

static void write_value(lua_State *L);

static void write_array(lua_State *L, size_t count) {
    struct run *run = run_of(L);
    buf_byte(run->out, '[');
    for (size_t i = 1; i <= count; i++) {
        size_t before = enter_index(run, i);
        if (i > 1) buf_byte(run->out, ',');
        lua_rawgeti(L, -1, (int)i);
        write_value(L);
        lua_pop(L, 1);
        leave(run, before);
    }
    buf_byte(run->out, ']');
}

static int compare_keys(const void *a, const void *b) {
    const struct slice *x = a, *y = b;
    int order = memcmp(x->p, y->p, x->n < y->n ? x->n : y->n);
    return order ? order : (x->n > y->n) - (x->n < y->n);
}

// The keys of the table on top, sorted, in a userdata that is left above it.
static struct slice *collect_keys(lua_State *L, size_t count) {
    struct slice *keys = lua_newuserdata(L, count * sizeof *keys);
    size_t n = 0;
    lua_pushnil(L);
    while (lua_next(L, -3)) {
        lua_pop(L, 1);
        // The key stays in its table, so its bytes stay where they are.
        keys[n].p = lua_tolstring(L, -1, &keys[n].n);
        n++;
    }
    qsort(keys, n, sizeof *keys, compare_keys);
    return keys;
}

static void write_object(lua_State *L, size_t count) {
    struct run *run = run_of(L);
    struct slice *keys = collect_keys(L, count);
    buf_byte(run->out, '{');
    for (size_t i = 0; i < count; i++) {
        size_t before = enter_key(run, keys[i]);
        if (i) buf_byte(run->out, ',');
        write_string(L, keys[i]);
        buf_byte(run->out, ':');
        lua_pushlstring(L, keys[i].p, keys[i].n);
        lua_rawget(L, -3);
        write_value(L);
        lua_pop(L, 1);
        leave(run, before);
    }
    buf_byte(run->out, '}');
    lua_pop(L, 1);
}

// What the table on top is: *names of its keys are strings, *others are not.
static void count_keys(lua_State *L, size_t *names, size_t *others) {
    *names = *others = 0;
    lua_pushnil(L);
    while (lua_next(L, -2)) {
        lua_pop(L, 1);
        ++*(lua_type(L, -1) == LUA_TSTRING ? names : others);
    }
}

static void write_table(lua_State *L) {
    struct run *run = run_of(L);
    const void *self = lua_topointer(L, -1);
    size_t names, others, length = lua_objlen(L, -1);
    for (size_t i = 0; i < run->depth; i++)
        if (run->tables[i] == self) refuse_value(L, "contains itself");
    if (run->depth == LUADATA_DEPTH_MAX) refuse_value(L, "nests too deeply");
    luaL_checkstack(L, 8, "too deep");
    run->tables[run->depth++] = self;
    count_keys(L, &names, &others);
    if (names && others) refuse_value(L, "mixes named entries and a list");
    if (others && others != length) refuse_value(L, "is a list with holes");
    if (others)
        write_array(L, length);
    else
        write_object(L, names);
    run->depth--;
}

static void write_value(lua_State *L) {
    struct run *run = run_of(L);
    size_t n;
    switch (lua_type(L, -1)) {
    case LUA_TBOOLEAN: buf_add(run->out, lua_toboolean(L, -1) ? S("true") : S("false")); return;
    case LUA_TNUMBER: write_number(L, lua_tonumber(L, -1)); return;
    case LUA_TSTRING: {
        const char *text = lua_tolstring(L, -1, &n);
        write_string(L, slice(text, n));
        return;
    }
    case LUA_TTABLE: write_table(L); return;
    default: refuse_value(L, "is a function or the like, not data");
    }
}

static int run_protected(lua_State *L) {
    struct run *run = run_of(L);
    char chunk[128];
    snprintf(chunk, sizeof chunk, "@%s", run->name);
    luaJIT_setmode(L, 0, LUAJIT_MODE_ENGINE | LUAJIT_MODE_OFF);
    lua_sethook(L, on_count, LUA_MASKCOUNT, STEPS_AT_ONCE);
    lua_settop(L, 0);
    if (luaL_loadbufferx(L, run->source.n ? run->source.p : "", run->source.n, chunk, "t"))
        return lua_error(L);
    lua_call(L, 0, 1);
    lua_sethook(L, NULL, 0, 0);
    if (!lua_istable(L, 1)) return luaL_error(L, "%s: a data file must return a table", run->name);
    write_value(L);
    return 0;
}

// The line in "name:LINE: text", or 0.
static unsigned line_in(const char *message, const char *name) {
    size_t n = strlen(name);
    if (strncmp(message, name, n) != 0 || message[n] != ':') return 0;
    return (unsigned)strtoul(message + n + 1, NULL, 10);
}

static enum err explain(lua_State *L, int status, struct run *run) {
    struct fail *fail = run->fail;
    if (status == LUA_ERRMEM || run->starved) // in the parser it is an error like others
        return fail_set(fail, ERR_NOMEM, 0, "no_memory",
                        "%s: no memory, or it needs more than %d MiB", run->name,
                        LUADATA_MEMORY_MAX / (1024 * 1024));
    const char *message = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : NULL;
    if (!message) // refuse_value has said it; else the file raised something that is no text
        return fail && fail->code ? fail->code
                                  : fail_set(fail, ERR_INPUT, 0, "bad_lua",
                                             "%s: raised an error "
                                             "that is no text",
                                             run->name);
    fail_path(fail, "%s", "");
    enum err err = run->slow ? fail_set(fail, ERR_LIMIT, 0, "too_slow", "%s", message)
                             : fail_set(fail, ERR_INPUT, 0, "bad_lua", "%s", message);
    if (fail) fail->line = line_in(message, run->name);
    return err;
}

enum err luadata_eval(struct slice source, const char *name, struct buf *out, struct fail *fail) {
    struct run run = { .source = source, .name = name, .out = out, .fail = fail };
    if (fail) *fail = (struct fail){ .code = OK };
    if (source.n > LUADATA_BYTES_MAX)
        return fail_set(fail, ERR_LIMIT, 0, "too_large", "%s: longer than 1 MiB", name);
    run.room = malloc(ROOM);
    lua_State *L = run.room ? lua_newstate(allocate, &run) : NULL;
    run.opened = true;
    int status = L ? lua_cpcall(L, run_protected, NULL) : LUA_ERRMEM;
    enum err err = status ? explain(L, status, &run) : OK;
    if (L) lua_close(L);
    free(run.room);
    if (!err && out->no_memory)
        err = fail_set(fail, ERR_NOMEM, 0, "no_memory", "%s: no memory for the data", name);
    else if (!err && out->failed)
        err = fail_set(fail, ERR_LIMIT, 0, "too_large", "%s: the data is too large", name);
    return err;
}
