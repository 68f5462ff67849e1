// What a worker puts on the wire when memory runs out on the way: each job's
// arena is given a little more room in turn, so that every allocation of
// worker_send is the one that fails once.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <unistd.h>

#include "check.h"
#include "courier.h"
#include "worker_inner.h"

enum { ROOM_MAX = 4096, ROOM_STEP = 16 };

static const char key_text[] = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
static const char bearer_text[] = "a-bearer-nobody-may-read";

static struct {
    uv_loop_t loop;
    struct inbox reply;
    struct job *back;
    struct worker worker;
    struct guard guard;
    int closed;
    int port_held; // bound, and nobody listens: a request that leaves is refused at once
    char url[48];
} world;

static bool secret(void *user, struct slice name, struct slice *value) {
    (void)user;
    *value = slice_str(slice_eq(name, S("KEY")) ? key_text : bearer_text);
    return true;
}

static void on_reply(void *user, struct list *messages) {
    (void)user;
    for (struct list *link; (link = list_pop(messages));)
        world.back = list_item(link, struct job, message.link);
}

static void on_closed(void *user) {
    (void)user;
    world.closed++;
}

static void on_done(struct transfer *transfer) {
    struct task *task = transfer->user;
    task->job->record = transfer->attempt;
    task->job->verdict = transfer->attempt.verdict;
    task->job->attempted = true;
    worker_finish(task);
}

static void hold_port(void) {
    struct sockaddr_in address = { .sin_family = AF_INET,
                                   .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t n = sizeof address;
    world.port_held = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (bind(world.port_held, (struct sockaddr *)&address, n) ||
        getsockname(world.port_held, (struct sockaddr *)&address, &n))
        abort();
    snprintf(world.url, sizeof world.url, "http://127.0.0.1:%d/", ntohs(address.sin_port));
}

static void open_world(void) {
    struct fail fail = { 0 };
    hold_port();
    world.guard = (struct guard){ .allow_private = true, .allow_http = true };
    uv_loop_init(&world.loop);
    inbox_init(&world.reply, &world.loop, on_reply, message_discard, NULL);
    struct worker *w = &world.worker;
    w->opts = (struct worker_opts){ .guard = &world.guard, .secret = secret };
    w->resolver = resolver_new(&world.loop, &(struct resolver_opts){ .servers = NULL }, &fail);
    w->courier =
        courier_new(&world.loop,
                    &(struct courier_opts){
                        .guard = &world.guard, .resolver = w->resolver, .user_agent = "tuma/test" },
                    &fail);
}

static void close_world(void) {
    courier_close(world.worker.courier, on_closed, NULL);
    while (world.closed < 1) uv_run(&world.loop, UV_RUN_ONCE);
    resolver_close(world.worker.resolver, on_closed, NULL);
    while (world.closed < 2) uv_run(&world.loop, UV_RUN_ONCE);
    inbox_close(&world.reply);
    close(world.port_held);
    uv_run(&world.loop, UV_RUN_DEFAULT);
    CHECK_INT(uv_loop_close(&world.loop), 0);
}

// A job in hand with `room` bytes for what this attempt needs.
static struct task *make_task(struct hook *hook, struct event *event, size_t room) {
    struct job *job = job_new(&world.reply, hook, event);
    snprintf(job->webhook_id, sizeof job->webhook_id, "msg_test1");
    job->attempt = 1;
    struct task *task = arena_zalloc(&job->arena, 1, sizeof *task);
    task->worker = &world.worker;
    task->job = job;
    task->request = (struct request){
        .method = S("POST"), .url = slice_str(world.url), .body = S("{}"), .has_body = true
    };
    task->transfer.done = on_done;
    task->transfer.user = task;
    list_init(&task->waiting);
    world.worker.tasks++;
    job->arena.max = job->arena.used + room;
    return task;
}

static bool headers_whole(const struct task *task) {
    for (size_t i = 0; i < task->extra_count; i++)
        if (!task->extra[i].value.n) return false;
    return task->extra_count == 6;
}

static void nothing_leaves_without_all_its_headers(void) {
    struct slice names[] = { S("KEY"), S("BEARER") };
    struct hook *hook = calloc(1, sizeof *hook);
    struct event *event =
        event_read(S("{\"type\":\"call.completed\","
                     "\"trace\":\"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\"}"),
                   0, NULL);
    *hook = (struct hook){ .refs = 1,
                           .sign = SIGN_STANDARD,
                           .sign_secrets = { names[0] },
                           .sign_header = S("webhook-signature"),
                           .auth = HOOK_AUTH_BEARER,
                           .auth_secret = names[1],
                           .secrets = names,
                           .secrets_count = 2 };
    unsigned held = 0, sent = 0;
    open_world();
    for (size_t room = 0; room < ROOM_MAX; room += ROOM_STEP) {
        struct task *task = make_task(hook, event, room);
        world.back = NULL;
        worker_send(task);
        while (!world.back) uv_run(&world.loop, UV_RUN_ONCE);
        struct job *job = world.back;
        if (job->attempted) {
            sent++;
            CHECK(headers_whole(task));
        } else {
            held++;
            CHECK_INT(job->verdict, VERDICT_LOCAL);
        }
        struct slice shown = job->record.sent_headers;
        CHECK(!shown.n || !memmem(shown.p, shown.n, bearer_text, strlen(bearer_text)));
        job_free(job);
    }
    CHECK(held > 0 && sent > 0);
    CHECK_INT(world.worker.tasks, 0);
    close_world();
    event_unref(event);
    free(hook);
}

int main(void) {
    static const struct check_case cases[] = {
        { "nothing leaves without all its headers", nothing_leaves_without_all_its_headers },
    };
    struct fail fail = { 0 };
    if (courier_global_init(&fail) != OK) return 1;
    return check_run(cases, sizeof cases / sizeof *cases);
}
