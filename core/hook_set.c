// The set of active webhooks, indexed by organization and event type so that
// an event's cost grows with its matches and not with the number of webhooks.
// A pattern ("call.*") is found under "*".
#include <stdlib.h>

#include "hook.h"
#include "map.h"

enum { KEY_MAX = 2 * EVENT_ID_MAX + 2 };

// The webhooks under one key, in set order; `next` links are by array growth.
struct bucket {
    struct hook **hooks;
    size_t count, capacity;
    size_t key_n;
    char key[KEY_MAX];
};

static struct slice index_key(struct slice org, struct slice type, char out[KEY_MAX]) {
    if (org.n > EVENT_ID_MAX) org.n = EVENT_ID_MAX;
    if (type.n > EVENT_TYPE_MAX) type.n = EVENT_TYPE_MAX;
    if (org.n) memcpy(out, org.p, org.n);
    out[org.n] = '\n';
    memcpy(out + org.n + 1, type.p, type.n);
    return slice(out, org.n + 1 + type.n);
}

static bool index_add(struct map *index, struct slice type, struct hook *hook) {
    char text[KEY_MAX];
    struct slice key = index_key(hook->org, type, text);
    struct bucket *bucket = map_get(index, key);
    if (!bucket) {
        bucket = calloc(1, sizeof *bucket);
        if (!bucket) return false;
        memcpy(bucket->key, key.p, key.n);
        bucket->key_n = key.n;
        if (!map_put(index, slice(bucket->key, bucket->key_n), bucket)) {
            free(bucket);
            return false;
        }
    }
    if (bucket->count && bucket->hooks[bucket->count - 1] == hook) return true;
    if (bucket->count == bucket->capacity) {
        size_t capacity = bucket->capacity ? bucket->capacity * 2 : 4;
        struct hook **hooks = realloc(bucket->hooks, capacity * sizeof(struct hook *));
        if (!hooks) return false;
        bucket->hooks = hooks;
        bucket->capacity = capacity;
    }
    bucket->hooks[bucket->count++] = hook;
    return true;
}

static bool index_hook(struct map *index, struct hook *hook) {
    for (size_t i = 0; i < hook->on_count; i++) {
        bool pattern = slice_ends(hook->on[i], S("*"));
        if (!index_add(index, pattern ? S("*") : hook->on[i], hook)) return false;
    }
    return true;
}

static int by_name(const void *a, const void *b) {
    const struct hook *x = *(struct hook *const *)a, *y = *(struct hook *const *)b;
    size_t n = x->name.n < y->name.n ? x->name.n : y->name.n;
    int order = memcmp(x->name.p, y->name.p, n);
    return order ? order : (x->name.n > y->name.n) - (x->name.n < y->name.n);
}

struct hook_set *hook_set_new(struct hook *const *hooks, size_t count) {
    struct hook_set *set = calloc(1, sizeof *set + count * sizeof set->hooks[0]);
    struct map *index = calloc(1, sizeof *index);
    if (!set || !index) {
        free(set);
        free(index);
        return NULL;
    }
    atomic_init(&set->refs, 1);
    set->index = index;
    for (size_t i = 0; i < count; i++) set->hooks[set->count++] = hook_ref(hooks[i]);
    if (count) qsort(set->hooks, count, sizeof set->hooks[0], by_name);
    for (size_t i = 0; i < count; i++) {
        if (index_hook(index, set->hooks[i])) continue;
        hook_set_unref(set);
        return NULL;
    }
    return set;
}

struct hook_set *hook_set_ref(struct hook_set *set) {
    atomic_fetch_add_explicit(&set->refs, 1, memory_order_relaxed);
    return set;
}

void hook_set_unref(struct hook_set *set) {
    if (!set || atomic_fetch_sub_explicit(&set->refs, 1, memory_order_acq_rel) != 1) return;
    struct map *index = set->index;
    struct map_entry *entry;
    for (size_t at = 0; (entry = map_next(index, &at));) {
        struct bucket *bucket = entry->value;
        free(bucket->hooks);
        free(bucket);
    }
    map_deinit(index);
    free(index);
    for (size_t i = 0; i < set->count; i++) hook_unref(set->hooks[i]);
    free(set);
}

struct hook *hook_set_find(const struct hook_set *set, struct slice name) {
    size_t low = 0, high = set->count;
    struct hook probe = { .name = name }, *key = &probe;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = by_name(&set->hooks[middle], &key);
        if (order == 0) return set->hooks[middle];
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}

void hook_set_match(const struct hook_set *set, const struct event *event,
                    void (*one)(void *user, struct hook *hook), void *user) {
    const struct slice orgs[] = { slice("", 0), event->org };
    const struct slice types[] = { event->type, S("*") };
    char text[KEY_MAX];
    for (size_t o = 0; o < (event->org.n ? 2u : 1u); o++) {
        const struct bucket *exact = map_get(set->index, index_key(orgs[o], types[0], text));
        for (size_t i = 0; exact && i < exact->count; i++)
            if (hook_wants(exact->hooks[i], event)) one(user, exact->hooks[i]);
        const struct bucket *any = map_get(set->index, index_key(orgs[o], types[1], text));
        for (size_t i = 0; any && i < any->count; i++) {
            struct hook *hook = any->hooks[i];
            bool exact_too = false; // it was called back above
            for (size_t k = 0; k < hook->on_count; k++)
                exact_too = exact_too || slice_eq(hook->on[k], event->type);
            if (!exact_too && hook_wants(hook, event)) one(user, hook);
        }
    }
}
