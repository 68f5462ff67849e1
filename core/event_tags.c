// The hot path: an event's tags object, from its text straight into the table.
// Events of one platform have the same keys in much the same order, so a thread
// remembers every key that it met, with the colon behind it, and which key came
// next: a member then costs one comparison of its key, and one look at the marks
// (escape.h) for where its value ends. What is not a plain string of a known
// tag goes through the strict reader's own steps.
#include "escape.h"
#include "event_inner.h"
#include "json.h"
#if defined(__x86_64__)
#include <immintrin.h>
#endif

enum {
    KEY_BYTES = 40,
    KEY_SLOTS = 512,
    GAP = 2, // from a value's closing quote to the next key's opening one
};

// A key as it came, from behind its opening quote up to its value's first byte
// (`caller_id":`, perhaps a blank), zero-padded, and where its tag's value goes.
struct known_key {
    _Alignas(64) char bytes[KEY_BYTES];
    uint64_t care;          // one bit for each of the bytes; NEVER: nothing here
    struct known_key *next; // which key came after it the last time
    uint32_t place;         // of the value in the table, in bytes
    uint8_t n;              // of the key
    uint8_t skip; // from GAP bytes in front of its opening quote to behind that of its value
};

#define NEVER ((uint64_t)1 << 63)

// Ids never change their meaning and tables only grow, so what a thread once
// learned stays true. A key is in one of the two places of its slot; the newer
// one comes first.
static _Thread_local struct known_key known_keys[KEY_SLOTS][2];
static struct known_key no_key = { .care = NEVER };
static _Thread_local struct known_key before_first_key = { .care = NEVER, .next = &no_key };

// From the last eight bytes of the key (fewer when it is shorter) and its
// length. Bytes in front of a short key are read, not used.
static inline size_t key_slot(const char *last, size_t n) {
    uint64_t tail;
    memcpy(&tail, last - 8, 8);
    tail >>= n < 8 ? 64 - 8 * n : 0;
    return ((tail ^ n << 5) * 0x9E3779B97F4A7C15u) >> 55;
}

// Does the key stand at `p`, with what belongs between it and its value? May
// read KEY_BYTES bytes.
static inline bool stands_portable(const struct known_key *key, const char *p) {
    return key->care != NEVER && memcmp(key->bytes, p, key->skip - GAP - 2) == 0;
}

#if defined(__x86_64__)
#define AVX2 __attribute__((target("avx2,bmi,bmi2")))
static inline AVX2 bool stands_avx2(const struct known_key *key, const char *p) {
    const char *bytes = key->bytes;
    __m256i x = _mm256_loadu_si256((const __m256i *)(const void *)bytes);
    __m256i y = _mm256_loadu_si256((const __m256i *)(const void *)p);
    __m128i v = _mm_loadu_si128((const __m128i *)(const void *)(bytes + KEY_BYTES - 16));
    __m128i w = _mm_loadu_si128((const __m128i *)(const void *)(p + KEY_BYTES - 16));
    uint64_t same = (uint32_t)_mm256_movemask_epi8(_mm256_cmpeq_epi8(x, y));
    same |= (uint64_t)(uint32_t)_mm_movemask_epi8(_mm_cmpeq_epi8(v, w)) << (KEY_BYTES - 16);
    return !(~same & key->care);
}
#endif

// Remembers the key at `first`, whose closing quote is n bytes behind; NULL when
// it is too long, or has blanks where nobody writes any.
static struct known_key *learn_key(const char *first, size_t n, uint32_t place) {
    const char *colon = first + n + 1;
    size_t length = n + 2 + (colon[0] == ':' && colon[1] == ' ');
    if (*colon != ':' || length > KEY_BYTES) return NULL;
    struct known_key *key = known_keys[key_slot(first + n, n)];
    bool same = key->n == n && !memcmp(key->bytes, first, n);
    if (!same) key[1] = key[0];
    *key = (struct known_key){ .care = ((uint64_t)1 << length) - 1,
                               .next = same ? key->next : &no_key,
                               .place = place,
                               .n = (uint8_t)n,
                               .skip = (uint8_t)(GAP + 1 + length + 1) };
    memcpy(key->bytes, first, length);
    return key;
}

// The known key that stands at `first`, or NULL.
static struct known_key *find_key(const char *first, size_t n) {
    if (!n) return NULL;
    struct known_key *key = known_keys[key_slot(first + n, n)];
    for (int i = 0; i < 2; i++, key++) {
        if (key->n != n || memcmp(key->bytes, first, n) != 0) continue;
        return stands_portable(key, first) ? key : learn_key(first, n, key->place);
    }
    return NULL;
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
        if (!escaped) learn_key(raw.p, raw.n, place->id * (uint32_t)sizeof(struct tag_value));
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

static const char *refuse_here(struct json_scan *scan, const char *p, const char *problem) {
    refuse_tag(scan, p, ERR_INPUT, "invalid_json", problem);
    return NULL;
}

// A member whose key did not resolve at once; its opening quote is at `p`.
// Returns the byte behind it, or NULL.
static __attribute__((noinline)) const char *read_odd_member(struct json_scan *scan,
                                                             struct tag_set *tags, const char *p) {
    struct place place = { .id = TAG_NONE };
    struct tag_value value;
    scan->p = p + 1;
    if (!scan_key(scan, tags, &place)) return NULL;
    p = event_skip_blanks(scan->p);
    if (*p != ':') return refuse_here(scan, p, "a colon belongs here");
    if (!scan_value(scan, event_skip_blanks(p + 1), &value)) return NULL;
    if (!place.name.p)
        tags->values[place.id] = value;
    else if (!tag_set_put(tags, place.name, value))
        return refuse_tag(scan, scan->p, ERR_NOMEM, "no_memory", "no memory for an event"), NULL;
    return scan->p;
}

// The key that follows `before`, at `at`, when it is not the one that did so
// last time; NULL when it is not known.
static __attribute__((noinline)) struct known_key *other_key(const struct event_text *text,
                                                             struct known_key *before, size_t at) {
    size_t end = event_plain_end(text->marks, at);
    struct known_key *key = NULL;
    if (text->p[end] == '"') key = find_key(text->p + at, end - at);
    before->next = key ? key : &no_key;
    return key;
}

// A known key's value that is no plain short string, at the byte behind what is
// known. A blank there is known from now on.
static __attribute__((noinline)) bool read_other_value(struct json_scan *scan,
                                                       const struct known_key *key,
                                                       const char *value, struct tag_value *to) {
    if (*value == ' ') learn_key(value - (key->skip - GAP - 2), key->n, key->place);
    return scan_value(scan, event_skip_blanks(value), to);
}

// Members of known keys, from the opening quote at `p` on. Returns where the
// first other member's opening quote is, with *more true; or the byte behind a
// value that no comma and quote follow at once; or NULL. What the next step
// waits for is where this value ends, so that is found in as few steps as can
// be, from the closing quote of the value before.
static inline __attribute__((always_inline)) const char *
read_known_members(struct json_scan *scan, const struct event_text *text, struct tag_set *tags,
                   const char *p, bool *more,
                   bool (*stands_at)(const struct known_key *key, const char *p)) {
    const char *const start = text->p;
    const unsigned char *const marks = text->marks;
    struct known_key *key = &before_first_key;
    ptrdiff_t at = p - start - GAP; // as if a value's closing quote were there
    size_t keys_left = scan->keys_left;
    *more = true;
    while (keys_left) {
        struct known_key *next = key->next;
        if (__builtin_expect(!stands_at(next, start + at + GAP + 1), 0)) {
            next = other_key(text, key, (size_t)(at + GAP + 1));
            if (!next) break;
        }
        key = next;
        keys_left--;
        ptrdiff_t inside = at + key->skip; // the value's content, when it is a string
        unsigned n = event_first_mark(event_marks_at(marks, (size_t)inside));
        // Field by field: a copy of what was just put together would wait for its stores.
        struct tag_value *to = (struct tag_value *)(void *)((char *)tags->values + key->place);
        to->p = start + inside;
        to->n = n;
        to->kind = TAG_STRING;
        to->flags = TAG_JSON_SAFE;
        at = inside + n;
        if (__builtin_expect(start[inside - 1] != '"' || n == 64 || start[at] != '"', 0)) {
            if (!read_other_value(scan, key, start + inside - 1, to)) return NULL;
            at = scan->p - start - 1;
        }
        if (__builtin_expect(memcmp(start + at + 1, ",\"", 2) == 0, 1)) continue;
        *more = memcmp(start + at + 1, ", \"", 3) == 0;
        at += *more ? 1 : 1 - GAP;
        if (!*more) break;
    }
    scan->keys_left = keys_left;
    return start + at + GAP;
}

static const char *read_known_portable(struct json_scan *scan, const struct event_text *text,
                                       struct tag_set *tags, const char *p, bool *more) {
    return read_known_members(scan, text, tags, p, more, stands_portable);
}

#if defined(__x86_64__)
static AVX2 const char *read_known_avx2(struct json_scan *scan, const struct event_text *text,
                                        struct tag_set *tags, const char *p, bool *more) {
    return read_known_members(scan, text, tags, p, more, stands_avx2);
}
#endif

static bool read_members(struct json_scan *scan, const struct event_text *text,
                         struct tag_set *tags, const char *p) {
    const char *(*read_known)(struct json_scan *, const struct event_text *, struct tag_set *,
                              const char *, bool *) = read_known_portable;
#if defined(__x86_64__)
    if (escape == &escape_avx2) read_known = read_known_avx2;
#endif
    for (;;) {
        bool more;
        p = read_known(scan, text, tags, p, &more);
        if (!p) return false;
        if (more) {
            if (!scan->keys_left)
                return refuse_tag(scan, p, ERR_LIMIT, "too_many_keys",
                                  "an event has at most 1,024 keys");
            scan->keys_left--;
            p = read_odd_member(scan, tags, p);
            if (!p) return false;
        }
        p = event_skip_blanks(p);
        if (*p != ',') break;
        p = event_skip_blanks(p + 1);
        if (*p != '"') return refuse_here(scan, p, "a quoted key belongs here"), false;
    }
    if (*p != '}') return refuse_here(scan, p, "a comma or } belongs here"), false;
    scan->p = p + 1;
    return true;
}

bool event_scan_tags(struct json_scan *scan, const struct event_text *text, struct tag_set *tags) {
    scan->depth_max = EVENT_DEPTH_MAX - 2; // the event and its tags are open
    const char *p = event_skip_blanks(scan->p + 1);
    if (*p == '"') return read_members(scan, text, tags, p);
    if (*p != '}') return refuse_here(scan, p, "a quoted key belongs here"), false;
    scan->p = p + 1;
    return true;
}
