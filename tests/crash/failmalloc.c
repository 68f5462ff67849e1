// A library to preload under tuma. It counts allocations (malloc and its kin, and the
// anonymous maps that LuaJIT makes for itself) and lets some of them fail. A mapped
// file says which, so that the rig can read the count and arm the fault at a moment:
//
//   FAILMALLOC=FILE   struct state, see below; FILE.script is the one for script processes
//
// A script process is started with an empty environment, so the library hands itself
// on in execvp. On a crash it writes the stack to standard error.
#include <dlfcn.h>
#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

struct state {
    _Atomic uint64_t armed; // 1: count, and fail what is due
    uint64_t at;            // the allocation to fail, from 1
    uint64_t every;         // and each so many after it; 0: none
    uint64_t wild;          // the planted defect: a pointer that leads nowhere, not NULL
    _Atomic uint64_t count; // allocations since armed
    _Atomic uint64_t struck;
};

static struct state *state;
static char library[1024], script_path[1024];

// glibc's own, by names that need no dlsym, which allocates.
extern void *__libc_malloc(size_t), *__libc_calloc(size_t, size_t), *__libc_realloc(void *, size_t),
    *__libc_memalign(size_t, size_t);

static void on_crash(int number) {
    void *frames[64];
    state->armed = 0;
    static const char head[] = "failmalloc: crash\n";
    if (write(2, head, sizeof head - 1) < 0) _exit(99);
    backtrace_symbols_fd(frames, backtrace(frames, 64), 2);
    signal(number, SIG_DFL);
    raise(number);
}

__attribute__((constructor)) static void attach(void) {
    const char *path = getenv("FAILMALLOC");
    int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
    if (fd < 0) return;
    Dl_info self;
    void *frame[1];
    if (dladdr(&state, &self)) snprintf(library, sizeof library, "%s", self.dli_fname);
    snprintf(script_path, sizeof script_path, "%s.script", path);
    void *page = mmap(NULL, sizeof *state, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (page == MAP_FAILED) return;
    backtrace(frame, 1); // its own allocations happen now
    signal(SIGSEGV, on_crash);
    signal(SIGBUS, on_crash);
    signal(SIGABRT, on_crash);
    signal(SIGFPE, on_crash);
    state = page;
}

static bool strike(void **result) {
    if (!state || !atomic_load_explicit(&state->armed, memory_order_relaxed)) return false;
    uint64_t n = atomic_fetch_add(&state->count, 1) + 1;
    if (n < state->at || (n > state->at && (!state->every || (n - state->at) % state->every)))
        return false;
    atomic_fetch_add(&state->struck, 1);
    *result = state->wild ? (void *)16 : NULL;
    errno = ENOMEM;
    return true;
}

void *malloc(size_t n) {
    void *result;
    return strike(&result) ? result : __libc_malloc(n);
}

void *calloc(size_t count, size_t n) {
    void *result;
    return strike(&result) ? result : __libc_calloc(count, n);
}

void *realloc(void *old, size_t n) {
    void *result;
    return n && strike(&result) ? result : __libc_realloc(old, n);
}

void *memalign(size_t alignment, size_t n) {
    void *result;
    return strike(&result) ? result : __libc_memalign(alignment, n);
}

void *aligned_alloc(size_t alignment, size_t n) {
    return memalign(alignment, n);
}

int posix_memalign(void **out, size_t alignment, size_t n) {
    void *p = memalign(alignment, n);
    if (!p) return ENOMEM;
    *out = p;
    return 0;
}

void *mmap(void *address, size_t n, int protection, int flags, int fd, off_t offset) {
    static __typeof__(&mmap) real;
    void *result;
    if (!real) real = (__typeof__(&mmap))dlsym(RTLD_NEXT, "mmap");
    if (flags & MAP_ANONYMOUS && strike(&result)) return MAP_FAILED;
    return real(address, n, protection, flags, fd, offset);
}

int execvp(const char *file, char *const arguments[]) {
    extern char **environ;
    static __typeof__(&execvp) real;
    char preload[1100], path[1100];
    char *environment[] = { (char *)"TZ=UTC", preload, path, NULL };
    if (!real) real = (__typeof__(&execvp))dlsym(RTLD_NEXT, "execvp");
    if (state && arguments[1] && !strcmp(arguments[1], "__sandbox")) {
        snprintf(preload, sizeof preload, "LD_PRELOAD=%s", library);
        snprintf(path, sizeof path, "FAILMALLOC=%s", script_path);
        environ = environment;
    }
    return real(file, arguments);
}
