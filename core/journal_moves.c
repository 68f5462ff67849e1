// Large moves of deliveries, a bounded step at a time between other work, and
// housekeeping when there is none. A move goes webhook by webhook and state by
// state: so the counts stay exact and the store's indexes fit.
#include <stdlib.h>

#include "clock.h"
#include "journal_inner.h"
#include "log.h"

enum { MOVE_ARENA_MAX = 64 * 1024 };
enum {
    ALL_TERMINAL = 1 << DELIVERY_DELIVERED | 1 << DELIVERY_EXHAUSTED | 1 << DELIVERY_PARKED |
                   1 << DELIVERY_FILTERED | 1 << DELIVERY_DROPPED
};

static struct move *move_new(enum delivery_state to, unsigned states, struct slice reason) {
    struct move *move = calloc(1, sizeof *move);
    if (!move) {
        log_line(LOG_ERROR, "no memory to move deliveries", NULL);
        return NULL;
    }
    list_init(&move->link);
    arena_init(&move->arena, MOVE_ARENA_MAX);
    move->to = to;
    move->states_each = states;
    move->reason = reason;
    return move;
}

static void move_begin(struct journal *j, struct move *move, struct webhook *w) {
    move->webhook = w;
    move->states = move->states_each;
    if (!w) {
        move->next = j->all.next;
        move->states = 0;
    }
    list_push(&j->moves, &move->link);
}

static bool is_moving(const struct journal *j, const struct webhook *w, enum delivery_state to) {
    for (struct list *link = j->moves.next; link != &j->moves; link = link->next) {
        struct move *move = list_item(link, struct move, link);
        if (move->webhook == w && move->to == to && move->states && !move->command) return true;
    }
    return false;
}

void moves_park(struct journal *j, struct webhook *w) {
    if (is_moving(j, w, DELIVERY_PARKED)) return;
    bool removed = w->status.state == HOOK_REMOVED;
    struct move *move = move_new(DELIVERY_PARKED, 1 << DELIVERY_PENDING,
                                 removed ? S("webhook removed") : S("webhook disabled"));
    if (move) move_begin(j, move, w);
}

void moves_release(struct journal *j, struct webhook *w, struct slice text) {
    struct move *move = move_new(DELIVERY_PENDING, 1 << DELIVERY_PARKED, S(""));
    if (!move) return;
    move->filter.text = text; // of a literal
    move_begin(j, move, w);
}

// --- A step ---

static void move_end(struct move *move, const struct fail *fail) {
    list_remove(&move->link);
    if (move->command) {
        move->command->moved = move->moved;
        if (fail) move->command->fail = *fail;
        command_answer(move->command);
    }
    arena_deinit(&move->arena);
    free(move);
}

// The next webhook of a move over all; false: it is through.
static bool move_advance(struct journal *j, struct move *move) {
    if (move->states) return true;
    if (!move->next || move->next == &j->all) return false;
    move->webhook = list_item(move->next, struct webhook, all);
    move->next = move->next->next;
    move->states = move->webhook->number ? move->states_each : 0;
    // A webhook that takes nothing gets nothing put back.
    if (move->to == DELIVERY_PENDING && !webhook_accepts(move->webhook)) move->states = 0;
    return true;
}

struct step {
    struct move *move;
    enum delivery_state from;
    int64_t now_ms;
    struct store_filter filter;
    size_t moved;
    bool more;
};

static enum err plan_step(struct journal *j, void *user, struct fail *fail) {
    struct step *step = user;
    struct move *move = step->move;
    const struct store_change change = { move->to, move->reason, move->replay, step->now_ms };
    step->filter = move->filter; // stays where it is when the transaction fails
    step->filter.hook = move->webhook->number;
    step->filter.states = 1u << step->from;
    return store_move(j->store, &step->filter, &change, MOVES_A_STEP, &step->moved, &step->more,
                      fail);
}

// Counts, and the dispatcher: what left PENDING must leave its memory too.
static void apply_step(struct journal *j, const struct step *step) {
    struct webhook *w = step->move->webhook;
    int64_t now_ns = journal_now_ns(j);
    if (!step->moved) return;
    if (step->from == DELIVERY_PENDING) {
        uint64_t gone = step->moved < w->pending ? step->moved : w->pending;
        w->pending -= gone;
        j->pending -= gone < j->pending ? gone : j->pending;
        w->stamp++;
        if (w->queue) dispatch_queue_reset(w->queue, w->open, now_ns);
    } else if (step->move->to == DELIVERY_PENDING) {
        w->pending += step->moved;
        j->pending += step->moved;
        w->stamp++;
        if (w->queue && w->open)
            dispatch_queue_more(w->queue, step->now_ms, 1, step->move->replay, now_ns);
    }
}

bool moves_step(struct journal *j) {
    if (list_empty(&j->moves) || journal_now_ns(j) < j->full_until_ns) return false;
    struct move *move = list_item(j->moves.next, struct move, link);
    if (!move_advance(j, move)) {
        move_end(move, NULL);
        return !list_empty(&j->moves);
    }
    if (!move->states) return true;
    struct step step = { .move = move,
                         .from = (enum delivery_state)__builtin_ctz(move->states),
                         .now_ms = ns_to_ms(journal_now_ns(j)) };
    struct fail fail = { 0 };
    enum err err = journal_transaction(j, plan_step, &step, &fail);
    if (err == ERR_FULL || err == ERR_NOMEM) {
        j->full_until_ns = journal_now_ns(j) + FULL_RETRY_MS * 1000000ll;
        return false;
    }
    if (err) {
        move_end(move, &fail);
        return true;
    }
    apply_step(j, &step);
    move->moved += step.moved;
    move->filter.after_delivery = step.more ? step.filter.after_delivery : 0;
    if (!step.more) move->states &= move->states - 1;
    return true;
}

void moves_close(struct journal *j) {
    struct fail fail = { 0 };
    fail_set(&fail, ERR_NOT_NOW, 0, "stopping", "the engine is stopping; ask again later");
    while (!list_empty(&j->moves)) move_end(list_item(j->moves.next, struct move, link), &fail);
}

// --- On command ---

static bool copy_filter(struct move *move, const struct store_filter *from) {
    struct slice *texts[] = { &move->filter.type, &move->filter.org, &move->filter.event_id,
                              &move->filter.text };
    move->filter = *from;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        if (texts[i]->n && !(*texts[i] = arena_dup(&move->arena, *texts[i])).p) return false;
    return true;
}

// Which states a verb means when its sender named none.
static unsigned states_of(const struct command *command) {
    const struct store_filter *filter = &command->filter;
    bool one = filter->delivery || filter->event_id.n;
    if (command->verb == COMMAND_REDELIVER) {
        if (filter->states) return filter->states & ALL_TERMINAL;
        return one ? ALL_TERMINAL : 1 << DELIVERY_EXHAUSTED | 1 << DELIVERY_PARKED;
    }
    if (filter->states) return filter->states & ~(1u << DELIVERY_DROPPED);
    return 1 << DELIVERY_PENDING | 1 << DELIVERY_EXHAUSTED | 1 << DELIVERY_PARKED;
}

static struct webhook *by_number(const struct journal *j, int64_t number) {
    for (struct list *link = j->all.next; link != &j->all; link = link->next) {
        struct webhook *w = list_item(link, struct webhook, all);
        if (w->number == number) return w;
    }
    return NULL;
}

// A delivery's webhook is found through its row; NULL with fail when there is none.
static struct webhook *webhook_of(struct journal *j, int64_t delivery, struct fail *fail) {
    struct store_job job = { 0 };
    struct arena arena;
    arena_init(&arena, 4 << 20);
    enum err err = store_load_job(j->store, delivery, &arena, &job, fail);
    arena_deinit(&arena);
    if (err && err != ERR_INPUT) return NULL;
    struct webhook *w = by_number(j, job.hook);
    if (!w) fail_set(fail, ERR_NOTFOUND, 0, "no_webhook", "the delivery's webhook is not known");
    return w;
}

static bool find_scope(struct journal *j, struct command *command, struct webhook **w) {
    struct fail *fail = &command->fail;
    *w = NULL;
    if (command->hook.n) {
        *w = webhook_find(j, command->hook);
        if (!*w)
            fail_set(fail, ERR_NOTFOUND, 0, "no_webhook", "no webhook %.*s",
                     SLICE_FMT(command->hook));
    } else if (command->filter.hook) {
        *w = by_number(j, command->filter.hook);
        if (!*w) fail_set(fail, ERR_NOTFOUND, 0, "no_webhook", "no webhook of this number");
    } else if (command->filter.delivery) {
        *w = webhook_of(j, command->filter.delivery, fail);
    } else {
        return true;
    }
    if (!*w) return false;
    if (command->verb == COMMAND_REDELIVER && !webhook_accepts(*w)) {
        fail_set(fail, ERR_NOT_NOW, 0, "webhook_off", "webhook %.*s is %s; resume it first",
                 SLICE_FMT((*w)->name),
                 (*w)->status.state == HOOK_REMOVED ? "removed" : "disabled");
        return false;
    }
    return true;
}

bool moves_command(struct journal *j, struct command *command) {
    struct webhook *w;
    if (!find_scope(j, command, &w)) return false;
    bool redeliver = command->verb == COMMAND_REDELIVER;
    struct move *move = move_new(redeliver ? DELIVERY_PENDING : DELIVERY_DROPPED,
                                 states_of(command), redeliver ? S("") : S("dropped on request"));
    if (!move || !copy_filter(move, &command->filter)) {
        if (move) arena_deinit(&move->arena);
        free(move);
        fail_set(&command->fail, ERR_NOMEM, 0, "no_memory", "no memory to move deliveries");
        return false;
    }
    move->replay = redeliver;
    move->command = command;
    move_begin(j, move, w);
    return true;
}

// --- Housekeeping ---

enum { RETIRE_EVERY_MS = 10 * 60 * 1000, BALLAST_EVERY_MS = 5000, RETIRE_AGE_LEAST_MS = 60000 };
static const int64_t DAY_MS = 86400000;

static enum err plan_retire(struct journal *j, void *user, struct fail *fail) {
    size_t *deleted = user;
    return store_retire(j->store, clock_wall_ms() - j->retire_age_ms, RETIRE_A_STEP, deleted, fail);
}

static bool too_large(struct journal *j) {
    return j->opts.retention_bytes && store_bytes(j->store) > j->opts.retention_bytes;
}

static void retire_begin(struct journal *j, int64_t now_ns) {
    j->retire_ns = now_ns + RETIRE_EVERY_MS * 1000000ll;
    j->retire_age_ms = j->opts.retention_ms ? j->opts.retention_ms : 7 * DAY_MS;
    j->retiring = j->opts.retention_ms > 0 || too_large(j);
}

// One step; past the age, the size decides: the kept age halves until it fits.
static void retire_step(struct journal *j) {
    size_t deleted = 0;
    struct fail fail = { 0 };
    if (journal_transaction(j, plan_retire, &deleted, &fail)) {
        j->retiring = false;
        return;
    }
    journal_checkpoint(j);
    if (deleted) return;
    j->retiring = too_large(j) && j->retire_age_ms > RETIRE_AGE_LEAST_MS;
    if (j->retiring) j->retire_age_ms /= 2;
}

static void restore_ballast(struct journal *j, int64_t now_ns) {
    j->ballast_ns = now_ns + BALLAST_EVERY_MS * 1000000ll;
    if (store_ballast_restore(j->store) == OK) j->ballast_out = false;
}

int64_t housekeeping_wake_ns(const struct journal *j) {
    if (j->stopping || j->failed) return INT64_MAX;
    bool keeps = !j->opts.retention_ms && !j->opts.retention_bytes;
    int64_t wake = keeps ? INT64_MAX : j->retire_ns;
    if (j->ballast_out && j->ballast_ns < wake) wake = j->ballast_ns;
    return wake;
}

bool housekeeping_step(struct journal *j) {
    int64_t now_ns = journal_now_ns(j);
    if (j->retiring) {
        retire_step(j);
        return j->retiring;
    }
    if (now_ns < housekeeping_wake_ns(j)) return false;
    if (j->ballast_out && now_ns >= j->ballast_ns) restore_ballast(j, now_ns);
    if (now_ns >= j->retire_ns) retire_begin(j, now_ns);
    return j->retiring;
}
