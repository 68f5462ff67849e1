// The HTTP API: events in, administration, health. Parses and checks in the
// loop's thread, hands to the journal, answers when the journal answered.
// Answers are JSON; every error is a problem document (http_problem.h).
//
// POST /v1/events   scope ingest
//   application/json: one event, or an array of at most 1,000 · application/x-ndjson
//   CloudEvents 1.0: application/cloudevents+json, application/cloudevents-batch+json, or
//   binary: ce-* headers, the tags as an application/json body
//
//   One event: 202 {"id":"…"} once it is on disk · 200 {"id":"…","duplicate":true}, nothing is
//   sent again · 409 the id is taken by another event · 400, 413 wrong or too large ·
//   429 backlog, 503 disk full, unknown outcome: Retry-After says when to try again.
//   Idempotency-Key is the id of a single event that names none.
//
//   Several: {"results":[{"id":"…","status":202},{"status":400,"problem":{…}},…]}, one result an
//   item, in order. 202 when every item was taken or known already, else 207. What
//   refuses the request as a whole (429, 503, a broken array, 1,001 events) is one problem
//   document, and nothing of it was stored.
//
//   traceparent goes along to the delivery. webhook-hop above 3 is refused: a loop.
//
// GET /healthz alive · GET /readyz takes events, or 503 with the reason; no token
//
// Scope read (admin includes it):
//   GET /v1/webhooks, /v1/scripts, /v1/status
//   GET /v1/deliveries?webhook&state&event&type&org&text&from&to&limit&cursor  newest first;
//       limit 1-500, default 50; "next" is the cursor of the next page or null
//   GET /v1/deliveries/ID  with the request (secrets masked) and its attempts
// Scope admin:
//   POST /v1/webhooks/NAME/(pause|resume|disable|release)
//   POST /v1/deliveries/ID/(redeliver|drop)
//   POST /v1/redeliver, /v1/drop  {"webhook","state","event","type","org","text","from","to"}
//   GET, POST /v1/tokens  {"label","scopes","expires_in_s"} · DELETE /v1/tokens/ID
//   POST /v1/wait-idle {"wait_ms"}  answers when nothing is in flight or due that soon
//
// Over the control socket everything is allowed: its mode is the right. Over TCP
// these routes always need a token, POST /v1/events when token_required is set.
#ifndef TUMA_API_H
#define TUMA_API_H

#include <stdbool.h>
#include <uv.h>

#include "fail.h"
#include "hook.h"
#include "inbox.h"
#include "registry.h"

struct api;

struct api_opts {
    const char *host;          // NULL: only the control socket
    int port;                  // 0: any
    const char *socket_path;   // control socket (mode 0600), or NULL
    bool token_required;       // true as soon as the host is not loopback
    const char *allowed_hosts; // comma-separated names for the Host header; NULL: any (421)
    const char *store_dir;     // for reading
    struct inbox *journal;
    struct registry *registry; // may be NULL
    size_t body_max;
};

// Borrows the strings and what is pointed to.
struct api *api_new(uv_loop_t *loop, const struct api_opts *opts, struct fail *fail);
int api_port(const struct api *api);
// The hook set that events are matched against from now on. Refs it.
void api_set_hooks(struct api *api, struct hook_set *set);
// True once the journal takes events: /readyz.
void api_set_ready(struct api *api, bool ready);
// Refuses new connections, answers what is open, then `closed` (may be NULL). The journal must
// go on answering until then.
void api_close(struct api *api, int64_t drain_ms, void (*closed)(void *user), void *user);

#endif
