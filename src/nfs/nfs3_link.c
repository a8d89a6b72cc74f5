/* NFSv3 LINK (RFC 1813 3.3.15). */
#include "nfs/nfs3_procs.h"

void nfs3_link_decode(struct nfs3_call *call, struct rpc_xdr *args)
{
    call->op.type = ZONE_OP_LINK;
    call->fh = nfs3_get_fh(args);
    call->to_fh = nfs3_get_fh(args);
    call->op.to_name = nfs3_get_name(args);
}

void nfs3_link_encode(struct rpc_request *request, const struct zone_result *result,
                      struct rpc_xdr *xdr)
{
    nfs3_put_obj_attr(&request->nfs3, result, xdr);
    nfs3_put_wcc(xdr, &result->to, nfs3_fsid(&request->nfs3));
}
