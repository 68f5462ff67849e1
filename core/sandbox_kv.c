// A hash map of entries, each one block: head, key, value. Expired entries stay
// until someone needs their room; reads do not see them.
#include "sandbox_kv.h"

#include <assert.h>
#include <stdlib.h>

#include "map.h"

struct entry {
    struct slice key, value;
    int64_t expires_ms;
    char bytes[];
};

struct sandbox_kv {
    struct map entries;
    size_t bytes;
};

struct sandbox_kv *sandbox_kv_new(void) {
    struct sandbox_kv *kv = malloc(sizeof *kv);
    if (!kv) return NULL;
    map_init(&kv->entries);
    kv->bytes = 0;
    return kv;
}

void sandbox_kv_free(struct sandbox_kv *kv) {
    if (!kv) return;
    size_t at = 0;
    for (struct map_entry *e; (e = map_next(&kv->entries, &at));) free(e->value);
    map_deinit(&kv->entries);
    free(kv);
}

struct slice sandbox_kv_get(const struct sandbox_kv *kv, struct slice key, int64_t now_ms,
                            int64_t *expires_ms) {
    struct entry *entry = map_get(&kv->entries, key);
    if (!entry || (entry->expires_ms && entry->expires_ms <= now_ms)) return slice(NULL, 0);
    if (expires_ms) *expires_ms = entry->expires_ms;
    return entry->value;
}

static void remove_entry(struct sandbox_kv *kv, struct slice key) {
    struct entry *entry = map_remove(&kv->entries, key);
    if (!entry) return;
    kv->bytes -= sandbox_kv_cost(entry->key, entry->value);
    free(entry);
}

bool sandbox_kv_put(struct sandbox_kv *kv, struct slice key, struct slice value,
                    int64_t expires_ms) {
    assert(key.n);
    if (!value.n) {
        remove_entry(kv, key);
        return true;
    }
    struct entry *entry = malloc(sizeof *entry + key.n + value.n);
    if (!entry) return false;
    memcpy(entry->bytes, key.p, key.n);
    memcpy(entry->bytes + key.n, value.p, value.n);
    entry->key = slice(entry->bytes, key.n);
    entry->value = slice(entry->bytes + key.n, value.n);
    entry->expires_ms = expires_ms;
    remove_entry(kv, key);
    if (!map_put(&kv->entries, entry->key, entry)) {
        free(entry);
        return false;
    }
    kv->bytes += sandbox_kv_cost(key, value);
    return true;
}

bool sandbox_kv_apply(struct sandbox_kv *kv, const struct script_kv *changes) {
    bool ok = true;
    for (; changes; changes = changes->next)
        ok &= sandbox_kv_put(kv, changes->key, changes->value, changes->expires_ms);
    return ok;
}

// One at a time: the map must not change during a walk.
static struct entry *find_expired(const struct sandbox_kv *kv, size_t *at, int64_t now_ms) {
    for (struct map_entry *e; (e = map_next(&kv->entries, at));) {
        struct entry *entry = e->value;
        if (entry->expires_ms && entry->expires_ms <= now_ms) return entry;
    }
    return NULL;
}

void sandbox_kv_purge(struct sandbox_kv *kv, int64_t now_ms) {
    bool again;
    do { // removal moves entries about: a walk may miss some, so until one finds none
        again = false;
        size_t at = 0;
        for (struct entry *entry; (entry = find_expired(kv, &at, now_ms)); again = true)
            remove_entry(kv, entry->key);
    } while (again);
}

size_t sandbox_kv_bytes(const struct sandbox_kv *kv) {
    return kv->bytes;
}
