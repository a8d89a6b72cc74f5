/*
 * nfs3_dispatch: an NFSv3 call's way: decode, filehandle, export and read-only checks,
 * squashing, run, reply. What differs between procedures is in nfs3_procs[].
 */
#ifndef NFS_NFS3_DISPATCH_H
#define NFS_NFS3_DISPATCH_H

#include "nfs/rpc_request.h"

/* Answer the request (rpc_request_run has checked program and version). */
void nfs3_dispatch(struct rpc_request *request);

/* Bytes of data that the reply may have, from the arguments alone. */
size_t nfs3_reply_bytes(const struct rpc_request *request);

/* For the procedures: */

/* Send the call's op to its zone, or to the root folder; reply with the result. */
void nfs3_submit(struct rpc_request *request);
/* End the request with @result (borrowed). */
void nfs3_reply(struct rpc_request *request, const struct zone_result *result);
/* End the request with an outcome and no attributes. */
void nfs3_reply_outcome(struct rpc_request *request, int outcome);

#endif
