// What a webhook's script may do over many calls, told a clock of its own.
#include "check.h"
#include "script_inner.h"

static const int64_t second = 1000ll * 1000 * 1000;
enum { FIRST = 1000 }; // the clock need not start at zero

// Of `calls` calls, one in a tenth of a second, `bad` in every ten, spread out, are strikes: which
// one ends it?
static int ends_at(int calls, int bad) {
    struct script_conduct conduct = { 0 };
    for (int i = 0; i < calls; i++)
        if (script_conduct_note(&conduct, i * bad % 10 < bad, FIRST * second + i * second / 10))
            return i + 1;
    return 0;
}

static void strikes_without_end_stop_a_script(void) {
    CHECK_INT(ends_at(100, 10), 10);
    CHECK_INT(ends_at(100, 6), 16);
}

static void good_calls_and_errors_never_do(void) {
    CHECK_INT(ends_at(100000, 0), 0);
    CHECK_INT(ends_at(100000, 4), 0); // less than every other one
}

static void old_strikes_are_forgotten(void) {
    struct script_conduct conduct = { 0 };
    bool stopped = false;
    for (int i = 0; i < 1000; i++)
        stopped = stopped || script_conduct_note(&conduct, true, i * 7 * second);
    CHECK(!stopped); // nine a minute
    CHECK(!script_conduct_note(&conduct, true, 10000 * second));
}

static void a_barred_version_waits_a_minute_and_another_does_not(void) {
    struct script_conduct conduct = { 0 };
    CHECK(!script_conduct_is_barred(&conduct, S("0123456789abcdef"), FIRST * second));
    script_conduct_bar(&conduct, S("0123456789abcdef"), FIRST * second);
    CHECK(script_conduct_is_barred(&conduct, S("0123456789abcdef"), (FIRST + 59) * second));
    CHECK(!script_conduct_is_barred(&conduct, S("fedcba9876543210"), (FIRST + 59) * second));
    CHECK(!script_conduct_is_barred(&conduct, S("0123456789abcdef"), (FIRST + 60) * second));
}

// Lines let through when `rate` a second come, for some seconds.
static int lines_of(struct script_conduct *conduct, int64_t from_ns, int rate, int seconds,
                    uint64_t *dropped) {
    int passed = 0;
    *dropped = 0;
    for (int i = 0; i < rate * seconds; i++) {
        uint64_t before;
        if (!script_conduct_may_log(conduct, from_ns + i * (second / rate), &before)) continue;
        passed++;
        *dropped += before;
    }
    return passed;
}

static void a_flood_of_lines_is_cut_and_counted(void) {
    struct script_conduct conduct = { 0 };
    uint64_t dropped;
    int passed = lines_of(&conduct, FIRST * second, 10000, 10, &dropped);
    CHECK(passed >= 1000 + 9 * 200 && passed <= 1000 + 10 * 200 + 1);
    CHECK_INT((uint64_t)passed + dropped + conduct.lines_dropped, 100000);
    // a quiet minute, and a burst passes whole; the first of it tells what was lost before
    passed = lines_of(&conduct, (FIRST + 70) * second, 1000, 1, &dropped);
    CHECK_INT(passed, 1000);
    CHECK(dropped > 0 && conduct.lines_dropped == 0);
}

static void ordinary_lines_all_pass(void) {
    struct script_conduct conduct = { 0 };
    uint64_t dropped;
    CHECK_INT(lines_of(&conduct, FIRST * second, 200, 60, &dropped), 200 * 60);
}

int main(int argc, char **argv) {
    static const struct check_case cases[] = {
        { "strikes without end stop a script", strikes_without_end_stop_a_script },
        { "good calls and errors never do", good_calls_and_errors_never_do },
        { "old strikes are forgotten", old_strikes_are_forgotten },
        { "a barred version waits a minute and another does not",
          a_barred_version_waits_a_minute_and_another_does_not },
        { "a flood of lines is cut and counted", a_flood_of_lines_is_cut_and_counted },
        { "ordinary lines all pass", ordinary_lines_all_pass },
    };
    (void)argc, (void)argv;
    return check_run(cases, sizeof cases / sizeof *cases);
}
