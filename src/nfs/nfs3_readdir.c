/* NFSv3 READDIR (RFC 1813 3.3.16). */
#include "nfs/nfs3_listing.h"
#include "nfs/nfs3_procs.h"

void nfs3_readdir_decode(struct nfs3_call *call, struct rpc_xdr *args)
{
    uint8_t verf[NFS3_COOKIEVERFSIZE];

    call->op.type = ZONE_OP_READDIR;
    call->fh = nfs3_get_fh(args);
    call->op.offset = rpc_get_u64(args);
    rpc_get_fixed(args, verf, sizeof verf);
    call->listing.maxcount = nfs3_listing_get_count(args);
}

void nfs3_readdir_encode(struct rpc_request *request, const struct zone_result *result,
                         struct rpc_xdr *xdr)
{
    nfs3_listing_encode(request, result, xdr);
}
