/* Writing, cutting and deleting file data: changes of extent rows, hardly of bytes. */
#include "base/assert.h"
#include "base/crc32c.h"
#include "base/outcome.h"
#include "store/store_priv.h"

#include <string.h>

int store_garbage_put(struct store *store, struct store_db *db, uint64_t generation,
                      uint64_t ino)
{
    store->rest = true;
    return store_db_run(db, SQL_GARBAGE_PUT, "iii", generation, ino, ++store->stamp);
}

int store_extent_add(struct store *store, const struct store_extent *extent)
{
    store->now.unsettled += extent->len;
    store->rest = store->rest || extent->segment == 0;
    return store_extent_put(&store->db, extent);
}

int store_extent_remove(struct store *store, const struct store_extent *extent)
{
    ASSERT(store->now.unsettled >= extent->len);
    store->now.unsettled -= extent->len;
    if (extent->kind == STORE_PULLED) {
        int rv = store_garbage_put(store, &store->db, extent->place, extent->ino);

        if (rv != 0) {
            return rv;
        }
    }
    return store_db_run(&store->db, SQL_EXTENT_DEL, "ii", extent->ino, extent->offset);
}

/* The last extent that begins before @end; OUT_NOENT. */
static int extent_before(struct store *store, uint64_t ino, uint64_t end,
                         struct store_extent *out)
{
    sqlite3_stmt *stmt = NULL;
    int rv = store_db_row(&store->db, &stmt, SQL_EXTENT_BEFORE, "ii", ino, end);

    if (rv == 0) {
        rv = store_extent_row(stmt, out);
        store_db_done(stmt);
    }
    return rv;
}

/* Make room in [@from, @to): what lies there goes, what only reaches in is cut. */
static int clear(struct store *store, uint64_t ino, uint64_t from, uint64_t to)
{
    struct store_extent old;
    int rv;

    while ((rv = extent_before(store, ino, to, &old)) == 0) {
        uint64_t end = old.offset + old.len;
        struct store_extent part = old;

        if (end <= from) {
            return 0;
        }
        rv = store_extent_remove(store, &old);
        if (rv == 0 && end > to) {
            part.offset = to;
            part.len = (uint32_t)(end - to);
            part.skip =
                old.kind == STORE_ZERO ? 0 : old.skip + (uint32_t)(to - old.offset);
            rv = store_extent_add(store, &part);
        }
        if (rv == 0 && old.offset < from) {
            part = old;
            part.len = (uint32_t)(from - old.offset);
            rv = store_extent_add(store, &part);
            return rv; /* Nothing before it reaches in. */
        }
        if (rv != 0) {
            return rv;
        }
    }
    return rv == OUT_NOENT ? 0 : rv;
}

/* 0 if @sql finds a row for @ino, OUT_NOENT if not. */
static int any(struct store *store, enum store_sql sql, uint64_t ino)
{
    sqlite3_stmt *stmt = NULL;
    int rv = store_db_row(&store->db, &stmt, sql, "i", ino);

    if (rv == 0) {
        store_db_done(stmt);
    }
    return rv;
}

/* 0: the inode has no extents and no blocks; OUT_EXIST. It is a small one: only its first
 * block can be there. */
static int only_inline(struct store *store, uint64_t ino)
{
    struct store_extent extent;
    int rv;

    rv = extent_before(store, ino, STORE_OFFSET_MAX, &extent);
    if (rv == OUT_NOENT) {
        rv = any(store, SQL_BLOCK_FIRST, ino);
    }
    if (rv == OUT_NOENT) {
        return 0;
    }
    return rv == 0 ? OUT_EXIST : rv;
}

/* The piece's bytes; OUT_IO if they cannot be had or are not what the CRC says. */
static int piece_bytes(struct store *store, const struct store_piece *piece,
                       const uint8_t **out)
{
    struct store_extent extent = {.ino = piece->ino,
                                  .offset = piece->offset,
                                  .segment = piece->place.segment,
                                  .place = piece->place.offset,
                                  .kind = STORE_DATA,
                                  .len = piece->len,
                                  .piece_len = piece->len,
                                  .crc = piece->crc};

    if (piece->data.len == 0) {
        return store_pieces_get(&store->pieces, &extent, out);
    }
    if (crc32c(0, piece->data.data, piece->len) != piece->crc) {
        return OUT_IO;
    }
    *out = piece->data.data;
    return 0;
}

/* Take a write of a small file into meta.db. OUT_EXIST: it is not for there. */
static int write_inline(struct store *store, const struct store_piece *piece)
{
    struct store_inline *blob = &store->layers.small;
    uint32_t end = (uint32_t)piece->offset + piece->len;
    const uint8_t *bytes;
    int rv = 0;

    if (piece->old_size > 0) { /* A file cut to nothing has no rows. */
        rv = only_inline(store, piece->ino);
    }
    if (rv == 0) {
        /* Bytes that this member lost become a bad extent, which is a matter of reads;
         * the replicated state is the same either way. */
        rv = piece_bytes(store, piece, &bytes);
        rv = rv == OUT_IO ? OUT_EXIST : rv;
    }
    if (rv != 0) {
        return rv;
    }
    rv = store_inline_get(&store->db, piece->ino, blob);
    if (rv == 0 && blob->bad && piece->old_size > 0) {
        rv = store_inline_lost(store, piece->ino, (uint32_t)piece->old_size,
                               piece->version);
        return rv == 0 ? OUT_EXIST : rv;
    }
    if (rv == OUT_NOENT || (rv == 0 && blob->bad)) {
        blob->ino = piece->ino;
        blob->len = 0;
    } else if (rv != 0) {
        return rv;
    }
    if (end > blob->len) {
        memset(blob->data + blob->len, 0, end - blob->len);
        blob->len = end;
    }
    memcpy(blob->data + piece->offset, bytes, piece->len);
    blob->version = piece->version;
    return store_inline_put(&store->db, blob);
}

int store_data_write(struct store *store, const struct store_piece *piece)
{
    uint64_t end = piece->offset + piece->len;
    struct store_extent extent = {.ino = piece->ino,
                                  .offset = piece->offset,
                                  .version = piece->version,
                                  .segment = piece->place.segment,
                                  .place = piece->place.offset,
                                  .len = piece->len,
                                  .kind = STORE_DATA,
                                  .piece_len = piece->len,
                                  .crc = piece->crc};
    int rv;

    ASSERT(store->in_txn);
    ASSERT(piece->len > 0 && piece->offset < STORE_OFFSET_MAX &&
           piece->offset % STORE_BLOCK + piece->len <= STORE_BLOCK);
    ASSERT(piece->data.len == 0 || piece->data.len == piece->len);
    store->epoch++;
    if (end <= STORE_INLINE_MAX && piece->old_size <= STORE_INLINE_MAX) {
        rv = write_inline(store, piece);
        if (rv != OUT_EXIST) {
            return rv;
        }
    }
    rv = clear(store, piece->ino, piece->offset, end);
    return rv == 0 ? store_extent_add(store, &extent) : rv;
}

/* Remove every layer from block @block on, as of @version. */
static int drop_from(struct store *store, uint64_t ino, uint64_t block, uint64_t version)
{
    struct store_block from = {.ino = ino, .block = block, .version = version};
    struct store_extent extent;
    bool garbage = false;
    int rv;

    while ((rv = extent_before(store, ino, STORE_OFFSET_MAX, &extent)) == 0 &&
           extent.offset >= block * STORE_BLOCK) {
        rv = store_extent_remove(store, &extent);
        if (rv != 0) {
            return rv;
        }
    }
    if (rv != 0 && rv != OUT_NOENT) {
        return rv;
    }
    rv = store_cut(store, &from, &garbage);
    if (rv != 0) {
        return rv;
    }
    store_bad_del_from(store, ino, block);
    if (block == 0) {
        store->rest = true; /* meta.db may have pages to give back. */
        rv = store_db_run(&store->db, SQL_INLINE_DEL, "i", ino);
    }
    if (rv == 0 && !garbage) {
        /* A settle in flight may put bytes into the file without a row. */
        rv = any(store, SQL_MARK_ANY, ino);
        garbage = rv == 0;
        rv = rv == OUT_NOENT ? 0 : rv;
    }
    if (rv == 0 && garbage) {
        rv = store_garbage_put(store, &store->db, 0, ino);
    }
    return rv;
}

/* Zero what is left of a block from @new_size on. Whether the block exists is the same
 * on all members, whatever they have settled; what its layers are is not. */
static int cut_block(struct store *store, uint64_t ino, uint64_t new_size,
                     uint64_t version)
{
    struct store_layers *layers = &store->layers;
    uint64_t block = new_size / STORE_BLOCK;
    struct store_extent zero = {.ino = ino,
                                .offset = new_size,
                                .version = version,
                                .len = (uint32_t)(STORE_BLOCK - new_size % STORE_BLOCK),
                                .kind = STORE_ZERO};
    int rv;

    rv = store_layers_load(&store->db, ino, block, layers);
    if (rv != 0) {
        return rv;
    }
    if (!layers->has_block && layers->extents.n == 0) {
        if (!layers->has_inline) {
            return 0;
        }
        if (layers->small.bad) {
            rv = store_inline_lost(store, ino, STORE_INLINE_MAX, version);
        }
    }
    if (rv == 0 && !layers->has_block && layers->extents.n == 0 && !layers->small.bad) {
        if (layers->small.len > new_size) {
            layers->small.len = (uint32_t)new_size;
        }
        layers->small.version = version;
        return store_inline_put(&store->db, &layers->small);
    }
    if (rv == 0) {
        rv = clear(store, ino, new_size, new_size + zero.len);
    }
    return rv == 0 ? store_extent_add(store, &zero) : rv;
}

int store_data_resize(struct store *store, uint64_t ino, uint64_t old_size,
                      uint64_t new_size, uint64_t version)
{
    uint64_t first_gone = (new_size + STORE_BLOCK - 1) / STORE_BLOCK;
    int rv;

    ASSERT(store->in_txn && new_size <= STORE_OFFSET_MAX);
    if (new_size >= old_size) {
        return 0; /* A hole, and past the old size every layer is zeros. */
    }
    store->epoch++;
    rv = drop_from(store, ino, first_gone, version);
    if (rv == 0 && new_size % STORE_BLOCK != 0) {
        rv = cut_block(store, ino, new_size, version);
    }
    return rv;
}

int store_inode_del(struct store *store, uint64_t ino)
{
    int rv;

    ASSERT(store->in_txn);
    store->epoch++;
    store_touch(store, ino);
    rv = drop_from(store, ino, 0, INT64_MAX); /* Its number never comes again. */
    return rv == 0 ? store_db_run(&store->db, SQL_INODE_DEL, "i", ino) : rv;
}

int store_extent_lowest(struct store *store, uint64_t *segment)
{
    sqlite3_stmt *stmt = NULL;
    int rv = store_db_row(&store->db, &stmt, SQL_EXTENT_FLOOR, "");

    if (rv == 0) {
        *segment = store_db_u64(stmt, 0);
        store_db_done(stmt);
    } else if (rv == OUT_NOENT) {
        *segment = UINT64_MAX;
        rv = 0;
    }
    return rv;
}

/* A power cut may bring back extents that went since the last durable commit, and a
 * settle in flight still reads those that went since its plan. */
int store_extent_floor(struct store *store, uint64_t *segment)
{
    uint64_t floor;
    int rv = store_extent_lowest(store, &floor);

    if (rv != 0) {
        return rv;
    }
    floor = store->durable_floor < floor ? store->durable_floor : floor;
    if (store->settle != NULL && store->settle->floor < floor) {
        floor = store->settle->floor;
    }
    *segment = floor;
    return 0;
}
