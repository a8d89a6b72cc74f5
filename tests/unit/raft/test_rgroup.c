#include "lib/check.h"
#include "rgroup_rig.h"

#include "base/outcome.h"

#include <errno.h>

/* Voters 1 to 3 with their first configuration, all up, member 1 elected. */
static struct rig *three(uint32_t guards_off)
{
    struct rgroup_conf conf = rig_conf(3, 3);
    struct rig *rig = rig_new(guards_off);
    uint64_t id;

    for (id = 1; id <= 3; id++) {
        rig_log(rig, id, &conf, 0, 1);
        rig_start(rig, id);
    }
    rig->now_ms += RIG_ELECTION_MS; /* The vote hold after a start (G12). */
    rig_elect(rig, 1);
    CHECK_UINT(rig_leader(rig), 1);
    return rig;
}

/* A leader begins its term with a barrier, so that its commit index becomes known to be
 * current (the read floor), and commits what is submitted on all members. */
static void elects_and_replicates(void)
{
    struct rig *rig = three(0);
    uint64_t id;

    rig_run(rig, 300);
    CHECK_UINT(rgroup_read_floor(rig->members[1].group), 2);
    CHECK_INT(rig_submit(rig, 1, 5), 0);
    rig_run(rig, 300);
    for (id = 1; id <= 3; id++) {
        CHECK_UINT(rig->members[id].update.commit, 7);
        CHECK_UINT(rig->members[id].last, 7);
        CHECK_UINT(rig->members[id].update.leader, 1);
    }
    CHECK_INT(rig_submit(rig, 2, 1), OUT_NOT_LEADER);
    rig_free(rig);
}

/* When the leader is gone the others elect one that has everything committed. */
static void survives_the_leader(void)
{
    struct rig *rig = three(0);

    rig_run(rig, 200);
    CHECK_INT(rig_submit(rig, 1, 3), 0);
    rig_run(rig, 200);
    rig_stop(rig, 1);
    rig_run(rig, 5000);
    CHECK(rig_leader(rig) == 2 || rig_leader(rig) == 3);
    CHECK_INT(rig_submit(rig, rig_leader(rig), 1), 0);
    rig_run(rig, 300);
    CHECK_UINT(rig->members[2].update.commit, rig->members[2].last);
    CHECK_UINT(rig->members[3].update.commit, rig->members[2].last);
    rig_start(rig, 1);
    rig_run(rig, 1000);
    CHECK_UINT(rig->members[1].update.commit, rig->members[2].update.commit);
    rig_free(rig);
}

/* A group grows from one voter to three, one change at a time, and shrinks again. */
static void membership_up_and_down(void)
{
    struct rgroup_conf conf = rig_conf(1, 1);
    struct rig *rig = rig_new(0);
    uint32_t n;

    rig_log(rig, 1, &conf, 0, 1);
    rig_start(rig, 1);
    CHECK(rgroup_is_sole_voter(rig->members[1].group));
    for (n = 2; n <= 3; n++) {
        rig_start(rig, n);
        conf = rig_conf(n - 1, n);
        CHECK_INT(rig_change(rig, 1, &conf), 0);
        rig_run(rig, 500);
        conf = rig_conf(n, n);
        CHECK_INT(rig_change(rig, 1, &conf), 0);
        rig_run(rig, 500);
    }
    CHECK_UINT(rig->members[3].update.commit, rig->members[1].update.commit);
    rgroup_conf_now(rig->members[3].group, &conf);
    CHECK_UINT(conf.n, 3);
    CHECK_INT(conf.servers[2].role, RGROUP_VOTER);
    for (n = 2; n >= 1; n--) {
        conf = rig_conf(n, n);
        CHECK_INT(rig_change(rig, 1, &conf), 0);
        rig_run(rig, 500);
    }
    CHECK(rgroup_is_sole_voter(rig->members[1].group));
    CHECK_INT(rig_submit(rig, 1, 1), 0);
    CHECK_UINT(rig->members[1].update.commit, rig->members[1].last);
    rig_free(rig);
}

/* One change at a time, of one server, by the leader: anything else is refused and
 * nothing happens. */
static void changes_are_checked(void)
{
    struct rig *rig = three(0);
    struct rgroup_conf four = rig_conf(3, 4);
    struct rgroup_conf five = rig_conf(3, 5);
    struct rgroup_conf same = rig_conf(3, 3);
    struct rgroup_conf twice = rig_conf(3, 4);
    struct rgroup_conf none = rig_conf(0, 3);

    rig_run(rig, 300);
    CHECK_INT(rig_change(rig, 2, &four), OUT_NOT_LEADER);
    CHECK_INT(rig_change(rig, 1, &five), OUT_INVAL);
    CHECK_INT(rig_change(rig, 1, &same), OUT_INVAL);
    twice.servers[3].id = 1;
    CHECK_INT(rig_change(rig, 1, &twice), OUT_INVAL);
    CHECK_INT(rig_change(rig, 1, &none), OUT_INVAL);
    CHECK_INT(rig_change(rig, 1, &four), 0);
    CHECK_INT(rig_change(rig, 1, &four), OUT_BUSY);
    rig_free(rig);
}

static void check_place(const struct rig *rig, uint64_t id, uint64_t index,
                        uint64_t committed)
{
    struct rgroup_conf_place place = rgroup_conf_place(rig->members[id].group);

    CHECK_UINT(place.index, index);
    CHECK_UINT(place.committed, committed);
}

/* A configuration has its place from when it is in the log on, committed or not, and loses
 * it with its entry. Who has none has no place. */
static void places_of_configurations(void)
{
    struct rgroup_conf four = rig_conf(3, 4);
    uint64_t index;

    for (unsigned lost = 0; lost < 2; lost++) {
        struct rig *rig = three(0);

        rig_start(rig, 4);
        check_place(rig, 4, 0, 0);
        rig_run(rig, 300);
        rig->cut[1][2] = true;
        rig->cut[1][3] = true;
        CHECK_INT(rig_change(rig, 1, &four), 0);
        index = rig->members[1].last;
        check_place(rig, 1, index, 1);
        check_place(rig, 2, 1, 1);
        rig_run(rig, lost == 1 ? 10 * RIG_ELECTION_MS : 50);
        rig->cut[1][2] = false;
        rig->cut[1][3] = false;
        rig_run(rig, 5 * RIG_ELECTION_MS);
        for (uint64_t id = 1; id <= 3; id++) {
            check_place(rig, id, lost == 1 ? 1 : index, lost == 1 ? 1 : index);
        }
        rig_free(rig);
    }
}

/* Leadership moves at once to a member that has everything. */
static void transfers(void)
{
    struct rig *rig = three(0);

    rig_run(rig, 300);
    CHECK_INT(rig_transfer(rig, 1, 9), OUT_INVAL);
    CHECK_INT(rig_transfer(rig, 2, 1), OUT_NOT_LEADER);
    CHECK_INT(rig_transfer(rig, 1, 3), 0);
    CHECK(rgroup_transferring(rig->members[1].group));
    CHECK_INT(rig_submit(rig, 1, 1), OUT_BUSY);
    rig_deliver(rig);
    CHECK_UINT(rig_leader(rig), 3);
    rig_free(rig);
}

/* A member that lags behind the log gets a snapshot; the state that it pulls may already
 * be newer than the one offered. */
static void snapshot_installed(bool beyond)
{
    struct rig *rig = three(0);
    uint64_t index;

    rig_run(rig, 300);
    rig->cut[1][3] = rig->cut[3][1] = true;
    CHECK_INT(rig_submit(rig, 1, 20), 0);
    rig_run(rig, 500);
    index = rig->members[1].update.commit;
    CHECK_INT(rig_snapshot(rig, 1, index - 5, 0), 0);
    CHECK_INT(rig_submit(rig, 1, 2), 0);
    rig->cut[1][3] = rig->cut[3][1] = false;
    for (int i = 0; i < 100 && rig->members[3].applied < index; i++) {
        rig_run(rig, 20);
        if (rig->members[3].update.install) {
            CHECK_UINT(rig->members[3].update.install_index, index - 5);
            CHECK_INT(rig_installed(rig, 3, 1, beyond ? index - 2 : index - 5), 0);
        }
    }
    rig_run(rig, 500);
    CHECK_UINT(rig->members[3].update.commit, rig->members[1].update.commit);
    CHECK_UINT(rig->members[3].last, rig->members[1].last);
    rig_free(rig);
}

static void snapshot_of_what_was_offered(void)
{
    snapshot_installed(false);
}

static void snapshot_of_something_newer(void)
{
    snapshot_installed(true);
}

/* A restarted member knows less to be committed than its state has applied durably; it
 * may take a snapshot of that state all the same. */
static void snapshot_before_the_commit_index_is_known(void)
{
    struct rgroup_conf conf = rig_conf(3, 3);
    struct rig *rig = rig_new(0);
    uint64_t id;

    for (id = 1; id <= 3; id++) {
        rig_log(rig, id, &conf, 9, 2);
        rig_start(rig, id);
    }
    CHECK_UINT(rig->members[1].update.commit, 1);
    CHECK_INT(rig_snapshot(rig, 1, 8, 0), 0);
    CHECK_UINT(rig->members[1].update.commit, 8);
    rig_run(rig, 5000);
    CHECK(rig_leader(rig) != 0);
    for (id = 1; id <= 3; id++) {
        CHECK_UINT(rig->members[id].update.commit, 11);
    }
    rig_free(rig);
}

/* A broken connection to the leader lets a member stand soon, but not before its hold is
 * over; to anybody else, and once the leader was heard again, it changes nothing. */
static void lost_leader(void)
{
    struct rig *rig = rig_new(0);
    struct rig_member *m = &rig->members[1];
    struct rgroup_conf conf = rig_conf(3, 3);
    struct rgroup_event tick = {.type = RGROUP_EV_TICK};
    struct rgroup_event lost = {.type = RGROUP_EV_LOST, .target = 3};
    struct rgroup_msg append = {
        .type = RGROUP_MSG_APPEND, .peer = 2, .term = 5, .index = 10, .index_term = 5};
    uint64_t wake;

    rig_log(rig, 1, &conf, 10, 5);
    rig_start(rig, 1);
    CHECK_INT(rig_receive(rig, 1, &append, NULL), 0);
    wake = m->update.wake_ms;
    CHECK(wake >= rig->now_ms + RIG_ELECTION_MS);
    CHECK_INT(rig_step(rig, 1, &lost), 0);
    CHECK_UINT(m->update.wake_ms, wake);
    rgroup_hold(m->group, rig->now_ms + RIG_ELECTION_MS / 2);
    lost.target = 2;
    CHECK_INT(rig_step(rig, 1, &lost), 0);
    CHECK(m->update.wake_ms > rig->now_ms + RIG_ELECTION_MS / 2);
    CHECK(m->update.wake_ms <= rig->now_ms + RIG_ELECTION_MS * 5 / 6 + 1);
    rig->now_ms += 1;
    CHECK_INT(rig_receive(rig, 1, &append, NULL), 0);
    CHECK(m->update.wake_ms >= rig->now_ms + RIG_ELECTION_MS);
    CHECK_INT(rig_step(rig, 1, &lost), 0);
    rig->now_ms = m->update.wake_ms;
    CHECK_INT(rig_step(rig, 1, &tick), 0);
    CHECK(rig_find(rig, RGROUP_MSG_VOTE, 2)->pre_vote);
    rig_free(rig);
}

/* The vote of a standby (G9) is written also when its term is known already: forgotten in
 * a crash, it would be given twice. */
static void standby_vote_is_written(void)
{
    struct rig *rig = rig_new(0);
    struct rgroup_conf conf = rig_conf(1, 2);
    struct rgroup_msg vote = {.type = RGROUP_MSG_VOTE,
                              .peer = 3,
                              .version = 2,
                              .candidate = 3,
                              .term = 6,
                              .index = 2,
                              .index_term = 5};

    rig_log(rig, 2, &conf, 3, 5);
    rig_start(rig, 2);
    rig->now_ms += 2 * RIG_ELECTION_MS;
    CHECK_INT(rig_receive(rig, 2, &vote, NULL), 0); /* Behind: only its term counts. */
    CHECK_UINT(rig->members[2].term, 6);
    CHECK_UINT(rig->members[2].vote, 0);
    vote.peer = vote.candidate = 1;
    vote.index = 9;
    CHECK_INT(rig_receive(rig, 2, &vote, NULL), 0);
    CHECK(rig_find(rig, RGROUP_MSG_VOTE_RESULT, 1)->granted);
    CHECK(rig->members[2].update.meta);
    CHECK_UINT(rig->members[2].vote, 1);
    rig_free(rig);
}

/* A vote that nobody can have been asked for is no vote, and changes nothing. */
static void vote_that_nobody_asked_for(void)
{
    struct rgroup_conf conf = rig_conf(3, 3);
    struct rig *rig = rig_new(0);
    struct rgroup_msg result = {.type = RGROUP_MSG_VOTE_RESULT,
                                .peer = 2,
                                .version = 2,
                                .granted = true,
                                .features = 1,
                                .capacity = 65535};
    struct rgroup_event tick = {.type = RGROUP_EV_TICK};
    uint64_t term;

    rig_log(rig, 1, &conf, 0, 1);
    rig_start(rig, 1);
    rig->now_ms += 3 * RIG_ELECTION_MS;
    CHECK_INT(rig_step(rig, 1, &tick), 0);
    CHECK_INT(rig->members[1].update.state, RGROUP_CANDIDATE);
    term = rgroup_term(rig->members[1].group);
    result.term = term + 5;
    CHECK_INT(rig_receive(rig, 1, &result, NULL), -EPROTO);
    CHECK_UINT(rgroup_term(rig->members[1].group), term);
    rig_free(rig);
}

TEST_MAIN(CHECK_TEST(lost_leader), CHECK_TEST(vote_that_nobody_asked_for),
          CHECK_TEST(standby_vote_is_written), CHECK_TEST(elects_and_replicates),
          CHECK_TEST(survives_the_leader), CHECK_TEST(membership_up_and_down),
          CHECK_TEST(changes_are_checked), CHECK_TEST(places_of_configurations),
          CHECK_TEST(transfers), CHECK_TEST(snapshot_of_what_was_offered),
          CHECK_TEST(snapshot_of_something_newer),
          CHECK_TEST(snapshot_before_the_commit_index_is_known))
