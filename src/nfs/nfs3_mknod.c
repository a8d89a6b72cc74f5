/* NFSv3 MKNOD (RFC 1813 3.3.11). */
#include "nfs/nfs3_procs.h"

#include "base/outcome.h"

void nfs3_mknod_decode(struct nfs3_call *call, struct rpc_xdr *args)
{
    struct zone_op *op = &call->op;
    uint32_t type;

    op->type = ZONE_OP_MKNOD;
    nfs3_get_dirop(call, args);
    type = rpc_get_u32(args);
    switch (type) {
    case ZONE_CHR:
    case ZONE_BLK:
        nfs3_get_sattr(args, &op->sattr);
        op->rdev_major = rpc_get_u32(args);
        op->rdev_minor = rpc_get_u32(args);
        break;
    case ZONE_SOCK:
    case ZONE_FIFO:
        nfs3_get_sattr(args, &op->sattr);
        break;
    case ZONE_REG:
    case ZONE_DIR:
    case ZONE_LNK:
        break; /* Nothing follows these; they end as BADTYPE. */
    default:
        args->failed = true;
        return;
    }
    op->node_type = (enum zone_type)type;
}

void nfs3_mknod_run(struct rpc_request *request)
{
    switch (request->nfs3.op.node_type) {
    case ZONE_CHR:
    case ZONE_BLK:
    case ZONE_SOCK:
    case ZONE_FIFO:
        nfs3_submit(request);
        break;
    default:
        nfs3_reply_outcome(request, OUT_BADTYPE);
        break;
    }
}

void nfs3_mknod_encode(struct rpc_request *request, const struct zone_result *result,
                       struct rpc_xdr *xdr)
{
    nfs3_put_made(request, result, xdr);
}
