// The settings table and its three sources.
#include "config.h"

#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "buf.h"
#include "embedded.h"
#include "json.h"
#include "luadata.h"

enum { CONFIG_ARENA_MAX = 4 * 1024 * 1024, CIDRS_MAX = 256 };

#define AT(member) offsetof(struct config, member)

const struct setting config_settings[] = {
    { "data", SETTING_TEXT, AT(data), 0, 0, "tuma-data", "directory of the durable store" },
    { "scripts", SETTING_TEXT, AT(scripts), 0, 0, "scripts",
      "directory of the webhooks, one Lua file each" },
    { "listen", SETTING_TEXT, AT(listen), 0, 0, "127.0.0.1:8080",
      "address and port of the HTTP API" },
    { "require_token", SETTING_BOOL, AT(require_token), 0, 0, "false",
      "ask for a bearer token on loopback too" },
    { "workers", SETTING_INT, AT(workers), 0, 64, "0", "delivery threads, 0: one a core" },
    { "in_flight", SETTING_INT, AT(in_flight), 1, 100000, "1024",
      "attempts under way at once, over all webhooks" },
    { "backlog", SETTING_INT, AT(backlog), 1, 1e12, "5000000",
      "pending deliveries above which events get 429" },
    { "allow_private", SETTING_BOOL, AT(allow_private), 0, 0, "false",
      "deliver to loopback and private addresses (demos)" },
    { "allow_http", SETTING_BOOL, AT(allow_http), 0, 0, "false", "deliver to plain http URLs" },
    { "allow", SETTING_TEXT, AT(allow), 0, 0, NULL,
      "CIDRs that may be dialled although they are private" },
    { "deny", SETTING_TEXT, AT(deny), 0, 0, NULL, "CIDRs that may never be dialled" },
    { "http2", SETTING_BOOL, AT(http2), 0, 0, "true", "offer HTTP/2 over TLS" },
    { "dns", SETTING_TEXT, AT(dns), 0, 0, NULL, "DNS servers, host:port, comma separated" },
    { "ca_file", SETTING_TEXT, AT(ca_file), 0, 0, NULL, "certificate authorities, PEM" },
    { "secrets_key", SETTING_TEXT, AT(secrets_key), 0, 0, NULL,
      "file with the key of the stored secrets" },
    { "script_cpu_ms", SETTING_NUMBER, AT(script_cpu_ms), 1, 10000, "20",
      "CPU budget of one script call" },
    { "script_kill_ms", SETTING_NUMBER, AT(script_kill_ms), 10, 60000, "250",
      "when a runaway script process is killed" },
    { "script_load_ms", SETTING_NUMBER, AT(script_load_ms), 10, 60000, "500",
      "CPU budget of loading a script" },
    { "script_memory", SETTING_INT, AT(script_memory), 1048576, 1e9, "16777216",
      "bytes a script may use" },
    { "script_tests", SETTING_BOOL, AT(script_tests), 0, 0, "true",
      "a saved script runs once its own hook.tests pass" },
    { "retention_days", SETTING_NUMBER, AT(retention_days), 0, 36500, "7",
      "how long finished deliveries are kept, 0: for ever" },
    { "retention_bytes", SETTING_INT, AT(retention_bytes), 0, 1e15, "0",
      "store size that retention aims at, 0: none" },
    { "ballast_bytes", SETTING_INT, AT(ballast_bytes), 0, 1e12, "67108864",
      "disk space kept aside for the full-disk day" },
    { "reserve_bytes", SETTING_INT, AT(reserve_bytes), 0, 1e15, "0",
      "free disk space below which events are refused, 0: 5 %, at most 1 GiB" },
    { "drain_s", SETTING_NUMBER, AT(drain_s), 0, 600, "10",
      "how long a stop waits for attempts under way" },
    { "log_level", SETTING_TEXT, AT(log_level), 0, 0, "info", "debug, info, warn, error or off" },
    { "log_format", SETTING_TEXT, AT(log_format), 0, 0, "auto",
      "text, json, or auto: text on a terminal" },
};
const size_t config_settings_count = sizeof config_settings / sizeof *config_settings;

static bool same_name(const char *a, const char *b) {
    for (; *a && *b; a++, b++)
        if (*a != *b && !(*a == '-' && *b == '_') && !(*a == '_' && *b == '-')) return false;
    return *a == *b;
}

const struct setting *config_find(const char *name) {
    for (size_t i = 0; i < config_settings_count; i++)
        if (same_name(config_settings[i].name, name)) return &config_settings[i];
    return NULL;
}

static enum err unknown(const char *name, struct fail *fail) {
    struct slice names[64];
    size_t count = 0;
    for (; count < config_settings_count; count++)
        names[count] = slice_str(config_settings[count].name);
    struct slice near = suggest(names, count, slice_str(name));
    return fail_set(fail, ERR_INPUT, 0, "unknown_setting", "there is no setting \"%s\"%s%.*s%s",
                    name, near.n ? "; did you mean \"" : "", SLICE_FMT(near), near.n ? "\"?" : "");
}

static enum err set_bool(bool *to, const struct setting *s, const char *value, struct fail *fail) {
    static const char *const words[] = { "false", "true", "no", "yes", "off", "on", "0", "1" };
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        if (strcmp(value, words[i]) != 0) continue;
        *to = i & 1;
        return OK;
    }
    return fail_set(fail, ERR_INPUT, 0, "bad_setting", "%s is true or false, not \"%s\"", s->name,
                    value);
}

static enum err set_number(void *to, const struct setting *s, const char *value,
                           struct fail *fail) {
    char *end;
    errno = 0;
    double number = strtod(value, &end);
    bool within = *value && !*end && !errno && number >= s->min && number <= s->max;
    if (!within || (s->kind == SETTING_INT && number != (double)(int64_t)number))
        return fail_set(fail, ERR_INPUT, 0, "bad_setting",
                        "%s is a %s from %.0f to %.0f, not \"%s\"", s->name,
                        s->kind == SETTING_INT ? "whole number" : "number", s->min, s->max, value);
    if (s->kind == SETTING_INT)
        *(int64_t *)to = (int64_t)number;
    else
        *(double *)to = number;
    return OK;
}

static enum err set_value(struct config *config, const struct setting *s, const char *value,
                          struct fail *fail) {
    void *to = (char *)config + s->offset;
    fail_path(fail, "%s", s->name);
    if (s->kind == SETTING_BOOL) return set_bool(to, s, value, fail);
    if (s->kind != SETTING_TEXT) return set_number(to, s, value, fail);
    struct slice copy = arena_dup(&config->arena, slice_str(value));
    if (!copy.p) return fail_set(fail, ERR_NOMEM, 0, "no_memory", "no memory for the settings");
    *(const char **)to = copy.n ? copy.p : NULL;
    return OK;
}

enum err config_set(struct config *config, const char *name, const char *value, struct fail *fail) {
    const struct setting *s = config_find(name);
    return s ? set_value(config, s, value, fail) : unknown(name, fail);
}

// The catalogue: the engine's own, then what the operator's file adds.
static enum err build_catalog(struct config *config, struct slice extension, struct fail *fail) {
    struct buf own;
    buf_init(&own, CONFIG_ARENA_MAX);
    enum err err = luadata_eval(embedded_lua("catalog"), "catalog.lua", &own, fail);
    struct slice documents[] = { buf_slice(&own), extension };
    if (err == OK) {
        config->catalog = catalog_new(documents, extension.n ? 2 : 1, fail);
        if (!config->catalog) err = fail ? fail->code : ERR_INPUT;
    }
    buf_deinit(&own);
    return err;
}

static enum err apply_member(struct config *config, struct slice key, struct json value,
                             struct fail *fail) {
    struct arena scratch;
    if (slice_eq(key, S("tags")) || slice_eq(key, S("events")))
        return OK; // the catalogue's, see build_catalog
    arena_init(&scratch, 64 * 1024);
    struct slice name = arena_dup(&scratch, key),
                 text = arena_dup(&scratch, json_text(value, &scratch));
    enum err err = name.p && text.p ? config_set(config, name.p, text.p, fail) : ERR_NOMEM;
    arena_deinit(&scratch);
    return err;
}

static enum err read_whole(const char *path, struct buf *out, struct fail *fail) {
    FILE *file = fopen(path, "re");
    char chunk[4096];
    if (!file)
        return fail_set(fail, ERR_IO, 0, "config_unreadable", "%s: %s", path, strerror(errno));
    for (size_t n; (n = fread(chunk, 1, sizeof chunk, file)) > 0;) buf_add(out, slice(chunk, n));
    bool fine = !ferror(file) && !out->failed;
    fclose(file);
    return fine ? OK
                : fail_set(fail, ERR_IO, 0, "config_unreadable", "%s: cannot be read whole", path);
}

static enum err apply_file(struct config *config, const char *path, struct fail *fail) {
    struct buf source, json;
    buf_init(&source, 1024 * 1024);
    buf_init(&json, 1024 * 1024);
    enum err err = read_whole(path, &source, fail);
    if (err == OK) err = luadata_eval(buf_slice(&source), path, &json, fail);
    struct json root = err == OK ? json_root(buf_slice(&json)) : (struct json){ 0 };
    size_t at = 0;
    struct slice key;
    struct json value;
    while (err == OK && root.type == JSON_OBJECT && json_next(root, &at, &key, &value))
        err = apply_member(config, key, value, fail);
    if (err != OK && fail && !strstr(fail->text, path)) {
        char text[sizeof fail->text];
        snprintf(text, sizeof text, "%s", fail->text);
        snprintf(fail->text, sizeof fail->text, "%.100s: %.150s", path, text);
    }
    if (err == OK) err = build_catalog(config, buf_slice(&json), fail);
    buf_deinit(&source);
    buf_deinit(&json);
    return err;
}

static enum err apply_environment(struct config *config, struct fail *fail) {
    for (size_t i = 0; i < config_settings_count; i++) {
        char name[64] = "TUMA_";
        size_t n = 5;
        for (const char *c = config_settings[i].name; *c; c++)
            name[n++] = (char)(*c == '_' ? '_' : *c - 'a' + 'A');
        const char *value = getenv(name);
        enum err err = value ? set_value(config, &config_settings[i], value, fail) : OK;
        if (err != OK) return err;
    }
    return OK;
}

enum err config_read(struct config *config, const char *file, struct fail *fail) {
    *config = (struct config){ 0 };
    arena_init(&config->arena, CONFIG_ARENA_MAX);
    for (size_t i = 0; i < config_settings_count; i++) {
        const struct setting *s = &config_settings[i];
        enum err err = s->otherwise ? set_value(config, s, s->otherwise, fail) : OK;
        if (err != OK) return err;
    }
    if (!file && access("tuma.conf.lua", R_OK) == 0) file = "tuma.conf.lua";
    enum err err =
        file ? apply_file(config, file, fail) : build_catalog(config, slice("", 0), fail);
    return err == OK ? apply_environment(config, fail) : err;
}

static enum err read_cidrs(struct config *config, const char *list, const struct guard_cidr **out,
                           size_t *count, struct fail *fail) {
    struct slice rest = slice_str(list);
    struct guard_cidr *cidrs = arena_zalloc(&config->arena, CIDRS_MAX, sizeof *cidrs);
    if (!cidrs) return fail_set(fail, ERR_NOMEM, 0, "no_memory", "no memory for the settings");
    while (rest.n) {
        size_t end = slice_find(rest, ',');
        struct slice one = slice_trim(slice(rest.p, end));
        if (*count == CIDRS_MAX)
            return fail_set(fail, ERR_LIMIT, 0, "bad_setting", "at most %d CIDRs", CIDRS_MAX);
        enum err err = one.n ? guard_cidr_parse(one, &cidrs[*count], fail) : OK;
        if (err != OK) return err;
        *count += one.n != 0;
        rest = slice_from(rest, end + 1);
    }
    *out = cidrs;
    return OK;
}

static enum err split_listen(struct config *config, struct fail *fail) {
    const char *colon = strrchr(config->listen, ':');
    char *end = NULL;
    long port = colon ? strtol(colon + 1, &end, 10) : -1;
    size_t host = colon ? (size_t)(colon - config->listen) : 0;
    const char *from = config->listen;
    if (host >= 2 && from[0] == '[' && from[host - 1] == ']') from++, host -= 2;
    if (port < 0 || port > 65535 || !end || *end || end == colon + 1 || !host ||
        host >= sizeof config->host) {
        fail_path(fail, "listen");
        return fail_set(fail, ERR_INPUT, 0, "bad_setting", "listen is host:port, not \"%s\"",
                        config->listen);
    }
    memcpy(config->host, from, host);
    config->host[host] = '\0';
    config->port = (int)port;
    return OK;
}

static enum err read_level(struct config *config, struct fail *fail) {
    static const char *const names[] = { "debug", "info", "warn", "error", "off" };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (strcmp(config->log_level, names[i]) != 0) continue;
        config->level = (enum log_level)i;
        return OK;
    }
    return fail_set(fail, ERR_INPUT, 0, "bad_setting",
                    "log_level is debug, info, warn, error or off, not \"%s\"", config->log_level);
}

enum err config_finish(struct config *config, struct fail *fail) {
    struct guard *guard = &config->guard;
    *guard = (struct guard){ .allow_private = config->allow_private,
                             .allow_http = config->allow_http || config->allow_private };
    if (!config->data || !config->scripts || !config->listen || !config->log_level)
        return fail_set(fail, ERR_INPUT, 0, "bad_setting",
                        "data, scripts, listen and log_level may not be empty");
    enum err err = split_listen(config, fail);
    if (err == OK) err = read_level(config, fail);
    if (err == OK && config->allow)
        err = read_cidrs(config, config->allow, &guard->allow, &guard->allow_count, fail);
    if (err == OK && config->deny)
        err = read_cidrs(config, config->deny, &guard->deny, &guard->deny_count, fail);
    return err;
}

// All of this machine's addresses, whichever of them is listened on.
void config_close_own(struct config *config) {
    struct guard *guard = &config->guard;
    struct guard_cidr *own = arena_zalloc(&config->arena, CIDRS_MAX, sizeof *own);
    struct ifaddrs *all = NULL;
    if (!own || !config->port) return;
    guard_cidr_parse(S("127.0.0.0/8"), &own[guard->own_count++], NULL);
    guard_cidr_parse(S("::1"), &own[guard->own_count++], NULL);
    guard_cidr_parse(S("0.0.0.0"), &own[guard->own_count++], NULL);
    guard_cidr_parse(S("::"), &own[guard->own_count++], NULL);
    if (getifaddrs(&all) != 0) all = NULL;
    for (struct ifaddrs *one = all; one && guard->own_count < CIDRS_MAX; one = one->ifa_next)
        guard->own_count += one->ifa_addr && guard_cidr_of(one->ifa_addr, &own[guard->own_count]);
    if (all) freeifaddrs(all);
    guard->own = own;
    guard->own_port = (uint16_t)config->port;
}

void config_deinit(struct config *config) {
    catalog_free(config->catalog);
    arena_deinit(&config->arena);
}
