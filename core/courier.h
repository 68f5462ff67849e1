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
    const struct guard *guard;     // borrowed
    struct resolver *resolver;     // borrowed; closed after the courier
    const char *ca_file;           // borrowed; NULL: the system's
    const char *user_agent;        // "tuma/VERSION"
    bool http2;                    // offer HTTP/2 over TLS
    unsigned idle_connections_max; // 0: 256
};

// One attempt on the wire. The caller owns it, and what it borrows, until `done` ran.
//
// What comes out in `attempt`: status, verdict, error_type and error, response_incomplete,
// response_headers (the last block, status line included), response_body (its first 64 KiB),
// retry_after_ms (429 and 503), and the times. dns_us, connect_us and tls_us are durations (0 on a
// connection that was open already, -1 when the attempt did not get there), first_byte_us and
// total_us count from courier_send.
//
// Verdicts. A complete 2xx header block is DELIVERED, whatever the body does later
// (response_incomplete). 410 is DISABLE. LOCAL is our own trouble, PARK a request that cannot be
// sent as it is; everything else is RETRY. The stable words in error_type:
//
//   status      gone (410), throttled (429), client_error (other 4xx), server_error (5xx),
//               redirect (3xx; never followed)
//   name        dns_notfound, dns_timeout, dns_failed, dns_no_address
//   address     blocked (one text for all, so that it tells nothing about the inside)
//   connection  connect_timeout (TLS included), refused, unreachable, reset, closed, timeout
//   TLS         tls_handshake, tls_untrusted, tls_expired, tls_not_yet_valid, tls_wrong_host,
//               tls_cert (any other fault of the certificate), tls_client_cert (ours was refused
//               or cannot be read)
//   answer      malformed_response, response_headers_too_large, unexpected_upgrade, http2_error
//   other       transfer_failed
//   LOCAL       too_many_files, no_ports, out_of_memory, ca_file, shutdown, cancelled
//   PARK        bad_header and the types of guard_url
struct transfer {
    const struct request *request; // sealed: no markers
    const struct header *extra;    // further headers (signature, idempotency key, traceparent)
    size_t extra_count;
    int64_t timeout_ms, connect_timeout_ms; // 0: 10 s, 5 s
    const char *tls_cert, *tls_key;         // files, or NULL
    struct arena *arena;                    // response headers and body are put here
    void (*done)(struct transfer *transfer);
    void *user;
    struct attempt attempt; // in: number, started_ms; out: the rest, verdict by status included
    struct list link;       // the courier's
    void *internal;         // the courier's
};

// Returns an owned courier, or NULL with fail. It lives on the loop's thread, as do all
// functions below but courier_global_init.
struct courier *courier_new(uv_loop_t *loop, const struct courier_opts *opts, struct fail *fail);
// Aborts what is under way (verdict LOCAL, "shutdown"; every `done` runs), then `closed`.
void courier_close(struct courier *courier, void (*closed)(void *user), void *user);
// Starts the attempt; `done` runs once, later, never inside.
void courier_send(struct courier *courier, struct transfer *transfer);
// `done` runs later with LOCAL, "cancelled". The transfer must be under way.
void courier_cancel(struct courier *courier, struct transfer *transfer);
// Transfers under way.
size_t courier_active(const struct courier *courier);
// Process-wide, once, before threads: scrubs the environment (proxies, key log), ignores SIGPIPE,
// curl_global_init.
enum err courier_global_init(struct fail *fail);

#endif
