// One transaction for everything that waits. Events and outcomes share it;
// an administrator's verb or a new hook set stands alone between two batches,
// so that what came before it is on disk and what comes after it sees it.
#include <stdlib.h>

#include "clock.h"
#include "journal_inner.h"
#include "log.h"

enum { BATCH_ARENA_MAX = 256 << 20 };

static void batch_init(struct journal *j, struct batch *batch) {
    *batch = (struct batch){ .now_ms = ns_to_ms(journal_now_ns(j)), .wall_ms = clock_wall_ms() };
    list_init(&batch->intakes);
    list_init(&batch->raised);
    arena_init(&batch->arena, BATCH_ARENA_MAX);
}

static bool batch_add_outcome(struct batch *batch, struct job *job) {
    if (!batch->outcomes)
        batch->outcomes = arena_zalloc(&batch->arena, BATCH_ITEMS_MAX, sizeof *batch->outcomes);
    if (!batch->outcomes) return false;
    batch->outcomes[batch->outcomes_count++].job = job;
    return true;
}

// An event that is refused costs nothing and is answered at once.
static bool batch_take_intake(struct journal *j, struct batch *batch, struct intake *intake) {
    enum intake_result refusal;
    if (intake_open(j, &refusal)) {
        list_push(&batch->intakes, &intake->message.link);
        return true;
    }
    intake_refuse(intake, refusal);
    return false;
}

static size_t rows_of(const struct intake *intake) {
    size_t rows = 1;
    for (size_t i = 0; i < intake->count; i++) rows += 1 + intake->items[i].targets_count;
    return rows;
}

// Moves what belongs together from `waiting` into the batch. Outcomes keep their
// place when there is no memory for them.
static void batch_gather(struct journal *j, struct batch *batch) {
    size_t items = 0;
    while (!list_empty(&j->waiting) && items < j->batch_max) {
        struct list *link = j->waiting.next;
        int kind = list_item(link, struct message, link)->kind;
        if (kind == MESSAGE_INTAKE) {
            struct intake *intake = list_item(link, struct intake, message.link);
            list_remove(link);
            size_t rows = rows_of(intake);
            if (batch_take_intake(j, batch, intake)) items += rows;
        } else if (kind == MESSAGE_OUTCOME) {
            if (!batch_add_outcome(batch, list_item(link, struct job, message.link))) return;
            list_remove(link);
            items++;
        } else {
            return;
        }
    }
}

static void drop_raised(struct batch *batch) {
    for (struct list *link; (link = list_pop(&batch->raised));)
        intake_free(list_item(link, struct intake, message.link));
}

static enum err plan_intakes(struct journal *j, struct batch *batch, struct list *intakes,
                             struct fail *fail) {
    enum err err = OK;
    for (struct list *link = intakes->next; link != intakes && !err; link = link->next)
        err = intake_plan(j, batch, list_item(link, struct intake, message.link), fail);
    return err;
}

static enum err plan_all(struct journal *j, struct batch *batch, struct fail *fail) {
    enum err err = plan_intakes(j, batch, &batch->intakes, fail);
    for (size_t i = 0; i < batch->outcomes_count && !err; i++)
        err = outcome_plan(j, batch, &batch->outcomes[i], fail);
    raise_low_space(j, batch);
    if (!err) err = plan_intakes(j, batch, &batch->raised, fail);
    return err ? err : webhooks_write(j, fail);
}

static enum err batch_commit(struct journal *j, struct batch *batch, struct fail *fail) {
    enum err err = store_begin(j->store, fail);
    if (err) return err;
    err = plan_all(j, batch, fail);
    if (err)
        store_rollback(j->store);
    else
        err = store_commit(j->store, fail);
    if (!err) return OK;
    webhooks_rollback(j);
    drop_raised(batch);
    if (batch->said_low) j->low_space = false;
    return err;
}

static void answer_all(struct list *intakes, enum intake_result result) {
    for (struct list *link; (link = list_pop(intakes));)
        intake_refuse(list_item(link, struct intake, message.link), result);
}

static void batch_apply(struct journal *j, struct batch *batch) {
    webhooks_commit(j);
    for (struct list *link; (link = list_pop(&batch->intakes));) {
        struct intake *intake = list_item(link, struct intake, message.link);
        intake_apply(j, intake);
        intake_answer(intake);
    }
    for (struct list *link; (link = list_pop(&batch->raised));) {
        struct intake *intake = list_item(link, struct intake, message.link);
        intake_apply(j, intake);
        intake_free(intake);
    }
    for (size_t i = 0; i < batch->outcomes_count; i++) outcome_apply(j, &batch->outcomes[i]);
}

// Outcomes that could not be stored wait in front of everything else.
static void batch_give_back(struct journal *j, struct batch *batch) {
    for (size_t i = batch->outcomes_count; i > 0; i--)
        list_push_front(&j->waiting, &batch->outcomes[i - 1].job->message.link);
    batch->outcomes_count = 0;
}

void journal_full(struct journal *j) {
    if (!j->ballast_out) {
        log_line(LOG_WARN, "disk full: the ballast is released, events are refused", NULL);
        store_ballast_release(j->store);
        j->ballast_out = true;
    }
    j->space_checked_ns = INT64_MIN;
}

// Without the events there may be room for the outcomes, at the latest when the
// ballast is gone.
static enum err batch_save_outcomes(struct journal *j, struct batch *batch, struct fail *fail) {
    journal_full(j);
    answer_all(&batch->intakes, INTAKE_FULL);
    enum err err = batch->outcomes_count ? batch_commit(j, batch, fail) : OK;
    if (err == ERR_FULL || err == ERR_NOMEM) {
        j->full_until_ns = journal_now_ns(j) + FULL_RETRY_MS * 1000000ll;
        batch_give_back(j, batch);
    }
    return err;
}

static void checkpoint(struct journal *j) {
    struct fail fail = { 0 };
    if (store_checkpoint(j->store) != ERR_IO) return;
    fail_set(&fail, ERR_IO, 0, "store_checkpoint", "the log cannot be copied into the database");
    journal_fail(j, &fail);
}

static void batch_store(struct journal *j, struct batch *batch) {
    struct fail fail = { 0 };
    enum err err = batch_commit(j, batch, &fail);
    if (err == ERR_FULL || err == ERR_NOMEM) err = batch_save_outcomes(j, batch, &fail);
    if (!err) {
        batch_apply(j, batch);
        checkpoint(j);
        return;
    }
    if (err == ERR_FULL || err == ERR_NOMEM) return;
    journal_fail(j, &fail);
    answer_all(&batch->intakes, INTAKE_UNKNOWN);
    batch_give_back(j, batch);
}

// Nobody gets a promise from a failed store.
static void refuse_waiting(struct journal *j) {
    for (struct list *link; (link = list_pop(&j->waiting));) {
        struct message *message = list_item(link, struct message, link);
        if (message->kind == MESSAGE_INTAKE) {
            intake_refuse(list_item(link, struct intake, message.link), INTAKE_UNKNOWN);
        } else if (message->kind == MESSAGE_COMMAND) {
            struct command *command = list_item(link, struct command, message.link);
            fail_set(&command->fail, ERR_IO, 0, "store_failed", "the store cannot be used");
            command_answer(command);
        } else {
            message_discard(message);
        }
    }
}

static void take_single(struct journal *j, struct message *message) {
    struct fail fail = { 0 };
    if (message->kind == MESSAGE_COMMAND) {
        command_run(j, list_item(&message->link, struct command, message.link));
        return;
    }
    if (message->kind == MESSAGE_HOOKS) {
        struct hooks_message *hooks = list_item(&message->link, struct hooks_message, message.link);
        if (webhooks_change(j, hook_set_ref(hooks->set), &fail))
            log_line(LOG_ERROR, "webhooks not taken over", "error", fail.text, NULL);
    }
    message_discard(message);
}

// Large rows or a slow machine make smaller batches, so that nobody waits long
// for a turn; the disk's own time is left out, it wants large ones.
static void adapt_size(struct journal *j, int64_t took_ns) {
    if (took_ns > BATCH_CPU_MS * 1000000ll) j->batch_max -= j->batch_max / 4;
    if (took_ns < BATCH_CPU_MS * 500000ll) j->batch_max += j->batch_max / 4;
    if (j->batch_max < BATCH_ITEMS_MIN) j->batch_max = BATCH_ITEMS_MIN;
    if (j->batch_max > BATCH_ITEMS_MAX) j->batch_max = BATCH_ITEMS_MAX;
}

void batch_run(struct journal *j) {
    if (j->failed) {
        refuse_waiting(j);
        return;
    }
    struct batch batch;
    batch_init(j, &batch);
    batch_gather(j, &batch);
    if (batch.outcomes_count || !list_empty(&batch.intakes)) {
        int64_t begun_ns = clock_cpu_ns();
        batch_store(j, &batch);
        adapt_size(j, clock_cpu_ns() - begun_ns);
    } else if (!list_empty(&j->waiting)) {
        struct list *link = list_pop(&j->waiting);
        take_single(j, list_item(link, struct message, link));
    }
    arena_deinit(&batch.arena);
}

enum err journal_transaction(struct journal *j,
                             enum err (*plan)(struct journal *j, void *user, struct fail *fail),
                             void *user, struct fail *fail) {
    enum err err = store_begin(j->store, fail);
    if (!err) {
        err = plan(j, user, fail);
        if (!err) err = webhooks_write(j, fail);
        if (err)
            store_rollback(j->store);
        else
            err = store_commit(j->store, fail);
    }
    if (err)
        webhooks_rollback(j);
    else
        webhooks_commit(j);
    if (err == ERR_FULL) journal_full(j);
    if (err == ERR_IO) journal_fail(j, fail);
    return err;
}
