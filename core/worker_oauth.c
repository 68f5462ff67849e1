// OAuth 2.0 client credentials (RFC 6749 section 4.4): one token a client,
// cached until shortly before it expires, fetched once however many deliveries
// wait, through the same guarded courier as everything else.
#include <stdio.h>
#include <stdlib.h>

#include "clock.h"
#include "json.h"
#include "sign.h"
#include "worker_inner.h"

enum { TOKEN_MAX = 8 * 1024, EARLY_MS = 30000, DEFAULT_LIFE_S = 300 };

struct token {
    struct worker *worker;
    char *key;           // "url client scope"
    char *value;         // NULL: none yet
    int64_t expires_ns;  // monotonic
    struct list waiting; // tasks
    bool fetching;
    struct arena arena; // of the fetch under way
    struct request request;
    struct transfer transfer;
};

struct waiter {
    struct list link;
    struct task *task;
    void (*ready)(struct task *task, struct slice token);
};

static struct slice token_key(struct task *task) {
    const struct hook *h = task->job->hook;
    return arena_printf(&task->job->arena, "%.*s %.*s %.*s", SLICE_FMT(h->oauth_url),
                        SLICE_FMT(h->oauth_client), SLICE_FMT(h->oauth_scope));
}

static struct token *token_of(struct task *task) {
    struct slice key = token_key(task);
    struct token *token = key.p ? map_get(&task->worker->tokens, key) : NULL;
    if (token || !key.p) return token;
    token = calloc(1, sizeof *token);
    if (!token) return NULL;
    token->worker = task->worker;
    token->key = strdup(key.p);
    list_init(&token->waiting);
    arena_init(&token->arena, 1024 * 1024);
    if (token->key && map_put(&task->worker->tokens, slice_str(token->key), token)) return token;
    free(token->key);
    free(token);
    return NULL;
}

static bool take_token(struct token *token) {
    struct slice body = token->transfer.attempt.response_body;
    if (token->transfer.attempt.verdict != VERDICT_DELIVERED) return false;
    if (json_check(body, (struct json_limits){ .depth_max = 16 }, NULL) != OK) return false;
    struct json root = json_root(body);
    struct slice value = json_text(json_get(root, "access_token"), &token->arena);
    int64_t life_s = DEFAULT_LIFE_S;
    json_int(json_get(root, "expires_in"), &life_s);
    if (json_get(root, "access_token").type != JSON_STRING || !value.n || value.n > TOKEN_MAX)
        return false;
    for (size_t i = 0; i < value.n; i++)
        if (value.p[i] < 0x21 || value.p[i] > 0x7E)
            return false; // it becomes a header (RFC 6750 section 2.1)
    if (life_s < 0) life_s = 0;
    if (life_s > 86400) life_s = 86400;
    free(token->value);
    token->value = strndup(value.p, value.n);
    token->expires_ns =
        clock_mono_ns() + life_s * 1000000000 - (life_s > 60 ? EARLY_MS * 1000000LL : 0);
    return token->value != NULL;
}

static void on_fetched(struct transfer *transfer) {
    struct token *token = transfer->user;
    struct list waiting;
    bool fine = take_token(token);
    token->fetching = false;
    list_init(&waiting);
    for (struct list *l; (l = list_pop(&token->waiting));) list_push(&waiting, l);
    for (struct list *l; (l = list_pop(&waiting));) {
        struct waiter *w = list_item(l, struct waiter, link);
        struct attempt *a = &w->task->transfer.attempt;
        snprintf(a->error_type, sizeof a->error_type, "oauth_failed");
        snprintf(a->error, sizeof a->error,
                 "the token request to the authorization server failed: %.80s (status %d)",
                 transfer->attempt.error[0] ? transfer->attempt.error
                                            : "no usable token in the answer",
                 transfer->attempt.status);
        w->ready(w->task, fine ? slice_str(token->value) : slice("", 0));
    }
    arena_deinit(&token->arena);
}

// application/x-www-form-urlencoded (RFC 6749 appendix B) of one value.
static void add_form(struct buf *out, struct slice s) {
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                     strchr("-._", c);
        if (plain && c)
            buf_byte(out, (char)c);
        else
            buf_printf(out, "%%%02X", c);
    }
}

// HTTP Basic with form-encoded client id and secret (RFC 6749 section 2.3.1).
static struct slice basic_value(struct token *token, const struct hook *hook, struct slice secret) {
    struct buf pair;
    buf_init(&pair, TOKEN_MAX);
    add_form(&pair, hook->oauth_client);
    buf_byte(&pair, ':');
    add_form(&pair, secret);
    char *text = pair.failed ? NULL : arena_alloc(&token->arena, 6 + 4 * (pair.n / 3 + 1));
    size_t n = 0;
    if (text) {
        memcpy(text, "Basic ", 6);
        n = 6 + base64_encode((const uint8_t *)pair.p, pair.n, text + 6);
    }
    buf_deinit(&pair);
    return slice(text, n);
}

static bool build_request(struct token *token, struct task *task, struct slice secret) {
    const struct hook *hook = task->job->hook;
    struct buf body;
    buf_init(&body, TOKEN_MAX);
    buf_add(&body, S("grant_type=client_credentials"));
    if (hook->oauth_scope.n) {
        buf_add(&body, S("&scope="));
        add_form(&body, hook->oauth_scope);
    }
    struct header *headers = arena_zalloc(&token->arena, 3, sizeof *headers);
    token->request = (struct request){ .method = S("POST"),
                                       .url = arena_dup(&token->arena, hook->oauth_url),
                                       .headers = headers,
                                       .headers_count = 3,
                                       .body = arena_dup(&token->arena, buf_slice(&body)),
                                       .has_body = true };
    bool whole = headers && !body.failed;
    buf_deinit(&body);
    if (!whole) return false;
    headers[0] = (struct header){ S("Content-Type"), S("application/x-www-form-urlencoded") };
    headers[1] = (struct header){ S("Accept"), S("application/json") };
    headers[2] = (struct header){ S("Authorization"), basic_value(token, hook, secret) };
    return token->request.url.p && token->request.body.p && headers[2].value.p;
}

static void fetch(struct token *token, struct task *task) {
    struct slice secret;
    struct url_parts parts;
    struct fail fail = { 0 };
    arena_deinit(&token->arena);
    token->transfer = (struct transfer){ .request = &token->request,
                                         .timeout_ms = 10000,
                                         .connect_timeout_ms = 5000,
                                         .arena = &token->arena,
                                         .done = on_fetched,
                                         .user = token };
    token->fetching = true;
    if (!task_secret(task, task->job->hook->auth_secret, &secret))
        fail_set(&fail, ERR_DENIED, 0, "unknown_secret", "no secret %.*s",
                 SLICE_FMT(task->job->hook->auth_secret));
    else if (!build_request(token, task, secret))
        fail_set(&fail, ERR_NOMEM, 0, "no_memory", "no memory for the token request");
    else
        guard_url(task->worker->opts.guard, token->request.url, &parts, &fail);
    if (fail.code == OK) {
        courier_send(task->worker->courier, &token->transfer);
        return;
    }
    token->transfer.attempt.verdict = VERDICT_RETRY;
    snprintf(token->transfer.attempt.error, sizeof token->transfer.attempt.error, "%.150s",
             fail.text);
    on_fetched(&token->transfer);
}

void worker_oauth_token(struct task *task, void (*ready)(struct task *task, struct slice token)) {
    struct token *token = token_of(task);
    struct waiter *waiter = arena_zalloc(&task->job->arena, 1, sizeof *waiter);
    if (!token || !waiter) {
        ready(task, slice("", 0));
        return;
    }
    if (token->value && clock_mono_ns() < token->expires_ns) {
        ready(task, slice_str(token->value));
        return;
    }
    *waiter = (struct waiter){ .task = task, .ready = ready };
    list_init(&waiter->link);
    list_push(&token->waiting, &waiter->link);
    if (!token->fetching) fetch(token, task);
}

void worker_oauth_forget(struct task *task) {
    if (task->job->hook->auth != HOOK_AUTH_OAUTH2) return;
    struct slice key = token_key(task);
    struct token *token = key.p ? map_get(&task->worker->tokens, key) : NULL;
    if (token) token->expires_ns = 0;
}

void worker_oauth_close(struct worker *worker) {
    size_t at = 0;
    for (struct map_entry *e; (e = map_next(&worker->tokens, &at));) {
        struct token *token = e->value;
        arena_deinit(&token->arena);
        free(token->key);
        free(token->value);
        free(token);
    }
    map_deinit(&worker->tokens);
}
