// The options of an easy handle. What never varies is set once: a handle
// lives on in the pool, and curl_easy_reset would cost more than the rest.
// Everything libcurl reads from elsewhere (proxies, .netrc, cookies, HSTS,
// alt-svc) is off, so customers share no state but the connection pool, whose
// key is scheme, host, port and client certificate.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>

#include "courier_inner.h"

enum {
    IDLE_S_MAX = 4, // many servers hang up after 5 s (Node's default)
    CONNECTION_S_MAX = 300,
    CONNECT_TIMEOUT_MS = 5000,
    READ_BYTES = 4096, // curl reads up to a hundred of them in one go
};

#define SET(option, value) (ok = ok && curl_easy_setopt(easy, (option), (value)) == CURLE_OK)

static bool set_limits(CURL *easy) {
    bool ok = true;
    SET(CURLOPT_FOLLOWLOCATION, 0L);
    SET(CURLOPT_MAXREDIRS, 0L);
    SET(CURLOPT_UNRESTRICTED_AUTH, 0L);
    SET(CURLOPT_DISALLOW_USERNAME_IN_URL, 1L);
    SET(CURLOPT_PROXY, "");
    SET(CURLOPT_NOPROXY, "*");
    SET(CURLOPT_NETRC, (long)CURL_NETRC_IGNORED);
    SET(CURLOPT_HTTP09_ALLOWED, 0L);
    SET(CURLOPT_PATH_AS_IS, 1L);
    SET(CURLOPT_BUFFERSIZE, (long)READ_BYTES);
    SET(CURLOPT_MAXAGE_CONN, (long)IDLE_S_MAX);
    SET(CURLOPT_MAXLIFETIME_CONN, (long)CONNECTION_S_MAX);
    SET(CURLOPT_TCP_NODELAY, 1L);
    SET(CURLOPT_TCP_KEEPALIVE, 1L);
    SET(CURLOPT_NOSIGNAL, 1L);
    SET(CURLOPT_QUICK_EXIT, 1L);
    return ok;
}

static bool set_tls(CURL *easy, const char *ca_file) {
    bool ok = true;
    SET(CURLOPT_SSL_VERIFYPEER, 1L);
    SET(CURLOPT_SSL_VERIFYHOST, 2L);
    SET(CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    SET(CURLOPT_SSL_SESSIONID_CACHE, 0L); // sessions would outlive their customer
    if (ca_file) SET(CURLOPT_CAINFO, ca_file);
    // With a directory curl reads all certificates again for every connection
    // (50 ms), without one it keeps them for a day.
    SET(CURLOPT_CAPATH, NULL);
    return ok;
}

CURL *easy_new(struct flight *flight) {
    const struct courier_opts *opts = &flight->courier->opts;
    CURL *easy = curl_easy_init();
    if (!easy) return NULL;
    bool ok = set_limits(easy) && set_tls(easy, opts->ca_file);
    SET(CURLOPT_PROTOCOLS_STR, opts->guard->allow_http ? "http,https" : "https");
    SET(CURLOPT_REDIR_PROTOCOLS_STR, "https");
    SET(CURLOPT_HTTP_VERSION, (long)(opts->http2 ? CURL_HTTP_VERSION_2TLS : CURL_HTTP_VERSION_1_1));
    SET(CURLOPT_USERAGENT, opts->user_agent);
    SET(CURLOPT_PRIVATE, flight);
    SET(CURLOPT_ERRORBUFFER, flight->error);
    if (!ok) {
        curl_easy_cleanup(easy);
        return NULL;
    }
    flight->easy = easy;
    receive_set_callbacks(flight);
    return easy;
}

// --- What varies ---

// The list of header lines, in the transfer's arena: curl only reads it.
struct lines {
    struct arena *arena;
    struct curl_slist *first, **end;
    bool failed;
    bool has_content_type;
};

static void add_line(struct lines *lines, struct slice line) {
    struct curl_slist *node = line.p ? arena_alloc(lines->arena, sizeof *node) : NULL;
    if (!node) {
        lines->failed = true;
        return;
    }
    *node = (struct curl_slist){ .data = (char *)(uintptr_t)line.p };
    *lines->end = node;
    lines->end = &node->next;
}

// "Name: value"; formatting functions would cost more than the rest of a send.
static void add_header(struct lines *lines, const struct header *h) {
    struct slice value = slice_trim(h->value);
    char *line = arena_alloc(lines->arena, h->name.n + value.n + 3);
    if (slice_ieq(h->name, S("Content-Type"))) lines->has_content_type = true;
    if (!line) {
        lines->failed = true;
        return;
    }
    memcpy(line, h->name.p, h->name.n);
    if (value.n) {
        memcpy(line + h->name.n, ": ", 2);
        memcpy(line + h->name.n + 2, value.p, value.n);
        line[h->name.n + 2 + value.n] = '\0';
    } else { // "Name:" would remove a header; "Name;" sends one without a value
        memcpy(line + h->name.n, ";", 2);
    }
    add_line(lines, slice_str(line));
}

static bool set_headers(struct flight *flight) {
    const struct transfer *transfer = flight->transfer;
    struct lines lines = { .arena = transfer->arena, .end = &lines.first };
    add_line(&lines, S("Expect:")); // curl would wait a second for 100 Continue
    for (size_t i = 0; i < transfer->request->headers_count; i++)
        add_header(&lines, &transfer->request->headers[i]);
    for (size_t i = 0; i < transfer->extra_count; i++) add_header(&lines, &transfer->extra[i]);
    if (!lines.has_content_type) add_line(&lines, S("Content-Type:"));
    return !lines.failed &&
           curl_easy_setopt(flight->easy, CURLOPT_HTTPHEADER, lines.first) == CURLE_OK;
}

// GET and DELETE may have a body; POST, PUT and PATCH always have one, if empty.
static bool set_method(CURL *easy, const struct request *request, struct arena *arena) {
    bool ok = true;
    bool get = slice_eq(request->method, S("GET"));
    bool bare = !request->has_body && (get || slice_eq(request->method, S("DELETE")));
    if (bare) {
        SET(CURLOPT_HTTPGET, 1L);
    } else {
        SET(CURLOPT_POST, 1L);
        SET(CURLOPT_POSTFIELDS, request->body.n ? request->body.p : "");
        SET(CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)request->body.n);
    }
    bool natural = get ? bare : slice_eq(request->method, S("POST"));
    struct slice method = natural ? slice(NULL, 0) : arena_dup(arena, request->method);
    SET(CURLOPT_CUSTOMREQUEST, method.p);
    return ok && (natural || method.p);
}

// Without memory libcurl 7.88 forgets the query of a URL and sends the rest; a target that is
// given is taken as it is, or the option fails. Bytes past ASCII are left to it to encode.
static bool set_target(struct flight *flight) {
    struct slice rest = flight->parts.path_and_rest, target = { 0 };
    for (size_t i = 0; i < rest.n; i++)
        if ((unsigned char)rest.p[i] >= 0x80) rest.n = 0;
    rest.n = rest.n ? slice_find(rest, '#') : 0;
    if (rest.n)
        target = arena_printf(flight->transfer->arena, "%s%.*s", *rest.p == '/' ? "" : "/",
                              SLICE_FMT(rest));
    return (target.p || !rest.n) &&
           curl_easy_setopt(flight->easy, CURLOPT_REQUEST_TARGET, target.p) == CURLE_OK;
}

static bool set_certificate(struct flight *flight) {
    const struct transfer *transfer = flight->transfer;
    CURL *easy = flight->easy;
    bool ok = true;
    if (!transfer->tls_cert && !flight->cert_set) return true;
    SET(CURLOPT_SSLCERT, transfer->tls_cert);
    SET(CURLOPT_SSLKEY, transfer->tls_key);
    flight->cert_set = transfer->tls_cert;
    return ok;
}

bool easy_prepare(struct flight *flight, int64_t timeout_ms) {
    const struct transfer *transfer = flight->transfer;
    CURL *easy = flight->easy;
    int64_t connect_ms =
        transfer->connect_timeout_ms > 0 ? transfer->connect_timeout_ms : CONNECT_TIMEOUT_MS;
    struct slice url = arena_dup(transfer->arena, transfer->request->url);
    bool ok = url.p && set_target(flight) && set_headers(flight) && set_certificate(flight) &&
              set_method(easy, transfer->request, transfer->arena);
    SET(CURLOPT_URL, url.p);
    SET(CURLOPT_RESOLVE, flight->pin.data ? &flight->pin : NULL);
    SET(CURLOPT_TIMEOUT_MS, (long)timeout_ms);
    SET(CURLOPT_CONNECTTIMEOUT_MS, (long)connect_ms);
    if (flight->fresh != flight->fresh_set) {
        SET(CURLOPT_FRESH_CONNECT, (long)flight->fresh);
        flight->fresh_set = flight->fresh;
    }
    return ok;
}

bool easy_pin(struct flight *flight, const struct resolved *resolved) {
    char address[INET6_ADDRSTRLEN];
    struct buf text;
    buf_init(&text, 2048);
    buf_printf(&text, "%.*s:%u:", SLICE_FMT(flight->parts.host), flight->parts.port);
    for (size_t i = 0; i < resolved->count; i++) {
        const struct sockaddr_storage *from = &resolved->addresses[i];
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
        memcpy(&v4, from, sizeof v4);
        memcpy(&v6, from, sizeof v6);
        bool is_v6 = from->ss_family == AF_INET6;
        inet_ntop(from->ss_family, is_v6 ? (void *)&v6.sin6_addr : (void *)&v4.sin_addr, address,
                  sizeof address);
        buf_printf(&text, is_v6 ? "%s[%s]" : "%s%s", i ? "," : "", address);
    }
    struct slice kept =
        text.failed ? slice(NULL, 0) : arena_dup(flight->transfer->arena, buf_slice(&text));
    buf_deinit(&text);
    flight->pin = (struct curl_slist){ .data = (char *)(uintptr_t)kept.p };
    return kept.p;
}
