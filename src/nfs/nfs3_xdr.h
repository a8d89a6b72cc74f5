/*
 * nfs3_xdr: the data types that procedures share (RFC 1813 2.5, 2.6), between XDR and
 * the words of zone/op.h.
 */
#ifndef NFS_NFS3_XDR_H
#define NFS_NFS3_XDR_H

#include "nfs/nfs3_fh.h"
#include "nfs/rpc_xdr.h"

#define NFS3_FATTR_BYTES 84u      /* fattr3 */
#define NFS3_POST_OP_ATTR_MAX 88u /* post_op_attr */

/* nfs_fh3: at most NFS3_FHSIZE bytes, borrowed from the message. */
struct slice nfs3_get_fh(struct rpc_xdr *xdr);
/* filename3, borrowed. Too long is not a failure here: dispatch answers it. */
struct slice nfs3_get_name(struct rpc_xdr *xdr);
void nfs3_get_sattr(struct rpc_xdr *xdr, struct zone_sattr *sattr);
struct zone_time nfs3_get_time(struct rpc_xdr *xdr);

/* Times before 1970 and after 2106 become the nearest that nfstime3 can say. */
void nfs3_put_time(struct rpc_xdr *xdr, struct zone_time time);
void nfs3_put_fattr(struct rpc_xdr *xdr, const struct zone_attr *attr, uint64_t fsid);
/* post_op_attr; @attr NULL: not known. */
void nfs3_put_post_op_attr(struct rpc_xdr *xdr, const struct zone_attr *attr,
                           uint64_t fsid);
void nfs3_put_wcc(struct rpc_xdr *xdr, const struct zone_wcc *wcc, uint64_t fsid);
/* post_op_fh3; @fh NULL: not known. */
void nfs3_put_post_op_fh(struct rpc_xdr *xdr, const uint8_t fh[NFS3_FH_BYTES]);

#endif
