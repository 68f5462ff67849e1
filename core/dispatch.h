// The dispatcher: which delivery starts next, and when somebody must look
// again. A pure state machine; time is a parameter and nothing here does I/O,
// so a simulation can run a year of it in a second.
//
// A queue is one webhook. Its near future is in memory (the window); the rest
// is on disk behind a cursor, and the owner is told when to fetch more. Within
// a queue live traffic is FIFO, retries and redeliveries ("late") take turns
// with it, and deliveries with the same order key go one after the other, each
// when the earlier one is settled for good. Between queues: organizations take
// turns, and within one its webhooks; those whose endpoint's last word was a
// failure get one turn in four while others want theirs. Every delivery costs one slot, so deficit
// round robin comes down to turns; what turns cannot give, a share of slots
// that hanging endpoints would sit on, two limits give: a queue may hold at most
// four times the slots that are still free, and endpoints whose last word was
// not a success share three quarters of all slots.
//
// Time is nanoseconds since the Unix epoch on a clock that never steps (the
// owner anchors the monotonic clock once), so stored due times fit as they are.
#ifndef TUMA_DISPATCH_H
#define TUMA_DISPATCH_H

#include <stdbool.h>
#include <stdint.h>

#include "heap.h"
#include "list.h"
#include "policy.h"
#include "ruling.h"
#include "slice.h"

struct dispatch;
struct dispatch_queue;

struct dispatch_opts {
    unsigned in_flight_max;                    // over all queues
    size_t window;                             // entries of one queue in memory
    size_t window_total;                       // of all; beyond it every queue still has a few
    size_t keys_max;                           // order keys known at a time
    void (*forget)(void *user, void *payload); // an entry left memory (its payload is not NULL)
    void *user;
};

// What one version of a webhook allows.
struct dispatch_limits {
    unsigned concurrency;
    struct rate rate;
    struct breaker_opts breaker;
    struct slice org; // whose turn it takes; empty: everybody's
    bool ordered;     // deliveries may carry order keys
};

struct dispatch_item {
    int64_t delivery, due_ms, created_ms;
    uint32_t attempts;
    bool replay;
    struct slice order_key; // borrowed; empty: none
    void *payload;          // the owner's; NULL: fetch what is needed when it starts
};

// A delivery in memory. The owner reads the first part.
struct dispatch_entry {
    struct dispatch_queue *queue;
    int64_t delivery;
    int64_t due_ms; // as stored
    uint32_t attempts;
    bool replay;
    bool doubted; // the endpoint's last word, when it started, was a failure
    void *payload;

    // The dispatcher's own.
    bool probe, late, unproven;
    int where; // enum entry_place
    int64_t created_ms;
    struct dispatch_key *key;
    struct list link;       // ready or held
    struct heap_node timer; // waiting
};

struct dispatch *dispatch_new(const struct dispatch_opts *opts); // NULL on no memory
void dispatch_free(struct dispatch *d);

// A new queue for webhook number `hook`, held, with nothing in memory and nothing
// known of the disk. Lives as long as the dispatcher. NULL on no memory.
struct dispatch_queue *dispatch_queue_new(struct dispatch *d, int64_t hook, void *user);
void *dispatch_queue_user(const struct dispatch_queue *q);
int64_t dispatch_queue_hook(const struct dispatch_queue *q);
// False on no memory: the old limits stay.
bool dispatch_queue_limit(struct dispatch_queue *q, const struct dispatch_limits *limits,
                          int64_t now_ns);
// What an earlier life of the engine knew; to be said once, when the queue has its limits. A queue
// of which nothing is recalled may send a whole burst at once and trusts its endpoint.
struct dispatch_past {
    int64_t attempt_ms; // there was none after that; 0: none at all
    unsigned failures;  // of its endpoint, in a row
    int64_t failing_since_ms;
    uint64_t random; // chooses when an open breaker probes
};
void dispatch_queue_recall(struct dispatch_queue *q, const struct dispatch_past *past,
                           int64_t now_ns);
// A held queue starts nothing and fetches nothing; what arrives stays on disk.
void dispatch_queue_hold(struct dispatch_queue *q, bool held, int64_t now_ns);
// Forgets an open breaker and a wish to wait: somebody says the endpoint is well.
void dispatch_queue_trust(struct dispatch_queue *q, int64_t now_ns);
// Forgets what is not in flight: the rows on disk changed under it. Reads them
// again from the start when `more`.
void dispatch_queue_reset(struct dispatch_queue *q, bool more, int64_t now_ns);
// There is a row on disk that is not in memory.
void dispatch_queue_more(struct dispatch_queue *q, int64_t due_ms, int64_t delivery, bool replay,
                         int64_t now_ns);

// A delivery that was just stored. True: it is in memory now and its payload
// taken; false: it is left on disk, the payload stays the caller's.
bool dispatch_add(struct dispatch_queue *q, const struct dispatch_item *item, int64_t now_ns);
// The same for a further delivery of an entry in flight (a fan-out): it goes
// right behind it in the order, before what has waited longer, so give the last
// of several first.
bool dispatch_add_behind(struct dispatch_entry *of, const struct dispatch_item *item,
                         int64_t now_ns);

// A page of rows that a queue wants, or false. Feed each row, then say done.
struct dispatch_fetch {
    struct dispatch_queue *queue;
    int64_t after_due_ms, after_delivery;
    size_t limit;
};
bool dispatch_wants(struct dispatch *d, struct dispatch_fetch *fetch);
void dispatch_fetched(struct dispatch_queue *q, const struct dispatch_item *row, int64_t now_ns);
void dispatch_fetch_done(struct dispatch_queue *q, size_t rows, size_t limit, int64_t now_ns);
// Instead of done, when not all rows could be read just now: the queue asks again in a second.
void dispatch_fetch_failed(struct dispatch_queue *q, int64_t now_ns);

// The next delivery to start, now in flight; NULL: none may start at this time.
struct dispatch_entry *dispatch_next(struct dispatch *d, int64_t now_ns);

struct dispatch_result {
    bool settled;          // for good; else again at due_ms
    int64_t due_ms;        // when to try again
    int64_t stored_due_ms; // as the row says
    uint32_t attempts;
    enum health health;
    int64_t hold_ms; // nobody of this queue for so long
};
// An entry came back. Frees it, or puts it where it waits.
void dispatch_done(struct dispatch_entry *entry, const struct dispatch_result *result,
                   int64_t now_ns);

// When dispatch_next or dispatch_wants may say something new if nothing else
// happens before; INT64_MAX: never.
int64_t dispatch_wake_ns(const struct dispatch *d);
unsigned dispatch_in_flight(const struct dispatch *d);
// Nothing in flight, and nothing due before `until_ms` but in queues that are held, or whose
// endpoint is left alone until then. A rate makes nobody idle.
bool dispatch_idle(const struct dispatch *d, int64_t until_ms);

struct dispatch_stats {
    size_t in_memory;
    unsigned in_flight;
    bool more, held;
    enum breaker_phase breaker;
};
struct dispatch_stats dispatch_queue_stats(const struct dispatch_queue *q);
size_t dispatch_in_memory(const struct dispatch *d);

#endif
