/* Filehandles: docs/formats/filehandle.md. */
#include "base/outcome.h"
#include "base/siphash.h"
#include "lib/check.h"
#include "nfs/nfs3_fh.h"

#include <string.h>

static const uint8_t key[32] = "a key of thirty-two bytes, no 0";

static struct slice encode(const struct nfs3_fh *fh, uint8_t bytes[NFS3_FH_BYTES])
{
    nfs3_fh_encode(fh, key, bytes);
    return slice_borrow(bytes, NFS3_FH_BYTES);
}

/* The authors' vectors (SipHash reference implementation, vectors_sip128): key 00..0f,
 * messages of 0, 1, 2, ... bytes 00, 01, 02, ... */
static void siphash_vectors(void)
{
    static const uint8_t want[3][16] = {
        {0xa3, 0x81, 0x7f, 0x04, 0xba, 0x25, 0xa8, 0xe6, 0x6d, 0xf6, 0x72, 0x14, 0xc7,
         0x55, 0x02, 0x93},
        {0xda, 0x87, 0xc1, 0xd8, 0x6b, 0x99, 0xaf, 0x44, 0x34, 0x76, 0x59, 0x11, 0x9b,
         0x22, 0xfc, 0x45},
        {0x81, 0x77, 0x22, 0x8d, 0xa4, 0xa4, 0x5d, 0xc7, 0xfc, 0xa3, 0x8b, 0xde, 0xf6,
         0x0a, 0xff, 0xe4},
    };
    uint8_t k[16];
    uint8_t got[16];

    for (uint8_t i = 0; i < 16; i++) {
        k[i] = i;
    }
    for (size_t len = 0; len < 3; len++) {
        siphash128(k, k, len, got);
        CHECK_MEM(got, want[len], 16);
    }
}

/* What was put in comes out. */
static void round_trip(void)
{
    struct nfs3_fh fh = {.zone_id = {9, 8, 7}, .obj = {1234567890123, 42}};
    uint8_t bytes[NFS3_FH_BYTES];
    struct nfs3_fh got;

    CHECK_INT(nfs3_fh_decode(encode(&fh, bytes), key, &got), 0);
    CHECK(!got.root);
    CHECK_MEM(got.zone_id, fh.zone_id, 16);
    CHECK_UINT(got.obj.ino, fh.obj.ino);
    CHECK_UINT(got.obj.gen, fh.obj.gen);
    fh = (struct nfs3_fh){.root = true};
    CHECK_INT(nfs3_fh_decode(encode(&fh, bytes), key, &got), 0);
    CHECK(got.root);
}

/* The format is on clients' disks and in their memory: it does not change. */
static void bytes_are_stable(void)
{
    static const uint8_t want[36] = {1, 0, 0, 0, 9, 8, 7, 0, 0, 0, 0, 0,
                                     0, 0, 0, 0, 0, 0, 0, 0, 2, 1, 0, 0,
                                     0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0};
    struct nfs3_fh fh = {.zone_id = {9, 8, 7}, .obj = {0x102, 3}};
    uint8_t bytes[NFS3_FH_BYTES];

    (void)encode(&fh, bytes);
    CHECK_MEM(bytes, want, sizeof want);
}

/* No bit of a handle can be changed, or the handle be cut or extended. */
static void forgeries_are_bad_handles(void)
{
    struct nfs3_fh fh = {.zone_id = {9, 8, 7}, .obj = {0x102, 3}};
    uint8_t bytes[NFS3_FH_BYTES + 4] = {0};
    struct nfs3_fh got;

    for (unsigned bit = 0; bit < NFS3_FH_BYTES * 8; bit++) {
        struct slice slice = encode(&fh, bytes);

        bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
        CHECK_INT(nfs3_fh_decode(slice, key, &got), OUT_BADHANDLE);
    }
    (void)encode(&fh, bytes);
    CHECK_INT(nfs3_fh_decode(slice_borrow(bytes, 0), key, &got), OUT_BADHANDLE);
    CHECK_INT(nfs3_fh_decode(slice_borrow(bytes, 48), key, &got), OUT_BADHANDLE);
    CHECK_INT(nfs3_fh_decode(slice_borrow(bytes, 56), key, &got), OUT_BADHANDLE);
}

/* Another grapevine's handle means nothing here, whichever half of the key differs. */
static void other_keys_are_bad_handles(void)
{
    struct nfs3_fh fh = {.zone_id = {9, 8, 7}, .obj = {0x102, 3}};
    uint8_t bytes[NFS3_FH_BYTES];
    struct nfs3_fh got;

    for (unsigned i = 0; i < 32; i += 31) {
        uint8_t other[32];

        memcpy(other, key, 32);
        other[i] ^= 1;
        CHECK_INT(nfs3_fh_decode(encode(&fh, bytes), other, &got), OUT_BADHANDLE);
    }
}

TEST_MAIN(CHECK_TEST(siphash_vectors), CHECK_TEST(round_trip),
          CHECK_TEST(bytes_are_stable), CHECK_TEST(forgeries_are_bad_handles),
          CHECK_TEST(other_keys_are_bad_handles))
