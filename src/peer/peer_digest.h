/*
 * peer_digest: SHA-256 for secrets that are kept only as their digest.
 */
#ifndef PEER_PEER_DIGEST_H
#define PEER_PEER_DIGEST_H

#include <stddef.h>
#include <stdint.h>

#define PEER_DIGEST_BYTES 32u

/* 0 or -ENOMEM. */
int peer_sha256(const void *data, size_t len, uint8_t out[PEER_DIGEST_BYTES]);

#endif
