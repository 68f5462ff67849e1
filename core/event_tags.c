// The hot path: an event's tags object, from its text straight into the table,
// once over the bytes. The text is looked at in blocks of 64 bytes that each
// become a bit mask of where plain string content ends, so finding the end of a
// string is a shift and a count. Keys that were met before resolve through a
// small table by their raw bytes, without being upper-cased or hashed again.
// What is not a plain string (escapes, UTF-8, numbers, nested values) goes
// through the strict reader's own steps.
#include "event_inner.h"
#include "json.h"

// The block of the text looked at last, as a mask: bit i is set when byte i of
// it is special (json_is_special).
struct window {
    const char *start;
    size_t block;
    uint64_t special;
};

static inline uint64_t block_mask(const char *p) {
    uint64_t mask = 0;
#ifdef __SSE2__
    const __m128i quote = _mm_set1_epi8('"'), slash = _mm_set1_epi8('\\');
    const __m128i space = _mm_set1_epi8(0x20);
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

// The first special byte at or after `p`. There always is one: the padding.
static inline const char *window_find(struct window *w, const char *p) {
    size_t at = (size_t)(p - w->start);
    if (at / 64 != w->block) {
        w->block = at / 64;
        w->special = block_mask(w->start + w->block * 64);
    }
    uint64_t mask = w->special >> (at % 64);
    if (mask) return p + __builtin_ctzll(mask);
    do w->special = block_mask(w->start + ++w->block * 64);
    while (!w->special);
    return w->start + w->block * 64 + __builtin_ctzll(w->special);
}

enum { KEY_BYTES = 48, KEY_SLOTS = 512 };

// A key as it came, zero-padded, and the id of its tag.
struct known_key {
    _Alignas(64) char bytes[KEY_BYTES];
    uint32_t n;
    uint16_t id;
};

// Ids never change their meaning, so what a thread once learned stays true.
static _Thread_local struct known_key known_keys[KEY_SLOTS];

static inline uint64_t load8(const char *p) {
    uint64_t word;
    memcpy(&word, p, 8);
    return word;
}

static inline size_t key_slot(const char *p, size_t n) {
    uint64_t head = load8(p), tail = n >= 8 ? load8(p + n - 8) : 0;
    if (n < 8) head &= ((uint64_t)1 << 8 * n) - 1;
    uint64_t h = (head ^ (tail << 23 | tail >> 41) ^ n) * 0x9E3779B97F4A7C15u;
    return h >> 55;
}

// Are the first n bytes at `p` those of the key? Bytes behind them are read, not compared.
static inline bool key_equals(const struct known_key *key, const char *p, size_t n) {
    if (key->n != n) return false;
#ifdef __SSE2__
    uint64_t same = 0;
    for (unsigned i = 0; i < KEY_BYTES; i += 16) {
        __m128i a = _mm_load_si128((const __m128i *)(const void *)(key->bytes + i));
        __m128i b = _mm_loadu_si128((const __m128i *)(const void *)(p + i));
        same |= (uint64_t)(unsigned)_mm_movemask_epi8(_mm_cmpeq_epi8(a, b)) << i;
    }
    return (same | ~(uint64_t)0 << n) == ~(uint64_t)0;
#else
    return memcmp(key->bytes, p, n) == 0;
#endif
}

struct reader {
    struct json_scan *scan;
    struct tag_set *tags;
    struct window window;
};

static bool refuse_tag(struct reader *r, const char *p, enum err code, const char *type,
                       const char *problem) {
    bool early = p >= r->scan->end; // at the padding
    r->scan->p = early ? r->scan->end : p;
    return json_scan_refuse(r->scan, code, type, early ? "the text ends too early" : problem);
}

static const char bad_key[] = "a tag's key must be letters, digits and _, a letter first, at most "
                              "64 of them";

// A key that is not known yet, or not plain: checks it and finds its place.
static bool learn_key(struct reader *r, struct slice raw, struct slice content, uint16_t *id,
                      struct slice *name) {
    char upper[TAG_NAME_MAX];
    size_t n;
    if (!tag_name_from_key(content, upper, &n))
        return refuse_tag(r, raw.p - 1, ERR_INPUT, "bad_tags", bad_key);
    *id = tag_find(slice(upper, n));
    if (*id < r->tags->count) {
        if (raw.n > KEY_BYTES) return true;
        struct known_key *key = &known_keys[key_slot(raw.p, raw.n)];
        memset(key->bytes, 0, sizeof key->bytes);
        memcpy(key->bytes, raw.p, raw.n);
        key->n = (uint32_t)raw.n;
        key->id = *id;
        return true;
    }
    *name = arena_dup(r->tags->arena, slice(upper, n));
    return name->p || refuse_tag(r, raw.p - 1, ERR_NOMEM, "no_memory", "no memory for an event");
}

// A key with escapes or bytes that are not ASCII; the scan stands behind its quote.
static bool scan_odd_key(struct reader *r, struct slice *raw, uint16_t *id, struct slice *name) {
    bool escaped;
    char content[TAG_NAME_MAX * 6];
    if (!json_scan_string(r->scan, raw, &escaped)) return false;
    if (raw->n > sizeof content) return refuse_tag(r, raw->p - 1, ERR_INPUT, "bad_tags", bad_key);
    return learn_key(r, *raw, slice(content, json_unescape(*raw, content)), id, name);
}

// Reads the key whose opening quote is at `p`; returns the byte behind its
// closing one, or NULL.
static inline const char *read_key(struct reader *r, const char *p, uint16_t *id,
                                   struct slice *name) {
    const char *first = p + 1, *last = window_find(&r->window, first);
    struct slice raw = slice(first, (size_t)(last - first));
    if (__builtin_expect(*last != '"', 0)) {
        r->scan->p = first;
        return scan_odd_key(r, &raw, id, name) ? r->scan->p : NULL;
    }
    if (raw.n <= KEY_BYTES) {
        const struct known_key *key = &known_keys[key_slot(first, raw.n)];
        if (key_equals(key, first, raw.n) && raw.n && key->id < r->tags->count) {
            *id = key->id;
            return last + 1;
        }
    }
    return learn_key(r, raw, raw, id, name) ? last + 1 : NULL;
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

static bool put_value(struct reader *r, const char *p, struct slice text, uint16_t kind,
                      uint16_t flags, struct tag_value *value) {
    if (text.n > EVENT_VALUE_MAX)
        return refuse_tag(r, p, ERR_LIMIT, "too_large", "a tag's value is longer than 64 KiB");
    *value = (struct tag_value){ text.p, (uint32_t)text.n, kind, flags };
    return true;
}

// A value of any kind at `p`, by the strict reader.
static bool scan_odd_value(struct reader *r, const char *p, struct tag_value *value) {
    uint16_t kind = kind_of(*p);
    r->scan->p = p;
    if (kind == TAG_STRING) {
        struct slice content;
        bool escaped;
        r->scan->p++;
        return json_scan_string(r->scan, &content, &escaped) &&
               put_value(r, p, content, kind, escaped ? TAG_JSON_SAFE | TAG_ESCAPED : TAG_JSON_SAFE,
                         value);
    }
    if (!json_scan_value(r->scan)) return false;
    return put_value(r, p, slice(p, (size_t)(r->scan->p - p)), kind,
                     kind == TAG_JSON ? 0 : TAG_JSON_SAFE, value);
}

static inline const char *read_value(struct reader *r, const char *p, struct tag_value *value) {
    if (*p == '"') {
        const char *last = window_find(&r->window, p + 1);
        size_t n = (size_t)(last - p) - 1;
        if (__builtin_expect(*last == '"' && n <= EVENT_VALUE_MAX, 1)) {
            *value = (struct tag_value){ p + 1, (uint32_t)n, TAG_STRING, TAG_JSON_SAFE };
            return last + 1;
        }
    }
    return scan_odd_value(r, p, value) ? r->scan->p : NULL;
}

static inline const char *skip_blanks(const char *p) {
    while (json_is_blank(*p)) p++;
    return p;
}

// The value behind a key, from behind the key's closing quote.
static inline const char *read_after_key(struct reader *r, const char *p, struct tag_value *value) {
    if (p[0] == ':' && p[1] == '"') return read_value(r, p + 1, value);
    p = skip_blanks(p);
    if (*p != ':') {
        refuse_tag(r, p, ERR_INPUT, "invalid_json", "a colon belongs here");
        return NULL;
    }
    return read_value(r, skip_blanks(p + 1), value);
}

// One member, its opening quote at `p`.
static inline const char *read_member(struct reader *r, const char *p) {
    uint16_t id = TAG_NONE;
    struct slice name = { NULL, 0 };
    struct tag_value value;
    if (!r->scan->keys_left) {
        refuse_tag(r, p, ERR_LIMIT, "too_many_keys", "an event has at most 1,024 keys");
        return NULL;
    }
    r->scan->keys_left--;
    p = read_key(r, p, &id, &name);
    if (p) p = read_after_key(r, p, &value);
    if (!p) return NULL;
    if (__builtin_expect(!name.p, 1)) {
        r->tags->values[id] = value;
        return p;
    }
    if (tag_set_put(r->tags, name, value)) return p;
    refuse_tag(r, p, ERR_NOMEM, "no_memory", "no memory for an event");
    return NULL;
}

static bool read_members(struct reader *r, const char *p) {
    for (;;) {
        if (*p != '"')
            return refuse_tag(r, p, ERR_INPUT, "invalid_json", "a quoted key belongs here");
        p = read_member(r, p);
        if (!p) return false;
        if (p[0] == ',' && p[1] == '"') {
            p++;
            continue;
        }
        p = skip_blanks(p);
        if (*p != ',') break;
        p = skip_blanks(p + 1);
    }
    if (*p != '}') return refuse_tag(r, p, ERR_INPUT, "invalid_json", "a comma or } belongs here");
    r->scan->p = p + 1;
    return true;
}

bool event_scan_tags(struct json_scan *scan, struct tag_set *tags) {
    struct reader r = {
        .scan = scan,
        .tags = tags,
        .window = { .start = scan->start, .block = SIZE_MAX },
    };
    scan->depth_max = EVENT_DEPTH_MAX - 2; // the event and its tags are open
    const char *p = skip_blanks(scan->p + 1);
    if (*p != '}') return read_members(&r, p);
    scan->p = p + 1;
    return true;
}
