// Making, matching and freeing the messages. What an intake needs to know of
// the webhooks is decided here, on the sender's thread: the journal is the one
// thread everybody waits for and renders nothing.
#include "message.h"

#include <stdlib.h>

#include "buf.h"

enum {
    INTAKE_ARENA_MAX = 256 << 20, // 1,000 events for 1,000 webhooks each, and keys
    JOB_ARENA_MAX = 64 << 20,     // a fan-out of 1 MiB requests ends here
    COMMAND_ARENA_MAX = 64 << 20,
    SCRATCH_MAX = 4 << 20,
    TARGETS_FIRST = 4,
};

struct intake *intake_new(struct inbox *reply, size_t count) {
    struct intake *intake = calloc(1, sizeof *intake);
    if (!intake) return NULL;
    list_init(&intake->message.link);
    intake->message.kind = MESSAGE_INTAKE;
    intake->reply = reply;
    arena_init(&intake->arena, INTAKE_ARENA_MAX);
    intake->items = arena_zalloc(&intake->arena, count ? count : 1, sizeof *intake->items);
    intake->room = count;
    if (intake->items) return intake;
    intake_free(intake);
    return NULL;
}

struct matching {
    struct intake *intake;
    const struct event *event;
    struct intake_target *targets;
    size_t count, capacity;
    bool failed;
};

static bool matching_grow(struct matching *m) {
    size_t capacity = m->capacity ? m->capacity * 2 : TARGETS_FIRST;
    struct intake_target *targets =
        arena_zalloc(&m->intake->arena, capacity, sizeof *m->intake->items->targets);
    if (!targets) return false;
    if (m->count) memcpy(targets, m->targets, m->count * sizeof *targets);
    m->targets = targets;
    m->capacity = capacity;
    return true;
}

// The rendered key, or an empty one when a tag of it is missing or it cannot be
// rendered: such an event has no place in any order. A long key is cut: two
// that agree that far share an order, which is slower but never wrong.
static enum err render_key(const struct hook *hook, const struct event *event,
                           struct arena *scratch, struct buf *out, struct slice *key) {
    struct tag_set tags;
    struct template_notes notes = { .arena = scratch };
    struct fail fail;
    *key = slice(NULL, 0);
    if (!hook_tags(hook, event, scratch, &tags)) return ERR_NOMEM;
    enum err err = template_render(hook->order_by, &tags, out, &notes, NULL, &fail);
    if (err || notes.unresolved) return err;
    *key = buf_slice(out);
    if (key->n > ORDER_KEY_MAX) key->n = ORDER_KEY_MAX;
    return OK;
}

static bool order_key(struct matching *m, const struct hook *hook, struct slice *key) {
    struct arena scratch;
    struct buf out;
    arena_init(&scratch, SCRATCH_MAX);
    buf_init(&out, RENDER_BYTES_MAX);
    struct slice rendered;
    bool good = render_key(hook, m->event, &scratch, &out, &rendered) != ERR_NOMEM;
    *key = rendered.n ? arena_dup(&m->intake->arena, rendered) : slice(NULL, 0);
    good = good && (!rendered.n || key->p);
    arena_deinit(&scratch);
    buf_deinit(&out);
    return good;
}

static void on_match(void *user, struct hook *hook) {
    struct matching *m = user;
    if (m->failed) return;
    struct slice key = { 0 };
    if ((m->count == m->capacity && !matching_grow(m)) ||
        (hook->order_by && !order_key(m, hook, &key))) {
        m->failed = true;
        return;
    }
    m->targets[m->count++] = (struct intake_target){ hook_ref(hook), key };
}

bool intake_add(struct intake *intake, struct event *event, const struct hook_set *set) {
    if (intake->count == intake->room) return false;
    struct matching m = { .intake = intake, .event = event };
    hook_set_match(set, event, on_match, &m);
    if (m.failed) {
        for (size_t i = 0; i < m.count; i++) hook_unref(m.targets[i].hook);
        return false;
    }
    intake->items[intake->count++] =
        (struct intake_item){ .event = event, .targets = m.targets, .targets_count = m.count };
    return true;
}

void intake_free(struct intake *intake) {
    if (!intake) return;
    for (size_t i = 0; i < intake->count; i++) {
        struct intake_item *item = &intake->items[i];
        for (size_t t = 0; t < item->targets_count; t++) hook_unref(item->targets[t].hook);
        event_unref(item->event);
    }
    arena_deinit(&intake->arena);
    free(intake);
}

struct job *job_new(struct inbox *reply, struct hook *hook, struct event *event) {
    struct job *job = calloc(1, sizeof *job);
    if (!job) return NULL;
    list_init(&job->message.link);
    job->message.kind = MESSAGE_JOB;
    job->reply = reply;
    arena_init(&job->arena, JOB_ARENA_MAX);
    job->hook = hook_ref(hook);
    job->event = event ? event_ref(event) : NULL;
    job->retry_after_ms = -1;
    return job;
}

void job_free(struct job *job) {
    if (!job) return;
    hook_unref(job->hook);
    event_unref(job->event);
    arena_deinit(&job->arena);
    free(job);
}

struct command *command_new(struct inbox *reply, enum command_verb verb) {
    struct command *command = calloc(1, sizeof *command);
    if (!command) return NULL;
    list_init(&command->message.link);
    command->message.kind = MESSAGE_COMMAND;
    command->reply = reply;
    command->verb = verb;
    arena_init(&command->arena, COMMAND_ARENA_MAX);
    return command;
}

void command_free(struct command *command) {
    if (!command) return;
    arena_deinit(&command->arena);
    free(command);
}

struct message *hooks_message_new(struct hook_set *set) {
    struct hooks_message *message = calloc(1, sizeof *message);
    if (!message) return NULL;
    list_init(&message->message.link);
    message->message.kind = MESSAGE_HOOKS;
    message->set = hook_set_ref(set);
    return &message->message;
}

void hooks_message_free(struct hooks_message *message) {
    if (!message) return;
    hook_set_unref(message->set);
    free(message);
}

void message_discard(struct message *message) {
    struct list *link = &message->link;
    switch ((enum message_kind)message->kind) {
    case MESSAGE_INTAKE:
    case MESSAGE_ACCEPTED: intake_free(list_item(link, struct intake, message.link)); break;
    case MESSAGE_JOB:
    case MESSAGE_OUTCOME: job_free(list_item(link, struct job, message.link)); break;
    case MESSAGE_COMMAND:
    case MESSAGE_ANSWER: command_free(list_item(link, struct command, message.link)); break;
    case MESSAGE_HOOKS:
        hooks_message_free(list_item(link, struct hooks_message, message.link));
        break;
    case MESSAGE_STOP: break; // part of its actor
    }
}
