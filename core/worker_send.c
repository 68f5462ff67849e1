// From a rendered request to the wire: secrets put in, the guard asked, the
// attempt's own headers added (Standard Webhooks 1.0: webhook-id,
// webhook-timestamp, webhook-signature; W3C traceparent), credentials fetched.
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "clock.h"
#include "sign.h"
#include "worker_inner.h"

void worker_refuse(struct task *task, enum verdict verdict, const char *type, const char *text) {
    struct job *job = task->job;
    job->verdict = verdict;
    job->attempted = verdict != VERDICT_LOCAL && verdict != VERDICT_PARK;
    job->record = (struct attempt){ .number = job->attempt,
                                    .started_ms = clock_wall_ms(),
                                    .verdict = verdict,
                                    .dns_us = -1,
                                    .connect_us = -1,
                                    .tls_us = -1,
                                    .first_byte_us = -1,
                                    .total_us = -1,
                                    .retry_after_ms = -1 };
    snprintf(job->record.error_type, sizeof job->record.error_type, "%s", type);
    snprintf(job->record.error, sizeof job->record.error, "%s", text);
    job->reason = arena_printf(&job->arena, "%s: %s", type, text);
    worker_finish(task);
}

void task_add_header(struct task *task, struct slice name, struct slice value, struct slice shown) {
    assert(task->extra_count < TASK_EXTRA_MAX);
    if (!value.p || !shown.p) task->no_memory = true;
    task->extra[task->extra_count] = (struct header){ name, value };
    task->shown[task->extra_count++] = (struct header){ name, shown.n ? shown : value };
}

bool task_secret(void *user, struct slice name, struct slice *value) {
    struct task *task = user;
    const struct hook *hook = task->job->hook;
    const struct worker_opts *opts = &task->worker->opts;
    for (size_t i = 0; i < hook->secrets_count; i++)
        if (slice_eq(hook->secrets[i], name))
            return opts->secret && opts->secret(opts->secret_user, name, value);
    return false;
}

static bool has_header(const struct request *request, struct slice name) {
    for (size_t i = 0; i < request->headers_count; i++)
        if (slice_ieq(request->headers[i].name, name)) return true;
    return false;
}

static enum err load_keys(struct task *task, struct sign_key keys[2], size_t *count,
                          struct fail *fail) {
    const struct hook *hook = task->job->hook;
    for (size_t i = 0; i < 2 && hook->sign_secrets[i].n; i++) {
        struct slice text;
        if (!task_secret(task, hook->sign_secrets[i], &text))
            return fail_set(fail, ERR_DENIED, 0, "unknown_secret", "no secret %.*s to sign with",
                            SLICE_FMT(hook->sign_secrets[i]));
        enum err err = sign_key_parse(text, hook->sign, &keys[*count], fail);
        if (err != OK) return err;
        ++*count;
    }
    return OK;
}

static enum err add_signature(struct task *task, int64_t now_s, struct fail *fail) {
    const struct hook *hook = task->job->hook;
    struct sign_key keys[2];
    size_t count = 0;
    struct buf value;
    if (hook->sign == SIGN_NONE) return OK;
    enum err err = load_keys(task, keys, &count, fail);
    if (err != OK) return err;
    buf_init(&value, 1024);
    err = sign_value(hook->sign, keys, count, slice_str(task->job->webhook_id), now_s,
                     task->sealed.body, &value, fail);
    if (err == OK)
        task_add_header(task, hook->sign_header, arena_dup(&task->job->arena, buf_slice(&value)),
                        slice("", 0));
    buf_deinit(&value);
    return err;
}

static enum err add_credentials(struct task *task, struct fail *fail) {
    struct job *job = task->job;
    const struct hook *hook = job->hook;
    struct slice secret;
    if (hook->auth != HOOK_AUTH_BASIC && hook->auth != HOOK_AUTH_BEARER) return OK;
    if (!task_secret(task, hook->auth_secret, &secret))
        return fail_set(fail, ERR_DENIED, 0, "unknown_secret",
                        "no secret %.*s to authenticate with", SLICE_FMT(hook->auth_secret));
    struct slice value;
    if (hook->auth == HOOK_AUTH_BEARER) {
        value = arena_printf(&job->arena, "Bearer %.*s", SLICE_FMT(secret));
    } else {
        struct slice pair =
            arena_printf(&job->arena, "%.*s:%.*s", SLICE_FMT(hook->auth_user), SLICE_FMT(secret));
        char *text = arena_alloc(&job->arena, 6 + 4 * (pair.n / 3 + 1));
        if (!pair.p || !text)
            return fail_set(fail, ERR_NOMEM, 0, "no_memory", "no memory for the credentials");
        memcpy(text, "Basic ", 6);
        value = slice(text, 6 + base64_encode((const uint8_t *)pair.p, pair.n, text + 6));
    }
    if (!value.p) return fail_set(fail, ERR_NOMEM, 0, "no_memory", "no memory for the credentials");
    task_add_header(task, S("Authorization"), value,
                    arena_printf(&job->arena, "%s [SECRET:%.*s]",
                                 hook->auth == HOOK_AUTH_BASIC ? "Basic" : "Bearer",
                                 SLICE_FMT(hook->auth_secret)));
    return OK;
}

static void add_standard_headers(struct task *task, int64_t now_s) {
    struct job *job = task->job;
    task_add_header(task, S("webhook-id"), slice_str(job->webhook_id), slice("", 0));
    task_add_header(task, S("webhook-timestamp"),
                    arena_printf(&job->arena, "%lld", (long long)now_s), slice("", 0));
    task_add_header(task, S("webhook-hop"), arena_printf(&job->arena, "%u", job->event->hops + 1u),
                    slice("", 0));
    if (job->event->trace.n && !has_header(&task->request, S("traceparent")))
        task_add_header(task, S("traceparent"), job->event->trace, slice("", 0));
}

static struct slice shown_headers(struct task *task) {
    struct buf text;
    buf_init(&text, 8192);
    for (size_t i = 0; i < task->extra_count; i++)
        buf_printf(&text, "%.*s: %.*s\n", SLICE_FMT(task->shown[i].name),
                   SLICE_FMT(task->shown[i].value));
    struct slice kept = arena_dup(&task->job->arena, buf_slice(&text));
    buf_deinit(&text);
    return kept;
}

static void start_transfer(struct task *task) {
    struct job *job = task->job;
    const struct hook *hook = job->hook;
    struct transfer *t = &task->transfer;
    if (task->no_memory) {
        // Without its signature, or with a secret shown in the log, it must not go out.
        worker_refuse(task, VERDICT_LOCAL, "no_memory", "no memory for the headers");
        return;
    }
    t->request = &task->sealed;
    t->extra = task->extra;
    t->extra_count = task->extra_count;
    t->timeout_ms = hook->timeout_ms;
    t->connect_timeout_ms = hook->connect_timeout_ms;
    t->tls_cert = hook->auth == HOOK_AUTH_MTLS ? hook->tls_cert.p : NULL;
    t->tls_key = hook->auth == HOOK_AUTH_MTLS ? hook->tls_key.p : NULL;
    t->arena = &job->arena;
    t->attempt = (struct attempt){ .number = job->attempt,
                                   .started_ms = clock_wall_ms(),
                                   .retry_after_ms = -1,
                                   .sent_headers = shown_headers(task) };
    courier_send(task->worker->courier, t);
}

static void on_token(struct task *task, struct slice token) {
    if (!token.n) {
        struct attempt *a = &task->transfer.attempt;
        worker_refuse(task, VERDICT_RETRY, a->error_type[0] ? a->error_type : "oauth_failed",
                      a->error);
        return;
    }
    struct arena *arena = &task->job->arena;
    task_add_header(task, S("Authorization"), arena_printf(arena, "Bearer %.*s", SLICE_FMT(token)),
                    S("Bearer [OAUTH2 TOKEN]"));
    start_transfer(task);
}

void worker_send(struct task *task) {
    struct job *job = task->job;
    struct fail fail = { 0 };
    struct url_parts parts;
    int64_t now_s = clock_wall_ms() / 1000;
    if (task->worker->stopping) { // a script answered while the courier closes
        worker_refuse(task, VERDICT_LOCAL, "shutdown", "the engine stops");
        return;
    }
    enum err err = request_seal(&task->request, job->attempt, task_secret, task, &job->arena,
                                &task->sealed, &fail);
    if (err == OK) err = guard_url(task->worker->opts.guard, task->sealed.url, &parts, &fail);
    if (err == OK) {
        add_standard_headers(task, now_s);
        err = add_credentials(task, &fail);
    }
    if (err == OK) err = add_signature(task, now_s, &fail);
    if (err == ERR_NOMEM)
        worker_refuse(task, VERDICT_LOCAL, fail.type, fail.text);
    else if (err != OK && strcmp(fail.type, "url_blocked_address") == 0)
        worker_refuse(task, VERDICT_RETRY, "blocked", "the address may not be dialled");
    else if (err != OK)
        worker_refuse(task, VERDICT_PARK, fail.type, fail.text);
    else if (job->hook->auth == HOOK_AUTH_OAUTH2)
        worker_oauth_token(task, on_token);
    else
        start_transfer(task);
}

enum { ECHO_MIN = 6 }; // a shorter secret would blot out ordinary text

static void blot_out(struct slice text, struct slice secret) {
    const char *hit;
    while (text.n >= secret.n && (hit = memmem(text.p, text.n, secret.p, secret.n))) {
        memset((char *)(uintptr_t)hit, '*', secret.n);
        text = slice_from(text, (size_t)(hit - text.p) + secret.n);
    }
}

static void blot_pair(struct task *task, struct slice one, struct slice other) {
    const struct hook *hook = task->job->hook;
    struct slice secret;
    for (size_t i = 0; i < hook->secrets_count; i++) {
        if (!task_secret(task, hook->secrets[i], &secret) || secret.n < ECHO_MIN) continue;
        blot_out(one, secret);
        blot_out(other, secret);
    }
}

// What this attempt's credentials became on the wire: "Basic …" holds the secret in base64.
static void blot_credentials(struct task *task) {
    for (size_t i = 0; i < task->extra_count; i++) {
        struct slice sent = task->extra[i].value;
        if (sent.p == task->shown[i].value.p) continue;
        struct slice credential = slice_from(sent, slice_find(sent, ' ') + 1);
        if (credential.n < ECHO_MIN) continue;
        blot_out(task->job->record.response_headers, credential);
        blot_out(task->job->record.response_body, credential);
    }
}

bool worker_hide_secrets(struct task *task, struct request *request) {
    const struct hook *hook = task->job->hook;
    struct slice secret;
    for (size_t i = 0; i < hook->script_secrets_count; i++) {
        struct slice name = hook->script_secrets[i];
        if (!task_secret(task, name, &secret) || secret.n < ECHO_MIN) continue;
        if (!request_hide(request, name, secret, &task->job->arena)) return false;
    }
    return true;
}

void worker_blot_echo(struct task *task) {
    blot_credentials(task);
    blot_pair(task, task->job->record.response_headers, task->job->record.response_body);
}

void worker_blot_script(struct task *task) {
    blot_pair(task, task->call.error, task->call.reason);
}
