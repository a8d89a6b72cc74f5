#include "nfs/mnt3.h"

#include "nfs/mnt3_mounts.h"
#include "nfs/nfs3_root.h"
#include "nfs/nfs3_status.h"
#include "nfs/rpc_request.h"

#include "base/outcome.h"

#include <stdlib.h>
#include <string.h>

enum {
    RESULTS_MAX = 256,
    /* Follows, the path's length, its slash and padding, the end of the groups. */
    EXPORT_BYTES_MAX = 4 + 4 + 1 + NFS_SLUG_MAX + 3 + 4,
    /* Follows, length and padding. */
    GROUP_BYTES_MAX = 4 + 4 + NFS_CLIENT_TEXT_MAX,
    /* Follows, and twice length and padding. */
    MOUNT_FIXED_BYTES = 4 + 2 * (4 + 3),
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
    if (status == MNT3_OK && request->mounts != NULL) {
        mnt3_mounts_add(request->mounts, request->address, request->mnt3.whole);
    }
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
    if (name.len > NFS_SLUG_MAX || memchr(name.data, '\0', name.len) != NULL) {
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

/* The @i-th client of an export (NULL: the root folder's). Without a list there is none:
 * to everyone who can see the export. */
static bool group(const struct rpc_request *request, const struct nfs_zone *zone,
                  uint32_t i, char out[NFS_CLIENT_TEXT_MAX])
{
    const struct nfs_backend *backend = request->backend;

    return backend->export_client != NULL &&
           backend->export_client(backend->ctx, zone, i, out);
}

static size_t export_bytes(const struct rpc_request *request, const struct nfs_zone *zone)
{
    char text[NFS_CLIENT_TEXT_MAX];
    uint32_t n = 0;

    while (group(request, zone, n, text)) {
        n++;
    }
    return EXPORT_BYTES_MAX + (size_t)n * GROUP_BYTES_MAX;
}

static void put_export(const struct rpc_request *request, const struct nfs_zone *zone,
                       struct rpc_xdr *xdr)
{
    char path[NFS_SLUG_MAX + 2] = "/";
    char text[NFS_CLIENT_TEXT_MAX];

    if (zone != NULL) {
        memcpy(path + 1, zone->slug, strlen(zone->slug) + 1);
    }
    rpc_put_bool(xdr, true);
    rpc_put_opaque(xdr, path, strlen(path));
    for (uint32_t i = 0; group(request, zone, i, text); i++) {
        rpc_put_bool(xdr, true);
        rpc_put_opaque(xdr, text, strlen(text));
    }
    rpc_put_bool(xdr, false);
}

static void export(struct rpc_request *request)
{
    struct rpc_refusal refusal = {.kind = RPC_REFUSE_SYSTEM};
    bool root = nfs3_root_allowed(request);
    size_t max = RESULTS_MAX;
    struct rpc_xdr xdr;
    uint32_t n;
    struct nfs_zone *zones = nfs3_root_zones(request, &n);

    if (zones == NULL) {
        rpc_request_refuse(request, &refusal);
        return;
    }
    max += root ? export_bytes(request, NULL) : 0;
    for (uint32_t i = 0; i < n; i++) {
        max += export_bytes(request, &zones[i]);
    }
    if (rpc_request_begin_reply(request, max, &xdr)) {
        if (root) {
            put_export(request, NULL, &xdr);
        }
        for (uint32_t i = 0; i < n; i++) {
            put_export(request, &zones[i], &xdr);
        }
        rpc_put_bool(&xdr, false);
        rpc_request_end_reply(request, &xdr);
    }
    free(zones);
}

/* May the client know of a mount? A zone that is gone is nobody's. */
static bool mount_shown(const struct rpc_request *request, const struct mnt3_mount *mount)
{
    const struct nfs_backend *backend = request->backend;
    const char *name = mount->path + 1;
    size_t len = strcspn(name, "/");
    struct nfs_export_rule rule = {0};
    char slug[NFS_SLUG_MAX + 1] = "";
    struct nfs_zone zone;

    if (len == 0) {
        return nfs3_root_allowed(request);
    }
    if (len > NFS_SLUG_MAX) {
        return false;
    }
    memcpy(slug, name, len);
    if (!backend->zone_by_slug(backend->ctx, slug, &zone)) {
        return false;
    }
    backend->export_rule(backend->ctx, request->address, &zone, &rule);
    return rule.allowed;
}

static void dump(struct rpc_request *request)
{
    const struct mnt3_mounts *mounts = request->mounts;
    uint32_t n = mounts == NULL ? 0 : mounts->n;
    size_t max = RESULTS_MAX;
    struct rpc_xdr xdr;

    for (uint32_t i = 0; i < n; i++) {
        max += MOUNT_FIXED_BYTES + strlen(mounts->items[i]->client) +
               strlen(mounts->items[i]->path);
    }
    if (!rpc_request_begin_reply(request, max, &xdr)) {
        return;
    }
    for (uint32_t i = 0; i < n; i++) {
        const struct mnt3_mount *mount = mounts->items[i];

        if (mount_shown(request, mount)) {
            rpc_put_bool(&xdr, true);
            rpc_put_opaque(&xdr, mount->client, strlen(mount->client));
            rpc_put_opaque(&xdr, mount->path, strlen(mount->path));
        }
    }
    rpc_put_bool(&xdr, false);
    rpc_request_end_reply(request, &xdr);
}

static void reply_empty(struct rpc_request *request)
{
    struct rpc_xdr xdr;

    if (rpc_request_begin_reply(request, RESULTS_MAX, &xdr)) {
        rpc_request_end_reply(request, &xdr);
    }
}

static void umount(struct rpc_request *request, bool all)
{
    if (request->mounts != NULL && all) {
        mnt3_mounts_remove_all(request->mounts, request->address);
    } else if (request->mounts != NULL) {
        mnt3_mounts_remove(request->mounts, request->address, request->mnt3.whole);
    }
    reply_empty(request);
}

void mnt3_dispatch(struct rpc_request *request)
{
    struct rpc_refusal refusal = {.kind = RPC_ACCEPTED};
    uint32_t proc = request->header.proc;

    if (proc >= MOUNTPROC3_COUNT) {
        refusal.kind = RPC_REFUSE_PROC;
    } else if (proc == MOUNTPROC3_MNT || proc == MOUNTPROC3_UMNT) {
        request->mnt3.path = rpc_get_opaque(&request->args, MNT3_PATH_MAX);
        request->mnt3.whole = request->mnt3.path;
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
        dump(request);
        break;
    case MOUNTPROC3_UMNT:
    case MOUNTPROC3_UMNTALL:
        umount(request, proc == MOUNTPROC3_UMNTALL);
        break;
    default: /* NULL. */
        reply_empty(request);
        break;
    }
}
