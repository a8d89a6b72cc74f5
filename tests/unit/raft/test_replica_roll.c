/* A member whose disk was put back to an earlier state (docs/adr/0005). */
#include "lib/check.h"
#include "replica_rig.h"

#include <errno.h>
#include <string.h>

static struct rig rig;

static void begin(uint32_t n)
{
    memset(&rig, 0, sizeof rig);
    rig.roll_call = true;
    rig_init(&rig, n);
}

static void write_some(uint64_t leader, uint64_t token)
{
    for (uint64_t i = 0; i < 5; i++) {
        rig_submit(&rig, leader, token + i, 100);
        rig_flush(&rig, leader);
        rig_settle(&rig);
    }
}

/* The stopped member's disk as it was before anything was written. */
static void put_back(uint64_t id)
{
    struct rig_node *node = &rig.nodes[id];

    node->applied = 1;
    node->applied_term = 1;
    node->term = 1;
    node->vote = 0;
    rig_lose(&rig, id, 2);
}

static bool leads(uint64_t id)
{
    struct replica_status status;

    if (rig.nodes[id].replica == NULL) {
        return false;
    }
    rig_status(&rig, id, &status);
    return status.state == RGROUP_LEADER;
}

static bool is_calling(uint64_t id)
{
    struct replica_status status;

    rig_status(&rig, id, &status);
    return status.calling;
}

/* The leader has its acknowledgements: it says so, and the member stops for good. */
static void leader_remembers(void)
{
    begin(3);
    rig_elect(&rig, 1);
    write_some(1, 50);
    rig_stop(&rig, 3);
    put_back(3);
    CHECK_INT(rig_start(&rig, 3), 0);
    rig_run(&rig, 200);
    CHECK_UINT(rig.nodes[3].failed, 1);
    CHECK_UINT(rig.nodes[3].last, 1);
    CHECK(leads(1));
    rig_deinit(&rig);
}

/* The leader told everybody what it knows of everybody: its death takes nothing away. */
static void others_were_told(void)
{
    begin(3);
    rig_elect(&rig, 1);
    write_some(1, 50);
    rig_run(&rig, 3000);
    rig_stop(&rig, 3);
    put_back(3);
    rig_stop(&rig, 1);
    CHECK_INT(rig_start(&rig, 3), 0);
    rig_run(&rig, 8000);
    CHECK_UINT(rig.nodes[3].failed, 1);
    CHECK(!leads(2));
    rig_deinit(&rig);
}

/* What it kept of itself elsewhere is enough, whoever else is there. */
static void own_marks_are_enough(void)
{
    begin(3);
    rig_elect(&rig, 1);
    write_some(1, 50);
    replica_marks(rig.nodes[3].replica, &rig.nodes[3].marks);
    rig_stop(&rig, 3);
    put_back(3);
    CHECK_INT(rig_start(&rig, 3), -ESTALE);
    rig_deinit(&rig);
}

/* Also a member that is alone: its own state is all that there is. */
static void sole_voter_is_checked(void)
{
    begin(1);
    rig_run(&rig, 300);
    write_some(1, 50);
    replica_marks(rig.nodes[1].replica, &rig.nodes[1].marks);
    rig_stop(&rig, 1);
    CHECK_INT(rig_start(&rig, 1), 0); /* As it was. */
    rig_run(&rig, 300);
    CHECK(leads(1));
    rig_stop(&rig, 1);
    put_back(1);
    CHECK_INT(rig_start(&rig, 1), -ESTALE);
    rig_deinit(&rig);
}

/* After a power cut everybody calls at once, and everybody answers: nobody waits for
 * another to take part first. */
static void all_restart_at_once(void)
{
    begin(3);
    rig_elect(&rig, 1);
    write_some(1, 50);
    for (uint64_t id = 1; id <= 3; id++) {
        replica_marks(rig.nodes[id].replica, &rig.nodes[id].marks);
    }
    for (uint64_t id = 1; id <= 3; id++) {
        rig_stop(&rig, id);
    }
    for (uint64_t id = 1; id <= 3; id++) {
        CHECK_INT(rig_start(&rig, id), 0);
    }
    rig_run(&rig, 300);
    for (uint64_t id = 1; id <= 3; id++) {
        CHECK(!is_calling(id));
    }
    rig_run(&rig, 5000);
    CHECK(leads(1) || leads(2) || leads(3));
    rig_deinit(&rig);
}

/* A majority goes on without a third that is dead, after a while in which it might have
 * answered. Alone a member goes on calling. */
static void dead_member_is_not_waited_for(void)
{
    begin(3);
    rig_elect(&rig, 1);
    write_some(1, 50);
    for (uint64_t id = 1; id <= 3; id++) {
        rig_stop(&rig, id);
    }
    CHECK_INT(rig_start(&rig, 3), 0);
    rig_run(&rig, 10000);
    CHECK(is_calling(3));
    CHECK_INT(rig_start(&rig, 2), 0);
    rig_run(&rig, 10000);
    CHECK(!is_calling(3) && !is_calling(2));
    CHECK(leads(2) || leads(3));
    rig_deinit(&rig);
}

/* Who heard in the call what is committed elects nobody who lacks it, itself included;
 * not even where the marks failed. */
static void nobody_below_the_floor(void)
{
    begin(3);
    rig.mutation = REPLICA_MUT_TRUST_ROLLED_BACK;
    rig_elect(&rig, 1);
    rig_connect(&rig, 1, 2, false);
    rig_connect(&rig, 3, 2, false);
    write_some(1, 50);
    rig_stop(&rig, 3);
    put_back(3);
    rig.nodes[3].no_entries = true;
    CHECK_INT(rig_start(&rig, 3), 0);
    rig_run(&rig, 100);
    rig_stop(&rig, 1);
    rig_connect(&rig, 3, 2, true);
    rig_run(&rig, 20000);
    CHECK(!leads(2) && !leads(3));
    rig.nodes[3].no_entries = false;
    CHECK_INT(rig_start(&rig, 1), 0);
    rig_run(&rig, 20000);
    CHECK(leads(1));
    CHECK_UINT(rig.nodes[3].last, rig.nodes[1].last);
    rig_deinit(&rig);
}

/* A member below its floor that followed a leader which then dies helps to elect another:
 * its own election timer runs out, though it asks nobody for a vote. */
static void below_the_floor_it_still_votes(void)
{
    begin(3);
    rig_elect(&rig, 2);
    rig_connect(&rig, 1, 2, false);
    rig_connect(&rig, 1, 3, false);
    write_some(2, 50);
    rig_stop(&rig, 1);
    rig.nodes[1].no_entries = true;
    CHECK_INT(rig_start(&rig, 1), 0);
    rig_connect(&rig, 1, 2, true);
    rig_connect(&rig, 1, 3, true);
    rig_run(&rig, 500);
    CHECK(!is_calling(1));
    rig_stop(&rig, 2);
    rig.nodes[1].no_entries = false;
    rig_run(&rig, 20000);
    CHECK(leads(3));
    rig_deinit(&rig);
}

/* A state is never taken for an older one because the log was cut by a later leader, or
 * because its end was not the leader's. */
static void cut_logs_are_no_rollback(void)
{
    begin(3);
    rig_elect(&rig, 1);
    write_some(1, 50);
    rig_connect(&rig, 1, 2, false);
    rig_connect(&rig, 1, 3, false);
    write_some(1, 60); /* In its own log only. */
    rig_run(&rig, 10000);
    CHECK(leads(2) || leads(3));
    write_some(leads(2) ? 2 : 3, 70);
    rig_connect(&rig, 1, 2, true);
    rig_connect(&rig, 1, 3, true);
    rig_run(&rig, 2000);
    for (uint64_t id = 1; id <= 3; id++) {
        replica_marks(rig.nodes[id].replica, &rig.nodes[id].marks);
        rig_stop(&rig, id);
        CHECK_INT(rig_start(&rig, id), 0);
        rig_run(&rig, 3000);
        CHECK_UINT(rig.nodes[id].failed, 0);
    }
    rig_deinit(&rig);
}

/* The table is bounded: what is of the oldest term goes. */
static void marks_are_bounded(void)
{
    struct roll_marks marks = {0};

    for (uint64_t id = 1; id <= ROLL_MARKS_MAX + 3; id++) {
        CHECK(roll_note(&marks, id, (struct roll_point){.term = id, .index = 7}));
        CHECK(!roll_note(&marks, id, (struct roll_point){.term = id, .index = 6}));
    }
    CHECK_UINT(marks.n, ROLL_MARKS_MAX);
    CHECK_UINT(roll_find(&marks, 3).term, 0);
    CHECK_UINT(roll_find(&marks, 4).term, 4);
    CHECK_UINT(roll_find(&marks, ROLL_MARKS_MAX + 3).index, 7);
}

TEST_MAIN(CHECK_TEST(leader_remembers), CHECK_TEST(others_were_told),
          CHECK_TEST(own_marks_are_enough), CHECK_TEST(sole_voter_is_checked),
          CHECK_TEST(all_restart_at_once), CHECK_TEST(dead_member_is_not_waited_for),
          CHECK_TEST(nobody_below_the_floor), CHECK_TEST(below_the_floor_it_still_votes),
          CHECK_TEST(cut_logs_are_no_rollback), CHECK_TEST(marks_are_bounded))
