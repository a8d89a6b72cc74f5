/* What is durable, what only will be, and what is remembered of it: disks that are full for
 * a while, batches that end one by one, caches too small, clocks that went back. */
#include "base/outcome.h"
#include "lib/check.h"
#include "replica_rig.h"
#include "zone/op.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define PULL_TRIES 6u /* Of the replica, before it takes up its old state. */

/* Too large for a stack; each test begins with an empty one. */
static struct rig rig;

static void begin(uint32_t n, uint64_t journal_bytes_max, uint64_t cache_bytes)
{
    memset(&rig, 0, sizeof rig);
    rig.journal_bytes_max = journal_bytes_max;
    rig.cache_bytes = cache_bytes;
    rig.pending_bytes = cache_bytes;
    rig_init(&rig, n);
    rig_elect(&rig, 1);
}

/* Member 3 lacks what the leader's journal has no longer, and has begun to pull. */
static void make_late(void)
{
    rig.nodes[3].no_entries = true;
    rig_write(&rig, 1, 500, 200, 4000);
    rig_disk(&rig, 1, 1000u << 10);
    rig.nodes[3].hold_pull = true;
    rig_connect(&rig, 1, 3, false);
    rig_connect(&rig, 1, 3, true);
    rig_run(&rig, 3000);
    (void)rig_trace(&rig);
}

/* The pull fails until the member takes up what it had. */
static void fail_pull(void)
{
    for (uint32_t i = 0; i < PULL_TRIES; i++) {
        rig_pull_done(&rig, 3, 1, -EIO);
        if (i == PULL_TRIES - 1) {
            rig_connect(&rig, 1, 3, false);
        }
        rig_run(&rig, 2000);
    }
}

/* When the first of two batches is on the disk, what comes after both is not. */
static void durable_batch_by_batch(void)
{
    uint64_t applied;

    begin(1, 0, 0);
    applied = rig_applied(&rig, 1);
    rig.nodes[1].hold_journal = true;
    rig_write(&rig, 1, 10, 5, 100);
    CHECK_UINT(rig.nodes[1].n_tickets, 2);
    rig_journal_one(&rig, 1, 0);
    CHECK_UINT(rig_applied(&rig, 1), applied + 1);
    CHECK_STR(rig_trace(&rig), "1 answer 10 OK\n");
    rig_deinit(&rig);
}

/* The first of two batches met a full disk, the second was refused for the gap: both are
 * written again, together and in order, and that is no fault. */
static void batch_behind_a_full_disk(void)
{
    begin(1, 0, 0);
    rig.nodes[1].hold_journal = true;
    rig_write(&rig, 1, 10, 2, 100);
    CHECK_UINT(rig.nodes[1].n_tickets, 2);
    rig_journal_one(&rig, 1, -ENOSPC);
    rig_journal_one(&rig, 1, -EINVAL);
    CHECK_UINT(rig.nodes[1].failed, 0);
    rig_run(&rig, 1000);
    CHECK_UINT(rig.nodes[1].n_tickets, 1);
    CHECK_UINT(rig.nodes[1].tickets[0].n, 2);
    rig_journal_one(&rig, 1, 0);
    CHECK_STR(rig_trace(&rig), "1 answer 10 OK\n1 answer 11 OK\n");
    rig_deinit(&rig);
}

/* The cut that ends a pull and met a full disk is written again. */
static void cut_behind_a_full_disk(void)
{
    begin(3, 1u << 20, 0);
    make_late();
    CHECK_UINT(rig.nodes[3].pulls, 1);
    rig.nodes[3].full_journal = true;
    rig_pull_done(&rig, 3, 1, 0);
    rig_run(&rig, 2000);
    CHECK(rig.nodes[3].bases > 0);
    rig.nodes[3].no_entries = false;
    rig.nodes[3].full_journal = false;
    rig_run(&rig, 2000);
    rig_write(&rig, 1, 900, 3, 100);
    rig_run(&rig, 2000);
    CHECK_UINT(rig_applied(&rig, 3), rig_applied(&rig, 1));
    rig_deinit(&rig);
}

/* A state older than what was offered is no state: the log goes on behind it nowhere. */
static void pulled_state_is_too_old(void)
{
    begin(3, 1u << 20, 0);
    make_late();
    CHECK(rig_applied(&rig, 3) < rig.nodes[3].pull_index);
    rig_pull_done(&rig, 3, 3, 0);
    CHECK_UINT(rig.nodes[3].bases, 0);
    rig_run(&rig, 1000);
    CHECK_UINT(rig.nodes[3].pulls, 2);
    rig.nodes[3].no_entries = false;
    rig_pull_done(&rig, 3, 1, 0);
    rig_run(&rig, 2000);
    CHECK_UINT(rig_applied(&rig, 3), rig_applied(&rig, 1));
    rig_deinit(&rig);
}

/* The member has its new state only when its journal says so, too. */
static void pull_ends_with_its_cut(void)
{
    struct replica_status status;

    begin(3, 1u << 20, 0);
    make_late();
    rig.nodes[3].hold_journal = true;
    rig_pull_done(&rig, 3, 1, 0);
    rig_run(&rig, 500);
    rig_status(&rig, 3, &status);
    CHECK(status.pulling);
    rig.nodes[3].no_entries = false;
    rig.nodes[3].hold_journal = false;
    rig_journal_done(&rig, 3);
    rig_run(&rig, 2000);
    rig_status(&rig, 3, &status);
    CHECK(!status.pulling);
    CHECK_UINT(rig_applied(&rig, 3), rig_applied(&rig, 1));
    rig_deinit(&rig);
}

/* What was not yet given to the journal when a pull began never will be: if the pull comes
 * to nothing, it is not in the log either. */
static void pull_drops_what_was_not_written(void)
{
    struct rig_node *late = &rig.nodes[3];
    struct replica_status status;

    begin(3, 1u << 20, 0);
    rig_write(&rig, 1, 10, 20, 100);
    rig_run(&rig, 200);
    late->hold_journal = true;
    rig_write(&rig, 1, 100, 5, 100); /* Two batches, and three entries that wait. */
    CHECK_UINT(late->n_tickets, 2);
    make_late();
    late->hold_journal = false;
    rig_journal_done(&rig, 3);
    rig_run(&rig, 500);
    CHECK_UINT(late->pulls, 1);
    fail_pull();
    rig_status(&rig, 3, &status);
    CHECK(!status.pulling);
    CHECK_UINT(status.last_index, late->last);
    rig_deinit(&rig);
}

/* Nor is what had been given to it and met a full disk, while the pull began: when the member
 * takes part again it must not say that it has it. */
static void pull_drops_what_was_sent_back(void)
{
    struct rig_node *late = &rig.nodes[3];
    struct replica_status status;
    uint64_t last;

    begin(3, 1u << 20, 0);
    rig_write(&rig, 1, 10, 20, 100);
    rig_run(&rig, 200);
    rig_status(&rig, 3, &status);
    last = status.last_index;
    late->hold_journal = true;
    rig_write(&rig, 1, 100, 2, 100);
    CHECK_UINT(late->n_tickets, 2);
    make_late();
    late->hold_journal = false;
    late->full_journal = true;
    rig_journal_done(&rig, 3);
    rig_run(&rig, 500);
    CHECK_UINT(late->pulls, 1);
    fail_pull();
    rig_status(&rig, 3, &status);
    CHECK(!status.pulling);
    CHECK_UINT(status.last_index, last);
    rig_deinit(&rig);
}

/* A follower that is a little behind, and up, finds what it needs in the log: also the
 * entry that it has, without whose term raft offers it a snapshot. */
static void slow_follower_need_not_pull(void)
{
    uint64_t last;

    begin(3, 1u << 20, 0);
    rig_write(&rig, 1, 10, 100, 100);
    rig_run(&rig, 200);
    rig.nodes[3].no_entries = true;
    last = rig.nodes[3].last;
    rig_write(&rig, 1, 300, 130, 4000);
    rig_disk(&rig, 1, 600u << 10); /* Half full: a snapshot is due, room there is. */
    rig_run(&rig, 300);
    CHECK(rig.nodes[1].compactions > 0);
    CHECK(rig.nodes[1].base_index <= last);
    rig.nodes[3].no_entries = false;
    rig_run(&rig, 2000);
    CHECK_UINT(rig.nodes[3].pulls, 0);
    CHECK_UINT(rig_applied(&rig, 3), rig_applied(&rig, 1));
    rig_deinit(&rig);
}

/* The log is not cut under somebody who reads it back. */
static void no_cut_while_reading_back(void)
{
    struct rig_node *leader = &rig.nodes[1];

    begin(3, 1u << 20, 64u << 10);
    rig_connect(&rig, 1, 3, false);
    rig_write(&rig, 1, 10, 150, 4000); /* Most of it leaves the cache. */
    leader->hold_fetch = true;
    rig_connect(&rig, 1, 3, true);
    rig_run(&rig, 2000);
    CHECK(leader->fetch_n > 0);
    rig_disk(&rig, 1, 1000u << 10);
    rig_run(&rig, 500);
    CHECK_UINT(leader->snapshots, 1);
    CHECK_UINT(leader->compactions, 0);
    leader->hold_fetch = false;
    rig_fetch_done(&rig, 1);
    rig_run(&rig, 500);
    CHECK(leader->compactions > 0);
    rig_deinit(&rig);
}

/* However small the cache, what is not on the disk stays in it: there is no other place. */
static void undurable_entries_stay_cached(void)
{
    begin(3, 0, 64u << 10);
    rig.nodes[3].hold_journal = true;
    rig_write(&rig, 1, 10, 60, 20000);
    rig_run(&rig, 200);
    CHECK(rig.nodes[3].n_tickets > 0);
    rig.nodes[3].hold_journal = false;
    rig_journal_done(&rig, 3);
    rig_run(&rig, 2000);
    CHECK_UINT(rig_applied(&rig, 3), rig_applied(&rig, 1));
    CHECK_UINT(rig.nodes[3].failed, 0);
    rig_deinit(&rig);
}

/* Nor do configurations leave it, since raft may have to begin anew from the log. */
static void configurations_stay_cached(void)
{
    struct replica_status status;

    begin(3, 1u << 20, 16u << 10);
    rig_write(&rig, 1, 10, 50, 4000);
    rig_run(&rig, 200);
    make_late();
    fail_pull();
    CHECK_UINT(rig.nodes[3].failed, 0);
    rig_status(&rig, 3, &status);
    CHECK(!status.pulling);
    CHECK_UINT(status.n_members, 3);
    rig_deinit(&rig);
}

static int64_t time_of(uint64_t id, uint64_t index)
{
    const struct rig_entry *logged = &rig.nodes[id].log[index % RIG_LOG_MAX];
    struct zone_entry entry;

    CHECK_INT(zone_entry_decode(logged->head.data, logged->head.len, &entry), 0);
    return entry.time_ns;
}

/* Zone time never falls, and no two entries have the same: not after a restart with the
 * clock set back, whether the last time is known from the zone or from the log only. */
static void zone_time_outlives_a_restart(void)
{
    int64_t last_ns;

    for (unsigned applied = 0; applied < 2; applied++) {
        begin(1, 0, 0);
        rig.nodes[1].hold_zone = applied == 0;
        rig_write(&rig, 1, 10, 3, 100);
        last_ns = time_of(1, rig.nodes[1].last);
        rig_stop(&rig, 1);
        rig.nodes[1].hold_zone = false;
        rig.wall_back_ns = 3600ll * 1000000000;
        CHECK_INT(rig_start(&rig, 1), 0);
        rig_run(&rig, 2000);
        rig_write(&rig, 1, 20, 2, 100);
        CHECK(time_of(1, rig.nodes[1].last) > last_ns);
        CHECK(time_of(1, rig.nodes[1].last) > time_of(1, rig.nodes[1].last - 1));
        rig_deinit(&rig);
        rig.wall_back_ns = 0;
    }
}

/* Nor with a log that has been cut, or is empty behind a pulled state: then only the
 * state knows the time. */
static void zone_time_comes_with_the_state(void)
{
    struct replica_event event = {.type = REPLICA_EV_TRANSFER, .from = 3, .token = 7};
    struct replica_status status;
    int64_t last_ns;

    begin(3, 1u << 20, 0);
    make_late();
    last_ns = time_of(1, rig.nodes[1].last);
    rig.nodes[3].no_entries = false;
    rig_pull_done(&rig, 3, 1, 0);
    rig_run(&rig, 1000);
    CHECK_UINT(rig.nodes[3].base_index, rig.nodes[3].last);
    rig.wall_back_ns = 30ll * 1000000000; /* Or it would go by the others' clocks. */
    (void)rig_step(&rig, 1, &event);
    rig_run(&rig, 1500);
    rig_status(&rig, 3, &status);
    CHECK_INT(status.state, RGROUP_LEADER);
    rig_write(&rig, 3, 900, 1, 100);
    CHECK(time_of(3, rig.nodes[3].last) > last_ns);
    rig_deinit(&rig);
}

/* The same after a restart with nothing but the state. */
static void zone_time_of_a_cut_log(void)
{
    int64_t last_ns;

    begin(1, 1u << 20, 0);
    rig_write(&rig, 1, 10, 100, 100);
    rig_write(&rig, 1, 200, 1, 60000); /* More than the tail that is kept. */
    rig_disk(&rig, 1, 1000u << 10);
    rig_run(&rig, 300);
    CHECK_UINT(rig.nodes[1].base_index, rig.nodes[1].last);
    last_ns = rig.nodes[1].zone_time_ns;
    rig_stop(&rig, 1);
    rig.wall_back_ns = 3600ll * 1000000000;
    rig.journal_bytes_max = 0;
    CHECK_INT(rig_start(&rig, 1), 0);
    rig_run(&rig, 2000);
    rig_write(&rig, 1, 20, 1, 100);
    CHECK(time_of(1, rig.nodes[1].last) > last_ns);
    rig_deinit(&rig);
}

/* An entry that the leader's disk does not give back, and that a follower needs: the leader
 * goes on, and the follower gets a snapshot that covers it. */
static void unreadable_for_follower(void)
{
    struct replica_status status;

    begin(3, 0, 0);
    rig_connect(&rig, 1, 3, false);
    rig_write(&rig, 1, 1, 60, 1u << 20);
    rig.nodes[1].bad_index = 20;
    rig_connect(&rig, 1, 3, true);
    rig_run(&rig, 3000);
    CHECK(rig.nodes[1].fetches > 0);
    CHECK_UINT(rig.nodes[1].failed, 0);
    CHECK_UINT(rig.nodes[1].snapshots, 1);
    rig_status(&rig, 1, &status);
    CHECK_INT(status.state, RGROUP_LEADER);
    CHECK_UINT(status.first_index, 21); /* No more is cut off than must be. */
    CHECK_UINT(rig.nodes[3].pulls, 1);
    CHECK_UINT(rig_applied(&rig, 3), rig_applied(&rig, 1));
    rig_write(&rig, 1, 900, 1, 10);
    rig_run(&rig, 1000);
    CHECK_UINT(rig_applied(&rig, 3), rig_applied(&rig, 1));
    rig_deinit(&rig);
}

/* What others are told of a log's end is on the disk, though more was received and more is
 * known to be committed: who goes on with it after a crash has that. */
static void end_of_what_is_durable(void)
{
    struct replica_log_end before;
    struct replica_log_end end;

    begin(3, 0, 0);
    rig_run(&rig, 300);
    replica_log_end(rig.nodes[3].replica, &before);
    rig.nodes[3].hold_journal = true;
    rig_write(&rig, 1, 10, 3, 100);
    rig_run(&rig, 300);
    replica_log_end(rig.nodes[3].replica, &end);
    CHECK_UINT(end.last_index, before.last_index);
    CHECK_UINT(end.commit_index, before.last_index);
    rig_journal_done(&rig, 3);
    rig_settle(&rig);
    replica_log_end(rig.nodes[3].replica, &end);
    CHECK_UINT(end.last_index, before.last_index + 3);
    CHECK_UINT(end.commit_index, before.last_index + 3);
    CHECK_UINT(end.last_term, end.commit_term);
    rig_deinit(&rig);
}

/* After a pull there may be as much to settle as the zone is large. Then every heartbeat
 * asks for it while clients pause, and says so; and while they write it is still not a
 * matter of days. */
static void much_rest(void)
{
    struct replica_event event = {.type = REPLICA_EV_DISK,
                                  .journal_bytes = 1000,
                                  .settle_rest = true,
                                  .settle_more = true};

    memset(&rig, 0, sizeof rig);
    rig_init(&rig, 3);
    rig_elect(&rig, 1);
    rig_run(&rig, 1000);
    CHECK_INT(rig_step(&rig, 2, &event), 0);
    rig.nodes[2].rests = 0;
    rig.nodes[2].quiet_rests = 0;
    rig_run(&rig, 4000);
    CHECK(rig.nodes[2].rests >= 20);
    CHECK_UINT(rig.nodes[2].quiet_rests, rig.nodes[2].rests);
    rig_submit(&rig, 1, 99, 10);
    rig_run(&rig, 100);
    rig.nodes[2].rests = 0;
    rig.nodes[2].quiet_rests = 0;
    for (uint64_t i = 0; i < 40; i++) {
        rig_submit(&rig, 1, 100 + i, 10);
        rig_run(&rig, 100);
    }
    CHECK(rig.nodes[2].rests >= 8 && rig.nodes[2].rests <= 17);
    CHECK_UINT(rig.nodes[2].quiet_rests, 0);
    CHECK_UINT(rig.nodes[2].settles, 0);
    rig_deinit(&rig);
}

/* A part of the journal is bad: it goes at once, however short the journal is. What lies in
 * it is settled, ever more seldom if that does not help, and the log is cut above it, but
 * not for a follower that has it not yet; the entries behind it stay. */
static void bad_part_of_the_journal(void)
{
    struct replica_event event = {
        .type = REPLICA_EV_DISK, .journal_bytes = 1000, .bad = true};

    begin(3, 0, 0);
    rig_write(&rig, 1, 1, 60, 100);
    rig_run(&rig, 500);
    CHECK_UINT(rig.nodes[1].snapshots, 0);
    event.bad_index = 40;
    for (uint64_t id = 1; id <= 2; id++) {
        CHECK_INT(rig_step(&rig, id, &event), 0);
    }
    rig_run(&rig, 200);
    for (uint64_t id = 1; id <= 2; id++) {
        CHECK_UINT(rig.nodes[id].snapshots, 1);
        CHECK_UINT(rig.nodes[id].base_index, 40);
        CHECK_UINT(rig.nodes[id].settles, 1);
    }
    event.bad_index = 0; /* What is left there are extents. */
    CHECK_INT(rig_step(&rig, 1, &event), 0);
    CHECK_INT(rig_step(&rig, 2, &(struct replica_event){.type = REPLICA_EV_DISK}), 0);
    rig_run(&rig, 400000);
    CHECK(rig.nodes[1].settles >= 9 && rig.nodes[1].settles <= 13);
    CHECK_UINT(rig.nodes[2].settles, 1);
    CHECK_UINT(rig.nodes[1].snapshots, 1);
    rig_deinit(&rig);
}

/* The same, with a follower that is up and is behind. */
static void bad_part_that_a_follower_needs(void)
{
    struct replica_event event = {
        .type = REPLICA_EV_DISK, .journal_bytes = 1000, .bad = true, .bad_index = 40};

    begin(3, 0, 0);
    rig.nodes[3].hold_journal = true;
    rig_write(&rig, 1, 1, 60, 100);
    CHECK_INT(rig_step(&rig, 1, &event), 0);
    rig_run(&rig, 1000);
    CHECK_UINT(rig.nodes[1].snapshots, 0);
    rig.nodes[3].hold_journal = false;
    rig_run(&rig, 1000);
    CHECK_UINT(rig.nodes[1].snapshots, 1);
    CHECK_UINT(rig.nodes[1].base_index, 40);
    rig_deinit(&rig);
}

TEST_MAIN(CHECK_TEST(bad_part_of_the_journal), CHECK_TEST(bad_part_that_a_follower_needs),
          CHECK_TEST(much_rest), CHECK_TEST(unreadable_for_follower),
          CHECK_TEST(durable_batch_by_batch), CHECK_TEST(batch_behind_a_full_disk),
          CHECK_TEST(cut_behind_a_full_disk), CHECK_TEST(pulled_state_is_too_old),
          CHECK_TEST(pull_ends_with_its_cut), CHECK_TEST(pull_drops_what_was_not_written),
          CHECK_TEST(pull_drops_what_was_sent_back),
          CHECK_TEST(slow_follower_need_not_pull), CHECK_TEST(no_cut_while_reading_back),
          CHECK_TEST(undurable_entries_stay_cached),
          CHECK_TEST(configurations_stay_cached),
          CHECK_TEST(zone_time_outlives_a_restart),
          CHECK_TEST(zone_time_comes_with_the_state), CHECK_TEST(zone_time_of_a_cut_log),
          CHECK_TEST(end_of_what_is_durable))
