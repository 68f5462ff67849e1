// Hash map from byte strings to pointers: open addressing, seeded once a
// process so that chosen keys cannot line up. Keys are borrowed: they must
// outlive their entry.
#ifndef TUMA_MAP_H
#define TUMA_MAP_H

#include <stdbool.h>
#include <stdint.h>

#include "slice.h"

struct map_entry {
    struct slice key; // key.p is NULL in a free entry
    void *value;
};

struct map {
    struct map_entry *entries;
    size_t capacity, count; // capacity is 0 or a power of two
};

// 64-bit hash of `s`, mixed with this process's seed. Not for storage.
uint64_t map_hash(struct slice s);

void map_init(struct map *map);
// Frees the table; keys and values stay their owners'.
void map_deinit(struct map *map);
// The value under `key`, or NULL.
void *map_get(const struct map *map, struct slice key);
// Sets `key` (borrowed, not empty pointer) to `value` (not NULL); false when malloc says no.
bool map_put(struct map *map, struct slice key, void *value);
// Takes `key` out and returns its value, or NULL.
void *map_remove(struct map *map, struct slice key);

// Walks in no particular order: start with *at = 0; NULL at the end. The map
// must not change during the walk.
struct map_entry *map_next(const struct map *map, size_t *at);

#endif
