// What the files of the store share: the schema, every fixed statement, and a
// thin query cursor over SQLite. Nothing outside the store includes this.
//
// Numbers carry relations, so that no index is needed for them: delivery k of
// event e has the number e * STORE_FANOUT_MAX + k, rises with time, and sits
// beside its siblings.
#ifndef TUMA_STORE_INNER_H
#define TUMA_STORE_INNER_H

#include <sqlite3.h>
#include <sys/stat.h>

#include "buf.h"
#include "store.h"

enum {
    STORE_SCHEMA = 1,               // PRAGMA user_version
    STORE_APPLICATION = 0x74756d61, // PRAGMA application_id: "tuma"
    STORE_PAGE = 8192,
    STORE_PATH = 1024,
};

// Every fixed statement, by name. Listings are built in store_filter.c.
#define STORE_STATEMENTS(X)                                                                         \
    X(BEGIN, "BEGIN IMMEDIATE")                                                                     \
    X(COMMIT, "COMMIT")                                                                             \
    X(ROLLBACK, "ROLLBACK")                                                                         \
    X(GET_META, "SELECT value FROM meta WHERE name = ?")                                            \
    X(PUT_META, "INSERT OR REPLACE INTO meta(name, value) VALUES(?, ?)")                            \
    X(LAST_EVENT, "SELECT max(number) FROM event")                                                  \
    X(PAGES, "PRAGMA page_count")                                                                   \
    X(FREE_PAGES, "PRAGMA freelist_count")                                                          \
    X(SHRINK, "PRAGMA incremental_vacuum(256)")                                                     \
    X(FIND_HOOK, "SELECT number FROM hook WHERE name = ?")                                          \
    X(NEW_HOOK, "INSERT INTO hook(name) VALUES(?)")                                                 \
    X(PUT_HOOK, "UPDATE hook SET state = ?2, reason = ?3, version = ?4, since_ms = ?5,"             \
                " failing_since_ms = ?6, failures = ?7 WHERE number = ?1")                          \
    X(HOOKS,                                                                                        \
      "SELECT number, name, state, reason, version, since_ms, failing_since_ms, failures,"          \
      " (SELECT value FROM meta WHERE name = 'attempt.' || number) FROM hook ORDER BY number")      \
    X(PUT_EVENT, "INSERT INTO event(number, id, org, type, time_ms, created_ms, trace, crc, tags)"  \
                 " VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT(id, org) DO NOTHING")              \
    X(SAME_EVENT, "SELECT number, type = ?3 AND tags = ?4 FROM event WHERE id = ?1 AND org = ?2")   \
    X(PUT_DELIVERY, "INSERT INTO delivery(number, hook, state, attempts, at_ms, created_ms, crc,"   \
                    " version, order_key, rendered) VALUES(?, ?, ?, 0, ?, ?, ?, ?, ?, ?)")          \
    X(LAST_SIBLING, "SELECT max(number) FROM delivery WHERE number BETWEEN ?1 AND ?2")              \
    X(GET_DELIVERY, "SELECT hook, version, order_key FROM delivery WHERE number = ?")               \
    X(SETTLE,                                                                                       \
      "UPDATE delivery SET state = ?2, attempts = ?3, at_ms = ?4, reason = ?5,"                     \
      " version = ifnull(nullif(?6, ''), version), rendered = max(rendered, ?7) WHERE number = ?1") \
    X(SETTLE_ATTEMPT, "UPDATE delivery SET state = ?2, attempts = ?3, at_ms = ?4, reason = ?5,"     \
                      " version = ifnull(nullif(?6, ''), version), rendered = max(rendered, ?7),"   \
                      " last_status = ?8, last_error = ?9"                                          \
                      " WHERE number = ?1")                                                         \
    X(MOVE, "UPDATE delivery SET state = ?2, at_ms = ?3, reason = ?4, replay = ?5,"                 \
            " attempts = CASE WHEN ?6 THEN 0 ELSE attempts END WHERE number = ?1")                  \
    X(PUT_REQUEST, "INSERT OR REPLACE INTO request(delivery, crc, unresolved, bytes)"               \
                   " VALUES(?, ?, ?, ?)")                                                           \
    X(PUT_ATTEMPT, "INSERT OR REPLACE INTO attempt"                                                 \
                   " VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)")                    \
    X(DUE_SAME,                                                                                     \
      "SELECT number, hook, at_ms, created_ms, attempts, order_key, replay FROM delivery"           \
      " WHERE state = 0 AND hook = ?1 AND at_ms = ?2 AND number > ?3"                               \
      " ORDER BY number LIMIT ?4")                                                                  \
    X(DUE_LATER, "SELECT number, hook, at_ms, created_ms, attempts, order_key, replay"              \
                 " FROM delivery WHERE state = 0 AND hook = ?1 AND at_ms > ?2"                      \
                 " ORDER BY at_ms, number LIMIT ?3")                                                \
    X(PENDING_HOOKS, "SELECT p.hook, h.name, p.n, p.first FROM (SELECT hook, count(*) AS n,"        \
                     " min(at_ms) AS first FROM delivery WHERE state = 0 GROUP BY hook) p"          \
                     " JOIN hook h ON h.number = p.hook")                                           \
    X(LOAD_JOB,                                                                                     \
      "SELECT d.number, d.hook, d.crc, d.attempts, d.rendered, d.version, e.crc, e.id, e.type,"     \
      " e.org, e.trace, e.time_ms, e.tags, r.crc, r.bytes"                                          \
      " FROM delivery d LEFT JOIN event e ON e.number = d.number / 100000"                          \
      " LEFT JOIN request r ON r.delivery = d.number WHERE d.number = ?")                           \
    X(PUT_KV, "INSERT OR REPLACE INTO kv(hook, name, value, expires_ms) VALUES(?, ?, ?, ?)")        \
    X(DELETE_KV, "DELETE FROM kv WHERE hook = ? AND name = ?")                                      \
    X(EACH_KV, "SELECT name, value, expires_ms FROM kv"                                             \
               " WHERE hook = ? AND (expires_ms = 0 OR expires_ms > ?)")                            \
    X(EXPIRE_KV, "DELETE FROM kv WHERE expires_ms BETWEEN 1 AND ?")                                 \
    X(PUT_SOURCE, "INSERT INTO source(version, name, text) VALUES(?, ?, ?)"                         \
                  " ON CONFLICT(version, name) DO NOTHING")                                         \
    X(GET_SOURCE, "SELECT name, text FROM source WHERE version = ?")                                \
    X(OLD_SOURCE, "SELECT s.rowid, s.version, h.number FROM source s"                               \
                  " LEFT JOIN hook h ON h.name = s.name WHERE s.rowid > ?1 AND s.rowid NOT IN"      \
                  " (SELECT max(rowid) FROM source GROUP BY name)"                                  \
                  " ORDER BY s.rowid LIMIT 1")                                                      \
    X(SOURCE_USES, "SELECT count(*), total(version = ?2) FROM (SELECT version FROM delivery"        \
                   " WHERE state = 0 AND hook = ?1 LIMIT ?3)")                                      \
    X(SOURCE_PARKED, "SELECT count(*), total(version = ?2) FROM (SELECT version FROM delivery"      \
                     " WHERE state = 3 AND hook = ?1 LIMIT ?3)")                                    \
    X(DELETE_SOURCE, "DELETE FROM source WHERE rowid = ?")                                          \
    X(PUT_TOKEN, "INSERT OR REPLACE INTO token(id, hash, label, scopes, created_ms, expires_ms)"    \
                 " VALUES(?, ?, ?, ?, ?, ?)")                                                       \
    X(DELETE_TOKEN, "DELETE FROM token WHERE id = ?")                                               \
    X(GET_TOKEN, "SELECT hash, scopes FROM token"                                                   \
                 " WHERE id = ? AND (expires_ms = 0 OR expires_ms > ?)")                            \
    X(TOKENS, "SELECT id, label, scopes, created_ms, expires_ms FROM token ORDER BY created_ms")    \
    X(OLD_EVENTS, "SELECT number FROM event WHERE number > ?1 AND created_ms < ?2"                  \
                  " ORDER BY number LIMIT ?3")                                                      \
    X(HELD_SIBLING, "SELECT 1 FROM delivery WHERE number BETWEEN ?1 AND ?2"                         \
                    " AND (state = 0 OR state = 3 OR at_ms >= ?3) LIMIT 1")                         \
    X(SIBLINGS, "SELECT number FROM delivery WHERE number BETWEEN ?1 AND ?2"                        \
                " ORDER BY number LIMIT ?3")                                                        \
    X(DELETE_DELIVERIES, "DELETE FROM delivery WHERE number BETWEEN ?1 AND ?2")                     \
    X(DELETE_REQUESTS, "DELETE FROM request WHERE delivery BETWEEN ?1 AND ?2")                      \
    X(DELETE_ATTEMPTS, "DELETE FROM attempt WHERE delivery BETWEEN ?1 AND ?2")                      \
    X(DELETE_EVENT, "DELETE FROM event WHERE number = ?")                                           \
    X(LIST_ROW,                                                                                     \
      "SELECT d.number, d.state, d.at_ms, d.created_ms, d.attempts, d.last_status, d.version,"      \
      " d.reason, d.last_error, e.id, e.type, e.org,"                                               \
      " (SELECT name FROM hook WHERE number = d.hook),"                                             \
      " (SELECT unresolved FROM request WHERE delivery = d.number),"                                \
      " (SELECT bytes FROM request WHERE delivery = ?2)"                                            \
      " FROM delivery d CROSS JOIN event e ON e.number = d.number / 100000 WHERE d.number = ?1")    \
    X(ATTEMPTS, "SELECT started_ms, number, status, verdict, error_type, error, incomplete,"        \
                " dns_us, connect_us, tls_us, first_byte_us, total_us, retry_after_ms,"             \
                " sent_headers, response_headers, response_body"                                    \
                " FROM attempt WHERE delivery = ? ORDER BY started_ms, number")                     \
    X(GET_EVENT, "SELECT number, id, type, org, time_ms, trace, tags, crc FROM event"               \
                 " WHERE number = ?")                                                               \
    X(EVENTS, "SELECT number, id, type, org, time_ms, trace, tags, crc FROM event"                  \
              " ORDER BY number DESC LIMIT ?")                                                      \
    X(EVENT_COUNT, "SELECT count(*) FROM event")                                                    \
    X(COUNTS,                                                                                       \
      "SELECT h.name, c.state, c.n FROM (SELECT hook, state, count(*) AS n FROM delivery"           \
      " GROUP BY hook, state) c JOIN hook h ON h.number = c.hook ORDER BY h.name, c.state")         \
    X(CHECK_PAGE,                                                                                   \
      "SELECT number, state <> 0 OR EXISTS (SELECT 1 FROM delivery AS i INDEXED BY delivery_due"    \
      " WHERE i.state = 0 AND i.hook = d.hook AND i.at_ms = d.at_ms AND i.number = d.number)"       \
      " FROM delivery AS d NOT INDEXED WHERE number > ? ORDER BY number LIMIT ?")                   \
    X(QUICK_CHECK, "PRAGMA quick_check(1)")

#define STORE_STATEMENT_NAME(name, text) SQL_##name,
enum sql_name { STORE_STATEMENTS(STORE_STATEMENT_NAME) SQL_COUNT };

// One connection with its prepared statements.
struct sql {
    sqlite3 *db;
    sqlite3_stmt *prepared[SQL_COUNT];
};

struct store_reader {
    struct sql sql;
};

enum sql_role { SQL_WRITER, SQL_READER, SQL_CREATOR };

// Opens `path` with every switch of the checklist set and read back.
enum err sql_open(struct sql *sql, const char *path, enum sql_role role, bool sync_normal,
                  struct fail *fail);
void sql_close(struct sql *sql);
// Refuses a file that is no store of this engine, or a newer one's.
enum err sql_check_schema(struct sql *sql, const char *path, struct fail *fail);
enum err sql_quick_check(struct sql *sql, struct fail *fail);
// Translates an SQLite result; `doing` says in a few words what was tried.
enum err sql_error(sqlite3 *db, int rc, const char *doing, struct fail *fail);
// "DIR/NAME" into `out`; ERR_LIMIT "path_too_long".
enum err store_path(const char *dir, const char *name, char out[STORE_PATH], struct fail *fail);

// A statement on its way: parameters are bound in order, rows are read in
// order. query_end must follow query_start; bound bytes must live until then.
struct query {
    sqlite3_stmt *stmt; // NULL when it could not be prepared
    int next;           // parameter or column
    int rc;
};

struct query query_start(struct sql *sql, enum sql_name name);
void query_put_int(struct query *q, int64_t v);
void query_put_text(struct query *q, struct slice s); // an empty slice is ''
void query_put_blob(struct query *q, struct slice s);
// True when there is a row; then query_get_* read its columns from the left.
bool query_step(struct query *q);
int64_t query_get_int(struct query *q);
struct slice query_get_text(struct query *q); // text or blob, valid until the next step
// Resets the statement; the SQLite result: SQLITE_OK, or what went wrong.
int query_end(struct query *q);
// For statements without rows: step and end.
int query_run(struct query *q);

// A walk over the deliveries that a filter means. It ends behind the last, after
// `limit` hits, when `hit` says false, or when so many rows were none: a thousand
// are half a millisecond, and moves stand in the way of everything else.
enum { LIST_MISSES_MAX = 20000, MOVE_MISSES_MAX = 5000 };
struct scan {
    const struct store_filter *filter;
    bool upward;    // oldest first; else newest first
    int skip_state; // deliveries in it are no hits; -1: none
    size_t limit, misses_max;
    bool (*hit)(void *user, int64_t delivery);
    void *user;
    int64_t last; // out: the last one looked at
    bool more;    // out: there are others behind it
};
int scan_run(struct sql *sql, struct scan *scan); // the SQLite result
// An index has exactly the hits, in an order of its own: whoever moves them out of
// their state starts again from the front, without a cursor.
bool scan_restarts(const struct scan *scan);
void scan_text(const struct scan *scan, struct buf *sql);

// Shared by writer and reader; both return the SQLite result.
int keep_each_hook(struct sql *sql, void (*each)(void *user, const struct store_hook *hook),
                   void *user);
int keep_each_kv(struct sql *sql, struct slice hook, int64_t now_ms,
                 void (*each)(void *to, const struct script_kv *kv), void *to);

// store_load_job on any connection. *rc is SQLite's result.
enum err store_read_job(struct sql *sql, int64_t delivery, struct arena *arena,
                        struct store_job *job, int *rc, struct fail *fail);

uint32_t store_crc_event(int64_t number, const struct event *event);
uint32_t store_crc_delivery(int64_t number, int64_t hook);

// A look at the write-ahead log before SQLite opens it: SQLite reads up to the
// first damaged frame and silently drops what follows. ERR_IO "store_wal_corrupt"
// when committed transactions stand behind the damage, or the header is none.
enum err store_check_wal(const char *path, struct fail *fail);

// --- The writer ---

struct store {
    struct sql sql;
    int lock_fd;
    uint64_t epoch;
    char uid[8];
    char dir[STORE_PATH], path[STORE_PATH], wal[STORE_PATH], ballast[STORE_PATH];
    size_t ballast_bytes, checkpoint_bytes;
    uint64_t reserve_bytes;
    dev_t device;
    ino_t inode, wal_inode; // of the files; another one at the path means it was replaced

    int64_t next_event;   // numbers are never used twice, not even after retirement
    int64_t retire_after; // event where the retirement walk stands
    int64_t source_after; // the same for script sources
    int64_t now_ms;       // wall clock at store_begin

    int wal_frames;        // in the log after the last commit
    int wal_frames_copied; // of these, already seen by a checkpoint

    bool unchecked; // after an unclean stop
    bool open_txn;
    struct fail failed; // why this transaction cannot commit; code OK: it can
    struct fail broken; // the writer is of no use any more
};

// OK until the writer is broken.
enum err store_alive(struct store *store, struct fail *fail);
// Every writing verb starts with this: in a transaction that can still commit?
enum err store_writable(struct store *store, struct fail *fail);
// Notes that a statement failed: the transaction is lost, on ERR_IO the writer too.
enum err store_failed(struct store *store, int rc, const char *doing, struct fail *fail);
// OK for SQLITE_OK, else store_failed.
enum err store_done(struct store *store, int rc, const char *doing, struct fail *fail);
// Everything of store_open that may refuse: files, lock, checks, epoch.
enum err store_take_directory(struct store *store, const struct store_opts *opts,
                              struct fail *fail);
// Copies the whole log into the database and empties it, unless readers hold it up.
int store_truncate_log(struct store *store);
int store_put_meta(struct store *store, struct slice name, struct slice value);
int store_put_number(struct store *store, struct slice name, int64_t value);
// The single number a statement answers with. Leaves the first error in *rc.
int64_t store_get_number(struct store *store, enum sql_name name, int *rc);
// Makes the next event's number durable before the rows that prove it are deleted.
int store_keep_numbers(struct store *store);

#endif
