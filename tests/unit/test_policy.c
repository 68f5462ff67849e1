// Schedules, Retry-After, rates and the breaker, each at its edges.
#include "policy.h"

#include "check.h"

static const int64_t DAY = 86400000;
static const int64_t SECOND_NS = 1000000000;
static const int64_t NOW = 784111770000; // Sun, 06 Nov 1994 08:49:30 GMT

static uint64_t next_random(uint64_t *seed) {
    *seed ^= *seed << 13, *seed ^= *seed >> 7, *seed ^= *seed << 17;
    return *seed;
}

static void standard_schedule_stays_within_its_jitter(void) {
    static const int64_t want_s[] = { 5, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400 };
    struct retry r = retry_standard();
    uint64_t seed = 42;
    bool early = false, late = false;
    for (unsigned failed = 1; failed <= 9; failed++)
        for (int i = 0; i < 1000; i++) {
            int64_t step = want_s[failed - 1] * 1000;
            int64_t pause = retry_next(&r, failed, -1, next_random(&seed));
            CHECK(pause >= step * 8 / 10 && pause <= step * 12 / 10);
            early |= pause<step, late |= pause> step;
        }
    CHECK(early && late);
    CHECK_INT(retry_next(&r, 9, -1, UINT64_MAX) > 0, 1);
    CHECK_INT(retry_next(&r, 10, -1, 0), -1); // ten attempts, exactly
    CHECK_INT(retry_next(&r, 11, 5000, 0), -1);
    CHECK_INT(retry_next(&r, 0, -1, 7), 0);
}

static void wish_of_the_receiver_is_clamped(void) {
    struct retry r = retry_standard();
    for (unsigned failed = 1; failed <= 9; failed++) {
        int64_t step = r.steps_ms[failed - 1];
        CHECK_INT(retry_next(&r, failed, INT64_MAX, 3), DAY);
        CHECK(retry_next(&r, failed, 0, 3) >= step * 8 / 10);
        CHECK(retry_next(&r, failed, step, 0) >= step);
    }
    CHECK_INT(retry_next(&r, 1, 3600000, 0), 3600000);
    struct retry slow = { .steps_ms = { 2 * DAY }, .steps_count = 1 };
    CHECK_INT(retry_next(&slow, 1, 3 * DAY, 0), 2 * DAY);
}

static void exponential_schedule_grows_to_its_maximum(void) {
    struct retry r;
    struct fail fail;
    CHECK_INT(retry_exponential(&r, 1, 2, 10, 6, &fail), OK);
    CHECK_INT(r.steps_count, 5);
    static const int64_t want[] = { 1000, 2000, 4000, 8000, 10000 };
    for (int i = 0; i < 5; i++) CHECK_INT(r.steps_ms[i], want[i]);
    CHECK_INT(retry_exponential(&r, 1, 2, 10, 1, &fail), OK);
    CHECK_INT(retry_next(&r, 1, -1, 0), -1);
}

static void exponential_schedule_refuses_what_is_out_of_range(void) {
    static const struct {
        double base, factor, max;
        int64_t attempts;
    } bad[] = {
        { 0, 2, 10, 3 },     { -1, 2, 10, 3 },       { 1, 0.5, 10, 3 },      { 1, 2, 0.5, 3 },
        { 1, 2, 10, 0 },     { 1, 2, 10, -1 },       { 1, 2, 10, 1000000 },  { 1e300, 2, 1e300, 3 },
        { 1, 1e300, 10, 3 }, { 0.0 / 0.0, 2, 3, 3 }, { 1, 0.0 / 0.0, 3, 3 }, { 1, 2, 0.0 / 0.0, 3 },
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct retry r = { .steps_count = 77 };
        struct fail fail = { 0 };
        CHECK_INT(
            retry_exponential(&r, bad[i].base, bad[i].factor, bad[i].max, bad[i].attempts, &fail),
            ERR_INPUT);
        CHECK_INT(r.steps_count, 77);
        CHECK_TEXT(slice_str(fail.type), "bad_retry");
    }
}

static void retry_after_reads_seconds(void) {
    CHECK_INT(retry_after_parse(S("120"), NOW), 120000);
    CHECK_INT(retry_after_parse(S(" 0 "), NOW), 0);
    CHECK_INT(retry_after_parse(S("1.5"), NOW), 1500);
    CHECK_INT(retry_after_parse(S("2.0009"), NOW), 2000);
    CHECK(retry_after_parse(S("1000000000000"), NOW) >= DAY);
    CHECK(retry_after_parse(S("99999999999999999999999999999999999999"), NOW) >= DAY);
    static const char *const bad[] = { "",
                                       "-1",
                                       "abc",
                                       "1e12",
                                       "1,5",
                                       ".5",
                                       "5 s",
                                       "+5",
                                       "0x5",
                                       "1.2.3",
                                       "5;",
                                       "\x00"
                                       "5",
                                       "NaN" };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        CHECK_INT(retry_after_parse(slice_str(bad[i]), NOW), -1);
}

static void retry_after_reads_the_three_date_forms(void) {
    CHECK_INT(retry_after_parse(S("Sun, 06 Nov 1994 08:49:37 GMT"), NOW), 7000);
    CHECK_INT(retry_after_parse(S("Sunday, 06-Nov-94 08:49:37 GMT"), NOW), 7000);
    CHECK_INT(retry_after_parse(S("Sun Nov  6 08:49:37 1994"), NOW), 7000);
    CHECK_INT(retry_after_parse(S("sun, 06 nov 1994 08:49:37 gmt"), NOW), 7000);
    CHECK_INT(retry_after_parse(S("Sun Nov 06 08:49:37 1994"), NOW), 7000);
    CHECK_INT(retry_after_parse(S("Sun, 06 Nov 1994 08:49:20 GMT"), NOW), 0); // past
    CHECK_INT(retry_after_parse(S("Sun, 06 Nov 1994 08:49:60 GMT"), NOW), 30000);
    CHECK(retry_after_parse(S("Wed, 21 Oct 2065 07:28:00 GMT"), NOW) > DAY);
    // Two digits mean the year at most 50 years ahead.
    CHECK_INT(retry_after_parse(S("Sunday, 06-Nov-93 08:49:37 GMT"), NOW), 0);
    CHECK(retry_after_parse(S("Sunday, 06-Nov-44 08:49:37 GMT"), NOW) > DAY);
    CHECK_INT(retry_after_parse(S("Sunday, 06-Nov-45 08:49:37 GMT"), NOW), 0);
}

static void retry_after_refuses_what_is_nearly_a_date(void) {
    static const char *const bad[] = {
        "Sun, 06 Nov 1994 08:49:37",      "Sun, 06 Nov 1994 08:49:37 CET",
        "Sun, 6 Nov 1994 08:49:37 GMT",   "Sun, 06 Nov 94 08:49:37 GMT",
        "Sun, 00 Nov 1994 08:49:37 GMT",  "Sun, 31 Nov 1994 08:49:37 GMT",
        "Sun, 06 Nov 1994 24:00:00 GMT",  "Sun, 06 Nov 1994 08:60:00 GMT",
        "Xxx, 06 Nov 1994 08:49:37 GMT",  "Sun, 06 Xxx 1994 08:49:37 GMT",
        "Sun, 06 Nov 1994 08:49:37 GMTx", "Sunday, 06-Nov-1994 08:49:37 GMT",
        "Sun Nov 6 08:49:37 1994",        "Sun Nov  6 08:49:37 94",
        "Sunday, 06-Nov-94 08:49:37",     "1994-11-06T08:49:37Z",
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        CHECK_INT(retry_after_parse(slice_str(bad[i]), NOW), -1);
    struct slice whole = S("Sun, 06 Nov 1994 08:49:37 GMT");
    for (size_t n = 0; n < whole.n; n++) CHECK_INT(retry_after_parse(slice(whole.p, n), NOW), -1);
}

static void rates_are_read(void) {
    struct rate r;
    struct fail fail;
    CHECK_INT(rate_parse(S("50/s"), &r, &fail), OK);
    CHECK(r.count == 50 && r.per_ms == 1000 && r.burst == 1);
    CHECK_INT(rate_parse(S("100/m burst 20"), &r, &fail), OK);
    CHECK(r.count == 100 && r.per_ms == 60000 && r.burst == 20);
    CHECK_INT(rate_parse(S("1000/h"), &r, &fail), OK);
    CHECK(r.count == 1000 && r.per_ms == 3600000);
    static const char *const bad[] = { "",
                                       "50",
                                       "/s",
                                       "0/s",
                                       "-1/s",
                                       "50/d",
                                       "50/s ",
                                       "1000001/s",
                                       "50/s burst",
                                       "50/s burst 0",
                                       "5 0/s",
                                       "50/sburst 2",
                                       "50/s burst 2x",
                                       "99999999999999999999/s" };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        enum err err = rate_parse(slice_str(bad[i]), &r, &fail);
        CHECK_INT(err, strcmp(bad[i], "50/s ") ? ERR_INPUT : OK);
    }
    CHECK(r.count == 50 && r.burst == 1); // kept when the text is bad
}

// Sends as early as it may and looks at every window of one period.
static void check_rate(const struct rate *rate, int sends) {
    int64_t *at = calloc((size_t)sends, sizeof *at);
    struct rate_state state = { 0 };
    int64_t now = 5 * SECOND_NS, wait, per = (int64_t)rate->per_ms * 1000000;
    for (int i = 0; i < sends; i++) {
        while (!rate_take(rate, &state, now, &wait)) {
            CHECK(wait > 0);
            int64_t more;
            struct rate_state copy = state;
            CHECK(!rate_take(rate, &copy, now + wait - 1, &more)); // wait is exact
            now += wait;
        }
        at[i] = now;
    }
    int most = (int)(rate->count + rate->burst - 1);
    for (int i = 0; i + most < sends; i++) CHECK(at[i + most] - at[i] >= per);
    free(at);
}

static void rate_holds_over_every_window(void) {
    check_rate(&(struct rate){ 50, 1000, 1 }, 500);
    check_rate(&(struct rate){ 3, 1000, 1 }, 500); // does not divide evenly
    check_rate(&(struct rate){ 100, 60000, 20 }, 500);
    check_rate(&(struct rate){ 7, 3600000, 5 }, 100);
    struct rate_state state = { 0 };
    int64_t wait;
    for (int i = 0; i < 1000; i++) CHECK(rate_take(&(struct rate){ 0 }, &state, 1, &wait));
}

static void unused_rate_saves_up_no_more_than_the_burst(void) {
    struct rate rate = { 10, 1000, 3 };
    struct rate_state state = { 0 };
    int64_t wait, now = 1000 * SECOND_NS;
    for (int i = 0; i < 3; i++) CHECK(rate_take(&rate, &state, now, &wait));
    CHECK(!rate_take(&rate, &state, now, &wait));
    CHECK_INT(wait, SECOND_NS / 10);
}

static void emptied_bucket_is_as_empty_as_a_send_can_leave_it(void) {
    struct rate rate = { 10, 1000, 3 };
    struct rate_state used = { 0 }, empty = { 0 };
    int64_t now = 10 * SECOND_NS, wait;
    while (rate_take(&rate, &used, now, &wait)) continue;
    rate_empty(&rate, &empty, now);
    CHECK_INT(empty.next_ns, used.next_ns);
    CHECK(!rate_take(&rate, &empty, now, &wait));
    CHECK_INT(wait, SECOND_NS / 10);
    rate_empty(&(struct rate){ 0 }, &empty, now); // no limit has no bucket
    CHECK(rate_take(&(struct rate){ 0 }, &empty, now, &wait));
}

static const struct breaker_opts BREAKER = { .threshold = 3,
                                             .cooldown_ms = 1000,
                                             .cooldown_max_ms = 5000 };

static void breaker_opens_probes_and_doubles(void) {
    struct breaker b = { 0 };
    int64_t now = 0, wait;
    bool probe;
    breaker_report(&b, &BREAKER, now, false);
    breaker_report(&b, &BREAKER, now, false);
    breaker_report(&b, &BREAKER, now, true); // not in a row
    for (int i = 0; i < 3; i++) {
        CHECK(breaker_allows(&b, now, &probe, &wait) && !probe);
        breaker_report(&b, &BREAKER, now, false);
    }
    static const int64_t cooldowns_s[] = { 1, 2, 4, 5, 5 };
    for (int i = 0; i < 5; i++) {
        CHECK(!breaker_allows(&b, now, &probe, &wait));
        CHECK_INT(wait, cooldowns_s[i] * SECOND_NS);
        now += wait;
        CHECK(breaker_allows(&b, now, &probe, &wait) && probe);
        CHECK(!breaker_allows(&b, now, &probe, &wait)); // one probe at a time
        CHECK(wait == INT64_MAX);
        breaker_report(&b, &BREAKER, now, false);
    }
    now += 5 * SECOND_NS;
    CHECK(breaker_allows(&b, now, &probe, &wait) && probe);
    breaker_report(&b, &BREAKER, now, true);
    CHECK(breaker_allows(&b, now, &probe, &wait) && !probe);
    CHECK_INT(b.opened, 0);
}

static void probe_that_said_nothing_is_made_again(void) {
    struct breaker b = { 0 };
    bool probe;
    int64_t wait;
    for (int i = 0; i < 3; i++) breaker_report(&b, &BREAKER, 0, false);
    CHECK(breaker_allows(&b, SECOND_NS, &probe, &wait) && probe);
    breaker_cancel_probe(&b, SECOND_NS);
    CHECK(breaker_allows(&b, SECOND_NS, &probe, &wait) && probe);
}

// Failures in a row since so many seconds before `now`: the breaker that is recalled.
static struct breaker recalled(unsigned failures, int64_t since_s, uint64_t random) {
    struct breaker b = { 0 };
    int64_t now = 1000 * SECOND_NS;
    breaker_recall(&b, &BREAKER, failures, now - since_s * SECOND_NS, now, random);
    return b;
}

static void recalled_breaker_goes_on_where_it_was(void) {
    int64_t now = 1000 * SECOND_NS, wait;
    bool probe;
    struct breaker b = recalled(2, 1, 0);
    CHECK(breaker_allows(&b, now, &probe, &wait) && !probe);
    breaker_report(&b, &BREAKER, now, false); // the third
    CHECK(!breaker_allows(&b, now, &probe, &wait));
    for (uint64_t random = 0; random < 64; random++) {
        b = recalled(3, 600, random * 0x0400000000000001u);
        CHECK_INT(b.phase, BREAKER_OPEN);
        CHECK(b.until_ns >= now && b.until_ns <= now + BREAKER.cooldown_max_ms * 1000000);
        CHECK(breaker_allows(&b, b.until_ns, &probe, &wait) && probe);
        breaker_report(&b, &BREAKER, now, false); // down as long as before
        CHECK_INT(b.until_ns, now + BREAKER.cooldown_max_ms * 1000000);
    }
    b = recalled(3, 0, UINT64_MAX); // it has just opened
    CHECK(b.until_ns <= now + BREAKER.cooldown_ms * 1000000);
    CHECK(recalled(3, 600, 1u << 30).until_ns != recalled(3, 600, 1u << 31).until_ns);
    breaker_recall(&b, &(struct breaker_opts){ .cooldown_ms = 1, .cooldown_max_ms = 1 }, 99, 0, now,
                   0);
    CHECK(breaker_allows(&b, now, &probe, &wait) && !probe); // a webhook that has none
}

static void breaker_without_threshold_never_opens(void) {
    struct breaker b = { 0 };
    struct breaker_opts off = { .cooldown_ms = 1000, .cooldown_max_ms = 1000 };
    bool probe;
    int64_t wait;
    for (int i = 0; i < 100; i++) breaker_report(&b, &off, 0, false);
    CHECK(breaker_allows(&b, 0, &probe, &wait));
}

static const struct check_case CASES[] = {
    { "the standard schedule stays within its jitter", standard_schedule_stays_within_its_jitter },
    { "the wish of the receiver is clamped", wish_of_the_receiver_is_clamped },
    { "an exponential schedule grows to its maximum", exponential_schedule_grows_to_its_maximum },
    { "an exponential schedule refuses what is out of range",
      exponential_schedule_refuses_what_is_out_of_range },
    { "retry-after reads seconds", retry_after_reads_seconds },
    { "retry-after reads the three date forms", retry_after_reads_the_three_date_forms },
    { "retry-after refuses what is nearly a date", retry_after_refuses_what_is_nearly_a_date },
    { "rates are read", rates_are_read },
    { "a rate holds over every window", rate_holds_over_every_window },
    { "an unused rate saves up no more than the burst",
      unused_rate_saves_up_no_more_than_the_burst },
    { "an emptied bucket is as empty as a send can leave it",
      emptied_bucket_is_as_empty_as_a_send_can_leave_it },
    { "a breaker opens, probes and doubles", breaker_opens_probes_and_doubles },
    { "a probe that said nothing is made again", probe_that_said_nothing_is_made_again },
    { "a recalled breaker goes on where it was", recalled_breaker_goes_on_where_it_was },
    { "a breaker without a threshold never opens", breaker_without_threshold_never_opens },
};

CHECK_MAIN(CASES)
