// A growing byte buffer whose memory is the Lua state's own: it counts against
// the script's cap, and an error that jumps out of a C function leaks nothing.
// Small results never leave the C stack.
#ifndef TUMA_SANDBOX_BUF_H
#define TUMA_SANDBOX_BUF_H

#include <lua.h>

#include "slice.h"

struct sandbox_buf {
    lua_State *L;
    int slot; // stack index that anchors the memory
    char *p;
    size_t n, capacity, max;
    char small[192]; // nested callbacks hold up to 180 of these, on the C stack
};

// Pushes one stack slot, which must stay where it is while the buffer is in use.
void sandbox_buf_init(struct sandbox_buf *buf, lua_State *L, size_t max);
// Room for `n` more bytes; the caller adds what it wrote to buf->n. Raises
// "result too large" past the maximum, "not enough memory" at the script's cap.
char *sandbox_buf_reserve(struct sandbox_buf *buf, size_t n);
// Pushes the content as a string.
void sandbox_buf_push(struct sandbox_buf *buf);

static inline void sandbox_buf_add(struct sandbox_buf *buf, struct slice s) {
    char *to = buf->capacity - buf->n >= s.n ? buf->p + buf->n : sandbox_buf_reserve(buf, s.n);
    if (s.n) memcpy(to, s.p, s.n);
    buf->n += s.n;
}

static inline void sandbox_buf_byte(struct sandbox_buf *buf, char c) {
    if (buf->n == buf->capacity) sandbox_buf_reserve(buf, 1);
    buf->p[buf->n++] = c;
}

#endif
