/*
 * nfs3_status: outcomes in the words of the protocol.
 */
#ifndef NFS_NFS3_STATUS_H
#define NFS_NFS3_STATUS_H

#include "nfs/nfs3_proto.h"

/*
 * The nfsstat3 of an outcome. An outcome that no client can cause becomes
 * NFS3ERR_SERVERFAULT; what may heal becomes NFS3ERR_JUKEBOX.
 */
enum nfsstat3 nfs3_status(int outcome);
/* The mountstat3 of an outcome. MOUNT has no "try later": SERVERFAULT stands for it. */
enum mnt3_stat mnt3_status(int outcome);

#endif
