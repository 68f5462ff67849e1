// What travels between the actors: the states of a delivery, the record of an
// attempt, and the messages. Plain structs; behaviour lives elsewhere.
#ifndef TUMA_MODEL_H
#define TUMA_MODEL_H

#include <stdbool.h>
#include <stdint.h>

#include "slice.h"

// A delivery is one event for one webhook. Stored numbers: never renumber.
enum delivery_state {
    DELIVERY_PENDING = 0,   // due at due_ms; the pending row is the lease
    DELIVERY_DELIVERED = 1, // a complete 2xx header block came
    DELIVERY_EXHAUSTED = 2, // every attempt failed: the dead letter
    DELIVERY_PARKED = 3,    // held with a reason; released by a person or an edit
    DELIVERY_FILTERED = 4,  // the script said no
    DELIVERY_DROPPED = 5,   // discarded by policy or a person
};

enum { DELIVERY_STATES = DELIVERY_DROPPED + 1 };
// By enum delivery_state: the words of the log, the API and the commands.
extern const char *const delivery_state_names[DELIVERY_STATES];
// A delivery's number from "msg_", 8 characters of its store and digits (the webhook-id that a
// receiver sees), or from the digits alone. False for anything else; *number is then untouched.
bool delivery_number(struct slice id, int64_t *number);

// What an attempt came to.
enum verdict {
    VERDICT_DELIVERED,
    VERDICT_RETRY,   // try again on the schedule
    VERDICT_FAIL,    // give up now: a dead letter
    VERDICT_DISABLE, // 410: as FAIL's park, and the webhook is disabled
    VERDICT_FILTERED,
    VERDICT_PARK, // script or template trouble, with the reason
    VERDICT_DROP,
    VERDICT_LOCAL, // our own trouble (EMFILE, shutdown): again, no attempt counted
};

// One try over the network, as the log keeps it.
struct attempt {
    uint32_t number;    // 1 is the first
    int64_t started_ms; // wall clock
    int status;         // HTTP status, 0 when none came
    enum verdict verdict;
    char error_type[32];      // a stable word (courier.h lists them); empty when all went well
    char error[160];          // the same in plain words
    bool response_incomplete; // headers came whole, the body did not
    int32_t dns_us, connect_us, tls_us, first_byte_us, total_us; // -1: did not get there
    // The headers that this attempt added (webhook-timestamp, …), as "Name: value\n" lines.
    struct slice sent_headers;
    struct slice response_headers; // as received, at most 64 KiB
    struct slice response_body;    // first 64 KiB
    int64_t retry_after_ms;        // the receiver's wish, -1 when none
};

enum message_kind {
    MESSAGE_INTAKE,   // api → journal: events to store; comes back as MESSAGE_ACCEPTED
    MESSAGE_ACCEPTED, // journal → api
    MESSAGE_JOB,      // journal → worker
    MESSAGE_OUTCOME,  // worker → journal: the same struct job, filled in
    MESSAGE_HOOKS,    // registry → every actor: a new hook set
    MESSAGE_COMMAND,  // api → journal: an administrator's verb; comes back as MESSAGE_ANSWER
    MESSAGE_ANSWER,
    MESSAGE_STOP, // main → any actor: finish what is in hand, then close
};

// A key of a webhook's script store that changed.
struct script_kv {
    struct slice key, value; // value as JSON text; empty: deleted
    int64_t expires_ms;      // 0: never
    struct script_kv *next;
};

#endif
