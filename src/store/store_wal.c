/*
 * The write-ahead log of meta.db: its length, and what a failed sync of it means.
 *
 * Linux tells of a failed sync once; the pages it could not write stay in the cache as if
 * they were clean. So a fault of a checkpoint is never passed over, though nothing waits
 * for that checkpoint: the next sync would succeed, and promise what is not on the disk.
 */
#include "base/log.h"
#include "store/store_priv.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    WAL_PAGES_MAX = 16384, /* 64 MiB: then a commit checkpoints by itself. */
    RENEW_BYTES = 1 << 20,
};

int store_db_checkpoint(struct store_db *db)
{
    int rc = sqlite3_wal_checkpoint_v2(db->handle, NULL, SQLITE_CHECKPOINT_PASSIVE, NULL,
                                       NULL);

    /* A full disk: not all was copied, and it will be again. */
    if (rc == SQLITE_OK || rc == SQLITE_BUSY || rc == SQLITE_FULL) {
        return 0;
    }
    return store_db_fault(db, rc);
}

static void limit(struct store_db *db, int pages)
{
    int rv = pages > WAL_PAGES_MAX ? store_db_checkpoint(db) : 0;

    db->wal_fault = db->wal_fault == 0 ? rv : db->wal_fault;
}

static int on_wal(void *ctx, sqlite3 *handle, const char *name, int pages)
{
    (void)handle;
    (void)name;
    limit(ctx, pages);
    return SQLITE_OK;
}

void store_db_watch_wal(struct store_db *db)
{
    (void)sqlite3_wal_hook(db->handle, on_wal,
                           db); /* sqlite's own would ignore faults. */
}

static int on_live_wal(void *ctx, sqlite3 *handle, const char *name, int pages)
{
    struct store *store = ctx;

    (void)handle;
    (void)name;
    store->wal_frames = pages;
    limit(&store->db, pages); /* Settling checkpoints on its own thread long before. */
    if (store->db.wal_fault != 0 && store->broken == 0) {
        store->broken = store->db.wal_fault;
    }
    return SQLITE_OK;
}

void store_watch_wal(struct store *store)
{
    (void)sqlite3_wal_hook(store->db.handle, on_live_wal, store);
}

static int renew_file(struct disk *disk, struct disk_file *file, uint8_t *bytes)
{
    struct iovec iov = {.iov_base = bytes};
    uint64_t size = 0;
    int rv = disk->ops->size(disk, file, &size);

    for (uint64_t at = 0; rv == 0 && at < size; at += iov.iov_len) {
        iov.iov_len = size - at < RENEW_BYTES ? (size_t)(size - at) : RENEW_BYTES;
        rv = disk->ops->pread(disk, file, bytes, iov.iov_len, at);
        if (rv == 0) {
            rv = disk->ops->pwritev(disk, file, &iov, 1, at);
        }
    }
    return rv == 0 ? disk->ops->datasync(disk, file) : rv;
}

/*
 * Not left to a checkpoint: that writes into meta.db at once, and a power cut then would
 * leave half of it there with frames on the disk for neither the old nor the new state.
 */
int store_wal_renew(struct store *store, const char *path)
{
    struct disk *disk = store->disk;
    struct disk_file *file = NULL;
    char wal[STORE_PATH_MAX + 8];
    uint8_t *bytes = NULL;
    int rv;

    (void)snprintf(wal, sizeof wal, "%s-wal", path);
    rv = disk->ops->open(disk, wal, DISK_WRITE, &file);
    if (rv == -ENOENT) {
        return 0;
    }
    if (rv != 0) {
        return rv;
    }
    bytes = malloc(RENEW_BYTES);
    rv = bytes == NULL ? -ENOMEM : renew_file(disk, file, bytes);
    disk->ops->close(disk, file);
    free(bytes);
    /* Whoever made the file may not have come to that. */
    return rv == 0 ? disk->ops->syncdir(disk, store->dir) : rv;
}
