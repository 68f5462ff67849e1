// The event and tag catalogue: plain data from lua/catalog.lua and the
// operator's configuration, used for lint, `tuma events` and `tuma tags`.
#ifndef TUMA_CATALOG_H
#define TUMA_CATALOG_H

#include <stdbool.h>
#include <stddef.h>

#include "fail.h"
#include "slice.h"

struct catalog_event {
    struct slice name, description, when;
};

struct catalog_tag {
    struct slice name, group, description, type;
    const bool *on; // by index of catalog->events: may this event carry it
    bool derived;   // the engine fills it in
};

struct catalog {
    struct catalog_event *events;
    size_t events_count;
    struct catalog_tag *tags;
    size_t tags_count;
};

// Builds the catalogue from JSON documents {"events":[…],"tags":[…]}, later ones
// add or replace by name. Interns every tag. Returns owned, or NULL with fail.
struct catalog *catalog_new(const struct slice *documents, size_t count, struct fail *fail);
void catalog_free(struct catalog *catalog);

const struct catalog_event *catalog_find_event(const struct catalog *c, struct slice name);
const struct catalog_tag *catalog_find_tag(const struct catalog *c, struct slice name);
// May an event that matches `pattern` ("call.*") carry `tag`? True for unknown event types.
bool catalog_tag_on(const struct catalog *c, const struct catalog_tag *tag, struct slice pattern);
// The known tag name nearest to `name` (edit distance ≤ 2, or ≤ 3 from 8 letters), or empty.
struct slice catalog_suggest_tag(const struct catalog *c, struct slice name);
struct slice catalog_suggest_event(const struct catalog *c, struct slice name);

// Nearest of `count` words, same rule; for settings, flags and modules too.
struct slice suggest(const struct slice *words, size_t count, struct slice word);

#endif
