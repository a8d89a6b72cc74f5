/*
 * prng: a small seeded generator (xoshiro256**) for decisions that must replay.
 *
 * Not for secrets.
 */
#ifndef BASE_PRNG_H
#define BASE_PRNG_H

#include <stdint.h>

struct prng {
    uint64_t state[4];
};

void prng_seed(struct prng *prng, uint64_t seed);
uint64_t prng_next(struct prng *prng);
/* Uniform in [0, @bound); 0 if @bound is 0. */
uint64_t prng_below(struct prng *prng, uint64_t bound);

#endif
