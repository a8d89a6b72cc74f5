/*
 * rpc_request: one call record in, one reply out.
 *
 * A request decodes its record's header, hands the call to NFSv3 or MOUNTv3, and calls
 * back once with the reply. It owns no socket: front_uv.c and tests drive it.
 *
 * All calls and callbacks happen on one thread. A request may be cancelled before its
 * callback, and with it what the backend was asked for, but not from within
 * rpc_request_run or a callback of the backend.
 */
#ifndef NFS_RPC_REQUEST_H
#define NFS_RPC_REQUEST_H

#include "nfs/backend.h"
#include "nfs/mnt3.h"
#include "nfs/nfs3_atime.h"
#include "nfs/nfs3_call.h"
#include "nfs/rpc_msg.h"
#include "nfs/rpc_xdr.h"

#define RPC_ADDRESS_MAX 64u
#define RPC_OPS_MAX 2u /* Backend ops of one request at a time. */

/* What goes to the client: @head (with its record mark), @data, then @pad zeros. */
struct rpc_reply {
    struct buf *head; /* NULL: there is no reply, and the connection has to go. */
    struct slice data;
    uint32_t pad;
};

struct rpc_request;
struct mnt3_mounts;

struct rpc_op {
    struct rpc_request *request;
    bool busy;
    uint64_t token; /* The backend's, while busy. */
    void (*done)(struct rpc_request *request, const struct zone_result *result);
};

struct rpc_request {
    const struct nfs_backend *backend;
    struct mnt3_mounts *mounts;    /* NULL: not kept. */
    struct nfs3_atimes *atimes;    /* NULL: reads leave no trace. */
    char address[RPC_ADDRESS_MAX]; /* The client's, text, without port. */
    struct buf *record;
    struct rpc_header header;
    struct rpc_refusal refusal; /* Found while decoding the header. */
    struct rpc_xdr args;        /* Stands at the arguments. */
    struct rpc_reply reply;
    void (*done)(void *arg, struct rpc_request *request);
    void *arg;
    struct rpc_op ops[RPC_OPS_MAX];
    bool cancelled;
    bool replied;
    struct nfs3_call nfs3; /* If it is an NFSv3 call. */
    struct mnt3_call mnt3; /* If it is a MOUNTv3 call. */
};

/* Who sent the record. */
struct rpc_source {
    const struct nfs_backend *backend; /* Borrowed; outlives the request. */
    struct mnt3_mounts *mounts;        /* The same; NULL: not kept. */
    struct nfs3_atimes *atimes;        /* The same; NULL: reads leave no trace. */
    const char *address;               /* Copied. */
};

/*
 * Decode the header of @record (a reference is taken). Returns 0, -EPROTO if it is not
 * a call (the connection has to go), or -ENOMEM.
 */
int rpc_request_new(const struct rpc_source *source, struct buf *record,
                    struct rpc_request **out);
/* Bytes of data that the reply may have, beyond what every reply has. */
size_t rpc_request_reply_bytes(const struct rpc_request *request);
/*
 * Carry the call out. @done gets the request, with its reply, exactly once, possibly
 * before this returns, and then owns it.
 */
void rpc_request_run(struct rpc_request *request,
                     void (*done)(void *arg, struct rpc_request *request), void *arg);
/* Give up: the backend is told, @done is not called any more, and @request is freed. */
void rpc_request_cancel(struct rpc_request *request);
/* Free a request that was not run, or whose callback has been. NULL is a no-op. */
void rpc_request_free(struct rpc_request *request);

/* For the programs: */

/*
 * Ask the backend for @op (borrowed). @done is not called after a cancel. It may be
 * called, and may end the request, before this returns: touch nothing after it.
 */
void rpc_request_submit(struct rpc_request *request, const uint8_t zone_id[16],
                        const struct zone_op *op, const uint8_t rpc_key[16],
                        void (*done)(struct rpc_request *request,
                                     const struct zone_result *result));
/* End the request without a reply: its connection is to be closed. Touch nothing after. */
void rpc_request_leave(struct rpc_request *request);
/* End the request with a header and no results. Touch nothing after it. */
void rpc_request_refuse(struct rpc_request *request, const struct rpc_refusal *refusal);
/*
 * Begin an accepted reply with room for @results_max bytes. False: no memory, and the
 * request has ended. Else encode into @xdr, then call rpc_request_end_reply.
 */
bool rpc_request_begin_reply(struct rpc_request *request, size_t results_max,
                             struct rpc_xdr *xdr);
/* Let @data and its padding follow what was encoded; nothing can be encoded after it.
 * Takes a reference, or a copy of borrowed bytes. */
void rpc_request_put_data(struct rpc_request *request, struct rpc_xdr *xdr,
                          struct slice data);
/* Close the record and end the request. Touch nothing after it. */
void rpc_request_end_reply(struct rpc_request *request, struct rpc_xdr *xdr);

#endif
