// Tags: the names that templates and scripts know values by, and one event's
// values. Names are interned once into small ids, so that rendering looks a
// value up by index; ids live as long as the process.
#ifndef TUMA_TAG_H
#define TUMA_TAG_H

#include <stdbool.h>
#include <stdint.h>

#include "arena.h"
#include "slice.h"

enum { TAG_NAME_MAX = 64, TAG_NONE = 0xFFFF, TAG_IDS_MAX = 32768 };

// What kind of JSON value the event carried.
enum tag_kind { TAG_ABSENT, TAG_STRING, TAG_NUMBER, TAG_TRUE, TAG_FALSE, TAG_NULL, TAG_JSON };

enum {
    TAG_ESCAPED = 1,  // p/n is the inside of a JSON string that contains backslash escapes
    TAG_JSON_SAFE = 2 // p/n may stand inside JSON quotes as it is (valid UTF-8, escaped)
};

// One value, 16 bytes. For TAG_STRING p/n is the string's content: as it stands
// between the quotes of the event's JSON when TAG_ESCAPED is set, else the
// value itself. For numbers and literals it is the source text, digit for
// digit. For TAG_JSON (an object or array) it is the source text too.
struct tag_value {
    const char *p;
    uint32_t n;
    uint16_t kind;
    uint16_t flags;
};

// Interns `name` (must be well formed, see tag_name_valid) and returns its id,
// or TAG_NONE when the table is full. Only one thread may intern at a time;
// any number may look up meanwhile.
uint16_t tag_intern(struct slice name);
// The id of an interned name, or TAG_NONE. Lock-free.
uint16_t tag_find(struct slice name);
// The name behind an id; lives as long as the process.
struct slice tag_name(uint16_t id);
// Number of ids given out so far; ids are 0 … count-1.
uint16_t tag_count(void);

// [A-Z][A-Z0-9_]{0,63}
bool tag_name_valid(struct slice name);
// Upper-cases a custom tag's key into `out` ("lead_type" → "LEAD_TYPE"). False
// when the result is not a tag name.
bool tag_name_from_key(struct slice key, char out[TAG_NAME_MAX], size_t *n);

// A tag whose name no template knows; still visible to scripts.
struct tag_extra {
    struct slice name; // upper case
    struct tag_value value;
    struct tag_extra *next, *next_in_slot;
};

// The values of one event. Memory is its owner's arena.
struct tag_set {
    struct arena *arena;
    struct tag_value *values; // by id
    uint16_t count; // values[0 … count-1] are valid; a larger id may be among the extras
    struct tag_extra *extras;
    struct tag_extra **slots; // the extras by hash, once they are many
    uint32_t extras_count;
};

// An empty set with room for every id known now, in `arena`. False on no memory.
bool tag_set_init(struct tag_set *set, struct arena *arena);
// Makes the set empty again.
void tag_set_clear(struct tag_set *set);
// Sets a value by name (upper case); last one wins. The bytes are borrowed. False on no memory.
bool tag_set_put(struct tag_set *set, struct slice name, struct tag_value value);
// The value under `id`; kind is TAG_ABSENT when there is none.
struct tag_value tag_set_get(const struct tag_set *set, uint16_t id);
struct tag_value tag_set_get_name(const struct tag_set *set, struct slice name);
// A set that starts as a copy of `from` (shallow: bytes stay borrowed), in `arena`.
bool tag_set_copy(struct tag_set *set, const struct tag_set *from, struct arena *arena);
// Calls back for every present value, ids first. Stops early when it returns false.
void tag_set_each(const struct tag_set *set,
                  bool (*one)(void *user, struct slice name, struct tag_value value), void *user);

// A plain string value borrowed from `text`.
struct tag_value tag_text(struct slice text);
// The value as text: JSON escapes undone (into `arena` where that needs bytes).
// Null and absent are empty. p is NULL only on no memory.
struct slice tag_value_text(struct tag_value value, struct arena *arena);

#endif
