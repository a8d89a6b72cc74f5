/* A bit that flips in what a settle was changing when it was broken off: its CRC is that of
 * neither state then, and still nobody is given the wrong byte. */
#include "base/outcome.h"
#include "test_store_settle.h"

#define FILE_OF_10 "/set/data/0a/10"

/* All of the block is 1; then 3,000 bytes of 2 at 5,000, and of 3 at 40,000, and a settle
 * of these to which @n changes of the disk are left. */
static void break_off(const char *vfs, uint64_t n)
{
    struct store_settle *settle;
    struct prng prng;

    prng_seed(&prng, n);
    member_init(vfs);
    put((struct put){.ino = 10, .len = STORE_BLOCK, .fill = 1});
    settle_all(m.store);
    put((struct put){
        .ino = 10, .offset = 5000, .len = 3000, .old_size = STORE_BLOCK, .fill = 2});
    put((struct put){
        .ino = 10, .offset = 40000, .len = 3000, .old_size = STORE_BLOCK, .fill = 3});
    CHECK_INT(store_settle_plan(m.store, 1 << 20, &settle), 0);
    simdisk_power_off_after(m.sim, n);
    (void)store_settle_run(settle);
    store_settle_abandon(m.store, settle);
    simdisk_power_off_after(m.sim, 0);
    member_power_cut(&prng);
}

static void all_is_right(void)
{
    CHECK_INT(get(10, 0, 5000, 1), 0);
    CHECK_INT(get(10, 5000, 3000, 2), 0);
    CHECK_INT(get(10, 8000, 32000, 1), 0);
    CHECK_INT(get(10, 40000, 3000, 3), 0);
    CHECK_INT(get(10, 43000, STORE_BLOCK - 43000, 1), 0);
}

/* Of another file, whose settles make notes too. */
static void settle_another(void)
{
    put((struct put){.ino = 11, .len = STORE_BLOCK, .fill = 5});
    settle_all(m.store);
    for (uint8_t i = 0; i < 4; i++) {
        put((struct put){
            .ino = 11, .offset = 99, .len = 9, .old_size = STORE_BLOCK, .fill = i});
        settle_all(m.store);
    }
}

/* At whatever moment it ended: a bit that the settle would have left as it was is missed,
 * before it is settled again and after, and if it is put back all is right. */
static void flipped_bit_is_found(void)
{
    static const uint32_t places[] = {0, 4999, 8000, 16383, 39999, 43000, 49151};

    for (uint64_t n = 1; n < 24; n++) {
        for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
            break_off("stale-flip", n);
            all_is_right();
            CHECK(simdisk_flip(m.sim, FILE_OF_10, places[i], 3));
            CHECK_INT(get(10, places[i], 1, 1), OUT_IO);
            settle_all(m.store);
            CHECK_INT(get(10, places[i], 1, 1), OUT_IO);
            CHECK_INT(get(10, 5000, 3000, 2), 0);
            settle_another();
            CHECK(simdisk_flip(m.sim, FILE_OF_10, places[i], 3));
            member_restart();
            all_is_right();
            settle_all(m.store);
            CHECK_UINT(floor_now(), UINT64_MAX);
            all_is_right();
            member_deinit();
        }
    }
}

/* More is written over it meanwhile, and the next settle is broken off, too. */
static void broken_off_twice(void)
{
    for (uint64_t n = 1; n < 24; n++) {
        struct store_settle *settle;
        struct prng prng;

        prng_seed(&prng, n);
        break_off("stale-twice", 1 + n * 7 % 23);
        put((struct put){
            .ino = 10, .offset = 100, .len = 50, .old_size = STORE_BLOCK, .fill = 4});
        CHECK_INT(store_settle_plan(m.store, 1 << 20, &settle), 0);
        simdisk_power_off_after(m.sim, n);
        (void)store_settle_run(settle);
        CHECK_INT(get(10, 50, 50, 1), simdisk_is_on(m.sim) ? 0 : OUT_IO);
        store_settle_abandon(m.store, settle);
        simdisk_power_off_after(m.sim, 0);
        member_power_cut(&prng);
        CHECK_INT(get(10, 0, 100, 1), 0);
        CHECK_INT(get(10, 100, 50, 4), 0);
        CHECK_INT(get(10, 5000, 3000, 2), 0);
        CHECK(simdisk_flip(m.sim, FILE_OF_10, 60, 0));
        CHECK_INT(get(10, 60, 1, 1), OUT_IO);
        CHECK(simdisk_flip(m.sim, FILE_OF_10, 60, 0));
        settle_all(m.store);
        CHECK_INT(get(10, 0, 100, 1), 0);
        CHECK_INT(get(10, 100, 50, 4), 0);
        CHECK_UINT(floor_now(), UINT64_MAX);
        member_deinit();
    }
}

/* How many changes of the disk until the first byte of the file is written. */
static uint64_t until_in_place(void)
{
    uint64_t n = 1;

    for (bool written = false; !written; n++) {
        struct disk_file *file = NULL;
        uint8_t byte = 0;

        break_off("stale-count", n);
        CHECK_INT(m.disk->ops->open(m.disk, FILE_OF_10, DISK_READ, &file), 0);
        CHECK_INT(m.disk->ops->pread(m.disk, file, &byte, 1, 6000), 0);
        m.disk->ops->close(m.disk, file);
        written = byte == 2;
        member_deinit();
    }
    return n - 1;
}

/* Notes that are damaged say nothing: what had been begun is bad. Without any, in a dataset
 * from before there were some, it is taken as it is. */
static void notes_lost(void)
{
    uint64_t n = until_in_place();

    break_off("stale-lost", n);
    CHECK(simdisk_flip(m.sim, "/set/settling", 20, 1));
    member_restart();
    CHECK_INT(get(10, 0, 100, 1), OUT_IO);
    CHECK_INT(get(10, 5000, 3000, 2), 0);
    CHECK_INT(get(10, 60000, 100, 1), 0);
    member_deinit();

    break_off("stale-none", n);
    CHECK_INT(m.disk->ops->unlink(m.disk, "/set/settling"), 0);
    member_restart();
    all_is_right();
    settle_all(m.store);
    all_is_right();
    member_deinit();
}

TEST_MAIN(CHECK_TEST(flipped_bit_is_found), CHECK_TEST(broken_off_twice),
          CHECK_TEST(notes_lost))
