// The names people and the API use for what the structs hold.
#include "model.h"

const char *const delivery_state_names[DELIVERY_STATES] = {
    [DELIVERY_PENDING] = "pending",     [DELIVERY_DELIVERED] = "delivered",
    [DELIVERY_EXHAUSTED] = "exhausted", [DELIVERY_PARKED] = "parked",
    [DELIVERY_FILTERED] = "filtered",   [DELIVERY_DROPPED] = "dropped",
};
