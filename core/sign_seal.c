// Sealing of secrets at rest.
#include <openssl/evp.h>

#include "sign.h"

static bool run(bool close, const uint8_t *key, const uint8_t *nonce, struct slice name,
                uint8_t *data, size_t n) {
    EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    int got, ok = ctx && EVP_CipherInit_ex(ctx, EVP_aes_256_gcm(), NULL, key, nonce, close) == 1;
    ok = ok && EVP_CipherUpdate(ctx, NULL, &got, (const uint8_t *)name.p, (int)name.n) == 1;
    ok = ok && EVP_CipherUpdate(ctx, data, &got, data, (int)n) == 1;
    if (!close)
        ok = ok && EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_GCM_SET_TAG, SEAL_TAG_BYTES, data + n) == 1;
    uint8_t rest[16]; // GCM is a stream: nothing ever lands here
    ok = ok && EVP_CipherFinal_ex(ctx, rest, &got) == 1;
    if (close)
        ok = ok && EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_GCM_GET_TAG, SEAL_TAG_BYTES, data + n) == 1;
    EVP_CIPHER_CTX_free(ctx);
    return ok;
}

bool seal_close(const uint8_t key[SEAL_KEY_BYTES], const uint8_t nonce[SEAL_NONCE_BYTES],
                struct slice name, uint8_t *data, size_t n) {
    return run(true, key, nonce, name, data, n);
}

bool seal_open(const uint8_t key[SEAL_KEY_BYTES], const uint8_t nonce[SEAL_NONCE_BYTES],
               struct slice name, uint8_t *data, size_t n) {
    return run(false, key, nonce, name, data, n);
}
