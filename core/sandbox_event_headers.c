// Headers as scripts see them: names have no case, values are texts, nil removes.
#include "sandbox_buf.h"
#include "sandbox_event_inner.h"

static struct header *find_header(const struct header_list *list, struct slice name) {
    for (size_t i = 0; i < list->count; i++)
        if (slice_ieq(list->items[i].name, name)) return list->items + i;
    return NULL;
}

// A script's text without control bytes: a run of them becomes one space, one at
// the end goes, TAB stays. Pushes it; markers are no control bytes.
static struct slice push_clean(lua_State *L, struct slice text) {
    struct sandbox_buf out;
    sandbox_buf_init(&out, L, 2 * REQUEST_HEADER_BYTES_MAX);
    bool run = false;
    while (text.n) {
        size_t marker = *text.p ? 0 : sandbox_marker_at(sandbox_of(L), text, NULL, NULL);
        unsigned char c = (unsigned char)*text.p;
        if (marker) {
            sandbox_buf_add(&out, slice(text.p, marker));
            run = false;
        } else if ((c >= ' ' && c != 0x7F) || c == '\t') {
            sandbox_buf_byte(&out, (char)c);
            run = false;
        } else if (!run) {
            sandbox_buf_byte(&out, ' ');
            run = true;
        }
        text = slice_from(text, marker ? marker : 1);
    }
    if (run) out.n--;
    sandbox_buf_push(&out);
    lua_replace(L, out.slot);
    struct slice clean;
    clean.p = lua_tolstring(L, out.slot, &clean.n);
    return clean;
}

static void check_name(lua_State *L, struct slice name) {
    if (!request_header_name_valid(name)) luaL_error(L, "'%s' is no header name", name.p);
    if (request_header_reserved(name)) luaL_error(L, "header %s is set by the engine", name.p);
}

static void remove_header(struct header_list *list, struct header *header) {
    size_t at = (size_t)(header - list->items);
    memmove(header, header + 1, (list->count - at - 1) * sizeof *header);
    list->count--;
}

static struct header *add_header(lua_State *L, struct header_list *list, struct slice name) {
    if (list->count == REQUEST_HEADERS_MAX)
        luaL_error(L, "more than %d headers", REQUEST_HEADERS_MAX);
    if (list->count == list->room) {
        size_t room = list->room * 2 + 8;
        struct header *items = sandbox_keep_bytes(L, room * sizeof *items);
        if (list->count) memcpy(items, list->items, list->count * sizeof *items);
        list->items = items;
        list->room = room;
    }
    struct slice kept = sandbox_keep(L, name);
    list->items[list->count] = (struct header){ kept, slice("", 0) };
    return list->items + list->count++;
}

void headers_set(lua_State *L, struct header_list *list, struct slice name, int value) {
    struct header *header = find_header(list, name);
    int type = lua_type(L, value);
    check_name(L, name);
    if (type == LUA_TNIL || (type == LUA_TBOOLEAN && !lua_toboolean(L, value))) {
        if (header) remove_header(list, header);
        return;
    }
    if (type != LUA_TSTRING && type != LUA_TNUMBER)
        luaL_error(L, "header %s needs a text, not a %s", name.p, luaL_typename(L, value));
    struct slice text;
    lua_pushvalue(L, value); // a number must not become a string in its owner's table
    text.p = lua_tolstring(L, -1, &text.n);
    struct slice kept = sandbox_read_marked(L, push_clean(L, text), PLACE_HEADER);
    lua_pop(L, 2);
    if (!header) header = add_header(L, list, name);
    header->value = kept;
}

static int headers_index(lua_State *L) {
    const struct header_list *list = view_check(L, 1, VIEW_HEADERS);
    const struct header *header = find_header(list, sandbox_check_slice(L, 2));
    if (!header)
        lua_pushnil(L);
    else if (list->read_only)
        sandbox_push_slice(L, header->value);
    else
        sandbox_push_marked(L, header->value, PLACE_HEADER);
    return 1;
}

static int headers_newindex(lua_State *L) {
    struct header_list *list = view_check(L, 1, VIEW_HEADERS);
    if (list->read_only) return luaL_error(L, "a response's headers cannot be changed");
    headers_set(L, list, sandbox_check_slice(L, 2), 3);
    return 0;
}

static int headers_pairs(lua_State *L) {
    const struct header_list *list = view_check(L, 1, VIEW_HEADERS);
    lua_createtable(L, 0, (int)list->count);
    for (size_t i = 0; i < list->count; i++) {
        sandbox_push_slice(L, list->items[i].name);
        if (list->read_only)
            sandbox_push_slice(L, list->items[i].value);
        else
            sandbox_push_marked(L, list->items[i].value, PLACE_HEADER);
        lua_rawset(L, -3);
    }
    return view_pairs(L);
}

void event_open_headers(lua_State *L) {
    static const struct sandbox_function own[] = { { "__index", headers_index },
                                                   { "__newindex", headers_newindex },
                                                   { "__pairs", headers_pairs } };
    view_register(L, VIEW_HEADERS, own, sizeof own / sizeof *own);
}
