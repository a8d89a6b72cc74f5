#include "zone/state.h"

static int link_check(struct apply *apply, const struct store_inode *file,
                      const struct store_inode *dir)
{
    const struct zone_op *op = apply->op;
    struct store_inode other;
    int rv;

    rv = zone_name_check(op->to_name);
    if (rv != 0) {
        return rv;
    }
    if (zone_may(dir, &op->cred, ZONE_MAY_EXEC) != 0) {
        return OUT_ACCES;
    }
    if (zone_name_is_dot(op->to_name) || zone_name_is_dotdot(op->to_name)) {
        return OUT_EXIST;
    }
    rv = zone_child(apply->zone, dir->ino, op->to_name, &other);
    if (rv != OUT_NOENT) {
        return rv == 0 ? OUT_EXIST : rv;
    }
    if (zone_may(dir, &op->cred, ZONE_MAY_WRITE) != 0) {
        return OUT_ACCES;
    }
    if (file->nlink == 0) { /* It is gone; only its content is still kept. */
        return OUT_NOENT;
    }
    return file->nlink >= ZONE_LINK_MAX ? OUT_MLINK : 0;
}

/* RFC 1813 3.3.15. */
int zone_run_link(struct apply *apply)
{
    const struct zone_op *op = apply->op;
    struct zone *zone = apply->zone;
    struct store_inode file;
    struct store_inode dir;
    int rv;

    rv = zone_get(zone, op->obj, &file);
    if (rv != 0) {
        return rv;
    }
    zone_show_obj(apply->result, &file);
    rv = zone_get_dir(zone, op->to, &dir, &apply->result->to);
    if (rv != 0) {
        return rv;
    }
    if (file.type == ZONE_DIR) {
        return OUT_INVAL; /* RFC 1813 3.3.15 has nothing closer. */
    }
    rv = link_check(apply, &file, &dir);
    if (rv != 0) {
        return rv;
    }
    rv = zone_room(zone, ZONE_CHARGE_ROW, 0);
    if (rv != 0) {
        return rv;
    }
    rv = zone_name_add(apply, &dir, op->to_name, file.ino);
    if (rv != 0) {
        return rv;
    }
    file.nlink++;
    file.ctime = apply->now_ns;
    file.verf = 0;
    file.version = apply->index;
    rv = store_inode_put(zone->store, &file);
    if (rv != 0) {
        return rv;
    }
    rv = store_inode_put(zone->store, &dir);
    if (rv != 0) {
        return rv;
    }
    zone_show_obj(apply->result, &file);
    zone_wcc_end(&apply->result->to, &dir);
    return 0;
}
