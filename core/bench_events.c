// The event benchmark. Each round times every contender for about as long, and
// the order turns from round to round, so that all of them meet the same
// machine; the figures are medians. Lua runs as it comes, its compiler on.
#include "bench_events.h"

#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "buf.h"
#include "clock.h"
#include "event.h"
#include "template.h"

int luaopen_cjson(lua_State *L);

enum { ROUNDS = 101, ROUND_NS = 200000, PARTS = 4 };

static const char *const part_texts[PARTS] = {
    "https://api.example-crm.com/v2/calls/[CALL_ID]?caller=[CALLER_ID]&campaign=[CAMPAIGN_ID]",
    "Bearer [ORG_ID]",
    "[CALL_ID]/[DURATION]",
    "{\n\"call_id\": \"[CALL_ID]\",\n\"caller\": \"[CALLER_ID]\",\n\"campaign\": \"[CAMPAIGN_NAME]\",\n"
    "\"duration\": \"[DURATION]\",\n\"converted\": \"[CONVERTED]\",\n"
    "\"revenue\": \"[REVENUE_PAID_OUT]\",\n\"tags\": {\n\"source\": \"[UTM_SOURCE]\",\n"
    "\"state\": \"[CALLER_STATE]\"\n}\n}",
};
static const enum template_place part_places[PARTS] = { TEMPLATE_URL, TEMPLATE_HEADER,
                                                        TEMPLATE_HEADER, TEMPLATE_JSON };

// What a careful person writes: one gsub a part with a function that escapes for the place.
static const char lua_source[] =
    "local cjson, text, url, h1, h2, body = ...\n"
    "local gsub, format, byte, lower = string.gsub, string.format, string.byte, string.lower\n"
    "local escapes = { ['\"'] = '\\\\\"', ['\\\\'] = '\\\\\\\\', ['\\n'] = '\\\\n', ['\\r'] = '\\\\r',\n"
    "                  ['\\t'] = '\\\\t' }\n"
    "local function esc(c) return escapes[c] or format('\\\\u%04x', byte(c)) end\n"
    "local function pct(c) return format('%%%02X', byte(c)) end\n"
    "local names = setmetatable({}, { __index = function(t, k) t[k] = lower(k) return t[k] end })\n"
    "local tags\n"
    "local function as_json(name)\n"
    "  local v = tags[names[name]] if v then return (gsub(v, '[%c\"\\\\]', esc)) end\n"
    "end\n"
    "local function as_url(name)\n"
    "  local v = tags[names[name]] if v then return (gsub(v, '[^%w%-%._~]', pct)) end\n"
    "end\n"
    "local function as_header(name)\n"
    "  local v = tags[names[name]] if v then return (gsub(v, '%c+', ' ')) end\n"
    "end\n"
    "local pattern = '%[([A-Z][A-Z0-9_]*)%]'\n"
    "local function decode(n) for _ = 1, n do tags = cjson.decode(text).tags end end\n"
    "local function request(n)\n"
    "  local a, b, c, d\n"
    "  for _ = 1, n do\n"
    "    tags = cjson.decode(text).tags\n"
    "    a, b = gsub(url, pattern, as_url), gsub(h1, pattern, as_header)\n"
    "    c, d = gsub(h2, pattern, as_header), gsub(body, pattern, as_json)\n"
    "  end\n"
    "  return a .. '\\n' .. b .. '\\n' .. c .. '\\n' .. d\n"
    "end\n"
    "return decode, request\n";

struct bench {
    struct buf text, out;
    struct template *parts[PARTS];
    lua_State *L; // stack: 1 decode, 2 request
    size_t tags;
};

static bool complain(const char *what, const char *more) {
    fprintf(stderr, "tuma: bench events: %s %s\n", what, more);
    return false;
}

// Makes the compiler believe that someone reads what was written.
static inline void use(const void *p) {
    __asm__ volatile("" : : "r"(p) : "memory");
}

static void run_copy(struct bench *b, long n) {
    for (long i = 0; i < n; i++) {
        memcpy(b->out.p, b->text.p, b->text.n);
        use(b->out.p);
    }
}

static void run_read(struct bench *b, long n) {
    for (long i = 0; i < n; i++) {
        struct event *event = event_read(buf_slice(&b->text), 0, NULL);
        use(event);
        event_unref(event);
    }
}

static void run_request(struct bench *b, long n) {
    for (long i = 0; i < n; i++) {
        struct event *event = event_read(buf_slice(&b->text), 0, NULL);
        buf_clear(&b->out);
        for (int p = 0; p < PARTS; p++) {
            if (p) buf_byte(&b->out, '\n');
            template_render(b->parts[p], &event->tags, &b->out, NULL, NULL, NULL);
        }
        use(b->out.p);
        event_unref(event);
    }
}

static void run_lua(struct bench *b, int function, long n) {
    lua_pushvalue(b->L, function);
    lua_pushinteger(b->L, n);
    lua_call(b->L, 1, 1);
    lua_settop(b->L, 2);
}

static void run_cjson(struct bench *b, long n) {
    run_lua(b, 1, n);
}

static void run_gsub(struct bench *b, long n) {
    run_lua(b, 2, n);
}

static void (*const contenders[])(struct bench *b, long n) = { run_copy, run_read, run_request,
                                                               run_cjson, run_gsub };
static const char *const names[] = { "copy", "read", "request", "cjson", "lua" };
enum { COPY, READ, REQUEST, CJSON, LUA, CONTENDERS };

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double time_once(struct bench *b, int which, long n) {
    int64_t start = clock_mono_ns();
    contenders[which](b, n);
    return (double)(clock_mono_ns() - start) / (double)n;
}

static void measure(struct bench *b, double ns[CONTENDERS]) {
    static double rounds[CONTENDERS][ROUNDS];
    long counts[CONTENDERS];
    for (int c = 0; c < CONTENDERS; c++) {
        time_once(b, c, 100); // warm
        counts[c] = (long)(ROUND_NS / (time_once(b, c, 100) + 1)) + 1;
    }
    for (int r = 0; r < ROUNDS; r++)
        for (int i = 0; i < CONTENDERS; i++) {
            int c = (r + i) % CONTENDERS;
            rounds[c][r] = time_once(b, c, counts[c]);
        }
    for (int c = 0; c < CONTENDERS; c++) {
        qsort(rounds[c], ROUNDS, sizeof **rounds, by_value);
        ns[c] = rounds[c][ROUNDS / 2];
    }
}

static bool read_text(struct bench *b, const char *path) {
    static char file[EVENT_BYTES_MAX];
    FILE *f = fopen(path, "rb");
    if (!f) return complain("cannot read", path);
    size_t n = fread(file, 1, sizeof file, f);
    fclose(f);
    buf_add(&b->text, S("{\"id\":\"evt_01\",\"type\":\"call.completed\","
                        "\"time\":\"2026-11-24T19:11:50.000Z\",\"tags\":"));
    buf_add(&b->text, slice(file, n));
    buf_byte(&b->text, '}');
    return true;
}

static bool count_tag(void *user, struct slice name, struct tag_value value) {
    (void)value;
    size_t *count = user;
    ++*count;
    tag_intern(name);
    return true;
}

static bool open_ours(struct bench *b, const char *path) {
    struct fail fail = { 0 };
    struct event *event = event_read(buf_slice(&b->text), 0, &fail);
    if (!event) return complain(path, fail.text);
    tag_set_each(&event->tags, count_tag, &b->tags);
    event_unref(event);
    for (int p = 0; p < PARTS; p++) {
        struct template_opts opts = { part_places[p], MISSING_KEEP };
        b->parts[p] = template_compile(slice_str(part_texts[p]), &opts, &fail);
        if (!b->parts[p]) return complain("a template:", fail.text);
    }
    return true;
}

static bool open_lua(struct bench *b) {
    lua_State *L = b->L = luaL_newstate();
    if (!L) return complain("no memory for", "Lua");
    luaL_openlibs(L);
    if (luaL_loadbuffer(L, lua_source, sizeof lua_source - 1, "=bench"))
        return complain("Lua:", lua_tostring(L, -1));
    lua_pushcfunction(L, luaopen_cjson);
    lua_call(L, 0, 1);
    lua_pushlstring(L, b->text.p, b->text.n);
    for (int p = 0; p < PARTS; p++) lua_pushstring(L, part_texts[p]);
    if (lua_pcall(L, 2 + PARTS, 2, 0)) return complain("Lua:", lua_tostring(L, -1));
    return true;
}

// Both sides must make the same request.
static bool compare(struct bench *b) {
    size_t n;
    run_request(b, 1);
    lua_pushvalue(b->L, 2);
    lua_pushinteger(b->L, 1);
    lua_call(b->L, 1, 1);
    const char *theirs = lua_tolstring(b->L, -1, &n);
    bool same = slice_eq(slice(theirs, n), buf_slice(&b->out));
    lua_settop(b->L, 2);
    return same || complain("Lua makes", "another request");
}

static void print_figures(const struct bench *b, const double ns[CONTENDERS], bool json_out) {
    double read_ratio = ns[CJSON] / ns[READ], request_ratio = ns[LUA] / ns[REQUEST];
    if (!json_out) {
        printf("event of %zu bytes, %zu tags\n", b->text.n, b->tags);
        for (int c = 0; c < CONTENDERS; c++) printf("%-8s %10.1f ns\n", names[c], ns[c]);
        printf("cjson / read %.1f, lua / request %.1f\n", read_ratio, request_ratio);
        return;
    }
    printf("{\"event\":{\"bytes\":%zu,\"tags\":%zu", b->text.n, b->tags);
    for (int c = 0; c < CONTENDERS; c++) printf(",\"%s_ns\":%.1f", names[c], ns[c]);
    printf(",\"read_ratio\":%.2f,\"request_ratio\":%.2f}}\n", read_ratio, request_ratio);
}

int bench_events(const char *event_json_path, bool json_out) {
    struct bench b = { 0 };
    double ns[CONTENDERS];
    buf_init(&b.text, EVENT_BYTES_MAX + 1024);
    buf_init(&b.out, RENDER_BYTES_MAX);
    bool good = read_text(&b, event_json_path) && open_ours(&b, event_json_path) && open_lua(&b) &&
                buf_reserve(&b.out, b.text.n) && compare(&b);
    if (good) {
        measure(&b, ns);
        print_figures(&b, ns, json_out);
    }
    if (b.L) lua_close(b.L);
    for (int p = 0; p < PARTS; p++) template_free(b.parts[p]);
    buf_deinit(&b.text);
    buf_deinit(&b.out);
    return good ? 0 : 1;
}
