/* NFSv3 COMMIT (RFC 1813 3.3.21). */
#include "nfs/nfs3_procs.h"

#include "nfs/nfs3_writeverf.h"

void nfs3_commit_decode(struct nfs3_call *call, struct rpc_xdr *args)
{
    call->op.type = ZONE_OP_COMMIT;
    call->fh = nfs3_get_fh(args);
    call->op.offset = rpc_get_u64(args);
    call->op.count = rpc_get_u32(args);
}

void nfs3_commit_encode(struct rpc_request *request, const struct zone_result *result,
                        struct rpc_xdr *xdr)
{
    nfs3_put_dir_wcc(request, result, xdr);
    if (result->outcome == 0) {
        rpc_put_fixed(xdr, nfs3_writeverf, NFS3_WRITEVERFSIZE);
    }
}
