// Numbers and phone numbers as text. Digits are kept as digits, so a 20-digit
// id or an amount of money never meets a double.
#include <string.h>

#include "format_inner.h"

enum { DIGITS_MAX = 128 };

struct decimal {
    bool negative;
    char digits[DIGITS_MAX]; // '0'-'9', whole part then fraction
    size_t count;
    size_t point; // digits in front of the point; at most count
};

static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

// Does the comma at the front of `text` part groups of digits? "12,50" is no 1250.
static bool group_follows(struct slice text) {
    size_t n = 1;
    while (n < text.n && is_digit(text.p[n])) n++;
    bool more = n < text.n && text.p[n] == ',';
    return n == 4 || (n == 3 && more); // 12,34,567 is an Indian number
}

// Takes digits, and commas between groups of them, from the front of *text.
static bool take_digits(struct slice *text, struct decimal *d, bool commas) {
    while (text->n && (is_digit(text->p[0]) ||
                       (commas && text->p[0] == ',' && d->count && group_follows(*text)))) {
        if (text->p[0] != ',') {
            if (d->count == DIGITS_MAX) return false;
            d->digits[d->count++] = text->p[0];
        }
        *text = slice_from(*text, 1);
    }
    return true;
}

static void take_sign(struct slice *text, bool *negative) {
    if (!text->n || (text->p[0] != '-' && text->p[0] != '+')) return;
    *negative = text->p[0] == '-';
    *text = slice_from(*text, 1);
}

// Moves the point by the exponent in `text`; zeroes fill the gap.
static bool shift_point(struct slice text, struct decimal *d) {
    bool down = false;
    take_sign(&text, &down);
    size_t by = 0;
    if (!text.n || text.n > 3) return false;
    for (size_t i = 0; i < text.n; i++) {
        if (!is_digit(text.p[i])) return false;
        by = by * 10 + (size_t)(text.p[i] - '0');
    }
    size_t zeroes = 0;
    if (down) {
        zeroes = by > d->point ? by - d->point : 0;
        if (d->count + zeroes > DIGITS_MAX) return false;
        memmove(d->digits + zeroes, d->digits, d->count);
        memset(d->digits, '0', zeroes);
        d->point = d->point + zeroes - by;
    } else {
        zeroes = d->point + by > d->count ? d->point + by - d->count : 0;
        if (d->count + zeroes > DIGITS_MAX) return false;
        memset(d->digits + d->count, '0', zeroes);
        d->point += by;
    }
    d->count += zeroes;
    return true;
}

// [blanks] [sign] ['$'] [sign] digits with commas ['.' digits] [e exponent] [blanks]
static bool decimal_read(struct slice text, struct decimal *d) {
    *d = (struct decimal){ 0 };
    text = slice_trim(text);
    take_sign(&text, &d->negative);
    if (text.n && text.p[0] == '$') {
        text = slice_from(text, 1);
        if (!d->negative) take_sign(&text, &d->negative);
    }
    if (!take_digits(&text, d, true)) return false;
    d->point = d->count;
    if (text.n && text.p[0] == '.') {
        text = slice_from(text, 1);
        if (!take_digits(&text, d, false)) return false;
    }
    if (!d->count) return false;
    if (text.n && (text.p[0] == 'e' || text.p[0] == 'E'))
        return shift_point(slice_from(text, 1), d);
    return text.n == 0;
}

// Cuts or fills to `places` digits behind the point. There is room for one more digit in front.
static void decimal_cut(struct decimal *d, size_t places, bool nearest, char *out, size_t *n) {
    size_t want = d->point + places;
    for (size_t i = 0; i < want; i++) out[i + 1] = i < d->count ? d->digits[i] : '0';
    out[0] = '0';
    *n = want + 1;
    if (!nearest || want >= d->count || d->digits[want] < '5') return;
    size_t i = want;
    while (out[i] == '9') out[i--] = '0';
    out[i]++;
}

static bool write_decimal(struct slice text, size_t places, bool nearest, struct buf *out) {
    struct decimal d;
    if (!decimal_read(text, &d)) return false;
    char digits[DIGITS_MAX + 32];
    size_t n = 0;
    decimal_cut(&d, places, nearest, digits, &n);
    size_t whole = n - places, from = 0;
    bool zero = true;
    for (size_t i = 0; i < n; i++) zero = zero && digits[i] == '0';
    while (from + 1 < whole && digits[from] == '0') from++;
    if (d.negative && !zero) buf_byte(out, '-');
    buf_add(out, slice(digits + from, whole - from));
    if (places) buf_byte(out, '.');
    buf_add(out, slice(digits + whole, places));
    return true;
}

bool format_number_int(struct slice text, struct buf *out) {
    return write_decimal(text, 0, false, out);
}

bool format_number_round(struct slice text, int places, struct buf *out) {
    return write_decimal(text, (size_t)places, true, out);
}

// Digits of a phone number up to the first byte that cannot be in one, such as
// the start of an extension. False when there are too many.
static bool phone_digits(struct slice text, char digits[16], size_t *n) {
    *n = 0;
    for (size_t i = 0; i < text.n; i++) {
        if (is_digit(text.p[i])) {
            if (*n == 15) return false;
            digits[(*n)++] = text.p[i];
        } else if (!strchr(" ()-./", text.p[i]) || !text.p[i]) {
            break;
        }
    }
    return true;
}

// Takes '+', or what is dialled in its place, from the front of *text.
static bool take_exit_code(struct slice *text) {
    static const char *const codes[] = { "+", "00", "011" };
    for (size_t i = 0; i < sizeof codes / sizeof *codes; i++) {
        struct slice code = slice_str(codes[i]);
        if (!slice_starts(*text, code)) continue;
        *text = slice_from(*text, code.n);
        return true;
    }
    return false;
}

// A number that is dialled within a country is known only for North America: guessing would
// make another country's number of it.
bool format_e164(struct slice text, struct buf *out) {
    char digits[16];
    size_t n;
    text = slice_trim(text);
    bool international = take_exit_code(&text);
    if (!phone_digits(text, digits, &n) || n < 7 || digits[0] == '0') return false;
    if (!international && n < (digits[0] == '1' ? 11 : 10)) return false;
    buf_add(out, !international && n == 10 ? S("+1") : S("+"));
    return buf_add(out, slice(digits, n)), true;
}
