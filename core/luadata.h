// Data files written in Lua (tuma.conf.lua, lua/catalog.lua): evaluated in a
// state of their own without any library, and handed on as JSON text, so that
// nothing above sees Lua.
#ifndef TUMA_LUADATA_H
#define TUMA_LUADATA_H

#include "buf.h"
#include "fail.h"
#include "slice.h"

enum {
    LUADATA_BYTES_MAX = 1024 * 1024,       // source
    LUADATA_MEMORY_MAX = 16 * 1024 * 1024, // of the state
    LUADATA_STEPS_MAX = 10 * 1000 * 1000,  // Lua instructions
    LUADATA_DEPTH_MAX = 32,                // tables in tables
};

// Runs `source`, which must return a table, and appends that table to `out` as
// JSON (whose max bounds it). A table with the keys 1…n is an array, one with
// string keys an object with its keys sorted, an empty one {}. Integers have no
// point; other numbers read back as the same double.
//
// `name` is the file's name for messages. Fails with fail->type bad_lua (text
// has file:line, fail->line is set), bad_value (a function, a cycle, a list with
// holes, NaN, …; fail->path is the key path: `hooks[2].retry`), too_large,
// too_slow, no_memory.
enum err luadata_eval(struct slice source, const char *name, struct buf *out, struct fail *fail);

#endif
