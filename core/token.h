// API tokens: "wh_" ID "_" SECRET. The id is no secret and finds the stored
// row; the secret has 256 random bits, so its plain SHA-256 may be kept. Only
// the hash is ever stored.
#ifndef TUMA_TOKEN_H
#define TUMA_TOKEN_H

#include <stdbool.h>
#include <stdint.h>

#include "slice.h"

enum {
    TOKEN_ID = 12,
    TOKEN_SECRET = 43,                            // 32 bytes in base62
    TOKEN_TEXT = 3 + TOKEN_ID + 1 + TOKEN_SECRET, // without NUL
};

// What a token may do. Admin includes the others.
enum token_scope { TOKEN_INGEST = 1, TOKEN_READ = 2, TOKEN_ADMIN = 4 };

struct token {
    char text[TOKEN_TEXT + 1]; // shown once, never kept
    char id[TOKEN_ID + 1];
    uint8_t hash[32];
};

// A new token from the kernel's random source.
void token_make(struct token *token);
// Reads the id out of a presented token (borrowed from `text`); false when it is not shaped like
// one.
bool token_parse(struct slice text, struct slice *id);
// The hash that is stored and compared.
void token_hash(struct slice text, uint8_t hash[32]);
// In constant time.
bool token_equal(const uint8_t a[32], const uint8_t b[32]);

// "ingest,read" and the like (order free, blanks around names allowed, at least one);
// false on an unknown name.
bool token_scopes_parse(struct slice text, unsigned *scopes);
// Canonical text: "ingest,read,admin" at most.
struct slice token_scopes_text(unsigned scopes, char out[32]);
bool token_allows(unsigned scopes, enum token_scope wanted);

// Counts failures by address, so that guessing is slow (A2): more than
// TOKEN_FAILURES_MAX within a minute and the address is told to wait.
enum { TOKEN_FAILURES_MAX = 10, TOKEN_WINDOW_MS = 60000, TOKEN_LIMIT_SLOTS = 256 };
struct token_limit {
    struct {
        uint64_t address;
        int64_t since_ms;
        unsigned failures;
    } slots[TOKEN_LIMIT_SLOTS];
};
// A failure from `address` (without port). Returns 0 while it may go on, else the
// milliseconds to wait. A zeroed struct is empty; when the table is full the
// oldest neighbour is forgotten.
int64_t token_limit_failed(struct token_limit *limit, struct slice address, int64_t now_ms);

#endif
