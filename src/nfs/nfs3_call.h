/*
 * nfs3_call: what an NFSv3 call is about, from its arguments to its results.
 */
#ifndef NFS_NFS3_CALL_H
#define NFS_NFS3_CALL_H

#include "nfs/backend.h"
#include "nfs/nfs3_fh.h"

#define NFS3_ROOT_FSID 0x67760001u
#define NFS3_ROOT_FILEID 1u

struct nfs3_proc;

/* READDIR and READDIRPLUS. */
struct nfs3_listing {
    bool plus;
    uint32_t dircount;  /* READDIRPLUS: bytes of names, fileids and cookies at most. */
    uint32_t maxcount;  /* Bytes of READDIR3resok or READDIRPLUS3resok at most. */
    uint32_t n_entries; /* That fit. */
    bool eof;
    uint32_t waiting; /* Ops that have not been answered. */
    uint64_t parent_fileid;
    struct zone_result result; /* Kept while the parent is being asked for. */
};

struct nfs3_call {
    const struct nfs3_proc *proc;
    struct slice fh;    /* As received: becomes op.obj. */
    struct slice to_fh; /* RENAME, LINK: becomes op.to. */
    struct zone_op op;
    bool root;             /* The object is the root folder; there is no zone. */
    struct nfs_zone zone;  /* Else the object's zone. */
    bool read_only;        /* For this client. */
    struct nfs_zone found; /* LOOKUP in the root folder: the zone under that name. */
    bool found_root;       /* LOOKUP "..": it led from a zone to the root folder. */
    size_t results_max;    /* Bytes of the results; 0: NFS3_RESULTS_MAX. */
    struct nfs3_listing listing;
};

/* Drops what the call holds. Accepts a call that is all zero. */
void nfs3_call_deinit(struct nfs3_call *call);

#endif
