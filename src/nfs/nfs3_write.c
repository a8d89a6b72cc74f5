/* NFSv3 WRITE (RFC 1813 3.3.7). */
#include "nfs/nfs3_procs.h"

#include "nfs/nfs3_writeverf.h"

void nfs3_write_decode(struct nfs3_call *call, struct rpc_xdr *args)
{
    struct zone_op *op = &call->op;
    uint32_t count;

    op->type = ZONE_OP_WRITE;
    call->fh = nfs3_get_fh(args);
    op->offset = rpc_get_u64(args);
    count = rpc_get_u32(args);
    if (rpc_get_u32(args) > NFS3_FILE_SYNC) {
        args->failed = true;
    }
    /* Not copied: the op's payload is this part of the received record. */
    op->data = rpc_get_opaque(args, UINT32_MAX);
    if (op->data.len < count) {
        args->failed = true;
    }
    /* A server may write less than it was given, and says so. */
    op->data.len = count > ZONE_IO_MAX ? ZONE_IO_MAX : count;
}

void nfs3_write_run(struct rpc_request *request)
{
    zone_op_seal(&request->nfs3.op);
    nfs3_submit(request);
}

void nfs3_write_encode(struct rpc_request *request, const struct zone_result *result,
                       struct rpc_xdr *xdr)
{
    nfs3_put_dir_wcc(request, result, xdr);
    if (result->outcome == 0) {
        rpc_put_u32(xdr, result->count);
        rpc_put_u32(xdr, NFS3_FILE_SYNC); /* Committed before it is answered. */
        rpc_put_fixed(xdr, nfs3_writeverf, NFS3_WRITEVERFSIZE);
    }
}
