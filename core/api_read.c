// Reading the store for answers. A list over millions of rows may take its
// time, so it runs on libuv's pool, one read at a time, while the loop goes on
// taking events. A read's memory is its exchange's.
#include <assert.h>

#include "api_read_inner.h"
#include "clock.h"

enum { DETAIL_ARENA_MAX = 32 << 20 };

// --- the pool ---

static void start_next(struct api *api);

static void on_work(uv_work_t *work) {
    struct read *read = work->data;
    struct api *api = read->api;
    if (!api->reader) api->reader = store_reader_open(api->opts.store_dir, &read->fail);
    if (api->reader)
        read->run(read);
    else
        read->status = 503;
    if (read->fail.code != OK && !read->status) read->status = http_problem_status(&read->fail);
    if (read->out.failed) {
        fail_set(&read->fail, ERR_LIMIT, 0, "too_large", "the answer is too large");
        read->status = 500;
    }
}

static void on_work_done(uv_work_t *work, int status) {
    struct read *read = work->data;
    struct api *api = read->api;
    (void)status;
    list_remove(&read->link);
    struct buf out = read->out;
    read->done(read); // may free the read with its exchange
    buf_deinit(&out);
    start_next(api);
    api_settled(api);
}

static void start_next(struct api *api) {
    if (list_empty(&api->reads)) return;
    struct read *first = list_item(api->reads.next, struct read, link);
    first->work.data = first;
    uv_queue_work(api->loop, &first->work, on_work, on_work_done);
}

static void answer(struct read *read) {
    if (read->fail.code != OK)
        api_refuse(read->exchange, read->status, &read->fail, (struct header){ 0 });
    else
        api_reply(read->exchange, 200, buf_slice(&read->out));
}

struct read *api_read_new(struct api *api, struct exchange *exchange,
                          void (*run)(struct read *read)) {
    struct read *read = arena_zalloc(exchange->arena, 1, sizeof *read);
    if (!read) {
        api_say(exchange, 503, ERR_NOMEM, "no_memory", "out of memory");
        return NULL;
    }
    *read = (struct read){
        .api = api, .exchange = exchange, .arena = exchange->arena, .run = run, .done = answer
    };
    buf_init(&read->out, ANSWER_MAX);
    return read;
}

void api_read_start(struct read *read) {
    struct api *api = read->api;
    bool first = list_empty(&api->reads);
    list_init(&read->link);
    list_push(&api->reads, &read->link);
    api->pending++;
    if (first) start_next(api);
}

// --- JSON ---

void api_add_text(struct buf *out, const char *key, struct slice value) {
    buf_printf(out, ",\"%s\":", key);
    buf_json(out, value);
}

void api_add_time(struct buf *out, const char *key, int64_t ms) {
    char text[CLOCK_TEXT];
    if (!ms) return;
    clock_format(ms, text);
    buf_printf(out, ",\"%s\":\"%s\"", key, text);
}

static void add_delivery(struct buf *out, const struct store_delivery *d) {
    buf_printf(out, "{\"id\":%lld,\"state\":\"%s\",\"attempts_made\":%u", (long long)d->delivery,
               delivery_state_names[d->state], d->attempts);
    api_add_text(out, "webhook", d->hook);
    api_add_text(out, "version", d->version);
    api_add_text(out, "event", d->event_id);
    api_add_text(out, "type", d->type);
    if (d->org.n) api_add_text(out, "org", d->org);
    api_add_time(out, "created", d->created_ms);
    if (d->state == DELIVERY_PENDING) api_add_time(out, "due", d->due_ms);
    api_add_time(out, "settled", d->settled_ms);
    if (d->reason.n) api_add_text(out, "reason", d->reason);
    if (d->unresolved.n) api_add_text(out, "unresolved", d->unresolved);
    if (d->last_status) buf_printf(out, ",\"last_status\":%d", d->last_status);
    if (d->last_error.n) api_add_text(out, "last_error", d->last_error);
}

// --- lists of deliveries ---

static bool find_webhook(struct read *read) {
    struct choice *choice = &read->choice;
    if (!choice->webhook.n) return true;
    choice->filter.hook = api_hook_number(read->api->reader, choice->webhook);
    return choice->filter.hook != 0;
}

static bool on_listed(void *user, const struct store_delivery *d) {
    struct read *read = user;
    if (read->count++) buf_byte(&read->out, ',');
    add_delivery(&read->out, d);
    buf_byte(&read->out, '}');
    return true;
}

// A page ends when it is full or when enough was looked at: `next` goes on either way.
static void run_list(struct read *read) {
    int64_t next = 0;
    buf_add(&read->out, S("{\"deliveries\":["));
    if (find_webhook(read))
        store_reader_list(read->api->reader, &read->choice.filter, (size_t)read->choice.limit,
                          on_listed, read, &next, &read->fail);
    buf_add(&read->out, S("],\"next\":"));
    if (next)
        buf_printf(&read->out, "\"%lld\"}", (long long)next);
    else
        buf_add(&read->out, S("null}"));
}

void api_get_deliveries(struct api *api, struct exchange *exchange, const struct slice *parts) {
    (void)parts;
    struct fail fail = { 0 };
    struct read *read = api_read_new(api, exchange, run_list);
    if (!read) return;
    if (choice_from_query(&read->choice, exchange->query, exchange->arena, &fail))
        api_read_start(read);
    else
        api_refuse(exchange, 422, &fail, (struct header){ 0 });
}

// --- one delivery ---

static void add_request(struct read *read, struct slice packed) {
    struct request request;
    struct arena arena;
    struct buf *out = &read->out;
    arena_init(&arena, DETAIL_ARENA_MAX);
    if (packed.n && request_unpack(packed, &request, &arena)) {
        buf_add(out, S(",\"request\":{\"method\":"));
        buf_json(out, request.method);
        api_add_text(out, "url", request_mask(request.url, &arena));
        buf_add(out, S(",\"headers\":["));
        for (size_t i = 0; i < request.headers_count; i++) {
            buf_add(out, i ? S(",[") : S("["));
            buf_json(out, request.headers[i].name);
            buf_byte(out, ',');
            buf_json(out, request_mask(request.headers[i].value, &arena));
            buf_byte(out, ']');
        }
        buf_byte(out, ']');
        if (request.has_body) api_add_text(out, "body", request_mask(request.body, &arena));
        buf_byte(out, '}');
    }
    arena_deinit(&arena);
}

static bool on_detail(void *user, const struct store_delivery *d) {
    struct read *read = user;
    add_delivery(&read->out, d);
    add_request(read, d->request);
    buf_add(&read->out, S(",\"attempts\":["));
    read->last = d->delivery;
    return false;
}

static bool on_attempt(void *user, const struct attempt *a) {
    struct read *read = user;
    struct buf *out = &read->out;
    buf_printf(out, "%s{\"number\":%u,\"status\":%d", read->count++ ? "," : "", a->number,
               a->status);
    api_add_time(out, "started", a->started_ms);
    buf_printf(
        out, ",\"dns_us\":%d,\"connect_us\":%d,\"tls_us\":%d,\"first_byte_us\":%d,\"total_us\":%d",
        a->dns_us, a->connect_us, a->tls_us, a->first_byte_us, a->total_us);
    if (a->error_type[0]) api_add_text(out, "error_type", slice_str(a->error_type));
    if (a->error[0]) api_add_text(out, "error", slice_str(a->error));
    if (a->response_incomplete) buf_add(out, S(",\"response_incomplete\":true"));
    api_add_text(out, "sent_headers", a->sent_headers);
    api_add_text(out, "response_headers", a->response_headers);
    api_add_text(out, "response_body", a->response_body);
    buf_byte(out, '}');
    return true;
}

static void run_detail(struct read *read) {
    struct store_reader *reader = read->api->reader;
    int64_t delivery = read->choice.filter.delivery;
    if (store_reader_list(reader, &read->choice.filter, 1, on_detail, read, NULL, &read->fail) !=
        OK)
        return;
    if (!read->last) {
        fail_set(&read->fail, ERR_NOTFOUND, 0, "not_found", "there is no such delivery");
        return;
    }
    store_reader_attempts(reader, delivery, on_attempt, read, &read->fail);
    buf_add(&read->out, S("]}"));
}

void api_get_delivery(struct api *api, struct exchange *exchange, const struct slice *parts) {
    int64_t delivery;
    if (!delivery_number(parts[0], &delivery)) {
        api_say(exchange, 404, ERR_NOTFOUND, "not_found", "there is no such delivery");
        return;
    }
    struct read *read = api_read_new(api, exchange, run_detail);
    if (!read) return;
    read->choice.filter.delivery = delivery;
    api_read_start(read);
}

// --- moves by filter: the webhook's number first, then the command ---

static void run_number(struct read *read) {
    if (!find_webhook(read))
        fail_set(&read->fail, ERR_NOTFOUND, 0, "not_found", "the store knows no such webhook");
}

static void move(struct read *read) {
    if (read->fail.code != OK)
        answer(read);
    else
        api_send_move(read->api, read->exchange, read->verb, &read->choice.filter);
}

static void post_move(struct api *api, struct exchange *exchange, enum command_verb verb) {
    struct fail fail = { 0 };
    struct read *read = api_read_new(api, exchange, run_number);
    if (!read) return;
    read->verb = verb;
    read->done = move;
    if (choice_from_json(&read->choice, exchange->body, exchange->arena, &fail))
        api_read_start(read);
    else
        api_refuse(exchange, 422, &fail, (struct header){ 0 });
}

void api_post_redeliver(struct api *api, struct exchange *exchange, const struct slice *parts) {
    (void)parts;
    post_move(api, exchange, COMMAND_REDELIVER);
}

void api_post_drop(struct api *api, struct exchange *exchange, const struct slice *parts) {
    (void)parts;
    post_move(api, exchange, COMMAND_DROP);
}

// --- tokens ---

static void on_token(void *user, struct slice id, struct slice label, struct slice scopes,
                     int64_t created_ms, int64_t expires_ms) {
    struct read *read = user;
    buf_add(&read->out, read->count++ ? S(",{\"id\":") : S("{\"id\":"));
    buf_json(&read->out, id);
    api_add_text(&read->out, "label", label);
    api_add_text(&read->out, "scopes", scopes);
    api_add_time(&read->out, "created", created_ms);
    api_add_time(&read->out, "expires", expires_ms);
    buf_byte(&read->out, '}');
}

static void run_tokens(struct read *read) {
    buf_add(&read->out, S("{\"tokens\":["));
    store_reader_tokens(read->api->reader, on_token, read, &read->fail);
    buf_add(&read->out, S("]}"));
}

void api_get_tokens(struct api *api, struct exchange *exchange, const struct slice *parts) {
    (void)parts;
    struct read *read = api_read_new(api, exchange, run_tokens);
    if (read) api_read_start(read);
}
