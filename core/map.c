// Linear probing at a load of at most one half; deletion shifts the run back,
// so there are no tombstones and lookups stay short.
#include "map.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/random.h>

static uint64_t seed;
static pthread_once_t seeded = PTHREAD_ONCE_INIT;

static void draw_seed(void) {
    if (getrandom(&seed, sizeof seed, 0) != (ssize_t)sizeof seed) seed = 0x9E3779B97F4A7C15u;
}

static uint64_t mix(uint64_t h) {
    h ^= h >> 32;
    h *= 0xD6E8FEB86659FD93u;
    h ^= h >> 32;
    h *= 0xD6E8FEB86659FD93u;
    return h ^ (h >> 32);
}

uint64_t map_hash(struct slice s) {
    pthread_once(&seeded, draw_seed);
    uint64_t h = seed ^ s.n;
    while (s.n >= 8) {
        uint64_t word;
        memcpy(&word, s.p, 8);
        h = mix(h ^ word);
        s = slice(s.p + 8, s.n - 8);
    }
    uint64_t tail = 0;
    if (s.n) memcpy(&tail, s.p, s.n);
    return mix(h ^ tail);
}

void map_init(struct map *map) {
    *map = (struct map){ 0 };
}

void map_deinit(struct map *map) {
    free(map->entries);
    map_init(map);
}

// The entry that holds `key`, or the free one where it would go.
static struct map_entry *seek(const struct map *map, struct slice key) {
    size_t mask = map->capacity - 1;
    size_t i = (size_t)map_hash(key) & mask;
    while (map->entries[i].key.p && !slice_eq(map->entries[i].key, key)) i = (i + 1) & mask;
    return &map->entries[i];
}

void *map_get(const struct map *map, struct slice key) {
    return map->count ? seek(map, key)->value : NULL;
}

static bool grow(struct map *map) {
    struct map bigger = { .capacity = map->capacity ? map->capacity * 2 : 16, .count = map->count };
    bigger.entries = calloc(bigger.capacity, sizeof *bigger.entries);
    if (!bigger.entries) return false;
    for (size_t i = 0; i < map->capacity; i++)
        if (map->entries[i].key.p) *seek(&bigger, map->entries[i].key) = map->entries[i];
    free(map->entries);
    *map = bigger;
    return true;
}

bool map_put(struct map *map, struct slice key, void *value) {
    if ((map->count + 1) * 2 > map->capacity && !grow(map)) return false;
    struct map_entry *entry = seek(map, key);
    if (!entry->key.p) {
        entry->key = key;
        map->count++;
    }
    entry->value = value;
    return true;
}

void *map_remove(struct map *map, struct slice key) {
    if (!map->count) return NULL;
    struct map_entry *hole = seek(map, key);
    if (!hole->key.p) return NULL;
    void *value = hole->value;
    size_t mask = map->capacity - 1;
    size_t gap = (size_t)(hole - map->entries);
    for (size_t i = (gap + 1) & mask; map->entries[i].key.p; i = (i + 1) & mask) {
        size_t home = (size_t)map_hash(map->entries[i].key) & mask;
        if (((i - home) & mask) < ((i - gap) & mask)) continue; // would move before its home
        map->entries[gap] = map->entries[i];
        gap = i;
    }
    map->entries[gap] = (struct map_entry){ 0 };
    map->count--;
    return value;
}

struct map_entry *map_next(const struct map *map, size_t *at) {
    while (*at < map->capacity) {
        struct map_entry *entry = &map->entries[(*at)++];
        if (entry->key.p) return entry;
    }
    return NULL;
}
