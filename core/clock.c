// Clocks and RFC 3339 text. The calendar arithmetic is our own because the C
// library's depends on the process's time zone and locale.
#include "clock.h"

#include <stdio.h>
#include <time.h>

static int64_t read_ns(clockid_t id) {
    struct timespec t;
    clock_gettime(id, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

int64_t clock_mono_ns(void) {
    return read_ns(CLOCK_MONOTONIC);
}

int64_t clock_wall_ms(void) {
    return read_ns(CLOCK_REALTIME) / 1000000;
}

int64_t clock_cpu_ns(void) {
    return read_ns(CLOCK_THREAD_CPUTIME_ID);
}

// Era arithmetic on a year that starts in March, so the leap day comes last.
int64_t clock_days(int64_t year, unsigned month, unsigned day) {
    year -= month <= 2;
    int64_t era = (year >= 0 ? year : year - 399) / 400;
    int64_t of_era = year - era * 400;
    int64_t of_year = (153 * ((int64_t)month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    return era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;
}

void clock_date(int64_t days, int64_t *year, unsigned *month, unsigned *day) {
    days += 719468;
    int64_t era = (days >= 0 ? days : days - 146096) / 146097;
    int64_t of_era = days - era * 146097;
    int64_t y = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
    int64_t of_year = of_era - (365 * y + y / 4 - y / 100);
    int64_t shifted = (5 * of_year + 2) / 153;
    *day = (unsigned)(of_year - (153 * shifted + 2) / 5 + 1);
    *month = (unsigned)(shifted < 10 ? shifted + 3 : shifted - 9);
    *year = y + era * 400 + (*month <= 2);
}

size_t clock_format(int64_t wall_ms, char out[CLOCK_TEXT]) {
    int64_t days = wall_ms / 86400000, rest = wall_ms % 86400000;
    if (rest < 0) days--, rest += 86400000;
    int64_t year;
    unsigned month, day;
    clock_date(days, &year, &month, &day);
    int n = snprintf(out, CLOCK_TEXT, "%04d-%02u-%02uT%02d:%02d:%02d.%03dZ", (int)year, month, day,
                     (int)(rest / 3600000), (int)(rest / 60000 % 60), (int)(rest / 1000 % 60),
                     (int)(rest % 1000));
    return n < CLOCK_TEXT ? (size_t)n : CLOCK_TEXT - 1;
}

// Reads exactly `digits` decimal digits at *p, moving it on; -1 when they are not there.
static inline int take_digits(struct slice *s, int digits) {
    int value = 0;
    if (s->n < (size_t)digits) return -1;
    for (int i = 0; i < digits; i++) {
        unsigned digit = (unsigned)(unsigned char)s->p[i] - '0';
        if (digit > 9) return -1;
        value = value * 10 + (int)digit;
    }
    *s = slice(s->p + digits, s->n - (size_t)digits);
    return value;
}

static inline bool take_byte(struct slice *s, const char *any_of) {
    if (!s->n) return false;
    while (*any_of && *any_of != s->p[0]) any_of++;
    if (!*any_of) return false;
    *s = slice(s->p + 1, s->n - 1);
    return true;
}

// The fraction of a second in milliseconds; digits past the third are dropped.
static int take_fraction(struct slice *s) {
    if (!take_byte(s, ".,")) return 0;
    int ms = 0, weight = 100, seen = 0;
    while (s->n && s->p[0] >= '0' && s->p[0] <= '9') {
        ms += (s->p[0] - '0') * weight;
        weight /= 10;
        seen++;
        *s = slice_from(*s, 1);
    }
    return seen ? ms : -1;
}

// The offset from UTC in minutes; INT_MIN-like -10000 when malformed.
static int take_offset(struct slice *s) {
    if (take_byte(s, "Zz")) return 0;
    if (!s->n) return -10000;
    int sign = s->p[0] == '-' ? -1 : 1;
    if (!take_byte(s, "+-")) return -10000;
    int hours = take_digits(s, 2);
    if (!take_byte(s, ":")) return -10000;
    int minutes = take_digits(s, 2);
    if (hours < 0 || hours > 23 || minutes < 0 || minutes > 59) return -10000;
    return sign * (hours * 60 + minutes);
}

static bool date_valid(int year, int month, int day) {
    static const char lengths[] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
    if (year < 0 || month < 1 || month > 12 || day < 1) return false;
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    return day <= lengths[month - 1] + (month == 2 && leap);
}

bool clock_parse(struct slice text, int64_t *wall_ms) {
    int year = take_digits(&text, 4);
    if (!take_byte(&text, "-")) return false;
    int month = take_digits(&text, 2);
    if (!take_byte(&text, "-")) return false;
    int day = take_digits(&text, 2);
    if (!date_valid(year, month, day) || !take_byte(&text, "Tt ")) return false;
    int hour = take_digits(&text, 2);
    if (!take_byte(&text, ":")) return false;
    int minute = take_digits(&text, 2);
    if (!take_byte(&text, ":")) return false;
    int second = take_digits(&text, 2); // 60 is a leap second (RFC 3339 section 5.7)
    int ms = take_fraction(&text);
    int offset = take_offset(&text);
    if (hour < 0 || hour > 23 || minute < 0 || minute > 59 || second < 0 || second > 60)
        return false;
    if (ms < 0 || offset == -10000 || text.n) return false;
    int64_t days = clock_days(year, (unsigned)month, (unsigned)day);
    *wall_ms = ((days * 24 + hour) * 60 + minute - offset) * 60000 + second * 1000 + ms;
    return true;
}
