// Where a script's time goes, by line: a hook on every line gives the time since the
// last one to the line before it, C functions that it called included. Slower than the
// script by itself, but in proportion; sampling is too coarse for calls of microseconds.
#include <stdio.h>
#include <stdlib.h>

#include "clock.h"
#include "json.h"
#include "sandbox_main_inner.h"

enum {
    LINES_MAX = 1024,
    LINES_TOLD = 40,
    CALL_ARENA_MAX = 16 * 1024 * 1024,
    BUDGET_FACTOR = 20, // line hooks cost
    CALLS_MAX = 100 * 1000,
};
static const int64_t profile_ns = 1000 * 1000 * 1000;

struct line {
    char file[LUA_IDSIZE];
    int number;
    int64_t ns;
    uint64_t hits;
};

// The profile that runs; a hook has no user pointer.
static struct {
    struct line lines[LINES_MAX];
    size_t count;
    struct line *at; // the line that the time from `since` on belongs to
    int64_t since, start;
    uint64_t calls, errors;
    char error[400]; // the first one's first line
} profile;

static struct line *line_of(const lua_Debug *ar) {
    for (size_t i = 0; i < profile.count; i++)
        if (profile.lines[i].number == ar->currentline &&
            strcmp(profile.lines[i].file, ar->short_src) == 0)
            return &profile.lines[i];
    if (profile.count == LINES_MAX) return NULL;
    struct line *line = &profile.lines[profile.count++];
    memcpy(line->file, ar->short_src, sizeof line->file);
    line->number = ar->currentline;
    return line;
}

static void settle(int64_t now) {
    if (profile.at) profile.at->ns += now - profile.since;
    profile.at = NULL;
}

// A return ends a line's time: what follows it may be the engine's.
static void on_line(lua_State *L, lua_Debug *ar) {
    settle(clock_mono_ns());
    if (ar->event == LUA_HOOKRET) return;
    lua_getinfo(L, "S", ar);
    profile.at = line_of(ar);
    if (profile.at) profile.at->hits++;
    profile.since = clock_mono_ns();
}

// Counts what an error ended: such a call's time says little.
static void run_event(struct sandbox_held *held, const struct event *event, int64_t budget_ms) {
    static const struct wire_call call = { .kind = SCRIPT_REQUEST,
                                           .delivery_id = { "msg_profile", 11 } };
    struct wire_done done;
    struct arena arena;
    arena_init(&arena, CALL_ARENA_MAX);
    lua_sethook(held->script->sandbox->L, on_line, LUA_MASKLINE | LUA_MASKRET, 0);
    sandbox_script_run(held->script, &call, event, &arena, budget_ms, &done);
    lua_sethook(held->script->sandbox->L, NULL, 0, 0);
    settle(clock_mono_ns());
    profile.calls++;
    if (done.outcome == SCRIPT_ERROR && !profile.errors++)
        snprintf(profile.error, sizeof profile.error, "%.*s", (int)slice_find(done.error, '\n'),
                 done.error.p);
    arena_deinit(&arena);
}

static int compare_lines(const void *a, const void *b) {
    const struct line *x = a, *y = b;
    return (x->ns < y->ns) - (x->ns > y->ns);
}

static void put_report(struct buf *report) {
    qsort(profile.lines, profile.count, sizeof profile.lines[0], compare_lines);
    buf_printf(report, "{\"calls\":%llu,\"ns\":%lld,\"errors\":%llu,\"error\":",
               (unsigned long long)profile.calls, (long long)(clock_mono_ns() - profile.start),
               (unsigned long long)profile.errors);
    buf_json(report, slice_str(profile.error));
    buf_add(report, S(",\"lines\":["));
    for (size_t i = 0; i < profile.count && i < LINES_TOLD; i++) {
        const struct line *line = &profile.lines[i];
        buf_add(report, i ? S(",{\"file\":") : S("{\"file\":"));
        buf_json(report, slice_str(line->file));
        buf_printf(report, ",\"line\":%d,\"ns\":%lld,\"hits\":%llu}", line->number,
                   (long long)line->ns, (unsigned long long)line->hits);
    }
    buf_add(report, S("]}"));
}

static bool over(void) {
    return profile.calls >= CALLS_MAX || clock_mono_ns() - profile.start >= profile_ns;
}

// One pass over the list; false when it holds no event that the webhook wants.
static bool run_list(struct sandbox_held *held, struct json list, int64_t budget_ms) {
    struct json one;
    uint64_t before = profile.calls;
    for (size_t at = 0; !over() && json_next(list, &at, NULL, &one);) {
        struct fail fail = { .text = "" };
        struct event *event = event_read(one.raw, clock_wall_ms(), &fail);
        if (event && hook_wants(held->hook, event)) run_event(held, event, budget_ms);
        event_unref(event);
    }
    return profile.calls > before;
}

void sandbox_profile(struct sandbox_held *held, const struct wire_test *test,
                     const struct wire_hello *limits, struct buf *report, bool *ok) {
    struct json list = json_root(test->tests);
    memset(&profile, 0, sizeof profile);
    profile.start = clock_mono_ns();
    if (held->script && list.type == JSON_ARRAY)
        while (!over() && run_list(held, list, BUDGET_FACTOR * limits->soft_ms)) continue;
    put_report(report);
    *ok = profile.calls > 0;
}
