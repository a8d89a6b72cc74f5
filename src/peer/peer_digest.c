#include "peer/peer_digest.h"

#include <errno.h>
#include <openssl/evp.h>

int peer_sha256(const void *data, size_t len, uint8_t out[PEER_DIGEST_BYTES])
{
    return EVP_Digest(data, len, out, NULL, EVP_sha256(), NULL) == 1 ? 0 : -ENOMEM;
}
