// Memory that dies in one call. A job, an event, a compiled template each live
// in one arena; slices point into it. Born with a maximum.
#ifndef TUMA_ARENA_H
#define TUMA_ARENA_H

#include <stdbool.h>
#include <stddef.h>

#include "slice.h"

struct arena_block;

struct arena {
    struct arena_block *head; // newest block, the one allocations come from
    size_t used;              // bytes handed out, alignment included
    size_t max;               // the sum of allocations never exceeds this
    bool no_memory;           // malloc said no once since arena_init
};

// An empty arena that hands out at most `max` bytes; allocates nothing yet.
void arena_init(struct arena *arena, size_t max);
// Frees every block; the arena is empty and may be used again.
void arena_deinit(struct arena *arena);

// `n` bytes aligned to 16, uninitialised; NULL past the maximum or when malloc
// says no. The arena owns them.
void *arena_alloc(struct arena *arena, size_t n);
// The same, zeroed. `count * size` is checked for overflow.
void *arena_zalloc(struct arena *arena, size_t count, size_t size);
// A copy of `s` with a NUL behind it (not counted in n); p is NULL on failure.
struct slice arena_dup(struct arena *arena, struct slice s);
// True when `n` bytes more are past the maximum: what tells a limit from a lack of memory.
bool arena_is_full(const struct arena *arena, size_t n);
// Formatted text with a NUL behind it; p is NULL on failure.
struct slice arena_printf(struct arena *arena, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

#endif
