// What the files of the hook module share.
#ifndef TUMA_HOOK_INNER_H
#define TUMA_HOOK_INNER_H

#include "hook.h"
#include "json.h"

// One hook under construction: the input, where findings go, the first error.
struct hook_build {
    const struct hook_input *input;
    struct hook *hook;
    hook_finding_fn *found;
    void *user;
    struct fail *fail;
    bool bad;       // an error was found; construction goes on to find the others
    bool no_memory; // one of them was that
};

// Reports a finding. `needle` (may be empty) is text that stands in the Lua
// file near the mistake, `at` the offset of the mistake inside it: together
// they give line and column. The first error goes to build->fail.
void hook_report(struct hook_build *b, bool error, struct slice needle, size_t at, const char *type,
                 const char *format, ...) __attribute__((format(printf, 6, 7)));
// The same for a key of the hook's table ("retry").
void hook_report_key(struct hook_build *b, const char *key, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

// The parts of the description, each reporting what it does not like.
void hook_read_request(struct hook_build *b, struct json request);
void hook_read_policy(struct hook_build *b, struct json root);
void hook_read_security(struct hook_build *b, struct json root);
void hook_read_when(struct hook_build *b, struct json when);
void hook_lint(struct hook_build *b);
void hook_lint_keys(struct hook_build *b, struct slice body); // of a JSON body's objects

// A string member as text in the hook's arena; `otherwise` when absent or not a string (reported).
struct slice hook_read_text(struct hook_build *b, struct json object, const char *key,
                            struct slice otherwise);
// A list of strings (a single string is a list of one) into the hook's arena.
size_t hook_read_texts(struct hook_build *b, struct json value, const char *key,
                       struct slice **out);
// A number member within [min, max]; `otherwise` when absent or refused (reported).
double hook_read_number(struct hook_build *b, struct json object, const char *key, double min,
                        double max, double otherwise);
// Reports every member of `object` that is none of `known`, with the nearest known name.
void hook_check_keys(struct hook_build *b, struct json object, const char *where,
                     const struct slice *known, size_t known_count);

// Does the event meet the `when` conditions? NULL: yes.
bool hook_when_holds(const struct hook_condition *when, const struct event *event);

#endif
