// The names and ids that people and the API use for what the structs hold.
#include "model.h"

const char *const delivery_state_names[DELIVERY_STATES] = {
    [DELIVERY_PENDING] = "pending",     [DELIVERY_DELIVERED] = "delivered",
    [DELIVERY_EXHAUSTED] = "exhausted", [DELIVERY_PARKED] = "parked",
    [DELIVERY_FILTERED] = "filtered",   [DELIVERY_DROPPED] = "dropped",
};

bool delivery_number(struct slice id, int64_t *number) {
    enum { PREFIX = 12, DIGITS_MAX = 18 };
    int64_t n = 0;
    if (slice_starts(id, S("msg_")) && id.n > PREFIX) id = slice_from(id, PREFIX);
    if (!id.n || id.n > DIGITS_MAX) return false;
    for (size_t i = 0; i < id.n; i++) {
        if (id.p[i] < '0' || id.p[i] > '9') return false;
        n = n * 10 + (id.p[i] - '0');
    }
    if (n) *number = n;
    return n > 0;
}
