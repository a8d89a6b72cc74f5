#include "lib/check.h"
#include "raft/attrs.h"

#include <string.h>

static struct attrs attrs;

static void begin(void)
{
    attrs_deinit(&attrs); /* Of the test before. */
    memset(&attrs, 0, sizeof attrs);
    attrs_forget(&attrs);
}

static struct zone_attr attr_of(uint64_t ino, uint64_t size)
{
    return (struct zone_attr){.ino = ino, .gen = ino + 7, .nlink = 1, .size = size};
}

static void put(uint64_t stamp, uint64_t ino, uint64_t size)
{
    const struct zone_attr attr = attr_of(ino, size);

    attrs_put(&attrs, stamp, &attr, true);
}

/* The size that is known, or 0. */
static uint64_t known(uint64_t ino)
{
    struct zone_attr attr;

    return attrs_get(&attrs, (struct zone_handle){.ino = ino, .gen = ino + 7}, &attr)
               ? attr.size
               : 0;
}

static void touch(uint64_t ino)
{
    attrs_touch(&attrs, &ino, 1);
}

/* What was read is known, by its own generation only, until an entry touches it; what
 * touches another inode is no matter. */
static void known_until_touched(void)
{
    struct zone_attr attr;

    begin();
    put(attrs_stamp(&attrs), 5, 100);
    touch(6);
    CHECK_UINT(known(5), 100);
    CHECK(!attrs_get(&attrs, (struct zone_handle){.ino = 5, .gen = 5}, &attr));
    touch(5);
    CHECK_UINT(known(5), 0);
}

/* A read that began before an entry was handed over, and ends after: it saw the state
 * before, and must not be kept. */
static void late_answer_is_refused(void)
{
    uint64_t before;

    begin();
    before = attrs_stamp(&attrs);
    touch(5);
    put(before, 5, 100);
    CHECK_UINT(known(5), 0);
    put(attrs_stamp(&attrs), 5, 200);
    CHECK_UINT(known(5), 200);
    put(before, 5, 100); /* Nor does it replace what is newer. */
    CHECK_UINT(known(5), 200);
}

/* A pulled state: all is forgotten, what is on its way too. */
static void another_state_forgets_all(void)
{
    uint64_t before;

    begin();
    before = attrs_stamp(&attrs);
    put(before, 5, 100);
    put(before, 6, 100);
    attrs_forget(&attrs);
    CHECK_UINT(known(5), 0);
    put(before, 6, 100);
    CHECK_UINT(known(6), 0);
    put(attrs_stamp(&attrs), 6, 300);
    CHECK_UINT(known(6), 300);
}

/* While an entry is applied that may change anything, nothing is known. What it did
 * change, it tells afterwards: that is forgotten, and what was read of it before, when
 * ever it comes. The rest is known as before. */
static void told_afterwards(void)
{
    const uint64_t ino = 5;
    uint64_t before;
    uint64_t after;

    begin();
    before = attrs_stamp(&attrs);
    put(before, 5, 100);
    put(before, 6, 100);
    attrs_touch(&attrs, NULL, ZONE_TOUCH_ANY);
    after = attrs_stamp(&attrs);
    CHECK_UINT(known(5), 0);
    CHECK_UINT(known(6), 0);
    put(before, 5, 100); /* Home before it tells, */
    put(before, 7, 100);
    attrs_told(&attrs, after, &ino, 1);
    attrs_told_all(&attrs);
    CHECK_UINT(known(5), 0);
    CHECK_UINT(known(6), 100);
    CHECK_UINT(known(7), 100);
    put(before, 5, 100); /* and after. */
    CHECK_UINT(known(5), 0);
    put(after, 5, 200); /* Read behind it. */
    CHECK_UINT(known(5), 200);
}

/* What an entry tells is no matter for what was read behind it, or came of a later entry. */
static void told_of_its_own_time(void)
{
    const uint64_t ino = 5;
    uint64_t first;

    begin();
    put(attrs_stamp(&attrs), 6, 100);
    attrs_touch(&attrs, NULL, ZONE_TOUCH_ANY);
    first = attrs_stamp(&attrs);
    touch(5);
    put(first + 1, 5, 200);
    put(first, 5, 100);
    attrs_told(&attrs, first, &ino, 1);
    CHECK_UINT(known(5), 0);
    attrs_told_all(&attrs);
    CHECK_UINT(known(5), 200);
}

/* Nor does it let in again what was read before the later one. */
static void told_lets_nothing_older_in(void)
{
    const uint64_t ino = 5;
    uint64_t first;

    begin();
    attrs_touch(&attrs, NULL, ZONE_TOUCH_ANY);
    first = attrs_stamp(&attrs);
    touch(5);
    attrs_told(&attrs, first, &ino, 1);
    attrs_told_all(&attrs);
    put(first, 5, 100);
    CHECK_UINT(known(5), 0);
    put(first + 1, 5, 200);
    CHECK_UINT(known(5), 200);
}

/* Of two reads of an inode that nothing touched between them the later one counts, in
 * whatever order they come home. */
static void read_later_counts(void)
{
    uint64_t before;

    begin();
    before = attrs_stamp(&attrs);
    touch(6);
    put(attrs_stamp(&attrs), 5, 200);
    put(before, 5, 100);
    CHECK_UINT(known(5), 200);
}

/* Who does not say what it changed may have changed anything, but not what was read
 * behind it. */
static void untold_forgets_all(void)
{
    uint64_t before;

    begin();
    before = attrs_stamp(&attrs);
    put(before, 5, 100);
    attrs_touch(&attrs, NULL, ZONE_TOUCH_ANY);
    put(attrs_stamp(&attrs), 7, 300);
    attrs_told(&attrs, before + 1, NULL, ZONE_TOUCH_ANY);
    attrs_told_all(&attrs);
    CHECK_UINT(known(5), 0);
    CHECK_UINT(known(7), 300);
    put(before, 6, 100);
    CHECK_UINT(known(6), 0);
}

/* Of a batch each entry's result is right after it: it is kept if no later one of the
 * same batch touches the inode. */
static void last_of_a_batch_counts(void)
{
    uint64_t stamp;

    begin();
    stamp = attrs_stamp(&attrs);
    touch(5);
    touch(5);
    touch(6);
    put(stamp + 1, 5, 100);
    CHECK_UINT(known(5), 0);
    put(stamp + 2, 5, 200);
    CHECK_UINT(known(5), 200);
}

/* A file without a name goes with any entry. */
static void nameless_is_not_kept(void)
{
    struct zone_attr attr = attr_of(5, 100);

    begin();
    attr.nlink = 0;
    attrs_put(&attrs, attrs_stamp(&attrs), &attr, true);
    CHECK_UINT(known(5), 0);
}

/* Only who reads makes it take memory: results alone do not. */
static void results_alone_are_not_kept(void)
{
    const struct zone_attr attr = attr_of(5, 100);

    begin();
    attrs_put(&attrs, attrs_stamp(&attrs), &attr, false);
    CHECK(!attrs_used(&attrs));
    CHECK_UINT(known(5), 0);
    put(attrs_stamp(&attrs), 6, 100);
    attrs_put(&attrs, attrs_stamp(&attrs), &attr, false);
    CHECK_UINT(known(5), 100);
}

/* However many inodes there are, the memory is the same, and what is known is right; of
 * the newest most are. */
static void memory_is_bounded(void)
{
    const uint64_t n = 4 * ATTRS_SETS * ATTRS_WAYS;
    uint64_t right = 0;

    begin();
    for (uint64_t ino = 1; ino <= n; ino++) {
        touch(ino);
        put(attrs_stamp(&attrs), ino, 3 * ino);
    }
    for (uint64_t ino = 1; ino <= n; ino++) {
        CHECK(known(ino) == 0 || known(ino) == 3 * ino);
    }
    for (uint64_t ino = n - ATTRS_SETS; ino <= n; ino++) {
        right += known(ino) != 0;
    }
    CHECK(right > ATTRS_SETS / 10 * 9);
}

/* What is asked for stays longer than what is not. */
static void asked_for_stays(void)
{
    uint64_t n = 8 * ATTRS_SETS * ATTRS_WAYS;

    begin();
    put(attrs_stamp(&attrs), 5, 100);
    for (uint64_t ino = 6; ino < n; ino++) {
        touch(ino);
        put(attrs_stamp(&attrs), ino, 1);
        CHECK_UINT(known(5), 100);
    }
}

TEST_MAIN(CHECK_TEST(known_until_touched), CHECK_TEST(late_answer_is_refused),
          CHECK_TEST(another_state_forgets_all), CHECK_TEST(told_afterwards),
          CHECK_TEST(told_of_its_own_time), CHECK_TEST(told_lets_nothing_older_in),
          CHECK_TEST(read_later_counts), CHECK_TEST(untold_forgets_all),
          CHECK_TEST(last_of_a_batch_counts), CHECK_TEST(nameless_is_not_kept),
          CHECK_TEST(results_alone_are_not_kept), CHECK_TEST(memory_is_bounded),
          CHECK_TEST(asked_for_stays))
