/*
 * peer: the node-to-node transport: who may talk, and frames in order.
 *
 * TLS 1.3, both sides authenticated by self-signed certificates whose key is pinned: the
 * SHA-256 of the SubjectPublicKeyInfo is the node's fingerprint. Per pair of nodes three
 * connections (control, log, bulk), dialled by the node with the lower number. A newer
 * connection of a kind replaces the older, and what the older still held is discarded
 * before the newer delivers anything.
 * Frames: docs/formats/peer.md. Loop thread only. Opening a net or joining makes the
 * process ignore SIGPIPE, unless it handles it.
 *
 * Promises: frames of one channel arrive whole, in order, at most once, from the node
 * whose number is named, and only while that node's key is in the table. Does not
 * promise delivery: when a connection breaks, what was queued on it is gone (down and
 * up are reported).
 *
 * A node that comes under another boot id while one of it is connected is let in only when
 * that one has been silent for PEER_RIVAL_MS: two daemons with one key (a copied disk) do
 * not push each other out for ever, and who came later is told.
 */
#ifndef PEER_PEER_UV_H
#define PEER_PEER_UV_H

#include "base/buf.h"

#include <stdbool.h>
#include <stdint.h>

#define PEER_FRAME_MAX (4u << 20) /* Bytes of a frame, both slices together. */
#define PEER_NODES_MAX 1024u
#define PEER_ADDRESS_MAX 64u
#define PEER_FINGERPRINT_BYTES 32u

enum peer_channel { PEER_CONTROL = 0, PEER_LOG = 1, PEER_BULK = 2, PEER_CHANNELS = 3 };

struct uv_loop_s;
struct peer_net;

/* This node's key and certificate, in the PEM file node.pem below the state folder, and the
 * same again in node.pem.copy. */
struct peer_identity;
/*
 * Load, or make (P-256, self-signed, mode 0600) if absent and @create. -ENOENT; -EACCES,
 * also if others may read the file; -EINVAL: both are damaged, and never replaced by
 * themselves. Of one that is good the other is made.
 */
int peer_identity_open(const char *dir, bool create, struct peer_identity **out);
void peer_identity_free(struct peer_identity *identity);
const uint8_t *peer_identity_fingerprint(const struct peer_identity *identity);

/* A node as the directory names it. */
struct peer_node {
    uint64_t number; /* Not 0. */
    uint8_t fingerprint[PEER_FINGERPRINT_BYTES];
    char host[PEER_ADDRESS_MAX]; /* Numeric address. */
    uint16_t port;
};

/* Why @node cannot be in a table beside the @n @others: number 0, an address that is not
 * numeric, the number or the key of another. A few words that live on; NULL: it can. */
const char *peer_node_fault(const struct peer_node *node, const struct peer_node *others,
                            uint32_t n);

/* One data frame. */
struct peer_message {
    uint64_t node; /* Whom to; when it arrives: from whom. */
    enum peer_channel channel;
    uint8_t type; /* The sender's. */
    struct slice head;
    struct slice body;
};

/* Why a node that was dialled does not let this one in. */
enum peer_reason {
    PEER_REFUSED_VERSION = 1, /* It speaks other versions of the protocol. */
    PEER_REFUSED_LATER = 2,   /* An earlier life of this node may still be there. */
    PEER_REFUSED_TWIN = 3,    /* Another daemon lives that is the same node. */
};
struct peer_refusal {
    enum peer_reason reason;
    uint16_t version_min; /* The versions that it speaks. */
    uint16_t version_max;
};

struct peer_callbacks {
    void *ctx;
    /* A frame; the head is borrowed, the body holds a reference for the call (take one
     * with slice_ref to keep it). */
    void (*frame)(void *ctx, const struct peer_message *message);
    /* The channel to @node can (not) be sent on. @boot: the other side's boot id. */
    void (*state)(void *ctx, uint64_t node, enum peer_channel channel, bool up,
                  uint64_t boot);
    /* @node refused this one; told when the reason changes. Or NULL. */
    void (*refused)(void *ctx, uint64_t node, const struct peer_refusal *refusal);
    /* The send queue of a channel, once above the mark, has drained below it. */
    void (*writable)(void *ctx, uint64_t node, enum peer_channel channel); /* Or NULL. */
    /*
     * A join request; usually from somebody whose key is in no table, but who asks again
     * because an answer was lost may be in it already. The key is proved, nothing else.
     * Answer with peer_join_answer, at most once, within 10 s, and what is no good at
     * once: at most 8 wait, and one more costs the oldest its place. NULL: joining is
     * not possible here.
     */
    void (*join)(void *ctx, uint64_t request, const uint8_t *fingerprint,
                 const char *remote_host, struct slice body);
    /* @node, whose key is proved, is in another epoch of the grapevine: no connection
     * comes up. Told at every try of either side. Close nothing from inside. Or NULL. */
    void (*epoch)(void *ctx, uint64_t node, uint64_t epoch);
    /* A connection was refused and logged (at a bounded rate); or NULL. */
    void (*stranger)(void *ctx, const char *host, const char *why);
};

struct peer_config {
    const char *address; /* To listen on; numeric. */
    uint16_t port;       /* 0: any free one (tests). */
    uint8_t grapevine_id[16];
    uint64_t self; /* Own number; 0 before joining: then nothing listens. */
    uint64_t boot;
    uint64_t epoch;            /* Only nodes of the same one talk with each other. */
    uint64_t queue_bytes_mark; /* Per channel, default 8 MiB. */
};

/*
 * Borrows all but the loop for the call only. -EINVAL: @config's address is not numeric;
 * -EADDRINUSE and what else bind and listen say; -ENOMEM. After a fault the loop must
 * turn once more before it can be closed.
 */
int peer_net_open(struct uv_loop_s *loop, const struct peer_config *config,
                  const struct peer_identity *identity,
                  const struct peer_callbacks *callbacks, struct peer_net **out);
/* No callback but @closed (or NULL) comes any more, from the loop. */
void peer_net_close(struct peer_net *net, void (*closed)(void *arg), void *arg);
uint16_t peer_net_port(const struct peer_net *net);

/*
 * Replace the table of nodes; this node's own row is ignored. Connections to nodes no
 * longer in it, or with another key or address, are closed at once (`state` follows from
 * the loop); new ones are dialled (with backoff, for ever). May be called from inside
 * callbacks. A row with a peer_node_fault beside those with lower numbers is left out.
 * 0, -E2BIG or -ENOMEM. After a fault the old table stays.
 */
int peer_net_nodes(struct peer_net *net, const struct peer_node *nodes, uint32_t n);

/*
 * Queue one frame; @message is borrowed. Takes its own references of both slices (borrowed slices are copied).
 * 0; OUT_TRY_LATER if the channel is down (nothing queued); OUT_FULL if more than four
 * times the mark is queued (`writable` will come); -EMSGSIZE above PEER_FRAME_MAX;
 * -ENOMEM. No callback comes from inside. What is queued in one loop turn goes out
 * together at its end.
 */
int peer_send(struct peer_net *net, const struct peer_message *message);
/* The same now, where the turn's end is known to be near. */
void peer_net_flush(struct peer_net *net);
bool peer_is_up(const struct peer_net *net, uint64_t node, enum peer_channel channel);
uint64_t peer_queued_bytes(const struct peer_net *net, uint64_t node,
                           enum peer_channel channel);
/* Smoothed round trip on the control channel (its own pings), microseconds; 0 unknown. */
uint64_t peer_rtt_us(const struct peer_net *net, uint64_t node);
/* Why the node's control or log channel was lost or cannot be had, in a few words; good
 * until the loop's next turn. */
const char *peer_fault(const struct peer_net *net, uint64_t node);

/* What a new node asks, and whom. */
struct peer_join_request {
    const struct peer_identity *identity; /* The new node's own. */
    const struct peer_node *inviter;
    struct slice body; /* At most 8 KiB. */
};
/*
 * Join, the new node's side: connect to the inviter's address, check that its key is the
 * fingerprint, send the body (@request is copied, but for the identity), give the answer
 * (borrowed, at most 1 MiB) or a fault to @done, once, from the loop (from inside only
 * with -ENOMEM).
 * -EACCES: another key; -ECONNREFUSED and the like; -ECONNRESET: closed without an
 * answer; -ETIMEDOUT after 15 s; -EINVAL: not a numeric address; -EMSGSIZE.
 */
void peer_join(struct uv_loop_s *loop, const struct peer_join_request *request,
               void (*done)(void *arg, int rv, struct slice answer), void *arg);
/* 0; OUT_NOENT: that request is gone or answered; -EMSGSIZE, -ENOMEM. */
int peer_join_answer(struct peer_net *net, uint64_t request, struct slice answer);

#endif
