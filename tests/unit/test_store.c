// The store's conformance suite: every verb, each followed by a reopen, so that
// what is checked is what is on disk. A second engine behind the same header
// has to pass the same file.
#include "store.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/statvfs.h>
#include <sys/wait.h>

#include "store_fixture.h"

static void a_new_store_has_private_files_and_counts_its_starts(void) {
    start();
    struct stat st;
    char path[128];
    CHECK(stat(dir, &st) == 0 && (st.st_mode & 0777) == 0700);
    static const char *const files[] = { "tuma.db", "tuma.db-wal", "tuma.db-shm", "tuma.lock" };
    for (size_t i = 0; i < 4; i++) {
        snprintf(path, sizeof path, "%s/%s", dir, files[i]);
        CHECK(stat(path, &st) == 0 && (st.st_mode & 0777) == 0600);
    }
    char uid[8];
    CHECK_INT(store_epoch(store), 1);
    CHECK_INT(store_uid(store).n, 8);
    memcpy(uid, store_uid(store).p, 8);
    reopen();
    CHECK_INT(store_epoch(store), 2);
    CHECK_SLICE(store_uid(store), slice(uid, 8));
    finish();
}

static void a_missing_store_is_not_made_unless_asked_for(void) {
    start();
    finish();
    CHECK(!store_open(&(struct store_opts){ .dir = dir }, &fail));
    CHECK_INT(fail.code, ERR_NOTFOUND);
    CHECK(access(dir, F_OK) != 0);
    CHECK(!store_reader_open(dir, &fail));
    CHECK_INT(fail.code, ERR_NOTFOUND);
    mkdir(dir, 0700);
    CHECK(!store_open(&(struct store_opts){ .dir = dir }, &fail));
    CHECK_INT(fail.code, ERR_NOTFOUND);
    rmdir(dir);
}

static void a_webhook_keeps_its_number(void) {
    start();
    int64_t a = hook_number("slack"), b = hook_number("crm");
    CHECK(a > 0 && b > 0 && a != b);
    reopen();
    CHECK_INT(hook_number("slack"), a);
    CHECK_INT(hook_number("crm"), b);
    finish();
}

static void an_event_comes_back_byte_for_byte(void) {
    start();
    int64_t hook = hook_number("slack");
    int64_t delivery = put_alone("e1", hook, 5000);
    reopen();
    struct arena arena;
    arena_init(&arena, 1 << 20);
    struct store_job job = { .time_ms = 0 };
    CHECK_INT(store_load_job(store, delivery, &arena, &job, &fail), OK);
    CHECK_TEXT(job.event_id, "e1");
    CHECK_TEXT(job.type, "call.completed");
    CHECK_TEXT(job.org, "acme");
    CHECK_TEXT(job.trace, "00-11-22-01");
    CHECK_TEXT(job.tags_json, "{\"call_id\":\"c1\",\"duration\":61}");
    CHECK_TEXT(job.version, "v1");
    CHECK_INT(job.time_ms, 1700000000000);
    CHECK_INT(job.hook, hook);
    CHECK_INT(job.request.n, 0);
    CHECK_INT(store_load_job(store, delivery + 7, &arena, &job, &fail), ERR_NOTFOUND);
    arena_deinit(&arena);
    struct store_reader *r = store_reader_open(dir, &fail);
    struct event *event = NULL;
    CHECK_INT(store_reader_event(r, delivery / STORE_FANOUT_MAX, &event, &fail), OK);
    if (event) CHECK_TEXT(event->json, "{\"call_id\":\"c1\",\"duration\":61}");
    event_unref(event);
    CHECK_INT(store_reader_event(r, 999, &event, &fail), ERR_NOTFOUND);
    store_reader_close(r);
    finish();
}

static void the_same_id_again_is_a_duplicate_or_a_conflict(void) {
    start();
    int64_t hook = hook_number("slack"), number = 0, again = 0;
    int64_t delivery = put_alone("e1", hook, 1);
    number = delivery / STORE_FANOUT_MAX;
    reopen();
    struct store_target target = { .hook = hook };
    enum store_put result;
    struct event same = make_event("e1"), other = make_event("e1"), foreign = make_event("e1");
    same.time_ms++; // the time of receipt, when the client gave none
    other.json = S("{}");
    foreign.org = S("globex");
    begin();
    CHECK_INT(store_put_event(store, &same, &target, 1, &result, &again, &fail), OK);
    CHECK_INT(result, STORE_DUPLICATE);
    CHECK_INT(again, number);
    CHECK_INT(store_put_event(store, &other, &target, 1, &result, &again, &fail), OK);
    CHECK_INT(result, STORE_CONFLICT);
    CHECK_INT(store_put_event(store, &foreign, &target, 1, &result, &again, &fail), OK);
    CHECK_INT(result, STORE_NEW);
    commit();
    CHECK_INT(list((struct store_filter){ .event_id = S("e1") }, 10).count, 2);
    CHECK_INT(list((struct store_filter){ .event_id = S("e1"), .org = S("acme") }, 10).count, 1);
    finish();
}

static void a_rollback_leaves_nothing(void) {
    start();
    int64_t hook = hook_number("slack");
    begin();
    int64_t first = put("e1", hook, 1);
    store_rollback(store);
    CHECK_INT(list((struct store_filter){ .hook = 0 }, 10).count, 0);
    CHECK(put_alone("e1", hook, 1) > first); // and the number is not used again
    CHECK_INT(list((struct store_filter){ .hook = 0 }, 10).count, 1);
    begin();
    put("e2", hook, 1);
    reopen(); // closes with the transaction open
    CHECK_INT(list((struct store_filter){ .hook = 0 }, 10).count, 1);
    finish();
}

static void due_deliveries_come_in_order_and_in_pages(void) {
    start();
    int64_t a = hook_number("a"), b = hook_number("b");
    begin();
    int64_t late = put("late", a, 900), early = put("early", a, 100);
    int64_t same1 = put("same1", a, 500), same2 = put("same2", a, 500),
            same3 = put("same3", a, 500);
    put("other", b, 1);
    struct event event = make_event("keyed");
    struct store_target target = { .hook = a, .due_ms = 950, .order_key = S("call-7") };
    enum store_put result;
    int64_t number;
    CHECK_INT(store_put_event(store, &event, &target, 1, &result, &number, &fail), OK);
    commit();
    reopen();
    struct dues page = fetch(a, 0, 0, 3);
    CHECK_INT(page.count, 3);
    CHECK_INT(page.deliveries[0], early);
    CHECK_INT(page.deliveries[1], same1);
    CHECK_INT(page.deliveries[2], same2);
    page = fetch(a, page.last.due_ms, page.last.delivery, 3);
    CHECK_INT(page.count, 3);
    CHECK_INT(page.deliveries[0], same3);
    CHECK_INT(page.deliveries[1], late);
    CHECK_INT(page.last.due_ms, 950);
    CHECK_INT(page.last.hook, a);
    CHECK_TEXT(slice_str(page.order_key), "call-7");
    CHECK_INT(fetch(a, page.last.due_ms, page.last.delivery, 3).count, 0);
    finish();
}

struct pending {
    int hooks;
    uint64_t count[4];
    int64_t first[4];
    char names[64];
};

static void count_pending(void *user, int64_t hook, struct slice name, uint64_t count,
                          int64_t first_due_ms) {
    struct pending *p = user;
    (void)hook;
    p->count[p->hooks] = count;
    p->first[p->hooks++] = first_due_ms;
    strncat(p->names, name.p, name.n);
}

static void pending_hooks_are_counted(void) {
    start();
    int64_t a = hook_number("a"), b = hook_number("b");
    hook_number("idle");
    begin();
    put("1", a, 300);
    put("2", a, 200);
    int64_t done = put("3", a, 100);
    put("4", b, 50);
    commit();
    settle(done, DELIVERY_DELIVERED, "", 1000);
    reopen();
    struct pending p = { .hooks = 0 };
    CHECK_INT(store_pending_hooks(store, count_pending, &p, &fail), OK);
    CHECK_INT(p.hooks, 2);
    CHECK_TEXT(slice_str(p.names), "ab");
    CHECK_INT(p.count[0], 2);
    CHECK_INT(p.first[0], 200);
    CHECK_INT(p.count[1], 1);
    CHECK_INT(p.first[1], 50);
    finish();
}

static bool see_attempt(void *user, const struct attempt *a) {
    int *count = user;
    (*count)++;
    CHECK_INT(a->number, *count);
    CHECK_INT(a->status, *count == 1 ? 503 : 200);
    CHECK_INT(a->verdict, *count == 1 ? VERDICT_RETRY : VERDICT_DELIVERED);
    CHECK_TEXT(a->response_body, "body\0with a NUL");
    CHECK_TEXT(a->response_headers, "Content-Type: text/plain\n");
    CHECK_TEXT(a->sent_headers, "webhook-timestamp: 1\n");
    CHECK_INT(a->dns_us, -1);
    CHECK_INT(a->total_us, 1234);
    CHECK_INT(a->retry_after_ms, 7000);
    CHECK_INT(a->response_incomplete, 1);
    return true;
}

static void attempts_requests_and_outcomes_are_kept(void) {
    start();
    int64_t delivery = put_alone("e1", hook_number("slack"), 1);
    settle_attempt(delivery, 1, S("POST\0packed"));
    reopen();
    struct dues due = fetch(1, 0, 0, 10);
    CHECK_INT(due.count, 1);
    CHECK_INT(due.last.due_ms, 6000);
    CHECK_INT(due.last.attempts, 1);
    struct seen seen = list((struct store_filter){ .text = S("answered 503") }, 10);
    CHECK_INT(seen.count, 1);
    CHECK_INT(seen.last.last_status, 503);
    settle_attempt(delivery, 2, S(""));
    reopen();
    CHECK_INT(fetch(1, 0, 0, 10).count, 0);
    seen = list((struct store_filter){ .delivery = delivery }, 10);
    CHECK_INT(seen.last.state, DELIVERY_DELIVERED);
    CHECK_INT(seen.last.settled_ms, 7000);
    CHECK_INT(seen.last.attempts, 2);
    CHECK_INT(seen.last.last_status, 200);
    CHECK_INT(seen.last.request.n, sizeof "POST\0packed" - 1);
    CHECK_TEXT(slice_str(seen.version), "v2");
    CHECK_TEXT(slice_str(seen.error), "");
    CHECK_TEXT(slice_str(seen.unresolved), "FOO,BAR");
    CHECK_TEXT(slice_str(seen.hook), "slack");
    struct store_reader *r = store_reader_open(dir, &fail);
    int attempts = 0;
    CHECK_INT(store_reader_attempts(r, delivery, see_attempt, &attempts, &fail), OK);
    CHECK_INT(attempts, 2);
    store_reader_close(r);
    begin();
    CHECK_INT(store_settle(store, &(struct store_settle){ .delivery = 4711 }, &fail), ERR_NOTFOUND);
    commit();
    finish();
}

static void a_fan_out_delivery_stands_beside_its_sibling(void) {
    start();
    int64_t hook = hook_number("slack"), more = 0;
    struct event event = make_event("e1");
    struct store_target targets[2] = { { .hook = hook, .version = S("v1"), .order_key = S("k") },
                                       { .hook = hook, .version = S("v1") } };
    enum store_put result;
    int64_t number;
    begin();
    CHECK_INT(store_put_event(store, &event, targets, 2, &result, &number, &fail), OK);
    CHECK_INT(store_add_delivery(store, targets[0].delivery, S("packed"), 42, &more, &fail), OK);
    CHECK_INT(store_add_delivery(store, 123456789, S("x"), 1, &number, &fail), ERR_NOTFOUND);
    commit();
    CHECK_INT(more, targets[1].delivery + 1);
    reopen();
    struct arena arena;
    arena_init(&arena, 1 << 20);
    struct store_job job;
    CHECK_INT(store_load_job(store, more, &arena, &job, &fail), OK);
    CHECK_TEXT(job.request, "packed");
    CHECK_TEXT(job.event_id, "e1");
    CHECK_INT(job.hook, hook);
    arena_deinit(&arena);
    CHECK_INT(list((struct store_filter){ .event_id = S("e1") }, 10).count, 3);
    finish();
}

static size_t move(struct store_filter filter, enum delivery_state to, const char *reason,
                   bool reset, size_t limit) {
    const struct store_change change = { to, slice_str(reason), reset, 4242 };
    size_t moved = 0;
    bool more;
    begin();
    CHECK_INT(store_move(store, &filter, &change, limit, &moved, &more, &fail), OK);
    commit();
    return moved;
}

static void deliveries_move_in_bounded_steps(void) {
    start();
    int64_t a = hook_number("a"), b = hook_number("b");
    begin();
    for (int i = 0; i < 5; i++) {
        char id[24];
        snprintf(id, sizeof id, "a%d", i);
        put(id, a, 10 + i);
    }
    put("b0", b, 10);
    commit();
    struct store_filter pending = { .hook = a, .states = 1u << DELIVERY_PENDING };
    CHECK_INT(move(pending, DELIVERY_PARKED, "the script is broken", false, 3), 3);
    reopen();
    CHECK_INT(move(pending, DELIVERY_PARKED, "the script is broken", false, 3), 2);
    CHECK_INT(move(pending, DELIVERY_PARKED, "the script is broken", false, 3), 0);
    reopen();
    CHECK_INT(fetch(a, 0, 0, 10).count, 0);
    CHECK_INT(fetch(b, 0, 0, 10).count, 1);
    struct store_filter parked = { .states = 1u << DELIVERY_PARKED, .text = S("SCRIPT") };
    CHECK_INT(list(parked, 10).count, 5);
    CHECK_INT(move(parked, DELIVERY_PENDING, "", true, 100), 5);
    reopen();
    struct dues due = fetch(a, 0, 0, 10);
    CHECK_INT(due.count, 5);
    CHECK_INT(due.last.due_ms, 4242);
    CHECK(due.last.replay);
    // A broad filter does not touch what is there already.
    CHECK_INT(move((struct store_filter){ .hook = a }, DELIVERY_PENDING, "", true, 100), 0);
    CHECK_INT(move((struct store_filter){ .type = S("call.*") }, DELIVERY_DROPPED, "", false, 100),
              6);
    finish();
}

static void filters_find_what_they_name(void) {
    start();
    int64_t a = hook_number("a"), b = hook_number("b");
    begin();
    int64_t one = put("one", a, 1), two = put("two", b, 1), three = put("three", a, 1);
    struct event event = make_event("four");
    event.type = S("sms.received");
    event.org = S("globex");
    struct store_target target = { .hook = b, .due_ms = 1 };
    enum store_put result;
    int64_t number, four;
    CHECK_INT(store_put_event(store, &event, &target, 1, &result, &number, &fail), OK);
    four = target.delivery;
    commit();
    settle(two, DELIVERY_EXHAUSTED, "gone", 50);
    settle(three, DELIVERY_FILTERED, "too short", 60);
    reopen();
    struct seen seen = list((struct store_filter){ .hook = 0 }, 10);
    CHECK_INT(seen.count, 4);
    CHECK_INT(seen.deliveries[0], four); // newest first
    CHECK_INT(seen.deliveries[3], one);
    CHECK_INT(list((struct store_filter){ .hook = 0 }, 2).count, 2);
    CHECK_INT(list((struct store_filter){ .before_delivery = three }, 10).deliveries[0], two);
    CHECK_INT(list((struct store_filter){ .hook = a }, 10).count, 2);
    CHECK_INT(list((struct store_filter){ .org = S("globex") }, 10).last.delivery, four);
    CHECK_INT(list((struct store_filter){ .type = S("call.completed") }, 10).count, 3);
    CHECK_INT(list((struct store_filter){ .type = S("sms.*") }, 10).count, 1);
    CHECK_INT(list((struct store_filter){ .type = S("call") }, 10).count, 0);
    CHECK_INT(list((struct store_filter){ .event_id = S("two") }, 10).last.delivery, two);
    CHECK_INT(list((struct store_filter){ .delivery = three }, 10).count, 1);
    CHECK_INT(list((struct store_filter){ .states = 1u << DELIVERY_EXHAUSTED }, 10).last.delivery,
              two);
    CHECK_INT(
        list((struct store_filter){ .states = 1u << DELIVERY_EXHAUSTED, .hook = b }, 10).count, 1);
    CHECK_INT(list((struct store_filter){ .states = 1u << DELIVERY_EXHAUSTED | 1u }, 10).count, 3);
    CHECK_INT(list((struct store_filter){ .text = S("SHORT") }, 10).last.delivery, three);
    CHECK_INT(list((struct store_filter){ .text = S("%") }, 10).count, 0);
    CHECK_INT(list((struct store_filter){ .event_id = S("x' OR 1 --") }, 10).count, 0);
    CHECK_INT(list((struct store_filter){ .from_ms = 1 }, 10).count, 4);
    CHECK_INT(list((struct store_filter){ .to_ms = 1 }, 10).count, 0);
    finish();
}

static void add_count(void *user, struct slice hook, enum delivery_state state, uint64_t count) {
    uint64_t *sum = user;
    CHECK(slice_eq(hook, S("a")) || slice_eq(hook, S("b")));
    sum[state] += count;
}

static void counts_by_state_add_up(void) {
    start();
    int64_t a = hook_number("a"), b = hook_number("b");
    settle(put_alone("1", a, 1), DELIVERY_DELIVERED, "", 1);
    settle(put_alone("2", b, 1), DELIVERY_DELIVERED, "", 1);
    settle(put_alone("3", b, 1), DELIVERY_EXHAUSTED, "", 1);
    put_alone("4", b, 1);
    reopen();
    uint64_t sum[8] = { 0 };
    struct store_reader *r = store_reader_open(dir, &fail);
    CHECK_INT(store_reader_counts(r, add_count, sum, &fail), OK);
    CHECK_INT(sum[DELIVERY_DELIVERED], 2);
    CHECK_INT(sum[DELIVERY_EXHAUSTED], 1);
    CHECK_INT(sum[DELIVERY_PENDING], 1);
    store_reader_close(r);
    finish();
}

static bool count_event(void *user, struct event *event) {
    int *count = user;
    (*count)++;
    CHECK(event->json.n > 0);
    return *count < 2;
}

static void the_last_events_come_newest_first_and_stop_on_request(void) {
    start();
    for (int i = 0; i < 4; i++) {
        char id[24];
        snprintf(id, sizeof id, "e%d", i);
        put_alone(id, 1, 1);
    }
    struct store_reader *r = store_reader_open(dir, &fail);
    int count = 0;
    CHECK_INT(store_reader_events(r, 10, count_event, &count, &fail), OK);
    CHECK_INT(count, 2);
    store_reader_close(r);
    finish();
}

static void a_reader_in_another_process_cannot_write(void) {
    start();
    put_alone("e1", hook_number("a"), 1);
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        struct store_reader *r = store_reader_open(dir, NULL);
        struct seen seen = { .count = 0 };
        bool fine = r && store_reader_list(r, &(struct store_filter){ .hook = 0 }, 9, see, &seen,
                                           NULL, NULL) == OK;
        store_reader_close(r);
        _exit(fine && seen.count == 1 ? 0 : 1);
    }
    int status = -1;
    waitpid(child, &status, 0);
    CHECK_INT(status, 0);
    begin(); // the reader's going did not disturb the writer
    put("e2", 1, 1);
    commit();
    finish();
}

static void the_ballast_is_held_given_and_taken_back(void) {
    start();
    store_close(store);
    store = store_open(&(struct store_opts){ .dir = dir, .ballast_bytes = 1 << 20 }, &fail);
    CHECK(store != NULL);
    char path[128];
    struct stat st;
    snprintf(path, sizeof path, "%s/tuma.ballast", dir);
    CHECK(stat(path, &st) == 0 && st.st_size == 1 << 20 && st.st_blocks >= 2048);
    CHECK_INT(store_ballast_release(store), OK);
    CHECK(access(path, F_OK) != 0);
    CHECK_INT(store_ballast_release(store), OK);
    CHECK_INT(store_ballast_restore(store), OK);
    CHECK(access(path, F_OK) == 0);
    finish();
}

enum { COMMITS = 60, IN_A_COMMIT = 5 };

static void *read_along(void *user) {
    atomic_int *torn = user;
    struct store_reader *r = store_reader_open(dir, NULL);
    for (uint64_t events = 0; r && events < COMMITS * IN_A_COMMIT;) {
        if (store_reader_event_count(r, &events, NULL) != OK || events % IN_A_COMMIT) {
            atomic_fetch_add(torn, 1);
            break;
        }
    }
    store_reader_close(r);
    return NULL;
}

static void a_share_of_the_disk_is_reserved_unless_it_is_said_how_much(void) {
    start();
    struct statvfs fs;
    CHECK_INT(statvfs(dir, &fs), 0);
    uint64_t share = fs.f_blocks * fs.f_frsize / 20, most = 1 << 30, least = 8 << 20;
    CHECK(store_space_reserve(store) == (share > most ? most : share < least ? least : share));
    store_close(store);
    store = store_open(&(struct store_opts){ .dir = dir, .reserve_bytes = 12345 }, &fail);
    CHECK(store_space_reserve(store) == 12345);
    finish();
}

static void a_reader_in_another_thread_sees_whole_commits_only(void) {
    start();
    atomic_int torn = 0;
    pthread_t thread;
    CHECK_INT(pthread_create(&thread, NULL, read_along, &torn), 0);
    for (int i = 0; i < COMMITS; i++) {
        begin();
        for (int k = 0; k < IN_A_COMMIT; k++) {
            char id[40];
            snprintf(id, sizeof id, "e%d-%d", i, k);
            put(id, 1, 1);
        }
        commit();
        store_checkpoint(store);
    }
    pthread_join(thread, NULL);
    CHECK_INT(torn, 0);
    finish();
}

static const struct check_case cases[] = {
    { "store: a new store has private files and counts its starts",
      a_new_store_has_private_files_and_counts_its_starts },
    { "store: a missing store is not made unless asked for",
      a_missing_store_is_not_made_unless_asked_for },
    { "store: a webhook keeps its number", a_webhook_keeps_its_number },
    { "store: an event comes back byte for byte", an_event_comes_back_byte_for_byte },
    { "store: the same id again is a duplicate or a conflict",
      the_same_id_again_is_a_duplicate_or_a_conflict },
    { "store: a rollback leaves nothing", a_rollback_leaves_nothing },
    { "store: due deliveries come in order and in pages",
      due_deliveries_come_in_order_and_in_pages },
    { "store: pending hooks are counted", pending_hooks_are_counted },
    { "store: attempts, requests and outcomes are kept", attempts_requests_and_outcomes_are_kept },
    { "store: a fan-out delivery stands beside its sibling",
      a_fan_out_delivery_stands_beside_its_sibling },
    { "store: deliveries move in bounded steps", deliveries_move_in_bounded_steps },
    { "store: filters find what they name", filters_find_what_they_name },
    { "store: counts by state add up", counts_by_state_add_up },
    { "store: the last events come newest first and stop on request",
      the_last_events_come_newest_first_and_stop_on_request },
    { "store: a reader in another process does not disturb the writer",
      a_reader_in_another_process_cannot_write },
    { "store: a share of the disk is reserved unless it is said how much",
      a_share_of_the_disk_is_reserved_unless_it_is_said_how_much },
    { "store: the ballast is held, given and taken back",
      the_ballast_is_held_given_and_taken_back },
    { "store: a reader in another thread sees whole commits only",
      a_reader_in_another_thread_sees_whole_commits_only },
};
CHECK_MAIN(cases)
