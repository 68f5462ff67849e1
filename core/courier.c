// One attempt's way:
//   courier_send → [resolver] → every address past the guard → pin → multi
//   curl ends it → verdict_give → `done`
// What ends inside the owner's own call (a refused URL, a cancel) is queued and
// reported from the loop, so `done` never runs inside courier_send.
#include "courier.h"

#include <assert.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "clock.h"
#include "courier_inner.h"

enum { TIMEOUT_MS = 10000, CONNECT_TIMEOUT_MS = 5000, IDLE_CONNECTIONS = 256 };

// --- Process ---

static bool hostile_variable(const char *entry) {
    static const char *const names[] = { "SSLKEYLOGFILE", "RES_OPTIONS", "LOCALDOMAIN",
                                         "HOSTALIASES" };
    struct slice name = slice(entry, slice_find(slice_str(entry), '='));
    if (slice_starts(name, S("CURL_"))) return true;
    if (name.n > 6 && slice_ieq(slice_from(name, name.n - 6), S("_proxy"))) return true;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (slice_eq(name, slice_str(names[i]))) return true;
    return false;
}

// libcurl, c-ares and OpenSSL read variables that redirect traffic or write keys.
static void scrub_environment(void) {
    extern char **environ;
    for (char **entry = environ; entry && *entry;) {
        char name[256];
        size_t n = slice_find(slice_str(*entry), '=');
        if (n < sizeof name && hostile_variable(*entry)) {
            memcpy(name, *entry, n);
            name[n] = '\0';
            unsetenv(name);
            entry = environ; // the array moved under us
        } else {
            entry++;
        }
    }
}

enum err courier_global_init(struct fail *fail) {
    scrub_environment();
    signal(SIGPIPE, SIG_IGN);
    if (curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK) return OK;
    return fail_set(fail, ERR_NOMEM, 0, "curl_failed", "libcurl does not start");
}

// --- Flights ---

static void flight_free(struct flight *flight) {
    if (flight->easy) curl_easy_cleanup(flight->easy);
    buf_deinit(&flight->headers);
    buf_deinit(&flight->body);
    free(flight);
}

static struct flight *flight_new(struct courier *courier) {
    struct flight *flight = calloc(1, sizeof *flight);
    if (!flight) return NULL;
    list_init(&flight->link);
    list_init(&flight->lookup.link);
    flight->courier = courier;
    buf_init(&flight->headers, RESPONSE_HEADER_BYTES_MAX);
    buf_init(&flight->body, RESPONSE_BODY_BYTES_MAX);
    flight->easy = easy_new(flight);
    if (!flight->easy) {
        flight_free(flight);
        return NULL;
    }
    courier->flights_count++;
    loop_size_pool(courier);
    return flight;
}

static struct flight *flight_take(struct courier *courier, struct transfer *transfer) {
    // The handle returned last is the likeliest to be in cache.
    struct list *link = list_empty(&courier->spare) ? NULL : courier->spare.prev;
    struct flight *flight = link ? list_item(link, struct flight, link) : flight_new(courier);
    if (!flight) return NULL;
    list_remove(&flight->link);
    list_push(&courier->active, &flight->link);
    courier->active_count++;
    transfer->internal = flight;
    flight->transfer = transfer;
    flight->started_ns = clock_mono_ns();
    flight->dns_us = -1;
    flight->pin.data = NULL;
    flight->fresh = false;
    receive_reset(flight);
    return flight;
}

// Back into the pool; answers near the cap are rare, their memory is not kept.
static void flight_give_back(struct flight *flight) {
    struct courier *courier = flight->courier;
    if (flight->headers.capacity > 8192) buf_deinit(&flight->headers);
    if (flight->body.capacity > 8192) buf_deinit(&flight->body);
    flight->transfer = NULL;
    list_remove(&flight->link);
    list_push(&courier->spare, &flight->link);
    courier->active_count--;
}

// --- Ends ---

static void on_soon(uv_timer_t *timer) {
    struct courier *courier = timer->data;
    struct list *link;
    while ((link = list_pop(&courier->ended))) {
        struct transfer *transfer = list_item(link, struct transfer, link);
        transfer->done(transfer);
    }
    if (!courier->closing || !courier->multi) return;
    while ((link = list_pop(&courier->spare))) flight_free(list_item(link, struct flight, link));
    loop_close(courier);
}

static void tell_soon(struct courier *courier, struct transfer *transfer) {
    transfer->internal = NULL;
    list_push(&courier->ended, &transfer->link);
    uv_timer_start(&courier->soon, on_soon, 0, 0);
}

static void refuse(struct courier *courier, struct transfer *transfer, enum verdict verdict,
                   const char *type, const char *text) {
    struct attempt *attempt = &transfer->attempt;
    attempt->verdict = verdict;
    snprintf(attempt->error_type, sizeof attempt->error_type, "%s", type);
    snprintf(attempt->error, sizeof attempt->error, "%.159s", text);
    tell_soon(courier, transfer);
}

// Ends a flight that curl does not have, or no longer has.
static void give_up(struct flight *flight, enum verdict verdict, const char *type,
                    const char *text) {
    struct courier *courier = flight->courier;
    struct transfer *transfer = flight->transfer;
    resolver_forget(&flight->lookup);
    if (flight->in_multi) curl_multi_remove_handle(courier->multi, flight->easy);
    flight->in_multi = false;
    transfer->attempt.dns_us = flight->dns_us;
    transfer->attempt.total_us = (int32_t)((clock_mono_ns() - flight->started_ns) / 1000);
    flight_give_back(flight);
    refuse(courier, transfer, verdict, type, text);
}

static void give_up_blocked(struct flight *flight) {
    give_up(flight, VERDICT_RETRY, "blocked", "the address may not be dialled");
}

// --- The way out ---

static int64_t timeout_ms(const struct transfer *transfer) {
    return transfer->timeout_ms > 0 ? transfer->timeout_ms : TIMEOUT_MS;
}

static void launch(struct flight *flight) {
    int64_t spent_ms = (clock_mono_ns() - flight->started_ns) / 1000000;
    int64_t left_ms = timeout_ms(flight->transfer) - spent_ms;
    if (left_ms <= 0) {
        give_up(flight, VERDICT_RETRY, "timeout", "no time was left after the name look-up");
    } else if (!easy_prepare(flight, left_ms) ||
               curl_multi_add_handle(flight->courier->multi, flight->easy) != CURLM_OK) {
        give_up(flight, VERDICT_LOCAL, "out_of_memory", "no memory to send");
    } else {
        flight->in_multi = true;
    }
}

// One refused address blocks the whole name.
static bool all_allowed(const struct guard *guard, const struct resolved *resolved) {
    for (size_t i = 0; i < resolved->count; i++)
        if (!guard_address(guard, (const struct sockaddr *)&resolved->addresses[i])) return false;
    return true;
}

static void on_resolved(struct lookup *lookup, const struct resolved *resolved) {
    struct flight *flight = list_item(lookup, struct flight, lookup);
    flight->dns_us = (int32_t)((clock_mono_ns() - flight->started_ns) / 1000);
    if (resolved->err != OK)
        give_up(flight, VERDICT_RETRY, resolved->error_type, resolved->error);
    else if (!all_allowed(flight->courier->opts.guard, resolved))
        give_up_blocked(flight);
    else if (!easy_pin(flight, resolved))
        give_up(flight, VERDICT_LOCAL, "out_of_memory", "no memory to send");
    else
        launch(flight);
}

static void look_up(struct flight *flight) {
    flight->lookup.done = on_resolved;
    resolver_lookup(flight->courier->opts.resolver, flight->parts.host, &flight->lookup);
}

static bool text_clean(struct slice s) {
    return slice_find(s, '\n') == s.n && slice_find(s, '\r') == s.n && slice_find(s, '\0') == s.n;
}

static bool header_clean(const struct header *h) {
    return h->name.n > 0 && slice_find(h->name, ':') == h->name.n && text_clean(h->name) &&
           text_clean(h->value);
}

// curl writes these bytes as they are: a line break would be a second header.
static bool headers_clean(const struct transfer *transfer) {
    for (size_t i = 0; i < transfer->request->headers_count; i++)
        if (!header_clean(&transfer->request->headers[i])) return false;
    for (size_t i = 0; i < transfer->extra_count; i++)
        if (!header_clean(&transfer->extra[i])) return false;
    return true;
}

void courier_send(struct courier *courier, struct transfer *transfer) {
    struct attempt *attempt = &transfer->attempt;
    attempt->dns_us = attempt->connect_us = attempt->tls_us = attempt->first_byte_us = -1;
    attempt->total_us = 0;
    attempt->retry_after_ms = -1;
    list_init(&transfer->link);
    if (courier->closing) {
        refuse(courier, transfer, VERDICT_LOCAL, "shutdown", "the engine stops");
        return;
    }
    struct flight *flight = flight_take(courier, transfer);
    if (!flight) {
        refuse(courier, transfer, VERDICT_LOCAL, "out_of_memory", "no memory to send");
        return;
    }
    struct fail fail = { 0 };
    enum err err = guard_url(courier->opts.guard, transfer->request->url, &flight->parts, &fail);
    if (err != OK && strcmp(fail.type, "url_blocked_address") == 0)
        give_up_blocked(flight);
    else if (err != OK)
        give_up(flight, VERDICT_PARK, fail.type, fail.text);
    else if (!headers_clean(transfer))
        give_up(flight, VERDICT_PARK, "bad_header", "a header holds a line break or no name");
    else if (flight->parts.is_ip)
        flight->dns_us = 0, launch(flight);
    else
        look_up(flight);
}

// Sends again on a new connection: the old one held bytes that nobody asked for.
static bool send_fresh(struct flight *flight) {
    if (flight->trouble != TROUBLE_STALE || flight->fresh) return false;
    receive_reset(flight);
    flight->fresh = true;
    launch(flight);
    return true;
}

void flight_ended(struct flight *flight, CURLcode code) {
    struct transfer *transfer = flight->transfer;
    flight->in_multi = false;
    if (send_fresh(flight)) return;
    verdict_give(flight, code);
    flight_give_back(flight);
    transfer->internal = NULL;
    transfer->done(transfer);
}

void courier_cancel(struct courier *courier, struct transfer *transfer) {
    (void)courier;
    if (list_linked(&transfer->link)) return; // it ended already and is about to be told
    assert(transfer->internal);
    give_up(transfer->internal, VERDICT_LOCAL, "cancelled", "the attempt was called off");
}

size_t courier_active(const struct courier *courier) {
    return courier->active_count;
}

// --- Birth and end ---

struct courier *courier_new(uv_loop_t *loop, const struct courier_opts *opts, struct fail *fail) {
    struct courier *courier = calloc(1, sizeof *courier);
    if (courier) {
        courier->loop = loop;
        courier->opts = *opts;
        if (!courier->opts.idle_connections_max)
            courier->opts.idle_connections_max = IDLE_CONNECTIONS;
        list_init(&courier->active);
        list_init(&courier->spare);
        list_init(&courier->ended);
        courier->soon.data = courier;
        if (loop_init(courier)) return courier;
        free(courier);
    }
    fail_set(fail, ERR_NOMEM, 0, "out_of_memory", "no memory for the courier");
    return NULL;
}

void courier_close(struct courier *courier, void (*closed)(void *user), void *user) {
    courier->closing = true;
    courier->closed = closed;
    courier->user = user;
    while (!list_empty(&courier->active))
        give_up(list_item(courier->active.next, struct flight, link), VERDICT_LOCAL, "shutdown",
                "the engine stops");
    uv_timer_start(&courier->soon, on_soon, 0, 0);
}

void courier_freed(struct courier *courier) {
    void (*closed)(void *user) = courier->closed;
    void *user = courier->user;
    map_deinit(&courier->by_ends);
    free(courier->watches);
    free(courier);
    if (closed) closed(user);
}
