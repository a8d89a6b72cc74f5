/* Settling blocks that were written whole, several at a time. */
#define FAKE_SEGMENT_BYTES (6 << 17) /* Six blocks, one behind the other. */
#include "store/store_priv.h"
#include "test_store_fake.h"

#include <sys/stat.h>

/* Counts what the store does with files of data. */
static struct counts {
    const struct disk_ops *real;
    struct disk_ops ops;
    uint32_t cached; /* Writes of at least a block, by way of the page cache, */
    uint32_t direct; /* and past it. */
    uint32_t punched;
} counts;

static int count_pwritev(struct disk *disk, struct disk_file *file,
                         const struct iovec *iov, int n, uint64_t offset)
{
    counts.cached += iov[0].iov_len >= STORE_BLOCK;
    return counts.real->pwritev(disk, file, iov, n, offset);
}

static int count_direct(struct disk *disk, struct disk_file *file,
                        const struct iovec *iov, int n, uint64_t offset)
{
    counts.direct++;
    return counts.real->write_direct(disk, file, iov, n, offset);
}

static int count_punch(struct disk *disk, struct disk_file *file, uint64_t offset,
                       uint64_t len)
{
    counts.punched++;
    return counts.real->punch(disk, file, offset, len);
}

struct fixture {
    struct journal journal;
    struct store *store;
    struct model model;
    struct prng prng;
};

static struct fixture *setup(void)
{
    static struct fixture f;
    struct disk *disk = disk_posix();
    char dir[512];

    memset(&f, 0, sizeof f);
    if (counts.real != NULL) {
        disk->ops = counts.real; /* A test that failed left it. */
    }
    counts = (struct counts){.real = disk->ops, .ops = *disk->ops};
    counts.ops.pwritev = count_pwritev;
    counts.ops.write_direct = count_direct;
    counts.ops.punch = count_punch;
    disk->ops = &counts.ops;
    (void)snprintf(dir, sizeof dir, "%s/dataset", check_tmpdir());
    CHECK_INT(mkdir(dir, 0700), 0);
    prng_seed(&f.prng, 5);
    model_init(&f.model);
    f.store = fake_open(&f.journal, dir, true);
    return &f;
}

static void teardown(struct fixture *f)
{
    store_close(f->store);
    disk_posix()->ops = counts.real;
    journal_clear(&f->journal);
    model_deinit(&f->model);
}

static void write_blocks(struct fixture *f, uint64_t first, uint32_t n)
{
    struct write w = {.offset = first * STORE_BLOCK, .len = n * STORE_BLOCK};
    uint64_t old_size = model_write(&f->model, &f->prng, &w);

    store_apply_write(f->store, &f->journal, &f->model, &w, old_size);
}

static void settle(struct fixture *f, bool unread)
{
    struct store_settle *settle;

    CHECK_INT(store_settle_plan(f->store, 64 * STORE_BLOCK, &settle), 0);
    if (unread) {
        store_settle_unread(settle);
    }
    CHECK_INT(store_settle_run(settle), 0);
    check_file(f->store, &f->model, 0);
    CHECK_INT(store_settle_finish(f->store, settle), 0);
    check_file(f->store, &f->model, 0);
}

/* Six blocks that were written with one call are written in place with one, past the page
 * cache, if nobody reads here; else one by one. Also over what was settled before. */
static void blocks_are_settled_together(void)
{
    struct fixture *f = setup();

    write_blocks(f, 0, 6);
    settle(f, false);
    CHECK_UINT(counts.cached, 6);
    CHECK_UINT(counts.direct, 0);
    write_blocks(f, 0, 6);
    settle(f, true);
    CHECK_UINT(counts.cached, 6);
    CHECK_UINT(counts.direct, 1);
    CHECK_UINT(counts.punched, 0);
    CHECK_UINT(store_unsettled_bytes(f->store), 0);
    teardown(f);
}

/* Blocks that do not lie one behind the other in the journal are not taken together, and
 * one that was overwritten in part is merged. */
static void only_neighbours_are_settled_together(void)
{
    struct fixture *f = setup();
    struct write part = {.offset = 4 * STORE_BLOCK + 100, .len = 5000};
    uint64_t old_size;

    write_blocks(f, 1, 2);
    write_blocks(f, 0, 1);
    write_blocks(f, 3, 2);
    old_size = model_write(&f->model, &f->prng, &part);
    store_apply_write(f->store, &f->journal, &f->model, &part, old_size);
    settle(f, true);
    CHECK_UINT(counts.direct, 3); /* 0, 1 and 2, 3. */
    CHECK_UINT(counts.cached, 1); /* 4. */
    teardown(f);
}

/* A block of zeros among others takes no room: it is punched, not written. */
static void zeros_are_punched(void)
{
    struct fixture *f = setup();

    write_blocks(f, 0, 6);
    settle(f, true);
    write_blocks(f, 0, 6);
    memset(f->model.bytes[0] + 2 * STORE_BLOCK, 0, STORE_BLOCK);
    {
        struct write w = {.offset = 0, .len = 6 * STORE_BLOCK};

        f->model.version++;
        store_apply_write(f->store, &f->journal, &f->model, &w, f->model.size[0]);
    }
    settle(f, true);
    CHECK_UINT(counts.direct, 3); /* The first six; 0 and 1; 3 to 5. */
    CHECK_UINT(counts.punched, 1);
    teardown(f);
}

/* A piece that rotted in the journal spoils its own block only: the bad bytes never get to
 * the file under a good CRC, and its neighbours settle. */
static void a_bad_piece_spoils_one_block(void)
{
    struct fixture *f = setup();
    struct store_settle *plan;
    struct buf *buf = NULL;

    write_blocks(f, 0, 6);
    f->journal.segments[1][3 * STORE_BLOCK + 777] ^= 4;
    CHECK_INT(store_settle_plan(f->store, 64 * STORE_BLOCK, &plan), 0);
    store_settle_unread(plan);
    CHECK_INT(store_settle_run(plan), 0);
    CHECK_INT(store_settle_finish(f->store, plan), 0);
    CHECK_UINT(counts.direct, 2); /* 0 to 2; 4 and 5. */
    for (uint64_t block = 0; block < 6; block++) {
        int rv = store_data_read(f->store, fake_ino(0), block * STORE_BLOCK, STORE_BLOCK,
                                 &buf, NULL);

        CHECK_INT(rv, block == 3 ? OUT_IO : 0);
        if (rv == 0) {
            CHECK_MEM(buf->data, f->model.bytes[0] + block * STORE_BLOCK, STORE_BLOCK);
            buf_unref(buf);
        }
    }
    teardown(f);
}

TEST_MAIN(CHECK_TEST(blocks_are_settled_together),
          CHECK_TEST(only_neighbours_are_settled_together), CHECK_TEST(zeros_are_punched),
          CHECK_TEST(a_bad_piece_spoils_one_block))
