/* Both disks, the machine's and the simulated one, keep base/disk.h's contract: what is
 * shown on the one then holds on the other. */
#include "base/disk.h"

#include "lib/check.h"
#include "lib/simdisk.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct fixture {
    struct disk *disk;
    char dir[512];
    char path[600];
    char other[600];
};

static struct fixture fixture_of(struct disk *disk, const char *dir)
{
    struct fixture f = {.disk = disk};

    (void)snprintf(f.dir, sizeof f.dir, "%s", dir);
    (void)snprintf(f.path, sizeof f.path, "%s/file", dir);
    (void)snprintf(f.other, sizeof f.other, "%s/other", dir);
    return f;
}

static struct disk_file *open_file(struct fixture *f, const char *path, int flags)
{
    struct disk_file *file = NULL;

    CHECK_INT(f->disk->ops->open(f->disk, path, flags, &file), 0);
    return file;
}

/* Run a check on both disks. */
static void on_both(void (*check)(struct fixture *f))
{
    struct simdisk *sim = simdisk_new(0);
    struct fixture f = fixture_of(disk_posix(), check_tmpdir());

    check(&f);
    f = fixture_of(simdisk_disk(sim), "dir");
    CHECK_INT(f.disk->ops->mkdir(f.disk, "dir"), 0);
    check(&f);
    simdisk_free(sim);
}

static void check_vectors(struct fixture *f)
{
    struct iovec iov[1024];
    char bytes[1024];
    char got[1024];
    struct disk_file *file = open_file(f, f->path, DISK_WRITE | DISK_CREATE);
    uint64_t size = 0;

    for (size_t i = 0; i < 1024; i++) {
        bytes[i] = (char)(i * 7);
        iov[i] = (struct iovec){.iov_base = &bytes[i], .iov_len = 1};
    }
    iov[0].iov_len = 0; /* An empty one in front. */
    CHECK_INT(f->disk->ops->pwritev(f->disk, file, iov, 1024, 10), 0);
    CHECK_INT(f->disk->ops->pread(f->disk, file, got, 1023, 10), 0);
    CHECK_MEM(got, bytes + 1, 1023);
    CHECK_INT(f->disk->ops->pread(f->disk, file, got, 10, 0), 0);
    CHECK_MEM(got, "\0\0\0\0\0\0\0\0\0\0", 10);
    CHECK_INT(f->disk->ops->size(f->disk, file, &size), 0);
    CHECK_UINT(size, 1033);
    CHECK_INT(f->disk->ops->pread(f->disk, file, got, 2, 1032), -ENODATA);
    CHECK_INT(f->disk->ops->datasync(f->disk, file), 0);
    f->disk->ops->close(f->disk, file);
}

/* Many small vectors are written as one run; a hole reads as zeros; a read beyond the end
 * is an error and not a short one. */
static void vectors_are_written_whole(void)
{
    on_both(check_vectors);
}

static void check_nowait(struct fixture *f)
{
    static char got[8192];
    struct iovec iov = {.iov_base = "bytes", .iov_len = 5};
    struct disk_file *file = open_file(f, f->path, DISK_WRITE | DISK_CREATE);
    struct disk_file *other = NULL;
    int seen = 0;

    CHECK_INT(f->disk->ops->pwritev(f->disk, file, &iov, 1, 8000), 0);
    disk_nowait(true);
    CHECK_INT(f->disk->ops->open(f->disk, f->path, DISK_READ, &other), -EAGAIN);
    for (int i = 0; i < 8; i++) {
        int rv = f->disk->ops->pread(f->disk, file, got, 8005, 0);

        CHECK(rv == 0 || rv == -EAGAIN);
        CHECK(rv != 0 || memcmp(got + 8000, "bytes", 5) == 0);
        seen += rv == 0;
        rv = f->disk->ops->pread(f->disk, file, got, 10, 8000);
        CHECK(rv == -ENODATA || rv == -EAGAIN);
    }
    disk_nowait(false);
    CHECK(seen > 0); /* It was written just now. */
    CHECK_INT(f->disk->ops->pread(f->disk, file, got, 8005, 0), 0);
    CHECK_INT(f->disk->ops->open(f->disk, f->path, DISK_READ, &other), 0);
    f->disk->ops->close(f->disk, other);
    f->disk->ops->close(f->disk, file);
}

/* Who must not wait gets right bytes, or is told that the disk would have to be asked; and
 * may wait again afterwards. */
static void who_must_not_wait(void)
{
    on_both(check_nowait);
}

static void check_punch(struct fixture *f)
{
    static char bytes[20000];
    static char got[20000];
    static char zeros[20000];
    struct iovec iov = {.iov_base = bytes, .iov_len = sizeof bytes};
    struct disk_file *file = open_file(f, f->path, DISK_WRITE | DISK_CREATE);
    uint64_t size = 0;

    memset(bytes, 'x', sizeof bytes);
    CHECK_INT(f->disk->ops->pwritev(f->disk, file, &iov, 1, 0), 0);
    CHECK_INT(f->disk->ops->punch(f->disk, file, 100, 15000), 0);
    CHECK_INT(f->disk->ops->punch(f->disk, file, 19000, 50000), 0);
    CHECK_INT(f->disk->ops->size(f->disk, file, &size), 0);
    CHECK_UINT(size, sizeof bytes);
    CHECK_INT(f->disk->ops->pread(f->disk, file, got, sizeof got, 0), 0);
    CHECK_MEM(got, bytes, 100);
    CHECK_MEM(got + 100, zeros, 15000);
    CHECK_MEM(got + 15100, bytes, 3900);
    CHECK_MEM(got + 19000, zeros, 1000);
    CHECK_INT(f->disk->ops->truncate(f->disk, file, 50), 0);
    CHECK_INT(f->disk->ops->truncate(f->disk, file, 100), 0);
    CHECK_INT(f->disk->ops->pread(f->disk, file, got, 100, 0), 0);
    CHECK_MEM(got, bytes, 50);
    CHECK_MEM(got + 50, zeros, 50);
    f->disk->ops->close(f->disk, file);
}

/* What was punched or cut off reads as zeros ever after, and punching keeps the size. */
static void holes_read_as_zeros(void)
{
    on_both(check_punch);
}

static int count(void *ctx, const char *name)
{
    CHECK(strcmp(name, "file") == 0 || strcmp(name, "other") == 0 ||
          strcmp(name, "sub") == 0);
    ++*(int *)ctx;
    return 0;
}

static int stop(void *ctx, const char *name)
{
    (void)ctx;
    (void)name;
    return 42;
}

static void check_names(struct fixture *f)
{
    const struct disk_ops *ops = f->disk->ops;
    struct disk_file *file = NULL;
    char sub[600];
    int n = 0;

    (void)snprintf(sub, sizeof sub, "%s/sub", f->dir);
    CHECK_INT(ops->open(f->disk, f->path, DISK_READ, &file), -ENOENT);
    ops->close(f->disk, open_file(f, f->path, DISK_WRITE | DISK_CREATE | DISK_EXCL));
    CHECK_INT(ops->open(f->disk, f->path, DISK_WRITE | DISK_CREATE | DISK_EXCL, &file),
              -EEXIST);
    ops->close(f->disk, open_file(f, f->other, DISK_WRITE | DISK_CREATE));
    CHECK_INT(ops->mkdir(f->disk, sub), 0);
    CHECK_INT(ops->mkdir(f->disk, sub), 0);
    CHECK_INT(ops->mkdir(f->disk, f->path), -ENOTDIR);
    CHECK_INT(ops->list(f->disk, f->dir, count, &n), 0);
    CHECK_INT(n, 3);
    CHECK_INT(ops->list(f->disk, f->dir, stop, NULL), 42);
    CHECK_INT(ops->rename(f->disk, f->path, f->other), 0);
    CHECK_INT(ops->rename(f->disk, f->path, f->other), -ENOENT);
    CHECK_INT(ops->unlink(f->disk, f->other), 0);
    CHECK_INT(ops->unlink(f->disk, f->other), -ENOENT);
    CHECK_INT(ops->unlink(f->disk, sub), 0);
    CHECK_INT(ops->syncdir(f->disk, f->dir), 0);
    CHECK_INT(ops->list(f->disk, sub, count, &n), -ENOENT);
}

/* Creating, renaming, listing and removing names, with the errors callers rely on. */
static void names_come_and_go(void)
{
    on_both(check_names);
}

static void check_unlinked(struct fixture *f)
{
    struct disk_file *file = open_file(f, f->path, DISK_WRITE | DISK_CREATE);
    struct iovec iov = {.iov_base = (char[]){'a', 'b'}, .iov_len = 2};
    char got[2];

    CHECK_INT(f->disk->ops->pwritev(f->disk, file, &iov, 1, 0), 0);
    CHECK_INT(f->disk->ops->unlink(f->disk, f->path), 0);
    CHECK_INT(f->disk->ops->pread(f->disk, file, got, 2, 0), 0);
    CHECK_MEM(got, "ab", 2);
    f->disk->ops->close(f->disk, file);
}

/* An open file that is removed stays readable: a reader may be inside. */
static void an_open_file_outlives_its_name(void)
{
    on_both(check_unlinked);
}

static void check_replace(struct fixture *f)
{
    char *data = NULL;
    size_t len = 0;

    CHECK_INT(disk_read_file(f->disk, f->path, 100, &data, &len), -ENOENT);
    CHECK_INT(disk_replace_file(f->disk, f->path, "first", 5), 0);
    CHECK_INT(disk_replace_file(f->disk, f->path, "2nd", 3), 0);
    CHECK_INT(disk_read_file(f->disk, f->path, 2, &data, &len), -EFBIG);
    CHECK_INT(disk_read_file(f->disk, f->path, 3, &data, &len), 0);
    CHECK_UINT(len, 3);
    CHECK_STR(data, "2nd");
    free(data);
    CHECK_INT(disk_replace_file(f->disk, f->path, "", 0), 0);
    CHECK_INT(disk_read_file(f->disk, f->path, 0, &data, &len), 0);
    CHECK_STR(data, "");
    free(data);
}

/* A small file is replaced whole and read whole, within its limit. */
static void small_files_are_replaced(void)
{
    on_both(check_replace);
}

/* Wherever the power goes while a file is replaced, the old or the new content is there
 * afterwards, whole; after a success the new one. Without its syncs it is not so. */
static uint64_t n_broken(bool lie)
{
    uint64_t n = 0;

    for (uint64_t seed = 1; seed <= 400; seed++) {
        struct simdisk *sim = simdisk_new(0);
        struct disk *disk = simdisk_disk(sim);
        struct prng prng;
        char *data = NULL;
        size_t len = 0;
        int rv;

        prng_seed(&prng, seed);
        CHECK_INT(disk_replace_file(disk, "file", "old", 3), 0);
        simdisk_lie(sim, lie);
        simdisk_power_off_after(sim, prng_below(&prng, 8));
        rv = disk_replace_file(disk, "file", "newer", 5);
        simdisk_crash(sim, &prng);
        simdisk_power_on(sim);
        if (disk_read_file(disk, "file", 100, &data, &len) != 0 ||
            (strcmp(data, "newer") != 0 && (rv == 0 || strcmp(data, "old") != 0))) {
            n++;
        }
        free(data);
        simdisk_free(sim);
    }
    return n;
}

static void replacing_survives_power_cuts(void)
{
    CHECK_UINT(n_broken(false), 0);
    CHECK(n_broken(true) > 0);
}

static void check_direct(struct fixture *f)
{
    size_t len = 4 * DISK_DIRECT_ALIGN;
    uint8_t *bytes = aligned_alloc(DISK_DIRECT_ALIGN, len);
    struct disk_file *file = open_file(f, f->path, DISK_WRITE | DISK_CREATE);
    struct iovec iov = {.iov_base = bytes, .iov_len = len};
    struct iovec part = {.iov_base = "cached", .iov_len = 6};
    char got[6];

    CHECK(bytes != NULL);
    memset(bytes, 7, len);
    CHECK_INT(f->disk->ops->pwritev(f->disk, file, &part, 1, 9000), 0);
    CHECK_INT(disk_write_direct(f->disk, file, &iov, 1, 0), 0);
    CHECK_INT(f->disk->ops->pread(f->disk, file, got, 6, 9000), 0);
    CHECK_MEM(got, bytes, 6);
    CHECK_INT(f->disk->ops->rename(f->disk, f->path, f->other), 0);
    CHECK_INT(f->disk->ops->pwritev(f->disk, file, &part, 1, 9000), 0);
    CHECK_INT(disk_read_direct(f->disk, file, bytes, len / 2, len / 2), 0);
    CHECK_MEM(bytes + 9000 - len / 2, "cached", 6);
    CHECK_INT(disk_read_direct(f->disk, file, bytes, len, len / 2), -ENODATA);
    CHECK_INT(disk_read_direct(f->disk, file, bytes, 100, 0), -EINVAL);
    CHECK_INT(disk_read_direct(f->disk, file, bytes + 512, DISK_DIRECT_ALIGN, 0),
              -EINVAL);
    CHECK_INT(disk_write_direct(f->disk, file, &iov, 1, 512), -EINVAL);
    f->disk->ops->close(f->disk, file);
    free(bytes);
}

/* What went by way of the page cache and what went past it is one file, before and after
 * it was renamed. */
static void direct_calls_see_the_same_file(void)
{
    on_both(check_direct);
}

/* Somebody else may have written to the disk. What is not a regular file is not opened,
 * which would lead elsewhere, wait for ever, or do whatever a device does. */
static void only_regular_files_are_opened(void)
{
    struct disk *disk = disk_posix();
    struct disk_file *file = NULL;
    char victim[600];
    char path[600];
    char *text = NULL;
    size_t len = 0;

    (void)snprintf(victim, sizeof victim, "%s/victim", check_tmpdir());
    (void)snprintf(path, sizeof path, "%s/odd", check_tmpdir());
    CHECK_INT(disk_replace_file(disk, victim, "precious", 8), 0);
    CHECK_INT(symlink(victim, path), 0);
    CHECK_INT(disk->ops->open(disk, path, DISK_WRITE | DISK_CREATE, &file), -ELOOP);
    CHECK_INT(disk_replace_file(disk, path, "new", 3), 0); /* The link goes. */
    CHECK_INT(disk_read_file(disk, victim, 64, &text, &len), 0);
    CHECK_STR(text, "precious");
    free(text);
    CHECK_INT(unlink(path), 0);
    CHECK_INT(mkfifo(path, 0600), 0);
    CHECK_INT(disk->ops->open(disk, path, DISK_READ, &file), -ENXIO);
    CHECK_INT(disk->ops->open(disk, path, DISK_WRITE, &file), -ENXIO);
    CHECK_INT(unlink(path), 0);
    CHECK_INT(disk->ops->open(disk, check_tmpdir(), DISK_READ, &file), -EISDIR);
    CHECK_INT(disk->ops->open(disk, "/dev/zero", DISK_READ, &file), -ENXIO);
}

/* The simulated disk's faults strike when told, and its capacity counts. */
static void simulated_faults_strike(void)
{
    struct simdisk *sim = simdisk_new(65536);
    struct disk *disk = simdisk_disk(sim);
    static char bytes[40000];
    struct iovec iov = {.iov_base = bytes, .iov_len = sizeof bytes};
    struct disk_file *file = NULL;
    uint64_t free_bytes = 0;
    uint64_t total = 0;

    CHECK_INT(disk->ops->open(disk, "a", DISK_WRITE | DISK_CREATE, &file), 0);
    simdisk_fail(sim, SIMDISK_WRITE, 2, -EIO, false);
    CHECK_INT(disk->ops->pwritev(disk, file, &iov, 1, 0), 0);
    CHECK_INT(disk->ops->pwritev(disk, file, &iov, 1, 0), -EIO);
    CHECK_INT(disk->ops->pwritev(disk, file, &iov, 1, 0), 0);
    CHECK_INT(disk->ops->pwritev(disk, file, &iov, 1, 40960), -ENOSPC);
    CHECK_INT(disk->ops->space(disk, ".", &free_bytes, &total), 0);
    CHECK_UINT(total, 65536);
    CHECK_UINT(free_bytes, 65536 - 40960);
    CHECK(simdisk_flip(sim, "a", 17, 3));
    CHECK_INT(disk->ops->pread(disk, file, bytes, 20, 0), 0);
    CHECK_INT(bytes[17], 8);
    disk->ops->close(disk, file);
    simdisk_free(sim);
}

TEST_MAIN(CHECK_TEST(vectors_are_written_whole), CHECK_TEST(who_must_not_wait),
          CHECK_TEST(holes_read_as_zeros), CHECK_TEST(names_come_and_go),
          CHECK_TEST(an_open_file_outlives_its_name),
          CHECK_TEST(small_files_are_replaced), CHECK_TEST(replacing_survives_power_cuts),
          CHECK_TEST(direct_calls_see_the_same_file), CHECK_TEST(simulated_faults_strike),
          CHECK_TEST(only_regular_files_are_opened))
