// The parts of the courier, in the order an attempt meets them:
//   courier.c           send, resolve, ask the guard, pin, cancel, close
//   courier_easy.c      the options of an easy handle
//   courier_loop.c      curl's sockets and timer on the uv loop
//   courier_receive.c   callbacks during the transfer: caps and the last checks
//   courier_probe.c     what only the kernel and OpenSSL know
//   courier_verdict.c   what the attempt came to
#ifndef TUMA_COURIER_INNER_H
#define TUMA_COURIER_INNER_H

#include <curl/curl.h>

#include "buf.h"
#include "courier.h"
#include "map.h"

enum {
    RESPONSE_HEADER_BYTES_MAX = 64 * 1024, // all blocks of an attempt together
    RESPONSE_BODY_BYTES_MAX = 64 * 1024,
    RESPONSE_RAW_BYTES_MAX = 256 * 1024,
};

// Why a callback of ours stopped the transfer: curl only says that one did.
enum trouble {
    TROUBLE_NONE,
    TROUBLE_BLOCKED, // the guard refused the address
    TROUBLE_FILES,   // EMFILE and its like
    TROUBLE_STALE,   // bytes waited on the connection before we asked
    TROUBLE_RESENT,  // curl was about to send the request once more
    TROUBLE_UPGRADE,
    TROUBLE_HEADERS, // 64 KiB of headers
    TROUBLE_BODY,    // 64 KiB of body: enough
    TROUBLE_RAW,     // 256 KiB on the wire
};

// The two ends of a connection, as curl tells them.
struct ends {
    const char *local_ip, *remote_ip;
    int local_port, remote_port;
};

enum { OPENED_MAX = RESOLVER_ADDRESSES_MAX };

// An attempt under way, and its easy handle, which outlives it in a pool.
struct flight {
    struct list link; // courier->active or ->spare
    struct courier *courier;
    struct transfer *transfer;
    CURL *easy;
    struct lookup lookup;
    bool in_multi;
    struct url_parts parts;
    int64_t started_ns; // monotonic
    int32_t dns_us;
    struct curl_slist pin;    // its only entry; data is NULL without one
    bool fresh;               // the second try, on a new connection
    bool cert_set, fresh_set; // options that are set on the easy handle now

    // The response.
    struct buf headers, body;
    size_t header_bytes;
    int status;    // of the last status line
    bool complete; // the final header block ended
    enum trouble trouble;
    unsigned requests, progress;      // calls of PREREQ and of the progress callback
    curl_socket_t fd;                 // the connection, once it is known
    curl_socket_t opened[OPENED_MAX]; // by this attempt; some may be closed again
    size_t opened_count;
    bool multiplexed;      // HTTP/2: the socket is not ours alone
    int64_t raw_base, raw; // bytes the socket had received before us, and for us
    char error[CURL_ERROR_SIZE];
};

struct courier {
    uv_loop_t *loop;
    struct courier_opts opts;
    CURLM *multi;
    uv_timer_t timer; // curl's
    uv_timer_t soon;  // runs `done` of what ended inside a call of ours
    struct list active, spare;
    size_t active_count, flights_count; // under way; there are, spare ones included
    struct list ended;                  // transfers whose `done` is due
    struct watch **watches;             // by file descriptor
    size_t watches_room;
    struct map by_ends; // watches of connected sockets
    unsigned handles;   // open uv handles
    bool closing;
    void (*closed)(void *user);
    void *user;
};

// --- courier_easy.c ---

// A handle with everything that never varies; NULL on no memory.
CURL *easy_new(struct flight *flight);
// Sets what varies. False on no memory.
bool easy_prepare(struct flight *flight, int64_t timeout_ms);
// The only entry of CURLOPT_RESOLVE, in the transfer's arena.
bool easy_pin(struct flight *flight, const struct resolved *resolved);

// --- courier_loop.c ---

bool loop_init(struct courier *courier);
// Frees the multi handle and closes the uv handles; courier_freed runs after the last one.
void loop_close(struct courier *courier);
// After flights_count grew: keeps room for as many idle connections as promised.
void loop_size_pool(struct courier *courier);
// `fd` is new, or about to be closed: what was known of it is void.
void loop_forget_socket(struct courier *courier, curl_socket_t fd);
// Remembers the ends of `fd`, when they are its own.
void loop_name_socket(struct courier *courier, curl_socket_t fd, const struct ends *ends);
// The socket with these ends, or CURL_SOCKET_BAD.
curl_socket_t loop_find_socket(const struct courier *courier, const struct ends *ends);

// --- courier_receive.c ---

void receive_reset(struct flight *flight);
void receive_set_callbacks(struct flight *flight);

// --- courier_verdict.c ---

// Fills transfer->attempt after curl ended with `code`.
void verdict_give(struct flight *flight, CURLcode code);

// --- courier.c ---

void flight_ended(struct flight *flight, CURLcode code); // out of the multi handle
void courier_freed(struct courier *courier);             // the last handle is closed

#endif
