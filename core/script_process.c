// One script process as its parent sees it: started through libuv with a socket and
// a shared page, read and written in batches, watched while it works, mourned when
// its socket has ended and its status is known: only then is everything read that it
// answered before it died.
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "clock.h"
#include "script_inner.h"

enum {
    READ_BYTES = 64 * 1024,
    OUT_MAX = 2 * WIRE_FRAME_MAX,
    WALL_FACTOR =
        8, // a call may take so many times its CPU limit by the wall: others want the CPU too
};

static void process_free(struct script_process *process) {
    struct script_pool *pool = process->pool;
    list_remove(&process->link);
    script_version_drop_all(process, NULL);
    map_deinit(&process->by_hook);
    buf_deinit(&process->in);
    buf_deinit(&process->out);
    buf_deinit(&process->writing);
    if (process->beat) munmap(process->beat, sizeof *process->beat);
    free(process->free_numbers);
    free(process);
    script_pool_release(pool);
}

// Both the end of the socket and the exit status are there.
static void on_handle_closed(uv_handle_t *handle) {
    struct script_process *process = handle->data;
    if (--process->handles) return;
    struct script_pool *pool = process->pool;
    if (!pool->closing) {
        pool->failed_starts[process->lane] =
            process->answered ? 0 : pool->failed_starts[process->lane] + 1;
        if (process->lane == LANE_FILES)
            script_task_bury(process);
        else
            script_queue_bury(process);
        script_pool_kick(pool);
    }
    process_free(process);
}

static void part(struct script_process *process) {
    process->running = false;
    if (process->pool->lanes[process->lane] == process) process->pool->lanes[process->lane] = NULL;
}

static void on_exited(uv_process_t *handle, int64_t status, int signal) {
    struct script_process *process = handle->data;
    process->exit_status = (int)status;
    // Who exits closes its socket first, and on_pipe_ended may be faster than its status.
    process->exit_signal = signal == SIGKILL && process->hung_up ? 0 : signal;
    part(process);
    uv_close((uv_handle_t *)handle, on_handle_closed);
}

// Not once its status came: the number may be another's by then.
static void send_kill(struct script_process *process) {
    if (!uv_is_closing((uv_handle_t *)&process->process))
        uv_process_kill(&process->process, SIGKILL);
}

static void on_pipe_ended(struct script_process *process) {
    process->hung_up = true;
    part(process);
    send_kill(process); // a child that only closed its socket is of no use either
    if (!uv_is_closing((uv_handle_t *)&process->pipe))
        uv_close((uv_handle_t *)&process->pipe, on_handle_closed);
}

void script_process_kill(struct script_process *process, const char *why) {
    if (!process->killed_for) process->killed_for = why;
    part(process);
    send_kill(process);
}

const char *script_process_epitaph(const struct script_process *process) {
    static char text[120];
    if (process->killed_for)
        snprintf(text, sizeof text, "%s", process->killed_for);
    else if (process->exit_signal)
        snprintf(text, sizeof text, "it crashed (%s)", strsignal(process->exit_signal));
    else
        snprintf(text, sizeof text, "it ended with status %d", process->exit_status);
    return text;
}

// --- reading ---

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *room) {
    struct script_process *process = handle->data;
    (void)suggested;
    char *p = buf_reserve(&process->in, READ_BYTES);
    *room = uv_buf_init(p, p ? READ_BYTES : 0);
}

static void on_frame(struct script_process *process, enum wire_kind kind, struct slice body) {
    process->answered = true;
    process->answers++;
    switch (kind) {
    case WIRE_DONE: script_queue_done(process, body); break;
    case WIRE_LOG: script_queue_log(process, body); break;
    case WIRE_DESCRIBED: script_task_described(process, body); break;
    case WIRE_TESTED: script_task_tested(process, body); break;
    default: script_process_kill(process, "an unexpected message from it");
    }
}

// Frames are handled even after a kill: what was answered is answered. They are not
// once the pool closes, since nothing is out there then.
static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *room) {
    struct script_process *process = stream->data;
    (void)room;
    if (n < 0) {
        on_pipe_ended(process);
        return;
    }
    process->in.n += (size_t)n;
    struct slice rest = buf_slice(&process->in), body;
    enum wire_kind kind;
    while (!process->pool->closing && (kind = wire_next(&rest, &body)) != WIRE_NONE)
        on_frame(process, kind, body);
    if (!rest.p) {
        script_process_kill(process, "a broken message from it");
        buf_clear(&process->in);
        return;
    }
    memmove(process->in.p, rest.p, rest.n);
    process->in.n = rest.n;
    script_pool_kick(process->pool);
}

// --- writing ---

static void on_written(uv_write_t *write, int status) {
    struct script_process *process = write->data;
    buf_clear(&process->writing);
    write->data = NULL;
    if (status == 0) script_process_flush(process);
}

void script_process_flush(struct script_process *process) {
    if (process->out.failed) script_process_kill(process, "too much to say to it");
    if (!process->running || !process->out.n || process->write.data) return;
    uv_stream_t *stream = (uv_stream_t *)&process->pipe;
    uv_buf_t all = uv_buf_init(process->out.p, (unsigned)process->out.n);
    int sent = uv_try_write(stream, &all, 1);
    if (sent < 0 && sent != UV_EAGAIN) {
        script_process_kill(process, "its socket failed");
        return;
    }
    if (sent == (int)process->out.n) {
        buf_clear(&process->out);
        return;
    }
    struct buf rest = process->out;
    process->out = process->writing;
    process->writing = rest;
    size_t from = sent > 0 ? (size_t)sent : 0;
    uv_buf_t left = uv_buf_init(rest.p + from, (unsigned)(rest.n - from));
    process->write.data = process;
    uv_write(&process->write, stream, &left, 1, on_written);
}

// --- start ---

// The page goes to the child as a descriptor; ours is closed after the start.
static int beat_open(struct script_process *process) {
    int fd = memfd_create("tuma-beat", MFD_CLOEXEC);
    if (fd < 0) return -1;
    if (ftruncate(fd, sizeof *process->beat) == 0) {
        void *page = mmap(NULL, sizeof *process->beat, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (page != MAP_FAILED) {
            process->beat = page;
            return fd;
        }
    }
    close(fd);
    return -1;
}

static int spawn(struct script_process *process, int beat_fd) {
    static const char *const lane_names[LANES] = { "calls", "slow", "files" };
    char *args[] = { (char *)"tuma", (char *)"__sandbox", (char *)lane_names[process->lane], NULL };
    char *env[] = { (char *)"TZ=UTC", NULL };
    uv_stdio_container_t stdio[WIRE_BEAT_FD + 1] = { { .flags = UV_IGNORE } };
    stdio[WIRE_FD].flags = UV_CREATE_PIPE | UV_READABLE_PIPE | UV_WRITABLE_PIPE;
    stdio[WIRE_FD].data.stream = (uv_stream_t *)&process->pipe;
    stdio[WIRE_BEAT_FD].flags = UV_INHERIT_FD;
    stdio[WIRE_BEAT_FD].data.fd = beat_fd;
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    stdio[2].flags = UV_INHERIT_FD; // where the sanitizers report
    stdio[2].data.fd = 2;
#endif
    uv_process_options_t options = { .file = process->pool->opts.program,
                                     .args = args,
                                     .env = env,
                                     .stdio = stdio,
                                     .stdio_count = WIRE_BEAT_FD + 1,
                                     .exit_cb = on_exited };
    return uv_spawn(process->pool->loop, &process->process, &options);
}

static void say_hello(struct script_process *process) {
    const struct script_opts *o = &process->pool->opts;
    bool files = process->lane == LANE_FILES;
    // a version that is to run was loaded before in the files' process: it has no
    // business to take long, and the calls of others wait behind it
    int64_t load_ms = files || process->lane == LANE_SLOW || o->load_ms < 2 * o->soft_ms
                          ? o->load_ms
                          : 2 * o->soft_ms;
    wire_put_hello(&process->out, &(struct wire_hello){ .soft_ms = o->soft_ms,
                                                        .load_ms = load_ms,
                                                        .memory_max = o->memory_max,
                                                        .parent = (uint64_t)getpid(),
                                                        .slow = process->lane != LANE_FAST });
}

static struct script_process *process_new(struct script_pool *pool, enum script_lane lane) {
    struct script_process *process = calloc(1, sizeof *process);
    if (!process) return NULL;
    process->pool = pool;
    process->lane = lane;
    process->process.data = process->pipe.data = process;
    buf_init(&process->in, WIRE_FRAME_MAX + 2 * READ_BYTES);
    buf_init(&process->out, OUT_MAX);
    buf_init(&process->writing, OUT_MAX);
    list_init(&process->sent);
    list_init(&process->tasks);
    list_init(&process->versions);
    map_init(&process->by_hook);
    list_push(&pool->processes, &process->link);
    pool->handles++;
    return process;
}

struct script_process *script_process_start(struct script_pool *pool, enum script_lane lane,
                                            struct fail *fail) {
    struct script_process *process = process_new(pool, lane);
    int beat_fd = process ? beat_open(process) : -1;
    if (beat_fd < 0) {
        fail_set(fail, ERR_NOMEM, 0, "no_memory", "starting a script process: %s", strerror(errno));
        if (process) process_free(process);
        return NULL;
    }
    process->handles = 2;
    uv_pipe_init(pool->loop, &process->pipe, 0);
    int err = spawn(process, beat_fd);
    close(beat_fd);
    if (err) {
        fail_set(fail, ERR_IO, 0, "script_process", "starting a script process: %s",
                 uv_strerror(err));
        uv_close((uv_handle_t *)&process->process, on_handle_closed);
        uv_close((uv_handle_t *)&process->pipe, on_handle_closed);
        return NULL;
    }
    process->running = true;
    process->watched_answers = -1; // the first look is the base of the next
    if (clock_getcpuclockid(process->process.pid, &process->cpu_clock) != 0)
        process->cpu_clock = CLOCK_MONOTONIC;
    uv_read_start((uv_stream_t *)&process->pipe, on_alloc, on_read);
    pool->lanes[lane] = process;
    say_hello(process);
    return process;
}

// --- watchdog ---

static int64_t hard_ns(const struct script_process *process, uint64_t beat) {
    const struct script_opts *o = &process->pool->opts;
    int64_t ms = beat & WIRE_BEAT_LOAD ? o->load_ms + o->hard_ms : o->hard_ms;
    if (!list_empty(&process->tasks))
        ms = list_item(process->tasks.next, struct script_task, link)->hard_ms;
    return ms * 1000000;
}

// Judged by the CPU time of the child since its beat last changed, so that a busy
// machine condemns nobody; by the wall only for one that does not even run.
void script_process_watch(struct script_process *process) {
    struct timespec used = { 0 };
    clock_gettime(process->cpu_clock, &used);
    int64_t cpu_ns = (int64_t)used.tv_sec * 1000000000 + used.tv_nsec;
    int64_t wall_ns = clock_mono_ns();
    uint64_t beat = atomic_load_explicit(&process->beat->serial, memory_order_relaxed);
    if (beat != process->watched || process->answers != process->watched_answers) {
        process->watched = beat;
        process->watched_answers = process->answers;
        process->watched_cpu_ns = cpu_ns;
        process->watched_wall_ns = wall_ns;
        return;
    }
    int64_t limit = hard_ns(process, beat);
    if (cpu_ns - process->watched_cpu_ns >= limit)
        script_process_kill(process, "it passed the hard limit on CPU time");
    else if (wall_ns - process->watched_wall_ns >= WALL_FACTOR * limit)
        script_process_kill(process, "it did not answer");
}
