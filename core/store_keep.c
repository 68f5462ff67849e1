// What the store keeps beside the work: webhooks' operating states, the
// scripts' own keys and sources, tokens; and housekeeping, which lets go of
// what is old in steps small enough that nobody waits for them.
#include <stdio.h>

#include "store_inner.h"

// Beside the table, which a store of an earlier engine has without it.
static int put_attempt(struct store *store, const struct store_hook *hook) {
    char name[40];
    snprintf(name, sizeof name, "attempt.%lld", (long long)hook->number);
    return store_put_number(store, slice_str(name), hook->attempt_ms);
}

enum err store_put_hook(struct store *store, const struct store_hook *hook, struct fail *fail) {
    enum err err = store_writable(store, fail);
    if (err) return err;
    struct query q = query_start(&store->sql, SQL_PUT_HOOK);
    query_put_int(&q, hook->number);
    query_put_int(&q, hook->state);
    query_put_text(&q, hook->reason);
    query_put_text(&q, hook->version);
    query_put_int(&q, hook->since_ms);
    query_put_int(&q, hook->failing_since_ms);
    query_put_int(&q, hook->failures);
    err = store_done(store, query_run(&q), "storing a webhook's state", fail);
    if (!err && sqlite3_changes(store->sql.db) == 0)
        return fail_set(fail, ERR_NOTFOUND, 0, "no_webhook", "webhook %lld is not in the store",
                        (long long)hook->number);
    if (err || !hook->attempt_ms) return err;
    return store_done(store, put_attempt(store, hook), "storing a webhook's state", fail);
}

enum err store_each_hook(struct store *store,
                         void (*each)(void *user, const struct store_hook *hook), void *user,
                         struct fail *fail) {
    return store_done(store, keep_each_hook(&store->sql, each, user), "reading webhooks", fail);
}

int keep_each_hook(struct sql *sql, void (*each)(void *user, const struct store_hook *hook),
                   void *user) {
    struct query q = query_start(sql, SQL_HOOKS);
    while (query_step(&q)) {
        struct store_hook hook = { .number = query_get_int(&q) };
        hook.name = query_get_text(&q);
        hook.state = (enum hook_state)query_get_int(&q);
        hook.reason = query_get_text(&q);
        hook.version = query_get_text(&q);
        hook.since_ms = query_get_int(&q);
        hook.failing_since_ms = query_get_int(&q);
        hook.failures = (uint32_t)query_get_int(&q);
        hook.attempt_ms = query_get_int(&q);
        each(user, &hook);
    }
    return query_end(&q);
}

static int put_key(struct store *store, struct slice hook, const struct script_kv *kv) {
    bool deleted = kv->value.n == 0;
    struct query q = query_start(&store->sql, deleted ? SQL_DELETE_KV : SQL_PUT_KV);
    query_put_text(&q, hook);
    query_put_text(&q, kv->key);
    if (!deleted) {
        query_put_text(&q, kv->value);
        query_put_int(&q, kv->expires_ms);
    }
    return query_run(&q);
}

enum err store_put_kv(struct store *store, struct slice hook, const struct script_kv *changes,
                      struct fail *fail) {
    enum err err = store_writable(store, fail);
    for (const struct script_kv *kv = changes; kv && !err; kv = kv->next)
        err = store_done(store, put_key(store, hook, kv), "storing a script's keys", fail);
    return err;
}

int keep_each_kv(struct sql *sql, struct slice hook, int64_t now_ms,
                 void (*each)(void *to, const struct script_kv *kv), void *to) {
    struct query q = query_start(sql, SQL_EACH_KV);
    query_put_text(&q, hook);
    query_put_int(&q, now_ms);
    while (query_step(&q)) {
        struct script_kv kv = { .key = query_get_text(&q) };
        kv.value = query_get_text(&q);
        kv.expires_ms = query_get_int(&q);
        each(to, &kv);
    }
    return query_end(&q);
}

enum err store_each_kv(struct store *store, struct slice hook, int64_t now_ms,
                       void (*each)(void *to, const struct script_kv *kv), void *to,
                       struct fail *fail) {
    return store_done(store, keep_each_kv(&store->sql, hook, now_ms, each, to),
                      "reading a script's keys", fail);
}

enum err store_put_source(struct store *store, struct slice version, struct slice name,
                          struct slice source, struct fail *fail) {
    enum err err = store_writable(store, fail);
    if (err) return err;
    struct query q = query_start(&store->sql, SQL_PUT_SOURCE);
    query_put_text(&q, version);
    query_put_text(&q, name);
    query_put_text(&q, source);
    return store_done(store, query_run(&q), "storing a script", fail);
}

enum err store_put_token(struct store *store, struct slice id, const uint8_t hash[32],
                         struct slice label, struct slice scopes, int64_t created_ms,
                         int64_t expires_ms, struct fail *fail) {
    enum err err = store_writable(store, fail);
    if (err) return err;
    struct query q = query_start(&store->sql, SQL_PUT_TOKEN);
    query_put_text(&q, id);
    query_put_blob(&q, slice((const char *)hash, 32));
    query_put_text(&q, label);
    query_put_text(&q, scopes);
    query_put_int(&q, created_ms);
    query_put_int(&q, expires_ms);
    return store_done(store, query_run(&q), "storing a token", fail);
}

enum err store_revoke_token(struct store *store, struct slice id, struct fail *fail) {
    enum err err = store_writable(store, fail);
    if (err) return err;
    struct query q = query_start(&store->sql, SQL_DELETE_TOKEN);
    query_put_text(&q, id);
    err = store_done(store, query_run(&q), "revoking a token", fail);
    if (!err && sqlite3_changes(store->sql.db) == 0)
        return fail_set(fail, ERR_NOTFOUND, 0, "no_token", "no token %.*s", SLICE_FMT(id));
    return err;
}

// --- Housekeeping ---

enum { SCAN_EVENTS = 1024, SCAN_USES = 20000, SHRINK_PAGES = 256 };

static int delete_range(struct store *store, enum sql_name name, int64_t first, int64_t last) {
    struct query q = query_start(&store->sql, name);
    query_put_int(&q, first);
    query_put_int(&q, last);
    return query_run(&q);
}

static bool is_held(struct store *store, int64_t first, int64_t before_ms, int *rc) {
    struct query q = query_start(&store->sql, SQL_HELD_SIBLING);
    query_put_int(&q, first);
    query_put_int(&q, first + STORE_FANOUT_MAX - 1);
    query_put_int(&q, before_ms);
    bool held = query_step(&q);
    *rc = query_end(&q);
    return held;
}

// The last of the first `limit` deliveries of an event, and how many they are.
static int count_siblings(struct store *store, int64_t first, size_t limit, int64_t *last,
                          size_t *count) {
    struct query q = query_start(&store->sql, SQL_SIBLINGS);
    query_put_int(&q, first);
    query_put_int(&q, first + STORE_FANOUT_MAX - 1);
    query_put_int(&q, (int64_t)limit);
    for (*count = 0; query_step(&q); (*count)++) *last = query_get_int(&q);
    return query_end(&q);
}

// Deletes an event's deliveries, as many as the limit allows, and with the last
// of them the event.
static int delete_event(struct store *store, int64_t event, size_t limit, size_t *deleted,
                        bool *whole) {
    static const enum sql_name parts[] = { SQL_DELETE_REQUESTS, SQL_DELETE_ATTEMPTS,
                                           SQL_DELETE_DELIVERIES };
    int64_t first = event * STORE_FANOUT_MAX, last = first;
    size_t count = 0;
    int rc = count_siblings(store, first, limit, &last, &count);
    for (size_t i = 0; i < 3 && rc == SQLITE_OK && count; i++)
        rc = delete_range(store, parts[i], first, last);
    *deleted += count;
    *whole = count < limit;
    if (rc != SQLITE_OK || !*whole) return rc;
    struct query q = query_start(&store->sql, SQL_DELETE_EVENT);
    query_put_int(&q, event);
    *deleted += 1;
    return query_run(&q);
}

// The next events that are old enough, behind where the walk stands.
static int list_old(struct store *store, int64_t before_ms, size_t limit, int64_t *events,
                    size_t *count) {
    struct query q = query_start(&store->sql, SQL_OLD_EVENTS);
    query_put_int(&q, store->retire_after);
    query_put_int(&q, before_ms);
    query_put_int(&q, (int64_t)limit);
    for (*count = 0; query_step(&q); (*count)++) events[*count] = query_get_int(&q);
    return query_end(&q);
}

static int retire_events(struct store *store, int64_t before_ms, size_t limit, size_t *deleted,
                         bool *ended) {
    int64_t events[SCAN_EVENTS];
    size_t count = 0;
    int rc = list_old(store, before_ms, SCAN_EVENTS, events, &count);
    *ended = count < SCAN_EVENTS;
    for (size_t i = 0; i < count && rc == SQLITE_OK; i++) {
        if (*deleted >= limit) {
            *ended = false;
            break;
        }
        bool whole = true;
        if (!is_held(store, events[i] * STORE_FANOUT_MAX, before_ms, &rc) && rc == SQLITE_OK)
            rc = delete_event(store, events[i], limit - *deleted, deleted, &whole);
        if (whole) store->retire_after = events[i];
    }
    return rc;
}

// Does any delivery in a state that will be sent want this version? Looks at a
// bounded number of rows; not knowing means yes.
static bool source_used(struct store *store, enum sql_name name, int64_t hook, struct slice version,
                        int *rc) {
    struct query q = query_start(&store->sql, name);
    query_put_int(&q, hook);
    query_put_text(&q, version);
    query_put_int(&q, SCAN_USES);
    bool used = true;
    if (query_step(&q)) {
        bool all_seen = query_get_int(&q) < SCAN_USES;
        used = query_get_int(&q) > 0 || !all_seen;
    }
    int ended = query_end(&q);
    if (*rc == SQLITE_OK) *rc = ended;
    return used;
}

// One superseded source a call.
static int retire_source(struct store *store) {
    struct query q = query_start(&store->sql, SQL_OLD_SOURCE);
    query_put_int(&q, store->source_after);
    if (!query_step(&q)) {
        store->source_after = 0;
        return query_end(&q);
    }
    int rc = SQLITE_OK;
    int64_t row = store->source_after = query_get_int(&q);
    struct slice version = query_get_text(&q);
    int64_t hook = query_get_int(&q);
    bool used = source_used(store, SQL_SOURCE_USES, hook, version, &rc) ||
                source_used(store, SQL_SOURCE_PARKED, hook, version, &rc);
    int ended = query_end(&q);
    if (rc == SQLITE_OK) rc = ended;
    if (used || rc != SQLITE_OK) return rc;
    q = query_start(&store->sql, SQL_DELETE_SOURCE);
    query_put_int(&q, row);
    return query_run(&q);
}

// Free pages are used again; only when they are many is the file made smaller.
static int shrink(struct store *store) {
    int rc = SQLITE_OK;
    int64_t pages = store_get_number(store, SQL_PAGES, &rc);
    int64_t unused = store_get_number(store, SQL_FREE_PAGES, &rc);
    if (rc != SQLITE_OK || unused < SHRINK_PAGES || unused < pages / 4) return rc;
    struct query q = query_start(&store->sql, SQL_SHRINK);
    return query_run(&q);
}

// What is done once the walk has reached its end: dead keys, old sources, free pages.
static int tidy(struct store *store) {
    struct query q = query_start(&store->sql, SQL_EXPIRE_KV);
    query_put_int(&q, store->now_ms);
    int rc = query_run(&q);
    if (rc == SQLITE_OK) rc = retire_source(store);
    return rc == SQLITE_OK ? shrink(store) : rc;
}

enum err store_retire(struct store *store, int64_t before_ms, size_t limit, size_t *deleted,
                      struct fail *fail) {
    *deleted = 0;
    enum err err = store_writable(store, fail);
    if (err) return err;
    bool ended = false;
    int rc = retire_events(store, before_ms, limit, deleted, &ended);
    if (rc == SQLITE_OK && *deleted) rc = store_keep_numbers(store);
    if (rc == SQLITE_OK && ended) {
        store->retire_after = 0;
        rc = tidy(store);
    }
    return store_done(store, rc, "retiring old events", fail);
}
