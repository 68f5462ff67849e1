// See the header. Not the engine's escapers: those write into memory sized for
// the worst case, three times a script's text, which here would count.
#include "sandbox_percent.h"

#include <stdlib.h>

#include "sandbox.h"
#include "sandbox_marker.h"
#include "sandbox_text.h"

enum { PAIRS_MAX = 1024 };

static bool is_unreserved(unsigned char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '.' || c == '_' || c == '~';
}

// A form leaves '*' and encodes '~', as the URL standard has it.
static bool stays(unsigned char c, bool form) {
    if (form && c == '*') return true;
    return is_unreserved(c) && !(form && c == '~');
}

void sandbox_percent_add(struct sandbox_buf *out, struct slice text, bool form) {
    static const char hex[] = "0123456789ABCDEF";
    const struct sandbox *sandbox = sandbox_of(out->L);
    while (text.n) {
        size_t plain = 0;
        while (plain < text.n && stays((unsigned char)text.p[plain], form)) plain++;
        sandbox_buf_add(out, slice(text.p, plain));
        text = slice_from(text, plain);
        if (!text.n) return;
        unsigned char c = (unsigned char)*text.p;
        size_t marker = c ? 0 : sandbox_marker_at(sandbox, text, NULL, NULL);
        if (marker) {
            sandbox_buf_add(out, slice(text.p, marker));
        } else if (c == ' ' && form) {
            sandbox_buf_byte(out, '+');
        } else {
            sandbox_buf_byte(out, '%');
            sandbox_buf_byte(out, hex[c >> 4]);
            sandbox_buf_byte(out, hex[c & 15]);
        }
        text = slice_from(text, marker ? marker : 1);
    }
}

static int hex_digit(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

void sandbox_percent_undo(struct sandbox_buf *out, struct slice text, bool form) {
    for (size_t i = 0; i < text.n; i++) {
        char c = text.p[i];
        int high = -1, low = -1;
        if (c == '%' && text.n - i > 2) {
            high = hex_digit(text.p[i + 1]);
            low = hex_digit(text.p[i + 2]);
        }
        if (high >= 0 && low >= 0) {
            c = (char)(high << 4 | low);
            i += 2;
        } else if (c == '+' && form) {
            c = ' ';
        }
        sandbox_buf_byte(out, c);
    }
}

bool sandbox_pair_next(struct slice *rest, struct sandbox_pair *pair) {
    while (rest->n) {
        size_t n = slice_find(*rest, '&');
        struct slice whole = slice(rest->p, n);
        *rest = slice_from(*rest, n + 1);
        if (!n) continue;
        size_t equals = slice_find(whole, '=');
        *pair =
            (struct sandbox_pair){ slice(whole.p, equals), slice_from(whole, equals + 1), whole };
        return true;
    }
    return false;
}

static void add_pair(struct sandbox_buf *out, struct slice name, int value, bool form) {
    lua_State *L = out->L;
    switch (lua_type(L, value)) {
    case LUA_TSTRING:
    case LUA_TNUMBER:
    case LUA_TBOOLEAN: break;
    default:
        luaL_error(L, "'%s' is a %s: a text or number is needed", name.p, luaL_typename(L, value));
    }
    if (out->n) sandbox_buf_byte(out, '&');
    sandbox_percent_add(out, name, form);
    sandbox_buf_byte(out, '=');
    sandbox_push_text(L, value);
    struct slice text;
    text.p = lua_tolstring(L, -1, &text.n);
    sandbox_percent_add(out, text, form);
    lua_pop(L, 1);
}

static int compare_names(const void *a, const void *b) {
    const struct slice *x = a, *y = b;
    int order = memcmp(x->p, y->p, x->n < y->n ? x->n : y->n);
    return order ? order : (x->n > y->n) - (x->n < y->n);
}

// Pushes a userdata with the table's names in order; they point into its keys.
static struct slice *sorted_names(lua_State *L, int table, size_t *count) {
    struct slice *names = lua_newuserdata(L, PAIRS_MAX * sizeof *names);
    *count = 0;
    for (lua_pushnil(L); lua_next(L, table); lua_pop(L, 1)) {
        if (lua_type(L, -2) != LUA_TSTRING) luaL_error(L, "parameter names must be texts");
        if (*count == PAIRS_MAX) luaL_error(L, "more than %d parameters", PAIRS_MAX);
        names[*count].p = lua_tolstring(L, -2, &names[*count].n);
        ++*count;
    }
    if (*count > 1) qsort(names, *count, sizeof *names, compare_names);
    return names;
}

void sandbox_pairs_add(struct sandbox_buf *out, int index, bool form) {
    lua_State *L = out->L;
    index = sandbox_absolute(L, index);
    size_t count;
    struct slice *names = sorted_names(L, index, &count);
    for (size_t i = 0; i < count; i++) {
        sandbox_push_slice(L, names[i]);
        lua_rawget(L, index);
        if (lua_istable(L, -1)) {
            for (int at = 1; at <= PAIRS_MAX; at++) {
                lua_rawgeti(L, -1, at);
                if (lua_isnil(L, -1))
                    at = PAIRS_MAX;
                else
                    add_pair(out, names[i], lua_gettop(L), form);
                lua_pop(L, 1);
            }
        } else {
            add_pair(out, names[i], lua_gettop(L), form);
        }
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
}

// Pushes `text` decoded.
static void push_decoded(struct sandbox_buf *scratch, struct slice text) {
    scratch->n = 0;
    sandbox_percent_undo(scratch, text, true);
    sandbox_buf_push(scratch);
}

void sandbox_pairs_read(lua_State *L, struct slice query, int table) {
    int top = lua_gettop(L);
    struct sandbox_pair pair;
    struct sandbox_buf scratch;
    sandbox_buf_init(&scratch, L, SANDBOX_STRING_MAX);
    for (unsigned count = 1; sandbox_pair_next(&query, &pair); count++) {
        if (count % SANDBOX_POLL_STEPS == 0) sandbox_poll(L);
        push_decoded(&scratch, pair.name);
        lua_pushvalue(L, -1);
        lua_rawget(L, table);
        bool known = !lua_isnil(L, -1);
        lua_pop(L, 1);
        if (known) {
            lua_pop(L, 1);
            continue;
        }
        push_decoded(&scratch, pair.value);
        lua_rawset(L, table);
    }
    lua_settop(L, top);
}
