/* NFSv3 READ (RFC 1813 3.3.6). */
#include "nfs/nfs3_procs.h"

void nfs3_read_decode(struct nfs3_call *call, struct rpc_xdr *args)
{
    struct zone_op *op = &call->op;

    op->type = ZONE_OP_READ;
    call->fh = nfs3_get_fh(args);
    op->offset = rpc_get_u64(args);
    op->count = rpc_get_u32(args);
    /* A server may give less than was asked for. */
    if (op->count > ZONE_IO_MAX) {
        op->count = ZONE_IO_MAX;
    }
}

void nfs3_read_encode(struct rpc_request *request, const struct zone_result *result,
                      struct rpc_xdr *xdr)
{
    nfs3_put_obj_attr(&request->nfs3, result, xdr);
    if (result->outcome == 0) {
        rpc_put_u32(xdr, (uint32_t)result->data.len);
        rpc_put_bool(xdr, result->eof);
        rpc_request_put_data(request, xdr, result->data);
    }
}
