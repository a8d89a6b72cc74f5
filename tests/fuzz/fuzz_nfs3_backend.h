/*
 * fuzz_nfs3_backend: what the NFS fuzz targets put behind the front: one zone, "z", that
 * answers every op with a result made from the input, and a client that checks replies.
 */
#pragma once

#include "nfs/mnt3_mounts.h"
#include "nfs/nfs3_procs.h"
#include "nfs/rpc_record.h"
#include "nfs/rpc_request.h"

#include "base/assert.h"
#include "base/outcome.h"
#include "base/wire.h"

#include <stdlib.h>
#include <string.h>

static const struct nfs_zone fuzz_zone = {.id = {1, 2, 3}, .slug = "z", .fsid = 0x55};
static struct zone_result fuzz_result; /* The answer to every op. */
static struct nfs_export_rule fuzz_rule;
static unsigned fuzz_replies;
static struct mnt3_mounts fuzz_mounts;
static struct nfs3_atimes *fuzz_atimes; /* Made once. */

static uint32_t fuzz_zones(void *ctx, struct nfs_zone *out, uint32_t max)
{
    (void)ctx;
    if (max > 0) {
        out[0] = fuzz_zone;
    }
    return 1;
}

static bool fuzz_zone_by_id(void *ctx, const uint8_t id[16], struct nfs_zone *out)
{
    (void)ctx;
    *out = fuzz_zone;
    return memcmp(id, fuzz_zone.id, 16) == 0;
}

static bool fuzz_zone_by_slug(void *ctx, const char *slug, struct nfs_zone *out)
{
    (void)ctx;
    *out = fuzz_zone;
    return strcmp(slug, fuzz_zone.slug) == 0;
}

static void fuzz_export_rule(void *ctx, const char *address, const struct nfs_zone *zone,
                             struct nfs_export_rule *out)
{
    (void)ctx;
    (void)address;
    (void)zone;
    *out = fuzz_rule;
}

static bool fuzz_export_client(void *ctx, const struct nfs_zone *zone, uint32_t i,
                               char out[NFS_CLIENT_TEXT_MAX])
{
    (void)ctx;
    memset(out, 'c', NFS_CLIENT_TEXT_MAX - 1); /* As long as there can be. */
    out[NFS_CLIENT_TEXT_MAX - 1] = '\0';
    return zone != NULL && i < 3;
}

/* What a zone may rely on, whatever the client sent. */
static void fuzz_submit(void *ctx, const struct nfs_submit *submit,
                        void (*done)(void *arg, const struct zone_result *result),
                        void *arg)
{
    const struct zone_op *op = submit->op;
    struct buf *encoded = NULL;
    struct zone_op again;

    (void)ctx;
    ASSERT(memcmp(submit->zone_id, fuzz_zone.id, 16) == 0);
    ASSERT(op->name.len <= ZONE_NAME_MAX && op->to_name.len <= ZONE_PATH_MAX);
    ASSERT(op->name.len == 0 || memchr(op->name.data, '/', op->name.len) == NULL);
    ASSERT(op->data.len <= ZONE_IO_MAX);
    ASSERT(op->type != ZONE_OP_WRITE || zone_op_check(op) == 0);
    ASSERT(zone_op_encode(op, &encoded) == 0);
    ASSERT(zone_op_decode(encoded->data, encoded->len, op->data, &again) == 0);
    buf_unref(encoded);
    done(arg, &fuzz_result);
}

static const uint8_t *fuzz_handle_key(void *ctx)
{
    static const uint8_t key[32];

    (void)ctx;
    return key;
}

static const struct nfs_backend fuzz_backend = {
    .zones = fuzz_zones,
    .zone_by_id = fuzz_zone_by_id,
    .zone_by_slug = fuzz_zone_by_slug,
    .export_rule = fuzz_export_rule,
    .export_client = fuzz_export_client,
    .submit = fuzz_submit,
    .handle_key = fuzz_handle_key,
};

static void fuzz_on_reply(void *arg, struct rpc_request *request)
{
    const struct rpc_reply *reply = &request->reply;
    size_t len;
    uint32_t mark;

    (void)arg;
    fuzz_replies++;
    if (reply->head == NULL) { /* There was memory. */
        ASSERT(fuzz_result.outcome == OUT_IN_DOUBT);
        rpc_request_free(request);
        return;
    }
    len = reply->head->len + reply->data.len + reply->pad;
    ASSERT(reply->head->len >= RPC_MARK_BYTES + 20 && len % 4 == 0);
    memcpy(&mark, reply->head->data, sizeof mark);
    ASSERT(ntohl(mark) == (RPC_MARK_LAST | (uint32_t)(len - RPC_MARK_BYTES)));
    ASSERT(memcmp(reply->head->data + 4, request->record->data, 4) == 0); /* xid */
    rpc_request_free(request);
}

static struct zone_time fuzz_now(void)
{
    return (struct zone_time){.sec = 1000};
}

/* Run one record; takes it. Each call gets one reply, or in doubt none. */
static void fuzz_record(struct buf *record)
{
    struct rpc_source source = {
        .backend = &fuzz_backend, .mounts = &fuzz_mounts, .address = "10.0.0.1"};
    struct rpc_request *request = NULL;
    unsigned before = fuzz_replies;
    int rv;

    ASSERT(fuzz_atimes != NULL || nfs3_atimes_new(fuzz_now, &fuzz_atimes) == 0);
    source.atimes = fuzz_atimes;
    rv = rpc_request_new(&source, record, &request);
    buf_unref(record);
    if (rv == 0) {
        (void)rpc_request_reply_bytes(request);
        rpc_request_run(request, fuzz_on_reply, NULL);
        ASSERT(fuzz_replies == before + 1);
    }
}

/* Set the zone's answer from the input's first bytes; returns how many were used. */
static size_t fuzz_set_result(const uint8_t *data, size_t size)
{
    size_t len;

    fuzz_result = (struct zone_result){0};
    fuzz_rule = (struct nfs_export_rule){.allowed = true};
    if (size < 4) {
        return size;
    }
    fuzz_result.outcome = data[0] % 4 == 0 ? data[0] / 4 % OUT_MAX : 0;
    fuzz_result.has_obj = (data[1] & 1) == 0 || fuzz_result.outcome == 0;
    fuzz_result.obj.type = (enum zone_type)(data[1] / 2 % 7 + 1);
    fuzz_result.obj.ino = data[1];
    fuzz_result.dir.has_before = (data[2] & 1) != 0;
    fuzz_result.dir.has_after = (data[2] & 2) != 0;
    fuzz_result.to = fuzz_result.dir;
    fuzz_result.eof = (data[2] & 4) != 0;
    fuzz_rule.read_only = (data[2] & 24) == 24;
    fuzz_rule.squash = (enum nfs_squash)(data[2] / 32 % 3);
    len = data[3] > size - 4 ? size - 4 : data[3];
    fuzz_result.data = slice_borrow(data + 4, len);
    return 4 + len;
}

/* A new record with a call's header, and room for @size more bytes. */
static inline struct buf *fuzz_header(uint32_t prog, uint32_t proc, bool sys, size_t size)
{
    struct buf *buf = buf_new(256 + size);
    struct rpc_xdr xdr;

    ASSERT(buf != NULL);
    rpc_xdr_encode(&xdr, buf, 0);
    rpc_put_u32(&xdr, 0x1234);
    rpc_put_u32(&xdr, CALL);
    rpc_put_u32(&xdr, 2);
    rpc_put_u32(&xdr, prog);
    rpc_put_u32(&xdr, 3);
    rpc_put_u32(&xdr, proc);
    rpc_put_u32(&xdr, sys ? AUTH_SYS : AUTH_NONE);
    rpc_put_u32(&xdr, sys ? 20 : 0);
    for (unsigned i = 0; sys && i < 5; i++) {
        rpc_put_u32(&xdr, 0); /* Time, no name, root, root, no groups. */
    }
    rpc_put_u64(&xdr, 0);
    ASSERT(!xdr.failed);
    buf->len = rpc_xdr_pos(&xdr);
    return buf;
}

static inline void fuzz_append(struct buf *buf, const void *data, size_t len)
{
    ASSERT(len <= buf->cap - buf->len);
    if (len > 0) {
        memcpy(buf->data + buf->len, data, len);
    }
    buf->len += len;
}
