// Which URLs may be saved. The grammar is a narrow subset on which every
// parser agrees: RFC 3986, WHATWG and libcurl read the same host from whatever
// passes here (tests/fuzz/fuzz_guard.c compares with libcurl). What only looks
// like a name but that some parser takes for a number (127.1, 0x7f.1) is refused.
#include <arpa/inet.h>
#include <netinet/in.h>

#include "guard.h"
#include "guard_inner.h"

enum { URL_BYTES_MAX = 8 * 1024, HOST_BYTES_MAX = 253, LABEL_BYTES_MAX = 63 };

static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

static bool is_hex(char c) {
    return is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

static bool is_alnum(char c) {
    return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

// Splits at the first of "/?#".
static size_t authority_length(struct slice rest) {
    size_t n = 0;
    while (n < rest.n && rest.p[n] != '/' && rest.p[n] != '?' && rest.p[n] != '#') n++;
    return n;
}

static enum err check_bytes(struct slice url, struct fail *fail) {
    if (url.n > URL_BYTES_MAX)
        return fail_set(fail, ERR_LIMIT, URL_BYTES_MAX, "bad_url",
                        "the URL has %zu bytes, at most %d", url.n, URL_BYTES_MAX);
    for (size_t i = 0; i < url.n; i++) {
        unsigned char c = (unsigned char)url.p[i];
        if (c <= 0x20 || c == 0x7F)
            return fail_set(fail, ERR_INPUT, i, "bad_url",
                            "byte 0x%02x (space or control) in the URL; write %%%02X", c, c);
        if (c == '\\')
            return fail_set(fail, ERR_INPUT, i, "bad_url",
                            "a backslash in the URL is read differently by different parsers");
    }
    return OK;
}

// "1.2.3.4" and nothing else: no octal, no hex, no missing parts.
static bool is_ipv4(struct slice host) {
    char text[INET_ADDRSTRLEN];
    struct in_addr address;
    if (host.n >= sizeof text) return false;
    memcpy(text, host.p, host.n);
    text[host.n] = '\0';
    return inet_pton(AF_INET, text, &address) == 1;
}

static bool is_ipv6(struct slice host) {
    char text[INET6_ADDRSTRLEN];
    struct in6_addr address;
    if (host.n >= sizeof text) return false;
    memcpy(text, host.p, host.n);
    text[host.n] = '\0';
    return inet_pton(AF_INET6, text, &address) == 1;
}

// Some parsers take a host for an IPv4 number when its last label is all
// digits or 0x and hex digits (WHATWG URL, "ends in a number").
static bool ends_in_number(struct slice label) {
    bool hex = label.n >= 2 && label.p[0] == '0' && (label.p[1] | 0x20) == 'x';
    for (size_t i = hex ? 2 : 0; i < label.n; i++)
        if (hex ? !is_hex(label.p[i]) : !is_digit(label.p[i])) return false;
    return true;
}

static bool label_valid(struct slice label) {
    if (label.n == 0 || label.n > LABEL_BYTES_MAX) return false;
    if (label.p[0] == '-' || label.p[label.n - 1] == '-') return false;
    for (size_t i = 0; i < label.n; i++)
        if (!is_alnum(label.p[i]) && label.p[i] != '-' && label.p[i] != '_') return false;
    return true;
}

static enum err check_name(struct slice host, size_t at, struct fail *fail) {
    if (host.n == 0) return fail_set(fail, ERR_INPUT, at, "url_host", "the URL has no host");
    if (host.n > HOST_BYTES_MAX)
        return fail_set(fail, ERR_INPUT, at, "url_host", "the host has %zu bytes, at most %d",
                        host.n, HOST_BYTES_MAX);
    struct slice label, rest = host;
    do {
        label = slice(rest.p, slice_find(rest, '.'));
        if (!label_valid(label))
            return fail_set(fail, ERR_INPUT, at + (size_t)(label.p - host.p), "url_host",
                            "\"%.*s\" is no host name (labels of 1-63 ASCII letters, digits, "
                            "\"-\" and \"_\"; other scripts as xn--)",
                            SLICE_FMT(host));
        bool last = label.n == rest.n;
        rest = slice_from(rest, label.n + 1);
        if (last) break;
        if (rest.n == 0)
            return fail_set(fail, ERR_INPUT, at + host.n - 1, "url_host",
                            "the host ends with a dot");
    } while (true);
    if (ends_in_number(label))
        return fail_set(fail, ERR_INPUT, at, "url_host",
                        "\"%.*s\" looks like an address but is not four decimal numbers",
                        SLICE_FMT(host));
    return OK;
}

static enum err read_port(struct url_parts *parts, size_t at, struct fail *fail) {
    unsigned port = 0;
    bool valid = parts->port_text.n <= 5;
    for (size_t i = 0; valid && i < parts->port_text.n; i++) {
        valid = is_digit(parts->port_text.p[i]);
        port = port * 10 + (unsigned)(parts->port_text.p[i] - '0');
    }
    if (parts->port_text.n == 0) port = slice_ieq(parts->scheme, S("https")) ? 443 : 80;
    if (!valid || port == 0 || port > 65535)
        return fail_set(fail, ERR_INPUT, at, "url_port", "the port is a number from 1 to 65535");
    parts->port = (uint16_t)port;
    return OK;
}

// Splits "[v6]:port" or "host:port"; `at` is the authority's offset in the URL.
static enum err split_authority(struct slice authority, size_t at, struct url_parts *parts,
                                struct fail *fail) {
    if (slice_find(authority, '@') < authority.n)
        return fail_set(fail, ERR_INPUT, at, "url_userinfo",
                        "a user name or password in the URL; use request.auth");
    bool bracketed = authority.n > 0 && authority.p[0] == '[';
    size_t end = bracketed ? slice_find(authority, ']') + 1 : slice_find(authority, ':');
    struct slice host = bracketed ? slice(authority.p + 1, end - 2) : slice(authority.p, end);
    if (bracketed && (end > authority.n || !is_ipv6(host)))
        return fail_set(fail, ERR_INPUT, at, "url_host",
                        "no IPv6 address in the brackets (zone ids are not taken)");
    parts->host = host;
    parts->is_ip = bracketed || is_ipv4(host);
    if (!parts->is_ip) {
        enum err err = check_name(host, at, fail);
        if (err != OK) return err;
    }
    if (end < authority.n && authority.p[end] != ':')
        return fail_set(fail, ERR_INPUT, at + end, "url_host", "something follows the address");
    parts->port_text = slice_from(authority, end + 1);
    return read_port(parts, at + end, fail);
}

enum err guard_url_split(struct slice url, struct url_parts *parts, struct fail *fail) {
    *parts = (struct url_parts){ 0 };
    enum err err = check_bytes(url, fail);
    if (err != OK) return err;
    size_t colon = slice_find(url, ':');
    parts->scheme = slice(url.p, colon);
    if (!slice_ieq(parts->scheme, S("https")) && !slice_ieq(parts->scheme, S("http")))
        return fail_set(fail, ERR_INPUT, 0, "url_scheme",
                        "the URL must start with https:// or http://");
    struct slice rest = slice_from(url, colon);
    if (!slice_starts(rest, S("://")))
        return fail_set(fail, ERR_INPUT, colon, "url_scheme", "\"://\" must follow the scheme");
    rest = slice_from(rest, 3);
    size_t n = authority_length(rest);
    parts->path_and_rest = slice_from(rest, n);
    return split_authority(slice(rest.p, n), colon + 3, parts, fail);
}

// Well-known services at or above 1024 that speak no HTTP: a POST could be
// read as commands by some of them.
static const uint16_t closed_ports[] = {
    1433, 1521, 1719, 1720, 1723, 2049, 3306, 3659, 4045, 4190, 5060, 5061,  5432,  5672,
    6000, 6379, 6566, 6665, 6666, 6667, 6668, 6669, 6679, 6697, 9042, 11211, 27017,
};

bool guard_port_allowed(const struct guard *guard, uint16_t port) {
    if (port < 1024 && port != 80 && port != 443) return false;
    for (size_t i = 0; i < sizeof closed_ports / sizeof *closed_ports; i++)
        if (closed_ports[i] == port) return false;
    for (size_t i = 0; i < guard->deny_ports_count; i++)
        if (guard->deny_ports[i] == port) return false;
    return true;
}

static bool literal_allowed(const struct guard *guard, struct slice host) {
    char text[INET6_ADDRSTRLEN];
    struct sockaddr_in v4 = { .sin_family = AF_INET };
    struct sockaddr_in6 v6 = { .sin6_family = AF_INET6 };
    memcpy(text, host.p, host.n);
    text[host.n] = '\0';
    if (inet_pton(AF_INET, text, &v4.sin_addr) == 1)
        return guard_address(guard, (const struct sockaddr *)&v4);
    return inet_pton(AF_INET6, text, &v6.sin6_addr) == 1 &&
           guard_address(guard, (const struct sockaddr *)&v6);
}

// Names that mean this machine wherever they are looked up (RFC 6761 section 6.3).
static bool is_localhost(struct slice host) {
    struct slice name = S("localhost");
    if (host.n < name.n || !slice_ieq(slice_from(host, host.n - name.n), name)) return false;
    return host.n == name.n || host.p[host.n - name.n - 1] == '.';
}

static bool host_allowed(const struct guard *guard, const struct url_parts *parts) {
    if (parts->is_ip) return literal_allowed(guard, parts->host);
    if (!is_localhost(parts->host)) return true;
    return literal_allowed(guard, S("127.0.0.1")) || literal_allowed(guard, S("::1"));
}

enum err guard_url(const struct guard *guard, struct slice url, struct url_parts *parts,
                   struct fail *fail) {
    enum err err = guard_url_split(url, parts, fail);
    if (err != OK) return err;
    size_t host_at = (size_t)(parts->host.p - url.p);
    if (!guard->allow_http && slice_ieq(parts->scheme, S("http")))
        return fail_set(fail, ERR_DENIED, 0, "url_scheme", "plain http is not allowed here");
    if (!guard_port_allowed(guard, parts->port))
        return fail_set(fail, ERR_DENIED, host_at + parts->host.n, "url_port",
                        "port %u is not allowed", parts->port);
    if (!host_allowed(guard, parts))
        return fail_set(fail, ERR_DENIED, host_at, "url_blocked_address",
                        "the host is not a public address");
    return OK;
}
