/* An entry that is committed, not applied, and cannot be read back: the state comes from
 * another member, and nothing that this one vouched for is lost by it. */
#include "base/outcome.h"
#include "lib/check.h"
#include "replica_rig.h"

#include <errno.h>
#include <string.h>

/* Too large for a stack; each test begins with an empty one. */
static struct rig rig;

static void begin(uint32_t n)
{
    memset(&rig, 0, sizeof rig);
    rig_init(&rig, n);
    rig_elect(&rig, 1);
}

/* Member @id has ten entries that its zone has not, dies, and comes back; the third of
 * them cannot be read. Returns its index. */
static uint64_t spoil(uint64_t id)
{
    struct rig_node *node = &rig.nodes[id];

    rig_run(&rig, 300);
    node->hold_zone = true;
    rig_write(&rig, 1, 10, 10, 100);
    rig_run(&rig, 300);
    CHECK(node->last >= node->applied + 10);
    rig_stop(&rig, id);
    node->hold_zone = false;
    node->bad_index = node->applied + 3;
    (void)rig_trace(&rig);
    return node->bad_index;
}

static struct replica_status status_of(uint64_t id)
{
    struct replica_status status;

    rig_status(&rig, id, &status);
    return status;
}

/* The follower applies up to the entry, takes the state from the leader, keeps the rest of
 * its log and is a member like any other. */
static void follower_takes_the_state(void)
{
    uint64_t bad;
    uint64_t last;
    uint32_t metas;

    begin(3);
    bad = spoil(3);
    rig.nodes[3].hold_pull = true;
    CHECK_INT(rig_start(&rig, 3), 0);
    rig_run(&rig, 1000);
    CHECK_UINT(rig.nodes[3].pulls, 1);
    CHECK_UINT(rig.nodes[3].pull_index, bad);
    CHECK_UINT(rig_applied(&rig, 3), bad - 1);
    CHECK_UINT(status_of(3).unreadable_index, bad);
    last = status_of(3).last_index;
    metas = rig.nodes[3].metas;
    rig_pull_done(&rig, 3, 1, 0);
    CHECK_UINT(rig.nodes[3].metas, metas + 1); /* Behind what is bad. */
    CHECK_UINT(status_of(3).last_index, last);
    CHECK_UINT(status_of(3).unreadable_index, 0);
    CHECK(status_of(3).first_index > bad); /* Nobody meets it again. */
    CHECK(rig.nodes[3].base_index >= bad);
    CHECK_UINT(rig.nodes[3].bases, 0); /* The log was not begun anew. */
    rig_write(&rig, 1, 50, 3, 100);
    rig_run(&rig, 1000);
    CHECK_UINT(rig_applied(&rig, 3), rig_applied(&rig, 1));
    CHECK_UINT(rig.nodes[3].failed, 0);
    CHECK_UINT(rig.nodes[3].pulls, 1);
    rig_deinit(&rig);
}

/* While it pulls it acknowledges nothing and votes for nobody. */
static void deaf_while_it_pulls(void)
{
    uint64_t term;
    uint64_t last;

    begin(3);
    (void)spoil(3);
    rig.nodes[3].hold_pull = true;
    CHECK_INT(rig_start(&rig, 3), 0);
    rig_run(&rig, 1000);
    CHECK(status_of(3).pulling);
    term = rig.nodes[3].term;
    last = rig.nodes[3].last;
    rig_write(&rig, 1, 50, 2, 100);
    CHECK_UINT(rig.nodes[3].last, last);
    rig_stop(&rig, 1);
    rig_run(&rig, 10000);
    CHECK_UINT(rig.nodes[3].term, term);
    CHECK(status_of(2).state != RGROUP_LEADER); /* Two of three are needed. */
    rig_pull_done(&rig, 3, 2, 0);
    rig_run(&rig, 10000);
    CHECK(status_of(2).state == RGROUP_LEADER || status_of(3).state == RGROUP_LEADER);
    rig_deinit(&rig);
}

/* What it has acknowledged beyond the state that it took is still there: it was counted,
 * and may be all that is left of it. */
static void keeps_what_it_acknowledged(void)
{
    uint64_t last;

    begin(3);
    (void)spoil(3);
    rig.nodes[2].hold_zone = true; /* Its state is the older one, */
    rig.nodes[3].hold_pull = true;
    CHECK_INT(rig_start(&rig, 3), 0);
    rig_write(&rig, 1, 50, 4, 100);
    rig_run(&rig, 1000);
    last = rig.nodes[3].last;
    CHECK(rig.nodes[2].applied < last);
    rig_pull_done(&rig, 3, 2, 0);
    CHECK_UINT(rig.nodes[3].last, last);
    CHECK_UINT(status_of(3).last_index, last);
    rig_deinit(&rig);
}

/* While it is deaf another one comes to lead, and the state that it takes is of a later term
 * than any that it heard of. It is in that term then, and on its disk, before all else. */
static void state_of_a_later_term(void)
{
    struct replica_event transfer = {.type = REPLICA_EV_TRANSFER, .from = 2, .token = 7};
    uint64_t term;

    begin(3);
    (void)spoil(3);
    rig.nodes[3].hold_pull = true;
    CHECK_INT(rig_start(&rig, 3), 0);
    rig_run(&rig, 1000);
    CHECK(status_of(3).pulling);
    term = rig.nodes[3].term;
    (void)rig_step(&rig, 1, &transfer);
    rig_run(&rig, 3000);
    CHECK_INT(status_of(2).state, RGROUP_LEADER);
    rig_write(&rig, 2, 60, 2, 100);
    rig_run(&rig, 500);
    CHECK(rig.nodes[2].applied_term > term);
    rig_pull_done(&rig, 3, 2, 0);
    CHECK_UINT(rig.nodes[3].failed, 0);
    CHECK_UINT(rig.nodes[3].term, rig.nodes[2].applied_term);
    CHECK_UINT(rig.nodes[3].vote, 0);
    rig_stop(&rig, 3);
    CHECK_INT(rig_start(&rig, 3), 0);
    rig_run(&rig, 3000);
    rig_write(&rig, 2, 70, 1, 100);
    rig_run(&rig, 1000);
    CHECK_UINT(rig_applied(&rig, 3), rig_applied(&rig, 2));
    rig_deinit(&rig);
}

/* The same after a crash between the switch to that state and the journal's word of it. */
static void later_term_after_a_crash(void)
{
    struct rig_node *node = &rig.nodes[3];
    struct replica_event transfer = {.type = REPLICA_EV_TRANSFER, .from = 2, .token = 7};

    begin(3);
    (void)spoil(3);
    node->hold_pull = true;
    CHECK_INT(rig_start(&rig, 3), 0);
    rig_run(&rig, 1000);
    (void)rig_step(&rig, 1, &transfer);
    rig_run(&rig, 3000);
    rig_write(&rig, 2, 60, 2, 100);
    rig_run(&rig, 500);
    node->hold_journal = true;
    node->no_meta = true;
    rig_pull_done(&rig, 3, 2, 0);
    CHECK(node->term < node->snapshot.term);
    rig_stop(&rig, 3);
    node->no_meta = false;
    node->hold_journal = false;
    CHECK_INT(rig_start(&rig, 3), 0);
    CHECK_UINT(node->term, node->snapshot.term);
    rig_run(&rig, 3000);
    CHECK_UINT(rig_applied(&rig, 3), rig_applied(&rig, 2));
    CHECK_UINT(node->failed, 0);
    rig_deinit(&rig);
}

/* A state from before the entry is none; each try asks another member. */
static void older_state_is_refused(void)
{
    begin(3);
    (void)spoil(3);
    rig.nodes[3].hold_pull = true;
    CHECK_INT(rig_start(&rig, 3), 0);
    rig_run(&rig, 1000);
    rig_pull_done(&rig, 3, 3, 0);
    CHECK(status_of(3).pulling);
    CHECK(status_of(3).unreadable_index != 0);
    rig_run(&rig, 1000);
    CHECK_UINT(rig.nodes[3].pulls, 2);
    rig_pull_done(&rig, 3, 1, 0);
    rig_run(&rig, 1000);
    CHECK_UINT(rig_applied(&rig, 3), rig_applied(&rig, 1));
    rig_deinit(&rig);
}

/* If nobody gives the state, it takes part again in between, and votes; and if the entry can
 * be read by then, that was all. */
static void takes_part_between_the_rounds(void)
{
    uint64_t bad;
    bool awake = false;

    begin(3);
    bad = spoil(3);
    rig.nodes[3].hold_pull = true;
    CHECK_INT(rig_start(&rig, 3), 0);
    for (int i = 0; i < 20 && !awake; i++) {
        rig_run(&rig, 600);
        if (rig.nodes[3].pulls > 0 && status_of(3).pulling) {
            rig_pull_done(&rig, 3, 1, -EIO);
        }
        awake = rig.nodes[3].pulls > 0 && !status_of(3).pulling;
    }
    CHECK(awake);
    CHECK_UINT(rig.nodes[3].pulls, 6);
    rig_write(&rig, 1, 60, 1, 100);
    rig_run(&rig, 500);
    CHECK_UINT(rig.nodes[3].last, rig.nodes[1].last);
    CHECK_UINT(status_of(3).unreadable_index, bad);
    rig_run(&rig, 6000);
    CHECK_UINT(rig.nodes[3].pulls, 7);
    rig.nodes[3].bad_index = 0;
    for (int i = 0; i < 20 && status_of(3).unreadable_index != 0; i++) {
        if (status_of(3).pulling) {
            rig_pull_done(&rig, 3, 1, -EIO);
        }
        rig_run(&rig, 600);
    }
    rig_run(&rig, 1000);
    CHECK_UINT(rig_applied(&rig, 3), rig_applied(&rig, 1));
    CHECK_UINT(rig.nodes[3].failed, 0);
    rig_deinit(&rig);
}

/* Make member 1, which cannot read the entry, lead: it alone has the end of the log, and
 * the others do not hear each other. */
static void lead_with_it(void)
{
    begin(3);
    rig_run(&rig, 300);
    rig.nodes[1].hold_zone = true;
    rig_write(&rig, 1, 10, 10, 100);
    rig_run(&rig, 300);
    rig.nodes[2].no_entries = rig.nodes[3].no_entries = true;
    rig_write(&rig, 1, 30, 1, 100);
    rig_stop(&rig, 1);
    rig.nodes[2].no_entries = rig.nodes[3].no_entries = false;
    rig.nodes[1].hold_zone = false;
    rig.nodes[1].bad_index = rig.nodes[1].applied + 3;
    rig.nodes[1].hold_pull = true;
    rig.nodes[1].hold_fetch = true;
    (void)rig_trace(&rig);
    rig_cut(&rig, 2, 3, true);
    CHECK_INT(rig_start(&rig, 1), 0);
    for (int i = 0; i < 2000 && status_of(1).state != RGROUP_LEADER; i++) {
        rig_run(&rig, 10);
    }
    CHECK_INT(status_of(1).state, RGROUP_LEADER);
    CHECK(rig.nodes[1].fetch_n > 0);
}

/* It is read now, and cannot be. */
static void meet_it(void)
{
    rig.nodes[1].hold_fetch = false;
    rig_fetch_done(&rig, 1);
}

/* The one that leads cannot read it: it hands over, and only then takes the state. */
static void leader_hands_over(void)
{
    uint64_t leader;

    lead_with_it();
    meet_it();
    CHECK_INT(status_of(1).state, RGROUP_LEADER);
    for (int i = 0; i < 1000 && rig.nodes[1].pulls == 0; i++) {
        rig_run(&rig, 10);
    }
    CHECK_UINT(rig.nodes[1].pulls, 1);
    leader = status_of(2).state == RGROUP_LEADER ? 2 : 3;
    CHECK_INT(status_of(leader).state, RGROUP_LEADER);
    rig_cut(&rig, 2, 3, false);
    rig_run(&rig, 3000);
    rig_pull_done(&rig, 1, leader, 0);
    CHECK_UINT(status_of(1).unreadable_index, 0);
    rig_run(&rig, 1000);
    rig_write(&rig, leader, 80, 2, 100);
    rig_run(&rig, 1000);
    CHECK_UINT(rig_applied(&rig, 1), rig_applied(&rig, 2));
    CHECK_UINT(rig_applied(&rig, 1), rig_applied(&rig, 3));
    CHECK_UINT(rig.nodes[1].failed, 0);
    rig_deinit(&rig);
}

/* Nobody takes over, as what is to make them lead is lost: it steps aside all the same, and
 * who asked it is told that nothing is certain. */
static void leader_steps_aside(void)
{
    lead_with_it();
    rig.nodes[2].no_msgs = true;
    rig.nodes[3].no_msgs = true;
    rig_submit(&rig, 1, 90, 100);
    rig_flush(&rig, 1);
    meet_it();
    for (int i = 0; i < 1000 && rig.nodes[1].pulls == 0; i++) {
        rig_run(&rig, 10);
    }
    CHECK_UINT(rig.nodes[1].pulls, 1);
    CHECK_INT(status_of(1).state, RGROUP_FOLLOWER);
    CHECK(strstr(rig_trace(&rig), "1 answer 90 ") != NULL);
    rig.nodes[2].no_msgs = false;
    rig.nodes[3].no_msgs = false;
    rig_cut(&rig, 2, 3, false);
    rig_run(&rig, 5000);
    CHECK(status_of(2).state == RGROUP_LEADER || status_of(3).state == RGROUP_LEADER);
    rig_pull_done(&rig, 1, 2, 0);
    rig_run(&rig, 3000);
    CHECK_UINT(rig_applied(&rig, 1), rig_applied(&rig, 2));
    CHECK_UINT(rig.nodes[1].failed, 0);
    rig_deinit(&rig);
}

/* A leader cannot read what only it has, and so can send nothing of what came after: it
 * steps aside, the others elect one of them, and its log takes the entry's place. */
static void leader_alone_with_it(void)
{
    uint64_t bad;
    uint64_t leader;

    begin(3);
    rig_run(&rig, 300);
    rig.nodes[2].no_entries = rig.nodes[3].no_entries = true;
    rig_write(&rig, 1, 10, 3, 100);
    rig_stop(&rig, 1);
    rig.nodes[2].no_entries = rig.nodes[3].no_entries = false;
    bad = rig.nodes[1].last - 1;
    rig.nodes[1].bad_index = bad;
    rig_cut(&rig, 2, 3, true);
    CHECK_INT(rig_start(&rig, 1), 0);
    for (int i = 0; i < 2000 && status_of(1).state != RGROUP_LEADER; i++) {
        rig_run(&rig, 10);
    }
    CHECK_INT(status_of(1).state, RGROUP_LEADER);
    rig_cut(&rig, 2, 3, false);
    rig_run(&rig, 1000);
    CHECK_UINT(status_of(1).unreadable_index, bad);
    CHECK(status_of(2).last_index < bad);
    rig_run(&rig, 12000);
    CHECK_UINT(rig.nodes[1].pulls, 0);
    leader = status_of(2).state == RGROUP_LEADER ? 2 : 3;
    CHECK_INT(status_of(leader).state, RGROUP_LEADER);
    CHECK_UINT(status_of(1).unreadable_index, 0);
    rig_write(&rig, leader, 80, 5, 100);
    rig_run(&rig, 1000);
    CHECK_UINT(rig_applied(&rig, 1), rig_applied(&rig, leader));
    CHECK(rig_applied(&rig, 1) >= bad);
    CHECK_UINT(rig.nodes[1].failed, 0);
    rig_deinit(&rig);
}

/* It steps aside with a batch under way, which a full disk then sends back: when it takes
 * part again, that is not durable, and not there. */
static void sent_back_while_it_is_aside(void)
{
    struct rig_node *node = &rig.nodes[1];
    uint64_t last;

    begin(3);
    rig_run(&rig, 300);
    rig.nodes[2].no_entries = rig.nodes[3].no_entries = true;
    rig_write(&rig, 1, 10, 3, 100);
    rig_stop(&rig, 1);
    node->bad_index = node->last - 1;
    rig_cut(&rig, 2, 3, true);
    CHECK_INT(rig_start(&rig, 1), 0);
    for (int i = 0; i < 2000 && status_of(1).state != RGROUP_LEADER; i++) {
        rig_run(&rig, 10);
    }
    CHECK_INT(status_of(1).state, RGROUP_LEADER);
    node->hold_journal = true;
    last = status_of(1).last_index;
    rig_submit(&rig, 1, 90, 100);
    rig_flush(&rig, 1);
    CHECK(node->n_tickets > 0);
    for (int i = 0; i < 1000 && status_of(1).state == RGROUP_LEADER; i++) {
        rig_run(&rig, 10);
    }
    CHECK(status_of(1).pulling);
    rig_cut(&rig, 1, 2, true);
    rig_cut(&rig, 1, 3, true);
    node->full_journal = true;
    node->hold_journal = false;
    rig_journal_done(&rig, 1);
    CHECK_UINT(status_of(1).last_index, last + 1);
    for (int i = 0; i < 1000 && status_of(1).pulling; i++) {
        rig_run(&rig, 10);
    }
    CHECK(!status_of(1).pulling);
    CHECK_UINT(status_of(1).last_index, last);
    CHECK_UINT(node->failed, 0);
    rig_deinit(&rig);
}

/* Two members: the other knows of the entry only through this one, which has to lead for a
 * while before it can be helped. */
static void of_two_the_other_learns_first(void)
{
    begin(2);
    rig.nodes[2].hold_zone = true;
    (void)spoil(1);
    rig.nodes[2].hold_zone = false;
    rig_zone_done(&rig, 2);
    CHECK_INT(rig_start(&rig, 1), 0);
    rig_run(&rig, 20000);
    CHECK(rig.nodes[1].pulls > 0);
    CHECK_UINT(status_of(1).unreadable_index, 0);
    CHECK_UINT(rig.nodes[1].failed, 0);
    CHECK_UINT(rig_applied(&rig, 1), rig_applied(&rig, 2));
    rig_deinit(&rig);
}

/* A sole voter has nobody whose word counts: it stops, and says why. */
static void sole_voter_stops(void)
{
    begin(1);
    (void)spoil(1);
    (void)rig_start(&rig, 1);
    rig_run(&rig, 3000);
    CHECK_UINT(rig.nodes[1].failed, 1);
    CHECK_UINT(rig.nodes[1].pulls, 0);
    CHECK(strstr(rig_trace(&rig), "1 fail -5\n") != NULL);
    rig_deinit(&rig);
}

/* Batches that a full disk sent back while a pull began are not durable: when the pull comes
 * to nothing and the member takes part again, it does not say that they are. */
static void sent_back_is_not_durable(void)
{
    struct rig_node *node = &rig.nodes[3];
    uint64_t bad;

    begin(3);
    bad = spoil(3);
    node->hold_pull = true;
    node->hold_fetch = true;
    CHECK_INT(rig_start(&rig, 3), 0);
    rig_run(&rig, 1000);
    CHECK_UINT(node->fetch_n > 0, 1);
    node->hold_journal = true;
    rig_write(&rig, 1, 50, 4, 100);
    CHECK(node->n_tickets > 0);
    node->hold_fetch = false;
    rig_fetch_done(&rig, 3); /* What can be read, */
    rig_zone_done(&rig, 3);
    CHECK_UINT(status_of(3).unreadable_index, bad);
    node->full_journal = true;
    rig_journal_done(&rig, 3);
    for (int i = 0; i < 40 && (node->pulls < 6 || status_of(3).pulling); i++) {
        if (node->pulls > 0 && status_of(3).pulling) {
            rig_pull_done(&rig, 3, 1, -ENOSPC);
        }
        rig_run(&rig, 600);
    }
    CHECK(!status_of(3).pulling);
    CHECK_UINT(node->failed, 0);
    node->full_journal = false;
    node->hold_journal = false;
    rig_journal_done(&rig, 3);
    rig_run(&rig, 3000);
    CHECK_UINT(status_of(3).last_index, node->last);
    CHECK_UINT(node->last, rig.nodes[1].last);
    rig_deinit(&rig);
}

TEST_MAIN(CHECK_TEST(follower_takes_the_state), CHECK_TEST(deaf_while_it_pulls),
          CHECK_TEST(keeps_what_it_acknowledged), CHECK_TEST(older_state_is_refused),
          CHECK_TEST(state_of_a_later_term), CHECK_TEST(later_term_after_a_crash),
          CHECK_TEST(takes_part_between_the_rounds), CHECK_TEST(leader_hands_over),
          CHECK_TEST(leader_steps_aside), CHECK_TEST(leader_alone_with_it),
          CHECK_TEST(sent_back_while_it_is_aside),
          CHECK_TEST(of_two_the_other_learns_first), CHECK_TEST(sole_voter_stops),
          CHECK_TEST(sent_back_is_not_durable))
