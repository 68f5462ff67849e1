// The durable store, one header of a few verbs; SQLite stands behind it today.
// A writer belongs to one thread (the journal) and has exclusive use of the
// directory. Verbs between store_begin and store_commit form one transaction
// with one fsync; nothing is promised to anybody before store_commit returned OK.
// A failed commit means *unknown*: stop acknowledging.
#ifndef TUMA_STORE_H
#define TUMA_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "arena.h"
#include "buf.h"
#include "event.h"
#include "fail.h"
#include "model.h"
#include "slice.h"

struct store;

// A delivery's number is its event's number times this plus its place among
// the event's deliveries: at most so many of one event (else ERR_LIMIT "fan_out").
enum { STORE_FANOUT_MAX = 100000 };

struct store_opts {
    const char *dir;         // made with mode 0700 when missing; files 0600
    bool create;             // else a missing store is ERR_NOTFOUND
    bool sync_normal;        // planted defect for the power-cut rig only: synchronous=NORMAL
    size_t ballast_bytes;    // kept free for the full-disk day (64 MiB; 0: none)
    uint64_t reserve_bytes;  // for store_space_reserve; 0: a share of the file system
    size_t checkpoint_bytes; // log that store_checkpoint lets gather; 0: 16 MiB. Rigs want it small
};

// Opens the writer: takes the directory's lock (ERR_NOT_NOW "store_locked" when
// another engine has it), checks schema version and integrity, bumps the epoch.
// Refuses, without touching a byte, what it cannot take over whole: types
// no_store, store_db_missing (a log without its database), store_wal_corrupt,
// store_corrupt, store_foreign, store_newer_schema, store_read_only,
// store_denied, store_network_fs. It never makes an empty store over a broken one.
struct store *store_open(const struct store_opts *opts, struct fail *fail);
void store_close(struct store *store); // NULL is fine; an open transaction is rolled back
// Boot counter: part of every job, fences a stale engine later.
uint64_t store_epoch(const struct store *store);
// The last stop was unclean, and the store is too large to have been checked while it was opened.
bool store_is_unchecked(const struct store *store);
// Random text of this store ([0-9a-z]{8}), part of public delivery ids.
struct slice store_uid(const struct store *store);

// ERR_IO "store_replaced" when the database file was deleted or exchanged.
enum err store_begin(struct store *store, struct fail *fail);
// Ends the transaction either way. ERR_FULL and ERR_NOMEM: rolled back, the
// writer goes on. ERR_IO: fatal, every later verb says the same.
enum err store_commit(struct store *store, struct fail *fail);
// When a verb inside a transaction failed for the disk's or memory's sake, the
// verbs behind it and the commit fail likewise. Other errors (ERR_LIMIT,
// ERR_NOTFOUND, ERR_INPUT) leave the transaction as it was.
void store_rollback(struct store *store);

// The number a webhook name has in this store (given on first use). Inside a transaction.
enum err store_hook_number(struct store *store, struct slice name, int64_t *number,
                           struct fail *fail);

enum store_put { STORE_NEW, STORE_DUPLICATE, STORE_CONFLICT }; // CONFLICT: same id, other content

struct store_target {
    int64_t hook;              // number
    struct slice version;      // hook version at acceptance
    struct slice order_key;    // empty: none
    enum delivery_state state; // PENDING, or PARKED when the webhook is disabled
    int64_t due_ms;
    int64_t delivery; // out: its id
};

// Appends an event and its deliveries. *event_number is the row's number (also for a duplicate).
enum err store_put_event(struct store *store, const struct event *event,
                         struct store_target *targets, size_t targets_count, enum store_put *result,
                         int64_t *event_number, struct fail *fail);

// What became of a delivery. Several kinds of change in one row update.
struct store_settle {
    int64_t delivery;
    enum delivery_state state;
    uint32_t attempts;
    int64_t due_ms;                // when PENDING again
    struct slice reason;           // why parked, filtered, exhausted; empty else
    struct slice version;          // script version that rendered it; empty: leave
    struct slice request;          // packed rendered request to keep; empty: leave what is there
    struct slice unresolved;       // tag names, comma separated; with request
    const struct attempt *attempt; // to log; NULL: none was made
    int64_t now_ms;
};
enum err store_settle(struct store *store, const struct store_settle *settle, struct fail *fail);
// A further delivery of the same event and webhook (a transform that fans out),
// pending with its own rendered request.
enum err store_add_delivery(struct store *store, int64_t of_delivery, struct slice request,
                            int64_t due_ms, int64_t *delivery, struct fail *fail);

// One pending delivery as the dispatcher sees it.
struct store_due {
    int64_t delivery, hook, due_ms, created_ms;
    uint32_t attempts;
    struct slice order_key; // valid during the callback
    bool replay;            // put back by store_move with reset_attempts
};
// Pending deliveries of `hook` by (due_ms, delivery), past the cursor; at most `limit`.
enum err store_fetch_due(struct store *store, int64_t hook, int64_t after_due_ms,
                         int64_t after_delivery, size_t limit,
                         void (*each)(void *user, const struct store_due *due), void *user,
                         struct fail *fail);
// Hooks that have pending deliveries, with count and first due.
enum err store_pending_hooks(struct store *store,
                             void (*each)(void *user, int64_t hook, struct slice name,
                                          uint64_t count, int64_t first_due_ms),
                             void *user, struct fail *fail);
// What a worker needs to (re)send: the event's columns, the packed request (empty: not rendered
// yet).
struct store_job {
    struct slice event_id, type, org, trace, tags_json, request, version;
    int64_t time_ms;
    uint32_t attempts;
    int64_t hook;
};
// Slices are put into `arena`. ERR_INPUT "corrupt_row" when the row's checksum does not fit: park
// it.
enum err store_load_job(struct store *store, int64_t delivery, struct arena *arena,
                        struct store_job *job, struct fail *fail);

// A webhook's operating state, which outlives its versions.
enum hook_state { HOOK_ACTIVE, HOOK_DISABLED, HOOK_PAUSED, HOOK_QUARANTINED, HOOK_REMOVED };
struct store_hook {
    int64_t number;
    struct slice name;
    enum hook_state state;
    struct slice reason;
    struct slice version; // the version the state was set for (quarantine is lifted by an edit)
    int64_t since_ms;
    int64_t failing_since_ms; // first failure since the last success, 0: none
    uint32_t failures;        // attempts since then
    int64_t attempt_ms; // the last one that was noted; 0: none, and putting it changes nothing
};
enum err store_put_hook(struct store *store, const struct store_hook *hook, struct fail *fail);
enum err store_each_hook(struct store *store,
                         void (*each)(void *user, const struct store_hook *hook), void *user,
                         struct fail *fail);

// Which deliveries.
struct store_filter {
    int64_t hook;                     // 0: any
    struct slice type;                // exact, or "call.*"; empty: any
    struct slice org, event_id, text; // empty: any; text searches reason and error
    int64_t from_ms, to_ms;           // created; 0: open
    int64_t delivery;                 // 0: any
    unsigned states;                  // bits 1 << enum delivery_state; 0: any
    int64_t before_delivery;          // cursor for listing: ids below this; 0: from the newest
    int64_t after_delivery;           // cursor for moving: ids above this; 0: from the oldest
};
// Moves deliveries between states in bounded steps, oldest first: at most `limit`
// are moved and some thousands looked at in a call. While *more, call again with
// the same filter; its after_delivery notes how far this came. Used for park,
// release, redeliver, drop. Rows that are in state `to` already do not count;
// bound a redelivery by before_delivery or to_ms, or it may meet its own work again.
struct store_change {
    enum delivery_state to;
    struct slice reason;
    bool reset_attempts;
    int64_t due_ms; // when PENDING
};
enum err store_move(struct store *store, struct store_filter *filter,
                    const struct store_change *change, size_t limit, size_t *moved, bool *more,
                    struct fail *fail);

// Script store.
enum err store_put_kv(struct store *store, struct slice hook, const struct script_kv *changes,
                      struct fail *fail);
enum err store_each_kv(struct store *store, struct slice hook, int64_t now_ms,
                       void (*each)(void *to, const struct script_kv *kv), void *to,
                       struct fail *fail);
// Script sources by version, so that pending deliveries keep theirs over a
// restart; store_reader_source reads one. Retirement drops those that are
// neither a webhook's newest nor wanted by a pending or parked delivery.
enum err store_put_source(struct store *store, struct slice version, struct slice name,
                          struct slice source, struct fail *fail);

// Tokens: only the SHA-256 is kept.
enum err store_put_token(struct store *store, struct slice id, const uint8_t hash[32],
                         struct slice label, struct slice scopes, int64_t created_ms,
                         int64_t expires_ms, struct fail *fail);
enum err store_revoke_token(struct store *store, struct slice id, struct fail *fail);

// Housekeeping. Deletes at most `limit` deliveries and events that are older
// than `before_ms`. An event goes as a whole, when all its deliveries are
// terminal. The walk goes on where the last call stopped; *deleted 0: nothing
// to do just now.
enum err store_retire(struct store *store, int64_t before_ms, size_t limit, size_t *deleted,
                      struct fail *fail);
// Writer's duty after each commit, outside a transaction: copies the log into
// the database once enough has gathered.
enum err store_checkpoint(struct store *store);
// Bytes free for ingest on the store's file system, ballast left out.
uint64_t store_space_left(const struct store *store);
// With less left than this, events should be refused, so that what is stored can be settled:
// opts.reserve_bytes, else 5 % of the file system, but 8 MiB to 1 GiB.
uint64_t store_space_reserve(const struct store *store);
uint64_t store_bytes(struct store *store); // in use: database without free pages, and log
// The ballast is a file that keeps space for the full-disk day: released, there
// is room to settle and to retire. Restore: ERR_FULL while there is no room for it.
enum err store_ballast_release(struct store *store);
enum err store_ballast_restore(struct store *store);

// --- Readers: any thread or process (one thread at a time each), query_only,
// never block the writer. ---
struct store_reader;
struct store_reader *store_reader_open(const char *dir, struct fail *fail);
void store_reader_close(struct store_reader *reader);

struct store_delivery {
    int64_t delivery, event_number, created_ms, due_ms, settled_ms;
    struct slice event_id, type, org, hook, version, reason, unresolved, request;
    enum delivery_state state;
    uint32_t attempts;
    int last_status;
    struct slice last_error; // `request` only when the filter names one delivery
};
// Newest first; slices are valid during the callback; false stops. Looks at a
// bounded number of deliveries, so it may find fewer than `limit` and not be
// through: *next (may be NULL) is the before_delivery to go on with, 0 at the end.
enum err store_reader_list(struct store_reader *r, const struct store_filter *filter, size_t limit,
                           bool (*each)(void *user, const struct store_delivery *d), void *user,
                           int64_t *next, struct fail *fail);
enum err store_reader_attempts(struct store_reader *r, int64_t delivery,
                               bool (*each)(void *user, const struct attempt *a), void *user,
                               struct fail *fail);
// An owned event (one reference).
enum err store_reader_event(struct store_reader *r, int64_t event_number, struct event **event,
                            struct fail *fail);
// The last `limit` events, newest first (for `tuma diff`); borrowed for the call.
enum err store_reader_events(struct store_reader *r, size_t limit,
                             bool (*each)(void *user, struct event *event), void *user,
                             struct fail *fail);
enum err store_reader_hooks(struct store_reader *r,
                            void (*each)(void *user, const struct store_hook *hook), void *user,
                            struct fail *fail);
// The number of the webhook `name` in this store, 0 when the store does not know it.
enum err store_reader_hook_number(struct store_reader *r, struct slice name, int64_t *number,
                                  struct fail *fail);
enum err store_reader_kv(struct store_reader *r, struct slice hook, int64_t now_ms,
                         void (*each)(void *to, const struct script_kv *kv), void *to,
                         struct fail *fail);
// The source of a script version in `arena`; ERR_NOTFOUND when it is not kept.
enum err store_reader_source(struct store_reader *r, struct slice version, struct arena *arena,
                             struct slice *name, struct slice *source, struct fail *fail);
// Walks every page of the database: ERR_IO "store_corrupt". Takes about a second a gigabyte.
enum err store_reader_check(struct store_reader *r, struct fail *fail);
// The same question, asked beside a running engine in small steps: is every delivery what its start
// would accept? Findings are logged, and told by store_check_write. One check a process at a time.
struct store_check;
struct store_check *store_check_start(const char *dir, struct fail *fail);
// Looks at the next few dozen deliveries; false: it is through, or cannot go on.
bool store_check_step(struct store_check *check);
void store_check_end(struct store_check *check); // NULL is fine
// Any thread: {"state": "none", "running", "done" or "failed", "deliveries": …, "damaged": …}
void store_check_write(struct buf *out);
// Counts by hook name and state, for summaries and the conservation check.
enum err store_reader_counts(struct store_reader *r,
                             void (*each)(void *user, struct slice hook, enum delivery_state state,
                                          uint64_t count),
                             void *user, struct fail *fail);
enum err store_reader_event_count(struct store_reader *r, uint64_t *events, struct fail *fail);
// False when there is no such live token.
bool store_reader_token(struct store_reader *r, struct slice id, int64_t now_ms, uint8_t hash[32],
                        char scopes[64]);
enum err store_reader_tokens(struct store_reader *r,
                             void (*each)(void *user, struct slice id, struct slice label,
                                          struct slice scopes, int64_t created_ms,
                                          int64_t expires_ms),
                             void *user, struct fail *fail);

#endif
