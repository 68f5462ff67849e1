// Readers: their own connection, query_only, from any thread or process, beside
// a running writer or without one. They never checkpoint, so a forgotten
// reader can hold the log's size up but not its contents back.
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "store_inner.h"

static enum err reader_done(struct store_reader *r, int rc, const char *doing, struct fail *fail) {
    return rc == SQLITE_OK ? OK : sql_error(r->sql.db, rc, doing, fail);
}

static enum err open_reader(struct store_reader *r, const char *dir, struct fail *fail) {
    char path[STORE_PATH];
    struct stat st;
    enum err err = store_path(dir, "tuma.db", path, fail);
    if (!err && stat(path, &st) != 0)
        err = errno == ENOENT
                  ? fail_set(fail, ERR_NOTFOUND, 0, "no_store", "%s: no store here", dir)
                  : fail_set(fail, ERR_DENIED, 0, "store_denied", "%s: %s", path, strerror(errno));
    if (!err) err = sql_open(&r->sql, path, SQL_READER, false, fail);
    return err ? err : sql_check_schema(&r->sql, path, fail);
}

struct store_reader *store_reader_open(const char *dir, struct fail *fail) {
    struct store_reader *r = calloc(1, sizeof *r);
    if (!r) {
        fail_set(fail, ERR_NOMEM, 0, "no_memory", "opening the store: no memory");
        return NULL;
    }
    if (open_reader(r, dir, fail) == OK) return r;
    store_reader_close(r);
    return NULL;
}

void store_reader_close(struct store_reader *reader) {
    if (!reader) return;
    sql_close(&reader->sql);
    free(reader);
}

// --- Deliveries ---

static void read_delivery(struct query *q, struct store_delivery *d) {
    d->delivery = query_get_int(q);
    d->event_number = d->delivery / STORE_FANOUT_MAX;
    d->state = (enum delivery_state)query_get_int(q);
    int64_t at_ms = query_get_int(q);
    *(d->state == DELIVERY_PENDING ? &d->due_ms : &d->settled_ms) = at_ms;
    d->created_ms = query_get_int(q);
    d->attempts = (uint32_t)query_get_int(q);
    d->last_status = (int)query_get_int(q);
    d->version = query_get_text(q);
    d->reason = query_get_text(q);
    d->last_error = query_get_text(q);
    d->event_id = query_get_text(q);
    d->type = query_get_text(q);
    d->org = query_get_text(q);
    d->hook = query_get_text(q);
    d->unresolved = query_get_text(q);
    d->request = query_get_text(q);
}

struct listing {
    struct sql *sql;
    int64_t with_request; // this delivery's
    bool (*each)(void *user, const struct store_delivery *d);
    void *user;
    int rc;
};

static bool list_one(void *user, int64_t delivery) {
    struct listing *l = user;
    struct query q = query_start(l->sql, SQL_LIST_ROW);
    query_put_int(&q, delivery);
    query_put_int(&q, l->with_request);
    bool more = true;
    if (query_step(&q)) {
        struct store_delivery d = { .delivery = 0 };
        read_delivery(&q, &d);
        more = l->each(l->user, &d);
    }
    l->rc = query_end(&q);
    return more && l->rc == SQLITE_OK;
}

enum err store_reader_list(struct store_reader *r, const struct store_filter *filter, size_t limit,
                           bool (*each)(void *user, const struct store_delivery *d), void *user,
                           int64_t *next, struct fail *fail) {
    struct listing listing = { &r->sql, filter->delivery, each, user, SQLITE_OK };
    struct scan scan = { .filter = filter,
                         .skip_state = -1,
                         .limit = limit,
                         .misses_max = LIST_MISSES_MAX,
                         .hit = list_one,
                         .user = &listing };
    // One snapshot: the walk's statement is open while its hits are read.
    int rc = scan_run(&r->sql, &scan);
    if (next) *next = scan.more ? scan.last : 0;
    return reader_done(r, rc == SQLITE_OK ? listing.rc : rc, "listing deliveries", fail);
}

static void read_attempt(struct query *q, struct attempt *a) {
    a->started_ms = query_get_int(q);
    a->number = (uint32_t)query_get_int(q);
    a->status = (int)query_get_int(q);
    a->verdict = (enum verdict)query_get_int(q);
    struct slice type = query_get_text(q), error = query_get_text(q);
    snprintf(a->error_type, sizeof a->error_type, "%.*s", SLICE_FMT(type));
    snprintf(a->error, sizeof a->error, "%.*s", SLICE_FMT(error));
    a->response_incomplete = query_get_int(q) != 0;
    int32_t *const timings[] = { &a->dns_us, &a->connect_us, &a->tls_us, &a->first_byte_us,
                                 &a->total_us };
    for (size_t i = 0; i < 5; i++) *timings[i] = (int32_t)query_get_int(q);
    a->retry_after_ms = query_get_int(q);
    a->sent_headers = query_get_text(q);
    a->response_headers = query_get_text(q);
    a->response_body = query_get_text(q);
}

enum err store_reader_attempts(struct store_reader *r, int64_t delivery,
                               bool (*each)(void *user, const struct attempt *a), void *user,
                               struct fail *fail) {
    struct query q = query_start(&r->sql, SQL_ATTEMPTS);
    query_put_int(&q, delivery);
    for (bool more = true; more && query_step(&q);) {
        struct attempt a = { .number = 0 };
        read_attempt(&q, &a);
        more = each(user, &a);
    }
    return reader_done(r, query_end(&q), "reading attempts", fail);
}

enum err store_reader_counts(struct store_reader *r,
                             void (*each)(void *user, struct slice hook, enum delivery_state state,
                                          uint64_t count),
                             void *user, struct fail *fail) {
    struct query q = query_start(&r->sql, SQL_COUNTS);
    while (query_step(&q)) {
        struct slice hook = query_get_text(&q);
        enum delivery_state state = (enum delivery_state)query_get_int(&q);
        each(user, hook, state, (uint64_t)query_get_int(&q));
    }
    return reader_done(r, query_end(&q), "counting deliveries", fail);
}

// --- Events ---

// An owned event from a row; NULL with fail filled.
static struct event *read_event(struct query *q, struct fail *fail) {
    int64_t number = query_get_int(q);
    struct event seen = { .id = query_get_text(q) };
    seen.type = query_get_text(q);
    seen.org = query_get_text(q);
    seen.time_ms = query_get_int(q);
    seen.trace = query_get_text(q);
    seen.json = query_get_text(q);
    if (query_get_int(q) != store_crc_event(number, &seen)) {
        fail_set(fail, ERR_INPUT, 0, "corrupt_row", "event %lld: its stored bytes changed on disk",
                 (long long)number);
        return NULL;
    }
    return event_restore(seen.id, seen.type, seen.org, seen.time_ms, seen.trace, seen.json, fail);
}

enum err store_reader_event(struct store_reader *r, int64_t event_number, struct event **event,
                            struct fail *fail) {
    struct query q = query_start(&r->sql, SQL_GET_EVENT);
    struct fail why = { .code = OK };
    query_put_int(&q, event_number);
    *event = NULL;
    bool found = query_step(&q);
    if (found) *event = read_event(&q, &why);
    int rc = query_end(&q);
    if (rc != SQLITE_OK) return reader_done(r, rc, "reading an event", fail);
    if (*event) return OK;
    if (found) return fail_set(fail, why.code, why.at, why.type, "%s", why.text);
    return fail_set(fail, ERR_NOTFOUND, 0, "no_event", "event %lld is not in the store",
                    (long long)event_number);
}

enum err store_reader_events(struct store_reader *r, size_t limit,
                             bool (*each)(void *user, struct event *event), void *user,
                             struct fail *fail) {
    struct query q = query_start(&r->sql, SQL_EVENTS);
    query_put_int(&q, (int64_t)limit);
    for (bool more = true; more && query_step(&q);) {
        struct event *event = read_event(&q, NULL);
        if (!event) continue; // a damaged one is no reason to hide the others
        more = each(user, event);
        event_unref(event);
    }
    return reader_done(r, query_end(&q), "reading events", fail);
}

enum err store_reader_event_count(struct store_reader *r, uint64_t *events, struct fail *fail) {
    struct query q = query_start(&r->sql, SQL_EVENT_COUNT);
    *events = query_step(&q) ? (uint64_t)query_get_int(&q) : 0;
    return reader_done(r, query_end(&q), "counting events", fail);
}

// --- What is kept beside ---

enum err store_reader_hooks(struct store_reader *r,
                            void (*each)(void *user, const struct store_hook *hook), void *user,
                            struct fail *fail) {
    return reader_done(r, keep_each_hook(&r->sql, each, user), "reading webhooks", fail);
}

struct find_hook {
    struct slice name;
    int64_t number;
};

static void match_hook(void *user, const struct store_hook *hook) {
    struct find_hook *find = user;
    if (slice_eq(hook->name, find->name)) find->number = hook->number;
}

enum err store_reader_hook_number(struct store_reader *r, struct slice name, int64_t *number,
                                  struct fail *fail) {
    struct find_hook find = { name, 0 };
    enum err err = store_reader_hooks(r, match_hook, &find, fail);
    *number = find.number;
    return err;
}

enum err store_reader_kv(struct store_reader *r, struct slice hook, int64_t now_ms,
                         void (*each)(void *to, const struct script_kv *kv), void *to,
                         struct fail *fail) {
    return reader_done(r, keep_each_kv(&r->sql, hook, now_ms, each, to), "reading a script's keys",
                       fail);
}

enum err store_reader_source(struct store_reader *r, struct slice version, struct arena *arena,
                             struct slice *name, struct slice *source, struct fail *fail) {
    struct query q = query_start(&r->sql, SQL_GET_SOURCE);
    query_put_text(&q, version);
    bool found = query_step(&q);
    if (found) {
        *name = arena_dup(arena, query_get_text(&q));
        *source = arena_dup(arena, query_get_text(&q));
    }
    enum err err = reader_done(r, query_end(&q), "reading a script", fail);
    if (err) return err;
    if (!found)
        return fail_set(fail, ERR_NOTFOUND, 0, "no_source", "script version %.*s is not kept",
                        SLICE_FMT(version));
    return name->p && source->p
               ? OK
               : fail_set(fail, ERR_NOMEM, 0, "no_memory", "reading a script: no memory");
}

enum err store_reader_check(struct store_reader *r, struct fail *fail) {
    return sql_quick_check(&r->sql, fail);
}

bool store_reader_token(struct store_reader *r, struct slice id, int64_t now_ms, uint8_t hash[32],
                        char scopes[64]) {
    struct query q = query_start(&r->sql, SQL_GET_TOKEN);
    query_put_text(&q, id);
    query_put_int(&q, now_ms);
    bool found = query_step(&q);
    if (found) {
        struct slice stored = query_get_text(&q), rights = query_get_text(&q);
        found = stored.n == 32 && rights.n < 64;
        if (found) memcpy(hash, stored.p, 32);
        if (found) snprintf(scopes, 64, "%.*s", SLICE_FMT(rights));
    }
    return query_end(&q) == SQLITE_OK && found;
}

enum err store_reader_tokens(struct store_reader *r,
                             void (*each)(void *user, struct slice id, struct slice label,
                                          struct slice scopes, int64_t created_ms,
                                          int64_t expires_ms),
                             void *user, struct fail *fail) {
    struct query q = query_start(&r->sql, SQL_TOKENS);
    while (query_step(&q)) {
        struct slice id = query_get_text(&q), label = query_get_text(&q);
        struct slice scopes = query_get_text(&q);
        int64_t created_ms = query_get_int(&q);
        each(user, id, label, scopes, created_ms, query_get_int(&q));
    }
    return reader_done(r, query_end(&q), "reading tokens", fail);
}
