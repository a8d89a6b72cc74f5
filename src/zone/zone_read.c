#include "zone/state.h"

#include <errno.h>
#include <string.h>

/* RFC 1813 3.3.4. */
enum access_bit {
    ACCESS_READ = 0x01,
    ACCESS_LOOKUP = 0x02,
    ACCESS_MODIFY = 0x04,
    ACCESS_EXTEND = 0x08,
    ACCESS_DELETE = 0x10,
    ACCESS_EXECUTE = 0x20,
};

struct access_row {
    uint32_t bit;
    unsigned file; /* What the bit needs on anything but a directory; 0: never given. */
    unsigned dir;
};

static const struct access_row access_rows[] = {
    {ACCESS_READ, ZONE_MAY_READ, ZONE_MAY_READ},
    {ACCESS_LOOKUP, 0, ZONE_MAY_EXEC},
    {ACCESS_MODIFY, ZONE_MAY_WRITE, ZONE_MAY_WRITE | ZONE_MAY_EXEC},
    {ACCESS_EXTEND, ZONE_MAY_WRITE, ZONE_MAY_WRITE | ZONE_MAY_EXEC},
    {ACCESS_DELETE, 0, ZONE_MAY_WRITE | ZONE_MAY_EXEC},
    {ACCESS_EXECUTE, ZONE_MAY_EXEC, 0},
};

/* Looks at type, mode and owner only. */
static void read_access(const struct zone_op *op, const struct store_inode *inode,
                        struct zone_result *result)
{
    for (size_t i = 0; i < sizeof access_rows / sizeof access_rows[0]; i++) {
        const struct access_row *row = &access_rows[i];
        unsigned want = inode->type == ZONE_DIR ? row->dir : row->file;

        if ((op->access & row->bit) != 0 && want != 0 &&
            zone_may(inode, &op->cred, want) == 0) {
            result->access |= row->bit;
        }
    }
}

static int read_lookup(struct zone *zone, const struct zone_op *op,
                       const struct store_inode *dir, struct zone_result *result)
{
    struct store_inode child;
    int rv;

    result->has_obj = false; /* Until it is found: the directory is shown in @dir. */
    zone_wcc_end(&result->dir, dir);
    if (dir->type != ZONE_DIR) {
        return OUT_NOTDIR;
    }
    rv = zone_name_check(op->name);
    if (rv != 0) {
        return rv;
    }
    if (zone_may(dir, &op->cred, ZONE_MAY_EXEC) != 0) {
        return OUT_ACCES;
    }
    if (zone_name_is_dot(op->name)) {
        child = *dir;
    } else if (zone_name_is_dotdot(op->name)) {
        rv = zone_get_ino(zone, dir->parent, &child);
    } else {
        rv = zone_child(zone, dir->ino, op->name, &child);
    }
    if (rv == 0) {
        zone_show_obj(result, &child);
    }
    return rv;
}

/* Bytes of the file, whose range is clipped, into the result. */
static int read_bytes(struct zone *zone, const struct store_inode *inode, uint64_t offset,
                      size_t len, struct zone_result *result)
{
    struct buf *buf = NULL;
    uint64_t bad = 0;
    int rv;

    if (len == 0) {
        return 0;
    }
    rv = store_data_read(zone->store, inode->ino, offset, len, &buf, &bad);
    if (rv == OUT_IO) {
        result->bad_block = bad; /* The store has told of it, the driver will. */
    }
    if (rv != 0) {
        return rv;
    }
    result->data = (struct slice){.buf = buf, .data = buf->data, .len = buf->len};
    return 0;
}

static int read_link(struct zone *zone, const struct store_inode *inode,
                     struct zone_result *result)
{
    if (inode->type != ZONE_LNK) {
        return OUT_INVAL;
    }
    if (inode->size > ZONE_PATH_MAX) {
        return -EUCLEAN;
    }
    return read_bytes(zone, inode, 0, (size_t)inode->size, result);
}

static int read_file(struct zone *zone, const struct zone_op *op,
                     const struct store_inode *inode, struct zone_result *result)
{
    uint64_t len = op->count > ZONE_IO_MAX ? ZONE_IO_MAX : op->count;
    uint64_t left;
    int rv;

    if (inode->type != ZONE_REG) {
        return inode->type == ZONE_DIR ? OUT_ISDIR : OUT_INVAL;
    }
    if (zone_may_data(inode, &op->cred, ZONE_MAY_READ) != 0) {
        return OUT_ACCES;
    }
    left = op->offset < inode->size ? inode->size - op->offset : 0;
    len = len < left ? len : left;
    rv = read_bytes(zone, inode, op->offset, (size_t)len, result);
    if (rv == 0) {
        result->count = (uint32_t)len;
        result->eof = len == left;
    }
    return rv;
}

static int read_list(struct zone *zone, const struct zone_op *op,
                     const struct store_inode *dir, struct zone_result *result)
{
    if (dir->type != ZONE_DIR) {
        return OUT_NOTDIR;
    }
    zone_wcc_end(&result->dir, dir);
    if (zone_may(dir, &op->cred, ZONE_MAY_READ) != 0) {
        return OUT_ACCES;
    }
    return zone_read_dir(zone, op, dir, result);
}

static void read_space(const struct zone *zone, struct zone_result *result)
{
    uint64_t quota = zone->number[ZN_QUOTA];
    uint64_t used = zone->number[ZN_USED];

    result->total_bytes = quota;
    result->free_bytes = used < quota ? quota - used : 0;
    result->used_inodes = zone->number[ZN_INODES];
}

/* RFC 1813 3.3.21: everything acknowledged is durable already. */
static int read_commit(const struct zone_attr *attr, struct zone_result *result)
{
    result->dir = (struct zone_wcc){.has_before = true,
                                    .has_after = true,
                                    .before_size = attr->size,
                                    .before_mtime = attr->mtime,
                                    .before_ctime = attr->ctime,
                                    .after = *attr};
    if (attr->type != ZONE_REG) {
        return attr->type == ZONE_DIR ? OUT_ISDIR : OUT_INVAL;
    }
    return 0;
}

/* Reads about one object, which the result shows whatever the outcome. */
static int read_object(struct zone *zone, const struct zone_op *op,
                       struct zone_result *result)
{
    struct store_inode inode;
    int rv = zone_get(zone, op->obj, &inode);

    if (rv != 0) {
        return rv;
    }
    zone_show_obj(result, &inode);
    switch ((int)op->type) {
    case ZONE_OP_GETATTR:
        return 0;
    case ZONE_OP_LOOKUP:
        return read_lookup(zone, op, &inode, result);
    case ZONE_OP_ACCESS:
        read_access(op, &inode, result);
        return 0;
    case ZONE_OP_READLINK:
        return read_link(zone, &inode, result);
    case ZONE_OP_READ:
        return read_file(zone, op, &inode, result);
    case ZONE_OP_READDIR:
        return read_list(zone, op, &inode, result);
    case ZONE_OP_FSSTAT:
        read_space(zone, result);
        return 0;
    case ZONE_OP_COMMIT:
        return read_commit(&result->obj, result);
    default:
        return OUT_NOTSUPP;
    }
}

bool zone_read_attr(const struct zone_op *op, const struct zone_attr *attr,
                    uint64_t index, struct zone_result *result)
{
    const struct store_inode inode = {.type = (uint8_t)attr->type,
                                      .mode = attr->mode,
                                      .uid = attr->uid,
                                      .gid = attr->gid};

    if (op->obj.ino != attr->ino || op->obj.gen != attr->gen) {
        return false;
    }
    *result = (struct zone_result){.index = index, .has_obj = true, .obj = *attr};
    switch ((int)op->type) {
    case ZONE_OP_GETATTR:
        return true;
    case ZONE_OP_ACCESS:
        read_access(op, &inode, result);
        return true;
    case ZONE_OP_COMMIT:
        result->outcome = read_commit(attr, result);
        return true;
    default:
        return false;
    }
}

int zone_read(struct zone *zone, const struct zone_op *op, struct zone_result *result)
{
    int rv;

    memset(result, 0, sizeof *result);
    if (store_hold_is_lost(zone->store)) {
        (void)zone_flush(zone); /* The rows are older than what was shown. */
    }
    if (zone->broken || store_hold_is_lost(zone->store)) {
        return -EIO;
    }
    result->index = zone->number[ZN_APPLIED];
    if (zone->number[ZN_APPLIED] < zone->serve_from) {
        result->outcome = OUT_TRY_LATER; /* Pulled data is newer than these rows. */
        return 0;
    }
    if (op->type == ZONE_OP_KV_GET) {
        rv = zone_read_kv(zone, op, result);
    } else {
        rv = read_object(zone, op, result);
    }
    if (rv < 0) {
        zone_result_clear(result);
        return rv;
    }
    result->outcome = rv;
    return 0;
}
