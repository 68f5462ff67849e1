// floor: store
// The second half of the store's conformance suite: what is kept beside the
// deliveries, and how old things leave.
#include "store_fixture.h"

static void retire_all(int64_t before_ms, size_t limit, size_t *steps, size_t *total) {
    *steps = *total = 0;
    for (size_t deleted = 1; deleted; (*steps)++) {
        begin();
        CHECK_INT(store_retire(store, before_ms, limit, &deleted, &fail), OK);
        CHECK(deleted <= limit);
        commit();
        *total += deleted;
    }
}

static bool count_attempt(void *user, const struct attempt *a) {
    (void)a;
    ++*(int *)user;
    return true;
}

static void retirement_takes_old_events_whole_and_in_steps(void) {
    start();
    int64_t hook = hook_number("a"), far = INT64_MAX;
    size_t steps, total;
    int64_t deliveries[6];
    for (int i = 0; i < 6; i++) {
        char id[24];
        snprintf(id, sizeof id, "e%d", i);
        deliveries[i] = put_alone(id, hook, 1);
        if (i < 4) settle_attempt(deliveries[i], 2, S("packed"));
    }
    settle(deliveries[4], DELIVERY_PARKED, "held", 1);
    struct event lonely = make_event("nobody listens");
    enum store_put result;
    int64_t number;
    begin();
    CHECK_INT(store_put_event(store, &lonely, NULL, 0, &result, &number, &fail), OK);
    commit();
    reopen();
    retire_all(5000, 3, &steps, &total); // settled at 7000: too young
    CHECK_INT(total, 0);
    retire_all(far, 3, &steps, &total);
    CHECK_INT(total, 4 * 2 + 1);
    CHECK(steps >= 4);
    reopen();
    struct seen seen = list((struct store_filter){ .hook = 0 }, 10);
    CHECK_INT(seen.count, 2); // the parked and the pending one
    struct store_reader *r = store_reader_open(dir, &fail);
    uint64_t events = 0;
    int attempts = 0;
    CHECK_INT(store_reader_event_count(r, &events, &fail), OK);
    CHECK_INT(events, 2);
    CHECK_INT(store_reader_attempts(r, deliveries[0], count_attempt, &attempts, &fail), OK);
    CHECK_INT(attempts, 0);
    store_reader_close(r);
    finish();
}

static void a_retired_number_is_never_given_again(void) {
    start();
    int64_t hook = hook_number("a");
    int64_t old = put_alone("e1", hook, 1);
    settle(old, DELIVERY_DELIVERED, "", 1);
    size_t steps, total;
    retire_all(INT64_MAX, 10, &steps, &total);
    CHECK_INT(total, 2);
    reopen();
    CHECK(put_alone("e1", hook, 1) > old); // the id is free again, the number is not
    finish();
}

static void an_event_with_many_deliveries_retires_over_several_steps(void) {
    start();
    enum { MANY = 25 };
    struct store_target targets[MANY];
    for (int i = 0; i < MANY; i++)
        targets[i] = (struct store_target){ .hook = 1, .state = DELIVERY_DROPPED };
    struct event event = make_event("e1");
    enum store_put result;
    int64_t number;
    size_t steps, total;
    begin();
    CHECK_INT(store_put_event(store, &event, targets, MANY, &result, &number, &fail), OK);
    commit();
    retire_all(INT64_MAX, 10, &steps, &total);
    CHECK_INT(total, MANY + 1);
    CHECK_INT(steps, 4);
    finish();
}

static void collect_kv(void *to, const struct script_kv *kv) {
    char *text = to;
    strncat(text, kv->key.p, kv->key.n);
    strcat(text, "=");
    strncat(text, kv->value.p, kv->value.n);
    strcat(text, " ");
}

static void script_keys_live_until_they_expire_or_are_deleted(void) {
    start();
    struct script_kv c = { .key = S("c"), .value = S("3"), .expires_ms = 1000 };
    struct script_kv b = { .key = S("b"), .value = S("2"), .next = &c };
    struct script_kv a = { .key = S("a"), .value = S("1"), .next = &b };
    begin();
    CHECK_INT(store_put_kv(store, S("hook"), &a, &fail), OK);
    CHECK_INT(store_put_kv(store, S("other"), &(struct script_kv){ .key = S("x"), .value = S("9") },
                           &fail),
              OK);
    commit();
    reopen();
    char text[64] = "";
    CHECK_INT(store_each_kv(store, S("hook"), 999, collect_kv, text, &fail), OK);
    CHECK_TEXT(slice_str(text), "a=1 b=2 c=3 ");
    struct script_kv gone = { .key = S("a") },
                     changed = { .key = S("b"), .value = S("20"), .next = &gone };
    begin();
    CHECK_INT(store_put_kv(store, S("hook"), &changed, &fail), OK);
    size_t deleted;
    CHECK_INT(store_retire(store, 1, 10, &deleted, &fail), OK); // sweeps what expired
    commit();
    reopen();
    text[0] = '\0';
    struct store_reader *r = store_reader_open(dir, &fail);
    CHECK_INT(store_reader_kv(r, S("hook"), 0, collect_kv, text, &fail), OK);
    CHECK_TEXT(slice_str(text), "b=20 ");
    store_reader_close(r);
    finish();
}

static enum err find_source(const char *version, char *text, size_t size) {
    struct arena arena;
    arena_init(&arena, 1 << 16);
    struct slice name, source;
    struct store_reader *r = store_reader_open(dir, &fail);
    enum err err = store_reader_source(r, slice_str(version), &arena, &name, &source, &fail);
    if (!err) snprintf(text, size, "%.*s: %.*s", SLICE_FMT(name), SLICE_FMT(source));
    store_reader_close(r);
    arena_deinit(&arena);
    return err;
}

static void put_source(const char *version, const char *source) {
    begin();
    CHECK_INT(store_put_source(store, slice_str(version), S("a"), slice_str(source), &fail), OK);
    commit();
}

static void old_sources_stay_while_a_delivery_wants_them(void) {
    start();
    int64_t hook = hook_number("a");
    put_source("v1", "return 1");
    put_source("v1", "return 1");
    int64_t delivery = put_alone("e1", hook, 1); // of version v1
    put_source("v2", "return 2");
    put_source("v3", "return 3");
    size_t steps, total;
    char text[64] = "";
    for (int i = 0; i < 4; i++) retire_all(1, 10, &steps, &total);
    reopen();
    CHECK_INT(find_source("v1", text, sizeof text), OK);
    CHECK_TEXT(slice_str(text), "a: return 1");
    CHECK_INT(find_source("v2", text, sizeof text), ERR_NOTFOUND);
    CHECK_INT(find_source("v3", text, sizeof text), OK); // the newest
    settle(delivery, DELIVERY_DELIVERED, "", 1);
    for (int i = 0; i < 4; i++) retire_all(1, 10, &steps, &total);
    CHECK_INT(find_source("v1", text, sizeof text), ERR_NOTFOUND);
    CHECK_INT(find_source("v3", text, sizeof text), OK);
    finish();
}

static void count_token(void *user, struct slice id, struct slice label, struct slice scopes,
                        int64_t created_ms, int64_t expires_ms) {
    int *count = user;
    (*count)++;
    CHECK_TEXT(id, "tok1");
    CHECK_TEXT(label, "CI");
    CHECK_TEXT(scopes, "ingest");
    CHECK_INT(created_ms, 10);
    CHECK_INT(expires_ms, 1000);
}

static void tokens_are_found_until_revoked_or_expired(void) {
    start();
    uint8_t hash[32], got[32];
    char scopes[64];
    memset(hash, 0xAB, sizeof hash);
    begin();
    CHECK_INT(store_put_token(store, S("tok1"), hash, S("CI"), S("ingest"), 10, 1000, &fail), OK);
    commit();
    reopen();
    struct store_reader *r = store_reader_open(dir, &fail);
    int count = 0;
    CHECK(store_reader_token(r, S("tok1"), 999, got, scopes));
    CHECK(memcmp(got, hash, 32) == 0);
    CHECK_TEXT(slice_str(scopes), "ingest");
    CHECK(!store_reader_token(r, S("tok1"), 1000, got, scopes));
    CHECK(!store_reader_token(r, S("tok2"), 1, got, scopes));
    CHECK_INT(store_reader_tokens(r, count_token, &count, &fail), OK);
    CHECK_INT(count, 1);
    begin();
    CHECK_INT(store_revoke_token(store, S("tok1"), &fail), OK);
    CHECK_INT(store_revoke_token(store, S("tok1"), &fail), ERR_NOTFOUND);
    commit();
    CHECK(!store_reader_token(r, S("tok1"), 1, got, scopes)); // an open reader sees it at once
    store_reader_close(r);
    finish();
}

static void see_hook(void *user, const struct store_hook *hook) {
    int *count = user;
    (*count)++;
    CHECK_TEXT(hook->name, "slack");
    CHECK_INT(hook->state, HOOK_QUARANTINED);
    CHECK_TEXT(hook->reason, "second strike");
    CHECK_TEXT(hook->version, "v7");
    CHECK_INT(hook->since_ms, 5);
    CHECK_INT(hook->failing_since_ms, 4);
    CHECK_INT(hook->failures, 3);
    CHECK_INT(hook->attempt_ms, 1764000000123);
}

static void a_webhooks_state_outlives_the_engine(void) {
    start();
    struct store_hook hook = { .number = hook_number("slack"),
                               .state = HOOK_QUARANTINED,
                               .reason = S("second strike"),
                               .version = S("v7"),
                               .since_ms = 5,
                               .failing_since_ms = 4,
                               .failures = 3,
                               .attempt_ms = 1764000000123 };
    begin();
    CHECK_INT(store_put_hook(store, &hook, &fail), OK);
    hook.attempt_ms = 0; // none since: the one that is known stays
    CHECK_INT(store_put_hook(store, &hook, &fail), OK);
    hook.number = 99;
    CHECK_INT(store_put_hook(store, &hook, &fail), ERR_NOTFOUND);
    commit();
    reopen();
    int count = 0;
    CHECK_INT(store_each_hook(store, see_hook, &count, &fail), OK);
    struct store_reader *r = store_reader_open(dir, &fail);
    CHECK_INT(store_reader_hooks(r, see_hook, &count, &fail), OK);
    CHECK_INT(count, 2);
    store_reader_close(r);
    finish();
}

// Stores `count` events of `bytes` each, one commit and one checkpoint an event.
static void put_big(const char *prefix, int count, size_t bytes) {
    char *big = malloc(bytes), id[40];
    memset(big, 'x', bytes);
    for (int i = 0; i < count; i++) {
        snprintf(id, sizeof id, "%s%d", prefix, i);
        struct event event = make_event(id);
        event.json = slice(big, bytes);
        enum store_put result;
        int64_t number;
        begin();
        CHECK_INT(store_put_event(store, &event, NULL, 0, &result, &number, &fail), OK);
        commit();
        CHECK_INT(store_checkpoint(store), OK);
    }
    free(big);
}

static off_t log_bytes(void) {
    char path[128];
    struct stat st;
    snprintf(path, sizeof path, "%s/tuma.db-wal", dir);
    return stat(path, &st) == 0 ? st.st_size : -1;
}

static void the_log_stays_small_and_the_store_reports_its_size(void) {
    start();
    put_big("e", 300, 200 * 1000);
    CHECK(log_bytes() < 20 << 20);
    uint64_t before = store_bytes(store);
    CHECK(before > 300 * 200 * 1000);
    CHECK(store_space_left(store) > 0);
    size_t steps, total;
    retire_all(INT64_MAX, 500, &steps, &total);
    CHECK_INT(total, 300);
    CHECK_INT(store_checkpoint(store), OK);
    CHECK(store_bytes(store) < before / 2);
    finish();
}

// While a reader stands in the middle of a listing the log cannot start over.
static bool write_during_listing(void *user, const struct store_delivery *d) {
    (void)d, (void)user;
    put_big("during", 340, 200 * 1000);
    CHECK(log_bytes() > 64 << 20);
    return false;
}

static void a_log_that_a_reader_held_up_is_cut_when_it_goes(void) {
    start();
    put_alone("e1", 1, 1);
    struct store_reader *r = store_reader_open(dir, &fail);
    CHECK_INT(store_reader_list(r, &(struct store_filter){ .hook = 0 }, 1, write_during_listing,
                                NULL, NULL, &fail),
              OK);
    put_big("after", 1, 100);
    CHECK(log_bytes() < 1 << 20);
    store_reader_close(r);
    finish();
}

static const struct check_case cases[] = {
    { "store: retirement takes old events whole and in steps",
      retirement_takes_old_events_whole_and_in_steps },
    { "store: a retired number is never given again", a_retired_number_is_never_given_again },
    { "store: an event with many deliveries retires over several steps",
      an_event_with_many_deliveries_retires_over_several_steps },
    { "store: script keys live until they expire or are deleted",
      script_keys_live_until_they_expire_or_are_deleted },
    { "store: old sources stay while a delivery wants them",
      old_sources_stay_while_a_delivery_wants_them },
    { "store: tokens are found until revoked or expired",
      tokens_are_found_until_revoked_or_expired },
    { "store: a webhook's state outlives the engine", a_webhooks_state_outlives_the_engine },
    { "store: the log stays small and the store reports its size",
      the_log_stays_small_and_the_store_reports_its_size },
    { "store: a log that a reader held up is cut when it goes",
      a_log_that_a_reader_held_up_is_cut_when_it_goes },
};
CHECK_MAIN(cases)
