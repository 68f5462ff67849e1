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

// Two decimal digits; so far below zero, when they are none, that no sum hides it.
static inline int two_digits(const char *p) {
    unsigned tens = (unsigned)(unsigned char)p[0] - '0', ones = (unsigned)(unsigned char)p[1] - '0';
    return tens > 9 || ones > 9 ? -10000 : (int)(10 * tens + ones);
}

// The fraction of a second from *p on, in milliseconds; digits past the third
// are dropped. Below zero when there is none behind its point.
static int take_fraction(const char **p, const char *end) {
    if (*p == end || (**p != '.' && **p != ',')) return 0;
    const char *first = ++*p;
    int ms = 0;
    while (*p < end && **p >= '0' && **p <= '9') {
        static const int weights[] = { 100, 10, 1 };
        if (*p - first < 3) ms += (**p - '0') * weights[*p - first];
        ++*p;
    }
    return *p > first ? ms : -1;
}

// The offset from UTC in minutes, in the `n` bytes from `p` on; false when malformed.
static bool read_offset(const char *p, size_t n, int *minutes) {
    *minutes = 0;
    if (n == 1) return *p == 'Z' || *p == 'z';
    if (n != 6 || (*p != '+' && *p != '-') || p[3] != ':') return false;
    int hours = two_digits(p + 1), rest = two_digits(p + 4);
    *minutes = (hours * 60 + rest) * (*p == '-' ? -1 : 1);
    return hours >= 0 && hours <= 23 && rest >= 0 && rest <= 59;
}

static bool date_valid(int year, int month, int day) {
    static const char lengths[] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
    if (year < 0 || month < 1 || month > 12 || day < 1) return false;
    if (day <= lengths[month - 1]) return true;
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    return month == 2 && day == 29 && leap;
}

bool clock_parse(struct slice text, int64_t *wall_ms) {
    const char *p = text.p, *end = p + text.n;
    if (text.n < sizeof "2026-11-24T19:11:50Z" - 1) return false;
    if (p[4] != '-' || p[7] != '-' || p[13] != ':' || p[16] != ':') return false;
    if (p[10] != 'T' && p[10] != 't' && p[10] != ' ') return false;
    int year = two_digits(p) * 100 + two_digits(p + 2);
    int month = two_digits(p + 5), day = two_digits(p + 8);
    int hour = two_digits(p + 11), minute = two_digits(p + 14);
    int second = two_digits(p + 17); // 60 is a leap second (RFC 3339 section 5.7)
    if (!date_valid(year, month, day) || hour < 0 || hour > 23) return false;
    if (minute < 0 || minute > 59 || second < 0 || second > 60) return false;
    p += 19;
    int offset, ms = take_fraction(&p, end);
    if (ms < 0 || !read_offset(p, (size_t)(end - p), &offset)) return false;
    int64_t days = clock_days(year, (unsigned)month, (unsigned)day);
    *wall_ms = ((days * 24 + hour) * 60 + minute - offset) * 60000 + second * 1000 + ms;
    return true;
}
