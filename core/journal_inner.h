// What the files of the journal share. Everything here belongs to the
// journal's thread once it runs.
//
//   receive → waiting → batch: plan (inside one transaction) → commit → apply → answers
//                         ↘ chores: bounded steps of large moves and housekeeping
//   dispatch → start jobs → workers → outcomes → waiting
//
// Plan writes to the store and notes what follows; apply changes memory, tells
// the dispatcher and answers. Between them stands the commit: when it fails
// nothing has to be undone but the webhooks' states, which are kept twice.
#ifndef TUMA_JOURNAL_INNER_H
#define TUMA_JOURNAL_INNER_H

#include <uv.h>

#include "arena.h"
#include "dispatch.h"
#include "journal.h"
#include "list.h"
#include "map.h"
#include "message.h"
#include "pulse.h"
#include "ruling.h"
#include "store.h"

enum {
    BATCH_ROWS_MAX = 2000, // of one transaction: events, deliveries, outcomes
    BATCH_CPU_MS = 3,      // what planning one may take; the commit comes on top
    BATCH_CPU_MS_MAX = 4,  // when the disk takes longer: as long as that
    STARTS_A_TURN = 512,   // jobs started before others get a look in
    STARTS_MS = 2,         // and how long that may take
    PAGES_A_TURN = 4,      // pages fetched likewise
    MOVES_A_STEP = 250,    // rows a chore moves in one transaction
    RETIRE_A_STEP = 300,   // rows deleted in one transaction
    OVERLOAD_RETRY_MS = 5000,
    FULL_RETRY_MS = 1000, // until outcomes are tried again on a full disk
    WINDOW = 1024,
    WINDOW_TOTAL = 64 * 1024,
    KEYS_MAX = 256 * 1024,
    FAILURES_TOLD = 10,           // in a row are stored one by one
    PAYLOAD_BYTES_MAX = 64 << 20, // events kept in memory for their first attempt
};

// The part of a webhook that the store keeps.
struct webhook_status {
    enum hook_state state;
    char reason[160];
    char version[24]; // the version the state was set for
    int64_t since_ms;
    struct failing failing;
    int64_t attempt_ms; // none that the receiver's rate could notice was made after it
};

struct webhook {
    struct slice name;                   // its own copy, behind the struct
    int64_t number;                      // in the store; 0: none yet
    struct hook *hook;                   // the live version; NULL: not in the set
    struct dispatch_queue *queue;        // NULL until it has a number
    uint64_t pending;                    // rows in that state
    uint64_t stamp;                      // rises when rows are moved under the queue
    bool open;                           // the dispatcher may start its deliveries
    bool recalled;                       // it knows what was before the start
    struct webhook_status status, saved; // as planned, as committed
    bool touched, dirty, numbered;       // in this transaction
    bool unpark_removed, unpark_script;  // what a new hook set lets go
    struct list touched_link, all;
};

// A large move of deliveries between states, in steps.
struct move {
    struct list link;
    struct store_filter filter;
    struct arena arena;   // its filter's texts
    unsigned states;      // still to do, bits; the lowest is under way
    unsigned states_each; // for every webhook
    enum delivery_state to;
    struct slice reason;
    bool replay;             // redelivery: attempts start anew
    struct webhook *webhook; // under way; NULL: pick the next
    struct list *next;       // of all webhooks; NULL: this one only
    struct command *command; // to answer; may be NULL
    uint64_t moved;
};

struct batch {
    struct list intakes, outcomes;
    struct list raised; // operational events of this batch
    size_t rows;
    int64_t cpu_end_ns; // by the thread's own clock
    bool long_enough;   // the rest waits for the next
    bool said_low;      // that space is low
    struct arena arena;
    int64_t now_ms, wall_ms;
};

struct outcome {
    struct list link;
    struct job *job;
    struct ruling ruling;
    bool was_pending; // the row was still pending when it was settled
    bool moot;        // a person dropped or parked it meanwhile: leave the row alone
    int64_t *more;    // numbers of further deliveries
    size_t more_count;
};

struct journal {
    struct journal_opts opts;
    struct store *store;
    struct hook_set *hooks;
    uv_loop_t loop;
    uv_thread_t thread;
    struct inbox inbox;
    uv_idle_t work;   // runs while there is something to do
    uv_timer_t timer; // until there is
    struct message drain, stop;
    uv_sem_t drained;
    int64_t drain_ms;

    int64_t anchor_mono_ns, anchor_wall_ns; // the clock that never steps
    uint64_t random;

    struct dispatch *dispatch;
    struct map webhooks; // by name
    struct list all;     // struct webhook
    struct list touched; // in this transaction
    uint64_t pending;
    size_t payload_bytes;
    unsigned *load;        // jobs at each worker
    struct list *outgoing; // jobs for each worker, sent at the end of a turn
    unsigned out;          // jobs at workers

    struct list waiting; // messages in order
    struct list moves;
    struct list idle_waiters; // COMMAND_WAIT_IDLE

    int64_t full_until_ns; // the disk is full: outcomes wait until then
    int64_t space_checked_ns, retire_ns, retire_age_ms, ballast_ns;
    uint64_t space_left, space_reserve;
    bool low_space, ballast_out, retiring;
    bool failed;   // the store is of no use any more
    bool rest_due; // the last turn was a batch
    bool stopping, drain_told, ending, closed;
    int64_t stop_by_ns, longest_turn_ns;
    int64_t commit_ns, longest_disk_ns; // waits for the disk: the last commit, the worst
    struct pulse pulse;
    struct list tombstone;
};

int64_t journal_now_ns(const struct journal *j);
static inline int64_t ns_to_ms(int64_t ns) {
    return ns / 1000000;
}
uint64_t journal_random(struct journal *j);
// The store cannot be trusted any more: nothing is acknowledged from now on.
void journal_fail(struct journal *j, const struct fail *fail);

// journal_batch.c: takes what waits, in order, as far as one transaction goes.
void batch_run(struct journal *j);
void batch_note_rows(struct batch *batch, size_t rows); // so many more were planned
// Copies the store's log into the database when it is due; true when it was.
bool journal_checkpoint(struct journal *j);
// A transaction of `plan` alone, committed with the webhooks' states, or rolled
// back with them. ERR_IO has been told by journal_fail.
enum err journal_transaction(struct journal *j,
                             enum err (*plan)(struct journal *j, void *user, struct fail *fail),
                             void *user, struct fail *fail);
// The disk is full: what was settled waits, the ballast goes.
void journal_full(struct journal *j);

// journal_intake.c
// Plans items from where the last transaction ended until this one is long
// enough: events, not intakes, are what a crash keeps or loses whole.
enum err intake_plan(struct journal *j, struct batch *batch, struct intake *intake,
                     struct fail *fail);
void intake_apply(struct journal *j, struct intake *intake); // what was planned
void intake_answer(struct intake *intake);
void intake_refuse(struct intake *intake, enum intake_result result); // what is not stored
// Whether events are taken now; else why not.
bool intake_open(struct journal *j, enum intake_result *refusal);
bool intake_space_is_low(struct journal *j);
// Deliveries' payloads: the event and the version it was accepted for.
struct payload {
    struct event *event;
    struct hook *hook;
    size_t bytes;
};
void payload_forget(void *user, void *payload);

// journal_raise.c: operational events.
void raise_exhausted(struct journal *j, struct batch *batch, const struct job *job);
void raise_webhook(struct journal *j, struct batch *batch, const char *type,
                   const struct webhook *w, const struct hook *hook);
void raise_low_space(struct journal *j, struct batch *batch);

// journal_jobs.c
void jobs_fetch(struct journal *j);
void jobs_start(struct journal *j);
void jobs_flush(struct journal *j);
void job_came_back(struct journal *j, struct job *job);
enum err outcome_plan(struct journal *j, struct batch *batch, struct outcome *outcome,
                      struct fail *fail);
void outcome_apply(struct journal *j, struct outcome *outcome);

// journal_hooks.c
struct webhook *webhook_get(struct journal *j, struct slice name); // makes it; NULL: no memory
struct webhook *webhook_find(const struct journal *j, struct slice name);
enum err webhook_number(struct journal *j, struct webhook *w, struct fail *fail);
void webhook_touch(struct journal *j, struct webhook *w);
void webhook_set_state(struct journal *j, struct webhook *w, enum hook_state state,
                       struct slice reason, struct slice version);
bool webhook_accepts(const struct webhook *w); // new deliveries are pending, not parked
enum err webhooks_write(struct journal *j, struct fail *fail); // the dirty ones, before the commit
void webhooks_commit(struct journal *j);                       // after it: the dispatcher follows
void webhooks_rollback(struct journal *j);
enum err webhooks_load(struct journal *j, struct fail *fail);
// Makes `set` the live one (takes the reference). The first set of a process
// says nothing of webhooks it lacks: their deliveries wait. Later ones do: a
// webhook that goes is REMOVED and its deliveries are parked until it is back.
enum err webhooks_change(struct journal *j, struct hook_set *set, struct fail *fail);
void webhooks_free(struct journal *j);

// journal_moves.c
bool moves_step(struct journal *j); // true when there is more to do
void moves_park(struct journal *j, struct webhook *w);
void moves_release(struct journal *j, struct webhook *w, struct slice text);
bool moves_command(struct journal *j, struct command *command); // takes it when true
void moves_close(struct journal *j);
// Housekeeping when nothing else is to do; true when it wants another turn.
bool housekeeping_step(struct journal *j);
int64_t housekeeping_wake_ns(const struct journal *j);

// journal_command.c
void command_run(struct journal *j, struct command *command);
void command_answer(struct command *command);
void commands_check_idle(struct journal *j);
void commands_close(struct journal *j);

#endif
