// An administrator's verbs. Each is one transaction or one move; WAIT_IDLE
// waits in a list that is looked at after every turn.
#include <stdio.h>
#include <stdlib.h>

#include "buf.h"
#include "clock.h"
#include "journal_inner.h"
#include "log.h"

enum { STATUS_MAX = 32 << 20 };

void command_answer(struct command *command) {
    if (!command->reply) {
        command_free(command);
        return;
    }
    command->message.kind = MESSAGE_ANSWER;
    inbox_send(command->reply, &command->message);
}

// --- States ---

static struct webhook *webhook_named(struct journal *j, struct command *command) {
    struct webhook *w = webhook_find(j, command->hook);
    if (w && w->number) return w;
    fail_set(&command->fail, ERR_NOTFOUND, 0, "no_webhook", "no webhook %.*s",
             SLICE_FMT(command->hook));
    return NULL;
}

struct change {
    struct webhook *webhook;
    enum hook_state state;
    struct slice reason;
};

static enum err plan_change(struct journal *j, void *user, struct fail *fail) {
    const struct change *change = user;
    struct webhook *w = change->webhook;
    (void)fail;
    webhook_set_state(j, w, change->state, change->reason,
                      w->hook ? w->hook->version : slice_str(w->status.version));
    return OK;
}

static void set_state(struct journal *j, struct command *command, enum hook_state state,
                      struct slice reason) {
    struct webhook *w = webhook_named(j, command);
    if (!w) return;
    if (w->status.state == HOOK_REMOVED) {
        fail_set(&command->fail, ERR_NOT_NOW, 0, "webhook_removed", "webhook %.*s has no file",
                 SLICE_FMT(w->name));
        return;
    }
    if (state == HOOK_PAUSED && w->status.state == HOOK_DISABLED) {
        fail_set(&command->fail, ERR_NOT_NOW, 0, "webhook_disabled", "webhook %.*s is disabled",
                 SLICE_FMT(w->name));
        return;
    }
    struct change change = { w, state, reason };
    journal_transaction(j, plan_change, &change, &command->fail);
}

// Active again, trusted again, and what was parked goes out.
static void resume(struct journal *j, struct command *command) {
    struct webhook *w = webhook_named(j, command);
    set_state(j, command, HOOK_ACTIVE, S(""));
    if (!w || command->fail.code) return;
    if (w->queue) dispatch_queue_trust(w->queue, journal_now_ns(j));
    moves_release(j, w, S(""));
}

// --- Tokens ---

static enum err plan_token(struct journal *j, void *user, struct fail *fail) {
    const struct command *c = user;
    if (c->verb == COMMAND_REVOKE_TOKEN) return store_revoke_token(j->store, c->token_id, fail);
    return store_put_token(j->store, c->token_id, c->token_hash, c->token_label, c->token_scopes,
                           clock_wall_ms(), c->token_expires_ms, fail);
}

// --- Status ---

static void add_text(struct buf *out, const char *name, struct slice value) {
    buf_printf(out, "\"%s\":", name);
    buf_json(out, value);
    buf_byte(out, ',');
}

static void add_webhook(struct buf *out, const struct webhook *w) {
    static const char *const states[] = { "active", "disabled", "paused", "quarantined",
                                          "removed" };
    static const char *const breakers[] = { "closed", "open", "half_open" };
    struct dispatch_stats stats = { 0 };
    if (w->queue) stats = dispatch_queue_stats(w->queue);
    buf_byte(out, '{');
    add_text(out, "name", w->name);
    add_text(out, "state", slice_str(states[w->status.state]));
    add_text(out, "reason", slice_str(w->status.reason));
    add_text(out, "version", w->hook ? w->hook->version : slice_str(w->status.version));
    buf_printf(out,
               "\"live\":%s,\"since_ms\":%lld,\"pending\":%llu,\"in_flight\":%u,"
               "\"in_memory\":%zu,\"breaker\":\"%s\",\"failing_since_ms\":%lld,\"failures\":%u}",
               w->hook ? "true" : "false", (long long)w->status.since_ms,
               (unsigned long long)w->pending, stats.in_flight, stats.in_memory,
               breakers[stats.breaker], (long long)w->status.failing.since_ms,
               w->status.failing.failures);
}

static void status(struct journal *j, struct command *command) {
    struct buf out;
    buf_init(&out, STATUS_MAX);
    buf_printf(&out,
               "{\"pending\":%llu,\"in_flight\":%u,\"in_memory\":%zu,\"epoch\":%llu,"
               "\"longest_turn_ms\":%.1f,\"longest_disk_ms\":%.1f,\"space_left\":%llu,"
               "\"store_bytes\":%llu,\"loops\":",
               (unsigned long long)j->pending, dispatch_in_flight(j->dispatch),
               dispatch_in_memory(j->dispatch), (unsigned long long)store_epoch(j->store),
               (double)j->longest_turn_ns / 1e6, (double)j->longest_disk_ns / 1e6,
               (unsigned long long)store_space_left(j->store),
               (unsigned long long)store_bytes(j->store));
    pulse_write_all(&out);
    buf_add(&out, S(",\"check\":"));
    store_check_write(&out);
    buf_add(&out, S(",\"webhooks\":["));
    for (struct list *link = j->all.next; link != &j->all; link = link->next) {
        if (link != j->all.next) buf_byte(&out, ',');
        add_webhook(&out, list_item(link, struct webhook, all));
    }
    buf_add(&out, S("]}"));
    command->text = out.failed ? slice(NULL, 0) : arena_dup(&command->arena, buf_slice(&out));
    if (!command->text.p)
        fail_set(&command->fail, ERR_NOMEM, 0, "no_memory", "no memory for the status");
    buf_deinit(&out);
}

// --- Waiting until there is nothing to do ---

static bool is_idle(const struct journal *j, const struct command *command) {
    if (!list_empty(&j->waiting) || !list_empty(&j->moves) || j->out) return false;
    int64_t until_ms = ns_to_ms(journal_now_ns(j)) + command->wait_ms;
    return dispatch_idle(j->dispatch, until_ms);
}

void commands_check_idle(struct journal *j) {
    if (j->out) return;
    for (struct list *link = j->idle_waiters.next, *next; link != &j->idle_waiters; link = next) {
        struct command *command = list_item(link, struct command, message.link);
        next = link->next;
        if (!is_idle(j, command)) continue;
        list_remove(link);
        command_answer(command);
    }
}

void commands_close(struct journal *j) {
    for (struct list *link; (link = list_pop(&j->idle_waiters));) {
        struct command *command = list_item(link, struct command, message.link);
        fail_set(&command->fail, ERR_NOT_NOW, 0, "stopping", "the engine is stopping");
        command_answer(command);
    }
}

void command_run(struct journal *j, struct command *command) {
    switch (command->verb) {
    case COMMAND_REDELIVER:
    case COMMAND_DROP:
        if (moves_command(j, command)) return;
        break;
    case COMMAND_PAUSE: set_state(j, command, HOOK_PAUSED, S("paused on request")); break;
    case COMMAND_RESUME: resume(j, command); break;
    case COMMAND_DISABLE: set_state(j, command, HOOK_DISABLED, S("disabled on request")); break;
    case COMMAND_PUT_TOKEN:
    case COMMAND_REVOKE_TOKEN: journal_transaction(j, plan_token, command, &command->fail); break;
    case COMMAND_WAIT_IDLE: list_push(&j->idle_waiters, &command->message.link); return;
    case COMMAND_STATUS: status(j, command); break;
    }
    command_answer(command);
}
