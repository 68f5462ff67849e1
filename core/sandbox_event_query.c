// request.query: the parameters of the request's URL, decoded. There is no
// second copy of them: reading looks into the URL, writing makes a new URL, so
// the two cannot disagree. What a script does not touch keeps its bytes.
#include "sandbox_buf.h"
#include "sandbox_event_inner.h"
#include "sandbox_percent.h"

// A URL in three: before the '?', the query, from the '#' on.
struct parts {
    struct slice base, query, fragment;
};

static struct parts split(struct slice url) {
    size_t hash = slice_find(url, '#');
    struct slice front = slice(url.p, hash);
    size_t mark = slice_find(front, '?');
    return (struct parts){ slice(url.p, mark), slice_from(front, mark + 1), slice_from(url, hash) };
}

// Pushes the URL as the script sees it and splits it; the parts borrow from the string.
static struct parts push_parts(lua_State *L, const struct sandbox_request *request) {
    struct slice url;
    sandbox_push_marked(L, request->url, PLACE_URL);
    url.p = lua_tolstring(L, -1, &url.n);
    return split(url);
}

// Does the encoded name say `name`? Uses `out` as scratch.
static bool name_is(struct sandbox_buf *out, struct slice encoded, struct slice name) {
    sandbox_poll(out->L); // there may be millions of them
    out->n = 0;
    sandbox_percent_undo(out, encoded, true);
    return slice_eq(slice(out->p, out->n), name);
}

static int query_index(lua_State *L) {
    const struct sandbox_request *request = view_check(L, 1, VIEW_QUERY);
    struct slice name = sandbox_check_slice(L, 2);
    struct slice rest = push_parts(L, request).query;
    struct sandbox_pair pair;
    struct sandbox_buf out;
    sandbox_buf_init(&out, L, SANDBOX_STRING_MAX);
    while (sandbox_pair_next(&rest, &pair)) {
        if (!name_is(&out, pair.name, name)) continue;
        out.n = 0;
        sandbox_percent_undo(&out, pair.value, true);
        sandbox_buf_push(&out);
        return 1;
    }
    return 0;
}

// Makes base?query#fragment the request's URL.
static void set_url(lua_State *L, struct sandbox_request *request, struct parts parts,
                    struct slice query) {
    struct sandbox_buf out;
    sandbox_buf_init(&out, L, SANDBOX_STRING_MAX);
    sandbox_buf_add(&out, parts.base);
    if (query.n) sandbox_buf_byte(&out, '?');
    sandbox_buf_add(&out, query);
    sandbox_buf_add(&out, parts.fragment);
    request->url = sandbox_read_marked(L, slice(out.p, out.n), PLACE_URL);
}

// Appends name=value for the Lua value at `value` (a list repeats the name).
static void add_value(struct sandbox_buf *query, struct slice name, int value) {
    lua_State *L = query->L;
    lua_createtable(L, 0, 1);
    sandbox_push_slice(L, name);
    lua_pushvalue(L, value);
    lua_rawset(L, -3);
    sandbox_pairs_add(query, -1, false);
    lua_pop(L, 1);
}

// The first parameter of the name is replaced where it stands, others of it go.
static int query_newindex(lua_State *L) {
    struct sandbox_request *request = view_check(L, 1, VIEW_QUERY);
    struct slice name = sandbox_check_slice(L, 2);
    lua_settop(L, 3);
    struct parts parts = push_parts(L, request);
    struct slice rest = parts.query;
    struct sandbox_pair pair;
    struct sandbox_buf query, scratch;
    sandbox_buf_init(&query, L, SANDBOX_STRING_MAX);
    sandbox_buf_init(&scratch, L, SANDBOX_STRING_MAX);
    bool written = lua_isnil(L, 3);
    while (sandbox_pair_next(&rest, &pair)) {
        if (!name_is(&scratch, pair.name, name)) {
            if (query.n) sandbox_buf_byte(&query, '&');
            sandbox_buf_add(&query, pair.whole);
        } else if (!written) {
            add_value(&query, name, 3);
            written = true;
        }
    }
    if (!written) add_value(&query, name, 3);
    set_url(L, request, parts, slice(query.p, query.n));
    return 0;
}

void query_replace(lua_State *L, struct sandbox_request *request, int value) {
    value = sandbox_absolute(L, value);
    int top = lua_gettop(L);
    struct parts parts = push_parts(L, request);
    struct sandbox_buf query;
    sandbox_buf_init(&query, L, SANDBOX_STRING_MAX);
    if (lua_istable(L, value)) {
        sandbox_pairs_add(&query, value, false);
    } else if (lua_isstring(L, value)) {
        struct slice text;
        lua_pushvalue(L, value);
        text.p = lua_tolstring(L, -1, &text.n);
        sandbox_buf_add(&query, text);
    } else if (!lua_isnil(L, value)) {
        luaL_error(L, "request.query needs a table or a text, not a %s", luaL_typename(L, value));
    }
    set_url(L, request, parts, slice(query.p, query.n));
    lua_settop(L, top);
}

static int query_pairs(lua_State *L) {
    const struct sandbox_request *request = view_check(L, 1, VIEW_QUERY);
    lua_newtable(L);
    int params = lua_gettop(L);
    sandbox_pairs_read(L, push_parts(L, request).query, params);
    lua_settop(L, params);
    return view_pairs(L);
}

static int query_tostring(lua_State *L) {
    struct parts parts = push_parts(L, view_check(L, 1, VIEW_QUERY));
    sandbox_push_slice(L, parts.query);
    return 1;
}

void event_open_query(lua_State *L) {
    static const struct sandbox_function own[] = { { "__index", query_index },
                                                   { "__newindex", query_newindex },
                                                   { "__pairs", query_pairs },
                                                   { "__tostring", query_tostring } };
    view_register(L, VIEW_QUERY, own, sizeof own / sizeof *own);
}
