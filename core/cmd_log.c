// tuma log, show, redeliver, drop: what became of deliveries, and what a
// person does about it. Reading goes to the store; changes go through the
// running engine, which is the only writer.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "client.h"
#include "clock.h"
#include "commands.h"
#include "request.h"
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

// "msg_" + 8 characters of the store + number, or the number alone.
static bool parse_delivery(const char *text, int64_t *delivery) {
    char *end;
    struct slice s = slice_str(text);
    if (slice_starts(s, S("msg_")) && s.n > 12) s = slice_from(s, 12);
    *delivery = strtoll(s.p, &end, 10);
    return end > s.p && !*end && *delivery > 0;
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

// --- show ---

struct shower {
    struct arena arena;
    struct buf out;
    bool json, found;
    unsigned attempts;
};

static void add_member(struct buf *out, const char *key, struct slice value) {
    buf_printf(out, ",\"%s\":", key);
    buf_json(out, value);
}

static void add_request(struct shower *s, struct slice packed) {
    struct request r;
    if (!packed.n || !request_unpack(packed, &r, &s->arena)) return;
    if (s->json) {
        buf_add(&s->out, S(",\"request\":{\"method\":"));
        buf_json(&s->out, r.method);
        add_member(&s->out, "url", request_mask(r.url, &s->arena));
        buf_add(&s->out, S(",\"headers\":["));
        for (size_t i = 0; i < r.headers_count; i++) {
            buf_add(&s->out, i ? S(",[") : S("["));
            buf_json(&s->out, r.headers[i].name);
            buf_byte(&s->out, ',');
            buf_json(&s->out, request_mask(r.headers[i].value, &s->arena));
            buf_byte(&s->out, ']');
        }
        buf_byte(&s->out, ']');
        add_member(&s->out, "body", request_mask(r.body, &s->arena));
        buf_byte(&s->out, '}');
        return;
    }
    buf_printf(&s->out, "\n%.*s %.*s\n", SLICE_FMT(r.method),
               SLICE_FMT(request_mask(r.url, &s->arena)));
    for (size_t i = 0; i < r.headers_count; i++)
        buf_printf(&s->out, "%.*s: %.*s\n", SLICE_FMT(r.headers[i].name),
                   SLICE_FMT(request_mask(r.headers[i].value, &s->arena)));
    buf_printf(&s->out, "\n%.*s\n", SLICE_FMT(request_mask(r.body, &s->arena)));
}

// A text of several lines under one label.
static void add_lines(struct shower *s, const char *label, struct slice text) {
    for (; text.n; label = "          ") {
        size_t end = slice_find(text, '\n');
        buf_printf(&s->out, "%s%.*s\n", label, (int)end, text.p);
        text = slice_from(text, end + 1);
    }
}

static bool on_shown(void *user, const struct store_delivery *d) {
    struct shower *s = user;
    char created[CLOCK_TEXT];
    s->found = true;
    clock_format(d->created_ms, created);
    if (s->json) {
        buf_printf(&s->out, "{\"id\":%lld,\"created\":\"%s\",\"state\":\"%s\",\"attempts_made\":%u",
                   (long long)d->delivery, created, delivery_state_names[d->state], d->attempts);
        add_member(&s->out, "webhook", d->hook);
        add_member(&s->out, "version", d->version);
        add_member(&s->out, "event", d->event_id);
        add_member(&s->out, "type", d->type);
        add_member(&s->out, "reason", d->reason);
        add_member(&s->out, "unresolved", d->unresolved);
    } else {
        buf_printf(
            &s->out,
            "delivery  %lld (%s)\nwebhook   %.*s, version %.*s\nevent     %.*s, %.*s\ncreated   %s\n",
            (long long)d->delivery, delivery_state_names[d->state], SLICE_FMT(d->hook),
            SLICE_FMT(d->version), SLICE_FMT(d->event_id), SLICE_FMT(d->type), created);
        add_lines(s, "reason    ", d->reason);
        if (d->unresolved.n) buf_printf(&s->out, "no value  %.*s\n", SLICE_FMT(d->unresolved));
    }
    add_request(s, d->request);
    return true;
}

static bool on_attempt(void *user, const struct attempt *a) {
    struct shower *s = user;
    char time[CLOCK_TEXT];
    clock_format(a->started_ms, time);
    if (s->json) {
        buf_printf(&s->out,
                   "%s{\"number\":%u,\"started\":\"%s\",\"status\":%d,\"response_incomplete\":%s",
                   s->attempts++ ? "," : ",\"attempts\":[", a->number, time, a->status,
                   a->response_incomplete ? "true" : "false");
        buf_printf(
            &s->out,
            ",\"dns_us\":%d,\"connect_us\":%d,\"tls_us\":%d,\"first_byte_us\":%d,\"total_us\":%d",
            a->dns_us, a->connect_us, a->tls_us, a->first_byte_us, a->total_us);
        add_member(&s->out, "error_type", slice_str(a->error_type));
        add_member(&s->out, "error", slice_str(a->error));
        add_member(&s->out, "sent_headers", a->sent_headers);
        add_member(&s->out, "response_headers", a->response_headers);
        add_member(&s->out, "response_body", a->response_body);
        buf_byte(&s->out, '}');
        return true;
    }
    s->attempts++;
    buf_printf(&s->out, "\nattempt %u at %s: ", a->number, time);
    if (a->status) buf_printf(&s->out, "status %d ", a->status);
    if (a->error[0]) buf_printf(&s->out, "%s (%s) ", a->error, a->error_type);
    buf_printf(&s->out, "in %.1f ms (dns %.1f, connect %.1f, tls %.1f, first byte %.1f)\n",
               a->total_us / 1e3, a->dns_us / 1e3, a->connect_us / 1e3, a->tls_us / 1e3,
               a->first_byte_us / 1e3);
    if (a->sent_headers.n) buf_printf(&s->out, "%.*s", SLICE_FMT(a->sent_headers));
    if (a->response_headers.n) buf_printf(&s->out, "\n%.*s", SLICE_FMT(a->response_headers));
    if (a->response_body.n) buf_printf(&s->out, "\n%.*s\n", SLICE_FMT(a->response_body));
    return true;
}

// Text for a terminal: an answer's control bytes would draw on the screen (S35).
static void print_safely(struct slice text) {
    for (size_t i = 0; i < text.n; i++) {
        unsigned char c = (unsigned char)text.p[i];
        if ((c < 0x20 && c != '\n' && c != '\t') || c == 0x7F)
            c == '\r' ? 0 : printf("\\x%02x", c);
        else
            putchar(c);
    }
}

static int show(struct store_reader *reader, const char *id, bool json) {
    struct fail fail = { 0 };
    struct store_filter filter = { 0 };
    struct shower s = { .json = json };
    int status = EXIT_OK;
    if (!parse_delivery(id, &filter.delivery))
        return cli_say(EXIT_USAGE, "\"%s\" is no delivery id", id);
    arena_init(&s.arena, 32 * 1024 * 1024);
    buf_init(&s.out, 64 * 1024 * 1024);
    if (store_reader_list(reader, &filter, 1, on_shown, &s, NULL, &fail) != OK ||
        store_reader_attempts(reader, filter.delivery, on_attempt, &s, &fail) != OK)
        status = cli_fail(EXIT_STORE, &fail);
    else if (!s.found)
        status = cli_say(EXIT_FINDINGS, "there is no delivery %s", id);
    else if (json)
        buf_add(&s.out, s.attempts ? S("]}\n") : S(",\"attempts\":[]}\n")), cli_print(&s.out);
    else
        print_safely(buf_slice(&s.out));
    arena_deinit(&s.arena);
    buf_deinit(&s.out);
    return status;
}

int cmd_show(int argc, char **argv) {
    static struct config config;
    bool json = false;
    const struct cli_flag flags[] = { { "json", NULL, "as a JSON object", CLI_SWITCH, &json } };
    const struct cli_command command = {
        .name = "show",
        .usage = "ID [--json]",
        .flags = flags,
        .flags_count = 1,
        .settings = true,
        .summary =
            "Shows a delivery: the request as sent (secrets masked), and every attempt with its answer and timings."
    };
    char **rest;
    int count, status = cli_parse(&command, &config, argc, argv, &rest, &count);
    if (status >= 0) return status;
    if (count != 1) return cli_say(EXIT_USAGE, "show takes one delivery ID");
    struct fail fail = { 0 };
    struct store_reader *reader = store_reader_open(config.data, &fail);
    if (!reader) return cli_fail(EXIT_STORE, &fail);
    status = show(reader, rest[0], json);
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
        if (!parse_delivery(ids[i], &delivery))
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
