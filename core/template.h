// Templates: text with [TAG] placeholders, compiled once and rendered for each
// event. Where a value lands decides how it is escaped; the rules are those of
// the template language (placeholders, formatters, missing policies). Where its
// text leaves a choice, this is what holds:
//
// - Formatters bind to the name in front of them: [A:trim|B:upper|"n/a"]; an
//   alternative is empty when its formatted value is.
// - The default comes last. In it \" is a quote and \\ a backslash; inside a JSON
//   string its quotes may be written as they are or as JSON has them, \".
// - [!…] gives the text of any placeholder, not only of a plain one.
// - JSON null is a value: null where it stands bare, empty elsewhere and in a chain.
// - `raw` in a URL or form keeps RFC 3986's reserved bytes and '%'; in a header it
//   changes nothing. `json` in a URL or form is JSON text, encoded as any value.
// - `omit` where nothing can be dropped (a path, a raw body, a lone value) is `empty`.
#ifndef TUMA_TEMPLATE_H
#define TUMA_TEMPLATE_H

#include "arena.h"
#include "buf.h"
#include "fail.h"
#include "slice.h"
#include "tag.h"

// What the text is; escaping inside follows from the position.
enum template_place { TEMPLATE_URL, TEMPLATE_HEADER, TEMPLATE_JSON, TEMPLATE_FORM, TEMPLATE_RAW };

enum template_missing { MISSING_KEEP, MISSING_EMPTY, MISSING_NULL, MISSING_OMIT, MISSING_FAIL };

enum {
    TEMPLATE_BYTES_MAX = 256 * 1024,
    TEMPLATE_PLACEHOLDERS_MAX = 4096,
    RENDER_BYTES_MAX = 1024 * 1024, // E23
};

struct template;

struct template_opts {
    enum template_place place;
    enum template_missing missing;
};

// Compiles `text` (copied). Interns the tags it names, so call it from the one
// thread that may intern. Returns an owned template or NULL; fail->at is the
// byte offset of the mistake in `text` (fail->line/column are filled too).
struct template *template_compile(struct slice text, const struct template_opts *opts,
                                  struct fail *fail);
void template_free(struct template *t); // NULL is fine

// What a render noticed, for the delivery log. Init with an arena; names are unique.
struct template_notes {
    struct arena *arena;
    struct template_name {
        struct slice name;
        struct template_name *next;
    } * unresolved; // tags that had no value, in order of first use
    bool coerced;   // a bare JSON value was quoted (E7)
    bool sanitized; // control bytes were taken out of a header (E11)
    bool bad_utf8;  // bytes became U+FFFD
};

// The unresolved names joined by commas, in the notes' arena; p is NULL on no memory.
struct slice template_notes_text(const struct template_notes *notes);

// Appends the rendered text to `out` (whose max bounds it; ERR_LIMIT
// "render_too_large" past that). `notes` may be NULL. Secrets come out as
// markers, see request.h. ERR_INPUT "missing_tag" under MISSING_FAIL,
// "invalid_body" when a raw/json formatter broke a JSON body. In a header, an
// omitted tag makes *omitted true (when not NULL): the caller drops the header.
enum err template_render(const struct template *t, const struct tag_set *tags, struct buf *out,
                         struct template_notes *notes, bool *omitted, struct fail *fail);

// Walks what the template refers to, for lint: every tag with its offset, and
// every secret.
struct template_use {
    struct slice name;
    size_t at; // offset in the source text
    unsigned line, column;
    bool secret;
    bool has_default; // an alternative follows in its chain
};
void template_each_use(const struct template *t,
                       void (*one)(void *user, const struct template_use *use), void *user);
// True when the template has no placeholder at all; the render is then its text.
bool template_is_literal(const struct template *t);

// Which escapers run: chosen at start (AVX2 when the CPU has it). Tests force one.
enum template_simd { SIMD_AUTO, SIMD_PORTABLE, SIMD_AVX2 };
void template_use_simd(enum template_simd which);

#endif
