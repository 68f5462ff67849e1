// tuma token: the bearer tokens of the HTTP API. A running engine is asked over
// its control socket; without one the store is opened, so that the first token
// can be made before the first start.
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "arena.h"
#include "cli.h"
#include "client.h"
#include "clock.h"
#include "commands.h"
#include "json.h"
#include "store.h"
#include "token.h"

struct wish {
    const char *label, *scopes;
    int64_t expires_ms; // from now; 0: never
    bool json;
};

// --- with an engine ---

// 0 when an engine answered well, -1 when there is none, else the exit status.
static int ask_engine(const struct config *config, const char *method, const char *path,
                      struct slice body, struct buf *answer) {
    struct fail fail = { 0 };
    int http = 0, status = EXIT_OK;
    struct client *client = client_open(config, NULL, NULL, &fail);
    if (!client) return cli_fail(EXIT_ENGINE, &fail);
    enum err err = client_request(client, method, path, body.n ? "application/json" : NULL, body,
                                  &http, answer, &fail);
    if (err == ERR_NOTFOUND)
        status = -1;
    else if (err == OK && http >= 300)
        client_problem(http, buf_slice(answer), &fail);
    if (status == EXIT_OK && fail.code != OK) status = cli_fail(EXIT_ENGINE, &fail);
    client_close(client);
    return status;
}

static void write_wish(struct buf *body, const struct wish *wish, unsigned scopes) {
    char text[32];
    buf_add(body, S("{\"scopes\":"));
    buf_json(body, token_scopes_text(scopes, text));
    if (wish->label) {
        buf_add(body, S(",\"label\":"));
        buf_json(body, slice_str(wish->label));
    }
    if (wish->expires_ms) buf_printf(body, ",\"expires_in_s\":%" PRId64, wish->expires_ms / 1000);
    buf_byte(body, '}');
}

static struct slice member(struct slice text, const char *key, struct arena *arena) {
    if (json_check(text, (struct json_limits){ .depth_max = 8 }, NULL) != OK) return slice(NULL, 0);
    struct json value = json_get(json_root(text), key);
    return value.type == JSON_NONE ? slice(NULL, 0) : json_text(value, arena);
}

// --- without one ---

typedef enum err change_fn(struct store *store, void *user, struct fail *fail);

static int change_store(const struct config *config, change_fn *change, void *user) {
    struct fail fail = { 0 };
    struct store *store =
        store_open(&(struct store_opts){ .dir = config->data, .create = true }, &fail);
    if (!store) return cli_fail(EXIT_STORE, &fail);
    enum err err = store_begin(store, &fail);
    if (err == OK) {
        err = change(store, user, &fail);
        if (err == OK)
            err = store_commit(store, &fail);
        else
            store_rollback(store);
    }
    store_close(store);
    return err == OK ? EXIT_OK : cli_fail(err == ERR_NOTFOUND ? EXIT_FINDINGS : EXIT_STORE, &fail);
}

struct fresh {
    const struct wish *wish;
    unsigned scopes;
    struct token token;
};

static enum err put_token(struct store *store, void *user, struct fail *fail) {
    const struct fresh *fresh = user;
    int64_t now = clock_wall_ms(), lasts = fresh->wish->expires_ms;
    char scopes[32];
    return store_put_token(store, slice_str(fresh->token.id), fresh->token.hash,
                           slice_str(fresh->wish->label), token_scopes_text(fresh->scopes, scopes),
                           now, lasts ? now + lasts : 0, fail);
}

static enum err revoke_token(struct store *store, void *user, struct fail *fail) {
    return store_revoke_token(store, slice_str(user), fail);
}

// --- the verbs ---

static void print_created(struct slice token, struct slice id, bool json) {
    if (json)
        printf("{\"id\":\"%.*s\",\"token\":\"%.*s\"}\n", SLICE_FMT(id), SLICE_FMT(token));
    else
        printf("%.*s\n", SLICE_FMT(token));
}

static int create(const struct config *config, const struct wish *wish) {
    struct fresh fresh = { .wish = wish };
    struct buf body, answer;
    struct arena arena;
    if (!token_scopes_parse(slice_str(wish->scopes), &fresh.scopes))
        return cli_say(EXIT_USAGE, "--scopes: ingest, read and admin, separated by commas");
    arena_init(&arena, 64 * 1024);
    buf_init(&body, 64 * 1024);
    buf_init(&answer, 64 * 1024);
    write_wish(&body, wish, fresh.scopes);
    int status = ask_engine(config, "POST", "/v1/tokens", buf_slice(&body), &answer);
    if (status == EXIT_OK) {
        struct slice text = buf_slice(&answer);
        print_created(member(text, "token", &arena), member(text, "id", &arena), wish->json);
    } else if (status < 0) {
        token_make(&fresh.token);
        status = change_store(config, put_token, &fresh);
        if (status == EXIT_OK)
            print_created(slice_str(fresh.token.text), slice_str(fresh.token.id), wish->json);
    }
    buf_deinit(&body);
    buf_deinit(&answer);
    arena_deinit(&arena);
    return status;
}

static int revoke(const struct config *config, char *id) {
    struct buf answer;
    char path[64];
    // Pasting the whole token is a natural mistake; its id is in it.
    struct slice named = slice_str(id), inner;
    if (token_parse(named, &inner)) named = inner;
    if (named.n != TOKEN_ID) return cli_say(EXIT_USAGE, "\"%s\" is no token id", id);
    snprintf(path, sizeof path, "/v1/tokens/%.*s", SLICE_FMT(named));
    memmove(id, named.p, named.n);
    id[named.n] = '\0';
    buf_init(&answer, 64 * 1024);
    int status = ask_engine(config, "DELETE", path, slice(NULL, 0), &answer);
    if (status < 0) status = change_store(config, revoke_token, id);
    buf_deinit(&answer);
    return status;
}

static void print_token(void *user, struct slice id, struct slice label, struct slice scopes,
                        int64_t created_ms, int64_t expires_ms) {
    const struct wish *wish = user;
    char created[CLOCK_TEXT], expires[CLOCK_TEXT] = "never";
    clock_format(created_ms, created);
    if (expires_ms) clock_format(expires_ms, expires);
    if (!wish->json) {
        printf("%.*s  %-18.*s  created %s  expires %-24s  %.*s\n", SLICE_FMT(id), SLICE_FMT(scopes),
               created, expires, SLICE_FMT(label));
        return;
    }
    struct buf out;
    buf_init(&out, 64 * 1024);
    buf_add(&out, S("{\"id\":"));
    buf_json(&out, id);
    buf_add(&out, S(",\"scopes\":"));
    buf_json(&out, scopes);
    buf_add(&out, S(",\"label\":"));
    buf_json(&out, label);
    buf_printf(&out, ",\"created\":\"%s\",\"expires\":", created);
    buf_printf(&out, expires_ms ? "\"%s\"}" : "null}", expires);
    buf_byte(&out, '\n');
    cli_print(&out);
    buf_deinit(&out);
}

static int list(const struct config *config, struct wish *wish) {
    struct fail fail = { 0 };
    struct store_reader *reader = store_reader_open(config->data, &fail);
    if (!reader) return cli_fail(EXIT_STORE, &fail);
    enum err err = store_reader_tokens(reader, print_token, wish, &fail);
    store_reader_close(reader);
    return err == OK ? EXIT_OK : cli_fail(EXIT_STORE, &fail);
}

int cmd_token(int argc, char **argv) {
    static struct config config;
    struct wish wish = { .scopes = "ingest" };
    const struct cli_flag flags[] = {
        { "label", "TEXT", "what the token is for", CLI_TEXT, &wish.label },
        { "scopes", "LIST", "ingest, read, admin; default ingest", CLI_TEXT, &wish.scopes },
        { "expires", "IN", "ends after this time (12h, 30d); default never", CLI_SECONDS,
          &wish.expires_ms },
        { "json", NULL, "as JSON", CLI_SWITCH, &wish.json },
    };
    const struct cli_command command = {
        .name = "token",
        .usage = "create [--label TEXT] [--scopes LIST] [--expires IN] | list | revoke ID",
        .flags = flags,
        .flags_count = sizeof flags / sizeof *flags,
        .settings = true,
        .summary = "Makes, lists and revokes the bearer tokens of the HTTP API.",
        .details = "A token is shown once; only its SHA-256 is kept. Works with and without a\n"
                   "running engine."
    };
    char **rest;
    int count, status = cli_parse(&command, &config, argc, argv, &rest, &count);
    if (status >= 0) return status;
    if (count == 1 && !strcmp(rest[0], "create"))
        status = create(&config, &wish);
    else if (count == 1 && !strcmp(rest[0], "list"))
        status = list(&config, &wish);
    else if (count == 2 && !strcmp(rest[0], "revoke"))
        status = revoke(&config, rest[1]);
    else
        status = cli_say(EXIT_USAGE, "token create, token list, or token revoke ID");
    config_deinit(&config);
    return status;
}
