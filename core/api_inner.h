// What the API's files share.
//
//   api.c          life, routes, plain answers
//   api_auth.c     who may do what
//   api_events.c   POST /v1/events: request → events → journal
//   api_results.c  journal → answer
//   api_admin.c    verbs that the journal carries out
//   api_read.c     what is read from the store, off the loop's thread
//   api_choice.c   which deliveries: query strings and filters
#ifndef TUMA_API_INNER_H
#define TUMA_API_INNER_H

#include "api.h"
#include "http_problem.h"
#include "list.h"
#include "message.h"
#include "server.h"
#include "store.h"
#include "token.h"

enum { KNOWN_TOKENS = 64, KNOWN_TOKEN_MS = 1000, HOPS_MAX = 3, LIST_MAX = 500, LIST_DEFAULT = 50 };

// A token that was looked up less than a second ago (A4: revocation must bite).
struct known_token {
    char id[TOKEN_ID];
    uint8_t hash[32];
    unsigned scopes;
    int64_t read_ms; // 0: free place
};

struct api {
    uv_loop_t *loop;
    struct api_opts opts;
    struct server *tcp, *local;
    unsigned open_servers;
    struct inbox inbox;
    struct hook_set *hooks;
    bool ready, closing, told;
    unsigned pending;            // exchanges that wait for the journal or a read
    struct list idlers;          // exchanges that wait for idleness
    unsigned idlers_count;       // their commands; closing does not wait for these
    struct store_reader *keys;   // loop's thread: tokens, webhook numbers
    struct store_reader *reader; // the pool's, one read at a time
    struct list reads;           // struct read, the first one runs
    struct token_limit limit;
    struct known_token known[KNOWN_TOKENS];
    uv_timer_t last; // closed last; its memory outlives the inbox's handle
    void (*closed)(void *user);
    void *closed_user;
};

// --- api.c ---
void api_reply(struct exchange *exchange, int status, struct slice json);
// A problem document; `extra` is a further header, its name NULL for none.
void api_refuse(struct exchange *exchange, int status, const struct fail *fail,
                struct header extra);
// The same from its parts.
void api_say(struct exchange *exchange, int status, enum err code, const char *type,
             const char *text);
struct header api_retry_after(struct exchange *exchange, int64_t ms);
// An exchange was answered that `pending` counts.
void api_settled(struct api *api);
// A wait-idle command came back.
void api_idler_settled(struct api *api);
// The store reader of the loop's thread, opened when first needed; NULL with fail.
struct store_reader *api_keys(struct api *api, struct fail *fail);
// Number of a webhook's name in the store; 0 when it has none. Any thread's reader.
int64_t api_hook_number(struct store_reader *reader, struct slice name);

// --- api_auth.c ---
// Answers and returns false when the exchange may not do what needs `scope`.
bool api_authorize(struct api *api, struct exchange *exchange, enum token_scope scope);
void api_forget_tokens(struct api *api);

// --- handlers; `parts` are the path segments that matched '*' ---
typedef void api_handler(struct api *api, struct exchange *exchange, const struct slice *parts);
api_handler api_post_events;
api_handler api_get_webhooks, api_get_scripts, api_get_deliveries, api_get_delivery, api_get_tokens;
api_handler api_post_webhook, api_post_delivery, api_post_redeliver, api_post_drop;
api_handler api_post_tokens, api_delete_token, api_get_status, api_post_wait_idle;

// --- api_results.c ---
struct entry { // one item of an ingest request
    struct slice json;
    size_t offset;           // where it starts in the body
    const struct fail *fail; // why it was not taken
    int status;
    bool taken;
};
struct ingest {
    struct api *api;
    struct exchange *exchange;
    struct intake *intake;
    struct entry *entries;
    size_t count;
    bool single;
};
// Answers from the entries and the intake's results, and frees both.
void ingest_answer(struct ingest *ingest);

// --- api_admin.c ---
void api_command_answered(struct api *api, struct command *command);
// Answers those who wait for idleness: it will not come any more.
void api_dismiss_idlers(struct api *api);
// Sends a redeliver or drop command for `filter`.
void api_send_move(struct api *api, struct exchange *exchange, enum command_verb verb,
                   const struct store_filter *filter);

// --- api_choice.c ---
struct choice {
    struct store_filter filter;
    struct slice webhook;
    int64_t limit;
};
// Both put decoded text into `arena`. False with fail (for a 422): unknown_parameter,
// bad_parameter.
bool choice_from_query(struct choice *choice, struct slice query, struct arena *arena,
                       struct fail *fail);
bool choice_from_json(struct choice *choice, struct slice body, struct arena *arena,
                      struct fail *fail);

#endif
