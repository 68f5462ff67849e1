// A store in a directory of its own, and short ways to fill and read it, for the
// store's test programs.
#ifndef TUMA_TESTS_STORE_FIXTURE_H
#define TUMA_TESTS_STORE_FIXTURE_H

#include <dirent.h>
#include <sys/stat.h>
#include <unistd.h>

#include "check.h"
#include "store.h"

static char dir[64];
static struct store *store;
static struct fail fail;

static inline void empty_dir(void) {
    DIR *d = opendir(dir);
    char path[400];
    for (struct dirent *e; d && (e = readdir(d));) {
        snprintf(path, sizeof path, "%s/%s", dir, e->d_name);
        unlink(path);
    }
    if (d) closedir(d);
    rmdir(dir);
}

static inline void open_store(void) {
    memset(&fail, 0, sizeof fail);
    store = store_open(&(struct store_opts){ .dir = dir, .create = true }, &fail);
    if (!store) printf("# store_open: %s: %s\n", fail.type, fail.text);
    CHECK(store != NULL);
}

static inline void start(void) {
    snprintf(dir, sizeof dir, "/tmp/test_store.%d", (int)getpid());
    empty_dir();
    open_store();
}

static inline void reopen(void) {
    store_close(store);
    open_store();
}

static inline void finish(void) {
    store_close(store);
    store = NULL;
    empty_dir();
}

static inline void begin(void) {
    CHECK_INT(store_begin(store, &fail), OK);
}

static inline void commit(void) {
    CHECK_INT(store_commit(store, &fail), OK);
}

static inline int64_t hook_number(const char *name) {
    int64_t number = 0;
    begin();
    CHECK_INT(store_hook_number(store, slice_str(name), &number, &fail), OK);
    commit();
    return number;
}

static inline struct event make_event(const char *id) {
    return (struct event){ .id = slice_str(id),
                           .type = S("call.completed"),
                           .org = S("acme"),
                           .time_ms = 1700000000000,
                           .trace = S("00-11-22-01"),
                           .json = S("{\"call_id\":\"c1\",\"duration\":61}") };
}

// Stores an event for one webhook; returns the delivery's number.
static inline int64_t put(const char *id, int64_t hook, int64_t due_ms) {
    struct event event = make_event(id);
    struct store_target target = { .hook = hook, .version = S("v1"), .due_ms = due_ms };
    enum store_put result;
    int64_t number;
    CHECK_INT(store_put_event(store, &event, &target, 1, &result, &number, &fail), OK);
    CHECK_INT(result, STORE_NEW);
    return target.delivery;
}

static inline int64_t put_alone(const char *id, int64_t hook, int64_t due_ms) {
    begin();
    int64_t delivery = put(id, hook, due_ms);
    commit();
    return delivery;
}

static inline void settle(int64_t delivery, enum delivery_state state, const char *reason,
                          int64_t at_ms) {
    begin();
    CHECK_INT(store_settle(store,
                           &(struct store_settle){ .delivery = delivery,
                                                   .state = state,
                                                   .attempts = 1,
                                                   .due_ms = at_ms,
                                                   .now_ms = at_ms,
                                                   .reason = slice_str(reason) },
                           &fail),
              OK);
    commit();
}

static inline struct attempt make_attempt(uint32_t number) {
    struct attempt a = { .number = number,
                         .started_ms = 77,
                         .status = number == 1 ? 503 : 200,
                         .verdict = number == 1 ? VERDICT_RETRY : VERDICT_DELIVERED,
                         .response_incomplete = true,
                         .dns_us = -1,
                         .total_us = 1234,
                         .retry_after_ms = 7000,
                         .sent_headers = S("webhook-timestamp: 1\n"),
                         .response_headers = S("Content-Type: text/plain\n"),
                         .response_body = S("body\0with a NUL") };
    if (number == 1) snprintf(a.error, sizeof a.error, "the receiver answered 503");
    return a;
}

static inline void settle_attempt(int64_t delivery, uint32_t number, struct slice request) {
    struct attempt attempt = make_attempt(number);
    struct store_settle s = { .delivery = delivery,
                              .state = number == 1 ? DELIVERY_PENDING : DELIVERY_DELIVERED,
                              .attempts = number,
                              .due_ms = 6000,
                              .now_ms = 7000,
                              .request = request,
                              .unresolved = S("FOO,BAR"),
                              .version = number == 1 ? S("v2") : S(""),
                              .attempt = &attempt };
    begin();
    CHECK_INT(store_settle(store, &s, &fail), OK);
    commit();
}

// --- Reading back ---

struct seen {
    int count;
    int64_t deliveries[64];
    struct store_delivery last;
    char reason[64], version[16], error[64], unresolved[32], request[64], hook[32], event_id[32];
};

static inline void copy(char *to, size_t size, struct slice s) {
    snprintf(to, size, "%.*s", SLICE_FMT(s));
}

static inline bool see(void *user, const struct store_delivery *d) {
    struct seen *seen = user;
    if (seen->count < 64) seen->deliveries[seen->count] = d->delivery;
    seen->count++;
    seen->last = *d;
    copy(seen->reason, sizeof seen->reason, d->reason);
    copy(seen->version, sizeof seen->version, d->version);
    copy(seen->error, sizeof seen->error, d->last_error);
    copy(seen->unresolved, sizeof seen->unresolved, d->unresolved);
    copy(seen->request, sizeof seen->request, d->request);
    copy(seen->hook, sizeof seen->hook, d->hook);
    copy(seen->event_id, sizeof seen->event_id, d->event_id);
    return true;
}

static inline struct seen list(struct store_filter filter, size_t limit) {
    struct seen seen = { .count = 0 };
    struct store_reader *r = store_reader_open(dir, &fail);
    CHECK(r != NULL);
    if (r) CHECK_INT(store_reader_list(r, &filter, limit, see, &seen, NULL, &fail), OK);
    store_reader_close(r);
    return seen;
}

struct dues {
    int count;
    struct store_due last;
    int64_t deliveries[64];
    char order_key[32];
};

static inline void take_due(void *user, const struct store_due *due) {
    struct dues *dues = user;
    dues->deliveries[dues->count++] = due->delivery;
    dues->last = *due;
    copy(dues->order_key, sizeof dues->order_key, due->order_key);
}

static inline struct dues fetch(int64_t hook, int64_t after_due, int64_t after, size_t limit) {
    struct dues dues = { .count = 0 };
    CHECK_INT(store_fetch_due(store, hook, after_due, after, limit, take_due, &dues, &fail), OK);
    return dues;
}

#endif
