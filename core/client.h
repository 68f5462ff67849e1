// Talks to a running engine: over the control socket in its store's directory
// (the file's mode is the right to do so), or over HTTP with a token.
#ifndef TUMA_CLIENT_H
#define TUMA_CLIENT_H

#include "buf.h"
#include "config.h"
#include "fail.h"
#include "slice.h"

struct client;

// `url` NULL: the control socket of config->data. `token` may be NULL. One
// connection, kept alive between requests. One thread at a time.
struct client *client_open(const struct config *config, const char *url, const char *token,
                           struct fail *fail);
void client_close(struct client *client);
// Sends and waits (at most 60 s). The answer's body replaces what `answer` held.
// ERR_NOTFOUND "no_engine": nobody listens there. Any HTTP answer is OK.
enum err client_request(struct client *client, const char *method, const char *path,
                        const char *content_type, struct slice body, int *status,
                        struct buf *answer, struct fail *fail);
// Fills fail from an RFC 9457 answer: its detail, or the status.
void client_problem(int status, struct slice answer, struct fail *fail);

#endif
