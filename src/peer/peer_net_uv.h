/*
 * peer_net: what peer_net_uv.c (table, timer, the interface) and peer_session_uv.c (one
 * connection's life: dialled or accepted, hello or join, up, gone) share. Private.
 */
#ifndef PEER_PEER_NET_UV_H
#define PEER_PEER_NET_UV_H

#include "base/prng.h"
#include "peer/peer_conn_uv.h"
#include "peer/peer_table.h"

enum {
    PEER_HELLO_MS_MAX = 5000, /* From the first packet to the hello. */
    PEER_JOIN_MS_MAX = 10000,
    PEER_SILENCE_MS_MAX = 5000, /* Nothing heard although pings go out. */
    PEER_PING_CONTROL_MS = 250,
    PEER_RIVAL_MS = 1500, /* Four pings of the life before would have been answered. */
    PEER_PING_OTHER_MS = 1000,
    PEER_BACKOFF_MS_MIN = 50,
    PEER_BACKOFF_MS_MAX = 2000,
    PEER_STRANGERS_MAX = 64,  /* Accepted and not yet known to be anybody. */
    PEER_JOINS_MAX = 8,       /* Join requests that wait for their answer. */
    PEER_ANSWERED_MAX = 64,   /* Answers under way to their askers. */
    PEER_COMPLAINTS_MAX = 10, /* Log lines in each window. */
    PEER_COMPLAINTS_MS = 10000,
};

struct peer_state;
struct peer_session;

/* One channel to one node. */
struct peer_link {
    struct peer_state *state;
    enum peer_channel channel;
    struct peer_session *session; /* Being dialled or up; NULL: neither. */
    bool up;
    bool announced; /* The last thing that the user heard is "up". */
    bool full;      /* Above the mark: writable is owed. */
    uint64_t boot;  /* Of the other side, while up. */
    uint64_t attempt;
    uint64_t dial_at; /* When to dial; UINT64_MAX: not now. */
    uint64_t backoff_ms;
    int fault;    /* Of the last try; logged when it changes. */
    char why[96]; /* The last loss or failed try in words; empty: there was none. */
};

/* One node of the table but this one. */
struct peer_state {
    struct peer_node node;
    struct sockaddr_storage address;
    struct peer_link links[PEER_CHANNELS];
    uint64_t rtt_ns;
    uint64_t rival_boot; /* Another life that wants in while one is connected; */
    uint64_t rival_ms;   /* since when. */
    STAILQ_ENTRY(peer_state) removed_entry;
};

enum peer_phase {
    PEER_DIALLED,  /* By this node; waits for the other's hello. */
    PEER_STRANGER, /* Accepted; waits for a hello or a join request. */
    PEER_UP,
    PEER_JOINING,  /* Asked to join; waits for this side's answer. */
    PEER_ANSWERED, /* Closed once the answer has left. */
    PEER_GONE,
    PEER_PHASES
};

struct peer_session {
    struct peer_conn conn; /* First: the events' argument. */
    struct peer_net *net;
    struct peer_link *link; /* NULL for strangers, joins and what is gone. */
    TAILQ_ENTRY(peer_session) entry;
    enum peer_phase phase;
    uint64_t deadline; /* UINT64_MAX: none. */
    uint64_t ping_at;
    uint64_t request;            /* Of a join. */
    char host[PEER_ADDRESS_MAX]; /* Where a stranger comes from. */
};

struct peer_net {
    struct peer_io io;
    uv_loop_t *loop;
    uv_tcp_t listener;
    uv_timer_t timer;
    uint64_t timer_at; /* When it is due; UINT64_MAX: it is not running. */
    bool listening;
    bool accept_waits; /* No memory for a connection; asked again by the timer. */
    bool closing;
    unsigned refs; /* Handles and sessions that are still there. */
    struct peer_config config;
    struct peer_callbacks callbacks;
    struct peer_table table; /* Rows' states: struct peer_state, NULL for this node. */
    STAILQ_HEAD(, peer_state) removed;   /* "Down" is still to be told. */
    TAILQ_HEAD(, peer_session) sessions; /* The oldest first. */
    unsigned phases[PEER_PHASES];        /* Sessions in each. */
    struct prng prng;
    uint64_t stalled_ms; /* When this process last went on after a stall. */
    uint64_t requests;
    unsigned complaints;
    unsigned complaints_dropped;
    uint64_t complaints_since;
    void (*closed)(void *arg);
    void *closed_arg;
};

/* Have the timer run at @at, in uv_now's milliseconds, or before. */
void peer_net_arm(struct peer_net *net, uint64_t at);
void peer_net_unref(struct peer_net *net);
/* Tell "down" of nodes that left the table. May call back, and so change everything. */
void peer_net_tell_removed(struct peer_net *net);

/* Log a refusal, at a bounded rate. */
void peer_net_complain(struct peer_net *net, const char *host, const char *why);

void peer_session_dial(struct peer_net *net, struct peer_link *link);
void peer_session_accept(struct peer_net *net);
/* Its answer to a join request is queued. */
void peer_session_answered(struct peer_session *session);
/* Close without a word to the user. */
void peer_session_drop(struct peer_session *session);
/* Close as broken: the link goes down, and is dialled again if it is ours to dial. */
void peer_session_fail(struct peer_session *session, int fault, const char *why);

#endif
