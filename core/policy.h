// When to try again, how fast, and when to leave an endpoint alone. Pure
// arithmetic: time and randomness are parameters.
#ifndef TUMA_POLICY_H
#define TUMA_POLICY_H

#include <stdbool.h>
#include <stdint.h>

#include "fail.h"
#include "slice.h"

enum { RETRY_STEPS_MAX = 64 };

// The pauses between attempts in milliseconds; steps_count + 1 attempts in all.
struct retry {
    int64_t steps_ms[RETRY_STEPS_MAX];
    unsigned steps_count;
    unsigned jitter_percent; // each pause varies by ± this much
};

// 5 s, 5 min, 30 min, 2 h, 5 h, 10 h, 14 h, 20 h, 24 h, ±20 % (Standard Webhooks' schedule).
struct retry retry_standard(void);
// Pauses of base, base * factor, base * factor² … seconds, none longer than max, between `attempts`
// attempts. ERR_INPUT "bad_retry" when a number is out of its range; *retry is then untouched.
enum err retry_exponential(struct retry *retry, double base_s, double factor, double max_s,
                           int64_t attempts, struct fail *fail);
// Milliseconds until attempt `failed + 1` after `failed` attempts went wrong,
// or -1 when the schedule is used up. `random` is uniform over uint64_t.
// `retry_after_ms` is the receiver's wish (-1: none), clamped to
// [the step, max(the step, 24 h)].
int64_t retry_next(const struct retry *retry, unsigned failed, int64_t retry_after_ms,
                   uint64_t random);

// RFC 9110 section 10.2.3: delay seconds or an HTTP date (all three forms of
// section 5.6.7). Returns milliseconds from `now_ms` (never negative), or -1
// when it is neither. Tolerates a fraction; huge values saturate.
int64_t retry_after_parse(struct slice value, int64_t now_ms);

// A token bucket in virtual time: `count` sends every `per_ms` milliseconds (0: no limit), evenly
// spread, of which `burst` may go at once.
struct rate {
    uint32_t count;
    uint32_t per_ms;
    uint32_t burst;
};
struct rate_state {
    int64_t next_ns; // theoretical arrival time (GCRA)
};
// "50/s", "100/m", "1000/h", optionally " burst 20"; counts from 1 to a million. ERR_INPUT
// "bad_rate" with fail->at.
enum err rate_parse(struct slice text, struct rate *rate, struct fail *fail);
// True and one token taken when a send may start now; else *wait_ns says how long.
bool rate_take(const struct rate *rate, struct rate_state *state, int64_t now_ns, int64_t *wait_ns);
// Empties the bucket as far as a send at `at_ns` can have emptied it: for a bucket whose past is
// not known any more.
void rate_empty(const struct rate *rate, struct rate_state *state, int64_t at_ns);

// Circuit breaker: `threshold` failures in a row open it for a cooldown that
// doubles up to a maximum; then one probe decides.
enum breaker_phase { BREAKER_CLOSED, BREAKER_OPEN, BREAKER_HALF_OPEN };
struct breaker_opts {
    unsigned threshold;  // failures in a row
    int64_t cooldown_ms; // first open period
    int64_t cooldown_max_ms;
};
struct breaker {
    enum breaker_phase phase;
    unsigned failures; // in a row
    unsigned opened;   // times in a row that it opened
    int64_t until_ns;  // open until then
};
// May a send start? If not, *wait_ns says how long to wait; INT64_MAX: until the probe reports.
// *probe is true when this send is the probe of a half-open breaker; there is one at a time.
bool breaker_allows(struct breaker *b, int64_t now_ns, bool *probe, int64_t *wait_ns);
// What a send came to. A failed probe opens the breaker again, for longer.
void breaker_report(struct breaker *b, const struct breaker_opts *opts, int64_t now_ns,
                    bool success);
// The breaker of an endpoint that has failed so many times in a row since `since_ns`, as far as an
// earlier life of the engine knew it. When it is open, the next probe comes within its cooldown, at
// a moment that `random` chooses.
void breaker_recall(struct breaker *b, const struct breaker_opts *opts, unsigned failures,
                    int64_t since_ns, int64_t now_ns, uint64_t random);
// The probe ended without a word about the endpoint (our own trouble, a filter):
// the next send is the probe.
void breaker_cancel_probe(struct breaker *b, int64_t now_ns);

#endif
