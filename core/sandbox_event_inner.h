// The views that stages get, and what stands behind them. A view is a small
// userdata: kind, the call it belongs to, and a pointer into that call's arena.
// When the call is over its serial is past and every use of the view raises.
#ifndef TUMA_SANDBOX_EVENT_INNER_H
#define TUMA_SANDBOX_EVENT_INNER_H

#include "sandbox.h"
#include "sandbox_marker.h"
#include "sandbox_ref.h"
#include "sandbox_text.h"

enum view_kind { VIEW_EVENT, VIEW_REQUEST, VIEW_HEADERS, VIEW_QUERY, VIEW_BODY };

struct view {
    enum view_kind kind;
    uint64_t serial;
    void *target;
};

// Headers of a request (changeable) or a response (not). Values are in the
// engine's form: with its markers.
struct header_list {
    struct header *items;
    size_t count, room;
    bool read_only;
};

// What a script sees and changes of a JSON body.
struct body_view {
    struct slice text; // strict JSON; p is NULL when the body is none
    bool opened;       // text was made
    bool changed;      // text is newer than the request's body
};

struct sandbox_request {
    struct slice method, url;
    struct header_list headers;
    struct slice body;
    bool has_body;
    enum hook_format format;
    struct body_view view;
};

static inline enum sandbox_place body_place(enum hook_format format) {
    return format == HOOK_JSON ? PLACE_JSON : format == HOOK_FORM ? PLACE_FORM : PLACE_RAW;
}

// Pushes a view of `target` for the call that runs now.
void view_push(lua_State *L, enum view_kind kind, void *target);
// The target of the view at `arg`; raises when it is none of this kind, or stale.
void *view_check(lua_State *L, int arg, enum view_kind kind);
// Makes the metatable of a kind: `metamethods` into it, closed to scripts.
void view_register(lua_State *L, enum view_kind kind, const struct sandbox_function *metamethods,
                   size_t count);
// What __pairs of a view gives: next and the table on top.
int view_pairs(lua_State *L);

// Each part registers its kinds.
void event_open_headers(lua_State *L);
void event_open_query(lua_State *L);
void event_open_body(lua_State *L);
void event_open_request(lua_State *L);

// Sets a header from the Lua value at `value`: text, number or boolean; nil or
// false removes it. Control bytes become a space, as in a template.
void headers_set(lua_State *L, struct header_list *list, struct slice name, int value);

// Replaces the URL's query by the value at `value`: a table, a text as it
// stands, nil for none.
void query_replace(lua_State *L, struct sandbox_request *request, int value);

// request.body as a script sees it: nil, a text, or a view of JSON.
void body_push(lua_State *L, struct sandbox_request *request);
void body_replace(lua_State *L, struct sandbox_request *request, int value);
// The body's bytes with all changes in it.
struct slice body_text(lua_State *L, struct sandbox_request *request);

#endif
