/*
 * Filehandles: no input is accepted as it comes, unless it has the right MAC; with the
 * right MAC put in, what is accepted encodes to the same bytes again.
 */
#include "base/assert.h"
#include "base/outcome.h"
#include "base/siphash.h"
#include "nfs/nfs3_fh.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint8_t key[NFS3_FH_KEY_BYTES] = "0123456789abcdef0123456789abcde";
    enum { BODY = NFS3_FH_BYTES - SIPHASH_BYTES };
    uint8_t message[16 + BODY];
    uint8_t bytes[NFS3_FH_BYTES];
    uint8_t again[NFS3_FH_BYTES];
    struct nfs3_fh fh;

    if (nfs3_fh_decode(slice_borrow(data, size), key, &fh) == 0) {
        nfs3_fh_encode(&fh, key, again);
        ASSERT(memcmp(again, data, sizeof again) == 0);
    }
    if (size < BODY) {
        return 0;
    }
    memcpy(bytes, data, BODY);
    memcpy(message, key + 16, 16);
    memcpy(message + 16, bytes, BODY);
    siphash128(key, message, sizeof message, bytes + BODY);
    if (nfs3_fh_decode(slice_borrow(bytes, sizeof bytes), key, &fh) == 0) {
        nfs3_fh_encode(&fh, key, again);
        ASSERT(memcmp(again, bytes, sizeof again) == 0);
    }
    return 0;
}
