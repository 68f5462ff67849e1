// An HTTP/1.1 server on a uv loop: strict parsing (llhttp), limits, deadlines,
// keep-alive, pipelining answered in order. Knows no routes.
#ifndef TUMA_SERVER_H
#define TUMA_SERVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "arena.h"
#include "fail.h"
#include "request.h"
#include "slice.h"

struct server;

// One request and its answer. Lives until it was answered and `release` ran.
struct exchange {
    struct arena *arena; // for whoever answers; dies with the exchange
    struct slice method, target, path,
        query;              // path: as sent, checked (no NUL, no dot segments), percent-decoded
    struct header *headers; // as received, order kept
    size_t headers_count;
    struct slice body;
    struct slice peer; // "127.0.0.1:4711" or "unix"
    bool local;        // came over the control socket
    void *user;        // the handler's own
    void *internal;    // the server's
};

struct server_opts {
    const char *host;         // address to listen on, or NULL with `path`
    int port;                 // 0: any, see server_port
    const char *path;         // unix socket (mode 0600), removed on close
    size_t body_max;          // 413 past it; default 8 MiB (a batch), one event has its own limit
    unsigned connections_max; // default 10000; beyond: 503 and close
    int64_t header_ms, body_ms, idle_ms; // deadlines; default 5 s, 10 s, 30 s (R39)
    // A whole request is there. The handler answers now or later, once, with server_reply.
    void (*on_request)(void *user, struct exchange *exchange);
    // The client went away before the answer; the handler may forget it but must still reply.
    void *user;
};

struct server *server_new(uv_loop_t *loop, const struct server_opts *opts, struct fail *fail);
int server_port(const struct server *server);
// Stops accepting at once, finishes open exchanges for at most `drain_ms`, then `closed`.
void server_close(struct server *server, int64_t drain_ms, void (*closed)(void *user), void *user);

// Header value by name, or an empty slice. *count (may be NULL): how often it came.
struct slice exchange_header(const struct exchange *exchange, const char *name, size_t *count);

// Answers (bytes are copied) and lets the exchange go: the pointer is dead afterwards.
// Content-Length, Date and Connection are added.
void server_reply(struct exchange *exchange, int status, const struct header *headers,
                  size_t headers_count, struct slice body);

#endif
