/*
 * store_sha256: SHA-256 (FIPS 180-4), for digests of the state.
 */
#ifndef STORE_STORE_SHA256_H
#define STORE_STORE_SHA256_H

#include <stddef.h>
#include <stdint.h>

struct store_sha256 {
    uint32_t h[8];
    uint64_t len; /* Bytes so far. */
    uint8_t block[64];
};

void store_sha256_init(struct store_sha256 *sha);
void store_sha256_add(struct store_sha256 *sha, const void *data, size_t len);
void store_sha256_end(struct store_sha256 *sha, uint8_t out[32]);

#endif
