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

#ifdef __x86_64__
#include <nmmintrin.h>

__attribute__((target("sse4.2"))) static uint32_t crc_hardware(uint32_t crc,
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
#endif

uint32_t crc32c(uint32_t crc, const void *data, size_t len)
{
    crc = ~crc;
#ifdef __x86_64__
    if (__builtin_cpu_supports("sse4.2")) {
        return ~crc_hardware(crc, data, len);
    }
#endif
    return ~crc_software(crc, data, len);
}
