// Order keys: who is at the head of which key. The record outlives its entry in
// memory, so that a retry that went back to disk still holds its key.
#include "dispatch_inner.h"

#include <assert.h>
#include <stdlib.h>

static struct slice key_bytes(const uint64_t *hash) {
    return slice((const char *)hash, sizeof *hash);
}

static uint64_t key_hash(const struct dispatch_queue *q, struct slice text) {
    return map_hash(text) ^ (uint64_t)q->hook * 0x9E3779B97F4A7C15u;
}

static struct dispatch_key *key_new(struct dispatch_queue *q, uint64_t hash, int64_t head) {
    struct dispatch_key *key = calloc(1, sizeof *key);
    if (!key) return NULL;
    key->hash = hash;
    key->queue = q;
    key->head = head;
    list_init(&key->held);
    list_push(&q->keys, &key->link);
    if (map_put(&q->dispatch->keys, key_bytes(&key->hash), key)) return key;
    list_remove(&key->link);
    free(key);
    return NULL;
}

static void key_free(struct dispatch_key *key) {
    assert(list_empty(&key->held));
    list_remove(&key->link);
    map_remove(&key->queue->dispatch->keys, key_bytes(&key->hash));
    free(key);
}

enum order_place order_admit(struct dispatch_queue *q, struct slice text, int64_t delivery,
                             struct dispatch_key **out) {
    *out = NULL;
    if (!text.n) return ORDER_READY;
    struct dispatch *d = q->dispatch;
    uint64_t hash = key_hash(q, text);
    struct dispatch_key *key = map_get(&d->keys, key_bytes(&hash));
    if (!key) {
        if (d->keys.count >= d->opts.keys_max || !(key = key_new(q, hash, delivery)))
            return ORDER_FULL;
        *out = key;
        return ORDER_READY;
    }
    *out = key;
    if (key->head == delivery && !key->in_flight) return ORDER_READY;
    if (!key->skipped && q->held_count < window_limit(q) / 2) return ORDER_HELD;
    key->skipped = true;
    return ORDER_SKIP;
}

void order_note(struct dispatch_queue *q, struct slice text, int64_t delivery) {
    uint64_t hash = key_hash(q, text);
    struct dispatch_key *key = map_get(&q->dispatch->keys, key_bytes(&hash));
    if (!key)
        key_new(q, hash, delivery);
    else if (!key->in_flight && delivery < key->head)
        key->head = delivery;
}

// Nearly always the newest; a released or fetched older one finds its place.
void order_hold(struct dispatch_key *key, struct dispatch_entry *entry, bool first) {
    struct list *after = &key->held;
    if (!first)
        while (after->prev != &key->held &&
               list_item(after->prev, struct dispatch_entry, link)->delivery > entry->delivery)
            after = after->prev;
    else
        after = key->held.next;
    list_push(after, &entry->link);
    entry->where = ENTRY_HELD;
    key->queue->held_count++;
}

void order_settle(struct dispatch_key *key, int64_t now_ns) {
    struct dispatch_queue *q = key->queue;
    key->in_flight = false;
    struct list *link = list_pop(&key->held);
    if (link) {
        struct dispatch_entry *next = list_item(link, struct dispatch_entry, link);
        q->held_count--;
        key->head = next->delivery;
        entry_place(next, next->due_ms, now_ns);
        return;
    }
    if (key->skipped) window_rewind(q);
    key_free(key);
}

void order_forget(struct dispatch_queue *q) {
    for (struct list *link = q->keys.next, *next; link != &q->keys; link = next) {
        struct dispatch_key *key = list_item(link, struct dispatch_key, link);
        next = link->next;
        key->skipped = false;
        while (!list_empty(&key->held))
            entry_free(list_item(key->held.next, struct dispatch_entry, link));
        if (!key->in_flight) key_free(key);
    }
}
