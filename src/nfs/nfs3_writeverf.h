/*
 * nfs3_writeverf: the write verifier (RFC 1813 3.3.7, 3.3.21).
 *
 * It tells a client to send unstable writes again. There are none: every WRITE is
 * answered FILE_SYNC, so it is the same everywhere and for ever.
 */
#ifndef NFS_NFS3_WRITEVERF_H
#define NFS_NFS3_WRITEVERF_H

#include "nfs/nfs3_proto.h"

#include <stdint.h>

static const uint8_t nfs3_writeverf[NFS3_WRITEVERFSIZE] = {'g', 'r', 'a', 'p',
                                                           'e', 'v', 'f', 's'};

#endif
