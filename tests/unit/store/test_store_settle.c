/* Settling when something is in its way: a kill at a bad moment, a file system that
 * refuses a file, bytes that rotted. */
#include "lib/simdisk.h"
#include "store/vfs.h"
#include "test_store_fake.h"

#include <fcntl.h>

/* A disk whose calls a test may refuse. */
static struct hook {
    const struct disk_ops *real;
    struct disk_ops ops;
    const char *no_syncdir; /* No folder whose path holds this is synced. */
} hook;

static int hook_syncdir(struct disk *disk, const char *path)
{
    if (hook.no_syncdir != NULL && strstr(path, hook.no_syncdir) != NULL) {
        return -EIO;
    }
    return hook.real->syncdir(disk, path);
}

static void hook_into(struct disk *disk)
{
    hook = (struct hook){.real = disk->ops, .ops = *disk->ops};
    hook.ops.syncdir = hook_syncdir;
    disk->ops = &hook.ops;
}

static void unhook(struct disk *disk)
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

static void member_open(bool create)
{
    struct store_config config = {.disk = m.disk,
                                  .dir = m.dir,
                                  .vfs = m.vfs,
                                  .journal = m.journal,
                                  .zone_id = {7},
                                  .create = create};

    CHECK_INT(store_open(&config, &m.store), 0);
}

static void member_init(const char *vfs)
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

static void member_restart(void)
{
    store_close(m.store);
    member_open(false);
}

static void member_power_cut(struct prng *prng)
{
    simdisk_crash(m.sim, prng);
    store_close(m.store);
    simdisk_power_on(m.sim);
    member_open(false);
}

static void member_deinit(void)
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

/* One entry: @len bytes of @fill at @offset of @ino, whose size was @old_size. */
struct put {
    uint64_t ino;
    uint64_t offset;
    uint32_t len;
    uint64_t old_size;
    uint8_t fill;
};

static void put(struct put p)
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
static int get(uint64_t ino, uint64_t offset, uint32_t len, uint8_t fill)
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

static uint64_t floor_now(void)
{
    uint64_t segment = 0;

    CHECK_INT(store_extent_floor(m.store, &segment), 0);
    return segment;
}

/* A process that is killed after it wrote a settled file and before it synced the folder
 * leaves a name that only the kernel knows. The next life, which finds the file there,
 * must sync the folder before the journal goes, or a power cut takes the file. */
static void name_of_an_earlier_life(void)
{
    for (uint64_t seed = 1; seed <= 8; seed++) {
        struct store_settle *settle;
        struct prng prng;

        prng_seed(&prng, seed);
        member_init("settle-name");
        put((struct put){.ino = 10, .len = 50000, .fill = 0x5a});
        CHECK_INT(store_settle_plan(m.store, 1 << 20, &settle), 0);
        hook.no_syncdir = "data";
        CHECK_INT(store_settle_run(settle), -EIO);
        hook.no_syncdir = NULL;
        store_settle_abandon(m.store, settle);
        member_restart();
        settle_all(m.store);
        CHECK_UINT(floor_now(), UINT64_MAX);
        member_power_cut(&prng);
        CHECK_INT(get(10, 0, 50000, 0x5a), 0);
        member_deinit();
    }
}

/* Load all of @source's rows, and give what is wanted. 0 or a fault. */
static int pull_from(struct store *source, struct store_shadow *shadow)
{
    struct store_cursor *cursor = NULL;
    struct store_want want;
    struct buf *buf = NULL;
    uint64_t index;
    uint64_t version;
    uint32_t n = 0;
    int rv = 0;

    CHECK_INT(store_cursor_open(source, &cursor, &index), 0);
    while (rv == 0 && store_cursor_next(cursor, 1 << 16, &buf) == 0) {
        rv = store_shadow_load(shadow, buf->data, buf->len);
        buf_unref(buf);
    }
    store_cursor_close(cursor);
    while (rv == 0 && (rv = store_shadow_wants(shadow, &want, 1, &n)) == 0 && n > 0) {
        CHECK_INT(store_pull_block(source, want.ino, want.block, &buf, &version), 0);
        rv =
            store_shadow_block(shadow, &want, version, slice_borrow(buf->data, buf->len));
        buf_unref(buf);
    }
    return rv;
}

/* The same for a pulled block: a loading that was killed left the file's name, and the
 * next one writes into that file. */
static void name_of_an_earlier_pull(void)
{
    for (uint64_t seed = 1; seed <= 8; seed++) {
        struct store_shadow *shadow;
        struct member source;
        struct prng prng;

        prng_seed(&prng, seed);
        member_init("settle-source");
        put((struct put){.ino = 10, .len = 50000, .fill = 0x5a});
        source = m;
        unhook(source.disk);
        member_init("settle-puller");
        CHECK_INT(store_shadow_open(m.store, &shadow), 0);
        hook.no_syncdir = "pull.";
        (void)pull_from(source.store, shadow);
        store_shadow_close(shadow);
        hook.no_syncdir = NULL;
        member_restart();
        CHECK_INT(store_shadow_open(m.store, &shadow), 0);
        CHECK_INT(pull_from(source.store, shadow), 0);
        CHECK_INT(store_shadow_switch(m.store, shadow), 0);
        store_shadow_close(shadow);
        member_power_cut(&prng);
        CHECK_INT(get(10, 0, 50000, 0x5a), 0);
        member_deinit();
        m = source;
        member_deinit();
    }
}

TEST_MAIN(CHECK_TEST(name_of_an_earlier_life), CHECK_TEST(name_of_an_earlier_pull))
