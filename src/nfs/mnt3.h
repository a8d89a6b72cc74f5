/*
 * mnt3: MOUNT version 3 (RFC 1813 appendix I): from a path to a filehandle.
 *
 * Exports are "/", the root folder, and "/<slug>" for every zone; folders below can be
 * mounted too. EXPORT and DUMP tell a client of the exports that it may mount, no others.
 * No symlink is followed. The path is walked with root's rights, like any server's: what a
 * client may do below is checked per call, with its own.
 */
#ifndef NFS_MNT3_H
#define NFS_MNT3_H

#include "nfs/backend.h"
#include "nfs/nfs3_fh.h"
#include "nfs/nfs3_proto.h"

struct rpc_request;

/* A MNT on its way down a path. */
struct mnt3_call {
    struct nfs_zone zone;
    struct nfs3_fh fh;  /* Where it has come to. */
    struct slice path;  /* What is left of it; borrows from the record. */
    struct slice whole; /* As it was asked for. */
};

/* Answer the request (rpc_request_run has checked program and version). */
void mnt3_dispatch(struct rpc_request *request);

#endif
