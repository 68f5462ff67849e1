// Problem documents. One place knows their shape, so the server's own errors,
// the API's and those inside batch results read alike.
#include "http_problem.h"

static const struct {
    int status;
    const char *phrase;
} phrases[] = {
    { 100, "Continue" },
    { 200, "OK" },
    { 201, "Created" },
    { 202, "Accepted" },
    { 204, "No Content" },
    { 207, "Multi-Status" },
    { 400, "Bad Request" },
    { 401, "Unauthorized" },
    { 403, "Forbidden" },
    { 404, "Not Found" },
    { 405, "Method Not Allowed" },
    { 408, "Request Timeout" },
    { 409, "Conflict" },
    { 413, "Content Too Large" },
    { 414, "URI Too Long" },
    { 415, "Unsupported Media Type" },
    { 417, "Expectation Failed" },
    { 421, "Misdirected Request" },
    { 422, "Unprocessable Content" },
    { 426, "Upgrade Required" },
    { 429, "Too Many Requests" },
    { 431, "Request Header Fields Too Large" },
    { 500, "Internal Server Error" },
    { 501, "Not Implemented" },
    { 503, "Service Unavailable" },
    { 505, "HTTP Version Not Supported" },
    { 508, "Loop Detected" },
};

const char *http_problem_phrase(int status) {
    for (size_t i = 0; i < sizeof phrases / sizeof phrases[0]; i++)
        if (phrases[i].status == status) return phrases[i].phrase;
    return "Unknown";
}

int http_problem_status(const struct fail *fail) {
    switch (fail->code) {
    case ERR_INPUT: return 400;
    case ERR_LIMIT: return 413;
    case ERR_NOTFOUND: return 404;
    case ERR_CONFLICT: return 409;
    case ERR_DENIED: return 403;
    case ERR_TIMEOUT: return 408;
    case ERR_FULL:
    case ERR_NOT_NOW: return 503;
    case OK:
    case ERR_NOMEM:
    case ERR_IO: break;
    }
    return 500;
}

static void write_place(struct buf *out, const struct fail *fail) {
    struct slice path = slice_str(fail->path), header = S("header:");
    if (fail->line)
        buf_printf(out, ",\"offset\":%zu,\"line\":%u,\"column\":%u", fail->at, fail->line,
                   fail->column);
    if (!path.n) return;
    bool is_header = slice_starts(path, header);
    buf_add(out, is_header          ? S(",\"header\":")
                 : path.p[0] == '/' ? S(",\"pointer\":")
                                    : S(",\"parameter\":"));
    buf_json(out, is_header ? slice_from(path, header.n) : path);
}

void http_problem_write(struct buf *out, int status, const struct fail *fail, long item) {
    buf_printf(out, "{\"type\":\"urn:tuma:problem:%s\",\"title\":\"%s\",\"status\":%d,\"detail\":",
               fail->type[0] ? fail->type : "unknown", http_problem_phrase(status), status);
    buf_json(out, slice_str(fail->text));
    write_place(out, fail);
    if (item != HTTP_PROBLEM_NO_ITEM) buf_printf(out, ",\"item\":%ld", item);
    buf_byte(out, '}');
}
