// Percent encoding for scripts: into and out of URLs and forms, in the state's
// own memory. A secret's marker passes through as it is, both ways.
#ifndef TUMA_SANDBOX_PERCENT_H
#define TUMA_SANDBOX_PERCENT_H

#include "sandbox_buf.h"

// Appends `text` with all but RFC 3986's unreserved bytes as %XX; in a form a
// space is '+'.
void sandbox_percent_add(struct sandbox_buf *out, struct slice text, bool form);
// Appends `text` with %XX undone, and '+' too in a form; a '%' without two hex digits stays.
void sandbox_percent_undo(struct sandbox_buf *out, struct slice text, bool form);

// One name=value of a query or form, as it stands in the text.
struct sandbox_pair {
    struct slice name, value;
    struct slice whole;
};
// Takes the next pair off the front of *rest; empty ones are skipped. False at the end.
bool sandbox_pair_next(struct slice *rest, struct sandbox_pair *pair);
// Appends the table at `index` as name=value pairs joined by '&', names in order.
// A list as value repeats its name. Raises for what has no text.
void sandbox_pairs_add(struct sandbox_buf *out, int index, bool form);
// Sets decoded names and values in the table at `table`; of a repeated name the first.
void sandbox_pairs_read(lua_State *L, struct slice query, int table);

#endif
