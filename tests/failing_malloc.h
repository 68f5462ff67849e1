// Lets the n-th allocation of a test program fail. Include it in one file only; the
// sanitizers bring allocators of their own, so nothing fails under them.
#ifndef TUMA_TESTS_FAILING_MALLOC_H
#define TUMA_TESTS_FAILING_MALLOC_H

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>

static long failing_at;              // allocations until one fails; 0: none does
static bool failing_on, failing_hit; // from then on; one did

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define FAILING_MALLOC 0
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define FAILING_MALLOC 0
#endif

#ifndef FAILING_MALLOC
extern void *__libc_malloc(size_t), *__libc_calloc(size_t, size_t), *__libc_realloc(void *, size_t);

static bool failing_strike(void) {
    if (!failing_at || (failing_at > 1 && failing_at--)) return false;
    failing_hit = true;
    if (!failing_on) failing_at = 0;
    errno = ENOMEM;
    return true;
}

void *malloc(size_t n) {
    return failing_strike() ? NULL : __libc_malloc(n);
}

void *calloc(size_t count, size_t n) {
    return failing_strike() ? NULL : __libc_calloc(count, n);
}

void *realloc(void *old, size_t n) {
    return n && failing_strike() ? NULL : __libc_realloc(old, n);
}
#endif

static inline void failing_start(long at, bool on) {
    failing_at = at;
    failing_on = on;
    failing_hit = false;
}

// True when an allocation failed since the start.
static inline bool failing_stop(void) {
    failing_at = 0;
    return failing_hit;
}

#endif
