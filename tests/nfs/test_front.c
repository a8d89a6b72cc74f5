/* The listener: connections that are slow, greedy, rude or gone. */
#include "nfs/drive.h"

#include "base/outcome.h"
#include "lib/check.h"
#include "nfs/nfs3_proto.h"
#include "nfs/rpc_record.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* Many calls in one piece: each is answered once, though far more come at once than may
 * be worked on. */
static void pipelined_calls(void)
{
    enum { N = 1000 };
    uint8_t *stream = malloc(N * CALL_BYTES);
    bool seen[N] = {false};
    size_t len = 0;
    int fd;

    setup(0, 0);
    fd = dial();
    for (uint32_t i = 0; i < N; i++) {
        len += make_call(stream + len, i);
    }
    push_all(fd, stream, len);
    for (uint32_t i = 0; i < N; i++) {
        uint32_t xid = pull_reply(fd);

        CHECK(xid < N && !seen[xid]);
        seen[xid] = true;
    }
    CHECK_UINT(stub.n_ops, N);
    close(fd);
    teardown();
    free(stream);
}

/* The order of replies is that of the answers, not of the calls; and no more calls are
 * begun than the bound says, until some are answered. */
static void bounded_and_out_of_order(void)
{
    enum { N = 100, BOUND = 64 };
    uint8_t stream[N * CALL_BYTES];
    size_t len = 0;
    struct stub_op first;
    int fd;

    setup(0, 0);
    stub.hold = true;
    fd = dial();
    for (uint32_t i = 0; i < N; i++) {
        len += make_call(stream + len, i);
    }
    push_all(fd, stream, len);
    for (unsigned i = 0; i < 100; i++) {
        turn();
    }
    CHECK_UINT(stub.n_ops, BOUND);
    first = stub.ops[0];
    stub.ops[0] = stub.ops[1];
    stub.ops[1] = first;
    stub_answer(&stub);
    CHECK_UINT(pull_reply(fd), 1);
    for (unsigned i = 0; i < 10; i++) {
        turn(); /* Written, then seen to be written. */
    }
    CHECK_UINT(stub.n_ops, BOUND + 1);
    stub_answer(&stub);
    CHECK_UINT(pull_reply(fd), 0);
    while (stub.n_answered < N) {
        stub_answer(&stub);
        (void)pull_reply(fd);
        turn();
        turn(); /* The freed place is given to the next call. */
    }
    close(fd);
    teardown();
}

/* What is in flight on all connections together is bounded too: past that, each has one
 * call at a time, and goes on with others when bytes are given back. */
static void bytes_of_all_connections(void)
{
    uint8_t stream[2 * CALL_BYTES];
    size_t len;
    int one;
    int two;

    setup(0, 1); /* One call is enough. */
    stub.hold = true;
    one = dial();
    two = dial();
    len = make_call(stream, 1);
    len += make_call(stream + len, 2);
    push_all(one, stream, len);
    for (unsigned i = 0; i < 100 && stub.n_ops == 0; i++) {
        turn();
    }
    push_all(two, stream, make_call(stream, 3));
    turns(100);
    CHECK_UINT(stub.n_ops, 2);
    stub_answer(&stub);
    CHECK_UINT(pull_reply(one), 1);
    turns(100);
    CHECK_UINT(stub.n_ops, 3);
    close(one); /* And when a connection dies. */
    stub_answer(&stub);
    CHECK_UINT(pull_reply(two), 3);
    close(two);
    teardown();
}

/* Room that comes because a reply is smaller than its call is given to others as well. */
static void small_reply_makes_room(void)
{
    static uint8_t payload[100000];
    struct call write = call_begin(NFS3_PROGRAM, NFSPROC3_WRITE);
    uint8_t stream[2 * CALL_BYTES];
    uint32_t mark;
    size_t len;
    int one;
    int two;

    setup(0, sizeof payload);
    stub.hold = true;
    call_put_fh(&write, "alpha", 1);
    rpc_put_u64(&write.xdr, 0);
    rpc_put_u32(&write.xdr, sizeof payload);
    rpc_put_u32(&write.xdr, NFS3_UNSTABLE);
    rpc_put_opaque(&write.xdr, payload, sizeof payload);
    mark = htonl(RPC_MARK_LAST | (uint32_t)rpc_xdr_pos(&write.xdr));
    one = dial();
    two = dial();
    push_all(one, (const uint8_t *)&mark, 4);
    push_all(one, write.buf->data, rpc_xdr_pos(&write.xdr));
    buf_unref(write.buf);
    for (unsigned i = 0; i < TURNS_MAX && stub.n_ops == 0; i++) {
        turn();
    }
    len = make_call(stream, 2);
    len += make_call(stream + len, 3);
    push_all(two, stream, len);
    turns(100);
    CHECK_UINT(stub.n_ops, 2);
    stub_answer(&stub);
    turns(100);
    CHECK_UINT(stub.n_ops, 3);
    stub_answer(&stub);
    CHECK_UINT(pull_reply(two), 2);
    close(one);
    close(two);
    teardown();
}

/* A client that never reads its replies costs a bounded number of them. */
static void client_that_does_not_read(void)
{
    static uint8_t payload[1 << 20];
    uint8_t stream[CALL_BYTES];
    size_t len;
    unsigned sent = 0;
    int fd;

    setup(0, 0);
    stub.result.data = slice_borrow(payload, sizeof payload);
    len = make_read(stream, 1, sizeof payload);
    fd = dial();
    while (sent < 500 && push(fd, stream, len) == len) {
        sent++;
        turn();
    }
    turns(200);
    CHECK_UINT(sent, 500);
    CHECK(stub.n_ops < 64); /* 16 MiB here, and what the sockets hold. */
    pass(3600000);
    for (unsigned i = 0; i < sent; i++) {
        (void)pull_reply(fd); /* There is room: it may be as slow as it likes. */
    }
    CHECK_UINT(stub.n_ops, sent);
    close(fd);
    teardown();
}

/* The client goes while its calls are worked on: the backend is told to leave what it
 * has not begun, and nothing is used after it is freed (under the sanitizers). */
static void client_gone_with_calls_in_flight(void)
{
    uint8_t stream[8 * CALL_BYTES];
    size_t len = 0;
    int fd;

    setup(0, 0);
    stub.hold = true;
    fd = dial();
    for (uint32_t i = 0; i < 8; i++) {
        len += make_call(stream + len, i);
    }
    push_all(fd, stream, len);
    for (unsigned i = 0; i < TURNS_MAX && stub.n_ops < 8; i++) {
        turn();
    }
    CHECK_UINT(stub.n_ops, 8);
    stub_answer(&stub);
    close(fd);
    for (unsigned i = 0; i < 100; i++) {
        turn();
    }
    CHECK_UINT(stub.n_cancelled, 7);
    while (stub.n_answered < stub.n_ops) {
        stub_answer(&stub);
    }
    teardown();
}

/* A call whose outcome is not known takes its connection with it, and what else was under
 * way there: the client sends all of it again. */
static void doubt_closes(void)
{
    uint8_t stream[3 * CALL_BYTES];
    size_t len = 0;
    int fd;

    setup(0, 0);
    stub.hold = true;
    fd = dial();
    for (uint32_t i = 0; i < 3; i++) {
        len += make_call(stream + len, i);
    }
    push_all(fd, stream, len);
    for (unsigned i = 0; i < TURNS_MAX && stub.n_ops < 3; i++) {
        turn();
    }
    stub.result.outcome = OUT_IN_DOUBT;
    stub_answer(&stub);
    CHECK_UINT(stub.n_cancelled, 0); /* Not while the backend is answering. */
    CHECK(is_closed(fd));
    CHECK_UINT(stub.n_cancelled, 2);
    close(fd);
    teardown();
}

/* Garbage closes the connection, whether in the mark or in the call, and others stay. */
static void garbage_closes(void)
{
    static const char http[] = "GET / HTTP/1.1\r\n\r\n";
    uint8_t call[CALL_BYTES];
    size_t len;
    int good;
    int bad;

    setup(0, 0);
    good = dial();
    bad = dial();
    push_all(bad, (const uint8_t *)http, sizeof http - 1);
    CHECK(is_closed(bad));
    close(bad);
    bad = dial();
    len = make_call(call, 1);
    call[11] = 1; /* A reply, not a call. */
    push_all(bad, call, len);
    CHECK(is_closed(bad));
    close(bad);
    push_all(good, call, make_call(call, 7));
    CHECK_UINT(pull_reply(good), 7);
    close(good);
    teardown();
}

/* Closing answers what is in flight first, takes nothing new, and then goes. */
static void close_drains(void)
{
    uint8_t call[CALL_BYTES];
    int idle;
    int fd;

    setup(0, 0);
    stub.hold = true;
    idle = dial();
    fd = dial();
    push_all(fd, call, make_call(call, 1));
    for (unsigned i = 0; i < TURNS_MAX && stub.n_ops < 1; i++) {
        turn();
    }
    nfs_front_close(front, 60000, drive_closed, NULL);
    CHECK(is_closed(idle));
    CHECK(!front_closed);
    (void)push(fd, call, make_call(call, 2));
    for (unsigned i = 0; i < 100; i++) {
        turn();
    }
    CHECK_UINT(stub.n_ops, 1);
    stub_answer(&stub);
    CHECK_UINT(pull_reply(fd), 1);
    uv_run(&loop, UV_RUN_DEFAULT);
    CHECK(front_closed);
    CHECK_INT(uv_loop_close(&loop), 0);
    close(idle);
    close(fd);
}

/* What is not answered in time does not keep the front; a late answer does no harm. */
static void close_gives_up(void)
{
    uint8_t call[CALL_BYTES];
    int fd;

    setup(0, 0);
    stub.hold = true;
    fd = dial();
    push_all(fd, call, make_call(call, 1));
    for (unsigned i = 0; i < TURNS_MAX && stub.n_ops < 1; i++) {
        turn();
    }
    nfs_front_close(front, 1, drive_closed, NULL);
    uv_run(&loop, UV_RUN_DEFAULT);
    CHECK(front_closed);
    CHECK_INT(uv_loop_close(&loop), 0);
    stub_answer(&stub);
    close(fd);
}

/* A port that is taken is an error that the caller sees. */
static void port_taken(void)
{
    struct nfs_front_config config = {.address = "127.0.0.1"};
    struct nfs_front *second = NULL;

    setup(0, 0);
    config.port = nfs_front_port(front);
    CHECK_INT(nfs_front_open(&loop, &config, &stub.backend, &second), -EADDRINUSE);
    config.address = "no address";
    CHECK_INT(nfs_front_open(&loop, &config, &stub.backend, &second), -EINVAL);
    teardown();
}

TEST_MAIN(CHECK_TEST(pipelined_calls), CHECK_TEST(bounded_and_out_of_order),
          CHECK_TEST(bytes_of_all_connections), CHECK_TEST(small_reply_makes_room),
          CHECK_TEST(client_that_does_not_read),
          CHECK_TEST(client_gone_with_calls_in_flight), CHECK_TEST(doubt_closes),
          CHECK_TEST(garbage_closes), CHECK_TEST(close_drains),
          CHECK_TEST(close_gives_up), CHECK_TEST(port_taken))
