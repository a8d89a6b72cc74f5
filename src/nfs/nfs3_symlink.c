/* NFSv3 SYMLINK (RFC 1813 3.3.10). */
#include "nfs/nfs3_procs.h"

#include "base/outcome.h"

#include <string.h>

void nfs3_symlink_decode(struct nfs3_call *call, struct rpc_xdr *args)
{
    call->op.type = ZONE_OP_SYMLINK;
    nfs3_get_dirop(call, args);
    nfs3_get_sattr(args, &call->op.sattr);
    call->op.to_name = rpc_get_opaque(args, UINT32_MAX);
}

void nfs3_symlink_run(struct rpc_request *request)
{
    struct slice target = request->nfs3.op.to_name;

    if (target.len > ZONE_PATH_MAX) {
        nfs3_reply_outcome(request, OUT_NAMETOOLONG);
    } else if (target.len == 0 || memchr(target.data, '\0', target.len) != NULL) {
        nfs3_reply_outcome(request, OUT_INVAL);
    } else {
        nfs3_submit(request);
    }
}

void nfs3_symlink_encode(struct rpc_request *request, const struct zone_result *result,
                         struct rpc_xdr *xdr)
{
    nfs3_put_made(request, result, xdr);
}
