/* The content of a file, and what it is dressed in. */
#include "offline/export_impl.h"

#include "base/outcome.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define NS 1000000000
#define HOLE_BYTES 4096u /* What is all zeros in such a piece is left a hole. */

struct content {
    struct export *export;
    const struct store_inode *inode;
    int fd;
    const char *path;
    int fault;         /* Of writing: nothing more is written. */
    uint64_t bad_from; /* The bad range that grows; equal: none. */
    uint64_t bad_to;
};

static void tell_bad(struct content *content)
{
    if (content->bad_to > content->bad_from) {
        export_problem(content->export,
                       "%s: bytes %" PRIu64 " to %" PRIu64
                       " are damaged here and are a hole",
                       content->path, content->bad_from, content->bad_to - 1);
        content->export->result->bad_bytes += content->bad_to - content->bad_from;
    }
    content->bad_from = 0;
    content->bad_to = 0;
}

static void note_bad(struct content *content, uint64_t from, uint64_t to)
{
    if (content->bad_to != from || content->bad_to == content->bad_from) {
        tell_bad(content);
        content->bad_from = from;
    }
    content->bad_to = to;
}

static bool is_zero(const uint8_t *bytes, size_t len)
{
    return len == 0 || (bytes[0] == 0 && memcmp(bytes, bytes + 1, len - 1) == 0);
}

static void put(struct content *content, const uint8_t *bytes, size_t len, uint64_t at)
{
    while (len > 0 && content->fault == 0) {
        size_t n = len < HOLE_BYTES ? len : HOLE_BYTES;
        ssize_t done = (ssize_t)n;

        if (!is_zero(bytes, n)) {
            done = pwrite(content->fd, bytes, n, (off_t)at);
            content->export->result->bytes += done > 0 ? (uint64_t)done : 0;
        }
        if (done <= 0) {
            content->fault = errno != 0 ? errno : EIO;
            return;
        }
        bytes += done;
        at += (uint64_t)done;
        len -= (size_t)done;
    }
}

/* False: it is bad. */
static bool copy(struct content *content, uint64_t at, size_t len)
{
    struct buf *buf = NULL;
    int rv =
        store_data_read(content->export->store, content->inode->ino, at, len, &buf, NULL);

    if (rv == 0) {
        put(content, buf->data, len, at);
    }
    buf_unref(buf);
    return rv == 0;
}

/* A block that is bad as a whole is good in most of its parts. */
static void copy_block(struct content *content, uint64_t at, size_t len)
{
    if (copy(content, at, len)) {
        return;
    }
    for (size_t done = 0; done < len; done += STORE_SUBBLOCK) {
        size_t n = len - done < STORE_SUBBLOCK ? len - done : STORE_SUBBLOCK;

        if (!copy(content, at + done, n)) {
            note_bad(content, at + done, at + done + n);
        }
    }
}

int export_content(struct export *export, const struct store_inode *inode, int fd,
                   const char *path)
{
    struct content content = {.export = export, .inode = inode, .fd = fd, .path = path};
    uint64_t block = 0;
    int rv = 0;

    if (inode->size > STORE_FILE_MAX) {
        export_problem(export, "%s: its size is damaged", path);
        return 0;
    }
    while (content.fault == 0 &&
           (rv = store_data_next(export->store, inode->ino, block, &block)) == 0 &&
           block * STORE_BLOCK < inode->size) {
        uint64_t at = block * STORE_BLOCK;
        uint64_t left = inode->size - at;

        copy_block(&content, at, left < STORE_BLOCK ? (size_t)left : STORE_BLOCK);
        block++;
    }
    tell_bad(&content);
    if (rv < 0) {
        export_problem(export, "%s: from byte %" PRIu64 " on its rows are damaged", path,
                       block * STORE_BLOCK);
    }
    if (content.fault == 0 && ftruncate(fd, (off_t)inode->size) != 0) {
        content.fault = errno;
    }
    return content.fault;
}

static struct timespec time_of(int64_t ns)
{
    int64_t s = ns / NS - (ns % NS < 0 ? 1 : 0);

    return (struct timespec){.tv_sec = (time_t)s, .tv_nsec = (long)(ns - s * NS)};
}

/* Owner first: it takes the set-user-id bits away. Times last. */
void export_dress(struct export *export, const struct store_inode *inode, int dir_fd,
                  const char *name, const char *path)
{
    bool self = name[0] == '\0';
    struct timespec times[2] = {time_of(inode->atime), time_of(inode->mtime)};
    mode_t mode = inode->mode & (export->is_root ? 07777 : 01777);
    int rv = 0;

    if (export->is_root) {
        rv = self ? fchown(dir_fd, inode->uid, inode->gid)
                  : fchownat(dir_fd, name, inode->uid, inode->gid, AT_SYMLINK_NOFOLLOW);
    }
    if (rv == 0 && inode->type != ZONE_LNK) {
        rv = self ? fchmod(dir_fd, mode) : fchmodat(dir_fd, name, mode, 0);
    }
    if (rv == 0) {
        rv = self ? futimens(dir_fd, times)
                  : utimensat(dir_fd, name, times, AT_SYMLINK_NOFOLLOW);
    }
    if (rv != 0) {
        export_problem(export, "%s: owner, mode or times could not be set: %s", path,
                       strerror(errno));
    }
}
