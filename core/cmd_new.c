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

int cmd_new(int argc, char **argv) {
    static struct config config;
    const struct cli_command command = {
        .name = "new",
        .usage = "NAME",
        .settings = true,
        .summary = "Writes SCRIPTS/NAME.lua, a commented webhook to start from.",
        .details = "A running engine takes it up at once: it matches call.completed and sends to\n"
                   "example.com, so change the URL first. A file that is there is left alone."
    };
    char **rest, path[4300];
    int count, status = cli_parse(&command, &config, argc, argv, &rest, &count);
    if (status >= 0) return status;
    if (count != 1 || !is_name(rest[0])) {
        config_deinit(&config);
        return cli_say(EXIT_USAGE,
                       "new takes one NAME: lower-case letters, digits, _ and -, at most 64");
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
