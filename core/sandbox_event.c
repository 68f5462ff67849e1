// The views' common part, the event view, and the plain tables for responses
// and deliveries. The event is not turned into a table: a hook that reads two of
// its forty tags pays for two.
#include "sandbox_event_inner.h"

#include <math.h>
#include <stdlib.h>

#include "json.h"
#include "sandbox_buf.h"

static const enum sandbox_ref refs[] = { [VIEW_EVENT] = REF_EVENT,
                                         [VIEW_REQUEST] = REF_REQUEST,
                                         [VIEW_HEADERS] = REF_HEADERS,
                                         [VIEW_QUERY] = REF_QUERY,
                                         [VIEW_BODY] = REF_BODY };
static const char *const kind_names[] = { "event", "request", "headers", "query", "body" };

void view_push(lua_State *L, enum view_kind kind, void *target) {
    const struct sandbox *sandbox = sandbox_of(L);
    struct view *view = lua_newuserdata(L, sizeof *view);
    *view = (struct view){ kind, sandbox->call_serial, target };
    lua_rawgeti(L, LUA_REGISTRYINDEX, sandbox->refs[refs[kind]]);
    lua_setmetatable(L, -2);
}

// Every userdata that a script can hold is a view.
static struct view *to_view(lua_State *L, int arg) {
    if (lua_type(L, arg) != LUA_TUSERDATA || lua_objlen(L, arg) != sizeof(struct view)) return NULL;
    return lua_touserdata(L, arg);
}

void *view_check(lua_State *L, int arg, enum view_kind kind) {
    const struct view *view = to_view(L, arg);
    if (!view || view->kind != kind)
        luaL_error(L, "bad argument #%d (%s expected: call it with a colon)", arg,
                   kind_names[kind]);
    if (view->serial != sandbox_of(L)->call_serial || !sandbox_of(L)->arena)
        luaL_error(L, "%s used outside of its hook", kind_names[kind]);
    return view->target;
}

void view_register(lua_State *L, enum view_kind kind, const struct sandbox_function *metamethods,
                   size_t count) {
    lua_createtable(L, 0, (int)count + 1);
    sandbox_set_functions(L, metamethods, count);
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
    sandbox_of(L)->refs[refs[kind]] = luaL_ref(L, LUA_REGISTRYINDEX);
}

int view_pairs(lua_State *L) {
    lua_getglobal(L, "next");
    lua_insert(L, -2);
    lua_pushnil(L);
    return 3;
}

// --- the event ---

// Pushes a tag's value: text, or nil for none and null.
static void push_tag(lua_State *L, struct tag_value value) {
    if (value.kind == TAG_ABSENT || value.kind == TAG_NULL) {
        lua_pushnil(L);
        return;
    }
    if (value.kind != TAG_STRING || !(value.flags & TAG_ESCAPED)) {
        lua_pushlstring(L, value.p ? value.p : "", value.n);
        return;
    }
    struct sandbox_buf out;
    sandbox_buf_init(&out, L, EVENT_BYTES_MAX);
    char *p = sandbox_buf_reserve(&out, value.n);
    lua_pushlstring(L, p, json_unescape(slice(value.p, value.n), p));
    lua_replace(L, out.slot);
}

static struct tag_value find_tag(lua_State *L, const struct event *event, int name) {
    struct slice text;
    text.p = lua_tolstring(L, name, &text.n);
    return tag_set_get_name(&event->tags, text);
}

static bool put_tag(void *user, struct slice name, struct tag_value value) {
    lua_State *L = user;
    if (value.kind == TAG_ABSENT || value.kind == TAG_NULL) return true;
    sandbox_push_slice(L, name);
    push_tag(L, value);
    lua_rawset(L, -3);
    return true;
}

// event:tags() → {NAME = text, …}
static int event_tags(lua_State *L) {
    const struct event *event = view_check(L, 1, VIEW_EVENT);
    lua_newtable(L);
    tag_set_each(&event->tags, put_tag, L);
    return 1;
}

// event:number(name) → number, or nil when there is none or it is no number
static int event_number(lua_State *L) {
    const struct event *event = view_check(L, 1, VIEW_EVENT);
    luaL_checkstring(L, 2);
    push_tag(L, find_tag(L, event, 2));
    struct slice text = { NULL, 0 };
    if (!lua_isnil(L, -1)) text.p = lua_tolstring(L, -1, &text.n);
    text = slice_trim(text);
    bool number = text.n && text.n < 64;
    for (size_t i = 0; i < text.n && number; i++)
        number = text.p[i] && strchr("+-.0123456789eE", text.p[i]);
    char copy[64], *end = copy;
    if (number) {
        memcpy(copy, text.p, text.n);
        copy[text.n] = '\0';
        double value = strtod(copy, &end);
        number = end == copy + text.n && isfinite(value);
        if (number) lua_pushnumber(L, value);
    }
    if (!number) lua_pushnil(L);
    return 1;
}

static int push_field(lua_State *L, const struct event *event, struct slice name) {
    if (slice_eq(name, S("type")))
        sandbox_push_slice(L, event->type);
    else if (slice_eq(name, S("id")))
        sandbox_push_slice(L, event->id);
    else if (slice_eq(name, S("time")))
        lua_pushnumber(L, (lua_Number)event->time_ms / 1000);
    else if (slice_eq(name, S("org")) && event->org.n)
        sandbox_push_slice(L, event->org);
    else if (slice_eq(name, S("org")))
        lua_pushnil(L);
    else if (slice_eq(name, S("tags")))
        lua_pushcfunction(L, event_tags);
    else if (slice_eq(name, S("number")))
        lua_pushcfunction(L, event_number);
    else
        return luaL_error(L, "event has no field '%s' (tags are in capitals: event.CALL_ID)",
                          name.p);
    return 1;
}

static int event_index(lua_State *L) {
    const struct event *event = view_check(L, 1, VIEW_EVENT);
    struct slice name = sandbox_check_slice(L, 2);
    if (!name.n || name.p[0] < 'A' || name.p[0] > 'Z') return push_field(L, event, name);
    push_tag(L, tag_set_get_name(&event->tags, name));
    return 1;
}

static int event_newindex(lua_State *L) {
    return luaL_error(L, "an event cannot be changed: return new tags from hook.tags");
}

static int event_pairs(lua_State *L) {
    event_tags(L);
    return view_pairs(L);
}

static int event_tostring(lua_State *L) {
    const struct event *event = view_check(L, 1, VIEW_EVENT);
    lua_pushliteral(L, "event ");
    sandbox_push_slice(L, event->type);
    lua_pushliteral(L, " ");
    sandbox_push_slice(L, event->id);
    lua_concat(L, 4);
    return 1;
}

void sandbox_push_event(lua_State *L) {
    view_push(L, VIEW_EVENT, (void *)(uintptr_t)sandbox_of(L)->event);
}

// --- response and delivery ---

static void set_text(lua_State *L, const char *name, struct slice text) {
    sandbox_push_slice(L, text);
    lua_setfield(L, -2, name);
}

static void set_number(lua_State *L, const char *name, lua_Number number) {
    lua_pushnumber(L, number);
    lua_setfield(L, -2, name);
}

// Header lines as they came; the status line has no colon in front of a blank.
static struct header_list *read_header_lines(lua_State *L, struct slice lines) {
    struct header_list *list = sandbox_keep_bytes(L, sizeof *list);
    *list = (struct header_list){ .read_only = true };
    for (struct slice rest = lines; rest.n; rest = slice_from(rest, slice_find(rest, '\n') + 1))
        list->room++;
    list->items = sandbox_keep_bytes(L, list->room * sizeof *list->items);
    while (lines.n) {
        size_t n = slice_find(lines, '\n');
        struct slice line = slice(lines.p, n);
        lines = slice_from(lines, n + 1);
        if (line.n && line.p[line.n - 1] == '\r') line.n--;
        size_t colon = slice_find(line, ':');
        if (colon == line.n || !colon || memchr(line.p, ' ', colon)) continue;
        list->items[list->count++] =
            (struct header){ slice(line.p, colon), slice_trim(slice_from(line, colon + 1)) };
    }
    return list;
}

void sandbox_push_response(lua_State *L, const struct attempt *attempt) {
    lua_createtable(L, 0, 7);
    set_number(L, "status", attempt->status);
    set_number(L, "attempt", attempt->number);
    set_text(L, "body", attempt->response_body);
    if (attempt->error_type[0]) {
        set_text(L, "error_type", slice_str(attempt->error_type));
        set_text(L, "error", slice_str(attempt->error));
    }
    if (attempt->retry_after_ms >= 0)
        set_number(L, "retry_after", (lua_Number)attempt->retry_after_ms / 1000);
    view_push(L, VIEW_HEADERS, read_header_lines(L, attempt->response_headers));
    lua_setfield(L, -2, "headers");
}

void sandbox_push_delivery(lua_State *L, struct slice id, uint32_t attempts,
                           const struct attempt *last) {
    const struct sandbox *sandbox = sandbox_of(L);
    lua_createtable(L, 0, 7);
    set_text(L, "id", id);
    set_number(L, "attempts", attempts);
    if (sandbox->hook) set_text(L, "webhook", sandbox->hook->name);
    if (!last) return;
    set_number(L, "status", last->status);
    if (last->error_type[0]) {
        set_text(L, "error_type", slice_str(last->error_type));
        set_text(L, "error", slice_str(last->error));
    }
    sandbox_push_response(L, last);
    lua_setfield(L, -2, "response");
}

void sandbox_open_event(lua_State *L) {
    static const struct sandbox_function event[] = { { "__index", event_index },
                                                     { "__newindex", event_newindex },
                                                     { "__pairs", event_pairs },
                                                     { "__tostring", event_tostring } };
    view_register(L, VIEW_EVENT, event, sizeof event / sizeof *event);
    event_open_headers(L);
    event_open_query(L);
    event_open_body(L);
    event_open_request(L);
}
