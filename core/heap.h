// Intrusive pairing heap: the node lives in the element, so that adding never
// allocates and cannot fail. Smallest (key, tie) first.
#ifndef TUMA_HEAP_H
#define TUMA_HEAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct heap_node {
    struct heap_node *child; // first child
    struct heap_node *next;  // younger sibling
    struct heap_node *prev;  // elder sibling, or the parent of a first child
    int64_t key, tie;
    bool linked;
};

struct heap {
    struct heap_node *root;
};

// The element of type `type` whose member `member` is the node `node`.
#define heap_item(node, type, member) ((type *)(void *)((char *)(node)-offsetof(type, member)))

// Puts `node` (in no heap, zeroed or removed before) in at (key, tie). O(1).
void heap_add(struct heap *heap, struct heap_node *node, int64_t key, int64_t tie);
// The smallest, or NULL. O(1).
static inline struct heap_node *heap_top(const struct heap *heap) {
    return heap->root;
}
// Takes `node` out of this heap; harmless when it is in none. O(log n) amortized.
void heap_remove(struct heap *heap, struct heap_node *node);

#endif
