// How a secret's marker (request.h) looks to a script. A request's text holds
// NUL 'S' MODE NAME NUL; a script sees NUL 'S' MODE NAME ':' NONCE NUL, where the
// nonce is this state's own random word. The script can copy and move what it
// was given; a caller's name that happens to hold the bytes of a marker does not
// know the word, so an event can never make a script ask for a secret.
#ifndef TUMA_SANDBOX_MARKER_H
#define TUMA_SANDBOX_MARKER_H

#include "sandbox.h"

// Where a text stands: decides the marker's MODE, and what a lone NUL means.
enum sandbox_place { PLACE_URL, PLACE_HEADER, PLACE_JSON, PLACE_FORM, PLACE_RAW };

// Chooses the state's nonce from its seed.
void sandbox_marker_init(struct sandbox *sandbox);
// Pushes a text of the request as the script sees it.
void sandbox_push_marked(lua_State *L, struct slice text, enum sandbox_place place);
// The way back: a script's text as the request stores it, in sandbox->arena
// (always a copy). Raises when it holds a NUL that its place cannot have.
struct slice sandbox_read_marked(lua_State *L, struct slice text, enum sandbox_place place);
// Length of the script-side marker at the start of `text`; 0 when there is none.
// Name and mode are told when not NULL; for the attempt number the name is empty.
size_t sandbox_marker_at(const struct sandbox *sandbox, struct slice text, struct slice *name,
                         char *mode);

// A copy in sandbox->arena; raises when the call's arena is full.
struct slice sandbox_keep(lua_State *L, struct slice text);
void *sandbox_keep_bytes(lua_State *L, size_t n);

#endif
