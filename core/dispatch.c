// Life of the queues and the choice among them. A queue is looked at only when
// something of it changed or its timer ran out, so a choice costs the same with
// ten webhooks and with ten thousand.
#include "dispatch.h"

#include <assert.h>
#include <stdlib.h>

#include "dispatch_inner.h"

struct dispatch *dispatch_new(const struct dispatch_opts *opts) {
    struct dispatch *d = calloc(1, sizeof *d);
    if (!d) return NULL;
    d->opts = *opts;
    list_init(&d->orgs);
    list_init(&d->starved);
    list_init(&d->hungry);
    list_init(&d->queues);
    map_init(&d->org_names);
    map_init(&d->entries);
    map_init(&d->keys);
    return d;
}

static void queue_free(struct dispatch_queue *q) {
    window_clear(q);
    while (!list_empty(&q->keys)) { // those in flight
        list_item(q->keys.next, struct dispatch_key, link)->in_flight = false;
        order_forget(q);
    }
    list_remove(&q->all);
    free(q);
}

void dispatch_free(struct dispatch *d) {
    if (!d) return;
    while (!list_empty(&d->queues))
        queue_free(list_item(d->queues.next, struct dispatch_queue, all));
    size_t at = 0;
    for (struct map_entry *e; (e = map_next(&d->entries, &at));) { // in flight
        struct dispatch_entry *entry = e->value;
        if (entry->payload && d->opts.forget) d->opts.forget(d->opts.user, entry->payload);
        free(entry);
    }
    at = 0;
    for (struct map_entry *e; (e = map_next(&d->org_names, &at));) free(e->value);
    map_deinit(&d->org_names);
    map_deinit(&d->entries);
    map_deinit(&d->keys);
    free(d);
}

// The organization's record, made on first use and kept.
static struct dispatch_org *org_of(struct dispatch *d, struct slice name) {
    if (!name.p) name = S("");
    struct dispatch_org *org = map_get(&d->org_names, name);
    if (org) return org;
    org = calloc(1, sizeof *org + name.n + 1);
    if (!org) return NULL;
    char *copy = (char *)(org + 1);
    memcpy(copy, name.p, name.n);
    org->name = slice(copy, name.n);
    list_init(&org->link);
    list_init(&org->active);
    list_init(&org->doubted);
    if (map_put(&d->org_names, org->name, org)) return org;
    free(org);
    return NULL;
}

struct dispatch_queue *dispatch_queue_new(struct dispatch *d, int64_t hook, void *user) {
    struct dispatch_org *org = org_of(d, S(""));
    struct dispatch_queue *q = org ? calloc(1, sizeof *q) : NULL;
    if (!q) return NULL;
    *q = (struct dispatch_queue){
        .dispatch = d, .org = org, .hook = hook, .user = user, .held = true
    };
    q->limits.concurrency = 1;
    list_init(&q->fresh);
    list_init(&q->late);
    list_init(&q->keys);
    list_init(&q->link);
    list_init(&q->hungry);
    list_init(&q->all);
    list_push(&d->queues, &q->all);
    return q;
}

void *dispatch_queue_user(const struct dispatch_queue *q) {
    return q->user;
}

int64_t dispatch_queue_hook(const struct dispatch_queue *q) {
    return q->hook;
}

// --- Where a queue stands ---

static struct list *turns_of(const struct dispatch_queue *q) {
    return q->doubted ? &q->org->doubted : &q->org->active;
}

static void queue_rest(struct dispatch_queue *q) {
    list_remove(&q->link);
    q->place = QUEUE_RESTS;
    if (list_empty(&q->org->active) && list_empty(&q->org->doubted)) list_remove(&q->org->link);
}

static void queue_activate(struct dispatch_queue *q) {
    if (q->place != QUEUE_RESTS) return;
    q->place = QUEUE_ACTIVE;
    list_push(turns_of(q), &q->link);
    if (!list_linked(&q->org->link)) list_push(&q->dispatch->orgs, &q->org->link);
}

static bool queue_has_ready(const struct dispatch_queue *q) {
    return !list_empty(&q->fresh) || !list_empty(&q->late);
}

// When `q` could start something: ≤ now_ns: now; INT64_MAX: not by time alone.
static int64_t start_ns(const struct dispatch_queue *q, int64_t now_ns) {
    if (!queue_has_ready(q) || q->in_flight >= q->limits.concurrency) return INT64_MAX;
    int64_t gate = pace_gate_ns(q, now_ns);
    int64_t late = list_empty(&q->fresh) ? pace_late_gate_ns(q) : INT64_MIN;
    return late > gate ? late : gate;
}

static int64_t disk_ns(const struct dispatch_queue *q, int64_t now_ns) {
    if (!q->more) return INT64_MAX;
    if (q->fetch_after_ns > now_ns) return q->fetch_after_ns;
    if (window_disk_due(q, now_ns)) return INT64_MAX; // wanted, or no room now
    return ms_to_ns(q->disk_due_ms - LOAD_AHEAD_MS);
}

// The backlog of an outage is worked off: nothing of it is left anywhere.
static void end_recovery(struct dispatch_queue *q, int64_t now_ns) {
    if (q->recovery_ns && list_empty(&q->late) && !q->late_in_flight && !window_disk_due(q, now_ns))
        q->recovery_ns = 0;
}

static void file_hungry(struct dispatch_queue *q, int64_t now_ns) {
    bool wants = window_wants(q, now_ns);
    if (wants && !list_linked(&q->hungry)) list_push(&q->dispatch->hungry, &q->hungry);
    if (!wants) list_remove(&q->hungry);
}

void queue_update(struct dispatch_queue *q, int64_t now_ns) {
    int64_t wake = INT64_MAX;
    heap_remove(&q->dispatch->timers, &q->timer);
    window_move_due(q, now_ns);
    end_recovery(q, now_ns);
    file_hungry(q, now_ns);
    if (q->held) {
        queue_rest(q);
        return;
    }
    int64_t start = start_ns(q, now_ns), disk = disk_ns(q, now_ns);
    if (start <= now_ns)
        queue_activate(q);
    else
        queue_rest(q);
    if (start > now_ns && start < wake) wake = start;
    if (disk < wake) wake = disk;
    if (heap_top(&q->waiting) && heap_top(&q->waiting)->key < wake)
        wake = heap_top(&q->waiting)->key;
    if (wake != INT64_MAX) heap_add(&q->dispatch->timers, &q->timer, wake, q->hook);
}

// --- What the owner says of a queue ---

bool dispatch_queue_limit(struct dispatch_queue *q, const struct dispatch_limits *limits,
                          int64_t now_ns) {
    struct dispatch_org *org = org_of(q->dispatch, limits->org);
    if (!org) return false;
    bool ordered = q->limits.ordered || limits->ordered; // stored keys hold over versions
    queue_rest(q);
    q->org = org;
    q->limits = *limits;
    q->limits.org = org->name;
    q->limits.ordered = ordered;
    queue_update(q, now_ns);
    return true;
}

void dispatch_queue_recall(struct dispatch_queue *q, const struct dispatch_past *past,
                           int64_t now_ns) {
    int64_t attempt_ns = ms_to_ns(past->attempt_ms);
    queue_rest(q);
    // A clock that was set back must not keep it waiting.
    if (attempt_ns)
        rate_empty(&q->limits.rate, &q->rate, attempt_ns < now_ns ? attempt_ns : now_ns);
    q->doubted = past->failures > 0;
    if (q->doubted)
        breaker_recall(&q->breaker, &q->limits.breaker, past->failures,
                       ms_to_ns(past->failing_since_ms), now_ns, past->random);
    queue_update(q, now_ns);
}

void dispatch_queue_hold(struct dispatch_queue *q, bool held, int64_t now_ns) {
    q->held = held;
    queue_update(q, now_ns);
}

void dispatch_queue_trust(struct dispatch_queue *q, int64_t now_ns) {
    if (q->breaker.phase != BREAKER_CLOSED) q->recovery_ns = now_ns;
    q->breaker = (struct breaker){ .phase = BREAKER_CLOSED };
    q->hold_until_ns = 0;
    queue_update(q, now_ns);
}

void dispatch_queue_reset(struct dispatch_queue *q, bool more, int64_t now_ns) {
    window_clear(q);
    q->more = more;
    q->more_replays = q->skipped = q->stopped = false;
    q->scanning = more && q->limits.ordered;
    q->cursor_due_ms = q->cursor_delivery = q->disk_due_ms = INT64_MIN;
    queue_update(q, now_ns);
}

void dispatch_queue_more(struct dispatch_queue *q, int64_t due_ms, int64_t delivery, bool replay,
                         int64_t now_ns) {
    if (replay) q->more_replays = true;
    window_note(q, due_ms, delivery);
    queue_update(q, now_ns);
}

bool dispatch_wants(struct dispatch *d, struct dispatch_fetch *fetch) {
    struct list *link = list_pop(&d->hungry);
    if (!link) return false;
    struct dispatch_queue *q = list_item(link, struct dispatch_queue, hungry);
    size_t limit = window_limit(q);
    *fetch = (struct dispatch_fetch){
        .queue = q,
        .after_due_ms = q->cursor_due_ms,
        .after_delivery = q->cursor_delivery,
        .limit = q->scanning          ? SCAN_PAGE
                 : limit < FETCH_PAGE ? limit
                                      : FETCH_PAGE,
    };
    return true;
}

// --- The choice ---

static unsigned at_least_one(unsigned n) {
    return n ? n : 1;
}

static bool late_slots_left(const struct dispatch *d) {
    return d->late_in_flight < at_least_one(d->opts.in_flight_max / 2);
}

// Whether the others leave a slot for it (see dispatch.h).
static bool admitted(const struct dispatch_queue *q) {
    const struct dispatch *d = q->dispatch;
    unsigned free_slots = d->opts.in_flight_max - d->in_flight;
    if (q->in_flight >= SHARE_OF_FREE * free_slots) return false;
    if (!q->proven && d->unproven_in_flight >= at_least_one(d->opts.in_flight_max * 3 / 4))
        return false;
    return !list_empty(&q->fresh) || late_slots_left(d);
}

// Live and late traffic take turns; late never has more than half of what the
// webhook may have in flight while live traffic waits.
static struct dispatch_entry *pick(struct dispatch_queue *q, int64_t now_ns) {
    bool fresh = !list_empty(&q->fresh);
    bool late =
        !list_empty(&q->late) && late_slots_left(q->dispatch) && pace_late_gate_ns(q) <= now_ns;
    if (fresh && late)
        late = q->late_turn && q->late_in_flight < at_least_one(q->limits.concurrency / 2);
    return entry_take(late ? &q->late : &q->fresh);
}

static void start(struct dispatch_queue *q, struct dispatch_entry *entry, int64_t now_ns) {
    struct dispatch *d = q->dispatch;
    entry->unproven = !q->proven;
    entry->doubted = q->doubted;
    if (entry->key) entry->key->in_flight = true;
    pace_start(q, entry, now_ns);
    q->late_turn = !entry->late;
    q->in_flight++, d->in_flight++;
    q->late_in_flight += entry->late, d->late_in_flight += entry->late;
    d->unproven_in_flight += entry->unproven;
}

// To the back of its organization, and that to the back of all.
static void rotate(struct dispatch_queue *q) {
    list_remove(&q->link);
    list_push(turns_of(q), &q->link);
    list_remove(&q->org->link);
    list_push(&q->dispatch->orgs, &q->org->link);
}

static void starve(struct dispatch_queue *q) {
    queue_rest(q);
    q->place = QUEUE_STARVED;
    list_push(&q->dispatch->starved, &q->link);
}

static void run_timers(struct dispatch *d, int64_t now_ns) {
    for (struct heap_node *top; (top = heap_top(&d->timers)) && top->key <= now_ns;)
        queue_update(heap_item(top, struct dispatch_queue, timer), now_ns);
}

// Those that are well do not wait for a thousand that are not.
static struct dispatch_queue *whose_turn(const struct dispatch_org *org) {
    bool doubted =
        list_empty(&org->active) || (org->starts % DOUBTED_TURN == 0 && !list_empty(&org->doubted));
    const struct list *turns = doubted ? &org->doubted : &org->active;
    return list_item(turns->next, struct dispatch_queue, link);
}

struct dispatch_entry *dispatch_next(struct dispatch *d, int64_t now_ns) {
    run_timers(d, now_ns);
    while (d->in_flight < d->opts.in_flight_max && !list_empty(&d->orgs)) {
        struct dispatch_org *org = list_item(d->orgs.next, struct dispatch_org, link);
        struct dispatch_queue *q = whose_turn(org);
        if (start_ns(q, now_ns) > now_ns) {
            queue_update(q, now_ns);
        } else if (!admitted(q)) {
            starve(q);
        } else {
            struct dispatch_entry *entry = pick(q, now_ns);
            start(q, entry, now_ns);
            org->starts++;
            rotate(q);
            queue_update(q, now_ns);
            return entry;
        }
    }
    return NULL;
}

// --- The way back ---

static void feed_starved(struct dispatch *d, int64_t now_ns) {
    for (int i = 0; i < STARVED_A_TURN && !list_empty(&d->starved); i++) {
        struct dispatch_queue *q = list_item(d->starved.next, struct dispatch_queue, link);
        queue_rest(q);
        queue_update(q, now_ns);
    }
}

// Keeps a retry that is near; the others go back to disk, and so does what
// would crowd the window, except our own troubles, which are over in a moment.
static void again(struct dispatch_entry *entry, const struct dispatch_result *result,
                  int64_t now_ns) {
    struct dispatch_queue *q = entry->queue;
    int64_t in_ms = result->due_ms - now_ns / NS_PER_MS;
    bool near = in_ms <= LOAD_AHEAD_MS;
    bool room = in_ms <= KEEP_NEAR_MS && q->waiting_count < window_limit(q) / 2;
    if (entry->key) entry->key->in_flight = false;
    if (!q->held && (near || room))
        entry_place(entry, result->due_ms, now_ns);
    else
        entry_evict(entry);
}

void dispatch_done(struct dispatch_entry *entry, const struct dispatch_result *result,
                   int64_t now_ns) {
    struct dispatch_queue *q = entry->queue;
    struct dispatch *d = q->dispatch;
    assert(entry->where == ENTRY_IN_FLIGHT && q->in_flight && d->in_flight);
    q->in_flight--, d->in_flight--;
    q->late_in_flight -= entry->late, d->late_in_flight -= entry->late;
    d->unproven_in_flight -= entry->unproven;
    bool doubted = q->doubted, opened = pace_report(q, entry, result, now_ns);
    if (q->doubted != doubted && q->place == QUEUE_ACTIVE) queue_rest(q); // filed anew below
    entry->attempts = result->attempts;
    entry->due_ms = result->stored_due_ms;
    entry->probe = false;
    if (result->settled) {
        struct dispatch_key *key = entry->key;
        entry_free(entry);
        if (key) order_settle(key, now_ns);
    } else {
        again(entry, result, now_ns);
    }
    if (opened) window_shrink(q);
    queue_update(q, now_ns);
    feed_starved(d, now_ns);
}

// --- What the owner asks ---

int64_t dispatch_wake_ns(const struct dispatch *d) {
    if (!list_empty(&d->hungry)) return INT64_MIN;
    if (!list_empty(&d->orgs) && d->in_flight < d->opts.in_flight_max) return INT64_MIN;
    return heap_top(&d->timers) ? heap_top(&d->timers)->key : INT64_MAX;
}

unsigned dispatch_in_flight(const struct dispatch *d) {
    return d->in_flight;
}

size_t dispatch_in_memory(const struct dispatch *d) {
    return d->entries.count;
}

static bool queue_idle(const struct dispatch_queue *q, int64_t until_ms) {
    if (q->held || pace_pause_ns(q) > ms_to_ns(until_ms)) return true;
    if (queue_has_ready(q) || (q->more && q->disk_due_ms <= until_ms)) return false;
    return !heap_top(&q->waiting) || heap_top(&q->waiting)->key > ms_to_ns(until_ms);
}

bool dispatch_idle(const struct dispatch *d, int64_t until_ms) {
    if (d->in_flight) return false;
    for (struct list *link = d->queues.next; link != &d->queues; link = link->next)
        if (!queue_idle(list_item(link, struct dispatch_queue, all), until_ms)) return false;
    return true;
}

struct dispatch_stats dispatch_queue_stats(const struct dispatch_queue *q) {
    return (struct dispatch_stats){
        .in_memory = q->count,
        .in_flight = q->in_flight,
        .more = q->more || q->skipped,
        .held = q->held,
        .breaker = q->breaker.phase,
    };
}
