// UUIDv7 with the monotonic counter of RFC 9562 section 6.2, method 1: the 12
// bits behind the timestamp count within one millisecond.
#include "id.h"

#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

#include "clock.h"

static _Atomic uint64_t last_tick; // milliseconds << 12 | counter

void id_random(void *out, size_t n) {
    char *p = out;
    while (n) {
        ssize_t got = getrandom(p, n, 0);
        if (got <= 0) abort();
        p += got;
        n -= (size_t)got;
    }
}

static uint64_t next_tick(void) {
    uint64_t now = (uint64_t)clock_wall_ms() << 12;
    uint64_t last = atomic_load(&last_tick), next;
    do next = now > last ? now : last + 1;
    while (!atomic_compare_exchange_weak(&last_tick, &last, next));
    return next;
}

struct slice id_new(const char *prefix, char out[ID_TEXT]) {
    static const char digits[] = "0123456789abcdefghjkmnpqrstvwxyz";
    uint64_t tick = next_tick(), random;
    id_random(&random, sizeof random);
    uint64_t high = (tick >> 12 << 16) | 0x7000 | (tick & 0xFFF);
    uint64_t low = (random >> 2) | 0x8000000000000000u;
    int n = snprintf(out, ID_TEXT, "%.8s_", prefix);
    for (int i = 0; i < 26; i++) {
        int shift = 125 - 5 * i; // 26 digits hold 130 bits; the first carries 3
        uint64_t five = shift >= 64
                            ? high >> (shift - 64)
                            : (shift > 59 ? (high << (64 - shift)) | (low >> shift) : low >> shift);
        out[n++] = digits[five & 31];
    }
    out[n] = '\0';
    return slice(out, (size_t)n);
}
