// Files that are looked at and tests that are run, in a process of their own, so that
// a text that crashes the compiler meets nobody's calls. One file at a time is out
// there; thousands go through one process. Tried twice like a call, then told why.
//
// Shared files (`require "lib.name"`) are found by their quoted names, read here, and
// sent along: the child opens nothing. Names put together at run time are not found;
// the child then says so.
#include <ctype.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "script_inner.h"
#include "sign.h"

enum {
    SOURCE_MAX = 256 * 1024,
    LIBS_MAX = 64,
    TASK_ARENA_MAX = 64 * 1024 * 1024,
    TESTS_MS = 10 * 1000, // of CPU, for all tests of a file
    STRIKES_MAX = 2,
    TASKS_OUT_MAX = 1,
    LIB_NAME_MAX = 64,
};

// --- shared files ---

struct libs {
    const char *dir;
    struct buf *joined, *names;
    struct slice seen[LIBS_MAX];
    size_t count;
    struct arena *arena;
    char *error;
    size_t error_room;
};

static bool read_lib(struct libs *libs, struct slice name, struct slice *source) {
    char path[4200];
    struct stat st;
    snprintf(path, sizeof path, "%s/%.*s.lua", libs->dir, SLICE_FMT(name));
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return false;
    bool fine = fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size <= SOURCE_MAX;
    char *text = fine ? arena_alloc(libs->arena, (size_t)st.st_size + 1) : NULL;
    ssize_t n = text ? read(fd, text, (size_t)st.st_size) : -1;
    close(fd);
    *source = slice(text, n < 0 ? 0 : (size_t)n);
    return n >= 0 && !memchr(text, '\0', (size_t)n);
}

// The name inside a quoted "lib.name" that starts behind its quote, or nothing.
static struct slice lib_name(struct slice text) {
    if (!slice_starts(text, S("lib.")) || text.n < 5) return slice(NULL, 0);
    struct slice name = slice(text.p + 4, 0);
    while (4 + name.n < text.n && (isalnum((unsigned char)name.p[name.n]) ||
                                   name.p[name.n] == '_' || name.p[name.n] == '-'))
        name.n++;
    bool quoted = 4 + name.n < text.n && (name.p[name.n] == '"' || name.p[name.n] == '\'');
    return quoted && name.n && name.n <= LIB_NAME_MAX ? name : slice(NULL, 0);
}

static bool seen(const struct libs *libs, struct slice name) {
    for (size_t i = 0; i < libs->count; i++)
        if (slice_eq(libs->seen[i], name)) return true;
    return false;
}

static void add_lib(struct libs *libs, struct slice name) {
    struct slice source;
    if (seen(libs, name) || libs->count == LIBS_MAX) return;
    libs->seen[libs->count++] = name;
    if (libs->names->n) buf_byte(libs->names, '\n');
    buf_add(libs->names, name);
    // a missing file is not this module's to judge: `require` says so when it runs
    if (!libs->dir || !read_lib(libs, name, &source)) return;
    buf_byte(libs->joined, '\0');
    buf_add(libs->joined, name);
    buf_byte(libs->joined, '\0');
    buf_add(libs->joined, source);
}

static void find_libs(struct libs *libs, struct slice source) {
    for (size_t i = 0; i < source.n; i++) {
        if (source.p[i] != '"' && source.p[i] != '\'') continue;
        struct slice name = lib_name(slice_from(source, i + 1));
        if (name.n) add_lib(libs, name);
    }
}

// What a shared file needs is found in its source in turn: `joined` grows while it is
// walked, so it is copied out piece by piece.
static void join_sources(struct script_task *task, const char *lib_dir, struct slice source) {
    struct buf joined, names;
    buf_init(&joined, TASK_ARENA_MAX / 4);
    buf_init(&names, LIBS_MAX * (LIB_NAME_MAX + 1));
    struct libs libs = {
        .dir = lib_dir, .joined = &joined, .names = &names, .arena = &task->arena
    };
    buf_add(&joined, source);
    find_libs(&libs, source);
    for (size_t i = 0; i < libs.count; i++) {
        struct slice lib;
        if (!wire_source_lib(buf_slice(&joined), libs.seen[i], &lib)) continue;
        find_libs(&libs, arena_dup(&task->arena, lib));
    }
    task->source = joined.failed ? slice(NULL, 0) : arena_dup(&task->arena, buf_slice(&joined));
    task->libs = arena_dup(&task->arena, buf_slice(&names));
    task->passing = joined.no_memory || names.no_memory || task->arena.no_memory;
    buf_deinit(&joined);
    buf_deinit(&names);
}

static void set_version(struct script_task *task) {
    uint8_t hash[32];
    hash_sha256(task->source, hash);
    for (size_t i = 0; i < 8; i++) snprintf(task->version + 2 * i, 3, "%02x", hash[i]);
}

// --- tasks ---

static struct script_task *task_new(struct script_pool *pool, void *user) {
    struct script_task *task = calloc(1, sizeof *task);
    if (!task) return NULL;
    arena_init(&task->arena, TASK_ARENA_MAX);
    list_init(&task->link);
    task->serial = ++pool->serial;
    task->user = user;
    return task;
}

static void task_free(struct script_task *task) {
    hook_unref(task->hook);
    arena_deinit(&task->arena);
    free(task);
}

static void tell_loaded(struct script_task *task, struct script_loaded *loaded) {
    loaded->libs = task->libs;
    loaded->source = task->source;
    loaded->version = slice_str(task->version);
    task->loaded(task->user, loaded);
    task_free(task);
}

static void refuse(struct script_task *task, const char *why) {
    if (task->tested) {
        struct buf report;
        buf_init(&report, 4096);
        buf_add(&report, S("{\"tests\":[{\"name\":\"tests run\",\"ok\":false,\"message\":"));
        buf_json(&report, slice_str(why));
        buf_add(&report, S("}],\"passed\":0,\"failed\":1}"));
        task->tested(task->user, false, buf_slice(&report));
        buf_deinit(&report);
        task_free(task);
        return;
    }
    struct script_loaded loaded = { .ok = false, .passing = task->passing, .line = 1 };
    snprintf(loaded.error, sizeof loaded.error, "%.*s:1: %s", SLICE_FMT(task->file), why);
    tell_loaded(task, &loaded);
}

// Files first: whoever's tests take long holds up other tests, but nobody's plain reload.
static void enqueue(struct script_pool *pool, struct script_task *task) {
    struct list *before = &pool->tasks;
    while (!task->hook && before->prev != &pool->tasks &&
           list_item(before->prev, struct script_task, link)->hook)
        before = before->prev;
    list_push(before, &task->link);
    script_pool_kick(pool);
}

void script_load(struct script_pool *pool, struct slice name, struct slice file,
                 struct slice source, void (*done)(void *user, const struct script_loaded *loaded),
                 void *user) {
    struct script_loaded loaded = { .ok = false };
    struct script_task *task = task_new(pool, user);
    (void)name;
    if (!task) {
        loaded.passing = true;
        snprintf(loaded.error, sizeof loaded.error, "%.*s: no memory", SLICE_FMT(file));
        done(user, &loaded);
        return;
    }
    task->loaded = done;
    task->file = arena_dup(&task->arena, file);
    task->hard_ms = pool->opts.load_ms + pool->opts.hard_ms;
    if (source.n > SOURCE_MAX || (source.n && memchr(source.p, '\0', source.n))) {
        task->source = slice("", 0);
        refuse(task, source.n > SOURCE_MAX ? "the file is larger than 256 KB"
                                           : "the file contains a NUL byte; it is not Lua text");
        return;
    }
    join_sources(task, pool->opts.lib_dir, source);
    if (!task->source.p || task->passing) {
        refuse(task, task->passing
                         ? "no memory"
                         : "the file and the shared files it uses are too large together");
        return;
    }
    set_version(task);
    enqueue(pool, task);
}

static struct script_task *test_new(struct script_pool *pool, struct hook *hook,
                                    void (*done)(void *user, bool ok, struct slice report_json),
                                    void *user) {
    struct script_task *task = task_new(pool, user);
    if (!task) {
        done(user, false, S("{\"tests\":[],\"passed\":0,\"failed\":1}"));
        return NULL;
    }
    task->tested = done;
    task->hook = hook_ref(hook);
    task->hard_ms = TESTS_MS + pool->opts.hard_ms;
    task->file = arena_dup(&task->arena, hook->file);
    task->source = slice("", 0);
    task->tests = hook->tests;
    return task;
}

void script_test(struct script_pool *pool, struct hook *hook, struct slice test_source,
                 void (*done)(void *user, bool ok, struct slice report_json), void *user) {
    struct script_task *task = test_new(pool, hook, done, user);
    if (!task) return;
    if (test_source.n) {
        size_t stem_n = slice_ends(hook->file, S(".lua")) ? hook->file.n - 4 : hook->file.n;
        task->file = arena_printf(&task->arena, "%.*s_test.lua", (int)stem_n, hook->file.p);
        join_sources(task, pool->opts.lib_dir, test_source);
    }
    enqueue(pool, task);
}

void script_gate(struct script_pool *pool, struct hook *hook,
                 void (*done)(void *user, bool ok, struct slice report_json), void *user) {
    struct script_task *task = test_new(pool, hook, done, user);
    if (!task) return;
    task->budget_ms = pool->opts.load_ms;
    task->hard_ms = pool->opts.load_ms + pool->opts.hard_ms;
    enqueue(pool, task);
}

void script_profile(struct script_pool *pool, struct hook *hook, struct slice events_json,
                    void (*done)(void *user, bool ok, struct slice report_json), void *user) {
    struct script_task *task = test_new(pool, hook, done, user);
    if (!task) return;
    task->profile = true;
    task->tests = arena_dup(&task->arena, events_json);
    enqueue(pool, task);
}

// --- out and back ---

static void send_task(struct script_process *process, struct script_task *task) {
    if (!task->hook) {
        wire_put_describe(&process->out,
                          &(struct wire_describe){ task->serial, task->file, task->source });
        return;
    }
    struct script_version *version = script_version_need(process, task->hook, NULL, task->serial);
    if (!version) {
        script_process_kill(process, "no memory");
        return;
    }
    wire_put_test(&process->out, task->profile ? WIRE_PROFILE : WIRE_TEST,
                  &(struct wire_test){ task->serial, version->number, task->file, task->source,
                                       task->tests, task->budget_ms });
}

void script_task_send(struct script_process *process) {
    struct script_pool *pool = process->pool;
    while (process->running && !list_empty(&pool->tasks) && process->sent_count < TASKS_OUT_MAX) {
        struct list *link = list_pop(&pool->tasks);
        list_push(&process->tasks, link);
        process->sent_count++;
        send_task(process, list_item(link, struct script_task, link));
    }
    script_process_flush(process);
}

// The task that an answer belongs to, out of its list; NULL when it makes no sense.
static struct script_task *take_back(struct script_process *process, uint64_t serial, bool test) {
    struct script_task *task = list_empty(&process->tasks)
                                   ? NULL
                                   : list_item(process->tasks.next, struct script_task, link);
    if (!task || task->serial != serial || test != (task->tested != NULL)) {
        script_process_kill(process, "an answer that makes no sense");
        return NULL;
    }
    list_remove(&task->link);
    process->sent_count--;
    if (task->hook) script_version_drop_all(process, NULL);
    return task;
}

void script_task_described(struct script_process *process, struct slice body) {
    struct wire_described described = { .serial = 0 };
    bool fine = wire_take_described(body, &described);
    struct script_task *task = take_back(process, fine ? described.serial : 0, false);
    if (!task) return;
    struct script_loaded loaded = { .ok = described.ok,
                                    .description = described.description,
                                    .line = described.line };
    snprintf(loaded.error, sizeof loaded.error, "%.*s", SLICE_FMT(described.error));
    tell_loaded(task, &loaded);
}

void script_task_tested(struct script_process *process, struct slice body) {
    struct wire_tested tested = { .serial = 0 };
    bool fine = wire_take_tested(body, &tested);
    struct script_task *task = take_back(process, fine ? tested.serial : 0, true);
    if (!task) return;
    task->tested(task->user, tested.ok, tested.report);
    task_free(task);
}

void script_task_bury(struct script_process *process) {
    struct list *link;
    script_version_drop_all(process, NULL);
    while ((link = list_pop(&process->tasks)) != NULL) {
        struct script_task *task = list_item(link, struct script_task, link);
        process->answered = true; // it started; what it died of is the task's doing
        if (++task->strikes < STRIKES_MAX) {
            list_push_front(&process->pool->tasks, &task->link);
            continue;
        }
        // a script cannot end its process of itself: who exits is out of memory
        task->passing = !process->killed_for && !process->exit_signal;
        char text[200];
        snprintf(text, sizeof text,
                 process->killed_for ? "the script was stopped: %s"
                                     : "the script ended its process: %s",
                 script_process_epitaph(process));
        refuse(task, text);
    }
}

void script_task_fail_all(struct script_pool *pool, const char *text) {
    struct list *link;
    while ((link = list_pop(&pool->tasks)) != NULL) {
        struct script_task *task = list_item(link, struct script_task, link);
        task->passing = true;
        refuse(task, text);
    }
}
