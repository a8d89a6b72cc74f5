/*
 * nfs3_root: the root folder, in which every zone is a folder.
 *
 * It belongs to no zone: the front makes it up from backend->zones. It is read-only,
 * mode 0755, with an fsid of its own. Its mtime and ctime are a hash of the names in it,
 * so that they change exactly when the listing does, and are equal on all nodes that
 * know the same zones. It lists a zone only to clients that may use the zone; looking up
 * another one is OUT_ACCES.
 */
#ifndef NFS_NFS3_ROOT_H
#define NFS_NFS3_ROOT_H

#include "nfs/rpc_request.h"

/* Answer the call's op, whose object is the root folder. */
void nfs3_root_run(struct rpc_request *request);
/* The root folder's attributes, as this client sees it. Returns 0 or -ENOMEM. */
int nfs3_root_attr(const struct rpc_request *request, struct zone_attr *attr);
/* May this client see the root folder? */
bool nfs3_root_allowed(const struct rpc_request *request);
/* The fileid under which the root folder lists @zone. */
uint64_t nfs3_root_entry_fileid(const struct nfs_zone *zone);
/* The handle of a zone's root directory. */
struct nfs3_fh nfs3_zone_root_fh(const struct nfs_zone *zone);
/*
 * The zones that this client may use, in rising slug order, in malloc'ed memory that
 * the caller frees; *@n how many. NULL without memory.
 */
struct nfs_zone *nfs3_root_zones(const struct rpc_request *request, uint32_t *n);

#endif
