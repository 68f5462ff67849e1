// Bump allocation in blocks that double up to 64 KiB. No free of single
// objects: what lives in an arena has one lifetime.
#include "arena.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

enum { ALIGN = 16, BLOCK_MIN = 1024, BLOCK_MAX = 64 * 1024 };

struct arena_block {
    struct arena_block *older;
    size_t size, used;
    _Alignas(ALIGN) char bytes[];
};

void arena_init(struct arena *arena, size_t max) {
    *arena = (struct arena){ .max = max };
}

void arena_deinit(struct arena *arena) {
    for (struct arena_block *b = arena->head, *older; b; b = older) {
        older = b->older;
        free(b);
    }
    arena_init(arena, arena->max);
}

static struct arena_block *block_new(struct arena *arena, size_t need) {
    size_t size = arena->head ? arena->head->size * 2 : BLOCK_MIN;
    if (size > BLOCK_MAX) size = BLOCK_MAX;
    if (size < need) size = need;
    struct arena_block *block = malloc(sizeof *block + size);
    if (!block) return NULL;
    *block = (struct arena_block){ .older = arena->head, .size = size };
    arena->head = block;
    return block;
}

void *arena_alloc(struct arena *arena, size_t n) {
    if (n > SIZE_MAX - ALIGN) return NULL;
    n = (n + ALIGN - 1) & ~(size_t)(ALIGN - 1);
    if (n > arena->max - arena->used) return NULL;
    struct arena_block *block = arena->head;
    if (!block || block->size - block->used < n) block = block_new(arena, n);
    if (!block) {
        arena->no_memory = true;
        return NULL;
    }
    void *p = block->bytes + block->used;
    block->used += n;
    arena->used += n;
    return p;
}

void *arena_zalloc(struct arena *arena, size_t count, size_t size) {
    if (size && count > SIZE_MAX / size) return NULL;
    void *p = arena_alloc(arena, count * size);
    return p ? memset(p, 0, count * size) : NULL;
}

struct slice arena_dup(struct arena *arena, struct slice s) {
    char *p = s.n < SIZE_MAX ? arena_alloc(arena, s.n + 1) : NULL;
    if (!p) return slice(NULL, 0);
    if (s.n) memcpy(p, s.p, s.n);
    p[s.n] = '\0';
    return slice(p, s.n);
}

bool arena_is_full(const struct arena *arena, size_t n) {
    return n > SIZE_MAX - ALIGN || ((n + ALIGN) & ~(size_t)(ALIGN - 1)) > arena->max - arena->used;
}

struct slice arena_printf(struct arena *arena, const char *format, ...) {
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int n = vsnprintf(NULL, 0, format, args);
    va_end(args);
    char *p = n < 0 ? NULL : arena_alloc(arena, (size_t)n + 1);
    if (p) vsnprintf(p, (size_t)n + 1, format, again);
    va_end(again);
    return p ? slice(p, (size_t)n) : slice(NULL, 0);
}
