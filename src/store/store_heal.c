/*
 * Healing a block with another member's copy of it.
 *
 * The copy is put over what is here, as extents, and settling does the rest as with any
 * write: it lays them into the file, crash-safe, and gives the block a row that is right.
 * So the repair itself writes only where nothing lies, and is one durable transaction.
 *
 * What the copy has to do with what is here is said by versions. The copy holds every
 * entry up to its version that touches the block, and none after. If some layer here is of
 * that version or older, the block was not cut off whole since; then all that came after
 * lies in extents of a higher version, and goes on lying over the copy. A row that is bad
 * itself has no version to go by: but it is as it was when it was found bad, since an
 * entry that touches an inline row replaces it, and the copy was asked to be no older.
 */
#include "base/assert.h"
#include "base/crc32c.h"
#include "base/log.h"
#include "base/outcome.h"
#include "store/store_priv.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

static bool is_healed(const struct store_extent *e)
{
    return e->kind == STORE_PULLED && e->place >= STORE_HEALED;
}

/* May the copy take the place of what is here? See above. */
static int judge(const struct store_layers *layers, uint64_t version)
{
    bool older = false;

    if (layers->has_block) {
        if (layers->block.version > version) {
            return OUT_MISMATCH;
        }
        older = true;
    }
    if (layers->has_inline) {
        if (layers->small.version > version) {
            return OUT_MISMATCH;
        }
        older = true;
    }
    for (size_t i = 0; i < layers->extents.n; i++) {
        const struct store_extent *e = &layers->extents.all[i];

        if (e->version <= version) {
            older = true;
        } else if (e->kind == STORE_LOST || is_healed(e)) {
            return OUT_MISMATCH; /* It stays, and is what has to be healed. */
        }
    }
    return older ? 0 : OUT_MISMATCH;
}

/* Where nothing of the block lies, now or for the settle in flight. */
static int free_place(struct store *store, const struct store_copy *copy, uint64_t *out)
{
    const struct store_settle *settle = store->settle;
    uint64_t place = STORE_HEALED;

    for (size_t i = 0; i < store->layers.extents.n; i++) {
        const struct store_extent *e = &store->layers.extents.all[i];

        if (is_healed(e)) {
            place = e->place == STORE_HEALED ? STORE_HEALED + 1 : STORE_HEALED;
        }
    }
    for (uint32_t i = 0; settle != NULL && i < settle->n_garbage; i++) {
        const struct store_garbage *g = &settle->garbage[i];

        if (g->generation == place && g->ino == copy->ino && !g->keep) {
            return OUT_TRY_LATER; /* It is about to be removed. */
        }
    }
    *out = place;
    return 0;
}

static int write_copy(struct store *store, const struct store_copy *copy, uint64_t place)
{
    const struct disk_ops *ops = store->disk->ops;
    struct iovec iov = {.iov_base = (void *)(uintptr_t)copy->data.data,
                        .iov_len = copy->data.len};
    struct disk_file *file = NULL;
    bool made = false;
    int rv;

    rv = store_data_create(store, place, copy->ino, &file, &made);
    if (rv == 0) {
        rv = ops->pwritev(store->disk, file, &iov, 1, copy->block * STORE_BLOCK);
    }
    if (rv == 0) {
        rv = ops->datasync(store->disk, file);
    }
    if (file != NULL) {
        ops->close(store->disk, file);
    }
    return rv == 0 ? store_data_syncdir(store, place, copy->ino) : rv;
}

/* The copy's bytes [@from, @to) become an extent, or two: zeros lie beyond its end. */
static int put_part(struct store *store, const struct store_copy *copy, uint64_t place,
                    uint32_t from, uint32_t to)
{
    uint32_t len = (uint32_t)copy->data.len;
    uint32_t end = to < len ? to : len;
    struct store_extent e = {.ino = copy->ino, .version = copy->version};
    int rv = 0;

    if (from < end) {
        e.offset = copy->block * STORE_BLOCK + from;
        e.kind = STORE_PULLED;
        e.place = place;
        e.len = end - from;
        e.piece_len = e.len;
        e.crc = crc32c(0, copy->data.data + from, e.len);
        rv = store_extent_add(store, &e);
        from = end;
    }
    if (rv == 0 && from < to) {
        e = (struct store_extent){.ino = copy->ino,
                                  .offset = copy->block * STORE_BLOCK + from,
                                  .version = copy->version,
                                  .len = to - from,
                                  .kind = STORE_ZERO};
        rv = store_extent_add(store, &e);
    }
    return rv;
}

/* In place of the extents that the copy holds, under those that came after it. */
static int put_extents(struct store *store, const struct store_copy *copy, uint64_t place)
{
    const struct store_extents *extents = &store->layers.extents;
    uint32_t at = 0;
    int rv = 0;

    for (size_t i = 0; i < extents->n && rv == 0; i++) {
        if (extents->all[i].version <= copy->version) {
            rv = store_extent_remove(store, &extents->all[i]);
        }
    }
    for (size_t i = 0; i < extents->n && rv == 0; i++) {
        const struct store_extent *e = &extents->all[i];
        uint32_t begin = (uint32_t)(e->offset % STORE_BLOCK);

        if (e->version <= copy->version) {
            continue;
        }
        rv = put_part(store, copy, place, at, begin);
        at = begin + e->len;
    }
    return rv == 0 ? put_part(store, copy, place, at, STORE_BLOCK) : rv;
}

/* A bad row has nothing more to say once all of the block is covered. The bytes that it
 * had in the file are no block's any more; settling makes a hole of them first. */
static int drop_bad_rows(struct store *store, const struct store_copy *copy)
{
    const struct store_layers *layers = &store->layers;

    if (layers->has_block && layers->block.bad) {
        return store_cut_one(store, copy->ino, copy->block);
    }
    return layers->has_inline ? store_db_run(&store->db, SQL_INLINE_DEL, "i", copy->ino)
                              : 0;
}

static int put_inline(struct store *store, const struct store_copy *copy)
{
    struct store_inline *small = &store->layers.small;

    small->ino = copy->ino;
    small->version = copy->version;
    small->len = (uint32_t)copy->data.len;
    if (small->len > 0) {
        memcpy(small->data, copy->data.data, small->len);
    }
    return store_inline_put(&store->db, small);
}

static int install(struct store *store, const struct store_copy *copy)
{
    const struct store_layers *layers = &store->layers;
    bool small = layers->has_inline && layers->extents.n == 0 &&
                 copy->data.len <= STORE_INLINE_MAX;
    uint64_t place = 0;
    int rv = small ? 0 : free_place(store, copy, &place);

    if (rv == 0 && !small && copy->data.len > 0) {
        rv = write_copy(store, copy, place);
    }
    if (rv == 0) {
        rv = store_begin(store);
    }
    if (rv != 0) {
        return rv;
    }
    store->epoch++;
    if (small) {
        rv = put_inline(store, copy);
    } else {
        rv = put_extents(store, copy, place);
        rv = rv == 0 ? drop_bad_rows(store, copy) : rv;
    }
    if (rv == 0) {
        rv = store_commit(store, true);
    }
    store_rollback(store);
    return rv;
}

int store_heal(struct store *store, const struct store_copy *copy)
{
    uint64_t applied = 0;
    int rv;

    ASSERT(!store->in_txn);
    if (copy->ino > STORE_INO_MAX || copy->block >= STORE_OFFSET_MAX / STORE_BLOCK ||
        copy->data.len > STORE_BLOCK || copy->version == 0) {
        return -EPROTO;
    }
    rv = store_rows_applied(&store->db, &applied);
    if (rv == 0 && (applied < copy->version ||
                    store_settle_find(store->settle, copy->ino, copy->block) != NULL)) {
        rv = OUT_TRY_LATER;
    }
    if (rv == 0) {
        rv = store_layers_load(&store->db, copy->ino, copy->block, &store->layers);
    }
    if (rv == 0 && store_block_absent(&store->layers)) {
        rv = OUT_NOENT;
    }
    if (rv == 0) {
        rv = judge(&store->layers, copy->version);
    }
    if (rv == 0) {
        rv = install(store, copy);
    }
    if (rv == 0) {
        memset(store->scrubbed, 0, STORE_BLOCK);
        rv = store_read_block(store, copy->ino, copy->block, store->scrubbed);
        rv = rv == OUT_IO ? OUT_MISMATCH : rv; /* What came after the copy is bad. */
    }
    if (rv == 0) {
        store_bad_del(store, copy->ino, copy->block);
        log_info("store",
                 "msg=\"a bad block is healed\" ino=%" PRIu64 " block=%" PRIu64
                 " version=%" PRIu64,
                 copy->ino, copy->block, copy->version);
    }
    return rv;
}

bool store_block_absent(const struct store_layers *layers)
{
    return !layers->has_block && !layers->has_inline && layers->extents.n == 0;
}

int store_copy_get(struct store *store, const struct store_want *want, struct buf **out,
                   struct store_copied *copied)
{
    struct buf *buf;
    int rv;

    if (want->ino > STORE_INO_MAX || want->block >= STORE_OFFSET_MAX / STORE_BLOCK) {
        return -EPROTO; /* A peer's numbers. */
    }
    rv = store_rows_applied(&store->db, &copied->applied);
    if (rv == 0 && copied->applied < want->version) {
        rv = OUT_TRY_LATER;
    }
    if (rv != 0) {
        return rv;
    }
    buf = buf_new(STORE_BLOCK);
    if (buf == NULL) {
        return -ENOMEM;
    }
    memset(buf->data, 0, STORE_BLOCK);
    rv = store_read_block(store, want->ino, want->block, buf->data);
    if (rv == 0 && store_block_absent(&store->layers)) {
        rv = OUT_NOENT;
    }
    if (rv == 0) {
        buf->len = STORE_BLOCK;
        while (buf->len > 0 && buf->data[buf->len - 1] == 0) {
            buf->len--;
        }
        copied->version = store_layers_version(&store->layers);
        *out = buf;
        buf = NULL;
    }
    buf_unref(buf);
    return rv;
}

bool store_bad_get(const struct store *store, uint32_t i, struct store_want *out)
{
    if (i >= store->bad.n) {
        return false;
    }
    *out = (struct store_want){.ino = store->bad.ino[i], .block = store->bad.block[i]};
    return true;
}
