// request.body. A JSON body is a view over the payload engine: a script reads
// and changes the values it names, and every other byte goes out as the template
// made it, big integers, key order and empty arrays included.
#include "sandbox_event_inner.h"

#include "json.h"
#include "sandbox_buf.h"
#include "sandbox_percent.h"

struct slice body_text(lua_State *L, struct sandbox_request *request) {
    (void)L;
    return request->body;
}

static void set_bytes(struct sandbox_request *request, struct slice body) {
    request->body = body;
    request->has_body = true;
    request->patch = NULL;
}

static void replace_by_table(lua_State *L, struct sandbox_request *request, int value) {
    struct slice text;
    if (request->format == HOOK_RAW)
        luaL_error(L, "a raw body needs a text, not a table: use json.encode or url.query");
    if (request->format == HOOK_JSON) {
        sandbox_json_encode(L, value);
        text.p = lua_tolstring(L, -1, &text.n);
    } else {
        struct sandbox_buf out;
        sandbox_buf_init(&out, L, REQUEST_BODY_MAX);
        sandbox_pairs_add(&out, value, true);
        sandbox_buf_push(&out);
        text.p = lua_tolstring(L, -1, &text.n);
    }
    set_bytes(request, sandbox_read_marked(L, text, body_place(request->format)));
}

void body_replace(lua_State *L, struct sandbox_request *request, int value) {
    value = sandbox_absolute(L, value);
    int top = lua_gettop(L);
    switch (lua_type(L, value)) {
    case LUA_TNIL:
        set_bytes(request, slice("", 0));
        request->has_body = false;
        break;
    case LUA_TNUMBER:
    case LUA_TSTRING: {
        struct slice text;
        lua_pushvalue(L, value);
        text.p = lua_tolstring(L, -1, &text.n);
        set_bytes(request, sandbox_read_marked(L, text, body_place(request->format)));
        break;
    }
    case LUA_TTABLE: replace_by_table(L, request, value); break;
    default: luaL_error(L, "request.body needs a table or a text, not a %s", luaL_typename(L, value));
    }
    lua_settop(L, top);
}

void body_push(lua_State *L, struct sandbox_request *request) {
    if (!request->has_body)
        lua_pushnil(L);
    else
        sandbox_push_marked(L, request->body, body_place(request->format));
}
