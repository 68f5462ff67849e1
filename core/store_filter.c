// Finds the deliveries that a store_filter means, a bounded piece at a time. What
// an index serves stands in WHERE; the rest is a column that says hit or miss, so
// that a filter with few hits among millions comes back after some thousands
// with the place where it stands. Only what the filter asks for enters the text,
// always as a bound parameter; the few numbers that stand in the text (states)
// are ours, because a partial index serves literal conditions only.
#include <stdio.h>

#include "buf.h"
#include "store_inner.h"

static void bind_int(sqlite3_stmt *stmt, const char *name, int64_t v) {
    int at = sqlite3_bind_parameter_index(stmt, name);
    if (at) sqlite3_bind_int64(stmt, at, v);
}

static void bind_text(sqlite3_stmt *stmt, const char *name, struct slice s) {
    int at = sqlite3_bind_parameter_index(stmt, name);
    if (at) sqlite3_bind_text64(stmt, at, s.n ? s.p : "", s.n, SQLITE_STATIC, SQLITE_UTF8);
}

static bool type_is_prefix(struct slice type) {
    return slice_ends(type, S(".*"));
}

// The state that an index may be asked for: the only one, and of those that have an index.
static int indexed_state(const struct scan *scan) {
    const struct store_filter *f = scan->filter;
    if (f->delivery || f->event_id.n || !f->states || (f->states & (f->states - 1))) return -1;
    int state = __builtin_ctz(f->states);
    if (state == DELIVERY_EXHAUSTED || state == DELIVERY_PARKED) return state;
    return scan_restarts(scan) ? state : -1; // that index is not in order of numbers
}

bool scan_restarts(const struct scan *scan) {
    const struct store_filter *f = scan->filter;
    bool indexed = f->states == 1u << DELIVERY_PENDING || f->states == 1u << DELIVERY_EXHAUSTED ||
                   f->states == 1u << DELIVERY_PARKED;
    return scan->upward && indexed && f->hook && !f->delivery && !f->event_id.n && !f->type.n &&
           !f->org.n && !f->text.n && !f->from_ms && !f->to_ms;
}

static void add_states(struct buf *sql, unsigned states) {
    buf_printf(sql, " AND d.state IN (-1");
    for (int state = 0; state < 32; state++)
        if (states & 1u << state) buf_printf(sql, ", %d", state);
    buf_printf(sql, ")");
}

// What makes a row a hit. CASE tries these from the left and stops at the first
// that does not hold: cheap ones first, the event's row is looked up last.
static void add_hit(struct buf *sql, const struct scan *scan) {
    const struct store_filter *f = scan->filter;
    bool prefix = type_is_prefix(f->type), of_event = f->type.n || (f->org.n && !f->event_id.n);
    buf_printf(sql, "CASE WHEN 1");
    if (f->states && indexed_state(scan) < 0) add_states(sql, f->states);
    if (scan->skip_state >= 0) buf_printf(sql, " AND d.state <> %d", scan->skip_state);
    if (f->hook) buf_add(sql, S(" AND d.hook = :hook"));
    if (f->from_ms) buf_add(sql, S(" AND d.created_ms >= :from"));
    if (f->to_ms) buf_add(sql, S(" AND d.created_ms < :to"));
    if (f->text.n)
        buf_add(sql, S(" AND (instr(lower(d.reason), lower(:text)) > 0"
                       " OR instr(lower(d.last_error), lower(:text)) > 0)"));
    if (of_event)
        buf_add(sql, S(" AND EXISTS (SELECT 1 FROM event x WHERE x.number = d.number / 100000"));
    if (f->type.n)
        buf_add(sql, prefix ? S(" AND substr(x.type, 1, length(:type)) = :type")
                            : S(" AND x.type = :type"));
    if (f->org.n && !f->event_id.n) buf_add(sql, S(" AND x.org = :org"));
    if (of_event) buf_byte(sql, ')');
    buf_add(sql, S(" THEN 1 ELSE 0 END"));
}

static void add_rows(struct buf *sql, const struct scan *scan) {
    const struct store_filter *f = scan->filter;
    int state = indexed_state(scan);
    // CROSS JOIN keeps the order written: from the event when its id is known.
    if (f->event_id.n)
        buf_add(sql, S(" FROM event e CROSS JOIN delivery d"
                       " ON d.number BETWEEN e.number * 100000 AND e.number * 100000 + 99999"));
    else
        buf_add(sql, state < 0 ? S(" FROM delivery d NOT INDEXED") : S(" FROM delivery d"));
    buf_add(sql, S(" WHERE 1"));
    if (f->event_id.n) buf_add(sql, S(" AND e.id = :event"));
    if (f->event_id.n && f->org.n) buf_add(sql, S(" AND e.org = :org"));
    if (f->delivery) buf_add(sql, S(" AND d.number = :delivery"));
    if (f->before_delivery) buf_add(sql, S(" AND d.number < :before"));
    if (f->after_delivery) buf_add(sql, S(" AND d.number > :after"));
    if (state >= 0) buf_printf(sql, " AND d.state = %d", state);
    if (state >= 0 && f->hook) buf_add(sql, S(" AND d.hook = :hook"));
}

void scan_text(const struct scan *scan, struct buf *sql) {
    buf_add(sql, S("SELECT d.number, "));
    add_hit(sql, scan);
    add_rows(sql, scan);
    if (!scan_restarts(scan))
        buf_add(sql, scan->upward ? S(" ORDER BY d.number") : S(" ORDER BY d.number DESC"));
}

static void bind_filter(sqlite3_stmt *stmt, const struct store_filter *f) {
    struct slice type = f->type;
    if (type_is_prefix(type)) type.n--; // keeps the dot
    bind_int(stmt, ":hook", f->hook);
    bind_int(stmt, ":delivery", f->delivery);
    bind_int(stmt, ":before", f->before_delivery);
    bind_int(stmt, ":after", f->after_delivery);
    bind_int(stmt, ":from", f->from_ms);
    bind_int(stmt, ":to", f->to_ms);
    bind_text(stmt, ":event", f->event_id);
    bind_text(stmt, ":org", f->org);
    bind_text(stmt, ":type", type);
    bind_text(stmt, ":text", f->text);
}

static int prepare(struct sql *sql, const struct scan *scan, sqlite3_stmt **stmt) {
    struct buf text;
    buf_init(&text, 16 * 1024);
    scan_text(scan, &text);
    int rc =
        text.failed ? SQLITE_NOMEM : sqlite3_prepare_v2(sql->db, text.p, (int)text.n, stmt, NULL);
    buf_deinit(&text);
    if (*stmt) bind_filter(*stmt, scan->filter);
    return rc;
}

int scan_run(struct sql *sql, struct scan *scan) {
    sqlite3_stmt *stmt = NULL;
    size_t hits = 0, misses = 0;
    scan->more = false;
    int rc = prepare(sql, scan, &stmt);
    if (rc != SQLITE_OK) return rc;
    struct query q = { .stmt = stmt };
    for (bool on = true; on && query_step(&q);) {
        // There is a row behind the last one that was let in.
        if (hits == scan->limit || misses == scan->misses_max) {
            scan->more = true;
            break;
        }
        scan->last = query_get_int(&q);
        bool hit = query_get_int(&q) != 0;
        hits += hit;
        misses += !hit;
        if (hit) on = scan->hit(scan->user, scan->last);
    }
    sqlite3_finalize(stmt);
    return q.rc;
}
