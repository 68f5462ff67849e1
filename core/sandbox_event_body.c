// request.body. A JSON body is a view over the payload engine (patch.h): a
// script reads and changes the values it names, and every other byte goes out as
// the template made it, big integers, key order and empty arrays included.
//
// The engine wants strict JSON, and a secret's marker is none: raw NULs in a
// string, or in the place of a value. So a view works on a text in which a marker
// is escaped like any other bytes of a string, with the state's nonce; the
// body is made of it again when someone asks for the bytes.
#include "sandbox_event_inner.h"

#include "json.h"
#include "patch.h"
#include "sandbox_buf.h"
#include "sandbox_percent.h"

static const struct json_limits view_limits = { PATCH_DEPTH_MAX, 0 };
#define NUL_ESCAPED "\\u0000"
enum { NUL_ESCAPED_N = sizeof NUL_ESCAPED - 1, MARKER_MAX = 256 };

static void set_bytes(struct sandbox_request *request, struct slice body) {
    request->body = body;
    request->has_body = true;
    request->view = (struct body_view){ 0 };
}

// Appends `text` with every NUL as its escape.
static void add_escaping_nuls(struct sandbox_buf *out, struct slice text) {
    while (text.n) {
        size_t plain = slice_find(text, '\0');
        sandbox_buf_add(out, slice(text.p, plain));
        if (plain < text.n) sandbox_buf_add(out, S(NUL_ESCAPED));
        text = slice_from(text, plain + 1);
    }
}

// The body with script-side markers → strict JSON: a marker in the place of a
// value gets quotes, which its mode 'J' tells apart on the way back.
static struct slice to_view_text(lua_State *L, struct slice body) {
    if (slice_find(body, '\0') == body.n) return body;
    const struct sandbox *sandbox = sandbox_of(L);
    int top = lua_gettop(L);
    struct slice text;
    sandbox_push_marked(L, body, PLACE_JSON);
    text.p = lua_tolstring(L, -1, &text.n);
    struct sandbox_buf out;
    sandbox_buf_init(&out, L, 2 * REQUEST_BODY_MAX);
    while (text.n) {
        size_t plain = slice_find(text, '\0');
        sandbox_buf_add(&out, slice(text.p, plain));
        text = slice_from(text, plain);
        char mode = '\0';
        size_t marker = sandbox_marker_at(sandbox, text, NULL, &mode);
        if (mode == 'J') sandbox_buf_byte(&out, '"');
        add_escaping_nuls(&out, slice(text.p, marker));
        if (mode == 'J') sandbox_buf_byte(&out, '"');
        text = slice_from(text, marker ? marker : 1);
    }
    struct slice kept = sandbox_keep(L, slice(out.p, out.n));
    lua_settop(L, top);
    return kept;
}

// The script-side marker whose escaped form starts `text`, unescaped into `raw`;
// returns the escaped form's length, or 0.
static size_t escaped_marker(lua_State *L, struct slice text, struct sandbox_buf *raw, char *mode) {
    if (!slice_starts(text, S(NUL_ESCAPED))) return 0;
    struct slice rest = slice_from(text, NUL_ESCAPED_N);
    if (rest.n > MARKER_MAX) rest.n = MARKER_MAX;
    const char *end = memmem(rest.p, rest.n, NUL_ESCAPED, NUL_ESCAPED_N);
    if (!end) return 0;
    raw->n = 0;
    sandbox_buf_byte(raw, '\0');
    sandbox_buf_add(raw, slice(rest.p, (size_t)(end - rest.p)));
    sandbox_buf_byte(raw, '\0');
    if (sandbox_marker_at(sandbox_of(L), slice(raw->p, raw->n), NULL, mode) != raw->n) return 0;
    return (size_t)(end - text.p) + NUL_ESCAPED_N;
}

// A view's text → the body as the engine keeps it.
static struct slice to_body(lua_State *L, struct slice text) {
    const struct sandbox *sandbox = sandbox_of(L);
    if (!text.n || !memmem(text.p, text.n, sandbox->nonce, strlen(sandbox->nonce))) return text;
    int top = lua_gettop(L);
    struct sandbox_buf out, raw;
    sandbox_buf_init(&out, L, 2 * REQUEST_BODY_MAX);
    sandbox_buf_init(&raw, L, 2 * MARKER_MAX);
    while (text.n) {
        char mode = '\0';
        size_t n = escaped_marker(L, text, &raw, &mode);
        if (!n) {
            sandbox_buf_byte(&out, *text.p);
            text = slice_from(text, 1);
            continue;
        }
        text = slice_from(text, n);
        bool bare = mode == 'J' && out.n && out.p[out.n - 1] == '"' && slice_starts(text, S("\""));
        if (bare) {
            out.n--;
            text = slice_from(text, 1);
        }
        sandbox_buf_add(&out, slice(raw.p, raw.n));
    }
    struct slice body = sandbox_read_marked(L, slice(out.p, out.n), PLACE_JSON);
    lua_settop(L, top);
    return body;
}

struct slice body_text(lua_State *L, struct sandbox_request *request) {
    if (request->view.changed) {
        request->body = to_body(L, request->view.text);
        request->view.changed = false;
    }
    return request->body;
}

// Makes the view's text when it is not there yet. False when the body is no JSON.
static bool open_view(lua_State *L, struct sandbox_request *request) {
    struct body_view *view = &request->view;
    if (view->opened) return view->text.p != NULL;
    view->opened = true;
    struct slice text = to_view_text(L, request->body);
    if (json_check(text, view_limits, NULL) == OK) view->text = text;
    return view->text.p != NULL;
}

void body_push(lua_State *L, struct sandbox_request *request) {
    if (!request->has_body)
        lua_pushnil(L);
    else if (request->format == HOOK_JSON && open_view(L, request))
        view_push(L, VIEW_BODY, request);
    else
        sandbox_push_marked(L, request->body, body_place(request->format));
}

// --- replacing the whole body ---

static void replace_by_table(lua_State *L, struct sandbox_request *request, int value) {
    struct slice text;
    if (request->format == HOOK_RAW)
        luaL_error(L, "a raw body needs a text, not a table: use json.encode or url.query");
    if (request->format == HOOK_JSON) {
        sandbox_json_encode(L, value);
    } else {
        struct sandbox_buf out;
        sandbox_buf_init(&out, L, REQUEST_BODY_MAX);
        sandbox_pairs_add(&out, value, true);
        sandbox_buf_push(&out);
    }
    text.p = lua_tolstring(L, -1, &text.n);
    set_bytes(request, sandbox_read_marked(L, text, body_place(request->format)));
}

void body_replace(lua_State *L, struct sandbox_request *request, int value) {
    value = sandbox_absolute(L, value);
    int top = lua_gettop(L);
    struct slice text;
    switch (lua_type(L, value)) {
    case LUA_TNIL:
        set_bytes(request, slice("", 0));
        request->has_body = false;
        break;
    case LUA_TNUMBER:
    case LUA_TSTRING:
        lua_pushvalue(L, value);
        text.p = lua_tolstring(L, -1, &text.n);
        set_bytes(request, sandbox_read_marked(L, text, body_place(request->format)));
        break;
    case LUA_TTABLE: replace_by_table(L, request, value); break;
    case LUA_TUSERDATA: set_bytes(request, body_text(L, view_check(L, value, VIEW_BODY))); break;
    default:
        luaL_error(L, "request.body needs a table or a text, not a %s", luaL_typename(L, value));
    }
    lua_settop(L, top);
}

// --- the view ---

// The request behind the view at 1, its text ready. The body may have been
// replaced by something else since the view was made.
static struct sandbox_request *check_body(lua_State *L) {
    struct sandbox_request *request = view_check(L, 1, VIEW_BODY);
    if (!request->has_body || !open_view(L, request)) luaL_error(L, "the body is no JSON any more");
    return request;
}

static void raise_patch(lua_State *L, const char *verb, const struct fail *fail) {
    luaL_error(L, "body:%s: %s%s%s", verb, fail->path, fail->path[0] ? ": " : "", fail->text);
}

// Takes the changed text out of `out` and frees that; raises when it did not work.
static void keep_change(lua_State *L, struct sandbox_request *request, enum err err,
                        struct buf *out, const char *verb, const struct fail *fail) {
    struct arena *arena = sandbox_of(L)->arena;
    struct slice kept = { NULL, 0 };
    if (err == OK) kept = arena_dup(arena, buf_slice(out));
    buf_deinit(out);
    if (err != OK) raise_patch(L, verb, fail);
    if (!kept.p) luaL_error(L, "the call's result memory is full");
    request->view.text = kept;
    request->view.changed = true;
}

static int body_get(lua_State *L) {
    const struct sandbox_request *request = check_body(L);
    struct slice path = sandbox_check_slice(L, 2);
    struct json value;
    struct fail fail = { .code = OK };
    if (patch_get(request->view.text, path, &value, &fail) != OK) raise_patch(L, "get", &fail);
    if (value.type == JSON_NONE)
        lua_pushnil(L);
    else
        sandbox_json_decode(L, value.raw);
    return 1;
}

static int body_delete(lua_State *L) {
    struct sandbox_request *request = check_body(L);
    struct slice path = sandbox_check_slice(L, 2);
    struct fail fail = { .code = OK };
    struct buf out;
    bool found = false;
    buf_init(&out, 2 * REQUEST_BODY_MAX);
    enum err err = patch_delete(request->view.text, path, &out, &found, &fail);
    if (err == OK && !found)
        buf_deinit(&out);
    else
        keep_change(L, request, err, &out, "delete", &fail);
    lua_pushboolean(L, found);
    return 1;
}

// body:set(path, value); nil deletes.
static int body_set(lua_State *L) {
    struct sandbox_request *request = check_body(L);
    struct slice path = sandbox_check_slice(L, 2);
    if (lua_isnoneornil(L, 3)) {
        body_delete(L);
        return 0;
    }
    lua_settop(L, 3);
    sandbox_json_encode(L, 3);
    struct slice json;
    json.p = lua_tolstring(L, -1, &json.n);
    struct sandbox_buf strict;
    sandbox_buf_init(&strict, L, 2 * REQUEST_BODY_MAX);
    add_escaping_nuls(&strict, json);
    struct fail fail = { .code = OK };
    struct buf out;
    buf_init(&out, 2 * REQUEST_BODY_MAX);
    enum err err = patch_set(request->view.text, path, slice(strict.p, strict.n), &out, &fail);
    keep_change(L, request, err, &out, "set", &fail);
    return 0;
}

static int body_decode(lua_State *L) {
    sandbox_json_decode(L, check_body(L)->view.text);
    return 1;
}

static int body_tostring(lua_State *L) {
    struct sandbox_request *request = view_check(L, 1, VIEW_BODY);
    sandbox_push_marked(L, body_text(L, request), body_place(request->format));
    return 1;
}

static int body_newindex(lua_State *L) {
    return luaL_error(L, "use request.body:set(path, value)");
}

// Upvalue: the methods.
static int body_index(lua_State *L) {
    lua_settop(L, 2);
    lua_rawget(L, lua_upvalueindex(1));
    if (lua_isnil(L, -1)) return luaL_error(L, "use request.body:get(path)");
    return 1;
}

void event_open_body(lua_State *L) {
    static const struct sandbox_function metamethods[] = { { "__newindex", body_newindex },
                                                           { "__tostring", body_tostring } };
    static const struct sandbox_function methods[] = { { "get", body_get },
                                                       { "set", body_set },
                                                       { "delete", body_delete },
                                                       { "decode", body_decode } };
    view_register(L, VIEW_BODY, metamethods, sizeof metamethods / sizeof *metamethods);
    lua_rawgeti(L, LUA_REGISTRYINDEX, sandbox_of(L)->refs[REF_BODY]);
    lua_createtable(L, 0, sizeof methods / sizeof *methods);
    sandbox_set_functions(L, methods, sizeof methods / sizeof *methods);
    lua_pushcclosure(L, body_index, 1);
    lua_setfield(L, -2, "__index");
    lua_pop(L, 1);
}
