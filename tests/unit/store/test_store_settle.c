/* Settling when something is in its way: a kill at a bad moment, a file system that
 * refuses a file, bytes that rotted. */
#include "test_store_settle.h"

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

TEST_MAIN(CHECK_TEST(old_row_keeps_its_bytes), CHECK_TEST(rest_of_a_pull),
          CHECK_TEST(bad_block_holds_no_journal), CHECK_TEST(bad_piece_holds_no_journal),
          CHECK_TEST(piece_that_cannot_be_read), CHECK_TEST(power_cut_while_carrying),
          CHECK_TEST(reader_beside_a_shorter_file),
          CHECK_TEST(file_system_of_small_files), CHECK_TEST(end_of_the_largest_file),
          CHECK_TEST(block_that_is_refused), CHECK_TEST(sync_that_fails),
          CHECK_TEST(name_of_an_earlier_life), CHECK_TEST(name_of_an_earlier_pull))
