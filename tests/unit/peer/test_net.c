#include "base/outcome.h"
#include "base/wire.h"
#include "lib/check.h"
#include "net_fixture.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static struct slice text(const char *string)
{
    return slice_borrow(string, strlen(string));
}

/* Three nodes that know each other bring up three channels per pair, with the other's
 * boot id: that is all the daemon has to do to be connected. */
static void three_nodes_connect(void)
{
    struct fixture f = {0};

    fixture_up(&f, 3);
    CHECK(strstr(f.nodes[0].trace, "up 2 control 101\n") != NULL);
    CHECK(strstr(f.nodes[0].trace, "up 3 bulk 102\n") != NULL);
    CHECK(strstr(f.nodes[2].trace, "up 1 log 100\n") != NULL);
    CHECK(strstr(f.nodes[2].trace, "up 2 bulk 101\n") != NULL);
    CHECK(peer_is_up(f.nodes[1].net, 3, PEER_LOG));
    CHECK(!peer_is_up(f.nodes[1].net, 2, PEER_LOG));
    CHECK(!peer_is_up(f.nodes[1].net, 9, PEER_LOG));
    fixture_deinit(&f);
}

/* A frame arrives as it was sent, both ways, empty ones too. */
static void frame_arrives(void)
{
    struct fixture f = {0};

    fixture_up(&f, 2);
    f.nodes[0].trace[0] = 0;
    f.nodes[1].trace[0] = 0;
    CHECK_INT(peer_send(f.nodes[0].net, &(struct peer_message){.node = 2,
                                                               .channel = PEER_LOG,
                                                               .type = 7,
                                                               .head = text("hello"),
                                                               .body = text("body")}),
              0);
    CHECK_INT(peer_send(f.nodes[0].net, &(struct peer_message){.node = 2,
                                                               .channel = PEER_LOG,
                                                               .type = 8,
                                                               .head = text(""),
                                                               .body = text("")}),
              0);
    CHECK_INT(peer_send(f.nodes[0].net, &(struct peer_message){.node = 2,
                                                               .channel = PEER_LOG,
                                                               .type = 9,
                                                               .head = text(""),
                                                               .body = text("x")}),
              0);
    CHECK_INT(peer_send(f.nodes[1].net, &(struct peer_message){.node = 1,
                                                               .channel = PEER_BULK,
                                                               .type = 255,
                                                               .head = text("y"),
                                                               .body = text("")}),
              0);
    RUN_UNTIL(&f, f.nodes[1].frames == 3 && f.nodes[0].frames == 1);
    CHECK_STR(f.nodes[1].trace, "frame 1 log 7 \"hello\" 4\n"
                                "frame 1 log 8 \"\" 0\n"
                                "frame 1 log 9 \"\" 1\n");
    CHECK_STR(f.nodes[0].trace, "frame 2 bulk 255 \"y\" 0\n");
    fixture_deinit(&f);
}

/* The pattern of the body of frame @number. */
static uint8_t pattern(uint64_t number, size_t at)
{
    return (uint8_t)(number * 31 + at * 7 + (at >> 8));
}

static void check_pattern(struct node *node, struct slice body)
{
    uint64_t number = node->expected_next - 1;

    for (size_t i = 0; i < body.len; i++) {
        if (body.data[i] != pattern(number, i)) {
            node->in_order = false;
        }
    }
}

static int send_numbered(struct fixture *f, uint64_t number, size_t len, bool borrowed)
{
    struct buf *buf = buf_new(len + 1);
    uint8_t head[8];
    struct slice body;
    int rv;

    for (size_t i = 0; i < len; i++) {
        buf->data[i] = pattern(number, i);
    }
    wire_store_u64(head, number);
    body = borrowed ? slice_borrow(buf->data, len) : slice_of(buf, 0, len);
    rv = peer_send(f->nodes[0].net, &(struct peer_message){.node = 2,
                                                           .channel = PEER_BULK,
                                                           .type = 1,
                                                           .head = slice_borrow(head, 8),
                                                           .body = body});
    slice_unref(&body);
    buf_unref(buf);
    return rv;
}

/* Frames of every size around the limits of records and buffers, owned and borrowed,
 * come out whole and in order: small ones share records, large ones span them. */
static void order_and_content_hold(void)
{
    static const size_t sizes[] = {0,
                                   1,
                                   100,
                                   4096,
                                   16371,
                                   16372,
                                   16383,
                                   16384,
                                   16385,
                                   20000,
                                   32768,
                                   65536,
                                   1,
                                   2,
                                   262144,
                                   262100,
                                   PEER_FRAME_MAX - 8,
                                   3};
    struct fixture f = {0};
    uint64_t number = 0;
    uint64_t bytes = 0;

    fixture_up(&f, 2);
    f.nodes[1].on_frame = check_pattern;
    for (unsigned round = 0; round < 4; round++) {
        for (unsigned i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
            CHECK_INT(send_numbered(&f, number, sizes[i], round % 2 == 1), 0);
            number++;
            bytes += sizes[i] + 8;
        }
    }
    RUN_UNTIL(&f, f.nodes[1].frames == number);
    CHECK(f.nodes[1].in_order);
    CHECK_UINT(f.nodes[1].bytes, bytes);
    CHECK_UINT(peer_queued_bytes(f.nodes[0].net, 2, PEER_BULK), 0);
    fixture_deinit(&f);
}

/* More than a frame may hold is a fault at the sender, not a broken connection. */
static void too_large_is_refused(void)
{
    struct fixture f = {0};
    struct buf *buf = buf_new(PEER_FRAME_MAX);
    struct slice body = slice_of(buf, 0, PEER_FRAME_MAX);

    fixture_up(&f, 2);
    CHECK_INT(peer_send(f.nodes[0].net, &(struct peer_message){.node = 2,
                                                               .channel = PEER_LOG,
                                                               .type = 1,
                                                               .head = text("h"),
                                                               .body = body}),
              -EMSGSIZE);
    CHECK(peer_is_up(f.nodes[0].net, 2, PEER_LOG));
    slice_unref(&body);
    buf_unref(buf);
    fixture_deinit(&f);
}

/* What cannot be sent is said at once: nothing is queued for a channel that is down,
 * nor for this node or one that is not in the table. */
static void down_is_try_later(void)
{
    struct fixture f = {0};

    fixture_init(&f, 2);
    fixture_open(&f, 0, 1);
    fixture_open(&f, 1, 1);
    fixture_introduce(&f);
    for (uint64_t to = 1; to <= 3; to++) {
        CHECK_INT(peer_send(f.nodes[0].net, &(struct peer_message){.node = to,
                                                                   .channel = PEER_LOG,
                                                                   .type = 1,
                                                                   .head = text("h"),
                                                                   .body = text("b")}),
                  OUT_TRY_LATER);
        CHECK_UINT(peer_queued_bytes(f.nodes[0].net, to, PEER_LOG), 0);
    }
    fixture_deinit(&f);
}

/* The queue is bounded at four times the mark, and writable comes once it has drained
 * below the mark: a sender that waits for it neither stalls nor overruns. */
static void full_then_writable(void)
{
    struct fixture f = {.mark = 65536};
    uint64_t number = 0;

    fixture_up(&f, 2);
    while (send_numbered(&f, number, 20000, true) == 0) {
        number++;
        CHECK(number < 100);
    }
    CHECK_INT(send_numbered(&f, number, 20000, true), OUT_FULL);
    CHECK(peer_queued_bytes(f.nodes[0].net, 2, PEER_BULK) <= 4 * 65536 + 30000);
    CHECK_UINT(f.nodes[0].writables, 0);
    RUN_UNTIL(&f, f.nodes[0].writables == 1);
    CHECK(peer_queued_bytes(f.nodes[0].net, 2, PEER_BULK) <= 65536);
    CHECK_INT(send_numbered(&f, number, 20000, true), 0);
    RUN_UNTIL(&f, f.nodes[1].frames == number + 1);
    CHECK(f.nodes[1].in_order);
    CHECK_UINT(f.nodes[0].writables, 1);
    fixture_deinit(&f);
}

/* A node that comes back is another boot, and gets nothing of what was queued for its
 * earlier life: the connection delivers in order and replays nothing. */
static void old_queue_is_discarded(void)
{
    struct fixture f = {0};

    fixture_up(&f, 2);
    for (uint64_t number = 0; number < 8; number++) {
        CHECK_INT(send_numbered(&f, number, 1 << 20, false), 0);
    }
    f.nodes[0].trace[0] = 0;
    fixture_close(&f, 1);
    RUN_UNTIL(&f, f.nodes[0].ups == 0);
    CHECK(strstr(f.nodes[0].trace, "down 2 bulk 101\n") != NULL);
    CHECK_UINT(peer_queued_bytes(f.nodes[0].net, 2, PEER_BULK), 0);
    f.nodes[1].frames = 0;
    fixture_open(&f, 1, 201);
    fixture_introduce(&f);
    RUN_UNTIL(&f, f.nodes[0].ups == PEER_CHANNELS && f.nodes[1].ups == PEER_CHANNELS);
    CHECK(strstr(f.nodes[0].trace, "up 2 bulk 201\n") != NULL);
    CHECK_INT(peer_send(f.nodes[0].net, &(struct peer_message){.node = 2,
                                                               .channel = PEER_BULK,
                                                               .type = 5,
                                                               .head = text("new"),
                                                               .body = text("")}),
              0);
    RUN_UNTIL(&f, f.nodes[1].frames > 0);
    CHECK_UINT(f.nodes[1].frames, 1);
    CHECK(strstr(f.nodes[1].trace, "frame 1 bulk 5 \"new\" 0\n") != NULL);
    fixture_deinit(&f);
}

/* A node that leaves the table is cut off at once; the word of it comes from the loop
 * and not from inside the call. Put back, it connects again. */
static void removed_then_added(void)
{
    struct fixture f = {0};
    struct peer_node self;

    fixture_up(&f, 2);
    self = fixture_node(&f, 0);
    CHECK_INT(peer_net_nodes(f.nodes[0].net, &self, 1), 0);
    CHECK(!peer_is_up(f.nodes[0].net, 2, PEER_LOG));
    CHECK_UINT(f.nodes[0].downs, 0);
    CHECK_INT(peer_send(f.nodes[0].net, &(struct peer_message){.node = 2,
                                                               .channel = PEER_LOG,
                                                               .type = 1,
                                                               .head = text("h"),
                                                               .body = text("")}),
              OUT_TRY_LATER);
    RUN_UNTIL(&f, f.nodes[0].downs == 3 && f.nodes[1].downs == 3);
    CHECK_UINT(f.nodes[0].ups, 0);
    fixture_introduce(&f);
    RUN_UNTIL(&f, f.nodes[0].ups == 3 && f.nodes[1].ups == 3);
    fixture_deinit(&f);
}

/* The table of a node that stays the same does not touch its connections. */
static void same_table_changes_nothing(void)
{
    struct fixture f = {0};

    fixture_up(&f, 3);
    fixture_introduce(&f);
    CHECK_INT(peer_send(f.nodes[0].net, &(struct peer_message){.node = 2,
                                                               .channel = PEER_LOG,
                                                               .type = 1,
                                                               .head = text("h"),
                                                               .body = text("")}),
              0);
    RUN_UNTIL(&f, f.nodes[1].frames == 1);
    for (unsigned i = 0; i < 3; i++) {
        CHECK_UINT(f.nodes[i].downs, 0);
    }
    fixture_deinit(&f);
}

/* With another key in the table the old connections end, though the node is the same:
 * whoever holds the old key is nobody now. The third node is not touched. */
static void changed_key_cuts_off(void)
{
    struct fixture f = {0};
    struct peer_node nodes[3];

    fixture_up(&f, 3);
    for (unsigned i = 0; i < 3; i++) {
        nodes[i] = fixture_node(&f, i);
    }
    nodes[0].fingerprint[0] ^= 1;
    CHECK_INT(peer_net_nodes(f.nodes[1].net, nodes, 3), 0);
    RUN_UNTIL(&f, f.nodes[1].downs == 3 && f.nodes[0].downs == 3);
    CHECK(!peer_is_up(f.nodes[1].net, 1, PEER_CONTROL));
    CHECK(peer_is_up(f.nodes[1].net, 3, PEER_CONTROL));
    /* Node 1 goes on dialling with the key that is refused; node 3 hears all of it. */
    CHECK_INT(peer_send(f.nodes[1].net, &(struct peer_message){.node = 3,
                                                               .channel = PEER_LOG,
                                                               .type = 1,
                                                               .head = text("h"),
                                                               .body = text("")}),
              0);
    RUN_UNTIL(&f, f.nodes[2].frames == 1);
    CHECK_UINT(f.nodes[2].downs, 0);
    CHECK_UINT(f.nodes[1].ups, 3);
    fixture_deinit(&f);
}

static void forget_all(struct node *node, struct slice body)
{
    (void)body;
    CHECK_INT(peer_net_nodes(node->net, NULL, 0), 0);
}

/* A callback may replace the table under its own connection: the frames that came with
 * it in one read are no longer delivered. */
static void table_replaced_in_a_callback(void)
{
    struct fixture f = {0};

    fixture_up(&f, 2);
    f.nodes[1].on_frame = forget_all;
    for (unsigned i = 0; i < 10; i++) {
        CHECK_INT(peer_send(f.nodes[0].net, &(struct peer_message){.node = 2,
                                                                   .channel = PEER_LOG,
                                                                   .type = 1,
                                                                   .head = text("h"),
                                                                   .body = text("b")}),
                  0);
    }
    RUN_UNTIL(&f, f.nodes[1].downs == 3 && f.nodes[0].downs >= 3);
    CHECK_UINT(f.nodes[1].frames, 1);
    fixture_deinit(&f);
}

static void mark_closed(void *arg)
{
    struct node *node = arg;

    node->closed = true;
}

static void close_net(struct node *node, struct slice body)
{
    (void)body;
    peer_net_close(node->net, mark_closed, node);
    node->net = NULL;
}

/* A callback may close the whole net; nothing is called after that. */
static void net_closed_in_a_callback(void)
{
    struct fixture f = {0};

    fixture_up(&f, 2);
    f.nodes[1].on_frame = close_net;
    f.nodes[1].trace[0] = 0;
    for (unsigned i = 0; i < 10; i++) {
        CHECK_INT(peer_send(f.nodes[0].net, &(struct peer_message){.node = 2,
                                                                   .channel = PEER_LOG,
                                                                   .type = 1,
                                                                   .head = text("h"),
                                                                   .body = text("b")}),
                  0);
    }
    RUN_UNTIL(&f, f.nodes[1].closed);
    CHECK_STR(f.nodes[1].trace, "frame 1 log 1 \"h\" 1\n");
    fixture_deinit(&f);
}

static void echo(struct node *node, struct slice body)
{
    uint64_t to = node->number == 1 ? 2 : 1;

    if (node->frames < 1000) {
        CHECK_INT(peer_send(node->net, &(struct peer_message){.node = to,
                                                              .channel = PEER_CONTROL,
                                                              .type = 1,
                                                              .head = text("echo"),
                                                              .body = body}),
                  0);
    }
}

/* A frame sent from inside a callback goes out without waiting for another event: two
 * nodes that only answer each other keep going. */
static void sending_in_a_callback(void)
{
    struct fixture f = {0};

    fixture_up(&f, 2);
    f.nodes[0].on_frame = echo;
    f.nodes[1].on_frame = echo;
    CHECK_INT(peer_send(f.nodes[0].net, &(struct peer_message){.node = 2,
                                                               .channel = PEER_CONTROL,
                                                               .type = 1,
                                                               .head = text("start"),
                                                               .body = text("b")}),
              0);
    RUN_UNTIL(&f, f.nodes[0].frames == 999 && f.nodes[1].frames == 1000);
    fixture_deinit(&f);
}

/* The round trip is measured without anybody sending frames. */
static void round_trip_is_measured(void)
{
    struct fixture f = {0};

    fixture_up(&f, 2);
    RUN_UNTIL(&f,
              peer_rtt_us(f.nodes[0].net, 2) > 0 && peer_rtt_us(f.nodes[1].net, 1) > 0);
    CHECK(peer_rtt_us(f.nodes[0].net, 2) < 5000000);
    CHECK_UINT(peer_rtt_us(f.nodes[0].net, 1), 0);
    fixture_deinit(&f);
}

/* Before it joined, a node listens nowhere and dials nobody. */
static void without_a_number_nothing_listens(void)
{
    struct fixture f = {0};
    struct peer_config config = {.address = "127.0.0.1"};
    struct peer_node other;

    fixture_init(&f, 2);
    fixture_open(&f, 1, 1);
    CHECK_INT(peer_net_open(&f.loop, &config, f.nodes[0].identity, &f.nodes[0].callbacks,
                            &f.nodes[0].net),
              0);
    CHECK_UINT(peer_net_port(f.nodes[0].net), 0);
    other = fixture_node(&f, 1);
    CHECK_INT(peer_net_nodes(f.nodes[0].net, &other, 1), 0);
    CHECK(!peer_is_up(f.nodes[0].net, 2, PEER_CONTROL));
    fixture_close(&f, 0);
    fixture_open(&f, 0, 2); /* Joined: closed and opened again. */
    fixture_introduce(&f);
    RUN_UNTIL(&f, f.nodes[0].ups == 3);
    fixture_deinit(&f);
}

/* Nodes of different epochs of a grapevine hear of each other's, whoever dials, and nothing
 * comes up between them; in the same one they connect. */
static void epochs_do_not_mix(void)
{
    struct fixture f = {0};

    fixture_init(&f, 3);
    f.epoch = 7;
    fixture_open(&f, 0, 1);
    f.epoch = 9;
    fixture_open(&f, 1, 1);
    f.epoch = 7;
    fixture_open(&f, 2, 1);
    fixture_introduce(&f);
    RUN_UNTIL(&f, f.nodes[0].epoch_told == 9 && f.nodes[1].epoch_told == 7 &&
                      f.nodes[2].epoch_told == 9);
    RUN_UNTIL(&f, f.nodes[0].ups == 3 && f.nodes[2].ups == 3);
    CHECK_UINT(f.nodes[1].ups, 0);
    fixture_close(&f, 1);
    fixture_open(&f, 1, 2); /* It follows. */
    fixture_introduce(&f);
    RUN_UNTIL(&f, f.nodes[0].ups == 6 && f.nodes[1].ups == 6 && f.nodes[2].ups == 6);
    fixture_deinit(&f);
}

/* A port that is taken is a fault of open, and leaves nothing behind. */
static void taken_port_is_a_fault(void)
{
    struct fixture f = {0};
    struct peer_config config = {.address = "127.0.0.1", .self = 1};
    struct peer_net *net = NULL;

    fixture_init(&f, 1);
    fixture_open(&f, 0, 1);
    config.port = f.nodes[0].port;
    CHECK_INT(
        peer_net_open(&f.loop, &config, f.nodes[0].identity, &f.nodes[0].callbacks, &net),
        -EADDRINUSE);
    config.address = "nowhere.example";
    CHECK_INT(
        peer_net_open(&f.loop, &config, f.nodes[0].identity, &f.nodes[0].callbacks, &net),
        -EINVAL);
    CHECK_PTR(net, NULL);
    fixture_deinit(&f);
}

TEST_MAIN(CHECK_TEST(three_nodes_connect), CHECK_TEST(frame_arrives),
          CHECK_TEST(order_and_content_hold), CHECK_TEST(too_large_is_refused),
          CHECK_TEST(down_is_try_later), CHECK_TEST(full_then_writable),
          CHECK_TEST(old_queue_is_discarded), CHECK_TEST(removed_then_added),
          CHECK_TEST(same_table_changes_nothing), CHECK_TEST(changed_key_cuts_off),
          CHECK_TEST(table_replaced_in_a_callback), CHECK_TEST(net_closed_in_a_callback),
          CHECK_TEST(sending_in_a_callback), CHECK_TEST(round_trip_is_measured),
          CHECK_TEST(without_a_number_nothing_listens), CHECK_TEST(taken_port_is_a_fault),
          CHECK_TEST(epochs_do_not_mix))
