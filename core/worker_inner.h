// What the worker's files share. All of it belongs to the worker's thread.
#ifndef TUMA_WORKER_INNER_H
#define TUMA_WORKER_INNER_H

#include <stdatomic.h>
#include <uv.h>

#include "list.h"
#include "map.h"
#include "pulse.h"
#include "worker.h"

enum { TASK_EXTRA_MAX = 10 };

struct worker {
    struct worker_opts opts;
    uv_thread_t thread;
    uv_loop_t loop;
    struct inbox inbox;
    struct message stop;
    struct pulse pulse;
    struct list jobs, doubted; // not started yet
    uv_idle_t more;            // runs while there are some
    struct resolver *resolver;
    struct courier *courier;
    struct script_pool *scripts;
    struct store_reader *reader; // for the scripts' stored keys; NULL when it cannot be opened
    struct map tokens;           // OAuth2 tokens by "url client scope"
    size_t tasks;                // jobs in hand
    bool stopping;
    int parts_open; // courier, scripts, resolver still to close
};

// One job in hand. Lives in the job's arena.
struct task {
    struct worker *worker;
    struct job *job;
    struct request request; // with markers
    struct request sealed;
    struct transfer transfer;
    struct script_call call;
    struct header extra[TASK_EXTRA_MAX]; // headers of this attempt only
    struct header shown[TASK_EXTRA_MAX]; // the same for the log, secrets masked
    size_t extra_count;
    bool no_memory;      // a header of this attempt could not be made: it is not sent
    struct list waiting; // for an OAuth2 token
};

// The request stands: seal, sign, authenticate, send. Ends in worker_finish.
void worker_send(struct task *task);
// An attempt that never reached the network.
void worker_refuse(struct task *task, enum verdict verdict, const char *type, const char *text);
// The job goes back to the journal; the task is gone.
void worker_finish(struct task *task);

// Overwrites the webhook's secrets where the receiver's answer echoes them (S36); the answer's
// bytes are the job's own.
void worker_blot_echo(struct task *task);
// The same for what a script said: its error, its reason.
void worker_blot_script(struct task *task);
// Puts markers where a script wrote its secrets into a request. False: no memory.
bool worker_hide_secrets(struct task *task, struct request *request);

// Adds a header to this attempt; `shown` goes to the log, when it is empty what is sent. A p of
// NULL in either means that there was no memory for it; the attempt then ends before the network.
void task_add_header(struct task *task, struct slice name, struct slice value, struct slice shown);
// The secret's value when the webhook may use it.
bool task_secret(void *task, struct slice name, struct slice *value);

// Calls `ready` with a fresh access token, at once or later, or with an empty
// slice and task->transfer.attempt's error filled.
void worker_oauth_token(struct task *task, void (*ready)(struct task *task, struct slice token));
// A 401 came: the cached token is not used again.
void worker_oauth_forget(struct task *task);
// Frees the tokens, once the loop has ended.
void worker_oauth_close(struct worker *worker);

#endif
