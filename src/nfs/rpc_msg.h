/*
 * rpc_msg: the headers of ONC RPC calls and replies (RFC 5531 section 9).
 *
 * Credentials are AUTH_SYS or AUTH_NONE. Other flavors are refused with AUTH_TOOWEAK:
 * clients then give up at once, while AUTH_BADCRED makes them try again.
 */
#ifndef NFS_RPC_MSG_H
#define NFS_RPC_MSG_H

#include "nfs/rpc_xdr.h"
#include "zone/op.h"

struct rpc_header {
    uint32_t xid;
    uint32_t prog;
    uint32_t vers;
    uint32_t proc;
    bool anonymous;        /* AUTH_NONE: @cred says nothing. */
    struct zone_cred cred; /* As the client claims it. */
};

enum rpc_refusal_kind {
    RPC_ACCEPTED = 0,
    RPC_REFUSE_VERSION, /* RPC_MISMATCH: not RPC version 2. */
    RPC_REFUSE_AUTH,
    RPC_REFUSE_PROG,      /* PROG_UNAVAIL */
    RPC_REFUSE_PROG_VERS, /* PROG_MISMATCH */
    RPC_REFUSE_PROC,      /* PROC_UNAVAIL */
    RPC_REFUSE_ARGS,      /* GARBAGE_ARGS */
    RPC_REFUSE_SYSTEM,    /* SYSTEM_ERR */
};

struct rpc_refusal {
    enum rpc_refusal_kind kind;
    enum auth_stat why; /* RPC_REFUSE_AUTH. */
    uint32_t low;       /* RPC_REFUSE_PROG_VERS: versions that are served. */
    uint32_t high;
};

#define RPC_REPLY_HEADER_MAX 40u /* Bytes of any reply header. */

/*
 * Decode a call's header; @xdr then stands at the arguments. Returns 0, with the reason
 * in *@refusal if the call must be refused; or -EPROTO if it is no call at all.
 */
int rpc_msg_decode(struct rpc_xdr *xdr, struct rpc_header *header,
                   struct rpc_refusal *refusal);
/* Encode a reply's header: accepted (results follow) or refused. */
void rpc_msg_reply(struct rpc_xdr *xdr, uint32_t xid, const struct rpc_refusal *refusal);

#endif
