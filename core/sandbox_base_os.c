// os: only time, and only UTC, so that no script learns or depends on the
// machine's zone. Nothing of the stock library is opened.
#include <math.h>

#include "clock.h"
#include "sandbox.h"
#include "sandbox_base_inner.h"
#include "sandbox_text.h"

enum { YEARS_MAX = 9999 };

// A field of os.time's table: read raw, so that no metamethod runs.
static int64_t time_field(lua_State *L, const char *name, int64_t missing) {
    lua_pushstring(L, name);
    lua_rawget(L, 1);
    lua_Number value = lua_isnumber(L, -1) ? lua_tonumber(L, -1) : (lua_Number)missing;
    bool given = !lua_isnil(L, -1);
    lua_pop(L, 1);
    if (!given && missing < 0) luaL_error(L, "field '%s' missing in date table", name);
    if (!(fabs(value) < 1e9)) luaL_error(L, "field '%s' out of bounds", name);
    return (int64_t)value;
}

static int os_time(lua_State *L) {
    if (lua_isnoneornil(L, 1)) {
        lua_pushnumber(L, (lua_Number)(clock_wall_ms() / 1000));
        return 1;
    }
    luaL_checktype(L, 1, LUA_TTABLE);
    int64_t year = time_field(L, "year", -1), month = time_field(L, "month", -1) - 1;
    int64_t day = time_field(L, "day", -1), hour = time_field(L, "hour", 12);
    int64_t minute = time_field(L, "min", 0), second = time_field(L, "sec", 0);
    year += month >= 0 ? month / 12 : (month - 11) / 12; // month 13 is next January
    month = (month % 12 + 12) % 12;
    if (year < 0 || year > YEARS_MAX) return luaL_error(L, "field 'year' out of bounds");
    int64_t days = clock_days(year, (unsigned)month + 1, 1) + day - 1;
    lua_pushnumber(L, (lua_Number)(((days * 24 + hour) * 60 + minute) * 60 + second));
    return 1;
}

static int os_date(lua_State *L) {
    struct slice format = lua_isnoneornil(L, 1) ? S("%c") : sandbox_check_slice(L, 1);
    sandbox_push_date(L, luaL_optnumber(L, 2, (lua_Number)(clock_wall_ms() / 1000)), format);
    return 1;
}

static int os_clock(lua_State *L) {
    lua_pushnumber(L, (lua_Number)clock_cpu_ns() / 1e9);
    return 1;
}

static int os_difftime(lua_State *L) {
    lua_pushnumber(L, luaL_checknumber(L, 1) - luaL_optnumber(L, 2, 0));
    return 1;
}

void base_open_os(lua_State *L) {
    static const struct sandbox_function own[] = {
        { "clock", os_clock }, { "date", os_date }, { "difftime", os_difftime }, { "time", os_time }
    };
    lua_createtable(L, 0, 4);
    sandbox_set_functions(L, own, sizeof own / sizeof *own);
    lua_setglobal(L, "os");
}
