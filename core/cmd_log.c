// tuma log, redeliver, drop: what became of deliveries, and what a person does
// about it (`tuma show` is in cmd_log_show.c). Reading goes to the store; changes
// go through the running engine, which is the only writer.
#include <stdio.h>
#include <string.h>

#include "cli.h"
#include "client.h"
#include "clock.h"
#include "commands.h"
#include "store.h"

// The flags that choose deliveries, shared by log, redeliver and drop.
struct choice {
    const char *webhook, *state, *event, *type, *org, *text;
    int64_t since_ms, until_ms, limit, before;
    bool json, all;
};

#define CHOICE_FLAGS(c)                                                                            \
    { "webhook", "NAME", "only this webhook's", CLI_TEXT, &(c).webhook },                          \
        { "state", "STATE", "pending, delivered, exhausted, parked, filtered, dropped", CLI_TEXT,  \
          &(c).state },                                                                            \
        { "event", "ID", "only this event's", CLI_TEXT, &(c).event },                              \
        { "type", "TYPE", "only of this event type", CLI_TEXT, &(c).type },                        \
        { "org", "ORG", "only this organization's", CLI_TEXT, &(c).org },                          \
        { "search", "TEXT", "only with this text in reason or error", CLI_TEXT, &(c).text },       \
        { "since", "AGO", "made at most this long ago (1h, 2d)", CLI_SECONDS, &(c).since_ms }, {   \
        "until", "AGO", "made at least this long ago", CLI_SECONDS, &(c).until_ms                  \
    }

static bool parse_state(const char *text, unsigned *states) {
    for (unsigned i = 0; text && i < DELIVERY_STATES; i++) {
        if (strcmp(text, delivery_state_names[i]) != 0) continue;
        *states = 1u << i;
        return true;
    }
    return !text;
}

// -1 to go on, else the exit status.
static int make_filter(const struct choice *c, struct store_reader *reader,
                       struct store_filter *filter) {
    struct fail fail = { 0 };
    int64_t now = clock_wall_ms();
    if (!parse_state(c->state, &filter->states))
        return cli_say(EXIT_USAGE, "there is no state \"%s\"", c->state);
    filter->type = slice_str(c->type);
    filter->org = slice_str(c->org);
    filter->event_id = slice_str(c->event);
    filter->text = slice_str(c->text);
    filter->before_delivery = c->before;
    if (c->since_ms) filter->from_ms = now - c->since_ms;
    if (c->until_ms) filter->to_ms = now - c->until_ms;
    if (!c->webhook) return -1;
    if (store_reader_hook_number(reader, slice_str(c->webhook), &filter->hook, &fail) != OK)
        return cli_fail(EXIT_STORE, &fail);
    if (!filter->hook)
        return cli_say(EXIT_FINDINGS, "the store knows no webhook \"%s\"", c->webhook);
    return -1;
}

// --- log ---

struct lister {
    struct choice choice;
    size_t shown;
};

static void print_json(const struct store_delivery *d) {
    struct buf out;
    char time[CLOCK_TEXT];
    const struct {
        const char *key;
        struct slice value;
    } texts[] = {
        { "event", d->event_id },   { "type", d->type },
        { "org", d->org },          { "webhook", d->hook },
        { "version", d->version },  { "reason", d->reason },
        { "error", d->last_error }, { "unresolved", d->unresolved },
    };
    buf_init(&out, 1024 * 1024);
    clock_format(d->created_ms, time);
    buf_printf(
        &out, "{\"id\":%lld,\"created\":\"%s\",\"state\":\"%s\",\"attempts\":%u,\"status\":%d",
        (long long)d->delivery, time, delivery_state_names[d->state], d->attempts, d->last_status);
    if (d->state == DELIVERY_PENDING) {
        clock_format(d->due_ms, time);
        buf_printf(&out, ",\"due\":\"%s\"", time);
    }
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        buf_printf(&out, ",\"%s\":", texts[i].key);
        buf_json(&out, texts[i].value);
    }
    buf_add(&out, S("}\n"));
    cli_print(&out);
    buf_deinit(&out);
}

static bool on_delivery(void *user, const struct store_delivery *d) {
    struct lister *l = user;
    char time[CLOCK_TEXT];
    struct slice why = d->reason.n ? d->reason : d->last_error; // a traceback is for `tuma show`
    l->shown++;
    if (l->choice.json) {
        print_json(d);
        return true;
    }
    clock_format(d->created_ms, time);
    printf("%lld  %.19s  %-9s  %3d  %u  %-20.*s  %-24.*s  %.*s%s%.*s\n", (long long)d->delivery,
           time, delivery_state_names[d->state], d->last_status, d->attempts, SLICE_FMT(d->hook),
           SLICE_FMT(d->type), SLICE_FMT(d->event_id), why.n ? "  " : "",
           (int)slice_find(why, '\n'), why.p);
    return true;
}

// Page after page: a search with few hits takes as many reads as the store is long.
static int list(struct store_reader *reader, struct store_filter *filter, struct lister *l) {
    struct fail fail = { 0 };
    size_t limit = (size_t)l->choice.limit;
    do {
        if (store_reader_list(reader, filter, limit - l->shown, on_delivery, l,
                              &filter->before_delivery, &fail) != OK)
            return cli_fail(EXIT_STORE, &fail);
    } while (filter->before_delivery && l->shown < limit);
    return EXIT_OK;
}

int cmd_log(int argc, char **argv) {
    static struct config config;
    static struct lister l = { .choice = { .limit = 50 } };
    const struct cli_flag flags[] = {
        CHOICE_FLAGS(l.choice),
        { "limit", "N", "at most so many, newest first (50)", CLI_INT, &l.choice.limit },
        { "before", "ID", "only older than this delivery: the next page", CLI_INT,
          &l.choice.before },
        { "json", NULL, "one JSON object a line", CLI_SWITCH, &l.choice.json }
    };
    const struct cli_command command = {
        .name = "log",
        .usage = "[--webhook NAME] [--state STATE] …",
        .flags = flags,
        .flags_count = sizeof flags / sizeof *flags,
        .settings = true,
        .summary =
            "Lists deliveries, newest first: id, time, state, last status, attempts, webhook, type, event."
    };
    char **rest;
    int count, status = cli_parse(&command, &config, argc, argv, &rest, &count);
    if (status >= 0) return status;
    if (count)
        return cli_say(EXIT_USAGE, "log takes flags only; `tuma show ID` shows one delivery");
    struct fail fail = { 0 };
    struct store_filter filter = { 0 };
    struct store_reader *reader = store_reader_open(config.data, &fail);
    if (!reader) return cli_fail(EXIT_STORE, &fail);
    status = make_filter(&l.choice, reader, &filter);
    if (status < 0) status = list(reader, &filter, &l);
    store_reader_close(reader);
    config_deinit(&config);
    return status;
}

// --- redeliver, drop ---

static void add_text(struct buf *body, const char *key, const char *value) {
    if (!value) return;
    buf_printf(body, "%s\"%s\":", body->n > 1 ? "," : "", key);
    buf_json(body, slice_str(value));
}

static void add_time(struct buf *body, const char *key, int64_t ago_ms) {
    if (ago_ms)
        buf_printf(body, "%s\"%s\":%lld", body->n > 1 ? "," : "", key,
                   (long long)(clock_wall_ms() - ago_ms));
}

static int post(struct client *client, const char *path, struct slice body) {
    struct fail fail = { 0 };
    struct buf answer;
    int http = 0;
    buf_init(&answer, 1024 * 1024);
    enum err err =
        client_request(client, "POST", path, "application/json", body, &http, &answer, &fail);
    if (err == OK && http >= 300) client_problem(http, buf_slice(&answer), &fail);
    int status = fail.code == OK ? EXIT_OK : cli_fail(EXIT_ENGINE, &fail);
    if (status == EXIT_OK && answer.n) printf("%.*s\n", SLICE_FMT(buf_slice(&answer)));
    buf_deinit(&answer);
    return status;
}

static int post_ids(struct client *client, const char *verb, char **ids, int count) {
    int status = EXIT_OK;
    for (int i = 0; i < count && status == EXIT_OK; i++) {
        int64_t delivery;
        char path[96];
        if (!delivery_number(slice_str(ids[i]), &delivery))
            return cli_say(EXIT_USAGE, "\"%s\" is no delivery id", ids[i]);
        snprintf(path, sizeof path, "/v1/deliveries/%lld/%s", (long long)delivery, verb);
        status = post(client, path, S("{}"));
    }
    return status;
}

static int post_filter(struct client *client, const char *verb, const struct choice *c) {
    struct buf body;
    char path[32];
    buf_init(&body, 64 * 1024);
    buf_byte(&body, '{');
    add_text(&body, "webhook", c->webhook);
    add_text(&body, "state", c->state);
    add_text(&body, "event", c->event);
    add_text(&body, "type", c->type);
    add_text(&body, "org", c->org);
    add_text(&body, "text", c->text);
    add_time(&body, "from_ms", c->since_ms);
    add_time(&body, "to_ms", c->until_ms);
    bool chosen = body.n > 1;
    buf_byte(&body, '}');
    snprintf(path, sizeof path, "/v1/%s", verb);
    int status =
        chosen || c->all
            ? post(client, path, buf_slice(&body))
            : cli_say(EXIT_USAGE, "%s takes delivery ids, flags that choose, or --all", verb);
    buf_deinit(&body);
    return status;
}

static int change(int argc, char **argv, const char *verb, const char *summary) {
    static struct config config;
    static struct choice choice;
    const struct cli_flag flags[] = { CHOICE_FLAGS(choice),
                                      { "all", NULL, "everything that can be chosen", CLI_SWITCH,
                                        &choice.all } };
    const struct cli_command command = {
        .name = verb,
        .usage = "ID… | --webhook NAME --state STATE …",
        .flags = flags,
        .flags_count = sizeof flags / sizeof *flags,
        .settings = true,
        .summary = summary,
        .details = "Talks to the running engine over the control socket in the data directory."
    };
    char **rest;
    unsigned states;
    int count, status = cli_parse(&command, &config, argc, argv, &rest, &count);
    if (status >= 0) return status;
    if (!parse_state(choice.state, &states))
        return cli_say(EXIT_USAGE, "there is no state \"%s\"", choice.state);
    struct fail fail = { 0 };
    struct client *client = client_open(&config, NULL, NULL, &fail);
    if (!client) return cli_fail(EXIT_ENGINE, &fail);
    status = count ? post_ids(client, verb, rest, count) : post_filter(client, verb, &choice);
    client_close(client);
    config_deinit(&config);
    return status;
}

int cmd_redeliver(int argc, char **argv) {
    return change(argc, argv, "redeliver",
                  "Sends deliveries again, paced so that live traffic goes first.");
}

int cmd_drop(int argc, char **argv) {
    return change(argc, argv, "drop", "Discards deliveries that are pending, parked or exhausted.");
}
