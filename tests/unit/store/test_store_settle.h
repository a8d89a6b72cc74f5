/*
 * One member for tests of settling, on the machine's disk or on a simulated one whose calls
 * a test may refuse. Each program that includes this gets all of it.
 */
#ifndef TEST_STORE_SETTLE_H
#define TEST_STORE_SETTLE_H

#include "lib/simdisk.h"
#include "store/store_priv.h"
#include "store/vfs.h"
#include "test_store_fake.h"

#include <fcntl.h>
#include <sys/stat.h>

/* A disk whose calls a test may refuse. */
static struct hook {
    const struct disk_ops *real;
    struct disk_ops ops;
    const char *no_syncdir; /* No folder whose path holds this is synced. */
    uint64_t no_write_from; /* No byte from here on is written; 0: all may. */
    uint64_t no_write_to;
    int refusal;       /* What that gives. */
    uint64_t size_max; /* Of a file; 0: any. */
    uint32_t refused;
    struct store_settle *beside; /* Runs at the next look at a file's size. */
} hook;

/* The settle's thread comes between a reader's look at the size and its read. */
static inline int hook_size(struct disk *disk, struct disk_file *file, uint64_t *out)
{
    int rv = hook.real->size(disk, file, out);
    struct store_settle *settle = hook.beside;

    hook.beside = NULL;
    if (settle != NULL) {
        CHECK_INT(store_settle_run(settle), 0);
    }
    return rv;
}

static inline int hook_pwritev(struct disk *disk, struct disk_file *file,
                               const struct iovec *iov, int n, uint64_t offset)
{
    if (hook.refusal != 0 && offset >= hook.no_write_from && offset < hook.no_write_to) {
        hook.refused++;
        return hook.refusal;
    }
    return hook.real->pwritev(disk, file, iov, n, offset);
}

static inline int hook_truncate(struct disk *disk, struct disk_file *file, uint64_t size)
{
    if (hook.size_max != 0 && size > hook.size_max) {
        return -EFBIG;
    }
    return hook.real->truncate(disk, file, size);
}

static inline int hook_syncdir(struct disk *disk, const char *path)
{
    if (hook.no_syncdir != NULL && strstr(path, hook.no_syncdir) != NULL) {
        return -EIO;
    }
    return hook.real->syncdir(disk, path);
}

static inline void hook_into(struct disk *disk)
{
    hook = (struct hook){.real = disk->ops, .ops = *disk->ops};
    hook.ops.syncdir = hook_syncdir;
    hook.ops.size = hook_size;
    hook.ops.pwritev = hook_pwritev;
    hook.ops.truncate = hook_truncate;
    disk->ops = &hook.ops;
}

static inline void unhook(struct disk *disk)
{
    disk->ops = hook.real;
}

/* One member, on the machine's disk or on a simulated one. */
static struct member {
    struct simdisk *sim;
    struct disk *disk;
    const char *vfs;
    char dir[512];
    struct journal *journal;
    struct store *store;
    uint64_t version;
} m;
static uint8_t bytes[STORE_BLOCK];

static inline void member_open(bool create)
{
    struct store_config config = {.disk = m.disk,
                                  .dir = m.dir,
                                  .vfs = m.vfs,
                                  .journal = m.journal,
                                  .zone_id = {7},
                                  .create = create};

    CHECK_INT(store_open(&config, &m.store), 0);
}

static inline void member_init(const char *vfs)
{
    memset(&m, 0, sizeof m);
    m.disk = disk_posix();
    m.journal = calloc(1, sizeof *m.journal);
    CHECK(m.journal != NULL);
    (void)snprintf(m.dir, sizeof m.dir, "%s/set", check_tmpdir());
    if (vfs != NULL) {
        m.sim = simdisk_new(0);
        m.disk = simdisk_disk(m.sim);
        m.vfs = vfs;
        (void)snprintf(m.dir, sizeof m.dir, "/set");
        CHECK_INT(vfs_register(m.disk, vfs), 0);
    }
    hook_into(m.disk);
    member_open(true);
}

static inline void member_restart(void)
{
    store_close(m.store);
    member_open(false);
}

static inline void member_power_cut(struct prng *prng)
{
    simdisk_crash(m.sim, prng);
    store_close(m.store);
    simdisk_power_on(m.sim);
    member_open(false);
}

static inline void member_deinit(void)
{
    store_close(m.store);
    journal_clear(m.journal);
    free(m.journal);
    unhook(m.disk);
    if (m.sim != NULL) {
        vfs_unregister(m.vfs);
        simdisk_free(m.sim);
    }
}

static inline void swap_members(struct member *other)
{
    struct member mine = m;

    m = *other;
    *other = mine;
}

/* One entry: @len bytes of @fill at @offset of @ino, whose size was @old_size. */
struct put {
    uint64_t ino;
    uint64_t offset;
    uint32_t len;
    uint64_t old_size;
    uint8_t fill;
};

static inline void put(struct put p)
{
    uint64_t end = p.offset + p.len;
    struct store_inode inode = {
        .ino = p.ino, .type = 1, .nlink = 1, .size = end > p.old_size ? end : p.old_size};
    struct store_piece piece = {
        .ino = p.ino, .offset = p.offset, .len = p.len, .old_size = p.old_size};

    memset(bytes, p.fill, p.len);
    piece.crc = crc32c(0, bytes, p.len);
    piece.place = journal_add(m.journal, bytes, p.len);
    piece.version = ++m.version;
    CHECK_INT(store_begin(m.store), 0);
    CHECK_INT(store_data_write(m.store, &piece), 0);
    CHECK_INT(store_inode_put(m.store, &inode), 0);
    CHECK_INT(store_number_set(m.store, STORE_APPLIED, m.version), 0);
    CHECK_INT(store_commit(m.store, true), 0);
}

/* What a read gives; its bytes must all be @fill. */
static inline int get(uint64_t ino, uint64_t offset, uint32_t len, uint8_t fill)
{
    struct buf *buf = NULL;
    int rv = store_data_read(m.store, ino, offset, len, &buf, NULL);

    if (rv == 0) {
        memset(bytes, fill, len);
        CHECK_MEM(buf->data, bytes, len);
    }
    buf_unref(buf);
    return rv;
}

static inline uint64_t floor_now(void)
{
    uint64_t segment = 0;

    CHECK_INT(store_extent_floor(m.store, &segment), 0);
    return segment;
}

/* Load @source's rows one by one, but for the @short_of last. 0 or a fault. */
static inline int load_from(struct store *source, struct store_shadow *shadow,
                            int short_of)
{
    struct store_cursor *cursor = NULL;
    struct buf *bufs[128];
    uint64_t index;
    int n = 0;
    int rv = 0;

    CHECK_INT(store_cursor_open(source, &cursor, &index), 0);
    while (n < 128 && store_cursor_next(cursor, 1, &bufs[n]) == 0) {
        n++;
    }
    store_cursor_close(cursor);
    for (int i = 0; i < n; i++) {
        if (rv == 0 && i < n - short_of) {
            rv = store_shadow_load(shadow, bufs[i]->data, bufs[i]->len);
        }
        buf_unref(bufs[i]);
    }
    return rv;
}

/* Load all of @source's rows, and give what is wanted. 0 or a fault. */
static inline int pull_from(struct store *source, struct store_shadow *shadow)
{
    struct store_want want;
    struct buf *buf = NULL;
    uint64_t version;
    uint32_t n = 0;
    int rv = load_from(source, shadow, 0);

    while (rv == 0 && (rv = store_shadow_wants(shadow, &want, 1, &n)) == 0 && n > 0) {
        CHECK_INT(store_pull_block(source, want.ino, want.block, &buf, &version), 0);
        rv =
            store_shadow_block(shadow, &want, version, slice_borrow(buf->data, buf->len));
        buf_unref(buf);
    }
    return rv;
}

#endif
