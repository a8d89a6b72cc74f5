#include "lib/check.h"
#include "raft/lease.h"

#include <string.h>

#define LENGTH_MS 900u

static struct lease lease;
static struct rgroup_conf conf;

static void begin(uint32_t voters, uint32_t standbys)
{
    memset(&lease, 0, sizeof lease);
    conf = (struct rgroup_conf){.n = voters + standbys};
    for (uint32_t i = 0; i < conf.n; i++) {
        conf.servers[i] = (struct rgroup_server){
            .id = i + 1, .role = i < voters ? RGROUP_VOTER : RGROUP_STANDBY};
    }
    lease_begin(&lease, 7);
}

static uint64_t end_ms(uint64_t now_ms)
{
    return lease_end_ms(&lease, &conf, 1, now_ms, LENGTH_MS);
}

/* The lease counts from when the ping was sent, not from when the answer came: what the
 * voter promised may have begun right then. */
static void counts_from_sending(void)
{
    uint64_t seq;

    begin(3, 0);
    seq = lease_ping(&lease, 1000);
    CHECK_UINT(end_ms(1100), 0); /* We alone are no majority. */
    CHECK(lease_answer(&lease, 2, seq));
    CHECK_UINT(end_ms(1100), 1000 + 891);
    CHECK_UINT(end_ms(5000), 1000 + 891);
}

/* With five voters it is the second best answer that counts. */
static void a_majority_counts(void)
{
    uint64_t first;
    uint64_t second;

    begin(5, 2);
    first = lease_ping(&lease, 1000);
    second = lease_ping(&lease, 1200);
    CHECK(lease_answer(&lease, 2, second));
    CHECK_UINT(end_ms(1300), 0);
    CHECK(lease_answer(&lease, 6, second)); /* A stand-by. */
    CHECK_UINT(end_ms(1300), 0);
    CHECK(lease_answer(&lease, 3, first));
    CHECK_UINT(end_ms(1300), 1000 + 891);
    CHECK(lease_answer(&lease, 4, second));
    CHECK_UINT(end_ms(1300), 1200 + 891);
    CHECK(!lease_answer(&lease, 3, first)); /* No news. */
}

/* The configuration may have changed since the answers came: the present one decides. */
static void the_present_voters_count(void)
{
    uint64_t seq;

    begin(3, 2);
    seq = lease_ping(&lease, 1000);
    CHECK(lease_answer(&lease, 2, seq));
    CHECK_UINT(end_ms(1000), 1891);
    conf.servers[3].role = RGROUP_VOTER;
    conf.servers[4].role = RGROUP_VOTER;
    CHECK_UINT(end_ms(1000), 0);
}

/* A leader that is no voter does not count itself. */
static void a_leader_without_a_vote(void)
{
    uint64_t seq;

    begin(3, 0);
    conf.servers[0].role = RGROUP_STANDBY;
    seq = lease_ping(&lease, 1000);
    CHECK(lease_answer(&lease, 2, seq));
    CHECK_UINT(end_ms(1000), 0);
    CHECK(lease_answer(&lease, 3, seq));
    CHECK_UINT(end_ms(1000), 1891);
}

/* Answers that fit nothing: not sent yet, long ago, of the leadership before. */
static void answers_that_do_not_fit(void)
{
    uint64_t seq;

    begin(3, 0);
    CHECK(!lease_answer(&lease, 2, 0));
    seq = lease_ping(&lease, 1000);
    CHECK(!lease_answer(&lease, 2, seq + 1));
    for (uint32_t i = 0; i < LEASE_PINGS_MAX; i++) {
        (void)lease_ping(&lease, 2000 + i);
    }
    CHECK(!lease_answer(&lease, 2, seq));
    CHECK_UINT(end_ms(2100), 0);
    seq = lease_ping(&lease, 3000);
    lease_begin(&lease, 8);
    CHECK(!lease_answer(&lease, 2, seq));
    CHECK_UINT(end_ms(3000), 0);
}

/* Given up, it does not come back in its term. */
static void given_up(void)
{
    begin(3, 0);
    lease_give_up(&lease);
    CHECK(lease_answer(&lease, 2, lease_ping(&lease, 1000)));
    CHECK_UINT(end_ms(1000), 0);
    lease_begin(&lease, 8);
    CHECK(lease_answer(&lease, 2, lease_ping(&lease, 1000)));
    CHECK_UINT(end_ms(1000), 1891);
}

/* One percent and a millisecond: the shorter side ends first even if its clock is the
 * slow one. Both clocks half a percent off, the worst whole milliseconds. */
static void margins(void)
{
    for (uint64_t ms = 10; ms < 60000; ms++) {
        double leader_ms = (double)lease_short_ms(ms) / 0.995;
        double voter_ms = (double)(lease_hold_ms(ms) - 1) / 1.005;

        CHECK(leader_ms <= voter_ms);
    }
    CHECK_UINT(lease_length_ms(1000), 900);
    CHECK(lease_hold_ms(lease_length_ms(50)) < 50);
}

/* A read lease is out until it is over or given back; an old return ends nothing. */
static void holders(void)
{
    struct lease_holder *holder;

    begin(3, 0);
    holder = lease_grant(&lease, 2, 11, 1400);
    CHECK(holder != NULL);
    CHECK(lease_grant(&lease, 3, 5, 1500) != NULL);
    CHECK_UINT(lease_out(&lease, 1399), 2);
    CHECK_UINT(lease_next_ms(&lease), 1400);
    CHECK(lease_grant(&lease, 2, 12, 1600) == holder);
    lease_returned(&lease, 2, 11);
    CHECK_UINT(lease_out(&lease, 1500), 1);
    holder = lease_find(&lease, 2);
    CHECK(holder != NULL && holder->until_ms == 1600);
    holder->revoked = true;
    CHECK(lease_grant(&lease, 2, 13, 1900) == NULL);
    lease_returned(&lease, 2, 13);
    CHECK_UINT(lease_out(&lease, 1500), 0);
    CHECK_UINT(lease_next_ms(&lease), UINT64_MAX);
    CHECK(lease_grant(&lease, 2, 14, 1900) != NULL);
}

/* A member's lease begins when it asked. An answer to another question counts for nothing,
 * nor one that comes too late, nor one after it was given back. */
static void own_lease(void)
{
    struct lease_own own = {0};
    uint64_t number = lease_ask(&own, 7, 1, 1000);

    CHECK(!lease_granted(&own, number + 1, 450, 30, 1100));
    CHECK(lease_granted(&own, number, 450, 30, 1100));
    CHECK(lease_is_held(&own, 1444));
    CHECK(!lease_is_held(&own, 1445));
    number = lease_ask(&own, 7, 1, 1300);
    CHECK(lease_granted(&own, number, 450, 40, 1400));
    CHECK_UINT(own.index, 30); /* Without a gap nothing can have been missed. */
    number = lease_ask(&own, 7, 1, 1500);
    CHECK(!lease_granted(&own, number, 450, 50, 1946));
    number = lease_ask(&own, 7, 1, 2000);
    CHECK(lease_granted(&own, number, 450, 60, 2001));
    CHECK_UINT(own.index, 60);
    number = lease_ask(&own, 7, 1, 2100);
    lease_drop(&own);
    CHECK(!lease_granted(&own, number, 450, 70, 2101));
    number = lease_ask(&own, 7, 1, 2200);
    CHECK(lease_granted(&own, number, 450, 70, 2201));
    (void)lease_ask(&own, 8, 2, 2210); /* Another leader: the old lease is over. */
    CHECK(!lease_is_held(&own, 2210));
}

TEST_MAIN(CHECK_TEST(counts_from_sending), CHECK_TEST(a_majority_counts),
          CHECK_TEST(the_present_voters_count), CHECK_TEST(a_leader_without_a_vote),
          CHECK_TEST(answers_that_do_not_fit), CHECK_TEST(given_up), CHECK_TEST(margins),
          CHECK_TEST(holders), CHECK_TEST(own_lease))
