// Names to addresses without blocking the loop: c-ares on uv, a bounded number
// of queries, a small cache whose times are capped.
#ifndef TUMA_RESOLVER_H
#define TUMA_RESOLVER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <uv.h>

#include "fail.h"
#include "slice.h"

enum { RESOLVER_ADDRESSES_MAX = 16, RESOLVER_JOBS_MAX = 16, RESOLVER_TTL_MAX_S = 60 };

struct resolver;

struct resolver_opts {
    const char *servers; // "127.0.0.1:5353,…" overrides resolv.conf; NULL: the system's
    int64_t timeout_ms;  // whole look-up, default 5000
};

struct resolved {
    enum err err;        // OK, or fail
    char error_type[32]; // dns_notfound, dns_timeout, dns_failed, dns_no_address
    char error[96];
    struct sockaddr_storage addresses[RESOLVER_ADDRESSES_MAX];
    size_t count;
};

struct resolver *resolver_new(uv_loop_t *loop, const struct resolver_opts *opts, struct fail *fail);
// Open look-ups are answered with an error; `closed` runs when all handles are closed.
void resolver_close(struct resolver *resolver, void (*closed)(void *user), void *user);
// Looks up A and AAAA of `host` (copied). `done` runs later on the loop, never inside the call,
// except when `host` is in the cache: then at once. Answers of /etc/hosts count.
void resolver_lookup(struct resolver *resolver, struct slice host,
                     void (*done)(void *user, const struct resolved *resolved), void *user);

#endif
