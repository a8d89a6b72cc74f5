/* NFSv3 LOOKUP (RFC 1813 3.3.3). */
#include "nfs/nfs3_procs.h"

#include "nfs/nfs3_root.h"

#include "base/outcome.h"

#include <string.h>

void nfs3_lookup_decode(struct nfs3_call *call, struct rpc_xdr *args)
{
    call->op.type = ZONE_OP_LOOKUP;
    nfs3_get_dirop(call, args);
}

/* "." is the directory itself; the zone was asked for nothing but attributes. */
static void on_self(struct rpc_request *request, const struct zone_result *result)
{
    struct zone_result answer = *result;

    answer.dir.has_after = result->has_obj;
    answer.dir.after = result->obj;
    if (result->outcome == 0 && result->obj.type != ZONE_DIR) {
        answer.outcome = OUT_NOTDIR;
    }
    nfs3_reply(request, &answer);
}

void nfs3_lookup_run(struct rpc_request *request)
{
    struct nfs3_call *call = &request->nfs3;
    struct slice name = call->op.name;
    struct zone_result result = {.has_obj = true};

    if (call->root) {
        nfs3_submit(request);
    } else if (name.len == 1 && name.data[0] == '.') {
        call->op.type = ZONE_OP_GETATTR;
        rpc_request_submit(request, call->zone.id, &call->op, NULL, on_self);
    } else if (call->op.obj.ino == ZONE_ROOT_INO && name.len == 2 &&
               memcmp(name.data, "..", 2) == 0 && nfs3_root_allowed(request) &&
               nfs3_root_attr(request, &result.obj) == 0) {
        call->found_root = true;
        nfs3_reply(request, &result);
    } else {
        nfs3_submit(request);
    }
}

/* Where the object is may differ from where the directory is: the root folder's
 * entries are in their zones, and ".." of a zone is the root folder. */
static void put_object(struct rpc_request *request, const struct zone_result *result,
                       struct rpc_xdr *xdr)
{
    const struct nfs3_call *call = &request->nfs3;
    const struct nfs_backend *backend = request->backend;
    bool crossed = call->found.fsid != 0;
    bool root = call->found_root || (call->root && !crossed);
    const struct nfs_zone *zone = crossed ? &call->found : &call->zone;
    struct nfs3_fh fh = {.root = root};
    uint8_t bytes[NFS3_FH_BYTES];

    if (!root) {
        memcpy(fh.zone_id, zone->id, sizeof fh.zone_id);
        fh.obj.ino = result->obj.ino;
        fh.obj.gen = result->obj.gen;
    }
    nfs3_fh_encode(&fh, backend->handle_key(backend->ctx), bytes);
    rpc_put_opaque(xdr, bytes, sizeof bytes);
    nfs3_put_post_op_attr(xdr, result->has_obj ? &result->obj : NULL,
                          root ? NFS3_ROOT_FSID : zone->fsid);
}

void nfs3_lookup_encode(struct rpc_request *request, const struct zone_result *result,
                        struct rpc_xdr *xdr)
{
    if (result->outcome == 0) {
        put_object(request, result, xdr);
    }
    nfs3_put_post_op_attr(xdr, result->dir.has_after ? &result->dir.after : NULL,
                          nfs3_fsid(&request->nfs3));
}
