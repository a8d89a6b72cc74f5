/* NFSv3 GETATTR (RFC 1813 3.3.1). */
#include "nfs/nfs3_procs.h"

void nfs3_getattr_decode(struct nfs3_call *call, struct rpc_xdr *args)
{
    call->op.type = ZONE_OP_GETATTR;
    call->fh = nfs3_get_fh(args);
}

void nfs3_getattr_encode(struct rpc_request *request, const struct zone_result *result,
                         struct rpc_xdr *xdr)
{
    if (result->outcome == 0) {
        nfs3_put_fattr(xdr, &result->obj, nfs3_fsid(&request->nfs3));
    }
}
