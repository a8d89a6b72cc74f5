/*
 * Which inodes an op is about, told from the op alone. Whoever answers reads while ops
 * are under way waits for those that touch what is asked for; "anything" is always safe.
 *
 * What is not counted: the inode that an op makes (nobody has its handle before; its
 * generation is the entry's index, see zone_create.c), the zone's own numbers (FSSTAT
 * depends on anything), and files without a name, which any op may purge: their
 * attributes say so (nlink 0).
 */
#include "zone/op.h"

struct zone_handle zone_op_reads(const struct zone_op *op)
{
    switch (op->type) {
    case ZONE_OP_GETATTR:
    case ZONE_OP_ACCESS:
    case ZONE_OP_READLINK:
    case ZONE_OP_READ:
    case ZONE_OP_COMMIT:
        return op->obj;
    default: /* A name's inode is not known before it is looked up. */
        return (struct zone_handle){0};
    }
}

uint32_t zone_op_touches(const struct zone_op *op, uint64_t ino[ZONE_TOUCH_MAX])
{
    switch (op->type) {
    case ZONE_OP_CREATE:
        if (op->how == ZONE_UNCHECKED && (op->sattr.set & ZONE_SET_SIZE) != 0) {
            return ZONE_TOUCH_ANY; /* It may cut a file that is there. */
        }
        ino[0] = op->obj.ino;
        return 1;
    case ZONE_OP_SETATTR:
    case ZONE_OP_WRITE:
    case ZONE_OP_MKDIR:
    case ZONE_OP_SYMLINK:
    case ZONE_OP_MKNOD:
        ino[0] = op->obj.ino;
        return 1;
    case ZONE_OP_LINK:
        ino[0] = op->obj.ino;
        ino[1] = op->to.ino;
        return 2;
    case ZONE_OP_KV:
    case ZONE_OP_SET_QUOTA:
        return 0;
    default: /* REMOVE, RMDIR, RENAME: what loses its name; and whatever is new. */
        return ZONE_TOUCH_ANY;
    }
}

uint32_t zone_entry_touches(struct slice head, struct slice payload,
                            uint64_t ino[ZONE_TOUCH_MAX])
{
    struct zone_entry entry;
    struct zone_op op;

    if (zone_entry_decode(head.data, head.len, &entry) != 0 ||
        zone_op_decode(entry.op.data, entry.op.len, payload, &op) != 0) {
        return ZONE_TOUCH_ANY;
    }
    return zone_op_touches(&op, ino);
}
