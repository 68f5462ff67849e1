// Tag names and the values of one event.
#include "tag.h"

#include "check.h"

static void a_name_has_one_id_for_life(void) {
    uint16_t id = tag_intern(S("CALL_ID"));
    CHECK(id != TAG_NONE);
    CHECK_INT(tag_intern(S("CALL_ID")), id);
    CHECK_INT(tag_find(S("CALL_ID")), id);
    CHECK_TEXT(tag_name(id), "CALL_ID");
    CHECK_INT(tag_find(S("CALL_IE")), TAG_NONE);
    CHECK_INT(tag_find(S("")), TAG_NONE);
}

static void thousands_of_names_stay_apart(void) {
    char name[24];
    uint16_t ids[5000];
    for (int i = 0; i < 5000; i++) {
        int n = snprintf(name, sizeof name, "CUSTOM_TAG_%d", i);
        ids[i] = tag_intern(slice(name, (size_t)n));
        CHECK_INT(ids[i], tag_count() - 1);
    }
    for (int i = 0; i < 5000; i++) {
        int n = snprintf(name, sizeof name, "CUSTOM_TAG_%d", i);
        CHECK_INT(tag_find(slice(name, (size_t)n)), ids[i]);
    }
}

static void names_are_upper_case_words(void) {
    char longest[65];
    memset(longest, 'A', sizeof longest);
    CHECK(tag_name_valid(S("A")));
    CHECK(tag_name_valid(S("A_1_")));
    CHECK(tag_name_valid(slice(longest, 64)));
    CHECK(!tag_name_valid(slice(longest, 65)));
    CHECK(!tag_name_valid(S("")));
    CHECK(!tag_name_valid(S("1A")));
    CHECK(!tag_name_valid(S("_A")));
    CHECK(!tag_name_valid(S("lower")));
    CHECK(!tag_name_valid(S("A B")));
    CHECK(!tag_name_valid(S("A-B")));
}

static void custom_keys_become_upper_case(void) {
    char out[TAG_NAME_MAX];
    size_t n = 0;
    CHECK(tag_name_from_key(S("lead_type"), out, &n));
    CHECK_TEXT(slice(out, n), "LEAD_TYPE");
    CHECK(tag_name_from_key(S("Lead2"), out, &n));
    CHECK_TEXT(slice(out, n), "LEAD2");
    CHECK(!tag_name_from_key(S("lead-type"), out, &n));
    CHECK(!tag_name_from_key(S("2lead"), out, &n));
    CHECK(!tag_name_from_key(S("l\xC3\xA9"
                               "ad"),
                             out, &n));
}

static void the_last_value_of_a_name_wins(void) {
    struct arena arena;
    struct tag_set set;
    arena_init(&arena, 1 << 20);
    uint16_t known = tag_intern(S("KNOWN"));
    CHECK(tag_set_init(&set, &arena));
    CHECK_INT(tag_set_get(&set, known).kind, TAG_ABSENT);
    CHECK(tag_set_put(&set, S("KNOWN"), tag_text(S("1"))));
    CHECK(tag_set_put(&set, S("KNOWN"), tag_text(S("2"))));
    CHECK(tag_set_put(&set, S("NOBODY_KNOWS"), tag_text(S("3"))));
    CHECK(tag_set_put(&set, S("NOBODY_KNOWS"), tag_text(S("4"))));
    CHECK_INT(set.extras_count, 1);
    CHECK_TEXT(tag_value_text(tag_set_get(&set, known), &arena), "2");
    CHECK_TEXT(tag_value_text(tag_set_get_name(&set, S("NOBODY_KNOWS")), &arena), "4");
    arena_deinit(&arena);
}

static void a_name_interned_later_finds_its_value(void) {
    struct arena arena;
    struct tag_set set, copy;
    arena_init(&arena, 1 << 20);
    CHECK(tag_set_init(&set, &arena));
    CHECK(tag_set_put(&set, S("COMES_LATER"), tag_text(S("here"))));
    uint16_t id = tag_intern(S("COMES_LATER"));
    CHECK(id >= set.count);
    CHECK_TEXT(tag_value_text(tag_set_get(&set, id), &arena), "here");
    CHECK_TEXT(tag_value_text(tag_set_get_name(&set, S("COMES_LATER")), &arena), "here");
    CHECK(tag_set_copy(&copy, &set, &arena));
    CHECK(id < copy.count);
    CHECK_TEXT(tag_value_text(tag_set_get(&copy, id), &arena), "here");
    CHECK_INT(copy.extras_count, 0);
    arena_deinit(&arena);
}

static void a_thousand_unknown_names_stay_apart(void) {
    enum { NAMES = 1000 };
    static char names[NAMES][16], values[NAMES][8];
    struct arena arena;
    struct tag_set set;
    arena_init(&arena, 1 << 20);
    CHECK(tag_set_init(&set, &arena));
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < NAMES; i++) {
            snprintf(names[i], sizeof names[i], "UNKNOWN_%d", i);
            snprintf(values[i], sizeof values[i], "%d", round * NAMES + i);
            CHECK(tag_set_put(&set, slice_str(names[i]), tag_text(slice_str(values[i]))));
            int last = round ? NAMES - 1 : i;
            struct tag_value v = tag_set_get_name(&set, slice_str(names[last]));
            CHECK_SLICE(slice(v.p, v.n), slice_str(values[last]));
        }
        CHECK_INT(set.extras_count, NAMES);
        CHECK_INT(tag_set_get_name(&set, S("UNKNOWN_1000")).kind, TAG_ABSENT);
    }
    tag_set_clear(&set);
    CHECK_INT(tag_set_get_name(&set, S("UNKNOWN_1")).kind, TAG_ABSENT);
    arena_deinit(&arena);
}

static bool count_until_two(void *user, struct slice name, struct tag_value value) {
    int *seen = user;
    CHECK(name.n && value.kind != TAG_ABSENT);
    return ++*seen < 2;
}

static void a_walk_sees_every_value_and_stops_when_told(void) {
    struct arena arena;
    struct tag_set set;
    arena_init(&arena, 1 << 20);
    tag_intern(S("WALK_A"));
    CHECK(tag_set_init(&set, &arena));
    tag_set_put(&set, S("WALK_A"), tag_text(S("1")));
    int seen = 0;
    tag_set_each(&set, count_until_two, &seen);
    CHECK_INT(seen, 1);
    tag_set_put(&set, S("WALK_X"), tag_text(S("2")));
    tag_set_put(&set, S("WALK_Y"), tag_text(S("3")));
    seen = 0;
    tag_set_each(&set, count_until_two, &seen);
    CHECK_INT(seen, 2);
    arena_deinit(&arena);
}

static void text_undoes_json_escapes(void) {
    struct arena arena;
    arena_init(&arena, 4096);
    struct tag_value v = tag_text(S("a\\u00e9\\n\\\"b"));
    v.flags = TAG_ESCAPED;
    CHECK_TEXT(tag_value_text(v, &arena), "a\xC3\xA9\n\"b");
    v.flags = 0;
    CHECK_TEXT(tag_value_text(v, &arena), "a\\u00e9\\n\\\"b");
    v = (struct tag_value){ .p = "null", .n = 4, .kind = TAG_NULL };
    CHECK_TEXT(tag_value_text(v, &arena), "");
    v = (struct tag_value){ .p = "35.00", .n = 5, .kind = TAG_NUMBER };
    CHECK_TEXT(tag_value_text(v, &arena), "35.00");
    arena_deinit(&arena);
}

static const struct check_case cases[] = {
    { "a name has one id for life", a_name_has_one_id_for_life },
    { "thousands of names stay apart", thousands_of_names_stay_apart },
    { "names are upper-case words", names_are_upper_case_words },
    { "custom keys become upper case", custom_keys_become_upper_case },
    { "the last value of a name wins", the_last_value_of_a_name_wins },
    { "a name interned later finds its value", a_name_interned_later_finds_its_value },
    { "a thousand unknown names stay apart", a_thousand_unknown_names_stay_apart },
    { "a walk sees every value and stops when told", a_walk_sees_every_value_and_stops_when_told },
    { "text undoes JSON escapes", text_undoes_json_escapes },
};
CHECK_MAIN(cases)
