// The files of lua/ inside the binary, so that it needs nothing beside it.
#ifndef TUMA_EMBEDDED_H
#define TUMA_EMBEDDED_H

#include "slice.h"

// The text of lua/NAME.lua; p is NULL when there is no such file.
struct slice embedded_lua(const char *name);

#endif
