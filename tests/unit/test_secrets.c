// Secrets at rest: what is on disk, what a wrong key or an altered file does.
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "check.h"
#include "secrets.h"

static char dir[64], path[96];

static void fresh_dir(void) {
    snprintf(dir, sizeof dir, "/tmp/tuma-secrets-XXXXXX");
    if (!mkdtemp(dir)) abort();
    snprintf(path, sizeof path, "%s/secrets", dir);
}

static size_t read_all(const char *file, char *out, size_t size) {
    FILE *f = fopen(file, "re");
    size_t n = f ? fread(out, 1, size, f) : 0;
    if (f) fclose(f);
    return n;
}

static struct slice get(const char *name) {
    static char kept[256];
    struct fail fail = { 0 };
    struct slice value = { 0 };
    struct secrets *s = secrets_open(dir, NULL, &fail);
    if (!s) return slice("", 0);
    if (secrets_get(s, slice_str(name), &value)) memcpy(kept, value.p, value.n);
    secrets_close(s);
    return slice(kept, value.n);
}

static void a_secret_comes_back_and_is_not_on_disk(void) {
    char file[4096];
    struct stat st;
    fresh_dir();
    CHECK_INT(secrets_put(dir, NULL, S("CRM_TOKEN"), S("canary-7f3a"), NULL), OK);
    CHECK_INT(secrets_put(dir, NULL, S("OTHER"), S("x"), NULL), OK);
    CHECK_TEXT(get("CRM_TOKEN"), "canary-7f3a");
    CHECK_TEXT(get("OTHER"), "x");
    size_t n = read_all(path, file, sizeof file);
    CHECK(n && !memmem(file, n, "canary-7f3a", 11));
    CHECK(stat(path, &st) == 0 && (st.st_mode & 0777) == 0600);
    snprintf(file, sizeof file, "%s/secret.key", dir);
    CHECK(stat(file, &st) == 0 && (st.st_mode & 0777) == 0400 && st.st_size == 32);
}

static void a_secret_is_replaced_and_removed(void) {
    fresh_dir();
    secrets_put(dir, NULL, S("A"), S("1"), NULL);
    secrets_put(dir, NULL, S("AB"), S("2"), NULL);
    secrets_put(dir, NULL, S("A"), S("3"), NULL);
    CHECK_TEXT(get("A"), "3");
    CHECK_TEXT(get("AB"), "2");
    CHECK_INT(secrets_put(dir, NULL, S("A"), slice("", 0), NULL), OK);
    CHECK_TEXT(get("A"), "");
    CHECK_TEXT(get("AB"), "2");
}

static void an_altered_file_is_refused_by_line(void) {
    struct fail fail = { 0 };
    char file[4096];
    fresh_dir();
    secrets_put(dir, NULL, S("A"), S("hello"), NULL);
    secrets_put(dir, NULL, S("B"), S("world"), NULL);
    size_t n = read_all(path, file, sizeof file);
    // Swapping the names keeps every byte of base64 valid; only the authentication notices.
    for (size_t i = 0; i < n; i++)
        if (file[i] == 'B' && (i == 0 || file[i - 1] == '\n')) file[i] = 'C';
    FILE *f = fopen(path, "we");
    fwrite(file, 1, n, f);
    fclose(f);
    CHECK(!secrets_open(dir, NULL, &fail));
    CHECK_TEXT(slice_str(fail.type), "wrong_key");
    CHECK(strstr(fail.text, "secrets:2"));
}

static void another_key_opens_nothing(void) {
    struct fail fail = { 0 };
    char key[96];
    fresh_dir();
    secrets_put(dir, NULL, S("A"), S("hello"), NULL);
    snprintf(key, sizeof key, "%s/other", dir);
    FILE *f = fopen(key, "we");
    for (int i = 0; i < 64; i++) fputc("0123456789abcdef"[i % 16], f);
    fclose(f);
    CHECK(!secrets_open(dir, key, &fail));
    CHECK_INT(fail.code, ERR_DENIED);
    f = fopen(key, "we");
    fputs("short", f);
    fclose(f);
    CHECK(!secrets_open(dir, key, &fail));
    CHECK_TEXT(slice_str(fail.type), "bad_key");
}

static void the_environment_wins_and_reload_sees_changes(void) {
    struct fail fail = { 0 };
    struct slice before, after;
    fresh_dir();
    secrets_put(dir, NULL, S("A"), S("file"), NULL);
    struct secrets *s = secrets_open(dir, NULL, &fail);
    CHECK(s && secrets_get(s, S("A"), &before));
    CHECK_TEXT(before, "file");
    setenv("TUMA_SECRET_A", "environment", 1);
    CHECK_INT(secrets_reload(s, &fail), OK);
    unsetenv("TUMA_SECRET_A");
    CHECK(secrets_get(s, S("A"), &after));
    CHECK_TEXT(after, "environment");
    CHECK_TEXT(before, "file"); // handed out before the reload, still there
    CHECK(!secrets_get(s, S("B"), &after));
    secrets_close(s);
}

static void names_and_sizes_are_checked(void) {
    static char big[16 * 1024 + 1];
    struct fail fail = { 0 };
    fresh_dir();
    CHECK_INT(secrets_put(dir, NULL, S("lower"), S("x"), &fail), ERR_INPUT);
    CHECK_INT(secrets_put(dir, NULL, S("A B"), S("x"), &fail), ERR_INPUT);
    CHECK_INT(secrets_put(dir, NULL, S("A"), slice(big, sizeof big), &fail), ERR_LIMIT);
    CHECK_INT(secrets_put(dir, NULL, S("A"), slice(big, sizeof big - 1), &fail), OK);
}

static void a_key_that_could_not_be_written_leaves_nothing_behind(void) {
    struct rlimit before, tiny;
    fresh_dir();
    signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &before);
    tiny = (struct rlimit){ 16, before.rlim_max }; // a disk with room for half a key
    setrlimit(RLIMIT_FSIZE, &tiny);
    enum err err = secrets_put(dir, NULL, S("A"), S("x"), NULL);
    setrlimit(RLIMIT_FSIZE, &before);
    CHECK_INT(err, ERR_IO);
    CHECK_INT(secrets_put(dir, NULL, S("A"), S("x"), NULL), OK);
    CHECK_TEXT(get("A"), "x");
}

static const struct check_case cases[] = {
    { "a secret comes back and is not on disk", a_secret_comes_back_and_is_not_on_disk },
    { "a secret is replaced and removed", a_secret_is_replaced_and_removed },
    { "an altered file is refused by line", an_altered_file_is_refused_by_line },
    { "another key opens nothing", another_key_opens_nothing },
    { "the environment wins and reload sees changes",
      the_environment_wins_and_reload_sees_changes },
    { "names and sizes are checked", names_and_sizes_are_checked },
    { "a key that could not be written leaves nothing behind",
      a_key_that_could_not_be_written_leaves_nothing_behind },
};
CHECK_MAIN(cases)
