/* NFSv3 FSSTAT (RFC 1813 3.3.18). */
#include "nfs/nfs3_procs.h"

/* A new file needs about this much, so the free bytes tell how many there may be. */
#define FILE_BYTES 4096u

void nfs3_fsstat_decode(struct nfs3_call *call, struct rpc_xdr *args)
{
    call->op.type = ZONE_OP_FSSTAT;
    call->fh = nfs3_get_fh(args);
}

void nfs3_fsstat_encode(struct rpc_request *request, const struct zone_result *result,
                        struct rpc_xdr *xdr)
{
    uint64_t free_files = result->free_bytes / FILE_BYTES;

    nfs3_put_obj_attr(&request->nfs3, result, xdr);
    if (result->outcome != 0) {
        return;
    }
    rpc_put_u64(xdr, result->total_bytes);
    rpc_put_u64(xdr, result->free_bytes);
    rpc_put_u64(xdr, result->free_bytes); /* abytes: nothing is kept back for root. */
    rpc_put_u64(xdr, result->used_inodes + free_files);
    rpc_put_u64(xdr, free_files);
    rpc_put_u64(xdr, free_files);
    rpc_put_u32(xdr, 0); /* invarsec: may change at any time. */
}
