/* NFSv3 CREATE (RFC 1813 3.3.8). */
#include "nfs/nfs3_procs.h"

void nfs3_create_decode(struct nfs3_call *call, struct rpc_xdr *args)
{
    struct zone_op *op = &call->op;
    uint32_t how;

    op->type = ZONE_OP_CREATE;
    nfs3_get_dirop(call, args);
    how = rpc_get_u32(args);
    switch (how) {
    case ZONE_UNCHECKED:
    case ZONE_GUARDED:
        nfs3_get_sattr(args, &op->sattr);
        break;
    case ZONE_EXCLUSIVE:
        rpc_get_fixed(args, op->verf, sizeof op->verf);
        break;
    default:
        args->failed = true;
        return;
    }
    op->how = (enum zone_create_how)how;
}

void nfs3_create_encode(struct rpc_request *request, const struct zone_result *result,
                        struct rpc_xdr *xdr)
{
    nfs3_put_made(request, result, xdr);
}
