#include "nfs/rpc_msg.h"

#include "base/assert.h"

#include <errno.h>

_Static_assert(ZONE_GROUPS_MAX == NGRPS, "AUTH_SYS has as many groups as an op");

/* Decodes the body of an AUTH_SYS credential (RFC 5531 appendix A). */
static bool decode_auth_sys(const struct opaque_auth *auth, struct zone_cred *cred)
{
    char machine[MAX_MACHINE_NAME + 1];
    gid_t gids[NGRPS];
    /* With both places given, libtirpc allocates nothing. */
    struct authunix_parms parms = {.aup_machname = machine, .aup_gids = gids};
    XDR xdrs;

    xdrmem_create(&xdrs, auth->oa_base, auth->oa_length, XDR_DECODE);
    if (!xdr_authunix_parms(&xdrs, &parms) || parms.aup_len > NGRPS) {
        return false;
    }
    *cred = (struct zone_cred){
        .uid = parms.aup_uid, .gid = parms.aup_gid, .n_groups = parms.aup_len};
    for (uint32_t i = 0; i < parms.aup_len; i++) {
        cred->groups[i] = gids[i];
    }
    return true;
}

static void check_auth(const struct call_body *body, struct rpc_header *header,
                       struct rpc_refusal *refusal)
{
    *refusal = (struct rpc_refusal){.kind = RPC_ACCEPTED};
    switch (body->cb_cred.oa_flavor) {
    case AUTH_NONE:
        header->anonymous = true;
        return;
    case AUTH_SYS:
        if (decode_auth_sys(&body->cb_cred, &header->cred)) {
            return;
        }
        refusal->why = AUTH_BADCRED;
        break;
    case AUTH_SHORT:
        refusal->why = AUTH_REJECTEDCRED; /* We never gave one out. */
        break;
    default:
        refusal->why = AUTH_TOOWEAK;
        break;
    }
    refusal->kind = RPC_REFUSE_AUTH;
}

int rpc_msg_decode(struct rpc_xdr *xdr, struct rpc_header *header,
                   struct rpc_refusal *refusal)
{
    char cred[MAX_AUTH_BYTES];
    char verf[MAX_AUTH_BYTES];
    struct rpc_msg msg = {0};
    u_int start = xdr_getpos(&xdr->xdrs);
    uint32_t direction;
    uint32_t version;

    *header = (struct rpc_header){.xid = rpc_get_u32(xdr)};
    direction = rpc_get_u32(xdr);
    version = rpc_get_u32(xdr);
    if (xdr->failed || direction != CALL) {
        return -EPROTO;
    }
    if (version != RPC_MSG_VERSION) {
        /* xdr_callmsg cannot tell this from garbage. */
        *refusal = (struct rpc_refusal){.kind = RPC_REFUSE_VERSION};
        return 0;
    }
    /* With both places given, libtirpc allocates nothing. */
    msg.rm_call.cb_cred.oa_base = cred;
    msg.rm_call.cb_verf.oa_base = verf;
    if (!xdr_setpos(&xdr->xdrs, start) || !xdr_callmsg(&xdr->xdrs, &msg)) {
        xdr->failed = true;
        return -EPROTO;
    }
    header->prog = (uint32_t)msg.rm_call.cb_prog;
    header->vers = (uint32_t)msg.rm_call.cb_vers;
    header->proc = (uint32_t)msg.rm_call.cb_proc;
    check_auth(&msg.rm_call, header, refusal);
    return 0;
}

/* The results follow separately. */
static bool_t encode_nothing(XDR *xdrs, ...)
{
    (void)xdrs;
    return TRUE;
}

static void fill_denied(struct rejected_reply *reply, const struct rpc_refusal *refusal)
{
    if (refusal->kind == RPC_REFUSE_AUTH) {
        reply->rj_stat = AUTH_ERROR;
        reply->rj_why = refusal->why;
    } else {
        reply->rj_stat = RPC_MISMATCH;
        reply->rj_vers.low = RPC_MSG_VERSION;
        reply->rj_vers.high = RPC_MSG_VERSION;
    }
}

static void fill_accepted(struct accepted_reply *reply, const struct rpc_refusal *refusal)
{
    static const enum accept_stat stats[] = {
        [RPC_ACCEPTED] = SUCCESS,
        [RPC_REFUSE_PROG] = PROG_UNAVAIL,
        [RPC_REFUSE_PROG_VERS] = PROG_MISMATCH,
        [RPC_REFUSE_PROC] = PROC_UNAVAIL,
        [RPC_REFUSE_ARGS] = GARBAGE_ARGS,
        [RPC_REFUSE_SYSTEM] = SYSTEM_ERR,
    };

    ASSERT(refusal->kind < sizeof stats / sizeof stats[0]);
    reply->ar_verf = (struct opaque_auth){.oa_flavor = AUTH_NONE};
    reply->ar_stat = stats[refusal->kind];
    if (refusal->kind == RPC_REFUSE_PROG_VERS) {
        reply->ar_vers.low = refusal->low;
        reply->ar_vers.high = refusal->high;
    } else {
        reply->ar_results.where = NULL;
        reply->ar_results.proc = encode_nothing;
    }
}

void rpc_msg_reply(struct rpc_xdr *xdr, uint32_t xid, const struct rpc_refusal *refusal)
{
    struct rpc_msg msg = {.rm_xid = xid, .rm_direction = REPLY};

    if (refusal->kind == RPC_REFUSE_VERSION || refusal->kind == RPC_REFUSE_AUTH) {
        msg.rm_reply.rp_stat = MSG_DENIED;
        fill_denied(&msg.rjcted_rply, refusal);
    } else {
        msg.rm_reply.rp_stat = MSG_ACCEPTED;
        fill_accepted(&msg.acpted_rply, refusal);
    }
    if (!xdr_replymsg(&xdr->xdrs, &msg)) {
        xdr->failed = true;
    }
}
