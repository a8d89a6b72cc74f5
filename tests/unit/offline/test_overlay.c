/* The overlay behaves as a disk does, and what is below it stays as it was. */
#include "base/disk.h"
#include "base/prng.h"
#include "lib/check.h"
#include "offline/overlay.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define FILE_BYTES 40000u
#define MODEL_BYTES 60000u

static char dir[1024];
static struct disk *disk;

static const char *at(const char *name)
{
    static char paths[4][1200];
    static unsigned next;
    char *path = paths[next++ % 4];

    snprintf(path, sizeof paths[0], "%s/%s", dir, name);
    return path;
}

static void fresh(void)
{
    snprintf(dir, sizeof dir, "%s/overlay-XXXXXX", check_tmpdir());
    CHECK(mkdtemp(dir) != NULL);
    disk = overlay_new(disk_posix());
    CHECK(disk != NULL);
}

static void put_below(const char *name, const void *bytes, size_t len)
{
    CHECK_INT(disk_replace_file(disk_posix(), at(name), bytes, len), 0);
}

static void check_file(struct disk *of, const char *name, const char *expected)
{
    char *text = NULL;
    size_t len = 0;
    int rv = disk_read_file(of, at(name), 1u << 20, &text, &len);

    if (expected == NULL) {
        CHECK_INT(rv, -ENOENT);
    } else {
        CHECK_INT(rv, 0);
        CHECK_STR(text, expected);
    }
    free(text);
}

static int join_name(void *ctx, const char *name)
{
    char *out = ctx;

    CHECK(strstr(out, name) == NULL);
    strcat(out, name);
    strcat(out, " ");
    return 0;
}

/* Made, replaced, renamed and removed above; below nothing happened. */
static void names(void)
{
    char listed[256] = "";

    fresh();
    put_below("kept", "k", 1);
    put_below("gone", "g", 1);
    put_below("moved", "m", 1);
    CHECK_INT(disk_replace_file(disk, at("kept"), "new", 3), 0);
    CHECK_INT(disk->ops->unlink(disk, at("gone")), 0);
    CHECK_INT(disk->ops->unlink(disk, at("gone")), -ENOENT);
    CHECK_INT(disk->ops->rename(disk, at("moved"), at("there")), 0);
    check_file(disk, "kept", "new");
    check_file(disk, "gone", NULL);
    check_file(disk, "moved", NULL);
    check_file(disk, "there", "m");
    CHECK_INT(disk->ops->list(disk, dir, join_name, listed), 0);
    CHECK(strlen(listed) == strlen("kept there "));
    CHECK(strstr(listed, "kept ") != NULL && strstr(listed, "there ") != NULL);
    CHECK_INT(disk_replace_file(disk, at("gone"), "back", 4), 0);
    check_file(disk, "gone", "back");
    check_file(disk_posix(), "kept", "k");
    check_file(disk_posix(), "gone", "g");
    check_file(disk_posix(), "moved", "m");
    check_file(disk_posix(), "there", NULL);
    overlay_free(disk);
}

/* A folder that was made can be listed; one that was not, not. */
static void made_folders(void)
{
    char listed[64] = "";

    fresh();
    CHECK_INT(disk->ops->list(disk, at("none"), join_name, listed), -ENOENT);
    CHECK_INT(disk->ops->mkdir(disk, at("none")), 0);
    CHECK_INT(disk->ops->list(disk, at("none"), join_name, listed), 0);
    CHECK_STR(listed, "");
    CHECK_INT(disk_replace_file(disk, at("none/x"), "x", 1), 0);
    CHECK_INT(disk->ops->list(disk, at("none"), join_name, listed), 0);
    CHECK_STR(listed, "x ");
    overlay_free(disk);
}

/* Open files keep their bytes when their names go. */
static void open_and_unlinked(void)
{
    struct disk_file *file = NULL;
    char byte = 0;

    fresh();
    put_below("f", "a", 1);
    CHECK_INT(disk->ops->open(disk, at("f"), DISK_READ, &file), 0);
    CHECK_INT(disk->ops->unlink(disk, at("f")), 0);
    CHECK_INT(disk->ops->pread(disk, file, &byte, 1, 0), 0);
    CHECK_INT(byte, 'a');
    CHECK_INT(disk->ops->pread(disk, file, &byte, 1, 1), -ENODATA);
    disk->ops->close(disk, file);
    check_file(disk, "f", NULL);
    overlay_free(disk);
}

static void write_both(struct disk_file *file, uint8_t *model, uint64_t *size,
                       struct prng *prng)
{
    uint8_t bytes[9000];
    size_t len = 1 + (size_t)prng_below(prng, sizeof bytes - 1);
    uint64_t offset = prng_below(prng, MODEL_BYTES - sizeof bytes);
    struct iovec iov[2] = {{bytes, len / 2}, {bytes + len / 2, len - len / 2}};

    for (size_t i = 0; i < len; i++) {
        bytes[i] = prng_below(prng, 4) == 0 ? 0 : (uint8_t)prng_next(prng);
    }
    CHECK_INT(disk->ops->pwritev(disk, file, iov, 2, offset), 0);
    memcpy(model + offset, bytes, len);
    *size = offset + len > *size ? offset + len : *size;
}

/* Random writes, cuts and holes give what a plain array gives, on bytes that were below
 * and beyond them. */
static void as_an_array(void)
{
    static uint8_t model[MODEL_BYTES];
    static uint8_t seen[MODEL_BYTES];
    static uint8_t old[FILE_BYTES];
    struct disk_file *file = NULL;
    struct prng prng;
    uint64_t size = FILE_BYTES;
    char *text = NULL;
    size_t len = 0;

    fresh();
    prng_seed(&prng, 3);
    for (size_t i = 0; i < sizeof old; i++) {
        old[i] = (uint8_t)prng_next(&prng);
    }
    put_below("f", old, sizeof old);
    memset(model, 0, sizeof model);
    memcpy(model, old, sizeof old);
    CHECK_INT(disk->ops->open(disk, at("f"), DISK_WRITE, &file), 0);
    for (uint32_t round = 0; round < 2000; round++) {
        uint64_t cut = prng_below(&prng, MODEL_BYTES);
        uint64_t found = 0;

        switch (prng_below(&prng, 4)) {
        case 0:
            CHECK_INT(disk->ops->truncate(disk, file, cut), 0);
            if (cut < size) {
                memset(model + cut, 0, size - cut);
            }
            size = cut;
            break;
        case 1:
            CHECK_INT(disk->ops->punch(disk, file, cut / 2, cut / 3), 0);
            for (uint64_t i = cut / 2; i < cut / 2 + cut / 3 && i < size; i++) {
                model[i] = 0;
            }
            break;
        default:
            write_both(file, model, &size, &prng);
        }
        CHECK_INT(disk->ops->size(disk, file, &found), 0);
        CHECK_INT(found, size);
        CHECK_INT(disk->ops->pread(disk, file, seen, size, 0), 0);
        CHECK_MEM(seen, model, size);
    }
    disk->ops->close(disk, file);
    CHECK_INT(disk_read_file(disk_posix(), at("f"), 1u << 20, &text, &len), 0);
    CHECK_INT(len, FILE_BYTES);
    CHECK_MEM(text, old, FILE_BYTES);
    free(text);
    overlay_free(disk);
}

TEST_MAIN(CHECK_TEST(names), CHECK_TEST(made_folders), CHECK_TEST(open_and_unlinked),
          CHECK_TEST(as_an_array))
