#include "store/vfs.h"

#include "base/assert.h"
#include "base/prng.h"
#include "store/pages.h"
#include "store/walfile.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    SECTOR_BYTES = 4096,
    REGIONS_MAX = 4096, /* Of 32 KiB each: a WAL of about 16 million frames. */
};

struct vfs_file;

/* What all connections to one path share. */
struct node {
    struct node *next;
    char *path;
    uint32_t refs;
    /* File locks: how many hold SHARED or more, and who holds more. */
    uint32_t n_shared;
    struct vfs_file *writer;
    int writer_level;
    /* WAL's shared memory. */
    uint32_t shm_refs;
    void **regions;
    int n_regions;
    uint32_t shm_shared[SQLITE_SHM_NLOCK];
    struct vfs_file *shm_exclusive[SQLITE_SHM_NLOCK];
};

struct vfs {
    sqlite3_vfs base;
    struct disk *disk;
    char *name;
    pthread_mutex_t lock; /* Over everything below. */
    struct node *nodes;
    struct prng prng;
    int64_t time_ms;
    uint64_t temporaries;
};

struct vfs_file {
    sqlite3_file base;
    struct vfs *vfs;
    struct node *node;
    struct disk_file *file;
    bool delete_on_close;
    bool unsynced_name; /* Created here: its name is made durable with the first sync. */
    bool has_shm;
    int level; /* SQLITE_LOCK_x held. */
    uint32_t shm_held_shared;
};

static struct vfs *vfs_of(sqlite3_vfs *base)
{
    return base->pAppData;
}

static struct vfs_file *file_of(sqlite3_file *base)
{
    return (struct vfs_file *)base;
}

/* The folder's edge: a fault becomes @otherwise, except for a full disk. */
static int code_of(int rv, int otherwise)
{
    if (rv == 0) {
        return SQLITE_OK;
    }
    return rv == -ENOSPC ? SQLITE_FULL : otherwise;
}

static struct node *node_get(struct vfs *vfs, const char *path)
{
    struct node *node;

    for (node = vfs->nodes; node != NULL; node = node->next) {
        if (strcmp(node->path, path) == 0) {
            node->refs++;
            return node;
        }
    }
    node = calloc(1, sizeof *node);
    if (node == NULL) {
        return NULL;
    }
    node->path = strdup(path);
    if (node->path == NULL) {
        free(node);
        return NULL;
    }
    node->refs = 1;
    node->next = vfs->nodes;
    vfs->nodes = node;
    return node;
}

static void node_put(struct vfs *vfs, struct node *node)
{
    struct node **at = &vfs->nodes;

    ASSERT(node->refs > 0);
    node->refs--;
    if (node->refs > 0) {
        return;
    }
    ASSERT(node->n_shared == 0 && node->writer == NULL && node->shm_refs == 0);
    while (*at != node) {
        at = &(*at)->next;
    }
    *at = node->next;
    free(node->path);
    free(node);
}

/* Locks on the file. */

static int file_lock(sqlite3_file *base, int level)
{
    struct vfs_file *file = file_of(base);
    struct node *node = file->node;
    int rc = SQLITE_OK;

    pthread_mutex_lock(&file->vfs->lock);
    if (file->level >= level) {
        goto out;
    }
    if (level == SQLITE_LOCK_SHARED) {
        if (node->writer != NULL && node->writer_level >= SQLITE_LOCK_PENDING) {
            rc = SQLITE_BUSY;
            goto out;
        }
        node->n_shared++;
        file->level = level;
        goto out;
    }
    ASSERT(file->level >= SQLITE_LOCK_SHARED);
    if (node->writer != NULL && node->writer != file) {
        rc = SQLITE_BUSY;
        goto out;
    }
    if (level == SQLITE_LOCK_EXCLUSIVE && node->n_shared > 1) {
        level = SQLITE_LOCK_PENDING; /* No new readers; wait for the others. */
        rc = SQLITE_BUSY;
    }
    node->writer = file;
    node->writer_level = level;
    file->level = level;
out:
    pthread_mutex_unlock(&file->vfs->lock);
    return rc;
}

static int file_unlock(sqlite3_file *base, int level)
{
    struct vfs_file *file = file_of(base);
    struct node *node = file->node;

    ASSERT(level <= SQLITE_LOCK_SHARED);
    pthread_mutex_lock(&file->vfs->lock);
    if (level < file->level) {
        if (node->writer == file) {
            node->writer = NULL;
            node->writer_level = SQLITE_LOCK_NONE;
        }
        if (level == SQLITE_LOCK_NONE) {
            ASSERT(node->n_shared > 0);
            node->n_shared--;
        }
        file->level = level;
    }
    pthread_mutex_unlock(&file->vfs->lock);
    return SQLITE_OK;
}

static int file_check_reserved(sqlite3_file *base, int *out)
{
    struct vfs_file *file = file_of(base);

    pthread_mutex_lock(&file->vfs->lock);
    *out = file->node->writer != NULL;
    pthread_mutex_unlock(&file->vfs->lock);
    return SQLITE_OK;
}

/* WAL's shared memory. */

static void shm_unlock(struct vfs_file *file, int first, int n)
{
    struct node *node = file->node;

    for (int i = first; i < first + n; i++) {
        if (node->shm_exclusive[i] == file) {
            node->shm_exclusive[i] = NULL;
        }
        if ((file->shm_held_shared & 1u << i) != 0) {
            ASSERT(node->shm_shared[i] > 0);
            node->shm_shared[i]--;
            file->shm_held_shared &= ~(1u << i);
        }
    }
}

static bool shm_blocked(const struct vfs_file *file, int slot, bool exclusive)
{
    const struct node *node = file->node;
    uint32_t own = (file->shm_held_shared & 1u << slot) != 0 ? 1 : 0;

    if (node->shm_exclusive[slot] != NULL && node->shm_exclusive[slot] != file) {
        return true;
    }
    return exclusive && node->shm_shared[slot] > own;
}

static int shm_take(struct vfs_file *file, int first, int n, bool exclusive)
{
    struct node *node = file->node;

    for (int i = first; i < first + n; i++) {
        if (shm_blocked(file, i, exclusive)) {
            return SQLITE_BUSY;
        }
    }
    for (int i = first; i < first + n; i++) {
        if (exclusive) {
            node->shm_exclusive[i] = file;
        } else if ((file->shm_held_shared & 1u << i) == 0) {
            node->shm_shared[i]++;
            file->shm_held_shared |= 1u << i;
        }
    }
    return SQLITE_OK;
}

static int file_shm_lock(sqlite3_file *base, int first, int n, int flags)
{
    struct vfs_file *file = file_of(base);
    int rc = SQLITE_OK;

    ASSERT(first >= 0 && n >= 1 && first + n <= SQLITE_SHM_NLOCK && file->has_shm);
    pthread_mutex_lock(&file->vfs->lock);
    if ((flags & SQLITE_SHM_UNLOCK) != 0) {
        shm_unlock(file, first, n);
    } else {
        rc = shm_take(file, first, n, (flags & SQLITE_SHM_EXCLUSIVE) != 0);
    }
    pthread_mutex_unlock(&file->vfs->lock);
    return rc;
}

static int grow_regions(struct node *node, int n, size_t bytes)
{
    void **regions;

    if (n > REGIONS_MAX) {
        return SQLITE_FULL;
    }
    regions = realloc(node->regions, (size_t)n * sizeof *regions);
    if (regions == NULL) {
        return SQLITE_NOMEM;
    }
    node->regions = regions;
    while (node->n_regions < n) {
        void *region = calloc(1, bytes);

        if (region == NULL) {
            return SQLITE_NOMEM;
        }
        node->regions[node->n_regions] = region;
        node->n_regions++;
    }
    return SQLITE_OK;
}

static int file_shm_map(sqlite3_file *base, int region, int bytes, int extend,
                        void volatile **out)
{
    struct vfs_file *file = file_of(base);
    struct node *node = file->node;
    int rc = SQLITE_OK;

    pthread_mutex_lock(&file->vfs->lock);
    if (!file->has_shm) {
        file->has_shm = true;
        node->shm_refs++;
    }
    if (region >= node->n_regions && extend != 0) {
        rc = grow_regions(node, region + 1, (size_t)bytes);
    }
    *out = region < node->n_regions ? node->regions[region] : NULL;
    pthread_mutex_unlock(&file->vfs->lock);
    return rc;
}

static void file_shm_barrier(sqlite3_file *base)
{
    struct vfs_file *file = file_of(base);

    pthread_mutex_lock(&file->vfs->lock);
    pthread_mutex_unlock(&file->vfs->lock);
}

static int file_shm_unmap(sqlite3_file *base, int delete)
{
    struct vfs_file *file = file_of(base);
    struct node *node = file->node;

    (void)delete;
    pthread_mutex_lock(&file->vfs->lock);
    if (file->has_shm) {
        shm_unlock(file, 0, SQLITE_SHM_NLOCK);
        file->has_shm = false;
        node->shm_refs--;
    }
    if (node->shm_refs == 0) {
        for (int i = 0; i < node->n_regions; i++) {
            free(node->regions[i]);
        }
        free(node->regions);
        node->regions = NULL;
        node->n_regions = 0;
    }
    pthread_mutex_unlock(&file->vfs->lock);
    return SQLITE_OK;
}

/* Bytes. */

static int file_read(sqlite3_file *base, void *buf, int len, sqlite3_int64 offset)
{
    struct vfs_file *file = file_of(base);
    struct disk *disk = file->vfs->disk;
    size_t want = (size_t)len;
    size_t there = want;
    uint64_t size = 0;
    int rv = disk->ops->size(disk, file->file, &size);

    if (rv == 0 && (uint64_t)offset + want > size) {
        there = (uint64_t)offset < size ? (size_t)(size - (uint64_t)offset) : 0;
        memset((char *)buf + there, 0, want - there);
    }
    if (rv == 0 && there > 0) {
        rv = disk->ops->pread(disk, file->file, buf, there, (uint64_t)offset);
    }
    if (rv != 0) {
        return SQLITE_IOERR_READ;
    }
    return there == want ? SQLITE_OK : SQLITE_IOERR_SHORT_READ;
}

static int file_write(sqlite3_file *base, const void *buf, int len, sqlite3_int64 offset)
{
    struct vfs_file *file = file_of(base);
    struct disk *disk = file->vfs->disk;
    struct iovec iov = {.iov_base = (void *)(uintptr_t)buf, .iov_len = (size_t)len};

    return code_of(disk->ops->pwritev(disk, file->file, &iov, 1, (uint64_t)offset),
                   SQLITE_IOERR_WRITE);
}

static int file_truncate(sqlite3_file *base, sqlite3_int64 size)
{
    struct vfs_file *file = file_of(base);
    struct disk *disk = file->vfs->disk;

    return code_of(disk->ops->truncate(disk, file->file, (uint64_t)size),
                   SQLITE_IOERR_TRUNCATE);
}

static int file_sync(sqlite3_file *base, int flags)
{
    struct vfs_file *file = file_of(base);
    struct disk *disk = file->vfs->disk;
    int rv = disk->ops->datasync(disk, file->file);

    (void)flags;
    if (rv == 0 && file->unsynced_name) {
        rv = disk_sync_parent(disk, file->node->path);
        file->unsynced_name = rv != 0;
    }
    return rv == 0 ? SQLITE_OK : SQLITE_IOERR_FSYNC; /* Never just a full disk. */
}

static int file_size(sqlite3_file *base, sqlite3_int64 *out)
{
    struct vfs_file *file = file_of(base);
    uint64_t size = 0;
    int rv = file->vfs->disk->ops->size(file->vfs->disk, file->file, &size);

    *out = (sqlite3_int64)size;
    return code_of(rv, SQLITE_IOERR_FSTAT);
}

static int file_control(sqlite3_file *base, int op, void *arg)
{
    (void)base;
    (void)op;
    (void)arg;
    return SQLITE_NOTFOUND;
}

static int file_sector_size(sqlite3_file *base)
{
    (void)base;
    return SECTOR_BYTES;
}

/* A torn write harms no byte outside its own range. */
static int file_characteristics(sqlite3_file *base)
{
    (void)base;
    return SQLITE_IOCAP_POWERSAFE_OVERWRITE;
}

static int file_close(sqlite3_file *base)
{
    struct vfs_file *file = file_of(base);
    struct vfs *vfs = file->vfs;

    (void)file_shm_unmap(base, 0);
    (void)file_unlock(base, SQLITE_LOCK_NONE);
    vfs->disk->ops->close(vfs->disk, file->file);
    if (file->delete_on_close) {
        (void)vfs->disk->ops->unlink(vfs->disk, file->node->path);
    }
    pthread_mutex_lock(&vfs->lock);
    node_put(vfs, file->node);
    pthread_mutex_unlock(&vfs->lock);
    return SQLITE_OK;
}

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
    .xCheckReservedLock = file_check_reserved,
    .xFileControl = file_control,
    .xSectorSize = file_sector_size,
    .xDeviceCharacteristics = file_characteristics,
    .xShmMap = file_shm_map,
    .xShmLock = file_shm_lock,
    .xShmBarrier = file_shm_barrier,
    .xShmUnmap = file_shm_unmap,
};

/* The file system. */

static int disk_flags(int flags)
{
    int out = (flags & SQLITE_OPEN_READWRITE) != 0 ? DISK_WRITE : DISK_READ;

    out |= (flags & SQLITE_OPEN_CREATE) != 0 ? DISK_CREATE : 0;
    out |= (flags & SQLITE_OPEN_EXCLUSIVE) != 0 ? DISK_EXCL : 0;
    return out;
}

/* Open, noting in @file whether that made the file. */
static int open_file(struct vfs_file *file, const char *path, int flags)
{
    struct disk *disk = file->vfs->disk;
    int rv = -ENOENT;

    if ((flags & DISK_EXCL) == 0) {
        rv = disk->ops->open(disk, path, flags & ~DISK_CREATE, &file->file);
    }
    if (rv == -ENOENT && (flags & DISK_CREATE) != 0) {
        rv = disk->ops->open(disk, path, flags, &file->file);
        file->unsynced_name = rv == 0;
    }
    return rv;
}

static int open_plain(sqlite3_vfs *base, const char *path, sqlite3_file *out, int flags,
                      int *out_flags)
{
    struct vfs *vfs = vfs_of(base);
    struct vfs_file *file = file_of(out);
    char temporary[PATH_MAX];
    int rv;

    memset(file, 0, sizeof *file);
    file->vfs = vfs;
    pthread_mutex_lock(&vfs->lock);
    if (path == NULL) {
        (void)snprintf(temporary, sizeof temporary, "sqlite-%llu.tmp",
                       (unsigned long long)vfs->temporaries);
        vfs->temporaries++;
        path = temporary;
        flags |= SQLITE_OPEN_DELETEONCLOSE;
    }
    file->node = node_get(vfs, path);
    pthread_mutex_unlock(&vfs->lock);
    if (file->node == NULL) {
        return SQLITE_NOMEM;
    }
    rv = open_file(file, path, disk_flags(flags));
    if (rv != 0) {
        pthread_mutex_lock(&vfs->lock);
        node_put(vfs, file->node);
        pthread_mutex_unlock(&vfs->lock);
        return code_of(rv, SQLITE_CANTOPEN);
    }
    file->delete_on_close = (flags & SQLITE_OPEN_DELETEONCLOSE) != 0;
    file->base.pMethods = &methods;
    if (out_flags != NULL) {
        *out_flags = flags;
    }
    return SQLITE_OK;
}

static int vfs_open(sqlite3_vfs *base, const char *path, sqlite3_file *out, int flags,
                    int *out_flags)
{
    int rc;

    if ((flags & SQLITE_OPEN_WAL) == 0) {
        return open_plain(base, path, out, flags, out_flags);
    }
    out->pMethods = NULL;
    rc = open_plain(base, path, walfile_inner(out), flags, out_flags);
    if (rc == SQLITE_OK) {
        walfile_wrap(out);
    }
    return rc;
}

static int vfs_delete(sqlite3_vfs *base, const char *path, int sync)
{
    struct disk *disk = vfs_of(base)->disk;
    int rv = disk->ops->unlink(disk, path);

    if (rv == -ENOENT) {
        return SQLITE_IOERR_DELETE_NOENT;
    }
    if (rv != 0) {
        return SQLITE_IOERR_DELETE;
    }
    rv = sync != 0 ? disk_sync_parent(disk, path) : 0;
    return code_of(rv, SQLITE_IOERR_DIR_FSYNC);
}

/* An empty file counts as none, as in sqlite's own VFS. */
static int vfs_access(sqlite3_vfs *base, const char *path, int flags, int *out)
{
    struct disk *disk = vfs_of(base)->disk;
    struct disk_file *file = NULL;
    uint64_t size = 0;
    int rv = disk->ops->open(disk, path, DISK_READ, &file);

    (void)flags;
    if (rv == 0) {
        rv = disk->ops->size(disk, file, &size);
        disk->ops->close(disk, file);
    }
    *out = rv == 0 && size > 0;
    return rv == 0 || rv == -ENOENT || rv == -ENOTDIR ? SQLITE_OK : SQLITE_IOERR_ACCESS;
}

static int vfs_full_pathname(sqlite3_vfs *base, const char *path, int len, char *out)
{
    (void)base;
    if (strlen(path) >= (size_t)len) {
        return SQLITE_CANTOPEN;
    }
    (void)strcpy(out, path);
    return SQLITE_OK;
}

static int vfs_randomness(sqlite3_vfs *base, int len, char *out)
{
    struct vfs *vfs = vfs_of(base);

    pthread_mutex_lock(&vfs->lock);
    for (int i = 0; i < len; i++) {
        out[i] = (char)prng_below(&vfs->prng, 256);
    }
    pthread_mutex_unlock(&vfs->lock);
    return len;
}

static int vfs_sleep(sqlite3_vfs *base, int us)
{
    (void)base;
    (void)sched_yield();
    return us;
}

static int vfs_time(sqlite3_vfs *base, sqlite3_int64 *out)
{
    struct vfs *vfs = vfs_of(base);

    pthread_mutex_lock(&vfs->lock);
    vfs->time_ms++;
    *out = 210866760000000LL + vfs->time_ms; /* 1970 in Julian milliseconds. */
    pthread_mutex_unlock(&vfs->lock);
    return SQLITE_OK;
}

static int vfs_time_days(sqlite3_vfs *base, double *out)
{
    sqlite3_int64 now = 0;
    int rc = vfs_time(base, &now);

    *out = (double)now / 86400000.0;
    return rc;
}

static int vfs_last_error(sqlite3_vfs *base, int len, char *out)
{
    (void)base;
    if (len > 0) {
        out[0] = '\0';
    }
    return 0;
}

int vfs_register(struct disk *disk, const char *name)
{
    struct vfs *vfs;
    uint64_t seed = 0;

    if (sqlite3_vfs_find(name) != NULL) {
        return -EEXIST;
    }
    vfs = calloc(1, sizeof *vfs);
    if (vfs == NULL) {
        return -ENOMEM;
    }
    vfs->name = strdup(name);
    if (vfs->name == NULL) {
        free(vfs);
        return -ENOMEM;
    }
    for (const char *at = name; *at != '\0'; at++) {
        seed = seed * 31 + (unsigned char)*at;
    }
    prng_seed(&vfs->prng, seed);
    vfs->disk = disk;
    pthread_mutex_init(&vfs->lock, NULL);
    vfs->base = (sqlite3_vfs){
        .iVersion = 2,
        .szOsFile = walfile_size(sizeof(struct vfs_file)),
        .mxPathname = PATH_MAX - 1,
        .zName = vfs->name,
        .pAppData = vfs,
        .xOpen = vfs_open,
        .xDelete = vfs_delete,
        .xAccess = vfs_access,
        .xFullPathname = vfs_full_pathname,
        .xRandomness = vfs_randomness,
        .xSleep = vfs_sleep,
        .xCurrentTime = vfs_time_days,
        .xGetLastError = vfs_last_error,
        .xCurrentTimeInt64 = vfs_time,
    };
    if (sqlite3_vfs_register(&vfs->base, 0) != SQLITE_OK) {
        pthread_mutex_destroy(&vfs->lock);
        free(vfs->name);
        free(vfs);
        return -ENOMEM;
    }
    return 0;
}

void vfs_unregister(const char *name)
{
    sqlite3_vfs *base = sqlite3_vfs_find(name);
    struct vfs *vfs;

    pages_forget(name);
    if (base == NULL || base->xOpen != vfs_open) {
        return;
    }
    vfs = vfs_of(base);
    (void)sqlite3_vfs_unregister(base);
    ASSERT(vfs->nodes == NULL);
    pthread_mutex_destroy(&vfs->lock);
    free(vfs->name);
    free(vfs);
}
