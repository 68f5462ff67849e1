// The messages of script processes: a process that a script has taken over may send
// anything. Whatever parses is written again and must parse to the same bytes.
#include <stdint.h>
#include <stdlib.h>

#include "script_wire.h"

// Writes what was taken; false when the body was refused.
static bool take_and_put(enum wire_kind kind, struct slice body, struct arena *arena,
                         struct buf *out) {
    struct wire_done done;
    struct wire_log log;
    struct wire_described described;
    struct wire_tested tested;
    struct wire_load load;
    struct wire_call call;
    switch (kind) {
    case WIRE_DONE:
        if (!wire_take_done(body, &done, arena)) return false;
        wire_put_done(out, &done);
        return true;
    case WIRE_LOG:
        if (!wire_take_log(body, &log)) return false;
        wire_put_log(out, &log);
        return true;
    case WIRE_DESCRIBED:
        if (!wire_take_described(body, &described)) return false;
        wire_put_described(out, &described);
        return true;
    case WIRE_TESTED:
        if (!wire_take_tested(body, &tested)) return false;
        wire_put_tested(out, &tested);
        return true;
    case WIRE_LOAD:
        if (!wire_take_load(body, &load, arena)) return false;
        wire_put_load(out, &load);
        return true;
    case WIRE_CALL:
        if (!wire_take_call(body, &call)) return false;
        wire_put_call(out, &call);
        return true;
    default: return false;
    }
}

// Writing is a fixed point: what was written parses, and is written the same.
static void check_frame(enum wire_kind kind, struct slice body) {
    struct arena arena;
    struct buf once, twice;
    arena_init(&arena, 16 << 20);
    buf_init(&once, 16 << 20);
    buf_init(&twice, 16 << 20);
    if (take_and_put(kind, body, &arena, &once)) {
        struct slice rest = buf_slice(&once), again;
        if (wire_next(&rest, &again) != kind || rest.n) abort();
        if (!take_and_put(kind, again, &arena, &twice)) abort();
        if (!slice_eq(buf_slice(&once), buf_slice(&twice))) abort();
    }
    buf_deinit(&twice);
    buf_deinit(&once);
    arena_deinit(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct slice in = slice((const char *)data, size), body;
    enum wire_kind kind;
    while ((kind = wire_next(&in, &body)) != WIRE_NONE) check_frame(kind, body);
    return 0;
}
