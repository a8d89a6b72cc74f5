/* Carrying out of the journal what cannot settle: the block under it is bad, or the file
 * system refuses it. Else one bad sub-block would hold the journal until it is full. */
#include "base/crc32c.h"
#include "base/log.h"
#include "base/outcome.h"
#include "store/store_priv.h"

#include <errno.h>
#include <inttypes.h>

static bool is_kept(const struct store_extent *e)
{
    return e->kind == STORE_PULLED && e->place >= STORE_KEPT;
}

static bool is_carried(const struct store_extent *e)
{
    return e->kind == STORE_DATA || is_kept(e);
}

/* The place that none of the block's extents lies in: what a power cut would bring back
 * is not written over. */
static uint64_t other_place(const struct store_settle_block *b)
{
    for (size_t i = 0; i < b->extents.n; i++) {
        if (is_kept(&b->extents.all[i]) && b->extents.all[i].place == STORE_KEPT) {
            return STORE_KEPT + 1;
        }
    }
    return STORE_KEPT;
}

/*
 * One extent to @place. Its bytes may be bad themselves: that much is known for good,
 * and said by its row from now on. Bytes that cannot be read, for whatever reason, are
 * not lost: the disk may give them another time. Then -EAGAIN.
 */
static int carry(struct store_pieces *pieces, struct disk_file *file, uint64_t place,
                 struct store_extent *e)
{
    struct disk *disk = pieces->store->disk;
    const uint8_t *bytes;
    struct iovec iov;
    int rv = store_pieces_get(pieces, e, &bytes);

    if (rv == OUT_IO) {
        if (pieces->fault != 0) {
            return -EAGAIN;
        }
        log_error("store",
                  "msg=\"bytes are lost here\" ino=%" PRIu64 " offset=%" PRIu64 " len=%u",
                  e->ino, e->offset, e->len);
        e->kind = STORE_LOST;
        e->crc = 0;
    } else if (rv == 0) {
        iov = (struct iovec){.iov_base = (void *)(uintptr_t)bytes, .iov_len = e->len};
        rv = disk->ops->pwritev(disk, file, &iov, 1, e->offset);
        if (rv != 0) {
            return rv;
        }
        e->kind = STORE_PULLED;
        e->crc = crc32c(0, bytes, e->len);
    } else {
        return rv;
    }
    e->place = e->kind == STORE_LOST ? 0 : place;
    e->segment = 0;
    e->skip = 0;
    e->piece_len = e->len;
    return 0;
}

int store_keep_run(struct store_pieces *pieces, struct store_settle_block *b)
{
    struct store *store = pieces->store;
    const struct disk_ops *ops = store->disk->ops;
    uint64_t place = other_place(b);
    struct disk_file *file = NULL;
    bool made = false;
    bool holds = false;
    int rv;

    for (size_t i = 0; i < b->extents.n; i++) {
        holds = holds || b->extents.all[i].kind == STORE_DATA;
    }
    if (!holds) {
        return 0;
    }
    rv = store_data_create(store, place, b->ino, &file, &made);
    for (size_t i = 0; i < b->extents.n && rv == 0; i++) {
        if (is_carried(&b->extents.all[i])) {
            rv = carry(pieces, file, place, &b->extents.all[i]);
        }
    }
    if (rv == 0) {
        rv = ops->datasync(store->disk, file);
        if (rv == 0) {
            rv = store_data_syncdir(store, place, b->ino);
        }
        b->kept = rv == 0;
    } else if (store_is_own_fault(rv) || rv == -EAGAIN) {
        b->again = true;
        rv = 0; /* It stays where it is. */
    }
    if (file != NULL) {
        ops->close(store->disk, file);
    }
    return rv;
}

/* The carried extent that @e is a part of; NULL: it came after the plan. */
static const struct store_extent *carried_from(const struct store_settle_block *b,
                                               const struct store_extent *e)
{
    for (size_t i = 0; i < b->extents.n; i++) {
        const struct store_extent *from = &b->extents.all[i];

        if (from->version == e->version && from->offset <= e->offset &&
            e->offset + e->len <= from->offset + from->len) {
            return from;
        }
    }
    return NULL;
}

int store_keep_finish(struct store *store, const struct store_settle_block *b)
{
    struct store_layers *layers = &store->layers;
    int rv = store_layers_load(&store->db, b->ino, b->block, layers);

    for (size_t i = 0; i < layers->extents.n && rv == 0; i++) {
        const struct store_extent *e = &layers->extents.all[i];
        const struct store_extent *from = is_carried(e) ? carried_from(b, e) : NULL;
        struct store_extent part;

        if (from == NULL) {
            continue;
        }
        part = *from;
        part.skip = (uint32_t)(e->offset - from->offset);
        part.offset = e->offset;
        part.len = e->len;
        rv = store_extent_remove(store, e);
        if (rv == 0) {
            rv = store_extent_add(store, &part);
        }
    }
    return rv;
}
