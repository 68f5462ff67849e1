// The pattern matcher behind string.find, match, gmatch and gsub.
#ifndef TUMA_SANDBOX_STRING_INNER_H
#define TUMA_SANDBOX_STRING_INNER_H

#include <lua.h>
#include <stddef.h>

#include "sandbox.h"
#include "slice.h"

enum { MATCH_CAPTURES_MAX = 32, MATCH_DEPTH_MAX = 180 };
enum { CAPTURE_OPEN = -1, CAPTURE_POSITION = -2 }; // instead of a length

struct match {
    lua_State *L;
    struct sandbox *sandbox;
    const char *source, *source_end, *pattern_end;
    unsigned steps; // since the last poll
    int depth;
    int level; // captures, finished or not
    struct {
        const char *start;
        ptrdiff_t length;
    } captures[MATCH_CAPTURES_MAX];
};

void match_init(struct match *m, lua_State *L, struct slice source, struct slice pattern);
// Matches the pattern text from `p` on at `s`; returns the end of the match, or
// NULL. Raises on a malformed pattern, "pattern too complex", and the budget.
const char *match_at(struct match *m, const char *s, const char *p);
// Pushes capture `i`; the whole match s..e stands for capture 0 when there is none.
void match_push_capture(struct match *m, int i, const char *s, const char *e);
// Pushes all captures, or the whole match when there is none and s is given. Returns how many.
int match_push_captures(struct match *m, const char *s, const char *e);
// Counts work done at one go, and polls when it adds up.
void match_steps(struct match *m, size_t steps);

#endif
