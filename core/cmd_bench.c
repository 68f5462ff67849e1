// tuma bench: the core against baselines, each in the same run.
#include <stdio.h>
#include <string.h>

#include "bench_courier.h"
#include "bench_events.h"
#include "bench_scripts.h"
#include "bench_store.h"
#include "bench_template.h"
#include "cli.h"
#include "commands.h"

int cmd_bench(int argc, char **argv) {
    const char *works = "bench/data/works.bin", *event = "bench/data/event.json", *dir = "/tmp",
               *url = "http://127.0.0.1:9000/";
    bool json = false, quick = false;
    const struct cli_flag flags[] = {
        { "json", NULL, "figures as a JSON object", CLI_SWITCH, &json },
        { "quick", NULL, "a hundredth of it: it runs, its figures say nothing", CLI_SWITCH,
          &quick },
        { "works", "FILE", "template: the standard works (bench/data/works.bin)", CLI_TEXT,
          &works },
        { "event", "FILE", "events: the event to read (bench/data/event.json)", CLI_TEXT, &event },
        { "dir", "DIR", "store: where to put the store (/tmp)", CLI_TEXT, &dir },
        { "url", "URL", "courier: a receiver close by (http://127.0.0.1:9000/)", CLI_TEXT, &url }
    };
    const struct cli_command command = {
        .name = "bench",
        .usage = "template|events|scripts|store|courier [--json] [--quick]",
        .flags = flags,
        .flags_count = sizeof flags / sizeof *flags,
        .summary = "Measures the core. Every figure stands beside a baseline of the same run.",
        .details = "The input files are made by `make bench` (bench/works.py)."
    };
    char **rest;
    int count, status = cli_parse(&command, NULL, argc, argv, &rest, &count);
    if (status >= 0) return status;
    if (count == 1 && !strcmp(rest[0], "template")) return bench_template(works, json, quick);
    if (count == 1 && !strcmp(rest[0], "events")) return bench_events(event, json);
    if (count == 1 && !strcmp(rest[0], "scripts")) return bench_scripts(json, quick);
    if (count == 1 && !strcmp(rest[0], "store")) return bench_store(dir, json, quick);
    if (count == 1 && !strcmp(rest[0], "courier")) return bench_courier(url, json, quick);
    return cli_say(EXIT_USAGE, "bench takes one of template, events, scripts, store, courier");
}
