// The SSRF guard: which URLs may be saved and which addresses may be dialled.
// Works on bytes, so it judges the final sockaddr, whatever text led to it.
#ifndef TUMA_GUARD_H
#define TUMA_GUARD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "fail.h"
#include "slice.h"

struct guard_cidr {
    uint8_t bytes[16]; // IPv4 as ::ffff:a.b.c.d
    uint8_t bits;      // prefix length over the 128 bits
};

// The operator's rules. Borrowed arrays.
struct guard {
    bool allow_private; // opens loopback and private ranges (demos), never metadata 169.254.169.254
    bool allow_http;    // plain http URLs
    const struct guard_cidr *allow; // opened exceptions
    size_t allow_count;
    const struct guard_cidr *deny; // closed on top (own addresses, operator's list)
    size_t deny_count;
    const struct guard_cidr *own; // this machine's addresses, closed at own_port only: where its
    size_t own_count;             // own API listens, an event would come back as an event
    uint16_t own_port;            // 0: none
    const uint16_t *deny_ports;
    size_t deny_ports_count;
};

// The range of this one address; false for families other than IPv4 and IPv6.
bool guard_cidr_of(const struct sockaddr *address, struct guard_cidr *out);
// "10.0.0.0/8", "fd00::/8", or one address. ERR_INPUT with the reason.
enum err guard_cidr_parse(struct slice text, struct guard_cidr *out, struct fail *fail);

// May this address be dialled? IPv4-mapped, NAT64, 6to4 and Teredo forms are
// judged by what they embed (and denied as a class). Unknown families: no.
bool guard_address(const struct guard *guard, const struct sockaddr *address);

// The parts of a checked URL; slices into it.
struct url_parts {
    struct slice scheme, host, port_text, path_and_rest;
    uint16_t port; // the effective one
    bool is_ip;    // the host is an IP literal (host without the brackets)
};

// Is this a URL that may be saved? Absolute http or https, "scheme://", ASCII
// host of valid labels or a canonical IP literal, no userinfo, no backslash,
// no control byte or space, port 1-65535 and allowed, at most 8 KiB. fail->type:
// bad_url, url_userinfo, url_scheme, url_host, url_port, url_blocked_address.
enum err guard_url(const struct guard *guard, struct slice url, struct url_parts *parts,
                   struct fail *fail);
// The syntax half only (no guard rules): splits and checks.
enum err guard_url_split(struct slice url, struct url_parts *parts, struct fail *fail);

#endif
