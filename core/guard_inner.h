// What the two halves of the guard share.
#ifndef TUMA_GUARD_INNER_H
#define TUMA_GUARD_INNER_H

#include <stdbool.h>
#include <stdint.h>

#include "guard.h"

// 80, 443 and everything from 1024 on, but no port of a well-known service
// that speaks something else, and none of the operator's list.
bool guard_port_allowed(const struct guard *guard, uint16_t port);

#endif
