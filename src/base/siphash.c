#include "base/siphash.h"

#include "base/wire.h"

struct state {
    uint64_t v0;
    uint64_t v1;
    uint64_t v2;
    uint64_t v3;
};

static uint64_t rotate(uint64_t value, unsigned bits)
{
    return value << bits | value >> (64 - bits);
}

static void rounds(struct state *s, unsigned n)
{
    for (; n > 0; n--) {
        s->v0 += s->v1;
        s->v1 = rotate(s->v1, 13) ^ s->v0;
        s->v0 = rotate(s->v0, 32);
        s->v2 += s->v3;
        s->v3 = rotate(s->v3, 16) ^ s->v2;
        s->v0 += s->v3;
        s->v3 = rotate(s->v3, 21) ^ s->v0;
        s->v2 += s->v1;
        s->v1 = rotate(s->v1, 17) ^ s->v2;
        s->v2 = rotate(s->v2, 32);
    }
}

static void absorb(struct state *s, uint64_t word)
{
    s->v3 ^= word;
    rounds(s, 2);
    s->v0 ^= word;
}

void siphash128(const uint8_t key[SIPHASH_KEY_BYTES], const void *data, size_t len,
                uint8_t out[SIPHASH_BYTES])
{
    const uint8_t *at = data;
    uint64_t k0 = wire_load_u64(key);
    uint64_t k1 = wire_load_u64(key + 8);
    uint64_t last = (uint64_t)len << 56;
    /* "somepseudorandomlygeneratedbytes"; 0xee sets the wide output apart. */
    struct state s = {
        .v0 = k0 ^ 0x736f6d6570736575u,
        .v1 = k1 ^ 0x646f72616e646f6du ^ 0xee,
        .v2 = k0 ^ 0x6c7967656e657261u,
        .v3 = k1 ^ 0x7465646279746573u,
    };

    for (; len >= 8; at += 8, len -= 8) {
        absorb(&s, wire_load_u64(at));
    }
    for (size_t i = 0; i < len; i++) {
        last |= (uint64_t)at[i] << (8 * i);
    }
    absorb(&s, last);
    s.v2 ^= 0xee;
    rounds(&s, 4);
    wire_store_u64(out, s.v0 ^ s.v1 ^ s.v2 ^ s.v3);
    s.v1 ^= 0xdd;
    rounds(&s, 4);
    wire_store_u64(out + 8, s.v0 ^ s.v1 ^ s.v2 ^ s.v3);
}
