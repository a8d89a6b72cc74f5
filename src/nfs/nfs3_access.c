/* NFSv3 ACCESS (RFC 1813 3.3.4). */
#include "nfs/nfs3_procs.h"

void nfs3_access_decode(struct nfs3_call *call, struct rpc_xdr *args)
{
    call->op.type = ZONE_OP_ACCESS;
    call->fh = nfs3_get_fh(args);
    call->op.access = rpc_get_u32(args) & NFS3_ACCESS_ALL;
}

void nfs3_access_encode(struct rpc_request *request, const struct zone_result *result,
                        struct rpc_xdr *xdr)
{
    uint32_t granted = result->access & request->nfs3.op.access;

    if (request->nfs3.read_only) {
        granted &=
            ~(uint32_t)(NFS3_ACCESS_MODIFY | NFS3_ACCESS_EXTEND | NFS3_ACCESS_DELETE);
    }
    nfs3_put_obj_attr(&request->nfs3, result, xdr);
    if (result->outcome == 0) {
        rpc_put_u32(xdr, granted);
    }
}
