#include "client.h"

#include "base/assert.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { NFS_PROGRAM = 100003, MOUNT_PROGRAM = 100005 };

#define LAST_FRAGMENT 0x80000000u
#define MARK_BYTES 4

uint64_t now_ns(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void put_bytes(struct message *out, const void *data, size_t len)
{
    ASSERT(out->len + len <= sizeof out->data);
    memcpy(out->data + out->len, data, len);
    out->len += len;
}

void put_u32(struct message *out, uint32_t value)
{
    uint32_t net = htonl(value);

    put_bytes(out, &net, sizeof net);
}

void put_u64(struct message *out, uint64_t value)
{
    put_u32(out, (uint32_t)(value >> 32));
    put_u32(out, (uint32_t)value);
}

void put_opaque(struct message *out, const void *data, size_t len)
{
    static const uint8_t zeros[4];

    put_u32(out, (uint32_t)len);
    put_bytes(out, data, len);
    put_bytes(out, zeros, -len % 4);
}

void put_name(struct message *out, const char *name)
{
    put_opaque(out, name, strlen(name));
}

void put_fh(struct message *out, const struct fh *fh)
{
    put_opaque(out, fh->data, fh->len);
}

const uint8_t *get_bytes(struct reader *in, size_t len)
{
    if (in->failed || len > in->len - in->at) {
        in->failed = true;
        return NULL;
    }
    in->at += len;
    return in->data + in->at - len;
}

uint32_t get_u32(struct reader *in)
{
    const uint8_t *at = get_bytes(in, 4);
    uint32_t net = 0;

    if (at != NULL) {
        memcpy(&net, at, sizeof net);
    }
    return ntohl(net);
}

uint64_t get_u64(struct reader *in)
{
    uint64_t high = get_u32(in);

    return high << 32 | get_u32(in);
}

const uint8_t *get_opaque(struct reader *in, uint32_t *len)
{
    const uint8_t *data;

    *len = get_u32(in);
    data = get_bytes(in, *len);
    (void)get_bytes(in, -(size_t)*len % 4);
    return in->failed ? NULL : data;
}

void get_fh(struct reader *in, struct fh *out)
{
    uint32_t len = 0;
    const uint8_t *data = get_opaque(in, &len);

    *out = (struct fh){0};
    if (data == NULL || len > FH_MAX) {
        in->failed = true;
        return;
    }
    out->len = len;
    memcpy(out->data, data, len);
}

void get_attr(struct reader *in, struct attr *out)
{
    (void)get_bytes(in, 8); /* Type and mode. */
    out->nlink = get_u32(in);
    (void)get_bytes(in, 8); /* Owner and group. */
    out->size = get_u64(in);
    (void)get_bytes(in, 24); /* Used, rdev, fsid. */
    out->fileid = get_u64(in);
    (void)get_bytes(in, 24); /* Times. */
}

bool get_post_attr(struct reader *in, struct attr *out)
{
    *out = (struct attr){0};
    if (get_u32(in) == 0) {
        return false;
    }
    get_attr(in, out);
    return true;
}

void skip_wcc(struct reader *in)
{
    struct attr attr;

    if (get_u32(in) != 0) {
        (void)get_bytes(in, 24);
    }
    (void)get_post_attr(in, &attr);
}

void client_init(struct client *client, const struct client_options *options,
                 struct in_addr source, uint64_t seed)
{
    client->options = options;
    client->source = source;
    prng_seed(&client->prng, seed);
    client->xid = (uint32_t)now_ns(); /* Not as in an earlier run. */
    for (uint32_t i = 0; i < NODES_MAX; i++) {
        client->fds[i] = -1;
    }
}

static void disconnect(struct client *client, uint32_t node)
{
    if (client->fds[node] >= 0) {
        (void)close(client->fds[node]);
        client->fds[node] = -1;
    }
}

void client_deinit(struct client *client)
{
    for (uint32_t i = 0; i < NODES_MAX; i++) {
        disconnect(client, i);
    }
}

static void begin(struct client *client, uint32_t program, uint32_t procedure)
{
    struct message *out = &client->out;

    out->len = MARK_BYTES; /* Filled in when it is sent. */
    put_u32(out, ++client->xid);
    put_u32(out, 0); /* CALL, RPC version 2. */
    put_u32(out, 2);
    put_u32(out, program);
    put_u32(out, 3);
    put_u32(out, procedure);
    put_u32(out, 1); /* AUTH_SYS: stamp, machine, uid, gid, no groups. */
    put_u32(out, 28);
    put_u32(out, 0);
    put_name(out, "nemesis");
    put_u32(out, 0);
    put_u32(out, 0);
    put_u32(out, 0);
    put_u64(out, 0); /* Verifier: AUTH_NONE. */
}

void client_begin(struct client *client, uint32_t procedure)
{
    begin(client, NFS_PROGRAM, procedure);
}

void client_begin_mount(struct client *client, uint32_t procedure)
{
    begin(client, MOUNT_PROGRAM, procedure);
}

/* Until @fd can do what @events says; false when the time is up. */
static bool ready(int fd, short events, uint64_t end_ns)
{
    struct pollfd p = {.fd = fd, .events = events};
    uint64_t now = now_ns();

    while (now < end_ns) {
        int n = poll(&p, 1, (int)((end_ns - now) / 1000000u) + 1);

        if (n > 0) {
            return true;
        }
        if (n < 0 && errno != EINTR) {
            return false;
        }
        now = now_ns();
    }
    return false;
}

static bool connect_to(struct client *client, uint32_t node, uint64_t end_ns)
{
    struct sockaddr_in source = {.sin_family = AF_INET, .sin_addr = client->source};
    const struct sockaddr_in *to = &client->options->nodes[node];
    socklen_t len = sizeof(int);
    int on = 1;
    int error = 0;
    int fd;

    if (client->fds[node] >= 0) {
        return true;
    }
    fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return false;
    }
    client->fds[node] = fd;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    (void)setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
    if (bind(fd, (const struct sockaddr *)&source, sizeof source) != 0) {
        return false;
    }
    if (connect(fd, (const struct sockaddr *)to, sizeof *to) != 0 &&
        (errno != EINPROGRESS || !ready(fd, POLLOUT, end_ns))) {
        return false;
    }
    return getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) == 0 && error == 0;
}

static bool send_all(int fd, const struct message *out, uint64_t end_ns)
{
    size_t at = 0;

    while (at < out->len) {
        ssize_t n = send(fd, out->data + at, out->len - at, MSG_NOSIGNAL);

        if (n > 0) {
            at += (size_t)n;
        } else if (errno != EAGAIN || !ready(fd, POLLOUT, end_ns)) {
            return false;
        }
    }
    return true;
}

static bool receive_all(int fd, uint8_t *to, size_t len, uint64_t end_ns)
{
    while (len > 0) {
        ssize_t n = recv(fd, to, len, 0);

        if (n > 0) {
            to += n;
            len -= (size_t)n;
        } else if (n == 0 || errno != EAGAIN || !ready(fd, POLLIN, end_ns)) {
            return false;
        }
    }
    return true;
}

/* One record that answers the present xid; others are skipped. */
static bool receive(struct client *client, int fd, uint64_t end_ns, struct reader *out)
{
    for (;;) {
        uint8_t head[MARK_BYTES];
        struct reader mark = {.data = head, .len = sizeof head};
        uint32_t len;

        if (!receive_all(fd, head, sizeof head, end_ns)) {
            return false;
        }
        len = get_u32(&mark);
        if ((len & LAST_FRAGMENT) == 0 || (len ^= LAST_FRAGMENT) > sizeof client->in ||
            !receive_all(fd, client->in, len, end_ns)) {
            return false;
        }
        *out = (struct reader){.data = client->in, .len = len};
        if (get_u32(out) == client->xid) {
            return true;
        }
    }
}

/* Send it once and take the answer. */
static bool exchange(struct client *client, struct answer *answer)
{
    uint64_t silence_ms = client->options->silence_ms_min;
    uint64_t end_ns;
    uint32_t node = answer->node;

    silence_ms += prng_below(&client->prng, 5 * silence_ms + 1);
    end_ns = now_ns() + silence_ms * 1000000u;
    if (!connect_to(client, node, end_ns)) {
        return false;
    }
    answer->sent++; /* A part of it may have gone. */
    return send_all(client->fds[node], &client->out, end_ns) &&
           receive(client, client->fds[node], end_ns, &answer->reply);
}

/* Everything between the xid and the status of NFS. */
static void take_header(struct answer *answer)
{
    struct reader *in = &answer->reply;
    bool accepted = get_u32(in) == 1 && get_u32(in) == 0;
    uint32_t len = 0;

    (void)get_u32(in);
    (void)get_opaque(in, &len);
    if (!accepted || get_u32(in) != 0 || in->failed) {
        (void)fprintf(stderr, "nemesis_load: a call was not accepted\n");
        exit(1);
    }
    answer->status = get_u32(in);
}

static bool draw(struct client *client, uint32_t percent)
{
    return prng_below(&client->prng, 100) < percent;
}

static void send_until_answered(struct client *client, struct answer *answer,
                                uint32_t abandon_percent)
{
    const struct client_options *options = client->options;
    uint64_t end_ns = answer->began_ns + options->call_s_max * (uint64_t)1000000000u;

    for (;;) {
        if (exchange(client, answer)) {
            take_header(answer);
            return;
        }
        disconnect(client, answer->node);
        if (now_ns() > end_ns || (answer->sent > 0 && draw(client, abandon_percent))) {
            answer->unknown = true;
            return;
        }
        if (draw(client, 70)) {
            answer->node = (answer->node + 1) % options->nodes_n;
        }
        (void)usleep(20000);
    }
}

static void call(struct client *client, struct answer *answer, uint32_t node,
                 uint32_t abandon_percent)
{
    uint32_t mark = htonl(LAST_FRAGMENT | (uint32_t)(client->out.len - MARK_BYTES));

    memcpy(client->out.data, &mark, sizeof mark);
    *answer = (struct answer){.began_ns = now_ns(), .node = node};
    send_until_answered(client, answer, abandon_percent);
    answer->ended_ns = now_ns();
    if (answer->sent > 1 && !answer->unknown) {
        client->home = answer->node;
    }
}

void client_call(struct client *client, uint32_t node, struct answer *answer)
{
    call(client, answer, node, client->options->abandon_percent);
    if (!answer->unknown && answer->status == NFS_JUKEBOX) {
        answer->unknown = answer->sent > 1;
        (void)usleep(50000);
    }
}

void client_insist(struct client *client, uint32_t node, struct answer *answer)
{
    uint64_t end_ns = now_ns() + client->options->call_s_max * (uint64_t)1000000000u;

    do {
        uint32_t net = htonl(++client->xid);

        memcpy(client->out.data + MARK_BYTES, &net, sizeof net);
        call(client, answer, node, 0);
        if (!answer->unknown && answer->status != NFS_JUKEBOX) {
            return;
        }
        (void)usleep(100000);
    } while (now_ns() < end_ns);
    (void)fprintf(stderr, "nemesis_load: nobody answers a call\n");
    exit(1);
}
