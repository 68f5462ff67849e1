// Decoding: the engine's strict checker first, which names the byte of a
// mistake, then one pass that builds tables from a text known to be right.
//
// A number that a Lua number cannot hold (an integer past 2^53, 1e999) comes as a
// string of its digits: an id must not change by being looked at.
#include <math.h>
#include <stdlib.h>

#include "json.h"
#include "json_scan.h"
#include "sandbox.h"
#include "sandbox_buf.h"
#include "sandbox_json_inner.h"
#include "sandbox_ref.h"

struct decoder {
    lua_State *L;
    const char *p, *end;
    struct sandbox_buf scratch;
    unsigned values;
    int array_ref;
};

static void decode_value(struct decoder *decoder);

static void skip_blanks(struct decoder *decoder) {
    decoder->p = json_skip_blanks(decoder->p, decoder->end);
}

static void decode_string(struct decoder *decoder) {
    const char *start = decoder->p + 1, *end = json_string_end(start, decoder->end);
    struct slice raw = slice(start, (size_t)(end - start));
    decoder->p = end + 1;
    if (slice_find(raw, '\\') == raw.n) {
        lua_pushlstring(decoder->L, raw.p, raw.n);
        return;
    }
    decoder->scratch.n = 0;
    char *out = sandbox_buf_reserve(&decoder->scratch, raw.n);
    lua_pushlstring(decoder->L, out, json_unescape(raw, out));
}

// Fifteen digits fit a double exactly whatever they are.
static bool short_integer(struct slice text, lua_Number *out) {
    bool negative = text.p[0] == '-';
    if (text.n - negative > 15) return false;
    int64_t n = 0;
    for (size_t i = negative; i < text.n; i++) {
        if (text.p[i] < '0' || text.p[i] > '9') return false;
        n = n * 10 + (text.p[i] - '0');
    }
    *out = negative ? -(lua_Number)n : (lua_Number)n;
    return true;
}

static void decode_number(struct decoder *decoder) {
    const char *start = decoder->p;
    bool integer = true;
    for (; decoder->p < decoder->end && strchr("+-.0123456789Ee", *decoder->p) && *decoder->p;
         decoder->p++)
        if (strchr(".Ee", *decoder->p)) integer = false;
    struct slice text = slice(start, (size_t)(decoder->p - start));
    lua_Number n;
    if (!short_integer(text, &n)) {
        decoder->scratch.n = 0;
        char *copy = sandbox_buf_reserve(&decoder->scratch, text.n + 1);
        memcpy(copy, text.p, text.n);
        copy[text.n] = '\0';
        n = strtod(copy, NULL);
        if (!isfinite(n) || (integer && fabs(n) > 9007199254740991.0)) {
            lua_pushlstring(decoder->L, text.p, text.n);
            return;
        }
    }
    lua_pushnumber(decoder->L, n);
}

static void decode_array(struct decoder *decoder) {
    lua_State *L = decoder->L;
    lua_newtable(L);
    lua_rawgeti(L, LUA_REGISTRYINDEX, decoder->array_ref);
    lua_setmetatable(L, -2);
    decoder->p++;
    skip_blanks(decoder);
    for (int i = 1; *decoder->p != ']'; i++) {
        decode_value(decoder);
        lua_rawseti(L, -2, i);
        skip_blanks(decoder);
        if (*decoder->p == ',') decoder->p++;
    }
    decoder->p++;
}

static void decode_object(struct decoder *decoder) {
    lua_State *L = decoder->L;
    lua_newtable(L);
    decoder->p++;
    skip_blanks(decoder);
    while (*decoder->p != '}') {
        skip_blanks(decoder);
        decode_string(decoder);
        skip_blanks(decoder);
        decoder->p++; // the colon
        decode_value(decoder);
        lua_rawset(L, -3);
        skip_blanks(decoder);
        if (*decoder->p == ',') decoder->p++;
    }
    decoder->p++;
}

static void decode_word(struct decoder *decoder) {
    switch (*decoder->p) {
    case 't':
        lua_pushboolean(decoder->L, 1);
        decoder->p += 4;
        break;
    case 'f':
        lua_pushboolean(decoder->L, 0);
        decoder->p += 5;
        break;
    default: lua_pushlightuserdata(decoder->L, NULL); decoder->p += 4;
    }
}

static void decode_value(struct decoder *decoder) {
    luaL_checkstack(decoder->L, 4, "json.decode: nested too deeply");
    if (++decoder->values % SANDBOX_POLL_STEPS == 0) sandbox_poll(decoder->L);
    skip_blanks(decoder);
    switch (*decoder->p) {
    case '{': decode_object(decoder); break;
    case '[': decode_array(decoder); break;
    case '"': decode_string(decoder); break;
    case 't':
    case 'f':
    case 'n': decode_word(decoder); break;
    default: decode_number(decoder);
    }
}

void sandbox_json_decode(lua_State *L, struct slice text) {
    struct fail fail = { .code = OK };
    struct json_limits limits = { JSON_DEPTH_MAX, JSON_VALUES_MAX };
    if (text.n > JSON_BYTES_MAX) luaL_error(L, "json.decode: over %d bytes", JSON_BYTES_MAX);
    if (json_check(text, limits, &fail) != OK) luaL_error(L, "bad JSON: %s", fail.text);
    struct decoder decoder = { .L = L, .p = text.p, .end = text.p + text.n };
    decoder.array_ref = sandbox_of(L)->refs[REF_ARRAY];
    sandbox_buf_init(&decoder.scratch, L, JSON_BYTES_MAX + 1);
    decode_value(&decoder);
    lua_replace(L, decoder.scratch.slot);
}
