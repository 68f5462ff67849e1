// A library to preload under a program that writes a store. It watches the
// calls on files named tuma.db* (not the shared memory, which a crash discards)
// and, told by the environment,
//   CRASHFS_LOG=FILE              records them in order, with what standard output said between,
//                                 for store.py to build crash states from;
//   CRASHFS_KILL=N                kills the process at the N-th call;
//   CRASHFS_FAIL=KIND:N:COUNT:ERRNO  lets COUNT calls from the N-th on fail; KIND is
//                                 w (write), s (sync), t (truncate), r (read).
// A record: kind byte, inode u64, offset u64, length u32, bytes.
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { FDS = 1024 };

static int log_fd = -1;
static long calls, kill_at, fail_at, fail_count, fail_seen;
static int fail_errno;
static char fail_kind;
static uint64_t watched[FDS]; // inode behind a descriptor, 0: not ours

#define REAL(name) __typeof__(&name) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

__attribute__((constructor)) static void read_environment(void) {
    const char *path = getenv("CRASHFS_LOG"), *kill = getenv("CRASHFS_KILL");
    const char *fail = getenv("CRASHFS_FAIL");
    if (kill) kill_at = atol(kill);
    if (fail) sscanf(fail, "%c:%ld:%ld:%d", &fail_kind, &fail_at, &fail_count, &fail_errno);
    if (!path) return;
    REAL(open);
    log_fd = real(path, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0600);
}

static void record(char kind, uint64_t inode, uint64_t offset, const void *bytes, size_t n) {
    if (log_fd < 0) return;
    REAL(write);
    unsigned char head[21];
    uint32_t length = (uint32_t)n;
    head[0] = (unsigned char)kind;
    memcpy(head + 1, &inode, 8);
    memcpy(head + 9, &offset, 8);
    memcpy(head + 17, &length, 4);
    if (real(log_fd, head, sizeof head) != sizeof head ||
        (n && real(log_fd, bytes, n) != (ssize_t)n))
        abort();
}

// Counts a call on a store file; true when it is to fail (errno is set).
static int strike(char kind) {
    if (++calls == kill_at) raise(SIGKILL);
    if (kind != fail_kind) return 0;
    fail_seen++;
    if (fail_seen < fail_at || fail_seen >= fail_at + fail_count) return 0;
    errno = fail_errno;
    return 1;
}

static const char *name_of(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

static int is_store_file(const char *path) {
    const char *name = name_of(path);
    return strncmp(name, "tuma.db", 7) == 0 && !strstr(name, "-shm");
}

static uint64_t inode_of(int fd) {
    return fd >= 0 && fd < FDS ? watched[fd] : 0;
}

static int opened(const char *path, int fd, int existed) {
    struct stat st;
    if (fd < 0 || fd >= FDS || fstat(fd, &st) != 0) return fd;
    watched[fd] = S_ISDIR(st.st_mode) ? UINT64_MAX : is_store_file(path) ? st.st_ino : 0;
    if (watched[fd] && watched[fd] != UINT64_MAX && !existed)
        record('c', st.st_ino, 0, name_of(path), strlen(name_of(path)));
    return fd;
}

#define OPEN(name)                                                                                 \
    int name(const char *path, int flags, ...) {                                                   \
        REAL(name);                                                                                \
        va_list args;                                                                              \
        va_start(args, flags);                                                                     \
        mode_t mode = va_arg(args, mode_t);                                                        \
        va_end(args);                                                                              \
        int existed = access(path, F_OK) == 0;                                                     \
        int fd = real(path, flags, mode);                                                          \
        if (existed && fd >= 0 && (flags & O_TRUNC) && is_store_file(path)) abort();               \
        return opened(path, fd, existed);                                                          \
    }
OPEN(open)
OPEN(open64)

int close(int fd) {
    REAL(close);
    if (fd >= 0 && fd < FDS) watched[fd] = 0;
    return real(fd);
}

#define PWRITE(name, offset_t)                                                                     \
    ssize_t name(int fd, const void *bytes, size_t n, offset_t offset) {                           \
        REAL(name);                                                                                \
        uint64_t inode = inode_of(fd);                                                             \
        if (inode && strike('w')) return -1;                                                       \
        ssize_t done = real(fd, bytes, n, offset);                                                 \
        if (inode && done > 0) record('w', inode, (uint64_t)offset, bytes, (size_t)done);          \
        return done;                                                                               \
    }
PWRITE(pwrite, off_t)
PWRITE(pwrite64, off64_t)

#define PREAD(name, offset_t)                                                                      \
    ssize_t name(int fd, void *bytes, size_t n, offset_t offset) {                                 \
        REAL(name);                                                                                \
        if (inode_of(fd) && strike('r')) return -1;                                                \
        return real(fd, bytes, n, offset);                                                         \
    }
PREAD(pread, off_t)
PREAD(pread64, off64_t)

ssize_t write(int fd, const void *bytes, size_t n) {
    REAL(write);
    ssize_t done = real(fd, bytes, n);
    if (fd == 1 && done > 0) record('a', 0, 0, bytes, (size_t)done);
    return done;
}

#define TRUNCATE(name, offset_t)                                                                   \
    int name(int fd, offset_t size) {                                                              \
        REAL(name);                                                                                \
        uint64_t inode = inode_of(fd);                                                             \
        if (inode && strike('t')) return -1;                                                       \
        int result = real(fd, size);                                                               \
        if (inode && result == 0) record('t', inode, (uint64_t)size, NULL, 0);                     \
        return result;                                                                             \
    }
TRUNCATE(ftruncate, off_t)
TRUNCATE(ftruncate64, off64_t)

#define SYNC(name)                                                                                 \
    int name(int fd) {                                                                             \
        REAL(name);                                                                                \
        uint64_t inode = inode_of(fd);                                                             \
        if (inode && strike('s')) return -1;                                                       \
        int result = real(fd);                                                                     \
        if (inode && result == 0) record(inode == UINT64_MAX ? 'd' : 's', inode, 0, NULL, 0);      \
        return result;                                                                             \
    }
SYNC(fsync)
SYNC(fdatasync)

int unlink(const char *path) {
    REAL(unlink);
    if (is_store_file(path)) strike('u');
    int result = real(path);
    if (result == 0 && is_store_file(path)) record('u', 0, 0, name_of(path), strlen(name_of(path)));
    return result;
}

int rename(const char *from, const char *to) {
    REAL(rename);
    if (is_store_file(from)) strike('n');
    int result = real(from, to);
    if (result == 0 && is_store_file(from)) {
        char both[512];
        int n = snprintf(both, sizeof both, "%s/%s", name_of(from), name_of(to));
        record('n', 0, 0, both, (size_t)n);
    }
    return result;
}
