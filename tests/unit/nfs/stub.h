/*
 * stub: a backend without zones behind it, and calls written by hand.
 *
 * Two zones, "alpha" (fsid 0xa1) and "beta" (fsid 0xb2, read-only for everyone at
 * 10.0.0.9). The stub answers each op with stub.result, and writes a line per op.
 */
#pragma once

#include "nfs/rpc_request.h"

#define STUB_OPS_MAX 1024 /* Held at a time. */

struct stub_op {
    uint8_t zone_id[16];
    struct zone_op op; /* Slices as they were; valid while the record is. */
    uint8_t rpc_key[16];
    void (*done)(void *arg, const struct zone_result *result); /* NULL: cancelled. */
    void *arg;
};

struct stub {
    struct nfs_backend backend;
    struct mnt3_mounts *mounts;  /* NULL: not kept. */
    struct nfs3_atimes *atimes;  /* NULL: none. The test's. */
    struct nfs_export_rule rule; /* For everyone but 10.0.0.9 and 10.9.9.9. */
    struct zone_result result;   /* For every op; listing_result for READDIR. */
    struct zone_result listing;
    bool hold; /* Keep ops until stub_answer. */
    struct stub_op ops[STUB_OPS_MAX];
    uint32_t n_ops; /* Ever submitted; the last are in ops, modulo. */
    uint32_t n_answered;
    uint32_t n_cancelled;
};

void stub_init(struct stub *stub);
/* Answer the oldest op that is held; nobody, if it was cancelled. */
void stub_answer(struct stub *stub);
/* The last op submitted. */
const struct stub_op *stub_last(const struct stub *stub);
/* Attributes of inode @ino. */
struct zone_attr stub_attr(enum zone_type type, uint64_t ino);

/* A call being written. */
struct call {
    struct buf *buf;
    struct rpc_xdr xdr;
    const char *address; /* NULL: 10.0.0.1 */
};

/* Begin a call of @prog version 3 with AUTH_SYS uid 1000, gid 100, groups 7 and 0. */
struct call call_begin(uint32_t prog, uint32_t proc);
/* The same as AUTH_NONE, or as uid 0. */
struct call call_begin_anonymous(uint32_t prog, uint32_t proc);
struct call call_begin_root(uint32_t prog, uint32_t proc);
/* As uid @uid, gid @gid, with as many groups as there can be: 0, 1, 2 and so on, and 0
 * again as the last. */
struct call call_begin_groups(uint32_t prog, uint32_t proc, uint32_t uid, uint32_t gid);
/* A good handle in zone @slug; "/" is the root folder. */
void call_put_fh(struct call *call, const char *slug, uint64_t ino);
void call_put_str(struct call *call, const char *text);
void call_put_no_sattr(struct call *call);

/* A reply being read. */
struct reply {
    bool done;
    bool left;          /* Without a reply: the connection would be closed. */
    uint32_t xid;       /* The call's, and so the reply's. */
    struct rpc_xdr xdr; /* Stands after the xid. */
    struct buf *buf;    /* Whole, without the mark. */
};

/* Run the call; frees it. The reply is done unless the stub holds an op. */
void call_run(struct stub *stub, struct call *call, struct reply *reply);
/* The same, but leave the request to the caller (to cancel). */
struct rpc_request *call_start(struct stub *stub, struct call *call, struct reply *reply);
/* Read an accepted, successful header; then the xdr stands at the results. */
void reply_accepted(struct reply *reply);
uint32_t reply_u32(struct reply *reply);
uint64_t reply_u64(struct reply *reply);
/* Skip a fattr3; returns its fileid and stores its fsid. */
uint64_t reply_fattr(struct reply *reply, uint64_t *fsid);
/* Nothing is left; frees it. */
void reply_end(struct reply *reply);
void reply_free(struct reply *reply);
