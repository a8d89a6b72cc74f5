#include "base/outcome.h"
#include "base/wire.h"
#include "lib/check.h"
#include "replica_rig.h"

#include <string.h>

/* Of the rig: an election timeout of 1000 ms, so a lease of 900 and read leases of 450. */
#define LEASE_MS 900u
#define READ_LEASE_MS 450u

/* Too large for a stack; each test begins with an empty one. */
static struct rig rig;

static void begin(uint32_t n)
{
    memset(&rig, 0, sizeof rig);
    rig.leases = true;
    rig_init(&rig, n);
    rig_elect(&rig, 1);
    rig_run(&rig, 300);
}

/* As a new connection: nothing of the old one comes. */
static void mend(uint64_t a, uint64_t b)
{
    rig_connect(&rig, a, b, false);
    rig_connect(&rig, a, b, true);
}

/* Member @id reads until it holds a read lease. */
static void make_holder(uint64_t id)
{
    struct replica_status status;

    rig_read(&rig, id, 900);
    rig_settle(&rig);
    rig_status(&rig, id, &status);
    CHECK(status.read_lease_ms > 0);
    (void)rig_trace(&rig);
}

/* A leader whose voters answered lately reads without asking anybody; when it hears from
 * nobody it asks, however long it goes on taking itself for the leader. */
static void leader_reads_alone(void)
{
    begin(3);
    rig_cut(&rig, 1, 2, true);
    rig_cut(&rig, 1, 3, true);
    rig_read(&rig, 1, 10);
    CHECK_STR(rig_trace(&rig), "1 read 10 at 2\n");
    rig.now_ms += LEASE_MS;
    rig_read(&rig, 1, 11);
    CHECK_STR(rig_trace(&rig), "");
    rig_deinit(&rig);
}

/* Woken from a suspend, it does not believe what it believed before. */
static void suspended_leader_asks(void)
{
    begin(3);
    rig.now_ms += 60000;
    rig_read(&rig, 1, 12);
    CHECK_STR(rig_trace(&rig), "");
    rig_deinit(&rig);
}

/* A member that is read from gets a read lease and needs nobody either, for its time. */
static void member_reads_alone(void)
{
    begin(3);
    make_holder(2);
    rig_cut(&rig, 1, 2, true);
    rig_read(&rig, 2, 20);
    CHECK_STR(rig_trace(&rig), "2 read 20 at 2\n");
    rig.now_ms += READ_LEASE_MS;
    rig_read(&rig, 2, 21);
    CHECK_STR(rig_trace(&rig), "");
    rig_deinit(&rig);
}

/* An answer that a holder has not heard of yet would be missing from what it reads: the
 * writer waits, until the lease is over for certain. */
static void writer_waits_for_holder(void)
{
    begin(3);
    make_holder(2);
    rig_cut(&rig, 1, 2, true);
    rig_write(&rig, 1, 30, 1, 10);
    CHECK_STR(rig_trace(&rig), "");
    CHECK_UINT(rig_applied(&rig, 3), 2); /* Nor is it shown anywhere else. */
    rig_run(&rig, READ_LEASE_MS - 100);
    CHECK_STR(rig_trace(&rig), "");
    rig_run(&rig, 120);
    CHECK_STR(rig_trace(&rig), "1 answer 30 OK\n");
    rig_read(&rig, 2, 31);
    CHECK_STR(rig_trace(&rig), "");
    rig_deinit(&rig);
}

/* It is enough that the holder has received it; its disk may take its time. */
static void receipt_is_enough(void)
{
    begin(3);
    make_holder(2);
    rig.nodes[2].hold_journal = true;
    rig_write(&rig, 1, 40, 1, 10);
    CHECK_STR(rig_trace(&rig), "1 answer 40 OK\n");
    rig_deinit(&rig);
}

/* What a holder received is in its memory only. Started anew, with a new lease, it lacks
 * what it said that it had: that word was of another life. */
static void receipt_dies_with_the_holder(void)
{
    struct replica_status status;

    begin(3);
    make_holder(2);
    rig.nodes[2].hold_journal = true;
    rig.nodes[3].hold_journal = true;
    rig_write(&rig, 1, 45, 1, 10); /* Received by 2, committed by nobody. */
    rig_stop(&rig, 2);
    rig_lose(&rig, 2, 3);
    rig.nodes[2].no_entries = true;
    CHECK_INT(rig_start(&rig, 2), 0);
    rig_run(&rig, 110);
    rig_read(&rig, 2, 46);
    rig_run(&rig, 20);
    rig_status(&rig, 2, &status);
    CHECK(status.read_lease_ms > 0);
    CHECK_STR(rig_trace(&rig), "2 read 46 at 2\n");
    rig_journal_done(&rig, 3);
    rig_settle(&rig);
    rig_read(&rig, 2, 47);
    CHECK_STR(rig_trace(&rig), "2 read 47 at 2\n"); /* Right: 45 is not answered. */
    rig_run(&rig, READ_LEASE_MS + 20);
    CHECK_STR(rig_trace(&rig), "1 answer 45 OK\n");
    rig_deinit(&rig);
}

/* A member that takes a snapshot cuts its log, and what it received with it: the lease
 * that rests on it is over, and nobody waits for it. */
static void pull_ends_the_lease(void)
{
    struct rgroup_conf conf = {.n = 3,
                               .servers = {{.id = 1, .role = RGROUP_VOTER},
                                           {.id = 2, .role = RGROUP_VOTER},
                                           {.id = 3, .role = RGROUP_VOTER}}};
    struct rgroup_msg msg = {.type = RGROUP_MSG_SNAPSHOT, .index = 50, .conf_index = 1};
    struct replica_event event = {
        .type = REPLICA_EV_FRAME, .from = 1, .frame_type = REPLICA_FRAME_MSG};
    uint8_t conf_bytes[512];
    uint8_t bytes[1024];
    struct wire_enc enc = wire_enc(bytes, sizeof bytes);
    struct replica_status status;

    begin(3);
    make_holder(2);
    rig_status(&rig, 1, &status);
    CHECK(status.members[1].lease_ms > 0);
    msg.term = status.term;
    msg.index_term = status.term;
    msg.conf = conf_bytes;
    CHECK_INT(rgroup_conf_encode(&conf, conf_bytes, sizeof conf_bytes, &msg.conf_len), 0);
    wire_put_u8(&enc, 1);
    rgroup_msg_put(&enc, &msg);
    event.head = slice_borrow(bytes, enc.len);
    rig.nodes[2].hold_pull = true;
    CHECK_INT(rig_step(&rig, 2, &event), 0);
    rig_status(&rig, 2, &status);
    CHECK(status.pulling);
    CHECK_UINT(status.read_lease_ms, 0);
    rig_settle(&rig);
    rig_status(&rig, 1, &status);
    CHECK_UINT(status.members[1].lease_ms, 0);
    rig_deinit(&rig);
}

/* What a received entry names is read only when the entry is applied; the rest at once. */
static void named_inodes_wait(void)
{
    begin(3);
    make_holder(2);
    rig.nodes[2].hold_journal = true;
    rig_write(&rig, 1, 50, 1, 10); /* A WRITE to inode 2. */
    CHECK_STR(rig_trace(&rig), "1 answer 50 OK\n");
    rig_read_of(&rig, 2, 51, 2, 1);
    rig_read_of(&rig, 2, 52, 7, 1);
    rig_read_of(&rig, 2, 53, 8, 3); /* Made by that entry, for all we know. */
    rig_read(&rig, 2, 54);
    CHECK_STR(rig_trace(&rig), "2 read 52 at 2\n");
    rig_journal_done(&rig, 2);
    rig_settle(&rig);
    CHECK_STR(rig_trace(&rig), "2 read 51 at 3\n2 read 53 at 3\n2 read 54 at 3\n");
    rig_deinit(&rig);
}

/* Who makes writers wait for long loses its lease, and reads by asking for a while. */
static void late_holder_is_dropped(void)
{
    struct replica_status status;

    begin(3);
    make_holder(2);
    rig_cut(&rig, 1, 2, true);
    rig_write(&rig, 1, 60, 1, 10);
    rig_run(&rig, 600);
    CHECK_STR(rig_trace(&rig), "1 answer 60 OK\n");
    mend(1, 2);
    rig_run(&rig, 300);
    rig_read(&rig, 2, 61);
    rig_settle(&rig);
    CHECK_STR(rig_trace(&rig), "2 read 61 at 3\n");
    rig_status(&rig, 2, &status);
    CHECK_UINT(status.read_lease_ms, 0);
    rig_deinit(&rig);
}

/* If it can be asked for it, its end is not waited for. */
static void late_holder_is_asked(void)
{
    struct replica_status status;

    begin(3);
    make_holder(2);
    rig.nodes[2].no_entries = true;
    rig_write(&rig, 1, 60, 1, 10);
    rig_run(&rig, READ_LEASE_MS - 150);
    CHECK_STR(rig_trace(&rig), "1 answer 60 OK\n");
    rig_status(&rig, 1, &status);
    CHECK_UINT(status.members[1].lease_ms, 0);
    rig_deinit(&rig);
}

/* Leadership is handed over only when nobody reads by a lease of the old leader. */
static void transfer_waits_for_holders(void)
{
    struct replica_event event = {.type = REPLICA_EV_TRANSFER, .from = 3, .token = 7};
    struct replica_status status;

    begin(3);
    make_holder(2);
    rig_cut(&rig, 1, 2, true); /* It cannot be asked for it. */
    (void)rig_step(&rig, 1, &event);
    rig_run(&rig, READ_LEASE_MS - 100);
    rig_status(&rig, 1, &status);
    CHECK_INT(status.state, RGROUP_LEADER);
    CHECK_STR(rig_trace(&rig), "");
    mend(1, 2);
    rig_run(&rig, 200);
    CHECK_STR(rig_trace(&rig), "1 answer 7 OK\n");
    rig_status(&rig, 3, &status);
    CHECK_INT(status.state, RGROUP_LEADER);
    rig_deinit(&rig);
}

/* With holders that can be asked it takes no time, and the new leader reads at once. */
static void transfer_asks_leases_back(void)
{
    struct replica_event event = {.type = REPLICA_EV_TRANSFER, .from = 3, .token = 8};
    struct replica_status status;
    uint64_t now_ms;

    begin(3);
    make_holder(2);
    now_ms = rig.now_ms;
    (void)rig_step(&rig, 1, &event);
    rig_settle(&rig);
    rig_status(&rig, 3, &status);
    CHECK_INT(status.state, RGROUP_LEADER);
    rig_write(&rig, 3, 9, 1, 10);
    CHECK_STR(rig_trace(&rig), "1 answer 8 OK\n3 answer 9 OK\n");
    CHECK_UINT(rig.now_ms, now_ms);
    rig_deinit(&rig);
}

static void change_role(uint64_t id, enum rgroup_role role, uint64_t token)
{
    struct rgroup_conf conf = {.n = rig.n};
    struct replica_event event = {
        .type = REPLICA_EV_CHANGE, .token = token, .conf = &conf};

    for (uint32_t i = 0; i < rig.n; i++) {
        conf.servers[i] = (struct rgroup_server){
            .id = i + 1, .role = i + 1 == id ? role : RGROUP_VOTER};
    }
    (void)rig_step(&rig, 1, &event);
    rig_settle(&rig);
}

/* The voters change only while no read lease is out: it rests on the present ones. */
static void change_waits_for_holders(void)
{
    begin(3);
    make_holder(2);
    rig_cut(&rig, 1, 2, true);
    change_role(3, RGROUP_STANDBY, 70);
    CHECK_UINT(rig.nodes[1].last, 2);
    rig_run(&rig, READ_LEASE_MS + 50);
    CHECK_UINT(rig.nodes[1].last, 3);
    mend(1, 2);
    rig_run(&rig, 300);
    CHECK_STR(rig_trace(&rig), "1 answer 70 OK\n");
    rig_deinit(&rig);
}

/* A sole voter leads again at once when it is started, and does not know what it granted
 * before: it waits, and changes no voters meanwhile. */
static void sole_voter_waits_after_start(void)
{
    begin(2);
    change_role(2, RGROUP_STANDBY, 80);
    CHECK_STR(rig_trace(&rig), "1 answer 80 OK\n");
    rig_run(&rig, 300);
    make_holder(2);
    rig_stop(&rig, 1);
    CHECK_INT(rig_start(&rig, 1), 0);
    rig_write(&rig, 1, 81, 1, 10);
    rig_read(&rig, 1, 82);
    change_role(2, RGROUP_VOTER, 83);
    rig_run(&rig, LEASE_MS);
    CHECK_STR(rig_trace(&rig), "");
    rig_run(&rig, 300);
    CHECK_STR(rig_trace(&rig), "1 answer 81 OK\n1 read 82 at 5\n1 answer 83 OK\n");
    rig_deinit(&rig);
}

/* A member that stops gives its lease back: nobody waits for it. */
static void stop_gives_back(void)
{
    struct replica_event event = {.type = REPLICA_EV_STOP};
    struct replica_status status;

    begin(3);
    make_holder(2);
    (void)rig_step(&rig, 2, &event);
    rig_settle(&rig);
    rig_status(&rig, 1, &status);
    CHECK_UINT(status.members[1].lease_ms, 0);
    rig_connect(&rig, 1, 2, false);
    rig_write(&rig, 1, 90, 1, 10);
    CHECK_STR(rig_trace(&rig), "1 answer 90 OK\n");
    rig_deinit(&rig);
}

/* Where leases are switched off, reads ask as ever, and promises are made all the same:
 * the leader may have them on. */
static void switched_off(void)
{
    struct replica_status status;

    memset(&rig, 0, sizeof rig);
    rig_init(&rig, 3);
    rig.leases = true;
    rig_stop(&rig, 1);
    CHECK_INT(rig_start(&rig, 1), 0);
    rig_elect(&rig, 1);
    rig_run(&rig, 300);
    rig_status(&rig, 1, &status);
    CHECK(status.lease_ms > 0);
    rig_read(&rig, 2, 95);
    rig_settle(&rig);
    CHECK_STR(rig_trace(&rig), "2 read 95 at 2\n");
    rig_status(&rig, 2, &status);
    CHECK_UINT(status.read_lease_ms, 0);
    rig_deinit(&rig);
}

TEST_MAIN(CHECK_TEST(leader_reads_alone), CHECK_TEST(suspended_leader_asks),
          CHECK_TEST(member_reads_alone), CHECK_TEST(writer_waits_for_holder),
          CHECK_TEST(receipt_is_enough), CHECK_TEST(named_inodes_wait),
          CHECK_TEST(receipt_dies_with_the_holder), CHECK_TEST(pull_ends_the_lease),
          CHECK_TEST(late_holder_is_dropped), CHECK_TEST(late_holder_is_asked),
          CHECK_TEST(transfer_waits_for_holders), CHECK_TEST(transfer_asks_leases_back),
          CHECK_TEST(change_waits_for_holders), CHECK_TEST(sole_voter_waits_after_start),
          CHECK_TEST(stop_gives_back), CHECK_TEST(switched_off))
