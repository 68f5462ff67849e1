// How a module says no. Three kinds of trouble exist here: a wrong program
// (assert and die), wrong input or a wrong world (enum err, with the details in
// the caller's struct fail), and a wrong script (a verdict, which is data).
#ifndef TUMA_FAIL_H
#define TUMA_FAIL_H

#include <stddef.h>

enum err {
    OK = 0,
    ERR_INPUT,    // the bytes are wrong; fail.at says where
    ERR_LIMIT,    // a stated limit was reached
    ERR_NOMEM,    // an allocation failed
    ERR_IO,       // the operating system said no; fail.text names the call
    ERR_FULL,     // no space left for it (disk, queue)
    ERR_NOTFOUND, // no such thing
    ERR_CONFLICT, // it exists already and differs
    ERR_NOT_NOW,  // closed, busy, read-only, wrong version
    ERR_TIMEOUT,  // a deadline passed
    ERR_DENIED,   // a rule or a missing right forbids it
};

// Where and why. `type` is a stable machine-readable word (snake_case, it ends
// up in RFC 9457 problem types and in the log); `text` is for people.
struct fail {
    enum err code;
    size_t at;       // byte offset into the input, when the input is the cause
    unsigned line;   // 1-based, 0 when unknown; filled by fail_place
    unsigned column; // 1-based, in bytes
    char type[40];
    char path[96]; // JSON pointer (RFC 6901), header name or setting, when known
    char text[256];
};

// Fills `fail` (which may be NULL) and returns `code`, so a caller can write
// `return fail_set(fail, ERR_INPUT, at, "bad_number", "…")`. Text is cut, never
// overflown. Keeps fail->path as it is.
enum err fail_set(struct fail *fail, enum err code, size_t at, const char *type, const char *format,
                  ...) __attribute__((format(printf, 5, 6)));

// Sets fail->path by format; longer paths are cut.
void fail_path(struct fail *fail, const char *format, ...) __attribute__((format(printf, 2, 3)));

// Ends the process with a line that names what could not be allocated, for places
// that cannot report it. The store is consistent at every moment, so this is safe.
_Noreturn void fail_no_memory(const char *what);

// Turns fail->at into line and column by counting line feeds in text[0..n).
void fail_place(struct fail *fail, const char *text, size_t n);

#endif
