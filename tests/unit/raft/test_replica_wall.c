/* Zone time when members' clocks of the day are wrong. */
#include "base/outcome.h"
#include "lib/check.h"
#include "replica_rig.h"

#include "raft/replica_impl.h"

#include <string.h>

#define HOUR_NS (INT64_C(3600) * 1000000000)
#define MINUTE_NS (INT64_C(60) * 1000000000)

/* Too large for a stack; each test begins with an empty one. */
static struct rig rig;

static void begin(uint32_t n, int64_t ahead_of_1_ns)
{
    memset(&rig, 0, sizeof rig);
    rig_init(&rig, n);
    rig.nodes[1].wall_ahead_ns = ahead_of_1_ns;
    rig_elect(&rig, 1);
    (void)rig_trace(&rig);
}

static void write_at(uint64_t id, uint64_t token)
{
    rig_write(&rig, id, token, 1, 10);
    rig_run(&rig, 200);
}

static int64_t zone_time_ns(uint64_t id)
{
    return rig.nodes[id].zone_time_ns;
}

static int64_t now_ns(void)
{
    return (int64_t)rig.now_ms * 1000000;
}

static void is_about_now(uint64_t id)
{
    CHECK(zone_time_ns(id) > now_ns() - MINUTE_NS);
    CHECK(zone_time_ns(id) < now_ns() + MINUTE_NS);
}

static int64_t off_ms(uint64_t at, uint64_t of)
{
    struct replica_status status;

    rig_status(&rig, at, &status);
    for (uint32_t i = 0; i < status.n_members; i++) {
        if (status.members[i].id == of) {
            CHECK(status.members[i].clock_known);
            return status.members[i].clock_off_ms;
        }
    }
    CHECK_FAIL("no such member");
    return 0;
}

/* A leader whose clock is an hour ahead goes on leading; zone time is the others'. */
static void a_leader_ahead(void)
{
    struct replica_status status;

    begin(3, HOUR_NS);
    write_at(1, 1);
    is_about_now(1);
    is_about_now(2);
    rig_status(&rig, 1, &status);
    CHECK_INT(status.state, RGROUP_LEADER);
    CHECK_UINT(status.n_clocks, 3);
    CHECK(!status.clocks_divided);
    rig_deinit(&rig);
}

/* One that is within the minute stamps with its own. */
static void a_leader_a_little_ahead(void)
{
    begin(3, MINUTE_NS - 1000000000);
    write_at(1, 1);
    CHECK(zone_time_ns(1) > now_ns() + MINUTE_NS / 2);
    rig_deinit(&rig);
}

/* Everybody knows whose clock is off, and by how much. */
static void known_to_all(void)
{
    begin(3, HOUR_NS);
    rig_run(&rig, 6000);
    for (uint64_t id = 1; id <= 3; id++) {
        CHECK(off_ms(id, 1) > 3599000 && off_ms(id, 1) < 3601000);
        CHECK(off_ms(id, 2) > -1000 && off_ms(id, 2) < 1000);
    }
    rig_deinit(&rig);
}

/* A jump is noticed at the entry that follows it, and when it is set right. */
static void a_jump_ahead_and_back(void)
{
    begin(3, 0);
    write_at(1, 1);
    rig.nodes[1].wall_ahead_ns = 24 * HOUR_NS;
    write_at(1, 2);
    is_about_now(1);
    rig.nodes[1].wall_ahead_ns = 0;
    write_at(1, 3);
    is_about_now(1);
    CHECK_STR(rig_trace(&rig), "1 answer 1 OK\n1 answer 2 OK\n1 answer 3 OK\n");
    rig_deinit(&rig);
}

/* The others are told of it at once, too, and not only when they are told anyway. */
static void a_jump_is_told_at_once(void)
{
    begin(3, 0);
    do {
        rig_run(&rig, 10);
    } while (rig.now_ms - rig.nodes[1].replica->wall.told_ms > 100);
    rig.nodes[1].wall_ahead_ns = HOUR_NS;
    rig_run(&rig, 300);
    CHECK(off_ms(2, 1) > 3599000 && off_ms(2, 1) < 3601000);
    rig.nodes[1].wall_ahead_ns = 0;
    rig_run(&rig, 300);
    CHECK(off_ms(2, 1) > -1000 && off_ms(2, 1) < 1000);
    rig_deinit(&rig);
}

/* Who jumps back compares its clock with the others' before its next entry. */
static void a_jump_back_is_seen_at_once(void)
{
    struct replica_status status;

    begin(2, 0);
    rig.now_ms += 7200000; /* Nobody's clock shows less than zero. */
    rig_run(&rig, 3000);
    rig_elect(&rig, 1);
    rig_run(&rig, 6000);
    rig_status(&rig, 1, &status);
    CHECK(!status.clocks_divided);
    rig.nodes[1].wall_ahead_ns = -HOUR_NS;
    rig_submit(&rig, 1, 1, 10);
    rig_status(&rig, 1, &status);
    CHECK(status.clocks_divided);
    rig_deinit(&rig);
}

/* Of two the leader that is ahead stamps with the other's clock: being behind heals. */
static void two_members(void)
{
    struct replica_status status;

    begin(2, HOUR_NS);
    write_at(1, 1);
    is_about_now(1);
    rig_status(&rig, 1, &status);
    CHECK(status.clocks_divided);
    rig_deinit(&rig);
}

/* Of two the leader that is behind zone time is the wrong one. */
static void two_members_one_behind(void)
{
    begin(2, 0);
    rig.now_ms += 7200000; /* Nobody's clock shows less than zero. */
    rig_run(&rig, 3000);
    rig_elect(&rig, 1);
    write_at(1, 1);
    rig.nodes[1].wall_ahead_ns = -HOUR_NS;
    rig_run(&rig, 1000);
    write_at(1, 2);
    CHECK(zone_time_ns(1) > now_ns() - MINUTE_NS);
    rig.now_ms += 600000;
    rig_run(&rig, 6000);
    rig_elect(&rig, 1);
    write_at(1, 3);
    is_about_now(1);
    rig_deinit(&rig);
}

/* Alone there is nothing to compare with; and zone time does not go back. */
static void a_sole_member(void)
{
    int64_t before_ns;

    begin(1, HOUR_NS);
    write_at(1, 1);
    CHECK(zone_time_ns(1) > now_ns() + HOUR_NS - MINUTE_NS);
    before_ns = zone_time_ns(1);
    rig.nodes[1].wall_ahead_ns = 0;
    write_at(1, 2);
    CHECK_INT(zone_time_ns(1), before_ns + 1);
    rig_deinit(&rig);
}

/* What a member of the version before tells is nothing: its clock is not counted, and a
 * frame that is no clock changes nothing. */
static void frames_that_are_none(void)
{
    static const uint8_t bad[][9] = {
        {2, 1, 0, 0, 0, 0, 0, 0, 0},
        {1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff},
    };
    struct replica_status status;

    begin(2, 0);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct replica_event event = {.type = REPLICA_EV_FRAME,
                                      .from = 2,
                                      .frame_type = REPLICA_FRAME_CLOCK,
                                      .head = slice_borrow(bad[i], sizeof bad[i])};

        (void)rig_step(&rig, 1, &event);
        event.head.len = 8;
        (void)rig_step(&rig, 1, &event);
    }
    rig_settle(&rig);
    rig_status(&rig, 1, &status);
    CHECK_UINT(status.n_clocks, 2);
    CHECK(off_ms(1, 2) > -1000 && off_ms(1, 2) < 1000);
    rig_deinit(&rig);
}

/* A new leader knows the clocks of those who voted for it, whatever else it missed: here,
 * all that was told since it started. */
static void told_before_the_vote(void)
{
    struct replica_event transfer = {.type = REPLICA_EV_TRANSFER, .from = 1, .token = 90};
    struct replica_status status;

    begin(3, 0);
    do {
        rig_run(&rig, 10);
    } while (rig.now_ms - rig.nodes[2].replica->wall.told_ms > 100 ||
             rig.now_ms - rig.nodes[3].replica->wall.told_ms > 100);
    rig_stop(&rig, 1);
    rig_run(&rig, 2500);
    CHECK_INT(rig_start(&rig, 1), 0);
    rig.cut[2][1] = true;
    rig.cut[3][1] = true;
    rig.nodes[1].wall_ahead_ns = HOUR_NS;
    rig_run(&rig, 300);
    rig.cut[2][1] = false;
    rig.cut[3][1] = false;
    rig_run(&rig, 300);
    rig_status(&rig, 1, &status);
    CHECK_INT(status.state, RGROUP_FOLLOWER);
    CHECK_UINT(status.n_clocks, 1);
    (void)rig_step(&rig, status.leader, &transfer);
    rig_run(&rig, 100);
    rig_status(&rig, 1, &status);
    CHECK_INT(status.state, RGROUP_LEADER);
    CHECK(status.n_clocks >= 2);
    write_at(1, 1);
    is_about_now(1);
    rig_deinit(&rig);
}

/* Who is not heard any more has no say after a while, also if nobody is. */
static void a_silent_one_is_forgotten(void)
{
    struct replica_status status;

    begin(3, 0);
    rig_run(&rig, 6000);
    rig_status(&rig, 1, &status);
    CHECK_UINT(status.n_clocks, 3);
    rig_stop(&rig, 3);
    rig_run(&rig, WALL_FRESH_MS + 2 * WALL_TELL_MS);
    rig_status(&rig, 1, &status);
    CHECK_UINT(status.n_clocks, 2);
    rig_stop(&rig, 2);
    rig_run(&rig, WALL_FRESH_MS + 2 * WALL_TELL_MS);
    rig_status(&rig, 1, &status);
    CHECK_UINT(status.n_clocks, 1);
    rig_deinit(&rig);
}

TEST_MAIN(CHECK_TEST(a_leader_ahead), CHECK_TEST(a_leader_a_little_ahead),
          CHECK_TEST(known_to_all), CHECK_TEST(a_jump_ahead_and_back),
          CHECK_TEST(a_jump_is_told_at_once), CHECK_TEST(a_jump_back_is_seen_at_once),
          CHECK_TEST(two_members), CHECK_TEST(two_members_one_behind),
          CHECK_TEST(a_sole_member), CHECK_TEST(frames_that_are_none),
          CHECK_TEST(told_before_the_vote), CHECK_TEST(a_silent_one_is_forgotten))
