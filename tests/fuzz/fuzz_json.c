// The strict reader against cJSON: what we take it takes, with the same types,
// keys, texts and numbers. (It takes more than we do, so not the other way.)
#include "oracle.h"

enum { DEPTH = 900 }; // cJSON stops at 1,000

static void compare(struct json ours, const cJSON *theirs, struct arena *arena);

static void compare_children(struct json ours, const cJSON *theirs, struct arena *arena) {
    const cJSON *child = theirs->child;
    struct slice key;
    struct json value;
    for (size_t at = 0; json_next(ours, &at, &key, &value); child = child->next) {
        MUST(child);
        if (ours.type == JSON_OBJECT) {
            char *name = arena_alloc(arena, key.n + 1);
            struct slice text = slice(name, json_unescape(key, name));
            MUST(oracle_same_text(text, child->string));
            MUST(json_key_is(key, text));
        }
        compare(value, child, arena);
    }
    MUST(!child);
}

static void compare(struct json ours, const cJSON *theirs, struct arena *arena) {
    double number;
    switch (ours.type) {
    case JSON_NULL: MUST(theirs->type == cJSON_NULL); break;
    case JSON_FALSE: MUST(theirs->type == cJSON_False); break;
    case JSON_TRUE: MUST(theirs->type == cJSON_True); break;
    case JSON_NUMBER:
        MUST(theirs->type == cJSON_Number && json_is_number(ours.raw));
        // cJSON looks at the first 63 bytes of a number.
        if (ours.raw.n < 60 && json_double(ours, &number)) MUST(number == theirs->valuedouble);
        break;
    case JSON_STRING:
        MUST(theirs->type == cJSON_String);
        MUST(oracle_same_text(json_text(ours, arena), theirs->valuestring));
        break;
    case JSON_ARRAY:
    case JSON_OBJECT:
        MUST(theirs->type == (ours.type == JSON_ARRAY ? cJSON_Array : cJSON_Object));
        compare_children(ours, theirs, arena);
        break;
    default: abort();
    }
}

// Numbers of more than 63 bytes make cJSON stop within them.
static bool has_long_number(struct slice text) {
    size_t run = 0;
    for (size_t i = 0; i < text.n; i++) {
        bool in = text.p[i] && strchr("0123456789+-.eE", text.p[i]);
        run = in ? run + 1 : 0;
        if (run > 60) return true;
    }
    return false;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    oracle_load();
    char *copy = malloc(size ? size : 1); // of its own size: ASan sees the first byte too far
    memcpy(copy, data, size);
    struct slice text = slice(copy, size);
    struct fail fail = { 0 };
    if (json_check(text, (struct json_limits){ .depth_max = DEPTH }, &fail) != OK) {
        MUST(fail.at <= size && fail.type[0]);
    } else if (!has_long_number(text)) {
        cJSON *theirs = oracle_parse(copy, size);
        struct arena arena;
        arena_init(&arena, 64 << 20);
        MUST(theirs);
        compare(json_root(text), theirs, &arena);
        arena_deinit(&arena);
        oracle_free(theirs);
    }
    free(copy);
    return 0;
}
