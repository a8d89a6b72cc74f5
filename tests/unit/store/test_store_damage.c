/* Flipped bits: in settled files, in journal pieces, in meta.db. Never wrong bytes. */
#include "test_store_fake.h"

#include <fcntl.h>
#include <sys/stat.h>

static struct journal journal;
static struct model model;
static struct prng prng;
static struct store *store;
static char dir[512];

static void setup(void)
{
    prng_seed(&prng, 3);
    memset(&journal, 0, sizeof journal);
    model_init(&model);
    (void)snprintf(dir, sizeof dir, "%s/set", check_tmpdir());
    store = fake_open(&journal, dir, true);
}

static void teardown(void)
{
    store_close(store);
    model_deinit(&model);
    journal_clear(&journal);
}

static void write_at(uint64_t offset, size_t len)
{
    struct write w = {.offset = offset, .len = len};
    uint64_t old_size = model_write(&model, &prng, &w);

    store_apply_write(store, &journal, &model, &w, old_size);
}

static void flip_data(uint64_t offset)
{
    char path[600];
    uint8_t byte;
    int fd;

    (void)snprintf(path, sizeof path, "%s/data/0a/10", dir);
    fd = open(path, O_RDWR);
    CHECK(fd >= 0);
    CHECK_INT(pread(fd, &byte, 1, (off_t)offset), 1);
    byte ^= 4;
    CHECK_INT(pwrite(fd, &byte, 1, (off_t)offset), 1);
    (void)close(fd);
}

static int read_at(uint64_t offset, size_t len, uint64_t *bad)
{
    struct buf *buf = NULL;
    int rv = store_data_read(store, fake_ino(0), offset, len, &buf, bad);

    if (rv == 0) {
        CHECK_MEM(buf->data, model.bytes[0] + offset, len);
        buf_unref(buf);
    }
    return rv;
}

/* A flipped bit in a settled file makes reads of that sub-block fail and no others, and
 * names the block. */
static void bit_in_settled_data(void)
{
    uint64_t bad = 99;

    setup();
    write_at(0, 400000);
    settle_all(store);
    CHECK_INT(read_at(0, 400000, &bad), 0);
    flip_data(STORE_BLOCK + 20000);
    CHECK_INT(read_at(0, 400000, &bad), OUT_IO);
    CHECK_UINT(bad, 1);
    CHECK_INT(read_at(STORE_BLOCK, STORE_SUBBLOCK, &bad), 0);
    CHECK_INT(read_at(STORE_BLOCK + 2 * STORE_SUBBLOCK - 1, 2, &bad), OUT_IO);
    CHECK_INT(read_at(STORE_BLOCK + 2 * STORE_SUBBLOCK, 50000, &bad), 0);
    CHECK_INT(read_at(0, STORE_BLOCK, &bad), 0);
    teardown();
}

/* A partial overwrite of a bad sub-block settles to no valid block: the new bytes are
 * read, the old ones stay refused, after a restart too. A whole overwrite heals it. */
static void overwriting_a_bad_block(void)
{
    setup();
    write_at(0, 200000);
    settle_all(store);
    flip_data(100);
    write_at(4096, 4096);
    for (int i = 0; i < 2; i++) {
        settle_all(store);
        CHECK_INT(read_at(4096, 4096, NULL), 0);
        CHECK_INT(read_at(0, 4096, NULL), OUT_IO);
        CHECK_INT(read_at(STORE_SUBBLOCK, 100000, NULL), 0);
        store_close(store);
        store = fake_open(&journal, dir, false);
    }
    write_at(0, STORE_SUBBLOCK);
    settle_all(store);
    CHECK_INT(read_at(0, 200000, NULL), 0);
    CHECK_UINT(store_unsettled_bytes(store), 0);
    teardown();
}

/* A flipped bit in the journal makes what was written there unreadable, also the part
 * that another write left of it; settling leaves it so. */
static void bit_in_a_piece(void)
{
    setup();
    write_at(0, 60000);
    write_at(20000, 1000);
    journal.segments[1][50000] ^= 1;
    CHECK_INT(read_at(20000, 1000, NULL), 0);
    CHECK_INT(read_at(0, 100, NULL), OUT_IO);
    CHECK_INT(read_at(0, 60000, NULL), OUT_IO);
    settle_all(store);
    CHECK_INT(read_at(20000, 1000, NULL), 0);
    CHECK_INT(read_at(0, 100, NULL), OUT_IO);
    teardown();
}

/* How much of the journal a read of [@offset, @offset + @len) reads. */
static uint64_t cost(uint64_t offset, size_t len)
{
    uint64_t before = journal.n_read;

    CHECK_INT(read_at(offset, len, NULL), 0);
    return journal.n_read - before;
}

/* Once a piece was checked as a whole, a small read of it reads and checks only the parts
 * that it wants: what is bad elsewhere is no matter to it, what is bad there is found. */
static void parts_of_a_piece(void)
{
    setup();
    write_at(0, 60000);
    write_at(STORE_BLOCK, 60000);
    CHECK_UINT(cost(8192, 4096), 60000);
    CHECK_UINT(cost(STORE_BLOCK, 10), 60000); /* The other piece is the one kept now. */
    CHECK_UINT(cost(8192, 4096), 4096);
    CHECK_UINT(cost(8191, 2), 8192);
    CHECK_UINT(cost(59990, 10), 60000 - 14 * 4096);
    CHECK_UINT(cost(0, 60000), 60000);
    journal.segments[1][50000] ^= 1;
    CHECK_UINT(cost(8192, 4096), 4096);
    CHECK_INT(read_at(50000, 1, NULL), OUT_IO);
    CHECK_INT(read_at(49152, 4096, NULL), OUT_IO);
    CHECK_INT(read_at(0, 60000, NULL), OUT_IO);
    journal.fault = -EIO;
    CHECK_INT(read_at(8192, 4096, NULL), OUT_IO);
    teardown();
}

/* Whatever byte of meta.db flips, opening and using the store gives faults or right
 * answers, and never touches memory it must not. */
static void bits_in_meta(void)
{
    char broken[600];
    char path[700];
    long size;
    FILE *file;

    setup();
    for (int i = 0; i < 60; i++) {
        struct write w = random_write(&prng);
        uint64_t old_size = model_write(&model, &prng, &w);

        store_apply_write(store, &journal, &model, &w, old_size);
    }
    settle_all(store);
    for (int i = 0; i < 20; i++) {
        struct write w = random_write(&prng);
        uint64_t old_size = model_write(&model, &prng, &w);

        store_apply_write(store, &journal, &model, &w, old_size);
    }
    store_close(store);
    (void)snprintf(broken, sizeof broken, "%s-broken", dir);
    (void)snprintf(path, sizeof path, "%s/meta.db", broken);
    for (int i = 0; i < 150; i++) {
        struct store_config config = {.disk = disk_posix(),
                                      .dir = broken,
                                      .journal = &journal,
                                      .zone_id = {1, 2, 3}};
        uint8_t digest[32];
        struct store *hurt = NULL;
        int byte;

        copy_dataset(dir, broken);
        file = fopen(path, "r+");
        CHECK(file != NULL && fseek(file, 0, SEEK_END) == 0);
        size = ftell(file);
        CHECK_INT(fseek(file, (long)prng_below(&prng, (uint64_t)size), SEEK_SET), 0);
        byte = fgetc(file);
        CHECK(byte != EOF && fseek(file, -1, SEEK_CUR) == 0);
        (void)fputc(byte ^ (1 << prng_below(&prng, 8)), file);
        (void)fclose(file);
        if (store_open(&config, &hurt) != 0) {
            continue;
        }
        for (int k = 0; k < MODEL_FILES; k++) {
            struct buf *buf = NULL;

            if (model.size[k] > 0 &&
                store_data_read(hurt, fake_ino(k), 0, model.size[k], &buf, NULL) == 0) {
                buf_unref(buf);
            }
        }
        (void)store_digest(hurt, digest);
        store_close(hurt);
    }
    store = fake_open(&journal, dir, false);
    check_files(store, &model);
    teardown();
}

/* Pulls are numbered from 1: a folder that somebody called pull.0 is not taken for data/,
 * whose number that is, and swept. */
static void a_folder_of_no_pull(void)
{
    char path[600];

    setup();
    write_at(0, 100000);
    settle_all(store);
    store_close(store);
    (void)snprintf(path, sizeof path, "%s/pull.0", dir);
    CHECK_INT(mkdir(path, 0700), 0);
    store = fake_open(&journal, dir, false);
    CHECK_INT(read_at(0, 100000, NULL), 0);
    teardown();
}

TEST_MAIN(CHECK_TEST(a_folder_of_no_pull), CHECK_TEST(bit_in_settled_data),
          CHECK_TEST(overwriting_a_bad_block), CHECK_TEST(bit_in_a_piece),
          CHECK_TEST(parts_of_a_piece), CHECK_TEST(bits_in_meta))
