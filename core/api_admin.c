// The verbs of administration. Each becomes one command to the journal, the
// only thread that changes anything; its answer becomes the exchange's.
#include <assert.h>
#include <stdlib.h>

#include "api_inner.h"
#include "clock.h"
#include "json.h"
#include "log.h"

enum { LABEL_MAX = 128, EXPIRES_MAX_S = 10 * 366 * 86400 };

static void no_memory(struct exchange *exchange) {
    api_say(exchange, 503, ERR_NOMEM, "no_memory", "out of memory");
}

static struct command *command_for(struct api *api, struct exchange *exchange,
                                   enum command_verb verb) {
    struct command *command = command_new(&api->inbox, verb);
    if (!command) {
        no_memory(exchange);
        return NULL;
    }
    command->user = exchange;
    return command;
}

static void send_command(struct api *api, struct command *command, const char *what) {
    struct exchange *exchange = command->user;
    char peer[64];
    snprintf(peer, sizeof peer, "%.*s", SLICE_FMT(exchange->peer));
    log_line(LOG_INFO, "administration", "verb", what, "peer", peer, NULL);
    api->pending++;
    inbox_send(api->opts.journal, &command->message);
}

// --- deliveries ---

static struct slice copy(struct command *command, struct slice s) {
    return s.n ? arena_dup(&command->arena, s) : s;
}

void api_send_move(struct api *api, struct exchange *exchange, enum command_verb verb,
                   const struct store_filter *filter) {
    struct command *command = command_for(api, exchange, verb);
    if (!command) return;
    command->filter = *filter;
    command->filter.type = copy(command, filter->type);
    command->filter.org = copy(command, filter->org);
    command->filter.event_id = copy(command, filter->event_id);
    command->filter.text = copy(command, filter->text);
    send_command(api, command, verb == COMMAND_DROP ? "drop" : "redeliver");
}

void api_post_delivery(struct api *api, struct exchange *exchange, const struct slice *parts) {
    struct store_filter filter = { 0 };
    bool redeliver = slice_eq(parts[1], S("redeliver")), drop = slice_eq(parts[1], S("drop"));
    if ((redeliver || drop) && delivery_number(parts[0], &filter.delivery))
        api_send_move(api, exchange, drop ? COMMAND_DROP : COMMAND_REDELIVER, &filter);
    else
        api_say(exchange, 404, ERR_NOTFOUND, "not_found", "there is no such delivery or verb");
}

// --- webhooks ---

static bool webhook_known(struct api *api, struct slice name) {
    if (api->hooks && hook_set_find(api->hooks, name)) return true;
    struct store_reader *reader = api_keys(api, NULL);
    return reader && api_hook_number(reader, name);
}

void api_post_webhook(struct api *api, struct exchange *exchange, const struct slice *parts) {
    static const struct {
        const char *name;
        enum command_verb verb;
    } verbs[] = { { "pause", COMMAND_PAUSE },
                  { "resume", COMMAND_RESUME },
                  { "release", COMMAND_RESUME },
                  { "disable", COMMAND_DISABLE } };
    for (size_t i = 0; i < sizeof verbs / sizeof verbs[0]; i++) {
        if (!slice_eq(parts[1], slice_str(verbs[i].name))) continue;
        if (!webhook_known(api, parts[0])) break;
        struct command *command = command_for(api, exchange, verbs[i].verb);
        if (!command) return;
        command->hook = copy(command, parts[0]);
        send_command(api, command, verbs[i].name);
        return;
    }
    api_say(exchange, 404, ERR_NOTFOUND, "not_found", "there is no such webhook or verb");
}

// --- tokens ---

struct token_wish {
    struct slice label;
    unsigned scopes;
    int64_t expires_ms;
};

static bool bad_wish(struct fail *fail, const char *path, const char *text) {
    fail_set(fail, ERR_INPUT, 0, "bad_parameter", "%s", text);
    fail_path(fail, "%s", path);
    return false;
}

// "ingest,read" or ["ingest","read"].
static bool read_scopes(struct json value, struct arena *arena, unsigned *scopes) {
    if (value.type == JSON_STRING) return token_scopes_parse(json_text(value, arena), scopes);
    struct json one;
    if (value.type != JSON_ARRAY) return false;
    for (size_t at = 0; json_next(value, &at, NULL, &one);) {
        unsigned scope;
        if (one.type != JSON_STRING || !token_scopes_parse(json_text(one, arena), &scope))
            return false;
        *scopes |= scope;
    }
    return *scopes != 0;
}

static bool read_wish(struct exchange *exchange, struct token_wish *wish, struct fail *fail) {
    struct slice body = exchange->body.n ? exchange->body : S("{}");
    *wish = (struct token_wish){ .scopes = 0 };
    if (json_check(body, (struct json_limits){ .depth_max = 4, .values_max = 64 }, fail) != OK)
        return false;
    struct json root = json_root(body), label = json_get(root, "label"),
                scopes = json_get(root, "scopes"), expires = json_get(root, "expires_in_s");
    int64_t seconds = 0;
    if (label.type == JSON_STRING) wish->label = json_text(label, exchange->arena);
    if ((label.type != JSON_STRING && label.type != JSON_NONE) || wish->label.n > LABEL_MAX)
        return bad_wish(fail, "/label", "text of at most 128 bytes");
    if (scopes.type == JSON_NONE)
        wish->scopes = TOKEN_INGEST;
    else if (!read_scopes(scopes, exchange->arena, &wish->scopes))
        return bad_wish(fail, "/scopes", "ingest, read, admin");
    if (expires.type == JSON_NONE) return true;
    if (!json_int(expires, &seconds) || seconds < 1 || seconds > EXPIRES_MAX_S)
        return bad_wish(fail, "/expires_in_s", "seconds from now, at most ten years");
    wish->expires_ms = clock_wall_ms() + seconds * 1000;
    return true;
}

void api_post_tokens(struct api *api, struct exchange *exchange, const struct slice *parts) {
    (void)parts;
    struct token_wish wish;
    struct fail fail = { 0 };
    char scopes[32];
    if (!read_wish(exchange, &wish, &fail)) {
        api_refuse(exchange, 422, &fail, (struct header){ 0 });
        return;
    }
    struct token *token = arena_alloc(exchange->arena, sizeof *token);
    struct command *command = token ? command_for(api, exchange, COMMAND_PUT_TOKEN) : NULL;
    if (!command) {
        if (!token) no_memory(exchange);
        return;
    }
    token_make(token);
    exchange->user = token;
    command->token_id = copy(command, slice_str(token->id));
    command->token_label = copy(command, wish.label);
    command->token_scopes = copy(command, token_scopes_text(wish.scopes, scopes));
    command->token_expires_ms = wish.expires_ms;
    memcpy(command->token_hash, token->hash, sizeof token->hash);
    send_command(api, command, "create token");
}

void api_delete_token(struct api *api, struct exchange *exchange, const struct slice *parts) {
    struct command *command = command_for(api, exchange, COMMAND_REVOKE_TOKEN);
    if (!command) return;
    command->token_id = copy(command, parts[0]);
    send_command(api, command, "revoke token");
}

// --- status and idleness ---

void api_get_status(struct api *api, struct exchange *exchange, const struct slice *parts) {
    (void)parts;
    struct command *command = command_for(api, exchange, COMMAND_STATUS);
    if (!command) return;
    api->pending++;
    inbox_send(api->opts.journal, &command->message);
}

struct idler {
    struct list link;
    struct exchange *exchange;
};

void api_post_wait_idle(struct api *api, struct exchange *exchange, const struct slice *parts) {
    (void)parts;
    int64_t wait_ms = 0;
    bool good = !exchange->body.n ||
                json_check(exchange->body, (struct json_limits){ .depth_max = 2 }, NULL) == OK;
    struct json wish =
        json_get(json_root(good && exchange->body.n ? exchange->body : S("{}")), "wait_ms");
    if (!good || (wish.type != JSON_NONE && (!json_int(wish, &wait_ms) || wait_ms < 0))) {
        api_say(exchange, 422, ERR_INPUT, "bad_parameter", "wait_ms: a number of milliseconds");
        return;
    }
    struct idler *idler = calloc(1, sizeof *idler);
    struct command *command = idler ? command_for(api, exchange, COMMAND_WAIT_IDLE) : NULL;
    if (!command) {
        if (!idler) no_memory(exchange);
        free(idler);
        return;
    }
    command->wait_ms = wait_ms;
    command->user = idler;
    idler->exchange = exchange;
    list_push(&api->idlers, &idler->link);
    api->idlers_count++;
    inbox_send(api->opts.journal, &command->message);
}

void api_dismiss_idlers(struct api *api) {
    struct list *link;
    while ((link = list_pop(&api->idlers))) {
        struct idler *idler = list_item(link, struct idler, link);
        api_say(idler->exchange, 503, ERR_NOT_NOW, "stopping", "the engine is stopping");
        idler->exchange = NULL;
    }
}

// --- answers ---

static void answer_token(struct api *api, struct exchange *exchange,
                         const struct command *command) {
    struct token *token = exchange->user;
    char expires[CLOCK_TEXT] = "";
    struct buf out;
    (void)api;
    buf_init(&out, 4096);
    buf_printf(&out, "{\"id\":\"%s\",\"token\":\"%s\",\"scopes\":\"%.*s\",\"label\":", token->id,
               token->text, SLICE_FMT(command->token_scopes));
    buf_json(&out, command->token_label);
    if (command->token_expires_ms) {
        clock_format(command->token_expires_ms, expires);
        buf_printf(&out, ",\"expires\":\"%s\"", expires);
    }
    buf_byte(&out, '}');
    api_reply(exchange, 201, buf_slice(&out));
    explicit_bzero(token, sizeof *token);
    explicit_bzero(out.p, out.n);
    buf_deinit(&out);
}

static void answer(struct api *api, struct exchange *exchange, const struct command *command) {
    static const char *const states[] = {
        [COMMAND_PAUSE] = "paused", [COMMAND_RESUME] = "active", [COMMAND_DISABLE] = "disabled"
    };
    struct slice text = command->text;
    switch (command->verb) {
    case COMMAND_REDELIVER:
    case COMMAND_DROP:
        text =
            arena_printf(exchange->arena, "{\"moved\":%llu}", (unsigned long long)command->moved);
        break;
    case COMMAND_PAUSE:
    case COMMAND_RESUME:
    case COMMAND_DISABLE: // names of webhooks need no escaping
        text = arena_printf(exchange->arena, "{\"webhook\":\"%.*s\",\"state\":\"%s\"}",
                            SLICE_FMT(command->hook), states[command->verb]);
        break;
    case COMMAND_PUT_TOKEN: answer_token(api, exchange, command); return;
    case COMMAND_REVOKE_TOKEN: text = S("{\"revoked\":true}"); break;
    case COMMAND_WAIT_IDLE: text = S("{\"idle\":true}"); break;
    case COMMAND_STATUS: break;
    }
    api_reply(exchange, 200, text);
}

static struct exchange *take_idler(struct command *command) {
    struct idler *idler = command->user;
    struct exchange *exchange = idler->exchange;
    list_remove(&idler->link);
    free(idler);
    return exchange;
}

void api_command_answered(struct api *api, struct command *command) {
    bool idle = command->verb == COMMAND_WAIT_IDLE;
    struct exchange *exchange = idle ? take_idler(command) : command->user;
    if (command->verb == COMMAND_REVOKE_TOKEN) api_forget_tokens(api);
    if (exchange && command->fail.code == OK)
        answer(api, exchange, command);
    else if (exchange)
        api_refuse(exchange, http_problem_status(&command->fail), &command->fail,
                   (struct header){ 0 });
    command_free(command);
    if (idle)
        api_idler_settled(api);
    else
        api_settled(api);
}
