// Reading a head strictly. llhttp reads the same bytes afterwards for the
// body's framing; what it forgives (a lone LF, folded lines, several lengths)
// is refused here, so two readers of one request never disagree.
#include "server_head.h"

#include <assert.h>

static enum head_result scan_bad(struct head_scan *scan, int status, size_t at, const char *type,
                                 const char *text) {
    scan->status = status;
    fail_set(&scan->fail, ERR_INPUT, at, type, "%s", text);
    return HEAD_BAD;
}

static enum head_result line_too_long(struct head_scan *scan) {
    return scan->lines ? scan_bad(scan, 431, scan->line, "header_too_long",
                                  "a header line is longer than 8 KiB")
                       : scan_bad(scan, 414, scan->line, "uri_too_long",
                                  "the request line is longer than 8 KiB");
}

// The first line decides whether this is HTTP/1 at all; whoever speaks HTTP/0.9 or
// HTTP/2 would never send the rest.
static enum head_result scan_version(struct head_scan *scan, struct slice line) {
    struct slice version = line;
    for (size_t i = line.n; i > 0; i--) {
        if (line.p[i - 1] != ' ') continue;
        version = slice_from(line, i);
        break;
    }
    if (slice_eq(version, S("HTTP/1.1")) || slice_eq(version, S("HTTP/1.0"))) return HEAD_MORE;
    bool other = slice_starts(version, S("HTTP/")) && !slice_starts(line, S("PRI "));
    return other ? scan_bad(scan, 505, 0, "bad_version", "this is an HTTP/1.1 server")
                 : scan_bad(scan, 400, 0, "bad_request_line", "not an HTTP/1.1 request line");
}

static enum head_result scan_line(struct head_scan *scan, struct slice line) {
    if (!line.n || line.p[line.n - 1] != '\r')
        return scan_bad(scan, 400, scan->line + line.n, "bare_lf", "a line feed without CR");
    line.n--;
    if (line.n > HEAD_LINE_MAX) return line_too_long(scan);
    for (size_t i = 0; i < line.n; i++) {
        unsigned char c = (unsigned char)line.p[i];
        if ((c < 0x20 && c != '\t') || c == 0x7F)
            return scan_bad(scan, 400, scan->line + i, "control_byte",
                            "a control byte in the request's head");
    }
    if (scan->lines && line.n && (line.p[0] == ' ' || line.p[0] == '\t'))
        return scan_bad(scan, 400, scan->line, "folded_header", "a folded header line");
    if (scan->lines > HEAD_HEADERS_MAX && line.n)
        return scan_bad(scan, 431, scan->line, "too_many_headers", "more than 100 headers");
    return scan->lines ? HEAD_MORE : scan_version(scan, line);
}

enum head_result head_scan(struct head_scan *scan, struct slice text) {
    if (text.n && (unsigned char)text.p[0] == 0x16) return HEAD_FOREIGN;
    for (;;) {
        struct slice rest = slice_from(text, scan->line);
        size_t lf = slice_find(rest, '\n');
        if (lf == rest.n) {
            if (rest.n > HEAD_LINE_MAX + 1) return line_too_long(scan);
            return HEAD_MORE;
        }
        enum head_result result = scan_line(scan, slice(rest.p, lf));
        if (result != HEAD_MORE) return result;
        scan->line += lf + 1;
        if (scan->line > HEAD_BYTES_MAX)
            return scan_bad(scan, 431, scan->line, "headers_too_long",
                            "the headers are longer than 32 KiB");
        scan->end = scan->line;
        scan->lines++;
        if (lf == 1) return HEAD_DONE;
    }
}

static enum head_result bad(struct head *head, int status, const char *type, const char *name,
                            const char *text) {
    head->status = status;
    fail_set(&head->fail, ERR_INPUT, 0, type, "%s", text);
    if (name) fail_path(&head->fail, "header:%s", name);
    return HEAD_BAD;
}

static bool is_token_byte(unsigned char c) {
    if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9')) return true;
    return c && c < 0x80 && strchr("!#$%&'*+-.^_`|~", c);
}

static bool is_token(struct slice s) {
    for (size_t i = 0; i < s.n; i++)
        if (!is_token_byte((unsigned char)s.p[i])) return false;
    return s.n > 0;
}

static struct slice take_line(struct slice *from) {
    size_t lf = slice_find(*from, '\n');
    assert(lf < from->n && lf > 0);
    struct slice line = slice(from->p, lf - 1);
    *from = slice_from(*from, lf + 1);
    return line;
}

static int hex_digit(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

// Undoes percent-encoding once. False on a broken escape. An encoded slash or NUL can
// only be meant to slip past somebody: refused.
static bool decode_path(struct head *head, struct slice raw, struct arena *arena) {
    char *out = arena_alloc(arena, raw.n + 1);
    if (!out) return false;
    size_t n = 0;
    for (size_t i = 0; i < raw.n; i++) {
        char c = raw.p[i];
        if (c == '%') {
            int high = i + 2 < raw.n ? hex_digit(raw.p[i + 1]) : -1;
            int low = high >= 0 ? hex_digit(raw.p[i + 2]) : -1;
            if (low < 0) return false;
            c = (char)(high << 4 | low);
            i += 2;
            if (c == '/' || (unsigned char)c < 0x20 || c == 0x7F) head->path_refused = true;
        }
        out[n++] = c;
    }
    out[n] = '\0';
    head->path = slice(out, n);
    return true;
}

// Segments that a file system would fold: "//", "/./", "/../", also at the end.
static bool has_odd_segment(struct slice path) {
    while (path.n) {
        path = slice_from(path, 1);
        size_t n = slice_find(path, '/');
        struct slice segment = slice(path.p, n);
        if (slice_eq(segment, S(".")) || slice_eq(segment, S(".."))) return true;
        if (!n && path.n) return true;
        path = slice_from(path, n);
    }
    return false;
}

// "http://host/x" must be taken (RFC 9112 section 3.2.2); it then has to name the Host header's
// host.
static bool strip_authority(struct head *head, struct slice *target) {
    struct slice scheme = S("http://");
    if (target->n < scheme.n || !slice_ieq(slice(target->p, scheme.n), scheme)) return true;
    struct slice rest = slice_from(*target, scheme.n);
    size_t n = slice_find(rest, '/');
    if (n == rest.n) return false;
    *target = slice_from(rest, n);
    for (size_t i = 0; i < head->headers_count; i++)
        if (slice_ieq(head->headers[i].name, S("host")))
            return slice_ieq(head->headers[i].value, slice(rest.p, n));
    return false;
}

static enum head_result read_target(struct head *head, struct arena *arena) {
    struct slice target = head->target;
    if (slice_eq(target, S("*")) && slice_eq(head->method, S("OPTIONS"))) {
        head->path = target;
        return HEAD_DONE;
    }
    for (size_t i = 0; i < target.n; i++)
        if ((unsigned char)target.p[i] >= 0x80 || target.p[i] == '#')
            return bad(head, 400, "bad_target", NULL, "a byte that no request target may hold");
    if (!strip_authority(head, &target) || !target.n || target.p[0] != '/')
        return bad(head, 400, "bad_target", NULL, "the request target is no path of this host");
    size_t mark = slice_find(target, '?');
    head->query = slice_from(target, mark + 1);
    if (!decode_path(head, slice(target.p, mark), arena))
        return bad(head, 400, "bad_target", NULL, "a broken percent escape in the path");
    if (has_odd_segment(head->path)) head->path_refused = true;
    return HEAD_DONE;
}

static enum head_result read_request_line(struct head *head, struct slice line) {
    size_t method = slice_find(line, ' ');
    head->method = slice(line.p, method);
    struct slice rest = slice_from(line, method + 1);
    size_t target = slice_find(rest, ' ');
    head->target = slice(rest.p, target);
    struct slice version = slice_from(rest, target + 1);
    head->http10 = slice_eq(version, S("HTTP/1.0"));
    bool known = head->http10 || slice_eq(version, S("HTTP/1.1"));
    if (!is_token(head->method) || !known || slice_find(head->target, '\t') < target)
        return bad(head, 400, "bad_request_line", NULL, "not an HTTP/1.1 request line");
    head->head_only = slice_eq(head->method, S("HEAD"));
    head->close = head->http10;
    return HEAD_DONE;
}

static enum head_result read_length(struct head *head, struct slice value) {
    if (head->has_length)
        return bad(head, 400, "bad_content_length", "content-length", "it came twice");
    if (!value.n || value.n > 18)
        return bad(head, value.n ? 413 : 400, "bad_content_length", "content-length",
                   "no length that fits");
    for (size_t i = 0; i < value.n; i++) {
        if (value.p[i] < '0' || value.p[i] > '9')
            return bad(head, 400, "bad_content_length", "content-length", "digits only");
        head->content_length = head->content_length * 10 + (uint64_t)(value.p[i] - '0');
    }
    head->has_length = true;
    return HEAD_DONE;
}

static enum head_result read_encoding(struct head *head, struct slice value) {
    if (head->chunked || head->http10)
        return bad(head, 400, "bad_transfer_encoding", "transfer-encoding", "not allowed here");
    if (!slice_ieq(value, S("chunked")))
        return bad(head, 501, "bad_transfer_encoding", "transfer-encoding",
                   "only chunked is known");
    head->chunked = true;
    return HEAD_DONE;
}

static enum head_result read_expect(struct head *head, struct slice value) {
    if (!slice_ieq(value, S("100-continue")))
        return bad(head, 417, "bad_expectation", "expect", "only 100-continue can be met");
    head->continue_100 = !head->http10;
    return HEAD_DONE;
}

// One item of a comma-separated list, trimmed.
static struct slice take_item(struct slice *list) {
    size_t comma = slice_find(*list, ',');
    struct slice item = slice_trim(slice(list->p, comma));
    *list = slice_from(*list, comma + 1);
    return item;
}

static enum head_result read_connection(struct head *head, struct slice value) {
    while (value.n) {
        struct slice option = take_item(&value);
        if (slice_ieq(option, S("close"))) head->close = true;
        if (head->http10 && slice_ieq(option, S("keep-alive"))) head->close = false;
    }
    return HEAD_DONE;
}

// Other upgrades (h2c) may be ignored, and clients go on; a WebSocket client cannot.
static enum head_result read_upgrade(struct head *head, struct slice value) {
    while (value.n)
        if (slice_ieq(take_item(&value), S("websocket")))
            return bad(head, 426, "no_upgrade", "upgrade", "this server speaks HTTP/1.1 only");
    return HEAD_DONE;
}

static const struct {
    struct slice name;
    enum head_result (*read)(struct head *head, struct slice value);
} known_headers[] = {
    { { "content-length", 14 }, read_length }, { { "transfer-encoding", 17 }, read_encoding },
    { { "connection", 10 }, read_connection }, { { "expect", 6 }, read_expect },
    { { "upgrade", 7 }, read_upgrade },
};

static enum head_result read_header(struct head *head, struct slice line) {
    size_t colon = slice_find(line, ':');
    struct header header = { slice(line.p, colon), slice_trim(slice_from(line, colon + 1)) };
    if (colon == line.n || !is_token(header.name))
        return bad(head, 400, "bad_header", NULL, "not a header line");
    head->headers[head->headers_count++] = header;
    for (size_t i = 0; i < sizeof known_headers / sizeof known_headers[0]; i++)
        if (slice_ieq(header.name, known_headers[i].name))
            return known_headers[i].read(head, header.value);
    return HEAD_DONE;
}

static enum head_result check_host(struct head *head) {
    size_t hosts = 0;
    for (size_t i = 0; i < head->headers_count; i++)
        hosts += slice_ieq(head->headers[i].name, S("host"));
    if (hosts == 1 || (!hosts && head->http10)) return HEAD_DONE;
    return bad(head, 400, "bad_host", "host", "exactly one Host header is needed");
}

enum head_result head_read(struct head *head, struct slice text, struct arena *arena) {
    *head = (struct head){ .headers_count = 0 };
    enum head_result result = read_request_line(head, take_line(&text));
    if (result != HEAD_DONE) return result;
    size_t lines = 0;
    for (size_t i = 0; i < text.n; i++) lines += text.p[i] == '\n';
    head->headers = arena_zalloc(arena, lines, sizeof *head->headers);
    if (!head->headers) return bad(head, 503, "no_memory", NULL, "out of memory");
    while (text.n > 2) {
        result = read_header(head, take_line(&text));
        if (result != HEAD_DONE) return result;
    }
    if (head->chunked && head->has_length)
        return bad(head, 400, "bad_content_length", "content-length",
                   "a chunked body has no Content-Length");
    if (slice_eq(head->method, S("CONNECT")))
        return bad(head, 501, "bad_method", NULL, "this is no proxy");
    result = check_host(head);
    return result == HEAD_DONE ? read_target(head, arena) : result;
}
