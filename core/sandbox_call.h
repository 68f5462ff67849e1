// A script file inside its state: loaded once, described for the engine, and its
// stages run for one event after another.
#ifndef TUMA_SANDBOX_CALL_H
#define TUMA_SANDBOX_CALL_H

#include "buf.h"
#include "sandbox.h"
#include "script_wire.h"

enum { SANDBOX_STAGES = 5 };
// The stages' names in the order of enum hook_stage's bits.
extern const char *const sandbox_stage_names[SANDBOX_STAGES];

struct sandbox_script {
    struct sandbox *sandbox;    // its host is this struct
    struct slice file;          // as messages name it
    struct slice source;        // joined with the shared files, see script_wire.h
    int stages[SANDBOX_STAGES]; // registry references, LUA_NOREF when not defined
    void *owner;                // of whoever made it, for `secret` and `log`
};

struct sandbox_script_opts {
    struct slice file, source; // must outlive the script
    size_t memory_max;
    int64_t load_ms;   // budget of the top level
    struct hook *hook; // NULL: only to be described; must outlive the script
    struct sandbox_kv *kv;
    bool is_test; // a *_test.lua file: returns a list of tests, not a hook
    void *owner;
    bool (*secret)(struct sandbox *sandbox, struct slice name, struct slice *value);
    void (*log)(struct sandbox *sandbox, int level, struct slice line);
};

// Why a file was refused: "file:line: text" and perhaps a traceback.
struct sandbox_problem {
    char text[SANDBOX_ERROR_MAX + 256];
    unsigned line; // 0: unknown
    bool over_budget, exhausted;
};

// Compiles the file, runs its top level with the libraries in scope, checks what it
// returns and, with `description` (may be NULL), writes that as JSON without its
// functions, whose names are in "stages". NULL with `problem` when any of it fails.
struct sandbox_script *sandbox_script_new(const struct sandbox_script_opts *opts,
                                          struct buf *description, struct sandbox_problem *problem);
void sandbox_script_free(struct sandbox_script *script); // NULL is fine

// Runs what one call asks for under `soft_ms` and fills in `done` (its serial is the
// caller's). Everything in it lies in `arena` or in the call.
void sandbox_script_run(struct sandbox_script *script, const struct wire_call *call,
                        const struct event *event, struct arena *arena, int64_t soft_ms,
                        struct wire_done *done);

// An error of sandbox_protect as people read it: "file:line: text", then the traceback,
// at most 4 KB, in `arena`.
struct slice sandbox_call_error(const struct sandbox_script *script,
                                const struct sandbox_result *result, struct arena *arena);

// Writes the table at `index` as JSON. With `stages` its functions are allowed at
// the top under the stages' names and listed; any other function, and what JSON
// cannot say, raises with its path ("hook.request.body is a function").
void sandbox_describe(lua_State *L, int index, bool stages, struct buf *out);

// Names in a source that compiled, is loaded in `L` and names what is not there, as a JSON list:
//   {"at":120,"text":"no global fone is there; did you mean phone?"}
//   {"at":140,"tag":"CALER_ID"}      a tag that is read; whether it is known the catalogue knows
void sandbox_lint(lua_State *L, struct slice source, struct buf *out);

#endif
