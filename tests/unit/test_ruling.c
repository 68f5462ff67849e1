// What each verdict means for a delivery and its webhook.
#include "ruling.h"

#include "check.h"

static const int64_t NOW = 1764000000000, HOUR = 3600000;
static struct retry retry;

static struct ruling_case a_case(enum verdict verdict, uint32_t attempt) {
    retry = (struct retry){ .steps_ms = { 1000, 2000 }, .steps_count = 2 };
    return (struct ruling_case){ .verdict = verdict,
                                 .attempt = attempt,
                                 .attempted = true,
                                 .retry_after_ms = -1,
                                 .retry = &retry,
                                 .now_ms = NOW };
}

static void retries_follow_the_schedule_to_its_end(void) {
    struct ruling_case c = a_case(VERDICT_RETRY, 1);
    struct ruling r = rule(&c);
    CHECK(r.state == DELIVERY_PENDING && r.due_ms == NOW + 1000 && r.attempts == 1);
    CHECK_INT(r.health, HEALTH_BAD);
    c.attempt = 2;
    CHECK_INT(rule(&c).due_ms, NOW + 2000);
    c.attempt = 3;
    r = rule(&c);
    CHECK(r.state == DELIVERY_EXHAUSTED && r.attempts == 3);
}

static void receivers_that_ask_for_a_pause_hold_their_queue(void) {
    struct ruling_case c = a_case(VERDICT_RETRY, 1);
    c.retry_after_ms = 30000;
    c.status = 500;
    struct ruling r = rule(&c);
    CHECK(r.due_ms == NOW + 30000 && r.hold_ms == 0); // it spoke of this delivery alone
    c.status = 429;
    CHECK_INT(rule(&c).hold_ms, 30000);
    c.status = 503;
    c.retry_after_ms = 100 * HOUR;
    r = rule(&c);
    CHECK(r.hold_ms == HOUR && r.due_ms == NOW + 24 * HOUR);
}

static void only_the_network_judges_an_endpoint(void) {
    static const struct {
        enum verdict verdict;
        enum delivery_state state;
        enum health health;
    } cases[] = {
        { VERDICT_DELIVERED, DELIVERY_DELIVERED, HEALTH_GOOD },
        { VERDICT_FAIL, DELIVERY_EXHAUSTED, HEALTH_BAD },
        { VERDICT_DISABLE, DELIVERY_PARKED, HEALTH_BAD },
        { VERDICT_FILTERED, DELIVERY_FILTERED, HEALTH_UNKNOWN },
        { VERDICT_PARK, DELIVERY_PARKED, HEALTH_UNKNOWN },
        { VERDICT_DROP, DELIVERY_DROPPED, HEALTH_UNKNOWN },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct ruling_case c = a_case(cases[i].verdict, 1);
        struct ruling r = rule(&c);
        CHECK_INT(r.state, cases[i].state);
        CHECK_INT(r.health, cases[i].health);
        CHECK_INT(r.disable, cases[i].verdict == VERDICT_DISABLE);
    }
    struct ruling_case c = a_case(VERDICT_FAIL, 1);
    c.attempted = false; // refused before anything was sent
    CHECK(rule(&c).health == HEALTH_UNKNOWN && rule(&c).attempts == 0);
}

static void our_own_trouble_leaves_the_row_alone(void) {
    struct ruling_case c = a_case(VERDICT_LOCAL, 3);
    c.attempted = false;
    struct ruling r = rule(&c);
    CHECK(r.state == DELIVERY_PENDING && r.unchanged && r.attempts == 2);
    CHECK(r.due_ms > NOW && r.due_ms < NOW + 1000); // recovery within a second
    CHECK_INT(r.health, HEALTH_UNKNOWN);
}

static void disabled_webhook_parks_what_would_go_on(void) {
    struct ruling_case c = a_case(VERDICT_RETRY, 1);
    c.held = true;
    CHECK_INT(rule(&c).state, DELIVERY_PARKED);
    c.attempt = 3;
    CHECK_INT(rule(&c).state, DELIVERY_EXHAUSTED);
    c = a_case(VERDICT_LOCAL, 1);
    c.held = true;
    CHECK(rule(&c).state == DELIVERY_PARKED && !rule(&c).unchanged);
}

static void failures_of_five_days_disable(void) {
    struct failing f = { 0 };
    for (int i = 0; i < 20; i++) CHECK(!failing_note(&f, HEALTH_BAD, NOW + i * 6 * HOUR));
    CHECK(failing_note(&f, HEALTH_BAD, NOW + 120 * HOUR));
    CHECK(!failing_note(&f, HEALTH_GOOD, NOW + 121 * HOUR)); // one success forgives all
    CHECK(!failing_note(&f, HEALTH_BAD, NOW + 122 * HOUR));
    CHECK_INT(f.since_ms, NOW + 122 * HOUR);
    struct failing few = { 0 };
    for (int i = 0; i < 9; i++) CHECK(!failing_note(&few, HEALTH_BAD, NOW + i * 30 * HOUR));
    CHECK(failing_note(&few, HEALTH_BAD, NOW + 300 * HOUR)); // the tenth
    struct failing neither = few;
    CHECK(!failing_note(&neither, HEALTH_UNKNOWN, NOW + 400 * HOUR));
    CHECK_INT(neither.failures, few.failures);
}

static const struct check_case CASES[] = {
    { "retries follow the schedule to its end", retries_follow_the_schedule_to_its_end },
    { "receivers that ask for a pause hold their queue",
      receivers_that_ask_for_a_pause_hold_their_queue },
    { "only the network judges an endpoint", only_the_network_judges_an_endpoint },
    { "our own trouble leaves the row alone", our_own_trouble_leaves_the_row_alone },
    { "a disabled webhook parks what would go on", disabled_webhook_parks_what_would_go_on },
    { "failures of five days disable", failures_of_five_days_disable },
};

CHECK_MAIN(CASES)
