// The writer's life: open, begin, commit, checkpoint, close. The one connection
// that writes also checkpoints: SQLite 3.40 can lose a log reset when two do.
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "clock.h"
#include "log.h"
#include "store_inner.h"

enum {
    // More of it is written over before it is copied: 16 MiB is 10 % faster than 4.
    CHECKPOINT_BYTES = 16 * 1024 * 1024,
    TRUNCATE_BYTES = 64 * 1024 * 1024,
    RESERVE_SHARE = 20,            // one part in so many
    RESERVE_MIN = 8 * 1024 * 1024, // the log alone may grow by a batch before it is copied back
    RESERVE_MAX = 1024 * 1024 * 1024,
};

// --- Errors that stick ---

enum err store_failed(struct store *store, int rc, const char *doing, struct fail *fail) {
    struct fail own = { .code = OK };
    enum err err = sql_error(store->sql.db, rc, doing, &own);
    if (store->open_txn && store->failed.code == OK) store->failed = own;
    // What reached the log is decided by the next start's recovery, not by us.
    if (err == ERR_IO && store->broken.code == OK) store->broken = own;
    return fail_set(fail, err, 0, own.type, "%s", own.text);
}

enum err store_done(struct store *store, int rc, const char *doing, struct fail *fail) {
    return rc == SQLITE_OK ? OK : store_failed(store, rc, doing, fail);
}

static enum err say_again(const struct fail *first, struct fail *fail) {
    return fail_set(fail, first->code, 0, first->type, "%s", first->text);
}

enum err store_alive(struct store *store, struct fail *fail) {
    return store->broken.code ? say_again(&store->broken, fail) : OK;
}

enum err store_writable(struct store *store, struct fail *fail) {
    assert(store->open_txn);
    if (store->broken.code) return store_alive(store, fail);
    return store->failed.code ? say_again(&store->failed, fail) : OK;
}

// --- Life ---

static void free_store(struct store *store) {
    sql_close(&store->sql);
    if (store->lock_fd >= 0) close(store->lock_fd);
    free(store);
}

struct store *store_open(const struct store_opts *opts, struct fail *fail) {
    struct store *store = calloc(1, sizeof *store);
    if (!store) {
        fail_set(fail, ERR_NOMEM, 0, "no_memory", "opening the store: no memory");
        return NULL;
    }
    store->lock_fd = -1;
    store->ballast_bytes = opts->ballast_bytes;
    store->reserve_bytes = opts->reserve_bytes;
    store->checkpoint_bytes = opts->checkpoint_bytes ? opts->checkpoint_bytes : CHECKPOINT_BYTES;
    if (store_take_directory(store, opts, fail) != OK) {
        free_store(store);
        return NULL;
    }
    if (store_ballast_restore(store) != OK)
        log_line(LOG_WARN, "no room for the store's ballast", "dir", store->dir, NULL);
    return store;
}

void store_close(struct store *store) {
    if (!store) return;
    if (store->open_txn) store_rollback(store);
    if (!store->broken.code && store_begin(store, NULL) == OK) {
        int rc = store_put_number(store, S("clean"), 1);
        if (rc != SQLITE_OK) store_failed(store, rc, "closing the store", NULL);
        if (store_commit(store, NULL) == OK && store_truncate_log(store) == SQLITE_OK)
            sqlite3_db_config(store->sql.db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 0, NULL);
    }
    free_store(store);
}

bool store_is_unchecked(const struct store *store) {
    return store->unchecked;
}

uint64_t store_epoch(const struct store *store) {
    return store->epoch;
}

struct slice store_uid(const struct store *store) {
    return slice(store->uid, sizeof store->uid);
}

// --- Transactions ---

// Somebody moved or deleted a file under us: what we write would be lost.
static bool was_replaced(const struct store *store) {
    struct stat db, wal;
    if (stat(store->path, &db) != 0 || db.st_dev != store->device || db.st_ino != store->inode)
        return true;
    return store->wal_inode && (stat(store->wal, &wal) != 0 || wal.st_ino != store->wal_inode);
}

enum err store_begin(struct store *store, struct fail *fail) {
    assert(!store->open_txn);
    if (!store->broken.code && was_replaced(store))
        fail_set(&store->broken, ERR_IO, 0, "store_replaced",
                 "%s: deleted or replaced while in use", store->path);
    enum err err = store_alive(store, fail);
    if (err) return err;
    struct query q = query_start(&store->sql, SQL_BEGIN);
    err = store_done(store, query_run(&q), "beginning a transaction", fail);
    if (err) return err;
    store->open_txn = true;
    store->failed.code = OK;
    store->now_ms = clock_wall_ms();
    return OK;
}

enum err store_commit(struct store *store, struct fail *fail) {
    assert(store->open_txn);
    enum err err = store_writable(store, fail);
    if (!err) {
        struct query q = query_start(&store->sql, SQL_COMMIT);
        err = store_done(store, query_run(&q), "committing", fail);
    }
    if (err) store_rollback(store);
    store->open_txn = false;
    return err;
}

void store_rollback(struct store *store) {
    store->open_txn = false;
    store->failed.code = OK;
    if (sqlite3_get_autocommit(store->sql.db)) return; // SQLite rolled back by itself
    struct query q = query_start(&store->sql, SQL_ROLLBACK);
    int rc = query_run(&q);
    if (rc != SQLITE_OK) store_failed(store, rc, "rolling back", NULL);
}

int store_truncate_log(struct store *store) {
    sqlite3_busy_timeout(store->sql.db, 0); // readers may hold it up; then another time
    int rc = sqlite3_wal_checkpoint_v2(store->sql.db, NULL, SQLITE_CHECKPOINT_TRUNCATE, NULL, NULL);
    sqlite3_busy_timeout(store->sql.db, 1000);
    if (rc == SQLITE_OK) store->wal_frames = store->wal_frames_copied = 0;
    return (rc & 0xFF) == SQLITE_BUSY ? SQLITE_OK : rc;
}

enum err store_checkpoint(struct store *store) {
    assert(!store->open_txn);
    if (store->broken.code) return store->broken.code;
    if (store->wal_frames < store->wal_frames_copied) store->wal_frames_copied = 0; // a new round
    int64_t bytes = (int64_t)store->wal_frames * STORE_PAGE;
    int64_t fresh = bytes - (int64_t)store->wal_frames_copied * STORE_PAGE;
    if (fresh < (int64_t)store->checkpoint_bytes) return OK;
    int rc = SQLITE_OK, frames = 0, copied = 0;
    if (bytes > TRUNCATE_BYTES)
        rc = store_truncate_log(store);
    else
        rc = sqlite3_wal_checkpoint_v2(store->sql.db, NULL, SQLITE_CHECKPOINT_PASSIVE, &frames,
                                       &copied);
    if ((rc & 0xFF) == SQLITE_BUSY) rc = SQLITE_OK;
    store->wal_frames_copied = frames == copied ? 0 : frames;
    return store_done(store, rc, "checkpointing", NULL);
}

// --- Space ---

uint64_t store_space_left(const struct store *store) {
    struct statvfs fs;
    return statvfs(store->dir, &fs) == 0 ? (uint64_t)fs.f_bavail * fs.f_frsize : 0;
}

uint64_t store_space_reserve(const struct store *store) {
    struct statvfs fs;
    if (store->reserve_bytes) return store->reserve_bytes;
    uint64_t share =
        statvfs(store->dir, &fs) == 0 ? (uint64_t)fs.f_blocks * fs.f_frsize / RESERVE_SHARE : 0;
    return share < RESERVE_MIN ? RESERVE_MIN : share > RESERVE_MAX ? RESERVE_MAX : share;
}

uint64_t store_bytes(struct store *store) {
    int rc = SQLITE_OK;
    int64_t pages =
        store_get_number(store, SQL_PAGES, &rc) - store_get_number(store, SQL_FREE_PAGES, &rc);
    return rc == SQLITE_OK ? (uint64_t)(pages + store->wal_frames) * STORE_PAGE : 0;
}

enum err store_ballast_release(struct store *store) {
    return unlink(store->ballast) == 0 || errno == ENOENT ? OK : ERR_IO;
}

enum err store_ballast_restore(struct store *store) {
    struct stat st;
    if (!store->ballast_bytes) return store_ballast_release(store);
    if (stat(store->ballast, &st) == 0 && (size_t)st.st_size == store->ballast_bytes) return OK;
    int fd = open(store->ballast, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0) return errno == ENOSPC ? ERR_FULL : ERR_IO;
    // fallocate itself: the C library's stand-in would write every block.
    int why = fallocate(fd, 0, 0, (off_t)store->ballast_bytes) == 0 ? 0 : errno;
    close(fd);
    if (!why) return OK;
    unlink(store->ballast);
    return why == ENOSPC ? ERR_FULL : ERR_IO;
}

// --- Small things kept in the table meta ---

int store_put_meta(struct store *store, struct slice name, struct slice value) {
    struct query q = query_start(&store->sql, SQL_PUT_META);
    query_put_text(&q, name);
    query_put_text(&q, value);
    return query_run(&q);
}

int store_put_number(struct store *store, struct slice name, int64_t value) {
    char text[24];
    snprintf(text, sizeof text, "%lld", (long long)value);
    return store_put_meta(store, name, slice_str(text));
}

int store_keep_numbers(struct store *store) {
    return store_put_number(store, S("next_event"), store->next_event);
}

int64_t store_get_number(struct store *store, enum sql_name name, int *rc) {
    struct query q = query_start(&store->sql, name);
    int64_t number = query_step(&q) ? query_get_int(&q) : 0;
    int ended = query_end(&q);
    if (*rc == SQLITE_OK) *rc = ended;
    return number;
}
