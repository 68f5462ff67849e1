// The parent side of scripts: starts script processes, hands them calls, stops
// runaways, starts them again. User Lua is compiled and run only over there.
//
//   load:  source → child compiles, runs the top level under a budget → description
//   call:  event (+ response) → child runs the stages → verdict, requests, changes
//
// One pool belongs to one uv loop. It has up to three processes, each started when
// it is first needed: one for calls, one for the calls of webhooks that were caught
// exceeding the soft budget (it yields the CPU to everybody), one that only looks at
// files. Calls of one webhook are answered in order; between webhooks the turns go
// round, and what waits inside a process is bounded by the time it is likely to take.
//
// A process that passes the hard budget or dies is replaced. The call that it was
// running is the suspect: it is tried once more, alone in the slow process, and when
// that dies too it is answered with `quarantine`. The others are sent again.
#ifndef TUMA_SCRIPT_H
#define TUMA_SCRIPT_H

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "arena.h"
#include "event.h"
#include "fail.h"
#include "hook.h"
#include "list.h"
#include "model.h"
#include "request.h"
#include "sandbox_main.h"
#include "script_wire.h"

struct script_opts {
    const char *program;       // path of the tuma binary (/proc/self/exe)
    int64_t soft_ms, hard_ms;  // CPU budget of one call; wall limit of the process (20, 250)
    int64_t load_ms;           // budget of a file's top level (500)
    size_t memory_max;         // a script (16 MiB)
    const char *lib_dir;       // scripts/lib, for require "lib.x"; read by the parent
    request_secret_fn *secret; // values handed to scripts that were granted them
    void *secret_user;
    // The webhook's stored keys, asked for when a script is loaded into a fresh
    // process: calls `each` for every live key. May be NULL.
    void (*kv_load)(void *user, struct slice hook,
                    void (*each)(void *to, const struct script_kv *kv), void *to);
    void *kv_user;
    void (*log)(void *user, struct slice hook, struct slice event_id, int level,
                struct slice line); // log.info of a script
    void *log_user;
};

struct script_pool;

struct script_pool *script_pool_new(uv_loop_t *loop, const struct script_opts *opts,
                                    struct fail *fail);
// Kills the processes; calls still open are answered with an error. `closed` runs when all handles
// are.
void script_pool_close(struct script_pool *pool, void (*closed)(void *user), void *user);

// What a file is, told by a child.
struct script_loaded {
    bool ok;
    struct slice description; // JSON for hook_new; valid during the callback, like all here
    struct slice libs;        // names of required libs, newline separated
    struct slice source;      // with the shared files it uses (script_wire.h): for hook_new
    struct slice version;     // 16 hex digits of the SHA-256 of `source`
    char error[4096 + 256];   // file:line: text, when !ok
    bool passing;             // not the file's doing: no memory, no process to be had
    unsigned line;            // of the error, 0 when unknown
};
// Compiles and describes `source` in a throw-away process. Asynchronous.
void script_load(struct script_pool *pool, struct slice name, struct slice file,
                 struct slice source, void (*done)(void *user, const struct script_loaded *loaded),
                 void *user);

// One call. The caller owns it and everything it borrows until `done` ran.
struct script_call {
    struct list link; // the pool's
    enum script_call_kind kind;
    struct hook *hook;
    const struct event *event;
    struct slice delivery_id;
    uint32_t attempt;
    const struct attempt *response; // SCRIPT_RESPONSE
    struct arena *arena;            // results are put here
    void (*done)(struct script_call *call);
    void *user;

    // Results.
    enum script_outcome outcome;
    struct request *requests; // SCRIPT_REQUEST: one, or several from a transform that fans out
    size_t requests_count;
    struct slice unresolved;  // names, comma separated
    struct slice reason;      // of a filter; or what the response hook said
    struct slice error;       // file:line: text and traceback, ≤ 4 KB
    struct slice error_stage; // "filter", "tags", …
    enum verdict verdict;     // SCRIPT_RESPONSE: DELIVERED, RETRY or FAIL
    bool verdict_given;       // false: the hook returned nil
    int64_t retry_after_ms;   // with RETRY, -1: the schedule's
    struct script_kv *changes;
    int64_t cpu_ns;
    size_t memory_peak;
    bool quarantine; // second strike: this version must not run again
    // The pool's own.
    uint64_t serial;
    struct script_queue *queue; // of its webhook
    int64_t estimate_ns;        // CPU time it was thought to need when it was sent
    unsigned strikes;           // script processes it was running in when they died
};
void script_call(struct script_pool *pool, struct script_call *call);
// To be called once for the changes of a webhook's calls, right before they are handed on to be
// stored, in that order: each gets the newest value that its key has by then, in `arena`. A change
// whose value finds no memory is taken out; the delivery of the newest one stores it.
void script_settle(struct script_pool *pool, struct slice webhook, struct script_kv **changes,
                   struct arena *arena);

// Runs hook.tests (and `test_source` when not empty, a *_test.lua file) in a
// child; the report is JSON, see lua/test.lua. Asynchronous.
void script_test(struct script_pool *pool, struct hook *hook, struct slice test_source,
                 void (*done)(void *user, bool ok, struct slice report_json), void *user);

// The same for a version that is about to go live: hook.tests only, behind every file that waits
// to be looked at, and within the time that a file may take to load.
void script_gate(struct script_pool *pool, struct hook *hook,
                 void (*done)(void *user, bool ok, struct slice report_json), void *user);

// Runs events (a JSON list of them, as event_read takes one) through the hook for about a
// second and tells which lines of it took the time; the report is JSON, see
// sandbox_main_profile.c. Asynchronous.
void script_profile(struct script_pool *pool, struct hook *hook, struct slice events_json,
                    void (*done)(void *user, bool ok, struct slice report_json), void *user);

// Counters by webhook for `tuma scripts top`: over all pools and reloads of this process.
struct script_stats {
    struct slice hook;
    uint64_t calls, errors, timeouts, kills;
    int64_t cpu_ns;
    size_t memory_peak;
    const struct script_error *last_error; // NULL: none
};
// The last error of a webhook's script. The same one is counted, not repeated.
struct script_error {
    char text[4096 + 256]; // file:line: message and traceback, without secrets
    char stage[16], version[24], event[EVENT_ID_MAX + 1];
    uint64_t count;
    int64_t at_ms, cpu_ns;
    size_t memory_peak;
};
// Any thread. `each` must not call back into the module; what it gets is valid during it.
void script_stats_each(void (*each)(void *user, const struct script_stats *stats), void *user);

// Keeps the error of a call that has ended with SCRIPT_ERROR, once secrets are out of it, and
// returns how often it was met; 0 when it need not be said again: said are the first, the
// tenth, the hundredth …, and no more than ten of one webhook in a second. Any thread.
uint64_t script_note_error(const struct script_call *call);

#endif
