#include "peer/peer_conn_uv.h"

#include "base/assert.h"
#include "base/outcome.h"
#include "base/wire.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

enum {
    USER_TIMEOUT_MS = 10000, /* Unacknowledged data for so long breaks the connection. */
    KEEPALIVE_S = 10,
    /* From here on a piece is encrypted where it lies and not copied into a record. */
    DIRECT_BYTES = PEER_TLS_RECORD_MAX,
    /* What a frame's handling costs, in the currency of PEER_TURN_BYTES: else a turn
     * could be spent on a hundred thousand empty frames. */
    FRAME_COST_BYTES = 512,
};

/* A frame that waits to be sent. */
struct peer_queued {
    STAILQ_ENTRY(peer_queued) entry;
    uint8_t header[PEER_HEADER_BYTES];
    struct slice head;
    struct slice body;
    uint8_t copied[]; /* What was borrowed. */
};

static void queued_free(struct peer_queued *queued)
{
    slice_unref(&queued->head);
    slice_unref(&queued->body);
    free(queued);
}

static uint64_t queued_cost(const struct peer_queued *queued)
{
    return sizeof *queued + queued->head.len + queued->body.len;
}

static void queue_clear(struct peer_conn *conn)
{
    while (!STAILQ_EMPTY(&conn->queue)) {
        struct peer_queued *queued = STAILQ_FIRST(&conn->queue);

        STAILQ_REMOVE_HEAD(&conn->queue, entry);
        queued_free(queued);
    }
    conn->queued_bytes = 0;
    conn->front_at = 0;
}

static void on_closed(uv_handle_t *handle)
{
    struct peer_conn *conn = handle->data;

    peer_tls_free(conn->tls);
    conn->tls = NULL;
    free(conn->flight.data);
    conn->flight = (struct peer_out){0};
    conn->events->freed(conn);
}

void peer_conn_close(struct peer_conn *conn)
{
    if (conn->closing) {
        return;
    }
    peer_io_clean(conn->io, conn);
    if (conn->paused) {
        conn->paused = false;
        TAILQ_REMOVE(&conn->io->paused, conn, paused_entry);
    }
    conn->closing = true;
    queue_clear(conn);
    peer_reader_deinit(&conn->reader);
    uv_close((uv_handle_t *)&conn->tcp, on_closed);
}

static void fail(struct peer_conn *conn, int fault, const char *why)
{
    if (!conn->closing) {
        peer_conn_close(conn);
        conn->events->lost(conn, fault, why);
    }
}

/* A fault of TLS: the alert that says so goes out if it can without waiting. */
static void fail_tls(struct peer_conn *conn, int fault)
{
    struct peer_out *out = peer_tls_output(conn->tls);

    if (!conn->closing && !conn->writing && out->len > 0) {
        uv_buf_t buf = uv_buf_init((char *)out->data, (unsigned)out->len);

        (void)uv_try_write((uv_stream_t *)&conn->tcp, &buf, 1);
    }
    fail(conn, fault, peer_tls_reason(conn->tls));
}

/* ---- Sending ---- */

int peer_conn_send(struct peer_conn *conn, const struct peer_header *header,
                   struct slice head, struct slice body)
{
    size_t copy_head = head.buf == NULL ? head.len : 0;
    size_t copy_body = body.buf == NULL ? body.len : 0;
    struct peer_queued *queued;

    ASSERT(header->head_len == head.len && header->body_len == body.len);
    if (peer_header_check(header) != 0) {
        return -EMSGSIZE;
    }
    queued = malloc(sizeof *queued + copy_head + copy_body);
    if (queued == NULL) {
        return -ENOMEM;
    }
    peer_header_encode(header, queued->header);
    queued->head = slice_ref(head);
    queued->body = slice_ref(body);
    if (copy_head > 0) {
        memcpy(queued->copied, head.data, copy_head);
        queued->head.data = queued->copied;
    }
    if (copy_body > 0) {
        memcpy(queued->copied + copy_head, body.data, copy_body);
        queued->body.data = queued->copied + copy_head;
    }
    STAILQ_INSERT_TAIL(&conn->queue, queued, entry);
    conn->queued_bytes += queued_cost(queued);
    peer_io_dirty(conn->io, conn);
    return 0;
}

void peer_conn_ping(struct peer_conn *conn)
{
    conn->ping_due = true;
    peer_io_dirty(conn->io, conn);
}

void peer_conn_priority(struct peer_conn *conn, enum peer_channel priority)
{
    bool dirty = conn->dirty;

    peer_io_clean(conn->io, conn);
    conn->priority = priority;
    if (dirty) {
        peer_io_dirty(conn->io, conn);
    }
}

uint64_t peer_conn_queued(const struct peer_conn *conn)
{
    return conn->queued_bytes + (conn->writing ? conn->flight.len - conn->flight_at : 0);
}

/* The rest of the piece of the queue's first frame that is to be sent next. */
static struct slice front_piece(const struct peer_conn *conn)
{
    const struct peer_queued *queued = STAILQ_FIRST(&conn->queue);
    size_t at = conn->front_at;
    struct slice piece;

    if (at < PEER_HEADER_BYTES) {
        return slice_borrow(queued->header + at, PEER_HEADER_BYTES - at);
    }
    at -= PEER_HEADER_BYTES;
    piece = queued->head;
    if (at >= piece.len) {
        at -= piece.len;
        piece = queued->body;
    }
    ASSERT(at <= piece.len);
    return slice_borrow(piece.data + at, piece.len - at);
}

static void front_advance(struct peer_conn *conn, size_t n)
{
    struct peer_queued *queued = STAILQ_FIRST(&conn->queue);

    conn->front_at += n;
    if (conn->front_at == PEER_HEADER_BYTES + queued->head.len + queued->body.len) {
        STAILQ_REMOVE_HEAD(&conn->queue, entry);
        conn->queued_bytes -= queued_cost(queued);
        conn->front_at = 0;
        queued_free(queued);
    }
}

static size_t put_stamp(uint8_t *at, enum peer_kind kind, uint64_t stamp)
{
    struct peer_header header = {.kind = kind, .body_len = PEER_PING_BYTES};

    peer_header_encode(&header, at);
    wire_store_u64(at + PEER_HEADER_BYTES, stamp);
    return PEER_HEADER_BYTES + PEER_PING_BYTES;
}

/* Pings go ahead of the queue, but never into the middle of a frame. */
static size_t put_pings(struct peer_conn *conn, uint8_t *at)
{
    size_t n = 0;

    if (conn->front_at > 0) {
        return 0;
    }
    if (conn->pong_due) {
        conn->pong_due = false;
        n += put_stamp(at + n, PEER_KIND_PONG, conn->pong_stamp);
    }
    if (conn->ping_due) {
        conn->ping_due = false;
        n += put_stamp(at + n, PEER_KIND_PING, uv_hrtime());
    }
    return n;
}

/* Encrypt one record: either part of a large piece, or many small ones put together.
 * *@n is how many plain bytes it took, 0 if there is nothing to send. */
static int encrypt_record(struct peer_conn *conn, size_t *n)
{
    uint8_t *record = conn->io->record;
    struct slice piece;
    int rv;

    *n = put_pings(conn, record);
    while (*n < PEER_TLS_RECORD_MAX && !STAILQ_EMPTY(&conn->queue)) {
        size_t take = PEER_TLS_RECORD_MAX - *n;

        piece = front_piece(conn);
        if (piece.len >= DIRECT_BYTES && *n > 0) {
            break;
        }
        if (piece.len >= DIRECT_BYTES) {
            *n = DIRECT_BYTES;
            rv = peer_tls_write(conn->tls, piece.data, *n);
            front_advance(conn, *n);
            return rv;
        }
        take = piece.len < take ? piece.len : take;
        if (take > 0) {
            memcpy(record + *n, piece.data, take);
            *n += take;
        }
        front_advance(conn, take);
        if (conn->front_at == 0 && (conn->ping_due || conn->pong_due)) {
            break;
        }
    }
    return *n == 0 ? 0 : peer_tls_write(conn->tls, record, *n);
}

/* Encrypt as much of the queue as one output buffer holds. */
static int fill(struct peer_conn *conn)
{
    struct peer_out *out = peer_tls_output(conn->tls);
    size_t n = 1;
    int rv = 0;

    if (!conn->secured ||
        (STAILQ_EMPTY(&conn->queue) && !conn->ping_due && !conn->pong_due)) {
        return 0;
    }
    if (out->cap < PEER_OUT_BYTES) {
        struct peer_out bigger = {0};

        rv = peer_io_out_get(conn->io, &bigger);
        if (rv != 0) {
            return rv;
        }
        if (out->len > 0) {
            memcpy(bigger.data, out->data, out->len);
            bigger.len = out->len;
        }
        free(out->data);
        *out = bigger;
    }
    while (rv == 0 && n > 0 &&
           out->len + PEER_TLS_RECORD_MAX + PEER_TLS_RECORD_EXTRA <= PEER_OUT_BYTES) {
        rv = encrypt_record(conn, &n);
    }
    return rv;
}

static void on_write(uv_write_t *req, int status)
{
    struct peer_conn *conn = req->data;

    conn->writing = false;
    peer_io_out_put(conn->io, &conn->flight);
    if (conn->closing) {
        return;
    }
    if (status < 0) {
        fail(conn, status, "cannot send");
        return;
    }
    conn->events->drained(conn);
    if (!conn->closing) {
        peer_io_dirty(conn->io, conn);
    }
}

/* Hand the output to the socket; what it does not take at once is written behind.
 * *@sent: all of it went. */
static int push(struct peer_conn *conn, size_t *sent)
{
    struct peer_out *out = peer_tls_output(conn->tls);
    uv_buf_t buf = uv_buf_init((char *)out->data, (unsigned)out->len);
    int n = uv_try_write((uv_stream_t *)&conn->tcp, &buf, 1);
    int rv;

    if (n == UV_EAGAIN) {
        n = 0;
    }
    if (n < 0) {
        return n;
    }
    *sent = (size_t)n;
    if (*sent == out->len) {
        out->len = 0;
        return 0;
    }
    conn->flight = *out;
    conn->flight_at = *sent;
    *out = (struct peer_out){0};
    buf = uv_buf_init((char *)conn->flight.data + *sent,
                      (unsigned)(conn->flight.len - *sent));
    conn->write.data = conn;
    rv = uv_write(&conn->write, (uv_stream_t *)&conn->tcp, &buf, 1, on_write);
    conn->writing = rv == 0;
    return rv;
}

static bool has_more(const struct peer_conn *conn)
{
    return conn->secured &&
           (!STAILQ_EMPTY(&conn->queue) || conn->ping_due || conn->pong_due);
}

void peer_conn_flush(struct peer_conn *conn)
{
    struct peer_out *out;
    size_t total = 0;
    int rv = 0;

    if (conn->closing || conn->tls == NULL) {
        return;
    }
    out = peer_tls_output(conn->tls);
    while (rv == 0 && !conn->writing && total < PEER_TURN_BYTES) {
        size_t sent = 0;

        rv = fill(conn);
        if (rv != 0 || out->len == 0) {
            break;
        }
        rv = push(conn, &sent);
        total += sent;
    }
    if (rv != 0) {
        fail(conn, rv, "cannot send");
        return;
    }
    if (out->len == 0 && out->cap > 0) {
        peer_io_out_put(conn->io, out);
    }
    if (!conn->writing && has_more(conn)) {
        peer_io_dirty(conn->io, conn);
    }
    if (total > 0) {
        conn->events->drained(conn);
    }
}

/* ---- Receiving ---- */

static void on_ping(struct peer_conn *conn, const struct peer_frame *frame)
{
    uint64_t stamp = wire_load_u64(frame->body.data);

    if (frame->kind == PEER_KIND_PING) {
        /* One answer for all pings of a turn: a flood of them costs no memory. */
        conn->pong_due = true;
        conn->pong_stamp = stamp;
        peer_io_dirty(conn->io, conn);
    } else if (stamp <= uv_hrtime()) {
        conn->events->pong(conn, uv_hrtime() - stamp);
    }
}

static void deliver(struct peer_conn *conn, struct peer_frame *frame)
{
    if (frame->kind == PEER_KIND_PING || frame->kind == PEER_KIND_PONG) {
        on_ping(conn, frame);
    } else if (frame->kind != PEER_KIND_NONE) {
        conn->turn_bytes += FRAME_COST_BYTES;
        conn->events->frame(conn, frame);
    }
    peer_frame_release(frame);
}

/* All frames in @len plain bytes. */
static int take_plain(struct peer_conn *conn, const uint8_t *plain, size_t len)
{
    size_t at = 0;

    while (at < len && !conn->closing) {
        struct peer_frame frame;
        size_t used = 0;
        int rv = peer_reader_take(&conn->reader, slice_borrow(plain + at, len - at),
                                  &used, &frame);

        if (rv != 0) {
            return rv;
        }
        at += used;
        deliver(conn, &frame);
    }
    return 0;
}

/* Decrypt what came in: into the frame that is being filled, or, between frames, into
 * the shared buffer. */
static void read_plain(struct peer_conn *conn)
{
    uint8_t *plain = conn->io->plain;

    while (!conn->closing) {
        struct peer_frame frame;
        uint8_t *at = plain;
        size_t room = peer_reader_room(&conn->reader, &at);
        size_t n = 0;
        int rv = peer_tls_read(conn->tls, at, room > 0 ? room : PEER_TLS_RECORD_MAX, &n);

        if (rv != 0) {
            fail_tls(conn, rv);
            return;
        }
        if (n == 0) {
            return;
        }
        if (room > 0) {
            peer_reader_filled(&conn->reader, n, &frame);
            deliver(conn, &frame);
            continue;
        }
        rv = take_plain(conn, plain, n);
        if (rv != 0) {
            fail(conn, rv, rv == -ENOMEM ? "no memory" : "malformed frame");
            return;
        }
    }
}

static void advance(struct peer_conn *conn)
{
    int rv;

    if (!conn->secured) {
        rv = peer_tls_handshake(conn->tls);
        if (rv < 0) {
            fail_tls(conn, rv);
            return;
        }
        conn->secured = rv == 0;
        if (conn->secured) {
            conn->events->secured(conn);
        }
    }
    if (conn->secured && !conn->closing) {
        read_plain(conn);
    }
    if (!conn->closing && peer_tls_output(conn->tls)->len > 0) {
        peer_io_dirty(conn->io, conn);
    }
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    struct peer_conn *conn = handle->data;

    (void)suggested;
    *buf = uv_buf_init((char *)conn->io->received, PEER_RECEIVED_BYTES);
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    struct peer_conn *conn = stream->data;
    struct peer_io *io = conn->io;

    if (conn->closing || n == 0) {
        return;
    }
    if (n < 0) {
        fail(conn, n == UV_EOF ? -ECONNRESET : (int)n,
             n == UV_EOF ? "closed by the other side" : "broken");
        return;
    }
    conn->heard_ms = uv_now(io->loop);
    if (conn->turn != io->turn) {
        conn->turn = io->turn;
        conn->turn_bytes = 0;
    }
    conn->turn_bytes += (size_t)n;
    peer_tls_input(conn->tls, (const uint8_t *)buf->base, (size_t)n);
    advance(conn);
    if (!conn->closing && !conn->paused && conn->turn_bytes >= PEER_TURN_BYTES) {
        conn->paused = true;
        TAILQ_INSERT_TAIL(&io->paused, conn, paused_entry);
        uv_read_stop((uv_stream_t *)&conn->tcp);
    }
}

void peer_conn_resume(struct peer_conn *conn)
{
    int rv;

    ASSERT(conn->paused && !conn->closing);
    conn->paused = false;
    TAILQ_REMOVE(&conn->io->paused, conn, paused_entry);
    rv = uv_read_start((uv_stream_t *)&conn->tcp, on_alloc, on_read);
    if (rv != 0) {
        fail(conn, rv, "cannot read");
    }
}

void peer_conn_expect(struct peer_conn *conn, uint32_t kinds)
{
    conn->reader.kinds = kinds;
}

/* ---- Beginning ---- */

static void conn_init(struct peer_conn *conn, struct peer_io *io,
                      const struct peer_conn_events *events)
{
    int rv;

    *conn = (struct peer_conn){.io = io, .events = events};
    STAILQ_INIT(&conn->queue);
    conn->heard_ms = uv_now(io->loop);
    rv = uv_tcp_init(io->loop, &conn->tcp);
    ASSERT(rv == 0); /* Without a socket yet it cannot fail. */
    conn->tcp.data = conn;
}

static void set_options(struct peer_conn *conn)
{
    unsigned timeout = USER_TIMEOUT_MS;
    uv_os_fd_t fd;

    /* None of them decides whether the connection works: pings watch it too. */
    (void)uv_tcp_nodelay(&conn->tcp, 1);
    (void)uv_tcp_keepalive(&conn->tcp, 1, KEEPALIVE_S);
    if (uv_fileno((uv_handle_t *)&conn->tcp, &fd) == 0) {
        (void)setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &timeout, sizeof timeout);
    }
}

static void on_connect(uv_connect_t *req, int status)
{
    struct peer_conn *conn = req->data;
    int rv;

    if (conn->closing) {
        return;
    }
    if (status < 0) {
        fail(conn, status, "cannot connect");
        return;
    }
    set_options(conn);
    rv = peer_tls_client(conn->io->tls, conn->expected, &conn->tls);
    if (rv != 0) {
        fail(conn, rv, "no memory");
        return;
    }
    conn->heard_ms = uv_now(conn->io->loop);
    rv = uv_read_start((uv_stream_t *)&conn->tcp, on_alloc, on_read);
    if (rv != 0) {
        fail(conn, rv, "cannot read");
        return;
    }
    advance(conn); /* The client speaks first. */
}

int peer_conn_dial(struct peer_conn *conn, struct peer_io *io,
                   const struct peer_conn_events *events, const struct sockaddr *address,
                   const uint8_t expected[PEER_FINGERPRINT_BYTES])
{
    int rv;

    conn_init(conn, io, events);
    memcpy(conn->expected, expected, PEER_FINGERPRINT_BYTES);
    conn->connect.data = conn;
    rv = uv_tcp_connect(&conn->connect, &conn->tcp, address, on_connect);
    if (rv != 0) {
        peer_conn_close(conn);
    }
    return rv;
}

int peer_conn_accept(struct peer_conn *conn, struct peer_io *io,
                     const struct peer_conn_events *events, uv_stream_t *listener)
{
    int rv;

    conn_init(conn, io, events);
    rv = uv_accept(listener, (uv_stream_t *)&conn->tcp);
    if (rv == 0) {
        set_options(conn);
        rv = peer_tls_server(io->tls, &conn->tls);
    }
    if (rv == 0) {
        rv = uv_read_start((uv_stream_t *)&conn->tcp, on_alloc, on_read);
    }
    if (rv != 0) {
        peer_conn_close(conn);
    }
    return rv;
}

const uint8_t *peer_conn_fingerprint(const struct peer_conn *conn)
{
    ASSERT(conn->secured);
    return peer_tls_fingerprint(conn->tls);
}

void peer_conn_host(const struct peer_conn *conn, char out[PEER_ADDRESS_MAX])
{
    struct sockaddr_storage address;
    int len = sizeof address;

    out[0] = '?';
    out[1] = 0;
    if (uv_tcp_getpeername(&conn->tcp, (struct sockaddr *)&address, &len) != 0) {
        return;
    }
    if (address.ss_family == AF_INET) {
        (void)uv_ip4_name((struct sockaddr_in *)&address, out, PEER_ADDRESS_MAX);
    } else if (address.ss_family == AF_INET6) {
        (void)uv_ip6_name((struct sockaddr_in6 *)&address, out, PEER_ADDRESS_MAX);
    }
}
