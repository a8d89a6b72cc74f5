/* Settling when something is in its way: a kill at a bad moment, a file system that
 * refuses a file, bytes that rotted. */
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
static int hook_size(struct disk *disk, struct disk_file *file, uint64_t *out)
{
    int rv = hook.real->size(disk, file, out);
    struct store_settle *settle = hook.beside;

    hook.beside = NULL;
    if (settle != NULL) {
        CHECK_INT(store_settle_run(settle), 0);
    }
    return rv;
}

static int hook_pwritev(struct disk *disk, struct disk_file *file,
                        const struct iovec *iov, int n, uint64_t offset)
{
    if (hook.refusal != 0 && offset >= hook.no_write_from && offset < hook.no_write_to) {
        hook.refused++;
        return hook.refusal;
    }
    return hook.real->pwritev(disk, file, iov, n, offset);
}

static int hook_truncate(struct disk *disk, struct disk_file *file, uint64_t size)
{
    if (hook.size_max != 0 && size > hook.size_max) {
        return -EFBIG;
    }
    return hook.real->truncate(disk, file, size);
}

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
    hook.ops.size = hook_size;
    hook.ops.pwritev = hook_pwritev;
    hook.ops.truncate = hook_truncate;
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

static void swap_members(struct member *other)
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

/* Load @source's rows one by one, but for the @short_of last. 0 or a fault. */
static int load_from(struct store *source, struct store_shadow *shadow, int short_of)
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
static int pull_from(struct store *source, struct store_shadow *shadow)
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

/* A pool whose file system holds no file of the largest size takes no dataset, and one
 * that came onto it is not opened. */
static void file_system_of_small_files(void)
{
    struct store_config config;
    struct store *store = NULL;
    char other[600];

    member_init(NULL);
    store_close(m.store);
    (void)snprintf(other, sizeof other, "%s-other", m.dir);
    config = (struct store_config){
        .disk = m.disk, .dir = m.dir, .journal = m.journal, .zone_id = {7}};
    hook.size_max = STORE_FILE_MAX - 1;
    CHECK_INT(store_open(&config, &store), -EFBIG);
    config.create = true;
    config.dir = other;
    CHECK_INT(store_open(&config, &store), -EFBIG);
    hook.size_max = STORE_FILE_MAX;
    CHECK_INT(store_open(&config, &store), 0);
    store_close(store);
    member_open(false);
    member_deinit();
}

/* The last block that a file may have settles and is read again: the limit is one that
 * the file system holds. */
static void end_of_the_largest_file(void)
{
    uint64_t last = STORE_FILE_MAX - 9000;

    member_init(NULL);
    put((struct put){.ino = 10, .offset = last, .len = 9000, .fill = 1});
    settle_all(m.store);
    CHECK_UINT(store_unsettled_bytes(m.store), 0);
    CHECK_INT(get(10, last, 9000, 1), 0);
    CHECK_INT(get(10, last - 9000, 9000, 0), 0);
    member_deinit();
}

/* One block that the file system refuses stays unsettled and readable; all others settle,
 * also those of its file. When the file system takes it again, so does the next life. */
static void block_that_is_refused(void)
{
    static const int refusals[] = {-EFBIG, -EIO, -EUCLEAN};

    for (size_t i = 0; i < sizeof refusals / sizeof refusals[0]; i++) {
        const uint64_t at = 100 * (uint64_t)STORE_BLOCK;

        member_init("settle-refused");
        put((struct put){.ino = 10, .offset = at, .len = STORE_BLOCK, .fill = 1});
        settle_all(m.store);
        put((struct put){
            .ino = 10, .len = 50000, .old_size = at + STORE_BLOCK, .fill = 2});
        put((struct put){.ino = 10,
                         .offset = at + 100,
                         .len = 9000,
                         .old_size = at + STORE_BLOCK,
                         .fill = 3});
        put((struct put){.ino = 11, .len = 50000, .fill = 4});
        hook.no_write_from = at;
        hook.no_write_to = at + STORE_BLOCK;
        hook.refusal = refusals[i];
        settle_all(m.store);
        CHECK_UINT(store_unsettled_bytes(m.store), 9000);
        CHECK_UINT(hook.refused, 2); /* In its place, and beside. */
        settle_all(m.store);
        CHECK_UINT(hook.refused, 2); /* Not again and again. */
        for (int life = 0; life < 2; life++) {
            CHECK_INT(get(10, 0, 50000, 2), 0);
            CHECK_INT(get(10, at, 100, 1), 0);
            CHECK_INT(get(10, at + 100, 9000, 3), 0);
            CHECK_INT(get(10, at + 9100, 100000, 1), 0);
            CHECK_INT(get(11, 0, 50000, 4), 0);
            member_restart();
        }
        hook.refusal = 0;
        settle_all(m.store);
        CHECK_UINT(store_unsettled_bytes(m.store), 0);
        CHECK_INT(get(10, at + 100, 9000, 3), 0);
        CHECK_INT(get(10, at + 9100, 100000, 1), 0);
        member_deinit();
    }
}

/* A failed sync is the member's: who knows what else it took along. */
static void sync_that_fails(void)
{
    struct store_settle *settle;

    member_init("settle-sync");
    put((struct put){.ino = 10, .len = 50000, .fill = 1});
    CHECK_INT(store_settle_plan(m.store, 1 << 20, &settle), 0);
    simdisk_fail(m.sim, SIMDISK_SYNC, 1, -EIO, false);
    CHECK_INT(store_settle_run(settle), -EIO);
    store_settle_abandon(m.store, settle);
    member_deinit();
}

/* A reader that looked at the file's length before a settle cut it to the user's reads
 * again: the block is not bad. */
static void reader_beside_a_shorter_file(void)
{
    uint64_t size = STORE_BLOCK + 5000;
    struct store_settle *settle;

    member_init(NULL);
    put((struct put){.ino = 10, .len = STORE_BLOCK, .fill = 1});
    put((struct put){.ino = 10,
                     .offset = STORE_BLOCK,
                     .len = 5000,
                     .old_size = STORE_BLOCK,
                     .fill = 1});
    settle_all(m.store);
    put((struct put){.ino = 10, .len = 4096, .old_size = size, .fill = 1});
    settle_all(m.store); /* The file is two whole blocks long now. */
    put((struct put){
        .ino = 10, .offset = STORE_BLOCK, .len = 1000, .old_size = size, .fill = 1});
    CHECK_INT(store_settle_plan(m.store, 1 << 20, &settle), 0);
    hook.beside = settle;
    CHECK_INT(get(10, STORE_BLOCK, 5000, 1), 0);
    CHECK(hook.beside == NULL);
    CHECK_INT(store_settle_finish(m.store, settle), 0);
    CHECK_INT(get(10, STORE_BLOCK, 5000, 1), 0);
    member_deinit();
}

static void flip_settled(uint64_t offset)
{
    char path[600];
    uint8_t byte;
    int fd;

    (void)snprintf(path, sizeof path, "%s/data/0a/10", m.dir);
    fd = open(path, O_RDWR);
    CHECK(fd >= 0);
    CHECK_INT(pread(fd, &byte, 1, (off_t)offset), 1);
    byte ^= 1;
    CHECK_INT(pwrite(fd, &byte, 1, (off_t)offset), 1);
    (void)close(fd);
}

/* A rotten byte in a settled sub-block, and small writes into that sub-block again and
 * again: what they wrote is read, in every life, and holds no journal. Each write is
 * carried out of the journal once. A write over the whole sub-block heals it, and nothing
 * is left of what was kept. */
static void bad_block_holds_no_journal(void)
{
    member_init(NULL);
    put((struct put){.ino = 10, .len = STORE_BLOCK, .fill = 1});
    settle_all(m.store);
    flip_settled(5000);
    for (uint8_t i = 0; i < 6; i++) {
        uint64_t at = i * 7u;

        put((struct put){
            .ino = 10, .offset = at, .len = 10, .old_size = STORE_BLOCK, .fill = i});
        settle_all(m.store);
        CHECK_UINT(floor_now(), UINT64_MAX);
        journal_forget(m.journal, m.journal->last);
        if (i % 2 == 1) {
            member_restart();
        }
        CHECK_INT(get(10, at, 10, i), 0);
        if (i > 0) {
            CHECK_INT(get(10, at - 7, 7, i - 1), 0);
        }
        CHECK_INT(get(10, 45, 100, 1), OUT_IO);
        CHECK_INT(get(10, STORE_SUBBLOCK, 1000, 1), 0);
    }
    CHECK_UINT(store_unsettled_bytes(m.store), 45);
    put((struct put){
        .ino = 10, .len = STORE_SUBBLOCK, .old_size = STORE_BLOCK, .fill = 9});
    settle_all(m.store);
    settle_all(m.store);
    CHECK_UINT(store_unsettled_bytes(m.store), 0);
    CHECK_INT(get(10, 0, STORE_SUBBLOCK, 9), 0);
    CHECK_INT(get(10, STORE_SUBBLOCK, 1000, 1), 0);
    for (int i = 0; i < 2; i++) {
        char path[600];

        (void)snprintf(path, sizeof path, "%s/kept.%d/0a/10", m.dir, i);
        CHECK(access(path, F_OK) != 0);
    }
    member_deinit();
}

/* Rot in the journal itself: the piece reads as bad in every life, its neighbours are
 * whole, and the journal goes. */
static void bad_piece_holds_no_journal(void)
{
    member_init(NULL);
    put((struct put){.ino = 10, .len = 20000, .fill = 1});
    put((struct put){
        .ino = 10, .offset = 30000, .len = 20000, .old_size = 20000, .fill = 2});
    m.journal->segments[1][7] ^= 1;
    settle_all(m.store);
    CHECK_UINT(floor_now(), UINT64_MAX);
    for (int life = 0; life < 2; life++) {
        CHECK_INT(get(10, 0, 100, 1), OUT_IO);
        CHECK_INT(get(10, 19999, 1, 1), OUT_IO);
        CHECK_INT(get(10, 20000, 10000, 0), 0);
        CHECK_INT(get(10, 30000, 20000, 2), 0);
        member_restart();
    }
    put((struct put){.ino = 10, .len = 20000, .old_size = 50000, .fill = 3});
    settle_all(m.store);
    CHECK_UINT(store_unsettled_bytes(m.store), 0);
    CHECK_INT(get(10, 0, 20000, 3), 0);
    CHECK_INT(get(10, 30000, 20000, 2), 0);
    member_deinit();
}

/* A disk that gives no bytes for a while has lost none: the piece keeps its place, and
 * settles once it can be read. */
static void piece_that_cannot_be_read(void)
{
    member_init(NULL);
    put((struct put){.ino = 10, .len = 20000, .fill = 1});
    m.journal->fault = -EIO;
    settle_all(m.store);
    CHECK_INT(get(10, 0, 100, 1), OUT_IO);
    CHECK_UINT(floor_now(), 1);
    m.journal->fault = 0;
    CHECK_INT(get(10, 0, 20000, 1), 0);
    for (int i = 0; i < 100 && floor_now() != UINT64_MAX; i++) {
        settle_all(m.store);
    }
    CHECK_UINT(floor_now(), UINT64_MAX);
    CHECK_INT(get(10, 0, 20000, 1), 0);
    member_deinit();
}

/* What was carried lies safe before the journal goes: a power cut at any moment of a
 * settle loses none of it. */
static void power_cut_while_carrying(void)
{
    for (uint64_t n = 1; n < 80; n++) {
        struct store_settle *settle;
        struct prng prng;

        prng_seed(&prng, n);
        member_init("settle-carry");
        put((struct put){.ino = 10, .len = STORE_BLOCK, .fill = 1});
        settle_all(m.store);
        CHECK(simdisk_flip(m.sim, "/set/data/0a/10", 5000, 0));
        put((struct put){.ino = 10, .len = 10, .old_size = STORE_BLOCK, .fill = 2});
        settle_all(m.store);
        put((struct put){
            .ino = 10, .offset = 5, .len = 10, .old_size = STORE_BLOCK, .fill = 3});
        simdisk_power_off_after(m.sim, n);
        if (store_settle_plan(m.store, 1 << 20, &settle) == 0) {
            if (store_settle_run(settle) == 0) {
                (void)store_settle_finish(m.store, settle);
            } else {
                store_settle_abandon(m.store, settle);
            }
        }
        simdisk_power_off_after(m.sim, 0);
        member_power_cut(&prng);
        CHECK_INT(get(10, 0, 5, 2), 0);
        CHECK_INT(get(10, 5, 10, 3), 0);
        settle_all(m.store);
        CHECK_UINT(floor_now(), UINT64_MAX);
        CHECK_INT(get(10, 0, 5, 2), 0);
        CHECK_INT(get(10, 5, 10, 3), 0);
        member_deinit();
    }
}

static void settle_rest_all(void)
{
    struct store_settle *settle;

    while (store_settle_plan_rest(m.store, 1 << 20, &settle) == 0) {
        CHECK_INT(store_settle_run(settle), 0);
        CHECK_INT(store_settle_finish(m.store, settle), 0);
    }
    CHECK(!store_settle_rest(m.store));
}

/* The rest is what does not hold the journal: pulled blocks and the files of what was
 * removed settle with it, recent writes do not. */
static void rest_of_a_pull(void)
{
    struct store_shadow *shadow;
    struct member source;
    char path[600];

    member_init("settle-source");
    put((struct put){.ino = 10, .len = 50000, .fill = 1});
    put((struct put){.ino = 11, .len = 50000, .fill = 1});
    source = m;
    unhook(source.disk);
    member_init(NULL);
    settle_rest_all();
    CHECK_INT(store_shadow_open(m.store, &shadow), 0);
    CHECK_INT(pull_from(source.store, shadow), 0);
    CHECK_INT(store_shadow_switch(m.store, shadow), 0);
    store_shadow_close(shadow);
    m.version = source.version;
    CHECK(store_settle_rest(m.store));
    put((struct put){.ino = 12, .len = 50000, .fill = 2});
    settle_rest_all();
    (void)snprintf(path, sizeof path, "%s/pull.1/0a/10", m.dir);
    CHECK_INT(access(path, F_OK), -1);
    CHECK_UINT(store_unsettled_bytes(m.store), 50000);
    CHECK(floor_now() != UINT64_MAX);
    CHECK_INT(store_begin(m.store), 0);
    CHECK_INT(store_inode_del(m.store, 11), 0);
    CHECK_INT(store_commit(m.store, false), 0);
    CHECK(store_settle_rest(m.store));
    settle_rest_all();
    (void)snprintf(path, sizeof path, "%s/data/0b/11", m.dir);
    CHECK_INT(access(path, F_OK), -1);
    CHECK_INT(get(10, 0, 50000, 1), 0);
    CHECK_INT(get(12, 0, 50000, 2), 0);
    member_deinit();
    m = source;
    member_deinit();
}

enum { MANY = 40000 }; /* Blocks: 5 GB. */

/* A file of very many settled blocks, all zeros: there is no need for a file. */
static void many_blocks(uint64_t ino)
{
    struct store_inode inode = {
        .ino = ino, .type = 1, .size = MANY * (uint64_t)STORE_BLOCK};
    struct store_block row = {.ino = ino, .version = ++m.version};
    static const uint8_t zeros[STORE_SUBBLOCK];

    for (int i = 0; i < (int)STORE_SUBBLOCKS; i++) {
        row.crcs[i] = crc32c(0, zeros, sizeof zeros);
    }
    CHECK_INT(store_begin(m.store), 0);
    for (row.block = 0; row.block < MANY; row.block++) {
        CHECK_INT(store_block_put(&m.store->db, &row), 0);
        m.store->now.blocks++;
    }
    CHECK_INT(store_inode_put(m.store, &inode), 0);
    CHECK_INT(store_commit(m.store, false), 0);
}

static void resize(uint64_t ino, uint64_t from, uint64_t to)
{
    struct store_inode inode = {.ino = ino, .type = 1, .size = to};

    CHECK_INT(store_begin(m.store), 0);
    CHECK_INT(store_data_resize(m.store, ino, from, to, ++m.version), 0);
    CHECK_INT(store_inode_put(m.store, &inode), 0);
    CHECK_INT(store_commit(m.store, false), 0);
}

static void check_digest(const uint8_t want[32])
{
    uint8_t have[32];

    CHECK_INT(store_digest(m.store, have), 0);
    CHECK_MEM(have, want, sizeof have);
}

/* Cutting off ever so many blocks changes few rows in the entry's transaction; the rest
 * go in steps, of which nobody sees anything: not a reader, not the digest, not a block
 * that is written anew while the old rows are still there, and not the next life. */
static void long_cut_goes_in_steps(void)
{
    const uint64_t size = MANY * (uint64_t)STORE_BLOCK;
    const uint64_t keep = 100 * (uint64_t)STORE_BLOCK;
    uint8_t digest[32];
    int64_t changes;
    uint32_t steps = 0;
    struct store_settle *settle;

    member_init(NULL);
    many_blocks(10);
    many_blocks(11);
    put((struct put){
        .ino = 10, .offset = keep + 5, .len = 9, .old_size = size, .fill = 1});
    settle_all(m.store);
    CHECK_INT(get(10, keep + 5, 9, 1), 0);
    changes = sqlite3_total_changes64(m.store->db.handle);
    resize(10, size, keep);
    resize(11, size, 0);
    CHECK_INT(store_begin(m.store), 0);
    CHECK_INT(store_inode_del(m.store, 11), 0);
    CHECK_INT(store_commit(m.store, false), 0);
    CHECK(sqlite3_total_changes64(m.store->db.handle) - changes < 20);
    resize(10, keep, size); /* A hole comes after what was kept. */
    CHECK_INT(get(10, keep, 1000, 0), 0);
    put((struct put){
        .ino = 10, .offset = keep + 20, .len = 9, .old_size = size, .fill = 2});
    CHECK_INT(store_digest(m.store, digest), 0);
    member_restart();
    while (store_settle_plan(m.store, 1 << 20, &settle) == 0) {
        CHECK_INT(store_settle_run(settle), 0);
        CHECK_INT(store_settle_finish(m.store, settle), 0);
        CHECK_INT(get(10, keep, 20, 0), 0);
        CHECK_INT(get(10, keep + 20, 9, 2), 0);
        check_digest(digest);
        steps++;
    }
    CHECK(steps >= 4);
    CHECK_UINT(m.store->now.blocks, 101);
    member_restart();
    CHECK_UINT(m.store->now.blocks, 101);
    check_digest(digest);
    CHECK_INT(get(10, keep + 20, 9, 2), 0);
    member_deinit();
}

/* A file of which much was cut off gives its room back: once the rows are gone it is no
 * longer than what is left of it. */
static void long_cut_shortens_the_file(void)
{
    const uint64_t size = MANY * (uint64_t)STORE_BLOCK;
    const uint64_t keep = 100 * (uint64_t)STORE_BLOCK;
    struct stat status;
    char path[600];

    member_init(NULL);
    many_blocks(10);
    put((struct put){
        .ino = 10, .offset = size - 5000, .len = 4096, .old_size = size, .fill = 1});
    settle_all(m.store);
    (void)snprintf(path, sizeof path, "%s/data/0a/10", m.dir);
    CHECK_INT(stat(path, &status), 0);
    CHECK_UINT(status.st_size, size);
    CHECK(status.st_blocks > 0);
    resize(10, size, keep);
    settle_all(m.store);
    CHECK_INT(stat(path, &status), 0);
    CHECK_UINT(status.st_size, keep);
    CHECK_UINT(status.st_blocks, 0);
    member_deinit();
}

/* Between the view of a pull and the index of its newest block, a block may hold bytes
 * beyond its file's end, which an entry to come makes part of the file without writing
 * them again. Settling would cut them off under their CRC: it waits. */
static void nothing_settles_below_serve_from(void)
{
    struct store_shadow *shadow;
    struct store_cursor *cursor = NULL;
    struct store_settle *settle = NULL;
    struct store_want want;
    struct member source;
    struct buf *buf = NULL;
    uint64_t version;
    uint32_t n = 0;

    member_init("settle-source");
    put((struct put){.ino = 10, .len = 50000, .fill = 1});
    source = m;
    unhook(source.disk);
    member_init("settle-puller");
    CHECK_INT(store_shadow_open(m.store, &shadow), 0);
    CHECK_INT(load_from(source.store, shadow, 0), 0);
    CHECK_INT(store_cursor_open(source.store, &cursor, &version), 0);
    CHECK_UINT(version, 1);
    store_cursor_close(cursor);
    swap_members(&source);
    put((struct put){
        .ino = 10, .offset = 50000, .len = 50000, .old_size = 50000, .fill = 1});
    swap_members(&source);
    CHECK_INT(store_shadow_wants(shadow, &want, 1, &n), 0);
    CHECK_UINT(n, 1);
    CHECK_INT(store_pull_block(source.store, 10, 0, &buf, &version), 0);
    CHECK_UINT(version, 2);
    CHECK_INT(
        store_shadow_block(shadow, &want, version, slice_borrow(buf->data, buf->len)), 0);
    buf_unref(buf);
    CHECK_INT(store_shadow_switch(m.store, shadow), 0);
    store_shadow_close(shadow);
    CHECK_INT(store_settle_plan(m.store, 1 << 20, &settle), OUT_NOENT);
    CHECK_INT(store_settle_plan_rest(m.store, 1 << 20, &settle), OUT_NOENT);
    CHECK(store_settle_rest(m.store)); /* It is not forgotten. */
    m.version = 1;
    put((struct put){
        .ino = 10, .offset = 50000, .len = 50000, .old_size = 50000, .fill = 1});
    settle_all(m.store);
    CHECK_UINT(store_unsettled_bytes(m.store), 0);
    CHECK_INT(get(10, 0, 100000, 1), 0);
    member_deinit();
    m = source;
    member_deinit();
}

enum { SHADOW_MANY = 70 }; /* Blocks: more than a shadow keeps uncommitted. */

static void put_blocks(void)
{
    for (uint64_t i = 0; i < SHADOW_MANY; i++) {
        put((struct put){.ino = 10,
                         .offset = i * STORE_BLOCK,
                         .len = STORE_BLOCK,
                         .old_size = i * STORE_BLOCK,
                         .fill = 1});
    }
}

/* A loading finds a block that an earlier one pulled, too old by now, and the live store
 * has the new bytes. They are not put over the old ones while the row that tells of those
 * may still come back with a power cut: the block is wanted, and comes after the rows. */
static void old_row_keeps_its_bytes(void)
{
    const uint64_t size = SHADOW_MANY * (uint64_t)STORE_BLOCK;

    for (uint64_t seed = 1; seed <= 16; seed++) {
        struct store_shadow *shadow;
        struct member source;
        struct member older;
        struct prng prng;
        struct buf *buf = NULL;

        prng_seed(&prng, seed);
        member_init("settle-source");
        put_blocks();
        older = m;
        unhook(m.disk);
        member_init("settle-newer");
        put_blocks();
        put((struct put){.ino = 10, .len = 50000, .old_size = size, .fill = 2});
        source = m;
        unhook(m.disk);
        member_init("settle-puller");
        CHECK_INT(store_shadow_open(m.store, &shadow), 0);
        CHECK_INT(pull_from(older.store, shadow), 0);
        store_shadow_close(shadow);
        CHECK_INT(store_shadow_open(m.store, &shadow), 0);
        CHECK_INT(load_from(older.store, shadow, 0), 0); /* Makes them durable. */
        store_shadow_close(shadow);
        member_restart();
        put_blocks();
        put((struct put){.ino = 10, .len = 50000, .old_size = size, .fill = 2});
        CHECK_INT(store_shadow_open(m.store, &shadow), 0);
        CHECK_INT(load_from(source.store, shadow, 1), 0); /* Not to its end. */
        simdisk_crash(m.sim, &prng);
        store_shadow_close(shadow);
        member_power_cut(&prng);
        CHECK_INT(store_shadow_open(m.store, &shadow), 0);
        CHECK_INT(pull_from(older.store, shadow), 0);
        CHECK_INT(store_shadow_switch(m.store, shadow), 0);
        store_shadow_close(shadow);
        /* The view's, or newer and to be served later; but whole. */
        CHECK_INT(store_data_read(m.store, 10, 0, 50000, &buf, NULL), 0);
        buf_unref(buf);
        member_deinit();
        m = source;
        member_deinit();
        m = older;
        member_deinit();
    }
}

TEST_MAIN(CHECK_TEST(old_row_keeps_its_bytes), CHECK_TEST(long_cut_shortens_the_file),
          CHECK_TEST(nothing_settles_below_serve_from),
          CHECK_TEST(long_cut_goes_in_steps), CHECK_TEST(rest_of_a_pull),
          CHECK_TEST(bad_block_holds_no_journal), CHECK_TEST(bad_piece_holds_no_journal),
          CHECK_TEST(piece_that_cannot_be_read), CHECK_TEST(power_cut_while_carrying),
          CHECK_TEST(reader_beside_a_shorter_file),
          CHECK_TEST(file_system_of_small_files), CHECK_TEST(end_of_the_largest_file),
          CHECK_TEST(block_that_is_refused), CHECK_TEST(sync_that_fails),
          CHECK_TEST(name_of_an_earlier_life), CHECK_TEST(name_of_an_earlier_pull))
