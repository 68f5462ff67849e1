// The registry of webhooks: watches the scripts directory, has each changed
// file compiled and described by a script process, and publishes a new hook
// set. A broken file leaves its old version running.
#ifndef TUMA_REGISTRY_H
#define TUMA_REGISTRY_H

#include <stdbool.h>
#include <uv.h>

#include "catalog.h"
#include "fail.h"
#include "guard.h"
#include "hook.h"
#include "script.h"

struct registry;

struct registry_opts {
    const char *scripts_dir;
    const struct catalog *catalog;
    const struct guard *guard; // refuses URLs that could never be dialled
    struct script_opts script;
    bool watch;     // else loaded once
    bool run_tests; // hook.tests must pass before a version goes live; not at the first load
    // A new set is there (also once after the first load, and when the registry is whole).
    // Borrowed for the call.
    void (*changed)(void *user, struct hook_set *set);
    void *user;
};

struct registry *registry_new(uv_loop_t *loop, const struct registry_opts *opts, struct fail *fail);
void registry_close(struct registry *registry, void (*closed)(void *user), void *user);
// Reads the directory again now (SIGHUP).
void registry_scan(struct registry *registry);
// Every file that was there at the start has been looked at: each webhook runs or its file says why
// not. Until then, which only a lack of memory or processes makes last, an event may miss one.
bool registry_is_whole(const struct registry *registry);
// The state of every file, for `tuma scripts` and the API: name, version, error, stages.
struct registry_file {
    struct slice name, file, version, error; // error: file:line: text of the newest, broken version
    const struct hook *hook;                 // the version that runs, or NULL
    int64_t loaded_ms;
};
void registry_each(struct registry *registry,
                   void (*one)(void *user, const struct registry_file *file), void *user);

#endif
