// Which versions a process holds.
//
// A version travels to a process with the first call that needs it, together with its
// secrets and its webhook's stored keys. Older versions leave when a newer one comes and
// nothing of theirs is out there; the least recently used leave when the process holds
// too much.
#include <stdlib.h>

#include "script_inner.h"

enum {
    VERSIONS_MEMORY_MAX = 1024 * 1024 * 1024,
    VERSION_MEMORY_GUESS = 64 * 1024,
    LOAD_ARENA_MAX = 8 * 1024 * 1024,
};

static struct slice key_of(struct hook *const *hook) {
    return slice((const char *)hook, sizeof *hook);
}

struct script_version *script_version_find(struct script_process *process,
                                           const struct hook *hook) {
    struct hook *key = (struct hook *)(uintptr_t)hook;
    return map_get(&process->by_hook, key_of(&key));
}

void script_version_drop(struct script_process *process, struct script_version *version) {
    if (process->running) wire_put_drop(&process->out, version->number);
    map_remove(&process->by_hook, key_of(&version->hook));
    list_remove(&version->by_use);
    list_remove(&version->of_queue);
    process->memory -= version->memory;
    process->free_numbers[process->free_count++] = version->number;
    hook_unref(version->hook);
    free(version);
}

void script_version_drop_all(struct script_process *process, struct script_queue *queue) {
    struct list *head = queue ? &queue->versions : &process->versions;
    while (!list_empty(head)) {
        struct script_version *version =
            queue ? list_item(head->next, struct script_version, of_queue)
                  : list_item(head->next, struct script_version, by_use);
        script_version_drop(process, version);
    }
}

void script_version_told(struct script_process *process, struct script_version *version,
                         size_t memory) {
    if (!memory) return; // an answer that says nothing of it
    process->memory += memory - version->memory;
    version->memory = memory;
}

static void drop_idle_of(struct script_process *process, struct script_queue *queue) {
    for (struct list *link = queue->versions.next, *next; link != &queue->versions; link = next) {
        struct script_version *version = list_item(link, struct script_version, of_queue);
        next = link->next;
        if (!version->sent) script_version_drop(process, version);
    }
}

static void make_room(struct script_process *process) {
    for (struct list *link = process->versions.next, *next;
         link != &process->versions && process->memory > VERSIONS_MEMORY_MAX; link = next) {
        struct script_version *version = list_item(link, struct script_version, by_use);
        next = link->next;
        if (!version->sent) script_version_drop(process, version);
    }
}

static bool give_number(struct script_process *process, uint32_t *number) {
    if (process->free_count) {
        *number = process->free_numbers[--process->free_count];
        return true;
    }
    // room for every number given out, so that giving one back never fails
    if (process->next_number >= process->free_room) {
        size_t room = process->free_room ? 2 * process->free_room : 64;
        uint32_t *grown = realloc(process->free_numbers, room * sizeof *grown);
        if (!grown) return false;
        process->free_numbers = grown;
        process->free_room = room;
    }
    *number = process->next_number++;
    return true;
}

// --- what travels with it ---

struct gather {
    struct arena *arena;
    struct script_kv **tail;
    bool failed;
};

static void gather_kv(void *user, const struct script_kv *from) {
    struct gather *gather = user;
    struct script_kv *kv = arena_zalloc(gather->arena, 1, sizeof *kv);
    if (!kv) {
        gather->failed = true;
        return;
    }
    *kv = (struct script_kv){ .key = arena_dup(gather->arena, from->key),
                              .value = arena_dup(gather->arena, from->value),
                              .expires_ms = from->expires_ms };
    gather->failed = gather->failed || !kv->key.p || !kv->value.p;
    *gather->tail = kv;
    gather->tail = &kv->next;
}

static struct script_kv *stored_keys(struct script_pool *pool, struct script_queue *queue,
                                     struct arena *arena) {
    struct script_kv *list = NULL;
    struct gather gather = { arena, &list, false };
    if (pool->opts.kv_load)
        pool->opts.kv_load(pool->opts.kv_user, slice_str(queue->name), gather_kv, &gather);
    script_store_each(queue, gather_kv, &gather);
    return list;
}

static void granted_secrets(struct script_pool *pool, const struct hook *hook, struct arena *arena,
                            struct wire_load *load) {
    load->secrets = arena_zalloc(arena, hook->script_secrets_count + 1, sizeof *load->secrets);
    for (size_t i = 0; load->secrets && pool->opts.secret && i < hook->script_secrets_count; i++) {
        struct slice value;
        if (!pool->opts.secret(pool->opts.secret_user, hook->script_secrets[i], &value)) continue;
        load->secrets[load->secrets_count++] =
            (struct wire_secret){ hook->script_secrets[i], arena_dup(arena, value) };
    }
}

static void put_load(struct script_process *process, const struct script_version *version,
                     struct script_queue *queue, uint64_t serial) {
    const struct hook *hook = version->hook;
    struct arena arena;
    arena_init(&arena, LOAD_ARENA_MAX);
    struct wire_load load = { .serial = serial,
                              .hook = version->number,
                              .name = hook->name,
                              .file = hook->file,
                              .version = hook->version,
                              .source = hook->source,
                              .description = hook->description };
    granted_secrets(process->pool, hook, &arena, &load);
    // while another version is there, the child has the store already
    if (queue && list_empty(&queue->versions)) load.kv = stored_keys(process->pool, queue, &arena);
    wire_put_load(&process->out, &load);
    arena_deinit(&arena);
}

struct script_version *script_version_need(struct script_process *process, struct hook *hook,
                                           struct script_queue *queue, uint64_t serial) {
    struct script_version *version = script_version_find(process, hook);
    if (version) {
        list_remove(&version->by_use);
        list_push(&process->versions, &version->by_use);
        return version;
    }
    version = calloc(1, sizeof *version);
    if (!version || !give_number(process, &version->number)) {
        free(version);
        return NULL;
    }
    version->hook = hook_ref(hook);
    list_init(&version->by_use);
    list_init(&version->of_queue);
    version->memory = VERSION_MEMORY_GUESS;
    process->memory += version->memory;
    put_load(process, version, queue, serial);
    if (queue) {
        drop_idle_of(process, queue);
        list_push(&queue->versions, &version->of_queue);
    }
    make_room(process);
    list_push(&process->versions, &version->by_use);
    if (!map_put(&process->by_hook, key_of(&version->hook), version)) {
        script_version_drop(process, version);
        return NULL;
    }
    return version;
}
