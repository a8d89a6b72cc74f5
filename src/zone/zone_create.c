#include "base/crc32c.h"
#include "base/wire.h"
#include "zone/state.h"

#include <errno.h>
#include <sys/stat.h>

/* The directory and its new name, checked; whether somebody has it is in *@child. */
struct birth {
    struct store_inode dir;
    struct store_inode child;
    bool exists;
};

static int birth_begin(struct apply *apply, struct birth *birth)
{
    const struct zone_op *op = apply->op;
    int rv;

    rv = zone_get_dir(apply->zone, op->obj, &birth->dir, &apply->result->dir);
    if (rv != 0) {
        return rv;
    }
    rv = zone_name_check(op->name);
    if (rv != 0) {
        return rv;
    }
    if (zone_may(&birth->dir, &op->cred, ZONE_MAY_EXEC) != 0) {
        return OUT_ACCES;
    }
    if (zone_name_is_dot(op->name) || zone_name_is_dotdot(op->name)) {
        return OUT_EXIST;
    }
    rv = zone_child(apply->zone, birth->dir.ino, op->name, &birth->child);
    birth->exists = rv == 0;
    return rv == OUT_NOENT ? 0 : rv;
}

/* Owner, group and mode as Linux gives them, with the set-gid directory's group. */
static void set_owner(const struct zone_op *op, const struct store_inode *dir,
                      struct store_inode *child)
{
    const struct zone_sattr *sattr = &op->sattr;

    child->uid = op->cred.uid;
    child->gid = op->cred.gid;
    if ((dir->mode & S_ISGID) != 0) {
        child->gid = dir->gid;
        if (child->type == ZONE_DIR) {
            child->mode |= S_ISGID;
        }
    }
    if (op->cred.uid == 0) { /* Nobody else may give files away. */
        child->uid = (sattr->set & ZONE_SET_UID) != 0 ? sattr->uid : child->uid;
        child->gid = (sattr->set & ZONE_SET_GID) != 0 ? sattr->gid : child->gid;
    } else if (child->type != ZONE_DIR && (child->mode & S_IXGRP) != 0 &&
               !zone_in_group(&op->cred, child->gid)) {
        child->mode &= ~(uint32_t)S_ISGID;
    }
}

static int set_times(struct apply *apply, struct store_inode *child)
{
    const struct zone_sattr *sattr = &apply->op->sattr;
    int rv = 0;

    child->atime = apply->now_ns;
    child->mtime = apply->now_ns;
    child->ctime = apply->now_ns;
    if (sattr->set_atime == ZONE_TIME_CLIENT) {
        rv = zone_time_to_ns(sattr->atime, &child->atime);
    }
    if (rv == 0 && sattr->set_mtime == ZONE_TIME_CLIENT) {
        rv = zone_time_to_ns(sattr->mtime, &child->mtime);
    }
    return rv;
}

/* Everything that can refuse comes first: permission, times, quota. The numbers are
 * taken, the rows not yet written. @data: bytes that the child is charged beyond rows. */
static int child_prepare(struct apply *apply, struct birth *birth, enum zone_type type,
                         uint64_t data)
{
    const struct zone_op *op = apply->op;
    struct store_inode *child = &birth->child;
    uint32_t mode = type == ZONE_DIR ? 0755 : 0644;
    int rv;

    if (birth->exists) {
        return OUT_EXIST;
    }
    if (zone_may(&birth->dir, &op->cred, ZONE_MAY_WRITE | ZONE_MAY_EXEC) != 0) {
        return OUT_ACCES;
    }
    *child = (struct store_inode){
        .type = (uint8_t)type,
        .mode = (op->sattr.set & ZONE_SET_MODE) != 0 ? op->sattr.mode : mode,
        .nlink = type == ZONE_DIR ? 2 : 1,
        .parent = type == ZONE_DIR ? birth->dir.ino : 0,
        .used = data,
        .version = apply->index,
        .gen = apply->index,
    };
    if (type == ZONE_LNK) {
        child->mode = 0777;
    }
    set_owner(op, &birth->dir, child);
    rv = set_times(apply, child);
    if (rv != 0) {
        return rv;
    }
    rv = zone_room(apply->zone, data + 2 * ZONE_CHARGE_ROW, 0);
    if (rv != 0) {
        return rv;
    }
    child->ino = apply->zone->number[ZN_NEXT_INO]++;
    return 0;
}

/* Write the rows of the child, its name and its directory. */
static int child_commit(struct apply *apply, struct birth *birth)
{
    struct zone *zone = apply->zone;
    struct store_inode *child = &birth->child;
    int rv;

    zone_charge(zone, 0, child->used + ZONE_CHARGE_ROW);
    zone->number[ZN_INODES]++;
    rv = store_inode_put(zone->store, child);
    if (rv != 0) {
        return rv;
    }
    rv = zone_name_add(apply, &birth->dir, apply->op->name, child->ino);
    if (rv != 0) {
        return rv;
    }
    if (child->type == ZONE_DIR) {
        birth->dir.nlink++;
    }
    rv = store_inode_put(zone->store, &birth->dir);
    if (rv != 0) {
        return rv;
    }
    zone_show_obj(apply->result, child);
    zone_wcc_end(&apply->result->dir, &birth->dir);
    return 0;
}

/* UNCHECKED on a file that is there: only its size is set, as Linux does it. */
static int reuse(struct apply *apply, struct birth *birth)
{
    const struct zone_op *op = apply->op;
    int rv = 0;

    if (birth->child.type != ZONE_REG) {
        return OUT_EXIST;
    }
    if ((op->sattr.set & ZONE_SET_SIZE) != 0) {
        if (op->sattr.size > ZONE_FILE_SIZE_MAX) {
            return OUT_FBIG;
        }
        if (zone_may_data(&birth->child, &op->cred, ZONE_MAY_WRITE) != 0) {
            return OUT_ACCES;
        }
        rv = zone_resize(apply, &birth->child, op->sattr.size);
        if (rv == 0) {
            rv = store_inode_put(apply->zone->store, &birth->child);
        }
    }
    if (rv == 0) {
        zone_show_obj(apply->result, &birth->child);
    }
    return rv;
}

/* The verifier as a row keeps it, where 0 means none. */
static uint64_t verf_of(const struct zone_op *op)
{
    uint64_t verf = wire_load_u64(op->verf);

    return verf == 0 ? UINT64_MAX : verf;
}

static int create_exclusive(struct apply *apply, struct birth *birth)
{
    int rv;

    if (birth->exists && birth->child.type == ZONE_REG &&
        birth->child.verf == verf_of(apply->op)) {
        zone_show_obj(apply->result, &birth->child);
        return 0; /* The same call again: RFC 1813 3.3.8. */
    }
    rv = child_prepare(apply, birth, ZONE_REG, 0);
    if (rv != 0) {
        return rv;
    }
    birth->child.verf = verf_of(apply->op);
    if ((apply->op->sattr.set & ZONE_SET_MODE) == 0) {
        birth->child.mode = 0; /* Until the creator sets its attributes. */
    }
    return child_commit(apply, birth);
}

int zone_run_create(struct apply *apply)
{
    const struct zone_op *op = apply->op;
    struct birth birth;
    int rv;

    rv = birth_begin(apply, &birth);
    if (rv != 0) {
        return rv;
    }
    if (op->how == ZONE_EXCLUSIVE) {
        return create_exclusive(apply, &birth);
    }
    if (op->how == ZONE_UNCHECKED && birth.exists) {
        return reuse(apply, &birth);
    }
    if ((op->sattr.set & ZONE_SET_SIZE) != 0 && op->sattr.size > ZONE_FILE_SIZE_MAX) {
        return OUT_FBIG;
    }
    rv = child_prepare(apply, &birth, ZONE_REG, 0);
    if (rv != 0) {
        return rv;
    }
    if ((op->sattr.set & ZONE_SET_SIZE) != 0 && op->sattr.size > 0) {
        rv = store_data_resize(apply->zone->store, birth.child.ino, 0, op->sattr.size,
                               apply->index);
        if (rv != 0) {
            return rv > 0 ? -EIO : rv;
        }
        birth.child.size = op->sattr.size;
    }
    return child_commit(apply, &birth);
}

int zone_run_mkdir(struct apply *apply)
{
    struct birth birth;
    int rv;

    rv = birth_begin(apply, &birth);
    if (rv != 0) {
        return rv;
    }
    rv = child_prepare(apply, &birth, ZONE_DIR, 0);
    if (rv != 0) {
        return rv;
    }
    return child_commit(apply, &birth);
}

/* The target is the link's data, as short files are: in the row, not in the journal. */
static int put_target(struct apply *apply, struct store_inode *child)
{
    struct slice target = apply->op->to_name;
    struct store_piece piece = {
        .ino = child->ino,
        .len = (uint32_t)target.len,
        .crc = crc32c(0, target.data, target.len),
        .data = target,
        .version = apply->index,
    };
    int rv = store_data_write(apply->zone->store, &piece);

    child->size = target.len;
    return rv > 0 ? -EIO : rv;
}

int zone_run_symlink(struct apply *apply)
{
    struct slice target = apply->op->to_name;
    struct birth birth;
    int rv;

    rv = birth_begin(apply, &birth);
    if (rv != 0) {
        return rv;
    }
    if (target.len == 0) {
        return OUT_INVAL;
    }
    rv = child_prepare(apply, &birth, ZONE_LNK,
                       zone_round_up(target.len, ZONE_CHARGE_ROW));
    if (rv != 0) {
        return rv;
    }
    rv = put_target(apply, &birth.child);
    if (rv != 0) {
        return rv;
    }
    return child_commit(apply, &birth);
}

int zone_run_mknod(struct apply *apply)
{
    const struct zone_op *op = apply->op;
    bool device = op->node_type == ZONE_BLK || op->node_type == ZONE_CHR;
    struct birth birth;
    int rv;

    rv = birth_begin(apply, &birth);
    if (rv != 0) {
        return rv;
    }
    if (!device && op->node_type != ZONE_SOCK && op->node_type != ZONE_FIFO) {
        return OUT_BADTYPE;
    }
    if (birth.exists) {
        return OUT_EXIST;
    }
    if (device && op->cred.uid != 0) {
        return OUT_PERM;
    }
    rv = child_prepare(apply, &birth, op->node_type, 0);
    if (rv != 0) {
        return rv;
    }
    if (device) {
        birth.child.rdev_major = op->rdev_major;
        birth.child.rdev_minor = op->rdev_minor;
    }
    return child_commit(apply, &birth);
}
