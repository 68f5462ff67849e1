// Named secrets: encrypted at rest in the store's directory (AES-256-GCM, one
// line a secret, the name authenticated), or given as TUMA_SECRET_NAME in the
// environment, which wins. Values live in this process's memory only.
#ifndef TUMA_SECRETS_H
#define TUMA_SECRETS_H

#include <stdbool.h>

#include "fail.h"
#include "slice.h"

struct secrets;

// Reads DIR/secrets and the environment. The key (32 bytes, or 64 hex digits)
// comes from `key_file`, else $CREDENTIALS_DIRECTORY/tuma.key, else
// DIR/secret.key. A missing secrets file is no error; one that does not decrypt is.
struct secrets *secrets_open(const char *dir, const char *key_file, struct fail *fail);
void secrets_close(struct secrets *secrets);
// Reads everything again (SIGHUP). Values handed out before stay valid until close.
enum err secrets_reload(struct secrets *secrets, struct fail *fail);
// The value of `name`; a request_secret_fn over a struct secrets. Any thread.
bool secrets_get(void *secrets, struct slice name, struct slice *value);
// Calls back for each name, without values.
void secrets_each(const struct secrets *secrets, void (*one)(void *user, struct slice name),
                  void *user);

// No core dump of this process, and its memory closed to others: before a secret is read.
void secrets_protect_memory(void);

// Writes asterisks over every value of six bytes or more in `text`.
void secrets_blot(const struct secrets *secrets, char *text);

// Changes DIR/secrets (written aside, then renamed; mode 0600). Makes
// DIR/secret.key (mode 0400) when no key is there yet. An empty value removes.
enum err secrets_put(const char *dir, const char *key_file, struct slice name, struct slice value,
                     struct fail *fail);

#endif
