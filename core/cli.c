// Flags are long only ("--data DIR", "--data=DIR"); a switch may be negated
// ("--no-http2"). Settings and a command's own flags are told apart by name.
#include "cli.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "clock.h"

static void print_flag(const char *name, const char *value, const char *help,
                       const char *otherwise) {
    char left[64];
    size_t n = (size_t)snprintf(left, sizeof left, "  --%s%s%s", name, value ? " " : "",
                                value ? value : "");
    for (size_t i = 0; i < n && i < sizeof left; i++)
        if (left[i] == '_') left[i] = '-';
    printf("%-30s %s", left, help);
    if (otherwise && *otherwise) printf(" (%s)", otherwise);
    putchar('\n');
}

static void print_help(const struct cli_command *c) {
    static const char *const values[] = { "TEXT", "N", "N", NULL };
    printf("Usage: tuma %s %s\n\n%s\n", c->name, c->usage, c->summary);
    if (c->details) printf("\n%s\n", c->details);
    puts("\nFlags:");
    for (size_t i = 0; i < c->flags_count; i++)
        print_flag(c->flags[i].name, c->flags[i].value, c->flags[i].help, NULL);
    print_flag("help", NULL, "this text", NULL);
    if (!c->settings) return;
    puts("\nSettings (also in tuma.conf.lua with _ for -, and as TUMA_NAME in the environment):");
    print_flag("config", "FILE", "the settings file", "tuma.conf.lua when it is there");
    for (size_t i = 0; i < config_settings_count; i++) {
        const struct setting *s = &config_settings[i];
        print_flag(s->name, values[s->kind], s->help, s->otherwise);
    }
}

int cli_say(int status, const char *format, ...) {
    va_list args;
    fputs("tuma: ", stderr);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
    return status;
}

int cli_fail(int status, const struct fail *fail) {
    return cli_say(status, "%s", fail->text[0] ? fail->text : fail->type);
}

void cli_print(const struct buf *out) {
    if (out->no_memory) fail_no_memory("the output");
    if (out->failed) exit(cli_say(EXIT_FINDINGS, "the output is too large"));
    fwrite(out->p, 1, out->n, stdout);
}

static bool parse_seconds(const char *text, int64_t *ms) {
    static const struct {
        char unit;
        double scale;
    } units[] = { { 's', 1e3 }, { 'm', 6e4 }, { 'h', 3.6e6 }, { 'd', 8.64e7 } };
    char *end;
    double number = strtod(text, &end), scale = 1e3;
    for (size_t i = 0; *end && i < sizeof units / sizeof *units; i++)
        if (*end == units[i].unit && !end[1]) scale = units[i].scale, end++;
    if (end == text || *end || !(number >= 0) || number > 1e10) return false;
    *ms = (int64_t)(number * scale);
    return true;
}

static bool is_bool(const char *value) {
    return !strcmp(value, "true") || !strcmp(value, "false");
}

static bool set_flag(const struct cli_flag *flag, const char *value) {
    char *end;
    switch (flag->kind) {
    case CLI_SWITCH: *(bool *)flag->to = !strcmp(value, "true"); return is_bool(value);
    case CLI_TEXT: *(const char **)flag->to = value; return true;
    case CLI_SECONDS: return parse_seconds(value, flag->to);
    case CLI_INT: break;
    }
    errno = 0;
    *(int64_t *)flag->to = strtoll(value, &end, 10);
    return *value && !*end && !errno;
}

// What is parsed so far; flags for settings wait until the file was read.
struct parse {
    const struct cli_command *command;
    const char *config_file;
    struct {
        const char *name, *value;
    } settings[64];
    size_t settings_count;
};

static const struct cli_flag *find_flag(const struct cli_command *c, const char *name) {
    for (size_t i = 0; i < c->flags_count; i++)
        if (strcmp(c->flags[i].name, name) == 0) return &c->flags[i];
    return NULL;
}

static int unknown_flag(const struct cli_command *c, const char *name) {
    struct slice names[96];
    char texts[96][40];
    size_t count = 0;
    for (; count < c->flags_count; count++) names[count] = slice_str(c->flags[count].name);
    for (size_t i = 0; c->settings && i < config_settings_count && count < 96; i++, count++) {
        snprintf(texts[count], sizeof texts[count], "%s", config_settings[i].name);
        for (char *p = texts[count]; *p; p++)
            if (*p == '_') *p = '-';
        names[count] = slice_str(texts[count]);
    }
    struct slice near = suggest(names, count, slice_str(name));
    return cli_say(EXIT_USAGE, "%s has no flag --%s%s%.*s%s (tuma %s --help lists them)", c->name,
                   name, near.n ? "; did you mean --" : "", SLICE_FMT(near), near.n ? "?" : "",
                   c->name);
}

// One flag at argv[*at]; moves *at past its value. -1 to go on.
static int take_flag(struct parse *p, int argc, char **argv, int *at) {
    char name[64];
    const char *text = argv[*at] + 2, *equals = strchr(text, '='),
               *value = equals ? equals + 1 : NULL;
    snprintf(name, sizeof name, "%.*s", (int)(equals ? equals - text : (long)strlen(text)), text);
    if (strcmp(name, "help") == 0) {
        print_help(p->command);
        return EXIT_OK;
    }
    const struct cli_flag *flag = find_flag(p->command, name);
    bool negated = !flag && strncmp(name, "no-", 3) == 0;
    const struct setting *setting =
        flag || !p->command->settings ? NULL : config_find(negated ? name + 3 : name);
    bool file = p->command->settings && strcmp(name, "config") == 0;
    bool is_switch = flag ? flag->kind == CLI_SWITCH : setting && setting->kind == SETTING_BOOL;
    if ((!flag && !setting && !file) || (negated && !is_switch))
        return unknown_flag(p->command, name);
    if (negated && value) return cli_say(EXIT_USAGE, "--%s takes no value", name);
    if (is_switch && !value) value = negated ? "false" : "true";
    if (!value && *at + 1 >= argc) return cli_say(EXIT_USAGE, "--%s takes a value", name);
    if (!value) value = argv[++*at];
    if (file) {
        p->config_file = value;
    } else if (setting) {
        if (p->settings_count == 64) return cli_say(EXIT_USAGE, "too many flags");
        p->settings[p->settings_count].name = setting->name;
        p->settings[p->settings_count++].value = value;
    } else if (!set_flag(flag, value)) {
        static const char *const wanted[] = { [CLI_SWITCH] = "true or false",
                                              [CLI_INT] = "a whole number",
                                              [CLI_SECONDS] = "a duration like 90s or 5m" };
        return cli_say(EXIT_USAGE, "--%s takes %s, not \"%s\"", name, wanted[flag->kind], value);
    }
    return -1;
}

static int read_settings(struct parse *p, struct config *config) {
    struct fail fail = { 0 };
    if (config_read(config, p->config_file, &fail) != OK) return cli_fail(EXIT_CONFIG, &fail);
    for (size_t i = 0; i < p->settings_count; i++)
        if (config_set(config, p->settings[i].name, p->settings[i].value, &fail) != OK)
            return cli_fail(EXIT_USAGE, &fail);
    if (config_finish(config, &fail) != OK) return cli_fail(EXIT_CONFIG, &fail);
    bool json = !strcmp(config->log_format, "json") ||
                (!strcmp(config->log_format, "auto") && !isatty(STDERR_FILENO));
    log_init(config->level, json);
    return -1;
}

int cli_parse(const struct cli_command *command, struct config *config, int argc, char **argv,
              char ***rest, int *rest_count) {
    struct parse p = { .command = command };
    int words = 1, status;
    bool only_words = false;
    for (int i = 1; i < argc; i++) {
        if (!only_words && strcmp(argv[i], "--") == 0) {
            only_words = true;
        } else if (!only_words && strncmp(argv[i], "--", 2) == 0) {
            if ((status = take_flag(&p, argc, argv, &i)) >= 0) return status;
        } else if (!only_words && strcmp(argv[i], "-h") == 0) {
            print_help(command);
            return EXIT_OK;
        } else {
            argv[words++] = argv[i];
        }
    }
    *rest = argv + 1;
    *rest_count = words - 1;
    return command->settings ? read_settings(&p, config) : -1;
}

bool cli_fancy(int fd) {
    return isatty(fd) && !getenv("NO_COLOR");
}

void cli_progress_start(struct cli_progress *p, const char *label, uint64_t total) {
    *p = (struct cli_progress){ .label = label,
                                .total = total,
                                .started_ns = clock_mono_ns(),
                                .fancy = cli_fancy(STDERR_FILENO) };
}

void cli_progress_show(struct cli_progress *p, uint64_t done) {
    int64_t now = clock_mono_ns();
    p->done = done;
    if (!p->fancy || now - p->shown_ns < 100000000) return;
    p->shown_ns = now;
    double seconds = (double)(now - p->started_ns) / 1e9,
           rate = (double)done / (seconds > 0 ? seconds : 1);
    if (p->total && rate > 0)
        fprintf(stderr, "\r%s %llu/%llu  %.0f/s  %.0f s left \033[K", p->label,
                (unsigned long long)done, (unsigned long long)p->total, rate,
                (double)(p->total - done) / rate);
    else
        fprintf(stderr, "\r%s %llu  %.0f/s \033[K", p->label, (unsigned long long)done, rate);
}

void cli_progress_end(struct cli_progress *p) {
    if (p->fancy && p->shown_ns) fputs("\r\033[K", stderr);
}

struct slice cli_stem(const char *path) {
    const char *base = strrchr(path, '/');
    struct slice stem = slice_str(base ? base + 1 : path);
    if (slice_ends(stem, S(".lua"))) stem.n -= 4;
    return stem;
}

char *cli_read_file(const char *path, size_t max, size_t *n, struct fail *fail) {
    FILE *file = strcmp(path, "-") == 0 ? stdin : fopen(path, "re");
    if (!file) {
        fail_set(fail, ERR_IO, 0, "unreadable", "%s: %s", path, strerror(errno));
        return NULL;
    }
    size_t capacity = 64 * 1024, used = 0;
    char *text = malloc(capacity + 1);
    while (text && used <= max) {
        size_t got = fread(text + used, 1, capacity - used, file);
        used += got;
        if (!got) break;
        if (used < capacity) continue;
        char *bigger = realloc(text, capacity * 2 + 1);
        if (!bigger) free(text);
        text = bigger;
        capacity *= 2;
    }
    int broken = ferror(file) ? errno : 0;
    if (file != stdin) fclose(file);
    if (text && !broken && used <= max) {
        text[used] = '\0';
        *n = used;
        return text;
    }
    fail_set(fail,
             !text    ? ERR_NOMEM
             : broken ? ERR_IO
                      : ERR_LIMIT,
             0, "unreadable", "%s: %s", path,
             !text    ? "no memory to read it"
             : broken ? strerror(broken)
                      : "too large");
    free(text);
    return NULL;
}
