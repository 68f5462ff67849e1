// A webhook's stored keys, as its script process knows them: a copy of what the
// engine keeps on disk, so that `store.get` asks nobody. Values are JSON texts.
#ifndef TUMA_SANDBOX_KV_H
#define TUMA_SANDBOX_KV_H

#include <stdbool.h>
#include <stdint.h>

#include "model.h"
#include "slice.h"

enum { SANDBOX_KV_ENTRY_COST = 64 }; // bytes that a key counts for besides its text and value

struct sandbox_kv;

struct sandbox_kv *sandbox_kv_new(void);     // owned; NULL on no memory
void sandbox_kv_free(struct sandbox_kv *kv); // NULL is fine

// The live value under `key`, borrowed until the next change; p is NULL when there is none.
// `expires_ms` may be NULL; 0 means never.
struct slice sandbox_kv_get(const struct sandbox_kv *kv, struct slice key, int64_t now_ms,
                            int64_t *expires_ms);
// Sets a key, or removes it when the value is empty; copies. False on no memory.
bool sandbox_kv_put(struct sandbox_kv *kv, struct slice key, struct slice value,
                    int64_t expires_ms);
// Makes a call's changes (struct sandbox: changes) part of the copy.
bool sandbox_kv_apply(struct sandbox_kv *kv, const struct script_kv *changes);
// Drops what has expired.
void sandbox_kv_purge(struct sandbox_kv *kv, int64_t now_ms);
// What all keys count for against SANDBOX_KV_BYTES_MAX.
size_t sandbox_kv_bytes(const struct sandbox_kv *kv);
static inline size_t sandbox_kv_cost(struct slice key, struct slice value) {
    return key.n + value.n + SANDBOX_KV_ENTRY_COST;
}

#endif
