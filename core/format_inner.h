// What the files of the format module share: each formatter's work.
#ifndef TUMA_FORMAT_INNER_H
#define TUMA_FORMAT_INNER_H

#include "buf.h"
#include "slice.h"

// Each appends its result to `out` and returns true, or returns false with
// `out` untouched when `text` is nothing it can work on.
bool format_number_int(struct slice text, struct buf *out);
bool format_number_round(struct slice text, int places, struct buf *out);
bool format_time_unix(struct slice text, struct buf *out);
bool format_time_date(struct slice text, struct slice layout, struct buf *out);
bool format_e164(struct slice text, struct buf *out);

// True when `layout` has a conversion and knows all it has.
bool format_time_layout_valid(struct slice layout);

#endif
