// The webhooks as the journal sees them: numbers, operating states, the live
// version. A state is planned in a transaction and takes effect when it is on
// disk; the dispatcher's queue follows from state and version alone
// (webhook_follow), so it cannot disagree with the store for long.
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "clock.h"
#include "journal_inner.h"
#include "log.h"

struct webhook *webhook_find(const struct journal *j, struct slice name) {
    return map_get(&j->webhooks, name);
}

struct webhook *webhook_get(struct journal *j, struct slice name) {
    struct webhook *w = webhook_find(j, name);
    if (w) return w;
    w = calloc(1, sizeof *w + name.n + 1);
    if (!w) return NULL;
    char *copy = (char *)(w + 1);
    if (name.n) memcpy(copy, name.p, name.n);
    w->name = slice(copy, name.n);
    list_init(&w->all);
    list_init(&w->touched_link);
    if (!map_put(&j->webhooks, w->name, w)) {
        free(w);
        return NULL;
    }
    list_push(&j->all, &w->all);
    return w;
}

enum err webhook_number(struct journal *j, struct webhook *w, struct fail *fail) {
    if (w->number) return OK;
    enum err err = store_hook_number(j->store, w->name, &w->number, fail);
    if (err) return err;
    w->numbered = true;
    webhook_touch(j, w);
    return OK;
}

void webhook_touch(struct journal *j, struct webhook *w) {
    if (w->touched) return;
    w->touched = true;
    w->saved = w->status;
    list_push(&j->touched, &w->touched_link);
}

void webhook_set_state(struct journal *j, struct webhook *w, enum hook_state state,
                       struct slice reason, struct slice version) {
    webhook_touch(j, w);
    w->status.state = state;
    w->status.since_ms = clock_wall_ms();
    snprintf(w->status.reason, sizeof w->status.reason, "%.*s", SLICE_FMT(reason));
    snprintf(w->status.version, sizeof w->status.version, "%.*s", SLICE_FMT(version));
    if (state == HOOK_ACTIVE) w->status.failing = (struct failing){ 0 };
    w->dirty = true;
}

bool webhook_accepts(const struct webhook *w) {
    return w->status.state != HOOK_DISABLED && w->status.state != HOOK_REMOVED;
}

// --- The queue follows ---

static bool may_run(const struct webhook *w) {
    if (!w->hook || !w->queue) return false;
    if (w->status.state == HOOK_ACTIVE) return true;
    // Its worker applies the other policies to a script in quarantine.
    return w->status.state == HOOK_QUARANTINED && w->hook->on_script_error != HOOK_HOLD;
}

static void limit_queue(struct webhook *w, int64_t now_ns) {
    struct dispatch_limits limits = {
        .concurrency = w->hook->concurrency,
        .rate = w->hook->rate,
        .breaker = w->hook->breaker,
        .org = w->hook->org,
        .ordered = w->hook->order_by != NULL,
    };
    if (!dispatch_queue_limit(w->queue, &limits, now_ns))
        log_line(LOG_ERROR, "no memory for a webhook's limits", NULL);
}

// A start is no reason to send a burst again, nor to try a dead endpoint over and over.
static void recall_past(struct journal *j, struct webhook *w, int64_t now_ns) {
    struct dispatch_past past = { .attempt_ms = w->status.attempt_ms,
                                  .failures = w->status.failing.failures,
                                  .failing_since_ms = w->status.failing.since_ms,
                                  .random = journal_random(j) };
    if (!w->recalled) dispatch_queue_recall(w->queue, &past, now_ns);
    w->recalled = true;
}

static void webhook_follow(struct journal *j, struct webhook *w) {
    int64_t now_ns = journal_now_ns(j);
    if (w->number && !w->queue) w->queue = dispatch_queue_new(j->dispatch, w->number, w);
    if (!w->queue) return;
    bool open = may_run(w);
    if (open) limit_queue(w, now_ns);
    if (open) recall_past(j, w, now_ns);
    if (open != w->open) {
        w->open = open;
        dispatch_queue_hold(w->queue, !open, now_ns);
        dispatch_queue_reset(w->queue, open, now_ns);
    }
    if (!webhook_accepts(w) && w->pending) moves_park(j, w);
}

// --- Together with the transaction ---

static enum err write_status(struct journal *j, struct webhook *w, struct fail *fail) {
    enum err err = webhook_number(j, w, fail);
    if (err) return err;
    return store_put_hook(j->store,
                          &(struct store_hook){
                              .number = w->number,
                              .name = w->name,
                              .state = w->status.state,
                              .reason = slice_str(w->status.reason),
                              .version = slice_str(w->status.version),
                              .since_ms = w->status.since_ms,
                              .failing_since_ms = w->status.failing.since_ms,
                              .failures = w->status.failing.failures,
                              .attempt_ms = w->status.attempt_ms,
                          },
                          fail);
}

enum err webhooks_write(struct journal *j, struct fail *fail) {
    enum err err = OK;
    for (struct list *link = j->touched.next; link != &j->touched && !err; link = link->next) {
        struct webhook *w = list_item(link, struct webhook, touched_link);
        if (w->dirty) err = write_status(j, w, fail);
    }
    return err;
}

static struct webhook *next_touched(struct journal *j) {
    struct list *link = list_pop(&j->touched);
    if (!link) return NULL;
    struct webhook *w = list_item(link, struct webhook, touched_link);
    w->touched = w->dirty = false;
    return w;
}

void webhooks_commit(struct journal *j) {
    for (struct webhook *w; (w = next_touched(j));) {
        bool changed = w->numbered || w->status.state != w->saved.state;
        w->numbered = false;
        if (!changed) continue;
        if (w->status.state != w->saved.state) {
            char name[72];
            static const char *const states[] = { "active", "disabled", "paused", "quarantined",
                                                  "removed" };
            snprintf(name, sizeof name, "%.*s", SLICE_FMT(w->name));
            log_line(LOG_INFO, "webhook state", "webhook", name, "state", states[w->status.state],
                     "reason", w->status.reason, NULL);
        }
        webhook_follow(j, w);
    }
}

void webhooks_rollback(struct journal *j) {
    for (struct webhook *w; (w = next_touched(j));) {
        w->status = w->saved;
        if (w->numbered) w->number = 0;
        w->numbered = false;
    }
}

// --- Start ---

struct loading {
    struct journal *j;
    bool failed;
};

static void on_stored_hook(void *user, const struct store_hook *hook) {
    struct loading *loading = user;
    struct webhook *w = webhook_get(loading->j, hook->name);
    if (!w) {
        loading->failed = true;
        return;
    }
    w->number = hook->number;
    w->status.state = hook->state;
    w->status.since_ms = hook->since_ms;
    w->status.failing = (struct failing){ hook->failing_since_ms, hook->failures };
    w->status.attempt_ms = hook->attempt_ms;
    snprintf(w->status.reason, sizeof w->status.reason, "%.*s", SLICE_FMT(hook->reason));
    snprintf(w->status.version, sizeof w->status.version, "%.*s", SLICE_FMT(hook->version));
}

static void on_pending_hook(void *user, int64_t number, struct slice name, uint64_t count,
                            int64_t first_due_ms) {
    struct loading *loading = user;
    struct webhook *w = webhook_get(loading->j, name);
    int64_t now_ms = ns_to_ms(journal_now_ns(loading->j));
    if (!w) {
        loading->failed = true;
        return;
    }
    w->number = number;
    w->pending = count;
    // What was due may have been on its way when the engine ended, and nobody noted that.
    if (first_due_ms <= now_ms) w->status.attempt_ms = now_ms;
    loading->j->pending += count;
}

enum err webhooks_load(struct journal *j, struct fail *fail) {
    struct loading loading = { .j = j };
    enum err err = store_each_hook(j->store, on_stored_hook, &loading, fail);
    if (!err) err = store_pending_hooks(j->store, on_pending_hook, &loading, fail);
    if (!err && loading.failed)
        return fail_set(fail, ERR_NOMEM, 0, "no_memory", "no memory for the webhooks");
    return err;
}

// --- A new hook set ---

static bool is_edit(const struct webhook *w, const struct hook *hook) {
    return w->status.version[0] && !slice_eq(slice_str(w->status.version), hook->version);
}

// What a version that comes in means for its webhook's state.
static void plan_arrival(struct journal *j, struct webhook *w, const struct hook *hook) {
    enum hook_state state = w->status.state;
    bool edit = is_edit(w, hook);
    w->unpark_removed = state == HOOK_REMOVED;
    w->unpark_script = edit && (state == HOOK_ACTIVE || state == HOOK_QUARANTINED);
    bool lifted = state == HOOK_REMOVED || (state == HOOK_QUARANTINED && edit);
    if (lifted) {
        webhook_set_state(j, w, HOOK_ACTIVE, S(""), hook->version);
    } else if (state == HOOK_ACTIVE && !slice_eq(slice_str(w->status.version), hook->version)) {
        webhook_touch(j, w);
        snprintf(w->status.version, sizeof w->status.version, "%.*s", SLICE_FMT(hook->version));
        w->dirty = true;
    }
}

static enum err plan_set(struct journal *j, void *user, struct fail *fail) {
    const struct hook_set *set = user;
    enum err err = OK;
    for (size_t i = 0; i < set->count && !err; i++) {
        struct hook *hook = set->hooks[i];
        struct webhook *w = webhook_get(j, hook->name);
        if (!w) return fail_set(fail, ERR_NOMEM, 0, "no_memory", "no memory for a webhook");
        if (w->hook == hook) continue;
        err = webhook_number(j, w, fail);
        if (!err && (!w->hook || !slice_eq(w->hook->version, hook->version)))
            err = store_put_source(j->store, hook->version, hook->name, hook->source, fail);
        if (!err) plan_arrival(j, w, hook);
    }
    for (struct list *link = j->all.next; link != &j->all; link = link->next) {
        struct webhook *w = list_item(link, struct webhook, all);
        bool ran = w->status.state == HOOK_ACTIVE || w->status.state == HOOK_QUARANTINED;
        if (w->hook && ran && !hook_set_find(set, w->name))
            webhook_set_state(j, w, HOOK_REMOVED, S("webhook removed"), w->hook->version);
    }
    return err;
}

static void take_version(struct journal *j, struct webhook *w, struct hook *hook) {
    if (hook != w->hook) {
        hook_unref(w->hook);
        w->hook = hook ? hook_ref(hook) : NULL;
    }
    webhook_follow(j, w);
    if (w->unpark_removed) moves_release(j, w, S("webhook removed"));
    if (w->unpark_script) moves_release(j, w, S("script_error:"));
    w->unpark_removed = w->unpark_script = false;
}

enum err webhooks_change(struct journal *j, struct hook_set *set, struct fail *fail) {
    enum err err = journal_transaction(j, plan_set, set, fail);
    if (err == ERR_IO) {
        hook_set_unref(set);
        return err;
    }
    // Even when the states could not be written: the senders use this set by now.
    hook_set_unref(j->hooks);
    j->hooks = set;
    for (struct list *link = j->all.next; link != &j->all; link = link->next) {
        struct webhook *w = list_item(link, struct webhook, all);
        take_version(j, w, hook_set_find(set, w->name));
    }
    return err;
}

void webhooks_free(struct journal *j) {
    for (struct list *link; (link = list_pop(&j->all));) {
        struct webhook *w = list_item(link, struct webhook, all);
        hook_unref(w->hook);
        free(w);
    }
    map_deinit(&j->webhooks);
}
