// A library to preload under tuma. It counts allocations (malloc and its kin, and the
// anonymous maps that LuaJIT makes for itself) and lets some of them fail. A mapped
// file says which, so that the rig can read the count and arm the fault at a moment:
//
//   FAILMALLOC=FILE   struct state, see below; FILE.script is the one for script processes
//
// It can also let each place that allocates fail once: a place is the innermost calls of
// tuma's own code that led there. The places that had their turn stand in the file, so
// that they do not get another in the next process.
//
// A script process is started with an empty environment, so the library hands itself
// on in execvp. On a crash it writes the stack to standard error; with FAILMALLOC_TRACE set
// also for each allocation that fails.
#include <dlfcn.h>
#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <link.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { PLACES_MAX = 4096, PLACE_DEPTH = 4 };

struct state {
    _Atomic uint64_t armed; // 1: count, and fail what is due
    uint64_t at;            // the allocation to fail, from 1
    uint64_t every;         // and each so many after it; 0: none
    uint64_t wild;          // the planted defect: a pointer that leads nowhere, not NULL
    _Atomic uint64_t count; // allocations since armed
    _Atomic uint64_t struck;
    uint64_t by_place; // 1: each place fails once, `at` and `every` do not count
    _Atomic uint64_t places[PLACES_MAX]; // those that did, by hash
};

static struct state *state;
static bool trace;
static uintptr_t own_start, own_end; // tuma's code
static char library[1024], script_path[1024];

// glibc's own, by names that need no dlsym, which allocates.
extern void *__libc_malloc(size_t), *__libc_calloc(size_t, size_t), *__libc_realloc(void *, size_t),
    *__libc_memalign(size_t, size_t);

static void write_stack(const char *head) {
    void *frames[64];
    if (write(2, head, strlen(head)) < 0) _exit(99);
    backtrace_symbols_fd(frames, backtrace(frames, 64), 2);
}

static void on_crash(int number) {
    state->armed = 0;
    write_stack("failmalloc: crash\n");
    signal(number, SIG_DFL);
    raise(number);
}

// The first object is the program itself.
static int find_own(struct dl_phdr_info *object, size_t size, void *user) {
    (void)size, (void)user;
    for (int i = 0; i < object->dlpi_phnum; i++) {
        const ElfW(Phdr) *part = &object->dlpi_phdr[i];
        if (part->p_type != PT_LOAD || !(part->p_flags & PF_X)) continue;
        own_start = object->dlpi_addr + part->p_vaddr;
        own_end = own_start + part->p_memsz;
    }
    return 1;
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
    dl_iterate_phdr(find_own, NULL);
    trace = getenv("FAILMALLOC_TRACE");
    signal(SIGSEGV, on_crash);
    signal(SIGBUS, on_crash);
    signal(SIGABRT, on_crash);
    signal(SIGFPE, on_crash);
    state = page;
}

static uint64_t place_now(void) {
    void *frames[48];
    uint64_t hash = 14695981039346656037u;
    int n = backtrace(frames, 48), depth = 0;
    for (int i = 1; i < n && depth < PLACE_DEPTH; i++) {
        uintptr_t at = (uintptr_t)frames[i];
        if (at < own_start || at >= own_end) continue;
        hash = (hash ^ (at - own_start)) * 1099511628211u;
        depth++;
    }
    return depth ? hash | 1 : 0;
}

static bool place_is_due(void) {
    static __thread bool inside; // the unwinder may allocate
    if (inside) return false;
    inside = true;
    uint64_t place = place_now();
    inside = false;
    for (uint64_t i = 0; place && i < PLACES_MAX; i++) {
        uint64_t there = 0;
        if (atomic_compare_exchange_strong(&state->places[(place + i) % PLACES_MAX], &there, place))
            return true;
        if (there == place) return false;
    }
    return false;
}

static bool is_due(uint64_t n) {
    if (state->by_place) return place_is_due();
    return n == state->at || (n > state->at && state->every && (n - state->at) % state->every == 0);
}

static bool strike(void **result) {
    if (!state || !atomic_load_explicit(&state->armed, memory_order_relaxed)) return false;
    if (!is_due(atomic_fetch_add(&state->count, 1) + 1)) return false;
    atomic_fetch_add(&state->struck, 1);
    if (trace) write_stack("failmalloc: here\n");
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
