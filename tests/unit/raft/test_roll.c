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

static struct roll_answer says(struct roll_point floor)
{
    return (struct roll_answer){.floor = floor};
}

/* @n voters from @first on. */
static struct roll_conf voters_of(uint64_t index, uint64_t committed, uint64_t first,
                                  uint32_t n)
{
    struct roll_conf conf = {.index = index, .committed = committed, .n = n};

    for (uint32_t i = 0; i < n; i++) {
        conf.voters[i] = first + i;
    }
    return conf;
}

static void answers(struct roll *roll, uint64_t from, const struct roll_conf *conf)
{
    struct roll_answer answer = says(at(1, 1));

    if (conf != NULL) {
        answer.conf = *conf;
    }
    roll_answer(roll, from, &answer);
}

/* Counted by what somebody tells whose log ends at the floor. */
static void count_told(struct roll *roll, const struct roll_conf *conf, uint64_t self,
                       uint64_t now_ms)
{
    struct roll_answer answer = {.end = roll->floor, .conf = *conf};

    roll_count_told(roll, &answer, self, now_ms);
}

/* All voters are heard at once; of a majority it is enough after a while, since the one
 * that is missing may be the one that remembers most. A stand-by's word is none. */
static void who_must_answer(void)
{
    struct rgroup_conf servers = three_and_a_standby();
    struct roll_conf conf = {.index = 1, .committed = 1};
    struct roll roll;

    roll_voters(&conf, &servers);
    CHECK_UINT(conf.n, 3);
    roll_begin(&roll, 1, 1000);
    roll_count(&roll, &conf, 1, 0);
    CHECK(roll.open);
    answers(&roll, 4, NULL);
    roll_count(&roll, &conf, 1, 5000);
    CHECK(roll.open);
    answers(&roll, 2, NULL);
    answers(&roll, 2, NULL);
    roll_count(&roll, &conf, 1, 999);
    CHECK(roll.open);
    roll_count(&roll, &conf, 1, 1000);
    CHECK(!roll.open);
    roll_begin(&roll, 2, 1000);
    answers(&roll, 2, NULL);
    answers(&roll, 3, NULL);
    roll_count(&roll, &conf, 1, 0);
    CHECK(!roll.open);
}

/* The floor is the highest that anybody says, in whatever order; and who leads a majority
 * ends the call. */
static void the_highest_floor(void)
{
    struct roll_answer answer = says(at(4, 9));
    struct roll roll;

    roll_begin(&roll, 1, 1000);
    roll_answer(&roll, 2, &answer);
    answer = says(at(3, 70));
    roll_answer(&roll, 3, &answer);
    CHECK_UINT(roll.floor.term, 4);
    CHECK_UINT(roll.floor.index, 9);
    CHECK(roll.open);
    answer = says(at(4, 10));
    answer.leads = true;
    roll_answer(&roll, 3, &answer);
    CHECK_UINT(roll.floor.index, 10);
    CHECK(!roll.open);
}

/* The own configuration may be older than the zone's, and one of its voters gone for good:
 * a majority by which somebody who answers could be elected is enough, after a while, with
 * this member itself if it votes in it. Whether the answerer knows that its configuration
 * is committed makes no difference: it would count by it. */
static void a_later_configuration_counts(void)
{
    struct roll_conf own = voters_of(1, 1, 1, 2);
    struct roll roll;

    for (uint64_t committed = 1; committed <= 20; committed += 19) {
        struct roll_conf later = voters_of(20, committed, 1, 3);

        roll_begin(&roll, 1, 1000);
        answers(&roll, 3, &later);
        roll_count(&roll, &own, 2, 5000);
        CHECK(roll.open);
        count_told(&roll, &later, 2, 999);
        CHECK(roll.open);
        count_told(&roll, &later, 4, 5000); /* Two are needed, and 4 is no voter. */
        CHECK(roll.open);
        count_told(&roll, &later, 2, 1000);
        CHECK(!roll.open);
    }
}

/* All voters of a configuration that somebody tells are not enough at once: if it was never
 * committed, it may leave out one who remembers, and who has a while to answer. */
static void all_that_were_told_of_is_no_haste(void)
{
    struct roll_conf own = voters_of(1, 1, 1, 3);
    struct roll_conf told = voters_of(7, 1, 1, 2);
    struct roll roll;

    roll_begin(&roll, 1, 1000);
    answers(&roll, 2, &told);
    roll_count(&roll, &own, 1, 500);
    count_told(&roll, &told, 1, 500);
    CHECK(roll.open);
}

/* Nobody is elected by a configuration before one that is committed: not the own, though
 * all its voters are there, nor one that a member tells that was away for long. Whose word
 * comes first makes no difference. */
static void a_superseded_configuration_is_none(void)
{
    struct roll_conf own = voters_of(1, 1, 1, 2);
    struct roll_conf stale = voters_of(9, 9, 1, 3);
    struct roll_conf later = voters_of(30, 20, 1, 5);
    struct roll roll;

    roll_begin(&roll, 1, 1000);
    answers(&roll, 2, &later);
    roll_count(&roll, &own, 1, 5000);
    CHECK(roll.open);
    answers(&roll, 6, &stale);
    count_told(&roll, &stale, 1, 5000);
    CHECK(roll.open);
    CHECK_UINT(roll.committed, 20);
    answers(&roll, 4, &later);
    count_told(&roll, &later, 1, 5000);
    CHECK(!roll.open);
    /* What this member itself knows to be committed counts as well. */
    own = voters_of(12, 12, 1, 3);
    roll_begin(&roll, 1, 1000);
    answers(&roll, 6, &stale);
    answers(&roll, 7, &stale);
    stale = voters_of(9, 9, 6, 2);
    roll_count(&roll, &own, 1, 5000);
    count_told(&roll, &stale, 1, 5000);
    CHECK(roll.open);
}

/* A configuration that was never committed, told or in the own log, adds a way for the call
 * to end and takes none away: nobody waits for servers that do not exist. */
static void an_uncommitted_configuration_stops_nobody(void)
{
    struct roll_conf committed = voters_of(5, 5, 1, 3);
    struct roll_conf dead = voters_of(40, 5, 1, 4);
    struct roll roll;

    roll_begin(&roll, 1, 1000);
    answers(&roll, 2, &dead);
    roll_count(&roll, &committed, 1, 5000);
    CHECK(!roll.open);
    roll_begin(&roll, 1, 1000);
    answers(&roll, 2, &committed);
    roll_count(&roll, &dead, 1, 5000);
    CHECK(roll.open);
    count_told(&roll, &committed, 1, 5000);
    CHECK(!roll.open);
}

/* Nor is one counted by whose teller gets no vote: its log ends below what somebody knows to
 * be committed. */
static void nobody_below_the_floor(void)
{
    struct roll_answer behind = {
        .floor = at(2, 40), .end = at(3, 90), .conf = voters_of(80, 20, 1, 3)};
    struct roll_answer other = {.floor = at(4, 60), .end = at(4, 60)};
    struct roll roll;

    roll_begin(&roll, 1, 1000);
    roll_answer(&roll, 2, &behind);
    roll_answer(&roll, 9, &other);
    roll_count_told(&roll, &behind, 1, 5000);
    CHECK(roll.open);
    behind.end = at(4, 59);
    roll_count_told(&roll, &behind, 1, 5000);
    CHECK(roll.open);
    behind.end = at(4, 60);
    roll_count_told(&roll, &behind, 1, 5000);
    CHECK(!roll.open);
}

/* A member of the version before does not say by what it would be elected. Beside it the own
 * configuration counts as it did then, or nobody could be. Who gives both answers gives the
 * full one first, and is none of them. */
static void beside_the_version_before(void)
{
    struct roll_conf own = voters_of(1, 1, 1, 2);
    struct roll_conf later = voters_of(30, 20, 1, 5);
    struct roll_answer bare = {.bare = true};
    struct roll roll;

    roll_begin(&roll, 1, 1000);
    answers(&roll, 2, &later);
    roll_answer(&roll, 2, &bare);
    roll_count(&roll, &own, 1, 5000);
    CHECK(roll.open);
    roll_answer(&roll, 5, &bare);
    roll_count(&roll, &own, 1, 5000);
    CHECK(!roll.open);
}

/* Who has no configuration, or comes of a version that does not tell it, ends nothing. */
static void no_configuration_is_no_majority(void)
{
    struct roll_conf none = {0};
    struct roll roll;

    roll_begin(&roll, 1, 1000);
    answers(&roll, 2, &none);
    roll_count(&roll, &none, 1, 5000);
    count_told(&roll, &none, 1, 5000);
    CHECK(roll.open);
}

TEST_MAIN(CHECK_TEST(term_before_index), CHECK_TEST(marks_rise), CHECK_TEST(oldest_goes),
          CHECK_TEST(who_must_answer), CHECK_TEST(the_highest_floor),
          CHECK_TEST(a_later_configuration_counts),
          CHECK_TEST(all_that_were_told_of_is_no_haste),
          CHECK_TEST(a_superseded_configuration_is_none),
          CHECK_TEST(an_uncommitted_configuration_stops_nobody),
          CHECK_TEST(nobody_below_the_floor), CHECK_TEST(beside_the_version_before),
          CHECK_TEST(no_configuration_is_no_majority))
