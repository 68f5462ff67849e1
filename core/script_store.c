// What scripts wrote to their stores a moment ago. It reaches the disk with the delivery
// that a call was made for, so a process that is started meanwhile gets the disk's keys
// and these on top. Deliveries end in another order than their scripts ran: each takes the
// newest value of its keys along, so that no older one is stored over it. Without a disk
// behind it (tests, dry runs) this is the store.
#include <stdlib.h>

#include "clock.h"
#include "script_inner.h"

enum { RECENT_MS = 20 * 1000 }; // far more than a settled write takes to reach the disk

struct script_write {
    struct list link; // queue->writes, oldest first
    struct script_kv kv;
    int64_t written_ms; // or settled
    unsigned unsettled; // calls that wrote the key and whose deliveries go on
    char bytes[];
};

static struct script_write *write_new(const struct script_kv *from, int64_t now_ms) {
    struct script_write *write = malloc(sizeof *write + from->key.n + from->value.n);
    if (!write) return NULL;
    char *value = write->bytes + from->key.n;
    if (from->key.n) memcpy(write->bytes, from->key.p, from->key.n);
    if (from->value.n) memcpy(value, from->value.p, from->value.n);
    write->kv = (struct script_kv){ .key = slice(write->bytes, from->key.n),
                                    .value = slice(value, from->value.n),
                                    .expires_ms = from->expires_ms };
    write->written_ms = now_ms;
    list_init(&write->link);
    return write;
}

static void forget(struct script_queue *queue, struct script_write *write) {
    if (!write) return;
    map_remove(&queue->writes_by_key, write->kv.key);
    list_remove(&write->link);
    free(write);
}

static struct script_write *oldest(const struct script_queue *queue) {
    return list_empty(&queue->writes) ? NULL
                                      : list_item(queue->writes.next, struct script_write, link);
}

static bool is_old(const struct script_write *write, int64_t now_ms) {
    return write && !write->unsettled && now_ms - write->written_ms > RECENT_MS;
}

void script_store_keep(struct script_queue *queue, const struct script_kv *changes,
                       bool disk_follows) {
    if (!changes) return;
    int64_t now_ms = clock_wall_ms();
    while (disk_follows && is_old(oldest(queue), now_ms)) forget(queue, oldest(queue));
    for (; changes; changes = changes->next) {
        struct script_write *before = map_get(&queue->writes_by_key, changes->key);
        unsigned unsettled = before ? before->unsettled : 0;
        forget(queue, before);
        if (!changes->value.n && !disk_follows) continue; // a removed key hides nothing
        struct script_write *write = write_new(changes, now_ms);
        if (!write) return;
        write->unsettled = unsettled + 1;
        list_push(&queue->writes, &write->link);
        if (!map_put(&queue->writes_by_key, write->kv.key, write)) forget(queue, write);
    }
}

// False when there is no memory for the newest value.
static bool settle(struct script_queue *queue, struct script_kv *change, struct arena *arena) {
    struct script_write *write = map_get(&queue->writes_by_key, change->key);
    if (!write) return true;
    write->unsettled -= write->unsettled > 0;
    write->written_ms = clock_wall_ms();
    list_remove(&write->link);
    list_push(&queue->writes, &write->link);
    change->value = write->kv.value.n ? arena_dup(arena, write->kv.value) : slice("", 0);
    change->expires_ms = write->kv.expires_ms;
    return change->value.p != NULL;
}

void script_settle(struct script_pool *pool, struct slice webhook, struct script_kv **changes,
                   struct arena *arena) {
    struct script_queue *queue = *changes ? map_get(&pool->queues, webhook) : NULL;
    for (struct script_kv **at = changes; queue && *at;) {
        if (settle(queue, *at, arena))
            at = &(*at)->next;
        else
            *at = (*at)->next;
    }
}

void script_store_each(const struct script_queue *queue,
                       void (*each)(void *to, const struct script_kv *kv), void *to) {
    for (const struct list *link = queue->writes.next; link != &queue->writes; link = link->next)
        each(to, &list_item(link, struct script_write, link)->kv);
}

void script_store_free(struct script_queue *queue) {
    while (oldest(queue)) forget(queue, oldest(queue));
    map_deinit(&queue->writes_by_key);
}
