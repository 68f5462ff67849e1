// The compiled form of a template, shared by the template module's files.
//
// All literal bytes lie in one blob, in order of output; escapes and secret
// markers are in it already. An op is a literal followed by one thing to do.
// Rendering goes over the ops once; the bytes behind the last op are the tail.
//
// Under the `omit` policy a JSON member or element, a query parameter or a form
// field is an item: its ops stand between OP_ITEM and OP_ITEM_END, its container's
// items between OP_OPEN and OP_CLOSE. What separates an item from the one
// before belongs to it, so that dropping an item drops its comma too.
#ifndef TUMA_TEMPLATE_INNER_H
#define TUMA_TEMPLATE_INNER_H

#include <stdbool.h>
#include <stdint.h>

#include "arena.h"
#include "buf.h"
#include "fail.h"
#include "format.h"
#include "slice.h"
#include "tag.h"
#include "template.h"

enum {
    TEMPLATE_DEPTH_MAX = 100,       // of a JSON template
    TEMPLATE_ALTERNATIVES_MAX = 16, // in one chain
    TEMPLATE_FORMATS_MAX = 8,       // behind one name
    BLOB_SLACK = 64,                // readable bytes behind the blob, for copies in whole vectors
    VALUE_FAST_MAX = 32,            // longest value that needs no room of its own
    OP_ROOM = 6 * VALUE_FAST_MAX + 64, // output room set aside for each op
};

enum op_kind {
    OP_QUOTED, // one tag inside JSON quotes, no formatter: the fast loop's
    OP_URL,    // one tag in a URL, no formatter: the fast loop's
    OP_HEADER, // one tag in a header, no formatter: the fast loop's
    OP_VALUE,  // any other value
    OP_OPEN,
    OP_ITEM,
    OP_ITEM_END,
    OP_CLOSE,
};

// Where a value lands.
enum spot { SPOT_QUOTED, SPOT_BARE, SPOT_URL, SPOT_FORM, SPOT_HEADER, SPOT_RAW };

// What happens when there is no value.
enum lack { LACK_TEXT, LACK_OMIT, LACK_FAIL };

struct op {
    uint32_t literal_at, literal_n; // the literal in front, in the blob
    uint32_t text_at, text_n;       // in the blob: what a lacking value becomes; an item's
                                    // separator; in OP_OPEN, what goes before the first item
    uint32_t index;                 // of the hole; in OP_ITEM, of its OP_ITEM_END
    uint32_t fast;                  // how many ops from here on are the fast loop's
    uint16_t tag;                   // of the first alternative
    uint8_t kind, spot, lack;
};

// What the fast loop needs of an op, in eight bytes.
struct fast_op {
    uint32_t literal_at;
    uint16_t literal_n;
    uint16_t tag;
};

struct alternative {
    uint16_t tag;      // TAG_NONE: the quoted default
    struct slice text; // the default
    struct format *formats;
    uint32_t formats_count;
    bool skips_escaping; // has raw or json
    bool raw;            // has raw
};

struct hole {
    struct alternative *alternatives;
    uint32_t count;
};

struct use {
    struct slice name;
    size_t at;
    bool secret, has_default;
};

struct template {
    struct arena arena; // owns all below
    struct slice text;
    enum template_place place;
    char *blob;
    size_t blob_n;
    struct op *ops;
    struct fast_op *fast; // one for each op
    size_t ops_count;
    size_t tail_at; // the bytes behind the last op, to the blob's end
    struct hole *holes;
    struct use *uses;
    size_t uses_count;
    size_t room;         // output room for all literals and short values
    uint16_t tags_limit; // greater than every tag id in it
    bool checks_json;    // a value may skip the escaping
    bool only_fast;      // the fast loop does all of it
    bool literal;
};

// A placeholder as it was read, before it becomes an op.
enum written_kind { WRITTEN_LITERAL, WRITTEN_TAGS, WRITTEN_SECRET, WRITTEN_QUOTED };
struct written {
    enum written_kind kind; // WRITTEN_QUOTED is [!X]: the text [X]
    size_t n;               // bytes it takes, brackets included
    struct slice name;      // of the secret
    bool json_escaped;      // its quotes are written \"
    unsigned count;
    struct written_alternative {
        struct slice name; // empty: the default
        struct slice text; // the default as written between its quotes
        struct format_text formats[TEMPLATE_FORMATS_MAX];
        unsigned formats_count;
    } alternatives[TEMPLATE_ALTERNATIVES_MAX];
};
// Reads what starts with the '[' at text.p[at]. `in_json` allows quotes
// written \". Text that is no placeholder is WRITTEN_LITERAL and OK; ERR_INPUT
// with fail->at is a mistake inside a placeholder.
enum err written_read(struct slice text, size_t at, bool in_json, struct written *out,
                      struct fail *fail);

// A template being compiled. Every function below returns false after filling
// fail, and the caller returns at once.
struct builder {
    struct template *t;
    enum template_missing missing;
    struct fail *fail;
    struct buf blob, ops, holes, uses; // arrays in the making
    size_t literal_start;              // in the blob: bytes not yet in an op
    size_t placeholders;
    // The walk over the source text.
    struct slice text;
    size_t at;     // the byte being looked at
    size_t copied; // bytes in front of it are in the blob
    unsigned depth;
    bool in_string;        // inside a JSON string of the source
    bool encodes_literals; // a form made from JSON: literal text is encoded as values are
};

bool builder_fail(struct builder *b, size_t at, const char *type, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
// Appends bytes to the literal in the making.
bool builder_literal(struct builder *b, struct slice bytes);
// Copies the source up to `at` to the literal in the making, as it is.
bool builder_copy(struct builder *b, size_t at);
// At a '[': takes the placeholder for `spot` (its op, its literal, or its
// marker) and moves behind it, or sets *taken false. The source in front of it
// must have been copied or dealt with; b->copied moves with b->at.
bool builder_placeholder(struct builder *b, enum spot spot, bool *taken);
// Items, under the omit policy; under the others they do nothing.
bool builder_open(struct builder *b, struct slice lead);
bool builder_item(struct builder *b, struct slice separator, size_t *item);
bool builder_item_end(struct builder *b, size_t item);
bool builder_close(struct builder *b);

bool compile_json(struct builder *b);
bool compile_form(struct builder *b);
bool compile_url(struct builder *b);
bool compile_header(struct builder *b);
bool compile_raw(struct builder *b);
// Fields "a=1&b=2" from b->at up to the first byte `end` (or the text's end).
bool compile_fields(struct builder *b, enum spot spot, char end, struct slice lead);

// A JSON string at its opening quote, in pieces: literal text (raw, checked)
// and placeholders. Leaves b->at behind the closing quote.
bool json_walk_string(struct builder *b, enum spot spot,
                      bool (*literal)(struct builder *b, struct slice raw));
void json_walk_blanks(struct builder *b);
bool json_walk_scalar(struct builder *b, struct slice *raw);

// The fast loop: renders ops from `from` on while each is a plain value that it
// can write, and the tail behind the last; returns the index of the first op it
// did not do. The output at `to`
// has room for t->room; each long value is checked against `end`.
struct fast_run {
    const struct template *t;
    const struct tag_value *values; // t->tags_limit of them
    char *to, *end;
    const struct fast_op *stopped;
    bool lacking; // may write what a lacking value becomes
    bool bad_utf8;
};
size_t template_run_fast(struct fast_run *run, size_t from);
// Renders any template; template_render calls it when the fast loop alone does not do.
enum err template_render_any(const struct template *t, const struct tag_set *tags, struct buf *out,
                             struct template_notes *notes, bool *omitted, struct fail *fail);
// Where `n` more bytes and a vector's slack may be written, beyond the buffer's
// maximum too; NULL on no memory.
char *template_room(struct buf *out, size_t n);

#endif
