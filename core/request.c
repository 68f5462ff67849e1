// Requests: checked, packed, and sealed with their secrets at the last moment.
#include "request.h"

#include <stdio.h>
#include <stdlib.h>

#include "escape.h"
#include "guard.h"
#include "json.h"

// --- Markers: NUL 'S' MODE NAME NUL, NUL 'A' NUL, NUL NUL (a NUL of a raw body) ---

enum marker { MARKER_NONE, MARKER_SECRET, MARKER_ATTEMPT, MARKER_NUL };

// The marker that starts at text.p[0] == NUL; *length covers all of it.
static enum marker marker_at(struct slice text, char *mode, struct slice *name, size_t *length) {
    if (text.n >= 2 && text.p[1] == '\0') {
        *length = 2;
        return MARKER_NUL;
    }
    if (text.n >= 3 && text.p[1] == 'A' && text.p[2] == '\0') {
        *length = 3;
        return MARKER_ATTEMPT;
    }
    if (text.n < 5 || text.p[1] != 'S' || !strchr("uhjJfr", text.p[2])) return MARKER_NONE;
    struct slice rest = slice_from(text, 3);
    size_t end = slice_find(rest, '\0');
    if (end == rest.n || end == 0 || end > 64) return MARKER_NONE;
    *mode = text.p[2];
    *name = slice(rest.p, end);
    *length = 3 + end + 1;
    return MARKER_SECRET;
}

static void add_bare_json(struct buf *out, struct slice value) {
    struct json_limits one = { .depth_max = 1 };
    bool scalar =
        value.n && value.p[0] != '"' && value.p[0] != ' ' && json_check(value, one, NULL) == OK;
    if (scalar)
        buf_add(out, value);
    else
        buf_json(out, value);
}

static void add_secret(struct buf *out, char mode, struct slice value) {
    bool ignored = false, run = false;
    char *to =
        strchr("ufhj", mode) ? buf_reserve(out, ESCAPE_JSON_GROWTH * value.n + ESCAPE_SLACK) : NULL;
    char *end = to;
    if (mode == 'J') {
        add_bare_json(out, value);
    } else if (mode == 'r') {
        buf_add(out, value);
    } else if (to) {
        switch (mode) {
        case 'u': end = escape->url(to, value); break;
        case 'f': end = escape->form(to, value); break;
        case 'h': end = escape_header(to, value, &run, &ignored); break;
        default: end = escape->json(to, value, &ignored);
        }
        out->n += (size_t)(end - to);
    }
}

struct seal {
    uint32_t attempt;
    request_secret_fn *secret; // NULL: mask
    void *user;
    struct fail *fail;
};

static enum err seal_marker(struct slice text, const struct seal *seal, struct buf *out,
                            size_t *length) {
    char mode = 'r';
    struct slice name, value;
    switch (marker_at(text, &mode, &name, length)) {
    case MARKER_NUL: buf_byte(out, '\0'); return OK;
    case MARKER_ATTEMPT:
        buf_printf(out, seal->secret ? "%u" : "[ATTEMPT]", seal->attempt);
        return OK;
    case MARKER_NONE:
        *length = 1;
        return fail_set(seal->fail, ERR_INPUT, 0, "bad_marker", "a stray NUL in the request");
    case MARKER_SECRET: break;
    }
    if (!seal->secret) {
        buf_printf(out, "[SECRET:%.*s]", SLICE_FMT(name));
    } else if (!seal->secret(seal->user, name, &value)) {
        return fail_set(seal->fail, ERR_DENIED, 0, "unknown_secret",
                        "no secret %.*s for this webhook", SLICE_FMT(name));
    } else {
        add_secret(out, mode, value);
    }
    return OK;
}

// `text` with its markers replaced, in `arena`; borrowed as it is when it has none.
static enum err seal_text(struct slice text, const struct seal *seal, struct arena *arena,
                          struct slice *to) {
    *to = text;
    if (slice_find(text, '\0') == text.n) return OK;
    struct buf out;
    buf_init(&out, REQUEST_BODY_MAX + REQUEST_URL_MAX);
    enum err err = OK;
    while (text.n && err == OK) {
        size_t plain = slice_find(text, '\0'), length = 0;
        buf_add(&out, slice(text.p, plain));
        text = slice_from(text, plain);
        if (text.n) err = seal_marker(text, seal, &out, &length);
        text = slice_from(text, length);
    }
    if (err == OK) *to = arena_dup(arena, buf_slice(&out));
    if (err == OK && (out.no_memory || (!out.failed && !to->p)))
        err = fail_set(seal->fail, ERR_NOMEM, 0, "no_memory", "no memory for the request");
    else if (err == OK && out.failed)
        err = fail_set(seal->fail, ERR_LIMIT, 0, "render_too_large", "the request grew too large");
    buf_deinit(&out);
    return err;
}

// Where the next marker or the next `value` starts.
static size_t next_place(struct slice text, struct slice value) {
    size_t nul = slice_find(text, '\0');
    const char *hit = memmem(text.p, nul, value.p, value.n);
    return hit ? (size_t)(hit - text.p) : nul;
}

static bool hide_in(struct slice *text, struct slice name, struct slice value,
                    struct arena *arena) {
    struct slice rest = *text;
    struct buf out;
    if (!text->n || !memmem(text->p, text->n, value.p, value.n)) return true;
    buf_init(&out, 2 * (REQUEST_BODY_MAX + REQUEST_URL_MAX));
    while (rest.n) {
        size_t plain = next_place(rest, value), length = value.n;
        char mode;
        struct slice other;
        buf_add(&out, slice(rest.p, plain));
        rest = slice_from(rest, plain);
        if (rest.n && rest.p[0] != '\0') {
            buf_add(&out, slice("\0Sr", 3));
            buf_add(&out, name);
            buf_byte(&out, '\0');
        } else if (rest.n) {
            if (marker_at(rest, &mode, &other, &length) == MARKER_NONE) length = 1;
            buf_add(&out, slice(rest.p, length));
        }
        rest = slice_from(rest, length);
    }
    struct slice hidden = out.failed ? slice(NULL, 0) : arena_dup(arena, buf_slice(&out));
    buf_deinit(&out);
    if (hidden.p) *text = hidden;
    return hidden.p;
}

bool request_hide(struct request *request, struct slice name, struct slice value,
                  struct arena *arena) {
    bool hidden =
        hide_in(&request->url, name, value, arena) && hide_in(&request->body, name, value, arena);
    for (size_t i = 0; i < request->headers_count && hidden; i++)
        hidden = hide_in(&request->headers[i].value, name, value, arena);
    return hidden;
}

enum err request_seal(const struct request *from, uint32_t attempt, request_secret_fn *secret,
                      void *user, struct arena *arena, struct request *out, struct fail *fail) {
    struct seal seal = { attempt, secret, user, fail };
    *out = *from;
    out->headers = arena_zalloc(arena, from->headers_count + 1, sizeof *out->headers);
    if (!out->headers)
        return fail_set(fail, ERR_NOMEM, 0, "no_memory", "no memory for the headers");
    enum err err = seal_text(from->url, &seal, arena, &out->url);
    if (err == OK) err = seal_text(from->body, &seal, arena, &out->body);
    for (size_t i = 0; i < from->headers_count && err == OK; i++) {
        out->headers[i].name = from->headers[i].name;
        err = seal_text(from->headers[i].value, &seal, arena, &out->headers[i].value);
    }
    return err;
}

struct slice request_mask(struct slice text, struct arena *arena) {
    struct seal seal = { 0 };
    struct slice masked;
    return seal_text(text, &seal, arena, &masked) == OK ? masked : text;
}

// --- Checks ---

static bool is_token_byte(unsigned char c) {
    if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9')) return true;
    return c && strchr("!#$%&'*+-.^_`|~", c);
}

bool request_header_name_valid(struct slice name) {
    if (!name.n || name.n > 256) return false;
    for (size_t i = 0; i < name.n; i++)
        if (!is_token_byte((unsigned char)name.p[i])) return false;
    return true;
}

static bool istarts(struct slice s, struct slice prefix) {
    return s.n >= prefix.n && slice_ieq(slice(s.p, prefix.n), prefix);
}

bool request_header_reserved(struct slice name) {
    static const char *const names[] = {
        "Host", "Content-Length", "Transfer-Encoding", "Connection",    "Keep-Alive", "Expect",
        "TE",   "Upgrade",        "Trailer",           "HTTP2-Settings"
    };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (slice_ieq(name, slice_str(names[i]))) return true;
    return istarts(name, S("proxy-")) || istarts(name, S("webhook-"));
}

static enum err check_value(struct slice name, struct slice value, struct fail *fail) {
    for (size_t i = 0; i < value.n;) {
        unsigned char c = (unsigned char)value.p[i];
        size_t length = 1;
        char mode;
        struct slice secret;
        bool marker =
            c == 0 && marker_at(slice_from(value, i), &mode, &secret, &length) != MARKER_NONE;
        if (!marker && ((c < 0x20 && c != '\t') || c == 0x7F)) {
            fail_path(fail, "header %.*s", SLICE_FMT(name));
            return fail_set(fail, ERR_INPUT, i, "bad_header_value",
                            "header %.*s holds a control byte (0x%02x)", SLICE_FMT(name), c);
        }
        i += length;
    }
    return OK;
}

static enum err check_headers(const struct request *r, struct fail *fail) {
    size_t bytes = 0;
    if (r->headers_count > REQUEST_HEADERS_MAX)
        return fail_set(fail, ERR_LIMIT, 0, "too_many_headers", "more than %d headers",
                        REQUEST_HEADERS_MAX);
    for (size_t i = 0; i < r->headers_count; i++) {
        struct slice name = r->headers[i].name;
        fail_path(fail, "header %.*s", SLICE_FMT(name));
        if (!request_header_name_valid(name))
            return fail_set(fail, ERR_INPUT, 0, "bad_header_name",
                            "\"%.*s\" is no header name (RFC 9110 token)", SLICE_FMT(name));
        if (request_header_reserved(name))
            return fail_set(fail, ERR_INPUT, 0, "reserved_header",
                            "header %.*s is set by the engine", SLICE_FMT(name));
        for (size_t k = 0; k < i; k++)
            if (slice_ieq(r->headers[k].name, name))
                return fail_set(fail, ERR_INPUT, 0, "duplicate_header", "header %.*s stands twice",
                                SLICE_FMT(name));
        enum err err = check_value(name, r->headers[i].value, fail);
        if (err != OK) return err;
        bytes += name.n + r->headers[i].value.n + 4;
    }
    if (bytes > REQUEST_HEADER_BYTES_MAX)
        return fail_set(fail, ERR_LIMIT, 0, "headers_too_large",
                        "the headers have %zu bytes, at most %d", bytes, REQUEST_HEADER_BYTES_MAX);
    return OK;
}

// A URL with its markers taken out, as far as the syntax check goes.
static enum err check_url(struct slice url, struct slice like, struct fail *fail) {
    struct arena arena;
    struct url_parts parts;
    fail_path(fail, "url");
    if (url.n > REQUEST_URL_MAX)
        return fail_set(fail, ERR_LIMIT, 0, "url_too_long", "the URL has %zu bytes, at most %d",
                        url.n, REQUEST_URL_MAX);
    if (like.n && !(slice_starts(url, like) && (url.n == like.n || strchr("/?#", url.p[like.n]))))
        return fail_set(fail, ERR_INPUT, 0, "url_host_changed", "the URL left %.*s",
                        SLICE_FMT(like));
    arena_init(&arena, 64 * 1024);
    struct slice text = url;
    if (slice_find(url, '\0') < url.n) { // brackets are no URL bytes: a masked marker becomes dots
        text = arena_dup(&arena, request_mask(url, &arena));
        for (size_t i = 0; i < text.n; i++)
            if (i > like.n && (text.p[i] == '[' || text.p[i] == ']'))
                ((char *)(uintptr_t)text.p)[i] = '.';
    }
    enum err err = guard_url_split(text, &parts, fail);
    arena_deinit(&arena);
    return err;
}

enum err request_check(const struct request *request, struct slice like, struct fail *fail) {
    static const char *const methods[] = { "GET", "POST", "PUT", "PATCH", "DELETE" };
    bool known = false;
    for (size_t i = 0; i < sizeof methods / sizeof *methods; i++)
        known = known || slice_eq(request->method, slice_str(methods[i]));
    if (!known) {
        fail_path(fail, "method");
        return fail_set(fail, ERR_INPUT, 0, "bad_method",
                        "method is GET, POST, PUT, PATCH or DELETE, not \"%.*s\"",
                        SLICE_FMT(request->method));
    }
    enum err err = check_url(request->url, like, fail);
    if (err == OK) err = check_headers(request, fail);
    if (err != OK) return err;
    fail_path(fail, "body");
    if (request->body.n > REQUEST_BODY_MAX)
        return fail_set(fail, ERR_LIMIT, 0, "render_too_large",
                        "the body has %zu bytes, at most %d", request->body.n, REQUEST_BODY_MAX);
    return OK;
}

// --- Flat form ---

enum { PACK_VERSION = 1 };

void request_pack(const struct request *request, struct buf *out) {
    buf_u8(out, PACK_VERSION);
    buf_u8(out, request->has_body);
    buf_blob(out, request->method);
    buf_blob(out, request->url);
    buf_u32(out, (uint32_t)request->headers_count);
    for (size_t i = 0; i < request->headers_count; i++) {
        buf_blob(out, request->headers[i].name);
        buf_blob(out, request->headers[i].value);
    }
    buf_blob(out, request->body);
}

bool request_unpack(struct slice bytes, struct request *request, struct arena *arena) {
    if (take_u8(&bytes) != PACK_VERSION) return false;
    *request = (struct request){ .has_body = take_u8(&bytes) == 1 };
    request->method = take_blob(&bytes);
    request->url = take_blob(&bytes);
    request->headers_count = take_u32(&bytes);
    if (!bytes.p || request->headers_count > bytes.n / 8) return false;
    request->headers = arena_zalloc(arena, request->headers_count + 1, sizeof *request->headers);
    if (!request->headers) return false;
    for (size_t i = 0; i < request->headers_count; i++) {
        request->headers[i].name = take_blob(&bytes);
        request->headers[i].value = take_blob(&bytes);
    }
    request->body = take_blob(&bytes);
    return bytes.p && bytes.n == 0;
}
