/*
 * router_impl: what the files of router share. Nobody else includes it.
 */
#ifndef RAFT_ROUTER_IMPL_H
#define RAFT_ROUTER_IMPL_H

#include "raft/router.h"

#define ROUTER_SLOT_BITS 16u /* ROUTER_OPS_MAX slots; a seq is counter << bits | slot. */
#define ROUTER_ZONES_MAX 4096u
#define ROUTER_BACKOFF_MAX_MS 320u
#define ROUTER_HOPS_MAX 4u  /* Hints followed without a pause. */
#define ROUTER_ASKED_MAX 4u /* Nodes whose answer to an op counts. */
/* Mutations of a zone above its floor: well below what a zone keeps replies for. */
#define ROUTER_SPAN_MAX 524288u

struct router_op;

struct router_zone_state {
    uint8_t id[16];
    bool known; /* Members are. */
    struct router_zone zone;
    uint64_t leader;   /* Node, as last believed; 0 unknown. */
    uint64_t next_seq; /* For the next mutation. */
    uint32_t n_ops;
    struct router_op *mutations; /* Unanswered, in rising order of number. */
    struct router_op *mutations_last;
    struct router_zone_state *next; /* In the router's list. */
};

/* One op under way. */
struct router_op {
    uint64_t seq; /* The router's own number. */
    uint32_t slot;
    uint32_t heap_at;
    struct router_zone_state *zone;
    struct router_op *prev; /* Among the zone's mutations. */
    struct router_op *next;
    bool is_read;
    bool in_doubt; /* An earlier attempt may have been carried out. */
    uint64_t token;
    uint64_t origin_seq; /* Mutation: in the zone. */
    uint8_t rpc_key[16];
    struct slice op;
    struct slice payload;
    uint32_t read_bytes;
    uint64_t out;                     /* Node that has it now; 0 none. */
    uint64_t asked[ROUTER_ASKED_MAX]; /* Nodes that it was sent to, the last ones. */
    uint32_t n_asked;                 /* How often another one was added. */
    uint32_t turn;                    /* Which member is tried next. */
    uint32_t hops;
    uint32_t backoff_ms;
    uint64_t begun_ms;
    uint64_t due_ms; /* When something must happen to it. */
};

/* This node is one of them, and always up. */
struct router_node {
    uint64_t node;
    bool up;
    uint32_t rtt_us;         /* 0: not known. */
    uint64_t quiet_until_ms; /* It left an op without an answer. */
    uint64_t reading_bytes;  /* Asked for by the reads that it has. */
};

struct router {
    struct router_config config;
    struct router_actions *out;
    struct router_action scratch;
    int rv;
    uint64_t now_ms;
    uint64_t counter;

    struct router_op **slots; /* ROUTER_OPS_MAX, grown on demand. */
    uint32_t n_slots;
    uint32_t *free_slots;
    uint32_t n_free;
    uint32_t n_ops;

    struct router_op **heap; /* By due_ms; as many places as slots. */
    uint32_t heap_n;

    struct router_zone_state *zones;
    uint32_t n_zones;
    struct router_node *nodes;
    uint32_t n_nodes;
    uint32_t cap_nodes;
};

/* router_ops.c: containers. */
struct router_op *router_op_new(struct router *router);
void router_op_free(struct router *router, struct router_op *op);
struct router_op *router_op_find(struct router *router, uint64_t seq);
/* The op's due_ms changed. */
void router_op_moved(struct router *router, struct router_op *op);
struct router_zone_state *router_zone_find(struct router *router, const uint8_t *id,
                                           bool create);
/* Forget a zone that nothing points at and that never had a number given out. */
void router_zone_trim(struct router *router, struct router_zone_state *zone);
/* NULL: never heard of. Good until another one is added. */
struct router_node *router_node_find(const struct router *router, uint64_t node);
/* NULL: no memory, which is noted. */
struct router_node *router_node_get(struct router *router, uint64_t node);
bool router_node_up(const struct router *router, uint64_t node);
void router_mutation_link(struct router_op *op);
void router_mutation_unlink(struct router_op *op);
/* Every mutation number below it was answered. */
uint64_t router_zone_floor(const struct router_zone_state *zone);

/* router_place.c: who is to have an op. */
/* For a read, the member to try; 0: nobody is up. */
uint64_t router_place_read(const struct router *router, const struct router_op *op);
/* .out is @node from now on (0: nobody). */
void router_op_place(struct router *router, struct router_op *op, uint64_t node);
/* @node did not answer in time. */
void router_node_quiet(struct router *router, uint64_t node);

/* router_try.c: where an op goes, and when it is over. */
struct router_action *router_act(struct router *router, enum router_action_type type);
void router_fault(struct router *router, int rv);
void router_op_try(struct router *router, struct router_op *op);
/* An attempt ended without an answer; @refused: certainly not carried out. */
void router_op_missed(struct router *router, struct router_op *op, bool refused);
void router_op_end(struct router *router, struct router_op *op, int outcome,
                   const struct router_event *event);
void router_op_answered(struct router *router, struct router_op *op,
                        const struct router_event *event);
void router_op_due(struct router *router, struct router_op *op);

#endif
