// The guard against libcurl's parser: what is accepted must name the same host
// and port to both. And against itself: an address that carries a refused IPv4
// address is refused, private mode only ever opens, nothing opens metadata.
#include <arpa/inet.h>
#include <curl/curl.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "guard.h"

#define MUST(condition)                                                                            \
    do {                                                                                           \
        if (!(condition)) abort();                                                                 \
    } while (0)

static const struct guard strict;
static const struct guard demo = { .allow_private = true, .allow_http = true };

static bool same_ip(int family, const char *a, const char *b) {
    unsigned char x[16], y[16];
    if (inet_pton(family, a, x) != 1 || inet_pton(family, b, y) != 1) return false;
    return memcmp(x, y, family == AF_INET ? 4 : 16) == 0;
}

static void compare_host(const struct url_parts *parts, char *theirs) {
    char *ours = strndup(parts->host.p, parts->host.n);
    size_t n = strlen(theirs);
    if (theirs[0] == '[') {
        theirs[n - 1] = '\0';
        MUST(parts->is_ip && same_ip(AF_INET6, ours, theirs + 1));
    } else {
        MUST(strcasecmp(ours, theirs) == 0);
        MUST(!parts->is_ip || same_ip(AF_INET, ours, theirs));
    }
    free(ours);
}

static void check_url(struct slice url) {
    struct url_parts parts;
    struct fail fail = { 0 };
    if (guard_url_split(url, &parts, &fail) != OK) {
        MUST(fail.type[0] && fail.at <= url.n);
        MUST(guard_url(&demo, url, &parts, NULL) != OK);
        return;
    }
    MUST(parts.path_and_rest.p + parts.path_and_rest.n == url.p + url.n);
    bool allowed = guard_url(&strict, url, &parts, NULL) == OK;
    MUST(!allowed || guard_url(&demo, url, &parts, NULL) == OK);

    char *text = strndup(url.p, url.n), *host = NULL, *port = NULL, *user = NULL;
    CURLU *handle = curl_url();
    MUST(handle && curl_url_set(handle, CURLUPART_URL, text, CURLU_DISALLOW_USER) == CURLUE_OK);
    MUST(curl_url_get(handle, CURLUPART_HOST, &host, 0) == CURLUE_OK);
    MUST(curl_url_get(handle, CURLUPART_PORT, &port, CURLU_DEFAULT_PORT) == CURLUE_OK);
    MUST(curl_url_get(handle, CURLUPART_USER, &user, 0) == CURLUE_NO_USER);
    compare_host(&parts, host);
    MUST(parts.port == strtoul(port, NULL, 10));
    curl_free(host);
    curl_free(port);
    curl_url_cleanup(handle);
    free(text);
}

static bool allowed4(const struct guard *guard, const uint8_t v4[4]) {
    struct sockaddr_in address = { .sin_family = AF_INET };
    memcpy(&address.sin_addr, v4, 4);
    return guard_address(guard, (struct sockaddr *)&address);
}

static bool allowed6(const struct guard *guard, const uint8_t v6[16]) {
    struct sockaddr_in6 address = { .sin6_family = AF_INET6 };
    memcpy(&address.sin6_addr, v6, 16);
    return guard_address(guard, (struct sockaddr *)&address);
}

static void check_address(const uint8_t bytes[20]) {
    const uint8_t *v4 = bytes + 16;
    static const struct guard_cidr all[] = { { { 0 }, 0 } };
    const struct guard open = { .allow = all, .allow_count = 1 };
    MUST(!allowed4(&strict, v4) || allowed4(&demo, v4));
    MUST(!allowed6(&strict, bytes) || allowed6(&demo, bytes));
    MUST(!allowed4(&demo, v4) || allowed4(&open, v4));
    MUST(!allowed6(&demo, bytes) || allowed6(&open, bytes));

    uint8_t mapped[16] = { [10] = 0xFF, [11] = 0xFF }, nat64[16] = { 0x00, 0x64, 0xFF, 0x9B };
    uint8_t six[16] = { 0x20, 0x02 };
    memcpy(mapped + 12, v4, 4);
    memcpy(nat64 + 12, v4, 4);
    memcpy(six + 2, v4, 4);
    MUST(!allowed6(&demo, mapped) && !allowed6(&demo, nat64) && !allowed6(&demo, six));
    if (!allowed4(&open, v4))
        MUST(!allowed6(&open, mapped) && !allowed6(&open, nat64) && !allowed6(&open, six));
    const struct guard closed = { .allow = all, .allow_count = 1, .deny = all, .deny_count = 1 };
    MUST(!allowed4(&closed, v4) && !allowed6(&closed, bytes));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct slice input = slice((const char *)data, size);
    struct guard_cidr cidr;
    check_url(input);
    if (guard_cidr_parse(input, &cidr, NULL) == OK) MUST(cidr.bits <= 128);
    if (size >= 20) check_address(data);
    return 0;
}
