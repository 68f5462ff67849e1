// libuv runs prepare handles right before it asks the kernel and check handles
// after the callbacks of what came. When the kernel answered it says itself, to
// the millisecond (uv_now); that costs nothing, while uv_metrics_idle_time would
// cost a system call a turn. The processor's clock costs one, too: it is read
// once a millisecond at most, so a long turn may count a millisecond too much.
#include "pulse.h"

#include <pthread.h>

#include "clock.h"

enum { FIRST_BITS = 14 }; // durations below 16 µs share a bucket
static const int64_t MS_NS = 1000000;

static struct list pulses = { &pulses, &pulses };
static pthread_mutex_t pulses_lock = PTHREAD_MUTEX_INITIALIZER;

// --- Tallies ---

// Four buckets an octave: the position of the highest bit and the two below it.
static unsigned bucket_of(int64_t ns) {
    uint64_t units = (uint64_t)ns >> FIRST_BITS;
    if (units < 4) return (unsigned)units;
    unsigned top = 63 - (unsigned)__builtin_clzll(units);
    unsigned bucket = 4 * (top - 1) + (unsigned)(units >> (top - 2) & 3);
    return bucket < PULSE_BUCKETS ? bucket : PULSE_BUCKETS - 1;
}

static int64_t bucket_end_ns(unsigned bucket) {
    if (bucket < 4) return ((int64_t)bucket + 1) << FIRST_BITS;
    return ((int64_t)(4 + bucket % 4) + 1) << (bucket / 4 - 1) << FIRST_BITS;
}

// Only the loop's own thread writes, so a load and a store make an addition.
static void count(struct pulse_tally *tally, int64_t ns) {
    if (ns < 0) ns = 0;
    atomic_ullong *bucket = &tally->buckets[bucket_of(ns)];
    unsigned long long seen = atomic_load_explicit(bucket, memory_order_relaxed);
    atomic_store_explicit(bucket, seen + 1, memory_order_relaxed);
    if (ns > atomic_load_explicit(&tally->longest_ns, memory_order_relaxed))
        atomic_store_explicit(&tally->longest_ns, ns, memory_order_relaxed);
}

static unsigned long long turns_of(const struct pulse_tally *tally) {
    unsigned long long turns = 0;
    for (unsigned i = 0; i < PULSE_BUCKETS; i++)
        turns += atomic_load_explicit(&tally->buckets[i], memory_order_relaxed);
    return turns;
}

int64_t pulse_p999_ns(const struct pulse_tally *tally) {
    unsigned long long turns = turns_of(tally), seen = 0;
    if (!turns) return 0;
    for (unsigned i = 0; i < PULSE_BUCKETS; i++) {
        seen += atomic_load_explicit(&tally->buckets[i], memory_order_relaxed);
        if (seen * 1000 >= turns * 999) return bucket_end_ns(i);
    }
    return bucket_end_ns(PULSE_BUCKETS - 1);
}

// --- The loop ---

static void on_before(uv_prepare_t *before) {
    struct pulse *pulse = before->data;
    if (!pulse->begun_ns) return;
    int64_t now_ns = clock_mono_ns(), took_ns = now_ns - pulse->begun_ns, cpu_ns = took_ns;
    if (took_ns > MS_NS) {
        int64_t cpu_now_ns = clock_cpu_ns(), used_ns = cpu_now_ns - pulse->cpu_ns;
        if (used_ns < cpu_ns) cpu_ns = used_ns;
        pulse->cpu_ns = cpu_now_ns;
        pulse->looked_ns = now_ns;
    }
    count(&pulse->clock, took_ns - pulse->excused_ns);
    count(&pulse->cpu, cpu_ns);
    pulse->excused_ns = 0;
}

// libuv cuts the time off to the millisecond; half of one is the likely rest.
static void on_after(uv_check_t *after) {
    struct pulse *pulse = after->data;
    int64_t now_ns = clock_mono_ns();
    int64_t answered_ns = (int64_t)uv_now(after->loop) * MS_NS + MS_NS / 2;
    pulse->begun_ns = answered_ns < now_ns ? answered_ns : now_ns;
    // Not in the middle of a long turn: what was used so far belongs to it.
    if (now_ns - pulse->begun_ns > MS_NS || now_ns - pulse->looked_ns < MS_NS) return;
    pulse->cpu_ns = clock_cpu_ns();
    pulse->looked_ns = now_ns;
}

void pulse_start(struct pulse *pulse, uv_loop_t *loop, const char *name) {
    pulse->name = name;
    uv_prepare_init(loop, &pulse->before);
    uv_check_init(loop, &pulse->after);
    pulse->before.data = pulse->after.data = pulse;
    uv_prepare_start(&pulse->before, on_before);
    uv_check_start(&pulse->after, on_after);
    uv_unref((uv_handle_t *)&pulse->before);
    uv_unref((uv_handle_t *)&pulse->after);
    list_init(&pulse->link);
    pthread_mutex_lock(&pulses_lock);
    list_push(&pulses, &pulse->link);
    pthread_mutex_unlock(&pulses_lock);
}

void pulse_stop(struct pulse *pulse) {
    pthread_mutex_lock(&pulses_lock);
    list_remove(&pulse->link);
    pthread_mutex_unlock(&pulses_lock);
    uv_close((uv_handle_t *)&pulse->before, NULL);
    uv_close((uv_handle_t *)&pulse->after, NULL);
}

void pulse_excuse(struct pulse *pulse, int64_t ns) {
    pulse->excused_ns += ns;
}

// --- What is told ---

static void write_tally(struct buf *out, const char *prefix, const struct pulse_tally *tally) {
    long long longest_ns = atomic_load_explicit(&tally->longest_ns, memory_order_relaxed);
    int64_t p999_ns = pulse_p999_ns(tally);
    if (p999_ns > longest_ns) p999_ns = longest_ns; // the bucket's end is not reached
    buf_printf(out, ",\"%sp999_ms\":%.2f,\"%smax_ms\":%.2f", prefix, (double)p999_ns / 1e6, prefix,
               (double)longest_ns / 1e6);
}

void pulse_write_all(struct buf *out) {
    buf_byte(out, '[');
    pthread_mutex_lock(&pulses_lock);
    for (struct list *link = pulses.next; link != &pulses; link = link->next) {
        const struct pulse *pulse = list_item(link, struct pulse, link);
        if (link != pulses.next) buf_byte(out, ',');
        buf_printf(out, "{\"loop\":\"%s\",\"turns\":%llu", pulse->name, turns_of(&pulse->clock));
        write_tally(out, "", &pulse->clock);
        write_tally(out, "cpu_", &pulse->cpu);
        buf_byte(out, '}');
    }
    pthread_mutex_unlock(&pulses_lock);
    buf_byte(out, ']');
}
