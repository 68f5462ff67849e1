// Events in: planned inside the transaction, answered after it.
#include <stdlib.h>

#include "clock.h"
#include "journal_inner.h"
#include "log.h"

enum { SPACE_EVERY_MS = 100 };

void payload_forget(void *user, void *p) {
    struct journal *j = user;
    struct payload *payload = p;
    if (!payload) return;
    j->payload_bytes -= payload->bytes;
    event_unref(payload->event);
    hook_unref(payload->hook);
    free(payload);
}

// NULL when memory for events in wait is used up: the store has them.
static struct payload *payload_new(struct journal *j, struct event *event, struct hook *hook) {
    size_t bytes = event->arena.used + sizeof(struct event);
    if (j->payload_bytes + bytes > PAYLOAD_BYTES_MAX) return NULL;
    struct payload *payload = malloc(sizeof *payload);
    if (!payload) return NULL;
    *payload = (struct payload){ event_ref(event), hook_ref(hook), bytes };
    j->payload_bytes += bytes;
    return payload;
}

static void check_space(struct journal *j) {
    int64_t now_ns = journal_now_ns(j);
    if (j->space_checked_ns != INT64_MIN &&
        now_ns - j->space_checked_ns < SPACE_EVERY_MS * 1000000ll)
        return;
    j->space_checked_ns = now_ns;
    j->space_left = store_space_left(j->store);
    j->space_reserve = store_space_reserve(j->store);
    if (j->space_left > 3 * j->space_reserve) j->low_space = false;
}

bool intake_open(struct journal *j, enum intake_result *refusal) {
    check_space(j);
    if (j->space_left < j->space_reserve) {
        *refusal = INTAKE_FULL;
        return false;
    }
    *refusal = INTAKE_OVERLOAD;
    return j->pending <= j->opts.backlog_max;
}

bool intake_space_is_low(struct journal *j) {
    check_space(j);
    return j->space_left < 2 * j->space_reserve && j->space_left >= j->space_reserve;
}

void intake_answer(struct intake *intake) {
    if (!intake->reply) {
        intake_free(intake);
        return;
    }
    intake->message.kind = MESSAGE_ACCEPTED;
    inbox_send(intake->reply, &intake->message);
}

void intake_refuse(struct intake *intake, enum intake_result result) {
    for (size_t i = intake->stored; i < intake->count; i++) intake->items[i].result = result;
    if (result == INTAKE_OVERLOAD) intake->retry_after_ms = OVERLOAD_RETRY_MS;
    intake_answer(intake);
}

// --- Plan ---

static enum err fill_target(struct journal *j, struct batch *batch,
                            const struct intake_target *from, struct store_target *to,
                            struct fail *fail) {
    struct webhook *w = webhook_get(j, from->hook->name);
    if (!w) return fail_set(fail, ERR_NOMEM, 0, "no_memory", "no memory for a webhook");
    enum err err = webhook_number(j, w, fail);
    *to = (struct store_target){
        .hook = w->number,
        .version = from->hook->version,
        .order_key = from->order_key,
        .state = w->status.state == HOOK_DISABLED ? DELIVERY_PARKED : DELIVERY_PENDING,
        .due_ms = batch->now_ms,
    };
    return err;
}

static enum err plan_item(struct journal *j, struct batch *batch, struct intake_item *item,
                          struct fail *fail) {
    static const enum intake_result results[] = { [STORE_NEW] = INTAKE_STORED,
                                                  [STORE_DUPLICATE] = INTAKE_DUPLICATE,
                                                  [STORE_CONFLICT] = INTAKE_CONFLICT };
    struct store_target *targets =
        arena_zalloc(&batch->arena, item->targets_count + 1, sizeof *targets);
    if (!targets) return fail_set(fail, ERR_NOMEM, 0, "no_memory", "no memory for a batch");
    enum err err = OK;
    for (size_t i = 0; i < item->targets_count && !err; i++)
        err = fill_target(j, batch, &item->targets[i], &targets[i], fail);
    enum store_put put = STORE_NEW;
    int64_t number;
    if (!err)
        err = store_put_event(j->store, item->event, targets, item->targets_count, &put, &number,
                              fail);
    item->result = err == ERR_LIMIT ? INTAKE_UNKNOWN : results[put];
    item->stored = !err && put == STORE_NEW ? targets : NULL;
    return err == ERR_LIMIT ? OK : err; // more webhooks than the store can number: its loss alone
}

enum err intake_plan(struct journal *j, struct batch *batch, struct intake *intake,
                     struct fail *fail) {
    enum err err = OK;
    intake->planned = intake->stored;
    while (intake->planned < intake->count && !err) {
        struct intake_item *item = &intake->items[intake->planned++];
        err = plan_item(j, batch, item, fail);
        batch_note_rows(batch, 1 + item->targets_count);
        if (batch->long_enough) break;
    }
    return err;
}

// --- Apply ---

static void apply_target(struct journal *j, const struct intake_item *item, size_t i,
                         int64_t now_ns) {
    const struct store_target *target = &item->stored[i];
    struct webhook *w = webhook_find(j, item->targets[i].hook->name);
    if (target->state != DELIVERY_PENDING || !w || !w->queue) return;
    w->pending++, j->pending++;
    struct payload *payload = w->open ? payload_new(j, item->event, item->targets[i].hook) : NULL;
    struct dispatch_item one = {
        .delivery = target->delivery,
        .due_ms = target->due_ms,
        .created_ms = target->due_ms,
        .order_key = target->order_key,
        .payload = payload,
    };
    if (!dispatch_add(w->queue, &one, now_ns)) payload_forget(j, payload);
    if (!webhook_accepts(w)) moves_park(j, w); // removed since its sender looked
}

void intake_apply(struct journal *j, struct intake *intake) {
    int64_t now_ns = journal_now_ns(j);
    for (; intake->stored < intake->planned; intake->stored++) {
        const struct intake_item *item = &intake->items[intake->stored];
        for (size_t t = 0; item->stored && t < item->targets_count; t++)
            apply_target(j, item, t, now_ns);
    }
}
