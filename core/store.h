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
#include "event.h"
#include "fail.h"
#include "model.h"
#include "slice.h"

struct store;

struct store_opts {
    const char *dir;      // made with mode 0700 when missing; files 0600
    bool create;          // else a missing store is ERR_NOTFOUND
    bool sync_normal;     // planted defect for the power-cut rig only: synchronous=NORMAL
    size_t ballast_bytes; // kept free for the full-disk day (64 MiB; 0: none)
};

// Opens the writer: takes the directory's lock (ERR_STATE "store_locked" when
// another engine has it), checks schema version and integrity, bumps the epoch.
struct store *store_open(const struct store_opts *opts, struct fail *fail);
void store_close(struct store *store);
// Boot counter: part of every job, fences a stale engine later.
uint64_t store_epoch(const struct store *store);
// Random text of this store ([0-9a-z]{8}), part of public delivery ids.
struct slice store_uid(const struct store *store);

enum err store_begin(struct store *store, struct fail *fail);
enum err store_commit(struct store *store,
                      struct fail *fail); // ERR_FULL: disk full, rolled back; ERR_IO: fatal
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
    bool replay;            // a redelivery asked for by a person
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
};
enum err store_put_hook(struct store *store, const struct store_hook *hook, struct fail *fail);
enum err store_each_hook(struct store *store,
                         void (*each)(void *user, const struct store_hook *hook), void *user,
                         struct fail *fail);

// Moves deliveries between states in bounded steps: at most `limit` rows a call,
// *moved says how many (0: done). Used for park, release, redeliver, drop.
struct store_filter {
    int64_t hook;                           // 0: any
    struct slice type, org, event_id, text; // empty: any; text searches reason and error
    int64_t from_ms, to_ms;                 // created; 0: open
    int64_t delivery;                       // 0: any
    unsigned states;                        // bits 1 << enum delivery_state; 0: any
    int64_t before_delivery; // cursor for listing: ids below this; 0: from the newest
};
enum err store_move(struct store *store, const struct store_filter *filter, enum delivery_state to,
                    struct slice reason, bool reset_attempts, int64_t due_ms, size_t limit,
                    size_t *moved, struct fail *fail);

// Script store.
enum err store_put_kv(struct store *store, struct slice hook, const struct script_kv *changes,
                      struct fail *fail);
enum err store_each_kv(struct store *store, struct slice hook, int64_t now_ms,
                       void (*each)(void *to, const struct script_kv *kv), void *to,
                       struct fail *fail);
// Old script sources by version, so that pending deliveries keep theirs over a restart.
enum err store_put_source(struct store *store, struct slice version, struct slice name,
                          struct slice source, struct fail *fail);

// Tokens: only the SHA-256 is kept.
enum err store_put_token(struct store *store, struct slice id, const uint8_t hash[32],
                         struct slice label, struct slice scopes, int64_t created_ms,
                         int64_t expires_ms, struct fail *fail);
enum err store_revoke_token(struct store *store, struct slice id, struct fail *fail);

// Housekeeping. Deletes at most `limit` log rows that are older than
// `before_ms` (terminal deliveries, their attempts, events without deliveries); *deleted 0: done.
enum err store_retire(struct store *store, int64_t before_ms, size_t limit, size_t *deleted,
                      struct fail *fail);
enum err store_checkpoint(
    struct store *store); // writer's duty: PASSIVE past 4 MiB, TRUNCATE past 64 MiB when idle
// Bytes free for ingest on the store's file system, ballast left out.
uint64_t store_space_left(const struct store *store);
uint64_t store_bytes(const struct store *store); // the files' size
enum err store_ballast_release(struct store *store);
enum err store_ballast_restore(struct store *store);

// --- Readers: any thread or process, query_only, never block the writer. ---
struct store_reader;
struct store_reader *store_reader_open(const char *dir, struct fail *fail);
void store_reader_close(struct store_reader *reader);

struct store_delivery {
    int64_t delivery, event_number, created_ms, due_ms, settled_ms;
    struct slice event_id, type, org, hook, version, reason, unresolved, request;
    enum delivery_state state;
    uint32_t attempts;
    int last_status;
    struct slice last_error;
};
// Newest first; slices are valid during the callback; false stops.
enum err store_reader_list(struct store_reader *r, const struct store_filter *filter, size_t limit,
                           bool (*each)(void *user, const struct store_delivery *d), void *user,
                           struct fail *fail);
enum err store_reader_attempts(struct store_reader *r, int64_t delivery,
                               bool (*each)(void *user, const struct attempt *a), void *user,
                               struct fail *fail);
enum err store_reader_event(struct store_reader *r, int64_t event_number, struct arena *arena,
                            struct event **event, struct fail *fail);
// Events of the last `limit` that hook patterns may want, newest first (for `tuma diff`).
enum err store_reader_events(struct store_reader *r, size_t limit,
                             bool (*each)(void *user, struct event *event), void *user,
                             struct fail *fail);
enum err store_reader_hooks(struct store_reader *r,
                            void (*each)(void *user, const struct store_hook *hook), void *user,
                            struct fail *fail);
enum err store_reader_kv(struct store_reader *r, struct slice hook, int64_t now_ms,
                         void (*each)(void *to, const struct script_kv *kv), void *to,
                         struct fail *fail);
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
