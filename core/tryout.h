// Trying a webhook out without an engine: load one file, render it for an
// event, run its tests. For check, render, test and diff. Blocks the caller,
// who has no loop of his own.
#ifndef TUMA_TRYOUT_H
#define TUMA_TRYOUT_H

#include <stdbool.h>

#include "arena.h"
#include "buf.h"
#include "config.h"
#include "event.h"
#include "fail.h"
#include "hook.h"
#include "script.h"

struct tryout;

struct tryout *tryout_open(const struct config *config, struct fail *fail);
void tryout_close(struct tryout *tryout);

// Loads the webhook at `path`. Findings go to `found`; a file that does not
// load is one error finding. Returns a reference, or NULL when there was an error.
struct hook *tryout_load(struct tryout *tryout, const char *path, hook_finding_fn *found,
                         void *user);
// The same for a text in hand; `path` is the name it goes by.
struct hook *tryout_load_text(struct tryout *tryout, const char *path, struct slice source,
                              hook_finding_fn *found, void *user);

// Runs `source` (not longer than a script may be) in a script process and gives the table it
// returned as JSON, in `arena`. For trusted text work in Lua, like the editors' files.
enum err tryout_table(struct tryout *tryout, struct slice source, struct arena *arena,
                      struct slice *json, struct fail *fail);

// What `hook` makes of `event`; lives in `arena`.
struct tryout_result {
    enum script_outcome outcome;
    struct request *requests;
    size_t requests_count;
    struct slice unresolved; // comma separated
    struct slice reason;     // of a filter
    struct slice error;
    int64_t cpu_ns;
};
void tryout_render(struct tryout *tryout, struct hook *hook, struct event *event,
                   struct arena *arena, struct tryout_result *result);

// Runs hook.tests and the tests in `source` (may be empty). The report (JSON,
// see lua/test.lua) is in `arena`. False: something failed.
bool tryout_test(struct tryout *tryout, struct hook *hook, struct slice source, struct arena *arena,
                 struct slice *report);

// Runs the events (a JSON list) through the script for about a second; the report tells the
// time by line, see sandbox_main_profile.c. False: no event reached the script.
bool tryout_profile(struct tryout *tryout, struct hook *hook, struct slice events_json,
                    struct arena *arena, struct slice *report);

// "crm" → SCRIPTS/crm.lua; a path stays a path. `out` is NUL-terminated.
void tryout_path(const struct config *config, const char *hook, char *out, size_t size);
// Calls back for `path`, for every webhook of the directory `path` in order of names
// (NAME_test.lua files and hidden files are none), or for the webhook that has this name.
// ERR_NOTFOUND when it is not there.
enum err tryout_each_file(const struct config *config, const char *path,
                          void (*one)(void *user, const char *file), void *user, struct fail *fail);
// Findings as "file:line:column: error: text" on standard error; `user` is the path (const char *).
void tryout_print_finding(void *user, const struct hook_finding *finding);
// Appends a result as render --json shows it: {"method","url","headers":[[name,value]…],"body",
// "unresolved":[…],"filtered":bool,"reason"}; more requests of a fan-out under "requests".
void tryout_json(const struct tryout_result *result, struct arena *arena, struct buf *out);

#endif
