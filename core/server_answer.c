// Answers, in the order of their requests. Each is made at once, into its
// connection's outgoing bytes when it is its turn, else into a buffer of its
// own. Writing waits for the end of the loop turn (server.c). The last
// answer of a connection is followed by shutdown and a short linger: closing with
// unread input would reset the connection and could destroy the answer.
#include <assert.h>
#include <stdlib.h>
#include <time.h>

#include "http_problem.h"
#include "server_inner.h"

void connection_mark_dirty(struct connection *connection) {
    if (!list_linked(&connection->dirty)) list_push(&connection->server->dirty, &connection->dirty);
}

static void add_date(struct server *server, struct buf *out) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME_COARSE, &now);
    if (now.tv_sec != server->date_s) {
        struct tm utc;
        gmtime_r(&now.tv_sec, &utc);
        strftime(server->date, sizeof server->date, "\r\nDate: %a, %d %b %Y %H:%M:%S GMT", &utc);
        server->date_s = now.tv_sec;
    }
    buf_add(out, slice_str(server->date));
}

// Head and body of an answer; cheaper than printf by what a small answer costs in all.
static void add_answer(struct buf *out, const struct box *box, int status,
                       const struct header *headers, size_t headers_count, struct slice body) {
    assert(status >= 200 && status <= 599);
    char number[24];
    int n = snprintf(number, sizeof number, "HTTP/1.1 %d ", status);
    buf_add(out, slice(number, (size_t)n));
    buf_add(out, slice_str(http_problem_phrase(status)));
    add_date(box->connection->server, out);
    for (size_t i = 0; i < headers_count; i++) {
        assert(slice_find(headers[i].value, '\n') == headers[i].value.n);
        buf_add(out, S("\r\n"));
        buf_add(out, headers[i].name);
        buf_add(out, S(": "));
        buf_add(out, headers[i].value);
    }
    if (box->close)
        buf_add(out, S("\r\nConnection: close"));
    else if (box->head.http10)
        buf_add(out, S("\r\nConnection: keep-alive"));
    n = snprintf(number, sizeof number, "%zu\r\n\r\n", body.n);
    buf_add(out, S("\r\nContent-Length: "));
    buf_add(out, slice(number, (size_t)n));
    if (!box->head.head_only) buf_add(out, body);
}

static void end_after(struct connection *connection, struct box *box) {
    assert(box->link.next == &connection->boxes);
    (void)box;
    connection->last = true;
    connection->reading = READING_NOTHING;
}

void connection_advance(struct connection *connection) {
    while (!list_empty(&connection->boxes)) {
        struct box *box = list_item(connection->boxes.next, struct box, link);
        if (!box->answered) {
            if (box->head.continue_100 && !box->whole && !box->body.n)
                buf_add(&connection->out, S("HTTP/1.1 100 Continue\r\n\r\n"));
            box->head.continue_100 = false;
            return;
        }
        buf_add(&connection->out, buf_slice(&box->answer));
        if (box->close) end_after(connection, box);
        list_remove(&box->link);
        connection->boxes_count--;
        box_free(box);
    }
}

static void answer(struct box *box, int status, const struct header *headers, size_t headers_count,
                   struct slice body) {
    struct connection *connection = box->connection;
    bool only = box->link.next == &connection->boxes;
    bool first = box->link.prev == &connection->boxes;
    assert(!box->answered);
    if (connection->server->draining && only) {
        box->close = true;
        connection->reading = READING_NOTHING;
    }
    add_answer(first ? &connection->out : &box->answer, box, status, headers, headers_count, body);
    box->answered = true;
    connection_advance(connection);
    connection_mark_dirty(connection);
}

void server_reply(struct exchange *exchange, int status, const struct header *headers,
                  size_t headers_count, struct slice body) {
    struct box *box = exchange->internal;
    if (box->connection)
        answer(box, status, headers, headers_count, body);
    else
        box_free(box);
}

void connection_refuse(struct connection *connection, int status, const struct fail *fail) {
    struct box *box = connection->current;
    if (!box) {
        box = calloc(1, sizeof *box);
        if (!box) {
            connection_close(connection);
            return;
        }
        box->connection = connection;
        buf_init(&box->body, 0);
        buf_init(&box->answer, SIZE_MAX / 2);
        list_push(&connection->boxes, &box->link);
        connection->boxes_count++;
    }
    connection->current = NULL;
    connection->reading = READING_NOTHING;
    box->close = true;
    struct buf text;
    buf_init(&text, 4096);
    http_problem_write(&text, status, fail, HTTP_PROBLEM_NO_ITEM);
    const struct header headers[] = { { S("Content-Type"), HTTP_PROBLEM_TYPE },
                                      { S("Upgrade"), S("HTTP/1.1") } };
    answer(box, status, headers, status == 426 ? 2 : 1, buf_slice(&text));
    buf_deinit(&text);
}

// --- writing ---

static void on_shutdown(uv_shutdown_t *request, int status) {
    (void)request, (void)status;
}

// Everything is written and nothing more will be.
static void finish(struct connection *connection) {
    if (connection->eof ||
        uv_shutdown(&connection->shutdown, &connection->handle.stream, on_shutdown)) {
        connection_close(connection);
        return;
    }
    connection->lingering = true;
    connection_wait(connection, WAIT_LINGER);
}

static void write_piece(struct connection *connection);

static void on_written(uv_write_t *request, int status) {
    struct connection *connection = request->data;
    connection->in_write = false;
    if (connection->closed) return;
    if (status)
        connection_close(connection);
    else if (connection->written < connection->writing.n)
        write_piece(connection);
    else {
        buf_deinit(&connection->writing);
        connection_mark_dirty(connection);
    }
}

// In pieces, so that the deadline sees a slow reader's progress.
static void write_piece(struct connection *connection) {
    size_t n = connection->writing.n - connection->written;
    if (n > PIECE_BYTES) n = PIECE_BYTES;
    uv_buf_t bytes = uv_buf_init(connection->writing.p + connection->written, (unsigned)n);
    connection->write.data = connection;
    connection->written += n;
    connection->in_write =
        uv_write(&connection->write, &connection->handle.stream, &bytes, 1, on_written) == 0;
    if (connection->in_write)
        connection_wait(connection, WAIT_WRITE);
    else
        connection_close(connection);
}

// Writes what it can at once; the rest becomes uv's. False when the connection ended.
static bool write_out(struct connection *connection) {
    struct buf *out = &connection->out;
    uv_buf_t bytes = uv_buf_init(out->p, (unsigned)(out->n < INT32_MAX ? out->n : INT32_MAX));
    int done = out->failed ? UV_ENOMEM : uv_try_write(&connection->handle.stream, &bytes, 1);
    if (done < 0 && done != UV_EAGAIN) {
        connection_close(connection);
        return false;
    }
    connection->written = done > 0 ? (size_t)done : 0;
    if (connection->written < out->n) {
        connection->writing = *out;
        buf_init(out, connection->writing.max);
        write_piece(connection);
    } else if (out->capacity > KEPT_BYTES) {
        buf_deinit(out);
    } else {
        buf_clear(out);
    }
    return !connection->closed;
}

// `in` was consumed as far as it goes: what is left of it is no whole request.
static bool nothing_more_to_do(const struct connection *connection) {
    if (!list_empty(&connection->boxes) || connection->in_write || connection->out.n) return false;
    bool between = connection->reading == READING_HEAD && !connection->in.n;
    return connection->last || connection->eof || (connection->server->draining && between);
}

void connection_flush(struct connection *connection) {
    if (connection->closed || connection->lingering) return;
    if (!connection->in_write && connection->out.n && !write_out(connection)) return;
    connection_resume(connection);
    if (!connection->closed && nothing_more_to_do(connection)) finish(connection);
}
