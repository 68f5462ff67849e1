// tuma show: one delivery whole: the request as sent, and every attempt.
#include <stdio.h>

#include "cli.h"
#include "clock.h"
#include "commands.h"
#include "request.h"
#include "store.h"

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

// How far it got, and when.
static void add_times(struct buf *out, const struct attempt *a) {
    const struct {
        const char *step;
        int32_t us;
    } steps[] = { { "dns", a->dns_us },
                  { "connect", a->connect_us },
                  { "tls", a->tls_us },
                  { "first byte", a->first_byte_us } };
    const char *before = " (";
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        if (steps[i].us < 0) continue;
        buf_printf(out, "%s%s %.1f", before, steps[i].step, steps[i].us / 1e3);
        before = ", ";
    }
    buf_add(out, *before == ',' ? S(")\n") : S("\n"));
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
    buf_printf(&s->out, "in %.1f ms", a->total_us / 1e3);
    add_times(&s->out, a);
    if (a->sent_headers.n) buf_printf(&s->out, "%.*s", SLICE_FMT(a->sent_headers));
    if (a->response_headers.n) buf_printf(&s->out, "\n%.*s", SLICE_FMT(a->response_headers));
    if (a->response_body.n) buf_printf(&s->out, "\n%.*s\n", SLICE_FMT(a->response_body));
    return true;
}

// Text for a terminal: an answer's control bytes would draw on the screen (S35).
static void print_safely(const struct buf *out) {
    struct slice text = buf_slice(out);
    if (out->failed) cli_print(out); // says so, and ends
    for (size_t i = 0; i < text.n; i++) {
        unsigned char c = (unsigned char)text.p[i];
        bool control = (c < 0x20 && c != '\n' && c != '\t') || c == 0x7F;
        if (!control)
            putchar(c);
        else if (c != '\r')
            printf("\\x%02x", c);
    }
}

static int show(struct store_reader *reader, const char *id, bool json) {
    struct fail fail = { 0 };
    struct store_filter filter = { 0 };
    struct shower s = { .json = json };
    int status = EXIT_OK;
    if (!delivery_number(slice_str(id), &filter.delivery))
        return cli_say(EXIT_USAGE, "\"%s\" is no delivery id", id);
    arena_init(&s.arena, 32 * 1024 * 1024);
    buf_init(&s.out, 64 * 1024 * 1024);
    if (store_reader_list(reader, &filter, 1, on_shown, &s, NULL, &fail) != OK ||
        store_reader_attempts(reader, filter.delivery, on_attempt, &s, &fail) != OK)
        status = cli_fail(EXIT_STORE, &fail);
    else if (!s.found)
        status = cli_say(EXIT_FINDINGS, "there is no delivery %s", id);
    else if (!json)
        print_safely(&s.out);
    else {
        buf_add(&s.out, s.attempts ? S("]}\n") : S(",\"attempts\":[]}\n"));
        cli_print(&s.out);
    }
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
