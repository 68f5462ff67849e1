// Events: reading, places of errors, limits, derived tags, CloudEvents,
// splitting and restoring.
#include "buf.h"
#include "check.h"
#include "escape.h"
#include "event.h"

enum { RECEIVED = 1764011510123 }; // 2025-11-24T19:11:50.123Z

static struct event *read_good(struct slice json) {
    struct fail fail = { 0 };
    struct event *event = event_read(json, RECEIVED, &fail);
    CHECK(event);
    if (!event)
        printf("#   %s: %s (%s)\n#   in: %.*s\n", fail.type, fail.text, fail.path, SLICE_FMT(json));
    return event;
}

static struct slice tag(struct event *event, const char *name) {
    struct tag_value v = tag_set_get_name(&event->tags, slice_str(name));
    if (v.kind == TAG_ABSENT) return S("(none)");
    return tag_value_text(v, &event->arena);
}

static int kind(struct event *event, const char *name) {
    return tag_set_get_name(&event->tags, slice_str(name)).kind;
}

static void intern_some(void) {
    static const char *const names[] = { "CALL_ID",          "FROM",   "CALLER_ID",
                                         "DURATION",         "ORG_ID", "CALLER_ID_NO_PLUS",
                                         "CALLER_ID_NUMERIC" };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) tag_intern(slice_str(names[i]));
}

static void an_event_is_read(void) {
    struct event *e = read_good(S(
        " {\"id\":\"ev-1\", \"type\" : \"call.completed\",\"org\":\"acme\",\n"
        "\"time\":\"2026-11-24T19:11:50.000Z\",\"tags\":{\"CALL_ID\":\"call_1\", \"duration\" : 145,"
        "\"price\":35.00,\"big\":9007199254740993,\"yes\":true,\"no\":false,\"nil\":null,"
        "\"obj\":{\"a\":[1, {\"b\":\"}\"}]},\"list\":[ ],\"empty\":\"\",\"esc\":\"a\\\"b\\u00e9\","
        "\"utf\":\"S\xC3\xA3o\",\"lead_type\":\"x\"}} "));
    if (!e) return;
    CHECK_TEXT(e->id, "ev-1");
    CHECK(e->id_given);
    CHECK_TEXT(e->type, "call.completed");
    CHECK_TEXT(e->org, "acme");
    CHECK(e->time_ms == 1795547510000);
    CHECK_TEXT(tag(e, "CALL_ID"), "call_1");
    CHECK_TEXT(tag(e, "DURATION"), "145");
    CHECK_INT(kind(e, "DURATION"), TAG_NUMBER);
    CHECK_TEXT(tag(e, "PRICE"), "35.00");
    CHECK_TEXT(tag(e, "BIG"), "9007199254740993");
    CHECK_INT(kind(e, "YES"), TAG_TRUE);
    CHECK_INT(kind(e, "NO"), TAG_FALSE);
    CHECK_INT(kind(e, "NIL"), TAG_NULL);
    CHECK_INT(kind(e, "OBJ"), TAG_JSON);
    CHECK_TEXT(tag(e, "OBJ"), "{\"a\":[1, {\"b\":\"}\"}]}");
    CHECK_TEXT(tag(e, "LIST"), "[ ]");
    CHECK_TEXT(tag(e, "EMPTY"), "");
    CHECK_TEXT(tag(e, "ESC"), "a\"b\xC3\xA9");
    struct tag_value esc = tag_set_get_name(&e->tags, S("ESC"));
    CHECK_INT(esc.flags, TAG_ESCAPED | TAG_JSON_SAFE);
    CHECK_TEXT(slice(esc.p, esc.n), "a\\\"b\\u00e9");
    CHECK_TEXT(tag(e, "UTF"), "S\xC3\xA3o");
    CHECK_INT(tag_set_get_name(&e->tags, S("UTF")).flags, TAG_JSON_SAFE);
    CHECK_TEXT(tag(e, "LEAD_TYPE"), "x");
    CHECK_TEXT(tag(e, "MISSING"), "(none)");
    CHECK(slice_starts(e->json, S("{\"CALL_ID\":\"call_1\", \"duration\" : 145,")));
    CHECK(slice_ends(e->json, S("\"lead_type\":\"x\"}")));
    CHECK_TEXT(tag(e, "EVENT_TIMESTAMP"), "2026-11-24T19:11:50.000Z");
    event_unref(e);
}

static void members_may_be_missing_or_null(void) {
    struct event *e = read_good(S("{\"type\":\"call.incoming\"}"));
    if (!e) return;
    CHECK(!e->id_given && event_id_valid(e->id));
    CHECK_INT(e->org.n, 0);
    CHECK(e->time_ms == RECEIVED);
    CHECK_TEXT(e->json, "{}");
    CHECK_TEXT(tag(e, "EVENT_TIMESTAMP"), "2025-11-24T19:11:50.123Z");
    event_unref(e);
    e = read_good(
        S("{\"id\":null,\"type\":\"call.incoming\",\"org\":null,\"time\":null,\"tags\":null,"
          "\"trace\":null}"));
    if (e) CHECK(!e->id_given);
    event_unref(e);
    event_unref(NULL);
}

static void the_last_duplicate_wins(void) {
    struct event *e = read_good(
        S("{\"type\":\"a.b\",\"type\":\"c.d\",\"tags\":{\"OLD\":\"1\",\"CALL_ID\":\"1\"},"
          "\"tags\":{\"x\":\"1\",\"X\":\"2\",\"call_id\":\"a\",\"call_\\u0069d\":\"b\"}}"));
    if (!e) return;
    CHECK_TEXT(e->type, "c.d");
    CHECK_TEXT(tag(e, "OLD"), "(none)");
    CHECK_TEXT(tag(e, "X"), "2");
    CHECK_TEXT(tag(e, "CALL_ID"), "b");
    CHECK(slice_starts(e->json, S("{\"x\"")));
    event_unref(e);
    e = read_good(S("{\"type\":\"a.b\",\"tags\":{\"OLD\":\"1\",\"CALL_ID\":\"1\"},\"tags\":null}"));
    if (!e) return;
    CHECK_TEXT(tag(e, "OLD"), "(none)");
    CHECK_TEXT(tag(e, "CALL_ID"), "(none)");
    CHECK_TEXT(e->json, "{}");
    event_unref(e);
}

struct refusal {
    struct slice json;
    enum err code;
    const char *type, *path;
    long at; // -1: any
};
#define T(lit)                                                                                     \
    { lit, sizeof(lit) - 1 }

static void errors_have_a_type_and_a_place(void) {
    static const struct refusal refusals[] = {
        { T(""), ERR_INPUT, "invalid_json", "", 0 },
        { T("  "), ERR_INPUT, "invalid_json", "", 2 },
        { T("nul"), ERR_INPUT, "invalid_json", "", 3 },
        { T("[]"), ERR_INPUT, "bad_event", "", 0 },
        { T("\"x\""), ERR_INPUT, "bad_event", "", 0 },
        { T("\xEF\xBB\xBF{}"), ERR_INPUT, "invalid_json", "", 0 },
        { T("{"), ERR_INPUT, "invalid_json", "", 1 },
        { T("{}"), ERR_INPUT, "missing_type", "/type", 0 },
        { T("{\"type\":null}"), ERR_INPUT, "missing_type", "/type", -1 },
        { T("{\"type\":7}"), ERR_INPUT, "bad_type", "/type", 8 },
        { T("{\"type\":\"CALL.CONNECTED\"}"), ERR_INPUT, "bad_type", "/type", 8 },
        { T("{\"type\":\"call..x\"}"), ERR_INPUT, "bad_type", "/type", 8 },
        { T("{\"type\":\"a.b\",\"id\":\"a.b\"}"), ERR_INPUT, "bad_id", "/id", 19 },
        { T("{\"type\":\"a.b\",\"id\":\"\"}"), ERR_INPUT, "bad_id", "/id", 19 },
        { T("{\"type\":\"a.b\",\"id\":7}"), ERR_INPUT, "bad_id", "/id", 19 },
        { T("{\"type\":\"a.b\",\"id\":\"a\\r\\nb\"}"), ERR_INPUT, "bad_id", "/id", 19 },
        { T("{\"type\":\"a.b\",\"org\":true}"), ERR_INPUT, "bad_org", "/org", 20 },
        { T("{\"type\":\"a.b\",\"org\":\"\\n\"}"), ERR_INPUT, "bad_org", "/org", 20 },
        { T("{\"type\":\"a.b\",\"time\":{}}"), ERR_INPUT, "bad_time", "/time", 21 },
        { T("{\"type\":\"a.b\",\"trace\":1}"), ERR_INPUT, "bad_trace", "/trace", 22 },
        { T("{\"type\":\"a.b\",\"tags\":[]}"), ERR_INPUT, "bad_tags", "/tags", 21 },
        { T("{\"type\":\"a.b\",\"tags\":\"x\"}"), ERR_INPUT, "bad_tags", "/tags", 21 },
        { T("{\"type\":\"a.b\",\"tags\":{\"a-b\":1}}"), ERR_INPUT, "bad_tags", "/tags/a-b", 22 },
        { T("{\"type\":\"a.b\",\"tags\":{\"\":1}}"), ERR_INPUT, "bad_tags", "/tags/", 22 },
        { T("{\"type\":\"a.b\",\"tags\":{\"1a\":1}}"), ERR_INPUT, "bad_tags", "/tags/1a", 22 },
        { T("{\"type\":\"a.b\",\"tags\":{\"caf\xC3\xA9\":1}}"), ERR_INPUT, "bad_tags",
          "/tags/caf\xC3\xA9", 22 },
        { T("{\"type\":\"a.b\",\"tags\":{\"a\\u0000\":1}}"), ERR_INPUT, "bad_tags", NULL, 22 },
        { T("{\"type\":\"a.b\",\"tags\":{\"ok\":01}}"), ERR_INPUT, "invalid_json", "/tags/ok", 28 },
        { T("{\"type\":\"a.b\",\"tags\":{\"ok\":\"a\nb\"}}"), ERR_INPUT, "invalid_json", "/tags/ok",
          29 },
        { T("{\"type\":\"a.b\",\"tags\":{\"ok\" 1}}"), ERR_INPUT, "invalid_json", "/tags/ok", 27 },
        { T("{\"type\":\"a.b\",\"tags\":{\"ok\":1,}}"), ERR_INPUT, "invalid_json", "/tags", 29 },
        { T("{\"type\":\"a.b\",\"tags\":{\"ok\":1 \"b\":2}}"), ERR_INPUT, "invalid_json",
          "/tags/ok", 29 },
        { T("{\"type\":\"a.b\",\"tags\":{\"call_id\":\"1\"\"from\":\"2\"}}"), ERR_INPUT,
          "invalid_json", "/tags/call_id", 35 },
        { T("{\"type\":\"a.b\",\"tags\":{\"call_id\":\"1\" \"from\":\"2\"}}"), ERR_INPUT,
          "invalid_json", "/tags/call_id", 36 },
        { T("{\"type\":\"a.b\",\"tags\":{,\"b\":2}}"), ERR_INPUT, "invalid_json", "/tags", 22 },
        { T("{\"type\":\"a.b\",\"tags\":{\"ok\":\"\xFF\"}}"), ERR_INPUT, "invalid_utf8", "/tags/ok",
          28 },
        { T("{\"type\":\"a.b\",\"tags\":{\"ok\":\"\xC0\xAF\"}}"), ERR_INPUT, "invalid_utf8",
          "/tags/ok", 28 },
        { T("{\"type\":\"a.b\",\"tags\":{\"ok\":\"\\ud800\"}}"), ERR_INPUT, "invalid_utf8",
          "/tags/ok", 28 },
        { T("{\"type\":\"a.b\",\"tags\":{\"ok\":NaN}}"), ERR_INPUT, "invalid_json", "/tags/ok",
          27 },
        { T("{\"type\":\"a.b\",\"tags\":{\"o\":{\"p\":[1,}}}"), ERR_INPUT, "invalid_json",
          "/tags/o/p/1", 34 },
        { T("{\"type\":\"a.b\",\"tags\":{\"ok\":\"x"), ERR_INPUT, "invalid_json", "/tags/ok", 29 },
        { T("{\"type\":\"a.b\",\"tags\":{\"ok\""), ERR_INPUT, "invalid_json", "/tags/ok", 26 },
        { T("{\"type\":\"a.b\",\"tags\":{\"ok"), ERR_INPUT, "invalid_json", "/tags", 25 },
        { T("{\"type\":\"a.b\",\"tags\":{"), ERR_INPUT, "invalid_json", "/tags", 22 },
        { T("{\"type\":\"a.b\",\"tags\":{}"), ERR_INPUT, "invalid_json", "/tags", 23 },
        { T("{\"type\":\"a.b\"}{\"type\":\"a.b\"}"), ERR_INPUT, "invalid_json", "", 14 },
        { T("{\"type\":\"a.b\",\"tags\":{\"ok\":\"x\0y\"}}"), ERR_INPUT, "invalid_json", "/tags/ok",
          29 },
        { T("{\"type\":\"a.b\",\"tags\":{\"o\0k\":\"x\"}}"), ERR_INPUT, "invalid_json", "/tags",
          24 },
        { T("{\"type\":\"a.b\",\0\"tags\":{}}"), ERR_INPUT, "invalid_json", "", 14 },
    };
    for (size_t i = 0; i < sizeof refusals / sizeof *refusals; i++) {
        const struct refusal *r = &refusals[i];
        struct fail fail = { 0 };
        struct event *event = event_read(r->json, RECEIVED, &fail);
        CHECK(!event);
        bool good = fail.code == r->code && !strcmp(fail.type, r->type) &&
                    (!r->path || !strcmp(fail.path, r->path)) &&
                    (r->at < 0 || fail.at == (size_t)r->at);
        CHECK(good);
        if (!good)
            printf("#   %.*s\n#   got %s at %zu path %s: %s\n", SLICE_FMT(r->json), fail.type,
                   fail.at, fail.path, fail.text);
        event_unref(event);
        CHECK(!event_read(r->json, RECEIVED, NULL));
    }
}

static void an_unknown_member_is_refused_with_advice(void) {
    static const struct {
        struct slice json;
        const char *path, *advice;
    } all[] = {
        { T("{\"type\":\"a.b\",\"CALL_ID\":\"x\"}"), "/CALL_ID",
          "\"CALL_ID\" is no member of an event; a value of your own belongs into \"tags\"" },
        { T("{\"type\":\"a.b\",\"Tags\":{}}"), "/Tags",
          "\"Tags\" is no member of an event; did you mean \"tags\"?" },
        { T("{\"data\":{\"a-b\":1},\"type\":\"a.b\"}"), NULL, NULL },
        { T("{\"data\":{\"a\":1},\"type\":\"a.b\"}"), "/data",
          "\"data\" is no member of an event; did you mean \"tags\"?" },
        { T("{\"timestamp\":1,\"type\":\"a.b\"}"), "/timestamp",
          "\"timestamp\" is no member of an event; did you mean \"time\"?" },
    };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        struct fail fail = { 0 };
        CHECK(!event_read(all[i].json, RECEIVED, &fail));
        if (!all[i].path) continue;
        CHECK(!strcmp(fail.type, "unknown_member"));
        CHECK_SLICE(slice_str(fail.path), slice_str(all[i].path));
        CHECK_SLICE(slice_str(fail.text), slice_str(all[i].advice));
    }
}

static void no_prefix_of_an_event_is_an_event(void) {
    struct slice text = S(
        "{\"type\":\"call.completed\",\"tags\":{\"a\":\"x\\n\xC3\xA9\",\"b\":[1,{}],\"c\":1.5e3}}");
    for (size_t n = 0; n < text.n; n++) {
        char *copy = malloc(n ? n : 1);
        memcpy(copy, text.p, n);
        struct fail fail = { 0 };
        CHECK(!event_read(slice(copy, n), RECEIVED, &fail));
        CHECK(fail.at <= n);
        free(copy);
    }
    event_unref(read_good(text));
}

// {"type":"a.b","tags":{…}} with what `fill` appends between the braces.
static struct event *read_filled(void (*fill)(struct buf *, size_t), size_t n, struct fail *fail) {
    struct buf b;
    buf_init(&b, 16 << 20);
    buf_add(&b, S("{\"type\":\"a.b\",\"tags\":{"));
    fill(&b, n);
    buf_add(&b, S("}}"));
    struct event *event = event_read(buf_slice(&b), RECEIVED, fail);
    buf_deinit(&b);
    return event;
}

static void fill_keys(struct buf *b, size_t n) {
    for (size_t i = 0; i < n; i++) buf_printf(b, "%s\"k%zu\":%zu", i ? "," : "", i, i);
}

static void fill_nested_keys(struct buf *b, size_t n) {
    buf_add(b, S("\"o\":{"));
    fill_keys(b, n - 1);
    buf_byte(b, '}');
}

static void fill_deep(struct buf *b, size_t n) {
    buf_add(b, S("\"a\":"));
    for (size_t i = 0; i < n; i++) buf_byte(b, '[');
    for (size_t i = 0; i < n; i++) buf_byte(b, ']');
}

static void fill_long(struct buf *b, size_t n) {
    buf_add(b, S("\"a\":\""));
    for (size_t i = 0; i < n; i++) buf_byte(b, 'x');
    buf_byte(b, '"');
}

static void fill_long_list(struct buf *b, size_t n) {
    buf_add(b, S("\"a\":["));
    for (size_t i = 0; i < n - 2; i++) buf_byte(b, ' ');
    buf_byte(b, ']');
}

static void fill_long_key(struct buf *b, size_t n) {
    buf_byte(b, '"');
    for (size_t i = 0; i < n; i++) buf_byte(b, 'k');
    buf_add(b, S("\":1"));
}

static void limits_hold_to_the_byte(void) {
    static const struct {
        void (*fill)(struct buf *, size_t);
        size_t most;
        enum err code;
        const char *type, *path;
    } all[] = {
        { fill_keys, EVENT_KEYS_MAX, ERR_LIMIT, "too_many_keys", "/tags" },
        { fill_nested_keys, EVENT_KEYS_MAX, ERR_LIMIT, "too_many_keys", "/tags/o" },
        { fill_deep, EVENT_DEPTH_MAX - 2, ERR_LIMIT, "too_deep", NULL },
        { fill_long, EVENT_VALUE_MAX, ERR_LIMIT, "too_large", "/tags/a" },
        { fill_long_list, EVENT_VALUE_MAX, ERR_LIMIT, "too_large", "/tags/a" },
        { fill_long_key, TAG_NAME_MAX, ERR_INPUT, "bad_tags", NULL },
        { fill_long, 10 << 20, ERR_LIMIT, "too_large", "" },
    };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        struct fail fail = { 0 };
        struct event *event = read_filled(all[i].fill, all[i].most, &fail);
        CHECK(event || all[i].most > EVENT_BYTES_MAX);
        event_unref(event);
        CHECK(!read_filled(all[i].fill, all[i].most + 1, &fail));
        CHECK_INT(fail.code, all[i].code);
        CHECK_SLICE(slice_str(fail.type), slice_str(all[i].type));
        if (all[i].path) CHECK_SLICE(slice_str(fail.path), slice_str(all[i].path));
    }
}

static void fill_bomb(struct buf *b, size_t n) {
    buf_add(b, S("\"a\":"));
    for (size_t i = 0; i < n; i++) buf_byte(b, '[');
}

static void bombs_are_refused(void) {
    struct fail fail = { 0 };
    CHECK(!read_filled(fill_bomb, 200000, &fail) && !strcmp(fail.type, "too_deep"));
    CHECK(!read_filled(fill_bomb, 1 << 20, &fail) && !strcmp(fail.type, "too_large"));
    CHECK(!read_filled(fill_keys, 15000, &fail) && !strcmp(fail.type, "too_many_keys"));
}

static void envelope_limits_hold(void) {
    struct buf b;
    struct fail fail;
    buf_init(&b, 1 << 16);
    for (int n = EVENT_KEYS_MAX; n <= EVENT_KEYS_MAX + 1; n++) {
        buf_clear(&b);
        buf_add(&b, S("{\"specversion\":\"1.0\",\"type\":\"a.b\""));
        for (int i = 2; i < n; i++) buf_add(&b, S(",\"x\":1"));
        buf_add(&b, S("}"));
        struct event *e = event_read(buf_slice(&b), RECEIVED, &fail);
        CHECK((e != NULL) == (n == EVENT_KEYS_MAX));
        event_unref(e);
    }
    CHECK_SLICE(slice_str(fail.type), S("too_many_keys"));
    for (size_t n = 128; n <= 129; n++) {
        buf_clear(&b);
        buf_add(&b, S("{\"type\":\"a."));
        for (size_t i = 2; i < n; i++) buf_byte(&b, 'x');
        buf_add(&b, S("\"}"));
        struct event *e = event_read(buf_slice(&b), RECEIVED, &fail);
        CHECK((e != NULL) == (n == 128));
        event_unref(e);
        buf_clear(&b);
        buf_add(&b, S("{\"type\":\"a.b\",\"org\":\"o\",\"id\":\""));
        for (size_t i = 0; i < n; i++) buf_byte(&b, 'x');
        buf_add(&b, S("\"}"));
        e = event_read(buf_slice(&b), RECEIVED, &fail);
        CHECK((e != NULL) == (n == 128));
        event_unref(e);
        buf_clear(&b);
        buf_add(&b, S("{\"type\":\"a.b\",\"org\":\""));
        for (size_t i = 0; i < n; i++) buf_byte(&b, 'x');
        buf_add(&b, S("\"}"));
        e = event_read(buf_slice(&b), RECEIVED, &fail);
        CHECK((e != NULL) == (n == 128));
        event_unref(e);
    }
    buf_deinit(&b);
    CHECK(!event_read(
        S("{\"type\":\"a.b\",\"time\":\"01234567890123456789012345678901234567890123456789"
          "012345678901234\"}"),
        RECEIVED, &fail));
    CHECK_SLICE(slice_str(fail.type), S("bad_time"));
}

static void types_and_ids_have_a_grammar(void) {
    static const char *const types[] = { "call.incoming", "call.on_5_secs_mark", "a.b.c9_", "x.y" };
    for (size_t i = 0; i < 4; i++) CHECK(event_type_valid(slice_str(types[i])));
    static const char *const bad[] = { "",         "call",     ".",          "call.",   ".call",
                                       "call..x",  "Call.x",   "call.X",     "call.1x", "call._x",
                                       "call x.y", "call-x.y", "c\xC3\xA9.x" };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        CHECK(!event_type_valid(slice_str(bad[i])));
    CHECK(event_id_valid(S("aZ9_-")));
    CHECK(!event_id_valid(S("a.b")) && !event_id_valid(S("a b")) && !event_id_valid(S("\xC3\xA9")));
    CHECK(!event_id_valid(S("a@b")) && !event_id_valid(S("[")) && !event_id_valid(S("`")));
}

static void patterns_match_types(void) {
    CHECK(event_type_matches(S("*"), S("a.b")));
    CHECK(event_type_matches(S("call.*"), S("call.completed")));
    CHECK(event_type_matches(S("call.*"), S("call.x.y")));
    CHECK(event_type_matches(S("call.x.*"), S("call.x.y")));
    CHECK(!event_type_matches(S("call.*"), S("caller.x")));
    CHECK(!event_type_matches(S("call.*"), S("call.")));
    CHECK(event_type_matches(S("call.x"), S("call.x")));
    CHECK(!event_type_matches(S("call.x"), S("call.xy")));
    CHECK(!event_type_matches(S("call"), S("call.x")));
}

struct derived {
    const char *tags, *name, *want;
};

static void derived_tags_are_filled_in(void) {
    static const struct derived all[] = {
        { "'FROM':'+13105559876'", "CALLER_ID", "+13105559876" },
        { "'FROM':'+13105559876'", "CALLER_ID_NO_PLUS", "13105559876" },
        { "'FROM':'+13105559876'", "CALLER_ID_NUMERIC", "13105559876" },
        { "'FROM':'1','CALLER_ID':'(310) 555-9876'", "CALLER_ID", "(310) 555-9876" },
        { "'CALLER_ID':'(310) 555-9876'", "CALLER_ID_NO_PLUS", "(310) 555-9876" },
        { "'CALLER_ID':'(310) 555-9876'", "CALLER_ID_NUMERIC", "3105559876" },
        { "'CALLER_ID':'\\u002b1310'", "CALLER_ID_NO_PLUS", "1310" },
        { "'CALLER_ID':'\\u002b1310'", "CALLER_ID_NUMERIC", "1310" },
        { "'CALLER_ID':13105559876", "CALLER_ID_NUMERIC", "13105559876" },
        { "'CALLER_ID':'+1 (310) 555-9876;ext=12'", "CALLER_ID_NUMERIC", "13105559876" },
        { "'CALLER_ID':'310.555.9876 x12'", "CALLER_ID_NUMERIC", "3105559876" },
        { "'FROM':'sip:+13105559876@10.0.0.1'", "CALLER_ID_NUMERIC", "13105559876" },
        { "'CALLER_ID':'anonymous'", "CALLER_ID_NUMERIC", "(none)" },
        { "'CALLER_ID':'anonymous'", "CALLER_ID_NO_PLUS", "anonymous" },
        { "'CALLER_ID':''", "CALLER_ID_NO_PLUS", "" },
        { "'CALLER_ID':null", "CALLER_ID_NO_PLUS", "(none)" },
        { "'CALLER_ID':'+1','CALLER_ID_NO_PLUS':'mine'", "CALLER_ID_NO_PLUS", "mine" },
        { "'A':1", "CALLER_ID", "(none)" },
        { "'PAYOUT':'$1,234.50'", "PAYOUT_NUMERIC", "1234.50" },
        { "'PAYOUT':'35.00'", "PAYOUT_NUMERIC", "35.00" },
        { "'PAYOUT':35.00", "PAYOUT_NUMERIC", "35.00" },
        { "'PAYOUT':'12,5 \xE2\x82\xAC'", "PAYOUT_NUMERIC", "12.5" },
        { "'PAYOUT':'1.234,56 EUR'", "PAYOUT_NUMERIC", "1234.56" },
        { "'PAYOUT':'1,234,567'", "PAYOUT_NUMERIC", "1234567" },
        { "'PAYOUT':'1.234.567'", "PAYOUT_NUMERIC", "1234567" },
        { "'PAYOUT':'1,234'", "PAYOUT_NUMERIC", "1234" },
        { "'PAYOUT':'$.50'", "PAYOUT_NUMERIC", "0.50" },
        { "'PAYOUT':'-$5'", "PAYOUT_NUMERIC", "-5" },
        { "'PAYOUT':'(5.25)'", "PAYOUT_NUMERIC", "-5.25" },
        { "'PAYOUT':'$007.50'", "PAYOUT_NUMERIC", "7.50" },
        { "'PAYOUT':'$0.00'", "PAYOUT_NUMERIC", "0.00" },
        { "'PAYOUT':'$10.'", "PAYOUT_NUMERIC", "10" },
        { "'PAYOUT':'Rs. 1,234.50'", "PAYOUT_NUMERIC", "1234.50" },
        { "'PAYOUT':'Rs.12,34,567'", "PAYOUT_NUMERIC", "1234567" },
        { "'PAYOUT':'ca. 5.00 USD.'", "PAYOUT_NUMERIC", "5.00" },
        { "'PAYOUT':'1\xC2\xA0"
          "234,50 \xE2\x82\xAC'",
          "PAYOUT_NUMERIC", "1234.50" },
        { "'PAYOUT':'CHF 1\xE2\x80\x99"
          "234.50'",
          "PAYOUT_NUMERIC", "1234.50" },
        { "'PAYOUT':'\xE2\x88\x92$5.00'", "PAYOUT_NUMERIC", "-5.00" },
        { "'PAYOUT':'pre-paid 5'", "PAYOUT_NUMERIC", "5" },
        { "'PAYOUT':',5'", "PAYOUT_NUMERIC", "0.5" },
        { "'PAYOUT':'5-'", "PAYOUT_NUMERIC", "(none)" },
        { "'PAYOUT':'10-20'", "PAYOUT_NUMERIC", "(none)" },
        { "'PAYOUT':'5 of 10'", "PAYOUT_NUMERIC", "(none)" },
        { "'PAYOUT':'12..5'", "PAYOUT_NUMERIC", "(none)" },
        { "'PAYOUT':'12.3.4'", "PAYOUT_NUMERIC", "(none)" },
        { "'PAYOUT':'1,234,56'", "PAYOUT_NUMERIC", "(none)" },
        { "'PAYOUT':'1234,567'", "PAYOUT_NUMERIC", "(none)" },
        { "'PAYOUT':'1,23.450,6'", "PAYOUT_NUMERIC", "(none)" },
        { "'PAYOUT':'free'", "PAYOUT_NUMERIC", "(none)" },
        { "'PAYOUT':''", "PAYOUT_NUMERIC", "(none)" },
        { "'PAYOUT':true", "PAYOUT_NUMERIC", "(none)" },
        { "'CONFIGURED_PUBLISHER_PAYOUT':'$2'", "CONFIGURED_PUBLISHER_PAYOUT_NUMERIC", "2" },
        { "'CONFIGURED_BUYER_REVENUE':'$3'", "CONFIGURED_BUYER_REVENUE_NUMERIC", "3" },
        { "'LANDING_PAGE':'https://www.x.com/lp/a?b=c#d'", "LANDING_PAGE_DOMAIN", "www.x.com" },
        { "'LANDING_PAGE':'https://www.x.com/lp/a?b=c#d'", "LANDING_PAGE_PATH", "/lp/a" },
        { "'LANDING_PAGE':'https:\\/\\/www.x.com\\/lp'", "LANDING_PAGE_DOMAIN", "www.x.com" },
        { "'LANDING_PAGE':'https:\\/\\/www.x.com\\/lp'", "LANDING_PAGE_PATH", "/lp" },
        { "'LANDING_PAGE':'http://u:p@x.com:8080'", "LANDING_PAGE_DOMAIN", "x.com" },
        { "'LANDING_PAGE':'http://u:p@x.com:8080'", "LANDING_PAGE_PATH", "/" },
        { "'LANDING_PAGE':'http://x.com?u=http://y.com/z'", "LANDING_PAGE_DOMAIN", "x.com" },
        { "'LANDING_PAGE':'http://x.com?u=http://y.com/z'", "LANDING_PAGE_PATH", "/" },
        { "'LANDING_PAGE':'http://[::1]:80/a'", "LANDING_PAGE_DOMAIN", "[::1]" },
        { "'LANDING_PAGE':'//x.com/a'", "LANDING_PAGE_DOMAIN", "x.com" },
        { "'LANDING_PAGE':'x.com/a'", "LANDING_PAGE_PATH", "/a" },
        { "'LANDING_PAGE':'/just/path?x'", "LANDING_PAGE_PATH", "/just/path" },
        { "'LANDING_PAGE':'/just/path?x'", "LANDING_PAGE_DOMAIN", "(none)" },
        { "'LANDING_PAGE':'no page'", "LANDING_PAGE_DOMAIN", "(none)" },
        { "'LANDING_PAGE':'no page'", "LANDING_PAGE_PATH", "(none)" },
        { "'LANDING_PAGE':''", "LANDING_PAGE_PATH", "(none)" },
        { "'LANDING_PAGE':'https://'", "LANDING_PAGE_PATH", "(none)" },
        { "'EVENT_TIMESTAMP':'mine'", "EVENT_TIMESTAMP", "mine" },
    };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        char json[300];
        int n = snprintf(json, sizeof json, "{\"type\":\"a.b\",\"tags\":{%s}}", all[i].tags);
        for (int k = 0; k < n; k++)
            if (json[k] == '\'') json[k] = '"';
        struct event *e = read_good(slice(json, (size_t)n));
        if (!e) continue;
        struct slice got = tag(e, all[i].name);
        CHECK_SLICE(got, slice_str(all[i].want));
        if (!slice_eq(got, slice_str(all[i].want))) printf("#   from %s\n", all[i].tags);
        event_unref(e);
    }
}

static void times_are_read_or_kept_as_data(void) {
    static const struct {
        const char *time;
        int64_t ms;
        const char *shown;
    } all[] = {
        { "\"1970-01-01T00:00:00Z\"", 0, "1970-01-01T00:00:00Z" },
        { "\"2200-06-01T00:00:00.000Z\"", 7271164800000, "2200-06-01T00:00:00.000Z" },
        { "\"2026-11-24T20:11:50.5+01:00\"", 1795547510500, "2026-11-24T20:11:50.5+01:00" },
        { "0", 0, "1970-01-01T00:00:00.000Z" },
        { "1795547510", 1795547510000, "2026-11-24T19:11:50.000Z" },
        { "1795547510.123", 1795547510123, "2026-11-24T19:11:50.123Z" },
        { "1795547510123", 1795547510123, "2026-11-24T19:11:50.123Z" },
        { "-1", -1000, "1969-12-31T23:59:59.000Z" },
        { "\"NaN\"", RECEIVED, "NaN" },
        { "\"yesterday\\n\\\"q\"", RECEIVED, "yesterday\n\"q" },
        { "1e400", RECEIVED, "1e400" },
        { "1e300", RECEIVED, "1e300" },
        { "\"\"", RECEIVED, "2025-11-24T19:11:50.123Z" },
        { "\"1795547510\"", RECEIVED, "1795547510" },
    };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        char json[200];
        int n = snprintf(json, sizeof json, "{\"time\":%s,\"type\":\"a.b\",\"tags\":{\"A\":1}}",
                         all[i].time);
        struct event *e = read_good(slice(json, (size_t)n));
        if (!e) continue;
        CHECK_INT(e->time_ms, all[i].ms);
        CHECK_SLICE(tag(e, "EVENT_TIMESTAMP"), slice_str(all[i].shown));
        struct event *again =
            event_restore(e->id, e->type, e->org, e->time_ms, e->trace, e->json, NULL);
        CHECK(again);
        if (again) CHECK_SLICE(tag(again, "EVENT_TIMESTAMP"), slice_str(all[i].shown));
        event_unref(again);
        event_unref(e);
    }
}

struct compare {
    struct event *other;
    size_t count;
};

static bool compare_tag(void *user, struct slice name, struct tag_value value) {
    struct compare *c = user;
    struct tag_value b = tag_set_get_name(&c->other->tags, name);
    CHECK_INT(value.kind, b.kind);
    CHECK_SLICE(tag_value_text(value, &c->other->arena), tag_value_text(b, &c->other->arena));
    c->count++;
    return true;
}

static void a_restored_event_is_the_same(void) {
    static const struct slice all[] = {
        T("{\"id\":\"x\",\"type\":\"a.b\",\"org\":\"o\",\"time\":\"2026-11-24T19:11:50Z\","
          "\"trace\":\"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\","
          "\"tags\":{\"from\":\"+1310\",\"payout\":\"$1\",\"a\":[1],\"u\\u006e\":\"\\u00e9\"}}"),
        T("{\"type\":\"a.b\",\"time\":\"NaN\"}"),
        T("{\"type\":\"a.b\",\"time\":\"NaN\",\"tags\":{ }}"),
        T("{\"type\":\"a.b\",\"time\":\"NaN\",\"tags\":{\"event_timestamp\":\"x\"}}"),
        T("{\"type\":\"a.b\",\"tags\":{\"ORG_ID\":77}}"),
        T("{\"specversion\":\"1.0\",\"type\":\"a.b\",\"data\":{\"A\":\"1\"},\"time\":7}"),
    };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        struct event *e = read_good(all[i]);
        if (!e) continue;
        struct event *r =
            event_restore(e->id, e->type, e->org, e->time_ms, e->trace, e->json, NULL);
        CHECK(r);
        if (r) {
            CHECK_SLICE(r->id, e->id);
            CHECK_SLICE(r->type, e->type);
            CHECK_SLICE(r->org, e->org);
            CHECK_SLICE(r->trace, e->trace);
            CHECK_SLICE(r->json, e->json);
            CHECK_INT(r->time_ms, e->time_ms);
            struct compare there = { r, 0 }, back = { e, 0 };
            tag_set_each(&e->tags, compare_tag, &there);
            tag_set_each(&r->tags, compare_tag, &back);
            CHECK_INT(there.count, back.count);
        }
        event_unref(r);
        event_unref(e);
    }
}

static void a_full_event_survives_its_spliced_time(void) {
    struct buf b;
    buf_init(&b, 1 << 20);
    buf_add(&b, S("{\"type\":\"a.b\",\"time\":\"NaN\",\"tags\":{"));
    fill_keys(&b, EVENT_KEYS_MAX);
    buf_add(&b, S("}}"));
    struct event *e = read_good(buf_slice(&b));
    if (e) {
        struct event *r =
            event_restore(e->id, e->type, e->org, e->time_ms, e->trace, e->json, NULL);
        CHECK(r);
        if (r) CHECK_TEXT(tag(r, "EVENT_TIMESTAMP"), "NaN");
        event_unref(r);
    }
    event_unref(e);
    buf_deinit(&b);
}

static void a_broken_stored_event_is_refused(void) {
    static const char *const bad[] = { "[]", "{\"a\":1", "{\"a\":1}x", "{\"a-b\":1}", "x" };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct fail fail = { 0 };
        CHECK(!event_restore(S("i"), S("a.b"), S(""), 0, S(""), slice_str(bad[i]), &fail));
        CHECK_INT(fail.code, ERR_INPUT);
    }
}

static void the_org_tag_stands_in_for_the_org(void) {
    struct event *e = read_good(S("{\"type\":\"a.b\",\"tags\":{\"org_id\":77}}"));
    if (e) CHECK_TEXT(e->org, "77");
    event_unref(e);
    e = read_good(S("{\"type\":\"a.b\",\"org\":5,\"tags\":{\"org_id\":77}}"));
    if (e) CHECK_TEXT(e->org, "5");
    event_unref(e);
    e = read_good(S("{\"type\":\"a.b\",\"org\":\"\",\"tags\":{\"org_id\":77}}"));
    if (e) CHECK_TEXT(e->org, "");
    event_unref(e);
}

static void cloud_events_are_read(void) {
    struct event *e = read_good(S(
        "{\"specversion\":\"1.0\",\"id\":\"A-1\",\"source\":\"/calls\",\"type\":\"call.completed\","
        "\"subject\":\"x\",\"time\":\"2026-11-24T19:11:50Z\",\"org\":\"acme\",\"comexampleext\":7,"
        "\"datacontenttype\":\"application/json\","
        "\"traceparent\":\"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\","
        "\"data\":{\"call_id\":\"c\"}}"));
    if (e) {
        CHECK_TEXT(e->id, "A-1");
        CHECK_TEXT(e->type, "call.completed");
        CHECK_TEXT(e->org, "acme");
        CHECK_TEXT(e->trace, "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
        CHECK_TEXT(tag(e, "CALL_ID"), "c");
        CHECK_TEXT(e->json, "{\"EVENT_TIMESTAMP\":\"2026-11-24T19:11:50Z\",\"call_id\":\"c\"}");
    }
    event_unref(e);
    // Members in any order; an extension of the name `tags` is an extension.
    e = read_good(
        S("{\"data\":{\"A\":1},\"tags\":{\"B\":2},\"type\":\"a.b\",\"traceparent\":\"junk\","
          "\"specversion\":\"1.0\"}"));
    if (e) {
        CHECK_TEXT(tag(e, "A"), "1");
        CHECK_TEXT(tag(e, "B"), "(none)");
        CHECK_TEXT(e->trace, "");
    }
    event_unref(e);
    e = read_good(S("{\"tags\":{\"B\":2},\"type\":\"a.b\",\"specversion\":\"1.0\"}"));
    if (e) CHECK_TEXT(tag(e, "B"), "(none)");
    event_unref(e);
    struct fail fail = { 0 };
    CHECK(!event_read(S("{\"specversion\":\"0.3\",\"type\":\"a.b\"}"), 0, &fail));
    CHECK_SLICE(slice_str(fail.type), S("bad_specversion"));
    CHECK(!event_read(S("{\"specversion\":\"1.0\",\"type\":\"a.b\",\"data\":\"x\"}"), 0, &fail));
    CHECK_SLICE(slice_str(fail.type), S("bad_tags"));
    CHECK_SLICE(slice_str(fail.path), S("/data"));
    CHECK(!event_read(S("{\"specversion\":\"1.0\",\"type\":\"a.b\",\"data_base64\":\"e30=\"}"), 0,
                      &fail));
    CHECK_SLICE(slice_str(fail.path), S("/data_base64"));
    CHECK(!event_read(S("{\"specversion\":\"1.0\",\"data\":{}}"), 0, &fail));
    CHECK_SLICE(slice_str(fail.type), S("missing_type"));
}

static void binary_cloud_events_are_read(void) {
    struct event_attributes a = { .id = S("i-1"),
                                  .type = S("call.hangup"),
                                  .time = S("2026-11-24T19:11:50.000Z") };
    struct event *e = event_read_binary(&a, S(" {\"org_id\":\"o\"} "), RECEIVED, NULL);
    CHECK(e);
    if (e) {
        CHECK_TEXT(e->id, "i-1");
        CHECK_TEXT(e->type, "call.hangup");
        CHECK_TEXT(e->org, "o");
        CHECK_TEXT(e->json, "{\"org_id\":\"o\"}");
        CHECK_INT(e->time_ms, 1795547510000);
        CHECK_TEXT(tag(e, "EVENT_TIMESTAMP"), "2026-11-24T19:11:50.000Z");
    }
    event_unref(e);
    a = (struct event_attributes){ .type = S("call.hangup") };
    e = event_read_binary(&a, S(""), RECEIVED, NULL);
    CHECK(e && !e->id_given && slice_eq(e->json, S("{}")));
    event_unref(e);
    static const struct {
        struct event_attributes a;
        struct slice data;
        const char *type, *path;
    } bad[] = {
        { { .id = T("x") }, T("{}"), "missing_type", "ce-type" },
        { { .type = T("X") }, T("{}"), "bad_type", "ce-type" },
        { { .type = T("a.b"), .id = T("a.b") }, T("{}"), "bad_id", "ce-id" },
        { { .type = T("a.b"), .org = T("\n") }, T("{}"), "bad_org", "ce-org" },
        { { .type = T("a.b") }, T("{\"a\":tru}"), "invalid_json", "/a" },
        { { .type = T("a.b") }, T("[1]"), "bad_tags", "" },
        { { .type = T("a.b") }, T("{} {}"), "invalid_json", "" },
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct fail fail = { 0 };
        CHECK(!event_read_binary(&bad[i].a, bad[i].data, RECEIVED, &fail));
        CHECK_SLICE(slice_str(fail.type), slice_str(bad[i].type));
        CHECK_SLICE(slice_str(fail.path), slice_str(bad[i].path));
    }
}

static void late_names_are_extras_and_then_ids(void) {
    static char name[] = "BORN_LATER_0";
    name[sizeof name - 2]++; // a new one each time
    char json[80];
    int n = snprintf(json, sizeof json, "{\"type\":\"a.b\",\"tags\":{\"%s\":\"v\"}}", name);
    struct event *before = read_good(slice(json, (size_t)n));
    uint16_t id = tag_intern(slice_str(name));
    struct event *after = read_good(slice(json, (size_t)n));
    if (before && after) {
        CHECK_INT(before->tags.extras_count, 1 + (tag_find(S("EVENT_TIMESTAMP")) == TAG_NONE));
        CHECK_INT(tag_set_get(&before->tags, id).kind, TAG_STRING);
        CHECK_INT(after->tags.values[id].kind, TAG_STRING);
    }
    event_unref(before);
    event_unref(after);
}

struct split {
    struct slice items[8];
    size_t offsets[8], count, stop_after;
};

static bool collect(void *user, struct slice json, size_t offset) {
    struct split *s = user;
    if (s->count < 8) {
        s->items[s->count] = json;
        s->offsets[s->count] = offset;
    }
    return ++s->count != s->stop_after;
}

static void bodies_are_split(void) {
    struct split s = { .count = 0 };
    CHECK(event_split(S(" {\"a\":1} "), EVENT_LAYOUT_JSON, collect, &s, NULL) == OK);
    CHECK_INT(s.count, 1);
    CHECK_TEXT(s.items[0], "{\"a\":1}");
    CHECK_INT(s.offsets[0], 1);
    s.count = 0;
    CHECK(event_split(S("[ {\"a\":\"],\\\"[\"} , {bro]ken} ,[[1,2],3],x ]"), EVENT_LAYOUT_JSON,
                      collect, &s, NULL) == OK);
    CHECK_INT(s.count, 4);
    CHECK_TEXT(s.items[0], "{\"a\":\"],\\\"[\"}");
    CHECK_TEXT(s.items[1], "{bro]ken}");
    CHECK_TEXT(s.items[2], "[[1,2],3]");
    CHECK_TEXT(s.items[3], "x");
    s.count = 0;
    CHECK(event_split(S("[]"), EVENT_LAYOUT_JSON, collect, &s, NULL) == OK);
    CHECK(event_split(S("[ ]\n"), EVENT_LAYOUT_JSON, collect, &s, NULL) == OK);
    CHECK_INT(s.count, 0);
    s = (struct split){ .stop_after = 2 };
    CHECK(event_split(S("[1,2,3]"), EVENT_LAYOUT_JSON, collect, &s, NULL) == OK);
    CHECK_INT(s.count, 2);
    s = (struct split){ .count = 0 };
    CHECK(event_split(S("{\"a\":1}\r\n\n  \n {bad\n{\"b\":2}"), EVENT_LAYOUT_NDJSON, collect, &s,
                      NULL) == OK);
    CHECK_INT(s.count, 3);
    CHECK_TEXT(s.items[0], "{\"a\":1}");
    CHECK_TEXT(s.items[1], "{bad");
    CHECK_INT(s.offsets[1], 14);
    CHECK_TEXT(s.items[2], "{\"b\":2}");
    s.count = 0;
    CHECK(event_split(S(""), EVENT_LAYOUT_NDJSON, collect, &s, NULL) == OK);
    CHECK_INT(s.count, 0);
}

static void broken_arrays_fail_as_a_whole(void) {
    static const char *const bad[] = { "",     " ",      "[",    "[1",    "[1,",  "[1,]",
                                       "[,1]", "[1,,2]", "[1]x", "[\"a]", "[1]]", "[{]" };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct split s = { .count = 0 };
        struct fail fail = { 0 };
        CHECK(event_split(slice_str(bad[i]), EVENT_LAYOUT_JSON, collect, &s, &fail) == ERR_INPUT);
        CHECK_SLICE(slice_str(fail.type), S("invalid_json"));
        CHECK_INT(s.count, 0);
    }
}

static void batches_have_a_limit(void) {
    struct buf b;
    buf_init(&b, 1 << 20);
    for (int lines = 0; lines < 2; lines++) {
        enum event_layout layout = lines ? EVENT_LAYOUT_NDJSON : EVENT_LAYOUT_JSON;
        for (int n = EVENT_BATCH_MAX; n <= EVENT_BATCH_MAX + 1; n++) {
            struct split s = { .count = 0 };
            struct fail fail = { 0 };
            buf_clear(&b);
            if (!lines) buf_byte(&b, '[');
            for (int i = 0; i < n; i++) buf_printf(&b, "%s{}", i ? (lines ? "\n" : ",") : "");
            if (!lines) buf_byte(&b, ']');
            enum err err = event_split(buf_slice(&b), layout, collect, &s, &fail);
            CHECK_INT(err, n > EVENT_BATCH_MAX ? ERR_LIMIT : OK);
            CHECK_INT(s.count, n > EVENT_BATCH_MAX ? 0 : n);
            if (err) CHECK_SLICE(slice_str(fail.type), S("too_many_events"));
        }
    }
    buf_deinit(&b);
}

static void references_are_counted(void) {
    struct event *e = read_good(S("{\"type\":\"a.b\"}"));
    if (!e) return;
    CHECK(event_ref(e) == e);
    event_unref(e);
    CHECK_TEXT(e->type, "a.b");
    event_unref(e);
}

// Long keys and values at every offset of the 64-byte blocks.
static void blocks_of_the_reader_do_not_show(void) {
    for (size_t key = 1; key <= 64; key++) {
        for (size_t value = 0; value < 140; value += 7) {
            char json[400], text[140], name[65];
            memset(text, 'v', sizeof text);
            memset(name, 'K', sizeof name);
            int n = snprintf(json, sizeof json,
                             "{\"type\":\"a.b\",\"tags\":{\"%.*s\":\"%.*s\",\"z\" : \"%.*s\"}}",
                             (int)key, name, (int)value, text, (int)(140 - value), text);
            struct event *e = read_good(slice(json, (size_t)n));
            if (!e) continue;
            name[key] = '\0';
            CHECK_SLICE(tag(e, name), slice(text, value));
            CHECK_SLICE(tag(e, "Z"), slice(text, 140 - value));
            event_unref(e);
            if (key % 8 == 1 && value % 2) tag_intern(slice(name, key));
        }
    }
}

// What the reader remembers of earlier events must not show in later ones: the
// same tags in another order, with blanks or none, as text and as numbers.
static void earlier_events_do_not_show(void) {
    static const char *const keys[] = {
        "call_id", "from", "Call_Id", "duration", "org_id", "other"
    };
    static const char *const joints[][2] = {
        { ":", "," }, { ": ", ", " }, { " : ", " ,\n" }, { ":  ", "," }, { ": ", "," }
    };
    static const char *const values[] = { "\"\"", "\"one\"",   "12",   "\"a\\tb\"",
                                          "null", "{\"a\":1}", "true", "\"S\xC3\xA3o\"" };
    enum { KEYS = 6, MEMBERS = 9 };
    unsigned state = 1;
    for (int round = 0; round < 3000; round++) {
        char json[600];
        const char *last[KEYS] = { 0 };
        int n = snprintf(json, sizeof json, "{\"type\":\"a.b\",\"tags\":{");
        const char *const *joint = joints[round / 7 % 5];
        for (int i = 0; i < MEMBERS; i++) {
            state = state * 1664525 + 1013904223;
            unsigned key = state >> 20 & 1 ? (unsigned)i % KEYS : (state >> 8) % KEYS;
            const char *value = values[(state >> 16) % 8];
            last[key] = value;
            n += snprintf(json + n, sizeof json - (size_t)n, "%s\"%s\"%s%s", i ? joint[1] : "",
                          keys[key], joint[0], value);
            if (key == 0) last[2] = value; // the same tag
            if (key == 2) last[0] = value;
        }
        n += snprintf(json + n, sizeof json - (size_t)n, "}}");
        struct event *e = read_good(slice(json, (size_t)n));
        if (!e) return;
        for (int i = 0; i < KEYS; i++) {
            char name[TAG_NAME_MAX];
            size_t length;
            tag_name_from_key(slice_str(keys[i]), name, &length);
            struct tag_value v = tag_set_get_name(&e->tags, slice(name, length));
            struct slice want = last[i] ? slice_str(last[i]) : S("");
            bool text = want.n && *want.p == '"';
            if (text) want = slice(want.p + 1, want.n - 2);
            CHECK_SLICE(slice(v.p, v.n), want);
            CHECK_INT(v.kind == TAG_STRING, text);
        }
        event_unref(e);
    }
}

static const struct check_case cases[] = {
    { "an event is read", an_event_is_read },
    { "members may be missing or null", members_may_be_missing_or_null },
    { "the last duplicate wins", the_last_duplicate_wins },
    { "errors have a type and a place", errors_have_a_type_and_a_place },
    { "an unknown member is refused with advice", an_unknown_member_is_refused_with_advice },
    { "no prefix of an event is an event", no_prefix_of_an_event_is_an_event },
    { "limits hold to the byte", limits_hold_to_the_byte },
    { "bombs are refused", bombs_are_refused },
    { "envelope limits hold", envelope_limits_hold },
    { "types and ids have a grammar", types_and_ids_have_a_grammar },
    { "patterns match types", patterns_match_types },
    { "derived tags are filled in", derived_tags_are_filled_in },
    { "times are read or kept as data", times_are_read_or_kept_as_data },
    { "a restored event is the same", a_restored_event_is_the_same },
    { "a full event survives its spliced time", a_full_event_survives_its_spliced_time },
    { "a broken stored event is refused", a_broken_stored_event_is_refused },
    { "the org tag stands in for the org", the_org_tag_stands_in_for_the_org },
    { "CloudEvents are read", cloud_events_are_read },
    { "binary CloudEvents are read", binary_cloud_events_are_read },
    { "late names are extras and then ids", late_names_are_extras_and_then_ids },
    { "bodies are split", bodies_are_split },
    { "broken arrays fail as a whole", broken_arrays_fail_as_a_whole },
    { "batches have a limit", batches_have_a_limit },
    { "references are counted", references_are_counted },
    { "blocks of the reader do not show", blocks_of_the_reader_do_not_show },
    { "earlier events do not show", earlier_events_do_not_show },
};

int main(void) {
    int failed = check_run(cases, sizeof cases / sizeof *cases);
    intern_some(); // the same once more with the names known
    failed |= check_run(cases, sizeof cases / sizeof *cases);
    escape_force_portable(true);
    return failed | check_run(cases, sizeof cases / sizeof *cases);
}
