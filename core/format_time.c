// Times: three ways to write one in, the usual conversions out. Own code, not
// strftime, so that neither the locale nor the zone of the machine shows.
#include <stdint.h>
#include <stdio.h>

#include "clock.h"
#include "format_inner.h"

static const char conversions[] = "YymdejHIMSLpaAbBFTszZ%";
static const char *const days[] = { "Sunday",   "Monday", "Tuesday", "Wednesday",
                                    "Thursday", "Friday", "Saturday" };
static const char *const months[] = { "January",   "February", "March",    "April",
                                      "May",       "June",     "July",     "August",
                                      "September", "October",  "November", "December" };

static const int64_t YEAR_0_MS = -62167219200000, YEAR_10000_MS = 253402300800000;

// Unix seconds with any fraction; twelve digits and more are milliseconds, since
// as seconds they would lie past the year 5138.
static bool read_number(struct slice text, int64_t *ms) {
    bool negative = text.n && text.p[0] == '-';
    if (negative) text = slice_from(text, 1);
    size_t whole = slice_find(text, '.');
    if (!whole || whole > 15) return false;
    int64_t value = 0, thousandths = 0, scale = 100;
    for (size_t i = 0; i < text.n; i++) {
        if (i == whole) continue;
        if (text.p[i] < '0' || text.p[i] > '9') return false;
        int digit = text.p[i] - '0';
        if (i < whole) {
            value = value * 10 + digit;
        } else {
            thousandths += digit * scale;
            scale /= 10;
        }
    }
    *ms = whole >= 12 ? value : value * 1000 + thousandths;
    if (negative) *ms = -*ms;
    return *ms >= YEAR_0_MS && *ms < YEAR_10000_MS;
}

static bool read_time(struct slice text, int64_t *ms) {
    text = slice_trim(text);
    if (clock_parse(text, ms) || read_number(text, ms)) return true;
    char full[24];
    if (text.n != 10) return false;
    int n = snprintf(full, sizeof full, "%.10sT00:00:00Z", text.p);
    return clock_parse(slice(full, (size_t)n), ms);
}

static int64_t floor_div(int64_t a, int64_t b) {
    return a / b - (a % b < 0);
}

bool format_time_unix(struct slice text, struct buf *out) {
    int64_t ms;
    if (!read_time(text, &ms)) return false;
    return buf_printf(out, "%lld", (long long)floor_div(ms, 1000)), true;
}

struct moment {
    int64_t ms, days, year;
    unsigned month, day;
    int hour, minute, second, milli;
};

static struct moment split(int64_t ms) {
    struct moment m = { .ms = ms, .days = floor_div(ms, 86400000) };
    clock_date(m.days, &m.year, &m.month, &m.day);
    int rest = (int)(ms - m.days * 86400000);
    m.milli = rest % 1000;
    m.second = rest / 1000 % 60;
    m.minute = rest / 60000 % 60;
    m.hour = rest / 3600000;
    return m;
}

static void write_clock(const struct moment *m, char c, struct buf *out) {
    switch (c) {
    case 'H': buf_printf(out, "%02d", m->hour); break;
    case 'I': buf_printf(out, "%02d", (m->hour + 11) % 12 + 1); break;
    case 'M': buf_printf(out, "%02d", m->minute); break;
    case 'S': buf_printf(out, "%02d", m->second); break;
    case 'L': buf_printf(out, "%03d", m->milli); break;
    case 'p': buf_add(out, m->hour < 12 ? S("AM") : S("PM")); break;
    case 'T': buf_printf(out, "%02d:%02d:%02d", m->hour, m->minute, m->second); break;
    case 's': buf_printf(out, "%lld", (long long)floor_div(m->ms, 1000)); break;
    case 'z': buf_add(out, S("+0000")); break;
    case 'Z': buf_add(out, S("UTC")); break;
    default: buf_byte(out, c); break;
    }
}

static void write_conversion(const struct moment *m, char c, struct buf *out) {
    const char *weekday = days[((m->days + 4) % 7 + 7) % 7];
    switch (c) {
    case 'Y': buf_printf(out, "%04lld", (long long)m->year); break;
    case 'y': buf_printf(out, "%02lld", (long long)(m->year % 100)); break;
    case 'm': buf_printf(out, "%02u", m->month); break;
    case 'd': buf_printf(out, "%02u", m->day); break;
    case 'e': buf_printf(out, "%2u", m->day); break;
    case 'j': buf_printf(out, "%03d", (int)(m->days - clock_days(m->year, 1, 1)) + 1); break;
    case 'a': buf_printf(out, "%.3s", weekday); break;
    case 'A': buf_printf(out, "%s", weekday); break;
    case 'b': buf_printf(out, "%.3s", months[m->month - 1]); break;
    case 'B': buf_printf(out, "%s", months[m->month - 1]); break;
    case 'F': buf_printf(out, "%04lld-%02u-%02u", (long long)m->year, m->month, m->day); break;
    default: write_clock(m, c, out); break;
    }
}

bool format_time_date(struct slice text, struct slice layout, struct buf *out) {
    int64_t ms;
    if (!read_time(text, &ms)) return false;
    struct moment m = split(ms);
    for (size_t i = 0; i < layout.n; i++) {
        if (layout.p[i] == '%' && i + 1 < layout.n)
            write_conversion(&m, layout.p[++i], out);
        else
            buf_byte(out, layout.p[i]);
    }
    return true;
}

bool format_time_layout_valid(struct slice layout) {
    bool any = false;
    for (size_t i = 0; i < layout.n; i++) {
        if (layout.p[i] != '%') continue;
        i++;
        if (i == layout.n || slice_find(S(conversions), layout.p[i]) == sizeof conversions - 1)
            return false;
        any = true;
    }
    return any;
}
