// Signatures over the exact bytes that are sent: Standard Webhooks 1.0 and the
// older schemes receivers still ask for. Thread-safe; keeps no key.
#ifndef TUMA_SIGN_H
#define TUMA_SIGN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

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

enum { SIGN_SECRET_MIN = 16, SIGN_SECRET_MAX = 64 };

// A key parsed from its text: "whsec_" + base64 (the standard recommends 24-64
// bytes; down to 16 are in use and taken), "whsk_" + base64 (ed25519: 32-byte seed or
// 64-byte key, seed then public key), or, for the older schemes, any text.
struct sign_key {
    uint8_t bytes[64];
    uint8_t n;
    bool ed25519;
};
// ERR_INPUT "bad_signing_key" with the reason; the text never quotes the secret.
enum err sign_key_parse(struct slice text, enum sign_scheme scheme, struct sign_key *key,
                        struct fail *fail);

// Appends the signature header's value. `keys` are the active ones, newest
// first (at most 2: a rotation). Standard and Stripe carry a signature of each
// key (joined by a space, by ",v1="); hex and GitHub have room for one: the newest.
// `id` must hold no dot. After ERR_NOMEM or ERR_NOT_NOW "sign_failed" nothing was appended.
enum err sign_value(enum sign_scheme scheme, const struct sign_key *keys, size_t keys_count,
                    struct slice id, int64_t timestamp_s, struct slice body, struct buf *out,
                    struct fail *fail);

// Digests and encodings shared by formatters, scripts and stores. They cannot
// fail short of a broken libcrypto, which ends the process.
void hash_sha256(struct slice s, uint8_t out[32]);
void hash_sha1(struct slice s, uint8_t out[20]);
void hash_md5(struct slice s, uint8_t out[16]);
void hash_hmac_sha256(struct slice key, struct slice s, uint8_t out[32]);
// Compares in constant time.
bool hash_equal(const uint8_t *a, const uint8_t *b, size_t n);
void hex_encode(const uint8_t *bytes, size_t n, char *out);      // 2n characters, no NUL
size_t base64_encode(const uint8_t *bytes, size_t n, char *out); // 4*((n+2)/3), padded, no NUL
// Strict RFC 4648 section 4: padding required, unused bits zero, no blanks. Returns the
// length or -1; out needs 3*(n/4).
long base64_decode(struct slice text, uint8_t *out);

// Authenticated encryption in place: AES-256-GCM (NIST SP 800-38D). `data` holds
// n bytes and has room for SEAL_TAG_BYTES behind them; `name` is authenticated
// too. A nonce is never used twice under one key. seal_open is false when
// anything was altered or the key is another; the data is then worthless.
enum { SEAL_KEY_BYTES = 32, SEAL_NONCE_BYTES = 12, SEAL_TAG_BYTES = 16 };
bool seal_close(const uint8_t key[SEAL_KEY_BYTES], const uint8_t nonce[SEAL_NONCE_BYTES],
                struct slice name, uint8_t *data, size_t n);
bool seal_open(const uint8_t key[SEAL_KEY_BYTES], const uint8_t nonce[SEAL_NONCE_BYTES],
               struct slice name, uint8_t *data, size_t n);

#endif
