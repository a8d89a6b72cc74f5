/*
 * net_fixture: several nodes in one loop on 127.0.0.1, on ports that the system picks.
 *
 * What a node's callbacks see is counted and written into its trace. A test drives the
 * loop until a condition holds; if it never does, the test's own time limit ends it.
 */
#pragma once

#include "peer/peer_uv.h"

#include <uv.h>

enum { NODES_MAX = 3, TRACE_BYTES = 8192 };

struct fixture;

struct node {
    struct fixture *fixture;
    uint64_t number;
    struct peer_identity *identity;
    struct peer_net *net;
    struct peer_callbacks callbacks;
    uint16_t port;
    char trace[TRACE_BYTES];
    unsigned ups; /* Channels that are up now. */
    unsigned downs;
    unsigned frames;
    uint64_t bytes;
    unsigned writables;
    uint64_t epoch_told; /* The last one that was not this node's; 0: none. */
    uint64_t request;    /* The last join request; 0: none. */
    uint8_t asker[PEER_FINGERPRINT_BYTES];
    bool closed;
    uint64_t expected_next;                        /* Of numbered frames. */
    bool in_order;                                 /* All numbered frames came so. */
    void (*on_frame)(struct node *, struct slice); /* Extra, if not NULL. */
};

struct fixture {
    uv_loop_t loop;
    struct node nodes[NODES_MAX];
    unsigned n;
    uint8_t grapevine_id[16];
    uint64_t epoch; /* Of the nets opened next. */
    uint64_t mark;  /* queue_bytes_mark of the nets opened next. */
};

/* @n nodes, numbers 1 to @n, with keys and no net yet. */
void fixture_init(struct fixture *fixture, unsigned n);
void fixture_open(struct fixture *fixture, unsigned index, uint64_t boot);
void fixture_close(struct fixture *fixture, unsigned index);
/* What the directory says of a node. */
struct peer_node fixture_node(const struct fixture *fixture, unsigned index);
/* Every node gets the table of all nodes. */
void fixture_introduce(struct fixture *fixture);
/* Open all, introduce all, run until all channels are up. */
void fixture_up(struct fixture *fixture, unsigned n);
/* Close what is open, run the loop to its end, free all. */
void fixture_deinit(struct fixture *fixture);

/* One turn of the loop that may block. */
void turn(struct fixture *fixture);
#define RUN_UNTIL(fixture, condition) \
    do {                              \
        while (!(condition)) {        \
            turn(fixture);            \
        }                             \
    } while (0)
