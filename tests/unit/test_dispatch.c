// The dispatcher, rule by rule: a fake clock and rows made up on the spot.
#include "dispatch.h"

#include "check.h"

static const int64_t MS = 1000000, SEC = 1000000000;
static const int64_t T0 = 1764000000ll * 1000000000;

static int forgotten;
static void on_forget(void *user, void *payload) {
    (void)user, (void)payload;
    forgotten++;
}

static struct dispatch *make(unsigned in_flight, size_t window, size_t total) {
    forgotten = 0;
    return dispatch_new(&(struct dispatch_opts){ .in_flight_max = in_flight,
                                                 .window = window,
                                                 .window_total = total,
                                                 .keys_max = 1000,
                                                 .forget = on_forget });
}

static const struct dispatch_limits PLAIN = {
    .concurrency = 8,
    .breaker = { .threshold = 3, .cooldown_ms = 1000, .cooldown_max_ms = 8000 },
};

static struct dispatch_queue *queue(struct dispatch *d, int64_t hook,
                                    const struct dispatch_limits *limits) {
    struct dispatch_queue *q = dispatch_queue_new(d, hook, NULL);
    CHECK(dispatch_queue_limit(q, limits, T0));
    dispatch_queue_hold(q, false, T0);
    return q;
}

static struct dispatch_item item(int64_t delivery, int64_t now) {
    return (
        struct dispatch_item){ .delivery = delivery, .due_ms = now / MS, .created_ms = now / MS };
}

static bool add(struct dispatch_queue *q, int64_t delivery, int64_t now) {
    struct dispatch_item it = item(delivery, now);
    return dispatch_add(q, &it, now);
}

static bool add_keyed(struct dispatch_queue *q, int64_t delivery, const char *key, int64_t now) {
    struct dispatch_item it = item(delivery, now);
    it.order_key = slice_str(key);
    return dispatch_add(q, &it, now);
}

static void settle(struct dispatch_entry *e, enum health health, int64_t now) {
    dispatch_done(
        e,
        &(struct dispatch_result){ .settled = true, .attempts = e->attempts + 1, .health = health },
        now);
}

static void retry(struct dispatch_entry *e, int64_t due_ms, int64_t now) {
    dispatch_done(e,
                  &(struct dispatch_result){ .due_ms = due_ms,
                                             .stored_due_ms = due_ms,
                                             .attempts = e->attempts + 1,
                                             .health = HEALTH_BAD },
                  now);
}

// Starts what may start; returns how many, the entries in `out`.
static int drain(struct dispatch *d, struct dispatch_entry **out, int most, int64_t now) {
    int n = 0;
    while (n < most && (out[n] = dispatch_next(d, now))) n++;
    return n;
}

static void feed(struct dispatch *d, const struct dispatch_item *rows, size_t count, int64_t now) {
    struct dispatch_fetch f;
    for (int guard = 0; guard < 100 && dispatch_wants(d, &f); guard++) {
        size_t given = 0;
        for (size_t i = 0; i < count && given < f.limit; i++) {
            if (rows[i].due_ms < f.after_due_ms ||
                (rows[i].due_ms == f.after_due_ms && rows[i].delivery <= f.after_delivery))
                continue;
            dispatch_fetched(f.queue, &rows[i], now);
            given++;
        }
        dispatch_fetch_done(f.queue, given, f.limit, now);
    }
}

static void first_come_first_sent(void) {
    struct dispatch *d = make(100, 64, 1000);
    struct dispatch_queue *q = queue(d, 1, &PLAIN);
    for (int i = 1; i <= 20; i++) CHECK(add(q, i, T0));
    for (int i = 1; i <= 20; i++) {
        struct dispatch_entry *e = dispatch_next(d, T0);
        CHECK(e && e->delivery == i);
        if (e) settle(e, HEALTH_GOOD, T0);
    }
    CHECK(!dispatch_next(d, T0));
    CHECK(dispatch_idle(d, T0 / MS + 1000000));
    CHECK(dispatch_wake_ns(d) == INT64_MAX); // nothing to wake up for
    dispatch_free(d);
}

static void concurrency_holds_for_queue_and_all(void) {
    struct dispatch *d = make(10, 64, 1000);
    struct dispatch_queue *a = queue(d, 1, &PLAIN), *b = queue(d, 2, &PLAIN);
    struct dispatch_entry *e[64];
    add(a, 200, T0), add(b, 201, T0);
    for (int i = 0; i < 2; i++) settle(dispatch_next(d, T0), HEALTH_GOOD, T0);
    for (int i = 0; i < 20; i++) add(a, 1 + i, T0);
    int n = drain(d, e, 64, T0);
    CHECK(n <= 8 && n >= 4);
    for (int i = 0; i < 20; i++) add(b, 100 + i, T0);
    n += drain(d, e + n, 64 - n, T0);
    CHECK(n <= 10 && dispatch_in_flight(d) == (unsigned)n);
    CHECK(dispatch_queue_stats(b).in_flight >= 1); // a left something
    for (int i = 0; i < n; i++) settle(e[i], HEALTH_GOOD, T0);
    CHECK(dispatch_next(d, T0));
    dispatch_free(d);
}

static void rate_holds_and_says_when(void) {
    struct dispatch *d = make(100, 64, 1000);
    struct dispatch_limits limits = PLAIN;
    limits.rate = (struct rate){ 10, 1000, 1 };
    struct dispatch_queue *q = queue(d, 1, &limits);
    for (int i = 1; i <= 30; i++) add(q, i, T0);
    int64_t now = T0;
    for (int i = 0; i < 30; i++) {
        struct dispatch_entry *e = dispatch_next(d, now);
        CHECK(e);
        if (!e) break;
        settle(e, HEALTH_GOOD, now);
        CHECK(!dispatch_next(d, now));
        if (i < 29) CHECK_INT(dispatch_wake_ns(d) - now, SEC / 10);
        now += SEC / 10;
    }
    dispatch_free(d);
}

static void retry_waits_for_its_time(void) {
    struct dispatch *d = make(100, 64, 1000);
    struct dispatch_queue *q = queue(d, 1, &PLAIN);
    add(q, 1, T0);
    retry(dispatch_next(d, T0), T0 / MS + 5000, T0);
    CHECK(!dispatch_next(d, T0));
    CHECK(dispatch_wake_ns(d) == T0 + 5 * SEC);
    CHECK(dispatch_idle(d, T0 / MS + 4999) && !dispatch_idle(d, T0 / MS + 5000));
    CHECK(!dispatch_next(d, T0 + 5 * SEC - 1));
    struct dispatch_entry *e = dispatch_next(d, T0 + 5 * SEC);
    CHECK(e && e->attempts == 1);
    dispatch_free(d);
}

static void far_retry_goes_to_disk_and_comes_back(void) {
    struct dispatch *d = make(100, 64, 1000);
    struct dispatch_queue *q = queue(d, 1, &PLAIN);
    static int payload;
    struct dispatch_item it = item(1, T0);
    it.payload = &payload;
    CHECK(dispatch_add(q, &it, T0));
    int64_t due = T0 / MS + 7200000;
    retry(dispatch_next(d, T0), due, T0);
    CHECK_INT(dispatch_in_memory(d), 0);
    CHECK_INT(forgotten, 1);
    struct dispatch_fetch f;
    CHECK(!dispatch_wants(d, &f)); // not before it is due
    int64_t wake = dispatch_wake_ns(d);
    CHECK(wake > T0 + 7100 * SEC && wake <= due * MS);
    CHECK(!dispatch_next(d, wake));
    it.due_ms = due, it.attempts = 1, it.payload = NULL;
    feed(d, &it, 1, wake);
    CHECK(!dispatch_next(d, due * MS - 1));
    struct dispatch_entry *e = dispatch_next(d, due * MS);
    CHECK(e && e->delivery == 1 && e->attempts == 1);
    if (e) settle(e, HEALTH_GOOD, due * MS);
    CHECK(dispatch_idle(d, INT64_MAX / MS));
    dispatch_free(d);
}

static void breaker_leaves_a_dead_endpoint_alone(void) {
    struct dispatch *d = make(100, 64, 1000);
    struct dispatch_queue *q = queue(d, 1, &PLAIN);
    for (int i = 1; i <= 20; i++) add(q, i, T0);
    struct dispatch_entry *e[32];
    CHECK_INT(drain(d, e, 32, T0), 8);
    for (int i = 0; i < 8; i++) retry(e[i], T0 / MS + 5000, T0);
    CHECK(!dispatch_next(d, T0));
    CHECK_INT(dispatch_queue_stats(q).breaker, BREAKER_OPEN);
    CHECK(dispatch_idle(d, T0 / MS + 999) && !dispatch_idle(d, T0 / MS + 1000));
    int64_t now = T0 + SEC;
    CHECK(dispatch_wake_ns(d) == now);
    struct dispatch_entry *probe = dispatch_next(d, now);
    CHECK(probe && !dispatch_next(d, now)); // one probe and no more
    retry(probe, now / MS + 5000, now);
    CHECK(!dispatch_next(d, now + 2 * SEC - 1)); // the cooldown doubled
    now += 2 * SEC;
    CHECK((probe = dispatch_next(d, now)));
    settle(probe, HEALTH_GOOD, now);
    CHECK(dispatch_next(d, now));
    dispatch_free(d);
}

static void probe_that_never_reached_the_endpoint_is_repeated(void) {
    struct dispatch *d = make(100, 64, 1000);
    struct dispatch_queue *q = queue(d, 1, &PLAIN);
    struct dispatch_entry *e[8];
    for (int i = 1; i <= 12; i++) add(q, i, T0);
    drain(d, e, 8, T0);
    for (int i = 0; i < 8; i++) retry(e[i], T0 / MS + 60000, T0);
    int64_t now = T0 + SEC;
    settle(dispatch_next(d, now), HEALTH_UNKNOWN, now); // filtered
    struct dispatch_entry *probe = dispatch_next(d, now);
    CHECK(probe && !dispatch_next(d, now));
    dispatch_free(d);
}

// How many start at once after a start of the engine, with thirty waiting.
static int starts_at_once(const struct dispatch_limits *limits, const struct dispatch_past *past) {
    struct dispatch *d = make(100, 64, 1000);
    struct dispatch_queue *q = queue(d, 1, limits);
    if (past) dispatch_queue_recall(q, past, T0);
    for (int i = 1; i <= 30; i++) add(q, i, T0);
    struct dispatch_entry *e[32];
    int n = drain(d, e, 32, T0);
    dispatch_free(d);
    return n;
}

static void burst_is_not_had_twice_over_a_restart(void) {
    struct dispatch_limits limits = PLAIN;
    limits.concurrency = 20;
    limits.rate = (struct rate){ 10, 1000, 5 };
    CHECK_INT(starts_at_once(&limits, NULL), 5);
    struct dispatch_past past = { .attempt_ms = 0 };
    CHECK_INT(starts_at_once(&limits, &past), 5); // new: a whole burst
    past.attempt_ms = T0 / MS;
    CHECK_INT(starts_at_once(&limits, &past), 0);
    past.attempt_ms = T0 / MS - 200; // two tokens have come since
    CHECK_INT(starts_at_once(&limits, &past), 2);
    past.attempt_ms = T0 / MS - 3600 * 1000;
    CHECK_INT(starts_at_once(&limits, &past), 5);
    past.attempt_ms = T0 / MS + 3600 * 1000; // the clock was set back
    CHECK_INT(starts_at_once(&limits, &past), 0);
    struct dispatch *d = make(100, 64, 1000);
    struct dispatch_queue *q = queue(d, 1, &limits);
    dispatch_queue_recall(q, &past, T0);
    for (int i = 1; i <= 30; i++) add(q, i, T0);
    CHECK_INT(dispatch_wake_ns(d), T0 + SEC / 10);
    CHECK(dispatch_next(d, T0 + SEC / 10) && !dispatch_next(d, T0 + SEC / 10));
    dispatch_free(d);
}

static void dead_endpoint_is_probed_once_after_a_restart(void) {
    struct dispatch_past past = { .failures = 40, .failing_since_ms = T0 / MS - 3600 * 1000 };
    CHECK_INT(starts_at_once(&PLAIN, &past), 1);
    past.random = 1ull << 32; // some 4 s of the cooldown's 8
    CHECK_INT(starts_at_once(&PLAIN, &past), 0);
    past.failures = 1; // not enough to give it up
    CHECK_INT(starts_at_once(&PLAIN, &past), 8);
    struct dispatch *d = make(100, 64, 1000);
    struct dispatch_queue *dead = queue(d, 1, &PLAIN), *well = queue(d, 2, &PLAIN);
    dispatch_queue_recall(dead, &past, T0);
    for (int i = 1; i <= 8; i++) add(dead, i, T0), add(well, 100 + i, T0);
    int first = 0;
    for (int i = 0; i < 8; i++) first += dispatch_next(d, T0)->queue == well;
    CHECK(first >= 6); // it is in doubt from the start
    dispatch_free(d);
}

static void receiver_that_asks_for_a_pause_gets_it(void) {
    struct dispatch *d = make(100, 64, 1000);
    struct dispatch_queue *q = queue(d, 1, &PLAIN);
    add(q, 1, T0), add(q, 2, T0);
    struct dispatch_entry *e = dispatch_next(d, T0);
    dispatch_done(e,
                  &(struct dispatch_result){ .due_ms = T0 / MS + 30000,
                                             .stored_due_ms = T0 / MS + 30000,
                                             .attempts = 1,
                                             .health = HEALTH_BAD,
                                             .hold_ms = 30000 },
                  T0);
    CHECK(!dispatch_next(d, T0 + 30 * SEC - 1));
    CHECK(dispatch_idle(d, T0 / MS + 29999) && !dispatch_idle(d, T0 / MS + 30000));
    CHECK(dispatch_next(d, T0 + 30 * SEC));
    dispatch_free(d);
}

static void held_queue_starts_nothing(void) {
    struct dispatch *d = make(100, 64, 1000);
    struct dispatch_queue *q = queue(d, 1, &PLAIN);
    add(q, 1, T0);
    dispatch_queue_hold(q, true, T0);
    CHECK(!dispatch_next(d, T0) && dispatch_idle(d, INT64_MAX / MS));
    CHECK(!add(q, 2, T0)); // stays on disk
    CHECK(dispatch_wake_ns(d) == INT64_MAX);
    dispatch_queue_hold(q, false, T0);
    dispatch_queue_reset(q, true, T0);
    struct dispatch_item rows[] = { item(1, T0), item(2, T0) };
    feed(d, rows, 2, T0);
    struct dispatch_entry *e[4];
    CHECK_INT(drain(d, e, 4, T0), 2);
    dispatch_free(d);
}

static void next_of_a_key_waits_for_the_earlier_one(void) {
    struct dispatch *d = make(100, 64, 1000);
    struct dispatch_limits limits = PLAIN;
    limits.ordered = true;
    struct dispatch_queue *q = queue(d, 1, &limits);
    add_keyed(q, 1, "a", T0), add_keyed(q, 2, "a", T0), add_keyed(q, 3, "b", T0);
    add_keyed(q, 4, "a", T0);
    struct dispatch_entry *e[8];
    CHECK_INT(drain(d, e, 8, T0), 2);
    CHECK(e[0]->delivery == 1 && e[1]->delivery == 3);
    retry(e[0], T0 / MS + 5000, T0); // not settled: 2 still waits
    CHECK(!dispatch_next(d, T0));
    int64_t now = T0 + 5 * SEC;
    struct dispatch_entry *first = dispatch_next(d, now);
    CHECK(first && first->delivery == 1 && !dispatch_next(d, now));
    settle(first, HEALTH_BAD, now); // its attempts are used up: it steps aside
    CHECK((first = dispatch_next(d, now)) && first->delivery == 2);
    CHECK(!dispatch_next(d, now));
    settle(first, HEALTH_GOOD, now);
    CHECK((first = dispatch_next(d, now)) && first->delivery == 4);
    dispatch_free(d);
}

static void key_is_held_by_a_retry_on_disk(void) {
    struct dispatch *d = make(100, 64, 1000);
    struct dispatch_limits limits = PLAIN;
    limits.ordered = true;
    struct dispatch_queue *q = queue(d, 1, &limits);
    add_keyed(q, 1, "a", T0);
    int64_t due = T0 / MS + 7200000;
    retry(dispatch_next(d, T0), due, T0);
    CHECK_INT(dispatch_in_memory(d), 0);
    CHECK(add_keyed(q, 2, "a", T0));
    CHECK(!dispatch_next(d, T0));
    struct dispatch_item row = item(1, due * MS);
    row.attempts = 1, row.order_key = S("a");
    CHECK(!dispatch_next(d, due * MS));
    feed(d, &row, 1, due * MS);
    struct dispatch_entry *e = dispatch_next(d, due * MS);
    CHECK(e && e->delivery == 1);
    settle(e, HEALTH_GOOD, due * MS);
    CHECK((e = dispatch_next(d, due * MS)) && e->delivery == 2);
    dispatch_free(d);
}

static void order_is_read_back_after_a_restart(void) {
    struct dispatch *d = make(100, 64, 1000);
    struct dispatch_limits limits = PLAIN;
    limits.ordered = true;
    struct dispatch_queue *q = queue(d, 1, &limits);
    struct dispatch_item rows[] = { item(2, T0), item(1, T0 + 5000 * MS) };
    rows[1].attempts = 1; // tried before the restart, due after 2
    rows[0].order_key = rows[1].order_key = S("a");
    dispatch_queue_reset(q, true, T0);
    feed(d, rows, 2, T0);
    CHECK(!dispatch_next(d, T0)); // 2 must not overtake 1
    int64_t now = T0 + 5000 * MS;
    CHECK(!dispatch_next(d, now));
    feed(d, rows, 2, now);
    struct dispatch_entry *e = dispatch_next(d, now);
    CHECK(e && e->delivery == 1);
    settle(e, HEALTH_GOOD, now);
    CHECK((e = dispatch_next(d, now)) && e->delivery == 2);
    dispatch_free(d);
}

static void fan_out_goes_right_behind_its_source(void) {
    struct dispatch *d = make(100, 64, 1000);
    struct dispatch_limits limits = PLAIN;
    limits.ordered = true;
    struct dispatch_queue *q = queue(d, 1, &limits);
    add_keyed(q, 1, "a", T0), add_keyed(q, 2, "a", T0);
    struct dispatch_entry *e = dispatch_next(d, T0);
    struct dispatch_item second = item(4, T0), first = item(3, T0);
    CHECK(dispatch_add_behind(e, &second, T0) && dispatch_add_behind(e, &first, T0));
    CHECK(!dispatch_next(d, T0));
    settle(e, HEALTH_GOOD, T0);
    static const int want[] = { 3, 4, 2 };
    for (int i = 0; i < 3; i++) {
        e = dispatch_next(d, T0);
        CHECK(e && e->delivery == want[i]);
        if (e) settle(e, HEALTH_GOOD, T0);
    }
    dispatch_free(d);
}

static void organizations_then_webhooks_take_turns(void) {
    struct dispatch *d = make(1, 2000, 100000);
    struct dispatch_limits limits = PLAIN;
    limits.org = S("big");
    struct dispatch_queue *big[3];
    for (int i = 0; i < 3; i++) big[i] = queue(d, 1 + i, &limits);
    limits.org = S("small");
    struct dispatch_queue *small = queue(d, 9, &limits);
    for (int i = 0; i < 300; i++) add(big[i % 3], 1 + i, T0);
    for (int i = 0; i < 40; i++) add(small, 1000 + i, T0);
    int of_small = 0, of[3] = { 0 };
    for (int i = 0; i < 60; i++) {
        struct dispatch_entry *e = dispatch_next(d, T0);
        if (e->queue == small)
            of_small++;
        else
            of[dispatch_queue_hook(e->queue) - 1]++;
        settle(e, HEALTH_GOOD, T0);
    }
    CHECK_INT(of_small, 30);
    CHECK(of[0] == 10 && of[1] == 10 && of[2] == 10);
    dispatch_free(d);
}

// A thousand dead endpoints have something to start; a healthy one's turn comes at
// once, and theirs do not end.
static void healthy_one_does_not_wait_for_the_dead(void) {
    struct dispatch *d = make(1, 64, 100000);
    struct dispatch_limits limits = PLAIN;
    limits.breaker.threshold = 0;
    struct dispatch_queue *good = queue(d, 5000, &limits);
    for (int i = 0; i < 1000; i++) {
        struct dispatch_queue *dead = queue(d, 1 + i, &limits);
        for (int k = 0; k < 3; k++) add(dead, 10000 + i * 3 + k, T0);
    }
    for (int i = 0; i < 1400; i++) settle(dispatch_next(d, T0), HEALTH_BAD, T0); // now it shows
    int healthy = 0;
    for (int i = 0; i < 200; i++) {
        add(good, 1 + i, T0);
        struct dispatch_entry *e = dispatch_next(d, T0);
        if (e->queue != good) { // one turn in four
            settle(e, HEALTH_BAD, T0);
            e = dispatch_next(d, T0);
        }
        CHECK(e->queue == good);
        healthy += e->queue == good;
        settle(e, HEALTH_GOOD, T0);
    }
    CHECK_INT(healthy, 200);
    int dead = 0;
    for (int i = 0; i < 100; i++) { // a healthy one that always wants its turn
        add(good, 1000 + i, T0);
        struct dispatch_entry *e = dispatch_next(d, T0);
        dead += e->queue != good;
        settle(e, e->queue == good ? HEALTH_GOOD : HEALTH_BAD, T0);
    }
    CHECK_INT(dead, 25);
    dispatch_free(d);
}

// 100 endpoints hang; one that works still gets its slots at once.
static void hanging_endpoints_leave_slots_for_the_healthy(void) {
    struct dispatch *d = make(64, 64, 100000);
    struct dispatch_queue *good = queue(d, 500, &PLAIN);
    add(good, 1, T0);
    settle(dispatch_next(d, T0), HEALTH_GOOD, T0);
    struct dispatch_entry *e[256];
    for (int i = 0; i < 100; i++) {
        struct dispatch_queue *q = queue(d, 1 + i, &PLAIN);
        for (int k = 0; k < 20; k++) add(q, 1000 + i * 20 + k, T0);
    }
    int hanging = drain(d, e, 256, T0);
    CHECK(hanging <= 48);
    for (int i = 0; i < 8; i++) add(good, 10 + i, T0);
    struct dispatch_entry *g[8];
    CHECK_INT(drain(d, g, 8, T0), 8);
    for (int i = 0; i < 8; i++) CHECK(g[i]->queue == good);
    for (int i = 0; i < 8; i++) settle(g[i], HEALTH_GOOD, T0);
    // The others are not forgotten: every end of one lets another begin.
    int seen = hanging;
    for (int i = 0; i < 1000 && seen < 300; i++) {
        settle(e[i % hanging], HEALTH_UNKNOWN, T0);
        e[i % hanging] = dispatch_next(d, T0);
        CHECK(e[i % hanging]);
        if (!e[i % hanging]) break;
        seen++;
    }
    CHECK_INT(seen, 300);
    dispatch_free(d);
}

static void redeliveries_yield_to_live_traffic(void) {
    struct dispatch *d = make(1, 256, 5000);
    struct dispatch_queue *q = queue(d, 1, &PLAIN);
    struct dispatch_item rows[100];
    for (int i = 0; i < 100; i++) rows[i] = item(1 + i, T0), rows[i].replay = true;
    dispatch_queue_more(q, T0 / MS, 1, true, T0);
    feed(d, rows, 100, T0);
    int live = 0, replays = 0;
    int64_t now = T0 + SEC;
    for (int i = 0; i < 100; i++, now += SEC / 10) {
        CHECK(add(q, 1000 + i, now)); // live traffic passes what is on disk
        struct dispatch_entry *e = dispatch_next(d, now);
        CHECK(e);
        if (!e) break;
        *(e->replay ? &replays : &live) += 1;
        settle(e, HEALTH_GOOD, now);
        feed(d, rows, 100, now);
    }
    CHECK(live >= 50 && replays >= 40);
    dispatch_free(d);
}

static void redeliveries_are_paced(void) {
    struct dispatch *d = make(1000, 4000, 100000);
    struct dispatch_limits limits = PLAIN;
    limits.concurrency = 1000;
    struct dispatch_queue *q = queue(d, 1, &limits);
    static struct dispatch_item rows[2000];
    for (int i = 0; i < 2000; i++) rows[i] = item(1 + i, T0), rows[i].replay = true;
    dispatch_queue_more(q, T0 / MS, 1, true, T0);
    int started = 0;
    for (int64_t now = T0; now < T0 + SEC; now += MS) {
        feed(d, rows, 2000, now);
        for (struct dispatch_entry *e; (e = dispatch_next(d, now)); started++)
            settle(e, HEALTH_GOOD, now);
    }
    CHECK(started >= 100 && started <= 220);
    dispatch_free(d);
}

static int by_due(const void *a, const void *b) {
    const struct dispatch_item *x = a, *y = b;
    if (x->due_ms != y->due_ms) return x->due_ms < y->due_ms ? -1 : 1;
    return x->delivery < y->delivery ? -1 : x->delivery > y->delivery;
}

// As a store would: what is not done yet, by due time.
static void feed_undone(struct dispatch *d, const struct dispatch_item *rows, size_t count,
                        const bool *done, int64_t now) {
    static struct dispatch_item open[20000];
    struct dispatch_fetch f;
    while (dispatch_wants(d, &f)) {
        size_t left = 0;
        for (size_t i = 0; i < count; i++)
            if (!done[rows[i].delivery] &&
                (rows[i].due_ms > f.after_due_ms ||
                 (rows[i].due_ms == f.after_due_ms && rows[i].delivery > f.after_delivery)))
                open[left++] = rows[i];
        qsort(open, left, sizeof *open, by_due);
        if (left > f.limit) left = f.limit;
        for (size_t i = 0; i < left; i++) dispatch_fetched(f.queue, &open[i], now);
        dispatch_fetch_done(f.queue, left, f.limit, now);
    }
}

// An endpoint that gets an event every `every_ms`, is down until `up_ms` and well
// from then on; events stop at `quiet_from_ms`.
struct outage {
    int64_t every_ms, up_ms, quiet_from_ms, end_ms;
    int peak;       // deliveries in one second
    int fresh_late; // of the events after the outage, more than a second late
    int total, events;
};

// A try at a time of the outage, or a delivery.
static void try_it(struct outage *o, struct dispatch_entry *e, struct dispatch_item *row,
                   int64_t ms, bool *done) {
    int64_t now = T0 + ms * MS;
    if (ms < o->up_ms) {
        row->attempts++;
        row->due_ms = ms + T0 / MS + 5000;
        retry(e, row->due_ms, now);
        return;
    }
    o->total++;
    o->fresh_late +=
        ms - (row->created_ms - T0 / MS) > 1000 && row->created_ms > T0 / MS + o->up_ms + 10000;
    done[row->delivery] = true;
    settle(e, HEALTH_GOOD, now);
}

// `before`: rows of a life before, which the queue never saw arrive.
static void run_outage(struct outage *o, int before) {
    struct dispatch *d = make(1000, 1024, 65536);
    struct dispatch_limits limits = PLAIN;
    limits.concurrency = 100;
    struct dispatch_queue *q = queue(d, 1, &limits);
    static struct dispatch_item rows[20000];
    static bool done[20001];
    memset(done, 0, sizeof done);
    int before_second = 0;
    for (; o->events < before; o->events++) rows[o->events] = item(o->events + 1, T0);
    dispatch_queue_reset(q, before > 0, T0);
    for (int64_t ms = 0; ms < o->end_ms; ms++) {
        int64_t now = T0 + ms * MS;
        if (ms % o->every_ms == 0 && ms < o->quiet_from_ms) {
            rows[o->events] = item(o->events + 1, now);
            dispatch_add(q, &rows[o->events], now);
            o->events++;
        }
        feed_undone(d, rows, (size_t)o->events, done, now);
        for (struct dispatch_entry *e; (e = dispatch_next(d, now));)
            try_it(o, e, &rows[e->delivery - 1], ms, done);
        if (ms % 1000 != 999) continue;
        if (o->total - before_second > o->peak) o->peak = o->total - before_second;
        before_second = o->total;
    }
    dispatch_free(d);
}

static void backlog_drains_at_most_at_twice_the_normal_rate(void) {
    static const int a_second[] = { 100, 10, 2 };
    for (size_t i = 0; i < 3; i++) {
        struct outage o = { .every_ms = 1000 / a_second[i],
                            .up_ms = 60000,
                            .quiet_from_ms = 150000,
                            .end_ms = 150000 };
        run_outage(&o, 0);
        CHECK(o.peak <= 2 * a_second[i] + 1); // one may fall on the second's edge
        CHECK_INT(o.fresh_late, 0);           // live traffic never waited behind the backlog
        CHECK(o.total >= o.events - 1);       // and the backlog is gone
    }
}

static void quiet_endpoint_gets_its_backlog_at_one_a_second(void) {
    struct outage o = {
        .every_ms = 5000, .up_ms = 100000, .quiet_from_ms = 150000, .end_ms = 150000
    };
    run_outage(&o, 0);
    CHECK(o.peak <= 2);
    CHECK(o.total >= o.events - 1);
}

static void silence_during_an_outage_does_not_slow_the_way_back(void) {
    struct outage o = { .every_ms = 50, .up_ms = 120000, .quiet_from_ms = 50000, .end_ms = 220000 };
    run_outage(&o, 0); // 1,000 events, then nothing for 70 s
    CHECK(o.peak <= 21);
    CHECK_INT(o.total, 1000);
}

// After a restart nothing is known of its traffic: from little to much.
static void backlog_of_an_unknown_endpoint_starts_slowly(void) {
    struct outage o = { .every_ms = 1, .up_ms = 10000, .end_ms = 30000 };
    run_outage(&o, 3000);
    CHECK(o.peak >= 2 && o.peak <= 8);
    o = (struct outage){ .every_ms = 1, .up_ms = 10000, .end_ms = 110000 };
    run_outage(&o, 3000);
    CHECK_INT(o.total, 3000);
    CHECK(o.peak <= 201);
}

static void page_that_cannot_be_read_is_asked_for_again_later(void) {
    for (int ordered = 0; ordered < 2; ordered++) { // then the order is read first
        struct dispatch *d = make(100, 64, 1000);
        struct dispatch_limits limits = PLAIN;
        limits.ordered = ordered;
        struct dispatch_queue *q = queue(d, 1, &limits);
        struct dispatch_item rows[4];
        for (int i = 0; i < 4; i++) rows[i] = item(1 + i, T0);
        dispatch_queue_reset(q, true, T0);
        struct dispatch_fetch f;
        CHECK(dispatch_wants(d, &f));
        if (!ordered) dispatch_fetched(q, &rows[0], T0);
        dispatch_fetch_failed(q, T0);
        CHECK(!dispatch_wants(d, &f));
        struct dispatch_entry *e = dispatch_next(d, T0); // what was read goes out
        CHECK(!e == !!ordered);
        if (e) settle(e, HEALTH_GOOD, T0);
        CHECK_INT(dispatch_wake_ns(d), T0 + SEC);
        CHECK(!dispatch_next(d, T0 + SEC)); // its timer makes it want the page again
        feed(d, rows, 4, T0 + SEC);
        struct dispatch_entry *rest[8];
        CHECK_INT(drain(d, rest, 8, T0 + SEC), ordered ? 4 : 3);
        dispatch_free(d);
    }
}

static void memory_is_bounded_and_the_rest_stays_on_disk(void) {
    struct dispatch *d = make(100, 64, 256);
    struct dispatch_queue *q[50];
    struct dispatch_limits limits = PLAIN;
    for (int i = 0; i < 50; i++) q[i] = queue(d, 1 + i, &limits);
    static struct dispatch_item rows[50][200];
    int kept = 0;
    for (int k = 0; k < 200; k++)
        for (int i = 0; i < 50; i++) {
            rows[i][k] = item(1 + i * 200 + k, T0 + k * MS);
            kept += dispatch_add(q[i], &rows[i][k], T0 + k * MS);
        }
    CHECK(kept >= 256 && kept <= 256 + 50 * 8);
    CHECK_INT(dispatch_in_memory(d), kept);
    static bool seen[10001];
    memset(seen, 0, sizeof seen);
    int sent = 0;
    int64_t now = T0 + SEC, last[50] = { 0 };
    for (int turn = 0; turn < 20000 && sent < 10000; turn++) {
        struct dispatch_entry *e = dispatch_next(d, now);
        if (e) {
            int64_t of = dispatch_queue_hook(e->queue) - 1;
            CHECK(!seen[e->delivery] && e->delivery > last[of]); // once, and in order
            last[of] = e->delivery;
            seen[e->delivery] = true;
            sent++;
            settle(e, HEALTH_GOOD, now);
        }
        CHECK(dispatch_in_memory(d) <= 256 + 50 * 16);
        struct dispatch_fetch f;
        while (dispatch_wants(d, &f)) {
            int64_t of = dispatch_queue_hook(f.queue) - 1;
            size_t given = 0;
            for (int k = 0; k < 200 && given < f.limit; k++) {
                struct dispatch_item *row = &rows[of][k];
                if (seen[row->delivery] || row->due_ms < f.after_due_ms ||
                    (row->due_ms == f.after_due_ms && row->delivery <= f.after_delivery))
                    continue;
                dispatch_fetched(f.queue, row, now);
                given++;
            }
            dispatch_fetch_done(f.queue, given, f.limit, now);
        }
    }
    CHECK_INT(sent, 10000);
    CHECK_INT(dispatch_in_memory(d), 0);
    CHECK(dispatch_idle(d, INT64_MAX / MS));
    dispatch_free(d);
}

static void idle_dispatcher_frees_what_it_holds(void) {
    struct dispatch *d = make(10, 64, 1000);
    struct dispatch_limits limits = PLAIN;
    limits.ordered = true;
    struct dispatch_queue *q = queue(d, 1, &limits);
    static int payload;
    for (int i = 1; i <= 30; i++) {
        struct dispatch_item it = item(i, T0);
        it.order_key = i % 2 ? S("odd") : S("even");
        it.payload = &payload;
        CHECK(dispatch_add(q, &it, T0));
    }
    CHECK(dispatch_next(d, T0) && dispatch_next(d, T0));
    dispatch_free(d);
    CHECK_INT(forgotten, 30);
}

static const struct check_case CASES[] = {
    { "first come, first sent", first_come_first_sent },
    { "concurrency holds for a queue and for all", concurrency_holds_for_queue_and_all },
    { "a rate holds and says when", rate_holds_and_says_when },
    { "a retry waits for its time", retry_waits_for_its_time },
    { "a far retry goes to disk and comes back", far_retry_goes_to_disk_and_comes_back },
    { "the breaker leaves a dead endpoint alone", breaker_leaves_a_dead_endpoint_alone },
    { "a probe that never reached the endpoint is repeated",
      probe_that_never_reached_the_endpoint_is_repeated },
    { "a burst is not had twice over a restart", burst_is_not_had_twice_over_a_restart },
    { "a dead endpoint is probed once after a restart",
      dead_endpoint_is_probed_once_after_a_restart },
    { "a receiver that asks for a pause gets it", receiver_that_asks_for_a_pause_gets_it },
    { "a held queue starts nothing", held_queue_starts_nothing },
    { "the next of a key waits for the earlier one", next_of_a_key_waits_for_the_earlier_one },
    { "a key is held by a retry on disk", key_is_held_by_a_retry_on_disk },
    { "the order is read back after a restart", order_is_read_back_after_a_restart },
    { "a fan-out goes right behind its source", fan_out_goes_right_behind_its_source },
    { "a healthy one does not wait for the dead", healthy_one_does_not_wait_for_the_dead },
    { "organizations, then webhooks, take turns", organizations_then_webhooks_take_turns },
    { "hanging endpoints leave slots for the healthy",
      hanging_endpoints_leave_slots_for_the_healthy },
    { "redeliveries yield to live traffic", redeliveries_yield_to_live_traffic },
    { "redeliveries are paced", redeliveries_are_paced },
    { "a backlog drains at most at twice the normal rate",
      backlog_drains_at_most_at_twice_the_normal_rate },
    { "a quiet endpoint gets its backlog at one a second",
      quiet_endpoint_gets_its_backlog_at_one_a_second },
    { "silence during an outage does not slow the way back",
      silence_during_an_outage_does_not_slow_the_way_back },
    { "the backlog of an unknown endpoint starts slowly",
      backlog_of_an_unknown_endpoint_starts_slowly },
    { "a page that cannot be read is asked for again later",
      page_that_cannot_be_read_is_asked_for_again_later },
    { "memory is bounded and the rest stays on disk",
      memory_is_bounded_and_the_rest_stays_on_disk },
    { "payloads are given back when it is freed", idle_dispatcher_frees_what_it_holds },
};

CHECK_MAIN(CASES)
