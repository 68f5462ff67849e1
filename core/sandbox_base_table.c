// table.sort and table.insert. Sorting is heapsort from the bottom up: n log n
// comparisons whatever the comparator answers, no recursion, no index past the
// ends, and about as few calls of a slow comparator as quicksort makes.
#include "sandbox.h"
#include "sandbox_base_inner.h"
#include "sandbox_text.h"

// table.insert(t, [position,] value)
static int table_insert(lua_State *L) {
    luaL_checktype(L, 1, LUA_TTABLE);
    int n = (int)lua_objlen(L, 1) + 1;
    if (lua_gettop(L) == 2) {
        lua_rawseti(L, 1, n);
        return 0;
    }
    if (lua_gettop(L) != 3) return luaL_error(L, "wrong number of arguments to 'insert'");
    lua_Number position = luaL_checknumber(L, 2);
    luaL_argcheck(L, position >= 1 && position <= n, 2, "position out of bounds");
    int at = (int)position;
    for (int i = n; i > at; i--) {
        lua_rawgeti(L, 1, i - 1);
        lua_rawseti(L, 1, i);
        if (i % SANDBOX_POLL_STEPS == 0) sandbox_poll(L);
    }
    lua_rawseti(L, 1, at);
    return 0;
}

// Stack of a sort: 1 the table, 2 the comparator or nil.
struct sort {
    lua_State *L;
    struct sandbox *sandbox;
    bool own_order; // a comparator was given
    unsigned steps; // comparisons and compared bytes / 64 since the last poll
};

static void count_steps(struct sort *sort, size_t steps) {
    if (steps >= SANDBOX_POLL_STEPS - sort->steps) {
        sort->steps = 0;
        sandbox_poll(sort->L);
    } else {
        sort->steps += (unsigned)steps;
    }
}

static bool string_less(struct sort *sort, int a, int b) {
    size_t an, bn;
    const char *ap = lua_tolstring(sort->L, a, &an), *bp = lua_tolstring(sort->L, b, &bn);
    size_t n = an < bn ? an : bn;
    int order = memcmp(ap, bp, n);
    count_steps(sort, n / 64);
    return order ? order < 0 : an < bn;
}

// Is the value at stack index `a` less than the one at `b`?
static bool less(struct sort *sort, int a, int b) {
    lua_State *L = sort->L;
    count_steps(sort, 1);
    if (sort->own_order) {
        lua_pushvalue(L, 2);
        lua_pushvalue(L, a);
        lua_pushvalue(L, b);
        sandbox_call(L, 2, 1);
        bool answer = lua_toboolean(L, -1);
        lua_pop(L, 1);
        return answer;
    }
    int type = lua_type(L, a);
    if (type == LUA_TNUMBER && lua_type(L, b) == LUA_TNUMBER)
        return lua_tonumber(L, a) < lua_tonumber(L, b);
    if (type == LUA_TSTRING && lua_type(L, b) == LUA_TSTRING) return string_less(sort, a, b);
    // May run an __lt metamethod.
    if (sort->sandbox->c_depth >= SANDBOX_C_DEPTH_MAX) luaL_error(L, "C stack overflow");
    sort->sandbox->c_depth++;
    bool answer = lua_lessthan(L, a, b);
    sort->sandbox->c_depth--;
    return answer;
}

// Is t[i] less than t[j]?
static bool less_at(struct sort *sort, int i, int j) {
    lua_State *L = sort->L;
    lua_rawgeti(L, 1, i);
    lua_rawgeti(L, 1, j);
    int top = lua_gettop(L);
    bool answer = less(sort, top - 1, top);
    lua_settop(L, top - 2);
    return answer;
}

// Sifts the value on the stack's top into the heap t[1..n] from `root`, and pops
// it: down the path of larger children to a leaf, then up to where it belongs.
static void sift(struct sort *sort, int root, int n) {
    lua_State *L = sort->L;
    int value = lua_gettop(L), hole = root;
    while (hole <= n / 2) {
        int child = 2 * hole;
        if (child < n && less_at(sort, child, child + 1)) child++;
        lua_rawgeti(L, 1, child);
        lua_rawseti(L, 1, hole);
        hole = child;
    }
    while (hole > root) {
        int parent = hole / 2;
        lua_rawgeti(L, 1, parent);
        if (!less(sort, value + 1, value)) {
            lua_pop(L, 1);
            break;
        }
        lua_rawseti(L, 1, hole);
        hole = parent;
    }
    lua_rawseti(L, 1, hole);
}

static int table_sort(lua_State *L) {
    luaL_checktype(L, 1, LUA_TTABLE);
    if (!lua_isnoneornil(L, 2)) luaL_checktype(L, 2, LUA_TFUNCTION);
    lua_settop(L, 2);
    luaL_checkstack(L, 16, "too many nested calls");
    struct sort sort = { L, sandbox_of(L), !lua_isnil(L, 2), 0 };
    int n = (int)lua_objlen(L, 1);
    for (int root = n / 2; root >= 1; root--) {
        lua_rawgeti(L, 1, root);
        sift(&sort, root, n);
    }
    for (int last = n; last > 1; last--) {
        lua_rawgeti(L, 1, last);
        lua_rawgeti(L, 1, 1);
        lua_rawseti(L, 1, last);
        sift(&sort, 1, last - 1);
    }
    return 0;
}

void base_open_table(lua_State *L) {
    static const struct sandbox_function own[] = { { "insert", table_insert },
                                                   { "sort", table_sort } };
    static const char *const gone[] = { "foreach", "foreachi" };
    lua_getglobal(L, "table");
    sandbox_set_functions(L, own, sizeof own / sizeof *own);
    for (size_t i = 0; i < sizeof gone / sizeof *gone; i++) {
        lua_pushnil(L);
        lua_setfield(L, -2, gone[i]);
    }
    lua_pop(L, 1);
}
