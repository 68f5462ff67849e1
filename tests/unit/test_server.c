// The server over real sockets: it runs on a thread of its own, the tests speak
// raw bytes to it. Deadlines are shrunk; nothing here measures time.
#include "server.h"

#include <arpa/inet.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "buf.h"
#include "check.h"
#include "clock.h"

// --- the server under test ---

enum { HELD_MAX = 2000 };

static struct rig {
    uv_loop_t loop;
    uv_async_t stop;
    pthread_t thread;
    struct server *server;
    int port;
    int64_t drain_ms;
    struct exchange *held[HELD_MAX];
    size_t held_count;
    atomic_int requests;
    atomic_bool closed;
} rig;

static void reply_text(struct exchange *exchange, struct slice text) {
    const struct header headers[] = { { S("Content-Type"), S("text/plain") } };
    server_reply(exchange, 200, headers, 1, text);
}

static void release_held(void) {
    // Backwards: the server has to bring the answers into order.
    while (rig.held_count) {
        struct exchange *exchange = rig.held[--rig.held_count];
        reply_text(exchange, exchange->body);
    }
}

static void on_request(void *user, struct exchange *exchange) {
    (void)user;
    atomic_fetch_add(&rig.requests, 1);
    if (slice_eq(exchange->path, S("/hold"))) {
        CHECK(rig.held_count < HELD_MAX);
        rig.held[rig.held_count++] = exchange;
        return;
    }
    if (slice_eq(exchange->path, S("/release"))) release_held();
    struct slice text = arena_printf(exchange->arena, "<%.*s %.*s ?%.*s %.*s>",
                                     SLICE_FMT(exchange->method), SLICE_FMT(exchange->path),
                                     SLICE_FMT(exchange->query), SLICE_FMT(exchange->body));
    if (slice_eq(exchange->path, S("/big"))) {
        text.n = 4 * 1024 * 1024;
        char *big = arena_alloc(exchange->arena, text.n);
        memset(big, 'b', text.n);
        text.p = big;
    }
    reply_text(exchange, text);
}

static void on_closed(void *user) {
    (void)user;
    uv_close((uv_handle_t *)&rig.stop, NULL);
    atomic_store(&rig.closed, true);
}

static void on_stop(uv_async_t *async) {
    (void)async;
    if (!rig.drain_ms) release_held();
    server_close(rig.server, rig.drain_ms, on_closed, NULL);
}

static void *rig_main(void *arg) {
    (void)arg;
    uv_run(&rig.loop, UV_RUN_DEFAULT);
    return NULL;
}

static void rig_start(struct server_opts opts) {
    struct fail fail = { 0 };
    rig.held_count = 0;
    rig.drain_ms = 0;
    atomic_store(&rig.requests, 0);
    atomic_store(&rig.closed, false);
    uv_loop_init(&rig.loop);
    uv_async_init(&rig.loop, &rig.stop, on_stop);
    opts.on_request = on_request;
    if (!opts.path) opts.host = "127.0.0.1";
    rig.server = server_new(&rig.loop, &opts, &fail);
    if (!rig.server) {
        printf("# %s: %s\n", fail.type, fail.text);
        exit(1);
    }
    rig.port = opts.path ? 0 : server_port(rig.server);
    pthread_create(&rig.thread, NULL, rig_main, NULL);
}

static void rig_join(void) {
    pthread_join(rig.thread, NULL);
    CHECK_INT(uv_loop_close(&rig.loop), 0);
}

static void rig_stop(void) {
    uv_async_send(&rig.stop);
    rig_join();
}

// --- the client ---

static int dial(void) {
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons((uint16_t)rig.port) };
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    CHECK_INT(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
    struct timeval limit = { 20, 0 };
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    return fd;
}

// False when the server closed before it took everything.
static bool put(int fd, struct slice bytes) {
    while (bytes.n) {
        ssize_t n = send(fd, bytes.p, bytes.n, MSG_NOSIGNAL);
        if (n <= 0) return false;
        bytes = slice_from(bytes, (size_t)n);
    }
    return true;
}

static struct buf got;

// Everything until the server closes; what came stays in `got`. False on a
// reset or when nothing came for long.
static bool get_all(int fd) {
    buf_deinit(&got);
    buf_init(&got, 64 * 1024 * 1024);
    for (;;) {
        char *to = buf_reserve(&got, 64 * 1024);
        ssize_t n = to ? recv(fd, to, 64 * 1024, 0) : -1;
        if (n <= 0) return n == 0;
        got.n += (size_t)n;
    }
}

// Until `text` ends what came, or the connection did.
static bool get_until(int fd, struct slice text) {
    buf_deinit(&got);
    buf_init(&got, 64 * 1024);
    for (char c; recv(fd, &c, 1, 0) == 1;) {
        buf_byte(&got, c);
        if (slice_ends(buf_slice(&got), text)) return true;
    }
    return false;
}

static size_t count_of(struct slice in, const char *text) {
    size_t count = 0, n = strlen(text);
    for (const char *at = in.p; in.n >= n && (at = memmem(at, in.n - (size_t)(at - in.p), text, n));
         at += n)
        count++;
    return count;
}

static bool got_has(const char *text) {
    return count_of(buf_slice(&got), text) > 0;
}

// Sends, half-closes, reads everything.
static void ask(struct slice bytes) {
    int fd = dial();
    CHECK(put(fd, bytes));
    shutdown(fd, SHUT_WR);
    CHECK(get_all(fd));
    close(fd);
}

static int status_of_got(void) {
    return got.n > 12 && memcmp(got.p, "HTTP/1.1 ", 9) == 0 ? atoi(got.p + 9) : 0;
}

// Sends without half-closing: the server must answer `status` and close by itself.
static void refused(struct slice bytes, int status) {
    int fd = dial();
    put(fd, bytes);
    CHECK(get_all(fd));
    close(fd);
    if (status_of_got() != status)
        printf("# for \"%.*s\"\n", (int)(bytes.n < 200 ? bytes.n : 200), bytes.p);
    CHECK_INT(status_of_got(), status);
    CHECK_INT(count_of(buf_slice(&got), "\r\nDate: "), 1);
    CHECK(got_has("\r\nConnection: close\r\n"));
    CHECK(got_has("application/problem+json"));
    CHECK(got_has("{\"type\":\"urn:tuma:problem:"));
}

// --- tests ---

static void answers_a_request(void) {
    rig_start((struct server_opts){ 0 });
    ask(S("POST /a%20b?x=%41 HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello"));
    CHECK_INT(status_of_got(), 200);
    CHECK(got_has("\r\nDate: "));
    CHECK(got_has("\r\nContent-Type: text/plain\r\n"));
    CHECK(got_has("\r\nContent-Length: 27\r\n\r\n<POST /a b ?x=%41 hello>") ||
          got_has("<POST /a b ?x=%41 hello>"));
    ask(S("HEAD /x HTTP/1.1\r\nHost: x\r\n\r\n"));
    CHECK(got_has("\r\nContent-Length: 12\r\n\r\n"));
    CHECK(!got_has("<HEAD"));
    ask(S("GET http://x/abs HTTP/1.1\r\nHost: x\r\n\r\n"));
    CHECK(got_has("<GET /abs ? >"));
    ask(S("\r\nGET /blank HTTP/1.1\r\nHost: x\r\n\r\n"));
    CHECK(got_has("<GET /blank ? >"));
    rig_stop();
}

static void keeps_the_connection_as_the_version_says(void) {
    rig_start((struct server_opts){ 0 });
    ask(S(
        "GET /1 HTTP/1.1\r\nHost: x\r\n\r\nGET /2 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        "GET /3 HTTP/1.1\r\nHost: x\r\n\r\n"));
    CHECK(got_has("/1") && got_has("/2") && !got_has("/3"));
    CHECK_INT(count_of(buf_slice(&got), "Connection: close"), 1);
    ask(S("GET /1 HTTP/1.0\r\n\r\nGET /2 HTTP/1.0\r\n\r\n"));
    CHECK(got_has("/1") && !got_has("/2"));
    CHECK(got_has("Connection: close"));
    ask(S("GET /1 HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\nGET /2 HTTP/1.0\r\n\r\n"));
    CHECK(got_has("/1") && got_has("/2"));
    CHECK(got_has("Connection: keep-alive"));
    rig_stop();
}

#define GET "GET / HTTP/1.1\r\nHost: x\r\n"
#define POST "POST / HTTP/1.1\r\nHost: x\r\n"

static void refuses_the_smuggling_set(void) {
    static const struct slice bad[] = {
        S(POST "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        S(POST "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n"),
        S(POST "Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc"),
        S(POST "Content-Length: 3\r\ncontent-length: 4\r\n\r\nabcd"),
        S(POST "Content-Length: 3, 3\r\n\r\nabc"),
        S(POST "Content-Length: +5\r\n\r\nhello"),
        S(POST "Content-Length: -1\r\n\r\n"),
        S(POST "Content-Length: 0x10\r\n\r\n0123456789abcdef"),
        S(POST "Content-Length: 5 5\r\n\r\nhello"),
        S(POST "Content-Length:\r\n\r\n"),
        S("GET / HTTP/1.1\nHost: x\n\n"),
        S("GET / HTTP/1.1\r\nHost: x\n\r\n"),
        S("GET / HTTP/1.1\r\nHost: x\r\n\n"),
        S("GET / HTTP/1.1\r\nHost: x\rA: b\r\n\r\n"),
        S(GET "A: b\r\n c\r\n\r\n"),
        S(GET "A: b\r\n\tc\r\n\r\n"),
        S("GET / HTTP/1.1\r\n Host: x\r\n\r\n"),
        S(GET "Content-Length : 0\r\n\r\n"),
        S(GET "A B: c\r\n\r\n"),
        S(GET ": c\r\n\r\n"),
        S(GET "A\r\n\r\n"),
        S(GET "A: b\0c\r\n\r\n"),
        S(GET "A\0: bc\r\n\r\n"),
        S("GET /\0 HTTP/1.1\r\nHost: x\r\n\r\n"),
        S(GET "A: b\x7F\r\n\r\n"),
        S(GET "Host: y\r\n\r\n"),
        S("GET / HTTP/1.1\r\n\r\n"),
        S("GET  / HTTP/1.1\r\nHost: x\r\n\r\n"),
        S("GET / x HTTP/1.1\r\nHost: x\r\n\r\n"),
        S("GET /\t HTTP/1.1\r\nHost: x\r\n\r\n"),
        S("GET /\xC3\xA9 HTTP/1.1\r\nHost: x\r\n\r\n"),
        S("GET /#a HTTP/1.1\r\nHost: x\r\n\r\n"),
        S("GET x HTTP/1.1\r\nHost: x\r\n\r\n"),
        S("GET http://y/ HTTP/1.1\r\nHost: x\r\n\r\n"),
        S("GET /%zz HTTP/1.1\r\nHost: x\r\n\r\n"),
        S("GET /%4 HTTP/1.1\r\nHost: x\r\n\r\n"),
        S("G(T / HTTP/1.1\r\nHost: x\r\n\r\n"),
        S("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        S(POST "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    };
    rig_start((struct server_opts){ 0 });
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) refused(bad[i], 400);
    refused(S(POST "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"), 501);
    refused(S(POST "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"), 501);
    refused(S("BREW / HTTP/1.1\r\nHost: x\r\n\r\n"), 501);
    refused(S("get / HTTP/1.1\r\nHost: x\r\n\r\n"), 501);
    refused(S("CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n"), 501);
    CHECK_INT(atomic_load(&rig.requests), 0);
    rig_stop();
}

#define CHUNKED POST "Transfer-Encoding: chunked\r\n\r\n"

static void reads_chunked_bodies_strictly(void) {
    static const struct slice bad[] = {
        S(CHUNKED "3\nabc\r\n0\r\n\r\n"),    S(CHUNKED "3\r\nabc\n0\r\n\r\n"),
        S(CHUNKED "3\rxabc\r\n0\r\n\r\n"),   S(CHUNKED "3\r\nabcXX0\r\n\r\n"),
        S(CHUNKED "+3\r\nabc\r\n0\r\n\r\n"), S(CHUNKED "0x3\r\nabc\r\n0\r\n\r\n"),
        S(CHUNKED "3 \r\nabc\r\n0\r\n\r\n"), S(CHUNKED "\r\n0\r\n\r\n"),
        S(CHUNKED "3\r\nabc\r\n0\r\n\n"),    S(CHUNKED "-1\r\n\r\n"),
        S(CHUNKED "FFFFFFFFFFFFFFFFF\r\n"),  S(CHUNKED "3;a\nb\r\nabc\r\n0\r\n\r\n"),
        S(CHUNKED "0\r\nT: x\n\n"),          S(CHUNKED "g\r\n"),
    };
    rig_start((struct server_opts){ 0 });
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) refused(bad[i], 400);
    CHECK_INT(atomic_load(&rig.requests), 0);
    ask(S(CHUNKED "3\r\nabc\r\n4;x=\"y\"\r\ndefg\r\n0\r\nTrailer: t\r\n\r\n" GET "\r\n"));
    CHECK(got_has("<POST / ? abcdefg>") && got_has("<GET / ? >"));
    ask(S(CHUNKED "0\r\n\r\n" CHUNKED "1\r\nx\r\n0\r\n\r\n"));
    CHECK(got_has("<POST / ? >") && got_has("<POST / ? x>"));
    rig_stop();
}

// Every split of a chunked request gives the same answer: framing is checked across reads.
static void any_split_of_a_request_reads_the_same(void) {
    struct slice whole = S(CHUNKED "3\r\nabc\r\n2;e\r\nde\r\n0\r\nT: x\r\n\r\n" GET "\r\n");
    rig_start((struct server_opts){ 0 });
    for (size_t at = 1; at < whole.n; at++) {
        int fd = dial();
        int one = 1;
        setsockopt(fd, IPPROTO_TCP, 1 /* TCP_NODELAY */, &one, sizeof one);
        CHECK(put(fd, slice(whole.p, at)));
        usleep(500);
        CHECK(put(fd, slice_from(whole, at)));
        shutdown(fd, SHUT_WR);
        CHECK(get_all(fd));
        close(fd);
        CHECK(got_has("<POST / ? abcde>") && got_has("<GET / ? >"));
    }
    rig_stop();
}

static struct slice repeated(struct buf *out, struct slice before, const char *what, size_t times,
                             struct slice after) {
    buf_init(out, 1024 * 1024);
    buf_add(out, before);
    for (size_t i = 0; i < times; i++) buf_add(out, slice_str(what));
    buf_add(out, after);
    return buf_slice(out);
}

static void limits_the_head(void) {
    struct buf text;
    rig_start((struct server_opts){ 0 });
    refused(repeated(&text, S("GET /"), "u", 8 * 1024, S(" HTTP/1.1\r\nHost: x\r\n\r\n")), 414);
    buf_deinit(&text);
    refused(repeated(&text, S("GET /"), "u", 9 * 1024, S("")), 414); // no line end ever comes
    buf_deinit(&text);
    refused(repeated(&text, S(GET "A: "), "v", 8 * 1024, S("\r\n\r\n")), 431);
    buf_deinit(&text);
    refused(repeated(&text, S(GET "A: "), "v", 9 * 1024, S("")), 431);
    buf_deinit(&text);
    refused(repeated(&text, S(GET), "A: b\r\n", 100, S("\r\n")), 431);
    buf_deinit(&text);
    char kilo[1025] = "A: ";
    memset(kilo + 3, 'v', 1019);
    memcpy(kilo + 1022, "\r\n", 3);
    refused(repeated(&text, S(GET), kilo, 41, S("\r\n")), 431);
    buf_deinit(&text);
    ask(repeated(&text, S("GET /"), "u", 8000, S(" HTTP/1.1\r\nHost: x\r\n\r\n")));
    CHECK_INT(status_of_got(), 200);
    buf_deinit(&text);
    ask(repeated(&text, S(GET), "A: b\r\n", 99, S("\r\n")));
    CHECK_INT(status_of_got(), 200);
    buf_deinit(&text);
    ask(repeated(&text, S(GET), kilo, 31, S("\r\n")));
    CHECK_INT(status_of_got(), 200);
    buf_deinit(&text);
    rig_stop();
}

static void limits_the_body(void) {
    struct buf text;
    rig_start((struct server_opts){ .body_max = 1000 });
    refused(S(POST "Content-Length: 1001\r\n\r\n"), 413);
    refused(S(POST "Content-Length: 99999999999999999999\r\n\r\n"), 413);
    refused(repeated(&text, S(CHUNKED),
                     "64\r\n" // 100 bytes, 11 times
                     "0123456789012345678901234567890123456789012345678901234567"
                     "890123456789012345678901234567890123456789\r\n",
                     11, S("")),
            413);
    buf_deinit(&text);
    refused(repeated(&text, S(CHUNKED "1;"), "extension", 4000, S("")), 413);
    buf_deinit(&text);
    refused(repeated(&text, S(CHUNKED "0\r\n"), "Trailer: x\r\n", 4000, S("")), 413);
    buf_deinit(&text);
    ask(repeated(&text, S(CHUNKED), "1\r\nx\r\n", 1000, S("0\r\n\r\n")));
    CHECK_INT(status_of_got(), 200);
    buf_deinit(&text);
    rig_stop();
    rig_start((struct server_opts){ .bodies_max = 100 });
    refused(repeated(&text, S(POST "Content-Length: 101\r\n\r\n"), "x", 101, S("")), 503);
    buf_deinit(&text);
    ask(repeated(&text, S(POST "Content-Length: 100\r\n\r\n"), "x", 100, S("")));
    CHECK_INT(status_of_got(), 200);
    buf_deinit(&text);
    rig_stop();
}

static void answers_what_is_not_http11(void) {
    rig_start((struct server_opts){ 0 });
    refused(S("GET /\r\n"), 400);
    refused(S("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), 400);
    refused(S("GET / HTTP/2.0\r\n\r\n"), 505);
    refused(S("hello\r\n"), 400);
    refused(S(GET "Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n"), 426);
    CHECK(got_has("\r\nUpgrade: HTTP/1.1\r\n"));
    ask(S(GET "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AA\r\n\r\n"));
    CHECK_INT(status_of_got(), 200);
    int fd = dial();
    CHECK(put(fd, S("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")));
    get_all(fd); // a reset is as good as a close
    CHECK_INT(got.n, 0);
    close(fd);
    rig_stop();
}

static void meets_expectations(void) {
    rig_start((struct server_opts){ .body_max = 100 });
    int fd = dial();
    CHECK(put(fd, S(POST "Expect: 100-continue\r\nContent-Length: 3\r\n\r\n")));
    CHECK(get_until(fd, S("HTTP/1.1 100 Continue\r\n\r\n")));
    CHECK(put(fd, S("abc")));
    shutdown(fd, SHUT_WR);
    CHECK(get_all(fd));
    CHECK(got_has("<POST / ? abc>"));
    close(fd);
    refused(S(POST "Expect: 100-continue\r\nContent-Length: 101\r\n\r\n"), 413);
    refused(S(POST "Expect: 200-ok\r\nContent-Length: 3\r\n\r\nabc"), 417);
    ask(S("POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\nabc"));
    CHECK(!got_has("100 Continue"));
    // Behind an open request the interim answer must wait for its turn.
    fd = dial();
    CHECK(put(fd, S("POST /hold HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nfirst" POST
                    "Expect: 100-continue\r\nContent-Length: 3\r\n\r\n")));
    while (atomic_load(&rig.requests) < 3) usleep(1000);
    ask(S("GET /release HTTP/1.1\r\nHost: x\r\n\r\n"));
    CHECK(get_until(fd, S("firstHTTP/1.1 100 Continue\r\n\r\n")));
    CHECK(put(fd, S("abc")));
    shutdown(fd, SHUT_WR);
    CHECK(get_all(fd));
    CHECK(got_has("<POST / ? abc>"));
    close(fd);
    rig_stop();
}

static void one_path_normalisation(void) {
    static const char *nothing[] = { "/v1/../admin", "//admin",      "/v1//x", "/%2e%2e/x",
                                     "/v1/%2E%2e",   "/a/./b",       "/a/.",   "/a/..",
                                     "/a%00",        "/v1%2fevents", "/%2F",   "/a%0d%0ab",
                                     "/.",           "/a%7f" };
    char text[256];
    rig_start((struct server_opts){ 0 });
    for (size_t i = 0; i < sizeof nothing / sizeof nothing[0]; i++) {
        int n = snprintf(text, sizeof text, "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", nothing[i]);
        refused(slice(text, (size_t)n), 404);
    }
    CHECK_INT(atomic_load(&rig.requests), 0);
    ask(S("GET /%76%31/a;b/%252e%252e/...?/../x HTTP/1.1\r\nHost: x\r\n\r\n"));
    CHECK(got_has("<GET /v1/a;b/%2e%2e/... ?/../x >"));
    rig_stop();
}

static void pipelined_requests_are_answered_in_order(void) {
    struct buf text;
    buf_init(&text, 1024 * 1024);
    for (int i = 0; i < 1000; i++)
        buf_printf(&text, "POST /%d HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n%d", i, i % 10);
    rig_start((struct server_opts){ 0 });
    ask(buf_slice(&text));
    buf_deinit(&text);
    const char *at = got.p;
    for (int i = 0; i < 1000 && at; i++) {
        char want[64];
        int n = snprintf(want, sizeof want, "<POST /%d ? %d>", i, i % 10);
        at = memmem(at, got.n - (size_t)(at - got.p), want, (size_t)n);
    }
    CHECK(at != NULL);
    CHECK_INT(count_of(buf_slice(&got), "HTTP/1.1 200 OK"), 1000);
    rig_stop();
}

static void late_answers_keep_the_order(void) {
    struct buf text;
    buf_init(&text, 1024 * 1024);
    for (int i = 0; i < 1000; i++)
        buf_printf(&text, "POST /hold HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\n%04d", i);
    rig_start((struct server_opts){ 0 });
    int fd = dial();
    CHECK(put(fd, buf_slice(&text)));
    shutdown(fd, SHUT_WR);
    buf_deinit(&text);
    for (int releases = 0; releases < 5; releases++) {
        // The server reads at most 256 ahead on one connection.
        while (atomic_load(&rig.requests) < (releases < 3 ? 257 * releases + 256 : 1000 + releases))
            usleep(1000);
        int other = dial();
        put(other, S("GET /release HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"));
        CHECK(get_all(other));
        close(other);
    }
    CHECK(get_all(fd));
    close(fd);
    CHECK_INT(count_of(buf_slice(&got), "HTTP/1.1 200 OK"), 1000);
    const char *at = got.p;
    for (int i = 0; i < 1000 && at; i++) {
        char want[64];
        int n = snprintf(want, sizeof want, "\r\n\r\n%04d", i);
        at = memmem(at, got.n - (size_t)(at - got.p), want, (size_t)n);
    }
    CHECK(at != NULL);
    rig_stop();
}

static void an_aborted_body_reaches_nobody(void) {
    rig_start((struct server_opts){ 0 });
    int fd = dial();
    CHECK(put(fd, S(POST "Content-Length: 10\r\n\r\nabc")));
    usleep(20000);
    struct linger hard = { 1, 0 };
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
    close(fd); // RST
    ask(S(POST "Content-Length: 10\r\n\r\nabc"));
    CHECK_INT(got.n, 0);
    ask(S(CHUNKED "3\r\nabc\r\n"));
    CHECK_INT(got.n, 0);
    ask(S("GET / HTTP/1.1\r\nHos"));
    CHECK_INT(got.n, 0);
    CHECK_INT(atomic_load(&rig.requests), 0);
    rig_stop();
}

static void a_client_that_leaves_takes_nothing_with_it(void) {
    rig_start((struct server_opts){ 0 });
    int fd = dial();
    CHECK(put(fd, S("POST /hold HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx")));
    while (atomic_load(&rig.requests) < 1) usleep(1000);
    struct linger hard = { 1, 0 };
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
    close(fd);
    usleep(20000);
    ask(S("GET /release HTTP/1.1\r\nHost: x\r\n\r\n")); // answers the orphan
    CHECK_INT(status_of_got(), 200);
    rig_stop();
}

static void slow_clients_meet_deadlines(void) {
    rig_start((struct server_opts){ .header_ms = 100, .body_ms = 100, .idle_ms = 200 });
    int fd = dial();
    // Bytes keep dripping in: the deadline counts from the first one.
    for (const char *c = GET "A: bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"; *c; c++) {
        if (!put(fd, slice(c, 1))) break;
        usleep(5000);
    }
    get_all(fd);
    CHECK_INT(status_of_got(), 408);
    close(fd);
    refused(S("GET / HT"), 408);
    refused(S(POST "Content-Length: 10\r\n\r\nabc"), 408);
    refused(S(CHUNKED "3\r\nab"), 408);
    fd = dial(); // says nothing at all
    CHECK(get_all(fd));
    CHECK_INT(got.n, 0);
    close(fd);
    fd = dial();
    CHECK(put(fd, S(GET "\r\n")));
    CHECK(get_all(fd)); // idle after an answer
    CHECK_INT(status_of_got(), 200);
    CHECK(!got_has("Connection: close"));
    close(fd);
    rig_stop();
}

static void many_slow_clients_hinder_nobody(void) {
    int slow[300];
    rig_start((struct server_opts){ .header_ms = 60000 });
    for (size_t i = 0; i < 300; i++) {
        slow[i] = dial();
        CHECK(put(slow[i], S("GET / HTTP/1.1\r\nX")));
    }
    for (int i = 0; i < 100; i++) {
        ask(S(GET "\r\n"));
        CHECK_INT(status_of_got(), 200);
    }
    for (size_t i = 0; i < 300; i++) close(slow[i]);
    rig_stop();
}

// More than one turn cuts.
static void many_slow_clients_are_all_cut(void) {
    int slow[300];
    rig_start((struct server_opts){ .header_ms = 300 });
    for (size_t i = 0; i < 300; i++) {
        slow[i] = dial();
        put(slow[i], S("GET / HTTP/1.1\r\nX"));
    }
    for (size_t i = 0; i < 300; i++) {
        CHECK(get_all(slow[i]));
        CHECK_INT(status_of_got(), 408);
        close(slow[i]);
    }
    rig_stop();
}

static void a_slow_reader_gets_all_of_a_big_answer(void) {
    rig_start((struct server_opts){ .body_max = 8 * 1024 * 1024 });
    int fd = dial();
    int small = 64 * 1024;
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
    CHECK(put(fd, S("GET /big HTTP/1.1\r\nHost: x\r\n\r\nGET /big HTTP/1.1\r\nHost: x\r\n\r\n" GET
                    "Connection: close\r\n\r\n")));
    usleep(50000);
    CHECK(get_all(fd));
    close(fd);
    CHECK(got.n > 2 * 4 * 1024 * 1024);
    CHECK_INT(count_of(buf_slice(&got), "HTTP/1.1 200 OK"), 3);
    CHECK(got_has("<GET / ? >"));
    rig_stop();
}

static void too_many_connections_are_told_so(void) {
    rig_start((struct server_opts){ .connections_max = 2 });
    int one = dial(), two = dial();
    CHECK(put(one, S(GET "\r\n")) && get_until(one, S("<GET / ? >")));
    CHECK(put(two, S(GET "\r\n")) && get_until(two, S("<GET / ? >")));
    refused(S(GET "\r\n"), 503);
    close(one);
    usleep(20000);
    ask(S(GET "\r\n"));
    CHECK_INT(status_of_got(), 200);
    close(two);
    rig_stop();
}

static void draining_finishes_what_is_open(void) {
    rig_start((struct server_opts){ 0 });
    rig.drain_ms = 60000;
    int idle = dial(), open = dial(), half = dial();
    CHECK(put(idle, S(GET "\r\n")) && get_until(idle, S("<GET / ? >")));
    CHECK(put(open, S("POST /hold HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nheld")));
    CHECK(put(half, S("GET /release HTTP/1.1\r\nHo")));
    while (atomic_load(&rig.requests) < 2) usleep(1000);
    usleep(20000); // the half head arrives
    uv_async_send(&rig.stop);
    CHECK(get_all(idle));
    CHECK_INT(got.n, 0);
    int refused_fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons((uint16_t)rig.port) };
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    CHECK(connect(refused_fd, (struct sockaddr *)&address, sizeof address) != 0);
    close(refused_fd);
    CHECK(put(half, S("st: x\r\n\r\n")));
    CHECK(get_all(half));
    CHECK_INT(status_of_got(), 200);
    CHECK(got_has("Connection: close"));
    CHECK(get_all(open));
    CHECK(got_has("held"));
    CHECK(got_has("Connection: close"));
    close(idle), close(open), close(half);
    rig_join();
    CHECK(atomic_load(&rig.closed));
}

static void draining_ends_by_its_deadline(void) {
    rig_start((struct server_opts){ 0 });
    rig.drain_ms = 50;
    int fd = dial();
    CHECK(put(fd, S("POST /hold HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nheld")));
    while (atomic_load(&rig.requests) < 1) usleep(1000);
    uv_async_send(&rig.stop);
    get_all(fd);
    CHECK_INT(got.n, 0);
    close(fd);
    rig_join();
    release_held(); // after the server is gone
}

static void serves_a_private_unix_socket(void) {
    char path[] = "/tmp/tuma-test-server-XXXXXX";
    CHECK(mkdtemp(path) != NULL);
    char name[64];
    snprintf(name, sizeof name, "%s/control", path);
    rig_start((struct server_opts){ .path = name });
    struct stat found;
    CHECK_INT(stat(name, &found), 0);
    CHECK_INT(found.st_mode & 0777, 0600);
    struct fail fail = { 0 };
    uv_loop_t loop;
    uv_loop_init(&loop);
    struct server_opts second = { .path = name, .on_request = on_request };
    CHECK(server_new(&loop, &second, &fail) == NULL);
    CHECK_TEXT(slice_str(fail.type), "address_in_use");
    uv_run(&loop, UV_RUN_DEFAULT);
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    snprintf(address.sun_path, sizeof address.sun_path, "%s", name);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    CHECK_INT(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
    CHECK(put(fd, S(GET "Connection: close\r\n\r\n")));
    CHECK(get_all(fd));
    CHECK_INT(status_of_got(), 200);
    close(fd);
    rig_stop();
    CHECK(stat(name, &found) != 0);
    // A killed process leaves its file; the next one takes the place.
    fd = socket(AF_UNIX, SOCK_STREAM, 0);
    CHECK_INT(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    close(fd);
    rig_start((struct server_opts){ .path = name });
    rig_stop();
    CHECK_INT(uv_loop_close(&loop), 0);
    rmdir(path);
}

static void a_taken_port_is_an_error(void) {
    rig_start((struct server_opts){ 0 });
    struct fail fail = { 0 };
    uv_loop_t loop;
    uv_loop_init(&loop);
    struct server_opts opts = { .host = "127.0.0.1", .port = rig.port, .on_request = on_request };
    CHECK(server_new(&loop, &opts, &fail) == NULL);
    CHECK_INT(fail.code, ERR_CONFLICT);
    opts.host = "example.org";
    CHECK(server_new(&loop, &opts, &fail) == NULL);
    CHECK_TEXT(slice_str(fail.type), "bad_address");
    uv_run(&loop, UV_RUN_DEFAULT);
    CHECK_INT(uv_loop_close(&loop), 0);
    rig_stop();
}

static const struct check_case cases[] = {
    { "answers a request", answers_a_request },
    { "keeps the connection as version and headers say", keeps_the_connection_as_the_version_says },
    { "refuses the smuggling set (A6)", refuses_the_smuggling_set },
    { "reads chunked bodies strictly (A6)", reads_chunked_bodies_strictly },
    { "any split of a request reads the same", any_split_of_a_request_reads_the_same },
    { "limits the head (A7)", limits_the_head },
    { "limits the body (A8)", limits_the_body },
    { "answers what is not HTTP/1.1 (A9)", answers_what_is_not_http11 },
    { "meets expectations, in order (A9)", meets_expectations },
    { "one path normalisation (A15)", one_path_normalisation },
    { "1,000 pipelined requests are answered in order (A10)",
      pipelined_requests_are_answered_in_order },
    { "late answers keep the order (A10)", late_answers_keep_the_order },
    { "an aborted body reaches nobody (A10)", an_aborted_body_reaches_nobody },
    { "a client that leaves takes nothing with it", a_client_that_leaves_takes_nothing_with_it },
    { "slow clients meet deadlines (R39)", slow_clients_meet_deadlines },
    { "many slow clients are all cut", many_slow_clients_are_all_cut },
    { "many slow clients hinder nobody (R39)", many_slow_clients_hinder_nobody },
    { "a slow reader gets all of a big answer", a_slow_reader_gets_all_of_a_big_answer },
    { "too many connections are told so", too_many_connections_are_told_so },
    { "draining finishes what is open (R40)", draining_finishes_what_is_open },
    { "draining ends by its deadline (R40)", draining_ends_by_its_deadline },
    { "serves a private unix socket", serves_a_private_unix_socket },
    { "a taken port is an error", a_taken_port_is_an_error },
};

CHECK_MAIN(cases)
