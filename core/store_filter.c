// Turns a store_filter into SQL. Only what the filter asks for enters the
// text, always as a bound parameter; the few numbers that stand in the text
// (states) are ours, because a partial index serves literal conditions only.
#include <stdio.h>

#include "buf.h"
#include "store_inner.h"

void filter_bind_int(sqlite3_stmt *stmt, const char *name, int64_t v) {
    int at = sqlite3_bind_parameter_index(stmt, name);
    if (at) sqlite3_bind_int64(stmt, at, v);
}

void filter_bind_text(sqlite3_stmt *stmt, const char *name, struct slice s) {
    int at = sqlite3_bind_parameter_index(stmt, name);
    if (at) sqlite3_bind_text64(stmt, at, s.n ? s.p : "", s.n, SQLITE_STATIC, SQLITE_UTF8);
}

static bool type_is_prefix(struct slice type) {
    return slice_ends(type, S(".*"));
}

// With several states a list; with one an equation, which a partial index understands.
static void add_states(struct buf *sql, unsigned states) {
    if ((states & (states - 1)) == 0) {
        buf_printf(sql, " AND d.state = %d", __builtin_ctz(states));
        return;
    }
    buf_printf(sql, " AND d.state IN (-1");
    for (int state = 0; state < 32; state++)
        if (states & 1u << state) buf_printf(sql, ", %d", state);
    buf_printf(sql, ")");
}

static void add_conditions(struct buf *sql, const struct store_filter *f) {
    const struct {
        bool asked;
        const char *text;
    } conditions[] = {
        { f->hook != 0, " AND d.hook = :hook" },
        { f->delivery != 0, " AND d.number = :delivery" },
        { f->before_delivery != 0, " AND d.number < :before" },
        { f->from_ms != 0, " AND d.created_ms >= :from" },
        { f->to_ms != 0, " AND d.created_ms < :to" },
        { f->event_id.n != 0, " AND e.id = :event" },
        { f->org.n != 0, " AND e.org = :org" },
        { f->type.n != 0 && !type_is_prefix(f->type), " AND e.type = :type" },
        { f->type.n != 0 && type_is_prefix(f->type),
          " AND substr(e.type, 1, length(:type)) = :type" },
        { f->text.n != 0, " AND (instr(lower(d.reason), lower(:text)) > 0"
                          " OR instr(lower(d.last_error), lower(:text)) > 0)" },
    };
    buf_printf(sql, " WHERE 1");
    for (size_t i = 0; i < sizeof conditions / sizeof conditions[0]; i++)
        if (conditions[i].asked) buf_add(sql, slice_str(conditions[i].text));
    if (f->states) add_states(sql, f->states);
}

static void add_tables(struct buf *sql, const struct store_filter *f, bool events) {
    // CROSS JOIN keeps the order written: from the event when its id is known.
    if (f->event_id.n)
        buf_printf(sql, " FROM event e CROSS JOIN delivery d"
                        " ON d.number BETWEEN e.number * 100000 AND e.number * 100000 + 99999");
    else if (events || f->type.n || f->org.n)
        buf_printf(sql, " FROM delivery d CROSS JOIN event e ON e.number = d.number / 100000");
    else
        buf_printf(sql, " FROM delivery d");
}

static void bind_filter(sqlite3_stmt *stmt, const struct store_filter *f) {
    struct slice type = f->type;
    if (type_is_prefix(type)) type.n--; // keeps the dot
    filter_bind_int(stmt, ":hook", f->hook);
    filter_bind_int(stmt, ":delivery", f->delivery);
    filter_bind_int(stmt, ":before", f->before_delivery);
    filter_bind_int(stmt, ":from", f->from_ms);
    filter_bind_int(stmt, ":to", f->to_ms);
    filter_bind_text(stmt, ":event", f->event_id);
    filter_bind_text(stmt, ":org", f->org);
    filter_bind_text(stmt, ":type", type);
    filter_bind_text(stmt, ":text", f->text);
}

sqlite3_stmt *filter_prepare(struct sql *sql, const char *head, const struct store_filter *filter,
                             bool events, const char *tail, int *rc) {
    struct buf text;
    buf_init(&text, 16 * 1024);
    buf_printf(&text, "%s", head);
    add_tables(&text, filter, events);
    add_conditions(&text, filter);
    buf_printf(&text, "%s", tail);
    sqlite3_stmt *stmt = NULL;
    *rc =
        text.failed ? SQLITE_NOMEM : sqlite3_prepare_v2(sql->db, text.p, (int)text.n, &stmt, NULL);
    buf_deinit(&text);
    if (stmt) bind_filter(stmt, filter);
    return stmt;
}
