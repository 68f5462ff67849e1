// The portable escapers: eight plain bytes at a time, the rest through a table.
// They are also the reference for what the vector ones must write.
#include "escape.h"

#include "escape_inner.h"
#include "utf8.h"

static const char hex_upper[] = "0123456789ABCDEF";
static const char hex_lower[] = "0123456789abcdef";

#define ONES 0x0101010101010101u
#define HIGHS 0x8080808080808080u

static inline uint64_t zero_bytes(uint64_t word) {
    return (word - ONES) & ~word & HIGHS;
}

// True when one of the eight bytes needs more than copying into a JSON string.
static inline bool json_special(uint64_t word) {
    uint64_t control = (word - ONES * 0x20) & ~word;
    uint64_t quote = zero_bytes(word ^ ONES * '"'), slash = zero_bytes(word ^ ONES * '\\');
    return ((control | quote | slash | word) & HIGHS) != 0;
}

static unsigned char mark_eight(const char *p) {
    unsigned bits = 0;
    for (unsigned i = 0; i < 8; i++) {
        unsigned char c = (unsigned char)p[i];
        bits |= (unsigned)(c < 0x20 || c >= 0x80 || c == '"' || c == '\\') << i;
    }
    return (unsigned char)bits;
}

static void copy_marked_portable(char *to, struct slice s, unsigned char *marks) {
    if (s.n) memcpy(to, s.p, s.n);
    memset(to + s.n, 0, 64);
    for (size_t i = 0; i < (s.n / 64 + 1) * 8; i++, to += 8) {
        uint64_t word;
        memcpy(&word, to, 8);
        marks[i] = json_special(word) ? mark_eight(to) : 0;
    }
}

char *escape_json_byte(char *to, unsigned char c) {
    static const char letters[0x20] = { [8] = 'b', [9] = 't', [10] = 'n', [12] = 'f', [13] = 'r' };
    char letter = c < 0x20 ? letters[c] : (char)c;
    *to++ = '\\';
    if (letter) {
        *to++ = letter;
        return to;
    }
    memcpy(to, "u00", 3);
    to[3] = hex_lower[c >> 4];
    to[4] = hex_lower[c & 15];
    return to + 5;
}

// Writes the sequence at the start of `s`, which is not ASCII; returns its length.
static size_t json_sequence(char *to, struct slice s, size_t *written, bool *bad_utf8) {
    size_t n = utf8_sequence(s);
    if (n) {
        memcpy(to, s.p, n);
        *written = n;
        return n;
    }
    memcpy(to, "\xEF\xBF\xBD", 3);
    *written = 3;
    *bad_utf8 = true;
    return 1;
}

static char *json_portable(char *to, struct slice s, bool *bad_utf8) {
    const char *p = s.p, *end = s.p + s.n;
    while (p < end) {
        uint64_t word;
        while (end - p >= 8 && (memcpy(&word, p, 8), !json_special(word))) {
            memcpy(to, &word, 8);
            p += 8;
            to += 8;
        }
        // A special byte is near: go to it, or through the last bytes, one by one.
        for (int k = 0; k < 8 && p < end; k++) {
            unsigned char c = (unsigned char)*p;
            if (c >= 0x80) {
                size_t written;
                p += json_sequence(to, slice(p, (size_t)(end - p)), &written, bad_utf8);
                to += written;
            } else {
                p++;
                if (c < 0x20 || c == '"' || c == '\\')
                    to = escape_json_byte(to, c);
                else
                    *to++ = (char)c;
            }
        }
    }
    return to;
}

enum { KEEP_URL = 1, KEEP_FORM = 2, KEEP_RAW = 4 };

static uint8_t keep[256];

static void keep_bytes(const char *bytes, unsigned flags) {
    for (; *bytes; bytes++) keep[(unsigned char)*bytes] |= (uint8_t)flags;
}

static void fill_keep(void) {
    keep_bytes("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._",
               KEEP_URL | KEEP_FORM | KEEP_RAW);
    keep_bytes("~", KEEP_URL | KEEP_RAW);
    keep_bytes("*", KEEP_FORM | KEEP_RAW);
    keep_bytes("%:/?#[]@!$&'()+,;=", KEEP_RAW);
}

static inline char *percent(char *to, struct slice s, uint8_t flag, bool plus) {
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        if (keep[c] & flag) {
            *to++ = (char)c;
        } else if (plus && c == ' ') {
            *to++ = '+';
        } else {
            to[0] = '%';
            to[1] = hex_upper[c >> 4];
            to[2] = hex_upper[c & 15];
            to += 3;
        }
    }
    return to;
}

static char *url_portable(char *to, struct slice s) {
    return percent(to, s, KEEP_URL, false);
}

static char *form_portable(char *to, struct slice s) {
    return percent(to, s, KEEP_FORM, true);
}

char *escape_url_raw(char *to, struct slice s) {
    return percent(to, s, KEEP_RAW, false);
}

static bool is_control(unsigned char c) {
    return (c < 0x20 && c != '\t') || c == 0x7F;
}

static size_t header_span_portable(struct slice s) {
    size_t i = 0;
    while (i < s.n && !is_control((unsigned char)s.p[i])) i++;
    return i;
}

char *escape_header(char *to, struct slice s, bool *run, bool *cleaned) {
    while (s.n) {
        size_t plain = escape->header_span(s);
        if (plain) {
            memcpy(to, s.p, plain);
            to += plain;
            *run = false;
            s = slice_from(s, plain);
        }
        while (s.n && is_control((unsigned char)s.p[0])) {
            if (!*run) *to++ = ' ';
            *run = *cleaned = true;
            s = slice_from(s, 1);
        }
    }
    return to;
}

const struct escapers escape_portable = {
    .json = json_portable,
    .url = url_portable,
    .form = form_portable,
    .header_span = header_span_portable,
    .copy_marked = copy_marked_portable,
};
const struct escapers *escape = &escape_portable;

bool escape_has_avx2(void) {
#if defined(__x86_64__)
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi2");
#else
    return false;
#endif
}

void escape_force_portable(bool portable) {
#if defined(__x86_64__)
    escape = !portable && escape_has_avx2() ? &escape_avx2 : &escape_portable;
#else
    (void)portable;
#endif
}

__attribute__((constructor)) static void choose_escapers(void) {
    fill_keep();
#if defined(__x86_64__)
    __builtin_cpu_init();
    escape_avx2_prepare();
#endif
    escape_force_portable(false);
}
