// Tokens. The limiter is a small table with four places an address: a flood
// from many addresses costs no memory and at worst forgets older failures.
#include "token.h"

#include <string.h>

#include "id.h"
#include "map.h"
#include "sign.h"

static const char digits[] = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
enum { BASE = 62, LOWER = 36, WAYS = 4 };

// 32 bytes as one number in base 62, most significant digit first.
static void encode_secret(uint8_t bytes[32], char out[TOKEN_SECRET]) {
    for (int i = TOKEN_SECRET - 1; i >= 0; i--) {
        unsigned rest = 0;
        for (int b = 0; b < 32; b++) {
            unsigned part = rest << 8 | bytes[b];
            bytes[b] = (uint8_t)(part / BASE);
            rest = part % BASE;
        }
        out[i] = digits[rest];
    }
}

void token_make(struct token *token) {
    uint8_t secret[32], id[TOKEN_ID];
    id_random(secret, sizeof secret);
    id_random(id, sizeof id);
    for (int i = 0; i < TOKEN_ID; i++) token->id[i] = digits[id[i] % LOWER];
    token->id[TOKEN_ID] = '\0';
    memcpy(token->text, "wh_", 3);
    memcpy(token->text + 3, token->id, TOKEN_ID);
    token->text[3 + TOKEN_ID] = '_';
    encode_secret(secret, token->text + 4 + TOKEN_ID);
    token->text[TOKEN_TEXT] = '\0';
    token_hash(slice(token->text, TOKEN_TEXT), token->hash);
    explicit_bzero(secret, sizeof secret);
}

static bool all_of(struct slice s, size_t base) {
    for (size_t i = 0; i < s.n; i++)
        if (!memchr(digits, s.p[i], base)) return false;
    return true;
}

bool token_parse(struct slice text, struct slice *id) {
    if (text.n != TOKEN_TEXT || !slice_starts(text, S("wh_"))) return false;
    *id = slice(text.p + 3, TOKEN_ID);
    return text.p[3 + TOKEN_ID] == '_' && all_of(*id, LOWER) &&
           all_of(slice_from(text, 4 + TOKEN_ID), BASE);
}

void token_hash(struct slice text, uint8_t hash[32]) {
    hash_sha256(text, hash);
}

bool token_equal(const uint8_t a[32], const uint8_t b[32]) {
    return hash_equal(a, b, 32);
}

static const struct {
    struct slice name;
    enum token_scope scope;
} scope_names[] = { { { "ingest", 6 }, TOKEN_INGEST },
                    { { "read", 4 }, TOKEN_READ },
                    { { "admin", 5 }, TOKEN_ADMIN } };
enum { SCOPES = sizeof scope_names / sizeof scope_names[0] };

bool token_scopes_parse(struct slice text, unsigned *scopes) {
    unsigned found = 0;
    for (bool more = true; more;) {
        size_t comma = slice_find(text, ','), i = 0;
        struct slice name = slice_trim(slice(text.p, comma));
        while (i < SCOPES && !slice_eq(name, scope_names[i].name)) i++;
        if (i == SCOPES) return false;
        found |= scope_names[i].scope;
        more = comma < text.n;
        text = slice_from(text, comma + 1);
    }
    *scopes = found;
    return true;
}

struct slice token_scopes_text(unsigned scopes, char out[32]) {
    size_t n = 0;
    for (size_t i = 0; i < SCOPES; i++) {
        if (!(scopes & scope_names[i].scope)) continue;
        if (n) out[n++] = ',';
        memcpy(out + n, scope_names[i].name.p, scope_names[i].name.n);
        n += scope_names[i].name.n;
    }
    return slice(out, n);
}

bool token_allows(unsigned scopes, enum token_scope wanted) {
    return scopes & (TOKEN_ADMIN | wanted);
}

int64_t token_limit_failed(struct token_limit *limit, struct slice address, int64_t now_ms) {
    uint64_t key = map_hash(address) | 1; // 0 is a free place
    size_t first = (size_t)(key >> 32) % (TOKEN_LIMIT_SLOTS / WAYS) * WAYS, at = first;
    for (size_t i = first; i < first + WAYS; i++) {
        if (limit->slots[i].address == key) {
            at = i;
            break;
        }
        if (limit->slots[i].since_ms < limit->slots[at].since_ms) at = i;
    }
    bool same = limit->slots[at].address == key;
    if (!same || now_ms - limit->slots[at].since_ms >= TOKEN_WINDOW_MS) {
        limit->slots[at].address = key;
        limit->slots[at].since_ms = now_ms;
        limit->slots[at].failures = 0;
    }
    limit->slots[at].failures++;
    if (limit->slots[at].failures <= TOKEN_FAILURES_MAX) return 0;
    return limit->slots[at].since_ms + TOKEN_WINDOW_MS - now_ms;
}
