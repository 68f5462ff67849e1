// The store's way to talk to SQLite: one connection opened with every switch of
// the checklist, statements prepared once, results translated into enum err.
// Switches whose failure would cost durability are read back.
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "crc.h"
#include "store_inner.h"

static const char *const statements[SQL_COUNT] = {
#define STORE_STATEMENT_TEXT(name, text) [SQL_##name] = text,
    STORE_STATEMENTS(STORE_STATEMENT_TEXT)
};

enum err store_path(const char *dir, const char *name, char out[STORE_PATH], struct fail *fail) {
    int n = snprintf(out, STORE_PATH, "%s/%s", dir, name);
    if (n > 0 && n < STORE_PATH) return OK;
    return fail_set(fail, ERR_LIMIT, 0, "path_too_long", "%.100s…: path longer than %d bytes", dir,
                    STORE_PATH - 1);
}

static const char *sql_reason(sqlite3 *db, int rc) {
    return db && sqlite3_extended_errcode(db) == rc ? sqlite3_errmsg(db) : sqlite3_errstr(rc);
}

enum err sql_error(sqlite3 *db, int rc, const char *doing, struct fail *fail) {
    static const struct {
        int rc;
        enum err err;
        const char *type;
    } known[] = {
        { SQLITE_FULL, ERR_FULL, "storage_full" },
        { SQLITE_NOMEM, ERR_NOMEM, "no_memory" },
        { SQLITE_BUSY, ERR_NOT_NOW, "store_busy" },
        { SQLITE_READONLY, ERR_NOT_NOW, "store_read_only" },
        { SQLITE_PERM, ERR_DENIED, "store_denied" },
        { SQLITE_CANTOPEN, ERR_DENIED, "store_denied" },
        { SQLITE_TOOBIG, ERR_LIMIT, "too_large" },
        { SQLITE_NOTADB, ERR_IO, "store_corrupt" },
        { SQLITE_CORRUPT, ERR_IO, "store_corrupt" },
    };
    int system = db ? sqlite3_system_errno(db) : 0;
    enum err err = ERR_IO;
    const char *type = "store_io";
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        if (known[i].rc != (rc & 0xFF)) continue;
        err = known[i].err;
        type = known[i].type;
    }
    return fail_set(fail, err, 0, type, "%s: %s (%d)%s%s", doing, sql_reason(db, rc), rc,
                    system ? ": " : "", system ? strerror(system) : "");
}

// Runs a statement that answers with at most one row; its first column goes to `answer`.
static int run_text(sqlite3 *db, const char *text, char *answer, size_t size) {
    sqlite3_stmt *stmt = NULL;
    int rc = sqlite3_prepare_v2(db, text, -1, &stmt, NULL);
    if (rc != SQLITE_OK) return rc;
    bool row = sqlite3_step(stmt) == SQLITE_ROW;
    if (row && answer) snprintf(answer, size, "%s", (const char *)sqlite3_column_text(stmt, 0));
    return sqlite3_finalize(stmt);
}

static enum err set_and_read_back(sqlite3 *db, const char *set, const char *get, const char *want,
                                  struct fail *fail) {
    char got[32] = "";
    int rc = run_text(db, set, NULL, 0);
    if (rc == SQLITE_OK) rc = run_text(db, get, got, sizeof got);
    if (rc != SQLITE_OK) return sql_error(db, rc, set, fail);
    if (strcmp(got, want) == 0) return OK;
    return fail_set(fail, ERR_NOT_NOW, 0, "store_setting", "%s: SQLite kept \"%s\"", set, got);
}

static void configure(sqlite3 *db, enum sql_role role) {
    static const struct {
        int option, value;
    } switches[] = {
        { SQLITE_DBCONFIG_DEFENSIVE, 1 },      { SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0 },
        { SQLITE_DBCONFIG_ENABLE_TRIGGER, 0 }, { SQLITE_DBCONFIG_ENABLE_VIEW, 0 },
        { SQLITE_DBCONFIG_DQS_DML, 0 },        { SQLITE_DBCONFIG_DQS_DDL, 0 },
    };
    static const struct {
        int limit, value;
    } limits[] = {
        { SQLITE_LIMIT_LENGTH, 16 * 1024 * 1024 },
        { SQLITE_LIMIT_SQL_LENGTH, 100 * 1000 },
        { SQLITE_LIMIT_ATTACHED, 0 },
        { SQLITE_LIMIT_EXPR_DEPTH, 100 },
        { SQLITE_LIMIT_VARIABLE_NUMBER, 32 },
        { SQLITE_LIMIT_WORKER_THREADS, 0 },
    };
    for (size_t i = 0; i < sizeof switches / sizeof switches[0]; i++)
        sqlite3_db_config(db, switches[i].option, switches[i].value, NULL);
    sqlite3_db_config(db, SQLITE_DBCONFIG_ENABLE_LOAD_EXTENSION, 0, NULL);
    // A reader that closes last must not checkpoint, nor a writer that could not
    // open or is broken: what it found stays as it is. store_close says otherwise.
    sqlite3_db_config(db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, role != SQL_CREATOR, NULL);
    for (size_t i = 0; i < sizeof limits / sizeof limits[0]; i++)
        sqlite3_limit(db, limits[i].limit, limits[i].value);
    sqlite3_extended_result_codes(db, 1);
    sqlite3_busy_timeout(db, 1000);
}

static enum err set_pragmas(sqlite3 *db, enum sql_role role, bool sync_normal, struct fail *fail) {
    static const char *const plain[] = {
        "PRAGMA mmap_size = 0", // a truncated file would be a SIGBUS
        "PRAGMA temp_store = MEMORY",
        "PRAGMA cell_size_check = ON",
        "PRAGMA journal_size_limit = 67108864",
        "PRAGMA secure_delete = FAST",
        "PRAGMA cache_size = -32768",
        "PRAGMA wal_autocheckpoint = 0",
    };
    for (size_t i = 0; i < sizeof plain / sizeof plain[0]; i++) {
        int rc = run_text(db, plain[i], NULL, 0);
        if (rc != SQLITE_OK) return sql_error(db, rc, "opening the store", fail);
    }
    if (role == SQL_READER)
        return set_and_read_back(db, "PRAGMA query_only = ON", "PRAGMA query_only", "1", fail);
    if (role == SQL_WRITER) {
        enum err err =
            set_and_read_back(db, "PRAGMA journal_mode = WAL", "PRAGMA journal_mode", "wal", fail);
        if (err) return err;
    }
    return sync_normal ? set_and_read_back(db, "PRAGMA synchronous = NORMAL", "PRAGMA synchronous",
                                           "1", fail)
                       : set_and_read_back(db, "PRAGMA synchronous = FULL", "PRAGMA synchronous",
                                           "2", fail);
}

// SQLite's own memory statistics cost a lock at every allocation.
static void prepare_library(void) {
    sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0);
    sqlite3_initialize();
}

enum err sql_open(struct sql *sql, const char *path, enum sql_role role, bool sync_normal,
                  struct fail *fail) {
    static pthread_once_t prepared = PTHREAD_ONCE_INIT;
    pthread_once(&prepared, prepare_library);
    *sql = (struct sql){ .db = NULL };
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_PRIVATECACHE;
    int rc = sqlite3_open_v2(path, &sql->db, flags, NULL);
    char doing[200];
    snprintf(doing, sizeof doing, "%.180s", path);
    enum err err = OK;
    if (rc != SQLITE_OK)
        err = sql_error(sql->db, rc, doing, fail);
    else if (sqlite3_db_readonly(sql->db, "main") == 1)
        err = fail_set(fail, ERR_NOT_NOW, 0, "store_read_only", "%s: cannot be written", doing);
    if (!err) configure(sql->db, role);
    if (!err) err = set_pragmas(sql->db, role, sync_normal, fail);
    if (err) sql_close(sql);
    return err;
}

void sql_close(struct sql *sql) {
    for (size_t i = 0; i < SQL_COUNT; i++) sqlite3_finalize(sql->prepared[i]);
    sqlite3_close(sql->db);
    *sql = (struct sql){ .db = NULL };
}

enum err sql_check_schema(struct sql *sql, const char *path, struct fail *fail) {
    char application[32] = "", version[32] = "";
    int rc = run_text(sql->db, "PRAGMA application_id", application, sizeof application);
    if (rc == SQLITE_OK) rc = run_text(sql->db, "PRAGMA user_version", version, sizeof version);
    if (rc != SQLITE_OK) return sql_error(sql->db, rc, path, fail);
    if (strtoll(application, NULL, 10) != STORE_APPLICATION)
        return fail_set(fail, ERR_NOT_NOW, 0, "store_foreign",
                        "%s: an SQLite database, but not one of tuma", path);
    if (strtoll(version, NULL, 10) == STORE_SCHEMA) return OK;
    if (strtoll(version, NULL, 10) < STORE_SCHEMA)
        return fail_set(fail, ERR_NOT_NOW, 0, "store_foreign", "%s: schema version %s is none",
                        path, version);
    return fail_set(fail, ERR_NOT_NOW, 0, "store_newer_schema",
                    "%s: schema version %s, this engine knows %d: start the newer engine", path,
                    version, STORE_SCHEMA);
}

enum err sql_quick_check(struct sql *sql, struct fail *fail) {
    struct query q = query_start(sql, SQL_QUICK_CHECK);
    char found[160] = "no answer";
    if (query_step(&q)) {
        struct slice answer = query_get_text(&q);
        snprintf(found, sizeof found, "%.*s", SLICE_FMT(answer));
    }
    int rc = query_end(&q);
    if (rc != SQLITE_OK) return sql_error(sql->db, rc, "checking the store", fail);
    if (strcmp(found, "ok") == 0) return OK;
    return fail_set(fail, ERR_IO, 0, "store_corrupt", "the database is damaged: %s", found);
}

struct query query_start(struct sql *sql, enum sql_name name) {
    struct query q = { .rc = SQLITE_OK };
    if (!sql->prepared[name])
        q.rc = sqlite3_prepare_v3(sql->db, statements[name], -1, SQLITE_PREPARE_PERSISTENT,
                                  &sql->prepared[name], NULL);
    q.stmt = sql->prepared[name];
    return q;
}

static void note(struct query *q, int rc) {
    if (rc != SQLITE_OK && q->rc == SQLITE_OK) q->rc = rc;
}

void query_put_int(struct query *q, int64_t v) {
    if (q->stmt) note(q, sqlite3_bind_int64(q->stmt, ++q->next, v));
}

void query_put_text(struct query *q, struct slice s) {
    if (q->stmt)
        note(q, sqlite3_bind_text64(q->stmt, ++q->next, s.n ? s.p : "", s.n, SQLITE_STATIC,
                                    SQLITE_UTF8));
}

void query_put_blob(struct query *q, struct slice s) {
    if (q->stmt)
        note(q, sqlite3_bind_blob64(q->stmt, ++q->next, s.n ? s.p : "", s.n, SQLITE_STATIC));
}

bool query_step(struct query *q) {
    if (q->rc != SQLITE_OK) return false;
    q->next = 0;
    int rc = sqlite3_step(q->stmt);
    if (rc == SQLITE_ROW) return true;
    if (rc != SQLITE_DONE) q->rc = rc;
    return false;
}

int64_t query_get_int(struct query *q) {
    return sqlite3_column_int64(q->stmt, q->next++);
}

struct slice query_get_text(struct query *q) {
    int column = q->next++;
    const char *p = sqlite3_column_blob(q->stmt, column);
    return slice(p, p ? (size_t)sqlite3_column_bytes(q->stmt, column) : 0);
}

int query_end(struct query *q) {
    if (q->stmt) sqlite3_reset(q->stmt);
    return q->rc;
}

int query_run(struct query *q) {
    while (query_step(q)) continue;
    return query_end(q);
}

uint32_t store_crc_event(int64_t number, const struct event *event) {
    const struct slice parts[] = { event->id, event->org, event->type, event->trace, event->json };
    int64_t numbers[] = { number, event->time_ms };
    uint32_t crc = crc32c(0, slice((const char *)numbers, sizeof numbers));
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        uint64_t n = parts[i].n; // so that bytes cannot wander between neighbours
        crc = crc32c(crc32c(crc, slice((const char *)&n, sizeof n)), parts[i]);
    }
    return crc;
}

uint32_t store_crc_delivery(int64_t number, int64_t hook) {
    int64_t both[] = { number, hook };
    return crc32c(0, slice((const char *)both, sizeof both));
}
