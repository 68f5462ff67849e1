// What an attempt came to. The order matters: first what our own callbacks
// stopped (curl only says that one did), then the status when the header block
// came whole, then curl's code. A code never condemns more than this attempt:
// 27 can be one long header line, 7 can be our own lack of descriptors.
#include <errno.h>
#include <stdio.h>

#include "clock.h"
#include "courier_inner.h"
#include "courier_probe.h"
#include "policy.h"

struct word {
    enum verdict verdict;
    const char *type, *text; // text NULL: curl's own
};

// --- Status ---

// Finds the next header `name` in the block, from *rest on.
static bool next_header(struct slice *rest, struct slice name, struct slice *value) {
    while (rest->n) {
        size_t end = slice_find(*rest, '\n');
        struct slice line = slice(rest->p, end);
        *rest = slice_from(*rest, end + 1);
        size_t colon = slice_find(line, ':');
        if (colon == line.n || !slice_ieq(slice(line.p, colon), name)) continue;
        *value = slice_from(line, colon + 1);
        if (slice_ends(*value, S("\r"))) value->n--;
        *value = slice_trim(*value);
        return true;
    }
    return false;
}

// The longest of several: the receiver knows best when it is overloaded.
static int64_t read_retry_after(struct slice headers) {
    int64_t wish_ms = -1, now_ms = clock_wall_ms();
    struct slice value;
    while (next_header(&headers, S("Retry-After"), &value)) {
        int64_t one_ms = retry_after_parse(value, now_ms);
        if (one_ms > wish_ms) wish_ms = one_ms;
    }
    return wish_ms;
}

static void say(struct attempt *attempt, const struct word *word) {
    attempt->verdict = word->verdict;
    snprintf(attempt->error_type, sizeof attempt->error_type, "%s", word->type);
    snprintf(attempt->error, sizeof attempt->error, "%.159s", word->text);
}

// Where it points to, without the query, which may hold a customer's data.
static void say_redirect(struct attempt *attempt, struct slice headers) {
    struct slice to = { 0 };
    char text[128];
    next_header(&headers, S("Location"), &to);
    to.n = slice_find(to, '?');
    snprintf(text, sizeof text, "HTTP %d to \"%.90s\", not followed", attempt->status,
             to.n ? "" : "nowhere");
    if (to.n)
        snprintf(text, sizeof text, "HTTP %d to \"%.*s\", not followed", attempt->status,
                 (int)(to.n > 90 ? 90 : to.n), to.p);
    for (char *c = text; *c; c++)
        if ((unsigned char)*c < 0x20 || (unsigned char)*c >= 0x7F) *c = '.';
    say(attempt, &(struct word){ VERDICT_RETRY, "redirect", text });
}

// A receiver may say that it wants this message no more (Svix's header).
static bool wants_no_more(struct slice headers) {
    struct slice value;
    while (next_header(&headers, S("webhook-delivery"), &value))
        if (slice_ieq(value, S("abort-message"))) return true;
    return false;
}

static void judge_status(struct flight *flight, struct attempt *attempt) {
    char text[64];
    int status = attempt->status = flight->status;
    struct word word = { VERDICT_RETRY, "malformed_response", text };
    snprintf(text, sizeof text, "HTTP %d", status);
    if (status == 410)
        word = (struct word){ VERDICT_DISABLE, "gone", text };
    else if (status == 429)
        word.type = "throttled";
    else if (status >= 400 && status < 600)
        word.type = status < 500 ? "client_error" : "server_error";
    if (status >= 300 && status != 410 && wants_no_more(buf_slice(&flight->headers))) {
        word = (struct word){ VERDICT_FAIL, "aborted", text };
        snprintf(text, sizeof text, "HTTP %d, and the receiver wants no retry", status);
    }
    if (status == 429 || status == 503)
        attempt->retry_after_ms = read_retry_after(buf_slice(&flight->headers));
    if (status >= 200 && status < 300)
        say(attempt, &(struct word){ VERDICT_DELIVERED, "", "" });
    else if (status >= 300 && status < 400 && word.verdict != VERDICT_FAIL)
        say_redirect(attempt, buf_slice(&flight->headers));
    else
        say(attempt, &word);
}

// --- Our own callbacks ---

static const struct word trouble_words[] = {
    [TROUBLE_BLOCKED] = { VERDICT_RETRY, "blocked", "the address may not be dialled" },
    [TROUBLE_FILES] = { VERDICT_LOCAL, "too_many_files", "this process can open no more sockets" },
    [TROUBLE_STALE] = { VERDICT_RETRY, "malformed_response",
                        "the receiver answered before it was asked" },
    [TROUBLE_RESENT] = { VERDICT_RETRY, "closed",
                         "the receiver closed the connection without an answer" },
    [TROUBLE_UPGRADE] = { VERDICT_RETRY, "unexpected_upgrade",
                          "HTTP 101, though no upgrade was asked for" },
    [TROUBLE_HEADERS] = { VERDICT_RETRY, "response_headers_too_large",
                          "more than 64 KiB of response headers" },
    [TROUBLE_RAW] = { VERDICT_RETRY, "response_headers_too_large",
                      "256 KiB came without a whole header block" },
};

// --- curl's codes ---

static struct word judge_certificate(struct flight *flight) {
    long result = 0;
    curl_easy_getinfo(flight->easy, CURLINFO_SSL_VERIFYRESULT, &result);
    return (struct word){ VERDICT_RETRY, probe_certificate_fault(result), NULL };
}

static long os_errno(struct flight *flight) {
    long number = 0;
    curl_easy_getinfo(flight->easy, CURLINFO_OS_ERRNO, &number);
    return number;
}

static struct word judge_no_connection(struct flight *flight) {
    switch (os_errno(flight)) {
    case ENETUNREACH:
    case EHOSTUNREACH: return (struct word){ VERDICT_RETRY, "unreachable", NULL };
    case ETIMEDOUT: return (struct word){ VERDICT_RETRY, "connect_timeout", NULL };
    case EADDRNOTAVAIL: return (struct word){ VERDICT_LOCAL, "no_ports", NULL };
    case EMFILE:
    case ENFILE:
    case ENOBUFS:
    case ENOMEM: return trouble_words[TROUBLE_FILES];
    default: return (struct word){ VERDICT_RETRY, "refused", "the connection was refused" };
    }
}

static struct word judge_broken(struct flight *flight) {
    bool reset = os_errno(flight) == ECONNRESET || strstr(flight->error, "reset by peer");
    if (reset) return (struct word){ VERDICT_RETRY, "reset", "the receiver reset the connection" };
    // curl says 56 both for a socket that broke and for an answer it cannot read.
    if (!strstr(flight->error, "ecv failure") && !strstr(flight->error, "SSL") && flight->status)
        return (struct word){ VERDICT_RETRY, "malformed_response", NULL };
    return (struct word){ VERDICT_RETRY, "closed", NULL };
}

static struct word judge_timeout(struct flight *flight) {
    if (flight->requests == 0)
        return (struct word){ VERDICT_RETRY, "connect_timeout", "no connection in time" };
    return (struct word){ VERDICT_RETRY, "timeout", "no complete answer in time" };
}

static struct word judge_code(struct flight *flight, CURLcode code) {
    switch (code) {
    case CURLE_OPERATION_TIMEDOUT: return judge_timeout(flight);
    case CURLE_COULDNT_CONNECT: return judge_no_connection(flight);
    case CURLE_OK: // closed within the header block; curl is content with that
    case CURLE_GOT_NOTHING:
    case CURLE_PARTIAL_FILE: return trouble_words[TROUBLE_RESENT];
    case CURLE_SEND_ERROR:
    case CURLE_RECV_ERROR: return judge_broken(flight);
    case CURLE_PEER_FAILED_VERIFICATION: return judge_certificate(flight);
    case CURLE_SSL_CONNECT_ERROR: return (struct word){ VERDICT_RETRY, "tls_handshake", NULL };
    case CURLE_SSL_CERTPROBLEM: return (struct word){ VERDICT_RETRY, "tls_client_cert", NULL };
    case CURLE_SSL_CACERT_BADFILE: return (struct word){ VERDICT_LOCAL, "ca_file", NULL };
    case CURLE_HTTP2:
    case CURLE_HTTP2_STREAM: return (struct word){ VERDICT_RETRY, "http2_error", NULL };
    case CURLE_OUT_OF_MEMORY: // curl's word for one header line above 100 KB, too
        return flight->raw > RESPONSE_HEADER_BYTES_MAX / 2
                   ? trouble_words[TROUBLE_HEADERS]
                   : (struct word){ VERDICT_LOCAL, "out_of_memory", "no memory to send" };
    case CURLE_UNSUPPORTED_PROTOCOL:
    case CURLE_WEIRD_SERVER_REPLY:
        return (struct word){ VERDICT_RETRY, "malformed_response", NULL };
    case CURLE_URL_MALFORMAT: return (struct word){ VERDICT_PARK, "bad_url", NULL };
    default: return (struct word){ VERDICT_RETRY, "transfer_failed", NULL };
    }
}

// A status line whose block curl refused for its Content-Length still says
// what the receiver did with the request.
static bool status_counts(const struct flight *flight, CURLcode code) {
    if (flight->complete) return true;
    return code == CURLE_WEIRD_SERVER_REPLY && flight->status >= 200 &&
           strstr(flight->error, "Content-Length");
}

// --- Times ---

static int32_t info_us(CURL *easy, CURLINFO info) {
    curl_off_t us = 0;
    curl_easy_getinfo(easy, info, &us);
    return (int32_t)(us < INT32_MAX ? us : INT32_MAX);
}

// curl's times are points since its start; ours start with the look-up.
static void take_times(struct flight *flight, struct attempt *attempt) {
    CURL *easy = flight->easy;
    int32_t name = info_us(easy, CURLINFO_NAMELOOKUP_TIME_T);
    int32_t connect = info_us(easy, CURLINFO_CONNECT_TIME_T);
    int32_t tls = info_us(easy, CURLINFO_APPCONNECT_TIME_T);
    int32_t first = info_us(easy, CURLINFO_STARTTRANSFER_TIME_T);
    int64_t total = (clock_mono_ns() - flight->started_ns) / 1000;
    attempt->dns_us = flight->dns_us;
    attempt->total_us = (int32_t)(total < INT32_MAX ? total : INT32_MAX);
    if (flight->requests && !flight->opened_count)
        attempt->connect_us = attempt->tls_us = 0;
    else if (connect > 0)
        attempt->connect_us = connect > name ? connect - name : 0;
    if (flight->requests || tls > 0)
        attempt->tls_us = tls > connect && flight->opened_count ? tls - connect : 0;
    if (first > 0) attempt->first_byte_us = first + (flight->dns_us > 0 ? flight->dns_us : 0);
}

void verdict_give(struct flight *flight, CURLcode code) {
    struct attempt *attempt = &flight->transfer->attempt;
    enum trouble trouble = flight->trouble;
    take_times(flight, attempt);
    attempt->response_headers = arena_dup(flight->transfer->arena, buf_slice(&flight->headers));
    attempt->response_body = arena_dup(flight->transfer->arena, buf_slice(&flight->body));
    if (status_counts(flight, code)) {
        judge_status(flight, attempt);
        attempt->response_incomplete = code != CURLE_OK;
        return;
    }
    struct word word = trouble != TROUBLE_NONE ? trouble_words[trouble] : judge_code(flight, code);
    if (!word.text) word.text = flight->error[0] ? flight->error : curl_easy_strerror(code);
    say(attempt, &word);
}
