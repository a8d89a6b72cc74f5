/* A member whose disk was put back to an earlier state (docs/adr/0005). */
#include "base/wire.h"
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
    rig_write(&rig, leader, token, 5, 100);
}

/* Of three members, led by the first. */
static void begin_written(void)
{
    begin(3);
    rig_elect(&rig, 1);
    write_some(1, 50);
}

/* The member stops, and its disk is as it was before anything was written. */
static void put_back(uint64_t id)
{
    struct rig_node *node = &rig.nodes[id];

    rig_stop(&rig, id);
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
    begin_written();
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
    begin_written();
    rig_run(&rig, 3000);
    put_back(3);
    rig_stop(&rig, 1);
    CHECK_INT(rig_start(&rig, 3), 0);
    rig_run(&rig, 8000);
    CHECK_UINT(rig.nodes[3].failed, 1);
    CHECK(!leads(2));
    rig_deinit(&rig);
}

/* It could not be told in time, and takes part. What it refuses shows the leader that it has
 * forgotten, and it is told again, though there is nothing new. */
static void what_it_refuses_tells(void)
{
    begin_written();
    rig_run(&rig, 3000);
    put_back(3);
    rig.roll_call = false;
    CHECK_INT(rig_start(&rig, 3), 0);
    rig_run(&rig, 3000);
    CHECK_UINT(rig.nodes[3].failed, 1);
    CHECK_UINT(rig.nodes[3].last, 1);
    CHECK(leads(1));
    rig_deinit(&rig);
}

/* What it kept of itself elsewhere is enough, whoever else is there. */
static void own_marks_are_enough(void)
{
    begin_written();
    replica_marks(rig.nodes[3].replica, &rig.nodes[3].marks);
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
    put_back(1);
    CHECK_INT(rig_start(&rig, 1), -ESTALE);
    rig_deinit(&rig);
}

/* After a power cut everybody calls at once, and everybody answers: nobody waits for
 * another to take part first. */
static void all_restart_at_once(void)
{
    begin_written();
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
    begin_written();
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
    begin_written();
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

static void ask_for(uint64_t leader, uint64_t standbys_from)
{
    struct rgroup_conf conf = {.n = rig.n};
    struct replica_event event = {.type = REPLICA_EV_CHANGE, .token = 90, .conf = &conf};

    for (uint32_t i = 0; i < rig.n; i++) {
        conf.servers[i] = (struct rgroup_server){
            .id = i + 1, .role = i + 1 < standbys_from ? RGROUP_VOTER : RGROUP_STANDBY};
    }
    (void)rig_step(&rig, leader, &event);
}

/* @leader changes the role of one member: those from @standbys_from on do not vote then. */
static void change(uint64_t leader, uint64_t standbys_from)
{
    (void)rig_trace(&rig);
    ask_for(leader, standbys_from);
    rig_run(&rig, 100);
    CHECK(strstr(rig_trace(&rig), "answer 90 OK\n") != NULL);
}

/* @n members, led by @leader, of whom the first two vote. */
static void begin_with_two_voters(uint32_t n, uint64_t leader)
{
    begin(n);
    rig_elect(&rig, leader);
    for (uint64_t id = n; id > 2; id--) {
        change(leader, id);
        rig_run(&rig, 500);
    }
}

static void someone_leads_of(uint64_t a, uint64_t b)
{
    CHECK(!is_calling(a) && !is_calling(b));
    CHECK(leads(a) || leads(b));
}

/* A member was away while the group grew from two voters to three; then one of the two dies
 * for good. It knows the two only, and alone it is no majority of them; but two of the
 * three are there, and the third of them says so, whether or not it heard yet that its own
 * vote is committed. */
static void away_while_the_group_grew(void)
{
    for (unsigned heard = 0; heard < 2; heard++) {
        begin_with_two_voters(3, 1);
        rig_stop(&rig, 2);
        if (heard == 1) {
            change(1, 4);
            rig_run(&rig, 500);
            CHECK_UINT(rig_applied(&rig, 3), rig_applied(&rig, 1));
        } else {
            ask_for(1, 4);
            while (rig.nodes[3].last < rig.nodes[1].last) {
                rig_run(&rig, 10);
            }
        }
        rig_stop(&rig, 1);
        CHECK_INT(rig_start(&rig, 2), 0);
        rig_run(&rig, 20000);
        someone_leads_of(2, 3);
        rig_deinit(&rig);
    }
}

/* The one whose vote is needed may be the one that does not know that it has one. */
static void away_when_it_became_a_voter(void)
{
    begin_with_two_voters(3, 1);
    rig.nodes[3].no_entries = true;
    change(1, 4);
    rig_stop(&rig, 3);
    rig.nodes[3].no_entries = false;
    rig_run(&rig, 500);
    rig_stop(&rig, 1);
    CHECK_INT(rig_start(&rig, 3), 0);
    rig_run(&rig, 20000);
    someone_leads_of(2, 3);
    rig_deinit(&rig);
}

/* A change that never got beyond one log asks for the vote of somebody who is dead. Who has
 * it is told by what the others elect. */
static void own_change_that_came_to_nothing(void)
{
    uint64_t other;

    begin(4);
    rig_elect(&rig, 1);
    change(1, 4);
    rig_run(&rig, 500);
    rig_stop(&rig, 4);
    rig.nodes[2].no_entries = true;
    rig.nodes[3].no_entries = true;
    ask_for(1, 5);
    rig_run(&rig, 50);
    CHECK_UINT(rig.nodes[1].last, rig.nodes[2].last + 1);
    rig_stop(&rig, 1);
    rig.nodes[2].no_entries = false;
    rig.nodes[3].no_entries = false;
    rig_run(&rig, 8000);
    CHECK(leads(2) || leads(3));
    other = leads(2) ? 3 : 2;
    rig_stop(&rig, 5 - other);
    CHECK_INT(rig_start(&rig, 1), 0);
    rig_run(&rig, 20000);
    someone_leads_of(1, other);
    rig_deinit(&rig);
}

/* All voters of the own configuration are there, but one of them knows that a later one is
 * committed: a majority of that has to answer. */
static void all_of_a_superseded_configuration(void)
{
    begin_with_two_voters(4, 2);
    rig_stop(&rig, 1);
    change(2, 4);
    rig_run(&rig, 500);
    change(2, 5);
    rig_run(&rig, 500);
    for (uint64_t id = 2; id <= 4; id++) {
        rig_stop(&rig, id);
    }
    CHECK_INT(rig_start(&rig, 1), 0);
    CHECK_INT(rig_start(&rig, 2), 0);
    rig_run(&rig, 10000);
    CHECK(is_calling(1) && is_calling(2));
    CHECK_INT(rig_start(&rig, 3), 0);
    rig_run(&rig, 20000);
    CHECK(!is_calling(1));
    someone_leads_of(2, 3);
    rig_deinit(&rig);
}

/* A change that one leader had in its log alone asks for fewer voters than the others'
 * configuration. It is not counted by where its log is behind what is known to be
 * committed: its owner would get no vote. */
static void who_is_behind_is_not_counted_by(void)
{
    begin(4);
    rig_elect(&rig, 2);
    rig_run(&rig, 500);
    for (uint64_t id = 1; id <= 4; id++) {
        rig.nodes[id].no_entries = true;
    }
    ask_for(2, 4);
    rig_run(&rig, 50);
    CHECK_UINT(rig.nodes[2].last, rig.nodes[1].last + 1);
    rig_stop(&rig, 2);
    for (uint64_t id = 1; id <= 4; id++) {
        rig.nodes[id].no_entries = false;
    }
    rig_run(&rig, 8000);
    write_some(leads(1) ? 1 : leads(3) ? 3 : 4, 50);
    rig_run(&rig, 500);
    CHECK_UINT(rig_applied(&rig, 1), rig.nodes[1].last);
    for (uint64_t id = 1; id <= 4; id++) {
        if (id != 2) {
            rig_stop(&rig, id);
        }
    }
    CHECK_INT(rig_start(&rig, 1), 0);
    CHECK_INT(rig_start(&rig, 2), 0);
    rig_run(&rig, 10000);
    CHECK(is_calling(1));
    CHECK_INT(rig_start(&rig, 3), 0);
    rig_run(&rig, 20000);
    someone_leads_of(1, 3);
    rig_deinit(&rig);
}

/* The kinds of the roll call's frames from 1 to 3, of which those of @drop get lost. */
static uint32_t relay(uint64_t drop, uint64_t *kinds, uint32_t max)
{
    uint32_t n = 0;

    while (rig.n_frames > 0) {
        struct rig_frame frame = rig.frames[rig.at];
        struct wire_dec dec = wire_dec(frame.head.data, frame.head.len);
        struct replica_event event = {.type = REPLICA_EV_FRAME,
                                      .from = frame.from,
                                      .frame_type = frame.type,
                                      .head = frame.head};
        uint64_t kind;

        (void)wire_get_u8(&dec);
        kind = wire_get_u64(&dec);
        rig.at = (rig.at + 1) % RIG_FRAMES_MAX;
        rig.n_frames--;
        if (frame.to == 3 && frame.type == REPLICA_FRAME_ROLL && n < max) {
            kinds[n++] = kind;
        }
        if (kind != drop && rig.nodes[frame.to].replica != NULL) {
            (void)rig_step(&rig, frame.to, &event);
        }
        slice_unref(&frame.head);
        slice_unref(&frame.body);
    }
    return n;
}

enum { KIND_BARE = 2, KIND_ANSWER = 4 };

/* Beside a member of the version before: its answers tell no configuration, and are counted
 * by the own one; ours come in its form as well, and after the full one, so that who
 * understands both has counted by that. */
static void the_version_before(void)
{
    static const uint64_t drops[2] = {KIND_ANSWER, KIND_BARE};
    uint64_t kinds[64];

    for (unsigned i = 0; i < 2; i++) {
        uint32_t n;

        begin(3);
        rig_elect(&rig, 1);
        for (uint64_t id = 1; id <= 3; id++) {
            rig_stop(&rig, id);
        }
        for (uint64_t id = 1; id <= 3; id++) {
            CHECK_INT(rig_start(&rig, id), 0);
        }
        n = relay(drops[i], kinds, 64);
        for (uint64_t id = 1; id <= 3; id++) {
            CHECK(!is_calling(id));
        }
        CHECK(n > 0);
        for (uint32_t k = 0; k < n; k++) {
            CHECK(kinds[k] != KIND_ANSWER || (k + 1 < n && kinds[k + 1] == KIND_BARE));
        }
        rig_deinit(&rig);
    }
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
          CHECK_TEST(what_it_refuses_tells), CHECK_TEST(own_marks_are_enough),
          CHECK_TEST(sole_voter_is_checked), CHECK_TEST(all_restart_at_once),
          CHECK_TEST(dead_member_is_not_waited_for), CHECK_TEST(nobody_below_the_floor),
          CHECK_TEST(below_the_floor_it_still_votes),
          CHECK_TEST(cut_logs_are_no_rollback), CHECK_TEST(away_while_the_group_grew),
          CHECK_TEST(away_when_it_became_a_voter),
          CHECK_TEST(own_change_that_came_to_nothing),
          CHECK_TEST(all_of_a_superseded_configuration),
          CHECK_TEST(who_is_behind_is_not_counted_by), CHECK_TEST(the_version_before),
          CHECK_TEST(marks_are_bounded))
