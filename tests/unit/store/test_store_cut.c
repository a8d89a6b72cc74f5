/* Settling and what it takes away: rows and files of what was cut off, and what it must leave
 * for entries to come. */
#include "test_store_settle.h"

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

TEST_MAIN(CHECK_TEST(long_cut_goes_in_steps), CHECK_TEST(long_cut_shortens_the_file),
          CHECK_TEST(nothing_settles_below_serve_from))
