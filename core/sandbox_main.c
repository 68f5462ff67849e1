// The script process: reads frames, loads versions, runs calls, answers. One thread,
// one socket, blocking; whatever waits has been sent already. Answers go out when
// nothing more is to be read, or when a millisecond of work lies in them.
//
// The fast process gives a call, and a state, a part of their budgets only: whoever needs
// more has wasted little of the others' time, and is run again, whole, in the slow one.
//
// It trusts its parent and nothing else. When the parent goes, the kernel ends it.
#include "sandbox_main_inner.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "clock.h"
#include "map.h"

enum {
    READ_BYTES = 64 * 1024,
    FLUSH_BYTES = 256 * 1024,
    FLUSH_CPU_NS = 1000 * 1000,
    RENEW_NS = 1000 * 1000 * 1000,
    CALL_ARENA_MAX = 16 * 1024 * 1024,
    HELD_ARENA_MAX = 4 * 1024 * 1024,
    DESCRIPTION_MAX = 2 * 1024 * 1024,
    HELD_MAX = 1000 * 1000,
    SLOW_SHARE = 4,  // of the budget, and the memory: more of it is for the slow process
    TRIAL_SHARE = 8, // of the budget, before a call is broken off; a tick comes on top
};

// A webhook's store, shared by its versions: two may be at work during a reload.
struct sandbox_store {
    struct sandbox_kv *kv;
    char *name;
    size_t users;
};

static struct {
    struct wire_hello limits;
    struct wire_beat *beat;
    struct buf in, out;
    size_t taken;      // bytes of `in` that were handled
    int64_t unsent_ns; // CPU time in the answers that wait in `out`
    int64_t renewed_ns;
    struct sandbox_held **held; // by number
    size_t held_room;
    struct map stores; // by name
    uint64_t serial;   // of the call that runs, for log lines
} process;

static _Noreturn void leave(const char *why) {
    if (why) fprintf(stderr, "tuma script process: %s: %s\n", why, strerror(errno));
    _exit(why ? 1 : 0);
}

// --- the socket ---

static void flush(void) {
    size_t sent = 0;
    while (sent < process.out.n) {
        ssize_t n = write(WIRE_FD, process.out.p + sent, process.out.n - sent);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) leave(NULL);
        sent += (size_t)n;
    }
    buf_clear(&process.out);
    process.unsent_ns = 0;
    int64_t now = clock_mono_ns();
    if (now - process.renewed_ns < RENEW_NS) return;
    process.renewed_ns = now;
    sandbox_lock_renew();
}

// What a script answers without memory is no answer of its own: another process asks it again.
static void leave_when_starved(void) {
    if (!sandbox_starved()) return;
    flush();
    leave("no memory");
}

static void read_more(void) {
    if (process.taken) {
        memmove(process.in.p, process.in.p + process.taken, process.in.n - process.taken);
        process.in.n -= process.taken;
        process.taken = 0;
    }
    char *room = buf_reserve(&process.in, READ_BYTES);
    if (!room) leave("no memory");
    ssize_t n = read(WIRE_FD, room, READ_BYTES);
    if (n < 0 && errno == EINTR) return;
    if (n <= 0) leave(NULL);
    process.in.n += (size_t)n;
}

static enum wire_kind next_frame(struct slice *body) {
    struct slice rest = slice_from(buf_slice(&process.in), process.taken);
    enum wire_kind kind = wire_next(&rest, body);
    if (!rest.p && process.in.p) leave("bad frame");
    if (kind != WIRE_NONE) process.taken = (size_t)(rest.p - process.in.p);
    return kind;
}

static uint64_t memory_here(void) {
    return process.limits.slow ? process.limits.memory_max : process.limits.memory_max / SLOW_SHARE;
}

static int64_t budget_here(void) {
    if (process.limits.slow) return process.limits.soft_ms;
    return process.limits.soft_ms < TRIAL_SHARE ? 1 : process.limits.soft_ms / TRIAL_SHARE;
}

static void set_beat(uint64_t serial) {
    atomic_store_explicit(&process.beat->serial, serial, memory_order_relaxed);
    process.serial = serial;
}

// --- what scripts ask of the process ---

static bool find_secret(struct sandbox *sandbox, struct slice name, struct slice *value) {
    const struct sandbox_script *script = sandbox->host;
    const struct sandbox_held *held = script->owner;
    for (size_t i = 0; i < held->secrets_count; i++) {
        if (!slice_eq(held->secrets[i].name, name)) continue;
        *value = held->secrets[i].value;
        return true;
    }
    return false;
}

static void send_log(struct sandbox *sandbox, int level, struct slice line) {
    (void)sandbox;
    wire_put_log(&process.out, &(struct wire_log){ process.serial, (uint8_t)level, line });
}

// --- stores ---

static struct sandbox_store *store_of(struct slice name, const struct script_kv *kv) {
    struct sandbox_store *store = map_get(&process.stores, name);
    if (!store) {
        store = calloc(1, sizeof *store);
        if (!store) leave("no memory");
        store->kv = sandbox_kv_new();
        store->name = strndup(name.p, name.n);
        if (!store->kv || !store->name || !map_put(&process.stores, slice_str(store->name), store))
            leave("no memory");
        sandbox_kv_apply(store->kv, kv);
    }
    store->users++;
    return store;
}

static void store_leave(struct sandbox_store *store) {
    if (--store->users) return;
    map_remove(&process.stores, slice_str(store->name));
    sandbox_kv_free(store->kv);
    free(store->name);
    free(store);
}

// --- versions ---

static struct sandbox_held **slot_of(uint32_t number) {
    if (number >= HELD_MAX) leave("bad number");
    if (number >= process.held_room) {
        size_t room = number + number / 2 + 64;
        struct sandbox_held **grown = realloc(process.held, room * sizeof *grown);
        if (!grown) leave("no memory");
        memset(grown + process.held_room, 0, (room - process.held_room) * sizeof *grown);
        process.held = grown;
        process.held_room = room;
    }
    return &process.held[number];
}

static void drop(struct sandbox_held *held) {
    if (!held) return;
    sandbox_script_free(held->script);
    hook_unref(held->hook);
    store_leave(held->store);
    arena_deinit(&held->arena);
    free(held);
}

static void keep_secrets(struct sandbox_held *held, const struct wire_load *load) {
    held->secrets = arena_zalloc(&held->arena, load->secrets_count + 1, sizeof *held->secrets);
    if (!held->secrets) leave("no memory");
    for (size_t i = 0; i < load->secrets_count; i++)
        held->secrets[i] = (struct wire_secret){ arena_dup(&held->arena, load->secrets[i].name),
                                                 arena_dup(&held->arena, load->secrets[i].value) };
    held->secrets_count = load->secrets_count;
}

static void load_script(struct sandbox_held *held, const struct wire_load *load) {
    struct sandbox_problem problem = { .text = "" };
    struct fail fail = { .text = "" };
    struct hook_input input = { .name = load->name,
                                .file = load->file,
                                .source = load->source,
                                .version = load->version,
                                .description = load->description };
    held->hook = hook_new(&input, NULL, NULL, &fail);
    if (held->hook)
        held->script =
            sandbox_script_new(&(struct sandbox_script_opts){ .file = held->hook->file,
                                                              .source = held->hook->source,
                                                              .memory_max = memory_here(),
                                                              .load_ms = process.limits.load_ms,
                                                              .hook = held->hook,
                                                              .kv = held->store->kv,
                                                              .owner = held,
                                                              .secret = find_secret,
                                                              .log = send_log },
                               NULL, &problem);
    held->slow = !process.limits.slow && (problem.over_budget || problem.exhausted);
    if (!held->script)
        held->problem = arena_dup(&held->arena, slice_str(held->hook ? problem.text : fail.text));
}

static void on_load(struct slice body) {
    struct arena scratch;
    struct wire_load load;
    arena_init(&scratch, CALL_ARENA_MAX);
    if (!wire_take_load(body, &load, &scratch)) leave("bad load");
    set_beat(load.serial | WIRE_BEAT_LOAD);
    struct sandbox_held **slot = slot_of(load.hook);
    struct sandbox_held *held = calloc(1, sizeof *held);
    if (!held) leave("no memory");
    drop(*slot);
    *slot = held;
    arena_init(&held->arena, HELD_ARENA_MAX);
    held->store = store_of(load.name, load.kv);
    keep_secrets(held, &load);
    load_script(held, &load);
    arena_deinit(&scratch);
}

static void on_drop(struct slice body) {
    uint32_t number;
    if (!wire_take_drop(body, &number)) leave("bad drop");
    struct sandbox_held **slot = slot_of(number);
    drop(*slot);
    *slot = NULL;
}

// --- calls ---

static void refuse_call(struct wire_done *done, const char *stage, struct slice error) {
    *done = (struct wire_done){ .serial = done->serial,
                                .outcome = SCRIPT_ERROR,
                                .error = error,
                                .error_stage = slice_str(stage),
                                .retry_after_ms = -1 };
}

static void run_call(struct sandbox_held *held, const struct wire_call *call, struct arena *arena,
                     struct wire_done *done) {
    struct fail fail = { .text = "" };
    struct event *event =
        event_restore(call->event_id, call->event_type, call->event_org, call->event_time_ms,
                      call->event_trace, call->event_json, &fail);
    if (!event && fail.code == ERR_NOMEM) leave("no memory");
    if (event)
        sandbox_script_run(held->script, call, event, arena, budget_here(), done);
    else
        refuse_call(done, "event", arena_dup(arena, slice_str(fail.text)));
    event_unref(event);
}

static void send_done(struct wire_done *done) {
    size_t before = process.out.n;
    wire_put_done(&process.out, done);
    if (!process.out.failed) return;
    bool starved = process.out.no_memory;
    process.out.n = before;
    process.out.failed = process.out.no_memory = false;
    flush();
    if (starved) leave("no memory");
    // more than a frame or the buffer holds: say so in its place
    refuse_call(done, "transform", S("the requests of this call are too large together"));
    wire_put_done(&process.out, done);
}

// Calls behind a slow one wait no longer for more of the same: in the fast lane, one
// call that takes a good part of the budget sends the webhook's others back. One that was
// broken off goes back itself; `before` is where its log lines begin.
static void judge(struct sandbox_held *held, struct wire_done *done, size_t before) {
    if (process.limits.slow) return;
    int64_t slow_ns = process.limits.soft_ms * 1000000 / SLOW_SHARE;
    done->bounced = done->over_budget || done->exhausted;
    done->slow = held->slow = done->bounced || done->cpu_ns > slow_ns;
    if (!done->bounced) return;
    process.out.n = before;
    *done = (struct wire_done){
        .serial = done->serial, .slow = true, .bounced = true, .cpu_ns = done->cpu_ns
    };
}

static void on_call(struct slice body) {
    struct wire_call call;
    struct arena arena;
    if (!wire_take_call(body, &call)) leave("bad call");
    set_beat(call.serial);
    struct sandbox_held *held = *slot_of(call.hook);
    if (!held) leave("call of a script that is not loaded");
    struct wire_done done = { .serial = call.serial };
    size_t before = process.out.n;
    arena_init(&arena, CALL_ARENA_MAX);
    if (held->slow) {
        done.slow = done.bounced = true;
    } else if (held->script) {
        run_call(held, &call, &arena, &done);
        judge(held, &done, before);
    } else {
        refuse_call(&done, "load", held->problem);
    }
    leave_when_starved();
    send_done(&done);
    process.unsent_ns += done.cpu_ns;
    arena_deinit(&arena);
}

// --- files that are only looked at ---

static void on_describe(struct slice body) {
    struct wire_describe describe;
    if (!wire_take_describe(body, &describe)) leave("bad describe");
    set_beat(describe.serial);
    struct buf description;
    struct sandbox_problem problem = { .text = "" };
    buf_init(&description, DESCRIPTION_MAX);
    struct sandbox_script *script =
        sandbox_script_new(&(struct sandbox_script_opts){ .file = describe.file,
                                                          .source = describe.source,
                                                          .memory_max = process.limits.memory_max,
                                                          .load_ms = process.limits.load_ms },
                           &description, &problem);
    leave_when_starved();
    wire_put_described(&process.out,
                       &(struct wire_described){ .serial = describe.serial,
                                                 .ok = script != NULL,
                                                 .description = buf_slice(&description),
                                                 .error = slice_str(problem.text),
                                                 .line = problem.line });
    sandbox_script_free(script);
    buf_deinit(&description);
    flush();
}

static void on_test(enum wire_kind kind, struct slice body) {
    struct wire_test test;
    struct buf report;
    bool ok = false;
    if (!wire_take_test(body, &test)) leave("bad test");
    set_beat(test.serial);
    struct sandbox_held *held = *slot_of(test.hook);
    if (!held) leave("test of a script that is not loaded");
    buf_init(&report, DESCRIPTION_MAX);
    (kind == WIRE_TEST ? sandbox_test : sandbox_profile)(held, &test, &process.limits, &report,
                                                         &ok);
    wire_put_tested(&process.out, &(struct wire_tested){ test.serial, ok, buf_slice(&report) });
    buf_deinit(&report);
    flush();
}

static void handle(enum wire_kind kind, struct slice body) {
    switch (kind) {
    case WIRE_LOAD: on_load(body); break;
    case WIRE_DROP: on_drop(body); break;
    case WIRE_CALL: on_call(body); break;
    case WIRE_DESCRIBE: on_describe(body); break;
    case WIRE_TEST:
    case WIRE_PROFILE: on_test(kind, body); break;
    default: leave("unexpected frame");
    }
    if (process.unsent_ns > FLUSH_CPU_NS || process.out.n > FLUSH_BYTES) flush();
}

static void start(void) {
    struct slice body;
    if (!sandbox_lock_early()) leave("giving up rights");
    process.beat =
        mmap(NULL, sizeof *process.beat, PROT_READ | PROT_WRITE, MAP_SHARED, WIRE_BEAT_FD, 0);
    if (process.beat == MAP_FAILED) leave("beat");
    while (next_frame(&body) != WIRE_HELLO) read_more();
    if (!wire_take_hello(body, &process.limits)) leave("bad hello");
    // a parent that died before the death signal was asked for sends none
    if ((uint64_t)getppid() != process.limits.parent) leave(NULL);
    if (!sandbox_clock_start()) leave("budget clock");
    if (!sandbox_lock(&process.limits)) leave("locking down");
}

int sandbox_main(int argc, char **argv) {
    (void)argc, (void)argv;
    buf_init(&process.in, WIRE_FRAME_MAX + 2 * READ_BYTES);
    buf_init(&process.out, WIRE_FRAME_MAX + READ_BYTES);
    map_init(&process.stores);
    start();
    for (;;) {
        struct slice body;
        enum wire_kind kind;
        while ((kind = next_frame(&body)) != WIRE_NONE) handle(kind, body);
        set_beat(0);
        if (process.out.n) flush();
        read_more();
    }
}
