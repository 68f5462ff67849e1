// Growing buffers, and the flat encoding used between processes and in blobs.
#include "buf.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "utf8.h"

void buf_init(struct buf *buf, size_t max) {
    *buf = (struct buf){ .max = max };
}

void buf_deinit(struct buf *buf) {
    free(buf->p);
    buf_init(buf, buf->max);
}

char *buf_reserve(struct buf *buf, size_t n) {
    if (buf->failed || n > buf->max - buf->n) {
        buf->failed = true;
        return NULL;
    }
    size_t need = buf->n + n;
    if (need <= buf->capacity) return buf->p + buf->n;
    size_t capacity = buf->capacity ? buf->capacity : 64;
    while (capacity < need) capacity *= 2;
    if (capacity > buf->max) capacity = buf->max;
    char *p = realloc(buf->p, capacity);
    if (!p) {
        buf->failed = buf->no_memory = true;
        return NULL;
    }
    buf->p = p;
    buf->capacity = capacity;
    return p + buf->n;
}

bool buf_add(struct buf *buf, struct slice s) {
    if (!s.n) return !buf->failed;
    char *to = buf_reserve(buf, s.n);
    if (!to) return false;
    memcpy(to, s.p, s.n);
    buf->n += s.n;
    return true;
}

bool buf_byte(struct buf *buf, char c) {
    return buf_add(buf, slice(&c, 1));
}

bool buf_printf(struct buf *buf, const char *format, ...) {
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int n = vsnprintf(NULL, 0, format, args);
    va_end(args);
    // vsnprintf writes a NUL behind the text, so ask for one byte more.
    char *to = n < 0 ? NULL : buf_reserve(buf, (size_t)n + 1);
    if (to) {
        vsnprintf(to, (size_t)n + 1, format, again);
        buf->n += (size_t)n;
    }
    va_end(again);
    return to != NULL;
}

static bool add_json_byte(struct buf *buf, unsigned char c) {
    switch (c) {
    case '"': return buf_add(buf, S("\\\""));
    case '\\': return buf_add(buf, S("\\\\"));
    case '\b': return buf_add(buf, S("\\b"));
    case '\f': return buf_add(buf, S("\\f"));
    case '\n': return buf_add(buf, S("\\n"));
    case '\r': return buf_add(buf, S("\\r"));
    case '\t': return buf_add(buf, S("\\t"));
    default: break;
    }
    return c < 0x20 ? buf_printf(buf, "\\u%04x", c) : buf_byte(buf, (char)c);
}

bool buf_json(struct buf *buf, struct slice s) {
    buf_byte(buf, '"');
    for (size_t i = 0; i < s.n;) {
        size_t n = utf8_sequence(slice_from(s, i));
        if (n == 1)
            add_json_byte(buf, (unsigned char)s.p[i]);
        else
            buf_add(buf, n ? slice(s.p + i, n) : S("\xEF\xBF\xBD"));
        i += n ? n : 1;
    }
    return buf_byte(buf, '"');
}

bool buf_u8(struct buf *buf, uint8_t v) {
    return buf_byte(buf, (char)v);
}

static bool add_le(struct buf *buf, uint64_t v, int bytes) {
    char out[8];
    for (int i = 0; i < bytes; i++) out[i] = (char)(v >> (8 * i));
    return buf_add(buf, slice(out, (size_t)bytes));
}

bool buf_u32(struct buf *buf, uint32_t v) {
    return add_le(buf, v, 4);
}

bool buf_u64(struct buf *buf, uint64_t v) {
    return add_le(buf, v, 8);
}

bool buf_blob(struct buf *buf, struct slice s) {
    if (s.n > UINT32_MAX) {
        buf->failed = true;
        return false;
    }
    return buf_u32(buf, (uint32_t)s.n) && buf_add(buf, s);
}

static uint64_t take_le(struct slice *from, size_t bytes) {
    if (!from->p || from->n < bytes) {
        *from = slice(NULL, 0);
        return 0;
    }
    uint64_t v = 0;
    for (size_t i = 0; i < bytes; i++) v |= (uint64_t)(unsigned char)from->p[i] << (8 * i);
    *from = slice(from->p + bytes, from->n - bytes);
    return v;
}

uint8_t take_u8(struct slice *from) {
    return (uint8_t)take_le(from, 1);
}

uint32_t take_u32(struct slice *from) {
    return (uint32_t)take_le(from, 4);
}

uint64_t take_u64(struct slice *from) {
    return take_le(from, 8);
}

struct slice take_blob(struct slice *from) {
    uint32_t n = take_u32(from);
    if (!from->p || from->n < n) {
        *from = slice(NULL, 0);
        return slice(NULL, 0);
    }
    struct slice s = slice(from->p, n);
    *from = slice(from->p + n, from->n - n);
    return s;
}
