/*
 * One test for each guard: with it the behaviour is right, without it the hazard of the
 * engine shows. Where the hazard trips an assertion of the library, that half runs in a
 * child.
 */
#include "lib/check.h"
#include "rgroup_rig.h"

#include "base/outcome.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { SPARE = 3 }; /* A role that rgroup does not have. */

static void start_all(struct rig *rig, uint64_t n, const struct rgroup_conf *conf)
{
    uint64_t id;

    for (id = 1; id <= n; id++) {
        rig_log(rig, id, conf, 0, 1);
        rig_start(rig, id);
    }
    rig->now_ms += RIG_ELECTION_MS; /* G12 */
}

static void vote_for(struct rig *rig, uint64_t id, uint64_t from, uint64_t term,
                     bool pre_vote)
{
    struct rgroup_msg msg = {.type = RGROUP_MSG_VOTE_RESULT,
                             .peer = from,
                             .version = 2,
                             .term = term,
                             .granted = true,
                             .pre_vote = pre_vote};

    CHECK_INT(rig_receive(rig, id, &msg, NULL), 0);
}

/* Elect @id with the vote of @from alone, which need not exist. */
static void lead_with(struct rig *rig, uint64_t id, uint64_t from)
{
    uint64_t term;

    rig_elect(rig, id);
    term = rgroup_term(rig->members[id].group) + 1;
    vote_for(rig, id, from, term, true);
    vote_for(rig, id, from, term, false);
    CHECK_INT(rig->members[id].update.state, RGROUP_LEADER);
}

/* Elect @id, and stop before anybody hears of it. */
static void lead_unheard(struct rig *rig, uint64_t id)
{
    struct rig_member *m = &rig->members[id];
    struct rgroup_event event;
    int n;

    for (n = 0; n < 2000 && m->update.state != RGROUP_CANDIDATE; n++) {
        event = (struct rgroup_event){.type = RGROUP_EV_TICK};
        rig->now_ms += 10;
        CHECK_INT(rig_step(rig, id, &event), 0);
    }
    for (; n < 4000 && m->update.state != RGROUP_LEADER; n++) {
        if (!rig_deliver_one(rig)) {
            event = (struct rgroup_event){.type = RGROUP_EV_TICK};
            rig->now_ms += 10;
            CHECK_INT(rig_step(rig, id, &event), 0);
        }
    }
    CHECK_INT(m->update.state, RGROUP_LEADER);
    rig_drop(rig);
}

static void acknowledge(struct rig *rig, uint64_t id, uint64_t from, uint64_t index)
{
    struct rgroup_msg msg = {.type = RGROUP_MSG_APPEND_RESULT,
                             .peer = from,
                             .version = 2,
                             .term = rgroup_term(rig->members[id].group),
                             .index = index};

    CHECK_INT(rig_receive(rig, id, &msg, NULL), 0);
}

/* G1: a sole voter that restarts may have sent entries of its term to standbys and lost
 * them; in the same term it would give their indexes to others. */
static void g1_restart(uint32_t off, uint64_t term)
{
    struct rig *rig = rig_new(off);
    struct rgroup_conf conf = rig_conf(1, 2);

    rig_log(rig, 1, &conf, 3, 7);
    rig->members[1].vote = 1;
    rig_start(rig, 1);
    CHECK_INT(rig->members[1].update.state, RGROUP_LEADER);
    CHECK_UINT(rgroup_term(rig->members[1].group), term);
    CHECK_UINT(rig->members[1].term, term);
    rig_free(rig);
}

static void g1_sole_voter_leads_a_new_term(void)
{
    g1_restart(0, 8);
    g1_restart(RGROUP_OFF_G1, 7);
}

/* G2: a follower left as the only voter promotes itself in the term of the leader that
 * removed itself: two leaders in one term. */
static void g2_never_leave_another_alone(void)
{
    uint32_t off;

    for (off = 0; off <= RGROUP_OFF_G2; off += RGROUP_OFF_G2) {
        struct rig *rig = rig_new(off);
        struct rgroup_conf conf = rig_conf(2, 2);
        struct rgroup_conf alone = rig_conf(1, 1);

        start_all(rig, 2, &conf);
        rig_elect(rig, 2);
        rig_run(rig, 300);
        CHECK_UINT(rig_leader(rig), 2);
        if (off == 0) {
            CHECK_INT(rig_change(rig, 2, &alone), OUT_INVAL);
        } else {
            rig->cut[1][2] = true;
            CHECK_INT(rig_change(rig, 2, &alone), 0);
            rig_deliver(rig);
            rig_elect(rig, 1);
            CHECK_INT(rig->members[1].update.state, RGROUP_LEADER);
            CHECK_INT(rig->members[2].update.state, RGROUP_LEADER);
            CHECK_UINT(rig->members[1].update.term, rig->members[2].update.term);
        }
        rig_free(rig);
    }
}

/* G3: a change that is not the first new entry of its message is filed under the wrong
 * index; it never counts as committed, and no further change is possible. */
static void g3_run(uint32_t off, int expected)
{
    struct rig *rig = rig_new(off);
    struct rgroup_conf conf = rig_conf(3, 3);
    struct rgroup_conf next = rig_conf(3, 4);
    struct rig_entry entries[4] = {
        rig_entry(5, RGROUP_COMMAND, NULL), rig_entry(5, RGROUP_COMMAND, NULL),
        rig_entry(5, RGROUP_CHANGE, &next), rig_entry(5, RGROUP_COMMAND, NULL)};
    struct rgroup_msg msg = {.type = RGROUP_MSG_APPEND,
                             .peer = 2,
                             .term = 5,
                             .index = 1,
                             .index_term = 1,
                             .commit = 1,
                             .n = 4};

    rig_log(rig, 1, &conf, 0, 1);
    rig_start(rig, 1);
    CHECK_INT(rig_receive(rig, 1, &msg, entries), 0);
    CHECK_UINT(rig->members[1].last, 5);
    msg = (struct rgroup_msg){.type = RGROUP_MSG_APPEND,
                              .peer = 2,
                              .term = 5,
                              .index = 5,
                              .index_term = 5,
                              .commit = 5};
    CHECK_INT(rig_receive(rig, 1, &msg, NULL), 0);
    CHECK_UINT(rig->members[1].applied, 5);
    lead_with(rig, 1, 2);
    acknowledge(rig, 1, 2, rig->members[1].last);
    CHECK_UINT(rig->members[1].update.commit, rig->members[1].last);
    CHECK_INT(rig_change(rig, 1, &conf), expected);
    rig_free(rig);
}

static void g3_change_is_first_of_its_message(void)
{
    g3_run(0, 0);
    g3_run(RGROUP_OFF_G3, OUT_BUSY);
}

/* G4: entries from below the follower's snapshot are filed above it; the library's
 * assertions notice, where they are active. */
static void g4_run(uint32_t off)
{
    struct rig *rig = rig_new(off);
    struct rgroup_conf conf = rig_conf(3, 3);
    struct rig_entry entries[3] = {rig_entry(1, RGROUP_CHANGE, &conf),
                                   rig_entry(1, RGROUP_COMMAND, NULL),
                                   rig_entry(1, RGROUP_COMMAND, NULL)};
    struct rgroup_msg msg = {
        .type = RGROUP_MSG_APPEND, .peer = 2, .term = 1, .commit = 3, .n = 3};
    struct rig_member *m = &rig->members[1];
    const struct rgroup_msg *answer;

    m->term = 1;
    m->has_snapshot = true;
    m->snapshot = (struct rgroup_snapshot){.index = 10,
                                           .term = 1,
                                           .conf_index = 1,
                                           .conf = entries[0].conf,
                                           .conf_len = entries[0].conf_len};
    m->first = 11;
    m->last = 10;
    rig_start(rig, 1);
    CHECK_INT(rig_receive(rig, 1, &msg, entries), 0);
    CHECK_UINT(m->last, 10);
    answer = rig_find(rig, RGROUP_MSG_APPEND_RESULT, 2);
    CHECK(answer != NULL);
    CHECK_UINT(answer->index, 10);
    CHECK_UINT(answer->rejected, 0);
    rig_free(rig);
}

static void g4_entries_below_the_snapshot(void)
{
    g4_run(0);
    CHECK(!rig_asserts(g4_run, 0));
    CHECK(rig_asserts(g4_run, RGROUP_OFF_G4));
}

/* G5: a late rejection of what a follower has acknowledged meanwhile sends the leader's
 * next index for it below its match index. */
static void g5_run(uint32_t off)
{
    struct rig *rig = rig_new(off);
    struct rgroup_conf conf = rig_conf(3, 3);
    struct rgroup_msg msg = {.type = RGROUP_MSG_APPEND_RESULT, .peer = 2, .version = 2};
    uint64_t match = 0;

    start_all(rig, 3, &conf);
    rig_elect(rig, 1);
    rig_run(rig, 300);
    CHECK_INT(rgroup_match_index(rig->members[1].group, 2, &match), 0);
    CHECK_UINT(match, rig->members[1].last);
    rig->cut[1][2] = true;
    rig_run(rig, 500); /* It is taken for absent: one probe a heartbeat. */
    msg.term = rig->members[1].update.term;
    msg.rejected = match;
    msg.index = match - 1;
    CHECK_INT(rig_receive(rig, 1, &msg, NULL), 0);
    rig_run(rig, 300);
    rig->cut[1][2] = false;
    CHECK_INT(rig_submit(rig, 1, 1), 0);
    rig_run(rig, 500);
    CHECK_UINT(rig->members[2].last, rig->members[1].last);
    rig_free(rig);
}

static void g5_late_rejection(void)
{
    g5_run(0);
    CHECK(!rig_asserts(g5_run, 0));
    CHECK(rig_asserts(g5_run, RGROUP_OFF_G5));
}

/* G6: with a server that is neither voter nor standby the engine's timer stays in the
 * past, and who obeys it spins. There is no such role, and no wake-up is in the past. */
static uint32_t g6_run(uint32_t off)
{
    struct rig *rig = rig_new(off);
    struct rgroup_conf conf = rig_conf(1, 1);
    uint32_t late = 0;
    uint32_t n;

    rig_log(rig, 1, &conf, 0, 1);
    rig_start(rig, 1);
    conf = rig_conf(1, 2);
    CHECK_INT(rig_change(rig, 1, &conf), 0);
    rig_run(rig, 500);
    conf.servers[1].role = (enum rgroup_role)SPARE;
    CHECK_INT(rig_change(rig, 1, &conf), off == 0 ? OUT_INVAL : 0);
    for (n = 0; n < 1000; n++) {
        struct rgroup_event event = {.type = RGROUP_EV_TICK};

        rig->now_ms++;
        CHECK_INT(rig_step(rig, 1, &event), 0);
        late += rig->members[1].update.wake_ms <= rig->now_ms;
    }
    rig_free(rig);
    return late;
}

static void g6_never_wakes_in_the_past(void)
{
    CHECK_UINT(g6_run(0), 0);
    CHECK(g6_run(RGROUP_OFF_G6) > 500);
}

/* G7: of three voters one is dead, one has the longer log and one the higher term: the
 * refusal of a pre-vote must tell the term, or they block each other for ever. */
static void g7_run(uint32_t off, uint64_t leader)
{
    struct rig *rig = rig_new(off);
    struct rgroup_conf conf = rig_conf(3, 3);

    rig_log(rig, 1, &conf, 10, 5);
    rig->members[1].term = 6;
    rig_log(rig, 3, &conf, 5, 5);
    rig->members[3].term = 8;
    rig->members[3].vote = 3;
    rig_start(rig, 1);
    rig_start(rig, 3);
    rig_run(rig, 60000);
    CHECK_UINT(rig_leader(rig), leader);
    rig_free(rig);
}

static void g7_refusal_tells_the_term(void)
{
    g7_run(0, 1);
    g7_run(RGROUP_OFF_G7, 0);
}

/* G8: the target of a transfer that did not get elected goes on as a candidate with the
 * permission to depose leaders. */
static void g8_run(uint32_t off)
{
    struct rig *rig = rig_new(off);
    struct rgroup_conf conf = rig_conf(3, 3);
    struct rgroup_msg vote;

    start_all(rig, 3, &conf);
    rig_elect(rig, 1);
    rig_run(rig, 300);
    CHECK_INT(rig_transfer(rig, 1, 3), 0);
    CHECK(rig_deliver_one(rig));
    CHECK(rig_find(rig, RGROUP_MSG_VOTE, 2) != NULL);
    CHECK(rig_find(rig, RGROUP_MSG_VOTE, 2)->disrupt);
    rig->cut[3][1] = rig->cut[3][2] = rig->cut[1][3] = rig->cut[2][3] = true;
    rig_run(rig, 4000);
    CHECK_UINT(rig->members[1].update.state, RGROUP_LEADER);
    while (rig_find(rig, RGROUP_MSG_VOTE, 1) == NULL) {
        struct rgroup_event event = {.type = RGROUP_EV_TICK};

        rig->now_ms += 10;
        CHECK_INT(rig_step(rig, 3, &event), 0);
    }
    vote = *rig_find(rig, RGROUP_MSG_VOTE, 1);
    vote.peer = 3;
    CHECK_INT(vote.disrupt, off != 0);
    CHECK_INT(rig_receive(rig, 1, &vote, NULL), 0);
    CHECK_INT(rig->members[1].update.state, off == 0 ? RGROUP_LEADER : RGROUP_FOLLOWER);
    rig_free(rig);
}

static void g8_permission_to_disrupt_ends(void)
{
    g8_run(0);
    g8_run(RGROUP_OFF_G8);
}

/* G9: a server that does not know yet that it is a voter votes all the same, or a
 * promotion can leave a group without a majority for ever. */
static void g9_run(uint32_t off)
{
    struct rig *rig = rig_new(off);
    struct rgroup_conf conf = rig_conf(1, 2);
    struct rgroup_msg vote = {.type = RGROUP_MSG_VOTE,
                              .peer = 1,
                              .version = 2,
                              .candidate = 1,
                              .term = 6,
                              .index = 9,
                              .index_term = 5};
    const struct rgroup_msg *answer;

    rig_log(rig, 2, &conf, 3, 5);
    rig_start(rig, 2);
    rig->now_ms += 2 * RIG_ELECTION_MS;
    CHECK_INT(rig_receive(rig, 2, &vote, NULL), 0);
    answer = rig_find(rig, RGROUP_MSG_VOTE_RESULT, 1);
    CHECK(answer != NULL);
    CHECK_INT(answer->granted, off == 0);
    CHECK_UINT(answer->term, 6);
    CHECK_UINT(rig->members[2].term, 6);
    CHECK_UINT(rig->members[2].vote, off == 0 ? 1 : 0);
    /* Once in a term, and only for a log that is not behind. */
    vote.peer = vote.candidate = 3;
    CHECK_INT(rig_receive(rig, 2, &vote, NULL), 0);
    CHECK(!rig_find(rig, RGROUP_MSG_VOTE_RESULT, 3)->granted);
    vote.term = 7;
    vote.index = 3;
    CHECK_INT(rig_receive(rig, 2, &vote, NULL), 0);
    CHECK(!rig_find(rig, RGROUP_MSG_VOTE_RESULT, 3)->granted);
    rig_free(rig);
}

static void g9_standbys_vote(void)
{
    g9_run(0);
    g9_run(RGROUP_OFF_G9);
}

/* G9: nobody becomes a voter who has nothing yet: it would not vote at all. */
static void g9_voters_have_been_standbys(void)
{
    struct rig *rig = rig_new(0);
    struct rgroup_conf conf = rig_conf(1, 1);

    rig_log(rig, 1, &conf, 0, 1);
    rig_start(rig, 1);
    conf = rig_conf(2, 2);
    CHECK_INT(rig_change(rig, 1, &conf), OUT_INVAL);
    conf = rig_conf(1, 2);
    CHECK_INT(rig_change(rig, 1, &conf), 0);
    rig_run(rig, 300); /* It is not up. */
    conf = rig_conf(2, 2);
    CHECK_INT(rig_change(rig, 1, &conf), OUT_BUSY);
    rig_start(rig, 2);
    rig_run(rig, 300);
    CHECK_INT(rig_change(rig, 1, &conf), 0);
    rig_free(rig);
}

/* G10: who shrinks the group to itself keeps the change until it is on its own disk: if
 * only the other had it after a crash, nobody could be elected. */
static void g10_run(uint32_t off)
{
    struct rig *rig = rig_new(off);
    struct rgroup_conf conf = rig_conf(2, 2);
    const struct rgroup_msg *append;

    start_all(rig, 2, &conf);
    rig_elect(rig, 1);
    rig_run(rig, 300);
    rig->members[1].slow = true;
    conf = rig_conf(1, 2);
    CHECK_INT(rig_change(rig, 1, &conf), 0);
    append = rig_find(rig, RGROUP_MSG_APPEND, 2);
    CHECK(append != NULL && append->n == 1);
    CHECK_UINT(append->after_index, off == 0 ? rig->members[1].last : 0);
    rig_drop(rig);
    rig_persist(rig, 1);
    CHECK_INT(rig_submit(rig, 1, 1), 0);
    append = rig_find(rig, RGROUP_MSG_APPEND, 2);
    CHECK(append != NULL);
    CHECK_UINT(append->after_index, 0);
    rig_free(rig);
}

static void g10_change_leaves_when_durable(void)
{
    g10_run(0);
    g10_run(RGROUP_OFF_G10);
}

/* G11: leader 1 takes 4 out, leader 4 takes 1 out, neither having committed anything of
 * its term: {3, 4} commit one entry and {1, 2} another at the same index. */
static void g11_commit_before_a_change(void)
{
    struct rgroup_conf all = rig_conf(4, 4);
    struct rgroup_conf without_4 = rig_conf(3, 3);
    struct rgroup_conf without_1 = {
        .n = 3, .servers = {{2, RGROUP_VOTER}, {3, RGROUP_VOTER}, {4, RGROUP_VOTER}}};
    struct rig *rig = rig_new(0);

    start_all(rig, 4, &all);
    lead_unheard(rig, 1);
    CHECK_INT(rig_change(rig, 1, &without_4), OUT_BUSY);
    rig_free(rig);

    rig = rig_new(RGROUP_OFF_G11);
    start_all(rig, 4, &all);
    lead_unheard(rig, 1);
    CHECK_INT(rig_change(rig, 1, &without_4), 0);
    rig_drop(rig);
    lead_unheard(rig, 4);
    rig->cut[4][1] = rig->cut[4][2] = rig->cut[3][1] = rig->cut[3][2] = true;
    CHECK_INT(rig_change(rig, 4, &without_1), 0);
    rig->now_ms += RIG_HEARTBEAT_MS;
    rig_run(rig, 300);
    CHECK_UINT(rig->members[4].update.commit, 3);
    rig->cut[1][3] = rig->cut[1][4] = true;
    rig_run(rig, 20000);
    CHECK_INT(rig->members[1].update.state, RGROUP_LEADER);
    CHECK(rig->members[1].update.commit >= 3);
    CHECK(rig->members[1].log[3].term != rig->members[4].log[3].term);
    rig_free(rig);
}

/* G12: a restarted server has forgotten that it follows a leader, whose lease may rest on
 * it; it does not vote for one election timeout. */
static void g12_run(uint32_t off)
{
    struct rig *rig = rig_new(off);
    struct rgroup_conf conf = rig_conf(3, 3);
    struct rgroup_msg vote = {.type = RGROUP_MSG_VOTE,
                              .peer = 2,
                              .version = 2,
                              .candidate = 2,
                              .term = 6,
                              .index = 11,
                              .index_term = 5};

    rig_log(rig, 1, &conf, 10, 5);
    rig_start(rig, 1);
    rig->now_ms += RIG_ELECTION_MS - 1;
    CHECK_INT(rig_receive(rig, 1, &vote, NULL), 0);
    CHECK_INT(rig_find(rig, RGROUP_MSG_VOTE_RESULT, 2) != NULL, off != 0);
    CHECK_UINT(rig->members[1].vote, off == 0 ? 0 : 2);
    rig->now_ms += 1;
    CHECK_INT(rig_receive(rig, 1, &vote, NULL), 0);
    CHECK(rig_find(rig, RGROUP_MSG_VOTE_RESULT, 2)->granted);
    rig_free(rig);
}

static void g12_no_vote_right_after_a_start(void)
{
    g12_run(0);
    g12_run(RGROUP_OFF_G12);
}

/* G16: who has answered a leader's ping neither votes nor stands for election while that
 * leader's lease may rest on it. Its own election timer may run out all the same: the log
 * connection may hang while the other works. */
static void g16_run(uint32_t off)
{
    struct rig *rig = rig_new(off);
    struct rgroup_conf conf = rig_conf(3, 3);
    struct rgroup_event tick = {.type = RGROUP_EV_TICK};
    struct rgroup_msg vote = {.type = RGROUP_MSG_VOTE,
                              .peer = 2,
                              .version = 2,
                              .candidate = 2,
                              .term = 6,
                              .index = 11,
                              .index_term = 5};

    rig_log(rig, 1, &conf, 10, 5);
    rig_start(rig, 1);
    rig->now_ms += 2 * RIG_ELECTION_MS; /* Past G12 and its own timer. */
    rgroup_hold(rig->members[1].group, rig->now_ms + 900);
    CHECK_INT(rig_step(rig, 1, &tick), 0);
    CHECK_INT(rig_find(rig, RGROUP_MSG_VOTE, 2) != NULL, off != 0);
    CHECK(off != 0 || rig->members[1].update.wake_ms == rig->now_ms + 900);
    rig->now_ms += 899;
    CHECK_INT(rig_receive(rig, 1, &vote, NULL), 0);
    CHECK_UINT(rig->members[1].vote, off == 0 ? 0 : 2);
    rig->now_ms += 1;
    CHECK_INT(rig_receive(rig, 1, &vote, NULL), 0);
    CHECK(rig_find(rig, RGROUP_MSG_VOTE_RESULT, 2)->granted);
    rig_free(rig);
}

static void g16_holds_while_a_lease_may_rest_on_it(void)
{
    g16_run(0);
    g16_run(RGROUP_OFF_G16);
}

/* G16: the target of a transfer need not wait: the leader gave its lease up before. */
static void g16_transfer_does_not_wait(void)
{
    struct rig *rig = rig_new(0);
    struct rgroup_conf conf = rig_conf(3, 3);
    struct rgroup_msg vote = {.type = RGROUP_MSG_VOTE,
                              .peer = 2,
                              .version = 2,
                              .candidate = 2,
                              .term = 6,
                              .index = 11,
                              .index_term = 5,
                              .disrupt = true};

    rig_log(rig, 1, &conf, 10, 5);
    rig_start(rig, 1);
    rig->now_ms += 2 * RIG_ELECTION_MS;
    rgroup_hold(rig->members[1].group, rig->now_ms + 900);
    CHECK_INT(rig_receive(rig, 1, &vote, NULL), 0);
    CHECK(rig_find(rig, RGROUP_MSG_VOTE_RESULT, 2)->granted);
    rig_free(rig);
}

/* G8, for G16: the permission is for the term that follows the one which was handed over.
 * Kept for a later one, it would break the lease of another leader. */
static void g8_permission_is_for_one_term(void)
{
    struct rig *rig = rig_new(0);
    struct rgroup_conf conf = rig_conf(3, 3);
    struct rgroup_event tick = {.type = RGROUP_EV_TICK};
    struct rgroup_msg beat = {
        .type = RGROUP_MSG_APPEND, .peer = 2, .term = 5, .index = 11, .index_term = 5};
    struct rgroup_msg now = {.type = RGROUP_MSG_TIMEOUT_NOW,
                             .peer = 2,
                             .term = 5,
                             .index = 11,
                             .index_term = 5};

    rig_log(rig, 1, &conf, 10, 5);
    rig_start(rig, 1);
    CHECK_INT(rig_receive(rig, 1, &beat, NULL), 0);
    CHECK_INT(rig_receive(rig, 1, &now, NULL), 0);
    CHECK_UINT(rig_find(rig, RGROUP_MSG_VOTE, 3)->term, 6);
    CHECK(rig_find(rig, RGROUP_MSG_VOTE, 3)->disrupt);
    for (int i = 0; i < 2 * RIG_ELECTION_MS; i++) {
        rig_drop(rig);
        rig->now_ms += 1;
        CHECK_INT(rig_step(rig, 1, &tick), 0);
        if (rig_find(rig, RGROUP_MSG_VOTE, 3) != NULL) {
            CHECK(!rig_find(rig, RGROUP_MSG_VOTE, 3)->disrupt);
        }
    }
    rig_free(rig);
}

/* G13: a heartbeat that is anchored further down takes the engine's commit index with
 * it. */
static void g13_run(uint32_t off, uint64_t commit)
{
    struct rig *rig = rig_new(off);
    struct rgroup_conf conf = rig_conf(3, 3);
    struct rgroup_msg msg = {.type = RGROUP_MSG_APPEND,
                             .peer = 2,
                             .term = 5,
                             .index = 6,
                             .index_term = 5,
                             .commit = 4};

    rig_log(rig, 1, &conf, 5, 5);
    rig_start(rig, 1);
    CHECK_INT(rig_receive(rig, 1, &msg, NULL), 0);
    CHECK_UINT(rig->members[1].update.commit, 4);
    msg.index = 2;
    msg.commit = 6;
    CHECK_INT(rig_receive(rig, 1, &msg, NULL), 0);
    CHECK_UINT(rig->members[1].update.commit, commit);
    rig_free(rig);
}

static void g13_commit_index_never_falls(void)
{
    g13_run(0, 4);
    g13_run(RGROUP_OFF_G13, 2);
}

/* G14: with entries under way the engine orders the target to stand for election at the
 * first acknowledgement; it is not up to date, ignores that, and nothing is sent again. */
static void g14_run(uint32_t off)
{
    struct rig *rig = rig_new(off);
    struct rgroup_conf conf = rig_conf(3, 3);
    uint64_t last;

    start_all(rig, 3, &conf);
    rig_elect(rig, 1);
    rig_run(rig, 300);
    last = rig->members[1].last;
    CHECK_INT(rig_submit(rig, 1, 1), 0);
    CHECK_INT(rig_submit(rig, 1, 1), 0);
    if (off == 0) {
        CHECK_INT(rig_transfer(rig, 1, 2), OUT_BUSY);
        CHECK_INT(rig_transfer(rig, 1, 0), OUT_BUSY);
        CHECK(!rgroup_transferring(rig->members[1].group));
        rig_deliver(rig);
        CHECK_INT(rig_transfer(rig, 1, 2), 0);
        rig_deliver(rig);
        CHECK_UINT(rig_leader(rig), 2);
    } else {
        CHECK_INT(rig_transfer(rig, 1, 2), 0);
        acknowledge(rig, 1, 2, last + 1);
        CHECK(rig_find(rig, RGROUP_MSG_TIMEOUT_NOW, 2) != NULL);
        rig->members[2].slow = true; /* The second entry is on its way to the disk. */
        rig_deliver(rig);
        CHECK_UINT(rig_leader(rig), 1);
        CHECK_INT(rig_submit(rig, 1, 1), OUT_BUSY);
    }
    rig_free(rig);
}

static void g14_transfer_at_rest(void)
{
    g14_run(0);
    g14_run(RGROUP_OFF_G14);
}

/* G15: a follower that got a second change before it applied the first, and loses it
 * again, goes back to the first, which is committed, and not to the one before. */
static void g15_run(uint32_t off, uint32_t members)
{
    struct rig *rig = rig_new(off);
    struct rgroup_conf conf = rig_conf(3, 3);
    struct rgroup_msg msg = {.type = RGROUP_MSG_APPEND,
                             .peer = 2,
                             .term = 5,
                             .index = 1,
                             .index_term = 1,
                             .commit = 1,
                             .n = 1};
    struct rig_entry entry;

    rig_log(rig, 1, &conf, 0, 1);
    rig_start(rig, 1);
    rig->members[1].no_apply = true;
    conf = rig_conf(3, 4);
    entry = rig_entry(5, RGROUP_CHANGE, &conf);
    CHECK_INT(rig_receive(rig, 1, &msg, &entry), 0);
    conf = rig_conf(3, 5);
    entry = rig_entry(5, RGROUP_CHANGE, &conf);
    msg.index = 2;
    msg.index_term = 5;
    msg.commit = 2;
    CHECK_INT(rig_receive(rig, 1, &msg, &entry), 0);
    rgroup_conf_now(rig->members[1].group, &conf);
    CHECK_UINT(conf.n, 5);
    entry = rig_entry(6, RGROUP_COMMAND, NULL);
    msg.peer = 3;
    msg.term = 6;
    CHECK_INT(rig_receive(rig, 1, &msg, &entry), 0);
    rgroup_conf_now(rig->members[1].group, &conf);
    CHECK_UINT(conf.n, members);
    rig_free(rig);
}

static void g15_rolls_back_one_change_only(void)
{
    g15_run(0, 4);
    g15_run(RGROUP_OFF_G15, 3);
}

/* A snapshot of a state that a member had applied in an earlier life takes a change with
 * it out of the log, before the change was seen committed again: it is settled then. */
static void snapshot_settles_a_pending_change(void)
{
    struct rgroup_conf conf = rig_conf(3, 3);
    struct rgroup_conf next = rig_conf(3, 4);
    struct rig *rig = rig_new(0);
    struct rig_member *m = &rig->members[1];

    rig_log(rig, 1, &conf, 4, 5);
    m->log[3] = rig_entry(5, RGROUP_CHANGE, &next);
    rig_start(rig, 1);
    m->no_apply = true;
    CHECK_INT(rig_snapshot(rig, 1, 4, 0), 0);
    lead_with(rig, 1, 2);
    acknowledge(rig, 1, 2, m->last);
    CHECK_UINT(m->update.commit, m->last);
    CHECK_INT(rig_change(rig, 1, &conf), 0);
    rig_free(rig);
}

TEST_MAIN(
    CHECK_TEST(g1_sole_voter_leads_a_new_term), CHECK_TEST(g2_never_leave_another_alone),
    CHECK_TEST(g3_change_is_first_of_its_message),
    CHECK_TEST(g4_entries_below_the_snapshot), CHECK_TEST(g5_late_rejection),
    CHECK_TEST(g6_never_wakes_in_the_past), CHECK_TEST(g7_refusal_tells_the_term),
    CHECK_TEST(g8_permission_to_disrupt_ends), CHECK_TEST(g9_standbys_vote),
    CHECK_TEST(g9_voters_have_been_standbys), CHECK_TEST(g10_change_leaves_when_durable),
    CHECK_TEST(g11_commit_before_a_change), CHECK_TEST(g12_no_vote_right_after_a_start),
    CHECK_TEST(g16_holds_while_a_lease_may_rest_on_it),
    CHECK_TEST(g16_transfer_does_not_wait), CHECK_TEST(g8_permission_is_for_one_term),
    CHECK_TEST(g13_commit_index_never_falls), CHECK_TEST(g14_transfer_at_rest),
    CHECK_TEST(g15_rolls_back_one_change_only),
    CHECK_TEST(snapshot_settles_a_pending_change))
