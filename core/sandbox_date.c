// Times as text for os.date and time.format, always UTC. Not strftime: libc's
// reads the zone's file on first use, which a script process may not open.
#include <math.h>
#include <stdio.h>

#include "clock.h"
#include "sandbox.h"
#include "sandbox_buf.h"
#include "sandbox_text.h"

enum { DATE_FORMAT_MAX = 64 };

struct date {
    int64_t year, unix_s;
    unsigned month, day, hour, minute, second, week_day, year_day; // week_day 0 is Sunday
};

static const char days[] = "Sunday\0Monday\0Tuesday\0Wednesday\0Thursday\0Friday\0Saturday";
static const char months[] = "January\0February\0March\0April\0May\0June\0July\0August\0September\0"
                             "October\0November\0December";

static struct slice nth_name(const char *names, unsigned n) {
    while (n--) names += strlen(names) + 1;
    return slice_str(names);
}

static struct date date_of(int64_t unix_s) {
    int64_t day_number = unix_s / 86400, rest = unix_s % 86400;
    if (rest < 0) {
        rest += 86400;
        day_number--;
    }
    struct date d = { .unix_s = unix_s };
    clock_date(day_number, &d.year, &d.month, &d.day);
    d.hour = (unsigned)(rest / 3600);
    d.minute = (unsigned)(rest / 60 % 60);
    d.second = (unsigned)(rest % 60);
    d.week_day = (unsigned)(((day_number + 4) % 7 + 7) % 7);
    d.year_day = (unsigned)(day_number - clock_days(d.year, 1, 1) + 1);
    return d;
}

static void add_number(struct sandbox_buf *out, const char *format, long long n) {
    char text[32];
    sandbox_buf_add(out, slice(text, (size_t)snprintf(text, sizeof text, format, n)));
}

// Shorthands of strftime in the C locale.
static const char *shorthand(char letter) {
    switch (letter) {
    case 'c': return "%a %b %e %H:%M:%S %Y";
    case 'D':
    case 'x': return "%m/%d/%y";
    case 'F': return "%Y-%m-%d";
    case 'R': return "%H:%M";
    case 'T':
    case 'X': return "%H:%M:%S";
    default: return NULL;
    }
}

// False for a conversion that is not known.
static bool add_simple(struct sandbox_buf *out, const struct date *d, char letter) {
    switch (letter) {
    case 'a': sandbox_buf_add(out, slice(nth_name(days, d->week_day).p, 3)); break;
    case 'A': sandbox_buf_add(out, nth_name(days, d->week_day)); break;
    case 'b':
    case 'h': sandbox_buf_add(out, slice(nth_name(months, d->month - 1).p, 3)); break;
    case 'B': sandbox_buf_add(out, nth_name(months, d->month - 1)); break;
    case 'd': add_number(out, "%02lld", d->day); break;
    case 'e': add_number(out, "%2lld", d->day); break;
    case 'H': add_number(out, "%02lld", d->hour); break;
    case 'I': add_number(out, "%02lld", (d->hour + 11) % 12 + 1); break;
    case 'j': add_number(out, "%03lld", d->year_day); break;
    case 'm': add_number(out, "%02lld", d->month); break;
    case 'M': add_number(out, "%02lld", d->minute); break;
    case 'p': sandbox_buf_add(out, d->hour < 12 ? S("AM") : S("PM")); break;
    case 's': add_number(out, "%lld", d->unix_s); break;
    case 'S': add_number(out, "%02lld", d->second); break;
    case 'u': add_number(out, "%lld", (d->week_day + 6) % 7 + 1); break;
    case 'w': add_number(out, "%lld", d->week_day); break;
    case 'y': add_number(out, "%02lld", (d->year % 100 + 100) % 100); break;
    case 'Y': add_number(out, "%lld", d->year); break;
    case 'z': sandbox_buf_add(out, S("+0000")); break;
    case 'Z': sandbox_buf_add(out, S("UTC")); break;
    case 'n': sandbox_buf_byte(out, '\n'); break;
    case 't': sandbox_buf_byte(out, '\t'); break;
    case '%': sandbox_buf_byte(out, '%'); break;
    default: return false;
    }
    return true;
}

static void add_date(struct sandbox_buf *out, const struct date *d, struct slice format) {
    for (size_t i = 0; i < format.n; i++) {
        if (format.p[i] != '%') {
            sandbox_buf_byte(out, format.p[i]);
            continue;
        }
        char letter = ++i < format.n ? format.p[i] : '\0';
        const char *longer = shorthand(letter);
        if (longer)
            add_date(out, d, slice_str(longer));
        else if (!add_simple(out, d, letter))
            luaL_error(out->L, "invalid conversion in date format");
    }
}

static void set_number(lua_State *L, const char *name, int64_t value) {
    lua_pushnumber(L, (lua_Number)value);
    lua_setfield(L, -2, name);
}

static void push_date_table(lua_State *L, const struct date *d) {
    lua_createtable(L, 0, 9);
    set_number(L, "year", d->year);
    set_number(L, "month", d->month);
    set_number(L, "day", d->day);
    set_number(L, "hour", d->hour);
    set_number(L, "min", d->minute);
    set_number(L, "sec", d->second);
    set_number(L, "wday", d->week_day + 1);
    set_number(L, "yday", d->year_day);
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "isdst");
}

void sandbox_push_date(lua_State *L, double when, struct slice format) {
    if (format.n > DATE_FORMAT_MAX) luaL_error(L, "date format too long (64 bytes)");
    if (!(when > -6e10 && when < 2.5e11)) luaL_error(L, "time out of bounds");
    if (slice_starts(format, S("!"))) format = slice_from(format, 1); // C's mark for UTC
    struct date date = date_of((int64_t)floor(when));
    if (slice_starts(format, S("*t"))) {
        push_date_table(L, &date);
        return;
    }
    struct sandbox_buf out;
    sandbox_buf_init(&out, L, SANDBOX_LOG_LINE_MAX);
    add_date(&out, &date, format);
    sandbox_buf_push(&out);
    lua_replace(L, out.slot);
}
