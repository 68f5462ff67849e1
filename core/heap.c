// Merging two trees makes one root the other's first child; taking a root out
// merges its children in pairs, then the pairs from right to left. Loops, no
// recursion: a hundred thousand children are a common case after a burst.
#include "heap.h"

#include <assert.h>

static bool before(const struct heap_node *a, const struct heap_node *b) {
    return a->key != b->key ? a->key < b->key : a->tie < b->tie;
}

static struct heap_node *merge(struct heap_node *a, struct heap_node *b) {
    if (!a || !b) return a ? a : b;
    if (before(b, a)) {
        struct heap_node *swap = a;
        a = b;
        b = swap;
    }
    b->next = a->child;
    if (b->next) b->next->prev = b;
    b->prev = a;
    a->child = b;
    a->next = a->prev = NULL;
    return a;
}

static struct heap_node *merge_children(struct heap_node *first) {
    struct heap_node *pairs = NULL; // linked through `next`, last pair first
    while (first) {
        struct heap_node *a = first, *b = first->next;
        first = b ? b->next : NULL;
        a->next = a->prev = NULL;
        if (b) b->next = b->prev = NULL;
        a = merge(a, b);
        a->next = pairs;
        pairs = a;
    }
    struct heap_node *root = NULL;
    while (pairs) {
        struct heap_node *rest = pairs->next;
        pairs->next = NULL;
        root = merge(root, pairs);
        pairs = rest;
    }
    return root;
}

void heap_add(struct heap *heap, struct heap_node *node, int64_t key, int64_t tie) {
    assert(!node->linked);
    *node = (struct heap_node){ .key = key, .tie = tie, .linked = true };
    heap->root = merge(heap->root, node);
}

void heap_remove(struct heap *heap, struct heap_node *node) {
    if (!node->linked) return;
    struct heap_node *rest = merge_children(node->child);
    if (heap->root == node) {
        heap->root = rest;
    } else {
        if (node->prev->child == node)
            node->prev->child = node->next;
        else
            node->prev->next = node->next;
        if (node->next) node->next->prev = node->prev;
        heap->root = merge(heap->root, rest);
    }
    *node = (struct heap_node){ 0 };
}
