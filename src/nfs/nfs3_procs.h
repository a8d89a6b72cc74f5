/*
 * nfs3_procs: the table of NFSv3's procedures (RFC 1813 3.3); one nfs3_<name>.c each.
 */
#ifndef NFS_NFS3_PROCS_H
#define NFS_NFS3_PROCS_H

#include "nfs/nfs3_dispatch.h"
#include "nfs/nfs3_proto.h"
#include "nfs/nfs3_xdr.h"

#define NFS3_RESULTS_MAX 512u /* Bytes of results where the call does not say. */

enum nfs3_proc_flags {
    NFS3_NO_HANDLE = 1, /* NULL: nothing is checked. */
    NFS3_MUTATES = 2,   /* Refused with ROFS where the zone or export is read-only. */
    NFS3_TO_HANDLE = 4, /* There is a second filehandle, to_fh. */
    NFS3_NAME = 8,      /* op.name is a file name. */
    NFS3_TO_NAME = 16,  /* op.to_name is a file name. */
    NFS3_MAKES = 32,    /* The last name is to become a new entry. */
};

struct nfs3_proc {
    const char *name;
    unsigned flags;
    /* Arguments into call->fh, call->to_fh and call->op. May be NULL. */
    void (*decode)(struct nfs3_call *call, struct rpc_xdr *args);
    /* Do it, and end with nfs3_reply. NULL: nfs3_submit. */
    void (*run)(struct rpc_request *request);
    /* What follows the status, in success and in failure. May be NULL. */
    void (*encode)(struct rpc_request *request, const struct zone_result *result,
                   struct rpc_xdr *xdr);
};

extern const struct nfs3_proc nfs3_procs[NFSPROC3_COUNT];

/* The fsid of what the call's handle is in. */
uint64_t nfs3_fsid(const struct nfs3_call *call);
/* Result parts that several procedures share. */
void nfs3_put_obj_attr(const struct nfs3_call *call, const struct zone_result *result,
                       struct rpc_xdr *xdr); /* post_op_attr of result->obj */
void nfs3_put_obj_fh(const struct rpc_request *request, const struct zone_result *result,
                     struct rpc_xdr *xdr); /* post_op_fh3 of result->obj */
/* CREATE, MKDIR, SYMLINK, MKNOD: obj, obj_attributes, dir_wcc; or dir_wcc alone. */
void nfs3_put_made(struct rpc_request *request, const struct zone_result *result,
                   struct rpc_xdr *xdr);
/* SETATTR, REMOVE, RMDIR: the wcc_data of result->dir alone. */
void nfs3_put_dir_wcc(struct rpc_request *request, const struct zone_result *result,
                      struct rpc_xdr *xdr);
/* A directory and a name in it. */
void nfs3_get_dirop(struct nfs3_call *call, struct rpc_xdr *args);

void nfs3_null_run(struct rpc_request *request);

/* One decode and encode per procedure, in its own file. */
#define NFS3_PROC_DECLARE(proc)                                              \
    void nfs3_##proc##_decode(struct nfs3_call *call, struct rpc_xdr *args); \
    void nfs3_##proc##_run(struct rpc_request *request);                     \
    void nfs3_##proc##_encode(struct rpc_request *request,                   \
                              const struct zone_result *result, struct rpc_xdr *xdr)
NFS3_PROC_DECLARE(getattr);
NFS3_PROC_DECLARE(setattr);
NFS3_PROC_DECLARE(lookup);
NFS3_PROC_DECLARE(access);
NFS3_PROC_DECLARE(readlink);
NFS3_PROC_DECLARE(read);
NFS3_PROC_DECLARE(write);
NFS3_PROC_DECLARE(create);
NFS3_PROC_DECLARE(mkdir);
NFS3_PROC_DECLARE(symlink);
NFS3_PROC_DECLARE(mknod);
NFS3_PROC_DECLARE(remove);
NFS3_PROC_DECLARE(rmdir);
NFS3_PROC_DECLARE(rename);
NFS3_PROC_DECLARE(link);
NFS3_PROC_DECLARE(readdir);
NFS3_PROC_DECLARE(readdirplus);
NFS3_PROC_DECLARE(fsstat);
NFS3_PROC_DECLARE(fsinfo);
NFS3_PROC_DECLARE(pathconf);
NFS3_PROC_DECLARE(commit);

#endif
