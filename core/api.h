// The HTTP API: events in, administration, health. Parses and checks in the
// loop's thread, hands to the journal, answers when the journal answered.
#ifndef TUMA_API_H
#define TUMA_API_H

#include <stdbool.h>
#include <uv.h>

#include "fail.h"
#include "hook.h"
#include "inbox.h"
#include "registry.h"

struct api;

struct api_opts {
    const char *host;
    int port;                // 0: any
    const char *socket_path; // control socket (mode 0600), or NULL
    bool token_required;     // true as soon as the host is not loopback
    const char *store_dir;   // for reading
    struct inbox *journal;
    struct registry *registry; // may be NULL
    size_t body_max;
};

struct api *api_new(uv_loop_t *loop, const struct api_opts *opts, struct fail *fail);
int api_port(const struct api *api);
// The hook set that events are matched against from now on. Refs it.
void api_set_hooks(struct api *api, struct hook_set *set);
// True once the journal takes events: /readyz.
void api_set_ready(struct api *api, bool ready);
void api_close(struct api *api, int64_t drain_ms, void (*closed)(void *user), void *user);

#endif
