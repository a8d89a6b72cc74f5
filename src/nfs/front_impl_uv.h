/*
 * front_impl_uv: what the listener (front_uv.c) and its connections (front_conn_uv.c) share.
 */
#ifndef NFS_FRONT_IMPL_UV_H
#define NFS_FRONT_IMPL_UV_H

#include "nfs/front_rules.h"
#include "nfs/front_uv.h"
#include "nfs/mnt3_mounts.h"
#include "nfs/rpc_record.h"
#include "nfs/rpc_request.h"

#include <uv.h>

#define NFS_BACKLOG 128
#define NFS_TURN_MS 1000u             /* An idle loop turns so often, at least. */
#define NFS_STAGING_BYTES (64u << 10) /* One read, where the record is not known yet. */

struct nfs_call;

struct nfs_conn {
    uv_tcp_t tcp;
    struct nfs_front *front;
    struct nfs_conn *prev;
    struct nfs_conn *next;
    struct rpc_record record;
    struct nfs_call *calls;
    uint32_t n_calls;
    uint32_t n_running; /* Of them with the backend. */
    uint64_t bytes;     /* Of calls, and of what was received beyond them. */
    uint64_t buffered;  /* Of these, of no call: the unfinished record, and @held. */
    uint64_t replies;   /* Of these, of replies that are to come or not written yet. */
    uint64_t given;     /* Bytes of replies that libuv was ever given. */
    struct front_pace pace;
    bool slow;            /* As of the last sweep. */
    uint64_t done_ms;     /* When a call or replies were last finished; at first, made. */
    uint64_t read_ms;     /* When it was last begun to be read. */
    uint64_t who;         /* Its address: IPv4, or the network of an IPv6 host. */
    bool served;          /* A reply was written. */
    struct nfs_call *out; /* Replies to be written, in the order they came. */
    struct nfs_call **out_last;
    struct buf *held; /* Received, but not looked at while there is too much to do. */
    size_t held_at;
    bool reading;
    bool working; /* Replies that come now are flushed when the work is done. */
    bool doomed;  /* A call ended without a reply: to be closed. */
    bool closing;
    char address[RPC_ADDRESS_MAX];
};

/* Of strangers, in the log. */
struct front_complaints {
    uint64_t since_ms;
    uint32_t n;
    uint32_t n_dropped;
};

struct nfs_front {
    uv_loop_t *loop;
    uv_tcp_t listener;
    uv_prepare_t prepare;
    uv_timer_t turn;
    uv_timer_t drain;
    uv_idle_t idle; /* Active while there is something for nfs_front_soon. */
    const struct nfs_backend *backend;
    struct nfs3_atimes *atimes;
    struct nfs_front_config config;
    uint16_t port;
    struct mnt3_mounts mounts;
    struct nfs_conn *conns;
    uint32_t n_conns;
    uint32_t n_open;          /* Of them not closing. */
    uint32_t n_handles;       /* Own handles that are not closed yet. */
    uint64_t bytes;           /* Of all connections. */
    uint64_t turn_ms;         /* When the loop last began to wait. */
    uint64_t sweep_ms;        /* When connections were last looked at. */
    uint64_t shed_bytes;      /* So many of @bytes, and somebody may have to go. */
    struct front_seat *seats; /* To choose from; connections_max. */
    struct front_complaints complaints;
    bool starved; /* Some connection is not read because of @bytes. */
    bool waiting; /* Somebody connected who could not be taken yet. */
    bool closing;
    void (*closed)(void *arg);
    void *arg;
    uint8_t staging[NFS_STAGING_BYTES]; /* Between a read's alloc and its callback. */
};

/* In the next turn of the loop, before it waits: flush every connection, and go on with
 * those that starved, if there is room again. */
void nfs_front_soon(struct nfs_front *front);
bool nfs_front_full(const struct nfs_front *front);
/* A connection's memory is gone; so is the front's, perhaps, when this returns. */
void nfs_front_conn_gone(struct nfs_front *front);

/* front_uv.c: */
void nfs_front_close_connections(struct nfs_front *front, bool only_idle);

/* front_guard_uv.c: */
/* CLOCK_BOOTTIME. */
uint64_t nfs_front_boot_ms(void);
/* Begin to watch the loop. */
void nfs_front_guard(struct nfs_front *front);
/* A line about a client, unless there were too many. */
void nfs_front_complain(struct nfs_front *front, const char *address, const char *why);
/* Close one connection, which is not @but, to make a place. False: all are needed. */
bool nfs_front_make_place(struct nfs_front *front, const struct nfs_conn *but);
/* Bytes were taken: close connections that hold some and do no work, if there are too
 * many. @front's connections may be closed when this returns. */
void nfs_front_shed(struct nfs_front *front);

/* Accept the connection that the listener has. Returns it, or NULL if it is gone, or waits
 * for memory. */
struct nfs_conn *nfs_conn_accept(struct nfs_front *front);
/* Give up what is in flight, and tell the backend. The memory goes later, in the loop.
 * Not from within the backend's submit or its answer. */
void nfs_conn_close(struct nfs_conn *conn);
/* Write every reply that is ready, in one system call if the socket takes it. */
void nfs_conn_flush(struct nfs_conn *conn);
/* It is not read from, though it could be: for nfs_conn_work. */
bool nfs_conn_may_work(const struct nfs_conn *conn);
/* Go on with what was held back, then with the socket, unless there is too much to do. */
void nfs_conn_work(struct nfs_conn *conn);
/* Take no more calls. */
void nfs_conn_stop(struct nfs_conn *conn);

#endif
