/* Who may go on without a majority: only who has all that anybody left knows to be
 * committed, and of those the one that loses least. */
#include "daemon/recover.h"
#include "lib/check.h"

#include <string.h>

static struct recover_member members[5];
static uint32_t n;
static struct recover_plan plan;
static struct recover_group group;

/* Nodes 1 to @voters, of which only the first answers, at entry 100 of term 3. */
static void lost(uint32_t voters)
{
    memset(members, 0, sizeof members);
    n = voters;
    for (uint32_t i = 0; i < n; i++) {
        members[i] = (struct recover_member){.node = i + 1,
                                             .raft_id = directory_raft_id(i + 1, 1),
                                             .voter = true,
                                             .held = true,
                                             .holds = true};
    }
    members[0].answers = true;
    members[0].end = (struct replica_log_end){
        .term = 4, .last_index = 100, .last_term = 3, .commit_index = 90};
}

static void answers(uint32_t i, uint64_t last_term, uint64_t last, uint64_t commit)
{
    members[i].answers = true;
    members[i].told = true;
    members[i].end = (struct replica_log_end){
        .term = 5, .last_index = last, .last_term = last_term, .commit_index = commit};
}

static enum recover_verdict decide(uint32_t self)
{
    group = (struct recover_group){members, n, self};
    recover_decide(&group, &plan);
    return plan.verdict;
}

/* A majority needs no recovery, whoever asks; half of an even number is none. */
static void refused_with_a_majority(void)
{
    lost(3);
    CHECK_INT(decide(0), RECOVER_GO);
    CHECK_UINT(plan.term, 4);
    CHECK_UINT(plan.index, 90);
    answers(1, 3, 95, 90);
    CHECK_INT(decide(0), RECOVER_MAJORITY);
    lost(4);
    answers(1, 3, 95, 91);
    CHECK_INT(decide(0), RECOVER_GO);
    CHECK_UINT(plan.term, 5);
    CHECK_UINT(plan.index, 91);
    members[1].voter = false; /* A stand-by is no part of a majority, */
    n = 3;
    CHECK_INT(decide(0), RECOVER_GO);
    CHECK_INT(decide(1), RECOVER_BEHIND);
    answers(1, 3, 120, 110); /* but begins if it has most, */
    members[1].held = false;
    CHECK_INT(decide(0), RECOVER_BEHIND);
    CHECK_INT(decide(1), RECOVER_GO);
    answers(1, 0, 0, 0); /* and not if it has nothing yet. */
    members[0].answers = false;
    CHECK_INT(decide(1), RECOVER_EMPTY);
    CHECK_INT(decide(2), RECOVER_EMPTY);
}

/* The most advanced log begins: the highest last term, then the longest. */
static void the_most_advanced_begins(void)
{
    lost(5);
    answers(1, 3, 101, 90);
    CHECK_INT(decide(0), RECOVER_BEHIND);
    CHECK_UINT(plan.other->node, 2);
    CHECK_INT(decide(1), RECOVER_GO);
    answers(1, 4, 95, 90);
    CHECK_INT(decide(0), RECOVER_BEHIND);
    answers(1, 3, 100, 95); /* As far: either will do. */
    CHECK_INT(decide(0), RECOVER_GO);
    CHECK_INT(decide(1), RECOVER_GO);
}

/* Raft figure 8: the log of a higher term that lacks what another knows to be committed
 * must not begin, though it is more advanced; the other must. */
static void what_is_committed_counts_first(void)
{
    lost(5);
    answers(1, 2, 95, 95);
    members[1].held = false; /* Node 1's log has something else at 95. */
    CHECK_INT(decide(0), RECOVER_BEHIND);
    CHECK_UINT(plan.other->node, 2);
    members[1].held = true;
    members[0].held = true;   /* Node 2 has what node 1 knows to be committed, */
    members[0].holds = false; /* node 1 has not what node 2 knows. */
    CHECK_INT(decide(1), RECOVER_GO);
    CHECK_UINT(plan.index, 95);
}

/* Who had just pulled has blocks as of entries that its log lacks: who has them begins, be
 * its log less advanced otherwise; if nobody has, it may begin, and that is said. */
static void who_has_what_was_pulled_begins(void)
{
    lost(5);
    members[0].ahead_index = 110;
    CHECK_INT(decide(0), RECOVER_GO);
    CHECK(plan.torn);
    answers(1, 2, 110, 90);
    CHECK_INT(decide(0), RECOVER_BEHIND);
    CHECK_UINT(plan.other->node, 2);
    CHECK_INT(decide(1), RECOVER_GO);
    CHECK(!plan.torn);
    CHECK_UINT(plan.index, 90);
    members[1].holds = false; /* It lacks what node 1 knows to be committed. */
    CHECK_INT(decide(0), RECOVER_GO);
    CHECK(plan.torn);
    answers(1, 3, 109, 90); /* Nobody has it: the most advanced begins, */
    members[1].holds = true;
    CHECK_INT(decide(0), RECOVER_BEHIND);
    answers(1, 3, 100,
            90); /* and of two that are as far the one of which all is as of then. */
    CHECK_INT(decide(0), RECOVER_BEHIND);
    CHECK_INT(decide(1), RECOVER_GO);
    members[0].ahead_index = 100; /* It is in its log. */
    CHECK_INT(decide(0), RECOVER_GO);
    CHECK(!plan.torn);
}

/* Out of reach is not gone: if another node reaches it, the network is to be mended. A
 * node that answers but whose member does not run counts as gone. */
static void reached_by_another(void)
{
    lost(3);
    members[2].heard_by = true;
    CHECK_INT(decide(0), RECOVER_REACHED);
    CHECK_UINT(plan.other->node, 3);
    members[2].told = true;
    CHECK_INT(decide(0), RECOVER_GO);
}

/* What a member has that is still being opened may be more than anybody else has, or make a
 * majority: nothing is decided before it tells. What is wrong anyway is told at once. */
static void one_that_opens_is_waited_for(void)
{
    lost(5);
    members[2].told = true;
    members[2].opens = true;
    CHECK_INT(decide(0), RECOVER_OPENS);
    CHECK_UINT(plan.other->node, 3);
    answers(1, 3, 101, 90);
    CHECK_INT(decide(0), RECOVER_BEHIND);
    CHECK_INT(decide(1), RECOVER_OPENS);
    members[3].heard_by = true;
    CHECK_INT(decide(1), RECOVER_REACHED);
    members[3].heard_by = false;
    members[2].opens = false; /* It failed. */
    CHECK_INT(decide(1), RECOVER_GO);
}

/* The row: who answers goes on under a new life, on its data; all others are out; nothing
 * of a change that was under way stays. */
static void the_row_afterwards(void)
{
    struct directory_zone zone = {.next_life = 7, .n_members = 4};
    struct directory_zone row;

    lost(4);
    answers(1, 3, 95, 90);
    for (uint32_t i = 0; i < 4; i++) {
        zone.members[i] = (struct directory_member){
            .node = i + 1, .raft_id = members[i].raft_id, .replaces = i};
    }
    zone.members[0].leaving = true;
    CHECK_INT(decide(0), RECOVER_GO);
    recover_row(&zone, &group, &plan, 1234, &row);
    CHECK_UINT(row.n_members, 2);
    CHECK_UINT(row.next_life, 8);
    CHECK_UINT(row.members[0].raft_id, directory_raft_id(1, 7));
    CHECK_UINT(row.members[0].from, directory_raft_id(1, 1));
    CHECK(!row.members[0].leaving);
    CHECK_UINT(row.members[1].raft_id, directory_raft_id(2, 7));
    CHECK_UINT(row.members[1].from, directory_raft_id(2, 1));
    CHECK_UINT(row.members[1].replaces, 0);
    CHECK_UINT(row.recovery.time_s, 1234);
    CHECK_UINT(row.recovery.life, 7);
    CHECK_UINT(row.recovery.lead, directory_raft_id(1, 7));
    CHECK_UINT(row.recovery.term, 5);
    CHECK_UINT(row.recovery.index, 90);
    zone.members[0].raft_id = directory_raft_id(1, 3); /* Changed meanwhile. */
    recover_row(&zone, &group, &plan, 1234, &row);
    CHECK_UINT(row.recovery.lead, 0);
}

TEST_MAIN(CHECK_TEST(refused_with_a_majority), CHECK_TEST(the_most_advanced_begins),
          CHECK_TEST(what_is_committed_counts_first),
          CHECK_TEST(who_has_what_was_pulled_begins), CHECK_TEST(reached_by_another),
          CHECK_TEST(one_that_opens_is_waited_for), CHECK_TEST(the_row_afterwards))
