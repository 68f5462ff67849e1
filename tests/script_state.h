// A sandbox with all its libraries, for unit tests: runs a chunk the way a
// stage runs, and tells what it returned or raised.
#ifndef TUMA_TESTS_SCRIPT_STATE_H
#define TUMA_TESTS_SCRIPT_STATE_H

#include "arena.h"
#include "sandbox.h"

enum { STATE_MEMORY = 16 * 1024 * 1024, STATE_BUDGET_MS = 200 };

struct state_run {
    const char *source;
    int results;
    char out[4096]; // what it returned: text of each value, joined by a space
    size_t out_n;
};

static void state_add(struct state_run *run, const char *p, size_t n) {
    if (n > sizeof run->out - 1 - run->out_n) n = sizeof run->out - 1 - run->out_n;
    memcpy(run->out + run->out_n, p, n);
    run->out[run->out_n += n] = '\0';
}

static void state_collect(lua_State *L, struct state_run *run) {
    for (int i = 1; i <= lua_gettop(L); i++) {
        if (i > 1) state_add(run, " ", 1);
        size_t n;
        const char *p;
        if (lua_isstring(L, i)) {
            lua_pushvalue(L, i);
            p = lua_tolstring(L, -1, &n);
            state_add(run, p, n);
            lua_pop(L, 1);
        } else {
            p = lua_isboolean(L, i) ? lua_toboolean(L, i) ? "true" : "false" : luaL_typename(L, i);
            state_add(run, p, strlen(p));
        }
    }
}

static void state_body(lua_State *L, void *user) {
    struct state_run *run = user;
    if (luaL_loadbuffer(L, run->source, strlen(run->source), "@t.lua")) lua_error(L);
    lua_call(L, 0, LUA_MULTRET);
    state_collect(L, run);
}

static struct state_run state_last;
static struct sandbox_result state_result;

// Runs `source`; returns what it returned, or "! " and the error.
static inline struct slice state_do(struct sandbox *sandbox, const char *source) {
    struct state_run *run = &state_last;
    run->source = source;
    run->out_n = 0;
    run->out[0] = '\0';
    state_result = sandbox_protect(sandbox, state_body, run, STATE_BUDGET_MS);
    if (state_result.end != SANDBOX_DONE) {
        run->out_n = 0;
        state_add(run, "! ", 2);
        state_add(run, state_result.text.p, state_result.text.n);
    }
    return slice(run->out, run->out_n);
}

// One line of a table of chunks: what it must return, or the error's part after "! ".
struct state_case {
    const char *source, *want;
};

static inline void state_check(struct sandbox *sandbox, const struct state_case *cases, size_t n) {
    for (size_t i = 0; i < n; i++) {
        struct slice got = state_do(sandbox, cases[i].source);
        struct slice want = slice_str(cases[i].want);
        bool error = slice_starts(want, S("! "));
        bool same = error
                        ? slice_starts(got, S("! ")) && memmem(got.p, got.n, want.p + 2, want.n - 2)
                        : slice_eq(got, want);
        if (same) continue;
        printf("# %s\n#   gave   %.*s\n#   wanted %s\n", cases[i].source, SLICE_FMT(got),
               cases[i].want);
        check_failures++;
    }
}
#define STATE_CHECK(sandbox, cases) state_check((sandbox), (cases), sizeof(cases) / sizeof *(cases))

#endif
