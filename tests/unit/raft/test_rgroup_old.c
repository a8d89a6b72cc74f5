/*
 * Guards against what is out of date: a refusal of long ago, or by a member whose log was
 * put back, and a message of an old term. With the guard the behaviour is right, without
 * it the hazard of the engine shows.
 */
#include "lib/check.h"
#include "rgroup_rig.h"

#include <string.h>

static void start_all(struct rig *rig, uint64_t n)
{
    struct rgroup_conf conf = rig_conf((uint32_t)n, (uint32_t)n);

    for (uint64_t id = 1; id <= n; id++) {
        rig_log(rig, id, &conf, 0, 1);
        rig_start(rig, id);
    }
    rig->now_ms += RIG_ELECTION_MS; /* G12 */
}

/* G5: a member was put back to an earlier log while the leader's snapshot went beyond what
 * it had acknowledged. It is taken for absent, and asked whether it has the snapshot. Its
 * refusal says that its log ends below its match index. */
static void g5_run(uint32_t off)
{
    struct rig *rig = rig_new(off);
    struct rgroup_msg msg = {.type = RGROUP_MSG_APPEND_RESULT, .peer = 2, .version = 2};
    uint64_t match = 0;
    uint64_t now = 0;

    start_all(rig, 3);
    rig_elect(rig, 1);
    rig_run(rig, 300);
    CHECK_INT(rgroup_match_index(rig->members[1].group, 2, &match), 0);
    CHECK(match > 1);
    rig->cut[1][2] = true;
    rig->cut[2][1] = true;
    CHECK_INT(rig_submit(rig, 1, 5), 0);
    rig_run(rig, 2 * RIG_ELECTION_MS);
    msg.term = rgroup_term(rig->members[1].group);
    msg.rejected = rig->members[1].last;
    msg.index = 1;
    CHECK_UINT(rig->members[1].update.commit, msg.rejected);
    CHECK_INT(rig_snapshot(rig, 1, msg.rejected, 0), 0);
    rig_run(rig, 2 * RIG_HEARTBEAT_MS);
    CHECK_INT(rig_receive(rig, 1, &msg, NULL), 0);
    CHECK_INT(rgroup_match_index(rig->members[1].group, 2, &now), 0);
    CHECK_UINT(now, match);
    rig_run(rig, 500);
    CHECK_UINT(rig_leader(rig), 1);
    rig_free(rig);
}

static void g5_log_that_was_put_back(void)
{
    g5_run(0);
    CHECK(!rig_asserts(g5_run, 0));
    CHECK(rig_asserts(g5_run, RGROUP_OFF_G5));
}

/* What the engine does not set is then what is here. */
static void dirty_stack(void)
{
    enum { BYTES = 64 << 10 };
    volatile uint8_t *bytes = __builtin_alloca(BYTES);

    for (size_t i = 0; i < BYTES; i++) {
        bytes[i] = 0xff;
    }
}

/* G17: whoever has heard of a later term refuses an old leader's messages. The refusal
 * must reach it, or it leads on without this member: an index that cannot be would have it
 * thrown away. */
static void g17_run(uint32_t off, const struct rgroup_msg *old)
{
    struct rig *rig = rig_new(off);
    struct rgroup_conf conf = rig_conf(3, 3);
    struct rig_entry entry = rig_entry(1, RGROUP_CHANGE, &conf);
    const struct rgroup_msg *answer;
    struct rgroup_msg msg = *old;

    msg.conf = entry.conf;
    msg.conf_len = entry.conf_len;
    rig_log(rig, 1, &conf, 3, 7);
    rig_start(rig, 1);
    CHECK_UINT(rgroup_term(rig->members[1].group), 7);
    dirty_stack();
    CHECK_INT(rig_receive(rig, 1, &msg, NULL), 0);
    answer = rig_find(rig, RGROUP_MSG_APPEND_RESULT, 2);
    CHECK(answer != NULL);
    CHECK_UINT(answer->term, 7);
    CHECK_INT(answer->index != 0, off != 0);
    rig_free(rig);
}

static void g17_refusal_of_an_old_term(void)
{
    struct rgroup_msg append = {
        .type = RGROUP_MSG_APPEND, .peer = 2, .term = 6, .index = 4, .index_term = 6};
    struct rgroup_msg snapshot = {.type = RGROUP_MSG_SNAPSHOT,
                                  .peer = 2,
                                  .term = 6,
                                  .index = 4,
                                  .index_term = 6,
                                  .conf_index = 1};

    g17_run(0, &append);
    g17_run(RGROUP_OFF_G17, &append);
    g17_run(0, &snapshot);
    g17_run(RGROUP_OFF_G17, &snapshot);
}

TEST_MAIN(CHECK_TEST(g5_log_that_was_put_back), CHECK_TEST(g17_refusal_of_an_old_term))
