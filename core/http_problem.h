// RFC 9457 problem documents: what every error of the HTTP API looks like.
//
//   {"type":"urn:tuma:problem:invalid_json","title":"Bad Request","status":400,
//    "detail":"a value is missing","offset":17,"line":1,"column":18,"pointer":"/tags"}
//
// `type` is "urn:tuma:problem:" + fail.type, stable and meant for programs;
// `title` is the status' phrase; `detail` is for people. The place follows where
// known: `offset` (bytes into the body), `line` and `column` (from 1, in bytes),
// `pointer` (RFC 6901) or `header`; `item` is the index in a batch.
#ifndef TUMA_HTTP_PROBLEM_H
#define TUMA_HTTP_PROBLEM_H

#include "buf.h"
#include "fail.h"

enum { HTTP_PROBLEM_NO_ITEM = -1 };

// Appends the document. fail->path that starts with '/' is a pointer, "header:NAME" a header,
// anything else (a query parameter, a setting) goes into `parameter`. The place
// is written when fail->line was set (fail_place).
void http_problem_write(struct buf *out, int status, const struct fail *fail, long item);

// The reason phrase of a status; "Unknown" for those never sent here.
const char *http_problem_phrase(int status);

// The status that fits an error of an input: 400, 413 for ERR_LIMIT, 404, 409,
// 403, 408; 503 for ERR_FULL and ERR_NOT_NOW; 500 for the rest.
int http_problem_status(const struct fail *fail);

#define HTTP_PROBLEM_TYPE S("application/problem+json")

#endif
