// Debian's cJSON as a second opinion on JSON, for fuzz targets only. Loaded at
// run time, so that nothing else links it.
#ifndef TUMA_FUZZ_ORACLE_H
#define TUMA_FUZZ_ORACLE_H

#include <cjson/cJSON.h>
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>

#include "json.h"

#define MUST(condition)                                                                            \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: not true: %s\n", __FILE__, __LINE__, #condition);              \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

static cJSON *(*oracle_parse)(const char *text, size_t n);
static void (*oracle_free)(cJSON *item);

static inline void oracle_load(void) {
    if (oracle_parse) return;
    void *library = dlopen("libcjson.so.1", RTLD_NOW);
    MUST(library);
    *(void **)&oracle_parse = dlsym(library, "cJSON_ParseWithLength");
    *(void **)&oracle_free = dlsym(library, "cJSON_Delete");
    MUST(oracle_parse && oracle_free);
}

// cJSON's strings end at the first NUL.
static inline bool oracle_same_text(struct slice ours, const char *theirs) {
    if (memchr(ours.p, 0, ours.n)) return true;
    return slice_eq(ours, slice_str(theirs));
}

#endif
