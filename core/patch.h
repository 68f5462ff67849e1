// Changing JSON text in place: a value is read, set or deleted by its path, and
// every byte that is not part of the change stays as it is: blanks, the order
// of keys, the digits of numbers, empty arrays.
//
// A path is `tags.source` or `items[1].id` (counted from 1, as in Lua); a key
// with other characters is written `["a.b"]`, a JSON string. The empty path is
// the whole text.
#ifndef TUMA_PATCH_H
#define TUMA_PATCH_H

#include "buf.h"
#include "fail.h"
#include "json.h"
#include "slice.h"

enum {
    PATCH_PATH_MAX = 1024, // bytes
    PATCH_STEPS_MAX = 32,
    PATCH_DEPTH_MAX = 64, // of a value that is set, and of the text it goes into
};

// All three take a `text` that json_check has passed. Fails with ERR_INPUT
// bad_path (fail->at is the byte of the path).

// The value at `path`: type JSON_NONE when there is none, also where the path
// asks a text or number for a member. `raw` borrows from `text`.
enum err patch_get(struct slice text, struct slice path, struct json *value, struct fail *fail);

// Appends to `out` the text with `json` (a JSON value, checked here) at `path`.
// Missing parents become objects, or an array for [1]; null counts as missing;
// [n+1] appends to an array of n. A new member is written in the style of the
// one before it. ERR_INPUT invalid_json, not_an_object, not_an_array,
// out_of_range (fail->path is the part of the path that is it); ERR_LIMIT
// too_large when `out` is full, too_deep.
enum err patch_set(struct slice text, struct slice path, struct slice json, struct buf *out,
                   struct fail *fail);

// Appends to `out` the text without the member or element at `path` (all of
// them when a key is there more than once). *found may be NULL; when it comes
// back false, the text is unchanged. The empty path cannot be deleted.
enum err patch_delete(struct slice text, struct slice path, struct buf *out, bool *found,
                      struct fail *fail);

#endif
