// The base floor: buffers, arenas, maps, clocks, ids, error places.
// floor: log
#include "arena.h"
#include "buf.h"
#include "check.h"
#include "clock.h"
#include "fail.h"
#include "id.h"
#include "map.h"
#include "utf8.h"

static void buffer_stops_at_its_maximum(void) {
    struct buf b;
    buf_init(&b, 5);
    CHECK(buf_add(&b, S("abc")));
    CHECK(!buf_add(&b, S("def")));
    CHECK(!buf_add(&b, S("x"))); // the failure sticks
    CHECK_TEXT(buf_slice(&b), "abc");
    buf_clear(&b);
    CHECK(buf_add(&b, S("12345")));
    buf_deinit(&b);
}

static void json_strings_are_escaped(void) {
    struct buf b;
    buf_init(&b, 256);
    buf_json(&b, slice("a\"\\\n\x01\xC3\xA9\xFF", 8));
    CHECK_TEXT(buf_slice(&b), "\"a\\\"\\\\\\n\\u0001\xC3\xA9\xEF\xBF\xBD\"");
    buf_deinit(&b);
}

static void flat_encoding_survives_truncation(void) {
    struct buf b;
    buf_init(&b, 256);
    buf_u8(&b, 7);
    buf_u32(&b, 0xDEADBEEF);
    buf_u64(&b, 1ull << 63);
    buf_blob(&b, S("hello"));
    struct slice all = buf_slice(&b), s = all;
    CHECK_INT(take_u8(&s), 7);
    CHECK_INT(take_u32(&s), 0xDEADBEEF);
    CHECK(take_u64(&s) == 1ull << 63);
    CHECK_TEXT(take_blob(&s), "hello");
    CHECK(s.p && s.n == 0);
    for (size_t n = 0; n < all.n; n++) {
        s = slice(all.p, n);
        take_u8(&s), take_u32(&s), take_u64(&s), take_blob(&s);
        CHECK(!s.p);
    }
    buf_deinit(&b);
}

static void arena_refuses_past_its_maximum(void) {
    struct arena a;
    arena_init(&a, 1 << 20);
    CHECK(arena_alloc(&a, 1 << 19));
    CHECK(!arena_alloc(&a, (1 << 19) + 1));
    CHECK(!arena_zalloc(&a, SIZE_MAX / 2, 4));
    CHECK_TEXT(arena_printf(&a, "%d-%s", 7, "x"), "7-x");
    arena_deinit(&a);
    CHECK_INT(a.used, 0);
}

static void map_keeps_what_it_holds_over_removals(void) {
    static char keys[2000][8];
    struct map m;
    map_init(&m);
    for (int i = 0; i < 2000; i++) {
        int n = snprintf(keys[i], sizeof keys[i], "k%d", i);
        CHECK(map_put(&m, slice(keys[i], (size_t)n), keys[i]));
    }
    for (int i = 0; i < 2000; i += 3) CHECK(map_remove(&m, slice_str(keys[i])) == keys[i]);
    for (int i = 0; i < 2000; i++)
        CHECK(map_get(&m, slice_str(keys[i])) == (i % 3 ? keys[i] : NULL));
    size_t at = 0, seen = 0;
    while (map_next(&m, &at)) seen++;
    CHECK_INT(seen, m.count);
    map_deinit(&m);
}

static void times_go_both_ways(void) {
    static const int64_t times[] = { 0, 1, 951782400000, 1614265330123, 4102444800000, -86400000 };
    for (size_t i = 0; i < sizeof times / sizeof *times; i++) {
        char text[CLOCK_TEXT];
        int64_t back = 42;
        CHECK(clock_parse(slice(text, clock_format(times[i], text)), &back));
        CHECK_INT(back, times[i]);
    }
    int64_t ms;
    CHECK(clock_parse(S("2026-11-24T20:11:50.5+01:00"), &ms));
    char text[CLOCK_TEXT];
    CHECK_SLICE(slice(text, clock_format(ms, text)), S("2026-11-24T19:11:50.500Z"));
    static const char *const bad[] = { "",
                                       "2026-11-24",
                                       "2026-02-29T00:00:00Z",
                                       "2026-13-01T00:00:00Z",
                                       "2026-11-24T24:00:00Z",
                                       "2026-11-24T19:11:50",
                                       "2026-11-24T19:11:50Zx",
                                       "2026-11-24T19:11:50.Z",
                                       "2026-11-24T19:11:50+1:00",
                                       "2026-00-24T19:11:50Z",
                                       "2026-11-00T19:11:50Z",
                                       "2026-11-31T19:11:50Z",
                                       "1900-02-29T19:11:50Z",
                                       "2026-11-24T19:60:50Z",
                                       "2026-11-24T19:11:61Z",
                                       "2026-11-24T19:11:50+24:00",
                                       "2026-11-24T19:11:50+01:60" };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        CHECK(!clock_parse(slice_str(bad[i]), &ms));
    static const char whole[] = "2026-11-24T19:11:50.5+01:00";
    for (size_t i = 0; i < sizeof whole - 1; i++) { // one wrong byte, anywhere
        char broken[sizeof whole];
        memcpy(broken, whole, sizeof whole);
        for (const char *wrong = "x/:;"; *wrong; wrong++) {
            broken[i] = *wrong;
            bool same = broken[i] == whole[i];
            CHECK(clock_parse(slice(broken, sizeof whole - 1), &ms) == same);
        }
    }
    static const struct {
        const char *text, *same;
    } forms[] = { { "2026-11-24t19:11:50z", "2026-11-24T19:11:50.000Z" },
                  { "2026-11-24 19:11:50,25Z", "2026-11-24T19:11:50.250Z" },
                  { "2026-11-24T19:11:50-01:30", "2026-11-24T20:41:50.000Z" },
                  { "2000-02-29T23:59:60.123456789Z", "2000-03-01T00:00:00.123Z" } };
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        CHECK(clock_parse(slice_str(forms[i].text), &ms));
        CHECK_SLICE(slice(text, clock_format(ms, text)), slice_str(forms[i].same));
    }
}

static void ids_rise_and_hold_no_dot(void) {
    char a[ID_TEXT], b[ID_TEXT];
    id_new("evt", a);
    for (int i = 0; i < 10000; i++) {
        struct slice s = id_new("evt", b);
        CHECK_INT(s.n, 30);
        CHECK(strcmp(a, b) < 0);
        memcpy(a, b, sizeof a);
    }
    CHECK(!strchr(a, '.') && !strchr(a, '-'));
}

static void utf8_follows_rfc_3629(void) {
    CHECK_INT(utf8_check(S("h\xC3\xA9\xF0\x9F\x99\x82")), 7);
    static const char *const bad[] = { "\xC0\xAF", "\xED\xA0\x80", "\xF4\x90\x80\x80",
                                       "\x80",     "\xE2\x82",     "\xFF" };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        CHECK_INT(utf8_check(slice_str(bad[i])), 0);
    char out[4];
    CHECK_SLICE(slice(out, utf8_encode(0x1F642, out)), S("\xF0\x9F\x99\x82"));
}

static void places_count_lines_and_columns(void) {
    struct fail f = { .at = 6 };
    fail_place(&f, "ab\ncd\nef", 8);
    CHECK_INT(f.line, 3);
    CHECK_INT(f.column, 1);
}

static const struct check_case cases[] = {
    { "a buffer stops at its maximum", buffer_stops_at_its_maximum },
    { "JSON strings are escaped", json_strings_are_escaped },
    { "the flat encoding survives truncation", flat_encoding_survives_truncation },
    { "an arena refuses past its maximum", arena_refuses_past_its_maximum },
    { "a map keeps what it holds over removals", map_keeps_what_it_holds_over_removals },
    { "times go both ways", times_go_both_ways },
    { "ids rise and hold no dot", ids_rise_and_hold_no_dot },
    { "UTF-8 follows RFC 3629", utf8_follows_rfc_3629 },
    { "places count lines and columns", places_count_lines_and_columns },
};
CHECK_MAIN(cases)
