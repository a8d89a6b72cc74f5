/*
 * crc32c: the Castagnoli CRC (RFC 3720 appendix B.4), in hardware where the CPU has it.
 */
#ifndef BASE_CRC32C_H
#define BASE_CRC32C_H

#include "base/buf.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Extend @crc (0 to begin) by @len bytes. crc32c(0, "123456789", 9) is 0xe3069283.
 */
uint32_t crc32c(uint32_t crc, const void *data, size_t len);

/* How it is computed, each faster than the one before, for tests of all of them. */
enum crc32c_way {
    CRC32C_TABLE = 0,
    CRC32C_LANES = 1, /* The instruction of SSE 4.2. */
    CRC32C_FOLD = 2,  /* Carry-less products of AVX-512. */
};
/* False: this CPU cannot. */
bool crc32c_by(enum crc32c_way way, uint32_t crc, struct slice bytes, uint32_t *out);

/* The CRC of two runs of bytes, one behind the other, from theirs; @len is the second's. */
uint32_t crc32c_join(uint32_t first, uint32_t second, uint64_t len);

#define CRC32C_NO_BIT UINT64_MAX
/*
 * Which one bit flipped, if that is why the CRC of @len bytes, at most 2^28, and the one
 * kept with them differ by @differs (the exclusive or): from the lowest bit of the first
 * byte on, then those of the CRC. CRC32C_NO_BIT: it was not one bit. Texts with the same CRC
 * differ in four bits, so there is one answer, and two or three flips are never taken for
 * one. More are, or other bytes altogether, once in 2^32 / (8 * @len).
 */
uint64_t crc32c_flipped(uint32_t differs, uint64_t len);

#endif
