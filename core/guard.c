// Which addresses may be dialled. Every address is 16 bytes here (IPv4 as
// ::ffff:a.b.c.d), so there is one table and one comparison. An IPv6 form that
// carries an IPv4 address is judged twice: as what it is and as what it
// carries. Anything the tables do not name is public: the registries add
// special ranges rarely, and an operator can close more.
#include "guard.h"

#include <arpa/inet.h>
#include <netinet/in.h>

#include "guard_inner.h"

enum address_class {
    CLASS_PUBLIC,
    CLASS_PRIVATE, // opened by allow_private
    CLASS_SPECIAL, // opened by the operator's list only
};

enum { IPV4_BITS = 96 }; // what the mapped prefix adds to an IPv4 prefix length

#define IPV4(a, b, c, d)                                                                           \
    { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF, a, b, c, d }

struct range {
    struct guard_cidr cidr;
    enum address_class class;
};

// IANA special-purpose registries (RFC 6890 and later); the first match counts.
static const struct range ranges[] = {
    { { IPV4(0, 0, 0, 0), IPV4_BITS + 8 }, CLASS_SPECIAL },
    { { IPV4(10, 0, 0, 0), IPV4_BITS + 8 }, CLASS_PRIVATE },
    { { IPV4(100, 64, 0, 0), IPV4_BITS + 10 }, CLASS_PRIVATE },  // shared, RFC 6598
    { { IPV4(127, 0, 0, 0), IPV4_BITS + 8 }, CLASS_PRIVATE },    // loopback
    { { IPV4(169, 254, 0, 0), IPV4_BITS + 16 }, CLASS_SPECIAL }, // link-local
    { { IPV4(172, 16, 0, 0), IPV4_BITS + 12 }, CLASS_PRIVATE },
    { { IPV4(192, 0, 0, 0), IPV4_BITS + 24 }, CLASS_SPECIAL },   // protocol assignments
    { { IPV4(192, 0, 2, 0), IPV4_BITS + 24 }, CLASS_SPECIAL },   // documentation
    { { IPV4(192, 88, 99, 0), IPV4_BITS + 24 }, CLASS_SPECIAL }, // 6to4 relays
    { { IPV4(192, 168, 0, 0), IPV4_BITS + 16 }, CLASS_PRIVATE },
    { { IPV4(198, 18, 0, 0), IPV4_BITS + 15 }, CLASS_SPECIAL },   // benchmarks
    { { IPV4(198, 51, 100, 0), IPV4_BITS + 24 }, CLASS_SPECIAL }, // documentation
    { { IPV4(203, 0, 113, 0), IPV4_BITS + 24 }, CLASS_SPECIAL },  // documentation
    { { IPV4(224, 0, 0, 0), IPV4_BITS + 4 }, CLASS_SPECIAL },     // multicast
    { { IPV4(240, 0, 0, 0), IPV4_BITS + 4 }, CLASS_SPECIAL },     // reserved, broadcast
    { { { [15] = 1 }, 128 }, CLASS_PRIVATE },                     // ::1
    { { IPV4(0, 0, 0, 0), IPV4_BITS }, CLASS_PUBLIC },            // all other IPv4
    { { { 0 }, 32 }, CLASS_SPECIAL },                             // ::, compatible, translated
    { { { 0x00, 0x64, 0xFF, 0x9B }, 96 }, CLASS_SPECIAL },        // NAT64, RFC 6052
    { { { 0x00, 0x64, 0xFF, 0x9B, 0x00, 0x01 }, 48 }, CLASS_SPECIAL },
    { { { 0x01 }, 64 }, CLASS_SPECIAL },                   // discard
    { { { 0x01, [7] = 0x01 }, 64 }, CLASS_SPECIAL },       // dummy, RFC 9780
    { { { 0x20, 0x01 }, 23 }, CLASS_SPECIAL },             // Teredo, ORCHID, …
    { { { 0x20, 0x01, 0x0D, 0xB8 }, 32 }, CLASS_SPECIAL }, // documentation
    { { { 0x20, 0x02 }, 16 }, CLASS_SPECIAL },             // 6to4
    { { { 0x3F, 0xFF }, 20 }, CLASS_SPECIAL },             // documentation
    { { { 0x5F, 0x00 }, 16 }, CLASS_SPECIAL },             // segment routing
    { { { 0xFC }, 7 }, CLASS_PRIVATE },                    // unique local
    { { { 0xFE, 0x80 }, 10 }, CLASS_SPECIAL },             // link-local
    { { { 0xFE, 0xC0 }, 10 }, CLASS_SPECIAL },             // site-local
    { { { 0xFF }, 8 }, CLASS_SPECIAL },                    // multicast
};

// The clouds' metadata and host services: nothing opens these.
static const uint8_t metadata[][16] = {
    IPV4(169, 254, 169, 254),
    IPV4(100, 100, 100, 200),
    IPV4(168, 63, 129, 16),
    { 0xFD, 0x00, 0x0E, 0xC2, [14] = 0x02, [15] = 0x54 },
};

// IPv6 forms that carry an IPv4 address, and where its four bytes stand.
static const struct {
    struct guard_cidr cidr;
    uint8_t at[4];
    uint8_t mask;
} forms[] = {
    { { IPV4(0, 0, 0, 0), 96 }, { 12, 13, 14, 15 }, 0 },
    { { { 0 }, 96 }, { 12, 13, 14, 15 }, 0 }, // compatible, RFC 4291 section 2.5.5.1
    { { { [8] = 0xFF, [9] = 0xFF }, 96 }, { 12, 13, 14, 15 }, 0 },
    { { { 0x00, 0x64, 0xFF, 0x9B }, 96 }, { 12, 13, 14, 15 }, 0 },
    { { { 0x00, 0x64, 0xFF, 0x9B, 0x00, 0x01 }, 48 }, { 6, 7, 9, 10 }, 0 },
    { { { 0x20, 0x02 }, 16 }, { 2, 3, 4, 5 }, 0 },
    { { { 0x20, 0x01 }, 32 }, { 12, 13, 14, 15 }, 0xFF }, // Teredo, RFC 4380 section 4
};

static bool in_cidr(const uint8_t bytes[16], const struct guard_cidr *cidr) {
    size_t whole = cidr->bits / 8, rest = cidr->bits % 8;
    if (memcmp(bytes, cidr->bytes, whole) != 0) return false;
    return rest == 0 || ((bytes[whole] ^ cidr->bytes[whole]) >> (8 - rest)) == 0;
}

static bool in_list(const uint8_t bytes[16], const struct guard_cidr *list, size_t count) {
    for (size_t i = 0; i < count; i++)
        if (in_cidr(bytes, &list[i])) return true;
    return false;
}

static enum address_class class_of(const uint8_t bytes[16]) {
    for (size_t i = 0; i < sizeof ranges / sizeof *ranges; i++)
        if (in_cidr(bytes, &ranges[i].cidr)) return ranges[i].class;
    return CLASS_PUBLIC;
}

static bool is_metadata(const uint8_t bytes[16]) {
    for (size_t i = 0; i < sizeof metadata / sizeof *metadata; i++)
        if (memcmp(bytes, metadata[i], 16) == 0) return true;
    return false;
}

static bool class_allowed(const struct guard *guard, const uint8_t bytes[16],
                          enum address_class class) {
    if (is_metadata(bytes) || in_list(bytes, guard->deny, guard->deny_count)) return false;
    if (in_list(bytes, guard->allow, guard->allow_count)) return true;
    return class == CLASS_PUBLIC || (class == CLASS_PRIVATE && guard->allow_private);
}

// Finds the IPv4 address that an IPv6 address carries. ::1 carries none.
static bool carried(const uint8_t bytes[16], uint8_t inner[16]) {
    static const uint8_t loopback[16] = { [15] = 1 };
    if (memcmp(bytes, loopback, 16) == 0) return false;
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        if (!in_cidr(bytes, &forms[i].cidr)) continue;
        memcpy(inner, forms[0].cidr.bytes, 16);
        for (size_t k = 0; k < 4; k++) inner[12 + k] = bytes[forms[i].at[k]] ^ forms[i].mask;
        return true;
    }
    return false;
}

static bool ipv4_allowed(const struct guard *guard, const uint8_t bytes[16]) {
    return class_allowed(guard, bytes, class_of(bytes));
}

static bool ipv6_allowed(const struct guard *guard, const uint8_t bytes[16]) {
    uint8_t inner[16];
    if (!carried(bytes, inner)) return class_allowed(guard, bytes, class_of(bytes));
    return class_allowed(guard, bytes, CLASS_SPECIAL) && ipv4_allowed(guard, inner);
}

// The bytes and the port of an address; false for other families.
static bool take_apart(const struct sockaddr *address, uint8_t bytes[16], uint16_t *port) {
    if (address->sa_family == AF_INET) {
        struct sockaddr_in v4;
        memcpy(&v4, address, sizeof v4);
        memcpy(bytes, forms[0].cidr.bytes, 12);
        memcpy(bytes + 12, &v4.sin_addr, 4);
        *port = ntohs(v4.sin_port);
    } else if (address->sa_family == AF_INET6) {
        struct sockaddr_in6 v6;
        memcpy(&v6, address, sizeof v6);
        memcpy(bytes, &v6.sin6_addr, 16);
        *port = ntohs(v6.sin6_port);
    } else {
        return false;
    }
    return true;
}

bool guard_cidr_of(const struct sockaddr *address, struct guard_cidr *out) {
    uint16_t port;
    out->bits = 128;
    return take_apart(address, out->bytes, &port);
}

static bool is_own(const struct guard *guard, const uint8_t bytes[16], uint16_t port) {
    return port && port == guard->own_port && in_list(bytes, guard->own, guard->own_count);
}

bool guard_address(const struct guard *guard, const struct sockaddr *address) {
    uint8_t bytes[16];
    uint16_t port;
    if (!take_apart(address, bytes, &port) || is_own(guard, bytes, port)) return false;
    if (port != 0 && !guard_port_allowed(guard, port)) return false;
    return address->sa_family == AF_INET ? ipv4_allowed(guard, bytes) : ipv6_allowed(guard, bytes);
}

static enum err bad_cidr(struct fail *fail, struct slice text, const char *why) {
    return fail_set(fail, ERR_INPUT, 0, "bad_cidr", "\"%.*s\" %s", SLICE_FMT(text), why);
}

static bool read_bits(struct slice text, unsigned max, unsigned *bits) {
    unsigned value = 0;
    if (text.n < 1 || text.n > 3 || (text.n > 1 && text.p[0] == '0')) return false;
    for (size_t i = 0; i < text.n; i++) {
        if (text.p[i] < '0' || text.p[i] > '9') return false;
        value = value * 10 + (unsigned)(text.p[i] - '0');
    }
    *bits = value;
    return value <= max;
}

enum err guard_cidr_parse(struct slice text, struct guard_cidr *out, struct fail *fail) {
    char address[INET6_ADDRSTRLEN];
    size_t slash = slice_find(text, '/');
    if (slash == 0 || slash >= sizeof address)
        return bad_cidr(fail, text, "is no address range such as 10.0.0.0/8");
    memcpy(address, text.p, slash);
    address[slash] = '\0';

    struct guard_cidr cidr = { IPV4(0, 0, 0, 0), 0 };
    bool v4 = inet_pton(AF_INET, address, cidr.bytes + 12) == 1;
    if (strlen(address) != slash || (!v4 && inet_pton(AF_INET6, address, cidr.bytes) != 1))
        return bad_cidr(fail, text, "is no address range such as 10.0.0.0/8");
    unsigned bits = v4 ? 32 : 128;
    if (slash < text.n && !read_bits(slice_from(text, slash + 1), bits, &bits))
        return bad_cidr(fail, text, "has a bad prefix length");
    cidr.bits = (uint8_t)(bits + (v4 ? IPV4_BITS : 0));
    for (unsigned bit = cidr.bits; bit < 128; bit++)
        if (cidr.bytes[bit / 8] & (0x80 >> bit % 8))
            return bad_cidr(fail, text, "has bits behind its prefix");
    *out = cidr;
    return OK;
}
