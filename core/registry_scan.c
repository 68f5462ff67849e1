// Finds out what changed by looking: names, inodes, sizes and times of all files, ten
// thousand in some milliseconds. What an event says is not relied on: editors rename,
// truncate, or swap symlinks, and events get lost when many come.
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "clock.h"
#include "log.h"
#include "registry_inner.h"

// A file that was modified so shortly before it was read may have been written again
// within the same tick of the file system's clock.
static const int64_t doubt_ns = 100 * 1000 * 1000;

enum { RETRY_MS = 200, RETRY_LATE_MS = 5000 };

struct registry_lib {
    struct registry_stamp stamp;
    bool seen;
    char name[256];
};

static int64_t ns_of(struct timespec t) {
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static bool take_stamp(const char *path, struct registry_stamp *stamp) {
    struct stat st;
    struct timespec now;
    if (stat(path, &st) != 0 || !S_ISREG(st.st_mode)) return false;
    clock_gettime(CLOCK_REALTIME, &now);
    *stamp = (struct registry_stamp){ .device = st.st_dev,
                                      .inode = st.st_ino,
                                      .size = st.st_size,
                                      .modified_ns = ns_of(st.st_mtim),
                                      .changed_ns = ns_of(st.st_ctim),
                                      .read_ns = ns_of(now) };
    return true;
}

static bool is_same(const struct registry_stamp *old, const struct registry_stamp *new) {
    return old->device == new->device && old->inode == new->inode && old->size == new->size &&
           old->modified_ns == new->modified_ns && old->changed_ns == new->changed_ns &&
           old->read_ns - old->changed_ns > doubt_ns;
}

// Calls back for every NAME.lua in `dir`, hidden files left out.
static bool each_file(const char *dir,
                      void (*one)(struct registry *registry, const char *name, const char *path),
                      struct registry *registry) {
    DIR *stream = opendir(dir);
    if (!stream) return false;
    struct dirent *entry;
    while ((entry = readdir(stream)) != NULL) {
        struct slice file = slice_str(entry->d_name);
        char name[256], path[4400];
        if (file.p[0] == '.' || !slice_ends(file, S(".lua"))) continue;
        snprintf(name, sizeof name, "%.*s", (int)(file.n - 4), file.p);
        snprintf(path, sizeof path, "%s/%s", dir, file.p);
        one(registry, name, path);
    }
    closedir(stream);
    return true;
}

// --- shared files ---

static bool uses(const struct registry_entry *entry, const char *lib) {
    struct slice rest = slice_str(entry->libs);
    while (rest.n) {
        struct slice name = slice(rest.p, slice_find(rest, '\n'));
        if (slice_eq(name, slice_str(lib))) return true;
        rest = slice_from(rest, name.n + 1);
    }
    return false;
}

static void reload(struct registry_entry *entry) {
    entry->forced = true;
    if (entry->loading)
        entry->again = true;
    else if (!list_linked(&entry->link))
        list_push(&entry->registry->to_load, &entry->link);
}

static void lib_changed(struct registry *registry, const char *lib) {
    size_t at = 0;
    struct map_entry *one;
    while ((one = map_next(&registry->entries, &at)) != NULL)
        if (uses(one->value, lib)) reload(one->value);
}

static void see_lib(struct registry *registry, const char *name, const char *path) {
    struct registry_stamp stamp;
    if (!take_stamp(path, &stamp)) return;
    struct registry_lib *lib = map_get(&registry->libs, slice_str(name));
    if (lib) {
        lib->seen = true;
        if (is_same(&lib->stamp, &stamp)) return;
    } else {
        lib = calloc(1, sizeof *lib);
        if (!lib) {
            registry_retry(registry, NULL);
            return;
        }
        lib->seen = true;
        snprintf(lib->name, sizeof lib->name, "%s", name);
        if (!map_put(&registry->libs, slice_str(lib->name), lib)) {
            free(lib);
            registry_retry(registry, NULL);
            return;
        }
    }
    lib->stamp = stamp;
    lib_changed(registry, name);
}

static void look_at_libs(struct registry *registry) {
    size_t at = 0;
    struct map_entry *one;
    char dir[4200];
    while ((one = map_next(&registry->libs, &at)) != NULL)
        ((struct registry_lib *)one->value)->seen = false;
    snprintf(dir, sizeof dir, "%s/lib", registry->opts.scripts_dir);
    each_file(dir, see_lib, registry);
    for (at = 0; (one = map_next(&registry->libs, &at)) != NULL;) {
        struct registry_lib *lib = one->value;
        if (lib->seen) continue;
        lib_changed(registry, lib->name);
        map_remove(&registry->libs, one->key);
        free(lib);
        at = 0; // the map changed: from the start
    }
}

void registry_forget_libs(struct registry *registry) {
    size_t at = 0;
    struct map_entry *one;
    while ((one = map_next(&registry->libs, &at)) != NULL) free(one->value);
    map_deinit(&registry->libs);
}

// --- webhooks ---

static struct registry_entry *entry_new(struct registry *registry, const char *name,
                                        const char *path) {
    struct registry_entry *entry = calloc(1, sizeof *entry);
    if (!entry) return NULL;
    entry->registry = registry;
    list_init(&entry->link);
    snprintf(entry->name, sizeof entry->name, "%s", name);
    entry->path = strdup(path);
    if (entry->path && map_put(&registry->entries, slice_str(entry->name), entry)) return entry;
    registry_entry_free(entry);
    return NULL;
}

void registry_entry_free(struct registry_entry *entry) {
    list_remove(&entry->link);
    entry->registry->retrying -= entry->retry;
    hook_unref(entry->hook);
    hook_unref(entry->next);
    free(entry->path);
    free(entry->libs);
    free(entry->error);
    free(entry);
}

static void see_file(struct registry *registry, const char *name, const char *path) {
    struct registry_stamp stamp;
    if (slice_ends(slice_str(name), S("_test")) || !take_stamp(path, &stamp)) return;
    struct registry_entry *entry = map_get(&registry->entries, slice_str(name));
    bool known = entry != NULL;
    if (!known) entry = entry_new(registry, name, path);
    if (!entry) {
        registry_retry(registry, NULL);
        return;
    }
    entry->seen = true;
    entry->gone = false;
    if (known && is_same(&entry->stamp, &stamp)) return;
    entry->stamp = stamp;
    if (entry->loading)
        entry->again = true;
    else if (!list_linked(&entry->link))
        list_push(&registry->to_load, &entry->link);
}

static void entry_gone(struct registry *registry, struct registry_entry *entry) {
    log_line(LOG_INFO, "script removed: its webhook is disabled", "webhook", entry->name, NULL);
    registry->dirty = registry->dirty || entry->hook;
    hook_unref(entry->hook);
    entry->hook = NULL;
    if (entry->loading) {
        entry->gone = true; // freed when its answer is there
        return;
    }
    map_remove(&registry->entries, slice_str(entry->name));
    registry_entry_free(entry);
}

static void drop_unseen(struct registry *registry) {
    size_t at = 0;
    struct map_entry *one;
    while ((one = map_next(&registry->entries, &at)) != NULL) {
        struct registry_entry *entry = one->value;
        if (entry->seen || entry->gone) continue;
        bool stays = entry->loading;
        entry_gone(registry, entry);
        if (!stays) at = 0;
    }
}

void registry_look(struct registry *registry) {
    size_t at = 0;
    struct map_entry *one;
    while ((one = map_next(&registry->entries, &at)) != NULL)
        ((struct registry_entry *)one->value)->seen = false;
    registry->look_again = false;
    if (!each_file(registry->opts.scripts_dir, see_file, registry)) {
        int errno_was = errno;
        // unreadable for a moment (a directory being swapped): nothing is disabled for that
        log_line(LOG_ERROR, "the scripts directory cannot be read", "dir",
                 registry->opts.scripts_dir, "error", strerror(errno_was), NULL);
        if (registry_passing(errno_was)) registry_retry(registry, NULL);
        return;
    }
    drop_unseen(registry);
    look_at_libs(registry);
}

// --- again, after a moment ---

bool registry_passing(int error) {
    return error == ENOMEM || error == EMFILE || error == ENFILE;
}

bool registry_is_short_long(const struct registry *registry) {
    int64_t since_ns = registry->short_since_ns;
    return since_ns && clock_mono_ns() - since_ns >= REGISTRY_PATIENCE_MS * 1000000ll;
}

static void on_retry(uv_timer_t *timer) {
    struct registry *registry = timer->data;
    size_t at = 0;
    struct map_entry *one;
    while ((one = map_next(&registry->entries, &at)) != NULL) {
        struct registry_entry *entry = one->value;
        if (!entry->retry) continue;
        entry->retry = false;
        registry->retrying--;
        reload(entry);
    }
    if (registry->look_again) registry_look(registry);
    registry_advance(registry);
}

void registry_retry(struct registry *registry, struct registry_entry *entry) {
    if (registry->closing) return;
    if (!entry) {
        registry->look_again = true;
    } else if (!entry->retry) {
        entry->retry = true;
        registry->retrying++;
    }
    if (!registry->short_since_ns) registry->short_since_ns = clock_mono_ns();
    if (uv_is_active((uv_handle_t *)&registry->retry)) return;
    uv_timer_start(&registry->retry, on_retry,
                   registry_is_short_long(registry) ? RETRY_LATE_MS : RETRY_MS, 0);
}
