#include "base/outcome.h"
#include "lib/check.h"
#include "replica_rig.h"
#include "zone/op.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Too large for a stack; each test begins with an empty one. */
static struct rig rig;

static void begin(uint32_t n)
{
    memset(&rig, 0, sizeof rig);
    rig_init(&rig, n);
}

/* An op is answered when a majority has it on disk and it is applied here, not when it
 * was proposed: that is what FILE_SYNC promises. */
static void answered_when_committed(void)
{
    begin(3);
    rig_elect(&rig, 1);
    rig_connect(&rig, 1, 3, false);
    rig.nodes[2].hold_journal = true;
    rig_write(&rig, 1, 50, 1, 100);
    CHECK_STR(rig_trace(&rig), "");
    rig_journal_done(&rig, 2);
    rig_settle(&rig);
    CHECK_STR(rig_trace(&rig), "1 answer 50 OK\n");
    rig_deinit(&rig);
}

/* The leader sends while it writes: followers may commit an entry before it is on the
 * leader's own disk, but the leader applies it only then. */
static void sent_while_written(void)
{
    begin(3);
    rig_elect(&rig, 1);
    rig.nodes[1].hold_journal = true;
    rig_write(&rig, 1, 51, 1, 100);
    CHECK_UINT(rig.nodes[2].last, rig.nodes[1].last);
    CHECK_STR(rig_trace(&rig), "");
    rig_journal_done(&rig, 1);
    rig_settle(&rig);
    CHECK_STR(rig_trace(&rig), "1 answer 51 OK\n");
    rig_deinit(&rig);
}

/* Ops of one loop turn are one journal batch and one frame to each follower; that is
 * where throughput comes from. */
static void turn_is_one_batch(void)
{
    uint32_t journals;

    begin(3);
    rig_elect(&rig, 1);
    journals = rig.nodes[1].journals;
    rig.appends = 0;
    for (uint64_t token = 1; token <= 40; token++) {
        rig_submit(&rig, 1, token, 100);
    }
    CHECK_UINT(rig.nodes[1].journals, journals);
    rig_flush(&rig, 1);
    CHECK_UINT(rig.nodes[1].journals, journals + 1);
    CHECK_UINT(rig.appends, 2);
    rig_settle(&rig);
    CHECK_UINT(rig_applied(&rig, 1), rig.nodes[1].last);
    rig_deinit(&rig);
}

/* While two batches are being written, the rest gathers in one more: at most two
 * outstanding, however many turns pass. */
static void two_batches_outstanding(void)
{
    begin(1);
    rig_run(&rig, 100);
    rig.nodes[1].hold_journal = true;
    for (uint64_t token = 1; token <= 10; token++) {
        rig_submit(&rig, 1, token, 100);
        rig_flush(&rig, 1);
    }
    CHECK_UINT(rig.nodes[1].n_tickets, 2);
    CHECK_UINT(rig.nodes[1].tickets[1].n, 1);
    rig.nodes[1].hold_journal = false;
    rig_journal_done(&rig, 1);
    CHECK_UINT(rig_applied(&rig, 1), rig.nodes[1].last);
    rig_deinit(&rig);
}

/* No vote leaves before it is on disk: a server that forgets its vote in a crash would
 * vote twice. */
static void vote_after_durable(void)
{
    struct replica_event event = {.type = REPLICA_EV_TICK};
    struct replica_status status;

    begin(3);
    rig.now_ms += 1200; /* Past the time in which a fresh server does not vote. */
    rig.nodes[2].hold_journal = true;
    rig.nodes[3].hold_journal = true;
    for (int i = 0; i < 300; i++) {
        rig.now_ms += 10;
        (void)rig_step(&rig, 1, &event);
        rig_settle(&rig);
    }
    CHECK(rig.nodes[2].n_tickets > 0); /* Its vote is being written, */
    rig_status(&rig, 1, &status);
    CHECK(status.state != RGROUP_LEADER); /* and has not been heard of. */
    rig_deinit(&rig);
}

/* Proposals that a deposed leader could not finish are in doubt; a proposal to a
 * follower was certainly not made, and names the leader. */
static void doubt_and_hint(void)
{
    begin(3);
    rig_elect(&rig, 1);
    rig_submit(&rig, 2, 60, 10);
    CHECK_STR(rig_trace(&rig), "2 answer 60 NOT_LEADER leader 1\n");
    rig_connect(&rig, 1, 2, false);
    rig_connect(&rig, 1, 3, false);
    rig_submit(&rig, 1, 61, 10);
    rig_flush(&rig, 1);
    rig_run(&rig, 4000);
    CHECK_STR(rig_trace(&rig), "1 answer 61 TRY_LATER\n");
    rig_connect(&rig, 1, 2, true);
    rig_connect(&rig, 1, 3, true);
    rig_run(&rig, 500);
    for (uint64_t id = 1; id <= 3; id++) {
        CHECK_UINT(rig.nodes[id].last, rig.nodes[2].last);
        CHECK_UINT(rig_applied(&rig, id), rig_applied(&rig, 2));
    }
    rig_deinit(&rig);
}

/* A leader that was cut off does not answer reads: a newer one may have written. */
static void read_needs_majority(void)
{
    begin(3);
    rig_elect(&rig, 1);
    rig_read(&rig, 1, 70);
    CHECK_STR(rig_trace(&rig), "");
    rig_settle(&rig);
    CHECK_STR(rig_trace(&rig), "1 read 70 at 2\n");
    rig_connect(&rig, 1, 2, false);
    rig_connect(&rig, 1, 3, false);
    rig_read(&rig, 1, 71);
    rig_run(&rig, 6000);
    CHECK_STR(rig_trace(&rig), "1 answer 71 TRY_LATER\n");
    rig_deinit(&rig);
}

/* A follower reads at home what was answered anywhere before, at once and not at the
 * next heartbeat: the leader's answer brings the commit index along. */
static void follower_reads(void)
{
    uint64_t now_ms;

    begin(3);
    rig_elect(&rig, 1);
    rig_write(&rig, 1, 80, 1, 10);
    CHECK_STR(rig_trace(&rig), "1 answer 80 OK\n");
    CHECK_UINT(rig_applied(&rig, 2), 2);
    now_ms = rig.now_ms;
    rig_read(&rig, 2, 81);
    rig_settle(&rig);
    CHECK_STR(rig_trace(&rig), "2 read 81 at 3\n");
    CHECK_UINT(rig.now_ms, now_ms);
    rig_deinit(&rig);
}

/* A follower whose disk is behind reads as soon as its own entry is durable: the commit
 * index follows its acknowledgement, and does not wait for the next heartbeat. */
static void slow_follower_reads(void)
{
    uint64_t now_ms;

    begin(3);
    rig_elect(&rig, 1);
    rig.nodes[2].hold_journal = true;
    rig_write(&rig, 1, 85, 1, 10);
    CHECK_STR(rig_trace(&rig), "1 answer 85 OK\n");
    now_ms = rig.now_ms;
    rig_read(&rig, 2, 86);
    rig_settle(&rig);
    CHECK_STR(rig_trace(&rig), "");
    rig_journal_done(&rig, 2);
    rig_settle(&rig);
    CHECK_STR(rig_trace(&rig), "2 read 86 at 3\n");
    CHECK_UINT(rig.now_ms, now_ms);
    rig_deinit(&rig);
}

/* Reads that came while a round was under way share the next one. */
static void reads_share_rounds(void)
{
    uint32_t frames;

    begin(3);
    rig_elect(&rig, 1);
    rig_read(&rig, 1, 1);
    frames = rig.n_frames;
    for (uint64_t token = 2; token <= 100; token++) {
        rig_read(&rig, 1, token);
    }
    CHECK_UINT(rig.n_frames, frames);
    rig_settle(&rig);
    CHECK(strlen(rig_trace(&rig)) > 100 * 10);
    rig_deinit(&rig);
}

/* A leader whose journal fails stops for good: nothing after a failed sync is sure. */
static void journal_fault(void)
{
    begin(3);
    rig_elect(&rig, 1);
    rig.nodes[1].fail_journal = true;
    rig_submit(&rig, 1, 90, 10);
    rig_flush(&rig, 1);
    CHECK_STR(rig_trace(&rig), "1 fail -5\n1 answer 90 TRY_LATER\n");
    rig_submit(&rig, 1, 91, 10);
    CHECK_STR(rig_trace(&rig), "1 answer 91 NOT_LEADER leader 1\n");
    rig_stop(&rig, 1);
    rig_run(&rig, 4000);
    CHECK_UINT(rig.nodes[2].failed, 0);
    rig_deinit(&rig);
}

/* A leader whose disk is full takes nothing new, and is at it to make room; once there
 * is some, what waited is written, applied and answered, in order and once. */
static void a_full_journal_can_be_waited_out(void)
{
    struct replica_status status;

    begin(1);
    rig_elect(&rig, 1);
    rig.nodes[1].full_journal = true;
    rig.nodes[1].hold_journal = true; /* Both batches are under way by then. */
    for (uint64_t token = 90; token < 93; token++) {
        rig_submit(&rig, 1, token, 10);
        rig_flush(&rig, 1);
    }
    (void)rig_trace(&rig);
    rig_journal_done(&rig, 1);
    rig.nodes[1].hold_journal = false;
    rig_run(&rig, 2000);
    rig_status(&rig, 1, &status);
    CHECK(status.full);
    CHECK(rig.nodes[1].settles > 0);
    rig_submit(&rig, 1, 93, 10);
    CHECK_STR(rig_trace(&rig), "1 answer 93 FULL\n");
    rig.nodes[1].full_journal = false;
    rig_run(&rig, 2000);
    CHECK_STR(rig_trace(&rig), "1 answer 90 OK\n1 answer 91 OK\n1 answer 92 OK\n");
    rig_status(&rig, 1, &status);
    CHECK(!status.full);
    rig_deinit(&rig);
}

/* The same when the journal has room and the zone's rows have none. */
static void a_full_zone_can_be_waited_out(void)
{
    struct replica_status status;

    begin(1);
    rig_elect(&rig, 1);
    rig.nodes[1].full_zone = true;
    rig_submit(&rig, 1, 90, 10);
    rig_flush(&rig, 1);
    rig_run(&rig, 2000);
    rig_status(&rig, 1, &status);
    CHECK(status.full);
    CHECK_STR(rig_trace(&rig), "");
    rig.nodes[1].full_zone = false;
    rig_run(&rig, 2000);
    CHECK_STR(rig_trace(&rig), "1 answer 90 OK\n");
    rig_deinit(&rig);
}

/* A leader whose disk is low refuses what grows, at once, and hands over to the voter
 * that has room, not to the one that has most. */
static void a_low_leader_gives_way(void)
{
    struct replica_event low = {.type = REPLICA_EV_DISK, .low = true};
    struct replica_status status;

    begin(3);
    rig_elect(&rig, 1);
    (void)rig_step(&rig, 2, &low);
    rig_run(&rig, 200);
    (void)rig_step(&rig, 1, &low);
    (void)rig_trace(&rig);
    rig_submit(&rig, 1, 90, 10);
    CHECK_STR(rig_trace(&rig), "1 answer 90 FULL\n");
    rig_run(&rig, 1000);
    rig_status(&rig, 3, &status);
    CHECK_INT(status.state, RGROUP_LEADER);
    rig_submit(&rig, 3, 91, 10);
    rig_flush(&rig, 3);
    rig_run(&rig, 200);
    CHECK_STR(rig_trace(&rig), "3 answer 91 OK\n");
    low.low = false;
    (void)rig_step(&rig, 1, &low);
    rig_status(&rig, 1, &status);
    CHECK(!status.full);
    rig_deinit(&rig);
}

/* A follower without room stops nobody, and catches up once it has some. */
static void a_full_follower_stops_nobody(void)
{
    begin(3);
    rig_elect(&rig, 1);
    rig.nodes[3].full_journal = true;
    (void)rig_trace(&rig);
    for (uint64_t token = 1; token <= 20; token++) {
        rig_submit(&rig, 1, token, 100);
        rig_flush(&rig, 1);
        rig_run(&rig, 100);
    }
    CHECK(strstr(rig_trace(&rig), "1 answer 20 OK\n") != NULL);
    CHECK_UINT(rig.nodes[3].failed, 0);
    rig.nodes[3].full_journal = false;
    rig_run(&rig, 4000);
    CHECK_UINT(rig_applied(&rig, 3), rig_applied(&rig, 1));
    rig_deinit(&rig);
}

/* Everything acknowledged survives the loss of all members at once. */
static void restart_of_all(void)
{
    begin(3);
    rig_elect(&rig, 1);
    for (uint64_t token = 1; token <= 20; token++) {
        rig_submit(&rig, 1, token, 20000);
    }
    rig_flush(&rig, 1);
    rig_settle(&rig);
    for (uint64_t id = 1; id <= 3; id++) {
        rig_stop(&rig, id);
        rig.nodes[id].applied = 1; /* What was not durable in the zone is replayed. */
    }
    for (uint64_t id = 1; id <= 3; id++) {
        CHECK_INT(rig_start(&rig, id), 0);
    }
    rig_run(&rig, 5000);
    for (uint64_t id = 1; id <= 3; id++) {
        CHECK(rig_applied(&rig, id) >= 22);
        CHECK(rig.nodes[id].fetches > 0);
    }
    rig_deinit(&rig);
}

/* A zone that is ahead of its log means that the journal lost entries: it must not
 * start, or it would vote with a log that it does not have. */
static void zone_ahead_of_log(void)
{
    begin(3);
    rig_stop(&rig, 2);
    rig.nodes[2].applied = 5;
    rig.nodes[2].applied_term = 1;
    CHECK_INT(rig_start(&rig, 2), -EUCLEAN);
    rig_deinit(&rig);
}

/* A follower that was away gets what it missed from the journal when it has left the
 * cache, and memory stays within the cache's bytes. */
static void fetched_for_follower(void)
{
    begin(3);
    rig_elect(&rig, 1);
    rig_connect(&rig, 1, 3, false);
    rig_write(&rig, 1, 1, 60, 1u << 20);
    CHECK(rig.nodes[1].peak_cache <= REPLICA_CACHE_BYTES + (2u << 20));
    CHECK_UINT(rig.nodes[1].fetches, 0);
    rig_connect(&rig, 1, 3, true);
    rig_run(&rig, 3000);
    CHECK(rig.nodes[1].fetches > 0);
    CHECK_UINT(rig_applied(&rig, 3), rig_applied(&rig, 1));
    CHECK(rig.nodes[1].peak_cache <= REPLICA_CACHE_BYTES + (2u << 20));
    rig_deinit(&rig);
}

/* Asked to, a batch ends at an index, so that the zone can be seen as of it; and nothing
 * stops there. */
static void batch_ends_where_asked(void)
{
    struct replica_event event = {.type = REPLICA_EV_APPLY_TO};
    uint64_t first;

    begin(1);
    rig_elect(&rig, 1);
    first = rig_applied(&rig, 1);
    event.index = first + 4;
    CHECK_INT(rig_step(&rig, 1, &event), 0);
    rig.nodes[1].hold_zone = true;
    for (uint64_t token = 1; token <= 10; token++) {
        rig_submit(&rig, 1, token, 10);
    }
    rig_flush(&rig, 1);
    rig_settle(&rig);
    CHECK_UINT(rig.nodes[1].apply_to, first + 4);
    rig_zone_done(&rig, 1);
    CHECK_UINT(rig_applied(&rig, 1), first + 4);
    CHECK_UINT(rig.nodes[1].apply_to, first + 10);
    rig_zone_done(&rig, 1);
    CHECK_UINT(rig_applied(&rig, 1), first + 10);
    event.index = first; /* Long passed: no matter. */
    CHECK_INT(rig_step(&rig, 1, &event), 0);
    rig.nodes[1].hold_zone = false;
    rig_write(&rig, 1, 99, 1, 10);
    CHECK_UINT(rig_applied(&rig, 1), first + 11);
    rig_deinit(&rig);
}

/* A follower that does not acknowledge gets no more than its window, and heartbeats, so
 * that it neither floods memory nor starts an election. */
static void slow_follower_is_bounded(void)
{
    struct replica_status status;

    begin(3);
    rig_elect(&rig, 1);
    rig.nodes[3].hold_journal = true;
    rig_write(&rig, 1, 1, 25, 1u << 20);
    CHECK(rig.nodes[3].peak_cache <= 12u << 20);
    rig_run(&rig, 5000);
    rig_status(&rig, 1, &status);
    CHECK_INT(status.state, RGROUP_LEADER);
    rig.nodes[3].hold_journal = false;
    rig_journal_done(&rig, 3);
    rig_run(&rig, 2000);
    CHECK_UINT(rig_applied(&rig, 3), rig_applied(&rig, 1));
    rig_deinit(&rig);
}

/* Past its mark the journal is settled, a snapshot taken and the log cut; a tail stays
 * for followers that are a little behind. */
static void compaction(void)
{
    struct replica_status status;

    memset(&rig, 0, sizeof rig);
    rig.journal_bytes_max = 1u << 20;
    rig_init(&rig, 3);
    rig_elect(&rig, 1);
    rig_write(&rig, 1, 1, 200, 4000);
    rig_run(&rig, 200);
    rig_disk(&rig, 1, 600u << 10);
    rig_run(&rig, 200);
    CHECK(rig.nodes[1].settles > 0);
    CHECK_UINT(rig.nodes[1].snapshots, 1);
    rig_status(&rig, 1, &status);
    CHECK(status.first_index > 100 && status.first_index < 190);
    CHECK_UINT(rig.nodes[1].base_index + 1, status.first_index);
    rig_disk(&rig, 1, 2u << 20);
    rig_submit(&rig, 1, 900, 10);
    CHECK_STR(strstr(rig_trace(&rig), "1 answer 900"), "1 answer 900 FULL\n");
    rig_stop(&rig, 1);
    CHECK_INT(rig_start(&rig, 1), 0);
    rig_run(&rig, 4000);
    CHECK_UINT(rig_applied(&rig, 1), rig_applied(&rig, 2));
    rig_deinit(&rig);
}

/* With a short journal, what takes room beside it is settled at its own slow pace, on
 * every member, for as long as the driver says that there is some. */
static void rest_with_a_short_journal(void)
{
    struct replica_event event = {.type = REPLICA_EV_DISK, .journal_bytes = 1000};

    memset(&rig, 0, sizeof rig);
    rig_init(&rig, 3);
    rig_elect(&rig, 1);
    rig_run(&rig, 4000); /* Nobody has looked yet: there may be some. */
    CHECK_UINT(rig.nodes[2].settles, 0);
    CHECK(rig.nodes[2].rests >= 3 && rig.nodes[2].rests <= 5);
    rig_disk(&rig, 2, 1000);
    rig.nodes[2].rests = 0;
    rig_run(&rig, 4000);
    CHECK_UINT(rig.nodes[2].rests, 0);
    event.settle_rest = true;
    CHECK_INT(rig_step(&rig, 2, &event), 0);
    rig_run(&rig, 4000);
    CHECK(rig.nodes[2].rests >= 3 && rig.nodes[2].rests <= 5);
    CHECK_UINT(rig.nodes[2].settles, 0);
    rig_deinit(&rig);
}

static void behind_the_log(void)
{
    memset(&rig, 0, sizeof rig);
    rig.journal_bytes_max = 1u << 20;
    rig_init(&rig, 3);
    rig_elect(&rig, 1);
    rig_stop(&rig, 3);
    rig_write(&rig, 1, 1, 200, 4000);
    rig_run(&rig, 3000);
    rig_disk(&rig, 1, 600u << 10);
    rig_run(&rig, 200);
    CHECK(rig.nodes[1].base_index > 100);
    rig.nodes[3].hold_pull = true;
    CHECK_INT(rig_start(&rig, 3), 0);
    rig_run(&rig, 1500);
    CHECK_UINT(rig.nodes[3].pulls, 1);
    (void)rig_trace(&rig);
}

/* A follower whose next entry is no longer in the leader's log pulls a state, cuts its
 * journal to it, and goes on from there. */
static void pull_beyond_log(void)
{
    struct replica_status status;

    behind_the_log();
    rig_read(&rig, 3, 5);
    CHECK_STR(rig_trace(&rig), "3 answer 5 TRY_LATER\n");
    rig_status(&rig, 3, &status);
    CHECK(status.pulling);
    rig_submit(&rig, 1, 1000, 10); /* The state may be newer than what was offered. */
    rig_flush(&rig, 1);
    rig_settle(&rig);
    CHECK(rig_applied(&rig, 1) > rig.nodes[3].pull_index);
    rig_pull_done(&rig, 3, 1, 0);
    rig_run(&rig, 500);
    rig_submit(&rig, 1, 1001, 10);
    rig_flush(&rig, 1);
    rig_run(&rig, 500);
    CHECK_UINT(rig_applied(&rig, 3), rig_applied(&rig, 1));
    rig_status(&rig, 3, &status);
    CHECK(!status.pulling);
    rig_stop(&rig, 3);
    CHECK_INT(rig_start(&rig, 3), 0);
    rig_run(&rig, 500);
    CHECK_UINT(rig.nodes[3].pulls, 1);
    rig_deinit(&rig);
}

/* A pull that fails is tried again; in the end the old state is taken up, since a
 * member that pulls for ever does not vote. */
static void pull_that_fails(void)
{
    struct replica_status status;

    behind_the_log();
    for (int i = 0; i < 6; i++) {
        CHECK_UINT(rig.nodes[3].pulls, (unsigned)i + 1);
        if (i == 5) {
            rig_connect(&rig, 1, 3, false);
        }
        rig_pull_done(&rig, 3, 1, -EIO);
        rig_run(&rig, 700);
    }
    rig_status(&rig, 3, &status);
    CHECK(!status.pulling);
    CHECK_UINT(status.last_index, rig.nodes[3].last);
    rig.nodes[3].hold_pull = false;
    rig_connect(&rig, 1, 3, true);
    rig_run(&rig, 9000);
    CHECK_UINT(rig_applied(&rig, 3), rig_applied(&rig, 1));
    rig_deinit(&rig);
}

/* The state was switched in, the journal's cut was lost in the crash: the old log is
 * dropped at the next start. */
static void crash_between_switch_and_cut(void)
{
    behind_the_log();
    rig_stop(&rig, 3);
    rig.nodes[3].applied = rig.nodes[1].applied;
    rig.nodes[3].applied_term = rig.nodes[1].applied_term;
    rig.nodes[3].has_snapshot = true;
    rig.nodes[3].snapshot = rig.nodes[1].snapshot;
    rig.nodes[3].snapshot.index = rig.nodes[1].applied;
    rig.nodes[3].snapshot.term = rig.nodes[1].applied_term;
    CHECK(rig.nodes[3].last < rig.nodes[3].applied);
    CHECK_INT(rig_start(&rig, 3), 0);
    CHECK_UINT(rig.nodes[3].base_index, rig.nodes[3].applied);
    rig_run(&rig, 1500);
    rig_submit(&rig, 1, 1001, 10);
    rig_flush(&rig, 1);
    rig_run(&rig, 500);
    CHECK_UINT(rig_applied(&rig, 3), rig_applied(&rig, 1));
    rig_deinit(&rig);
}

/* Leadership is handed over at rest: what comes meanwhile is not lost but sent on. */
static void transfer(void)
{
    struct replica_event event = {.type = REPLICA_EV_TRANSFER, .from = 2, .token = 7};
    struct replica_status status;

    begin(3);
    rig_elect(&rig, 1);
    rig_run(&rig, 1000);
    rig_submit(&rig, 1, 100, 10);
    rig_flush(&rig, 1);
    (void)rig_step(&rig, 1, &event);
    rig_submit(&rig, 1, 101, 10);
    rig_flush(&rig, 1);
    rig_run(&rig, 1500);
    CHECK_STR(rig_trace(&rig), "1 answer 100 OK\n"
                               "1 answer 101 NOT_LEADER leader 2\n"
                               "1 answer 7 OK\n");
    rig_status(&rig, 2, &status);
    CHECK_INT(status.state, RGROUP_LEADER);
    rig_deinit(&rig);
}

/* A sole voter needs nobody: it leads, writes and reads alone. */
static void sole_voter(void)
{
    begin(1);
    rig_run(&rig, 100);
    rig_submit(&rig, 1, 1, 10);
    rig_flush(&rig, 1);
    rig_read(&rig, 1, 2);
    CHECK_STR(rig_trace(&rig), "1 answer 1 OK\n1 read 2 at 3\n");
    rig_stop(&rig, 1);
    CHECK_INT(rig_start(&rig, 1), 0);
    rig_run(&rig, 100);
    rig_read(&rig, 1, 3);
    CHECK_STR(rig_trace(&rig), "1 read 3 at 4\n");
    rig_deinit(&rig);
}

/* Every entry has a later zone time than the one before, whatever the clock does. */
static void zone_time_rises(void)
{
    int64_t last = 0;

    begin(1);
    rig_run(&rig, 100);
    for (uint64_t token = 1; token <= 5; token++) {
        rig_submit(&rig, 1, token, 10);
    }
    rig_flush(&rig, 1);
    for (uint64_t i = 3; i <= 7; i++) {
        struct zone_entry entry;
        const struct rig_entry *logged = &rig.nodes[1].log[i];

        CHECK_INT(zone_entry_decode(logged->head.data, logged->head.len, &entry), 0);
        CHECK(entry.time_ns > last);
        last = entry.time_ns;
    }
    rig_deinit(&rig);
}

/* What apply could not decode never gets into the log: it would stop every member. */
static void garbage_is_refused(void)
{
    struct replica_event event = {
        .type = REPLICA_EV_SUBMIT, .token = 3, .head = slice_borrow("garbage", 7)};

    begin(1);
    rig_run(&rig, 100);
    (void)rig_step(&rig, 1, &event);
    CHECK_STR(rig_trace(&rig), "1 answer 3 INVAL\n");
    rig_deinit(&rig);
}

/* Any node may send an op. A WRITE that says how long its payload is and has none is
 * refused like one whose payload is not what its checksums say. */
static void a_write_without_its_payload_is_refused(void)
{
    uint8_t bytes[4096] = {1};
    struct zone_op op = {.type = ZONE_OP_WRITE, .obj = {.ino = 2, .gen = 1}};
    struct zone_entry entry = {.origin = {.node = 9, .boot = 1, .seq = 1}};
    struct replica_event event = {.type = REPLICA_EV_SUBMIT, .token = 4};
    struct buf *body = NULL;
    struct buf *head = NULL;

    begin(1);
    rig_run(&rig, 100);
    op.data = slice_borrow(bytes, sizeof bytes);
    zone_op_seal(&op);
    CHECK_INT(zone_op_encode(&op, &body), 0);
    entry.op = slice_borrow(body->data, body->len);
    CHECK_INT(zone_entry_encode(&entry, &head), 0);
    event.head = slice_borrow(head->data, head->len);
    (void)rig_step(&rig, 1, &event);
    CHECK_STR(rig_trace(&rig), "1 answer 4 INVAL\n");
    buf_unref(head);
    buf_unref(body);
    rig_deinit(&rig);
}

/* What zone time alone changes comes although nobody writes: the leader proposes an entry
 * once it is due, one at a time while more is, and none before or after; and none while
 * others' entries bring the time. */
static void time_passes_without_writers(void)
{
    uint64_t last;

    begin(3);
    rig_elect(&rig, 1);
    for (uint64_t id = 1; id <= 3; id++) {
        rig.nodes[id].due_ns = (int64_t)(rig.now_ms + 5000) * 1000000;
    }
    rig_write(&rig, 1, 50, 1, 10);
    (void)rig_trace(&rig);
    last = rig.nodes[1].last;
    rig_run(&rig, 4900);
    CHECK_UINT(rig.nodes[1].last, last);
    rig.nodes[2].hold_journal = true;
    rig.nodes[3].hold_journal = true;
    rig_run(&rig, 1000);
    CHECK_UINT(rig.nodes[1].last, last + 1); /* It is on its way: one is enough. */
    rig.nodes[2].hold_journal = false;
    rig.nodes[3].hold_journal = false;
    rig_journal_done(&rig, 2);
    rig_journal_done(&rig, 3);
    rig_run(&rig, 1000);
    CHECK(rig.nodes[1].last > last + 3); /* Still due, says the zone. */
    for (uint64_t id = 1; id <= 3; id++) {
        rig.nodes[id].due_ns = 0;
    }
    rig_run(&rig, 500);
    last = rig.nodes[1].last;
    rig_run(&rig, 5000);
    CHECK_UINT(rig.nodes[1].last, last);
    CHECK_STR(rig_trace(&rig), ""); /* Nobody is answered. */
    rig_deinit(&rig);
}

/* Frames are not trusted: malformed ones are ignored and change nothing. */
static void malformed_frames(void)
{
    uint8_t bytes[64];
    uint64_t last;

    begin(3);
    rig_elect(&rig, 1);
    last = rig.nodes[2].last;
    for (unsigned type = 0; type < 16; type++) {
        for (size_t len = 0; len <= sizeof bytes; len += 4) {
            struct replica_event event = {.type = REPLICA_EV_FRAME,
                                          .from = 1,
                                          .frame_type = (uint8_t)type,
                                          .head = slice_borrow(bytes, len)};

            memset(bytes, (int)(len + type), sizeof bytes);
            bytes[0] = 1;
            CHECK_INT(rig_step(&rig, 2, &event), 0);
        }
    }
    CHECK_UINT(rig.nodes[2].last, last);
    rig_deinit(&rig);
}

TEST_MAIN(CHECK_TEST(answered_when_committed), CHECK_TEST(sent_while_written),
          CHECK_TEST(turn_is_one_batch), CHECK_TEST(two_batches_outstanding),
          CHECK_TEST(vote_after_durable), CHECK_TEST(doubt_and_hint),
          CHECK_TEST(read_needs_majority), CHECK_TEST(follower_reads),
          CHECK_TEST(slow_follower_reads), CHECK_TEST(reads_share_rounds),
          CHECK_TEST(journal_fault), CHECK_TEST(a_full_journal_can_be_waited_out),
          CHECK_TEST(a_full_zone_can_be_waited_out), CHECK_TEST(a_low_leader_gives_way),
          CHECK_TEST(a_full_follower_stops_nobody), CHECK_TEST(restart_of_all),
          CHECK_TEST(zone_ahead_of_log), CHECK_TEST(fetched_for_follower),
          CHECK_TEST(batch_ends_where_asked), CHECK_TEST(slow_follower_is_bounded),
          CHECK_TEST(compaction), CHECK_TEST(rest_with_a_short_journal),
          CHECK_TEST(pull_beyond_log), CHECK_TEST(pull_that_fails),
          CHECK_TEST(crash_between_switch_and_cut), CHECK_TEST(transfer),
          CHECK_TEST(sole_voter), CHECK_TEST(zone_time_rises),
          CHECK_TEST(time_passes_without_writers), CHECK_TEST(garbage_is_refused),
          CHECK_TEST(a_write_without_its_payload_is_refused),
          CHECK_TEST(malformed_frames))
