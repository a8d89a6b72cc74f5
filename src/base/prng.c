#include "base/prng.h"

static uint64_t rotl(uint64_t value, unsigned by)
{
    return value << by | value >> (64 - by);
}

/* splitmix64: spreads one word over the whole state, so that seed 0 works too. */
void prng_seed(struct prng *prng, uint64_t seed)
{
    for (unsigned i = 0; i < 4; i++) {
        uint64_t z = seed += 0x9e3779b97f4a7c15ULL;

        z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ULL;
        z = (z ^ z >> 27) * 0x94d049bb133111ebULL;
        prng->state[i] = z ^ z >> 31;
    }
}

uint64_t prng_next(struct prng *prng)
{
    uint64_t *s = prng->state;
    uint64_t result = rotl(s[1] * 5, 7) * 9;
    uint64_t t = s[1] << 17;

    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotl(s[3], 45);
    return result;
}

uint64_t prng_below(struct prng *prng, uint64_t bound)
{
    /* The high half of a 64 x 64 product: no modulo bias worth naming. */
    return (uint64_t)((unsigned __int128)prng_next(prng) * bound >> 64);
}
