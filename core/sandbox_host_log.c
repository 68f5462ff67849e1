// log and print. Lines are text for people: one line each, cut at a stated
// length, counted a call, and a secret's marker in them reads [SECRET:NAME].
#include "log.h"
#include "sandbox.h"
#include "sandbox_buf.h"
#include "sandbox_host_inner.h"
#include "sandbox_marker.h"

// False when this call has written all it may; says so once.
static bool may_log(struct sandbox *sandbox) {
    if (!sandbox->log) return false;
    if (sandbox->log_lines < SANDBOX_LOG_LINES) {
        sandbox->log_lines++;
        return true;
    }
    if (sandbox->log_lines == SANDBOX_LOG_LINES) {
        sandbox->log_lines++;
        sandbox->log(sandbox, LOG_WARN,
                     S("log limit reached: 100 lines a call, the rest of this call's is dropped"));
    }
    return false;
}

// Appends as much of `text` as a line has room for.
static void add_masked(struct sandbox *sandbox, struct sandbox_buf *line, struct slice text) {
    while (text.n && line->n < SANDBOX_LOG_LINE_MAX) {
        size_t plain = slice_find(text, '\0');
        size_t room = SANDBOX_LOG_LINE_MAX - line->n;
        sandbox_buf_add(line, slice(text.p, plain < room ? plain : room));
        text = slice_from(text, plain);
        struct slice name;
        size_t marker = sandbox_marker_at(sandbox, text, &name, NULL);
        if (marker) {
            sandbox_buf_add(line, name.n ? S("[SECRET:") : S("[ATTEMPT"));
            sandbox_buf_add(line, name);
            sandbox_buf_byte(line, ']');
        } else if (text.n) {
            sandbox_buf_byte(line, '\0');
        }
        text = slice_from(text, marker ? marker : 1);
    }
}

// Appends the value at `index` as tostring shows it.
static void add_value(lua_State *L, struct sandbox_buf *line, int index) {
    struct slice text;
    sandbox_push_text(L, index);
    text.p = lua_tolstring(L, -1, &text.n);
    add_masked(sandbox_of(L), line, text);
    lua_pop(L, 1);
}

static void write_line(lua_State *L, int level, struct sandbox_buf *line) {
    static const char cut[] = "…";
    if (line->n >= SANDBOX_LOG_LINE_MAX) {
        line->n = SANDBOX_LOG_LINE_MAX - (sizeof cut - 1);
        while (line->n && ((unsigned char)line->p[line->n] & 0xC0) == 0x80) line->n--;
        sandbox_buf_add(line, slice(cut, sizeof cut - 1));
    }
    sandbox_of(L)->log(sandbox_of(L), level, slice(line->p, line->n));
}

// log.LEVEL(text, fields)
static int log_at(lua_State *L, int level) {
    luaL_checkany(L, 1);
    if (!lua_isnoneornil(L, 2)) luaL_checktype(L, 2, LUA_TTABLE);
    if (!may_log(sandbox_of(L))) return 0;
    lua_settop(L, 2);
    struct sandbox_buf line;
    sandbox_buf_init(&line, L, 8 * SANDBOX_LOG_LINE_MAX);
    add_value(L, &line, 1);
    if (lua_istable(L, 2)) {
        sandbox_json_encode(L, 2);
        sandbox_buf_byte(&line, ' ');
        add_value(L, &line, -1);
    }
    write_line(L, level, &line);
    return 0;
}

static int log_debug(lua_State *L) {
    return log_at(L, LOG_DEBUG);
}
static int log_info(lua_State *L) {
    return log_at(L, LOG_INFO);
}
static int log_warn(lua_State *L) {
    return log_at(L, LOG_WARN);
}
static int log_error(lua_State *L) {
    return log_at(L, LOG_ERROR);
}

static int host_print(lua_State *L) {
    int count = lua_gettop(L);
    if (!may_log(sandbox_of(L))) return 0;
    struct sandbox_buf line;
    sandbox_buf_init(&line, L, 8 * SANDBOX_LOG_LINE_MAX);
    for (int i = 1; i <= count; i++) {
        if (i > 1) sandbox_buf_byte(&line, '\t');
        if (line.n < SANDBOX_LOG_LINE_MAX)
            add_value(L, &line, i);
        else
            break;
    }
    write_line(L, LOG_INFO, &line);
    return 0;
}

void host_open_log(lua_State *L) {
    static const struct sandbox_function own[] = {
        { "debug", log_debug }, { "info", log_info }, { "warn", log_warn }, { "error", log_error }
    };
    host_set_module(L, "log", own, sizeof own / sizeof *own);
    lua_pushcfunction(L, host_print);
    lua_setglobal(L, "print");
}
