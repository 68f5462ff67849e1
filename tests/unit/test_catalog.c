// The catalogue: built from documents, extended, asked, and its suggestions.
#include "catalog.h"
#include "check.h"
#include "tag.h"

#define DOC                                                                                         \
    "{\"events\":[{\"name\":\"call.incoming\",\"description\":\"d1\",\"when\":\"w1\"},"             \
    "{\"name\":\"call.completed\",\"description\":\"d2\"}],"                                        \
    "\"tags\":[{\"name\":\"CALL_ID\",\"group\":\"call\",\"type\":\"id\",\"description\":\"x\\n\"}," \
    "{\"name\":\"CONVERTED\",\"on\":[\"call.completed\"],\"derived\":true},"                        \
    "{\"name\":\"REVENUE\",\"on\":[\"call.*\"]}]}"

static struct catalog *build(const char *first, const char *second, struct fail *fail) {
    struct slice documents[] = { slice_str(first), slice_str(second) };
    return catalog_new(documents, second ? 2 : 1, fail);
}

static void entries_are_found_by_name(void) {
    struct fail fail = { 0 };
    struct catalog *c = build(DOC, NULL, &fail);
    CHECK(c);
    if (!c) return;
    CHECK_INT(c->events_count, 2);
    CHECK_INT(c->tags_count, 3);
    const struct catalog_event *e = catalog_find_event(c, S("call.incoming"));
    CHECK(e && slice_eq(e->description, S("d1")) && slice_eq(e->when, S("w1")));
    CHECK(!catalog_find_event(c, S("call.x")));
    const struct catalog_tag *t = catalog_find_tag(c, S("CALL_ID"));
    CHECK(t && slice_eq(t->description, S("x\n")) && slice_eq(t->group, S("call")));
    CHECK(t && !t->derived && t->on[0] && t->on[1]);
    CHECK(!catalog_find_tag(c, S("CALL_I")));
    CHECK(tag_find(S("REVENUE")) != TAG_NONE);
    catalog_free(c);
    catalog_free(NULL);
}

static void a_tag_is_on_the_events_it_names(void) {
    struct catalog *c = build(DOC, NULL, NULL);
    if (!c) return;
    const struct catalog_tag *t = catalog_find_tag(c, S("CONVERTED"));
    CHECK(t->derived);
    CHECK(!catalog_tag_on(c, t, S("call.incoming")));
    CHECK(catalog_tag_on(c, t, S("call.completed")));
    CHECK(catalog_tag_on(c, t, S("call.*")));
    CHECK(catalog_tag_on(c, t, S("*")));
    CHECK(catalog_tag_on(c, t, S("sms.received"))); // nobody knows
    CHECK(catalog_tag_on(c, t, S("sms.*")));
    catalog_free(c);
}

static void a_later_document_adds_and_replaces(void) {
    struct fail fail = { 0 };
    struct catalog *c = build(DOC,
                              "{\"listen\":\"x\",\"events\":[{\"name\":\"call.rated\"},"
                              "{\"name\":\"call.incoming\",\"description\":\"mine\"}],"
                              "\"tags\":[{\"name\":\"STARS\",\"on\":[\"call.rated\"]},"
                              "{\"name\":\"CONVERTED\",\"on\":\"call.incoming\"}]}",
                              &fail);
    CHECK(c);
    if (!c) return;
    CHECK_INT(c->events_count, 3);
    CHECK_INT(c->tags_count, 4);
    CHECK_TEXT(catalog_find_event(c, S("call.incoming"))->description, "mine");
    CHECK(catalog_tag_on(c, catalog_find_tag(c, S("CONVERTED")), S("call.incoming")));
    CHECK(!catalog_tag_on(c, catalog_find_tag(c, S("CONVERTED")), S("call.completed")));
    CHECK(!catalog_tag_on(c, catalog_find_tag(c, S("STARS")), S("call.completed")));
    // A pattern of the first document covers events of the second.
    CHECK(catalog_tag_on(c, catalog_find_tag(c, S("REVENUE")), S("call.rated")));
    catalog_free(c);
}

static void wrong_entries_are_named(void) {
    static const struct {
        const char *document, *path;
    } all[] = {
        { "{\"events\":7}", "events" },
        { "{\"events\":{\"a\":1}}", "events" },
        { "{\"events\":[7]}", "events[1]" },
        { "{\"events\":[{\"name\":\"a.b\"},{}]}", "events[2]" },
        { "{\"events\":[{\"name\":\"Call.X\"}]}", "events[1]" },
        { "{\"events\":[{\"name\":7}]}", "events[1]" },
        { "{\"events\":[{\"name\":\"a.b\",\"wen\":\"x\"}]}", "events[1]" },
        { "{\"tags\":[{\"name\":\"lower\"}]}", "tags[1]" },
        { "{\"tags\":[{\"name\":\"A\"},{\"name\":\"B\",\"on\":[\"no.such\"]}]}", "tags[2]" },
        { "{\"tags\":[{\"name\":\"A\",\"on\":[7]}]}", "tags[1]" },
        { "{\"tags\":[{\"name\":\"A\",\"on\":7}]}", "tags[1]" },
        { "{\"tags\":[{\"name\":\"A\",\"derived\":\"yes\"}]}", "tags[1]" },
    };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        struct fail fail = { 0 };
        CHECK(!build(all[i].document, NULL, &fail));
        CHECK_SLICE(slice_str(fail.type), S("bad_catalog"));
        CHECK_SLICE(slice_str(fail.path), slice_str(all[i].path));
        CHECK(strstr(fail.text, all[i].path) != NULL);
    }
    struct catalog *c = build("{\"events\":{},\"tags\":{}}", "{}", NULL); // Lua's empty tables
    CHECK(c && c->events_count == 0 && c->tags_count == 0);
    catalog_free(c);
}

static void suggestions_are_near(void) {
    static const struct slice words[] = { { "timeout", 7 }, { "retry", 5 },       { "rate", 4 },
                                          { "CALL_ID", 7 }, { "CALLER_ID", 9 },   { "on", 2 },
                                          { "json", 4 },    { "concurrency", 11 } };
    size_t n = sizeof words / sizeof *words;
    CHECK_TEXT(suggest(words, n, S("timout")), "timeout");
    CHECK_TEXT(suggest(words, n, S("rtery")), "retry"); // two swaps
    CHECK_TEXT(suggest(words, n, S("call_id")), "CALL_ID");
    CHECK_TEXT(suggest(words, n, S("CALER_ID")), "CALLER_ID");
    CHECK_TEXT(suggest(words, n, S("concurency")), "concurrency");
    CHECK_TEXT(suggest(words, n, S("konkurrensy")), "concurrency"); // three edits in eleven
    CHECK_TEXT(suggest(words, n, S("jsno")), "json");
    CHECK_TEXT(suggest(words, n, S("no")), "on");
    CHECK_TEXT(suggest(words, n, S("xy")), "");
    CHECK_TEXT(suggest(words, n, S("")), "");
    CHECK_TEXT(suggest(words, n, S("frequency")), "");
    CHECK_TEXT(suggest(words, 0, S("json")), "");
    char text[200];
    memset(text, 'x', sizeof text);
    CHECK_TEXT(suggest(words, n, slice(text, sizeof text)), "");
}

static void the_catalogue_suggests(void) {
    struct catalog *c = build(DOC, NULL, NULL);
    if (!c) return;
    CHECK_TEXT(catalog_suggest_tag(c, S("CONVERTD")), "CONVERTED");
    CHECK_TEXT(catalog_suggest_event(c, S("call.complete")), "call.completed");
    CHECK_TEXT(catalog_suggest_tag(c, S("NOTHING_LIKE_IT")), "");
    catalog_free(c);
}

static const struct check_case cases[] = {
    { "entries are found by name", entries_are_found_by_name },
    { "a tag is on the events it names", a_tag_is_on_the_events_it_names },
    { "a later document adds and replaces", a_later_document_adds_and_replaces },
    { "wrong entries are named", wrong_entries_are_named },
    { "suggestions are near", suggestions_are_near },
    { "the catalogue suggests", the_catalogue_suggests },
};
CHECK_MAIN(cases)
