// time: seconds since 1970 in UTC, with fractions. now is the real clock, since
// a script that measures an age wants the moment it runs at.
#include <math.h>
#include <stdlib.h>

#include "clock.h"
#include "json.h"
#include "sandbox.h"
#include "sandbox_host_inner.h"

static int time_now(lua_State *L) {
    lua_pushnumber(L, (lua_Number)clock_wall_ms() / 1000);
    return 1;
}

// Unix seconds, or milliseconds when the number is too large for seconds of this era.
static bool parse_unix(struct slice text, int64_t *ms) {
    char copy[32];
    if (!json_is_number(text) || text.n >= sizeof copy) return false;
    memcpy(copy, text.p, text.n);
    copy[text.n] = '\0';
    double n = strtod(copy, NULL);
    if (!(fabs(n) < 1e15)) return false;
    *ms = (int64_t)(fabs(n) >= 1e11 ? n : n * 1000);
    return true;
}

// A date alone is its midnight.
static bool parse_date(struct slice text, int64_t *ms) {
    char whole[32];
    if (text.n != 10) return false;
    memcpy(whole, text.p, 10);
    memcpy(whole + 10, "T00:00:00Z", 10);
    return clock_parse(slice(whole, 20), ms);
}

static int time_parse(lua_State *L) {
    struct slice text = slice_trim(sandbox_check_slice(L, 1));
    int64_t ms;
    if (!clock_parse(text, &ms) && !parse_date(text, &ms) && !parse_unix(text, &ms)) {
        lua_pushnil(L);
        lua_pushliteral(L, "not a time");
        return 2;
    }
    lua_pushnumber(L, (lua_Number)ms / 1000);
    return 1;
}

static int time_format(lua_State *L) {
    lua_Number when = luaL_checknumber(L, 1);
    struct slice format =
        lua_isnoneornil(L, 2) ? S("%Y-%m-%dT%H:%M:%SZ") : sandbox_check_slice(L, 2);
    sandbox_push_date(L, when, format);
    return 1;
}

void host_open_time(lua_State *L) {
    static const struct sandbox_function own[] = { { "now", time_now },
                                                   { "parse", time_parse },
                                                   { "format", time_format } };
    host_set_module(L, "time", own, sizeof own / sizeof *own);
}
