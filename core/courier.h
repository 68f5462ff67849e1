// Sends requests: libcurl's multi interface on a uv loop. Owns connections,
// TLS, deadlines and size caps; resolves, asks the guard, pins the addresses.
// It never queues: whoever calls decides that a slot is free.
#ifndef TUMA_COURIER_H
#define TUMA_COURIER_H

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "arena.h"
#include "fail.h"
#include "guard.h"
#include "list.h"
#include "model.h"
#include "request.h"
#include "resolver.h"
#include "slice.h"

struct courier;

struct courier_opts {
    const struct guard *guard;
    struct resolver *resolver;     // borrowed
    const char *ca_file;           // NULL: the system's
    const char *user_agent;        // "tuma/VERSION"
    bool http2;                    // offer HTTP/2 over TLS
    unsigned idle_connections_max; // default 256
};

// One attempt on the wire. The caller owns it, and what it borrows, until `done` ran.
struct transfer {
    const struct request *request; // sealed: no markers
    const struct header *extra;    // further headers (signature, idempotency key, traceparent)
    size_t extra_count;
    int64_t timeout_ms, connect_timeout_ms;
    const char *tls_cert, *tls_key; // files, or NULL
    struct arena *arena;            // response headers and body are put here
    void (*done)(struct transfer *transfer);
    void *user;
    struct attempt attempt; // in: number, started_ms; out: the rest, verdict by status included
    void *internal;         // the courier's
};

struct courier *courier_new(uv_loop_t *loop, const struct courier_opts *opts, struct fail *fail);
// Aborts what is under way (verdict LOCAL, "shutdown"), then `closed`.
void courier_close(struct courier *courier, void (*closed)(void *user), void *user);
void courier_send(struct courier *courier,
                  struct transfer *transfer); // `done` runs later, never inside
void courier_cancel(struct courier *courier, struct transfer *transfer); // done runs with LOCAL
size_t courier_active(const struct courier *courier);
// Process-wide, once, before threads: scrubs the environment (proxies, key log), curl_global_init.
enum err courier_global_init(struct fail *fail);

#endif
