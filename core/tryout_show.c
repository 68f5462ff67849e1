// What the trying commands print in common.
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "tryout.h"

void tryout_path(const struct config *config, const char *hook, char *out, size_t size) {
    if (strchr(hook, '/') || slice_ends(slice_str(hook), S(".lua")))
        snprintf(out, size, "%s", hook);
    else
        snprintf(out, size, "%s/%s.lua", config->scripts, hook);
}

static int is_webhook(const struct dirent *entry) {
    struct slice name = slice_str(entry->d_name);
    return name.p[0] != '.' && slice_ends(name, S(".lua")) && !slice_ends(name, S("_test.lua"));
}

enum err tryout_each_file(const struct config *config, const char *path,
                          void (*one)(void *user, const char *file), void *user,
                          struct fail *fail) {
    struct stat st;
    struct dirent **entries = NULL;
    char named[4400];
    if (stat(path, &st) != 0) {
        int problem = errno;
        tryout_path(config, path, named, sizeof named);
        if (stat(named, &st) != 0)
            return fail_set(fail, ERR_NOTFOUND, 0, "no_such_file", "%s: %s", path,
                            strerror(problem));
        path = named;
    }
    if (!S_ISDIR(st.st_mode)) {
        one(user, path);
        return OK;
    }
    int count = scandir(path, &entries, is_webhook, alphasort);
    for (int i = 0; i < count; i++) {
        char file[4700];
        snprintf(file, sizeof file, "%s/%s", path, entries[i]->d_name);
        one(user, file);
        free(entries[i]);
    }
    free(entries);
    return count >= 0 ? OK
                      : fail_set(fail, ERR_IO, 0, "unreadable", "%s: %s", path, strerror(errno));
}

void tryout_print_finding(void *user, const struct hook_finding *f) {
    fprintf(stderr, "%s:%u:%u: %s: %s\n", (const char *)user, f->line, f->column,
            f->error ? "error" : "warning", f->text);
}

// Masked text as a JSON string.
static void add_text(struct buf *out, struct slice text, struct arena *arena) {
    buf_json(out, request_mask(text, arena));
}

static void add_request(const struct request *r, struct arena *arena, struct buf *out) {
    buf_add(out, S("\"method\":"));
    buf_json(out, r->method);
    buf_add(out, S(",\"url\":"));
    add_text(out, r->url, arena);
    buf_add(out, S(",\"headers\":["));
    for (size_t i = 0; i < r->headers_count; i++) {
        buf_add(out, i ? S(",[") : S("["));
        buf_json(out, r->headers[i].name);
        buf_byte(out, ',');
        add_text(out, r->headers[i].value, arena);
        buf_byte(out, ']');
    }
    buf_add(out, S("],\"body\":"));
    if (r->has_body)
        add_text(out, r->body, arena);
    else
        buf_add(out, S("null"));
}

static void add_names(struct slice names, struct buf *out) {
    buf_add(out, S(",\"unresolved\":["));
    for (bool first = true; names.n; first = false) {
        size_t end = slice_find(names, ',');
        if (!first) buf_byte(out, ',');
        buf_json(out, slice(names.p, end));
        names = slice_from(names, end + 1);
    }
    buf_byte(out, ']');
}

void tryout_json(const struct tryout_result *r, struct arena *arena, struct buf *out) {
    static const struct request none;
    bool failed = r->outcome != SCRIPT_OK && r->outcome != SCRIPT_FILTERED;
    buf_byte(out, '{');
    if (r->requests_count)
        add_request(&r->requests[0], arena, out);
    else
        add_request(&none, arena, out);
    add_names(r->unresolved, out);
    buf_printf(out,
               ",\"filtered\":%s,\"reason\":", r->outcome == SCRIPT_FILTERED ? "true" : "false");
    if (r->outcome == SCRIPT_FILTERED && r->reason.n)
        buf_json(out, r->reason);
    else
        buf_add(out, S("null"));
    if (failed) {
        buf_add(out, S(",\"error\":"));
        buf_json(out, r->error);
    }
    if (r->requests_count > 1) {
        buf_add(out, S(",\"requests\":["));
        for (size_t i = 0; i < r->requests_count; i++) {
            buf_add(out, i ? S(",{") : S("{"));
            add_request(&r->requests[i], arena, out);
            buf_byte(out, '}');
        }
        buf_byte(out, ']');
    }
    buf_byte(out, '}');
}
