#include "store/pages.h"

#include "base/assert.h"
#include "base/crc32c.h"
#include "base/disk.h"
#include "base/log.h"
#include "base/wire.h"

#include <pthread.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    CRC_AT = PAGES_BYTES - PAGES_RESERVED,
    WAL_HEAD = 32,
    FRAME_HEAD = 24,
    FRAME_BYTES = FRAME_HEAD + PAGES_BYTES,
    NAME_MAX_BYTES = 64,
};

/* The frames of one WAL, whoever has it open. */
struct wal {
    struct wal *next;
    char *path;
    uint32_t refs;
    uint64_t n;    /* Frames that there is room for. */
    uint32_t *crc; /* Of frame i's page; */
    uint8_t *has;  /* if it is known. */
};

struct shim {
    sqlite3_vfs vfs;
    struct shim *next;
    sqlite3_vfs *base;
    char name[NAME_MAX_BYTES];
    struct pages_salvaged *salvaged; /* NULL: what does not match is a fault. */
    pthread_mutex_t lock;            /* Over @wals and what is in them. */
    struct wal *wals;
};

struct page_file {
    sqlite3_file file;
    struct shim *shim;
    struct wal *wal;    /* A WAL; */
    bool is_db;         /* or the database; or else just any file. */
    sqlite3_file *real; /* Behind this struct. */
};

static pthread_mutex_t shims_lock = PTHREAD_MUTEX_INITIALIZER;
static struct shim *shims;

static struct page_file *file_of(sqlite3_file *file)
{
    return (struct page_file *)file;
}

static sqlite3_vfs *base_of(sqlite3_vfs *vfs)
{
    return ((struct shim *)vfs->pAppData)->base;
}

/* Pages of the database. */

static uint32_t page_crc(const uint8_t *page, sqlite3_int64 offset)
{
    uint8_t place[8];

    wire_store_u64(place, (uint64_t)offset / PAGES_BYTES);
    return crc32c(crc32c(0, place, sizeof place), page, CRC_AT);
}

static bool is_page(int len, sqlite3_int64 offset)
{
    return len == (int)PAGES_BYTES && offset % (sqlite3_int64)PAGES_BYTES == 0;
}

static bool is_zero(const uint8_t *page)
{
    return page[0] == 0 && memcmp(page, page + 1, PAGES_BYTES - 1) == 0;
}

/* The one bit whose flip explains the checksum, set right. */
static bool mend_bit(uint8_t *page, sqlite3_int64 offset)
{
    uint32_t differs = wire_load_u32(page + CRC_AT) ^ page_crc(page, offset);
    uint64_t bit = crc32c_flipped(differs, CRC_AT);

    if (wire_load_u32(page + CRC_AT + 4) != 0) {
        return differs == 0; /* It is of the zeros behind, or there are more. */
    }
    if (bit == CRC32C_NO_BIT) {
        return false;
    }
    page[bit / 8] ^= (uint8_t)(1u << bit % 8);
    return true;
}

static int check_page(const struct page_file *file, uint8_t *page, sqlite3_int64 offset)
{
    struct pages_salvaged *salvaged = file->shim->salvaged;

    if ((wire_load_u32(page + CRC_AT) == page_crc(page, offset) &&
         wire_load_u32(page + CRC_AT + 4) == 0) ||
        is_zero(page)) {
        return SQLITE_OK;
    }
    if (salvaged != NULL && mend_bit(page, offset)) {
        salvaged->mended++;
        return SQLITE_OK;
    }
    log_error("store", "msg=\"a page of meta.db is damaged\" page=%lld",
              (long long)(offset / (sqlite3_int64)PAGES_BYTES + 1));
    if (salvaged != NULL) {
        salvaged->bad++;
        return SQLITE_OK;
    }
    return SQLITE_IOERR_DATA;
}

/* Frames of the WAL. */

/* The frame whose page, or which as a whole, begins at @offset; -1: none does. */
static int64_t frame_at(sqlite3_int64 offset, int len)
{
    sqlite3_int64 at = offset - WAL_HEAD - (len == FRAME_BYTES ? 0 : FRAME_HEAD);

    return (len == FRAME_BYTES || len == (int)PAGES_BYTES) && at >= 0 &&
                   at % FRAME_BYTES == 0
               ? at / FRAME_BYTES
               : -1;
}

static bool wal_grow(struct wal *wal, uint64_t frame)
{
    uint64_t n = wal->n == 0 ? 1024 : wal->n;
    uint32_t *crc;
    uint8_t *has;

    while (n <= frame) {
        n *= 2;
    }
    if (n == wal->n) {
        return true;
    }
    crc = realloc(wal->crc, n * sizeof *crc);
    wal->crc = crc == NULL ? wal->crc : crc;
    has = realloc(wal->has, n);
    wal->has = has == NULL ? wal->has : has;
    if (crc == NULL || has == NULL) {
        return false;
    }
    memset(wal->has + wal->n, 0, n - wal->n);
    wal->n = n;
    return true;
}

/* Without memory the frame is just not known. */
static void frame_note(struct page_file *file, int64_t frame, uint32_t crc)
{
    pthread_mutex_lock(&file->shim->lock);
    if (wal_grow(file->wal, (uint64_t)frame)) {
        file->wal->crc[frame] = crc;
        file->wal->has[frame] = 1;
    } else if ((uint64_t)frame < file->wal->n) {
        file->wal->has[frame] = 0;
    }
    pthread_mutex_unlock(&file->shim->lock);
}

static int frame_check(struct page_file *file, const uint8_t *bytes, int len,
                       sqlite3_int64 offset)
{
    int64_t frame = frame_at(offset, len);
    bool known = false;
    bool same = true;
    uint32_t crc;

    if (frame < 0) {
        return SQLITE_OK;
    }
    crc = crc32c(0, bytes + (len - (int)PAGES_BYTES), PAGES_BYTES);
    pthread_mutex_lock(&file->shim->lock);
    if ((uint64_t)frame < file->wal->n && file->wal->has[frame] != 0) {
        known = true;
        same = file->wal->crc[frame] == crc;
    }
    pthread_mutex_unlock(&file->shim->lock);
    if (!known && len == FRAME_BYTES) {
        frame_note(file, frame, crc); /* A recovery, which checks it itself. */
    }
    if (!same) {
        log_error("store", "msg=\"a page in the WAL of meta.db is damaged\" frame=%lld",
                  (long long)frame);
    }
    return same ? SQLITE_OK : SQLITE_IOERR_DATA;
}

static struct wal *wal_get(struct shim *shim, const char *path)
{
    struct wal *wal;

    pthread_mutex_lock(&shim->lock);
    for (wal = shim->wals; wal != NULL && strcmp(wal->path, path) != 0; wal = wal->next) {
    }
    if (wal == NULL) {
        wal = calloc(1, sizeof *wal);
        if (wal != NULL) {
            wal->path = strdup(path);
        }
        if (wal != NULL && wal->path == NULL) {
            free(wal);
            wal = NULL;
        }
        if (wal != NULL) {
            wal->next = shim->wals;
            shim->wals = wal;
        }
    }
    if (wal != NULL) {
        wal->refs++;
    }
    pthread_mutex_unlock(&shim->lock);
    return wal;
}

static void wal_put(struct shim *shim, struct wal *wal)
{
    struct wal **at = &shim->wals;

    if (wal == NULL) {
        return;
    }
    pthread_mutex_lock(&shim->lock);
    ASSERT(wal->refs > 0);
    wal->refs--;
    if (wal->refs == 0) {
        while (*at != wal) {
            at = &(*at)->next;
        }
        *at = wal->next;
        free(wal->path);
        free(wal->crc);
        free(wal->has);
        free(wal);
    }
    pthread_mutex_unlock(&shim->lock);
}

/* Of a file. */

static int file_read(sqlite3_file *base, void *out, int len, sqlite3_int64 offset)
{
    struct page_file *file = file_of(base);
    int rc;

    if (disk_is_nowait()) {
        /* sqlite's cache does not have it. For this code alone does a statement that only
         * reads leave a transaction alone in which others wait for their commit. */
        return SQLITE_INTERRUPT;
    }
    rc = file->real->pMethods->xRead(file->real, out, len, offset);
    if (rc != SQLITE_OK) {
        return rc;
    }
    if (file->is_db && is_page(len, offset)) {
        return check_page(file, out, offset);
    }
    return file->wal != NULL ? frame_check(file, out, len, offset) : SQLITE_OK;
}

static int file_write(sqlite3_file *base, const void *bytes, int len,
                      sqlite3_int64 offset)
{
    struct page_file *file = file_of(base);
    uint8_t page[PAGES_BYTES];
    int64_t frame;
    int rc;

    if (file->is_db && is_page(len, offset)) {
        memcpy(page, bytes, CRC_AT);
        wire_store_u32(page + CRC_AT, page_crc(page, offset));
        wire_store_u32(page + CRC_AT + 4, 0);
        return file->real->pMethods->xWrite(file->real, page, len, offset);
    }
    frame = file->wal == NULL ? -1 : frame_at(offset, len);
    rc = file->real->pMethods->xWrite(file->real, bytes, len, offset);
    if (frame >= 0) {
        frame_note(
            file, frame,
            crc32c(0, (const uint8_t *)bytes + (len - (int)PAGES_BYTES), PAGES_BYTES));
    }
    return rc;
}

static int file_close(sqlite3_file *base)
{
    struct page_file *file = file_of(base);
    int rc = file->real->pMethods->xClose(file->real);

    wal_put(file->shim, file->wal);
    file->wal = NULL;
    return rc;
}

static int file_truncate(sqlite3_file *base, sqlite3_int64 size)
{
    return file_of(base)->real->pMethods->xTruncate(file_of(base)->real, size);
}

static int file_sync(sqlite3_file *base, int flags)
{
    return file_of(base)->real->pMethods->xSync(file_of(base)->real, flags);
}

static int file_size(sqlite3_file *base, sqlite3_int64 *out)
{
    return file_of(base)->real->pMethods->xFileSize(file_of(base)->real, out);
}

static int file_lock(sqlite3_file *base, int level)
{
    return file_of(base)->real->pMethods->xLock(file_of(base)->real, level);
}

static int file_unlock(sqlite3_file *base, int level)
{
    return file_of(base)->real->pMethods->xUnlock(file_of(base)->real, level);
}

static int file_reserved(sqlite3_file *base, int *out)
{
    return file_of(base)->real->pMethods->xCheckReservedLock(file_of(base)->real, out);
}

static int file_control(sqlite3_file *base, int op, void *arg)
{
    return file_of(base)->real->pMethods->xFileControl(file_of(base)->real, op, arg);
}

static int file_sector(sqlite3_file *base)
{
    return file_of(base)->real->pMethods->xSectorSize(file_of(base)->real);
}

static int file_traits(sqlite3_file *base)
{
    return file_of(base)->real->pMethods->xDeviceCharacteristics(file_of(base)->real);
}

static int shm_map(sqlite3_file *base, int region, int bytes, int extend,
                   void volatile **out)
{
    return file_of(base)->real->pMethods->xShmMap(file_of(base)->real, region, bytes,
                                                  extend, out);
}

static int shm_lock(sqlite3_file *base, int first, int n, int flags)
{
    return file_of(base)->real->pMethods->xShmLock(file_of(base)->real, first, n, flags);
}

static void shm_barrier(sqlite3_file *base)
{
    file_of(base)->real->pMethods->xShmBarrier(file_of(base)->real);
}

static int shm_unmap(sqlite3_file *base, int remove)
{
    return file_of(base)->real->pMethods->xShmUnmap(file_of(base)->real, remove);
}

/* Version 2: no mapping of files into memory, which would go past the checks. */
static const sqlite3_io_methods methods = {
    .iVersion = 2,
    .xClose = file_close,
    .xRead = file_read,
    .xWrite = file_write,
    .xTruncate = file_truncate,
    .xSync = file_sync,
    .xFileSize = file_size,
    .xLock = file_lock,
    .xUnlock = file_unlock,
    .xCheckReservedLock = file_reserved,
    .xFileControl = file_control,
    .xSectorSize = file_sector,
    .xDeviceCharacteristics = file_traits,
    .xShmMap = shm_map,
    .xShmLock = shm_lock,
    .xShmBarrier = shm_barrier,
    .xShmUnmap = shm_unmap,
};

/* Of the file system. */

static int vfs_open(sqlite3_vfs *vfs, const char *path, sqlite3_file *out, int flags,
                    int *out_flags)
{
    struct page_file *file = file_of(out);
    sqlite3_vfs *base = base_of(vfs);
    int rc;

    memset(file, 0, sizeof *file);
    /* One file of several databases, of which there are none here. A rollback journal that
     * names some file as such makes sqlite remove it. */
    if ((flags & SQLITE_OPEN_SUPER_JOURNAL) != 0) {
        return SQLITE_CANTOPEN;
    }
    file->shim = vfs->pAppData;
    file->real = (sqlite3_file *)(file + 1);
    if ((flags & SQLITE_OPEN_WAL) != 0 && path != NULL) {
        file->wal = wal_get(file->shim, path);
        if (file->wal == NULL) {
            return SQLITE_NOMEM;
        }
    }
    file->is_db = (flags & SQLITE_OPEN_MAIN_DB) != 0;
    rc = base->xOpen(base, path, file->real, flags, out_flags);
    if (rc != SQLITE_OK) {
        wal_put(file->shim, file->wal);
        file->wal = NULL;
    }
    /* sqlite closes a file that did not open, if it has methods. */
    if (rc == SQLITE_OK) {
        out->pMethods = &methods;
    }
    return rc;
}

static int vfs_delete(sqlite3_vfs *vfs, const char *path, int sync)
{
    return base_of(vfs)->xDelete(base_of(vfs), path, sync);
}

static int vfs_access(sqlite3_vfs *vfs, const char *path, int flags, int *out)
{
    return base_of(vfs)->xAccess(base_of(vfs), path, flags, out);
}

static int vfs_full(sqlite3_vfs *vfs, const char *path, int n, char *out)
{
    return base_of(vfs)->xFullPathname(base_of(vfs), path, n, out);
}

static int vfs_random(sqlite3_vfs *vfs, int n, char *out)
{
    return base_of(vfs)->xRandomness(base_of(vfs), n, out);
}

static int vfs_sleep(sqlite3_vfs *vfs, int us)
{
    return base_of(vfs)->xSleep(base_of(vfs), us);
}

static int vfs_time(sqlite3_vfs *vfs, double *out)
{
    return base_of(vfs)->xCurrentTime(base_of(vfs), out);
}

static int vfs_error(sqlite3_vfs *vfs, int n, char *out)
{
    return base_of(vfs)->xGetLastError(base_of(vfs), n, out);
}

static int vfs_time_ms(sqlite3_vfs *vfs, sqlite3_int64 *out)
{
    return base_of(vfs)->xCurrentTimeInt64(base_of(vfs), out);
}

static struct shim *shim_new(const char *name, sqlite3_vfs *base)
{
    struct shim *shim = calloc(1, sizeof *shim);

    if (shim == NULL) {
        return NULL;
    }
    shim->base = base;
    (void)snprintf(shim->name, sizeof shim->name, "pages+%s", name);
    pthread_mutex_init(&shim->lock, NULL);
    shim->vfs = (sqlite3_vfs){
        .iVersion = 2,
        .szOsFile = (int)sizeof(struct page_file) + base->szOsFile,
        .mxPathname = base->mxPathname,
        .zName = shim->name,
        .pAppData = shim,
        .xOpen = vfs_open,
        .xDelete = vfs_delete,
        .xAccess = vfs_access,
        .xFullPathname = vfs_full,
        .xRandomness = vfs_random,
        .xSleep = vfs_sleep,
        .xCurrentTime = vfs_time,
        .xGetLastError = vfs_error,
        .xCurrentTimeInt64 = base->iVersion >= 2 ? vfs_time_ms : NULL,
    };
    if (base->iVersion < 2) {
        shim->vfs.iVersion = 1;
    }
    if (sqlite3_vfs_register(&shim->vfs, 0) != SQLITE_OK) {
        pthread_mutex_destroy(&shim->lock);
        free(shim);
        return NULL;
    }
    return shim;
}

static struct shim **find(const char *base)
{
    struct shim **at = &shims;

    while (*at != NULL && strcmp((*at)->name + strlen("pages+"), base) != 0) {
        at = &(*at)->next;
    }
    return at;
}

const char *pages_vfs(const char *base)
{
    struct shim *shim;
    sqlite3_vfs *vfs;

    if (strlen(base) >= NAME_MAX_BYTES - strlen("pages+")) {
        return NULL;
    }
    pthread_mutex_lock(&shims_lock);
    shim = *find(base);
    vfs = shim == NULL ? sqlite3_vfs_find(base) : NULL;
    if (shim == NULL && vfs != NULL) {
        shim = shim_new(base, vfs);
        if (shim != NULL) {
            shim->next = shims;
            shims = shim;
        }
    }
    pthread_mutex_unlock(&shims_lock);
    return shim == NULL ? NULL : shim->name;
}

void pages_salvage(const char *base, struct pages_salvaged *salvaged)
{
    struct shim *shim;

    pthread_mutex_lock(&shims_lock);
    shim = *find(base);
    if (shim != NULL) {
        shim->salvaged = salvaged;
    }
    pthread_mutex_unlock(&shims_lock);
}

void pages_forget(const char *base)
{
    struct shim **at;
    struct shim *shim;

    pthread_mutex_lock(&shims_lock);
    at = find(base);
    shim = *at;
    if (shim != NULL) {
        ASSERT(shim->wals == NULL);
        *at = shim->next;
        (void)sqlite3_vfs_unregister(&shim->vfs);
        pthread_mutex_destroy(&shim->lock);
        free(shim);
    }
    pthread_mutex_unlock(&shims_lock);
}
