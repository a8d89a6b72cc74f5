/*
 * nfs3_fh: filehandles. Format: docs/formats/filehandle.md.
 *
 * A handle names a zone, an inode and its generation, and is the same on every node. A
 * MAC keeps clients from making one up: access to a folder is what leads to a handle in
 * it. The root folder, which lists the zones, has a handle with a flag and no zone.
 */
#ifndef NFS_NFS3_FH_H
#define NFS_NFS3_FH_H

#include "zone/op.h"

#include <stdbool.h>
#include <stdint.h>

#define NFS3_FH_BYTES 52u
#define NFS3_FH_KEY_BYTES 32u

struct nfs3_fh {
    bool root; /* The root folder; the rest is zero. */
    uint8_t zone_id[16];
    struct zone_handle obj;
};

void nfs3_fh_encode(const struct nfs3_fh *fh, const uint8_t key[NFS3_FH_KEY_BYTES],
                    uint8_t out[NFS3_FH_BYTES]);
/* Returns 0, or OUT_BADHANDLE: not one that this grapevine gave out. */
int nfs3_fh_decode(struct slice bytes, const uint8_t key[NFS3_FH_KEY_BYTES],
                   struct nfs3_fh *fh);

#endif
