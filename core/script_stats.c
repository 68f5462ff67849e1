// Counters that outlive versions and pools. They are one table for the process, since
// a webhook's calls may go through several workers; the lock is held for some additions.
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "clock.h"
#include "crc.h"
#include "script_inner.h"

enum { ERRORS_KNOWN = 8, SAID_A_SECOND = 10 };

struct script_counters {
    struct script_stats stats;
    char name[80];
    struct script_error *error; // from the first one on
    struct known {
        uint32_t sum;
        uint64_t count;
    } known[ERRORS_KNOWN]; // a script that fails now this way, now that
    size_t known_next;
    int64_t said_second;
    unsigned said;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct map table; // by name; for as long as the process

static struct script_counters *counters_new(struct slice name) {
    struct script_counters *counters = calloc(1, sizeof *counters);
    if (!counters) return NULL;
    snprintf(counters->name, sizeof counters->name, "%.*s", SLICE_FMT(name));
    counters->stats.hook = slice_str(counters->name);
    if (map_put(&table, counters->stats.hook, counters)) return counters;
    free(counters);
    return NULL;
}

struct script_counters *script_counters_of(struct slice name) {
    pthread_mutex_lock(&lock);
    struct script_counters *counters = map_get(&table, name);
    if (!counters) counters = counters_new(name);
    pthread_mutex_unlock(&lock);
    return counters;
}

void script_counters_add(struct script_counters *counters, const struct script_call *call,
                         bool over) {
    if (!counters) return;
    struct script_stats *stats = &counters->stats;
    pthread_mutex_lock(&lock);
    stats->calls++;
    stats->cpu_ns += call->cpu_ns;
    if (call->memory_peak > stats->memory_peak) stats->memory_peak = call->memory_peak;
    stats->timeouts += over;
    stats->errors += call->outcome == SCRIPT_ERROR;
    pthread_mutex_unlock(&lock);
}

void script_counters_kill(struct script_counters *counters) {
    if (!counters) return;
    pthread_mutex_lock(&lock);
    counters->stats.kills++;
    pthread_mutex_unlock(&lock);
}

// --- errors ---

static uint64_t count_error(struct script_counters *counters, struct slice text) {
    uint32_t sum = crc32c(0, text);
    for (size_t i = 0; i < ERRORS_KNOWN; i++)
        if (counters->known[i].count && counters->known[i].sum == sum)
            return ++counters->known[i].count;
    counters->known[counters->known_next++ % ERRORS_KNOWN] = (struct known){ sum, 1 };
    return 1;
}

static void keep_error(struct script_counters *counters, const struct script_call *call,
                       uint64_t count) {
    if (!counters->error) counters->error = calloc(1, sizeof *counters->error);
    struct script_error *error = counters->error;
    if (!error) return;
    counters->stats.last_error = error;
    snprintf(error->text, sizeof error->text, "%.*s", SLICE_FMT(call->error));
    snprintf(error->stage, sizeof error->stage, "%.*s", SLICE_FMT(call->error_stage));
    snprintf(error->version, sizeof error->version, "%.*s", SLICE_FMT(call->hook->version));
    snprintf(error->event, sizeof error->event, "%.*s", SLICE_FMT(call->event->id));
    error->count = count;
    error->at_ms = clock_wall_ms();
    error->cpu_ns = call->cpu_ns;
    error->memory_peak = call->memory_peak;
}

static bool worth_saying(struct script_counters *counters, uint64_t count) {
    int64_t second = clock_mono_ns() / 1000 / 1000 / 1000;
    while (count >= 10 && count % 10 == 0) count /= 10;
    if (count != 1) return false;
    if (second != counters->said_second) counters->said = 0;
    counters->said_second = second;
    return ++counters->said <= SAID_A_SECOND;
}

uint64_t script_note_error(const struct script_call *call) {
    struct script_counters *counters = script_counters_of(call->hook->name);
    if (!counters) return 0;
    pthread_mutex_lock(&lock);
    uint64_t count = count_error(counters, call->error);
    keep_error(counters, call, count);
    if (!worth_saying(counters, count)) count = 0;
    pthread_mutex_unlock(&lock);
    return count;
}

void script_stats_each(void (*each)(void *user, const struct script_stats *stats), void *user) {
    size_t at = 0;
    struct map_entry *entry;
    pthread_mutex_lock(&lock);
    while ((entry = map_next(&table, &at)) != NULL)
        each(user, &((struct script_counters *)entry->value)->stats);
    pthread_mutex_unlock(&lock);
}
