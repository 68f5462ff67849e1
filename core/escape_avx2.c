// The AVX2 escapers. A block of bytes is classified at once; where something
// needs escaping, one byte shuffle per small group moves the bytes apart and
// puts the escapes between them, so that the work does not depend on how many
// there are. Groups: eight bytes to at most 16 in JSON, four to at most 12 in
// URLs. UTF-8 is checked once for the rest of a value when the first byte that
// is not ASCII turns up; a value that is not UTF-8 goes the portable way.
#include "escape.h"

#if defined(__x86_64__)
#include "escape_inner.h"

// By the bits of the bytes to escape: where each output byte comes from.
static uint8_t json_spread[256][16]; // 0-7 the byte, 8 a backslash
static uint8_t url_spread[16][16];   // 0-3 the byte, 4-7 and 8-11 its hex digits, 12 '%'
static uint8_t url_length[16];
// By the low four bits of an ASCII byte: the set of high four bits to keep.
static uint8_t url_keep[16], form_keep[16];
static const uint8_t high_bit[16] = { 1, 2, 4, 8, 16, 32, 64, 128 };

static void fill_json_spread(void) {
    for (unsigned bits = 0; bits < 256; bits++) {
        unsigned at = 0;
        for (unsigned i = 0; i < 8; i++) {
            if (bits >> i & 1) json_spread[bits][at++] = 8;
            json_spread[bits][at++] = (uint8_t)i;
        }
        while (at < 16) json_spread[bits][at++] = 0x80;
    }
}

static void fill_url_spread(void) {
    for (unsigned bits = 0; bits < 16; bits++) {
        uint8_t *to = url_spread[bits];
        for (unsigned i = 0; i < 4; i++) {
            if (bits >> i & 1) {
                *to++ = 12;
                *to++ = (uint8_t)(4 + i);
                *to++ = (uint8_t)(8 + i);
            } else {
                *to++ = (uint8_t)i;
            }
        }
        url_length[bits] = (uint8_t)(to - url_spread[bits]);
    }
}

// The keep sets come from the portable escapers, so that there is one truth.
static void fill_keep(uint8_t set[16], char *(*escaper)(char *, struct slice)) {
    char out[3 + ESCAPE_SLACK];
    for (unsigned c = 0; c < 128; c++) {
        char byte = (char)c;
        if (escaper(out, slice(&byte, 1)) == out + 1)
            set[c & 15] = (uint8_t)(set[c & 15] | 1u << (c >> 4));
    }
}

#define ALL(byte)                                                                                  \
    {                                                                                              \
        (byte) * 0x0101010101010101, (byte)*0x0101010101010101, (byte)*0x0101010101010101,         \
            (byte)*0x0101010101010101                                                              \
    }
const struct escape_marks escape_marks = { ALL(' '), ALL('"'), ALL('\\') };

ESCAPE_AVX2_INLINE __m256i twice(const uint8_t *table) {
    return _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)table));
}

// Error bits of a pair of neighbouring bytes, looked up by the first byte's
// high and low half and the second's high half: a bit that is set in all three
// is an error. TWICE (two continuation bytes) is one only where no third or
// fourth byte of a sequence is due.
enum {
    SHORT = 1,      // a lead byte, then no continuation
    LONG = 2,       // ASCII, then a continuation
    OVER3 = 4,      // E0 80-9F
    LARGE = 8,      // above U+10FFFF, second byte 90 or more
    SURROGATE = 16, // ED A0-BF
    OVER2 = 32,     // C0, C1
    OVER4 = 64,     // F0 80-8F, and F5-FF with such a second byte
    TWICE = 128,
};

static const uint8_t first_high[16] = { LONG,
                                        LONG,
                                        LONG,
                                        LONG,
                                        LONG,
                                        LONG,
                                        LONG,
                                        LONG,
                                        TWICE,
                                        TWICE,
                                        TWICE,
                                        TWICE,
                                        SHORT | OVER2,
                                        SHORT,
                                        SHORT | OVER3 | SURROGATE,
                                        SHORT | LARGE | OVER4 };
enum { ANY = SHORT | LONG | TWICE, PAST = ANY | LARGE | OVER4 };
static const uint8_t first_low[16] = { ANY | OVER2 | OVER3 | OVER4,
                                       ANY | OVER2,
                                       ANY,
                                       ANY,
                                       ANY | LARGE,
                                       PAST,
                                       PAST,
                                       PAST,
                                       PAST,
                                       PAST,
                                       PAST,
                                       PAST,
                                       PAST,
                                       PAST | SURROGATE,
                                       PAST,
                                       PAST };
enum { NEXT = LONG | TWICE | OVER2 };
static const uint8_t second_high[16] = { SHORT,
                                         SHORT,
                                         SHORT,
                                         SHORT,
                                         SHORT,
                                         SHORT,
                                         SHORT,
                                         SHORT,
                                         NEXT | OVER3 | OVER4,
                                         NEXT | OVER3 | LARGE,
                                         NEXT | SURROGATE | LARGE,
                                         NEXT | SURROGATE | LARGE,
                                         SHORT,
                                         SHORT,
                                         SHORT,
                                         SHORT };

ESCAPE_AVX2_INLINE __m256i high_half(__m256i v) {
    return _mm256_and_si256(_mm256_srli_epi16(v, 4), _mm256_set1_epi8(15));
}

// Errors in `v`, whose preceding 32 bytes are `before`.
ESCAPE_AVX2_INLINE __m256i utf8_errors(__m256i before, __m256i v) {
    __m256i across = _mm256_permute2x128_si256(before, v, 0x21);
    __m256i back1 = _mm256_alignr_epi8(v, across, 15);
    __m256i back2 = _mm256_alignr_epi8(v, across, 14);
    __m256i back3 = _mm256_alignr_epi8(v, across, 13);
    __m256i pair = _mm256_and_si256(
        _mm256_shuffle_epi8(twice(first_high), high_half(back1)),
        _mm256_and_si256(
            _mm256_shuffle_epi8(twice(first_low), _mm256_and_si256(back1, _mm256_set1_epi8(15))),
            _mm256_shuffle_epi8(twice(second_high), high_half(v))));
    // The subtraction leaves the top bit exactly for leads of three and four bytes.
    __m256i due = _mm256_or_si256(_mm256_subs_epu8(back2, _mm256_set1_epi8(0xE0 - 0x80)),
                                  _mm256_subs_epu8(back3, _mm256_set1_epi8(0xF0 - 0x80)));
    return _mm256_xor_si256(_mm256_and_si256(due, _mm256_set1_epi8((char)0x80)), pair);
}

// The first n (less than 32) bytes at p, then zeroes.
ESCAPE_AVX2_INLINE __m256i load_tail_zeroed(const char *p, size_t n) {
    static const uint8_t window[64] = {
        255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255,
        255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255,
    };
    __m256i live = _mm256_loadu_si256((const __m256i *)(window + 32 - n));
    return n ? _mm256_and_si256(escape_load_upto32(p, n), live) : _mm256_setzero_si256();
}

// Bytes that a group's control byte without a short escape needs behind its \u.
static uint32_t unicode_digits[32];
// Opens a gap of four bytes in front of byte [i].
static uint8_t gap_spread[17][16];

static void fill_gaps(void) {
    for (unsigned c = 0; c < 32; c++) {
        char text[8];
        escape_json_byte(text, (unsigned char)c);
        memcpy(&unicode_digits[c], text + 2, 4);
    }
    for (unsigned gap = 0; gap <= 16; gap++)
        for (unsigned i = 0; i < 16; i++)
            gap_spread[gap][i] = (uint8_t)(i < gap ? i : i < gap + 4 ? 0x80 : i - 4);
}

// Eight bytes of which `bits` need escaping, byte by byte.
static char *json_group_slow(char *to, const char *p, uint32_t bits, size_t n) {
    for (size_t i = 0; i < n; i++) {
        if (bits >> i & 1)
            to = escape_json_byte(to, (unsigned char)p[i]);
        else
            *to++ = p[i];
    }
    return to;
}

ESCAPE_AVX2_INLINE __m128i json_spread_group(__m128i bytes, uint32_t bits) {
    return _mm_shuffle_epi8(bytes, _mm_loadu_si128((const __m128i *)json_spread[bits]));
}

// The group again, but one byte (bit `slow`) is a control byte that becomes
// \u00XX: the usual way gave its \u, the digits go into a gap behind it.
ESCAPE_AVX2_INLINE char *json_group_unicode(char *to, const char *p, __m128i bytes, uint32_t bits,
                                            uint32_t slow, size_t n) {
    uint32_t upto = slow | (slow - 1);
    unsigned gap = (unsigned)_mm_popcnt_u32(upto) + (unsigned)_mm_popcnt_u32(bits & upto);
    __m128i spread = json_spread_group(bytes, bits);
    __m128i opened = _mm_shuffle_epi8(spread, _mm_loadu_si128((const __m128i *)gap_spread[gap]));
    uint32_t last = (uint32_t)_mm_extract_epi32(spread, 3);
    _mm_storeu_si128((__m128i *)to, opened);
    memcpy(to + 16, &last, 4);
    memcpy(to + gap, &unicode_digits[(unsigned char)p[_tzcnt_u32(slow)]], 4);
    return to + 4 + n + (unsigned)_mm_popcnt_u32(bits);
}

// A block taken apart: which bytes need escaping, and what stands behind their backslashes.
struct json_block {
    __m256i bytes;
    uint32_t bits, slow;
};

ESCAPE_AVX2_INLINE struct json_block json_look(__m256i v, uint32_t bits) {
    static const uint8_t letters[16] = { 'u', 'u', 'u', 'u', 'u', 'u', 'u', 'u',
                                         'b', 't', 'n', 'u', 'f', 'r', 'u', 'u' };
    __m256i control = _mm256_cmpeq_epi8(_mm256_min_epu8(v, _mm256_set1_epi8(0x1F)), v);
    __m256i below16 = _mm256_cmpeq_epi8(_mm256_min_epu8(v, _mm256_set1_epi8(15)), v);
    __m256i u = _mm256_set1_epi8('u');
    __m256i letter = _mm256_blendv_epi8(u, _mm256_shuffle_epi8(twice(letters), v), below16);
    uint32_t slow =
        (uint32_t)_mm256_movemask_epi8(_mm256_and_si256(control, _mm256_cmpeq_epi8(letter, u)));
    return (struct json_block){ _mm256_blendv_epi8(v, letter, control), bits, slow & bits };
}

ESCAPE_AVX2_INLINE char *json_group(char *to, __m128i bytes, uint32_t bits, size_t n) {
    _mm_storeu_si128((__m128i *)to, json_spread_group(bytes, bits));
    return to + n + (unsigned)_mm_popcnt_u32(bits);
}

// The same where some may become \u00XX.
ESCAPE_AVX2_INLINE char *json_group_any(char *to, const char *p, __m128i bytes, uint32_t bits,
                                        uint32_t slow, size_t n) {
    if (!slow) return json_group(to, bytes, bits, n);
    if (slow & (slow - 1)) return json_group_slow(to, p, bits, n);
    return json_group_unicode(to, p, bytes, bits, slow, n);
}

// How many of the eight bytes from `at` on are among the first n.
ESCAPE_AVX2_INLINE size_t live_in(size_t n, size_t at) {
    return n >= at + 8 ? 8 : n > at ? n - at : 0;
}

// n (at most 32) bytes at p, loaded in v, of which `bits` need escaping.
ESCAPE_AVX2_INLINE char *json_block(char *to, const char *p, __m256i v, uint32_t bits, size_t n) {
    struct json_block b = json_look(v, bits);
    __m128i low = _mm256_castsi256_si128(b.bytes), high = _mm256_extracti128_si256(b.bytes, 1);
    const __m128i slashes = _mm_set1_epi8('\\');
    __m128i a = _mm_unpacklo_epi64(low, slashes), c = _mm_unpackhi_epi64(low, slashes);
    __m128i d = _mm_unpacklo_epi64(high, slashes), e = _mm_unpackhi_epi64(high, slashes);
    // A group past the end is empty: it writes nothing that stays.
    if (__builtin_expect(!b.slow, 1)) {
        to = json_group(to, a, b.bits & 0xFF, live_in(n, 0));
        to = json_group(to, c, b.bits >> 8 & 0xFF, live_in(n, 8));
        to = json_group(to, d, b.bits >> 16 & 0xFF, live_in(n, 16));
        return json_group(to, e, b.bits >> 24, live_in(n, 24));
    }
    to = json_group_any(to, p, a, b.bits & 0xFF, b.slow & 0xFF, live_in(n, 0));
    to = json_group_any(to, p + 8, c, b.bits >> 8 & 0xFF, b.slow >> 8 & 0xFF, live_in(n, 8));
    to = json_group_any(to, p + 16, d, b.bits >> 16 & 0xFF, b.slow >> 16 & 0xFF, live_in(n, 16));
    return json_group_any(to, p + 24, e, b.bits >> 24, b.slow >> 24, live_in(n, 24));
}

// UTF-8 is checked on the way, from the first byte on that is not ASCII; when
// it turns out bad, the whole value is written again the portable way.
static ESCAPE_AVX2 char *json_avx2(char *to, struct slice s, bool *bad_utf8) {
    char *start = to;
    __m256i before = _mm256_setzero_si256(), errors = before;
    int wide = 0; // a byte so far is not ASCII
    size_t i = 0;
    for (; i + 32 <= s.n; i += 32) {
        __m256i v = _mm256_loadu_si256((const __m256i *)(s.p + i));
        wide |= _mm256_movemask_epi8(v);
        if (wide) errors = _mm256_or_si256(errors, utf8_errors(before, v));
        before = v;
        uint32_t bits = escape_json_mask(v);
        if (bits) {
            to = json_block(to, s.p + i, v, bits, 32);
        } else {
            _mm256_storeu_si256((__m256i *)to, v);
            to += 32;
        }
    }
    size_t n = s.n - i;
    __m256i v = load_tail_zeroed(s.p + i, n);
    uint32_t bits = _bzhi_u32(escape_json_mask(v), (uint32_t)n);
    wide |= _mm256_movemask_epi8(v);
    // Zeroes behind the end make a cut sequence an error.
    if (wide) errors = _mm256_or_si256(errors, utf8_errors(before, v));
    if (!_mm256_testz_si256(errors, errors)) return escape_portable.json(start, s, bad_utf8);
    if (bits) return json_block(to, s.p + i, v, bits, n);
    _mm256_storeu_si256((__m256i *)to, v);
    return to + n;
}

ESCAPE_AVX2_INLINE __m128i load_upto16(const char *p, size_t n) {
    if (escape_same_page(p, 16)) return _mm_loadu_si128((const __m128i *)p);
    char copy[16];
    memset(copy, 0, sizeof copy);
    memcpy(copy, p, n);
    return _mm_loadu_si128((const __m128i *)copy);
}

ESCAPE_AVX2_INLINE char *url_group(char *to, __m128i group, uint32_t bits) {
    __m128i spread = _mm_loadu_si128((const __m128i *)url_spread[bits]);
    _mm_storeu_si128((__m128i *)to, _mm_shuffle_epi8(group, spread));
    return to + url_length[bits];
}

// 16 bytes, of which `bits` need %XX. Each group is four bytes, their high and
// low hex digits, and four percent signs.
ESCAPE_AVX2_INLINE char *url_block(char *to, __m128i v, uint32_t bits) {
    const __m128i digits = _mm_setr_epi8('0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'A', 'B',
                                         'C', 'D', 'E', 'F');
    __m128i nibble = _mm_set1_epi8(15);
    __m128i high = _mm_shuffle_epi8(digits, _mm_and_si128(_mm_srli_epi16(v, 4), nibble));
    __m128i low = _mm_shuffle_epi8(digits, _mm_and_si128(v, nibble));
    __m128i sign = _mm_set1_epi8('%');
    __m128i a = _mm_unpacklo_epi32(v, high), b = _mm_unpacklo_epi32(low, sign);
    __m128i c = _mm_unpackhi_epi32(v, high), d = _mm_unpackhi_epi32(low, sign);
    to = url_group(to, _mm_unpacklo_epi64(a, b), bits & 15);
    to = url_group(to, _mm_unpackhi_epi64(a, b), bits >> 4 & 15);
    to = url_group(to, _mm_unpacklo_epi64(c, d), bits >> 8 & 15);
    return url_group(to, _mm_unpackhi_epi64(c, d), bits >> 12 & 15);
}

struct percent_sets {
    __m128i by_low, by_high; // the kept bytes, see url_keep
    bool plus;
};

// The first n of 16 bytes. Those past the end go out too, one for one.
ESCAPE_AVX2_INLINE char *percent_block(char *to, __m128i v, size_t n, struct percent_sets sets) {
    const __m128i nibble = _mm_set1_epi8(15);
    // A byte from 0x80 on looks up 0 in by_high.
    __m128i low = _mm_shuffle_epi8(sets.by_low, _mm_and_si128(v, nibble));
    __m128i high = _mm_shuffle_epi8(sets.by_high, _mm_and_si128(_mm_srli_epi16(v, 4), nibble));
    __m128i lost = _mm_cmpeq_epi8(_mm_and_si128(low, high), _mm_setzero_si128());
    uint32_t bits = (uint32_t)_mm_movemask_epi8(lost);
    if (sets.plus) {
        __m128i space = _mm_cmpeq_epi8(v, _mm_set1_epi8(' '));
        v = _mm_blendv_epi8(v, _mm_set1_epi8('+'), space);
        bits &= ~(uint32_t)_mm_movemask_epi8(space);
    }
    if (n < 16) bits = _bzhi_u32(bits, (uint32_t)n);
    if (bits) return url_block(to, v, bits) - (16 - n);
    _mm_storeu_si128((__m128i *)to, v);
    return to + n;
}

ESCAPE_AVX2_INLINE char *percent(char *to, struct slice s, const uint8_t *keep, bool plus) {
    const struct percent_sets sets = { _mm_loadu_si128((const __m128i *)keep),
                                       _mm_loadu_si128((const __m128i *)high_bit), plus };
    const char *p = s.p, *end = s.p + s.n;
    for (; end - p >= 16; p += 16)
        to = percent_block(to, _mm_loadu_si128((const __m128i *)p), 16, sets);
    size_t n = (size_t)(end - p);
    return n ? percent_block(to, load_upto16(p, n), n, sets) : to;
}

static ESCAPE_AVX2 char *url_avx2(char *to, struct slice s) {
    return percent(to, s, url_keep, false);
}

static ESCAPE_AVX2 char *form_avx2(char *to, struct slice s) {
    return percent(to, s, form_keep, true);
}

static ESCAPE_AVX2 size_t header_span_avx2(struct slice s) {
    for (size_t i = 0; i < s.n; i += 32) {
        size_t n = s.n - i < 32 ? s.n - i : 32;
        __m256i v = escape_load_upto32(s.p + i, n);
        uint32_t bits = _bzhi_u32(escape_header_mask(v), (uint32_t)n);
        if (bits) return i + _tzcnt_u32(bits);
    }
    return s.n;
}

// Copies a block of 64 bytes and returns its marks.
ESCAPE_AVX2_INLINE uint64_t copy_block(char *to, const char *from, struct escape_marks m) {
    __m256i low = _mm256_loadu_si256((const __m256i *)from);
    __m256i high = _mm256_loadu_si256((const __m256i *)(from + 32));
    _mm256_storeu_si256((__m256i *)to, low);
    _mm256_storeu_si256((__m256i *)(to + 32), high);
    return escape_json_mask_ascii(low, m) | (uint64_t)escape_json_mask_ascii(high, m) << 32;
}

static ESCAPE_AVX2 void copy_marked_avx2(char *to, struct slice s, unsigned char *marks) {
    const struct escape_marks m = escape_marks;
    uint64_t bits;
    for (; s.n >= 64; s = slice(s.p + 64, s.n - 64), to += 64, marks += 8) {
        bits = copy_block(to, s.p, m);
        memcpy(marks, &bits, 8);
    }
    char rest[64];
    const char *from = s.p;
    if (s.n && !escape_same_page(from, 64)) from = memcpy(rest, from, s.n);
    bits = (s.n ? copy_block(to, from, m) : 0) | ~(uint64_t)0 << s.n;
    memcpy(marks, &bits, 8);
    memset(to + s.n, 0, 64);
}

const struct escapers escape_avx2 = {
    .json = json_avx2,
    .url = url_avx2,
    .form = form_avx2,
    .header_span = header_span_avx2,
    .copy_marked = copy_marked_avx2,
};

void escape_avx2_prepare(void) {
    fill_json_spread();
    fill_gaps();
    fill_url_spread();
    fill_keep(url_keep, escape_portable.url);
    fill_keep(form_keep, escape_portable.form);
}
#endif
