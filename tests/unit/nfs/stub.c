#include "unit/nfs/stub.h"

#include "lib/check.h"
#include "nfs/nfs3_proto.h"
#include "nfs/rpc_record.h"

#include <string.h>

static const struct nfs_zone stub_zones[] = {
    {.id = {0xa1, 1}, .slug = "alpha", .fsid = 0xa1},
    {.id = {0xb2, 2}, .slug = "beta", .fsid = 0xb2},
};

static uint32_t zones(void *ctx, struct nfs_zone *out, uint32_t max)
{
    (void)ctx;
    for (uint32_t i = 0; i < 2 && i < max; i++) {
        out[i] = stub_zones[i];
    }
    return 2;
}

static bool zone_by_id(void *ctx, const uint8_t id[16], struct nfs_zone *out)
{
    (void)ctx;
    for (unsigned i = 0; i < 2; i++) {
        if (memcmp(stub_zones[i].id, id, 16) == 0) {
            *out = stub_zones[i];
            return true;
        }
    }
    return false;
}

static bool zone_by_slug(void *ctx, const char *slug, struct nfs_zone *out)
{
    (void)ctx;
    for (unsigned i = 0; i < 2; i++) {
        if (strcmp(stub_zones[i].slug, slug) == 0) {
            *out = stub_zones[i];
            return true;
        }
    }
    return false;
}

static void export_rule(void *ctx, const char *address, const struct nfs_zone *zone,
                        struct nfs_export_rule *out)
{
    struct stub *stub = ctx;

    *out = stub->rule;
    if (strcmp(address, "10.0.0.9") == 0 && zone != NULL &&
        strcmp(zone->slug, "beta") == 0) {
        out->read_only = true;
    }
    if (strcmp(address, "10.9.9.9") == 0) {
        out->allowed = zone != NULL && strcmp(zone->slug, "alpha") == 0;
    }
}

static const struct zone_result *result_for(const struct stub *stub,
                                            const struct stub_op *op)
{
    return op->op.type == ZONE_OP_READDIR ? &stub->listing : &stub->result;
}

static void submit(void *ctx, const struct nfs_submit *call,
                   void (*done)(void *arg, const struct zone_result *result), void *arg)
{
    struct stub *stub = ctx;
    struct stub_op *slot = &stub->ops[stub->n_ops % STUB_OPS_MAX];

    *slot = (struct stub_op){.op = *call->op, .done = done, .arg = arg};
    memcpy(slot->zone_id, call->zone_id, 16);
    memcpy(slot->rpc_key, call->rpc_key, 16);
    *call->token = stub->n_ops;
    stub->n_ops++;
    if (!stub->hold) {
        stub->n_answered++;
        done(arg, result_for(stub, slot));
    }
}

static void cancel(void *ctx, uint64_t token)
{
    struct stub *stub = ctx;
    struct stub_op *slot = &stub->ops[token % STUB_OPS_MAX];

    CHECK(token < stub->n_ops && slot->done != NULL);
    slot->done = NULL;
    stub->n_cancelled++;
}

static const uint8_t *handle_key(void *ctx)
{
    static const uint8_t key[32] = "0123456789abcdef0123456789abcde";

    (void)ctx;
    return key;
}

void stub_init(struct stub *stub)
{
    *stub = (struct stub){
        .backend = {.ctx = stub,
                    .zones = zones,
                    .zone_by_id = zone_by_id,
                    .zone_by_slug = zone_by_slug,
                    .export_rule = export_rule,
                    .submit = submit,
                    .cancel = cancel,
                    .handle_key = handle_key},
        .rule = {.allowed = true, .anon_uid = 65534, .anon_gid = 65534},
    };
}

void stub_answer(struct stub *stub)
{
    struct stub_op *slot = &stub->ops[stub->n_answered % STUB_OPS_MAX];

    CHECK(stub->n_answered < stub->n_ops);
    stub->n_answered++;
    if (slot->done != NULL) {
        slot->done(slot->arg, result_for(stub, slot));
    }
}

const struct stub_op *stub_last(const struct stub *stub)
{
    CHECK(stub->n_ops > 0);
    return &stub->ops[(stub->n_ops - 1) % STUB_OPS_MAX];
}

struct zone_attr stub_attr(enum zone_type type, uint64_t ino)
{
    return (struct zone_attr){.type = type,
                              .mode = 0644,
                              .nlink = 1,
                              .uid = 1000,
                              .gid = 100,
                              .size = 11,
                              .used = 11,
                              .ino = ino,
                              .gen = 5,
                              .ctime = {.sec = 77, .nsec = 7}};
}

static struct call begin(uint32_t prog, uint32_t proc)
{
    struct call call = {.buf = buf_new(RPC_RECORD_MAX)};

    CHECK(call.buf != NULL);
    memset(call.buf->data, 0, call.buf->cap);
    rpc_xdr_encode(&call.xdr, call.buf, 0);
    rpc_put_u32(&call.xdr, 0x1234);
    rpc_put_u32(&call.xdr, CALL);
    rpc_put_u32(&call.xdr, 2);
    rpc_put_u32(&call.xdr, prog);
    rpc_put_u32(&call.xdr, 3);
    rpc_put_u32(&call.xdr, proc);
    return call;
}

static void put_auth_sys(struct call *call, uint32_t uid, uint32_t gid)
{
    rpc_put_u32(&call->xdr, AUTH_SYS);
    rpc_put_u32(&call->xdr, 4 + 8 + 8 + 4 + 8);
    rpc_put_u32(&call->xdr, 0);
    rpc_put_opaque(&call->xdr, "host", 4);
    rpc_put_u32(&call->xdr, uid);
    rpc_put_u32(&call->xdr, gid);
    rpc_put_u32(&call->xdr, 2);
    rpc_put_u32(&call->xdr, 7);
    rpc_put_u32(&call->xdr, 0);
    rpc_put_u32(&call->xdr, AUTH_NONE);
    rpc_put_u32(&call->xdr, 0);
}

struct call call_begin(uint32_t prog, uint32_t proc)
{
    struct call call = begin(prog, proc);

    put_auth_sys(&call, 1000, 100);
    return call;
}

struct call call_begin_root(uint32_t prog, uint32_t proc)
{
    struct call call = begin(prog, proc);

    put_auth_sys(&call, 0, 0);
    return call;
}

struct call call_begin_groups(uint32_t prog, uint32_t proc, uint32_t uid, uint32_t gid)
{
    struct call call = begin(prog, proc);

    rpc_put_u32(&call.xdr, AUTH_SYS);
    rpc_put_u32(&call.xdr, 4 + 4 + 8 + 4 + ZONE_GROUPS_MAX * 4);
    rpc_put_u32(&call.xdr, 0);
    rpc_put_opaque(&call.xdr, "", 0);
    rpc_put_u32(&call.xdr, uid);
    rpc_put_u32(&call.xdr, gid);
    rpc_put_u32(&call.xdr, ZONE_GROUPS_MAX);
    for (uint32_t i = 0; i < ZONE_GROUPS_MAX; i++) {
        rpc_put_u32(&call.xdr, i < ZONE_GROUPS_MAX - 1 ? i : 0);
    }
    rpc_put_u32(&call.xdr, AUTH_NONE);
    rpc_put_u32(&call.xdr, 0);
    return call;
}

struct call call_begin_anonymous(uint32_t prog, uint32_t proc)
{
    struct call call = begin(prog, proc);

    rpc_put_u32(&call.xdr, AUTH_NONE);
    rpc_put_u32(&call.xdr, 0);
    rpc_put_u32(&call.xdr, AUTH_NONE);
    rpc_put_u32(&call.xdr, 0);
    return call;
}

void call_put_fh(struct call *call, const char *slug, uint64_t ino)
{
    struct nfs3_fh fh = {.root = strcmp(slug, "/") == 0};
    uint8_t bytes[NFS3_FH_BYTES];
    struct nfs_zone zone = {0};

    if (!fh.root) {
        CHECK(zone_by_slug(NULL, slug, &zone));
        memcpy(fh.zone_id, zone.id, 16);
        fh.obj = (struct zone_handle){.ino = ino, .gen = 5};
    }
    nfs3_fh_encode(&fh, handle_key(NULL), bytes);
    rpc_put_opaque(&call->xdr, bytes, sizeof bytes);
}

void call_put_str(struct call *call, const char *text)
{
    rpc_put_opaque(&call->xdr, text, strlen(text));
}

void call_put_no_sattr(struct call *call)
{
    for (unsigned i = 0; i < 6; i++) {
        rpc_put_u32(&call->xdr, 0);
    }
}

static void on_done(void *arg, struct rpc_request *request)
{
    struct reply *reply = arg;
    const struct rpc_reply *got = &request->reply;
    size_t len;

    CHECK(!reply->done);
    reply->done = true;
    reply->left = got->head == NULL;
    if (reply->left) {
        rpc_request_free(request);
        return;
    }
    len = got->head->len + got->data.len + got->pad;
    reply->buf = buf_new(len);
    CHECK(reply->buf != NULL);
    memcpy(reply->buf->data, got->head->data, got->head->len);
    if (got->data.len > 0) {
        memcpy(reply->buf->data + got->head->len, got->data.data, got->data.len);
    }
    memset(reply->buf->data + len - got->pad, 0, got->pad);
    reply->buf->len = len;
    rpc_request_free(request);
    rpc_xdr_decode(&reply->xdr, reply->buf, 0);
    CHECK_UINT(rpc_get_u32(&reply->xdr), RPC_MARK_LAST | (len - RPC_MARK_BYTES));
    CHECK_UINT(rpc_get_u32(&reply->xdr), reply->xid);
}

struct rpc_request *call_start(struct stub *stub, struct call *call, struct reply *reply)
{
    struct rpc_source source = {.backend = &stub->backend,
                                .mounts = stub->mounts,
                                .atimes = stub->atimes,
                                .address = call->address};
    struct rpc_request *request = NULL;
    struct rpc_xdr xdr;

    if (source.address == NULL) {
        source.address = "10.0.0.1";
    }
    CHECK(!call->xdr.failed);
    call->buf->len = rpc_xdr_pos(&call->xdr);
    rpc_xdr_decode(&xdr, call->buf, 0);
    *reply = (struct reply){.xid = rpc_get_u32(&xdr)};
    CHECK_INT(rpc_request_new(&source, call->buf, &request), 0);
    buf_unref(call->buf);
    rpc_request_run(request, on_done, reply);
    return request;
}

void call_run(struct stub *stub, struct call *call, struct reply *reply)
{
    (void)call_start(stub, call, reply);
    CHECK(reply->done || stub->hold);
}

uint32_t reply_u32(struct reply *reply)
{
    uint32_t value = rpc_get_u32(&reply->xdr);

    CHECK(!reply->xdr.failed);
    return value;
}

uint64_t reply_u64(struct reply *reply)
{
    uint64_t value = rpc_get_u64(&reply->xdr);

    CHECK(!reply->xdr.failed);
    return value;
}

void reply_accepted(struct reply *reply)
{
    CHECK(reply->done);
    CHECK_UINT(reply_u32(reply), REPLY);
    CHECK_UINT(reply_u32(reply), MSG_ACCEPTED);
    CHECK_UINT(reply_u32(reply), AUTH_NONE);
    CHECK_UINT(reply_u32(reply), 0);
    CHECK_UINT(reply_u32(reply), SUCCESS);
}

uint64_t reply_fattr(struct reply *reply, uint64_t *fsid)
{
    uint64_t fileid;

    for (unsigned i = 0; i < 11; i++) {
        (void)reply_u32(reply);
    }
    *fsid = reply_u64(reply);
    fileid = reply_u64(reply);
    for (unsigned i = 0; i < 6; i++) {
        (void)reply_u32(reply);
    }
    return fileid;
}

void reply_end(struct reply *reply)
{
    CHECK_UINT(rpc_xdr_pos(&reply->xdr), reply->buf->len);
    reply_free(reply);
}

void reply_free(struct reply *reply)
{
    buf_unref(reply->buf);
    *reply = (struct reply){0};
}
