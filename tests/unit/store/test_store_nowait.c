/* A thread that must not wait for a disk reads what memory has, and nothing comes of what
 * it has not. */
#include "store/store_priv.h"
#include "test_store_fake.h"

#include <sys/stat.h>

/* A disk of whose files the page cache has nothing while it is cold, and else everything:
 * what the system has in memory is its own affair, and tmpfs does not say. The disk's own
 * way of asking is tested with it (test_disk.c). */
static struct cold {
    const struct disk_ops *real;
    struct disk_ops ops;
    bool cold;
} cold;

static int cold_pread(struct disk *disk, struct disk_file *file, void *buf, size_t len,
                      uint64_t offset)
{
    bool nowait = disk_is_nowait();
    int rv;

    if (nowait && cold.cold) {
        return -EAGAIN;
    }
    disk_nowait(false);
    rv = cold.real->pread(disk, file, buf, len, offset);
    disk_nowait(nowait);
    return rv;
}

struct fixture {
    struct journal journal;
    struct store *store;
    struct model model;
    struct prng prng;
    char dir[512];
};

static struct fixture *setup(void)
{
    static struct fixture f;
    struct disk *disk = disk_posix();
    struct write w = {.offset = 0, .len = 3 * STORE_BLOCK};
    uint64_t old_size;

    disk_nowait(false);
    memset(&f, 0, sizeof f);
    if (cold.real != NULL) {
        disk->ops = cold.real; /* A test that failed left it. */
    }
    cold = (struct cold){.real = disk->ops, .ops = *disk->ops};
    cold.ops.pread = cold_pread;
    disk->ops = &cold.ops;
    (void)snprintf(f.dir, sizeof f.dir, "%s/dataset", check_tmpdir());
    CHECK_INT(mkdir(f.dir, 0700), 0);
    prng_seed(&f.prng, 5);
    model_init(&f.model);
    f.store = fake_open(&f.journal, f.dir, true);
    old_size = model_write(&f.model, &f.prng, &w);
    store_apply_write(f.store, &f.journal, &f.model, &w, old_size);
    return &f;
}

static void teardown(struct fixture *f)
{
    disk_nowait(false);
    store_close(f->store);
    disk_posix()->ops = cold.real;
    journal_clear(&f->journal);
    model_deinit(&f->model);
}

static void reopen(struct fixture *f)
{
    store_close(f->store);
    f->store = fake_open(&f->journal, f->dir, false);
}

/* What a read of the file gives that must not wait; right bytes, if it gives any. */
static int read_now(struct fixture *f)
{
    struct buf *buf = NULL;
    int rv;

    disk_nowait(true);
    rv = store_data_read(f->store, fake_ino(0), 5000, 200000, &buf, NULL);
    disk_nowait(false);
    CHECK(rv != 0 || memcmp(buf->data, f->model.bytes[0] + 5000, 200000) == 0);
    buf_unref(buf);
    return rv;
}

/* No block is bad, and who may wait reads. */
static void check_sound(struct fixture *f)
{
    CHECK_UINT(f->store->bad.n, 0);
    check_files(f->store, &f->model);
}

/* Of what has settled: what the page cache does not have is asked for again, and not
 * taken for damage. */
static void settled_data(void)
{
    struct fixture *f = setup();

    settle_all(f->store);
    check_files(f->store, &f->model);
    CHECK_INT(read_now(f), 0);
    cold.cold = true;
    CHECK_INT(read_now(f), -EAGAIN);
    check_sound(f);
    cold.cold = false;
    CHECK_INT(read_now(f), 0);
    teardown(f);
}

/* Of what is in the journal, too. */
static void data_in_the_journal(void)
{
    struct fixture *f = setup();

    CHECK_INT(read_now(f), 0);
    f->journal.fault = -EAGAIN;
    CHECK_INT(read_now(f), -EAGAIN);
    f->journal.fault = 0;
    check_sound(f);
    CHECK_INT(read_now(f), 0);
    teardown(f);
}

/* A file that is not open is not opened. */
static void file_is_not_open(void)
{
    struct fixture *f = setup();
    struct store_layers layers = {0};

    settle_all(f->store);
    reopen(f);
    CHECK_INT(store_layers_load(&f->store->db, fake_ino(0), 0, &layers), 0);
    CHECK_INT(store_layers_load(&f->store->db, fake_ino(0), 1, &layers), 0);
    store_extents_free(&layers.extents);
    CHECK_INT(read_now(f), -EAGAIN);
    check_sound(f);
    CHECK_INT(read_now(f), 0);
    teardown(f);
}

/* Rows come from sqlite's cache only. */
static void rows(void)
{
    struct fixture *f = setup();
    struct store_inode inode;

    reopen(f);
    disk_nowait(true);
    CHECK_INT(store_inode_get(f->store, fake_ino(0), &inode), -EAGAIN);
    CHECK_INT(store_inode_get(f->store, fake_ino(0), &inode), -EAGAIN);
    disk_nowait(false);
    CHECK_INT(store_inode_get(f->store, fake_ino(0), &inode), 0);
    disk_nowait(true);
    CHECK_INT(store_inode_get(f->store, fake_ino(0), &inode), 0);
    CHECK_UINT(inode.size, f->model.size[0]);
    disk_nowait(false);
    check_sound(f);
    teardown(f);
}

/* Damage is not met in passing: whoever may wait looks again, and tells. */
static void damage_is_left_to_others(void)
{
    struct fixture *f = setup();
    struct buf *buf = NULL;
    uint8_t byte = 0;
    char path[STORE_PATH_MAX];
    FILE *file;

    settle_all(f->store);
    check_files(f->store, &f->model);
    store_data_path(f->store, 0, fake_ino(0), path);
    file = fopen(path, "r+");
    CHECK(file != NULL);
    CHECK_INT(fseek(file, 40000, SEEK_SET), 0);
    byte = (uint8_t)~f->model.bytes[0][40000];
    CHECK_UINT(fwrite(&byte, 1, 1, file), 1);
    CHECK_INT(fclose(file), 0);
    CHECK_INT(read_now(f), -EAGAIN);
    CHECK_UINT(f->store->bad.n, 0);
    CHECK_INT(store_data_read(f->store, fake_ino(0), 0, 100000, &buf, NULL), OUT_IO);
    CHECK_UINT(f->store->bad.n, 1);
    teardown(f);
}

TEST_MAIN(CHECK_TEST(settled_data), CHECK_TEST(data_in_the_journal),
          CHECK_TEST(file_is_not_open), CHECK_TEST(rows),
          CHECK_TEST(damage_is_left_to_others))
