/* Rules of leases and of reads by asking that only one history each shows to be broken. */
#include "base/outcome.h"
#include "base/wire.h"
#include "lib/check.h"
#include "replica_rig.h"

#include <string.h>

#define ELECTION_MS 1000u /* Of the rig. */

/* Too large for a stack; each test begins with an empty one. */
static struct rig rig;

static void begin(bool leases)
{
    memset(&rig, 0, sizeof rig);
    rig.leases = leases;
    rig_init(&rig, 3);
    rig_elect(&rig, 1);
    rig_run(&rig, 300);
}

static uint64_t lease_of(uint64_t id)
{
    struct replica_status status;

    rig_status(&rig, id, &status);
    return status.read_lease_ms;
}

static uint64_t term_of(uint64_t id)
{
    struct replica_status status;

    rig_status(&rig, id, &status);
    return status.term;
}

/* A frame of numbers that comes to @id, now and whatever is cut. */
static void comes(uint64_t id, uint64_t from, uint8_t type, const uint64_t *values,
                  uint32_t n)
{
    uint8_t bytes[64] = {1}; /* The frame's version. */
    struct wire_enc enc = wire_enc(bytes + 1, sizeof bytes - 1);
    struct replica_event event = {
        .type = REPLICA_EV_FRAME, .from = from, .frame_type = type};

    for (uint32_t i = 0; i < n; i++) {
        wire_put_u64(&enc, values[i]);
    }
    event.head = slice_borrow(bytes, 1 + enc.len);
    CHECK_INT(rig_step(&rig, id, &event), 0);
}

/* The third number of the last frame under way of this type; UINT64_MAX: there is none. */
static uint64_t third_under_way(uint64_t from, uint64_t to, uint8_t type)
{
    uint64_t third = UINT64_MAX;

    for (uint32_t i = 0; i < rig.n_frames; i++) {
        const struct rig_frame *frame = &rig.frames[(rig.at + i) % RIG_FRAMES_MAX];

        if (frame->from == from && frame->to == to && frame->type == type) {
            struct wire_dec dec = wire_dec(frame->head.data, frame->head.len);

            (void)wire_get_u8(&dec);
            (void)wire_get_u64(&dec);
            (void)wire_get_u64(&dec);
            third = wire_get_u64(&dec);
        }
    }
    return third;
}

/* A holder that says that it has more than there is has not received what comes later. */
static void receipt_beyond_the_log(void)
{
    uint64_t values[2];

    begin(true);
    rig_read(&rig, 2, 10);
    rig_settle(&rig);
    CHECK(lease_of(2) > 0);
    (void)rig_trace(&rig);
    values[0] = term_of(1);
    values[1] = rig.nodes[1].last + 100;
    comes(1, 2, REPLICA_FRAME_RECEIVED, values, 2);
    rig_cut(&rig, 1, 2, true);
    rig_write(&rig, 1, 20, 1, 10);
    CHECK_STR(rig_trace(&rig), ""); /* It waits for the lease to be over. */
    rig_deinit(&rig);
}

/* No read lease is given while a change of the voters is in the log and not applied: they
 * are not those that the leader's lease rests on. */
static void no_lease_during_a_change(void)
{
    struct rgroup_conf conf = {.n = 3,
                               .servers = {{.id = 1, .role = RGROUP_VOTER},
                                           {.id = 2, .role = RGROUP_VOTER},
                                           {.id = 3, .role = RGROUP_STANDBY}}};
    struct replica_event change = {.type = REPLICA_EV_CHANGE, .token = 50, .conf = &conf};
    uint64_t values[3] = {0, 77, 0};

    begin(true);
    values[0] = term_of(1);
    values[2] = rig.nodes[2].last;
    comes(1, 2, REPLICA_FRAME_LEASE_ASK, values, 3);
    CHECK(third_under_way(1, 2, REPLICA_FRAME_LEASE_GRANT) > 0);
    values[1] = UINT64_MAX / 2;
    comes(1, 2, REPLICA_FRAME_LEASE_RETURN, values, 2);
    rig_settle(&rig);
    rig.cut[2][1] = true;
    rig.cut[3][1] = true;
    (void)rig_step(&rig, 1, &change);
    rig_settle(&rig);
    CHECK_UINT(rig.nodes[2].last, rig.nodes[1].last); /* It is in the log. */
    comes(1, 2, REPLICA_FRAME_LEASE_ASK, values, 3);
    CHECK_UINT(third_under_way(1, 2, REPLICA_FRAME_LEASE_GRANT), 0);
    rig_deinit(&rig);
}

/* Who is no member gets no lease, and makes nobody wait. */
static void no_lease_for_strangers(void)
{
    uint64_t values[3] = {0, 5, 2};

    begin(true);
    values[0] = term_of(1);
    comes(1, 4, REPLICA_FRAME_LEASE_ASK, values, 3);
    rig_write(&rig, 1, 20, 1, 10);
    CHECK_STR(rig_trace(&rig), "1 answer 20 OK\n");
    rig_deinit(&rig);
}

/* A new lease serves from the index on up to which nobody waited for its holder. */
static void lease_begins_with_its_index(void)
{
    begin(true);
    rig.nodes[2].no_entries = true;
    rig_write(&rig, 1, 20, 1, 10);
    CHECK_STR(rig_trace(&rig), "1 answer 20 OK\n");
    rig_read(&rig, 2, 30);
    rig_settle(&rig);
    CHECK(lease_of(2) > 0);
    rig_read(&rig, 2, 31);
    rig_settle(&rig);
    CHECK_STR(rig_trace(&rig), ""); /* It lacks what was answered. */
    rig_deinit(&rig);
}

/* A ping of a term that is not this voter's, on its disk, is not answered. */
static void ping_of_another_term(void)
{
    uint64_t values[3] = {0, 1, 500};

    begin(true);
    values[0] = term_of(2) + 1;
    rig_settle(&rig);
    comes(2, 1, REPLICA_FRAME_PING, values, 3);
    for (uint32_t i = 0; i < rig.n_frames; i++) {
        CHECK(rig.frames[(rig.at + i) % RIG_FRAMES_MAX].type != REPLICA_FRAME_PONG);
    }
    rig_deinit(&rig);
}

/* Who answers pings helps nobody to lead, itself included, though the log's channel brings
 * it nothing and its own election timer runs out: the leader reads by that answer. */
static void answered_pings_hold(void)
{
    struct replica_status status;

    begin(true);
    rig.nodes[3].no_appends = true;
    for (unsigned i = 0; i < 300; i++) {
        rig_run(&rig, 10);
        rig_status(&rig, 3, &status);
        CHECK_INT(status.state, RGROUP_FOLLOWER);
        CHECK_UINT(status.leader, 1);
    }
    rig_status(&rig, 1, &status);
    CHECK_INT(status.state, RGROUP_LEADER);
    rig_deinit(&rig);
}

static bool votes_for_3(uint64_t id, uint64_t term)
{
    struct rgroup_msg msg = {.type = RGROUP_MSG_VOTE,
                             .version = 2,
                             .term = term,
                             .index = rig.nodes[3].last,
                             .index_term = rig.nodes[3].log[rig.nodes[3].last].term,
                             .candidate = 3};
    struct replica_event event = {
        .type = REPLICA_EV_FRAME, .from = 3, .frame_type = REPLICA_FRAME_MSG};
    uint8_t bytes[256] = {1};
    struct wire_enc enc = wire_enc(bytes + 1, sizeof bytes - 1);
    bool granted = false;

    rgroup_msg_put(&enc, &msg);
    event.head = slice_borrow(bytes, 1 + enc.len);
    (void)rig_step(&rig, id, &event);
    for (uint32_t i = 0; i < rig.n_frames; i++) {
        const struct rig_frame *frame = &rig.frames[(rig.at + i) % RIG_FRAMES_MAX];
        struct wire_dec dec = wire_dec(frame->head.data, frame->head.len);

        (void)wire_get_u8(&dec);
        if (frame->from == id && frame->type == REPLICA_FRAME_MSG &&
            rgroup_msg_get(&dec, &msg) == 0 && msg.type == RGROUP_MSG_VOTE_RESULT) {
            granted = granted || msg.granted;
        }
    }
    return granted;
}

/* A leader that gives up, as it hears no acknowledgements, while a read lease that it gave
 * is out: its vote must not make another leader before that is over. */
static void leases_outlast_their_leader(void)
{
    struct replica_status status;

    begin(true);
    rig.nodes[1].no_msgs = true; /* But answers to its pings come. */
    for (unsigned i = 0; i < 400; i++) {
        rig_read(&rig, 2, 1000 + i);
        rig_run(&rig, 10);
        rig_status(&rig, 1, &status);
        if (status.state != RGROUP_LEADER) {
            break;
        }
    }
    CHECK(status.state != RGROUP_LEADER);
    CHECK(lease_of(2) > 100);
    CHECK(!votes_for_3(1, status.term + 1));
    rig_deinit(&rig);
}

/* Who has told another to lead reads by its own lease no more, for as long as it would
 * have lasted: the voters need not wait for that to be over. */
static void lease_goes_with_leadership(void)
{
    struct replica_event event = {.type = REPLICA_EV_TRANSFER, .from = 2, .token = 7};
    struct replica_event now = {
        .type = REPLICA_EV_FRAME, .from = 1, .frame_type = REPLICA_FRAME_MSG};
    struct replica_status status;

    begin(true);
    rig_status(&rig, 1, &status);
    CHECK(status.lease_ms > 0);
    (void)rig_step(&rig, 1, &event);
    now.head = rig_take(&rig, 1, 2, REPLICA_FRAME_MSG);
    rig_settle(&rig); /* It asks for no new lease meanwhile. */
    rig_cut(&rig, 1, 2, true);
    rig_cut(&rig, 1, 3, true);
    (void)rig_step(&rig, 2, &now);
    slice_unref(&now.head);
    rig_settle(&rig);
    rig_status(&rig, 2, &status);
    CHECK_INT(status.state, RGROUP_LEADER);
    rig_write(&rig, 2, 20, 1, 10);
    CHECK_STR(rig_trace(&rig), "2 answer 20 OK\n");
    rig_read(&rig, 1, 30);
    rig_settle(&rig);
    CHECK_STR(rig_trace(&rig), "");
    rig_deinit(&rig);
}

/* What came before the lease was asked for may touch anything: its names were not looked
 * at. */
static void entries_before_the_lease(void)
{
    begin(true);
    rig.nodes[1].hold_journal = true;
    rig.nodes[3].hold_journal = true;
    rig.nodes[2].hold_zone = true;
    rig_write(&rig, 1, 20, 1, 10); /* A WRITE to inode 2, on member 2's disk alone. */
    rig_read_of(&rig, 2, 30, 7, 1);
    rig_settle(&rig);
    CHECK(lease_of(2) > 0);
    (void)rig_trace(&rig);
    rig_journal_done(&rig, 1);
    rig_settle(&rig);
    CHECK_STR(rig_trace(&rig), "1 answer 20 OK\n");
    rig_read_of(&rig, 2, 31, 2, 1);
    rig_settle(&rig);
    CHECK_STR(rig_trace(&rig), "");
    rig.nodes[2].hold_zone = false;
    rig_zone_done(&rig, 2);
    rig_settle(&rig);
    CHECK_STR(rig_trace(&rig), "2 read 31 at 3\n");
    rig_deinit(&rig);
}

/* The answer to a question of before is none to what is asked now. */
static void old_read_answer(void)
{
    struct replica_event tick = {.type = REPLICA_EV_TICK};
    struct replica_event event = {
        .type = REPLICA_EV_FRAME, .from = 1, .frame_type = REPLICA_FRAME_READ_ANSWER};
    struct slice old;

    begin(false);
    rig_read(&rig, 2, 30);
    old = rig_take(&rig, 1, 2, REPLICA_FRAME_READ_ANSWER);
    rig_cut(&rig, 1, 2, true);
    rig.nodes[2].no_entries = true;
    rig_write(&rig, 1, 20, 1, 10);
    CHECK_STR(rig_trace(&rig), "1 answer 20 OK\n");
    rig_read(&rig, 2, 31);
    rig.now_ms += ELECTION_MS;
    (void)rig_step(&rig, 2, &tick); /* It asks again, for both. */
    event.head = old;
    (void)rig_step(&rig, 2, &event);
    CHECK_STR(rig_trace(&rig), "");
    slice_unref(&old);
    rig_deinit(&rig);
}

TEST_MAIN(CHECK_TEST(receipt_beyond_the_log), CHECK_TEST(no_lease_during_a_change),
          CHECK_TEST(no_lease_for_strangers), CHECK_TEST(lease_begins_with_its_index),
          CHECK_TEST(ping_of_another_term), CHECK_TEST(answered_pings_hold),
          CHECK_TEST(leases_outlast_their_leader), CHECK_TEST(lease_goes_with_leadership),
          CHECK_TEST(entries_before_the_lease), CHECK_TEST(old_read_answer))
