// The pulse: what counts as a turn, what does not, and what is told of all loops.
#include "pulse.h"

#include <unistd.h>

#include "check.h"
#include "clock.h"

struct fixture {
    uv_loop_t loop;
    struct pulse pulse;
    uv_timer_t timer;
    int64_t work_ns, excuse_ns; // what the timer's turns do
    int turns_left;
};

static void on_timer(uv_timer_t *timer) {
    struct fixture *f = timer->data;
    int64_t end = clock_mono_ns() + f->work_ns;
    while (clock_mono_ns() < end) continue;
    pulse_excuse(&f->pulse, f->excuse_ns);
    if (--f->turns_left == 0) uv_timer_stop(timer);
}

// `turns` turns of so much work each, with `every_ms` between them.
static void run(struct fixture *f, int turns, uint64_t every_ms, int64_t work_ns,
                int64_t excuse_ns) {
    memset(f, 0, sizeof *f);
    f->work_ns = work_ns;
    f->excuse_ns = excuse_ns;
    f->turns_left = turns;
    uv_loop_init(&f->loop);
    pulse_start(&f->pulse, &f->loop, "test");
    uv_timer_init(&f->loop, &f->timer);
    f->timer.data = f;
    uv_timer_start(&f->timer, on_timer, 1, every_ms);
    uv_run(&f->loop, UV_RUN_DEFAULT);
}

static void end(struct fixture *f) {
    pulse_stop(&f->pulse);
    uv_close((uv_handle_t *)&f->timer, NULL);
    uv_run(&f->loop, UV_RUN_DEFAULT);
    CHECK_INT(uv_loop_close(&f->loop), 0);
}

static int64_t longest(const struct pulse_tally *tally) {
    return atomic_load(&tally->longest_ns);
}

static void work_counts(void) {
    struct fixture f;
    run(&f, 3, 1, 40000000, 0);
    CHECK(longest(&f.pulse.clock) >= 38000000);
    CHECK(longest(&f.pulse.cpu) > 0 && longest(&f.pulse.cpu) <= longest(&f.pulse.clock));
    end(&f);
}

// However loaded the machine is: a turn that slept for a second would show it.
static void sleep_does_not_count(void) {
    struct fixture f;
    run(&f, 3, 1000, 0, 0);
    CHECK(longest(&f.pulse.clock) < 900000000);
    end(&f);
}

static void what_is_excused_does_not_count(void) {
    struct fixture f;
    run(&f, 3, 1, 2000000, 60000000000);
    CHECK_INT(longest(&f.pulse.clock), 0);
    end(&f);
}

// A wait within a turn, whoever is to blame, is on the clock and not on the processor's. It
// is in the second turn: on a busy machine the first may come before the loop asks at all.
static void on_wait(uv_timer_t *timer) {
    struct fixture *f = timer->data;
    if (--f->turns_left) return;
    usleep(300000);
    uv_timer_stop(timer);
}

static void waiting_is_no_work(void) {
    struct fixture f;
    memset(&f, 0, sizeof f);
    uv_loop_init(&f.loop);
    pulse_start(&f.pulse, &f.loop, "test");
    uv_timer_init(&f.loop, &f.timer);
    f.timer.data = &f;
    f.turns_left = 2;
    uv_timer_start(&f.timer, on_wait, 1, 1);
    uv_run(&f.loop, UV_RUN_DEFAULT);
    CHECK(longest(&f.pulse.clock) >= 290000000);
    CHECK(longest(&f.pulse.cpu) < 200000000);
    end(&f);
}

static void one_long_turn_of_many_is_no_percentile(void) {
    struct pulse_tally tally;
    memset(&tally, 0, sizeof tally);
    CHECK_INT(pulse_p999_ns(&tally), 0);
    tally.buckets[3] = 9990; // the fourth bucket ends at 4 × 16 µs
    tally.buckets[40] = 9;
    CHECK_INT(pulse_p999_ns(&tally), 4 << 14);
    tally.buckets[40] = 11;
    CHECK(pulse_p999_ns(&tally) > 5000000);
}

static void every_loop_is_told_until_it_stops(void) {
    struct fixture one, two;
    struct buf out;
    buf_init(&out, 4096);
    run(&one, 2, 1, 0, 0);
    run(&two, 2, 1, 0, 0);
    pulse_write_all(&out);
    const char *first = strstr(out.p, "{\"loop\":\"test\",\"turns\":");
    CHECK(first && strstr(first + 1, "{\"loop\":\"test\",\"turns\":"));
    end(&one);
    end(&two);
    buf_clear(&out);
    pulse_write_all(&out);
    CHECK_TEXT(buf_slice(&out), "[]");
    buf_deinit(&out);
}

int main(void) {
    static const struct check_case cases[] = {
        { "work counts", work_counts },
        { "sleep does not count", sleep_does_not_count },
        { "what is excused does not count", what_is_excused_does_not_count },
        { "waiting is no work", waiting_is_no_work },
        { "one long turn of many is no percentile", one_long_turn_of_many_is_no_percentile },
        { "every loop is told until it stops", every_loop_is_told_until_it_stops },
    };
    return check_run(cases, sizeof cases / sizeof *cases);
}
