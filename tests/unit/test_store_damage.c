// floor: store
// What the store does with files that are damaged, foreign, locked or gone: it
// says exactly what is wrong and leaves everything as it found it.
#include <fcntl.h>
#include <sqlite3.h>
#include <sys/wait.h>

#include "store_fixture.h"

static void file_path(char out[128], const char *name) {
    snprintf(out, 128, "%s/%s", dir, name);
}

static void write_file(const char *name, const char *bytes, size_t n) {
    char path[128];
    file_path(path, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    CHECK(fd >= 0 && write(fd, bytes, n) == (ssize_t)n);
    close(fd);
}

// Leaves the store as a kill -9 would: nothing closed, nothing checkpointed.
static void die_with_events(int count) {
    store_close(store);
    store = NULL;
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        open_store();
        for (int i = 0; i < count; i++) {
            char id[24];
            snprintf(id, sizeof id, "dying%d", i);
            put_alone(id, 1, 1);
        }
        _exit(0);
    }
    waitpid(child, NULL, 0);
}

static void refuses(enum err code, const char *type) {
    memset(&fail, 0, sizeof fail);
    struct store *wrong = store_open(&(struct store_opts){ .dir = dir, .create = true }, &fail);
    CHECK(!wrong);
    CHECK_INT(fail.code, code);
    CHECK_SLICE(slice_str(fail.type), slice_str(type));
    CHECK(strstr(fail.text, dir) || strcmp(type, "store_corrupt") == 0);
    store_close(wrong);
}

static void a_second_engine_is_refused(void) {
    start();
    refuses(ERR_NOT_NOW, "store_locked");
    begin(); // and the first one goes on
    put("e1", 1, 1);
    commit();
    finish();
}

static void after_a_kill_everything_committed_is_there(void) {
    start();
    die_with_events(20);
    open_store();
    CHECK_INT(store_epoch(store), 3);
    CHECK_INT(list((struct store_filter){ .hook = 0 }, 100).count, 20);
    finish();
}

static void a_broken_store_is_never_replaced_by_an_empty_one(void) {
    char path[128];
    start();
    put_alone("e1", 1, 1);
    store_close(store);
    file_path(path, "tuma.db");
    CHECK(truncate(path, 0) == 0);
    refuses(ERR_IO, "store_corrupt");
    write_file("tuma.db",
               "not a database, but long enough to look like one ................"
               "................................................................"
               "................................................................"
               "................................................................"
               "................................................................"
               "................................................................"
               "................................................................"
               "................................................................"
               "..............................................................",
               574);
    refuses(ERR_IO, "store_corrupt");
    store = NULL;
    finish();
    start();
    die_with_events(1);
    unlink(path);
    refuses(ERR_NOT_NOW, "store_db_missing");
    finish();
}

static void run_sql(const char *text) {
    char path[128];
    sqlite3 *db = NULL;
    file_path(path, "tuma.db");
    CHECK_INT(sqlite3_open(path, &db), SQLITE_OK);
    CHECK_INT(sqlite3_exec(db, text, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
}

static void a_newer_or_foreign_database_is_refused(void) {
    start();
    store_close(store);
    run_sql("PRAGMA user_version = 99");
    refuses(ERR_NOT_NOW, "store_newer_schema");
    CHECK(!store_reader_open(dir, &fail));
    CHECK_TEXT(slice_str(fail.type), "store_newer_schema");
    run_sql("PRAGMA user_version = 1; PRAGMA application_id = 7");
    refuses(ERR_NOT_NOW, "store_foreign");
    store = NULL;
    finish();
}

static void flip(const char *name, off_t at) {
    char path[128];
    unsigned char byte = 0;
    file_path(path, name);
    int fd = open(path, O_RDWR);
    CHECK(pread(fd, &byte, 1, at) == 1);
    byte ^= 0x10;
    CHECK(pwrite(fd, &byte, 1, at) == 1);
    close(fd);
}

static void a_damaged_log_is_refused_instead_of_cut(void) {
    char path[128];
    start();
    die_with_events(20);
    flip("tuma.db-wal", 32 + 3 * (24 + 8192) + 100); // an early frame
    refuses(ERR_IO, "store_wal_corrupt");
    flip("tuma.db-wal", 32 + 3 * (24 + 8192) + 100);
    flip("tuma.db-wal", 20); // the header
    refuses(ERR_IO, "store_wal_corrupt");
    flip("tuma.db-wal", 20);
    open_store();
    CHECK_INT(list((struct store_filter){ .hook = 0 }, 100).count, 20);
    die_with_events(0);
    file_path(path, "tuma.db-wal");
    CHECK(truncate(path, 17) == 0);
    refuses(ERR_IO, "store_wal_corrupt");
    finish();
}

static void a_torn_end_of_the_log_is_no_damage(void) {
    char path[128];
    struct stat st;
    start();
    die_with_events(5);
    file_path(path, "tuma.db-wal");
    CHECK(stat(path, &st) == 0);
    CHECK(truncate(path, st.st_size - 5000) == 0); // inside the last transaction
    open_store();
    int left = list((struct store_filter){ .hook = 0 }, 100).count;
    CHECK_INT(left, 4);
    finish();
}

// The offset of `text` in the database file.
static off_t find_in_db(const char *text) {
    char path[128];
    file_path(path, "tuma.db");
    int fd = open(path, O_RDONLY);
    struct stat st;
    fstat(fd, &st);
    char *bytes = malloc((size_t)st.st_size);
    CHECK(pread(fd, bytes, (size_t)st.st_size, 0) == st.st_size);
    char *hit = memmem(bytes, (size_t)st.st_size, text, strlen(text));
    off_t at = hit ? hit - bytes : -1;
    free(bytes);
    close(fd);
    CHECK(at > 0);
    return at;
}

static void a_row_that_changed_on_disk_is_not_sent(void) {
    start();
    int64_t hook = hook_number("a");
    int64_t bad_event = put_alone("bad-event-id", hook, 1), good = put_alone("good", hook, 1);
    int64_t bad_request = put_alone("bad-request", hook, 1);
    settle_attempt(bad_request, 1, S("the packed request"));
    store_close(store);
    flip("tuma.db", find_in_db("bad-event-idacmecall.completed") + 17);
    flip("tuma.db", find_in_db("the packed request") + 5);
    open_store();
    struct arena arena;
    arena_init(&arena, 1 << 20);
    struct store_job job;
    CHECK_INT(store_load_job(store, bad_event, &arena, &job, &fail), ERR_INPUT);
    CHECK_TEXT(slice_str(fail.type), "corrupt_row");
    CHECK_INT(store_load_job(store, bad_request, &arena, &job, &fail), ERR_INPUT);
    CHECK_INT(store_load_job(store, good, &arena, &job, &fail), OK); // others flow
    arena_deinit(&arena);
    settle(bad_event, DELIVERY_PARKED, "corrupt_row", 1);
    struct store_reader *r = store_reader_open(dir, &fail);
    struct event *event = NULL;
    CHECK_INT(store_reader_event(r, bad_event / STORE_FANOUT_MAX, &event, &fail), ERR_INPUT);
    CHECK_INT(store_reader_check(r, &fail), OK); // pages have no sums: only the row's tells
    store_reader_close(r);
    finish();
}

static void a_row_that_wandered_or_vanished_is_not_sent(void) {
    start();
    int64_t hook = hook_number("a");
    int64_t one = put_alone("one", hook, 1), two = put_alone("two", hook, 1);
    settle_attempt(one, 1, S("the packed request"));
    store_close(store);
    run_sql(
        "DELETE FROM request; UPDATE event SET number = 9 WHERE id = 'one';"
        "UPDATE event SET number = 2 WHERE id = 'two';"
        "UPDATE event SET number = 1 WHERE number = 2; UPDATE event SET number = 2 WHERE number = 9");
    open_store();
    struct arena arena;
    arena_init(&arena, 1 << 20);
    struct store_job job;
    CHECK_INT(store_load_job(store, two, &arena, &job, &fail), ERR_INPUT); // another event's tags
    store_close(store);
    run_sql(
        "UPDATE event SET number = 9 WHERE number = 1; UPDATE event SET number = 1 WHERE number = 2;"
        "UPDATE event SET number = 2 WHERE number = 9");
    open_store();
    CHECK_INT(store_load_job(store, two, &arena, &job, &fail), OK);
    CHECK_INT(store_load_job(store, one, &arena, &job, &fail), ERR_INPUT); // its request is gone
    arena_deinit(&arena);
    finish();
}

// Runs the check in the background to its end beside the open store.
static void check_in_steps(int *steps, const char *want) {
    struct store_check *check = store_check_start(dir, &fail);
    struct buf out;
    CHECK(check != NULL);
    for (*steps = 1; check && store_check_step(check); ++*steps) {
        begin(); // the writer goes on between two steps
        commit();
    }
    store_check_end(check);
    buf_init(&out, 200);
    store_check_write(&out);
    CHECK(slice_eq(buf_slice(&out), slice_str(want)));
    buf_deinit(&out);
}

static void the_check_beside_the_engine_finds_what_would_not_be_sent(void) {
    char id[16], text[400];
    int steps;
    start();
    int64_t hook = hook_number("a"), hidden = 0;
    begin();
    for (int i = 0; i < 150; i++) {
        snprintf(id, sizeof id, "event-%03d", i);
        int64_t delivery = put(id, hook, 1);
        if (i == 70) hidden = delivery;
    }
    commit();
    settle_attempt(149 * STORE_FANOUT_MAX, 1, S("the packed request"));
    settle(150 * STORE_FANOUT_MAX, DELIVERY_DELIVERED, "", 1); // no longer in the index
    check_in_steps(&steps, "{\"state\":\"done\",\"deliveries\":150,\"damaged\":0}");
    CHECK(steps >= 3);
    store_close(store);
    snprintf(text, sizeof text,
             "UPDATE event SET tags = 'x' WHERE id = 'event-003'; DELETE FROM request;"
             "DROP INDEX delivery_due; CREATE INDEX delivery_due ON delivery(hook, at_ms)"
             " WHERE state = 0 AND number <> %lld; PRAGMA writable_schema = ON;"
             "UPDATE sqlite_master SET sql = 'CREATE INDEX delivery_due ON delivery(hook, at_ms)"
             " WHERE state = 0' WHERE name = 'delivery_due'",
             (long long)hidden);
    run_sql(text);
    open_store();
    check_in_steps(&steps, "{\"state\":\"done\",\"deliveries\":150,\"damaged\":3}");
    finish();
}

// Flips single bits all over a store of known content: every row that loads
// must be the row that was written.
static void no_flipped_bit_gets_an_altered_event_out(void) {
    start();
    int64_t hook = hook_number("a"), deliveries[20];
    for (int i = 0; i < 20; i++) {
        char id[24];
        snprintf(id, sizeof id, "e%02d", i);
        deliveries[i] = put_alone(id, hook, 1);
    }
    store_close(store);
    char path[128], saved[128];
    file_path(path, "tuma.db");
    file_path(saved, "saved");
    struct stat st;
    CHECK(stat(path, &st) == 0);
    int found = 0;
    unsigned random = 12345;
    char *bytes = malloc((size_t)st.st_size);
    int fd = open(path, O_RDONLY);
    CHECK(pread(fd, bytes, (size_t)st.st_size, 0) == st.st_size);
    close(fd);
    for (int round = 0; round < 150; round++) {
        random = random * 1103515245 + 12345;
        off_t at = (off_t)((random >> 4) % (unsigned)st.st_size);
        write_file("tuma.db", bytes, (size_t)st.st_size);
        flip("tuma.db", at);
        store = store_open(&(struct store_opts){ .dir = dir }, &fail);
        if (!store) {
            found++; // refused
            continue;
        }
        for (int i = 0; i < 20; i++) {
            struct arena arena;
            struct store_job job;
            char id[24];
            arena_init(&arena, 1 << 20);
            snprintf(id, sizeof id, "e%02d", i);
            enum err err = store_load_job(store, deliveries[i], &arena, &job, &fail);
            if (err) {
                found++;
            } else {
                CHECK_SLICE(job.event_id, slice_str(id));
                CHECK_TEXT(job.tags_json, "{\"call_id\":\"c1\",\"duration\":61}");
                CHECK_INT(job.hook, hook);
            }
            arena_deinit(&arena);
        }
        store_close(store);
    }
    free(bytes);
    CHECK(found > 0);
    store = NULL;
    finish();
}

static void a_store_that_vanishes_stops_the_writer(void) {
    start();
    put_alone("e1", 1, 1);
    char path[128], away[128];
    file_path(path, "tuma.db");
    file_path(away, "moved");
    CHECK(rename(path, away) == 0);
    CHECK_INT(store_begin(store, &fail), ERR_IO);
    CHECK_TEXT(slice_str(fail.type), "store_replaced");
    CHECK(rename(away, path) == 0);
    CHECK_INT(store_begin(store, &fail), ERR_IO); // it stays stopped
    store_close(store);
    open_store(); // and nothing was lost
    CHECK_INT(list((struct store_filter){ .hook = 0 }, 10).count, 1);
    finish();
}

static void a_store_of_somebody_else_is_refused(void) {
    start();
    put_alone("e1", 1, 1);
    store_close(store);
    CHECK(chmod(dir, geteuid() == 0 ? 0700 : 0) == 0);
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        if (geteuid() == 0 && setuid(65534) != 0) _exit(9);
        struct store *wrong = store_open(&(struct store_opts){ .dir = dir, .create = true }, &fail);
        struct store_reader *r = store_reader_open(dir, NULL);
        _exit(!wrong && !r && fail.code == ERR_DENIED && strcmp(fail.type, "store_denied") == 0
                  ? 0
                  : 1);
    }
    int status = -1;
    waitpid(child, &status, 0);
    CHECK_INT(status, 0);
    chmod(dir, 0700);
    open_store();
    CHECK_INT(list((struct store_filter){ .hook = 0 }, 10).count, 1);
    finish();
}

static void a_path_too_long_is_said(void) {
    char path[2000];
    memset(path, 'x', sizeof path - 1);
    path[sizeof path - 1] = '\0';
    CHECK(!store_open(&(struct store_opts){ .dir = path, .create = true }, &fail));
    CHECK_TEXT(slice_str(fail.type), "path_too_long");
}

static const struct check_case cases[] = {
    { "store: a second engine is refused", a_second_engine_is_refused },
    { "store: after a kill everything committed is there",
      after_a_kill_everything_committed_is_there },
    { "store: a broken store is never replaced by an empty one",
      a_broken_store_is_never_replaced_by_an_empty_one },
    { "store: a newer or foreign database is refused", a_newer_or_foreign_database_is_refused },
    { "store: a damaged log is refused instead of cut", a_damaged_log_is_refused_instead_of_cut },
    { "store: a torn end of the log is no damage", a_torn_end_of_the_log_is_no_damage },
    { "store: a row that changed on disk is not sent", a_row_that_changed_on_disk_is_not_sent },
    { "store: a row that wandered or vanished is not sent",
      a_row_that_wandered_or_vanished_is_not_sent },
    { "store: the check beside the engine finds what would not be sent",
      the_check_beside_the_engine_finds_what_would_not_be_sent },
    { "store: no flipped bit gets an altered event out", no_flipped_bit_gets_an_altered_event_out },
    { "store: a store that vanishes stops the writer", a_store_that_vanishes_stops_the_writer },
    { "store: a store of somebody else is refused", a_store_of_somebody_else_is_refused },
    { "store: a path too long is said", a_path_too_long_is_said },
};
CHECK_MAIN(cases)
