// tuma new: a commented webhook to start from.
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "buf.h"
#include "cli.h"
#include "commands.h"
#include "embedded.h"
#include "json.h"
#include "tryout.h"

enum { NAME_MAX_BYTES = 64, STARTER_MAX = 64 * 1024 };

static bool is_name(const char *name) {
    size_t n = strlen(name);
    return n && n <= NAME_MAX_BYTES &&
           (islower((unsigned char)*name) || isdigit((unsigned char)*name)) &&
           strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_-") == n &&
           !slice_ends(slice_str(name), S("_test"));
}

// The starter with NAME filled in.
static void put_starter(struct buf *out, const char *name) {
    struct slice text = embedded_lua("starter");
    const char *hit;
    while ((hit = memmem(text.p, text.n, "NAME", 4)) != NULL) {
        buf_add(out, slice(text.p, (size_t)(hit - text.p)));
        buf_add(out, slice_str(name));
        text = slice_from(text, (size_t)(hit - text.p) + 4);
    }
    buf_add(out, text);
}

static int write_new(const char *path, struct slice text) {
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    if (fd < 0) return cli_say(EXIT_USAGE, "%s: %s", path, strerror(errno));
    bool written = write(fd, text.p, text.n) == (ssize_t)text.n;
    if (close(fd) != 0 || !written) return cli_say(EXIT_STORE, "%s: %s", path, strerror(errno));
    printf("%s\n", path);
    return EXIT_OK;
}

// --- For editors: completion of every tag and host function, and luacheck's settings ---

// lua/meta.lua over lua/api.lua and the catalogue, as one script whose table holds the two texts.
static void put_meta_script(struct buf *out) {
    static const char *const files[] = { "api", "catalog", "meta" };
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        buf_printf(out, "local %s = (function()\n", files[i]);
        buf_add(out, embedded_lua(files[i]));
        buf_add(out, S("\nend)()\n"));
    }
    buf_add(
        out,
        S("local text, check = meta(api, catalog)\nreturn { meta = text, luacheck = check }\n"));
}

static int write_member(const struct config *config, struct json table, const char *member,
                        const char *file, struct arena *arena) {
    char path[4300];
    snprintf(path, sizeof path, "%s/%s", config->scripts, file);
    unlink(path); // it is made, never edited
    return write_new(path, json_text(json_get(table, member), arena));
}

static int write_editor_files(const struct config *config) {
    struct fail fail = { 0 };
    struct arena arena;
    struct buf source;
    struct slice table = { 0 };
    struct tryout *tryout = tryout_open(config, &fail);
    if (!tryout) return cli_fail(EXIT_STORE, &fail);
    arena_init(&arena, 8 * 1024 * 1024);
    buf_init(&source, 1024 * 1024);
    put_meta_script(&source);
    int status = tryout_table(tryout, buf_slice(&source), &arena, &table, &fail) == OK
                     ? EXIT_OK
                     : cli_fail(EXIT_STORE, &fail);
    if (status == EXIT_OK)
        status = write_member(config, json_root(table), "meta", ".meta.lua", &arena);
    if (status == EXIT_OK)
        status = write_member(config, json_root(table), "luacheck", ".luacheckrc", &arena);
    buf_deinit(&source);
    arena_deinit(&arena);
    tryout_close(tryout);
    return status;
}

int cmd_new(int argc, char **argv) {
    static struct config config;
    bool editor = false;
    const struct cli_flag flags[] = {
        { "editor", NULL, "write .meta.lua (LuaLS) and .luacheckrc instead", CLI_SWITCH, &editor },
    };
    const struct cli_command command = {
        .name = "new",
        .usage = "NAME | --editor",
        .flags = flags,
        .flags_count = 1,
        .settings = true,
        .summary = "Writes SCRIPTS/NAME.lua, a commented webhook to start from.",
        .details = "A running engine takes it up at once: it matches call.completed and sends to\n"
                   "example.com, so change the URL first. A file that is there is left alone."
    };
    char **rest, path[4300];
    int count, status = cli_parse(&command, &config, argc, argv, &rest, &count);
    if (status >= 0) return status;
    if (editor && !count) {
        status = write_editor_files(&config);
        config_deinit(&config);
        return status;
    }
    if (count != 1 || editor || !is_name(rest[0])) {
        config_deinit(&config);
        return cli_say(EXIT_USAGE, "new takes --editor, or one NAME: lower-case letters, digits, "
                                   "_ and -, at most 64, not ending in _test");
    }
    struct buf text;
    buf_init(&text, STARTER_MAX);
    put_starter(&text, rest[0]);
    snprintf(path, sizeof path, "%s/%s.lua", config.scripts, rest[0]);
    status = write_new(path, buf_slice(&text));
    buf_deinit(&text);
    config_deinit(&config);
    return status;
}
