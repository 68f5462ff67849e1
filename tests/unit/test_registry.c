// The registry against a real directory: how editors save, what breaks, what goes, and
// which webhooks a shared file reloads. This program is its own script process.
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "check.h"
#include "clock.h"
#include "log.h"
#include "registry.h"

enum { WAIT_MS = 10000, TICK_MS = 10 }; // a limit for a broken test, not a figure

static uv_loop_t loop;
static struct registry *registry;
static struct hook_set *set;
static unsigned changes;
static char dir[64];

static void on_changed(void *user, struct hook_set *next) {
    (void)user;
    hook_set_unref(set);
    set = hook_set_ref(next);
    changes++;
}

static void path_of(char path[128], const char *name) {
    snprintf(path, 128, "%s/%s", dir, name);
}

static void write_text(const char *name, const char *text) {
    char path[128];
    path_of(path, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    CHECK(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text));
    close(fd);
}

static const char *hook_text(const char *url) {
    static char text[512];
    snprintf(
        text, sizeof text,
        "return { on = 'call.completed', request = { method = 'GET', url = 'https://h.example/%s' } }",
        url);
    return text;
}

static const char *fill_first; // a.lua, there before the registry

static void open_registry(bool run_tests) {
    struct fail fail = { .text = "" };
    char command[192];
    snprintf(command, sizeof command, "rm -rf '%s' && mkdir -p '%s/lib'", dir, dir);
    CHECK_INT(system(command), 0);
    if (fill_first) write_text("a.lua", fill_first);
    CHECK_INT(uv_loop_init(&loop), 0);
    static char lib[96];
    snprintf(lib, sizeof lib, "%.80s/lib", dir);
    changes = 0;
    registry = registry_new(&loop,
                            &(struct registry_opts){ .scripts_dir = dir,
                                                     .script = { .program = "/proc/self/exe",
                                                                 .soft_ms = 20,
                                                                 .hard_ms = 250,
                                                                 .load_ms = 500,
                                                                 .memory_max = 4 * 1024 * 1024,
                                                                 .lib_dir = lib },
                                                     .watch = true,
                                                     .run_tests = run_tests,
                                                     .changed = on_changed },
                            &fail);
    if (!registry) printf("# %s\n", fail.text);
    CHECK(registry != NULL);
}

static void on_closed(void *user) {
    *(bool *)user = true;
}

static void close_registry(void) {
    bool closed = false;
    registry_close(registry, on_closed, &closed);
    uv_run(&loop, UV_RUN_DEFAULT);
    CHECK(closed);
    CHECK_INT(uv_loop_close(&loop), 0);
    hook_set_unref(set);
    set = NULL;
}

static void on_tick(uv_timer_t *timer) {
    (*(int *)timer->data)--;
}

static void on_timer_closed(uv_handle_t *handle) {
    (void)handle;
}

// Turns the loop until `holds`, or too long. Ticks, because what it waits for may
// happen in a timer, after which the loop would sleep.
static bool wait_until(bool (*holds)(const void *what), const void *what) {
    int left = WAIT_MS / TICK_MS;
    uv_timer_t timer;
    uv_timer_init(&loop, &timer);
    timer.data = &left;
    uv_timer_start(&timer, on_tick, TICK_MS, TICK_MS);
    while (left > 0 && !holds(what)) uv_run(&loop, UV_RUN_ONCE);
    uv_close((uv_handle_t *)&timer, on_timer_closed);
    uv_run(&loop, UV_RUN_NOWAIT);
    return left > 0;
}

struct wanted {
    const char *name, *url; // url NULL: no such webhook
};

static bool hook_is(const void *what) {
    const struct wanted *wanted = what;
    struct hook *hook = set ? hook_set_find(set, slice_str(wanted->name)) : NULL;
    if (!wanted->url) return set && !hook;
    return hook && memmem(hook->source.p, hook->source.n, wanted->url, strlen(wanted->url));
}

static bool runs(const char *name, const char *url) {
    return wait_until(hook_is, &(struct wanted){ name, url });
}

struct found {
    const char *name;
    char error[512];
};

static void find_error(void *user, const struct registry_file *file) {
    struct found *found = user;
    if (slice_eq(file->name, slice_str(found->name)))
        snprintf(found->error, sizeof found->error, "%.*s", SLICE_FMT(file->error));
}

static bool error_is(const void *what) {
    const struct wanted *wanted = what;
    struct found found = { .name = wanted->name };
    registry_each(registry, find_error, &found);
    return wanted->url ? strstr(found.error, wanted->url) != NULL : !*found.error;
}

static bool tells(const char *name, const char *error) {
    return wait_until(error_is, &(struct wanted){ name, error });
}

// --- tests ---

static void every_way_to_save_is_noticed(void) {
    char from[128], to[128], link[128];
    open_registry(false);
    write_text("a.lua", hook_text("one"));
    CHECK(runs("a", "/one"));
    write_text("a.lua", hook_text("two")); // truncate and write
    CHECK(runs("a", "/two"));
    write_text(".a.lua.tmp", hook_text("three")); // write beside, rename over
    path_of(from, ".a.lua.tmp");
    path_of(to, "a.lua");
    CHECK_INT(rename(from, to), 0);
    CHECK(runs("a", "/three"));
    write_text(".v1", hook_text("four")); // a symlink, swapped
    write_text(".v2", hook_text("five"));
    path_of(link, "linked.lua");
    CHECK_INT(symlink(".v1", link), 0);
    CHECK(runs("linked", "/four"));
    path_of(from, ".link");
    CHECK_INT(symlink(".v2", from), 0);
    CHECK_INT(rename(from, link), 0);
    CHECK(runs("linked", "/five"));
    write_text("a.lua", hook_text("sixx")); // same size, same tick of the clock
    write_text("a.lua", hook_text("seve"));
    CHECK(runs("a", "/seve"));
    close_registry();
}

static void a_broken_file_keeps_the_version_before_it(void) {
    open_registry(false);
    write_text("a.lua", hook_text("one"));
    CHECK(runs("a", "/one"));
    write_text("a.lua", "return {\n  on = \n}");
    CHECK(tells("a", "/a.lua:3: "));
    CHECK(runs("a", "/one"));
    write_text("a.lua", "return { on = 'call.completed', request = { url = 'nonsense' } }");
    CHECK(tells("a", "/a.lua:1:"));
    CHECK(runs("a", "/one"));
    write_text("a.lua", hook_text("two"));
    CHECK(runs("a", "/two"));
    CHECK(tells("a", NULL));
    write_text("new.lua", "local _ for _ in (nil):foo() do end");
    CHECK(tells("new", "crashed"));
    CHECK(runs("new", NULL));
    write_text("Bad Name.lua", hook_text("x"));
    CHECK(tells("Bad Name", "file name"));
    close_registry();
}

static void a_removed_file_disables_its_webhook(void) {
    char path[128];
    open_registry(false);
    write_text("a.lua", hook_text("one"));
    write_text("b.lua", hook_text("two"));
    write_text("b_test.lua", "return {}");
    CHECK(runs("a", "/one") && runs("b", "/two"));
    CHECK_INT(set->count, 2);
    path_of(path, "a.lua");
    CHECK_INT(unlink(path), 0);
    CHECK(runs("a", NULL));
    CHECK(runs("b", "/two"));
    close_registry();
}

static struct hook *version_of(const char *name) {
    return hook_set_find(set, slice_str(name));
}

static bool is_another_version(const void *old) {
    struct hook *hook = version_of("user");
    return hook && !slice_eq(hook->version, ((const struct hook *)old)->version);
}

static void a_shared_file_reloads_just_its_users(void) {
    open_registry(false);
    write_text("lib/url.lua", "return { base = 'https://h.example/' }");
    write_text(
        "user.lua",
        "local url = require 'lib.url'\n"
        "return { on = 'call.completed', request = { method = 'GET', url = url.base .. 'x' } }");
    write_text("other.lua", hook_text("one"));
    CHECK(runs("user", "base") && runs("other", "/one"));
    struct hook *user = hook_ref(version_of("user")), *other = version_of("other");
    write_text("lib/url.lua", "return { base = 'https://h.example/v2/' }");
    CHECK(wait_until(is_another_version, user));
    CHECK(version_of("other") == other);
    CHECK(runs("user", "v2"));
    write_text("lib/url.lua", "return {");
    CHECK(tells("user", "lib"));
    CHECK(runs("user", "v2"));
    hook_unref(user);
    close_registry();
}

static void failing_tests_keep_a_version_out(void) {
    open_registry(true);
    static const char text[] =
        "return { on = 'call.completed', request = { method = 'GET', url = 'https://h.example/%s' },"
        "\n tests = { { name = 'goes there', event = { type = 'call.completed' }, expect = { url = 'https://h.example/good' } } } }";
    char good[512], bad[512];
    snprintf(good, sizeof good, text, "good");
    snprintf(bad, sizeof bad, text, "bad");
    write_text("a.lua", good);
    CHECK(runs("a", "/good' }"));
    write_text("a.lua", bad);
    CHECK(tells("a", "a.lua:2: test \"goes there\" failed"));
    CHECK(runs("a", "/good' }"));
    close_registry();
}

// As fast as the engine can, and whatever has become of its tests, the directory runs at first.
static void the_first_load_asks_for_no_tests(void) {
    fill_first =
        "return { on = 'call.completed', request = { method = 'GET', url = 'https://h.example/one' },"
        " tests = { { name = 'never', event = { type = 'call.completed' }, expect = 'filtered' } } }";
    open_registry(true);
    fill_first = NULL;
    CHECK(runs("a", "/one"));
    close_registry();
}

// Whose tests take long holds up nobody's plain reload, and does not pass.
static void tests_without_end_keep_a_version_out(void) {
    open_registry(true);
    write_text("b.lua", hook_text("one"));
    CHECK(runs("b", "/one"));
    write_text(
        "a.lua",
        "local hook = { on = 'call.completed', request = { method = 'GET', url = "
        "'https://h.example/a' } }\n"
        "function hook.filter() local x = 0 for i = 1, 2e6 do x = x + i end return true end\n"
        "hook.tests = {}\n"
        "for i = 1, 200 do hook.tests[i] = { name = 't' .. i, event = {}, expect = 'sent' } "
        "end\nreturn hook");
    CHECK(tells("a", "more than 500 ms of CPU time"));
    write_text("b.lua", hook_text("two"));
    CHECK(runs("b", "/two"));
    CHECK(!version_of("a"));
    close_registry();
}

static bool all_there(const void *count) {
    return set && set->count == *(const size_t *)count;
}

static void many_files_become_one_set(void) {
    size_t count = 300;
    open_registry(false);
    for (size_t i = 0; i < count; i++) {
        char name[32], url[32];
        snprintf(name, sizeof name, "h%zu.lua", i);
        snprintf(url, sizeof url, "%zu", i);
        write_text(name, hook_text(url));
    }
    CHECK(wait_until(all_there, &count));
    CHECK(changes < 60); // not one for each file
    close_registry();
}

static void an_empty_directory_is_an_empty_set(void) {
    size_t none = 0;
    open_registry(false);
    CHECK(wait_until(all_there, &none));
    CHECK_INT(changes, 1);
    CHECK(registry_is_whole(registry));
    close_registry();
}

static bool is_whole(const void *arg) {
    (void)arg;
    return registry_is_whole(registry);
}

static void webhooks_that_cannot_be_looked_at_leave_the_set_in_part(void) {
    size_t none = 0, one = 1;
    struct rlimit before, full;
    fill_first = hook_text("a");
    open_registry(false);
    fill_first = NULL;
    CHECK_INT(getrlimit(RLIMIT_NOFILE, &before), 0);
    int lowest = dup(0);
    close(lowest);
    full = (struct rlimit){ (rlim_t)lowest, before.rlim_max }; // no descriptor is left
    CHECK_INT(setrlimit(RLIMIT_NOFILE, &full), 0);
    CHECK(wait_until(all_there, &none)); // pending deliveries of others are not kept for ever
    CHECK(!registry_is_whole(registry)); // but events would miss it
    CHECK_INT(setrlimit(RLIMIT_NOFILE, &before), 0);
    CHECK(wait_until(is_whole, NULL));
    CHECK(all_there(&one));
    close_registry();
}

static const struct check_case cases[] = {
    { "an empty directory is an empty set", an_empty_directory_is_an_empty_set },
    { "every way to save is noticed", every_way_to_save_is_noticed },
    { "a broken file keeps the version before it", a_broken_file_keeps_the_version_before_it },
    { "a removed file disables its webhook", a_removed_file_disables_its_webhook },
    { "a shared file reloads just its users", a_shared_file_reloads_just_its_users },
    { "failing tests keep a version out", failing_tests_keep_a_version_out },
    { "the first load asks for no tests", the_first_load_asks_for_no_tests },
    { "tests without end keep a version out", tests_without_end_keep_a_version_out },
    { "many files become one set", many_files_become_one_set },
    { "webhooks that cannot be looked at leave the set in part",
      webhooks_that_cannot_be_looked_at_leave_the_set_in_part },
};

int main(int argc, char **argv) {
    if (argc > 1 && strcmp(argv[1], "__sandbox") == 0) return sandbox_main(argc, argv);
    signal(SIGPIPE, SIG_IGN);
    log_init(LOG_OFF, false);
    snprintf(dir, sizeof dir, "/tmp/tuma-test-registry.%d", (int)getpid());
    int status = check_run(cases, sizeof cases / sizeof *cases);
    char command[96];
    snprintf(command, sizeof command, "rm -rf '%s'", dir);
    return system(command) != 0 || status;
}
