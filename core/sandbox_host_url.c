// url: encode, decode, parse, query.
#include "sandbox.h"
#include "sandbox_buf.h"
#include "sandbox_host_inner.h"
#include "sandbox_percent.h"

static int url_encode(lua_State *L) {
    struct slice text = sandbox_check_slice(L, 1);
    struct sandbox_buf out;
    sandbox_buf_init(&out, L, SANDBOX_STRING_MAX);
    sandbox_percent_add(&out, text, false);
    sandbox_buf_push(&out);
    return 1;
}

static int url_decode(lua_State *L) {
    struct slice text = sandbox_check_slice(L, 1);
    struct sandbox_buf out;
    sandbox_buf_init(&out, L, SANDBOX_STRING_MAX);
    sandbox_percent_undo(&out, text, false);
    sandbox_buf_push(&out);
    return 1;
}

static void set_part(lua_State *L, const char *name, struct slice part) {
    if (!part.p) return;
    sandbox_push_slice(L, part);
    lua_setfield(L, -2, name);
}

// Takes `text` up to the first byte of `stops` off the front of *rest.
static struct slice take_until(struct slice *rest, const char *stops) {
    size_t n = 0;
    while (n < rest->n && !(rest->p[n] && strchr(stops, rest->p[n]))) n++;
    struct slice taken = slice(rest->p, n);
    *rest = slice_from(*rest, n);
    return taken;
}

// authority = [userinfo@]host[:port]; the host may be a bracketed IPv6 address.
static void set_authority(lua_State *L, struct slice authority) {
    size_t at = slice_find(authority, '@');
    if (at < authority.n) {
        set_part(L, "user", slice(authority.p, at));
        authority = slice_from(authority, at + 1);
    }
    size_t end = authority.n && *authority.p == '[' ? slice_find(authority, ']') : 0;
    size_t colon = end + slice_find(slice_from(authority, end), ':');
    set_part(L, "host", slice(authority.p, colon));
    if (colon < authority.n) set_part(L, "port", slice_from(authority, colon + 1));
}

// Sets `params`: the query's decoded names and values.
static void set_params(lua_State *L, struct slice query) {
    lua_newtable(L);
    sandbox_pairs_read(L, query, lua_gettop(L));
    lua_setfield(L, -2, "params");
}

// url.parse(text) → {scheme, user, host, port, path, query, params, fragment}, or
// nil when it is not an absolute URL.
static int url_parse(lua_State *L) {
    struct slice rest = sandbox_check_slice(L, 1);
    struct slice scheme = take_until(&rest, ":/?#");
    if (!scheme.n || !slice_starts(rest, S("://"))) {
        lua_pushnil(L);
        lua_pushliteral(L, "not an absolute URL");
        return 2;
    }
    rest = slice_from(rest, 3);
    lua_newtable(L);
    set_part(L, "scheme", scheme);
    set_authority(L, take_until(&rest, "/?#"));
    set_part(L, "path", take_until(&rest, "?#"));
    if (slice_starts(rest, S("?"))) {
        rest = slice_from(rest, 1);
        struct slice query = take_until(&rest, "#");
        set_part(L, "query", query);
        set_params(L, query);
    }
    if (slice_starts(rest, S("#"))) set_part(L, "fragment", slice_from(rest, 1));
    return 1;
}

// url.query{a = 1, b = {"x", "y"}} → "a=1&b=x&b=y"
static int url_query(lua_State *L) {
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 1);
    struct sandbox_buf out;
    sandbox_buf_init(&out, L, SANDBOX_STRING_MAX);
    sandbox_pairs_add(&out, 1, false);
    sandbox_buf_push(&out);
    return 1;
}

void host_open_url(lua_State *L) {
    static const struct sandbox_function own[] = { { "encode", url_encode },
                                                   { "decode", url_decode },
                                                   { "parse", url_parse },
                                                   { "query", url_query } };
    host_set_module(L, "url", own, sizeof own / sizeof *own);
}
