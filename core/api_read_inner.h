// A read of the store on libuv's pool, as api_read.c runs it, for the files that fill one.
#ifndef TUMA_API_READ_INNER_H
#define TUMA_API_READ_INNER_H

#include "api_inner.h"

enum { ANSWER_MAX = 64 << 20 };

// What the registry said about a file, copied on the loop's thread.
struct file_row {
    struct slice name, file, version, error;
    const char *state;
    struct slice reason;
    unsigned stages;
    bool live;
    int64_t loaded_ms, since_ms;
    struct script_stats *stats; // NULL: its script has not run
    struct file_row *next;
};

struct read {
    uv_work_t work;
    struct list link;
    struct api *api;
    struct exchange *exchange;
    void (*run)(struct read *read);  // on the pool; fills out, or fail and status
    void (*done)(struct read *read); // on the loop; answers
    struct choice choice;
    enum command_verb verb;
    struct file_row *rows;
    struct arena *arena; // of the exchange; the loop leaves it alone meanwhile
    struct buf out;
    size_t count;
    int64_t last;
    int status;
    struct fail fail;
};

// A read that answers with what `run` puts out; NULL: no memory, which was answered. It is
// the caller's until it is started.
struct read *api_read_new(struct api *api, struct exchange *exchange,
                          void (*run)(struct read *read));
void api_read_start(struct read *read);

// ,"key":"value" and ,"key":"RFC 3339"; a time of 0 is left out.
void api_add_text(struct buf *out, const char *key, struct slice value);
void api_add_time(struct buf *out, const char *key, int64_t ms);

#endif
