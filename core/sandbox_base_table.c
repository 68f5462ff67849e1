// table.sort and table.insert. Sorting is heapsort from the bottom up: n log n
// comparisons whatever the comparator answers, no recursion, no index past the
// ends, and about as few calls of a slow comparator as quicksort makes. Short lists of
// numbers or of texts, in their own order, go through an array of C: what that takes is
// bounded by their size, so it needs no looking at the budget.
#include <stdlib.h>

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

// Calls the comparator with both values, all three on the stack: sandbox_call, spared of
// what a sort knows already.
static bool ask(struct sort *sort) {
    struct sandbox *sandbox = sort->sandbox;
    if (sandbox->over || sandbox->c_depth >= SANDBOX_C_DEPTH_MAX) {
        sandbox_call(sort->L, 2, 1); // says so
        return false;
    }
    sandbox->c_depth++;
    lua_call(sort->L, 2, 1);
    sandbox->c_depth--;
    bool answer = lua_toboolean(sort->L, -1);
    lua_pop(sort->L, 1);
    return answer;
}

// Is the value at stack index `a` less than the one at `b`?
static bool less(struct sort *sort, int a, int b) {
    lua_State *L = sort->L;
    count_steps(sort, 1);
    if (sort->own_order) {
        lua_pushvalue(L, 2);
        lua_pushvalue(L, a);
        lua_pushvalue(L, b);
        return ask(sort);
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
    if (sort->own_order) lua_pushvalue(L, 2);
    lua_rawgeti(L, 1, i);
    lua_rawgeti(L, 1, j);
    if (sort->own_order) return ask(sort);
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

enum { QUICK_MAX = 8192, QUICK_BYTES_MAX = 256 * 1024 };

struct item {
    struct slice text;
    double number;
    int at; // where it stood
};

static int compare_numbers(const void *a, const void *b) {
    const struct item *x = a, *y = b;
    return (x->number > y->number) - (x->number < y->number);
}

static int compare_texts(const void *a, const void *b) {
    const struct item *x = a, *y = b;
    int order = memcmp(x->text.p, y->text.p, x->text.n < y->text.n ? x->text.n : y->text.n);
    return order ? order : (x->text.n > y->text.n) - (x->text.n < y->text.n);
}

// Copies the values into `items` and the table at 4. False when they are not all of `type`,
// or hold too many bytes.
static bool read_items(lua_State *L, struct item *items, int n, int type) {
    size_t bytes = 0;
    for (int i = 0; i < n; i++) {
        lua_rawgeti(L, 1, i + 1);
        if (lua_type(L, -1) != type) return false;
        items[i].at = i + 1;
        if (type == LUA_TNUMBER)
            items[i].number = lua_tonumber(L, -1);
        else
            items[i].text.p = lua_tolstring(L, -1, &items[i].text.n);
        if (type == LUA_TSTRING && (bytes += items[i].text.n) > QUICK_BYTES_MAX) return false;
        lua_rawseti(L, 4, i + 1);
    }
    return true;
}

// Sorts numbers or texts in their own order. False, with nothing changed, when this is no such
// list.
static bool sort_quickly(lua_State *L, int n) {
    if (n < 2 || n > QUICK_MAX) return false;
    lua_rawgeti(L, 1, 1);
    int type = lua_type(L, -1);
    lua_settop(L, 2);
    if (type != LUA_TNUMBER && type != LUA_TSTRING) return false;
    struct item *items = lua_newuserdata(L, (size_t)n * sizeof *items);
    lua_createtable(L, n, 0);
    if (!read_items(L, items, n, type)) {
        lua_settop(L, 2);
        return false;
    }
    qsort(items, (size_t)n, sizeof *items, type == LUA_TNUMBER ? compare_numbers : compare_texts);
    for (int i = 0; i < n; i++) {
        lua_rawgeti(L, 4, items[i].at);
        lua_rawseti(L, 1, i + 1);
    }
    return true;
}

static int table_sort(lua_State *L) {
    luaL_checktype(L, 1, LUA_TTABLE);
    if (!lua_isnoneornil(L, 2)) luaL_checktype(L, 2, LUA_TFUNCTION);
    lua_settop(L, 2);
    luaL_checkstack(L, 16, "too many nested calls");
    struct sort sort = { L, sandbox_of(L), !lua_isnil(L, 2), 0 };
    int n = (int)lua_objlen(L, 1);
    if (!sort.own_order && sort_quickly(L, n)) return 0;
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
