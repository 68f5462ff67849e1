// The check in the background, for a store that was too large to be checked when it
// was opened after an unclean stop. It asks of every delivery what its start would ask:
// do row, event and request still have their sums? And of a pending one, whether the
// index leads to it, since nothing else finds it. Each step is a few rows with a
// snapshot of their own, so that the log can be put away meanwhile. It only tells: a
// damaged delivery is parked when its turn comes, before anything of it is sent.
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "clock.h"
#include "log.h"
#include "store_inner.h"

enum {
    STEP_ROWS = 64,
    STEP_NS = 1000 * 1000,   // then what is left of them waits: rows may be large
    TELL_MAX = 20,           // damaged deliveries named in the log
    ROW_BYTES_MAX = 8 << 20, // an event, a request
};

struct store_check {
    struct store_reader *reader;
    int64_t after; // the last delivery looked at
};

// What the process's check found; the status is written by another thread.
enum check_state { CHECK_NONE, CHECK_RUNNING, CHECK_DONE, CHECK_FAILED };
static struct {
    _Atomic(enum check_state) state;
    atomic_uint_fast64_t looked_at, damaged;
} told;

struct store_check *store_check_start(const char *dir, struct fail *fail) {
    struct store_check *check = calloc(1, sizeof *check);
    struct store_reader *reader = check ? store_reader_open(dir, fail) : NULL;
    if (!reader) {
        if (!check) fail_set(fail, ERR_NOMEM, 0, "no_memory", "checking the store: no memory");
        free(check);
        return NULL;
    }
    check->reader = reader;
    atomic_store(&told.looked_at, 0);
    atomic_store(&told.damaged, 0);
    atomic_store(&told.state, CHECK_RUNNING);
    return check;
}

void store_check_end(struct store_check *check) {
    if (!check) return;
    store_reader_close(check->reader);
    free(check);
}

static void tell_damage(int64_t delivery, const char *text) {
    char number[24];
    if (atomic_fetch_add(&told.damaged, 1) >= TELL_MAX) return;
    snprintf(number, sizeof number, "%lld", (long long)delivery);
    log_line(LOG_ERROR, "the store is damaged", "delivery", number, "error", text, NULL);
}

static void finish(enum check_state state, const char *error) {
    char looked_at[24], damaged[24];
    snprintf(looked_at, sizeof looked_at, "%llu", (unsigned long long)told.looked_at);
    snprintf(damaged, sizeof damaged, "%llu", (unsigned long long)told.damaged);
    log_line(told.damaged || error ? LOG_ERROR : LOG_INFO, "store checked after an unclean stop",
             "deliveries", looked_at, "damaged", damaged, error ? "error" : NULL, error, NULL);
    atomic_store(&told.state, state);
}

// False when there is no memory for it just now.
static bool look_at(struct store_check *check, int64_t delivery, bool reachable) {
    struct fail fail = { 0 };
    struct store_job job = { .hook = 0 };
    struct arena arena;
    int rc;
    arena_init(&arena, ROW_BYTES_MAX);
    enum err err = store_read_job(&check->reader->sql, delivery, &arena, &job, &rc, &fail);
    arena_deinit(&arena);
    if (err == ERR_NOMEM) return false;
    if (err == ERR_INPUT)
        tell_damage(delivery, fail.text);
    else if (err != ERR_NOTFOUND && !reachable) // else it was retired meanwhile
        tell_damage(delivery, "it is pending, but the index does not lead to it");
    atomic_fetch_add(&told.looked_at, 1);
    check->after = delivery;
    return true;
}

struct check_page {
    int64_t delivery[STEP_ROWS];
    bool reachable[STEP_ROWS];
    size_t count;
};

static int read_page(struct store_check *check, struct check_page *page) {
    struct query q = query_start(&check->reader->sql, SQL_CHECK_PAGE);
    query_put_int(&q, check->after);
    query_put_int(&q, STEP_ROWS);
    for (; page->count < STEP_ROWS && query_step(&q); page->count++) {
        page->delivery[page->count] = query_get_int(&q);
        page->reachable[page->count] = query_get_int(&q) != 0;
    }
    return query_end(&q);
}

bool store_check_step(struct store_check *check) {
    struct check_page page = { .count = 0 };
    struct fail fail = { 0 };
    int rc = read_page(check, &page);
    if (rc != SQLITE_OK) {
        enum err err = sql_error(check->reader->sql.db, rc, "checking the store", &fail);
        if (err == ERR_NOMEM || err == ERR_NOT_NOW) return true;
        finish(CHECK_FAILED, fail.text);
        return false;
    }
    int64_t end_ns = clock_mono_ns() + STEP_NS;
    for (size_t i = 0; i < page.count; i++) {
        if (!look_at(check, page.delivery[i], page.reachable[i])) return true;
        if (clock_mono_ns() > end_ns && i + 1 < page.count) return true;
    }
    if (page.count == STEP_ROWS) return true;
    finish(CHECK_DONE, NULL);
    return false;
}

void store_check_write(struct buf *out) {
    static const char *const states[] = { "none", "running", "done", "failed" };
    buf_printf(out, "{\"state\":\"%s\",\"deliveries\":%llu,\"damaged\":%llu}",
               states[atomic_load(&told.state)], (unsigned long long)atomic_load(&told.looked_at),
               (unsigned long long)atomic_load(&told.damaged));
}
