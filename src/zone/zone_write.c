#include "zone/state.h"

#include <errno.h>

/* Hand the pieces to the store; the inode's row is not put yet. */
static int put_pieces(struct apply *apply, const struct store_inode *inode)
{
    const struct zone_op *op = apply->op;
    uint32_t n = zone_op_pieces(op->offset, op->data.len);
    uint64_t size = inode->size;

    for (uint32_t i = 0; i < n; i++) {
        struct store_piece piece = {.ino = inode->ino, .version = apply->index};
        size_t at;
        size_t len;
        int rv;

        zone_op_piece(op->offset, op->data.len, i, &at, &len);
        piece.offset = op->offset + at;
        piece.len = (uint32_t)len;
        piece.crc = op->crc[i];
        piece.old_size = size;
        if (apply->place.segment != 0) {
            piece.place = apply->place;
            piece.place.offset += at;
        }
        if (op->data.data != NULL) {
            piece.data = op->data;
            piece.data.data += at;
            piece.data.len = len;
        }
        rv = store_data_write(apply->zone->store, &piece);
        if (rv != 0) {
            return rv > 0 ? -EIO : rv;
        }
        if (piece.offset + len > size) {
            size = piece.offset + len;
        }
    }
    return 0;
}

static int write_check(const struct zone_op *op, const struct store_inode *inode)
{
    if (inode->type != ZONE_REG) {
        return inode->type == ZONE_DIR ? OUT_ISDIR : OUT_INVAL;
    }
    if (zone_may_data(inode, &op->cred, ZONE_MAY_WRITE) != 0) {
        return OUT_ACCES;
    }
    if (op->offset > ZONE_FILE_SIZE_MAX ||
        op->data.len > ZONE_FILE_SIZE_MAX - op->offset) {
        return OUT_FBIG;
    }
    return 0;
}

/* RFC 1813 3.3.7. */
int zone_run_write(struct apply *apply)
{
    const struct zone_op *op = apply->op;
    struct zone *zone = apply->zone;
    struct store_inode inode;
    uint64_t used;
    int rv;

    rv = zone_get(zone, op->obj, &inode);
    if (rv != 0) {
        return rv;
    }
    zone_wcc_begin(&apply->result->dir, &inode);
    rv = write_check(op, &inode);
    if (rv != 0) {
        return rv;
    }
    if (op->data.len > 0) {
        used = zone_used_written(&inode, op->offset, op->data.len);
        rv = zone_room(zone, used > inode.used ? used - inode.used : 0, inode.ino);
        if (rv != 0) {
            return rv;
        }
        rv = put_pieces(apply, &inode);
        if (rv != 0) {
            return rv;
        }
        zone_charge(zone, inode.used, used);
        inode.used = used;
        if (op->offset + op->data.len > inode.size) {
            inode.size = op->offset + op->data.len;
        }
        inode.mode = zone_mode_written(&inode, &op->cred);
        inode.mtime = apply->now_ns;
        inode.ctime = apply->now_ns;
        inode.verf = 0;
        inode.version = apply->index;
        rv = store_inode_put(zone->store, &inode);
        if (rv != 0) {
            return rv;
        }
    }
    apply->result->count = (uint32_t)op->data.len;
    zone_show_obj(apply->result, &inode);
    zone_wcc_end(&apply->result->dir, &inode);
    return 0;
}
