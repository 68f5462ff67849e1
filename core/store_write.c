// The writing verbs: events in, outcomes in, work out. Each is a few prepared
// statements inside the caller's transaction. Renders and attempts have tables
// of their own, so that the delivery rows, which change, stay small and in place.
#include <stdlib.h>

#include "crc.h"
#include "store_inner.h"

enum err store_hook_number(struct store *store, struct slice name, int64_t *number,
                           struct fail *fail) {
    enum err err = store_writable(store, fail);
    if (err) return err;
    struct query q = query_start(&store->sql, SQL_FIND_HOOK);
    query_put_text(&q, name);
    bool known = query_step(&q);
    if (known) *number = query_get_int(&q);
    err = store_done(store, query_end(&q), "finding a webhook", fail);
    if (err || known) return err;
    q = query_start(&store->sql, SQL_NEW_HOOK);
    query_put_text(&q, name);
    err = store_done(store, query_run(&q), "adding a webhook", fail);
    *number = sqlite3_last_insert_rowid(store->sql.db);
    return err;
}

// --- Events in ---

static enum err put_event_row(struct store *store, const struct event *event, bool *fresh,
                              struct fail *fail) {
    struct query q = query_start(&store->sql, SQL_PUT_EVENT);
    query_put_int(&q, store->next_event);
    query_put_text(&q, event->id);
    query_put_text(&q, event->org);
    query_put_text(&q, event->type);
    query_put_int(&q, event->time_ms);
    query_put_int(&q, store->now_ms);
    query_put_text(&q, event->trace);
    query_put_int(&q, store_crc_event(store->next_event, event));
    query_put_blob(&q, event->json);
    enum err err = store_done(store, query_run(&q), "storing an event", fail);
    *fresh = !err && sqlite3_changes(store->sql.db) > 0;
    return err;
}

// An event with this id is there: the same one again, or another?
static enum err compare_event(struct store *store, const struct event *event,
                              enum store_put *result, int64_t *number, struct fail *fail) {
    struct query q = query_start(&store->sql, SQL_SAME_EVENT);
    query_put_text(&q, event->id);
    query_put_text(&q, event->org);
    query_put_text(&q, event->type);
    query_put_blob(&q, event->json);
    if (query_step(&q)) {
        *number = query_get_int(&q);
        *result = query_get_int(&q) ? STORE_DUPLICATE : STORE_CONFLICT;
    }
    return store_done(store, query_end(&q), "comparing an event", fail);
}

static enum err put_delivery(struct store *store, int64_t number, const struct store_target *target,
                             bool rendered, struct fail *fail) {
    struct query q = query_start(&store->sql, SQL_PUT_DELIVERY);
    query_put_int(&q, number);
    query_put_int(&q, target->hook);
    query_put_int(&q, target->state);
    query_put_int(&q, target->due_ms);
    query_put_int(&q, store->now_ms);
    query_put_int(&q, store_crc_delivery(number, target->hook));
    query_put_text(&q, target->version);
    query_put_text(&q, target->order_key);
    query_put_int(&q, rendered);
    return store_done(store, query_run(&q), "storing a delivery", fail);
}

enum err store_put_event(struct store *store, const struct event *event,
                         struct store_target *targets, size_t targets_count, enum store_put *result,
                         int64_t *event_number, struct fail *fail) {
    enum err err = store_writable(store, fail);
    if (err) return err;
    if (targets_count > STORE_FANOUT_MAX)
        return fail_set(fail, ERR_LIMIT, 0, "fan_out", "an event for more than %d deliveries",
                        STORE_FANOUT_MAX);
    bool fresh = false;
    err = put_event_row(store, event, &fresh, fail);
    if (err) return err;
    if (!fresh) return compare_event(store, event, result, event_number, fail);
    *result = STORE_NEW;
    *event_number = store->next_event++;
    for (size_t i = 0; i < targets_count && !err; i++) {
        targets[i].delivery = *event_number * STORE_FANOUT_MAX + (int64_t)i;
        err = put_delivery(store, targets[i].delivery, &targets[i], false, fail);
    }
    return err;
}

// --- Outcomes in ---

static uint32_t crc_request(int64_t delivery, struct slice request) {
    return crc32c(crc32c(0, slice((const char *)&delivery, sizeof delivery)), request);
}

static enum err put_request(struct store *store, int64_t delivery, struct slice request,
                            struct slice unresolved, struct fail *fail) {
    struct query q = query_start(&store->sql, SQL_PUT_REQUEST);
    query_put_int(&q, delivery);
    query_put_int(&q, crc_request(delivery, request));
    query_put_text(&q, unresolved);
    query_put_blob(&q, request);
    return store_done(store, query_run(&q), "storing a request", fail);
}

static enum err put_attempt(struct store *store, int64_t delivery, const struct attempt *a,
                            struct fail *fail) {
    struct query q = query_start(&store->sql, SQL_PUT_ATTEMPT);
    query_put_int(&q, delivery);
    query_put_int(&q, a->started_ms);
    query_put_int(&q, a->number);
    query_put_int(&q, a->status);
    query_put_int(&q, a->verdict);
    query_put_text(&q, slice_str(a->error_type));
    query_put_text(&q, slice_str(a->error));
    query_put_int(&q, a->response_incomplete);
    query_put_int(&q, a->dns_us);
    query_put_int(&q, a->connect_us);
    query_put_int(&q, a->tls_us);
    query_put_int(&q, a->first_byte_us);
    query_put_int(&q, a->total_us);
    query_put_int(&q, a->retry_after_ms);
    query_put_text(&q, a->sent_headers);
    query_put_text(&q, a->response_headers);
    query_put_blob(&q, a->response_body);
    return store_done(store, query_run(&q), "logging an attempt", fail);
}

enum err store_settle(struct store *store, const struct store_settle *s, struct fail *fail) {
    enum err err = store_writable(store, fail);
    if (err) return err;
    struct query q = query_start(&store->sql, s->attempt ? SQL_SETTLE_ATTEMPT : SQL_SETTLE);
    query_put_int(&q, s->delivery);
    query_put_int(&q, s->state);
    query_put_int(&q, s->attempts);
    query_put_int(&q, s->state == DELIVERY_PENDING ? s->due_ms : s->now_ms);
    query_put_text(&q, s->reason);
    query_put_text(&q, s->version);
    query_put_int(&q, s->request.n > 0);
    if (s->attempt) {
        query_put_int(&q, s->attempt->status);
        query_put_text(&q, slice_str(s->attempt->error));
    }
    err = store_done(store, query_run(&q), "settling a delivery", fail);
    if (!err && sqlite3_changes(store->sql.db) == 0)
        return fail_set(fail, ERR_NOTFOUND, 0, "no_delivery", "delivery %lld is not in the store",
                        (long long)s->delivery);
    if (!err && s->request.n)
        err = put_request(store, s->delivery, s->request, s->unresolved, fail);
    if (!err && s->attempt) err = put_attempt(store, s->delivery, s->attempt, fail);
    return err;
}

static enum err last_sibling(struct store *store, int64_t first, int64_t *last, struct fail *fail) {
    struct query q = query_start(&store->sql, SQL_LAST_SIBLING);
    query_put_int(&q, first);
    query_put_int(&q, first + STORE_FANOUT_MAX - 1);
    if (query_step(&q)) *last = query_get_int(&q);
    return store_done(store, query_end(&q), "numbering a delivery", fail);
}

enum err store_add_delivery(struct store *store, int64_t of_delivery, struct slice request,
                            int64_t due_ms, int64_t *delivery, struct fail *fail) {
    enum err err = store_writable(store, fail);
    if (err) return err;
    int64_t first = of_delivery - of_delivery % STORE_FANOUT_MAX, last = 0;
    err = last_sibling(store, first, &last, fail);
    if (err) return err;
    if (last - first >= STORE_FANOUT_MAX - 1)
        return fail_set(fail, ERR_LIMIT, 0, "fan_out", "an event with more than %d deliveries",
                        STORE_FANOUT_MAX);
    struct query q = query_start(&store->sql, SQL_GET_DELIVERY);
    query_put_int(&q, of_delivery);
    bool found = query_step(&q);
    if (found) {
        struct store_target target = { .hook = query_get_int(&q), .due_ms = due_ms };
        target.version = query_get_text(&q);
        target.order_key = query_get_text(&q);
        *delivery = last + 1;
        err = put_delivery(store, *delivery, &target, true, fail);
    }
    enum err read = store_done(store, query_end(&q), "reading a delivery", fail);
    if (err || read) return err ? err : read;
    if (!found)
        return fail_set(fail, ERR_NOTFOUND, 0, "no_delivery", "delivery %lld is not in the store",
                        (long long)of_delivery);
    return put_request(store, *delivery, request, S(""), fail);
}

struct picked {
    int64_t *numbers;
    size_t count;
};

static bool pick(void *user, int64_t delivery) {
    struct picked *picked = user;
    picked->numbers[picked->count++] = delivery;
    return true;
}

static int move_one(struct store *store, int64_t delivery, const struct store_change *change) {
    bool pending = change->to == DELIVERY_PENDING;
    struct query q = query_start(&store->sql, SQL_MOVE);
    query_put_int(&q, delivery);
    query_put_int(&q, change->to);
    query_put_int(&q, pending ? change->due_ms : store->now_ms);
    query_put_text(&q, change->reason);
    query_put_int(&q, pending && change->reset_attempts);
    query_put_int(&q, change->reset_attempts);
    return query_run(&q);
}

enum err store_move(struct store *store, struct store_filter *filter,
                    const struct store_change *change, size_t limit, size_t *moved, bool *more,
                    struct fail *fail) {
    *moved = 0;
    *more = false;
    enum err err = store_writable(store, fail);
    if (err) return err;
    struct picked picked = { .numbers = malloc(limit * sizeof *picked.numbers) };
    struct scan scan = { .filter = filter,
                         .upward = true,
                         .skip_state = (int)change->to,
                         .limit = limit,
                         .misses_max = MOVE_MISSES_MAX,
                         .hit = pick,
                         .user = &picked };
    // First the numbers: an update would shift the rows under the walk.
    int rc = picked.numbers ? scan_run(&store->sql, &scan) : SQLITE_NOMEM;
    for (; *moved < picked.count && rc == SQLITE_OK; ++*moved)
        rc = move_one(store, picked.numbers[*moved], change);
    free(picked.numbers);
    *more = scan.more;
    if (scan.more && !scan_restarts(&scan)) filter->after_delivery = scan.last;
    return store_done(store, rc, "moving deliveries", fail);
}

// --- Work out ---

static void call_each_due(struct query *q, size_t *left,
                          void (*each)(void *user, const struct store_due *due), void *user) {
    while (*left && query_step(q)) {
        struct store_due due = { .delivery = query_get_int(q) };
        due.hook = query_get_int(q);
        due.due_ms = query_get_int(q);
        due.created_ms = query_get_int(q);
        due.attempts = (uint32_t)query_get_int(q);
        due.order_key = query_get_text(q);
        due.replay = query_get_int(q) != 0;
        (*left)--;
        each(user, &due);
    }
}

enum err store_fetch_due(struct store *store, int64_t hook, int64_t after_due_ms,
                         int64_t after_delivery, size_t limit,
                         void (*each)(void *user, const struct store_due *due), void *user,
                         struct fail *fail) {
    // Two ranges of the index; one row-value comparison would read every row
    // with the cursor's due time again.
    struct query q = query_start(&store->sql, SQL_DUE_SAME);
    query_put_int(&q, hook);
    query_put_int(&q, after_due_ms);
    query_put_int(&q, after_delivery);
    query_put_int(&q, (int64_t)limit);
    call_each_due(&q, &limit, each, user);
    enum err err = store_done(store, query_end(&q), "reading due deliveries", fail);
    if (err || !limit) return err;
    q = query_start(&store->sql, SQL_DUE_LATER);
    query_put_int(&q, hook);
    query_put_int(&q, after_due_ms);
    query_put_int(&q, (int64_t)limit);
    call_each_due(&q, &limit, each, user);
    return store_done(store, query_end(&q), "reading due deliveries", fail);
}

enum err store_pending_hooks(struct store *store,
                             void (*each)(void *user, int64_t hook, struct slice name,
                                          uint64_t count, int64_t first_due_ms),
                             void *user, struct fail *fail) {
    struct query q = query_start(&store->sql, SQL_PENDING_HOOKS);
    while (query_step(&q)) {
        int64_t hook = query_get_int(&q);
        struct slice name = query_get_text(&q);
        uint64_t count = (uint64_t)query_get_int(&q);
        each(user, hook, name, count, query_get_int(&q));
    }
    return store_done(store, query_end(&q), "counting pending deliveries", fail);
}

// Copies the row's slices; false when the arena is full.
static bool take_job(struct query *q, struct arena *arena, struct store_job *job) {
    struct slice *const texts[] = { &job->event_id, &job->type, &job->org, &job->trace };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        if (!(*texts[i] = arena_dup(arena, query_get_text(q))).p) return false;
    job->time_ms = query_get_int(q);
    return (job->tags_json = arena_dup(arena, query_get_text(q))).p != NULL;
}

static bool take_request(struct query *q, struct arena *arena, struct store_job *job) {
    job->request = query_get_text(q);
    return !job->request.n || (job->request = arena_dup(arena, job->request)).p != NULL;
}

enum row { ROW_FINE, ROW_CORRUPT, ROW_NO_MEMORY };

static enum row read_job(struct query *q, struct arena *arena, struct store_job *job) {
    int64_t number = query_get_int(q);
    job->hook = query_get_int(q);
    if (query_get_int(q) != store_crc_delivery(number, job->hook)) return ROW_CORRUPT;
    job->attempts = (uint32_t)query_get_int(q);
    bool rendered = query_get_int(q) != 0;
    if (!(job->version = arena_dup(arena, query_get_text(q))).p) return ROW_NO_MEMORY;
    int64_t event_crc = query_get_int(q);
    if (!take_job(q, arena, job)) return ROW_NO_MEMORY;
    struct event seen = { .id = job->event_id,
                          .org = job->org,
                          .type = job->type,
                          .time_ms = job->time_ms,
                          .trace = job->trace,
                          .json = job->tags_json };
    if (event_crc != store_crc_event(number / STORE_FANOUT_MAX, &seen)) return ROW_CORRUPT;
    int64_t request_crc = query_get_int(q);
    if (!take_request(q, arena, job)) return ROW_NO_MEMORY;
    // A render that vanished is damage too: a new one might have other bytes.
    bool fits = job->request.n ? request_crc == crc_request(number, job->request) : !rendered;
    return fits ? ROW_FINE : ROW_CORRUPT;
}

enum err store_read_job(struct sql *sql, int64_t delivery, struct arena *arena,
                        struct store_job *job, int *rc, struct fail *fail) {
    struct query q = query_start(sql, SQL_LOAD_JOB);
    query_put_int(&q, delivery);
    enum row row = ROW_FINE;
    bool found = query_step(&q);
    if (found) row = read_job(&q, arena, job);
    *rc = query_end(&q);
    // A damaged page costs the deliveries on it, not the engine.
    if ((*rc & 0xFF) == SQLITE_CORRUPT || row == ROW_CORRUPT)
        return fail_set(fail, ERR_INPUT, 0, "corrupt_row",
                        "delivery %lld: its stored bytes changed on disk", (long long)delivery);
    if (row == ROW_NO_MEMORY)
        return fail_set(fail, ERR_NOMEM, 0, "no_memory", "loading a delivery: no memory");
    if (*rc != SQLITE_OK) return sql_error(sql->db, *rc, "loading a delivery", fail);
    return found ? OK
                 : fail_set(fail, ERR_NOTFOUND, 0, "no_delivery",
                            "delivery %lld is not in the store", (long long)delivery);
}

enum err store_load_job(struct store *store, int64_t delivery, struct arena *arena,
                        struct store_job *job, struct fail *fail) {
    enum err err = store_alive(store, fail);
    if (err) return err;
    int rc;
    err = store_read_job(&store->sql, delivery, arena, job, &rc, fail);
    bool spoken = err == OK || err == ERR_INPUT || rc == SQLITE_OK;
    return spoken ? err : store_failed(store, rc, "loading a delivery", fail);
}
