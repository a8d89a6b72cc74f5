/*
 * siphash: SipHash-2-4 with 128 bits of output (Aumasson and Bernstein, 2012), a keyed
 * hash for short inputs.
 *
 * With a secret key it is a MAC that a client cannot forge; with a public one it is a
 * well-mixed fingerprint.
 */
#ifndef BASE_SIPHASH_H
#define BASE_SIPHASH_H

#include <stddef.h>
#include <stdint.h>

#define SIPHASH_KEY_BYTES 16u
#define SIPHASH_BYTES 16u

/* The hash of @len bytes of @data under @key, into @out. */
void siphash128(const uint8_t key[SIPHASH_KEY_BYTES], const void *data, size_t len,
                uint8_t out[SIPHASH_BYTES]);

#endif
