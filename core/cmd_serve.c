// tuma serve: the engine with its API, until a signal ends it.
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <uv.h>

#include "cli.h"
#include "commands.h"
#include "engine.h"
#include "log.h"

enum { SIGNALS = 3 };

struct serve {
    uv_loop_t loop;
    uv_signal_t signals[SIGNALS];
    struct config config;
    struct engine *engine;
    int status;
};

static void on_ready(void *user, struct engine *engine) {
    struct serve *s = user;
    char port[16], count[16];
    snprintf(port, sizeof port, "%d", engine_port(engine));
    snprintf(count, sizeof count, "%zu", engine_hooks(engine)->count);
    log_line(LOG_INFO, "listening", "host", s->config.host, "port", port, "webhooks", count, NULL);
    if (s->config.allow_private)
        log_line(LOG_WARN, "private and loopback addresses may be dialled: never outside of a demo",
                 NULL);
}

static void on_stopped(void *user, const struct fail *fail) {
    struct serve *s = user;
    if (fail->code != OK) s->status = cli_fail(EXIT_STORE, fail);
    for (int i = 0; i < SIGNALS; i++) uv_close((uv_handle_t *)&s->signals[i], NULL);
    log_line(LOG_INFO, "stopped", NULL);
}

static void on_signal(uv_signal_t *handle, int number) {
    struct serve *s = handle->data;
    if (number == SIGHUP)
        engine_reload(s->engine);
    else
        engine_stop(s->engine);
}

static void watch_signals(struct serve *s) {
    static const int numbers[SIGNALS] = { SIGTERM, SIGINT, SIGHUP };
    for (int i = 0; i < SIGNALS; i++) {
        uv_signal_init(&s->loop, &s->signals[i]);
        s->signals[i].data = s;
        uv_signal_start(&s->signals[i], on_signal, numbers[i]);
    }
}

int cmd_serve(int argc, char **argv) {
    static struct serve s;
    const struct cli_command command = {
        .name = "serve",
        .usage = "[SETTINGS]",
        .settings = true,
        .summary =
            "Takes events over HTTP (POST /v1/events), stores them, delivers them, logs every attempt.",
        .details = "SIGTERM and SIGINT stop cleanly, SIGHUP reads scripts and secrets again."
    };
    char **rest;
    int count, status = cli_parse(&command, &s.config, argc, argv, &rest, &count);
    if (status >= 0) return status;
    config_close_own(&s.config);
    if (count) return cli_say(EXIT_USAGE, "serve takes no argument \"%s\"", rest[0]);
    struct fail fail = { 0 };
    if (uv_loop_init(&s.loop)) return cli_say(EXIT_STORE, "no memory for an event loop");
    watch_signals(&s);
    s.engine = engine_start(&s.loop,
                            &(struct engine_opts){ .config = &s.config,
                                                   .api = true,
                                                   .watch = true,
                                                   .ready = on_ready,
                                                   .stopped = on_stopped,
                                                   .user = &s },
                            &fail);
    if (!s.engine) return cli_fail(EXIT_STORE, &fail);
    uv_run(&s.loop, UV_RUN_DEFAULT);
    uv_loop_close(&s.loop);
    engine_free(s.engine);
    config_deinit(&s.config);
    return s.status;
}
