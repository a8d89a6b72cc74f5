#include "base/crc32c.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>

#define POLYNOMIAL 0x82f63b78u /* Reflected. */

static uint32_t table[256];
static _Atomic bool table_ready;

/* Every thread computes the same values, so a race to fill the table is harmless only
 * if no reader sees a half-made one: the flag is set last. */
static void make_table(void)
{
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t crc = i;

        for (unsigned bit = 0; bit < 8; bit++) {
            crc = (crc & 1) != 0 ? crc >> 1 ^ POLYNOMIAL : crc >> 1;
        }
        __atomic_store_n(&table[i], crc, __ATOMIC_RELAXED);
    }
    atomic_store_explicit(&table_ready, true, memory_order_release);
}

static uint32_t crc_software(uint32_t crc, const uint8_t *data, size_t len)
{
    if (!atomic_load_explicit(&table_ready, memory_order_acquire)) {
        make_table();
    }
    for (size_t i = 0; i < len; i++) {
        crc =
            crc >> 8 ^ __atomic_load_n(&table[(crc ^ data[i]) & 0xff], __ATOMIC_RELAXED);
    }
    return crc;
}

/* x^(8 * 2^i) modulo the polynomial: what 2^i bytes of zeros multiply a CRC by. */
static uint32_t powers[64];
static _Atomic bool powers_ready;

/* The product modulo the polynomial. The highest bit is the coefficient of x^0. */
static uint32_t multiply(uint32_t a, uint32_t b)
{
    uint32_t product = 0;

    for (; a != 0; a <<= 1) {
        product ^= a >> 31 != 0 ? b : 0;
        b = (b & 1) != 0 ? b >> 1 ^ POLYNOMIAL : b >> 1;
    }
    return product;
}

/* As with the other tables: all threads write the same, and the flag comes last. */
static void make_powers(void)
{
    uint32_t power = 1u << 23;

    for (unsigned i = 0; i < 64; i++) {
        __atomic_store_n(&powers[i], power, __ATOMIC_RELAXED);
        power = multiply(power, power);
    }
    atomic_store_explicit(&powers_ready, true, memory_order_release);
}

#ifdef __x86_64__
#include <immintrin.h>

/* The instruction takes three cycles, but the CPU can begin one every cycle: three lanes
 * side by side. 4096 bytes are three lanes and a rest of 16. */
#define LANE_BYTES 1360u

/* By byte of a CRC: what it becomes behind a lane of zeros. CRCs are linear, so that is
 * what joins the lanes. */
static uint32_t behind_lane[4][256];
static _Atomic bool lanes_ready;

__attribute__((target("sse4.2"))) static uint32_t crc_one_lane(uint32_t crc,
                                                               const uint8_t *data,
                                                               size_t len)
{
    uint64_t wide = crc;

    for (; len >= 8; data += 8, len -= 8) {
        uint64_t word;

        memcpy(&word, data, sizeof word);
        wide = _mm_crc32_u64(wide, word);
    }
    crc = (uint32_t)wide;
    for (; len > 0; data++, len--) {
        crc = _mm_crc32_u8(crc, *data);
    }
    return crc;
}

/* As with the other table: all threads write the same, and the flag comes last. */
static void make_lanes(void)
{
    static const uint8_t zeros[LANE_BYTES];

    for (unsigned byte = 0; byte < 4; byte++) {
        for (uint32_t value = 0; value < 256; value++) {
            uint32_t crc = crc_one_lane(value << (8 * byte), zeros, LANE_BYTES);

            __atomic_store_n(&behind_lane[byte][value], crc, __ATOMIC_RELAXED);
        }
    }
    atomic_store_explicit(&lanes_ready, true, memory_order_release);
}

static uint32_t skip_lane(uint32_t crc)
{
    uint32_t out = 0;

    for (unsigned byte = 0; byte < 4; byte++) {
        out ^= __atomic_load_n(&behind_lane[byte][crc >> (8 * byte) & 0xff],
                               __ATOMIC_RELAXED);
    }
    return out;
}

/* @ahead: three more lanes follow. They are asked for now, 48 bytes every 16: three streams
 * that end after a third of a page each are none that the CPU sees coming. */
__attribute__((target("sse4.2"))) static uint32_t crc_three_lanes(uint32_t crc,
                                                                  const uint8_t *data,
                                                                  bool ahead)
{
    uint64_t lanes[3] = {crc, 0, 0};

    for (size_t at = 0; at < LANE_BYTES; at += 8) {
        uint64_t words[3];

        if (ahead && at % 16 == 0) {
            _mm_prefetch((const char *)data + 3 * (LANE_BYTES + at), _MM_HINT_T0);
        }
        memcpy(&words[0], data + at, 8);
        memcpy(&words[1], data + LANE_BYTES + at, 8);
        memcpy(&words[2], data + 2 * LANE_BYTES + at, 8);
        lanes[0] = _mm_crc32_u64(lanes[0], words[0]);
        lanes[1] = _mm_crc32_u64(lanes[1], words[1]);
        lanes[2] = _mm_crc32_u64(lanes[2], words[2]);
    }
    crc = skip_lane((uint32_t)lanes[0]) ^ (uint32_t)lanes[1];
    return skip_lane(crc) ^ (uint32_t)lanes[2];
}

/*
 * Folding: 64 bits of the message, as a polynomial, count at a distance of n bits what
 * their product with x^n modulo the polynomial counts in place. Carry-less products of the
 * 16 parts of 128 bits in FOLD_BYTES are taken at once, and what is left at the end are
 * FOLD_BYTES with the CRC of all that was folded into them.
 */
#define FOLD_BYTES 256u
#define FOLD_MIN 1024u /* Fewer bytes are not worth it. */

static uint64_t fold_by[2]; /* For the first and the second half of 128 bits. */
static _Atomic bool fold_ready;

/* x^n modulo the polynomial. */
static uint32_t power_of_x(uint64_t n)
{
    uint32_t power = 1u << 31;
    uint32_t square = 1u << 30;

    for (; n != 0; n >>= 1) {
        power = (n & 1) != 0 ? multiply(power, square) : power;
        square = multiply(square, square);
    }
    return power;
}

/* As with the other tables. A product of reflected numbers is one bit too low. */
static void make_fold(void)
{
    uint64_t bits = 8ull * FOLD_BYTES;

    __atomic_store_n(&fold_by[0], (uint64_t)power_of_x(bits + 32) << 1, __ATOMIC_RELAXED);
    __atomic_store_n(&fold_by[1], (uint64_t)power_of_x(bits - 32) << 1, __ATOMIC_RELAXED);
    atomic_store_explicit(&fold_ready, true, memory_order_release);
}

/* A multiple of FOLD_BYTES. */
__attribute__((target("avx512f,vpclmulqdq,sse4.2"))) static uint32_t crc_fold(
    uint32_t crc, const uint8_t *data, size_t len)
{
    const __m512i by = _mm512_broadcast_i32x4(
        _mm_set_epi64x((long long)__atomic_load_n(&fold_by[1], __ATOMIC_RELAXED),
                       (long long)__atomic_load_n(&fold_by[0], __ATOMIC_RELAXED)));
    uint8_t left[FOLD_BYTES];
    __m512i x[4];

    for (unsigned i = 0; i < 4; i++) {
        x[i] = _mm512_loadu_si512(data + (size_t)64 * i);
    }
    x[0] = _mm512_xor_si512(x[0], _mm512_zextsi128_si512(_mm_cvtsi32_si128((int)crc)));
    for (size_t at = FOLD_BYTES; at < len; at += FOLD_BYTES) {
        for (unsigned i = 0; i < 4; i++) {
            __m512i first = _mm512_clmulepi64_epi128(x[i], by, 0x00);
            __m512i second = _mm512_clmulepi64_epi128(x[i], by, 0x11);
            __m512i next = _mm512_loadu_si512(data + at + (size_t)64 * i);

            x[i] = _mm512_xor_si512(_mm512_xor_si512(first, second), next);
        }
    }
    for (unsigned i = 0; i < 4; i++) {
        _mm512_storeu_si512(left + (size_t)64 * i, x[i]);
    }
    return crc_one_lane(0, left, FOLD_BYTES);
}

static uint32_t crc_wide(uint32_t crc, const uint8_t *data, size_t len)
{
    size_t folded = len - len % FOLD_BYTES;

    if (!atomic_load_explicit(&fold_ready, memory_order_acquire)) {
        make_fold();
    }
    crc = crc_fold(crc, data, folded);
    return crc_one_lane(crc, data + folded, len - folded);
}

static uint32_t crc_lanes(uint32_t crc, const uint8_t *data, size_t len)
{
    if (len >= 3 * LANE_BYTES &&
        !atomic_load_explicit(&lanes_ready, memory_order_acquire)) {
        make_lanes();
    }
    for (; len >= 3 * LANE_BYTES; data += 3 * LANE_BYTES, len -= 3 * LANE_BYTES) {
        crc = crc_three_lanes(crc, data, len >= 6 * LANE_BYTES);
    }
    return crc_one_lane(crc, data, len);
}

static enum crc32c_way fastest(void)
{
    if (!__builtin_cpu_supports("sse4.2")) {
        return CRC32C_TABLE;
    }
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("vpclmulqdq")
               ? CRC32C_FOLD
               : CRC32C_LANES;
}

static uint32_t crc_by(enum crc32c_way way, uint32_t crc, const uint8_t *data, size_t len)
{
    if (way == CRC32C_FOLD && len >= FOLD_MIN) {
        return crc_wide(crc, data, len);
    }
    return way == CRC32C_TABLE ? crc_software(crc, data, len) : crc_lanes(crc, data, len);
}
#else
static enum crc32c_way fastest(void)
{
    return CRC32C_TABLE;
}

static uint32_t crc_by(enum crc32c_way way, uint32_t crc, const uint8_t *data, size_t len)
{
    (void)way;
    return crc_software(crc, data, len);
}
#endif

uint32_t crc32c_join(uint32_t first, uint32_t second, uint64_t len)
{
    if (!atomic_load_explicit(&powers_ready, memory_order_acquire)) {
        make_powers();
    }
    for (unsigned i = 0; len != 0; i++, len >>= 1) {
        if ((len & 1) != 0) {
            first = multiply(first, __atomic_load_n(&powers[i], __ATOMIC_RELAXED));
        }
    }
    return first ^ second;
}

uint32_t crc32c(uint32_t crc, const void *data, size_t len)
{
    return ~crc_by(fastest(), ~crc, data, len);
}

bool crc32c_by(enum crc32c_way way, uint32_t crc, struct slice bytes, uint32_t *out)
{
    if (way > fastest()) {
        return false;
    }
    *out = ~crc_by(way, ~crc, bytes.data, bytes.len);
    return true;
}

/* A CRC is linear: it differs by that of bytes which have only the flipped bit, whatever
 * else there is. That of the last bit is the polynomial; each bit before it is one step. */
uint64_t crc32c_flipped(uint32_t differs, uint64_t len)
{
    uint32_t one = POLYNOMIAL;

    if (differs == 0) {
        return CRC32C_NO_BIT;
    }
    if ((differs & (differs - 1)) == 0) {
        return 8 * len + (uint64_t)__builtin_ctz(differs);
    }
    for (uint64_t bit = 8 * len; bit > 0; bit--) {
        if (one == differs) {
            return bit - 1;
        }
        one = (one & 1) != 0 ? one >> 1 ^ POLYNOMIAL : one >> 1;
    }
    return CRC32C_NO_BIT;
}
