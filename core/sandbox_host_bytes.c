// hash and base64.
#include "sandbox.h"
#include "sandbox_buf.h"
#include "sandbox_host_inner.h"
#include "sign.h"

enum { DIGEST_MAX = 32 };

// Pushes the digest in lower-case hex, or as bytes when the argument `raw` is true.
static int push_digest(lua_State *L, const uint8_t *digest, size_t n, int raw) {
    char hex[2 * DIGEST_MAX];
    if (lua_toboolean(L, raw)) {
        lua_pushlstring(L, (const char *)digest, n);
        return 1;
    }
    hex_encode(digest, n, hex);
    lua_pushlstring(L, hex, 2 * n);
    return 1;
}

static int hash_of_md5(lua_State *L) {
    uint8_t digest[16];
    hash_md5(sandbox_check_slice(L, 1), digest);
    return push_digest(L, digest, sizeof digest, 2);
}

static int hash_of_sha1(lua_State *L) {
    uint8_t digest[20];
    hash_sha1(sandbox_check_slice(L, 1), digest);
    return push_digest(L, digest, sizeof digest, 2);
}

static int hash_of_sha256(lua_State *L) {
    uint8_t digest[32];
    hash_sha256(sandbox_check_slice(L, 1), digest);
    return push_digest(L, digest, sizeof digest, 2);
}

// hash.hmac_sha256(key, text[, raw])
static int hash_of_hmac_sha256(lua_State *L) {
    uint8_t digest[32];
    hash_hmac_sha256(sandbox_check_slice(L, 1), sandbox_check_slice(L, 2), digest);
    return push_digest(L, digest, sizeof digest, 3);
}

static void swap_bytes(char *p, size_t n, const char *from, const char *to) {
    for (size_t i = 0; i < n; i++)
        if (p[i] == from[0] || p[i] == from[1]) p[i] = p[i] == from[0] ? to[0] : to[1];
}

static int base64_to(lua_State *L, bool url) {
    struct slice text = sandbox_check_slice(L, 1);
    struct sandbox_buf out;
    sandbox_buf_init(&out, L, SANDBOX_STRING_MAX);
    char *p = sandbox_buf_reserve(&out, 4 * ((text.n + 2) / 3));
    out.n = base64_encode((const uint8_t *)text.p, text.n, p);
    if (url) {
        swap_bytes(p, out.n, "+/", "-_");
        while (out.n && p[out.n - 1] == '=') out.n--;
    }
    sandbox_buf_push(&out);
    return 1;
}

// Strict: nil and a reason for anything that is not the canonical form.
static int base64_from(lua_State *L, bool url) {
    struct slice text = sandbox_check_slice(L, 1);
    struct sandbox_buf in, out;
    sandbox_buf_init(&in, L, SANDBOX_STRING_MAX);
    sandbox_buf_init(&out, L, SANDBOX_STRING_MAX);
    sandbox_buf_add(&in, text);
    bool foreign = url && (slice_find(text, '+') != text.n || slice_find(text, '/') != text.n);
    if (url) {
        swap_bytes(in.p, in.n, "-_", "+/");
        while (in.n % 4) sandbox_buf_byte(&in, '=');
    }
    uint8_t *to = (uint8_t *)sandbox_buf_reserve(&out, 3 * (in.n / 4) + 3);
    long n = foreign ? -1 : base64_decode(slice(in.p, in.n), to);
    if (n < 0) {
        lua_pushnil(L);
        lua_pushliteral(L, "not base64");
        return 2;
    }
    out.n = (size_t)n;
    sandbox_buf_push(&out);
    return 1;
}

static int base64_of(lua_State *L) {
    return base64_to(L, false);
}
static int base64_url_of(lua_State *L) {
    return base64_to(L, true);
}
static int base64_undo(lua_State *L) {
    return base64_from(L, false);
}
static int base64_url_undo(lua_State *L) {
    return base64_from(L, true);
}

void host_open_bytes(lua_State *L) {
    static const struct sandbox_function hash[] = { { "md5", hash_of_md5 },
                                                    { "sha1", hash_of_sha1 },
                                                    { "sha256", hash_of_sha256 },
                                                    { "hmac_sha256", hash_of_hmac_sha256 } };
    static const struct sandbox_function base64[] = { { "encode", base64_of },
                                                      { "decode", base64_undo },
                                                      { "encode_url", base64_url_of },
                                                      { "decode_url", base64_url_undo } };
    host_set_module(L, "hash", hash, sizeof hash / sizeof *hash);
    host_set_module(L, "base64", base64, sizeof base64 / sizeof *base64);
}
