// The courier against tests/faults/hostile.py: every row of the hostile
// answers (S1-S37) that a receiver on loopback can play, and the guard, the
// pins and the life of a transfer around them.
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"
#include "clock.h"
#include "courier.h"

enum { SHOTS = 96, ARENA_MAX = 2 << 20 };

// --- The receivers ---

struct process {
    pid_t pid;
    int in; // closing it ends the process
};

static struct {
    struct process hostile, http2;
    char directory[64];
    struct {
        char name[24];
        int port;
    } ports[16];
    size_t ports_count;
} world;

static struct process spawn(const char *const *argv, FILE **out) {
    int in[2], from[2];
    struct process p;
    if (pipe(in) || pipe(from)) abort();
    p.pid = fork();
    if (p.pid == 0) {
        dup2(in[0], 0);
        dup2(from[1], 1);
        for (int fd = 3; fd < 64; fd++) close(fd);
        execvp(argv[0], (char *const *)(uintptr_t)argv);
        _exit(127);
    }
    close(in[0]);
    close(from[1]);
    fcntl(in[1], F_SETFD, FD_CLOEXEC);
    p.in = in[1];
    *out = fdopen(from[0], "r");
    return p;
}

static void end(struct process *p) {
    if (p->pid <= 0) return;
    close(p->in);
    waitpid(p->pid, NULL, 0);
}

static bool read_ports(FILE *out) {
    char line[64];
    while (fgets(line, sizeof line, out)) {
        if (strncmp(line, "ready", 5) == 0) return true;
        size_t i = world.ports_count++;
        if (sscanf(line, "%23s %d", world.ports[i].name, &world.ports[i].port) != 2) break;
    }
    return false;
}

static int port(const char *name) {
    for (size_t i = 0; i < world.ports_count; i++)
        if (strcmp(world.ports[i].name, name) == 0) return world.ports[i].port;
    return 0;
}

static const char *in_directory(const char *name) {
    static char paths[4][128];
    static int turn;
    char *path = paths[turn++ % 4];
    snprintf(path, sizeof paths[0], "%s/%s", world.directory, name);
    return path;
}

static bool world_start(void) {
    FILE *out;
    strcpy(world.directory, "/tmp/tuma-courier-XXXXXX");
    if (!mkdtemp(world.directory)) return false;
    const char *const hostile[] = {
        "python3", "-W", "ignore", "tests/faults/hostile.py", "--tls", world.directory, NULL
    };
    world.hostile = spawn(hostile, &out);
    if (!read_ports(out)) return false;
    const char *const http2[] = { "node", "tests/faults/http2.js", in_directory("good.key"),
                                  in_directory("good.crt"), NULL };
    world.http2 = spawn(http2, &out);
    return read_ports(out);
}

static void world_end(void) {
    end(&world.hostile);
    end(&world.http2);
    char command[96];
    snprintf(command, sizeof command, "rm -rf '%s'", world.directory);
    if (system(command) != 0) abort();
}

// --- The sender ---

struct shot {
    struct transfer transfer;
    struct request request;
    struct header headers[4];
    struct arena arena;
    char url[256];
    int done;
};

static struct {
    uv_loop_t loop;
    struct guard guard;
    struct resolver *resolver;
    struct courier *courier;
    struct shot shots[SHOTS];
    size_t count;
    int open;
    bool closed, keep; // keep: do not close when the last shot is done
} rig;

static void on_all_closed(void *user) {
    (void)user;
    rig.closed = true;
}

static void on_courier_closed(void *user) {
    (void)user;
    resolver_close(rig.resolver, on_all_closed, NULL);
}

static void on_done(struct transfer *transfer) {
    struct shot *shot = transfer->user;
    shot->done++;
    if (--rig.open > 0) return;
    if (rig.keep)
        uv_stop(&rig.loop);
    else
        courier_close(rig.courier, on_courier_closed, NULL);
}

static void set_up_with(struct courier_opts opts) {
    memset(&rig, 0, sizeof rig);
    uv_loop_init(&rig.loop);
    rig.guard = (struct guard){ .allow_http = true, .allow_private = true };
    if (!opts.guard) opts.guard = &rig.guard;
    opts.user_agent = "tuma/test";
    opts.ca_file = in_directory("ca.crt");
    struct fail fail;
    // No name server listens there: what is not in /etc/hosts fails at once.
    struct resolver_opts dns = { .servers = "127.0.0.1:9", .timeout_ms = 2000 };
    rig.resolver = resolver_new(&rig.loop, &dns, &fail);
    opts.resolver = rig.resolver;
    rig.courier = courier_new(&rig.loop, &opts, &fail);
    CHECK(rig.resolver && rig.courier);
}

static void set_up(void) {
    set_up_with((struct courier_opts){ .http2 = true });
}

// A POST that is not sent yet.
static struct shot *shot_new(const char *url) {
    struct shot *shot = &rig.shots[rig.count++];
    snprintf(shot->url, sizeof shot->url, "%s", url);
    arena_init(&shot->arena, ARENA_MAX);
    shot->headers[0] = (struct header){ S("Content-Type"), S("application/json") };
    shot->request = (struct request){ .method = S("POST"),
                                      .url = slice_str(shot->url),
                                      .headers = shot->headers,
                                      .headers_count = 1,
                                      .body = S("{\"a\":1}"),
                                      .has_body = true };
    shot->transfer = (struct transfer){ .request = &shot->request,
                                        .timeout_ms = 10000,
                                        .connect_timeout_ms = 5000,
                                        .arena = &shot->arena,
                                        .done = on_done,
                                        .user = shot };
    return shot;
}

static struct shot *fire(struct shot *shot) {
    rig.open++;
    courier_send(rig.courier, &shot->transfer);
    CHECK_INT(shot->done, 0); // never inside
    return shot;
}

static struct shot *shot_at(const char *port_name, const char *path) {
    char url[256];
    bool tls = strncmp(port_name, "tls", 3) == 0 || strncmp(port_name, "http2", 5) == 0;
    snprintf(url, sizeof url, "%s://%s:%d%s", tls ? "https" : "http",
             tls ? "localhost" : "127.0.0.1", port(port_name), path);
    return shot_new(url);
}

static struct shot *post(const char *path) {
    return fire(shot_at("http", path));
}

// Waits for what is open, without an end of the rig.
static void settle(void) {
    rig.keep = true;
    while (rig.open > 0) uv_run(&rig.loop, UV_RUN_DEFAULT);
    rig.keep = false;
}

static void run(void) {
    if (rig.open == 0) courier_close(rig.courier, on_courier_closed, NULL);
    uv_run(&rig.loop, UV_RUN_DEFAULT);
    CHECK(rig.closed);
    CHECK_INT(uv_loop_close(&rig.loop), 0);
    for (size_t i = 0; i < rig.count; i++) {
        CHECK_INT(rig.shots[i].done, 1);
        arena_deinit(&rig.shots[i].arena);
    }
}

static void expect(const struct shot *shot, enum verdict verdict, const char *type) {
    const struct attempt *a = &shot->transfer.attempt;
    if (a->verdict == verdict && strcmp(a->error_type, type) == 0) return;
    printf("# %s: verdict %d, \"%s\" (%s), HTTP %d; wanted verdict %d, \"%s\"\n", shot->url,
           a->verdict, a->error_type, a->error, a->status, verdict, type);
    check_failures++;
}

static void expect_text(struct slice text, const char *part) {
    if (text.n && memmem(text.p, text.n, part, strlen(part))) return;
    printf("# \"%s\" is not in \"%.*s\"\n", part, SLICE_FMT(text));
    check_failures++;
}

static bool contains(struct slice text, const char *part) {
    return text.n && memmem(text.p, text.n, part, strlen(part));
}

static long ask_number(const char *what, const char *path) {
    char question[64];
    snprintf(question, sizeof question, "/%s%s", what, path);
    struct shot *shot = post(question);
    settle();
    struct slice body = shot->transfer.attempt.response_body;
    char digits[16] = { 0 };
    memcpy(digits, body.p, body.n < 15 ? body.n : 15);
    return atol(digits);
}

static long received(const char *path) {
    return ask_number("count", path);
}

// --- Rows ---

struct row {
    const char *path;
    enum verdict verdict;
    const char *type;
    int status;
    bool incomplete;
    int64_t timeout_ms;
};

static const struct row rows[] = {
    { "/ok", VERDICT_DELIVERED, "", 200, false, 0 },
    { "/s1", VERDICT_RETRY, "timeout", 0, false, 700 },
    { "/s2close", VERDICT_RETRY, "closed", 0, false, 0 },
    { "/s2reset", VERDICT_RETRY, "reset", 0, false, 0 },
    { "/s4length", VERDICT_DELIVERED, "", 200, true, 0 },
    { "/s4chunked", VERDICT_DELIVERED, "", 200, true, 0 },
    { "/s4none", VERDICT_DELIVERED, "", 200, true, 0 },
    { "/exact", VERDICT_DELIVERED, "", 200, false, 0 },
    { "/over", VERDICT_DELIVERED, "", 200, true, 0 },
    { "/s5", VERDICT_RETRY, "response_headers_too_large", 0, false, 0 },
    { "/s6line", VERDICT_RETRY, "response_headers_too_large", 0, false, 0 },
    { "/s6status", VERDICT_RETRY, "response_headers_too_large", 0, false, 0 },
    { "/s7hundred", VERDICT_RETRY, "response_headers_too_large", 0, false, 0 },
    { "/s7hints", VERDICT_RETRY, "response_headers_too_large", 0, false, 0 },
    { "/s8", VERDICT_DELIVERED, "", 200, false, 0 },
    { "/s9", VERDICT_RETRY, "unexpected_upgrade", 0, false, 0 },
    { "/s10lines", VERDICT_DELIVERED, "", 200, true, 0 },
    { "/s10line", VERDICT_DELIVERED, "", 200, true, 0 },
    { "/s11", VERDICT_DELIVERED, "", 200, true, 0 },
    { "/s11many", VERDICT_DELIVERED, "", 200, true, 0 },
    { "/s12bad", VERDICT_DELIVERED, "", 200, true, 0 },
    { "/s12big", VERDICT_DELIVERED, "", 200, true, 0 },
    { "/s13chunked", VERDICT_DELIVERED, "", 200, true, 0 },
    { "/s13length", VERDICT_DELIVERED, "", 200, true, 0 },
    { "/s13head", VERDICT_RETRY, "closed", 0, false, 0 },
    { "/s14negative", VERDICT_DELIVERED, "", 200, true, 0 },
    { "/s14two", VERDICT_DELIVERED, "", 200, false, 0 },
    { "/s14huge", VERDICT_DELIVERED, "", 200, false, 0 },
    { "/s15", VERDICT_DELIVERED, "", 200, false, 0 },
    { "/s16", VERDICT_DELIVERED, "", 200, false, 0 },
    { "/s17http09", VERDICT_RETRY, "malformed_response", 0, false, 0 },
    { "/s17random", VERDICT_RETRY, "malformed_response", 0, false, 0 },
    { "/s17version", VERDICT_RETRY, "malformed_response", 0, false, 0 },
    { "/s17status5", VERDICT_RETRY, "malformed_response", 0, false, 0 },
    { "/s17status0", VERDICT_RETRY, "malformed_response", 0, false, 0 },
    { "/s17status2", VERDICT_RETRY, "malformed_response", 0, false, 0 },
    { "/s17status999", VERDICT_RETRY, "malformed_response", 999, false, 0 },
    { "/s18nul", VERDICT_RETRY, "malformed_response", 0, false, 0 },
    { "/s18fold", VERDICT_DELIVERED, "", 200, false, 0 },
    { "/s19", VERDICT_RETRY, "timeout", 0, false, 800 },
    { "/s20", VERDICT_DELIVERED, "", 200, true, 800 },
    { "/s21no", VERDICT_DELIVERED, "", 204, false, 0 },
    { "/s21reset", VERDICT_DELIVERED, "", 205, false, 0 },
    { "/s21not", VERDICT_RETRY, "redirect", 304, false, 0 },
    { "/s23", VERDICT_DELIVERED, "", 200, true, 0 },
    { "/s24", VERDICT_DELIVERED, "", 200, false, 0 },
    { "/s25/301/http:%2F%2Fexample.com%2F", VERDICT_RETRY, "redirect", 301, false, 0 },
    { "/s25/302/http:%2F%2F127.0.0.1%2F", VERDICT_RETRY, "redirect", 302, false, 0 },
    { "/s25/303/file:%2F%2F%2Fetc%2Fpasswd", VERDICT_RETRY, "redirect", 303, false, 0 },
    { "/s25/307/%2Fok", VERDICT_RETRY, "redirect", 307, false, 0 },
    { "/s25/308/%2Fs25%2F308%2F", VERDICT_RETRY, "redirect", 308, false, 0 },
    { "/status/410", VERDICT_DISABLE, "gone", 410, false, 0 },
    { "/status/429", VERDICT_RETRY, "throttled", 429, false, 0 },
    { "/status/401", VERDICT_RETRY, "client_error", 401, false, 0 },
    { "/status/404", VERDICT_RETRY, "client_error", 404, false, 0 },
    { "/status/500", VERDICT_RETRY, "server_error", 500, false, 0 },
    { "/s29", VERDICT_DELIVERED, "", 200, false, 0 },
    { "/s35", VERDICT_DELIVERED, "", 200, false, 0 },
};

static void every_hostile_answer_has_its_outcome(void) {
    set_up();
    size_t count = sizeof rows / sizeof *rows;
    for (size_t i = 0; i < count; i++) {
        struct shot *shot = shot_at("http", rows[i].path);
        if (rows[i].timeout_ms) shot->transfer.timeout_ms = rows[i].timeout_ms;
        fire(shot);
    }
    run();
    for (size_t i = 0; i < count; i++) {
        const struct attempt *a = &rig.shots[i].transfer.attempt;
        expect(&rig.shots[i], rows[i].verdict, rows[i].type);
        if (a->status != rows[i].status || a->response_incomplete != rows[i].incomplete) {
            printf("# %s: status %d, incomplete %d (%s)\n", rows[i].path, a->status,
                   a->response_incomplete, a->error);
            check_failures++;
        }
        CHECK(a->response_headers.n <= 64 * 1024 && a->response_body.n <= 64 * 1024);
        CHECK((a->error_type[0] == '\0') == (a->error[0] == '\0'));
        CHECK(a->total_us > 0);
    }
}

// The rest stays in the sender: the kernel's buffers hold a few megabytes, no more goes out.
static void endless_answers_are_not_read_to_their_end(void) {
    static const char *const paths[] = { "/s4length", "/s4chunked", "/s5",       "/s6line",
                                         "/s6status", "/s7hundred", "/s10lines", "/s10line",
                                         "/s11",      "/s11many" };
    set_up();
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        post(paths[i]);
        settle();
        long poured = ask_number("poured", paths[i]);
        if (poured >= 16L << 20) printf("# %s: %ld bytes\n", paths[i], poured);
        CHECK(poured < 16L << 20);
    }
    run();
}

static void the_answer_is_kept_as_it_came(void) {
    set_up();
    struct shot *ok = post("/s35"), *exact = post("/exact"), *over = post("/over"),
                *early = post("/s8");
    run();
    // The arenas are gone by now: lengths only.
    CHECK_INT(ok->transfer.attempt.response_body.n, 12);
    CHECK_INT(exact->transfer.attempt.response_body.n, 65536);
    CHECK_INT(over->transfer.attempt.response_body.n, 65536);
    CHECK_INT(early->transfer.attempt.response_headers.n, 38); // without the 100
}

static void the_request_is_sent_as_it_is(void) {
    struct header extra[] = { { S("webhook-id"), S("msg_1") }, { S("X-Empty"), S("") } };
    set_up();
    struct shot *shot = shot_at("http", "/echo");
    shot->headers[1] = (struct header){ S("X-Text"), S("a: b; c") };
    shot->request.headers_count = 2;
    shot->transfer.extra = extra;
    shot->transfer.extra_count = 2;
    fire(shot);
    settle();
    struct slice echo = shot->transfer.attempt.response_body;
    expect(shot, VERDICT_DELIVERED, "");
    expect_text(echo, "POST /echo HTTP/1.1\r\nHost: 127.0.0.1:");
    expect_text(echo, "\r\nContent-Type: application/json\r\n");
    expect_text(echo, "\r\nContent-Length: 7\r\n");
    expect_text(echo, "\r\nUser-Agent: tuma/test\r\n");
    expect_text(echo, "\r\nX-Text: a: b; c\r\n");
    expect_text(echo, "\r\nwebhook-id: msg_1\r\n");
    expect_text(echo, "\r\nX-Empty:");
    expect_text(echo, "\r\n\r\n{\"a\":1}");
    CHECK(!contains(echo, "Expect"));
    CHECK(!contains(echo, "urlencoded"));
    run();
}

static void methods_have_bodies_only_when_given(void) {
    static const char *const methods[] = { "GET", "DELETE", "POST", "PUT", "PATCH" };
    struct shot *bare[5], *full[5];
    char line[64];
    set_up();
    for (int i = 0; i < 5; i++) {
        bare[i] = shot_at("http", "/echo");
        bare[i]->request.method = slice_str(methods[i]);
        bare[i]->request.has_body = false;
        bare[i]->request.body = slice("", 0);
        bare[i]->request.headers_count = 0;
        fire(bare[i]);
        full[i] = shot_at("http", "/echo");
        full[i]->request.method = slice_str(methods[i]);
        fire(full[i]);
        settle(); // the handle goes from method to method
    }
    for (int i = 0; i < 5; i++) {
        struct slice bare_echo = bare[i]->transfer.attempt.response_body;
        struct slice full_echo = full[i]->transfer.attempt.response_body;
        snprintf(line, sizeof line, "%s /echo HTTP/1.1\r\n", methods[i]);
        expect_text(bare_echo, line);
        expect_text(full_echo, line);
        expect_text(full_echo, "Content-Length: 7\r\n");
        expect_text(full_echo, "\r\n\r\n{\"a\":1}");
        CHECK(contains(bare_echo, "Content-Length: 0\r\n") == (i >= 2));
        CHECK(!contains(bare_echo, "Content-Type"));
    }
    run();
}

static void header_injection_is_refused(void) {
    static const struct header bad[] = {
        { { "X-A", 3 }, { "a\r\nX-B: c", 9 } }, { { "X-A", 3 }, { "a\nb", 3 } },
        { { "X-A", 3 }, { "a\0b", 3 } },        { { "X-A: b\r\nX", 9 }, { "c", 1 } },
        { { "X:A", 3 }, { "c", 1 } },           { { "", 0 }, { "c", 1 } },
    };
    set_up();
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct shot *shot = shot_at("http", "/never");
        shot->transfer.extra = &bad[i];
        shot->transfer.extra_count = 1;
        fire(shot);
    }
    settle();
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        expect(&rig.shots[i], VERDICT_PARK, "bad_header");
    CHECK_INT(received("/never"), 0);
    run();
}

static void retry_after_is_read(void) {
    set_up();
    struct shot *seconds = post("/status/429/Retry-After/5"),
                *date = post("/status/503/Retry-After/Wed,_21_Oct_2065_07:28:00_GMT"),
                *word = post("/status/429/Retry-After/abc"), *two = post("/s26two"),
                *other = post("/status/500/Retry-After/5");
    run();
    CHECK_INT(seconds->transfer.attempt.retry_after_ms, 5000);
    CHECK(date->transfer.attempt.retry_after_ms > 86400000);
    CHECK_INT(word->transfer.attempt.retry_after_ms, -1);
    CHECK_INT(two->transfer.attempt.retry_after_ms, 7000);
    CHECK_INT(other->transfer.attempt.retry_after_ms, -1);
}

// S30: a failure that the receiver wants to be the last one.
static void receiver_may_end_a_message(void) {
    set_up();
    struct shot *wish = post("/status/422/Webhook-Delivery/Abort-Message"),
                *moved = post("/status/307/webhook-delivery/abort-message"),
                *other = post("/status/422/webhook-delivery/retry"),
                *fine = post("/status/200/webhook-delivery/abort-message"),
                *gone = post("/status/410/webhook-delivery/abort-message");
    settle();
    expect(wish, VERDICT_FAIL, "aborted");
    CHECK_INT(wish->transfer.attempt.status, 422);
    expect(moved, VERDICT_FAIL, "aborted");
    expect(other, VERDICT_RETRY, "client_error");
    expect(fine, VERDICT_DELIVERED, "");
    expect(gone, VERDICT_DISABLE, "gone");
    run();
}

static void redirects_name_their_target_without_its_query(void) {
    set_up();
    struct shot *shot = post("/s25/302/http:%2F%2Fexample.com%2Fx%3Fsecret");
    settle();
    const char *error = shot->transfer.attempt.error;
    CHECK(strstr(error, "http://example.com/x"));
    expect_text(shot->transfer.attempt.response_headers, "Location:");
    run();
}

// --- Connections ---

static void connections_are_kept_and_reused(void) {
    set_up();
    struct shot *first = post("/ok");
    settle();
    struct shot *second = post("/ok");
    settle();
    CHECK(first->transfer.attempt.connect_us > 0);
    CHECK_INT(second->transfer.attempt.connect_us, 0);
    CHECK(first->transfer.attempt.first_byte_us > 0);
    CHECK_INT(second->transfer.attempt.tls_us, 0);
    run();
}

// S3: curl would send the request a second time by itself.
static void a_broken_reused_connection_is_one_attempt(void) {
    set_up();
    post("/s3");
    settle();
    long before = received("/s3");
    CHECK_INT(before, 1);
    struct shot *second = post("/s3");
    settle();
    expect(second, VERDICT_RETRY, "closed");
    CHECK_INT(received("/s3") - before, 1);
    run();
}

// S22: the second answer must not become that of the next request.
static void an_unsolicited_answer_is_nobodys(void) {
    set_up();
    struct shot *first = post("/s22");
    settle();
    expect(first, VERDICT_DELIVERED, "");
    usleep(150000);
    struct shot *second = post("/status/503");
    settle();
    expect(second, VERDICT_RETRY, "server_error");
    CHECK(second->transfer.attempt.connect_us > 0); // a new connection
    CHECK_INT(received("/status/503"), 1);
    run();
}

static void a_closed_port_refuses(void) {
    struct sockaddr_in any = { .sin_family = AF_INET };
    socklen_t n = sizeof any;
    char url[64];
    any.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM, 0); // bound, but nobody listens
    CHECK(bind(fd, (struct sockaddr *)&any, n) == 0 &&
          getsockname(fd, (struct sockaddr *)&any, &n) == 0);
    snprintf(url, sizeof url, "http://127.0.0.1:%u/", ntohs(any.sin_port));
    set_up();
    struct shot *shot = fire(shot_new(url));
    run();
    close(fd);
    expect(shot, VERDICT_RETRY, "refused");
    CHECK_INT(shot->transfer.attempt.tls_us, -1);
}

// S33: a listener with a full queue drops further connection requests.
static void a_silent_host_is_a_connect_timeout(void) {
    struct sockaddr_in any = { .sin_family = AF_INET };
    socklen_t n = sizeof any;
    char url[64];
    int fillers[8];
    any.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    CHECK(bind(fd, (struct sockaddr *)&any, n) == 0 && listen(fd, 0) == 0 &&
          getsockname(fd, (struct sockaddr *)&any, &n) == 0);
    for (int i = 0; i < 8; i++) {
        fillers[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
        connect(fillers[i], (struct sockaddr *)&any, n);
    }
    set_up();
    snprintf(url, sizeof url, "http://127.0.0.1:%u/", ntohs(any.sin_port));
    struct shot *shot = shot_new(url);
    shot->transfer.connect_timeout_ms = 500;
    fire(shot);
    run();
    for (int i = 0; i < 8; i++) close(fillers[i]);
    close(fd);
    expect(shot, VERDICT_RETRY, "connect_timeout");
}

// S37, with a body above all socket buffers.
static void a_receiver_that_does_not_read_times_out(void) {
    static char body[1024 * 1024];
    memset(body, 'x', sizeof body);
    set_up();
    struct shot *shots[3];
    for (int i = 0; i < 3; i++) {
        shots[i] = shot_at("http", "/s37");
        shots[i]->request.body = slice(body, sizeof body);
        shots[i]->transfer.timeout_ms = 700;
        fire(shots[i]);
    }
    run();
    for (int i = 0; i < 3; i++) expect(shots[i], VERDICT_RETRY, "timeout");
}

static void names_are_looked_up_and_pinned(void) {
    char url[64];
    set_up();
    snprintf(url, sizeof url, "http://LocalHost:%d/echo", port("http"));
    struct shot *local = fire(shot_new(url)); // ::1 refuses, 127.0.0.1 answers
    struct shot *unknown = fire(shot_new("https://no-such-name.test/"));
    settle();
    expect(local, VERDICT_DELIVERED, "");
    expect_text(local->transfer.attempt.response_body, "\r\nHost: LocalHost:");
    CHECK(local->transfer.attempt.dns_us >= 0);
    CHECK(unknown->transfer.attempt.verdict == VERDICT_RETRY);
    CHECK(strncmp(unknown->transfer.attempt.error_type, "dns_", 4) == 0);
    run();
}

// --- The guard ---

static void closed_addresses_are_blocked_in_every_form(void) {
    static const struct guard strict = { .allow_http = true };
    static const char *const urls[] = {
        "http://127.0.0.1:%d/never", "http://[::1]:%d/never",
        "http://localhost:%d/never", "http://[::ffff:127.0.0.1]:%d/never",
        "http://169.254.169.254/",   "http://10.0.0.1/",
    };
    char url[128];
    set_up_with((struct courier_opts){ .guard = &strict });
    for (size_t i = 0; i < sizeof urls / sizeof *urls; i++) {
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
        snprintf(url, sizeof url, urls[i], port("http"));
#pragma GCC diagnostic pop
        fire(shot_new(url));
    }
    run();
    for (size_t i = 0; i < sizeof urls / sizeof *urls; i++) {
        expect(&rig.shots[i], VERDICT_RETRY, "blocked");
        CHECK(strcmp(rig.shots[i].transfer.attempt.error, rig.shots[0].transfer.attempt.error) ==
              0);
    }
}

// The look-up of a name is allowed by the URL rules; its address is not.
static void one_closed_address_blocks_the_name(void) {
    static const struct guard_cidr deny[] = { { { [15] = 1 }, 128 } }; // ::1
    struct guard guard = {
        .allow_http = true, .allow_private = true, .deny = deny, .deny_count = 1
    };
    char url[64];
    set_up_with((struct courier_opts){ .guard = &guard });
    snprintf(url, sizeof url, "http://localhost:%d/never", port("http"));
    struct shot *shot = fire(shot_new(url));
    run();
    expect(shot, VERDICT_RETRY, "blocked");
}

// What the policy closes later is closed for connections that are open, too.
static void a_reused_connection_asks_the_guard_again(void) {
    struct guard guard = { .allow_http = true, .allow_private = true };
    char url[64];
    set_up_with((struct courier_opts){ .guard = &guard });
    snprintf(url, sizeof url, "http://localhost:%d/ok", port("http"));
    struct shot *open = fire(shot_new(url));
    settle();
    expect(open, VERDICT_DELIVERED, "");
    guard.allow_private = false;
    struct shot *closed = post("/ok");
    run();
    expect(closed, VERDICT_RETRY, "blocked");
}

static void bad_urls_are_parked(void) {
    set_up();
    struct shot *file = fire(shot_new("file:///etc/passwd")),
                *user = fire(shot_new("https://good.com@127.0.0.1/")),
                *space = fire(shot_new("https://good.com/a b")),
                *port22 = fire(shot_new("https://127.0.0.1:22/"));
    run();
    expect(file, VERDICT_PARK, "url_scheme");
    expect(user, VERDICT_PARK, "url_userinfo");
    expect(space, VERDICT_PARK, "bad_url");
    expect(port22, VERDICT_PARK, "url_port");
}

static void proxies_in_the_environment_are_ignored(void) {
    setenv("http_proxy", "http://127.0.0.1:9", 1);
    setenv("ALL_PROXY", "http://127.0.0.1:9", 1);
    set_up();
    struct shot *shot = post("/ok");
    run();
    unsetenv("http_proxy");
    unsetenv("ALL_PROXY");
    expect(shot, VERDICT_DELIVERED, "");
}

// --- TLS ---

static void certificates_are_checked(void) {
    set_up();
    struct shot *good = fire(shot_at("tls_good", "/ok")),
                *self = fire(shot_at("tls_selfsigned", "/ok")),
                *host = fire(shot_at("tls_wronghost", "/ok")),
                *expired = fire(shot_at("tls_expired", "/ok")),
                *notyet = fire(shot_at("tls_notyet", "/ok")),
                *weak = fire(shot_at("tls_weak", "/ok")), *old = fire(shot_at("tls_old", "/ok")),
                *plain = shot_at("tls_good", "/ok");
    plain->url[0] = '\0';
    snprintf(plain->url, sizeof plain->url, "https://127.0.0.1:%d/ok", port("http"));
    plain->request.url = slice_str(plain->url);
    plain->transfer.timeout_ms = 2000;
    fire(plain);
    run();
    expect(good, VERDICT_DELIVERED, "");
    CHECK(good->transfer.attempt.tls_us > 0);
    expect(self, VERDICT_RETRY, "tls_untrusted");
    expect(host, VERDICT_RETRY, "tls_wrong_host");
    expect(expired, VERDICT_RETRY, "tls_expired");
    expect(notyet, VERDICT_RETRY, "tls_not_yet_valid");
    expect(weak, VERDICT_RETRY, "tls_cert");
    expect(old, VERDICT_RETRY, "tls_handshake");
    CHECK(plain->transfer.attempt.verdict == VERDICT_RETRY);
}

static void a_stalled_handshake_is_a_connect_timeout(void) {
    set_up();
    struct shot *shot = shot_at("tls_stall", "/");
    shot->transfer.connect_timeout_ms = 500;
    fire(shot);
    run();
    expect(shot, VERDICT_RETRY, "connect_timeout");
}

static void client_certificates_go_with_their_attempt(void) {
    char cert[128], key[128];
    snprintf(cert, sizeof cert, "%s", in_directory("client.crt"));
    snprintf(key, sizeof key, "%s", in_directory("client.key"));
    set_up_with((struct courier_opts){ 0 });
    struct shot *with = shot_at("tls_mutual", "/ok");
    with->transfer.tls_cert = cert;
    with->transfer.tls_key = key;
    fire(with);
    settle();
    struct shot *without = fire(shot_at("tls_mutual", "/ok")); // must not ride on the open one
    settle();
    struct shot *missing = shot_at("tls_mutual", "/ok");
    missing->transfer.tls_cert = "/nonexistent.crt";
    missing->transfer.tls_key = key;
    fire(missing);
    run();
    expect(with, VERDICT_DELIVERED, "");
    CHECK(without->transfer.attempt.verdict == VERDICT_RETRY);
    expect(missing, VERDICT_RETRY, "tls_client_cert");
}

static void http2_shares_a_connection(void) {
    set_up();
    struct shot *shots[20];
    struct shot *first = fire(shot_at("http2", "/slow"));
    settle();
    expect_text(first->transfer.attempt.response_headers, "HTTP/2 200");
    for (int i = 0; i < 20; i++) shots[i] = fire(shot_at("http2", i % 2 ? "/slow" : "/big"));
    settle();
    for (int i = 0; i < 20; i++) {
        expect(shots[i], VERDICT_DELIVERED, "");
        CHECK_INT(shots[i]->transfer.attempt.connect_us, 0);
        CHECK_INT(shots[i]->transfer.attempt.response_incomplete, i % 2 == 0);
    }
    run();
}

static void http2_can_be_switched_off(void) {
    set_up_with((struct courier_opts){ .http2 = false });
    struct shot *shot = fire(shot_at("http2", "/slow"));
    settle();
    expect_text(shot->transfer.attempt.response_headers, "HTTP/1.1 200");
    run();
}

static void http2_streams_can_be_reset(void) {
    set_up();
    struct shot *shot = fire(shot_at("http2", "/reset"));
    run();
    CHECK(shot->transfer.attempt.verdict == VERDICT_RETRY);
    CHECK(strcmp(shot->transfer.attempt.error_type, "http2_error") == 0 ||
          strcmp(shot->transfer.attempt.error_type, "closed") == 0);
}

// --- Life of a transfer ---

static void cancelled_transfers_are_told_later(void) {
    set_up();
    struct shot *hanging = post("/s1"), *stays = post("/ok");
    struct shot *looking = fire(shot_new("https://no-such-name.test/"));
    CHECK_INT(courier_active(rig.courier), 3);
    courier_cancel(rig.courier, &hanging->transfer);
    courier_cancel(rig.courier, &looking->transfer);
    courier_cancel(rig.courier, &looking->transfer); // once is enough
    CHECK_INT(hanging->done, 0);
    CHECK_INT(courier_active(rig.courier), 1);
    run();
    expect(hanging, VERDICT_LOCAL, "cancelled");
    expect(looking, VERDICT_LOCAL, "cancelled");
    expect(stays, VERDICT_DELIVERED, "");
}

static void closing_aborts_what_is_open(void) {
    set_up();
    struct shot *hanging = post("/s1"), *looking = fire(shot_new("https://no-such-name.test/"));
    rig.keep = true;
    uv_run(&rig.loop, UV_RUN_NOWAIT);
    courier_close(rig.courier, on_courier_closed, NULL);
    struct shot *late = post("/ok");
    CHECK_INT(hanging->done, 0);
    while (!rig.closed) uv_run(&rig.loop, UV_RUN_DEFAULT);
    expect(hanging, VERDICT_LOCAL, "shutdown");
    expect(looking, VERDICT_LOCAL, "shutdown");
    expect(late, VERDICT_LOCAL, "shutdown");
    CHECK_INT(uv_loop_close(&rig.loop), 0);
    for (size_t i = 0; i < rig.count; i++) arena_deinit(&rig.shots[i].arena);
}

// R30-R33: nobody waits for a connection of somebody else.
static void hanging_receivers_do_not_hold_back_others(void) {
    struct shot *hanging[60], *healthy[20];
    set_up();
    for (int i = 0; i < 60; i++) {
        hanging[i] = shot_at("http", i % 2 ? "/s1" : "/s19");
        hanging[i]->transfer.timeout_ms = 60000;
        fire(hanging[i]);
    }
    rig.open -= 60; // settle() waits for the others only
    for (int i = 0; i < 20; i++) healthy[i] = post("/ok");
    settle();
    for (int i = 0; i < 20; i++) expect(healthy[i], VERDICT_DELIVERED, "");
    CHECK_INT(courier_active(rig.courier), 60);
    rig.open += 60;
    for (int i = 0; i < 60; i++) courier_cancel(rig.courier, &hanging[i]->transfer);
    run();
    for (int i = 0; i < 60; i++) expect(hanging[i], VERDICT_LOCAL, "cancelled");
}

static void no_descriptors_is_our_own_trouble(void) {
    struct rlimit old, low;
    set_up();
    post("/ok");
    settle();
    int lowest = dup(0);
    close(lowest);
    getrlimit(RLIMIT_NOFILE, &old);
    low = old;
    low.rlim_cur = (rlim_t)lowest;
    CHECK_INT(setrlimit(RLIMIT_NOFILE, &low), 0);
    struct shot *reuse = post("/latency/100"), *more = post("/ok");
    settle();
    setrlimit(RLIMIT_NOFILE, &old);
    expect(reuse, VERDICT_DELIVERED, "");
    expect(more, VERDICT_LOCAL, "too_many_files");
    run();
}

static void the_deadline_counts_from_the_look_up(void) {
    set_up();
    struct shot *shot = shot_at("http", "/s1");
    shot->transfer.timeout_ms = 300;
    int64_t start = clock_mono_ns();
    fire(shot);
    run();
    expect(shot, VERDICT_RETRY, "timeout");
    CHECK(clock_mono_ns() - start >= 290000000);
}

static const struct check_case cases[] = {
    { "every hostile answer has its outcome", every_hostile_answer_has_its_outcome },
    { "endless answers are not read to their end", endless_answers_are_not_read_to_their_end },
    { "the answer is kept as it came", the_answer_is_kept_as_it_came },
    { "the request is sent as it is", the_request_is_sent_as_it_is },
    { "methods have bodies only when given", methods_have_bodies_only_when_given },
    { "header injection is refused", header_injection_is_refused },
    { "Retry-After is read", retry_after_is_read },
    { "a receiver may end a message", receiver_may_end_a_message },
    { "redirects name their target without its query",
      redirects_name_their_target_without_its_query },
    { "connections are kept and reused", connections_are_kept_and_reused },
    { "a broken reused connection is one attempt", a_broken_reused_connection_is_one_attempt },
    { "an unsolicited answer is nobody's", an_unsolicited_answer_is_nobodys },
    { "a closed port refuses", a_closed_port_refuses },
    { "a silent host is a connect timeout", a_silent_host_is_a_connect_timeout },
    { "a receiver that does not read times out", a_receiver_that_does_not_read_times_out },
    { "names are looked up and pinned", names_are_looked_up_and_pinned },
    { "closed addresses are blocked in every form", closed_addresses_are_blocked_in_every_form },
    { "one closed address blocks the name", one_closed_address_blocks_the_name },
    { "a reused connection asks the guard again", a_reused_connection_asks_the_guard_again },
    { "bad URLs are parked", bad_urls_are_parked },
    { "proxies in the environment are ignored", proxies_in_the_environment_are_ignored },
    { "certificates are checked", certificates_are_checked },
    { "a stalled handshake is a connect timeout", a_stalled_handshake_is_a_connect_timeout },
    { "client certificates go with their attempt", client_certificates_go_with_their_attempt },
    { "HTTP/2 shares a connection", http2_shares_a_connection },
    { "HTTP/2 can be switched off", http2_can_be_switched_off },
    { "HTTP/2 streams can be reset", http2_streams_can_be_reset },
    { "cancelled transfers are told later", cancelled_transfers_are_told_later },
    { "closing aborts what is open", closing_aborts_what_is_open },
    { "hanging receivers do not hold back others", hanging_receivers_do_not_hold_back_others },
    { "no descriptors is our own trouble", no_descriptors_is_our_own_trouble },
    { "the deadline counts from the look-up", the_deadline_counts_from_the_look_up },
};

int main(void) {
    setenv("SSLKEYLOGFILE", "/nonexistent/keys", 1);
    setenv("HTTPS_PROXY", "http://127.0.0.1:9", 1);
    if (courier_global_init(NULL) != OK) return 1;
    if (getenv("SSLKEYLOGFILE") || getenv("HTTPS_PROXY")) return 1;
    if (!world_start()) {
        printf("not ok 1 - the receivers start\n1..1\n");
        world_end();
        return 1;
    }
    int status = check_run(cases, sizeof cases / sizeof *cases);
    world_end();
    return status;
}
