// The journal on a real store, with workers that only pretend to send. The test
// is everybody else: it posts events, plays the network, gives orders, and
// reads from the store what became of it all.
#include "journal.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <sqlite3.h>
#include <stdatomic.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "buf.h"
#include "check.h"
#include "clock.h"
#include "message.h"
#include "store.h"

enum { HOOKS_MAX = 8, SEEN_MAX = 4096, WORKERS = 2 };

static uv_loop_t loop;
static struct inbox workers[WORKERS], reply;
static uv_timer_t guard;
static struct journal *journal;
static struct store *store;
static struct hook *hooks[HOOKS_MAX];
static size_t hooks_count;
static struct hook_set *set;
static char dir[64];
static bool stuck, store_failed;
static size_t ballast;

// What the network did, and how the next test wants it to behave.
static void (*judge)(struct job *job); // NULL: everything is delivered
static bool hold;                      // keep jobs until released
static struct list held_jobs;
static struct seen {
    char hook[32], id[48], type[64], key[64];
    int64_t delivery;
    uint32_t attempt;
    bool told, packed;
    size_t worker;
} seen[SEEN_MAX];
static size_t seen_count;
static struct list accepted, answers;

// --- The fixture ---

static void give_back(struct job *job) {
    job->message.kind = MESSAGE_OUTCOME;
    inbox_send(job->reply, &job->message);
}

static void note(const struct job *job, size_t worker) {
    struct seen *s = &seen[seen_count++ % SEEN_MAX];
    *s = (struct seen){ .delivery = job->delivery,
                        .attempt = job->attempt,
                        .told = job->tell_exhausted,
                        .packed = job->packed.n != 0,
                        .worker = worker };
    snprintf(s->hook, sizeof s->hook, "%.*s", SLICE_FMT(job->hook->name));
    snprintf(s->id, sizeof s->id, "%s", job->webhook_id);
    snprintf(s->type, sizeof s->type, "%.*s", SLICE_FMT(job->event->type));
}

static void deliver(struct job *job) {
    job->verdict = VERDICT_DELIVERED;
    job->attempted = true;
    job->record = (struct attempt){ .number = job->attempt,
                                    .started_ms = clock_wall_ms(),
                                    .status = 200,
                                    .verdict = VERDICT_DELIVERED,
                                    .retry_after_ms = -1 };
    if (!job->packed.n) job->request = S("PACKED");
}

static void refuse(struct job *job) {
    deliver(job);
    job->verdict = job->record.verdict = VERDICT_RETRY;
    job->record.status = 500;
    snprintf(job->record.error, sizeof job->record.error, "the receiver said 500");
}

static void on_jobs(void *user, struct list *messages) {
    struct inbox *inbox = user;
    for (struct list *link; (link = list_pop(messages));) {
        struct job *job = list_item(link, struct job, message.link);
        note(job, (size_t)(inbox - workers));
        if (hold) {
            list_push(&held_jobs, link);
            continue;
        }
        if (!job->tell_exhausted) (judge ? judge : deliver)(job);
        give_back(job);
    }
}

static void release_jobs(void) {
    hold = false;
    for (struct list *link; (link = list_pop(&held_jobs));) {
        struct job *job = list_item(link, struct job, message.link);
        (judge ? judge : deliver)(job);
        give_back(job);
    }
}

static void on_replies(void *user, struct list *messages) {
    (void)user;
    for (struct list *link; (link = list_pop(messages));) {
        int kind = list_item(link, struct message, link)->kind;
        list_push(kind == MESSAGE_ANSWER ? &answers : &accepted, link);
    }
}

static void on_stuck(uv_timer_t *timer) {
    (void)timer;
    stuck = true;
    printf("# nothing came for a long time\n");
    check_failures++;
}

#define AWAIT(condition)                                                                           \
    do {                                                                                           \
        while (!(condition) && !stuck) uv_run(&loop, UV_RUN_ONCE);                                 \
    } while (0)

static void on_failed(void *user, const struct fail *fail) {
    (void)user, (void)fail;
    store_failed = true;
}

static struct hook *hook_with(const char *name, const char *version, const char *rest) {
    char description[1024];
    struct fail fail = { 0 };
    snprintf(description, sizeof description, "{%s,\"request\":{\"url\":\"https://h.example/x\"}}",
             rest);
    struct hook_input input = { .name = slice_str(name),
                                .file = slice_str(name),
                                .version = slice_str(version),
                                .source = S("-- lua"),
                                .description = slice_str(description) };
    struct hook *hook = hook_new(&input, NULL, NULL, &fail);
    if (!hook) {
        printf("# %s: %s\n", description, fail.text);
        check_failures++;
    }
    return hook;
}

static struct hook *add_hook(const char *name, const char *rest) {
    struct hook *hook = hook_with(name, "0000000000000001", rest);
    hooks[hooks_count++] = hook;
    return hook;
}

static void make_set(void) {
    hook_set_unref(set);
    set = hook_set_new(hooks, hooks_count);
    CHECK(set != NULL);
}

static void publish(void) {
    make_set();
    inbox_send(journal_inbox(journal), hooks_message_new(set));
}

static void open_journal(uint64_t backlog_max) {
    struct fail fail = { 0 };
    static struct inbox *to[WORKERS];
    for (size_t i = 0; i < WORKERS; i++) to[i] = &workers[i];
    store = store_open(&(struct store_opts){ .dir = dir, .create = true, .ballast_bytes = ballast },
                       &fail);
    CHECK(store != NULL);
    make_set();
    journal = journal_start(&(struct journal_opts){ .store = store,
                                                    .hooks = set,
                                                    .workers = to,
                                                    .workers_count = WORKERS,
                                                    .backlog_max = backlog_max,
                                                    .failed = on_failed },
                            &fail);
    CHECK(journal != NULL);
    if (!journal) printf("# %s\n", fail.text);
}

// SQLite's memory, which a test takes away.
static sqlite3_mem_methods system_memory;
static atomic_bool no_memory;

static void *scarce_malloc(int n) {
    return atomic_load(&no_memory) ? NULL : system_memory.xMalloc(n);
}

static void *scarce_realloc(void *p, int n) {
    return atomic_load(&no_memory) ? NULL : system_memory.xRealloc(p, n);
}

static void make_memory_scarce(void) {
    sqlite3_config(SQLITE_CONFIG_GETMALLOC, &system_memory);
    sqlite3_mem_methods scarce = system_memory;
    scarce.xMalloc = scarce_malloc;
    scarce.xRealloc = scarce_realloc;
    sqlite3_config(SQLITE_CONFIG_MALLOC, &scarce);
}

static void start(void) {
    static int serial;
    if (!serial) make_memory_scarce(); // before SQLite's first use
    snprintf(dir, sizeof dir, "/tmp/tuma-journal-%d-%d", (int)getpid(), serial++);
    judge = NULL;
    hold = stuck = store_failed = false;
    seen_count = hooks_count = ballast = 0;
    list_init(&held_jobs), list_init(&accepted), list_init(&answers);
    uv_loop_init(&loop);
    for (size_t i = 0; i < WORKERS; i++)
        inbox_init(&workers[i], &loop, on_jobs, message_discard, &workers[i]);
    inbox_init(&reply, &loop, on_replies, message_discard, NULL);
    uv_timer_init(&loop, &guard);
    uv_timer_start(&guard, on_stuck, 30000, 0);
}

static void begin(void) {
    open_journal(0);
}

static int remove_entry(const char *path, const struct stat *st, int kind, struct FTW *ftw) {
    (void)st, (void)kind, (void)ftw;
    return remove(path);
}

static void close_journal(int64_t drain_ms) {
    journal_drain(journal, drain_ms);
    journal_stop(journal);
    journal = NULL;
}

static void drop_list(struct list *list) {
    for (struct list *link; (link = list_pop(list));)
        message_discard(list_item(link, struct message, link));
}

static void finish(void) {
    if (journal) close_journal(10000);
    for (size_t i = 0; i < WORKERS; i++) inbox_close(&workers[i]);
    inbox_close(&reply);
    uv_close((uv_handle_t *)&guard, NULL);
    uv_run(&loop, UV_RUN_DEFAULT);
    CHECK_INT(uv_loop_close(&loop), 0);
    drop_list(&held_jobs), drop_list(&accepted), drop_list(&answers);
    for (size_t i = 0; i < hooks_count; i++) hook_unref(hooks[i]);
    hook_set_unref(set);
    set = NULL;
    nftw(dir, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

// --- The test as api and administrator ---

static struct event *event_of(const char *id, const char *type, const char *call) {
    char json[512];
    struct fail fail = { 0 };
    snprintf(json, sizeof json, "{\"id\":\"%s\",\"type\":\"%s\",\"tags\":{\"call_id\":\"%s\"}}", id,
             type, call);
    struct event *event = event_read(slice_str(json), clock_wall_ms(), &fail);
    if (!event) printf("# %s: %s\n", json, fail.text);
    return event;
}

static void send_event(const char *id, const char *type, const char *call) {
    struct intake *intake = intake_new(&reply, 1);
    CHECK(intake_add(intake, event_of(id, type, call), set));
    inbox_send(journal_inbox(journal), &intake->message);
}

static enum intake_result next_result(int64_t *retry_after_ms) {
    AWAIT(!list_empty(&accepted));
    struct list *link = list_pop(&accepted);
    if (!link) return INTAKE_UNKNOWN;
    struct intake *intake = list_item(link, struct intake, message.link);
    enum intake_result result = intake->items[0].result;
    if (retry_after_ms) *retry_after_ms = intake->retry_after_ms;
    intake_free(intake);
    return result;
}

static enum intake_result post(const char *id, const char *type, const char *call) {
    send_event(id, type, call);
    return next_result(NULL);
}

static struct command *order(enum command_verb verb, const char *hook) {
    struct command *command = command_new(&reply, verb);
    command->hook = arena_dup(&command->arena, slice_str(hook));
    return command;
}

static struct command *ask(struct command *command) {
    inbox_send(journal_inbox(journal), &command->message);
    AWAIT(!list_empty(&answers));
    struct list *link = list_pop(&answers);
    return link ? list_item(link, struct command, message.link) : NULL;
}

static void done(struct command *command, enum err want) {
    if (!command) return;
    if (command->fail.code != want) printf("# %s: %s\n", command->fail.type, command->fail.text);
    CHECK_INT(command->fail.code, want);
    command_free(command);
}

static void wait_idle(int64_t wait_ms) {
    struct command *command = command_new(&reply, COMMAND_WAIT_IDLE);
    command->wait_ms = wait_ms;
    done(ask(command), OK);
}

// --- What the store says ---

static uint64_t counted[DELIVERY_DROPPED + 1], counted_all;
static const char *counted_hook;

static void on_count(void *user, struct slice hook, enum delivery_state state, uint64_t count) {
    (void)user;
    counted_all += count;
    if (!counted_hook || slice_eq(hook, slice_str(counted_hook))) counted[state] += count;
}

static uint64_t count(const char *hook, enum delivery_state state) {
    struct fail fail = { 0 };
    struct store_reader *r = store_reader_open(dir, &fail);
    memset(counted, 0, sizeof counted);
    counted_all = 0;
    counted_hook = hook;
    CHECK(r && store_reader_counts(r, on_count, NULL, &fail) == OK);
    store_reader_close(r);
    return counted[state];
}

static enum hook_state state_seen;
static uint32_t failures_seen;
static void on_state(void *user, const struct store_hook *hook) {
    if (!slice_eq(hook->name, slice_str(user))) return;
    state_seen = hook->state;
    failures_seen = hook->failures;
}

static enum hook_state hook_state_of(char *name) {
    struct fail fail = { 0 };
    struct store_reader *r = store_reader_open(dir, &fail);
    state_seen = HOOK_ACTIVE;
    CHECK(r && store_reader_hooks(r, on_state, name, &fail) == OK);
    store_reader_close(r);
    return state_seen;
}

static size_t seen_of(const char *hook, bool told) {
    size_t n = 0;
    for (size_t i = 0; i < seen_count; i++)
        n += !strcmp(seen[i].hook, hook) && seen[i].told == told;
    return n;
}

#define LISTEN "\"on\":[\"call.completed\"]"
#define QUICK "\"retry\":[0.01,0.01]"

// --- Cases ---

static void an_event_is_on_disk_when_it_is_accepted(void) {
    start();
    add_hook("a", LISTEN);
    add_hook("b", "\"on\":[\"call.*\"]");
    add_hook("c", "\"on\":[\"lead.created\"]");
    begin();
    hold = true; // nothing gets sent
    CHECK_INT(post("e1", "call.completed", "1"), INTAKE_STORED);
    CHECK_INT(count(NULL, DELIVERY_PENDING), 2);
    AWAIT(seen_count == 2);
    CHECK(strncmp(seen[0].id, "msg_", 4) == 0 && strcmp(seen[0].id, seen[1].id) != 0);
    release_jobs();
    wait_idle(0);
    CHECK_INT(count(NULL, DELIVERY_DELIVERED), 2);
    CHECK_INT(counted_all, 2);
    finish();
}

static void the_same_id_is_stored_once(void) {
    start();
    add_hook("a", LISTEN);
    begin();
    CHECK_INT(post("e1", "call.completed", "1"), INTAKE_STORED);
    CHECK_INT(post("e1", "call.completed", "1"), INTAKE_DUPLICATE);
    CHECK_INT(post("e1", "call.completed", "2"), INTAKE_CONFLICT);
    wait_idle(0);
    CHECK_INT(seen_count, 1);
    finish();
}

static void many_events_come_through(void) {
    start();
    add_hook("a", LISTEN ",\"concurrency\":100");
    begin();
    enum { EVENTS = 5000 };
    for (int i = 0; i < EVENTS; i++) {
        char id[16];
        snprintf(id, sizeof id, "e%d", i);
        send_event(id, "call.completed", "1");
    }
    for (int i = 0; i < EVENTS; i++) CHECK_INT(next_result(NULL), INTAKE_STORED);
    wait_idle(0);
    CHECK_INT(count("a", DELIVERY_DELIVERED), EVENTS);
    CHECK_INT(counted_all, EVENTS);
    finish();
}

static int refusals;
static void refuse_some(struct job *job) {
    if (refusals-- > 0)
        refuse(job);
    else
        deliver(job);
}

static void a_failure_is_tried_again_with_the_same_bytes(void) {
    start();
    add_hook("a", LISTEN "," QUICK);
    begin();
    judge = refuse_some;
    refusals = 2;
    post("e1", "call.completed", "1");
    wait_idle(60000);
    CHECK_INT(seen_count, 3);
    CHECK(!seen[0].packed && seen[1].packed && seen[2].packed);
    CHECK(seen[2].attempt == 3 && !strcmp(seen[0].id, seen[2].id));
    CHECK_INT(count("a", DELIVERY_DELIVERED), 1);
    finish();
}

static void exhausted_deliveries_are_told_of(void) {
    start();
    struct hook *a = add_hook("a", LISTEN "," QUICK);
    a->stages = HOOK_EXHAUSTED;
    add_hook("alarm", "\"on\":[\"webhook.exhausted\"]," QUICK);
    begin();
    judge = refuse;
    post("e1", "call.completed", "1");
    wait_idle(60000);
    CHECK_INT(count("a", DELIVERY_EXHAUSTED), 1);
    CHECK_INT(seen_of("a", false), 3); // attempts are exact
    CHECK_INT(seen_of("a", true), 1);
    // The alarm came, failed as well, and raised no alarm about itself.
    CHECK_INT(count("alarm", DELIVERY_EXHAUSTED), 1);
    CHECK_INT(seen_of("alarm", false), 3);
    CHECK_INT(counted_all, 2);
    finish();
}

static void verdicts_end_in_their_states(void) {
    start();
    add_hook("a", LISTEN "," QUICK);
    begin();
    static const enum verdict verdicts[] = { VERDICT_FILTERED, VERDICT_PARK, VERDICT_DROP,
                                             VERDICT_FAIL };
    hold = true;
    for (int i = 0; i < 4; i++) {
        char id[16];
        snprintf(id, sizeof id, "e%d", i);
        post(id, "call.completed", "1");
    }
    AWAIT(seen_count == 4);
    hold = false;
    for (int i = 0; i < 4; i++) {
        struct job *job = list_item(list_pop(&held_jobs), struct job, message.link);
        job->verdict = verdicts[i];
        job->reason = S("because");
        give_back(job);
    }
    wait_idle(0);
    CHECK_INT(count("a", DELIVERY_FILTERED), 1);
    CHECK(counted[DELIVERY_PARKED] == 1 && counted[DELIVERY_DROPPED] == 1);
    CHECK(counted[DELIVERY_EXHAUSTED] == 1);
    finish();
}

static int locals;
static void local_once(struct job *job) {
    deliver(job);
    if (locals-- > 0) {
        job->verdict = VERDICT_LOCAL;
        job->attempted = false;
        job->request = S("");
    }
}

static void our_own_trouble_counts_no_attempt(void) {
    start();
    add_hook("a", LISTEN ",\"retry\":\"none\"");
    begin();
    judge = local_once;
    locals = 2;
    post("e1", "call.completed", "1");
    wait_idle(60000);
    CHECK_INT(seen_count, 3);
    for (int i = 0; i < 3; i++) CHECK_INT(seen[i].attempt, 1);
    CHECK_INT(count("a", DELIVERY_DELIVERED), 1);
    finish();
}

static void gone(struct job *job) {
    refuse(job);
    if (!strcmp(seen[(seen_count - 1) % SEEN_MAX].hook, "a")) {
        job->verdict = job->record.verdict = VERDICT_DISABLE;
        job->record.status = 410;
    } else {
        deliver(job);
    }
}

static void gone_endpoint_is_disabled_until_it_is_resumed(void) {
    start();
    add_hook("a", LISTEN ",\"concurrency\":1," QUICK);
    add_hook("alarm", "\"on\":[\"webhook.disabled\"]");
    begin();
    hold = true;
    for (int i = 0; i < 600; i++) {
        char id[16];
        snprintf(id, sizeof id, "e%d", i);
        send_event(id, "call.completed", "1");
    }
    for (int i = 0; i < 600; i++) next_result(NULL);
    AWAIT(seen_count == 1);
    judge = gone;
    release_jobs();
    wait_idle(60000);
    CHECK_INT(hook_state_of("a"), HOOK_DISABLED);
    CHECK_INT(count("a", DELIVERY_PARKED), 600);
    CHECK_INT(seen_of("alarm", false), 1);
    CHECK_INT(seen_of("a", false), 1);
    CHECK_INT(post("later", "call.completed", "1"), INTAKE_STORED); // accepted, and parked
    CHECK_INT(count("a", DELIVERY_PARKED), 601);
    judge = NULL;
    done(ask(order(COMMAND_RESUME, "a")), OK);
    wait_idle(60000);
    CHECK_INT(hook_state_of("a"), HOOK_ACTIVE);
    CHECK_INT(count("a", DELIVERY_DELIVERED), 601);
    finish();
}

static void paused_webhook_waits(void) {
    start();
    add_hook("a", LISTEN);
    begin();
    done(ask(order(COMMAND_PAUSE, "a")), OK);
    post("e1", "call.completed", "1");
    wait_idle(0); // a paused webhook is not waited for
    CHECK(seen_count == 0 && count("a", DELIVERY_PENDING) == 1);
    done(ask(order(COMMAND_RESUME, "a")), OK);
    wait_idle(0);
    CHECK_INT(count("a", DELIVERY_DELIVERED), 1);
    done(ask(order(COMMAND_PAUSE, "nobody")), ERR_NOTFOUND);
    finish();
}

static void removed_webhook_parks_until_it_is_back(void) {
    start();
    struct hook *a = add_hook("a", LISTEN);
    begin();
    done(ask(order(COMMAND_PAUSE, "a")), OK);
    post("e1", "call.completed", "1");
    hold = true; // before the first job can be answered
    done(ask(order(COMMAND_RESUME, "a")), OK);
    post("e2", "call.completed", "2");
    post("e3", "call.completed", "3");
    AWAIT(seen_count == 3);
    judge = refuse;
    hooks_count = 0;
    publish();
    release_jobs(); // fail while the file is gone
    wait_idle(60000);
    CHECK_INT(hook_state_of("a"), HOOK_REMOVED);
    CHECK_INT(count("a", DELIVERY_PARKED), 3);
    judge = NULL;
    hooks[hooks_count++] = a;
    publish();
    wait_idle(60000);
    CHECK_INT(hook_state_of("a"), HOOK_ACTIVE);
    CHECK_INT(count("a", DELIVERY_DELIVERED) + count("a", DELIVERY_PARKED), 3);
    finish();
}

static void strike(struct job *job) {
    job->verdict = VERDICT_PARK;
    job->reason = S("script_error: filter: a.lua:3: budget");
    job->quarantine = true;
}

static void quarantine_is_lifted_by_an_edit(void) {
    start();
    add_hook("a", LISTEN);
    add_hook("alarm", "\"on\":[\"script.quarantined\"]");
    begin();
    hold = true;
    post("e1", "call.completed", "1");
    AWAIT(seen_count == 1);
    judge = strike;
    release_jobs();
    judge = NULL;
    AWAIT(seen_of("alarm", false) == 1);
    post("e2", "call.completed", "2");
    wait_idle(0);
    CHECK_INT(hook_state_of("a"), HOOK_QUARANTINED);
    CHECK_INT(seen_of("a", false), 1); // the second trigger is impossible
    CHECK(count("a", DELIVERY_PARKED) == 1 && count("a", DELIVERY_PENDING) == 1);
    publish(); // the same version: no change
    wait_idle(0);
    CHECK_INT(hook_state_of("a"), HOOK_QUARANTINED);
    hook_unref(hooks[0]);
    hooks[0] = hook_with("a", "0000000000000002", LISTEN);
    publish();
    wait_idle(0);
    CHECK_INT(hook_state_of("a"), HOOK_ACTIVE);
    CHECK_INT(count("a", DELIVERY_DELIVERED), 2);
    finish();
}

static struct slice more[2];
static void fan_out(struct job *job) {
    deliver(job);
    if (job->packed.n) return;
    more[0] = S("SECOND"), more[1] = S("THIRD");
    job->more = more;
    job->more_count = 2;
}

static void fan_out_makes_deliveries_of_its_own(void) {
    start();
    add_hook("a", LISTEN "," QUICK ",\"order_by\":\"[CALL_ID]\"");
    begin();
    judge = fan_out;
    post("e1", "call.completed", "1");
    wait_idle(0);
    CHECK_INT(seen_count, 3);
    CHECK(seen[1].packed && seen[2].packed && strcmp(seen[1].id, seen[2].id) != 0);
    CHECK_INT(count("a", DELIVERY_DELIVERED), 3);
    finish();
}

static void keys_of_an_order_are_kept(void) {
    start();
    add_hook("a", LISTEN "," QUICK ",\"order_by\":\"[CALL_ID]\"");
    begin();
    judge = refuse_some;
    refusals = 2;
    for (int i = 0; i < 40; i++) {
        char id[16];
        snprintf(id, sizeof id, "e%d", i);
        send_event(id, "call.completed", i % 2 ? "odd" : "even");
    }
    for (int i = 0; i < 40; i++) next_result(NULL);
    wait_idle(60000);
    CHECK_INT(count("a", DELIVERY_DELIVERED), 40);
    // Each delivery's last attempt comes after the last attempt of the one before.
    int64_t last[2] = { 0 };
    for (size_t i = 0; i < seen_count; i++) {
        int64_t n = seen[i].delivery / STORE_FANOUT_MAX;
        CHECK(n >= last[n % 2]);
        last[n % 2] = n;
    }
    finish();
}

static void pending_work_goes_on_after_a_restart(void) {
    start();
    add_hook("a", LISTEN ",\"concurrency\":4");
    begin();
    hold = true;
    for (int i = 0; i < 50; i++) {
        char id[16];
        snprintf(id, sizeof id, "e%d", i);
        CHECK_INT(post(id, "call.completed", "1"), INTAKE_STORED);
    }
    AWAIT(seen_count == 4);
    close_journal(0); // four are still out
    CHECK_INT(count("a", DELIVERY_PENDING), 50);
    release_jobs(); // too late: nobody listens
    seen_count = 0;
    open_journal(0);
    wait_idle(60000);
    CHECK_INT(count("a", DELIVERY_DELIVERED), 50);
    CHECK_INT(seen_count, 50);
    finish();
}

// Lets the journal go round once more.
static void ask_status(void) {
    done(ask(command_new(&reply, COMMAND_STATUS)), OK);
}

static void burst_ends_with_the_burst_over_restarts(void) {
    start();
    add_hook("a", LISTEN ",\"rate\":\"1/h burst 3\",\"concurrency\":8");
    add_hook("b", LISTEN ",\"rate\":\"1/h burst 9\"");
    begin();
    CHECK_INT(post("e1", "call.completed", "1"), INTAKE_STORED);
    CHECK_INT(post("e2", "call.completed", "1"), INTAKE_STORED);
    AWAIT(seen_count == 4);
    close_journal(10000); // nothing is pending: what was sent is in the store
    open_journal(0);
    for (int i = 3; i < 9; i++) {
        char id[16];
        snprintf(id, sizeof id, "e%d", i);
        CHECK_INT(post(id, "call.completed", "1"), INTAKE_STORED);
    }
    ask_status();
    CHECK_INT(seen_of("a", false), 2);
    CHECK_INT(seen_of("b", false), 2);
    finish();
}

static void dead_endpoint_is_known_after_a_restart(void) {
    start();
    add_hook("a", LISTEN ",\"breaker\":{\"failures\":12,\"cooldown\":600,\"cooldown_max\":600},"
                         "\"retry\":[60]");
    begin();
    judge = refuse;
    for (int i = 0; i < 30; i++) {
        char id[16];
        snprintf(id, sizeof id, "e%d", i);
        CHECK_INT(post(id, "call.completed", "1"), INTAKE_STORED);
    }
    AWAIT(seen_count >= 12);
    close_journal(10000);
    CHECK_INT(hook_state_of((char[]){ "a" }), HOOK_ACTIVE);
    CHECK(failures_seen >= 12);
    size_t before = seen_count;
    open_journal(0);
    struct command *command = ask(command_new(&reply, COMMAND_STATUS));
    CHECK(command && memmem(command->text.p, command->text.n, S("\"breaker\":\"open\"").p, 16));
    done(command, OK);
    CHECK(seen_count <= before + 1); // the probe's moment may be now
    finish();
}

static void webhook_that_is_not_there_yet_is_waited_for(void) {
    start();
    struct hook *a = add_hook("a", LISTEN);
    begin();
    hold = true;
    post("e1", "call.completed", "1");
    AWAIT(seen_count == 1);
    close_journal(0);
    release_jobs();
    hooks_count = 0; // its file is broken today
    open_journal(0);
    wait_idle(60000);
    CHECK_INT(count("a", DELIVERY_PENDING), 1);
    CHECK_INT(hook_state_of("a"), HOOK_ACTIVE);
    hooks[hooks_count++] = a;
    publish();
    wait_idle(60000);
    CHECK_INT(count("a", DELIVERY_DELIVERED), 1);
    finish();
}

static void dead_letters_are_redelivered_and_dropped(void) {
    start();
    add_hook("a", LISTEN ",\"retry\":\"none\",\"breaker\":false");
    add_hook("b", LISTEN ",\"retry\":\"none\",\"breaker\":false");
    begin();
    judge = refuse;
    for (int i = 0; i < 20; i++) {
        char id[16];
        snprintf(id, sizeof id, "e%d", i);
        post(id, "call.completed", "1");
    }
    wait_idle(60000);
    CHECK_INT(count(NULL, DELIVERY_EXHAUSTED), 40);
    judge = NULL;
    struct command *one = command_new(&reply, COMMAND_REDELIVER);
    one->filter.delivery = seen[0].delivery;
    one = ask(one);
    CHECK_INT(one->moved, 1);
    done(one, OK);
    wait_idle(60000);
    CHECK_INT(count(NULL, DELIVERY_DELIVERED), 1);
    struct command *all = ask(order(COMMAND_REDELIVER, "a"));
    CHECK(all->moved >= 19);
    done(all, OK);
    wait_idle(60000);
    CHECK_INT(count("a", DELIVERY_DELIVERED), 20);
    struct command *rest = ask(command_new(&reply, COMMAND_DROP));
    CHECK(rest->moved >= 19);
    done(rest, OK);
    CHECK(count("b", DELIVERY_DROPPED) + count("b", DELIVERY_DELIVERED) == 20);
    done(ask(order(COMMAND_REDELIVER, "nobody")), ERR_NOTFOUND);
    finish();
}

static void dropped_delivery_does_not_come_back(void) {
    start();
    add_hook("a", LISTEN "," QUICK);
    begin();
    hold = true;
    post("e1", "call.completed", "1");
    AWAIT(seen_count == 1);
    struct command *drop = ask(order(COMMAND_DROP, "a"));
    CHECK_INT(drop->moved, 1);
    done(drop, OK);
    judge = refuse; // would be tried again
    release_jobs();
    wait_idle(60000);
    CHECK_INT(seen_count, 1);
    CHECK_INT(count("a", DELIVERY_DROPPED), 1);
    finish();
}

static void backlog_past_the_mark_is_refused_politely(void) {
    start();
    add_hook("a", LISTEN ",\"concurrency\":1");
    open_journal(10);
    hold = true;
    int stored = 0, refused = 0;
    for (int i = 0; i < 30; i++) {
        char id[16];
        int64_t retry_after = 0;
        snprintf(id, sizeof id, "e%d", i);
        send_event(id, "call.completed", "1");
        enum intake_result result = next_result(&retry_after);
        stored += result == INTAKE_STORED;
        if (result != INTAKE_OVERLOAD) continue;
        refused++;
        CHECK(retry_after > 0);
    }
    CHECK(stored == 11 && refused == 19);
    release_jobs();
    wait_idle(60000);
    CHECK_INT(count("a", DELIVERY_DELIVERED), stored);
    CHECK_INT(post("again", "call.completed", "1"), INTAKE_STORED);
    wait_idle(60000);
    finish();
}

static void failed_store_promises_nothing(void) {
    char path[128];
    start();
    add_hook("a", LISTEN);
    begin();
    CHECK_INT(post("e1", "call.completed", "1"), INTAKE_STORED);
    wait_idle(0);
    snprintf(path, sizeof path, "%s/tuma.db", dir);
    CHECK_INT(unlink(path), 0); // somebody deletes the database
    CHECK_INT(post("e2", "call.completed", "2"), INTAKE_UNKNOWN);
    CHECK(store_failed);
    CHECK_INT(post("e3", "call.completed", "3"), INTAKE_UNKNOWN);
    done(ask(order(COMMAND_PAUSE, "a")), ERR_IO);
    CHECK_INT(seen_count, 1);
    finish();
}

// Fills the file system until `left` bytes remain.
static void fill_disk(const char *path, size_t left) {
    struct statvfs fs;
    CHECK(statvfs(dir, &fs) == 0);
    size_t free_bytes = fs.f_bavail * fs.f_frsize;
    int fd = open(path, O_CREAT | O_WRONLY, 0600);
    CHECK(fd >= 0 && posix_fallocate(fd, 0, (off_t)(free_bytes - left)) == 0);
    close(fd);
}

// Needs a file system of its own; without the right to mount one there is nothing to see.
static void full_disk_refuses_events_and_still_delivers(void) {
    char filler[128];
    start();
    CHECK_INT(mkdir(dir, 0700), 0);
    if (mount("tmpfs", dir, "tmpfs", 0, "size=96m") != 0) {
        printf("# no right to mount: %s\n", strerror(errno));
        finish();
        return;
    }
    ballast = 16 << 20;
    add_hook("a", LISTEN ",\"concurrency\":1000");
    begin();
    hold = true;
    for (int i = 0; i < 500; i++) {
        char id[16];
        snprintf(id, sizeof id, "e%d", i);
        send_event(id, "call.completed", "1");
    }
    for (int i = 0; i < 500; i++) CHECK_INT(next_result(NULL), INTAKE_STORED);
    AWAIT(seen_count >= 200);
    snprintf(filler, sizeof filler, "%s/filler", dir);
    fill_disk(filler, 0);
    CHECK_INT(post("late", "call.completed", "1"), INTAKE_FULL);
    release_jobs();
    wait_idle(60000); // the ballast makes room to settle
    CHECK_INT(count("a", DELIVERY_DELIVERED), 500);
    CHECK(!store_failed);
    CHECK_INT(unlink(filler), 0);
    CHECK_INT(post("late", "call.completed", "1"), INTAKE_STORED);
    wait_idle(60000);
    CHECK_INT(count("a", DELIVERY_DELIVERED), 501);
    close_journal(10000);
    CHECK_INT(umount(dir), 0);
    finish();
}

// An intake of `count` events, each with `padding` bytes of tags.
static struct intake *large_intake(int count, size_t padding) {
    struct intake *intake = intake_new(&reply, (size_t)count);
    char *text = calloc(1, padding + 1);
    memset(text, 'x', padding);
    for (int i = 0; i < count; i++) {
        struct fail fail = { 0 };
        struct buf json;
        buf_init(&json, padding + 256);
        buf_printf(&json, "{\"id\":\"n%d\",\"type\":\"call.completed\",\"tags\":{\"x\":\"", i);
        buf_add(&json, slice(text, padding));
        buf_add(&json, S("\"}}"));
        struct event *event = event_read(buf_slice(&json), clock_wall_ms(), &fail);
        CHECK(event && intake_add(intake, event, set));
        buf_deinit(&json);
    }
    free(text);
    return intake;
}

static size_t stored_of(const struct intake *intake) {
    size_t n = 0;
    for (size_t i = 0; i < intake->count; i++) n += intake->items[i].result == INTAKE_STORED;
    return n;
}

static void large_intake_is_answered_once_when_all_is_stored(void) {
    start();
    static const char *const names[] = { "a", "b", "c", "d", "e", "f" };
    for (size_t i = 0; i < 6; i++) add_hook(names[i], LISTEN ",\"concurrency\":1000");
    begin();
    inbox_send(journal_inbox(journal), &large_intake(1000, 10)->message);
    send_event("beside", "call.completed", "1"); // may be stored in between
    for (size_t seen_intakes = 0; seen_intakes < 2; seen_intakes++) {
        AWAIT(!list_empty(&accepted));
        struct intake *intake = list_item(list_pop(&accepted), struct intake, message.link);
        CHECK_INT(stored_of(intake), intake->count);
        count("f", DELIVERY_PENDING);
        CHECK(counted_all >= 6 * intake->count);
        intake_free(intake);
    }
    wait_idle(60000);
    CHECK(list_empty(&accepted));
    CHECK_INT(count("f", DELIVERY_DELIVERED), 1001);
    finish();
}

// A large intake takes several transactions; one that fails says so of the rest only.
static void intake_past_the_end_of_the_disk_is_kept_as_far_as_it_was_stored(void) {
    start();
    CHECK_INT(mkdir(dir, 0700), 0);
    if (mount("tmpfs", dir, "tmpfs", 0, "size=40m") != 0) {
        printf("# no right to mount: %s\n", strerror(errno));
        finish();
        return;
    }
    static const char *const names[] = { "a", "b", "c", "d", "e", "f" };
    for (size_t i = 0; i < 6; i++) add_hook(names[i], LISTEN);
    begin();
    hold = true;
    inbox_send(journal_inbox(journal), &large_intake(1000, 60000)->message);
    AWAIT(!list_empty(&accepted));
    struct intake *intake = list_item(list_pop(&accepted), struct intake, message.link);
    size_t stored = stored_of(intake);
    CHECK(stored > 0 && stored < 1000);
    for (size_t i = stored; i < 1000; i++) CHECK_INT(intake->items[i].result, INTAKE_FULL);
    intake_free(intake);
    count("a", DELIVERY_PENDING);
    CHECK_INT(counted_all, 6 * stored);
    CHECK(!store_failed);
    close_journal(0);
    drop_list(&held_jobs);
    CHECK_INT(umount(dir), 0);
    finish();
}

static struct script_kv change = { .key = { "k", 1 }, .value = { "7", 1 } };
static void remember(struct job *job) {
    deliver(job);
    job->changes = &change;
}

static int keys_seen;
static void on_key(void *to, const struct script_kv *kv) {
    (void)to;
    keys_seen += slice_eq(kv->key, S("k")) && slice_eq(kv->value, S("7"));
}

static void keys_of_a_script_are_kept(void) {
    start();
    add_hook("a", LISTEN);
    begin();
    judge = remember;
    post("e1", "call.completed", "1");
    wait_idle(0);
    struct fail fail = { 0 };
    struct store_reader *r = store_reader_open(dir, &fail);
    keys_seen = 0;
    CHECK_INT(store_reader_kv(r, S("a"), clock_wall_ms(), on_key, NULL, &fail), OK);
    CHECK_INT(keys_seen, 1);
    store_reader_close(r);
    finish();
}

static void status_and_tokens_are_answered(void) {
    start();
    add_hook("a", LISTEN);
    begin();
    post("e1", "call.completed", "1");
    wait_idle(0);
    struct command *status = ask(command_new(&reply, COMMAND_STATUS));
    CHECK(status->text.n && memmem(status->text.p, status->text.n, "\"name\":\"a\"", 10));
    CHECK(memmem(status->text.p, status->text.n, "\"pending\":0", 11));
    done(status, OK);
    struct command *token = command_new(&reply, COMMAND_PUT_TOKEN);
    token->token_id = S("t1"), token->token_label = S("ci"), token->token_scopes = S("ingest");
    done(ask(token), OK);
    token = command_new(&reply, COMMAND_REVOKE_TOKEN);
    token->token_id = S("t1");
    done(ask(token), OK);
    token = command_new(&reply, COMMAND_REVOKE_TOKEN);
    token->token_id = S("t1");
    done(ask(token), ERR_NOTFOUND);
    finish();
}

static void scripted_webhooks_stay_with_one_worker(void) {
    start();
    add_hook("a", LISTEN)->stages = HOOK_FILTER;
    add_hook("b", LISTEN);
    begin();
    hold = true;
    for (int i = 0; i < 8; i++) {
        char id[16];
        snprintf(id, sizeof id, "e%d", i);
        post(id, "call.completed", "1");
    }
    AWAIT(seen_count == 16);
    size_t of_a[WORKERS] = { 0 }, of_b[WORKERS] = { 0 };
    for (size_t i = 0; i < seen_count; i++)
        (strcmp(seen[i].hook, "a") ? of_b : of_a)[seen[i].worker]++;
    CHECK(of_a[0] == 0 || of_a[1] == 0);
    CHECK(of_a[0] + of_b[0] == 8 && of_a[1] + of_b[1] == 8); // the rest evens out
    release_jobs();
    wait_idle(0);
    finish();
}

// No busy loop.
static void check_sleep(void) {
    int64_t before = clock_wall_ms();
    struct timespec cpu[2], pause = { .tv_nsec = 300000000 };
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &cpu[0]);
    nanosleep(&pause, NULL);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &cpu[1]);
    int64_t used_us =
        (cpu[1].tv_sec - cpu[0].tv_sec) * 1000000 + (cpu[1].tv_nsec - cpu[0].tv_nsec) / 1000;
    CHECK(used_us * 10 < (clock_wall_ms() - before) * 1000);
}

static void idle_journal_sleeps(void) {
    start();
    add_hook("a", LISTEN);
    begin();
    post("e1", "call.completed", "1");
    wait_idle(0);
    check_sleep();
    finish();
}

static void journal_without_memory_for_a_page_pauses(void) {
    start();
    struct hook *a = add_hook("a", LISTEN);
    begin();
    hold = true;
    for (int i = 0; i < 9; i++) post((char[]){ 'e', (char)('0' + i), 0 }, "call.completed", "1");
    close_journal(0);
    release_jobs();
    hooks_count = 0; // it comes when there is no memory
    open_journal(0);
    ask_status();
    atomic_store(&no_memory, true);
    hooks[hooks_count++] = a;
    publish();
    ask_status();
    check_sleep();
    atomic_store(&no_memory, false);
    wait_idle(60000);
    CHECK_INT(count("a", DELIVERY_DELIVERED), 9);
    finish();
}

static const struct check_case CASES[] = {
    { "an event is on disk when it is accepted", an_event_is_on_disk_when_it_is_accepted },
    { "the same id is stored once", the_same_id_is_stored_once },
    { "many events come through", many_events_come_through },
    { "a failure is tried again with the same bytes",
      a_failure_is_tried_again_with_the_same_bytes },
    { "exhausted deliveries are told of", exhausted_deliveries_are_told_of },
    { "verdicts end in their states", verdicts_end_in_their_states },
    { "our own trouble counts no attempt", our_own_trouble_counts_no_attempt },
    { "a gone endpoint is disabled until it is resumed",
      gone_endpoint_is_disabled_until_it_is_resumed },
    { "a paused webhook waits", paused_webhook_waits },
    { "a removed webhook parks until it is back", removed_webhook_parks_until_it_is_back },
    { "quarantine is lifted by an edit", quarantine_is_lifted_by_an_edit },
    { "a fan-out makes deliveries of its own", fan_out_makes_deliveries_of_its_own },
    { "keys of an order are kept", keys_of_an_order_are_kept },
    { "pending work goes on after a restart", pending_work_goes_on_after_a_restart },
    { "a burst ends with the burst over restarts", burst_ends_with_the_burst_over_restarts },
    { "a dead endpoint is known after a restart", dead_endpoint_is_known_after_a_restart },
    { "a webhook that is not there yet is waited for",
      webhook_that_is_not_there_yet_is_waited_for },
    { "dead letters are redelivered and dropped", dead_letters_are_redelivered_and_dropped },
    { "a dropped delivery does not come back", dropped_delivery_does_not_come_back },
    { "a backlog past the mark is refused politely", backlog_past_the_mark_is_refused_politely },
    { "a failed store promises nothing", failed_store_promises_nothing },
    { "a full disk refuses events and still delivers",
      full_disk_refuses_events_and_still_delivers },
    { "a large intake is answered once, when all of it is stored",
      large_intake_is_answered_once_when_all_is_stored },
    { "an intake past the end of the disk is kept as far as it was stored",
      intake_past_the_end_of_the_disk_is_kept_as_far_as_it_was_stored },
    { "keys of a script are kept", keys_of_a_script_are_kept },
    { "status and tokens are answered", status_and_tokens_are_answered },
    { "scripted webhooks stay with one worker", scripted_webhooks_stay_with_one_worker },
    { "an idle journal sleeps", idle_journal_sleeps },
    { "a journal without memory for a page pauses", journal_without_memory_for_a_page_pauses },
};

CHECK_MAIN(CASES)
