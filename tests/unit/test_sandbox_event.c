// The views: reading an event, changing a request, and reading it back; secrets
// pass through as markers that no event can forge; stale views raise.
#include "check.h"
#include "script_state.h"

static const char event_json[] =
    "{\"id\":\"evt_1\",\"type\":\"call.completed\",\"org\":\"acme\",\"time\":\"2026-11-24T19:11:50.5Z\","
    "\"tags\":{\"CALL_ID\":\"c1\",\"DURATION\":145,\"BIG\":9007199254740993,\"CONVERTED\":true,"
    "\"NOTHING\":null,\"EMPTY\":\"\",\"CALLER\":\"O\\\"Hara\\n\",\"TAGS\":{\"source\":\"ad\"},"
    "\"odd_one\":\"x\",\"EVIL\":\"\\u0000ShTOKEN\\u0000\",\"REVENUE\":\"12.50\",\"HEX\":\"0x10\"}}";

static struct arena call_arena;
static struct event *event;
static struct hook hook;

static void open_all(lua_State *L, void *user) {
    (void)user;
    sandbox_open_base(L);
    sandbox_open_string(L);
    sandbox_open_json(L);
    sandbox_open_host(L);
    sandbox_open_event(L);
}

static void begin_call(struct sandbox *sandbox) {
    arena_deinit(&call_arena);
    arena_init(&call_arena, 8 * 1024 * 1024);
    sandbox->arena = &call_arena;
    sandbox->event = event;
    sandbox->call_serial++;
}

static struct sandbox *start(enum hook_format format) {
    static bool ticking;
    struct fail fail = { 0 };
    if (!ticking) ticking = sandbox_clock_start();
    event = event_read(slice_str(event_json), 0, &fail);
    CHECK(event != NULL);
    hook.format = format;
    hook.name = S("crm");
    struct sandbox *sandbox = sandbox_new(STATE_MEMORY);
    sandbox->hook = &hook;
    CHECK_INT(sandbox_protect(sandbox, open_all, NULL, 1000).end, SANDBOX_DONE);
    begin_call(sandbox);
    return sandbox;
}

static void stop(struct sandbox *sandbox) {
    sandbox_free(sandbox);
    arena_deinit(&call_arena);
    event_unref(event);
}

static void push_views(lua_State *L, void *user) {
    sandbox_push_event(L);
    lua_setglobal(L, "event");
    if (!user) return;
    sandbox_push_request(L, user);
    lua_setglobal(L, "request");
}

static struct header headers[] = { { { "Authorization", 13 }, { "Bearer \0ShTOKEN\0", 16 } },
                                   { { "X-Try", 5 }, { "\0A\0", 3 } } };

static struct request make_request(struct slice url, struct slice body) {
    return (struct request){ .method = S("POST"),
                             .url = url,
                             .headers = headers,
                             .headers_count = 2,
                             .body = body,
                             .has_body = true };
}

// One test line: what the script does to the request, and what comes out of it.
struct change {
    const char *script, *want;
};

struct reading {
    const char *source;
    struct request *requests;
    size_t count;
};

static void run_transform(lua_State *L, void *user) {
    struct reading *reading = user;
    if (luaL_loadbuffer(L, reading->source, strlen(reading->source), "@t.lua")) lua_error(L);
    lua_call(L, 0, 1);
    int top = lua_gettop(L);
    sandbox_read_requests(L, -1, &reading->requests, &reading->count);
    CHECK_INT(lua_gettop(L), top);
}

// A request as text: NULs shown as '@'.
static struct slice show(const struct request *r) {
    static char out[8192];
    size_t n = (size_t)snprintf(out, sizeof out, "%.*s ", SLICE_FMT(r->method));
    struct slice parts[130];
    size_t count = 0;
    parts[count++] = r->url;
    for (size_t i = 0; i < r->headers_count; i++) {
        parts[count++] = r->headers[i].name;
        parts[count++] = r->headers[i].value;
    }
    if (r->has_body) parts[count++] = r->body;
    for (size_t i = 0; i < count; i++) {
        bool body = i > 2 * r->headers_count;
        if (i) out[n++] = body ? '|' : i % 2 ? ' ' : '=';
        for (size_t k = 0; k < parts[i].n; k++) out[n++] = parts[i].p[k] ? parts[i].p[k] : '@';
    }
    return slice(out, n);
}

static void check_changes(enum hook_format format, struct request request,
                          const struct change *changes, size_t count) {
    struct sandbox *sandbox = start(format);
    for (size_t i = 0; i < count; i++) {
        begin_call(sandbox);
        CHECK_INT(sandbox_protect(sandbox, push_views, &request, 1000).end, SANDBOX_DONE);
        struct reading reading = { .source = changes[i].script };
        struct sandbox_result result = sandbox_protect(sandbox, run_transform, &reading, 1000);
        struct slice want = slice_str(changes[i].want);
        struct slice got =
            result.end == SANDBOX_DONE && reading.count ? show(reading.requests) : result.text;
        bool error = slice_starts(want, S("! "));
        if (error
                ? result.end != SANDBOX_DONE && memmem(got.p, got.n, want.p + 2, want.n - 2) != NULL
                : slice_eq(got, want))
            continue;
        printf("# %s\n", changes[i].script);
        CHECK_SLICE(got, want);
    }
    stop(sandbox);
}
#define CHECK_CHANGES(format, request, changes)                                                    \
    check_changes(format, request, changes, sizeof(changes) / sizeof *(changes))

static void an_event_is_read_by_tag(void) {
    struct sandbox *sandbox = start(HOOK_JSON);
    CHECK_INT(sandbox_protect(sandbox, push_views, NULL, 1000).end, SANDBOX_DONE);
    static const struct state_case cases[] = {
        { "return event.CALL_ID, event.DURATION, event.BIG, event.CONVERTED",
          "c1 145 9007199254740993 true" },
        { "return type(event.DURATION)", "string" },
        { "return event.NOTHING, event.ABSENT, event.EMPTY", "nil nil " },
        { "return event.CALLER, event.ODD_ONE", "O\"Hara\n x" },
        { "return event.TAGS", "{\"source\":\"ad\"}" },
        { "return event.type, event.id, event.org, event.time",
          "call.completed evt_1 acme 1795547510.5" },
        { "return event:number('DURATION'), event:number('REVENUE'), event:number('HEX'), "
          "event:number('CALL_ID'), event:number('ABSENT')",
          "145 12.5 nil nil nil" },
        { "local t = event:tags() return t.CALL_ID, t.ODD_ONE, t.NOTHING, t.CALLER",
          "c1 x nil O\"Hara\n" },
        { "local n = 0 for k, v in pairs(event) do n = n + 1 end return n >= 10", "true" },
        { "return tostring(event)", "event call.completed evt_1" },
        { "return event.duration", "! event has no field 'duration'" },
        { "event.CALL_ID = 'x'", "! an event cannot be changed" },
        { "return event.number('DURATION')", "! event expected: call it with a colon" },
        { "return event.tags(json.null)", "! event expected" },
        { "return getmetatable(event)", "false" },
        { "setmetatable(event, {})", "! table expected" },
        { "return event[1]", "! event has no field '1'" },
    };
    STATE_CHECK(sandbox, cases);
    stop(sandbox);
}

static void a_kept_view_is_stale(void) {
    struct sandbox *sandbox = start(HOOK_JSON);
    struct request request = make_request(S("https://h/p?a=1"), S("{}"));
    sandbox_protect(sandbox, push_views, &request, 1000);
    state_do(
        sandbox,
        "saved, request_saved, query, headers = event, request, request.query, request.headers");
    begin_call(sandbox);
    sandbox_protect(sandbox, push_views, NULL, 1000);
    static const struct state_case cases[] = {
        { "return event.CALL_ID", "c1" },
        { "return saved.CALL_ID", "! event used outside of its hook" },
        { "return saved:tags()", "! event used outside of its hook" },
        { "return pairs(saved)", "! event used outside of its hook" },
        { "return request_saved.url", "! request used outside of its hook" },
        { "request_saved.url = 'x'", "! request used outside of its hook" },
        { "return query.a", "! query used outside of its hook" },
        { "return headers.a", "! headers used outside of its hook" },
    };
    STATE_CHECK(sandbox, cases);
    sandbox->arena = NULL; // between calls
    CHECK(
        slice_ends(state_do(sandbox, "return event.CALL_ID"), S("event used outside of its hook")));
    stop(sandbox);
}

static void a_request_comes_back_as_it_was(void) {
    static const struct change changes[] = {
        { "",
          "POST https://h/p?a=1 Authorization=Bearer @ShTOKEN@ X-Try=@A@|{\"id\":9007199254740993}" },
        { "return request",
          "POST https://h/p?a=1 Authorization=Bearer @ShTOKEN@ X-Try=@A@|{\"id\":9007199254740993}" },
        { "return {}", "" },
        { "return {request}",
          "POST https://h/p?a=1 Authorization=Bearer @ShTOKEN@ X-Try=@A@|{\"id\":9007199254740993}" },
        { "return 1", "! a request is needed, not a number" },
        { "return event", "! request expected" },
        { "return {1}", "! a request is needed, not a number" },
        { "return {ulr = 'x'}", "! and nothing else" },
        { "return {request, nil, request}", "! " },
    };
    CHECK_CHANGES(HOOK_JSON, make_request(S("https://h/p?a=1"), S("{\"id\":9007199254740993}")),
                  changes);
}

static void fields_change(void) {
    static const struct change changes[] = {
        { "request.method = 'PUT' request.url = 'https://h/q'",
          "PUT https://h/q Authorization=Bearer @ShTOKEN@ X-Try=@A@|x" },
        { "request.headers['authorization'] = nil request.headers['x-try'] = 5",
          "POST https://h/p?a=1 X-Try=5|x" },
        { "request.headers['X-New'] = 'a\\r\\nEvil: 1\\n' .. request.headers.AUTHORIZATION",
          "POST https://h/p?a=1 Authorization=Bearer @ShTOKEN@ X-Try=@A@ X-New=a Evil: 1 Bearer @ShTOKEN@|x" },
        { "request.headers = {A = 'b'}", "POST https://h/p?a=1 A=b|x" },
        { "return {headers = {['X-Try'] = false, B = 1}, body = 'y', query = {z = 2}}",
          "POST https://h/p?z=2 Authorization=Bearer @ShTOKEN@ B=1|y" },
        { "request.headers.Host = 'x'", "! header Host is set by the engine" },
        { "request.headers['a b'] = 'x'", "! is no header name" },
        { "request.headers.X = {}", "! header X needs a text, not a table" },
        { "for i = 1, 100 do request.headers['X' .. i] = 'y' end", "! more than 64 headers" },
        { "request.body = nil", "POST https://h/p?a=1 Authorization=Bearer @ShTOKEN@ X-Try=@A@" },
        { "request.body = print", "! request.body needs a table or a text, not a function" },
        { "request.body = {}", "! a raw body needs a text" },
        { "request.url = nil", "! request.url needs a text, not a nil" },
        { "request.method = 1", "! request.method needs a text, not a number" },
        { "return request.ulr", "! request has no field 'ulr'" },
        { "request.ulr = 1", "! request has no field 'ulr'" },
        { "local n = 0 for k, v in pairs(request.headers) do n = n + #k end "
          "request.headers = {} request.body = n",
          "POST https://h/p?a=1|18" },
        { "local c = request:clone() c.url = 'https://h/c' c.headers.X = '1' return c",
          "POST https://h/c Authorization=Bearer @ShTOKEN@ X-Try=@A@ X=1|x" },
        { "local c = request:clone() c.url = 'https://h/c' c.headers.X = '1' return request",
          "POST https://h/p?a=1 Authorization=Bearer @ShTOKEN@ X-Try=@A@|x" },
    };
    CHECK_CHANGES(HOOK_RAW, make_request(S("https://h/p?a=1"), S("x")), changes);
}

static void the_query_changes(void) {
    static const struct change changes[] = {
        { "request.headers = {} request.body = request.query.a .. request.query.b .. tostring(request.query.z)",
          "POST https://h/p?a=1&b=x+y%26&a=2&t=@SuTOKEN@#f|1x y&nil" },
        { "request.headers = {} request.query.b = 'ö &' request.query.a = nil",
          "POST https://h/p?b=%C3%B6%20%26&t=@SuTOKEN@#f|x" },
        { "request.headers = {} request.query.a = {1, 2} request.query.n = true",
          "POST https://h/p?a=1&a=2&b=x+y%26&t=@SuTOKEN@&n=true#f|x" },
        { "request.headers = {} request.query = {k = 'v', t2 = request.query.t}",
          "POST https://h/p?k=v&t2=@SuTOKEN@#f|x" },
        { "request.headers = {} request.query = 'raw=1'", "POST https://h/p?raw=1#f|x" },
        { "request.headers = {} request.query = nil", "POST https://h/p#f|x" },
        { "request.headers = {X = request.query.t}",
          "POST https://h/p?a=1&b=x+y%26&a=2&t=@SuTOKEN@#f X=@ShTOKEN@|x" },
        { "request.query.a = {{}}", "! 'a' is a table" },
        { "request.query.a = print", "! 'a' is a function" },
        { "request.query = 5 == 5", "! request.query needs a table or a text" },
        { "local t = {} for k, v in pairs(request.query) do t[#t + 1] = k .. v end table.sort(t) "
          "request.headers = {} request.query = nil request.body = t[1] .. t[2]",
          "POST https://h/p#f|a1bx y&" },
        { "request.headers = {} request.query.b = event.EVIL request.query.t = nil",
          "POST https://h/p?a=1&b=%00ShTOKEN%00&a=2#f|x" },
    };
    CHECK_CHANGES(HOOK_RAW, make_request(S("https://h/p?a=1&b=x+y%26&a=2&t=\0SuTOKEN\0#f"), S("x")),
                  changes);
}

static void bodies_are_replaced(void) {
    static const struct change raw[] = {
        { "request.headers = {} request.body = request.body .. 'y\\0z'",
          "POST https://h/|a@@b@SrTOKEN@y@@z" },
        { "request.headers = {} request.body = #request.body:match('^a%zb')", "POST https://h/|3" },
        { "request.headers = {} request.body = event.EVIL", "POST https://h/|@@ShTOKEN@@" },
    };
    CHECK_CHANGES(HOOK_RAW, make_request(S("https://h/"), S("a\0\0b\0SrTOKEN\0")), raw);
    static const struct change form[] = {
        { "request.headers = {} request.body = request.body .. '&b=2'",
          "POST https://h/|a=@SfTOKEN@&b=2" },
        { "request.headers = {} request.body = {b = 'x y', a = {1, 2}, t = request.body:sub(3)}",
          "POST https://h/|a=1&a=2&b=x+y&t=@SfTOKEN@" },
        { "request.headers = {} request.body = {e = event.EVIL}",
          "POST https://h/|e=%00ShTOKEN%00" },
        { "request.body = event.EVIL", "! a NUL byte cannot be sent here" },
        { "request.url = event.EVIL", "! a NUL byte cannot be sent here" },
        { "request.headers = {} request.headers.X = event.EVIL",
          "POST https://h/ X= ShTOKEN|a=@SfTOKEN@" },
    };
    CHECK_CHANGES(HOOK_FORM, make_request(S("https://h/"), S("a=\0SfTOKEN\0")), form);
}

static void a_json_body_changes_in_place(void) {
    static const char body[] =
        "{\"id\": 9007199254740993, \"fb\":123456789012345678,\"a\":[], \"n\":null,"
        "\"tags\":{\"source\":\"ad\",\"x\":\"y\"},\"items\":[{\"id\":1}]}";
    static const struct change changes[] = {
        { "request.headers = {}",
          "POST https://h/|{\"id\": 9007199254740993, \"fb\":123456789012345678,\"a\":[], \"n\":null,"
          "\"tags\":{\"source\":\"ad\",\"x\":\"y\"},\"items\":[{\"id\":1}]}" },
        { "request.headers = {} request.body:set('tags.source', 'web') request.body:delete('tags.x') "
          "request.body:set('items[1].id', 2.5)",
          "POST https://h/|{\"id\": 9007199254740993, \"fb\":123456789012345678,\"a\":[], \"n\":null,"
          "\"tags\":{\"source\":\"web\"},\"items\":[{\"id\":2.5}]}" },
        { "local b = request.body request.headers = {} request.body = b:get('id') .. ' ' .. "
          "b:get('tags.source') .. ' ' .. tostring(b:get('none')) .. ' ' .. tostring(b:get('n')) .. ' ' .. "
          "b:get('items[1]').id .. ' ' .. b:decode().fb",
          "POST https://h/|9007199254740993 ad nil null 1 123456789012345678" },
        { "request.headers = {} request.body = request.body:decode().tags",
          "POST https://h/|{\"source\":\"ad\",\"x\":\"y\"}" },
        { "request.headers = {} request.body = {a = 1} request.body:set('b', {1, 2}) "
          "request.body:set('a', nil)",
          "POST https://h/|{\"b\":[1,2]}" },
        { "local b = request.body request.body = 'no json' b:get('a')",
          "! the body is no JSON any more" },
        { "request.headers = {} local b = request.body request.body = {z = 1} b:set('z', 2)",
          "POST https://h/|{\"z\":2}" },
        { "request.headers = {} request.body = 'no json' request.body = request.body .. '!'",
          "POST https://h/|no json!" },
        { "request.body:get('a..b')", "! body:get: " },
        { "request.body:set('tags.source.deep', 1)", "! body:set: " },
        { "request.body:set('a', 0/0)", "! NaN is no JSON number" },
        { "request.body.get('a')", "! body expected: call it with a colon" },
        { "request.body.x = 1", "! use request.body:set(path, value)" },
        { "return request.body.id", "! use request.body:get(path)" },
        { "local c = request:clone() c.body:set('id', 1) request.headers = {} "
          "request.body = {c.body:get('id'), request.body:get('id')} return request",
          "POST https://h/|[1,\"9007199254740993\"]" },
        { "request.headers = {} local c = request:clone() c.body:delete('tags') request.body = c.body "
          "c.body:delete('id')",
          "POST https://h/|{\"id\": 9007199254740993, \"fb\":123456789012345678,\"a\":[], \"n\":null,"
          "\"items\":[{\"id\":1}]}" },
    };
    CHECK_CHANGES(HOOK_JSON, make_request(S("https://h/"), slice_str(body)), changes);
}

static void secrets_in_a_json_body_stay_secrets(void) {
    static const struct change changes[] = {
        { "request.headers = {} request.body:set('x', 1)",
          "POST https://h/|{\"t\":\"a @SjTOKEN@\",\"b\":@SJBARE@,\"x\":1}" },
        { "request.headers = {} request.body:set('x', request.body:get('t')) "
          "request.body:set('y', request.body:get('b')) request.body:delete('b')",
          "POST https://h/|{\"t\":\"a @SjTOKEN@\",\"x\":\"a @SjTOKEN@\",\"y\":@SJBARE@}" },
        { "request.headers = {} request.body = request.body:decode()",
          "POST https://h/|{\"b\":\"@SjBARE@\",\"t\":\"a @SjTOKEN@\"}" },
        { "request.headers = {} request.body = tostring(request.body) .. ' '",
          "POST https://h/|{\"t\":\"a @SjTOKEN@\",\"b\":@SJBARE@} " },
        { "request.headers = {X = request.body:get('t')} request.body = json.encode{k = request.headers.X}",
          "POST https://h/ X=a @ShTOKEN@|{\"k\":\"a @SjTOKEN@\"}" },
        { "request.headers = {} request.body:set('x', event.EVIL)",
          "POST https://h/|{\"t\":\"a @SjTOKEN@\",\"b\":@SJBARE@,\"x\":\"\\u0000ShTOKEN\\u0000\"}" },
        { "request.headers = {} request.body = {x = event.EVIL}",
          "POST https://h/|{\"x\":\"\\u0000ShTOKEN\\u0000\"}" },
    };
    CHECK_CHANGES(HOOK_JSON,
                  make_request(S("https://h/"), S("{\"t\":\"a \0SjTOKEN\0\",\"b\":\0SJBARE\0}")),
                  changes);
}

static void responses_and_deliveries_are_tables(void) {
    struct sandbox *sandbox = start(HOOK_JSON);
    static struct attempt attempt = { .number = 3, .status = 503, .retry_after_ms = 1500 };
    attempt.response_headers =
        S("HTTP/1.1 503 Busy: now\r\nX-Retry-In: 7\r\nSet-Cookie: a\r\nbroken\r\n");
    attempt.response_body = S("{\"ok\":false}");
    static const struct state_case cases[] = {
        { "return response.status, response.attempt, response.headers['x-retry-in'], response.retry_after, "
          "json.decode(response.body).ok, response.error",
          "503 3 7 1.5 false nil" },
        { "response.headers.X = 'y'", "! a response's headers cannot be changed" },
        { "local n = 0 for k in pairs(response.headers) do n = n + 1 end return n", "2" },
        { "return delivery.id, delivery.attempts, delivery.webhook, delivery.status, "
          "delivery.response.status",
          "dlv_1 9 crm 503 503" },
        { "return bare.id, bare.response", "dlv_2 nil" },
    };
    lua_State *L = sandbox->L;
    sandbox_push_response(L, &attempt);
    lua_setglobal(L, "response");
    sandbox_push_delivery(L, S("dlv_1"), 9, &attempt);
    lua_setglobal(L, "delivery");
    sandbox_push_delivery(L, S("dlv_2"), 1, NULL);
    lua_setglobal(L, "bare");
    STATE_CHECK(sandbox, cases);
    stop(sandbox);
}

static void a_call_s_memory_is_bounded(void) {
    struct sandbox *sandbox = start(HOOK_JSON);
    struct request request = make_request(S("https://h/"), S("{}"));
    sandbox_protect(sandbox, push_views, &request, 1000);
    CHECK(slice_ends(state_do(sandbox, "for i = 1, 1e9 do request.url = ('u'):rep(10000) end"),
                     S("the call's result memory is full")));
    stop(sandbox);
}

static const struct check_case cases[] = {
    { "an event is read by tag", an_event_is_read_by_tag },
    { "a kept view is stale", a_kept_view_is_stale },
    { "a request comes back as it was", a_request_comes_back_as_it_was },
    { "fields change", fields_change },
    { "the query changes", the_query_changes },
    { "bodies are replaced", bodies_are_replaced },
    { "a JSON body changes in place", a_json_body_changes_in_place },
    { "secrets in a JSON body stay secrets", secrets_in_a_json_body_stay_secrets },
    { "responses and deliveries are tables", responses_and_deliveries_are_tables },
    { "a call's memory is bounded", a_call_s_memory_is_bounded },
};
CHECK_MAIN(cases)
