// One look-up with c-ares. A slot has a channel of its own, because c-ares can
// only cancel a whole channel. A and AAAA are asked apart, so that a server
// which ignores one of them does not hold back the other. c-ares calls back
// from inside its functions: the callbacks here only write into the slot.
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>

#include "clock.h"
#include "resolver_inner.h"

enum {
    TRY_MS = 700, // the first try; c-ares doubles it
    TRIES = 3,
    FAMILY_MAX = RESOLVER_ADDRESSES_MAX / 2,
};

// A socket of c-ares in the loop.
struct watch {
    uv_poll_t poll;
    struct slot *slot;
    ares_socket_t fd;
    struct watch *next;
};

static void on_watch_closed(uv_handle_t *handle) {
    struct watch *watch = handle->data;
    struct resolver *resolver = watch->slot->resolver;
    free(watch);
    resolver_handle_closed(resolver);
}

static void on_socket(uv_poll_t *poll, int status, int events) {
    struct watch *watch = poll->data;
    struct slot *slot = watch->slot;
    bool readable = status < 0 || (events & UV_READABLE);
    bool writable = status < 0 || (events & UV_WRITABLE);
    ares_process_fd(slot->channel, readable ? watch->fd : ARES_SOCKET_BAD,
                    writable ? watch->fd : ARES_SOCKET_BAD);
    if (slot->name && slot->running == 0) resolver_slot_settled(slot);
}

static struct watch *watch_open(struct slot *slot, ares_socket_t fd) {
    struct watch *watch = calloc(1, sizeof *watch);
    if (!watch) return NULL;
    if (uv_poll_init_socket(slot->loop, &watch->poll, fd) < 0) {
        free(watch);
        return NULL;
    }
    resolver_handle_opened(slot->resolver);
    watch->poll.data = watch;
    watch->slot = slot;
    watch->fd = fd;
    watch->next = slot->watches;
    slot->watches = watch;
    return watch;
}

// c-ares says what it wants of a socket; neither means that it closes it next.
static void on_socket_state(void *user, ares_socket_t fd, int readable, int writable) {
    struct slot *slot = user;
    struct watch **at = &slot->watches;
    while (*at && (*at)->fd != fd) at = &(*at)->next;
    struct watch *watch = *at;
    if (readable || writable) {
        if (!watch) watch = watch_open(slot, fd);
        int events = (readable ? UV_READABLE : 0) | (writable ? UV_WRITABLE : 0);
        // No watch (no memory): the time-out ends the query.
        if (watch) uv_poll_start(&watch->poll, events, on_socket);
    } else if (watch) {
        *at = watch->next;
        uv_close((uv_handle_t *)&watch->poll, on_watch_closed);
    }
}

static int open_channel(struct slot *slot) {
    struct ares_options options = { .flags = ARES_FLAG_NOSEARCH | ARES_FLAG_NOALIASES,
                                    .timeout = TRY_MS,
                                    .tries = TRIES,
                                    .lookups = (char[]){ "fb" }, // /etc/hosts, then DNS
                                    .sock_state_cb = on_socket_state,
                                    .sock_state_cb_data = slot };
    int status = ares_init_options(&slot->channel, &options,
                                   ARES_OPT_FLAGS | ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES |
                                       ARES_OPT_LOOKUPS | ARES_OPT_SOCK_STATE_CB);
    if (status == ARES_SUCCESS && slot->servers) {
        status = ares_set_servers_ports_csv(slot->channel, slot->servers);
        if (status != ARES_SUCCESS) ares_destroy(slot->channel);
    }
    if (status != ARES_SUCCESS) slot->channel = NULL;
    return status;
}

static void keep_addresses(struct slot *slot, const struct ares_addrinfo *answer) {
    size_t kept = 0;
    for (const struct ares_addrinfo_node *n = answer->nodes; n && kept < FAMILY_MAX;
         n = n->ai_next) {
        if (n->ai_addrlen > sizeof *slot->found.addresses) continue;
        memcpy(&slot->found.addresses[slot->found.count++], n->ai_addr, n->ai_addrlen);
        if (n->ai_ttl < slot->ttl_s) slot->ttl_s = n->ai_ttl;
        kept++;
    }
    if (kept && !slot->found_ns) slot->found_ns = clock_mono_ns();
}

// How much a status tells: a server that failed outweighs a name without addresses.
static int weight(int status) {
    switch (status) {
    case ARES_SUCCESS: return 0;
    case ARES_ENOTFOUND: return 1;
    case ARES_ENODATA: return 2;
    case ARES_ECANCELLED:
    case ARES_EDESTRUCTION: return 3;
    case ARES_ETIMEOUT: return 5;
    default: return 4;
    }
}

static void on_answer(void *user, int status, int timeouts, struct ares_addrinfo *answer) {
    (void)timeouts;
    struct slot *slot = user;
    slot->running--;
    if (weight(status) > weight(slot->status)) slot->status = status;
    if (!answer) return;
    if (status == ARES_SUCCESS) keep_addresses(slot, answer);
    ares_freeaddrinfo(answer);
}

// RFC 6761 section 6.3. c-ares does the same, but 1.18.1 leaks memory on it.
static bool is_localhost(const char *host) {
    struct slice name = slice_str(host), suffix = S(".localhost");
    return slice_eq(name, S("localhost")) || slice_ends(name, suffix);
}

static void find_loopback(struct slot *slot) {
    struct sockaddr_in6 v6 = { .sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT };
    struct sockaddr_in v4 = { .sin_family = AF_INET };
    v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    memcpy(&slot->found.addresses[0], &v6, sizeof v6);
    memcpy(&slot->found.addresses[1], &v4, sizeof v4);
    slot->found.count = 2;
}

void slot_start(struct slot *slot, const char *host) {
    slot->started_ns = clock_mono_ns();
    slot->found_ns = 0;
    slot->ttl_s = RESOLVER_TTL_MAX_S;
    slot->found.count = 0;
    slot->running = 0;
    slot->status = ARES_SUCCESS;
    if (is_localhost(host)) {
        find_loopback(slot);
        return;
    }
    slot->status = slot->channel ? ARES_SUCCESS : open_channel(slot);
    if (slot->status != ARES_SUCCESS) return;
    static const int families[] = { AF_INET6, AF_INET };
    slot->running = 2;
    for (size_t i = 0; i < 2; i++) {
        struct ares_addrinfo_hints hints = { .ai_family = families[i],
                                             .ai_socktype = SOCK_STREAM,
                                             .ai_flags = ARES_AI_NOSORT };
        ares_getaddrinfo(slot->channel, host, NULL, &hints, on_answer, slot);
    }
}

void slot_tick(struct slot *slot) {
    ares_process_fd(slot->channel, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
}

void slot_cancel(struct slot *slot) {
    if (slot->running) ares_cancel(slot->channel);
}

void slot_deinit(struct slot *slot) {
    if (slot->channel) ares_destroy(slot->channel);
    slot->channel = NULL;
}

void slot_answer(struct slot *slot, bool timed_out) {
    struct resolved *found = &slot->found;
    const char *type = "dns_failed";
    found->err = OK;
    found->error_type[0] = found->error[0] = '\0';
    if (found->count) return;
    found->err = ERR_IO;
    if (timed_out || slot->status == ARES_ETIMEOUT)
        type = "dns_timeout", found->err = ERR_TIMEOUT;
    else if (slot->status == ARES_ENOTFOUND)
        type = "dns_notfound", found->err = ERR_NOTFOUND;
    else if (slot->status == ARES_ENODATA || slot->status == ARES_SUCCESS)
        type = "dns_no_address", found->err = ERR_NOTFOUND;
    snprintf(found->error_type, sizeof found->error_type, "%s", type);
    snprintf(found->error, sizeof found->error, "%s",
             found->err == ERR_TIMEOUT         ? "no DNS server answered in time"
             : slot->status == ARES_ENOTFOUND  ? "the name does not exist"
             : strcmp(type, "dns_failed") == 0 ? ares_strerror(slot->status)
                                               : "the name has no address");
}
