// What a script may ask of the engine. Every function here is linear in its
// arguments, allocates only from the state, and calls back into no Lua.
#include "sandbox_host_inner.h"

#include "sandbox.h"
#include "sandbox_marker.h"
#include "sandbox_ref.h"

static const char *const modules[] = { "json", "log",   "store", "hash",  "base64",
                                       "url",  "phone", "time",  "secret" };

void host_set_module(lua_State *L, const char *name, const struct sandbox_function *functions,
                     size_t count) {
    lua_createtable(L, 0, (int)count);
    sandbox_set_functions(L, functions, count);
    lua_setglobal(L, name);
}

void host_refuse_load(lua_State *L, const char *what) {
    if (sandbox_of(L)->loading)
        luaL_error(L, "%s cannot be used while the file is loaded: use it inside a hook", what);
}

static int secret_get(lua_State *L) {
    struct slice name = sandbox_check_slice(L, 1), value;
    struct sandbox *sandbox = sandbox_of(L);
    host_refuse_load(L, "secret");
    if (!sandbox->secret || !sandbox->secret(sandbox, name, &value))
        return luaL_error(L, "secret '%s' is not granted: list it in secrets = {…}", name.p);
    sandbox_push_slice(L, value);
    return 1;
}

// --- require ---

static bool lib_name_valid(struct slice name) {
    for (size_t i = 0; i < name.n; i++) {
        char c = name.p[i];
        if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == '-'))
            return false;
    }
    return name.n > 0 && name.n <= 64;
}

// Pushes the function that the file scripts/lib/NAME.lua is.
static void compile_lib(lua_State *L, struct slice name) {
    struct sandbox *sandbox = sandbox_of(L);
    struct slice source;
    if (!lib_name_valid(name) || !sandbox->lib || !sandbox->lib(sandbox, name, &source))
        luaL_error(L, "there is no scripts/lib/%s.lua", name.p);
    if (source.n > SANDBOX_SOURCE_MAX)
        luaL_error(L, "lib/%s.lua is larger than %d bytes", name.p, SANDBOX_SOURCE_MAX);
    lua_pushfstring(L, "@lib/%s.lua", name.p);
    if (luaL_loadbufferx(L, source.p, source.n, lua_tostring(L, -1), "t")) lua_error(L);
    lua_remove(L, -2);
}

static void set_lib(lua_State *L, int libs, struct slice name, int value) {
    sandbox_push_slice(L, name);
    lua_pushvalue(L, value);
    lua_rawset(L, libs);
}

// Runs the lib on top, protected so that one that failed can be required again.
static void run_lib(lua_State *L, int libs, struct slice name) {
    struct sandbox *sandbox = sandbox_of(L);
    if (sandbox->c_depth >= SANDBOX_C_DEPTH_MAX) luaL_error(L, "C stack overflow");
    int depth = sandbox->c_depth++;
    int status = lua_pcall(L, 0, 1, 0);
    sandbox->c_depth = depth;
    if (!status) return;
    lua_pushnil(L);
    set_lib(L, libs, name, lua_gettop(L));
    lua_pop(L, 1);
    lua_error(L);
}

// Leaves what the lib returned, run once a state. While it runs its entry is
// false, so a ring of libs is told instead of followed.
static void require_lib(lua_State *L, struct slice name) {
    lua_rawgeti(L, LUA_REGISTRYINDEX, sandbox_of(L)->refs[REF_LIBS]);
    int libs = lua_gettop(L);
    sandbox_push_slice(L, name);
    lua_rawget(L, libs);
    if (lua_isboolean(L, -1) && !lua_toboolean(L, -1))
        luaL_error(L, "lib.%s is required while it is being loaded", name.p);
    if (!lua_isnil(L, -1)) return;
    compile_lib(L, name);
    lua_pushboolean(L, 0);
    set_lib(L, libs, name, lua_gettop(L));
    lua_pop(L, 1);
    run_lib(L, libs, name);
    if (!lua_toboolean(L, -1)) lua_pushboolean(L, 1);
    set_lib(L, libs, name, lua_gettop(L));
}

// Upvalue: the host modules by name, as they were opened.
static int host_require(lua_State *L) {
    struct slice name = sandbox_check_slice(L, 1);
    lua_settop(L, 1);
    lua_pushvalue(L, 1);
    lua_rawget(L, lua_upvalueindex(1));
    if (!lua_isnil(L, -1)) return 1;
    if (!slice_starts(name, S("lib.")))
        return luaL_error(L,
                          "module '%s' is not available (there are json, log, store, hash, base64, "
                          "url, phone, time, secret, and lib.NAME)",
                          name.p);
    require_lib(L, slice_from(name, 4));
    return 1;
}

static void open_require(lua_State *L) {
    lua_newtable(L);
    sandbox_of(L)->refs[REF_LIBS] = luaL_ref(L, LUA_REGISTRYINDEX);
    lua_createtable(L, 0, sizeof modules / sizeof *modules);
    for (size_t i = 0; i < sizeof modules / sizeof *modules; i++) {
        lua_getglobal(L, modules[i]);
        lua_setfield(L, -2, modules[i]);
    }
    lua_pushcclosure(L, host_require, 1);
    lua_setglobal(L, "require");
}

void sandbox_open_host(lua_State *L) {
    static const struct sandbox_function secret[] = { { "get", secret_get } };
    sandbox_marker_init(sandbox_of(L));
    host_open_bytes(L);
    host_open_url(L);
    host_open_log(L);
    host_open_phone(L);
    host_open_store(L);
    host_open_time(L);
    host_set_module(L, "secret", secret, 1);
    open_require(L);
}
