// JSON for scripts: `json.encode`, `json.decode`, `json.null`, `json.array`.
//
// lua-cjson was measured and left out. It keeps its buffers outside the script's
// memory cap, leaks them when the state runs out of memory in the middle, ends
// the process when malloc says no, takes 0x10 and nan for JSON, and prints
// 123456789012345 as 1.2345678901234e+14. The guards it needs walk the whole
// value once; this walks it once and is done.
//
// Values come out in the order of their keys, so equal tables make equal bytes.
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "sandbox.h"
#include "sandbox_buf.h"
#include "sandbox_json_inner.h"
#include "sandbox_marker.h"
#include "sandbox_ref.h"
#include "sandbox_text.h"
#include "utf8.h"

struct encoder {
    lua_State *L;
    const struct sandbox *sandbox;
    struct sandbox_buf out;
    size_t values;
    int depth;
};

static void encode_value(struct encoder *encoder, int index);

static void encode_string(struct encoder *encoder, struct slice s) {
    static const char hex[] = "0123456789abcdef";
    struct sandbox_buf *out = &encoder->out;
    sandbox_buf_byte(out, '"');
    while (s.n) {
        size_t plain = 0;
        while (plain < s.n && (unsigned char)s.p[plain] >= 0x20 &&
               (unsigned char)s.p[plain] < 0x80 && s.p[plain] != '"' && s.p[plain] != '\\')
            plain++;
        sandbox_buf_add(out, slice(s.p, plain));
        s = slice_from(s, plain);
        if (!s.n) break;
        unsigned char c = (unsigned char)*s.p;
        size_t used = 1;
        if (c >= 0x80) {
            used = utf8_sequence(s);
            sandbox_buf_add(out, used ? slice(s.p, used) : S("\xEF\xBF\xBD"));
            if (!used) used = 1;
        } else if (c == 0 && (used = sandbox_marker_at(encoder->sandbox, s, NULL, NULL)) != 0) {
            sandbox_buf_add(out, slice(s.p, used)); // a secret stays one, in body texts too
        } else {
            used = 1;
            const char *short_form = c ? strchr("\"\"\\\\\bb\ff\nn\rr\tt", c) : NULL;
            sandbox_buf_byte(out, '\\');
            if (short_form) {
                sandbox_buf_byte(out, short_form[1]);
            } else {
                sandbox_buf_add(out, S("u00"));
                sandbox_buf_byte(out, hex[c >> 4]);
                sandbox_buf_byte(out, hex[c & 15]);
            }
        }
        s = slice_from(s, used);
    }
    sandbox_buf_byte(out, '"');
}

static void add_integer(struct encoder *encoder, lua_Number n) {
    char text[24], *end = text + sizeof text, *p = end;
    int64_t left = (int64_t)fabs(n);
    do *--p = (char)('0' + left % 10);
    while (left /= 10);
    if (signbit(n)) *--p = '-';
    sandbox_buf_add(&encoder->out, slice(p, (size_t)(end - p)));
}

// Integers digit for digit up to 2^53, other numbers in as few digits as read back the same.
static void encode_number(struct encoder *encoder, lua_Number n) {
    char text[40];
    if (!isfinite(n))
        luaL_error(encoder->L, "json.encode: %s is no JSON number", isnan(n) ? "NaN" : "infinity");
    if (n == floor(n) && fabs(n) <= 9007199254740992.0) {
        add_integer(encoder, n);
        return;
    }
    int length = snprintf(text, sizeof text, "%.15g", n);
    if (strtod(text, NULL) != n) length = snprintf(text, sizeof text, "%.17g", n);
    sandbox_buf_add(&encoder->out, slice(text, (size_t)length));
}

// What keys a table has.
struct shape {
    size_t names, numbers, name_bytes;
};

static struct shape shape_of(struct encoder *encoder, int table) {
    lua_State *L = encoder->L;
    struct shape shape = { 0, 0, 0 };
    for (lua_pushnil(L); lua_next(L, table); lua_pop(L, 1)) {
        int type = lua_type(L, -2);
        if (type == LUA_TNUMBER) {
            shape.numbers++;
        } else if (type == LUA_TSTRING) {
            shape.names++;
            shape.name_bytes += lua_objlen(L, -2);
        } else {
            luaL_error(L, "json.encode: a %s cannot be a key", luaL_typename(L, -2));
        }
        if (shape.names + shape.numbers > JSON_VALUES_MAX)
            luaL_error(L, "json.encode: more than %d values", JSON_VALUES_MAX);
    }
    return shape;
}

static bool is_array(lua_State *L, int table) {
    if (!lua_getmetatable(L, table)) return false;
    lua_rawgeti(L, LUA_REGISTRYINDEX, sandbox_of(L)->refs[REF_ARRAY]);
    bool array = lua_rawequal(L, -1, -2);
    lua_pop(L, 2);
    return array;
}

static void encode_list(struct encoder *encoder, int table, size_t n) {
    lua_State *L = encoder->L;
    sandbox_buf_byte(&encoder->out, '[');
    for (size_t i = 1; i <= n; i++) {
        if (i > 1) sandbox_buf_byte(&encoder->out, ',');
        lua_rawgeti(L, table, (int)i);
        if (lua_isnil(L, -1)) luaL_error(L, "json.encode: the list has holes: use json.null");
        encode_value(encoder, lua_gettop(L));
        lua_pop(L, 1);
    }
    sandbox_buf_byte(&encoder->out, ']');
}

static int compare_names(const void *a, const void *b) {
    const struct slice *x = a, *y = b;
    int order = memcmp(x->p, y->p, x->n < y->n ? x->n : y->n);
    return order ? order : (x->n > y->n) - (x->n < y->n);
}

// The names of the table in order. They point into strings that the table holds.
static void collect_names(lua_State *L, int table, struct slice *names, size_t n) {
    size_t i = 0;
    for (lua_pushnil(L); lua_next(L, table); lua_pop(L, 1)) {
        if (i == n) continue;
        names[i].p = lua_tolstring(L, -2, &names[i].n);
        i++;
    }
    if (n > 1) qsort(names, n, sizeof *names, compare_names);
}

static void encode_object(struct encoder *encoder, int table, struct shape shape) {
    lua_State *L = encoder->L;
    if (shape.name_bytes > JSON_BYTES_MAX)
        luaL_error(L, "json.encode: over %d bytes", JSON_BYTES_MAX);
    struct slice few[16], *names = few;
    if (shape.names > 16)
        names = lua_newuserdata(L, shape.names * sizeof *names);
    else
        lua_pushnil(L); // one slot either way
    collect_names(L, table, names, shape.names);
    sandbox_buf_byte(&encoder->out, '{');
    for (size_t i = 0; i < shape.names; i++) {
        if (i) sandbox_buf_byte(&encoder->out, ',');
        encode_string(encoder, names[i]);
        sandbox_buf_byte(&encoder->out, ':');
        lua_pushlstring(L, names[i].p, names[i].n);
        lua_rawget(L, table);
        encode_value(encoder, lua_gettop(L));
        lua_pop(L, 1);
    }
    sandbox_buf_byte(&encoder->out, '}');
    lua_pop(L, 1);
}

static void encode_table(struct encoder *encoder, int table) {
    lua_State *L = encoder->L;
    if (encoder->depth >= JSON_DEPTH_MAX)
        luaL_error(L, "json.encode: nested deeper than %d levels", JSON_DEPTH_MAX);
    luaL_checkstack(L, 8, "json.encode: nested too deeply");
    sandbox_poll(L); // walking a table takes long when it was large once, whatever it holds now
    encoder->depth++;
    struct shape shape = shape_of(encoder, table);
    if (shape.names && shape.numbers)
        luaL_error(L, "json.encode: a table has both named and numbered values");
    if (shape.numbers || (!shape.names && is_array(L, table))) {
        // As many numbers as the last one says, or there is a hole (or a 1.5).
        if (lua_objlen(L, table) != shape.numbers)
            luaL_error(L, "json.encode: the list has holes: use json.null");
        encode_list(encoder, table, shape.numbers);
    } else {
        encode_object(encoder, table, shape);
    }
    encoder->depth--;
}

static void encode_value(struct encoder *encoder, int index) {
    lua_State *L = encoder->L;
    if (++encoder->values > JSON_VALUES_MAX)
        luaL_error(L, "json.encode: more than %d values", JSON_VALUES_MAX);
    if (encoder->values % SANDBOX_POLL_STEPS == 0) sandbox_poll(L);
    switch (lua_type(L, index)) {
    case LUA_TNIL: sandbox_buf_add(&encoder->out, S("null")); return;
    case LUA_TBOOLEAN:
        sandbox_buf_add(&encoder->out, lua_toboolean(L, index) ? S("true") : S("false"));
        return;
    case LUA_TNUMBER: encode_number(encoder, lua_tonumber(L, index)); return;
    case LUA_TSTRING: {
        struct slice s;
        s.p = lua_tolstring(L, index, &s.n);
        encode_string(encoder, s);
        return;
    }
    case LUA_TTABLE: encode_table(encoder, index); return;
    case LUA_TLIGHTUSERDATA: sandbox_buf_add(&encoder->out, S("null")); return;
    default: luaL_error(L, "json.encode: a %s cannot be encoded", luaL_typename(L, index));
    }
}

void sandbox_json_encode(lua_State *L, int index) {
    index = sandbox_absolute(L, index);
    struct encoder encoder = { .L = L, .sandbox = sandbox_of(L) };
    sandbox_buf_init(&encoder.out, L, JSON_BYTES_MAX);
    encode_value(&encoder, index);
    sandbox_buf_push(&encoder.out);
    lua_replace(L, encoder.out.slot);
}

static int json_encode(lua_State *L) {
    luaL_checkany(L, 1);
    sandbox_json_encode(L, 1);
    return 1;
}

static int json_decode(lua_State *L) {
    sandbox_json_decode(L, sandbox_check_slice(L, 1));
    return 1;
}

static int json_array(lua_State *L) {
    if (lua_isnoneornil(L, 1)) {
        lua_settop(L, 0);
        lua_newtable(L);
    }
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 1);
    lua_rawgeti(L, LUA_REGISTRYINDEX, sandbox_of(L)->refs[REF_ARRAY]);
    lua_setmetatable(L, 1);
    return 1;
}

void sandbox_open_json(lua_State *L) {
    static const struct sandbox_function own[] = { { "encode", json_encode },
                                                   { "decode", json_decode },
                                                   { "array", json_array } };
    lua_newtable(L);
    sandbox_of(L)->refs[REF_ARRAY] = luaL_ref(L, LUA_REGISTRYINDEX);
    lua_createtable(L, 0, 4);
    sandbox_set_functions(L, own, sizeof own / sizeof *own);
    lua_pushlightuserdata(L, NULL);
    lua_setfield(L, -2, "null");
    lua_setglobal(L, "json");
}
