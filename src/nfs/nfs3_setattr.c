/* NFSv3 SETATTR (RFC 1813 3.3.2). */
#include "nfs/nfs3_procs.h"

void nfs3_setattr_decode(struct nfs3_call *call, struct rpc_xdr *args)
{
    struct zone_op *op = &call->op;

    op->type = ZONE_OP_SETATTR;
    call->fh = nfs3_get_fh(args);
    nfs3_get_sattr(args, &op->sattr);
    op->guarded = rpc_get_bool(args);
    if (op->guarded) {
        op->guard = nfs3_get_time(args);
    }
}

void nfs3_setattr_encode(struct rpc_request *request, const struct zone_result *result,
                         struct rpc_xdr *xdr)
{
    nfs3_put_dir_wcc(request, result, xdr);
}
