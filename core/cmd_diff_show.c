// Two requests beside each other, line by line. A body is mostly one long line, so its JSON is
// spread first: what differs is then a member, not the body.
#include <stdio.h>
#include <stdlib.h>

#include "cli.h"
#include "cmd_diff_inner.h"
#include "json.h"

// --- the text of one side ---

static void add_line_break(struct buf *out, unsigned depth) {
    buf_byte(out, '\n');
    for (unsigned i = 0; i < depth; i++) buf_add(out, S("  "));
}

static size_t string_length(struct slice text) {
    size_t n = 1;
    while (n < text.n && text.p[n] != '"') n += text.p[n] == '\\' ? 2 : 1;
    return n + 1;
}

// The bytes of every value stay as they are; only the space between them is ours.
static void add_spread(struct buf *out, struct slice json) {
    unsigned depth = 0;
    for (size_t i = 0; i < json.n; i++) {
        char c = json.p[i], next = i + 1 < json.n ? json.p[i + 1] : '\0';
        if (c == '"') {
            size_t n = string_length(slice_from(json, i));
            buf_add(out, slice(json.p + i, n));
            i += n - 1;
        } else if (c == '{' || c == '[') {
            buf_byte(out, c);
            if (next == '}' || next == ']')
                buf_byte(out, json.p[++i]);
            else
                add_line_break(out, ++depth);
        } else if (c == '}' || c == ']') {
            add_line_break(out, --depth);
            buf_byte(out, c);
        } else if (c == ',') {
            buf_byte(out, c);
            add_line_break(out, depth);
        } else if (c == ':') {
            buf_add(out, S(": "));
        } else if (c != ' ' && c != '\n' && c != '\t' && c != '\r') {
            buf_byte(out, c);
        }
    }
}

static void add_request(const struct request *q, bool spread, struct arena *arena,
                        struct buf *out) {
    buf_printf(out, "%.*s %.*s\n", SLICE_FMT(q->method), SLICE_FMT(request_mask(q->url, arena)));
    for (size_t h = 0; h < q->headers_count; h++)
        buf_printf(out, "%.*s: %.*s\n", SLICE_FMT(q->headers[h].name),
                   SLICE_FMT(request_mask(q->headers[h].value, arena)));
    if (!q->has_body) return;
    struct slice body = request_mask(q->body, arena);
    buf_byte(out, '\n');
    if (spread && json_check(body, (struct json_limits){ .depth_max = 64 }, NULL) == OK)
        add_spread(out, body);
    else
        buf_add(out, body);
    buf_byte(out, '\n');
}

void diff_add_side(const struct tryout_result *r, bool spread, struct arena *arena,
                   struct buf *out) {
    if (r->outcome == SCRIPT_FILTERED)
        buf_printf(out, "filtered%s%.*s\n", r->reason.n ? ": " : "", SLICE_FMT(r->reason));
    else if (r->outcome != SCRIPT_OK)
        buf_printf(out, "error: %.*s\n", SLICE_FMT(r->error));
    for (size_t i = 0; i < r->requests_count; i++) {
        if (r->requests_count > 1) buf_printf(out, "request %zu\n", i + 1);
        add_request(&r->requests[i], spread, arena, out);
    }
}

// --- the lines of both ---

// After what both begin with, the longest common subsequence of lines;
// LINES_MAX of either side are looked at and shown.
enum { LINES_MAX = 400, AROUND = 2 };

struct lines {
    struct slice at[LINES_MAX];
    size_t count, cut; // cut: how many more there are
};

struct shown {
    char mark;
    struct slice line;
};

static void split(struct slice text, struct lines *lines) {
    lines->count = lines->cut = 0;
    while (text.n) {
        size_t end = slice_find(text, '\n');
        if (lines->count < LINES_MAX)
            lines->at[lines->count++] = slice(text.p, end);
        else
            lines->cut++;
        text = slice_from(text, end + 1);
    }
}

static size_t merge(const struct lines *a, const struct lines *b, struct shown *out) {
    static unsigned short common[LINES_MAX + 1][LINES_MAX + 1];
    size_t n = a->count, m = b->count, i = 0, k = 0, count = 0;
    for (size_t x = n + 1; x-- > 0;)
        for (size_t y = m + 1; y-- > 0;)
            common[x][y] = x == n || y == m ? 0
                           : slice_eq(a->at[x], b->at[y])
                               ? (unsigned short)(common[x + 1][y + 1] + 1)
                           : common[x + 1][y] > common[x][y + 1] ? common[x + 1][y]
                                                                 : common[x][y + 1];
    while (i < n || k < m) {
        if (i < n && k < m && slice_eq(a->at[i], b->at[k]))
            out[count++] = (struct shown){ ' ', a->at[i++] }, k++;
        else if (i < n && (k == m || common[i + 1][k] >= common[i][k + 1]))
            out[count++] = (struct shown){ '-', a->at[i++] };
        else
            out[count++] = (struct shown){ '+', b->at[k++] };
    }
    return count;
}

static bool near_change(const struct shown *lines, size_t count, size_t i) {
    for (size_t k = i > AROUND ? i - AROUND : 0; k < count && k <= i + AROUND; k++)
        if (lines[k].mark != ' ') return true;
    return false;
}

static void print_line(const struct shown *line, bool fancy) {
    const char *colour = !fancy || line->mark == ' ' ? ""
                         : line->mark == '-'         ? "\033[31m"
                                                     : "\033[32m";
    printf("  %s%c%s%.*s%s\n", colour, line->mark, line->line.n ? " " : "", SLICE_FMT(line->line),
           *colour ? "\033[0m" : "");
}

// What both begin with is taken off by whole lines; the last AROUND of them are put back.
static size_t common_head(struct slice a, struct slice b) {
    size_t same = 0, starts[AROUND + 1] = { 0 };
    while (same < a.n && same < b.n && a.p[same] == b.p[same]) {
        if (a.p[same++] != '\n') continue;
        memmove(starts, starts + 1, sizeof starts - sizeof *starts);
        starts[AROUND] = same;
    }
    return starts[0];
}

void diff_print(struct slice before, struct slice after) {
    static struct lines a, b;
    static struct shown lines[2 * LINES_MAX];
    bool fancy = cli_fancy(1), gap = false;
    size_t head = common_head(before, after);
    split(slice_from(before, head), &a);
    split(slice_from(after, head), &b);
    size_t count = merge(&a, &b, lines);
    if (head) puts("    …");
    for (size_t i = 0; i < count; i++) {
        if (near_change(lines, count, i))
            print_line(&lines[i], fancy);
        else if (!gap)
            puts("    …");
        gap = !near_change(lines, count, i);
    }
    if (a.cut + b.cut) printf("    … %zu and %zu more lines\n", a.cut, b.cut);
}
