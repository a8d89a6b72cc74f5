#include "base/disk.h"

#include "base/assert.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

enum {
    IOV_LIMIT = 1024, /* Linux's UIO_MAXIOV. */
};

/* Instead of the second descriptor. */
enum {
    DIRECT_NONE = -1,   /* Not needed yet. */
    DIRECT_CANNOT = -2, /* The file system has no way past the page cache. */
};

struct disk_file {
    int fd;
    _Atomic int direct; /* The same file, opened with O_DIRECT. */
    _Atomic bool waits; /* Its file system cannot say whether a read would wait. */
};

/* A spent quota of the file system is a full disk to whoever asks. */
static int last_fault(void)
{
    return errno == EDQUOT ? -ENOSPC : -errno;
}

/* A descriptor of a regular file, or an errno. Somebody else may have written to the disk: a
 * link in a file's place leads anywhere, a FIFO lets nobody go on, a device is no file. */
static int open_regular(const char *path, int mode)
{
    struct stat st;
    int rv = 0;
    int fd;

    do {
        fd = open(path, mode | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY, 0600);
    } while (fd < 0 && errno == EINTR);
    if (fd < 0) {
        return last_fault();
    }
    if (fstat(fd, &st) != 0) {
        rv = -errno;
    } else if (!S_ISREG(st.st_mode)) {
        rv = S_ISDIR(st.st_mode) ? -EISDIR : -ENXIO;
    }
    if (rv != 0) {
        (void)close(fd);
    }
    return rv != 0 ? rv : fd;
}

static int posix_open(struct disk *disk, const char *path, int flags,
                      struct disk_file **out)
{
    struct disk_file *file;
    int mode = O_CLOEXEC;

    (void)disk;
    if (disk_is_nowait()) {
        return -EAGAIN;
    }
    mode |= (flags & DISK_WRITE) != 0 ? O_RDWR : O_RDONLY;
    mode |= (flags & DISK_CREATE) != 0 ? O_CREAT : 0;
    mode |= (flags & DISK_EXCL) != 0 ? O_EXCL : 0;
    file = malloc(sizeof *file);
    if (file == NULL) {
        return -ENOMEM;
    }
    file->fd = open_regular(path, mode);
    if (file->fd < 0) {
        int rv = file->fd;

        free(file);
        return rv;
    }
    atomic_init(&file->direct, DIRECT_NONE);
    atomic_init(&file->waits, false);
    *out = file;
    return 0;
}

static void posix_close(struct disk *disk, struct disk_file *file)
{
    (void)disk;
    if (file != NULL) {
        (void)close(file->fd); /* What mattered was synced before. */
        if (file->direct >= 0) {
            (void)close(file->direct);
        }
        free(file);
    }
}

static int read_all(int fd, void *buf, size_t len, uint64_t offset)
{
    uint8_t *at = buf;

    while (len > 0) {
        ssize_t n = pread(fd, at, len, (off_t)offset);

        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            return -errno;
        }
        if (n == 0) {
            return -ENODATA;
        }
        at += n;
        len -= (size_t)n;
        offset += (uint64_t)n;
    }
    return 0;
}

/* Only what the page cache has. Some file systems cannot tell. */
static int read_cached(struct disk_file *file, void *buf, size_t len, uint64_t offset)
{
#ifdef RWF_NOWAIT
    struct iovec iov = {.iov_base = buf, .iov_len = len};

    while (iov.iov_len > 0 && !atomic_load_explicit(&file->waits, memory_order_relaxed)) {
        ssize_t n = preadv2(file->fd, &iov, 1, (off_t)offset, RWF_NOWAIT);

        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            if (errno == EOPNOTSUPP || errno == ENOSYS) {
                atomic_store_explicit(&file->waits, true, memory_order_relaxed);
            }
            return -EAGAIN; /* What is wrong besides shows when it is read for good. */
        }
        if (n == 0) {
            return -ENODATA;
        }
        iov.iov_base = (uint8_t *)iov.iov_base + n;
        iov.iov_len -= (size_t)n;
        offset += (uint64_t)n;
    }
    return iov.iov_len == 0 ? 0 : -EAGAIN;
#else
    (void)file;
    (void)buf;
    (void)len;
    (void)offset;
    return -EAGAIN;
#endif
}

static int posix_pread(struct disk *disk, struct disk_file *file, void *buf, size_t len,
                       uint64_t offset)
{
    (void)disk;
    return disk_is_nowait() ? read_cached(file, buf, len, offset)
                            : read_all(file->fd, buf, len, offset);
}

/* Step over @done bytes. Returns how many whole vectors were used up. */
static int iov_advance(struct iovec *iov, int n_iov, size_t done)
{
    int used = 0;

    while (used < n_iov && done >= iov[used].iov_len) {
        done -= iov[used].iov_len;
        used++;
    }
    if (used < n_iov) {
        iov[used].iov_base = (uint8_t *)iov[used].iov_base + done;
        iov[used].iov_len -= done;
    }
    return used;
}

static int write_all(int fd, const struct iovec *iov, int n_iov, uint64_t offset)
{
    struct iovec left[IOV_LIMIT];
    int at = 0;

    ASSERT(n_iov >= 0 && n_iov <= IOV_LIMIT);
    memcpy(left, iov, (size_t)n_iov * sizeof *iov);
    at += iov_advance(left, n_iov, 0); /* Empty vectors in front. */
    while (at < n_iov) {
        ssize_t n = pwritev(fd, left + at, n_iov - at, (off_t)offset);

        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            return last_fault();
        }
        if (n == 0) {
            return -EIO;
        }
        offset += (uint64_t)n;
        at += iov_advance(left + at, n_iov - at, (size_t)n);
    }
    return 0;
}

static int posix_pwritev(struct disk *disk, struct disk_file *file,
                         const struct iovec *iov, int n_iov, uint64_t offset)
{
    (void)disk;
    return write_all(file->fd, iov, n_iov, offset);
}

/*
 * A second descriptor, since the flag would hold for all calls on the first. By way of
 * /proc, as the file may have another name by now. Two threads may come here at once; one
 * of them closes what it opened.
 */
static int direct_fd(struct disk_file *file)
{
    char path[32];
    int none = DIRECT_NONE;
    int fd = atomic_load(&file->direct);
    int mode;

    if (fd != DIRECT_NONE) {
        return fd;
    }
    mode = fcntl(file->fd, F_GETFL);
    (void)snprintf(path, sizeof path, "/proc/self/fd/%d", file->fd);
    fd = mode < 0 ? -1 : open(path, (mode & O_ACCMODE) | O_DIRECT | O_CLOEXEC);
    if (fd < 0) {
        /* Without descriptors or memory another call may have more luck. */
        if (errno == EINVAL || errno == ENOENT || errno == EACCES) {
            atomic_store(&file->direct, DIRECT_CANNOT);
        }
        return DIRECT_CANNOT;
    }
    if (!atomic_compare_exchange_strong(&file->direct, &none, fd)) {
        (void)close(fd);
        fd = none;
    }
    return fd;
}

/* Some file systems, and what devices lie under them, refuse only the call itself. */
static int posix_read_direct(struct disk *disk, struct disk_file *file, void *buf,
                             size_t len, uint64_t offset)
{
    int fd = direct_fd(file);
    int rv = fd < 0 ? -EINVAL : read_all(fd, buf, len, offset);

    return rv == -EINVAL ? posix_pread(disk, file, buf, len, offset) : rv;
}

static int posix_write_direct(struct disk *disk, struct disk_file *file,
                              const struct iovec *iov, int n_iov, uint64_t offset)
{
    int fd = direct_fd(file);
    int rv = fd < 0 ? -EINVAL : write_all(fd, iov, n_iov, offset);

    return rv == -EINVAL ? posix_pwritev(disk, file, iov, n_iov, offset) : rv;
}

static int posix_datasync(struct disk *disk, struct disk_file *file)
{
    (void)disk;
    return fdatasync(file->fd) == 0 ? 0 : -errno;
}

static int posix_size(struct disk *disk, struct disk_file *file, uint64_t *out)
{
    struct stat st;

    (void)disk;
    if (fstat(file->fd, &st) != 0) {
        return -errno;
    }
    *out = (uint64_t)st.st_size;
    return 0;
}

static int posix_truncate(struct disk *disk, struct disk_file *file, uint64_t size)
{
    (void)disk;
    while (ftruncate(file->fd, (off_t)size) != 0) {
        if (errno != EINTR) {
            return -errno;
        }
    }
    return 0;
}

/* For file systems that cannot punch: the bytes must read as zeros all the same. */
static int write_zeros(struct disk *disk, struct disk_file *file, uint64_t offset,
                       uint64_t len)
{
    static const uint8_t zeros[65536];
    uint64_t size = 0;
    int rv;

    rv = posix_size(disk, file, &size);
    if (rv != 0 || offset >= size) {
        return rv;
    }
    len = len < size - offset ? len : size - offset;
    while (len > 0) {
        size_t n = len < sizeof zeros ? (size_t)len : sizeof zeros;
        struct iovec iov = {.iov_base = (void *)(uintptr_t)zeros, .iov_len = n};

        rv = posix_pwritev(disk, file, &iov, 1, offset);
        if (rv != 0) {
            return rv;
        }
        offset += n;
        len -= n;
    }
    return 0;
}

static int posix_punch(struct disk *disk, struct disk_file *file, uint64_t offset,
                       uint64_t len)
{
    if (len == 0) {
        return 0;
    }
    while (fallocate(file->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)offset,
                     (off_t)len) != 0) {
        if (errno == EOPNOTSUPP) {
            return write_zeros(disk, file, offset, len);
        }
        if (errno != EINTR) {
            return -errno;
        }
    }
    return 0;
}

static int posix_unlink(struct disk *disk, const char *path)
{
    (void)disk;
    return remove(path) == 0 ? 0 : -errno;
}

static int posix_rename(struct disk *disk, const char *from, const char *to)
{
    (void)disk;
    return rename(from, to) == 0 ? 0 : last_fault();
}

static int posix_mkdir(struct disk *disk, const char *path)
{
    struct stat st;

    (void)disk;
    if (mkdir(path, 0700) == 0) {
        return 0;
    }
    if (errno != EEXIST) {
        return -errno;
    }
    if (stat(path, &st) != 0) {
        return -errno;
    }
    return S_ISDIR(st.st_mode) ? 0 : -ENOTDIR;
}

static int posix_syncdir(struct disk *disk, const char *path)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int rv;

    (void)disk;
    if (fd < 0) {
        return -errno;
    }
    rv = fsync(fd) == 0 ? 0 : -errno;
    (void)close(fd);
    return rv;
}

static int posix_list(struct disk *disk, const char *path,
                      int (*each)(void *ctx, const char *name), void *ctx)
{
    DIR *dir = opendir(path);
    int rv = 0;

    (void)disk;
    if (dir == NULL) {
        return -errno;
    }
    while (rv == 0) {
        struct dirent *entry;

        errno = 0;
        entry = readdir(dir);
        if (entry == NULL) {
            rv = -errno;
            break;
        }
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0) {
            rv = each(ctx, entry->d_name);
        }
    }
    (void)closedir(dir);
    return rv;
}

static void posix_forget(struct disk *disk, struct disk_file *file, uint64_t offset,
                         uint64_t len)
{
    (void)disk;
    (void)posix_fadvise(file->fd, (off_t)offset, (off_t)len, POSIX_FADV_DONTNEED);
}

static void posix_expect(struct disk *disk, struct disk_file *file, uint64_t offset,
                         uint64_t len)
{
    (void)disk;
    (void)posix_fadvise(file->fd, (off_t)offset, (off_t)len, POSIX_FADV_WILLNEED);
}

static void posix_hurry(struct disk *disk, struct disk_file *file, uint64_t offset,
                        uint64_t len)
{
    (void)disk;
    (void)sync_file_range(file->fd, (off_t)offset, (off_t)len, SYNC_FILE_RANGE_WRITE);
}

static int posix_space(struct disk *disk, const char *path, uint64_t *free_bytes,
                       uint64_t *total_bytes)
{
    struct statvfs st;

    (void)disk;
    if (statvfs(path, &st) != 0) {
        return -errno;
    }
    *free_bytes = (uint64_t)st.f_bavail * st.f_frsize;
    *total_bytes = (uint64_t)st.f_blocks * st.f_frsize;
    return 0;
}

static const struct disk_ops posix_ops = {
    .open = posix_open,
    .close = posix_close,
    .pread = posix_pread,
    .pwritev = posix_pwritev,
    .datasync = posix_datasync,
    .size = posix_size,
    .truncate = posix_truncate,
    .punch = posix_punch,
    .unlink = posix_unlink,
    .rename = posix_rename,
    .mkdir = posix_mkdir,
    .syncdir = posix_syncdir,
    .list = posix_list,
    .forget = posix_forget,
    .read_direct = posix_read_direct,
    .write_direct = posix_write_direct,
    .expect = posix_expect,
    .hurry = posix_hurry,
    .space = posix_space,
};

struct disk *disk_posix(void)
{
    static struct disk posix = {.ops = &posix_ops};

    return &posix;
}
