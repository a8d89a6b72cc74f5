/*
 * peer_conn: one connection: a socket, its TLS session, frames both ways.
 *
 * Knows nothing of nodes and tables; its owner decides what a frame means. What is
 * queued in a loop turn goes out together at the turn's end, control before log before
 * bulk, and at most PEER_TURN_BYTES per connection and turn each way, so that no
 * connection starves another.
 * The events never come from inside peer_conn_send; `lost` may come from any other
 * event's place in the loop, at most once, and after it, or after peer_conn_close,
 * nothing but `freed`.
 */
#ifndef PEER_PEER_CONN_UV_H
#define PEER_PEER_CONN_UV_H

#include "peer/peer_frame.h"
#include "peer/peer_tls.h"

#include <sys/queue.h>
#include <uv.h>

#define PEER_TURN_BYTES (1u << 20)
#define PEER_IO_SPARE_MAX 8u

struct peer_conn;
struct peer_queued;

TAILQ_HEAD(peer_conn_list, peer_conn);
STAILQ_HEAD(peer_queue, peer_queued);

/* What the connections of one loop share. */
struct peer_io {
    uv_loop_t *loop;
    struct peer_tls_ctx *tls;
    uv_prepare_t prepare;
    uv_check_t check;
    uv_idle_t
        idle; /* Active while something waits to be sent: then poll must not block. */
    uv_idle_cb idle_cb;
    uint64_t turn; /* Counts turns' ends, two or three in each loop turn. */
    unsigned handles;
    unsigned spare_n;
    struct peer_out spare[PEER_IO_SPARE_MAX]; /* Output buffers for reuse. */
    struct peer_conn_list dirty[PEER_CHANNELS];
    struct peer_conn_list paused; /* Read their share of this turn. */
    uint8_t *received;            /* RECEIVED_BYTES, cipher text. */
    uint8_t *plain;               /* PEER_TLS_RECORD_MAX bytes, just decrypted. */
    uint8_t *record;              /* PEER_TLS_RECORD_MAX bytes, to be encrypted. */
    void (*turned)(void *arg);    /* At every turn, before anything is flushed. */
    void *turned_arg;
    void (*closed)(void *arg);
    void *closed_arg;
};

/* 0 or a fault, then nothing is left. @identity is copied. */
int peer_io_init(struct peer_io *io, uv_loop_t *loop,
                 const struct peer_identity *identity);
/* After the last connection was freed. */
void peer_io_close(struct peer_io *io, void (*closed)(void *arg), void *arg);

struct peer_conn_events {
    /* The handshake is done: peer_conn_fingerprint() holds. */
    void (*secured)(struct peer_conn *conn);
    /* A frame of an expected kind. Pings are answered below this. */
    void (*frame)(struct peer_conn *conn, const struct peer_frame *frame);
    /* Part of the queue has left for the socket. */
    void (*drained)(struct peer_conn *conn);
    void (*pong)(struct peer_conn *conn, uint64_t rtt_ns);
    /* Broken, closing by itself. @why: a few words that live on. */
    void (*lost)(struct peer_conn *conn, int fault, const char *why);
    /* The last event. The owner frees the memory. */
    void (*freed)(struct peer_conn *conn);
};

struct peer_conn {
    uv_tcp_t tcp;
    uv_connect_t connect;
    uv_write_t write;
    struct peer_io *io;
    const struct peer_conn_events *events;
    struct peer_tls *tls; /* NULL until connected. */
    TAILQ_ENTRY(peer_conn) dirty_entry;
    TAILQ_ENTRY(peer_conn) paused_entry;
    enum peer_channel priority; /* Order at the end of a turn. */
    bool dirty;
    uint64_t dirty_turn; /* When it became dirty. */
    bool paused;
    bool secured;
    bool closing;
    bool ping_due;
    bool pong_due;
    bool writing;           /* @write is under way with @flight. */
    struct peer_out flight; /* Handed to the socket. */
    size_t flight_at;       /* Where the rest of @flight began. */
    struct peer_queue queue;
    size_t front_at;       /* Bytes of the queue's first frame already encrypted. */
    uint64_t queued_bytes; /* In @queue, with the frames' own memory. */
    uint64_t pong_stamp;   /* To be echoed. */
    struct peer_reader reader;
    uint64_t turn; /* That @turn_bytes counts for. */
    size_t turn_bytes;
    uint64_t heard_ms; /* uv_now at the last byte received. */
    uint8_t expected[PEER_FINGERPRINT_BYTES];
};

/* Connect to @address; only the key @expected will do. On a fault `freed` comes, later,
 * and nothing else. */
int peer_conn_dial(struct peer_conn *conn, struct peer_io *io,
                   const struct peer_conn_events *events, const struct sockaddr *address,
                   const uint8_t expected[PEER_FINGERPRINT_BYTES]);
/* Take the next connection of @listener. On a fault as above. */
int peer_conn_accept(struct peer_conn *conn, struct peer_io *io,
                     const struct peer_conn_events *events, uv_stream_t *listener);
void peer_conn_close(struct peer_conn *conn);

/* The kinds of frames that may come now, PEER_KIND_BITs. */
void peer_conn_expect(struct peer_conn *conn, uint32_t kinds);
/* Queue a frame; takes references of its own, copies what is borrowed. 0, -EMSGSIZE or
 * -ENOMEM. */
int peer_conn_send(struct peer_conn *conn, const struct peer_header *header,
                   struct slice head, struct slice body);
/* The order at the end of a turn; control until this is called. */
void peer_conn_priority(struct peer_conn *conn, enum peer_channel priority);
/* Ask for an echo, ahead of what is queued. */
void peer_conn_ping(struct peer_conn *conn);
/* What has not reached the socket yet. */
uint64_t peer_conn_queued(const struct peer_conn *conn);
const uint8_t *peer_conn_fingerprint(const struct peer_conn *conn);
/* The other side's numeric address, "?" if unknown. */
void peer_conn_host(const struct peer_conn *conn, char out[PEER_ADDRESS_MAX]);

/* For peer_io alone: read on in a new turn; send what is queued, up to a turn's share. */
void peer_conn_resume(struct peer_conn *conn);
void peer_conn_flush(struct peer_conn *conn);

/* For peer_conn alone: the output buffers' pool, and the list of who has to send. */
#define PEER_OUT_BYTES (256u << 10)
#define PEER_RECEIVED_BYTES (256u << 10)
int peer_io_out_get(struct peer_io *io, struct peer_out *out);
void peer_io_out_put(struct peer_io *io, struct peer_out *out);
void peer_io_dirty(struct peer_io *io, struct peer_conn *conn);
/* What is queued goes out, each connection's up to a turn's share. */
void peer_io_flush(struct peer_io *io);
void peer_io_clean(struct peer_io *io, struct peer_conn *conn);

#endif
