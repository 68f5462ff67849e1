// curl's callbacks during a transfer. Three of them are walls:
//
// - OPENSOCKET is the only one that sees the address that is really dialled,
//   before the first packet. It asks the guard for every connection, literal
//   addresses included.
// - PREREQ runs before each request, on reused connections too. curl silently
//   sends a request again when a reused connection breaks; its second call in
//   one attempt therefore ends the attempt. And bytes that wait on the
//   connection before the request are no answer to it.
// - The progress callback counts what the kernel received: an endless chunk
//   extension or trailer never reaches the body callback.
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <unistd.h>

#include "courier_inner.h"
#include "courier_probe.h"

enum { QUIET_CALLS = 9 }; // most attempts end before TCP_INFO is ever asked

void receive_reset(struct flight *flight) {
    buf_clear(&flight->headers);
    buf_clear(&flight->body);
    flight->header_bytes = 0;
    flight->status = 0;
    flight->complete = flight->multiplexed = false;
    flight->opened_count = 0;
    flight->trouble = TROUBLE_NONE;
    flight->requests = flight->progress = 0;
    flight->fd = CURL_SOCKET_BAD;
    flight->raw_base = flight->raw = 0;
    flight->error[0] = '\0';
}

static bool stop(struct flight *flight, enum trouble trouble) {
    if (flight->trouble == TROUBLE_NONE) flight->trouble = trouble;
    return false;
}

// --- Connections ---

static curl_socket_t on_open_socket(void *user, curlsocktype purpose,
                                    struct curl_sockaddr *address) {
    (void)purpose;
    struct flight *flight = user;
    if (!guard_address(flight->courier->opts.guard, &address->addr)) {
        stop(flight, TROUBLE_BLOCKED);
        return CURL_SOCKET_BAD;
    }
    int fd = socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
    if (fd < 0) {
        if (errno != EAFNOSUPPORT) stop(flight, TROUBLE_FILES);
        return CURL_SOCKET_BAD;
    }
    loop_forget_socket(flight->courier, fd);
    flight->opened[flight->opened_count++ % OPENED_MAX] = fd;
    return fd;
}

// A connection that ends in the middle of an answer: how much had come tells a
// header line without end from our own lack of memory (both are curl's code 27).
static void leave_socket(struct courier *courier, curl_socket_t fd) {
    for (struct list *link = courier->active.next; link != &courier->active; link = link->next) {
        struct flight *flight = list_item(link, struct flight, link);
        if (flight->fd != fd || flight->multiplexed) continue;
        if (!flight->complete) flight->raw = probe_bytes_received(fd);
        flight->fd = CURL_SOCKET_BAD;
    }
}

static int on_close_socket(void *user, curl_socket_t fd) {
    leave_socket(user, fd);
    loop_forget_socket(user, fd);
    return close(fd);
}

static bool address_allowed(const struct guard *guard, const char *text, int port) {
    struct sockaddr_in v4 = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port) };
    struct sockaddr_in6 v6 = { .sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port) };
    if (inet_pton(AF_INET, text, &v4.sin_addr) == 1)
        return guard_address(guard, (const struct sockaddr *)&v4);
    return inet_pton(AF_INET6, text, &v6.sin6_addr) == 1 &&
           guard_address(guard, (const struct sockaddr *)&v6);
}

// Bytes or an end of file where silence should be. A new TLS connection may
// hold session tickets; frames of HTTP/2 name the request they belong to.
static bool holds_stale_bytes(const struct flight *flight, bool tls) {
    char byte;
    if (flight->multiplexed || (tls && flight->opened_count)) return false;
    return recv(flight->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) >= 0;
}

static curl_socket_t find_socket(struct flight *flight, const struct ends *ends) {
    size_t count = flight->opened_count < OPENED_MAX ? flight->opened_count : OPENED_MAX;
    for (size_t i = 0; i < count; i++) loop_name_socket(flight->courier, flight->opened[i], ends);
    return loop_find_socket(flight->courier, ends);
}

static int on_request(void *user, char *remote_ip, char *local_ip, int remote_port,
                      int local_port) {
    struct flight *flight = user;
    const struct ends ends = { local_ip, remote_ip, local_port, remote_port };
    bool tls = slice_ieq(flight->parts.scheme, S("https"));
    if (flight->trouble == TROUBLE_BLOCKED ||
        !address_allowed(flight->courier->opts.guard, remote_ip, remote_port))
        return stop(flight, TROUBLE_BLOCKED), CURL_PREREQFUNC_ABORT;
    if (++flight->requests > 1) return stop(flight, TROUBLE_RESENT), CURL_PREREQFUNC_ABORT;
    flight->fd = find_socket(flight, &ends);
    flight->multiplexed = tls && flight->courier->opts.http2 && probe_speaks_http2(flight->easy);
    if (holds_stale_bytes(flight, tls)) return stop(flight, TROUBLE_STALE), CURL_PREREQFUNC_ABORT;
    return CURL_PREREQFUNC_OK;
}

// --- The answer ---

// "HTTP/1.1 200 OK" → 200; curl has checked the form.
static int read_status(struct slice line) {
    struct slice rest = slice_from(line, slice_find(line, ' ') + 1);
    int status = 0;
    for (size_t i = 0; i < 3 && i < rest.n && rest.p[i] >= '0' && rest.p[i] <= '9'; i++)
        status = status * 10 + (rest.p[i] - '0');
    return status;
}

// One line. Every block (1xx, final, trailers) counts; the last but trailers is kept.
static bool take_header(struct flight *flight, struct slice line) {
    flight->header_bytes += line.n;
    if (flight->header_bytes > RESPONSE_HEADER_BYTES_MAX) return stop(flight, TROUBLE_HEADERS);
    if (flight->complete) return true;
    if (slice_starts(line, S("HTTP/"))) {
        buf_clear(&flight->headers);
        flight->status = read_status(line);
        if (flight->status == 101) return stop(flight, TROUBLE_UPGRADE);
    }
    buf_add(&flight->headers, line);
    bool ends = slice_eq(line, S("\r\n")) || slice_eq(line, S("\n"));
    flight->complete = ends && flight->status >= 200;
    return true;
}

static size_t on_header(char *p, size_t size, size_t n, void *user) {
    return take_header(user, slice(p, size * n)) ? size * n : 0;
}

static size_t on_body(char *p, size_t size, size_t n, void *user) {
    struct flight *flight = user;
    size_t room = RESPONSE_BODY_BYTES_MAX - flight->body.n;
    bool fits = size * n <= room;
    buf_add(&flight->body, slice(p, fits ? size * n : room));
    return fits || stop(flight, TROUBLE_BODY) ? size * n : 0;
}

static bool raw_too_much(struct flight *flight) {
    int64_t received = probe_bytes_received(flight->fd);
    if (received < 0) return false;
    if (!flight->raw_base && !flight->opened_count) flight->raw_base = received;
    flight->raw = received - flight->raw_base;
    return flight->raw > RESPONSE_RAW_BYTES_MAX;
}

static int on_progress(void *user, curl_off_t down_total, curl_off_t down, curl_off_t up_total,
                       curl_off_t up) {
    (void)down_total, (void)down, (void)up_total, (void)up;
    struct flight *flight = user;
    if (flight->fd == CURL_SOCKET_BAD || flight->multiplexed) return 0;
    if (++flight->progress <= QUIET_CALLS || !raw_too_much(flight)) return 0;
    stop(flight, TROUBLE_RAW);
    return 1;
}

void receive_set_callbacks(struct flight *flight) {
    CURL *easy = flight->easy;
    curl_easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION, on_open_socket);
    curl_easy_setopt(easy, CURLOPT_OPENSOCKETDATA, flight);
    curl_easy_setopt(easy, CURLOPT_CLOSESOCKETFUNCTION, on_close_socket);
    curl_easy_setopt(easy, CURLOPT_CLOSESOCKETDATA, flight->courier);
    curl_easy_setopt(easy, CURLOPT_PREREQFUNCTION, on_request);
    curl_easy_setopt(easy, CURLOPT_PREREQDATA, flight);
    curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(easy, CURLOPT_HEADERDATA, flight);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, flight);
    curl_easy_setopt(easy, CURLOPT_XFERINFOFUNCTION, on_progress);
    curl_easy_setopt(easy, CURLOPT_XFERINFODATA, flight);
    curl_easy_setopt(easy, CURLOPT_NOPROGRESS, 0L);
}
