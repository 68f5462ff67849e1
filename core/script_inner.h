// What the files of the script module share. All of it belongs to the loop's thread.
//
//   script.c          pool, public verbs, answers
//   script_process.c  one child: start, socket, watchdog, death
//   script_queue.c    whose turn it is, lanes, strikes
//   script_conduct.c  strikes, quarantine, log lines
//   script_version.c  which versions a child holds
//   script_store.c    what scripts stored a moment ago
//   script_stats.c    counters by webhook
//   script_load.c     files looked at and tested; shared sources
#ifndef TUMA_SCRIPT_INNER_H
#define TUMA_SCRIPT_INNER_H

#include "buf.h"
#include "map.h"
#include "script.h"

enum script_lane { LANE_FAST, LANE_SLOW, LANE_FILES, LANES };

// A version that a process holds.
struct script_version {
    struct list by_use;   // process->versions, least recently used first
    struct list of_queue; // queue->versions
    struct hook *hook;    // referenced; the key in process->by_hook is this field's bytes
    uint32_t number;
    size_t memory; // as last told
    size_t sent;   // calls out there
};

// A file to look at, or tests to run: what the files' process works on.
struct script_task {
    struct list link; // pool->tasks, then process->tasks
    uint64_t serial;
    unsigned strikes;
    int64_t hard_ms;
    int64_t budget_ms;         // of all tests, 0: none
    struct hook *hook;         // referenced: run its tests; NULL: describe `source`
    struct slice file, source; // in the arena
    struct slice libs;
    struct slice tests; // hook.tests, or the events to profile
    bool profile;
    bool passing; // as in script_loaded
    char version[17];
    struct arena arena;
    void (*loaded)(void *user, const struct script_loaded *loaded);
    void (*tested)(void *user, bool ok, struct slice report_json);
    void *user;
};

struct script_counters; // script_stats.c

struct script_process {
    struct list link; // pool->processes, until its handles are closed
    struct script_pool *pool;
    enum script_lane lane;
    uv_process_t process;
    uv_pipe_t pipe;
    int handles;  // still open
    bool running; // false: dying, or never started
    struct wire_beat *beat;
    clockid_t cpu_clock;
    int exit_signal, exit_status;
    const char *killed_for; // why the watchdog ended it

    struct buf in, out, writing; // `writing` is in the kernel's hands
    uv_write_t write;
    bool answered; // it has done something since it was started
    bool hung_up;  // it closed its socket

    struct list sent;  // calls out there, in order
    struct list tasks; // the same for tasks
    size_t sent_count;
    int64_t sent_ns;                 // what they are thought to need
    const struct script_call *alone; // a suspect: nothing else runs beside it

    struct map by_hook;   // versions it holds
    struct list versions; // by use
    size_t memory;        // of all versions
    uint32_t next_number;
    uint32_t *free_numbers;
    size_t free_count, free_room;

    uint64_t watched; // the beat at the last look of the watchdog
    int64_t watched_cpu_ns, watched_wall_ns, watched_answers, answers;
};

struct script_conduct {
    int64_t window_start_ns; // of the two counters below
    unsigned calls, strikes;
    char barred[17]; // the version that does not run before `barred_until_ns`
    int64_t barred_until_ns;
    int64_t lines_ns; // the bucket of its log lines: full when a burst behind the clock
    uint64_t lines_dropped;
};

// A webhook by name, over all its versions.
struct script_queue {
    struct list turn;    // pool->turns[lane], when it has something to send
    struct list waiting; // calls
    struct list bounced; // calls that came back unrun; they go before those that wait
    size_t sent;
    int64_t sent_ns;
    enum script_lane lane;
    enum script_lane wanted; // takes over when nothing is out there in the old one
    int64_t estimate_ns;     // CPU time of a call, smoothed
    unsigned behaved;        // good calls in a row in the slow lane
    unsigned probation;      // so many of them, and it may leave; more after each relapse
    struct script_conduct conduct;
    struct list versions; // in the process of its lane
    struct list writes;   // to its store, that the disk may not show yet
    struct map writes_by_key;
    struct script_counters *counters; // NULL on no memory: it is then not counted
    char name[80];
};

struct script_pool {
    uv_loop_t *loop;
    struct script_opts opts;
    uv_prepare_t prepare; // sends what the current turn of the loop gathered
    uv_timer_t watchdog;  // runs while anything is out there
    uv_timer_t again;     // a process that would not start is tried again
    int handles;
    bool closing, close_told;
    void (*closed)(void *user);
    void *closed_user;
    struct script_process *lanes[LANES];
    unsigned failed_starts[LANES];
    int64_t not_before_ns[LANES];
    struct list processes; // living and dying
    struct list turns[LANES];
    struct list tasks;
    struct map queues;
    uint64_t serial;
};

// --- script.c ---
void script_pool_kick(struct script_pool *pool);    // something may be sent
void script_pool_release(struct script_pool *pool); // a handle is closed
// Answers a call that ends without a reply from a process.
void script_call_fail(struct script_call *call, enum script_outcome outcome, const char *stage,
                      const char *text);
// The same without the answer yet; the texts are copied into the call's arena.
void script_call_set(struct script_call *call, enum script_outcome outcome, const char *stage,
                     const char *text);
// Looks again a little later whether a process can be started.
void script_pool_later(struct script_pool *pool);

// --- script_process.c ---
struct script_process *script_process_start(struct script_pool *pool, enum script_lane lane,
                                            struct fail *fail);
void script_process_flush(struct script_process *process);
void script_process_kill(struct script_process *process, const char *why);
void script_process_watch(struct script_process *process);
// Why it is gone, in plain words; valid until the next call.
const char *script_process_epitaph(const struct script_process *process);

// --- script_queue.c ---
struct script_queue *script_queue_of(struct script_pool *pool, struct slice name);
void script_queue_add(struct script_pool *pool, struct script_call *call);
void script_queue_send(struct script_pool *pool, enum script_lane lane);
// The lane's process, started when there is none; NULL when it cannot be just now.
struct script_process *script_queue_process(struct script_pool *pool, enum script_lane lane);
void script_queue_done(struct script_process *process, struct slice body);
void script_queue_log(struct script_process *process, struct slice body);
// What was out there in a process that is gone: again, or given up.
void script_queue_bury(struct script_process *process);
void script_queue_fail_all(struct script_pool *pool, enum script_lane lane, const char *text);

// --- script_conduct.c ---
// Counts a call; true when the script has to stop (`strike`: it used up its CPU, memory or stack).
bool script_conduct_note(struct script_conduct *conduct, bool strike, int64_t now_ns);
// This version does not run for a while.
void script_conduct_bar(struct script_conduct *conduct, struct slice version, int64_t now_ns);
bool script_conduct_is_barred(const struct script_conduct *conduct, struct slice version,
                              int64_t now_ns);
// False: this line is one too many. Else *dropped is how many were since the last good one.
bool script_conduct_may_log(struct script_conduct *conduct, int64_t now_ns, uint64_t *dropped);

// --- script_version.c ---
struct script_version *script_version_need(struct script_process *process, struct hook *hook,
                                           struct script_queue *queue, uint64_t serial);
struct script_version *script_version_find(struct script_process *process, const struct hook *hook);
void script_version_told(struct script_process *process, struct script_version *version,
                         size_t memory);
void script_version_drop_all(struct script_process *process, struct script_queue *queue);
// Tells the child to drop it too, if there still is one.
void script_version_drop(struct script_process *process, struct script_version *version);

// --- script_store.c ---
void script_store_keep(struct script_queue *queue, const struct script_kv *changes,
                       bool disk_follows);
void script_store_each(const struct script_queue *queue,
                       void (*each)(void *to, const struct script_kv *kv), void *to);
void script_store_free(struct script_queue *queue);

// --- script_stats.c ---
struct script_counters *script_counters_of(struct slice name);
void script_counters_add(struct script_counters *counters, const struct script_call *call,
                         bool over);
void script_counters_kill(struct script_counters *counters);

// --- script_load.c ---
void script_task_send(struct script_process *process);
void script_task_described(struct script_process *process, struct slice body);
void script_task_tested(struct script_process *process, struct slice body);
void script_task_bury(struct script_process *process);
void script_task_fail_all(struct script_pool *pool, const char *text);

#endif
