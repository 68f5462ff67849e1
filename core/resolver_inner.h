// The resolver's two halves: names and turns (resolver.c), and what asks
// c-ares for one of them (resolver_slot.c).
#ifndef TUMA_RESOLVER_INNER_H
#define TUMA_RESOLVER_INNER_H

#include <ares.h>
#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "resolver.h"

struct resolver;
struct name;

// A place to look up one name at a time.
struct slot {
    struct resolver *resolver;
    uv_loop_t *loop;
    const char *servers;   // borrowed; NULL: the system's
    ares_channel channel;  // NULL until first used
    struct watch *watches; // its sockets
    struct name *name;     // NULL: free
    int64_t started_ns;
    int64_t found_ns; // when addresses first came, 0: none yet
    unsigned running; // questions that c-ares has not answered yet
    int status;       // the worst that c-ares said
    int64_t ttl_s;    // the least
    struct resolved found;
};

// Asks for A and AAAA of slot->name. The answer is there, perhaps at once, when
// slot->running is 0; after an answer from the network resolver_slot_settled runs.
void slot_start(struct slot *slot, const char *host);
// Lets c-ares look at its time-outs.
void slot_tick(struct slot *slot);
// Ends what runs; slot->running is 0 afterwards.
void slot_cancel(struct slot *slot);
// Cancels and frees the channel.
void slot_deinit(struct slot *slot);
// Turns what was found, or c-ares' status, into the answer.
void slot_answer(struct slot *slot, bool timed_out);

// In resolver.c, called by the slots.
void resolver_handle_opened(struct resolver *resolver);
void resolver_handle_closed(struct resolver *resolver);
void resolver_slot_settled(struct slot *slot); // running became 0, c-ares is left

#endif
