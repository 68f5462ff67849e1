// Each allocation fails in turn, once and from then on: what is built is whole or
// is not there, and the reason given is the memory. A webhook without the signature
// it asks for, an event that matches nothing, a request cut short: none of them may
// come of it. The same with arenas of every size, which the sanitizers see too.
// floor: message
#include <sys/stat.h>
#include <unistd.h>

#include "buf.h"
#include "check.h"
#include "config.h"
#include "failing_malloc.h"
#include "inbox.h"
#include "log.h"
#include "luadata.h"
#include "message.h"
#include "secrets.h"

static const char description[] =
    "{\"on\":[\"call.*\",\"lead.made\"],\"order_by\":\"[CALL_ID]\",\"secrets\":[\"GRANTED\"],"
    "\"when\":{\"NOTE\":\"a \\\"b\\\"\",\"D\":[\">\",1]},"
    "\"sign\":{\"secret\":\"SIGNING\",\"previous\":\"OLD\"},"
    "\"auth\":{\"type\":\"bearer\",\"secret\":\"BEARER\"},"
    "\"request\":{\"url\":\"https://h.example/x?q=[CALL_ID]\",\"headers\":{\"X-A\":\"[SECRET:HEADER]\"},"
    "\"body\":\"{\\\"id\\\":\\\"[CALL_ID:upper]\\\",\\\"n\\\":\\\"[NOTE]\\\"}\"}}";
static const char event_json[] =
    "{\"id\":\"e1\",\"type\":\"call.completed\","
    "\"tags\":{\"CALL_ID\":\"c1\",\"D\":145,\"NOTE\":\"a \\\"b\\\"\"}}";

static struct hook *new_hook(struct fail *fail) {
    return hook_new(&(struct hook_input){ .name = S("crm"),
                                          .file = S("crm.lua"),
                                          .version = S("0123456789abcdef"),
                                          .source = S("return {}"),
                                          .description = slice_str(description) },
                    NULL, NULL, fail);
}

static void check_hook(const struct hook *hook) {
    CHECK_INT(hook->on_count, 2);
    CHECK_INT(hook->secrets_count, 5);
    CHECK_INT(hook->script_secrets_count, 1);
    CHECK_TEXT(hook->sign_secrets[0], "SIGNING");
    CHECK_TEXT(hook->sign_secrets[1], "OLD");
    CHECK_TEXT(hook->auth_secret, "BEARER");
    CHECK(hook->when && hook->order_by && hook->body);
    CHECK_INT(hook->headers_count, 1);
}

// Runs `one` with ever later failures until it gets through; it says whether it succeeded.
static void each_failure(bool (*one)(void)) {
    for (int on = 0; on < 2; on++) {
        bool hit = true, done = false;
        for (long at = 1; hit && at < 5000; at++) {
            failing_start(at, on);
            done = one();
            hit = failing_hit;
            failing_stop();
        }
        CHECK(!hit && done);
    }
}

static bool build_hook(void) {
    struct fail fail = { 0 };
    struct hook *hook = new_hook(&fail);
    bool hit = failing_stop();
    if (hook)
        check_hook(hook);
    else
        CHECK(hit && fail.code == ERR_NOMEM);
    hook_unref(hook);
    return hook;
}

static void a_webhook_is_whole_or_not_there(void) {
    each_failure(build_hook);
}

// Each time other tags: a name that is known already needs no memory.
static bool build_hook_of_new_tags(void) {
    static int number;
    char text[300];
    struct fail fail = { 0 };
    snprintf(text, sizeof text,
             "{\"on\":[\"call.*\"],\"when\":{\"WHEN_%d\":\"1\"},"
             "\"request\":{\"url\":\"https://h.example/?a=[URL_%d]\"}}",
             number, number);
    number++;
    struct hook *new = hook_new(&(struct hook_input){ .name = S("crm"),
                                                      .file = S("crm.lua"),
                                                      .source = S("return {}"),
                                                      .description = slice_str(text) },
                                NULL, NULL, &fail);
    bool hit = failing_stop();
    CHECK(new ? new->when != NULL : hit &&fail.code == ERR_NOMEM);
    hook_unref(new);
    return new;
}

static void tags_never_heard_of_are_known_or_the_webhook_is_not_there(void) {
    each_failure(build_hook_of_new_tags);
}

static bool read_event(void) {
    struct fail fail = { 0 };
    struct event *event = event_read(slice_str(event_json), 1000, &fail);
    bool hit = failing_stop();
    if (event)
        CHECK_TEXT(event->id, "e1");
    else
        CHECK(hit && fail.code == ERR_NOMEM);
    event_unref(event);
    return event;
}

static void an_event_is_whole_or_not_there(void) {
    each_failure(read_event);
}

static struct hook *hook;
static struct event *event;

static bool match_event(void) {
    struct hook_set *set = hook_set_new(&hook, 1);
    struct intake *intake = set ? intake_new(NULL, 1) : NULL;
    bool added = intake && intake_add(intake, event, set);
    bool hit = failing_stop();
    CHECK(added || hit);
    if (added) {
        event_ref(event);
        CHECK_INT(intake->items[0].targets_count, 1);
        if (intake->items[0].targets_count) CHECK_TEXT(intake->items[0].targets[0].order_key, "c1");
    }
    intake_free(intake);
    hook_set_unref(set);
    return added;
}

static void an_event_that_is_taken_has_all_its_targets(void) {
    struct fail fail = { 0 };
    hook = new_hook(&fail);
    event = event_read(slice_str(event_json), 1000, &fail);
    CHECK(hook && event);
    each_failure(match_event);
}

static bool find_secret(void *user, struct slice name, struct slice *value) {
    (void)user, (void)name;
    *value = S("sesame");
    return true;
}

static enum err render_and_seal(struct arena *arena) {
    struct tag_set tags;
    struct request request, sealed;
    struct fail fail = { 0 };
    struct template_notes notes = { .arena = arena };
    enum err err = hook_tags(hook, event, arena, &tags)
                       ? hook_render(hook, &tags, arena, &request, &notes, &fail)
                       : ERR_NOMEM;
    struct buf packed;
    buf_init(&packed, 1 << 20);
    if (!err) request_pack(&request, &packed);
    if (!err && (packed.failed || !request_unpack(buf_slice(&packed), &request, arena)))
        err = ERR_NOMEM;
    if (!err) err = request_seal(&request, 1, find_secret, NULL, arena, &sealed, &fail);
    failing_stop();
    if (!err) {
        CHECK_TEXT(sealed.url, "https://h.example/x?q=c1");
        CHECK_TEXT(sealed.body, "{\"id\":\"C1\",\"n\":\"a \\\"b\\\"\"}");
        CHECK_TEXT(sealed.headers[0].value, "sesame");
    }
    buf_deinit(&packed);
    return err;
}

static bool render(void) {
    struct arena arena;
    arena_init(&arena, 1 << 20);
    enum err err = render_and_seal(&arena);
    CHECK(!err || err == ERR_NOMEM);
    arena_deinit(&arena);
    return !err;
}

static void a_request_is_rendered_and_sealed_whole_or_for_want_of_memory_not(void) {
    each_failure(render);
}

static void a_request_in_an_arena_of_any_size_is_whole_or_refused(void) {
    size_t max = 0;
    for (enum err err = ERR_LIMIT; err && max < 100000; max += 8) {
        struct arena arena;
        arena_init(&arena, max);
        err = render_and_seal(&arena);
        CHECK(!err || err == ERR_NOMEM || err == ERR_LIMIT);
        arena_deinit(&arena);
    }
    CHECK(max > 500 && max < 100000);
    event_unref(event);
    hook_unref(hook);
}

// --- settings, secrets, the log ---

static bool read_data(void) {
    struct buf out;
    struct fail fail = { 0 };
    buf_init(&out, 1 << 20);
    enum err err = luadata_eval(
        S("local t = {} for i = 1, 99 do t[i] = { k = 'v' .. i } end return { t = t }"), "t.lua",
        &out, &fail);
    bool hit = failing_stop();
    CHECK(!err || (hit && err == ERR_NOMEM && fail.code == ERR_NOMEM));
    if (!err) CHECK(slice_ends(buf_slice(&out), S("{\"k\":\"v99\"}]}")));
    buf_deinit(&out);
    return !err;
}

static void a_data_file_is_read_whole_or_not(void) {
    each_failure(read_data);
}

static char dir[64], key_path[80];

static bool open_secrets(void) {
    struct fail fail = { 0 };
    struct slice value = { 0 };
    struct secrets *secrets = secrets_open(dir, key_path, &fail);
    bool hit = failing_stop();
    if (secrets) {
        CHECK(secrets_get(secrets, S("TOKEN"), &value));
        CHECK_TEXT(value, "sesame");
        secrets_close(secrets);
    } else {
        CHECK(hit && fail.code != OK && fail.text[0]);
    }
    return secrets;
}

static bool put_secret(void) {
    struct fail fail = { 0 };
    enum err err = secrets_put(dir, key_path, S("OTHER"), S("open"), &fail);
    bool hit = failing_stop();
    CHECK(!err || (hit && fail.code == err && fail.text[0]));
    open_secrets(); // what was there is there
    return !err;
}

static void secrets_are_read_and_kept_whole_or_a_reason_is_given(void) {
    char path[80];
    struct fail fail = { 0 };
    snprintf(dir, sizeof dir, "/tmp/test_nomem.%d", (int)getpid());
    snprintf(key_path, sizeof key_path, "%s/own.key", dir);
    snprintf(path, sizeof path, "%s/secrets", dir);
    CHECK_INT(mkdir(dir, 0700), 0);
    FILE *key = fopen(key_path, "w");
    if (key) fputs("000102030405060708090a0b0c0d0e0f000102030405060708090A0B0C0D0E0F\n", key);
    if (key) fclose(key);
    CHECK_INT(secrets_put(dir, key_path, S("TOKEN"), S("sesame"), &fail), OK);
    each_failure(open_secrets);
    each_failure(put_secret);
    unlink(path);
    unlink(key_path);
    CHECK_INT(rmdir(dir), 0);
}

static bool read_settings(void) {
    struct config config;
    struct fail fail = { 0 };
    enum err err = config_read(&config, NULL, &fail);
    if (!err) err = config_set(&config, "allow", "10.0.0.0/8, ::1", &fail);
    if (!err) err = config_finish(&config, &fail);
    bool hit = failing_stop();
    CHECK(!err || (hit && err == ERR_NOMEM && fail.code == ERR_NOMEM));
    if (!err) {
        CHECK(!strcmp(config.host, "127.0.0.1") && config.port == 8080 && config.catalog);
        CHECK_INT(config.guard.allow_count, 2);
    }
    config_deinit(&config);
    return !err;
}

static void settings_are_read_whole_or_not(void) {
    each_failure(read_settings);
}

static void a_line_of_the_log_needs_no_memory(void) {
    char text[256] = "";
    int fds[2], kept = dup(STDERR_FILENO);
    CHECK_INT(pipe(fds), 0);
    dup2(fds[1], STDERR_FILENO);
    log_init(LOG_INFO, true);
    failing_start(1, true);
    log_line(LOG_WARN, "no memory", "webhook", "crm", NULL);
    CHECK(!failing_stop());
    dup2(kept, STDERR_FILENO);
    CHECK(read(fds[0], text, sizeof text - 1) > 0);
    CHECK(strstr(text, "\"message\":\"no memory\",\"webhook\":\"crm\"}\n") != NULL);
    close(fds[0]);
    close(fds[1]);
    close(kept);
}

static void a_full_arena_is_told_from_a_lack_of_memory(void) {
    struct arena arena;
    arena_init(&arena, 100);
    CHECK(!arena_is_full(&arena, 80) && arena_is_full(&arena, 101));
    CHECK(!arena_alloc(&arena, 101) && !arena.no_memory);
    struct buf buf;
    buf_init(&buf, 10);
    CHECK(!buf_add(&buf, S("more than ten bytes")) && buf.failed && !buf.no_memory);
#ifndef FAILING_MALLOC
    failing_start(1, true);
    CHECK(!arena_alloc(&arena, 10) && arena.no_memory);
    buf_clear(&buf);
    CHECK(!buf_add(&buf, S("ten")) && buf.no_memory);
    failing_stop();
    buf_clear(&buf);
    CHECK(buf_add(&buf, S("ten")) && !buf.no_memory);
#endif
    arena_deinit(&arena);
    buf_deinit(&buf);
}

static const struct check_case cases[] = {
    { "a webhook is whole or not there", a_webhook_is_whole_or_not_there },
    { "tags never heard of are known, or the webhook is not there",
      tags_never_heard_of_are_known_or_the_webhook_is_not_there },
    { "an event is whole or not there", an_event_is_whole_or_not_there },
    { "an event that is taken has all its targets", an_event_that_is_taken_has_all_its_targets },
    { "a request is rendered and sealed whole, or for want of memory not",
      a_request_is_rendered_and_sealed_whole_or_for_want_of_memory_not },
    { "a request in an arena of any size is whole or refused",
      a_request_in_an_arena_of_any_size_is_whole_or_refused },
    { "a data file is read whole or not", a_data_file_is_read_whole_or_not },
    { "secrets are read and kept whole, or a reason is given",
      secrets_are_read_and_kept_whole_or_a_reason_is_given },
    { "settings are read whole or not", settings_are_read_whole_or_not },
    { "a line of the log needs no memory", a_line_of_the_log_needs_no_memory },
    { "a full arena is told from a lack of memory", a_full_arena_is_told_from_a_lack_of_memory },
};
CHECK_MAIN(cases)
