// What becomes of a delivery, and of its webhook, after an attempt: the verdict
// turned into a state, a count and a due time. Pure, so that the simulation
// runs the very rules the journal runs.
#ifndef TUMA_RULING_H
#define TUMA_RULING_H

#include <stdbool.h>
#include <stdint.h>

#include "model.h"
#include "policy.h"

// What the attempt says about the endpoint.
enum health { HEALTH_UNKNOWN, HEALTH_GOOD, HEALTH_BAD };

struct ruling {
    enum delivery_state state;
    uint32_t attempts; // made so far, this one included
    int64_t due_ms;    // when PENDING
    bool unchanged;    // nothing to record: our own trouble, tried again soon
    bool disable;      // the webhook is to be disabled
    enum health health;
    int64_t hold_ms; // the receiver asked everybody to wait so long, 0: no
};

struct ruling_case {
    enum verdict verdict;
    uint32_t attempt; // number of the attempt, from 1
    bool attempted;   // something was sent, or tried to be
    int status;
    int64_t retry_after_ms; // -1: none
    const struct retry *retry;
    bool held; // the webhook is disabled by now: no further attempt
    int64_t now_ms;
    uint64_t random;
};
// The ruling on one attempt.
struct ruling rule(const struct ruling_case *c);

// A webhook's run of failures. True when it is to be disabled: 120 h of nothing
// but failures, at least 10 attempts (reliability R21).
struct failing {
    int64_t since_ms; // first failure since the last success; 0: none
    uint32_t failures;
};
bool failing_note(struct failing *failing, enum health health, int64_t now_ms);

#endif
