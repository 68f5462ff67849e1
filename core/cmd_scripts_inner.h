// What the files of `tuma scripts` share.
#ifndef TUMA_CMD_SCRIPTS_INNER_H
#define TUMA_CMD_SCRIPTS_INNER_H

#include "config.h"

// Shows where the time of a webhook's script goes, by line, over the last stored events
// or the one in `event_path` (may be NULL). Returns the exit status.
int scripts_profile(const struct config *config, const char *name, const char *event_path,
                    int64_t last, bool json);

#endif
