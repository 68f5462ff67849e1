// A script file's load: compile as text, run the top level under its own budget
// with everything that has an effect refused, look at what it returned. The state
// that comes out is sealed: a global that is not there by then is an error.
#include "sandbox_call.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>

const char *const sandbox_stage_names[SANDBOX_STAGES] = { "filter", "tags", "transform", "response",
                                                          "exhausted" };

enum { LOAD_ARENA_MAX = 4 * 1024 * 1024, SHORT_NAME_TAIL = LUA_IDSIZE - 4 };

// --- messages ---

// LuaJIT names a chunk in messages by its last 56 bytes when it is longer; puts the
// whole name back.
static void put_whole_names(struct buf *out, struct slice text, struct slice file) {
    char tail[SHORT_NAME_TAIL + 3] = "...";
    if (file.n >= LUA_IDSIZE - 1) {
        size_t n = SHORT_NAME_TAIL - 1;
        memcpy(tail + 3, file.p + file.n - n, n);
        const char *hit;
        while ((hit = memmem(text.p, text.n, tail, n + 3)) != NULL) {
            size_t before = (size_t)(hit - text.p);
            buf_add(out, slice(text.p, before));
            buf_add(out, file);
            text = slice_from(text, before + n + 3);
        }
    }
    buf_add(out, text);
}

static void put_error(struct buf *out, const struct sandbox_script *script,
                      const struct sandbox_result *result) {
    bool placed = memchr(result->text.p, ':', result->text.n) != NULL;
    if (!placed) {
        buf_add(out, script->file);
        buf_add(out, S(": "));
    }
    put_whole_names(out, result->text, script->file);
    if (!result->traceback.n) return;
    buf_add(out, S("\nstack traceback:\n"));
    put_whole_names(out, slice(result->traceback.p, result->traceback.n - 1), script->file);
}

struct slice sandbox_call_error(const struct sandbox_script *script,
                                const struct sandbox_result *result, struct arena *arena) {
    struct buf text;
    buf_init(&text, 4 * SANDBOX_ERROR_MAX);
    put_error(&text, script, result);
    struct slice whole = buf_slice(&text);
    struct slice kept =
        arena_dup(arena, slice(whole.p, whole.n < SANDBOX_ERROR_MAX ? whole.n : SANDBOX_ERROR_MAX));
    buf_deinit(&text);
    return kept;
}

// The number in "file:NUMBER:", or 0.
static unsigned line_of(struct slice text, struct slice file) {
    if (!slice_starts(text, file) || text.n <= file.n || text.p[file.n] != ':') return 0;
    unsigned line = 0;
    for (size_t i = file.n + 1; i < text.n && isdigit((unsigned char)text.p[i]); i++)
        line = line * 10 + (unsigned)(text.p[i] - '0');
    return line;
}

static struct slice source_line(struct slice source, unsigned line) {
    while (line > 1 && source.n) {
        source = slice_from(source, slice_find(source, '\n') + 1);
        line--;
    }
    return slice(source.p, slice_find(source, '\n'));
}

static bool line_has(struct slice line, const char *what) {
    return line.n && memmem(line.p, line.n, what, strlen(what)) != NULL;
}

// What people who know a newer Lua write, and what to write here.
static const char *hint_for(struct slice error, struct slice line) {
    static const struct {
        const char *near, *written, *hint;
    } hints[] = {
        { "near '/'", "//", "use math.floor(a / b)" },
        { "near '&'", "&", "use bit.band(a, b)" },
        { "near '|'", "|", "use bit.bor(a, b)" },
        { "near '>'", ">>", "use bit.rshift(a, n)" },
        { "near '<'", "<<", "use bit.lshift(a, n)" },
        { "near '~'", "~", "use bit.bxor(a, b) or bit.bnot(a)" },
        { "near '<'", "<const>", "use a plain local" },
        { "near '<'", "<close>", "use a plain local" },
    };
    for (size_t i = 0; i < sizeof hints / sizeof *hints; i++)
        if (line_has(error, hints[i].near) && line_has(line, hints[i].written))
            return hints[i].hint;
    return NULL;
}

static void tell_problem(struct sandbox_problem *problem, const struct sandbox_script *script,
                         const struct sandbox_result *result) {
    struct buf text;
    buf_init(&text, 4 * SANDBOX_ERROR_MAX);
    put_error(&text, script, result);
    problem->over_budget = result->end == SANDBOX_OVER_BUDGET;
    problem->exhausted = result->end >= SANDBOX_OUT_OF_MEMORY;
    problem->line = line_of(buf_slice(&text), script->file);
    const char *hint =
        hint_for(buf_slice(&text), source_line(wire_source_main(script->source), problem->line));
    snprintf(problem->text, sizeof problem->text, "%.*s%s%s%s", SLICE_FMT(buf_slice(&text)),
             hint ? " (LuaJIT is Lua 5.1: " : "", hint ? hint : "", hint ? ")" : "");
    buf_deinit(&text);
}

static bool refuse_source(struct slice file, struct slice source, struct sandbox_problem *problem) {
    const char *why = NULL;
    if (source.n > SANDBOX_SOURCE_MAX)
        why = "the file is larger than 256 KB";
    else if (source.n && source.p[0] == '\33')
        why = "this is compiled Lua; only source text is accepted";
    if (why) {
        snprintf(problem->text, sizeof problem->text, "%.*s:1: %s", SLICE_FMT(file), why);
        problem->line = 1;
    }
    return why != NULL;
}

// --- the load ---

struct load {
    struct sandbox_script *script;
    bool is_test;
    struct buf *description;
};

static void open_libraries(lua_State *L) {
    sandbox_open_base(L);
    sandbox_open_string(L);
    sandbox_open_json(L);
    sandbox_open_host(L);
    sandbox_open_event(L);
}

static void run_file(lua_State *L, struct sandbox_script *script) {
    struct slice source = wire_source_main(script->source);
    lua_pushliteral(L, "@");
    lua_pushlstring(L, script->file.p, script->file.n);
    lua_concat(L, 2);
    if (luaL_loadbufferx(L, source.p, source.n, lua_tostring(L, -1), "t") != 0) lua_error(L);
    sandbox_call(L, 0, 1);
    if (lua_istable(L, -1)) return;
    const char *what = lua_isnil(L, -1) ? "nothing" : luaL_typename(L, -1);
    lua_pushlstring(L, script->file.p, script->file.n);
    lua_pushfstring(
        L,
        ":1: the file must return its hook table, and returned %s; does it end with \"return hook\"?",
        what);
    lua_concat(L, 2);
    lua_error(L);
}

static void keep_stages(lua_State *L, struct sandbox_script *script) {
    for (int i = 0; i < SANDBOX_STAGES; i++) {
        lua_pushstring(L, sandbox_stage_names[i]);
        lua_rawget(L, -2);
        if (lua_isfunction(L, -1))
            script->stages[i] = luaL_ref(L, LUA_REGISTRYINDEX);
        else
            lua_pop(L, 1);
    }
}

// The description as an object's text, the remarks of sandbox_lint as its last member.
static void describe(lua_State *L, struct load *load) {
    struct buf *out = load->description;
    sandbox_describe(L, lua_gettop(L), !load->is_test, out);
    if (load->is_test) return;
    out->n--; // its brace
    buf_add(out, S(",\"remarks\":"));
    sandbox_lint(L, load->script->source, out);
    buf_byte(out, '}');
}

static void load_file(lua_State *L, void *user) {
    struct load *load = user;
    open_libraries(L);
    run_file(L, load->script);
    if (load->description) describe(L, load);
    if (!load->is_test) keep_stages(L, load->script);
    lua_pop(L, 1);
    sandbox_seal_globals(L);
}

static bool find_lib(struct sandbox *sandbox, struct slice name, struct slice *source) {
    struct sandbox_script *script = sandbox->host;
    return wire_source_lib(script->source, name, source);
}

static struct sandbox_script *script_new(const struct sandbox_script_opts *opts) {
    struct sandbox_script *script = calloc(1, sizeof *script);
    if (!script) return NULL;
    script->owner = opts->owner;
    script->file = opts->file;
    script->source = opts->source;
    script->sandbox = sandbox_new(opts->memory_max);
    for (int i = 0; i < SANDBOX_STAGES; i++) script->stages[i] = LUA_NOREF;
    if (!script->sandbox) {
        sandbox_script_free(script);
        return NULL;
    }
    struct sandbox *sandbox = script->sandbox;
    sandbox->host = script;
    sandbox->hook = opts->hook;
    sandbox->kv = opts->kv;
    sandbox->secret = opts->secret;
    sandbox->log = opts->log;
    sandbox->lib = find_lib;
    return script;
}

struct sandbox_script *sandbox_script_new(const struct sandbox_script_opts *opts,
                                          struct buf *description,
                                          struct sandbox_problem *problem) {
    if (refuse_source(opts->file, wire_source_main(opts->source), problem)) return NULL;
    struct sandbox_script *script = script_new(opts);
    if (!script) {
        *problem = (struct sandbox_problem){ .text = "no memory for the script" };
        return NULL;
    }
    struct load load = { script, opts->is_test, description };
    struct arena scratch;
    arena_init(&scratch, LOAD_ARENA_MAX);
    script->sandbox->arena = &scratch;
    script->sandbox->loading = true;
    struct sandbox_result result =
        sandbox_protect(script->sandbox, load_file, &load, opts->load_ms);
    script->sandbox->loading = false;
    script->sandbox->arena = NULL;
    arena_deinit(&scratch);
    if (result.end == SANDBOX_DONE) {
        sandbox_tidy(script->sandbox); // what loading left; ten thousand states add up
        return script;
    }
    tell_problem(problem, script, &result);
    sandbox_script_free(script);
    return NULL;
}

void sandbox_script_free(struct sandbox_script *script) {
    if (!script) return;
    sandbox_free(script->sandbox);
    free(script);
}
