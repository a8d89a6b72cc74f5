/* What a member remembers of others, and when its roll call is over. */
#include "lib/check.h"
#include "raft/roll.h"

static struct roll_point at(uint64_t term, uint64_t index)
{
    return (struct roll_point){.term = term, .index = index};
}

/* The term counts first: a long log of an old term is below a short one of a later term,
 * and never the other way round, or a member that is honest would be taken for rolled
 * back. */
static void term_before_index(void)
{
    CHECK(roll_is_below(at(3, 900), at(4, 1)));
    CHECK(!roll_is_below(at(4, 1), at(3, 900)));
    CHECK(roll_is_below(at(3, 1), at(3, 2)));
    CHECK(!roll_is_below(at(3, 2), at(3, 2)));
    CHECK(!roll_is_below(at(3, 3), at(3, 2)));
}

/* A mark only rises. */
static void marks_rise(void)
{
    struct roll_marks marks = {0};

    CHECK(roll_note(&marks, 7, at(2, 50)));
    CHECK(!roll_note(&marks, 7, at(1, 900)));
    CHECK(!roll_note(&marks, 7, at(2, 49)));
    CHECK(!roll_note(&marks, 7, at(2, 50)));
    CHECK(roll_note(&marks, 7, at(3, 0)));
    CHECK(!roll_note(&marks, 0, at(9, 9)));
    CHECK(!roll_note(&marks, 8, at(0, 9)));
    CHECK_UINT(roll_find(&marks, 7).term, 3);
    CHECK_UINT(roll_find(&marks, 8).term, 0);
}

/* When there is no room, what was heard least lately goes. */
static void oldest_goes(void)
{
    struct roll_marks marks = {0};

    for (uint64_t id = 1; id <= ROLL_MARKS_MAX; id++) {
        CHECK(roll_note(&marks, id, at(id == 5 ? 1 : 10 + id, 1)));
    }
    CHECK(roll_note(&marks, 1000, at(500, 1)));
    CHECK_UINT(roll_find(&marks, 5).term, 0);
    CHECK_UINT(roll_find(&marks, 1000).term, 500);
    CHECK_UINT(roll_find(&marks, 1).term, 11);
}

static struct rgroup_conf three_and_a_standby(void)
{
    struct rgroup_conf conf = {.n = 4};

    for (uint32_t i = 0; i < 4; i++) {
        conf.servers[i].id = i + 1;
        conf.servers[i].role = i < 3 ? RGROUP_VOTER : RGROUP_STANDBY;
    }
    return conf;
}

/* All voters are heard at once; of a majority it is enough after a while, since the one
 * that is missing may be the one that remembers most. A stand-by's word is none. */
static void who_must_answer(void)
{
    struct rgroup_conf conf = three_and_a_standby();
    struct roll roll;

    roll_begin(&roll, 1, 1000);
    roll_count(&roll, &conf, 1, 0);
    CHECK(roll.open);
    roll_answer(&roll, 4, at(1, 1), false);
    roll_count(&roll, &conf, 1, 5000);
    CHECK(roll.open);
    roll_answer(&roll, 2, at(1, 1), false);
    roll_answer(&roll, 2, at(1, 1), false);
    roll_count(&roll, &conf, 1, 999);
    CHECK(roll.open);
    roll_count(&roll, &conf, 1, 1000);
    CHECK(!roll.open);
    roll_begin(&roll, 2, 1000);
    roll_answer(&roll, 2, at(1, 1), false);
    roll_answer(&roll, 3, at(1, 1), false);
    roll_count(&roll, &conf, 1, 0);
    CHECK(!roll.open);
}

/* The floor is the highest that anybody says, in whatever order; and who leads a majority
 * ends the call. */
static void the_highest_floor(void)
{
    struct roll roll;

    roll_begin(&roll, 1, 1000);
    roll_answer(&roll, 2, at(4, 9), false);
    roll_answer(&roll, 3, at(3, 70), false);
    CHECK_UINT(roll.floor.term, 4);
    CHECK_UINT(roll.floor.index, 9);
    CHECK(roll.open);
    roll_answer(&roll, 3, at(4, 10), true);
    CHECK_UINT(roll.floor.index, 10);
    CHECK(!roll.open);
}

TEST_MAIN(CHECK_TEST(term_before_index), CHECK_TEST(marks_rise), CHECK_TEST(oldest_goes),
          CHECK_TEST(who_must_answer), CHECK_TEST(the_highest_floor))
