#include "nfs/rpc_request.h"

#include "nfs/nfs3_dispatch.h"
#include "nfs/nfs3_proto.h"
#include "nfs/rpc_record.h"

#include "base/assert.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

int rpc_request_new(const struct rpc_source *source, struct buf *record,
                    struct rpc_request **out)
{
    struct rpc_request *request = NULL;
    int rv;

    request = calloc(1, sizeof *request);
    if (request == NULL) {
        rv = -ENOMEM;
        goto out;
    }
    request->backend = source->backend;
    request->mounts = source->mounts;
    request->atimes = source->atimes;
    (void)snprintf(request->address, sizeof request->address, "%s", source->address);
    request->record = buf_ref(record);
    rpc_xdr_decode(&request->args, record, 0);
    rv = rpc_msg_decode(&request->args, &request->header, &request->refusal);
    if (rv != 0) {
        goto out;
    }
    *out = request;
    request = NULL;
out:
    rpc_request_free(request);
    return rv;
}

size_t rpc_request_reply_bytes(const struct rpc_request *request)
{
    const struct rpc_header *header = &request->header;

    if (request->refusal.kind != RPC_ACCEPTED || header->prog != NFS3_PROGRAM ||
        header->vers != NFS3_VERSION) {
        return 0;
    }
    return nfs3_reply_bytes(request);
}

void rpc_request_run(struct rpc_request *request,
                     void (*done)(void *arg, struct rpc_request *request), void *arg)
{
    struct rpc_refusal refusal = request->refusal;
    uint32_t prog = request->header.prog;

    ASSERT(request->done == NULL && done != NULL);
    request->done = done;
    request->arg = arg;
    if (refusal.kind == RPC_ACCEPTED && prog != NFS3_PROGRAM && prog != MNT3_PROGRAM) {
        refusal.kind = RPC_REFUSE_PROG; /* Among them 100227, ACLs. */
    } else if (refusal.kind == RPC_ACCEPTED && request->header.vers != NFS3_VERSION) {
        _Static_assert(NFS3_VERSION == MNT3_VERSION, "one check for both");
        refusal.kind = RPC_REFUSE_PROG_VERS;
        refusal.low = NFS3_VERSION;
        refusal.high = NFS3_VERSION;
    }
    if (refusal.kind != RPC_ACCEPTED) {
        rpc_request_refuse(request, &refusal);
    } else if (prog == NFS3_PROGRAM) {
        nfs3_dispatch(request);
    } else {
        mnt3_dispatch(request);
    }
}

static bool busy(const struct rpc_request *request)
{
    for (uint32_t i = 0; i < RPC_OPS_MAX; i++) {
        if (request->ops[i].busy) {
            return true;
        }
    }
    return false;
}

void rpc_request_cancel(struct rpc_request *request)
{
    ASSERT(!request->cancelled && !request->replied);
    request->cancelled = true;
    for (uint32_t i = 0; i < RPC_OPS_MAX; i++) {
        /* One may be answered while another is given up. */
        if (request->ops[i].busy) {
            request->backend->cancel(request->backend->ctx, request->ops[i].token);
            request->ops[i].busy = false;
        }
    }
    rpc_request_free(request);
}

void rpc_request_free(struct rpc_request *request)
{
    if (request == NULL) {
        return;
    }
    ASSERT(!busy(request));
    nfs3_call_deinit(&request->nfs3);
    buf_unref(request->reply.head);
    slice_unref(&request->reply.data);
    buf_unref(request->record);
    free(request);
}

static void on_result(void *arg, const struct zone_result *result)
{
    struct rpc_op *op = arg;
    struct rpc_request *request = op->request;

    ASSERT(op->busy);
    op->busy = false;
    if (!request->cancelled) {
        op->done(request, result);
    }
}

void rpc_request_submit(struct rpc_request *request, const uint8_t zone_id[16],
                        const struct zone_op *op, const uint8_t rpc_key[16],
                        void (*done)(struct rpc_request *request,
                                     const struct zone_result *result))
{
    static const uint8_t no_key[16];
    uint32_t i = 0;

    ASSERT(!request->cancelled && !request->replied);
    while (request->ops[i].busy) {
        i++;
        ASSERT(i < RPC_OPS_MAX);
    }
    request->ops[i] = (struct rpc_op){.request = request, .busy = true, .done = done};
    request->backend->submit(
        request->backend->ctx,
        &(struct nfs_submit){.zone_id = zone_id,
                             .op = op,
                             .rpc_key = rpc_key == NULL ? no_key : rpc_key,
                             .token = &request->ops[i].token},
        on_result, &request->ops[i]);
}

/* Hand the request over, with whatever reply it has. */
static void finish(struct rpc_request *request)
{
    ASSERT(!request->cancelled && !request->replied && !busy(request));
    request->replied = true;
    request->done(request->arg, request);
}

static bool begin(struct rpc_request *request, const struct rpc_refusal *refusal,
                  size_t results_max, struct rpc_xdr *xdr)
{
    size_t cap = RPC_MARK_BYTES + RPC_REPLY_HEADER_MAX + results_max;

    ASSERT(request->reply.head == NULL);
    request->reply.head = buf_new(cap);
    if (request->reply.head == NULL) {
        finish(request);
        return false;
    }
    rpc_xdr_encode(xdr, request->reply.head, RPC_MARK_BYTES);
    rpc_msg_reply(xdr, request->header.xid, refusal);
    return true;
}

bool rpc_request_begin_reply(struct rpc_request *request, size_t results_max,
                             struct rpc_xdr *xdr)
{
    static const struct rpc_refusal accepted = {.kind = RPC_ACCEPTED};

    return begin(request, &accepted, results_max, xdr);
}

void rpc_request_leave(struct rpc_request *request)
{
    ASSERT(request->reply.head == NULL);
    finish(request);
}

void rpc_request_refuse(struct rpc_request *request, const struct rpc_refusal *refusal)
{
    struct rpc_xdr xdr;

    if (begin(request, refusal, 0, &xdr)) {
        rpc_request_end_reply(request, &xdr);
    }
}

void rpc_request_put_data(struct rpc_request *request, struct rpc_xdr *xdr,
                          struct slice data)
{
    struct rpc_reply *reply = &request->reply;

    ASSERT(reply->data.len == 0 && data.len <= ZONE_IO_MAX);
    rpc_put_u32(xdr, (uint32_t)data.len);
    if (data.buf != NULL) {
        reply->data = slice_ref(data);
    } else if (data.len > 0) {
        struct buf *copy = buf_copy(data.data, data.len);

        if (copy == NULL) {
            xdr->failed = true;
            return;
        }
        reply->data = (struct slice){.buf = copy, .data = copy->data, .len = data.len};
    }
    reply->pad = rpc_xdr_pad(data.len);
}

static void store_mark(struct rpc_reply *reply)
{
    size_t len = reply->head->len - RPC_MARK_BYTES + reply->data.len + reply->pad;
    uint32_t mark = RPC_MARK_LAST | (uint32_t)len;

    ASSERT(len < RPC_MARK_LAST);
    for (unsigned i = 0; i < RPC_MARK_BYTES; i++) {
        reply->head->data[i] = (uint8_t)(mark >> (24 - 8 * i));
    }
}

void rpc_request_end_reply(struct rpc_request *request, struct rpc_xdr *xdr)
{
    struct rpc_reply *reply = &request->reply;

    if (xdr->failed) {
        /* Only for want of memory: every procedure knows its size beforehand. */
        buf_unref(reply->head);
        slice_unref(&reply->data);
        *reply = (struct rpc_reply){0};
    } else {
        reply->head->len = rpc_xdr_pos(xdr);
        store_mark(reply);
    }
    finish(request);
}
