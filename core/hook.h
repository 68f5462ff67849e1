// A webhook, ready to use: what it listens to, its compiled request templates,
// its delivery policy, and which Lua stages it has. Made from the description
// that a script process reports for a file; immutable, shared by reference
// count. A new version of the file is a new hook with the same name.
#ifndef TUMA_HOOK_H
#define TUMA_HOOK_H

#include <stdatomic.h>
#include <stdint.h>

#include "arena.h"
#include "catalog.h"
#include "event.h"
#include "fail.h"
#include "guard.h"
#include "policy.h"
#include "request.h"
#include "sign.h"
#include "slice.h"
#include "template.h"

enum hook_stage {
    HOOK_FILTER = 1,
    HOOK_TAGS = 2,
    HOOK_TRANSFORM = 4,
    HOOK_RESPONSE = 8,
    HOOK_EXHAUSTED = 16,
    HOOK_REQUEST_STAGES = HOOK_FILTER | HOOK_TAGS | HOOK_TRANSFORM, // before the first attempt
};

enum hook_format { HOOK_JSON, HOOK_FORM, HOOK_RAW };
enum hook_on_error { HOOK_HOLD, HOOK_SEND, HOOK_DROP };
enum hook_auth {
    HOOK_AUTH_NONE,
    HOOK_AUTH_BASIC,
    HOOK_AUTH_BEARER,
    HOOK_AUTH_OAUTH2,
    HOOK_AUTH_MTLS
};

struct hook_condition; // one line of `when`, decided in C

struct hook_header {
    struct slice name;
    struct template *value;
};

struct hook {
    atomic_uint refs;
    struct arena arena;
    struct slice name;        // the file's stem: [a-z0-9][a-z0-9_-]{0,63}
    struct slice file;        // path as shown in messages
    struct slice version;     // 16 hex digits of the SHA-256 of its source and the libs it uses
    struct slice source;      // Lua text
    struct slice description; // the JSON it was made from

    struct slice *on; // event type patterns
    size_t on_count;
    struct slice org; // empty: every organization
    struct hook_condition *when;

    struct slice method;
    enum hook_format format;
    enum template_missing missing;
    struct template *url;
    struct slice url_authority; // scheme://host:port of the URL template, for request_check
    struct hook_header *headers;
    size_t headers_count;
    struct template *body;     // NULL: no body
    struct slice content_type; // what goes out when no header says otherwise; empty without body

    int64_t timeout_ms;         // whole attempt, 100 ms … 60 s; default 10 s
    int64_t connect_timeout_ms; // default 5 s
    struct retry retry;
    struct rate rate;
    unsigned concurrency; // 1 … 1000; default 8
    struct breaker_opts breaker;
    struct template *order_by; // NULL: no order
    enum hook_on_error on_script_error;
    unsigned stages;       // enum hook_stage bits
    struct slice *secrets; // every secret it may use: granted ones and those in its templates
    size_t secrets_count;
    struct slice *script_secrets; // the ones its script may read (secrets = {…})
    size_t script_secrets_count;

    enum sign_scheme sign;
    struct slice sign_secrets[2]; // names, newest first
    struct slice sign_header;     // for the older schemes
    enum hook_auth auth;
    struct slice auth_user,
        auth_secret; // basic user / secret name (password, token, client secret)
    struct slice oauth_url, oauth_client, oauth_scope;
    struct slice tls_cert, tls_key; // files, for mTLS

    struct slice tests; // hook.tests as JSON, or empty
};

// One thing lint found; `line`/`column` are in the Lua file when they could be located.
struct hook_finding {
    bool error; // else a warning
    unsigned line, column;
    char text[320];
};
typedef void hook_finding_fn(void *user, const struct hook_finding *finding);

struct hook_input {
    struct slice name, file, source;
    struct slice version;
    struct slice description;      // JSON, see hook.c
    const struct catalog *catalog; // may be NULL: no lint of tags and events
    const struct guard *guard;     // may be NULL: the URL's address is not judged
};

// Builds a hook. Every finding, errors and warnings alike, goes to `found`
// (may be NULL). Returns NULL with fail (the first error) when there was an error.
// Interns tags: loader thread only.
struct hook *hook_new(const struct hook_input *input, hook_finding_fn *found, void *user,
                      struct fail *fail);
struct hook *hook_ref(struct hook *hook);
void hook_unref(struct hook *hook); // NULL is fine

// Does the hook want this event: type, organization and `when`?
bool hook_wants(const struct hook *hook, const struct event *event);

// Renders the hook's request for `tags` (event tags, plus script tags) into
// `arena`. Engine tags WEBHOOK_ID and the like must be in `tags` already.
enum err hook_render(const struct hook *hook, const struct tag_set *tags, struct arena *arena,
                     struct request *request, struct template_notes *notes, struct fail *fail);

// The tag set a hook renders from: the event's values plus EVENT, EVENT_ID,
// WEBHOOK_ID and ATTEMPT, in `arena`.
bool hook_tags(const struct hook *hook, const struct event *event, struct arena *arena,
               struct tag_set *tags);

// All active hooks at one moment. Immutable, shared by reference count.
struct hook_set {
    atomic_uint refs;
    size_t count;
    void *index;          // by organization and exact type
    struct hook *hooks[]; // sorted by name, each referenced
};
struct hook_set *hook_set_new(struct hook *const *hooks, size_t count); // refs the hooks
struct hook_set *hook_set_ref(struct hook_set *set);
void hook_set_unref(struct hook_set *set);
struct hook *hook_set_find(const struct hook_set *set, struct slice name);
// Calls back for every hook of the set that wants the event; cost grows with the
// matches, not with the set.
void hook_set_match(const struct hook_set *set, const struct event *event,
                    void (*one)(void *user, struct hook *hook), void *user);

// The line in which the name of a test stands between quotes, else the first.
unsigned hook_test_line(const struct hook *hook, struct slice name);

#endif
