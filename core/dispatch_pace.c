// How fast a queue may go: its rate, its breaker, a receiver's wish to be left
// alone, and the pace of a backlog. After an outage live traffic keeps its own
// speed and the backlog gets nearly as much again: a receiver that just came
// back sees at most twice its normal load, and a backlog takes about as long as
// the outage did. Normal is the most that arrived in any half minute of the last
// hour or two in which something arrived, so silence during the outage does not
// slow the way back. Redeliveries asked for by a person go at their own pace.
#include <math.h>

#include "dispatch_inner.h"

static const int64_t SECOND_NS = 1000000000;
static const int64_t HOUR_NS = 3600ll * 1000000000;
static const double SMOOTH_S = 30, REPLAYS_A_SECOND = 200;
static const double BACKLOG_SHARE = 0.9; // of the normal rate: both together stay below twice
static const double BACKLOG_LEAST = 1;   // a second, however quiet the endpoint is else
// An endpoint without any traffic to compare with doubles that every 10 s.
static const double RAMP_DOUBLES_S = 10;

int64_t pace_pause_ns(const struct dispatch_queue *q) {
    bool open = q->breaker.phase == BREAKER_OPEN && q->breaker.until_ns > q->hold_until_ns;
    return open ? q->breaker.until_ns : q->hold_until_ns;
}

int64_t pace_gate_ns(const struct dispatch_queue *q, int64_t now_ns) {
    int64_t gate = pace_pause_ns(q), wait;
    if (q->breaker.phase == BREAKER_HALF_OPEN) return INT64_MAX;
    struct rate_state peek = q->rate;
    if (!rate_take(&q->limits.rate, &peek, now_ns, &wait) && now_ns + wait > gate)
        gate = now_ns + wait;
    return gate;
}

static bool late_is_paced(const struct dispatch_queue *q) {
    if (q->recovery_ns) return true;
    return !list_empty(&q->late) && list_item(q->late.next, struct dispatch_entry, link)->replay;
}

int64_t pace_late_gate_ns(const struct dispatch_queue *q) {
    return late_is_paced(q) ? q->late_next_ns : INT64_MIN;
}

static double smoothed(const struct dispatch_queue *q, int64_t now_ns) {
    double dt = (double)(now_ns - q->arrivals_at_ns) / (double)SECOND_NS;
    return q->arrivals_at_ns ? q->arrivals * exp(-dt / SMOOTH_S) : 0;
}

void pace_arrival(struct dispatch_queue *q, int64_t now_ns) {
    q->arrivals = smoothed(q, now_ns) + 1 / SMOOTH_S;
    q->arrivals_at_ns = now_ns;
    if (now_ns - q->hour_ns > HOUR_NS) {
        q->last_hour = q->this_hour;
        q->this_hour = 0;
        q->hour_ns = now_ns;
    }
    if (q->arrivals > q->this_hour) q->this_hour = q->arrivals;
}

static double backlog_rate(const struct dispatch_queue *q, int64_t now_ns) {
    double normal = q->this_hour > q->last_hour ? q->this_hour : q->last_hour;
    if (!q->recovery_ns) return normal > REPLAYS_A_SECOND ? normal : REPLAYS_A_SECOND;
    if (normal > 0) return fmax(BACKLOG_SHARE * normal, BACKLOG_LEAST);
    double since_s = (double)(now_ns - q->recovery_ns) / (double)SECOND_NS;
    return fmin(BACKLOG_LEAST * exp2(since_s / RAMP_DOUBLES_S), REPLAYS_A_SECOND);
}

void pace_start(struct dispatch_queue *q, struct dispatch_entry *entry, int64_t now_ns) {
    int64_t wait;
    rate_take(&q->limits.rate, &q->rate, now_ns, &wait);
    breaker_allows(&q->breaker, now_ns, &entry->probe, &wait);
    if (!entry->late || !(q->recovery_ns || entry->replay)) return;
    int64_t from = q->late_next_ns > now_ns ? q->late_next_ns : now_ns;
    q->late_next_ns = from + (int64_t)((double)SECOND_NS / backlog_rate(q, now_ns));
}

bool pace_report(struct dispatch_queue *q, const struct dispatch_entry *entry,
                 const struct dispatch_result *result, int64_t now_ns) {
    enum breaker_phase before = q->breaker.phase;
    if (result->hold_ms > 0 && now_ns + ms_to_ns(result->hold_ms) > q->hold_until_ns)
        q->hold_until_ns = now_ns + ms_to_ns(result->hold_ms);
    if (result->health == HEALTH_UNKNOWN) {
        if (entry->probe) breaker_cancel_probe(&q->breaker, now_ns);
        return false;
    }
    q->proven = result->health == HEALTH_GOOD;
    q->doubted = !q->proven;
    // Half open, only the probe says no; what was sent before tells old news.
    if (!q->proven && before == BREAKER_HALF_OPEN && !entry->probe) return false;
    breaker_report(&q->breaker, &q->limits.breaker, now_ns, q->proven);
    if (q->proven && before != BREAKER_CLOSED) q->recovery_ns = now_ns;
    return q->breaker.phase == BREAKER_OPEN && before != BREAKER_OPEN;
}
