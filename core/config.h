// Settings: from tuma.conf.lua, then TUMA_… variables, then flags, the later
// winning. One table (config.c) names each setting once; the file's key
// `allow_private` is the variable TUMA_ALLOW_PRIVATE and the flag --allow-private.
#ifndef TUMA_CONFIG_H
#define TUMA_CONFIG_H

#include <stdbool.h>
#include <stdint.h>

#include "arena.h"
#include "catalog.h"
#include "fail.h"
#include "guard.h"
#include "log.h"

struct config {
    struct arena arena; // owns every string below

    const char *data;        // store directory
    const char *scripts;     // webhooks directory
    const char *listen;      // "host:port"
    const char *secrets_key; // key file of the encrypted secrets; NULL: DATA/secret.key
    int64_t workers;         // 0: one a core
    bool allow_private, allow_http, http2;
    const char *allow, *deny;  // CIDR lists, comma separated
    const char *dns, *ca_file; // NULL: the system's
    double script_cpu_ms, script_kill_ms, script_load_ms;
    int64_t script_memory; // bytes
    bool script_tests;     // a saved script's own tests must pass before it runs
    int64_t in_flight, backlog;
    double retention_days;
    int64_t retention_bytes, ballast_bytes, reserve_bytes;
    double drain_s;
    bool require_token; // also on loopback
    const char *log_level, *log_format;

    // Made from the above by config_load.
    struct guard guard;
    struct catalog *catalog;
    enum log_level level;
    char host[64];
    int port;
};

// One setting, for flags and help.
enum setting_kind { SETTING_TEXT, SETTING_INT, SETTING_NUMBER, SETTING_BOOL };
struct setting {
    const char *name; // as in the file; '_' is '-' in the flag
    enum setting_kind kind;
    size_t offset;         // into struct config
    double min, max;       // INT and NUMBER
    const char *otherwise; // default, as text; NULL: none
    const char *help;
};
extern const struct setting config_settings[];
extern const size_t config_settings_count;

// Defaults, then the file (NULL: ./tuma.conf.lua when it is there), then the environment.
enum err config_read(struct config *config, const char *file, struct fail *fail);
// One setting from text (a flag). fail->type: unknown_setting, bad_setting.
enum err config_set(struct config *config, const char *name, const char *value, struct fail *fail);
const struct setting *config_find(const char *name);
// Checks what settings mean together, builds guard, catalogue, host and port.
enum err config_finish(struct config *config, struct fail *fail);
// Closes what `listen` names to deliveries: they would come back as events. For who listens.
void config_close_own(struct config *config);
void config_deinit(struct config *config);

#endif
