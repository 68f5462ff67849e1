// The wake-up is sent under the lock: a sender outside it could hit a handle
// that inbox_close closes at that moment. Only the first message of a batch
// wakes, so a busy receiver costs its senders no system call.
#include "inbox.h"

#include <assert.h>

// Moves everything of `from` behind `to`.
static void append_all(struct list *to, struct list *from) {
    if (list_empty(from)) return;
    from->next->prev = to->prev;
    to->prev->next = from->next;
    from->prev->next = to;
    to->prev = from->prev;
    list_init(from);
}

static void discard_all(struct inbox *inbox, struct list *messages) {
    struct list *link;
    while ((link = list_pop(messages))) inbox->discard(list_item(link, struct message, link));
}

static void on_wake(uv_async_t *wake) {
    struct inbox *inbox = wake->data;
    struct list arrived;
    list_init(&arrived);
    pthread_mutex_lock(&inbox->lock);
    append_all(&arrived, &inbox->waiting);
    inbox->count = 0;
    pthread_mutex_unlock(&inbox->lock);
    if (list_empty(&arrived)) return;
    inbox->receive(inbox->user, &arrived);
    assert(list_empty(&arrived));
}

int inbox_init(struct inbox *inbox, uv_loop_t *loop,
               void (*receive)(void *user, struct list *messages),
               void (*discard)(struct message *message), void *user) {
    *inbox = (struct inbox){ .receive = receive, .discard = discard, .user = user };
    list_init(&inbox->waiting);
    int bad = pthread_mutex_init(&inbox->lock, NULL);
    if (bad) return uv_translate_sys_error(bad);
    bad = uv_async_init(loop, &inbox->wake, on_wake);
    inbox->wake.data = inbox;
    if (bad) pthread_mutex_destroy(&inbox->lock);
    return bad;
}

void inbox_send(struct inbox *inbox, struct message *message) {
    struct list one;
    list_init(&one);
    list_push(&one, &message->link);
    inbox_send_list(inbox, &one);
}

void inbox_send_list(struct inbox *inbox, struct list *messages) {
    if (list_empty(messages)) return;
    size_t count = 0;
    for (struct list *link = messages->next; link != messages; link = link->next) count++;

    pthread_mutex_lock(&inbox->lock);
    bool taken = !inbox->closed;
    if (taken) {
        bool was_empty = list_empty(&inbox->waiting);
        append_all(&inbox->waiting, messages);
        inbox->count += count;
        if (was_empty) uv_async_send(&inbox->wake);
    }
    pthread_mutex_unlock(&inbox->lock);
    if (!taken) discard_all(inbox, messages);
}

void inbox_close(struct inbox *inbox) {
    struct list waiting;
    list_init(&waiting);
    pthread_mutex_lock(&inbox->lock);
    bool first = !inbox->closed;
    inbox->closed = true;
    append_all(&waiting, &inbox->waiting);
    inbox->count = 0;
    pthread_mutex_unlock(&inbox->lock);
    discard_all(inbox, &waiting);
    // The lock lives on: late senders still look whether it is closed.
    if (first) uv_close((uv_handle_t *)&inbox->wake, NULL);
}
