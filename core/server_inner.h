// What the server's files share: the connection and its life.
//
//   server.c             listening, deadlines, closing
//   server_connection.c  bytes in: head, body, exchange
//   server_answer.c      answers out: order, batching, the end of a connection
//   server_head.c        the head's bytes (pure)
#ifndef TUMA_SERVER_INNER_H
#define TUMA_SERVER_INNER_H

#include <llhttp.h>

#include "buf.h"
#include "list.h"
#include "server.h"
#include "server_head.h"

enum {
    OUTSTANDING_MAX = 256,      // exchanges a connection may have open
    UNWRITTEN_MAX = 256 * 1024, // answers a client may leave unread before it is not read either
    READ_BYTES = 64 * 1024,     // one read; also the slack in a connection's input
    OVERHEAD_MAX = 16 * 1024,   // framing bytes of a chunked body, beyond 8 a body byte
    PIECE_BYTES = 128 * 1024,   // of one write to a slow reader
    KEPT_BYTES = 16 * 1024,     // an empty buffer above this is given back
    LINGER_MS = 1000,           // between our last byte and closing for good
};

// A connection waits for one thing at a time; each has its own list, in order
// of deadlines, because within a list all waits are equally long.
enum wait { WAIT_IDLE, WAIT_HEAD, WAIT_BODY, WAIT_WRITE, WAIT_LINGER, WAIT_COUNT, WAIT_NONE };

union listener {
    uv_handle_t handle;
    uv_stream_t stream;
    uv_tcp_t tcp;
    uv_pipe_t pipe;
};

struct server {
    uv_loop_t *loop;
    struct server_opts opts;
    union listener listener;
    uv_timer_t timer; // the earliest deadline of all
    uv_timer_t drain;
    uv_timer_t again;     // a connection waits for memory
    uv_prepare_t prepare; // answers given from timers go out before the loop sleeps,
    uv_check_t check;     // those given by I/O callbacks right after them
    unsigned handles;     // of the server itself, still open
    struct list connections;
    unsigned count;
    struct list waits[WAIT_COUNT];
    int64_t wait_ms[WAIT_COUNT];
    struct list dirty; // connections with something to write or to end
    size_t bodies;     // bytes of bodies held
    bool draining;
    void (*closed)(void *user);
    void *closed_user;
    int64_t date_s; // second that `date` was made for
    char date[40];
    char read_bytes[READ_BYTES]; // one for all: reads are handled before the next
};

enum reading {
    READING_HEAD,
    READING_BODY,
    READING_NOTHING, // what still comes is thrown away
};

struct connection {
    union listener handle;
    struct server *server;
    struct list link, wait, dirty;
    enum wait waiting;
    int64_t deadline; // uv_now terms
    char peer[64];
    struct buf in; // bytes not consumed yet: a part of a head, or all while paused
    struct head_scan scan;
    llhttp_t parser;
    enum reading reading;
    struct box *current; // whose body is being read; also the last of `boxes`
    bool message_done;   // set by llhttp's callbacks
    bool crlf_due;       // a chunk's line or data ended: the last two bytes must be CRLF
    char last_byte;      // of the body bytes seen
    uint64_t raw_bytes;  // of the body, framing included
    struct list boxes;   // unanswered ones and those waiting for earlier ones, in order
    unsigned boxes_count;
    struct buf out, writing;
    size_t written; // of `writing`, given to uv or done
    uv_write_t write;
    uv_shutdown_t shutdown;
    bool active;   // uv_read_start is on
    bool in_write; // `writing` belongs to uv
    bool eof;      // the client will send nothing more
    bool last;     // the answer that ends the connection is in `out`
    bool lingering, closed;
};

// An exchange and what the server keeps with it.
struct box {
    struct exchange exchange;
    struct arena arena;
    struct head head;
    struct buf body, answer;
    struct connection *connection; // NULL: the client is gone, or the server
    struct list link;
    bool whole, answered, close;
};

// --- server_connection.c ---
// A connection of an accepted stream; `handle` was initialised by the caller.
void connection_start(struct connection *connection);
// Goes on with input that was held back.
void connection_resume(struct connection *connection);
// Ends it now; unanswered exchanges stay with their handlers.
void connection_close(struct connection *connection);
void box_free(struct box *box);

// --- server_answer.c ---
// Answers with a problem document and reads no further.
void connection_refuse(struct connection *connection, int status, const struct fail *fail);
// Moves what may go out, in order, to `out`.
void connection_advance(struct connection *connection);
void connection_flush(struct connection *connection);
void connection_mark_dirty(struct connection *connection);

// --- server.c ---
// Chooses the deadline that fits the connection's state.
void connection_wait(struct connection *connection, enum wait wait);
void server_connection_gone(struct server *server);
// A connection over a descriptor that is one already (tests, fuzzing). Takes `fd`.
bool server_adopt(struct server *server, int fd);

#endif
