/* NFSv3 RMDIR (RFC 1813 3.3.13). */
#include "nfs/nfs3_procs.h"

void nfs3_rmdir_decode(struct nfs3_call *call, struct rpc_xdr *args)
{
    call->op.type = ZONE_OP_RMDIR;
    nfs3_get_dirop(call, args);
}

void nfs3_rmdir_encode(struct rpc_request *request, const struct zone_result *result,
                       struct rpc_xdr *xdr)
{
    nfs3_put_dir_wcc(request, result, xdr);
}
