// One file's way to a running version: read, compiled and described by a script
// process, built here, tested when that is asked for. Whatever goes wrong on the way
// leaves the version that runs where it is.
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "clock.h"
#include "json.h"
#include "log.h"
#include "registry_inner.h"
#include "sign.h"

enum {
    IN_FLIGHT_MAX = 32,
    READ_MAX = 256 * 1024 + 1, // one more than is allowed: the loader says so
    PUBLISH_MS = 100,
};

static void on_loaded(void *user, const struct script_loaded *loaded);

// --- the end of a load ---

static void finish(struct registry_entry *entry) {
    struct registry *registry = entry->registry;
    entry->loading = false;
    registry->in_flight--;
    if (registry->closing) return;
    if (entry->gone) {
        map_remove(&registry->entries, slice_str(entry->name));
        registry_entry_free(entry);
    } else if (entry->again) {
        entry->again = false;
        list_push(&registry->to_load, &entry->link);
    }
    registry_advance(registry);
}

static void set_error(struct registry_entry *entry, const char *text) {
    bool new = !text || !entry->error || strcmp(text, entry->error) != 0;
    char *kept = text ? strdup(text) : NULL;
    free(entry->error);
    entry->error = kept;
    if (!text || !new) return;
    log_line(LOG_ERROR,
             entry->hook ? "script is broken; the version before it goes on"
                         : "script is broken; its webhook does not run",
             "webhook", entry->name, "error", text, NULL);
}

static void adopt(struct registry_entry *entry, struct hook *hook) {
    char version[20];
    if (entry->gone) {
        hook_unref(hook);
        return;
    }
    snprintf(version, sizeof version, "%.*s", SLICE_FMT(hook->version));
    log_line(LOG_INFO, entry->hook ? "script reloaded" : "script loaded", "webhook", entry->name,
             "version", version, NULL);
    hook_unref(entry->hook);
    entry->hook = hook;
    entry->loaded_ms = clock_wall_ms();
    entry->registry->dirty = true;
    set_error(entry, NULL);
}

// --- tests before a version goes live ---

// The first failed test of a report.
static void describe_failure(struct registry_entry *entry, const struct hook *hook,
                             struct slice report, char *text, size_t room) {
    struct arena arena;
    struct json test;
    size_t at = 0;
    arena_init(&arena, 4 * 1024 * 1024);
    struct slice name = S("?"), message = S("");
    while (json_next(json_get(json_root(report), "tests"), &at, NULL, &test)) {
        if (json_get(test, "ok").type == JSON_TRUE) continue;
        name = json_text(json_get(test, "name"), &arena);
        message = json_text(json_get(test, "message"), &arena);
        break;
    }
    snprintf(text, room, "%s:%u: test \"%.*s\" failed: %.*s", entry->path,
             hook_test_line(hook, name), SLICE_FMT(name), SLICE_FMT(message));
    arena_deinit(&arena);
}

static void on_tested(void *user, bool ok, struct slice report) {
    struct registry_entry *entry = user;
    struct hook *hook = entry->next;
    entry->next = NULL;
    if (ok) {
        adopt(entry, hook);
    } else {
        char text[1024];
        describe_failure(entry, hook, report, text, sizeof text);
        hook_unref(hook);
        if (!entry->gone && !entry->registry->closing) set_error(entry, text);
    }
    finish(entry);
}

// --- compiled ---

static bool keep_libs(struct registry_entry *entry, struct slice libs) {
    free(entry->libs);
    entry->libs = strndup(libs.n ? libs.p : "", libs.n);
    return entry->libs != NULL;
}

// Not when the engine starts: its webhooks run again as fast as they can, and one whose test
// has come to fail (a date in it has passed) does not lose its events for that.
static bool needs_tests(const struct registry *registry, const struct hook *hook) {
    return registry->opts.run_tests && registry->published && hook->tests.n;
}

static void build(struct registry_entry *entry, const struct script_loaded *loaded) {
    struct registry *registry = entry->registry;
    struct fail fail = { .text = "" };
    struct hook *hook = hook_new(&(struct hook_input){ .name = slice_str(entry->name),
                                                       .file = slice_str(entry->path),
                                                       .source = loaded->source,
                                                       .version = loaded->version,
                                                       .description = loaded->description,
                                                       .catalog = registry->opts.catalog,
                                                       .guard = registry->opts.guard },
                                 NULL, NULL, &fail);
    if (!hook) {
        set_error(entry, fail.text);
        if (fail.code == ERR_NOMEM) registry_retry(registry, entry);
        finish(entry);
    } else if (needs_tests(registry, hook)) {
        entry->next = hook;
        script_gate(registry->pool, hook, on_tested, entry);
    } else {
        adopt(entry, hook);
        finish(entry);
    }
}

static void on_loaded(void *user, const struct script_loaded *loaded) {
    struct registry_entry *entry = user;
    if (!entry->registry->closing && !entry->gone) {
        bool kept = keep_libs(entry, loaded->libs);
        if (loaded->ok && kept) {
            build(entry, loaded);
            return;
        }
        set_error(entry, loaded->ok ? "no memory" : loaded->error);
        if (loaded->passing || !kept) registry_retry(entry->registry, entry);
    }
    finish(entry);
}

// --- read ---

static bool is_name(const char *name) {
    size_t n = strlen(name);
    if (n > REGISTRY_NAME_MAX || !(islower((unsigned char)*name) || isdigit((unsigned char)*name)))
        return false;
    return strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_-") == n;
}

static char *read_text(const char *path, size_t *n) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    char *text = fd < 0 ? NULL : malloc(READ_MAX);
    ssize_t got = 0;
    for (*n = 0; text && *n < READ_MAX; *n += (size_t)got) {
        got = read(fd, text + *n, READ_MAX - *n);
        if (got <= 0) break;
    }
    if (fd >= 0) close(fd);
    if (got >= 0) return text;
    free(text);
    return NULL;
}

// False when the text is the one that was tried last and no shared file changed.
static bool is_new_text(struct registry_entry *entry, struct slice text) {
    uint8_t hash[32];
    hash_sha256(text, hash);
    bool new = entry->forced || memcmp(hash, entry->hash, sizeof hash) != 0;
    entry->forced = false;
    memcpy(entry->hash, hash, sizeof hash);
    return new;
}

static void load(struct registry_entry *entry) {
    struct registry *registry = entry->registry;
    char problem[5000] = "";
    size_t n = 0;
    char *text = read_text(entry->path, &n);
    if (!text)
        snprintf(problem, sizeof problem, "%s:1: cannot be read: %s", entry->path, strerror(errno));
    else if (!is_name(entry->name))
        snprintf(problem, sizeof problem,
                 "%s:1: a webhook's file name is lower-case letters, digits, _ and -, at most 64",
                 entry->path);
    if (*problem) {
        if (!text && registry_passing(errno)) registry_retry(registry, entry);
        set_error(entry, problem);
    } else if (is_new_text(entry, slice(text, n))) {
        entry->loading = true;
        registry->in_flight++;
        script_load(registry->pool, slice_str(entry->name), slice_str(entry->path), slice(text, n),
                    on_loaded, entry);
    }
    free(text);
}

// --- publication ---

static void on_publish(uv_timer_t *timer) {
    struct registry *registry = timer->data;
    if (registry->dirty && !registry->closing) registry_publish(registry);
}

void registry_publish(struct registry *registry) {
    size_t count = 0, at = 0;
    struct map_entry *one;
    struct hook **hooks = malloc((registry->entries.count + 1) * sizeof *hooks);
    while (hooks && (one = map_next(&registry->entries, &at)) != NULL) {
        struct registry_entry *entry = one->value;
        if (entry->hook) hooks[count++] = entry->hook;
    }
    struct hook_set *set = hooks ? hook_set_new(hooks, count) : NULL;
    free(hooks);
    registry->dirty = !set;
    if (!set) {
        uv_timer_start(&registry->publish, on_publish, PUBLISH_MS, 0);
        return;
    }
    uv_timer_stop(&registry->publish);
    registry->published = true;
    registry->opts.changed(registry->opts.user, set);
    hook_set_unref(set);
}

void registry_advance(struct registry *registry) {
    if (registry->closing || registry->advancing) return;
    registry->advancing = true; // a load that is refused at once comes back here
    while (registry->in_flight < IN_FLIGHT_MAX && !list_empty(&registry->to_load))
        load(list_item(list_pop(&registry->to_load), struct registry_entry, link));
    registry->advancing = false;
    bool done = !registry->in_flight && list_empty(&registry->to_load);
    bool well = !registry->retrying && !registry->look_again;
    // what is pending for the others does not wait for ever; events do (registry_is_whole)
    bool enough = well || registry->published || registry_is_short_long(registry);
    if (done && well) registry->short_since_ns = 0;
    if (done && well && !registry->whole) registry->whole = registry->dirty = true;
    if (done && enough && (registry->dirty || !registry->published))
        registry_publish(registry);
    else if (registry->dirty && registry->published &&
             !uv_is_active((uv_handle_t *)&registry->publish))
        uv_timer_start(&registry->publish, on_publish, PUBLISH_MS, 0);
}
