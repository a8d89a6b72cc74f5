#include "nfs/nfs3_fh.h"

#include "base/assert.h"
#include "base/outcome.h"
#include "base/siphash.h"
#include "base/wire.h"

#include <string.h>

enum {
    FH_VERSION = 1,
    FH_FLAG_ROOT = 1,
    MAC_BYTES = SIPHASH_BYTES,
    BODY_BYTES = NFS3_FH_BYTES - MAC_BYTES,
};

static void make_mac(const uint8_t *body, const uint8_t key[NFS3_FH_KEY_BYTES],
                     uint8_t mac[MAC_BYTES])
{
    uint8_t message[NFS3_FH_KEY_BYTES - SIPHASH_KEY_BYTES + BODY_BYTES];

    /* All of the key's bytes count, although SipHash takes only half of them. */
    memcpy(message, key + SIPHASH_KEY_BYTES, NFS3_FH_KEY_BYTES - SIPHASH_KEY_BYTES);
    memcpy(message + NFS3_FH_KEY_BYTES - SIPHASH_KEY_BYTES, body, BODY_BYTES);
    siphash128(key, message, sizeof message, mac);
}

/* Takes the same time wherever the first difference is. */
static bool mac_equal(const uint8_t *a, const uint8_t *b)
{
    unsigned diff = 0;

    for (unsigned i = 0; i < MAC_BYTES; i++) {
        diff |= (unsigned)(a[i] ^ b[i]);
    }
    return diff == 0;
}

void nfs3_fh_encode(const struct nfs3_fh *fh, const uint8_t key[NFS3_FH_KEY_BYTES],
                    uint8_t out[NFS3_FH_BYTES])
{
    struct wire_enc enc = wire_enc(out, BODY_BYTES);

    wire_put_u8(&enc, FH_VERSION);
    wire_put_u8(&enc, fh->root ? FH_FLAG_ROOT : 0);
    wire_put_u16(&enc, 0);
    wire_put_bytes(&enc, fh->zone_id, sizeof fh->zone_id);
    wire_put_u64(&enc, fh->obj.ino);
    wire_put_u64(&enc, fh->obj.gen);
    ASSERT(!enc.failed && enc.len == BODY_BYTES);
    make_mac(out, key, out + BODY_BYTES);
}

int nfs3_fh_decode(struct slice bytes, const uint8_t key[NFS3_FH_KEY_BYTES],
                   struct nfs3_fh *fh)
{
    struct wire_dec dec = wire_dec(bytes.data, bytes.len);
    struct nfs3_fh got = {0};
    uint8_t mac[MAC_BYTES];
    uint8_t version;
    uint8_t flags;

    if (bytes.len != NFS3_FH_BYTES) {
        return OUT_BADHANDLE;
    }
    make_mac(bytes.data, key, mac);
    if (!mac_equal(mac, bytes.data + BODY_BYTES)) {
        return OUT_BADHANDLE;
    }
    version = wire_get_u8(&dec);
    flags = wire_get_u8(&dec);
    if (version != FH_VERSION || (flags & ~FH_FLAG_ROOT) != 0 ||
        wire_get_u16(&dec) != 0) {
        return OUT_BADHANDLE;
    }
    got.root = (flags & FH_FLAG_ROOT) != 0;
    wire_get_bytes(&dec, got.zone_id, sizeof got.zone_id);
    got.obj.ino = wire_get_u64(&dec);
    got.obj.gen = wire_get_u64(&dec);
    ASSERT(!dec.failed);
    *fh = got;
    return 0;
}
