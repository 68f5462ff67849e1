// What a question costs: every statement's plan, and searches with few hits
// among many rows, which must come back after a bounded look.
// floor: store
#include "store_fixture.h"
#include "store_inner.h"

enum { ROWS = 200000 };

// --- Plans ---

// SQLite's plan of a statement, its lines joined.
static const char *plan(sqlite3 *db, const char *sql) {
    static char text[4096];
    sqlite3_stmt *stmt = NULL;
    struct buf explain;
    buf_init(&explain, 64 * 1024);
    buf_printf(&explain, "EXPLAIN QUERY PLAN %s", sql);
    CHECK_INT(sqlite3_prepare_v2(db, explain.p, (int)explain.n, &stmt, NULL), SQLITE_OK);
    text[0] = '\0';
    while (stmt && sqlite3_step(stmt) == SQLITE_ROW) {
        size_t n = strlen(text);
        snprintf(text + n, sizeof text - n, "%s; ", (const char *)sqlite3_column_text(stmt, 3));
    }
    sqlite3_finalize(stmt);
    buf_deinit(&explain);
    return text;
}

static bool walks_a_large_table(const char *text) {
    static const char *const walks[] = { "SCAN d", "SCAN e", "SCAN request", "SCAN attempt",
                                         "TEMP B-TREE" };
    for (size_t i = 0; i < sizeof walks / sizeof walks[0]; i++)
        if (strstr(text, walks[i])) return true;
    return false;
}

// These look at everything on purpose: counting at a start and for `tuma run`,
// the newest events by number, of which LIMIT takes a few, and the few versions
// of scripts and tokens.
static bool may_walk(enum sql_name name) {
    return name == SQL_PENDING_HOOKS || name == SQL_COUNTS || name == SQL_EVENT_COUNT ||
           name == SQL_EVENTS || name == SQL_OLD_SOURCE || name == SQL_TOKENS;
}

static void no_fixed_statement_walks_a_large_table(void) {
    static const char *const texts[] = {
#define TEXT(name, text) text,
        STORE_STATEMENTS(TEXT)
#undef TEXT
    };
    start();
    sqlite3 *db;
    char path[STORE_PATH];
    CHECK_INT(store_path(dir, "tuma.db", path, &fail), OK);
    CHECK_INT(sqlite3_open(path, &db), SQLITE_OK);
    for (int i = 0; i < SQL_COUNT; i++) {
        if (strncmp(texts[i], "PRAGMA", 6) == 0 || may_walk((enum sql_name)i)) continue;
        const char *got = plan(db, texts[i]);
        if (walks_a_large_table(got)) printf("# %s\n#   %s\n", texts[i], got);
        CHECK(!walks_a_large_table(got));
    }
    CHECK(walks_a_large_table(plan(db, "SELECT * FROM delivery WHERE reason = 'x'")));
    sqlite3_close(db);
    finish();
}

// Every combination of what a filter can ask for, both ways.
static void check_filter_plan(sqlite3 *db, unsigned asked, unsigned states, bool upward) {
    struct store_filter filter = {
        .hook = asked & 1,
        .delivery = asked >> 1 & 1,
        .before_delivery = asked >> 2 & 1,
        .after_delivery = upward && asked & 4,
        .from_ms = asked >> 3 & 1,
        .event_id = asked & 16 ? S("e") : S(""),
        .org = asked & 32 ? S("o") : S(""),
        .type = asked & 64 ? S("call.*") : S(""),
        .text = asked & 128 ? S("x") : S(""),
        .states = states,
    };
    struct scan scan = { .filter = &filter, .upward = upward, .skip_state = -1 };
    struct buf sql;
    buf_init(&sql, 16 * 1024);
    scan_text(&scan, &sql);
    buf_byte(&sql, '\0');
    const char *got = plan(db, sql.p);
    // A walk in the order of numbers may stop anywhere; sorting would see all rows first. One
    // event's deliveries may be sorted.
    bool in_order = strstr(got, "SCAN d;") || strstr(got, "SEARCH d ");
    bool sorts = strstr(got, "TEMP B-TREE") && !filter.event_id.n;
    if (!in_order || sorts || strstr(got, "SCAN e") || strstr(got, "SCAN x"))
        printf("# %s\n#   %s\n", sql.p, got);
    CHECK(in_order && !sorts && !strstr(got, "SCAN e") && !strstr(got, "SCAN x"));
    bool held = states == 1u << DELIVERY_EXHAUSTED || states == 1u << DELIVERY_PARKED;
    bool by_index = strstr(got, "INDEX delivery_");
    if (held && !filter.delivery && !filter.event_id.n) {
        if (!by_index) printf("# %s\n#   %s\n", sql.p, got);
        CHECK(by_index);
    }
    buf_deinit(&sql);
}

static void every_search_can_stop_anywhere(void) {
    start();
    sqlite3 *db;
    char path[STORE_PATH];
    CHECK_INT(store_path(dir, "tuma.db", path, &fail), OK);
    CHECK_INT(sqlite3_open(path, &db), SQLITE_OK);
    for (unsigned asked = 0; asked < 256; asked++)
        for (unsigned state = 0; state <= DELIVERY_STATES + 1; state++) {
            unsigned states = state <= DELIVERY_STATES ? (1u << state) >> 1 : 12;
            check_filter_plan(db, asked, states, false);
            check_filter_plan(db, asked, states, true);
        }
    sqlite3_close(db);
    finish();
}

// --- Many rows ---

// ROWS deliveries of one webhook, of events with as many as they may have.
static int64_t fill(enum delivery_state state) {
    int64_t hook = hook_number("big");
    struct store_target *targets = calloc(STORE_FANOUT_MAX - 1, sizeof *targets);
    for (size_t at = 0; at < ROWS;) {
        size_t count = ROWS - at < STORE_FANOUT_MAX - 1 ? ROWS - at : STORE_FANOUT_MAX - 1;
        char id[24];
        snprintf(id, sizeof id, "e%zu", at);
        struct event event = make_event(id);
        for (size_t i = 0; i < count; i++)
            targets[i] = (struct store_target){ .hook = hook, .state = state };
        enum store_put result;
        int64_t number;
        begin();
        CHECK_INT(store_put_event(store, &event, targets, count, &result, &number, &fail), OK);
        commit();
        at += count;
    }
    free(targets);
    return hook;
}

static bool count_one(void *user, const struct store_delivery *d) {
    (void)d;
    ++*(size_t *)user;
    return true;
}

// Pages until the end; *found of them all.
static size_t pages(struct store_filter filter, size_t limit, size_t *found) {
    size_t count = 0;
    struct store_reader *r = store_reader_open(dir, &fail);
    *found = 0;
    do {
        int64_t before = filter.before_delivery;
        CHECK_INT(
            store_reader_list(r, &filter, limit, count_one, found, &filter.before_delivery, &fail),
            OK);
        CHECK(!before || filter.before_delivery < before);
        count++;
    } while (filter.before_delivery);
    store_reader_close(r);
    return count;
}

static void a_search_among_many_comes_back_after_a_bounded_look(void) {
    size_t found;
    start();
    fill(DELIVERY_PARKED);
    int64_t odd = put_alone("odd", hook_number("other"), 1);
    settle(odd, DELIVERY_EXHAUSTED, "no such account", 5);
    size_t each = ROWS / LIST_MISSES_MAX;
    CHECK_INT(pages((struct store_filter){ .text = S("nothing says this") }, 50, &found), each + 1);
    CHECK_INT(found, 0);
    CHECK_INT(pages((struct store_filter){ .text = S("NO SUCH") }, 50, &found), each);
    CHECK_INT(found, 1);
    CHECK_INT(pages((struct store_filter){ .type = S("visit.*") }, 50, &found), each + 1);
    CHECK_INT(found, 0);
    // Where an index holds the hits alone, nothing is looked at in vain.
    CHECK_INT(pages((struct store_filter){ .states = 1u << DELIVERY_EXHAUSTED }, 50, &found), 1);
    CHECK_INT(found, 1);
    CHECK_INT(pages((struct store_filter){ .states = 1u << DELIVERY_PARKED }, 100000, &found), 2);
    CHECK_INT(found, ROWS);
    finish();
}

// Moves to the end: how many calls it took.
static size_t moves(struct store_filter filter, enum delivery_state to, size_t limit,
                    size_t *moved) {
    const struct store_change change = { .to = to, .reason = S("moved") };
    size_t calls = 0, now;
    bool more = true;
    for (*moved = 0; more; calls++, *moved += now) {
        begin();
        CHECK_INT(store_move(store, &filter, &change, limit, &now, &more, &fail), OK);
        commit();
        CHECK(now <= limit);
    }
    return calls;
}

static void a_move_with_few_hits_among_many_takes_bounded_steps(void) {
    size_t moved;
    start();
    int64_t hook = fill(DELIVERY_PENDING);
    struct store_filter none = { .hook = hook, .states = 1, .text = S("nothing says this") };
    CHECK_INT(moves(none, DELIVERY_DROPPED, 250, &moved), ROWS / MOVE_MISSES_MAX);
    CHECK_INT(moved, 0);
    struct store_filter all = { .hook = hook, .states = 1 };
    CHECK_INT(moves(all, DELIVERY_PARKED, ROWS / 10, &moved), 10);
    CHECK_INT(moved, ROWS);
    // Back with a condition that no index knows: each row is looked at once.
    struct store_filter text = { .hook = hook, .states = 1 << DELIVERY_PARKED, .text = S("MOVED") };
    CHECK_INT(moves(text, DELIVERY_DROPPED, ROWS / 10, &moved), 10);
    CHECK_INT(moved, ROWS);
    finish();
}

static const struct check_case cases[] = {
    { "store: no fixed statement walks a large table", no_fixed_statement_walks_a_large_table },
    { "store: every search can stop anywhere", every_search_can_stop_anywhere },
    { "store: a search among many comes back after a bounded look",
      a_search_among_many_comes_back_after_a_bounded_look },
    { "store: a move with few hits among many takes bounded steps",
      a_move_with_few_hits_among_many_takes_bounded_steps },
};
CHECK_MAIN(cases)
