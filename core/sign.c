// Signing and digests on OpenSSL 3. Algorithms are fetched once a process:
// the implicit fetch behind EVP_sha256() takes a lock and a lookup on every
// call. HMAC is fed in parts, so a body is never copied to be signed; only
// ed25519, which is one-shot by design, needs the parts in one piece.

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/params.h>

#include <assert.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "sign.h"

static pthread_once_t fetched = PTHREAD_ONCE_INIT;
static EVP_MD *sha256, *sha1, *md5;
static EVP_MAC *hmac;

// A digest has no way to say no, and every caller stands on it.
static _Noreturn void no_memory(void) {
    fail_no_memory("a digest");
}

static void fetch_all(void) {
    sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
    sha1 = EVP_MD_fetch(NULL, "SHA1", NULL);
    md5 = EVP_MD_fetch(NULL, "MD5", NULL);
    hmac = EVP_MAC_fetch(NULL, "HMAC", NULL);
    if (!sha256 || !sha1 || !md5 || !hmac) no_memory();
}

static void digest(EVP_MD *const *md, struct slice s, uint8_t *out) {
    pthread_once(&fetched, fetch_all);
    if (EVP_Digest(s.p, s.n, out, NULL, *md, NULL) != 1) no_memory();
}

void hash_sha256(struct slice s, uint8_t out[32]) {
    digest(&sha256, s, out);
}

void hash_sha1(struct slice s, uint8_t out[20]) {
    digest(&sha1, s, out);
}

void hash_md5(struct slice s, uint8_t out[16]) {
    digest(&md5, s, out);
}

// HMAC-SHA256 over the parts as if they stood in one row.
static bool hmac_parts(struct slice key, const struct slice *parts, size_t count, uint8_t out[32]) {
    pthread_once(&fetched, fetch_all);
    char name[] = "SHA256";
    OSSL_PARAM params[] = { OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, name, 0),
                            OSSL_PARAM_construct_end() };
    // A NULL key would mean "keep the last one" to OpenSSL.
    const char *bytes = key.n ? key.p : "";
    EVP_MAC_CTX *context = EVP_MAC_CTX_new(hmac);
    bool good = context && EVP_MAC_init(context, (const uint8_t *)bytes, key.n, params);
    for (size_t i = 0; good && i < count; i++)
        good = !parts[i].n || EVP_MAC_update(context, (const uint8_t *)parts[i].p, parts[i].n);
    size_t n = 0;
    good = good && EVP_MAC_final(context, out, &n, 32) && n == 32;
    EVP_MAC_CTX_free(context);
    return good;
}

void hash_hmac_sha256(struct slice key, struct slice s, uint8_t out[32]) {
    if (!hmac_parts(key, &s, 1, out)) no_memory();
}

bool hash_equal(const uint8_t *a, const uint8_t *b, size_t n) {
    return CRYPTO_memcmp(a, b, n) == 0;
}

void hex_encode(const uint8_t *bytes, size_t n, char *out) {
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < n; i++) {
        out[2 * i] = digits[bytes[i] >> 4];
        out[2 * i + 1] = digits[bytes[i] & 15];
    }
}

size_t base64_encode(const uint8_t *bytes, size_t n, char *out) {
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    char *to = out;
    for (size_t i = 0; i < n; i += 3) {
        size_t left = n - i;
        uint32_t three = (uint32_t)bytes[i] << 16 | (left > 1 ? (uint32_t)bytes[i + 1] << 8 : 0) |
                         (left > 2 ? bytes[i + 2] : 0);
        *to++ = digits[three >> 18];
        *to++ = digits[three >> 12 & 63];
        *to++ = left > 1 ? digits[three >> 6 & 63] : '=';
        *to++ = left > 2 ? digits[three & 63] : '=';
    }
    return (size_t)(to - out);
}

static int base64_digit(char c) {
    if (c >= 'A' && c <= 'Z') return c - 'A';
    if (c >= 'a' && c <= 'z') return c - 'a' + 26;
    if (c >= '0' && c <= '9') return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

long base64_decode(struct slice text, uint8_t *out) {
    if (text.n % 4) return -1;
    size_t padding = 0;
    while (padding < 2 && padding < text.n && text.p[text.n - 1 - padding] == '=') padding++;
    size_t digits = text.n - padding, n = 0;
    uint32_t bits = 0;
    for (size_t i = 0; i < digits; i++) {
        int digit = base64_digit(text.p[i]);
        if (digit < 0) return -1;
        bits = bits << 6 | (uint32_t)digit;
        if (i % 4) out[n++] = (uint8_t)(bits >> (6 - 2 * (i % 4)));
    }
    uint32_t unused = padding == 1 ? 3 : padding == 2 ? 15 : 0;
    return bits & unused ? -1 : (long)n;
}

static enum err bad_key(struct fail *fail, const char *why) {
    return fail_set(fail, ERR_INPUT, 0, "bad_signing_key", "%s", why);
}

// Decodes base64 of at most 64 bytes into the key; false when it is not that.
static bool key_decode(struct slice text, struct sign_key *key) {
    uint8_t bytes[3 * (88 / 4)];
    if (text.n > 88) return false;
    long n = base64_decode(text, bytes);
    bool good = n >= 0 && n <= SIGN_SECRET_MAX;
    if (good) {
        memcpy(key->bytes, bytes, (size_t)n);
        key->n = (uint8_t)n;
    }
    OPENSSL_cleanse(bytes, sizeof bytes);
    return good;
}

static EVP_PKEY *ed25519_open(const struct sign_key *key) {
    return EVP_PKEY_new_raw_private_key_ex(NULL, "ED25519", NULL, key->bytes, 32);
}

// A 64-byte key repeats the public key behind the seed; a wrong one was pasted wrongly.
static bool ed25519_matches(const struct sign_key *key) {
    EVP_PKEY *pkey = ed25519_open(key);
    uint8_t public[32];
    size_t n = sizeof public;
    bool same = pkey && EVP_PKEY_get_raw_public_key(pkey, public, &n) == 1 && n == 32 &&
                hash_equal(public, key->bytes + 32, 32);
    EVP_PKEY_free(pkey);
    return same;
}

static enum err parse_ed25519(struct slice encoded, struct sign_key *key, struct fail *fail) {
    key->ed25519 = true;
    if (!key_decode(encoded, key) || (key->n != 32 && key->n != 64))
        return bad_key(fail, "whsk_ wants the base64 of a 32-byte seed or a 64-byte key");
    if (key->n == 64 && !ed25519_matches(key))
        return bad_key(fail, "the public half of the whsk_ key does not fit its seed");
    key->n = 32;
    return OK;
}

static enum err parse_standard(struct slice text, struct sign_key *key, struct fail *fail) {
    if (slice_starts(text, S("whsk_"))) return parse_ed25519(slice_from(text, 5), key, fail);
    if (!slice_starts(text, S("whsec_")))
        return bad_key(fail, "a signing secret starts with whsec_ or whsk_");
    if (!key_decode(slice_from(text, 6), key) || key->n < SIGN_SECRET_MIN)
        return bad_key(fail, "whsec_ wants the base64 of 24 to 64 random bytes");
    return OK;
}

enum err sign_key_parse(struct slice text, enum sign_scheme scheme, struct sign_key *key,
                        struct fail *fail) {
    *key = (struct sign_key){ 0 };
    if (!text.n) return bad_key(fail, "the signing secret is empty");
    if (scheme == SIGN_STANDARD) return parse_standard(text, key, fail);
    if (text.n <= sizeof key->bytes) {
        memcpy(key->bytes, text.p, text.n);
        key->n = (uint8_t)text.n;
        return OK;
    }
    // RFC 2104: a key longer than the block stands for its own digest.
    hash_sha256(text, key->bytes);
    key->n = 32;
    return OK;
}

static struct slice key_slice(const struct sign_key *key) {
    return slice((const char *)key->bytes, key->n);
}

static bool add_base64(struct buf *out, const uint8_t *bytes, size_t n) {
    char *to = buf_reserve(out, 4 * ((n + 2) / 3));
    if (to) out->n += base64_encode(bytes, n, to);
    return to != NULL;
}

static bool add_hex_hmac(struct buf *out, const struct sign_key *key, const struct slice *parts,
                         size_t count) {
    uint8_t mac[32];
    if (!hmac_parts(key_slice(key), parts, count, mac)) return false;
    char *to = buf_reserve(out, 64);
    if (!to) return false;
    hex_encode(mac, 32, to);
    out->n += 64;
    return true;
}

static bool ed25519_sign(const struct sign_key *key, struct slice text, uint8_t signature[64]) {
    EVP_PKEY *pkey = ed25519_open(key);
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    size_t n = 64;
    bool good = pkey && context &&
                EVP_DigestSignInit_ex(context, NULL, NULL, NULL, NULL, pkey, NULL) == 1 &&
                EVP_DigestSign(context, signature, &n, (const uint8_t *)text.p, text.n) == 1 &&
                n == 64;
    EVP_MD_CTX_free(context);
    EVP_PKEY_free(pkey);
    return good;
}

static bool add_ed25519(struct buf *out, const struct sign_key *key, const struct slice *parts,
                        size_t count) {
    struct buf whole;
    buf_init(&whole, SIZE_MAX / 2);
    for (size_t i = 0; i < count; i++) buf_add(&whole, parts[i]);
    uint8_t signature[64];
    bool good = !whole.failed && ed25519_sign(key, buf_slice(&whole), signature);
    buf_deinit(&whole);
    return good && buf_add(out, S("v1a,")) && add_base64(out, signature, 64);
}

static bool add_standard(struct buf *out, const struct sign_key *keys, size_t keys_count,
                         const struct slice *parts, size_t count) {
    for (size_t i = 0; i < keys_count; i++) {
        if (i && !buf_byte(out, ' ')) return false;
        if (keys[i].ed25519) {
            if (!add_ed25519(out, &keys[i], parts, count)) return false;
            continue;
        }
        uint8_t mac[32];
        if (!hmac_parts(key_slice(&keys[i]), parts, count, mac)) return false;
        if (!buf_add(out, S("v1,")) || !add_base64(out, mac, 32)) return false;
    }
    return true;
}

static bool add_stripe(struct buf *out, const struct sign_key *keys, size_t keys_count,
                       const struct slice *parts, size_t count) {
    if (!buf_add(out, S("t=")) || !buf_add(out, parts[0])) return false;
    for (size_t i = 0; i < keys_count; i++)
        if (!buf_add(out, S(",v1=")) || !add_hex_hmac(out, &keys[i], parts, count)) return false;
    return true;
}

enum err sign_value(enum sign_scheme scheme, const struct sign_key *keys, size_t keys_count,
                    struct slice id, int64_t timestamp_s, struct slice body, struct buf *out,
                    struct fail *fail) {
    assert(scheme != SIGN_NONE && keys_count > 0);
    char text[24];
    struct slice at = slice(text, (size_t)snprintf(text, sizeof text, "%" PRId64, timestamp_s));
    const struct slice parts[] = { id, S("."), at, S("."), body };
    size_t before = out->n;
    bool good = false;
    switch (scheme) {
    case SIGN_STANDARD: good = add_standard(out, keys, keys_count, parts, 5); break;
    case SIGN_STRIPE: good = add_stripe(out, keys, keys_count, parts + 2, 3); break;
    case SIGN_GITHUB: good = buf_add(out, S("sha256=")) && add_hex_hmac(out, keys, &body, 1); break;
    case SIGN_HEX: good = add_hex_hmac(out, keys, &body, 1); break;
    case SIGN_NONE: break;
    }
    if (good) return OK;
    out->n = before;
    if (out->failed) return fail_set(fail, ERR_NOMEM, 0, "no_memory", "no room for the signature");
    return fail_set(fail, ERR_NOT_NOW, 0, "sign_failed", "libcrypto could not sign");
}
