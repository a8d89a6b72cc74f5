/* One step at a time from raft's members to the directory's, and nothing is taken away
 * without evidence. */
#include "daemon/reconcile.h"
#include "lib/check.h"

#include <string.h>

enum { SELF = 1, LAST = 1000, RECENT_MS = 1000 };

static struct replica_status status;
static struct directory_zone zone;
static struct reconcile_plan plan;

static uint64_t id_of(uint64_t node, uint16_t life)
{
    return directory_raft_id(node, life);
}

/* The leader is node SELF, in its first life, with everything in its log. */
static void lead(void)
{
    memset(&status, 0, sizeof status);
    memset(&zone, 0, sizeof zone);
    status.state = RGROUP_LEADER;
    status.term = 3;
    status.last_index = LAST;
    status.commit_index = LAST;
}

static void actual(uint64_t node, uint16_t life, enum rgroup_role role, uint64_t match)
{
    status.members[status.n_members++] = (struct replica_member){
        .id = id_of(node, life), .role = role, .match_index = match};
}

static void listed(uint64_t node, uint16_t life, bool leaving)
{
    struct directory_member *member = &zone.members[zone.n_members++];

    member->node = node;
    member->raft_id = id_of(node, life);
    member->leaving = leaving;
    if (zone.next_life <= life) {
        zone.next_life = life + 1u;
    }
}

static void next(void)
{
    struct reconcile_wanted wanted;

    reconcile_zone(&zone, RECENT_MS, &wanted);
    reconcile_next(&status, id_of(SELF, 1), &wanted, &plan);
}

/* A new member first stands by, so that it costs no quorum while it fetches the data. */
static void adds_as_standby(void)
{
    lead();
    actual(1, 1, RGROUP_VOTER, LAST);
    listed(1, 1, false);
    listed(2, 2, false);
    next();
    CHECK_INT(plan.type, RECONCILE_ADD);
    CHECK_UINT(plan.conf.n, 2);
    CHECK_UINT(plan.conf.servers[1].id, id_of(2, 2));
    CHECK_INT(plan.conf.servers[1].role, RGROUP_STANDBY);
}

/* It votes once it has nearly everything, not before, and not while it has said nothing. */
static void promotes_once_caught_up(void)
{
    lead();
    actual(1, 1, RGROUP_VOTER, LAST);
    actual(2, 2, RGROUP_STANDBY, 0);
    listed(1, 1, false);
    listed(2, 2, false);
    next();
    CHECK_INT(plan.type, RECONCILE_NONE);
    status.members[1].match_index = LAST / 2;
    next();
    CHECK_INT(plan.type, RECONCILE_NONE);
    status.members[1].match_index = LAST - 10;
    next();
    CHECK_INT(plan.type, RECONCILE_CHANGE);
    CHECK_INT(plan.conf.servers[1].role, RGROUP_VOTER);
    status.last_index = 5; /* A short log: "near its end" includes having nothing. */
    status.members[1].match_index = 0;
    next();
    CHECK_INT(plan.type, RECONCILE_NONE);
}

/* A view of the directory that is older than a member does not take it away; one that
 * knows of its life and does not list it does. */
static void removes_with_evidence(void)
{
    lead();
    actual(1, 1, RGROUP_VOTER, LAST);
    actual(2, 2, RGROUP_VOTER, LAST);
    actual(3, 3, RGROUP_VOTER, LAST);
    listed(1, 1, false);
    listed(2, 2, false);
    next();
    CHECK_INT(plan.type, RECONCILE_NONE);
    zone.next_life = 4;
    next();
    CHECK_INT(plan.type, RECONCILE_CHANGE);
    CHECK_UINT(plan.conf.n, 2);
    CHECK_UINT(plan.conf.servers[0].id, id_of(1, 1));
    CHECK_UINT(plan.conf.servers[1].id, id_of(2, 2));
    listed(3, 3, true);
    next();
    CHECK_INT(plan.type, RECONCILE_CHANGE);
    CHECK_UINT(plan.conf.n, 2);
}

/* Who is replaced stays until the other votes, or is itself to go; whoever else leaves does
 * not wait for that. */
static void replaced_goes_last(void)
{
    lead();
    actual(1, 1, RGROUP_VOTER, LAST);
    actual(2, 2, RGROUP_VOTER, LAST);
    actual(3, 3, RGROUP_STANDBY, 0);
    listed(1, 1, false);
    listed(2, 2, true);
    listed(3, 3, false);
    zone.members[2].replaces = id_of(2, 2);
    next();
    CHECK_INT(plan.type, RECONCILE_NONE);
    zone.members[2].leaving = true;
    next();
    CHECK_INT(plan.type, RECONCILE_CHANGE);
    CHECK_UINT(plan.conf.n, 2);
    CHECK_UINT(plan.conf.servers[1].id, id_of(3, 3));
    zone.members[2].leaving = false;
    status.members[2].role = RGROUP_VOTER;
    next();
    CHECK_INT(plan.type, RECONCILE_CHANGE);
    CHECK_UINT(plan.conf.servers[1].id, id_of(3, 3));
    status.members[2].role = RGROUP_STANDBY;
    zone.members[2].replaces = id_of(1, 1);
    next();
    CHECK_INT(plan.type, RECONCILE_CHANGE);
    CHECK_UINT(plan.conf.servers[0].id, id_of(1, 1));
}

/* A row that cannot be read lists nobody: that is no reason to remove anybody. */
static void empty_row_changes_nothing(void)
{
    lead();
    actual(1, 1, RGROUP_VOTER, LAST);
    actual(2, 2, RGROUP_VOTER, LAST);
    zone.next_life = 9;
    next();
    CHECK_INT(plan.type, RECONCILE_NONE);
}

/* The leader does not remove itself: it hands over to the most advanced voter that stays,
 * after everything else, and stays if there is none. */
static void leader_hands_over_first(void)
{
    lead();
    actual(1, 1, RGROUP_VOTER, LAST);
    actual(2, 2, RGROUP_VOTER, LAST - 5);
    actual(3, 3, RGROUP_VOTER, LAST - 1);
    actual(4, 4, RGROUP_VOTER, LAST);
    listed(1, 1, true);
    listed(2, 2, false);
    listed(3, 3, false);
    listed(4, 4, true);
    next();
    CHECK_INT(plan.type, RECONCILE_CHANGE);
    CHECK_UINT(plan.conf.n, 3);
    status.n_members = 3;
    next();
    CHECK_INT(plan.type, RECONCILE_TRANSFER);
    CHECK_UINT(plan.successor, id_of(3, 3));
    status.members[2].heard_ms_ago = RECENT_MS + 1;
    next();
    CHECK_UINT(plan.successor, id_of(2, 2));
    status.n_members = 1;
    zone.n_members = 1;
    next();
    CHECK_INT(plan.type, RECONCILE_WAIT);
}

/* With one of three dead, the other two cannot spare each other: the dead one can go, a
 * living one cannot, else the zone would stand still, perhaps for ever. */
static void keeps_a_living_majority(void)
{
    lead();
    actual(1, 1, RGROUP_VOTER, LAST);
    actual(2, 2, RGROUP_VOTER, LAST);
    actual(3, 3, RGROUP_VOTER, LAST / 2);
    status.members[2].heard_ms_ago = UINT64_MAX;
    listed(1, 1, false);
    listed(2, 2, true);
    listed(3, 3, false);
    next();
    CHECK_INT(plan.type, RECONCILE_WAIT);
    status.members[2].heard_ms_ago = RECENT_MS;
    next();
    CHECK_INT(plan.type, RECONCILE_CHANGE);
    status.members[2].heard_ms_ago = RECENT_MS + 1;
    zone.members[1].leaving = false;
    zone.members[2].leaving = true;
    next();
    CHECK_INT(plan.type, RECONCILE_CHANGE);
    CHECK_UINT(plan.conf.n, 2);
    CHECK_UINT(plan.conf.servers[1].id, id_of(2, 2));
}

/* Only a leader that is not about to go decides anything. */
static void only_a_leader(void)
{
    lead();
    actual(1, 1, RGROUP_VOTER, LAST);
    listed(1, 1, false);
    listed(2, 2, false);
    status.transferring = true;
    next();
    CHECK_INT(plan.type, RECONCILE_NONE);
    status.transferring = false;
    status.state = RGROUP_FOLLOWER;
    next();
    CHECK_INT(plan.type, RECONCILE_NONE);
}

/* A leaving member's row is dropped, and its data with it, only once a configuration
 * without it is committed in this leader's term: before, it may be taken back. */
static void drops_once_committed(void)
{
    struct reconcile_mark mark = {0};
    struct directory_zone rest;

    lead();
    actual(1, 1, RGROUP_VOTER, LAST);
    actual(2, 2, RGROUP_VOTER, LAST);
    listed(1, 1, false);
    listed(2, 2, true);
    CHECK(!reconcile_dropped(&zone, &status, &mark, &rest));
    status.n_members = 1;
    status.commit_index = LAST - 1;
    CHECK(!reconcile_dropped(&zone, &status, &mark, &rest));
    status.last_index = LAST + 50;
    status.commit_index = LAST;
    CHECK(reconcile_dropped(&zone, &status, &mark, &rest));
    CHECK_UINT(rest.n_members, 1);
    CHECK_UINT(rest.members[0].node, 1);
    status.term++; /* Another turn as leader has to see for itself. */
    CHECK(!reconcile_dropped(&zone, &status, &mark, &rest));
    status.state = RGROUP_FOLLOWER;
    status.commit_index = LAST + 50;
    CHECK(!reconcile_dropped(&zone, &status, &mark, &rest));
}

/* A node whose copy of the directory began anew comes in under its new raft id, and the old
 * one goes. */
static void home_takes_lives(void)
{
    static struct directory_node nodes[3];
    struct directory directory = {.nodes = nodes, .n_nodes = 3, .index = LAST};
    struct reconcile_wanted wanted;

    for (uint32_t i = 0; i < 3; i++) {
        nodes[i].peer.number = i + 1;
        nodes[i].life = 1;
    }
    nodes[2].life = 2;
    CHECK_UINT(directory_home_id(id_of(SELF, 0x301), 3, 2), id_of(3, 0x302));
    reconcile_home(&directory, id_of(SELF, 1), LAST, RECENT_MS, &wanted);
    lead();
    for (uint64_t node = 1; node <= 3; node++) {
        actual(node, 1, RGROUP_VOTER, LAST);
    }
    reconcile_next(&status, id_of(SELF, 1), &wanted, &plan);
    CHECK_INT(plan.type, RECONCILE_ADD);
    CHECK_UINT(plan.conf.servers[3].id, id_of(3, 2));
    actual(3, 2, RGROUP_VOTER, LAST);
    reconcile_next(&status, id_of(SELF, 1), &wanted, &plan);
    CHECK_INT(plan.type, RECONCILE_CHANGE);
    CHECK_UINT(plan.conf.n, 3);
    CHECK_UINT(plan.conf.servers[2].id, id_of(3, 2));
}

/* Five nodes vote for the grapevine itself, the rest stands by; who has no row goes only
 * if the view has everything in the log. */
static void home_has_five_voters(void)
{
    static struct directory_node nodes[7];
    struct directory directory = {.nodes = nodes, .n_nodes = 7, .index = LAST - 1};
    struct reconcile_wanted wanted;
    uint32_t voters = 0;

    for (uint32_t i = 0; i < 7; i++) {
        nodes[i].peer.number = i + 1;
        nodes[i].life = 1;
    }
    reconcile_home(&directory, id_of(SELF, 1), LAST, RECENT_MS, &wanted);
    CHECK(!wanted.whole);
    CHECK_UINT(wanted.n, 7);
    for (uint32_t i = 0; i < wanted.n; i++) {
        voters += wanted.members[i].voter ? 1 : 0;
    }
    CHECK_UINT(voters, 5);
    lead();
    actual(1, 1, RGROUP_VOTER, LAST);
    for (uint64_t node = 2; node <= 5; node++) {
        actual(node, 1, RGROUP_VOTER, LAST);
    }
    actual(6, 1, RGROUP_STANDBY, LAST);
    actual(7, 1, RGROUP_STANDBY, LAST);
    actual(8, 1, RGROUP_STANDBY, LAST);
    reconcile_next(&status, id_of(SELF, 1), &wanted, &plan);
    CHECK_INT(plan.type, RECONCILE_NONE);
    nodes[6].peer.number = 9;
    reconcile_home(&directory, id_of(SELF, 1), LAST, RECENT_MS, &wanted);
    reconcile_next(&status, id_of(SELF, 1), &wanted, &plan);
    CHECK_INT(plan.type, RECONCILE_NONE); /* Node 9 may have been removed since. */
    nodes[6].peer.number = 7;
    directory.index = LAST;
    directory.bad_row = true; /* It may be somebody's. */
    reconcile_home(&directory, id_of(SELF, 1), LAST, RECENT_MS, &wanted);
    reconcile_next(&status, id_of(SELF, 1), &wanted, &plan);
    CHECK_INT(plan.type, RECONCILE_NONE);
    directory.bad_row = false;
    reconcile_home(&directory, id_of(SELF, 1), LAST, RECENT_MS, &wanted);
    reconcile_next(&status, id_of(SELF, 1), &wanted, &plan);
    CHECK_INT(plan.type, RECONCILE_CHANGE);
    CHECK_UINT(plan.conf.n, 7);
}

TEST_MAIN(CHECK_TEST(adds_as_standby), CHECK_TEST(promotes_once_caught_up),
          CHECK_TEST(removes_with_evidence), CHECK_TEST(replaced_goes_last),
          CHECK_TEST(empty_row_changes_nothing), CHECK_TEST(leader_hands_over_first),
          CHECK_TEST(keeps_a_living_majority), CHECK_TEST(only_a_leader),
          CHECK_TEST(drops_once_committed), CHECK_TEST(home_has_five_voters),
          CHECK_TEST(home_takes_lives))
