#include "nfs/nfs3_dispatch.h"

#include "nfs/nfs3_atime.h"
#include "nfs/nfs3_cred.h"
#include "nfs/nfs3_procs.h"
#include "nfs/nfs3_root.h"
#include "nfs/nfs3_status.h"

#include "base/assert.h"
#include "base/crc32c.h"
#include "base/outcome.h"
#include "base/siphash.h"
#include "base/wire.h"

#include <string.h>

enum {
    RPC_KEY_TAG = 0x72706300, /* Not how a handle's MAC begins. */
    NSEC_PER_SEC = 1000000000,
};

void nfs3_call_deinit(struct nfs3_call *call)
{
    slice_unref(&call->listing.result.data);
}

static bool is_dot(struct slice name)
{
    return (name.len == 1 && name.data[0] == '.') ||
           (name.len == 2 && name.data[0] == '.' && name.data[1] == '.');
}

/* What every file name must be, whatever is done with it (RFC 1813 3.2, "Filenames"). */
static int check_name(struct slice name)
{
    if (name.len > ZONE_NAME_MAX) {
        return OUT_NAMETOOLONG;
    }
    if (name.len == 0 || memchr(name.data, '/', name.len) != NULL ||
        memchr(name.data, '\0', name.len) != NULL) {
        return OUT_INVAL;
    }
    return 0;
}

static int check_names(const struct nfs3_call *call)
{
    unsigned flags = call->proc->flags;
    int rv = 0;

    if ((flags & NFS3_NAME) != 0) {
        rv = check_name(call->op.name);
    }
    if (rv == 0 && (flags & NFS3_TO_NAME) != 0) {
        rv = check_name(call->op.to_name);
    }
    if (rv != 0 || (flags & NFS3_MUTATES) == 0) {
        return rv;
    }
    /* "." and ".." are there already, and stay (RFC 1813 3.3.8, 3.3.13, 3.3.14). */
    if ((flags & NFS3_TO_NAME) != 0 && is_dot(call->op.to_name)) {
        return (flags & NFS3_MAKES) != 0 ? OUT_EXIST : OUT_INVAL;
    }
    if ((flags & NFS3_NAME) != 0 && is_dot(call->op.name)) {
        bool parent = call->op.name.len == 2;

        /* RMDIR of ".." is of a directory that is not empty. */
        return (flags & NFS3_MAKES) != 0 || (parent && call->op.type == ZONE_OP_RMDIR)
                   ? OUT_EXIST
                   : OUT_INVAL;
    }
    return 0;
}

/* XDR lets through what is no time; a zone would not. */
static int check_times(const struct zone_op *op)
{
    const struct zone_sattr *sattr = &op->sattr;

    if ((sattr->set_atime == ZONE_TIME_CLIENT && sattr->atime.nsec >= NSEC_PER_SEC) ||
        (sattr->set_mtime == ZONE_TIME_CLIENT && sattr->mtime.nsec >= NSEC_PER_SEC) ||
        (op->guarded && op->guard.nsec >= NSEC_PER_SEC)) {
        return OUT_INVAL;
    }
    return 0;
}

/* Find the objects that the call's handles name; *@across: in two file systems. */
static int resolve(struct rpc_request *request, bool *across)
{
    const struct nfs_backend *backend = request->backend;
    const uint8_t *key = backend->handle_key(backend->ctx);
    struct nfs3_call *call = &request->nfs3;
    struct nfs3_fh fh;
    struct nfs3_fh to = {0};
    int rv;

    rv = nfs3_fh_decode(call->fh, key, &fh);
    if (rv == 0 && (call->proc->flags & NFS3_TO_HANDLE) != 0) {
        rv = nfs3_fh_decode(call->to_fh, key, &to);
    }
    if (rv != 0) {
        return rv;
    }
    call->root = fh.root;
    if (!fh.root && !backend->zone_by_id(backend->ctx, fh.zone_id, &call->zone)) {
        return OUT_STALE;
    }
    *across =
        (call->proc->flags & NFS3_TO_HANDLE) != 0 &&
        (fh.root != to.root || memcmp(fh.zone_id, to.zone_id, sizeof fh.zone_id) != 0);
    call->op.obj = fh.obj;
    call->op.to = to.obj;
    return 0;
}

/* Everything that is the same for all procedures. 0, or the outcome to reply. */
static int admit(struct rpc_request *request)
{
    const struct nfs_backend *backend = request->backend;
    struct nfs3_call *call = &request->nfs3;
    struct nfs_export_rule rule = {0};
    bool across = false;
    int rv;

    rv = resolve(request, &across);
    if (rv != 0) {
        return rv;
    }
    backend->export_rule(backend->ctx, request->address, call->root ? NULL : &call->zone,
                         &rule);
    if (!rule.allowed) {
        return OUT_ACCES;
    }
    nfs3_cred_map(&request->header, &rule, &call->op.cred);
    call->read_only = call->root || rule.read_only || call->zone.read_only;
    if (call->read_only && (call->proc->flags & NFS3_MUTATES) != 0) {
        return OUT_ROFS;
    }
    if (across) {
        return OUT_XDEV;
    }
    rv = check_times(&call->op);
    return rv == 0 ? check_names(call) : rv;
}

void nfs3_dispatch(struct rpc_request *request)
{
    struct nfs3_call *call = &request->nfs3;
    struct rpc_refusal refusal = {.kind = RPC_ACCEPTED};
    int rv;

    if (request->header.proc >= NFSPROC3_COUNT) {
        refusal.kind = RPC_REFUSE_PROC;
        rpc_request_refuse(request, &refusal);
        return;
    }
    call->proc = &nfs3_procs[request->header.proc];
    if (call->proc->decode != NULL) {
        struct rpc_xdr args = request->args;

        call->proc->decode(call, &args);
        if (args.failed) {
            refusal.kind = RPC_REFUSE_ARGS;
            rpc_request_refuse(request, &refusal);
            return;
        }
    }
    rv = (call->proc->flags & NFS3_NO_HANDLE) != 0 ? 0 : admit(request);
    if (rv != 0) {
        nfs3_reply_outcome(request, rv);
    } else if (call->proc->run != NULL) {
        call->proc->run(request);
    } else {
        nfs3_submit(request);
    }
}

size_t nfs3_reply_bytes(const struct rpc_request *request)
{
    struct rpc_xdr args = request->args;
    struct nfs3_call call = {0};

    switch (request->header.proc) {
    case NFSPROC3_READ:
    case NFSPROC3_READDIR:
    case NFSPROC3_READDIRPLUS:
        nfs3_procs[request->header.proc].decode(&call, &args);
        break;
    default:
        break;
    }
    /* Each has one of the two. */
    return (size_t)call.op.count + call.listing.maxcount;
}

/*
 * The client's call, as a key of the replicated request table: a retransmission has the
 * same, on any connection and any node. All of the arguments count, a payload by its CRCs,
 * and who the client says that it is, since the xids of two processes on one machine may
 * meet. The hash is keyed with what all nodes share and no client knows, so none can aim
 * at another's.
 */
static void make_rpc_key(struct rpc_request *request, uint8_t key[SIPHASH_BYTES])
{
    const struct nfs_backend *backend = request->backend;
    const uint8_t *secret = backend->handle_key(backend->ctx);
    const struct zone_op *op = &request->nfs3.op;
    size_t from = rpc_xdr_pos(&request->args);
    size_t to = request->record->len;
    uint8_t message[NFS3_FH_KEY_BYTES + RPC_ADDRESS_MAX + 40];
    struct wire_enc enc = wire_enc(message, sizeof message);
    uint32_t crc;

    if (op->type == ZONE_OP_WRITE && op->data.len > 0) {
        to = (size_t)(op->data.data - request->record->data);
    }
    ASSERT(from <= to && to <= request->record->len);
    crc = crc32c(0, request->record->data + from, to - from);
    if (op->type == ZONE_OP_WRITE) {
        crc = crc32c(crc, op->crc, sizeof op->crc);
    }
    wire_put_bytes(&enc, secret + SIPHASH_KEY_BYTES,
                   NFS3_FH_KEY_BYTES - SIPHASH_KEY_BYTES);
    wire_put_u32(&enc, RPC_KEY_TAG);
    wire_put_bytes(&enc, request->address, strlen(request->address) + 1);
    wire_put_u8(&enc, request->header.anonymous);
    wire_put_u32(&enc, request->header.cred.uid);
    wire_put_u32(&enc, request->header.cred.gid);
    wire_put_u32(&enc, request->header.xid);
    wire_put_u32(&enc, request->header.prog);
    wire_put_u32(&enc, request->header.vers);
    wire_put_u32(&enc, request->header.proc);
    wire_put_u32(&enc, crc);
    ASSERT(!enc.failed);
    siphash128(secret, message, enc.len, key);
}

void nfs3_submit(struct rpc_request *request)
{
    struct nfs3_call *call = &request->nfs3;
    uint8_t key[SIPHASH_BYTES] = {0};

    if (call->root) {
        nfs3_root_run(request);
        return;
    }
    if (zone_op_once(call->op.type)) {
        make_rpc_key(request, key);
    }
    rpc_request_submit(request, call->zone.id, &call->op, key, nfs3_reply);
}

/* More data than was asked for comes from a member that is not one of ours. */
static bool data_fits(const struct zone_op *op, const struct zone_result *result)
{
    switch (op->type) {
    case ZONE_OP_READ:
        return result->data.len <= op->count;
    case ZONE_OP_READLINK:
        return result->data.len <= ZONE_PATH_MAX;
    default:
        return true; /* Records, of which no more is read than fits. */
    }
}

void nfs3_reply(struct rpc_request *request, const struct zone_result *result)
{
    struct nfs3_call *call = &request->nfs3;
    size_t max = call->results_max == 0 ? NFS3_RESULTS_MAX : call->results_max;
    struct zone_result shown = *result;
    struct rpc_xdr xdr;

    if (result->outcome == OUT_IN_DOUBT) {
        /* NFS3ERR_JUKEBOX would make it another call. A client whose connection is closed
         * sends the same one again, and gets the answer of the one execution. */
        rpc_request_leave(request);
        return;
    }
    if (!data_fits(&call->op, result)) {
        shown = (struct zone_result){.outcome = OUT_IO};
    }
    if (!rpc_request_begin_reply(request, max, &xdr)) {
        return;
    }
    nfs3_atime_pass(request, &shown);
    if ((call->proc->flags & NFS3_NO_HANDLE) == 0) {
        rpc_put_u32(&xdr, nfs3_status(shown.outcome));
    }
    if (call->proc->encode != NULL) {
        call->proc->encode(request, &shown, &xdr);
    }
    rpc_request_end_reply(request, &xdr);
}

void nfs3_reply_outcome(struct rpc_request *request, int outcome)
{
    struct zone_result result = {.outcome = outcome};

    nfs3_reply(request, &result);
}
