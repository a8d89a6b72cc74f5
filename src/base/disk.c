#include "base/disk.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static _Thread_local bool nowait;

void disk_nowait(bool on)
{
    nowait = on;
}

bool disk_is_nowait(void)
{
    return nowait;
}

static bool aligned(const void *at, size_t len, uint64_t offset)
{
    return ((uintptr_t)at | len | offset) % DISK_DIRECT_ALIGN == 0;
}

int disk_read_direct(struct disk *disk, struct disk_file *file, void *buf, size_t len,
                     uint64_t offset)
{
    if (!aligned(buf, len, offset)) {
        return -EINVAL;
    }
    return disk->ops->read_direct != NULL
               ? disk->ops->read_direct(disk, file, buf, len, offset)
               : disk->ops->pread(disk, file, buf, len, offset);
}

int disk_write_direct(struct disk *disk, struct disk_file *file, const struct iovec *iov,
                      int n_iov, uint64_t offset)
{
    for (int i = 0; i < n_iov; i++) {
        if (!aligned(iov[i].iov_base, iov[i].iov_len, offset)) {
            return -EINVAL;
        }
    }
    return disk->ops->write_direct != NULL
               ? disk->ops->write_direct(disk, file, iov, n_iov, offset)
               : disk->ops->pwritev(disk, file, iov, n_iov, offset);
}

int disk_read_file(struct disk *disk, const char *path, size_t max, char **out,
                   size_t *len)
{
    struct disk_file *file = NULL;
    uint64_t size = 0;
    char *data = NULL;
    int rv;

    rv = disk->ops->open(disk, path, DISK_READ, &file);
    if (rv != 0) {
        return rv;
    }
    rv = disk->ops->size(disk, file, &size);
    if (rv == 0 && size > max) {
        rv = -EFBIG;
    }
    if (rv != 0) {
        goto out;
    }
    data = malloc((size_t)size + 1);
    if (data == NULL) {
        rv = -ENOMEM;
        goto out;
    }
    rv = size == 0 ? 0 : disk->ops->pread(disk, file, data, (size_t)size, 0);
    if (rv != 0) {
        goto out;
    }
    data[size] = '\0';
    *out = data;
    *len = (size_t)size;
    data = NULL;
out:
    disk->ops->close(disk, file);
    free(data);
    return rv;
}

static int write_whole(struct disk *disk, const char *path, const void *data, size_t len)
{
    struct iovec iov = {.iov_base = (void *)(uintptr_t)data, .iov_len = len};
    struct disk_file *file = NULL;
    int rv;

    rv = disk->ops->open(disk, path, DISK_WRITE | DISK_CREATE, &file);
    if (rv != 0) {
        return rv;
    }
    rv = disk->ops->truncate(disk, file, 0); /* A crash may have left an older try. */
    if (rv == 0 && len > 0) {
        rv = disk->ops->pwritev(disk, file, &iov, 1, 0);
    }
    if (rv == 0) {
        rv = disk->ops->datasync(disk, file);
    }
    disk->ops->close(disk, file);
    return rv;
}

int disk_replace_file(struct disk *disk, const char *path, const void *data, size_t len)
{
    char other[PATH_MAX];
    int rv;

    if (strlen(path) + sizeof ".tmp" > sizeof other) {
        return -ENAMETOOLONG;
    }
    (void)snprintf(other, sizeof other, "%s.tmp", path);
    rv = write_whole(disk, other, data, len);
    if (rv == 0) {
        rv = disk->ops->rename(disk, other, path);
    }
    if (rv != 0) {
        (void)disk->ops->unlink(disk, other);
        return rv;
    }
    return disk_sync_parent(disk, path);
}

int disk_sync_parent(struct disk *disk, const char *path)
{
    const char *slash = strrchr(path, '/');
    char parent[PATH_MAX];
    size_t len;

    if (slash == NULL) {
        return disk->ops->syncdir(disk, ".");
    }
    len = slash == path ? 1 : (size_t)(slash - path);
    if (len >= sizeof parent) {
        return -ENAMETOOLONG;
    }
    memcpy(parent, path, len);
    parent[len] = '\0';
    return disk->ops->syncdir(disk, parent);
}
