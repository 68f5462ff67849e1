// phone: the ways people write numbers, and E.164. A rule set small enough to
// read: North America exactly (area and exchange codes start with 2-9), and for
// other countries their calling code, the trunk digit that falls away behind it,
// and the lengths that E.164 allows. It says whether a number can be one, never
// whether it is in service.
#include <stdio.h>

#include "sandbox.h"
#include "sandbox_host_inner.h"

enum { E164_MIN = 8, E164_MAX = 15, DIGITS_MAX = 32 };

struct country {
    char name[3], code[4], trunk; // '\0': no trunk digit
};

static const struct country countries[] = {
    { "AR", "54", '0' },  { "AT", "43", '0' },  { "AU", "61", '0' }, { "BE", "32", '0' },
    { "BR", "55", '0' },  { "CH", "41", '0' },  { "CL", "56", 0 },   { "CN", "86", '0' },
    { "CO", "57", '0' },  { "CZ", "420", 0 },   { "DE", "49", '0' }, { "DK", "45", 0 },
    { "ES", "34", 0 },    { "FI", "358", '0' }, { "FR", "33", '0' }, { "GB", "44", '0' },
    { "GR", "30", 0 },    { "HK", "852", 0 },   { "HU", "36", '0' }, { "IE", "353", '0' },
    { "IL", "972", '0' }, { "IN", "91", '0' },  { "IT", "39", 0 },   { "JP", "81", '0' },
    { "KR", "82", '0' },  { "MX", "52", 0 },    { "NL", "31", '0' }, { "NO", "47", 0 },
    { "NZ", "64", '0' },  { "PH", "63", '0' },  { "PL", "48", 0 },   { "PT", "351", 0 },
    { "RO", "40", '0' },  { "SE", "46", '0' },  { "SG", "65", 0 },   { "TR", "90", '0' },
    { "UA", "380", '0' }, { "ZA", "27", '0' },
};

static bool is_nanp_country(struct slice name) {
    return slice_ieq(name, S("US")) || slice_ieq(name, S("CA"));
}

static const struct country *find_country(struct slice name) {
    for (size_t i = 0; i < sizeof countries / sizeof *countries; i++)
        if (slice_ieq(name, slice_str(countries[i].name))) return countries + i;
    return NULL;
}

// A number's digits; n is 0 when the text holds letters or too many digits.
struct digits {
    char p[DIGITS_MAX];
    size_t n;
    bool international; // it began with '+'
};

static struct digits read_digits(struct slice text) {
    struct digits digits = { .n = 0 };
    text = slice_trim(text);
    digits.international = slice_starts(text, S("+"));
    for (size_t i = digits.international; i < text.n; i++) {
        char c = text.p[i];
        if (c >= '0' && c <= '9') {
            if (digits.n == DIGITS_MAX) return (struct digits){ .n = 0 };
            digits.p[digits.n++] = c;
        } else if (!c || !strchr(" -.()/\t", c)) {
            return (struct digits){ .n = 0 };
        }
    }
    return digits;
}

static bool nanp_valid(struct slice ten) {
    return ten.n == 10 && ten.p[0] >= '2' && ten.p[3] >= '2';
}

// Writes what follows the '+' to `out`; returns its length, 0 for no number.
static size_t to_e164(struct digits digits, struct slice country, char out[DIGITS_MAX + 4]) {
    struct slice number = slice(digits.p, digits.n);
    bool nanp = is_nanp_country(country);
    struct slice exit_code = nanp ? S("011") : S("00");
    if (!digits.international && slice_starts(number, exit_code)) {
        number = slice_from(number, exit_code.n);
        digits.international = true;
    }
    struct slice code = S("");
    if (!digits.international && nanp) {
        if (number.n == 11 && number.p[0] == '1') number = slice_from(number, 1);
        code = S("1");
    } else if (!digits.international) {
        const struct country *found = find_country(country);
        if (!found) return 0;
        if (found->trunk && number.n && number.p[0] == found->trunk) number = slice_from(number, 1);
        code = slice_str(found->code);
    }
    if (code.n) memcpy(out, code.p, code.n);
    if (number.n) memcpy(out + code.n, number.p, number.n);
    size_t n = code.n + number.n;
    if (n < E164_MIN || n > E164_MAX || out[0] == '0') return 0;
    if (out[0] == '1' && !nanp_valid(slice(out + 1, n - 1))) return 0;
    return n;
}

static struct slice country_arg(lua_State *L) {
    struct slice country = lua_isnoneornil(L, 2) ? S("US") : sandbox_check_slice(L, 2);
    if (!is_nanp_country(country) && !find_country(country))
        luaL_error(L, "phone: country '%s' is not known", country.p);
    return country;
}

static int push_none(lua_State *L) {
    lua_pushnil(L);
    lua_pushliteral(L, "not a phone number");
    return 2;
}

// phone.e164(number, country) → "+15551234567"
static int phone_e164(lua_State *L) {
    char out[DIGITS_MAX + 4];
    struct slice text = sandbox_check_slice(L, 1);
    size_t n = to_e164(read_digits(text), country_arg(L), out);
    if (!n) return push_none(L);
    lua_pushliteral(L, "+");
    lua_pushlstring(L, out, n);
    lua_concat(L, 2);
    return 1;
}

static int phone_digits(lua_State *L) {
    struct slice text = sandbox_check_slice(L, 1);
    luaL_Buffer out;
    luaL_buffinit(L, &out);
    for (size_t i = 0; i < text.n; i++)
        if (text.p[i] >= '0' && text.p[i] <= '9') luaL_addchar(&out, text.p[i]);
    luaL_pushresult(&out);
    return 1;
}

// The longest calling code that starts `digits`; one digit when none is known.
static size_t code_length(struct slice digits) {
    size_t longest = 1;
    for (size_t i = 0; i < sizeof countries / sizeof *countries; i++) {
        struct slice code = slice_str(countries[i].code);
        if (slice_starts(digits, code) && code.n > longest) longest = code.n;
    }
    return longest;
}

// phone.format(number, country) → "(555) 123-4567" in North America, else "+44 2079460000"
static int phone_format(lua_State *L) {
    char out[DIGITS_MAX + 4], text[DIGITS_MAX + 8];
    struct slice number = sandbox_check_slice(L, 1);
    size_t n = to_e164(read_digits(number), country_arg(L), out);
    if (!n) return push_none(L);
    int length;
    if (out[0] == '1') {
        length = snprintf(text, sizeof text, "(%.3s) %.3s-%.4s", out + 1, out + 4, out + 7);
    } else {
        int code = (int)code_length(slice(out, n));
        length = snprintf(text, sizeof text, "+%.*s %.*s", code, out, (int)n - code, out + code);
    }
    lua_pushlstring(L, text, (size_t)length);
    return 1;
}

void host_open_phone(lua_State *L) {
    static const struct sandbox_function own[] = { { "e164", phone_e164 },
                                                   { "digits", phone_digits },
                                                   { "format", phone_format } };
    host_set_module(L, "phone", own, sizeof own / sizeof *own);
}
