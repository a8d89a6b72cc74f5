/* NFSv3 MKDIR (RFC 1813 3.3.9). */
#include "nfs/nfs3_procs.h"

void nfs3_mkdir_decode(struct nfs3_call *call, struct rpc_xdr *args)
{
    call->op.type = ZONE_OP_MKDIR;
    nfs3_get_dirop(call, args);
    nfs3_get_sattr(args, &call->op.sattr);
}

void nfs3_mkdir_encode(struct rpc_request *request, const struct zone_result *result,
                       struct rpc_xdr *xdr)
{
    nfs3_put_made(request, result, xdr);
}
