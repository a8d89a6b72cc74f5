#include "nfs/nfs3_xdr.h"

#include "nfs/nfs3_proto.h"
#include "nfs/rpc_record.h"

struct slice nfs3_get_fh(struct rpc_xdr *xdr)
{
    return rpc_get_opaque(xdr, NFS3_FHSIZE);
}

struct slice nfs3_get_name(struct rpc_xdr *xdr)
{
    return rpc_get_opaque(xdr, RPC_RECORD_MAX);
}

struct zone_time nfs3_get_time(struct rpc_xdr *xdr)
{
    struct zone_time time;

    time.sec = rpc_get_u32(xdr);
    time.nsec = rpc_get_u32(xdr);
    return time;
}

static uint32_t get_set_u32(struct rpc_xdr *xdr, struct zone_sattr *sattr, uint32_t bit)
{
    if (!rpc_get_bool(xdr)) {
        return 0;
    }
    sattr->set |= bit;
    return rpc_get_u32(xdr);
}

static enum zone_set_time get_set_time(struct rpc_xdr *xdr, struct zone_time *time)
{
    uint32_t how = rpc_get_u32(xdr);

    switch (how) {
    case ZONE_TIME_KEEP:
    case ZONE_TIME_SERVER:
        return (enum zone_set_time)how;
    case ZONE_TIME_CLIENT:
        *time = nfs3_get_time(xdr);
        return ZONE_TIME_CLIENT;
    default:
        xdr->failed = true;
        return ZONE_TIME_KEEP;
    }
}

void nfs3_get_sattr(struct rpc_xdr *xdr, struct zone_sattr *sattr)
{
    *sattr = (struct zone_sattr){0};
    sattr->mode = get_set_u32(xdr, sattr, ZONE_SET_MODE) & 07777;
    sattr->uid = get_set_u32(xdr, sattr, ZONE_SET_UID);
    sattr->gid = get_set_u32(xdr, sattr, ZONE_SET_GID);
    if (rpc_get_bool(xdr)) {
        sattr->set |= ZONE_SET_SIZE;
        sattr->size = rpc_get_u64(xdr);
    }
    sattr->set_atime = get_set_time(xdr, &sattr->atime);
    sattr->set_mtime = get_set_time(xdr, &sattr->mtime);
}

void nfs3_put_time(struct rpc_xdr *xdr, struct zone_time time)
{
    int64_t sec = time.sec < 0 ? 0 : time.sec;

    rpc_put_u32(xdr, sec > UINT32_MAX ? UINT32_MAX : (uint32_t)sec);
    rpc_put_u32(xdr, time.nsec);
}

void nfs3_put_fattr(struct rpc_xdr *xdr, const struct zone_attr *attr, uint64_t fsid)
{
    rpc_put_u32(xdr, (uint32_t)attr->type);
    rpc_put_u32(xdr, attr->mode);
    rpc_put_u32(xdr, attr->nlink);
    rpc_put_u32(xdr, attr->uid);
    rpc_put_u32(xdr, attr->gid);
    rpc_put_u64(xdr, attr->size);
    rpc_put_u64(xdr, attr->used);
    rpc_put_u32(xdr, attr->rdev_major);
    rpc_put_u32(xdr, attr->rdev_minor);
    rpc_put_u64(xdr, fsid);
    rpc_put_u64(xdr, attr->ino);
    nfs3_put_time(xdr, attr->atime);
    nfs3_put_time(xdr, attr->mtime);
    nfs3_put_time(xdr, attr->ctime);
}

void nfs3_put_post_op_attr(struct rpc_xdr *xdr, const struct zone_attr *attr,
                           uint64_t fsid)
{
    rpc_put_bool(xdr, attr != NULL);
    if (attr != NULL) {
        nfs3_put_fattr(xdr, attr, fsid);
    }
}

void nfs3_put_wcc(struct rpc_xdr *xdr, const struct zone_wcc *wcc, uint64_t fsid)
{
    rpc_put_bool(xdr, wcc->has_before);
    if (wcc->has_before) {
        rpc_put_u64(xdr, wcc->before_size);
        nfs3_put_time(xdr, wcc->before_mtime);
        nfs3_put_time(xdr, wcc->before_ctime);
    }
    nfs3_put_post_op_attr(xdr, wcc->has_after ? &wcc->after : NULL, fsid);
}

void nfs3_put_post_op_fh(struct rpc_xdr *xdr, const uint8_t fh[NFS3_FH_BYTES])
{
    rpc_put_bool(xdr, fh != NULL);
    if (fh != NULL) {
        rpc_put_opaque(xdr, fh, NFS3_FH_BYTES);
    }
}
