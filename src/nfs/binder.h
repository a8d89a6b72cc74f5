/*
 * binder: tells the local rpcbind where NFSv3 and MOUNTv3 answer, and takes it back.
 *
 * A pure state machine. It owns no socket, clock or timer: binder_uv.c feeds it events and
 * carries out the actions it returns. rpcbind is asked over its local socket, by which it
 * knows the caller's user (RPCBIND version 3, RFC 1833 2.2.1): any user may register what
 * nobody has, and take back what is its own.
 *
 * A round is one connection, a SET for each program and transport, one after the other,
 * and the end of the connection. Rounds come again every BINDER_AGAIN_MS: rpcbind takes
 * the same SET again as no change, and one that was restarted, or started late, gets it
 * then. Whatever goes wrong ends the round, and no more. What somebody else has registered
 * is never taken away.
 */
#ifndef NFS_BINDER_H
#define NFS_BINDER_H

#include "base/buf.h"

#include <stdbool.h>
#include <stdint.h>

#define BINDER_AGAIN_MS 60000u
#define BINDER_ROUND_MS 5000u /* A round takes no longer. */
#define BINDER_STOP_MS 1000u  /* The last one, in which everything is taken back. */
#define BINDER_ITEMS_MAX 4u
#define BINDER_REPLY_BYTES_MAX 512u

struct binder_item {
    uint32_t prog;
    char netid[8];    /* "tcp" or "tcp6". */
    char address[64]; /* Universal address (RFC 1833 2.1 and RFC 5665 5.2.3). */
    bool set;         /* rpcbind has it from us. */
};

/* What there is to register for a listener at @host (numeric) and @port; returns how many.
 * 0 for a loopback address: who asks rpcbind is elsewhere. */
uint32_t binder_items(const char *host, uint16_t port,
                      struct binder_item items[BINDER_ITEMS_MAX]);

enum binder_phase { BINDER_RESTING, BINDER_CONNECTING, BINDER_ASKING, BINDER_DONE };
enum binder_view { BINDER_UNKNOWN, BINDER_ABSENT, BINDER_REFUSED, BINDER_REGISTERED };

struct binder {
    uint32_t n_items;
    struct binder_item items[BINDER_ITEMS_MAX];
    enum binder_phase phase;
    enum binder_view view; /* What was logged last. */
    bool stopping;
    bool refused; /* Something in this round. */
    uint32_t at;  /* The item that was asked for. */
    uint32_t xid;
};

enum binder_event_type {
    BINDER_EV_START,
    BINDER_EV_TIMER, /* The time of the last action with wait_ms is over. */
    BINDER_EV_CONNECTED,
    BINDER_EV_BROKEN, /* Could not connect, or the connection ended or failed. */
    BINDER_EV_RECORD, /* @record arrived. */
    BINDER_EV_STOP,   /* Take everything back. */
};

struct binder_event {
    enum binder_event_type type;
    struct buf *record; /* Borrowed. */
};

/* In this order. */
struct binder_actions {
    const char *note; /* To be logged; NULL: nothing. */
    bool warn;        /* At which level. */
    bool close;       /* Give the connection up; no event of it comes any more. */
    bool connect;
    struct buf *send; /* Taken by who carries it out; NULL: nothing. */
    uint32_t wait_ms; /* Set the timer anew; 0: leave it. */
    bool done;        /* After a stop: nothing comes after it. */
};

/* @items are copied. */
void binder_init(struct binder *binder, const struct binder_item *items, uint32_t n);
/* Overwrites @actions. */
void binder_step(struct binder *binder, const struct binder_event *event,
                 struct binder_actions *actions);

#endif
