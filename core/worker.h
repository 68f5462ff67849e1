// A worker: one thread with a uv loop, a curl multi and a script process. Gets
// jobs, asks the script, renders, signs, sends, and reports what happened. It
// writes nothing durable.
#ifndef TUMA_WORKER_H
#define TUMA_WORKER_H

#include "courier.h"
#include "fail.h"
#include "guard.h"
#include "inbox.h"
#include "message.h"
#include "script.h"

struct worker;

struct worker_opts {
    const struct guard *guard; // borrowed
    struct script_opts script; // borrowed strings
    const char *store_dir;     // for the scripts' stored keys
    const char *dns_servers;   // NULL: the system's
    const char *ca_file;
    const char *user_agent;
    bool http2;
    request_secret_fn *secret; // thread-safe
    void *secret_user;
};

// Starts the thread. What opts point to is borrowed until worker_stop. NULL with fail when it
// cannot; what it had opened so far then stays open, for the process ends.
struct worker *worker_start(const struct worker_opts *opts, struct fail *fail);
// Where jobs are sent to, from any thread.
struct inbox *worker_inbox(struct worker *worker);
// Aborts the transfers under way (their jobs come back with verdict LOCAL), stops the script
// process, joins the thread and frees the worker. Blocks until then.
void worker_stop(struct worker *worker);

#endif
