// Strict JSON (RFC 8259) over borrowed bytes: a validator, a cursor that walks
// a checked text, and number rules. No tree: callers take what they need.
#ifndef TUMA_JSON_H
#define TUMA_JSON_H

#include <stdbool.h>
#include <stdint.h>

#include "arena.h"
#include "fail.h"
#include "slice.h"

enum json_type {
    JSON_NONE,
    JSON_NULL,
    JSON_FALSE,
    JSON_TRUE,
    JSON_NUMBER,
    JSON_STRING,
    JSON_ARRAY,
    JSON_OBJECT
};

struct json_limits {
    unsigned depth_max; // containers open at once; 0 or more than 1,024: 1,024
    size_t values_max;  // 0: no limit
};

// Checks that `text` is exactly one JSON value with blanks around it, in UTF-8,
// escapes included (a lone surrogate escape is an error). Linear in the text,
// constant stack. On an error fail->at names the byte, fail->path the JSON
// pointer of the value it is in, fail->type is invalid_json or invalid_utf8
// (ERR_INPUT), too_deep or too_many_values (ERR_LIMIT).
enum err json_check(struct slice text, struct json_limits limits, struct fail *fail);

// A value inside a checked text. `raw` is its source text without blanks around.
struct json {
    enum json_type type;
    struct slice raw;
};

// The value that a checked text holds; type JSON_NONE for a blank text.
struct json json_root(struct slice text);
// Walks an object's members or an array's elements; *at starts at 0. `key` may
// be NULL; it is the raw string content between its quotes. False at the end,
// and at once when `container` is no container. Skips a value in one linear pass.
bool json_next(struct json container, size_t *at, struct slice *key, struct json *value);
// Member `key` (compared after unescaping) of an object, last one wins; type JSON_NONE when absent.
struct json json_get(struct json object, const char *key);
// Are these raw key bytes, once unescaped, the name `key`?
bool json_key_is(struct slice raw, struct slice key);
// The string's content with escapes undone: borrowed when it has none, else in
// `arena`. p is NULL on no memory. Not a string: its source text.
struct slice json_text(struct json value, struct arena *arena);
// Undoes the escapes of a string's raw content into `out` (needs raw.n bytes); returns the length.
size_t json_unescape(struct slice raw, char *out);
// True when `text` is a JSON number by the grammar of RFC 8259 section 6.
bool json_is_number(struct slice text);
// A number as int64; false when it is not written as an integer or does not fit.
bool json_int(struct json value, int64_t *out);
// A number as the nearest double; false when it is none or too large for one.
bool json_double(struct json value, double *out);

// Sets fail->path to the JSON pointer of the value that byte `at` of `text` is
// in; the bytes before `at` are well-formed so far. Levels below the 32nd are left out.
void json_pointer(struct slice text, size_t at, struct fail *fail);

#endif
