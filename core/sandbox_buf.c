// Grows by doubling: a new userdata takes the old one's stack slot, and the old
// one is garbage that the collector finds.
#include "sandbox_buf.h"

#include <lauxlib.h>

void sandbox_buf_init(struct sandbox_buf *buf, lua_State *L, size_t max) {
    luaL_checkstack(L, 4, "too many nested calls");
    lua_pushnil(L);
    buf->L = L;
    buf->slot = lua_gettop(L);
    buf->p = buf->small;
    buf->n = 0;
    buf->capacity = sizeof buf->small;
    buf->max = max;
}

char *sandbox_buf_reserve(struct sandbox_buf *buf, size_t n) {
    if (buf->capacity - buf->n >= n) return buf->p + buf->n;
    if (n > buf->max || buf->n > buf->max - n) {
        luaL_error(buf->L, "result too large (over %d bytes)", (int)buf->max);
        return NULL;
    }
    size_t capacity = buf->capacity * 2;
    while (capacity < buf->n + n) capacity *= 2;
    char *p = lua_newuserdata(buf->L, capacity);
    memcpy(p, buf->p, buf->n);
    lua_replace(buf->L, buf->slot);
    buf->p = p;
    buf->capacity = capacity;
    return p + buf->n;
}

void sandbox_buf_push(struct sandbox_buf *buf) {
    lua_pushlstring(buf->L, buf->p, buf->n);
}
