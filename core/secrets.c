// Secrets at rest. A line of DIR/secrets: NAME SPACE base64(nonce ‖ ciphertext ‖ tag).
// Generations are kept until close because workers hold slices into them for
// the length of an attempt; a reload is rare and small.
#include "secrets.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "arena.h"
#include "buf.h"
#include "id.h"
#include "sign.h"
#include "tag.h"

enum {
    KEY_BYTES = 32,
    NONCE_BYTES = 12,
    SEAL_BYTES = 16,
    VALUE_MAX = 16 * 1024,
    BLOT_MIN = 6,
    FILE_BYTES_MAX = 4 * 1024 * 1024
};

struct secret {
    struct slice name, value;
    struct secret *next;
};

struct generation {
    struct arena arena;
    struct secret *first;
    struct generation *older;
};

struct secrets {
    char *dir, *key_file;
    _Atomic(struct generation *) current;
};

extern char **environ;

void secrets_protect_memory(void) {
    setrlimit(RLIMIT_CORE, &(struct rlimit){ 0, 0 });
    prctl(PR_SET_DUMPABLE, 0); // a handler that core_pattern pipes to has no limit; /proc/PID/mem
}

static enum err read_file(const char *path, struct buf *out, struct fail *fail) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return fail_set(fail, errno == ENOENT ? ERR_NOTFOUND : ERR_IO, 0, "secrets_unreadable",
                        "%s: %s", path, strerror(errno));
    ssize_t n = 1;
    while (n > 0) {
        char *to = buf_reserve(out, 4096);
        if (!to) break;
        n = read(fd, to, 4096);
        if (n > 0) out->n += (size_t)n;
    }
    close(fd);
    return n == 0
               ? OK
               : fail_set(fail, ERR_IO, 0, "secrets_unreadable", "%s: cannot be read whole", path);
}

static int hex_digit(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

static bool parse_key(struct slice text, uint8_t key[KEY_BYTES]) {
    if (text.n == KEY_BYTES) {
        memcpy(key, text.p, KEY_BYTES);
        return true;
    }
    while (text.n && (text.p[text.n - 1] == '\n' || text.p[text.n - 1] == '\r')) text.n--;
    if (text.n != 2 * KEY_BYTES) return false;
    for (int i = 0; i < KEY_BYTES; i++) {
        int high = hex_digit(text.p[2 * i]), low = hex_digit(text.p[2 * i + 1]);
        if (high < 0 || low < 0) return false;
        key[i] = (uint8_t)(high << 4 | low);
    }
    return true;
}

static void key_path(const char *dir, const char *key_file, char out[4096]) {
    const char *credentials = getenv("CREDENTIALS_DIRECTORY");
    if (key_file) {
        snprintf(out, 4096, "%s", key_file);
        return;
    }
    if (credentials) {
        snprintf(out, 4096, "%s/tuma.key", credentials);
        if (access(out, R_OK) == 0) return;
    }
    snprintf(out, 4096, "%s/secret.key", dir);
}

static enum err load_key(const char *dir, const char *key_file, uint8_t key[KEY_BYTES],
                         struct fail *fail) {
    char path[4096];
    struct buf text;
    key_path(dir, key_file, path);
    buf_init(&text, 8192);
    enum err err = read_file(path, &text, fail);
    if (err == OK && !parse_key(buf_slice(&text), key))
        err = fail_set(fail, ERR_INPUT, 0, "bad_key", "%s: a key is 32 bytes, or 64 hex digits",
                       path);
    if (text.p) explicit_bzero(text.p, text.capacity);
    buf_deinit(&text);
    return err;
}

// `value` is in the arena already: the only copy, which secrets_close wipes.
static bool add(struct generation *g, struct slice name, struct slice value) {
    struct secret *secret = arena_zalloc(&g->arena, 1, sizeof *secret);
    if (!secret || !value.p) return false;
    *secret = (struct secret){ arena_dup(&g->arena, name), value, g->first };
    if (!secret->name.p) return false;
    g->first = secret;
    return true;
}

static enum err open_line(struct generation *g, const uint8_t key[KEY_BYTES], struct slice line,
                          size_t number, struct fail *fail) {
    size_t space = slice_find(line, ' ');
    struct slice name = slice(line.p, space), text = slice_from(line, space + 1);
    uint8_t *bytes = arena_alloc(&g->arena, text.n + 3);
    if (!bytes) return fail_set(fail, ERR_NOMEM, 0, "no_memory", "no memory for the secrets");
    long n = tag_name_valid(name) ? base64_decode(text, bytes) : -1;
    if (n < NONCE_BYTES + SEAL_BYTES)
        return fail_set(fail, ERR_INPUT, 0, "bad_secrets", "secrets:%zu: not a secret", number);
    size_t length = (size_t)n - NONCE_BYTES - SEAL_BYTES;
    if (!seal_open(key, bytes, name, bytes + NONCE_BYTES, length))
        return fail_set(fail, ERR_DENIED, 0, "wrong_key",
                        "secrets:%zu: %.*s does not decrypt: wrong key, or altered", number,
                        SLICE_FMT(name));
    return add(g, name, slice((char *)bytes + NONCE_BYTES, length))
               ? OK
               : fail_set(fail, ERR_NOMEM, 0, "no_memory", "no memory for the secrets");
}

static enum err load_file(struct secrets *s, struct generation *g, struct fail *fail) {
    char path[4096];
    uint8_t key[KEY_BYTES];
    struct buf text;
    buf_init(&text, FILE_BYTES_MAX);
    snprintf(path, sizeof path, "%s/secrets", s->dir);
    enum err err = read_file(path, &text, fail);
    if (err == ERR_NOTFOUND) return OK;
    if (err == OK && text.n) err = load_key(s->dir, s->key_file, key, fail);
    struct slice rest = buf_slice(&text);
    for (size_t number = 1; err == OK && rest.n; number++) {
        size_t end = slice_find(rest, '\n');
        if (end) err = open_line(g, key, slice(rest.p, end), number, fail);
        rest = slice_from(rest, end + 1);
    }
    explicit_bzero(key, sizeof key);
    buf_deinit(&text);
    return err;
}

static bool load_environment(struct generation *g) {
    for (char **e = environ; *e; e++) {
        struct slice pair = slice_str(*e), prefix = S("TUMA_SECRET_");
        if (!slice_starts(pair, prefix)) continue;
        size_t equals = slice_find(pair, '=');
        struct slice name = slice(pair.p + prefix.n, equals - prefix.n);
        struct slice value = arena_dup(&g->arena, slice_from(pair, equals + 1));
        if (tag_name_valid(name) && !add(g, name, value)) return false;
    }
    return true;
}

static void generation_free(struct generation *g) {
    for (struct secret *x = g->first; x; x = x->next)
        explicit_bzero((char *)(uintptr_t)x->value.p, x->value.n);
    arena_deinit(&g->arena);
    free(g);
}

enum err secrets_reload(struct secrets *s, struct fail *fail) {
    struct generation *g = calloc(1, sizeof *g);
    if (!g) return fail_set(fail, ERR_NOMEM, 0, "no_memory", "no memory for the secrets");
    arena_init(&g->arena, 2 * FILE_BYTES_MAX);
    enum err err = load_file(s, g, fail);
    if (err == OK && !load_environment(g))
        err = fail_set(fail, ERR_NOMEM, 0, "no_memory", "no memory for the secrets");
    if (err != OK) {
        generation_free(g);
        return err;
    }
    if (fail) *fail = (struct fail){ 0 };
    g->older = atomic_load(&s->current);
    atomic_store(&s->current, g);
    return OK;
}

struct secrets *secrets_open(const char *dir, const char *key_file, struct fail *fail) {
    struct secrets *s = calloc(1, sizeof *s);
    if (s) s->dir = strdup(dir);
    if (s && key_file) s->key_file = strdup(key_file);
    if (!s || !s->dir || (key_file && !s->key_file))
        fail_set(fail, ERR_NOMEM, 0, "no_memory", "no memory for the secrets");
    else if (secrets_reload(s, fail) == OK)
        return s;
    if (s) secrets_close(s);
    return NULL;
}

void secrets_close(struct secrets *s) {
    for (struct generation *g = atomic_load(&s->current), *older; g; g = older) {
        older = g->older;
        generation_free(g);
    }
    free(s->dir);
    free(s->key_file);
    free(s);
}

bool secrets_get(void *user, struct slice name, struct slice *value) {
    struct secrets *s = user;
    for (const struct secret *x = atomic_load(&s->current)->first; x; x = x->next) {
        if (!slice_eq(x->name, name)) continue;
        *value = x->value;
        return true;
    }
    return false;
}

void secrets_each(const struct secrets *s, void (*one)(void *user, struct slice name), void *user) {
    for (const struct secret *x = atomic_load(&s->current)->first; x; x = x->next)
        one(user, x->name);
}

void secrets_blot(const struct secrets *s, char *text) {
    for (const struct secret *x = atomic_load(&s->current)->first; x; x = x->next) {
        if (x->value.n < BLOT_MIN) continue; // it would blot out ordinary text
        size_t left = strlen(text);
        for (char *hit = text; (hit = memmem(hit, left, x->value.p, x->value.n));) {
            memset(hit, '*', x->value.n);
            left = strlen(hit);
        }
    }
}

// --- Changing the file ---

// A file's name is on disk only when its directory is.
static bool sync_directory(const char *dir) {
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool fine = fd >= 0 && fsync(fd) == 0;
    if (fd >= 0) close(fd);
    return fine;
}

static enum err ensure_key(const char *dir, const char *key_file, uint8_t key[KEY_BYTES],
                           struct fail *fail) {
    char path[4096];
    enum err err = load_key(dir, key_file, key, fail);
    if (err != ERR_NOTFOUND || key_file) return err;
    key_path(dir, NULL, path);
    id_random(key, KEY_BYTES);
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0400);
    bool fine =
        fd >= 0 && write(fd, key, KEY_BYTES) == KEY_BYTES && fsync(fd) == 0 && sync_directory(dir);
    if (fine) {
        close(fd);
        return OK;
    }
    fail_set(fail, ERR_IO, 0, "key_unwritable", "%s: %s", path, strerror(errno));
    if (fd >= 0) {
        unlink(path); // half a key would be in the way of every later one
        close(fd);
    }
    return ERR_IO;
}

static enum err seal_line(const uint8_t key[KEY_BYTES], struct slice name, struct slice value,
                          struct buf *out, struct fail *fail) {
    uint8_t *bytes = malloc(NONCE_BYTES + value.n + SEAL_BYTES + 16);
    char *text = malloc(4 * ((NONCE_BYTES + value.n + SEAL_BYTES) / 3 + 1));
    bool fine = bytes && text;
    if (fine) {
        id_random(bytes, NONCE_BYTES);
        memcpy(bytes + NONCE_BYTES, value.p, value.n);
        fine = seal_close(key, bytes, name, bytes + NONCE_BYTES, value.n);
    }
    if (fine) {
        buf_add(out, name);
        buf_byte(out, ' ');
        buf_add(out, slice(text, base64_encode(bytes, NONCE_BYTES + value.n + SEAL_BYTES, text)));
        buf_byte(out, '\n');
    }
    free(bytes);
    free(text);
    return fine ? OK : fail_set(fail, ERR_NOMEM, 0, "no_memory", "cannot encrypt the secret");
}

// The lines of the old file but for `name`'s.
static void keep_others(struct slice old, struct slice name, struct buf *out) {
    while (old.n) {
        size_t end = slice_find(old, '\n');
        struct slice line = slice(old.p, end);
        bool same = line.n > name.n && slice_starts(line, name) && line.p[name.n] == ' ';
        if (line.n && !same) {
            buf_add(out, line);
            buf_byte(out, '\n');
        }
        old = slice_from(old, end + 1);
    }
}

static enum err replace_file(const char *dir, const char *path, struct slice content,
                             struct fail *fail) {
    char aside[4200];
    snprintf(aside, sizeof aside, "%s.new", path);
    int fd = open(aside, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    bool fine = fd >= 0 && write(fd, content.p, content.n) == (ssize_t)content.n && fsync(fd) == 0;
    if (fd >= 0) close(fd);
    if (fine && rename(aside, path) == 0 && sync_directory(dir)) return OK;
    return fail_set(fail, ERR_IO, 0, "secrets_unwritable", "%s: %s", path, strerror(errno));
}

enum err secrets_put(const char *dir, const char *key_file, struct slice name, struct slice value,
                     struct fail *fail) {
    char path[4096];
    uint8_t key[KEY_BYTES];
    struct buf old, fresh;
    if (!tag_name_valid(name))
        return fail_set(fail, ERR_INPUT, 0, "bad_secret_name",
                        "\"%.*s\" is no secret name (A-Z 0-9 _)", SLICE_FMT(name));
    if (value.n > VALUE_MAX)
        return fail_set(fail, ERR_LIMIT, 0, "secret_too_large", "a secret has at most %d bytes",
                        VALUE_MAX);
    if (mkdir(dir, 0700) != 0 && errno != EEXIST)
        return fail_set(fail, ERR_IO, 0, "secrets_unwritable", "%s: %s", dir, strerror(errno));
    buf_init(&old, FILE_BYTES_MAX);
    buf_init(&fresh, FILE_BYTES_MAX);
    snprintf(path, sizeof path, "%s/secrets", dir);
    enum err err = ensure_key(dir, key_file, key, fail);
    if (err == OK && (err = read_file(path, &old, fail)) == ERR_NOTFOUND) err = OK;
    keep_others(buf_slice(&old), name, &fresh);
    if (err == OK && value.n) err = seal_line(key, name, value, &fresh, fail);
    if (err == OK && fresh.failed)
        err = fail_set(fail, ERR_LIMIT, 0, "too_many_secrets",
                       "the secrets file would grow past its limit");
    if (err == OK) err = replace_file(dir, path, buf_slice(&fresh), fail);
    explicit_bzero(key, sizeof key);
    buf_deinit(&old);
    buf_deinit(&fresh);
    return err;
}
