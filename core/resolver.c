// A name is one struct for its whole life here: cached answer, waiting for a
// turn, or being looked up in one of RESOLVER_JOBS_MAX slots.
//
// Silent names must not starve others: while names wait, a slot that has been
// silent for SLICE_MS gives way, and its name queues again behind all that were
// never tried. SLOTS_KNOWN slots serve only names that had an answer before.
#include "resolver.h"

#include <assert.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "clock.h"
#include "map.h"
#include "resolver_inner.h"

enum {
    TIMEOUT_MS = 5000,
    TICK_MS = 50,
    SLICE_MS = 500,
    SLOTS_KNOWN = 4,
    GRACE_MS = 250,  // for the other family, once one has answered
    TTL_MIN_S = 1,   // bounds the queries for a name with TTL 0
    TTL_ERROR_S = 3, // how long a failure is remembered
    NAMES_MAX = 1024,
    NAME_BYTES_MAX = 253,
};

#define MS_NS 1000000LL
#define S_NS 1000000000LL

struct name {
    struct list age;     // in resolver->names, least recently used first
    struct list queue;   // in resolver->known, ->fresh or ->again while it waits for a turn
    struct list lookups; // who waits
    struct slot *slot;   // where it is looked up
    struct slice key;    // `text`, lower case
    int64_t deadline_ns, expires_ns;
    struct resolved resolved;
    char text[NAME_BYTES_MAX + 1];
};

struct resolver {
    uv_loop_t *loop;
    uv_timer_t tick;
    struct slot slots[RESOLVER_JOBS_MAX];
    struct map by_name;
    struct list names, known, fresh, again;
    int64_t timeout_ns;
    char *servers;
    unsigned handles; // open uv handles
    bool closing;
    void (*closed)(void *user);
    void *user;
};

static void on_tick(uv_timer_t *timer);

// --- Birth and end ---

static pthread_once_t library_once = PTHREAD_ONCE_INIT;
static int library_status;

static void library_init(void) {
    library_status = ares_library_init(ARES_LIB_INIT_ALL);
}

struct resolver *resolver_new(uv_loop_t *loop, const struct resolver_opts *opts,
                              struct fail *fail) {
    pthread_once(&library_once, library_init);
    struct resolver *resolver = library_status == ARES_SUCCESS ? calloc(1, sizeof *resolver) : NULL;
    if (resolver && opts->servers) resolver->servers = strdup(opts->servers);
    if (!resolver || (opts->servers && !resolver->servers)) {
        free(resolver);
        fail_set(fail, ERR_NOMEM, 0, "out_of_memory", "no memory for the resolver");
        return NULL;
    }
    resolver->loop = loop;
    resolver->timeout_ns = (opts->timeout_ms ? opts->timeout_ms : TIMEOUT_MS) * MS_NS;
    map_init(&resolver->by_name);
    list_init(&resolver->names);
    list_init(&resolver->known);
    list_init(&resolver->fresh);
    list_init(&resolver->again);
    for (size_t i = 0; i < RESOLVER_JOBS_MAX; i++)
        resolver->slots[i] =
            (struct slot){ .resolver = resolver, .loop = loop, .servers = resolver->servers };
    uv_timer_init(loop, &resolver->tick);
    resolver->tick.data = resolver;
    resolver->handles = 1;
    return resolver;
}

void resolver_handle_opened(struct resolver *resolver) {
    resolver->handles++;
}

static void resolver_free(struct resolver *resolver) {
    struct list *link;
    while ((link = list_pop(&resolver->names))) free(list_item(link, struct name, age));
    map_deinit(&resolver->by_name);
    free(resolver->servers);
    free(resolver);
}

void resolver_handle_closed(struct resolver *resolver) {
    if (--resolver->handles > 0) return;
    assert(resolver->closing);
    void (*closed)(void *user) = resolver->closed;
    void *user = resolver->user;
    resolver_free(resolver);
    closed(user);
}

static void on_tick_closed(uv_handle_t *handle) {
    resolver_handle_closed(handle->data);
}

// --- Answers ---

static void refuse(struct resolved *resolved, const char *why) {
    *resolved = (struct resolved){ .err = ERR_NOT_NOW, .error_type = "dns_failed" };
    snprintf(resolved->error, sizeof resolved->error, "%s", why);
}

// Tells everybody who waits. They may call back into the resolver, where the
// name may be dropped: hence the copies.
static void tell(struct name *name) {
    struct list told;
    struct resolved resolved = name->resolved;
    list_init(&told);
    struct list *link;
    while ((link = list_pop(&name->lookups))) list_push(&told, link);
    while ((link = list_pop(&told))) {
        struct lookup *lookup = list_item(link, struct lookup, link);
        lookup->done(lookup, &resolved);
    }
}

// The slot's answer becomes its name's.
static void finish(struct slot *slot, bool timed_out) {
    struct name *name = slot->name;
    slot_answer(slot, timed_out);
    slot->name = NULL;
    name->slot = NULL;
    name->resolved = slot->found;
    int64_t ttl_s = slot->found.err != OK ? TTL_ERROR_S : slot->ttl_s;
    name->expires_ns = clock_mono_ns() + (ttl_s < TTL_MIN_S ? TTL_MIN_S : ttl_s) * S_NS;
    tell(name);
}

void resolver_slot_settled(struct slot *slot) {
    struct resolver *resolver = slot->resolver;
    finish(slot, false);
    if (!resolver->closing) uv_timer_start(&resolver->tick, on_tick, 0, TICK_MS);
}

// A name whose time ran out before it had a turn.
static void expire(struct name *name) {
    list_remove(&name->queue);
    name->resolved = (struct resolved){ .err = ERR_TIMEOUT,
                                        .error_type = "dns_timeout",
                                        .error = "too many names are being looked up" };
    name->expires_ns = 0;
    tell(name);
}

// --- Turns ---

static bool names_wait(const struct resolver *resolver) {
    return !list_empty(&resolver->known) || !list_empty(&resolver->fresh) ||
           !list_empty(&resolver->again);
}

// Looks after a slot at work: its deadline, its grace, its slice of time.
static void tend(struct slot *slot, int64_t now) {
    struct resolver *resolver = slot->resolver;
    struct name *name = slot->name;
    bool late = now >= name->deadline_ns;
    bool enough = slot->found_ns && now >= slot->found_ns + GRACE_MS * MS_NS;
    bool yields = names_wait(resolver) && now >= slot->started_ns + SLICE_MS * MS_NS;
    if (slot->running) slot_tick(slot);
    if (slot->running && (late || enough || yields)) {
        slot_cancel(slot);
        if (yields && !late && !slot->found.count) {
            slot->name = NULL;
            name->slot = NULL;
            list_push(&resolver->again, &name->queue);
            return;
        }
    }
    if (!slot->running) finish(slot, late);
}

static void give_turn(struct slot *slot) {
    struct resolver *resolver = slot->resolver;
    struct list *link = list_pop(&resolver->known);
    bool any = slot >= resolver->slots + SLOTS_KNOWN;
    if (!link && any) link = list_pop(&resolver->fresh);
    if (!link && any) link = list_pop(&resolver->again);
    if (!link) return;
    slot->name = list_item(link, struct name, queue);
    slot->name->slot = slot;
    slot_start(slot, slot->name->text);
    if (!slot->running) finish(slot, false);
}

static struct name *late_name(const struct resolver *resolver, int64_t now) {
    const struct list *queues[] = { &resolver->known, &resolver->fresh, &resolver->again };
    for (size_t i = 0; i < sizeof queues / sizeof *queues; i++)
        for (struct list *link = queues[i]->next; link != queues[i]; link = link->next) {
            struct name *name = list_item(link, struct name, queue);
            if (now >= name->deadline_ns) return name;
        }
    return NULL;
}

// The only place where slots change hands. `done` callbacks run in here and may
// close the resolver.
static void on_tick(uv_timer_t *timer) {
    struct resolver *resolver = timer->data;
    int64_t now = clock_mono_ns();
    struct name *name;
    bool busy = false;
    for (size_t i = 0; i < RESOLVER_JOBS_MAX && !resolver->closing; i++)
        if (resolver->slots[i].name) tend(&resolver->slots[i], now);
    while (!resolver->closing && (name = late_name(resolver, now))) expire(name);
    for (size_t i = 0; i < RESOLVER_JOBS_MAX && !resolver->closing; i++) {
        if (!resolver->slots[i].name) give_turn(&resolver->slots[i]);
        busy = busy || resolver->slots[i].name;
    }
    if (!busy && !resolver->closing && !names_wait(resolver)) uv_timer_stop(&resolver->tick);
}

// --- Names ---

static bool idle(const struct name *name) {
    return !name->slot && !list_linked(&name->queue) && list_empty(&name->lookups);
}

static void name_free(struct resolver *resolver, struct name *name) {
    map_remove(&resolver->by_name, name->key);
    list_remove(&name->age);
    free(name);
}

// Room for one more: drops the idle name that was used the longest time ago.
static bool make_room(struct resolver *resolver) {
    if (resolver->by_name.count < NAMES_MAX) return true;
    for (struct list *link = resolver->names.next; link != &resolver->names; link = link->next) {
        struct name *name = list_item(link, struct name, age);
        if (!idle(name)) continue;
        name_free(resolver, name);
        return true;
    }
    return false;
}

// The name's entry, made when it is not there; NULL when it cannot be.
static struct name *find_or_make(struct resolver *resolver, struct slice host) {
    char lower[NAME_BYTES_MAX];
    if (host.n == 0 || host.n > NAME_BYTES_MAX || slice_find(host, '\0') < host.n) return NULL;
    for (size_t i = 0; i < host.n; i++)
        lower[i] = (char)(host.p[i] >= 'A' && host.p[i] <= 'Z' ? host.p[i] | 0x20 : host.p[i]);
    struct name *name = map_get(&resolver->by_name, slice(lower, host.n));
    if (!name) {
        name = make_room(resolver) ? calloc(1, sizeof *name) : NULL;
        if (!name) return NULL;
        memcpy(name->text, lower, host.n);
        name->key = slice(name->text, host.n);
        list_init(&name->age);
        list_init(&name->queue);
        list_init(&name->lookups);
        if (!map_put(&resolver->by_name, name->key, name)) {
            free(name);
            return NULL;
        }
    }
    list_remove(&name->age);
    list_push(&resolver->names, &name->age);
    return name;
}

void resolver_lookup(struct resolver *resolver, struct slice host, struct lookup *lookup) {
    list_init(&lookup->link);
    struct name *name = resolver->closing ? NULL : find_or_make(resolver, host);
    if (!name) {
        struct resolved resolved;
        refuse(&resolved,
               resolver->closing ? "the resolver is closed" : "this name cannot be looked up");
        lookup->done(lookup, &resolved);
        return;
    }
    int64_t now = clock_mono_ns();
    bool asked = name->slot || list_linked(&name->queue);
    if (!asked && now < name->expires_ns) {
        struct resolved resolved = name->resolved;
        lookup->done(lookup, &resolved);
        return;
    }
    list_push(&name->lookups, &lookup->link);
    if (asked) return;
    name->deadline_ns = now + resolver->timeout_ns;
    list_push(name->resolved.count ? &resolver->known : &resolver->fresh, &name->queue);
    uv_timer_start(&resolver->tick, on_tick, 0, TICK_MS);
}

void resolver_forget(struct lookup *lookup) {
    list_remove(&lookup->link);
}

// Every name that is waited for is answered; nothing new can come in.
static void answer_all(struct resolver *resolver) {
    for (struct list *link = resolver->names.next; link != &resolver->names; link = link->next) {
        struct name *name = list_item(link, struct name, age);
        refuse(&name->resolved, "the resolver is closed");
        tell(name);
    }
}

void resolver_close(struct resolver *resolver, void (*closed)(void *user), void *user) {
    resolver->closing = true;
    resolver->closed = closed;
    resolver->user = user;
    for (size_t i = 0; i < RESOLVER_JOBS_MAX; i++) {
        resolver->slots[i].name = NULL;
        slot_deinit(&resolver->slots[i]);
    }
    uv_close((uv_handle_t *)&resolver->tick, on_tick_closed);
    answer_all(resolver);
}
