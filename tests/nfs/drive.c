#include "nfs/drive.h"

#include "lib/check.h"
#include "nfs/nfs3_proto.h"
#include "nfs/rpc_record.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>

struct stub stub;
uv_loop_t loop;
struct nfs_front *front;
bool front_closed;
uint64_t clock_ms;
bool no_memory;

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

void setup(uint32_t connections_max, uint64_t inflight_bytes_max)
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

void drive_closed(void *arg)
{
    (void)arg;
    front_closed = true;
}

/* Let the loop do what there is to do now. */
void turn(void)
{
    uv_run(&loop, UV_RUN_NOWAIT);
}

void turns(unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        turn();
    }
}

/* Let time pass, without standing still. */
void pass(uint64_t ms)
{
    for (uint64_t end = clock_ms + ms; clock_ms < end;) {
        clock_ms = clock_ms + 500 > end ? end : clock_ms + 500;
        turns(2);
    }
}

void teardown(void)
{
    nfs_front_close(front, 0, drive_closed, NULL);
    uv_run(&loop, UV_RUN_DEFAULT);
    CHECK(front_closed);
    CHECK_INT(uv_loop_close(&loop), 0);
}

int dial(void)
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
size_t make_call(uint8_t *out, uint32_t xid)
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
size_t push(int fd, const uint8_t *data, size_t len)
{
    ssize_t n = send(fd, data, len, MSG_NOSIGNAL);

    return n < 0 ? 0 : (size_t)n;
}

void push_all(int fd, const uint8_t *data, size_t len)
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
uint32_t pull_reply(int fd)
{
    static uint8_t body[2 << 20];
    uint32_t mark;

    pull(fd, &mark, 4);
    mark = ntohl(mark) & ~RPC_MARK_LAST;
    CHECK(mark >= 24 && mark <= sizeof body);
    pull(fd, body, mark);
    return ntohl(*(uint32_t *)(void *)body);
}

bool is_closed(int fd)
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

bool is_open(int fd)
{
    char byte;

    turns(10);
    return recv(fd, &byte, 1, 0) < 0 && errno == EAGAIN;
}

/* Dial, and have one call answered. */
int dial_served(uint32_t xid)
{
    uint8_t call[CALL_BYTES];
    int fd = dial();

    push_all(fd, call, make_call(call, xid));
    CHECK_UINT(pull_reply(fd), xid);
    turns(10);
    return fd;
}

/* The same of a connection with replies that were not read. */
bool drained_open(int fd)
{
    static uint8_t sink[1 << 20];
    ssize_t n;

    do {
        n = recv(fd, sink, sizeof sink, 0);
    } while (n > 0);
    return n < 0 && errno == EAGAIN;
}

size_t make_read(uint8_t *out, uint32_t xid, uint32_t bytes)
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
