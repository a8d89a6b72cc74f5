/* The listener: connections that are slow, greedy, rude or gone. The client's side is
 * driven by hand from the same loop, so nothing waits for a clock. */
#include "base/outcome.h"
#include "lib/check.h"
#include "nfs/front_uv.h"
#include "nfs/nfs3_proto.h"
#include "nfs/rpc_record.h"
#include "unit/nfs/stub.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <uv.h>

enum { TURNS_MAX = 20000, CALL_BYTES = 200 };

static struct stub stub;
static uv_loop_t loop;
static struct nfs_front *front;
static bool front_closed;
static uint64_t clock_ms; /* The front's: it moves when a test says so. */

static bool no_memory;

/* The linker gives these names (--wrap). NOLINTBEGIN(bugprone-reserved-identifier) */
void *__real_calloc(size_t n, size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_calloc(size_t n, size_t size)
{
    return no_memory ? NULL : __real_calloc(n, size);
}
/* NOLINTEND(bugprone-reserved-identifier) */

static uint64_t now_ms(void)
{
    return clock_ms;
}

static void setup(uint32_t connections_max, uint64_t inflight_bytes_max)
{
    struct nfs_front_config config = {.address = "127.0.0.1",
                                      .connections_max = connections_max,
                                      .inflight_bytes_max = inflight_bytes_max,
                                      .now_ms = now_ms};

    clock_ms = 1000000;
    (void)signal(SIGPIPE, SIG_IGN); /* As the daemon does. */
    stub_init(&stub);
    front_closed = false;
    CHECK_INT(uv_loop_init(&loop), 0);
    CHECK_INT(nfs_front_open(&loop, &config, &stub.backend, &front), 0);
}

static void on_closed(void *arg)
{
    (void)arg;
    front_closed = true;
}

/* Let the loop do what there is to do now. */
static void turn(void)
{
    uv_run(&loop, UV_RUN_NOWAIT);
}

static void turns(unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        turn();
    }
}

/* Let time pass, without standing still. */
static void pass(uint64_t ms)
{
    for (uint64_t end = clock_ms + ms; clock_ms < end;) {
        clock_ms = clock_ms + 500 > end ? end : clock_ms + 500;
        turns(2);
    }
}

static void teardown(void)
{
    nfs_front_close(front, 0, on_closed, NULL);
    uv_run(&loop, UV_RUN_DEFAULT);
    CHECK(front_closed);
    CHECK_INT(uv_loop_close(&loop), 0);
}

static int dial(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons(nfs_front_port(front)),
                                  .sin_addr = {htonl(INADDR_LOOPBACK)}};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    CHECK(fd >= 0);
    CHECK_INT(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
    CHECK_INT(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
    return fd;
}

/* A GETATTR with @xid, with its record mark. Returns its length. */
static size_t make_call(uint8_t *out, uint32_t xid)
{
    struct call call = call_begin(NFS3_PROGRAM, NFSPROC3_GETATTR);
    size_t len;

    call_put_fh(&call, "alpha", 1);
    len = rpc_xdr_pos(&call.xdr);
    CHECK(len + 4 <= CALL_BYTES);
    *(uint32_t *)(void *)out = htonl(RPC_MARK_LAST | (uint32_t)len);
    memcpy(out + 4, call.buf->data, len);
    *(uint32_t *)(void *)(out + 4) = htonl(xid);
    buf_unref(call.buf);
    return len + 4;
}

/* Send what the socket takes; the rest is not sent. */
static size_t push(int fd, const uint8_t *data, size_t len)
{
    ssize_t n = send(fd, data, len, MSG_NOSIGNAL);

    return n < 0 ? 0 : (size_t)n;
}

static void push_all(int fd, const uint8_t *data, size_t len)
{
    for (unsigned i = 0; len > 0; i++) {
        size_t n = push(fd, data, len);

        CHECK(i < TURNS_MAX);
        data += n;
        len -= n;
        turn();
    }
}

/* Receive exactly @len bytes. */
static void pull(int fd, void *out, size_t len)
{
    uint8_t *at = out;

    for (unsigned i = 0; len > 0; i++) {
        ssize_t n = recv(fd, at, len, 0);

        CHECK(i < TURNS_MAX);
        CHECK(n != 0);
        if (n > 0) {
            at += n;
            len -= (size_t)n;
        } else {
            CHECK(errno == EAGAIN);
            turn();
        }
    }
}

/* The xid of the next reply. */
static uint32_t pull_reply(int fd)
{
    static uint8_t body[2 << 20];
    uint32_t mark;

    pull(fd, &mark, 4);
    mark = ntohl(mark) & ~RPC_MARK_LAST;
    CHECK(mark >= 24 && mark <= sizeof body);
    pull(fd, body, mark);
    return ntohl(*(uint32_t *)(void *)body);
}

static bool is_closed(int fd)
{
    for (unsigned i = 0; i < TURNS_MAX; i++) {
        char byte;
        ssize_t n = recv(fd, &byte, 1, 0);

        if (n == 0 || (n < 0 && errno == ECONNRESET)) {
            return true;
        }
        turn();
    }
    return false;
}

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

static bool is_open(int fd)
{
    char byte;

    turns(10);
    return recv(fd, &byte, 1, 0) < 0 && errno == EAGAIN;
}

/* Dial, and have one call answered. */
static int dial_served(uint32_t xid)
{
    uint8_t call[CALL_BYTES];
    int fd = dial();

    push_all(fd, call, make_call(call, xid));
    CHECK_UINT(pull_reply(fd), xid);
    turns(10);
    return fd;
}

/* The same of a connection with replies that were not read. */
static bool drained_open(int fd)
{
    static uint8_t sink[1 << 20];
    ssize_t n;

    do {
        n = recv(fd, sink, sizeof sink, 0);
    } while (n > 0);
    return n < 0 && errno == EAGAIN;
}

static size_t make_read(uint8_t *out, uint32_t xid, uint32_t bytes)
{
    struct call read = call_begin(NFS3_PROGRAM, NFSPROC3_READ);
    size_t len;

    call_put_fh(&read, "alpha", 1);
    rpc_put_u64(&read.xdr, 0);
    rpc_put_u32(&read.xdr, bytes);
    len = rpc_xdr_pos(&read.xdr);
    CHECK(len + 4 <= CALL_BYTES);
    *(uint32_t *)(void *)out = htonl(RPC_MARK_LAST | (uint32_t)len);
    memcpy(out + 4, read.buf->data, len);
    *(uint32_t *)(void *)(out + 4) = htonl(xid);
    buf_unref(read.buf);
    return len + 4;
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

/* Clients that do not read their replies, so many that nothing is left for others: others
 * have a call each all the time, and after some seconds slow ones go until there is room. */
static void slow_readers_stop_nobody(void)
{
    enum { N = 24, CALLS = 16 };
    static uint8_t payload[1 << 18];
    uint8_t stream[CALL_BYTES];
    uint8_t calls[CALLS * CALL_BYTES];
    unsigned n_open = 0;
    int window = 4096;
    size_t len;
    int fds[N];
    int good;

    setup(0, 8u << 20); /* A connection's replies: 512 KiB. */
    stub.result.data = slice_borrow(payload, sizeof payload);
    good = dial_served(1);
    for (unsigned i = 0; i < N; i++) {
        fds[i] = dial_served(2);
        CHECK_INT(setsockopt(fds[i], SOL_SOCKET, SO_RCVBUF, &window, sizeof window), 0);
        len = 0;
        for (uint32_t xid = 0; xid < CALLS; xid++) {
            len += make_read(calls + len, xid, sizeof payload);
        }
        push_all(fds[i], calls,
                 len); /* In one piece: later ones might not get through. */
        turns(10);
        push_all(good, stream, make_call(stream, i));
        CHECK_UINT(pull_reply(good), i);
    }
    for (unsigned s = 0; s < 8; s++) { /* They take a little, and are too slow. */
        for (unsigned i = 0; i < N; i++) {
            (void)!recv(fds[i], stream, 100, 0);
        }
        pass(1000);
        push_all(good, stream, make_call(stream, s));
        CHECK_UINT(pull_reply(good), s);
    }
    for (unsigned i = 0; i < N; i++) {
        n_open += drained_open(fds[i]) ? 1 : 0;
        close(fds[i]);
    }
    CHECK(n_open < N); /* No more than it takes to have room again. */
    CHECK(is_open(good));
    close(good);
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

/* The process stood still for longer than clients wait: what was under way is given up,
 * and what waits in the sockets is not looked at, whether the connection is old or came
 * meanwhile. Whoever comes after that is served. */
static void stood_still(void)
{
    uint8_t call[CALL_BYTES];
    int working;
    int idle;
    int late;

    setup(0, 0);
    stub.hold = true;
    working = dial();
    idle = dial();
    push_all(working, call, make_call(call, 1));
    for (unsigned i = 0; i < TURNS_MAX && stub.n_ops < 1; i++) {
        turn();
    }
    turns(10);
    CHECK_UINT(push(idle, call, make_call(call, 2)), make_call(call, 2));
    late = dial();
    CHECK_UINT(push(late, call, make_call(call, 3)), make_call(call, 3));
    clock_ms += 10001;
    CHECK(is_closed(working));
    CHECK(is_closed(idle));
    CHECK(is_closed(late));
    CHECK_UINT(stub.n_ops, 1);
    CHECK_UINT(stub.n_cancelled, 1);
    close(working);
    close(idle);
    close(late);
    stub_answer(&stub);
    stub.hold = false;
    working = dial();
    push_all(working, call, make_call(call, 4));
    CHECK_UINT(pull_reply(working), 4);
    close(working);
    teardown();
}

/* As long as clients wait anyway, nothing is given up. */
static void stood_still_shortly(void)
{
    uint8_t call[CALL_BYTES];
    int fd;

    setup(0, 0);
    fd = dial();
    push_all(fd, call, make_call(call, 1));
    CHECK_UINT(pull_reply(fd), 1);
    turns(10);
    CHECK_UINT(push(fd, call, make_call(call, 2)), make_call(call, 2));
    clock_ms += 10000;
    CHECK_UINT(pull_reply(fd), 2);
    close(fd);
    teardown();
}

static void (*submit)(void *ctx, const struct nfs_submit *submit,
                      void (*done)(void *arg, const struct zone_result *result),
                      void *arg);

static void slow_submit(void *ctx, const struct nfs_submit *call,
                        void (*done)(void *arg, const struct zone_result *result),
                        void *arg)
{
    clock_ms += 10001;
    submit(ctx, call, done, arg);
}

/* The same where it stopped in the middle of its work, with bytes in hand. */
static void stood_still_at_work(void)
{
    uint8_t stream[2 * CALL_BYTES];
    size_t len;
    int fd;

    setup(0, 0);
    submit = stub.backend.submit;
    stub.backend.submit = slow_submit;
    fd = dial();
    len = make_call(stream, 1);
    len += make_call(stream + len, 2);
    CHECK_UINT(push(fd, stream, len), len);
    CHECK(is_closed(fd));
    CHECK_UINT(stub.n_ops, 1);
    close(fd);
    teardown();
}

/* A client that came when there was no memory is taken when there is, and so is the one
 * behind it: nobody has to knock again. */
static void no_memory_to_accept(void)
{
    uint8_t call[CALL_BYTES];
    int one;
    int two;

    setup(0, 0);
    one = dial();
    two = dial();
    CHECK_UINT(push(one, call, make_call(call, 1)), make_call(call, 1));
    CHECK_UINT(push(two, call, make_call(call, 2)), make_call(call, 2));
    no_memory = true;
    turns(10);
    no_memory = false;
    CHECK_UINT(stub.n_ops, 0);
    CHECK_UINT(pull_reply(one), 1);
    CHECK_UINT(pull_reply(two), 2);
    close(one);
    close(two);
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

/* When all places are taken a stranger goes for the next one; then who has been idle for
 * the longest time; and nobody who works. */
static void places_are_taken(void)
{
    uint8_t call[CALL_BYTES];
    int fds[5];

    setup(2, 0);
    fds[0] = dial_served(1);
    pass(1000);
    fds[1] = dial();
    pass(1000);
    fds[2] = dial_served(2);
    CHECK(is_closed(fds[1]));
    CHECK(is_open(fds[0]));
    fds[3] = dial_served(3);
    CHECK(is_closed(fds[0]));
    CHECK(is_open(fds[2]));
    stub.hold = true;
    push_all(fds[2], call, make_call(call, 4));
    push_all(fds[3], call, make_call(call, 5));
    turns(10);
    CHECK_UINT(stub.n_ops, 5);
    fds[4] = dial();
    CHECK(is_closed(fds[4]));
    stub_answer(&stub);
    stub_answer(&stub);
    CHECK_UINT(pull_reply(fds[2]), 4);
    CHECK_UINT(pull_reply(fds[3]), 5);
    for (unsigned i = 0; i < 5; i++) {
        close(fds[i]);
    }
    teardown();
}

/* Who connects and says nothing goes, and later who does not end the first call; who has
 * been served may be silent. */
static void strangers_go(void)
{
    uint8_t call[CALL_BYTES];
    int served;
    int silent;
    int slow;

    setup(0, 0);
    served = dial_served(1);
    silent = dial();
    slow = dial();
    push_all(slow, call, make_call(call, 2) - 1);
    turns(10);
    pass(9000);
    CHECK(is_open(silent));
    pass(2000);
    CHECK(is_closed(silent));
    CHECK(is_open(slow));
    pass(20000);
    CHECK(is_closed(slow));
    pass(3600000);
    CHECK(is_open(served));
    close(served);
    close(silent);
    close(slow);
    teardown();
}

/* Calls that do not end hold no more memory than there may be: some of them go, and
 * others are served all the time. */
static void unfinished_calls(void)
{
    enum { N = 12, BYTES = 1000000 };
    static uint8_t part[BYTES];
    uint32_t mark = htonl(RPC_MARK_LAST | (uint32_t)(BYTES + 4));
    unsigned n_open = 0;
    int fds[N];
    int good;

    setup(0, 2u << 20);
    good = dial_served(1);
    for (unsigned i = 0; i < N; i++) {
        uint8_t call[CALL_BYTES];

        fds[i] = dial_served(100 + i); /* No strangers. */
        push_all(fds[i], (const uint8_t *)&mark, 4);
        push_all(fds[i], part, BYTES);
        push_all(good, call, make_call(call, i));
        CHECK_UINT(pull_reply(good), i);
    }
    for (unsigned i = 0; i < N; i++) {
        n_open += is_open(fds[i]) ? 1 : 0;
    }
    CHECK(n_open >= 2 && n_open <= 4); /* 4 MiB. */
    pass(31000); /* Those of them go as well, while room is short. */
    n_open = 0;
    for (unsigned i = 0; i < N; i++) {
        n_open += is_open(fds[i]) ? 1 : 0;
        close(fds[i]);
    }
    CHECK(n_open <= 2);
    CHECK(is_open(good));
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
    nfs_front_close(front, 60000, on_closed, NULL);
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
    nfs_front_close(front, 1, on_closed, NULL);
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
          CHECK_TEST(client_that_does_not_read), CHECK_TEST(slow_readers_stop_nobody),
          CHECK_TEST(client_gone_with_calls_in_flight), CHECK_TEST(doubt_closes),
          CHECK_TEST(stood_still), CHECK_TEST(stood_still_shortly),
          CHECK_TEST(stood_still_at_work), CHECK_TEST(no_memory_to_accept),
          CHECK_TEST(garbage_closes), CHECK_TEST(places_are_taken),
          CHECK_TEST(strangers_go), CHECK_TEST(unfinished_calls),
          CHECK_TEST(close_drains), CHECK_TEST(close_gives_up), CHECK_TEST(port_taken))
