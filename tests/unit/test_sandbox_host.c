// The host modules: what each function answers, what is refused while a file
// loads, and how a call's store writes and log lines reach the engine.
#include "check.h"
#include "clock.h"
#include "log.h"
#include "sandbox_kv.h"
#include "script_state.h"

static char logged[64 * 1024];
static size_t logged_n, logged_lines;

static void keep_log(struct sandbox *sandbox, int level, struct slice line) {
    (void)sandbox;
    logged_n += (size_t)snprintf(logged + logged_n, sizeof logged - logged_n, "%d %.*s\n", level,
                                 SLICE_FMT(line));
    logged_lines++;
}

static bool give_secret(struct sandbox *sandbox, struct slice name, struct slice *value) {
    (void)sandbox;
    *value = S("s3cr3t");
    return slice_eq(name, S("GRANTED"));
}

static bool give_lib(struct sandbox *sandbox, struct slice name, struct slice *source) {
    (void)sandbox;
    static const struct {
        const char *name, *source;
    } libs[] = {
        { "good", "local M = {count = 0} function M.add() M.count = M.count + 1 return M.count end "
                  "return M" },
        { "flaky", "if not once then once = true error('first') end return 1" },
        { "ring", "return require 'lib.ring'" },
        { "broken", "local x =" },
        { "code", "\33LJ" },
        { "nothing", "local x = 1" },
    };
    for (size_t i = 0; i < sizeof libs / sizeof *libs; i++)
        if (slice_eq(name, slice_str(libs[i].name))) {
            *source = slice_str(libs[i].source);
            return true;
        }
    return false;
}

static void open_all(lua_State *L, void *user) {
    (void)user;
    sandbox_open_base(L);
    sandbox_open_string(L);
    sandbox_open_json(L);
    sandbox_open_host(L);
}

static struct arena call_arena;

// What the runner does around each call.
static void begin_call(struct sandbox *sandbox) {
    arena_deinit(&call_arena);
    arena_init(&call_arena, 8 * 1024 * 1024);
    sandbox->arena = &call_arena;
    sandbox->changes = NULL;
    sandbox->changes_count = 0;
    sandbox->log_lines = 0;
    logged_n = logged_lines = 0;
}

static struct sandbox *start(void) {
    static bool ticking;
    if (!ticking) ticking = sandbox_clock_start();
    struct sandbox *sandbox = sandbox_new(STATE_MEMORY);
    CHECK_INT(sandbox_protect(sandbox, open_all, NULL, 1000).end, SANDBOX_DONE);
    sandbox->log = keep_log;
    sandbox->secret = give_secret;
    sandbox->lib = give_lib;
    sandbox->kv = sandbox_kv_new();
    begin_call(sandbox);
    return sandbox;
}

static void stop(struct sandbox *sandbox) {
    arena_deinit(&call_arena);
    sandbox_kv_free(sandbox->kv);
    sandbox_free(sandbox);
}

static void digests_and_encodings(void) {
    struct sandbox *sandbox = start();
    static const struct state_case cases[] = {
        { "return hash.md5('a')", "0cc175b9c0f1b6a831c399e269772661" },
        { "return hash.sha1('abc')", "a9993e364706816aba3e25717850c26c9cd0d89d" },
        { "return hash.sha256('')",
          "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855" },
        { "return hash.hmac_sha256('Jefe', 'what do ya want for nothing?')",
          "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843" },
        { "return #hash.sha256('x', true), #hash.hmac_sha256('k', 'x', true)", "32 32" },
        { "hash.sha256()", "! string expected" },
        { "return base64.encode('foob'), base64.decode('Zm9vYg==')", "Zm9vYg== foob" },
        { "return base64.encode_url('\\255\\254\\253\\252'), base64.decode_url('__79_A')==''..'\\255\\254\\253\\252'",
          "__79_A true" },
        { "return base64.decode('Zm9vYg')", "nil not base64" },
        { "return base64.decode_url('a+b/')", "nil not base64" },
        { "return url.encode('a b&c=\\195\\169+~'), url.decode('a%20b%2')",
          "a%20b%26c%3D%C3%A9%2B~ a b%2" },
        { "return url.query{b = {'x', 'y z'}, a = 1, c = true}", "a=1&b=x&b=y%20z&c=true" },
        { "url.query{a = {{}}}", "! 'a' is a table" },
        { "url.query{1}", "! parameter names must be texts" },
        { "local u = url.parse('https://u:p@[::1]:8443/a/b?x=1&y=a+b%26&x=2#top') "
          "return u.scheme, u.user, u.host, u.port, u.path, u.query, u.params.x, u.params.y, u.fragment",
          "https u:p [::1] 8443 /a/b x=1&y=a+b%26&x=2 1 a b& top" },
        { "local u = url.parse('http://h') return u.host, u.path, u.port, u.query", "h  nil nil" },
        { "return url.parse('/relative')", "nil not an absolute URL" },
    };
    STATE_CHECK(sandbox, cases);
    stop(sandbox);
}

static void phone_numbers(void) {
    struct sandbox *sandbox = start();
    static const struct state_case cases[] = {
        { "return phone.e164('(555) 234-5678')", "+15552345678" },
        { "return phone.e164('1-555-234-5678')", "+15552345678" },
        { "return phone.e164('+1 555.234.5678')", "+15552345678" },
        { "return phone.e164('5552345678', 'CA')", "+15552345678" },
        { "return phone.e164('011 44 20 7946 0000')", "+442079460000" },
        { "return phone.e164('020 7946 0000', 'GB')", "+442079460000" },
        { "return phone.e164('0044 20 7946 0000', 'DE')", "+442079460000" },
        { "return phone.e164('+4930123456')", "+4930123456" },
        { "return phone.e164('06 698 12345', 'IT')", "+390669812345" },
        { "return (phone.e164('555-1234'))", "nil" },
        { "return (phone.e164('155 234 5678'))", "nil" },
        { "return (phone.e164('call me')), (phone.e164('')), (phone.e164('+'))", "nil nil nil" },
        { "return (phone.e164(('9'):rep(100)))", "nil" },
        { "phone.e164('5552345678', 'XX')", "! country 'XX' is not known" },
        { "return phone.digits('+1 (555) x2')", "15552" },
        { "return phone.format('5552345678'), phone.format('+442079460000')",
          "(555) 234-5678 +44 2079460000" },
        { "return (phone.format('12'))", "nil" },
    };
    STATE_CHECK(sandbox, cases);
    stop(sandbox);
}

static void times(void) {
    struct sandbox *sandbox = start();
    static const struct state_case cases[] = {
        { "return time.parse('2026-11-24T19:11:50.5Z')", "1795547510.5" },
        { "return time.parse('2026-11-24T20:11:50+01:00')", "1795547510" },
        { "return time.parse('2026-11-24'), time.parse('1795547510'), time.parse('1795547510500')",
          "1795478400 1795547510 1795547510.5" },
        { "return time.parse('yesterday')", "nil not a time" },
        { "return time.format(1795547510), time.format(0, '%d.%m.%Y')",
          "2026-11-24T19:11:50Z 01.01.1970" },
        { "time.format(0, '%Q')", "! invalid conversion" },
        { "return math.abs(time.now() - os.time()) < 2", "true" },
    };
    STATE_CHECK(sandbox, cases);
    stop(sandbox);
}

static void modules_come_by_name_too(void) {
    struct sandbox *sandbox = start();
    static const struct state_case cases[] = {
        { "return require 'json' == json, require 'secret' == secret", "true true" },
        { "local m = require 'lib.good' m.add() return require('lib.good').add()", "2" },
        { "return require 'lib.nothing'", "true" },
        { "return pcall(require, 'lib.flaky')", "false lib/flaky.lua:1: first" },
        { "return require 'lib.flaky'", "1" },
        { "require 'ffi'", "! module 'ffi' is not available" },
        { "require 'string'", "! module 'string' is not available" },
        { "require 'lib.missing'", "! there is no scripts/lib/missing.lua" },
        { "require 'lib.../x'", "! there is no scripts/lib/" },
        { "require 'lib.ring'", "! lib.ring is required while it is being loaded" },
        { "require 'lib.broken'", "! lib/broken.lua:1:" },
        { "require 'lib.code'", "! attempt to load chunk with wrong mode" },
        { "return secret.get('GRANTED')", "s3cr3t" },
        { "secret.get('OTHER')", "! secret 'OTHER' is not granted" },
    };
    STATE_CHECK(sandbox, cases);
    sandbox->loading = true;
    static const struct state_case loading[] = {
        { "secret.get('GRANTED')", "! cannot be used while the file is loaded" },
        { "store.get('a')", "! cannot be used while the file is loaded" },
        { "store.incr('a')", "! cannot be used while the file is loaded" },
    };
    STATE_CHECK(sandbox, loading);
    stop(sandbox);
}

static void store_keeps_values(void) {
    struct sandbox *sandbox = start();
    static const struct state_case cases[] = {
        { "return store.get('a')", "nil" },
        { "store.set('a', {x = {1, 2}}) return store.get('a').x[2]", "2" },
        { "store.set('b', 'text') store.set('c', false) return store.get('b'), store.get('c')",
          "text false" },
        { "store.set('big', 2^60) return store.get('big') == 2^60", "true" },
        { "return store.incr('n'), store.incr('n', 5), store.incr('n', -1.5), store.get('n')",
          "1 6 4.5 4.5" },
        { "store.set('b') return store.get('b'), store.delete('a'), store.delete('a')",
          "nil true false" },
        { "store.incr('c')", "! 'c' holds no number" },
        { "store.set('', 1)", "! a key has 1 to 256 bytes" },
        { "store.set(('k'):rep(257), 1)", "! a key has 1 to 256 bytes" },
        { "store.set('k', ('x'):rep(65536))", "! a value has at most 65536 bytes" },
        { "store.set('k', print)", "! a function cannot be encoded" },
        { "store.set('k', 1, -1)", "! ttl is seconds" },
        { "store.set('k', 1, 0/0)", "! ttl is seconds" },
        { "store.incr('k', 1/0)", "! infinity is no JSON number" },
        { "for i = 1, 300 do store.set('k' .. i, i) end", "! one call may change 256 keys" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        state_check(sandbox, cases + i, 1);
        if (state_result.end == SANDBOX_DONE) sandbox_kv_apply(sandbox->kv, sandbox->changes);
        begin_call(sandbox);
    }
    CHECK_TEXT(sandbox_kv_get(sandbox->kv, S("n"), 0, NULL), "4.5");
    CHECK(!sandbox_kv_get(sandbox->kv, S("k1"), 0, NULL).p);
    stop(sandbox);
}

static void a_key_changes_once_a_call(void) {
    struct sandbox *sandbox = start();
    CHECK_TEXT(state_do(sandbox, "for i = 1, 1000 do store.incr('n', 1, 60) end store.set('m', 1) "
                                 "store.delete('m')"),
               "");
    CHECK_INT(sandbox->changes_count, 2);
    CHECK_TEXT(sandbox->changes->key, "m");
    CHECK_INT(sandbox->changes->value.n, 0);
    CHECK_TEXT(sandbox->changes->next->value, "1000");
    int64_t left = sandbox->changes->next->expires_ms - clock_wall_ms();
    CHECK(left > 50000 && left <= 60000);
    stop(sandbox);
}

static void a_window_counts_from_its_first_event(void) {
    struct sandbox *sandbox = start();
    sandbox_kv_put(sandbox->kv, S("n"), S("5"), clock_wall_ms() + 1000);
    sandbox_kv_put(sandbox->kv, S("old"), S("5"), clock_wall_ms() - 1);
    CHECK_TEXT(state_do(sandbox, "return store.incr('n', 1, 3600), store.incr('old', 1, 3600)"),
               "6 1");
    CHECK(sandbox->changes->expires_ms > clock_wall_ms() + 3000000);
    CHECK(sandbox->changes->next->expires_ms < clock_wall_ms() + 2000);
    stop(sandbox);
}

static void the_store_is_capped(void) {
    struct sandbox *sandbox = start();
    char key[8];
    char value[60000];
    memset(value, '1', sizeof value);
    for (int i = 0; i < 17; i++) {
        snprintf(key, sizeof key, "k%03d", i);
        sandbox_kv_put(sandbox->kv, slice(key, 4), slice(value, sizeof value),
                       i == 3 ? clock_wall_ms() - 5 : 0);
    }
    static const struct state_case cases[] = {
        { "store.set('a', ('x'):rep(50000))", "" }, // makes room by dropping k003
        { "store.set('b', ('x'):rep(60000))", "! store: full" },
        { "store.set('k001', nil) store.set('b', ('x'):rep(50000))", "" },
        { "store.set('k001', 'short')", "" },
    };
    STATE_CHECK(sandbox, cases);
    sandbox_kv_apply(sandbox->kv, sandbox->changes);
    CHECK(sandbox_kv_bytes(sandbox->kv) <= SANDBOX_KV_BYTES_MAX);
    stop(sandbox);
}

static void log_lines_are_cut_and_counted(void) {
    struct sandbox *sandbox = start();
    CHECK_TEXT(state_do(sandbox,
                        "log.info('hello', {b = 1, a = 'x'}) log.error('no') print(1, nil, {})"
                        "log.warn(42) log.debug(true)"),
               "");
    CHECK_SLICE(slice(logged, logged_n),
                S("1 hello {\"a\":\"x\",\"b\":1}\n3 no\n1 1\tnil\ttable\n2 42\n0 true\n"));
    begin_call(sandbox);
    state_do(sandbox, "log.info(('\xC3\xA9'):rep(1500))");
    CHECK(logged_n <= SANDBOX_LOG_LINE_MAX + 3 && slice_ends(slice(logged, logged_n), S("é…\n")));
    begin_call(sandbox);
    CHECK_TEXT(state_do(sandbox, "for i = 1, 1e5 do log.info('x') end return 'done'"), "done");
    CHECK_INT(logged_lines, SANDBOX_LOG_LINES + 1);
    CHECK(memmem(logged, logged_n, "log limit reached", 17) != NULL);
    begin_call(sandbox);
    static const struct state_case cases[] = {
        { "log.info()", "! value expected" },
        { "log.info('x', 1)", "! table expected" },
        { "log.info('x', {f = print})", "! a function cannot be encoded" },
        { "log.info(setmetatable({}, {__tostring = function() while true do end end}))",
          "! CPU budget exceeded" },
        { "while true do log.info('x') end", "! CPU budget exceeded" },
    };
    STATE_CHECK(sandbox, cases);
    stop(sandbox);
}

static const struct check_case cases[] = {
    { "digests and encodings", digests_and_encodings },
    { "phone numbers", phone_numbers },
    { "times", times },
    { "modules come by name too", modules_come_by_name_too },
    { "store keeps values", store_keeps_values },
    { "a key changes once a call", a_key_changes_once_a_call },
    { "a window counts from its first event", a_window_counts_from_its_first_event },
    { "the store is capped", the_store_is_capped },
    { "log lines are cut and counted", log_lines_are_cut_and_counted },
};
CHECK_MAIN(cases)
