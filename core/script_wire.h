// What a script process and its parent say to each other, over one stream socket.
// A frame is a length, a kind and a body of fixed order. A shared-memory ring was
// the other way; a socket brings flow control, order and the news of a death with
// it, and pipelined frames share their system calls (bench_scripts has the figure).
//
// Neither side trusts lengths: every take_… fails on a short or long body.
#ifndef TUMA_SCRIPT_WIRE_H
#define TUMA_SCRIPT_WIRE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "arena.h"
#include "buf.h"
#include "event.h"
#include "hook.h"
#include "model.h"
#include "request.h"
#include "slice.h"

enum {
    WIRE_FD = 3,      // the child's end of the socket
    WIRE_BEAT_FD = 4, // the page both share
    WIRE_FRAME_MAX = 32 * 1024 * 1024,
    WIRE_REQUESTS_MAX = 100, // deliveries that one event may fan out to
};

// The shared page: which call the child is at, so that its death names the culprit
// and not one of those that wait behind it.
struct wire_beat {
    _Atomic uint64_t serial; // 0: none
};
#define WIRE_BEAT_LOAD (1ull << 63) // set while the version that the call needs is loaded

enum script_call_kind {
    SCRIPT_REQUEST,   // filter, tags, render, transform
    SCRIPT_RESPONSE,  // response(event, response)
    SCRIPT_EXHAUSTED, // exhausted(event, delivery)
};

enum script_outcome {
    SCRIPT_OK,
    SCRIPT_FILTERED,     // `reason`
    SCRIPT_ERROR,        // `error`: the webhook's on_script_error applies
    SCRIPT_RENDER_ERROR, // the template said no (missing tag, too large): park with `error`
    SCRIPT_GONE,         // pool closed
};

enum wire_kind {
    WIRE_NONE,
    // to the child
    WIRE_HELLO,
    WIRE_LOAD,
    WIRE_DROP,
    WIRE_CALL,
    WIRE_DESCRIBE,
    WIRE_TEST,
    WIRE_PROFILE,
    // to the parent
    WIRE_DONE,
    WIRE_LOG,
    WIRE_DESCRIBED,
    WIRE_TESTED,
    WIRE_KINDS
};

struct wire_hello {
    int64_t soft_ms, load_ms;
    uint64_t memory_max; // a script
    uint64_t parent;     // its process id
    bool slow;           // yield to everybody else
};

// A version of a webhook, before its first call. `kv` is its store.
struct wire_load {
    uint64_t serial; // of the call it is for
    uint32_t hook;   // names it in what follows
    struct slice name, file, version, source, description;
    struct wire_secret *secrets;
    size_t secrets_count;
    struct script_kv *kv;
};
struct wire_secret {
    struct slice name, value;
};

struct wire_call {
    uint64_t serial;
    uint32_t hook;
    enum script_call_kind kind;
    struct slice event_id, event_type, event_org, event_trace, event_json;
    int64_t event_time_ms;
    struct slice delivery_id;
    uint32_t attempt;
    bool has_response;
    struct attempt response;
};

struct wire_done {
    uint64_t serial;
    enum script_outcome outcome;
    bool over_budget;
    bool exhausted; // memory or stack used up
    bool slow;      // the webhook is to go on in the slow lane; its calls here come back …
    bool bounced;   // … like this one: it was not run, or not to its end, and nothing of it stays
    struct request *requests;
    size_t requests_count;
    struct slice unresolved, reason, error, error_stage;
    enum verdict verdict;
    bool verdict_given;
    int64_t retry_after_ms;
    struct script_kv *changes;
    int64_t cpu_ns;
    uint64_t memory, memory_peak;
};

struct wire_describe {
    uint64_t serial;
    struct slice file, source;
};
struct wire_described {
    uint64_t serial;
    bool ok;
    struct slice description, error;
    uint32_t line;
};

// Tests to run; for WIRE_PROFILE, events to run again and again.
struct wire_test {
    uint64_t serial;
    uint32_t hook;             // loaded before
    struct slice file, source; // of a *_test.lua; empty: hook.tests
    struct slice tests;        // JSON; or the events, a list
    int64_t budget_ms;         // of CPU time, for all tests together; 0: no limit
};
struct wire_tested {
    uint64_t serial;
    bool ok;
    struct slice report;
};

struct wire_log {
    uint64_t serial;
    uint8_t level;
    struct slice line;
};

// Each appends one whole frame; a buffer that failed is to be treated as broken.
void wire_put_hello(struct buf *out, const struct wire_hello *hello);
void wire_put_load(struct buf *out, const struct wire_load *load);
void wire_put_drop(struct buf *out, uint32_t hook);
void wire_put_call(struct buf *out, const struct wire_call *call);
void wire_put_done(struct buf *out, const struct wire_done *done);
void wire_put_describe(struct buf *out, const struct wire_describe *describe);
void wire_put_described(struct buf *out, const struct wire_described *described);
void wire_put_test(struct buf *out, enum wire_kind kind, const struct wire_test *test);
void wire_put_tested(struct buf *out, const struct wire_tested *tested);
void wire_put_log(struct buf *out, const struct wire_log *log);

// The next whole frame at the front of *in, which moves behind it. WIRE_NONE: more
// bytes are needed, or, with *in's p NULL, the stream is broken.
enum wire_kind wire_next(struct slice *in, struct slice *body);

// Reads a body; slices borrow from it, lists come from `arena`. False: malformed, or no memory.
bool wire_take_hello(struct slice body, struct wire_hello *hello);
bool wire_take_load(struct slice body, struct wire_load *load, struct arena *arena);
bool wire_take_drop(struct slice body, uint32_t *hook);
bool wire_take_call(struct slice body, struct wire_call *call);
bool wire_take_done(struct slice body, struct wire_done *done, struct arena *arena);
bool wire_take_describe(struct slice body, struct wire_describe *describe);
bool wire_take_described(struct slice body, struct wire_described *described);
bool wire_take_test(struct slice body, struct wire_test *test);
bool wire_take_tested(struct slice body, struct wire_tested *tested);
bool wire_take_log(struct slice body, struct wire_log *log);

// A script and the shared files it uses travel, and are hashed into its version, as
// one text: the script, then for each file a NUL, its name, a NUL and its source.
struct slice wire_source_main(struct slice joined);
// The source of the shared file `name`; false when it is not among them.
bool wire_source_lib(struct slice joined, struct slice name, struct slice *source);

// What request_check must hold a script's URL against: the authority of the hook's own URL,
// or one that the script's author wrote out in its source, so that a fan-out may go to
// several receivers while no value of an event can choose one.
struct slice wire_authority(const struct hook *hook, struct slice url);

#endif
