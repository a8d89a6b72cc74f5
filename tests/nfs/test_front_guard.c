/* The listener: strangers and slow readers that would have everything, and what comes after
 * the process stood still. */
#include "nfs/drive.h"

#include "lib/check.h"
#include "nfs/nfs3_proto.h"
#include "nfs/rpc_record.h"

#include <arpa/inet.h>
#include <sys/socket.h>
#include <unistd.h>

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

/* The same calls of strangers get no further than the bound itself; where others fill it,
 * a client that comes anew may send its first call as slowly as it likes. */
static void unfinished_first_calls(void)
{
    enum { N = 12, BYTES = 1000000 };
    static uint8_t part[BYTES];
    uint32_t mark = htonl(RPC_MARK_LAST | (uint32_t)(BYTES + 4));
    unsigned n_open = 0;
    int fds[N];

    setup(0, 8u << 20);
    for (unsigned i = 0; i < N; i++) {
        fds[i] = dial();
        push_all(fds[i], (const uint8_t *)&mark, 4);
        push_all(fds[i], part, BYTES);
    }
    for (unsigned i = 0; i < N; i++) {
        n_open += is_open(fds[i]) ? 1 : 0;
        close(fds[i]);
    }
    CHECK_UINT(n_open, 8); /* 8 MB of 8 MiB. */
    turns(100);
    for (unsigned i = 0; i < N; i++) {
        fds[i] = i < N - 1 ? dial_served(1) : dial();
        push_all(fds[i], (const uint8_t *)&mark, 4);
        push_all(fds[i], part, BYTES);
    }
    for (unsigned i = 0; i < N; i++) {
        CHECK(is_open(fds[i]));
        close(fds[i]);
    }
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

TEST_MAIN(CHECK_TEST(stood_still), CHECK_TEST(stood_still_shortly),
          CHECK_TEST(stood_still_at_work), CHECK_TEST(no_memory_to_accept),
          CHECK_TEST(places_are_taken), CHECK_TEST(strangers_go),
          CHECK_TEST(unfinished_calls), CHECK_TEST(unfinished_first_calls),
          CHECK_TEST(slow_readers_stop_nobody))
