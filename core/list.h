// Intrusive doubly linked list: the link lives in the element, so joining and
// leaving never allocate. The head is a link of its own.
#ifndef TUMA_LIST_H
#define TUMA_LIST_H

#include <stdbool.h>
#include <stddef.h>

struct list {
    struct list *prev, *next;
};

// The element of type `type` whose member `member` is the link `link`.
#define list_item(link, type, member) ((type *)(void *)((char *)(link)-offsetof(type, member)))

static inline void list_init(struct list *head) {
    head->prev = head->next = head;
}

static inline bool list_empty(const struct list *head) {
    return head->next == head;
}

// True when `link` is in a list. A link must have been list_init'ed once.
static inline bool list_linked(const struct list *link) {
    return link->next != link;
}

static inline void list_push(struct list *head, struct list *link) {
    link->prev = head->prev;
    link->next = head;
    head->prev->next = link;
    head->prev = link;
}

static inline void list_push_front(struct list *head, struct list *link) {
    list_push(head->next, link);
}

// Takes `link` out and leaves it self-linked; harmless when it is in no list.
static inline void list_remove(struct list *link) {
    link->prev->next = link->next;
    link->next->prev = link->prev;
    list_init(link);
}

// Takes out and returns the first link, or NULL.
static inline struct list *list_pop(struct list *head) {
    struct list *link = head->next;
    if (link == head) return NULL;
    list_remove(link);
    return link;
}

#endif
