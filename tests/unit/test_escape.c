// The escapers: what they write, and that both kinds write the same.
#include "escape.h"

#include <sys/mman.h>
#include <unistd.h>

#include "check.h"

static char out[64 * 1024], other[64 * 1024];

static struct slice json(struct slice s, bool *bad) {
    return slice(out, (size_t)(escape->json(out, s, bad) - out));
}

static struct slice url(struct slice s) {
    return slice(out, (size_t)(escape->url(out, s) - out));
}

static struct slice form(struct slice s) {
    return slice(out, (size_t)(escape->form(out, s) - out));
}

// Runs a test with each kind of escapers.
#define WITH_BOTH(test)                                                                            \
    static void test##_both(void) {                                                                \
        escape_force_portable(true);                                                               \
        test();                                                                                    \
        escape_force_portable(false);                                                              \
        test();                                                                                    \
    }

static void json_strings_follow_rfc_8259(void) {
    bool bad = false;
    CHECK_TEXT(json(S("plain"), &bad), "plain");
    CHECK_TEXT(json(S(""), &bad), "");
    CHECK_TEXT(json(S("a\"b\\c/d"), &bad), "a\\\"b\\\\c/d");
    CHECK_TEXT(json(S("\b\t\n\f\r\x01\x0B\x1F\x7F"), &bad),
               "\\b\\t\\n\\f\\r\\u0001\\u000b\\u001f\x7F");
    CHECK_TEXT(json(S("a\0b"), &bad), "a\\u0000b");
    CHECK_TEXT(json(S("\xC3\xA9\xE2\x80\xA8\xF0\x9F\x99\x82"), &bad),
               "\xC3\xA9\xE2\x80\xA8\xF0\x9F\x99\x82");
    CHECK(!bad);
}
WITH_BOTH(json_strings_follow_rfc_8259)

static void bytes_that_are_not_utf8_become_replacement_characters(void) {
#define R "\xEF\xBF\xBD"
    static const struct {
        struct slice in, want;
    } rows[] = {
        { S("a\xFF"), S("a" R) },
        { S("\xC0\xAFz"), S(R R "z") },
        { S("\xED\xA0\x80"), S(R R R) },
        { S("\xE2\x82"), S(R R) },
        { S("\xE2\x82 is cut, then a long text follows it \xE2\x82\xAC"),
          S(R R " is cut, then a long text follows it \xE2\x82\xAC") },
        { S("\xF4\x90\x80\x80"), S(R R R R) },
        { S("\xF0\x8F\xBF\xBF"), S(R R R R) },
        { S("\xE0\x9F\xBF"), S(R R R) },
        { S("\x80"), S(R) },
        { S("0123456789012345678901234567890\xC3"), S("0123456789012345678901234567890" R) },
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        bool bad = false;
        CHECK_SLICE(json(rows[i].in, &bad), rows[i].want);
        CHECK(bad);
    }
}
WITH_BOTH(bytes_that_are_not_utf8_become_replacement_characters)

static void every_byte_has_its_percent_form(void) {
    for (int c = 0; c < 256; c++) {
        char byte = (char)c, want[4];
        bool unreserved = (c < 128 && c > 0 && strchr("-._~", c)) || (c >= '0' && c <= '9') ||
                          (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
        snprintf(want, sizeof want, unreserved ? "%c" : "%%%02X", (unsigned)c);
        CHECK_SLICE(url(slice(&byte, 1)), slice_str(want));
        if (c == '~' || c == '*' || c == ' ') continue;
        CHECK_SLICE(form(slice(&byte, 1)), slice_str(want));
    }
    CHECK_TEXT(form(S("a&b=c+d% *~")), "a%26b%3Dc%2Bd%25+*%7E");
    CHECK_TEXT(url(S("+1555 \xC3\xA9?#/..")), "%2B1555%20%C3%A9%3F%23%2F..");
}
WITH_BOTH(every_byte_has_its_percent_form)

static struct slice header(struct slice s, bool *run, bool *cleaned) {
    return slice(out, (size_t)(escape_header(out, s, run, cleaned) - out));
}

static void control_runs_in_headers_become_one_space(void) {
    bool run = false, cleaned = false;
    CHECK_TEXT(header(S("a\tb \xC3\xA9"), &run, &cleaned), "a\tb \xC3\xA9");
    CHECK(!cleaned);
    CHECK_TEXT(header(S("1\r\nEvil: 1"), &run, &cleaned), "1 Evil: 1");
    CHECK(cleaned);
    CHECK_TEXT(header(S("\x01\x7F\0x\n"), &run, &cleaned), " x ");
    CHECK(run);
    CHECK_TEXT(header(S("\r\ny"), &run, &cleaned), "y"); // the run goes on
    CHECK(!run);
    CHECK_TEXT(header(S("0123456789012345678901234567890123456789\r0"), &run, &cleaned),
               "0123456789012345678901234567890123456789 0");
}
WITH_BOTH(control_runs_in_headers_become_one_space)

static void raw_url_text_cannot_break_a_request(void) {
    CHECK_TEXT(slice(out, (size_t)(escape_url_raw(out, S("a=b&c=%20/?\r\n\0 \"\xC3")) - out)),
               "a=b&c=%20/?%0D%0A%00%20%22%C3");
}

static uint32_t seed = 7;
static uint32_t draw(uint32_t below) {
    seed = seed * 1664525u + 1013904223u;
    return (seed >> 8) % below;
}

// Mostly text, with what needs escaping and sequences that are and are not UTF-8.
static size_t random_value(char *to, size_t max) {
    static const char *const parts[] = { "a",
                                         "Zz",
                                         "0123456789abcdef",
                                         " ",
                                         "\"",
                                         "\\",
                                         "\n",
                                         "\x01",
                                         "\x1F",
                                         "/",
                                         "+",
                                         "\xC3\xA9",
                                         "\xE4\xB8\xAD",
                                         "\xF0\x9F\x99\x82",
                                         "\xFF",
                                         "\xE4\xB8",
                                         "\xED\xA0\x80" };
    size_t kinds = draw(4) ? 14 : sizeof parts / sizeof parts[0];
    size_t n = 0, want = draw((uint32_t)max - 16);
    while (n < want) {
        const char *part = parts[draw(3) ? draw(3) : draw((uint32_t)kinds)];
        memcpy(to + n, part, strlen(part));
        n += strlen(part);
    }
    return n;
}

// The copy with its padding, and a mark for each byte that ends plain text.
static void check_marks(const struct escapers *kind, struct slice s) {
    unsigned char marks[80];
    size_t marked = (s.n / 64 + 1) * 64, wrong = 0;
    memset(out, 'x', marked + 128);
    memset(marks, 0xAA, sizeof marks);
    kind->copy_marked(out, s, marks);
    CHECK_SLICE(slice(out, s.n), s);
    for (size_t i = 0; i < marked; i++) {
        unsigned char c = i < s.n ? (unsigned char)s.p[i] : 0;
        bool ends = c < 0x20 || c >= 0x80 || c == '"' || c == '\\';
        wrong += ends != (marks[i / 8] >> i % 8 & 1);
    }
    for (size_t i = s.n; i < s.n + 64; i++) wrong += out[i] != 0;
    CHECK_INT(wrong, 0);
    CHECK_INT(marks[marked / 8], 0xAA);
}

// The value ends at an unreadable page and the output starts at any offset, so
// a read past the page or a store past the slack dies.
static void both_kinds_write_the_same_at_the_edge_of_a_page(void) {
    long page = sysconf(_SC_PAGESIZE);
    char *map =
        mmap(NULL, (size_t)page * 2, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(map != MAP_FAILED && mprotect(map + page, (size_t)page, PROT_NONE) == 0);
    char text[512];
    for (int i = 0; i < 20000; i++) {
        size_t n = random_value(text, draw(2) ? 48 : sizeof text);
        char *at = map + page - n - (draw(4) ? 0 : draw(40));
        memmove(at, text, n);
        struct slice s = slice(at, n);
        bool bad_a = false, bad_b = false;
        size_t a = (size_t)(escape->json(out, s, &bad_a) - out);
        size_t b = (size_t)(escape_portable.json(other, s, &bad_b) - other);
        CHECK_SLICE(slice(out, a), slice(other, b));
        CHECK_INT(bad_a, bad_b);
        a = (size_t)(escape->url(out, s) - out);
        b = (size_t)(escape_portable.url(other, s) - other);
        CHECK_SLICE(slice(out, a), slice(other, b));
        a = (size_t)(escape->form(out, s) - out);
        b = (size_t)(escape_portable.form(other, s) - other);
        CHECK_SLICE(slice(out, a), slice(other, b));
        CHECK_INT(escape->header_span(s), escape_portable.header_span(s));
        check_marks(&escape_portable, s);
        check_marks(escape, s);
    }
    munmap(map, (size_t)page * 2);
}

// Every two-byte and the edges of every three- and four-byte sequence.
static void utf8_is_checked_alike_for_all_sequences(void) {
    static const unsigned char edges[] = { 0x00, 0x41, 0x7F, 0x80, 0x8F, 0x90,
                                           0x9F, 0xA0, 0xBF, 0xC0, 0xE2, 0xFF };
    size_t count = sizeof edges;
    char text[40];
    memset(text, 'x', sizeof text);
    for (unsigned lead = 0x80; lead < 0x100; lead++)
        for (size_t i = 0; i < count * count * count; i++) {
            size_t at = i % 36;
            text[at] = (char)lead;
            text[at + 1] = (char)edges[i % count];
            text[at + 2] = (char)edges[i / count % count];
            text[at + 3] = (char)edges[i / count / count];
            bool bad_a = false, bad_b = false;
            size_t a = (size_t)(escape->json(out, slice(text, sizeof text), &bad_a) - out);
            size_t b =
                (size_t)(escape_portable.json(other, slice(text, sizeof text), &bad_b) - other);
            CHECK_SLICE(slice(out, a), slice(other, b));
            CHECK_INT(bad_a, bad_b);
            memset(text + at, 'x', 4);
        }
}

static const struct check_case cases[] = {
    { "JSON strings follow RFC 8259", json_strings_follow_rfc_8259_both },
    { "bytes that are not UTF-8 become U+FFFD",
      bytes_that_are_not_utf8_become_replacement_characters_both },
    { "every byte has its percent form", every_byte_has_its_percent_form_both },
    { "control runs in headers become one space", control_runs_in_headers_become_one_space_both },
    { "raw URL text cannot break a request", raw_url_text_cannot_break_a_request },
    { "both kinds write the same at the edge of a page",
      both_kinds_write_the_same_at_the_edge_of_a_page },
    { "UTF-8 is checked alike for all sequences", utf8_is_checked_alike_for_all_sequences },
};
CHECK_MAIN(cases)
