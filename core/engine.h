// The engine put together: store, journal, workers, registry and, for serve,
// the API. Lives on the caller's loop; everything else has its own threads.
#ifndef TUMA_ENGINE_H
#define TUMA_ENGINE_H

#include <stdbool.h>
#include <uv.h>

#include "config.h"
#include "fail.h"
#include "hook.h"
#include "inbox.h"

struct engine;

struct engine_opts {
    const struct config *config; // borrowed
    bool api;                    // listen (serve); else only events from this process (run)
    bool watch;                  // follow changes of the scripts directory
    // The first hook set is live and the journal takes events. Once.
    void (*ready)(void *user, struct engine *engine);
    // Everything is closed: the loop may end. fail->code tells why when it was not asked for.
    void (*stopped)(void *user, const struct fail *fail);
    void *user;
};

struct engine *engine_start(uv_loop_t *loop, const struct engine_opts *opts, struct fail *fail);
// Stops accepting, lets attempts under way end (config drain_s), closes everything. Idempotent.
void engine_stop(struct engine *engine);
// Reads scripts and secrets again (SIGHUP).
void engine_reload(struct engine *engine);
struct inbox *engine_journal(struct engine *engine);
struct hook_set *engine_hooks(struct engine *engine); // borrowed, loop's thread
int engine_port(const struct engine *engine);
// After `stopped`.
void engine_free(struct engine *engine);

#endif
