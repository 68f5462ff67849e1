// A script's state: its memory, its CPU budget, and the one protected call that
// everything in it runs under.
//
// Memory. Every byte of a state is counted and capped. Blocks up to 256 bytes come
// from free lists shared by all states of the process (there is one thread), which
// is as fast as LuaJIT's own allocator; a state's blocks go back to the lists when
// it dies. A shrinking realloc never fails: LuaJIT does not survive that.
//
// CPU. A POSIX timer on this thread's CPU clock ticks while, and only while, the
// thread works. The handler remembers the clock at the first tick inside a call;
// when a later tick finds the budget used up, it sets a hook on every instruction
// that raises. The hook stays until the outermost call has returned, so a script
// that catches the error meets it again at its next instruction, and the C functions
// that loop see `over` through sandbox_poll. A thread that samples the clock was the
// other way: it needs a wake-up for each burst of calls and a second stack.
#include "sandbox.h"

#include <assert.h>
#include <luajit.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "clock.h"
#include "id.h"

// glibc 2.36 names the field only inside its union.
#ifndef sigev_notify_thread_id
#define sigev_notify_thread_id _sigev_un._tid
#endif

enum {
    BLOCK_MAX = 256, // larger ones are malloc's
    BLOCK_STEP = 16,
    SLAB_BYTES = 64 * 1024,
    BIRTH_BYTES = 2 * 1024 * 1024, // more than a new state takes, a slab of each class included
    TICK_NS = 4 * 1000 * 1000,     // a tick of the kernel: CPU timers are no finer
    GC_PAUSE = 120,  // LuaJIT has no emergency collection: do not let garbage double the heap
    TRACE_HEAD = 12, // levels of a traceback shown from either end
    TRACE_TAIL = 8,
};

static const char over_text[] = "CPU budget exceeded";

// --- memory ---

struct block {
    struct block *next;
};
static struct block *free_blocks[BLOCK_MAX / BLOCK_STEP];

static size_t class_of(size_t n) {
    return (n - 1) / BLOCK_STEP;
}

static bool slab_cut(size_t class) {
    size_t bytes = (class + 1) * BLOCK_STEP;
    char *slab = malloc(SLAB_BYTES);
    if (!slab) return false;
    for (size_t at = 0; at + bytes <= SLAB_BYTES; at += bytes) {
        struct block *block = (struct block *)(void *)(slab + at);
        block->next = free_blocks[class];
        free_blocks[class] = block;
    }
    return true;
}

static void *block_new(size_t n) {
    if (n > BLOCK_MAX) return malloc(n);
    size_t class = class_of(n);
    if (!free_blocks[class] && !slab_cut(class)) return NULL;
    struct block *block = free_blocks[class];
    free_blocks[class] = block->next;
    return block;
}

static void block_free(void *p, size_t n) {
    if (n > BLOCK_MAX) {
        free(p);
        return;
    }
    struct block *block = p;
    size_t class = class_of(n);
    block->next = free_blocks[class];
    free_blocks[class] = block;
}

static void *block_move(void *old, size_t old_n, size_t n) {
    if (old_n > BLOCK_MAX && n > BLOCK_MAX) {
        void *moved = realloc(old, n);
        return moved || n > old_n ? moved : old;
    }
    if (n <= BLOCK_MAX && old_n <= BLOCK_MAX && class_of(n) == class_of(old_n)) return old;
    void *moved = block_new(n);
    if (!moved) return n > old_n ? NULL : old;
    memcpy(moved, old, n < old_n ? n : old_n);
    block_free(old, old_n);
    return moved;
}

// lua_Alloc. A block kept by a failed shrink is later freed under its smaller size:
// it then joins a free list of a class it more than fills.
static bool starved;

bool sandbox_starved(void) {
    return starved;
}

static void *sandbox_alloc(void *user, void *old, size_t old_n, size_t n) {
    struct sandbox *sandbox = user;
    if (!old) old_n = 0;
    if (n > old_n && n - old_n > sandbox->memory_max - sandbox->memory) return NULL;
    void *p = NULL;
    if (n == 0) {
        if (old_n) block_free(old, old_n);
    } else {
        p = old_n ? block_move(old, old_n, n) : block_new(n);
        if (!p) {
            starved = true;
            return NULL;
        }
    }
    sandbox->memory += n - old_n;
    if (sandbox->memory > sandbox->memory_peak) sandbox->memory_peak = sandbox->memory;
    return p;
}

struct sandbox *sandbox_of(lua_State *L) {
    void *sandbox;
    lua_getallocf(L, &sandbox);
    return sandbox;
}

// --- CPU budget ---

// What the tick handler works on. One thread, so plain order is enough: a handler
// runs between two instructions of that thread.
static struct {
    struct sandbox *volatile sandbox; // NULL: no call runs
    volatile int64_t budget_ns;
    volatile int64_t first_tick_ns; // CPU clock at the first tick inside this call; 0: none yet
} running;

static void raise_over(lua_State *L) {
    lua_Debug at;
    for (int level = 0; lua_getstack(L, level, &at); level++) {
        lua_getinfo(L, "Sl", &at);
        if (at.currentline <= 0) continue;
        lua_pushfstring(L, "%s:%d: %s", at.short_src, at.currentline, over_text);
        lua_error(L);
    }
    lua_pushstring(L, over_text);
    lua_error(L);
}

static void on_instruction(lua_State *L, lua_Debug *at) {
    (void)at;
    raise_over(L);
}

static void on_tick(int signal) {
    (void)signal;
    struct sandbox *sandbox = running.sandbox;
    if (!sandbox || sandbox->over) return;
    int64_t now = clock_cpu_ns();
    if (!running.first_tick_ns) running.first_tick_ns = now;
    if (now - running.first_tick_ns < running.budget_ns) return;
    sandbox->over = true;
    lua_sethook(sandbox->L, on_instruction, LUA_MASKCOUNT, 1);
}

bool sandbox_clock_start(void) {
    struct sigaction action = { .sa_handler = on_tick, .sa_flags = SA_RESTART };
    struct sigevent event = { .sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGRTMIN };
    event.sigev_notify_thread_id = (pid_t)syscall(SYS_gettid);
    struct itimerspec every = { { 0, TICK_NS }, { 0, TICK_NS } };
    timer_t timer;
    return sigaction(SIGRTMIN, &action, NULL) == 0 &&
           timer_create(CLOCK_THREAD_CPUTIME_ID, &event, &timer) == 0 &&
           timer_settime(timer, 0, &every, NULL) == 0;
}

void sandbox_poll(lua_State *L) {
    if (sandbox_of(L)->over) raise_over(L);
}

void sandbox_call(lua_State *L, int nargs, int nresults) {
    struct sandbox *sandbox = sandbox_of(L);
    if (sandbox->over) raise_over(L);
    if (sandbox->c_depth >= SANDBOX_C_DEPTH_MAX) luaL_error(L, "C stack overflow");
    sandbox->c_depth++;
    lua_call(L, nargs, nresults);
    sandbox->c_depth--;
}

// --- errors ---

// The last error's text and traceback. Kept out of the states: 4 KB in each of
// 10,000 would be most of what they weigh.
static struct {
    char text[SANDBOX_ERROR_MAX], trace[SANDBOX_ERROR_MAX];
    size_t text_n, trace_n;
} caught;

static void trace_level(lua_State *L, lua_Debug *at) {
    lua_getinfo(L, "Sln", at);
    char place[LUA_IDSIZE + 16], what[128];
    if (at->currentline > 0)
        snprintf(place, sizeof place, "%s:%d", at->short_src, at->currentline);
    else
        snprintf(place, sizeof place, "%s", at->short_src);
    if (at->name && *at->name)
        snprintf(what, sizeof what, "in function '%.64s'", at->name);
    else if (*at->what == 'm')
        snprintf(what, sizeof what, "in main chunk");
    else if (*at->what == 'C')
        snprintf(what, sizeof what, "in a built-in function");
    else
        snprintf(what, sizeof what, "in function <line %d>", at->linedefined);
    size_t room = sizeof caught.trace - caught.trace_n;
    int n = snprintf(caught.trace + caught.trace_n, room, "\t%s: %s\n", place, what);
    if (n > 0 && (size_t)n < room) caught.trace_n += (size_t)n;
}

// How many levels the stack has, by doubling and halving: lua_getstack walks from the
// top each time, and after a stack overflow there are tens of thousands.
static int count_levels(lua_State *L) {
    lua_Debug at;
    int low = 0, high = 1; // `low` is there (or zero), `high` is not, once found
    while (lua_getstack(L, high, &at)) {
        low = high;
        high *= 2;
    }
    while (high - low > 1) {
        int middle = low + (high - low) / 2;
        if (lua_getstack(L, middle, &at))
            low = middle;
        else
            high = middle;
    }
    return high;
}

// Walks by hand and into fixed memory: an error handler that allocates fails
// exactly when it is needed. The last level is sandbox_protect's own.
static void trace(lua_State *L) {
    lua_Debug at;
    int levels = count_levels(L) - 1;
    for (int level = 1; level < levels; level++) {
        if (level == TRACE_HEAD + 1 && levels > TRACE_HEAD + TRACE_TAIL + 1) {
            level = levels - TRACE_TAIL;
            size_t room = sizeof caught.trace - caught.trace_n;
            int n = snprintf(caught.trace + caught.trace_n, room, "\t...\n");
            if (n > 0 && (size_t)n < room) caught.trace_n += (size_t)n;
        }
        if (lua_getstack(L, level, &at)) trace_level(L, &at);
    }
}

static void keep_text(struct slice text) {
    caught.text_n = text.n < sizeof caught.text ? text.n : sizeof caught.text;
    memcpy(caught.text, text.p, caught.text_n);
}

struct slice sandbox_error_text(lua_State *L, int index) {
    static char other[64];
    if (lua_type(L, index) == LUA_TSTRING) {
        size_t n;
        const char *text = lua_tolstring(L, index, &n);
        return slice(text, n < SANDBOX_ERROR_MAX ? n : SANDBOX_ERROR_MAX);
    }
    int n = snprintf(other, sizeof other, "error object is a %s value", luaL_typename(L, index));
    return slice(other, (size_t)n);
}

static int on_error(lua_State *L) {
    keep_text(sandbox_error_text(L, 1));
    caught.trace_n = 0;
    trace(L);
    return 1;
}

// --- the outermost call ---

// The state's stack holds these functions for good, so that a call needs no memory
// before it is protected.
enum { SLOT_ON_ERROR = 1, SLOT_BODY, SLOT_COLLECT, SLOTS = SLOT_COLLECT };

static int run_body(lua_State *L) {
    struct sandbox *sandbox = sandbox_of(L);
    sandbox->body(L, sandbox->body_user);
    return 0;
}

static int collect(lua_State *L) {
    lua_gc(L, LUA_GCCOLLECT, 0);
    return 0;
}

static int prepare(lua_State *L) {
    lua_gc(L, LUA_GCSETPAUSE, GC_PAUSE);
    luaJIT_setmode(L, 0, LUAJIT_MODE_ENGINE | LUAJIT_MODE_OFF);
    lua_pushcfunction(L, on_error);
    lua_rawseti(L, LUA_REGISTRYINDEX, SLOT_ON_ERROR);
    lua_pushcfunction(L, run_body);
    lua_rawseti(L, LUA_REGISTRYINDEX, SLOT_BODY);
    lua_pushcfunction(L, collect);
    lua_rawseti(L, LUA_REGISTRYINDEX, SLOT_COLLECT);
    return 0;
}

// LuaJIT crashes when lua_newstate finds no memory half way, so it is looked for before.
static bool find_room(void) {
    void *volatile room = malloc(BIRTH_BYTES);
    if (!room) starved = true;
    free(room);
    return room != NULL;
}

struct sandbox *sandbox_new(size_t memory_max) {
    struct sandbox *sandbox = calloc(1, sizeof *sandbox);
    if (!sandbox) return NULL;
    sandbox->memory_max = memory_max;
    id_random(&sandbox->seed, sizeof sandbox->seed);
    sandbox->L = find_room() ? lua_newstate(sandbox_alloc, sandbox) : NULL;
    if (!sandbox->L || lua_cpcall(sandbox->L, prepare, NULL) != 0) {
        sandbox_free(sandbox);
        return NULL;
    }
    for (int slot = SLOT_ON_ERROR; slot <= SLOTS; slot++)
        lua_rawgeti(sandbox->L, LUA_REGISTRYINDEX, slot);
    return sandbox;
}

void sandbox_free(struct sandbox *sandbox) {
    if (!sandbox) return;
    if (sandbox->L) lua_close(sandbox->L);
    free(sandbox);
}

void sandbox_tidy(struct sandbox *sandbox) {
    lua_pushvalue(sandbox->L, SLOT_COLLECT);
    lua_pcall(sandbox->L, 0, 0, 0); // shrinking the string table may want memory and fail
    lua_settop(sandbox->L, SLOTS);
    sandbox->collected = sandbox->memory;
}

// LuaJIT collects only while it allocates, so a script can meet its cap with most
// of the heap garbage. Between calls there is time to look; not at every call when
// what is there is really in use.
static void tidy_when_full(struct sandbox *sandbox, bool exhausted) {
    size_t half = sandbox->memory_max / 2;
    bool grown = sandbox->memory > half && sandbox->memory > sandbox->collected + half / 4;
    if (exhausted || grown) sandbox_tidy(sandbox);
}

// CPU time of a call and of tidying up after it. The CPU clock is a system call, so
// a call that no tick fell into is measured by the wall: it used less than a tick.
static int64_t spent_ns(int64_t wall_ns) {
    int64_t first = running.first_tick_ns;
    int64_t cpu = first ? clock_cpu_ns() - first + TICK_NS : TICK_NS;
    return cpu < wall_ns ? cpu : wall_ns;
}

static enum sandbox_end end_of(struct sandbox *sandbox, int status) {
    if (status == 0) return SANDBOX_DONE;
    if (sandbox->over) return SANDBOX_OVER_BUDGET;
    if (status == LUA_ERRMEM) return SANDBOX_OUT_OF_MEMORY;
    bool overflow = slice_ends(slice(caught.text, caught.text_n), S("stack overflow"));
    return overflow || status == LUA_ERRERR ? SANDBOX_OUT_OF_STACK : SANDBOX_RAISED;
}

// An error that the handler did not see has no text yet: memory ran out, or the
// stack did while the handler was to run.
static void complete_text(enum sandbox_end end, int status) {
    struct slice text = slice(caught.text, caught.text_n);
    if (end == SANDBOX_OVER_BUDGET && !slice_ends(text, S(over_text)))
        keep_text(S(over_text));
    else if (end == SANDBOX_OUT_OF_MEMORY)
        keep_text(S("not enough memory"));
    else if (status == LUA_ERRERR)
        keep_text(S("stack overflow"));
}

struct sandbox_result sandbox_protect(struct sandbox *sandbox,
                                      void (*body)(lua_State *L, void *user), void *user,
                                      int64_t budget_ms) {
    lua_State *L = sandbox->L;
    assert(!running.sandbox && lua_gettop(L) == SLOTS);
    sandbox->body = body;
    sandbox->body_user = user;
    sandbox->c_depth = 0;
    caught.text_n = caught.trace_n = 0;
    running.first_tick_ns = 0;
    running.budget_ns = budget_ms * 1000000;
    int64_t start = clock_mono_ns();
    running.sandbox = sandbox;
    lua_pushvalue(L, SLOT_BODY);
    int status = lua_pcall(L, 0, 0, SLOT_ON_ERROR);
    running.sandbox = NULL;
    lua_settop(L, SLOTS);

    enum sandbox_end end = end_of(sandbox, status);
    if (end != SANDBOX_DONE) complete_text(end, status);
    if (sandbox->over) lua_sethook(L, NULL, 0, 0);
    sandbox->over = false;
    tidy_when_full(sandbox, end == SANDBOX_OUT_OF_MEMORY);
    int64_t cpu_ns = spent_ns(clock_mono_ns() - start);
    return (struct sandbox_result){ .end = end,
                                    .text = slice(caught.text, caught.text_n),
                                    .traceback = slice(caught.trace, caught.trace_n),
                                    .cpu_ns = cpu_ns };
}
