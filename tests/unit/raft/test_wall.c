/* By which of the members' clocks zone time goes. */
#include "raft/wall.h"

#include "lib/check.h"

#include <string.h>

#define NOW_MS 5000u
#define SET INT64_C(1800000000000) /* Some day that is later than WALL_SET_MS. */
#define HOUR INT64_C(3600000)

/* Clocks as they show now; zone time. What is chosen, as it shows now. */
static int64_t chosen(const int64_t *shows, uint32_t n, int64_t zone_ms, bool *divided)
{
    int64_t starts[8];
    struct wall_verdict verdict;

    for (uint32_t i = 0; i < n; i++) {
        starts[i] = shows[i] - (int64_t)NOW_MS;
    }
    verdict = wall_judge(starts, n, NOW_MS, zone_ms);
    CHECK_UINT(verdict.n, n);
    *divided = verdict.divided;
    return verdict.start_ms + (int64_t)NOW_MS;
}

#define CHOSEN(zone, divided, ...)         \
    chosen((const int64_t[]){__VA_ARGS__}, \
           sizeof((const int64_t[]){__VA_ARGS__}) / sizeof(int64_t), (zone), (divided))

/* A majority that agrees is right, wherever the others are and whatever zone time is. */
static void the_majority(void)
{
    bool divided;

    CHECK_INT(CHOSEN(SET, &divided, SET + HOUR, SET, SET + 10), SET + 10);
    CHECK(!divided);
    CHECK_INT(CHOSEN(SET, &divided, SET, SET - HOUR, SET + 10), SET);
    CHECK_INT(CHOSEN(SET + HOUR, &divided, SET + HOUR, SET, SET + 10), SET + 10);
    CHECK_INT(CHOSEN(SET, &divided, SET - HOUR, SET, SET, SET + 10, SET + HOUR), SET);
    CHECK_INT(CHOSEN(SET + HOUR, &divided, SET + 10, SET), SET);
    CHECK(!divided);
}

/* Of two nobody can tell which is wrong. The earlier does no harm that lasts. */
static void two_that_differ(void)
{
    bool divided;

    CHECK_INT(CHOSEN(SET, &divided, SET + HOUR, SET), SET);
    CHECK(divided);
    CHECK_INT(CHOSEN(SET - HOUR, &divided, SET, SET - HOUR), SET - HOUR);
    CHECK(divided);
    CHECK_INT(CHOSEN(SET, &divided, SET + 60000, SET), SET);
    CHECK(!divided);
    CHECK_INT(CHOSEN(SET, &divided, SET + 60001, SET), SET);
    CHECK(divided);
}

/* But a clock that is behind what zone time has been already is the wrong one. */
static void zone_time_is_a_witness(void)
{
    bool divided;

    CHECK_INT(CHOSEN(SET, &divided, SET, SET - HOUR), SET);
    CHECK(divided);
    CHECK_INT(CHOSEN(SET - HOUR + 60001, &divided, SET, SET - HOUR), SET);
    CHECK_INT(CHOSEN(SET - HOUR + 60000, &divided, SET, SET - HOUR), SET - HOUR);
    CHECK_INT(CHOSEN(SET, &divided, SET - HOUR, SET + 5, SET, SET - HOUR), SET);
}

/* A clock that was never set has no say, be they the most: two dead batteries of three. */
static void never_set(void)
{
    bool divided;

    CHECK_INT(CHOSEN(SET, &divided, 7000, SET, 9000), SET);
    CHECK(!divided);
    CHECK_INT(CHOSEN(SET, &divided, 7000, WALL_SET_MS - 1, WALL_SET_MS), WALL_SET_MS);
    CHECK_INT(CHOSEN(SET, &divided, 7000, 9000, 8000), 8000);
    CHECK(!divided);
}

/* One alone has nothing to compare with. */
static void alone(void)
{
    bool divided;

    CHECK_INT(CHOSEN(SET + HOUR, &divided, SET), SET);
    CHECK_INT(CHOSEN(SET, &divided, 7000), 7000);
    CHECK(!divided);
}

/* What was heard is comparable later, and for a while only. */
static void what_is_heard(void)
{
    struct wall_clock clock;

    memset(&clock, 0, sizeof clock);
    CHECK(!wall_is_fresh(&clock, NOW_MS));
    CHECK(!wall_heard(&clock, (UINT64_C(1) << 53) + 1, NOW_MS));
    CHECK(!wall_is_fresh(&clock, NOW_MS));
    CHECK(wall_heard(&clock, (uint64_t)SET, NOW_MS));
    CHECK_INT(clock.start_ms, SET - (int64_t)NOW_MS);
    CHECK(wall_is_fresh(&clock, NOW_MS + WALL_FRESH_MS));
    CHECK(!wall_is_fresh(&clock, NOW_MS + WALL_FRESH_MS + 1));
}

TEST_MAIN(CHECK_TEST(the_majority), CHECK_TEST(two_that_differ),
          CHECK_TEST(zone_time_is_a_witness), CHECK_TEST(never_set), CHECK_TEST(alone),
          CHECK_TEST(what_is_heard))
