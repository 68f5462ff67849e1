// Taking over a store's directory, or refusing it with the exact reason.
//
// A new store is built under another name and renamed when it is whole, so an
// empty or headless tuma.db is always damage and never an invitation to start
// afresh. The lock is a file of its own because closing any descriptor of the
// database would drop SQLite's own POSIX locks.
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/statfs.h>
#include <unistd.h>

#include "id.h"
#include "log.h"
#include "store_inner.h"

_Static_assert(STORE_FANOUT_MAX == 100000, "the statements hold this number too");

// A process that died leaves whole pages behind, a machine that died may not.
static const int64_t check_bytes_same_boot = 64ll << 20, check_bytes_other_boot = 1ll << 30;

static const char schema[] =
    "CREATE TABLE meta(name TEXT PRIMARY KEY, value) WITHOUT ROWID;"
    "CREATE TABLE hook(number INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE,"
    " state INTEGER NOT NULL DEFAULT 0, reason TEXT NOT NULL DEFAULT '',"
    " version TEXT NOT NULL DEFAULT '', since_ms INTEGER NOT NULL DEFAULT 0,"
    " failing_since_ms INTEGER NOT NULL DEFAULT 0, failures INTEGER NOT NULL DEFAULT 0);"
    "CREATE TABLE event(number INTEGER PRIMARY KEY, id TEXT NOT NULL, org TEXT NOT NULL,"
    " type TEXT NOT NULL, time_ms INTEGER NOT NULL, created_ms INTEGER NOT NULL,"
    " trace TEXT NOT NULL, crc INTEGER NOT NULL, tags BLOB NOT NULL);"
    // Time-ordered ids make this index grow at its end: 2 us of a 13 us cycle. A
    // shorter index of hashes costs more, because every insert hits another page.
    "CREATE UNIQUE INDEX event_id ON event(id, org);"
    // at_ms: due while pending, else when it got where it is.
    "CREATE TABLE delivery(number INTEGER PRIMARY KEY, hook INTEGER NOT NULL,"
    " state INTEGER NOT NULL, attempts INTEGER NOT NULL, at_ms INTEGER NOT NULL,"
    " created_ms INTEGER NOT NULL, crc INTEGER NOT NULL, replay INTEGER NOT NULL DEFAULT 0,"
    " rendered INTEGER NOT NULL,"
    " version TEXT NOT NULL, order_key TEXT NOT NULL, last_status INTEGER NOT NULL DEFAULT 0,"
    " reason TEXT NOT NULL DEFAULT '', last_error TEXT NOT NULL DEFAULT '');"
    "CREATE INDEX delivery_due ON delivery(hook, at_ms) WHERE state = 0;"
    "CREATE INDEX delivery_held ON delivery(state, hook) WHERE state = 2 OR state = 3;"
    "CREATE INDEX delivery_kept ON delivery(state) WHERE state = 2 OR state = 3;"
    "CREATE TABLE request(delivery INTEGER PRIMARY KEY, crc INTEGER NOT NULL,"
    " unresolved TEXT NOT NULL, bytes BLOB NOT NULL);"
    // By start time, not by number: a redelivery counts from 1 again.
    "CREATE TABLE attempt(delivery INTEGER, started_ms INTEGER, number INTEGER, status INTEGER,"
    " verdict INTEGER, error_type TEXT, error TEXT, incomplete INTEGER, dns_us INTEGER,"
    " connect_us INTEGER, tls_us INTEGER, first_byte_us INTEGER, total_us INTEGER,"
    " retry_after_ms INTEGER, sent_headers TEXT, response_headers TEXT, response_body BLOB,"
    " PRIMARY KEY(delivery, started_ms, number)) WITHOUT ROWID;"
    "CREATE TABLE kv(hook TEXT, name TEXT, value TEXT NOT NULL, expires_ms INTEGER NOT NULL,"
    " PRIMARY KEY(hook, name)) WITHOUT ROWID;"
    "CREATE TABLE source(version TEXT NOT NULL, name TEXT NOT NULL, text TEXT NOT NULL,"
    " UNIQUE(version, name));"
    "CREATE TABLE token(id TEXT PRIMARY KEY, hash BLOB NOT NULL, label TEXT NOT NULL,"
    " scopes TEXT NOT NULL, created_ms INTEGER NOT NULL, expires_ms INTEGER NOT NULL);";

// What errno means for somebody who wants to open a store.
static enum err refuse(const char *path, struct fail *fail) {
    int why = errno;
    enum err err = why == ENOSPC                   ? ERR_FULL
                   : why == EROFS                  ? ERR_NOT_NOW
                   : why == ENOENT                 ? ERR_NOTFOUND
                   : why == EACCES || why == EPERM ? ERR_DENIED
                                                   : ERR_IO;
    const char *type = err == ERR_FULL       ? "storage_full"
                       : err == ERR_NOT_NOW  ? "store_read_only"
                       : err == ERR_NOTFOUND ? "no_store"
                       : err == ERR_DENIED   ? "store_denied"
                                             : "store_io";
    return fail_set(fail, err, 0, type, "%s: %s", path, strerror(why));
}

static enum err sync_directory(const char *dir, struct fail *fail) {
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    enum err err = fd >= 0 && fsync(fd) == 0 ? OK : refuse(dir, fail);
    if (fd >= 0) close(fd);
    return err;
}

static enum err make_directory(const char *dir, struct fail *fail) {
    if (mkdir(dir, 0700) != 0) return errno == EEXIST ? OK : refuse(dir, fail);
    char parent[STORE_PATH];
    enum err err = store_path(dir, "..", parent, fail);
    return err ? err : sync_directory(parent, fail);
}

// Locks and shared memory of SQLite's log need a local file system.
static enum err check_file_system(const char *dir, struct fail *fail) {
    struct statfs fs;
    if (statfs(dir, &fs) != 0) return refuse(dir, fail);
    uint32_t type = (uint32_t)fs.f_type;
    bool network = type == NFS_SUPER_MAGIC || type == SMB_SUPER_MAGIC || type == CIFS_SUPER_MAGIC ||
                   type == SMB2_SUPER_MAGIC;
    return network ? fail_set(fail, ERR_NOT_NOW, 0, "store_network_fs",
                              "%s: on a network file system; the store needs a local disk", dir)
                   : OK;
}

static enum err take_lock(struct store *store, struct fail *fail) {
    char path[STORE_PATH];
    enum err err = store_path(store->dir, "tuma.lock", path, fail);
    if (err) return err;
    store->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (store->lock_fd < 0) return refuse(path, fail);
    if (flock(store->lock_fd, LOCK_EX | LOCK_NB) == 0) return OK;
    return fail_set(fail, ERR_NOT_NOW, 0, "store_locked", "%s: another engine uses this store",
                    store->dir);
}

// What stands in the directory, judged before SQLite touches it.
static enum err check_files(struct store *store, bool *missing, struct fail *fail) {
    struct stat db, wal;
    *missing = stat(store->path, &db) != 0;
    if (*missing && errno != ENOENT) return refuse(store->path, fail);
    bool wal_there = stat(store->wal, &wal) == 0 && wal.st_size > 0;
    if (*missing && wal_there)
        return fail_set(fail, ERR_NOT_NOW, 0, "store_db_missing",
                        "%s is gone, but its log %s is there: restore the database or move the log "
                        "away",
                        store->path, store->wal);
    if (*missing) return OK;
    if (!S_ISREG(db.st_mode))
        return fail_set(fail, ERR_NOT_NOW, 0, "store_foreign", "%s: not a file", store->path);
    if (db.st_size < 512)
        return fail_set(fail, ERR_IO, 0, "store_corrupt", "%s: cut off, %lld bytes left",
                        store->path, (long long)db.st_size);
    if (access(store->path, R_OK | W_OK) != 0) return refuse(store->path, fail);
    return OK;
}

static enum err fill_new(struct sql *sql, struct fail *fail) {
    char random[8], setup[200];
    id_random(random, sizeof random);
    for (size_t i = 0; i < sizeof random; i++)
        random[i] = "0123456789abcdefghijklmnopqrstuvwxyz"[(unsigned char)random[i] % 36];
    snprintf(setup, sizeof setup,
             "INSERT INTO meta(name, value) VALUES('uid', '%.8s'), ('epoch', 0), ('clean', 1),"
             " ('boot', ''), ('next_event', 1);",
             random);
    char head[200];
    snprintf(head, sizeof head,
             "PRAGMA page_size = %d; PRAGMA auto_vacuum = INCREMENTAL; BEGIN;"
             "PRAGMA application_id = %d; PRAGMA user_version = %d;",
             STORE_PAGE, STORE_APPLICATION, STORE_SCHEMA);
    const char *const steps[] = { head, schema, setup, "COMMIT; PRAGMA journal_mode = WAL;" };
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        int rc = sqlite3_exec(sql->db, steps[i], NULL, NULL, NULL);
        if (rc != SQLITE_OK) return sql_error(sql->db, rc, "creating the store", fail);
    }
    return OK;
}

static enum err create_file(const char *path, struct fail *fail) {
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0) return refuse(path, fail);
    close(fd);
    return OK;
}

static enum err create_store(struct store *store, struct fail *fail) {
    static const char *const leftovers[] = { "tuma.db.new", "tuma.db.new-wal", "tuma.db.new-shm",
                                             "tuma.db.new-journal" };
    char path[STORE_PATH];
    enum err err = OK;
    for (size_t i = sizeof leftovers / sizeof leftovers[0]; i-- > 0 && !err;) {
        err = store_path(store->dir, leftovers[i], path, fail);
        if (!err) unlink(path);
    }
    struct sql sql = { .db = NULL };
    if (!err) err = create_file(path, fail);
    if (!err) err = sql_open(&sql, path, SQL_CREATOR, false, fail);
    if (!err) err = fill_new(&sql, fail);
    sql_close(&sql);
    if (!err && rename(path, store->path) != 0) err = refuse(path, fail);
    return err ? err : sync_directory(store->dir, fail);
}

static int get_meta(struct store *store, struct slice name, char *out, size_t size) {
    struct query q = query_start(&store->sql, SQL_GET_META);
    query_put_text(&q, name);
    out[0] = '\0';
    if (query_step(&q)) {
        struct slice value = query_get_text(&q);
        snprintf(out, size, "%.*s", SLICE_FMT(value));
    }
    return query_end(&q);
}

// Identifies this start of the machine; empty when the kernel does not tell.
static void read_boot(char boot[40]) {
    int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? 0 : read(fd, boot, 36);
    if (fd >= 0) close(fd);
    boot[n > 0 ? n : 0] = '\0';
}

static enum err check_after_crash(struct store *store, bool same_boot, struct fail *fail) {
    struct stat db;
    if (stat(store->path, &db) != 0) return OK;
    if (db.st_size > (same_boot ? check_bytes_same_boot : check_bytes_other_boot)) {
        store->unchecked = true;
        return OK;
    }
    return sql_quick_check(&store->sql, fail);
}

static enum err read_meta(struct store *store, struct fail *fail) {
    char text[64], boot[40];
    int rc = get_meta(store, S("uid"), text, sizeof text);
    memcpy(store->uid, text, sizeof store->uid);
    if (rc == SQLITE_OK) rc = get_meta(store, S("epoch"), text, sizeof text);
    store->epoch = strtoull(text, NULL, 10) + 1;
    if (rc == SQLITE_OK) rc = get_meta(store, S("next_event"), text, sizeof text);
    store->next_event = strtoll(text, NULL, 10);
    int64_t behind_last = store_get_number(store, SQL_LAST_EVENT, &rc) + 1;
    if (store->next_event < behind_last) store->next_event = behind_last;
    if (rc == SQLITE_OK) rc = get_meta(store, S("boot"), text, sizeof text);
    read_boot(boot);
    bool same_boot = boot[0] && strcmp(text, boot) == 0;
    if (rc == SQLITE_OK) rc = get_meta(store, S("clean"), text, sizeof text);
    if (rc != SQLITE_OK) return sql_error(store->sql.db, rc, "reading the store", fail);
    return strcmp(text, "1") == 0 ? OK : check_after_crash(store, same_boot, fail);
}

static int note_frames(void *user, sqlite3 *db, const char *name, int frames) {
    (void)db, (void)name;
    ((struct store *)user)->wal_frames = frames;
    return SQLITE_OK;
}

// The old log is put away before the first write, so that its torn end, if it
// has one, never lies behind frames of this life.
static enum err start_epoch(struct store *store, struct fail *fail) {
    char boot[40];
    read_boot(boot);
    int rc = store_truncate_log(store);
    if (rc != SQLITE_OK) return sql_error(store->sql.db, rc, "recovering the log", fail);
    enum err err = store_begin(store, fail);
    if (err) return err;
    rc = store_put_number(store, S("epoch"), (int64_t)store->epoch);
    if (rc == SQLITE_OK) rc = store_put_number(store, S("clean"), 0);
    if (rc == SQLITE_OK) rc = store_put_meta(store, S("boot"), slice_str(boot));
    if (rc != SQLITE_OK) store_failed(store, rc, "starting the store", fail);
    err = store_commit(store, fail);
    struct stat st;
    if (!err && stat(store->wal, &st) == 0) store->wal_inode = st.st_ino;
    return err;
}

// A transaction that had no memory must end without any.
static enum err prepare_rollback(struct store *store, struct fail *fail) {
    struct query q = query_start(&store->sql, SQL_ROLLBACK);
    return store_done(store, query_end(&q), "opening the store", fail);
}

static enum err open_database(struct store *store, bool sync_normal, struct fail *fail) {
    enum err err = sync_normal ? OK : store_check_wal(store->wal, fail);
    if (!err) err = sql_open(&store->sql, store->path, SQL_WRITER, sync_normal, fail);
    if (!err) err = sql_check_schema(&store->sql, store->path, fail);
    struct stat st;
    if (!err && stat(store->path, &st) == 0) {
        store->device = st.st_dev;
        store->inode = st.st_ino;
        sqlite3_wal_hook(store->sql.db, note_frames, store);
    }
    if (!err) err = prepare_rollback(store, fail);
    if (!err) err = read_meta(store, fail);
    return err ? err : start_epoch(store, fail);
}

static enum err set_paths(struct store *store, const char *dir, struct fail *fail) {
    int n = snprintf(store->dir, sizeof store->dir, "%s", dir);
    if (n < 0 || (size_t)n >= sizeof store->dir) return store_path(dir, "", store->path, fail);
    enum err err = store_path(dir, "tuma.db", store->path, fail);
    if (!err) err = store_path(dir, "tuma.db-wal", store->wal, fail);
    return err ? err : store_path(dir, "tuma.ballast", store->ballast, fail);
}

enum err store_take_directory(struct store *store, const struct store_opts *opts,
                              struct fail *fail) {
    bool missing = true;
    enum err err = set_paths(store, opts->dir, fail);
    if (!err && opts->create) err = make_directory(opts->dir, fail);
    if (!err) err = check_file_system(opts->dir, fail);
    if (!err && !opts->create && access(store->path, F_OK) != 0 && access(store->wal, F_OK) != 0)
        err = fail_set(fail, ERR_NOTFOUND, 0, "no_store", "%s: no store here", opts->dir);
    if (!err) err = take_lock(store, fail);
    if (!err) err = check_files(store, &missing, fail);
    if (!err && missing) err = create_store(store, fail);
    return err ? err : open_database(store, opts->sync_normal, fail);
}
