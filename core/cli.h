// The command line: flags, help, and what commands print in common.
#ifndef TUMA_CLI_H
#define TUMA_CLI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "buf.h"
#include "config.h"
#include "fail.h"
#include "slice.h"

// Exit codes, the same for every command (see the man page).
enum {
    EXIT_OK = 0,
    EXIT_FINDINGS = 1, // it ran, and found or met failures
    EXIT_USAGE = 2,    // wrong flags or arguments
    EXIT_CONFIG = 3,   // wrong settings
    EXIT_STORE = 4,    // the store cannot be used
    EXIT_ENGINE = 5,   // no engine to talk to, or it said no
};

enum cli_kind { CLI_SWITCH, CLI_TEXT, CLI_INT, CLI_SECONDS };

// A command's own flag. `to` is bool *, const char **, int64_t * or int64_t *
// (milliseconds; "90", "90s", "5m", "2h", "2d").
struct cli_flag {
    const char *name, *value, *help;
    enum cli_kind kind;
    void *to;
};

struct cli_command {
    const char *name;    // "render"
    const char *usage;   // "HOOK --event FILE [--json]"
    const char *summary; // one sentence
    const char *details; // further lines of --help, or NULL
    const struct cli_flag *flags;
    size_t flags_count;
    bool settings; // takes the settings as flags, and reads the configuration
};

// Parses argv[1…]. Words that are no flags go to rest[0 … *rest_count), in argv's
// own memory. With `settings`, `config` is read and finished. Returns -1 to go
// on, else the exit status (help was printed, or an error said).
int cli_parse(const struct cli_command *command, struct config *config, int argc, char **argv,
              char ***rest, int *rest_count);

// "tuma: text" on standard error, and `status` back.
int cli_fail(int status, const struct fail *fail);
int cli_say(int status, const char *format, ...) __attribute__((format(printf, 2, 3)));

// Prints what a buffer holds. When it was cut short, for want of memory or room, prints an error
// instead and ends the process.
void cli_print(const struct buf *out);

// True when `fd` is a terminal and NO_COLOR is unset: colour and progress are for people.
bool cli_fancy(int fd);

// A progress line on standard error (rate, ETA), at most ten times a second;
// nothing when standard error is no terminal. total 0: unknown.
struct cli_progress {
    const char *label;
    uint64_t done, total;
    int64_t started_ns, shown_ns;
    bool fancy;
};
void cli_progress_start(struct cli_progress *p, const char *label, uint64_t total);
void cli_progress_show(struct cli_progress *p, uint64_t done);
void cli_progress_end(struct cli_progress *p);

// "crm.lua" → "crm"; the stem of a path.
struct slice cli_stem(const char *path);
// A whole file ("-": standard input), at most `max` bytes, NUL-terminated; NULL with fail. Owned
// (free).
char *cli_read_file(const char *path, size_t max, size_t *n, struct fail *fail);

#endif
