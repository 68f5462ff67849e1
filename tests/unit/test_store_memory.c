// floor: store
// Every allocation of SQLite fails once, one life of the store each: the verbs
// say so, nothing crashes or leaks, what was acknowledged is there afterwards and
// what was refused is not.
#include <sqlite3.h>

#include "store_fixture.h"

static sqlite3_mem_methods system_memory;
static long calls, fail_at;

static void *failing_malloc(int n) {
    return ++calls == fail_at ? NULL : system_memory.xMalloc(n);
}

static void *failing_realloc(void *p, int n) {
    return ++calls == fail_at ? NULL : system_memory.xRealloc(p, n);
}

static void install(void) {
    sqlite3_config(SQLITE_CONFIG_GETMALLOC, &system_memory);
    sqlite3_mem_methods failing = system_memory;
    failing.xMalloc = failing_malloc;
    failing.xRealloc = failing_realloc;
    sqlite3_config(SQLITE_CONFIG_MALLOC, &failing);
}

static bool no_event(void *user, const struct store_delivery *d) {
    (void)user, (void)d;
    return true;
}

// Opens, stores and settles one event, reads it back, closes. True when the
// event was acknowledged; every error on the way must be one of memory.
static bool live(const char *id) {
    struct fail why = { .code = OK };
    bool acked = false;
    struct store *s = store_open(&(struct store_opts){ .dir = dir }, &why);
    struct event event = make_event(id);
    struct store_target target = { .hook = 1, .due_ms = 1 };
    struct attempt attempt = make_attempt(2);
    enum store_put result;
    int64_t number;
    if (s && store_begin(s, &why) == OK) {
        enum err err = store_put_event(s, &event, &target, 1, &result, &number, &why);
        struct store_settle settle = { .delivery = target.delivery,
                                       .state = DELIVERY_DELIVERED,
                                       .request = S("packed"),
                                       .attempt = &attempt };
        if (!err) store_settle(s, &settle, &why);
        acked = store_commit(s, &why) == OK;
    }
    struct store_reader *r = store_reader_open(dir, &why);
    if (r)
        store_reader_list(r, &(struct store_filter){ .event_id = event.id }, 5, no_event, NULL,
                          NULL, &why);
    store_reader_close(r);
    store_close(s);
    CHECK(why.code == OK || why.code == ERR_NOMEM);
    if (why.code && why.code != ERR_NOMEM)
        printf("# at %ld: %s: %s\n", fail_at, why.type, why.text);
    return acked;
}

static void a_failing_allocation_is_told_and_loses_nothing(void) {
    enum { POINTS = 150 };
    install();
    start();
    store_close(store);
    calls = 0;
    CHECK(live("measure"));
    long life = calls;
    CHECK(life > POINTS);
    int acked = 0;
    for (long i = 0; i < POINTS; i++) {
        char id[40];
        snprintf(id, sizeof id, "point%ld", i);
        calls = 0;
        fail_at = 1 + i * life / POINTS; // all over the life
        bool said = live(id);
        fail_at = 0;
        acked += said;
        store = NULL;
        CHECK_INT(list((struct store_filter){ .event_id = slice_str(id) }, 5).count, said);
    }
    CHECK(acked > 0 && acked < POINTS);
    open_store();
    CHECK_INT(list((struct store_filter){ .hook = 0 }, 1000).count, acked + 1);
    finish();
}

static const struct check_case cases[] = {
    { "store: a failing allocation is told and loses nothing",
      a_failing_allocation_is_told_and_loses_nothing },
};
CHECK_MAIN(cases)
