// Formatters: what stands behind the colon in [CALLER_ID:digits]. Each turns a
// text into a text; one that cannot make sense of its input (round of "n/a")
// leaves it as it is. All work is on digits and bytes: no floating point, no
// locale, times in UTC.
//
//   upper lower         ASCII letters
//   trim                blanks at both ends go
//   digits              only 0-9 stay
//   noplus              a leading '+' goes
//   e164                +15551234567 from the ways people write it (ten digits: +1; fewer,
//                       or a 0 in front, belong to a country that is not known)
//   int  round(n)       of a number, "$1,234.50" too; int cuts, round goes away from zero at half
//   date(fmt)           of RFC 3339, a date, or Unix seconds or milliseconds;
//                       %Y %y %m %d %e %j %H %I %M %S %L %p %a %A %b %B %F %T %s %z %Z %%
//   unix                the same times as seconds
//   sha256 b64 urlenc   lower-case hex; RFC 4648 section 4; RFC 3986
//   json                the value as JSON text     } the place's escaping is left out
//   raw                 the value as it is         } in a JSON body
//   substr(i,n)         n code points (default: all) from i on; i < 0 counts from the end
//   map(a=b,c=d)        b for a, d for c; another value stays
#ifndef TUMA_FORMAT_H
#define TUMA_FORMAT_H

#include <stdbool.h>
#include <stdint.h>

#include "buf.h"
#include "fail.h"
#include "slice.h"
#include "tag.h"

// One formatter as written. `args` borrows from the text it was read from.
struct format_text {
    struct slice name, args;
    bool has_args;
};

// Reads NAME or NAME(ARGS) at the start of `text` by form alone; the name may
// be unknown. Returns its length, 0 when there is no such form. ARGS hold no
// bracket, parenthesis, quote, backslash or control byte.
size_t format_scan(struct slice text, struct format_text *out);

// A compiled formatter; borrows the args.
struct format {
    uint8_t op;
    int32_t i, n;
    struct slice args;
};

// ERR_INPUT "unknown_formatter" or "bad_formatter" with fail->at 0.
enum err format_compile(const struct format_text *text, struct format *out, struct fail *fail);
// True for raw and json: the result is not escaped in a JSON body.
bool format_skips_escaping(const struct format *format);
bool format_is_raw(const struct format *format);

// A value on its way through formatters.
struct format_value {
    struct slice text;
    uint16_t kind; // enum tag_kind; TAG_STRING after a formatter; a null stays one while empty
};

// Applies `count` formatters in order. The result borrows from `value`, the
// formatters or `scratch`, which starts zeroed and whose buffers the caller frees. ERR_LIMIT when
// a formatter is given more than FORMAT_INPUT_MAX bytes, ERR_NOMEM.
enum { FORMAT_INPUT_MAX = 256 * 1024 };
struct format_scratch {
    struct buf turns[2];
};
enum err format_apply(const struct format *formats, size_t count, struct format_value *value,
                      struct format_scratch *scratch);

#endif
