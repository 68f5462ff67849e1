// The files of tests/hostile and what their heads say (tests/hostile/README.md), for
// the runners: one straight on the sandbox, one through script processes.
#ifndef TUMA_TESTS_HOSTILE_PLAN_H
#define TUMA_TESTS_HOSTILE_PLAN_H

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "slice.h"

enum { SOFT_MS = 20, SOURCE_MAX = 32 << 20, PATHS_MAX = 512 };

static const char folder[] = "tests/hostile";
static const char plain_event[] = "{\"type\":\"call.completed\",\"tags\":{\"CALL_ID\":\"c1\"}}";
static const char calm_event[] =
    "{\"type\":\"call.completed\",\"tags\":{\"CALL_ID\":\"c1\",\"CALM\":\"1\"}}";

// One file's head.
struct plan {
    struct slice expect, body, make;
    struct slice events[8];
    size_t events_count;
    int repeat, soft_ms;
    bool skip;
};

static struct slice read_whole(const char *path) {
    static char text[256 * 1024];
    FILE *file = fopen(path, "r");
    size_t n = file ? fread(text, 1, sizeof text - 1, file) : 0;
    if (file) fclose(file);
    text[n] = '\0';
    return slice(text, n);
}

static bool take_line(struct slice line, struct slice key, struct slice *value) {
    if (!slice_starts(line, key)) return false;
    *value = slice_trim(slice_from(line, key.n));
    return true;
}

static struct plan read_plan(struct slice text) {
    struct plan plan = { .repeat = 1, .soft_ms = SOFT_MS };
    struct slice value;
    while (slice_starts(text, S("-- "))) {
        size_t n = slice_find(text, '\n');
        struct slice line = slice(text.p, n);
        text = slice_from(text, n + 1);
        if (take_line(line, S("-- expect:"), &plan.expect)) continue;
        if (take_line(line, S("-- body:"), &plan.body)) continue;
        if (take_line(line, S("-- make:"), &plan.make)) continue;
        if (take_line(line, S("-- in-process: skip"), &value)) plan.skip = true;
        if (take_line(line, S("-- repeat:"), &value)) plan.repeat = atoi(value.p);
        if (take_line(line, S("-- budget-ms:"), &value)) plan.soft_ms = atoi(value.p);
        if (take_line(line, S("-- event:"), &value) && plan.events_count < 8)
            plan.events[plan.events_count++] = value;
    }
    if (!plan.events_count) plan.events[plan.events_count++] = slice_str(plain_event);
    return plan;
}

// The text that "-- make:" asks for.
static struct slice make_source(struct slice make) {
    struct slice value;
    size_t n = 0;
    if (take_line(make, S("bytecode"), &value)) return S("\33LJ\2\2");
    if (take_line(make, S("nul"), &value)) return S("local hook = {} \0 return hook\n");
    char *text = malloc(SOURCE_MAX);
    if (take_line(make, S("comment"), &value)) {
        n = (size_t)atoi(value.p);
        memset(text, 'x', n);
        memcpy(text, "--", 2);
    } else if (take_line(make, S("statements"), &value)) {
        for (int i = atoi(value.p); i > 0; i--, n += 6) memcpy(text + n, "a = 1\n", 6);
    }
    return slice(text, n);
}

static bool holds(struct slice text, struct slice part) {
    return !part.n || (text.n && memmem(text.p, text.n, part.p, part.n) != NULL);
}

static char paths[PATHS_MAX][128];
static size_t paths_count;

static int compare_paths(const void *a, const void *b) {
    return strcmp(a, b);
}

static void list_files(void) {
    DIR *dir = opendir(folder);
    for (struct dirent *entry; dir && (entry = readdir(dir)) && paths_count < PATHS_MAX;)
        if (slice_ends(slice_str(entry->d_name), S(".lua")))
            snprintf(paths[paths_count++], sizeof paths[0], "%s/%.100s", folder, entry->d_name);
    if (dir) closedir(dir);
    qsort(paths, paths_count, sizeof paths[0], compare_paths);
}

#endif
