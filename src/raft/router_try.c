/*
 * Where an op goes next, and when it is over.
 *
 * A mutation keeps its number however often it is sent; the zone's request table makes
 * the copies one. It is refused for good only if no attempt may have been carried out.
 */
#include "base/assert.h"
#include "base/outcome.h"
#include "raft/router_impl.h"
#include "zone/op.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define NO_TARGET_MS 200u /* Nobody is up: look again, if no event says so before. */

void router_fault(struct router *router, int rv)
{
    if (router->rv == 0) {
        router->rv = rv;
    }
}

struct router_action *router_act(struct router *router, enum router_action_type type)
{
    struct router_actions *out = router->out;
    struct router_action *action = &router->scratch;

    if (out->n == out->cap) {
        uint32_t cap = out->cap == 0 ? 64 : out->cap * 2;
        struct router_action *items = realloc(out->items, cap * sizeof *items);

        if (items != NULL) {
            out->items = items;
            out->cap = cap;
        }
    }
    if (out->n < out->cap) {
        action = &out->items[out->n++];
    } else {
        slice_unref(&action->head);
        slice_unref(&action->payload);
        slice_unref(&action->result);
        slice_unref(&action->data);
        router_fault(router, -ENOMEM);
    }
    *action = (struct router_action){.type = type};
    return action;
}

static bool may_be_done(const struct router_op *op)
{
    return !op->is_read && (op->in_doubt || op->out != 0);
}

static uint64_t deadline_ms(const struct router_op *op)
{
    return op->begun_ms + (may_be_done(op) ? ROUTER_DOUBT_MS : ROUTER_WAIT_MS);
}

static void due(struct router *router, struct router_op *op, uint64_t at_ms)
{
    uint64_t end_ms = deadline_ms(op);

    op->due_ms = at_ms < end_ms ? at_ms : end_ms;
    router_op_moved(router, op);
}

void router_op_end(struct router *router, struct router_op *op, int outcome,
                   const struct router_event *event)
{
    struct router_zone_state *zone = op->zone;

    if (op->token != 0) {
        struct router_action *action = router_act(router, ROUTER_DO_ANSWER);

        memcpy(action->zone_id, zone->id, 16);
        action->token = op->token;
        action->is_read = op->is_read;
        action->outcome = outcome;
        if (event != NULL && outcome == 0) {
            action->result = slice_ref(event->result);
            action->data = slice_ref(event->data);
        }
    }
    if (!op->is_read) {
        router_mutation_unlink(op);
    }
    zone->n_ops--;
    router_op_free(router, op);
    router_zone_trim(router, zone);
}

/* The member to try: for a mutation the leader if it is known, else in turn. 0: nobody
 * is up. */
static uint64_t target(const struct router *router, const struct router_op *op)
{
    const struct router_zone_state *state = op->zone;
    const struct router_zone *zone = &state->zone;

    if (op->is_read) {
        return router_place_read(router, op);
    }
    if (state->leader != 0 && router_node_up(router, state->leader)) {
        return state->leader;
    }
    for (uint32_t i = 0; i < zone->n_members; i++) {
        uint64_t node = zone->nodes[(op->turn + i) % zone->n_members];

        if (router_node_up(router, node)) {
            return node;
        }
    }
    return 0;
}

/* Silence for so long, and the op is sent again. */
static uint64_t resend_ms(const struct router_op *op)
{
    uint64_t ms = ROUTER_READ_RESEND_MS;

    if (!op->is_read) {
        return ROUTER_RESEND_MS;
    }
    for (uint32_t i = 0; i < op->turn && ms < ROUTER_RESEND_MS; i++) {
        ms *= 2;
    }
    return ms < ROUTER_RESEND_MS ? ms : ROUTER_RESEND_MS;
}

/* The entry as the leader gets it; a copy of its own, since the leader stamps it. */
static int mutation_head(struct router *router, const struct router_op *op,
                         struct buf **out)
{
    struct zone_entry entry = {
        .origin = {.node = router->config.self,
                   .boot = router->config.boot,
                   .seq = op->origin_seq,
                   .floor = router_zone_floor(op->zone)},
        .op = op->op,
    };

    memcpy(entry.rpc_key, op->rpc_key, sizeof entry.rpc_key);
    return zone_entry_encode(&entry, out);
}

static bool was_asked(const struct router_op *op, uint64_t node)
{
    for (uint32_t i = 0; i < op->n_asked && i < ROUTER_ASKED_MAX; i++) {
        if (op->asked[i] == node) {
            return true;
        }
    }
    return false;
}

static void op_send(struct router *router, struct router_op *op, uint64_t node)
{
    struct router_action *action;
    struct buf *head = NULL;

    if (!op->is_read && mutation_head(router, op, &head) != 0) {
        router_fault(router, -ENOMEM);
        return;
    }
    action = router_act(router, ROUTER_DO_SEND);
    memcpy(action->zone_id, op->zone->id, 16);
    action->node = node;
    action->is_read = op->is_read;
    action->seq = op->seq;
    if (op->is_read) {
        action->head = slice_ref(op->op);
    } else {
        action->head = slice_of(head, 0, head->len);
        action->payload = slice_ref(op->payload);
        buf_unref(head);
    }
    if (!was_asked(op, node)) {
        op->asked[op->n_asked++ % ROUTER_ASKED_MAX] = node;
    }
    router_op_place(router, op, node);
    due(router, op, router->now_ms + resend_ms(op));
}

void router_op_try(struct router *router, struct router_op *op)
{
    uint64_t node = op->zone->known ? target(router, op) : 0;

    ASSERT(op->out == 0);
    if (node != 0) {
        op_send(router, op, node);
    } else {
        due(router, op, op->zone->known ? router->now_ms + NO_TARGET_MS : UINT64_MAX);
    }
}

static void pause_op(struct router *router, struct router_op *op)
{
    op->backoff_ms = op->backoff_ms == 0 ? ROUTER_BACKOFF_MS : op->backoff_ms * 2;
    if (op->backoff_ms > ROUTER_BACKOFF_MAX_MS) {
        op->backoff_ms = ROUTER_BACKOFF_MAX_MS;
    }
    op->hops = 0;
    due(router, op, router->now_ms + op->backoff_ms);
}

void router_op_missed(struct router *router, struct router_op *op, bool refused)
{
    op->in_doubt = op->in_doubt || !refused;
    router_op_place(router, op, 0);
    op->turn++;
    pause_op(router, op);
}

/* @node is not the leader. A hint is followed at once, but not round in circles. */
static void not_leader(struct router *router, struct router_op *op, uint64_t node,
                       uint64_t hint)
{
    struct router_zone_state *zone = op->zone;

    router_op_place(router, op, 0);
    if (hint != 0 && hint != node) {
        zone->leader = hint;
        if (op->hops++ < ROUTER_HOPS_MAX && router_node_up(router, hint)) {
            router_op_try(router, op);
            return;
        }
    } else if (zone->leader == node) {
        zone->leader = 0;
    }
    op->turn++;
    pause_op(router, op);
}

void router_op_answered(struct router *router, struct router_op *op,
                        const struct router_event *event)
{
    if (event->outcome == 0) {
        if (!was_asked(op, event->node)) {
            return; /* A node that has nothing to say here. */
        }
        if (!op->is_read) {
            op->zone->leader = event->node;
        }
        router_op_end(router, op, 0, event);
        return;
    }
    if (event->node != op->out) {
        return; /* A refusal of an attempt that was given up: still in doubt. */
    }
    switch (event->outcome) {
    case OUT_NOT_LEADER:
        not_leader(router, op, event->node, event->leader_node);
        break;
    case OUT_FULL:
    case OUT_BUSY:
        router_op_place(router, op, 0); /* The right place, the wrong time. */
        pause_op(router, op);
        break;
    case OUT_STALE: /* No member any more; the directory will say who is. */
        if (op->zone->leader == event->node) {
            op->zone->leader = 0;
        }
        router_op_missed(router, op, true);
        break;
    case OUT_TRY_LATER:
        router_op_missed(router, op, false);
        break;
    default:
        router_op_end(router, op, event->outcome, event);
        break;
    }
}

void router_op_due(struct router *router, struct router_op *op)
{
    if (router->now_ms >= deadline_ms(op)) {
        router_op_end(router, op, may_be_done(op) ? OUT_IN_DOUBT : OUT_TRY_LATER, NULL);
        return;
    }
    if (op->out != 0) { /* Silence. */
        if (op->zone->leader == op->out) {
            op->zone->leader = 0;
        }
        router_node_quiet(router, op->out);
        op->in_doubt = true;
        router_op_place(router, op, 0);
        op->turn++;
    }
    router_op_try(router, op);
}
