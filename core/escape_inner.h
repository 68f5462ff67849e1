// What the escapers' files and the template renderer's inner loop share: the
// escape of one byte, and the vector steps (for functions marked ESCAPE_AVX2).
#ifndef TUMA_ESCAPE_INNER_H
#define TUMA_ESCAPE_INNER_H

// Writes a control byte, quote or backslash as its JSON escape; returns the end.
char *escape_json_byte(char *to, unsigned char c);
// Fills the AVX2 escapers' tables, after the portable ones are ready.
void escape_avx2_prepare(void);

#if defined(__x86_64__)
#include <immintrin.h>
#include <stdint.h>
#include <string.h>

#define ESCAPE_AVX2 __attribute__((target("avx2,bmi,bmi2,popcnt,lzcnt")))
#define ESCAPE_AVX2_INLINE static inline __attribute__((always_inline)) ESCAPE_AVX2

// Sanitizers rightly object to reading past a value, even within its page.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define ESCAPE_READS_EXACT 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) ||                         \
    __has_feature(memory_sanitizer)
#define ESCAPE_READS_EXACT 1
#endif
#endif
#ifndef ESCAPE_READS_EXACT
#define ESCAPE_READS_EXACT 0
#endif

// True when `bytes` (at most 256) from p on lie in p's page, so that reading
// past the end of a value that starts at p cannot fault.
ESCAPE_AVX2_INLINE int escape_same_page(const char *p, unsigned bytes) {
    return !ESCAPE_READS_EXACT && ((uintptr_t)p & 4095) <= 4096 - bytes;
}

// The first n (at most 32) bytes at p; what follows them in the vector is anything.
ESCAPE_AVX2_INLINE __m256i escape_load_upto32(const char *p, size_t n) {
    if (n >= 32 || escape_same_page(p, 32)) return _mm256_loadu_si256((const __m256i *)p);
    char copy[32];
    memset(copy, 0, sizeof copy);
    memcpy(copy, p, n);
    return _mm256_loadu_si256((const __m256i *)copy);
}

// One bit a byte: control bytes, quote and backslash.
ESCAPE_AVX2_INLINE uint32_t escape_json_mask(__m256i v) {
    __m256i control = _mm256_cmpeq_epi8(_mm256_min_epu8(v, _mm256_set1_epi8(0x1F)), v);
    __m256i quote = _mm256_cmpeq_epi8(v, _mm256_set1_epi8('"'));
    __m256i slash = _mm256_cmpeq_epi8(v, _mm256_set1_epi8('\\'));
    return (uint32_t)_mm256_movemask_epi8(_mm256_or_si256(control, _mm256_or_si256(quote, slash)));
}

// What the plain loop compares with, in memory: the compiler would rather make
// known constants anew for every value.
struct escape_marks {
    __m256i space, quote, slash;
};
extern const struct escape_marks escape_marks;

// One bit a byte: not ASCII, or in escape_json_mask. The signed comparison
// takes bytes from 0x80 on and control bytes in one step.
ESCAPE_AVX2_INLINE uint32_t escape_json_mask_ascii(__m256i v, struct escape_marks m) {
    __m256i low = _mm256_cmpgt_epi8(m.space, v);
    __m256i either = _mm256_or_si256(_mm256_cmpeq_epi8(v, m.quote), _mm256_cmpeq_epi8(v, m.slash));
    return (uint32_t)_mm256_movemask_epi8(_mm256_or_si256(low, either));
}

// One bit a byte: control bytes other than TAB.
ESCAPE_AVX2_INLINE uint32_t escape_header_mask(__m256i v) {
    __m256i low = _mm256_cmpeq_epi8(_mm256_min_epu8(v, _mm256_set1_epi8(0x1F)), v);
    __m256i tab = _mm256_cmpeq_epi8(v, _mm256_set1_epi8('\t'));
    __m256i del = _mm256_cmpeq_epi8(v, _mm256_set1_epi8(0x7F));
    return (uint32_t)_mm256_movemask_epi8(_mm256_or_si256(_mm256_andnot_si256(tab, low), del));
}
#endif

#endif
