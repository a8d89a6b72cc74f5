/* NFSv3 RENAME (RFC 1813 3.3.14). */
#include "nfs/nfs3_procs.h"

void nfs3_rename_decode(struct nfs3_call *call, struct rpc_xdr *args)
{
    call->op.type = ZONE_OP_RENAME;
    nfs3_get_dirop(call, args);
    call->to_fh = nfs3_get_fh(args);
    call->op.to_name = nfs3_get_name(args);
}

void nfs3_rename_encode(struct rpc_request *request, const struct zone_result *result,
                        struct rpc_xdr *xdr)
{
    nfs3_put_dir_wcc(request, result, xdr);
    nfs3_put_wcc(xdr, &result->to, nfs3_fsid(&request->nfs3));
}
