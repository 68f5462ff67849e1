// The table of tag names: one writer, readers without a lock. A name is written
// to its place first and published after by the release store of its table
// slot; slots never move, so a reader sees a slot empty or complete. The table
// has a fixed size, since growing it would need a lock or a grace period.
#include "tag.h"

#include <assert.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "json.h"
#include "map.h"

enum { SLOTS = 2 * TAG_IDS_MAX };

// A slot is 0 (free) or a fingerprint of the hash over the id plus one.
static _Atomic uint32_t slots[SLOTS];
static struct slice names[TAG_IDS_MAX];
static _Atomic uint32_t names_count;

static uint64_t load8(const char *p) {
    uint64_t word;
    memcpy(&word, p, 8);
    return word;
}

static uint64_t load_tail(const char *p, size_t n) {
    uint64_t word = 0;
    for (size_t i = 0; i < n; i++) word = word << 8 | (unsigned char)p[i];
    return word;
}

static uint32_t hash_name(struct slice name) {
    uint64_t h = name.n * 0x9E3779B97F4A7C15u;
    if (name.n < 8) {
        h ^= load_tail(name.p, name.n);
    } else {
        for (size_t i = 0; i + 8 < name.n; i += 8)
            h = (h ^ load8(name.p + i)) * 0xD6E8FEB86659FD93u;
        h ^= load8(name.p + name.n - 8) ^ h >> 32;
    }
    h *= 0xD6E8FEB86659FD93u;
    return (uint32_t)(h >> 32);
}

static uint32_t slot_of(uint32_t hash, uint32_t id) {
    return (hash & 0xFFFF0000u) | (id + 1);
}

// The slot that holds `name`, or the free one where it would go.
static _Atomic uint32_t *seek(struct slice name, uint32_t hash) {
    for (uint32_t i = hash % SLOTS;; i = (i + 1) % SLOTS) {
        uint32_t slot = atomic_load_explicit(&slots[i], memory_order_acquire);
        if (!slot) return &slots[i];
        if ((slot ^ hash) >> 16 == 0 && slice_eq(names[(slot & 0xFFFF) - 1], name))
            return &slots[i];
    }
}

static uint16_t id_in(_Atomic uint32_t *slot) {
    uint32_t value = atomic_load_explicit(slot, memory_order_acquire);
    return value ? (uint16_t)((value & 0xFFFF) - 1) : TAG_NONE;
}

uint16_t tag_intern(struct slice name) {
    assert(tag_name_valid(name));
    uint32_t hash = hash_name(name);
    _Atomic uint32_t *slot = seek(name, hash);
    uint16_t id = id_in(slot);
    if (id != TAG_NONE) return id;
    uint32_t next = atomic_load_explicit(&names_count, memory_order_relaxed);
    char *copy = next < TAG_IDS_MAX ? malloc(name.n) : NULL;
    if (!copy) return TAG_NONE;
    memcpy(copy, name.p, name.n);
    names[next] = slice(copy, name.n);
    atomic_store_explicit(&names_count, next + 1, memory_order_release);
    atomic_store_explicit(slot, slot_of(hash, next), memory_order_release);
    return (uint16_t)next;
}

uint16_t tag_find(struct slice name) {
    return id_in(seek(name, hash_name(name)));
}

struct slice tag_name(uint16_t id) {
    assert(id < tag_count());
    return names[id];
}

uint16_t tag_count(void) {
    return (uint16_t)atomic_load_explicit(&names_count, memory_order_acquire);
}

static bool name_byte(char c) {
    return (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

bool tag_name_valid(struct slice name) {
    if (!name.n || name.n > TAG_NAME_MAX || name.p[0] < 'A' || name.p[0] > 'Z') return false;
    for (size_t i = 1; i < name.n; i++)
        if (!name_byte(name.p[i])) return false;
    return true;
}

bool tag_name_from_key(struct slice key, char out[TAG_NAME_MAX], size_t *n) {
    if (key.n > TAG_NAME_MAX) return false;
    for (size_t i = 0; i < key.n; i++) {
        char c = key.p[i];
        out[i] = c >= 'a' && c <= 'z' ? (char)(c - 'a' + 'A') : c;
    }
    *n = key.n;
    return tag_name_valid(slice(out, key.n));
}

bool tag_set_init(struct tag_set *set, struct arena *arena) {
    uint16_t count = tag_count();
    *set = (struct tag_set){ .arena = arena, .count = count };
    if (!count) return true;
    set->values = arena_zalloc(arena, count, sizeof *set->values);
    return set->values != NULL;
}

void tag_set_clear(struct tag_set *set) {
    if (set->count) memset(set->values, 0, set->count * sizeof *set->values);
    set->extras = NULL;
    set->slots = NULL;
    set->extras_count = 0;
}

// From FEW on, extras are found by hash: an event may bring a thousand names.
enum { FEW = 16, SLOTS_OF_EXTRAS = 256 };

static struct tag_extra **slot_of_extra(const struct tag_set *set, struct slice name) {
    return &set->slots[map_hash(name) % SLOTS_OF_EXTRAS];
}

// The extra named `name`, or NULL.
static struct tag_extra *find_extra(const struct tag_set *set, struct slice name) {
    struct tag_extra *e = set->slots ? *slot_of_extra(set, name) : set->extras;
    while (e && !slice_eq(e->name, name)) e = set->slots ? e->next_in_slot : e->next;
    return e;
}

static void put_in_slot(struct tag_set *set, struct tag_extra *extra) {
    struct tag_extra **slot = slot_of_extra(set, extra->name);
    extra->next_in_slot = *slot;
    *slot = extra;
}

static struct tag_extra *add_extra(struct tag_set *set, struct slice name) {
    if (set->extras_count == FEW) {
        set->slots = arena_zalloc(set->arena, SLOTS_OF_EXTRAS, sizeof *set->slots);
        if (!set->slots) return NULL;
        for (struct tag_extra *e = set->extras; e; e = e->next) put_in_slot(set, e);
    }
    struct tag_extra *extra = arena_alloc(set->arena, sizeof *extra);
    if (!extra) return NULL;
    *extra = (struct tag_extra){ .name = name, .next = set->extras };
    set->extras = extra;
    set->extras_count++;
    if (set->slots) put_in_slot(set, extra);
    return extra;
}

bool tag_set_put(struct tag_set *set, struct slice name, struct tag_value value) {
    uint16_t id = tag_find(name);
    if (id < set->count) {
        set->values[id] = value;
        return true;
    }
    struct tag_extra *extra = find_extra(set, name);
    if (!extra) extra = add_extra(set, name);
    if (extra) extra->value = value;
    return extra != NULL;
}

struct tag_value tag_set_get(const struct tag_set *set, uint16_t id) {
    if (id < set->count) return set->values[id];
    struct tag_extra *extra = id != TAG_NONE && set->extras ? find_extra(set, tag_name(id)) : NULL;
    return extra ? extra->value : (struct tag_value){ .kind = TAG_ABSENT };
}

struct tag_value tag_set_get_name(const struct tag_set *set, struct slice name) {
    uint16_t id = tag_find(name);
    if (id < set->count) return set->values[id];
    struct tag_extra *extra = find_extra(set, name);
    return extra ? extra->value : (struct tag_value){ .kind = TAG_ABSENT };
}

bool tag_set_copy(struct tag_set *set, const struct tag_set *from, struct arena *arena) {
    if (!tag_set_init(set, arena)) return false;
    if (from->count) memcpy(set->values, from->values, from->count * sizeof *from->values);
    for (const struct tag_extra *e = from->extras; e; e = e->next)
        if (!tag_set_put(set, e->name, e->value)) return false;
    return true;
}

void tag_set_each(const struct tag_set *set,
                  bool (*one)(void *user, struct slice name, struct tag_value value), void *user) {
    for (uint16_t id = 0; id < set->count; id++)
        if (set->values[id].kind != TAG_ABSENT && !one(user, names[id], set->values[id])) return;
    for (const struct tag_extra *e = set->extras; e; e = e->next)
        if (e->value.kind != TAG_ABSENT && !one(user, e->name, e->value)) return;
}

struct tag_value tag_text(struct slice text) {
    assert(text.n <= UINT32_MAX);
    return (struct tag_value){ .p = text.p, .n = (uint32_t)text.n, .kind = TAG_STRING };
}

struct slice tag_value_text(struct tag_value value, struct arena *arena) {
    if (value.kind == TAG_ABSENT || value.kind == TAG_NULL) return S("");
    struct slice raw = slice(value.p ? value.p : "", value.n);
    if (!(value.flags & TAG_ESCAPED)) return raw;
    char *out = arena_alloc(arena, raw.n + 1);
    return out ? slice(out, json_unescape(raw, out)) : slice(NULL, 0);
}
