/* Disks that are slow: a leader's is no reason to wait if another's is quick, and a
 * follower's is none at all. */
#include "base/outcome.h"
#include "lib/check.h"
#include "replica_rig.h"

#include <string.h>

/* Of the rig. */
#define ELECTION_MS 1000u
#define MINUTE_MS 60000u
#define STOOD_STILL_MS 30000u

/* Too large for a stack; each test begins with an empty one. */
static struct rig rig;

/* How long a member's disk takes, and what it is at. */
struct pace {
    uint64_t journal_ms;
    uint64_t zone_ms;
    uint64_t journal_due_ms;
    uint64_t zone_due_ms;
};

/* One writer who asks whoever leads, one op at a time. */
struct load {
    struct pace paces[RIG_MAX + 1];
    uint64_t leader;
    uint32_t changes; /* Of the leader. */
    uint64_t token;   /* Of the op under way; */
    bool asked;       /* there is one. */
    uint64_t asked_ms;
    uint64_t worst_ms; /* The longest that an op took. */
    uint32_t answered;
    uint64_t changed_ms; /* When the leader was another for the last time. */
    bool chase;          /* The disk of whoever leads is the slow one. */
};

static void begin(struct load *load, uint32_t n, uint64_t journal_ms)
{
    memset(&rig, 0, sizeof rig);
    memset(load, 0, sizeof *load);
    rig_init(&rig, n);
    rig_elect(&rig, 1);
    load->leader = 1;
    load->token = 1000;
    for (uint64_t id = 1; id <= n; id++) {
        rig.nodes[id].hold_journal = true;
        rig.nodes[id].hold_zone = true;
        load->paces[id].journal_ms = journal_ms;
    }
}

static bool is_due(uint64_t *due_ms, bool busy, uint64_t after_ms)
{
    if (!busy) {
        *due_ms = 0;
        return false;
    }
    if (*due_ms == 0) {
        *due_ms = rig.now_ms + after_ms;
    }
    if (rig.now_ms < *due_ms) {
        return false;
    }
    *due_ms = 0;
    return true;
}

static void disks_go_on(struct load *load)
{
    for (uint64_t id = 1; id <= rig.n; id++) {
        struct pace *pace = &load->paces[id];
        uint64_t journal_ms = pace->journal_ms;

        if (load->chase && id == load->leader) {
            journal_ms = 400;
        }
        if (is_due(&pace->journal_due_ms, rig.nodes[id].n_tickets > 0, journal_ms)) {
            rig.nodes[id].hold_journal = false;
            rig_journal_done(&rig, id);
            rig.nodes[id].hold_journal = true;
        }
        if (is_due(&pace->zone_due_ms, rig.nodes[id].apply_n > 0, pace->zone_ms)) {
            rig_zone_done(&rig, id);
        }
    }
}

static void look_who_leads(struct load *load)
{
    for (uint64_t id = 1; id <= rig.n; id++) {
        struct replica_status status;

        rig_status(&rig, id, &status);
        if (status.state == RGROUP_LEADER && id != load->leader && status.term > 0 &&
            status.leader == id) {
            struct replica_status old;

            rig_status(&rig, load->leader, &old);
            if (old.term < status.term || old.state != RGROUP_LEADER) {
                load->leader = id;
                load->changes++;
                load->changed_ms = rig.now_ms;
            }
        }
    }
}

/* Whatever was answered: an op that was not done is asked again, of whoever leads. */
static void client_goes_on(struct load *load)
{
    const char *text = rig_trace(&rig);

    if (load->asked && strstr(text, " OK\n") != NULL) {
        uint64_t took_ms = rig.now_ms - load->asked_ms;

        load->worst_ms = took_ms > load->worst_ms ? took_ms : load->worst_ms;
        load->asked = false;
        load->answered++;
        load->token++;
    } else if (load->asked && strstr(text, " answer ") != NULL) {
        rig_submit(&rig, load->leader, load->token, 100);
        rig_flush(&rig, load->leader);
    }
    if (!load->asked) {
        load->asked = true;
        load->asked_ms = rig.now_ms;
        rig_submit(&rig, load->leader, load->token, 100);
        rig_flush(&rig, load->leader);
    }
}

static void run(struct load *load, uint64_t ms)
{
    for (uint64_t end_ms = rig.now_ms + ms; rig.now_ms < end_ms;) {
        rig_run(&rig, 10);
        disks_go_on(load);
        rig_settle(&rig);
        look_who_leads(load);
        client_goes_on(load);
    }
}

/* A leader whose journal takes much longer than the others' hands over, once, and is then
 * a follower that slows nobody. */
static void slow_journal(void)
{
    struct load load;
    struct replica_status status;

    begin(&load, 3, 10);
    run(&load, MINUTE_MS);
    CHECK_UINT(load.changes, 0);
    load.paces[1].journal_ms = 300;
    CHECK_UINT(rig.nodes[1].slow_notes, 0);
    run(&load, 10 * ELECTION_MS);
    CHECK(rig.nodes[1].slow_notes > 0);
    CHECK(rig.nodes[1].slow.own_ms >= 100 && rig.nodes[1].slow.release_ms < 50);
    CHECK_UINT(load.changes, 1);
    CHECK(load.leader != 1);
    load.worst_ms = 0;
    run(&load, 5 * MINUTE_MS);
    CHECK_UINT(load.changes, 1);
    CHECK(load.worst_ms <= 50);
    rig_status(&rig, load.leader, &status);
    CHECK(!status.slow);
    rig_deinit(&rig);
}

/* A leader becomes slow; so many ms later somebody asks it to hand over to a member whose
 * disk stands still since then. Returns whether who asked is answered, and whether the
 * leader gave way after all, to another one. */
static bool asked_of_a_slow_leader(uint64_t after_ms, bool *gave_way)
{
    struct replica_event event = {.type = REPLICA_EV_TRANSFER, .from = 3, .token = 70001};
    struct load load;
    bool answered = false;

    begin(&load, 3, 10);
    run(&load, MINUTE_MS);
    load.paces[1].journal_ms = 300;
    run(&load, after_ms);
    load.paces[3].journal_ms = STOOD_STILL_MS;
    run(&load, 400); /* It lacks something now. */
    CHECK_UINT(load.changes, 0);
    (void)rig_trace(&rig);
    CHECK_INT(rig_step(&rig, 1, &event), 0);
    for (uint64_t end_ms = rig.now_ms + 4 * ELECTION_MS; rig.now_ms < end_ms;) {
        rig_run(&rig, 10);
        disks_go_on(&load);
        rig_settle(&rig);
        look_who_leads(&load);
        answered = answered || strstr(rig_trace(&rig), "1 answer 70001") != NULL;
    }
    *gave_way = load.changes == 1 && load.leader == 2;
    rig_deinit(&rig);
    return answered;
}

/* While somebody's request to hand over is under way, a slow leader waits with its own:
 * who asked is answered. */
static void slow_while_it_is_asked_to_hand_over(void)
{
    uint32_t n = 0;

    for (uint64_t after_ms = 2500; after_ms <= 4500; after_ms += 500) {
        bool gave_way = false;

        CHECK(asked_of_a_slow_leader(after_ms, &gave_way));
        n += gave_way ? 1 : 0;
    }
    CHECK(n >= 3);
}

/* The same if it is the zone that is slow to apply: nothing is answered before. */
static void slow_zone(void)
{
    struct load load;

    begin(&load, 3, 10);
    load.paces[1].zone_ms = 900;
    run(&load, MINUTE_MS);
    CHECK_UINT(load.changes, 1);
    CHECK(load.leader != 1);
    run(&load, 5 * MINUTE_MS);
    CHECK_UINT(load.changes, 1);
    rig_deinit(&rig);
}

/* A disk that stands still: no write ends any more that would show it. */
static void disk_stands_still(void)
{
    struct load load;
    uint64_t began_ms;

    begin(&load, 3, 10);
    run(&load, MINUTE_MS);
    load.paces[1].journal_ms = STOOD_STILL_MS;
    began_ms = rig.now_ms;
    run(&load, STOOD_STILL_MS);
    CHECK_UINT(load.changes, 1);
    CHECK(load.changed_ms - began_ms < 8 * ELECTION_MS);
    load.paces[1].journal_ms = 10;
    run(&load, 2 * MINUTE_MS);
    CHECK_UINT(load.changes, 1);
    CHECK_UINT(rig_applied(&rig, 1), rig_applied(&rig, load.leader));
    rig_deinit(&rig);
}

/* The same before the leader has seen one write of its term end. */
static void disk_stands_still_at_once(void)
{
    struct load load;

    begin(&load, 3, 10);
    load.paces[1].journal_ms = STOOD_STILL_MS;
    run(&load, STOOD_STILL_MS);
    CHECK_UINT(load.changes, 1);
    CHECK(load.answered > 100);
    rig_deinit(&rig);
}

/* If all disks are slow, nobody does better, and leadership stays where it is. */
static void all_are_slow(void)
{
    struct load load;

    begin(&load, 3, 400);
    for (unsigned i = 0; i < 100; i++) { /* Now this one a little more, now that one. */
        load.paces[1 + i % 3].journal_ms = 400 + 100 * (i % 2);
        run(&load, 5 * ELECTION_MS);
    }
    CHECK_UINT(load.changes, 0);
    CHECK(load.answered > 500);
    rig_deinit(&rig);
}

/* Two of three are slow, the leader one of them: a majority takes a slow one anyway. */
static void most_are_slow(void)
{
    struct load load;

    begin(&load, 3, 400);
    load.paces[3].journal_ms = 10;
    run(&load, 5 * MINUTE_MS);
    CHECK_UINT(load.changes, 0);
    rig_deinit(&rig);
}

/* With two voters every write waits for both disks, whoever leads. */
static void two_voters(void)
{
    struct load load;

    begin(&load, 2, 10);
    load.paces[1].journal_ms = 400;
    run(&load, 5 * MINUTE_MS);
    CHECK_UINT(load.changes, 0);
    rig_deinit(&rig);
}

/* A follower's slow disk slows no writer. */
static void slow_follower(void)
{
    struct load load;

    begin(&load, 3, 10);
    load.paces[3].journal_ms = 2000;
    load.paces[3].zone_ms = 2000;
    run(&load, 2 * MINUTE_MS);
    CHECK_UINT(load.changes, 0);
    CHECK(load.worst_ms <= 50);
    CHECK(load.answered > 2000);
    rig_deinit(&rig);
}

/* Leadership does not go to a quick voter without room, nor to one that lags. */
static void only_to_who_can(void)
{
    struct replica_event low = {.type = REPLICA_EV_DISK, .low = true};
    struct load load;

    begin(&load, 4, 10);
    (void)rig_step(&rig, 2, &low);
    load.paces[3].journal_ms = 250; /* Quicker than the leader, but not clearly. */
    load.paces[1].journal_ms = 400;
    run(&load, MINUTE_MS);
    CHECK_UINT(load.changes, 0); /* Three of four: the release waits for a slow one. */
    load.paces[3].journal_ms = 10;
    run(&load, MINUTE_MS);
    CHECK_UINT(load.changes, 1);
    CHECK(load.leader == 3 || load.leader == 4);
    rig_deinit(&rig);
}

/* Slowness that follows the leader about does not make it go round faster than it was
 * said: each leads for ten election timeouts at least. */
static void it_does_not_go_round(void)
{
    struct load load;

    begin(&load, 3, 10);
    load.chase = true;
    run(&load, 10 * MINUTE_MS);
    CHECK(load.changes >= 2);
    CHECK(load.changes <= 10 * MINUTE_MS / (10 * ELECTION_MS));
    rig_deinit(&rig);
}

/* Nobody writes: nothing is known, and nothing is done. */
static void nobody_writes(void)
{
    struct load load;

    begin(&load, 3, 10);
    load.paces[1].journal_ms = 400;
    run(&load, 3 * ELECTION_MS);
    load.asked = true; /* For ever. */
    for (unsigned i = 0; i < 6000; i++) {
        rig_run(&rig, 10);
        disks_go_on(&load);
        rig_settle(&rig);
        look_who_leads(&load);
    }
    CHECK_UINT(load.changes, 0);
    rig_deinit(&rig);
}

TEST_MAIN(CHECK_TEST(slow_journal), CHECK_TEST(slow_while_it_is_asked_to_hand_over),
          CHECK_TEST(slow_zone), CHECK_TEST(disk_stands_still),
          CHECK_TEST(disk_stands_still_at_once), CHECK_TEST(all_are_slow),
          CHECK_TEST(most_are_slow), CHECK_TEST(two_voters), CHECK_TEST(slow_follower),
          CHECK_TEST(only_to_who_can), CHECK_TEST(it_does_not_go_round),
          CHECK_TEST(nobody_writes))
