// Schedules, Retry-After, token bucket and breaker. Integers throughout: a
// double would make the simulation's runs differ between compilers.
#include "policy.h"

#include "clock.h"

enum { JITTER_PERCENT = 20, HOUR_MS = 3600 * 1000, DAY_MS = 24 * HOUR_MS };
static const int64_t STEP_MAX_MS = 30ll * DAY_MS;

// --- Schedules ---

struct retry retry_standard(void) {
    return (struct retry){
        .steps_ms = { 5000, 5 * 60000, 30 * 60000, 2 * HOUR_MS, 5 * HOUR_MS, 10 * HOUR_MS,
                      14 * HOUR_MS, 20 * HOUR_MS, 24 * HOUR_MS },
        .steps_count = 9,
        .jitter_percent = JITTER_PERCENT,
    };
}

static bool within(double value, double low, double high) {
    return value >= low && value <= high; // false for NaN
}

enum err retry_exponential(struct retry *retry, double base_s, double factor, double max_s,
                           int64_t attempts, struct fail *fail) {
    double limit_s = (double)STEP_MAX_MS / 1000;
    if (!within(base_s, 0.001, limit_s))
        return fail_set(fail, ERR_INPUT, 0, "bad_retry", "base must be 0.001 … 2592000 seconds");
    if (!within(factor, 1, 1000))
        return fail_set(fail, ERR_INPUT, 0, "bad_retry", "factor must be 1 … 1000");
    if (!within(max_s, base_s, limit_s))
        return fail_set(fail, ERR_INPUT, 0, "bad_retry", "max must be base … 2592000 seconds");
    if (attempts < 1 || attempts > RETRY_STEPS_MAX + 1)
        return fail_set(fail, ERR_INPUT, 0, "bad_retry", "attempts must be 1 … %d",
                        RETRY_STEPS_MAX + 1);
    *retry =
        (struct retry){ .steps_count = (unsigned)attempts - 1, .jitter_percent = JITTER_PERCENT };
    double step_s = base_s;
    for (unsigned i = 0; i < retry->steps_count; i++) {
        retry->steps_ms[i] = (int64_t)(step_s * 1000 + 0.5);
        step_s = step_s * factor < max_s ? step_s * factor : max_s;
    }
    return OK;
}

// `step` moved by a uniform share of ± percent.
static int64_t jittered(int64_t step_ms, unsigned percent, uint64_t random) {
    int64_t span = step_ms / 100 * percent + step_ms % 100 * percent / 100;
    if (!span) return step_ms;
    return step_ms - span + (int64_t)(random % (2 * (uint64_t)span + 1));
}

int64_t retry_next(const struct retry *retry, unsigned failed, int64_t retry_after_ms,
                   uint64_t random) {
    if (failed == 0) return 0;
    if (failed > retry->steps_count) return -1;
    int64_t step = retry->steps_ms[failed - 1];
    int64_t most = step > DAY_MS ? step : DAY_MS;
    if (retry_after_ms > step) return retry_after_ms < most ? retry_after_ms : most;
    int64_t pause = jittered(step, retry->jitter_percent, random);
    return pause > retry_after_ms ? pause : retry_after_ms; // never earlier than asked
}

// --- Retry-After ---

static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

// Takes `digits` decimal digits; -1 when they are not there.
static int take_number(struct slice *s, size_t digits) {
    int value = 0;
    if (s->n < digits) return -1;
    for (size_t i = 0; i < digits; i++) {
        if (!is_digit(s->p[i])) return -1;
        value = value * 10 + (s->p[i] - '0');
    }
    *s = slice_from(*s, digits);
    return value;
}

static bool take_text(struct slice *s, struct slice text) {
    if (s->n < text.n || !slice_ieq(slice(s->p, text.n), text)) return false;
    *s = slice_from(*s, text.n);
    return true;
}

// Takes one of `count` names, full or cut to three letters; its index or -1.
static int take_name(struct slice *s, const char *const *names, int count, bool full) {
    for (int i = 0; i < count; i++) {
        struct slice name = slice_str(names[i]);
        if (take_text(s, full ? name : slice(name.p, 3))) return i;
    }
    return -1;
}

static const char *const WEEKDAYS[] = { "Monday", "Tuesday",  "Wednesday", "Thursday",
                                        "Friday", "Saturday", "Sunday" };
static const char *const MONTHS[] = { "Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                      "Jul", "Aug", "Sep", "Oct", "Nov", "Dec" };

struct date {
    int year, month, day, hour, minute, second; // month from 0
};

static bool take_time(struct slice *s, struct date *d) {
    return (d->hour = take_number(s, 2)) >= 0 && take_text(s, S(":")) &&
           (d->minute = take_number(s, 2)) >= 0 && take_text(s, S(":")) &&
           (d->second = take_number(s, 2)) >= 0;
}

// Sun, 06 Nov 1994 08:49:37 GMT
static bool read_imf(struct slice s, struct date *d) {
    return take_name(&s, WEEKDAYS, 7, false) >= 0 && take_text(&s, S(", ")) &&
           (d->day = take_number(&s, 2)) >= 0 && take_text(&s, S(" ")) &&
           (d->month = take_name(&s, MONTHS, 12, true)) >= 0 && take_text(&s, S(" ")) &&
           (d->year = take_number(&s, 4)) >= 0 && take_text(&s, S(" ")) && take_time(&s, d) &&
           take_text(&s, S(" GMT")) && !s.n;
}

// Two digits of a year that is not more than 50 years ahead (RFC 9110 section 5.6.7).
static int full_year(int two_digits, int64_t now_ms) {
    int64_t year;
    unsigned month, day;
    clock_date(now_ms / DAY_MS, &year, &month, &day);
    int64_t full = year - year % 100 + two_digits;
    if (full > year + 50) full -= 100;
    if (full <= year - 50) full += 100;
    return (int)full;
}

// Sunday, 06-Nov-94 08:49:37 GMT
static bool read_rfc850(struct slice s, struct date *d, int64_t now_ms) {
    if (!(take_name(&s, WEEKDAYS, 7, true) >= 0 && take_text(&s, S(", ")) &&
          (d->day = take_number(&s, 2)) >= 0 && take_text(&s, S("-")) &&
          (d->month = take_name(&s, MONTHS, 12, true)) >= 0 && take_text(&s, S("-")) &&
          (d->year = take_number(&s, 2)) >= 0))
        return false;
    d->year = full_year(d->year, now_ms);
    return take_text(&s, S(" ")) && take_time(&s, d) && take_text(&s, S(" GMT")) && !s.n;
}

// Sun Nov  6 08:49:37 1994
static bool read_asctime(struct slice s, struct date *d) {
    if (!(take_name(&s, WEEKDAYS, 7, false) >= 0 && take_text(&s, S(" ")) &&
          (d->month = take_name(&s, MONTHS, 12, true)) >= 0 && take_text(&s, S(" "))))
        return false;
    d->day = take_text(&s, S(" ")) ? take_number(&s, 1) : take_number(&s, 2);
    return d->day >= 0 && take_text(&s, S(" ")) && take_time(&s, d) && take_text(&s, S(" ")) &&
           (d->year = take_number(&s, 4)) >= 0 && !s.n;
}

static bool read_date(struct slice s, int64_t now_ms, int64_t *wall_ms) {
    static const char lengths[] = { 31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
    struct date d = { 0 };
    if (!read_imf(s, &d) && !read_rfc850(s, &d, now_ms) && !read_asctime(s, &d)) return false;
    if (d.day < 1 || d.day > lengths[d.month]) return false;
    if (d.hour > 23 || d.minute > 59 || d.second > 60) return false;
    int64_t days = clock_days(d.year, (unsigned)d.month + 1, (unsigned)d.day);
    *wall_ms = days * DAY_MS + ((d.hour * 60 + d.minute) * 60 + d.second) * 1000ll;
    return true;
}

// Seconds with an optional fraction, in milliseconds.
static bool read_seconds(struct slice s, int64_t *ms) {
    int64_t value = 0, weight = 100;
    size_t i = 0;
    for (; i < s.n && is_digit(s.p[i]); i++)
        if (value <= STEP_MAX_MS * 1000) value = value * 10 + (s.p[i] - '0');
    if (i == 0) return false;
    *ms = value * 1000;
    if (i == s.n) return true;
    if (s.p[i] != '.') return false;
    for (i++; i < s.n && is_digit(s.p[i]); i++, weight /= 10) *ms += (s.p[i] - '0') * weight;
    return i == s.n;
}

int64_t retry_after_parse(struct slice value, int64_t now_ms) {
    int64_t ms;
    value = slice_trim(value);
    if (read_seconds(value, &ms)) return ms;
    if (!read_date(value, now_ms, &ms)) return -1;
    return ms > now_ms ? ms - now_ms : 0;
}

// --- Rate ---

enum { RATE_COUNT_MAX = 1000000 };

static bool take_count(struct slice *s, uint32_t *count) {
    uint64_t value = 0;
    size_t n = 0;
    for (; n < s->n && is_digit(s->p[n]) && value <= RATE_COUNT_MAX; n++)
        value = value * 10 + (uint64_t)(s->p[n] - '0');
    *s = slice_from(*s, n);
    *count = (uint32_t)value;
    return value >= 1 && value <= RATE_COUNT_MAX;
}

enum err rate_parse(struct slice text, struct rate *rate, struct fail *fail) {
    struct slice s = slice_trim(text);
    struct rate r = { .burst = 1 };
    bool good = take_count(&s, &r.count);
    if (good && take_text(&s, S("/s"))) r.per_ms = 1000;
    if (good && !r.per_ms && take_text(&s, S("/m"))) r.per_ms = 60000;
    if (good && !r.per_ms && take_text(&s, S("/h"))) r.per_ms = HOUR_MS;
    if (take_text(&s, S(" burst "))) good = good && take_count(&s, &r.burst);
    if (!good || !r.per_ms || s.n)
        return fail_set(fail, ERR_INPUT, (size_t)(text.n - s.n), "bad_rate",
                        "a rate reads \"50/s\", \"100/m\" or \"1000/h\", optionally with "
                        "\" burst 20\"; counts are 1 … %d",
                        RATE_COUNT_MAX);
    *rate = r;
    return OK;
}

static bool is_limited(const struct rate *rate) {
    return rate->per_ms && rate->count;
}

// Between two tokens; rounded up: never a token too many.
static int64_t gap_ns(const struct rate *rate) {
    int64_t per_ns = (int64_t)rate->per_ms * 1000000;
    return (per_ns + rate->count - 1) / rate->count;
}

static int64_t burst_of(const struct rate *rate) {
    return rate->burst ? rate->burst : 1;
}

bool rate_take(const struct rate *rate, struct rate_state *state, int64_t now_ns,
               int64_t *wait_ns) {
    *wait_ns = 0;
    if (!is_limited(rate)) return true;
    int64_t gap = gap_ns(rate), slack = gap * (burst_of(rate) - 1);
    int64_t arrival = state->next_ns > now_ns ? state->next_ns : now_ns;
    if (arrival - now_ns > slack) {
        *wait_ns = arrival - now_ns - slack;
        return false;
    }
    state->next_ns = arrival + gap;
    return true;
}

void rate_empty(const struct rate *rate, struct rate_state *state, int64_t at_ns) {
    if (is_limited(rate)) state->next_ns = at_ns + gap_ns(rate) * burst_of(rate);
}

// --- Breaker ---

bool breaker_allows(struct breaker *b, int64_t now_ns, bool *probe, int64_t *wait_ns) {
    *probe = false;
    *wait_ns = 0;
    if (b->phase == BREAKER_CLOSED) return true;
    if (b->phase == BREAKER_HALF_OPEN) {
        *wait_ns = INT64_MAX; // the probe's report decides, not time
        return false;
    }
    if (now_ns < b->until_ns) {
        *wait_ns = b->until_ns - now_ns;
        return false;
    }
    b->phase = BREAKER_HALF_OPEN;
    *probe = true;
    return true;
}

// Of the opening after so many in a row.
static int64_t cooldown_ns(const struct breaker_opts *opts, unsigned opened) {
    int64_t cooldown = opts->cooldown_ms;
    for (unsigned i = 0; i < opened && cooldown < opts->cooldown_max_ms; i++) cooldown *= 2;
    if (cooldown > opts->cooldown_max_ms) cooldown = opts->cooldown_max_ms;
    return cooldown * 1000000;
}

static void breaker_open(struct breaker *b, const struct breaker_opts *opts, int64_t now_ns) {
    b->phase = BREAKER_OPEN;
    b->until_ns = now_ns + cooldown_ns(opts, b->opened);
    b->opened++;
}

void breaker_report(struct breaker *b, const struct breaker_opts *opts, int64_t now_ns,
                    bool success) {
    if (success) {
        *b = (struct breaker){ .phase = BREAKER_CLOSED };
        return;
    }
    if (b->failures < UINT32_MAX) b->failures++;
    if (b->phase == BREAKER_OPEN || !opts->threshold) return;
    if (b->phase == BREAKER_HALF_OPEN || b->failures >= opts->threshold)
        breaker_open(b, opts, now_ns);
}

void breaker_recall(struct breaker *b, const struct breaker_opts *opts, unsigned failures,
                    int64_t since_ns, int64_t now_ns, uint64_t random) {
    *b = (struct breaker){ .phase = BREAKER_CLOSED, .failures = failures };
    if (!opts->threshold || failures < opts->threshold) return;
    int64_t cooldown = cooldown_ns(opts, 0), last = cooldown_ns(opts, UINT32_MAX);
    for (int64_t at_ns = since_ns; cooldown < last && at_ns + cooldown < now_ns;) {
        at_ns += cooldown;
        cooldown = cooldown_ns(opts, ++b->opened);
    }
    b->phase = BREAKER_OPEN;
    b->opened++;
    b->until_ns = now_ns + (int64_t)(random % (uint64_t)(cooldown + 1));
}

void breaker_cancel_probe(struct breaker *b, int64_t now_ns) {
    if (b->phase != BREAKER_HALF_OPEN) return;
    b->phase = BREAKER_OPEN;
    b->until_ns = now_ns;
}
