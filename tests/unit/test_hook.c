// Webhooks from descriptions: what is accepted, what is said about the rest and
// where, which events they want, what they render.
#include "buf.h"
#include "check.h"
#include "hook.h"

static struct catalog *catalog;

struct said {
    int errors, warnings;
    char text[4096];
};

static void on_finding(void *user, const struct hook_finding *f) {
    struct said *said = user;
    f->error ? said->errors++ : said->warnings++;
    size_t n = strlen(said->text);
    snprintf(said->text + n, sizeof said->text - n, "%u:%u: %s\n", f->line, f->column, f->text);
}

static struct hook *make(const char *description, const char *source, struct said *said) {
    struct fail fail = { 0 };
    *said = (struct said){ 0 };
    struct hook_input input = { .name = S("crm"),
                                .file = S("scripts/crm.lua"),
                                .version = S("0123456789abcdef"),
                                .source = slice_str(source),
                                .description = slice_str(description),
                                .catalog = catalog };
    struct hook *hook = hook_new(&input, on_finding, said, &fail);
    CHECK(!hook == (fail.code != OK));
    return hook;
}

static struct event *event_of(const char *json) {
    struct fail fail = { 0 };
    struct event *event = event_read(slice_str(json), 1000, &fail);
    if (!event) printf("# %s\n", fail.text);
    return event;
}

#define BASE "\"on\":[\"call.completed\"],\"request\":{\"url\":\"https://h.example/x\"}"

static void a_small_webhook_has_the_defaults(void) {
    struct said said;
    struct hook *h = make("{" BASE "}", "", &said);
    CHECK(h != NULL);
    if (!h) return;
    CHECK_TEXT(h->method, "POST");
    CHECK_INT(h->timeout_ms, 10000);
    CHECK_INT(h->connect_timeout_ms, 5000);
    CHECK_INT(h->retry.steps_count, 9);
    CHECK_INT(h->concurrency, 8);
    CHECK_INT(h->stages, 0);
    CHECK(!h->body && !h->order_by);
    CHECK_TEXT(h->url_authority, "https://h.example");
    hook_unref(h);
}

static void mistakes_are_all_told(void) {
    static const struct {
        const char *description, *said;
    } bad[] = {
        { "{}", "on names at least one event type" },
        { "{\"on\":[\"call.completed\"]}", "request is a table" },
        { "{" BASE ",\"retrys\":1}", "did you mean \"retry\"" },
        { "{" BASE ",\"timeout\":0}", "timeout is a number" },
        { "{" BASE ",\"timeout\":1e9}", "timeout is a number" },
        { "{" BASE ",\"concurrency\":1000000}", "concurrency is a number" },
        { "{" BASE ",\"retry\":\"often\"}", "retry is" },
        { "{" BASE ",\"retry\":[1,-1]}", "retry is a list" },
        { "{" BASE ",\"rate\":\"fast\"}", "rate:" },
        { "{" BASE ",\"on_script_error\":\"cry\"}", "on_script_error" },
        { "{" BASE ",\"missing\":\"maybe\"}", "missing" },
        { "{" BASE ",\"when\":{\"DURATION\":[\"~\",1]}}", "no operator" },
        { "{" BASE ",\"when\":{\"DURATION\":[\">\",\"x\"]}}", "compares with a number" },
        { "{" BASE ",\"when\":{\"duration\":1}}", "not a tag name" },
        { "{" BASE ",\"sign\":{\"scheme\":\"rot13\",\"secret\":\"K\"}}", "sign.scheme" },
        { "{" BASE ",\"sign\":{}}", "sign.secret" },
        { "{" BASE ",\"auth\":{\"type\":\"basic\"}}", "needs user and secret" },
        { "{\"on\":[\"Call.X\"],\"request\":{\"url\":\"https://h.example/\"}}", "no event type" },
        { "{\"on\":[\"call.x\"],\"request\":{\"url\":\"https://h.example/\",\"method\":\"TRACE\"}}",
          "method is" },
        { "{\"on\":[\"call.x\"],\"request\":{\"url\":\"https://[CALLER_STATE].evil.example/\"}}",
          "request.url" },
        { "{\"on\":[\"call.x\"],\"request\":{\"url\":\"ftp://h.example/\"}}", "request.url" },
        { "{\"on\":[\"call.x\"],\"request\":{\"url\":\"https://a@h.example/\"}}", "request.url" },
        { "{\"on\":[\"call.x\"],\"request\":{\"url\":\"https://h.example/\",\"headers\":{\"Host\":\"x\"}}}",
          "set by the engine" },
        { "{\"on\":[\"call.x\"],\"request\":{\"url\":\"https://h.example/\",\"headers\":{\"X Y\":\"x\"}}}",
          "no header name" },
        { "{\"on\":[\"call.x\"],\"request\":{\"url\":\"https://h.example/\",\"headers\":{\"A\":\"x\",\"a\":\"y\"}}}",
          "stands twice" },
        { "{\"on\":[\"call.x\"],\"request\":{\"url\":\"https://h.example/\",\"body\":\"{\\\"a\\\":}\"}}",
          "request.body" },
        { "not json", "no webhook table" },
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct said said;
        struct hook *h = make(bad[i].description, "", &said);
        if (h || !strstr(said.text, bad[i].said))
            printf("# %s\n#   said: %s", bad[i].description, said.text);
        CHECK(!h && strstr(said.text, bad[i].said));
        hook_unref(h);
    }
}

static void findings_name_line_and_column(void) {
    struct said said;
    const char *source =
        "return {\n  on = { \"call.completed\" },\n  retrys = 3,\n  request = { url = \"https://h.example/\",\n"
        "    body = [=[{\"a\": \"[CALL_ID]\",\n  \"b\": }]=] },\n}\n";
    struct hook *h = make(
        "{\"on\":[\"call.completed\"],\"retrys\":3,\"request\":{\"url\":\"https://h.example/\",\"body\":\"{\\\"a\\\": \\\"[CALL_ID]\\\",\\n  \\\"b\\\": }\"}}",
        source, &said);
    CHECK(!h);
    CHECK(strstr(said.text, "3:3: a webhook has no setting \"retrys\""));
    CHECK(strstr(said.text, "6:8: request.body"));
}

static void tags_are_checked_against_the_catalogue(void) {
    struct said said;
    const char *d =
        "{\"on\":[\"call.incoming\"],\"stages\":[\"tags\"],\"request\":{\"url\":\"https://h.example/?a=[CALER_ID]&b=[CONVERTED]&c=[SCORE]&d=[OTHER]\"}}";
    struct hook *h = make(d, "-- SCORE = 1", &said);
    CHECK(h != NULL);
    CHECK_INT(said.warnings, 3);
    CHECK(strstr(said.text, "did you mean [CALLER_ID]?"));
    CHECK(strstr(said.text, "[CONVERTED] is never carried by call.incoming"));
    CHECK(strstr(said.text, "no tag [OTHER] is known"));
    CHECK(!strstr(said.text, "SCORE"));
    hook_unref(h);
}

static void headers_past_their_limit_are_refused(void) {
    struct said said;
    static char value[8200], d[9000];
    memset(value, 'v', sizeof value - 1);
    const char *form = "{\"on\":[\"call.x\"],\"request\":{\"url\":\"https://h.example/\","
                       "\"headers\":{\"X-A\":\"%.*s\"}}}";
    snprintf(d, sizeof d, form, 8190, value);
    CHECK(!make(d, "", &said));
    CHECK(strstr(said.text, "the headers have 8193 bytes, at most 8192"));
    snprintf(d, sizeof d, form, 8189, value);
    struct hook *h = make(d, "", &said);
    CHECK(h != NULL);
    hook_unref(h);
}

static void tags_of_conditions_are_checked_too(void) {
    struct said said;
    struct hook *h =
        make("{\"on\":[\"call.incoming\"],\"when\":{\"CALER_ID\":\"1\",\"CONVERTED\":true},"
             "\"request\":{\"url\":\"https://h.example/\"}}",
             "return {\n  when = { CALER_ID = '1' },\n}\n", &said);
    CHECK(h != NULL);
    CHECK_INT(said.warnings, 2);
    CHECK(strstr(said.text, "2:12: no tag [CALER_ID] is known; did you mean [CALLER_ID]?"));
    CHECK(strstr(said.text, "[CONVERTED] is never carried by call.incoming"));
    hook_unref(h);
}

// C7. Each body, and how often a key is found to stand twice.
static void keys_that_stand_twice_are_told(void) {
    static const struct {
        const char *body;
        int twice;
    } rows[] = {
        { "{\"a\": 1, \"b\": {\"a\": 2}, \"c\": [{\"a\": 3}, {\"a\": 4}]}", 0 },
        { "{\"a\": 1, \"b\": 2, \"a\": 3}", 1 },
        { "{\"x\": {\"a\": 1, \"a\": 2}, \"y\": {\"a\": 1}, \"x\": 0}", 2 },
        { "{\"a\": \"a\", \"b\": \"a\", \"c\": [\"a\", \"a\"]}", 0 },
        { "{\"a\": 1, \"\\u0061\": 2}", 1 },
        { "{\"a\\\"\": 1, \"a\": 2}", 0 },
        { "{\"[CALL_ID]\": 1, \"[CALL_ID]\": 2}", 1 },
        { "{\"[CALL_ID]\": 1, \"[CALLER_ID]\": 2, \"[!CALL_ID]\": 3}", 0 },
        { "{\"a\": [CALL_ID], \"b\": [CALLER_CITY|\"]}\"], \"c\": {\"a\": [CALL_ID]}}", 0 },
        { "{\"a\": \"[CALLER_CITY|\"x, y\"]\", \"x\": 1, \"a\": 2}", 1 },
        { "{\"a\": \"[no tag\", \"b\": \"]\", \"b\": 1}", 1 },
        { "[{\"a\": 1}, {}, [], \"a\"]", 0 },
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct said said;
        struct buf d;
        buf_init(&d, 4096);
        buf_add(&d, S("{\"on\":[\"call.completed\"],\"request\":{\"url\":\"https://h.example/\","
                      "\"body\":"));
        buf_json(&d, slice_str(rows[i].body));
        buf_add(&d, S("}}"));
        buf_byte(&d, '\0');
        struct hook *h = make(d.p, rows[i].body, &said);
        int twice = 0;
        for (const char *at = said.text; (at = strstr(at, "stands twice")); at++) twice++;
        if (!h || twice != rows[i].twice) printf("# %s: %s\n", rows[i].body, said.text);
        CHECK(h != NULL);
        CHECK_INT(twice, rows[i].twice);
        hook_unref(h);
        buf_deinit(&d);
    }
}

static void key_that_stands_twice_has_its_place(void) {
    struct said said;
    hook_unref(make("{\"on\":[\"call.completed\"],\"request\":{\"url\":\"https://h.example/\","
                    "\"body\":\"{\\\"a\\\": 1,\\n  \\\"a\\\": 2}\"}}",
                    "body = [=[\n{\"a\": 1,\n  \"a\": 2}]=]", &said));
    CHECK(strstr(said.text, "3:4: the key \"a\" stands twice in one object"));
    CHECK(said.warnings == 1 && said.errors == 0);
}

static bool wants(const char *description, const char *event_json) {
    struct said said;
    struct hook *h = make(description, "", &said);
    struct event *e = event_of(event_json);
    bool wanted = h && e && hook_wants(h, e);
    if (!h) printf("# %s", said.text);
    CHECK(h && e);
    hook_unref(h);
    event_unref(e);
    return wanted;
}

#define EVENT(tags) "{\"type\":\"call.completed\",\"org\":\"acme\",\"tags\":{" tags "}}"
#define WHEN(when) "{" BASE ",\"when\":{" when "}}"

static void events_are_chosen_by_type_org_and_when(void) {
    CHECK(wants("{" BASE "}", EVENT("")));
    CHECK(!wants("{" BASE ",\"org\":\"globex\"}", EVENT("")));
    CHECK(wants("{" BASE ",\"org\":\"acme\"}", EVENT("")));
    CHECK(wants("{\"on\":[\"call.*\"],\"request\":{\"url\":\"https://h.example/\"}}", EVENT("")));
    CHECK(!wants(
        "{\"on\":[\"call.hangup\",\"webhook.*\"],\"request\":{\"url\":\"https://h.example/\"}}",
        EVENT("")));
    CHECK(wants(WHEN("\"DURATION\":[\">=\",30]"), EVENT("\"DURATION\":30")));
    CHECK(wants(WHEN("\"DURATION\":[\">=\",30]"), EVENT("\"DURATION\":\"145\"")));
    CHECK(!wants(WHEN("\"DURATION\":[\">=\",30]"), EVENT("\"DURATION\":29.5")));
    CHECK(!wants(WHEN("\"DURATION\":[\">=\",30]"), EVENT("\"DURATION\":\"long\"")));
    CHECK(!wants(WHEN("\"DURATION\":[\">=\",30]"), EVENT("")));
    CHECK(wants(WHEN("\"CONVERTED\":\"true\""), EVENT("\"CONVERTED\":true")));
    CHECK(wants(WHEN("\"CONVERTED\":true"), EVENT("\"CONVERTED\":\"true\"")));
    CHECK(wants(WHEN("\"A\":[\"in\",\"x\",\"y\"]"), EVENT("\"A\":\"y\"")));
    CHECK(!wants(WHEN("\"A\":[\"in\",\"x\",\"y\"]"), EVENT("\"A\":\"z\"")));
    CHECK(wants(WHEN("\"A\":[\"!=\",\"x\"]"), EVENT("")));
    CHECK(wants(WHEN("\"A\":[\"absent\"]"), EVENT("\"B\":1")));
    CHECK(!wants(WHEN("\"A\":[\"present\"]"), EVENT("\"B\":1")));
    CHECK(wants(WHEN("\"A\":[\"starts\",\"a\\\"b\"]"), EVENT("\"A\":\"a\\\"bc\"")));
    CHECK(wants(WHEN("\"A\":[\"starts\",\"x\",\"b\"]"), EVENT("\"A\":\"bc\"")));
    CHECK(wants(WHEN("\"A\":[\"ends\",\"x\",\"c\"]"), EVENT("\"A\":\"bc\"")));
    CHECK(!wants(WHEN("\"A\":[\"contains\",\"x\",\"y\"]"), EVENT("\"A\":\"bc\"")));
    CHECK(!wants(WHEN("\"A\":\"1\",\"B\":\"2\""), EVENT("\"A\":\"1\",\"B\":\"3\"")));
}

static void when_knows_the_tags_that_are_on_every_event(void) {
    CHECK(wants(WHEN("\"EVENT\":\"call.completed\""), EVENT("")));
    CHECK(wants(WHEN("\"EVENT\":\"call.completed\""), EVENT("\"EVENT\":\"mine\"")));
    CHECK(!wants(WHEN("\"EVENT\":[\"ends\",\".hangup\"]"), EVENT("")));
    CHECK(wants(WHEN("\"EVENT_ID\":[\"starts\",\"evt_\"]"), EVENT("")));
    CHECK(!wants(WHEN("\"WEBHOOK_ID\":[\"absent\"]"), EVENT("")));
    CHECK(wants(WHEN("\"ATTEMPT\":[\"<\",2]"), EVENT("")));
}

static void a_request_is_rendered_with_its_content_type(void) {
    struct said said;
    struct arena arena;
    struct tag_set tags;
    struct request r;
    struct fail fail = { 0 };
    struct hook *h = make(
        "{\"on\":[\"call.completed\"],\"request\":{\"url\":\"https://h.example/[WEBHOOK_ID]?e=[EVENT_ID]\",\"headers\":{\"B\":\"[EVENT]\",\"A\":\"1\"},"
        "\"body\":\"{\\\"d\\\":[DURATION],\\\"c\\\":[C]}\"}}",
        "", &said);
    struct event *e =
        event_of("{\"id\":\"e1\",\"type\":\"call.completed\",\"tags\":{\"DURATION\":145}}");
    struct template_notes notes = { .arena = &arena };
    arena_init(&arena, 1 << 20);
    CHECK(h && e && hook_tags(h, e, &arena, &tags));
    CHECK_INT(hook_render(h, &tags, &arena, &r, &notes, &fail), OK);
    CHECK_TEXT(r.url, "https://h.example/crm?e=e1");
    CHECK_INT(r.headers_count, 3);
    CHECK_TEXT(r.headers[0].name, "A");
    CHECK_TEXT(r.headers[1].value, "call.completed");
    CHECK_TEXT(r.headers[2].value, "application/json");
    CHECK_TEXT(r.body, "{\"d\":145,\"c\":\"[C]\"}");
    CHECK(notes.unresolved && !notes.unresolved->next);
    CHECK_TEXT(template_notes_text(&notes), "C");
    arena_deinit(&arena);
    hook_unref(h);
    event_unref(e);
}

static void secrets_are_collected_once(void) {
    struct said said;
    struct hook *h = make(
        "{\"on\":[\"call.completed\"],\"secrets\":[\"A\"],\"sign\":{\"secret\":\"B\",\"previous\":\"A\"},"
        "\"request\":{\"url\":\"https://h.example/?k=[SECRET:C]\",\"headers\":{\"X\":\"[SECRET:B]\"}}}",
        "", &said);
    CHECK(h != NULL);
    if (!h) return;
    CHECK_INT(h->secrets_count, 3);
    CHECK_INT(h->script_secrets_count, 1);
    hook_unref(h);
}

static void count_match(void *user, struct hook *hook) {
    char *seen = user;
    strncat(seen, hook->name.p, 15);
    strcat(seen, " ");
}

static void a_set_finds_by_name_and_by_event(void) {
    static const struct {
        const char *name, *description;
    } hooks[] = {
        { "b", "{" BASE "}" },
        { "a",
          "{\"on\":[\"call.*\",\"call.completed\"],\"request\":{\"url\":\"https://h.example/\"}}" },
        { "c", "{" BASE ",\"org\":\"acme\"}" },
        { "d", "{" BASE ",\"org\":\"globex\"}" },
        { "e", "{\"on\":[\"*\"],\"org\":\"acme\",\"request\":{\"url\":\"https://h.example/\"}}" },
        { "f", "{\"on\":[\"call.hangup\"],\"request\":{\"url\":\"https://h.example/\"}}" },
    };
    struct hook *made[6];
    char seen[256] = "";
    for (int i = 0; i < 6; i++) {
        struct hook_input input = { .name = slice_str(hooks[i].name),
                                    .file = S("x.lua"),
                                    .version = S("v"),
                                    .source = S(""),
                                    .description = slice_str(hooks[i].description) };
        made[i] = hook_new(&input, NULL, NULL, NULL);
        CHECK(made[i] != NULL);
    }
    struct hook_set *set = hook_set_new(made, 6);
    for (int i = 0; i < 6; i++) {
        CHECK(hook_set_find(set, slice_str(hooks[i].name)) == made[i]);
        hook_unref(made[i]);
    }
    CHECK(!hook_set_find(set, S("zz")) && !hook_set_find(set, S("")));
    struct event *e = event_of(EVENT(""));
    hook_set_match(set, e, count_match, seen);
    CHECK_TEXT(slice_str(seen), "a b c e ");
    event_unref(e);
    hook_set_unref(set);
}

static const struct check_case cases[] = {
    { "a small webhook has the defaults", a_small_webhook_has_the_defaults },
    { "mistakes are all told", mistakes_are_all_told },
    { "findings name line and column", findings_name_line_and_column },
    { "keys that stand twice are told", keys_that_stand_twice_are_told },
    { "a key that stands twice has its place", key_that_stands_twice_has_its_place },
    { "tags are checked against the catalogue", tags_are_checked_against_the_catalogue },
    { "tags of conditions are checked too", tags_of_conditions_are_checked_too },
    { "headers past their limit are refused", headers_past_their_limit_are_refused },
    { "events are chosen by type, org and when", events_are_chosen_by_type_org_and_when },
    { "when knows the tags that are on every event", when_knows_the_tags_that_are_on_every_event },
    { "a request is rendered with its content type", a_request_is_rendered_with_its_content_type },
    { "secrets are collected once", secrets_are_collected_once },
    { "a set finds by name and by event", a_set_finds_by_name_and_by_event },
};

int main(void) {
    struct fail fail = { 0 };
    struct slice document = S(
        "{\"events\":[{\"name\":\"call.incoming\"},{\"name\":\"call.completed\"}],\"tags\":["
        "{\"name\":\"CALL_ID\"},{\"name\":\"CALLER_ID\"},{\"name\":\"DURATION\",\"on\":[\"call.completed\"]},"
        "{\"name\":\"CONVERTED\",\"on\":[\"call.completed\"]}]}");
    catalog = catalog_new(&document, 1, &fail);
    if (!catalog) printf("# catalogue: %s\n", fail.text);
    int status = check_run(cases, sizeof cases / sizeof *cases);
    catalog_free(catalog);
    return status;
}
