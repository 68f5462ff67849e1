// Each allocation fails in turn, once and from then on: what is built is whole or
// is not there, and the reason given is the memory. A webhook without the signature
// it asks for, an event that matches nothing, a request cut short: none of them may
// come of it.
// floor: message
#include "buf.h"
#include "check.h"
#include "failing_malloc.h"
#include "inbox.h"
#include "message.h"

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

static bool render(void) {
    struct arena arena;
    struct tag_set tags;
    struct request request, sealed;
    struct fail fail = { 0 };
    arena_init(&arena, 1 << 20);
    struct template_notes notes = { .arena = &arena };
    enum err err = hook_tags(hook, event, &arena, &tags)
                       ? hook_render(hook, &tags, &arena, &request, &notes, &fail)
                       : ERR_NOMEM;
    if (!err) err = request_seal(&request, 1, find_secret, NULL, &arena, &sealed, &fail);
    bool hit = failing_stop();
    CHECK(!err || (hit && err == ERR_NOMEM));
    if (!err) {
        CHECK_TEXT(sealed.url, "https://h.example/x?q=c1");
        CHECK_TEXT(sealed.body, "{\"id\":\"C1\",\"n\":\"a \\\"b\\\"\"}");
        CHECK_TEXT(sealed.headers[0].value, "sesame");
    }
    arena_deinit(&arena);
    return !err;
}

static void a_request_is_rendered_and_sealed_whole_or_for_want_of_memory_not(void) {
    each_failure(render);
    event_unref(event);
    hook_unref(hook);
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
    { "an event is whole or not there", an_event_is_whole_or_not_there },
    { "an event that is taken has all its targets", an_event_that_is_taken_has_all_its_targets },
    { "a request is rendered and sealed whole, or for want of memory not",
      a_request_is_rendered_and_sealed_whole_or_for_want_of_memory_not },
    { "a full arena is told from a lack of memory", a_full_arena_is_told_from_a_lack_of_memory },
};
CHECK_MAIN(cases)
