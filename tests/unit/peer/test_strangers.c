#include "base/log.h"
#include "base/outcome.h"
#include "lib/check.h"
#include "net_fixture.h"
#include "peer/peer_conn_uv.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A client that speaks the protocol's lower layers and says what a test wants. */
struct caller {
    struct peer_conn conn; /* First: the events' argument. */
    struct peer_io io;
    bool secured;
    bool lost;
    bool freed;
    bool closed;
    bool answered; /* A hello came back. */
    int fault;
};

static void on_secured(struct peer_conn *conn)
{
    peer_conn_expect(conn, 0xffffffffu);
    ((struct caller *)conn)->secured = true;
}

static void on_frame(struct peer_conn *conn, const struct peer_frame *frame)
{
    if (frame->kind == PEER_KIND_HELLO) {
        ((struct caller *)conn)->answered = true;
    }
}

static void on_nothing(struct peer_conn *conn)
{
    (void)conn;
}

static void on_pong(struct peer_conn *conn, uint64_t rtt_ns)
{
    (void)conn;
    (void)rtt_ns;
}

static void on_lost(struct peer_conn *conn, int fault, const char *why)
{
    (void)why;
    ((struct caller *)conn)->lost = true;
    ((struct caller *)conn)->fault = fault;
}

static void on_freed(struct peer_conn *conn)
{
    ((struct caller *)conn)->freed = true;
}

static const struct peer_conn_events caller_events = {
    .secured = on_secured,
    .frame = on_frame,
    .drained = on_nothing,
    .pong = on_pong,
    .lost = on_lost,
    .freed = on_freed,
};

static void on_io_closed(void *arg)
{
    ((struct caller *)arg)->closed = true;
}

/* Dial node @to with the key of node @as. */
static struct caller *call(struct fixture *f, unsigned as, unsigned to)
{
    struct caller *caller = calloc(1, sizeof *caller);
    struct sockaddr_in address;

    CHECK_INT(peer_io_init(&caller->io, &f->loop, f->nodes[as].identity), 0);
    CHECK_INT(uv_ip4_addr("127.0.0.1", f->nodes[to].port, &address), 0);
    CHECK_INT(peer_conn_dial(&caller->conn, &caller->io, &caller_events,
                             (struct sockaddr *)&address,
                             peer_identity_fingerprint(f->nodes[to].identity)),
              0);
    return caller;
}

static void hang_up(struct fixture *f, struct caller *caller)
{
    peer_conn_close(&caller->conn);
    RUN_UNTIL(f, caller->freed);
    peer_io_close(&caller->io, on_io_closed, caller);
    RUN_UNTIL(f, caller->closed);
    free(caller);
}

static void say(struct caller *caller, enum peer_kind kind, const void *body,
                uint32_t len)
{
    struct peer_header header = {.kind = kind, .body_len = len};

    CHECK_INT(peer_conn_send(&caller->conn, &header, (struct slice){0},
                             slice_borrow(body, len)),
              0);
}

/* What node 1 says to node 2 on the control channel. */
static struct peer_hello good_hello(const struct fixture *f, uint64_t attempt)
{
    struct peer_hello hello = {
        .sender = 1, .receiver = 2, .boot = 100, .attempt = attempt};

    memcpy(hello.grapevine_id, f->grapevine_id, sizeof hello.grapevine_id);
    return hello;
}

static void say_hello(struct caller *caller, const struct peer_hello *hello)
{
    uint8_t bytes[PEER_HELLO_BYTES];

    peer_hello_encode(hello, bytes);
    say(caller, PEER_KIND_HELLO, bytes, sizeof bytes);
}

/* Node 2 alone is there, and knows nodes 1 and 3; whoever calls is the test. */
static void listener_up(struct fixture *f)
{
    struct peer_node nodes[3];

    fixture_init(f, 3);
    log_set_level(LOG_LEVEL_ERROR);
    fixture_open(f, 1, 101);
    f->nodes[0].port = 1;
    f->nodes[2].port = 1;
    nodes[0] = fixture_node(f, 0);
    nodes[1] = fixture_node(f, 1);
    CHECK_INT(peer_net_nodes(f->nodes[1].net, nodes, 2), 0);
}

static void expect_refused(struct fixture *f, unsigned as, const struct peer_hello *hello)
{
    struct caller *caller = call(f, as, 1);

    say_hello(caller, hello);
    RUN_UNTIL(f, caller->lost);
    CHECK(!caller->answered);
    CHECK_UINT(f->nodes[1].ups, 0);
    hang_up(f, caller);
}

/* The right key with the right hello is let in: the refusals below are for what differs
 * from this. */
static void right_hello_is_answered(void)
{
    struct fixture f = {0};
    struct peer_hello hello;
    struct caller *caller;

    listener_up(&f);
    hello = good_hello(&f, 1);
    caller = call(&f, 0, 1);
    say_hello(caller, &hello);
    RUN_UNTIL(&f, caller->answered);
    CHECK_STR(f.nodes[1].trace, "up 1 control 100\n");
    hang_up(&f, caller);
    fixture_deinit(&f);
}

/* A hello counts only if everything in it is right and the key is the sender's. */
static void wrong_hello_is_refused(void)
{
    struct fixture f = {0};
    struct peer_hello hello;

    listener_up(&f);
    hello = good_hello(&f, 1);
    expect_refused(&f, 2, &hello); /* Node 1's name with another key. */
    hello.sender = 3;
    expect_refused(&f, 2, &hello); /* Its own name, but it is not in the table. */
    hello = good_hello(&f, 1);
    hello.sender = 2;
    expect_refused(&f, 1, &hello); /* Node 2 itself. */
    hello = good_hello(&f, 1);
    hello.receiver = 3;
    expect_refused(&f, 0, &hello);
    hello = good_hello(&f, 1);
    hello.grapevine_id[15] ^= 1;
    expect_refused(&f, 0, &hello);
    fixture_deinit(&f);
}

/* Nothing but a hello or a join request may come first, and no second hello. */
static void out_of_turn_is_refused(void)
{
    static const enum peer_kind kinds[] = {PEER_KIND_DATA, PEER_KIND_PING,
                                           PEER_KIND_JOIN_ANSWER, PEER_KIND_HELLO};
    static const uint32_t sizes[] = {100, PEER_PING_BYTES, 100, PEER_HELLO_BYTES};
    uint8_t zero[PEER_HELLO_BYTES + 41] = {0};
    struct fixture f = {0};
    struct peer_hello hello;
    struct caller *caller;

    listener_up(&f);
    for (unsigned i = 0; i < 4; i++) {
        caller = call(&f, 0, 1);
        say(caller, kinds[i], zero, sizes[i]);
        RUN_UNTIL(&f, caller->lost);
        hang_up(&f, caller);
    }
    CHECK_UINT(f.nodes[1].frames, 0);
    CHECK_STR(f.nodes[1].trace, "");
    hello = good_hello(&f, 1);
    caller = call(&f, 0, 1);
    say_hello(caller, &hello);
    say_hello(caller, &hello);
    RUN_UNTIL(&f, caller->lost && f.nodes[1].downs == 1);
    hang_up(&f, caller);
    fixture_deinit(&f);
}

/* A newer connection takes the older one's place, "down" before "up"; an older one that
 * arrives late does not push the newer out. */
static void newer_replaces_older(void)
{
    struct fixture f = {0};
    struct peer_hello hello;
    struct caller *first;
    struct caller *second;
    struct caller *late;

    listener_up(&f);
    hello = good_hello(&f, 2);
    first = call(&f, 0, 1);
    say_hello(first, &hello);
    RUN_UNTIL(&f, first->answered);
    hello.attempt = 3;
    second = call(&f, 0, 1);
    say_hello(second, &hello);
    RUN_UNTIL(&f, second->answered && first->lost);
    CHECK_STR(f.nodes[1].trace, "up 1 control 100\n"
                                "down 1 control 100\n"
                                "up 1 control 100\n");
    hello.attempt = 1;
    late = call(&f, 0, 1);
    say_hello(late, &hello);
    RUN_UNTIL(&f, late->lost);
    CHECK(!second->lost && !late->answered);
    hello.attempt = 1;
    /* Another life counts its dials anew, but does not push one out that is there: they
     * may be two daemons with one key. */
    hello.boot = 7;
    hang_up(&f, late);
    late = call(&f, 0, 1);
    say_hello(late, &hello);
    RUN_UNTIL(&f, late->lost);
    CHECK(!second->lost && !late->answered);
    hang_up(&f, late);
    hang_up(&f, second);
    RUN_UNTIL(&f, f.nodes[1].downs == 2);
    late = call(&f, 0, 1);
    say_hello(late, &hello);
    RUN_UNTIL(&f, late->answered);
    hang_up(&f, first);
    hang_up(&f, late);
    fixture_deinit(&f);
}

/* A plain TCP client. */
struct raw {
    uv_tcp_t tcp;
    uv_connect_t connect;
    uv_write_t write;
    bool connected;
    bool ended;
    bool closed;
    char received[4096];
};

static void raw_connected(uv_connect_t *req, int status)
{
    CHECK_INT(status, 0);
    ((struct raw *)req->data)->connected = true;
}

static void raw_alloc(uv_handle_t *handle, size_t size, uv_buf_t *buf)
{
    struct raw *raw = handle->data;

    (void)size;
    *buf = uv_buf_init(raw->received, sizeof raw->received);
}

static void raw_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    struct raw *raw = stream->data;

    (void)buf;
    if (n < 0) {
        raw->ended = true;
        uv_read_stop(stream);
    }
}

static void raw_closed(uv_handle_t *handle)
{
    ((struct raw *)handle->data)->closed = true;
}

static void raw_open(struct fixture *f, struct raw *raw, unsigned to)
{
    struct sockaddr_in address;

    memset(raw, 0, sizeof *raw);
    CHECK_INT(uv_ip4_addr("127.0.0.1", f->nodes[to].port, &address), 0);
    CHECK_INT(uv_tcp_init(&f->loop, &raw->tcp), 0);
    raw->tcp.data = raw;
    raw->connect.data = raw;
    CHECK_INT(uv_tcp_connect(&raw->connect, &raw->tcp, (struct sockaddr *)&address,
                             raw_connected),
              0);
    RUN_UNTIL(f, raw->connected);
    CHECK_INT(uv_read_start((uv_stream_t *)&raw->tcp, raw_alloc, raw_read), 0);
}

static void raw_close(struct fixture *f, struct raw *raw)
{
    uv_close((uv_handle_t *)&raw->tcp, raw_closed);
    RUN_UNTIL(f, raw->closed);
}

/* Garbage on the port ends that connection and no other. */
static void garbage_closes_only_itself(void)
{
    static char garbage[20000];
    struct fixture f = {0};
    struct raw raw;
    uv_buf_t buf = uv_buf_init(garbage, sizeof garbage);

    fixture_up(&f, 2);
    for (unsigned fill = 0; fill < 4; fill++) {
        memset(garbage, (int)(fill * 0x16), sizeof garbage);
        raw_open(&f, &raw, 1);
        (void)uv_try_write((uv_stream_t *)&raw.tcp, &buf, 1);
        RUN_UNTIL(&f, raw.ended);
        raw_close(&f, &raw);
    }
    CHECK_INT(
        peer_send(f.nodes[0].net, &(struct peer_message){.node = 2,
                                                         .channel = PEER_LOG,
                                                         .type = 1,
                                                         .head = slice_borrow("h", 1),
                                                         .body = slice_borrow("b", 1)}),
        0);
    RUN_UNTIL(&f, f.nodes[1].frames == 1);
    CHECK_UINT(f.nodes[0].downs + f.nodes[1].downs, 0);
    fixture_deinit(&f);
}

/* Silent connections are bounded: one too many costs the oldest its place, and a node
 * that belongs here still gets in. */
static void silent_strangers_are_bounded(void)
{
    enum { CROWD = 70 };
    static struct raw crowd[CROWD];
    struct fixture f = {0};
    struct peer_hello hello;
    struct caller *caller;

    listener_up(&f);
    for (unsigned i = 0; i < CROWD; i++) {
        raw_open(&f, &crowd[i], 1);
    }
    RUN_UNTIL(&f, crowd[CROWD - 65].ended);
    CHECK(crowd[0].ended && !crowd[CROWD - 1].ended);
    hello = good_hello(&f, 1);
    caller = call(&f, 0, 1);
    say_hello(caller, &hello);
    RUN_UNTIL(&f, caller->answered);
    hang_up(&f, caller);
    for (unsigned i = 0; i < CROWD; i++) {
        raw_close(&f, &crowd[i]);
    }
    fixture_deinit(&f);
}

/* A node never talks to whoever took over another's address: the handshake fails on
 * the caller's side. */
static void wrong_listener_is_refused(void)
{
    struct fixture f = {0};
    struct sockaddr_in address;
    struct caller *caller = calloc(1, sizeof *caller);

    listener_up(&f);
    CHECK_INT(peer_io_init(&caller->io, &f.loop, f.nodes[0].identity), 0);
    CHECK_INT(uv_ip4_addr("127.0.0.1", f.nodes[1].port, &address), 0);
    CHECK_INT(peer_conn_dial(&caller->conn, &caller->io, &caller_events,
                             (struct sockaddr *)&address,
                             peer_identity_fingerprint(f.nodes[2].identity)),
              0);
    RUN_UNTIL(&f, caller->lost);
    CHECK_INT(caller->fault, -EACCES);
    CHECK(!caller->secured);
    hang_up(&f, caller);
    fixture_deinit(&f);
}

TEST_MAIN(CHECK_TEST(right_hello_is_answered), CHECK_TEST(wrong_hello_is_refused),
          CHECK_TEST(out_of_turn_is_refused), CHECK_TEST(newer_replaces_older),
          CHECK_TEST(garbage_closes_only_itself),
          CHECK_TEST(silent_strangers_are_bounded), CHECK_TEST(wrong_listener_is_refused))
