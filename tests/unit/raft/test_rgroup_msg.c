/* What comes from the network or the disk: encodings, and what is refused whole. */
#include "lib/check.h"
#include "rgroup_rig.h"

#include "base/prng.h"
#include "base/wire.h"

#include <errno.h>
#include <string.h>

static struct rgroup_msg sample(const struct rig_entry *conf)
{
    return (struct rgroup_msg){.type = RGROUP_MSG_SNAPSHOT,
                               .term = 3,
                               .index = UINT64_C(1) << 40,
                               .index_term = 2,
                               .commit = 5,
                               .rejected = 6,
                               .conf_index = 7,
                               .candidate = 8,
                               .version = 2,
                               .n = 9,
                               .features = 1,
                               .capacity = 65535,
                               .pre_vote = true,
                               .disrupt = true,
                               .conf = conf->conf,
                               .conf_len = conf->conf_len};
}

/* Every field travels, except the peer and after_index, which are the sender's own. */
static void message_round_trip(void)
{
    struct rgroup_conf conf = rig_conf(2, 3);
    struct rig_entry entry = rig_entry(1, RGROUP_CHANGE, &conf);
    struct rgroup_msg msg = sample(&entry);
    struct rgroup_msg got;
    uint8_t bytes[1024];
    struct wire_enc enc = wire_enc(bytes, sizeof bytes);
    struct wire_dec dec;

    rgroup_msg_put(&enc, &msg);
    CHECK(!enc.failed);
    dec = wire_dec(bytes, enc.len);
    CHECK_INT(rgroup_msg_get(&dec, &got), 0);
    CHECK(wire_done(&dec));
    CHECK_INT(got.type, msg.type);
    CHECK_UINT(got.term, msg.term);
    CHECK_UINT(got.index, msg.index);
    CHECK_UINT(got.index_term, msg.index_term);
    CHECK_UINT(got.commit, msg.commit);
    CHECK_UINT(got.rejected, msg.rejected);
    CHECK_UINT(got.conf_index, msg.conf_index);
    CHECK_UINT(got.candidate, msg.candidate);
    CHECK_UINT(got.version, msg.version);
    CHECK_UINT(got.n, msg.n);
    CHECK_UINT(got.features, msg.features);
    CHECK_UINT(got.capacity, msg.capacity);
    CHECK(got.pre_vote && got.disrupt && !got.granted);
    CHECK_UINT(got.conf_len, msg.conf_len);
    CHECK_MEM(got.conf, msg.conf, msg.conf_len);
}

/* A message that ends early, is of another version, type or has unknown flags is
 * refused. */
static void message_malformed(void)
{
    struct rgroup_conf conf = rig_conf(2, 3);
    struct rig_entry entry = rig_entry(1, RGROUP_CHANGE, &conf);
    struct rgroup_msg msg = sample(&entry);
    struct rgroup_msg got;
    uint8_t bytes[1024];
    struct wire_enc enc = wire_enc(bytes, sizeof bytes);
    struct wire_dec dec;
    size_t len;
    size_t i;

    rgroup_msg_put(&enc, &msg);
    for (len = 0; len < enc.len; len++) {
        dec = wire_dec(bytes, len);
        CHECK_INT(rgroup_msg_get(&dec, &got), -EPROTO);
    }
    for (i = 0; i < 3; i++) {
        bytes[i] ^= 0x80;
        dec = wire_dec(bytes, enc.len);
        CHECK_INT(rgroup_msg_get(&dec, &got), -EPROTO);
        bytes[i] ^= 0x80;
    }
}

/* Configurations have one form only, so that all members hold the same bytes, and the
 * engine writes it as we do. */
static void configuration_round_trip(void)
{
    struct rgroup_conf conf = rig_conf(2, 3);
    struct rgroup_conf got = {0};
    struct rig *rig = rig_new(0);
    uint8_t bytes[RGROUP_CONF_BYTES_MAX];
    size_t len;
    size_t i;

    rig_log(rig, 1, &conf, 0, 1);
    CHECK_INT(rgroup_conf_encode(&conf, bytes, sizeof bytes, &len), 0);
    CHECK_INT(rgroup_conf_decode(bytes, len, &got), 0);
    CHECK_UINT(got.n, 3);
    for (i = 0; i < 3; i++) {
        CHECK_UINT(got.servers[i].id, conf.servers[i].id);
        CHECK_INT(got.servers[i].role, conf.servers[i].role);
    }
    CHECK_INT(rgroup_conf_encode(&conf, bytes, len - 1, &i), -ENOBUFS);

    conf = rig_conf(1, 1);
    rig_log(rig, 1, &conf, 0, 1);
    rig_start(rig, 1);
    conf = rig_conf(1, 2);
    CHECK_INT(rig_change(rig, 1, &conf), 0);
    CHECK_INT(rgroup_conf_encode(&conf, bytes, sizeof bytes, &len), 0);
    CHECK_UINT(rig->members[1].log[3].conf_len, len);
    CHECK_MEM(rig->members[1].log[3].conf, bytes, len);
    rig_free(rig);
}

/* 128 members with the longest ids fit into the bound of an encoding. */
static void configuration_of_the_largest_size(void)
{
    struct rgroup_conf conf = {.n = RGROUP_MEMBERS_MAX};
    uint8_t bytes[RGROUP_CONF_BYTES_MAX];
    size_t len;
    uint32_t i;

    for (i = 0; i < conf.n; i++) {
        conf.servers[i].id = UINT64_MAX - i;
        conf.servers[i].role = RGROUP_VOTER;
    }
    CHECK_INT(rgroup_conf_encode(&conf, bytes, sizeof bytes, &len), 0);
    CHECK_INT(rgroup_conf_decode(bytes, len, &conf), 0);
    conf.n++;
    CHECK_INT(rgroup_conf_encode(&conf, bytes, sizeof bytes, &len), -EINVAL);
}

/* No bytes but the very encoding are taken for one: the engine's own decoder trusts
 * what it reads. Whatever survives a flipped bit encodes to itself again. */
static void configuration_malformed(void)
{
    struct rgroup_conf conf = rig_conf(2, 3);
    struct rgroup_conf got;
    uint8_t bytes[1024];
    uint8_t again[1024];
    struct prng prng;
    size_t again_len;
    size_t len;
    size_t i;

    CHECK_INT(rgroup_conf_encode(&conf, bytes, sizeof bytes, &len), 0);
    for (i = 0; i < len; i++) {
        CHECK_INT(rgroup_conf_decode(bytes, i, &got), -EINVAL);
    }
    for (i = 0; i < 8 * len; i++) {
        bytes[i / 8] ^= (uint8_t)(1u << i % 8);
        if (rgroup_conf_decode(bytes, len, &got) == 0) {
            CHECK_INT(rgroup_conf_encode(&got, again, sizeof again, &again_len), 0);
            CHECK_UINT(again_len, len);
            CHECK_MEM(again, bytes, len);
        }
        bytes[i / 8] ^= (uint8_t)(1u << i % 8);
    }
    prng_seed(&prng, 1);
    for (i = 0; i < 20000; i++) {
        size_t k;

        len = 8 * prng_below(&prng, 16);
        for (k = 0; k < len; k++) {
            bytes[k] = (uint8_t)prng_below(&prng, 4);
        }
        if (len > 0) {
            bytes[0] = 1;
        }
        (void)rgroup_conf_decode(bytes, len, &got);
    }
    bytes[0] = 1;
    memset(bytes + 1, 0, 15);
    CHECK_INT(rgroup_conf_decode(bytes, 16, &got), -EINVAL); /* No servers. */
    CHECK_INT(rgroup_conf_decode(NULL, 0, &got), -EINVAL);
}

static struct rgroup_msg append(void)
{
    return (struct rgroup_msg){.type = RGROUP_MSG_APPEND,
                               .peer = 2,
                               .term = 5,
                               .index = 1,
                               .index_term = 1,
                               .commit = 1,
                               .n = 2};
}

/* Feed it to a follower: refused, and nothing has changed. */
static void refused(struct rgroup_msg msg, const struct rig_entry *entries)
{
    struct rgroup_conf conf = rig_conf(3, 3);
    struct rig *rig = rig_new(0);

    rig_log(rig, 1, &conf, 0, 1);
    rig_start(rig, 1);
    rig->now_ms += RIG_ELECTION_MS;
    CHECK_INT(rig_receive(rig, 1, &msg, entries), -EPROTO);
    CHECK_UINT(rgroup_term(rig->members[1].group), 1);
    CHECK_UINT(rgroup_last_index(rig->members[1].group), 1);
    CHECK_UINT(rig->members[1].metas, 0);
    CHECK_UINT(rig->queue_tail, 0);
    rig_free(rig);
}

/* No member jumps to a term from which no further election is possible; a large step is
 * taken, and whoever has no log yet takes what the group has. */
static void terms_do_not_run_out(void)
{
    struct rgroup_conf conf = rig_conf(3, 3);
    struct rgroup_msg msg = {.type = RGROUP_MSG_APPEND,
                             .peer = 2,
                             .term = (1ull << 32) + 1,
                             .index = 1,
                             .index_term = 1};
    struct rig *rig = rig_new(0);

    rig_log(rig, 1, &conf, 0, 1);
    rig_start(rig, 1);
    rig->now_ms += RIG_ELECTION_MS;
    CHECK_INT(rig_receive(rig, 1, &msg, NULL), 0);
    CHECK_UINT(rgroup_term(rig->members[1].group), (1ull << 32) + 1);
    msg.term = 1ull << 33 | 2;
    CHECK_INT(rig_receive(rig, 1, &msg, NULL), -EPROTO);
    CHECK_UINT(rgroup_term(rig->members[1].group), (1ull << 32) + 1);
    rig_start(rig, 3); /* It has nothing. */
    CHECK_INT(rig_receive(rig, 3, &msg, NULL), 0);
    CHECK_UINT(rgroup_term(rig->members[3].group), 1ull << 33 | 2);
    rig_free(rig);
}

/* The engine believes what it gets: terms and indexes that cannot be are stopped. */
static void appends_that_cannot_be(void)
{
    struct rig_entry good[2] = {rig_entry(5, RGROUP_COMMAND, NULL),
                                rig_entry(5, RGROUP_COMMAND, NULL)};
    struct rig_entry bad[2] = {good[0], good[1]};
    struct rgroup_msg msg;

    msg = append(), msg.peer = 1, refused(msg, good);
    msg = append(), msg.peer = 0, refused(msg, good);
    msg = append(), msg.term = 0, refused(msg, good);
    msg = append(), msg.term = UINT64_MAX, refused(msg, good);
    msg = append(), msg.term = UINT64_MAX / 4, refused(msg, good);
    msg = append(), msg.term = (1ull << 32) + 2, refused(msg, good);
    msg = append(), msg.index = UINT64_MAX, refused(msg, good);
    msg = append(), msg.index = 0, refused(msg, good);
    msg = append(), msg.index_term = 0, refused(msg, good);
    msg = append(), msg.index_term = 6, refused(msg, good);
    msg = append(), msg.version = 1, refused(msg, good);
    msg = append(), msg.n = 1, refused(msg, NULL);
    msg = append(), msg.index = msg.index_term = 0, refused(msg, good);
    bad[1].term = 4;
    refused(append(), bad); /* Falls. */
    bad[1].term = 6;
    refused(append(), bad); /* Beyond the leader's. */
    bad[1] = rig_entry(5, (enum rgroup_entry_type)4, NULL);
    refused(append(), bad);
    bad[1] = rig_entry(5, RGROUP_CHANGE, NULL);
    refused(append(), bad); /* A change without a configuration. */
}

/* So are votes for others, and snapshots without a configuration. */
static void other_messages_that_cannot_be(void)
{
    struct rgroup_conf conf = rig_conf(3, 3);
    struct rig_entry entry = rig_entry(1, RGROUP_CHANGE, &conf);
    struct rgroup_msg vote = {.type = RGROUP_MSG_VOTE,
                              .peer = 2,
                              .candidate = 3,
                              .version = 2,
                              .term = 5,
                              .index = 1,
                              .index_term = 1};
    struct rgroup_msg snap = {.type = RGROUP_MSG_SNAPSHOT,
                              .peer = 2,
                              .term = 5,
                              .index = 9,
                              .index_term = 4,
                              .conf_index = 10,
                              .conf = entry.conf,
                              .conf_len = entry.conf_len};

    refused(vote, NULL);
    vote.candidate = 2;
    vote.index_term = 5;
    refused(vote, NULL); /* It stands for a term that its log has already. */
    refused(snap, NULL);
    snap.conf_index = 9;
    snap.conf_len = 8;
    refused(snap, NULL);
    snap.type = (enum rgroup_msg_type)7;
    refused(snap, NULL);
}

/* A vote that nobody asked for does not make a candidate step, and a second leader of
 * one term is not obeyed. */
static void impossible_for_the_state(void)
{
    struct rgroup_conf conf = rig_conf(3, 3);
    struct rig *rig = rig_new(0);
    struct rgroup_msg msg = {.type = RGROUP_MSG_VOTE_RESULT,
                             .peer = 2,
                             .version = 2,
                             .granted = true,
                             .pre_vote = true};
    uint64_t id;

    for (id = 1; id <= 3; id++) {
        rig_log(rig, id, &conf, 0, 1);
        rig_start(rig, id);
    }
    rig->now_ms += RIG_ELECTION_MS;
    rig->cut[1][2] = rig->cut[1][3] = true;
    rig_elect(rig, 1);
    msg.term = 7;
    CHECK_INT(rig_receive(rig, 1, &msg, NULL), -EPROTO);
    CHECK_UINT(rgroup_term(rig->members[1].group), 1);
    rig->cut[1][2] = rig->cut[1][3] = false;
    rig_run(rig, 5000);
    CHECK(rig_leader(rig) != 0);
    id = rig_leader(rig);
    msg = (struct rgroup_msg){.type = RGROUP_MSG_APPEND,
                              .peer = id == 1 ? 2 : 1,
                              .term = rgroup_term(rig->members[id].group),
                              .index = 1,
                              .index_term = 1};
    CHECK_INT(rig_receive(rig, id, &msg, NULL), -EPROTO);
    CHECK_INT(rig->members[id].update.state, RGROUP_LEADER);
    rig_free(rig);
}

static int start_with(const struct rgroup_event *event)
{
    struct rgroup_config config = {.self = 1,
                                   .election_ms = RIG_ELECTION_MS,
                                   .heartbeat_ms = RIG_HEARTBEAT_MS,
                                   .inflight_max = 64,
                                   .seed = 1};
    struct rgroup_update update;
    struct rgroup *group = NULL;
    int rv;

    CHECK_INT(rgroup_new(&config, &group), 0);
    rv = rgroup_step(group, event, &update);
    CHECK_UINT(update.n_messages + update.n_appends, 0);
    rgroup_free(group);
    return rv;
}

/* A log that cannot be is a fault, not a reason to go on. */
static void starts_that_cannot_be(void)
{
    struct rgroup_conf conf = rig_conf(3, 3);
    struct rig_entry first = rig_entry(1, RGROUP_CHANGE, &conf);
    struct rgroup_entry entries[3] = {{1, RGROUP_CHANGE, first.conf, first.conf_len},
                                      {2, RGROUP_COMMAND, NULL, 0},
                                      {2, RGROUP_COMMAND, NULL, 0}};
    struct rgroup_event good = {.type = RGROUP_EV_START,
                                .now_ms = 1,
                                .term = 2,
                                .first_index = 1,
                                .entries = entries,
                                .n_entries = 3};
    struct rgroup_event event = good;

    CHECK_INT(start_with(&event), 0);
    event = good, event.term = 1;
    CHECK_INT(start_with(&event), -EUCLEAN);
    event = good, event.first_index = 2;
    CHECK_INT(start_with(&event), -EUCLEAN);
    event = good, event.entries = entries + 1, event.n_entries = 2;
    CHECK_INT(start_with(&event), -EUCLEAN);
    event = good, event.has_snapshot = true;
    CHECK_INT(start_with(&event), -EUCLEAN);
    entries[1].term = 3;
    CHECK_INT(start_with(&good), -EUCLEAN);
    entries[1].term = 2;
    entries[0].conf_len = 8;
    CHECK_INT(start_with(&good), -EUCLEAN);
}

/* A snapshot that overtook the log, for the crash came in between, makes it void. */
static void snapshot_newer_than_the_log(void)
{
    struct rgroup_conf conf = rig_conf(2, 3);
    struct rig *rig = rig_new(0);
    struct rig_member *m = &rig->members[1];

    rig_log(rig, 1, &conf, 4, 3);
    rig_log(rig, 2, &conf, 0, 1);
    m->has_snapshot = true;
    m->snapshot = (struct rgroup_snapshot){.index = 5,
                                           .term = 4,
                                           .conf_index = 1,
                                           .conf = m->log[1].conf,
                                           .conf_len = m->log[1].conf_len};
    rig_start(rig, 1);
    CHECK_UINT(rgroup_last_index(m->group), 5);
    CHECK_UINT(rgroup_term(m->group), 4); /* Heard of through the snapshot only. */
    CHECK_UINT(m->metas, 1);
    CHECK_UINT(m->update.commit, 5);
    rig_free(rig);
}

TEST_MAIN(CHECK_TEST(message_round_trip), CHECK_TEST(message_malformed),
          CHECK_TEST(configuration_round_trip),
          CHECK_TEST(configuration_of_the_largest_size),
          CHECK_TEST(configuration_malformed), CHECK_TEST(terms_do_not_run_out),
          CHECK_TEST(appends_that_cannot_be), CHECK_TEST(other_messages_that_cannot_be),
          CHECK_TEST(impossible_for_the_state), CHECK_TEST(starts_that_cannot_be),
          CHECK_TEST(snapshot_newer_than_the_log))
