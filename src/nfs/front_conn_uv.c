#include "nfs/front_impl_uv.h"

#include "base/assert.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>

enum {
    KEEPALIVE_S = 60,            /* To find out that a client is gone. */
    USER_TIMEOUT_MS = 60000,     /* A client that takes no reply for so long is cut. */
    CALLS_MAX = 64,              /* Calls of a connection without a written reply. */
    BYTES_MAX = 16 << 20,        /* Bytes of these calls and replies. */
    DIRECT_BYTES_MIN = 16 << 10, /* Longer rests of a record are received in place. */
    REPLY_SHARES = 16,           /* Of all bytes a connection's replies may be one. */
    REPLY_BUFS = 3,              /* Head, data, padding. */
};

enum call_state {
    CALL_RUNNING, /* The request will call back. */
    CALL_REPLIED, /* In conn->out, or without a reply for want of memory. */
    CALL_WRITING, /* In a batch, which frees it. */
};

/* A call, from its record to its written reply. */
struct nfs_call {
    struct nfs_conn *conn; /* NULL: the connection died while the reply was written. */
    struct nfs_call *prev;
    struct nfs_call *next;
    struct rpc_request *request;
    uint64_t bytes;
    uint64_t reply_bytes; /* Of @bytes, its reply's: expected or known. */
    enum call_state state;
    struct nfs_call *next_out; /* Behind it in conn->out, or in its batch. */
};

/* Replies that are written together; all of one connection. */
struct batch {
    uv_write_t write;
    struct nfs_call *first;
};

/* One call is always possible: else those who hold memory and go no further would stop
 * everybody else. */
static bool conn_full(const struct nfs_conn *conn)
{
    if (conn->n_calls == 0) {
        return false;
    }
    return conn->replies >= conn->front->config.inflight_bytes_max / REPLY_SHARES ||
           conn->n_calls >= CALLS_MAX || conn->bytes >= BYTES_MAX ||
           nfs_front_full(conn->front);
}

static void set_reply_bytes(struct nfs_call *call, uint64_t bytes)
{
    call->conn->replies = call->conn->replies - call->reply_bytes + bytes;
    call->reply_bytes = bytes;
}

/* *@part, which is a part of what the connection costs, is @bytes from now on. */
static void charge(struct nfs_conn *conn, uint64_t *part, uint64_t bytes)
{
    conn->bytes = conn->bytes - *part + bytes;
    conn->front->bytes = conn->front->bytes - *part + bytes;
    *part = bytes;
    if (conn->front->starved && !nfs_front_full(conn->front)) {
        nfs_front_soon(conn->front);
    }
}

static void charge_buffered(struct nfs_conn *conn)
{
    uint64_t held = conn->held == NULL ? 0 : conn->held->cap;

    charge(conn, &conn->buffered, rpc_record_bytes(&conn->record) + held);
}

static void call_unlink(struct nfs_call *call)
{
    struct nfs_conn *conn = call->conn;

    set_reply_bytes(call, 0);
    charge(conn, &call->bytes, 0);
    if (call->prev != NULL) {
        call->prev->next = call->next;
    } else {
        conn->calls = call->next;
    }
    if (call->next != NULL) {
        call->next->prev = call->prev;
    }
    ASSERT(conn->n_calls > 0);
    conn->n_calls--;
    call->conn = NULL;
}

static void on_conn_closed(uv_handle_t *handle)
{
    struct nfs_conn *conn = handle->data;
    struct nfs_front *front = conn->front;

    ASSERT(conn->calls == NULL);
    if (conn->prev != NULL) {
        conn->prev->next = conn->next;
    } else {
        front->conns = conn->next;
    }
    if (conn->next != NULL) {
        conn->next->prev = conn->prev;
    }
    free(conn);
    nfs_front_conn_gone(front);
}

void nfs_conn_close(struct nfs_conn *conn)
{
    struct nfs_call *next;

    if (conn->closing) {
        return;
    }
    conn->closing = true;
    conn->n_running = 0;
    ASSERT(conn->front->n_open > 0);
    conn->front->n_open--;
    for (struct nfs_call *call = conn->calls; call != NULL; call = next) {
        next = call->next;
        call_unlink(call);
        if (call->state == CALL_WRITING) {
            continue; /* uv_close makes its write end. */
        }
        if (call->state == CALL_RUNNING) {
            rpc_request_cancel(call->request);
        } else {
            rpc_request_free(call->request);
        }
        free(call);
    }
    conn->out = NULL;
    rpc_record_deinit(&conn->record); /* At once: others may need the memory. */
    buf_unref(conn->held);
    conn->held = NULL;
    charge_buffered(conn);
    uv_close((uv_handle_t *)&conn->tcp, on_conn_closed);
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *out)
{
    struct nfs_conn *conn = handle->data;
    uint8_t *at = NULL;
    size_t room = rpc_record_room(&conn->record, &at);

    (void)suggested;
    if (room < DIRECT_BYTES_MIN) {
        at = conn->front->staging;
        room = NFS_STAGING_BYTES;
    }
    *out = uv_buf_init((char *)at, (unsigned)room);
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *from);

static void conn_read(struct nfs_conn *conn, bool on)
{
    if (on == conn->reading || conn->closing) {
        return;
    }
    conn->reading = on;
    conn->read_ms = conn->front->turn_ms;
    if (!on) {
        uv_read_stop((uv_stream_t *)&conn->tcp);
    } else if (uv_read_start((uv_stream_t *)&conn->tcp, on_alloc, on_read) != 0) {
        nfs_conn_close(conn);
    }
}

bool nfs_conn_may_work(const struct nfs_conn *conn)
{
    return !conn->closing && !conn->reading && !conn->front->closing && !conn_full(conn);
}

/* Read on, if there is room and nothing is held back. */
static void conn_go_on(struct nfs_conn *conn)
{
    struct nfs_front *front = conn->front;

    if (nfs_front_full(front)) {
        front->starved = true;
    }
    conn_read(conn, conn->held == NULL && !conn_full(conn) && !front->closing);
    if (conn->held != NULL && nfs_conn_may_work(conn)) {
        nfs_front_soon(front); /* All were answered at once: after the others' turn. */
    }
}

/* Calls have ended: others may begin. */
static void calls_ended(struct nfs_conn *conn)
{
    if (!conn->closing && !conn->reading && !conn->working) {
        nfs_conn_work(conn);
    }
}

static void batch_free(struct batch *batch)
{
    struct nfs_call *next;

    for (struct nfs_call *call = batch->first; call != NULL; call = next) {
        next = call->next_out;
        if (call->conn != NULL) {
            call_unlink(call);
        }
        rpc_request_free(call->request);
        free(call);
    }
    free(batch);
}

static void replies_taken(struct nfs_conn *conn)
{
    conn->served = true;
    conn->done_ms = conn->front->turn_ms;
    if (conn->front->closing && conn->n_calls == 0) {
        nfs_conn_close(conn);
    }
}

static void on_written(uv_write_t *write, int status)
{
    struct batch *batch = write->data;
    struct nfs_conn *conn = batch->first->conn;

    batch_free(batch);
    if (conn == NULL) {
        return;
    }
    if (status != 0) {
        nfs_conn_close(conn);
    } else {
        replies_taken(conn);
        calls_ended(conn);
    }
}

/* Add a reply's parts to @bufs; returns how many. */
static unsigned gather(const struct rpc_reply *reply, uv_buf_t bufs[REPLY_BUFS])
{
    static char zeros[4];
    unsigned n = 0;

    bufs[n++] = uv_buf_init((char *)reply->head->data, (unsigned)reply->head->len);
    if (reply->data.len > 0) {
        union {
            const uint8_t *data;
            char *uv; /* libuv reads from it only. */
        } at = {.data = reply->data.data};

        bufs[n++] = uv_buf_init(at.uv, (unsigned)reply->data.len);
    }
    if (reply->pad > 0) {
        bufs[n++] = uv_buf_init(zeros, reply->pad);
    }
    return n;
}

/* Take @len bytes off the front of @bufs; returns how many of the @n are done with. */
static unsigned skip_bytes(uv_buf_t *bufs, unsigned n, size_t len)
{
    unsigned i = 0;

    while (i < n && len >= bufs[i].len) {
        len -= bufs[i].len;
        i++;
    }
    if (i < n) {
        bufs[i].base += len;
        bufs[i].len -= len;
    }
    return i;
}

/*
 * What the socket takes at once needs no uv_write, which ends in the loop's next turn and
 * has epoll told anew of the descriptor. Returns how many of the @n are done with. What
 * went wrong uv_write finds, too.
 */
static unsigned write_now(struct nfs_conn *conn, uv_buf_t *bufs, unsigned n)
{
    int rv = uv_try_write((uv_stream_t *)&conn->tcp, bufs, n);

    return rv < 0 ? 0 : skip_bytes(bufs, n, (size_t)rv);
}

static void write_rest(struct nfs_conn *conn, struct batch *batch, uv_buf_t *bufs,
                       unsigned n)
{
    if (n == 0) {
        batch_free(batch);
        replies_taken(conn);
    } else if (uv_write(&batch->write, (uv_stream_t *)&conn->tcp, bufs, n, on_written) !=
               0) {
        batch_free(batch);
        nfs_conn_close(conn);
    }
}

void nfs_conn_flush(struct nfs_conn *conn)
{
    uv_buf_t bufs[CALLS_MAX * REPLY_BUFS];
    struct batch *batch;
    bool idle = uv_stream_get_write_queue_size((uv_stream_t *)&conn->tcp) == 0;
    unsigned done = 0;
    unsigned n = 0;

    if (conn->out == NULL || conn->closing) {
        return;
    }
    batch = calloc(1, sizeof *batch);
    if (batch == NULL) {
        nfs_conn_close(conn);
        return;
    }
    for (struct nfs_call *call = conn->out; call != NULL; call = call->next_out) {
        ASSERT(n + REPLY_BUFS <= CALLS_MAX * REPLY_BUFS);
        n += gather(&call->request->reply, bufs + n);
        call->state = CALL_WRITING;
    }
    for (unsigned i = 0; i < n; i++) {
        conn->given += bufs[i].len;
    }
    batch->first = conn->out;
    batch->write.data = batch;
    conn->out = NULL;
    conn->out_last = &conn->out;
    if (idle) {
        conn->pace.since_ms = conn->front->turn_ms; /* Nothing was to be taken before. */
        done = write_now(conn, bufs, n);
    }
    write_rest(conn, batch, bufs + done, n - done);
}

static void on_reply(void *arg, struct rpc_request *request)
{
    struct nfs_call *call = arg;
    struct nfs_conn *conn = call->conn;
    const struct rpc_reply *reply = &request->reply;

    ASSERT(conn != NULL && call->state == CALL_RUNNING);
    call->state = CALL_REPLIED;
    conn->n_running--;
    if (reply->head == NULL) {
        nfs_front_complain(conn->front, conn->address, "no reply can be given");
        conn->doomed = true; /* Not here: other calls may be on their way right now. */
        nfs_front_soon(conn->front);
        return;
    }
    /* The record is not needed any more; the reply is, until it is written. */
    buf_unref(request->record);
    request->record = NULL;
    set_reply_bytes(call, reply->head->len + reply->data.len);
    charge(conn, &call->bytes, call->reply_bytes);
    *conn->out_last = call;
    conn->out_last = &call->next_out;
    if (!conn->working) {
        nfs_front_soon(conn->front); /* Many at once, where many come. */
    }
}

/* Takes @record. Returns 0, or a fault: the connection has to go. */
static int conn_call(struct nfs_conn *conn, struct buf *record)
{
    struct rpc_source source = {.backend = conn->front->backend,
                                .mounts = &conn->front->mounts,
                                .atimes = conn->front->atimes,
                                .address = conn->address};
    struct rpc_request *request = NULL;
    struct nfs_call *call = NULL;
    int rv;

    rv = rpc_request_new(&source, record, &request);
    buf_unref(record);
    if (rv != 0) {
        return rv;
    }
    call = calloc(1, sizeof *call);
    if (call == NULL) {
        rpc_request_free(request);
        return -ENOMEM;
    }
    call->conn = conn;
    call->request = request;
    call->next = conn->calls;
    if (conn->calls != NULL) {
        conn->calls->prev = call;
    }
    conn->calls = call;
    conn->n_calls++;
    conn->n_running++;
    conn->done_ms = conn->front->turn_ms;
    set_reply_bytes(call, rpc_request_reply_bytes(request));
    charge(conn, &call->bytes, request->record->cap + call->reply_bytes);
    rpc_request_run(request, on_reply, call);
    return 0;
}

static void conn_malformed(struct nfs_conn *conn, int rv)
{
    nfs_front_complain(conn->front, conn->address,
                       rv == -ENOMEM ? "no memory" : "not an RPC call");
    nfs_conn_close(conn);
}

/* Use received bytes until there is too much to do. Returns how many were used. */
static size_t conn_feed(struct nfs_conn *conn, const uint8_t *data, size_t len)
{
    size_t at = 0;

    while (at < len && !conn->closing && !conn_full(conn)) {
        struct buf *record = NULL;
        size_t used = 0;
        int rv;

        if (nfs_front_check(conn->front)) {
            break; /* Closed, and all others too. */
        }
        rv = rpc_record_feed(&conn->record, data + at, len - at, &used, &record);

        at += used;
        if (rv == 0 && record != NULL) {
            rv = conn_call(conn, record);
        }
        if (rv != 0) {
            conn_malformed(conn, rv);
        }
    }
    return at;
}

void nfs_conn_work(struct nfs_conn *conn)
{
    ASSERT(!conn->working && !conn->closing);
    conn->working = true;
    if (conn->held != NULL && !conn->front->closing) {
        conn->held_at += conn_feed(conn, conn->held->data + conn->held_at,
                                   conn->held->len - conn->held_at);
        if (conn->held_at == conn->held->len) {
            buf_unref(conn->held);
            conn->held = NULL;
        }
    }
    conn->working = false;
    nfs_conn_flush(conn);
    if (!conn->closing) {
        charge_buffered(conn);
        conn_go_on(conn);
    }
}

/* @len bytes were received in place or into the staging buffer. */
static void conn_received(struct nfs_conn *conn, const uint8_t *data, size_t len)
{
    size_t used;

    conn->working = true;
    if (data != conn->front->staging) {
        struct buf *record = NULL;
        int rv = 0;

        rpc_record_filled(&conn->record, len, &record);
        if (record != NULL) {
            rv = conn_call(conn, record);
        }
        if (rv != 0) {
            conn_malformed(conn, rv);
        }
        used = len;
    } else {
        used = conn_feed(conn, data, len);
    }
    conn->working = false;
    nfs_conn_flush(conn);
    if (conn->closing) {
        return;
    }
    if (used < len) {
        ASSERT(conn->held == NULL);
        conn->held = buf_copy(data + used, len - used);
        conn->held_at = 0;
        if (conn->held == NULL) {
            conn_malformed(conn, -ENOMEM);
            return;
        }
    }
    charge_buffered(conn);
    conn_go_on(conn);
    nfs_front_shed(conn->front); /* Last: it may be this one. */
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *from)
{
    struct nfs_conn *conn = stream->data;

    if (nfs_front_check(conn->front)) {
        return;
    }
    if (n < 0) {
        nfs_conn_close(conn);
    } else if (n > 0) {
        conn_received(conn, (const uint8_t *)from->base, (size_t)n);
    }
}

/* An IPv6 host has a whole network of addresses. An IPv4 client is the same client on a
 * listener for both. */
static uint64_t who_is(const struct sockaddr_storage *peer)
{
    const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)peer;
    uint64_t who = 0;

    if (peer->ss_family == AF_INET) {
        return ((const struct sockaddr_in *)peer)->sin_addr.s_addr;
    }
    if (IN6_IS_ADDR_V4MAPPED(&in6->sin6_addr)) {
        uint32_t address;

        memcpy(&address, in6->sin6_addr.s6_addr + 12, sizeof address);
        return address;
    }
    memcpy(&who, in6->sin6_addr.s6_addr, sizeof who);
    return who;
}

static void name_peer(struct nfs_conn *conn)
{
    struct sockaddr_storage peer;
    int len = sizeof peer;
    char text[RPC_ADDRESS_MAX] = "?";

    if (uv_tcp_getpeername(&conn->tcp, (struct sockaddr *)&peer, &len) == 0) {
        conn->who = who_is(&peer);
        (void)uv_ip_name((const struct sockaddr *)&peer, text, sizeof text);
    }
    /* An IPv4 client is the same client on a listener for both. */
    memcpy(conn->address, text, sizeof text);
    if (strncmp(text, "::ffff:", 7) == 0 && strchr(text, '.') != NULL) {
        memmove(conn->address, text + 7, strlen(text + 7) + 1);
    }
}

/* Best effort: without them a dead client holds its place for longer. */
static void set_options(struct nfs_conn *conn)
{
    const unsigned timeout_ms = USER_TIMEOUT_MS;
    uv_os_fd_t fd;

    (void)uv_tcp_nodelay(&conn->tcp, 1);
    (void)uv_tcp_keepalive(&conn->tcp, 1, KEEPALIVE_S);
    if (uv_fileno((uv_handle_t *)&conn->tcp, &fd) == 0) {
        (void)setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &timeout_ms,
                         sizeof timeout_ms);
    }
}

static void link_conn(struct nfs_front *front, struct nfs_conn *conn)
{
    conn->tcp.data = conn;
    conn->front = front;
    conn->out_last = &conn->out;
    conn->next = front->conns;
    if (front->conns != NULL) {
        front->conns->prev = conn;
    }
    front->conns = conn;
    front->n_conns++;
    front->n_open++;
    conn->done_ms = front->turn_ms;
}

struct nfs_conn *nfs_conn_accept(struct nfs_front *front)
{
    struct nfs_conn *conn = calloc(1, sizeof *conn);

    if (conn == NULL || uv_tcp_init(front->loop, &conn->tcp) != 0) {
        free(conn);
        front->waiting = true; /* libuv calls again only after an accept. */
        return NULL;
    }
    link_conn(front, conn);
    if (uv_accept((uv_stream_t *)&front->listener, (uv_stream_t *)&conn->tcp) != 0) {
        nfs_conn_close(conn);
        return NULL;
    }
    name_peer(conn);
    if (front->n_open > front->config.connections_max &&
        !nfs_front_make_place(front, conn)) {
        nfs_front_complain(front, conn->address, "too many connections are at work");
        nfs_conn_close(conn);
        return NULL;
    }
    set_options(conn);
    nfs_conn_work(conn);
    return conn->closing ? NULL : conn;
}

void nfs_conn_stop(struct nfs_conn *conn)
{
    conn_read(conn, false);
}
