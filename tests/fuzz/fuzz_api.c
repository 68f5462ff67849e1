// The API's reading of requests: headers and body as the server hands them over,
// answered at once or by a journal that takes everything. Every answer must be a
// sound one: its JSON well-formed, a result for every item.
#include <assert.h>
#include <dirent.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "api.h"
#include "api_inner.h"
#include "json.h"
#include "log.h"
#include "server_inner.h"

static uv_loop_t loop;
static struct inbox journal;
static struct api *api;

static void take(void *user, struct list *messages) {
    struct list *link;
    (void)user;
    while ((link = list_pop(messages))) {
        struct message *message = list_item(link, struct message, link);
        if (message->kind == MESSAGE_COMMAND) {
            struct command *command = list_item(link, struct command, message.link);
            command->text = S("{}");
            message->kind = MESSAGE_ANSWER;
            inbox_send(command->reply, message);
            continue;
        }
        struct intake *intake = list_item(link, struct intake, message.link);
        for (size_t i = 0; i < intake->count; i++) {
            struct event *event = intake->items[i].event;
            assert(event_id_valid(event->id) && event_type_valid(event->type));
            assert(event->hops <= HOPS_MAX);
            intake->items[i].result = (enum intake_result)(event->id.n % 3);
        }
        message->kind = MESSAGE_ACCEPTED;
        inbox_send(intake->reply, message);
    }
}

static char dir[64];

static void remove_dir(void) {
    char path[128];
    DIR *d = opendir(dir);
    for (struct dirent *e; d && (e = readdir(d));) {
        snprintf(path, sizeof path, "%s/%.40s", dir, e->d_name);
        unlink(path);
    }
    if (d) closedir(d);
    rmdir(dir);
}

static void start(void) {
    static char name[80];
    struct fail fail;
    snprintf(dir, sizeof dir, "/tmp/tuma-fuzz-api-XXXXXX");
    if (!mkdtemp(dir)) abort();
    atexit(remove_dir);
    struct store *store = store_open(&(struct store_opts){ .dir = dir, .create = true }, &fail);
    if (!store) abort();
    store_close(store);
    snprintf(name, sizeof name, "%s/s", dir);
    log_init(LOG_OFF, false);
    uv_loop_init(&loop);
    inbox_init(&journal, &loop, take, message_discard, NULL);
    api = api_new(&loop,
                  &(struct api_opts){ .socket_path = name, .store_dir = dir, .journal = &journal },
                  &fail);
    if (!api) abort();
    api_set_hooks(api, hook_set_new(NULL, 0));
    api_set_ready(api, true);
}

// Answers follow one another: "HTTP/1.1 … Content-Length: N\r\n\r\n" and N bytes.
static void check_answers(struct slice text) {
    const struct json_limits limits = { .depth_max = 8 };
    while (text.n) {
        const char *length = memmem(text.p, text.n, "Content-Length: ", 16);
        const char *body = memmem(text.p, text.n, "\r\n\r\n", 4);
        if (slice_starts(text, S("HTTP/1.1 100 "))) {
            text = slice_from(text, (size_t)(body + 4 - text.p));
            continue;
        }
        assert(length && body && length < body);
        size_t n = strtoull(length + 16, NULL, 10);
        text = slice_from(text, (size_t)(body + 4 - text.p));
        assert(text.n >= n);
        assert(json_check(slice(text.p, n), limits, NULL) == OK);
        text = slice_from(text, n);
    }
}

static void collect(int fd, struct buf *answers) {
    for (;;) {
        char *to = buf_reserve(answers, 64 * 1024);
        ssize_t n = to ? recv(fd, to, 64 * 1024, MSG_DONTWAIT) : -1;
        if (n <= 0) return;
        answers->n += (size_t)n;
    }
}

// The input is a request without its Host and Content-Length, up to an empty line, and the body.
static void write_request(struct buf *out, struct slice input) {
    const char *blank = input.n ? memmem(input.p, input.n, "\n\n", 2) : NULL;
    struct slice head = slice(input.p, blank ? (size_t)(blank - input.p) : input.n);
    struct slice body = slice_from(input, blank ? head.n + 2 : head.n);
    while (head.n) {
        size_t end = slice_find(head, '\n');
        buf_add(out, slice(head.p, end));
        buf_add(out, S("\r\n"));
        head = slice_from(head, end + 1);
    }
    buf_printf(out, "Host: x\r\nContent-Length: %zu\r\n\r\n", body.n);
    buf_add(out, body);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct buf request, answers;
    int pair[2];
    if (!api) start();
    buf_init(&request, 1 << 20);
    buf_init(&answers, 32 << 20);
    write_request(&request, slice((const char *)data, size));
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair)) abort();
    if (!server_adopt(api->local, pair[0])) abort();
    for (size_t at = 0; at < request.n;) {
        ssize_t n = send(pair[1], request.p + at, request.n - at, MSG_NOSIGNAL);
        if (n > 0) at += (size_t)n;
        uv_run(&loop, UV_RUN_NOWAIT);
        collect(pair[1], &answers);
    }
    shutdown(pair[1], SHUT_WR);
    for (int i = 0; i < 6 || api->pending; i++) {
        uv_run(&loop, UV_RUN_NOWAIT);
        collect(pair[1], &answers);
    }
    // An answer to HEAD tells the length of a body that does not come.
    if (!memmem(request.p, request.n, "HEAD ", 5)) check_answers(buf_slice(&answers));
    close(pair[1]);
    for (int i = 0; i < 1000 && api->local->count; i++) uv_run(&loop, UV_RUN_NOWAIT);
    buf_deinit(&request);
    buf_deinit(&answers);
    return 0;
}
