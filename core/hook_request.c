// The request part of a description: method, format, URL, headers, body.
#include "hook_inner.h"

static struct template *compile(struct hook_build *b, struct slice text, enum template_place place,
                                enum template_missing missing, const char *what) {
    struct fail fail = { 0 };
    struct template *t = template_compile(
        text, &(struct template_opts){ .place = place, .missing = missing }, &fail);
    if (!t) hook_report(b, true, text, fail.at, fail.type, "%s: %s", what, fail.text);
    return t;
}

// The method's name as a literal that lives for ever, or an empty slice.
static struct slice known_method(struct slice text) {
    static const char *const methods[] = { "GET", "POST", "PUT", "PATCH", "DELETE" };
    for (size_t i = 0; i < sizeof methods / sizeof *methods; i++)
        if (slice_eq(text, slice_str(methods[i]))) return slice_str(methods[i]);
    return slice("", 0);
}

static void read_method_and_format(struct hook_build *b, struct json request) {
    struct slice method = hook_read_text(b, request, "method", S("POST"));
    b->hook->method = known_method(method);
    if (!b->hook->method.n)
        hook_report(b, true, method, 0, "bad_method",
                    "method is GET, POST, PUT, PATCH or DELETE, not \"%.*s\"", SLICE_FMT(method));
    struct slice format = hook_read_text(b, request, "format", S("json"));
    b->hook->format = slice_eq(format, S("form"))  ? HOOK_FORM
                      : slice_eq(format, S("raw")) ? HOOK_RAW
                                                   : HOOK_JSON;
    if (b->hook->format == HOOK_JSON && !slice_eq(format, S("json")))
        hook_report_key(b, "format", "format is \"json\", \"form\" or \"raw\"");
}

// The URL up to its first placeholder: brackets are no URL bytes, so this is
// what the guard can judge. An IPv6 literal's brackets are part of the host.
static struct slice fixed_part(struct slice url) {
    const char *colon = url.n ? memmem(url.p, url.n, "://", 3) : NULL;
    size_t from = colon ? (size_t)(colon - url.p) + 3 : 0;
    if (from < url.n && url.p[from] == '[') from += slice_find(slice_from(url, from), ']');
    return slice(url.p, from + slice_find(slice_from(url, from), '['));
}

static void read_url(struct hook_build *b, struct json request) {
    struct hook *hook = b->hook;
    struct slice text = hook_read_text(b, request, "url", slice("", 0));
    if (!text.n) {
        hook_report_key(b, "request", "request.url is missing");
        return;
    }
    hook->url = compile(b, text, TEMPLATE_URL, hook->missing, "request.url");
    if (!hook->url) return;
    struct url_parts parts;
    struct fail fail = { 0 };
    struct slice fixed = fixed_part(text);
    enum err err = b->input->guard ? guard_url(b->input->guard, fixed, &parts, &fail)
                                   : guard_url_split(fixed, &parts, &fail);
    if (err != OK) {
        hook_report(b, true, text, 0, fail.type, "request.url: %s", fail.text);
        return;
    }
    size_t authority = (size_t)(parts.path_and_rest.p - fixed.p);
    hook->url_authority = slice(text.p, parts.path_and_rest.p ? authority : fixed.n);
}

static bool has_header(const struct hook *hook, struct slice name) {
    for (size_t i = 0; i < hook->headers_count; i++)
        if (slice_ieq(hook->headers[i].name, name)) return true;
    return false;
}

static void add_header(struct hook_build *b, struct slice name, struct slice value) {
    struct hook *hook = b->hook;
    if (!request_header_name_valid(name))
        hook_report(b, true, name, 0, "bad_header_name",
                    "\"%.*s\" is no header name (RFC 9110 token)", SLICE_FMT(name));
    else if (request_header_reserved(name))
        hook_report(b, true, name, 0, "reserved_header", "header %.*s is set by the engine",
                    SLICE_FMT(name));
    else if (has_header(hook, name))
        hook_report(b, true, name, 0, "duplicate_header",
                    "header %.*s stands twice (names have no case)", SLICE_FMT(name));
    else {
        struct template *t = compile(b, value, TEMPLATE_HEADER, hook->missing, "request.headers");
        if (t) hook->headers[hook->headers_count++] = (struct hook_header){ name, t };
    }
}

// Headers by name, so that the order on the wire does not depend on a hash table.
static void sort_headers(struct hook *hook) {
    for (size_t i = 1; i < hook->headers_count; i++) {
        struct hook_header moving = hook->headers[i];
        size_t at = i;
        while (at > 0) {
            struct slice other = hook->headers[at - 1].name;
            size_t n = other.n < moving.name.n ? other.n : moving.name.n;
            int order = memcmp(other.p, moving.name.p, n);
            if (order < 0 || (order == 0 && other.n <= moving.name.n)) break;
            hook->headers[at] = hook->headers[at - 1];
            at--;
        }
        hook->headers[at] = moving;
    }
}

static void read_headers(struct hook_build *b, struct json headers) {
    struct arena *arena = &b->hook->arena;
    size_t at = 0, count = 0, bytes = 0;
    struct slice key;
    struct json value;
    if (headers.type == JSON_NONE || (headers.type == JSON_ARRAY && headers.raw.n == 2)) return;
    if (headers.type != JSON_OBJECT) {
        hook_report_key(b, "headers", "request.headers is a table of Name = template");
        return;
    }
    while (json_next(headers, &at, &key, &value)) count++;
    if (count > REQUEST_HEADERS_MAX) {
        hook_report_key(b, "headers", "at most %d headers", REQUEST_HEADERS_MAX);
        return;
    }
    b->hook->headers = arena_zalloc(arena, count + 1, sizeof *b->hook->headers);
    at = 0;
    while (b->hook->headers && json_next(headers, &at, &key, &value)) {
        struct slice name =
            json_text((struct json){ JSON_STRING, slice(key.p - 1, key.n + 2) }, arena);
        if (value.type == JSON_OBJECT || value.type == JSON_ARRAY)
            hook_report(b, true, name, 0, "bad_header_value",
                        "header %.*s: a template, as a string", SLICE_FMT(name));
        else {
            struct slice text = json_text(value, arena);
            add_header(b, arena_dup(arena, name), text);
            // What placeholders add is checked when they are rendered.
            bytes += name.n + (slice_find(text, '[') == text.n ? text.n : 0);
        }
    }
    if (bytes > REQUEST_HEADER_BYTES_MAX)
        hook_report_key(b, "headers", "the headers have %zu bytes, at most %d", bytes,
                        REQUEST_HEADER_BYTES_MAX);
    sort_headers(b->hook);
}

static void read_body(struct hook_build *b, struct json body) {
    static const enum template_place places[] = { TEMPLATE_JSON, TEMPLATE_FORM, TEMPLATE_RAW };
    static const char *const types[] = { "application/json", "application/x-www-form-urlencoded",
                                         "application/octet-stream" };
    struct hook *hook = b->hook;
    if (body.type == JSON_NONE) return;
    bool table = body.type == JSON_OBJECT || body.type == JSON_ARRAY;
    if (body.type != JSON_STRING && !(table && hook->format != HOOK_RAW)) {
        hook_report_key(b, "body",
                        "request.body is a template: a string, or a table for json and form");
        return;
    }
    struct slice text = table ? body.raw : json_text(body, &hook->arena);
    hook->body = compile(b, text, places[hook->format], hook->missing, "request.body");
    hook->content_type = slice_str(types[hook->format]);
}

void hook_read_request(struct hook_build *b, struct json request) {
    static const struct slice known[] = {
        { "method", 6 }, { "format", 6 }, { "url", 3 }, { "headers", 7 }, { "body", 4 }
    };
    if (request.type != JSON_OBJECT) {
        hook_report_key(b, "request", "request is a table with url, method, headers, body");
        return;
    }
    hook_check_keys(b, request, "request", known, sizeof known / sizeof *known);
    read_method_and_format(b, request);
    read_url(b, request);
    read_headers(b, json_get(request, "headers"));
    read_body(b, json_get(request, "body"));
}
