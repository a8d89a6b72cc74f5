#include "store/store_sha256.h"

#include <string.h>

/* FIPS 180-4, 4.2.2. */
static const uint32_t k[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4,
    0xab1c5ed5, 0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe,
    0x9bdc06a7, 0xc19bf174, 0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f,
    0x4a7484aa, 0x5cb0a9dc, 0x76f988da, 0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7,
    0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967, 0x27b70a85, 0x2e1b2138, 0x4d2c6dfc,
    0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85, 0xa2bfe8a1, 0xa81a664b,
    0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070, 0x19a4c116,
    0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7,
    0xc67178f2};

static uint32_t rotr(uint32_t x, unsigned n)
{
    return x >> n | x << (32 - n);
}

static void put_be32(uint8_t *at, uint32_t value)
{
    at[0] = (uint8_t)(value >> 24);
    at[1] = (uint8_t)(value >> 16);
    at[2] = (uint8_t)(value >> 8);
    at[3] = (uint8_t)value;
}

/* FIPS 180-4, 6.2.2. */
static void compress(struct store_sha256 *sha, const uint8_t *block)
{
    uint32_t w[64];
    uint32_t s[8];

    for (int i = 0; i < 16; i++) {
        const uint8_t *at = block + 4 * (size_t)i;

        w[i] =
            (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
    }
    for (int i = 16; i < 64; i++) {
        uint32_t s0 = rotr(w[i - 15], 7) ^ rotr(w[i - 15], 18) ^ w[i - 15] >> 3;
        uint32_t s1 = rotr(w[i - 2], 17) ^ rotr(w[i - 2], 19) ^ w[i - 2] >> 10;

        w[i] = w[i - 16] + s0 + w[i - 7] + s1;
    }
    memcpy(s, sha->h, sizeof s);
    for (int i = 0; i < 64; i++) {
        uint32_t e1 = rotr(s[4], 6) ^ rotr(s[4], 11) ^ rotr(s[4], 25);
        uint32_t t1 = s[7] + e1 + ((s[4] & s[5]) ^ (~s[4] & s[6])) + k[i] + w[i];
        uint32_t e0 = rotr(s[0], 2) ^ rotr(s[0], 13) ^ rotr(s[0], 22);
        uint32_t t2 = e0 + ((s[0] & s[1]) ^ (s[0] & s[2]) ^ (s[1] & s[2]));

        memmove(s + 1, s, 7 * sizeof *s);
        s[4] += t1;
        s[0] = t1 + t2;
    }
    for (int i = 0; i < 8; i++) {
        sha->h[i] += s[i];
    }
}

void store_sha256_init(struct store_sha256 *sha)
{
    /* FIPS 180-4, 5.3.3. */
    static const uint32_t first[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                      0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};

    *sha = (struct store_sha256){0};
    memcpy(sha->h, first, sizeof first);
}

void store_sha256_add(struct store_sha256 *sha, const void *data, size_t len)
{
    const uint8_t *at = data;
    size_t have = sha->len % sizeof sha->block;

    sha->len += len;
    while (len > 0) {
        size_t n = sizeof sha->block - have;

        n = n < len ? n : len;
        memcpy(sha->block + have, at, n);
        have += n;
        at += n;
        len -= n;
        if (have == sizeof sha->block) {
            compress(sha, sha->block);
            have = 0;
        }
    }
}

void store_sha256_end(struct store_sha256 *sha, uint8_t out[32])
{
    uint64_t bits = sha->len * 8;
    uint8_t tail[8];

    put_be32(tail, (uint32_t)(bits >> 32));
    put_be32(tail + 4, (uint32_t)bits);
    store_sha256_add(sha, "\x80", 1);
    while (sha->len % sizeof sha->block != 56) {
        store_sha256_add(sha, "", 1);
    }
    store_sha256_add(sha, tail, sizeof tail);
    for (int i = 0; i < 8; i++) {
        put_be32(out + 4 * (size_t)i, sha->h[i]);
    }
}
