// Reads the write-ahead log the way SQLite's recovery does (file format
// section 4), but looks behind the first frame that does not fit. A torn end is
// what a power cut leaves: frames of the one transaction that was never
// synced. With synchronous=FULL a second commit behind the damage proves that
// synced, acknowledged transactions would be dropped.
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "store_inner.h"

enum { WAL_HEADER = 32, FRAME_HEADER = 24 };

struct wal_walk {
    bool big_endian; // of the checksums' input words
    uint32_t page, salt[2], sum[2];
    bool damaged;     // a frame did not fit
    unsigned commits; // behind the damage
};

static uint32_t word(const unsigned char *p) {
    uint32_t v;
    memcpy(&v, p, sizeof v);
    return be32toh(v);
}

static void add_sum(const struct wal_walk *walk, uint32_t sum[2], const unsigned char *p,
                    size_t n) {
    for (size_t i = 0; i < n; i += 8) {
        uint32_t pair[2];
        memcpy(pair, p + i, sizeof pair);
        sum[0] += (walk->big_endian ? be32toh(pair[0]) : le32toh(pair[0])) + sum[1];
        sum[1] += (walk->big_endian ? be32toh(pair[1]) : le32toh(pair[1])) + sum[0];
    }
}

static bool all_zero(const unsigned char *p, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (p[i]) return false;
    return true;
}

static bool read_header(struct wal_walk *walk, const unsigned char header[WAL_HEADER]) {
    uint32_t magic = word(header);
    walk->big_endian = magic & 1;
    walk->page = word(header + 8);
    walk->salt[0] = word(header + 16);
    walk->salt[1] = word(header + 20);
    add_sum(walk, walk->sum, header, 24);
    return (magic & ~1u) == 0x377f0682 && walk->sum[0] == word(header + 24) &&
           walk->sum[1] == word(header + 28) && walk->page >= 512 && walk->page <= 65536;
}

// Frames of an older round of the log have other salts: they are no damage, but the end.
static void read_frame(struct wal_walk *walk, const unsigned char *frame) {
    bool ours = word(frame + 8) == walk->salt[0] && word(frame + 12) == walk->salt[1];
    bool commit = ours && word(frame + 4) != 0;
    if (!walk->damaged) {
        add_sum(walk, walk->sum, frame, 8);
        add_sum(walk, walk->sum, frame + FRAME_HEADER, walk->page);
        walk->damaged =
            !ours || walk->sum[0] != word(frame + 16) || walk->sum[1] != word(frame + 20);
    }
    if (walk->damaged) walk->commits += commit;
}

static bool read_all(int fd, void *to, size_t n) {
    for (size_t done = 0; done < n;) {
        ssize_t got = read(fd, (char *)to + done, n - done);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) return false;
        done += (size_t)got;
    }
    return true;
}

static enum err corrupt(struct fail *fail, const char *path, const char *how) {
    return fail_set(fail, ERR_IO, 0, "store_wal_corrupt",
                    "%s: %s; opening it would drop acknowledged events. Restore it or move it away",
                    path, how);
}

static enum err walk_frames(int fd, struct wal_walk *walk, const char *path, struct fail *fail) {
    unsigned char *frame = malloc(FRAME_HEADER + walk->page);
    if (!frame) return fail_set(fail, ERR_NOMEM, 0, "no_memory", "checking %s: no memory", path);
    while (walk->commits < 2 && read_all(fd, frame, FRAME_HEADER + walk->page))
        read_frame(walk, frame);
    free(frame);
    return walk->commits < 2 ? OK : corrupt(fail, path, "a frame before committed ones is damaged");
}

enum err store_check_wal(const char *path, struct fail *fail) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT) return OK;
    if (fd < 0)
        return fail_set(fail, ERR_DENIED, 0, "store_denied", "%s: %s", path, strerror(errno));
    struct stat st;
    unsigned char header[WAL_HEADER];
    struct wal_walk walk = { .page = 0 };
    enum err err = OK;
    if (fstat(fd, &st) == 0 && st.st_size == 0)
        err = OK;
    else if (!read_all(fd, header, sizeof header))
        err = corrupt(fail, path, "cut off inside its header");
    else if (all_zero(header, sizeof header))
        err = OK; // created, never synced
    else if (!read_header(&walk, header))
        err = corrupt(fail, path, "its header is damaged");
    else
        err = walk_frames(fd, &walk, path, fail);
    close(fd);
    return err;
}
