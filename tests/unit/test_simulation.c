// floor: dispatch
// Deterministic simulation of dispatch and policy: a fake clock, a fake network
// that fails in every way it can, a fake store that survives crashes, and an
// owner that does with outcomes what the journal does. One seed is one run;
// after every step what must never happen is looked for, and at the end, when
// the faults are over, everything must have come to an end.
//
//   TUMA_SEEDS=10000   how many seeds (300)
//   TUMA_SEED=17       only this one
//
// The last cases plant a defect each; the simulation must find it.
#include <stdarg.h>

#include "check.h"
#include "dispatch.h"
#include "heap.h"
#include "model.h"
#include "ruling.h"

enum {
    HOOKS = 5,
    ROWS_MAX = 1500,
    KEYS = 6,
    EVENTS_STEP = 1000, // numbers of an event's deliveries, as in the store
    IN_FLIGHT_MAX = 12,
    WINDOW = 16,
    WINDOW_TOTAL = 48,
    STARTS_MAX = 8192,
    STEPS_MAX = 400000,
};
static const int64_t MS = 1000000, T0_MS = 1764000000000;

enum defect {
    DEFECT_NONE,
    DEFECT_LOST_SETTLE, // an outcome is told to the dispatcher, never to the store
    DEFECT_OVERTAKE,    // some rows lose their order key on the way
    DEFECT_FAST,        // the dispatcher is told twice the rate
    DEFECT_COUNT,       // an attempt goes uncounted
    DEFECT_CROWD,       // one slot more than allowed
    DEFECT_FORGOTTEN,   // a row is passed over when a page is read
    DEFECT_EARLY,       // a retry starts before its time
};

struct row {
    int64_t id, created_ms, due_ms;
    int hook, key; // key 0: none
    enum delivery_state state;
    uint32_t attempts;   // as stored
    uint32_t made, lost; // really made since the last redelivery; of these, lost in a crash
    bool replay, moved, in_flight, fanned;
};

struct hook_model {
    struct dispatch_limits limits;
    struct retry retry;
    struct dispatch_queue *queue;
    bool open, disabled;
    unsigned in_flight;
    int64_t starts_ns[STARTS_MAX]; // since the last start of the engine
    size_t starts;
    int mood; // of its endpoint, see answer()
};

enum what { EVENT_ARRIVES, ATTEMPT_ENDS, COMMIT, MOOD, CRASH, COMMAND };
struct happening {
    struct heap_node node;
    enum what what;
    struct attempt_model *attempt;
};

struct attempt_model {
    struct dispatch_entry *entry;
    struct row *row;
    struct list link; // ended, waiting for the commit
    enum verdict verdict;
    int status;
    int64_t retry_after_ms;
    bool fan_out;
};

static struct world {
    uint64_t seed, random;
    enum defect defect;
    int64_t now_ns;
    struct dispatch *dispatch;
    struct hook_model hooks[HOOKS];
    struct row rows[ROWS_MAX];
    size_t rows_count;
    int64_t events;
    struct heap agenda;
    struct list ended, flying;
    bool commit_planned;
    int64_t faults_end_ns;                 // from then on every endpoint is well
    uint64_t ledger[DELIVERY_DROPPED + 1]; // counted by transitions
    uint64_t steps, serial;
    bool failed;
    char complaint[200];
} w;

// --- Chance ---

static uint64_t chance(void) {
    w.random ^= w.random << 13;
    w.random ^= w.random >> 7;
    w.random ^= w.random << 17;
    return w.random;
}

static int64_t between(int64_t low, int64_t high) {
    return low + (int64_t)(chance() % (uint64_t)(high - low + 1));
}

static bool one_in(unsigned n) {
    return chance() % n == 0;
}

static void complain(const char *format, ...) {
    va_list args;
    if (w.failed) return;
    w.failed = true;
    va_start(args, format);
    vsnprintf(w.complaint, sizeof w.complaint, format, args);
    va_end(args);
}

// --- Agenda ---

static void plan(enum what what, int64_t at_ns, struct attempt_model *attempt) {
    struct happening *h = calloc(1, sizeof *h);
    h->what = what;
    h->attempt = attempt;
    heap_add(&w.agenda, &h->node, at_ns, (int64_t)w.serial++);
}

static int64_t in_ms(int64_t ms) {
    return w.now_ns + ms * MS;
}

static int64_t now_ms(void) {
    return w.now_ns / MS;
}

// --- The store ---

static struct row *find_row(int64_t id) {
    for (size_t i = w.rows_count; i > 0; i--)
        if (w.rows[i - 1].id == id) return &w.rows[i - 1];
    return NULL;
}

static struct row *add_row(int64_t id, int hook, int key, int64_t due_ms) {
    if (w.rows_count == ROWS_MAX) return NULL;
    struct row *row = &w.rows[w.rows_count++];
    *row = (struct row){
        .id = id, .hook = hook, .key = key, .created_ms = now_ms(), .due_ms = due_ms
    };
    w.ledger[DELIVERY_PENDING]++;
    return row;
}

static void set_state(struct row *row, enum delivery_state state) {
    w.ledger[row->state]--;
    w.ledger[state]++;
    row->state = state;
}

static struct slice key_of(const struct row *row) {
    static const char names[KEYS][2] = { "", "a", "b", "c", "d", "e" };
    if (w.defect == DEFECT_OVERTAKE && row->id % 7 == 0) return S("");
    return slice_str(names[row->key]);
}

static struct dispatch_item item_of(const struct row *row) {
    return (struct dispatch_item){ .delivery = row->id,
                                   .due_ms = row->due_ms,
                                   .created_ms = row->created_ms,
                                   .attempts = row->attempts,
                                   .replay = row->replay,
                                   .order_key = key_of(row) };
}

static int by_due(const void *a, const void *b) {
    const struct row *x = *(const struct row *const *)a, *y = *(const struct row *const *)b;
    if (x->due_ms != y->due_ms) return x->due_ms < y->due_ms ? -1 : 1;
    return x->id < y->id ? -1 : x->id > y->id;
}

static void serve_page(const struct dispatch_fetch *f) {
    static struct row *page[ROWS_MAX];
    int64_t hook = dispatch_queue_hook(f->queue) - 1;
    size_t n = 0;
    for (size_t i = 0; i < w.rows_count; i++) {
        struct row *row = &w.rows[i];
        bool past = row->due_ms > f->after_due_ms ||
                    (row->due_ms == f->after_due_ms && row->id > f->after_delivery);
        if (row->state == DELIVERY_PENDING && row->hook == hook && past) page[n++] = row;
    }
    qsort(page, n, sizeof *page, by_due);
    if (n > f->limit) n = f->limit;
    for (size_t i = 0; i < n; i++) {
        struct dispatch_item item = item_of(page[i]);
        if (w.defect == DEFECT_FORGOTTEN && page[i]->id % 5 == 0 && one_in(3)) continue;
        dispatch_fetched(f->queue, &item, w.now_ns);
    }
    dispatch_fetch_done(f->queue, n, f->limit, w.now_ns);
}

// --- The network ---

enum { MOOD_WELL, MOOD_SHAKY, MOOD_DOWN, MOOD_HANGS, MOOD_BUSY, MOOD_GONE, MOOD_LOCAL, MOODS };

static int64_t answer(struct attempt_model *a, int mood) {
    int64_t takes_ms = between(1, 50);
    a->verdict = VERDICT_DELIVERED;
    a->status = 200;
    a->retry_after_ms = -1;
    a->fan_out = a->entry->attempts == 0 && one_in(10); // known once it is rendered
    if (mood == MOOD_SHAKY && one_in(4)) mood = (int)between(MOOD_DOWN, MOOD_LOCAL);
    if (mood == MOOD_WELL || mood == MOOD_SHAKY) {
        if (one_in(40)) a->verdict = VERDICT_FILTERED;
        if (one_in(60)) a->verdict = VERDICT_FAIL;
        return takes_ms;
    }
    a->verdict = VERDICT_RETRY;
    a->status = mood == MOOD_HANGS ? 0 : 500;
    if (mood == MOOD_BUSY) {
        a->status = 429;
        a->retry_after_ms = between(0, 100000);
    }
    if (mood == MOOD_GONE && one_in(3)) a->verdict = VERDICT_DISABLE;
    if (mood == MOOD_LOCAL) a->verdict = VERDICT_LOCAL;
    return mood == MOOD_HANGS ? 10000 : takes_ms;
}

// --- What must never happen ---

static void check_limits(const struct hook_model *h) {
    unsigned most = h->limits.concurrency;
    if (h->in_flight > most) complain("%u in flight, %u allowed", h->in_flight, most);
    if (dispatch_in_flight(w.dispatch) > IN_FLIGHT_MAX)
        complain("%u in flight over all", dispatch_in_flight(w.dispatch));
    if (dispatch_in_memory(w.dispatch) > WINDOW_TOTAL + HOOKS * 3 * WINDOW)
        complain("%zu entries in memory", dispatch_in_memory(w.dispatch));
}

static void check_rate(struct hook_model *h) {
    const struct rate *rate = &h->limits.rate;
    if (!rate->per_ms || h->starts >= STARTS_MAX) return;
    size_t most = rate->count + rate->burst - 1;
    h->starts_ns[h->starts++] = w.now_ns;
    if (h->starts <= most) return;
    int64_t span = w.now_ns - h->starts_ns[h->starts - 1 - most];
    if (span < (int64_t)rate->per_ms * MS)
        complain("%zu starts within %lld ms", most + 1, (long long)(span / MS));
}

// Rows that somebody moved have left the order.
static void check_order(const struct row *row) {
    if (!row->key) return;
    for (size_t i = 0; i < w.rows_count; i++) {
        const struct row *other = &w.rows[i];
        if (other == row || other->hook != row->hook || other->key != row->key) continue;
        if (other->in_flight)
            complain("%lld starts while %lld of its key is in flight", (long long)row->id,
                     (long long)other->id);
        if (other->id < row->id && other->state == DELIVERY_PENDING && !other->moved && !row->moved)
            complain("%lld overtakes %lld", (long long)row->id, (long long)other->id);
    }
}

static void check_start(struct row *row, const struct dispatch_entry *entry) {
    if (row->in_flight) complain("%lld is in flight twice", (long long)row->id);
    if (row->state != DELIVERY_PENDING) complain("%lld starts, it is settled", (long long)row->id);
    if (row->due_ms > now_ms()) complain("%lld starts before its time", (long long)row->id);
    if (entry->attempts != row->attempts) complain("%lld: attempts differ", (long long)row->id);
    check_order(row);
}

static void check_attempts(const struct row *row) {
    const struct hook_model *h = &w.hooks[row->hook];
    if (row->attempts + row->lost != row->made)
        complain("%lld: %u attempts stored, %u lost, %u made", (long long)row->id, row->attempts,
                 row->lost, row->made);
    // Released by a person after its last attempt it gets one more.
    if (!row->moved && row->attempts > h->retry.steps_count + 1)
        complain("%lld: %u attempts", (long long)row->id, row->attempts);
}

static void check_ledger(void) {
    uint64_t count[DELIVERY_DROPPED + 1] = { 0 }, all = 0;
    for (size_t i = 0; i < w.rows_count; i++) count[w.rows[i].state]++;
    for (int s = 0; s <= DELIVERY_DROPPED; s++) {
        all += w.ledger[s];
        if (count[s] != w.ledger[s])
            complain("state %d: %llu rows, %llu counted", s, (unsigned long long)count[s],
                     (unsigned long long)w.ledger[s]);
    }
    if (all != w.rows_count)
        complain("%llu of %zu accounted for", (unsigned long long)all, w.rows_count);
}

// --- The owner: what the journal does ---

static void start_attempts(void) {
    for (struct dispatch_entry *entry; (entry = dispatch_next(w.dispatch, w.now_ns));) {
        struct row *row = find_row(entry->delivery);
        struct hook_model *h = &w.hooks[row->hook];
        struct attempt_model *a = calloc(1, sizeof *a);
        *a = (struct attempt_model){ .entry = entry, .row = row };
        list_push(&w.flying, &a->link);
        if (!h->open) complain("a held queue starts %lld", (long long)row->id);
        check_start(row, entry);
        h->in_flight++;
        row->in_flight = true;
        check_rate(h);
        check_limits(h);
        plan(ATTEMPT_ENDS, in_ms(answer(a, w.now_ns > w.faults_end_ns ? MOOD_WELL : h->mood)), a);
    }
}

static void fetch_pages(void) {
    struct dispatch_fetch f;
    for (int i = 0; i < 50 && dispatch_wants(w.dispatch, &f); i++) serve_page(&f);
}

static void pump(void) {
    fetch_pages();
    start_attempts();
}

static void hook_close(struct hook_model *h) {
    h->open = false;
    dispatch_queue_hold(h->queue, true, w.now_ns);
    dispatch_queue_reset(h->queue, false, w.now_ns);
}

static void hook_open(struct hook_model *h) {
    h->open = true;
    dispatch_queue_hold(h->queue, false, w.now_ns);
    dispatch_queue_reset(h->queue, true, w.now_ns);
}

static void park_all(int hook) {
    for (size_t i = 0; i < w.rows_count; i++) {
        struct row *row = &w.rows[i];
        if (row->hook != hook || row->state != DELIVERY_PENDING) continue;
        set_state(row, DELIVERY_PARKED);
        row->moved = true;
    }
}

static void disable(int hook) {
    struct hook_model *h = &w.hooks[hook];
    h->disabled = true;
    hook_close(h);
    park_all(hook);
}

static void resume(int hook) {
    struct hook_model *h = &w.hooks[hook];
    h->disabled = false;
    if (!h->open) hook_open(h);
    dispatch_queue_trust(h->queue, w.now_ns);
    for (size_t i = 0; i < w.rows_count; i++) {
        struct row *row = &w.rows[i];
        if (row->hook != hook || row->state != DELIVERY_PARKED) continue;
        set_state(row, DELIVERY_PENDING);
        row->due_ms = now_ms();
        row->moved = true;
        dispatch_queue_more(h->queue, row->due_ms, 1, false, w.now_ns);
    }
}

static void redeliver(int hook) {
    struct hook_model *h = &w.hooks[hook];
    if (h->disabled) return;
    for (size_t i = 0; i < w.rows_count; i++) {
        struct row *row = &w.rows[i];
        if (row->hook != hook || row->in_flight || !one_in(3)) continue;
        if (row->state == DELIVERY_PENDING || row->state == DELIVERY_DELIVERED) continue;
        set_state(row, DELIVERY_PENDING);
        row->due_ms = now_ms();
        row->attempts = row->made = row->lost = 0;
        row->moved = row->replay = true;
        if (h->open) dispatch_queue_more(h->queue, row->due_ms, 1, true, w.now_ns);
    }
}

static void drop_some(int hook) {
    struct hook_model *h = &w.hooks[hook];
    for (size_t i = 0; i < w.rows_count; i++) {
        struct row *row = &w.rows[i];
        if (row->hook != hook || row->state != DELIVERY_PENDING || !one_in(3)) continue;
        set_state(row, DELIVERY_DROPPED);
        row->moved = true;
    }
    dispatch_queue_reset(h->queue, h->open, w.now_ns);
}

static void run_command(void) {
    int hook = (int)between(0, HOOKS - 1);
    struct hook_model *h = &w.hooks[hook];
    switch (between(0, 4)) {
    case 0:
        if (h->open) hook_close(h); // pause
        break;
    case 1: resume(hook); break;
    case 2: redeliver(hook); break;
    case 3: drop_some(hook); break;
    case 4: disable(hook); break;
    }
}

static void add_fan_out(struct attempt_model *a) {
    struct row *from = a->row;
    if (!a->fan_out || from->fanned) return;
    from->fanned = true;
    int64_t last = from->id;
    while (find_row(last + 1)) last++;
    struct row *more[2] = { 0 };
    for (int i = 0; i < 2; i++) {
        more[i] = add_row(last + 1 + i, from->hook, from->key, a->entry->due_ms);
        if (more[i]) more[i]->fanned = true;
        if (more[i]) more[i]->moved = from->moved;
    }
    for (int i = 1; i >= 0; i--) {
        if (!more[i]) continue;
        struct dispatch_item item = item_of(more[i]);
        dispatch_add_behind(a->entry, &item, w.now_ns);
    }
    if (w.hooks[from->hook].disabled) park_all(from->hook);
}

static void settle(struct attempt_model *a, const struct ruling *r) {
    struct row *row = a->row;
    if (r->unchanged) return;
    set_state(row, r->state);
    row->attempts = r->attempts;
    if (r->state == DELIVERY_PENDING) row->due_ms = r->due_ms;
    if (w.defect == DEFECT_COUNT && one_in(20) && row->attempts) row->attempts--;
    check_attempts(row);
    uint32_t most = w.hooks[row->hook].retry.steps_count + 1;
    bool given_up = r->state == DELIVERY_EXHAUSTED && a->verdict == VERDICT_RETRY;
    if (given_up && !row->moved && r->attempts != most)
        complain("%lld: given up after %u of %u attempts", (long long)row->id, r->attempts, most);
}

static void apply_outcome(struct attempt_model *a) {
    struct row *row = a->row;
    struct hook_model *h = &w.hooks[row->hook];
    struct ruling r = rule(&(struct ruling_case){
        .verdict = a->verdict,
        .attempt = a->entry->attempts + 1,
        .attempted = a->verdict != VERDICT_FILTERED && a->verdict != VERDICT_LOCAL,
        .status = a->status,
        .retry_after_ms = a->retry_after_ms,
        .retry = &h->retry,
        .held = h->disabled,
        .now_ms = now_ms(),
        .random = chance(),
    });
    bool was_pending = row->state == DELIVERY_PENDING && row->due_ms == a->entry->due_ms;
    bool undecided = r.state == DELIVERY_PENDING || r.state == DELIVERY_PARKED;
    bool moot = !was_pending && undecided;
    bool counts = a->verdict != VERDICT_FILTERED && a->verdict != VERDICT_LOCAL;
    if (counts) row->made++;
    if (moot && counts) row->lost++; // the row went its own way meanwhile
    row->in_flight = false;
    h->in_flight--;
    bool lose = w.defect == DEFECT_LOST_SETTLE && one_in(30);
    if (!moot && !lose) settle(a, &r);
    if (!moot) add_fan_out(a);
    if (w.defect == DEFECT_EARLY && r.state == DELIVERY_PENDING) r.due_ms -= 500;
    dispatch_done(a->entry,
                  &(struct dispatch_result){
                      .settled = moot || r.state != DELIVERY_PENDING,
                      .due_ms = r.due_ms,
                      .stored_due_ms = r.unchanged ? a->entry->due_ms : row->due_ms,
                      .attempts = r.attempts,
                      .health = r.health,
                      .hold_ms = r.hold_ms,
                  },
                  w.now_ns);
    if (moot) dispatch_queue_more(h->queue, 0, 1, false, w.now_ns);
    if (r.disable && !h->disabled) disable(row->hook);
}

static void commit(void) {
    w.commit_planned = false;
    for (struct list *link; (link = list_pop(&w.ended));) {
        struct attempt_model *a = list_item(link, struct attempt_model, link);
        apply_outcome(a);
        free(a);
    }
}

static void attempt_ends(struct attempt_model *a) {
    list_remove(&a->link);
    list_push(&w.ended, &a->link);
    if (!w.commit_planned) plan(COMMIT, in_ms(between(0, 5)), NULL);
    w.commit_planned = true;
}

static void event_arrives(void) {
    int64_t event = ++w.events * EVENTS_STEP;
    int key = (int)between(0, KEYS - 1), k = 0;
    for (int hook = 0; hook < HOOKS; hook++) {
        struct hook_model *h = &w.hooks[hook];
        if (!one_in(2)) continue;
        struct row *row = add_row(event + 100 * k++, hook, h->limits.ordered ? key : 0, now_ms());
        if (!row) return;
        if (h->disabled) {
            set_state(row, DELIVERY_PARKED);
            row->moved = true;
            continue;
        }
        struct dispatch_item item = item_of(row);
        dispatch_add(h->queue, &item, w.now_ns);
    }
}

// --- Life and death of the engine ---

static void start_engine(void) {
    w.dispatch = dispatch_new(&(struct dispatch_opts){ .in_flight_max = IN_FLIGHT_MAX,
                                                       .window = WINDOW,
                                                       .window_total = WINDOW_TOTAL,
                                                       .keys_max = 24 });
    for (int i = 0; i < HOOKS; i++) {
        struct hook_model *h = &w.hooks[i];
        struct dispatch_limits limits = h->limits;
        if (w.defect == DEFECT_FAST) limits.rate.count *= 2;
        if (w.defect == DEFECT_CROWD) limits.concurrency++;
        h->queue = dispatch_queue_new(w.dispatch, i + 1, NULL);
        h->starts = h->in_flight = 0;
        dispatch_queue_limit(h->queue, &limits, w.now_ns);
        if (h->open) hook_open(h);
    }
}

static void forget_attempts(struct list *list, bool made) {
    for (struct list *link; (link = list_pop(list));) {
        struct attempt_model *a = list_item(link, struct attempt_model, link);
        bool counts = a->verdict != VERDICT_FILTERED && a->verdict != VERDICT_LOCAL;
        if (made && counts) a->row->made++, a->row->lost++;
        a->row->in_flight = false;
        free(a);
    }
}

// Everything in memory is gone; what was not committed was never recorded.
static void crash(void) {
    struct heap kept = { 0 };
    for (struct heap_node *node; (node = heap_top(&w.agenda));) {
        struct happening *h = heap_item(node, struct happening, node);
        int64_t at = node->key, tie = node->tie;
        heap_remove(&w.agenda, node);
        if (h->what == ATTEMPT_ENDS || h->what == COMMIT)
            free(h);
        else
            heap_add(&kept, &h->node, at, tie);
    }
    w.agenda = kept;
    forget_attempts(&w.ended, true);
    forget_attempts(&w.flying, true);
    w.commit_planned = false;
    dispatch_free(w.dispatch);
    w.now_ns += between(1, 5000) * MS;
    start_engine();
}

static void make_hook(struct hook_model *h) {
    static const struct rate rates[] = {
        { 0 }, { 20, 1000, 1 }, { 5, 1000, 3 }, { 100, 60000, 5 }
    };
    struct fail fail;
    *h = (struct hook_model){ .open = true };
    h->limits = (struct dispatch_limits){
        .concurrency = (unsigned)between(1, 6),
        .rate = rates[between(0, 3)],
        .breaker = { (unsigned)between(0, 5), between(100, 3000), between(3000, 30000) },
        .org = one_in(2) ? S("acme") : S("other"),
        .ordered = one_in(2),
    };
    retry_exponential(&h->retry, (double)between(1, 20) / 2, 1 + (double)between(0, 20) / 4, 3600,
                      between(1, 6), &fail);
}

static void begin(uint64_t seed, enum defect defect) {
    memset(&w, 0, sizeof w);
    w.seed = seed;
    w.random = seed * 0x9E3779B97F4A7C15u | 1;
    for (int i = 0; i < 8; i++) chance();
    w.defect = defect;
    w.now_ns = T0_MS * MS;
    list_init(&w.ended);
    list_init(&w.flying);
    w.faults_end_ns = in_ms(between(20000, 200000));
    for (int i = 0; i < HOOKS; i++) make_hook(&w.hooks[i]);
    start_engine();
    int64_t events = between(20, 250);
    for (int64_t i = 0; i < events; i++)
        plan(EVENT_ARRIVES, in_ms(one_in(3) ? between(0, 100000) : between(0, 2000)), NULL);
    for (int i = 0; i < 12; i++) plan(MOOD, in_ms(between(0, 100000)), NULL);
    for (int64_t i = between(0, 6); i > 0; i--) plan(COMMAND, in_ms(between(0, 100000)), NULL);
    for (int64_t i = between(0, 4); i > 0; i--) plan(CRASH, in_ms(between(0, 100000)), NULL);
}

static void end(void) {
    for (struct heap_node *node; (node = heap_top(&w.agenda));) {
        heap_remove(&w.agenda, node);
        free(heap_item(node, struct happening, node));
    }
    forget_attempts(&w.ended, false);
    forget_attempts(&w.flying, false);
    dispatch_free(w.dispatch);
}

static void happen(struct happening *h) {
    switch (h->what) {
    case EVENT_ARRIVES: event_arrives(); break;
    case ATTEMPT_ENDS: attempt_ends(h->attempt); break;
    case COMMIT: commit(); break;
    case MOOD: w.hooks[between(0, HOOKS - 1)].mood = (int)between(0, MOODS - 1); break;
    case CRASH: crash(); break;
    case COMMAND: run_command(); break;
    }
}

// The next happening, or NULL when the dispatcher wants to be asked before it.
static struct happening *next_happening(void) {
    struct heap_node *node = heap_top(&w.agenda);
    int64_t wake_ns = dispatch_wake_ns(w.dispatch);
    int64_t at_ns = node && node->key <= wake_ns ? node->key : wake_ns;
    if (at_ns > w.now_ns) w.now_ns = at_ns;
    if (!node || node->key > wake_ns) return NULL;
    heap_remove(&w.agenda, node);
    return heap_item(node, struct happening, node);
}

static bool is_over(void) {
    return w.failed || (!heap_top(&w.agenda) && dispatch_wake_ns(w.dispatch) == INT64_MAX);
}

static void run_agenda(void) {
    while (!is_over()) {
        struct happening *h = next_happening();
        if (h) happen(h);
        free(h);
        pump();
        if (w.steps++ % 16 == 0) check_ledger();
        if (w.steps > STEPS_MAX) complain("no end after %d steps", STEPS_MAX);
    }
}

static void check_end(void) {
    check_ledger();
    if (!dispatch_idle(w.dispatch, INT64_MAX / MS)) complain("not idle at the end");
    for (size_t i = 0; i < w.rows_count; i++)
        if (w.rows[i].state == DELIVERY_PENDING)
            complain("%lld of webhook %d is never settled", (long long)w.rows[i].id,
                     w.rows[i].hook);
}

// True when nothing was wrong.
static bool simulate(uint64_t seed, enum defect defect) {
    begin(seed, defect);
    run_agenda(); // faults and all, until nothing is to be done
    for (int i = 0; i < HOOKS && !w.failed; i++) resume(i);
    pump();
    run_agenda();
    if (!w.failed) check_end();
    end();
    return !w.failed;
}

// --- Cases ---

static uint64_t number_of(const char *name, uint64_t otherwise) {
    const char *text = getenv(name);
    return text && *text ? strtoull(text, NULL, 10) : otherwise;
}

static void every_seed_is_safe_and_ends(void) {
    uint64_t first = number_of("TUMA_SEED", 1), seeds = number_of("TUMA_SEEDS", 300);
    if (getenv("TUMA_SEED")) seeds = 1;
    uint64_t failures = 0, rows = 0, steps = 0;
    for (uint64_t seed = first; seed < first + seeds && failures < 10; seed++) {
        bool good = simulate(seed, DEFECT_NONE);
        rows += w.rows_count, steps += w.steps;
        if (good) continue;
        failures++;
        printf("# TUMA_SEED=%llu: %s\n", (unsigned long long)seed, w.complaint);
    }
    printf("# %llu seeds, %llu deliveries, %llu steps\n", (unsigned long long)seeds,
           (unsigned long long)rows, (unsigned long long)steps);
    CHECK_INT(failures, 0);
    CHECK(rows > seeds * 20 && steps > rows);
}

static void same_seed_is_the_same_run(void) {
    simulate(7, DEFECT_NONE);
    uint64_t steps = w.steps, delivered = w.ledger[DELIVERY_DELIVERED];
    int64_t now = w.now_ns;
    simulate(7, DEFECT_NONE);
    CHECK(w.steps == steps && w.now_ns == now && w.ledger[DELIVERY_DELIVERED] == delivered);
}

static void is_found(enum defect defect) {
    for (uint64_t seed = 1; seed <= 100; seed++) {
        if (simulate(seed, defect)) continue;
        printf("# found with seed %llu: %s\n", (unsigned long long)seed, w.complaint);
        return;
    }
    CHECK(!"the planted defect was not found");
}

static void lost_settle_is_found(void) {
    is_found(DEFECT_LOST_SETTLE);
}
static void overtaking_is_found(void) {
    is_found(DEFECT_OVERTAKE);
}
static void exceeded_rate_is_found(void) {
    is_found(DEFECT_FAST);
}
static void uncounted_attempt_is_found(void) {
    is_found(DEFECT_COUNT);
}
static void exceeded_concurrency_is_found(void) {
    is_found(DEFECT_CROWD);
}
static void forgotten_row_is_found(void) {
    is_found(DEFECT_FORGOTTEN);
}
static void early_retry_is_found(void) {
    is_found(DEFECT_EARLY);
}

static const struct check_case CASES[] = {
    { "every seed is safe and ends", every_seed_is_safe_and_ends },
    { "the same seed is the same run", same_seed_is_the_same_run },
    { "control: a lost settle is found", lost_settle_is_found },
    { "control: overtaking is found", overtaking_is_found },
    { "control: an exceeded rate is found", exceeded_rate_is_found },
    { "control: an uncounted attempt is found", uncounted_attempt_is_found },
    { "control: an exceeded concurrency is found", exceeded_concurrency_is_found },
    { "control: a forgotten row is found", forgotten_row_is_found },
    { "control: an early retry is found", early_retry_is_found },
};

CHECK_MAIN(CASES)
