// tuma secret: the named secrets of templates, signatures and scripts.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "commands.h"
#include "secrets.h"

static void print_name(void *user, struct slice name) {
    (void)user;
    printf("%.*s\n", SLICE_FMT(name));
}

static int list(const struct config *config) {
    struct fail fail = { 0 };
    struct secrets *secrets = secrets_open(config->data, config->secrets_key, &fail);
    if (!secrets) return cli_fail(EXIT_STORE, &fail);
    secrets_each(secrets, print_name, NULL);
    secrets_close(secrets);
    return EXIT_OK;
}

static int set(const struct config *config, const char *name) {
    struct fail fail = { 0 };
    size_t n;
    char *value = cli_read_file("-", 16 * 1024, &n, &fail);
    if (!value) return cli_fail(EXIT_USAGE, &fail);
    if (n && value[n - 1] == '\n') n--; // what `echo` adds
    enum err err = OK;
    if (n)
        err =
            secrets_put(config->data, config->secrets_key, slice_str(name), slice(value, n), &fail);
    explicit_bzero(value, n);
    free(value);
    if (!n)
        return cli_say(EXIT_USAGE,
                       "secret set reads the value from standard input, and there was none");
    return err == OK ? EXIT_OK : cli_fail(EXIT_STORE, &fail);
}

int cmd_secret(int argc, char **argv) {
    const struct cli_command command = {
        .name = "secret",
        .usage = "set NAME < VALUE | list | remove NAME",
        .settings = true,
        .summary =
            "Keeps the secrets that templates name as [SECRET:NAME], encrypted beside the store.",
        .details =
            "The value is read from standard input, so that it stands in no process list and no\n"
            "history. A running engine reads changes on SIGHUP. TUMA_SECRET_NAME in the\n"
            "engine's environment wins over the stored value."
    };
    static struct config config;
    char **rest;
    int count, status = cli_parse(&command, &config, argc, argv, &rest, &count);
    if (status >= 0) return status;
    struct fail fail = { 0 };
    secrets_protect_memory();
    if (count == 1 && !strcmp(rest[0], "list"))
        status = list(&config);
    else if (count == 2 && !strcmp(rest[0], "set"))
        status = set(&config, rest[1]);
    else if (count == 2 && !strcmp(rest[0], "remove"))
        status = secrets_put(config.data, config.secrets_key, slice_str(rest[1]), slice("", 0),
                             &fail) == OK
                     ? EXIT_OK
                     : cli_fail(EXIT_STORE, &fail);
    else
        status = cli_say(EXIT_USAGE, "secret set NAME, secret list, or secret remove NAME");
    config_deinit(&config);
    return status;
}
