// The head of a request, byte by byte: where it ends, whether it is clean, and
// what is in it. Pure; the server's only own parsing. Internal to the server.
#ifndef TUMA_SERVER_HEAD_H
#define TUMA_SERVER_HEAD_H

#include <stdbool.h>
#include <stdint.h>

#include "arena.h"
#include "fail.h"
#include "request.h"
#include "slice.h"

enum {
    HEAD_LINE_MAX = 8 * 1024, // a request line or a header line, without CRLF
    HEAD_BYTES_MAX = 32 * 1024 + HEAD_LINE_MAX,
    HEAD_HEADERS_MAX = 100,
};

enum head_result {
    HEAD_MORE,
    HEAD_DONE,
    HEAD_BAD,    // answer `status` with `fail` and close
    HEAD_FOREIGN // not HTTP at all (a TLS hello): close without a word
};

// Looks for the end line by line, so that a broken line is answered when it is
// there and not when a deadline passes. Start from a zeroed struct.
struct head_scan {
    size_t line;    // where the line begins that is not complete yet
    size_t end;     // after HEAD_DONE: length of the head, last CRLF included
    unsigned lines; // complete ones so far
    int status;
    struct fail fail;
};
// `text` begins with the head and may go on behind it; between calls it only grows.
enum head_result head_scan(struct head_scan *scan, struct slice text);

// A whole head taken apart. Slices borrow from `text`; decoded parts are in the arena.
struct head {
    struct slice method, target, path, query;
    struct header *headers;
    size_t headers_count;
    bool http10;
    bool close;   // the connection ends after this answer
    bool chunked; // else content_length says how much follows
    bool has_length;
    bool continue_100; // the client waits for "100 Continue"
    bool head_only;    // HEAD: the answer's body stays away
    bool path_refused; // dot segments, empty segments, encoded slashes: names nothing here
    uint64_t content_length;
    int status;
    struct fail fail;
};
// Takes `text` (exactly a head that head_scan found) apart. HEAD_DONE or HEAD_BAD.
enum head_result head_read(struct head *head, struct slice text, struct arena *arena);

#endif
