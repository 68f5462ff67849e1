// Counters that outlive versions and pools. They are one table for the process, since
// a webhook's calls may go through several workers; the lock is held for some additions.
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "script_inner.h"

struct script_counters {
    struct script_stats stats;
    char name[80];
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

static void add_error(struct script_stats *stats, struct slice error) {
    char text[sizeof stats->last_error];
    snprintf(text, sizeof text, "%.*s", SLICE_FMT(error));
    stats->last_error_count = strcmp(text, stats->last_error) ? 1 : stats->last_error_count + 1;
    memcpy(stats->last_error, text, sizeof text);
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
    if (call->outcome == SCRIPT_ERROR) {
        stats->errors++;
        add_error(stats, call->error);
    }
    pthread_mutex_unlock(&lock);
}

void script_counters_kill(struct script_counters *counters) {
    if (!counters) return;
    pthread_mutex_lock(&lock);
    counters->stats.kills++;
    pthread_mutex_unlock(&lock);
}

void script_stats_each(void (*each)(void *user, const struct script_stats *stats), void *user) {
    size_t at = 0;
    struct map_entry *entry;
    pthread_mutex_lock(&lock);
    while ((entry = map_next(&table, &at)) != NULL)
        each(user, &((struct script_counters *)entry->value)->stats);
    pthread_mutex_unlock(&lock);
}
