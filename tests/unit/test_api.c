// The API over real sockets, with a journal of the test's own: an inbox on the
// same loop that keeps events in a real store and answers as it is told to.
#include "api.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "check.h"
#include "log.h"
#include "message.h"
#include "store.h"
#include "token.h"

// --- the rig: API, journal and store on one thread ---

static struct rig {
    uv_loop_t loop;
    uv_async_t stop;
    pthread_t thread;
    struct api *api;
    struct inbox journal;
    struct store *store;
    struct hook_set *set;
    char dir[64], socket[80];
    int port;
    struct list idlers;
    atomic_int idlers_count;
    // What the journal shall do and did; the tests look between requests only.
    enum intake_result result;
    bool say; // answer with `result`
    atomic_int intakes;
    char id[160], trace[64];
    int hops;
    enum command_verb verb;
    struct store_filter filter;
    char hook[80], type[80];
} rig;

static void remember(const struct event *event) {
    snprintf(rig.id, sizeof rig.id, "%.*s", SLICE_FMT(event->id));
    snprintf(rig.trace, sizeof rig.trace, "%.*s", SLICE_FMT(event->trace));
    rig.hops = event->hops;
}

static void take_intake(struct intake *intake) {
    static const enum intake_result results[] = { INTAKE_STORED, INTAKE_DUPLICATE,
                                                  INTAKE_CONFLICT };
    struct fail fail = { 0 };
    atomic_fetch_add(&rig.intakes, 1);
    store_begin(rig.store, &fail);
    for (size_t i = 0; i < intake->count; i++) {
        struct intake_item *item = &intake->items[i];
        enum store_put put = STORE_NEW;
        int64_t number;
        struct store_target target = { .state = DELIVERY_PARKED, .version = S("v1") };
        remember(item->event);
        item->result = rig.result;
        if (rig.say) continue;
        store_hook_number(rig.store, S("crm"), &target.hook, &fail);
        CHECK_INT(store_put_event(rig.store, item->event, &target, 1, &put, &number, &fail), OK);
        item->result = results[put];
    }
    CHECK_INT(store_commit(rig.store, &fail), OK);
    intake->retry_after_ms = 2500;
    intake->message.kind = MESSAGE_ACCEPTED;
    inbox_send(intake->reply, &intake->message);
}

static enum err run_token(struct command *c) {
    if (c->verb == COMMAND_REVOKE_TOKEN)
        return store_revoke_token(rig.store, c->token_id, &c->fail);
    return store_put_token(rig.store, c->token_id, c->token_hash, c->token_label, c->token_scopes,
                           1, c->token_expires_ms, &c->fail);
}

static void take_command(struct command *c) {
    rig.verb = c->verb;
    rig.filter = c->filter;
    snprintf(rig.hook, sizeof rig.hook, "%.*s", SLICE_FMT(c->hook));
    snprintf(rig.type, sizeof rig.type, "%.*s", SLICE_FMT(c->filter.type));
    if (c->verb == COMMAND_WAIT_IDLE && c->wait_ms == 7) {
        list_push(&rig.idlers, &c->message.link);
        rig.idlers_count++;
        return;
    }
    if (c->verb == COMMAND_PUT_TOKEN || c->verb == COMMAND_REVOKE_TOKEN) {
        struct fail ignored;
        store_begin(rig.store, &ignored);
        if (run_token(c) == OK)
            store_commit(rig.store, &c->fail);
        else
            store_rollback(rig.store);
    }
    c->moved = 3;
    if (c->verb == COMMAND_STATUS) c->text = S("{\"pending\":0}");
    if (slice_eq(c->hook, S("stuck"))) fail_set(&c->fail, ERR_CONFLICT, 0, "busy", "not now");
    c->message.kind = MESSAGE_ANSWER;
    inbox_send(c->reply, &c->message);
}

static void on_messages(void *user, struct list *messages) {
    (void)user;
    struct list *link;
    while ((link = list_pop(messages))) {
        struct message *message = list_item(link, struct message, link);
        if (message->kind == MESSAGE_INTAKE)
            take_intake(list_item(link, struct intake, message.link));
        else
            take_command(list_item(link, struct command, message.link));
    }
}

static void on_closed(void *user) {
    (void)user;
    struct list *link;
    while ((link = list_pop(&rig.idlers))) {
        struct command *c = list_item(link, struct command, message.link);
        c->message.kind = MESSAGE_ANSWER;
        inbox_send(c->reply, &c->message);
    }
    inbox_close(&rig.journal);
    uv_close((uv_handle_t *)&rig.stop, NULL);
}

static void on_stop(uv_async_t *async) {
    (void)async;
    api_close(rig.api, 5000, on_closed, NULL);
}

static void *rig_main(void *arg) {
    (void)arg;
    uv_run(&rig.loop, UV_RUN_DEFAULT);
    return NULL;
}

static void rig_start(bool token_required, const char *hosts) {
    struct fail fail = { 0 };
    memset(&rig, 0, sizeof rig);
    log_init(LOG_OFF, false);
    snprintf(rig.dir, sizeof rig.dir, "/tmp/tuma-test-api-XXXXXX");
    CHECK(mkdtemp(rig.dir) != NULL);
    snprintf(rig.socket, sizeof rig.socket, "%s/control.sock", rig.dir);
    rig.store = store_open(&(struct store_opts){ .dir = rig.dir, .create = true }, &fail);
    if (!rig.store) printf("# store: %s\n", fail.text);
    list_init(&rig.idlers);
    uv_loop_init(&rig.loop);
    uv_async_init(&rig.loop, &rig.stop, on_stop);
    inbox_init(&rig.journal, &rig.loop, on_messages, message_discard, NULL);
    rig.api = api_new(&rig.loop,
                      &(struct api_opts){ .host = "127.0.0.1",
                                          .socket_path = rig.socket,
                                          .token_required = token_required,
                                          .allowed_hosts = hosts,
                                          .store_dir = rig.dir,
                                          .journal = &rig.journal },
                      &fail);
    if (!rig.api) printf("# api: %s\n", fail.text), exit(1);
    rig.port = api_port(rig.api);
    rig.set = hook_set_new(NULL, 0);
    api_set_hooks(rig.api, rig.set);
    api_set_ready(rig.api, true);
    pthread_create(&rig.thread, NULL, rig_main, NULL);
}

static void remove_dir(void) {
    DIR *d = opendir(rig.dir);
    char path[400];
    for (struct dirent *e; d && (e = readdir(d));) {
        snprintf(path, sizeof path, "%s/%s", rig.dir, e->d_name);
        unlink(path);
    }
    closedir(d);
    rmdir(rig.dir);
}

static void rig_stop(void) {
    uv_async_send(&rig.stop);
    pthread_join(rig.thread, NULL);
    CHECK_INT(uv_loop_close(&rig.loop), 0);
    hook_set_unref(rig.set);
    store_close(rig.store);
    remove_dir();
}

// --- the client ---

static int dial_tcp(void) {
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons((uint16_t)rig.port) };
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    CHECK_INT(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
    return fd;
}

static int dial_control(void) {
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    snprintf(address.sun_path, sizeof address.sun_path, "%s", rig.socket);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    CHECK_INT(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
    return fd;
}

static struct buf got;

static int talk(int fd, const char *method, const char *target, const char *headers,
                struct slice body) {
    struct buf text;
    struct timeval limit = { 20, 0 };
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    buf_init(&text, 32 << 20);
    buf_printf(
        &text,
        "%s %s HTTP/1.1\r\nHost: localhost:1\r\nConnection: close\r\n%sContent-Length: %zu\r\n\r\n",
        method, target, headers, body.n);
    buf_add(&text, body);
    for (size_t at = 0; at < text.n;) {
        ssize_t n = send(fd, text.p + at, text.n - at, MSG_NOSIGNAL);
        if (n <= 0) break;
        at += (size_t)n;
    }
    buf_deinit(&text);
    buf_deinit(&got);
    buf_init(&got, 64 << 20);
    for (;;) {
        char *to = buf_reserve(&got, 64 * 1024);
        ssize_t n = recv(fd, to, 64 * 1024, 0);
        if (n <= 0) break;
        got.n += (size_t)n;
    }
    close(fd);
    return got.n > 12 ? atoi(got.p + 9) : 0;
}

#define JSON_TYPE "Content-Type: application/json\r\n"

static int post(const char *headers, struct slice body) {
    return talk(dial_tcp(), "POST", "/v1/events", headers, body);
}

static int control(const char *method, const char *target, const char *body) {
    return talk(dial_control(), method, target, body ? JSON_TYPE : "", slice_str(body));
}

static bool got_has(const char *text) {
    return memmem(got.p, got.n, text, strlen(text)) != NULL;
}

#define EVENT "{\"id\":\"e1\",\"type\":\"call.completed\",\"tags\":{\"A\":1}}"

// --- ingest ---

static void one_event_is_acknowledged_by_the_journal(void) {
    rig_start(false, NULL);
    CHECK_INT(post(JSON_TYPE, S(EVENT)), 202);
    CHECK(got_has("\r\n\r\n{\"id\":\"e1\"}"));
    CHECK_INT(post(JSON_TYPE, S(EVENT)), 200);
    CHECK(got_has("{\"id\":\"e1\",\"duplicate\":true}"));
    CHECK_INT(post(JSON_TYPE, S("{\"id\":\"e1\",\"type\":\"call.completed\",\"tags\":{\"A\":2}}")),
              409);
    CHECK(got_has("urn:tuma:problem:id_conflict"));
    CHECK_INT(post(JSON_TYPE, S("{\"type\":\"call.completed\",\"tags\":{}}")), 202);
    CHECK(strncmp(rig.id, "evt_", 4) == 0 && got_has(rig.id));
    rig_stop();
}

static void the_journals_refusals_become_clean_statuses(void) {
    static const struct {
        enum intake_result result;
        int status;
        const char *type;
        bool retry;
    } rows[] = { { INTAKE_OVERLOAD, 429, "problem:overloaded", true },
                 { INTAKE_FULL, 503, "problem:storage_full", true },
                 { INTAKE_UNKNOWN, 503, "problem:outcome_unknown", true },
                 { INTAKE_CONFLICT, 409, "problem:id_conflict", false } };
    rig_start(false, NULL);
    rig.say = true;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        rig.result = rows[i].result;
        CHECK_INT(post(JSON_TYPE, S(EVENT)), rows[i].status);
        CHECK(got_has(rows[i].type));
        CHECK_INT(got_has("\r\nRetry-After: 3\r\n"), rows[i].retry);
        CHECK_INT(post(JSON_TYPE, S("[" EVENT ",{}]")), rows[i].retry ? rows[i].status : 207);
        CHECK_INT(got_has("\r\nRetry-After: 3\r\n"), rows[i].retry);
    }
    rig_stop();
}

static void problems_name_the_place(void) {
    rig_start(false, NULL);
    CHECK_INT(post(JSON_TYPE, S("{\"type\":\"call.completed\",\n \"tags\":{\"A\":nul}}")), 400);
    CHECK(got_has("Content-Type: application/problem+json"));
    CHECK(got_has(
        "\"type\":\"urn:tuma:problem:invalid_json\",\"title\":\"Bad Request\",\"status\":400"));
    CHECK(got_has("\"line\":2,\"column\":14") || got_has("\"line\":2,\"column\":15") ||
          got_has("\"line\":2,\"column\":17"));
    CHECK_INT(post(JSON_TYPE, S("{\"tags\":{}}")), 400);
    CHECK(got_has("missing_type"));
    CHECK_INT(post(JSON_TYPE, S("{\"type\":\"NOPE\",\"tags\":{}}")), 400);
    CHECK(got_has("bad_type") && got_has("\"pointer\":\"/type\""));
    CHECK_INT(post(JSON_TYPE, S("")), 400);
    CHECK_INT(post(JSON_TYPE, S("{\"a\":1}{\"b\":2}")), 400);
    CHECK_INT(post(JSON_TYPE, S("\xEF\xBB\xBF{}")), 400);
    CHECK_INT(post(JSON_TYPE, S("NaN")), 400);
    CHECK_INT(atomic_load(&rig.intakes), 0);
    rig_stop();
}

static struct slice many(struct buf *text, const char *before, const char *item, size_t times,
                         const char *after) {
    buf_init(text, 32 << 20);
    buf_add(text, slice_str(before));
    for (size_t i = 0; i < times; i++) buf_add(text, slice_str(item));
    buf_add(text, slice_str(after));
    return buf_slice(text);
}

static void limits_are_statuses(void) {
    struct buf text;
    rig_start(false, NULL);
    CHECK_INT(post(JSON_TYPE, many(&text, "{\"type\":\"a.b\",\"tags\":{\"A\":\"",
                                   "xxxxxxxxxxxxxxxx", 16384 * 41, "\"}}")),
              413); // above body_max
    buf_deinit(&text);
    CHECK_INT(post(JSON_TYPE, many(&text, "{\"type\":\"a.b\",\"tags\":{\"A\":\"",
                                   "xxxxxxxxxxxxxxxx", 65536, "\"}}")),
              413);
    CHECK(got_has("problem:too_large"));
    buf_deinit(&text);
    CHECK_INT(post(JSON_TYPE, many(&text, "{\"type\":\"a.b\",\"tags\":{\"A\":", "[", 1000, "")),
              400);
    buf_deinit(&text);
    buf_init(&text, 1 << 20);
    buf_add(&text, S("{\"type\":\"a.b\",\"tags\":{"));
    for (int i = 0; i < 2000; i++) buf_printf(&text, "%s\"k%d\":1", i ? "," : "", i);
    buf_add(&text, S("}}"));
    CHECK_INT(post(JSON_TYPE, buf_slice(&text)), 400);
    CHECK(got_has("problem:too_many_keys"));
    buf_deinit(&text);
    CHECK_INT(atomic_load(&rig.intakes), 0);
    rig_stop();
}

static void other_content_types_are_refused(void) {
    static const char *wrong[] = { "",
                                   "Content-Type: text/plain\r\n",
                                   "Content-Type: application/x-www-form-urlencoded\r\n",
                                   "Content-Type: multipart/form-data; boundary=x\r\n",
                                   "Content-Type: text/plain; application/json\r\n",
                                   "Content-Type: application/json; charset=latin1\r\n",
                                   JSON_TYPE JSON_TYPE,
                                   JSON_TYPE "Content-Encoding: gzip\r\n" };
    rig_start(false, NULL);
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        CHECK_INT(post(wrong[i], S(EVENT)), 415);
    CHECK_INT(atomic_load(&rig.intakes), 0);
    CHECK_INT(post("Content-Type: Application/JSON; charset=UTF-8\r\n", S(EVENT)), 202);
    rig_stop();
}

static void a_batch_says_what_became_of_each(void) {
    rig_start(false, NULL);
    CHECK_INT(post(JSON_TYPE, S("[" EVENT ",{\"id\":\"e2\",\"type\":\"a.b\",\"tags\":{}}]")), 202);
    CHECK(got_has("{\"results\":[{\"id\":\"e1\",\"status\":202},{\"id\":\"e2\",\"status\":202}]}"));
    CHECK_INT(post(JSON_TYPE, S("[" EVENT "]")), 202);
    CHECK(got_has("{\"results\":[{\"id\":\"e1\",\"status\":200}]}"));
    CHECK_INT(
        post(JSON_TYPE,
             S("[\n" EVENT
               ",\n{\"type\":5,\"tags\":{}},\n{\"id\":\"e3\",\"type\":\"a.b\",\"tags\":{}}]")),
        207);
    CHECK(got_has("{\"id\":\"e1\",\"status\":200},{\"status\":400,\"problem\":{"));
    CHECK(got_has("\"line\":3,") &&
          got_has("\"pointer\":\"/type\",\"item\":1}},{\"id\":\"e3\",\"status\":202}]}"));
    CHECK_INT(post(JSON_TYPE, S("[{\"id\":\"e1\",\"type\":\"other.type\",\"tags\":{}}]")), 207);
    CHECK(got_has("{\"id\":\"e1\",\"status\":409,\"problem\":{"));
    CHECK_INT(post(JSON_TYPE, S("[]")), 202);
    CHECK(got_has("{\"results\":[]}"));
    CHECK_INT(post(JSON_TYPE, S("[{},5,[]]")), 207);
    CHECK_INT(post(JSON_TYPE, S("[" EVENT)), 400);
    CHECK_INT(post(JSON_TYPE, S("[" EVENT "]]")), 400);
    int before = atomic_load(&rig.intakes);
    CHECK_INT(
        post(
            "Content-Type: application/x-ndjson\r\n",
            S("{\"id\":\"n1\",\"type\":\"a.b\",\"tags\":{}}\n\nbroken\r\n{\"id\":\"n2\",\"type\":\"a.b\",\"tags\":{}}")),
        207);
    CHECK(got_has("{\"id\":\"n1\",\"status\":202},{\"status\":400,") &&
          got_has("\"line\":3,\"column\":1,"));
    CHECK(got_has("{\"id\":\"n2\",\"status\":202}]}"));
    CHECK_INT(atomic_load(&rig.intakes), before + 1);
    rig_stop();
}

static void a_batch_holds_a_thousand(void) {
    struct buf text;
    rig_start(false, NULL);
    CHECK_INT(post(JSON_TYPE, many(&text, "[", "{\"type\":\"a.b\",\"tags\":{}},", 1000, "{}]")),
              413);
    CHECK(got_has("too_many_events"));
    CHECK_INT(atomic_load(&rig.intakes), 0);
    buf_deinit(&text);
    CHECK_INT(post(JSON_TYPE, many(&text, "[", "{\"type\":\"a.b\",\"tags\":{}},", 999, "{}]")),
              207);
    CHECK(got_has("\"item\":999}}]}"));
    buf_deinit(&text);
    CHECK_INT(post("Content-Type: application/x-ndjson\r\n", many(&text, "", "x\n", 1001, "")),
              413);
    buf_deinit(&text);
    rig_stop();
}

static void an_idempotency_key_is_the_id(void) {
    rig_start(false, NULL);
    CHECK_INT(post(JSON_TYPE "Idempotency-Key: key-1\r\n", S("{\"type\":\"a.b\",\"tags\":{}}")),
              202);
    CHECK_TEXT(slice_str(rig.id), "key-1");
    CHECK_INT(post(JSON_TYPE "Idempotency-Key: \"key-1\"\r\n", S("{\"type\":\"a.b\",\"tags\":{}}")),
              200);
    CHECK_INT(post(JSON_TYPE "Idempotency-Key: key-1\r\n", S("{\"type\":\"a.c\",\"tags\":{}}")),
              409);
    CHECK_INT(post(JSON_TYPE "Idempotency-Key: key-2\r\n", S(EVENT)), 202);
    CHECK_TEXT(slice_str(rig.id), "e1");
    CHECK_INT(post(JSON_TYPE "Idempotency-Key: a.b\r\n", S(EVENT)), 400);
    CHECK(got_has("\"header\":\"idempotency-key\""));
    CHECK_INT(post(JSON_TYPE "Idempotency-Key: \r\n", S(EVENT)), 400);
    CHECK_INT(post(JSON_TYPE "Idempotency-Key: key-3\r\n", S("[" EVENT "]")), 400);
    rig_stop();
}

static void cloud_events_in_three_shapes(void) {
    rig_start(false, NULL);
    const char *structured = "Content-Type: application/cloudevents+json; charset=utf-8\r\n";
    const char *batch = "Content-Type: application/cloudevents-batch+json\r\n";
#define CLOUD(id)                                                                                  \
    "{\"specversion\":\"1.0\",\"id\":\"" id                                                        \
    "\",\"source\":\"/x\",\"type\":\"a.b\",\"data\":{\"A\":1}}"
    CHECK_INT(post(structured, S(CLOUD("c1"))), 202);
    CHECK_TEXT(slice_str(rig.id), "c1");
    CHECK_INT(post(structured, S(EVENT)), 400);
    CHECK(got_has("bad_specversion"));
    CHECK_INT(post(batch, S("[" CLOUD("c2") "," CLOUD("c3") "]")), 202);
    CHECK_INT(post(batch, S(CLOUD("c4"))), 400);
    CHECK_INT(post(JSON_TYPE
                   "ce-specversion: 1.0\r\nce-type: a.b\r\nce-id: c%2D5\r\nce-source: /x\r\n",
                   S("{\"A\":1}")),
              202);
    CHECK_TEXT(slice_str(rig.id), "c-5");
    CHECK_INT(post(JSON_TYPE "ce-specversion: 0.3\r\nce-type: a.b\r\nce-id: c6\r\n", S("{}")), 400);
    CHECK(got_has("\"header\":\"ce-specversion\""));
    CHECK_INT(post(JSON_TYPE "ce-specversion: 1.0\r\nce-type: A\r\nce-id: c6\r\n", S("{}")), 400);
    CHECK(got_has("\"header\":\"ce-type\""));
    CHECK_INT(post("ce-specversion: 1.0\r\nce-type: a.b\r\nce-id: c7\r\n", S("")), 202);
    rig_stop();
}

static void headers_go_along(void) {
#define TRACE "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    rig_start(false, NULL);
    CHECK_INT(post(JSON_TYPE "traceparent: " TRACE "\r\nwebhook-hop: 3\r\n", S(EVENT)), 202);
    CHECK_TEXT(slice_str(rig.trace), TRACE);
    CHECK_INT(rig.hops, 3);
    CHECK_INT(post(JSON_TYPE "traceparent: 00-zz\r\n", S("{\"type\":\"a.b\",\"tags\":{}}")), 202);
    CHECK_INT(strlen(rig.trace), 0);
    CHECK_INT(rig.hops, 0);
    static const char *loops[] = { "4", "260", "99999999999999999999", "-1",
                                   "x", "",    "1\r\nwebhook-hop: 1" };
    for (size_t i = 0; i < sizeof loops / sizeof loops[0]; i++) {
        char header[160];
        snprintf(header, sizeof header, JSON_TYPE "webhook-hop: %s\r\n", loops[i]);
        CHECK_INT(post(header, S(EVENT)), 400);
        CHECK(got_has("\"header\":\"webhook-hop\""));
    }
    rig_stop();
}

// --- routes ---

static void says_whether_it_is_alive_and_ready(void) {
    rig_start(true, NULL);
    CHECK_INT(talk(dial_tcp(), "GET", "/healthz", "", S("")), 200);
    CHECK_INT(talk(dial_tcp(), "HEAD", "/healthz", "", S("")), 200);
    CHECK_INT(talk(dial_tcp(), "GET", "/readyz", "", S("")), 200);
    api_set_ready(rig.api, false);
    CHECK_INT(talk(dial_tcp(), "GET", "/healthz", "", S("")), 200);
    CHECK_INT(talk(dial_tcp(), "GET", "/readyz", "", S("")), 503);
    CHECK(got_has("not_ready"));
    CHECK_INT(control("POST", "/v1/events", EVENT), 503);
    CHECK(got_has("Retry-After: 1"));
    rig_stop();
}

static void unknown_paths_and_methods(void) {
    rig_start(false, NULL);
    static const char *nothing[] = { "/",
                                     "/v1",
                                     "/V1/events",
                                     "/v1/events/",
                                     "/v1/Events",
                                     "/v1/events;x",
                                     "/v1/webhooks/a/b/c",
                                     "/v1/deliveries/1/2/3",
                                     "/metrics",
                                     "*" };
    for (size_t i = 0; i < sizeof nothing / sizeof nothing[0]; i++)
        CHECK_INT(talk(dial_control(), strcmp(nothing[i], "*") ? "GET" : "OPTIONS", nothing[i], "",
                       S("")),
                  404);
    CHECK_INT(talk(dial_tcp(), "GET", "/v1/events", "", S("")), 405);
    CHECK(got_has("\r\nAllow: POST\r\n"));
    CHECK_INT(talk(dial_tcp(), "DELETE", "/v1/tokens", "", S("")), 405);
    CHECK(got_has("\r\nAllow: GET, HEAD, POST\r\n"));
    CHECK_INT(talk(dial_tcp(), "OPTIONS", "/v1/events", "Origin: https://evil\r\n", S("")), 405);
    CHECK(!got_has("Access-Control"));
    rig_stop();
}

static void the_host_must_be_allowed_where_configured(void) {
    rig_start(false, "tuma.example, localhost,[::1]");
    CHECK_INT(post(JSON_TYPE, S(EVENT)), 202);
    int fd = dial_tcp();
    struct slice evil =
        S("GET /healthz HTTP/1.1\r\nHost: evil\r\nX-Forwarded-Host: localhost\r\n\r\n");
    CHECK_INT(send(fd, evil.p, evil.n, 0), evil.n);
    shutdown(fd, SHUT_WR);
    char answer[32] = "";
    CHECK(recv(fd, answer, 31, MSG_WAITALL) > 12);
    CHECK(strstr(answer, " 421 ") != NULL);
    close(fd);
    rig_stop();
}

// --- tokens ---

static char token_text[128], token_id[32];

static void make_token(const char *body) {
    CHECK_INT(control("POST", "/v1/tokens", body), 201);
    const char *at = memmem(got.p, got.n, "\"token\":\"", 9),
               *id = memmem(got.p, got.n, "\"id\":\"", 6);
    CHECK(at && id);
    if (!at || !id) return;
    snprintf(token_text, sizeof token_text, "%.*s", TOKEN_TEXT, at + 9);
    snprintf(token_id, sizeof token_id, "%.*s", TOKEN_ID, id + 6);
}

static int post_with(const char *scheme, const char *token) {
    char headers[9000];
    snprintf(headers, sizeof headers, JSON_TYPE "Authorization: %s%s\r\n", scheme, token);
    return post(headers, S("{\"type\":\"a.b\",\"tags\":{}}"));
}

static int get_with(const char *method, const char *target, const char *token) {
    char headers[256];
    snprintf(headers, sizeof headers, "Authorization: Bearer %s\r\n", token);
    return talk(dial_tcp(), method, target, headers, S(""));
}

static void a_token_opens_what_its_scopes_say(void) {
    rig_start(true, NULL);
    CHECK_INT(post(JSON_TYPE, S(EVENT)), 401);
    CHECK(got_has("\r\nWWW-Authenticate: Bearer"));
    make_token("{\"label\":\"shop\",\"scopes\":[\"ingest\"]}");
    CHECK_INT(post_with("Bearer ", token_text), 202);
    CHECK_INT(post_with("bearer ", token_text), 202);
    CHECK_INT(get_with("GET", "/v1/webhooks", token_text), 403);
    CHECK_INT(get_with("POST", "/v1/redeliver", token_text), 403);
    char ingest[128];
    strcpy(ingest, token_text);
    make_token("{\"scopes\":\"read\"}");
    CHECK_INT(post_with("Bearer ", token_text), 403);
    CHECK_INT(get_with("GET", "/v1/webhooks", token_text), 200);
    CHECK_INT(get_with("POST", "/v1/drop", token_text), 403);
    CHECK_INT(get_with("GET", "/v1/tokens", token_text), 403);
    make_token("{\"scopes\":\"admin\"}");
    CHECK_INT(get_with("GET", "/v1/tokens", token_text), 200);
    CHECK(got_has("\"label\":\"shop\"") && !got_has(token_text) && !got_has(ingest));
    CHECK_INT(get_with("GET", "/v1/status", token_text), 200);
    CHECK_INT(post_with("Bearer ", token_text), 202);
    // Revoked and expired tokens end at once.
    char target[64];
    snprintf(target, sizeof target, "/v1/tokens/%s", token_id);
    CHECK_INT(control("DELETE", target, NULL), 200);
    CHECK_INT(get_with("GET", "/v1/status", token_text), 401);
    CHECK_INT(control("DELETE", "/v1/tokens/nosuchtoken1", NULL), 404);
    CHECK_INT(control("POST", "/v1/tokens", "{\"scopes\":\"root\"}"), 422);
    CHECK_INT(control("POST", "/v1/tokens", "{\"scopes\":[]}"), 422);
    CHECK_INT(control("POST", "/v1/tokens", "{\"expires_in_s\":-1}"), 422);
    CHECK_INT(control("POST", "/v1/tokens", "{\"label\":5}"), 422);
    CHECK_INT(control("POST", "/v1/tokens", "{"), 422);
    rig_stop();
}

static void wrong_tokens_get_401_then_429(void) {
    char long_token[8001];
    memset(long_token, 'a', 8000);
    long_token[8000] = '\0';
    rig_start(true, NULL);
    make_token("{}");
    CHECK_INT(post_with("", ""), 401);
    CHECK_INT(post_with("Basic ", "dTpw"), 401);
    CHECK_INT(post_with("Bearer ", ""), 401);
    CHECK_INT(post_with("Bearer ", long_token), 401);
    char wrong[128];
    strcpy(wrong, token_text);
    wrong[TOKEN_TEXT - 1] = wrong[TOKEN_TEXT - 1] == 'a' ? 'b' : 'a';
    CHECK_INT(post_with("Bearer ", wrong), 401);
    wrong[5] = wrong[5] == 'a' ? 'b' : 'a';
    for (int i = 0; i < 5; i++) CHECK_INT(post_with("Bearer ", wrong), 401);
    CHECK_INT(post_with("Bearer ", wrong), 429);
    CHECK(got_has("\r\nRetry-After: "));
    CHECK_INT(post_with("Bearer ", token_text), 202);
    CHECK_INT(post(JSON_TYPE, S(EVENT)), 401); // nothing was guessed
    rig_stop();
}

static void a_token_never_stands_in_a_query(void) {
    rig_start(false, NULL);
    make_token("{}");
    char target[256];
    snprintf(target, sizeof target, "/v1/events?access_token=%s", token_text);
    CHECK_INT(talk(dial_tcp(), "POST", target, JSON_TYPE, S(EVENT)), 400);
    CHECK(got_has("token_in_query") && !got_has(token_text));
    snprintf(target, sizeof target, "/v1/events?x=%s", token_text);
    CHECK_INT(talk(dial_tcp(), "POST", target, JSON_TYPE, S(EVENT)), 400);
    rig_stop();
}

static void loopback_without_a_token_takes_events_only(void) {
    rig_start(false, NULL);
    CHECK_INT(post(JSON_TYPE, S(EVENT)), 202);
    CHECK_INT(post_with("Bearer ", "wh_nonsense"), 401);
    CHECK_INT(talk(dial_tcp(), "GET", "/v1/deliveries", "", S("")), 401);
    CHECK_INT(talk(dial_tcp(), "POST", "/v1/redeliver", JSON_TYPE, S("{}")), 401);
    rig_stop();
}

// --- administration ---

static void lists_and_shows_deliveries(void) {
    rig_start(false, NULL);
    CHECK_INT(control("GET", "/v1/deliveries", NULL), 200);
    CHECK(got_has("{\"deliveries\":[],\"next\":null}"));
    CHECK_INT(post(JSON_TYPE,
                   S("[" EVENT ",{\"id\":\"e2\",\"type\":\"a.b\",\"org\":\"o1\",\"tags\":{}}]")),
              202);
    CHECK_INT(control("GET", "/v1/deliveries?limit=1", NULL), 200);
    CHECK(got_has("\"event\":\"e2\"") && !got_has("\"event\":\"e1\"") &&
          got_has("\"state\":\"parked\""));
    const char *next = memmem(got.p, got.n, "\"next\":\"", 8);
    CHECK(next != NULL);
    char target[128];
    snprintf(target, sizeof target, "/v1/deliveries?limit=1&cursor=%.*s",
             next ? (int)strspn(next + 8, "0123456789") : 0, next ? next + 8 : "");
    CHECK_INT(control("GET", target, NULL), 200);
    CHECK(got_has("\"event\":\"e1\""));
    CHECK_INT(
        control(
            "GET",
            "/v1/deliveries?webhook=crm&type=a.*&org=o1&state=pending,parked&from=2020-01-01T00:00:00Z",
            NULL),
        200);
    CHECK(got_has("\"event\":\"e2\"") && !got_has("\"event\":\"e1\""));
    CHECK_INT(control("GET", "/v1/deliveries?webhook=nosuch", NULL), 200);
    CHECK(got_has("{\"deliveries\":[],\"next\":null}"));
    CHECK_INT(control("GET", "/v1/deliveries?text=%27%3B%20DROP%20TABLE", NULL), 200);
    const char *id = NULL;
    CHECK_INT(control("GET", "/v1/deliveries", NULL), 200);
    id = memmem(got.p, got.n, "{\"id\":", 6);
    CHECK(id != NULL);
    snprintf(target, sizeof target, "/v1/deliveries/%.*s",
             id ? (int)strspn(id + 6, "0123456789") : 0, id ? id + 6 : "");
    CHECK_INT(control("GET", target, NULL), 200);
    CHECK(got_has("\"attempts\":[]}"));
    CHECK_INT(control("GET", "/v1/deliveries/999999999", NULL), 404);
    CHECK_INT(control("GET", "/v1/deliveries/x", NULL), 404);
    rig_stop();
}

static void odd_parameters_are_refused(void) {
    static const char *wrong[] = { "limit=-1",
                                   "limit=0",
                                   "limit=501",
                                   "limit=1000000000",
                                   "limit=1e2",
                                   "limit=",
                                   "limit=9223372036854775808",
                                   "cursor=x",
                                   "cursor=-1",
                                   "cursor=0",
                                   "order=%3BDROP",
                                   "state=nope",
                                   "state=",
                                   "from=yesterday",
                                   "to=-5",
                                   "a=b",
                                   "webhook=%zz",
                                   "webhook=%00",
                                   "=x" };
    char target[128];
    rig_start(false, NULL);
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        snprintf(target, sizeof target, "/v1/deliveries?%s", wrong[i]);
        CHECK_INT(control("GET", target, NULL), 422);
        CHECK(got_has("\"parameter\":"));
    }
    CHECK_INT(control("POST", "/v1/drop", "{\"limit\":5}"), 422);
    CHECK_INT(control("POST", "/v1/drop", "{\"state\":null}"), 422);
    CHECK_INT(control("POST", "/v1/drop", "[]"), 422);
    CHECK_INT(control("POST", "/v1/drop", "{\"a\""), 422);
    rig_stop();
}

static void verbs_become_commands(void) {
    rig_start(false, NULL);
    CHECK_INT(post(JSON_TYPE, S(EVENT)), 202);
    CHECK_INT(
        control(
            "POST", "/v1/redeliver",
            "{\"webhook\":\"crm\",\"state\":\"exhausted\",\"type\":\"call.*\",\"from_ms\":5,\"to_ms\":\"6\"}"),
        200);
    CHECK(got_has("{\"moved\":3}"));
    CHECK_INT(rig.verb, COMMAND_REDELIVER);
    CHECK(rig.filter.hook > 0);
    CHECK_INT(rig.filter.states, 1u << DELIVERY_EXHAUSTED);
    CHECK_INT(rig.filter.from_ms, 5);
    CHECK_INT(rig.filter.to_ms, 6);
    CHECK_TEXT(slice_str(rig.type), "call.*");
    CHECK_INT(control("POST", "/v1/drop", "{}"), 200);
    CHECK_INT(rig.verb, COMMAND_DROP);
    CHECK_INT(control("POST", "/v1/redeliver", "{\"webhook\":\"nosuch\"}"), 404);
    CHECK_INT(control("POST", "/v1/deliveries/77/redeliver", "{}"), 200);
    CHECK_INT(rig.filter.delivery, 77);
    CHECK_INT(control("POST", "/v1/deliveries/msg_abcdefgh78/drop", NULL), 200);
    CHECK_INT(rig.filter.delivery, 78);
    CHECK_INT(control("POST", "/v1/deliveries/77/explode", NULL), 404);
    static const struct {
        const char *verb, *state;
        enum command_verb command;
    } verbs[] = { { "pause", "paused", COMMAND_PAUSE },
                  { "resume", "active", COMMAND_RESUME },
                  { "release", "active", COMMAND_RESUME },
                  { "disable", "disabled", COMMAND_DISABLE } };
    for (size_t i = 0; i < 4; i++) {
        char target[64];
        snprintf(target, sizeof target, "/v1/webhooks/crm/%s", verbs[i].verb);
        CHECK_INT(control("POST", target, NULL), 200);
        CHECK(got_has("{\"webhook\":\"crm\",\"state\":\"") && got_has(verbs[i].state));
        CHECK_INT(rig.verb, verbs[i].command);
        CHECK_TEXT(slice_str(rig.hook), "crm");
    }
    CHECK_INT(control("POST", "/v1/webhooks/nosuch/pause", NULL), 404);
    CHECK_INT(control("POST", "/v1/webhooks/crm/explode", NULL), 404);
    CHECK_INT(control("GET", "/v1/status", NULL), 200);
    CHECK(got_has("{\"pending\":0}"));
    CHECK_INT(control("GET", "/v1/webhooks", NULL), 200);
    CHECK(got_has("{\"webhooks\":["));
    CHECK_INT(control("GET", "/v1/scripts", NULL), 200);
    CHECK(got_has("{\"scripts\":[]}"));
    CHECK_INT(control("POST", "/v1/wait-idle", NULL), 200);
    CHECK(got_has("{\"idle\":true}"));
    CHECK_INT(control("POST", "/v1/wait-idle", "{\"wait_ms\":\"x\"}"), 422);
    rig_stop();
}

static void *wait_for_idleness(void *status) {
    int fd = dial_control();
    struct slice text =
        S("POST /v1/wait-idle HTTP/1.1\r\nHost: x\r\nContent-Length: 13\r\n\r\n{\"wait_ms\":7}");
    send(fd, text.p, text.n, 0);
    char answer[64] = "";
    recv(fd, answer, 63, 0);
    *(int *)status = atoi(answer + 9);
    close(fd);
    return NULL;
}

static void closing_does_not_wait_for_idleness(void) {
    pthread_t thread;
    int status = 0;
    rig_start(false, NULL);
    rig.idlers_count = 0;
    pthread_create(&thread, NULL, wait_for_idleness, &status);
    while (control("GET", "/v1/status", NULL), rig.idlers_count == 0) usleep(1000);
    rig_stop();
    pthread_join(thread, NULL);
    CHECK_INT(status, 503);
}

static const struct check_case cases[] = {
    { "one event is acknowledged by the journal (A14)", one_event_is_acknowledged_by_the_journal },
    { "the journal's refusals become clean statuses (R37)",
      the_journals_refusals_become_clean_statuses },
    { "problems name the place (A11)", problems_name_the_place },
    { "limits are statuses (E18)", limits_are_statuses },
    { "other content types are refused (A12)", other_content_types_are_refused },
    { "a batch says what became of each (A13)", a_batch_says_what_became_of_each },
    { "a batch holds a thousand events (A13)", a_batch_holds_a_thousand },
    { "an Idempotency-Key is the id (A14, E22)", an_idempotency_key_is_the_id },
    { "CloudEvents in three shapes", cloud_events_in_three_shapes },
    { "traceparent and hops go along (U26)", headers_go_along },
    { "says whether it is alive and ready", says_whether_it_is_alive_and_ready },
    { "unknown paths and methods (A15, A18)", unknown_paths_and_methods },
    { "the host must be allowed where configured (A17)",
      the_host_must_be_allowed_where_configured },
    { "a token opens what its scopes say (A1, A3, A4)", a_token_opens_what_its_scopes_say },
    { "wrong tokens get 401, then 429 (A1, A2)", wrong_tokens_get_401_then_429 },
    { "a token never stands in a query (A5)", a_token_never_stands_in_a_query },
    { "loopback without a token takes events only", loopback_without_a_token_takes_events_only },
    { "lists and shows deliveries", lists_and_shows_deliveries },
    { "odd parameters are refused (A16)", odd_parameters_are_refused },
    { "verbs become commands", verbs_become_commands },
    { "closing does not wait for idleness", closing_does_not_wait_for_idleness },
};

CHECK_MAIN(cases)
