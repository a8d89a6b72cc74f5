/* Telling of what happens again and again. */
#include "base/seldom.h"
#include "lib/check.h"

#include <string.h>

static struct seldom seldom;

/* The first is news; then nothing for a while, then how often it was, and again. */
static void first_then_counts(void)
{
    memset(&seldom, 0, sizeof seldom);
    CHECK_UINT(seldom_tell(&seldom, 1, 2, 1000, 100), 1);
    for (uint64_t now = 1000; now < 1100; now += 10) {
        CHECK_UINT(seldom_tell(&seldom, 1, 2, now, 100), 0);
    }
    CHECK_UINT(seldom_tell(&seldom, 1, 2, 1100, 100), 11);
    CHECK_UINT(seldom_tell(&seldom, 1, 2, 1199, 100), 0);
    CHECK_UINT(seldom_tell(&seldom, 1, 2, 1200, 100), 2);
}

/* One thing does not keep another quiet; what is over is news when it comes back. */
static void each_for_itself(void)
{
    memset(&seldom, 0, sizeof seldom);
    CHECK_UINT(seldom_tell(&seldom, 1, 2, 0, 100), 1);
    CHECK_UINT(seldom_tell(&seldom, 1, 3, 0, 100), 1);
    CHECK_UINT(seldom_tell(&seldom, 2, 2, 0, 100), 1);
    CHECK_UINT(seldom_tell(&seldom, 1, 2, 1, 100), 0);
    seldom_forget(&seldom, 1, 2);
    seldom_forget(&seldom, 9, 9);
    CHECK_UINT(seldom_tell(&seldom, 1, 3, 1, 100), 0);
    CHECK_UINT(seldom_tell(&seldom, 1, 2, 1, 100), 1);
    CHECK_UINT(seldom_tell(&seldom, 1, 2, 2, 100), 0);
}

/* However many different things there are, so much is told within the time and no more. */
static void many_are_bounded(void)
{
    uint32_t told = 0;

    memset(&seldom, 0, sizeof seldom);
    for (uint64_t i = 0; i < 100000; i++) {
        told += seldom_tell(&seldom, i % 1000, 7, 5 + i / 2000, 100) > 0;
    }
    CHECK_UINT(told, SELDOM_ROWS + 1);
    /* Later the rows are free again. */
    CHECK_UINT(seldom_tell(&seldom, 5000, 7, 105, 100), 1);
}

TEST_MAIN(CHECK_TEST(first_then_counts), CHECK_TEST(each_for_itself),
          CHECK_TEST(many_are_bounded))
