#include "zone/state.h"

/* The directory of @op->name and what the name stands for, if it may be removed. */
static int find_victim(struct apply *apply, struct store_inode *dir,
                       struct store_inode *victim)
{
    const struct zone_op *op = apply->op;
    int rv;

    rv = zone_get_dir(apply->zone, op->obj, dir, &apply->result->dir);
    if (rv != 0) {
        return rv;
    }
    rv = zone_name_check(op->name);
    if (rv != 0) {
        return rv;
    }
    if (zone_may(dir, &op->cred, ZONE_MAY_EXEC) != 0) {
        return OUT_ACCES;
    }
    if (zone_name_is_dot(op->name)) {
        return OUT_INVAL;
    }
    if (zone_name_is_dotdot(op->name)) { /* RFC 1813 3.3.13. */
        return op->type == ZONE_OP_RMDIR ? OUT_EXIST : OUT_INVAL;
    }
    rv = zone_child(apply->zone, dir->ino, op->name, victim);
    if (rv != 0) {
        return rv;
    }
    return zone_may_remove(dir, victim, &op->cred);
}

static int remove_victim(struct apply *apply, struct store_inode *dir,
                         struct store_inode *victim)
{
    int rv;

    rv = zone_name_del(apply, dir, apply->op->name);
    if (rv != 0) {
        return rv;
    }
    rv = zone_unlink(apply, victim);
    if (rv != 0) {
        return rv;
    }
    rv = store_inode_put(apply->zone->store, dir);
    if (rv != 0) {
        return rv;
    }
    zone_wcc_end(&apply->result->dir, dir);
    return 0;
}

/* RFC 1813 3.3.12. */
int zone_run_remove(struct apply *apply)
{
    struct store_inode dir;
    struct store_inode victim;
    int rv;

    rv = find_victim(apply, &dir, &victim);
    if (rv != 0) {
        return rv;
    }
    if (victim.type == ZONE_DIR) {
        return OUT_ISDIR;
    }
    return remove_victim(apply, &dir, &victim);
}

/* RFC 1813 3.3.13. */
int zone_run_rmdir(struct apply *apply)
{
    struct store_inode dir;
    struct store_inode victim;
    int rv;

    rv = find_victim(apply, &dir, &victim);
    if (rv != 0) {
        return rv;
    }
    if (victim.type != ZONE_DIR) {
        return OUT_NOTDIR;
    }
    if (victim.entries != 0) {
        return OUT_NOTEMPTY;
    }
    dir.nlink--;
    return remove_victim(apply, &dir, &victim);
}
