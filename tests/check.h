// The unit tests' harness: each test program names its tests in order and
// exits 0 only when every check held. Output is TAP, read by tests/run.
#ifndef TUMA_TESTS_CHECK_H
#define TUMA_TESTS_CHECK_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "slice.h"

static int check_failures;

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            printf("# %s:%d: not true: %s\n", __FILE__, __LINE__, #condition);                     \
            check_failures++;                                                                      \
        }                                                                                          \
    } while (0)

#define CHECK_INT(got, want)                                                                       \
    do {                                                                                           \
        long long check_got = (long long)(got), check_want = (long long)(want);                    \
        if (check_got != check_want) {                                                             \
            printf("# %s:%d: %s is %lld, wanted %lld\n", __FILE__, __LINE__, #got, check_got,      \
                   check_want);                                                                    \
            check_failures++;                                                                      \
        }                                                                                          \
    } while (0)

// Compares a slice with a C string literal's bytes (NULs inside count).
#define CHECK_TEXT(got, want) check_text(__FILE__, __LINE__, (got), slice((want), sizeof(want) - 1))
#define CHECK_SLICE(got, want) check_text(__FILE__, __LINE__, (got), (want))

static inline void check_text(const char *file, int line, struct slice got, struct slice want) {
    if (slice_eq(got, want)) return;
    if (!got.p) got = S(""); // printf takes no null, even of length 0
    if (!want.p) want = S("");
    printf("# %s:%d: got    \"%.*s\"\n#   wanted \"%.*s\"\n", file, line, SLICE_FMT(got),
           SLICE_FMT(want));
    check_failures++;
}

struct check_case {
    const char *name;
    void (*run)(void);
};

// Runs the cases; returns the exit status of the program.
static inline int check_run(const struct check_case *cases, size_t count) {
    int failed = 0;
    setvbuf(stdout, NULL, _IOLBF, 0);
    for (size_t i = 0; i < count; i++) {
        check_failures = 0;
        cases[i].run();
        printf("%s %zu - %s\n", check_failures ? "not ok" : "ok", i + 1, cases[i].name);
        failed += check_failures != 0;
    }
    printf("1..%zu\n", count);
    return failed != 0;
}
#define CHECK_MAIN(cases)                                                                          \
    int main(void) {                                                                               \
        return check_run((cases), sizeof(cases) / sizeof((cases)[0]));                             \
    }

#endif
