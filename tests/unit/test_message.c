// Messages: what an intake makes of events and webhooks, and that every kind
// can be thrown away whole.
#include "message.h"

#include "check.h"

static struct hook *hook_of(const char *name, const char *rest) {
    char description[512];
    struct fail fail = { 0 };
    snprintf(description, sizeof description, "{%s,\"request\":{\"url\":\"https://h.example/\"}}",
             rest);
    struct hook_input input = { .name = slice_str(name),
                                .file = slice_str(name),
                                .version = S("0000000000000001"),
                                .description = slice_str(description) };
    struct hook *hook = hook_new(&input, NULL, NULL, &fail);
    if (!hook) printf("# %s\n", fail.text);
    return hook;
}

static struct event *event_of(const char *type, const char *call) {
    char json[1024];
    struct fail fail = { 0 };
    snprintf(json, sizeof json, "{\"type\":\"%s\",\"tags\":{%s}}", type, call);
    return event_read(slice_str(json), 1000, &fail);
}

static struct hook_set *set_of(struct hook **hooks, size_t count) {
    struct hook_set *set = hook_set_new(hooks, count);
    for (size_t i = 0; i < count; i++) hook_unref(hooks[i]);
    return set;
}

static void intake_finds_who_wants_an_event(void) {
    struct hook *hooks[] = { hook_of("a", "\"on\":[\"call.*\"]"),
                             hook_of("b", "\"on\":[\"call.completed\"]"),
                             hook_of("c", "\"on\":[\"lead.created\"]") };
    struct hook_set *set = set_of(hooks, 3);
    struct intake *intake = intake_new(NULL, 2);
    CHECK(intake_add(intake, event_of("call.completed", ""), set));
    CHECK(intake_add(intake, event_of("call.nobody", ""), set));
    CHECK_INT(intake->items[0].targets_count, 2);
    CHECK_INT(intake->items[1].targets_count, 1);
    struct event *third = event_of("call.completed", "");
    CHECK(!intake_add(intake, third, set)); // no room: it stays ours
    event_unref(third);
    hook_set_unref(set);
    message_discard(&intake->message);
}

static void order_keys_are_rendered_by_the_sender(void) {
    struct hook *hooks[] = { hook_of("a",
                                     "\"on\":[\"call.*\"],\"order_by\":\"[CALL_ID]-[FROM]\"") };
    struct hook_set *set = set_of(hooks, 1);
    struct intake *intake = intake_new(NULL, 3);
    char tags[800], key[600];
    CHECK(intake_add(intake, event_of("call.x", "\"call_id\":\"7\",\"from\":\"+1\""), set));
    CHECK(intake_add(intake, event_of("call.x", "\"call_id\":\"7\""), set));
    memset(key, 'k', sizeof key);
    snprintf(tags, sizeof tags, "\"call_id\":\"%.*s\",\"from\":\"1\"", (int)sizeof key, key);
    CHECK(intake_add(intake, event_of("call.x", tags), set));
    CHECK_TEXT(intake->items[0].targets[0].order_key, "7-+1");
    CHECK_INT(intake->items[1].targets[0].order_key.n, 0); // a tag is missing: no order
    CHECK_INT(intake->items[2].targets[0].order_key.n, ORDER_KEY_MAX);
    hook_set_unref(set);
    message_discard(&intake->message);
}

static void many_targets_fit(void) {
    enum { MANY = 300 };
    static struct hook *hooks[MANY];
    for (int i = 0; i < MANY; i++) {
        char name[16];
        snprintf(name, sizeof name, "h%03d", i);
        hooks[i] = hook_of(name, "\"on\":[\"call.x\"]");
    }
    struct hook_set *set = set_of(hooks, MANY);
    struct intake *intake = intake_new(NULL, 1);
    CHECK(intake_add(intake, event_of("call.x", ""), set));
    CHECK_INT(intake->items[0].targets_count, MANY);
    hook_set_unref(set);
    intake_free(intake);
}

static void every_kind_is_discarded_whole(void) {
    struct hook *hook = hook_of("a", "\"on\":[\"call.*\"]");
    struct hook_set *set = hook_set_new(&hook, 1);
    struct event *event = event_of("call.x", "");
    struct job *job = job_new(NULL, hook, event);
    arena_dup(&job->arena, S("bytes"));
    message_discard(&job->message);
    message_discard(&job_new(NULL, hook, NULL)->message);
    struct command *command = command_new(NULL, COMMAND_STATUS);
    arena_dup(&command->arena, S("bytes"));
    message_discard(&command->message);
    message_discard(hooks_message_new(set));
    struct message stop = { .kind = MESSAGE_STOP };
    message_discard(&stop); // its actor's
    CHECK(atomic_load(&event->refs) == 1 && atomic_load(&set->refs) == 1);
    CHECK_INT(atomic_load(&hook->refs), 2);
    event_unref(event);
    hook_set_unref(set);
    hook_unref(hook);
}

static const struct check_case CASES[] = {
    { "an intake finds who wants an event", intake_finds_who_wants_an_event },
    { "order keys are rendered by the sender", order_keys_are_rendered_by_the_sender },
    { "many targets fit", many_targets_fit },
    { "every kind is discarded whole", every_kind_is_discarded_whole },
};

CHECK_MAIN(CASES)
