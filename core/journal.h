// The journal: the one thread that writes. It stores events in group commits,
// is the dispatcher (queues, due times, rate, concurrency, breaker, order,
// fairness), and records what became of every attempt.
#ifndef TUMA_JOURNAL_H
#define TUMA_JOURNAL_H

#include <stdint.h>

#include "fail.h"
#include "hook.h"
#include "inbox.h"
#include "store.h"

struct journal;

struct journal_opts {
    struct store *store;    // taken over
    struct hook_set *hooks; // the first set; the journal takes a reference
    struct inbox **workers; // one a worker, borrowed
    size_t workers_count;
    unsigned in_flight_max; // over all webhooks, default 1024
    uint64_t backlog_max; // pending deliveries above which intake gets OVERLOAD, default 5 million
    int64_t retention_ms; // terminal deliveries and their log; default 7 days, 0: keep
    uint64_t retention_bytes; // store size that retention aims at, 0: none
    void (*failed)(void *user, const struct fail *fail); // the store is unusable: stop the process
    void *failed_user;
};

// Starts the thread. Workers must be able to receive jobs already.
struct journal *journal_start(const struct journal_opts *opts, struct fail *fail);
struct inbox *journal_inbox(struct journal *journal);
// The end, in two steps, each of which blocks; NULL is fine. First no more jobs are handed out, and
// those in flight have up to `drain_ms`. Then the workers stop, which gives back what is left, and
// the journal records that, closes the store, joins the thread and frees everything.
void journal_drain(struct journal *journal, int64_t drain_ms);
void journal_stop(struct journal *journal);

#endif
