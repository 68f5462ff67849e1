// Lua data files: what becomes of every kind of value, every refusal, and the
// catalogue that the engine brings along.
#include "catalog.h"
#include "check.h"
#include "embedded.h"
#include "json.h"
#include "luadata.h"

static enum err run(struct slice source, struct buf *out, struct fail *fail) {
    buf_init(out, 1 << 20);
    return luadata_eval(source, "test.lua", out, fail);
}

static void tables_become_json(void) {
    static const struct {
        struct slice source, json;
    } all[] = {
        { S("return {}"), S("{}") },
        { S("return {1,2,3}"), S("[1,2,3]") },
        { S("return {b=1,a={c={}}}"), S("{\"a\":{\"c\":{}},\"b\":1}") },
        { S("return {{1},{2,{3}}}"), S("[[1],[2,[3]]]") },
        { S("return {true,false,'x'}"), S("[true,false,\"x\"]") },
        { S("return {0,-0,-7,3.0,1e3,9007199254740992}"), S("[0,0,-7,3,1000,9007199254740992]") },
        { S("return {0.5,0.1,1/3,1e300,-2.5e-7}"),
          S("[0.5,0.1,0.3333333333333333,1e+300,-2.5e-07]") },
        { S("return {['a b']='q\"\\\\\\n\\195\\169',[\"\"]=1}"),
          S("{\"\":1,\"a b\":\"q\\\"\\\\\\n\xC3\xA9\"}") },
        { S("local x = {1} return {x,x}"), S("[[1],[1]]") },
        { S("local t = {} for i = 1, 3 do t[i] = i * i end return t"), S("[1,4,9]") },
        { S("\xEF\xBB\xBFreturn {1}"), S("[1]") },
        { S("# first line is skipped\nreturn {1}"), S("[1]") },
    };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        struct buf out;
        struct fail fail = { 0 };
        enum err err = run(all[i].source, &out, &fail);
        CHECK_INT(err, OK);
        if (err) printf("#   %s\n", fail.text);
        CHECK_SLICE(buf_slice(&out), all[i].json);
        buf_deinit(&out);
    }
}

static void mistakes_are_named_with_their_line(void) {
    static const struct {
        const char *source, *type, *has;
        unsigned line;
    } all[] = {
        { "return {\n  a = 1\n  b = 2 }", "bad_lua", "test.lua:3: ", 3 },
        { "x x", "bad_lua", "test.lua:1: ", 1 },
        { "\n\nlocal y = nil + 1", "bad_lua", "test.lua:3: ", 3 },
        { "return print('x')", "bad_lua", "test.lua:1: ", 1 },
        { "return require('ffi')", "bad_lua", "test.lua:1: ", 1 },
        { "return ('x'):rep(9)", "bad_lua", "test.lua:1: ", 1 },
        { "return 7", "bad_lua", "must return a table", 0 },
        { "", "bad_lua", "must return a table", 0 },
        { "\x1BLJ\x02", "bad_lua", "", 0 },
        { "while true do end", "too_slow", "test.lua:1: ", 1 },
        { "local function f() return f() end return f()", "too_slow", "test.lua:1: ", 1 },
        { "local function f() return 1 + f() end return f()", "bad_lua", "stack overflow", 0 },
        { "local t = {} for i = 1, 1e8 do t[i] = {} end", "no_memory", "16 MiB", 0 },
        { "local s = 'x' while true do s = s .. s end", "no_memory", "16 MiB", 0 },
    };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        struct buf out;
        struct fail fail = { 0 };
        CHECK(run(slice_str(all[i].source), &out, &fail) != OK);
        CHECK_SLICE(slice_str(fail.type), slice_str(all[i].type));
        CHECK(strstr(fail.text, all[i].has) != NULL);
        if (!strstr(fail.text, all[i].has)) printf("#   %s\n", fail.text);
        CHECK_INT(fail.line, all[i].line);
        buf_deinit(&out);
    }
}

static void values_that_are_no_data_are_named(void) {
    static const struct {
        const char *source, *path;
    } all[] = {
        { "return {a={b=function() end}}", "a.b" },
        { "return {hooks={1,{retry=0/0}}}", "hooks[2].retry" },
        { "return {1/0}", "[1]" },
        { "return {'\\255'}", "[1]" },
        { "return {['\\255']=1}", "\xFF" },
        { "return {a={1,nil,3}}", "a" },
        { "return {a={[2]=1}}", "a" },
        { "return {a={1,b=2}}", "a" },
        { "return {a={[true]=1}}", "a" },
        { "return {[1.5]=1}", "" },
        { "local t = {} t.a = {t} return t", "a[1]" },
        { "local t = {} for i = 1, 40 do t = {t} end return t", NULL },
    };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        struct buf out;
        struct fail fail = { 0 };
        CHECK_INT(run(slice_str(all[i].source), &out, &fail), ERR_INPUT);
        CHECK_SLICE(slice_str(fail.type), S("bad_value"));
        if (all[i].path) CHECK_SLICE(slice_str(fail.path), slice_str(all[i].path));
        buf_deinit(&out);
        CHECK_INT(run(slice_str(all[i].source), &out, NULL), ERR_INPUT);
        buf_deinit(&out);
    }
}

static void sizes_are_limited(void) {
    struct buf out;
    struct fail fail = { 0 };
    buf_init(&out, 8);
    CHECK_INT(luadata_eval(S("return {1,2,3,4,5,6,7,8}"), "x", &out, &fail), ERR_LIMIT);
    CHECK_SLICE(slice_str(fail.type), S("too_large"));
    buf_deinit(&out);
    char *big = malloc(LUADATA_BYTES_MAX + 1);
    memset(big, ' ', LUADATA_BYTES_MAX + 1);
    CHECK_INT(luadata_eval(slice(big, LUADATA_BYTES_MAX + 1), "x", &out, &fail), ERR_LIMIT);
    free(big);
}

static void the_catalogue_is_complete(void) {
    static const char *const events[] = { "incoming",        "connected",       "hangup",
                                          "failure",         "completed",       "converted",
                                          "on_5_secs_mark",  "on_15_secs_mark", "on_30_secs_mark",
                                          "on_45_secs_mark", "on_60_secs_mark" };
    static const char tags[] =
        "CALL_SID CALL_ID FROM TO CALLER_ID CALLER_ID_NO_PLUS CALLER_ID_NUMERIC CALLER_ZIP "
        "CALLER_STATE STATE ZIP_CODE ORIGINAL_STATE ORIGINAL_ZIP_CODE INBOUND_CALL_ID ORG_ID "
        "CAMPAIGN_ID CAMPAIGN_NAME PUBLISHER_ID PUBLISHER_NAME PUBLISHER_NUMBER PAYOUT "
        "PAYOUT_NUMERIC TARGET_ID TARGET_NAME TARGET_TYPE BUYER_ID BUYER_NAME TARGET_PAYOUT "
        "PUBLISHER_PAYOUT CONVERTED REVENUE_PAID_OUT PUBLISHER_PAID_OUT CALL_TERMINATION_BY "
        "DURATION INBOUND_DURATION OUTBOUND_DURATION CALL_CONVERTED_AT EVENT_TIMESTAMP "
        "CONFIGURED_PUBLISHER_PAYOUT CONFIGURED_PUBLISHER_PAYOUT_NUMERIC CONFIGURED_BUYER_REVENUE "
        "CONFIGURED_BUYER_REVENUE_NUMERIC OVERWRITTEN_BUYER_REVENUE GCLID FBCLID UTM_SOURCE "
        "UTM_MEDIUM UTM_CAMPAIGN UTM_CONTENT UTM_TERM KEYWORD VISITOR_ID LANDING_PAGE "
        "LANDING_PAGE_DOMAIN LANDING_PAGE_PATH REFERRER VISITOR_CITY VISITOR_STATE VISITOR_ZIP "
        "VISITOR_COUNTRY VISITOR_IP VISITOR_BROWSER EVENT EVENT_ID WEBHOOK_ID ATTEMPT ";
    struct buf out;
    struct fail fail = { 0 };
    CHECK_INT(run(embedded_lua("catalog"), &out, &fail), OK);
    struct slice document = buf_slice(&out);
    struct catalog *c = catalog_new(&document, 1, &fail);
    buf_deinit(&out);
    CHECK(c);
    if (!c) {
        printf("#   %s\n", fail.text);
        return;
    }
    for (size_t i = 0; i < sizeof events / sizeof *events; i++) {
        char name[40];
        int n = snprintf(name, sizeof name, "call.%s", events[i]);
        CHECK(catalog_find_event(c, slice(name, (size_t)n)));
    }
    for (struct slice rest = slice_str(tags); rest.n;) {
        size_t n = slice_find(rest, ' ');
        CHECK(catalog_find_tag(c, slice(rest.p, n)));
        rest = slice_from(rest, n + 1);
    }
    for (size_t i = 0; i < c->tags_count; i++)
        CHECK(c->tags[i].description.n && c->tags[i].group.n && c->tags[i].type.n);
    for (size_t i = 0; i < c->events_count; i++)
        CHECK(c->events[i].description.n && c->events[i].when.n);
    CHECK(!catalog_tag_on(c, catalog_find_tag(c, S("CONVERTED")), S("call.incoming")));
    CHECK(!catalog_tag_on(c, catalog_find_tag(c, S("DURATION")), S("call.incoming")));
    CHECK(catalog_tag_on(c, catalog_find_tag(c, S("DURATION")), S("call.on_5_secs_mark")));
    CHECK(!catalog_tag_on(c, catalog_find_tag(c, S("CALL_ID")), S("webhook.disabled")));
    CHECK(catalog_tag_on(c, catalog_find_tag(c, S("BYTES_LEFT")), S("store.low_space")));
    catalog_free(c);
}

static const struct check_case cases[] = {
    { "tables become JSON", tables_become_json },
    { "mistakes are named with their line", mistakes_are_named_with_their_line },
    { "values that are no data are named", values_that_are_no_data_are_named },
    { "sizes are limited", sizes_are_limited },
    { "the catalogue is complete", the_catalogue_is_complete },
};
CHECK_MAIN(cases)
