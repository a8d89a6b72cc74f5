/* Loading a shadow: rows, and blocks that are taken over, pulled, or wanted. */
#include "store/store_shadow.h"

#include "base/assert.h"
#include "base/crc32c.h"
#include "base/log.h"
#include "base/outcome.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

int shadow_begin(struct store_shadow *shadow)
{
    int rv = 0;

    if (!shadow->in_txn) {
        rv = store_db_run(&shadow->db, SQL_BEGIN, "");
        shadow->in_txn = rv == 0;
    }
    return rv;
}

static struct shadow_folders *folders_of(struct store_shadow *shadow, uint64_t generation)
{
    return generation == 0 ? &shadow->placed : &shadow->beside;
}

static int sync_folders(struct store_shadow *shadow, uint64_t generation)
{
    struct shadow_folders *folders = folders_of(shadow, generation);
    int rv = 0;

    for (uint64_t i = 0; i < STORE_FOLDERS && rv == 0; i++) {
        if (folders->dirty[i]) {
            rv = store_data_syncdir(shadow->store, generation, i);
            folders->dirty[i] = rv != 0;
            folders->synced[i] = rv == 0;
        }
    }
    return rv;
}

static int sync_files(struct store_shadow *shadow)
{
    struct disk *disk = shadow->store->disk;
    int rv = 0;

    /* Of many small files all are on their way before the first is waited for. */
    for (uint32_t i = 0; i < shadow->n_files; i++) {
        const struct shadow_file *file = &shadow->files[i];

        if (shadow->n_files > 1 && disk->ops->hurry != NULL) {
            disk->ops->hurry(disk, file->file, 0, file->size);
        }
    }
    for (uint32_t i = 0; i < shadow->n_files; i++) {
        int fault = disk->ops->datasync(disk, shadow->files[i].file);

        rv = rv == 0 ? fault : rv;
        disk->ops->close(disk, shadow->files[i].file);
    }
    shadow->n_files = 0;
    shadow->n_blocks = 0;
    if (rv == 0) {
        rv = sync_folders(shadow, shadow->generation);
    }
    return rv == 0 ? sync_folders(shadow, 0) : rv;
}

int shadow_commit(struct store_shadow *shadow, bool durable)
{
    int rv = sync_files(shadow);

    if (rv == 0 && shadow->in_txn) {
        rv = store_db_run(&shadow->db, SQL_COMMIT, "");
        shadow->in_txn = rv != 0;
    }
    return rv == 0 && durable ? store_db_sync(&shadow->db) : rv;
}

static void rollback(struct store_shadow *shadow)
{
    (void)sync_files(shadow);
    if (shadow->in_txn && sqlite3_get_autocommit(shadow->db.handle) == 0) {
        (void)store_db_run(&shadow->db, SQL_ROLLBACK, "");
    }
    shadow->in_txn = false;
}

int shadow_restart(struct store_shadow *shadow)
{
    int rv = shadow_begin(shadow);

    if (rv == 0) {
        rv = store_db_exec(&shadow->db,
                           "DELETE FROM inode; DELETE FROM dirent; DELETE FROM kv;"
                           "DELETE FROM reply; DELETE FROM rpc; DELETE FROM orphan;"
                           "DELETE FROM inline; DELETE FROM mark;"
                           "DELETE FROM number WHERE name NOT IN (CAST('" STORE_SERVE_FROM
                           "' AS BLOB),"
                           "CAST('" STORE_PLACED_AT "' AS BLOB))");
    }
    if (rv == 0) {
        rv = shadow_place_begin(shadow);
    }
    shadow->begun = false;
    shadow->ended = false;
    shadow->records = 0;
    shadow->crc = 0;
    shadow->epoch = shadow->store->epoch;
    return rv == 0 ? shadow_commit(shadow, false) : rv;
}

int store_shadow_open(struct store *store, struct store_shadow **out)
{
    struct store_shadow *shadow = NULL;
    char path[STORE_PATH_MAX];
    int rv;

    if (store->broken != 0) {
        return store->broken; /* The marker may name this shadow already. */
    }
    shadow = calloc(1, sizeof *shadow);
    if (shadow == NULL) {
        return -ENOMEM;
    }
    shadow->store = store;
    shadow->generation = store->generation + 1;
    shadow->bytes = malloc(STORE_BLOCK);
    if (shadow->bytes == NULL) {
        rv = -ENOMEM;
        goto out;
    }
    store_meta_path(store, shadow->generation, path);
    rv = store_wal_renew(store, path);
    if (rv != 0) {
        goto out;
    }
    rv = store_db_open(&shadow->db, path, store->vfs, true);
    if (rv != 0) {
        goto out;
    }
    rv = store_db_schema(&shadow->db);
    if (rv == 0) {
        rv = shadow_restart(shadow);
    }
    if (rv == 0) {
        *out = shadow;
        shadow = NULL;
    }
out:
    store_shadow_close(shadow);
    return rv;
}

void store_shadow_close(struct store_shadow *shadow)
{
    if (shadow == NULL) {
        return;
    }
    if (shadow->db.handle != NULL) {
        rollback(shadow);
        store_db_close(&shadow->db);
    }
    store_extents_free(&shadow->layers.extents);
    free(shadow->bytes);
    free(shadow);
}

int shadow_raise_floor(struct store_shadow *shadow, uint64_t index)
{
    uint64_t floor = 0;
    int rv = store_rows_number_get(&shadow->db, STORE_SERVE_FROM, &floor);

    if (rv == OUT_NOENT || (rv == 0 && index > floor)) {
        rv = index > floor ? store_rows_number_put(&shadow->db, STORE_SERVE_FROM, index)
                           : 0;
    }
    return rv;
}

int shadow_file_get(struct store_shadow *shadow, uint64_t generation, uint64_t ino,
                    struct shadow_file **out)
{
    struct shadow_folders *folders = folders_of(shadow, generation);
    struct disk *disk = shadow->store->disk;
    struct shadow_file *at;
    bool made = false;
    int rv;

    for (uint32_t i = 0; i < shadow->n_files; i++) {
        at = &shadow->files[i];
        if (at->ino == ino && at->generation == generation) {
            *out = at;
            return 0;
        }
    }
    if (shadow->n_files == SHADOW_FILES_MAX) {
        rv = shadow_commit(shadow, false);
        if (rv == 0) {
            rv = shadow_begin(shadow);
        }
        if (rv != 0) {
            return rv;
        }
    }
    at = &shadow->files[shadow->n_files];
    rv = store_data_create(shadow->store, generation, ino, &at->file, &made);
    if (rv != 0) {
        return rv;
    }
    rv = disk->ops->size(disk, at->file, &at->size);
    if (rv != 0) {
        disk->ops->close(disk, at->file);
        return rv;
    }
    at->ino = ino;
    at->generation = generation;
    shadow->n_files++;
    /* A name found there may be that of a loading that was killed before it synced the
     * folder: the first use of each life does. */
    folders->dirty[ino % STORE_FOLDERS] |= made || !folders->synced[ino % STORE_FOLDERS];
    *out = at;
    return 0;
}

int shadow_write(struct store_shadow *shadow, struct shadow_file *file,
                 const struct iovec *iov, uint64_t offset)
{
    struct disk *disk = shadow->store->disk;
    int rv = disk->ops->pwritev(disk, file->file, iov, 1, offset);

    if (rv == 0 && offset + iov->iov_len > file->size) {
        file->size = offset + iov->iov_len;
    }
    return rv;
}

int shadow_put_done(struct store_shadow *shadow, const struct store_want *block,
                    enum shadow_state state)
{
    int rv = store_db_run(&shadow->db, SQL_LIST_PUT, "iiii", block->ino, block->block,
                          block->version, (uint64_t)state);

    if (rv == 0 && ++shadow->n_blocks >= SHADOW_BLOCKS_MAX) {
        rv = shadow_commit(shadow, false);
    }
    return rv;
}

int shadow_put_block(struct store_shadow *shadow, const struct store_want *block,
                     const void *data, size_t len)
{
    struct store_extent extent = {.ino = block->ino,
                                  .offset = block->block * STORE_BLOCK,
                                  .version = block->version,
                                  .kind = STORE_ZERO,
                                  .len = STORE_BLOCK};
    struct iovec iov = {.iov_base = (void *)(uintptr_t)data, .iov_len = len};
    struct shadow_file *file = NULL;
    int rv;

    rv = shadow_begin(shadow);
    if (rv == 0 && len > 0) {
        extent.kind = STORE_PULLED;
        extent.place = shadow->generation;
        extent.len = (uint32_t)len;
        extent.piece_len = (uint32_t)len;
        extent.crc = crc32c(0, data, len);
        rv = shadow_file_get(shadow, shadow->generation, block->ino, &file);
        if (rv == 0) {
            rv = shadow_write(shadow, file, &iov, extent.offset);
        }
    }
    if (rv == 0) {
        rv = store_extent_put(&shadow->db, &extent);
    }
    shadow->pulled.beside++;
    return rv == 0 ? shadow_put_done(shadow, block, SHADOW_HERE) : rv;
}

int store_shadow_wants(struct store_shadow *shadow, struct store_want *out, uint32_t max,
                       uint32_t *n)
{
    return store_shadow_wants_after(shadow, &(struct store_want){0}, out, max, n);
}

int store_shadow_wants_after(struct store_shadow *shadow, const struct store_want *after,
                             struct store_want *out, uint32_t max, uint32_t *n)
{
    sqlite3_stmt *stmt = NULL;
    uint32_t found = 0;
    int rv;

    if (max == 0) {
        return -EINVAL;
    }
    rv = store_db_row(&shadow->db, &stmt, SQL_LIST_WANTS, "ii", after->ino, after->block);
    while (rv == 0 && found < max) {
        out[found++] = (struct store_want){.ino = store_db_u64(stmt, 0),
                                           .block = store_db_u64(stmt, 1),
                                           .version = store_db_u64(stmt, 2)};
        rv = store_db_next(&shadow->db, stmt);
    }
    if (rv == 0) {
        store_db_done(stmt);
    }
    if (rv != 0 && rv != OUT_NOENT) {
        return rv;
    }
    if (found == 0 && !shadow->ended) {
        return -EAGAIN; /* Not all rows are here, so this is not the end. */
    }
    *n = found;
    return 0;
}

/* Nobody has the block's bytes. */
static int put_lost(struct store_shadow *shadow, const struct store_want *block)
{
    struct store_extent lost = {.ino = block->ino,
                                .offset = block->block * STORE_BLOCK,
                                .len = STORE_BLOCK,
                                .kind = STORE_LOST,
                                .version = block->version,
                                .piece_len = STORE_BLOCK};
    int rv = store_extent_put(&shadow->db, &lost);

    return rv == 0 ? shadow_put_done(shadow, block, SHADOW_HERE) : rv;
}

/*
 * A block that is gone at the source keeps the version it has in the view, and has none of
 * its bytes: an entry up to @version, yet to be applied here, takes it away. If that entry
 * never comes (docs/adr/0006-recover.md), it reads as bad, and not as zeros.
 */
int store_shadow_block(struct store_shadow *shadow, const struct store_want *want,
                       uint64_t version, struct slice data)
{
    struct store_want block = *want;
    sqlite3_stmt *stmt = NULL;
    bool wanted;
    bool place = false;
    int rv;

    /* "Gone" is only known from the view's index on: before it, the entry that makes the
     * block may not be applied. */
    if (data.len > STORE_BLOCK || version > INT64_MAX ||
        version < (data.len > 0 ? want->version : shadow->index)) {
        return -EPROTO;
    }
    rv = store_db_row(&shadow->db, &stmt, SQL_LIST_GET, "ii", want->ino, want->block);
    if (rv != 0) {
        return rv == OUT_NOENT ? 0 : rv; /* Not, or no longer, asked for. */
    }
    wanted = store_db_u64(stmt, 1) == SHADOW_WANTED;
    block.version = store_db_u64(stmt, 0);
    store_db_done(stmt);
    if (!wanted) {
        return 0;
    }
    /* Entries behind the view go over an extent of a later version than theirs, and a cut
     * among them takes it; of a settled block they count on its being older. */
    if (data.len > 0 && version == block.version && shadow->ended) {
        rv = shadow_place_may(shadow, want->ino, &place);
        if (rv != 0) {
            return rv;
        }
    }
    if (place) {
        return shadow_place_put(shadow, &block, data);
    }
    rv = shadow_begin(shadow);
    if (rv == 0 && version > shadow->index) {
        rv = shadow_raise_floor(shadow, version);
    }
    if (rv == 0 && data.len == 0) {
        return put_lost(shadow, &block);
    }
    block.version = version;
    return rv == 0 ? shadow_put_block(shadow, &block, data.data, data.len) : rv;
}

int store_shadow_lost(struct store_shadow *shadow, const struct store_want *want)
{
    struct store_want block = *want;
    sqlite3_stmt *stmt = NULL;
    bool wanted;
    int rv;

    rv = store_db_row(&shadow->db, &stmt, SQL_LIST_GET, "ii", want->ino, want->block);
    if (rv != 0) {
        return rv == OUT_NOENT ? 0 : rv;
    }
    block.version = store_db_u64(stmt, 0);
    wanted = store_db_u64(stmt, 1) == SHADOW_WANTED;
    store_db_done(stmt);
    if (!wanted) {
        return 0;
    }
    log_warn("store",
             "msg=\"the source's copy of a block is bad\" ino=%" PRIu64 " block=%" PRIu64,
             want->ino, want->block);
    rv = shadow_begin(shadow);
    return rv == 0 ? put_lost(shadow, &block) : rv;
}
