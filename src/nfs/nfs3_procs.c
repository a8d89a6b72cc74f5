#include "nfs/nfs3_procs.h"

#include "nfs/nfs3_listing.h"

#define ROW(proc) \
    .name = #proc, .decode = nfs3_##proc##_decode, .encode = nfs3_##proc##_encode

const struct nfs3_proc nfs3_procs[NFSPROC3_COUNT] = {
    [NFSPROC3_NULL] = {.name = "null", .flags = NFS3_NO_HANDLE, .run = nfs3_null_run},
    [NFSPROC3_GETATTR] = {ROW(getattr)},
    [NFSPROC3_SETATTR] = {ROW(setattr), .flags = NFS3_MUTATES},
    [NFSPROC3_LOOKUP] = {ROW(lookup), .flags = NFS3_NAME, .run = nfs3_lookup_run},
    [NFSPROC3_ACCESS] = {ROW(access)},
    [NFSPROC3_READLINK] = {ROW(readlink)},
    [NFSPROC3_READ] = {ROW(read)},
    [NFSPROC3_WRITE] = {ROW(write), .flags = NFS3_MUTATES, .run = nfs3_write_run},
    [NFSPROC3_CREATE] = {ROW(create), .flags = NFS3_MUTATES | NFS3_NAME | NFS3_MAKES},
    [NFSPROC3_MKDIR] = {ROW(mkdir), .flags = NFS3_MUTATES | NFS3_NAME | NFS3_MAKES},
    [NFSPROC3_SYMLINK] = {ROW(symlink), .flags = NFS3_MUTATES | NFS3_NAME | NFS3_MAKES,
                          .run = nfs3_symlink_run},
    [NFSPROC3_MKNOD] = {ROW(mknod), .flags = NFS3_MUTATES | NFS3_NAME | NFS3_MAKES,
                        .run = nfs3_mknod_run},
    [NFSPROC3_REMOVE] = {ROW(remove), .flags = NFS3_MUTATES | NFS3_NAME},
    [NFSPROC3_RMDIR] = {ROW(rmdir), .flags = NFS3_MUTATES | NFS3_NAME},
    [NFSPROC3_RENAME] = {ROW(rename), .flags = NFS3_MUTATES | NFS3_TO_HANDLE | NFS3_NAME |
                                               NFS3_TO_NAME},
    [NFSPROC3_LINK] = {ROW(link), .flags = NFS3_MUTATES | NFS3_TO_HANDLE | NFS3_TO_NAME |
                                           NFS3_MAKES},
    [NFSPROC3_READDIR] = {ROW(readdir), .run = nfs3_listing_run},
    [NFSPROC3_READDIRPLUS] = {ROW(readdirplus), .run = nfs3_listing_run},
    [NFSPROC3_FSSTAT] = {ROW(fsstat)},
    [NFSPROC3_FSINFO] = {ROW(fsinfo)},
    [NFSPROC3_PATHCONF] = {ROW(pathconf)},
    [NFSPROC3_COMMIT] = {ROW(commit)},
};

uint64_t nfs3_fsid(const struct nfs3_call *call)
{
    return call->root ? NFS3_ROOT_FSID : call->zone.fsid;
}

void nfs3_put_obj_attr(const struct nfs3_call *call, const struct zone_result *result,
                       struct rpc_xdr *xdr)
{
    nfs3_put_post_op_attr(xdr, result->has_obj ? &result->obj : NULL, nfs3_fsid(call));
}

void nfs3_put_obj_fh(const struct rpc_request *request, const struct zone_result *result,
                     struct rpc_xdr *xdr)
{
    const struct nfs_backend *backend = request->backend;
    uint8_t bytes[NFS3_FH_BYTES];
    struct nfs3_fh fh;

    if (!result->has_obj) {
        nfs3_put_post_op_fh(xdr, NULL);
        return;
    }
    fh = (struct nfs3_fh){.obj = {.ino = result->obj.ino, .gen = result->obj.gen}};
    for (uint32_t i = 0; i < sizeof fh.zone_id; i++) {
        fh.zone_id[i] = request->nfs3.zone.id[i];
    }
    nfs3_fh_encode(&fh, backend->handle_key(backend->ctx), bytes);
    nfs3_put_post_op_fh(xdr, bytes);
}

void nfs3_put_made(struct rpc_request *request, const struct zone_result *result,
                   struct rpc_xdr *xdr)
{
    if (result->outcome == 0) {
        nfs3_put_obj_fh(request, result, xdr);
        nfs3_put_obj_attr(&request->nfs3, result, xdr);
    }
    nfs3_put_wcc(xdr, &result->dir, nfs3_fsid(&request->nfs3));
}

void nfs3_put_dir_wcc(struct rpc_request *request, const struct zone_result *result,
                      struct rpc_xdr *xdr)
{
    nfs3_put_wcc(xdr, &result->dir, nfs3_fsid(&request->nfs3));
}

void nfs3_get_dirop(struct nfs3_call *call, struct rpc_xdr *args)
{
    call->fh = nfs3_get_fh(args);
    call->op.name = nfs3_get_name(args);
}
