// A connection's input. Bytes are taken straight from the server's one read
// buffer; only an unfinished head, and what arrives while the connection is
// paused, is kept in `in`. The head is judged by server_head, then given to llhttp,
// which frames the body; both must agree on whether there is one.
#include <assert.h>
#include <stdlib.h>

#include "server_inner.h"

void box_free(struct box *box) {
    if (box->connection) box->connection->server->bodies -= box->body.n;
    buf_deinit(&box->body);
    buf_deinit(&box->answer);
    arena_deinit(&box->arena);
    free(box);
}

static struct box *box_new(struct connection *connection) {
    struct box *box = calloc(1, sizeof *box);
    if (!box) return NULL;
    box->connection = connection;
    arena_init(&box->arena, HEAD_BYTES_MAX * 4 + 2 * connection->server->opts.body_max);
    buf_init(&box->body, connection->server->opts.body_max);
    buf_init(&box->answer, SIZE_MAX / 2);
    box->exchange.internal = box;
    box->exchange.arena = &box->arena;
    box->exchange.peer = slice_str(connection->peer);
    box->exchange.local = connection->server->opts.path != NULL;
    list_push(&connection->boxes, &box->link);
    connection->boxes_count++;
    connection->current = box;
    return box;
}

static void refuse(struct connection *connection, int status, enum err code, const char *type,
                   const char *text) {
    struct fail fail = { 0 };
    fail_set(&fail, code, 0, type, "%s", text);
    connection_refuse(connection, status, &fail);
}

// --- llhttp's callbacks ---

static int on_body(llhttp_t *parser, const char *bytes, size_t n) {
    struct connection *connection = parser->data;
    struct server *server = connection->server;
    struct box *box = connection->current;
    if (n > server->opts.bodies_max - server->bodies) return HPE_USER;
    if (!buf_add(&box->body, slice(bytes, n))) return HPE_USER;
    server->bodies += n;
    return 0;
}

// Paused behind every chunk line and chunk: what ends them is checked by hand,
// because llhttp built without its strict mode takes any two bytes.
static int on_chunk_edge(llhttp_t *parser) {
    struct connection *connection = parser->data;
    connection->crlf_due = true;
    return HPE_PAUSED;
}

static int on_message_complete(llhttp_t *parser) {
    struct connection *connection = parser->data;
    connection->message_done = true;
    return HPE_PAUSED;
}

static const llhttp_settings_t settings = {
    .on_body = on_body,
    .on_chunk_header = on_chunk_edge,
    .on_chunk_complete = on_chunk_edge,
    .on_message_complete = on_message_complete,
};

// --- the body ---

// The two bytes before data[n], the first of which may be from an earlier read.
static bool ends_with_crlf(const struct connection *connection, const char *data, size_t n) {
    char before = n > 1 ? data[n - 2] : connection->last_byte;
    return n > 0 && before == '\r' && data[n - 1] == '\n';
}

static void refuse_body(struct connection *connection, llhttp_errno_t code) {
    const struct box *box = connection->current;
    if (code != HPE_USER)
        refuse(connection, 400, ERR_INPUT, "bad_body", "the body's framing is broken");
    else if (box->body.failed)
        refuse(connection, 413, ERR_LIMIT, "body_too_large", "the body is too large");
    else
        refuse(connection, 503, ERR_FULL, "overloaded", "too many bytes are waiting already");
}

// Gives llhttp bytes until the message ends or they do. Returns how many it
// took; -1 when the request was refused. Behind a chunk's edge it must go on
// even without bytes: only then does it say that the last chunk was the end.
static long feed(struct connection *connection, struct slice data) {
    size_t at = 0;
    bool edge = false;
    while ((at < data.n || edge) && !connection->message_done) {
        llhttp_errno_t code = llhttp_execute(&connection->parser, data.p + at, data.n - at);
        edge = code == HPE_PAUSED;
        if (code != HPE_OK && !edge) {
            refuse_body(connection, code);
            return -1;
        }
        if (edge)
            at = (size_t)(llhttp_get_error_pos(&connection->parser) - data.p);
        else
            at = data.n;
        if (edge) llhttp_resume(&connection->parser);
        if (connection->crlf_due && !ends_with_crlf(connection, data.p, at)) {
            refuse_body(connection, HPE_STRICT);
            return -1;
        }
        connection->crlf_due = false;
    }
    if (at) connection->last_byte = data.p[at - 1];
    return (long)at;
}

static bool overhead_too_large(const struct connection *connection) {
    const struct box *box = connection->current;
    return box->head.chunked && connection->raw_bytes > OVERHEAD_MAX + 9 * (uint64_t)box->body.n;
}

static void hand_over(struct connection *connection) {
    struct box *box = connection->current;
    connection->current = NULL;
    connection->reading = box->close ? READING_NOTHING : READING_HEAD;
    connection->scan = (struct head_scan){ 0 };
    box->whole = true;
    box->exchange.body = box->body.n ? buf_slice(&box->body) : S("");
    connection->server->opts.on_request(connection->server->opts.user, &box->exchange);
}

static size_t read_body(struct connection *connection, struct slice data) {
    long n = feed(connection, data);
    if (n < 0) return data.n;
    connection->raw_bytes += (uint64_t)n;
    if (overhead_too_large(connection))
        refuse(connection, 413, ERR_LIMIT, "body_too_large", "more framing than body");
    else if (connection->message_done)
        hand_over(connection);
    return (size_t)n;
}

// --- the head ---

// llhttp must come to the same conclusion about the body as server_head did.
static bool frames_agree(struct connection *connection, struct slice text,
                         const struct head *head) {
    llhttp_init(&connection->parser, HTTP_REQUEST, &settings);
    connection->parser.data = connection;
    connection->message_done = connection->crlf_due = false;
    connection->raw_bytes = 0;
    connection->last_byte = '\n';
    llhttp_errno_t code = llhttp_execute(&connection->parser, text.p, text.n);
    bool has_body = head->chunked || head->content_length > 0;
    return connection->message_done ? !has_body : has_body && code == HPE_OK;
}

static bool method_known(struct slice method) {
#define NAME(number, name, string) S(#string),
    static const struct slice known[] = { HTTP_METHOD_MAP(NAME) };
#undef NAME
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (slice_eq(method, known[i])) return true;
    return false;
}

static void fill_exchange(struct exchange *exchange, const struct head *head) {
    exchange->method = head->method;
    exchange->target = head->target;
    exchange->path = head->path;
    exchange->query = head->query;
    exchange->headers = head->headers;
    exchange->headers_count = head->headers_count;
}

static void expect_body(struct connection *connection) {
    connection->reading = READING_BODY;
    if (!connection->current->head.continue_100) return;
    connection_advance(connection);
    connection_mark_dirty(connection);
}

static void read_whole_head(struct connection *connection, struct slice text) {
    struct server *server = connection->server;
    struct box *box = box_new(connection);
    struct slice kept = box ? arena_dup(&box->arena, text) : slice(NULL, 0);
    if (!kept.p) {
        connection_close(connection);
        return;
    }
    if (head_read(&box->head, kept, &box->arena) != HEAD_DONE) {
        connection_refuse(connection, box->head.status, &box->head.fail);
        return;
    }
    fill_exchange(&box->exchange, &box->head);
    box->close = box->head.close;
    if (!method_known(box->head.method))
        refuse(connection, 501, ERR_INPUT, "bad_method", "an unknown method");
    else if (box->head.content_length > server->opts.body_max)
        refuse(connection, 413, ERR_LIMIT, "body_too_large", "the body is too large");
    else if (!frames_agree(connection, kept, &box->head))
        refuse(connection, 400, ERR_INPUT, "bad_request", "not a clean HTTP/1.1 request");
    else if (box->head.path_refused && !server->opts.any_path)
        refuse(connection, 404, ERR_NOTFOUND, "not_found", "nothing has such a path");
    else if (connection->message_done)
        hand_over(connection);
    else
        expect_body(connection);
}

static size_t read_head(struct connection *connection, struct slice data) {
    // One empty line before a request is forgiven (RFC 9112 section 2.2).
    size_t skip = !connection->scan.line && slice_starts(data, S("\r\n")) ? 2 : 0;
    if (!connection->scan.line && slice_eq(data, S("\r"))) return 0;
    struct slice text = slice_from(data, skip);
    switch (head_scan(&connection->scan, text)) {
    case HEAD_MORE: return skip;
    case HEAD_DONE: {
        size_t end = connection->scan.end;
        read_whole_head(connection, slice(text.p, end));
        return skip + end;
    }
    case HEAD_BAD:
        connection_refuse(connection, connection->scan.status, &connection->scan.fail);
        return data.n;
    case HEAD_FOREIGN: connection_close(connection); return data.n;
    }
    return data.n;
}

// --- the flow ---

static bool paused(const struct connection *connection) {
    return connection->boxes_count >= OUTSTANDING_MAX || connection->out.n > UNWRITTEN_MAX ||
           connection->in_write;
}

// Consumes what it can of `data`; returns how much.
static size_t consume(struct connection *connection, struct slice data) {
    size_t at = 0;
    while (at < data.n && !connection->closed) {
        struct slice rest = slice_from(data, at);
        size_t n = rest.n;
        if (connection->reading == READING_BODY) {
            n = read_body(connection, rest);
        } else if (connection->reading == READING_HEAD) {
            if (paused(connection)) break;
            n = read_head(connection, rest);
            if (!n) break;
        }
        at += n;
    }
    return at;
}

// Which deadline fits. No deadline while a handler works on an answer.
static void choose_wait(struct connection *connection) {
    enum wait wait = WAIT_IDLE;
    if (connection->reading == READING_BODY)
        wait = WAIT_BODY;
    else if (connection->in_write || connection->out.n)
        wait = WAIT_WRITE;
    else if (connection->reading == READING_HEAD && connection->in.n && !paused(connection))
        wait = WAIT_HEAD;
    else if (!list_empty(&connection->boxes))
        wait = WAIT_NONE;
    connection_wait(connection, wait);
}

// Input behind the consumed part is kept for later.
static void consume_kept(struct connection *connection) {
    struct buf *in = &connection->in;
    size_t n = consume(connection, buf_slice(in));
    if (connection->closed) return;
    memmove(in->p, in->p + n, in->n - n);
    in->n -= n;
    if (!in->n) buf_deinit(in);
}

// The client sends nothing more. A request that is not whole yet is forgotten;
// those before it still get their answers.
static void end_of_input(struct connection *connection) {
    connection->eof = true;
    connection->active = false;
    struct box *cut = connection->current;
    if (!cut) return;
    connection->current = NULL;
    connection->reading = READING_NOTHING;
    list_remove(&cut->link);
    connection->boxes_count--;
    box_free(cut);
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf) {
    (void)suggested;
    struct connection *connection = handle->data;
    *buf = uv_buf_init(connection->server->read_bytes, READ_BYTES);
}

static void take_bytes(struct connection *connection, struct slice data) {
    if (!connection->in.n) data = slice_from(data, consume(connection, data));
    if (connection->closed || !data.n) return;
    if (!buf_add(&connection->in, data)) {
        connection_close(connection);
        return;
    }
    consume_kept(connection);
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf) {
    struct connection *connection = stream->data;
    if (n == 0) return;
    if (n < 0 && (n != UV_EOF || connection->lingering)) {
        connection_close(connection);
        return;
    }
    if (connection->lingering) return;
    if (n == UV_EOF)
        end_of_input(connection);
    else
        take_bytes(connection, slice(buf->base, (size_t)n));
    if (connection->closed) return;
    if (paused(connection) && connection->active) {
        uv_read_stop(stream);
        connection->active = false;
    }
    if (connection->eof) connection_mark_dirty(connection);
    choose_wait(connection);
}

void connection_resume(struct connection *connection) {
    if (connection->in.n && !paused(connection)) consume_kept(connection);
    if (connection->closed) return;
    choose_wait(connection);
    if (connection->active || connection->eof || paused(connection)) return;
    connection->active = uv_read_start(&connection->handle.stream, on_alloc, on_read) == 0;
    if (!connection->active) connection_close(connection);
}

void connection_start(struct connection *connection) {
    connection_resume(connection);
}

static void on_closed(uv_handle_t *handle) {
    struct connection *connection = handle->data;
    struct server *server = connection->server;
    buf_deinit(&connection->in);
    buf_deinit(&connection->out);
    buf_deinit(&connection->writing);
    free(connection);
    server_connection_gone(server);
}

void connection_close(struct connection *connection) {
    if (connection->closed) return;
    connection->closed = true;
    connection_wait(connection, WAIT_NONE);
    list_remove(&connection->dirty);
    list_remove(&connection->link);
    struct list *link;
    while ((link = list_pop(&connection->boxes))) {
        struct box *box = list_item(link, struct box, link);
        if (!box->whole || box->answered) {
            box_free(box);
            continue;
        }
        connection->server->bodies -= box->body.n;
        box->connection = NULL;
    }
    uv_close(&connection->handle.handle, on_closed);
}

struct slice exchange_header(const struct exchange *exchange, const char *name, size_t *count) {
    struct slice wanted = slice_str(name), found = slice(NULL, 0);
    size_t times = 0;
    for (size_t i = 0; i < exchange->headers_count; i++) {
        if (!slice_ieq(exchange->headers[i].name, wanted)) continue;
        if (!times++) found = exchange->headers[i].value;
    }
    if (count) *count = times;
    return found;
}
