#include "zone/state.h"

#include <errno.h>
#include <sys/stat.h>

int zone_resize(struct apply *apply, struct store_inode *inode, uint64_t size)
{
    struct zone *zone = apply->zone;
    uint64_t used = zone_used_resized(inode, size);
    int rv;

    if (size != inode->size) {
        rv = store_data_resize(zone->store, inode->ino, inode->size, size, apply->index);
        if (rv != 0) {
            return rv > 0 ? -EIO : rv;
        }
    }
    zone_charge(zone, inode->used, used);
    inode->used = used;
    inode->size = size;
    inode->mode = zone_mode_written(inode, &apply->op->cred);
    inode->mtime = apply->now_ns;
    inode->ctime = apply->now_ns;
    inode->verf = 0;
    inode->version = apply->index;
    return 0;
}

static int size_check(const struct zone_op *op, const struct store_inode *inode)
{
    if (inode->type != ZONE_REG) {
        return inode->type == ZONE_DIR ? OUT_ISDIR : OUT_INVAL;
    }
    if (zone_may_data(inode, &op->cred, ZONE_MAY_WRITE) != 0) {
        return OUT_ACCES;
    }
    return op->sattr.size > ZONE_FILE_SIZE_MAX ? OUT_FBIG : 0;
}

/* Ownership goes with uid 0, except a group of one's own to one's own file. */
static int owner_check(const struct zone_op *op, const struct store_inode *inode)
{
    const struct zone_sattr *sattr = &op->sattr;
    bool owner = op->cred.uid == inode->uid;

    if (op->cred.uid == 0) {
        return 0;
    }
    if ((sattr->set & ZONE_SET_MODE) != 0 && !owner) {
        return OUT_PERM;
    }
    if ((sattr->set & ZONE_SET_UID) != 0 && !(owner && sattr->uid == inode->uid)) {
        return OUT_PERM;
    }
    if ((sattr->set & ZONE_SET_GID) != 0 &&
        !(owner && (sattr->gid == inode->gid || zone_in_group(&op->cred, sattr->gid)))) {
        return OUT_PERM;
    }
    return 0;
}

static int time_check(const struct zone_op *op, const struct store_inode *inode)
{
    const struct zone_sattr *sattr = &op->sattr;
    int64_t ns;

    if (sattr->set_atime == ZONE_TIME_KEEP && sattr->set_mtime == ZONE_TIME_KEEP) {
        return 0;
    }
    if ((sattr->set_atime == ZONE_TIME_CLIENT && zone_time_to_ns(sattr->atime, &ns)) ||
        (sattr->set_mtime == ZONE_TIME_CLIENT && zone_time_to_ns(sattr->mtime, &ns))) {
        return OUT_INVAL;
    }
    if (op->cred.uid == 0 || op->cred.uid == inode->uid) {
        return 0;
    }
    if (sattr->set_atime == ZONE_TIME_CLIENT || sattr->set_mtime == ZONE_TIME_CLIENT) {
        return OUT_PERM;
    }
    return zone_may(inode, &op->cred, ZONE_MAY_WRITE);
}

static int setattr_check(const struct apply *apply, const struct store_inode *inode)
{
    const struct zone_op *op = apply->op;
    struct zone_time ctime = zone_time_of(inode->ctime);
    int rv;

    if (op->guarded && (ctime.sec != op->guard.sec || ctime.nsec != op->guard.nsec)) {
        return OUT_NOT_SYNC;
    }
    rv = owner_check(op, inode);
    if (rv != 0) {
        return rv;
    }
    rv = time_check(op, inode);
    if (rv != 0) {
        return rv;
    }
    return (op->sattr.set & ZONE_SET_SIZE) != 0 ? size_check(op, inode) : 0;
}

/* Who gives a file away must not leave a set-id bit behind. Group-id without group
 * execution is a mark for locking, not a privilege. */
static uint32_t mode_chowned(uint32_t mode)
{
    mode &= ~(uint32_t)S_ISUID;
    return (mode & S_IXGRP) != 0 ? mode & ~(uint32_t)S_ISGID : mode;
}

static void set_owner_and_mode(const struct zone_op *op, struct store_inode *inode)
{
    const struct zone_sattr *sattr = &op->sattr;

    if ((sattr->set & ZONE_SET_UID) != 0) {
        inode->uid = sattr->uid;
    }
    if ((sattr->set & ZONE_SET_GID) != 0) {
        inode->gid = sattr->gid;
    }
    if ((sattr->set & ZONE_SET_MODE) != 0) {
        inode->mode = sattr->mode;
        if (op->cred.uid != 0 && !zone_in_group(&op->cred, inode->gid)) {
            inode->mode &= ~(uint32_t)S_ISGID;
        }
    }
    if ((sattr->set & (ZONE_SET_UID | ZONE_SET_GID)) != 0 && inode->type != ZONE_DIR) {
        inode->mode = mode_chowned(inode->mode);
    }
}

static void set_time(int64_t now_ns, enum zone_set_time how, struct zone_time time,
                     int64_t *ns)
{
    if (how == ZONE_TIME_SERVER) {
        *ns = now_ns;
    } else if (how == ZONE_TIME_CLIENT) {
        (void)zone_time_to_ns(time, ns); /* Was checked. */
    }
}

/* RFC 1813 3.3.2: all of it or nothing. */
int zone_run_setattr(struct apply *apply)
{
    const struct zone_op *op = apply->op;
    const struct zone_sattr *sattr = &op->sattr;
    struct store_inode inode;
    int rv;

    rv = zone_get(apply->zone, op->obj, &inode);
    if (rv != 0) {
        return rv;
    }
    zone_wcc_begin(&apply->result->dir, &inode);
    rv = setattr_check(apply, &inode);
    if (rv != 0) {
        return rv;
    }
    if ((sattr->set & ZONE_SET_SIZE) != 0) {
        rv = zone_resize(apply, &inode, sattr->size);
        if (rv != 0) {
            return rv;
        }
    }
    set_owner_and_mode(op, &inode);
    set_time(apply->now_ns, sattr->set_atime, sattr->atime, &inode.atime);
    set_time(apply->now_ns, sattr->set_mtime, sattr->mtime, &inode.mtime);
    inode.ctime = apply->now_ns;
    inode.verf = 0; /* The creator has its handle: no retry will come. */
    inode.version = apply->index;
    rv = store_inode_put(apply->zone->store, &inode);
    if (rv != 0) {
        return rv;
    }
    zone_show_obj(apply->result, &inode);
    zone_wcc_end(&apply->result->dir, &inode);
    return 0;
}
