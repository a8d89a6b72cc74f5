/*
 * disk: the files of one node, behind a table of operations.
 *
 * disk_posix.c is the real one; the simulator's keeps what was written and what was
 * made durable apart. All calls block; none may run on an event loop, but for a look at
 * what memory has (disk_nowait). Paths are absolute or relative to the process (the
 * simulator keeps one tree per node).
 *
 * Every call returns 0 or a negated errno. A failed sync is never repeated with
 * success: the caller must treat the file as lost (fsync drops dirty pages).
 */
#ifndef BASE_DISK_H
#define BASE_DISK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

/* Of memory, lengths and offsets that go past the page cache: no file system asks more. */
#define DISK_DIRECT_ALIGN 4096u

struct disk_file; /* Each implementation defines its own. */
struct disk;

enum disk_open_flags {
    DISK_READ = 0,
    DISK_WRITE = 1, /* Read and write. */
    DISK_CREATE = 2,
    DISK_EXCL = 4,
};

struct disk_ops {
    /* Regular files only: -ELOOP for a link, -EISDIR, -ENXIO for anything else. */
    int (*open)(struct disk *disk, const char *path, int flags, struct disk_file **out);
    void (*close)(struct disk *disk, struct disk_file *file);
    /* Fills @buf whole; a read past the end gives -ENODATA. */
    int (*pread)(struct disk *disk, struct disk_file *file, void *buf, size_t len,
                 uint64_t offset);
    /* Writes everything or fails; @iov is not changed. At most 1024 vectors. */
    int (*pwritev)(struct disk *disk, struct disk_file *file, const struct iovec *iov,
                   int n_iov, uint64_t offset);
    int (*datasync)(struct disk *disk, struct disk_file *file);
    int (*size)(struct disk *disk, struct disk_file *file, uint64_t *out);
    int (*truncate)(struct disk *disk, struct disk_file *file, uint64_t size);
    /* Give [@offset, @offset + @len) back; it reads as zeros. Size unchanged. */
    int (*punch)(struct disk *disk, struct disk_file *file, uint64_t offset,
                 uint64_t len);
    int (*unlink)(struct disk *disk, const char *path);
    int (*rename)(struct disk *disk, const char *from, const char *to);
    /* 0 also if it exists already. */
    int (*mkdir)(struct disk *disk, const char *path);
    /* Make creations, removals and renames in the folder durable. */
    int (*syncdir)(struct disk *disk, const char *path);
    /* Calls @each per name (without . and ..), in no order; stops when it returns != 0. */
    int (*list)(struct disk *disk, const char *path,
                int (*each)(void *ctx, const char *name), void *ctx);
    /* Drop what memory has of the range and the disk has too, so that the next read is of
     * the disk; as far as that can be had. NULL: there is no such memory. */
    void (*forget)(struct disk *disk, struct disk_file *file, uint64_t offset,
                   uint64_t len);
    /* As pread and pwritev, but past the page cache; as far as that can be had. What other
     * calls on the file see is the same. Everything is a multiple of DISK_DIRECT_ALIGN.
     * NULL: there is no such memory. */
    int (*read_direct)(struct disk *disk, struct disk_file *file, void *buf, size_t len,
                       uint64_t offset);
    int (*write_direct)(struct disk *disk, struct disk_file *file,
                        const struct iovec *iov, int n_iov, uint64_t offset);
    /* Begin to read the range into memory: it is going to be asked for. NULL: nothing is
     * gained by it. */
    void (*expect)(struct disk *disk, struct disk_file *file, uint64_t offset,
                   uint64_t len);
    /* Begin to write the range to the disk, so that the next datasync waits for less.
     * NULL: nothing is gained by it. */
    void (*hurry)(struct disk *disk, struct disk_file *file, uint64_t offset,
                  uint64_t len);
    /* Bytes free for this user, and in all, on the file system of @path. */
    int (*space)(struct disk *disk, const char *path, uint64_t *free_bytes,
                 uint64_t *total_bytes);
};

struct disk {
    const struct disk_ops *ops;
};

/* The machine's own files. Shared by all threads. */
struct disk *disk_posix(void);

/*
 * From now on the calling thread must not wait for a disk (@on), or may again. While it
 * must not, pread and open give -EAGAIN instead, having done nothing, and no other operation
 * may be called but size, close of what was open, and expect.
 */
void disk_nowait(bool on);
bool disk_is_nowait(void);

/* The two operations past the page cache, on any disk; -EINVAL without calling it if
 * something is not aligned. */
int disk_read_direct(struct disk *disk, struct disk_file *file, void *buf, size_t len,
                     uint64_t offset);
int disk_write_direct(struct disk *disk, struct disk_file *file, const struct iovec *iov,
                      int n_iov, uint64_t offset);
/* Read a whole small file (at most @max bytes) into malloc'ed memory, NUL-terminated
 * beyond *@len. -EFBIG if it is larger. The caller frees *@out. */
int disk_read_file(struct disk *disk, const char *path, size_t max, char **out,
                   size_t *len);
/* Replace @path by @data in one step that survives a power cut: write @path.tmp, sync,
 * rename, sync the folder. */
int disk_replace_file(struct disk *disk, const char *path, const void *data, size_t len);
/* Make the name @path durable: sync the folder that it stands in. */
int disk_sync_parent(struct disk *disk, const char *path);

#endif
