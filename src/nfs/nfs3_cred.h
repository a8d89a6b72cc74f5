/*
 * nfs3_cred: who a client is for the zone, after squashing.
 */
#ifndef NFS_NFS3_CRED_H
#define NFS_NFS3_CRED_H

#include "nfs/backend.h"
#include "nfs/rpc_msg.h"

/* AUTH_NONE, and whom @rule squashes, become the anonymous user, without groups. */
void nfs3_cred_map(const struct rpc_header *header, const struct nfs_export_rule *rule,
                   struct zone_cred *cred);

#endif
