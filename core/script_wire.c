// Frames, written and read. Both sides run the same binary, so there are no
// versions and no optional fields.
#include "script_wire.h"

#include <string.h>

enum { HEAD_BYTES = 5 };

// --- framing ---

static size_t begin(struct buf *out, enum wire_kind kind) {
    size_t start = out->n;
    buf_u32(out, 0);
    buf_u8(out, (uint8_t)kind);
    return start;
}

static void end(struct buf *out, size_t start) {
    if (out->failed) return;
    uint32_t n = (uint32_t)(out->n - start - HEAD_BYTES);
    for (size_t i = 0; i < 4; i++) out->p[start + i] = (char)(n >> (8 * i));
}

enum wire_kind wire_next(struct slice *in, struct slice *body) {
    if (in->n < HEAD_BYTES) return WIRE_NONE;
    struct slice head = *in;
    uint32_t n = take_u32(&head);
    uint8_t kind = take_u8(&head);
    if (n > WIRE_FRAME_MAX || kind == WIRE_NONE || kind >= WIRE_KINDS) {
        *in = slice(NULL, 0);
        return WIRE_NONE;
    }
    if (head.n < n) return WIRE_NONE;
    *body = slice(head.p, n);
    *in = slice(head.p + n, head.n - n);
    return (enum wire_kind)kind;
}

static bool all_taken(struct slice rest) {
    return rest.p && rest.n == 0;
}

// --- parts ---

static void put_kv(struct buf *out, const struct script_kv *kv) {
    for (; kv; kv = kv->next) {
        buf_u8(out, 1);
        buf_blob(out, kv->key);
        buf_blob(out, kv->value);
        buf_u64(out, (uint64_t)kv->expires_ms);
    }
    buf_u8(out, 0);
}

static bool take_kv(struct slice *from, struct script_kv **list, struct arena *arena) {
    struct script_kv **tail = list;
    *list = NULL;
    while (take_u8(from) == 1) {
        struct script_kv *kv = arena_zalloc(arena, 1, sizeof *kv);
        if (!kv) return false;
        kv->key = take_blob(from);
        kv->value = take_blob(from);
        kv->expires_ms = (int64_t)take_u64(from);
        *tail = kv;
        tail = &kv->next;
    }
    return from->p != NULL;
}

static void put_text(struct buf *out, const char *text) {
    buf_blob(out, slice_str(text));
}

static void take_text(struct slice *from, char *text, size_t room) {
    struct slice s = take_blob(from);
    size_t n = s.n < room ? s.n : room - 1;
    if (n) memcpy(text, s.p, n);
    text[n] = '\0';
}

static void put_attempt(struct buf *out, const struct attempt *attempt) {
    buf_u32(out, attempt->number);
    buf_u64(out, (uint64_t)attempt->started_ms);
    buf_u32(out, (uint32_t)attempt->status);
    buf_u8(out, (uint8_t)attempt->verdict);
    put_text(out, attempt->error_type);
    put_text(out, attempt->error);
    buf_blob(out, attempt->response_headers);
    buf_blob(out, attempt->response_body);
    buf_u32(out, (uint32_t)attempt->total_us);
    buf_u64(out, (uint64_t)attempt->retry_after_ms);
}

static void take_attempt(struct slice *from, struct attempt *attempt) {
    attempt->number = take_u32(from);
    attempt->started_ms = (int64_t)take_u64(from);
    attempt->status = (int)take_u32(from);
    attempt->verdict = (enum verdict)take_u8(from);
    take_text(from, attempt->error_type, sizeof attempt->error_type);
    take_text(from, attempt->error, sizeof attempt->error);
    attempt->response_headers = take_blob(from);
    attempt->response_body = take_blob(from);
    attempt->total_us = (int32_t)take_u32(from);
    attempt->retry_after_ms = (int64_t)take_u64(from);
}

static void put_request(struct buf *out, const struct request *request) {
    size_t start = out->n;
    buf_u32(out, 0);
    request_pack(request, out);
    if (out->failed) return;
    uint32_t n = (uint32_t)(out->n - start - 4);
    for (size_t i = 0; i < 4; i++) out->p[start + i] = (char)(n >> (8 * i));
}

// --- to the child ---

void wire_put_hello(struct buf *out, const struct wire_hello *hello) {
    size_t start = begin(out, WIRE_HELLO);
    buf_u64(out, (uint64_t)hello->soft_ms);
    buf_u64(out, (uint64_t)hello->load_ms);
    buf_u64(out, hello->memory_max);
    buf_u64(out, hello->parent);
    buf_u8(out, hello->slow);
    end(out, start);
}

bool wire_take_hello(struct slice body, struct wire_hello *hello) {
    hello->soft_ms = (int64_t)take_u64(&body);
    hello->load_ms = (int64_t)take_u64(&body);
    hello->memory_max = take_u64(&body);
    hello->parent = take_u64(&body);
    hello->slow = take_u8(&body) != 0;
    return all_taken(body);
}

void wire_put_load(struct buf *out, const struct wire_load *load) {
    size_t start = begin(out, WIRE_LOAD);
    buf_u64(out, load->serial);
    buf_u32(out, load->hook);
    buf_blob(out, load->name);
    buf_blob(out, load->file);
    buf_blob(out, load->version);
    buf_blob(out, load->source);
    buf_blob(out, load->description);
    buf_u32(out, (uint32_t)load->secrets_count);
    for (size_t i = 0; i < load->secrets_count; i++) {
        buf_blob(out, load->secrets[i].name);
        buf_blob(out, load->secrets[i].value);
    }
    put_kv(out, load->kv);
    end(out, start);
}

bool wire_take_load(struct slice body, struct wire_load *load, struct arena *arena) {
    load->serial = take_u64(&body);
    load->hook = take_u32(&body);
    load->name = take_blob(&body);
    load->file = take_blob(&body);
    load->version = take_blob(&body);
    load->source = take_blob(&body);
    load->description = take_blob(&body);
    load->secrets_count = take_u32(&body);
    if (!body.p || load->secrets_count > body.n) return false;
    load->secrets = arena_zalloc(arena, load->secrets_count + 1, sizeof *load->secrets);
    if (!load->secrets) return false;
    for (size_t i = 0; i < load->secrets_count; i++) {
        load->secrets[i].name = take_blob(&body);
        load->secrets[i].value = take_blob(&body);
    }
    return take_kv(&body, &load->kv, arena) && all_taken(body);
}

void wire_put_drop(struct buf *out, uint32_t hook) {
    size_t start = begin(out, WIRE_DROP);
    buf_u32(out, hook);
    end(out, start);
}

bool wire_take_drop(struct slice body, uint32_t *hook) {
    *hook = take_u32(&body);
    return all_taken(body);
}

void wire_put_call(struct buf *out, const struct wire_call *call) {
    size_t start = begin(out, WIRE_CALL);
    buf_u64(out, call->serial);
    buf_u32(out, call->hook);
    buf_u8(out, (uint8_t)call->kind);
    buf_blob(out, call->event_id);
    buf_blob(out, call->event_type);
    buf_blob(out, call->event_org);
    buf_u64(out, (uint64_t)call->event_time_ms);
    buf_blob(out, call->event_trace);
    buf_blob(out, call->event_json);
    buf_blob(out, call->delivery_id);
    buf_u32(out, call->attempt);
    buf_u8(out, call->has_response);
    if (call->has_response) put_attempt(out, &call->response);
    end(out, start);
}

bool wire_take_call(struct slice body, struct wire_call *call) {
    call->serial = take_u64(&body);
    call->hook = take_u32(&body);
    call->kind = (enum script_call_kind)take_u8(&body);
    call->event_id = take_blob(&body);
    call->event_type = take_blob(&body);
    call->event_org = take_blob(&body);
    call->event_time_ms = (int64_t)take_u64(&body);
    call->event_trace = take_blob(&body);
    call->event_json = take_blob(&body);
    call->delivery_id = take_blob(&body);
    call->attempt = take_u32(&body);
    call->has_response = take_u8(&body) != 0;
    call->response = (struct attempt){ .retry_after_ms = -1 };
    if (call->has_response) take_attempt(&body, &call->response);
    return all_taken(body) && call->kind <= SCRIPT_EXHAUSTED;
}

void wire_put_describe(struct buf *out, const struct wire_describe *describe) {
    size_t start = begin(out, WIRE_DESCRIBE);
    buf_u64(out, describe->serial);
    buf_blob(out, describe->file);
    buf_blob(out, describe->source);
    end(out, start);
}

bool wire_take_describe(struct slice body, struct wire_describe *describe) {
    describe->serial = take_u64(&body);
    describe->file = take_blob(&body);
    describe->source = take_blob(&body);
    return all_taken(body);
}

void wire_put_test(struct buf *out, enum wire_kind kind, const struct wire_test *test) {
    size_t start = begin(out, kind);
    buf_u64(out, test->serial);
    buf_u32(out, test->hook);
    buf_blob(out, test->file);
    buf_blob(out, test->source);
    buf_blob(out, test->tests);
    buf_u64(out, (uint64_t)test->budget_ms);
    end(out, start);
}

bool wire_take_test(struct slice body, struct wire_test *test) {
    test->serial = take_u64(&body);
    test->hook = take_u32(&body);
    test->file = take_blob(&body);
    test->source = take_blob(&body);
    test->tests = take_blob(&body);
    test->budget_ms = (int64_t)take_u64(&body);
    return all_taken(body);
}

// --- to the parent ---

void wire_put_done(struct buf *out, const struct wire_done *done) {
    size_t start = begin(out, WIRE_DONE);
    buf_u64(out, done->serial);
    buf_u8(out, (uint8_t)done->outcome);
    buf_u8(out, done->over_budget);
    buf_u8(out, done->exhausted);
    buf_u8(out, done->slow);
    buf_u8(out, done->bounced);
    buf_u32(out, (uint32_t)done->requests_count);
    for (size_t i = 0; i < done->requests_count; i++) put_request(out, &done->requests[i]);
    buf_blob(out, done->unresolved);
    buf_blob(out, done->reason);
    buf_blob(out, done->error);
    buf_blob(out, done->error_stage);
    buf_u8(out, (uint8_t)done->verdict);
    buf_u8(out, done->verdict_given);
    buf_u64(out, (uint64_t)done->retry_after_ms);
    put_kv(out, done->changes);
    buf_u64(out, (uint64_t)done->cpu_ns);
    buf_u64(out, done->memory);
    buf_u64(out, done->memory_peak);
    end(out, start);
}

static bool take_requests(struct slice *from, struct wire_done *done, struct arena *arena) {
    done->requests_count = take_u32(from);
    if (done->requests_count > WIRE_REQUESTS_MAX) return false;
    done->requests = arena_zalloc(arena, done->requests_count + 1, sizeof *done->requests);
    if (!done->requests) return false;
    for (size_t i = 0; i < done->requests_count; i++) {
        struct slice packed = take_blob(from);
        if (!from->p || !request_unpack(packed, &done->requests[i], arena)) return false;
    }
    return true;
}

bool wire_take_done(struct slice body, struct wire_done *done, struct arena *arena) {
    done->serial = take_u64(&body);
    done->outcome = (enum script_outcome)take_u8(&body);
    done->over_budget = take_u8(&body) != 0;
    done->exhausted = take_u8(&body) != 0;
    done->slow = take_u8(&body) != 0;
    done->bounced = take_u8(&body) != 0;
    if (!take_requests(&body, done, arena)) return false;
    done->unresolved = take_blob(&body);
    done->reason = take_blob(&body);
    done->error = take_blob(&body);
    done->error_stage = take_blob(&body);
    done->verdict = (enum verdict)take_u8(&body);
    done->verdict_given = take_u8(&body) != 0;
    done->retry_after_ms = (int64_t)take_u64(&body);
    if (!take_kv(&body, &done->changes, arena)) return false;
    done->cpu_ns = (int64_t)take_u64(&body);
    done->memory = take_u64(&body);
    done->memory_peak = take_u64(&body);
    return all_taken(body) && done->outcome < SCRIPT_GONE && done->verdict <= VERDICT_LOCAL;
}

void wire_put_described(struct buf *out, const struct wire_described *described) {
    size_t start = begin(out, WIRE_DESCRIBED);
    buf_u64(out, described->serial);
    buf_u8(out, described->ok);
    buf_blob(out, described->description);
    buf_blob(out, described->error);
    buf_u32(out, described->line);
    end(out, start);
}

bool wire_take_described(struct slice body, struct wire_described *described) {
    described->serial = take_u64(&body);
    described->ok = take_u8(&body) != 0;
    described->description = take_blob(&body);
    described->error = take_blob(&body);
    described->line = take_u32(&body);
    return all_taken(body);
}

void wire_put_tested(struct buf *out, const struct wire_tested *tested) {
    size_t start = begin(out, WIRE_TESTED);
    buf_u64(out, tested->serial);
    buf_u8(out, tested->ok);
    buf_blob(out, tested->report);
    end(out, start);
}

bool wire_take_tested(struct slice body, struct wire_tested *tested) {
    tested->serial = take_u64(&body);
    tested->ok = take_u8(&body) != 0;
    tested->report = take_blob(&body);
    return all_taken(body);
}

void wire_put_log(struct buf *out, const struct wire_log *log) {
    size_t start = begin(out, WIRE_LOG);
    buf_u64(out, log->serial);
    buf_u8(out, log->level);
    buf_blob(out, log->line);
    end(out, start);
}

bool wire_take_log(struct slice body, struct wire_log *log) {
    log->serial = take_u64(&body);
    log->level = take_u8(&body);
    log->line = take_blob(&body);
    return all_taken(body);
}

// --- joined sources ---

struct slice wire_source_main(struct slice joined) {
    return slice(joined.p, slice_find(joined, '\0'));
}

bool wire_source_lib(struct slice joined, struct slice name, struct slice *source) {
    size_t at = slice_find(joined, '\0');
    while (at < joined.n) {
        struct slice rest = slice_from(joined, at + 1);
        struct slice this = slice(rest.p, slice_find(rest, '\0'));
        rest = slice_from(rest, this.n + 1);
        *source = slice(rest.p, slice_find(rest, '\0'));
        if (slice_eq(this, name)) return true;
        at = (size_t)(source->p - joined.p) + source->n;
    }
    return false;
}

// --- where a script may send to ---

static struct slice authority_of(struct slice url) {
    const char *mark = url.n ? memmem(url.p, url.n, "://", 3) : NULL;
    if (!mark) return slice("", 0);
    size_t n = (size_t)(mark - url.p) + 3;
    while (n < url.n && !strchr("/?#", url.p[n])) n++;
    return slice(url.p, n);
}

// Does the authority end there, in the source: by a path, a quote, a bracket, a blank?
static bool ends_there(struct slice rest) {
    return !rest.n || (rest.p[0] != '\0' && strchr("/?#\"' \t\n])", rest.p[0]) != NULL);
}

struct slice wire_authority(const struct hook *hook, struct slice url) {
    struct slice authority = authority_of(url), source = hook->source;
    const char *hit;
    if (!authority.n || slice_eq(authority, hook->url_authority)) return hook->url_authority;
    while (source.n && (hit = memmem(source.p, source.n, authority.p, authority.n)) != NULL) {
        source = slice_from(source, (size_t)(hit - source.p) + authority.n);
        if (ends_there(source)) return authority;
    }
    return hook->url_authority;
}
