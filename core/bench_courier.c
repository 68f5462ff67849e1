// The courier by itself: a fixed number of requests is always under way to one
// receiver, each sent again as soon as it is answered. What wrk does, with what
// wrk leaves out: the guard, the verdict, the caps, the answer kept.
#include "bench_courier.h"

#include <stdio.h>
#include <string.h>
#include <uv.h>

#include "clock.h"
#include "courier.h"

enum {
    UNDER_WAY = 64, // connections, once they are open
    WARM_MS = 500,  // until they are
    MEASURE_MS = 3000,
    QUICK_MS = 100, // each of them in a quick run
    ATTEMPT_BYTES_MAX = 1 << 20,
};

static const char body[] =
    "{\"call_id\":\"CA5a1f0c6e2b9d4f7a\",\"from\":\"+14155550132\",\"to\":\"+14155550199\",\"seconds\":"
    "182,\"campaign\":\"spring-24\",\"recording\":\"https://rec.example.com/CA5a1f0c6e2b9d4f7a.mp3\"}";

struct run {
    uv_loop_t loop;
    uv_timer_t timer;
    struct resolver *resolver;
    struct courier *courier;
    struct request request;
    struct header headers[2];
    struct flight {
        struct transfer transfer;
        struct arena arena;
    } flights[UNDER_WAY];
    uint64_t warm_ms, measure_ms;
    bool measures, stops;
    int64_t start_ns, start_cpu_ns;
    double seconds, cpu_seconds;
    size_t sent;
    char problem[160]; // of the one that failed, which ends it all
};

static void launch(struct run *run, struct flight *flight) {
    arena_deinit(&flight->arena);
    flight->transfer =
        (struct transfer){ .request = &run->request,
                           .arena = &flight->arena,
                           .done = flight->transfer.done,
                           .user = run,
                           .attempt = { .number = 1, .started_ms = clock_wall_ms() } };
    courier_send(run->courier, &flight->transfer);
}

static void on_resolver_closed(void *user) {
    struct run *run = user;
    uv_close((uv_handle_t *)&run->timer, NULL);
}

static void on_courier_closed(void *user) {
    struct run *run = user;
    resolver_close(run->resolver, on_resolver_closed, run);
}

static void stop(struct run *run) {
    run->stops = true;
    uv_timer_stop(&run->timer);
    courier_close(run->courier, on_courier_closed, run);
}

static void on_answered(struct transfer *transfer) {
    struct run *run = transfer->user;
    const struct attempt *attempt = &transfer->attempt;
    if (run->stops) return;
    if (attempt->verdict != VERDICT_DELIVERED) {
        snprintf(run->problem, sizeof run->problem, "%s", attempt->error);
        stop(run);
        return;
    }
    run->sent += run->measures;
    launch(run, (struct flight *)transfer);
}

static void on_measured(uv_timer_t *timer) {
    struct run *run = timer->data;
    run->seconds = (double)(clock_mono_ns() - run->start_ns) / 1e9;
    run->cpu_seconds = (double)(clock_cpu_ns() - run->start_cpu_ns) / 1e9;
    stop(run);
}

static void on_warm(uv_timer_t *timer) {
    struct run *run = timer->data;
    run->measures = true;
    run->start_ns = clock_mono_ns();
    run->start_cpu_ns = clock_cpu_ns();
    uv_timer_start(timer, on_measured, run->measure_ms, 0);
}

static bool start(struct run *run, struct fail *fail) {
    static const struct guard guard = { .allow_private = true, .allow_http = true };
    run->resolver = resolver_new(&run->loop, &(struct resolver_opts){ 0 }, fail);
    if (!run->resolver) return false;
    run->courier = courier_new(
        &run->loop,
        &(struct courier_opts){ .guard = &guard, .resolver = run->resolver, .user_agent = "tuma" },
        fail);
    if (!run->courier) return false;
    uv_timer_start(&run->timer, on_warm, run->warm_ms, 0);
    for (int i = 0; i < UNDER_WAY; i++) {
        arena_init(&run->flights[i].arena, ATTEMPT_BYTES_MAX);
        run->flights[i].transfer.done = on_answered;
        launch(run, &run->flights[i]);
    }
    return true;
}

static void print_figures(const struct run *run, bool json_out) {
    double a_second = (double)run->sent / run->seconds;
    double cpu_us = run->cpu_seconds * 1e6 / (double)run->sent;
    printf(json_out ? "{\"courier\":{\"requests_a_second\":%.0f,\"cpu_us\":%.2f}}\n"
                    : "courier: %.0f requests a second, %.2f us of CPU each\n",
           a_second, cpu_us);
}

static int complain(const char *what, const char *why) {
    fprintf(stderr, "tuma: bench courier: %s %s\n", what, why);
    return 1;
}

int bench_courier(const char *url, bool json_out, bool quick) {
    struct fail fail = { 0 };
    static struct run run; // the attempts' texts are too large for the stack
    run.warm_ms = quick ? QUICK_MS : WARM_MS;
    run.measure_ms = quick ? QUICK_MS : MEASURE_MS;
    run.headers[0] = (struct header){ S("Content-Type"), S("application/json") };
    run.headers[1] = (struct header){ S("Authorization"), S("Bearer 0123456789abcdef") };
    run.request = (struct request){ .method = S("POST"),
                                    .url = slice_str(url),
                                    .headers = run.headers,
                                    .headers_count = 2,
                                    .body = slice(body, sizeof body - 1),
                                    .has_body = true };
    if (courier_global_init(&fail) != OK || uv_loop_init(&run.loop) != 0)
        return complain("cannot start:", fail.text);
    uv_timer_init(&run.loop, &run.timer);
    run.timer.data = &run;
    if (!start(&run, &fail)) return complain("cannot start:", fail.text);
    uv_run(&run.loop, UV_RUN_DEFAULT);
    for (int i = 0; i < UNDER_WAY; i++) arena_deinit(&run.flights[i].arena);
    uv_loop_close(&run.loop);
    if (*run.problem) return complain("a request failed:", run.problem);
    print_figures(&run, json_out);
    return 0;
}
