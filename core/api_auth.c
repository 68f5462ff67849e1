// Who may do what. A token is found by its id, its hash compared in constant
// time; an unknown id costs the same work. A result is cached for a second, so
// that a stream of events does not read the store for each.
#include "api_inner.h"

#include "clock.h"

static const uint8_t nobody[32];

static struct known_token *known_place(struct api *api, struct slice id) {
    unsigned sum = 0;
    for (size_t i = 0; i < id.n; i++) sum = sum * 31 + (unsigned char)id.p[i];
    return &api->known[sum % KNOWN_TOKENS];
}

void api_forget_tokens(struct api *api) {
    memset(api->known, 0, sizeof api->known);
}

// The stored token of this id; NULL when there is none that is alive.
static const struct known_token *find_token(struct api *api, struct slice id) {
    struct known_token *known = known_place(api, id);
    int64_t now = clock_wall_ms();
    bool same = slice_eq(slice(known->id, TOKEN_ID), id);
    if (same && now >= known->read_ms && now - known->read_ms < KNOWN_TOKEN_MS) return known;
    char scopes[64] = "";
    struct store_reader *reader = api_keys(api, NULL);
    *known = (struct known_token){ .read_ms = 0 };
    if (!reader || !store_reader_token(reader, id, now, known->hash, scopes) ||
        !token_scopes_parse(slice_str(scopes), &known->scopes))
        return NULL;
    memcpy(known->id, id.p, TOKEN_ID);
    known->read_ms = now;
    return known;
}

// The peer without its port: what failures are counted by.
static struct slice peer_address(struct slice peer) {
    for (size_t i = peer.n; i > 0; i--)
        if (peer.p[i - 1] == ':') return slice(peer.p, i - 1);
    return peer;
}

static bool unauthorized(struct api *api, struct exchange *exchange, bool presented) {
    struct fail fail = { 0 };
    int64_t wait = presented ? token_limit_failed(&api->limit, peer_address(exchange->peer),
                                                  (int64_t)uv_now(api->loop))
                             : 0;
    if (wait) {
        fail_set(&fail, ERR_DENIED, 0, "too_many_failures",
                 "too many wrong tokens from this address");
        api_refuse(exchange, 429, &fail, api_retry_after(exchange, wait));
    } else {
        fail_set(&fail, ERR_DENIED, 0, "unauthorized", "this needs a valid bearer token");
        fail_path(&fail, "header:authorization");
        api_refuse(exchange, 401, &fail,
                   (struct header){ S("WWW-Authenticate"), S("Bearer realm=\"tuma\"") });
    }
    return false;
}

static struct slice bearer_token(struct slice authorization) {
    struct slice scheme = S("Bearer ");
    if (authorization.n < scheme.n || !slice_ieq(slice(authorization.p, scheme.n), scheme))
        return slice(NULL, 0);
    return slice_trim(slice_from(authorization, scheme.n));
}

bool api_authorize(struct api *api, struct exchange *exchange, enum token_scope scope) {
    size_t count;
    struct slice authorization = exchange_header(exchange, "authorization", &count), id;
    if (exchange->local) return true;
    if (!count && scope == TOKEN_INGEST && !api->opts.token_required) return true;
    struct slice text = bearer_token(authorization);
    if (count != 1 || !token_parse(text, &id)) return unauthorized(api, exchange, count > 0);
    uint8_t hash[32];
    token_hash(text, hash);
    const struct known_token *token = find_token(api, id);
    if (!token_equal(hash, token ? token->hash : nobody) || !token)
        return unauthorized(api, exchange, true);
    if (token_allows(token->scopes, scope)) return true;
    api_say(exchange, 403, ERR_DENIED, "forbidden", "this token's scopes do not allow that");
    return false;
}
