#include "nfs/nfs3_root.h"

#include "nfs/nfs3_cred.h"
#include "nfs/nfs3_dispatch.h"
#include "nfs/nfs3_listing.h"
#include "nfs/nfs3_proto.h"

#include "base/assert.h"
#include "base/outcome.h"
#include "base/siphash.h"
#include "base/wire.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum {
    ROOT_MODE = 0755,
    ROOT_BYTES = 4096, /* Size, as directories show one. */
    COOKIE_MIN = 3,    /* 1 and 2 are "." and "..". */
    ENTRY_BYTES_MAX = 512,
    SECONDS_BEGIN = 1600000000, /* The made-up times lie in 2020 and later, */
    SECONDS_SPAN = 1 << 26,     /* and two years wide. */
    NSEC_PER_SEC = 1000000000,
};

bool nfs3_root_allowed(const struct rpc_request *request)
{
    struct nfs_export_rule rule = {0};

    request->backend->export_rule(request->backend->ctx, request->address, NULL, &rule);
    return rule.allowed;
}

static bool zone_allowed(const struct rpc_request *request, const struct nfs_zone *zone)
{
    struct nfs_export_rule rule = {0};

    request->backend->export_rule(request->backend->ctx, request->address, zone, &rule);
    return rule.allowed;
}

struct nfs_zone *nfs3_root_zones(const struct rpc_request *request, uint32_t *n)
{
    const struct nfs_backend *backend = request->backend;
    uint32_t n_all = backend->zones(backend->ctx, NULL, 0);
    struct nfs_zone *zones;

    *n = 0;
    n_all = n_all > NFS_ZONES_MAX ? NFS_ZONES_MAX : n_all;
    zones = calloc((size_t)n_all + 1, sizeof *zones); /* Not NULL for none, too. */
    if (zones == NULL) {
        return NULL;
    }
    (void)backend->zones(backend->ctx, zones, n_all);
    for (uint32_t i = 0; i < n_all; i++) {
        if (zone_allowed(request, &zones[i])) {
            zones[*n] = zones[i];
            *n += 1;
        }
    }
    return zones;
}

uint64_t nfs3_root_entry_fileid(const struct nfs_zone *zone)
{
    /* 0 means "no file" to some clients, 1 is the root folder. */
    return zone->fsid > NFS3_ROOT_FILEID ? zone->fsid : zone->fsid + 2;
}

/* Permanent: from the zone's id, not from its place in the list. */
static uint64_t entry_cookie(const struct nfs_zone *zone)
{
    return (zone->fsid >> 2) + COOKIE_MIN;
}

struct nfs3_fh nfs3_zone_root_fh(const struct nfs_zone *zone)
{
    struct nfs3_fh fh = {.obj = {.ino = ZONE_ROOT_INO, .gen = ZONE_ROOT_GEN}};

    memcpy(fh.zone_id, zone->id, sizeof fh.zone_id);
    return fh;
}

static void make_attr(const struct nfs_zone *zones, uint32_t n, struct zone_attr *attr)
{
    uint8_t hash[SIPHASH_BYTES] = {0};
    uint64_t change;

    for (uint32_t i = 0; i < n; i++) {
        /* Chained: each name is hashed under the hash of those before it. */
        siphash128(hash, zones[i].slug, strlen(zones[i].slug), hash);
    }
    change = wire_load_u64(hash);
    *attr = (struct zone_attr){
        .type = ZONE_DIR,
        .mode = ROOT_MODE,
        .nlink = 2 + n,
        .size = ROOT_BYTES,
        .used = ROOT_BYTES,
        .ino = NFS3_ROOT_FILEID,
        .change = change,
        .mtime = {.sec = SECONDS_BEGIN + (int64_t)(change % SECONDS_SPAN),
                  .nsec = (uint32_t)(change >> 32) % NSEC_PER_SEC},
    };
    attr->atime = attr->mtime;
    attr->ctime = attr->mtime;
}

int nfs3_root_attr(const struct rpc_request *request, struct zone_attr *attr)
{
    uint32_t n;
    struct nfs_zone *zones = nfs3_root_zones(request, &n);

    if (zones == NULL) {
        return -ENOMEM;
    }
    make_attr(zones, n, attr);
    free(zones);
    return 0;
}

static int by_cookie(const void *a, const void *b)
{
    uint64_t one = entry_cookie(a);
    uint64_t two = entry_cookie(b);

    return one < two ? -1 : one > two;
}

/* The entries after cookie op->offset, as a zone would give them. */
static int list_zones(struct nfs_zone *zones, uint32_t n, const struct zone_op *op,
                      struct zone_result *result)
{
    struct buf *buf = buf_new((size_t)n * ENTRY_BYTES_MAX);
    struct wire_enc enc;

    if (buf == NULL) {
        return -ENOMEM;
    }
    qsort(zones, n, sizeof *zones, by_cookie);
    enc = wire_enc(buf->data, buf->cap);
    for (uint32_t i = 0; i < n; i++) {
        struct zone_dirent entry = {.cookie = entry_cookie(&zones[i])};

        if (entry.cookie <= op->offset) {
            continue;
        }
        entry.attr.type = ZONE_DIR;
        entry.attr.ino = nfs3_root_entry_fileid(&zones[i]);
        entry.name = slice_borrow(zones[i].slug, strlen(zones[i].slug));
        zone_dirent_put(&enc, &entry);
    }
    ASSERT(!enc.failed);
    buf->len = enc.len;
    result->data = (struct slice){.buf = buf, .data = buf->data, .len = enc.len};
    result->eof = true;
    return 0;
}

/* The zone's root came back: it is what was looked up. */
static void on_zone_root(struct rpc_request *request, const struct zone_result *result)
{
    struct zone_result answer = *result;

    answer.dir = (struct zone_wcc){0};
    answer.dir.has_after = nfs3_root_attr(request, &answer.dir.after) == 0;
    nfs3_reply(request, &answer);
}

/* True if the request goes on with the zone, or has ended. */
static bool look_up(struct rpc_request *request, const struct zone_attr *root,
                    struct zone_result *result)
{
    const struct nfs_backend *backend = request->backend;
    struct nfs3_call *call = &request->nfs3;
    struct slice name = call->op.name;
    struct zone_op op = {.type = ZONE_OP_GETATTR};
    struct nfs_export_rule rule = {0};
    char slug[NFS_SLUG_MAX + 1] = "";

    if ((name.len == 1 && name.data[0] == '.') ||
        (name.len == 2 && memcmp(name.data, "..", 2) == 0)) {
        result->has_obj = true;
        result->obj = *root;
        return false;
    }
    result->outcome = OUT_NOENT;
    if (name.len > NFS_SLUG_MAX) {
        return false;
    }
    memcpy(slug, name.data, name.len);
    if (!backend->zone_by_slug(backend->ctx, slug, &call->found)) {
        return false;
    }
    backend->export_rule(backend->ctx, request->address, &call->found, &rule);
    if (!rule.allowed) {
        call->found = (struct nfs_zone){0};
        result->outcome = OUT_ACCES;
        return false;
    }
    nfs3_cred_map(&request->header, &rule, &op.cred);
    op.obj = nfs3_zone_root_fh(&call->found).obj;
    rpc_request_submit(request, call->found.id, &op, NULL, on_zone_root);
    return true;
}

void nfs3_root_run(struct rpc_request *request)
{
    struct nfs3_call *call = &request->nfs3;
    struct zone_result result = {0};
    struct zone_attr attr;
    uint32_t n;
    struct nfs_zone *zones = nfs3_root_zones(request, &n);

    if (zones == NULL) {
        nfs3_reply_outcome(request, OUT_TRY_LATER);
        return;
    }
    make_attr(zones, n, &attr);
    result.dir.has_after = true;
    result.dir.after = attr;
    if (call->op.type != ZONE_OP_LOOKUP) {
        result.has_obj = true;
        result.obj = attr;
    }
    switch (call->op.type) {
    case ZONE_OP_GETATTR:
    case ZONE_OP_FSSTAT: /* No bytes: each zone has its own. */
        break;
    case ZONE_OP_LOOKUP:
        if (look_up(request, &attr, &result)) {
            goto out;
        }
        break;
    case ZONE_OP_ACCESS:
        result.access = call->op.access &
                        (NFS3_ACCESS_READ | NFS3_ACCESS_LOOKUP | NFS3_ACCESS_EXECUTE);
        break;
    case ZONE_OP_READDIR:
        if (list_zones(zones, n, &call->op, &result) != 0) {
            result.outcome = OUT_TRY_LATER;
        }
        nfs3_listing_finish(request, &result);
        goto out;
    case ZONE_OP_READ:
        result.outcome = OUT_ISDIR;
        break;
    case ZONE_OP_READLINK:
    case ZONE_OP_COMMIT:
        result.outcome = OUT_INVAL;
        break;
    default:
        result.outcome = OUT_ROFS;
        break;
    }
    nfs3_reply(request, &result);
out:
    slice_unref(&result.data);
    free(zones);
}
