// Changing JSON in place: the result is JSON, the value is where it was put, and
// all that was not named is there byte for byte. Input: path, NUL, value, NUL, text.
#include <stdio.h>
#include <stdlib.h>

#include "patch.h"

#define MUST(condition)                                                                            \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: not true: %s\n", __FILE__, __LINE__, #condition);              \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

static const struct json_limits limits = { .depth_max = 500 };

static struct slice take_part(struct slice *rest) {
    size_t n = slice_find(*rest, '\0');
    struct slice part = slice(rest->p, n);
    *rest = slice_from(*rest, n + 1);
    return part;
}

// Does `part` come out of `whole` by leaving bytes out?
static bool is_cut_of(struct slice part, struct slice whole) {
    size_t i = 0;
    for (size_t j = 0; i < part.n && j < whole.n; j++) i += part.p[i] == whole.p[j];
    return i == part.n;
}

static void check_set(struct slice text, struct slice path, struct slice value, struct buf *out) {
    struct json before, after;
    struct fail fail = { 0 };
    enum err err = patch_set(text, path, value, out, &fail);
    if (err) {
        MUST(fail.type[0] && fail.text[0]);
        return;
    }
    struct slice made = buf_slice(out);
    MUST(json_check(made, (struct json_limits){ 0 }, NULL) == OK);
    MUST(patch_get(made, path, &after, NULL) == OK);
    MUST(slice_eq(after.raw, json_root(value).raw));
    MUST(patch_get(text, path, &before, NULL) == OK);
    if (before.type == JSON_NONE) {
        MUST(made.n > text.n || is_cut_of(slice(text.p, text.n), made) ||
             memmem(text.p, text.n, "null", 4));
        return;
    }
    size_t front = (size_t)(before.raw.p - text.p), behind = text.n - front - before.raw.n;
    MUST(made.n == front + after.raw.n + behind);
    MUST(memcmp(made.p, text.p, front) == 0);
    MUST(memcmp(made.p + made.n - behind, text.p + text.n - behind, behind) == 0);
}

static void check_delete(struct slice text, struct slice path, struct buf *out) {
    struct json before, after;
    bool found;
    buf_clear(out);
    if (patch_delete(text, path, out, &found, NULL) != OK) return;
    struct slice made = buf_slice(out);
    MUST(json_check(made, limits, NULL) == OK);
    MUST(is_cut_of(made, text));
    MUST(patch_get(text, path, &before, NULL) == OK);
    MUST(found == (before.type != JSON_NONE));
    MUST(found || slice_eq(made, text));
    MUST(patch_get(made, path, &after, NULL) == OK);
    MUST(path.p[path.n - 1] == ']' || after.type == JSON_NONE);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct slice rest = slice((const char *)data, size);
    struct slice path = take_part(&rest), value = take_part(&rest);
    char *text = malloc(rest.n ? rest.n : 1);
    memcpy(text, rest.n ? rest.p : "", rest.n);
    if (json_check(slice(text, rest.n), limits, NULL) == OK) {
        struct buf out;
        buf_init(&out, 4 << 20);
        check_set(slice(text, rest.n), path, value, &out);
        check_delete(slice(text, rest.n), path, &out);
        buf_deinit(&out);
    }
    free(text);
    return 0;
}
