#include "store/walfile.h"

#include "base/assert.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* sqlite's file format, "The Write-Ahead Log", 4.1. */
enum {
    WAL_HEADER_BYTES = 32,
    FRAME_HEADER_BYTES = 24,
    FRAME_COMMIT_AT = 4, /* Pages of the database if the frame commits, else 0. */
};

struct walfile {
    sqlite3_file base;
    uint8_t *bytes; /* Gathered; NULL before the first. */
    uint32_t len;
    sqlite3_int64 at;
    bool commits; /* The last write was the header of a frame that commits. */
};

static struct walfile *wal_of(sqlite3_file *file)
{
    return (struct walfile *)file;
}

static sqlite3_file *real_of(sqlite3_file *file)
{
    return walfile_inner(file);
}

/* Write what was gathered. After a fault it is gone: the transaction is rolled back. */
static int flush(sqlite3_file *file)
{
    struct walfile *wal = wal_of(file);
    sqlite3_file *real = real_of(file);
    uint32_t len = wal->len;

    wal->len = 0;
    return len == 0 ? SQLITE_OK
                    : real->pMethods->xWrite(real, wal->bytes, (int)len, wal->at);
}

static bool is_commit_header(const void *buf, int len, sqlite3_int64 offset)
{
    uint32_t pages;

    if (len != FRAME_HEADER_BYTES || offset < WAL_HEADER_BYTES) {
        return false;
    }
    memcpy(&pages, (const uint8_t *)buf + FRAME_COMMIT_AT, sizeof pages);
    return pages != 0;
}

/* Take @len bytes in, writing first what they do not follow or leave no room for. */
static int gather(sqlite3_file *file, const void *buf, int len, sqlite3_int64 offset)
{
    struct walfile *wal = wal_of(file);
    sqlite3_file *real = real_of(file);
    int rc = SQLITE_OK;

    if (wal->len > 0 &&
        (offset != wal->at + wal->len || (uint32_t)len > WALFILE_BYTES - wal->len)) {
        rc = flush(file);
    }
    if (rc != SQLITE_OK) {
        return rc;
    }
    if (wal->bytes == NULL) {
        wal->bytes = malloc(WALFILE_BYTES);
    }
    if (wal->bytes == NULL || (uint32_t)len > WALFILE_BYTES) {
        return real->pMethods->xWrite(real, buf, len, offset); /* Nothing is gathered. */
    }
    if (wal->len == 0) {
        wal->at = offset;
    }
    memcpy(wal->bytes + wal->len, buf, (size_t)len);
    wal->len += (uint32_t)len;
    return SQLITE_OK;
}

static int wal_write(sqlite3_file *file, const void *buf, int len, sqlite3_int64 offset)
{
    struct walfile *wal = wal_of(file);
    bool ends = wal->commits; /* This is that frame's page. */
    int rc;

    ASSERT(len >= 0);
    wal->commits = is_commit_header(buf, len, offset);
    rc = gather(file, buf, len, offset);
    return rc == SQLITE_OK && ends ? flush(file) : rc;
}

static int wal_read(sqlite3_file *file, void *buf, int len, sqlite3_int64 offset)
{
    sqlite3_file *real = real_of(file);
    int rc = flush(file);

    return rc == SQLITE_OK ? real->pMethods->xRead(real, buf, len, offset) : rc;
}

static int wal_truncate(sqlite3_file *file, sqlite3_int64 size)
{
    sqlite3_file *real = real_of(file);
    int rc = flush(file);

    return rc == SQLITE_OK ? real->pMethods->xTruncate(real, size) : rc;
}

static int wal_sync(sqlite3_file *file, int flags)
{
    sqlite3_file *real = real_of(file);
    int rc = flush(file);

    return rc == SQLITE_OK ? real->pMethods->xSync(real, flags) : rc;
}

static int wal_file_size(sqlite3_file *file, sqlite3_int64 *out)
{
    sqlite3_file *real = real_of(file);
    int rc = flush(file);

    return rc == SQLITE_OK ? real->pMethods->xFileSize(real, out) : rc;
}

/* What is still gathered committed nothing. */
static int wal_close(sqlite3_file *file)
{
    struct walfile *wal = wal_of(file);
    sqlite3_file *real = real_of(file);

    free(wal->bytes);
    wal->bytes = NULL;
    wal->len = 0;
    return real->pMethods->xClose(real);
}

static int wal_lock(sqlite3_file *file, int level)
{
    return real_of(file)->pMethods->xLock(real_of(file), level);
}

static int wal_unlock(sqlite3_file *file, int level)
{
    return real_of(file)->pMethods->xUnlock(real_of(file), level);
}

static int wal_check_reserved(sqlite3_file *file, int *out)
{
    return real_of(file)->pMethods->xCheckReservedLock(real_of(file), out);
}

static int wal_control(sqlite3_file *file, int op, void *arg)
{
    return real_of(file)->pMethods->xFileControl(real_of(file), op, arg);
}

static int wal_sector_size(sqlite3_file *file)
{
    return real_of(file)->pMethods->xSectorSize(real_of(file));
}

static int wal_characteristics(sqlite3_file *file)
{
    return real_of(file)->pMethods->xDeviceCharacteristics(real_of(file));
}

static const sqlite3_io_methods methods = {
    .iVersion = 1, /* Memory is shared through the database's file. */
    .xClose = wal_close,
    .xRead = wal_read,
    .xWrite = wal_write,
    .xTruncate = wal_truncate,
    .xSync = wal_sync,
    .xFileSize = wal_file_size,
    .xLock = wal_lock,
    .xUnlock = wal_unlock,
    .xCheckReservedLock = wal_check_reserved,
    .xFileControl = wal_control,
    .xSectorSize = wal_sector_size,
    .xDeviceCharacteristics = wal_characteristics,
};

enum {
    OWN_BYTES = (sizeof(struct walfile) + 15) / 16 * 16, /* The inner one is aligned. */
};

int walfile_size(int inner_size)
{
    return inner_size + OWN_BYTES;
}

sqlite3_file *walfile_inner(sqlite3_file *file)
{
    return (sqlite3_file *)((uint8_t *)file + OWN_BYTES);
}

void walfile_wrap(sqlite3_file *file)
{
    *wal_of(file) = (struct walfile){.base.pMethods = &methods};
}

/* The VFS for real files. */

static sqlite3_vfs wrapped;
static sqlite3_vfs *unix_excl;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static int wrapped_open(sqlite3_vfs *vfs, const char *path, sqlite3_file *file, int flags,
                        int *out_flags)
{
    int rc;

    (void)vfs;
    if ((flags & SQLITE_OPEN_WAL) == 0) {
        return unix_excl->xOpen(unix_excl, path, file, flags, out_flags);
    }
    file->pMethods = NULL;
    rc = unix_excl->xOpen(unix_excl, path, walfile_inner(file), flags, out_flags);
    if (rc == SQLITE_OK) {
        walfile_wrap(file);
    }
    return rc;
}

static void make_wrapped(void)
{
    sqlite3_vfs *found = sqlite3_vfs_find("unix-excl");

    if (found == NULL) {
        return;
    }
    wrapped = *found; /* Whatever is not about opening does not look at its VFS. */
    wrapped.pNext = NULL;
    wrapped.zName = "grapevine";
    wrapped.szOsFile = walfile_size(found->szOsFile);
    wrapped.xOpen = wrapped_open;
    unix_excl = found;
    if (sqlite3_vfs_register(&wrapped, 0) != SQLITE_OK) {
        unix_excl = NULL;
    }
}

const char *walfile_vfs(void)
{
    (void)pthread_once(&once, make_wrapped);
    return unix_excl != NULL ? wrapped.zName : "unix-excl";
}
