// POST /v1/events: from the request's bytes to one message for the journal.
// Every item is read on its own, so one broken event harms no other; what the
// journal is not asked about is answered from its entry.
#include "api_inner.h"

#include "clock.h"
#include "event.h"
#include "json.h"

enum kind { KIND_JSON, KIND_NDJSON, KIND_CLOUD, KIND_CLOUD_BATCH, KIND_CLOUD_BINARY, KIND_OTHER };

// What the request says about all its events.
struct terms {
    enum kind kind;
    struct slice trace, key;
    uint8_t hops;
    int64_t now_ms;
};

static void refuse(struct exchange *exchange, int status, enum err code, const char *type,
                   const char *header, const char *text) {
    struct fail fail = { 0 };
    fail_set(&fail, code, 0, type, "%s", text);
    if (header) fail_path(&fail, "header:%s", header);
    api_refuse(exchange, status, &fail, (struct header){ 0 });
}

// --- the headers ---

// The media type without parameters. False when a charset is not UTF-8.
static bool media_type(struct slice value, struct slice *type) {
    size_t end = slice_find(value, ';');
    *type = slice_trim(slice(value.p, end));
    while (end < value.n) {
        value = slice_from(value, end + 1);
        end = slice_find(value, ';');
        struct slice parameter = slice_trim(slice(value.p, end)), charset = S("charset=");
        if (parameter.n < charset.n || !slice_ieq(slice(parameter.p, charset.n), charset)) continue;
        struct slice name = slice_from(parameter, charset.n);
        if (!slice_ieq(name, S("utf-8")) && !slice_ieq(name, S("\"utf-8\""))) return false;
    }
    return true;
}

static enum kind kind_of(const struct exchange *exchange) {
    static const struct {
        struct slice type;
        enum kind kind;
    } kinds[] = { { { "application/json", 16 }, KIND_JSON },
                  { { "application/x-ndjson", 20 }, KIND_NDJSON },
                  { { "application/ndjson", 18 }, KIND_NDJSON },
                  { { "application/cloudevents+json", 28 }, KIND_CLOUD },
                  { { "application/cloudevents-batch+json", 34 }, KIND_CLOUD_BATCH } };
    size_t count, binary;
    struct slice value = exchange_header(exchange, "content-type", &count), type;
    exchange_header(exchange, "ce-specversion", &binary);
    if (!count && binary && !exchange->body.n) return KIND_CLOUD_BINARY;
    if (count != 1 || !media_type(value, &type)) return KIND_OTHER;
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
        if (slice_ieq(type, kinds[i].type))
            return binary && kinds[i].kind == KIND_JSON ? KIND_CLOUD_BINARY : kinds[i].kind;
    return KIND_OTHER;
}

static bool is_lower_hex(struct slice s, bool *zero) {
    *zero = true;
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'))) return false;
        if (c != '0') *zero = false;
    }
    return true;
}

// A W3C traceparent of version 00; anything else is ignored, as its standard wants.
static bool trace_valid(struct slice trace) {
    bool zero, version, flags;
    if (trace.n != 55 || trace.p[2] != '-' || trace.p[35] != '-' || trace.p[52] != '-')
        return false;
    if (!is_lower_hex(slice(trace.p, 2), &version) || !version) return false;
    if (!is_lower_hex(slice(trace.p + 3, 32), &zero) || zero) return false;
    if (!is_lower_hex(slice(trace.p + 36, 16), &zero) || zero) return false;
    return is_lower_hex(slice(trace.p + 53, 2), &flags);
}

static bool read_hops(struct exchange *exchange, struct terms *terms) {
    size_t count;
    struct slice text = exchange_header(exchange, "webhook-hop", &count);
    if (!count) return true;
    unsigned hops = 0;
    bool good = count == 1 && text.n > 0;
    for (size_t i = 0; good && i < text.n; i++) {
        good = text.p[i] >= '0' && text.p[i] <= '9';
        if (hops <= HOPS_MAX) hops = hops * 10 + (unsigned)(text.p[i] - '0');
    }
    terms->hops = (uint8_t)(hops <= HOPS_MAX ? hops : HOPS_MAX + 1);
    if (!good)
        refuse(exchange, 400, ERR_INPUT, "bad_hop", "webhook-hop", "a number of hops belongs here");
    else if (hops > HOPS_MAX)
        refuse(exchange, 400, ERR_LIMIT, "webhook_loop", "webhook-hop",
               "this event went through too many webhooks: a loop");
    return good && hops <= HOPS_MAX;
}

static bool read_key(struct exchange *exchange, struct terms *terms) {
    size_t count;
    struct slice key = exchange_header(exchange, "idempotency-key", &count);
    if (!count) return true;
    if (key.n > 2 && key.p[0] == '"' && key.p[key.n - 1] == '"') key = slice(key.p + 1, key.n - 2);
    if (count == 1 && event_id_valid(key)) {
        terms->key = key;
        return true;
    }
    refuse(exchange, 400, ERR_INPUT, "bad_id", "idempotency-key",
           "1 to 128 letters, digits, _ and - belong here");
    return false;
}

static bool read_terms(struct exchange *exchange, struct terms *terms) {
    *terms = (struct terms){ .kind = kind_of(exchange), .now_ms = clock_wall_ms() };
    size_t encodings;
    struct slice encoding = exchange_header(exchange, "content-encoding", &encodings);
    if (terms->kind == KIND_OTHER) {
        refuse(exchange, 415, ERR_INPUT, "unsupported_media_type", "content-type",
               "application/json, application/x-ndjson, application/cloudevents+json or "
               "application/cloudevents-batch+json, in UTF-8");
        return false;
    }
    if (encodings && !slice_ieq(encoding, S("identity"))) {
        refuse(exchange, 415, ERR_INPUT, "unsupported_encoding", "content-encoding",
               "bodies are taken uncompressed");
        return false;
    }
    struct slice trace = exchange_header(exchange, "traceparent", NULL);
    if (trace_valid(trace)) terms->trace = trace;
    return read_hops(exchange, terms) && read_key(exchange, terms);
}

// --- the items ---

static bool add_entry(void *user, struct slice json, size_t offset) {
    struct ingest *ingest = user;
    ingest->entries[ingest->count++] = (struct entry){ .json = json, .offset = offset };
    return true;
}

static bool is_array(struct slice body) {
    size_t i = 0;
    while (i < body.n && strchr(" \t\r\n", body.p[i]) && body.p[i]) i++;
    return i < body.n && body.p[i] == '[';
}

// Cuts the body into entries. False with fail when it cannot be cut.
static bool cut(struct ingest *ingest, enum kind kind, struct fail *fail) {
    struct exchange *exchange = ingest->exchange;
    bool lines = kind == KIND_NDJSON;
    ingest->single = kind == KIND_CLOUD || kind == KIND_CLOUD_BINARY ||
                     (kind == KIND_JSON && !is_array(exchange->body));
    size_t room = ingest->single ? 1 : EVENT_BATCH_MAX;
    ingest->entries = arena_zalloc(exchange->arena, room, sizeof *ingest->entries);
    if (!ingest->entries) {
        fail_set(fail, ERR_NOMEM, 0, "no_memory", "out of memory");
        return false;
    }
    if (ingest->single) return add_entry(ingest, exchange->body, 0);
    if (kind == KIND_CLOUD_BATCH && !is_array(exchange->body)) {
        fail_set(fail, ERR_INPUT, 0, "invalid_json", "an array of CloudEvents belongs here");
        return false;
    }
    return event_split(exchange->body, lines ? EVENT_LAYOUT_NDJSON : EVENT_LAYOUT_JSON, add_entry,
                       ingest, fail) == OK;
}

// CloudEvents percent-encode header values (HTTP binding, section 3.1.3.2). p is NULL when absent.
static struct slice cloud_attribute(struct exchange *exchange, const char *name) {
    size_t count;
    struct slice value = exchange_header(exchange, name, &count);
    char *out = count ? arena_alloc(exchange->arena, value.n + 1) : NULL;
    if (!out) return slice(NULL, 0);
    size_t n = 0;
    for (size_t i = 0; i < value.n; i++) {
        unsigned code;
        char hex[3] = { 0 };
        if (value.p[i] == '%' && i + 2 < value.n) memcpy(hex, value.p + i + 1, 2);
        bool escape = hex[0] && strspn(hex, "0123456789abcdefABCDEF") == 2;
        if (escape) sscanf(hex, "%2x", &code);
        out[n++] = escape ? (char)code : value.p[i];
        i += escape ? 2 : 0;
    }
    return slice(out, n);
}

static struct event *read_binary(struct exchange *exchange, const struct terms *terms,
                                 struct fail *fail) {
    if (!slice_eq(exchange_header(exchange, "ce-specversion", NULL), S("1.0"))) {
        fail_set(fail, ERR_INPUT, 0, "bad_specversion", "only CloudEvents 1.0 are known");
        fail_path(fail, "header:ce-specversion");
        return NULL;
    }
    struct event_attributes attributes = { .id = cloud_attribute(exchange, "ce-id"),
                                           .type = cloud_attribute(exchange, "ce-type"),
                                           .org = cloud_attribute(exchange, "ce-org"),
                                           .time = cloud_attribute(exchange, "ce-time") };
    struct event *event = event_read_binary(&attributes, exchange->body, terms->now_ms, fail);
    if (event || !slice_starts(slice_str(fail->path), S("ce-"))) return event;
    char name[sizeof fail->path];
    memcpy(name, fail->path, sizeof name);
    fail_path(fail, "header:%s", name);
    return NULL;
}

static struct event *read_item(struct exchange *exchange, const struct terms *terms,
                               struct slice json, struct fail *fail) {
    if (terms->kind == KIND_CLOUD_BINARY) return read_binary(exchange, terms, fail);
    struct event *event = event_read(json, terms->now_ms, fail);
    bool cloud = terms->kind == KIND_CLOUD || terms->kind == KIND_CLOUD_BATCH;
    if (!event || !cloud || json_get(json_root(json), "specversion").type != JSON_NONE)
        return event;
    event_unref(event);
    fail_set(fail, ERR_INPUT, 0, "bad_specversion", "a CloudEvent names its specversion");
    fail_path(fail, "/specversion");
    return NULL;
}

// What the request's headers say about the event. Nobody shares it yet.
static bool stamp(struct event *event, const struct terms *terms) {
    event->hops = terms->hops;
    if (terms->trace.n && !event->trace.n) {
        event->trace = arena_dup(&event->arena, terms->trace);
        if (!event->trace.p) return false;
    }
    if (terms->key.n && !event->id_given) {
        event->id = arena_dup(&event->arena, terms->key);
        event->id_given = true;
    }
    return event->id.p != NULL;
}

static int status_of(const struct fail *fail) {
    if (fail->code == ERR_NOMEM) return 503;
    bool size = !strcmp(fail->type, "too_large") || !strcmp(fail->type, "too_many_events");
    return fail->code == ERR_LIMIT && size ? 413 : 400;
}

// Counts lines up to where the item's error is, going on from the last item's:
// a thousand errors cost one walk over the body.
struct place {
    size_t at, line_start;
    unsigned line;
};

static void find_place(struct place *place, struct slice body, struct fail *fail) {
    size_t end = fail->at < body.n ? fail->at : body.n;
    for (; place->at < end; place->at++) {
        if (body.p[place->at] != '\n') continue;
        place->line++;
        place->line_start = place->at + 1;
    }
    fail->line = place->line;
    fail->column = (unsigned)(end - place->line_start) + 1;
}

static void blame(struct ingest *ingest, struct entry *entry, struct fail *fail,
                  struct place *place) {
    fail->at += entry->offset;
    if (!slice_starts(slice_str(fail->path), S("header:")))
        find_place(place, ingest->exchange->body, fail);
    struct fail *kept = arena_alloc(ingest->exchange->arena, sizeof *kept);
    entry->status = status_of(fail);
    if (kept) *kept = *fail;
    entry->fail = kept;
}

static void read_entries(struct ingest *ingest, const struct terms *terms) {
    struct place place = { .line = 1 };
    for (size_t i = 0; i < ingest->count; i++) {
        struct entry *entry = &ingest->entries[i];
        struct fail fail = { 0 };
        struct event *event = read_item(ingest->exchange, terms, entry->json, &fail);
        if (event && stamp(event, terms) && intake_add(ingest->intake, event, ingest->api->hooks)) {
            entry->taken = true;
            continue;
        }
        if (event) fail_set(&fail, ERR_NOMEM, 0, "no_memory", "out of memory");
        event_unref(event);
        blame(ingest, entry, &fail, &place);
    }
}

// --- the request ---

static void refuse_body(struct exchange *exchange, struct fail *fail) {
    fail_place(fail, exchange->body.p, exchange->body.n);
    api_refuse(exchange, status_of(fail), fail, (struct header){ 0 });
}

static void send_intake(struct ingest *ingest) {
    struct api *api = ingest->api;
    ingest->intake->user = ingest;
    api->pending++;
    inbox_send(api->opts.journal, &ingest->intake->message);
}

void api_post_events(struct api *api, struct exchange *exchange, const struct slice *parts) {
    (void)parts;
    struct terms terms;
    struct fail fail = { 0 };
    if (!api->hooks || !api->ready) {
        fail_set(&fail, ERR_NOT_NOW, 0, "not_ready", "events are not taken yet");
        api_refuse(exchange, 503, &fail, api_retry_after(exchange, 1000));
        return;
    }
    if (!read_terms(exchange, &terms)) return;
    struct ingest *ingest = arena_zalloc(exchange->arena, 1, sizeof *ingest);
    if (!ingest) {
        api_say(exchange, 503, ERR_NOMEM, "no_memory", "out of memory");
        return;
    }
    *ingest = (struct ingest){ .api = api, .exchange = exchange };
    if (!cut(ingest, terms.kind, &fail)) {
        refuse_body(exchange, &fail);
        return;
    }
    if (terms.key.n && !ingest->single) {
        refuse(exchange, 400, ERR_INPUT, "key_on_batch", "idempotency-key",
               "in a batch each event has its own id");
        return;
    }
    ingest->intake = intake_new(&api->inbox, ingest->count);
    if (!ingest->intake) {
        api_say(exchange, 503, ERR_NOMEM, "no_memory", "out of memory");
        return;
    }
    read_entries(ingest, &terms);
    if (ingest->intake->count) {
        send_intake(ingest);
        return;
    }
    ingest_answer(ingest);
}
