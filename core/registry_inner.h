// What the files of the registry share. All of it belongs to the loop's thread.
#ifndef TUMA_REGISTRY_INNER_H
#define TUMA_REGISTRY_INNER_H

#include <sys/stat.h>

#include "list.h"
#include "map.h"
#include "registry.h"

enum {
    REGISTRY_NAME_MAX = 64,
    REGISTRY_PATIENCE_MS = 5000, // the first set of webhooks waits no longer to be whole
};

// What tells whether a file is another one than when it was read.
struct registry_stamp {
    dev_t device;
    ino_t inode;
    off_t size;
    int64_t modified_ns, changed_ns;
    int64_t read_ns; // wall clock when it was read
};

struct registry_entry {
    struct list link; // registry->to_load, when it is to be read
    struct registry *registry;
    char name[256]; // the stem
    char *path;     // as messages name it
    struct registry_stamp stamp;
    uint8_t hash[32];  // of the text that was tried last
    char *libs;        // names of the shared files it uses, newline separated
    struct hook *hook; // the version that runs, or NULL
    struct hook *next; // a version whose tests run
    char *error;       // of the newest, broken version
    int64_t loaded_ms;
    bool seen;    // by the scan that goes on
    bool forced;  // a shared file changed: the same text is to be read again
    bool loading; // out there; `again` when it changed meanwhile, `gone` when it went
    bool again, gone;
    bool retry; // it failed for want of memory or a process: see registry_retry
};

struct registry {
    uv_loop_t *loop;
    struct registry_opts opts;
    struct script_pool *pool;
    uv_fs_event_t watch_dir, watch_lib;
    uv_timer_t settle;          // changes come in bursts
    uv_timer_t publish;         // a long load publishes what it has now and then
    ino_t dir_inode, lib_inode; // what is watched, 0: nothing
    bool watch_warned;
    int64_t unsettled_ns; // first change of the burst; 0: none
    struct map entries;   // by name
    struct map libs;      // stamps of the shared files by name (struct registry_lib)
    struct list to_load;
    size_t in_flight;
    uv_timer_t retry;       // entries are tried again, the directory is looked at again
    size_t retrying;        // entries that are
    bool look_again;        // not all of the directory was seen
    int64_t short_since_ns; // of memory or processes; 0: it is not
    bool dirty, published, whole, closing, advancing;
    int handles;
    void (*closed)(void *user);
    void *closed_user;
};

// --- registry_scan.c ---
// Compares the directory with the entries; what changed is put on to_load.
void registry_look(struct registry *registry);
void registry_forget_libs(struct registry *registry);
void registry_entry_free(struct registry_entry *entry);
// What failed for want of memory, and not for what the file says, is tried again after a moment:
// this entry, or with NULL the look at the directory.
void registry_retry(struct registry *registry, struct registry_entry *entry);
bool registry_is_short_long(const struct registry *registry);
bool registry_passing(int error); // of a system call: no memory, no descriptor

// --- registry_load.c ---
// Reads and loads what waits, a bounded number at a time; publishes when all is done.
void registry_advance(struct registry *registry);
void registry_publish(struct registry *registry);

// --- registry_watch.c ---
// Watches the two directories, or others that have taken their place.
void registry_watch(struct registry *registry);

#endif
