// Lists of webhooks and scripts: the registry's files, the states in the store, the
// counters of script calls.
#include "api_read_inner.h"
#include "map.h"

struct gather {
    struct arena *arena;
    struct file_row **end;
};

static struct slice keep(struct arena *arena, struct slice s) {
    return s.n ? arena_dup(arena, s) : s;
}

static void on_file(void *user, const struct registry_file *file) {
    struct gather *gather = user;
    struct file_row *row = arena_zalloc(gather->arena, 1, sizeof *row);
    if (!row) return;
    row->name = keep(gather->arena, file->name);
    row->file = keep(gather->arena, file->file);
    row->version = keep(gather->arena, file->version);
    row->error = keep(gather->arena, file->error);
    row->live = file->hook != NULL;
    row->stages = file->hook ? file->hook->stages : 0;
    row->loaded_ms = file->loaded_ms;
    row->state = file->hook ? "active" : "broken";
    *gather->end = row;
    gather->end = &row->next;
}

static void gather_files(struct api *api, struct gather *gather) {
    if (api->opts.registry) {
        registry_each(api->opts.registry, on_file, gather);
        return;
    }
    for (size_t i = 0; api->hooks && i < api->hooks->count; i++) {
        const struct hook *hook = api->hooks->hooks[i];
        const struct registry_file file = {
            .name = hook->name, .file = hook->file, .version = hook->version, .hook = hook
        };
        on_file(gather, &file);
    }
}

struct states {
    struct map rows;
    struct arena *arena;
    struct file_row **end;
};

static void on_state(void *user, const struct store_hook *hook) {
    static const char *const names[] = { "active", "disabled", "paused", "quarantined", "removed" };
    struct states *states = user;
    struct file_row *row = map_get(&states->rows, hook->name);
    if (!row) {
        row = arena_zalloc(states->arena, 1, sizeof *row);
        if (!row) return;
        row->name = keep(states->arena, hook->name);
        *states->end = row;
        states->end = &row->next;
        row->state = "removed";
    }
    if (hook->state != HOOK_ACTIVE) row->state = names[hook->state];
    row->reason = keep(states->arena, hook->reason);
    row->since_ms = hook->since_ms;
}

// States are kept in the store; a webhook whose file is gone has only its row there.
static void gather_states(struct read *read) {
    struct states states = { .arena = read->arena, .end = &read->rows };
    map_init(&states.rows);
    for (struct file_row *row = read->rows; row; row = row->next) {
        map_put(&states.rows, row->name, row);
        states.end = &row->next;
    }
    store_reader_hooks(read->api->reader, on_state, &states, &read->fail);
    map_deinit(&states.rows);
}

static void add_head(struct read *read, const struct file_row *row) {
    buf_add(&read->out, read->count++ ? S(",{\"name\":") : S("{\"name\":"));
    buf_json(&read->out, row->name);
    api_add_text(&read->out, "state", slice_str(row->state));
    if (row->version.n) api_add_text(&read->out, "version", row->version);
    if (row->reason.n) api_add_text(&read->out, "reason", row->reason);
    if (row->error.n) api_add_text(&read->out, "error", row->error);
    api_add_time(&read->out, "since", row->since_ms);
}

static void run_webhooks(struct read *read) {
    gather_states(read);
    buf_add(&read->out, S("{\"webhooks\":["));
    for (const struct file_row *row = read->rows; row; row = row->next) {
        add_head(read, row);
        buf_byte(&read->out, '}');
    }
    buf_add(&read->out, S("]}"));
}

void api_get_webhooks(struct api *api, struct exchange *exchange, const struct slice *parts) {
    (void)parts;
    struct read *read = api_read_new(api, exchange, run_webhooks);
    if (!read) return;
    struct gather gather = { exchange->arena, &read->rows };
    gather_files(api, &gather);
    api_read_start(read);
}

static void add_stages(struct buf *out, unsigned stages) {
    static const char *const names[] = { "filter", "tags", "transform", "response", "exhausted" };
    bool any = false;
    buf_add(out, S(",\"stages\":["));
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (!(stages & 1u << i)) continue;
        buf_printf(out, "%s\"%s\"", any ? "," : "", names[i]);
        any = true;
    }
    buf_byte(out, ']');
}

// Walking the counters holds their lock, so they are only copied meanwhile.
struct counted {
    struct map rows;
    struct arena *arena;
};

static void on_stats(void *user, const struct script_stats *stats) {
    struct counted *counted = user;
    struct file_row *row = map_get(&counted->rows, stats->hook);
    if (row) row->stats = arena_alloc(counted->arena, sizeof *stats);
    if (!row || !row->stats) return;
    *row->stats = *stats;
    if (!stats->last_error) return;
    struct slice error = slice((const char *)stats->last_error, sizeof *stats->last_error);
    row->stats->last_error = (const void *)arena_dup(counted->arena, error).p;
}

static void gather_stats(struct file_row *rows, struct arena *arena) {
    struct counted counted = { .arena = arena };
    map_init(&counted.rows);
    for (struct file_row *row = rows; row; row = row->next) map_put(&counted.rows, row->name, row);
    script_stats_each(on_stats, &counted);
    map_deinit(&counted.rows);
}

static void add_last_error(struct buf *out, const struct script_error *error) {
    api_add_text(out, "last_error", slice_str(error->text));
    buf_printf(out, ",\"last_error_count\":%llu", (unsigned long long)error->count);
    api_add_text(out, "last_error_stage", slice_str(error->stage));
    api_add_text(out, "last_error_version", slice_str(error->version));
    api_add_text(out, "last_error_event", slice_str(error->event));
    api_add_time(out, "last_error_at", error->at_ms);
    buf_printf(out, ",\"last_error_cpu_ms\":%.3f,\"last_error_memory_peak\":%zu",
               (double)error->cpu_ns / 1e6, error->memory_peak);
}

static void add_stats(struct buf *out, const struct script_stats *stats) {
    if (!stats) return;
    buf_printf(out,
               ",\"calls\":%llu,\"errors\":%llu,\"timeouts\":%llu,\"kills\":%llu,\"cpu_ms\":%.3f,"
               "\"memory_peak\":%zu",
               (unsigned long long)stats->calls, (unsigned long long)stats->errors,
               (unsigned long long)stats->timeouts, (unsigned long long)stats->kills,
               (double)stats->cpu_ns / 1e6, stats->memory_peak);
    if (stats->last_error) add_last_error(out, stats->last_error);
}

static void run_scripts(struct read *read) {
    gather_states(read);
    buf_add(&read->out, S("{\"scripts\":["));
    for (const struct file_row *row = read->rows; row; row = row->next) {
        if (!row->file.n) continue; // removed
        add_head(read, row);
        api_add_text(&read->out, "file", row->file);
        buf_printf(&read->out, ",\"live\":%s", row->live ? "true" : "false");
        add_stages(&read->out, row->stages);
        api_add_time(&read->out, "loaded", row->loaded_ms);
        add_stats(&read->out, row->stats);
        buf_byte(&read->out, '}');
    }
    buf_add(&read->out, S("]}"));
}

void api_get_scripts(struct api *api, struct exchange *exchange, const struct slice *parts) {
    (void)parts;
    struct read *read = api_read_new(api, exchange, run_scripts);
    if (!read) return;
    struct gather gather = { exchange->arena, &read->rows };
    gather_files(api, &gather);
    gather_stats(read->rows, exchange->arena);
    api_read_start(read);
}
