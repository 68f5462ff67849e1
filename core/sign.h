// Signatures over the exact bytes that are sent: Standard Webhooks 1.0 and the
// older schemes receivers still ask for.
#ifndef TUMA_SIGN_H
#define TUMA_SIGN_H

#include <stdint.h>

#include "arena.h"
#include "buf.h"
#include "fail.h"
#include "slice.h"

enum sign_scheme {
    SIGN_NONE,
    SIGN_STANDARD, // webhook-id, webhook-timestamp, webhook-signature (v1 HMAC-SHA256, v1a ed25519)
    SIGN_HEX,      // hex HMAC-SHA256 of the body
    SIGN_GITHUB,   // "sha256=" + hex HMAC-SHA256 of the body
    SIGN_STRIPE,   // "t=TS,v1=" + hex HMAC-SHA256 of TS "." body
};

// A key parsed from its text: "whsec_" + base64 (24-64 bytes), "whsk_" + base64
// (ed25519: 32-byte seed or 64-byte key), or, for the older schemes, any text.
struct sign_key {
    uint8_t bytes[64];
    uint8_t n;
    bool ed25519;
};
enum err sign_key_parse(struct slice text, enum sign_scheme scheme, struct sign_key *key,
                        struct fail *fail);

// Appends the signature header's value. `keys` are the active ones, newest
// first (at most 2: a rotation); several v1 signatures are joined by a space.
enum err sign_value(enum sign_scheme scheme, const struct sign_key *keys, size_t keys_count,
                    struct slice id, int64_t timestamp_s, struct slice body, struct buf *out,
                    struct fail *fail);

// Digests and encodings shared by formatters, scripts and stores.
void hash_sha256(struct slice s, uint8_t out[32]);
void hash_sha1(struct slice s, uint8_t out[20]);
void hash_md5(struct slice s, uint8_t out[16]);
void hash_hmac_sha256(struct slice key, struct slice s, uint8_t out[32]);
void hex_encode(const uint8_t *bytes, size_t n, char *out);      // 2n characters, no NUL
size_t base64_encode(const uint8_t *bytes, size_t n, char *out); // 4*((n+2)/3), padded, no NUL
// Strict RFC 4648 section 4, padding required. Returns the length or -1; out needs 3*(n/4).
long base64_decode(struct slice text, uint8_t *out);

#endif
