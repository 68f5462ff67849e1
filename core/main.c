// The one binary: finds the command and runs it.
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "catalog.h"
#include "cli.h"
#include "commands.h"
#include "script.h"

static const struct {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *summary;
} commands[] = {
    { "serve", cmd_serve, "take events over HTTP and deliver them" },
    { "run", cmd_run, "deliver the events of a file or pipe, then end" },
    { "send", cmd_send, "post events to a running engine" },
    { "check", cmd_check, "find mistakes in webhooks before they run" },
    { "render", cmd_render, "show the request a webhook would send" },
    { "test", cmd_test, "run the tests of webhooks" },
    { "diff", cmd_diff, "compare an edited webhook with the running one on stored events" },
    { "new", cmd_new, "write a commented webhook to start from" },
    { "log", cmd_log, "list deliveries" },
    { "show", cmd_show, "show a delivery with all its attempts" },
    { "redeliver", cmd_redeliver, "send deliveries again" },
    { "drop", cmd_drop, "discard deliveries that wait or failed" },
    { "scripts", cmd_scripts, "webhooks: state, errors, counters, profile" },
    { "events", cmd_events, "list the event types" },
    { "tags", cmd_tags, "list the tags" },
    { "secret", cmd_secret, "set, list and remove secrets" },
    { "token", cmd_token, "create, list and revoke API tokens" },
    { "sink", cmd_sink, "a receiver for demos and tests" },
    { "bench", cmd_bench, "measure the core against baselines" },
};
enum { COMMANDS = sizeof commands / sizeof *commands };

static void print_usage(FILE *to) {
    fputs(
        "Usage: tuma COMMAND [ARGUMENTS]\n\nTurns call events into other people's HTTP requests.\n\nCommands:\n",
        to);
    for (size_t i = 0; i < COMMANDS; i++)
        fprintf(to, "  %-11s %s\n", commands[i].name, commands[i].summary);
    fputs("\ntuma COMMAND --help tells more; tuma --version the version.\n", to);
}

static int unknown_command(const char *name) {
    struct slice names[COMMANDS];
    for (size_t i = 0; i < COMMANDS; i++) names[i] = slice_str(commands[i].name);
    struct slice near = suggest(names, COMMANDS, slice_str(name));
    return cli_say(EXIT_USAGE, "there is no command \"%s\"%s%.*s%s (tuma --help lists them)", name,
                   near.n ? "; did you mean \"" : "", SLICE_FMT(near), near.n ? "\"?" : "");
}

int main(int argc, char **argv) {
    if (argc > 1 && strcmp(argv[1], "__sandbox") == 0) return sandbox_main(argc - 1, argv + 1);
    signal(SIGPIPE, SIG_IGN);
    if (argc < 2) {
        print_usage(stderr);
        return EXIT_USAGE;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 ||
        strcmp(argv[1], "help") == 0) {
        print_usage(stdout);
        return EXIT_OK;
    }
    if (strcmp(argv[1], "--version") == 0) {
        puts("tuma " TUMA_VERSION);
        return EXIT_OK;
    }
    for (size_t i = 0; i < COMMANDS; i++)
        if (strcmp(argv[1], commands[i].name) == 0) return commands[i].run(argc - 1, argv + 1);
    return unknown_command(argv[1]);
}
