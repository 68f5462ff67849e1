// What cmd_diff.c shows by way of cmd_diff_show.c.
#ifndef TUMA_CMD_DIFF_INNER_H
#define TUMA_CMD_DIFF_INNER_H

#include "tryout.h"

// Appends what a webhook made of an event, as people read it: a line for each header and, when
// `spread`, for each member of a JSON body.
void diff_add_side(const struct tryout_result *result, bool spread, struct arena *arena,
                   struct buf *out);

// Prints the lines of both with - and + before those that differ, and two lines around them.
void diff_print(struct slice before, struct slice after);

#endif
