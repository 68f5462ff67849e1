// Two ways to one sum: the SSE 4.2 instruction where the processor has it, else
// a table of 16 entries, half a byte at a time; small, since it is the rare case.
#include "crc.h"

uint32_t crc32c_portable(uint32_t seed, struct slice bytes) {
    static const uint32_t table[16] = {
        0x00000000, 0x105ec76f, 0x20bd8ede, 0x30e349b1, 0x417b1dbc, 0x5125dad3,
        0x61c69362, 0x7198540d, 0x82f63b78, 0x92a8fc17, 0xa24bb5a6, 0xb21572c9,
        0xc38d26c4, 0xd3d3e1ab, 0xe330a81a, 0xf36e6f75,
    };
    uint32_t crc = ~seed;
    for (size_t i = 0; i < bytes.n; i++) {
        crc ^= (unsigned char)bytes.p[i];
        crc = crc >> 4 ^ table[crc & 15];
        crc = crc >> 4 ^ table[crc & 15];
    }
    return ~crc;
}

#ifdef __x86_64__
__attribute__((target("sse4.2"))) static uint32_t by_instruction(uint32_t seed, struct slice s) {
    uint64_t crc = ~seed;
    for (; s.n >= 8; s = slice(s.p + 8, s.n - 8)) {
        uint64_t eight;
        memcpy(&eight, s.p, sizeof eight);
        crc = __builtin_ia32_crc32di(crc, eight);
    }
    for (size_t i = 0; i < s.n; i++)
        crc = __builtin_ia32_crc32qi((uint32_t)crc, (unsigned char)s.p[i]);
    return ~(uint32_t)crc;
}

uint32_t crc32c(uint32_t seed, struct slice bytes) {
    return __builtin_cpu_supports("sse4.2") ? by_instruction(seed, bytes)
                                            : crc32c_portable(seed, bytes);
}
#else
uint32_t crc32c(uint32_t seed, struct slice bytes) {
    return crc32c_portable(seed, bytes);
}
#endif
