// The k-th allocation fails, for every k until a script gets through: once, and
// from then on. Whatever a script was doing, the state stays fit for the next
// call and closes with no byte left.
// floor: sandbox_event
#include "check.h"
#include "sandbox_kv.h"
#include "script_state.h"

static const char event_json[] =
    "{\"id\":\"e1\",\"type\":\"call.completed\",\"tags\":{\"CALL_ID\":\"c1\",\"D\":145,\"CALLER\":\"O\\\"Hara\\n\"}}";

static const char *const scripts[] = {
    "local t = {} for i = 1, 50 do t[i] = {i, k = 'v' .. i} end table.sort(t, function(a, b) return a[1] > b[1] end) "
    "table.insert(t, 1, 0) return table.concat({1, 2, 3}, ',')",
    "return (('a=1,b=2'):rep(60):gsub('(%w)=(%w)', function(a, b) return b .. '=' .. a end))",
    "return (('abc '):rep(40):gsub('%w+', {abc = 'xyz'})), ('%s %5.2f %q'):format({}, 1.5, 'x\\n')",
    "local n = 0 for w in ('one two three'):rep(20):gmatch('%a+') do n = n + #w end return n",
    "local v = json.decode('{\"a\":[1,2,{\"b\":\"c\\\\n\"}],\"big\":9007199254740993}') v.x = json.array() "
    "for i = 1, 30 do v['k' .. i] = i / 3 end return json.encode(v)",
    "local co = coroutine.wrap(function(a) for i = 1, 20 do a = coroutine.yield(a .. i) end end) "
    "local s = '' for i = 1, 20 do s = s .. co('x') end return s",
    "local ok, m = pcall(function() local function f(n) if n == 0 then error({n}) end return pcall(f, n - 1) end "
    "return f(30) end) return xpcall(error, function(e) return tostring(e) .. '!' end, 'x')",
    "log.info('hello', {a = {1, 2}, b = ('x'):rep(600)}) print(1, {}, nil, 'x') return os.date('%c', 0)",
    "store.set('a', {x = ('y'):rep(600)}) store.incr('n', 1, 60) store.delete('old') return store.get('a').x, "
    "store.get('kept')",
    "return hash.sha256('x'), base64.decode(base64.encode(('x'):rep(700))), base64.decode_url('__79_A'), "
    "url.parse('https://h:1/p?a=%20&b=1#f').params.a, url.query{a = {1, 2}, b = ('z'):rep(600)}, "
    "phone.e164('(555) 234-5678'), phone.format('5552345678'), time.parse('2026-11-24'), time.format(0)",
    "local m = require 'lib.x' return m.f(), require('lib.x') == m, require 'json' == json",
    "local t = event:tags() t.E = event.CALLER .. event:number('D') local s = tostring(event) "
    "for k, v in pairs(event) do s = s .. k .. v end return s",
    "request.url = request.url .. '&c=3' request.query.a = {1, 2} request.query.n = 'x y' request.method = 'PUT' "
    "request.headers.X = ('y'):rep(600) request.headers['x-b'] = nil for k, v in pairs(request.headers) do "
    "request.headers[k .. '2'] = v end for k, v in pairs(request.query) do request.query[k] = v end "
    "request.body:set('x', {t = request.body:get('t'), big = ('b'):rep(700)}) request.body:delete('id') "
    "local c = request:clone() c.body = c.body:decode() c.body = tostring(c.body) "
    "return read({c, request, {url = 'https://h/z', headers = {A = false}, body = {1}}})",
    "local s = ('x'):rep(300) log.debug(s) log.warn(s, {1}) log.error(s) return secret.get('TOKEN'), hash.md5(s), "
    "hash.sha1(s), hash.hmac_sha256(s, s, true), base64.encode_url(s), url.encode(s .. ' '), url.decode(s .. '%20'), "
    "phone.digits(s .. 1), time.now(), os.time({year = 2026, month = 1, day = 2}), os.clock(), os.difftime(2, 1), "
    "os.date('*t', 0).year, bit.tohex(bit.bor(bit.band(1, 2), bit.bxor(3, 4), bit.bnot(5), bit.lshift(1, 2), "
    "bit.rshift(4, 1), bit.arshift(4, 1), bit.rol(1, 1), bit.ror(1, 1), bit.bswap(1), bit.tobit(1)))",
    "local t = {} for i = 1, 200 do t[i] = 'v' .. i end local function echo(...) return select('#', coroutine.yield(...)) end "
    "local co = coroutine.create(echo) coroutine.resume(co, unpack(t)) assert(coroutine.status(co) == 'suspended') "
    "coroutine.resume(co, unpack(t)) assert(not coroutine.running() and not coroutine.isyieldable()) table.sort(t) "
    "table.remove(t, 1) table.move(t, 1, 100, 300) return table.maxn(t), table.getn(t), next(t), rawget(t, 1), "
    "rawequal(t, t), rawset(t, 1, 2), getmetatable(setmetatable({}, t)), type(t), tonumber('0x10'), _G == _G",
    "local s = string.char(97, 98):rep(300) local n = 0 for _, v in ipairs({s:byte(1, 200)}) do n = n + v end "
    "return s:find('b', 3), s:match('(a)(b)'), s:len(), s:lower(), s:upper(), s:reverse(), s:sub(2, 299), tostring(n), "
    "s:find('[^ab]'), string.format('%s', {})",
};

// Names the functions that no script above calls; those of math allocate nothing.
static const char names_uncalled_functions[] =
    "local missing = {} for module, names in pairs(_G) do "
    "if type(names) == 'table' and names ~= _G and module ~= 'math' then for name, value in pairs(names) do "
    "if type(value) == 'function' and not text:find(module .. '.' .. name .. '(', 1, true) and "
    "not text:find(module .. '.' .. name .. '{', 1, true) and not text:find(':' .. name .. '(', 1, true) then "
    "missing[#missing + 1] = module .. '.' .. name end end "
    "elseif type(names) == 'function' and not text:find(module, 1, true) then missing[#missing + 1] = module end end "
    "table.sort(missing) return table.concat(missing, ' ')";

// --- the failing allocator ---

static lua_Alloc real_alloc;
static long fail_at; // growth allocations until one fails; negative: none does
static bool fail_for_good, failed, ever_failed;

static void *failing_alloc(void *user, void *old, size_t old_n, size_t n) {
    if (n > (old ? old_n : 0) && fail_at >= 0) { // LuaJIT does not survive a failed shrink
        if (fail_at == 0) failed = ever_failed = true;
        if (fail_at == 0 && fail_for_good) return NULL;
        if (fail_at-- == 0) return NULL;
    }
    return real_alloc(user, old, old_n, n);
}

static void inject(struct sandbox *sandbox, long at, bool for_good) {
    void *user;
    lua_Alloc now = lua_getallocf(sandbox->L, &user);
    if (now != failing_alloc) {
        real_alloc = now;
        lua_setallocf(sandbox->L, failing_alloc, user);
    }
    fail_at = at;
    fail_for_good = for_good;
    failed = false;
}

// --- a call ---

static struct arena call_arena;
static struct event *event;
static struct hook hook = { .format = HOOK_JSON, .name = { "w", 1 } };
static struct sandbox_kv *kv;
static struct header headers[] = { { { "X-A", 3 }, { "\0ShTOKEN\0", 9 } },
                                   { { "X-B", 3 }, { "b", 1 } } };

static int read_back(lua_State *L) {
    struct request *requests;
    size_t count;
    sandbox_read_requests(L, 1, &requests, &count);
    lua_pushnumber(L, (lua_Number)count);
    return 1;
}

static bool give_lib(struct sandbox *sandbox, struct slice name, struct slice *source) {
    (void)sandbox;
    *source = S("local M = {} function M.f() return 'lib' end return M");
    return slice_eq(name, S("x"));
}

static bool give_secret(struct sandbox *sandbox, struct slice name, struct slice *value) {
    (void)sandbox;
    *value = S("s3cr3t");
    return slice_eq(name, S("TOKEN"));
}

static void drop_log(struct sandbox *sandbox, int level, struct slice line) {
    (void)sandbox, (void)level, (void)line;
}

static void open_all(lua_State *L, void *user) {
    (void)user;
    sandbox_open_base(L);
    sandbox_open_string(L);
    sandbox_open_json(L);
    sandbox_open_host(L);
    sandbox_open_event(L);
    lua_pushcfunction(L, read_back);
    lua_setglobal(L, "read");
}

static void push_views(lua_State *L) {
    struct request request = { .method = S("POST"),
                               .url = S("https://h/p?a=1&t=\0SuTOKEN\0"),
                               .headers = headers,
                               .headers_count = 2,
                               .body = S("{\"id\":1,\"t\":\"\0SjTOKEN\0\",\"b\":\0SJBARE\0}"),
                               .has_body = true };
    sandbox_push_event(L);
    lua_setglobal(L, "event");
    sandbox_push_request(L, &request);
    lua_setglobal(L, "request");
}

static void body(lua_State *L, void *user) {
    push_views(L);
    state_body(L, user);
}

static struct sandbox *start(void) {
    struct sandbox *sandbox = sandbox_new(STATE_MEMORY);
    sandbox->hook = &hook;
    sandbox->kv = kv;
    sandbox->lib = give_lib;
    sandbox->secret = give_secret;
    sandbox->log = drop_log;
    ever_failed = false;
    return sandbox;
}

// LuaJIT frees a closure as if it had no upvalues when one of them could not be
// made: eight bytes an upvalue stay on the books, though the block itself is back.
enum { CLOSURE_SLACK = 64 };

// Closes the state: nothing may be left.
static void stop(struct sandbox *sandbox) {
    fail_at = -1;
    lua_close(sandbox->L);
    sandbox->L = NULL;
    CHECK(sandbox->memory <= (ever_failed ? CLOSURE_SLACK : 0));
    sandbox_free(sandbox);
}

static enum sandbox_end call(struct sandbox *sandbox, const char *source, size_t arena_max) {
    static struct state_run run;
    run = (struct state_run){ .source = source };
    arena_deinit(&call_arena);
    arena_init(&call_arena, arena_max);
    sandbox->arena = &call_arena;
    sandbox->event = event;
    sandbox->call_serial++;
    sandbox->changes = NULL;
    sandbox->changes_count = sandbox->log_lines = 0;
    struct sandbox_result result = sandbox_protect(sandbox, body, &run, 10000);
    if (result.end == SANDBOX_RAISED && !failed) printf("# raised: %.*s\n", SLICE_FMT(result.text));
    return result.end;
}

static void begin(void) {
    struct fail fail = { 0 };
    event = event_read(slice_str(event_json), 0, &fail);
    kv = sandbox_kv_new();
    sandbox_kv_put(kv, S("kept"), S("[1]"), 0);
    sandbox_kv_put(kv, S("old"), S("1"), 0);
}

static void finish(void) {
    event_unref(event);
    sandbox_kv_free(kv);
    arena_deinit(&call_arena);
}

// Every k for one script; a fresh state now and then. Returns how many allocations it makes.
static long fail_each(const char *source, bool for_good) {
    struct sandbox *sandbox = NULL;
    long k = 0;
    for (bool more = true; more && k < 20000; k++) {
        if (!sandbox) {
            sandbox = start();
            CHECK_INT(sandbox_protect(sandbox, open_all, NULL, 10000).end, SANDBOX_DONE);
        }
        inject(sandbox, k, for_good);
        enum sandbox_end end = call(sandbox, source, 1 << 20);
        more = failed;
        if (!failed) CHECK_INT(end, SANDBOX_DONE);
        inject(sandbox, -1, false);
        CHECK_INT(call(sandbox, "return 1", 1 << 20), SANDBOX_DONE);
        CHECK_INT(sandbox->c_depth, 0);
        if (k % 61 == 60) {
            stop(sandbox);
            sandbox = NULL;
        }
    }
    if (sandbox) stop(sandbox);
    return k;
}

static void push_scripts(lua_State *L, void *user) {
    (void)user;
    open_all(L, NULL);
    for (size_t i = 0; i < sizeof scripts / sizeof *scripts; i++) lua_pushstring(L, scripts[i]);
    lua_concat(L, sizeof scripts / sizeof *scripts);
    lua_setglobal(L, "text");
}

static void the_scripts_call_every_function(void) {
    struct sandbox *sandbox = start();
    CHECK_INT(sandbox_protect(sandbox, push_scripts, NULL, 1000).end, SANDBOX_DONE);
    CHECK_TEXT(state_do(sandbox, names_uncalled_functions), "");
    stop(sandbox);
}

static void any_allocation_of_a_call_may_fail(void) {
    begin();
    long points = 0;
    for (size_t i = 0; i < sizeof scripts / sizeof *scripts; i++) {
        points += fail_each(scripts[i], false);
        points += fail_each(scripts[i], true);
    }
    printf("# %ld points of failure\n", points);
    CHECK(points > 1000);
    finish();
}

static void any_allocation_of_opening_may_fail(void) {
    begin();
    long k = 0;
    for (bool more = true; more; k++) {
        struct sandbox *sandbox = start();
        inject(sandbox, k, true);
        enum sandbox_end end = sandbox_protect(sandbox, open_all, NULL, 10000).end;
        more = failed;
        CHECK(end == (failed ? SANDBOX_OUT_OF_MEMORY : SANDBOX_DONE));
        stop(sandbox);
    }
    CHECK(k > 50);
    finish();
}

// From where lua_newstate itself fits: LuaJIT crashes when that runs out of memory.
static void a_state_may_be_too_small_for_its_libraries(void) {
    begin();
    for (size_t max = 32 * 1024; max < 128 * 1024; max += 512) {
        struct sandbox *sandbox = sandbox_new(max);
        if (!sandbox) continue;
        enum sandbox_end end = sandbox_protect(sandbox, open_all, NULL, 10000).end;
        CHECK(end == SANDBOX_DONE || end == SANDBOX_OUT_OF_MEMORY);
        stop(sandbox);
    }
    finish();
}

static void any_allocation_of_a_result_may_fail(void) {
    begin();
    struct sandbox *sandbox = start();
    CHECK_INT(sandbox_protect(sandbox, open_all, NULL, 10000).end, SANDBOX_DONE);
    failed = true; // errors are what is wanted here
    size_t done = 0;
    for (size_t max = 0; max < 24 * 1024; max += 16)
        for (size_t i = 8; i < sizeof scripts / sizeof *scripts; i++)
            done += call(sandbox, scripts[i], max) == SANDBOX_DONE;
    CHECK(done > 1000);
    stop(sandbox);
    finish();
}

static const struct check_case cases[] = {
    { "the scripts call every function", the_scripts_call_every_function },
    { "any allocation of a call may fail", any_allocation_of_a_call_may_fail },
    { "any allocation of opening may fail", any_allocation_of_opening_may_fail },
    { "a state may be too small for its libraries", a_state_may_be_too_small_for_its_libraries },
    { "any allocation of a result may fail", any_allocation_of_a_result_may_fail },
};
CHECK_MAIN(cases)
