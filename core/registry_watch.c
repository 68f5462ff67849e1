// When to look: a change in scripts/ or scripts/lib starts a short wait, so that an
// editor's several steps are one; a burst that does not end is cut after 50 ms.
#include <stdio.h>

#include "clock.h"
#include "log.h"
#include "registry_inner.h"

enum { SETTLE_MS = 20, SETTLE_MAX_MS = 50 };

static void on_settled(uv_timer_t *timer) {
    struct registry *registry = timer->data;
    registry->unsettled_ns = 0;
    registry_scan(registry);
}

static void on_changed(uv_fs_event_t *event, const char *name, int events, int status) {
    struct registry *registry = event->data;
    (void)name, (void)events;
    if (status != 0 || registry->closing) return;
    int64_t now = clock_mono_ns();
    if (!registry->unsettled_ns) registry->unsettled_ns = now;
    int64_t left = SETTLE_MAX_MS - (now - registry->unsettled_ns) / 1000000;
    int64_t wait = left < SETTLE_MS ? (left < 0 ? 0 : left) : SETTLE_MS;
    uv_timer_start(&registry->settle, on_settled, (uint64_t)wait, 0);
}

// Starts a watch, or moves it when another directory stands under the name now.
static int watch(uv_fs_event_t *event, const char *dir, ino_t *inode) {
    struct stat st;
    if (stat(dir, &st) != 0) return UV_ENOENT;
    if (st.st_ino == *inode) return 0;
    uv_fs_event_stop(event);
    int err = uv_fs_event_start(event, on_changed, dir, 0);
    *inode = err ? 0 : st.st_ino;
    return err;
}

// Without a watch (no inotify left, a foreign file system) SIGHUP still works.
void registry_watch(struct registry *registry) {
    char lib[4200];
    if (!registry->opts.watch) return;
    snprintf(lib, sizeof lib, "%s/lib", registry->opts.scripts_dir);
    watch(&registry->watch_lib, lib, &registry->lib_inode);
    int err = watch(&registry->watch_dir, registry->opts.scripts_dir, &registry->dir_inode);
    if (err && !registry->watch_warned)
        log_line(LOG_WARN, "changed scripts are not noticed; send SIGHUP after a change", "dir",
                 registry->opts.scripts_dir, "error", uv_strerror(err), NULL);
    registry->watch_warned = err != 0;
}
