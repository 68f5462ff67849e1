// Names to addresses without blocking the loop: c-ares on uv, a bounded number
// of look-ups at a time, a small cache whose times are capped.
#ifndef TUMA_RESOLVER_H
#define TUMA_RESOLVER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <uv.h>

#include "fail.h"
#include "list.h"
#include "slice.h"

enum { RESOLVER_ADDRESSES_MAX = 16, RESOLVER_JOBS_MAX = 16, RESOLVER_TTL_MAX_S = 60 };

struct resolver;

struct resolver_opts {
    const char *servers; // "127.0.0.1:5353,…" overrides resolv.conf; NULL: the system's
    int64_t timeout_ms;  // whole look-up, waiting for its turn included; 0: 5000
};

struct resolved {
    enum err err;        // OK, or why not
    char error_type[32]; // dns_notfound, dns_timeout, dns_failed, dns_no_address
    char error[96];
    struct sockaddr_storage addresses[RESOLVER_ADDRESSES_MAX]; // at most half of one family; port 0
    size_t count;
};

// Somebody's wait for a name. Owned by the caller and in place until `done` ran or it was
// forgotten.
struct lookup {
    struct list link;                                                     // the resolver's
    void (*done)(struct lookup *lookup, const struct resolved *resolved); // `resolved` is borrowed
};

struct resolver *resolver_new(uv_loop_t *loop, const struct resolver_opts *opts, struct fail *fail);
// Open look-ups are answered with an error; `closed` runs when all handles are closed.
void resolver_close(struct resolver *resolver, void (*closed)(void *user), void *user);
// Looks up A and AAAA of `host` (copied). `done` runs once: at once when the answer is in the cache
// (or the look-up cannot be made), else later on the loop. Answers of /etc/hosts count. Look-ups of
// one name share one query.
void resolver_lookup(struct resolver *resolver, struct slice host, struct lookup *lookup);
// `done` will not run. Harmless when it ran already.
void resolver_forget(struct lookup *lookup);

#endif
