// A growing byte buffer with a maximum. A failed append marks the buffer and
// drops what follows, so a writer may append freely and look once at the end.
#ifndef TUMA_BUF_H
#define TUMA_BUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "slice.h"

struct buf {
    char *p;
    size_t n, capacity;
    size_t max;     // appending past this fails
    bool failed;    // an append did not fit or malloc said no; stays set until buf_clear
    bool no_memory; // it was malloc
};

// An empty buffer that never holds more than `max` bytes; allocates nothing yet.
void buf_init(struct buf *buf, size_t max);
void buf_deinit(struct buf *buf);
// An empty buffer in the caller's memory, which it never outgrows; nothing to deinit.
static inline void buf_init_fixed(struct buf *buf, char *room, size_t n) {
    *buf = (struct buf){ .p = room, .capacity = n, .max = n };
}
// Forgets the content and the failure, keeps the memory.
static inline void buf_clear(struct buf *buf) {
    buf->n = 0;
    buf->failed = buf->no_memory = false;
}

// Room for `n` more bytes behind the content; returns where they go, or NULL
// (and marks the buffer). The caller then adds what it wrote to buf->n.
char *buf_reserve(struct buf *buf, size_t n);
// Appends; false when it did not fit.
bool buf_add(struct buf *buf, struct slice s);
bool buf_byte(struct buf *buf, char c);
bool buf_printf(struct buf *buf, const char *format, ...) __attribute__((format(printf, 2, 3)));
// Appends `s` as a JSON string with its quotes (RFC 8259 section 7); bytes that
// are not UTF-8 become U+FFFD. For documents, not for the hot path.
bool buf_json(struct buf *buf, struct slice s);

// The content, borrowed until the next append.
static inline struct slice buf_slice(const struct buf *buf) {
    return slice(buf->p, buf->n);
}

// Little-endian integers and length-prefixed slices, for the wire to script
// processes and for stored blobs.
bool buf_u8(struct buf *buf, uint8_t v);
bool buf_u32(struct buf *buf, uint32_t v);
bool buf_u64(struct buf *buf, uint64_t v);
bool buf_blob(struct buf *buf, struct slice s); // u32 length, then the bytes

// The reading side: takes from the front of *from. On a short input they
// return 0 or an empty slice and set from->p to NULL, which sticks.
uint8_t take_u8(struct slice *from);
uint32_t take_u32(struct slice *from);
uint64_t take_u64(struct slice *from);
struct slice take_blob(struct slice *from);

#endif
