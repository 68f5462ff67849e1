// The messages between the actors (a star with the journal in the middle) and
// what each carries. Whoever holds a message owns all of it.
//
//   intake   api/run → journal → back     events to store
//   job      journal → worker → back      one attempt of one delivery
//   command  api/run → journal → back     an administrator's verb
//   hooks    registry → every actor       the new hook set
#ifndef TUMA_MESSAGE_H
#define TUMA_MESSAGE_H

#include <stdbool.h>
#include <stdint.h>

#include "arena.h"
#include "event.h"
#include "fail.h"
#include "hook.h"
#include "inbox.h"
#include "model.h"
#include "script.h"
#include "store.h"

// --- MESSAGE_INTAKE, comes back as MESSAGE_ACCEPTED ---

enum intake_result {
    INTAKE_STORED,    // on disk: 202
    INTAKE_DUPLICATE, // the id is there with the same content: 200, nothing new is sent
    INTAKE_CONFLICT,  // the id is there with other content: 409
    INTAKE_OVERLOAD,  // backlog above the high-water mark: 429
    INTAKE_FULL,      // no space: 503 storage_full
    INTAKE_UNKNOWN,   // the commit failed, nobody knows: 503
};

enum { ORDER_KEY_MAX = 256 };

struct intake_target {
    struct hook *hook;      // referenced
    struct slice order_key; // in the intake's arena; empty: none
};

struct intake_item {
    struct event *event; // owned reference
    struct intake_target *targets;
    size_t targets_count;
    enum intake_result result;
    struct store_target *stored; // the journal's own: what it made of the targets
};

struct intake {
    struct message message;
    struct inbox *reply;
    struct arena arena; // targets and items
    struct intake_item *items;
    size_t count, room;
    int64_t retry_after_ms; // with OVERLOAD
    void *user;             // the sender's

    size_t stored, planned; // the journal's own: items on disk, and with this transaction
};

// An intake with room for `count` items (each to be filled with intake_add). NULL on no memory.
struct intake *intake_new(struct inbox *reply, size_t count);
// Takes the event and matches it against `set` (hook_wants, order keys). False on no memory
// or no room: the event then stays the caller's.
bool intake_add(struct intake *intake, struct event *event, const struct hook_set *set);
// Frees it with its events; NULL is fine.
void intake_free(struct intake *intake);

// --- MESSAGE_JOB, comes back as MESSAGE_OUTCOME ---

struct job {
    struct message message;
    struct inbox *reply;
    struct arena arena;
    void *entry; // the dispatcher's; opaque to the worker
    int64_t delivery;
    uint64_t epoch;
    char webhook_id[48]; // "msg_" + store uid + delivery: stable over retries
    struct hook *hook;   // referenced
    struct event *event; // referenced
    struct slice packed; // the stored request; empty: render it now
    uint32_t attempt;    // number of the attempt to make, from 1
    bool doubted;        // its endpoint's last word was a failure: others go first
    bool tell_exhausted; // no attempt: only run the exhausted hook

    // What the worker found.
    enum verdict verdict;
    struct attempt record;
    bool attempted;       // record is to be logged
    struct slice reason;  // of FILTERED, PARK, DROP, FAIL
    struct slice request; // packed, when rendered just now
    struct slice *more;   // packed requests of further deliveries (fan-out)
    size_t more_count;
    struct slice unresolved;
    struct script_kv *changes;
    int64_t retry_after_ms; // -1: none; from the receiver or the response hook
    bool quarantine;        // the script's second strike

    // The journal's own.
    size_t worker;  // who has it
    uint64_t stamp; // of the webhook's rows when it started
    bool gone;      // its row is no more
};

// A job with nothing found yet. Refs hook and event (which may be NULL); NULL on no memory.
struct job *job_new(struct inbox *reply, struct hook *hook, struct event *event);
void job_free(struct job *job);

// --- MESSAGE_COMMAND, comes back as MESSAGE_ANSWER ---

enum command_verb {
    COMMAND_REDELIVER, // filter → pending, due now (paced; yields to live traffic)
    COMMAND_DROP,      // filter → dropped
    COMMAND_PAUSE,     // hook
    COMMAND_RESUME,    // hook: active again from paused, disabled or quarantined; parked go pending
    COMMAND_DISABLE,   // hook
    COMMAND_PUT_TOKEN,
    COMMAND_REVOKE_TOKEN,
    COMMAND_WAIT_IDLE, // answered when nothing is in flight and nothing is due before wait_until_ms
    COMMAND_STATUS,    // answer: JSON text
};

struct command {
    struct message message;
    struct inbox *reply;
    struct arena arena;
    enum command_verb verb;
    struct slice hook;
    struct store_filter filter;
    int64_t wait_ms; // WAIT_IDLE: retries further away than this from now are not waited for
    struct slice token_id, token_label, token_scopes;
    uint8_t token_hash[32];
    int64_t token_expires_ms;
    void *user;

    // Answer.
    struct fail fail; // fail.code OK when done
    uint64_t moved;
    struct slice text; // JSON, in the arena
};

// A command with nothing filled in but its verb; NULL on no memory.
struct command *command_new(struct inbox *reply, enum command_verb verb);
void command_free(struct command *command);

// --- MESSAGE_HOOKS ---

struct hooks_message {
    struct message message;
    struct hook_set *set; // owned reference
};
struct message *hooks_message_new(struct hook_set *set); // refs `set`; NULL on no memory
void hooks_message_free(struct hooks_message *message);

// Frees any message by its kind, for inboxes that close. A MESSAGE_STOP is a
// plain struct message inside the actor it stops, so it is left alone.
void message_discard(struct message *message);

#endif
