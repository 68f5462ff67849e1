// What the files of the dispatcher share.
#ifndef TUMA_DISPATCH_INNER_H
#define TUMA_DISPATCH_INNER_H

#include "dispatch.h"
#include "map.h"

enum { NS_PER_MS = 1000000 };
enum {
    WINDOW_MIN = 8,       // entries a queue may have when memory is full
    SHARE_OF_FREE = 4,    // slots a queue may hold, in times those still free
    KEEP_NEAR_MS = 60000, // a retry due later than this goes back to disk
    LOAD_AHEAD_MS = 1000, // a row due later than this stays there
    OPEN_KEEPS = 16,      // ready entries kept when the breaker opens
    SCAN_PAGE = 1000,     // rows a step while the order of a queue is read
    FETCH_PAGE = 256,     // rows a step while it is loaded
    STARVED_A_TURN = 4,   // queues looked at again when a slot gets free
    DOUBTED_TURN = 4,     // of an organization's starts one in so many is a doubted queue's
};

enum entry_place {
    ENTRY_READY,
    ENTRY_WAITING,
    ENTRY_HELD,
    ENTRY_IN_FLIGHT
}; // the last: in no list

// Where a queue stands: waiting for time or an outcome, in its organization's
// turns, or waiting for somebody's slot.
enum queue_place { QUEUE_RESTS, QUEUE_ACTIVE, QUEUE_STARVED };

struct dispatch_org {
    struct slice name;           // its own copy
    struct list link;            // in dispatch.orgs while it has active queues
    struct list active, doubted; // doubted: whose endpoint's last word was a failure
    unsigned starts;
};

// An order key with something unsettled. Known by hash: two keys that collide
// share an order, which is slower but never wrong.
struct dispatch_key {
    uint64_t hash; // of queue and key; the map's key
    struct dispatch_queue *queue;
    int64_t head;     // the delivery whose turn it is, perhaps on disk
    bool in_flight;   // it is being tried now
    bool skipped;     // later ones were left on disk
    struct list held; // entries behind the head, oldest first
    struct list link; // queue.keys
};

struct dispatch_queue {
    struct dispatch *dispatch;
    struct dispatch_org *org;
    int64_t hook;
    void *user;
    struct dispatch_limits limits;
    bool held;

    // In memory.
    struct list fresh, late; // ready, first come first
    struct heap waiting;     // by due time
    struct list keys;        // order keys with something unsettled
    size_t count, held_count, waiting_count, late_ready;
    unsigned in_flight, late_in_flight;

    // Pace.
    struct rate_state rate;
    struct breaker breaker;
    bool proven, doubted;   // the last attempt was a success, a failure
    bool late_turn;         // the last start was a fresh one
    int64_t hold_until_ns;  // asked by the receiver
    int64_t recovery_ns;    // it came back then and its backlog is paced; 0: no
    int64_t late_next_ns;   // pace of the backlog
    double arrivals;        // fresh deliveries a second, smoothed
    int64_t arrivals_at_ns; // when that was computed
    int64_t hour_ns;        // when this hour began; its and the last one's highest rate
    double this_hour, last_hour;

    // On disk.
    bool more;              // rows behind the cursor
    bool more_replays;      // among them redeliveries: live traffic may pass
    bool scanning;          // the order is being read, nothing is loaded yet
    bool stopped;           // this page: the rest is not wanted now
    bool skipped;           // rows before the cursor whose key was blocked
    int64_t disk_due_ms;    // no row behind the cursor is due earlier
    int64_t fetch_after_ns; // no page before that: there was no memory
    int64_t cursor_due_ms, cursor_delivery;
    int64_t skip_due_ms, skip_delivery; // the first skipped row

    enum queue_place place;
    struct list link;   // org.active or dispatch.starved
    struct list hungry; // in dispatch.hungry
    struct list all;
    struct heap_node timer;
};

struct dispatch {
    struct dispatch_opts opts;
    struct list orgs;    // with active queues, in turn
    struct list starved; // would start but for other queues' slots
    struct list hungry;
    struct list queues;
    struct heap timers;
    struct map org_names; // struct dispatch_org by name
    struct map entries;   // struct dispatch_entry by delivery
    struct map keys;      // struct dispatch_key by hash
    unsigned in_flight, late_in_flight, unproven_in_flight;
};

static inline struct slice bytes_of(const void *p, size_t n) {
    return slice(p, n);
}
static inline int64_t ms_to_ns(int64_t ms) {
    return ms > INT64_MAX / NS_PER_MS ? INT64_MAX : ms * NS_PER_MS;
}

// dispatch.c: looks at everything that decides when `q` may act next and files
// it accordingly. To be called after every change of a queue.
void queue_update(struct dispatch_queue *q, int64_t now_ns);

// dispatch_pace.c
// Until when its endpoint is left alone: an open breaker, or the receiver's wish.
int64_t pace_pause_ns(const struct dispatch_queue *q);
// When the queue may start something as far as its own limits go: ≤ now_ns:
// now; INT64_MAX: when an outcome comes.
int64_t pace_gate_ns(const struct dispatch_queue *q, int64_t now_ns);
// When the first late entry may start, as far as the pace of the backlog goes.
int64_t pace_late_gate_ns(const struct dispatch_queue *q);
void pace_arrival(struct dispatch_queue *q, int64_t now_ns);
// Takes a token (and the probe) for an entry that starts.
void pace_start(struct dispatch_queue *q, struct dispatch_entry *entry, int64_t now_ns);
// Notes what came of it; true when the breaker opened.
bool pace_report(struct dispatch_queue *q, const struct dispatch_entry *entry,
                 const struct dispatch_result *result, int64_t now_ns);

// dispatch_window.c
size_t window_limit(const struct dispatch_queue *q);
// Entries that compete for the window: ready and in flight.
static inline size_t window_live(const struct dispatch_queue *q) {
    return q->count - q->held_count - q->waiting_count;
}
// There are rows on disk whose turn has come.
bool window_disk_due(const struct dispatch_queue *q, int64_t now_ns);
// A new entry in memory, in no list; NULL on no memory or when it is there already.
struct dispatch_entry *entry_new(struct dispatch_queue *q, const struct dispatch_item *item);
// Out of every list and of memory.
void entry_free(struct dispatch_entry *entry);
// Puts an entry that is in no list where its due time says.
void entry_place(struct dispatch_entry *entry, int64_t due_ms, int64_t now_ns);
void entry_make_ready(struct dispatch_entry *entry);
struct dispatch_entry *entry_take(struct list *ready); // the first of a list of ready ones
// Out of memory; its row on disk is noted.
void entry_evict(struct dispatch_entry *entry);
void window_move_due(struct dispatch_queue *q, int64_t now_ns);
void window_shrink(struct dispatch_queue *q);
void window_clear(struct dispatch_queue *q); // everything but what is in flight
void window_note(struct dispatch_queue *q, int64_t due_ms, int64_t delivery);
void window_note_skipped(struct dispatch_queue *q, int64_t due_ms, int64_t delivery);
void window_rewind(struct dispatch_queue *q); // to the first skipped row
// The queue wants a page of rows now.
bool window_wants(const struct dispatch_queue *q, int64_t now_ns);

// dispatch_order.c
enum order_place { ORDER_READY, ORDER_HELD, ORDER_SKIP, ORDER_FULL };
// Where a delivery with this key goes; *key is its record when READY or HELD,
// NULL without a key.
enum order_place order_admit(struct dispatch_queue *q, struct slice text, int64_t delivery,
                             struct dispatch_key **key);
// Reading the order from disk: a delivery that was tried before holds its key.
void order_note(struct dispatch_queue *q, struct slice text, int64_t delivery);
void order_hold(struct dispatch_key *key, struct dispatch_entry *entry, bool first);
// The head is settled for good: the next one gets its turn.
void order_settle(struct dispatch_key *key, int64_t now_ns);
void order_forget(struct dispatch_queue *q); // all keys but those in flight

#endif
