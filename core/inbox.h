// The one way between threads: a queue that many may send to and one uv loop
// receives from. A message belongs to its sender until inbox_send, then to the
// receiver; the sender forgets the pointer. Holds the only lock of the engine.
#ifndef TUMA_INBOX_H
#define TUMA_INBOX_H

#include <pthread.h>
#include <stdbool.h>
#include <uv.h>

#include "list.h"

struct message {
    struct list link;
    int kind; // one of enum message_kind (model.h)
};

struct inbox {
    uv_async_t wake;
    pthread_mutex_t lock;
    struct list waiting;
    size_t count;
    bool closed;
    void (*receive)(void *user, struct list *messages); // all that waited, in order
    void (*discard)(struct message *message);           // for those that never arrive
    void *user;
};

// Embedded in its actor; `receive` runs on `loop`'s thread and takes every
// message out of the list. Returns 0 or a negative uv error.
int inbox_init(struct inbox *inbox, uv_loop_t *loop,
               void (*receive)(void *user, struct list *messages),
               void (*discard)(struct message *message), void *user);
// Any thread. After inbox_close it discards.
void inbox_send(struct inbox *inbox, struct message *message);
// Sends a whole list with one lock and one wake-up; `messages` is empty afterwards.
void inbox_send_list(struct inbox *inbox, struct list *messages);
// Receiver's thread: closes the handle; what still waits is discarded.
void inbox_close(struct inbox *inbox);

#endif
