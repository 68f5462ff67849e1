// The API's life and its routes. Two servers share it: TCP, and the control
// socket, whose file mode stands for a token. Whatever cannot be answered at
// once is counted in `pending`, so that closing waits for it.
#include "api.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "api_inner.h"

// --- answers ---

void api_reply(struct exchange *exchange, int status, struct slice json) {
    static const struct header headers[] = { { { "Content-Type", 12 }, { "application/json", 16 } },
                                             { { "Cache-Control", 13 }, { "no-store", 8 } } };
    server_reply(exchange, status, headers, 2, json);
}

void api_refuse(struct exchange *exchange, int status, const struct fail *fail,
                struct header extra) {
    const struct header headers[] = { { S("Content-Type"), HTTP_PROBLEM_TYPE },
                                      { S("Cache-Control"), S("no-store") },
                                      extra };
    struct buf text;
    buf_init(&text, 8192);
    http_problem_write(&text, status, fail, HTTP_PROBLEM_NO_ITEM);
    server_reply(exchange, status, headers, extra.name.p ? 3 : 2, buf_slice(&text));
    buf_deinit(&text);
}

void api_say(struct exchange *exchange, int status, enum err code, const char *type,
             const char *text) {
    struct fail fail = { 0 };
    fail_set(&fail, code, 0, type, "%s", text);
    api_refuse(exchange, status, &fail, (struct header){ 0 });
}

struct header api_retry_after(struct exchange *exchange, int64_t ms) {
    long seconds = ms > 1000 ? (long)((ms + 999) / 1000) : 1;
    return (struct header){ S("Retry-After"), arena_printf(exchange->arena, "%ld", seconds) };
}

// --- routes ---

static void get_health(struct api *api, struct exchange *exchange, const struct slice *parts) {
    (void)api, (void)parts;
    api_reply(exchange, 200, S("{\"status\":\"ok\"}"));
}

static void get_ready(struct api *api, struct exchange *exchange, const struct slice *parts) {
    (void)parts;
    if (api->ready && api->hooks && !api->closing)
        api_reply(exchange, 200, S("{\"status\":\"ready\"}"));
    else
        api_say(exchange, 503, ERR_NOT_NOW, "not_ready",
                api->closing ? "the engine is stopping" : "the webhooks are being loaded");
}

static const struct route {
    const char *method, *path;
    enum token_scope scope; // 0: everybody
    api_handler *handle;
} routes[] = {
    { "POST", "/v1/events", TOKEN_INGEST, api_post_events },
    { "GET", "/healthz", 0, get_health },
    { "GET", "/readyz", 0, get_ready },
    { "GET", "/v1/webhooks", TOKEN_READ, api_get_webhooks },
    { "POST", "/v1/webhooks/*/*", TOKEN_ADMIN, api_post_webhook },
    { "GET", "/v1/scripts", TOKEN_READ, api_get_scripts },
    { "GET", "/v1/status", TOKEN_READ, api_get_status },
    { "GET", "/v1/deliveries", TOKEN_READ, api_get_deliveries },
    { "GET", "/v1/deliveries/*", TOKEN_READ, api_get_delivery },
    { "POST", "/v1/deliveries/*/*", TOKEN_ADMIN, api_post_delivery },
    { "POST", "/v1/redeliver", TOKEN_ADMIN, api_post_redeliver },
    { "POST", "/v1/drop", TOKEN_ADMIN, api_post_drop },
    { "GET", "/v1/tokens", TOKEN_ADMIN, api_get_tokens },
    { "POST", "/v1/tokens", TOKEN_ADMIN, api_post_tokens },
    { "DELETE", "/v1/tokens/*", TOKEN_ADMIN, api_delete_token },
    { "POST", "/v1/wait-idle", TOKEN_ADMIN, api_post_wait_idle },
};
enum { ROUTES = sizeof routes / sizeof routes[0], PARTS_MAX = 2 };

// A '*' matches one segment that is not empty.
static bool path_matches(const char *pattern, struct slice path, struct slice *parts) {
    size_t count = 0;
    for (; *pattern; pattern++) {
        if (*pattern != '*') {
            if (!path.n || *path.p != *pattern) return false;
            path = slice_from(path, 1);
            continue;
        }
        assert(count < PARTS_MAX);
        size_t n = slice_find(path, '/');
        if (!n) return false;
        parts[count++] = slice(path.p, n);
        path = slice_from(path, n);
    }
    return !path.n;
}

static bool method_matches(const char *wanted, struct slice method) {
    return slice_eq(method, slice_str(wanted)) ||
           (slice_eq(method, S("HEAD")) && !strcmp(wanted, "GET"));
}

static void refuse_method(struct exchange *exchange, const bool *fits) {
    struct fail fail = { 0 };
    struct buf allow;
    buf_init(&allow, 256);
    for (size_t i = 0; i < ROUTES; i++) {
        if (!fits[i]) continue;
        buf_printf(&allow, "%s%s", allow.n ? ", " : "", routes[i].method);
        if (!strcmp(routes[i].method, "GET")) buf_add(&allow, S(", HEAD"));
    }
    fail_set(&fail, ERR_INPUT, 0, "method_not_allowed", "this path allows %.*s",
             SLICE_FMT(buf_slice(&allow)));
    api_refuse(exchange, 405, &fail, (struct header){ S("Allow"), buf_slice(&allow) });
    buf_deinit(&allow);
}

// True when `host` (its port left out) is in the configured list.
static bool host_allowed(const struct api *api, const struct exchange *exchange) {
    struct slice list = slice_str(api->opts.allowed_hosts);
    if (!list.n || exchange->local) return true;
    struct slice host = exchange_header(exchange, "host", NULL);
    size_t bracket = slice_find(host, ']');
    struct slice port = slice_from(host, bracket < host.n ? bracket : 0);
    host.n -= port.n - slice_find(port, ':');
    while (list.n) {
        size_t comma = slice_find(list, ',');
        if (slice_ieq(host, slice_trim(slice(list.p, comma)))) return true;
        list = slice_from(list, comma + 1);
    }
    return false;
}

// Query strings end up in other people's logs, so a token must not be in one (A5).
static bool query_has_token(struct slice query) {
    static const struct slice names[] = {
        { "token", 5 }, { "access_token", 12 }, { "api_key", 7 }, { "authorization", 13 }
    };
    while (query.n) {
        size_t end = slice_find(query, '&');
        struct slice pair = slice(query.p, end);
        struct slice key = slice(pair.p, slice_find(pair, '='));
        for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
            if (slice_ieq(key, names[i])) return true;
        if (memmem(pair.p, pair.n, "wh_", 3) && pair.n >= TOKEN_TEXT) return true;
        query = slice_from(query, end + 1);
    }
    return false;
}

static void route(struct api *api, struct exchange *exchange) {
    bool fits[ROUTES] = { false }, any = false;
    struct slice parts[PARTS_MAX];
    for (size_t i = 0; i < ROUTES; i++) {
        fits[i] = path_matches(routes[i].path, exchange->path, parts);
        any = any || fits[i];
        if (!fits[i] || !method_matches(routes[i].method, exchange->method)) continue;
        if (!routes[i].scope || api_authorize(api, exchange, routes[i].scope))
            routes[i].handle(api, exchange, parts);
        return;
    }
    if (any)
        refuse_method(exchange, fits);
    else
        api_say(exchange, 404, ERR_NOTFOUND, "not_found", "nothing has this path");
}

static void on_request(void *user, struct exchange *exchange) {
    struct api *api = user;
    if (!host_allowed(api, exchange))
        api_say(exchange, 421, ERR_DENIED, "misdirected", "this server has another name");
    else if (query_has_token(exchange->query))
        api_say(exchange, 400, ERR_INPUT, "token_in_query",
                "a token belongs into the Authorization header");
    else
        route(api, exchange);
}

// --- readers ---

struct store_reader *api_keys(struct api *api, struct fail *fail) {
    if (!api->keys) api->keys = store_reader_open(api->opts.store_dir, fail);
    return api->keys;
}

int64_t api_hook_number(struct store_reader *reader, struct slice name) {
    int64_t number;
    store_reader_hook_number(reader, name, &number, NULL);
    return number;
}

// --- answers of the journal ---

static void on_accepted(struct api *api, struct intake *intake) {
    ingest_answer(intake->user);
    api_settled(api);
}

static void on_messages(void *user, struct list *messages) {
    struct api *api = user;
    struct list *link;
    while ((link = list_pop(messages))) {
        struct message *message = list_item(link, struct message, link);
        if (message->kind == MESSAGE_ACCEPTED)
            on_accepted(api, list_item(link, struct intake, message.link));
        else if (message->kind == MESSAGE_ANSWER)
            api_command_answered(api, list_item(link, struct command, message.link));
        else
            message_discard(message);
    }
}

// --- the end ---

// libuv may still touch the inbox's handle until the current round of close
// callbacks ends; one more handle, closed after it, makes sure of that.
static void on_last_closed(uv_handle_t *handle) {
    free(handle->data);
}

static void on_inbox_turn_over(uv_handle_t *handle) {
    struct api *api = handle->data;
    uv_timer_init(api->loop, &api->last);
    api->last.data = api;
    uv_close((uv_handle_t *)&api->last, on_last_closed);
}

// A wait-idle command may still be with the journal; its answer comes when that stops.
static void free_when_unused(struct api *api) {
    if (api->idlers_count) {
        uv_unref((uv_handle_t *)&api->inbox.wake);
        return;
    }
    inbox_close(&api->inbox);
    uv_close((uv_handle_t *)&api->last, on_inbox_turn_over);
}

static void close_when_done(struct api *api) {
    if (!api->closing || api->told || api->open_servers || api->pending) return;
    void (*closed)(void *) = api->closed;
    void *user = api->closed_user;
    api->told = true;
    hook_set_unref(api->hooks);
    if (api->keys) store_reader_close(api->keys);
    if (api->reader) store_reader_close(api->reader);
    free_when_unused(api);
    if (closed) closed(user);
}

void api_idler_settled(struct api *api) {
    assert(api->idlers_count);
    api->idlers_count--;
    if (api->told) free_when_unused(api);
}

void api_settled(struct api *api) {
    assert(api->pending);
    api->pending--;
    close_when_done(api);
}

static void on_server_closed(void *user) {
    struct api *api = user;
    api->open_servers--;
    close_when_done(api);
}

void api_close(struct api *api, int64_t drain_ms, void (*closed)(void *user), void *user) {
    assert(!api->closing);
    api->closing = true;
    api->closed = closed;
    api->closed_user = user;
    api_dismiss_idlers(api);
    struct server *tcp = api->tcp, *local = api->local;
    if (tcp) server_close(tcp, drain_ms, on_server_closed, api);
    if (local) server_close(local, drain_ms, on_server_closed, api);
    if (!tcp && !local) close_when_done(api);
}

// --- the beginning ---

static bool start_server(struct api *api, struct server **server, const struct server_opts *opts,
                         struct fail *fail) {
    *server = server_new(api->loop, opts, fail);
    if (*server) api->open_servers++;
    return *server != NULL;
}

static bool start_servers(struct api *api, struct fail *fail) {
    struct server_opts opts = { .body_max = api->opts.body_max,
                                .on_request = on_request,
                                .user = api };
    if (api->opts.socket_path) {
        opts.path = api->opts.socket_path;
        if (!start_server(api, &api->local, &opts, fail)) return false;
        opts.path = NULL;
    }
    opts.host = api->opts.host;
    opts.port = api->opts.port;
    return !opts.host || start_server(api, &api->tcp, &opts, fail);
}

struct api *api_new(uv_loop_t *loop, const struct api_opts *opts, struct fail *fail) {
    struct api *api = calloc(1, sizeof *api);
    if (!api || inbox_init(&api->inbox, loop, on_messages, message_discard, api)) {
        free(api);
        fail_set(fail, ERR_NOMEM, 0, "no_memory", "no memory for the API");
        return NULL;
    }
    api->loop = loop;
    api->opts = *opts;
    list_init(&api->reads);
    list_init(&api->idlers);
    uv_timer_init(loop, &api->last);
    api->last.data = api;
    if (start_servers(api, fail)) return api;
    api_close(api, 0, NULL, NULL);
    return NULL;
}

int api_port(const struct api *api) {
    return api->tcp ? server_port(api->tcp) : 0;
}

void api_set_hooks(struct api *api, struct hook_set *set) {
    hook_set_ref(set);
    hook_set_unref(api->hooks);
    api->hooks = set;
}

void api_set_ready(struct api *api, bool ready) {
    api->ready = ready;
}
