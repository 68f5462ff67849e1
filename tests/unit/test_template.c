// The template language, sentence by sentence: what is a placeholder, how a
// value is written where it lands, what happens when there is none.
#include "template.h"

#include "check.h"
#include "json.h"

// NULL is a macro, so the tests' macros say NONE for that policy.
#define MISSING_NONE MISSING_NULL

// One render with everything it reported.
struct result {
    enum err err;
    struct slice out;
    struct fail fail;
    bool omitted;
    struct template_notes notes;
};

static struct arena arena;
static struct buf out;

static struct template *compile(enum template_place place, enum template_missing missing,
                                struct slice text, struct fail *fail) {
    return template_compile(text, &(struct template_opts){ place, missing }, fail);
}

static struct result render_set(enum template_place place, enum template_missing missing,
                                struct slice text, const struct tag_set *set) {
    struct result r = { .notes = { .arena = &arena } };
    struct template *t = compile(place, missing, text, &r.fail);
    buf_clear(&out);
    if (!t) {
        r.err = r.fail.code;
        printf("# %.*s: %s\n", SLICE_FMT(text), r.fail.text);
        return r;
    }
    r.err = template_render(t, set, &out, &r.notes, &r.omitted, &r.fail);
    r.out = r.err ? slice_str(r.fail.type) : buf_slice(&out);
    template_free(t);
    return r;
}

struct pair {
    const char *name;
    struct slice value;
};

// A set of the given string values; it lives until the arena is emptied.
static struct tag_set *set_of(const struct pair *pairs, size_t count) {
    struct tag_set *set = arena_alloc(&arena, sizeof *set);
    for (size_t i = 0; i < count; i++) tag_intern(slice_str(pairs[i].name));
    tag_set_init(set, &arena);
    for (size_t i = 0; i < count; i++)
        tag_set_put(set, slice_str(pairs[i].name), tag_text(pairs[i].value));
    return set;
}

#define VALUES(...)                                                                                \
    set_of((const struct pair[]){ __VA_ARGS__ },                                                   \
           sizeof((const struct pair[]){ __VA_ARGS__ }) / sizeof(struct pair))
#define V(name, text)                                                                              \
    { name, S(text) }
#define RENDER(place, missing, text, ...)                                                          \
    render_set(TEMPLATE_##place, MISSING_##missing, S(text), VALUES(__VA_ARGS__))
#define SHOWS(place, missing, text, want, ...)                                                     \
    do {                                                                                           \
        struct result shown = RENDER(place, missing, text, __VA_ARGS__);                           \
        CHECK_INT(shown.err, OK);                                                                  \
        CHECK_TEXT(shown.out, want);                                                               \
    } while (0)
#define REFUSED(place, text, want_type, want_at)                                                   \
    do {                                                                                           \
        struct fail refused = { 0 };                                                               \
        CHECK(!compile(TEMPLATE_##place, MISSING_KEEP, S(text), &refused));                        \
        CHECK_TEXT(slice_str(refused.type), want_type);                                            \
        CHECK_INT(refused.at, want_at);                                                            \
    } while (0)

static void the_vectors_hold(void) {
    SHOWS(URL, KEEP, "https://h/x?p=[FROM]", "https://h/x?p=%2B15551234567",
          V("FROM", "+15551234567"));
    SHOWS(JSON, KEEP, "{\"n\":\"[N]\"}", "{\"n\":\"O\\\"Hara\\\\n\\n\"}", V("N", "O\"Hara\\n\n"));
    SHOWS(JSON, KEEP, "{\"d\":[D],\"c\":[C]}", "{\"d\":145,\"c\":\"[C]\"}", V("D", "145"));
    SHOWS(JSON, KEEP, "{\"d\":[D]}", "{\"d\":\"01\"}", V("D", "01"));
    SHOWS(JSON, KEEP, "{\"d\":[D]}", "{\"d\":\"NaN\"}", V("D", "NaN"));
    SHOWS(JSON, KEEP, "{\"d\":[D]}", "{\"d\":\"1,\\\"a\\\":2\"}", V("D", "1,\"a\":2"));
    SHOWS(JSON, KEEP, "{\"id\":[ID]}", "{\"id\":9007199254740993}", V("ID", "9007199254740993"));
    SHOWS(FORM, KEEP, "a=[A]", "a=a%26b%3Dc%2Bd%25", V("A", "a&b=c+d%"));
    SHOWS(RAW, KEEP, "x[A]y", "x[B]y", V("A", "[B]"), V("B", "no"));
    SHOWS(HEADER, KEEP, "[A]", "1 Evil: 1", V("A", "1\r\nEvil: 1"));
}

static void the_guides_example_body_is_filled_in(void) {
    SHOWS(JSON, KEEP,
          "{\n\"call_id\": \"[CALL_ID]\",\n\"tags\": {\n\"state\": \"[CALLER_STATE]\"\n}\n}",
          "{\n\"call_id\": \"call_abc\",\n\"tags\": {\n\"state\": \"CA\"\n}\n}",
          V("CALL_ID", "call_abc"), V("CALLER_STATE", "CA"));
}

static void other_brackets_are_literal(void) {
    static const char *const texts[] = {
        "[",        "]",     "[]",          "[1,2]",      "[\"x\"]",     "[lower]",    "[::1]",
        "[A B]",    "[A",    "[A|",         "[A|]",       "[A|b]",       "[|A]",       "[A:]",
        "[A:1]",    "[A:B]", "[A:upper",    "[A|\"x]",    "[A|\"x\"|B]", "[_A]",       "[1A]",
        "[A-B]",    "[!]",   "[!a]",        "[! A]",      "[ A]",        "[SECRET:]",  "[A:upper:]",
        "[A|\"x\"", "[!",    "[A:map(a=b]", "[\xC3\x89]", "[A|\"x\"y]",  "[A:up per]",
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        struct result r =
            render_set(TEMPLATE_RAW, MISSING_KEEP, slice_str(texts[i]), VALUES(V("A", "1")));
        CHECK_INT(r.err, OK);
        CHECK_SLICE(r.out, slice_str(texts[i]));
    }
    SHOWS(RAW, KEEP, "[[A]]", "[1]", V("A", "1"));
    SHOWS(RAW, KEEP, "[[[A]", "[[1", V("A", "1"));
    SHOWS(RAW, KEEP, "[A[A]", "[A1", V("A", "1"));
}

static void a_name_has_at_most_64_bytes(void) {
    char text[70], name[66];
    memset(name, 'N', sizeof name);
    int n = snprintf(text, sizeof text, "[%.64s]", name);
    struct result r =
        render_set(TEMPLATE_RAW, MISSING_EMPTY, slice(text, (size_t)n), VALUES(V("A", "1")));
    CHECK_TEXT(r.out, "");
    n = snprintf(text, sizeof text, "[%.65s]", name);
    r = render_set(TEMPLATE_RAW, MISSING_EMPTY, slice(text, (size_t)n), VALUES(V("A", "1")));
    CHECK_SLICE(r.out, slice(text, (size_t)n));
}

static void json_arrays_hold_values(void) {
    SHOWS(JSON, KEEP, "[\"[CALL_ID]\"]", "[\"7\"]", V("CALL_ID", "7"));
    SHOWS(JSON, KEEP, "[[CALL_ID]]", "[7]", V("CALL_ID", "7"));
    SHOWS(JSON, KEEP, "[[CALL_ID],[1,2],[],[CALL_ID]]", "[7,[1,2],[],7]", V("CALL_ID", "7"));
    SHOWS(JSON, KEEP, "{\"[1,2] [] [lower] [A B] [\":\"[x\"}",
          "{\"[1,2] [] [lower] [A B] [\":\"[x\"}", V("A", "7"));
}

static void a_chain_takes_the_first_non_empty_value(void) {
    SHOWS(RAW, KEEP, "[A|B|\"n/a\"]", "1", V("A", "1"), V("B", "2"));
    SHOWS(RAW, KEEP, "[A|B|\"n/a\"]", "2", V("A", ""), V("B", "2"));
    SHOWS(RAW, KEEP, "[A|B|\"n/a\"]", "n/a", V("B", ""));
    SHOWS(RAW, KEEP, "[A|\"\"]", "", V("X", ""));
    SHOWS(RAW, KEEP, "[A|B]", "[A|B]", V("A", ""));
    SHOWS(RAW, KEEP, "[A|\"say \\\"hi\\\" \\\\ ]\"]", "say \"hi\" \\ ]", V("X", ""));
    SHOWS(JSON, KEEP, "{\"a\":\"[A|\"n/a\"]\",\"b\":[A|\"5\"]}", "{\"a\":\"n/a\",\"b\":5}",
          V("X", ""));
    SHOWS(JSON, KEEP, "{\"a\":\"[A|\\\"n/\\\\\\\"a\\u00e9\\\"]\"}", "{\"a\":\"n/\\\"a\xC3\xA9\"}",
          V("X", ""));
    SHOWS(RAW, KEEP, "[A:trim|B:upper|\"x\"]", "BB", V("A", "  "), V("B", "bb"));
    SHOWS(RAW, EMPTY, "<[A]>", "<>", V("A", "")); // alone, an empty string is a value
}

static void formatters_run_left_to_right(void) {
    SHOWS(RAW, KEEP, "[CALLER_ID:digits]", "13105559876", V("CALLER_ID", "+1 (310) 555-9876"));
    SHOWS(RAW, KEEP, "[X:round(2)]", "35.00", V("X", "35"));
    SHOWS(RAW, KEEP, "[X:trim:upper:substr(0,2)]", "AB", V("X", " abc"));
    SHOWS(JSON, KEEP, "{\"t\":\"[T:date(%Y-%m-%dT%H:%M:%SZ)]\",\"u\":[T:unix]}",
          "{\"t\":\"2026-11-24T19:11:50Z\",\"u\":1795547510}", V("T", "2026-11-24T19:11:50.123Z"));
    SHOWS(JSON, KEEP, "{\"c\":[C:map(true=1,false=0)]}", "{\"c\":0}", V("C", "false"));
    SHOWS(RAW, KEEP, "[X:upper]", "[X:upper]", V("Y", "a"));
    REFUSED(RAW, "a\n  [X:uper]", "unknown_formatter", 7);
    REFUSED(RAW, "[X:upper:round(x)]", "bad_formatter", 9);
}

static void mistakes_have_line_and_column(void) {
    struct fail fail = { 0 };
    CHECK(!compile(TEMPLATE_JSON, MISSING_KEEP, S("{\n  \"a\": \"[A]\",\n  \"b\": [A:foo]\n}"),
                   &fail));
    CHECK_INT(fail.line, 3);
    CHECK_INT(fail.column, 11);
    CHECK(!compile(TEMPLATE_JSON, MISSING_KEEP, S("{\n  \"a\": 1,\n}"), &fail));
    CHECK_INT(fail.line, 3);
    CHECK_INT(fail.column, 1);
}

static void secrets_become_markers_of_their_place(void) {
    SHOWS(HEADER, KEEP, "Bearer [SECRET:CRM_TOKEN]", "Bearer \0ShCRM_TOKEN\0", V("A", ""));
    SHOWS(URL, KEEP, "https://h/?k=[SECRET:K]", "https://h/?k=\0SuK\0", V("A", ""));
    SHOWS(JSON, KEEP, "{\"k\":\"[SECRET:K]\",\"b\":[SECRET:K]}",
          "{\"k\":\"\0SjK\0\",\"b\":\0SJK\0}", V("A", ""));
    SHOWS(FORM, KEEP, "k=[SECRET:K]", "k=\0SfK\0", V("A", ""));
    SHOWS(FORM, KEEP, "{\"k\":\"[SECRET:K]\"}", "k=\0SfK\0", V("A", ""));
    SHOWS(RAW, KEEP, "[SECRET:K]", "\0SrK\0", V("K", "not me"));
    SHOWS(RAW, KEEP, "[SECRET:lower]", "x", V("SECRET", "X"));
    REFUSED(URL, "https://h/[SECRET:K]", "bad_secret", 18);
    REFUSED(URL, "https://h/?a#[SECRET:K]", "bad_secret", 21);
    REFUSED(URL, "https://[SECRET:K]/", "placeholder_in_host", 8);
    REFUSED(RAW, "[SECRET:K:b64]", "bad_secret", 9);
    REFUSED(RAW, "[SECRET:K|A]", "bad_secret", 9);
}

static void the_attempt_in_a_header_is_a_marker(void) {
    SHOWS(HEADER, KEEP, "n=[ATTEMPT]", "n=\0A\0", V("ATTEMPT", "1"));
    SHOWS(RAW, KEEP, "[ATTEMPT]", "1", V("ATTEMPT", "1"));
    SHOWS(URL, KEEP, "http://h/[ATTEMPT]", "http://h/1", V("ATTEMPT", "1"));
    SHOWS(HEADER, KEEP, "[ATTEMPT:upper]", "1", V("ATTEMPT", "1"));
}

static void an_exclamation_mark_gives_the_literal_text(void) {
    SHOWS(RAW, KEEP, "[!CALL_ID]", "[CALL_ID]", V("CALL_ID", "7"));
    SHOWS(RAW, KEEP, "[!A|\"x\"] [!SECRET:K] [!A:upper]", "[A|\"x\"] [SECRET:K] [A:upper]",
          V("A", "7"));
    SHOWS(JSON, KEEP, "{\"a\":\"[!A] [!A|\"x\"]\"}", "{\"a\":\"[A] [A|\\\"x\\\"]\"}", V("A", "7"));
    SHOWS(URL, KEEP, "https://h/?q=[!A]", "https://h/?q=[A]", V("A", "7"));
    SHOWS(FORM, KEEP, "{\"q\":\"[!A]\"}", "q=%5BA%5D", V("A", "7"));
    SHOWS(HEADER, KEEP, "[!A]", "[A]", V("A", "7"));
    REFUSED(JSON, "{\"a\":[!A]}", "invalid_json", 5);
}

static void a_value_is_never_scanned_again(void) {
    SHOWS(JSON, KEEP, "{\"a\":\"[A]\"}", "{\"a\":\"[API_KEY]\"}", V("A", "[API_KEY]"),
          V("API_KEY", "no"));
    SHOWS(RAW, KEEP, "[A|\"[B]\"]", "[B]", V("B", "no"));
}

static void urls_encode_all_but_unreserved_bytes(void) {
    SHOWS(URL, KEEP, "https://h/[A]?q=[A]#[A]",
          "https://h/a%20%2B%2F%3Fb-._~?q=a%20%2B%2F%3Fb-._~#a%20%2B%2F%3Fb-._~",
          V("A", "a +/?b-._~"));
    SHOWS(URL, KEEP, "https://h/x?u=[A]", "https://h/x?u=%3Fx%3D1%26y%3D2%23f",
          V("A", "?x=1&y=2#f"));
    SHOWS(URL, KEEP, "https://h/p/[A]/q", "https://h/p/..%2F..%2Fadmin/q", V("A", "../../admin"));
    SHOWS(URL, KEEP, "https://h/p/[A]/q", "https://h/p/%252e%252e%2F/q", V("A", "%2e%2e/"));
    SHOWS(URL, KEEP, "https://h/[A]", "https://h/S%C3%A3o%00%0D%0A", V("A", "S\xC3\xA3o\0\r\n"));
    SHOWS(URL, KEEP, "http://[::1]:8080/a[]=[A-B]?x[]=[A]", "http://[::1]:8080/a[]=[A-B]?x[]=1",
          V("A", "1"));
    SHOWS(URL, KEEP, "https://h/?[A:raw]", "https://h/?x=1&y=%20%0D%0A", V("A", "x=1&y= \r\n"));
    SHOWS(URL, KEEP, "https://h/?j=[A:json]", "https://h/?j=%22a%5C%22%22", V("A", "a\""));
}

static void the_host_takes_no_placeholder(void) {
    REFUSED(URL, "https://[A]/x", "placeholder_in_host", 8);
    REFUSED(URL, "https://[A|\"a/b\"]/x", "placeholder_in_host", 8);
    REFUSED(URL, "https://h[A]", "placeholder_in_host", 9);
    REFUSED(URL, "https://h:[A]/x", "placeholder_in_host", 10);
    REFUSED(URL, "https://[!A]/x", "placeholder_in_host", 8);
    REFUSED(URL, "[A]://h/", "placeholder_in_host", 0);
    REFUSED(URL, "http[A]://h/", "placeholder_in_host", 4);
    REFUSED(URL, "https://u:[A]@h/", "placeholder_in_host", 10);
    REFUSED(URL, "ftp://h/", "bad_url", 0);
    REFUSED(URL, "/x?[A]", "bad_url", 0);
    REFUSED(URL, "https:///x", "bad_url", 8);
    REFUSED(URL, "https://h\\@evil/", "bad_url", 9);
    REFUSED(URL, "https://h/\r\n", "bad_url", 10);
    REFUSED(URL, "https://h/[A]?b=x y", "bad_url", 17);
    REFUSED(URL, "https://h/[A]/[A B]", "bad_url", 16);
    REFUSED(URL, "https://h/[A]#\\", "bad_url", 14);
    REFUSED(URL, "https://h/[!A|\"x y\"]", "bad_url", 16);
    SHOWS(URL, KEEP, "https://h/[C|\"x y\"]", "https://h/x%20y", V("A", "1"));
    SHOWS(URL, KEEP, "HTTPS://h?[A]", "HTTPS://h?1", V("A", "1"));
}

static void headers_hold_one_clean_line(void) {
    SHOWS(HEADER, KEEP, "[A]", "1 X-Evil: 1", V("A", "1\r\nX-Evil: 1"));
    SHOWS(HEADER, KEEP, "[A]", "a b c", V("A", "a\nb\rc"));
    SHOWS(HEADER, KEEP, "[A]", "a b\tc",
          V("A", "a\0\x7F\x01"
                 "b\tc"));
    SHOWS(HEADER, KEEP, "[A]", "\xC3\xA9", V("A", "\xC3\xA9"));
    SHOWS(HEADER, KEEP, "[A]", "a", V("A", "a \r\n"));
    SHOWS(HEADER, KEEP, "[A][B]", "a b", V("A", "a\r"), V("B", "\nb"));
    SHOWS(HEADER, KEEP, "[A]-[B]", "a - b", V("A", "a\r"), V("B", "\nb"));
    SHOWS(HEADER, KEEP, "[A][C][B]", "a [C] b", V("A", "a\r"), V("B", "\nb"));
    SHOWS(HEADER, EMPTY, "[A][C][B]", "a b", V("A", "a\r"), V("B", "\nb"));
    SHOWS(HEADER, KEEP, "[A][B][C]", "a x b", V("A", "a\r"), V("B", "x"), V("C", "\nb"));
    SHOWS(HEADER, KEEP, "[A][B][C]", "a b", V("A", "a\r"), V("B", ""), V("C", "\nb"));
    SHOWS(HEADER, KEEP, "[A] [B]  ", "a   b", V("A", "a "), V("B", " b "));
    SHOWS(HEADER, KEEP, "[A]", "0123456789012345678901234567890123456789 1",
          V("A", "0123456789012345678901234567890123456789\n1"));
    SHOWS(HEADER, KEEP, "[A]", "0123456789012345678901234567890123456789",
          V("A", "0123456789012345678901234567890123456789  "));
    SHOWS(HEADER, KEEP, "[A:raw] x  ", "1 2 x", V("A", "1\n2"));
    SHOWS(HEADER, KEEP, "application/json  ", "application/json", V("A", ""));
    SHOWS(HEADER, KEEP, "  ", "", V("A", ""));
    CHECK(RENDER(HEADER, KEEP, "[A]", V("A", "a\nb")).notes.sanitized);
    CHECK(!RENDER(HEADER, KEEP, "[A]", V("A", "a b")).notes.sanitized);
    REFUSED(HEADER, "a\r\nb", "bad_header_value", 1);
}

static void json_strings_are_escaped(void) {
    SHOWS(JSON, KEEP, "\"[A]\"", "\"a\\\"b\\\\c\"", V("A", "a\"b\\c"));
    SHOWS(JSON, KEEP, "{\"x\":\"[A]\"}", "{\"x\":\"\\\",\\\"admin\\\":true,\\\"x\\\":\\\"\"}",
          V("A", "\",\"admin\":true,\"x\":\""));
    SHOWS(JSON, KEEP, "\"[A]\"", "\"\\u0000\\u0001\\u001f\\t\"", V("A", "\0\x01\x1F\t"));
    SHOWS(JSON, KEEP, "{\"[K]\":1}", "{\"a\\\"b\":1}", V("K", "a\"b"));
    SHOWS(JSON, KEEP, "\"[A]\"", "\"\xE2\x80\xA8</script>\"", V("A", "\xE2\x80\xA8</script>"));
    SHOWS(JSON, KEEP, "\"x[A]y[A]z\"", "\"x1y1z\"", V("A", "1"));
    struct result r = RENDER(JSON, KEEP, "\"[A]\"", V("A", "a\xFF\xED\xA0\x80z"));
    CHECK_TEXT(r.out, "\"a\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBDz\"");
    CHECK(r.notes.bad_utf8);
}

static void bare_json_values_are_typed(void) {
    static const char *const as_they_came[] = {
        "0", "145", "-0", "35.00", "1e400", "1E+2", "true", "false", "null", "9007199254740993"
    };
    static const char *const quoted[] = { "01",  "NaN", "+1",  "1.", ".5", "1 ",    " 1",  "True",
                                          "0x1", "",    "nul", "-",  "1e", "truee", "[1]", "{}" };
    for (size_t i = 0; i < sizeof as_they_came / sizeof as_they_came[0]; i++) {
        struct result r = RENDER(JSON, KEEP, "[[A]]", { "A", slice_str(as_they_came[i]) });
        char want[64];
        CHECK_SLICE(r.out,
                    slice(want, (size_t)snprintf(want, sizeof want, "[%s]", as_they_came[i])));
        CHECK(!r.notes.coerced);
    }
    for (size_t i = 0; i < sizeof quoted / sizeof quoted[0]; i++) {
        struct result r = RENDER(JSON, KEEP, "[[A]]", { "A", slice_str(quoted[i]) });
        char want[64];
        CHECK_SLICE(r.out, slice(want, (size_t)snprintf(want, sizeof want, "[\"%s\"]", quoted[i])));
        CHECK(r.notes.coerced);
    }
    SHOWS(JSON, KEEP, "[A]", "145", V("A", "145"));
}

static void forms_are_urlencoded(void) {
    SHOWS(FORM, KEEP, "a=[A]&b=[B]&c=1+2", "a=x+y&b=%C3%A9&c=1+2", V("A", "x y"),
          V("B", "\xC3\xA9"));
    SHOWS(FORM, KEEP, "{\"a\":\"[A]\",\"b c\":\"1&[B]\",\"n\":12,\"t\":true,\"z\":null}",
          "a=x+y&b+c=1%26%C3%A9&n=12&t=true&z=", V("A", "x y"), V("B", "\xC3\xA9"));
    SHOWS(FORM, KEEP, " {\"[K]\":[A],\"d\":\"[X|\\\"n/a\\\"]\",\"e\":\"\\u00e9\\n\"} ",
          "k=v&d=n%2Fa&e=%C3%A9%0A", V("K", "k"), V("A", "v"));
    SHOWS(FORM, KEEP, "{}", "", V("A", "1"));
    SHOWS(FORM, KEEP, "[A:raw]&x=1", "a=1&b=2&x=1", V("A", "a=1&b=2"));
    REFUSED(FORM, "{\"a\":{\"b\":1}}", "invalid_form", 5);
    REFUSED(FORM, "{\"a\":[1]}", "invalid_form", 5);
    REFUSED(FORM, "{\"a\":01}", "invalid_json", 5);
    REFUSED(FORM, "{\"a\" 1}", "invalid_json", 5);
    REFUSED(FORM, "{\"a\":1,}", "invalid_json", 7);
    REFUSED(FORM, "{\"a\":1} x", "invalid_json", 8);
}

static void raw_bodies_take_values_as_they_are(void) {
    SHOWS(RAW, KEEP, "<a>[A]</a>", "<a>\"<&\r\n\xFF</a>", V("A", "\"<&\r\n\xFF"));
    SHOWS(RAW, KEEP, "x\0[A]", "x\0\0y\0\0z", V("A", "y\0z"));
}

static void templates_must_be_json_with_any_values(void) {
    REFUSED(JSON, "", "invalid_json", 0);
    REFUSED(JSON, "{\"a\":}", "invalid_json", 5);
    REFUSED(JSON, "{\"a\":1,}", "invalid_json", 7);
    REFUSED(JSON, "[1,]", "invalid_json", 3);
    REFUSED(JSON, "{\"a\" 1}", "invalid_json", 5);
    REFUSED(JSON, "{[A]:1}", "invalid_json", 1);
    REFUSED(JSON, "[A][A]", "invalid_json", 3);
    REFUSED(JSON, "{\"a\":1[A]}", "invalid_json", 6);
    REFUSED(JSON, "{\"a\":[A]5}", "invalid_json", 8);
    REFUSED(JSON, "{\"a\":\"x}", "invalid_json", 8);
    REFUSED(JSON, "{\"a\":\"\\x\"}", "invalid_json", 6);
    REFUSED(JSON, "{\"a\":\"\\u12[A]\"}", "invalid_json", 6);
    REFUSED(JSON, "{\"a\":\"\\ud83d[A]\"}", "invalid_json", 6);
    REFUSED(JSON, "{\"a\":\"\\[A]\"}", "invalid_json", 6);
    REFUSED(JSON, "{\"a\":\"\n\"}", "invalid_json", 6);
    REFUSED(JSON, "{\"a\":\"\xC3[A]\"}", "invalid_utf8", 6);
    REFUSED(JSON, "{\"a\":tru}", "invalid_json", 5);
    REFUSED(JSON, "{\"a\":01}", "invalid_json", 5);
    REFUSED(JSON, "{\"a\":1} {}", "invalid_json", 8);
    REFUSED(JSON, "[lower]", "invalid_json", 1);
    REFUSED(JSON, "[A", "invalid_json", 1);
    REFUSED(JSON, "{\"a\":1]", "invalid_json", 6);
    SHOWS(JSON, KEEP, " {\"\\ud83d\\ude00\\/\" : [ ] , \"b\":{ } ,\"c\":-1.5e3 } ",
          " {\"\\ud83d\\ude00\\/\" : [ ] , \"b\":{ } ,\"c\":-1.5e3 } ", V("A", "1"));
}

static void raw_and_json_skip_the_escaping(void) {
    SHOWS(JSON, KEEP, "{\"p\":[P:raw]}", "{\"p\":{\"a\": [1]}}", V("P", "{\"a\": [1]}"));
    SHOWS(JSON, KEEP, "{\"p\":[P:json]}", "{\"p\":\"a\\\"b\"}", V("P", "a\"b"));
    SHOWS(JSON, KEEP, "{\"p\":\"[P:raw]\"}", "{\"p\":\"a\\nb\"}", V("P", "a\\nb"));
    SHOWS(JSON, KEEP, "{\"p\":[P:raw],\"s\":\"[SECRET:S]\",\"t\":[SECRET:T]}",
          "{\"p\":1,\"s\":\"\0SjS\0\",\"t\":\0SJT\0}", V("P", "1"));
    static const char *const breaks[] = { "", "{", "1,\"x\":2}", "\"", "01", "\xFF", "1 2" };
    for (size_t i = 0; i < sizeof breaks / sizeof breaks[0]; i++) {
        struct result r = RENDER(JSON, KEEP, "[[P:raw],\"]\"]", { "P", slice_str(breaks[i]) });
        CHECK_INT(r.err, ERR_INPUT);
        CHECK_TEXT(r.out, "invalid_body");
        CHECK_INT(out.n, 0);
    }
    CHECK_TEXT(RENDER(JSON, KEEP, "\"[P:raw]\"", V("P", "\0SjK\0")).out, "invalid_body");
}

static void kinds_of_event_values_show(void) {
    struct tag_set *set = VALUES(V("STR", "x"), V("NUM", "35.00"), V("YES", "true"),
                                 V("NUL", "null"), V("OBJ", "{\"a\": 1}"));
    set->values[tag_find(S("NUM"))].kind = TAG_NUMBER;
    set->values[tag_find(S("YES"))].kind = TAG_TRUE;
    set->values[tag_find(S("NUL"))].kind = TAG_NULL;
    set->values[tag_find(S("OBJ"))].kind = TAG_JSON;
    struct result r =
        render_set(TEMPLATE_JSON, MISSING_KEEP, S("[[STR],[NUM],[YES],[NUL],[OBJ]]"), set);
    CHECK_TEXT(r.out, "[\"x\",35.00,true,null,\"{\\\"a\\\": 1}\"]");
    r = render_set(TEMPLATE_JSON, MISSING_KEEP, S("[\"[NUM]\",\"[NUL]\",\"[OBJ]\"]"), set);
    CHECK_TEXT(r.out, "[\"35.00\",\"\",\"{\\\"a\\\": 1}\"]");
    r = render_set(TEMPLATE_JSON, MISSING_KEEP,
                   S("[[STR:json],[NUM:json],[YES:json],[NUL:json],[OBJ:json]]"), set);
    CHECK_TEXT(r.out, "[\"x\",35.00,true,null,{\"a\": 1}]");
    r = render_set(TEMPLATE_URL, MISSING_KEEP, S("http://h/?n=[NUL]&o=[NUM]"), set);
    CHECK_TEXT(r.out, "http://h/?n=&o=35.00");
    r = render_set(TEMPLATE_RAW, MISSING_KEEP, S("[NUL|STR]"), set);
    CHECK_TEXT(r.out, "x");
}

static void escaped_event_values_stay_where_they_may(void) {
    struct tag_set *set = VALUES(V("A", "a\\/\\u00e9\\n"), V("N", "\\u0031"));
    set->values[tag_find(S("A"))].flags = TAG_ESCAPED | TAG_JSON_SAFE;
    set->values[tag_find(S("N"))].flags = TAG_ESCAPED | TAG_JSON_SAFE;
    struct result r = render_set(TEMPLATE_JSON, MISSING_KEEP,
                                 S("{\"a\":\"[A]\",\"n\":[N],\"u\":\"[A:upper]\",\"b\":[A]}"), set);
    CHECK_TEXT(
        r.out,
        "{\"a\":\"a\\/\\u00e9\\n\",\"n\":1,\"u\":\"A/\xC3\xA9\\n\",\"b\":\"a/\xC3\xA9\\n\"}");
    r = render_set(TEMPLATE_URL, MISSING_KEEP, S("http://h/[A]"), set);
    CHECK_TEXT(r.out, "http://h/a%2F%C3%A9%0A");
    r = render_set(TEMPLATE_RAW, MISSING_KEEP, S("[A]"), set);
    CHECK_TEXT(r.out, "a/\xC3\xA9\n");
    set->values[tag_find(S("A"))].flags = TAG_ESCAPED;
    r = render_set(TEMPLATE_JSON, MISSING_KEEP, S("\"[A]\""), set);
    CHECK_TEXT(r.out, "\"a/\xC3\xA9\\n\"");
}

static void keep_shows_the_raw_placeholder(void) {
    SHOWS(JSON, KEEP, "{\"a\":\"[C]\",\"b\":[C],\"[C]\":1}",
          "{\"a\":\"[C]\",\"b\":\"[C]\",\"[C]\":1}", V("A", "1"));
    SHOWS(JSON, KEEP, "[\"[C:map(a=b)|D]\"]", "[\"[C:map(a=b)|D]\"]", V("A", "1"));
    SHOWS(URL, KEEP, "http://h/[C]?c=[C|D]", "http://h/%5BC%5D?c=%5BC%7CD%5D", V("A", "1"));
    SHOWS(FORM, KEEP, "c=[C]", "c=%5BC%5D", V("A", "1"));
    SHOWS(HEADER, KEEP, "[C]", "[C]", V("A", "1"));
    SHOWS(RAW, KEEP, "[C]", "[C]", V("A", "1"));
}

static void empty_null_and_fail_do_as_they_say(void) {
    SHOWS(JSON, EMPTY, "{\"a\":\"[C]\",\"b\":[C]}", "{\"a\":\"\",\"b\":\"\"}", V("A", "1"));
    SHOWS(JSON, NONE, "{\"a\":\"[C]\",\"b\":[C]}", "{\"a\":\"\",\"b\":null}", V("A", "1"));
    SHOWS(URL, EMPTY, "http://h/[C]?c=[C]", "http://h/?c=", V("A", "1"));
    SHOWS(URL, NONE, "http://h/[C]?c=[C]", "http://h/?c=", V("A", "1"));
    SHOWS(FORM, NONE, "c=[C]", "c=", V("A", "1"));
    SHOWS(HEADER, EMPTY, "x [C]", "x", V("A", "1"));
    SHOWS(RAW, NONE, "<[C]>", "<>", V("A", "1"));
    struct result r = RENDER(JSON, FAIL, "{\"a\":\"[C]\"}", V("A", "1"));
    CHECK_INT(r.err, ERR_INPUT);
    CHECK_TEXT(r.out, "missing_tag");
    CHECK(r.notes.unresolved != NULL);
    SHOWS(JSON, FAIL, "{\"a\":\"[A]\",\"b\":\"[C|\"d\"]\"}", "{\"a\":\"\",\"b\":\"d\"}",
          V("A", ""));
}

static void omit_drops_members_and_elements(void) {
    SHOWS(JSON, OMIT, "{\"a\":\"[C]\", \"b\":1}", "{\"b\":1}", V("A", "1"));
    SHOWS(JSON, OMIT, "{\"b\":1, \"a\":\"[C]\"}", "{\"b\":1}", V("A", "1"));
    SHOWS(JSON, OMIT, "{ \"b\":1 , \"a\":[C] , \"c\":\"[A]\" }", "{ \"b\":1 , \"c\":\"1\" }",
          V("A", "1"));
    SHOWS(JSON, OMIT, "{\"a\":[C],\"b\":[C]}", "{}", V("A", "1"));
    SHOWS(JSON, OMIT, "[1,[C],\"[C]x\",[A],[C]]", "[1,1]", V("A", "1"));
    SHOWS(JSON, OMIT, "{\"o\":{\"a\":\"[C]\"},\"l\":[\"x [C]\",[[C]]]}", "{\"o\":{},\"l\":[[]]}",
          V("A", "1"));
    SHOWS(JSON, OMIT, "{\"[C]\":{\"a\":[A],\"b\":[1,2]},\"z\":0}", "{\"z\":0}", V("A", "1"));
    SHOWS(JSON, OMIT, "{\"a\":\"[A]x[C]y[A]\",\"z\":[A]}", "{\"z\":1}", V("A", "1"));
    SHOWS(JSON, OMIT, "{\"a\":\"[A]\"}", "{\"a\":\"\"}", V("A", ""));
    SHOWS(JSON, OMIT, "{\"a\":\"[A:raw][C]\",\"z\":0}", "{\"z\":0}", V("A", "\0\""));
    SHOWS(JSON, OMIT, "\"[C]\"", "\"\"", V("A", "1"));
    SHOWS(JSON, OMIT, "[C]", "\"\"", V("A", "1"));
    CHECK_TEXT(RENDER(JSON, OMIT, "{\"a\":\"[C]\"}", V("A", "1")).notes.unresolved->name, "C");
}

static void omit_drops_parameters_fields_and_headers(void) {
    SHOWS(URL, OMIT, "http://h/p?a=[C]&b=[A]", "http://h/p?b=1", V("A", "1"));
    SHOWS(URL, OMIT, "http://h/p?b=[A]&a=[C]&z#f", "http://h/p?b=1&z#f", V("A", "1"));
    SHOWS(URL, OMIT, "http://h/p?a=[C]&b=x[C]#f", "http://h/p#f", V("A", "1"));
    SHOWS(URL, OMIT, "http://h/p?[C]=1&&", "http://h/p?&", V("A", "1"));
    SHOWS(URL, OMIT, "http://h/[C]/x#[C]", "http://h//x#", V("A", "1"));
    SHOWS(URL, OMIT, "http://h/x?", "http://h/x?", V("A", "1"));
    SHOWS(FORM, OMIT, "a=[C]&b=[A]&c=[C]", "b=1", V("A", "1"));
    SHOWS(FORM, OMIT, "{\"a\":\"[C]\",\"b\":\"[A]\",\"[C]\":\"1\",\"d\":\"2\"}", "b=1&d=2",
          V("A", "1"));
    SHOWS(RAW, OMIT, "<[C]>", "<>", V("A", "1"));
    CHECK(RENDER(HEADER, OMIT, "x [C]", V("A", "1")).omitted);
    CHECK(!RENDER(HEADER, OMIT, "x [A]", V("A", "1")).omitted);
    CHECK(!RENDER(HEADER, KEEP, "x [C]", V("A", "1")).omitted);
}

static void names_are(struct result r, const char *want) {
    CHECK_SLICE(template_notes_text(&r.notes), slice_str(want));
}

static void what_is_dropped_names_all_its_tags(void) {
    names_are(RENDER(JSON, OMIT, "{\"a\":\"[C][D]\",\"b\":[E]}", V("A", "1")), "C,D,E");
    names_are(RENDER(JSON, OMIT, "{\"[C]\":[[A:upper],[[D|\"x\"]],\"[E|F]\"]}", V("A", "1")),
              "C,E,F");
    names_are(RENDER(URL, OMIT, "https://h/?[C]=[A][D]&b=[A]", V("A", "1")), "C,D");
    names_are(RENDER(FORM, OMIT, "[C]=[D]", V("A", "1")), "C,D");
    names_are(RENDER(HEADER, OMIT, "[C] [D]", V("A", "1")), "C,D");
}

static void the_log_names_every_tag_without_value_once(void) {
    struct result r = RENDER(
        JSON, KEEP, "[\"[C]\",[D],\"[C] [A]\",\"[E|F]\",\"[G|A]\",\"[H|\"x\"]\"]", V("A", "1"));
    const struct template_name *name = r.notes.unresolved;
    static const char *const want[] = { "C", "D", "E", "F" };
    for (size_t i = 0; i < 4; i++, name = name->next) {
        CHECK(name != NULL);
        if (!name) return;
        CHECK_SLICE(name->name, slice_str(want[i]));
    }
    CHECK(name == NULL);
}

static void a_tag_the_set_was_too_old_for_is_still_found(void) {
    struct tag_set *set = VALUES(V("A", "1"));
    tag_set_put(set, S("INTERNED_BY_TEMPLATE"), tag_text(S("x")));
    struct result r = render_set(TEMPLATE_RAW, MISSING_KEEP, S("[A][INTERNED_BY_TEMPLATE]"), set);
    CHECK_TEXT(r.out, "1x");
}

static void note_use(void *user, const struct template_use *use) {
    struct buf *to = user;
    buf_printf(to, "%.*s@%zu(%u:%u)%s%s ", SLICE_FMT(use->name), use->at, use->line, use->column,
               use->secret ? "s" : "", use->has_default ? "d" : "");
}

static void lint_sees_every_use_with_its_place(void) {
    struct fail fail;
    struct buf uses;
    buf_init(&uses, 1024);
    struct template *t =
        compile(TEMPLATE_JSON, MISSING_KEEP,
                S("{\"a\":\"[A|B:upper|\"x\"]\",\n\"[!X]\":[SECRET:K],\"c\":[C]}"), &fail);
    template_each_use(t, note_use, &uses);
    CHECK_TEXT(buf_slice(&uses), "A@7(1:8)d B@9(1:10)d K@39(2:16)s C@47(2:24) ");
    CHECK(!template_is_literal(t));
    template_free(t);
    buf_deinit(&uses);
    t = compile(TEMPLATE_JSON, MISSING_KEEP, S("{\"a\":[1]}"), &fail);
    CHECK(template_is_literal(t));
    template_free(t);
}

static void limits_are_refused(void) {
    struct fail fail = { 0 };
    struct buf text;
    buf_init(&text, 1 << 20);
    for (int i = 0; i < 4097; i++) buf_add(&text, S("[A]"));
    CHECK(!compile(TEMPLATE_RAW, MISSING_KEEP, buf_slice(&text), &fail));
    CHECK_TEXT(slice_str(fail.type), "too_many_placeholders");
    CHECK_INT(fail.code, ERR_LIMIT);
    buf_clear(&text);
    for (int i = 0; i <= TEMPLATE_BYTES_MAX; i++) buf_byte(&text, 'x');
    CHECK(!compile(TEMPLATE_RAW, MISSING_KEEP, buf_slice(&text), &fail));
    CHECK_TEXT(slice_str(fail.type), "template_too_large");
    buf_clear(&text);
    for (int i = 0; i < 65536; i++) buf_byte(&text, '[');
    CHECK(!compile(TEMPLATE_JSON, MISSING_KEEP, buf_slice(&text), &fail));
    CHECK_TEXT(slice_str(fail.type), "too_deep");
    struct result r = render_set(TEMPLATE_RAW, MISSING_KEEP, buf_slice(&text), VALUES(V("A", "1")));
    CHECK_SLICE(r.out, buf_slice(&text));
    buf_deinit(&text);
}

static void a_render_stops_at_the_outputs_maximum(void) {
    static char big[65536];
    memset(big, '"', sizeof big);
    struct buf text, small;
    buf_init(&text, 1 << 20);
    for (int i = 0; i < 4000; i++) buf_add(&text, i ? S(",[A]") : S("[[A]"));
    buf_byte(&text, ']');
    struct tag_set *set = VALUES({ "A", slice(big, sizeof big) });
    struct result r = render_set(TEMPLATE_JSON, MISSING_KEEP, buf_slice(&text), set);
    CHECK_INT(r.err, ERR_LIMIT);
    CHECK_TEXT(r.out, "render_too_large");
    CHECK(out.capacity <= 4 * RENDER_BYTES_MAX);
    buf_deinit(&text);

    // A buffer that holds exactly the result is enough; one byte less is not.
    struct fail fail;
    struct template *t = compile(TEMPLATE_JSON, MISSING_KEEP, S("{\"a\":\"[B]\"}"), &fail);
    set = VALUES(V("B", "0123456789"));
    buf_init(&small, 18);
    CHECK_INT(template_render(t, set, &small, NULL, NULL, &fail), OK);
    CHECK_TEXT(buf_slice(&small), "{\"a\":\"0123456789\"}");
    buf_deinit(&small);
    buf_init(&small, 17);
    CHECK_INT(template_render(t, set, &small, NULL, NULL, &fail), ERR_LIMIT);
    CHECK_INT(small.n, 0);
    buf_deinit(&small);
    template_free(t);
}

static void long_values_are_written_whole(void) {
    static char big[20000];
    for (size_t i = 0; i + 3 <= sizeof big; i += 3)
        memcpy(big + i, i % 5 ? "\xE4\xB8\xAD" : "a\"b", 3);
    struct tag_set *set = VALUES({ "A", slice(big, sizeof big - sizeof big % 3) });
    struct result r = render_set(TEMPLATE_JSON, MISSING_KEEP, S("[A]"), set);
    struct fail fail;
    CHECK(!r.notes.bad_utf8);
    CHECK_INT(json_check(r.out, (struct json_limits){ .depth_max = 2 }, &fail), OK);
    CHECK_SLICE(json_text(json_root(r.out), &arena), slice(big, sizeof big - sizeof big % 3));
}

static void renders_append(void) {
    struct fail fail;
    struct template *t = compile(TEMPLATE_RAW, MISSING_KEEP, S("[B];"), &fail);
    struct tag_set *set = VALUES(V("B", "1"));
    buf_clear(&out);
    CHECK_INT(template_render(t, set, &out, NULL, NULL, &fail), OK);
    CHECK_INT(template_render(t, set, &out, NULL, NULL, NULL), OK);
    CHECK_TEXT(buf_slice(&out), "1;1;");
    template_free(t);
    template_free(NULL);
}

#define BOTH(test)                                                                                 \
    static void test##_both(void) {                                                                \
        for (int i = 0; i < 2; i++) {                                                              \
            arena_init(&arena, 64 << 20);                                                          \
            buf_init(&out, RENDER_BYTES_MAX);                                                      \
            template_use_simd(i ? SIMD_AVX2 : SIMD_PORTABLE);                                      \
            test();                                                                                \
            arena_deinit(&arena);                                                                  \
            buf_deinit(&out);                                                                      \
        }                                                                                          \
    }
#define TESTS(X)                                                                                   \
    X(the_vectors_hold)                                                                            \
    X(the_guides_example_body_is_filled_in)                                                        \
    X(other_brackets_are_literal)                                                                  \
    X(a_name_has_at_most_64_bytes)                                                                 \
    X(json_arrays_hold_values)                                                                     \
    X(a_chain_takes_the_first_non_empty_value)                                                     \
    X(formatters_run_left_to_right)                                                                \
    X(mistakes_have_line_and_column)                                                               \
    X(secrets_become_markers_of_their_place)                                                       \
    X(the_attempt_in_a_header_is_a_marker)                                                         \
    X(an_exclamation_mark_gives_the_literal_text)                                                  \
    X(a_value_is_never_scanned_again)                                                              \
    X(urls_encode_all_but_unreserved_bytes)                                                        \
    X(the_host_takes_no_placeholder)                                                               \
    X(headers_hold_one_clean_line)                                                                 \
    X(json_strings_are_escaped)                                                                    \
    X(bare_json_values_are_typed)                                                                  \
    X(forms_are_urlencoded)                                                                        \
    X(raw_bodies_take_values_as_they_are)                                                          \
    X(templates_must_be_json_with_any_values)                                                      \
    X(raw_and_json_skip_the_escaping)                                                              \
    X(kinds_of_event_values_show)                                                                  \
    X(escaped_event_values_stay_where_they_may)                                                    \
    X(keep_shows_the_raw_placeholder)                                                              \
    X(empty_null_and_fail_do_as_they_say)                                                          \
    X(omit_drops_members_and_elements)                                                             \
    X(omit_drops_parameters_fields_and_headers)                                                    \
    X(what_is_dropped_names_all_its_tags)                                                          \
    X(the_log_names_every_tag_without_value_once)                                                  \
    X(a_tag_the_set_was_too_old_for_is_still_found)                                                \
    X(lint_sees_every_use_with_its_place)                                                          \
    X(limits_are_refused)                                                                          \
    X(a_render_stops_at_the_outputs_maximum)                                                       \
    X(long_values_are_written_whole)                                                               \
    X(renders_append)
TESTS(BOTH)
#define CASE(test) { #test, test##_both },
static const struct check_case cases[] = { TESTS(CASE) };
CHECK_MAIN(cases)
