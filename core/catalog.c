// The catalogue as arrays and an index by name. Built in two rounds, since a
// tag may be on events that a later document adds.
#include "catalog.h"

#include <stdlib.h>

#include "arena.h"
#include "event.h"
#include "json.h"
#include "map.h"
#include "tag.h"

enum { ARENA_MAX = 16 * 1024 * 1024, EVENTS_MAX = 1024, TAGS_MAX = 8192 };

struct owned {
    struct catalog catalog; // first: a catalog pointer is an owned pointer
    struct arena arena;
    struct map events, tags; // by name, to the entries
};

static const struct owned *owned_of(const struct catalog *c) {
    return (const struct owned *)(const void *)c;
}

static enum err refuse(struct fail *fail, const char *problem) {
    return fail_set(fail, ERR_INPUT, 0, "bad_catalog", "%s: %s", fail ? fail->path : "", problem);
}

static enum err no_memory(struct fail *fail) {
    return fail_set(fail, ERR_NOMEM, 0, "no_memory", "no memory for the catalogue");
}

static size_t count_of(struct json list) {
    struct json value;
    size_t n = 0;
    for (size_t at = 0; json_next(list, &at, NULL, &value);) n++;
    return n;
}

// A member's text, copied; empty when there is none.
static enum err take_text(struct owned *o, struct json entry, const char *key, struct slice *to,
                          struct fail *fail) {
    struct json value = json_get(entry, key);
    *to = S("");
    if (value.type == JSON_NONE) return OK;
    if (value.type != JSON_STRING) {
        refuse(fail, "name, description, when, group and type are texts");
        return ERR_INPUT;
    }
    struct slice text = json_text(value, &o->arena);
    *to = text.p ? arena_dup(&o->arena, text) : text;
    return to->p ? OK : no_memory(fail);
}

static enum err check_keys(struct json entry, const char *const *known, struct fail *fail) {
    struct slice key;
    struct json value;
    if (entry.type != JSON_OBJECT) return refuse(fail, "an entry is a table with a name");
    for (size_t at = 0; json_next(entry, &at, &key, &value);) {
        size_t i = 0;
        while (known[i] && !json_key_is(key, slice_str(known[i]))) i++;
        if (!known[i])
            return fail_set(fail, ERR_INPUT, 0, "bad_catalog", "%s: there is no key \"%.*s\" here",
                            fail ? fail->path : "", SLICE_FMT(key));
    }
    return OK;
}

static enum err add_event(struct owned *o, struct json entry, struct fail *fail) {
    static const char *const known[] = { "name", "description", "when", NULL };
    struct catalog_event event;
    enum err err = check_keys(entry, known, fail);
    if (!err) err = take_text(o, entry, "name", &event.name, fail);
    if (!err) err = take_text(o, entry, "description", &event.description, fail);
    if (!err) err = take_text(o, entry, "when", &event.when, fail);
    if (err) return err;
    if (!event_type_valid(event.name))
        return refuse(fail, "name must be an event type such as \"call.completed\"");
    struct catalog_event *there = map_get(&o->events, event.name);
    if (!there) there = &o->catalog.events[o->catalog.events_count++];
    *there = event;
    return map_put(&o->events, event.name, there) ? OK : no_memory(fail);
}

static bool mark_events(const struct owned *o, struct slice pattern, bool *on) {
    bool any = false;
    for (size_t i = 0; i < o->catalog.events_count; i++) {
        if (!event_type_matches(pattern, o->catalog.events[i].name)) continue;
        on[i] = any = true;
    }
    return any;
}

// The event types or patterns in `on`; none: every event.
static enum err take_on(struct owned *o, struct json entry, struct catalog_tag *tag,
                        struct fail *fail) {
    struct json list = json_get(entry, "on"), value;
    bool *on = arena_zalloc(&o->arena, o->catalog.events_count + 1, sizeof *on);
    if (!on) return no_memory(fail);
    tag->on = on;
    if (list.type == JSON_NONE) mark_events(o, S("*"), on);
    bool listed = list.type == JSON_ARRAY || list.type == JSON_NONE;
    if (!listed && list.type != JSON_STRING) return refuse(fail, "on is a list of event types");
    if (list.type == JSON_STRING && !mark_events(o, json_text(list, &o->arena), on))
        return refuse(fail, "on names no known event");
    for (size_t at = 0; json_next(list, &at, NULL, &value);)
        if (value.type != JSON_STRING || !mark_events(o, json_text(value, &o->arena), on))
            return refuse(fail, "on names an event that is not known");
    return OK;
}

static enum err add_tag(struct owned *o, struct json entry, struct fail *fail) {
    static const char *const known[] = { "name", "group",   "description", "type",
                                         "on",   "derived", NULL };
    struct catalog_tag tag = { .derived = false };
    enum err err = check_keys(entry, known, fail);
    if (!err) err = take_text(o, entry, "name", &tag.name, fail);
    if (!err) err = take_text(o, entry, "group", &tag.group, fail);
    if (!err) err = take_text(o, entry, "description", &tag.description, fail);
    if (!err) err = take_text(o, entry, "type", &tag.type, fail);
    if (err) return err;
    if (!tag_name_valid(tag.name)) return refuse(fail, "name must be a tag name such as \"LEAD\"");
    if (tag_intern(tag.name) == TAG_NONE)
        return tag_count() < TAG_IDS_MAX ? no_memory(fail)
                                         : refuse(fail, "there are too many tags");
    struct json derived = json_get(entry, "derived");
    if (derived.type > JSON_TRUE) return refuse(fail, "derived is true or false");
    tag.derived = derived.type == JSON_TRUE;
    err = take_on(o, entry, &tag, fail);
    if (err) return err;
    struct catalog_tag *there = map_get(&o->tags, tag.name);
    if (!there) there = &o->catalog.tags[o->catalog.tags_count++];
    *there = tag;
    return map_put(&o->tags, tag.name, there) ? OK : no_memory(fail);
}

static enum err add_all(struct owned *o, struct slice document, const char *key,
                        enum err (*add)(struct owned *o, struct json entry, struct fail *fail),
                        struct fail *fail) {
    struct json list = json_get(json_root(document), key), entry;
    // Lua has one empty table; it comes as {}.
    bool empty = list.type == JSON_NONE || (list.type == JSON_OBJECT && !count_of(list));
    fail_path(fail, "%s", key);
    if (!empty && list.type != JSON_ARRAY) return refuse(fail, "this must be a list");
    size_t at = 0;
    for (size_t i = 1; !empty && json_next(list, &at, NULL, &entry); i++) {
        fail_path(fail, "%s[%zu]", key, i);
        enum err err = add(o, entry, fail);
        if (err) return err;
    }
    fail_path(fail, "%s", "");
    return OK;
}

static enum err build(struct owned *o, const struct slice *documents, size_t count,
                      struct fail *fail) {
    size_t events = 0, tags = 0;
    for (size_t i = 0; i < count; i++) {
        events += count_of(json_get(json_root(documents[i]), "events"));
        tags += count_of(json_get(json_root(documents[i]), "tags"));
    }
    if (events > EVENTS_MAX || tags > TAGS_MAX)
        return fail_set(fail, ERR_LIMIT, 0, "bad_catalog", "more than %d events or %d tags",
                        EVENTS_MAX, TAGS_MAX);
    o->catalog.events = arena_zalloc(&o->arena, events + 1, sizeof *o->catalog.events);
    o->catalog.tags = arena_zalloc(&o->arena, tags + 1, sizeof *o->catalog.tags);
    if (!o->catalog.events || !o->catalog.tags) return no_memory(fail);
    enum err err = OK;
    for (size_t i = 0; !err && i < count; i++)
        err = add_all(o, documents[i], "events", add_event, fail);
    for (size_t i = 0; !err && i < count; i++)
        err = add_all(o, documents[i], "tags", add_tag, fail);
    return err;
}

struct catalog *catalog_new(const struct slice *documents, size_t count, struct fail *fail) {
    struct fail unseen;
    if (!fail) fail = &unseen;
    struct owned *o = calloc(1, sizeof *o);
    if (!o) {
        no_memory(fail);
        return NULL;
    }
    arena_init(&o->arena, ARENA_MAX);
    map_init(&o->events);
    map_init(&o->tags);
    if (build(o, documents, count, fail) == OK) return &o->catalog;
    catalog_free(&o->catalog);
    return NULL;
}

void catalog_free(struct catalog *catalog) {
    if (!catalog) return;
    struct owned *o = (struct owned *)(void *)catalog;
    map_deinit(&o->events);
    map_deinit(&o->tags);
    arena_deinit(&o->arena);
    free(o);
}

const struct catalog_event *catalog_find_event(const struct catalog *c, struct slice name) {
    return name.p ? map_get(&owned_of(c)->events, name) : NULL;
}

const struct catalog_tag *catalog_find_tag(const struct catalog *c, struct slice name) {
    return name.p ? map_get(&owned_of(c)->tags, name) : NULL;
}

bool catalog_tag_on(const struct catalog *c, const struct catalog_tag *tag, struct slice pattern) {
    bool known = false;
    for (size_t i = 0; i < c->events_count; i++) {
        if (!event_type_matches(pattern, c->events[i].name)) continue;
        if (tag->on[i]) return true;
        known = true;
    }
    return !known;
}

// The names of `count` entries of `size` bytes that start with their name, and
// the one nearest to `name`.
static struct slice suggest_entry(const void *entries, size_t size, size_t count,
                                  struct slice name) {
    struct slice *names = malloc((count + 1) * sizeof *names);
    if (!names) return S("");
    for (size_t i = 0; i < count; i++)
        memcpy(&names[i], (const char *)entries + i * size, sizeof names[i]);
    struct slice found = suggest(names, count, name);
    free(names);
    return found;
}

struct slice catalog_suggest_tag(const struct catalog *c, struct slice name) {
    return suggest_entry(c->tags, sizeof *c->tags, c->tags_count, name);
}

struct slice catalog_suggest_event(const struct catalog *c, struct slice name) {
    return suggest_entry(c->events, sizeof *c->events, c->events_count, name);
}
