// The delivery policy of a description: deadlines, retries, rate, order, what
// happens on trouble; and who signs and how.
#include "hook_inner.h"

static void read_retry_list(struct hook_build *b, struct json list) {
    struct retry *retry = &b->hook->retry;
    *retry = (struct retry){ .jitter_percent = 20 };
    size_t at = 0;
    struct json item;
    while (json_next(list, &at, NULL, &item)) {
        double seconds;
        if (retry->steps_count == RETRY_STEPS_MAX) {
            hook_report_key(b, "retry", "retry has at most %d steps", RETRY_STEPS_MAX);
            return;
        }
        if (item.type != JSON_NUMBER || !json_double(item, &seconds) || seconds < 0 ||
            seconds > 604800) {
            hook_report_key(b, "retry", "retry is a list of seconds, each from 0 to 604800");
            return;
        }
        retry->steps_ms[retry->steps_count++] = (int64_t)(seconds * 1000);
    }
}

static void read_retry_curve(struct hook_build *b, struct json curve) {
    static const struct slice known[] = {
        { "base", 4 }, { "factor", 6 }, { "max", 3 }, { "attempts", 8 }
    };
    hook_check_keys(b, curve, "retry", known, sizeof known / sizeof *known);
    double base = hook_read_number(b, curve, "base", 0.1, 86400, 5);
    double factor = hook_read_number(b, curve, "factor", 1, 100, 2);
    double max = hook_read_number(b, curve, "max", 0.1, 604800, 3600);
    double attempts = hook_read_number(b, curve, "attempts", 1, RETRY_STEPS_MAX + 1, 10);
    struct fail fail = { 0 };
    if (retry_exponential(&b->hook->retry, base, factor, max, (int64_t)attempts, &fail) != OK)
        hook_report_key(b, "retry", "retry: %s", fail.text);
}

static void read_retry(struct hook_build *b, struct json retry) {
    b->hook->retry = retry_standard();
    if (retry.type == JSON_NONE) return;
    if (retry.type == JSON_OBJECT) {
        read_retry_curve(b, retry);
    } else if (retry.type == JSON_ARRAY) {
        read_retry_list(b, retry);
    } else if (slice_eq(retry.raw, S("\"none\""))) {
        b->hook->retry.steps_count = 0;
    } else if (!slice_eq(retry.raw, S("\"standard\""))) {
        hook_report_key(
            b, "retry",
            "retry is \"standard\", \"none\", a list of seconds, or { base, factor, max, attempts }");
    }
}

static void read_order(struct hook_build *b, struct json root) {
    struct slice text = hook_read_text(b, root, "order_by", slice("", 0));
    struct fail fail = { 0 };
    if (!text.n) return;
    b->hook->order_by = template_compile(
        text, &(struct template_opts){ .place = TEMPLATE_RAW, .missing = MISSING_EMPTY }, &fail);
    if (!b->hook->order_by)
        hook_report(b, true, text, fail.at, fail.type, "order_by: %s", fail.text);
}

static int read_choice(struct hook_build *b, struct json root, const char *key,
                       const char *const *names, int count) {
    struct slice text = hook_read_text(b, root, key, slice_str(names[0]));
    for (int i = 0; i < count; i++)
        if (slice_eq(text, slice_str(names[i]))) return i;
    hook_report_key(b, key, "%s: no \"%.*s\"; the first of its choices is \"%s\"", key,
                    SLICE_FMT(text), names[0]);
    return 0;
}

static void read_breaker(struct hook_build *b, struct json breaker) {
    static const struct slice known[] = { { "failures", 8 },
                                          { "cooldown", 8 },
                                          { "cooldown_max", 12 } };
    struct breaker_opts *opts = &b->hook->breaker;
    *opts = (struct breaker_opts){ .threshold = 10, .cooldown_ms = 5000, .cooldown_max_ms = 60000 };
    if (breaker.type == JSON_FALSE) opts->threshold = 0; // 0: never opens
    if (breaker.type == JSON_NONE || breaker.type == JSON_FALSE) return;
    if (breaker.type != JSON_OBJECT) {
        hook_report_key(b, "breaker", "breaker is false or { failures, cooldown, cooldown_max }");
        return;
    }
    hook_check_keys(b, breaker, "breaker", known, sizeof known / sizeof *known);
    opts->threshold = (unsigned)hook_read_number(b, breaker, "failures", 1, 10000, 10);
    opts->cooldown_ms = (int64_t)(1000 * hook_read_number(b, breaker, "cooldown", 0.1, 3600, 5));
    opts->cooldown_max_ms =
        (int64_t)(1000 * hook_read_number(b, breaker, "cooldown_max", 0.1, 86400, 60));
}

void hook_read_policy(struct hook_build *b, struct json root) {
    static const char *const missing[] = { "keep", "empty", "null", "omit", "fail" };
    static const char *const on_error[] = { "hold", "send", "drop" };
    struct hook *hook = b->hook;
    hook->timeout_ms = (int64_t)(1000 * hook_read_number(b, root, "timeout", 0.1, 60, 10));
    hook->connect_timeout_ms =
        (int64_t)(1000 * hook_read_number(b, root, "connect_timeout", 0.1, 60, 5));
    hook->concurrency = (unsigned)hook_read_number(b, root, "concurrency", 1, 1000, 8);
    hook->missing = (enum template_missing)read_choice(b, root, "missing", missing, 5);
    hook->on_script_error =
        (enum hook_on_error)read_choice(b, root, "on_script_error", on_error, 3);
    read_retry(b, json_get(root, "retry"));
    read_order(b, root);
    read_breaker(b, json_get(root, "breaker"));
    struct slice rate = hook_read_text(b, root, "rate", slice("", 0));
    struct fail fail = { 0 };
    if (rate.n && rate_parse(rate, &hook->rate, &fail) != OK)
        hook_report_key(b, "rate", "rate: %s", fail.text);
}

static void read_sign(struct hook_build *b, struct json sign) {
    static const struct slice known[] = {
        { "scheme", 6 }, { "secret", 6 }, { "previous", 8 }, { "header", 6 }
    };
    static const struct {
        const char *name;
        enum sign_scheme scheme;
        const char *header;
    } schemes[] = {
        { "standard", SIGN_STANDARD, "webhook-signature" },
        { "hex", SIGN_HEX, "X-Signature" },
        { "github", SIGN_GITHUB, "X-Hub-Signature-256" },
        { "stripe", SIGN_STRIPE, "Stripe-Signature" },
    };
    struct hook *hook = b->hook;
    if (sign.type == JSON_NONE) return;
    hook_check_keys(b, sign, "sign", known, sizeof known / sizeof *known);
    struct slice scheme = hook_read_text(b, sign, "scheme", S("standard"));
    for (size_t i = 0; i < sizeof schemes / sizeof *schemes; i++) {
        if (!slice_eq(scheme, slice_str(schemes[i].name))) continue;
        hook->sign = schemes[i].scheme;
        hook->sign_header = hook_read_text(b, sign, "header", slice_str(schemes[i].header));
    }
    hook->sign_secrets[0] = hook_read_text(b, sign, "secret", slice("", 0));
    hook->sign_secrets[1] = hook_read_text(b, sign, "previous", slice("", 0));
    if (hook->sign == SIGN_NONE)
        hook_report_key(b, "sign",
                        "sign.scheme is \"standard\", \"hex\", \"github\" or \"stripe\"");
    else if (!hook->sign_secrets[0].n)
        hook_report_key(b, "sign", "sign.secret names the secret to sign with");
    else if (!request_header_name_valid(hook->sign_header) ||
             (hook->sign != SIGN_STANDARD && request_header_reserved(hook->sign_header)))
        hook_report_key(b, "sign", "sign.header: not a header that may be set");
}

static void read_auth(struct hook_build *b, struct json auth) {
    static const struct slice known[] = { { "type", 4 }, { "user", 4 },   { "secret", 6 },
                                          { "url", 3 },  { "client", 6 }, { "scope", 5 },
                                          { "cert", 4 }, { "key", 3 } };
    static const char *const names[] = { "none", "basic", "bearer", "oauth2", "mtls" };
    struct hook *hook = b->hook;
    if (auth.type == JSON_NONE) return;
    hook_check_keys(b, auth, "auth", known, sizeof known / sizeof *known);
    hook->auth = (enum hook_auth)read_choice(b, auth, "type", names, 5);
    hook->auth_user = hook_read_text(b, auth, "user", slice("", 0));
    hook->auth_secret = hook_read_text(b, auth, "secret", slice("", 0));
    hook->oauth_url = hook_read_text(b, auth, "url", slice("", 0));
    hook->oauth_client = hook_read_text(b, auth, "client", slice("", 0));
    hook->oauth_scope = hook_read_text(b, auth, "scope", slice("", 0));
    hook->tls_cert = hook_read_text(b, auth, "cert", slice("", 0));
    hook->tls_key = hook_read_text(b, auth, "key", slice("", 0));
    static const char *const needs[] = { "", "user and secret", "secret", "url, client and secret",
                                         "cert and key" };
    bool whole = hook->auth == HOOK_AUTH_NONE ||
                 (hook->auth == HOOK_AUTH_BASIC && hook->auth_user.n && hook->auth_secret.n) ||
                 (hook->auth == HOOK_AUTH_BEARER && hook->auth_secret.n) ||
                 (hook->auth == HOOK_AUTH_OAUTH2 && hook->oauth_url.n && hook->oauth_client.n &&
                  hook->auth_secret.n) ||
                 (hook->auth == HOOK_AUTH_MTLS && hook->tls_cert.n && hook->tls_key.n);
    if (!whole)
        hook_report_key(b, "auth", "auth: \"%s\" needs %s", names[hook->auth], needs[hook->auth]);
}

static void add_secret(struct hook *hook, struct slice name, size_t capacity) {
    if (!name.n || hook->secrets_count == capacity) return;
    for (size_t i = 0; i < hook->secrets_count; i++)
        if (slice_eq(hook->secrets[i], name)) return;
    hook->secrets[hook->secrets_count++] = name;
}

struct secret_list {
    struct hook *hook;
    size_t capacity;
};

static void on_use(void *user, const struct template_use *use) {
    struct secret_list *list = user;
    if (use->secret)
        add_secret(list->hook, arena_dup(&list->hook->arena, use->name), list->capacity);
}

// Every secret the webhook may use: those its script was granted, those of its
// templates, and those that sign and authenticate.
static void collect_secrets(struct hook *hook) {
    enum { SECRETS_MAX = 64 };
    struct secret_list list = { hook, SECRETS_MAX };
    hook->secrets = arena_zalloc(&hook->arena, SECRETS_MAX, sizeof *hook->secrets);
    if (!hook->secrets) return;
    for (size_t i = 0; i < hook->script_secrets_count; i++)
        add_secret(hook, hook->script_secrets[i], SECRETS_MAX);
    add_secret(hook, hook->sign_secrets[0], SECRETS_MAX);
    add_secret(hook, hook->sign_secrets[1], SECRETS_MAX);
    add_secret(hook, hook->auth_secret, SECRETS_MAX);
    if (hook->url) template_each_use(hook->url, on_use, &list);
    if (hook->body) template_each_use(hook->body, on_use, &list);
    for (size_t i = 0; i < hook->headers_count; i++)
        template_each_use(hook->headers[i].value, on_use, &list);
}

void hook_read_security(struct hook_build *b, struct json root) {
    struct hook *hook = b->hook;
    hook->script_secrets_count =
        hook_read_texts(b, json_get(root, "secrets"), "secrets", &hook->script_secrets);
    for (size_t i = 0; i < hook->script_secrets_count; i++)
        if (!tag_name_valid(hook->script_secrets[i]))
            hook_report(b, true, hook->script_secrets[i], 0, "bad_secret_name",
                        "\"%.*s\" is no secret name (A-Z 0-9 _)",
                        SLICE_FMT(hook->script_secrets[i]));
    read_sign(b, json_get(root, "sign"));
    read_auth(b, json_get(root, "auth"));
    collect_secrets(hook);
}
