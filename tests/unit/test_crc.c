// CRC-32C against the RFC's vectors, and both ways against each other.
#include "crc.h"

#include "check.h"

static void known_sums(void) {
    char zeros[32] = { 0 }, ones[32];
    memset(ones, 0xFF, sizeof ones);
    CHECK_INT(crc32c(0, S("123456789")), 0xE3069283);
    CHECK_INT(crc32c(0, slice(zeros, sizeof zeros)), 0x8A9136AA); // RFC 3720 B.4
    CHECK_INT(crc32c(0, slice(ones, sizeof ones)), 0x62A8AB43);
    CHECK_INT(crc32c(0, slice(NULL, 0)), 0);
}

static void both_ways_agree_at_every_length_and_split(void) {
    char bytes[100];
    for (size_t i = 0; i < sizeof bytes; i++) bytes[i] = (char)(i * 37 + 11);
    for (size_t n = 0; n <= sizeof bytes; n++) {
        struct slice all = slice(bytes, n);
        CHECK_INT(crc32c(0, all), crc32c_portable(0, all));
        for (size_t cut = 0; cut <= n; cut += 7)
            CHECK_INT(crc32c(crc32c(0, slice(bytes, cut)), slice_from(all, cut)), crc32c(0, all));
    }
}

static void a_single_flipped_bit_shows(void) {
    char bytes[64] = "a row of the store";
    uint32_t sum = crc32c(0, slice(bytes, sizeof bytes));
    for (size_t bit = 0; bit < sizeof bytes * 8; bit++) {
        bytes[bit / 8] ^= (char)(1 << bit % 8);
        CHECK(crc32c(0, slice(bytes, sizeof bytes)) != sum);
        bytes[bit / 8] ^= (char)(1 << bit % 8);
    }
}

static const struct check_case cases[] = {
    { "crc: the known sums", known_sums },
    { "crc: both ways agree at every length and split", both_ways_agree_at_every_length_and_split },
    { "crc: a single flipped bit shows", a_single_flipped_bit_shows },
};
CHECK_MAIN(cases)
