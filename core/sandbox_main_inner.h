// What the files of the script process share.
#ifndef TUMA_SANDBOX_MAIN_INNER_H
#define TUMA_SANDBOX_MAIN_INNER_H

#include "sandbox_call.h"
#include "sandbox_kv.h"
#include "sandbox_main.h"
#include "script_wire.h"

// A version of a webhook as this process holds it.
struct sandbox_held {
    struct hook *hook;
    struct sandbox_script *script; // NULL: it did not load here, `problem` says why
    struct sandbox_store *store;   // shared by the versions of one name
    struct wire_secret *secrets;   // granted ones
    size_t secrets_count;
    struct slice problem;
    bool slow; // it took too long here: its calls go back, to be run in the slow lane
    struct arena arena;
};

// Everything that can be given up: takes what the process must not have, before any
// script is read. False with errno when the system refuses.
bool sandbox_lock_early(void);
// The rest, once the limits are known; from here on no file, socket or process can
// be opened or made.
bool sandbox_lock(const struct wire_hello *hello);
// Moves the limit on CPU seconds ahead of what is used; a process that stops calling
// this is ended by the kernel, should its parent be unable to.
void sandbox_lock_renew(void);

// Runs the tests of a held hook; the report is JSON, see lua/test.lua.
void sandbox_test(struct sandbox_held *held, const struct wire_test *test,
                  const struct wire_hello *limits, struct buf *report, bool *ok);

// Runs the events of `test` for a while and tells which lines took the time:
// {"calls","ns","lines":[{"file","line","ns","hits"}…]}, the slowest first.
void sandbox_profile(struct sandbox_held *held, const struct wire_test *test,
                     const struct wire_hello *limits, struct buf *report, bool *ok);

#endif
