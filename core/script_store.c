// What scripts wrote to their stores a moment ago. The disk lags behind the answers by
// a batch, so a process that is started in between gets the disk's keys and these on
// top. Without a disk behind it (tests, dry runs) this is the store.
#include <stdlib.h>

#include "clock.h"
#include "script_inner.h"

enum { RECENT_MS = 20 * 1000 }; // far more than any batch takes to reach the disk

struct script_write {
    struct list link; // queue->writes, oldest first
    struct script_kv kv;
    int64_t written_ms;
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

void script_store_keep(struct script_queue *queue, const struct script_kv *changes,
                       bool disk_follows) {
    if (!changes) return;
    int64_t now_ms = clock_wall_ms();
    while (disk_follows && oldest(queue) && now_ms - oldest(queue)->written_ms > RECENT_MS)
        forget(queue, oldest(queue));
    for (; changes; changes = changes->next) {
        forget(queue, map_get(&queue->writes_by_key, changes->key));
        if (!changes->value.n && !disk_follows) continue; // a removed key hides nothing
        struct script_write *write = write_new(changes, now_ms);
        if (!write) return;
        list_push(&queue->writes, &write->link);
        if (!map_put(&queue->writes_by_key, write->kv.key, write)) forget(queue, write);
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
