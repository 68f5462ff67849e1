// The strict JSON reader: a conformance list (every text a reader must take or
// refuse), limits, places of errors, and the walk over checked texts.
#include <math.h>

#include "check.h"
#include "json.h"

static const struct json_limits open_limits = { 0 };

#define T(lit)                                                                                     \
    { lit, sizeof(lit) - 1 }

static const struct slice accepted[] = {
    T("null"),
    T("true"),
    T("false"),
    T("0"),
    T("-0"),
    T("-1"),
    T("10"),
    T("1.0"),
    T("0.5"),
    T("-0.0"),
    T("1e0"),
    T("1E+2"),
    T("1e-2"),
    T("0e0"),
    T("0E+1"),
    T("1.5e300"),
    T("1e400"),
    T("-1e-400"),
    T("123456789012345678901234567890"),
    T("9007199254740993"),
    T("35.00"),
    T("\"\""),
    T("\"a\""),
    T("\" \""),
    T("\"\\\"\\\\\\/\\b\\f\\n\\r\\t\""),
    T("\"\\u0000\""),
    T("\"\\u00e9\\u00E9\""),
    T("\"\\uD83D\\uDE42\""),
    T("\"\\ud800\\udc00\""),
    T("\"\\uDBFF\\uDFFF\""),
    T("\"\\uFFFF\\uFFFE\""),
    T("\"\xC3\xA9\xE4\xB8\xAD\xF0\x9F\x99\x82\""),
    T("\"\xF4\x8F\xBF\xBF\""),
    T("\"\x7F\""),
    T("\"\xE2\x80\xA8\""),
    T("\"// no comment /* here */\""),
    T("\"[]{},:\""),
    T("\"0123456789abcdef\""),
    T("\"0123456789abcdef0123456789abcdef!\""),
    T("\"0123456789abcde\\\"0123456789abcdef\""),
    T("[]"),
    T("[ ]"),
    T("[1]"),
    T("[1,2]"),
    T("[ 1 , 2 ]"),
    T("[[]]"),
    T("[[],[[]],{}]"),
    T("[null,true,false]"),
    T("[\"a\",1,{\"b\":[]}]"),
    T("{}"),
    T("{ }"),
    T("{\"a\":1}"),
    T("{\"\":0}"),
    T("{\"a\":1,\"a\":2}"),
    T("{\"a\":{\"b\":{\"c\":[{}]}}}"),
    T("{\"a\\u0062\":1}"),
    T("{ \"a\" : [ 1 , { \"b\" : null } ] , \"c\" : \"d\" }"),
    T("\t\n\r [1] \t\n\r"),
    T("[\n{\"a\"\n:\n1\n}\n]"),
};

static const struct slice refused[] = {
    T(""),
    T(" "),
    T("\n"),
    T("nul"),
    T("nulll"),
    T("NULL"),
    T("True"),
    T("TRUE"),
    T("truefalse"),
    T("nan"),
    T("NaN"),
    T("-NaN"),
    T("Infinity"),
    T("-Infinity"),
    T("inf"),
    T("undefined"),
    T("-"),
    T("+1"),
    T("01"),
    T("-01"),
    T("00"),
    T("1."),
    T(".5"),
    T("-.5"),
    T("1.e1"),
    T("1e"),
    T("1e+"),
    T("1e1.0"),
    T("1e 1"),
    T("0x10"),
    T("1_000"),
    T("1 2"),
    T("1a"),
    T("--1"),
    T("- 1"),
    T("0."),
    T("0e"),
    T("1eE2"),
    T("\xEF\xBC\x91"),
    T("'a'"),
    T("\""),
    T("\"a"),
    T("\"a\\\""),
    T("\"\\"),
    T("\"\\a\""),
    T("\"\\x41\""),
    T("\"\\'\""),
    T("\"\\U0041\""),
    T("\"\\u\""),
    T("\"\\u12\""),
    T("\"\\u123\""),
    T("\"\\u12G4\""),
    T("\"\\u 123\""),
    T("\"\\u-123\""),
    T("\"\\\xC3\xA9\""),
    T("\"\\\x00\""),
    T("\"\n\""),
    T("\"\t\""),
    T("\"\x00\""),
    T("\"\x1F\""),
    T("\"0123456789abcdef\x01\""),
    T("\"a\" \"b\""),
    T("["),
    T("[1"),
    T("[1,"),
    T("[1,]"),
    T("[,1]"),
    T("[,]"),
    T("[1,,2]"),
    T("[1 2]"),
    T("[1:2]"),
    T("[1}"),
    T("]"),
    T("[]]"),
    T("[[]"),
    T("[\"a\""),
    T("[\"a\",\n4\n,1,"),
    T("[\x00]"),
    T("[1,\x0C"
      "2]"),
    T("[\xC2\xA0]"),
    T("[*]"),
    T("{"),
    T("{]"),
    T("{\"a\""),
    T("{\"a\":"),
    T("{\"a\":1"),
    T("{\"a\":1,"),
    T("{\"a\":1,}"),
    T("{,\"a\":1}"),
    T("{\"a\" 1}"),
    T("{\"a\",1}"),
    T("{\"a\"::1}"),
    T("{\"a\":}"),
    T("{\"a\":1 \"b\":2}"),
    T("{\"a\":1,,\"b\":2}"),
    T("{a:1}"),
    T("{'a':1}"),
    T("{1:1}"),
    T("{null:1}"),
    T("{[]:1}"),
    T("{\"a\":1]"),
    T("{\"a\":1}}"),
    T("{\"a\":1}{\"b\":2}"),
    T("{\"a\":1}#"),
    T("{\"a\":1}//"),
    T("/* c */ 1"),
    T("1 // c"),
    T("{\"a\":/**/1}"),
    T("# 1"),
    T("\xEF\xBB\xBF{}"),
    T("\xFE\xFF\x00{\x00}"),
    T("{\x00}"),
    T("1\x00"),
    T("\x00"),
    T("a"),
    T("{\"a\":1e400x}"),
    T("[1\xE2\x80\xA8]"),
};

static const struct slice not_utf8[] = {
    T("\"\xFF\""),
    T("\"\x80\""),
    T("\"\xC0\xAF\""),
    T("\"\xC1\xBF\""),
    T("\"\xE0\x80\xAF\""),
    T("\"\xED\xA0\x80\""),
    T("\"\xED\xBF\xBF\""),
    T("\"\xF0\x80\x80\x80\""),
    T("\"\xF4\x90\x80\x80\""),
    T("\"\xF8\x88\x80\x80\x80\""),
    T("\"\xC3\""),
    T("\"\xE4\xB8\""),
    T("\"\xF0\x9F\x99\""),
    T("\"\xE4\xB8\xAD\xAD\""),
    T("\"0123456789abcdef0123456789abcde\xC3\""),
    T("\"\\ud800\""),
    T("\"\\uDC00\""),
    T("\"\\udbff\\u0041\""),
    T("\"\\ud800\\ud800\""),
    T("\"\\ud800x\\udc00\""),
    T("\"\\ud800\\n\""),
    T("\"\\ud800\\uZZZZ\""),
    T("\"\\udc00\\ud800\""),
    T("{\"\\ud800\":1}"),
    T("{\"\xFF\":1}"),
};

static void say(struct slice text) {
    printf("#   in: %.*s\n", SLICE_FMT(text));
}

static void well_formed_texts_pass(void) {
    for (size_t i = 0; i < sizeof accepted / sizeof *accepted; i++) {
        struct fail fail = { 0 };
        bool good = json_check(accepted[i], open_limits, &fail) == OK;
        CHECK(good);
        if (!good) say(accepted[i]), printf("#   %s\n", fail.text);
    }
}

static void expect_refused(struct slice text, const char *type) {
    struct fail fail = { 0 };
    bool good = json_check(text, open_limits, &fail) == ERR_INPUT && !strcmp(fail.type, type) &&
                fail.at <= text.n;
    CHECK(good);
    if (!good) say(text), printf("#   type %s at %zu\n", fail.type, fail.at);
}

static void malformed_texts_are_refused(void) {
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++)
        expect_refused(refused[i], "invalid_json");
}

static void wrong_utf8_has_its_own_type(void) {
    for (size_t i = 0; i < sizeof not_utf8 / sizeof *not_utf8; i++)
        expect_refused(not_utf8[i], "invalid_utf8");
}

// No prefix of a container or string is a text, and none reads past its end
// (each is in a block of its own size, which ASan watches).
static void every_prefix_is_refused(void) {
    struct slice text =
        S("{\"a\\u00e9\":[1.5e3,\"\\ud83d\\ude42 \xF0\x9F\x99\x82\",null],\"b\":{}}");
    for (size_t n = 0; n < text.n; n++) {
        char *copy = malloc(n ? n : 1);
        memcpy(copy, text.p, n);
        CHECK(json_check(slice(copy, n), open_limits, NULL) == ERR_INPUT);
        free(copy);
    }
    CHECK(json_check(text, open_limits, NULL) == OK);
}

struct place {
    struct slice text;
    size_t at;
    const char *path;
};

static void errors_name_byte_and_pointer(void) {
    static const struct place places[] = {
        { T("{\"a\":1,}"), 7, "" },
        { T("{\"a\":[1,2,x]}"), 10, "/a/2" },
        { T("{\"a\":{\"b/c~d\":tru}}"), 17, "/a/b~1c~0d" },
        { T("[[1],[2,{\"k\":01}]]"), 14, "/1/1/k" },
        { T("{\"a\":1,\"b\":\"\xFF\"}"), 12, "/b" },
        { T("{\"caf\\u00e9\":-}"), 14, "/caf\xC3\xA9" },
        { T("{\"a\":1 \"b\":2}"), 7, "/a" },
        { T("{\"\":[}"), 5, "//0" },
        { T("{\"x\":\"\\ud800\"}"), 6, "/x" },
        { T("{\"a\":[{},{}],\"b\":[[]"), 20, "/b/0" },
    };
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        struct fail fail = { 0 };
        CHECK(json_check(places[i].text, open_limits, &fail) == ERR_INPUT);
        CHECK_INT(fail.at, places[i].at);
        CHECK_SLICE(slice_str(fail.path), slice_str(places[i].path));
    }
}

static void long_pointers_are_cut_between_characters(void) {
    char text[600] = "{\"";
    size_t n = 2;
    for (int i = 0; i < 100; i++) memcpy(text + n, "\xC3\xA9", 2), n += 2;
    memcpy(text + n, "\":x}", 4);
    struct fail fail = { 0 };
    CHECK(json_check(slice(text, n + 4), open_limits, &fail) == ERR_INPUT);
    CHECK_INT(strlen(fail.path), 95); // the slash and 47 characters of two bytes
}

static struct slice repeat(char *to, size_t count, const char *unit) {
    size_t n = strlen(unit);
    for (size_t i = 0; i < count; i++) memcpy(to + i * n, unit, n);
    return slice(to, count * n);
}

static void depth_is_limited_without_recursion(void) {
    struct fail fail = { 0 };
    CHECK(json_check(S("[[[]]]"), (struct json_limits){ .depth_max = 3 }, &fail) == OK);
    CHECK(json_check(S("[[{\"a\":[]}]]"), (struct json_limits){ .depth_max = 3 }, &fail) ==
          ERR_LIMIT);
    CHECK(!strcmp(fail.type, "too_deep"));
    CHECK_INT(fail.at, 7);
    CHECK_SLICE(slice_str(fail.path), S("/0/0/a"));

    size_t million = 1000000;
    char *text = malloc(million * 5);
    CHECK(json_check(repeat(text, million, "["), open_limits, &fail) == ERR_LIMIT);
    CHECK_INT(fail.at, 1024);
    CHECK(json_check(repeat(text, million, "{\"a\":"), open_limits, &fail) == ERR_LIMIT);
    CHECK_INT(fail.at, 1024 * 5);

    repeat(text, 1024, "[");
    repeat(text + 1024, 1024, "]");
    CHECK(json_check(slice(text, 2048), open_limits, &fail) == OK);
    struct json root = json_root(slice(text, 2048)), value;
    size_t at = 0;
    CHECK(json_next(root, &at, NULL, &value));
    CHECK_INT(value.raw.n, 2046);
    free(text);
}

static void values_are_counted(void) {
    struct json_limits limits = { .values_max = 4 };
    struct fail fail = { 0 };
    CHECK(json_check(S("[1,{\"a\":2}]"), limits, &fail) == OK);
    CHECK(json_check(S("[1,{\"a\":2},3]"), limits, &fail) == ERR_LIMIT);
    CHECK(!strcmp(fail.type, "too_many_values"));
    CHECK_INT(fail.at, 11);
}

static void a_walk_gives_members_in_order(void) {
    struct slice text =
        S(" { \"a\" : 1 , \"b\\\"}\":[ 1, \"]\" ,{\"x\":{}} ] ,\"c\":{\"d\":\"}\"}, "
          "\"e\":\"\\\\\" , \"a\":null } ");
    CHECK(json_check(text, open_limits, NULL) == OK);
    struct json root = json_root(text), value;
    CHECK(root.type == JSON_OBJECT);
    static const char *const want[][2] = { { "a", "1" },
                                           { "b\\\"}", "[ 1, \"]\" ,{\"x\":{}} ]" },
                                           { "c", "{\"d\":\"}\"}" },
                                           { "e", "\"\\\\\"" },
                                           { "a", "null" } };
    struct slice key;
    size_t at = 0, i = 0;
    while (json_next(root, &at, &key, &value)) {
        CHECK(i < 5);
        if (i == 5) break;
        CHECK_SLICE(key, slice_str(want[i][0]));
        CHECK_SLICE(value.raw, slice_str(want[i][1]));
        i++;
    }
    CHECK_INT(i, 5);
    CHECK(!json_next(root, &at, &key, &value)); // stays at the end
    CHECK(json_get(root, "a").type == JSON_NULL);
    CHECK(json_get(root, "b\"}").type == JSON_ARRAY);
    CHECK(json_get(root, "b").type == JSON_NONE);
    CHECK(json_get(json_get(root, "b\"}"), "x").type == JSON_NONE);
}

static void empty_containers_have_no_members(void) {
    static const struct slice texts[] = { T("[]"), T("[ ]"), T("{}"), T("{ \n}"), T("1"), T("") };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct json value;
        size_t at = 0;
        CHECK(!json_next(json_root(texts[i]), &at, NULL, &value));
    }
}

static void text_undoes_escapes(void) {
    struct arena arena;
    arena_init(&arena, 4096);
    struct json plain = json_root(S("\"abc\""));
    struct slice text = json_text(plain, &arena);
    CHECK(text.p == plain.raw.p + 1 && text.n == 3);
    struct json escaped =
        json_root(S("\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e9\\ud83d\\uDE42\\u0000!\""));
    CHECK_TEXT(json_text(escaped, &arena), "\"\\/\b\f\n\r\t\xC3\xA9\xF0\x9F\x99\x82\0!");
    CHECK_TEXT(json_text(json_root(S("[1, 2]")), &arena), "[1, 2]");
    CHECK_TEXT(json_text(json_root(S("\"\"")), &arena), "");
    CHECK(json_text(json_root(S("\"\"")), &arena).p);
    arena_deinit(&arena);
    arena_init(&arena, 1);
    CHECK(!json_text(escaped, &arena).p);
    arena_deinit(&arena);
}

static void keys_compare_unescaped(void) {
    CHECK(json_key_is(S("a"), S("a")));
    CHECK(json_key_is(S("\\u0061"), S("a")));
    CHECK(json_key_is(S("x\\n\\ud83d\\ude42y"), S("x\n\xF0\x9F\x99\x82y")));
    CHECK(!json_key_is(S("\\u0061b"), S("a")));
    CHECK(!json_key_is(S("\\u0061"), S("ab")));
    CHECK(!json_key_is(S("a\\n"), S("a")));
    CHECK(json_key_is(S(""), S("")));
}

static void integers_fit_or_are_refused(void) {
    int64_t n = 7;
    CHECK(json_int(json_root(S("9223372036854775807")), &n) && n == INT64_MAX);
    CHECK(json_int(json_root(S("-9223372036854775808")), &n) && n == INT64_MIN);
    CHECK(json_int(json_root(S("-0")), &n) && n == 0);
    CHECK(json_int(json_root(S("42")), &n) && n == 42);
    static const char *const bad[] = { "9223372036854775808",
                                       "-9223372036854775809",
                                       "99999999999999999999999",
                                       "1.0",
                                       "1e3",
                                       "\"1\"",
                                       "true" };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        CHECK(!json_int(json_root(slice_str(bad[i])), &n));
    CHECK_INT(n, 42);
}

static void doubles_are_the_nearest(void) {
    double d = 0;
    CHECK(json_double(json_root(S("0.1")), &d) && d == 0.1);
    CHECK(json_double(json_root(S("-1.5e3")), &d) && d == -1500);
    CHECK(json_double(json_root(S("9007199254740993")), &d) && d == 9007199254740992.0);
    CHECK(json_double(json_root(S("1e-400")), &d) && d == 0);
    CHECK(!json_double(json_root(S("1e400")), &d));
    CHECK(!json_double(json_root(S("-1e400")), &d));
    CHECK(!json_double(json_root(S("\"1\"")), &d));
    char text[1000];
    CHECK(json_double(json_root(repeat(text, 300, "1")), &d) && d > 1.1e299 && d < 1.2e299);
}

static void number_grammar(void) {
    CHECK(json_is_number(S("-0.5e+7")));
    static const char *const bad[] = { "", "-", "01", "1.", " 1", "1 ", "NaN", "1,\"a\":2", "+1" };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) CHECK(!json_is_number(slice_str(bad[i])));
}

static const struct check_case cases[] = {
    { "well-formed texts pass", well_formed_texts_pass },
    { "malformed texts are refused", malformed_texts_are_refused },
    { "wrong UTF-8 has its own type", wrong_utf8_has_its_own_type },
    { "every prefix is refused", every_prefix_is_refused },
    { "errors name byte and JSON pointer", errors_name_byte_and_pointer },
    { "long pointers are cut between characters", long_pointers_are_cut_between_characters },
    { "depth is limited without recursion", depth_is_limited_without_recursion },
    { "values are counted", values_are_counted },
    { "a walk gives members in order", a_walk_gives_members_in_order },
    { "empty containers have no members", empty_containers_have_no_members },
    { "text undoes escapes", text_undoes_escapes },
    { "keys compare unescaped", keys_compare_unescaped },
    { "integers fit or are refused", integers_fit_or_are_refused },
    { "doubles are the nearest", doubles_are_the_nearest },
    { "the number grammar is RFC 8259's", number_grammar },
};
CHECK_MAIN(cases)
