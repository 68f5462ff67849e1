// Structured lines on standard error. Not buffered: after a crash the last
// line is what matters. Nothing is allocated, so running out of memory can be logged.
#include "log.h"

#include <stdarg.h>
#include <stdint.h>
#include <unistd.h>

#include "buf.h"
#include "clock.h"

enum { LINE_MAX_BYTES = 16 * 1024 };

static enum log_level threshold = LOG_INFO;
static bool as_json;

void log_init(enum log_level level, bool json) {
    threshold = level;
    as_json = json;
}

// Text for a terminal: control bytes would let a value draw on the screen.
static void add_plain(struct buf *line, struct slice s) {
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        if (c == '\n')
            buf_add(line, S("\n    ")); // a traceback; indented, it cannot pass for a line of ours
        else if (c == '\t')
            buf_byte(line, ' ');
        else if (c < 0x20 || c == 0x7F)
            buf_printf(line, "\\x%02x", c);
        else
            buf_byte(line, (char)c);
    }
}

static void add_pair(struct buf *line, const char *key, const char *value) {
    if (as_json) {
        buf_byte(line, ',');
        buf_json(line, slice_str(key));
        buf_byte(line, ':');
        buf_json(line, slice_str(value));
    } else {
        buf_printf(line, " %s=", key);
        add_plain(line, slice_str(value));
    }
}

static void add_head(struct buf *line, enum log_level level, const char *message) {
    static const char *const names[] = { "debug", "info", "warn", "error", "off" };
    char time[CLOCK_TEXT];
    clock_format(clock_wall_ms(), time);
    if (as_json) {
        buf_printf(line, "{\"time\":\"%s\",\"level\":\"%s\",\"message\":", time, names[level]);
        buf_json(line, slice_str(message));
    } else {
        buf_printf(line, "%.19s %-5s ", time, names[level]);
        add_plain(line, slice_str(message));
    }
}

void log_line(enum log_level level, const char *message, ...) {
    if (level < threshold) return;
    char room[LINE_MAX_BYTES];
    struct buf line;
    buf_init_fixed(&line, room, sizeof room);
    add_head(&line, level, message);
    va_list args;
    va_start(args, message);
    for (const char *key; (key = va_arg(args, const char *));)
        add_pair(&line, key, va_arg(args, const char *));
    va_end(args);
    buf_add(&line, as_json ? S("}\n") : S("\n"));
    if (!line.failed && write(STDERR_FILENO, line.p, line.n) < 0) {
        // Nowhere to say it; the engine goes on.
    }
}
