/* Rows of file data: extents, blocks, inline data; and all layers of one block. */
#include "base/assert.h"
#include "base/crc32c.h"
#include "base/log.h"
#include "base/outcome.h"
#include "base/wire.h"
#include "store/store_priv.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum {
    EXTENT_BYTES = 1 + 4 + 8 + 8 + 4 + 4 + 4 + 4,
    EXTENTS_FIRST = 16, /* Room in the first allocation. */
};

void store_extents_free(struct store_extents *extents)
{
    free(extents->all);
    *extents = (struct store_extents){0};
}

static uint32_t extent_crc(const struct store_extent *extent, const uint8_t *row)
{
    const uint64_t numbers[] = {extent->ino, extent->offset, extent->segment};

    return store_row_crc(numbers, 3, slice_borrow(row, EXTENT_BYTES - 4));
}

static bool extent_valid(const struct store_extent *e)
{
    return e->ino <= STORE_INO_MAX && e->offset < STORE_OFFSET_MAX && e->len > 0 &&
           e->offset % STORE_BLOCK + e->len <= STORE_BLOCK && e->kind >= STORE_DATA &&
           e->kind <= STORE_LOST && e->segment <= INT64_MAX &&
           (e->kind == STORE_ZERO ||
            (e->piece_len <= STORE_BLOCK && e->skip <= e->piece_len &&
             e->len <= e->piece_len - e->skip));
}

int store_extent_put(struct store_db *db, const struct store_extent *extent)
{
    uint8_t row[EXTENT_BYTES];
    struct wire_enc enc = wire_enc(row, sizeof row);

    ASSERT(extent_valid(extent));
    wire_put_u8(&enc, (uint8_t)extent->kind);
    wire_put_u32(&enc, extent->len);
    wire_put_u64(&enc, extent->version);
    wire_put_u64(&enc, extent->place);
    wire_put_u32(&enc, extent->piece_len);
    wire_put_u32(&enc, extent->skip);
    wire_put_u32(&enc, extent->crc);
    wire_put_u32(&enc, extent_crc(extent, row));
    ASSERT(!enc.failed && enc.len == sizeof row);
    return store_db_run(db, SQL_EXTENT_PUT, "iiib", extent->ino, extent->offset,
                        extent->segment, row, sizeof row);
}

int store_extent_row(sqlite3_stmt *stmt, struct store_extent *out)
{
    struct slice row = store_db_blob(stmt, 3);
    struct wire_dec dec = wire_dec(row.data, row.len);
    struct store_extent e = {.ino = store_db_u64(stmt, 0),
                             .offset = store_db_u64(stmt, 1),
                             .segment = store_db_u64(stmt, 2)};

    e.kind = (enum store_extent_kind)wire_get_u8(&dec);
    e.len = wire_get_u32(&dec);
    e.version = wire_get_u64(&dec);
    e.place = wire_get_u64(&dec);
    e.piece_len = wire_get_u32(&dec);
    e.skip = wire_get_u32(&dec);
    e.crc = wire_get_u32(&dec);
    if (row.len != EXTENT_BYTES || wire_get_u32(&dec) != extent_crc(&e, row.data) ||
        !wire_done(&dec) || !extent_valid(&e)) {
        return store_row_bad("extent", e.ino);
    }
    *out = e;
    return 0;
}

int store_extent_load(struct store_db *db, uint64_t ino, uint64_t block,
                      struct store_extents *out)
{
    sqlite3_stmt *stmt = NULL;
    uint64_t end = 0;
    int rv;

    out->n = 0;
    rv = store_db_row(db, &stmt, SQL_EXTENT_RANGE, "iii", ino, block * STORE_BLOCK,
                      (block + 1) * STORE_BLOCK);
    while (rv == 0) {
        struct store_extent *e;

        if (out->n == out->cap) {
            size_t cap = out->cap == 0 ? EXTENTS_FIRST : 2 * out->cap;
            struct store_extent *all = realloc(out->all, cap * sizeof *all);

            if (all == NULL) {
                rv = -ENOMEM;
                break;
            }
            out->all = all;
            out->cap = cap;
        }
        e = &out->all[out->n];
        rv = store_extent_row(stmt, e);
        if (rv == 0 && e->offset < end) {
            rv = store_row_bad("extent", ino); /* Two that overlap. */
        }
        if (rv != 0) {
            break;
        }
        end = e->offset + e->len;
        out->n++;
        rv = store_db_next(db, stmt);
    }
    if (rv == OUT_NOENT) {
        return 0;
    }
    store_db_done(stmt);
    return rv;
}

static uint32_t block_crc(const struct store_block *block, const uint8_t *crcs)
{
    const uint64_t numbers[] = {block->ino, block->block, block->version};

    return store_row_crc(numbers, 3, slice_borrow(crcs, STORE_CRCS_BYTES));
}

int store_block_put(struct store_db *db, const struct store_block *block)
{
    uint8_t crcs[STORE_CRCS_BYTES];

    for (uint32_t i = 0; i < STORE_SUBBLOCKS; i++) {
        wire_store_u32(crcs + 4 * i, block->crcs[i]);
    }
    return store_db_run(db, SQL_BLOCK_PUT, "iiibi", block->ino, block->block,
                        block->version, crcs, sizeof crcs,
                        (uint64_t)block_crc(block, crcs));
}

int store_block_row(sqlite3_stmt *stmt, struct store_block *out)
{
    struct slice crcs = store_db_blob(stmt, 3);
    struct store_block block = {.ino = store_db_u64(stmt, 0),
                                .block = store_db_u64(stmt, 1),
                                .version = store_db_u64(stmt, 2)};

    if (block.block >= STORE_OFFSET_MAX / STORE_BLOCK) {
        return store_row_bad("block", block.ino);
    }
    if (crcs.len != STORE_CRCS_BYTES ||
        store_db_u64(stmt, 4) != block_crc(&block, crcs.data)) {
        (void)store_row_bad("block", block.ino);
        block.bad = true;
        *out = block;
        return 0;
    }
    for (uint32_t i = 0; i < STORE_SUBBLOCKS; i++) {
        block.crcs[i] = wire_load_u32(crcs.data + 4 * i);
    }
    *out = block;
    return 0;
}

int store_block_get(struct store_db *db, uint64_t ino, uint64_t block,
                    struct store_block *out)
{
    sqlite3_stmt *stmt = NULL;
    int rv = store_db_row(db, &stmt, SQL_BLOCK_GET, "ii", ino, block);

    if (rv == 0) {
        rv = store_block_row(stmt, out);
        store_db_done(stmt);
    }
    return rv;
}

static uint32_t inline_crc(const struct store_inline *blob)
{
    const uint64_t numbers[] = {blob->ino, blob->version};

    return store_row_crc(numbers, 2, slice_borrow(blob->data, blob->len));
}

int store_inline_put(struct store_db *db, const struct store_inline *blob)
{
    ASSERT(blob->len <= STORE_INLINE_MAX);
    return store_db_run(db, SQL_INLINE_PUT, "iibi", blob->ino, blob->version, blob->data,
                        (size_t)blob->len, (uint64_t)inline_crc(blob));
}

int store_inline_row(sqlite3_stmt *stmt, struct store_inline *out)
{
    struct slice data = store_db_blob(stmt, 2);

    out->ino = store_db_u64(stmt, 0);
    out->version = store_db_u64(stmt, 1);
    out->len = data.len > STORE_INLINE_MAX ? 0 : (uint32_t)data.len;
    if (out->len > 0) {
        memcpy(out->data, data.data, out->len);
    }
    out->bad = out->len != data.len || store_db_u64(stmt, 3) != inline_crc(out);
    if (out->bad) {
        (void)store_row_bad("inline", out->ino);
        out->len = 0;
    }
    return 0;
}

int store_inline_lost(struct store *store, uint64_t ino, uint32_t len, uint64_t version)
{
    struct store_extent lost = {.ino = ino,
                                .version = version - 1,
                                .len = len,
                                .kind = STORE_LOST,
                                .piece_len = len};
    int rv = store_db_run(&store->db, SQL_INLINE_DEL, "i", ino);

    if (rv == 0) {
        log_error("store", "msg=\"bytes are lost here\" ino=%" PRIu64 " offset=0 len=%u",
                  ino, len);
        rv = store_extent_add(store, &lost);
    }
    return rv;
}

int store_inline_get(struct store_db *db, uint64_t ino, struct store_inline *out)
{
    sqlite3_stmt *stmt = NULL;
    int rv = store_db_row(db, &stmt, SQL_INLINE_GET, "i", ino);

    if (rv == 0) {
        rv = store_inline_row(stmt, out);
        store_db_done(stmt);
    }
    return rv;
}

int store_layers_load(struct store_db *db, uint64_t ino, uint64_t block,
                      struct store_layers *out)
{
    int rv;

    out->has_inline = false;
    rv = store_block_get(db, ino, block, &out->block);
    if (rv != 0 && rv != OUT_NOENT) {
        return rv;
    }
    out->has_block = rv == 0;
    if (out->has_block && out->block.bad) {
        out->block.version = 0;
    }
    if (block == 0 && !out->has_block) {
        rv = store_inline_get(db, ino, &out->small);
        if (rv != 0 && rv != OUT_NOENT) {
            return rv;
        }
        out->has_inline = rv == 0;
        if (out->has_inline && out->small.bad) {
            out->small.version = 0;
        }
    }
    return store_extent_load(db, ino, block, &out->extents);
}

uint64_t store_layers_version(const struct store_layers *layers)
{
    uint64_t version = 0;

    if (layers->has_block) {
        version = layers->block.version;
    }
    if (layers->has_inline && layers->small.version > version) {
        version = layers->small.version;
    }
    for (size_t i = 0; i < layers->extents.n; i++) {
        if (layers->extents.all[i].version > version) {
            version = layers->extents.all[i].version;
        }
    }
    return version;
}
