// The window: which deliveries of a queue are in memory, and what is known of
// those on disk. Everything behind the cursor (due_ms, delivery) is unread; rows
// before it are in memory, settled, or skipped because their order key was
// blocked. A row that leaves memory moves the cursor back before it.
#include "dispatch_inner.h"

#include <assert.h>
#include <stdlib.h>

size_t window_limit(const struct dispatch_queue *q) {
    const struct dispatch_opts *opts = &q->dispatch->opts;
    size_t used = q->dispatch->entries.count;
    size_t share = used < opts->window_total ? (opts->window_total - used) / SHARE_OF_FREE : 0;
    if (share > opts->window) share = opts->window;
    return share > WINDOW_MIN ? share : WINDOW_MIN;
}

// --- Entries ---

static struct slice entry_key(const struct dispatch_entry *entry) {
    return bytes_of(&entry->delivery, sizeof entry->delivery);
}

struct dispatch_entry *entry_new(struct dispatch_queue *q, const struct dispatch_item *item) {
    struct map *entries = &q->dispatch->entries;
    struct slice at = bytes_of(&item->delivery, sizeof item->delivery);
    if (map_get(entries, at)) return NULL;
    struct dispatch_entry *entry = calloc(1, sizeof *entry);
    if (!entry) return NULL;
    *entry = (struct dispatch_entry){
        .queue = q,
        .delivery = item->delivery,
        .due_ms = item->due_ms,
        .attempts = item->attempts,
        .replay = item->replay,
        .payload = item->payload,
        .created_ms = item->created_ms,
        .where = ENTRY_IN_FLIGHT,
    };
    list_init(&entry->link);
    if (!map_put(entries, entry_key(entry), entry)) {
        free(entry);
        return NULL;
    }
    q->count++;
    return entry;
}

// Out of the list it is in, with the counts.
static void entry_unlink(struct dispatch_entry *entry) {
    struct dispatch_queue *q = entry->queue;
    list_remove(&entry->link);
    if (entry->where == ENTRY_READY) q->late_ready -= entry->late;
    if (entry->where == ENTRY_HELD) q->held_count--;
    if (entry->where == ENTRY_WAITING) {
        heap_remove(&q->waiting, &entry->timer);
        q->waiting_count--;
    }
    entry->where = ENTRY_IN_FLIGHT;
}

struct dispatch_entry *entry_take(struct list *ready) {
    assert(!list_empty(ready));
    struct dispatch_entry *entry = list_item(ready->next, struct dispatch_entry, link);
    entry_unlink(entry);
    return entry;
}

void entry_free(struct dispatch_entry *entry) {
    struct dispatch_queue *q = entry->queue;
    const struct dispatch_opts *opts = &q->dispatch->opts;
    entry_unlink(entry);
    map_remove(&q->dispatch->entries, entry_key(entry));
    q->count--;
    if (entry->payload && opts->forget) opts->forget(opts->user, entry->payload);
    free(entry);
}

// Accepted before its endpoint came back: part of the backlog.
static bool is_backlog(const struct dispatch_entry *entry) {
    int64_t since_ns = entry->queue->recovery_ns;
    return since_ns && ms_to_ns(entry->created_ms) < since_ns;
}

void entry_make_ready(struct dispatch_entry *entry) {
    struct dispatch_queue *q = entry->queue;
    entry->late = entry->attempts > 0 || entry->replay || is_backlog(entry);
    entry->where = ENTRY_READY;
    q->late_ready += entry->late;
    list_push(entry->late ? &q->late : &q->fresh, &entry->link);
}

void entry_place(struct dispatch_entry *entry, int64_t due_ms, int64_t now_ns) {
    struct dispatch_queue *q = entry->queue;
    if (ms_to_ns(due_ms) <= now_ns) {
        entry_make_ready(entry);
        return;
    }
    entry->where = ENTRY_WAITING;
    heap_add(&q->waiting, &entry->timer, ms_to_ns(due_ms), entry->delivery);
    q->waiting_count++;
}

void entry_evict(struct dispatch_entry *entry) {
    struct dispatch_queue *q = entry->queue;
    if (entry->replay) q->more_replays = true;
    window_note(q, entry->due_ms, entry->delivery);
    entry_free(entry);
}

// --- Memory ---

// What is due becomes ready; once the endpoint came back, what was accepted
// before that is backlog.
void window_move_due(struct dispatch_queue *q, int64_t now_ns) {
    for (struct heap_node *top; (top = heap_top(&q->waiting)) && top->key <= now_ns;) {
        struct dispatch_entry *entry = heap_item(top, struct dispatch_entry, timer);
        entry_unlink(entry);
        entry_make_ready(entry);
    }
    while (!list_empty(&q->fresh) &&
           is_backlog(list_item(q->fresh.next, struct dispatch_entry, link)))
        entry_make_ready(entry_take(&q->fresh));
}

static void shrink_list(struct list *ready) {
    size_t count = 0;
    for (struct list *link = ready->next, *next; link != ready; link = next) {
        next = link->next;
        if (++count > OPEN_KEEPS) entry_evict(list_item(link, struct dispatch_entry, link));
    }
}

void window_shrink(struct dispatch_queue *q) {
    shrink_list(&q->fresh);
    shrink_list(&q->late);
}

void window_clear(struct dispatch_queue *q) {
    struct list *lists[] = { &q->fresh, &q->late };
    for (int i = 0; i < 2; i++)
        while (!list_empty(lists[i]))
            entry_free(list_item(lists[i]->next, struct dispatch_entry, link));
    for (struct heap_node *top; (top = heap_top(&q->waiting));)
        entry_free(heap_item(top, struct dispatch_entry, timer));
    order_forget(q);
}

// --- Disk ---

static bool cursor_before(int64_t due_a, int64_t delivery_a, int64_t due_b, int64_t delivery_b) {
    return due_a != due_b ? due_a < due_b : delivery_a < delivery_b;
}

void window_note(struct dispatch_queue *q, int64_t due_ms, int64_t delivery) {
    if (!q->more || cursor_before(due_ms, delivery - 1, q->cursor_due_ms, q->cursor_delivery)) {
        q->cursor_due_ms = due_ms;
        q->cursor_delivery = delivery - 1;
    }
    if (!q->more || due_ms < q->disk_due_ms) q->disk_due_ms = due_ms;
    q->more = true;
}

void window_note_skipped(struct dispatch_queue *q, int64_t due_ms, int64_t delivery) {
    if (!q->skipped || cursor_before(due_ms, delivery, q->skip_due_ms, q->skip_delivery)) {
        q->skip_due_ms = due_ms;
        q->skip_delivery = delivery;
    }
    q->skipped = true;
}

void window_rewind(struct dispatch_queue *q) {
    if (!q->skipped) return;
    q->skipped = false;
    window_note(q, q->skip_due_ms, q->skip_delivery);
}

bool window_disk_due(const struct dispatch_queue *q, int64_t now_ns) {
    return q->more && q->disk_due_ms <= now_ns / NS_PER_MS + LOAD_AHEAD_MS;
}

// Live traffic may pass a backlog that is paced; half the window is kept for it.
static bool backlog_is_paced(const struct dispatch_queue *q) {
    return q->recovery_ns || q->more_replays;
}

// Room for rows in parts of the window's half: a paced backlog has a half of
// its own, so that live traffic cannot keep it out for ever.
static bool load_room(const struct dispatch_queue *q, size_t part) {
    size_t limit = window_limit(q);
    if (!backlog_is_paced(q)) return window_live(q) < limit / part;
    return q->late_ready < limit / 2 / part && window_live(q) < limit + limit / 2 / part;
}

bool window_wants(const struct dispatch_queue *q, int64_t now_ns) {
    if (q->held || !q->more || now_ns < q->fetch_after_ns) return false;
    if (q->scanning) return true;
    return window_disk_due(q, now_ns) && load_room(q, 2);
}

// Reads no further on this page: the next row is due at `due_ms` and not wanted yet.
static void stop(struct dispatch_queue *q, int64_t due_ms) {
    q->stopped = true;
    q->disk_due_ms = due_ms;
}

static void pass(struct dispatch_queue *q, const struct dispatch_item *row) {
    q->cursor_due_ms = row->due_ms;
    q->cursor_delivery = row->delivery;
}

// There is no memory for it; that may be over in a moment.
static void stop_for_a_while(struct dispatch_queue *q, int64_t due_ms, int64_t now_ns) {
    stop(q, due_ms);
    q->fetch_after_ns = now_ns + ms_to_ns(LOAD_AHEAD_MS);
}

static void load(struct dispatch_queue *q, const struct dispatch_item *row, int64_t now_ns) {
    struct dispatch_key *key;
    enum order_place place = order_admit(q, row->order_key, row->delivery, &key);
    if (place == ORDER_FULL) {
        stop_for_a_while(q, row->due_ms, now_ns);
        return;
    }
    if (place == ORDER_SKIP) {
        window_note_skipped(q, row->due_ms, row->delivery);
        pass(q, row);
        return;
    }
    struct dispatch_entry *entry = entry_new(q, row);
    if (!entry) { // the key's record stays and names it head
        stop_for_a_while(q, row->due_ms, now_ns);
        return;
    }
    pass(q, row);
    entry->key = key;
    if (place == ORDER_HELD)
        order_hold(key, entry, false);
    else
        entry_place(entry, row->due_ms, now_ns);
}

void dispatch_fetched(struct dispatch_queue *q, const struct dispatch_item *row, int64_t now_ns) {
    if (q->scanning) {
        if (row->attempts && row->order_key.n) order_note(q, row->order_key, row->delivery);
        pass(q, row);
        return;
    }
    if (q->stopped) return;
    if (row->due_ms > now_ns / NS_PER_MS + LOAD_AHEAD_MS || !load_room(q, 1))
        stop(q, row->due_ms);
    else if (map_get(&q->dispatch->entries, bytes_of(&row->delivery, sizeof row->delivery)))
        pass(q, row);
    else
        load(q, row, now_ns);
}

void dispatch_fetch_done(struct dispatch_queue *q, size_t rows, size_t limit, int64_t now_ns) {
    bool end = rows < limit;
    if (q->scanning) {
        if (end) {
            q->scanning = false;
            q->cursor_due_ms = q->cursor_delivery = q->disk_due_ms = INT64_MIN;
        }
    } else if (!q->stopped) {
        q->disk_due_ms = q->cursor_due_ms;
        if (end) q->more = q->more_replays = false;
    }
    q->stopped = false;
    queue_update(q, now_ns);
}

void dispatch_fetch_failed(struct dispatch_queue *q, int64_t now_ns) {
    q->fetch_after_ns = now_ns + ms_to_ns(LOAD_AHEAD_MS);
    dispatch_fetch_done(q, 1, 1, now_ns); // what was fed counts, and there is more
}

static bool fits(const struct dispatch_queue *q, const struct dispatch_item *item, int64_t now_ns) {
    if (q->held || q->scanning || window_live(q) >= window_limit(q)) return false;
    if (!window_disk_due(q, now_ns)) return true;
    return !item->order_key.n && backlog_is_paced(q);
}

static bool add(struct dispatch_queue *q, const struct dispatch_item *item, int64_t now_ns) {
    if (!fits(q, item, now_ns)) {
        window_note(q, item->due_ms, item->delivery);
        return false;
    }
    struct dispatch_key *key;
    enum order_place place = order_admit(q, item->order_key, item->delivery, &key);
    if (place == ORDER_SKIP) {
        window_note_skipped(q, item->due_ms, item->delivery);
        return false;
    }
    struct dispatch_entry *entry = place == ORDER_FULL ? NULL : entry_new(q, item);
    if (!entry) {
        window_note(q, item->due_ms, item->delivery);
        return false;
    }
    entry->key = key;
    if (place == ORDER_HELD)
        order_hold(key, entry, false);
    else
        entry_place(entry, item->due_ms, now_ns);
    return true;
}

bool dispatch_add(struct dispatch_queue *q, const struct dispatch_item *item, int64_t now_ns) {
    pace_arrival(q, now_ns);
    bool kept = add(q, item, now_ns);
    queue_update(q, now_ns);
    return kept;
}

bool dispatch_add_behind(struct dispatch_entry *of, const struct dispatch_item *item,
                         int64_t now_ns) {
    struct dispatch_queue *q = of->queue;
    assert(of->where == ENTRY_IN_FLIGHT);
    struct dispatch_entry *entry = q->held ? NULL : entry_new(q, item);
    pace_arrival(q, now_ns);
    if (!entry && of->key) {
        of->key->skipped = true;
        window_note_skipped(q, item->due_ms, item->delivery);
    } else if (!entry) {
        window_note(q, item->due_ms, item->delivery);
    } else if (of->key) {
        entry->key = of->key;
        order_hold(of->key, entry, true);
    } else {
        entry_place(entry, item->due_ms, now_ns);
    }
    queue_update(q, now_ns);
    return entry;
}
