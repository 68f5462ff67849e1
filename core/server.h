// An HTTP/1.1 server on a uv loop: strict parsing (llhttp), limits, deadlines,
// keep-alive, pipelining answered in order. Knows no routes. Its own errors are
// problem documents (http_problem.h) followed by the end of the connection:
//
//   400  a head or a body that is not clean HTTP/1.1 (request smuggling, a lone LF, folded lines)
//   404  a path with dot segments, empty segments, encoded slashes or NULs
//   408  the head or the body took longer than its deadline
//   413  the body is longer than body_max, or its chunks are mostly overhead
//   414  the request line is longer than 8 KiB
//   417  an expectation other than 100-continue
//   426  a WebSocket upgrade
//   431  a header line longer than 8 KiB, all of them longer than 32 KiB, or more than 100
//   501  unknown methods and transfer codings
//   503  too many connections, or too many bytes of bodies
//   505  not HTTP/1.x
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

// One request and its answer. Lives until server_reply. Its slices live as long.
struct exchange {
    struct arena *arena; // for whoever answers; dies with the exchange
    struct slice method, target;
    struct slice path;      // percent-decoded once; no NUL, no dot segments, no "//"
    struct slice query;     // as sent, without '?'
    struct header *headers; // as received, order kept
    size_t headers_count;
    struct slice body;
    struct slice peer; // "127.0.0.1:4711" or "unix"
    bool local;        // came over the control socket
    void *user;        // the handler's own
    void *internal;    // the server's
};

struct server_opts {
    const char *host;  // IP address to listen on, or "localhost"; NULL with `path`
    int port;          // 0: any, see server_port
    const char *path;  // unix socket (mode 0600), removed on close
    bool any_path;     // take odd paths too (encoded slashes, dot segments): a receiver for tests
    size_t body_max;   // 413 past it; default 8 MiB (a batch), one event has its own limit
    size_t bodies_max; // bytes of bodies held at once, default 64 MiB; beyond: 503
    unsigned connections_max;            // default 10000; beyond: 503 and close
    int64_t header_ms, body_ms, idle_ms; // deadlines; default 5 s, 10 s, 30 s (R39)
    // A whole request is there. The handler answers now or later, once, with server_reply,
    // also when the client went away in the meantime.
    void (*on_request)(void *user, struct exchange *exchange);
    void *user;
};

// Listens. Returns an owned server, or NULL with ERR_CONFLICT "address_in_use", ERR_INPUT
// "bad_address", ERR_IO "listen" or no memory. Everything runs on the loop's thread.
struct server *server_new(uv_loop_t *loop, const struct server_opts *opts, struct fail *fail);
// The TCP port it listens on, chosen by the system when opts said 0.
int server_port(const struct server *server);
// Stops accepting at once, finishes open exchanges for at most `drain_ms`, then `closed`; the
// server is gone by then. Exchanges still unanswered must be answered even after that.
void server_close(struct server *server, int64_t drain_ms, void (*closed)(void *user), void *user);

// Header value by name, or an empty slice. *count (may be NULL): how often it came.
struct slice exchange_header(const struct exchange *exchange, const char *name, size_t *count);

// Answers (bytes are copied) and lets the exchange go: the pointer is dead afterwards.
// Content-Length, Date and Connection are added. Never calls back.
void server_reply(struct exchange *exchange, int status, const struct header *headers,
                  size_t headers_count, struct slice body);

#endif
