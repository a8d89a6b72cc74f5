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
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    WAL_PAGES_MAX = 16384, /* 64 MiB: then a commit checkpoints by itself. */
    WAL_PAGES_LONG = 4096, /* 16 MiB that were not copied yet: worth a checkpoint. */
    WAL_PAGES_TAIL = 2048, /* So few are copied by the owner itself. */
    RENEW_BYTES = 1 << 20,
    /* sqlite's file format, "The Write-Ahead Log", 4.1. */
    WAL_HEADER = 32,
    WAL_SALTS = 16, /* Eight bytes of the header, */
    WAL_FRAME_HEADER = 24,
    WAL_FRAME_SALTS = 8, /* and of each frame's. */
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

static int frames_left(const struct store *store)
{
    int frames = store->wal_frames;
    int checked = store->wal_checked;

    return frames < checked ? frames : frames - checked; /* Less: it began anew. */
}

bool store_wal_is_long(const struct store *store)
{
    return frames_left(store) > WAL_PAGES_LONG;
}

int store_wal_restart(struct store *store)
{
    int rv = store_flush(store); /* sqlite copies nothing while it is in a transaction. */
    int frames = store->wal_frames;

    if (rv != 0) {
        return rv;
    }
    if (frames <= WAL_PAGES_LONG || frames_left(store) > WAL_PAGES_TAIL) {
        return 0; /* Who writes so fast meets a commit's own checkpoint, now and then. */
    }
    limit(&store->db, INT_MAX);
    if (store->db.wal_fault != 0 && store->broken == 0) {
        store->broken = store->db.wal_fault;
    }
    store->wal_checked = frames;
    return store->db.wal_fault;
}

/* Bytes of a frame, header and page; 0: @header is none that sqlite would go by. */
static uint32_t frame_bytes(const uint8_t *header)
{
    uint32_t page = (uint32_t)header[8] << 24 | (uint32_t)header[9] << 16 |
                    (uint32_t)header[10] << 8 | header[11];
    bool known = memcmp(header, "\x37\x7f\x06", 3) == 0 && (header[3] & 0xfe) == 0x82;

    return known && page >= 512 && page <= 65536 ? WAL_FRAME_HEADER + page : 0;
}

/* Of the frames in @bytes, how many bytes belong to those before the first that is of
 * another life of the file: its salt is not the header's. sqlite reads none behind it. */
static size_t in_use(const uint8_t *bytes, size_t len, uint32_t frame,
                     const uint8_t *salts)
{
    size_t at = 0;

    while (at + frame <= len && memcmp(bytes + at + WAL_FRAME_SALTS, salts, 8) == 0) {
        at += frame;
    }
    return at;
}

static int renew_part(struct disk *disk, struct disk_file *file, struct iovec part,
                      uint64_t at)
{
    return part.iov_len == 0 ? 0 : disk->ops->pwritev(disk, file, &part, 1, at);
}

/* The file is kept long and reused: only what is in use is written again. */
static int renew_file(struct disk *disk, struct disk_file *file, uint8_t *bytes)
{
    uint8_t header[WAL_HEADER];
    struct iovec iov = {.iov_base = header, .iov_len = sizeof header};
    uint64_t size = 0;
    uint64_t at = sizeof header;
    uint32_t frame = 0;
    bool more = true;
    int rv = disk->ops->size(disk, file, &size);

    if (rv == 0 && size >= sizeof header) {
        rv = disk->ops->pread(disk, file, header, sizeof header, 0);
        frame = rv == 0 ? frame_bytes(header) : 0;
        rv = rv == 0 ? renew_part(disk, file, iov, 0) : rv;
    }
    iov.iov_base = bytes;
    while (rv == 0 && frame > 0 && more && at + frame <= size) {
        uint64_t left = size - at < RENEW_BYTES ? size - at : RENEW_BYTES;

        left -= left % frame;
        rv = disk->ops->pread(disk, file, bytes, (size_t)left, at);
        if (rv == 0) {
            iov.iov_len = in_use(bytes, (size_t)left, frame, header + WAL_SALTS);
            more = iov.iov_len == left;
            rv = renew_part(disk, file, iov, at);
            at += iov.iov_len;
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
