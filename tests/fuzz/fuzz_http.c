// The server's input, from a socket pair: the same bytes whole and cut into
// pieces must be the same requests, and what reaches the handler must be clean.
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "server.h"
#include "server_inner.h"

enum { BODY_MAX = 4096, HELD_MAX = 300 };

static uv_loop_t loop;
static struct server *server;
static struct exchange *held[HELD_MAX];
static size_t held_count;
static uint64_t digest; // of all requests in order

static void mix(struct slice s) {
    for (size_t i = 0; i < s.n; i++) digest = (digest ^ (unsigned char)s.p[i]) * 0x100000001B3u;
    digest = (digest ^ 0x100) * 0x100000001B3u;
}

static void check_clean(const struct exchange *exchange) {
    assert(exchange->method.n && exchange->body.n <= BODY_MAX);
    assert(exchange->path.p[0] == '/' || slice_eq(exchange->path, S("*")));
    assert(!memmem(exchange->path.p, exchange->path.n, "//", 2));
    assert(!memmem(exchange->path.p, exchange->path.n, "/../", 4));
    assert(!slice_ends(exchange->path, S("/..")));
    assert(slice_find(exchange->path, '\0') == exchange->path.n);
    assert(exchange->headers_count <= HEAD_HEADERS_MAX);
    for (size_t i = 0; i < exchange->headers_count; i++) {
        struct slice value = exchange->headers[i].value;
        assert(exchange->headers[i].name.n);
        assert(slice_find(value, '\n') == value.n && slice_find(value, '\r') == value.n);
    }
}

static void on_request(void *user, struct exchange *exchange) {
    (void)user;
    check_clean(exchange);
    mix(exchange->method);
    mix(exchange->path);
    mix(exchange->body);
    if (exchange->body.n % 2 && held_count < HELD_MAX)
        held[held_count++] = exchange;
    else
        server_reply(exchange, 200, NULL, 0, exchange->body);
}

static void turn(int fd) {
    static char answers[256 * 1024];
    uv_run(&loop, UV_RUN_NOWAIT);
    while (recv(fd, answers, sizeof answers, MSG_DONTWAIT) > 0) {
    }
}

static void release(void) {
    while (held_count) server_reply(held[--held_count], 202, NULL, 0, S("late"));
}

static uint64_t serve(const uint8_t *data, size_t size, size_t piece) {
    int pair[2];
    digest = 0xCBF29CE484222325u;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair)) abort();
    if (!server_adopt(server, pair[0])) abort();
    for (size_t at = 0; at < size;) {
        size_t n = size - at < piece ? size - at : piece;
        ssize_t sent = send(pair[1], data + at, n, MSG_NOSIGNAL);
        if (sent < 0 && errno != EAGAIN) break;
        if (sent > 0) at += (size_t)sent;
        turn(pair[1]);
        release();
    }
    shutdown(pair[1], SHUT_WR);
    for (int i = 0; i < 8; i++) {
        turn(pair[1]);
        release();
    }
    close(pair[1]);
    for (int i = 0; i < 1000 && server->count; i++) uv_run(&loop, UV_RUN_NOWAIT);
    assert(!server->count && !server->bodies);
    return digest;
}

static void start(void) {
    char path[] = "/tmp/tuma-fuzz-http-XXXXXX";
    struct fail fail;
    int fd = mkstemp(path);
    close(fd);
    unlink(path);
    uv_loop_init(&loop);
    struct server_opts opts = { .path = path, .body_max = BODY_MAX, .on_request = on_request };
    server = server_new(&loop, &opts, &fail);
    if (!server) abort();
    server->opts.path = "adopted";
    unlink(path);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 1) return 0;
    if (!server) start();
    uint64_t whole = serve(data + 1, size - 1, size);
    uint64_t cut = serve(data + 1, size - 1, 1 + data[0] % 64);
    if (whole != cut) abort();
    return 0;
}
