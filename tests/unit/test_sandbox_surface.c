// Everything a script can get hold of, found by walking a fresh state the way no script can.
// The list is literal: whatever creeps in must be written down here first.
// floor: sandbox_event
#include <stdlib.h>

#include "check.h"
#include "script_state.h"

enum { LINES_MAX = 1024, LINE_MAX_BYTES = 96, NAMES_MAX = 80 };

static const char *const expected[] = {
    "(string)<meta> table",
    "(string)<meta>.__index table",
    "(string)<meta>.__metatable boolean",
    "_G table",
    "_G<meta> table",
    "_G<meta>.__index C",
    "_G<meta>.__metatable boolean",
    "_G<meta>.__newindex C",
    "_VERSION string",
    "assert C",
    "base64 table",
    "base64.decode C",
    "base64.decode_url C",
    "base64.encode C",
    "base64.encode_url C",
    "bit table",
    "bit.arshift C",
    "bit.band C",
    "bit.bnot C",
    "bit.bor C",
    "bit.bswap C",
    "bit.bxor C",
    "bit.lshift C",
    "bit.rol C",
    "bit.ror C",
    "bit.rshift C",
    "bit.tobit C",
    "bit.tohex C",
    "coroutine table",
    "coroutine.create C",
    "coroutine.isyieldable C",
    "coroutine.resume C",
    "coroutine.running C",
    "coroutine.status C",
    "coroutine.wrap C",
    "coroutine.wrap() C",
    "coroutine.wrap()<up> thread",
    "coroutine.yield C",
    "delivery table",
    "delivery.attempts number",
    "delivery.error string",
    "delivery.error_type string",
    "delivery.id string",
    "delivery.response table",
    "delivery.response.attempt number",
    "delivery.response.body string",
    "delivery.response.error string",
    "delivery.response.error_type string",
    "delivery.response.headers userdata",
    "delivery.response.headers<meta> table",
    "delivery.response.retry_after number",
    "delivery.response.status number",
    "delivery.status number",
    "delivery.webhook string",
    "error C",
    "event userdata",
    "event:number C",
    "event:tags C",
    "event<meta> table",
    "event<meta>.__index C",
    "event<meta>.__metatable boolean",
    "event<meta>.__newindex C",
    "event<meta>.__pairs C",
    "event<meta>.__tostring C",
    "getmetatable C",
    "hash table",
    "hash.hmac_sha256 C",
    "hash.md5 C",
    "hash.sha1 C",
    "hash.sha256 C",
    "ipairs C",
    "ipairs() C",
    "ipairs<up> C",
    "json table",
    "json.array C",
    "json.array() table",
    "json.array()<meta> table",
    "json.decode C",
    "json.encode C",
    "json.null userdata",
    "log table",
    "log.debug C",
    "log.error C",
    "log.info C",
    "log.warn C",
    "math table",
    "math.abs C",
    "math.acos C",
    "math.asin C",
    "math.atan C",
    "math.atan2 C",
    "math.ceil C",
    "math.cos C",
    "math.cosh C",
    "math.deg Lua",
    "math.exp C",
    "math.floor C",
    "math.fmod C",
    "math.frexp C",
    "math.huge number",
    "math.ldexp C",
    "math.log C",
    "math.log10 C",
    "math.max C",
    "math.min C",
    "math.modf C",
    "math.pi number",
    "math.pow C",
    "math.rad Lua",
    "math.random C",
    "math.random<up> userdata",
    "math.randomseed C",
    "math.randomseed<up> userdata",
    "math.sin C",
    "math.sinh C",
    "math.sqrt C",
    "math.tan C",
    "math.tanh C",
    "next C",
    "os table",
    "os.clock C",
    "os.date C",
    "os.difftime C",
    "os.time C",
    "pairs C",
    "pairs() C",
    "pairs<up> C",
    "pcall C",
    "phone table",
    "phone.digits C",
    "phone.e164 C",
    "phone.format C",
    "print C",
    "rawequal C",
    "rawget C",
    "rawset C",
    "request userdata",
    "request:body userdata",
    "request:body<meta> table",
    "request:body<meta>.__index C",
    "request:body<meta>.__index<up> table",
    "request:body<meta>.__index<up>.decode C",
    "request:body<meta>.__index<up>.delete C",
    "request:body<meta>.__index<up>.get C",
    "request:body<meta>.__index<up>.set C",
    "request:body<meta>.__metatable boolean",
    "request:body<meta>.__newindex C",
    "request:body<meta>.__tostring C",
    "request:clone C",
    "request:headers userdata",
    "request:headers<meta> table",
    "request:headers<meta>.__index C",
    "request:headers<meta>.__metatable boolean",
    "request:headers<meta>.__newindex C",
    "request:headers<meta>.__pairs C",
    "request:query userdata",
    "request:query<meta> table",
    "request:query<meta>.__index C",
    "request:query<meta>.__metatable boolean",
    "request:query<meta>.__newindex C",
    "request:query<meta>.__pairs C",
    "request:query<meta>.__tostring C",
    "request<meta> table",
    "request<meta>.__index C",
    "request<meta>.__metatable boolean",
    "request<meta>.__newindex C",
    "require C",
    "require<up> table",
    "require<up>.base64 table",
    "require<up>.hash table",
    "require<up>.json table",
    "require<up>.log table",
    "require<up>.phone table",
    "require<up>.secret table",
    "require<up>.store table",
    "require<up>.time table",
    "require<up>.url table",
    "response table",
    "response.attempt number",
    "response.body string",
    "response.error string",
    "response.error_type string",
    "response.headers userdata",
    "response.headers<meta> table",
    "response.retry_after number",
    "response.status number",
    "secret table",
    "secret.get C",
    "select C",
    "setmetatable C",
    "store table",
    "store.delete C",
    "store.get C",
    "store.incr C",
    "store.set C",
    "string table",
    "string.byte C",
    "string.char C",
    "string.find C",
    "string.format C",
    "string.format<up> C",
    "string.gmatch C",
    "string.gmatch() C",
    "string.gmatch()<up> number",
    "string.gmatch()<up> string",
    "string.gmatch()<up> string",
    "string.gsub C",
    "string.len Lua",
    "string.lower C",
    "string.match C",
    "string.rep C",
    "string.rep<up> C",
    "string.reverse C",
    "string.sub C",
    "string.upper C",
    "table table",
    "table.concat C",
    "table.getn Lua",
    "table.insert C",
    "table.maxn C",
    "table.move Lua",
    "table.remove Lua",
    "table.sort C",
    "time table",
    "time.format C",
    "time.now C",
    "time.parse C",
    "tonumber C",
    "tostring C",
    "type C",
    "type<up> string",
    "type<up> string",
    "type<up> string",
    "type<up> string",
    "type<up> string",
    "type<up> string",
    "type<up> string",
    "type<up> string",
    "type<up> string",
    "type<up> string",
    "type<up> string",
    "type<up> string",
    "type<up> string",
    "type<up> string",
    "unpack C",
    "url table",
    "url.decode C",
    "url.encode C",
    "url.parse C",
    "url.query C",
    "xpcall C",
};

static struct {
    char lines[LINES_MAX][LINE_MAX_BYTES];
    size_t count;
} found;

static void walk(lua_State *L, const char *path);

static void note(lua_State *L, const char *path) {
    const char *type = luaL_typename(L, -1);
    if (lua_isfunction(L, -1)) type = lua_iscfunction(L, -1) ? "C" : "Lua";
    if (found.count == LINES_MAX) abort();
    snprintf(found.lines[found.count++], LINE_MAX_BYTES, "%s %s", path, type);
}

// Was the value on top met before? Remembers it.
static bool met(lua_State *L) {
    lua_getfield(L, LUA_REGISTRYINDEX, "met");
    lua_pushvalue(L, -2);
    lua_rawget(L, -2);
    bool known = !lua_isnil(L, -1);
    lua_pop(L, 1);
    lua_pushvalue(L, -2);
    lua_pushboolean(L, 1);
    lua_rawset(L, -3);
    lua_pop(L, 1);
    return known;
}

static void walk_under(lua_State *L, const char *path, const char *mark, const char *name) {
    char longer[LINE_MAX_BYTES];
    snprintf(longer, sizeof longer, "%s%s%s", path, *path ? mark : "", name);
    walk(L, longer);
}

static int compare(const void *a, const void *b) {
    return strcmp(a, b);
}

// The names of the table on top in order; other keys are none of ours.
static size_t sorted_names(lua_State *L, char names[NAMES_MAX][32]) {
    size_t n = 0;
    for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1)) {
        CHECK_INT(lua_type(L, -2), LUA_TSTRING);
        CHECK(n < NAMES_MAX);
        snprintf(names[n++], sizeof names[0], "%s", lua_tostring(L, -2));
    }
    qsort(names, n, sizeof names[0], compare);
    return n;
}

// Functions last: what they hold is mostly fields of something else.
static void walk_fields(lua_State *L, const char *path) {
    char names[NAMES_MAX][32];
    size_t n = sorted_names(L, names);
    for (int functions = 0; functions < 2; functions++)
        for (size_t i = 0; i < n; i++) {
            lua_pushstring(L, names[i]);
            lua_rawget(L, -2);
            if (lua_isfunction(L, -1) == functions) walk_under(L, path, ".", names[i]);
            lua_pop(L, 1);
        }
}

// Walks the value on top and pops it.
static void walk_more(lua_State *L, const char *path, const char *mark) {
    walk_under(L, path, mark, "");
    lua_pop(L, 1);
}

static void walk(lua_State *L, const char *path) {
    luaL_checkstack(L, 16, "surface");
    if (*path) note(L, path);
    int type = lua_type(L, -1);
    if ((type != LUA_TTABLE && type != LUA_TFUNCTION && type != LUA_TUSERDATA) || met(L)) return;
    if (type == LUA_TTABLE) walk_fields(L, path);
    if (lua_getmetatable(L, -1)) walk_more(L, *path ? path : "_G", "<meta>");
    if (type != LUA_TFUNCTION) return;
    for (int i = 1; lua_getupvalue(L, -1, i); i++) walk_more(L, path, "<up>");
    lua_getfenv(L, -1);
    CHECK(lua_rawequal(L, -1, LUA_GLOBALSINDEX));
    lua_pop(L, 1);
}

static void open_all(lua_State *L, void *user) {
    (void)user;
    sandbox_open_base(L);
    sandbox_open_string(L);
    sandbox_open_json(L);
    sandbox_open_host(L);
    sandbox_open_event(L);
}

static void walk_named(lua_State *L, const char *name) {
    walk(L, name);
    lua_pop(L, 1);
}

// The values that stages get, and those that scripts make without asking.
static void walk_values(lua_State *L) {
    static struct attempt attempt = { .number = 1, .status = 500, .retry_after_ms = 5 };
    struct request request = {
        .method = S("POST"), .url = S("https://h/"), .body = S("{}"), .has_body = true
    };
    static const char *const fields[] = { "headers", "query", "body", "clone" };
    snprintf(attempt.error_type, sizeof attempt.error_type, "timeout");
    sandbox_push_event(L);
    lua_getfield(L, -1, "tags");
    walk_named(L, "event:tags");
    lua_getfield(L, -1, "number");
    walk_named(L, "event:number");
    walk_named(L, "event");
    sandbox_push_request(L, &request);
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        char path[32];
        snprintf(path, sizeof path, "request:%s", fields[i]);
        lua_getfield(L, -1, fields[i]);
        walk_named(L, path);
    }
    walk_named(L, "request");
    sandbox_push_response(L, &attempt);
    walk_named(L, "response");
    sandbox_push_delivery(L, S("d"), 3, &attempt);
    walk_named(L, "delivery");
    lua_pushliteral(L, "text");
    lua_getmetatable(L, -1);
    walk_named(L, "(string)<meta>");
    lua_pop(L, 1);
    if (luaL_dostring(L, "return ('x'):gmatch('x'), coroutine.wrap(function() end), pairs({}), "
                         "(ipairs({})), json.array()"))
        lua_error(L);
    walk_named(L, "json.array()");
    walk_named(L, "ipairs()");
    walk_named(L, "pairs()");
    walk_named(L, "coroutine.wrap()");
    walk_named(L, "string.gmatch()");
}

static void no_type_but_strings_has_a_metatable(lua_State *L) {
    lua_pushnil(L);
    lua_pushboolean(L, 1);
    lua_pushnumber(L, 1);
    lua_pushlightuserdata(L, NULL);
    lua_pushcfunction(L, luaopen_base);
    lua_newthread(L);
    for (int i = 0; i < 6; i++, lua_pop(L, 1)) CHECK(!lua_getmetatable(L, -1));
}

static void walk_all(lua_State *L, void *user) {
    (void)user;
    lua_newtable(L);
    lua_setfield(L, LUA_REGISTRYINDEX, "met");
    sandbox_seal_globals(L);
    lua_pushvalue(L, LUA_GLOBALSINDEX);
    walk(L, "");
    lua_pop(L, 1);
    walk_values(L);
    no_type_but_strings_has_a_metatable(L);
}

static void the_surface_is_what_is_written_here(void) {
    static struct hook hook = { .format = HOOK_JSON, .name = { "w", 1 } };
    static struct event event = { .id = { "e", 1 }, .type = { "a.b", 3 }, .org = { "o", 1 } };
    struct sandbox *sandbox = sandbox_new(STATE_MEMORY);
    struct arena arena;
    arena_init(&arena, 1024 * 1024);
    sandbox->arena = &arena;
    sandbox->hook = &hook;
    sandbox->event = &event;
    CHECK_INT(sandbox_protect(sandbox, open_all, NULL, 1000).end, SANDBOX_DONE);
    struct sandbox_result result = sandbox_protect(sandbox, walk_all, NULL, 5000);
    CHECK_SLICE(result.text, S(""));
    qsort(found.lines, found.count, sizeof found.lines[0], compare);
    size_t wanted = sizeof expected / sizeof *expected;
    for (size_t i = 0, k = 0; i < found.count || k < wanted;) {
        int order = i == found.count ? 1 : k == wanted ? -1 : strcmp(found.lines[i], expected[k]);
        if (order)
            printf("# %s: %s\n", order < 0 ? "new" : "gone",
                   order < 0 ? found.lines[i] : expected[k]);
        CHECK_INT(order, 0);
        i += order <= 0;
        k += order >= 0;
    }
    sandbox_free(sandbox);
    arena_deinit(&arena);
}

static const struct check_case cases[] = {
    { "the surface is what is written here", the_surface_is_what_is_written_here },
};
CHECK_MAIN(cases)
