// The hot path: an event's tags object, from its text straight into the table,
// once over the bytes. The text is looked at in blocks of 64 bytes that each
// become a bit mask of where plain string content ends, so finding the end of a
// string is a shift and a count. Keys that were met before resolve through a
// small table by their raw bytes, without being upper-cased or hashed again.
// What is not a plain string (escapes, UTF-8, numbers, nested values) goes
// through the strict reader's own steps.
#include "event_inner.h"
#include "json.h"

// Goes from one special byte (json_is_special) to the next. `mask` has a bit for
// each special byte of the block that was not passed yet. There always is a
// next one: the padding.
struct window {
    const char *start, *block;
    uint64_t mask;
};

static inline uint64_t block_mask(const char *p) {
    uint64_t mask = 0;
#ifdef __SSE2__
    const __m128i quote = _mm_set1_epi8('"'), slash = _mm_set1_epi8('\\');
    const __m128i space = _mm_set1_epi8(0x20);
#pragma GCC unroll 4
    for (unsigned i = 0; i < 64; i += 16) {
        __m128i v = _mm_loadu_si128((const __m128i *)(const void *)(p + i));
        __m128i hit = _mm_or_si128(_mm_cmplt_epi8(v, space), _mm_cmpeq_epi8(v, quote));
        hit = _mm_or_si128(hit, _mm_cmpeq_epi8(v, slash));
        mask |= (uint64_t)(unsigned)_mm_movemask_epi8(hit) << i;
    }
#else
    for (unsigned i = 0; i < 64; i++) mask |= (uint64_t)json_is_special(p[i]) << i;
#endif
    return mask;
}

// Goes to `p`: the next special byte is the first one at or behind it.
static inline void window_seek(struct window *w, const char *p) {
    size_t at = (size_t)(p - w->start);
    w->block = w->start + (at & ~(size_t)63);
    w->mask = block_mask(w->block) & ~(uint64_t)0 << (at & 63);
}

static inline void window_fill(struct window *w) {
    while (!w->mask) w->mask = block_mask(w->block += 64);
}

// Passes the next special byte, whose place is known.
static inline void window_skip(struct window *w) {
    window_fill(w);
    w->mask &= w->mask - 1;
}

static inline const char *window_next(struct window *w) {
    window_fill(w);
    const char *p = w->block + (unsigned)__builtin_ctzll(w->mask);
    w->mask &= w->mask - 1;
    return p;
}

enum { KEY_BYTES = 48, KEY_SLOTS = 512 };

// A key as it came, zero-padded, and the id of its tag.
struct known_key {
    _Alignas(64) char bytes[KEY_BYTES];
    struct known_key *next; // which key came after it the last time
    uint32_t n;             // 0: nothing here
    uint16_t id;
};

// Ids never change their meaning, so what a thread once learned stays true. A
// key is in one of the two places of its slot; the newer one comes first.
static _Thread_local struct known_key known_keys[KEY_SLOTS][2];
static _Thread_local struct known_key before_first_key;

// From the last eight bytes of the key (fewer when it is shorter) and its
// length. Bytes in front of a short key are read, not used.
static inline size_t key_slot(const char *last, size_t n) {
    uint64_t tail;
    memcpy(&tail, last - 8, 8);
    tail >>= n < 8 ? 64 - 8 * n : 0;
    return ((tail ^ n << 5) * 0x9E3779B97F4A7C15u) >> 55;
}

#ifdef __SSE2__
static inline unsigned same16(const char *a, const char *b) {
    __m128i x = _mm_loadu_si128((const __m128i *)(const void *)a);
    __m128i y = _mm_loadu_si128((const __m128i *)(const void *)b);
    return (unsigned)_mm_movemask_epi8(_mm_cmpeq_epi8(x, y));
}
#endif

// Are the first n bytes at `p` those of the key? Bytes behind them are read, not compared.
static inline bool key_equals(const struct known_key *key, const char *p, size_t n) {
    if (key->n != n) return false;
#ifdef __SSE2__
    if (n <= 16) return ((same16(key->bytes, p) | ~0u << n) & 0xFFFF) == 0xFFFF;
    unsigned same = same16(key->bytes, p) & same16(key->bytes + n - 16, p + n - 16);
    return (n <= 32 ? same : same & same16(key->bytes + 16, p + 16)) == 0xFFFF;
#else
    return memcmp(key->bytes, p, n) == 0;
#endif
}

static struct known_key *find_key(const char *first, size_t n) {
    struct known_key *key = known_keys[key_slot(first + n, n)];
    if (key_equals(key, first, n)) return key;
    return key_equals(key + 1, first, n) ? key + 1 : NULL;
}

// The known key that these bytes are, or NULL. Events of one platform have
// their keys in much the same order, so the one that followed `before` last
// time is most often right.
static inline struct known_key *recall_key(struct known_key *before, const char *first, size_t n) {
    if (n - 1 >= KEY_BYTES) return NULL;
    struct known_key *key = before->next;
    if (__builtin_expect(!key || !key_equals(key, first, n), 0)) key = find_key(first, n);
    before->next = key;
    return key;
}

static void learn_key(struct slice raw, uint16_t id) {
    if (!raw.n || raw.n > KEY_BYTES) return;
    struct known_key *key = known_keys[key_slot(raw.p + raw.n, raw.n)];
    key[1] = key[0];
    *key = (struct known_key){ .n = (uint32_t)raw.n, .id = id };
    memcpy(key->bytes, raw.p, raw.n);
}

static bool refuse_tag(struct json_scan *scan, const char *p, enum err code, const char *type,
                       const char *problem) {
    bool early = p >= scan->end; // at the padding
    scan->p = early ? scan->end : p;
    return json_scan_refuse(scan, code, type, early ? "the text ends too early" : problem);
}

// Where a key's value goes: the table, or else the extras, under `name`.
struct place {
    uint16_t id;
    struct slice name;
};

// The key whose first byte is at scan->p, by the strict reader: one that is not
// known yet, or has escapes, or is no tag's name.
static bool scan_key(struct json_scan *scan, struct tag_set *tags, struct place *place) {
    struct slice raw;
    bool escaped;
    char content[TAG_NAME_MAX * 6], upper[TAG_NAME_MAX];
    size_t n;
    if (!json_scan_string(scan, &raw, &escaped)) return false;
    bool fits = raw.n <= sizeof content;
    struct slice key = fits ? slice(content, json_unescape(raw, content)) : raw;
    if (!fits || !tag_name_from_key(key, upper, &n))
        return refuse_tag(scan, raw.p - 1, ERR_INPUT, "bad_tags",
                          "a tag's key must be letters, digits and _, a letter first, at most 64 "
                          "of them");
    place->id = tag_find(slice(upper, n));
    if (place->id < tags->count) {
        learn_key(raw, place->id);
        return true;
    }
    place->name = arena_dup(tags->arena, slice(upper, n));
    return place->name.p || refuse_tag(scan, raw.p, ERR_NOMEM, "no_memory", "no memory");
}

static uint16_t kind_of(char first) {
    switch (first) {
    case '"': return TAG_STRING;
    case 't': return TAG_TRUE;
    case 'f': return TAG_FALSE;
    case 'n': return TAG_NULL;
    case '{':
    case '[': return TAG_JSON;
    default: return TAG_NUMBER;
    }
}

// A value of any kind at `p`, by the strict reader.
static bool scan_value(struct json_scan *scan, const char *p, struct tag_value *value) {
    uint16_t kind = kind_of(*p), flags = kind == TAG_JSON ? 0 : TAG_JSON_SAFE;
    struct slice text;
    scan->p = p;
    if (kind == TAG_STRING) {
        bool escaped;
        scan->p++;
        if (!json_scan_string(scan, &text, &escaped)) return false;
        if (escaped) flags |= TAG_ESCAPED;
    } else {
        if (!json_scan_value(scan)) return false;
        text = slice(p, (size_t)(scan->p - p));
    }
    if (text.n > EVENT_VALUE_MAX)
        return refuse_tag(scan, p, ERR_LIMIT, "too_large", "a tag's value is longer than 64 KiB");
    *value = (struct tag_value){ text.p, (uint32_t)text.n, kind, flags };
    return true;
}

static inline const char *skip_blanks(const char *p) {
    while (json_is_blank(*p)) p++;
    return p;
}

static const char *refuse_here(struct json_scan *scan, const char *p, const char *problem) {
    refuse_tag(scan, p, ERR_INPUT, "invalid_json", problem);
    return NULL;
}

// A value by the strict reader, from behind its key. Returns the byte behind it, or NULL.
static __attribute__((noinline)) const char *read_odd_value(struct json_scan *scan, const char *p,
                                                            struct tag_value *value) {
    p = skip_blanks(p);
    if (*p != ':') return refuse_here(scan, p, "a colon belongs here");
    return scan_value(scan, skip_blanks(p + 1), value) ? scan->p : NULL;
}

// A member whose key did not resolve at once; its opening quote is at `p`.
static __attribute__((noinline)) const char *read_odd_member(struct json_scan *scan,
                                                             struct tag_set *tags, const char *p) {
    struct place place = { .id = TAG_NONE };
    struct tag_value value;
    scan->p = p + 1;
    if (!scan_key(scan, tags, &place)) return NULL;
    p = read_odd_value(scan, scan->p, &value);
    if (!p) return NULL;
    if (!place.name.p)
        tags->values[place.id] = value;
    else if (!tag_set_put(tags, place.name, value))
        return refuse_tag(scan, p, ERR_NOMEM, "no_memory", "no memory for an event"), NULL;
    return p;
}

// How far a value's opening quote is from its key's closing one, when there is
// a colon and perhaps a space between them; else 0. (Compilers make plain
// comparisons of such memcmp.)
static inline size_t value_at(const char *p) {
    if (memcmp(p, "\":\"", 3) == 0) return 2;
    return memcmp(p, "\": \"", 4) == 0 ? 3 : 0;
}

// The same from a value's closing quote to the next key's opening one.
static inline size_t next_key_at(const char *p) {
    if (memcmp(p, "\",\"", 3) == 0) return 2;
    return memcmp(p, "\", \"", 4) == 0 ? 3 : 0;
}

// Members of known keys with plain string values, from the opening quote at *p
// on. Leaves *p at the opening quote of the first other member, true; or behind
// a value that no comma and quote follow at once, false. Values are written
// field by field where they belong: a copy of what was just put together would
// wait for its stores.
static bool read_plain_members(struct json_scan *scan, struct tag_set *tags, const char **p) {
    struct window window = { .start = scan->start };
    struct known_key *key = &before_first_key;
    struct tag_value *values = tags->values;
    size_t count = tags->count, keys_left = scan->keys_left, next = 1;
    window_seek(&window, *p);
    while (keys_left && next) {
        window_skip(&window); // the quote at *p
        const char *first = *p + 1, *last = window_next(&window);
        struct known_key *known = recall_key(key, first, (size_t)(last - first));
        size_t colon = value_at(last);
        if (!known || known->id >= count || !colon) break;
        key = known;
        window_skip(&window); // the value's opening quote
        const char *value = last + colon + 1, *end = window_next(&window);
        if (*end != '"' || (size_t)(end - value) > EVENT_VALUE_MAX) break;
        struct tag_value *to = &values[key->id];
        to->p = value;
        to->n = (uint32_t)(end - value);
        to->kind = TAG_STRING;
        to->flags = TAG_JSON_SAFE;
        keys_left--;
        next = next_key_at(end);
        *p = next ? end + next : end + 1;
    }
    scan->keys_left = keys_left;
    return next != 0;
}

static bool read_members(struct json_scan *scan, struct tag_set *tags, const char *p) {
    for (;;) {
        if (read_plain_members(scan, tags, &p)) {
            if (!scan->keys_left)
                return refuse_tag(scan, p, ERR_LIMIT, "too_many_keys",
                                  "an event has at most 1,024 keys");
            scan->keys_left--;
            p = read_odd_member(scan, tags, p);
            if (!p) return false;
        }
        p = skip_blanks(p);
        if (*p != ',') break;
        p = skip_blanks(p + 1);
        if (*p != '"') return refuse_here(scan, p, "a quoted key belongs here"), false;
    }
    if (*p != '}') return refuse_here(scan, p, "a comma or } belongs here"), false;
    scan->p = p + 1;
    return true;
}

bool event_scan_tags(struct json_scan *scan, struct tag_set *tags) {
    scan->depth_max = EVENT_DEPTH_MAX - 2; // the event and its tags are open
    const char *p = skip_blanks(scan->p + 1);
    if (*p == '"') return read_members(scan, tags, p);
    if (*p != '}') return refuse_here(scan, p, "a quoted key belongs here"), false;
    scan->p = p + 1;
    return true;
}
