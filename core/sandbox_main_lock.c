// What a script process gives up. In order of strength: no privileges by exec, no
// descriptors but its two, limits on everything the kernel counts, and a filter that
// leaves memory, the clocks, the socket that is open, and the end of the process.
//
// A refused system call answers EPERM instead of killing: libc asks for harmless
// things (a zone file, a locale) when it formats a date, and must hear no.
#include <errno.h>
#include <seccomp.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "sandbox_main_inner.h"

enum {
    STACK_BYTES = 64 * 1024 * 1024, // the C depth limit is meant for 8 MB and more
    STACK_BYTES_MIN = 8 * 1024 * 1024,
    CPU_AHEAD_S = 10,
    NICE_SLOW = 19,
};

static bool limit(enum __rlimit_resource what, rlim_t value) {
    struct rlimit now;
    if (getrlimit(what, &now) != 0) return false;
    if (now.rlim_max != RLIM_INFINITY && value > now.rlim_max) value = now.rlim_max;
    return setrlimit(what, &(struct rlimit){ value, value }) == 0;
}

// The main thread's stack grows up to this limit, whatever it was at exec.
static bool limit_stack(void) {
    struct rlimit now;
    if (!limit(RLIMIT_STACK, STACK_BYTES) || getrlimit(RLIMIT_STACK, &now) != 0) return false;
    if (now.rlim_cur >= STACK_BYTES_MIN) return true;
    errno = EPERM;
    return false;
}

// A crash ends the process by its signal, which the parent reports; the sanitizers would
// turn it into an exit.
static void crash_plainly(void) {
    static const int signals[] = { SIGSEGV, SIGBUS, SIGILL, SIGFPE };
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++) signal(signals[i], SIG_DFL);
}

bool sandbox_lock_early(void) {
    static char utc[] = "TZ=UTC";
    static char *environment[] = { utc, NULL };
    extern char **environ;
    environ = environment;
    tzset();
    crash_plainly();
    return prctl(PR_SET_PDEATHSIG, SIGKILL) == 0 && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
           close_range(WIRE_BEAT_FD + 1, ~0u, 0) == 0 && limit_stack();
}

void sandbox_lock_renew(void) {
    struct timespec used;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
    struct rlimit next = { (rlim_t)used.tv_sec + CPU_AHEAD_S, RLIM_INFINITY };
    setrlimit(RLIMIT_CPU, &next);
}

// Address space is not limited under the sanitizers, whose shadow takes terabytes.
static bool limit_memory(void) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    return true;
#else
    return limit(RLIMIT_AS, 6ull << 30);
#endif
}

#define COMPARE(arg, op, a, b) ((struct scmp_arg_cmp){ arg, op, a, b })

static bool allow(scmp_filter_ctx filter) {
    static const int calls[] = {
        SCMP_SYS(read),          SCMP_SYS(write),
        SCMP_SYS(readv),         SCMP_SYS(writev),
        SCMP_SYS(close),         SCMP_SYS(munmap),
        SCMP_SYS(mremap),        SCMP_SYS(madvise),
        SCMP_SYS(brk),           SCMP_SYS(futex),
        SCMP_SYS(rt_sigreturn),  SCMP_SYS(rt_sigprocmask),
        SCMP_SYS(rt_sigaction),  SCMP_SYS(sigaltstack),
        SCMP_SYS(clock_gettime), SCMP_SYS(gettimeofday),
        SCMP_SYS(time),          SCMP_SYS(getrandom),
        SCMP_SYS(getpid),        SCMP_SYS(gettid),
        SCMP_SYS(sched_yield),   SCMP_SYS(restart_syscall),
        SCMP_SYS(exit),          SCMP_SYS(exit_group),
    };
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++)
        if (seccomp_rule_add(filter, SCMP_ACT_ALLOW, calls[i], 0) != 0) return false;
    pid_t self = getpid();
    return seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(mmap), 1,
                            COMPARE(2, SCMP_CMP_MASKED_EQ, PROT_EXEC, 0)) == 0 &&
           seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(mprotect), 1,
                            COMPARE(2, SCMP_CMP_MASKED_EQ, PROT_EXEC, 0)) == 0 &&
           // abort() signals its own process, and nobody else
           seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(tgkill), 1,
                            COMPARE(0, SCMP_CMP_EQ, (scmp_datum_t)self, 0)) == 0 &&
           // the CPU limit of this process moves along; no other limit can be raised
           seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(prlimit64), 2,
                            COMPARE(0, SCMP_CMP_EQ, 0, 0),
                            COMPARE(1, SCMP_CMP_EQ, RLIMIT_CPU, 0)) == 0;
}

static bool install_filter(void) {
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ERRNO(EPERM));
    bool done = filter && allow(filter) && seccomp_load(filter) == 0;
    seccomp_release(filter);
    return done;
}

bool sandbox_lock(const struct wire_hello *hello) {
    if (hello->slow && setpriority(PRIO_PROCESS, 0, NICE_SLOW) != 0) return false;
    sandbox_lock_renew();
    return limit_memory() && limit(RLIMIT_CORE, 0) && limit(RLIMIT_FSIZE, 0) &&
           limit(RLIMIT_NOFILE, WIRE_BEAT_FD + 1) && prctl(PR_SET_DUMPABLE, 0) == 0 &&
           install_filter();
}
