/*
 * router: ops from this node to whoever leads their zone, exactly once; a pure step.
 *
 * One per node, for all zones. It numbers mutations per zone (zone_origin), sends them
 * to the zone's leader (here or on another node), follows hints, tries again with the
 * same number after a lost connection, a change of leader or silence, and hands the one
 * answer to whoever asked. Reads go to the local member, else to the closest one that
 * answers (router_place.c).
 *
 * Promises: every op is answered once. OUT_TRY_LATER is given only when the op was
 * certainly not executed and never will be (it never left, or its number is below the
 * floor that later entries carry); after ROUTER_DOUBT_MS in doubt, OUT_IN_DOUBT is. An
 * answer counts
 * only from a node that was asked. An op whose asker is gone ends there and then: it is
 * not sent any more, and a copy that is still under way falls below the floor, for the
 * asker may have gone to another node with it, and on from there.
 */
#ifndef RAFT_ROUTER_H
#define RAFT_ROUTER_H

#include "base/buf.h"

#include <stdbool.h>
#include <stdint.h>

#define ROUTER_MEMBERS_MAX 128u
#define ROUTER_OPS_MAX 65536u  /* Under way at one time; past it OUT_TRY_LATER. */
#define ROUTER_WAIT_MS 30000u  /* For a leader, for an op that never left. */
#define ROUTER_DOUBT_MS 90000u /* For an op that left: less than a zone remembers it. */
#define ROUTER_RESEND_MS 2000u /* Silence before an op is sent again. */
/* Before a read is: two answers do no harm. Doubling up to the above. */
#define ROUTER_READ_RESEND_MS 500u
/* Reads avoid a node for so long after it was silent, if there is another one. */
#define ROUTER_QUIET_MS 5000u
/* A read of so much goes to whichever of the close members has least to read. */
#define ROUTER_STRIPE_BYTES 65536u
#define ROUTER_BACKOFF_MS 20u /* After a refusal, doubling up to 320 ms. */

struct router;

struct router_config {
    uint64_t self; /* Node number. */
    uint64_t boot; /* Rises with every start of the daemon. */
};

/* A zone as the directory has it, with the node to ask first in front. */
struct router_zone {
    uint8_t id[16];
    uint32_t n_members;
    uint64_t nodes[ROUTER_MEMBERS_MAX];
};

enum router_event_type {
    ROUTER_EV_TICK = 1,
    ROUTER_EV_ZONE = 2,      /* .zone is new or changed. */
    ROUTER_EV_ZONE_GONE = 3, /* .zone_id: its ops end with OUT_STALE. */
    ROUTER_EV_NODE = 4,      /* .node's log channel went .up or down. */
    ROUTER_EV_MUTATE = 5,    /* .zone_id, .op (encoded), .payload, .rpc_key, .token. */
    ROUTER_EV_READ = 6,      /* .zone_id, .op, .token, .read_bytes. */
    ROUTER_EV_CANCEL = 7,    /* .token: the asker is gone, and the op with it. */
    ROUTER_EV_ANSWER = 8,    /* From .node (self too): .seq, .outcome, .result, .data,
                                 .leader_node as a hint. */
    ROUTER_EV_LEADER = 9,    /* .zone_id is led by .node now, as this node believes. */
    ROUTER_EV_DISTANCE = 10, /* .node is .rtt_us away; 0: not known. */
};

struct router_event {
    enum router_event_type type;
    uint64_t now_ms;
    const struct router_zone *zone;
    uint8_t zone_id[16];
    uint64_t node;
    bool up;
    uint32_t rtt_us;
    uint32_t read_bytes; /* File data that the answer may hold. */
    struct slice op;
    struct slice payload;
    uint8_t rpc_key[16];
    uint64_t token;
    uint64_t seq; /* The router's own number of the op, as in ROUTER_DO_SEND. */
    int outcome;
    uint64_t leader_node;
    struct slice result;
    struct slice data;
};

enum router_action_type {
    /* Give the op to .node (self: the local replica): .is_read, .head (mutation: encoded
     * zone_entry, a copy of its own, time 0; read: the encoded op), .payload. The answer
     * comes back as ROUTER_EV_ANSWER with the same .seq. */
    ROUTER_DO_SEND = 1,
    /* The answer for .token: .outcome 0 with .result and .data, or OUT_TRY_LATER,
     * OUT_IN_DOUBT, OUT_STALE. */
    ROUTER_DO_ANSWER = 2,
};

struct router_action {
    enum router_action_type type;
    uint8_t zone_id[16];
    uint64_t node;
    bool is_read;
    uint64_t seq;
    uint64_t token;
    int outcome;
    struct slice head;
    struct slice payload;
    struct slice result;
    struct slice data;
};
struct router_actions {
    struct router_action *items;
    uint32_t n;
    uint32_t cap;
};
void router_actions_clear(struct router_actions *actions);
void router_actions_deinit(struct router_actions *actions);

int router_new(const struct router_config *config, struct router **out);
void router_free(struct router *router);
/* Appends to @actions. 0 or -ENOMEM. */
int router_step(struct router *router, const struct router_event *event,
                struct router_actions *actions);
uint64_t router_wake_ms(const struct router *router);
/* Ops not answered yet. */
uint32_t router_pending(const struct router *router);

#endif
