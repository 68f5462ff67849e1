// Between the files of the log commands.
#ifndef TUMA_CMD_LOG_INNER_H
#define TUMA_CMD_LOG_INNER_H

#include <stdbool.h>
#include <stdint.h>

// Reads a delivery's number: "msg_" + 8 characters of the store + number (the
// webhook-id a receiver sees), or the number alone. False when it is neither.
bool log_parse_delivery(const char *text, int64_t *delivery);

#endif
