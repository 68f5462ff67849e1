// A request as it is sent: method, URL, headers, body. Rendered once, stored,
// and sent again unchanged. Secrets are not in it: where the template said
// [SECRET:NAME] stands a marker that only request_seal replaces, at the moment
// of sending, so a stored or logged request never holds one.
//
// Marker bytes: NUL 'S' MODE NAME NUL, where MODE is the escaping of its place
// (u URL, h header, j JSON string, J bare JSON, f form, r raw). In every place
// but a raw body values cannot contain NUL; there a value's NUL is doubled.
// NUL 'A' NUL is the attempt number ([ATTEMPT] in a header).
#ifndef TUMA_REQUEST_H
#define TUMA_REQUEST_H

#include <stdbool.h>
#include <stdint.h>

#include "arena.h"
#include "buf.h"
#include "fail.h"
#include "slice.h"

enum {
    REQUEST_HEADERS_MAX = 64,
    REQUEST_HEADER_BYTES_MAX = 8 * 1024,
    REQUEST_URL_MAX = 8 * 1024,
    REQUEST_BODY_MAX = 1024 * 1024,
};

struct header {
    struct slice name, value;
};

struct request {
    struct slice method; // GET POST PUT PATCH DELETE
    struct slice url;
    struct header *headers;
    size_t headers_count;
    struct slice body;
    bool has_body;
};

// Checks what a template or script made: method, header names (RFC 9110
// section 5.1 token, none reserved, no duplicates without case), values
// (no control bytes but TAB and markers), sizes, and that the URL is absolute
// http(s) and keeps scheme, host and port of `like` (pass an empty slice to skip that).
enum err request_check(const struct request *request, struct slice like, struct fail *fail);

// True for the names only the engine may set (Host, Content-Length,
// Transfer-Encoding, Connection, Expect, TE, Upgrade, Trailer, Proxy-*, webhook-*).
bool request_header_reserved(struct slice name);
// RFC 9110 token of at most 256 bytes.
bool request_header_name_valid(struct slice name);

// Flat form for the store and the wire, and back (slices borrow from `bytes`,
// the header array is in `arena`). False on malformed bytes or no memory.
void request_pack(const struct request *request, struct buf *out);
bool request_unpack(struct slice bytes, struct request *request, struct arena *arena);

// Looks a secret up by name; returns false when it is unknown or not granted.
typedef bool request_secret_fn(void *user, struct slice name, struct slice *value);

// The request to send: markers replaced, everything in `arena`. ERR_DENIED
// "unknown_secret" with the name in fail->text.
enum err request_seal(const struct request *from, uint32_t attempt, request_secret_fn *secret,
                      void *user, struct arena *arena, struct request *out, struct fail *fail);

// Puts a marker wherever `value` stands in the URL, a header's value or the body: a secret that a
// script wrote out is kept by its name, and request_seal gives the same bytes. False: no memory.
bool request_hide(struct request *request, struct slice name, struct slice value,
                  struct arena *arena);
// For logs: markers become [SECRET:NAME]; `text` as it stands otherwise.
struct slice request_mask(struct slice text, struct arena *arena);

#endif
