/*
 * front_uv: the NFS listener: TCP sockets in, nfs_backend ops out.
 *
 * Serves NFSv3 (100003 v3) and MOUNTv3 (100005 v3) on one port, over TCP record marking
 * (RFC 5531 section 11). Many clients, pipelined calls, replies out of order. Bounded:
 * bytes in flight per connection and in all; past that a socket is not read, but for one
 * call. A malformed record closes its connection.
 *
 * What costs others more than it does has to go (front_rules.h says who): a connection on
 * which no call comes; when there are too many, one of those that never had a reply, else
 * of the address with the most; past the bytes, who does not take replies, or holds bytes
 * for a call that does not end. The log has a few lines about that, however many strangers
 * there are.
 *
 * A process that stood still for longer than @stall_ms_max (stopped, or its machine slept)
 * takes no call that was sent before: its client may have gone to another node meanwhile,
 * with that call and on from there. All connections are closed then; clients come back and
 * send again what still matters.
 */
#ifndef NFS_FRONT_UV_H
#define NFS_FRONT_UV_H

#include "nfs/backend.h"

struct uv_loop_s;
struct nfs_front;

struct nfs_front_config {
    const char *address;      /* Numeric, IPv4 or IPv6. */
    uint16_t port;            /* 0: any free one (tests). */
    uint32_t connections_max; /* Default 1024; at most half of the files one may open. */
    bool held; /* Listen, so that the port is ours, but take nobody yet: see release. */
    uint64_t
        inflight_bytes_max; /* Of calls and replies, all connections. Default 256 MiB. */
    uint32_t stall_ms_max;  /* Default 10,000; some times NFS_TURN_MS. */
    uint64_t (*now_ms)(void); /* Default CLOCK_BOOTTIME. */
};

/* Bind and listen. -EADDRINUSE and the like come back unchanged. @backend is borrowed. */
int nfs_front_open(struct uv_loop_s *loop, const struct nfs_front_config *config,
                   const struct nfs_backend *backend, struct nfs_front **out);
/* A front that was opened held takes connections from now on. Again: no-op. */
void nfs_front_release(struct nfs_front *front);
/*
 * Close all clients' connections if the process stood still; returns whether it did. The
 * front asks before it uses what it receives. For whoever else acts for clients after a
 * wait: before it does. Not from within the backend's submit.
 */
bool nfs_front_check(struct nfs_front *front);
uint16_t nfs_front_port(const struct nfs_front *front);
/* Stop accepting; answer what is in flight for up to @drain_ms; close everything; then
 * @closed is called and the memory is gone. */
void nfs_front_close(struct nfs_front *front, uint32_t drain_ms,
                     void (*closed)(void *arg), void *arg);

#endif
