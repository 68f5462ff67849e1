// What became of an ingest request, in HTTP's words.
#include "api_inner.h"

struct wording {
    int status;
    enum err code;
    const char *type, *text;
};

static const struct wording wordings[] = {
    [INTAKE_STORED] = { 202, OK, "", "" },
    [INTAKE_DUPLICATE] = { 200, OK, "", "" },
    [INTAKE_CONFLICT] = { 409, ERR_CONFLICT, "id_conflict", "another event has this id already" },
    [INTAKE_OVERLOAD] = { 429, ERR_LIMIT, "overloaded",
                          "too many deliveries are waiting; nothing was stored" },
    [INTAKE_FULL] = { 503, ERR_FULL, "storage_full", "no space is left; nothing was stored" },
    [INTAKE_UNKNOWN] = { 503, ERR_IO, "outcome_unknown",
                         "storing failed; send the same ids again to be sure" },
};

static bool refused_as_a_whole(enum intake_result result) {
    return result == INTAKE_OVERLOAD || result == INTAKE_FULL || result == INTAKE_UNKNOWN;
}

static void refuse(struct ingest *ingest, enum intake_result result) {
    const struct wording *w = &wordings[result];
    struct fail fail = { 0 };
    struct header retry = { 0 };
    if (refused_as_a_whole(result))
        retry = api_retry_after(ingest->exchange, ingest->intake->retry_after_ms);
    fail_set(&fail, w->code, 0, w->type, "%s", w->text);
    api_refuse(ingest->exchange, w->status, &fail, retry);
}

static void answer_single(struct ingest *ingest) {
    const struct entry *entry = &ingest->entries[0];
    if (!entry->taken) {
        struct fail fail = { 0 };
        fail_set(&fail, ERR_NOMEM, 0, "no_memory", "out of memory");
        api_refuse(ingest->exchange, entry->status, entry->fail ? entry->fail : &fail,
                   (struct header){ 0 });
        return;
    }
    const struct intake_item *item = &ingest->intake->items[0];
    if (wordings[item->result].code != OK) {
        refuse(ingest, item->result);
        return;
    }
    char text[EVENT_ID_MAX + 64]; // ids need no escaping
    int n = snprintf(text, sizeof text, "{\"id\":\"%.*s\"%s}", SLICE_FMT(item->event->id),
                     item->result == INTAKE_DUPLICATE ? ",\"duplicate\":true" : "");
    api_reply(ingest->exchange, wordings[item->result].status, slice(text, (size_t)n));
}

static void write_taken(struct buf *out, const struct intake_item *item, long index) {
    const struct wording *w = &wordings[item->result];
    struct fail fail = { 0 };
    buf_printf(out, "{\"id\":\"%.*s\",\"status\":%d", SLICE_FMT(item->event->id), w->status);
    if (w->code != OK) {
        fail_set(&fail, w->code, 0, w->type, "%s", w->text);
        buf_add(out, S(",\"problem\":"));
        http_problem_write(out, w->status, &fail, index);
    }
    buf_byte(out, '}');
}

static void write_refused(struct buf *out, const struct entry *entry, long index) {
    struct fail fail = { 0 };
    fail_set(&fail, ERR_NOMEM, 0, "no_memory", "out of memory");
    buf_printf(out, "{\"status\":%d,\"problem\":", entry->status);
    http_problem_write(out, entry->status, entry->fail ? entry->fail : &fail, index);
    buf_byte(out, '}');
}

static void answer_batch(struct ingest *ingest) {
    struct buf out;
    bool all_good = true;
    size_t next = 0;
    buf_init(&out, SIZE_MAX / 2);
    buf_add(&out, S("{\"results\":["));
    for (size_t i = 0; i < ingest->count; i++) {
        const struct entry *entry = &ingest->entries[i];
        if (i) buf_byte(&out, ',');
        if (!entry->taken) {
            write_refused(&out, entry, (long)i);
            all_good = false;
            continue;
        }
        const struct intake_item *item = &ingest->intake->items[next++];
        write_taken(&out, item, (long)i);
        if (wordings[item->result].code != OK) all_good = false;
    }
    buf_add(&out, S("]}"));
    if (out.failed)
        api_say(ingest->exchange, 503, ERR_NOMEM, "outcome_unknown", "no memory for the answer");
    else
        api_reply(ingest->exchange, all_good ? 202 : 207, buf_slice(&out));
    buf_deinit(&out);
}

void ingest_answer(struct ingest *ingest) {
    // The entries go with the exchange, the intake does not.
    struct intake *intake = ingest->intake;
    if (intake->count &&
        refused_as_a_whole(intake->items[0].result)) // the journal refuses all or none
        refuse(ingest, intake->items[0].result);
    else if (ingest->single)
        answer_single(ingest);
    else
        answer_batch(ingest);
    intake_free(intake);
}
