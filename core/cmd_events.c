// tuma events, tuma tags: the catalogue, the operator's additions included.
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "buf.h"
#include "cli.h"
#include "commands.h"
#include "event.h"

// Columns for people, tabs for programs that did not ask for JSON.
struct columns {
    bool people, fancy;
};

static struct columns columns_for(int fd) {
    return (struct columns){ .people = isatty(fd) != 0, .fancy = cli_fancy(fd) };
}

static void print_name(const struct columns *c, struct slice name, size_t width) {
    int pad = c->people && name.n < width ? (int)(width - name.n) : 0;
    printf("%s%.*s%s%*s", c->fancy ? "\033[1m" : "", SLICE_FMT(name), c->fancy ? "\033[0m" : "",
           pad, "");
}

static void print_cell(const struct columns *c, struct slice text, size_t width) {
    int pad = c->people && text.n < width ? (int)(width - text.n) : 0;
    printf("%s%.*s%*s", c->people ? "  " : "\t", SLICE_FMT(text), pad, "");
}

static size_t wider(size_t width, struct slice text) {
    return text.n > width ? text.n : width;
}

static void json_member(struct buf *out, const char *key, struct slice text, bool first) {
    buf_printf(out, "%s\"%s\":", first ? "{" : ",", key);
    buf_json(out, text);
}

// Writes the document to standard output; an exit status.
static int flush(struct buf *out) {
    bool good = buf_byte(out, '\n') && fwrite(out->p, 1, out->n, stdout) == out->n;
    buf_deinit(out);
    return good ? EXIT_OK : cli_say(EXIT_FINDINGS, "the list cannot be written");
}

static int events_as_json(const struct catalog *c, struct slice pattern) {
    struct buf out;
    bool any = false;
    buf_init(&out, 16 << 20);
    buf_add(&out, S("{\"events\":["));
    for (size_t i = 0; i < c->events_count; i++) {
        const struct catalog_event *e = &c->events[i];
        if (!event_type_matches(pattern, e->name)) continue;
        if (any) buf_byte(&out, ',');
        any = true;
        json_member(&out, "name", e->name, true);
        json_member(&out, "description", e->description, false);
        json_member(&out, "when", e->when, false);
        buf_byte(&out, '}');
    }
    buf_add(&out, S("]}"));
    return flush(&out);
}

static int events_as_text(const struct catalog *c, struct slice pattern) {
    struct columns columns = columns_for(STDOUT_FILENO);
    size_t name = 0, description = 0;
    for (size_t i = 0; i < c->events_count; i++) {
        name = wider(name, c->events[i].name);
        description = wider(description, c->events[i].description);
    }
    for (size_t i = 0; i < c->events_count; i++) {
        const struct catalog_event *e = &c->events[i];
        if (!event_type_matches(pattern, e->name)) continue;
        print_name(&columns, e->name, name);
        print_cell(&columns, e->description, description);
        print_cell(&columns, e->when, 0);
        putchar('\n');
    }
    return EXIT_OK;
}

// One argument at most: an event type or pattern that the catalogue knows.
static int pick_pattern(const struct catalog *c, char **rest, int count, struct slice *pattern) {
    *pattern = S("*");
    if (count > 1) return cli_say(EXIT_USAGE, "one event type or pattern, not %d", count);
    if (!count) return EXIT_OK;
    *pattern = slice_str(rest[0]);
    for (size_t i = 0; i < c->events_count; i++)
        if (event_type_matches(*pattern, c->events[i].name)) return EXIT_OK;
    struct slice near = catalog_suggest_event(c, *pattern);
    return cli_say(EXIT_FINDINGS, "the catalogue has no event \"%s\"%s%.*s%s", rest[0],
                   near.n ? "; did you mean \"" : "", SLICE_FMT(near), near.n ? "\"?" : "");
}

static int run(const struct cli_command *command, const bool *json, int argc, char **argv,
               int (*as_json)(const struct catalog *c, struct slice pattern),
               int (*as_text)(const struct catalog *c, struct slice pattern)) {
    static struct config config;
    char **rest;
    int count, status = cli_parse(command, &config, argc, argv, &rest, &count);
    if (status >= 0) return status;
    struct slice pattern;
    status = pick_pattern(config.catalog, rest, count, &pattern);
    if (status == EXIT_OK) status = (*json ? as_json : as_text)(config.catalog, pattern);
    config_deinit(&config);
    return status;
}

int cmd_events(int argc, char **argv) {
    bool json = false;
    const struct cli_flag flags[] = { { "json", NULL, "a JSON document", CLI_SWITCH, &json } };
    const struct cli_command command = {
        .name = "events",
        .usage = "[TYPE|PATTERN] [--json]",
        .summary = "Lists the event types of the catalogue.",
        .details = "Other well-formed types are accepted too; tuma.conf.lua may add to the list.",
        .flags = flags,
        .flags_count = 1,
        .settings = true,
    };
    return run(&command, &json, argc, argv, events_as_json, events_as_text);
}

static int tags_as_json(const struct catalog *c, struct slice pattern) {
    struct buf out;
    bool any = false;
    buf_init(&out, 16 << 20);
    buf_add(&out, S("{\"tags\":["));
    for (size_t i = 0; i < c->tags_count; i++) {
        const struct catalog_tag *t = &c->tags[i];
        if (!catalog_tag_on(c, t, pattern)) continue;
        if (any) buf_byte(&out, ',');
        any = true;
        json_member(&out, "name", t->name, true);
        json_member(&out, "group", t->group, false);
        json_member(&out, "type", t->type, false);
        json_member(&out, "description", t->description, false);
        buf_printf(&out, ",\"derived\":%s,\"on\":[", t->derived ? "true" : "false");
        const char *comma = "";
        for (size_t e = 0; e < c->events_count; e++) {
            if (!t->on[e]) continue;
            buf_add(&out, slice_str(comma));
            buf_json(&out, c->events[e].name);
            comma = ",";
        }
        buf_add(&out, S("]}"));
    }
    buf_add(&out, S("]}"));
    return flush(&out);
}

// Which events carry the tag, in a few words.
static struct slice carried_by(const struct catalog *c, const struct catalog_tag *t, char *out,
                               size_t size) {
    size_t on = 0, calls = 0, all_calls = 0;
    struct slice only = S("");
    for (size_t e = 0; e < c->events_count; e++) {
        bool call = slice_starts(c->events[e].name, S("call."));
        all_calls += call;
        if (!t->on[e]) continue;
        on++;
        calls += call;
        only = c->events[e].name;
    }
    if (on == c->events_count) return S("every event");
    if (calls == all_calls && on == calls) return S("call.*");
    if (on == 1) return only;
    int n = snprintf(out, size, "%zu of %zu events", on, c->events_count);
    return slice(out, (size_t)n);
}

static int tags_as_text(const struct catalog *c, struct slice pattern) {
    struct columns columns = columns_for(STDOUT_FILENO);
    size_t name = 0, type = 0, on = 0;
    char text[64];
    for (size_t i = 0; i < c->tags_count; i++) {
        name = wider(name, c->tags[i].name);
        type = wider(type, c->tags[i].type);
        on = wider(on, carried_by(c, &c->tags[i], text, sizeof text));
    }
    for (size_t i = 0; i < c->tags_count; i++) {
        const struct catalog_tag *t = &c->tags[i];
        if (!catalog_tag_on(c, t, pattern)) continue;
        print_name(&columns, t->name, name);
        print_cell(&columns, t->type, type);
        print_cell(&columns, carried_by(c, t, text, sizeof text), on);
        print_cell(&columns, t->description, 0);
        printf("%s\n", t->derived ? " (derived)" : "");
    }
    return EXIT_OK;
}

int cmd_tags(int argc, char **argv) {
    bool json = false;
    const struct cli_flag flags[] = { { "json", NULL, "a JSON document", CLI_SWITCH, &json } };
    const struct cli_command command = {
        .name = "tags",
        .usage = "[TYPE|PATTERN] [--json]",
        .summary = "Lists the tags, all of them or those that an event can carry.",
        .details =
            "Derived tags are filled in by the engine when an event lacks them. Custom tags need\n"
            "no entry; one in tuma.conf.lua makes them known to `tuma check`.",
        .flags = flags,
        .flags_count = 1,
        .settings = true,
    };
    return run(&command, &json, argc, argv, tags_as_json, tags_as_text);
}
