// One switch over the verdicts. Only the network judges an endpoint: a filter,
// a script error or our own full descriptor table say nothing about it.
#include "ruling.h"

enum { LOCAL_PAUSE_MS = 250, LOCAL_SPREAD_MS = 500, HOLD_MAX_MS = 3600 * 1000 };
enum { FAILING_ATTEMPTS = 10 };
static const int64_t FAILING_MS = 120ll * 3600 * 1000;

static void rule_retry(const struct ruling_case *c, struct ruling *r) {
    r->attempts = c->attempt;
    r->health = HEALTH_BAD;
    bool asked = c->retry_after_ms > 0 && (c->status == 429 || c->status == 503);
    if (asked) r->hold_ms = c->retry_after_ms < HOLD_MAX_MS ? c->retry_after_ms : HOLD_MAX_MS;
    int64_t pause = retry_next(c->retry, c->attempt, c->retry_after_ms, c->random);
    if (pause < 0)
        r->state = DELIVERY_EXHAUSTED;
    else
        r->due_ms = c->now_ms + pause;
}

struct ruling rule(const struct ruling_case *c) {
    struct ruling r = { .state = DELIVERY_PENDING, .attempts = c->attempt - !c->attempted };
    switch (c->verdict) {
    case VERDICT_DELIVERED:
        r.state = DELIVERY_DELIVERED;
        r.health = c->attempted ? HEALTH_GOOD : HEALTH_UNKNOWN;
        break;
    case VERDICT_RETRY: rule_retry(c, &r); break;
    case VERDICT_FAIL:
        r.state = DELIVERY_EXHAUSTED;
        r.health = c->attempted ? HEALTH_BAD : HEALTH_UNKNOWN;
        break;
    case VERDICT_DISABLE:
        r.state = DELIVERY_PARKED;
        r.health = HEALTH_BAD;
        r.disable = true;
        break;
    case VERDICT_FILTERED: r.state = DELIVERY_FILTERED; break;
    case VERDICT_PARK: r.state = DELIVERY_PARKED; break;
    case VERDICT_DROP: r.state = DELIVERY_DROPPED; break;
    case VERDICT_LOCAL:
        r.attempts = c->attempt - 1;
        r.unchanged = true;
        r.due_ms = c->now_ms + LOCAL_PAUSE_MS + (int64_t)(c->random % LOCAL_SPREAD_MS);
        break;
    }
    if (c->held && r.state == DELIVERY_PENDING) {
        r.state = DELIVERY_PARKED;
        r.unchanged = false;
    }
    return r;
}

bool failing_note(struct failing *failing, enum health health, int64_t now_ms) {
    if (health == HEALTH_GOOD) *failing = (struct failing){ 0 };
    if (health != HEALTH_BAD) return false;
    if (!failing->since_ms) failing->since_ms = now_ms;
    if (failing->failures < UINT32_MAX) failing->failures++;
    return failing->failures >= FAILING_ATTEMPTS && now_ms - failing->since_ms >= FAILING_MS;
}
