/* NFSv3 READLINK (RFC 1813 3.3.5). */
#include "nfs/nfs3_procs.h"

void nfs3_readlink_decode(struct nfs3_call *call, struct rpc_xdr *args)
{
    call->op.type = ZONE_OP_READLINK;
    call->fh = nfs3_get_fh(args);
}

void nfs3_readlink_encode(struct rpc_request *request, const struct zone_result *result,
                          struct rpc_xdr *xdr)
{
    nfs3_put_obj_attr(&request->nfs3, result, xdr);
    if (result->outcome == 0) {
        rpc_request_put_data(request, xdr, result->data);
    }
}
