/* crc32c against its definition, bit by bit. */
#include "base/crc32c.h"
#include "base/prng.h"
#include "lib/check.h"

#define BYTES_MAX 20000u

static uint8_t bytes[BYTES_MAX];

static uint32_t by_definition(uint32_t crc, const uint8_t *data, size_t len)
{
    crc = ~crc;
    for (size_t i = 0; i < len; i++) {
        crc ^= data[i];
        for (unsigned bit = 0; bit < 8; bit++) {
            crc = (crc & 1) != 0 ? crc >> 1 ^ 0x82f63b78u : crc >> 1;
        }
    }
    return ~crc;
}

/* The value that RFC 3720 and everyone else has for these nine bytes: disks and peers of
 * other builds must agree. */
static void known_value(void)
{
    CHECK_UINT(crc32c(0, "123456789", 9), 0xe3069283u);
    CHECK_UINT(crc32c(0, "", 0), 0);
}

static bool is_border(size_t len)
{
    return len < 64 || len % 1360 < 24 || len % 256 < 12 || len % 256 > 252;
}

/* Every length and alignment in each of the ways, around the borders of what they take at a time: three
 * lanes of 1360 bytes, or 256 from 1024 on. */
static void all_lengths(void)
{
    struct prng prng;

    prng_seed(&prng, 7);
    for (size_t i = 0; i < BYTES_MAX; i++) {
        bytes[i] = (uint8_t)prng_next(&prng);
    }
    for (size_t len = 0; len < 9000; len += is_border(len) ? 1 : 97) {
        size_t at = len % 9;
        uint32_t right = by_definition((uint32_t)len, bytes + at, len);
        uint32_t crc = 0;

        CHECK_UINT(crc32c((uint32_t)len, bytes + at, len), right);
        for (int way = CRC32C_TABLE; way <= CRC32C_FOLD; way++) {
            if (crc32c_by((enum crc32c_way)way, (uint32_t)len,
                          slice_borrow(bytes + at, len), &crc)) {
                CHECK_UINT(crc, right);
            }
        }
    }
    CHECK(crc32c_by(CRC32C_TABLE, 0, slice_borrow(bytes, 1), &(uint32_t){0}));
    CHECK_UINT(crc32c(0, bytes, BYTES_MAX), by_definition(0, bytes, BYTES_MAX));
}

/* Bytes in parts give what they give as a whole: records are summed piece by piece. */
static void in_parts(void)
{
    uint32_t whole = crc32c(0, bytes, BYTES_MAX);

    for (size_t cut = 0; cut < BYTES_MAX; cut += 613) {
        uint32_t crc = crc32c(0, bytes, cut);

        CHECK_UINT(crc32c(crc, bytes + cut, BYTES_MAX - cut), whole);
    }
}

/* The CRC of a whole follows from those of its parts, which others have checked: so no
 * byte is looked at twice. */
static void joined(void)
{
    uint32_t whole = crc32c(0, bytes, BYTES_MAX);

    for (size_t cut = 0; cut <= BYTES_MAX; cut += 619) {
        CHECK_UINT(crc32c_join(crc32c(0, bytes, cut),
                               crc32c(0, bytes + cut, BYTES_MAX - cut), BYTES_MAX - cut),
                   whole);
    }
    CHECK_UINT(crc32c_join(whole, 0, 0), whole);
    CHECK(crc32c_join(1, 2, 16) != crc32c_join(2, 1, 16));
}

/* Each bit of some bytes and of their CRC is found by what its flip changes; two flips look
 * like none, and neither does no flip. */
static void a_flipped_bit_is_found(void)
{
    enum { LEN = 123, BITS = 8 * (LEN + 4) };
    static uint32_t differs[BITS];
    uint8_t text[LEN];
    uint32_t n_found = 0;
    uint32_t whole;

    for (size_t i = 0; i < LEN; i++) {
        text[i] = (uint8_t)(i * 37);
    }
    whole = crc32c(0, text, LEN);
    for (uint32_t bit = 0; bit < BITS; bit++) {
        if (bit < 8 * LEN) {
            text[bit / 8] ^= (uint8_t)(1u << bit % 8);
            differs[bit] = whole ^ crc32c(0, text, LEN);
            text[bit / 8] ^= (uint8_t)(1u << bit % 8);
        } else {
            differs[bit] = 1u << (bit - 8 * LEN);
        }
        CHECK_UINT(crc32c_flipped(differs[bit], LEN), bit);
    }
    for (uint32_t one = 0; one < BITS; one += 5) {
        for (uint32_t two = one + 1; two < BITS; two += 3) {
            n_found +=
                crc32c_flipped(differs[one] ^ differs[two], LEN) == CRC32C_NO_BIT ? 0 : 1;
        }
    }
    CHECK_UINT(n_found, 0);
    CHECK_UINT(crc32c_flipped(0, LEN), CRC32C_NO_BIT);
}

/* Also in much longer runs: the first bit and the last. */
static void a_flipped_bit_is_found_in_many(void)
{
    uint32_t whole = crc32c(0, bytes, BYTES_MAX);

    bytes[0] ^= 1;
    CHECK_UINT(crc32c_flipped(whole ^ crc32c(0, bytes, BYTES_MAX), BYTES_MAX), 0);
    bytes[0] ^= 1;
    bytes[BYTES_MAX - 1] ^= 0x80;
    CHECK_UINT(crc32c_flipped(whole ^ crc32c(0, bytes, BYTES_MAX), BYTES_MAX),
               8 * BYTES_MAX - 1);
    bytes[BYTES_MAX - 1] ^= 0x80;
}

TEST_MAIN(CHECK_TEST(a_flipped_bit_is_found), CHECK_TEST(a_flipped_bit_is_found_in_many),
          CHECK_TEST(known_value), CHECK_TEST(all_lengths), CHECK_TEST(in_parts),
          CHECK_TEST(joined))
