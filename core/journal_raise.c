// Operational events: the engine's own troubles, stored and matched like any
// event, in the transaction that causes them. A webhook that listens to one
// never causes it, or an alert that fails would alert for ever.
#include <stdlib.h>

#include "buf.h"
#include "journal_inner.h"
#include "log.h"

enum { RAISED_MAX = 8 * 1024 };

static bool listens(const struct hook *hook, struct slice type) {
    for (size_t i = 0; hook && i < hook->on_count; i++)
        if (event_type_matches(hook->on[i], type)) return true;
    return false;
}

static void begin(struct buf *json, const char *type, struct slice org) {
    buf_init(json, RAISED_MAX);
    buf_add(json, S("{\"type\":"));
    buf_json(json, slice_str(type));
    if (org.n) {
        buf_add(json, S(",\"org\":"));
        buf_json(json, org);
    }
    buf_add(json, S(",\"tags\":{"));
}

static void tag(struct buf *json, const char *name, struct slice value) {
    if (json->n && json->p[json->n - 1] != '{') buf_byte(json, ',');
    buf_json(json, slice_str(name));
    buf_byte(json, ':');
    buf_json(json, value.n > 1024 ? slice(value.p, 1024) : value);
}

static void tag_number(struct buf *json, const char *name, int64_t value) {
    buf_printf(json, "%s\"%s\":%lld", json->p[json->n - 1] == '{' ? "" : ",", name,
               (long long)value);
}

// Stores it with this batch. What cannot be said for want of memory stands in
// the log already.
static void finish(struct journal *j, struct batch *batch, struct buf *json) {
    struct fail fail;
    buf_add(json, S("}}"));
    struct intake *intake = json->failed ? NULL : intake_new(NULL, 1);
    struct event *event = intake ? event_read(buf_slice(json), batch->wall_ms, &fail) : NULL;
    buf_deinit(json);
    if (event && intake_add(intake, event, j->hooks)) {
        list_push(&batch->raised, &intake->message.link);
        return;
    }
    event_unref(event);
    intake_free(intake);
    log_line(LOG_ERROR, "operational event not raised", NULL);
}

void raise_exhausted(struct journal *j, struct batch *batch, const struct job *job) {
    struct buf json;
    if (!job->event || listens(job->hook, S("webhook.exhausted"))) return;
    begin(&json, "webhook.exhausted", job->event->org);
    tag(&json, "webhook", job->hook->name);
    tag(&json, "delivery", slice_str(job->webhook_id));
    tag(&json, "failed_event", job->event->type);
    tag(&json, "failed_event_id", job->event->id);
    tag_number(&json, "attempts", job->attempt);
    tag_number(&json, "last_status", job->record.status);
    tag(&json, "last_error", slice_str(job->record.error));
    finish(j, batch, &json);
}

void raise_webhook(struct journal *j, struct batch *batch, const char *type,
                   const struct webhook *w, const struct hook *hook) {
    struct buf json;
    if (listens(hook, slice_str(type))) return;
    begin(&json, type, hook ? hook->org : S(""));
    tag(&json, "webhook", w->name);
    tag(&json, "version", slice_str(w->status.version));
    tag(&json, "reason", slice_str(w->status.reason));
    finish(j, batch, &json);
}

void raise_low_space(struct journal *j, struct batch *batch) {
    struct buf json;
    if (j->low_space || !intake_space_is_low(j)) return;
    j->low_space = batch->said_low = true; // said once, until there is plenty again
    log_line(LOG_WARN, "disk space is low", NULL);
    begin(&json, "store.low_space", S(""));
    tag_number(&json, "bytes_left", (int64_t)j->space_left);
    finish(j, batch, &json);
}
