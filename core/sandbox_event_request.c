// The request view, and what transform returns read back as requests.
#include "sandbox_event_inner.h"

enum { REQUESTS_MAX = 1000 }; // the engine's own limit is lower

static struct sandbox_request *new_request(lua_State *L) {
    struct sandbox_request *request = sandbox_keep_bytes(L, sizeof *request);
    memset(request, 0, sizeof *request);
    return request;
}

void sandbox_push_request(lua_State *L, const struct request *from) {
    struct sandbox *sandbox = sandbox_of(L);
    struct sandbox_request *request = new_request(L);
    request->method = from->method;
    request->url = from->url;
    request->body = from->body;
    request->has_body = from->has_body;
    request->format = sandbox->hook ? sandbox->hook->format : HOOK_JSON;
    request->headers.count = from->headers_count;
    request->headers.room = from->headers_count;
    request->headers.items = sandbox_keep_bytes(L, from->headers_count * sizeof(struct header));
    if (from->headers_count)
        memcpy(request->headers.items, from->headers, from->headers_count * sizeof(struct header));
    sandbox->request = request;
    view_push(L, VIEW_REQUEST, request);
}

// A request of its own that starts as `from` is now. Texts are never changed in
// place, so they may be shared.
static struct sandbox_request *copy_request(lua_State *L, struct sandbox_request *from) {
    struct sandbox_request *copy = new_request(L);
    struct slice body = body_text(L, from);
    *copy = *from;
    copy->body = body;
    copy->view = (struct body_view){ 0 };
    copy->headers.room = from->headers.count;
    copy->headers.items = sandbox_keep_bytes(L, from->headers.count * sizeof(struct header));
    if (from->headers.count)
        memcpy(copy->headers.items, from->headers.items,
               from->headers.count * sizeof(struct header));
    return copy;
}

static int request_clone(lua_State *L) {
    view_push(L, VIEW_REQUEST, copy_request(L, view_check(L, 1, VIEW_REQUEST)));
    return 1;
}

static int request_index(lua_State *L) {
    struct sandbox_request *request = view_check(L, 1, VIEW_REQUEST);
    struct slice name = sandbox_check_slice(L, 2);
    if (slice_eq(name, S("method")))
        sandbox_push_slice(L, request->method);
    else if (slice_eq(name, S("url")))
        sandbox_push_marked(L, request->url, PLACE_URL);
    else if (slice_eq(name, S("headers")))
        view_push(L, VIEW_HEADERS, &request->headers);
    else if (slice_eq(name, S("query")))
        view_push(L, VIEW_QUERY, request);
    else if (slice_eq(name, S("body")))
        body_push(L, request);
    else if (slice_eq(name, S("clone")))
        lua_pushcfunction(L, request_clone);
    else
        return luaL_error(L, "request has no field '%s'", name.p);
    return 1;
}

static struct slice check_text(lua_State *L, int value, const char *what) {
    if (lua_type(L, value) != LUA_TSTRING)
        luaL_error(L, "request.%s needs a text, not a %s", what, luaL_typename(L, value));
    struct slice text;
    text.p = lua_tolstring(L, value, &text.n);
    return text;
}

// Sets several headers from the table at `value`; the others stay.
static void merge_headers(lua_State *L, struct header_list *list, int value) {
    if (!lua_istable(L, value))
        luaL_error(L, "request.headers needs a table, not a %s", luaL_typename(L, value));
    for (lua_pushnil(L); lua_next(L, value); lua_pop(L, 1)) {
        if (lua_type(L, -2) != LUA_TSTRING) luaL_error(L, "header names must be texts");
        struct slice name;
        name.p = lua_tolstring(L, -2, &name.n);
        headers_set(L, list, name, lua_gettop(L));
    }
}

// request[name] = the value at `value`
static void set_field(lua_State *L, struct sandbox_request *request, struct slice name, int value) {
    if (slice_eq(name, S("method")))
        request->method = sandbox_keep(L, check_text(L, value, "method"));
    else if (slice_eq(name, S("url")))
        request->url = sandbox_read_marked(L, check_text(L, value, "url"), PLACE_URL);
    else if (slice_eq(name, S("query")))
        query_replace(L, request, value);
    else if (slice_eq(name, S("body")))
        body_replace(L, request, value);
    else
        luaL_error(L, "request has no field '%s'", name.p);
}

static int request_newindex(lua_State *L) {
    struct sandbox_request *request = view_check(L, 1, VIEW_REQUEST);
    struct slice name = sandbox_check_slice(L, 2);
    lua_settop(L, 3);
    if (!slice_eq(name, S("headers"))) {
        set_field(L, request, name, 3);
        return 0;
    }
    if (!lua_istable(L, 3))
        return luaL_error(L, "request.headers needs a table, not a %s", luaL_typename(L, 3));
    request->headers.count = 0;
    merge_headers(L, &request->headers, 3);
    return 0;
}

// --- transform's result ---

static void to_request(lua_State *L, struct sandbox_request *from, struct request *out) {
    out->body = body_text(L, from);
    out->has_body = from->has_body;
    out->method = from->method;
    out->url = from->url;
    out->headers = from->headers.items;
    out->headers_count = from->headers.count;
}

// A table that names what differs from the request. The URL comes before the
// query that is to be put into it.
static void read_table(lua_State *L, int table, struct request *out) {
    static const char *const fields[] = { "method", "url", "query", "headers", "body" };
    struct sandbox_request *request = copy_request(L, sandbox_of(L)->request);
    size_t known = 0, count = 0;
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        lua_pushstring(L, fields[i]);
        lua_rawget(L, table);
        if (!lua_isnil(L, -1)) {
            known++;
            if (slice_eq(slice_str(fields[i]), S("headers")))
                merge_headers(L, &request->headers, lua_gettop(L));
            else
                set_field(L, request, slice_str(fields[i]), lua_gettop(L));
        }
        lua_pop(L, 1);
    }
    for (lua_pushnil(L); lua_next(L, table); lua_pop(L, 1)) count++;
    if (count != known)
        luaL_error(L, "a request has method, url, query, headers and body, and nothing else");
    to_request(L, request, out);
}

void sandbox_read_request(lua_State *L, int index, struct request *out) {
    index = sandbox_absolute(L, index);
    luaL_checkstack(L, 10, "too many nested calls");
    if (!sandbox_of(L)->request) luaL_error(L, "there is no request here");
    switch (lua_type(L, index)) {
    case LUA_TNIL: to_request(L, sandbox_of(L)->request, out); return;
    case LUA_TUSERDATA: to_request(L, view_check(L, index, VIEW_REQUEST), out); return;
    case LUA_TTABLE: read_table(L, index, out); return;
    default: luaL_error(L, "a request is needed, not a %s", luaL_typename(L, index));
    }
}

// A list has numbers for keys; an empty table is an empty list.
static bool is_list(lua_State *L, int table) {
    lua_pushnil(L);
    if (!lua_next(L, table)) return true;
    bool list = lua_type(L, -2) == LUA_TNUMBER;
    lua_pop(L, 2);
    return list;
}

void sandbox_read_requests(lua_State *L, int index, struct request **requests, size_t *count) {
    index = sandbox_absolute(L, index);
    bool list = lua_istable(L, index) && is_list(L, index);
    size_t n = list ? lua_objlen(L, index) : 1;
    if (n > REQUESTS_MAX) luaL_error(L, "transform returned more than %d requests", REQUESTS_MAX);
    struct request *out = sandbox_keep_bytes(L, n * sizeof *out);
    memset(out, 0, n * sizeof *out);
    for (size_t i = 0; i < n; i++) {
        sandbox_poll(L);
        if (!list) {
            sandbox_read_request(L, index, out);
            continue;
        }
        lua_rawgeti(L, index, (int)i + 1);
        if (lua_isnil(L, -1)) luaL_error(L, "transform returned a list with holes");
        sandbox_read_request(L, -1, out + i);
        lua_pop(L, 1);
    }
    *requests = out;
    *count = n;
}

void event_open_request(lua_State *L) {
    static const struct sandbox_function own[] = { { "__index", request_index },
                                                   { "__newindex", request_newindex } };
    view_register(L, VIEW_REQUEST, own, sizeof own / sizeof *own);
}
