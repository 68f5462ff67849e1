// Bytes from receivers (Retry-After) and from webhook files (rates): whatever
// they are, results stay in their ranges.
#include <stdint.h>
#include <stdlib.h>

#include "policy.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct slice text = slice((const char *)data, size);
    int64_t wish = retry_after_parse(text, 1764000000000);
    if (wish < -1) abort();
    struct retry retry = retry_standard();
    for (unsigned failed = 1; failed <= 9; failed++) {
        int64_t pause = retry_next(&retry, failed, wish, size * 0x9E3779B97F4A7C15u);
        if (pause < retry.steps_ms[failed - 1] * 8 / 10 || pause > 103680000) abort();
    }
    struct rate rate;
    struct rate_state state = { 0 };
    struct fail fail;
    int64_t wait;
    if (rate_parse(text, &rate, &fail)) return 0;
    if (!rate.count || !rate.per_ms || !rate.burst) abort();
    for (int i = 0; i < 4; i++)
        if (!rate_take(&rate, &state, 1764000000000000000, &wait) && wait <= 0) abort();
    return 0;
}
