/* What the state folder's files say is what was written, or it is nothing. */
#include "daemon/state_file.h"
#include "lib/check.h"
#include "lib/simdisk.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define FILE_NAME "/zones.json"
#define COPY_NAME "/zones.json.copy"
#define TEXT "[{\"id\": \"01\", \"raft_id\": \"65537\"}]"
#define OLDER "[{\"id\": \"01\", \"raft_id\": \"65536\"}]"
#define MAX 4096u

static void check_read(struct disk *disk, const char *want, enum state_file_from from)
{
    struct state_file file = {0};

    CHECK_INT(state_file_read(disk, FILE_NAME, MAX, &file), 0);
    CHECK_STR(file.text, want);
    CHECK_UINT(file.len, strlen(want));
    CHECK_INT(file.from, from);
    free(file.text);
}

static int read_fault(struct disk *disk)
{
    struct state_file file = {0};
    int rv = state_file_read(disk, FILE_NAME, MAX, &file);

    CHECK_PTR(file.text, NULL);
    return rv;
}

/* A text is read as it was written; there being none is told from damage. */
static void written_and_read(void)
{
    struct simdisk *sim = simdisk_new(0);
    struct disk *disk = simdisk_disk(sim);

    CHECK_INT(read_fault(disk), -ENOENT);
    CHECK_INT(state_file_write(disk, FILE_NAME, TEXT), 0);
    check_read(disk, TEXT, STATE_FILE_WHOLE);
    CHECK_INT(state_file_write(disk, FILE_NAME, OLDER), 0);
    check_read(disk, OLDER, STATE_FILE_WHOLE);
    simdisk_free(sim);
}

/* Whichever bit of the file flips, nothing else is read: the copy takes its place. If the
 * file is gone, too. With the copy damaged as well it is damage, and not nothing. */
static void any_bit_flips(void)
{
    struct simdisk *sim = simdisk_new(0);
    struct disk *disk = simdisk_disk(sim);
    uint64_t bit = 0;

    CHECK_INT(state_file_write(disk, FILE_NAME, TEXT), 0);
    while (simdisk_flip(sim, FILE_NAME, bit / 8, bit % 8)) {
        check_read(disk, TEXT, STATE_FILE_COPY);
        CHECK(simdisk_flip(sim, FILE_NAME, bit / 8, bit % 8));
        bit++;
    }
    CHECK(bit > 8 * strlen(TEXT));
    CHECK(simdisk_flip(sim, COPY_NAME, 30, 0));
    check_read(disk, TEXT, STATE_FILE_ONE);
    CHECK(simdisk_flip(sim, FILE_NAME, 31, 0));
    CHECK_INT(read_fault(disk), -EUCLEAN);
    CHECK_INT(disk->ops->unlink(disk, FILE_NAME), 0);
    CHECK_INT(read_fault(disk), -EUCLEAN);
    CHECK(simdisk_flip(sim, COPY_NAME, 30, 0));
    check_read(disk, TEXT, STATE_FILE_COPY);
    CHECK_INT(disk->ops->unlink(disk, COPY_NAME), 0);
    CHECK_INT(read_fault(disk), -ENOENT);
    simdisk_free(sim);
}

/* The power goes at any step of writing: the old text is read, or the new one. */
static void power_goes(void)
{
    for (uint64_t n = 1; n < 40; n++) {
        struct simdisk *sim = simdisk_new(0);
        struct disk *disk = simdisk_disk(sim);
        struct prng prng;
        struct state_file file = {0};
        int rv;

        prng_seed(&prng, n);
        CHECK_INT(state_file_write(disk, FILE_NAME, OLDER), 0);
        simdisk_power_off_after(sim, n);
        rv = state_file_write(disk, FILE_NAME, TEXT);
        simdisk_crash(sim, &prng);
        simdisk_power_on(sim);
        CHECK_INT(state_file_read(disk, FILE_NAME, MAX, &file), 0);
        CHECK(strcmp(file.text, TEXT) == 0 || (rv != 0 && strcmp(file.text, OLDER) == 0));
        free(file.text);
        simdisk_free(sim);
    }
}

/* What older versions wrote, or a person, has no checksum: it is taken, not the copy. */
static void without_a_checksum(void)
{
    struct simdisk *sim = simdisk_new(0);
    struct disk *disk = simdisk_disk(sim);

    CHECK_INT(state_file_write(disk, FILE_NAME, OLDER), 0);
    CHECK_INT(disk_replace_file(disk, FILE_NAME, TEXT "\n", strlen(TEXT) + 1), 0);
    check_read(disk, TEXT, STATE_FILE_ONE);
    CHECK_INT(state_file_write_one(disk, FILE_NAME, TEXT), 0);
    check_read(disk, TEXT, STATE_FILE_ONE);
    simdisk_free(sim);
}

/* What is no text, or longer than any that was written, is damage like any other. */
static void what_was_never_written(void)
{
    static char large[MAX + 100];
    static const struct {
        const char *bytes;
        size_t len;
    } cases[] = {{"[{}\0]", 5}, {large, sizeof large}};

    memset(large, ']', sizeof large);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct simdisk *sim = simdisk_new(0);
        struct disk *disk = simdisk_disk(sim);

        CHECK_INT(state_file_write(disk, FILE_NAME, TEXT), 0);
        CHECK_INT(disk_replace_file(disk, FILE_NAME, cases[i].bytes, cases[i].len), 0);
        check_read(disk, TEXT, STATE_FILE_COPY);
        CHECK_INT(disk->ops->unlink(disk, COPY_NAME), 0);
        CHECK_INT(read_fault(disk), -EUCLEAN);
        simdisk_free(sim);
    }
}

TEST_MAIN(CHECK_TEST(written_and_read), CHECK_TEST(any_bit_flips), CHECK_TEST(power_goes),
          CHECK_TEST(without_a_checksum), CHECK_TEST(what_was_never_written))
