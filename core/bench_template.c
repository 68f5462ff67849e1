// The template benchmark. A round renders every event a few times, then copies
// every wanted output as often; the next round takes them in the other order;
// the figures are medians over rounds short enough that both halves meet the
// same machine. Both rotate over all events, so both read what they read from
// the same level of cache.
#include "bench_template.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "arena.h"
#include "buf.h"
#include "clock.h"
#include "tag.h"
#include "template.h"

enum {
    EVENTS_MAX = 256,
    NAMES_MAX = 256,
    WORKS_MAX = 16,
    ROUNDS = 301,
    ROUNDS_QUICK = 5,
    ROUND_NS = 100000,
    OUT_BYTES = 1 << 20, // large enough to be mapped by itself
};

struct work {
    struct slice name;
    struct template *t;
    struct tag_set events[EVENTS_MAX];
    struct slice outputs[EVENTS_MAX]; // rendered once, compared with the reference
    uint32_t events_count;
};

struct bench {
    struct arena arena;
    struct slice file;
    const char *directory;
    struct buf out;
    int rounds;
};

static bool complain(const char *what, struct slice name) {
    fprintf(stderr, "tuma: bench template: %s %.*s\n", what, SLICE_FMT(name));
    return false;
}

static bool read_file(struct arena *arena, const char *path, struct slice *out) {
    FILE *f = fopen(path, "rb");
    if (!f) return false;
    size_t n = 0;
    char *p = NULL;
    if (fseek(f, 0, SEEK_END) == 0 && ftell(f) > 0) {
        n = (size_t)ftell(f);
        rewind(f);
        p = arena_alloc(arena, n);
    }
    bool good = p && fread(p, 1, n, f) == n;
    fclose(f);
    *out = slice(p, n);
    return good;
}

// Lengths stand in front of texts; all ones is no text.
static bool take_text(struct slice *file, struct slice *out) {
    struct slice peek = *file;
    bool none = take_u32(&peek) == UINT32_MAX;
    if (none) *file = peek;
    *out = none ? slice(NULL, 0) : take_blob(file);
    return !none;
}

static bool read_events(struct bench *b, struct work *w, const struct slice *names,
                        uint32_t count) {
    w->events_count = take_u32(&b->file);
    if (!b->file.p || w->events_count > EVENTS_MAX) return false;
    for (uint32_t e = 0; e < w->events_count; e++) {
        if (!tag_set_init(&w->events[e], &b->arena)) return false;
        for (uint32_t i = 0; i < count; i++) {
            struct slice value;
            if (!take_text(&b->file, &value)) continue;
            if (!b->file.p || !tag_set_put(&w->events[e], names[i], tag_text(value))) return false;
        }
    }
    return true;
}

static bool read_work(struct bench *b, struct work *w) {
    struct slice names[NAMES_MAX];
    w->name = take_blob(&b->file);
    bool url = take_u32(&b->file) == 1;
    struct slice text = take_blob(&b->file);
    uint32_t count = take_u32(&b->file);
    if (!b->file.p || count > NAMES_MAX) return complain("cannot read the works at", w->name);
    for (uint32_t i = 0; i < count; i++) {
        names[i] = take_blob(&b->file);
        if (!tag_name_valid(names[i])) return complain("not a tag name:", names[i]);
        tag_intern(names[i]);
    }
    struct fail fail = { 0 };
    struct template_opts opts = { url ? TEMPLATE_URL : TEMPLATE_JSON, MISSING_KEEP };
    w->t = template_compile(text, &opts, &fail);
    if (!w->t) return complain(fail.text, w->name);
    return read_events(b, w, names, count) || complain("cannot read the events of", w->name);
}

static bool render(struct bench *b, const struct work *w, uint32_t event) {
    buf_clear(&b->out);
    return template_render(w->t, &w->events[event], &b->out, NULL, NULL, NULL) == OK;
}

// Renders each event once and compares all with the reference file, if there is one.
static bool check_outputs(struct bench *b, struct work *w) {
    char path[1024];
    struct slice wanted = { 0 };
    snprintf(path, sizeof path, "%s/out/ref.%.*s", b->directory, SLICE_FMT(w->name));
    bool known = read_file(&b->arena, path, &wanted);
    for (uint32_t e = 0; e < w->events_count; e++) {
        if (!render(b, w, e)) return complain("cannot render", w->name);
        w->outputs[e] = arena_dup(&b->arena, buf_slice(&b->out));
        if (!w->outputs[e].p) return complain("out of memory at", w->name);
        if (known && !slice_starts(wanted, w->outputs[e]))
            return complain("wrong output of", w->name);
        wanted = slice_from(wanted, w->outputs[e].n);
    }
    return !known || !wanted.n || complain("output is missing from", w->name);
}

// Makes the compiler believe that someone reads what was written.
static inline void use(const void *p) {
    __asm__ volatile("" : : "r"(p) : "memory");
}

static int64_t time_renders(struct bench *b, const struct work *w, int passes) {
    int64_t start = clock_mono_ns();
    for (int i = 0; i < passes; i++)
        for (uint32_t e = 0; e < w->events_count; e++) {
            render(b, w, e);
            use(b->out.p);
        }
    return clock_mono_ns() - start;
}

static int64_t time_copies(struct bench *b, const struct work *w, int passes) {
    char *to = b->out.p;
    int64_t start = clock_mono_ns();
    for (int i = 0; i < passes; i++)
        for (uint32_t e = 0; e < w->events_count; e++) {
            memcpy(to, w->outputs[e].p, w->outputs[e].n);
            use(to);
        }
    return clock_mono_ns() - start;
}

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *values, int count) {
    qsort(values, (size_t)count, sizeof *values, by_value);
    return values[count / 2];
}

struct figures {
    double ns, memcpy_ns, ratio, bytes;
};

static struct figures measure(struct bench *b, const struct work *w) {
    double renders[ROUNDS] = { 0 }, copies[ROUNDS] = { 0 }, ratios[ROUNDS] = { 0 };
    int64_t once = time_renders(b, w, 1) + 1;
    int passes = once > ROUND_NS ? 1 : (int)(ROUND_NS / once);
    for (int r = 0; r < b->rounds; r++) {
        int64_t copy = r % 2 ? time_copies(b, w, passes) : 0;
        int64_t ours = time_renders(b, w, passes);
        if (r % 2 == 0) copy = time_copies(b, w, passes);
        double count = (double)passes * w->events_count;
        renders[r] = (double)ours / count;
        copies[r] = (double)copy / count;
        ratios[r] = renders[r] / copies[r];
    }
    struct figures f = { median(renders, b->rounds), median(copies, b->rounds),
                         median(ratios, b->rounds), 0 };
    for (uint32_t e = 0; e < w->events_count; e++)
        f.bytes += (double)w->outputs[e].n / w->events_count;
    return f;
}

// The same values as the event's JSON would carry them: escaped already.
static bool escape_values(struct bench *b, struct work *w) {
    for (uint32_t e = 0; e < w->events_count; e++)
        for (uint16_t id = 0; id < w->events[e].count; id++) {
            struct tag_value *v = &w->events[e].values[id];
            if (v->kind == TAG_ABSENT) continue;
            buf_clear(&b->out);
            buf_json(&b->out, slice(v->p, v->n));
            *v = tag_text(arena_dup(&b->arena, slice(b->out.p + 1, b->out.n - 2)));
            v->flags = TAG_ESCAPED | TAG_JSON_SAFE;
            if (!v->p) return complain("out of memory at", w->name);
        }
    return true;
}

static void print_figures(const char *name, struct figures f, bool json_out, bool first) {
    if (json_out)
        printf("%s\"%s\":{\"ns\":%.1f,\"memcpy_ns\":%.1f,\"ratio\":%.2f,\"bytes\":%.1f}",
               first ? "" : ",", name, f.ns, f.memcpy_ns, f.ratio, f.bytes);
    else
        printf("%-6s %10.1f %10.1f %8.2f %10.1f\n", name, f.ns, f.memcpy_ns, f.ratio, f.bytes);
}

static bool run_work(struct bench *b, struct work *w, bool json_out, bool first) {
    char name[32];
    if (!read_work(b, w) || !check_outputs(b, w)) return false;
    snprintf(name, sizeof name, "%.*s", SLICE_FMT(w->name));
    print_figures(name, measure(b, w), json_out, first);
    if (strcmp(name, "F") != 0) return true;
    if (!escape_values(b, w) || !check_outputs(b, w)) return false;
    print_figures("F_raw", measure(b, w), json_out, false);
    return true;
}

static bool run_all(struct bench *b, struct work *w, bool json_out) {
    uint32_t count = take_u32(&b->file);
    printf(json_out ? "{\"works\":{" : "work   ns/render  memcpy ns    ratio      bytes\n");
    for (uint32_t i = 0; i < count; i++) {
        bool good = run_work(b, w, json_out, i == 0);
        template_free(w->t);
        w->t = NULL;
        if (!good) return false;
    }
    if (json_out) printf("}}\n");
    return true;
}

int bench_template(const char *works_bin_path, bool json_out, bool quick) {
    struct bench b = { .rounds = quick ? ROUNDS_QUICK : ROUNDS };
    arena_init(&b.arena, (size_t)1 << 30);
    buf_init(&b.out, RENDER_BYTES_MAX);
    struct slice directory = slice_str(works_bin_path);
    while (directory.n && directory.p[directory.n - 1] != '/') directory.n--;
    b.directory = directory.n ? arena_dup(&b.arena, directory).p : ".";
    struct work *w = calloc(1, sizeof *w);
    // A buffer of its own pages: a short output that happens to cross from one page to the
    // next costs three times as much to copy (14 ns, not 4.4, for work A's 204 bytes).
    bool good = w && b.directory && buf_reserve(&b.out, OUT_BYTES) &&
                read_file(&b.arena, works_bin_path, &b.file);
    if (!good) complain("cannot read", slice_str(works_bin_path));
    good = good && run_all(&b, w, json_out);
    free(w);
    buf_deinit(&b.out);
    arena_deinit(&b.arena);
    return good ? 0 : 1;
}
