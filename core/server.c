// Listening, deadlines and closing. All deadlines share one uv timer that is
// armed only while something waits, so an idle server never wakes up. Answers
// are gathered while callbacks run and written once a loop turn: a thousand
// pipelined requests cost a handful of writes.
#include "server.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "server_inner.h"

enum { BACKLOG = 1024, ACCEPT_AGAIN_MS = 50, LATE_A_TURN = 64 };

// --- deadlines ---

static void on_deadline(struct connection *connection, enum wait waited_for) {
    if (waited_for != WAIT_HEAD && waited_for != WAIT_BODY) {
        connection_close(connection);
        return;
    }
    struct fail fail = { 0 };
    fail_set(&fail, ERR_TIMEOUT, 0, "request_timeout", "the request's %s did not come in time",
             waited_for == WAIT_HEAD ? "head" : "body");
    connection_refuse(connection, 408, &fail);
}

static struct connection *first_waiting(struct server *server, int wait) {
    struct list *head = &server->waits[wait];
    return list_empty(head) ? NULL : list_item(head->next, struct connection, wait);
}

static void on_timer(uv_timer_t *timer);

static void arm_timer(struct server *server) {
    int64_t earliest = INT64_MAX, now = (int64_t)uv_now(server->loop);
    for (int i = 0; i < WAIT_COUNT; i++) {
        struct connection *first = first_waiting(server, i);
        if (first && first->deadline < earliest) earliest = first->deadline;
    }
    if (earliest == INT64_MAX) return;
    uv_timer_start(&server->timer, on_timer, earliest > now ? (uint64_t)(earliest - now) : 0, 0);
}

// The first connection that waited too long, or NULL.
static struct connection *first_late(struct server *server, int64_t now) {
    for (int i = 0; i < WAIT_COUNT; i++) {
        struct connection *first = first_waiting(server, i);
        if (first && first->deadline <= now) return first;
    }
    return NULL;
}

// A few of a thousand slow clients, then a millisecond for everybody else.
static void on_timer(uv_timer_t *timer) {
    struct server *server = timer->data;
    int64_t now = (int64_t)uv_now(server->loop);
    struct connection *late = NULL;
    for (int i = 0; i < LATE_A_TURN && (late = first_late(server, now)); i++) {
        enum wait waited_for = late->waiting;
        connection_wait(late, WAIT_NONE);
        on_deadline(late, waited_for);
    }
    if (late)
        uv_timer_start(timer, on_timer, 1, 0);
    else
        arm_timer(server);
}

void connection_wait(struct connection *connection, enum wait wait) {
    // A head's and a body's deadline stand from their first byte on.
    bool fixed = wait == WAIT_HEAD || wait == WAIT_BODY;
    if (fixed && connection->waiting == wait) return;
    list_remove(&connection->wait);
    connection->waiting = wait;
    if (wait == WAIT_NONE) return;
    struct server *server = connection->server;
    int64_t now = (int64_t)uv_now(server->loop);
    connection->deadline = now + server->wait_ms[wait];
    list_push(&server->waits[wait], &connection->wait);
    // A timer that fires too early only arms itself again; too late it must not be.
    if (!uv_is_active((uv_handle_t *)&server->timer) ||
        (int64_t)uv_timer_get_due_in(&server->timer) > server->wait_ms[wait])
        arm_timer(server);
}

// --- answers, once a turn ---

static void flush_dirty(struct server *server) {
    struct list *link;
    while ((link = list_pop(&server->dirty)))
        connection_flush(list_item(link, struct connection, dirty));
}

static void on_prepare(uv_prepare_t *handle) {
    flush_dirty(handle->data);
}

static void on_check(uv_check_t *handle) {
    flush_dirty(handle->data);
}

// --- the end ---

static void on_handle_closed(uv_handle_t *handle) {
    struct server *server = handle->data;
    if (--server->handles) return;
    void (*closed)(void *) = server->closed;
    void *user = server->closed_user;
    free(server);
    if (closed) closed(user);
}

static void close_handle(uv_handle_t *handle) {
    if (!uv_is_closing(handle)) uv_close(handle, on_handle_closed);
}

static void close_handles(struct server *server) {
    close_handle(&server->listener.handle);
    close_handle((uv_handle_t *)&server->timer);
    close_handle((uv_handle_t *)&server->drain);
    close_handle((uv_handle_t *)&server->again);
    close_handle((uv_handle_t *)&server->prepare);
    close_handle((uv_handle_t *)&server->check);
}

void server_connection_gone(struct server *server) {
    server->count--;
    if (server->draining && list_empty(&server->connections) && !server->count)
        close_handles(server);
}

static void on_drain_over(uv_timer_t *timer) {
    struct server *server = timer->data;
    for (struct list *link = server->connections.next, *next; link != &server->connections;
         link = next) {
        next = link->next;
        connection_close(list_item(link, struct connection, link));
    }
}

void server_close(struct server *server, int64_t drain_ms, void (*closed)(void *user), void *user) {
    assert(!server->draining);
    server->draining = true;
    server->closed = closed;
    server->closed_user = user;
    close_handle(&server->listener.handle);
    if (!server->count) {
        close_handles(server);
        return;
    }
    uv_timer_start(&server->drain, on_drain_over, drain_ms > 0 ? (uint64_t)drain_ms : 0, 0);
    for (struct list *link = server->connections.next; link != &server->connections;
         link = link->next)
        connection_mark_dirty(list_item(link, struct connection, link));
}

// --- the beginning ---

static struct connection *connection_new(struct server *server) {
    struct connection *connection = calloc(1, sizeof *connection);
    if (!connection) return NULL;
    connection->server = server;
    connection->waiting = WAIT_NONE;
    list_init(&connection->wait);
    list_init(&connection->dirty);
    list_init(&connection->boxes);
    list_push(&server->connections, &connection->link);
    buf_init(&connection->in, HEAD_BYTES_MAX + 4 * READ_BYTES);
    buf_init(&connection->out, SIZE_MAX / 2);
    buf_init(&connection->writing, SIZE_MAX / 2);
    server->count++;
    int rc = server->opts.path ? uv_pipe_init(server->loop, &connection->handle.pipe, 0)
                               : uv_tcp_init(server->loop, &connection->handle.tcp);
    connection->handle.handle.data = connection;
    assert(rc == 0); // both only fill the struct in
    (void)rc;
    return connection;
}

static void name_peer(struct connection *connection) {
    struct sockaddr_storage address;
    int n = sizeof address;
    char ip[INET6_ADDRSTRLEN] = "";
    snprintf(connection->peer, sizeof connection->peer, "unix");
    if (connection->server->opts.path ||
        uv_tcp_getpeername(&connection->handle.tcp, (struct sockaddr *)&address, &n))
        return;
    uv_ip_name((const struct sockaddr *)&address, ip, sizeof ip);
    bool six = address.ss_family == AF_INET6;
    in_port_t port = six ? ((struct sockaddr_in6 *)&address)->sin6_port
                         : ((struct sockaddr_in *)&address)->sin_port;
    snprintf(connection->peer, sizeof connection->peer, six ? "[%s]:%u" : "%s:%u", ip, ntohs(port));
}

static void on_connection(uv_stream_t *listener, int status);

static void on_again(uv_timer_t *timer) {
    struct server *server = timer->data;
    if (!server->draining) on_connection(&server->listener.stream, 0);
}

// libuv offers nothing more until what it offered is accepted, so who finds no memory waits.
static void on_connection(uv_stream_t *listener, int status) {
    struct server *server = listener->data;
    if (status) return;
    struct connection *connection = connection_new(server);
    if (!connection) {
        uv_timer_start(&server->again, on_again, ACCEPT_AGAIN_MS, 0);
        return;
    }
    if (uv_accept(listener, &connection->handle.stream)) {
        connection_close(connection);
        return;
    }
    if (!server->opts.path) uv_tcp_nodelay(&connection->handle.tcp, 1);
    name_peer(connection);
    connection_start(connection);
    if (server->count <= server->opts.connections_max) return;
    struct fail fail = { 0 };
    fail_set(&fail, ERR_FULL, 0, "too_many_connections", "too many connections are open");
    connection_refuse(connection, 503, &fail);
}

bool server_adopt(struct server *server, int fd) {
    assert(server->opts.path);
    struct connection *connection = connection_new(server);
    if (!connection || uv_pipe_open(&connection->handle.pipe, fd)) {
        close(fd);
        if (connection) connection_close(connection);
        return false;
    }
    name_peer(connection);
    connection_start(connection);
    return true;
}

static enum err listen_failed(struct fail *fail, const char *what, int rc) {
    if (rc == UV_EADDRINUSE)
        return fail_set(fail, ERR_CONFLICT, 0, "address_in_use", "%s: the address is in use", what);
    return fail_set(fail, ERR_IO, 0, "listen", "%s: %s", what, uv_strerror(rc));
}

static enum err listen_tcp(struct server *server, struct fail *fail) {
    struct sockaddr_storage address;
    // No resolver here: the one name that may stand for an address is this.
    const char *host = strcmp(server->opts.host, "localhost") ? server->opts.host : "127.0.0.1";
    int port = server->opts.port;
    if (uv_ip4_addr(host, port, (struct sockaddr_in *)&address) &&
        uv_ip6_addr(host, port, (struct sockaddr_in6 *)&address))
        return fail_set(fail, ERR_INPUT, 0, "bad_address", "%s is no IP address", host);
    int rc = uv_tcp_bind(&server->listener.tcp, (const struct sockaddr *)&address, 0);
    if (!rc) rc = uv_listen(&server->listener.stream, BACKLOG, on_connection);
    return rc ? listen_failed(fail, host, rc) : OK;
}

// A socket file without a listener is what a killed process left behind.
static bool socket_answers(const char *path) {
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool answers = fd >= 0 && (connect(fd, (struct sockaddr *)&address, sizeof address) == 0 ||
                               errno == EAGAIN);
    if (fd >= 0) close(fd);
    return answers;
}

static enum err listen_path(struct server *server, struct fail *fail) {
    const char *path = server->opts.path;
    struct stat found;
    if (strlen(path) >= sizeof((struct sockaddr_un *)0)->sun_path)
        return fail_set(fail, ERR_LIMIT, 0, "bad_address", "%s: too long for a socket's name",
                        path);
    if (lstat(path, &found) == 0) {
        if (!S_ISSOCK(found.st_mode) || socket_answers(path))
            return listen_failed(fail, path, UV_EADDRINUSE);
        unlink(path);
    }
    int rc = uv_pipe_bind(&server->listener.pipe, path);
    // Nobody can connect between bind and listen, so the mode is never late.
    if (!rc && chmod(path, 0600)) rc = -errno;
    if (!rc) rc = uv_listen(&server->listener.stream, BACKLOG, on_connection);
    return rc ? listen_failed(fail, path, rc) : OK;
}

static void set_defaults(struct server *server) {
    struct server_opts *o = &server->opts;
    if (!o->body_max) o->body_max = 8 * 1024 * 1024;
    if (!o->bodies_max) o->bodies_max = 64 * 1024 * 1024;
    if (!o->connections_max) o->connections_max = 10000;
    server->wait_ms[WAIT_HEAD] = o->header_ms ? o->header_ms : 5000;
    server->wait_ms[WAIT_BODY] = o->body_ms ? o->body_ms : 10000;
    server->wait_ms[WAIT_IDLE] = o->idle_ms ? o->idle_ms : 30000;
    server->wait_ms[WAIT_WRITE] = server->wait_ms[WAIT_IDLE];
    server->wait_ms[WAIT_LINGER] = LINGER_MS;
}

static void init_handles(struct server *server) {
    uv_loop_t *loop = server->loop;
    uv_timer_init(loop, &server->timer);
    uv_timer_init(loop, &server->drain);
    uv_timer_init(loop, &server->again);
    uv_prepare_init(loop, &server->prepare);
    uv_check_init(loop, &server->check);
    if (server->opts.path)
        uv_pipe_init(loop, &server->listener.pipe, 0);
    else
        uv_tcp_init(loop, &server->listener.tcp);
    server->listener.handle.data = server->timer.data = server->drain.data = server;
    server->prepare.data = server->check.data = server->again.data = server;
    uv_prepare_start(&server->prepare, on_prepare);
    uv_check_start(&server->check, on_check);
    server->handles = 6;
}

struct server *server_new(uv_loop_t *loop, const struct server_opts *opts, struct fail *fail) {
    assert(!opts->host != !opts->path);
    struct server *server = calloc(1, sizeof *server);
    if (!server) {
        fail_set(fail, ERR_NOMEM, 0, "no_memory", "no memory for a server");
        return NULL;
    }
    server->loop = loop;
    server->opts = *opts;
    server->date_s = -1;
    set_defaults(server);
    list_init(&server->connections);
    list_init(&server->dirty);
    for (int i = 0; i < WAIT_COUNT; i++) list_init(&server->waits[i]);
    init_handles(server);
    enum err err = opts->path ? listen_path(server, fail) : listen_tcp(server, fail);
    if (err == OK) return server;
    close_handles(server);
    return NULL;
}

int server_port(const struct server *server) {
    struct sockaddr_storage address = { 0 };
    int n = sizeof address;
    if (uv_tcp_getsockname(&server->listener.tcp, (struct sockaddr *)&address, &n)) return 0;
    return ntohs(address.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&address)->sin6_port
                                               : ((struct sockaddr_in *)&address)->sin_port);
}
