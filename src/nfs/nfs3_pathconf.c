/* NFSv3 PATHCONF (RFC 1813 3.3.20). */
#include "nfs/nfs3_procs.h"

#define LINK_MAX_SHOWN 65000u /* As many as a zone allows. */

void nfs3_pathconf_decode(struct nfs3_call *call, struct rpc_xdr *args)
{
    call->op.type = ZONE_OP_GETATTR;
    call->fh = nfs3_get_fh(args);
}

void nfs3_pathconf_encode(struct rpc_request *request, const struct zone_result *result,
                          struct rpc_xdr *xdr)
{
    nfs3_put_obj_attr(&request->nfs3, result, xdr);
    if (result->outcome != 0) {
        return;
    }
    rpc_put_u32(xdr, LINK_MAX_SHOWN);
    rpc_put_u32(xdr, ZONE_NAME_MAX);
    rpc_put_bool(xdr, true);  /* no_trunc */
    rpc_put_bool(xdr, true);  /* chown_restricted */
    rpc_put_bool(xdr, false); /* case_insensitive */
    rpc_put_bool(xdr, true);  /* case_preserving */
}
