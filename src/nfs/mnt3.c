#include "nfs/mnt3.h"

#include "nfs/nfs3_root.h"
#include "nfs/nfs3_status.h"
#include "nfs/rpc_request.h"

#include "base/outcome.h"

#include <stdlib.h>
#include <string.h>

enum {
    RESULTS_MAX = 256,
    EXPORT_FIXED_BYTES = 16, /* Follows, the path's length, its slash, no groups. */
};

static void reply_mnt(struct rpc_request *request, enum mnt3_stat status)
{
    const struct nfs_backend *backend = request->backend;
    uint8_t fh[NFS3_FH_BYTES];
    struct rpc_xdr xdr;

    if (!rpc_request_begin_reply(request, RESULTS_MAX, &xdr)) {
        return;
    }
    rpc_put_u32(&xdr, status);
    if (status == MNT3_OK) {
        nfs3_fh_encode(&request->mnt3.fh, backend->handle_key(backend->ctx), fh);
        rpc_put_opaque(&xdr, fh, sizeof fh);
        rpc_put_u32(&xdr, 1);
        rpc_put_u32(&xdr, AUTH_SYS);
    }
    rpc_request_end_reply(request, &xdr);
}

/* Cut the next name off the path. False: there is none. */
static bool next_name(struct slice *path, struct slice *name)
{
    size_t len = 0;

    while (path->len > 0 && path->data[0] == '/') {
        path->data++;
        path->len--;
    }
    while (len < path->len && path->data[len] != '/') {
        len++;
    }
    *name = slice_borrow(path->data, len);
    path->data += len;
    path->len -= len;
    return len > 0;
}

static bool name_is(struct slice name, const char *text)
{
    return name.len == strlen(text) && memcmp(name.data, text, name.len) == 0;
}

static void walk(struct rpc_request *request);

static void on_found(struct rpc_request *request, const struct zone_result *result)
{
    struct mnt3_call *mnt = &request->mnt3;

    if (result->outcome != 0) {
        reply_mnt(request, mnt3_status(result->outcome));
    } else if (!result->has_obj || result->obj.type != ZONE_DIR) {
        reply_mnt(request, MNT3ERR_NOTDIR);
    } else {
        mnt->fh.obj = (struct zone_handle){result->obj.ino, result->obj.gen};
        walk(request);
    }
}

/* One step down the path, or the end of it. The path's length bounds the steps. */
static void walk(struct rpc_request *request)
{
    struct mnt3_call *mnt = &request->mnt3;
    struct zone_op op = {.type = ZONE_OP_LOOKUP, .obj = mnt->fh.obj};
    struct slice name;

    do {
        if (!next_name(&mnt->path, &name)) {
            reply_mnt(request, MNT3_OK);
            return;
        }
    } while (name_is(name, "."));
    if (name.len > ZONE_NAME_MAX) {
        reply_mnt(request, MNT3ERR_NAMETOOLONG);
    } else if (name_is(name, "..") || memchr(name.data, '\0', name.len) != NULL) {
        reply_mnt(request, MNT3ERR_INVAL);
    } else {
        op.name = name;
        rpc_request_submit(request, mnt->zone.id, &op, NULL, on_found);
    }
}

static void mnt(struct rpc_request *request)
{
    const struct nfs_backend *backend = request->backend;
    struct mnt3_call *mnt = &request->mnt3;
    struct nfs_export_rule rule = {0};
    char slug[NFS_SLUG_MAX + 1] = "";
    struct slice name;

    if (mnt->path.len == 0 || mnt->path.data[0] != '/') {
        reply_mnt(request, MNT3ERR_NOENT);
        return;
    }
    if (!next_name(&mnt->path, &name)) {
        mnt->fh.root = true;
        reply_mnt(request, nfs3_root_allowed(request) ? MNT3_OK : MNT3ERR_ACCES);
        return;
    }
    if (name.len > NFS_SLUG_MAX) {
        reply_mnt(request, MNT3ERR_NOENT);
        return;
    }
    memcpy(slug, name.data, name.len);
    if (!backend->zone_by_slug(backend->ctx, slug, &mnt->zone)) {
        reply_mnt(request, MNT3ERR_NOENT);
        return;
    }
    backend->export_rule(backend->ctx, request->address, &mnt->zone, &rule);
    if (!rule.allowed) {
        reply_mnt(request, MNT3ERR_ACCES);
        return;
    }
    mnt->fh = nfs3_zone_root_fh(&mnt->zone);
    walk(request);
}

static void put_export(struct rpc_xdr *xdr, const char *slug)
{
    char path[NFS_SLUG_MAX + 2] = "/";

    memcpy(path + 1, slug, strlen(slug) + 1);
    rpc_put_bool(xdr, true);
    rpc_put_opaque(xdr, path, strlen(path));
    rpc_put_bool(xdr, false); /* No groups: to everyone who can see this list. */
}

static void export(struct rpc_request *request)
{
    struct rpc_refusal refusal = {.kind = RPC_REFUSE_SYSTEM};
    struct rpc_xdr xdr;
    uint32_t n;
    struct nfs_zone *zones = nfs3_root_zones(request, &n);

    if (zones == NULL) {
        rpc_request_refuse(request, &refusal);
        return;
    }
    if (rpc_request_begin_reply(
            request, RESULTS_MAX + n * (size_t)(EXPORT_FIXED_BYTES + NFS_SLUG_MAX + 1),
            &xdr)) {
        if (nfs3_root_allowed(request)) {
            put_export(&xdr, "");
        }
        for (uint32_t i = 0; i < n; i++) {
            put_export(&xdr, zones[i].slug);
        }
        rpc_put_bool(&xdr, false);
        rpc_request_end_reply(request, &xdr);
    }
    free(zones);
}

/* A reply without results, or with an empty list. */
static void reply_empty(struct rpc_request *request, bool list)
{
    struct rpc_xdr xdr;

    if (!rpc_request_begin_reply(request, RESULTS_MAX, &xdr)) {
        return;
    }
    if (list) {
        rpc_put_bool(&xdr, false);
    }
    rpc_request_end_reply(request, &xdr);
}

void mnt3_dispatch(struct rpc_request *request)
{
    struct rpc_refusal refusal = {.kind = RPC_ACCEPTED};
    uint32_t proc = request->header.proc;

    if (proc >= MOUNTPROC3_COUNT) {
        refusal.kind = RPC_REFUSE_PROC;
    } else if (proc == MOUNTPROC3_MNT || proc == MOUNTPROC3_UMNT) {
        request->mnt3.path = rpc_get_opaque(&request->args, MNT3_PATH_MAX);
        if (request->args.failed) {
            refusal.kind = RPC_REFUSE_ARGS;
        }
    }
    if (refusal.kind != RPC_ACCEPTED) {
        rpc_request_refuse(request, &refusal);
        return;
    }
    switch ((enum mnt3_procnum)proc) {
    case MOUNTPROC3_MNT:
        mnt(request);
        break;
    case MOUNTPROC3_EXPORT:
        export(request);
        break;
    case MOUNTPROC3_DUMP:
        reply_empty(request, true);
        break;
    default: /* NULL, UMNT, UMNTALL. */
        reply_empty(request, false);
        break;
    }
}
