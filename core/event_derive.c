// Tags that the engine fills in when an event lacks them and their source is
// there. Most are a part of their source and cost no copy.
#include <assert.h>
#include <math.h>
#include <string.h>

#include "clock.h"
#include "event_inner.h"
#include "json.h"

#define NAME(tag) [KNOWN_##tag] = { #tag, sizeof #tag - 1 }
static const struct slice names[KNOWN_COUNT] = {
    NAME(ORG_ID),
    NAME(FROM),
    NAME(CALLER_ID),
    NAME(CALLER_ID_NO_PLUS),
    NAME(CALLER_ID_NUMERIC),
    NAME(PAYOUT),
    NAME(PAYOUT_NUMERIC),
    NAME(CONFIGURED_PUBLISHER_PAYOUT),
    NAME(CONFIGURED_PUBLISHER_PAYOUT_NUMERIC),
    NAME(CONFIGURED_BUYER_REVENUE),
    NAME(CONFIGURED_BUYER_REVENUE_NUMERIC),
    NAME(LANDING_PAGE),
    NAME(LANDING_PAGE_DOMAIN),
    NAME(LANDING_PAGE_PATH),
    NAME(EVENT_TIMESTAMP),
};
#undef NAME

// Their ids plus one; 0 until somebody has interned the name.
static _Atomic uint32_t ids[KNOWN_COUNT];

static __attribute__((noinline)) struct tag_value find_known(const struct tag_set *tags,
                                                             enum event_known tag) {
    uint16_t id = tag_find(names[tag]);
    if (id != TAG_NONE) atomic_store_explicit(&ids[tag], id + 1u, memory_order_relaxed);
    return tag_set_get_name(tags, names[tag]);
}

static inline struct tag_value get(const struct tag_set *tags, enum event_known tag) {
    uint32_t id = atomic_load_explicit(&ids[tag], memory_order_relaxed) - 1;
    return id < tags->count ? tags->values[id] : find_known(tags, tag);
}

struct tag_value event_known(const struct tag_set *tags, enum event_known tag) {
    return get(tags, tag);
}

static inline bool lacks(const struct tag_set *tags, enum event_known tag) {
    return get(tags, tag).kind == TAG_ABSENT;
}

static bool put(struct tag_set *tags, enum event_known tag, struct tag_value value) {
    uint32_t id = atomic_load_explicit(&ids[tag], memory_order_relaxed) - 1;
    if (id >= tags->count) return tag_set_put(tags, names[tag], value);
    tags->values[id] = value;
    return true;
}

// A source that has text: a string or a number. *text has its escapes undone;
// p is NULL on no memory.
static bool source_text(struct tag_set *tags, struct tag_value source, struct slice *text) {
    if (source.kind != TAG_STRING && source.kind != TAG_NUMBER) return false;
    *text = tag_value_text(source, tags->arena);
    return true;
}

// A part of the source's text: as safe as the source, unless it was unescaped.
static bool put_part(struct tag_set *tags, enum event_known tag, struct tag_value source,
                     struct slice text) {
    struct tag_value value = tag_text(text);
    value.flags = source.flags & TAG_ESCAPED ? 0 : source.flags;
    return put(tags, tag, value);
}

static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

static bool is_letter(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

// A phone number without what may follow it: an extension, the host of a SIP address.
static struct slice phone_in(struct slice text) {
    size_t n = 0;
    while (n < text.n && !is_digit(text.p[n])) n++;
    while (n < text.n && !is_letter(text.p[n]) && !strchr(";:,@#", text.p[n])) n++;
    return slice(text.p, n);
}

static bool derive_digits(struct tag_set *tags, struct tag_value source, struct slice text) {
    size_t count = 0, run = 0;
    text = phone_in(text);
    for (size_t i = 0; i < text.n; i++) {
        count += is_digit(text.p[i]);
        run = is_digit(text.p[i]) ? run + 1 : 0;
    }
    if (!count) return true;
    // All digits in one run at the end, as in "+13105559876": no copy.
    if (run == count)
        return put_part(tags, KNOWN_CALLER_ID_NUMERIC, source, slice_from(text, text.n - count));
    char *out = arena_alloc(tags->arena, count);
    if (!out) return false;
    size_t n = 0;
    for (size_t i = 0; i < text.n; i++)
        if (is_digit(text.p[i])) out[n++] = text.p[i];
    return put_part(tags, KNOWN_CALLER_ID_NUMERIC, source, slice(out, n));
}

static bool derive_caller(struct tag_set *tags) {
    struct slice text;
    struct tag_value caller = get(tags, KNOWN_CALLER_ID);
    if (caller.kind == TAG_ABSENT) {
        caller = get(tags, KNOWN_FROM);
        if (caller.kind == TAG_ABSENT) return true;
        if (!put(tags, KNOWN_CALLER_ID, caller)) return false;
    }
    bool no_plus = lacks(tags, KNOWN_CALLER_ID_NO_PLUS),
         numeric = lacks(tags, KNOWN_CALLER_ID_NUMERIC);
    if ((!no_plus && !numeric) || !source_text(tags, caller, &text)) return true;
    if (!text.p) return false;
    size_t plus = text.n && text.p[0] == '+';
    if (no_plus && !put_part(tags, KNOWN_CALLER_ID_NO_PLUS, caller, slice_from(text, plus)))
        return false;
    return !numeric || derive_digits(tags, caller, text);
}

enum { AMOUNT_MAX = 64 };

// The number in an amount: from its first digit, or the point in front of it, to its last. A
// point behind letters is theirs: "Rs.5".
static struct slice number_in(struct slice text) {
    size_t from = 0, end = text.n;
    while (from < text.n && !is_digit(text.p[from])) from++;
    while (end > from && !is_digit(text.p[end - 1])) end--;
    bool point = from && (text.p[from - 1] == '.' || text.p[from - 1] == ',') &&
                 !(from > 1 && is_letter(text.p[from - 2]));
    return slice(text.p + from - point, end - from + point);
}

// Which byte of a number, if any, is the decimal separator: the last of '.' and ',' when
// both are there; a lone point; a lone comma that no group of three follows.
static size_t decimal_at(struct slice number) {
    size_t dots = 0, commas = 0, dot = number.n, comma = number.n;
    for (size_t i = 0; i < number.n; i++) {
        if (number.p[i] == '.') dots++, dot = i;
        if (number.p[i] == ',') commas++, comma = i;
    }
    if (dots && commas) {
        size_t last = dot > comma ? dot : comma;
        return (dot > comma ? dots : commas) == 1 ? last : number.n;
    }
    if (dots) return dots == 1 ? dot : number.n;
    return commas == 1 && number.n != comma + 4 ? comma : number.n;
}

// Bytes of what stands between groups of digits at the front of `text`, else 0.
static size_t separator_size(struct slice text) {
    static const char *const separators[] = { ".",           ",",        " ",
                                              "'",           "\xC2\xA0", "\xE2\x80\xAF",
                                              "\xE2\x80\x99" };
    for (size_t i = 0; i < sizeof separators / sizeof *separators; i++)
        if (slice_starts(text, slice_str(separators[i]))) return strlen(separators[i]);
    return 0;
}

// Copies a number without what separates its groups. False when these are not groups of a
// number: the first has up to three digits, the last three, one between two or three.
static bool copy_number(struct slice number, char *out, size_t *n) {
    size_t decimal = decimal_at(number), run = 0;
    bool grouped = false;
    for (size_t i = 0; i < number.n; i++) {
        if (is_digit(number.p[i])) {
            out[(*n)++] = number.p[i];
            run++;
            continue;
        }
        size_t size = separator_size(slice_from(number, i));
        bool last = i >= decimal;
        if (!size || i > decimal || (grouped && run != 3 && (last || run != 2))) return false;
        if (!last && (!run || run > 3)) return false;
        if (last && !run) out[(*n)++] = '0';
        if (last) out[(*n)++] = '.';
        grouped = !last;
        run = 0;
        i += size - 1;
    }
    return !grouped || run == 3;
}

static bool is_negative(struct slice before, struct slice behind) {
    bool bracket = slice_find(before, '(') < before.n && slice_find(behind, ')') < behind.n;
    for (size_t i = 0; i < before.n && !bracket; i++) {
        struct slice rest = slice_from(before, i);
        bool minus = rest.p[0] == '-' || slice_starts(rest, S("\xE2\x88\x92"));
        if (minus && !(i && is_letter(before.p[i - 1]))) return true;
    }
    return bracket;
}

// "$1,234.50" to "1234.50". Returns the length, 0 when it is no amount: a wrong number is worse
// than none.
static size_t amount_digits(struct slice text, char out[AMOUNT_MAX + 2]) {
    struct slice number = number_in(text);
    struct slice before = slice(text.p, (size_t)(number.p - text.p));
    struct slice behind = slice_from(text, before.n + number.n);
    char digits[AMOUNT_MAX + 1];
    size_t n = 0, from = 0, sign = is_negative(before, behind);
    if (!number.n || slice_starts(behind, S("-")) || !copy_number(number, digits, &n)) return 0;
    while (from + 1 < n && digits[from] == '0' && is_digit(digits[from + 1])) from++;
    out[0] = '-';
    memcpy(out + sign, digits + from, n - from);
    n += sign - from;
    return json_is_number(slice(out, n)) ? n : 0;
}

static bool derive_amount(struct tag_set *tags, enum event_known from, enum event_known to) {
    struct slice text;
    if (!lacks(tags, to)) return true;
    struct tag_value source = get(tags, from);
    if (!source_text(tags, source, &text)) return true;
    if (!text.p) return false;
    if (text.n > AMOUNT_MAX) return true;
    if (json_is_number(text)) return put_part(tags, to, source, text);
    char out[AMOUNT_MAX + 2];
    size_t n = amount_digits(text, out);
    if (!n) return true;
    struct slice copy = arena_dup(tags->arena, slice(out, n));
    return copy.p && put_part(tags, to, source, copy);
}

static size_t find_any(struct slice text, size_t from, const char *any_of) {
    while (from < text.n && !(text.p[from] && strchr(any_of, text.p[from]))) from++;
    return from;
}

// Where the authority of a URL starts; text.n when there is none. A text
// without a scheme counts as a URL when a name with a dot comes first.
static size_t authority_at(struct slice text) {
    size_t end = find_any(text, 0, "/?#");
    if (end && slice_starts(slice_from(text, end - 1), S("://"))) return end + 2;
    if (slice_starts(text, S("//"))) return 2;
    struct slice front = slice(text.p, end);
    bool named = slice_find(front, '.') < end && slice_find(front, ' ') == end;
    return named ? 0 : text.n;
}

// The host of an authority, without user and port.
static struct slice host_of(struct slice authority) {
    size_t from = 0;
    for (size_t i = 0; i < authority.n; i++)
        if (authority.p[i] == '@') from = i + 1;
    authority = slice_from(authority, from);
    size_t end = slice_starts(authority, S("[")) ? slice_find(authority, ']') + 1
                                                 : slice_find(authority, ':');
    return slice(authority.p, end < authority.n ? end : authority.n);
}

static bool derive_landing_page(struct tag_set *tags) {
    struct slice text;
    bool domain = lacks(tags, KNOWN_LANDING_PAGE_DOMAIN),
         path = lacks(tags, KNOWN_LANDING_PAGE_PATH);
    if (!domain && !path) return true;
    struct tag_value source = get(tags, KNOWN_LANDING_PAGE);
    if (!source_text(tags, source, &text)) return true;
    if (!text.p) return false;
    size_t first = authority_at(text), slash = first < text.n ? find_any(text, first, "/?#") : 0;
    bool is_url = first < text.n;
    if (is_url && domain) {
        struct slice host = host_of(slice(text.p + first, slash - first));
        if (!put_part(tags, KNOWN_LANDING_PAGE_DOMAIN, source, host)) return false;
    }
    if (!path || (!is_url && !slice_starts(text, S("/")))) return true;
    size_t end = find_any(text, slash, "?#");
    struct slice rest = end > slash ? slice(text.p + slash, end - slash) : S("/");
    return put_part(tags, KNOWN_LANDING_PAGE_PATH, source, rest);
}

static bool derive_timestamp(struct event *event, struct slice time) {
    struct tag_set *tags = &event->tags;
    if (!lacks(tags, KNOWN_EVENT_TIMESTAMP)) return true;
    struct tag_value value = { .kind = TAG_STRING };
    if (time.n) {
        value = tag_text(time);
    } else {
        char text[CLOCK_TEXT];
        size_t n = clock_format(event->time_ms, text);
        struct slice copy = arena_dup(&event->arena, slice(text, n));
        if (!copy.p) return false;
        value = tag_text(copy);
        value.flags = TAG_JSON_SAFE;
    }
    return put(tags, KNOWN_EVENT_TIMESTAMP, value);
}

bool event_derive(struct event *event, struct slice time) {
    struct tag_set *tags = &event->tags;
    return derive_caller(tags) && derive_amount(tags, KNOWN_PAYOUT, KNOWN_PAYOUT_NUMERIC) &&
           derive_amount(tags, KNOWN_CONFIGURED_PUBLISHER_PAYOUT,
                         KNOWN_CONFIGURED_PUBLISHER_PAYOUT_NUMERIC) &&
           derive_amount(tags, KNOWN_CONFIGURED_BUYER_REVENUE,
                         KNOWN_CONFIGURED_BUYER_REVENUE_NUMERIC) &&
           derive_landing_page(tags) && derive_timestamp(event, time);
}

bool event_time_parse(struct slice text, bool number, int64_t *time_ms) {
    static const int64_t first = -62167219200000, last = 253402300799999; // years 0 to 9999
    static const double ms_from = 1e11;
    double value;
    int64_t ms;
    if (!number) return clock_parse(text, time_ms);
    struct json json = { JSON_NUMBER, text };
    if (!json_double(json, &value)) return false;
    double scaled = fabs(value) < ms_from ? value * 1000 : value;
    if (scaled < (double)first || scaled > (double)last) return false;
    ms = (int64_t)llround(scaled);
    if (ms < first || ms > last) return false;
    *time_ms = ms;
    return true;
}
