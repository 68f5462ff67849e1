// curl's sockets and its timer on the uv loop. uv_poll_start and _stop each
// cost epoll_ctl calls, and curl takes its interest in a socket back after
// every answer: so a socket stays armed across that, and an event that nobody
// wants corrects it. On a kept-alive connection a request then costs none.
#include <arpa/inet.h>
#include <assert.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <unistd.h>

#include "clock.h"
#include "courier_inner.h"

enum { STREAMS_MAX = 64, ENDS_MAX = 128 };
enum { TURN_MS = 4 }; // for sockets, of one turn of the loop

// A socket of curl's. Lives from curl's first interest until the socket closes.
// curl closes a socket that never connected without telling (7.88), so one
// without a name ends as soon as curl is not interested any more: a stale watch
// would spoil the next handle with the same descriptor.
struct watch {
    uv_poll_t poll;
    struct courier *courier;
    curl_socket_t fd;
    int wanted;         // uv events curl asks for
    int armed;          // uv events the loop watches
    struct slice ends;  // `key` once the socket is connected: the key in courier->by_ends
    char key[ENDS_MAX]; // both ports and both addresses
};

static void on_handle_closed(struct courier *courier) {
    if (--courier->handles == 0) courier_freed(courier);
}

// --- After every action ---

// Tells whose transfer ended. `done` callbacks run in here.
static void drain(struct courier *courier) {
    CURLMsg *message;
    int left;
    while (courier->multi && (message = curl_multi_info_read(courier->multi, &left))) {
        if (message->msg != CURLMSG_DONE) continue;
        CURL *easy = message->easy_handle;
        CURLcode code = message->data.result;
        struct flight *flight = NULL;
        curl_easy_getinfo(easy, CURLINFO_PRIVATE, &flight);
        curl_multi_remove_handle(courier->multi, easy);
        flight_ended(flight, code);
    }
}

// --- Sockets ---

static void on_socket(uv_poll_t *poll, int status, int events);

static void arm(struct watch *watch, int events) {
    watch->armed = events;
    if (events)
        uv_poll_start(&watch->poll, events, on_socket);
    else
        uv_poll_stop(&watch->poll);
}

// uv_now is when the kernel last answered. What is left alone then is told again
// by the next turn, behind whatever else waits for the loop.
static bool turn_is_long(const struct courier *courier) {
    return clock_mono_ns() / 1000000 - (int64_t)uv_now(courier->loop) > TURN_MS;
}

// Lets libcurl work. One that had no memory for a socket's entry leaves a table of no
// slots behind (singlesocket of 7.88), and divides by them when it comes there again.
static void act(struct courier *courier, curl_socket_t fd, int flags) {
    int running;
    if (curl_multi_socket_action(courier->multi, fd, flags, &running) == CURLM_OUT_OF_MEMORY)
        fail_no_memory("libcurl's sockets");
}

// An error stops the handle (libuv's doing), so it is not told again.
static void on_socket(uv_poll_t *poll, int status, int events) {
    struct watch *watch = poll->data;
    struct courier *courier = watch->courier;
    if (status == 0 && turn_is_long(courier)) return;
    int hits = (status < 0 ? UV_READABLE | UV_WRITABLE : events) & watch->wanted;
    if (!hits) {
        arm(watch, watch->wanted);
        return;
    }
    int flags = (hits & UV_READABLE ? CURL_CSELECT_IN : 0) |
                (hits & UV_WRITABLE ? CURL_CSELECT_OUT : 0) | (status < 0 ? CURL_CSELECT_ERR : 0);
    act(courier, watch->fd, flags);
    drain(courier);
}

static bool make_room(struct courier *courier, curl_socket_t fd) {
    size_t room = courier->watches_room ? courier->watches_room : 64;
    while (room <= (size_t)fd) room *= 2;
    if (room == courier->watches_room) return true;
    struct watch **grown = realloc(courier->watches, room * sizeof(struct watch *));
    if (!grown) return false;
    memset(grown + courier->watches_room, 0,
           (room - courier->watches_room) * sizeof(struct watch *));
    courier->watches = grown;
    courier->watches_room = room;
    return true;
}

static struct watch *watch_of(const struct courier *courier, curl_socket_t fd) {
    return fd >= 0 && (size_t)fd < courier->watches_room ? courier->watches[fd] : NULL;
}

static struct watch *watch_get(struct courier *courier, curl_socket_t fd) {
    struct watch *watch = watch_of(courier, fd);
    if (watch) return watch;
    watch = make_room(courier, fd) ? calloc(1, sizeof *watch) : NULL;
    if (!watch) return NULL;
    if (uv_poll_init_socket(courier->loop, &watch->poll, fd) < 0) {
        free(watch);
        return NULL;
    }
    courier->handles++;
    watch->poll.data = watch;
    watch->courier = courier;
    watch->fd = fd;
    return courier->watches[fd] = watch;
}

static void on_watch_closed(uv_handle_t *handle) {
    struct watch *watch = handle->data;
    struct courier *courier = watch->courier;
    free(watch);
    on_handle_closed(courier);
}

void loop_forget_socket(struct courier *courier, curl_socket_t fd) {
    struct watch *watch = watch_of(courier, fd);
    if (!watch) return;
    if (watch->ends.n) map_remove(&courier->by_ends, watch->ends);
    courier->watches[fd] = NULL;
    uv_close((uv_handle_t *)&watch->poll, on_watch_closed);
}

// CURLMOPT_SOCKETFUNCTION: what curl wants to know of a socket.
static int on_curl_wants(CURL *easy, curl_socket_t fd, int what, void *user, void *socket_user) {
    (void)easy, (void)socket_user;
    struct courier *courier = user;
    struct watch *watch = what == CURL_POLL_REMOVE ? watch_of(courier, fd) : watch_get(courier, fd);
    if (!watch) return 0; // no memory: the deadline ends the transfer
    if (what == CURL_POLL_REMOVE && !watch->ends.n) {
        loop_forget_socket(courier, fd);
        return 0;
    }
    watch->wanted = what == CURL_POLL_IN      ? UV_READABLE
                    : what == CURL_POLL_OUT   ? UV_WRITABLE
                    : what == CURL_POLL_INOUT ? UV_READABLE | UV_WRITABLE
                                              : 0;
    if (watch->wanted & ~watch->armed) arm(watch, watch->wanted);
    return 0;
}

// --- Which socket is it? ---

// curl names a connection by its two ends only (CURLINFO_ACTIVESOCKET is not
// set yet when PREREQ runs).

static struct slice ends_key(const struct ends *ends, char key[ENDS_MAX]) {
    const uint16_t ports[] = { (uint16_t)ends->local_port, (uint16_t)ends->remote_port };
    size_t local_n = strnlen(ends->local_ip, INET6_ADDRSTRLEN);
    size_t remote_n = strnlen(ends->remote_ip, INET6_ADDRSTRLEN);
    memcpy(key, ports, sizeof ports);
    memcpy(key + sizeof ports, ends->local_ip, local_n);
    key[sizeof ports + local_n] = ' ';
    memcpy(key + sizeof ports + local_n + 1, ends->remote_ip, remote_n);
    return slice(key, sizeof ports + local_n + 1 + remote_n);
}

static bool read_end(const struct sockaddr_storage *address, char ip[INET6_ADDRSTRLEN], int *port) {
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
    memcpy(&v4, address, sizeof v4);
    memcpy(&v6, address, sizeof v6);
    bool is_v6 = address->ss_family == AF_INET6;
    *port = ntohs(is_v6 ? v6.sin6_port : v4.sin_port);
    return inet_ntop(address->ss_family, is_v6 ? (void *)&v6.sin6_addr : (void *)&v4.sin_addr, ip,
                     INET6_ADDRSTRLEN);
}

static bool has_ends(curl_socket_t fd, struct slice wanted) {
    char local_ip[INET6_ADDRSTRLEN], remote_ip[INET6_ADDRSTRLEN], key[ENDS_MAX];
    struct sockaddr_storage local, remote;
    struct ends ends = { .local_ip = local_ip, .remote_ip = remote_ip };
    socklen_t local_n = sizeof local, remote_n = sizeof remote;
    return getsockname(fd, (struct sockaddr *)&local, &local_n) == 0 &&
           getpeername(fd, (struct sockaddr *)&remote, &remote_n) == 0 &&
           read_end(&local, local_ip, &ends.local_port) &&
           read_end(&remote, remote_ip, &ends.remote_port) &&
           slice_eq(ends_key(&ends, key), wanted);
}

void loop_name_socket(struct courier *courier, curl_socket_t fd, const struct ends *ends) {
    char key[ENDS_MAX];
    struct slice wanted = ends_key(ends, key);
    if (!has_ends(fd, wanted)) return;
    struct watch *watch = watch_get(courier, fd);
    if (!watch || watch->ends.n) return;
    memcpy(watch->key, wanted.p, wanted.n);
    wanted.p = watch->key;
    if (map_put(&courier->by_ends, wanted, watch)) watch->ends = wanted;
}

curl_socket_t loop_find_socket(const struct courier *courier, const struct ends *ends) {
    char key[ENDS_MAX];
    const struct watch *watch = map_get(&courier->by_ends, ends_key(ends, key));
    return watch ? watch->fd : CURL_SOCKET_BAD;
}

// --- Timer ---

static void on_timeout(uv_timer_t *timer);

// CURLMOPT_TIMERFUNCTION. 0 means "soon, but not inside this call".
static int on_curl_timer(CURLM *multi, long timeout_ms, void *user) {
    (void)multi;
    struct courier *courier = user;
    if (timeout_ms < 0)
        uv_timer_stop(&courier->timer);
    else
        uv_timer_start(&courier->timer, on_timeout, (uint64_t)timeout_ms, 0);
    return 0;
}

static void on_timeout(uv_timer_t *timer) {
    struct courier *courier = timer->data;
    act(courier, CURL_SOCKET_TIMEOUT, 0);
    // uv counts from the time its turn began, so it can be early; curl then finds
    // nothing due and does not set the same time again.
    long left_ms = -1;
    if (!uv_is_active((uv_handle_t *)timer)) curl_multi_timeout(courier->multi, &left_ms);
    if (left_ms >= 0) on_curl_timer(courier->multi, left_ms, courier);
    drain(courier);
}

// --- Birth and end ---

bool loop_init(struct courier *courier) {
    courier->multi = curl_multi_init();
    if (!courier->multi) return false;
    curl_multi_setopt(courier->multi, CURLMOPT_SOCKETFUNCTION, on_curl_wants);
    curl_multi_setopt(courier->multi, CURLMOPT_SOCKETDATA, courier);
    curl_multi_setopt(courier->multi, CURLMOPT_TIMERFUNCTION, on_curl_timer);
    curl_multi_setopt(courier->multi, CURLMOPT_TIMERDATA, courier);
    curl_multi_setopt(courier->multi, CURLMOPT_MAX_CONCURRENT_STREAMS, (long)STREAMS_MAX);
    map_init(&courier->by_ends);
    uv_timer_init(courier->loop, &courier->timer);
    uv_timer_init(courier->loop, &courier->soon);
    courier->timer.data = courier->soon.data = courier;
    courier->handles = 2;
    return true;
}

// curl counts connections in use, too; beyond the number it closes idle ones.
// MAX_TOTAL_CONNECTIONS is no alternative: it makes healthy transfers wait.
void loop_size_pool(struct courier *courier) {
    long room = (long)courier->opts.idle_connections_max + (long)courier->flights_count;
    curl_multi_setopt(courier->multi, CURLMOPT_MAXCONNECTS, room);
}

static void on_timer_closed(uv_handle_t *handle) {
    on_handle_closed(handle->data);
}

void loop_close(struct courier *courier) {
    assert(courier->active_count == 0);
    CURLM *multi = courier->multi;
    courier->multi = NULL;
    curl_multi_cleanup(multi); // closes the idle sockets: loop_forget_socket
    uv_close((uv_handle_t *)&courier->timer, on_timer_closed);
    uv_close((uv_handle_t *)&courier->soon, on_timer_closed);
}
