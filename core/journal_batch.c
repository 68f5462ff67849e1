// One transaction for everything that waits. Events and outcomes share it;
// an administrator's verb or a new hook set stands alone between two batches,
// so that what came before it is on disk and what comes after it sees it.
#include <stdlib.h>

#include "clock.h"
#include "journal_inner.h"
#include "log.h"

enum { BATCH_ARENA_MAX = 256 << 20, LOOK_EVERY = 16 };

// Short turns, so that nobody waits long for his; but a slow disk wants to have
// something to write.
static int64_t cpu_allowance_ns(const struct journal *j) {
    int64_t least = BATCH_CPU_MS * 1000000ll, most = BATCH_CPU_MS_MAX * 1000000ll;
    return j->commit_ns < least ? least : j->commit_ns < most ? j->commit_ns : most;
}

static void batch_init(struct journal *j, struct batch *batch) {
    *batch = (struct batch){ .now_ms = ns_to_ms(journal_now_ns(j)),
                             .wall_ms = clock_wall_ms(),
                             .cpu_end_ns = clock_cpu_ns() + cpu_allowance_ns(j) };
    list_init(&batch->intakes);
    list_init(&batch->outcomes);
    list_init(&batch->raised);
    arena_init(&batch->arena, BATCH_ARENA_MAX);
}

// The processor's time, not the clock's: a busy machine would make the batches
// small and the commits many. A look costs as much as a row.
void batch_note_rows(struct batch *batch, size_t rows) {
    size_t before = batch->rows;
    batch->rows += rows;
    if (batch->rows >= BATCH_ROWS_MAX) batch->long_enough = true;
    if (batch->long_enough || before / LOOK_EVERY == batch->rows / LOOK_EVERY) return;
    batch->long_enough = clock_cpu_ns() > batch->cpu_end_ns;
}

// --- Plan ---

// An event that is refused costs nothing and is answered at once; an intake of
// which a part is on disk goes on.
static enum err take_intake(struct journal *j, struct batch *batch, struct intake *intake,
                            struct fail *fail) {
    enum intake_result refusal;
    list_remove(&intake->message.link);
    if (!intake->stored && !intake_open(j, &refusal)) {
        intake_refuse(intake, refusal);
        return OK;
    }
    list_push(&batch->intakes, &intake->message.link);
    return intake_plan(j, batch, intake, fail);
}

static enum err take_outcome(struct journal *j, struct batch *batch, struct job *job,
                             struct fail *fail) {
    struct outcome *outcome = arena_zalloc(&batch->arena, 1, sizeof *outcome);
    if (!outcome) {
        j->full_until_ns = journal_now_ns(j) + FULL_RETRY_MS * 1000000ll;
        return fail_set(fail, ERR_NOMEM, 0, "no_memory", "no memory for a batch");
    }
    list_remove(&job->message.link);
    outcome->job = job;
    list_push(&batch->outcomes, &outcome->link);
    batch_note_rows(batch, 1);
    return outcome_plan(j, batch, outcome, fail);
}

// What belongs together, in the order in which it came.
static enum err plan_waiting(struct journal *j, struct batch *batch, struct fail *fail) {
    enum err err = OK;
    while (!err && !list_empty(&j->waiting) && !batch->long_enough) {
        struct list *link = j->waiting.next;
        int kind = list_item(link, struct message, link)->kind;
        if (kind == MESSAGE_INTAKE)
            err = take_intake(j, batch, list_item(link, struct intake, message.link), fail);
        else if (kind == MESSAGE_OUTCOME)
            err = take_outcome(j, batch, list_item(link, struct job, message.link), fail);
        else
            break;
    }
    return err;
}

// Once more without the events, which did not fit.
static enum err plan_outcomes(struct journal *j, struct batch *batch, struct fail *fail) {
    enum err err = OK;
    for (struct list *link = batch->outcomes.next; link != &batch->outcomes && !err;
         link = link->next)
        err = outcome_plan(j, batch, list_item(link, struct outcome, link), fail);
    return err;
}

static void drop_raised(struct batch *batch) {
    for (struct list *link; (link = list_pop(&batch->raised));)
        intake_free(list_item(link, struct intake, message.link));
}

static enum err plan_raised(struct journal *j, struct batch *batch, struct fail *fail) {
    enum err err = OK;
    raise_low_space(j, batch);
    for (struct list *link = batch->raised.next; link != &batch->raised && !err; link = link->next)
        err = intake_plan(j, batch, list_item(link, struct intake, message.link), fail);
    return err;
}

// --- Commit ---

// The processor's part of it is a part of the turn, the rest the disk's.
static int64_t note_disk(struct journal *j, int64_t mono_ns, int64_t cpu_ns) {
    int64_t took_ns = clock_mono_ns() - mono_ns, waited_ns = took_ns - (clock_cpu_ns() - cpu_ns);
    pulse_excuse(&j->pulse, waited_ns);
    if (waited_ns > j->longest_disk_ns) j->longest_disk_ns = waited_ns;
    return waited_ns;
}

static enum err commit(struct journal *j, struct fail *fail) {
    int64_t mono_ns = clock_mono_ns(), cpu_ns = clock_cpu_ns();
    enum err err = store_commit(j->store, fail);
    j->commit_ns = note_disk(j, mono_ns, cpu_ns);
    return err;
}

bool journal_checkpoint(struct journal *j) {
    struct fail fail = { 0 };
    int64_t mono_ns = clock_mono_ns(), cpu_ns = clock_cpu_ns();
    enum err err = store_checkpoint(j->store);
    int64_t waited_ns = note_disk(j, mono_ns, cpu_ns);
    if (err != ERR_IO) return waited_ns > 1000000;
    fail_set(&fail, ERR_IO, 0, "store_checkpoint", "the log cannot be copied into the database");
    journal_fail(j, &fail);
    return true;
}

static enum err batch_commit(struct journal *j, struct batch *batch,
                             enum err (*plan)(struct journal *j, struct batch *batch,
                                              struct fail *fail),
                             struct fail *fail) {
    enum err err = store_begin(j->store, fail);
    if (err) return err;
    err = plan(j, batch, fail);
    if (!err) err = plan_raised(j, batch, fail);
    if (!err) err = webhooks_write(j, fail);
    if (err)
        store_rollback(j->store);
    else
        err = commit(j, fail);
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

static bool in_batches(const struct list *link) {
    int kind = list_item(link, struct message, link)->kind;
    return kind == MESSAGE_INTAKE || kind == MESSAGE_OUTCOME;
}

// A large intake lets those behind it go first, so that a burst costs the others
// one batch and not all of it; an order that came after it stays behind it.
static void wait_again(struct journal *j, struct intake *intake) {
    struct list *at = j->waiting.next;
    while (at != &j->waiting && in_batches(at)) at = at->next;
    list_push(at, &intake->message.link);
}

static void apply_intakes(struct journal *j, struct batch *batch) {
    struct intake *unfinished = NULL; // the last one at most
    for (struct list *link; (link = list_pop(&batch->intakes));) {
        struct intake *intake = list_item(link, struct intake, message.link);
        intake_apply(j, intake);
        if (intake->stored == intake->count)
            intake_answer(intake);
        else
            unfinished = intake;
    }
    if (unfinished) wait_again(j, unfinished);
}

static void batch_apply(struct journal *j, struct batch *batch) {
    webhooks_commit(j);
    apply_intakes(j, batch);
    for (struct list *link; (link = list_pop(&batch->raised));) {
        struct intake *intake = list_item(link, struct intake, message.link);
        intake_apply(j, intake);
        intake_free(intake);
    }
    for (struct list *link; (link = list_pop(&batch->outcomes));)
        outcome_apply(j, list_item(link, struct outcome, link));
}

// Outcomes that could not be stored wait in front of everything else.
static void batch_give_back(struct journal *j, struct batch *batch) {
    while (!list_empty(&batch->outcomes)) {
        struct outcome *last = list_item(batch->outcomes.prev, struct outcome, link);
        list_remove(&last->link);
        list_push_front(&j->waiting, &last->job->message.link);
    }
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
    enum err err = list_empty(&batch->outcomes) ? OK : batch_commit(j, batch, plan_outcomes, fail);
    if (err == ERR_FULL || err == ERR_NOMEM) {
        j->full_until_ns = journal_now_ns(j) + FULL_RETRY_MS * 1000000ll;
        batch_give_back(j, batch);
    }
    return err;
}

static void batch_store(struct journal *j, struct batch *batch) {
    struct fail fail = { 0 };
    enum err err = batch_commit(j, batch, plan_waiting, &fail);
    if (err == ERR_FULL || err == ERR_NOMEM) err = batch_save_outcomes(j, batch, &fail);
    if (!err) {
        batch_apply(j, batch);
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

void batch_run(struct journal *j) {
    if (j->failed) {
        refuse_waiting(j);
        return;
    }
    if (!in_batches(j->waiting.next)) {
        take_single(j, list_item(list_pop(&j->waiting), struct message, link));
        return;
    }
    struct batch batch;
    batch_init(j, &batch);
    batch_store(j, &batch);
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
            err = commit(j, fail);
    }
    if (err)
        webhooks_rollback(j);
    else
        webhooks_commit(j);
    if (err == ERR_FULL) journal_full(j);
    if (err == ERR_IO) journal_fail(j, fail);
    return err;
}
