// Formatters: what each makes of its input.
#include "format.h"

#include "check.h"

static struct format_scratch scratch;

// Compiles "a:b(1)" and applies it to a value of the given kind.
static struct slice run(const char *chain, struct slice text, uint16_t kind) {
    static struct format formats[16];
    size_t count = 0;
    struct slice rest = slice_str(chain);
    while (rest.n && count < 16) {
        struct format_text one;
        struct fail fail;
        size_t used = format_scan(rest, &one);
        CHECK(used > 0);
        CHECK_INT(format_compile(&one, &formats[count++], &fail), OK);
        rest = slice_from(rest, used + 1);
    }
    struct format_value value = { text, kind };
    CHECK_INT(format_apply(formats, count, &value, &scratch), OK);
    return value.text;
}

struct row {
    const char *chain;
    struct slice in, want;
};

static void check_rows(const struct row *rows, size_t count) {
    for (size_t i = 0; i < count; i++) {
        struct slice got = run(rows[i].chain, rows[i].in, TAG_STRING);
        if (!slice_eq(got, rows[i].want))
            printf("# %s of %.*s\n", rows[i].chain, SLICE_FMT(rows[i].in));
        CHECK_SLICE(got, rows[i].want);
    }
}
#define CHECK_ROWS(rows) check_rows(rows, sizeof(rows) / sizeof((rows)[0]))

static void text_is_changed_byte_by_byte(void) {
    static const struct row rows[] = {
        { "upper", S("aZ\xC3\xA9 1"), S("AZ\xC3\xA9 1") },
        { "lower", S("Az@[\xC3\x89"), S("az@[\xC3\x89") },
        { "trim", S(" \t\r\n a b\n\v\f "), S("a b") },
        { "trim", S("  "), S("") },
        { "digits", S("+1 (310) 555-9876"), S("13105559876") },
        { "digits", S("abc"), S("") },
        { "noplus", S("+1555"), S("1555") },
        { "noplus", S("++1"), S("+1") },
        { "noplus", S("1+1"), S("1+1") },
        { "raw", S("a\"b"), S("a\"b") },
        { "urlenc", S("a b&\xC3\xA9"), S("a%20b%26%C3%A9") },
        { "b64", S("Medicare"), S("TWVkaWNhcmU=") },
        { "b64", S(""), S("") },
        { "sha256", S("abc"),
          S("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad") },
    };
    CHECK_ROWS(rows);
}

static void phone_numbers_become_e164(void) {
    static const struct row rows[] = {
        { "e164", S("+1 (310) 555-9876"), S("+13105559876") },
        { "e164", S("310.555.9876"), S("+13105559876") },
        { "e164", S("13105559876"), S("+13105559876") },
        { "e164", S("0044 20 7946 0958"), S("+442079460958") },
        { "e164", S("+1 (310) 555-9876;ext=1"), S("+13105559876") },
        { "e164", S("442079460958"), S("+442079460958") },
        { "e164", S("011 44 20 7946 0958"), S("+442079460958") },
        { "e164", S("020 7946 0958"), S("020 7946 0958") },
        { "e164", S("555-9876"), S("555-9876") },
        { "e164", S("1105559876"), S("1105559876") },
        { "e164", S("+0105559876"), S("+0105559876") },
        { "e164", S("anonymous"), S("anonymous") },
        { "e164", S("911"), S("911") },
        { "e164", S("+1234567890123456"), S("+1234567890123456") },
    };
    CHECK_ROWS(rows);
}

static void numbers_keep_their_digits(void) {
    static const struct row rows[] = {
        { "int", S("35.99"), S("35") },
        { "int", S("-0.5"), S("0") },
        { "int", S("-7.5"), S("-7") },
        { "int", S("$1,234.56"), S("1234") },
        { "int", S("9007199254740993.7"), S("9007199254740993") },
        { "int", S("1.5e3"), S("1500") },
        { "int", S("12e-1"), S("1") },
        { "int", S("007"), S("7") },
        { "int", S("n/a"), S("n/a") },
        { "int", S("1 2"), S("1 2") },
        { "int", S(""), S("") },
        { "int", S("1e999"), S("1e999") },
        { "round(2)", S("35"), S("35.00") },
        { "round(2)", S("35.005"), S("35.01") },
        { "round(2)", S("-35.005"), S("-35.01") },
        { "round(2)", S("-0.001"), S("0.00") },
        { "round(0)", S("0.5"), S("1") },
        { "round(0)", S("999.5"), S("1000") },
        { "round(1)", S(".25"), S("0.3") },
        { "round(3)", S("5e-3"), S("0.005") },
        { "round(2)", S("-$12.345"), S("-12.35") },
        { "round(2)", S("1.2.3"), S("1.2.3") },
        { "round(2)", S("12,50"), S("12,50") },
        { "round(2)", S("1,234,56"), S("1,234,56") },
        { "round(2)", S("1,234,567.891"), S("1234567.89") },
        { "round(2)", S("12,34,567.5"), S("1234567.50") },
    };
    CHECK_ROWS(rows);
}

static void times_are_written_in_utc(void) {
    static const struct row rows[] = {
        { "unix", S("2026-11-24T19:11:50.123Z"), S("1795547510") },
        { "unix", S("2026-11-24T20:11:50+01:00"), S("1795547510") },
        { "unix", S("1795547510123"), S("1795547510") },
        { "unix", S("1795547510.9"), S("1795547510") },
        { "unix", S("-1"), S("-1") },
        { "unix", S("1970-01-02"), S("86400") },
        { "unix", S("NaN"), S("NaN") },
        { "unix", S("253402300799999"), S("253402300799") },
        { "unix", S("253402300800000"), S("253402300800000") },
        { "date(%F)", S("-62167219200000"), S("0000-01-01") },
        { "date(%F)", S("-62167219200001"), S("-62167219200001") },
        { "date(%Y-%m-%d)", S("2026-11-24T23:59:59.9Z"), S("2026-11-24") },
        { "date(%Y-%m-%dT%H:%M:%S.%LZ)", S("1795547510123"), S("2026-11-24T19:11:50.123Z") },
        { "date(%a %A %b %B %e %j %y)", S("2026-11-05T00:00:00Z"),
          S("Thu Thursday Nov November  5 309 26") },
        { "date(%I:%M %p)", S("2026-11-05T00:07:00Z"), S("12:07 AM") },
        { "date(%I %p %F %T %s %z %Z 100%%)", S("1970-01-01T13:00:00Z"),
          S("01 PM 1970-01-01 13:00:00 46800 +0000 UTC 100%") },
        { "date(%F)", S("yesterday"), S("yesterday") },
    };
    CHECK_ROWS(rows);
}

static void parts_and_words_are_picked(void) {
    static const struct row rows[] = {
        { "substr(0,2)", S("abc"), S("ab") },
        { "substr(1)", S("abc"), S("bc") },
        { "substr(-2,1)", S("abc"), S("b") },
        { "substr(-9,2)", S("abc"), S("ab") },
        { "substr(5,2)", S("abc"), S("") },
        { "substr(1,1)", S("\xC3\xA9\xC3\xBC"), S("\xC3\xBC") },
        { "map(true=yes, false=no)", S("false"), S("no") },
        { "map(a=b)", S("c"), S("c") },
        { "map(=none)", S(""), S("none") },
        { "map(a=)", S("a"), S("") },
    };
    CHECK_ROWS(rows);
}

static void a_chain_runs_left_to_right(void) {
    static const struct row rows[] = {
        { "trim:upper:substr(0,3):lower", S("  abCdef "), S("abc") },
        { "digits:substr(-4):b64", S("+1 310 555 9876"), S("OTg3Ng==") },
        { "upper:trim:lower:trim:upper", S(" x "), S("X") },
        { "round(2):map(35.00=thirty five)", S("35"), S("thirty five") },
        { "json:json", S("a\"b"), S("\"\\\"a\\\\\\\"b\\\"\"") },
    };
    CHECK_ROWS(rows);
}

static void json_follows_the_kind_of_value(void) {
    CHECK_TEXT(run("json", S("145"), TAG_STRING), "\"145\"");
    CHECK_TEXT(run("json", S("35.00"), TAG_NUMBER), "35.00");
    CHECK_TEXT(run("json", S("true"), TAG_TRUE), "true");
    CHECK_TEXT(run("json", S(""), TAG_NULL), "null");
    CHECK_TEXT(run("json", S("{\"a\": [1]}"), TAG_JSON), "{\"a\": [1]}");
    CHECK_TEXT(run("upper:json", S("x"), TAG_JSON), "\"X\"");
    CHECK_TEXT(run("raw:json", S("[1]"), TAG_JSON), "[1]");
}

static void a_formatted_null_stays_null_until_it_has_a_text(void) {
    CHECK_TEXT(run("upper:trim:round(2):json", S(""), TAG_NULL), "null");
    CHECK_TEXT(run("map(=none):json", S(""), TAG_NULL), "\"none\"");
    CHECK_TEXT(run("upper:json", S(""), TAG_STRING), "\"\"");
}

static void form_alone_tells_a_formatter(void) {
    struct format_text f;
    CHECK_INT(format_scan(S("round(2)]"), &f), 8);
    CHECK_TEXT(f.name, "round");
    CHECK_TEXT(f.args, "2");
    CHECK_INT(format_scan(S("nonsense|"), &f), 8);
    CHECK_INT(format_scan(S("1x"), &f), 0);
    CHECK_INT(format_scan(S("UPPER"), &f), 0);
    CHECK_INT(format_scan(S(""), &f), 0);
    CHECK_INT(format_scan(S("map(a=b"), &f), 0);
    CHECK_INT(format_scan(S("map(a=[b])"), &f), 0);
    CHECK_INT(format_scan(S("map(a=\"b\")"), &f), 0);
}

static void bad_arguments_are_refused(void) {
    static const char *const bad[] = {
        "round",  "round()",  "round(x)",    "round(13)",  "round(-1)", "upper(1)",  "date",
        "date()", "date(%Q)", "date(Y-M-D)", "date(%)",    "substr",    "substr(a)", "substr(1,-1)",
        "map",    "map()",    "map(a)",      "map(a=b,c)", "raw(1)",
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct format_text text;
        struct format f;
        struct fail fail;
        CHECK(format_scan(slice_str(bad[i]), &text) > 0);
        CHECK_INT(format_compile(&text, &f, &fail), ERR_INPUT);
        CHECK_TEXT(slice_str(fail.type), "bad_formatter");
    }
    struct format_text text;
    struct format f;
    struct fail fail;
    format_scan(S("uper"), &text);
    CHECK_INT(format_compile(&text, &f, &fail), ERR_INPUT);
    CHECK_TEXT(slice_str(fail.type), "unknown_formatter");
}

static void growth_is_bounded(void) {
    struct format_text text;
    struct format formats[16];
    struct fail fail;
    format_scan(S("json"), &text);
    for (int i = 0; i < 16; i++) format_compile(&text, &formats[i], &fail);
    struct format_value value = { S("\\\\\\\\"), TAG_STRING };
    CHECK_INT(format_apply(formats, 16, &value, &scratch), OK); // it doubles each time
    value = (struct format_value){ S("\\\\\\\\\\\\\\\\"), TAG_STRING };
    CHECK_INT(format_apply(formats, 16, &value, &scratch), ERR_LIMIT);
}

static const struct check_case cases[] = {
    { "text is changed byte by byte", text_is_changed_byte_by_byte },
    { "phone numbers become E.164", phone_numbers_become_e164 },
    { "numbers keep their digits", numbers_keep_their_digits },
    { "times are written in UTC", times_are_written_in_utc },
    { "parts and words are picked", parts_and_words_are_picked },
    { "a chain runs left to right", a_chain_runs_left_to_right },
    { "json follows the kind of value", json_follows_the_kind_of_value },
    { "a formatted null stays null until it has a text",
      a_formatted_null_stays_null_until_it_has_a_text },
    { "form alone tells a formatter", form_alone_tells_a_formatter },
    { "bad arguments are refused", bad_arguments_are_refused },
    { "growth is bounded", growth_is_bounded },
};
CHECK_MAIN(cases)
