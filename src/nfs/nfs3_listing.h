/*
 * nfs3_listing: what READDIR and READDIRPLUS have in common.
 *
 * Cookies: 0 begins, 1 is ".", 2 is "..", and the others are the zone's: 63 bits,
 * permanent, the same on every node. A listing goes on behind its cookie also when that
 * entry is gone. The verifier is constant and is not looked at: a cookie never becomes
 * invalid, and only what cannot be one (64 bits) is NFS3ERR_BAD_COOKIE.
 *
 * A listing shows each name once that is there from its begin to its end, also one that
 * a rename gives to another file. What is made or removed meanwhile shows once or not at
 * all; removed and made again, it is another entry. A file that is renamed to a free name
 * of the directory shows once, under its old name or its new one.
 */
#ifndef NFS_NFS3_LISTING_H
#define NFS_NFS3_LISTING_H

#include "nfs/nfs3_procs.h"

#define NFS3_LISTING_MAX (256u << 10) /* Bytes of one reply, whatever is asked for. */

/* count, dircount or maxcount. */
uint32_t nfs3_listing_get_count(struct rpc_xdr *args);
/* Ask for the entries after op.offset, and for the parent where ".." is wanted. */
void nfs3_listing_run(struct rpc_request *request);
/* Cut @result's entries to what was asked for, and end the request with them. */
void nfs3_listing_finish(struct rpc_request *request, const struct zone_result *result);
/* The result in either procedure's form. */
void nfs3_listing_encode(struct rpc_request *request, const struct zone_result *result,
                         struct rpc_xdr *xdr);

#endif
