// Changing JSON text in place: what changes, and that nothing else does.
#include "check.h"
#include "patch.h"

struct change {
    const char *text, *path, *json, *want; // json NULL: delete
};

static void apply(const struct change *c) {
    struct buf out;
    struct fail fail = { 0 };
    buf_init(&out, 1 << 16);
    struct slice text = slice_str(c->text), path = slice_str(c->path);
    enum err err = c->json ? patch_set(text, path, slice_str(c->json), &out, &fail)
                           : patch_delete(text, path, &out, NULL, &fail);
    CHECK_INT(err, OK);
    CHECK_SLICE(buf_slice(&out), slice_str(c->want));
    bool good = !err && slice_eq(buf_slice(&out), slice_str(c->want)) &&
                json_check(buf_slice(&out), (struct json_limits){ 0 }, NULL) == OK;
    CHECK(good);
    if (!good) printf("#   %s at %s: %s\n", c->text, c->path, fail.text);
    buf_deinit(&out);
}

#define BIG "{ \"id\":9007199254740993,\"fb\" :123456789012345678,\"a\":[ ],\"n\":null,\"x\":1.50}"

static void values_are_replaced_in_place(void) {
    static const struct change all[] = {
        { "{\"a\":1}", "a", "2", "{\"a\":2}" },
        { "{\"a\":{\"b\": 1 },\"c\":2}", "a.b", "[1, 2]", "{\"a\":{\"b\": [1, 2] },\"c\":2}" },
        { BIG, "x", "\"y\"",
          "{ \"id\":9007199254740993,\"fb\" :123456789012345678,\"a\":[ ],\"n\":null,\"x\":\"y\"}" },
        { "[1,[2,{\"k\":3}]]", "[2][2].k", "4", "[1,[2,{\"k\":4}]]" },
        { "{\"a\":1,\"a\":2}", "a", "3", "{\"a\":1,\"a\":3}" },
        { "{\"\\u0061\":1}", "a", "2", "{\"\\u0061\":2}" },
        { "{\"a.b\":{\"[x]\":1}}", "[\"a.b\"][\"[x]\"]", "2", "{\"a.b\":{\"[x]\":2}}" },
        { "{\"q\\\"\":1}", "[\"q\\\"\"]", "2", "{\"q\\\"\":2}" },
        { " {\"a\":1} ", "", " [1] ", " [1] " },
        { "{\"caf\xC3\xA9\":1}", "caf\xC3\xA9", "2", "{\"caf\xC3\xA9\":2}" },
        { "{\"a b\":1}", "a b", "2", "{\"a b\":2}" },
    };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) apply(&all[i]);
}

static void missing_values_are_added_in_style(void) {
    static const struct change all[] = {
        { "{}", "a", "1", "{\"a\":1}" },
        { "{ }", "a", "1", "{\"a\":1 }" },
        { "{\"a\":1}", "b", "2", "{\"a\":1,\"b\":2}" },
        { "{\"a\": 1, \"b\": 2}", "c", "3", "{\"a\": 1, \"b\": 2, \"c\": 3}" },
        { "{\n  \"a\": 1\n}", "b", "2", "{\n  \"a\": 1,\n  \"b\": 2\n}" },
        { "{\n  \"a\": 1,\n  \"b\": 2\n}", "c", "3", "{\n  \"a\": 1,\n  \"b\": 2,\n  \"c\": 3\n}" },
        { "{\"a\":1}", "b.c.d", "2", "{\"a\":1,\"b\":{\"c\":{\"d\":2}}}" },
        { "{\"b\":{\"x\":[ ]}}", "b.c.d", "2", "{\"b\":{\"x\":[ ],\"c\":{\"d\":2}}}" },
        { "{\"a\":null}", "a.b", "2", "{\"a\":{\"b\":2}}" },
        { "null", "a", "2", "{\"a\":2}" },
        { "[]", "[1]", "1", "[1]" },
        { "[1, 2]", "[3]", "3", "[1, 2, 3]" },
        { "{\"items\":[{\"id\":1}]}", "items[2].id", "2", "{\"items\":[{\"id\":1},{\"id\":2}]}" },
        { "{}", "items[1].id", "2", "{\"items\":[{\"id\":2}]}" },
        { "{}", "a[1][1]", "2", "{\"a\":[[2]]}" },
        { "{}", "[\"q\\\"\\n.\"]", "1", "{\"q\\\"\\n.\":1}" },
    };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) apply(&all[i]);
}

static void values_are_deleted_with_their_comma(void) {
    static const struct change all[] = {
        { "{\"a\":1}", "a", NULL, "{}" },
        { "{ \"a\":1 }", "a", NULL, "{ }" },
        { "{\"a\":1,\"b\":2,\"c\":3}", "a", NULL, "{\"b\":2,\"c\":3}" },
        { "{\"a\":1,\"b\":2,\"c\":3}", "b", NULL, "{\"a\":1,\"c\":3}" },
        { "{\"a\":1,\"b\":2,\"c\":3}", "c", NULL, "{\"a\":1,\"b\":2}" },
        { "{\n  \"a\": 1,\n  \"b\": 2\n}", "b", NULL, "{\n  \"a\": 1\n}" },
        { "{\n  \"a\": 1,\n  \"b\": 2\n}", "a", NULL, "{\n  \"b\": 2\n}" },
        { "{\"a\":1,\"b\":2,\"\\u0061\":3,\"a\":4}", "a", NULL, "{\"b\":2}" },
        { "[1,2,3]", "[2]", NULL, "[1,3]" },
        { "[1]", "[1]", NULL, "[]" },
        { "{\"x\":[{\"id\":1,\"z\":2}]}", "x[1].z", NULL, "{\"x\":[{\"id\":1}]}" },
        { BIG, "fb", NULL, "{ \"id\":9007199254740993,\"a\":[ ],\"n\":null,\"x\":1.50}" },
        { BIG, "none", NULL, BIG },
        { BIG, "none.a", NULL, BIG },
        { BIG, "x.y", NULL, BIG },
        { BIG, "a[1]", NULL, BIG },
        { BIG, "[1]", NULL, BIG },
    };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) apply(&all[i]);
}

static void deleting_says_whether_it_was_there(void) {
    struct buf out;
    bool found;
    buf_init(&out, 100);
    CHECK(patch_delete(S("{\"a\":1}"), S("a"), &out, &found, NULL) == OK && found);
    CHECK(patch_delete(S("{\"a\":1}"), S("b"), &out, &found, NULL) == OK && !found);
    buf_deinit(&out);
}

static void values_are_read_as_source_text(void) {
    static const struct {
        const char *path, *raw; // raw NULL: none
    } all[] = {
        { "id", "9007199254740993" },
        { "a", "[ ]" },
        { "n", "null" },
        { "x", "1.50" },
        { "", BIG },
        { "none", NULL },
        { "x.y", NULL },
        { "a[1]", NULL },
        { "a.b", NULL },
        { "[1]", NULL },
    };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        struct json value;
        CHECK(patch_get(S(BIG), slice_str(all[i].path), &value, NULL) == OK);
        CHECK((value.type == JSON_NONE) == !all[i].raw);
        if (all[i].raw) CHECK_SLICE(value.raw, slice_str(all[i].raw));
    }
}

static void bad_paths_are_refused(void) {
    static const struct {
        const char *path;
        size_t at;
    } all[] = {
        { ".", 0 },     { ".a", 0 },   { "a.", 2 },      { "a..b", 2 },    { "a[", 2 },
        { "a[]", 2 },   { "a[0]", 3 }, { "a[-1]", 2 },   { "a[1", 3 },     { "a[1x]", 3 },
        { "a[1]b", 4 }, { "a]", 1 },   { "a[\"b]", 2 },  { "a[\"b\"", 5 }, { "a[\"\\x\"]", 2 },
        { "\"a\"", 0 }, { "a\nb", 1 }, { "[1].[2]", 4 }, { "a[x]", 2 },
    };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        struct json value;
        struct fail fail = { 0 };
        CHECK_INT(patch_get(S("{}"), slice_str(all[i].path), &value, &fail), ERR_INPUT);
        CHECK_SLICE(slice_str(fail.type), S("bad_path"));
        CHECK_INT(fail.at, all[i].at);
        if (fail.at != all[i].at) printf("#   %s\n", fail.text);
    }
    struct buf out;
    buf_init(&out, 100);
    struct fail fail = { 0 };
    CHECK_INT(patch_delete(S("{}"), S(""), &out, NULL, &fail), ERR_INPUT);
    CHECK_INT(patch_set(S("{}"), S("a\xFF"), S("1"), &out, &fail), ERR_INPUT);
    CHECK_SLICE(slice_str(fail.type), S("bad_path"));
    buf_deinit(&out);
}

static void changes_that_do_not_fit_are_named(void) {
    static const struct {
        const char *text, *path, *json, *type, *where;
    } all[] = {
        { "{\"a\":{\"b\":1}}", "a.b.c", "1", "not_an_object", "a.b" },
        { "{\"a\":{\"b\":1}}", "a[1]", "1", "not_an_array", "a" },
        { "[1]", "a", "1", "not_an_object", "" },
        { "{\"a\":[1]}", "a.b", "1", "not_an_object", "a" },
        { "{\"a\":[1]}", "a[3]", "1", "out_of_range", "a[3]" },
        { "{\"a\":[]}", "a[2]", "1", "out_of_range", "a[2]" },
        { "{}", "a[2].b", "1", "out_of_range", "a[2]" },
        { "{\"a\":null}", "a[2]", "1", "out_of_range", "a[2]" },
        { "{}", "a", "01", "invalid_json", NULL },
        { "{}", "a", "", "invalid_json", NULL },
        { "{}", "a", "1,\"b\":2", "invalid_json", NULL },
        { "{}", "a", "\"\xFF\"", "invalid_utf8", NULL },
    };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        struct buf out;
        struct fail fail = { 0 };
        buf_init(&out, 1 << 16);
        CHECK_INT(patch_set(slice_str(all[i].text), slice_str(all[i].path), slice_str(all[i].json),
                            &out, &fail),
                  ERR_INPUT);
        CHECK_SLICE(slice_str(fail.type), slice_str(all[i].type));
        if (all[i].where) CHECK_SLICE(slice_str(fail.path), slice_str(all[i].where));
        CHECK_INT(out.n, 0);
        buf_deinit(&out);
    }
}

static void limits_hold(void) {
    char path[PATCH_PATH_MAX + 2], json[PATCH_DEPTH_MAX * 2 + 2];
    struct buf out;
    struct fail fail = { 0 };
    struct json value;
    memset(path, 'a', sizeof path);
    CHECK_INT(patch_get(S("{}"), slice(path, PATCH_PATH_MAX), &value, &fail), OK);
    CHECK_INT(patch_get(S("{}"), slice(path, PATCH_PATH_MAX + 1), &value, &fail), ERR_INPUT);
    for (size_t i = 1; i < 2 * PATCH_STEPS_MAX + 2; i += 2) path[i] = '.';
    CHECK_INT(patch_get(S("{}"), slice(path, 2 * PATCH_STEPS_MAX - 1), &value, &fail), OK);
    CHECK_INT(patch_get(S("{}"), slice(path, 2 * PATCH_STEPS_MAX + 1), &value, &fail), ERR_INPUT);

    buf_init(&out, 1 << 16);
    for (unsigned n = PATCH_DEPTH_MAX - 1; n <= PATCH_DEPTH_MAX; n++) {
        memset(json, '[', n);
        memset(json + n, ']', n);
        buf_clear(&out);
        CHECK_INT(patch_set(S("{}"), S("a"), slice(json, 2 * n), &out, &fail),
                  n < PATCH_DEPTH_MAX ? OK : ERR_LIMIT);
    }
    CHECK_SLICE(slice_str(fail.type), S("too_deep"));
    buf_deinit(&out);
    buf_init(&out, 10);
    CHECK_INT(patch_set(S("{\"a\":1}"), S("b"), S("1"), &out, &fail), ERR_LIMIT);
    CHECK_SLICE(slice_str(fail.type), S("too_large"));
    buf_deinit(&out);
    buf_init(&out, 3);
    CHECK_INT(patch_delete(S("{\"a\":1}"), S("b"), &out, NULL, &fail), ERR_LIMIT);
    buf_deinit(&out);
}

static void wide_gaps_are_not_copied(void) {
    char text[300] = "{\"a\":1,";
    size_t n = strlen(text);
    memset(text + n, ' ', 200);
    memcpy(text + n + 200, "\"b\":2}", 6);
    struct buf out;
    buf_init(&out, 1000);
    CHECK(patch_set(slice(text, n + 206), S("c"), S("3"), &out, NULL) == OK);
    CHECK(slice_ends(buf_slice(&out), S(" \"b\":2,\"c\":3}")));
    CHECK_INT(out.n, n + 206 + 6);
    buf_deinit(&out);
}

static const struct check_case cases[] = {
    { "values are replaced in place", values_are_replaced_in_place },
    { "missing values are added in style", missing_values_are_added_in_style },
    { "values are deleted with their comma", values_are_deleted_with_their_comma },
    { "deleting says whether it was there", deleting_says_whether_it_was_there },
    { "values are read as source text", values_are_read_as_source_text },
    { "bad paths are refused", bad_paths_are_refused },
    { "changes that do not fit are named", changes_that_do_not_fit_are_named },
    { "limits hold", limits_hold },
    { "wide gaps are not copied", wide_gaps_are_not_copied },
};
CHECK_MAIN(cases)
