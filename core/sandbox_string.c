// string.*: the stock functions that are linear and call nothing stay; those
// that match patterns, call back or print addresses are replaced.
#include "sandbox_buf.h"
#include "sandbox_string_inner.h"
#include "sandbox_text.h"

enum { CAPTURE_STEPS = 8 }; // what it costs to put one into a replacement

static bool has_specials(struct slice pattern) {
    for (size_t i = 0; i < pattern.n; i++)
        if (pattern.p[i] && strchr("^$*+?.([%-", pattern.p[i])) return true;
    return false;
}

// A start position as the caller wrote it (1-based, negative from the end) → offset.
static size_t start_offset(lua_State *L, int arg, size_t n) {
    lua_Number at = luaL_optnumber(L, arg, 1);
    if (at < 0) at += (lua_Number)n + 1;
    if (!(at > 1)) return 0;
    return at - 1 > (lua_Number)n ? n : (size_t)at - 1;
}

static int find_plain(lua_State *L, struct slice source, struct slice needle, size_t from) {
    const char *hit = memmem(source.p + from, source.n - from, needle.p, needle.n);
    if (!hit) {
        lua_pushnil(L);
        return 1;
    }
    lua_pushinteger(L, hit - source.p + 1);
    lua_pushinteger(L, hit - source.p + (ptrdiff_t)needle.n);
    return 2;
}

static int find_or_match(lua_State *L, bool find) {
    struct slice source = sandbox_check_slice(L, 1), pattern = sandbox_check_slice(L, 2);
    size_t from = start_offset(L, 3, source.n);
    if (find && (lua_toboolean(L, 4) || !has_specials(pattern)))
        return find_plain(L, source, pattern, from);
    struct match m;
    match_init(&m, L, source, pattern);
    bool anchored = pattern.n && pattern.p[0] == '^';
    const char *s = source.p + from;
    do {
        m.level = 0;
        const char *e = match_at(&m, s, pattern.p + anchored);
        if (!e) continue;
        if (!find) return match_push_captures(&m, s, e);
        lua_pushinteger(L, s - source.p + 1);
        lua_pushinteger(L, e - source.p);
        return 2 + match_push_captures(&m, NULL, NULL);
    } while (s++ < m.source_end && !anchored);
    lua_pushnil(L);
    return 1;
}

static int string_find(lua_State *L) {
    return find_or_match(L, true);
}

static int string_match(lua_State *L) {
    return find_or_match(L, false);
}

// Upvalues: the text, the pattern, the offset where the next search starts.
static int gmatch_next(lua_State *L) {
    struct slice source, pattern;
    source.p = lua_tolstring(L, lua_upvalueindex(1), &source.n);
    pattern.p = lua_tolstring(L, lua_upvalueindex(2), &pattern.n);
    struct match m;
    match_init(&m, L, source, pattern);
    const char *s = source.p + (size_t)lua_tonumber(L, lua_upvalueindex(3));
    for (; s <= m.source_end; s++) {
        m.level = 0;
        const char *e = match_at(&m, s, pattern.p);
        if (!e) continue;
        // An empty match must not be found again.
        lua_pushnumber(L, (lua_Number)(e - source.p + (e == s)));
        lua_replace(L, lua_upvalueindex(3));
        return match_push_captures(&m, s, e);
    }
    return 0;
}

static int string_gmatch(lua_State *L) {
    luaL_checkstring(L, 1);
    luaL_checkstring(L, 2);
    lua_settop(L, 2);
    lua_pushnumber(L, 0);
    lua_pushcclosure(L, gmatch_next, 3);
    return 1;
}

// Appends the replacement string at stack index 3: %0 … %9 are captures.
static void add_template(struct match *m, struct sandbox_buf *out, const char *s, const char *e) {
    size_t n;
    const char *text = lua_tolstring(m->L, 3, &n);
    for (size_t i = 0; i < n; i++) {
        if (text[i] != '%') {
            sandbox_buf_byte(out, text[i]);
            continue;
        }
        char c = ++i < n ? text[i] : '\0';
        if (i == n) luaL_error(m->L, "invalid use of '%%' in replacement string");
        if (c < '0' || c > '9') {
            sandbox_buf_byte(out, c);
            continue;
        }
        match_steps(m, CAPTURE_STEPS);
        if (c == '0')
            lua_pushlstring(m->L, s, (size_t)(e - s));
        else
            match_push_capture(m, c - '1', s, e);
        struct slice piece;
        piece.p = lua_tolstring(m->L, -1, &piece.n);
        sandbox_buf_add(out, piece);
        lua_pop(m->L, 1);
    }
    match_steps(m, n / 16);
}

// Pushes what the replacement table or function (stack index 3) says.
static void push_answer(struct match *m, const char *s, const char *e) {
    lua_State *L = m->L;
    if (lua_type(L, 3) == LUA_TFUNCTION) {
        lua_pushvalue(L, 3);
        sandbox_call(L, match_push_captures(m, s, e), 1);
        return;
    }
    match_push_capture(m, 0, s, e);
    if (m->sandbox->c_depth >= SANDBOX_C_DEPTH_MAX) luaL_error(L, "C stack overflow");
    m->sandbox->c_depth++; // the table may have an __index
    lua_gettable(L, 3);
    m->sandbox->c_depth--;
}

static void add_answer(struct match *m, struct sandbox_buf *out, const char *s, const char *e) {
    lua_State *L = m->L;
    push_answer(m, s, e);
    struct slice piece = slice(s, (size_t)(e - s));
    if (lua_toboolean(L, -1)) {
        if (!lua_isstring(L, -1))
            luaL_error(L, "invalid replacement value (a %s)", luaL_typename(L, -1));
        piece.p = lua_tolstring(L, -1, &piece.n);
    }
    sandbox_buf_add(out, piece);
    lua_pop(L, 1);
}

static int string_gsub(lua_State *L) {
    struct slice source = sandbox_check_slice(L, 1), pattern = sandbox_check_slice(L, 2);
    int type = lua_type(L, 3);
    bool text = type == LUA_TSTRING || type == LUA_TNUMBER;
    luaL_argcheck(L, text || type == LUA_TFUNCTION || type == LUA_TTABLE, 3,
                  "string/function/table expected");
    lua_Number limit = luaL_optnumber(L, 4, (lua_Number)source.n + 1), done = 0;
    lua_settop(L, 3);
    if (text) lua_tostring(L, 3);
    struct sandbox_buf out;
    sandbox_buf_init(&out, L, SANDBOX_STRING_MAX * 2u);
    struct match m;
    match_init(&m, L, source, pattern);
    bool anchored = pattern.n && pattern.p[0] == '^';
    const char *s = source.p;
    while (done < limit) {
        m.level = 0;
        const char *e = match_at(&m, s, pattern.p + anchored);
        if (e) {
            done++;
            if (text)
                add_template(&m, &out, s, e);
            else
                add_answer(&m, &out, s, e);
        }
        if (e && e > s)
            s = e;
        else if (s < m.source_end)
            sandbox_buf_byte(&out, *s++);
        else
            break;
        if (anchored) break;
    }
    sandbox_buf_add(&out, slice(s, (size_t)(m.source_end - s)));
    sandbox_buf_push(&out);
    lua_pushnumber(L, done);
    return 2;
}

// Upvalue: the stock function, which is fine once the size is known.
static int string_rep(lua_State *L) {
    struct slice s = sandbox_check_slice(L, 1);
    lua_Number times = luaL_checknumber(L, 2);
    struct slice separator = lua_isnoneornil(L, 3) ? S("") : sandbox_check_slice(L, 3);
    lua_Number bytes = times * (lua_Number)s.n + (times - 1) * (lua_Number)separator.n;
    if (!(times >= 1) || bytes == 0) {
        lua_pushliteral(L, "");
        return 1;
    }
    if (!(bytes <= SANDBOX_STRING_MAX))
        return luaL_error(L, "resulting string too large (over %d bytes)", SANDBOX_STRING_MAX);
    lua_settop(L, 3);
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_insert(L, 1);
    lua_call(L, 3, 1);
    return 1;
}

// Turns what %s prints into text first, under the depth guard, then lets the
// stock function print. %p would tell addresses.
static int string_format(lua_State *L) {
    struct slice format = sandbox_check_slice(L, 1);
    int arg = 1;
    for (size_t i = 0; i + 1 < format.n; i++) {
        if (format.p[i] != '%') continue;
        if (format.p[++i] == '%') continue;
        while (i < format.n && format.p[i] && strchr("-+ #0123456789.", format.p[i])) i++;
        arg++;
        if (i == format.n) break;
        if (format.p[i] == 'p') luaL_error(L, "invalid option '%%p' to 'format'");
        if (format.p[i] != 's' || lua_isnoneornil(L, arg) || lua_type(L, arg) == LUA_TSTRING)
            continue;
        sandbox_push_text(L, arg);
        lua_replace(L, arg);
    }
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_insert(L, 1);
    lua_call(L, lua_gettop(L) - 1, 1);
    return 1;
}

// Replaces a function of the table on top by one that has the stock one as upvalue.
static void wrap_stock(lua_State *L, const char *name, lua_CFunction own) {
    lua_getfield(L, -1, name);
    lua_pushcclosure(L, own, 1);
    lua_setfield(L, -2, name);
}

void sandbox_open_string(lua_State *L) {
    static const struct sandbox_function own[] = { { "find", string_find },
                                                   { "match", string_match },
                                                   { "gmatch", string_gmatch },
                                                   { "gsub", string_gsub } };
    static const char *const gone[] = { "dump", "gfind", "buffer" };
    lua_pushcfunction(L, luaopen_string);
    lua_pushliteral(L, LUA_STRLIBNAME);
    lua_call(L, 1, 0);
    lua_getglobal(L, "string");
    sandbox_set_functions(L, own, sizeof own / sizeof *own);
    wrap_stock(L, "rep", string_rep);
    wrap_stock(L, "format", string_format);
    for (size_t i = 0; i < sizeof gone / sizeof *gone; i++) {
        lua_pushnil(L);
        lua_setfield(L, -2, gone[i]);
    }
    lua_pop(L, 1);
    // One metatable serves all strings of the state: not to be read or changed.
    lua_pushliteral(L, "");
    if (lua_getmetatable(L, -1)) {
        lua_pushboolean(L, 0);
        lua_setfield(L, -2, "__metatable");
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
}
