#include "base/log.h"
#include "base/outcome.h"
#include "base/prng.h"
#include "base/wire.h"
#include "lib/check.h"
#include "net_fixture.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { N = 3, STEPS = 3000, HEAD_BYTES = 25, BURST_MAX = 20 };

/* What one node knows of one channel to another. */
struct end {
    bool up;
    uint64_t boot;       /* Of the other side, while up. */
    uint64_t life;       /* How often it went up: frames name it. */
    uint64_t sent;       /* In this life. */
    uint64_t heard_boot; /* Of the frames heard in this life. */
    uint64_t heard_life;
    uint64_t heard;                  /* How many. */
    uint64_t lives_heard[2 * STEPS]; /* By boot: the latest life heard of. */
};

struct member {
    struct peer_identity *identity;
    struct peer_net *net;
    struct peer_callbacks callbacks;
    uint64_t number;
    uint64_t boot;
    uint16_t port;
    bool closed;
    bool in_call; /* Of an interface function: no callback may come. */
    struct end ends[N + 1][PEER_CHANNELS];
};

struct storm {
    struct fixture fixture;
    struct member members[N];
    struct prng prng;
    uint64_t boots;
    uint64_t delivered;
};

static struct storm *storm;

static uint8_t filler(uint64_t seq, size_t at)
{
    return (uint8_t)(seq * 17 + at * 3 + (at >> 9));
}

/* Frames of a connection are one life of the sender, from its first frame on, without a
 * gap; a life that was heard once is never heard on a later connection. */
static void on_frame(void *ctx, const struct peer_message *message)
{
    struct member *member = ctx;
    struct end *end = &member->ends[message->node][message->channel];
    struct wire_dec dec = wire_dec(message->head.data, message->head.len);
    struct slice body = message->body;
    uint64_t boot = wire_get_u64(&dec);
    uint64_t life = wire_get_u64(&dec);
    uint64_t seq = wire_get_u64(&dec);

    CHECK_UINT(wire_get_u8(&dec), message->type);
    CHECK(wire_done(&dec));
    CHECK(end->up && !member->in_call);
    CHECK_UINT(boot, end->boot);
    if (end->heard == 0) {
        CHECK(life > end->lives_heard[boot]);
        end->heard_life = life;
        end->lives_heard[boot] = life;
    }
    CHECK_UINT(life, end->heard_life);
    CHECK_UINT(seq, end->heard);
    end->heard++;
    for (size_t i = 0; i < body.len; i += 1 + body.len / 64) {
        CHECK_UINT(body.data[i], filler(seq, i));
    }
    storm->delivered++;
}

static void on_state(void *ctx, uint64_t from, enum peer_channel channel, bool up,
                     uint64_t boot)
{
    struct member *member = ctx;
    struct end *end = &member->ends[from][channel];

    CHECK(end->up != up && !member->in_call);
    end->up = up;
    end->boot = boot;
    if (up) {
        end->life++;
        end->sent = 0;
        end->heard = 0;
    }
}

static void send_one(struct member *member, uint64_t to, enum peer_channel channel)
{
    static const size_t sizes[] = {0, 1, 40, 3000, 16384, 70000, 400000};
    struct end *end = &member->ends[to][channel];
    size_t len = sizes[prng_below(&storm->prng, sizeof sizes / sizeof sizes[0])];
    struct buf *buf = buf_new(len);
    struct slice body;
    uint8_t bytes[HEAD_BYTES];
    struct wire_enc enc = wire_enc(bytes, sizeof bytes);
    int rv;

    for (size_t i = 0; i < len; i++) {
        buf->data[i] = filler(end->sent, i);
    }
    wire_put_u64(&enc, member->boot);
    wire_put_u64(&enc, end->life);
    wire_put_u64(&enc, end->sent);
    wire_put_u8(&enc, (uint8_t)end->sent);
    body = slice_of(buf, 0, len);
    rv = peer_send(member->net,
                   &(struct peer_message){.node = to,
                                          .channel = channel,
                                          .type = (uint8_t)end->sent,
                                          .head = slice_borrow(bytes, sizeof bytes),
                                          .body = body});
    CHECK(rv == 0 || rv == OUT_TRY_LATER || rv == OUT_FULL);
    end->sent += rv == 0;
    slice_unref(&body);
    buf_unref(buf);
}

static void member_open(struct member *member)
{
    struct peer_config config = {.address = "127.0.0.1",
                                 .port = member->port,
                                 .self = member->number,
                                 .boot = ++storm->boots,
                                 .queue_bytes_mark = 1 << 20};

    member->boot = config.boot;
    CHECK_INT(peer_net_open(&storm->fixture.loop, &config, member->identity,
                            &member->callbacks, &member->net),
              0);
    member->port = peer_net_port(member->net);
}

static void on_closed(void *arg)
{
    ((struct member *)arg)->closed = true;
}

static void member_close(struct member *member)
{
    member->closed = false;
    peer_net_close(member->net, on_closed, member);
    member->net = NULL;
    RUN_UNTIL(&storm->fixture, member->closed);
    for (unsigned other = 0; other <= N; other++) {
        for (unsigned channel = 0; channel < PEER_CHANNELS; channel++) {
            member->ends[other][channel].up = false;
        }
    }
}

/* The table with the nodes of @mask; a node whose bit is also in @wrong has a key that
 * is nobody's. */
static void introduce(struct member *member, uint64_t mask, uint64_t wrong)
{
    struct peer_node nodes[N] = {0};
    uint32_t n = 0;

    for (unsigned i = 0; i < N; i++) {
        if ((mask >> i & 1) != 0) {
            nodes[n].number = storm->members[i].number;
            nodes[n].port = storm->members[i].port;
            memcpy(nodes[n].host, "127.0.0.1", 10);
            memcpy(nodes[n].fingerprint,
                   peer_identity_fingerprint(storm->members[i].identity),
                   PEER_FINGERPRINT_BYTES);
            nodes[n].fingerprint[5] ^= (uint8_t)(wrong >> i & 1);
            n++;
        }
    }
    member->in_call = true;
    CHECK_INT(peer_net_nodes(member->net, nodes, n), 0);
    member->in_call = false;
}

static void step(void)
{
    struct prng *prng = &storm->prng;
    struct member *member = &storm->members[prng_below(prng, N)];
    uint64_t dice = prng_below(prng, 100);

    if (dice < 2) {
        member_close(member);
        member_open(member);
        introduce(member, 7, 0);
    } else if (dice < 5) {
        introduce(member, prng_below(prng, 8), prng_below(prng, 8) & prng_below(prng, 8));
    } else if (dice < 15) {
        introduce(member, 7, 0);
    } else if (dice < 60) {
        uint64_t to = 1 + prng_below(prng, N);
        enum peer_channel channel = (enum peer_channel)prng_below(prng, PEER_CHANNELS);

        member->in_call = true;
        for (uint64_t left = prng_below(prng, BURST_MAX); left > 0; left--) {
            send_one(member, to, channel);
        }
        member->in_call = false;
    } else {
        (void)uv_run(&storm->fixture.loop, UV_RUN_NOWAIT);
    }
}

static bool all_up(void)
{
    for (unsigned i = 0; i < N; i++) {
        for (uint64_t other = 1; other <= N; other++) {
            for (unsigned channel = 0; channel < PEER_CHANNELS; channel++) {
                if (other != i + 1 && !storm->members[i].ends[other][channel].up) {
                    return false;
                }
            }
        }
    }
    return true;
}

static void run(uint64_t seed)
{
    storm = calloc(1, sizeof *storm);
    fixture_init(&storm->fixture, N);
    prng_seed(&storm->prng, seed);
    for (unsigned i = 0; i < N; i++) {
        struct member *member = &storm->members[i];

        member->identity = storm->fixture.nodes[i].identity;
        member->number = i + 1;
        member->callbacks =
            (struct peer_callbacks){.ctx = member, .frame = on_frame, .state = on_state};
        member_open(member);
    }
    for (unsigned i = 0; i < STEPS; i++) {
        step();
    }
    for (unsigned i = 0; i < N; i++) {
        introduce(&storm->members[i], 7, 0);
    }
    RUN_UNTIL(&storm->fixture, all_up());
    storm->delivered = 0;
    for (unsigned i = 0; i < N; i++) {
        send_one(&storm->members[i], 1 + (i + 1) % N, PEER_LOG);
    }
    RUN_UNTIL(&storm->fixture, storm->delivered >= N);
    for (unsigned i = 0; i < N; i++) {
        member_close(&storm->members[i]);
    }
    fixture_deinit(&storm->fixture);
    free(storm);
    storm = NULL;
}

/* Nodes that restart, forget each other and come back while they send: every connection
 * delivers a gapless beginning of what was sent on it and never anything of an earlier
 * one, up and down alternate, and in the end all are connected. */
static void storm_one(void)
{
    run(1);
}

static void storm_two(void)
{
    run(2);
}

TEST_MAIN(CHECK_TEST(storm_one), CHECK_TEST(storm_two))
