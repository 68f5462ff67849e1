// The heap against a sorted array, with removals from the middle.
#include "heap.h"

#include "check.h"

enum { NODES = 3000 };
static struct heap_node nodes[NODES];

static int by_key(const void *a, const void *b) {
    const struct heap_node *x = *(struct heap_node *const *)a, *y = *(struct heap_node *const *)b;
    if (x->key != y->key) return x->key < y->key ? -1 : 1;
    return x->tie < y->tie ? -1 : x->tie > y->tie;
}

static uint32_t chance(void) {
    static uint32_t state = 12345;
    state ^= state << 13, state ^= state >> 17, state ^= state << 5;
    return state;
}

static void smallest_comes_first(void) {
    struct heap heap = { 0 };
    static struct heap_node *order[NODES];
    size_t count = 0;
    for (int i = 0; i < NODES; i++) heap_add(&heap, &nodes[i], chance() % 500, i);
    for (int i = 0; i < NODES; i++) {
        if (chance() % 3 == 0)
            heap_remove(&heap, &nodes[i]);
        else
            order[count++] = &nodes[i];
    }
    qsort(order, count, sizeof *order, by_key);
    for (size_t i = 0; i < count; i++) {
        CHECK(heap_top(&heap) == order[i]);
        heap_remove(&heap, heap_top(&heap));
    }
    CHECK(!heap_top(&heap));
}

static void removed_node_may_come_back(void) {
    struct heap heap = { 0 };
    static struct heap_node a, b;
    heap_add(&heap, &a, 1, 0);
    heap_add(&heap, &b, 2, 0);
    heap_remove(&heap, &a);
    heap_remove(&heap, &a); // harmless
    CHECK(heap_top(&heap) == &b);
    heap_add(&heap, &a, 3, 0);
    CHECK(heap_top(&heap) == &b);
    heap_remove(&heap, &b);
    CHECK(heap_top(&heap) == &a);
}

static const struct check_case CASES[] = {
    { "the smallest comes first", smallest_comes_first },
    { "a removed node may come back", removed_node_may_come_back },
};

CHECK_MAIN(CASES)
