// The registry's life. It looks at the directory when it starts, when something in it
// changed, and when it is told to; what changed is loaded (registry_load.c), and one new
// set of webhooks is published for all of it.
#include "registry.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "registry_inner.h"

static void part_closed(struct registry *registry) {
    if (--registry->handles) return;
    size_t at = 0;
    struct map_entry *one;
    while ((one = map_next(&registry->entries, &at)) != NULL) registry_entry_free(one->value);
    map_deinit(&registry->entries);
    registry_forget_libs(registry);
    void (*closed)(void *user) = registry->closed;
    void *user = registry->closed_user;
    free(registry);
    closed(user);
}

static void on_handle_closed(uv_handle_t *handle) {
    part_closed(handle->data);
}

static void on_pool_closed(void *user) {
    part_closed(user);
}

static void init_handles(struct registry *registry) {
    uv_fs_event_init(registry->loop, &registry->watch_dir);
    uv_fs_event_init(registry->loop, &registry->watch_lib);
    uv_timer_init(registry->loop, &registry->settle);
    uv_timer_init(registry->loop, &registry->publish);
    uv_timer_init(registry->loop, &registry->retry);
    registry->watch_dir.data = registry->watch_lib.data = registry;
    registry->settle.data = registry->publish.data = registry->retry.data = registry;
    registry->handles = 6; // these and the pool
}

static void on_first_look(uv_timer_t *timer) {
    registry_scan(timer->data);
}

struct registry *registry_new(uv_loop_t *loop, const struct registry_opts *opts,
                              struct fail *fail) {
    DIR *dir = opendir(opts->scripts_dir);
    if (dir) closedir(dir);
    if (!dir) {
        fail_set(fail, ERR_NOTFOUND, 0, "no_scripts", "the scripts directory %s: %s",
                 opts->scripts_dir, strerror(errno));
        return NULL;
    }
    struct registry *registry = calloc(1, sizeof *registry);
    if (!registry) {
        fail_set(fail, ERR_NOMEM, 0, "no_memory", "no memory for the registry");
        return NULL;
    }
    registry->loop = loop;
    registry->opts = *opts;
    list_init(&registry->to_load);
    map_init(&registry->entries);
    map_init(&registry->libs);
    registry->pool = script_pool_new(loop, &opts->script, fail);
    if (!registry->pool) {
        free(registry);
        return NULL;
    }
    init_handles(registry);
    registry_watch(registry);
    // from the loop, so that `changed` never runs before the caller has the registry
    uv_timer_start(&registry->settle, on_first_look, 0, 0);
    return registry;
}

void registry_scan(struct registry *registry) {
    if (registry->closing) return;
    registry_watch(registry);
    registry_look(registry);
    registry_advance(registry);
}

void registry_close(struct registry *registry, void (*closed)(void *user), void *user) {
    registry->closing = true;
    registry->closed = closed;
    registry->closed_user = user;
    script_pool_close(registry->pool, on_pool_closed, registry);
    uv_close((uv_handle_t *)&registry->watch_dir, on_handle_closed);
    uv_close((uv_handle_t *)&registry->watch_lib, on_handle_closed);
    uv_close((uv_handle_t *)&registry->settle, on_handle_closed);
    uv_close((uv_handle_t *)&registry->publish, on_handle_closed);
    uv_close((uv_handle_t *)&registry->retry, on_handle_closed);
}

bool registry_is_whole(const struct registry *registry) {
    return registry->whole;
}

void registry_each(struct registry *registry,
                   void (*one)(void *user, const struct registry_file *file), void *user) {
    size_t at = 0;
    struct map_entry *next;
    while ((next = map_next(&registry->entries, &at)) != NULL) {
        const struct registry_entry *entry = next->value;
        if (entry->gone) continue;
        struct registry_file file = { .name = slice_str(entry->name),
                                      .file = slice_str(entry->path),
                                      .version = entry->hook ? entry->hook->version : S(""),
                                      .error = slice_str(entry->error),
                                      .hook = entry->hook,
                                      .loaded_ms = entry->loaded_ms };
        one(user, &file);
    }
}
