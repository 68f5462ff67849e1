// The engine's own log: one JSON object a line on standard error, or plain
// text on a terminal. Ids only, never values, secrets or phone numbers.
#ifndef TUMA_LOG_H
#define TUMA_LOG_H

#include <stdbool.h>

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR, LOG_OFF };

// Sets what is written (from `level` up) and how. Call before other threads start.
void log_init(enum log_level level, bool json);

// Writes one line: a message and `key, value` string pairs, closed by NULL.
//   log_line(LOG_INFO, "delivered", "webhook", name, "delivery", id, NULL);
// One write(2) a line, so lines of several threads never mix. A closed or full
// standard error is ignored (reliability X6). Values are escaped.
void log_line(enum log_level level, const char *message, ...) __attribute__((sentinel));

#endif
