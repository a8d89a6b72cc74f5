#include "base/wire.h"
#include "zone/state.h"

#include <errno.h>

/* Bytes of a record around its name, as zone_dirent_put writes it. */
enum { RECORD_BYTES = 8 + 101 + 4 };

struct listing {
    struct zone *zone;
    struct wire_enc enc;
    bool cut;
};

static int list_one(void *ctx, const struct store_dirent *entry)
{
    struct listing *listing = ctx;
    struct zone_dirent record = {.cookie = entry->cookie, .name = entry->name};
    struct store_inode inode;
    size_t at = listing->enc.len;
    int rv;

    rv = zone_get_ino(listing->zone, entry->ino, &inode);
    if (rv != 0) {
        return rv;
    }
    zone_attr_of(&inode, &record.attr);
    zone_dirent_put(&listing->enc, &record);
    if (listing->enc.failed) { /* No room: this one comes first next time. */
        listing->enc.failed = false;
        listing->enc.len = at;
        listing->cut = true;
        return 1;
    }
    return 0;
}

int zone_read_dir(struct zone *zone, const struct zone_op *op,
                  const struct store_inode *dir, struct zone_result *result)
{
    size_t max = op->count > ZONE_IO_MAX ? ZONE_IO_MAX : op->count;
    uint64_t most = RECORD_BYTES + ZONE_NAME_MAX;
    struct listing listing = {.zone = zone};
    struct buf *buf;
    int rv;

    if (dir->entries < max / most) { /* Most directories are small. */
        max = (size_t)((dir->entries + 1) * most);
    }
    buf = buf_new(max);
    if (buf == NULL) {
        return -ENOMEM;
    }
    listing.enc = wire_enc(buf->data, max);
    rv = store_dirent_each(zone->store, dir->ino, op->offset, list_one, &listing);
    if (rv < 0) {
        buf_unref(buf);
        return rv;
    }
    if (listing.cut && listing.enc.len == 0) {
        buf_unref(buf);
        return OUT_TOOSMALL;
    }
    buf->len = listing.enc.len;
    result->data = (struct slice){.buf = buf, .data = buf->data, .len = buf->len};
    result->eof = !listing.cut;
    return 0;
}
