/* Rules that are broken without a trace in most runs: each test is the one history in
 * which it shows. */
#include "base/outcome.h"
#include "base/wire.h"
#include "lib/check.h"
#include "replica_rig.h"

#include <errno.h>
#include <string.h>

/* Past the time in which a member that was just started does not vote (G12). */
#define VOTES_AGAIN_MS 1200u

/* Too large for a stack; each test begins with an empty one. */
static struct rig rig;

static void begin(uint32_t n, uint64_t journal_bytes_max)
{
    memset(&rig, 0, sizeof rig);
    rig.journal_bytes_max = journal_bytes_max;
    rig_init(&rig, n);
}

/* Elect another leader while @late is not even ticked, so that it does not learn how late
 * it is. Returns the new one. */
static uint64_t elect_without(uint64_t late)
{
    struct replica_event event = {.type = REPLICA_EV_TICK};
    struct replica_status status = {0};

    for (int i = 0; i < 1000; i++) {
        rig.now_ms += 10;
        for (uint64_t id = 1; id <= rig.n; id++) {
            if (id == late) {
                continue;
            }
            (void)rig_step(&rig, id, &event);
            rig_settle(&rig);
            rig_status(&rig, id, &status);
            if (status.state == RGROUP_LEADER &&
                status.commit_index == status.last_index) {
                return id;
            }
        }
    }
    CHECK_FAIL("nobody was elected");
    return 0;
}

static void hand_over(uint64_t from, uint64_t to)
{
    struct replica_event event = {.type = REPLICA_EV_TRANSFER, .from = to, .token = 999};
    struct replica_status status;

    (void)rig_step(&rig, from, &event);
    rig_run(&rig, 1000);
    rig_status(&rig, to, &status);
    CHECK_INT(status.state, RGROUP_LEADER);
    (void)rig_trace(&rig);
}

static const struct rig_frame *frame_at(uint32_t i)
{
    return &rig.frames[(rig.at + i) % RIG_FRAMES_MAX];
}

/* The last frame under way from @from to @to of this type; NULL: none. */
static const struct rig_frame *under_way(uint64_t from, uint64_t to, uint8_t type)
{
    for (uint32_t i = rig.n_frames; i > 0; i--) {
        const struct rig_frame *frame = frame_at(i - 1);

        if (frame->from == from && frame->to == to && frame->type == type) {
            return frame;
        }
    }
    return NULL;
}

static void msg_of(const struct rig_frame *frame, struct rgroup_msg *msg)
{
    struct wire_dec dec = wire_dec(frame->head.data, frame->head.len);

    CHECK_UINT(wire_get_u8(&dec), 1);
    CHECK_INT(rgroup_msg_get(&dec, msg), 0);
}

/* A frame that comes to @id, now and whatever is cut. */
static void comes(uint64_t id, uint64_t from, uint8_t type, struct slice head)
{
    struct replica_event event = {
        .type = REPLICA_EV_FRAME, .from = from, .frame_type = type, .head = head};

    CHECK_INT(rig_step(&rig, id, &event), 0);
}

/* Who has moved to a later term does not tell the leader of an earlier one that it leads
 * still: the later one's writes would be missing from the read. */
static void later_term_answers_no_probe(void)
{
    uint64_t leader;

    begin(3, 0);
    rig_elect(&rig, 1);
    rig_cut(&rig, 1, 2, true);
    rig_cut(&rig, 1, 3, true);
    leader = elect_without(1);
    rig_write(&rig, leader, 10, 1, 100);
    CHECK(strstr(rig_trace(&rig), " answer 10 OK\n") != NULL);
    rig_cut(&rig, 1, 5 - leader, false); /* The third, who follows the new one. */
    rig_read(&rig, 1, 20);
    CHECK(under_way(1, 5 - leader, REPLICA_FRAME_PROBE) != NULL);
    rig_settle(&rig);
    CHECK_STR(rig_trace(&rig), "");
    rig_deinit(&rig);
}

/* An answer to an earlier round says nothing about this one, however late it comes. */
static void old_answer_to_a_probe(void)
{
    const struct rig_frame *frame;
    struct slice old;

    begin(3, 0);
    rig_elect(&rig, 1);
    rig.cut[2][1] = true;
    rig_read(&rig, 1, 20);
    frame = under_way(1, 3, REPLICA_FRAME_PROBE);
    CHECK(frame != NULL);
    comes(3, 1, REPLICA_FRAME_PROBE, frame->head);
    frame = under_way(3, 1, REPLICA_FRAME_PROBE_ACK);
    CHECK(frame != NULL);
    old = slice_ref(frame->head);
    rig_settle(&rig);
    CHECK_STR(rig_trace(&rig), "1 read 20 at 2\n");
    rig_cut(&rig, 1, 2, true);
    rig_cut(&rig, 1, 3, true);
    rig_write(&rig, elect_without(1), 10, 1, 100);
    CHECK(strstr(rig_trace(&rig), " answer 10 OK\n") != NULL);
    rig_read(&rig, 1, 21);
    comes(1, 3, REPLICA_FRAME_PROBE_ACK, old);
    CHECK_STR(rig_trace(&rig), "");
    slice_unref(&old);
    rig_deinit(&rig);
}

/* Nor does anybody answer before its own term is on its disk: after a crash it would be
 * in the term before, and might vote there. */
static void probe_answered_when_durable(void)
{
    begin(3, 0);
    rig_elect(&rig, 1);
    rig_connect(&rig, 1, 3, false);
    rig_connect(&rig, 2, 3, false);
    hand_over(1, 2);
    rig_connect(&rig, 1, 2, false);
    rig.nodes[3].hold_journal = true;
    rig_connect(&rig, 2, 3, true);
    rig_run(&rig, 200);
    CHECK(rig.nodes[3].n_tickets > 0); /* The term that it heard of. */
    rig_read(&rig, 2, 20);
    rig_settle(&rig);
    CHECK_STR(rig_trace(&rig), "");
    rig_journal_done(&rig, 3);
    rig.nodes[3].hold_journal = false;
    rig_settle(&rig);
    CHECK_STR(rig_trace(&rig), "2 read 20 at 3\n");
    rig_deinit(&rig);
}

static void ask_for_vote(uint64_t id, uint64_t candidate, uint64_t term)
{
    struct rgroup_msg msg = {.type = RGROUP_MSG_VOTE,
                             .version = 2,
                             .term = term,
                             .index = 1,
                             .index_term = 1,
                             .candidate = candidate};
    uint8_t bytes[256] = {1}; /* The frame's version. */
    struct wire_enc enc = wire_enc(bytes + 1, sizeof bytes - 1);

    rgroup_msg_put(&enc, &msg);
    comes(id, candidate, REPLICA_FRAME_MSG, slice_borrow(bytes, 1 + enc.len));
}

static bool has_voted_for(uint64_t id, uint64_t candidate, uint64_t term)
{
    const struct rig_frame *frame = under_way(id, candidate, REPLICA_FRAME_MSG);
    struct rgroup_msg msg = {0};

    CHECK(frame != NULL);
    msg_of(frame, &msg);
    CHECK_INT(msg.type, RGROUP_MSG_VOTE_RESULT);
    CHECK_UINT(msg.term, term);
    return msg.granted;
}

static bool votes_for(uint64_t id, uint64_t candidate, uint64_t term)
{
    ask_for_vote(id, candidate, term);
    return has_voted_for(id, candidate, term);
}

/* A vote that met a full disk is written when there is room, and then heard of. */
static void vote_behind_a_full_disk(void)
{
    struct replica_event tick = {.type = REPLICA_EV_TICK};
    uint32_t metas;

    begin(3, 0);
    rig.now_ms += VOTES_AGAIN_MS;
    rig.nodes[2].full_journal = true;
    ask_for_vote(2, 1, 5);
    CHECK(under_way(2, 1, REPLICA_FRAME_MSG) == NULL);
    metas = rig.nodes[2].metas;
    rig.nodes[2].full_journal = false;
    rig.now_ms += 600; /* It tries again twice a second. */
    (void)rig_step(&rig, 2, &tick);
    CHECK_UINT(rig.nodes[2].metas, metas + 1);
    CHECK(has_voted_for(2, 1, 5));
    rig_deinit(&rig);
}

/* A vote that was given in a life before is not given again, to anybody else. */
static void vote_outlives_a_restart(void)
{
    begin(3, 0);
    rig.now_ms += VOTES_AGAIN_MS;
    CHECK(votes_for(2, 1, 5));
    rig_stop(&rig, 2);
    CHECK_INT(rig_start(&rig, 2), 0);
    rig.now_ms += VOTES_AGAIN_MS;
    CHECK(!votes_for(2, 3, 5));
    CHECK(votes_for(2, 1, 5));
    CHECK_UINT(rig.nodes[2].vote, 1);
    rig_deinit(&rig);
}

/* Entries that replace others are not on the disk because those were: nothing of them is
 * applied before they are written. */
static void replaced_entries_are_not_durable(void)
{
    uint64_t common;
    uint64_t leader;

    begin(3, 0);
    rig_elect(&rig, 1);
    common = rig.nodes[1].last;
    rig_connect(&rig, 1, 2, false);
    rig_connect(&rig, 1, 3, false);
    rig_write(&rig, 1, 10, 5, 100); /* On its own disk only. */
    CHECK_UINT(rig.nodes[1].last, common + 5);
    leader = elect_without(1);
    rig_write(&rig, leader, 20, 3, 100);
    rig.nodes[1].hold_journal = true;
    rig_connect(&rig, 1, leader, true);
    rig_run(&rig, 1500);
    CHECK_UINT(rig.nodes[1].last, rig.nodes[leader].last); /* Under way to the disk, */
    CHECK_UINT(rig_applied(&rig, 1), common);
    CHECK_UINT(rig.nodes[1].apply_n, 0);
    rig.nodes[1].hold_journal = false;
    rig_journal_done(&rig, 1);
    rig_run(&rig, 200);
    CHECK_UINT(rig_applied(&rig, 1), rig_applied(&rig, leader)); /* and there. */
    rig_deinit(&rig);
}

/* A change of members leaves its leader only when it is on the leader's own disk (G10);
 * other entries need not wait. */
static void change_is_sent_when_durable(void)
{
    struct rgroup_conf conf = {.n = 3,
                               .servers = {{.id = 1, .role = RGROUP_VOTER},
                                           {.id = 2, .role = RGROUP_VOTER},
                                           {.id = 3, .role = RGROUP_STANDBY}}};
    struct replica_event change = {.type = REPLICA_EV_CHANGE, .token = 50, .conf = &conf};
    uint64_t last;

    begin(3, 0);
    rig_elect(&rig, 1);
    last = rig.nodes[2].last;
    rig.nodes[1].hold_journal = true;
    rig_write(&rig, 1, 10, 1, 100);
    CHECK_UINT(rig.nodes[2].last, last + 1);
    (void)rig_step(&rig, 1, &change);
    rig_run(&rig, 500);
    CHECK_UINT(rig.nodes[1].last, last + 2);
    CHECK_UINT(rig.nodes[2].last, last + 1);
    rig.nodes[1].hold_journal = false;
    rig_journal_done(&rig, 1);
    rig_run(&rig, 200);
    CHECK_UINT(rig.nodes[2].last, last + 2);
    rig_deinit(&rig);
}

/* The end of a journal batch may be told late where another member's word is needed
 * before anybody can go on: of a leader's proposals. Not of what a follower acknowledges,
 * of a change, which is sent only once it is durable here, nor of a sole voter's. */
static void calm_batches(void)
{
    struct rgroup_conf conf = {.n = 3,
                               .servers = {{.id = 1, .role = RGROUP_VOTER},
                                           {.id = 2, .role = RGROUP_VOTER},
                                           {.id = 3, .role = RGROUP_STANDBY}}};
    struct replica_event change = {.type = REPLICA_EV_CHANGE, .token = 50, .conf = &conf};
    uint32_t calms;
    uint32_t journals;

    begin(3, 0);
    rig_elect(&rig, 1);
    rig_run(&rig, 500);
    calms = rig.nodes[1].calms;
    rig_write(&rig, 1, 10, 5, 100);
    CHECK_UINT(rig.nodes[1].calms, calms + 5);
    CHECK_UINT(rig.nodes[2].calms, 0);
    journals = rig.nodes[1].journals;
    (void)rig_step(&rig, 1, &change);
    rig_run(&rig, 500);
    CHECK(rig.nodes[1].journals > journals);
    CHECK_UINT(rig.nodes[1].calms, calms + 5);
    rig_deinit(&rig);

    begin(1, 0);
    rig_elect(&rig, 1);
    rig_write(&rig, 1, 10, 5, 100);
    CHECK_UINT(rig.nodes[1].calms, 0);
    rig_deinit(&rig);
}

/* Every APPEND under way vouches for what it calls committed. */
static uint32_t check_commits(uint64_t to)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < rig.n_frames; i++) {
        const struct rig_frame *frame = frame_at(i);
        struct rgroup_msg msg = {0};

        if (frame->to == to && frame->type == REPLICA_FRAME_APPEND) {
            msg_of(frame, &msg);
            CHECK(msg.commit <= msg.index + msg.n);
            n++;
        }
    }
    return n;
}

/* The commit index told to a follower never lies beyond what the same message shows to be
 * in its log: what it has there may be of another leader. */
static void commit_is_held_down(void)
{
    struct replica_event tick = {.type = REPLICA_EV_TICK};
    uint32_t seen = 0;

    begin(3, 0);
    rig_elect(&rig, 1);
    rig.nodes[3].hold_journal = true; /* So that only beats are sent in the end. */
    rig_write(&rig, 1, 10, 12, 1u << 20);
    CHECK(rig_applied(&rig, 1) > 10);
    for (unsigned i = 0; i < 50; i++) {
        rig.now_ms += 20;
        (void)rig_step(&rig, 1, &tick);
        seen += check_commits(3);
        rig_settle(&rig);
    }
    CHECK(seen > 5);
    rig_deinit(&rig);
}

/* A state that was switched in just before a crash, into a log that has other entries
 * there and beyond: the log is dropped, for none of them was ever committed. */
static void state_beside_the_log(void)
{
    struct rig_node *late = &rig.nodes[3];
    uint64_t leader;

    begin(3, 0);
    rig_elect(&rig, 3);
    rig_connect(&rig, 3, 1, false);
    rig_connect(&rig, 3, 2, false);
    rig_write(&rig, 3, 100, 60, 100);
    leader = elect_without(3);
    rig_write(&rig, leader, 200, 30, 100);
    rig_stop(&rig, 3);
    CHECK(late->last > rig.nodes[leader].last);
    late->applied = rig.nodes[leader].applied;
    late->applied_term = rig.nodes[leader].applied_term;
    CHECK(late->log[late->applied % RIG_LOG_MAX].term != late->applied_term);
    memcpy(late->snapshot_conf, rig.nodes[leader].conf, rig.nodes[leader].conf_len);
    late->has_snapshot = true;
    late->snapshot = (struct rgroup_snapshot){.index = late->applied,
                                              .term = late->applied_term,
                                              .conf_index = rig.nodes[leader].conf_index,
                                              .conf = late->snapshot_conf,
                                              .conf_len = rig.nodes[leader].conf_len};
    late->term = late->applied_term;
    CHECK_INT(rig_start(&rig, 3), 0);
    CHECK_UINT(late->base_index, late->applied);
    CHECK_UINT(late->last, late->applied);
    rig_run(&rig, 1500);
    rig_write(&rig, leader, 300, 5, 100);
    rig_run(&rig, 200);
    CHECK_UINT(rig_applied(&rig, 3), rig_applied(&rig, leader));
    CHECK_UINT(late->pulls, 0);
    rig_deinit(&rig);
}

enum busy { BUSY_JOURNAL, BUSY_ZONE, BUSY_SNAPSHOT };

/* Node 3 has something under way and then hears that the log it needs is gone. */
static void pull_waits_for(enum busy busy)
{
    struct rig_node *late = &rig.nodes[3];

    begin(3, 1u << 20);
    rig_elect(&rig, 1);
    rig_write(&rig, 1, 10, 100, 100);
    rig_run(&rig, 200);
    late->hold_journal = busy == BUSY_JOURNAL;
    late->hold_zone = busy == BUSY_ZONE;
    late->hold_snapshot = busy == BUSY_SNAPSHOT;
    rig_write(&rig, 1, 200, 1, 100);
    rig_run(&rig, 200);
    if (busy == BUSY_SNAPSHOT) {
        rig_disk(&rig, 3, 1000u << 10);
        rig_run(&rig, 200);
        CHECK_UINT(late->snapshots, 1);
    }
    late->no_entries = true;
    rig_write(&rig, 1, 300, 200, 4000);
    rig_disk(&rig, 1, 1000u << 10); /* Tight: nobody is waited for. */
    rig_run(&rig, 300);
    CHECK(rig.nodes[1].base_index > late->last);
    rig_connect(&rig, 1, 3, false);
    rig_connect(&rig, 1, 3, true);
    rig_run(&rig, 3000);
    CHECK_UINT(late->pulls, 0);
    late->no_entries = false;
    late->hold_journal = false;
    late->hold_zone = false;
    late->hold_snapshot = false;
    if (busy == BUSY_JOURNAL) {
        rig_journal_done(&rig, 3);
    } else if (busy == BUSY_ZONE) {
        rig_zone_done(&rig, 3);
    } else {
        rig_snapshot_done(&rig, 3);
    }
    rig_run(&rig, 1500);
    CHECK_UINT(late->pulls, 1);
    CHECK_UINT(rig_applied(&rig, 3), rig_applied(&rig, 1));
    rig_deinit(&rig);
}

/* A pull begins when nothing is under way on this member's disk: what was would write
 * into the state or the log that the pull replaces. */
static void pull_begins_at_rest(void)
{
    pull_waits_for(BUSY_JOURNAL);
    pull_waits_for(BUSY_ZONE);
    pull_waits_for(BUSY_SNAPSHOT);
}

/* Member 3 has cut its log to its snapshot, whose term is not the present one, has gone on
 * from there, and is then offered a state that it cannot get: what it has taken and
 * acknowledged since is still its log. */
static void cut_keeps_its_term(void)
{
    struct rig_node *late = &rig.nodes[3];
    struct replica_status status;
    uint64_t term;
    uint64_t last;

    begin(3, 1u << 20);
    rig_elect(&rig, 1);
    rig_write(&rig, 1, 100, 100, 100);
    rig_write(&rig, 1, 200, 1, 60000); /* More than the tail that is kept. */
    rig_run(&rig, 200);
    term = rig.nodes[1].term;
    late->no_entries = true;
    hand_over(1, 2);
    rig_disk(&rig, 3, 1000u << 10);
    rig_run(&rig, 200);
    CHECK_UINT(late->base_index, late->last);
    CHECK_UINT(late->base_term, term);
    CHECK(late->term > term);
    rig_disk(&rig, 3, 0);
    late->no_entries = false;
    rig_run(&rig, 2000);
    rig_write(&rig, 2, 300, 10, 100);
    rig_run(&rig, 200);
    last = late->last;
    CHECK_UINT(last, rig.nodes[2].last);
    late->no_entries = true;
    late->hold_pull = true;
    rig_write(&rig, 2, 400, 200, 4000);
    rig_disk(&rig, 2, 1000u << 10);
    rig_connect(&rig, 2, 3, false);
    rig_connect(&rig, 2, 3, true);
    for (uint32_t i = 1; i <= 6; i++) {
        rig_run(&rig, 2000);
        CHECK_UINT(late->pulls, i);
        /* The leader first, then the others too: one may give it where another cannot. */
        CHECK_UINT(late->pull_from, i % 2 == 1 ? 2 : 1);
        rig_pull_done(&rig, 3, late->pull_from, -EIO);
    }
    rig_connect(&rig, 2, 3, false);
    rig_run(&rig, 700);
    rig_status(&rig, 3, &status);
    CHECK(!status.pulling);
    CHECK_UINT(status.last_index, last);
    rig_deinit(&rig);
}

/* Another one leads while a state is pulled: it is the next that is asked, whoever's turn it
 * is. The one that led before may have left, and a new member may know of no other. */
static void pull_from_who_leads_now(void)
{
    struct rig_node *late = &rig.nodes[3];

    begin(3, 1u << 20);
    rig_elect(&rig, 1);
    rig_write(&rig, 1, 100, 10, 100);
    rig_run(&rig, 200);
    late->no_entries = true;
    late->hold_pull = true;
    rig_write(&rig, 1, 200, 200, 4000);
    rig_disk(&rig, 1, 1000u << 10);
    rig_connect(&rig, 1, 3, false);
    rig_connect(&rig, 1, 3, true);
    rig_run(&rig, 2000);
    CHECK_UINT(late->pulls, 1);
    CHECK_UINT(late->pull_from, 1);
    rig_pull_done(&rig, 3, 1, -EIO);
    rig_run(&rig, 700);
    CHECK_UINT(late->pull_from, 2);
    hand_over(1, 2);
    rig_run(&rig, 200);
    CHECK_UINT(late->pulls, 2);
    rig_pull_done(&rig, 3, 2, -EIO);
    rig_run(&rig, 700);
    CHECK_UINT(late->pulls, 3);
    CHECK_UINT(late->pull_from, 2);
    rig_pull_done(&rig, 3, 2, -EIO);
    rig_run(&rig, 700);
    CHECK_UINT(late->pull_from, 1);
    late->no_entries = false;
    rig_pull_done(&rig, 3, 1, 0);
    rig_run(&rig, 500);
    CHECK_UINT(rig_applied(&rig, 3), rig_applied(&rig, 2));
    rig_deinit(&rig);
}

TEST_MAIN(CHECK_TEST(pull_from_who_leads_now), CHECK_TEST(later_term_answers_no_probe),
          CHECK_TEST(old_answer_to_a_probe), CHECK_TEST(probe_answered_when_durable),
          CHECK_TEST(vote_outlives_a_restart), CHECK_TEST(vote_behind_a_full_disk),
          CHECK_TEST(replaced_entries_are_not_durable),
          CHECK_TEST(change_is_sent_when_durable), CHECK_TEST(calm_batches),
          CHECK_TEST(commit_is_held_down), CHECK_TEST(state_beside_the_log),
          CHECK_TEST(pull_begins_at_rest), CHECK_TEST(cut_keeps_its_term))
