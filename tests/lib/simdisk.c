#include "lib/simdisk_priv.h"

#include "base/assert.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static struct simdisk *sim_of(struct disk *disk)
{
    return (struct simdisk *)disk;
}

/* Faults. */

/* To call first: 0, or the error to give. */
static int begin(struct simdisk *sim, enum simdisk_op op)
{
    struct fault *fault = &sim->faults[op];

    if (!sim->on) {
        return -EIO;
    }
    if (op != SIMDISK_READ) {
        sim->changes++;
        if (sim->off_after > 0 && (sim->off_in == SIMDISK_OPS || sim->off_in == op)) {
            sim->off_after--;
            sim->on = sim->off_after > 0;
            sim->off_op = op;
        }
    }
    if (fault->nth == 0) {
        return 0;
    }
    if (fault->nth > 1) {
        fault->nth--;
        return 0;
    }
    fault->nth = fault->forever ? 1 : 0;
    return fault->error;
}

/* The power may have gone in the middle of this call: it was done, but nobody knows. */
static int end(const struct simdisk *sim)
{
    return sim->on ? 0 : -EIO;
}

static int check_file(const struct simdisk *sim, const struct disk_file *file, bool write)
{
    if (!sim->on || file->generation != sim->generation) {
        return -EIO;
    }
    return write && !file->writable ? -EBADF : 0;
}

/* The operations. */

static int create(struct simdisk *sim, const char *path, bool folder)
{
    char parent[SIMDISK_PATH_MAX];
    struct inode *inode;
    int rv;

    simdisk_folder_of(path, parent);
    if (!simdisk_folder_exists(&sim->now, parent)) {
        return -ENOENT;
    }
    rv = begin(sim, SIMDISK_NAME);
    if (rv != 0) {
        return rv;
    }
    inode = calloc(1, sizeof *inode);
    ASSERT(inode != NULL);
    inode->folder = folder;
    simdisk_change_names(sim, NULL, path, inode);
    return end(sim);
}

static int sim_open(struct disk *disk, const char *path, int flags,
                    struct disk_file **out)
{
    struct simdisk *sim = sim_of(disk);
    char spelt[SIMDISK_PATH_MAX];
    struct disk_file *file;
    struct name *name;
    int rv = sim->on ? simdisk_spell(path, spelt) : -EIO;

    rv = disk_is_nowait() ? -EAGAIN : rv;
    if (rv != 0) {
        return rv;
    }
    name = simdisk_names_find(&sim->now, spelt);
    if (name != NULL && (flags & DISK_EXCL) != 0 && (flags & DISK_CREATE) != 0) {
        return -EEXIST;
    }
    if (name == NULL && (flags & DISK_CREATE) == 0) {
        return -ENOENT;
    }
    if (name == NULL) {
        rv = create(sim, spelt, false);
        if (rv != 0) {
            return rv;
        }
        name = simdisk_names_find(&sim->now, spelt);
    }
    ASSERT(name != NULL);
    if (name->inode->folder) {
        return -EISDIR;
    }
    file = calloc(1, sizeof *file);
    ASSERT(file != NULL);
    file->inode = name->inode;
    file->inode->refs++;
    file->generation = sim->generation;
    file->writable = (flags & DISK_WRITE) != 0;
    sim->n_open++;
    *out = file;
    return 0;
}

static void sim_close(struct disk *disk, struct disk_file *file)
{
    struct simdisk *sim = sim_of(disk);

    if (file != NULL) {
        simdisk_inode_put(sim, file->inode);
        sim->n_open--;
        free(file);
    }
}

static bool touches_bad(const struct inode *inode, uint64_t offset, uint64_t len)
{
    return len > 0 && offset / SIMDISK_SECTOR <= inode->bad &&
           (offset + len - 1) / SIMDISK_SECTOR >= inode->bad;
}

static int sim_pread(struct disk *disk, struct disk_file *file, void *buf, size_t len,
                     uint64_t offset)
{
    struct simdisk *sim = sim_of(disk);
    int rv = check_file(sim, file, false);

    if (disk_is_nowait() && ++sim->n_nowait % 4 == 0) {
        return -EAGAIN;
    }
    if (rv == 0) {
        rv = begin(sim, SIMDISK_READ);
    }
    if (rv != 0) {
        return rv;
    }
    if (offset > file->inode->now.size || len > file->inode->now.size - offset) {
        return -ENODATA;
    }
    if (file->inode->has_bad && touches_bad(file->inode, offset, len)) {
        return -EIO;
    }
    pages_read(&file->inode->now, offset, buf, len);
    return 0;
}

static int sim_pwritev(struct disk *disk, struct disk_file *file, const struct iovec *iov,
                       int n_iov, uint64_t offset)
{
    struct simdisk *sim = sim_of(disk);
    struct write write = {.kind = WRITE_BYTES, .offset = offset};
    size_t at = 0;
    int rv = check_file(sim, file, true);

    ASSERT(n_iov >= 0 && n_iov <= 1024);
    if (rv == 0) {
        rv = begin(sim, SIMDISK_WRITE);
    }
    if (rv != 0) {
        return rv;
    }
    for (int i = 0; i < n_iov; i++) {
        write.len += iov[i].iov_len;
    }
    if (sim->capacity > 0 &&
        (sim->used_pages + pages_missing(&file->inode->now, offset, (size_t)write.len)) *
                PAGES_BYTES >
            sim->capacity) {
        return -ENOSPC;
    }
    write.data = malloc((size_t)write.len + 1);
    ASSERT(write.data != NULL);
    for (int i = 0; i < n_iov; i++) {
        if (iov[i].iov_len > 0) {
            memcpy(write.data + at, iov[i].iov_base, iov[i].iov_len);
        }
        at += iov[i].iov_len;
    }
    if (touches_bad(file->inode, offset, write.len)) {
        file->inode->has_bad = false; /* The disk has put another in its place. */
    }
    simdisk_inode_write(sim, file->inode, write);
    return end(sim);
}

static int sim_datasync(struct disk *disk, struct disk_file *file)
{
    struct simdisk *sim = sim_of(disk);
    struct inode *inode = file->inode;
    int rv = check_file(sim, file, false);

    if (rv != 0) {
        return rv;
    }
    rv = begin(sim, SIMDISK_SYNC);
    if (rv == 0) {
        rv = end(sim); /* The power went: nothing more is certain than before. */
    } else {
        simdisk_writes_clear(inode); /* Failed: the dirty pages are dropped. */
    }
    if (rv != 0 || sim->lie) {
        return rv;
    }
    for (size_t i = 0; i < inode->n_writes; i++) {
        simdisk_write_do(&inode->synced, &inode->writes[i]);
    }
    simdisk_writes_clear(inode);
    return 0;
}

static int sim_size(struct disk *disk, struct disk_file *file, uint64_t *out)
{
    struct simdisk *sim = sim_of(disk);
    int rv = check_file(sim, file, false);

    if (rv == 0) {
        *out = file->inode->now.size;
    }
    return rv;
}

static int write_simple(struct disk *disk, struct disk_file *file, struct write write)
{
    struct simdisk *sim = sim_of(disk);
    int rv = check_file(sim, file, true);

    if (rv == 0) {
        rv = begin(sim, SIMDISK_WRITE);
    }
    if (rv != 0) {
        return rv;
    }
    simdisk_inode_write(sim, file->inode, write);
    return end(sim);
}

static int sim_truncate(struct disk *disk, struct disk_file *file, uint64_t size)
{
    return write_simple(disk, file, (struct write){.kind = WRITE_SIZE, .offset = size});
}

static int sim_punch(struct disk *disk, struct disk_file *file, uint64_t offset,
                     uint64_t len)
{
    return write_simple(disk, file,
                        (struct write){.kind = WRITE_HOLE, .offset = offset, .len = len});
}

static int sim_list(struct disk *disk, const char *path,
                    int (*each)(void *ctx, const char *name), void *ctx)
{
    struct simdisk *sim = sim_of(disk);
    char spelt[SIMDISK_PATH_MAX];
    char folder[SIMDISK_PATH_MAX];
    int rv = sim->on ? simdisk_spell(path, spelt) : -EIO;

    if (rv == 0 && !simdisk_folder_exists(&sim->now, spelt)) {
        rv = -ENOENT;
    }
    for (size_t i = 0; rv == 0 && i < sim->now.n; i++) {
        const char *full = sim->now.list[i].path;

        simdisk_folder_of(full, folder);
        if (strcmp(folder, spelt) == 0) {
            rv = each(ctx, folder[0] == '\0' ? full : full + strlen(folder) + 1);
        }
    }
    return rv;
}

static int count_name(void *ctx, const char *name)
{
    (void)name;
    ++*(uint32_t *)ctx;
    return 0;
}

static int sim_unlink(struct disk *disk, const char *path)
{
    struct simdisk *sim = sim_of(disk);
    char spelt[SIMDISK_PATH_MAX];
    struct name *name;
    uint32_t n = 0;
    int rv = sim->on ? simdisk_spell(path, spelt) : -EIO;

    if (rv != 0) {
        return rv;
    }
    name = simdisk_names_find(&sim->now, spelt);
    if (name == NULL) {
        return -ENOENT;
    }
    if (name->inode->folder) {
        (void)sim_list(disk, spelt, count_name, &n);
    }
    if (n > 0) {
        return -ENOTEMPTY;
    }
    rv = begin(sim, SIMDISK_NAME);
    if (rv != 0) {
        return rv;
    }
    simdisk_change_names(sim, spelt, NULL, NULL);
    return end(sim);
}

static int sim_rename(struct disk *disk, const char *from, const char *to)
{
    struct simdisk *sim = sim_of(disk);
    char old[SIMDISK_PATH_MAX];
    char new[SIMDISK_PATH_MAX];
    char folder_old[SIMDISK_PATH_MAX];
    char folder_new[SIMDISK_PATH_MAX];
    struct name *name;
    int rv = sim->on ? simdisk_spell(from, old) : -EIO;

    if (rv == 0) {
        rv = simdisk_spell(to, new);
    }
    if (rv != 0) {
        return rv;
    }
    simdisk_folder_of(old, folder_old);
    simdisk_folder_of(new, folder_new);
    name = simdisk_names_find(&sim->now, old);
    if (name == NULL) {
        return -ENOENT;
    }
    if (name->inode->folder || strcmp(folder_old, folder_new) != 0) {
        return -EXDEV;
    }
    if (simdisk_folder_exists(&sim->now, new)) {
        return -EISDIR;
    }
    if (strcmp(old, new) == 0) {
        return 0;
    }
    rv = begin(sim, SIMDISK_NAME);
    if (rv != 0) {
        return rv;
    }
    simdisk_change_names(sim, old, new, name->inode);
    return end(sim);
}

static int sim_mkdir(struct disk *disk, const char *path)
{
    struct simdisk *sim = sim_of(disk);
    char spelt[SIMDISK_PATH_MAX];
    int rv = sim->on ? simdisk_spell(path, spelt) : -EIO;

    if (rv != 0 || simdisk_folder_exists(&sim->now, spelt)) {
        return rv;
    }
    return simdisk_names_find(&sim->now, spelt) != NULL ? -ENOTDIR
                                                        : create(sim, spelt, true);
}

static int sim_syncdir(struct disk *disk, const char *path)
{
    struct simdisk *sim = sim_of(disk);
    char spelt[SIMDISK_PATH_MAX];
    int rv = sim->on ? simdisk_spell(path, spelt) : -EIO;

    if (rv == 0 && !simdisk_folder_exists(&sim->now, spelt)) {
        rv = -ENOENT;
    }
    if (rv == 0) {
        rv = begin(sim, SIMDISK_SYNC);
    }
    if (rv == 0) {
        rv = end(sim);
    }
    if (rv == 0 && !sim->lie) {
        simdisk_settle_folder(sim, spelt, UINT64_MAX);
    }
    return rv;
}

static int sim_space(struct disk *disk, const char *path, uint64_t *free_bytes,
                     uint64_t *total_bytes)
{
    struct simdisk *sim = sim_of(disk);
    uint64_t used = simdisk_used(sim);

    (void)path;
    if (!sim->on) {
        return -EIO;
    }
    *total_bytes = sim->capacity == 0 ? 1ULL << 40 : sim->capacity;
    *free_bytes = used < *total_bytes ? *total_bytes - used : 0;
    return 0;
}

static const struct disk_ops sim_ops = {
    .open = sim_open,
    .close = sim_close,
    .pread = sim_pread,
    .pwritev = sim_pwritev,
    .datasync = sim_datasync,
    .size = sim_size,
    .truncate = sim_truncate,
    .punch = sim_punch,
    .unlink = sim_unlink,
    .rename = sim_rename,
    .mkdir = sim_mkdir,
    .syncdir = sim_syncdir,
    .list = sim_list,
    .space = sim_space,
};

enum simdisk_op simdisk_off_op(const struct simdisk *sim)
{
    return sim->off_op;
}

struct simdisk *simdisk_new(uint64_t capacity)
{
    struct simdisk *sim = calloc(1, sizeof *sim);

    ASSERT(sim != NULL);
    sim->disk.ops = &sim_ops;
    sim->capacity = capacity;
    sim->on = true;
    return sim;
}

void simdisk_free(struct simdisk *sim)
{
    if (sim == NULL) {
        return;
    }
    ASSERT(sim->n_open == 0);
    simdisk_names_clear(sim, &sim->now);
    simdisk_names_clear(sim, &sim->durable);
    for (size_t i = 0; i < sim->n_changes; i++) {
        simdisk_change_free(sim, &sim->changes_list[i]);
    }
    free(sim->changes_list);
    free(sim->now.list);
    free(sim->durable.list);
    free(sim);
}

struct disk *simdisk_disk(struct simdisk *sim)
{
    return &sim->disk;
}
