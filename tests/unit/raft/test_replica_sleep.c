/* What a member does while its machine is about to sleep, and once it is awake. */
#include "base/outcome.h"
#include "lib/check.h"
#include "replica_rig.h"

#include <string.h>

#define ELECTION_MS 1000u /* Of the rig. */

/* Too large for a stack; each test begins with an empty one. */
static struct rig rig;

static void begin(void)
{
    memset(&rig, 0, sizeof rig);
    rig.leases = true;
    rig_init(&rig, 3);
    rig_elect(&rig, 1);
    rig_run(&rig, 300);
    (void)rig_trace(&rig);
}

static void tell(uint64_t id, bool awake)
{
    struct replica_event event = {.type = REPLICA_EV_SLEEP, .up = awake};

    CHECK_INT(rig_step(&rig, id, &event), 0);
}

static struct replica_status status_of(uint64_t id)
{
    struct replica_status status;

    rig_status(&rig, id, &status);
    return status;
}

static void hand_over(uint64_t from, uint64_t to)
{
    struct replica_event event = {.type = REPLICA_EV_TRANSFER, .from = to, .token = 90};

    (void)rig_step(&rig, from, &event);
    rig_settle(&rig);
}

static void cut_off(uint64_t id)
{
    for (uint64_t other = 1; other <= 3; other++) {
        rig_cut(&rig, id, other, true);
    }
}

/* A leader hands over without anybody's timer, and says until then that it has yet to. */
static void leader_hands_over(void)
{
    begin();
    tell(1, false);
    CHECK(status_of(1).leaving);
    rig_settle(&rig);
    CHECK(!status_of(1).leaving);
    CHECK_INT(status_of(1).state, RGROUP_FOLLOWER);
    CHECK(status_of(1).leader == 2 || status_of(1).leader == 3);
    cut_off(1);
    rig_write(&rig, status_of(1).leader, 20, 1, 10);
    CHECK(strstr(rig_trace(&rig), "answer 20 OK") != NULL);
    rig_deinit(&rig);
}

/* Read leases are asked back first; their holder may be the next leader. */
static void leader_hands_over_with_leases_out(void)
{
    begin();
    rig_read(&rig, 2, 10);
    rig_settle(&rig);
    CHECK(status_of(2).read_lease_ms > 0);
    tell(1, false);
    rig_settle(&rig);
    CHECK_INT(status_of(1).state, RGROUP_FOLLOWER);
    CHECK_UINT(status_of(2).read_lease_ms, 0);
    rig_deinit(&rig);
}

/* A lease that is given back before the machine sleeps lets no writer wait, and none is
 * asked for by reads that still come. */
static void holder_gives_back(void)
{
    begin();
    rig_read(&rig, 2, 10);
    rig_settle(&rig);
    CHECK(status_of(2).read_lease_ms > 0);
    tell(2, false);
    rig_settle(&rig);
    CHECK_UINT(status_of(2).read_lease_ms, 0);
    rig_read(&rig, 2, 11);
    rig_run(&rig, ELECTION_MS);
    CHECK(strstr(rig_trace(&rig), "2 read 11") != NULL);
    CHECK_UINT(status_of(2).read_lease_ms, 0);
    cut_off(2);
    rig_write(&rig, 1, 20, 1, 10); /* No time passes. */
    CHECK_STR(rig_trace(&rig), "1 answer 20 OK\n");
    rig_deinit(&rig);
}

/* Awake again it is as any other: it asks for a lease when it is read from, and can lead. */
static void awake_again(void)
{
    begin();
    tell(2, false);
    rig_run(&rig, ELECTION_MS);
    tell(2, true);
    rig_run(&rig, 300);
    rig_read(&rig, 2, 10);
    rig_settle(&rig);
    CHECK(status_of(2).read_lease_ms > 0);
    hand_over(1, 2);
    CHECK_INT(status_of(2).state, RGROUP_LEADER);
    rig_deinit(&rig);
}

/* Nobody hands over to a member that is about to sleep: not when asked for it by name, and
 * not by choice. */
static void nobody_hands_over_to_it(void)
{
    begin();
    tell(2, false);
    rig_settle(&rig);
    hand_over(1, 2);
    CHECK_STR(rig_trace(&rig), "1 answer 90 TRY_LATER\n");
    tell(1, false);
    rig_settle(&rig);
    CHECK_INT(status_of(3).state, RGROUP_LEADER);
    rig_deinit(&rig);
}

/* Nor does it become leader by a transfer that was begun before it said so. */
static void transfer_under_way_is_not_taken(void)
{
    uint64_t term;

    begin();
    term = status_of(2).term;
    rig.cut[2][1] = true; /* What it says of itself is lost. */
    tell(2, false);
    hand_over(1, 2);
    CHECK_INT(status_of(2).state, RGROUP_FOLLOWER);
    CHECK_UINT(status_of(2).term, term);
    rig.cut[2][1] = false;
    rig_run(&rig, 3 * ELECTION_MS);
    (void)rig_trace(&rig);
    rig_write(&rig, status_of(3).leader, 20, 1, 10);
    CHECK(strstr(rig_trace(&rig), "answer 20 OK") != NULL);
    rig_deinit(&rig);
}

/* While it is about to sleep it stands for no election, however long nobody leads, and
 * wakes nobody for it; awake, it does. */
static void no_candidate(void)
{
    struct replica_event tick = {.type = REPLICA_EV_TICK};
    uint64_t term;

    begin();
    tell(2, false);
    rig_settle(&rig);
    rig_stop(&rig, 1);
    rig_stop(&rig, 3);
    rig_connect(&rig, 2, 1, false);
    rig_connect(&rig, 2, 3, false);
    rig_run(&rig, 20 * ELECTION_MS);
    term = status_of(2).term;
    CHECK_INT(status_of(2).state, RGROUP_FOLLOWER);
    (void)rig_step(&rig, 2, &tick);
    CHECK(replica_wake_ms(rig.nodes[2].replica) >= rig.now_ms + 50); /* A heartbeat. */
    tell(2, true);
    rig_run(&rig, 3 * ELECTION_MS);
    CHECK_INT(status_of(2).state, RGROUP_CANDIDATE);
    CHECK(status_of(2).term >= term);
    rig_deinit(&rig);
}

/* It votes: the others need it for their majority. */
static void it_votes(void)
{
    begin();
    tell(2, false);
    rig_settle(&rig);
    rig_stop(&rig, 1);
    rig_connect(&rig, 2, 1, false);
    rig_connect(&rig, 3, 1, false);
    rig_run(&rig, 6 * ELECTION_MS);
    CHECK_INT(status_of(3).state, RGROUP_LEADER);
    CHECK_UINT(status_of(2).leader, 3);
    rig_deinit(&rig);
}

/* Votes that it asked for before do not make it leader any more. */
static void votes_of_before(void)
{
    begin();
    rig_stop(&rig, 1);
    rig_connect(&rig, 2, 1, false);
    rig_connect(&rig, 3, 1, false);
    for (uint32_t i = 0; status_of(2).state != RGROUP_CANDIDATE; i++) {
        struct replica_event tick = {.type = REPLICA_EV_TICK};

        CHECK(i < 100 * ELECTION_MS);
        if (i >= 100 * ELECTION_MS) {
            break;
        }
        rig.now_ms += 10;
        (void)rig_step(&rig, 2, &tick);
    }
    tell(2, false);
    rig_settle(&rig);
    CHECK(status_of(2).state != RGROUP_LEADER);
    rig_run(&rig, 6 * ELECTION_MS);
    CHECK_INT(status_of(3).state, RGROUP_LEADER);
    rig_deinit(&rig);
}

/* A leader keeps its zone while nobody else is awake, and hands it over to the first. */
static void last_one_awake(void)
{
    begin();
    tell(2, false);
    tell(3, false);
    rig_settle(&rig);
    tell(1, false);
    rig_run(&rig, ELECTION_MS);
    CHECK_INT(status_of(1).state, RGROUP_LEADER);
    CHECK(!status_of(1).leaving);
    rig_write(&rig, 1, 20, 1, 10);
    CHECK_STR(rig_trace(&rig), "1 answer 20 OK\n");
    tell(3, true);
    rig_run(&rig, 300);
    CHECK_INT(status_of(3).state, RGROUP_LEADER);
    rig_deinit(&rig);
}

TEST_MAIN(CHECK_TEST(leader_hands_over), CHECK_TEST(leader_hands_over_with_leases_out),
          CHECK_TEST(holder_gives_back), CHECK_TEST(awake_again),
          CHECK_TEST(nobody_hands_over_to_it),
          CHECK_TEST(transfer_under_way_is_not_taken), CHECK_TEST(no_candidate),
          CHECK_TEST(it_votes), CHECK_TEST(votes_of_before), CHECK_TEST(last_one_awake))
