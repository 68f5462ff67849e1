// Uses libcurl's easy interface and may block: it talks to our own engine only.
// The courier is for receivers.
#include "client.h"

#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "arena.h"
#include "json.h"

struct client {
    CURL *curl;
    char socket[4096], base[2048], authorization[512];
};

struct client *client_open(const struct config *config, const char *url, const char *token,
                           struct fail *fail) {
    struct client *c = calloc(1, sizeof *c);
    if (c) c->curl = curl_easy_init();
    if (!c || !c->curl) {
        free(c);
        fail_set(fail, ERR_NOMEM, 0, "no_memory", "no memory for a client");
        return NULL;
    }
    if (!url) snprintf(c->socket, sizeof c->socket, "%s/control.sock", config->data);
    snprintf(c->base, sizeof c->base, "%s", url ? url : "http://localhost");
    if (token)
        snprintf(c->authorization, sizeof c->authorization, "Authorization: Bearer %s", token);
    return c;
}

void client_close(struct client *c) {
    if (!c) return;
    curl_easy_cleanup(c->curl);
    free(c);
}

static size_t on_body(char *bytes, size_t size, size_t count, void *user) {
    return buf_add(user, slice(bytes, size * count)) ? size * count : 0;
}

// False on no memory; the list is then empty.
static bool add_header(struct curl_slist **list, const char *line) {
    struct curl_slist *longer = curl_slist_append(*list, line);
    if (!longer) curl_slist_free_all(*list);
    *list = longer;
    return longer != NULL;
}

static bool add_headers(struct curl_slist **list, const struct client *c,
                        const char *content_type) {
    char line[160];
    snprintf(line, sizeof line, "Content-Type: %s", content_type ? content_type : "");
    return add_header(list, "Expect:") && (!content_type || add_header(list, line)) &&
           (!c->authorization[0] || add_header(list, c->authorization));
}

enum err client_request(struct client *c, const char *method, const char *path,
                        const char *content_type, struct slice body, int *status,
                        struct buf *answer, struct fail *fail) {
    char url[4200];
    long code = 0;
    struct curl_slist *headers = NULL;
    *status = 0;
    if (!add_headers(&headers, c, content_type))
        return fail_set(fail, ERR_NOMEM, 0, "no_memory", "no memory for a request");
    snprintf(url, sizeof url, "%s%s", c->base, path);
    buf_clear(answer);
    curl_easy_reset(c->curl); // keeps the connection
    if (c->socket[0]) curl_easy_setopt(c->curl, CURLOPT_UNIX_SOCKET_PATH, c->socket);
    curl_easy_setopt(c->curl, CURLOPT_URL, url);
    curl_easy_setopt(c->curl, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(c->curl, CURLOPT_PROXY, "");
    curl_easy_setopt(c->curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(c->curl, CURLOPT_TIMEOUT, 60L);
    curl_easy_setopt(c->curl, CURLOPT_CUSTOMREQUEST, method);
    curl_easy_setopt(c->curl, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(c->curl, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(c->curl, CURLOPT_WRITEDATA, answer);
    if (body.p) {
        curl_easy_setopt(c->curl, CURLOPT_POSTFIELDS, body.p);
        curl_easy_setopt(c->curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)body.n);
    }
    CURLcode rc = curl_easy_perform(c->curl);
    curl_easy_getinfo(c->curl, CURLINFO_RESPONSE_CODE, &code);
    curl_slist_free_all(headers);
    *status = (int)code;
    if (rc == CURLE_OK) return OK;
    bool nobody = rc == CURLE_COULDNT_CONNECT;
    return fail_set(fail, nobody ? ERR_NOTFOUND : ERR_IO, 0,
                    nobody ? "no_engine" : "engine_unreachable", "%s: %s",
                    c->socket[0] ? c->socket : c->base,
                    nobody ? "no engine listens there" : curl_easy_strerror(rc));
}

void client_problem(int status, struct slice answer, struct fail *fail) {
    struct arena arena;
    arena_init(&arena, 64 * 1024);
    struct slice detail = { 0 };
    if (json_check(answer, (struct json_limits){ .depth_max = 8 }, NULL) == OK) {
        struct json root = json_root(answer), said = json_get(root, "detail");
        if (said.type == JSON_NONE) said = json_get(root, "title");
        if (said.type == JSON_STRING) detail = json_text(said, &arena);
    }
    fail_set(fail, ERR_INPUT, 0, "engine_refused", "the engine answered %d%s%.*s", status,
             detail.n ? ": " : "", SLICE_FMT(detail));
    arena_deinit(&arena);
}
