// See the header. Texts without a NUL, nearly all, cost one memchr each way.
#include "sandbox_marker.h"

#include "sandbox_buf.h"
#include "sign.h"

enum { NONCE = 16 };

void sandbox_marker_init(struct sandbox *sandbox) {
    uint8_t digest[32];
    hash_sha256(slice((const char *)&sandbox->seed, sizeof sandbox->seed), digest);
    hex_encode(digest, NONCE / 2, sandbox->nonce);
    sandbox->nonce[NONCE] = '\0';
}

void *sandbox_keep_bytes(lua_State *L, size_t n) {
    struct arena *arena = sandbox_of(L)->arena;
    void *p = arena ? arena_alloc(arena, n ? n : 1) : NULL;
    if (!p) luaL_error(L, "the call's result memory is full");
    return p;
}

struct slice sandbox_keep(lua_State *L, struct slice text) {
    char *p = sandbox_keep_bytes(L, text.n);
    if (text.n) memcpy(p, text.p, text.n);
    return slice(p, text.n);
}

// Length of the engine's own marker at the start of `text`, or 0.
static size_t engine_marker(struct slice text) {
    if (text.n < 3 || text.p[0] != '\0') return 0;
    if (text.p[1] == 'A' && text.p[2] == '\0') return 3;
    if (text.p[1] != 'S') return 0;
    size_t n = 3;
    while (n < text.n && text.p[n] != '\0') n++;
    return n < text.n && n > 3 ? n + 1 : 0;
}

void sandbox_push_marked(lua_State *L, struct slice text, enum sandbox_place place) {
    if (slice_find(text, '\0') == text.n) {
        lua_pushlstring(L, text.p ? text.p : "", text.n);
        return;
    }
    const struct sandbox *sandbox = sandbox_of(L);
    struct sandbox_buf out;
    sandbox_buf_init(&out, L, SANDBOX_STRING_MAX);
    while (text.n) {
        size_t plain = slice_find(text, '\0');
        sandbox_buf_add(&out, slice(text.p, plain));
        text = slice_from(text, plain);
        if (!text.n) break;
        size_t marker = engine_marker(text), used = marker ? marker : 1;
        if (marker) {
            sandbox_buf_add(&out, slice(text.p, marker - 1));
            sandbox_buf_byte(&out, ':');
            sandbox_buf_add(&out, slice(sandbox->nonce, NONCE));
        } else if (place == PLACE_RAW && text.n > 1 && text.p[1] == '\0') {
            used = 2;
        }
        sandbox_buf_byte(&out, '\0');
        text = slice_from(text, used);
    }
    sandbox_buf_push(&out);
    lua_replace(L, out.slot);
}

size_t sandbox_marker_at(const struct sandbox *sandbox, struct slice text, struct slice *name,
                         char *mode) {
    if (text.n < NONCE + 4 || text.p[0] != '\0' || (text.p[1] != 'S' && text.p[1] != 'A')) return 0;
    struct slice rest = slice_from(text, 2);
    size_t n = slice_find(rest, '\0');
    if (n == rest.n || n < NONCE + 1) return 0;
    struct slice tail = slice(rest.p + n - NONCE - 1, NONCE + 1);
    if (tail.p[0] != ':' || memcmp(tail.p + 1, sandbox->nonce, NONCE) != 0) return 0;
    bool attempt = text.p[1] == 'A';
    size_t head = n - NONCE - 1; // MODE and NAME
    if (attempt ? head != 0 : head < 2) return 0;
    if (name) *name = attempt ? slice(NULL, 0) : slice(rest.p + 1, head - 1);
    if (mode) *mode = attempt ? '\0' : rest.p[0];
    return n + 3;
}

static char mode_for(enum sandbox_place place, bool in_string) {
    switch (place) {
    case PLACE_URL: return 'u';
    case PLACE_HEADER: return 'h';
    case PLACE_FORM: return 'f';
    case PLACE_RAW: return 'r';
    default: return in_string ? 'j' : 'J';
    }
}

// Is the JSON text behind `text` inside a string, when it was at its start?
static bool string_open(struct slice text, bool open) {
    for (size_t i = 0; i < text.n; i++) {
        if (text.p[i] == '"') open = !open;
        if (text.p[i] == '\\' && open) i++;
    }
    return open;
}

// Writes the engine's marker and returns the end; never longer than the script's.
static char *write_marker(char *to, struct slice name, char mode) {
    *to++ = '\0';
    *to++ = mode ? 'S' : 'A';
    if (mode) *to++ = mode;
    if (name.n) memcpy(to, name.p, name.n);
    to += name.n;
    *to++ = '\0';
    return to;
}

struct slice sandbox_read_marked(lua_State *L, struct slice text, enum sandbox_place place) {
    if (slice_find(text, '\0') == text.n) return sandbox_keep(L, text);
    const struct sandbox *sandbox = sandbox_of(L);
    char *start = sandbox_keep_bytes(L, place == PLACE_RAW ? 2 * text.n : text.n), *to = start;
    bool in_string = false;
    while (text.n) {
        size_t plain = slice_find(text, '\0');
        if (plain) memcpy(to, text.p, plain);
        to += plain;
        if (place == PLACE_JSON) in_string = string_open(slice(text.p, plain), in_string);
        text = slice_from(text, plain);
        if (!text.n) break;
        struct slice name;
        char mode;
        size_t marker = sandbox_marker_at(sandbox, text, &name, &mode);
        if (marker) {
            to = write_marker(to, name, mode ? mode_for(place, in_string) : '\0');
        } else {
            if (place != PLACE_RAW) luaL_error(L, "a NUL byte cannot be sent here");
            *to++ = '\0';
            *to++ = '\0';
        }
        text = slice_from(text, marker ? marker : 1);
    }
    return slice(start, (size_t)(to - start));
}
