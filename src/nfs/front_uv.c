#include "nfs/front_uv.h"

#include "nfs/rpc_record.h"
#include "nfs/rpc_request.h"

#include "base/assert.h"
#include "base/log.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

enum {
    BACKLOG = 128,
    KEEPALIVE_S = 60,        /* To find out that a client is gone. */
    USER_TIMEOUT_MS = 60000, /* A client that takes no reply for so long is cut. */
    CONNECTIONS_DEFAULT = 1024,
    CONN_CALLS_MAX = 64,         /* Calls of a connection without a written reply. */
    CONN_BYTES_MAX = 16 << 20,   /* Bytes of these calls and replies. */
    STAGING_BYTES = 64 << 10,    /* One read, where the record is not known yet. */
    DIRECT_BYTES_MIN = 16 << 10, /* Longer rests of a record are received in place. */
    REPLY_BUFS = 3,              /* Head, data, padding. */
};
#define INFLIGHT_BYTES_DEFAULT (256ull << 20)

struct conn;

struct nfs_front {
    uv_loop_t *loop;
    uv_tcp_t listener;
    uv_timer_t drain;
    uv_idle_t idle; /* Active while there are replies to flush. */
    const struct nfs_backend *backend;
    struct nfs_front_config config;
    uint16_t port;
    struct conn *conns;
    uint32_t n_conns;
    uint32_t n_handles; /* Own handles that are not closed yet. */
    uint64_t bytes;     /* Of all calls in flight. */
    bool closing;
    void (*closed)(void *arg);
    void *arg;
    uint8_t staging[STAGING_BYTES]; /* Between a read's alloc and its callback. */
};

enum call_state {
    CALL_RUNNING, /* The request will call back. */
    CALL_REPLIED, /* In conn->out, or without a reply for want of memory. */
    CALL_WRITING, /* In a batch, which frees it. */
};

/* A call, from its record to its written reply. */
struct call {
    struct conn *conn; /* NULL: the connection died while the reply was written. */
    struct call *prev;
    struct call *next;
    struct rpc_request *request;
    size_t bytes;
    enum call_state state;
    struct call *next_out; /* Behind it in conn->out, or in its batch. */
};

/* Replies that are written together; all of one connection. */
struct batch {
    uv_write_t write;
    struct call *first;
};

struct conn {
    uv_tcp_t tcp;
    struct nfs_front *front;
    struct conn *prev;
    struct conn *next;
    struct rpc_record record;
    struct call *calls;
    uint32_t n_calls;
    uint64_t bytes;
    struct call *out; /* Replies to be written, in the order they came. */
    struct call **out_last;
    struct buf *held; /* Received, but not looked at while there is too much to do. */
    size_t held_at;
    bool reading;
    bool working; /* In conn_work: completions leave the rest to it. */
    bool closing;
    char address[RPC_ADDRESS_MAX];
};

static void conn_work(struct conn *conn);
static void on_handle_closed(uv_handle_t *handle);

static void front_maybe_free(struct nfs_front *front)
{
    if (!front->closing || front->n_conns > 0) {
        return;
    }
    if (!uv_is_closing((uv_handle_t *)&front->drain)) {
        uv_close((uv_handle_t *)&front->drain, on_handle_closed);
        uv_close((uv_handle_t *)&front->idle, on_handle_closed);
    }
    if (front->n_handles > 0) {
        return;
    }
    if (front->closed != NULL) {
        front->closed(front->arg);
    }
    free(front);
}

/* Connections. */

static bool front_full(const struct nfs_front *front)
{
    return front->bytes >= front->config.inflight_bytes_max;
}

static bool conn_full(const struct conn *conn)
{
    return conn->n_calls >= CONN_CALLS_MAX || conn->bytes >= CONN_BYTES_MAX ||
           front_full(conn->front);
}

static void call_charge(struct call *call, size_t bytes)
{
    struct conn *conn = call->conn;

    conn->bytes = conn->bytes - call->bytes + bytes;
    conn->front->bytes = conn->front->bytes - call->bytes + bytes;
    call->bytes = bytes;
}

static void call_unlink(struct call *call)
{
    struct conn *conn = call->conn;

    call_charge(call, 0);
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
    struct conn *conn = handle->data;
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
    front->n_conns--;
    rpc_record_deinit(&conn->record);
    buf_unref(conn->held);
    free(conn);
    front_maybe_free(front);
}

/* Other connections may have waited for the bytes that this one gave back. */
static void front_resume(struct nfs_front *front)
{
    struct conn *next;

    for (struct conn *conn = front->conns; conn != NULL; conn = next) {
        next = conn->next;
        if (!conn->reading && !conn->closing && !conn->working && !front->closing) {
            conn_work(conn);
        }
    }
}

/* Give up what is in flight: the backend's answers find nobody. */
static void conn_close(struct conn *conn)
{
    bool was_full = front_full(conn->front);
    struct call *next;

    if (conn->closing) {
        return;
    }
    conn->closing = true;
    for (struct call *call = conn->calls; call != NULL; call = next) {
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
    uv_close((uv_handle_t *)&conn->tcp, on_conn_closed);
    if (was_full) {
        front_resume(conn->front);
    }
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *out)
{
    struct conn *conn = handle->data;
    uint8_t *at = NULL;
    size_t room = rpc_record_room(&conn->record, &at);

    (void)suggested;
    if (room < DIRECT_BYTES_MIN) {
        at = conn->front->staging;
        room = STAGING_BYTES;
    }
    *out = uv_buf_init((char *)at, (unsigned)room);
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *from);

static void conn_read(struct conn *conn, bool on)
{
    if (on == conn->reading || conn->closing) {
        return;
    }
    conn->reading = on;
    if (!on) {
        uv_read_stop((uv_stream_t *)&conn->tcp);
    } else if (uv_read_start((uv_stream_t *)&conn->tcp, on_alloc, on_read) != 0) {
        conn_close(conn);
    }
}

/* Calls have ended. */
static void conn_calls_ended(struct conn *conn, bool front_was_full)
{
    struct nfs_front *front = conn->front;

    if (front->closing) {
        if (conn->n_calls == 0) {
            conn_close(conn);
        }
        return;
    }
    if (!conn->reading && !conn->working && !conn->closing) {
        conn_work(conn);
    }
    if (front_was_full) {
        front_resume(front);
    }
}

/* Calls. */

static void batch_free(struct batch *batch)
{
    struct call *next;

    for (struct call *call = batch->first; call != NULL; call = next) {
        next = call->next_out;
        if (call->conn != NULL) {
            call_unlink(call);
        }
        rpc_request_free(call->request);
        free(call);
    }
    free(batch);
}

static void on_written(uv_write_t *write, int status)
{
    struct batch *batch = write->data;
    struct conn *conn = batch->first->conn;
    bool was_full = conn != NULL && front_full(conn->front);

    batch_free(batch);
    if (conn == NULL) {
        return;
    }
    if (status != 0) {
        conn_close(conn);
        return;
    }
    conn_calls_ended(conn, was_full);
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

/* Write every reply that is ready, in one system call if the socket takes it. */
static void conn_flush(struct conn *conn)
{
    uv_buf_t bufs[CONN_CALLS_MAX * REPLY_BUFS];
    struct batch *batch;
    unsigned n = 0;

    if (conn->out == NULL || conn->closing) {
        return;
    }
    batch = calloc(1, sizeof *batch);
    if (batch == NULL) {
        conn_close(conn);
        return;
    }
    for (struct call *call = conn->out; call != NULL; call = call->next_out) {
        ASSERT(n + REPLY_BUFS <= CONN_CALLS_MAX * REPLY_BUFS);
        n += gather(&call->request->reply, bufs + n);
        call->state = CALL_WRITING;
    }
    batch->first = conn->out;
    batch->write.data = batch;
    conn->out = NULL;
    conn->out_last = &conn->out;
    if (uv_write(&batch->write, (uv_stream_t *)&conn->tcp, bufs, n, on_written) != 0) {
        batch_free(batch);
        conn_close(conn);
    }
}

/* Replies that came outside of a connection's own work are written when the loop has
 * seen everything that was there to be seen: many at once where many came. */
static void on_idle(uv_idle_t *idle)
{
    struct nfs_front *front = idle->data;
    struct conn *next;

    uv_idle_stop(idle);
    for (struct conn *conn = front->conns; conn != NULL; conn = next) {
        next = conn->next;
        conn_flush(conn);
    }
}

static void on_reply(void *arg, struct rpc_request *request)
{
    struct call *call = arg;
    struct conn *conn = call->conn;
    const struct rpc_reply *reply = &request->reply;

    ASSERT(conn != NULL && call->state == CALL_RUNNING);
    call->state = CALL_REPLIED;
    if (reply->head == NULL) {
        log_error("nfs", "msg=\"no memory for a reply, closing\" client=%s",
                  conn->address);
        conn_close(conn);
        return;
    }
    /* The record is not needed any more; the reply is, until it is written. */
    buf_unref(request->record);
    request->record = NULL;
    call_charge(call, reply->head->len + reply->data.len);
    *conn->out_last = call;
    conn->out_last = &call->next_out;
    if (!conn->working) {
        uv_idle_start(&conn->front->idle, on_idle);
    }
}

/* Takes @record. Returns 0, or a fault: the connection has to go. */
static int conn_call(struct conn *conn, struct buf *record)
{
    struct rpc_source source = {.backend = conn->front->backend,
                                .address = conn->address};
    struct rpc_request *request = NULL;
    struct call *call = NULL;
    size_t bytes;
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
    bytes = request->record->len + rpc_request_reply_bytes(request);
    call->conn = conn;
    call->request = request;
    call->next = conn->calls;
    if (conn->calls != NULL) {
        conn->calls->prev = call;
    }
    conn->calls = call;
    conn->n_calls++;
    call_charge(call, bytes);
    rpc_request_run(request, on_reply, call);
    return 0;
}

static void conn_malformed(struct conn *conn, int rv)
{
    log_info("nfs", "msg=\"closing: %s\" client=%s",
             rv == -ENOMEM ? "no memory" : "not an RPC call", conn->address);
    conn_close(conn);
}

/* Use received bytes until there is too much to do. Returns how many were used. */
static size_t conn_feed(struct conn *conn, const uint8_t *data, size_t len)
{
    size_t at = 0;

    while (at < len && !conn->closing && !conn_full(conn)) {
        struct buf *record = NULL;
        size_t used = 0;
        int rv = rpc_record_feed(&conn->record, data + at, len - at, &used, &record);

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

/* Go on with what was held back, then with the socket. */
static void conn_work(struct conn *conn)
{
    ASSERT(!conn->working && !conn->closing);
    conn->working = true;
    if (conn->held != NULL) {
        conn->held_at += conn_feed(conn, conn->held->data + conn->held_at,
                                   conn->held->len - conn->held_at);
        if (conn->held_at == conn->held->len) {
            buf_unref(conn->held);
            conn->held = NULL;
        }
    }
    conn->working = false;
    conn_flush(conn);
    conn_read(conn, conn->held == NULL && !conn_full(conn) && !conn->front->closing);
}

/* @len bytes were received in place or into the staging buffer. */
static void conn_received(struct conn *conn, const uint8_t *data, size_t len)
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
    conn_flush(conn);
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
    conn_read(conn, conn->held == NULL && !conn_full(conn) && !conn->front->closing);
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *from)
{
    struct conn *conn = stream->data;

    if (n < 0) {
        conn_close(conn);
    } else if (n > 0) {
        conn_received(conn, (const uint8_t *)from->base, (size_t)n);
    }
}

/* The listener. */

static void name_peer(struct conn *conn)
{
    struct sockaddr_storage peer;
    int len = sizeof peer;
    char text[RPC_ADDRESS_MAX] = "?";

    if (uv_tcp_getpeername(&conn->tcp, (struct sockaddr *)&peer, &len) == 0) {
        (void)uv_ip_name((const struct sockaddr *)&peer, text, sizeof text);
    }
    /* An IPv4 client is the same client on a listener for both. */
    memcpy(conn->address, text, sizeof text);
    if (strncmp(text, "::ffff:", 7) == 0 && strchr(text, '.') != NULL) {
        memmove(conn->address, text + 7, strlen(text + 7) + 1);
    }
}

/* Best effort: without them a dead client holds its place for longer. */
static void set_options(struct conn *conn)
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

static void on_connection(uv_stream_t *listener, int status)
{
    struct nfs_front *front = listener->data;
    struct conn *conn;

    if (status != 0 || front->closing) {
        return;
    }
    conn = calloc(1, sizeof *conn);
    if (conn == NULL) {
        return; /* The client stays in the backlog until the next one comes. */
    }
    if (uv_tcp_init(front->loop, &conn->tcp) != 0) {
        free(conn);
        return;
    }
    conn->tcp.data = conn;
    conn->front = front;
    conn->out_last = &conn->out;
    conn->next = front->conns;
    if (front->conns != NULL) {
        front->conns->prev = conn;
    }
    front->conns = conn;
    front->n_conns++;
    if (uv_accept(listener, (uv_stream_t *)&conn->tcp) != 0) {
        conn_close(conn);
        return;
    }
    name_peer(conn);
    if (front->n_conns > front->config.connections_max) {
        log_warn("nfs", "msg=\"too many connections, closing\" client=%s max=%u",
                 conn->address, front->config.connections_max);
        conn_close(conn);
        return;
    }
    set_options(conn);
    conn_work(conn);
}

static int parse_address(const struct nfs_front_config *config,
                         struct sockaddr_storage *address)
{
    if (uv_ip4_addr(config->address, config->port, (struct sockaddr_in *)address) == 0) {
        return 0;
    }
    return uv_ip6_addr(config->address, config->port, (struct sockaddr_in6 *)address);
}

static int front_listen(struct nfs_front *front)
{
    struct sockaddr_storage address = {0};
    int len = sizeof address;
    int rv;

    rv = parse_address(&front->config, &address);
    if (rv == 0) {
        rv = uv_tcp_bind(&front->listener, (const struct sockaddr *)&address, 0);
    }
    if (rv == 0) {
        rv = uv_listen((uv_stream_t *)&front->listener, BACKLOG, on_connection);
    }
    if (rv == 0) {
        rv = uv_tcp_getsockname(&front->listener, (struct sockaddr *)&address, &len);
    }
    if (rv == 0) {
        /* The port is at the same place in both families. */
        front->port = ntohs(((const struct sockaddr_in *)&address)->sin_port);
    }
    return rv;
}

static void on_handle_closed(uv_handle_t *handle)
{
    struct nfs_front *front = handle->data;

    ASSERT(front->n_handles > 0);
    front->n_handles--;
    front_maybe_free(front);
}

int nfs_front_open(struct uv_loop_s *loop, const struct nfs_front_config *config,
                   const struct nfs_backend *backend, struct nfs_front **out)
{
    struct nfs_front *front = calloc(1, sizeof *front);
    int rv;

    if (front == NULL) {
        return -ENOMEM;
    }
    front->loop = loop;
    front->backend = backend;
    front->config = *config;
    if (front->config.connections_max == 0) {
        front->config.connections_max = CONNECTIONS_DEFAULT;
    }
    if (front->config.inflight_bytes_max == 0) {
        front->config.inflight_bytes_max = INFLIGHT_BYTES_DEFAULT;
    }
    rv = uv_tcp_init(loop, &front->listener);
    if (rv != 0) {
        free(front);
        return rv;
    }
    front->listener.data = front;
    front->n_handles = 1;
    rv = uv_timer_init(loop, &front->drain);
    ASSERT(rv == 0); /* It cannot fail. */
    front->drain.data = front;
    rv = uv_idle_init(loop, &front->idle);
    ASSERT(rv == 0);
    front->idle.data = front;
    front->n_handles = 3;
    rv = front_listen(front);
    if (rv != 0) {
        front->closing = true; /* Frees itself, in the loop. */
        uv_close((uv_handle_t *)&front->listener, on_handle_closed);
        uv_close((uv_handle_t *)&front->drain, on_handle_closed);
        uv_close((uv_handle_t *)&front->idle, on_handle_closed);
        return rv;
    }
    front->config.address = NULL; /* Borrowed for this call only. */
    *out = front;
    return 0;
}

uint16_t nfs_front_port(const struct nfs_front *front)
{
    return front->port;
}

static void close_connections(struct nfs_front *front, bool only_idle)
{
    struct conn *next;

    for (struct conn *conn = front->conns; conn != NULL; conn = next) {
        next = conn->next;
        if (!only_idle || conn->n_calls == 0) {
            conn_close(conn);
        }
    }
}

static void on_drain_over(uv_timer_t *timer)
{
    close_connections(timer->data, false);
}

void nfs_front_close(struct nfs_front *front, uint32_t drain_ms,
                     void (*closed)(void *arg), void *arg)
{
    ASSERT(!front->closing);
    front->closing = true;
    front->closed = closed;
    front->arg = arg;
    uv_close((uv_handle_t *)&front->listener, on_handle_closed);
    for (struct conn *conn = front->conns; conn != NULL; conn = conn->next) {
        conn_read(conn, false);
    }
    close_connections(front, drain_ms > 0);
    (void)uv_timer_start(&front->drain, on_drain_over, drain_ms, 0);
    front_maybe_free(front);
}
