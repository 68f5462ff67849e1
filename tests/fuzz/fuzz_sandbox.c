// The script API under random calls with random values: the input picks
// functions from everything in scope, arguments from a pool that results go back
// into, and perhaps an allocation that fails. Afterwards the state must answer a
// harmless call, with no C depth left over, and close with nothing kept.
#include <stdlib.h>

#include "sandbox.h"
#include "sandbox_kv.h"

#define MUST(condition)                                                                            \
    do {                                                                                           \
        if (!(condition)) abort();                                                                 \
    } while (0)

enum { MEMORY = 4 * 1024 * 1024, ARENA = 256 * 1024, BUDGET_MS = 8 };
enum {
    LATE_MS = 2000
}; // of CPU time; a script process is killed far earlier, but sanitizers are slow

static const char event_json[] =
    "{\"id\":\"e1\",\"type\":\"call.completed\",\"org\":\"o\",\"tags\":{\"CALL_ID\":\"c1\",\"D\":145,"
    "\"CALLER\":\"O\\\"Hara\\n\",\"EVIL\":\"\\u0000ShTOKEN\\u0000\",\"NONE\":null,\"J\":{\"a\":[1]}}}";

// Runs in the state. `input` is the fuzzer's bytes, three a step and more for
// arguments; `pool` is made new each time.
static const char driver[] =
    "local raw_pcall, raw_type, raw_next = pcall, type, next\n"
    "local function loop() while true do end end\n"
    "local function deep(f) return (('x'):gsub('.', deep)) end\n"
    "local cyclic = {1, 2} cyclic.me = cyclic\n"
    "local dag = {} for i = 1, 30 do dag = {dag, dag} end\n"
    "local meta = {} for _, name in ipairs{'__index', '__newindex', '__call', '__lt', '__le', '__eq', '__concat',\n"
    "  '__tostring', '__add', '__unm'} do meta[name] = function(a, b) return b or 'm' end end\n"
    "local angry = {} for name in pairs(meta) do angry[name] = function() error({}) end end\n"
    "local wide = ('ab'):rep(5e4)\n"
    "local hollow = {} for i = 1, 2e4 do hollow[i] = i end for i = 1, 2e4 do hollow[i] = nil end\n"
    "local hollows = {} for i = 1, 50 do hollows[i] = hollow end\n"
    "local turning = {__tostring = tostring, __index = function(t, k) return t[k] end}\n"
    "local pool = {0, 1, -1, 2, 3, 1.5, 0/0, 1/0, -1/0, 2^31, -2^31, 2^53, 1e300, true, false, json.null,\n"
    "  '', 'a', 'abc abc', ('x'):rep(300), ('a-'):rep(20), ('ab '):rep(400), '\\0\\1\\255', '%', '[', '(', '%b()',\n"
    "  '^(.-)%s*$', '%f[%w]%w+', '(a*)(.-)()', '%1', '[]]', '%d+', '*t', '%c', '%s %d %q %5.2f %p', 'x.y', 'items[1].id',\n"
    "  'id', 't', 'query', 'headers', 'body', 'X-A', 'GRANTED', 'lib.x', 'json', 'US', 'GB', '+15552345678', '2026-11-24T00:00:00Z',\n"
    "  'https://h:1/p?a=1&b=%20#f', '{\"a\":[1,{\"b\":null}],\"n\":12345678901234567890}', '[[[[', 'Zm9v',\n"
    "  wide, '[' .. wide .. ']', '%f[' .. wide .. ']', 'a-' .. wide, hollow, hollows, {hollows, hollows, hollows},\n"
    "  {}, {1, 2, 3}, {a = 1, b = {2}}, {1, nil, 3}, {3, 1, 2, 'x'}, cyclic, dag, json.array(),\n"
    "  setmetatable({}, meta), setmetatable({}, angry), setmetatable({1}, turning),\n"
    "  loop, deep, error, tostring, function(...) return ... end, function() return 1, 2, 3 end,\n"
    "  function(a, b) return a < b end, coroutine.create(loop), coroutine.wrap(function(a) coroutine.yield(a) end),\n"
    "  event, request, request.headers, request.query, request.body or 1, response, response.headers, delivery,\n"
    "  event.EVIL, request.headers['X-A'], request.url, _G, string, {year = 2026, month = 11, day = 24}}\n"
    "local calls = {function(a, k) return a[k] end, function(a, k, v) a[k] = v end, function(a, b) return a .. b end,\n"
    "  function(a, ...) return a(...) end, function(a, b) return a < b end, function(a, b) return a == b end,\n"
    "  function(a) return #a end, function(a, m, ...) return a[m](a, ...) end, function(a) for k, v in pairs(a) do end end,\n"
    "  event.tags, event.number, request.clone, function(a) saved = a end, function() return saved end}\n"
    "local seen = {}\n"
    "local function collect(t, depth)\n"
    "  local names = {}\n"
    "  for k in raw_next, t do if raw_type(k) == 'string' then names[#names + 1] = k end end\n"
    "  table.sort(names)\n"
    "  for _, k in ipairs(names) do local v = t[k]\n"
    "    if raw_type(v) == 'function' and not seen[v] then seen[v] = true calls[#calls + 1] = v\n"
    "    elseif raw_type(v) == 'table' and depth < 2 and not seen[v] then seen[v] = true collect(v, depth + 1) end\n"
    "  end\n"
    "end\n"
    "collect(_G, 0)\n"
    "local body = request.body\n"
    "if raw_type(body) == 'userdata' then for _, k in ipairs{'get', 'set', 'delete', 'decode'} do calls[#calls + 1] = body[k] end end\n"
    "local at, size, slot = 1, #pool, 0\n"
    "local byte, bytes = string.byte, input\n"
    "local function take() at = at + 1 return byte(bytes, at - 1) or 0 end\n"
    "while at <= #bytes do\n"
    "  local f, n = calls[take() % #calls + 1], take() % 5\n"
    "  local a, b, c, d = pool[take() % (size + 16) + 1], pool[take() % (size + 16) + 1], pool[take() % (size + 16) + 1], \n"
    "    pool[take() % (size + 16) + 1]\n"
    "  local ok, x, y\n"
    "  if n == 0 then ok, x, y = raw_pcall(f) elseif n == 1 then ok, x, y = raw_pcall(f, a)\n"
    "  elseif n == 2 then ok, x, y = raw_pcall(f, a, b) elseif n == 3 then ok, x, y = raw_pcall(f, a, b, c)\n"
    "  else ok, x, y = raw_pcall(f, a, b, c, d) end\n"
    "  slot = slot % 8 + 1 pool[size + slot] = x pool[size + slot + 8] = y\n"
    "end\n"
    "return pool[size + slot]\n";

struct input {
    struct slice bytes;
    struct request *request;
    bool read_back;
};

static void open_all(lua_State *L, void *user) {
    (void)user;
    sandbox_open_base(L);
    sandbox_open_string(L);
    sandbox_open_json(L);
    sandbox_open_host(L);
    sandbox_open_event(L);
}

static void run_input(lua_State *L, void *user) {
    static struct attempt attempt = { .number = 2, .status = 503, .retry_after_ms = 5 };
    const struct input *input = user;
    attempt.response_headers = S("HTTP/1.1 503 x\r\nX-A: b\r\n");
    sandbox_push_event(L);
    lua_setglobal(L, "event");
    sandbox_push_request(L, input->request);
    lua_setglobal(L, "request");
    sandbox_push_response(L, &attempt);
    lua_setglobal(L, "response");
    sandbox_push_delivery(L, S("d1"), 3, &attempt);
    lua_setglobal(L, "delivery");
    lua_pushlstring(L, input->bytes.p, input->bytes.n);
    lua_setglobal(L, "input");
    if (luaL_loadbuffer(L, driver, sizeof driver - 1, "@driver.lua")) lua_error(L);
    sandbox_call(L, 0, 1);
    struct request *requests, *same = input->request;
    size_t count;
    if (input->read_back) lua_pushnil(L); // what is left of the request, whatever was done to it
    sandbox_read_requests(L, -1, &requests, &count);
    for (size_t i = 0; i < count; i++) {
        struct fail fail = { 0 };
        request_check(requests + i, slice(NULL, 0), &fail);
        MUST(requests[i].headers_count <= REQUEST_HEADERS_MAX && requests + i != same);
    }
}

static void run_calm(lua_State *L, void *user) {
    (void)user;
    if (luaL_loadstring(L, "return 6 * 7")) lua_error(L);
    sandbox_call(L, 0, 1);
    MUST(lua_tonumber(L, -1) == 42);
}

static bool give_secret(struct sandbox *sandbox, struct slice name, struct slice *value) {
    (void)sandbox;
    *value = S("s3cr3t");
    return slice_eq(name, S("GRANTED"));
}

static bool give_lib(struct sandbox *sandbox, struct slice name, struct slice *source) {
    (void)sandbox;
    *source = S("return {f = function(...) return ... end}");
    return slice_eq(name, S("x"));
}

static void count_log(struct sandbox *sandbox, int level, struct slice line) {
    (void)level;
    MUST(line.n <= SANDBOX_LOG_LINE_MAX && sandbox->log_lines <= SANDBOX_LOG_LINES + 1);
}

// --- the allocation that fails ---

static lua_Alloc real_alloc;
static long fail_at;
static bool failed;

static void *failing_alloc(void *user, void *old, size_t old_n, size_t n) {
    if (n > (old ? old_n : 0) && fail_at >= 0 && fail_at-- == 0) {
        failed = true;
        return NULL;
    }
    return real_alloc(user, old, old_n, n);
}

static struct request *make_request(unsigned char choice) {
    static struct header headers[] = { { { "X-A", 3 }, { "v \0ShTOKEN\0", 11 } },
                                       { { "X-Try", 5 }, { "\0A\0", 3 } } };
    static struct request request;
    request = (struct request){
        .method = S("POST"), .headers = headers, .headers_count = 2, .has_body = true
    };
    request.url = S("https://h.example/p?a=1&t=\0SuTOKEN\0&b=x+y#f");
    request.body =
        choice % 3 == HOOK_JSON
            ? S("{\"id\":9007199254740993,\"t\":\"\0SjT\0\",\"b\":\0SJB\0,\"items\":[{\"id\":1}],\"a\":[]}")
        : choice % 3 == HOOK_FORM ? S("a=1&b=\0SfT\0")
                                  : S("raw\0\0\0SrT\0");
    return &request;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static bool ticking;
    static struct event *event;
    static struct hook hook = { .name = { "w", 1 } };
    struct fail fail = { 0 };
    if (size < 3) return 0;
    if (!ticking) ticking = sandbox_clock_start();
    if (!event) event = event_read(slice_str(event_json), 0, &fail);
    struct sandbox *sandbox = sandbox_new(MEMORY);
    struct arena arena;
    MUST(sandbox && event);
    hook.format = (enum hook_format)(data[0] % 3);
    arena_init(&arena, ARENA);
    sandbox->hook = &hook;
    sandbox->secret = give_secret;
    sandbox->lib = give_lib;
    sandbox->log = count_log;
    sandbox->kv = sandbox_kv_new();
    MUST(sandbox_protect(sandbox, open_all, NULL, 1000).end == SANDBOX_DONE);
    sandbox->arena = &arena;
    sandbox->event = event;
    sandbox->call_serial = 1;
    sandbox->loading = data[1] % 8 == 0;

    void *user;
    real_alloc = lua_getallocf(sandbox->L, &user);
    lua_setallocf(sandbox->L, failing_alloc, user);
    fail_at = data[2] ? data[2] * 7L : -1;
    failed = false;
    struct input input = { slice((const char *)data + 3, size - 3), make_request(data[0]),
                           data[1] & 1 };
    struct sandbox_result result = sandbox_protect(sandbox, run_input, &input, BUDGET_MS);
    MUST(result.text.n <= SANDBOX_ERROR_MAX && result.cpu_ns < LATE_MS * INT64_C(1000000));
    failed |= result.end == SANDBOX_OUT_OF_MEMORY || sandbox->memory_peak > MEMORY / 2;
    sandbox_kv_apply(sandbox->kv, sandbox->changes);
    MUST(sandbox_kv_bytes(sandbox->kv) <= SANDBOX_KV_BYTES_MAX);

    fail_at = -1;
    sandbox->call_serial = 2;
    MUST(sandbox_protect(sandbox, run_calm, NULL, 1000).end == SANDBOX_DONE &&
         sandbox->c_depth == 0);
    sandbox_kv_free(sandbox->kv);
    arena_deinit(&arena);
    lua_close(sandbox->L);
    sandbox->L = NULL;
    // A closure whose upvalues could not be made is freed by LuaJIT for less than it took.
    MUST(sandbox->memory == 0 || (failed && sandbox->memory < 4096));
    sandbox_free(sandbox);
    return 0;
}
