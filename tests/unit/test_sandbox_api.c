// lua/api.lua says what is in a script's scope, and a real state has exactly
// that; the meta file and luacheck configuration made of it are well-formed.
// floor: sandbox_event
#include "check.h"
#include "script_state.h"

static struct arena call_arena;

static void open_base(lua_State *L, void *user) {
    (void)user;
    sandbox_open_base(L);
    sandbox_open_string(L);
    sandbox_open_json(L);
}

static char file_text[128 * 1024];

static const char *read_file(const char *path) {
    FILE *file = fopen(path, "r");
    size_t n = file ? fread(file_text, 1, sizeof file_text - 1, file) : 0;
    if (file) fclose(file);
    if (!n) printf("# cannot read %s: run from the repository's root\n", path);
    file_text[n] = '\0';
    return file_text;
}

// Runs a Lua file of the repository and keeps what it returns as a global.
static void load_as(lua_State *L, void *user) {
    const char *const *file = user;
    const char *text = read_file(file[1]);
    if (luaL_loadbuffer(L, text, strlen(text), file[1])) lua_error(L);
    lua_call(L, 0, 1);
    lua_setglobal(L, file[0]);
}

static void load_file(struct sandbox *sandbox, const char *name, const char *path) {
    const char *file[] = { name, path };
    struct sandbox_result result = sandbox_protect(sandbox, load_as, file, 2000);
    CHECK_SLICE(result.text, S(""));
}

static void open_more(lua_State *L, void *user) {
    (void)user;
    sandbox_open_host(L);
    sandbox_open_event(L);
}

static struct sandbox *start(void) {
    struct sandbox *sandbox = sandbox_new(STATE_MEMORY);
    arena_init(&call_arena, 1024 * 1024);
    sandbox->arena = &call_arena;
    CHECK_INT(sandbox_protect(sandbox, open_base, NULL, 1000).end, SANDBOX_DONE);
    CHECK_INT(sandbox_protect(sandbox, open_more, NULL, 1000).end, SANDBOX_DONE);
    return sandbox;
}

static void stop(struct sandbox *sandbox) {
    sandbox_free(sandbox);
    arena_deinit(&call_arena);
}

static const char compare[] =
    "local said, out = {}, {} "
    "for table_name, names in pairs(api.stock) do "
    "  local prefix = table_name == '' and '' or table_name .. '.' "
    "  if table_name ~= '' then said[table_name] = true end "
    "  for _, name in ipairs(names) do said[prefix .. name] = true end "
    "end "
    "for _, module in ipairs(api.modules) do "
    "  said[module[1]] = true "
    "  for i = 3, #module do said[module[1] .. '.' .. module[i][1]] = true end "
    "end "
    "local there = {} "
    "for name, value in pairs(_G) do "
    "  if name ~= 'api' then "
    "    there[name] = true "
    "    if type(value) == 'table' and value ~= _G then "
    "      for field in pairs(value) do there[name .. '.' .. field] = true end "
    "    end "
    "  end "
    "end "
    "for name in pairs(said) do if not there[name] then out[#out + 1] = 'missing ' .. name end end "
    "for name in pairs(there) do if not said[name] then out[#out + 1] = 'unsaid ' .. name end end "
    "table.sort(out) return table.concat(out, ', ')";

static void the_api_file_says_what_is_there(void) {
    struct sandbox *sandbox = start();
    load_file(sandbox, "api", "lua/api.lua");
    CHECK_TEXT(state_do(sandbox, compare), "");
    stop(sandbox);
}

static void views_have_the_members_said(void) {
    struct sandbox *sandbox = start();
    static struct hook hook = { .format = HOOK_JSON, .name = { "w", 1 } };
    static struct attempt attempt = { .number = 1, .status = 500, .retry_after_ms = 5 };
    static struct event event = { .id = { "e", 1 }, .type = { "a.b", 3 }, .org = { "o", 1 } };
    struct request request = {
        .method = S("POST"), .url = S("https://h/"), .body = S("{}"), .has_body = true
    };
    snprintf(attempt.error_type, sizeof attempt.error_type, "timeout");
    load_file(sandbox, "api", "lua/api.lua");
    sandbox->hook = &hook;
    sandbox->event = &event;
    lua_State *L = sandbox->L;
    sandbox_push_event(L);
    lua_setglobal(L, "event");
    sandbox_push_request(L, &request);
    lua_pushvalue(L, -1);
    lua_setglobal(L, "request");
    lua_getfield(L, -1, "body");
    lua_setglobal(L, "body");
    lua_pop(L, 1);
    sandbox_push_response(L, &attempt);
    lua_setglobal(L, "response");
    sandbox_push_delivery(L, S("d"), 3, &attempt);
    lua_setglobal(L, "delivery");
    CHECK_TEXT(
        state_do(sandbox,
                 "local out = {} for _, class in ipairs(api.classes) do for i = 3, #class do "
                 "local value = _G[class[1]][class[i][1]] "
                 "local kind = class[i][2]:sub(1, 1) == '(' and 'function' or nil "
                 "if value == nil or (kind and type(value) ~= kind) then "
                 "out[#out + 1] = class[1] .. '.' .. class[i][1] end end end "
                 "for _, t in ipairs{'response', 'delivery'} do for k in pairs(_G[t]) do "
                 "local said for _, class in ipairs(api.classes) do for i = 3, #class do "
                 "said = said or class[1] == t and class[i][1] == k end end "
                 "if not said then out[#out + 1] = 'unsaid ' .. t .. '.' .. k end end end "
                 "return table.concat(out, ', ')"),
        "");
    stop(sandbox);
}

static void editors_get_a_meta_file(void) {
    struct sandbox *sandbox = start();
    load_file(sandbox, "api", "lua/api.lua");
    load_file(sandbox, "catalog", "lua/catalog.lua");
    load_file(sandbox, "meta", "lua/meta.lua");
    CHECK_TEXT(
        state_do(
            sandbox,
            "local text, check = meta(api, catalog) "
            "assert(text:find('---@field CALL_ID string%?')) "
            "assert(text:find('function store.incr(key, by, ttl) end', 1, true)) "
            "assert(text:find('function body:get(path) end', 1, true)) "
            "assert(text:find('---@param ttl? number', 1, true)) "
            "assert(check:find('store = { fields = { \"get\", \"set\", \"incr\", \"delete\" } }', 1, true)) "
            "assert(not check:find('loadstring')) "
            "meta_text, check_text = text, check return 'ok'"),
        "ok");
    static const char *const texts[] = { "meta_text", "check_text" };
    for (size_t i = 0; i < 2; i++) { // both are Lua
        lua_getglobal(sandbox->L, texts[i]);
        const char *text = lua_tostring(sandbox->L, -1);
        CHECK(text && luaL_loadstring(sandbox->L, text) == 0);
        lua_pop(sandbox->L, 2);
    }
    stop(sandbox);
}

static const struct check_case cases[] = {
    { "the API file says what is there", the_api_file_says_what_is_there },
    { "views have the members said", views_have_the_members_said },
    { "editors get a meta file", editors_get_a_meta_file },
};
CHECK_MAIN(cases)
