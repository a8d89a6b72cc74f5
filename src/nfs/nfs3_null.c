/* NFSv3 NULL (RFC 1813 3.3.0). */
#include "nfs/nfs3_procs.h"

void nfs3_null_run(struct rpc_request *request)
{
    nfs3_reply_outcome(request, 0);
}
