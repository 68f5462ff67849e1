// CRC-32C (Castagnoli, RFC 3720 appendix B.4): tells a stored row that changed
// on disk from the one that was written. Not against an attacker.
#ifndef TUMA_CRC_H
#define TUMA_CRC_H

#include <stdint.h>

#include "slice.h"

// The checksum of what `seed` covers followed by `bytes`; start with 0.
uint32_t crc32c(uint32_t seed, struct slice bytes);
// The same without the processor's instruction, for tests.
uint32_t crc32c_portable(uint32_t seed, struct slice bytes);

#endif
